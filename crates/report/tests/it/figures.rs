//! Figures from rows and passes: worked examples, the flow identity, contradictions.

use proptest::prelude::*;
use weir_model::{Nanos, Outcome, RequestRow, RowContradiction, StepRow, Tokens, Window};
use weir_report::figures::{
    Measure, RequestColumns, check_rows, flow_balance, summarise, throughput_batches,
};
use weir_spec::plan::Slo;

const MS: u64 = 1_000_000;

/// A done request: sent at once, `tokens` output tokens.
fn row(request: u64, due_ms: u64, first_ms: u64, end_ms: u64, tokens: u32) -> RequestRow {
    RequestRow {
        request,
        session: request,
        turn: 0,
        prompt_id: request,
        replica: Some(0),
        due: Nanos(due_ms * MS),
        start: Nanos(due_ms * MS),
        connected: None,
        first_byte: None,
        first_token: Some(Nanos(first_ms * MS)),
        end: Nanos(end_ms * MS),
        prompt_tokens: Tokens(1000),
        output_tokens: Tokens(tokens),
        seen_tokens: Tokens(0),
        cached_tokens: [Tokens(400), Tokens(100), Tokens(0), Tokens(0)],
        preemptions: 0,
        first_step: 0,
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

fn step(number: u64, end_ms: u64, gap_ms: u64, decoding: u32) -> StepRow {
    StepRow {
        replica: 0,
        step: number,
        end: Nanos(end_ms * MS),
        gap: Nanos(gap_ms * MS),
        decoding,
        tokens: decoding,
        running: decoding,
        waiting: 0,
        used_blocks: 0,
    }
}

fn window(start_ms: u64, end_ms: u64) -> Window {
    Window { start: Nanos(start_ms * MS), end: Nanos(end_ms * MS) }
}

fn measure(window: Window, slo: &Slo) -> Measure<'_> {
    Measure { window, slo, hour_price: None }
}

#[test]
fn two_requests_by_hand() {
    // A: 0..1000 ms, first at 200, 5 tokens (gaps of 200 ms).
    // B: 500..1500, first at 1100, 3 tokens.
    let second = RequestRow { first_step: 5, ..row(1, 500, 1100, 1500, 3) };
    let columns: RequestColumns = [row(0, 0, 200, 1000, 5), second].iter().collect();
    let steps = [
        step(0, 200, 200, 0),
        step(1, 400, 200, 1),
        step(2, 600, 200, 1),
        step(3, 800, 200, 1),
        step(4, 1000, 200, 1),
        step(5, 1100, 100, 0),
        step(6, 1300, 200, 1),
        step(7, 1500, 200, 1),
    ];
    let slo = Slo { ttft: Some(Nanos::from_millis(300)), tpot: None, e2e: None };
    // Two accelerators at 1.8 an hour.
    let priced = Measure { hour_price: Some(3.6), ..measure(window(0, 2000), &slo) };
    let seen = summarise(&columns, &steps, &priced).unwrap();
    assert_eq!((seen.measured, seen.completed, seen.failed, seen.open), (2, 2, 0, 0));
    assert_eq!(seen.passes, 8);
    assert_eq!(seen.window_s, 2.0);
    assert_eq!(seen.output_tokens_per_s, Some(4.0));
    assert_eq!(seen.completed_output_tokens_per_s, Some(4.0));
    assert_eq!(seen.prompt_tokens_per_s, Some(1000.0));
    assert_eq!((seen.ttft_ms.min, seen.ttft_ms.max, seen.ttft_ms.mean), (200.0, 600.0, 400.0));
    // A: 800 / 4; B: 400 / 2.
    assert_eq!((seen.tpot_ms.mean, seen.tpot_ms.stddev), (200.0, 0.0));
    assert_eq!((seen.itl_ms.count, seen.itl_ms.mean), (6, 200.0));
    assert_eq!(seen.e2e_ms.mean, 1000.0);
    assert!((seen.guidellm.tpot_ms.mean - f64::midpoint(200.0, 1000.0 / 3.0)).abs() < 1e-9);
    assert_eq!(seen.mean_in_flight, 1.0);
    assert_eq!(seen.per_request_output_tokens_per_s, Some(4.0));
    assert_eq!((seen.goodput_requests_per_s, seen.goodput_share), (Some(0.5), Some(0.5)));
    assert_eq!((seen.gpu_hit_percent, seen.external_hit_percent), (Some(40.0), Some(10.0)));
    // 3.6 / 3600 / 4 * 1e6.
    assert_eq!(seen.cost_per_million_output_tokens, Some(250.0));

    // Neither was due in a later window: it has no latencies, but tokens (800 and 1000 of A, 1100
    // and 1300 of B), and A ended in it.
    let late = summarise(&columns, &steps, &measure(window(700, 1500), &slo)).unwrap();
    assert_eq!((late.measured, late.ttft_ms.count, late.itl_ms.count), (0, 0, 0));
    assert_eq!((late.output_tokens_per_s, late.requests_per_s), (Some(5.0), Some(1.25)));
    assert_eq!((late.goodput_share, late.gpu_hit_percent), (None, None));
    assert_eq!((late.guidellm.ttft_ms.count, late.guidellm.itl_ms.count), (1, 3));

    // B was due in this window, and counts to its end after it.
    let early = summarise(&columns, &steps, &measure(window(400, 1200), &slo)).unwrap();
    assert_eq!((early.measured, early.completed), (1, 1));
    assert_eq!((early.ttft_ms.mean, early.e2e_ms.mean, early.itl_ms.count), (600.0, 1000.0, 2));
    // 400, 600, 800 and 1000 of A, 1100 of B.
    assert_eq!((early.output_tokens_per_s, early.goodput_share), (Some(6.25), Some(0.0)));
    assert!((early.mean_in_flight - 1300.0 / 800.0).abs() < 1e-12);
}

#[test]
fn tokens_between_first_and_last_are_spaced_evenly_without_passes() {
    let columns: RequestColumns = [row(0, 0, 200, 1000, 5)].iter().collect();
    let slo = Slo::default();
    // Tokens at 200, 400, 600, 800, 1000.
    for (from, to, tokens) in
        [(0, 1001, 5), (0, 1000, 4), (200, 401, 2), (200, 400, 1), (201, 799, 2), (401, 500, 0)]
    {
        let seen = summarise(&columns, &[], &measure(window(from, to), &slo)).unwrap();
        let counted = seen.output_tokens_per_s.unwrap_or(0.0) * seen.window_s;
        assert!((counted - f64::from(tokens)).abs() < 1e-9, "{from} {to}: {counted}");
        assert_eq!(seen.goodput_requests_per_s, None);
        assert_eq!(seen.cost_per_million_output_tokens, None);
    }
}

#[test]
fn failed_and_unfinished_requests_are_counted_apart() {
    let mut failed = row(0, 0, 200, 1000, 5);
    failed.outcome = Outcome::Failed;
    let mut unfinished = row(1, 0, 200, 2000, 5);
    unfinished.outcome = Outcome::Unfinished;
    let columns: RequestColumns = [failed, unfinished].iter().collect();
    let slo = Slo { ttft: Some(Nanos(1)), ..Slo::default() };
    let seen = summarise(&columns, &[], &measure(window(0, 2000), &slo)).unwrap();
    assert_eq!((seen.measured, seen.completed, seen.failed, seen.open), (2, 0, 1, 1));
    assert_eq!(seen.ttft_ms.count, 0);
    assert_eq!(seen.goodput_requests_per_s, Some(0.0));
    // Nothing completed: rates of work are unknown, and the failed request's tokens stand apart.
    assert_eq!((seen.completed_output_tokens_per_s, seen.output_tokens_per_s), (None, None));
    assert_eq!((seen.requests_per_s, seen.gpu_hit_percent), (None, None));
    assert_eq!(seen.failed_output_tokens_per_s, Some(2.5));
}

#[test]
fn contradictions_name_their_row() {
    let check = |change: fn(&mut RequestRow)| {
        let mut broken = row(7, 100, 200, 1000, 5);
        change(&mut broken);
        let good = row(6, 0, 200, 1000, 5);
        check_rows(&[good, broken].iter().collect()).unwrap_err()
    };
    let seen = check(|row| row.end = Nanos(1));
    assert!(matches!(seen, RowContradiction::EndBeforeStart { request: 7, .. }));
    let seen = check(|row| row.due = Nanos(101 * MS));
    assert!(matches!(seen, RowContradiction::StartBeforeDue { request: 7, .. }));
    let seen = check(|row| row.first_token = Some(Nanos(99 * MS)));
    assert!(matches!(seen, RowContradiction::FirstTokenOutside { request: 7, .. }));
    let seen = check(|row| row.first_token = Some(Nanos(1001 * MS)));
    assert!(matches!(seen, RowContradiction::FirstTokenOutside { request: 7, .. }));
    let seen = check(|row| row.first_token = None);
    let without = RowContradiction::TokensWithoutFirst {
        request: 7,
        output_tokens: 5,
        has_first_token: false,
    };
    assert_eq!(seen, without);
    let seen = check(|row| row.output_tokens = Tokens(0));
    assert!(matches!(seen, RowContradiction::DoneWithoutTokens { request: 7 }));
    let seen = check(|row| row.cached_tokens[3] = Tokens(501));
    assert!(matches!(seen, RowContradiction::CachedAbovePrompt { request: 7, .. }));
    assert!(!seen.to_string().contains('\n'));
}

#[test]
fn lost_rows_show_against_the_passes() {
    let columns: RequestColumns = [row(0, 0, 200, 1000, 5)].iter().collect();
    let slo = Slo::default();
    let steps = [step(0, 400, 200, 2), step(1, 1000, 600, 3)];
    let seen = summarise(&columns, &steps, &measure(window(0, 1000), &slo));
    assert_eq!(
        seen,
        Err(RowContradiction::TokensNotConserved { pass_tokens: 6, request_tokens: 5 })
    );
    let empty = summarise(&columns, &[], &measure(window(9, 9), &slo));
    assert!(matches!(empty, Err(RowContradiction::EmptyWindow { .. })));
}

#[test]
fn batches_share_out_the_windows_tokens() {
    let rows = [row(0, 0, 200, 1000, 5), row(1, 500, 1100, 1500, 3)];
    let columns: RequestColumns = rows.iter().collect();
    // Ends at 1000 (5 tokens) and 1500 (3 tokens): batches of 500 ms.
    let seen = throughput_batches(&columns, &[], window(0, 2000), 4);
    assert_eq!(seen, [0.0, 0.0, 10.0, 6.0]);
    assert!(throughput_batches(&columns, &[], window(5, 5), 4).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn the_flow_identity_holds_exactly(
        spans in prop::collection::vec((0_u64..1_000_000, 0_u64..1_000_000_000_000), 0..200),
    ) {
        let rows: Vec<RequestRow> = spans
            .iter()
            .enumerate()
            .map(|(at, &(start, length))| {
                let mut row = row(at as u64, 0, 0, 0, 2);
                row.due = Nanos(start);
                row.start = Nanos(start);
                row.first_token = Some(Nanos(start));
                row.end = Nanos(start + length);
                row
            })
            .collect();
        let columns: RequestColumns = rows.iter().collect();
        let balance = check_rows(&columns).unwrap();
        prop_assert_eq!(balance.in_flight_ns, balance.residence_ns);
        let expected: i128 = spans.iter().map(|span| i128::from(span.1)).sum();
        prop_assert_eq!(balance.in_flight_ns, expected);
    }

    #[test]
    fn a_departure_before_its_arrival_breaks_it(
        start in 2_u64..1_000, early in 1_u64..1_000, others in 0_u64..5,
    ) {
        let mut rows: Vec<RequestRow> =
            (0..others).map(|at| row(at, 5_000 + at, 6_000, 7_000, 2)).collect();
        let mut broken = row(99, start, start, start, 2);
        broken.end = Nanos(start * MS - early);
        rows.push(broken);
        let balance = flow_balance(&rows.iter().collect());
        prop_assert_ne!(balance.in_flight_ns, balance.residence_ns);
    }
}

/// Under a second with optimisation; here the bound only catches quadratic time.
#[test]
fn a_million_requests_are_quick() {
    let columns: RequestColumns = (0..1_000_000_u64)
        .map(|at| row(at, at, at + 200 + at % 97, at + 2_000 + at % 89, 64))
        .collect::<Vec<_>>()
        .iter()
        .collect();
    let steps: Vec<StepRow> = Vec::new();
    let slo = Slo::default();
    let started = std::time::Instant::now();
    let seen = summarise(&columns, &steps, &measure(window(0, 900_000_000), &slo));
    let took = started.elapsed();
    assert!(seen.unwrap().completed > 800_000);
    assert!(took.as_secs() < 20, "{took:?}");
    eprintln!("a million requests: {took:?}");
}
