//! `weir probe`: real tiers for a second or two, its files, and its profile in the simulator.

use std::fs;
use std::path::Path;

use serde_json::Value;
use weir_model::Bytes;
use weir_model::Product;
use weir_store::server::StoreSettings;
use weir_store::suite::{Release, ScriptedKvrocks};

use crate::binary::{Answer, weir};
use crate::tiers::has;

/// Short points of small blocks.
const SHORT: [&str; 8] =
    ["--block", "64KiB,256KiB", "--threads", "1,2", "--warmup", "5ms", "--working-set", "16MiB"];

pub(crate) fn probe(folder: &Path, args: &[&str]) -> Answer {
    probe_for("60ms", folder, args)
}

fn probe_for(duration: &str, folder: &Path, args: &[&str]) -> Answer {
    weir(folder, &[&["probe"], args, &SHORT[..], &["--duration", duration]].concat())
}

/// As [`probe`], longer where a busy machine lets no link be fitted.
pub(crate) fn fitted(folder: &Path, args: &[&str]) -> Answer {
    let answer = probe(folder, args);
    let is_noise = answer.err.contains("no link profile") && answer.err.contains("measure longer");
    let answer = if is_noise { probe_for("600ms", folder, args) } else { answer };
    answer.done()
}

/// Checks all outputs, and returns the JSON document.
fn probed(folder: &Path, target: &str) -> Value {
    let outputs = ["--json", "p.json", "--csv", "p.csv", "--plots", "plots", "--profile", "p.yaml"];
    let answer = fitted(folder, &[&[target], &outputs[..]].concat());
    for part in ["GB/s", "p99.9", "loads from", "lookup", "Where the time goes", "Link: "] {
        assert!(answer.out.contains(part), "no {part}:\n{}", answer.out);
    }
    assert!(answer.err.contains("profile: p.yaml"), "{}", answer.err);
    let json: Value = serde_json::from_slice(&fs::read(folder.join("p.json")).unwrap()).unwrap();
    assert_eq!(json["format"], 1);
    // Two sizes, two numbers of threads, two depths, loads and stores.
    let points = json["measured"]["points"].as_array().unwrap();
    assert_eq!(points.len(), 16);
    for point in points {
        let side = if point["read"].is_null() { &point["write"] } else { &point["read"] };
        assert!(side["gb_per_s"]["median"].as_f64().unwrap() > 0.0, "{point}");
        assert_eq!(point["repeats"].as_array().unwrap().len(), 3);
        for trouble in ["wrong", "corrupt", "full"] {
            assert_eq!(point["outcomes"][trouble], 0, "{point}");
        }
    }
    assert_eq!(json["measured"]["whereabouts"].as_array().unwrap().len(), 4);
    let mut rows = csv::Reader::from_path(folder.join("p.csv")).unwrap();
    let columns = rows.headers().unwrap().clone();
    let rate = columns.iter().position(|column| column == "gb_per_s").unwrap();
    let rows: Vec<csv::StringRecord> = rows.records().collect::<Result<_, _>>().unwrap();
    // Lookups of 1, 16 and 64 keys follow the points.
    let (points, lookups) = rows.split_at(16);
    assert!(points.iter().all(|row| row[rate].parse::<f64>().unwrap() > 0.0));
    let asked: Vec<(&str, &str)> = lookups.iter().map(|row| (&row[0], &row[5])).collect();
    assert_eq!(asked, [("lookup", "1"), ("lookup", "16"), ("lookup", "64")]);
    for plot in
        ["probe_throughput_by_threads", "probe_latency_by_depth", "probe_throughput_by_block"]
    {
        let svg = fs::read_to_string(folder.join(format!("plots/{plot}.svg"))).unwrap();
        assert!(svg.contains("<svg"), "{plot}");
        assert!(fs::metadata(folder.join(format!("plots/{plot}.png"))).unwrap().len() > 1000);
    }
    let profile = fs::read_to_string(folder.join("p.yaml")).unwrap();
    assert!(profile.contains("format: 1\n") && profile.contains("read_gb_per_s: "), "{profile}");
    json
}

#[test]
fn memory_is_probed_with_all_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let json = probed(folder.path(), "memory");
    assert_eq!(json["tier"]["kind"], "memory");
}

#[test]
fn a_disk_is_probed_and_its_profile_used() {
    let folder = tempfile::tempdir().unwrap();
    let json = probed(folder.path(), "disk:kv");
    assert_eq!(json["tier"]["kind"], "disk");
    assert!(!folder.path().join("kv").exists(), "the folder was the probe's own");
    fs::write(folder.path().join("e.yaml"), experiment("lmcache-disk", "disk")).unwrap();
    weir(folder.path(), &["plan", "e.yaml"]).done();
}

