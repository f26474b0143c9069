//! Weir and the peer in turns, and the check that both simulate the same.

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::host::{Taken, timed};
use crate::peer::{self, Rows};
use crate::table::{self, median, whole};
use crate::weir;
use crate::workload::{
    BLOCK_TOKENS, BLOCKS, IN_FLIGHT, MAX_SEQUENCES, OUTPUT_TOKENS, OWN_TOKENS, PREFIX_TOKENS, Size,
    TOKEN_BUDGET, Work,
};

/// Runs of each side without and with its rows, besides the pairs.
const EXTRA_RUNS: u32 = 3;
/// Relative difference of passes and virtual time that counts as the same simulation.
const SAME_COURSE: f64 = 0.02;

pub(crate) fn run(pairs: u32, requests: u64, peer_requests: u64) -> Result<()> {
    let ours = Size { requests, prefix_tokens: PREFIX_TOKENS };
    let theirs = Size { requests: peer_requests, prefix_tokens: PREFIX_TOKENS };
    println!(
        "one prefix of {PREFIX_TOKENS} tokens, {OWN_TOKENS} own tokens, {OUTPUT_TOKENS} output \
         tokens, {IN_FLIGHT} in flight; {BLOCKS} blocks of {BLOCK_TOKENS}, at most \
         {MAX_SEQUENCES} sequences and {TOKEN_BUDGET} tokens per pass"
    );
    println!();
    check(theirs)?;

    recorded(ours)?;
    timed(|| peer::simulate(theirs, Rows::Summed))?;
    let mut weir = Runs::new(requests);
    let mut peer = Runs::new(peer_requests);
    for _ in 0..pairs {
        weir.taken.push(recorded(ours)?);
        peer.taken.push(timed(|| peer::simulate(theirs, Rows::Summed))?.1);
    }
    let mut weir_unrecorded = Runs::new(requests);
    let mut peer_kept = Runs::new(peer_requests);
    for _ in 0..EXTRA_RUNS {
        weir_unrecorded.taken.push(timed(|| weir::unrecorded(ours))?.1);
        peer_kept.taken.push(timed(|| peer::simulate(theirs, Rows::Kept))?.1);
    }

    let weir_name = format!("Weir {}", locked_version("weir-sim")?);
    let peer_name = format!("aisimulate-core {}", locked_version("aisimulate-core")?);
    table::print(
        &["requests/s", "requests", "min", "median", "max", "median by processor time"],
        &[
            weir.row(&format!("{weir_name}, rows to Parquet")),
            peer.row(&format!("{peer_name}, sums only")),
            weir_unrecorded.row(&format!("  {weir_name}, rows dropped")),
            peer_kept.row(&format!("  {peer_name}, request records in memory")),
        ],
    );
    let ratio = |rate: fn(&Runs) -> Vec<f64>| {
        let pairs: Vec<f64> =
            rate(&weir).iter().zip(rate(&peer)).map(|(weir, peer)| weir / peer).collect();
        let low = pairs.iter().copied().fold(f64::INFINITY, f64::min);
        let high = pairs.iter().copied().fold(0.0, f64::max);
        format!("{:.1} ({low:.1} to {high:.1})", median(&pairs))
    };
    println!();
    println!(
        "Weir / peer, median of {pairs} pairs (range): {} by the wall clock, {} by processor time",
        ratio(Runs::by_wall),
        ratio(Runs::by_processor)
    );
    let prompts = timed(|| Ok(std::hint::black_box(peer::prompts(theirs))))?.1;
    println!(
        "making the prompts, token by token: {:.1} of the peer's {:.1} us per request",
        prompts.processor.as_secs_f64() * 1e6 / peer_requests as f64,
        1e6 / median(&peer.by_processor())
    );
    Ok(())
}

/// The folder is made before and removed after the timed part.
fn recorded(size: Size) -> Result<Taken> {
    let folder = temporary()?;
    Ok(timed(|| weir::recorded(size, &folder.path().join("run")))?.1)
}

