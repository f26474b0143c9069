//! The answer to one request, as its events come: when, how many, and what they meant.
//!
//! Per event there is one gap and one copy of its data into a ring of the last three; nothing is
//! allocated and no JSON is read between the first output and the end. What the last events were
//! (output, the end, usage, an error) is read once the answer is complete, and gaps that belonged
//! to no output are taken back.

pub(crate) mod chunk;

use weir_model::{Nanos, Tokens};

use crate::failure::{Failure, quote};
use crate::spread::SpreadTally;
use chunk::{Chunk, Output, Usage};

/// Events whose data is kept until later ones come: the last output, the end and the usage.
const TAIL: usize = 3;

/// When the bytes of one read arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighting {
    /// Arrival of the last of them.
    pub(crate) at: Nanos,
    /// How far `at` can be off for what ended with the last byte; none where the arrival of the
    /// last byte itself is not known.
    pub(crate) last_byte_bound: Option<Nanos>,
}

#[derive(Debug, Default)]
struct Kept {
    data: Vec<u8>,
    at: Nanos,
    bound: Option<Nanos>,
}

/// What was asked, as far as the answer must agree with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// Tokens of the prompt.
    pub(crate) prompt_tokens: Tokens,
    /// Most tokens of the answer.
    pub(crate) output_tokens: Tokens,
    /// The answer must have exactly as many.
    pub(crate) exactly: bool,
    /// The answer must have token ids.
    pub(crate) token_ids: bool,
    /// What the ways through the kernels add to each time at most.
    pub(crate) kernel_path: Nanos,
}

/// A complete answer.
#[derive(Debug, Default)]
pub(crate) struct Complete {
    pub(crate) end: Nanos,
    pub(crate) end_bound: Nanos,
    pub(crate) prompt_tokens: Tokens,
    pub(crate) output_tokens: Tokens,
    pub(crate) cached_tokens: Tokens,
    pub(crate) token_ids: Option<Vec<u32>>,
    pub(crate) digest: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Every event is kept.
    keep: bool,
    kept: Vec<u8>,
    kept_ends: Vec<usize>,
    pub(crate) first_byte: Option<Nanos>,
    pub(crate) first_token: Option<Nanos>,
    pub(crate) first_token_bound: Nanos,
    /// The first event that may have been a token without text.
    first_choice: Option<Nanos>,
    /// From event to event, behind the first output.
    gaps: Vec<Nanos>,
    tail: [Kept; TAIL],
    /// Events, `[DONE]` left out.
    pub(crate) events: u32,
    /// Reads that brought events.
    pub(crate) reads: u32,
    usage: Option<Usage>,
    done: bool,
    /// Arrival of the last event, and of the read that is being taken in.
    last_at: Nanos,
    read_at: Nanos,
    events_in_read: u32,
    /// Place of the first output among the events of this read, from 1; 0 if it is not in it.
    first_token_in_read: u32,
    /// Gaps of this read that left the tail before its bound was known.
    unbounded_gaps: u32,
    /// Bound of the event that left the tail last.
    left_bound: Nanos,
}

impl Answer {
    /// Makes ready for the next request, keeping what was allocated.
    pub(crate) fn reset(&mut self, keep: bool) {
        let mut kept = std::mem::take(&mut self.kept);
        let mut kept_ends = std::mem::take(&mut self.kept_ends);
        let mut gaps = std::mem::take(&mut self.gaps);
        // Old data in the tail is overwritten before it is read.
        let tail = std::mem::take(&mut self.tail);
        kept.clear();
        kept_ends.clear();
        gaps.clear();
        *self = Self { keep, kept, kept_ends, gaps, tail, ..Self::default() };
    }

    /// A read brought bytes of the body.
    pub(crate) fn begin_read(&mut self, at: Nanos) {
        self.first_byte.get_or_insert(at);
        // Conversions of two stamps can differ by more than the time between them.
        self.read_at = at.max(self.last_at);
        self.events_in_read = 0;
        self.first_token_in_read = 0;
        self.unbounded_gaps = 0;
    }

