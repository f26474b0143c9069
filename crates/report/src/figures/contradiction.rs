//! Ways in which the rows of a cell can contradict each other.

use thiserror::Error;

/// Recorded figures that cannot all be true. The cell is marked failed with this text and never
/// averaged; `request` is the row's `request` column in `requests.parquet`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Contradiction {
    /// Sent before it was due.
    #[error(
        "request {request}: start {start} ns lies before due {due} ns; \
         check the clock of the load generator and run the cell again"
    )]
    StartBeforeDue {
        /// The row.
        request: u64,
        /// Recorded start.
        start: u64,
        /// Recorded due time.
        due: u64,
    },
    /// Ended before it started.
    #[error(
        "request {request}: end {end} ns lies before start {start} ns; \
         check the clock and run the cell again"
    )]
    EndBeforeStart {
        /// The row.
        request: u64,
        /// Recorded end.
        end: u64,
        /// Recorded start.
        start: u64,
    },
    /// The first token lies outside of the request.
    #[error(
        "request {request}: first token at {first_token} ns lies outside of \
         start {start} ns to end {end} ns; check the clock and run the cell again"
    )]
    FirstTokenOutside {
        /// The row.
        request: u64,
        /// Recorded first token.
        first_token: u64,
        /// Recorded start.
        start: u64,
        /// Recorded end.
        end: u64,
    },
    /// Tokens without a first token, or a first token without tokens.
    #[error(
        "request {request}: {output_tokens} output tokens, but first token {}; \
         the stream was miscounted, run the cell again",
        if *.has_first_token { "was recorded" } else { "was never recorded" }
    )]
    TokensWithoutFirst {
        /// The row.
        request: u64,
        /// Tokens that came.
        output_tokens: u32,
        /// Whether a first token was recorded.
        has_first_token: bool,
    },
    /// Complete, but without any output.
    #[error(
        "request {request}: recorded as done without any output token; \
         the stream was miscounted, run the cell again"
    )]
    DoneWithoutTokens {
        /// The row.
        request: u64,
    },
    /// More tokens came from caches than the prompt has.
    #[error(
        "request {request}: {cached_tokens} cached tokens exceed the prompt's {prompt_tokens}; \
         hits were counted twice, run the cell again"
    )]
    CachedAbovePrompt {
        /// The row.
        request: u64,
        /// Tokens served by all caches.
        cached_tokens: u64,
        /// Tokens of the prompt.
        prompt_tokens: u32,
    },
    /// The integral of the number in flight is not the sum of the residence times.
    #[error(
        "flow identity broken: in-flight integral {in_flight_ns} ns, residence times \
         {residence_ns} ns; rows are lost or doubled, run the cell again"
    )]
    FlowIdentity {
        /// Integral of the number in flight over the cell, request-nanoseconds.
        in_flight_ns: i128,
        /// Sum of the residence times, nanoseconds.
        residence_ns: i128,
    },
    /// Passes and requests disagree about the number of tokens.
    #[error(
        "passes gave {pass_tokens} output tokens, requests received {request_tokens}; \
         rows are lost or doubled, run the cell again"
    )]
    TokensNotConserved {
        /// First tokens plus decoded tokens of all passes.
        pass_tokens: u64,
        /// Output tokens of all requests.
        request_tokens: u64,
    },
    /// Gaps between chunks of a stream that had no first one.
    #[error(
        "request {request}: {gaps} gaps between chunks, but first token was never recorded; \
         the stream was miscounted, run the cell again"
    )]
    GapsWithoutFirst {
        /// The row.
        request: u64,
        /// Gaps.
        gaps: usize,
    },
    /// The gaps between chunks lead past the end of the request.
    #[error(
        "request {request}: its last chunk came at {last} ns, after its end {end} ns; \
         check the clock of the load generator and run the cell again"
    )]
    GapsBeyondEnd {
        /// The row.
        request: u64,
        /// First token plus all gaps.
        last: u64,
        /// Recorded end.
        end: u64,
    },
    /// Figures were asked for without the streams of all requests.
    #[error(
        "the streams of {streams} requests were read, there are {rows}; rows are lost or doubled, \
         run the cell again"
    )]
    StreamsLost {
        /// Streams.
        streams: u64,
        /// Rows.
        rows: u64,
    },
    /// Nothing can be measured.
    #[error(
        "the measured window is empty: it starts at {start_ns} ns and ends at {end_ns} ns; \
         shorten `warmup` or lengthen `duration`"
    )]
    EmptyWindow {
        /// Start of the window.
        start_ns: u64,
        /// End of the window.
        end_ns: u64,
    },
}