fn temporary() -> Result<TempDir> {
    tempfile::tempdir().context("no temporary folder; set TMPDIR to one that can be written")
}

struct Runs {
    requests: u64,
    taken: Vec<Taken>,
}

impl Runs {
    fn new(requests: u64) -> Self {
        Self { requests, taken: Vec::new() }
    }

    fn by_wall(&self) -> Vec<f64> {
        self.taken.iter().map(|run| self.requests as f64 / run.wall.as_secs_f64()).collect()
    }

    fn by_processor(&self) -> Vec<f64> {
        self.taken.iter().map(|run| self.requests as f64 / run.processor.as_secs_f64()).collect()
    }

    fn row(&self, name: &str) -> Vec<String> {
        let rates = self.by_wall();
        vec![
            name.to_owned(),
            whole(self.requests as f64),
            whole(rates.iter().copied().fold(f64::INFINITY, f64::min)),
            whole(median(&rates)),
            whole(rates.iter().copied().fold(0.0, f64::max)),
            whole(median(&self.by_processor())),
        ]
    }
}

/// Both sides simulate the same requests once; an error where their work differs.
fn check(size: Size) -> Result<()> {
    let folder = temporary()?;
    let run = folder.path().join("run");
    let summary = weir::recorded(size, &run)?;
    let weir = weir::recorded_work(&run)?;
    ensure!(
        weir.passes == Some(summary.passes) && weir.completed == size.requests,
        "Weir's files hold {} finished requests and {:?} passes; it simulated {} and {}",
        weir.completed,
        weir.passes,
        size.requests,
        summary.passes
    );
    let peer = peer::counted(size)?;
    let timed = peer::simulate(size, Rows::Summed)?;
    ensure!(
        Work { passes: None, ..peer } == timed,
        "the peer's timed runs differ from its checked run: {timed:?}, {peer:?}"
    );

    let lines = [
        ("completed requests", weir.completed as f64, peer.completed as f64, 0.0),
        ("prompt tokens", weir.prompt_tokens as f64, peer.prompt_tokens as f64, 0.0),
        ("of these from the cache", weir.hit_tokens as f64, peer.hit_tokens as f64, 0.001),
        ("output tokens", weir.output_tokens as f64, peer.output_tokens as f64, 0.0),
        ("passes", passes(weir), passes(peer), SAME_COURSE),
        ("virtual seconds", weir.virtual_s, peer.virtual_s, SAME_COURSE),
    ];
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|(name, weir, peer, _)| {
            let difference = format!("{:+.2} %", (weir / peer - 1.0) * 100.0);
            vec![(*name).to_owned(), figure(*weir), figure(*peer), difference]
        })
        .collect();
    let what = format!("{} requests each", whole(size.requests as f64));
    table::print(&[&what, "Weir", "peer", "difference"], &rows);
    println!();
    for (name, weir, peer, allowed) in lines {
        ensure!(
            (weir - peer).abs() <= allowed * peer,
            "the sides did not simulate the same thing: {name} are {weir} and {peer}; \
             the rates would not compare"
        );
    }
    Ok(())
}

/// A count as it is, a time in hundredths of a second.
fn figure(value: f64) -> String {
    if value.fract() == 0.0 { whole(value) } else { format!("{value:.2}") }
}

fn passes(work: Work) -> f64 {
    work.passes.map_or(f64::NAN, |passes| passes as f64)
}

/// Of a package that this binary was built with.
fn locked_version(package: &str) -> Result<&'static str> {
    let name = format!("name = \"{package}\"\n");
    let (_, entry) = include_str!("../Cargo.lock")
        .split_once(&name)
        .with_context(|| format!("Cargo.lock has no {package}; run `cargo generate-lockfile`"))?;
    let version = entry.lines().next().and_then(|line| line.strip_prefix("version = "));
    Ok(version
        .with_context(|| format!("{package} has no version in Cargo.lock"))?
        .trim_matches('"'))
}
