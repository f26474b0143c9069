//! Comparison of load generators: for each case and tool a fresh mock server on one core, the tool
//! on another, and the difference between their figures.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]

mod bars;
mod case;
mod figures;
mod own;
mod processes;
mod results;
mod server;
mod table;
mod tool;
mod trial;
mod weir_rows;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde_json::json;
use weir_bench_load::machine;

use crate::case::{Case, Group};
use crate::figures::Figure;
use crate::results::Results;
use crate::tool::{Places, Tool};
use crate::trial::Setting;

static STOP: AtomicBool = AtomicBool::new(false);

/// Load generators side by side, against a server that knows the truth
#[derive(Debug, Parser)]
struct Arguments {
    /// Tools to compare, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "bare,weir,guidellm,aiperf")]
    tools: Vec<String>,
    /// One more tool: a shell's command in which `{url} {model} {streams} {prompt_tokens}
    /// {output_tokens} {requests} {duration_s} {out} {tokenizer}` are filled in. A JSON file that
    /// it writes to the folder `{out}` in the form of vLLM's benchmarks is read
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<String>,
    /// Only cases whose name begins with one of these: unpaced, bursts, paced-512x128, ...
    #[arg(long, value_delimiter = ',')]
    case: Vec<String>,
    /// Runs of each tool on each case; medians are printed
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: Option<u32>,
    /// Seconds of load per run
    #[arg(long)]
    duration_s: Option<f64>,
    /// Fewer cases, one short run of each
    #[arg(long)]
    quick: bool,
    /// Core of the server and of this driver
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core of the tools
    #[arg(long, default_value_t = 1)]
    client_core: usize,
    /// Seconds that a tool may take beyond the load, for its start and its end
    #[arg(long, default_value_t = 180)]
    patience_s: u64,
    /// Weir's binary
    #[arg(long, default_value = "target/release/weir")]
    weir: PathBuf,
    /// Folder of the installed clients, as scripts/peers/clients prints it
    #[arg(long)]
    clients: Option<PathBuf>,
    /// Also write everything, run by run, to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Keep the files of all runs in this folder
    #[arg(long)]
    keep: Option<PathBuf>,
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
    // Orphans become this process's children, so that they are counted and ended.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("this process could not become a subreaper")?;
    machine::raise_descriptors();
    let temporary = tempfile::tempdir().context("no temporary folder; set TMPDIR")?;
    let folder = match &arguments.keep {
        Some(folder) => std::path::absolute(folder).context("--keep")?,
        None => temporary.path().to_owned(),
    };
    fs::create_dir_all(&folder).with_context(|| format!("{} not made", folder.display()))?;
    // Files of an earlier comparison would pass for results of this one.
    let mut entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    ensure!(entries.next().is_none(), "--keep {}: not empty; name a new folder", folder.display());
    let places = Places {
        weir: std::path::absolute(&arguments.weir).context("--weir")?,
        clients: arguments.clients.clone().unwrap_or_else(default_clients),
        tokenizer: folder.join("tokenizer"),
    };
    let (tools, cases) = (tools(arguments, &places)?, cases(arguments)?);
    if tools.iter().any(Tool::needs_tokenizer) {
        make_tokenizer(&places)?;
    }
    machine::pin(arguments.server_core)?;
    let setting = Setting {
        places,
        server_core: arguments.server_core,
        client_core: arguments.client_core,
        duration_s: arguments.duration_s.unwrap_or(if arguments.quick { 5.0 } else { 20.0 }),
        patience: Duration::from_secs(arguments.patience_s),
        stop: &STOP,
    };
    ensure!(
        setting.duration_s.is_finite() && setting.duration_s > 0.0,
        "--duration-s {}: not above 0",
        setting.duration_s
    );
    let repeats = arguments.repeats.unwrap_or(if arguments.quick { 1 } else { 3 });
    let heading = heading(&setting, repeats);
    let results = measure(&setting, &cases, &tools, repeats, &folder);
    if results.is_empty() {
        bail!("nothing was measured: every run failed or was stopped");
    }
    println!("{heading}\n\n{}\n{NOTES}", results.text());
    if let Some(path) = &arguments.json {
        let setting = json!({
            "heading": heading,
            "processor": machine::processor_name(),
            "duration_s": setting.duration_s,
            "repeats": repeats,
        });
        let text = serde_json::to_string_pretty(&results.json(&setting))?;
        fs::write(path, text).with_context(|| format!("{} not written", path.display()))?;
    }
    ensure!(!STOP.load(Ordering::Relaxed), "stopped; the tables hold what was measured until then");
    Ok(())
}

