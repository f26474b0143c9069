//! llm-d's endpoint picker and Envoy, the real ones, in front of emulated replicas: what they
//! choose by, and configurations that start and choose by something else.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_deploy::setup::{RouterPart, RouterParts};
use weir_model::Product;

use crate::binary::{no_secret_in, weir};
use crate::folder::json;
use crate::tiers::has;

/// For cells whose requests are few.
pub(crate) const SHORT: &str = "load={users: [2], duration: 3s, warmup: 1s}";
const SECRET: &str = "S3CRET-value";

/// Without picker and Envoy a test is skipped, and fails in CI.
pub(crate) fn has_router(test: &str) -> bool {
    let parts = RouterParts::installed().unwrap();
    let is_there = [RouterPart::Envoy, RouterPart::Picker].map(|part| parts.find(part).is_some());
    let is_there = is_there.into_iter().all(|there| there);
    if !is_there {
        assert!(std::env::var_os("CI").is_none(), "{test}: weir setup router");
        println!("SKIPPED {test}: weir setup router");
    }
    is_there
}

/// Two replicas, each of which holds two thirds of the prefixes.
pub(crate) fn experiment(folder: &Path, name: &str, arms: &str) -> String {
    let text = format!(
        "\
name: routing
target: {{emulated: {{bytes: modelled}}}}
models: [Qwen/Qwen3-0.6B]
hardware: 1x-l40s
replicas: 2
engine: {{kv_tokens: 11000, max_model_len: 4096, max_num_seqs: 16}}
arms:
  - llm-d-random
{arms}
workload:
  shared-prefix: {{prefixes: 24, prefix_tokens: 640, prompt_tokens: 32, output_tokens: 4}}
load: {{users: [2], duration: 6s, warmup: 3s}}
"
    );
    let file = format!("{name}.yaml");
    fs::write(folder.join(&file), text).unwrap();
    file
}

pub(crate) fn cell(folder: &Path, arm: &str) -> PathBuf {
    folder.join(format!("run/cells/Qwen--Qwen3-0.6B/1x-l40s/{arm}/c2/0"))
}

/// From the first source.
#[track_caller]
pub(crate) fn signal(evidence: &Value, kind: &str) -> f64 {
    evidence["signals"][kind][0]["value"]
        .as_f64()
        .unwrap_or_else(|| panic!("no {kind}: {}", evidence["signals"]))
}

/// Repeats a run in which a busy machine lost so many KV events that hits are unknown.
fn measured(folder: &Path, arms: &[&str], args: &[&str]) {
    for attempt in 1.. {
        let answer = weir(folder, args);
        assert!(matches!(answer.code, Some(0 | 1)), "{}\n{}", answer.out, answer.err);
        let is_known = |arm: &&str| {
            let evidence = json(&cell(folder, arm).join("evidence.json"));
            evidence["signals"]["routed-hit-tokens"].is_array()
        };
        if attempt == 4 || arms.iter().all(is_known) {
            return;
        }
        fs::remove_dir_all(folder.join("run")).unwrap();
    }
}

/// A refused level is a valid result on a machine that is busy with other tests.
fn is_refused(folder: &Path, arm: &str) -> bool {
    let record = json(&cell(folder, arm).join("cell.json"));
    !record["figures"]["certificate"]["refused"].is_null()
}

/// A configuration of release 0.7.1, with what a test gets wrong.
fn picker_config(
    folder: &Path,
    name: &str,
    index: &str,
    events_port: &str,
    scorer: &str,
) -> String {
    let text = format!(
        "\
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: precise-prefix-cache-scorer
  parameters:
    tokenProcessorConfig: {{blockSize: 16}}
    indexerConfig:
      tokenizersPoolConfig:
        modelName: ${{MODEL}}
        workersCount: 2
        uds: {{socketFile: '${{TOKENIZER_SOCKET}}'}}
      {index}
    kvEventsConfig:
      topicFilter: 'kv@'
      concurrency: 2
      discoverPods: true
      podDiscoveryConfig: {{socketPort: {events_port}}}
- type: prefix-cache-scorer
- type: queue-scorer
- type: max-score-picker
- type: single-profile-handler
schedulingProfiles:
- name: default
  plugins:
  - {{pluginRef: {scorer}, weight: 3}}
  - {{pluginRef: queue-scorer, weight: 1}}
  - {{pluginRef: max-score-picker}}
"
    );
    let file = format!("{name}.picker.yaml");
    fs::write(folder.join(&file), text).unwrap();
    file
}

