//! Figures of live cells: token times from the gaps between stream events.

use proptest::prelude::*;
use weir_model::{Nanos, Outcome, RequestRow, RowContradiction, Tokens, Window};
use weir_report::figures::{Measure, RequestColumns, Stream, Streams, summarise_streams};
use weir_spec::plan::Slo;

use crate::live::{MS, failed, streamed};

fn window(start_ms: u64, end_ms: u64) -> Window {
    Window { start: Nanos(start_ms * MS), end: Nanos(end_ms * MS) }
}

fn streams(rows: &[RequestRow], window: Window, batches: usize) -> Streams {
    let mut streams = Streams::new(window, batches);
    for row in rows {
        streams.add(&Stream::of(row));
    }
    streams
}

fn figures(
    rows: &[RequestRow],
    window: Window,
) -> Result<weir_record::CellFigures, RowContradiction> {
    let slo = Slo::default();
    let measure = Measure { window, slo: &slo, hour_price: None };
    summarise_streams(&rows.iter().collect(), &streams(rows, window, 0), &measure)
}

#[test]
fn tokens_and_gaps_count_at_their_own_times() {
    // Chunks at 200, 300, 500, 1000 with a token each; at 600, 900 with 5 tokens (3 and 2).
    let rows = [streamed(0, 0, 200, &[100, 200, 500], 4), streamed(1, 100, 600, &[300], 5)];
    let seen = figures(&rows, window(0, 2000)).unwrap();
    assert_eq!((seen.output_tokens_per_s, seen.itl_ms.count), (Some(4.5), 4));
    assert_eq!((seen.itl_ms.min, seen.itl_ms.max, seen.itl_ms.mean), (100.0, 500.0, 275.0));
    // From due, though it was sent 1 ms later.
    assert_eq!((seen.ttft_ms.min, seen.ttft_ms.max), (200.0, 500.0));
    assert_eq!((seen.completed, seen.passes), (2, 0));

    // Due in 50..901 was the second alone, and its gap is the one that counts. Tokens count at
    // their own times: 200, 300 and 500 of the first, all five of the second.
    let seen = figures(&rows, window(50, 901)).unwrap();
    assert_eq!((seen.output_tokens_per_s.unwrap() * seen.window_s).round(), 8.0);
    assert_eq!((seen.measured, seen.itl_ms.count, seen.itl_ms.max), (1, 1, 300.0));
    // GuideLLM takes the gaps that ended inside.
    assert_eq!((seen.guidellm.itl_ms.count, seen.guidellm.itl_ms.max), (3, 300.0));
    // The second ends after its window, and counts to its end.
    let seen = figures(&rows, window(50, 700)).unwrap();
    assert_eq!((seen.completed, seen.itl_ms.count, seen.e2e_ms.count), (1, 1, 1));

    let batches = streams(&rows, window(0, 1000), 4).throughput_batches();
    // 200 | 300 | 500, 600 (3 tokens) | 900 (2 tokens): per quarter of a second.
    assert_eq!(batches, [4.0, 4.0, 16.0, 8.0]);
}

#[test]
fn failed_and_unfinished_rows_are_no_contradiction() {
    let mut cut = streamed(2, 0, 100, &[10, 10], 3);
    cut.outcome = Outcome::Failed;
    cut.end = Nanos(500 * MS);
    let mut waiting = failed(3, 50, 2000);
    waiting.outcome = Outcome::Unfinished;
    let mut never = failed(1, 10, 10);
    (never.start, never.end) = (never.due, never.due);
    let rows = [streamed(0, 0, 100, &[10], 2), never, cut, waiting];
    let seen = figures(&rows, window(0, 1000)).unwrap();
    assert_eq!((seen.measured, seen.completed, seen.failed, seen.open), (4, 1, 2, 1));
    // Tokens of a cut stream are not work.
    assert_eq!((seen.itl_ms.count, seen.output_tokens_per_s), (1, Some(2.0)));
    assert_eq!(seen.failed_output_tokens_per_s, Some(3.0));
    assert_eq!(seen.ttft_ms.count, 1);
}

