use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::OnceLock;

use rustix::process::Signal;

use crate::binary::{Running, weir};
use crate::folder::{assert_same, complete_cells, files, planned_cells};

/// 48 cells, one after the other: enough time to interrupt.
const MANY: [&str; 8] = [
    "--jobs",
    "1",
    "--set",
    "load.users=[1, 2, 3, 4, 5, 6, 7, 8]",
    "--set",
    "load.duration=20s",
    "--set",
    "repeats=2",
];

/// `analysis/` of the same run without interruption, with its tables.
fn uninterrupted() -> &'static BTreeMap<String, Vec<u8>> {
    static WHOLE: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        // On more threads: neither they nor an interruption may change the results.
        let args = [&["run", "--quiet", "--out", "whole"][..], &MANY[2..]].concat();
        weir(folder.path(), &args).done();
        results(&folder.path().join("whole"))
    })
}

fn results(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let is_result = |name: &str| {
        name.starts_with("analysis/") || name.starts_with("report/") || name.ends_with(".parquet")
    };
    files(run).into_iter().filter(|(name, _)| is_result(name)).collect()
}

/// Waits for the first complete cell of `run` below the folder.
fn caught_in_the_middle(folder: &Path) -> Running {
    let mut running = Running::start(folder, &[&["run", "--out", "run"][..], &MANY].concat());
    let run = folder.join("run");
    running.wait_until("a first complete cell", || !complete_cells(&run).is_empty());
    running
}

/// The bytes of complete cells, of which there must be some but not all.
#[track_caller]
fn kept_cells(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let complete = complete_cells(run);
    let planned = planned_cells(run);
    assert_eq!(planned, 48);
    assert!(!complete.is_empty() && complete.len() < planned, "{} of {planned}", complete.len());
    let mut files = files(&run.join("cells"));
    files.retain(|name, _| complete.iter().any(|cell| name.starts_with(&format!("{cell}/"))));
    files
}

/// Kept cells must stay, and the results be those of a whole run.
#[track_caller]
fn assert_resumes(folder: &Path, kept: &BTreeMap<String, Vec<u8>>) {
    let finished = kept.keys().filter(|name| name.ends_with("/cell.json")).count();
    let answer = weir(folder, &["run", "--resume", "run"]).done();
    let words = format!("kept {finished} finished cells, ran {}\n", 48 - finished);
    assert!(answer.err.contains(&words), "{}", answer.err);
    let run = folder.join("run");
    let after = files(&run.join("cells"));
    for (name, bytes) in kept {
        assert_eq!(after.get(name), Some(bytes), "{name} was finished and changed");
    }
    assert_same(&results(&run), uninterrupted());
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = caught_in_the_middle(folder.path());
    running.signal(Signal::KILL);
    assert_eq!(running.end().signal(), Some(Signal::KILL.as_raw()));
    let kept = kept_cells(&folder.path().join("run"));
    assert!(!folder.path().join("run/analysis").exists(), "there is nothing to analyse yet");
    // As a kill during the write of an output leaves it.
    let half = folder.path().join("run/analysis/.part-1-0");
    std::fs::create_dir(half.parent().unwrap()).unwrap();
    std::fs::write(&half, "half").unwrap();
    assert_resumes(folder.path(), &kept);
}

#[test]
fn ctrl_c_keeps_finished_cells_and_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = caught_in_the_middle(folder.path());
    running.signal(Signal::INT);
    assert_eq!(running.end().code(), Some(1), "{}", running.words());
    let last = running.words().lines().last().map(String::from);
    assert_eq!(last.as_deref(), Some("interrupted; `weir run --resume run` finishes the rest"));
    let waits = "stopping once the cells under way stop; Ctrl-C again ends it at once";
    assert!(running.words().lines().any(|line| line == waits), "{}", running.words());
    let run = folder.path().join("run");
    let kept = kept_cells(&run);
    // Finished work has its report already.
    let report = std::fs::read_to_string(run.join("report/report.md")).unwrap();
    let finished = complete_cells(&run).len();
    assert!(report.contains(&format!("{finished} of 48 cells completed")), "{report}");
    assert_resumes(folder.path(), &kept);
}

#[test]
fn a_second_ctrl_c_ends_it_at_once_and_finished_cells_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = caught_in_the_middle(folder.path());
    let status = running.signal_to_death(Signal::INT);
    assert_eq!(status.code(), Some(130), "{}", running.words());
    let kept = kept_cells(&folder.path().join("run"));
    assert_resumes(folder.path(), &kept);
}

#[test]
fn a_folder_in_use_is_refused_and_says_by_whom() {
    let folder = tempfile::tempdir().unwrap();
    // Days of simulated time: it ends when it is killed.
    let long = ["--jobs", "1", "--set", "load={users: [64], duration: 1000h}"];
    let args = [&["run", "--out", "run"][..], &long].concat();
    let mut running = Running::start(folder.path(), &args);
    let run = folder.path().join("run");
    running.wait_until("a cell has begun", || run.join("cells").exists());
    let described = std::fs::read(run.join("plan.json")).unwrap();

    let process = format!("process {}", running.id());
    let resumed = weir(folder.path(), &["run", "--resume", "run"]).refusal(2, folder.path());
    insta::assert_snapshot!(resumed.replace(&process, "[process]"), @"weir: run: [process] is running in this folder; wait for it to end or stop it, or pick another `--out`");
    let again = weir(folder.path(), &["run", "--out", "run"]).refusal(2, folder.path());
    insta::assert_snapshot!(again, @"weir: run: the folder is not empty; pick another `--out`, or continue the run in it with `--resume`");
    assert_eq!(std::fs::read(run.join("plan.json")).unwrap(), described);
    assert!(running.is_alive(), "the first run ended: {}", running.words());
}
