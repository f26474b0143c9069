//! Rows of a live target, for the tests of figures and exports.

use weir_model::{Certificate, Nanos, Outcome, RequestRow, Spread, Tokens};

pub(crate) const MS: u64 = 1_000_000;

/// Refused connection, sent 1 ms late.
pub(crate) fn failed(request: u64, due_ms: u64, end_ms: u64) -> RequestRow {
    RequestRow {
        request,
        session: request / 2,
        turn: (request % 2) as u32,
        prompt_id: request,
        replica: Some(0),
        due: Nanos(due_ms * MS),
        start: Nanos((due_ms + 1) * MS),
        connected: None,
        first_byte: None,
        first_token: None,
        end: Nanos(end_ms * MS),
        prompt_tokens: Tokens(1000),
        output_tokens: Tokens(0),
        seen_tokens: Tokens(0),
        cached_tokens: [Tokens(0); 4],
        preemptions: 0,
        first_step: 0,
        chunk_gaps: Vec::new(),
        events_per_read: None,
        outcome: Outcome::Failed,
        error: Some("connect 127.0.0.1:1: connection refused".to_owned()),
        output_digest: None,
        error_bound: Nanos(40_000),
        hits: None,
        shard: None,
    }
}

/// Complete: its first chunk at `first_ms`, others after `gaps_ms`, its end with the last.
pub(crate) fn streamed(
    request: u64,
    due_ms: u64,
    first_ms: u64,
    gaps_ms: &[u64],
    tokens: u32,
) -> RequestRow {
    RequestRow {
        first_token: Some(Nanos(first_ms * MS)),
        chunk_gaps: gaps_ms.iter().map(|gap| Nanos(gap * MS)).collect(),
        end: Nanos((first_ms + gaps_ms.iter().sum::<u64>()) * MS),
        output_tokens: Tokens(tokens),
        cached_tokens: [Tokens(400), Tokens(100), Tokens(0), Tokens(0)],
        outcome: Outcome::Done,
        error: None,
        ..failed(request, due_ms, 0)
    }
}

pub(crate) fn certificate() -> Certificate {
    let spread = |us: u64| Spread {
        count: 1000,
        mean: Nanos(us * 500),
        p50: Nanos(us * 400),
        p99: Nanos(us * 1000),
        max: Nanos(us * 3000),
    };
    Certificate {
        read_lag: spread(60),
        send_lag: spread(120),
        first_token_bound: spread(180),
        gap_bound: spread(90),
        busy_share: 0.31,
        kernel_stamps: true,
        offered: 50.0,
        delivered: 49.8,
        starved: Nanos::ZERO,
        cpu_wait_share: Some(0.0),
        due_at_once: 1,
        workers: 1,
        refused: None,
    }
}
