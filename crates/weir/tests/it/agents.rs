//! Loads from several processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rustix::process::Signal;
use weir_model::{Outcome, RequestRow};
use weir_record::RequestFile;

use crate::binary::{Answer, Running, no_secret_in, weir};
use crate::folder::json;
use crate::live::Served;

/// A refused level is a valid result on a machine that is busy with other tests.
const REFUSED: &str = "cells are refused";
const SECRET: &str = "S3CRET-of-the-server";
const CELL: &str = "cells/Qwen--Qwen3-0.6B/endpoint/as-deployed";

/// Prompts of the seed, so that two loads ask the same.
fn load(folder: &Path, url: &str, out: &str, more: &[&str]) -> Answer {
    let args = ["load", url, "--same-prompts", "--prompt-tokens", "48", "--output-tokens", "8"];
    weir(folder, &[&args[..], &["--prefix-tokens", "64", "--out", out], more].concat())
}

#[track_caller]
fn measured(answer: &Answer) {
    let refused = answer.code == Some(1) && answer.out.contains(REFUSED);
    assert!(refused || answer.code == Some(0), "{}\n{}", answer.out, answer.err);
}

fn rows(folder: &Path, run: &str, level: &str) -> Vec<RequestRow> {
    let file = folder.join(run).join(CELL).join(level).join("0/requests.parquet");
    RequestFile::read(&file).unwrap().map(Result::unwrap).collect()
}

#[test]
fn four_processes_ask_what_one_asks_and_find_the_same_figures() {
    let served = Served::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let args = ["--poisson", "40", "--requests", "120", "--warmup", "0s"];
    measured(&load(folder, &served.url, "one", &args));
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), SECRET).unwrap();
    let bearer = ["--bearer-file", secret.path().to_str().unwrap(), "--processes", "4"];
    measured(&load(folder, &served.url, "four", &[&args[..], &bearer].concat()));
    no_secret_in(&folder.join("four"), SECRET);
    let (one, four) = (rows(folder, "one", "r40"), rows(folder, "four", "r40"));
    let asked = |rows: &[RequestRow]| {
        let mut asked: Vec<_> = rows
            .iter()
            .map(|row| (row.due, row.session, row.turn, row.prompt_id, row.seen_tokens.0))
            .collect();
        asked.sort_unstable();
        asked
    };
    assert_eq!(one.len(), 120);
    assert_eq!(asked(&one), asked(&four));
    assert!(one.iter().all(|row| row.shard.is_none()));
    assert!(four.iter().all(|row| row.shard.map(u64::from) == Some(row.session % 4)));
    assert!(four.iter().all(|row| row.outcome == Outcome::Done), "{four:?}");
    let cell = |run: &str| json(&folder.join(run).join(CELL).join("r40/0/cell.json"));
    let (one, four) = (cell("one"), cell("four"));
    assert_eq!(four["figures"]["completed"], one["figures"]["completed"]);
    assert_eq!(four["figures"]["output_tokens"], one["figures"]["output_tokens"]);
    assert_eq!(four["figures"]["certificate"]["workers"], 4);
    let trial = json(&folder.join("four").join(CELL).join("r40/0/trial.json"));
    let shards = trial["shards"].as_array().unwrap();
    assert_eq!(shards.len(), 4);
    for shard in shards {
        assert_eq!(shard["requests"], 30, "{shard}");
        let offset = shard["clock_offset_ns"].as_i64().unwrap().unsigned_abs();
        assert!(offset <= shard["clock_bound"].as_u64().unwrap(), "{shard}");
    }
}

struct Agent {
    process: Running,
    address: String,
    _folder: tempfile::TempDir,
}

impl Agent {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let args = ["agent", "load", "--listen", "127.0.0.1:0", "--once"];
        let mut process = Running::start(folder.path(), &args);
        let out = folder.path().join("stdout");
        process
            .wait_until("the agent's address", || fs::read_to_string(&out).unwrap().contains('\n'));
        let address = process.results().split_whitespace().next().unwrap().to_owned();
        Self { process, address, _folder: folder }
    }
}

