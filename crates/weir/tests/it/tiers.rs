//! Arms of the emulated target on real tiers: evidence from the stores, a store that dies during a
//! run, and unusable stores.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use weir_http::{Fetch, Url, fetch};
use weir_model::Product;
use weir_record::RunFolder;
use weir_store::resp::{Address, StoreClient};
use weir_store::server::{StoreServer, StoreSettings, program};
use weir_store::suite::{Release, ScriptedKvrocks};

use crate::binary::{Running, weir};
use crate::folder::json;

/// Without its program a test is skipped, and fails in CI.
pub(crate) fn has(test: &str, product: Product) -> bool {
    let is_there = program(product).is_some();
    if !is_there {
        assert!(std::env::var_os("CI").is_none(), "{test}: {}", product.traits().install);
        println!("SKIPPED {test}: {}", product.traits().install);
    }
    is_there
}

/// Sixteen prefixes of 4,000 tokens, a GPU pool of 20,000, small blocks.
fn experiment(folder: &Path, arms: &str) -> String {
    let text = format!(
        "\
name: tiers
target: {{emulated: {{byte_scale: 0.01}}}}
models: [Qwen/Qwen3-0.6B]
hardware: 1x-l40s
engine: {{kv_tokens: 20000, max_model_len: 8192, max_num_seqs: 16}}
arms: {arms}
workload:
  shared-prefix: {{prefixes: 16, prefix_tokens: 4000, prompt_tokens: 64, output_tokens: 8}}
load: {{users: [4], duration: 6s, warmup: 3s}}
"
    );
    fs::write(folder.join("tiers.yaml"), text).unwrap();
    "tiers.yaml".to_owned()
}

/// From the first source with this prefix.
#[track_caller]
fn signal(evidence: &Value, kind: &str, source: &str) -> f64 {
    let seen = evidence["signals"][kind].as_array().unwrap();
    let of = seen.iter().find(|it| it["source"] == source);
    of.unwrap_or_else(|| panic!("no {kind} by {source}: {seen:?}"))["value"].as_f64().unwrap()
}

#[test]
fn eight_arms_move_real_bytes_and_the_stores_say_so() {
    let test = "eight_arms_move_real_bytes_and_the_stores_say_so";
    if ![Product::Redis, Product::Valkey].into_iter().all(|product| has(test, product)) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // No registry has a Kvrocks: this one has its protocol and real bytes, but no disk.
    let kvrocks = ScriptedKvrocks::start(Release::V2_10, StoreSettings::default()).unwrap();
    let arms = format!(
        "
  - no-offload
  - {{preset: native-offload, bytes: 10GiB}}
  - {{preset: native-fs, bytes: 2GiB, disk: {{bytes: 10GiB}}}}
  - {{preset: lmcache-local, bytes: 10GiB}}
  - {{preset: lmcache-disk, bytes: 2GiB, disk: {{bytes: 10GiB}}}}
  - {{preset: lmcache-redis, bytes: 2GiB, store: {{bytes: 10GiB}}}}
  - {{preset: lmcache-valkey, bytes: 2GiB, store: {{bytes: 10GiB}}}}
  - {{preset: lmcache-kvrocks, bytes: 2GiB, store: {{bytes: 10GiB, address: 'redis://{}'}}}}
",
        kvrocks.address().endpoints[0]
    );
    let file = experiment(folder.path(), &arms);
    let answer = weir(folder.path(), &["run", &file, "--out", "run"]);
    assert!(matches!(answer.code, Some(0 | 1)), "{}\n{}", answer.out, answer.err);
    for (arm, tier, store) in [
        ("native-offload", "host", None),
        ("native-fs", "disk", None),
        ("lmcache-local", "host", None),
        ("lmcache-disk", "disk", None),
        ("lmcache-redis", "remote", Some("redis")),
        ("lmcache-valkey", "remote", Some("valkey")),
        ("lmcache-kvrocks", "remote", Some("kvrocks")),
    ] {
        let cell = format!("run/cells/Qwen--Qwen3-0.6B/1x-l40s/{arm}/c4/0");
        let cell = folder.path().join(cell);
        let evidence = json(&cell.join("evidence.json"));
        let record = json(&cell.join("cell.json"));
        // A refused level is a valid result on a machine that is busy with other tests.
        if record["figures"]["certificate"]["refused"].is_null() {
            assert_eq!(evidence["verdict"], "effective", "{arm}: {evidence}");
        }
        let hits = signal(&evidence, &format!("{tier}-hit-tokens"), "Weir's tiers");
        assert!(hits > 10_000.0, "{arm}: {hits} tokens from the {tier}");
        assert_eq!(signal(&evidence, "wrong-blocks", "Weir's tiers"), 0.0, "{arm}");
        let Some(product) = store else { continue };
        // Sent and received bytes agree, except for the protocol and transfers at the edges of the
        // window.
        let sent = signal(&evidence, "remote-hit-tokens", &format!("{product} INFO"));
        assert!((sent - hits).abs() < 0.1 * hits, "{arm}: {sent} tokens sent, {hits} got");
        assert!(signal(&evidence, "store-keys", product) > 100.0);
        // Sampled once a second, with growing counters.
        let run = RunFolder::open_read_only(&folder.path().join("run")).unwrap();
        let path = format!("Qwen--Qwen3-0.6B/1x-l40s/{arm}/c4/0");
        let series = run.open_cell(&path).unwrap().series().unwrap();
        let of = |metric: &str| -> Vec<f64> {
            let source = format!("{product} INFO");
            let is = |at: &usize| series.source[*at] == source && series.metric[*at] == metric;
            (0..series.len()).filter(is).map(|at| series.value[at]).collect()
        };
        let sent = of("store_output_bytes_total");
        assert!(sent.len() > 1 && sent.last() > sent.first(), "{arm}: {sent:?}");
        assert!(of("store_used_bytes").iter().all(|bytes| *bytes > 0.0), "{arm}");
        let rocksdb = of("store_rocksdb_read_bytes_total");
        assert_eq!(rocksdb.len() > 1, product == "kvrocks", "{arm}: {rocksdb:?}");
    }
}

