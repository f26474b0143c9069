//! Endpoints of real software that differ from the file, hold earlier blocks, have other clients,
//! or stall.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use weir_model::Product;
use weir_store::server::{StoreServer, StoreSettings};

use super::local::{PATIENCE, PRESSED, connector, ready};
use super::vllm::{Part, free_port, installed};
use crate::binary::{Running, weir};
use crate::folder::json;
use crate::long::is_asked_for;

/// As a local target under pressure starts it, with more arguments.
fn vllm(folder: &Path, name: &str, more: &[&str]) -> Part {
    let home = installed().unwrap();
    let weights = home.with_file_name("checkpoints").join("weir-tiny-qwen3");
    let args = [
        &["serve", weights.to_str().unwrap(), "--host", "127.0.0.1"][..],
        &["--served-model-name", "weir/tiny-qwen3", "--block-size", "32", "--max-num-seqs", "8"],
        &["--max-num-batched-tokens", "2048", "--max-model-len", "2048", "--dtype", "float32"],
        &["--num-gpu-blocks-override", "129", "--enforce-eager", "--enable-prompt-tokens-details"],
        &["--distributed-executor-backend", "uni"],
        more,
    ];
    Part::start(&home, "vllm", folder.join(name), &args.concat())
}

/// LMCache on a Redis, with room for sixteen prompts before it.
struct Cached {
    _redis: StoreServer,
    lmcache: Part,
    vllm: Part,
    /// As YAML, with the arm.
    target: String,
    arm: String,
}

impl Cached {
    fn start(folder: &Path) -> Self {
        let redis = StoreServer::start(Product::Redis, StoreSettings::default()).unwrap();
        let endpoint = redis.endpoint().to_string();
        let (host, store_port) = endpoint.rsplit_once(':').unwrap();
        let port = free_port().to_string();
        let adapter = format!(
            "{{\"type\": \"resp\", \"host\": \"{host}\", \"port\": {store_port}, \
             \"num_workers\": 2}}"
        );
        let shared = format!("weir-test-{port}");
        let server = [
            &["server", "--host", "127.0.0.1", "--port", &port, "--http-host", "127.0.0.1"][..],
            &["--l1-size-gb", "0.125", "--l1-init-size-gb", "1", "--eviction-policy", "LRU"],
            &["--chunk-size", "64", "--supported-transfer-mode", "auto", "--shm-name", &shared],
            &["--l2-adapter", &adapter],
        ];
        let home = installed().unwrap();
        let lmcache = Part::start(&home, "lmcache", folder.join("lmcache.log"), &server.concat());
        let lmcache = lmcache.ready("/metrics");
        let transfer = format!(
            "{{\"kv_connector\": \"LMCacheMPConnector\", \"kv_role\": \"kv_both\", \
             \"kv_connector_extra_config\": {{\"lmcache.mp.host\": \"tcp://127.0.0.1\", \
             \"lmcache.mp.port\": {port}}}}}"
        );
        let more = ["--kv-transfer-config", &transfer, "--disable-hybrid-kv-cache-manager"];
        let vllm = vllm(folder, "vllm.log", &more).ready("/health");
        let target = format!(
            "{{url: '{0}', metrics: ['{0}/metrics', '{1}/metrics']}}",
            vllm.url, lmcache.url
        );
        let arm = redis_arm(&endpoint);
        Self { _redis: redis, lmcache, vllm, target, arm }
    }
}

fn redis_arm(endpoint: &str) -> String {
    format!(
        "{{preset: lmcache-redis, bytes: 128MiB, chunk_tokens: 64, store: {{bytes: 1GiB, address: \
         'redis://{endpoint}'}}}}"
    )
}

/// A number of requests, for a machine of any speed.
const REQUESTS: &str = "{users: [2], duration: 150s, warmup: 2s, max_requests: 40}";