#[test]
fn an_agent_that_dies_fails_its_level_by_name_and_finished_levels_are_kept() {
    let served = Served::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (Agent::start(), Agent::start());
    let agents = format!("{},{}", first.address, second.address);
    let args = ["load", &served.url, "--users", "2,4", "--duration", "4s", "--output-tokens", "8"];
    let mut process = Running::start(
        folder.path(),
        &[&args[..], &["--out", "run", "--agents", &agents]].concat(),
    );
    let cells = folder.path().join("run").join(CELL);
    // Levels run in the plan's order, which is by chance.
    let is_done = |level: &&str| cells.join(level).join("0/cell.json").exists();
    process.wait_until("the first level", || ["c2", "c4"].iter().any(&is_done));
    let (first_level, second_level) = if is_done(&"c2") { ("c2", "c4") } else { ("c4", "c2") };
    process.wait_until("the second level", || cells.join(second_level).join("0").is_dir());
    second.process.signal(Signal::KILL);
    let status = process.end();
    assert_eq!(status.code(), Some(1), "{}\n{}", process.results(), process.words());
    let kept = json(&cells.join(first_level).join("0/cell.json"));
    assert!(kept["figures"]["completed"].as_u64().unwrap() > 0, "{kept}");
    let failed = json(&cells.join(second_level).join("0/cell.json"));
    let shard = &failed["status"]["failed"]["shard"];
    assert_eq!((&shard["shard"], &shard["of"]), (&1.into(), &2.into()), "{failed}");
    assert_eq!(shard["agent"], second.address.as_str(), "{failed}");
    // Lines are wrapped.
    let words = process.results().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&format!("shard 1 of 2, {}", second.address)), "{words}");
}

#[test]
fn agents_that_cannot_serve_are_refused_in_one_line() {
    let served = Served::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let absent = load(folder, &served.url, "a", &["--agents", "127.0.0.1:9"]).refusal(3, folder);
    assert!(absent.contains("agent 127.0.0.1:9"), "{absent}");
    let few = load(folder, &served.url, "b", &["--users", "2", "--processes", "3"]);
    let few = few.refusal(2, folder);
    assert!(few.contains("2 users cannot be divided among 3 agents"), "{few}");
    let turns = ["--rate", "5", "--turns", "2", "--requests", "9", "--processes", "2"];
    let turns = load(folder, &served.url, "c", &turns).refusal(2, folder);
    assert!(turns.contains("a limit of 9 requests cannot be divided"), "{turns}");
    let open = weir(folder, &["agent", "load", "--listen", "0.0.0.0:0", "--once"]);
    assert_eq!(open.code, Some(2), "{}", open.err);
    assert!(open.err.contains("WEIR_AGENT_TOKEN"), "{}", open.err);
    assert!(!folder.join("a").exists() && !folder.join("b").exists());
}

#[test]
fn a_field_runs_an_experiment_with_agents_and_is_fetched() {
    let served = Served::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "name: inside\ntarget: {{endpoint: {{url: '{}'}}}}\nmodels: [Qwen/Qwen3-0.6B]\n\
         hardware: 1x-l40s\narms: [no-offload]\nworkload:\n  shared-prefix: {{prefixes: 3, \
         prefix_tokens: 64, prompt_tokens: 16, output_tokens: 4}}\nload: {{users: [2, 4], \
         duration: 2s, warmup: 200ms}}\n",
        served.url
    );
    fs::write(folder.path().join("inside.yaml"), text).unwrap();
    let args = ["agent", "field", "inside.yaml", "--agents", "2", "--listen", "127.0.0.1:0"];
    let mut field = Running::start(folder.path(), &[&args[..], &["--out", "there"]].concat());
    let out = folder.path().join("stdout");
    field.wait_until("the field's address", || fs::read_to_string(&out).unwrap().contains('\n'));
    let url = format!("http://{}", field.results().split_whitespace().next().unwrap());
    let places = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut agents: Vec<Running> = places
        .iter()
        .map(|place| Running::start(place.path(), &["agent", "load", "--field", &url]))
        .collect();
    let fetched = weir(folder.path(), &["agent", "fetch", &url, "--out", "here"]);
    assert_eq!(fetched.code, Some(0), "{}\n{}", fetched.out, fetched.err);
    let code = field.end().code();
    assert!(matches!(code, Some(0 | 1)), "{}\n{}", field.results(), field.words());
    for agent in &mut agents {
        assert_eq!(agent.end().code(), Some(0), "{}", agent.words());
    }
    for level in ["c2", "c4"] {
        let cell = format!("cells/Qwen--Qwen3-0.6B/1x-l40s/no-offload/{level}/0");
        let rows = |run: &str| {
            let file = folder.path().join(run).join(&cell).join("requests.parquet");
            RequestFile::read(&file).unwrap().map(Result::unwrap).collect::<Vec<_>>()
        };
        let here = rows("here");
        assert_eq!(here, rows("there"));
        let shards: BTreeSet<_> = here.iter().map(|row| row.shard).collect();
        assert_eq!(shards, [Some(0), Some(1)].into());
    }
    weir(folder.path(), &["report", "here"]).done();
}
