//! From the first row to `cell.json`.

use std::fs;

use weir_model::{Attributed, ErrorCause};
use weir_model::{Signal, SignalSource, TierKind};
use weir_record::{CellFigures, CellState, CellStatus, RecordError, RunFolder};

use crate::sample::{self, CELL};

#[test]
fn a_finished_cell_is_complete_with_figures_and_evidence_to_the_last_bit() {
    let (_kept, run) = sample::run();
    let mut cell = run.begin_cell(CELL).unwrap();
    for index in 0..100 {
        cell.push_request(&sample::request(index)).unwrap();
        cell.push_sample(&sample::series(index)).unwrap();
    }
    let mut closed = cell.close_tables().unwrap();
    assert_eq!(run.cell_state(CELL).unwrap(), CellState::Incomplete);
    closed.write_evidence(&sample::evidence()).unwrap();
    let record = closed.finish(sample::figures(), CellStatus::Complete, 3).unwrap();

    assert_eq!(record.attempts, 3);
    assert_eq!(
        record.files.keys().collect::<Vec<_>>(),
        ["evidence.json", "requests.parquet", "series.parquet", "steps.parquet"]
    );
    assert_eq!(run.completed(CELL).unwrap(), Some(record.clone()));
    let read = run.open_cell(CELL).unwrap();
    assert_eq!(read.record(), &record);
    assert_eq!(read.record().figures, sample::figures());
    assert_eq!(read.evidence().unwrap(), Some(sample::evidence()));
}

/// Older runs have source and metric in one text, shown unchanged.
#[test]
fn a_signal_says_who_and_what_in_keys_and_older_ones_read_whole() {
    let source = SignalSource::of("redis INFO").metric("used_memory").at_lookup();
    let signal = Signal { value: 0.1, source, tier: Some(TierKind::Remote) };
    let keys = serde_json::json!({
        "value": 0.1, "source": "redis INFO", "metric": "used_memory", "at_lookup": true,
        "tier": "remote",
    });
    assert_eq!(serde_json::to_value(&signal).unwrap(), keys);
    let old = r#"{"value": 7.0, "source": "redis INFO (used_memory)"}"#;
    let read: Signal = serde_json::from_str(old).unwrap();
    let source = SignalSource::of("redis INFO (used_memory)");
    assert_eq!(read, Signal { value: 7.0, source, tier: None });
    assert_eq!(read.source.to_string(), "redis INFO (used_memory)");
    let written = serde_json::to_value(&read).unwrap();
    assert_eq!(written, serde_json::json!({"value": 7.0, "source": "redis INFO (used_memory)"}));
}

#[test]
fn files_of_others_belong_to_the_record() {
    let (_kept, run) = sample::run();
    let cell = run.begin_cell(CELL).unwrap();
    let logs = cell.folder().join("logs");
    fs::create_dir(&logs).unwrap();
    fs::write(logs.join("engine.zst"), b"log").unwrap();
    let record = cell.finish(CellFigures::default(), CellStatus::Complete, 1).unwrap();
    assert_eq!(record.files["logs/engine.zst"].0, 3);
    assert!(run.completed(CELL).unwrap().is_some());
    fs::write(logs.join("engine.zst"), b"lag").unwrap();
    assert!(run.completed(CELL).unwrap().is_none());
}

#[test]
fn a_dropped_cell_is_not_complete_and_can_be_run_again() {
    let (_kept, run) = sample::run();
    assert_eq!(run.cell_state(CELL).unwrap(), CellState::Missing);
    let mut cell = run.begin_cell(CELL).unwrap();
    // More than a row group, so that a part of the table is on disk.
    for index in 0..40_000 {
        cell.push_request(&sample::request(index)).unwrap();
    }
    cell.write_evidence(&sample::evidence()).unwrap();
    let folder = cell.folder().to_owned();
    drop(cell);
    assert!(folder.join("requests.parquet").exists());
    assert_eq!(run.cell_state(CELL).unwrap(), CellState::Incomplete);
    assert_eq!(run.completed(CELL).unwrap(), None);
    let error = run.open_cell(CELL).unwrap_err();
    assert!(matches!(error, RecordError::Incomplete { .. }), "{error}");
    sample::assert_one_line(&error, &folder);

    let mut again = run.begin_cell(CELL).unwrap();
    again.push_request(&sample::request(1)).unwrap();
    let record = again.finish(CellFigures::default(), CellStatus::Complete, 2).unwrap();
    // Evidence of the first attempt would be of other rows.
    assert_eq!(record.files.keys().collect::<Vec<_>>(), ["requests.parquet", "steps.parquet"]);
    assert_eq!(run.open_cell(CELL).unwrap().rows().unwrap().count(), 1);
}

