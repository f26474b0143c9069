//! Requests in flight, and the rows they become.

use weir_cluster::{Finished, Placement};
use weir_model::{ChoiceHits, Nanos, Outcome, RequestRow, Tokens};
use weir_workload::Due;

#[derive(Debug, Clone)]
pub(crate) struct InFlightRequest {
    pub(crate) due: Due,
    pub(crate) first_token: Option<Nanos>,
    pub(crate) placement: Placement,
    /// With several replicas.
    pub(crate) hits: Option<ChoiceHits>,
}

impl InFlightRequest {
    pub(crate) fn new(due: Due) -> Self {
        Self { due, first_token: None, placement: Placement::default(), hits: None }
    }

    fn row(&self, end: Nanos, outcome: Outcome) -> RequestRow {
        let request = &self.due.request;
        RequestRow {
            request: request.id,
            session: request.session,
            turn: request.turn,
            prompt_id: request.prompt.digest(),
            replica: Some(self.placement.replica),
            due: self.due.at,
            start: self.due.at,
            connected: None,
            first_byte: None,
            first_token: self.first_token,
            end,
            prompt_tokens: request.prompt.tokens(),
            output_tokens: Tokens::ZERO,
            seen_tokens: request.seen_tokens,
            cached_tokens: [Tokens::ZERO; 4],
            preemptions: 0,
            first_step: 0,
            chunk_gaps: Vec::new(),
            events_per_read: None,
            outcome,
            error: None,
            output_digest: None,
            error_bound: Nanos::ZERO,
            hits: self.hits,
            shard: None,
        }
    }

    pub(crate) fn done(&self, end: Nanos, finished: &Finished) -> RequestRow {
        RequestRow {
            output_tokens: finished.output_tokens,
            cached_tokens: finished.cached,
            preemptions: finished.preemptions,
            first_step: finished.first_step,
            ..self.row(end, Outcome::Done)
        }
    }

    pub(crate) fn unfinished(&self, end: Nanos, tokens: u32, cached: [Tokens; 4]) -> RequestRow {
        RequestRow {
            output_tokens: Tokens(tokens),
            cached_tokens: cached,
            ..self.row(end, Outcome::Unfinished)
        }
    }

    pub(crate) fn refused(&self, end: Nanos, cause: String) -> RequestRow {
        RequestRow { error: Some(cause), ..self.row(end, Outcome::Failed) }
    }
}