const NOTES: &str = "\
tokens/s, in flight: as the server saw them, the middle of the run. CPU: of the tool's whole
process tree, from the server's first request to its last token, so that a slow start does not
count. MiB: resident, pages that processes share counted in each. Errors: what the tool says less
what the server knows, ms, by request where its records allow, else by distribution. True TTFT:
from the request's arrival in the server's kernel to the first token's handing over. bound covers:
requests whose stated error bound covers the true error. server busy, foreign: cores.";

/// All tools take turns on a case, so that drift affects all of them.
fn measure(
    setting: &Setting,
    cases: &[Case],
    tools: &[Tool],
    repeats: u32,
    folder: &Path,
) -> Results {
    let mut results = Results::default();
    let runs: Vec<(u32, Case, &Tool)> = (0..repeats)
        .flat_map(|repeat| cases.iter().map(move |case| (repeat, *case)))
        .flat_map(|(repeat, case)| tools.iter().map(move |tool| (repeat, case, tool)))
        .filter(|(_, case, tool)| !(tool.is_slow() && case.group() == Group::Bursts))
        .collect();
    for (done, (repeat, case, tool)) in runs.iter().enumerate() {
        if STOP.load(Ordering::Relaxed) {
            break;
        }
        let name = case.name();
        eprint!("[{:>3}/{}] {name} {} ... ", done + 1, runs.len(), tool.name);
        let start = Instant::now();
        let folder = folder.join(&name).join(format!("{}-{repeat}", tool.name));
        match trial::run(setting, *case, tool, &folder) {
            Ok(figures) => {
                let figure = |figure| figures.get(&figure).copied().unwrap_or(f64::NAN);
                let foreign = figure(Figure::ForeignCores);
                let mut note =
                    if results::is_disturbed(&figures) { ", DISTURBED" } else { "" }.to_owned();
                if results::is_refused(&figures) {
                    note += ", REFUSED by the tool itself";
                }
                eprintln!(
                    "{} tokens/s, {:.2} CPU s/M, foreign load {foreign:.2} cores{note} ({:.0} s)",
                    table::whole(figure(Figure::TokensPerS)),
                    figure(Figure::CpuSPerMillionTokens),
                    start.elapsed().as_secs_f64()
                );
                results.add(*case, &tool.name, figures);
            }
            Err(_) if STOP.load(Ordering::Relaxed) => eprintln!("stopped"),
            Err(error) => {
                eprintln!("failed: {error:#}");
                results.add_failure(*case, &tool.name, format!("{error:#}"));
            }
        }
    }
    results
}

fn heading(setting: &Setting, repeats: u32) -> String {
    let cores = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = cores.lines().filter(|line| line.starts_with("processor")).count();
    format!(
        "{}, {cores} cores; server on core {}, tools on core {}; {} s of load, \
         medians of {repeats} runs",
        machine::processor_name(),
        setting.server_core,
        setting.client_core,
        setting.duration_s
    )
}

/// Tools that cannot run are named.
fn tools(arguments: &Arguments, places: &Places) -> Result<Vec<Tool>> {
    let named = arguments.tools.iter().map(|name| Tool::named(name));
    let peers = arguments.peer.iter().map(|text| Tool::peer(text));
    let mut tools = Vec::new();
    for tool in named.chain(peers) {
        let tool = tool?;
        match tool.missing(places) {
            Some(why) => eprintln!("without {}: {why}", tool.name),
            None => tools.push(tool),
        }
    }
    ensure!(!tools.is_empty(), "no tool can run");
    Ok(tools)
}

fn cases(arguments: &Arguments) -> Result<Vec<Case>> {
    let mut cases = case::all(arguments.quick && arguments.case.is_empty());
    if !arguments.case.is_empty() {
        cases.retain(|case| {
            let name = case.name();
            arguments.case.iter().any(|wanted| name.starts_with(wanted.as_str()))
        });
    }
    let names: Vec<String> = case::all(false).into_iter().map(Case::name).collect();
    ensure!(!cases.is_empty(), "--case: none begins so; there are {}", names.join(", "));
    Ok(cases)
}

/// By `scripts/peers/clients`.
fn default_clients() -> PathBuf {
    let cache = env::var_os("WEIR_CACHE").map(PathBuf::from).or_else(|| {
        let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
        Some(base.or_else(home)?.join("weir"))
    });
    cache.unwrap_or_default().join("clients")
}

/// With the Python of an installed client.
fn make_tokenizer(places: &Places) -> Result<()> {
    let python = ["guidellm", "aiperf"]
        .map(|client| places.clients.join(client).join("bin/python"))
        .into_iter()
        .find(|python| python.is_file())
        .context("no client is installed whose Python could make a tokenizer")?;
    eprintln!("making a tokenizer");
    let output = Command::new(python)
        .args(["-c", include_str!("../../../tokenizer.py")])
        .arg(&places.tokenizer)
        .output()
        .context("the client's Python could not be started")?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "the tokenizer could not be made: {}", error.trim());
    Ok(())
}
