//! Live commands: a server, loads on it, and experiments on live targets.

use std::fs;
use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::Value;

use crate::binary::{Answer, Running, weir};
use crate::folder::{complete_cells, json};

/// A refused level is a valid result on a machine that is busy with other tests.
const REFUSED: &str = "- refused: ";

/// Ended when dropped.
pub(crate) struct Served {
    pub(crate) process: Running,
    pub(crate) url: String,
    _folder: tempfile::TempDir,
}

impl Served {
    pub(crate) fn start(more: &[&str]) -> Self {
        let engine = ["serve", "--model", "Qwen/Qwen3-0.6B", "--hardware", "1x-l40s"];
        Self::start_as(&[&engine[..], &["--port", "0"], more].concat())
    }

    /// With all arguments of the caller's.
    pub(crate) fn start_as(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Running::start(folder.path(), args);
        let out = folder.path().join("stdout");
        process.wait_until("the server's address", || {
            fs::read_to_string(&out).unwrap().contains('\n')
        });
        let banner = process.results();
        let url = banner.split_whitespace().next().unwrap().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{banner}");
        Self { process, url, _folder: folder }
    }
}

/// Accepts a refusal because the machine was too busy.
#[track_caller]
fn measured(answer: Answer) -> Answer {
    let refused = answer.code == Some(1) && answer.out.contains(REFUSED);
    assert!(refused || answer.code == Some(0), "{}\n{}", answer.out, answer.err);
    answer
}

#[test]
fn a_load_measures_a_server_and_is_exported() {
    let served = Served::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let formats = ["guidellm=g.json", "vllm-bench=v.json", "benchmark-report=b.yaml", "csv=c.csv"];
    let mut args = vec!["load", &served.url, "--users", "2", "--requests", "12"];
    args.extend(["--prompt-tokens", "64", "--output-tokens", "8", "--out", "run"]);
    args.extend(formats.iter().flat_map(|format| ["--format", format]));
    let answer = measured(weir(folder.path(), &args));
    let record =
        json(&folder.path().join("run/cells/Qwen--Qwen3-0.6B/endpoint/as-deployed/c2/0/cell.json"));
    assert_eq!(record["figures"]["completed"], 12, "{record}");
    assert_eq!(record["figures"]["failed"], 0, "{record}");
    assert!(folder.path().join("run/report/report.html").is_file());
    if !answer.out.contains(REFUSED) {
        let guidellm = json(&folder.path().join("g.json"));
        assert_eq!(guidellm["benchmarks"][0]["metrics"]["request_totals"]["successful"], 12);
        let bench = json(&folder.path().join("v.json"));
        assert_eq!((&bench["completed"], &bench["total_output_tokens"]), (&12.into(), &96.into()));
        let csv = fs::read_to_string(folder.path().join("c.csv")).unwrap();
        assert_eq!(csv.lines().count(), 13, "{csv}");
        assert!(fs::read_to_string(folder.path().join("b.yaml")).unwrap().contains("version"));
    }
}

#[test]
fn own_answers_reuse_generated_tokens() {
    let served = Served::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let args = ["load", &served.url, "--users", "1", "--requests", "3", "--turns", "3"];
    let more = ["--prompt-tokens", "64", "--output-tokens", "64", "--own-answers", "--out", "run"];
    measured(weir(folder.path(), &[&args[..], &more].concat()));
    let evidence = json(
        &folder.path().join("run/cells/Qwen--Qwen3-0.6B/endpoint/as-deployed/c1/0/evidence.json"),
    );
    let tokens = |kind: &str| evidence["signals"][kind][0]["value"].as_f64().unwrap();
    // Turn 2 quotes 64 prompt and 64 generated tokens, turn 3 twice as many. All are cached but
    // the last generated one of each turn, and the block it would complete.
    let cached = tokens("gpu-hit-tokens");
    assert!(cached > 64.0 * 3.0, "generated tokens were not reused: {cached} of {evidence}");
}

#[test]
fn a_search_finds_a_rate_that_meets_the_objectives() {
    let served = Served::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let args = ["load", &served.url, "--find-rate", "4..5", "--slo-e2e", "60s", "--requests", "6"];
    let more = ["--prompt-tokens", "16", "--output-tokens", "2", "--out", "run"];
    let answer = weir(folder.path(), &[&args[..], &more].concat());
    let met = answer.out.contains("All rates up to the end of the range, 5 sessions/s");
    assert!(met || answer.out.contains(REFUSED), "{}\n{}", answer.out, answer.err);
}

