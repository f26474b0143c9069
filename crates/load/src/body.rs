//! Request bodies as bytes, ready before they are due.
//!
//! Turns repeat their session's history, and sessions common prefixes. So a body is a list of
//! parts, and each piece of content is encoded once and shared. The kernel gathers the parts.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use weir_model::{ContentId, Nanos, Piece, Prompt, Tokens};
use weir_workload::client::{Answers, Api};
use weir_workload::{Session, Turn};

use crate::config::{LimitField, LoadConfig, PromptForm};
use crate::error::LoadError;
use crate::text::TextError;

/// In bytes. A prefix of 10,000 tokens takes 60 KB, so this holds five hundred.
const PIECES_BYTES_MAX: usize = 8 << 20;
/// Shorter pieces are encoded anew: that costs less than keeping the many that no other prompt has.
const PIECE_TOKENS_MIN: u32 = 128;

/// Bytes of token ids have a comma before each id.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Bytes(Arc<[u8]>),
    /// Without the first comma: the first token ids of a prompt.
    Headless(Arc<[u8]>),
    /// Token ids of an earlier turn's answer, known only once it arrived.
    Answer {
        turn: u32,
        piece: Piece,
        first: bool,
    },
}

impl Part {
    /// Empty for an answer that has not arrived.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Headless(bytes) => bytes.get(1..).unwrap_or_default(),
            Self::Answer { .. } => &[],
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    pub(crate) parts: Vec<Part>,
}

impl Body {
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.bytes().len()).sum()
    }

    /// Inserts the server's own answers. Fails with the turn whose answer is missing. A piece that
    /// quotes the whole planned answer gets the whole real one.
    pub(crate) fn fill(
        &mut self,
        answers: &[Option<Vec<u32>>],
        planned: impl Fn(u32) -> Tokens,
    ) -> Result<(), u32> {
        for part in &mut self.parts {
            let Part::Answer { turn, piece, first } = *part else { continue };
            let Some(ids) = answers.get(turn as usize).and_then(Option::as_ref) else {
                return Err(turn);
            };
            let whole = piece.start == 0 && piece.len >= planned(turn).get();
            let end = if whole { ids.len() } else { (piece.start + piece.len) as usize };
            let ids = &ids[(piece.start as usize).min(ids.len())..end.min(ids.len())];
            let encoded: Arc<[u8]> = encode_ids(ids.iter().copied(), ids.len()).into();
            *part = if first { Part::Headless(encoded) } else { Part::Bytes(encoded) };
        }
        Ok(())
    }
}

