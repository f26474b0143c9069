//! Weir's simulator beside other simulators on the same workload.
//!
//! Without options: pairs of runs in turns, and a check that both simulate the same. With
//! `--sizes`: Weir alone over numbers of requests and prefix lengths.

mod duel;
mod host;
mod peer;
mod sizes;
mod table;
mod weir;
mod workload;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workload::Size;

/// Weir's simulator beside aisimulate-core, or Weir alone over sizes.
#[derive(Debug, Parser)]
struct Arguments {
    /// Weir alone: speed and memory over numbers of requests and lengths of the prefix
    #[arg(long)]
    sizes: bool,
    /// Pairs to run; with --sizes, processes per size
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Requests of each of Weir's runs
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    requests: u64,
    /// Requests of each of the peer's runs, and of both in the check
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    peer_requests: u64,
    #[command(subcommand)]
    one: Option<One>,
}

/// What a child process of `--sizes` does.
#[derive(Debug, Subcommand)]
enum One {
    /// One recorded run of Weir; prints its figures for the parent
    #[command(hide = true)]
    One { requests: u64, prefix_tokens: u32 },
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
    let machine = host::describe();
    let core = host::pin_to_one_core()?;
    if let Some(One::One { requests, prefix_tokens }) = arguments.one {
        return sizes::one(Size { requests, prefix_tokens });
    }
    println!("{machine}; pinned to core {core}; rows go to {}", std::env::temp_dir().display());
    if arguments.sizes {
        sizes::run(arguments.runs)
    } else {
        duel::run(arguments.runs, arguments.requests, arguments.peer_requests)
    }
}