    /// Takes the data of one event.
    pub(crate) fn event(&mut self, data: &[u8], gaps: &mut SpreadTally) -> Result<(), Failure> {
        self.events_in_read += 1;
        if self.done {
            let what = if data == b"[DONE]" { "a second [DONE]" } else { "an event after [DONE]" };
            return Err(Failure::Malformed(what.to_owned()));
        }
        if data == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        if data.first() != Some(&b'{') || data.last() != Some(&b'}') {
            let seen = quote(data);
            return Err(Failure::Malformed(format!(
                "event {} is no JSON object: {seen}",
                self.events
            )));
        }
        if self.first_token.is_none() {
            self.leading(data)?;
        } else {
            self.gaps.push(self.read_at - self.last_at);
        }
        self.last_at = self.read_at;
        self.keep_tail(data, gaps);
        if self.keep {
            self.kept.extend_from_slice(data);
            self.kept_ends.push(self.kept.len());
        }
        self.events += 1;
        Ok(())
    }

    /// Until output came, every event is read.
    fn leading(&mut self, data: &[u8]) -> Result<(), Failure> {
        let chunk = self.chunk(data, self.events)?;
        if chunk.has_output {
            self.first_token = Some(self.read_at);
            self.first_token_in_read = self.events_in_read;
        } else if chunk.has_choice {
            self.first_choice.get_or_insert(self.read_at);
        }
        Ok(())
    }

    /// Reads an event, and takes its usage and its error.
    fn chunk(&mut self, data: &[u8], index: u32) -> Result<Chunk, Failure> {
        let chunk = Chunk::read(data).map_err(|error| {
            Failure::Malformed(format!("event {index}: {error}: {}", quote(data)))
        })?;
        if let Some((code, message)) = chunk.error {
            return Err(Failure::Status(code, format!("in the stream: {message}")));
        }
        self.usage = chunk.usage.or(self.usage);
        Ok(chunk)
    }

    fn keep_tail(&mut self, data: &[u8], gaps: &mut SpreadTally) {
        let place = &mut self.tail[self.events as usize % TAIL];
        // What leaves the tail is output for sure, and it has a gap if the first output came
        // before it.
        let has_gap = self.gaps.len() > TAIL;
        if self.events as usize >= TAIL {
            match place.bound {
                Some(bound) => {
                    if has_gap {
                        gaps.record(bound.max(self.left_bound));
                    }
                    self.left_bound = bound;
                }
                None => self.unbounded_gaps += u32::from(has_gap),
            }
        }
        place.data.clear();
        place.data.extend_from_slice(data);
        place.at = self.read_at;
        place.bound = None;
    }

    /// The read is taken in. `at_end`: nothing of a further event stood behind the last one.
    /// `several` gives the bound for events that are not last in their read; asked only if needed.
    pub(crate) fn end_read(
        &mut self,
        sighting: &Sighting,
        at_end: bool,
        several: impl FnOnce() -> Nanos,
        gaps: &mut SpreadTally,
    ) {
        if self.events_in_read == 0 {
            return;
        }
        self.reads += 1;
        let last = sighting.last_byte_bound.filter(|_| at_end);
        let alone = self.events_in_read == 1;
        let bound = match last {
            Some(bound) if alone => bound,
            _ => several(),
        };
        let last = last.unwrap_or(bound);
        if self.first_token_in_read > 0 {
            let is_last = self.first_token_in_read == self.events_in_read;
            self.first_token_bound = if is_last { last } else { bound };
        }
        let here = self.events_in_read - u32::from(self.done);
        let in_tail = (here as usize).min(TAIL).min(self.events as usize);
        for back in 1..=in_tail {
            let kept = &mut self.tail[(self.events as usize - back) % TAIL];
            kept.bound = Some(if back == 1 && !self.done { last } else { bound });
        }
        if self.unbounded_gaps > 0 {
            gaps.record_many(bound.max(self.left_bound), u64::from(self.unbounded_gaps));
            self.left_bound = bound;
        }
    }

    /// Output events so far.
    pub(crate) fn output_events(&self) -> u32 {
        if self.first_token.is_some() { 1 + self.gaps.len() as u32 } else { 0 }
    }

    /// Gaps between the output events so far, in a vector of exactly their number.
    pub(crate) fn gaps(&self) -> Vec<Nanos> {
        self.gaps.as_slice().to_vec()
    }

    /// Arrival of the last event so far.
    pub(crate) fn last_at(&self) -> Option<Nanos> {
        (self.events > 0).then_some(self.last_at)
    }

