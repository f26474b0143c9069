//! A device that is always full in place of a table's file.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use weir_model::{Attributed, ErrorCause};
use weir_record::{CellFigures, CellStatus, RecordError};

use crate::sample::{self, CELL};

const FULL: &str = "/dev/full";

/// Enough for the first row group.
const ROWS: u64 = 40_000;

fn available() -> bool {
    let available = fs::File::options()
        .write(true)
        .open(FULL)
        .and_then(|mut file| io::Write::write_all(&mut file, b"x"))
        .is_err_and(|error| error.kind() == io::ErrorKind::StorageFull);
    if !available {
        println!("SKIPPED: {FULL} is not there, so a full disk cannot be simulated");
    }
    available
}

#[track_caller]
fn assert_full(error: &RecordError, file: &Path) {
    let RecordError::Io { source, .. } = error else { panic!("{error}") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    sample::assert_one_line(error, file);
    assert!(error.to_string().contains("free space"), "{error}");
    assert_eq!(error.fault(), ErrorCause::Environment);
}

#[test]
fn a_full_disk_while_rows_come_is_an_error_of_the_environment() {
    if !available() {
        return;
    }
    let (_kept, run) = sample::run();
    let mut cell = run.begin_cell(CELL).unwrap();
    let file = cell.folder().join("requests.parquet");
    symlink(FULL, &file).unwrap();
    let error = (0..ROWS)
        .find_map(|index| cell.push_request(&sample::request(index)).err())
        .expect("a row group was written to a full disk");
    assert_full(&error, &file);
    drop(cell);
    assert_eq!(run.completed(CELL).unwrap(), None);
    let again = run.begin_cell(CELL).unwrap();
    again.finish(CellFigures::default(), CellStatus::Complete, 2).unwrap();
    assert!(run.completed(CELL).unwrap().is_some());
}

#[test]
fn a_full_disk_at_the_end_is_an_error_of_the_environment() {
    if !available() {
        return;
    }
    for name in ["requests.parquet", "steps.parquet"] {
        let (_kept, run) = sample::run();
        let mut cell = run.begin_cell(CELL).unwrap();
        let file = cell.folder().join(name);
        symlink(FULL, &file).unwrap();
        // Few enough that the first write is the last.
        cell.push_request(&sample::request(0)).unwrap();
        cell.push_step(&sample::step(0)).unwrap();
        let error = cell.close_tables().err().expect("a table was written to a full disk");
        assert_full(&error, &file);
        assert_eq!(run.completed(CELL).unwrap(), None);
    }
}
