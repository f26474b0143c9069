//! `weir route`: Weir's router in front of live replicas.

use std::fmt::Write;
use std::net::TcpListener;

use anyhow::Context;
use weir_http::url::Url;
use weir_proxy::{Proxy, ProxyConfig, ProxyError, ProxyTotals};
use weir_router::RouterConfig;
use weir_service::Stopper;
use weir_store::Address;

use crate::cli::RouteArgs;
use crate::exit::Exit;
use crate::interrupt::{Interrupt, Waiting};
use crate::printer::Printer;

/// vLLM's block size, for an index whose block size nobody chose.
const BLOCK_TOKENS: u32 = 16;

pub(crate) fn run(args: &RouteArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let config = config(args)?;
    let listener = TcpListener::bind(&args.listen).with_context(|| {
        format!(
            "cannot listen on {}; give --listen HOST:PORT with a free port, or port 0 to be given \
             one",
            args.listen
        )
    })?;
    let address = listener.local_addr().context("cannot read the listener's address")?;
    let stopper = Stopper::default();
    let stop = stopper.clone();
    Interrupt::listen_and(Waiting::Answers(config.grace), printer.is_quiet(), move || stop.stop())?;
    let mut said = Ok(());
    let words = banner(args, &config, &address.to_string());
    let ended = Proxy::run(&config, listener, &stopper, || said = printer.result(&words));
    said?;
    let totals = ended?;
    for warning in warnings(&totals) {
        printer.note(&format!("warning: {warning}"));
    }
    Ok(Exit::Done)
}

fn warnings(totals: &ProxyTotals) -> Vec<String> {
    let all = totals.requests;
    let of = |count: u64, what: &str| format!("{count} of {all} requests {what}");
    let lost = totals.lost_batches;
    [
        (totals.unanswered, of(totals.unanswered, "found no replica")),
        (lost, format!("{lost} batches of KV events did not come; the index may be wrong")),
        (totals.untokenized, of(totals.untokenized, "were scored without their token ids")),
        (totals.lookup_failures, of(totals.lookup_failures, "were scored without the index")),
        (totals.log_failures, of(totals.log_failures, "are not in the decision log")),
    ]
    .into_iter()
    .filter_map(|(count, words)| (count > 0).then_some(words))
    .collect()
}

fn config(args: &RouteArgs) -> anyhow::Result<ProxyConfig> {
    let replicas: Result<Vec<Url>, _> = args.replicas.iter().map(|url| Url::parse(url)).collect();
    let policy = weir_spec::routing_policy(&args.policy, "--policy", BLOCK_TOKENS)?;
    let router = RouterConfig { policy, seed: args.seed };
    let mut config = ProxyConfig::new(replicas.map_err(ProxyError::Url)?, router);
    config.kv_events.clone_from(&args.kv_events);
    let index = args.index.as_deref().map(str::parse::<Address>).transpose();
    config.index = index.map_err(ProxyError::Address)?;
    config.hash_seed.clone_from(&args.hash_seed);
    config.tokenizer.clone_from(&args.tokenizer);
    config.log.clone_from(&args.log);
    config.core = args.pin.map(|core| core as usize);
    Ok(config)
}

/// Address, policy, and the replicas with their events.
fn banner(args: &RouteArgs, config: &ProxyConfig, address: &str) -> String {
    let mut out = String::new();
    let count = config.replicas.len();
    let _ = writeln!(out, "http://{address}  {} over {count} replicas", args.policy);
    let is_one_each = config.kv_events.len() == count;
    for (at, replica) in config.replicas.iter().enumerate() {
        let events = config.kv_events.get(at).filter(|_| is_one_each);
        let events = events.map_or(String::new(), |endpoint| format!("  KV events {endpoint}"));
        let _ = writeln!(out, "  {replica}{events}");
    }
    if let Some(index) = &config.index {
        let _ = writeln!(out, "  index in {index}");
    }
    out
}
