//! A probe that ends early, and its results.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use weir_model::Product;

use crate::binary::{Running, WEIR};
use crate::tiers::has;

#[test]
fn teardown_removes_the_folder_of_a_store_whose_probe_was_killed_and_no_other() {
    if !has("teardown_removes_the_folder_of_a_store", Product::Redis) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Its own temporary folder: other tests tear down as well.
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
    let args = [&args[..], &["--profile", "p.yaml"]].concat();
    let mut running = Running::start(folder.path(), &args);
    let err = folder.path().join("stderr");
    // 40 of 400 runs and the lookups: every point has had five repeats.
    running.wait_until("some repeats", || {
        fs::read_to_string(&err).is_ok_and(|text| text.contains("40/401 runs"))
    });
    running.signal(Signal::INT);
    assert_eq!(running.end().code(), Some(1), "{}", running.words());
    assert!(running.words().contains("interrupted"), "{}", running.words());
    assert!(running.results().contains("Median of 5 repeats"), "{}", running.results());
    let json: Value =
        serde_json::from_slice(&fs::read(folder.path().join("p.json")).unwrap()).unwrap();
    assert_eq!(json["measured"]["interrupted"], true);
    let points = json["measured"]["points"].as_array().unwrap();
    assert_eq!(points.len(), 8);
    assert!(points.iter().all(|point| point["repeats"].as_array().unwrap().len() >= 5));
    // Lookups were not measured, and are not reported.
    assert!(running.words().contains("profile: p.yaml was not written"), "{}", running.words());
    assert!(!folder.path().join("p.yaml").exists());
    assert!(json["link"].is_null() && !running.results().contains("Link"), "{json}");
}

/// A started server in the test's own temporary folder, and a working set that takes long to
/// store.
fn filling(folder: &Path) -> Child {
    let args = ["probe", "redis", "--working-set", "40GiB", "--capacity", "64MiB", "--mix", "read"];
    let outputs = ["--csv", "old.csv", "--json", "new.json", "--plots", "plots"];
    let args = [&args[..], &outputs].concat();
    fs::write(folder.join("old.csv"), "of before").unwrap();
    let mut command = Command::new(WEIR);
    command.args(args).current_dir(folder).env("TMPDIR", folder);
    let stdout = fs::File::create(folder.join("stdout")).unwrap();
    let stderr = fs::File::create(folder.join("stderr")).unwrap();
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let probe = command.spawn().unwrap();
    let begin = Instant::now();
    while !said(folder, "stderr").contains("4 points, 3 repeats, about") {
        assert!(begin.elapsed() < Duration::from_mins(1), "{}", said(folder, "stderr"));
        std::thread::sleep(Duration::from_millis(5));
    }
    probe
}

fn said(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap()
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

#[test]
fn a_probe_that_is_ended_while_it_fills_leaves_nothing_and_claims_nothing() {
    if !has("a_probe_that_is_ended_while_it_fills", Product::Redis) {
        return;
    }
    for (signals, code) in [(1, 1), (2, 130)] {
        let folder = tempfile::tempdir().unwrap();
        let mut probe = filling(folder.path());
        assert_eq!(folders(folder.path()).len(), 1, "a server has its folder");
        let pid = Pid::from_child(&probe);
        for number in 0..signals {
            kill_process(pid, Signal::TERM).unwrap();
            let begin = Instant::now();
            // Two signals at once would be one.
            while number == 0 && !said(folder.path(), "stderr").contains("stopping once") {
                assert!(begin.elapsed() < Duration::from_mins(1), "the signal was not heard");
            }
        }
        let ended = probe.wait().unwrap();
        assert_eq!(ended.code(), Some(code), "{}", said(folder.path(), "stderr"));
        assert_eq!(folders(folder.path()), Vec::<PathBuf>::new(), "{signals}");
        let out = said(folder.path(), "stdout");
        assert!(!out.contains("Median of 0"), "{out}");
        assert_eq!(out.contains("No point was measured"), signals == 1, "{out}");
        // Without a measurement, the table of another probe stays.
        assert_eq!(said(folder.path(), "old.csv"), "of before");
        assert!(!folder.path().join("new.json").exists());
        let err = said(folder.path(), "stderr");
        let told = err.contains("table: old.csv was not written: no point was measured");
        assert_eq!(told, signals == 1, "{err}");
    }
}
