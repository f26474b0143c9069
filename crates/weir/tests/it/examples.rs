//! Weir's example experiments, shortened, and what each shows.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::binary::weir;
use crate::folder::{Row, example, json, metrics};
use crate::live::Served;
use crate::long::is_asked_for;

/// Runs an example into `run` below the folder.
#[track_caller]
fn run(folder: &Path, name: &str, sets: &[&str]) -> Vec<Row> {
    let file = example(name);
    let mut args = vec!["run", file.to_str().unwrap(), "--quiet", "--out", "run"];
    for set in sets {
        args.extend(["--set", set]);
    }
    let answer = weir(folder, &args).done();
    assert_eq!(answer.err, "");
    let rows = metrics(&folder.join("run"));
    let counts = &json(&folder.join("run/analysis/summary.json"))["cells"];
    assert_eq!(counts["planned"], rows.len());
    assert_eq!(counts["run"], rows.len());
    rows
}

fn verdicts<'a>(rows: &'a [Row], arm: &str) -> BTreeSet<&'a str> {
    let of_arm = rows.iter().filter(|row| row["arm"] == arm);
    let found: BTreeSet<&str> = of_arm.map(|row| row["verdict"].as_str()).collect();
    assert!(!found.is_empty(), "no row of {arm}");
    found
}