fn write(folder: &Path, (target, arms): (&str, &str), load: &str, client: &str) {
    let text = format!(
        "\
name: endpoints
target: {{endpoint: {target}}}
models: [weir/tiny-qwen3]
hardware: 1x-cpu
engine: {{kv_tokens: 4096, block_size: 32, max_model_len: 2048, max_num_seqs: 8, \
         max_num_batched_tokens: 2048, kv_cache_dtype: float32}}
arms: [{arms}]
workload: {{shared-prefix: {PRESSED}}}
load: {load}
client: {{request_timeout: 60s{client}}}
"
    );
    fs::write(folder.join("e.yaml"), text).unwrap();
}

fn of_cell(folder: &Path, (run, arm): (&str, &str), file: &str) -> Value {
    let cell = format!("{run}/cells/weir--tiny-qwen3/1x-cpu/{arm}/c2/0");
    json(&folder.join(cell).join(file))
}

/// Runs the file into a folder.
fn verdict(folder: &Path, (run, arm): (&str, &str)) -> Value {
    let answer = weir(folder, &["run", "e.yaml", "--out", run]);
    assert!(matches!(answer.code, Some(0 | 1)), "{}\n{}", answer.out, answer.err);
    of_cell(folder, (run, arm), "evidence.json")["verdict"].clone()
}

/// Returns during the load.
fn loading(folder: &Path, run: &str) -> Running {
    let mut running = Running::start(folder, &["run", "e.yaml", "--out", run]).within(PATIENCE);
    let log = folder.join("stderr");
    running.wait_until("load", || fs::read_to_string(&log).unwrap().contains("in flight"));
    running
}

/// The first fact in which a cell is not comparable.
#[track_caller]
fn differs_in(folder: &Path, cell: (&str, &str)) -> Value {
    let status = of_cell(folder, cell, "cell.json")["status"].clone();
    let fact = status["not-comparable"][0]["differs"]["fact"].clone();
    assert!(!fact.is_null(), "{status:#}");
    fact
}