    /// The stream is complete: reads its last events and holds it against what was asked.
    pub(crate) fn complete(
        &mut self,
        asked: &Asked,
        gaps: &mut SpreadTally,
    ) -> Result<Complete, Failure> {
        if !self.done {
            let events = self.events;
            return Err(Failure::Truncated(format!("it ended after {events} events, no [DONE]")));
        }
        let (end, end_bound) = self.drop_trailing(gaps)?;
        let mut complete = Complete { end, end_bound, ..self.counts(asked)? };
        if complete.output_tokens > Tokens::ZERO && self.first_token.is_none() {
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
            self.take_output(asked, output, &mut complete)?;
        }
        Ok(complete)
    }

    /// Takes back the gaps of trailing events without output; time and bound of the last output.
    fn drop_trailing(&mut self, gaps: &mut SpreadTally) -> Result<(Nanos, Nanos), Failure> {
        let in_tail = (self.events as usize).min(TAIL);
        let mut trailing = None;
        for back in 1..=in_tail {
            let index = self.events as usize - back;
            let data = std::mem::take(&mut self.tail[index % TAIL].data);
            let chunk = self.chunk(&data, index as u32)?;
            self.tail[index % TAIL].data = data;
            if chunk.has_output && trailing.is_none() {
                trailing = Some(back - 1);
            }
        }
        let dropped = trailing.unwrap_or(in_tail).min(self.gaps.len());
        self.gaps.truncate(self.gaps.len() - dropped);
        // Oldest first, as they would have left the tail.
        for back in ((dropped + 1)..=in_tail).rev() {
            let bound = self.tail[(self.events as usize - back) % TAIL].bound.unwrap_or_default();
            if self.gaps.len() + dropped >= back {
                gaps.record(bound.max(self.left_bound));
            }
            self.left_bound = bound;
        }
        let Some(first) = self.first_token else {
            return Ok((self.last_at, self.left_bound));
        };
        Ok((first + self.gaps.iter().copied().sum(), self.left_bound))
    }

    /// Token counts by usage, held against the events and what was asked.
    fn counts(&self, asked: &Asked) -> Result<Complete, Failure> {
        let events = self.output_events();
        let wanted = asked.output_tokens.get();
        let output = self.usage.map_or(events, |usage| usage.completion_tokens);
        if events > output {
            return Err(Failure::Tokens(format!(
                "{events} events brought output, but usage counts {output} tokens"
            )));
        }
        if output > wanted || (asked.exactly && self.usage.is_some() && output != wanted) {
            let ended_early = "; the server ended the answer early: `--allow-eos`, or \
                               `client.ignore_eos: false`, takes answers as they end";
            let remedy = if output < wanted { ended_early } else { "" };
            return Err(Failure::Tokens(format!(
                "{output} tokens came, {wanted} were asked{remedy}"
            )));
        }
        Ok(Complete {
            prompt_tokens: self
                .usage
                .map(|usage| Tokens(usage.prompt_tokens))
                .filter(|tokens| *tokens > Tokens::ZERO)
                .unwrap_or(asked.prompt_tokens),
            output_tokens: Tokens(output),
            cached_tokens: Tokens(self.usage.map_or(0, |usage| usage.cached_tokens())),
            ..Complete::default()
        })
    }

    /// An answer that came as one body: its first byte stands for the first token.
    pub(crate) fn complete_whole(
        &mut self,
        body: &[u8],
        asked: &Asked,
        at: &Sighting,
        earliest: Nanos,
    ) -> Result<Complete, Failure> {
        let malformed =
            |error: String| Failure::Malformed(format!("the body: {error}: {}", quote(body)));
        let chunk = Chunk::read(body).map_err(malformed)?;
        if let Some((code, message)) = chunk.error {
            return Err(Failure::Status(code, message));
        }
        self.usage = chunk.usage;
        if self.usage.is_none() {
            return Err(Failure::Tokens("the body has no usage".to_owned()));
        }
        let end_bound = at.last_byte_bound.unwrap_or(at.at.saturating_sub(earliest));
        let mut complete = Complete { end: at.at, end_bound, ..self.counts(asked)? };
        if complete.output_tokens > Tokens::ZERO {
            self.first_token = self.first_byte;
            self.first_token_bound = self.first_token_bound.max(end_bound);
        }
        if self.keep {
            let output = Output::read([body].into_iter()).map_err(Failure::Malformed)?;
            self.take_output(asked, output, &mut complete)?;
        }
        Ok(complete)
    }

