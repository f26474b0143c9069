//! Cost of recording per row in a temporary folder: encoding, compression, checksums, fsync and
//! `cell.json`. The target is 1.5 microseconds a row.

// The size per row belongs beside the time per row.
#![allow(clippy::print_stderr)]

use std::collections::BTreeMap;

use divan::Bencher;
use divan::counter::ItemsCount;
use weir_model::{Nanos, Outcome, RequestRow, StepRow, Tokens};
use weir_record::{CellFigures, CellStatus, Environment, RequestColumn, RunFolder};

/// `cargo test` only checks that this still runs.
fn rows_of_run() -> u64 {
    if std::env::args().any(|argument| argument == "--bench") { 500_000 } else { 5_000 }
}

fn streamed_of_run() -> u64 {
    rows_of_run() / 10
}

const GAPS: u64 = 128;
const CELL: &str = "model/hardware/arm/level/0";

fn main() {
    divan::main();
}

/// The finaliser of `SplitMix64`.
fn mixed(index: u64) -> u64 {
    let mut z = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// As from the simulator: 50 users with a shared prefix, times with noise.
fn request(index: u64) -> RequestRow {
    let noise = mixed(index);
    let due = index * 2_000_000 + noise % 1_000_000;
    let first_token = due + 400_000_000 + (noise >> 7) % 300_000_000;
    let hit = Tokens((noise >> 11) as u32 % 2 * 10_000);
    RequestRow {
        request: index,
        session: noise % 50,
        turn: (index / 50) as u32,
        prompt_id: noise,
        replica: Some(0),
        due: Nanos(due),
        start: Nanos(due),
        connected: None,
        first_byte: None,
        first_token: Some(Nanos(first_token)),
        end: Nanos(first_token + 2_000_000_000 + (noise >> 13) % 900_000_000),
        prompt_tokens: Tokens(10_141),
        output_tokens: Tokens(128),
        seen_tokens: Tokens(10_000),
        cached_tokens: [hit, Tokens(10_000 - hit.0), Tokens(0), Tokens(0)],
        preemptions: 0,
        first_step: index * 3,
        chunk_gaps: Vec::new(),
        events_per_read: None,
        outcome: Outcome::Done,
        error: None,
        output_digest: None,
        error_bound: Nanos::ZERO,
        hits: None,
        shard: None,
    }
}

/// As from a live target: a token every 10 ms, with a little noise.
fn streamed(index: u64) -> RequestRow {
    let gap = |at| Nanos(10_000_000 + mixed(index * GAPS + at) % 400_000);
    RequestRow { chunk_gaps: (0..GAPS).map(gap).collect(), ..request(index) }
}

fn step(index: u64) -> StepRow {
    let gap = 20_000_000 + mixed(index) % 2_000_000;
    StepRow {
        replica: 0,
        step: index,
        end: Nanos(index * 21_000_000),
        gap: Nanos(gap),
        decoding: 50 - (gap % 5) as u32,
        tokens: 50 + (gap % 2048) as u32,
        running: 50,
        waiting: (gap % 7) as u32,
        used_blocks: 15_000 + (gap % 900) as u32,
    }
}

fn run() -> (tempfile::TempDir, RunFolder) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let environment =
        Environment { started: String::new(), weir: String::new(), host: BTreeMap::new() };
    let run = RunFolder::create(&folder.path().join("run"), "", &(), "", &environment)
        .expect("a run folder");
    (folder, run)
}

#[divan::bench(sample_count = 10)]
fn push_request(bencher: Bencher) {
    let (_kept, run) = run();
    let rows: Vec<RequestRow> = (0..rows_of_run()).map(request).collect();
    bencher.counter(ItemsCount::new(rows_of_run())).bench_local(|| {
        let mut cell = run.begin_cell(CELL).expect("a cell");
        for row in &rows {
            cell.push_request(row).expect("a row");
        }
        cell.finish(CellFigures::default(), CellStatus::Complete, 1).expect("a record")
    });
    let bytes =
        run.completed(CELL).expect("readable").expect("complete").files["requests.parquet"].0;
    eprintln!("requests.parquet: {:.1} bytes per row", bytes as f64 / rows_of_run() as f64);
}

#[divan::bench(sample_count = 10)]
fn push_request_with_128_gaps(bencher: Bencher) {
    let (_kept, run) = run();
    let rows: Vec<RequestRow> = (0..streamed_of_run()).map(streamed).collect();
    bencher.counter(ItemsCount::new(streamed_of_run())).bench_local(|| {
        let mut cell = run.begin_cell(CELL).expect("a cell");
        for row in &rows {
            cell.push_request(row).expect("a row");
        }
        cell.finish(CellFigures::default(), CellStatus::Complete, 1).expect("a record")
    });
    let bytes =
        run.completed(CELL).expect("readable").expect("complete").files["requests.parquet"].0;
    eprintln!("requests.parquet: {:.1} bytes per row", bytes as f64 / streamed_of_run() as f64);
}

#[divan::bench(sample_count = 10)]
fn read_128_gaps(bencher: Bencher) {
    let (_kept, run) = run();
    let mut cell = run.begin_cell(CELL).expect("a cell");
    for index in 0..streamed_of_run() {
        cell.push_request(&streamed(index)).expect("a row");
    }
    let closed = cell.close_tables().expect("tables");
    bencher.counter(ItemsCount::new(streamed_of_run())).bench_local(|| {
        let groups = closed.tables().request_groups(&[RequestColumn::ChunkGaps]).expect("a table");
        groups.map(|group| group.expect("a group").len()).sum::<usize>()
    });
}

#[divan::bench(sample_count = 10)]
fn push_step(bencher: Bencher) {
    let (_kept, run) = run();
    let rows: Vec<StepRow> = (0..rows_of_run()).map(step).collect();
    bencher.counter(ItemsCount::new(rows_of_run())).bench_local(|| {
        let mut cell = run.begin_cell(CELL).expect("a cell");
        for row in &rows {
            cell.push_step(row).expect("a row");
        }
        cell.finish(CellFigures::default(), CellStatus::Complete, 1).expect("a record")
    });
}

/// The fixed cost of a cell: six files or folders, four of them synced.
#[divan::bench(sample_count = 50)]
fn empty_cell(bencher: Bencher) {
    let (_kept, run) = run();
    bencher.bench_local(|| {
        let cell = run.begin_cell(CELL).expect("a cell");
        cell.finish(CellFigures::default(), CellStatus::Complete, 1).expect("a record")
    });
}

#[divan::bench(sample_count = 10)]
fn read_four_columns(bencher: Bencher) {
    let (_kept, run) = run();
    let mut cell = run.begin_cell(CELL).expect("a cell");
    for index in 0..rows_of_run() {
        cell.push_request(&request(index)).expect("a row");
    }
    let closed = cell.close_tables().expect("tables");
    let chosen = [
        RequestColumn::Due,
        RequestColumn::FirstToken,
        RequestColumn::End,
        RequestColumn::OutputTokens,
    ];
    bencher
        .counter(ItemsCount::new(rows_of_run()))
        .bench_local(|| closed.tables().request_groups(&chosen).expect("columns").count());
}
