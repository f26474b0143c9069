//! `weir probe`: real tiers for a second or two, its files, and that the simulator takes its
//! profile.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_model::{Bytes, HeldIn};
use weir_store::resp::{Product, Secret};
use weir_store::server::{StoreServer, StoreSettings};
use weir_store::suite::{Release, ScriptedKvrocks};

use crate::binary::{Answer, Running, WEIR, weir};
use crate::tiers::has;

/// Short points of small blocks.
const SHORT: [&str; 8] =
    ["--block", "64KiB,256KiB", "--threads", "1,2", "--warmup", "5ms", "--working-set", "16MiB"];

fn probe(folder: &Path, args: &[&str]) -> Answer {
    probe_for("60ms", folder, args)
}

fn probe_for(duration: &str, folder: &Path, args: &[&str]) -> Answer {
    weir(folder, &[&["probe"], args, &SHORT[..], &["--duration", duration]].concat())
}

/// Probes as [`probe`] does, and longer where a busy machine let no link be fitted.
fn fitted(folder: &Path, args: &[&str]) -> Answer {
    let answer = probe(folder, args);
    let is_noise = answer.err.contains("no link profile") && answer.err.contains("measure longer");
    let answer = if is_noise { probe_for("600ms", folder, args) } else { answer };
    answer.done()
}

/// Probes a target with all outputs, checks them, and returns the JSON document.
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
    // Questions for 1, 16 and 64 keys stand behind the points.
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

/// A line of the CSV per load, as (`device_percent`, `loaded_from`).
fn loaded_from(folder: &Path) -> Vec<(String, String)> {
    let mut rows = csv::Reader::from_path(folder.join("p.csv")).unwrap();
    let columns = rows.headers().unwrap().clone();
    let place = |name: &str| columns.iter().position(|column| column == name).unwrap();
    let (percent, from) = (place("device_percent"), place("loaded_from"));
    let rows = rows.records().map(Result::unwrap).filter(|row| &row[1] == "read");
    rows.map(|row| (row[percent].to_owned(), row[from].to_owned())).collect()
}

#[test]
fn loads_out_of_the_page_cache_are_called_so_in_every_output() {
    let folder = tempfile::tempdir().unwrap();
    if weir_store::held_in(folder.path()).unwrap() != HeldIn::Device {
        println!(
            "SKIPPED loads_out_of_the_page_cache: {} is on no device",
            folder.path().display()
        );
        return;
    }
    let outputs = ["--csv", "p.csv", "--json", "p.json", "--profile", "p.yaml"];
    let call = |args: &[&str]| {
        fitted(folder.path(), &[&["disk:kv", "--no-differential"], args, &outputs].concat())
    };
    let answer = call(&["--page-cache"]);
    assert!(answer.out.contains("page cache 100 %"), "{}", answer.out);
    let words = answer.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("warning: loads came out of memory (page cache)"), "{words}");
    let from = loaded_from(folder.path());
    assert!(from.iter().all(|row| *row == ("0".to_owned(), "page-cache".to_owned())), "{from:?}");
    let json: Value =
        serde_json::from_slice(&fs::read(folder.path().join("p.json")).unwrap()).unwrap();
    let points = json["measured"]["points"].as_array().unwrap();
    for point in points {
        let expected = if point["read"].is_null() { Value::Null } else { "page-cache".into() };
        assert_eq!(point["loaded_from"].get("from").cloned().unwrap_or_default(), expected);
    }
    let profile = fs::read_to_string(folder.path().join("p.yaml")).unwrap();
    assert!(profile.contains("device_percent: 0"), "{profile}");

    let answer = call(&["--cold"]);
    assert!(answer.out.contains("cold                   by O_DIRECT"), "{}", answer.out);
    assert!(!answer.out.contains("not cold"), "{}", answer.out);
    let from = loaded_from(folder.path());
    assert!(from.iter().all(|row| row.1 == "device"), "{from:?}");
}

/// Where a file system has no direct access, the page cache is dropped between laps of so few
/// blocks that few are asked for twice.
#[test]
fn a_cold_probe_drops_the_page_cache() {
    let folder = tempfile::tempdir().unwrap();
    if weir_store::held_in(folder.path()).unwrap() != HeldIn::Device {
        println!("SKIPPED a_cold_probe: {} is on no device", folder.path().display());
        return;
    }
    let args = ["disk:kv", "--no-differential", "--page-cache", "--cold", "--csv", "p.csv"];
    let answer = probe(folder.path(), &args).done();
    assert!(answer.out.contains("by posix_fadvise(DONTNEED)"), "{}", answer.out);
    for (percent, from) in loaded_from(folder.path()) {
        assert!(from == "device" && percent.parse::<f64>().unwrap() > 50.0, "{from} {percent}");
    }
}

