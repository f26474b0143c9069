//! Starting, continuing and refusing run folders.

use std::fs;
use std::path::Path;

use weir_model::{Attributed, ErrorCause};
use weir_record::{CellStatus, RecordError, RunFolder};

use crate::sample::{self, CELL, PLAN_HASH};

#[test]
fn a_new_run_keeps_the_experiment_the_plan_and_the_environment() {
    let (_kept, run) = sample::run();
    let kept = fs::read_to_string(run.path().join("experiment.yaml")).unwrap();
    assert_eq!(kept, "name: sample\n");
    let plan: serde_json::Value = run.plan().unwrap();
    assert_eq!(plan["seed"], 889);
    let path = run.path().to_owned();
    drop(run);
    let read = RunFolder::open_read_only(&path).unwrap();
    let header = read.header();
    assert_eq!(header.plan_hash, PLAN_HASH);
    assert_eq!(header.started, "2026-11-20T10:00:00Z");
    assert_eq!(header.host["kernel"], "6.18");
    let mut names: Vec<_> =
        fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["environment.json", "experiment.yaml", "lock", "plan.json"]);
}

#[test]
fn an_empty_folder_is_taken_and_one_with_content_is_not() {
    let folder = tempfile::tempdir().unwrap();
    drop(sample::create(folder.path()).unwrap());
    let error = sample::create(folder.path()).unwrap_err();
    assert!(matches!(error, RecordError::NotEmpty { .. }), "{error}");
    assert_eq!(error.fault(), ErrorCause::User);
    sample::assert_one_line(&error, folder.path());
    assert!(error.to_string().contains("--out") && error.to_string().contains("--resume"));

    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("thesis.tex"), "precious").unwrap();
    let error = sample::create(other.path()).unwrap_err();
    assert!(matches!(error, RecordError::NotEmpty { .. }), "{error}");
    let names: Vec<_> =
        fs::read_dir(other.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["thesis.tex"], "a refused folder was changed");
}

#[test]
fn two_writers_exclude_each_other() {
    let (_kept, run) = sample::run();
    let error = RunFolder::resume(run.path(), PLAN_HASH).unwrap_err();
    let RecordError::Locked { holder, .. } = &error else { panic!("{error}") };
    assert_eq!(holder, &format!("process {}", std::process::id()));
    sample::assert_one_line(&error, run.path());
    assert_eq!(error.fault(), ErrorCause::User);
    RunFolder::open_read_only(run.path()).unwrap();

    // A cell under way keeps the lock without its run.
    let path = run.path().to_owned();
    let cell = run.begin_cell(CELL).unwrap();
    drop(run);
    assert!(matches!(RunFolder::resume(&path, PLAN_HASH), Err(RecordError::Locked { .. })));
    drop(cell);
    RunFolder::resume(&path, PLAN_HASH).unwrap();
}

#[test]
fn a_changed_plan_is_refused() {
    let (_kept, run) = sample::run();
    let path = run.path().to_owned();
    drop(run);
    let error = RunFolder::resume(&path, "another").unwrap_err();
    let RecordError::PlanChanged { recorded, given, .. } = &error else { panic!("{error}") };
    assert_eq!((recorded.as_str(), given.as_str()), (PLAN_HASH, "another"));
    assert!(error.to_string().contains("start a new run"), "{error}");
    assert_eq!(error.fault(), ErrorCause::User);
    sample::assert_one_line(&error, &path);
    // The refusal released the lock.
    RunFolder::resume(&path, PLAN_HASH).unwrap();
}

#[test]
fn a_folder_that_is_no_run_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for error in [
        RunFolder::resume(folder.path(), PLAN_HASH).unwrap_err(),
        RunFolder::open_read_only(folder.path()).unwrap_err(),
    ] {
        assert!(matches!(error, RecordError::NotARun { .. }), "{error}");
        sample::assert_one_line(&error, folder.path());
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a lock file was left");
}

#[test]
fn another_format_is_named_and_a_broken_header_is_damage() {
    let (_kept, run) = sample::run();
    let path = run.path().to_owned();
    drop(run);
    let header = path.join("environment.json");
    // A later format may have unknown fields.
    fs::write(&header, r#"{"format": 7, "weir": "9.9.9", "moon_phase": "full"}"#).unwrap();
    let error = RunFolder::open_read_only(&path).unwrap_err();
    assert!(matches!(error, RecordError::WrongFormat { found: 7, expected: 4, .. }), "{error}");
    assert!(error.to_string().contains("9.9.9"), "{error}");
    sample::assert_one_line(&error, &path);
    for text in ["", "{", "{}", r#"{"format": 4}"#, "\u{0}"] {
        fs::write(&header, text).unwrap();
        let error = RunFolder::resume(&path, PLAN_HASH).unwrap_err();
        assert!(matches!(error, RecordError::DamagedRun { .. }), "{text:?}: {error}");
        assert_eq!(error.fault(), ErrorCause::Environment);
        sample::assert_one_line(&error, &header);
    }
}

#[test]
fn a_folder_below_a_file_is_the_users_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.join("run"), file.clone()] {
        let error = sample::create(&path).unwrap_err();
        assert!(matches!(error, RecordError::Io { .. }), "{error}");
        assert_eq!(error.fault(), ErrorCause::User, "{error}");
        sample::assert_one_line(&error, &path);
    }
}

#[test]
fn an_unwritable_folder_is_the_environments_fault() {
    // Also for root: /sys allows no folders.
    let path = Path::new("/sys/weir-run");
    if !Path::new("/sys/kernel").exists() {
        println!("SKIPPED: no /sys here");
        return;
    }
    let error = sample::create(path).unwrap_err();
    assert!(matches!(error, RecordError::Io { .. }), "{error}");
    assert_eq!(error.fault(), ErrorCause::Environment, "{error}");
    assert!(error.to_string().contains("pick another `--out`"), "{error}");
    sample::assert_one_line(&error, path);
}

#[test]
fn outputs_are_replaced_whole_and_can_be_written_by_readers() {
    let (_kept, run) = sample::run();
    let read = RunFolder::open_read_only(run.path()).unwrap();
    let path = read.write_analysis("summary.json", b"{}").unwrap();
    assert_eq!(path, run.path().join("analysis/summary.json"));
    read.write_analysis("summary.json", b"[]").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"[]");
    let chart = read.write_report("charts/ttft.svg", b"<svg/>").unwrap();
    assert_eq!(fs::read(chart).unwrap(), b"<svg/>");
    assert_eq!(fs::read_dir(run.path().join("analysis")).unwrap().count(), 1);
    let error = read.begin_cell(CELL).err().unwrap();
    assert!(matches!(error, RecordError::ReadOnly { .. }), "{error}");
}

#[test]
fn a_resumed_run_finishes_the_rest() {
    let (_kept, run) = sample::run();
    let path = run.path().to_owned();
    let cell = run.begin_cell(CELL).unwrap();
    let record = cell.finish(sample::figures(), CellStatus::Complete, 1).unwrap();
    drop(run);
    let run = RunFolder::resume(&path, PLAN_HASH).unwrap();
    assert_eq!(run.completed(CELL).unwrap(), Some(record));
    assert_eq!(run.completed("m/h/a/c1/0").unwrap(), None);
    let rest = run.begin_cell("m/h/a/c1/0").unwrap();
    rest.finish(sample::figures(), CellStatus::Complete, 1).unwrap();
    assert!(run.completed("m/h/a/c1/0").unwrap().is_some());
}