#[test]
fn streams_that_cannot_be_are_named() {
    let late = RequestRow { end: Nanos(MS), ..streamed(7, 0, 1, &[1], 2) };
    let seen = figures(&[late], window(0, 10));
    assert!(matches!(seen, Err(RowContradiction::GapsBeyondEnd { request: 7, .. })), "{seen:?}");
    let headless = RequestRow { chunk_gaps: vec![Nanos(1)], ..failed(8, 0, 9) };
    let seen = figures(&[headless], window(0, 10));
    assert!(matches!(seen, Err(RowContradiction::GapsWithoutFirst { request: 8, .. })), "{seen:?}");
    let rows = [streamed(0, 0, 1, &[1], 2)];
    let slo = Slo::default();
    let measure = Measure { window: window(0, 10), slo: &slo, hour_price: None };
    let none = Streams::new(window(0, 10), 0);
    let seen = summarise_streams(&rows.iter().collect(), &none, &measure);
    assert_eq!(seen, Err(RowContradiction::StreamsLost { streams: 0, rows: 1 }));
}

#[test]
fn stored_columns_give_what_rows_give() {
    let folder = tempfile::tempdir().unwrap();
    let environment = weir_record::Environment {
        started: String::new(),
        weir: String::new(),
        host: std::collections::BTreeMap::new(),
    };
    let path = folder.path().join("run");
    let run = weir_record::RunFolder::create(&path, "", &(), "", &environment).unwrap();
    let mut cell = run.begin_cell("m/h/a/c1/0").unwrap();
    let mut rows: Vec<RequestRow> =
        (0..50).map(|at| streamed(at, at, at + 5, &[at % 7, 3, 1], at as u32 % 9 + 1)).collect();
    rows.push(failed(50, 3, 8));
    for row in &rows {
        cell.push_request(row).unwrap();
    }
    let closed = cell.close_tables().unwrap();

    let mut columns = RequestColumns::default();
    for table in closed.tables().request_groups(RequestColumns::STORED).unwrap() {
        columns.add_table(&table.unwrap());
    }
    assert_eq!(columns, rows.iter().collect());
    let mut read = Streams::new(window(0, 100), 3);
    for table in closed.tables().request_groups(Streams::COLUMNS).unwrap() {
        read.add_table(&table.unwrap());
    }
    let expected = streams(&rows, window(0, 100), 3);
    assert_eq!(read.requests(), 51);
    assert_eq!(read.gaps_ms(), expected.gaps_ms());
    assert_eq!(read.throughput_batches(), expected.throughput_batches());
}

proptest! {
    #[test]
    fn chunks_bring_all_tokens_and_the_first_at_least_one(
        gaps in prop::collection::vec(0_u64..50, 0..40), tokens in 1_u32..200,
    ) {
        let row = RequestRow {
            output_tokens: Tokens(tokens),
            ..streamed(0, 0, 10, &gaps, 0)
        };
        let arrivals: Vec<(Nanos, u32)> = Stream::of(&row).arrivals().collect();
        prop_assert_eq!(arrivals.len(), gaps.len() + 1);
        prop_assert_eq!(arrivals.iter().map(|arrival| arrival.1).sum::<u32>(), tokens);
        prop_assert!(arrivals[0].1 >= 1);
        prop_assert_eq!(arrivals[gaps.len()].0, row.end);
        let (low, high) = (tokens / arrivals.len() as u32, tokens.div_ceil(arrivals.len() as u32));
        prop_assert!(arrivals.iter().all(|arrival| (low..=high).contains(&arrival.1)));
    }
}

/// A hundred million gaps would take 800 MB; memory must not grow with their number.
#[test]
fn ten_million_gaps_are_quick() {
    let row = streamed(0, 0, 1, &[10; 999], 1000);
    let mut streams = Streams::new(window(0, 1_000_000), 20);
    let started = std::time::Instant::now();
    (0..10_000).for_each(|_| streams.add(&Stream::of(&row)));
    let took = started.elapsed();
    assert_eq!(streams.gaps_ms().count, 9_990_000);
    let tokens: f64 = streams.throughput_batches().iter().map(|rate| rate * 50.0).sum();
    assert!((tokens - 10_000_000.0).abs() < 1.0, "{tokens}");
    assert!((streams.gaps_ms().p50 / 10.0 - 1.0).abs() < 1e-4);
    assert!(took.as_secs() < 20, "{took:?}");
    eprintln!("ten million gaps: {took:?}");
}
