//! Arms of real software that do not do what they claim: refusing, full or other stores; a disk in
//! memory without room; prompts that fill no chunk or do not repeat.

use std::fs;
use std::process::Command;

use weir_model::Product;
use weir_store::StoreClient;
use weir_store::server::{StoreServer, StoreSettings};

use super::local::{
    PRESSED, assert_judged, evidence, experiment, measured, nothing_is_left, ready,
};
use crate::binary::WEIR;
use crate::folder::json;
use crate::long::is_asked_for;
use crate::tiers::call;

const REQUESTS: &str = "{users: [2], duration: 120s, warmup: 2s, max_requests: 40}";

/// With a client for its settings.
fn redis() -> (StoreServer, StoreClient) {
    let store = StoreServer::start(Product::Redis, StoreSettings::default()).unwrap();
    let client = StoreClient::new(&store.address(), &weir_http::TlsConfig::default()).unwrap();
    (store, client)
}

fn arm(preset: &str, name: &str, bytes: &str, store: &StoreServer) -> String {
    format!(
        "{{preset: {preset}, name: {name}, bytes: {bytes}, chunk_tokens: 64, store: {{bytes: 1GiB, \
         address: 'redis://{}'}}}}",
        store.endpoint()
    )
}

#[test]
fn stores_that_take_nothing_do_not_count_whatever_host_memory_serves() {
    let test = "stores_that_take_nothing_do_not_count_whatever_host_memory_serves";
    if !is_asked_for(test) {
        return;
    }
    let Some(_alone) = ready(test, &[Product::Redis]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let ((main, _), (replica, of_replica), (full, of_full)) = (redis(), redis(), redis());
    let endpoint = main.endpoint().to_string();
    let (host, port) = endpoint.rsplit_once(':').unwrap();
    call(&of_replica, &["REPLICAOF", host, port]);
    call(&of_full, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    call(&of_full, &["CONFIG", "SET", "maxmemory", "3mb"]);
    let read_only = arm("lmcache-redis", "read-only", "32MiB", &replica);
    let full = arm("lmcache-redis", "full", "32MiB", &full);
    experiment(path, &format!("[{read_only}, {full}]"), PRESSED, REQUESTS);
    let answer = measured(path);
    // A store that refuses writes is found before the load.
    let status = json(&super::local::cell(path, "read-only").join("cell.json"))["status"].clone();
    let why =
        status["failed"]["error"].as_str().unwrap_or_else(|| panic!("{status:#}\n{}", answer.err));
    assert!(why.contains("none may be written"), "{why}");
    let seen = evidence(path, "full");
    assert!(seen["verdict"]["overhead-only"] == "nearer-tier", "{seen:#}");
    let failures = seen["signals"]["store-failures"].as_array().unwrap();
    let remote = failures.iter().filter(|of| of["tier"] == "remote");
    let count: f64 = remote.map(|of| of["value"].as_f64().unwrap()).sum();
    assert!(count > 0.0, "{seen:#}");
    nothing_is_left();
}

#[test]
fn a_store_of_another_product_and_one_that_nobody_reads_are_not_the_arms() {
    let test = "a_store_of_another_product_and_one_that_nobody_reads_are_not_the_arms";
    if !is_asked_for(test) {
        return;
    }
    let Some(_alone) = ready(test, &[Product::Redis]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (store, _) = redis();
    let other = arm("lmcache-valkey", "other", "32MiB", &store);
    let near = "{preset: lmcache-redis, name: near, bytes: 256MiB, chunk_tokens: 64, store: {bytes: \
                1GiB}}";
    experiment(path, &format!("[{other}, {near}]"), PRESSED, REQUESTS);
    let answer = measured(path);
    let status = json(&super::local::cell(path, "other").join("cell.json"))["status"].clone();
    let why =
        status["failed"]["error"].as_str().unwrap_or_else(|| panic!("{status:#}\n{}", answer.err));
    assert!(why.contains("is redis") && why.contains("the arm says valkey"), "{why}");
    let nearer = ("{\"overhead-only\":\"nearer-tier\"}", "offload/nearer-served");
    assert_judged(path, "near", nearer, &answer);
    nothing_is_left();
}

/// Each file system in memory lasts for one run.
#[test]
fn a_disk_that_is_memory_and_has_no_room_is_told_and_does_not_count() {
    let test = "a_disk_that_is_memory_and_has_no_room_is_told_and_does_not_count";
    if !is_asked_for(test) {
        return;
    }
    let Some(_alone) = ready(test, &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let disk = path.join("disk");
    fs::create_dir(&disk).unwrap();
    let arms = "[{preset: native-fs, bytes: 64MiB, chunk_tokens: 64, disk: {bytes: 1GiB}}]";
    experiment(path, arms, PRESSED, REQUESTS);
    let text = fs::read_to_string(path.join("local.yaml")).unwrap();
    let target = format!("{{weights: generated, disk: '{}', cores", disk.display());
    let text = text.replace("{weights: generated, cores", &target);
    fs::write(path.join("local.yaml"), text).unwrap();
    let of_size = |size: &str, command: &str| {
        let command = format!("mount -t tmpfs -o size={size} none disk && exec {command}");
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", &command]);
        unshare.current_dir(path).output()
    };
    if !of_size("64k", "true").is_ok_and(|tried| tried.status.success()) {
        println!("SKIPPED {test}: this user may not mount a file system of its own (unshare)");
        return;
    }
    let run = format!("{WEIR} run local.yaml --out run");
    let said = of_size("64k", &run).unwrap();
    let cell = super::local::cell(path, "native-fs");
    let status = json(&cell.join("cell.json"))["status"].clone();
    let why = status["failed"]["error"].as_str().unwrap_or_else(|| panic!("{status:#} {said:?}"));
    assert!(why.contains("64 KiB free"), "{why}");
    fs::remove_dir_all(path.join("run")).unwrap();
    // Room for one prompt of eight: host memory serves the others.
    let said = of_size("8m", &run).unwrap();
    let seen = evidence(path, "native-fs");
    let notes = seen["notes"].to_string();
    assert!(notes.contains("tmpfs"), "{notes} {said:?}");
    let room = |note: &serde_json::Value| note["tier"]["disk-room"]["free"] == 8 << 20;
    assert!(seen["notes"].as_array().unwrap().iter().any(room), "{notes} {said:?}");
    let reason = &seen["verdict"]["overhead-only"];
    assert_eq!(reason, "nearer-tier", "{seen:#} {said:?}");
    nothing_is_left();
}

#[test]
fn prompts_that_fill_no_chunk_or_do_not_come_round_are_named() {
    let test = "prompts_that_fill_no_chunk_or_do_not_come_round_are_named";
    if !is_asked_for(test) {
        return;
    }
    let Some(_alone) = ready(test, &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    // Prompts of 1,040 tokens have 1,000 in common.
    let long = "[{preset: native-offload, bytes: 200MiB, chunk_tokens: 1088}, \
                {preset: native-offload, name: shared, bytes: 200MiB, chunk_tokens: 1024}]";
    experiment(folder.path(), long, PRESSED, REQUESTS);
    let answer = measured(folder.path());
    let void = ("{\"void\":\"no-operation\"}", "inaction/no-chunk-filled");
    assert_judged(folder.path(), "native-offload", void, &answer);
    let shared = ("{\"overhead-only\":\"chunk-too-long\"}", "offload/chunk-too-long");
    assert_judged(folder.path(), "shared", shared, &answer);
    // Far more prefixes than requests.
    let folder = tempfile::tempdir().unwrap();
    let many = "{prefixes: 4000, prefix_tokens: 1000, prompt_tokens: 40, output_tokens: 8}";
    let arms = "[{preset: native-offload, bytes: 200MiB}]";
    experiment(folder.path(), arms, many, REQUESTS);
    let answer = measured(folder.path());
    let none = ("{\"overhead-only\":\"no-reuse-in-window\"}", "offload/no-reuse-in-window");
    assert_judged(folder.path(), "native-offload", none, &answer);
    nothing_is_left();
}