/// The working set needs a store, which has the measured figures.
fn experiment(preset: &str, part: &str) -> String {
    format!(
        "name: measured\nmodels: [Qwen/Qwen3-8B]\nhardware: 1x-h100\n\
         arms: [no-offload, {{preset: {preset}, bytes: 2GiB, {part}: {{profile: p.yaml, \
         bytes: 400GiB}}}}]\n\
         workload:\n  shared-prefix: {{prefixes: {{times_gpu: 2}}, prefix_tokens: 10000, \
         prompt_tokens: 100, output_tokens: 32}}\n\
         load: {{users: [8], duration: 60s}}\n"
    )
}

fn summary(folder: &Path, run: &str) -> Value {
    let answer = weir(folder, &["run", "e.yaml", "--out", run]);
    // A store too slow to be written is void, which was not planned.
    assert!(matches!(answer.code, Some(0 | 1)), "{}\n{}", answer.out, answer.err);
    let text = fs::read(folder.join(run).join("analysis/summary.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn redis_is_probed_and_its_profile_changes_what_the_simulator_says() {
    if !has("redis_is_probed", Product::Redis) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let json = probed(folder.path(), "redis");
    assert_eq!(
        (&json["tier"]["kind"], &json["tier"]["product"]),
        (&"store".into(), &"redis".into())
    );
    let point = &json["measured"]["points"][0];
    assert!(point["server_cpu_s_per_gb"]["median"].as_f64().unwrap() > 0.0, "{point}");
    fs::write(folder.path().join("e.yaml"), experiment("lmcache-redis", "store")).unwrap();
    let measured = summary(folder.path(), "measured");
    let plan = fs::read_to_string(folder.path().join("measured/plan.json")).unwrap();
    assert!(plan.contains("p.yaml"), "the profile is an input of the plan");
    // The same file with a link a hundred times slower must give another run.
    let profile = fs::read_to_string(folder.path().join("p.yaml")).unwrap();
    let slow: String = profile
        .lines()
        .map(|line| {
            let is_rate = line.trim_start().starts_with("read_gb_per_s");
            if is_rate { "  read_gb_per_s: 0.01\n".to_owned() } else { format!("{line}\n") }
        })
        .collect();
    fs::write(folder.path().join("p.yaml"), slow).unwrap();
    let slowed = summary(folder.path(), "slowed");
    assert_ne!(measured["deployments"], slowed["deployments"]);
    let later = profile.replace("format: 1", "format: 9");
    fs::write(folder.path().join("p.yaml"), later).unwrap();
    let refused = weir(folder.path(), &["plan", "e.yaml"]).refusal(2, folder.path());
    assert!(refused.contains("format 9 of link profiles is not known here"), "{refused}");
}

/// In every output: table, CSV, JSON and the parts of the time.
#[test]
fn a_kvrocks_is_probed_with_what_its_rocksdb_did() {
    // Memtables of 32 MiB: a part of the working set is flushed.
    let small = StoreSettings { capacity: Some(Bytes(128 << 20)), ..StoreSettings::default() };
    let server = ScriptedKvrocks::start(Release::V2_10, small).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let target = server.address().to_string();
    let args = [&target, "--depth", "4", "--repeats", "2", "--csv", "p.csv", "--json", "p.json"];
    let answer = probe(folder.path(), &args).done();
    let words = answer.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["What its RocksDB counted meanwhile", "memtable %", "lookup of 64 keys"] {
        assert!(words.contains(part), "no {part}:\n{}", answer.out);
    }
    for part in ["server without RocksDB", "its clock: calls"] {
        assert!(words.contains(part), "no {part}:\n{}", answer.out);
    }
    // Without blob files and stalls: columns of zeros are not printed.
    for part in ["of blobs", "stalled s"] {
        assert!(!words.contains(part), "{part}:\n{}", answer.out);
    }
    let mut rows = csv::Reader::from_path(folder.path().join("p.csv")).unwrap();
    let columns = rows.headers().unwrap().clone();
    let place = |name: &str| columns.iter().position(|column| column == name).unwrap();
    let (log, read) = (place("rocksdb_log_bytes_per_byte"), place("rocksdb_read_bytes_per_byte"));
    for row in rows.records().map(Result::unwrap) {
        let value = |column: usize| row[column].parse::<f64>().unwrap();
        let (written, asked) = if &row[0] == "write" { (1.0, 0.0) } else { (0.0, 1.0) };
        assert!((value(log) - written).abs() < 0.05, "{row:?}");
        assert!((value(read) - asked).abs() < 0.05, "{row:?}");
        assert_eq!(value(place("rocksdb_stalls")), 0.0);
    }
    let json: Value =
        serde_json::from_slice(&fs::read(folder.path().join("p.json")).unwrap()).unwrap();
    let point = &json["measured"]["points"][0];
    assert!(point["engine"]["counters"]["log_bytes"].as_u64().unwrap() > 0, "{point}");
    assert!(json["measured"]["whereabouts"][0]["layers"]["store"]["inside"].is_object());
}

#[test]
fn a_dry_run_says_what_it_would_take_and_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "probe",
        "disk:kv",
        "--model",
        "Qwen/Qwen3-8B",
        "--sweep",
        "chunk-tokens=64,256",
        "--profile",
        "p.yaml",
        "--dry-run",
    ];
    let answer = weir(folder.path(), &args).done();
    // 144 KiB per token: 9 and 36 MiB.
    for part in [
        "9 MiB",
        "36 MiB",
        "16 points, 3 repeats, at least ",
        "s in all",
        "different",
        "stored: up to",
    ] {
        assert!(answer.out.contains(part), "no {part}:\n{}", answer.out);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_point_that_is_asked_for_twice_is_measured_once() {
    let folder = tempfile::tempdir().unwrap();
    let lists = ["--threads=2,1,2", "--depth=4,4", "--block=1MiB,1024KiB", "--mix=read,read"];
    let answer = weir(folder.path(), &[&["probe", "memory", "--dry-run"], &lists[..]].concat());
    assert!(answer.done().out.contains("2 points, 3 repeats"));
}

/// Refused blocks are reported as no success; so few batches have no quantiles.
#[test]
fn blocks_that_find_no_room_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let full = ["--capacity=1MiB", "--eviction=none", "--block=256KiB", "--mix=write"];
    let short = ["--threads=1", "--depth=8", "--operations=80", "--csv=p.csv", "--repeats=3"];
    let args = [&["probe", "memory", "--no-differential"], &full[..], &short].concat();
    let answer = weir(folder.path(), &args);
    assert_eq!(answer.code, Some(1), "{}\n{}", answer.out, answer.err);
    let words = answer.out.split_whitespace().collect::<Vec<_>>().join(" ");
    let told = "warning: write 256 KiB, 1 x 8: not all blocks ended well: ";
    assert!(words.contains(told) && words.contains(" found no room"), "{words}");
    let mut rows = csv::Reader::from_path(folder.path().join("p.csv")).unwrap();
    let columns = rows.headers().unwrap().clone();
    let row = rows.records().next().unwrap().unwrap();
    let value = |name: &str| &row[columns.iter().position(|column| column == name).unwrap()];
    assert!(value("full").parse::<u64>().unwrap() > 0);
    assert!(!value("batch_p50_us").is_empty());
    assert_eq!(
        (value("batch_p99_us"), value("batch_p999_us"), value("block_p99_us")),
        ("", "", "")
    );
}

#[test]
fn a_trace_says_how_much_of_it_a_tier_can_hit() {
    let folder = tempfile::tempdir().unwrap();
    let request = |ids: &str, tokens: u32| {
        format!(
            "{{\"timestamp\": 0, \"input_length\": {tokens}, \"output_length\": 1, \"hash_ids\": \
             {ids}}}\n"
        )
    };
    let trace = [request("[1, 2]", 1024), request("[1, 2, 3]", 1536), request("[1, 4]", 1024)];
    fs::write(folder.path().join("t.jsonl"), trace.concat()).unwrap();
    let args = [
        "probe",
        "memory",
        "--model",
        "Qwen/Qwen3-0.6B",
        "--trace",
        "t.jsonl",
        "--threads",
        "1",
        "--depth",
        "4",
        "--repeats",
        "2",
        "--json",
        "p.json",
    ];
    let answer = weir(folder.path(), &args).done();
    // Three of seven chunks were there before.
    assert!(answer.out.contains("A tier without limits would hit 42.9 % of the trace."));
    let json: Value =
        serde_json::from_slice(&fs::read(folder.path().join("p.json")).unwrap()).unwrap();
    let hits = json["measured"]["points"][0]["hit_share"]["median"].as_f64().unwrap();
    assert!((hits - 3.0 / 7.0).abs() < 1e-9, "{hits}");
}