#[test]
fn what_cannot_be_loaded_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |code: i32, args: &[&str]| {
        let answer = weir(folder.path(), &[&["load"], args].concat());
        let line = answer.refusal(code, folder.path());
        assert!(!folder.path().join("runs").exists(), "nothing is written before it is asked");
        line
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dead = format!("http://127.0.0.1:{port}");
    assert!(refused(3, &[&dead]).contains("refused"), "{}", refused(3, &[&dead]));
    assert!(refused(2, &["localhost:8000"]).contains("http://localhost:8000"));
    assert!(refused(2, &[&dead, "--find-rate", "1..4"]).contains("objective is required"));
    assert!(refused(2, &[&dead, "--format", "xml=x"]).contains("guidellm"));
    assert!(refused(2, &[&dead, "--header", "no colon"]).contains("Name: value"));
    let served = Served::start(&[]);
    let line = refused(2, &[&served.url, "--model", "other"]);
    assert!(line.contains("serves `Qwen/Qwen3-0.6B`, not `other`"), "{line}");
    let answer = weir(folder.path(), &["load", &served.url, "--duration", "soon"]);
    assert_eq!(answer.code, Some(2), "{}", answer.err);
    assert!(answer.err.contains("--duration") && answer.err.contains("`100ms`"), "{}", answer.err);
    let line = refused(2, &[&served.url, "--prompt-tokens", "50000"]);
    assert!(line.contains("40960"), "{line}");
}

#[test]
fn an_experiment_runs_on_the_emulated_engine_with_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let file = "\
name: live
target: {emulated: {byte_scale: 0.02}}
models: [Qwen/Qwen3-0.6B]
hardware: 1x-l40s
engine: {kv_tokens: 20000, max_model_len: 8192, max_num_seqs: 16}
arms: [no-offload, {preset: native-offload, bytes: 20GiB}]
workload:
  shared-prefix: {prefixes: 16, prefix_tokens: 4000, prompt_tokens: 64, output_tokens: 8}
load: {users: [4], duration: 6s, warmup: 2s}
";
    fs::write(folder.path().join("live.yaml"), file).unwrap();
    let answer = weir(folder.path(), &["run", "live.yaml", "--out", "run"]);
    assert!(matches!(answer.code, Some(0 | 1)), "{}\n{}", answer.out, answer.err);
    assert!(answer.out.contains("real bytes, scaled by 0.02"), "{}", answer.out);
    let run = folder.path().join("run");
    let cells = complete_cells(&run);
    assert_eq!(cells.len(), 2, "{}\n{}", answer.out, answer.err);
    for cell in cells {
        let evidence = json(&run.join("cells").join(&cell).join("evidence.json"));
        assert_eq!(evidence["predicted"], false);
        assert_eq!(evidence["signals"]["gpu-hit-tokens"][0]["source"], "vLLM's /metrics");
        let native = cell.contains("native-offload");
        let record = json(&run.join("cells").join(&cell).join("cell.json"));
        if native && record["figures"]["certificate"]["refused"].is_null() {
            // Sixteen prefixes of 4,000 tokens do not fit 20,000: they come from host memory.
            assert_eq!(evidence["verdict"], "effective", "{evidence}");
            // Blocks were moved, and every loaded one was stored before.
            let sources = evidence["signals"]["loaded-bytes"].as_array().unwrap();
            let of_tiers = |it: &&Value| it["source"] == "Weir's tiers";
            let loaded = sources.iter().find(of_tiers).unwrap()["value"].as_f64().unwrap();
            assert!(loaded > 1e9, "{loaded} bytes of the model's KV");
            assert_eq!(evidence["signals"]["wrong-blocks"][0]["value"], 0.0);
        }
        assert!(run.join("cells").join(&cell).join("series.parquet").is_file());
        let caches = &json(&run.join("cells").join(&cell).join("trial.json"))["caches"];
        let counted = &caches[0]["known"]["counted"]["served"];
        assert_eq!((&counted["asked"], &counted["served"]), (&2048.into(), &0.into()), "{caches}");
    }
}

#[test]
fn a_served_engine_ends_by_ctrl_c_and_frees_its_port() {
    let mut served = Served::start(&["--replicas", "2", "--arm", "llm-d-inmemory"]);
    served.process.signal(Signal::INT);
    assert_eq!(served.process.end().code(), Some(0), "{}", served.process.words());
    let address = served.url.trim_start_matches("http://");
    TcpListener::bind(address).expect("the port is free again");
}

#[test]
fn two_runs_on_one_machine_say_so() {
    let start = || {
        let folder = tempfile::tempdir().unwrap();
        let text = "name: beside\ntarget: {emulated: {bytes: modelled}}\nmodels: [Qwen/Qwen3-0.6B]\n\
                    hardware: 1x-l40s\narms: [no-offload]\nworkload: {shared-prefix: {prefixes: 2, \
                    prefix_tokens: 64, prompt_tokens: 32, output_tokens: 4}}\nload: {users: [1], \
                    duration: 8s, warmup: 1s}\n";
        std::fs::write(folder.path().join("beside.yaml"), text).unwrap();
        let running = Running::start(folder.path(), &["run", "beside.yaml", "--out", "run"]);
        (folder, running)
    };
    let mut runs = [start(), start()];
    let pids = [runs[0].1.id(), runs[1].1.id()];
    for (_, run) in &mut runs {
        run.end();
    }
    for ((folder, _), other) in runs.iter().zip([pids[1], pids[0]]) {
        let cell = folder.path().join("run/cells/Qwen--Qwen3-0.6B/1x-l40s/no-offload/c1/0");
        let notes = json(&cell.join("trial.json"))["notes"].clone();
        let is_other = |note: &Value| note["other-run"]["pid"] == other;
        assert!(notes.as_array().unwrap().iter().any(is_other), "{notes}");
    }
}
