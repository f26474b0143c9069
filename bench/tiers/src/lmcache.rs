//! LMCache's own benchmark of its L2 adapters, `lmcache bench l2`.
//!
//! It stores and loads in rounds after a warm-up, and prints a line after each. CPU time is read
//! at these lines, so that its start (seconds of imports) does not count. Before each round of
//! loads it zeroes its buffers, which is not the adapter's work: that time is measured here and
//! subtracted.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Deserialize;
use serde_json::Value;

use crate::figures::{Round, Way};
use crate::machine::Reading;

/// Per call.
const PATIENCE: Duration = Duration::from_mins(5);
const OUTPUT_BYTES_MAX: u64 = 8 << 20;
/// Of its error output in an error.
const COMPLAINT_CHARS: usize = 400;

#[derive(Debug, Clone)]
pub(crate) struct Lmcache {
    program: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) adapter: Value,
    /// A multiple of 1024.
    pub(crate) block_bytes: usize,
    /// Blocks of one submission, and submissions per round.
    pub(crate) keys: usize,
    pub(crate) in_flight: usize,
    pub(crate) rounds: usize,
    pub(crate) align: usize,
    /// The server whose CPU time counts.
    pub(crate) server: Option<u32>,
    /// CPU seconds of zeroing 10^9 bytes.
    pub(crate) zeros_s_per_gb: f64,
}

impl Lmcache {
    pub(crate) fn find(program: Option<&Path>) -> Result<Self, String> {
        let how = "scripts/peers/lmcache installs it and prints the path for --lmcache";
        match program {
            None => Err(format!("not installed: {how}")),
            Some(program) if program.is_file() => Ok(Self { program: program.to_owned() }),
            Some(program) => Err(format!("not installed at {}: {how}", program.display())),
        }
    }

    pub(crate) fn version(&self) -> Option<String> {
        let folders = self.program.ancestors().nth(2)?.join("lib").read_dir().ok()?;
        let packages = folders
            .flatten()
            .filter_map(|folder| folder.path().join("site-packages").read_dir().ok());
        packages.flatten().flatten().find_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_prefix("lmcache-")?.strip_suffix(".dist-info")?.to_owned())
        })
    }

    /// On the cores of this thread.
    pub(crate) fn run(&self, job: &Job) -> Result<Round> {
        let mut command = Command::new(&self.program);
        command
            .args(["bench", "l2", "--format", "json", "--warmup-rounds", "1"])
            .args(["--l2-adapter", &job.adapter.to_string()])
            .args(["--num-keys", &job.keys.to_string()])
            .args(["--in-flight", &job.in_flight.to_string()])
            .args(["--data-size-kb", &(job.block_bytes >> 10).to_string()])
            .args(["--l1-align-bytes", &job.align.to_string()])
            .args(["--rounds", &job.rounds.to_string()])
            .env("LMCACHE_DISABLE_BANNER", "1")
            // Lines must come when they are printed.
            .env("PYTHONUNBUFFERED", "1")
            // Several threads would zero the buffers and wait for each other in loops.
            .env("OMP_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("lmcache could not be started")?;
        let guard = Guard::new(&child)?;
        let complaints = child.stderr.take().map(|stderr| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                // Unreadable output is missing in an error's text.
                let _ = stderr.take(OUTPUT_BYTES_MAX).read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        let output = listen(&mut child, job);
        let status = child.wait().context("lmcache")?;
        drop(guard);
        let complaints = complaints.and_then(|thread| thread.join().ok()).unwrap_or_default();
        if !status.success() {
            let from = complaints.chars().count().saturating_sub(COMPLAINT_CHARS);
            let end: String = complaints.chars().skip(from).collect();
            bail!("lmcache ended with {status}: {}", end.trim());
        }
        let (text, windows) = output?;
        round(&text, &windows, job)
    }
}

/// Kills a child that takes too long.
struct Guard {
    done: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Guard {
    fn new(child: &Child) -> Result<Self> {
        let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())
            .context("lmcache could not be watched")?;
        let (done, waiting) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            if waiting.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                // It fails only when the child has ended.
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            }
        });
        Ok(Self { done: Some(done), thread: Some(thread) })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Readings after the warm-up and after the last round, by direction.
type Windows = [Option<(Reading, Reading)>; 2];

/// Reads its output, and the clocks at the ends of rounds.
fn listen(child: &mut Child, job: &Job) -> Result<(String, Windows)> {
    let pid = child.id();
    let stdout = child.stdout.take().context("lmcache has no output")?;
    let mut lines = BufReader::new(stdout.take(OUTPUT_BYTES_MAX));
    let mut text = String::new();
    let mut windows: Windows = [None; 2];
    loop {
        let from = text.len();
        if lines.read_line(&mut text).context("lmcache's output")? == 0 {
            return Ok((text, windows));
        }
        if let Some((way, number)) = round_ended(&text[from..]) {
            let now = Reading::take(Some(pid), job.server);
            let window = &mut windows[way as usize];
            match window {
                _ if number == 1 => *window = Some((now, now)),
                Some((_, end)) => *end = now,
                None => {}
            }
        }
    }
}

/// Direction and number of the round that a line ends.
fn round_ended(line: &str) -> Option<(Way, usize)> {
    let line = line.trim_start();
    let (way, rest) = if let Some(rest) = line.strip_prefix("[Store] Round ") {
        (Way::Put, rest)
    } else {
        (Way::Get, line.strip_prefix("[Load] Round ")?)
    };
    Some((way, rest.split_once(':')?.0.parse().ok()?))
}

