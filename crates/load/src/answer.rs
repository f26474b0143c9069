//! The answer to one request: arrival times, counts and meaning of its events.
//!
//! An event with text costs one search for its key, one gap, and one copy of its data over the
//! event before; nothing is allocated or parsed. All other events are parsed at once, so that gaps
//! lie between events with output alone. The last output is parsed when the answer is complete,
//! because it can have usage and end.

pub(crate) mod chunk;

use weir_model::answers::{AnswerNote, TokenCount};
use weir_model::{Nanos, Tokens};

use crate::failure::{Failure, quote};
use crate::spread::SpreadTally;
use chunk::{Chunk, Finish, Output, TextKeys, Usage};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// Arrival of the read's last byte.
    pub(crate) at: Nanos,
    /// Error bound for what ended with the last byte. None where its arrival is unknown.
    pub(crate) last_byte_bound: Option<Nanos>,
}

/// The part of the request that the answer is checked against.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "independent properties of a request")]
pub(crate) struct Requested {
    pub(crate) prompt_tokens: Tokens,
    pub(crate) output_tokens: Tokens,
    /// The request has a limit, so an answer that reached it has as many tokens.
    pub(crate) limited: bool,
    pub(crate) exactly: bool,
    pub(crate) token_ids: bool,
    /// Keep the text where nothing else counts its tokens.
    pub(crate) text: bool,
    /// Most that the ways through the kernels add to each time.
    pub(crate) kernel_path: Nanos,
}

#[derive(Debug, Default)]
pub(crate) struct Complete {
    pub(crate) end: Nanos,
    pub(crate) end_bound: Nanos,
    pub(crate) prompt_tokens: Tokens,
    pub(crate) output_tokens: Tokens,
    pub(crate) cached_tokens: Tokens,
    /// How its tokens were counted.
    pub(crate) note: AnswerNote,
    /// Kept only where its tokens are counted by it.
    pub(crate) text: Option<String>,
    pub(crate) token_ids: Option<Vec<u32>>,
    pub(crate) digest: Option<u64>,
}

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent observations")]
pub(crate) struct Answer {
    keep: bool,
    kept: Vec<u8>,
    kept_ends: Vec<usize>,
    pub(crate) first_byte: Option<Nanos>,
    pub(crate) first_token: Option<Nanos>,
    pub(crate) first_token_bound: Nanos,
    /// Arrival of the first event that may be a token without text.
    first_choice: Option<Nanos>,
    /// From output to output, without the first.
    gaps: Vec<Nanos>,
    keys: TextKeys,
    /// Data and index of the last unparsed output.
    unread: Vec<u8>,
    unread_event: Option<u32>,
    pub(crate) events: u32,
    /// Reads with events.
    pub(crate) reads: u32,
    usage: Usage,
    usage_event: u32,
    finish: Option<Finish>,
    done: bool,
    /// Arrival of the last event, of the last output, and of the current read.
    last_at: Nanos,
    last_output: Nanos,
    read_at: Nanos,
    events_in_read: u32,
    outputs_in_read: u32,
    /// The first output came with this read.
    began_in_read: bool,
    /// This read's last event has output.
    output_is_last: bool,
    /// Error bounds of the last event and of the last output.
    event_bound: Nanos,
    output_bound: Nanos,
}

impl Answer {
    pub(crate) fn reset(&mut self, keep: bool) {
        let mut kept = std::mem::take(&mut self.kept);
        let mut kept_ends = std::mem::take(&mut self.kept_ends);
        let mut gaps = std::mem::take(&mut self.gaps);
        let unread = std::mem::take(&mut self.unread);
        let keys = self.keys;
        kept.clear();
        kept_ends.clear();
        gaps.clear();
        *self = Self { keep, kept, kept_ends, gaps, keys, unread, ..Self::default() };
    }

    pub(crate) fn begin_read(&mut self, at: Nanos) {
        self.first_byte.get_or_insert(at);
        // Conversions of two stamps can differ by more than the time between them.
        self.read_at = at.max(self.last_at);
        self.events_in_read = 0;
        self.outputs_in_read = 0;
        self.began_in_read = false;
        self.output_is_last = false;
    }

