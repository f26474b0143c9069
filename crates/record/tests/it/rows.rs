use proptest::collection::vec;
use proptest::prelude::*;
use weir_model::{CellFailure, ChoiceHits, Nanos, Outcome, RequestRow, StepRow, Tokens};
use weir_record::{CellFigures, CellStatus, RequestColumn, RunFolder, SeriesRow, StepColumn};

use crate::sample::{self, CELL};

/// More than two row groups and a part of a third.
const MANY: u64 = 70_000;

prop_compose! {
    fn times()(
        due in any::<u64>(), start in any::<u64>(), end in any::<u64>(),
        connected in any::<Option<u64>>(), first_byte in any::<Option<u64>>(),
        first_token in any::<Option<u64>>(), bound in any::<u64>(),
    ) -> (Nanos, Nanos, Nanos, [Option<Nanos>; 3], Nanos) {
        (Nanos(due), Nanos(start), Nanos(end),
         [connected, first_byte, first_token].map(|time| time.map(Nanos)), Nanos(bound))
    }
}

prop_compose! {
    fn request_row()(
        (due, start, end, [connected, first_byte, first_token], error_bound) in times(),
        ids in any::<[u64; 4]>(),
        tokens in any::<[u32; 9]>(),
        turn in any::<u32>(), [replica, shard] in any::<[Option<u16>; 2]>(),
        preemptions in any::<u16>(),
        events_per_read in any::<Option<f32>>(),
        uniform in any::<Option<f32>>(),
        outcome in prop::sample::select(vec![
            Outcome::Done, Outcome::Unfinished, Outcome::Failed,
        ]),
        error in prop::option::of(".*"),
        output_digest in any::<Option<u64>>(),
        gaps in prop_oneof![2 => Just(Vec::new()), 3 => vec(any::<u64>(), 0..40)],
    ) -> RequestRow {
        let [request, session, prompt_id, first_step] = ids;
        let tokens = tokens.map(Tokens);
        RequestRow {
            request, session, turn, prompt_id, replica, due, start, connected, first_byte,
            first_token, end, prompt_tokens: tokens[0], output_tokens: tokens[1],
            seen_tokens: tokens[2],
            cached_tokens: [tokens[3], tokens[4], tokens[5], tokens[6]],
            preemptions, first_step, chunk_gaps: gaps.into_iter().map(Nanos).collect(),
            events_per_read, outcome, error, output_digest, error_bound,
            hits: uniform.map(|uniform| ChoiceHits { routed: tokens[7], uniform, best: tokens[8] }),
            shard,
        }
    }
}

prop_compose! {
    fn step_row()(
        replica in any::<u16>(), times in any::<[u64; 3]>(), counts in any::<[u32; 5]>(),
    ) -> StepRow {
        StepRow {
            replica, step: times[0], end: Nanos(times[1]), gap: Nanos(times[2]),
            decoding: counts[0], tokens: counts[1], running: counts[2], waiting: counts[3],
            used_blocks: counts[4],
        }
    }
}