#[test]
fn a_killed_process_leaves_no_lock_and_no_cell() {
    // The child is this test binary, in the test below; it kills itself while it writes.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cells::killed_child", "--ignored"])
        .env("WEIR_TEST_RUN", &path)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success(), "the child was to be killed");
    let run = RunFolder::resume(&path, sample::PLAN_HASH).unwrap();
    assert!(run.completed("m/h/a/c1/0").unwrap().is_some());
    assert_eq!(run.cell_state("m/h/a/c1/1").unwrap(), CellState::Incomplete);
}

#[test]
#[ignore = "the child of a_killed_process_leaves_no_lock_and_no_cell"]
fn killed_child() {
    let Some(path) = std::env::var_os("WEIR_TEST_RUN") else {
        return;
    };
    let run = sample::create(path.as_ref()).unwrap();
    let done = run.begin_cell("m/h/a/c1/0").unwrap();
    done.finish(CellFigures::default(), CellStatus::Complete, 1).unwrap();
    let mut cell = run.begin_cell("m/h/a/c1/1").unwrap();
    for index in 0..40_000 {
        cell.push_request(&sample::request(index)).unwrap();
    }
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
        .unwrap();
}

#[test]
fn figures_that_json_cannot_hold_are_refused_when_written() {
    let (_kept, run) = sample::run();
    let mut figures = sample::figures();
    figures.mean_in_flight = f64::NAN;
    let cell = run.begin_cell(CELL).unwrap();
    let folder = cell.folder().to_owned();
    let error = cell.finish(figures, CellStatus::Complete, 1).unwrap_err();
    assert!(matches!(error, RecordError::Unrecordable { .. }), "{error}");
    assert_eq!(error.fault(), ErrorCause::Defect);
    sample::assert_one_line(&error, &folder);
    assert_eq!(run.completed(CELL).unwrap(), None);
}

#[test]
fn names_cannot_leave_the_folder() {
    let (_kept, run) = sample::run();
    for name in ["", "/etc", "a//b", "../x", "a/../../x", ".", "a/./b", "a\0b", "a/"] {
        let error = run.begin_cell(name).err().unwrap();
        assert!(matches!(error, RecordError::BadName { .. }), "{name:?}: {error}");
        let error = run.write_analysis(name, b"").unwrap_err();
        assert!(matches!(error, RecordError::BadName { .. }), "{name:?}: {error}");
    }
}

fn sendable<T: Send>() {}
fn shareable<T: Sync>() {}

#[test]
fn cells_can_be_written_on_several_threads() {
    sendable::<weir_record::CellWriter>();
    sendable::<weir_record::ClosedCell>();
    shareable::<RunFolder>();
    let (_kept, run) = sample::run();
    std::thread::scope(|threads| {
        for repeat in 0..4 {
            let run = &run;
            threads.spawn(move || {
                let mut cell = run.begin_cell(&format!("m/h/a/c1/{repeat}")).unwrap();
                for index in 0..=repeat {
                    cell.push_request(&sample::request(index)).unwrap();
                }
                cell.finish(CellFigures::default(), CellStatus::Complete, 1).unwrap();
            });
        }
    });
    for repeat in 0..4 {
        let cell = run.open_cell(&format!("m/h/a/c1/{repeat}")).unwrap();
        assert_eq!(cell.rows().unwrap().count() as u64, repeat + 1);
    }
}