    pub(crate) fn event(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.events_in_read += 1;
        self.output_is_last = false;
        if self.done {
            let what = if data == b"[DONE]" { "a second [DONE]" } else { "an event after [DONE]" };
            return Err(Failure::Malformed(what.to_owned()));
        }
        if data == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        if data.first() != Some(&b'{') || data.last() != Some(&b'}') {
            let (event, text) = (self.events, quote(data));
            return Err(Failure::Malformed(format!("event {event} is not a JSON object: {text}")));
        }
        if self.first_token.is_some() && self.keys.has_text(data) {
            self.unread.clear();
            self.unread.extend_from_slice(data);
            self.unread_event = Some(self.events);
            self.output();
        } else if self.read(data, self.events)? {
            self.unread_event = None;
            self.output();
        }
        self.last_at = self.read_at;
        if self.keep {
            self.kept.extend_from_slice(data);
            self.kept_ends.push(self.kept.len());
        }
        self.events += 1;
        Ok(())
    }

    /// The current event has output.
    fn output(&mut self) {
        if self.first_token.is_none() {
            self.first_token = Some(self.read_at);
            self.began_in_read = true;
        } else {
            self.gaps.push(self.read_at - self.last_output);
        }
        self.last_output = self.read_at;
        self.outputs_in_read += 1;
        self.output_is_last = true;
    }

    /// Parses an event with its usage, end and error. True if it has output.
    fn read(&mut self, data: &[u8], index: u32) -> Result<bool, Failure> {
        let chunk = Chunk::read(data).map_err(|error| {
            Failure::Malformed(format!("event {index}: {error}: {}", quote(data)))
        })?;
        if let Some((code, message)) = chunk.error {
            return Err(Failure::Status(code, format!("in the stream: {message}")));
        }
        self.take_facts(&chunk, index)?;
        if !chunk.has_output && chunk.has_choice && self.first_token.is_none() {
            self.first_choice.get_or_insert(self.read_at);
        }
        Ok(chunk.has_output)
    }

    fn take_facts(&mut self, chunk: &Chunk, index: u32) -> Result<(), Failure> {
        if chunk.is_of_another_choice {
            return Err(Failure::Tokens(
                "the server sends several answers to one request; times need exactly one (`n`)"
                    .to_owned(),
            ));
        }
        if let Some(usage) = chunk.usage {
            self.usage =
                if index >= self.usage_event { usage.or(self.usage) } else { self.usage.or(usage) };
            self.usage_event = self.usage_event.max(index);
        }
        self.finish = self.finish.or(chunk.finish);
        Ok(())
    }

    /// `at_end`: no part of a further event followed the last one. `several` gives the bound of
    /// events that are not last in their read; called only if needed.
    pub(crate) fn end_read(
        &mut self,
        arrival: &Arrival,
        at_end: bool,
        several: impl FnOnce() -> Nanos,
        gaps: &mut SpreadTally,
    ) {
        if self.events_in_read == 0 {
            return;
        }
        self.reads += 1;
        let last = arrival.last_byte_bound.filter(|_| at_end);
        let bound = match last {
            Some(bound) if self.events_in_read == 1 => bound,
            _ => several(),
        };
        let last = last.unwrap_or(bound);
        self.event_bound = last;
        let outputs = self.outputs_in_read;
        if outputs == 0 {
            return;
        }
        let last_output = if self.output_is_last { last } else { bound };
        let first_output = if outputs == 1 { last_output } else { bound };
        if self.began_in_read {
            self.first_token_bound = first_output;
        } else {
            gaps.record(first_output.max(self.output_bound));
        }
        if outputs > 1 {
            gaps.record_many(bound, u64::from(outputs - 2));
            gaps.record(bound.max(last_output));
        }
        self.output_bound = last_output;
    }

    pub(crate) fn output_events(&self) -> u32 {
        if self.first_token.is_some() { 1 + self.gaps.len() as u32 } else { 0 }
    }

    /// The vector has no spare capacity.
    pub(crate) fn gaps(&self) -> Vec<Nanos> {
        self.gaps.as_slice().to_vec()
    }

    pub(crate) fn last_at(&self) -> Option<Nanos> {
        (self.events > 0).then_some(self.last_at)
    }

    /// Parses the last output and checks the answer against the request.
    pub(crate) fn complete(&mut self, requested: &Requested) -> Result<Complete, Failure> {
        if let Some(index) = self.unread_event.take() {
            let data = std::mem::take(&mut self.unread);
            let read = self.read(&data, index);
            self.unread = data;
            read?;
        }
        // Some servers end without [DONE], but with a finish reason.
        if !self.done && self.finish.is_none() {
            let events = self.events;
            return Err(Failure::Truncated(format!("it ended after {events} events, no [DONE]")));
        }
        let (end, end_bound) = match self.first_token {
            Some(first) => (first + self.gaps.iter().copied().sum::<Nanos>(), self.output_bound),
            None => (self.last_at, self.event_bound),
        };
        let mut complete = Complete { end, end_bound, ..self.counts(requested)? };
        if self.first_token.is_none() {
            // Tokens without text, such as parts of a character.
            let first = self.first_choice.ok_or_else(|| {
                let tokens = complete.output_tokens.get();
                Failure::Tokens(format!("usage counts {tokens} tokens, but no event had output"))
            })?;
            self.first_token = Some(first);
            complete.end = complete.end.max(first);
        }
        if self.keep {
            let ends = self.kept_ends.iter();
            let starts = [0].into_iter().chain(self.kept_ends.iter().copied());
            let documents = starts.zip(ends).map(|(start, end)| &self.kept[start..*end]);
            let output = Output::read(documents).map_err(Failure::Malformed)?;
            take_output(requested, output, &mut complete)?;
        }
        self.agrees(requested, &complete)?;
        Ok(complete)
    }