#[test]
fn the_real_picker_routes_by_content_and_evidence_shows_it() {
    let test = "the_real_picker_routes_by_content_and_evidence_shows_it";
    if !has_router(test) || !has(test, Product::Redis) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let arms = ["llm-d-approx", "llm-d-inmemory", "llm-d-redis"];
    let file = experiment(folder, "acts", &format!("  - {}", arms.join("\n  - ")));
    measured(folder, &arms, &["run", &file, "--out", "run"]);
    let evidence = |arm: &str| json(&cell(folder, arm).join("evidence.json"));
    let served = |arm: &str| {
        let evidence = evidence(arm);
        signal(&evidence, "gpu-hit-tokens") / signal(&evidence, "prompt-tokens")
    };
    let by_chance = served("llm-d-random");
    for arm in arms {
        let evidence = evidence(arm);
        let (routed, uniform, best) = (
            signal(&evidence, "routed-hit-tokens"),
            signal(&evidence, "uniform-hit-tokens"),
            signal(&evidence, "best-hit-tokens"),
        );
        assert!(routed > 0.8 * best && uniform < 0.8 * best, "{arm}: {routed} {uniform} {best}");
        // The engines' own counters, which heard nothing of router or events.
        assert!(served(arm) > by_chance + 0.1, "{arm}: {} after {by_chance}", served(arm));
        if !is_refused(folder, arm) {
            assert_eq!(evidence["verdict"], "effective", "{arm}: {evidence}");
        }
    }
    assert!(signal(&evidence("llm-d-redis"), "index-keys") > 100.0);
    for arm in ["llm-d-inmemory", "llm-d-redis"] {
        assert!(signal(&evidence(arm), "index-hits") > 0.0, "{arm}");
    }
    // What the picker says of itself is what Weir wrote.
    let redis = evidence("llm-d-redis");
    assert_eq!(redis["facts"]["index-store"][0]["value"], "redis", "{}", redis["facts"]);
    let scorers = &redis["facts"]["scorers"][0]["value"];
    assert_eq!(scorers[0], "precise-prefix-cache-scorer 3", "{scorers}");
    assert!(!redis.to_string().contains("configured-otherwise"), "{}", redis["notes"]);
    let logs = cell(folder, "llm-d-redis").join("logs");
    assert!(logs.join("picker.json").exists() && logs.join("envoy.json").exists());
}

#[test]
fn weirs_own_router_needs_no_program_of_others() {
    let test = "weirs_own_router_needs_no_program_of_others";
    if !has(test, Product::Redis) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = experiment(folder, "own", "  - llm-d-inmemory\n  - llm-d-redis");
    let set = "target={emulated: {bytes: modelled, router: {kind: weir}}}";
    let arms = ["llm-d-inmemory", "llm-d-redis"];
    measured(folder, &arms, &["run", &file, "--out", "run", "--set", set]);
    for arm in arms {
        let evidence = json(&cell(folder, arm).join("evidence.json"));
        let (routed, best) =
            (signal(&evidence, "routed-hit-tokens"), signal(&evidence, "best-hit-tokens"));
        assert!(routed > 0.8 * best, "{arm}: {routed} {best}");
        assert!(signal(&evidence, "index-hits") > 0.0, "{arm}");
        if !is_refused(folder, arm) {
            assert_eq!(evidence["verdict"], "effective", "{arm}: {evidence}");
        }
    }
    let log = cell(folder, "llm-d-redis").join("logs/decisions.jsonl");
    assert!(fs::read_to_string(log).unwrap().lines().count() > 100);
}

#[test]
fn configurations_that_start_and_route_by_something_else_are_named() {
    let test = "configurations_that_start_and_route_by_something_else_are_named";
    if !has_router(test) || !has(test, Product::Redis) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let in_memory = "kvBlockIndexConfig: {enableMetrics: true, inMemoryConfig: {size: 100000, podCacheSize: 10}}";
    // One level too high: the key is ignored, and an index in memory serves.
    let too_high = format!("redisConfig: {{address: '${{INDEX}}'}}\n      {in_memory}");
    let precise = "precise-prefix-cache-scorer";
    let port = "${EVENTS_PORT}";
    let placebos = [
        ("llm-d-redis", "store-ignored", too_high.as_str(), port, precise, "index-store-empty"),
        ("llm-d-inmemory", "no-events", in_memory, "1", precise, "no-events"),
        // Of a published evaluation: the index is configured, and no profile has its scorer.
        ("llm-d-inmemory", "scorer-ignored", in_memory, port, "prefix-cache-scorer", "no-events"),
    ];
    let mut arms = String::new();
    for (preset, name, index, port, scorer, _) in placebos {
        let file = picker_config(folder, name, index, port, scorer);
        writeln!(arms, "  - {{preset: {preset}, name: {name}, picker_config: {file}}}").unwrap();
    }
    // A plugin that this picker does not have: it does not start.
    let unknown = picker_config(folder, "unknown", in_memory, port, "no-such-scorer");
    writeln!(arms, "  - {{preset: llm-d-inmemory, name: unknown, picker_config: {unknown}}}")
        .unwrap();
    let file = experiment(folder, "placebos", &arms);
    let answer = weir(folder, &["run", &file, "--out", "run"]);
    assert_eq!(answer.code, Some(1), "{}\n{}", answer.out, answer.err);
    for (_, arm, .., reason) in placebos {
        let evidence = json(&cell(folder, arm).join("evidence.json"));
        let verdict = evidence["verdict"].to_string();
        assert!(verdict.contains("void"), "{arm}: {evidence}");
        assert!(evidence["reason"].to_string().contains(reason), "{arm}: {}", evidence["reason"]);
        let noted = evidence["notes"].to_string();
        assert!(noted.contains("configured-otherwise"), "{arm}: {noted}");
    }
    let failed = json(&cell(folder, "unknown").join("evidence.json"));
    assert!(failed["verdict"].to_string().contains("failed"), "{failed}");
    assert!(failed.to_string().contains("no-such-scorer"), "{failed}");
}