    fn take_output(
        &self,
        asked: &Asked,
        output: Output,
        complete: &mut Complete,
    ) -> Result<(), Failure> {
        complete.digest = Some(output.digest);
        if !asked.token_ids {
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
        if self.usage.is_some() && ids.len() != counted as usize {
            let sent = ids.len();
            return Err(Failure::Tokens(format!("{sent} token ids, but usage counts {counted}")));
        }
        complete.output_tokens = Tokens(ids.len() as u32);
        complete.token_ids = Some(ids);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &[u8] = br#"{"choices":[{"text":"x"}]}"#;
    const EMPTY: &[u8] = br#"{"choices":[{"text":""}]}"#;

    fn asked(tokens: u32) -> Asked {
        Asked {
            prompt_tokens: Tokens(8),
            output_tokens: Tokens(tokens),
            exactly: true,
            token_ids: false,
            kernel_path: Nanos::ZERO,
        }
    }

    /// Feeds events read by read: `(events in the read, time between reads)`. Events alone in their
    /// read are exact to 1 ns, those in company to 1000.
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
                answer.event(event, &mut gaps).unwrap();
            }
            let sighting = Sighting { at, last_byte_bound: Some(Nanos(1)) };
            answer.end_read(&sighting, true, || Nanos(1000), &mut gaps);
        }
        (answer, gaps)
    }

    proptest! {
        /// However a stream is cut into reads, it has the same gaps in number and in sum, and each
        /// of them has one bound.
        #[test]
        fn every_gap_has_a_bound(
            lead in 0usize..6,
            tokens in 1usize..40,
            trail in 0usize..6,
            reads in proptest::collection::vec((0usize..9, 1u64..100), 0..60),
        ) {
            let mut events = vec![EMPTY; lead];
            events.extend(vec![TOKEN; tokens]);
            events.extend(vec![EMPTY; trail]);
            events.push(b"[DONE]");
            let (mut answer, mut gaps) = play(&events, &reads);
            let complete = answer.complete(&asked(tokens as u32 + 9), &mut gaps);
            // More than three trailing events without output are taken for output.
            let taken = tokens + trail.saturating_sub(if trail > TAIL { TAIL } else { trail });
            let complete = complete.unwrap();
            prop_assert_eq!(complete.output_tokens.get() as usize, taken);
            let list = answer.gaps();
            prop_assert_eq!(list.len(), taken - 1);
            prop_assert_eq!(gaps.spread().count as usize, taken - 1);
            let sum: Nanos = list.iter().copied().sum();
            prop_assert_eq!(answer.first_token.unwrap() + sum, complete.end);
        }
    }

    #[test]
    fn bounds_tell_events_alone_from_those_in_company() {
        let stream = [TOKEN, TOKEN, TOKEN, b"[DONE]"];
        let (mut answer, mut gaps) = play(&stream, &[(1, 10), (1, 10), (1, 10), (1, 1)]);
        assert_eq!(answer.first_token_bound, Nanos(1));
        let complete = answer.complete(&asked(3), &mut gaps).unwrap();
        assert_eq!((complete.end, complete.end_bound), (Nanos(30), Nanos(1)));
        assert_eq!(gaps.spread().max, Nanos(1));
        // The last of two in one read is exact; what stands before it is not.
        let (mut answer, mut gaps) = play(&stream, &[(2, 10), (2, 10)]);
        assert_eq!(answer.first_token_bound, Nanos(1000));
        let complete = answer.complete(&asked(3), &mut gaps).unwrap();
        assert_eq!((complete.end, complete.end_bound), (Nanos(20), Nanos(1000)));
        assert_eq!(answer.gaps(), [Nanos(0), Nanos(10)]);
        // The first token behind an empty event is the last in its read.
        let (answer, _) = play(&[EMPTY, TOKEN, TOKEN, b"[DONE]"], &[(2, 10), (1, 1)]);
        assert_eq!(answer.first_token_bound, Nanos(1));
    }
}