prop_compose! {
    fn series_row()(
        time in any::<u64>(), texts in any::<[String; 3]>(), value in any::<f64>(),
    ) -> SeriesRow {
        let [source, metric, labels] = texts;
        SeriesRow { time: Nanos(time), source, metric, labels, value }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64, failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn any_rows_come_back(
        requests in vec(request_row(), 0..40),
        steps in vec(step_row(), 0..40),
        series in vec(series_row(), 0..10),
    ) {
        let (_kept, run) = sample::run();
        let mut cell = run.begin_cell(CELL).unwrap();
        for row in &requests {
            cell.push_request(row).unwrap();
        }
        for row in &steps {
            cell.push_step(row).unwrap();
        }
        for row in &series {
            cell.push_sample(row).unwrap();
        }
        let closed = cell.close_tables().unwrap();
        let back: Vec<RequestRow> = closed.tables().rows().unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(&back, &requests);
        closed.finish(CellFigures::default(), CellStatus::Complete, 1).unwrap();

        let cell = run.open_cell(CELL).unwrap();
        let back: Vec<RequestRow> = cell.rows().unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(&back, &requests);
        let back: Vec<StepRow> = cell.tables().step_rows().unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(&back, &steps);
        let table = cell.series().unwrap();
        prop_assert_eq!(table.len(), series.len());
        for (i, row) in series.iter().enumerate() {
            prop_assert_eq!(table.time[i], row.time);
            prop_assert_eq!(&table.source[i], &row.source);
            prop_assert_eq!(&table.metric[i], &row.metric);
            prop_assert_eq!(&table.labels[i], &row.labels);
            prop_assert_eq!(table.value[i].to_bits(), row.value.to_bits());
        }
    }
}

fn push_many(run: &RunFolder, cell: &str) {
    let mut cell = run.begin_cell(cell).unwrap();
    for index in 0..MANY {
        cell.push_request(&sample::request(index)).unwrap();
        cell.push_step(&sample::step(index)).unwrap();
    }
    cell.finish(CellFigures::default(), CellStatus::Complete, 1).unwrap();
}

#[test]
fn rows_cross_row_groups_in_order() {
    let (_kept, run) = sample::run();
    push_many(&run, CELL);
    let cell = run.open_cell(CELL).unwrap();
    let mut rows = cell.rows().unwrap();
    for index in 0..MANY {
        assert_eq!(rows.next().unwrap().unwrap(), sample::request(index));
    }
    assert!(rows.next().is_none());
    let mut steps = cell.tables().step_rows().unwrap();
    for index in 0..MANY {
        assert_eq!(steps.next().unwrap().unwrap(), sample::step(index));
    }
    assert!(steps.next().is_none());
}

#[test]
fn only_chosen_columns_are_filled() {
    let (_kept, run) = sample::run();
    push_many(&run, CELL);
    let cell = run.open_cell(CELL).unwrap();
    // Out of order, and one twice.
    let chosen = [RequestColumn::End, RequestColumn::Error, RequestColumn::Due, RequestColumn::End];
    let mut index = 0;
    for table in cell.tables().request_groups(&chosen).unwrap() {
        let table = table.unwrap();
        for i in 0..table.len() {
            let row = sample::request(index);
            assert_eq!((table.end[i], table.due[i]), (row.end, row.due));
            assert_eq!(table.error[i], row.error);
            index += 1;
        }
        assert_eq!(table.end.len(), table.len());
        assert!(table.start.is_empty() && table.outcome.is_empty() && table.first_token.is_empty());
    }
    assert_eq!(index, MANY);

    let steps = cell.tables().step_columns(&[StepColumn::Gap]).unwrap();
    assert_eq!(steps.len() as u64, MANY);
    assert_eq!(steps.gap[69_999], sample::step(69_999).gap);
    assert!(steps.end.is_empty());
}

#[test]
fn gaps_come_by_groups_beside_the_other_columns() {
    let (_kept, run) = sample::run();
    push_many(&run, CELL);
    let cell = run.open_cell(CELL).unwrap();
    let chosen = [RequestColumn::ChunkGaps, RequestColumn::FirstToken];
    let (mut index, mut groups) = (0, 0);
    for table in cell.tables().request_groups(&chosen).unwrap() {
        let table = table.unwrap();
        assert!(table.due.is_empty());
        for (gaps, first_token) in table.chunk_gaps.iter().zip(&table.first_token) {
            let row = sample::request(index);
            assert_eq!((gaps, *first_token), (row.chunk_gaps.as_slice(), row.first_token));
            index += 1;
        }
        groups += 1;
    }
    assert_eq!((index, groups), (MANY, 3));
}

#[test]
fn a_cell_without_rows_has_empty_tables_and_no_series() {
    let (_kept, run) = sample::run();
    let record = run
        .begin_cell(CELL)
        .unwrap()
        .finish(
            CellFigures::default(),
            CellStatus::Failed(CellFailure::Error("no engine".to_owned())),
            2,
        )
        .unwrap();
    assert_eq!(record.files.keys().collect::<Vec<_>>(), ["requests.parquet", "steps.parquet"]);
    let cell = run.open_cell(CELL).unwrap();
    assert_eq!(cell.rows().unwrap().count(), 0);
    assert_eq!(cell.tables().request_groups(RequestColumn::ALL).unwrap().count(), 0);
    assert!(cell.steps().unwrap().is_empty());
    assert!(cell.series().unwrap().is_empty());
    assert_eq!(cell.evidence().unwrap(), None);
}

#[test]
fn equal_rows_give_equal_bytes() {
    let (_kept, run) = sample::run();
    let other = "qwen3-8b/2x-l40s/native-offload/c50/1";
    push_many(&run, CELL);
    push_many(&run, other);
    for name in ["requests.parquet", "steps.parquet"] {
        let read = |cell| std::fs::read(run.cell_folder(cell).unwrap().join(name)).unwrap();
        assert!(read(CELL) == read(other), "{name} differs");
    }
}
