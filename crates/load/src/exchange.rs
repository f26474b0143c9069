//! One request from its due time to its row.

use std::ops::Range;

use weir_http::coding;
use weir_http::events::EventSplitter;
use weir_http::response::{HttpError, Progress, ResponseParser};
use weir_model::answers::AnswerNote;
use weir_model::{Nanos, Outcome, Prompt, RequestRow, TierKind, Tokens};
use weir_workload::demand::Due;

use crate::answer::{Answer, Arrival, Complete, Requested};
use crate::body::Body;
use crate::failure::{Failure, message, quote};
use crate::replicas::ReplicaNumbers;
use crate::spread::SpreadTally;

/// Of a refusal, read for its message.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
const WHOLE_BYTES_MAX: usize = 256 << 20;

/// Known from the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Head,
    Events,
    Whole,
    /// A status other than 200.
    Refusal(u16),
    /// Status 200 without an event stream.
    NoEvents,
}

/// A worker's buffers and counters, lent to the exchange that is reading.
pub(crate) struct ReadBuffers<'a> {
    pub(crate) spans: &'a mut Vec<Range<usize>>,
    pub(crate) gap_bound: &'a mut SpreadTally,
    pub(crate) replicas: &'a mut ReplicaNumbers,
}

#[derive(Debug)]
pub(crate) struct ExchangeEnd {
    pub(crate) row: RequestRow,
    pub(crate) prompt: Prompt,
    pub(crate) note: Option<AnswerNote>,
    /// Where its tokens are still to be counted.
    pub(crate) text: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) id: u64,
    pub(crate) endpoint: usize,
    /// The one that answers, once known.
    replica: Option<u16>,
    pub(crate) due: Due,
    pub(crate) requested: Requested,
    stream: bool,
    pub(crate) head: Vec<u8>,
    pub(crate) body: Body,
    /// Bytes of head and body, and how many were sent.
    pub(crate) length: usize,
    pub(crate) sent: usize,
    /// Start of the wait for its own connection.
    pub(crate) connect_began: Option<Nanos>,
    pub(crate) connected: Option<Nanos>,
    /// Most delay between the connection's start and its detection.
    pub(crate) noticed_late: Nanos,
    pub(crate) start: Option<Nanos>,
    pub(crate) sent_at: Nanos,
    reading: Reading,
    pub(crate) answer: Answer,
    text: Vec<u8>,
    /// The last time at which nothing of a whole body had arrived.
    whole_earliest: Nanos,
}

impl Exchange {
    pub(crate) fn unused(due: Due) -> Self {
        let requested = Requested {
            prompt_tokens: Tokens::ZERO,
            output_tokens: Tokens::ZERO,
            limited: false,
            exactly: false,
            token_ids: false,
            text: false,
            kernel_path: Nanos::ZERO,
        };
        Self {
            id: 0,
            endpoint: 0,
            replica: None,
            due,
            requested,
            stream: true,
            head: Vec::new(),
            body: Body::default(),
            length: 0,
            sent: 0,
            connect_began: None,
            connected: None,
            noticed_late: Nanos::ZERO,
            start: None,
            sent_at: Nanos::ZERO,
            reading: Reading::Head,
            answer: Answer::default(),
            text: Vec::new(),
            whole_earliest: Nanos::ZERO,
        }
    }

    /// Buffers keep their capacity.
    pub(crate) fn reset(&mut self, id: u64, endpoint: usize, due: Due, requested: Requested) {
        (self.id, self.endpoint, self.due, self.requested) = (id, endpoint, due, requested);
        self.body = Body::default();
        (self.length, self.sent) = (0, 0);
        (self.connect_began, self.connected, self.start) = (None, None, None);
        (self.sent_at, self.noticed_late) = (Nanos::ZERO, Nanos::ZERO);
        self.reading = Reading::Head;
        self.text.clear();
    }

    /// `replica`: the endpoint's own number.
    pub(crate) fn expect(&mut self, stream: bool, keep: bool, replica: Option<u16>) {
        self.stream = stream;
        self.replica = replica;
        self.answer.reset(keep);
    }