#[test]
fn the_published_evaluation_measured_no_offloading() {
    let folder = tempfile::tempdir().unwrap();
    let sets =
        ["load.duration=20s", "load.users=[1, 300]", "models=[Qwen/Qwen3-8B, Qwen/Qwen3-0.6B]"];
    let rows = run(folder.path(), "published-evaluation.yaml", &sets);
    assert_eq!(rows.len(), 2 * 7 * 2);
    assert_eq!(verdicts(&rows, "no-offload"), BTreeSet::from(["control"]));
    for arm in ["native-offload", "lmcache-local", "lmcache-redis", "lmcache-valkey"] {
        let expected = BTreeSet::from(["overhead-only (fits-gpu)"]);
        assert_eq!(verdicts(&rows, arm), expected, "{arm}");
    }
    for arm in ["llm-d-redis", "llm-d-valkey"] {
        assert_eq!(verdicts(&rows, arm), BTreeSet::from(["void (no-choice)"]), "{arm}");
    }
    // A void cell enters no compared figure.
    let of_void = rows.iter().filter(|row| row["verdict"].starts_with("void"));
    assert!(of_void.clone().count() > 0 && of_void.into_iter().all(|row| row["counts"] == "no"));
    let changes =
        std::fs::read(folder.path().join("run/analysis/performance_comparisons.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(changes.as_slice());
    let changes: Vec<Row> = reader.deserialize().map(Result::unwrap).collect();
    let llm_d = changes.iter().filter(|row| row["arm"].starts_with("llm-d"));
    for row in llm_d {
        assert_eq!(row["change_percent"], "", "{row:?}");
    }
}

#[test]
fn a_tier_larger_than_the_pool_is_effective() {
    let folder = tempfile::tempdir().unwrap();
    let sets = ["load.duration=60s", "load.users=[50]", "models=[Qwen/Qwen3-0.6B]"];
    let rows = run(folder.path(), "capacity-bound.yaml", &sets);
    // At the GPUs' full memory and under pressure.
    assert_eq!(rows.len(), 2 * 9);
    assert!(verdicts(&rows, "native-large").contains("effective"), "{rows:?}");
    assert!(verdicts(&rows, "llm-d-redis").contains("void (no-choice)"));
}

/// A prefix of 3,000 tokens has 11 whole chunks of 256 and 2 of 1,024: the rest is computed again.
/// computed again whatever the store is.
#[test]
fn larger_chunks_lower_the_hit_rate_of_the_hyper_converged_node() {
    let folder = tempfile::tempdir().unwrap();
    let rows = run(folder.path(), "hyper-converged.yaml", &["load.duration=40s"]);
    assert_eq!(rows.len(), 5);
    let cached = |arm: &str| -> f64 {
        let row = rows.iter().find(|row| row["arm"] == arm).unwrap();
        let part = |name: &str| row[name].parse::<f64>().unwrap();
        part("gpu_hit_percent") + part("external_hit_percent")
    };
    let (small, large) = (cached("dram-256"), cached("dram-1024"));
    assert!(small - large > 3.0, "{small} and {large}");
    // Kvrocks at the assumed figures stores too little in this time to differ.
    assert!(cached("kvrocks-256") >= cached("kvrocks-1024"));
}

/// The Mooncake trace, below `$WEIR_TRACES` or a `traces` folder in the repository.
fn trace() -> Option<PathBuf> {
    let near = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../traces");
    let folder = std::env::var_os("WEIR_TRACES").map_or(near, PathBuf::from);
    let file = folder.join("mooncake/conversation_trace.jsonl");
    if file.is_file() {
        return Some(file.canonicalize().unwrap());
    }
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "no {}, and CI must have it: set WEIR_TRACES", file.display());
    println!(
        "SKIPPED: mooncake on its trace: {} is not there; set WEIR_TRACES to a folder that has it",
        file.display()
    );
    None
}

#[test]
fn mooncake_runs_on_its_trace() {
    let Some(trace) = trace() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = format!("workload.trace.path={}", trace.display());
    let rows = run(folder.path(), "mooncake.yaml", &[&path, "workload.trace.limit=1000"]);
    assert_mooncake(&rows);
}

#[test]
fn mooncake_runs_on_its_whole_trace() {
    if !is_asked_for("mooncake_runs_on_its_whole_trace") {
        return;
    }
    let Some(trace) = trace() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = format!("workload.trace.path={}", trace.display());
    let rows = run(folder.path(), "mooncake.yaml", &[&path]);
    assert_mooncake(&rows);
    assert_eq!(verdicts(&rows, "llm-d-inmemory"), BTreeSet::from(["effective"]));
}

#[track_caller]
fn assert_mooncake(rows: &[Row]) {
    assert_eq!(rows.len(), 15);
    assert_eq!(verdicts(rows, "native-offload"), BTreeSet::from(["effective"]));
    // Four replicas: routing has a choice.
    for row in rows {
        assert!(!row["verdict"].starts_with("void"), "{row:?}");
        assert!(!row["verdict"].starts_with("failed"), "{row:?}");
    }
}

fn serve(arm: &str, more: &[&str]) -> Served {
    let file = example("endpoint.yaml");
    let args = ["serve", file.to_str().unwrap(), "--arm", arm, "--port", "0"];
    Served::start_as(&[&args[..], more].concat())
}

#[test]
fn two_endpoints_are_two_arms() {
    let folder = tempfile::tempdir().unwrap();
    let control = serve("no-offload", &[]);
    let offload = serve("native-offload", &["--byte-scale", "0.02"]);
    let file = example("endpoint.yaml");
    let urls = [("no-offload", &control.url), ("native-offload", &offload.url)];
    let urls = urls.map(|(arm, url)| format!("target.endpoint.arms.{arm}={url}"));
    let sets = ["load.duration=8s", "load.warmup=3s", "repeats=1", &urls[0], &urls[1]];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let run = [&["run", file.to_str().unwrap(), "--out", "run"][..], &sets].concat();
    let answer = weir(folder.path(), &run);
    assert!(matches!(answer.code, Some(0 | 1)), "{}\n{}", answer.out, answer.err);
    let plan = json(&folder.path().join("run/plan.json"));
    assert_eq!(plan["origins"]["engine.kv_tokens"], "endpoint", "{plan}");
    for (arm, verdict, served) in
        [("no-offload", "control", false), ("native-offload", "effective", true)]
    {
        let cell = folder.path().join(format!("run/cells/Qwen--Qwen3-0.6B/1x-l40s/{arm}/c8/0"));
        let hits = &json(&cell.join("evidence.json"))["signals"]["external-hit-tokens"];
        let hits = hits[0]["value"].as_f64().unwrap_or(0.0);
        assert_eq!(hits > 0.0, served, "{arm}: {hits}");
        if json(&cell.join("cell.json"))["figures"]["certificate"]["refused"].is_null() {
            assert_eq!(json(&cell.join("evidence.json"))["verdict"], verdict, "{arm}");
        }
    }
}

#[test]
fn an_endpoint_is_planned_with_what_it_says_and_not_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["--set", "engine.kv_tokens=16000", "--set", "engine.max_model_len=6000"];
    let served = serve("no-offload", &small);
    let file = example("endpoint.yaml");
    let one = format!("target={{endpoint: {{url: {}}}}}", served.url);
    let sets = ["--set", "arms=[no-offload]", "--set", &one];
    let answer =
        weir(folder.path(), &[&["plan", file.to_str().unwrap(), "--json"][..], &sets].concat());
    let answer = answer.done();
    let plan: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    let engine = &plan["deployments"][0]["engine"];
    assert_eq!(engine["max_model_len"], 6000, "{engine}");
    assert_eq!(engine["blocks"], 1000, "{engine}");
    // Three times what the endpoint holds, not the file's engine.
    let prefixes = &plan["deployments"][0]["levels"][0]["workload"]["shared-prefix"]["prefixes"];
    assert_eq!(*prefixes, 12, "{plan}");
}
