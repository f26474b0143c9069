//! `weir size`: the arithmetic behind an experiment, for one model on one kind of hardware.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use weir_engine::timing::{Timing, TimingModel};
use weir_report::tables::{Table, text};
use weir_spec::Experiment;
use weir_spec::plan::{Deployment, Plan};
use weir_spec::size::{Sizes, sizes};

use crate::cli::SizeArgs;
use crate::exit::{Exit, Mistake};
use crate::planned::minimal;
use crate::printer::Printer;

pub(crate) fn run(args: &SizeArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    if args.prefix == 0 {
        return Err(Mistake("--prefix 0: a prefix has at least one token".to_owned()).into());
    }
    let experiment = Experiment::parse(&text_of(args), "weir size", Path::new(""), &args.sets)?;
    let plan = Plan::resolve(&experiment)?;
    let deployment = plan.deployments.first().context("a plan has a deployment")?;
    let mut timing = Timing::new(&deployment.timing)?;
    let budget = deployment.engine.max_num_batched_tokens;
    let prefill = timing.prefill_time(args.prefix, 0, budget);
    let mut out = format!(
        "{} on {}, TP {}\n",
        deployment.model.name, deployment.label, deployment.tensor_parallel
    );
    for (index, arm) in deployment.arms.iter().enumerate() {
        let sizes = sizes(deployment, arm, args.prefix, prefill);
        if index == 0 {
            out += &facts(deployment, &sizes, &format!("{prefill}"));
        } else {
            out.push('\n');
            out += &text(&tier_table(&arm.name, &sizes, &format!("{prefill}")));
        }
    }
    for warning in &plan.warnings {
        printer.note(&format!("warning: {warning}"));
    }
    printer.result(&out)?;
    Ok(Exit::Done)
}

/// The smallest experiment that has these numbers in its plan.
fn text_of(args: &SizeArgs) -> String {
    let mut arms = vec!["no-offload"];
    arms.extend(args.arms.iter().map(String::as_str));
    minimal(&args.model, &args.hardware, args.tp, &arms, "")
}

fn facts(of: &Deployment, sizes: &Sizes, prefill: &str) -> String {
    let mut out = String::new();
    let pool = u64::from(of.engine.blocks) * u64::from(of.engine.block_size);
    let kv = sizes.kv_bytes_per_token;
    let mut line = |key: &str, value: String| {
        let _ = writeln!(out, "  {key:<34} {value}");
    };
    line("KV bytes per token", kv.0.to_string());
    line("weights", sizes.weight_bytes.map_or("-".to_owned(), |bytes| bytes.to_string()));
    line("GPU pool", format!("{pool} tokens in {} blocks", of.engine.blocks));
    line(&format!("one prefix of {} tokens", sizes.prefix_tokens), sizes.prefix_bytes.to_string());
    let held = sizes.tiers.first().map_or(0, |gpu| gpu.prefixes);
    line("prefixes in the GPU pool", held.to_string());
    line("time to compute one", prefill.to_owned());
    if let Some(rate) = sizes.break_even_gb_per_s {
        line("loading beats computing from", format!("{rate:.2} GB/s on"));
    }
    out
}

fn tier_table(arm: &str, sizes: &Sizes, prefill: &str) -> Table {
    let title = format!("{arm} (computing a prefix takes {prefill})");
    let heads = ["tier", ">capacity", ">tokens", ">prefixes", ">load one prefix"];
    let mut table = Table::new(&title, &heads);
    for tier in sizes.tiers.iter().skip(1) {
        table.rows.push(vec![
            tier.name.as_str().into(),
            tier.capacity.to_string().into(),
            tier.tokens.to_string().into(),
            tier.prefixes.to_string().into(),
            tier.load.map_or(String::new(), |load| load.to_string()).into(),
        ]);
    }
    table
}
