//! A mock of an OpenAI-compatible server, one thread, that records when it sends each token.
//!
//! Load generators are compared with its log. It has its own event loop, because it must cost less
//! per token than any client: a token is one write of ready bytes.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]

mod connection;
mod frame;
mod ledger;
mod request;
mod server;

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use weir_bench_load::clock::monotonic_ns;
use weir_bench_load::machine;

use crate::server::{Config, Pace, Server};

/// A mock of an OpenAI-compatible server that logs when each token was handed over
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen; port 0 takes a free one, printed as the first line
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Core to keep to
    #[arg(long)]
    core: Option<usize>,
    /// Paced: milliseconds from a request to its first token; without it, tokens come as fast as
    /// possible, one per stream and turn
    #[arg(long, requires = "every_ms")]
    first_ms: Option<f64>,
    /// Paced: milliseconds from token to token
    #[arg(long, requires = "first_ms")]
    every_ms: Option<f64>,
    /// Unpaced: tokens per write and turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    burst: u32,
    /// Name of the model
    #[arg(long, default_value = "mock")]
    model: String,
    /// Tokens of an answer whose request names no number
    #[arg(long, default_value_t = 16)]
    default_tokens: u32,
    /// End when standard input, a pipe, closes
    #[arg(long)]
    until_stdin_closes: bool,
    /// File for the rows of all requests (CSV), written at SIGTERM or SIGINT
    #[arg(long)]
    log: Option<PathBuf>,
    /// File for the figures of the whole run (JSON), written at SIGTERM or SIGINT
    #[arg(long)]
    summary: Option<PathBuf>,
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
    machine::raise_descriptors();
    // Timers fire when they are due, not up to 50 us later. A failure only makes them later.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let config = Config {
        pace: pace(arguments)?,
        model: arguments.model.clone(),
        default_tokens: arguments.default_tokens,
    };
    let (mut server, address) = Server::new(arguments.listen, config)?;
    if arguments.until_stdin_closes {
        server.stop_with_parent()?;
    }
    println!("listening on {address}");
    io::stdout().flush().context("standard output")?;
    server.run()?;
    if let Some(path) = &arguments.log {
        let rows = server.ledger.csv()?;
        fs::write(path, rows).with_context(|| format!("{} not written", path.display()))?;
    }
    let summary = serde_json::to_string(&server.ledger.run(monotonic_ns()))?;
    if let Some(path) = &arguments.summary {
        fs::write(path, summary).with_context(|| format!("{} not written", path.display()))?;
    }
    Ok(())
}

fn pace(arguments: &Arguments) -> Result<Pace> {
    let (Some(first_ms), Some(every_ms)) = (arguments.first_ms, arguments.every_ms) else {
        return Ok(Pace::Unpaced { burst: arguments.burst });
    };
    for (flag, value) in [("--first-ms", first_ms), ("--every-ms", every_ms)] {
        ensure!(
            (0.0..=3_600_000.0).contains(&value),
            "{flag}: {value} is not between 0 and 3600000 milliseconds"
        );
    }
    let ns = |ms: f64| (ms * 1e6).round() as u64;
    Ok(Pace::Paced { first_ns: ns(first_ms), every_ns: ns(every_ms) })
}
