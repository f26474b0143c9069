//! Endpoints that differ from the file or have other clients: their cells do not count.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::binary::{Running, weir};
use crate::folder::json;
use crate::live::Served;
use crate::tiers::post;

/// `pool` in tokens.
fn served(pool: &str, arm: &str) -> Served {
    let pool = format!("engine.kv_tokens={pool}");
    let engine = ["--set", "engine.max_model_len=4096", "--set", &pool];
    Served::start(&[&engine[..], &["--arm", arm, "--bytes", "modelled"]].concat())
}

fn experiment(folder: &Path, url: &str, arms: &str, load: &str) {
    let text = format!(
        "\
name: likeness
target: {{endpoint: {{url: '{url}'{arms}
models: [Qwen/Qwen3-0.6B]
hardware: 1x-l40s
workload: {{shared-prefix: {{prefixes: 4, prefix_tokens: 512, prompt_tokens: 16, output_tokens: 8}}}}
load: {load}
"
    );
    fs::write(folder.join("likeness.yaml"), text).unwrap();
}

fn status(folder: &Path, arm: &str) -> Value {
    let cell = format!("run/cells/Qwen--Qwen3-0.6B/1x-l40s/{arm}/c1/0/cell.json");
    json(&folder.join(cell))["status"].clone()
}

/// Kind, value and expected value of a cell's first difference.
#[track_caller]
fn difference(folder: &Path, arm: &str) -> (Value, Value, Value) {
    let status = status(folder, arm);
    let first = &status["not-comparable"][0];
    assert!(!first.is_null(), "{arm}: {status:#}");
    (first["differs"]["fact"].clone(), first["is"].clone(), first["was"].clone())
}

#[test]
fn endpoints_that_are_not_what_they_claim_do_not_count() {
    let plain = served("8192", "no-offload");
    let [offload, claimed] = [(); 2].map(|()| served("8192", "native-offload"));
    let larger = served("65536", "native-offload");
    let folder = tempfile::tempdir().unwrap();
    let arms = format!(
        ", arms: {{native-offload: '{}', lmcache-local: '{}', larger: '{}'}}}}}}\narms: [no-offload, \
         {{preset: native-offload, bytes: 1GiB}}, {{preset: lmcache-local, bytes: 1GiB}}, {{preset: \
         native-offload, name: larger, bytes: 1GiB}}]",
        offload.url, claimed.url, larger.url
    );
    let load = "{users: [1], duration: 3s, warmup: 1s}";
    experiment(folder.path(), &plain.url, &arms, load);
    let answer = weir(folder.path(), &["run", "likeness.yaml", "--out", "run"]);
    assert_eq!(answer.code, Some(1), "{}\n{}", answer.out, answer.err);
    // Its families are those of vLLM's own connector.
    let seen = difference(folder.path(), "lmcache-local");
    let of = |name: &str| Value::from(vec![name]);
    assert_eq!(seen, ("connector".into(), of("OffloadingConnector"), of("LMCacheMPConnector")));
    for arm in ["no-offload", "native-offload", "larger"] {
        assert_eq!(status(folder.path(), arm), "complete", "{arm}");
    }
    // A larger pool is valid for a cell, but not between arms.
    let summary = json(&folder.path().join("run/analysis/summary.json"));
    let groups = summary["deployments"][0]["groups"].as_array().unwrap();
    let group = |arm: &str| groups.iter().find(|group| group["arm"] == arm).unwrap();
    assert_eq!(group("larger")["counted"], 0, "{summary:#}");
    assert_eq!(group("lmcache-local")["counted"], 0, "{summary:#}");
    let software = &summary["deployments"][0]["software"]["arms"];
    assert_eq!(software[0]["facts"]["blocks"], Value::from(vec![513]), "{software:#}");
    assert_eq!(software[3]["facts"]["blocks"], Value::from(vec![4097]), "{software:#}");
}

#[test]
fn a_control_with_a_connector_is_no_control() {
    let served = served("8192", "native-offload");
    let folder = tempfile::tempdir().unwrap();
    let load = "{users: [1], duration: 3s, warmup: 1s}";
    experiment(folder.path(), &served.url, "}}\narms: [no-offload]", load);
    let answer = weir(folder.path(), &["run", "likeness.yaml", "--out", "run"]);
    assert_eq!(answer.code, Some(1), "{}\n{}", answer.out, answer.err);
    let (kind, is, was) = difference(folder.path(), "no-offload");
    assert_eq!((kind, is), ("connector".into(), Value::from(vec!["OffloadingConnector"])));
    assert_eq!(was, Value::from(Vec::<Value>::new()));
}

#[test]
fn traffic_of_others_ends_the_cell() {
    let served = served("8192", "no-offload");
    let folder = tempfile::tempdir().unwrap();
    let load = "{users: [1], duration: 24s, warmup: 3s}";
    experiment(folder.path(), &served.url, "}}\narms: [no-offload]", load);
    let mut run = Running::start(folder.path(), &["run", "likeness.yaml", "--out", "run"]);
    let log = folder.path().join("stderr");
    // During the load: before it, the caches must be emptied without other clients.
    run.wait_until("the load", || fs::read_to_string(&log).unwrap().contains("of 24 s"));
    // More than half of the cell's own load.
    for number in 0..60 {
        post(&served.url, number % 28);
    }
    assert_eq!(run.end().code(), Some(1), "{}", run.words());
    let evidence = "run/cells/Qwen--Qwen3-0.6B/1x-l40s/no-offload/c1/0/evidence.json";
    let evidence = json(&folder.path().join(evidence));
    let signal =
        |source: usize| evidence["signals"]["prompt-tokens"][source]["value"].as_f64().unwrap();
    let (counted, sent) = (signal(0), signal(1));
    assert!(counted > sent, "{counted} counted, {sent} sent");
    let status = status(folder.path(), "no-offload");
    let why = &status["failed"]["unfit"]["foreign-tokens"];
    assert_eq!((why["counted"].as_f64(), why["sent"].as_f64()), (Some(counted), Some(sent)));
}