    /// True when the answer is complete.
    pub(crate) fn handle_bytes(
        &mut self,
        parser: &mut ResponseParser,
        splitter: &mut EventSplitter,
        bytes: &[u8],
        arrival: &Arrival,
        several: impl FnOnce() -> Nanos,
        buffers: &mut ReadBuffers<'_>,
    ) -> Result<bool, Failure> {
        buffers.spans.clear();
        let spans = &mut *buffers.spans;
        let base = bytes.as_ptr() as usize;
        let progress = parser.feed(bytes, &mut |span: &[u8]| {
            // The parser returns slices of `bytes`.
            let start = span.as_ptr() as usize - base;
            spans.push(start..start + span.len());
        });
        if self.reading == Reading::Head {
            self.read_head(parser, buffers.replicas)?;
        }
        if !buffers.spans.is_empty() {
            self.take_body(splitter, bytes, arrival, several, buffers)?;
        }
        match progress.map_err(|error| http_failure(&error))? {
            Progress::Head | Progress::Body => Ok(false),
            Progress::Complete { unread: 0 } => Ok(true),
            Progress::Complete { unread } => {
                Err(Failure::Protocol(format!("{unread} bytes behind the end of the answer")))
            }
        }
    }

    fn read_head(
        &mut self,
        parser: &ResponseParser,
        replicas: &mut ReplicaNumbers,
    ) -> Result<(), Failure> {
        let Some(head) = parser.head() else { return Ok(()) };
        if let Some(name) = &head.noted {
            self.replica = replicas.number(name);
        }
        let kind = head.content_type.as_deref().unwrap_or_default();
        self.reading = match head.status {
            200 if head.coding().is_some() => {
                let coding = head.coding().unwrap_or_default();
                let what = format!(
                    "the answer is compressed ({coding}) although identity was requested; this \
                     hides the times of its tokens: turn it off in the server or the proxy"
                );
                return Err(Failure::Protocol(what));
            }
            200 if !self.stream => Reading::Whole,
            200 if kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream") => {
                Reading::Events
            }
            200 => Reading::NoEvents,
            status => Reading::Refusal(status),
        };
        Ok(())
    }

    fn take_body(
        &mut self,
        splitter: &mut EventSplitter,
        bytes: &[u8],
        arrival: &Arrival,
        several: impl FnOnce() -> Nanos,
        buffers: &mut ReadBuffers<'_>,
    ) -> Result<(), Failure> {
        let is_first = self.answer.first_byte.is_none();
        if is_first && self.reading == Reading::NoEvents {
            let begins = buffers.spans.first().map_or(&[][..], |span| &bytes[span.clone()]);
            // Some servers send an event stream with another type.
            if [&b"data:"[..], b"event:", b": "].iter().any(|field| begins.starts_with(field)) {
                self.reading = Reading::Events;
            }
        }
        self.answer.begin_read(arrival.at);
        if self.reading != Reading::Events {
            let most = match self.reading {
                Reading::Whole => WHOLE_BYTES_MAX,
                _ => REFUSAL_BYTES_MAX,
            };
            if is_first {
                let bound = several();
                self.answer.first_token_bound = bound;
                self.whole_earliest = arrival.at.saturating_sub(bound);
            }
            for span in buffers.spans.iter() {
                let room = most.saturating_sub(self.text.len());
                self.text.extend_from_slice(&bytes[span.clone()][..span.len().min(room)]);
            }
            if self.reading == Reading::Whole && self.text.len() >= most {
                return Err(Failure::Protocol(format!("the body is longer than {most} bytes")));
            }
            return Ok(());
        }
        let mut result = Ok(());
        let answer = &mut self.answer;
        let gap_bound = &mut *buffers.gap_bound;
        for span in buffers.spans.iter() {
            let fed = splitter.feed(&bytes[span.clone()], &mut |data: &[u8]| {
                if result.is_ok() {
                    result = answer.event(data);
                }
            });
            if let (Err(error), Ok(())) = (fed, &result) {
                result = Err(Failure::Malformed(error.to_string()));
            }
            if result.is_err() {
                break;
            }
        }
        answer.end_read(arrival, !splitter.is_mid_event(), several, gap_bound);
        result
    }

    pub(crate) fn complete(
        &mut self,
        parser: &ResponseParser,
        splitter: &EventSplitter,
        last: &Arrival,
    ) -> Result<Complete, Failure> {
        match self.reading {
            Reading::Events if splitter.is_mid_event() => {
                let events = self.answer.events;
                Err(Failure::Truncated(format!("it ended inside event {events}")))
            }
            Reading::Events => self.answer.complete(&self.requested),
            Reading::Whole => {
                self.answer.complete_whole(&self.text, &self.requested, last, self.whole_earliest)
            }
            Reading::Refusal(status) => Err(self.refusal(status, parser)),
            Reading::NoEvents => {
                let seen = quote(&self.text);
                Err(Failure::Protocol(format!(
                    "expected a stream of events, and the answer is: {seen}"
                )))
            }
            Reading::Head => Err(Failure::Truncated("there is no response head".to_owned())),
        }
    }

    fn refusal(&self, status: u16, parser: &ResponseParser) -> Failure {
        let head = parser.head();
        if let Some(target) = head.and_then(weir_http::Head::redirect) {
            let what = format!("redirects are not followed: give the address {target}");
            return Failure::Status(status, what);
        }
        let words = match head.and_then(|head| head.coding()) {
            None => message(&self.text),
            Some(coding) => match coding::decoded(coding, &self.text, REFUSAL_BYTES_MAX) {
                Some(text) => message(&text),
                None => format!("(the message is compressed with {coding})"),
            },
        };
        Failure::Status(status, words)
    }

    /// From due time to first byte sent, without the time to connect.
    pub(crate) fn send_lag(&self) -> Option<Nanos> {
        let connecting = match (self.connect_began, self.connected) {
            (Some(began), Some(connected)) => connected.saturating_sub(began),
            _ => Nanos::ZERO,
        };
        Some(self.start?.saturating_sub(self.due.at + connecting))
    }

    /// Most time from start until the server can have the whole request.
    fn send_time(&self) -> Nanos {
        self.start.map_or(Nanos::ZERO, |start| self.sent_at.saturating_sub(start))
    }

    /// Bound of a time from due time to an event: what the generator itself can have added.
    fn bound(&self, event: Nanos) -> Nanos {
        let late = self.send_lag().unwrap_or_default() + self.noticed_late;
        event + late + self.send_time() + self.requested.kernel_path
    }

    pub(crate) fn first_token_bound(&self) -> Nanos {
        self.bound(self.answer.first_token_bound)
    }

    fn row(&self, outcome: Outcome, end: Nanos) -> RequestRow {
        let request = &self.due.request;
        let answer = &self.answer;
        let reads = answer.reads.max(1) as f32;
        // An unsent request counts from its abort.
        let start = self.start.unwrap_or(end);
        RequestRow {
            request: self.id,
            session: request.session,
            turn: request.turn,
            prompt_id: request.prompt.digest(),
            replica: self.replica,
            due: self.due.at,
            start,
            connected: self.connected,
            first_byte: answer.first_byte,
            first_token: answer.first_token,
            end: end.max(start),
            prompt_tokens: request.prompt.tokens(),
            output_tokens: Tokens(answer.output_events()),
            seen_tokens: request.seen_tokens,
            cached_tokens: [Tokens::ZERO; 4],
            preemptions: 0,
            first_step: 0,
            chunk_gaps: answer.gaps(),
            events_per_read: (answer.reads > 0).then_some(answer.events as f32 / reads),
            outcome,
            error: None,
            output_digest: None,
            error_bound: self.first_token_bound(),
            hits: None,
            shard: None,
        }
    }

    /// Without an answer.
    pub(crate) fn ended(&self, row: RequestRow) -> ExchangeEnd {
        let prompt = self.due.request.prompt.clone();
        ExchangeEnd { row, prompt, note: None, text: None }
    }

    /// Row of a complete answer. `usage` does not distinguish tiers, so cached tokens are the
    /// GPU's.
    pub(crate) fn done_row(&self, complete: &Complete) -> RequestRow {
        let mut row = self.row(Outcome::Done, complete.end);
        row.prompt_tokens = complete.prompt_tokens;
        row.output_tokens = complete.output_tokens;
        row.cached_tokens[TierKind::Gpu.index()] = complete.cached_tokens;
        row.output_digest = complete.digest;
        row.error_bound = row.error_bound.max(self.bound(complete.end_bound));
        row
    }

    pub(crate) fn failed_row(&self, failure: &Failure, at: Nanos) -> RequestRow {
        RequestRow { error: Some(failure.to_string()), ..self.row(Outcome::Failed, at) }
    }

    /// Row of a request aborted at the end of the cell, with the tokens it had.
    pub(crate) fn unfinished_row(&self, at: Nanos) -> RequestRow {
        self.row(Outcome::Unfinished, at)
    }
}

pub(crate) fn http_failure(error: &HttpError) -> Failure {
    let what = error.to_string();
    match error {
        HttpError::NoResponse
        | HttpError::HeadCutOff { .. }
        | HttpError::BodyCutOff { .. }
        | HttpError::ChunksCutOff { .. } => Failure::Truncated(what),
        _ => Failure::Protocol(what),
    }
}