    /// Token counts by usage, else by the limit that the answer reached, else by events until its
    /// token ids or text give better ones.
    fn counts(&self, requested: &Requested) -> Result<Complete, Failure> {
        let events = self.output_events();
        let wanted = requested.output_tokens;
        let usage = &self.usage;
        // A count of 0 despite output counts as none.
        let (output_tokens, counted) = match usage.completion_tokens.filter(|count| *count > 0) {
            Some(count) => (Tokens(count), TokenCount::Usage),
            None if events == 0 => {
                return Err(Failure::Tokens("the answer is empty".to_owned()));
            }
            None if requested.limited && self.finish == Some(Finish::Length) => {
                (wanted, TokenCount::Asked)
            }
            None => (Tokens(events), TokenCount::Events),
        };
        let read = usage.prompt_tokens.filter(|count| *count > 0).map(Tokens);
        Ok(Complete {
            prompt_tokens: read.unwrap_or(requested.prompt_tokens),
            output_tokens,
            cached_tokens: Tokens(usage.cached_tokens.unwrap_or(0)),
            note: AnswerNote {
                counted,
                asked_prompt: requested.prompt_tokens,
                asked_output: wanted,
                events,
            },
            ..Complete::default()
        })
    }

    fn agrees(&self, requested: &Requested, complete: &Complete) -> Result<(), Failure> {
        let (came, wanted) = (complete.output_tokens, requested.output_tokens);
        let is_known = matches!(complete.note.counted, TokenCount::Usage | TokenCount::TokenIds);
        if !requested.exactly || !is_known || came == wanted {
            return Ok(());
        }
        let end = match self.finish {
            Some(finish) => format!(" (finish_reason {finish})"),
            None => String::new(),
        };
        let remedy = if came < wanted {
            "; the server ends answers early although the request forbids it: --allow-eos accepts \
             them"
        } else {
            ""
        };
        Err(Failure::Tokens(format!("{came} tokens came, {wanted} were requested{end}{remedy}")))
    }

    /// An answer in one body: its first byte counts as the first token.
    pub(crate) fn complete_whole(
        &mut self,
        body: &[u8],
        requested: &Requested,
        at: &Arrival,
        earliest: Nanos,
    ) -> Result<Complete, Failure> {
        let malformed =
            |error: String| Failure::Malformed(format!("the body: {error}: {}", quote(body)));
        let chunk = Chunk::read(body).map_err(malformed)?;
        if let Some((code, message)) = &chunk.error {
            return Err(Failure::Status(*code, message.clone()));
        }
        self.take_facts(&chunk, 0)?;
        if chunk.has_output {
            self.first_token = self.first_byte;
        }
        let end_bound = at.last_byte_bound.unwrap_or(at.at.saturating_sub(earliest));
        let mut complete = Complete { end: at.at, end_bound, ..self.counts(requested)? };
        self.first_token = self.first_byte;
        self.first_token_bound = self.first_token_bound.max(end_bound);
        if self.keep {
            let output = Output::read([body].into_iter()).map_err(Failure::Malformed)?;
            take_output(requested, output, &mut complete)?;
        }
        if complete.note.counted == TokenCount::Events && complete.text.is_none() {
            return Err(Failure::Tokens(
                "the body has no usage; ask for streams, or give a tokenizer".to_owned(),
            ));
        }
        self.agrees(requested, &complete)?;
        Ok(complete)
    }
}