pub(crate) fn post(url: &str, number: u32) -> Value {
    let prompt: Vec<u32> = (0..3000).map(|at| 10 + number * 5000 + at).collect();
    let body = serde_json::json!({
        "model": "Qwen/Qwen3-0.6B", "prompt": prompt, "max_tokens": 2, "temperature": 0.0,
    });
    let url = Url::parse(url).unwrap();
    let mut request =
        Fetch::post(&url, "/v1/completions", "application/json", body.to_string().into_bytes());
    request.timeout = Duration::from_mins(1);
    let answer = fetch(&request).and_then(weir_http::Fetched::success).expect("it answers");
    serde_json::from_slice(&answer.body).unwrap()
}

fn text(answer: &Value) -> &str {
    answer["choices"][0]["text"].as_str().unwrap()
}

#[test]
fn a_store_that_dies_under_a_server_costs_time_and_no_answer() {
    if !has("a_store_that_dies_under_a_server_costs_time_and_no_answer", Product::Redis) {
        return;
    }
    let mut store = StoreServer::start(Product::Redis, StoreSettings::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let arms = format!(
        "[no-offload, {{preset: lmcache-redis, bytes: 1GiB, store: {{address: 'redis://{}'}}}}]",
        store.endpoint()
    );
    let file = experiment(folder.path(), &arms);
    let serve = ["serve", &file, "--arm", "lmcache-redis", "--port", "0", "--instant"];
    let mut server = Running::start(folder.path(), &serve);
    let out = folder.path().join("stdout");
    server.wait_until("the address", || fs::read_to_string(&out).unwrap().contains('\n'));
    let url = server.results().split_whitespace().next().unwrap().to_owned();
    let first: Vec<Value> = (0..8).map(|number| post(&url, number)).collect();
    // All are gone from the GPU pool and host memory by now; they come from the store.
    let cached = |answer: &Value| {
        let details = &answer["usage"]["prompt_tokens_details"];
        details["cached_tokens"].as_u64().unwrap_or(0)
    };
    let again: Vec<Value> = (0..8).map(|number| post(&url, number)).collect();
    assert!(again.iter().any(|answer| cached(answer) > 2000), "{again:?}");
    // Its keys name the run.
    let address: Address = format!("redis://{}", store.endpoint()).parse().unwrap();
    let client = StoreClient::new(&address, &weir_http::TlsConfig::default()).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    // One of them is the mark of the run.
    let mut drawn = (0..100).map(|_| client.call(&[b"RANDOMKEY"], deadline).unwrap());
    let own = "weir-emulated/Qwen/Qwen3-0.6B@01000100@0@";
    assert!(drawn.any(|key| key.text().unwrap().starts_with(own)));
    store.kill();
    let alone: Vec<Value> = (0..8).map(|number| post(&url, number)).collect();
    for answers in [&again, &alone] {
        assert!(first.iter().zip(answers).all(|(one, other)| text(one) == text(other)));
    }
    store.restart().unwrap();
    for number in 0..8 {
        post(&url, number);
    }
    server.signal(Signal::INT);
    // The store is there again, and stays as it was found.
    assert_eq!(server.end().code(), Some(0), "{}", server.words());
    let size = client.call(&[b"DBSIZE"], deadline + Duration::from_mins(1)).unwrap();
    assert_eq!(size, weir_store::resp::value::Value::Integer(0));
}

pub(crate) fn call(client: &StoreClient, words: &[&str]) -> weir_store::resp::value::Value {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    client.call(&words, std::time::Instant::now() + Duration::from_secs(20)).unwrap()
}

#[test]
fn other_peoples_keys_and_files_are_there_after_a_run() {
    if !has("other_peoples_keys_and_files_are_there_after_a_run", Product::Redis) {
        return;
    }
    let store = StoreServer::start(Product::Redis, StoreSettings::default()).unwrap();
    let client = StoreClient::new(&store.address(), &weir_http::TlsConfig::default()).unwrap();
    let hash = "ab".repeat(32);
    let theirs = [
        "somebody:else".to_owned(),
        format!("Qwen/Qwen3-8B@01000100@0@{hash}"),
        format!("Qwen/Qwen3-0.6B@01000100@0@{hash}"),
        format!("weir-emulated/Qwen/Qwen3-0.6B@01000100@0@{hash}"),
        format!("weir-emulated/Qwen/Qwen3-0.6B@01000100@0@{hash}@weir-0123456789abcdef"),
    ];
    for key in &theirs {
        call(&client, &["SET", key, "theirs"]);
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    for file in ["theirs.data", "blocks.weir", "headers.weir"] {
        fs::write(disk.join(file), "theirs").unwrap();
    }
    let arms = format!(
        "[no-offload, {{preset: lmcache-redis, bytes: 1GiB, store: {{bytes: 4GiB, address: \
         'redis://{}'}}}}, {{preset: lmcache-disk, bytes: 1GiB, disk: {{bytes: 2GiB}}}}]",
        store.endpoint()
    );
    let file = experiment(folder.path(), &arms);
    let target = "target={emulated: {byte_scale: 0.01, disk: disk}}";
    let answer = weir(folder.path(), &["run", &file, "--out", "run", "--set", target]);
    assert!(matches!(answer.code, Some(0 | 1)), "{}\n{}", answer.out, answer.err);
    // It did store there.
    let cell = folder.path().join("run/cells/Qwen--Qwen3-0.6B/1x-l40s/lmcache-redis/c4/0");
    let evidence = json(&cell.join("evidence.json"));
    assert!(signal(&evidence, "store-keys", "redis") > 100.0);
    let notes = json(&cell.join("trial.json"))["notes"].clone();
    let others = |note: &Value| note["tier"]["other-keys"]["keys"] == 5;
    assert!(notes.as_array().unwrap().iter().any(others), "{notes}");
    for key in &theirs {
        assert_eq!(call(&client, &["GET", key]).text(), Some("theirs"), "{key}");
    }
    let size = weir_store::resp::value::Value::Integer(5);
    assert_eq!(call(&client, &["DBSIZE"]), size);
    let mut files: Vec<_> =
        fs::read_dir(&disk).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["blocks.weir", "headers.weir", "theirs.data"]);
}

#[test]
fn a_store_that_cannot_be_used_ends_its_cells_and_not_the_run() {
    let test = "a_store_that_cannot_be_used_ends_its_cells_and_not_the_run";
    if !has(test, Product::Redis) {
        return;
    }
    let store = |commands: &[&[&str]]| {
        let server = StoreServer::start(Product::Redis, StoreSettings::default()).unwrap();
        let client = StoreClient::new(&server.address(), &weir_http::TlsConfig::default()).unwrap();
        for command in commands {
            call(&client, command);
        }
        server
    };
    let user = r#"{"run":"r","host":"elsewhere","pid":7,"started":1}"#;
    let (mute, blind) = (
        store(&[&["ACL", "SETUSER", "default", "-info"]]),
        store(&[&["ACL", "SETUSER", "default", "-scan"]]),
    );
    let (plain, taken) = (store(&[]), store(&[&["SET", "weir:run", user, "PX", "600000"]]));
    let folder = tempfile::tempdir().unwrap();
    let arm = |name: &str, preset: &str, address: &str| {
        format!(
            "{{name: {name}, preset: {preset}, bytes: 1GiB, store: {{bytes: 1GiB, address: \
             'redis://{address}'}}}}"
        )
    };
    let arms = [
        arm("dead", "lmcache-redis", "127.0.0.1:1"),
        arm("mute", "lmcache-redis", &mute.endpoint().to_string()),
        arm("blind", "lmcache-redis", &blind.endpoint().to_string()),
        arm("other", "lmcache-valkey", &plain.endpoint().to_string()),
        arm("taken", "lmcache-redis", &taken.endpoint().to_string()),
    ];
    let file = experiment(folder.path(), &format!("[no-offload, {}]", arms.join(", ")));
    // Such a window ends with its last request, and these cells come to none.
    let load = "load={users: [1], duration: 4s, warmup: 0.5s, max_requests: 400}";
    let answer = weir(folder.path(), &["run", &file, "--out", "run", "--set", load]);
    assert_eq!(answer.code, Some(1), "{}\n{}", answer.out, answer.err);
    for (arm, words) in [
        ("dead", "127.0.0.1:1"),
        ("mute", "allows INFO and SCAN"),
        ("blind", "allows INFO and SCAN"),
        ("other", "the arm says valkey"),
        ("taken", "run r, process 7 on elsewhere"),
    ] {
        let cell = format!("run/cells/Qwen--Qwen3-0.6B/1x-l40s/{arm}/c4/0");
        let cell = folder.path().join(cell.replace("c4", "c1"));
        let said = json(&cell.join("evidence.json"))["verdict"].to_string();
        assert!(said.contains("failed") && said.contains(words), "{arm}: {said}");
    }
    let control = folder.path().join("run/cells/Qwen--Qwen3-0.6B/1x-l40s/no-offload/c1/0");
    assert!(json(&control.join("cell.json"))["figures"]["completed"].as_u64() > Some(0));
    assert!(folder.path().join("run/report/report.html").exists());
    let told = weir(folder.path(), &["explain", "run", "--arm", "mute"]).done();
    assert!(told.out.contains("failed"), "{}", told.out);
}

#[test]
fn a_store_that_somebody_empties_in_the_window_shows_no_arm() {
    let test = "a_store_that_somebody_empties_in_the_window_shows_no_arm";
    if !has(test, Product::Redis) {
        return;
    }
    let server = StoreServer::start(Product::Redis, StoreSettings::default()).unwrap();
    let client = StoreClient::new(&server.address(), &weir_http::TlsConfig::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let arm = format!(
        "{{preset: lmcache-redis, bytes: 1GiB, store: {{bytes: 1GiB, address: 'redis://{}'}}}}",
        server.endpoint()
    );
    let file = experiment(folder.path(), &format!("[no-offload, {arm}]"));
    let load = "load={users: [2], duration: 4s, warmup: 0.5s, max_requests: 400}";
    let over = AtomicBool::new(false);
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let keys = call(&client, &["DBSIZE"]).integer().unwrap();
                // The mark of the run, and blocks.
                if keys > 20 {
                    call(&client, &["FLUSHALL"]);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let answer = weir(folder.path(), &["run", &file, "--out", "run", "--set", load]);
        over.store(true, Ordering::Relaxed);
        answer
    });
    assert_eq!(answer.code, Some(1), "{}\n{}", answer.out, answer.err);
    let cell = folder.path().join("run/cells/Qwen--Qwen3-0.6B/1x-l40s/lmcache-redis/c2/0");
    let verdict = json(&cell.join("evidence.json"))["verdict"].clone();
    let lost = &verdict["failed"]["cell"]["unfit"]["store-lost"];
    assert_eq!(lost["restarted"], false, "{verdict}");
    let lost = &json(&cell.join("trial.json"))["checks"]["lost"];
    assert!(lost["flushes"].as_u64() > Some(0), "{lost}");
}

#[test]
fn stores_and_tiers_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let call = |command: &str, arms: &str, more: &[&str], code: i32| {
        let file = experiment(folder.path(), arms);
        let args = [&[command, &file, "--quiet"], more].concat();
        let answer = weir(folder.path(), &args);
        assert_eq!(answer.code, Some(code), "{}\n{}", answer.out, answer.err);
        let _ = fs::remove_dir_all(folder.path().join("run"));
        answer.err
    };
    let run = |arms: &str, more: &[&str], code: i32| {
        call("run", arms, &[&["--out", "run"], more].concat(), code)
    };
    // Found by the plan, before any cell.
    let user = "[no-offload, {preset: lmcache-redis, store: {address: 'redis://lm@host'}}]";
    let said = call("plan", user, &[], 2);
    for words in ["tiers.yaml", "arms.lmcache-redis.store.address", "password_file"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let wrong = "[no-offload, {preset: lmcache-redis, store: {address: 'http://host'}}]";
    let said = run(wrong, &[], 2);
    assert!(said.contains("arms.lmcache-redis.store.address"), "{said}");
    let large = "[no-offload, {preset: native-offload, bytes: 900TiB}]";
    let said = run(large, &[], 3);
    assert!(said.contains("byte_scale") && said.contains("native-offload"), "{said}");
    let nowhere = "[no-offload, {preset: lmcache-disk, bytes: 1GiB, disk: {bytes: 1GiB}}]";
    let said = run(nowhere, &["--set", "target={emulated: {byte_scale: 0.01, disk: nowhere}}"], 3);
    assert!(said.contains("nowhere") && said.contains("target.emulated.disk"), "{said}");
}