/// Decimal, without `fmt`, which takes several times as long: a long prompt has a hundred thousand
/// numbers.
fn push_decimal(out: &mut Vec<u8>, mut number: u32) {
    let mut digits = [0u8; 10];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A comma before each id.
fn encode_ids(ids: impl Iterator<Item = u32>, count: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(count * 7);
    for id in ids {
        out.push(b',');
        push_decimal(&mut out, id);
    }
    out
}

/// Content that no workload uses, and an answer that nothing quotes.
const UNASKED: [ContentId; 2] = [ContentId(u64::MAX), ContentId(u64::MAX - 1)];

/// A request body in the form of a cell's, with these numbers of prompt and answer tokens. Not
/// measured.
pub fn unmeasured_body(
    config: &LoadConfig,
    prompt_tokens: u32,
    output_tokens: u32,
) -> Result<Vec<u8>, LoadError> {
    let turn = Turn {
        prompt: Prompt::new([Piece::new(UNASKED[0], prompt_tokens)]),
        output_tokens: Tokens(output_tokens),
        output: UNASKED[1],
        seen_tokens: Tokens::ZERO,
        after: Vec::new(),
        think: Nanos::ZERO,
    };
    let session = Session { id: 0, start: None, turns: vec![turn] };
    let mut canned = config.clone();
    canned.client.answers = Answers::Canned;
    let (bodies, _) = BodyMaker::new(&canned).bodies(&session).map_err(|(turn, error)| {
        LoadError::Prompt { session: 0, turn, cause: error.to_string() }
    })?;
    Ok(bodies.iter().flat_map(|body| &body.parts).flat_map(Part::bytes).copied().collect())
}

#[derive(Debug)]
pub(crate) struct BodyMaker {
    api: Api,
    prompts: PromptForm,
    answers: Answers,
    fixed: Map<String, Value>,
    /// Fields set by the caller, perhaps `max_tokens` or `min_tokens`.
    overridden: Vec<String>,
    min_tokens: bool,
    limit_field: LimitField,
    /// Answer length, if the caller's fields set it.
    limit: Option<u32>,
    pieces: HashMap<Piece, Arc<[u8]>>,
    pieces_bytes: usize,
    /// Shared parts count once.
    encoded_bytes: usize,
}

impl BodyMaker {
    pub(crate) fn new(config: &LoadConfig) -> Self {
        let mut fixed = Map::new();
        fixed.insert("model".to_owned(), config.model.clone().into());
        fixed.insert("stream".to_owned(), config.client.stream.into());
        if config.client.stream {
            fixed.insert("stream_options".to_owned(), json!({"include_usage": true}));
        }
        fixed.insert("temperature".to_owned(), json!(0));
        if config.client.ignore_eos {
            fixed.insert("ignore_eos".to_owned(), true.into());
        }
        if config.client.answers == Answers::Own {
            fixed.insert("return_token_ids".to_owned(), true.into());
        }
        for (field, value) in &config.client.body {
            if value.is_null() {
                fixed.remove(field);
            } else {
                fixed.insert(field.clone(), value.clone());
            }
        }
        Self {
            api: config.client.api,
            prompts: config.prompts.clone(),
            answers: config.client.answers,
            fixed,
            overridden: config.client.body.keys().cloned().collect(),
            min_tokens: config.min_tokens,
            limit_field: config.limit_field,
            limit: config.given_limit(),
            pieces: HashMap::new(),
            pieces_bytes: 0,
            encoded_bytes: 0,
        }
    }

    /// The bodies of all turns, and the bytes encoded for them. An error names the turn.
    pub(crate) fn bodies(
        &mut self,
        session: &Session,
    ) -> Result<(Vec<Body>, usize), (u32, TextError)> {
        let before = self.encoded_bytes;
        let mut bodies = Vec::with_capacity(session.turns.len());
        for (index, turn) in session.turns.iter().enumerate() {
            let body = self.body(session, turn).map_err(|error| (index as u32, error))?;
            bodies.push(body);
        }
        Ok((bodies, self.encoded_bytes - before))
    }

    fn body(&mut self, session: &Session, turn: &Turn) -> Result<Body, TextError> {
        let mut fields = self.fixed.clone();
        let tokens = self.limit.unwrap_or(turn.output_tokens.get()).max(1);
        let limit = self.limit.is_none().then(|| self.limit_field.name());
        let least = self.min_tokens.then_some("min_tokens");
        for field in limit.into_iter().chain(least) {
            if !self.overridden.iter().any(|given| given == field) {
                fields.insert(field.to_owned(), tokens.into());
            }
        }
        let mut start = Value::Object(fields).to_string().into_bytes();
        // The prompt is the last field; the brace comes after it.
        start.pop();
        let prompts = self.prompts.clone();
        match (&prompts, self.api) {
            (PromptForm::TokenIds { vocabulary }, _) => {
                start.extend_from_slice(b",\"prompt\":[");
                Ok(self.token_ids(start, session, turn, *vocabulary))
            }
            (PromptForm::Text(maker), Api::Completions) => {
                start.extend_from_slice(b",\"prompt\":");
                start.extend(Value::String(maker.text(&turn.prompt)?).to_string().into_bytes());
                start.push(b'}');
                Ok(self.single(start))
            }
            (PromptForm::Text(maker), Api::Chat) => {
                let mut messages = Vec::new();
                for (role, prompt) in messages_of(session, turn) {
                    messages.push(json!({"role": role, "content": maker.text(&prompt)?}));
                }
                start.extend_from_slice(b",\"messages\":");
                start.extend(Value::Array(messages).to_string().into_bytes());
                start.push(b'}');
                Ok(self.single(start))
            }
        }
    }

    fn single(&mut self, bytes: Vec<u8>) -> Body {
        self.encoded_bytes += bytes.len();
        Body { parts: vec![Part::Bytes(bytes.into())] }
    }

    fn token_ids(
        &mut self,
        start: Vec<u8>,
        session: &Session,
        turn: &Turn,
        vocabulary: u32,
    ) -> Body {
        let mut body = self.single(start);
        for (index, piece) in turn.prompt.pieces().iter().enumerate() {
            let first = index == 0;
            let quoted = match self.answers {
                Answers::Own => quoted_turn(session, piece),
                Answers::Canned => None,
            };
            body.parts.push(match quoted {
                Some(turn) => Part::Answer { turn, piece: *piece, first },
                None if first => Part::Headless(self.piece(*piece, vocabulary)),
                None => Part::Bytes(self.piece(*piece, vocabulary)),
            });
        }
        body.parts.push(Part::Bytes(Arc::from(b"]}".as_slice())));
        body
    }

    /// Shared with earlier prompts.
    fn piece(&mut self, piece: Piece, vocabulary: u32) -> Arc<[u8]> {
        if let Some(bytes) = self.pieces.get(&piece) {
            return bytes.clone();
        }
        let ids = Prompt::new([piece]);
        let bytes: Arc<[u8]> = encode_ids(ids.token_ids(vocabulary), piece.len as usize).into();
        self.encoded_bytes += bytes.len();
        if piece.len < PIECE_TOKENS_MIN {
            return bytes;
        }
        if self.pieces_bytes + bytes.len() > PIECES_BYTES_MAX {
            // Pieces in use are encoded once more, which is rare at this size.
            self.pieces.clear();
            self.pieces_bytes = 0;
        }
        self.pieces_bytes += bytes.len();
        self.pieces.insert(piece, bytes.clone());
        bytes
    }
}

fn quoted_turn(session: &Session, piece: &Piece) -> Option<u32> {
    let at = session.turns.iter().position(|turn| turn.output == piece.content)?;
    Some(at as u32)
}

/// A turn's prompt as messages: quoted answers are the assistant's, all else the user's.
fn messages_of(session: &Session, turn: &Turn) -> Vec<(&'static str, Prompt)> {
    let mut messages: Vec<(&'static str, Vec<Piece>)> = Vec::new();
    for piece in turn.prompt.pieces() {
        let role = if quoted_turn(session, piece).is_some() { "assistant" } else { "user" };
        match messages.last_mut() {
            Some((last, pieces)) if *last == role => pieces.push(*piece),
            _ => messages.push((role, vec![*piece])),
        }
    }
    messages.into_iter().map(|(role, pieces)| (role, Prompt::new(pieces))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 99, 100, 4096, 151_935, u32::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
        assert_eq!(encode_ids([1, 23].into_iter(), 2), b",1,23");
    }

    #[test]
    fn answers_are_put_where_they_are_quoted() {
        let answer = |turn, start, len, first| Part::Answer {
            turn,
            piece: Piece { content: ContentId(1), start, len },
            first,
        };
        let text = |body: &Body| -> String {
            let bytes = body.parts.iter().flat_map(|part| part.bytes().to_vec());
            String::from_utf8(bytes.collect()).unwrap()
        };
        let answers = [Some(vec![5, 6, 7]), None, Some(vec![9])];
        let planned = |_| Tokens(4);
        let mut body = Body { parts: vec![answer(0, 0, 4, true), answer(2, 0, 4, false)] };
        // A quote of the whole plan takes the whole real answer, shorter or not.
        assert_eq!(body.fill(&answers, planned), Ok(()));
        assert_eq!((text(&body), body.len()), ("5,6,7,9".to_owned(), 7));
        let mut part = Body { parts: vec![answer(0, 1, 2, true), answer(0, 2, 1, false)] };
        assert_eq!(part.fill(&answers, planned), Ok(()));
        assert_eq!(text(&part), "6,7,7");
        let mut beyond = Body { parts: vec![answer(0, 3, 1, true)] };
        assert_eq!(beyond.fill(&answers, planned), Ok(()));
        assert_eq!(text(&beyond), "");
        let mut missing = Body { parts: vec![answer(1, 0, 4, true)] };
        assert_eq!(missing.fill(&answers, planned), Err(1));
    }

    #[test]
    fn roles_follow_from_what_is_quoted() {
        let (ask, reply, more) = (ContentId(1), ContentId(2), ContentId(3));
        let turn = |pieces: &[Piece], output| Turn {
            prompt: Prompt::new(pieces.iter().copied()),
            output_tokens: Tokens(4),
            output,
            seen_tokens: Tokens::ZERO,
            after: Vec::new(),
            think: Nanos::ZERO,
        };
        let pieces = [Piece::new(ask, 3), Piece::new(more, 2), Piece::new(reply, 4)];
        let turns = vec![turn(&pieces[..1], reply), turn(&pieces, ContentId(9))];
        let session = Session { id: 0, start: None, turns };
        let messages = messages_of(&session, &session.turns[1]);
        let lengths: Vec<_> =
            messages.iter().map(|(role, prompt)| (*role, prompt.tokens().get())).collect();
        assert_eq!(lengths, [("user", 5), ("assistant", 4)]);
    }
}