/// A folder and the machine's lock.
type Ready = (parking_lot::MutexGuard<'static, ()>, TempDir);

fn ready_for(test: &str) -> Option<Ready> {
    if !is_asked_for(test) {
        return None;
    }
    Some((ready(test, &[Product::Redis])?, tempfile::tempdir().unwrap()))
}

#[test]
fn endpoints_are_what_their_software_says() {
    let Some((_alone, folder)) = ready_for("endpoints_are_what_their_software_says") else {
        return;
    };
    let path = folder.path();
    let transfer = connector("\"cpu_bytes_to_use\": 209715200, \"block_size\": 32");
    let transfer = transfer.trim_start_matches("[--kv-transfer-config, '").trim_end_matches("']");
    // Both start at once.
    let plain = vllm(path, "plain.log", &[]);
    let offload = vllm(path, "offload.log", &["--kv-transfer-config", transfer]);
    let (plain, offload) = (plain.ready("/health"), offload.ready("/health"));
    let both = format!("{{url: '{}', arms: {{native-offload: '{}'}}}}", plain.url, offload.url);
    let arms = "no-offload, {preset: native-offload, bytes: 200MiB}";
    write(path, (&both, arms), REQUESTS, "");
    assert_eq!(verdict(path, ("acts", "native-offload")), "effective");
    assert_eq!(of_cell(path, ("acts", "no-offload"), "evidence.json")["verdict"], "control");
    // Random answers say nothing of stored blocks.
    write(path, (&both, arms), REQUESTS, ", body: {temperature: 0.8}");
    verdict(path, ("drawn", "no-offload"));
    let outputs = fs::read_to_string(path.join("drawn/analysis/outputs.csv")).unwrap();
    assert!(outputs.contains("not-judged") && !outputs.contains("corrupt"), "{outputs}");

    let only = |part: &Part| format!("{{url: '{}'}}", part.url);
    write(path, (&only(&offload), "no-offload"), REQUESTS, "");
    verdict(path, ("control", "no-offload"));
    assert_eq!(differs_in(path, ("control", "no-offload")), "connector");
    let redis = StoreServer::start(Product::Redis, StoreSettings::default()).unwrap();
    let arm = redis_arm(&redis.endpoint().to_string());
    write(path, (&only(&offload), &arm), REQUESTS, "");
    verdict(path, ("other", "lmcache-redis"));
    assert_eq!(differs_in(path, ("other", "lmcache-redis")), "connector");
    // Without a connector there are no families of one, and no signals.
    write(path, (&only(&plain), "{preset: native-offload, bytes: 200MiB}"), REQUESTS, "");
    let none = verdict(path, ("none", "native-offload"));
    assert_eq!(none["void"], "no-operation", "{none}");
    loads_are_those_of_one_client(path, &plain);
}

/// Other clients end a cell; a load whose requests all fail is a failure.
fn loads_are_those_of_one_client(path: &Path, plain: &Part) {
    write(path, (&format!("{{url: '{}'}}", plain.url), "no-offload"), REQUESTS, "");
    let load = |requests: &str, out: &str, more: &[&str]| {
        let args = ["load", &plain.url, "--users", "2", "--requests", requests, "--out", out];
        weir(path, &[&args[..], &["--prompt-tokens", "600", "--output-tokens", "2"], more].concat())
    };
    let mut running = loading(path, "others");
    load("30", "load", &[]);
    assert_eq!(running.end().code(), Some(1), "{}", running.words());
    let checks = &of_cell(path, ("others", "no-offload"), "trial.json")["checks"];
    let tokens = |of: &str| checks["counted"][of].as_u64().unwrap();
    assert!(tokens("counted") > tokens("most"), "{checks}");
    let status = of_cell(path, ("others", "no-offload"), "cell.json")["status"].clone();
    let why = &status["failed"]["unfit"]["foreign-tokens"];
    assert_eq!(why["counted"], tokens("counted"), "{status}");
    // Ids beyond the served model's vocabulary are refused.
    let record = of_load(path, "load");
    assert_eq!(record["figures"]["failed"], 0, "{record}");
    let refused = load("4", "refused", &["--vocabulary", "32000"]);
    // The first request is refused, before the load.
    assert_eq!(refused.code, Some(3), "{}\n{}", refused.out, refused.err);
    assert!(refused.err.contains("lower --vocabulary"), "{}", refused.err);
}

fn of_load(path: &Path, out: &str) -> Value {
    let cell = format!("{out}/cells/weir--tiny-qwen3/endpoint/as-deployed/c2/0/cell.json");
    json(&path.join(cell))
}

#[test]
fn what_an_earlier_run_left_in_a_store_serves_no_later_one() {
    let test = "what_an_earlier_run_left_in_a_store_serves_no_later_one";
    let Some((_alone, folder)) = ready_for(test) else { return };
    let path = folder.path();
    let cached = Cached::start(path);
    let named = (cached.target.as_str(), cached.arm.as_str());
    let seen = |run: &str| {
        let [evidence, trial] =
            ["evidence.json", "trial.json"].map(|file| of_cell(path, (run, "lmcache-redis"), file));
        let signal = |kind: &str| evidence["signals"][kind][0]["value"].as_f64().unwrap();
        let served = signal("external-hit-tokens") / signal("eligible-tokens");
        let keys = trial["caches"][1]["known"]["counted"]["keys"].as_u64().unwrap();
        (served, keys, trial["salt"].clone())
    };
    write(path, named, REQUESTS, "");
    verdict(path, ("first", "lmcache-redis"));
    // Blocks of the first run are still there, counted, and not used.
    verdict(path, ("second", "lmcache-redis"));
    let ((_, few, first), (served, keys, second)) = (seen("first"), seen("second"));
    assert!(keys > few + 10, "{few} keys before, {keys} then");
    assert!(served <= 1.0, "{served}");
    assert!(first.is_u64() && first != second, "{first} {second}");
    let told = weir(path, &["explain", "second"]).out;
    assert!(!told.contains("all caches were seen empty"), "{told}");

    // An interrupted cell leaves blocks in the store. It is long enough for that.
    let long = REQUESTS.replace("max_requests: 40", "max_requests: 160");
    let (mut cached, mut tried) = (cached, 1);
    loop {
        write(path, (&cached.target, &cached.arm), &long, "");
        let mut running = loading(path, "again");
        std::thread::sleep(Duration::from_secs(5));
        running.signal(Signal::INT);
        running.end();
        if cached.vllm.is_up() {
            break;
        }
        // vLLM 0.32's scheduler asserts that it knows each request that the connector has
        // finished, and dies where one was aborted.
        assert!(tried < 4, "vLLM died of each of {tried} interruptions");
        tried += 1;
        drop(cached);
        cached = Cached::start(path);
        fs::remove_dir_all(path.join("again")).unwrap();
    }
    let named = (cached.target.as_str(), cached.arm.as_str());
    let resumed = weir(path, &["run", "e.yaml", "--resume", "again"]);
    assert!(matches!(resumed.code, Some(0 | 1)), "{}\n{}", resumed.out, resumed.err);
    let (served, _, salt) = seen("again");
    assert!(served <= 1.0, "{served}");
    assert_ne!(json(&path.join("again/plan.json"))["salt"], salt, "other prompts");

    // With the same prompts, earlier blocks are used and reported. None repeats within a run: hits
    // of an earlier run stand out.
    write(path, named, REQUESTS, ", same_prompts: true");
    let text = fs::read_to_string(path.join("e.yaml")).unwrap();
    fs::write(path.join("e.yaml"), text.replace("prefixes: 8", "prefixes: 4000")).unwrap();
    verdict(path, ("same", "lmcache-redis"));
    verdict(path, ("same-again", "lmcache-redis"));
    let served = &of_cell(path, ("same-again", "lmcache-redis"), "trial.json")["checks"]["served"];
    let tokens = |of: &str| served[of].as_u64().unwrap();
    assert!(tokens("served") > tokens("allowed"), "{served}");
    let status = of_cell(path, ("same-again", "lmcache-redis"), "cell.json")["status"].clone();
    assert!(status["failed"]["unfit"]["hits-beyond-asked"].is_object(), "{status}");
}

#[test]
fn parts_that_stand_still_are_told_and_too_long_ends_the_cell() {
    let test = "parts_that_stand_still_are_told_and_too_long_ends_the_cell";
    let Some((_alone, folder)) = ready_for(test) else { return };
    let path = folder.path();
    let mut cached = Cached::start(path);
    let load = "{users: [2], duration: 42s, warmup: 2s}";
    let stopped = |run: &str, part: &Part, seconds: u64| {
        let mut running = loading(path, run);
        std::thread::sleep(Duration::from_secs(6));
        part.signal(Signal::STOP);
        std::thread::sleep(Duration::from_secs(seconds));
        part.signal(Signal::CONT);
        running.end();
        let cell = (run, "lmcache-redis");
        let stalls = of_cell(path, cell, "trial.json")["checks"]["stalls"].clone();
        let longest = |of: &Value| of["longest"].as_u64().unwrap();
        let longest = stalls.as_array().unwrap().iter().map(longest).max().unwrap();
        // Waiting requests got their last token at most a moment before.
        assert!(longest > (seconds - 2) * 1_000_000_000, "{seconds} s: {stalls:#}");
        of_cell(path, cell, "cell.json")["status"].clone()
    };
    // A note has the length of a shorter stall, and the result counts.
    write(path, (&cached.target, &cached.arm), load, "");
    let status = stopped("short", &cached.lmcache, 6);
    assert_eq!(status, "complete");
    let notes = of_cell(path, ("short", "lmcache-redis"), "evidence.json")["notes"].clone();
    let stalled = |note: &Value| note["stalled"].is_object();
    assert!(notes.as_array().unwrap().iter().any(stalled), "{notes}");
    // Requests may fail while a part of the engine stands still, but not while all of it does.
    let status = stopped("store", &cached.lmcache, 16);
    assert_ne!(status, "complete");
    let seen = of_cell(path, ("store", "lmcache-redis"), "evidence.json");
    assert!(seen["verdict"]["failed"].is_object(), "{seen:#}");
    // vLLM 0.32 may have died of that: its scheduler asserts that it knows each request that the
    // connector has finished.
    drop(cached);
    cached = Cached::start(path);
    write(path, (&cached.target, &cached.arm), load, "");
    let status = stopped("engine", &cached.vllm, 16);
    assert!(status["failed"]["unfit"]["hits-beyond-asked"].is_object(), "{status}");
}