#[test]
fn what_a_picker_runs_with_is_read_from_its_log_and_compared() {
    let test = "what_a_picker_runs_with_is_read_from_its_log_and_compared";
    if !has_router(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let index = "{enableMetrics: true, inMemoryConfig: {size: 100000, podCacheSize: 10}}";
    let index = format!("kvBlockIndexConfig: {index}");
    let precise = "precise-prefix-cache-scorer";
    let own = |name: &str, tokens: &str, socket: &str| {
        let file = picker_config(folder, name, &index, "${EVENTS_PORT}", precise);
        let text = fs::read_to_string(folder.join(&file)).unwrap();
        let text = text.replace("{blockSize: 16}", tokens).replace("${TOKENIZER_SOCKET}", socket);
        // An unknown parameter, which this release ignores.
        let text =
            text.replace("workersCount: 2", &format!("workersCount: 2\n        x: {SECRET}"));
        fs::write(folder.join(&file), text).unwrap();
        format!("{{preset: llm-d-inmemory, name: {name}, picker_config: {file}}}")
    };
    let socket = "${TOKENIZER_SOCKET}";
    let arms = [
        // Keys of this index are made of the events' tokens: neither seed nor length matters.
        own("other-keys", "{blockSize: 64, hashSeed: '42'}", socket),
        // No event fills such a block.
        own("long-block", "{blockSize: 2048}", socket),
        own("no-tokens", "{blockSize: 16}", "/nowhere/tokens.sock"),
    ];
    let file = experiment(folder, "compared", "");
    // Envoy is Weir's, so the header is too.
    let set = [
        format!("arms=[{}]", arms.join(", ")),
        SHORT.to_owned(),
        "client={replica_header: x-own}".to_owned(),
    ];
    let args = ["run", &file, "--out", "run", "--set", &set[0], "--set", &set[1], "--set", &set[2]];
    let answer = weir(folder, &args);
    assert_eq!(answer.code, Some(1), "{}\n{}", answer.out, answer.err);
    let evidence = |arm: &str| json(&cell(folder, arm).join("evidence.json"));
    let other = evidence("other-keys");
    assert_eq!(other["facts"]["index-block"][0]["value"], 64, "{}", other["facts"]);
    for differs in ["index-block", "index-seed"] {
        let noted = format!("{{\"configured-otherwise\":{{\"differs\":{{\"fact\":\"{differs}\"}}");
        assert!(other["notes"].to_string().contains(&noted), "{differs}: {}", other["notes"]);
    }
    assert!(signal(&other, "index-hits") > 0.0 && signal(&other, "routing-choices") > 10.0);
    let long = evidence("long-block");
    assert_eq!(long["verdict"]["void"], "no-events", "{}", long["verdict"]);
    assert_eq!(long["reason"]["routing"]["index-block-unfilled"]["index"], 2048, "{long}");
    let words = evidence("no-tokens")["verdict"].to_string();
    assert!(words.contains("failed") && words.contains("/nowhere/tokens.sock"), "{words}");
    no_secret_in(&folder.join("run"), SECRET);
}

/// The child of a process with this program.
pub(crate) fn started_by(parent: u32, program: &str) -> Option<i32> {
    let children = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let of: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        // Redis writes its address behind its name.
        let is_it = line.split(['\0', ' ']).next().is_some_and(|word| word.ends_with(program));
        (of == parent && is_it).then_some(pid)
    });
    children.into_iter().next()
}
