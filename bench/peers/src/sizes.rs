//! Weir alone, recorded, over numbers of requests and prefix lengths. Each run has its own
//! process, for its own peak resident size.

use std::env;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::host::{memory, timed};
use crate::table::{self, median, whole};
use crate::weir;
use crate::workload::{PREFIX_TOKENS, Size};

/// Sizes over which only the number of requests changes.
const REQUESTS: [u64; 3] = [10_000, 100_000, 1_000_000];
/// Sizes over which only the prefix changes.
const PREFIXES: [u32; 3] = [1_000, 10_000, 30_000];
/// Of each run over [`PREFIXES`].
const PREFIX_REQUESTS: u64 = 100_000;

pub(crate) fn run(rounds: u32) -> Result<()> {
    let by_requests = REQUESTS.map(|requests| Size { requests, prefix_tokens: PREFIX_TOKENS });
    let by_prefix = PREFIXES.map(|prefix_tokens| Size { requests: PREFIX_REQUESTS, prefix_tokens });
    for sizes in [by_requests, by_prefix] {
        let mut seen = sizes.map(|size| (size, Vec::new()));
        for _ in 0..rounds {
            for (size, figures) in &mut seen {
                figures.push(child(*size)?);
            }
        }
        let rows: Vec<Vec<String>> =
            seen.iter().map(|(size, figures)| row(*size, figures)).collect();
        println!();
        table::print(
            &["requests", "prefix tokens", "requests/s", "by processor time", "peak memory"],
            &rows,
        );
    }
    println!();
    println!(
        "medians of {rounds} processes each; peak memory: largest growth of the resident size"
    );
    Ok(())
}

/// Seconds by the wall clock, CPU seconds, bytes.
struct Figures {
    wall_s: f64,
    processor_s: f64,
    growth: f64,
}

pub(crate) fn one(size: Size) -> Result<()> {
    let folder = tempfile::tempdir()
        .context("no temporary folder; set TMPDIR to one that can be written")?;
    let before = memory("VmRSS")?;
    let taken = timed(|| weir::recorded(size, &folder.path().join("run")))?.1;
    let growth = memory("VmHWM")?.saturating_sub(before);
    println!("{} {} {growth}", taken.wall.as_secs_f64(), taken.processor.as_secs_f64());
    Ok(())
}

fn child(size: Size) -> Result<Figures> {
    let binary = env::current_exe().context("the path of this binary is unknown")?;
    let output = Command::new(&binary)
        .args(["one", &size.requests.to_string(), &size.prefix_tokens.to_string()])
        .output()
        .with_context(|| format!("{} could not be started", binary.display()))?;
    ensure!(
        output.status.success(),
        "{size:?} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [wall_s, processor_s, growth] = figures[..] else {
        anyhow::bail!("{size:?} printed no figures but: {}", text.trim());
    };
    Ok(Figures { wall_s, processor_s, growth })
}

fn row(size: Size, figures: &[Figures]) -> Vec<String> {
    let rate = |seconds: fn(&Figures) -> f64| {
        let rates: Vec<f64> =
            figures.iter().map(|run| size.requests as f64 / seconds(run)).collect();
        whole(median(&rates))
    };
    let growth = figures.iter().map(|run| run.growth).fold(0.0, f64::max);
    vec![
        whole(size.requests as f64),
        whole(f64::from(size.prefix_tokens)),
        rate(|run| run.wall_s),
        rate(|run| run.processor_s),
        format!("{:.1} MiB", growth / f64::from(1 << 20)),
    ]
}