#[derive(Debug, Deserialize)]
struct Report {
    metrics: serde_json::Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Operation {
    #[serde(rename = "operation")]
    name: String,
    rounds: usize,
    rounds_timed_out: usize,
    total_keys: usize,
    total_success: usize,
    duration_avg_ms: f64,
}

/// All rounds of an operation, without the warm-up.
fn seconds(text: &str, operation: &str, job: &Job) -> Result<f64> {
    // Other lines stand around the JSON, none of which begins with a brace.
    let from = text.find("\n{").map(|at| at + 1).context("lmcache printed no JSON")?;
    let mut values = serde_json::Deserializer::from_str(&text[from..]).into_iter::<Report>();
    let report = values.next().context("lmcache printed no JSON")?.context("lmcache's JSON")?;
    let operations = report.metrics.into_iter().filter(|(name, _)| name.starts_with("op_"));
    for (_, value) in operations {
        let found: Operation = serde_json::from_value(value).context("lmcache's JSON")?;
        if found.name != operation {
            continue;
        }
        let wanted = job.rounds * job.in_flight * job.keys;
        ensure!(
            found.rounds == job.rounds && found.rounds_timed_out == 0,
            "lmcache: {operation}: {} of {} rounds ended, {} ran out of time",
            found.rounds,
            job.rounds,
            found.rounds_timed_out
        );
        ensure!(
            found.total_keys == wanted && found.total_success == wanted,
            "lmcache: {operation}: {} of {wanted} blocks succeeded",
            found.total_success
        );
        return Ok(found.duration_avg_ms / 1e3 * found.rounds as f64);
    }
    bail!("lmcache's JSON has no {operation}")
}

fn round(text: &str, windows: &Windows, job: &Job) -> Result<Round> {
    let bytes = (job.rounds * job.in_flight * job.keys * job.block_bytes) as u64;
    let sample = |way: Way, operation: &str| {
        let seconds = seconds(text, operation, job)?;
        let (start, end) = windows[way as usize]
            .with_context(|| format!("lmcache printed no rounds of {operation}"))?;
        Ok::<_, anyhow::Error>(start.sample(end, bytes, Some(seconds)))
    };
    let (put, mut get) = (sample(Way::Put, "Store")?, sample(Way::Get, "Load")?);
    get.client_s_per_gb = get.client_s_per_gb.map(|all| (all - job.zeros_s_per_gb).max(0.0));
    Ok([put, get])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Job, Lmcache, Way, round_ended, seconds};

    /// LMCache 0.5.6 with its adapter `resp` on Redis 7.0.15.
    const OUTPUT: &str = include_str!("../tests/fixtures/lmcache-resp.txt");

    fn job() -> Job {
        let adapter = json!({"type": "resp"});
        let (block_bytes, keys, in_flight, rounds) = (2 << 20, 16, 1, 8);
        let (align, server, zeros_s_per_gb) = (1, None, 0.0);
        Job { adapter, block_bytes, keys, in_flight, rounds, align, server, zeros_s_per_gb }
    }

    #[test]
    fn seconds_are_those_of_all_rounds() {
        // The fixture's own figures: 8 rounds of 76.53 ms, and of 12.48 ms.
        let store = seconds(OUTPUT, "Store", &job()).expect("store");
        let load = seconds(OUTPUT, "Load", &job()).expect("load");
        assert!((store - 0.612_24).abs() < 1e-9 && (load - 0.099_84).abs() < 1e-9);
    }

    #[test]
    fn lines_end_rounds() {
        let ended: Vec<_> = OUTPUT.lines().filter_map(round_ended).collect();
        assert_eq!(ended.len(), 18);
        assert_eq!((ended[0], ended[17]), ((Way::Put, 1), (Way::Get, 9)));
        assert_eq!(round_ended("  [Lookup] Round 1: 1.90 ms, found=0/16"), None);
        assert_eq!(round_ended("[Store] Round x: "), None);
    }

    #[test]
    fn a_run_that_is_not_whole_is_refused() {
        let error = |text: &str, job: &Job| {
            format!("{:#}", seconds(text, "Store", job).expect_err("not whole"))
        };
        let lost = OUTPUT.replacen("\"total_success\": 128", "\"total_success\": 127", 1);
        assert!(error(&lost, &job()).contains("127 of 128"));
        let late = OUTPUT.replacen("\"rounds_timed_out\": 0", "\"rounds_timed_out\": 1", 1);
        assert!(error(&late, &job()).contains("1 ran out of time"));
        assert!(error(OUTPUT, &Job { rounds: 9, ..job() }).contains("8 of 9 rounds"));
        assert!(error("[Init] Failed", &job()).contains("no JSON"));
        let cut = &OUTPUT[..OUTPUT.len() / 2];
        assert!(error(cut, &job()).contains("JSON"));
        let renamed = OUTPUT.replace("\"Store\"", "\"Put\"");
        assert!(error(&renamed, &job()).contains("no Store"));
    }

    #[test]
    fn who_is_not_installed_says_how() {
        let why = Lmcache::find(None).expect_err("no path");
        assert!(why.contains("scripts/peers/lmcache"), "{why}");
        assert!(Lmcache::find(Some("/nowhere/lmcache".as_ref())).is_err());
    }
}