#[test]
fn a_folder_in_memory_is_no_disk_and_never_cold() {
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else {
        println!("SKIPPED a_folder_in_memory: there is no /dev/shm");
        return;
    };
    if weir_store::held_in(folder.path()).unwrap() != HeldIn::Memory {
        println!("SKIPPED a_folder_in_memory: /dev/shm is not in memory");
        return;
    }
    let args = ["disk:kv", "--no-differential", "--csv", "p.csv"];
    let answer = probe(folder.path(), &args).done();
    let words = answer.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("kv is in memory: what it loads comes from no device"), "{words}");
    for row in loaded_from(folder.path()) {
        assert_eq!(row, ("0".to_owned(), "memory".to_owned()));
    }
    let refused = probe(folder.path(), &["disk:kv", "--cold"]).refusal(2, folder.path());
    assert!(refused.contains("--cold: kv is in memory"), "{refused}");
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

/// An experiment whose working set a store must serve, with the measured figures.
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
    // A store that is too slow to be written is void, which was not planned.
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
    // The same file with a link a hundred times slower: the run must not be the same.
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

/// What a Kvrocks counts inside is in every output: table, CSV, JSON and where the time goes.
#[test]
fn a_kvrocks_is_probed_with_what_its_rocksdb_did() {
    // Memtables of 32 MiB: some of the working set is flushed.
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
    // It has no blob files and holds nobody up: columns of nothing are not printed.
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
fn a_store_that_refuses_the_password_is_named_without_it() {
    if !has("a_store_that_refuses_the_password", Product::Redis) {
        return;
    }
    let settings = StoreSettings { password: Some(Secret::new("right")), ..Default::default() };
    let server = StoreServer::start(Product::Redis, settings).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let call = |password: &str| {
        let target = format!("redis://:{password}@{}", server.endpoint());
        probe(folder.path(), &[&target, "--no-differential", "--repeats", "1", "--json", "p.json"])
    };
    let refused = call("sesame").refusal(2, folder.path());
    assert!(refused.contains("refuses") && !refused.contains("sesame"), "{refused}");
    call("right").done();
    let text = fs::read_to_string(folder.path().join("p.json")).unwrap();
    assert!(!text.contains(":right@"), "a result holds no password");
}

/// A managed store's reading address, as it is often given by mistake.
#[test]
fn a_store_that_cannot_be_written_is_told_in_its_own_words() {
    if !has("a_store_that_cannot_be_written", Product::Redis) {
        return;
    }
    // A replica of a primary that is not even there.
    let settings =
        StoreSettings { lines: vec!["replicaof 127.0.0.1 1".to_owned()], ..Default::default() };
    let server = StoreServer::start(Product::Redis, settings).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let target = format!("redis://{}", server.endpoint());
    let told = probe(folder.path(), &[&target, "--no-differential", "--repeats", "1"]);
    let said =
        "READONLY You can't write against a read only replica; give the address of its primary";
    assert!(told.code == Some(2) && told.err.contains(said), "{}\n{}", told.out, told.err);
}

#[test]
fn bad_input_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let call =
        |args: &[&str]| weir(folder.path(), &[&["probe"], args].concat()).refusal(2, folder.path());
    for (args, part) in [
        (&["nonsense"][..], "target `nonsense`: not known; write `memory`"),
        (&["http://host"][..], "`http://` is no kind of store"),
        (&["memory", "--block", "12"][..], "--block: `12` is not a size"),
        (&["memory", "--block", "1KiB"][..], "--block: 1024 bytes; take a multiple of 8"),
        (&["memory", "--threads", "0"][..], "--threads: 0; give a number from 1 to 256"),
        (&["memory", "--mix", "both"][..], "--mix both: write `write`"),
        (&["memory", "--sweep", "size=1"][..], "`size` is not swept"),
        (&["memory", "--sweep", "threads=1,x"][..], "`x` is no such value"),
        (&["memory", "--threads", "1", "--sweep", "threads=2"][..], "given twice"),
        (&["memory", "--model", "nobody/none"][..], "--model nobody/none: not known"),
        (&["memory", "--sweep", "chunk-tokens=64"][..], "only with --model"),
        (&["memory", "--zipf=-1"][..], "--zipf -1"),
        (&["memory", "--working-set", "many"][..], "--working-set many"),
        (&["memory", "--model", "Qwen/Qwen3-8B", "--trace", "none"][..], "cannot open the trace"),
        (&["memory", "--against", "nonsense"][..], "target `nonsense`: not known"),
        (&["memory", "--against", "memory", "--set-a", "a b"][..], "--set-a: only a server that"),
        (&["memory", "--against", "memory", "--claim", "fast"][..], "--claim: `fast` does not say"),
        (
            &["memory", "--against", "memory", "--cold"][..],
            "--cold: memory as well as memory keeps",
        ),
        (
            &["memory", "--against", "memory", "--block", "1MiB", "--block-b", "1MiB,2MiB"][..],
            "--against: 1 sizes of blocks stand against 2",
        ),
        (
            &["redis://h:1", "--against", "redis://h:1"][..],
            "--against: both sides are the same store",
        ),
        (
            &["memory", "--against", "memory", "--price-a", "3 USD", "--price-b", "1 EUR"][..],
            "--price-b: `1 EUR` and `3 USD`; write both prices in one currency",
        ),
        (
            &["memory", "--against", "memory", "--price-a", "0 USD", "--price-b", "1 USD"][..],
            "--price-a: `0 USD` must be above 0",
        ),
        (&["memory", "--cold"][..], "--cold: memory keeps blocks in memory"),
        (&["redis", "--cold"][..], "--cold: redis keeps blocks in memory"),
        (&["redis", "--page-cache"][..], "--page-cache: only a tier in a folder"),
    ] {
        let message = call(args);
        assert!(message.contains(part), "{args:?}: {message}");
    }
}

