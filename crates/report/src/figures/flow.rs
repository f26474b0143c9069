//! Checks that the rows of a cell agree: row by row, as a flow, and with the passes.

use weir_model::{RowContradiction, StepRow};

use super::columns::{NEVER, RequestColumns};

/// Both sides of the flow identity behind Little's law (`L = lambda W`). Over an interval that
/// contains all requests it holds exactly, without statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowBalance {
    /// Integral of the number in flight over the cell, request-nanoseconds.
    pub in_flight_ns: i128,
    /// Sum of end - start, nanoseconds; negative times are kept, so that they show.
    pub residence_ns: i128,
    pub most_in_flight: u64,
}

/// Computes both sides independently. A departure with no request in flight is left out of the
/// sweep, so that the sides differ.
pub fn flow_balance(columns: &RequestColumns) -> FlowBalance {
    let mut arrivals = columns.start.clone();
    let mut departures = columns.end.clone();
    arrivals.sort_unstable();
    departures.sort_unstable();
    let mut balance = FlowBalance { in_flight_ns: 0, residence_ns: 0, most_in_flight: 0 };
    for (start, end) in columns.start.iter().zip(&columns.end) {
        balance.residence_ns += i128::from(*end) - i128::from(*start);
    }
    let (mut arrived, mut in_flight, mut last) = (0, 0_u64, 0_u64);
    for departure in departures {
        while arrived < arrivals.len() && arrivals[arrived] <= departure {
            balance.in_flight_ns += i128::from(in_flight) * i128::from(arrivals[arrived] - last);
            last = arrivals[arrived];
            in_flight += 1;
            arrived += 1;
            balance.most_in_flight = balance.most_in_flight.max(in_flight);
        }
        balance.in_flight_ns += i128::from(in_flight) * i128::from(departure.saturating_sub(last));
        last = last.max(departure);
        in_flight = in_flight.saturating_sub(1);
    }
    balance
}

/// Checks each row, then the flow identity; returns the first contradiction in row order.
pub fn check_rows(columns: &RequestColumns) -> Result<FlowBalance, RowContradiction> {
    for row in 0..columns.len() {
        check_row(columns, row)?;
    }
    let balance = flow_balance(columns);
    if balance.in_flight_ns == balance.residence_ns {
        return Ok(balance);
    }
    Err(RowContradiction::FlowIdentity {
        in_flight_ns: recorded(balance.in_flight_ns),
        residence_ns: recorded(balance.residence_ns),
    })
}

/// Clamped to the range of the files: 292 years.
fn recorded(time: i128) -> i64 {
    time.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

fn check_row(columns: &RequestColumns, row: usize) -> Result<(), RowContradiction> {
    let request = columns.request[row];
    let (due, start, end) = (columns.due[row], columns.start[row], columns.end[row]);
    let (first_token, output_tokens) = (columns.first_token[row], columns.output_tokens[row]);
    if start < due {
        return Err(RowContradiction::StartBeforeDue { request, start, due });
    }
    if end < start {
        return Err(RowContradiction::EndBeforeStart { request, end, start });
    }
    let has_first_token = first_token != NEVER;
    if has_first_token && !(start..=end).contains(&first_token) {
        return Err(RowContradiction::FirstTokenOutside { request, first_token, start, end });
    }
    if columns.is_done(row) && output_tokens == 0 {
        return Err(RowContradiction::DoneWithoutTokens { request });
    }
    if has_first_token != (output_tokens > 0) {
        return Err(RowContradiction::TokensWithoutFirst {
            request,
            output_tokens,
            has_first_token,
        });
    }
    let prompt_tokens = columns.prompt_tokens[row];
    let cached_tokens =
        u64::from(columns.gpu_hit_tokens[row]) + u64::from(columns.external_hit_tokens[row]);
    if cached_tokens > u64::from(prompt_tokens) {
        return Err(RowContradiction::CachedAbovePrompt { request, cached_tokens, prompt_tokens });
    }
    Ok(())
}

/// Checks that the passes gave as many tokens as the requests received: each first token, plus one
/// per decoding sequence and pass. A preempted sequence gets its next token from a prefill pass, so
/// cells with preemptions are not checked, nor cells without passes.
pub fn check_tokens(columns: &RequestColumns, steps: &[StepRow]) -> Result<(), RowContradiction> {
    if steps.is_empty() || columns.preemptions.iter().any(|&times| times > 0) {
        return Ok(());
    }
    let first_tokens = columns.first_token.iter().filter(|&&at| at != NEVER).count() as u64;
    let decoded: u64 = steps.iter().map(|step| u64::from(step.decoding)).sum();
    let request_tokens: u64 = columns.output_tokens.iter().map(|&tokens| u64::from(tokens)).sum();
    let pass_tokens = first_tokens + decoded;
    if pass_tokens == request_tokens {
        return Ok(());
    }
    Err(RowContradiction::TokensNotConserved { pass_tokens, request_tokens })
}
