#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]

mod allocations;
mod bare;
mod blocks;
mod contest;
mod disk;
mod figures;
mod fio;
mod lmcache;
mod machine;
mod memory;
mod report;
mod resp;
mod table;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};

use crate::contest::{Pace, STOP};
use crate::figures::Case;
use crate::lmcache::Lmcache;
use crate::machine::Cores;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

const BLOCK_SIZES: [usize; 2] = [2 << 20, 64 << 10];

/// Weir's tiers beside the practical limits and LMCache, in one run
#[derive(Debug, Parser)]
struct Arguments {
    /// Fewer bytes, one round, one depth: two minutes
    #[arg(long)]
    quick: bool,
    /// The least of everything: shows that it runs, its figures say nothing
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,
    /// Only these tiers
    #[arg(long, value_delimiter = ',')]
    only: Vec<Group>,
    /// Rounds of each contestant on each case; medians are printed [default: 5, quick 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// On a machine that others use: seconds that each turn waits for a calm moment. Turns that are
    /// disturbed are repeated, up to three times
    #[arg(long)]
    calm_s: Option<u64>,
    /// Folder on the disk to be measured [default: beside this program]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// LMCache's command, as scripts/peers/lmcache prints it
    #[arg(long)]
    lmcache: Option<PathBuf>,
    /// Also write everything, round by round, to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// A kind of tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Redis and Valkey
    Resp,
    /// A disk
    Disk,
    /// Host memory
    Memory,
}

#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) cores: Cores,
    pub(crate) pace: Pace,
    /// Bytes of a round in a store, on a disk, in memory: powers of two.
    pub(crate) store_bytes: usize,
    pub(crate) disk_bytes: usize,
    pub(crate) memory_bytes: usize,
    pub(crate) lmcache: Result<Lmcache, String>,
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
    let stop = || STOP.store(true, Ordering::Relaxed);
    ctrlc::set_handler(stop).context("Ctrl-C could not be caught")?;
    let smoke = arguments.smoke;
    let quick = arguments.quick || smoke;
    let bytes = |mib: usize| {
        if smoke {
            64 << 20
        } else if quick {
            (mib << 20) / 2
        } else {
            mib << 20
        }
    };
    let setting = Setting {
        cores: Cores::of_this_process()?,
        pace: Pace {
            rounds: arguments.rounds.unwrap_or(if quick { 1 } else { 5 }),
            patience: arguments.calm_s.map(Duration::from_secs),
        },
        store_bytes: bytes(512),
        disk_bytes: bytes(512),
        memory_bytes: if smoke { bytes(512) } else { 256 << 20 },
        lmcache: Lmcache::find(arguments.lmcache.as_deref()),
    };
    let wants = |group| arguments.only.is_empty() || arguments.only.contains(&group);
    let folder = wants(Group::Disk).then(|| disk::folder(arguments.dir.as_deref())).transpose()?;
    let heading = heading(&setting);
    eprintln!("{heading}");
    let mut cases: Vec<Case> = Vec::new();
    if wants(Group::Memory) {
        for block_bytes in BLOCK_SIZES {
            cases.push(memory::case(&setting, block_bytes)?);
        }
    }
    if wants(Group::Resp) {
        for product in resp::PRODUCTS {
            for block_bytes in BLOCK_SIZES {
                cases.push(resp::case(&setting, product, block_bytes)?);
            }
        }
    }
    if let Some(folder) = &folder {
        for block_bytes in BLOCK_SIZES {
            for depth in disk::DEPTHS.into_iter().take(if quick { 1 } else { usize::MAX }) {
                cases.push(disk::case(&setting, folder.path(), block_bytes, depth)?);
            }
        }
    }
    println!("{heading}\n\n{}", report::text(&cases));
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report::json(&heading, &cases))?;
        fs::write(path, text).with_context(|| format!("{} not written", path.display()))?;
    }
    ensure!(!STOP.load(Ordering::Relaxed), "stopped; the tables hold what was measured until then");
    Ok(())
}

fn heading(setting: &Setting) -> String {
    let lmcache = match &setting.lmcache {
        Ok(lmcache) => format!("LMCache {}", lmcache.version().unwrap_or_default()),
        Err(_) => "no LMCache".to_owned(),
    };
    format!("{}; {lmcache}; medians of {} rounds", machine::describe(), setting.pace.rounds)
}
