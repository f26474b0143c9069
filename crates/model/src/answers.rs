//! How the tokens of a level's answers were counted, and where lengths differ from the request.

use serde::{Deserialize, Serialize};

use crate::request::RequestRow;
use crate::units::{Nanos, Tokens};

/// A prompt counts as cut where the server read less than this share of it. Tokenizers and chat
/// templates differ by less.
const PROMPT_SHARE_MIN: f64 = 0.9;
/// A prompt counts as longer than requested above this share and this many tokens: a chat template
/// adds a few dozen.
const PROMPT_SHARE_MAX: f64 = 1.1;
const PROMPT_EXTRA_TOKENS: u32 = 64;
/// An answer of so many tokens came in one piece if each took less than this: no engine makes a
/// token in that time.
const PIECE_TOKENS: u32 = 8;
const PIECE_TIME: Nanos = Nanos::from_micros(20);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TokenCount {
    #[default]
    Usage,
    TokenIds,
    /// The answer ended by its limit (`finish_reason` is `length`), which is taken as its length.
    Asked,
    Tokenizer,
    /// The events of the stream; one may carry part of a token, or several.
    Events,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AnswerNote {
    pub counted: TokenCount,
    pub asked_prompt: Tokens,
    pub asked_output: Tokens,
    pub events: u32,
}

/// Requests whose number of tokens differs from the requested one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherLength {
    pub requests: u64,
    pub asked: u64,
    pub came: u64,
}

impl OtherLength {
    fn add(&mut self, asked: Tokens, came: Tokens) {
        self.requests += 1;
        self.asked += u64::from(asked.0);
        self.came += u64::from(came.0);
    }

    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.asked += other.asked;
        self.came += other.came;
    }
}

/// Of all completed requests of a level, those before and after its window included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerFacts {
    pub by_usage: u64,
    pub by_token_ids: u64,
    /// Answers that ended by their limit, which is taken as their length.
    pub by_limit: u64,
    pub by_tokenizer: u64,
    /// Answers of which only the events are known; their number stands for that of the tokens.
    pub by_events: u64,
    pub more_events: u64,
    /// Answers whose tokens came all at once: the engine or something before it held them back.
    #[serde(default)]
    pub in_one_piece: u64,
    pub ended_early: OtherLength,
    pub went_on: OtherLength,
    /// Prompts of which the server read much less than was sent.
    pub prompts_cut: OtherLength,
    /// Prompts of which the server read much more than was sent.
    pub prompts_longer: OtherLength,
}

impl AnswerFacts {
    pub fn add(&mut self, row: &RequestRow, note: &AnswerNote) {
        let tokens = row.output_tokens;
        *match note.counted {
            TokenCount::Usage => &mut self.by_usage,
            TokenCount::TokenIds => &mut self.by_token_ids,
            TokenCount::Asked => &mut self.by_limit,
            TokenCount::Tokenizer => &mut self.by_tokenizer,
            TokenCount::Events => &mut self.by_events,
        } += 1;
        if note.counted != TokenCount::Events {
            self.more_events += u64::from(note.events > tokens.0);
            if tokens < note.asked_output {
                self.ended_early.add(note.asked_output, tokens);
            } else if tokens > note.asked_output {
                self.went_on.add(note.asked_output, tokens);
            }
        }
        let took: u64 = row.chunk_gaps.iter().map(|gap| gap.0).sum();
        let is_piece = tokens.0 >= PIECE_TOKENS && took < PIECE_TIME.0 * u64::from(tokens.0);
        self.in_one_piece += u64::from(is_piece);
        let (asked, read) = (note.asked_prompt, row.prompt_tokens);
        let share = f64::from(read.0) / f64::from(asked.0.max(1));
        if share < PROMPT_SHARE_MIN {
            self.prompts_cut.add(asked, read);
        } else if share > PROMPT_SHARE_MAX && read.0 > asked.0 + PROMPT_EXTRA_TOKENS {
            self.prompts_longer.add(asked, read);
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.by_usage += other.by_usage;
        self.by_token_ids += other.by_token_ids;
        self.by_limit += other.by_limit;
        self.by_tokenizer += other.by_tokenizer;
        self.by_events += other.by_events;
        self.more_events += other.more_events;
        self.in_one_piece += other.in_one_piece;
        self.ended_early.merge(&other.ended_early);
        self.went_on.merge(&other.went_on);
        self.prompts_cut.merge(&other.prompts_cut);
        self.prompts_longer.merge(&other.prompts_longer);
    }

    pub const fn answers(&self) -> u64 {
        self.by_usage + self.by_token_ids + self.by_limit + self.by_tokenizer + self.by_events
    }

    /// Whether some token figures are counts of events.
    pub const fn counts_events(&self) -> bool {
        self.by_events > 0
    }
}
