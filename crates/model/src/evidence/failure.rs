//! Why a cell has no result.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::shard::ShardFailure;
use super::unfit::Unfit;
use crate::fact::FactDifference;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureCause {
    pub cause: String,
    /// Of the measured set.
    pub requests: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FailureReason {
    /// A control with external hits.
    ControlServed,
    /// A control with an offload connector.
    ControlConnected,
    /// A choice by chance that did not spread.
    UnevenChoice,
    /// Hits that the answers contradict.
    AnswersContradict,
    /// Hits that the store contradicts.
    StoreContradicts,
    /// Hits beyond what could be served.
    ServedTooMuch,
    /// It did not run to its end, or its records show no result.
    Cell(CellFailure),
    /// Too many requests failed.
    Requests {
        failed: u64,
        measured: u64,
        /// The allowed share.
        most: f64,
        commonest: Option<FailureCause>,
    },
    /// No request was due in the window.
    NothingDue,
    /// No request of the measured set had completed when the cell ended.
    NothingCompleted { measured: u64 },
    /// What ran differs from the plan, or from what the control ran on.
    NotComparable(Vec<FactDifference>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum CellFailure {
    /// Its rows contradict each other.
    Rows(RowContradiction),
    /// The simulator's integral of requests in flight is not the sum of the residence times.
    Unbalanced { in_flight_ns: u64, residence_ns: u64 },
    /// The comparison shows that the cell does not represent its arm.
    Unfit(Unfit),
    /// Of a process that generated a part of the load.
    Shard(ShardFailure),
    /// In the error's own words.
    Error(String),
}

/// Recorded figures that cannot all be true: the cell fails and is never averaged. `request` is the
/// `request` column of `requests.parquet`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RowContradiction {
    #[error(
        "request {request}: start {start} ns lies before due {due} ns; \
         check the clock of the load generator and run the cell again"
    )]
    StartBeforeDue { request: u64, start: u64, due: u64 },
    #[error(
        "request {request}: end {end} ns lies before start {start} ns; \
         check the clock and run the cell again"
    )]
    EndBeforeStart { request: u64, end: u64, start: u64 },
    #[error(
        "request {request}: first token at {first_token} ns lies outside of \
         start {start} ns to end {end} ns; check the clock and run the cell again"
    )]
    FirstTokenOutside { request: u64, first_token: u64, start: u64, end: u64 },
    #[error(
        "request {request}: {output_tokens} output tokens, but first token {}; \
         the stream was miscounted, run the cell again",
        if *.has_first_token { "was recorded" } else { "was never recorded" }
    )]
    TokensWithoutFirst { request: u64, output_tokens: u32, has_first_token: bool },
    #[error(
        "request {request}: recorded as done without any output token; \
         the stream was miscounted, run the cell again"
    )]
    DoneWithoutTokens { request: u64 },
    #[error(
        "request {request}: {cached_tokens} cached tokens exceed the prompt's {prompt_tokens}; \
         hits were counted twice, run the cell again"
    )]
    CachedAbovePrompt { request: u64, cached_tokens: u64, prompt_tokens: u32 },
    #[error(
        "flow identity broken: in-flight integral {in_flight_ns} ns, residence times \
         {residence_ns} ns; rows are lost or doubled, run the cell again"
    )]
    FlowIdentity {
        /// Request-nanoseconds over the cell.
        in_flight_ns: i64,
        residence_ns: i64,
    },
    #[error(
        "passes gave {pass_tokens} output tokens, requests received {request_tokens}; \
         rows are lost or doubled, run the cell again"
    )]
    TokensNotConserved {
        /// First tokens plus decoded tokens of all passes.
        pass_tokens: u64,
        request_tokens: u64,
    },
    #[error(
        "request {request}: {gaps} gaps between chunks, but first token was never recorded; \
         the stream was miscounted, run the cell again"
    )]
    GapsWithoutFirst { request: u64, gaps: usize },
    #[error(
        "request {request}: its last chunk came at {last} ns, after its end {end} ns; \
         check the clock of the load generator and run the cell again"
    )]
    GapsBeyondEnd {
        request: u64,
        /// First token plus all gaps.
        last: u64,
        end: u64,
    },
    #[error(
        "the streams of {streams} requests were read, there are {rows}; rows are lost or doubled, \
         run the cell again"
    )]
    StreamsLost { streams: u64, rows: u64 },
    #[error(
        "the measured window is empty: it starts at {start_ns} ns and ends at {end_ns} ns; \
         shorten `warmup` or lengthen `duration`"
    )]
    EmptyWindow { start_ns: u64, end_ns: u64 },
}
