//! The practical limit of a load generator: a bare hyper loop on one thread with closed-loop
//! streams. It splits events and records times. What a real generator adds (parsing, bounds, rows,
//! reports) is its cost over this.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]

mod report;
mod stream;

use std::cell::RefCell;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use hdrhistogram::Histogram;
use tokio::task::LocalSet;
use weir_bench_load::{clock, machine};

use crate::stream::{Plan, Seen};

/// A bare hyper loop of closed-loop streams: the practical limit of a load generator
#[derive(Debug, Parser)]
struct Arguments {
    /// Address of the server, as http://ADDRESS:PORT
    url: String,
    /// Requests in flight
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    streams: u32,
    /// Tokens of each prompt, sent as ids
    #[arg(long, default_value_t = 64)]
    prompt_tokens: u32,
    /// Tokens of each answer
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    output_tokens: u32,
    /// Most requests
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    requests: u64,
    /// Seconds after which no request starts
    #[arg(long, default_value_t = 20.0)]
    duration_s: f64,
    /// Name of the model
    #[arg(long, default_value = "mock")]
    model: String,
    /// Use /v1/chat/completions
    #[arg(long)]
    chat: bool,
    /// Core to keep to
    #[arg(long)]
    core: Option<usize>,
    /// File for a row per request (CSV)
    #[arg(long)]
    out: Option<PathBuf>,
    /// File for the figures (JSON); without it they are printed
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if let Some(core) = arguments.core {
        machine::pin(core)?;
    }
    let limit = machine::raise_descriptors();
    ensure!(
        u64::from(arguments.streams) + 16 <= limit,
        "--streams {}: the limit of open descriptors is {limit}; raise it with `ulimit -n`",
        arguments.streams
    );
    let authority = arguments.url.strip_prefix("http://").unwrap_or(&arguments.url);
    let address: SocketAddr = authority
        .trim_end_matches('/')
        .parse()
        .with_context(|| format!("{}: not of the form http://ADDRESS:PORT", arguments.url))?;
    let plan = Rc::new(Plan {
        address,
        path: if arguments.chat { "/v1/chat/completions" } else { "/v1/completions" },
        body: body(arguments).into(),
        // Finish, usage and [DONE] follow the tokens; in chat, the role comes before them.
        events_besides_tokens: 3 + u32::from(arguments.chat),
        output_tokens: arguments.output_tokens,
        requests: arguments.requests,
        stop_ns: clock::monotonic_ns()
            + Duration::try_from_secs_f64(arguments.duration_s).context("--duration-s")?.as_nanos()
                as u64,
    });
    let gaps = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).context("histogram of gaps")?;
    let seen = Rc::new(RefCell::new(Seen::new(gaps)));
    let processor = machine::processor_ns();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("no asynchronous runtime")?;
    LocalSet::new().block_on(&runtime, async {
        let streams: Vec<_> = (0..arguments.streams)
            .map(|_| tokio::task::spawn_local(stream::run(plan.clone(), seen.clone())))
            .collect();
        for stream in streams {
            stream.await.context("a stream ended early")??;
        }
        anyhow::Ok(())
    })?;
    let processor_ns = machine::processor_ns() - processor;
    let seen = seen.borrow();
    if let Some(path) = &arguments.out {
        fs::write(path, report::csv(&seen)?)
            .with_context(|| format!("{} not written", path.display()))?;
    }
    let figures = report::json(&seen, processor_ns)?;
    match &arguments.json {
        Some(path) => {
            fs::write(path, figures).with_context(|| format!("{} not written", path.display()))?;
        }
        None => println!("{figures}"),
    }
    Ok(())
}

fn body(arguments: &Arguments) -> String {
    let ids: Vec<String> =
        (0..arguments.prompt_tokens).map(|place| (1000 + place).to_string()).collect();
    let prompt = if arguments.chat {
        format!(r#""messages":[{{"role":"user","content":"{}"}}]"#, ids.join(" "))
    } else {
        format!(r#""prompt":[{}]"#, ids.join(","))
    };
    let (model, tokens) = (&arguments.model, arguments.output_tokens);
    let stream = r#""stream":true,"stream_options":{"include_usage":true}"#;
    format!(r#"{{"model":"{model}",{prompt},"max_tokens":{tokens},"ignore_eos":true,{stream}}}"#)
}
