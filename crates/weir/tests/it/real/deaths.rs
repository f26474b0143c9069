//! Parts of an arm that die, hang or are left behind: the log has the cause, only their cell ends,
//! and a later Weir finds them.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use weir_model::Product;

use super::local::{PATIENCE, PRESSED, cell, experiment, nothing_is_left, ready};
use crate::binary::{Running, weir};
use crate::folder::json;
use crate::long::is_asked_for;

/// By folder below `/proc`.
fn processes(is_wanted: impl Fn(&Path) -> bool) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let wanted = entries.filter(|entry| is_wanted(&entry.path()));
    wanted.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// With these words in the command line and the mark of the caller's run.
fn started_by(weir: u32, words: &str) -> Vec<i32> {
    let mark = format!("WEIR_OWNER={weir}:");
    processes(|process| {
        let read = |file: &str| fs::read(process.join(file)).unwrap_or_default();
        let environment = String::from_utf8_lossy(&read("environ")).into_owned();
        let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        environment.contains(&mark) && line.contains(words)
    })
}

fn store_of(weir: u32) -> Vec<i32> {
    processes(|process| {
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        let Some((head, rest)) = stat.rsplit_once(')') else { return false };
        let parent = rest.split_whitespace().nth(1).and_then(|text| text.parse::<u32>().ok());
        parent == Some(weir) && head.contains("redis-server")
    })
}

fn started(folder: &Path) -> Running {
    Running::start(folder, &["run", "local.yaml", "--out", "run"]).within(PATIENCE)
}

fn send(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[test]
fn a_part_that_dies_or_hangs_fails_its_cell_alone() {
    let test = "a_part_that_dies_or_hangs_fails_its_cell_alone";
    if !is_asked_for(test) {
        return;
    }
    let Some(_alone) = ready(test, &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let load = "{users: [2], duration: 25s, warmup: 2s}\nrepeats: 2";
    experiment(path, "[no-offload]", PRESSED, load);
    let mut running = started(path);
    let id = running.id();
    let words = || fs::read_to_string(path.join("stderr")).unwrap_or_default();
    running.wait_until("load", || words().contains("in flight"));
    let engine = started_by(id, "VLLM::EngineCore");
    assert_eq!(engine.len(), 1, "{}", words());
    send(engine[0], Signal::KILL);
    running.wait_until("the second cell", || words().contains("1/2 cells"));
    let before = words().matches("in flight").count();
    running.wait_until("its load", || words().matches("in flight").count() > before);
    let engine = started_by(id, "VLLM::EngineCore");
    assert_eq!(engine.len(), 1, "{}", words());
    send(engine[0], Signal::STOP);
    let status = running.end();
    assert_eq!(status.code(), Some(1), "{}", running.words());
    let run = path.join("run/cells/weir--tiny-qwen3/1x-cpu/no-offload/c2");
    let cause = |repeat: u32| {
        let cell = json(&run.join(format!("{repeat}/cell.json")));
        cell["status"].to_string()
    };
    let causes = [cause(0), cause(1)];
    assert!(causes.iter().any(|cause| cause.contains("engine core")), "{causes:?}");
    assert!(causes.iter().any(|cause| cause.contains("no answer for")), "{causes:?}");
    nothing_is_left();
}

#[test]
fn a_killed_weir_leaves_nothing_that_a_later_one_does_not_find() {
    let test = "a_killed_weir_leaves_nothing_that_a_later_one_does_not_find";
    let Some(_alone) = ready(test, &[Product::Redis]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let arm = "[{preset: lmcache-redis, bytes: 64MiB, chunk_tokens: 64, store: {bytes: 64MiB}}]";
    experiment(path, arm, PRESSED, "{users: [2], duration: 60s}");
    // A run of another test that begins just then removes them as well.
    let (id, left) = std::iter::repeat_with(|| {
        let _ = fs::remove_dir_all(path.join("run"));
        let mut running = started(path);
        let id = running.id();
        running.wait_until("an engine", || !started_by(id, "VLLM::EngineCore").is_empty());
        running.signal_to_death(Signal::KILL);
        (id, weir(path, &["teardown"]))
    })
    .take(3)
    .find(|(_, left)| left.out.contains("removed process") && left.out.contains("weir-local-"))
    .expect("a killed Weir leaves processes and a folder");
    assert_eq!(left.code, Some(0), "{}", left.err);
    assert_eq!(started_by(id, ""), [0; 0]);
    let memory = fs::read_dir("/dev/shm").unwrap().flatten();
    let ours: Vec<_> = memory
        .filter(|entry| entry.file_name().to_string_lossy().contains(&format!("-{id}-")))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
    nothing_is_left();
}

#[test]
fn a_store_that_dies_and_a_folder_without_tokenizer_are_told_from_the_logs() {
    let test = "a_store_that_dies_and_a_folder_without_tokenizer_are_told_from_the_logs";
    if !is_asked_for(test) {
        return;
    }
    let Some(_alone) = ready(test, &[Product::Redis]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let arm = "[{preset: lmcache-redis, bytes: 16MiB, chunk_tokens: 64, store: {bytes: 256MiB}}]";
    experiment(path, arm, PRESSED, "{users: [2], duration: 40s, warmup: 2s}");
    let mut running = started(path);
    let words = || fs::read_to_string(path.join("stderr")).unwrap_or_default();
    running.wait_until("load", || words().contains("in flight"));
    let children = store_of(running.id());
    assert_eq!(children.len(), 1, "{}", words());
    send(children[0], Signal::KILL);
    assert_eq!(running.end().code(), Some(1), "{}", running.words());
    let status = json(&cell(path, "lmcache-redis").join("cell.json"))["status"].to_string();
    assert!(status.contains("redis ended while it was used"), "{status}");

    let model = path.join("model");
    fs::create_dir(&model).unwrap();
    let made = weir(path, &["setup", "model", "whole", "--model", "weir/tiny-qwen3"]);
    assert_eq!(made.code, Some(0), "{}", made.err);
    for file in ["config.json", "model.safetensors"] {
        fs::copy(path.join("whole").join(file), model.join(file)).unwrap();
    }
    let text = fs::read_to_string(path.join("local.yaml")).unwrap();
    let text = text.replace("weights: generated", &format!("weights: '{}'", model.display()));
    let arm_line = text.lines().find(|line| line.starts_with("arms:")).unwrap().to_owned();
    fs::write(path.join("local.yaml"), text.replace(&arm_line, "arms: [no-offload]")).unwrap();
    fs::remove_dir_all(path.join("run")).unwrap();
    let answer = weir(path, &["run", "local.yaml", "--out", "run"]);
    assert_eq!(answer.code, Some(1), "{}\n{}", answer.out, answer.err);
    let status = json(&cell(path, "no-offload").join("cell.json"))["status"].to_string();
    assert!(status.contains("tokenizer"), "{status}");
    nothing_is_left();
}
