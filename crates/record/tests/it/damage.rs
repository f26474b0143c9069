//! Every changed byte is found.

use std::fs;
use std::path::{Path, PathBuf};

use weir_model::{Attributed, ErrorCause};
use weir_record::{CellReader, CellState, CellStatus, RecordError, RunFolder};

use crate::sample::{self, CELL};

const FILES: [&str; 4] = ["requests.parquet", "steps.parquet", "series.parquet", "evidence.json"];

fn complete_cell(run: &RunFolder) -> PathBuf {
    let mut cell = run.begin_cell(CELL).unwrap();
    for index in 0..50 {
        cell.push_request(&sample::request(index)).unwrap();
        cell.push_step(&sample::step(index)).unwrap();
        cell.push_sample(&sample::series(index)).unwrap();
    }
    cell.write_evidence(&sample::evidence()).unwrap();
    let folder = cell.folder().to_owned();
    cell.finish(sample::figures(), CellStatus::Complete, 1).unwrap();
    folder
}

#[track_caller]
fn assert_damaged(run: &RunFolder, file: &Path) {
    let error = CellReader::open(run, CELL).unwrap_err();
    let RecordError::Damaged { path, .. } = &error else { panic!("{error}") };
    assert_eq!(path, file);
    sample::assert_one_line(&error, file);
    assert_eq!(error.fault(), ErrorCause::Environment);
    assert_eq!(run.completed(CELL).unwrap(), None);
    let CellState::Damaged(why) = run.cell_state(CELL).unwrap() else { panic!("not damaged") };
    assert!(why.contains(&file.display().to_string()), "{why}");
}

#[test]
fn a_truncated_file_is_found() {
    let (_kept, run) = sample::run();
    let folder = complete_cell(&run);
    for name in FILES {
        let file = folder.join(name);
        let whole = fs::read(&file).unwrap();
        for length in [0, whole.len() / 2, whole.len() - 1] {
            fs::write(&file, &whole[..length]).unwrap();
            assert_damaged(&run, &file);
        }
        fs::write(&file, &whole).unwrap();
        assert!(run.completed(CELL).unwrap().is_some());
    }
}

#[test]
fn a_missing_file_is_found() {
    let (_kept, run) = sample::run();
    let folder = complete_cell(&run);
    for name in FILES {
        let file = folder.join(name);
        let whole = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        assert_damaged(&run, &file);
        fs::write(&file, &whole).unwrap();
    }
}

#[test]
fn a_flipped_bit_is_found() {
    let (_kept, run) = sample::run();
    let folder = complete_cell(&run);
    for name in FILES {
        let file = folder.join(name);
        let whole = fs::read(&file).unwrap();
        for place in [0, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[place] ^= 0x10;
            fs::write(&file, &changed).unwrap();
            assert_damaged(&run, &file);
        }
        fs::write(&file, &whole).unwrap();
    }
}

#[test]
fn no_flipped_bit_of_the_record_goes_unseen() {
    let (_kept, run) = sample::run();
    let file = complete_cell(&run).join("cell.json");
    let whole = fs::read(&file).unwrap();
    let record = run.completed(CELL).unwrap().unwrap();
    let mut unseen = 0;
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 0x01;
        fs::write(&file, &changed).unwrap();
        match run.cell_state(CELL).unwrap() {
            CellState::Damaged(_) => {}
            // White space between values has no effect.
            CellState::Complete(same) => {
                assert_eq!(*same, record, "byte {place}");
                unseen += 1;
            }
            other => panic!("byte {place}: {other:?}"),
        }
    }
    assert!(unseen < whole.len() / 10, "{unseen} of {} changes were not seen", whole.len());
}

#[test]
fn a_record_of_another_cell_is_found() {
    let (_kept, run) = sample::run();
    let folder = complete_cell(&run);
    let other = "qwen3-8b/2x-l40s/no-offload/c50/0";
    let moved = run.cell_folder(other).unwrap();
    fs::create_dir_all(moved.parent().unwrap()).unwrap();
    fs::rename(&folder, &moved).unwrap();
    let error = run.open_cell(other).unwrap_err();
    let RecordError::Damaged { why, .. } = &error else { panic!("{error}") };
    assert!(why.contains(CELL), "{error}");
}