/// Digest and token ids of a kept answer, and its text where nothing else counts tokens.
fn take_output(
    requested: &Requested,
    output: Output,
    complete: &mut Complete,
) -> Result<(), Failure> {
    complete.digest = Some(output.digest);
    if requested.text && complete.note.counted == TokenCount::Events {
        complete.text = Some(output.text);
    }
    if !requested.token_ids {
        return Ok(());
    }
    let ids = output.token_ids.ok_or_else(|| {
        Failure::Session(
            "the server sent no token ids (it must know `return_token_ids`), so that later \
             turns cannot quote its answer; use canned answers"
                .to_owned(),
        )
    })?;
    let counted = complete.output_tokens.get();
    if complete.note.counted == TokenCount::Usage && ids.len() != counted as usize {
        let sent = ids.len();
        return Err(Failure::Tokens(format!("{sent} token ids, but usage counts {counted}")));
    }
    if complete.note.counted != TokenCount::Usage {
        complete.note.counted = TokenCount::TokenIds;
        complete.output_tokens = Tokens(ids.len() as u32);
    }
    complete.token_ids = Some(ids);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &[u8] = br#"{"choices":[{"text":"x"}]}"#;
    const EMPTY: &[u8] = br#"{"choices":[{"text":""}]}"#;

    fn requested(tokens: u32) -> Requested {
        Requested {
            prompt_tokens: Tokens(8),
            output_tokens: Tokens(tokens),
            limited: true,
            exactly: true,
            token_ids: false,
            text: false,
            kernel_path: Nanos::ZERO,
        }
    }

    /// Feeds events read by read: `(events in the read, time between reads)`. The bound is 1 ns for
    /// events alone in their read, else 1000.
    fn play(events: &[&[u8]], reads: &[(usize, u64)]) -> (Answer, SpreadTally) {
        let (mut answer, mut gaps) = (Answer::default(), SpreadTally::default());
        answer.reset(false);
        let (mut at, mut left) = (Nanos::ZERO, events);
        for (count, wait) in reads.iter().copied().chain([(events.len(), 5)]) {
            let (now, later) = left.split_at(count.min(left.len()));
            left = later;
            at += Nanos(wait);
            answer.begin_read(at);
            for event in now {
                answer.event(event).unwrap();
            }
            let arrival = Arrival { at, last_byte_bound: Some(Nanos(1)) };
            answer.end_read(&arrival, true, || Nanos(1000), &mut gaps);
        }
        (answer, gaps)
    }

    proptest! {
        /// Gaps keep their number and sum however a stream is split into reads, and each has one
        /// bound.
        #[test]
        fn every_gap_has_a_bound(
            lead in 0usize..6,
            tokens in 1usize..40,
            trail in 0usize..6,
            between in proptest::collection::vec(0usize..3, 40),
            reads in proptest::collection::vec((0usize..9, 1u64..100), 0..60),
        ) {
            let mut events = vec![EMPTY; lead];
            for empties in &between[..tokens - 1] {
                events.push(TOKEN);
                events.extend(vec![EMPTY; *empties]);
            }
            events.push(TOKEN);
            events.extend(vec![EMPTY; trail]);
            events.push(b"[DONE]");
            let (mut answer, gaps) = play(&events, &reads);
            let complete = answer.complete(&requested(tokens as u32 + 9)).unwrap();
            prop_assert_eq!(complete.output_tokens.get() as usize, tokens);
            prop_assert_eq!(complete.note.counted, TokenCount::Events);
            let list = answer.gaps();
            prop_assert_eq!(list.len(), tokens - 1);
            prop_assert_eq!(gaps.spread().count as usize, tokens - 1);
            let sum: Nanos = list.iter().copied().sum();
            prop_assert_eq!(answer.first_token.unwrap() + sum, complete.end);
        }
    }

    #[test]
    fn bounds_tell_events_alone_from_those_in_company() {
        let stream = [TOKEN, TOKEN, TOKEN, b"[DONE]"];
        let (mut answer, gaps) = play(&stream, &[(1, 10), (1, 10), (1, 10), (1, 1)]);
        assert_eq!(answer.first_token_bound, Nanos(1));
        let complete = answer.complete(&requested(3)).unwrap();
        assert_eq!((complete.end, complete.end_bound), (Nanos(30), Nanos(1)));
        assert_eq!(gaps.spread().max, Nanos(1));
        // The last of two in one read is exact, the first is not.
        let (mut answer, _) = play(&stream, &[(2, 10), (2, 10)]);
        assert_eq!(answer.first_token_bound, Nanos(1000));
        let complete = answer.complete(&requested(3)).unwrap();
        assert_eq!((complete.end, complete.end_bound), (Nanos(20), Nanos(1000)));
        assert_eq!(answer.gaps(), [Nanos(0), Nanos(10)]);
        // The first token after an empty event is the last in its read.
        let (answer, _) = play(&[EMPTY, TOKEN, TOKEN, b"[DONE]"], &[(2, 10), (1, 1)]);
        assert_eq!(answer.first_token_bound, Nanos(1));
    }
}