#[test]
fn an_environment_that_refuses_is_told_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let call =
        |args: &[&str]| weir(folder.path(), &[&["probe"], args].concat()).refusal(3, folder.path());
    let folder_is_a_file = call(&["disk:file/kv"]);
    assert!(folder_is_a_file.contains("cannot write to file/kv"), "{folder_is_a_file}");
    let nowhere = call(&["memory", "--json", "no/such/p.json"]);
    assert!(nowhere.contains("cannot write no/such/p.json; check the folder"), "{nowhere}");
    let nobody = call(&["redis://127.0.0.1:1", "--deadline", "2s"]);
    assert!(nobody.contains("127.0.0.1:1"), "{nobody}");
}

#[test]
fn teardown_removes_the_folder_of_a_store_whose_probe_was_killed_and_no_other() {
    if !has("teardown_removes_the_folder_of_a_store", Product::Redis) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // A folder for temporary files of its own: other tests tear down as well.
    let call = |args: &[&str]| {
        let mut command = Command::new(WEIR);
        command.args(args).current_dir(folder.path()).env("TMPDIR", folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    };
    let stores = || {
        let entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.join("held").exists()).collect::<Vec<_>>()
    };
    let teardown = || {
        let output = call(&["teardown"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let mut probe = call(&["probe", "redis", "--duration", "60s"]).spawn().unwrap();
    let begin = Instant::now();
    while stores().is_empty() {
        assert!(begin.elapsed() < Duration::from_mins(1), "no store was started");
        std::thread::sleep(Duration::from_millis(5));
    }
    let [store] = &stores()[..] else { panic!("one store is started") };
    assert_eq!(teardown(), "", "a store that is used stays");
    assert!(store.exists());
    probe.kill().unwrap();
    probe.wait().unwrap();
    let words = format!("removed folder {} of a process that is gone\n", store.display());
    assert_eq!(teardown(), words);
    assert!(!store.exists());
}

#[test]
fn teardown_removes_disk_tiers_of_killed_runs_wherever_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    let temporary = folder.path().join("tmp");
    for path in [&disk, &temporary] {
        fs::create_dir(path).unwrap();
    }
    let call = |args: &[&str]| {
        let mut command = Command::new(WEIR);
        command.args(args).current_dir(folder.path()).env("TMPDIR", &temporary);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    };
    let teardown = || {
        let output = call(&["teardown"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let content = |path: &Path| -> Vec<_> {
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let arms = "arms=[{preset: lmcache-disk, bytes: 64MiB, disk: {bytes: 64MiB}}]";
    let serve = ["serve", "--model", "Qwen/Qwen3-0.6B", "--hardware", "1x-l40s", "--port", "0"];
    let serve = [&serve[..], &["--arm", "lmcache-disk", "--set", arms, "--disk", "disk"]].concat();
    let probe = ["probe", "disk:disk", "--duration", "60s", "--working-set", "8MiB"];
    for args in [&serve[..], &probe] {
        let mut killed = call(args).spawn().unwrap();
        let begin = Instant::now();
        while !content(&disk).iter().any(|path| content(path).len() > 1) {
            assert!(begin.elapsed() < Duration::from_mins(1), "{args:?}: no tier was made");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(teardown(), "", "a tier that is used stays");
        killed.kill().unwrap();
        killed.wait().unwrap();
        let [tier] = &content(&disk)[..] else { panic!("{args:?} makes one folder") };
        let said = teardown();
        assert!(said.contains(&tier.display().to_string()), "{said}");
        assert_eq!((content(&disk), content(&temporary)), (Vec::new(), Vec::new()));
    }
}

#[test]
fn no_more_than_the_last_folder_is_made_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let call = |target: &str| {
        let args = ["probe", target, "--block", "64KiB", "--threads", "1", "--depth", "1"];
        let short = ["--repeats", "1", "--duration", "50ms", "--working-set", "8MiB"];
        weir(folder.path(), &[&args[..], &short, &["--no-differential"]].concat())
    };
    let refused = call("disk:typo/kv").refusal(2, folder.path());
    assert!(refused.starts_with("weir: typo/kv: typo does not exist; check the path, mount"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
    let answer = call("disk:kv").done();
    let words = answer.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("kv did not exist: it was made for the probe"), "{}", answer.out);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "what was made is gone");
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
    for part in ["9 MiB", "36 MiB", "16 points, 3 repeats, ", " s of measured time", "different"] {
        assert!(answer.out.contains(part), "no {part}:\n{}", answer.out);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Points short enough for a test, of both sides.
const PAIRED: [&str; 9] = [
    "--block",
    "64KiB",
    "--threads",
    "1",
    "--depth",
    "4",
    "--duration=40ms",
    "--warmup=5ms",
    "--working-set=8MiB",
];

#[test]
fn two_tiers_are_measured_in_turns_and_claims_judged() {
    let folder = tempfile::tempdir().unwrap();
    let claims = ["--claim", "read <= 100000", "--claim", "write >= 100000", "--json", "p.json"];
    let args = [&["probe", "memory", "--against", "memory"][..], &PAIRED, &claims].concat();
    let answer = weir(folder.path(), &args).done();
    for part in ["A against B in turns, 6 repeats", "borne out", "not borne out"] {
        assert!(answer.out.contains(part), "no {part}:\n{}", answer.out);
    }
    let json: Value =
        serde_json::from_slice(&fs::read(folder.path().join("p.json")).unwrap()).unwrap();
    let rulings: Vec<&Value> =
        json["claims"].as_array().unwrap().iter().map(|one| &one["ruling"]).collect();
    assert_eq!(rulings, ["borne-out", "not-borne-out"]);
    for (point, facet) in json["points"].as_array().unwrap().iter().zip(["write", "read"]) {
        assert_eq!((&point["facet"], &point["pairs"]), (&facet.into(), &6.into()));
        let interval = point["interval"].as_array().unwrap();
        let [low, high] = [0, 1].map(|end| interval[end].as_f64().unwrap());
        // The ratio is that of the means of the repeats that are kept on both sides.
        let mean = |side: &str| {
            let repeats = json[side]["measured"]["points"].as_array().unwrap().iter();
            let of_facet = repeats.filter(|one| !one[facet].is_null());
            let rates = of_facet.flat_map(|one| one["repeats"].as_array().unwrap());
            let rates: Vec<f64> = rates.map(|r| r[facet]["gb_per_s"].as_f64().unwrap()).collect();
            rates.iter().sum::<f64>() / rates.len() as f64
        };
        let ratio = point["ratio"].as_f64().unwrap();
        assert!((ratio / (mean("a") / mean("b")) - 1.0).abs() < 1e-9, "{point}");
        assert!(low <= ratio && ratio <= high, "{point}");
    }
}

/// Speed, price, and what the money buys, with one interval; and lookups beside loads and stores.
#[test]
fn a_comparison_has_lookups_prices_a_table_and_charts() {
    let folder = tempfile::tempdir().unwrap();
    let money = ["--price-a", "3 USD", "--price-b", "0.5 USD", "--claim", "lookup <= 100000"];
    let files = ["--json", "p.json", "--csv", "p.csv", "--plots", "plots"];
    let args = [&["probe", "memory", "--against", "memory"][..], &PAIRED, &money, &files].concat();
    let answer = weir(folder.path(), &args).done();
    let words = answer.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "Lookups in turns",
        "one GiB for a month costs 3.00 USD in A and 0.500 USD in B (B is 6.00 times cheaper than A)",
        "times B's speed at 6.00 times B's price per GiB",
    ] {
        assert!(words.contains(part), "no {part}:\n{}", answer.out);
    }
    let json: Value =
        serde_json::from_slice(&fs::read(folder.path().join("p.json")).unwrap()).unwrap();
    assert_eq!(json["claims"][0]["ruling"], "borne-out");
    let mut rows = csv::Reader::from_path(folder.path().join("p.csv")).unwrap();
    let columns = rows.headers().unwrap().clone();
    let place = |name: &str| columns.iter().position(|column| column == name).unwrap();
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    // A store, a load, and questions for 1, 16 and 64 keys, in six turns each.
    let sides: Vec<(&str, &str)> =
        rows.iter().map(|row| (&row[place("side")], &row[place("pairs")])).collect();
    let lookup = ("lookup", "6");
    assert_eq!(sides, [("write", "6"), ("read", "6"), lookup, lookup, lookup]);
    let points = json["points"].as_array().unwrap();
    assert_eq!(points.len(), rows.len());
    for (row, point) in rows.iter().zip(points) {
        let value = |name: &str| row[place(name)].parse::<f64>().unwrap();
        for end in ["", "_low", "_high"] {
            let (speed, money) = (format!("ratio{end}"), format!("ratio_per_money{end}"));
            // A costs six times as much.
            assert!((value(&money) * 6.0 - value(&speed)).abs() <= 1e-9 * value(&speed), "{row:?}");
        }
        assert!(value("a_low") <= value("a") && value("a") <= value("a_high"), "{row:?}");
        assert!((point["ratio"].as_f64().unwrap() - value("ratio")).abs() < 1e-9);
        assert!(point["per_money"]["interval"].is_array(), "{point}");
    }
    for plot in ["read", "write", "lookup", "ratio"] {
        let path = folder.path().join(format!("plots/probe_against_{plot}.svg"));
        assert!(fs::read_to_string(&path).unwrap().contains("<svg"), "{plot}");
    }
    let turns = &json["a"]["measured"]["lookups"][0]["turns"];
    assert_eq!(turns.as_array().unwrap().len(), 6);
}

#[test]
fn a_server_of_either_side_takes_lines_of_its_configuration() {
    if !has("a_server_of_either_side", Product::Redis) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let sets = ["--set-b", "maxmemory-policy noeviction", "--repeats", "2", "--json", "p.json"];
    let args = [&["probe", "redis", "--against", "redis"][..], &PAIRED, &sets].concat();
    weir(folder.path(), &args).done();
    let json: Value =
        serde_json::from_slice(&fs::read(folder.path().join("p.json")).unwrap()).unwrap();
    let policy = |side: &str| json[side]["tier"]["settings"]["eviction"].clone();
    assert_eq!((policy("a"), policy("b")), ("allkeys-lru".into(), "noeviction".into()));

    let call = |args: &[&str]| {
        let all = [&["probe", "redis", "--against", "redis"][..], &PAIRED, args].concat();
        weir(folder.path(), &all).refusal(2, folder.path())
    };
    let mistaken = call(&["--set-a", "save \"\"", "--set-b", "no-such-setting 5"]);
    assert!(mistaken.contains("--set-b: `no-such-setting 5`: redis does not start"), "{mistaken}");
    let moved = call(&["--set-a", "port 1"]);
    assert!(moved.contains("--set-a: `port 1`: where the server is and listens"), "{moved}");
}

#[test]
fn ctrl_c_keeps_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "probe",
        "memory",
        "--duration",
        "100ms",
        "--warmup",
        "5ms",
        "--repeats",
        "50",
        "--no-differential",
        "--json",
        "p.json",
    ];
    let mut running = Running::start(folder.path(), &args);
    let err = folder.path().join("stderr");
    // 40 of 400 runs and the lookups: every point has had five repeats.
    running.wait_until("some repeats", || {
        fs::read_to_string(&err).is_ok_and(|text| text.contains("40/401 runs"))
    });
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.end().code(), Some(1), "{}", running.words());
    assert!(running.words().contains("interrupted"), "{}", running.words());
    assert!(running.results().contains("Median of 5 repeats"), "{}", running.results());
    let json: Value =
        serde_json::from_slice(&fs::read(folder.path().join("p.json")).unwrap()).unwrap();
    assert_eq!(json["measured"]["interrupted"], true);
    let points = json["measured"]["points"].as_array().unwrap();
    assert_eq!(points.len(), 8);
    assert!(points.iter().all(|point| point["repeats"].as_array().unwrap().len() >= 5));
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
