//! Decodes replies of RESP2 and RESP3 into events, without any I/O.
//!
//! A reply may be cut anywhere between two feeds. Cut lines are kept, up to a limit. Bodies are
//! never kept: they are returned in parts as they arrive, or bypass the decoder from the socket to
//! their block ([`Decoder::body_left`], [`Decoder::body_taken`]).
//!
//! Attributes and push messages of RESP3 are not replies and are skipped.

use memchr::memchr;

/// Deepest nesting of replies: `CLUSTER SHARDS` has six levels.
pub const DEPTH_MAX: usize = 12;
/// Longest line: errors and simple strings. Those of Redis are below 1 KiB.
pub const LINE_BYTES_MAX: usize = 8 << 10;
/// Longest body: `proto-max-bulk-len` of Redis is 512 MiB by default.
pub const BODY_BYTES_MAX: u64 = 512 << 20;
/// Most elements of one aggregate; `SCAN` returns about its `COUNT`.
pub const ELEMENTS_MAX: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("a reply begins with byte 0x{0:02x}")]
    Kind(u8),
    #[error("a line is longer than {LINE_BYTES_MAX} bytes")]
    LongLine,
    #[error("a line ends without CR LF")]
    LineEnd,
    #[error("a body is longer than its length says")]
    BodyEnd,
    #[error("a number is expected, not {0:?}")]
    Number(String),
    #[error("a length of {0} is above the limit")]
    TooLong(u64),
    #[error("more than {DEPTH_MAX} levels of nesting")]
    TooDeep,
    #[error("a reply of another kind than the command has: {0}")]
    Unexpected(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    Array,
    /// Keys and values alternate.
    Map,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyEvent<'a> {
    /// A status such as `OK`.
    Simple(&'a [u8]),
    Error(&'a [u8]),
    Integer(i64),
    Null,
    Boolean(bool),
    /// A floating-point or big number, as its text.
    Number(&'a [u8]),
    Body {
        length: u64,
        is_error: bool,
    },
    Part(&'a [u8]),
    End,
    /// Elements follow (of a map: keys and values counted).
    Aggregate {
        kind: Aggregate,
        elements: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between elements, or inside a kept line.
    Line,
    Body(u64),
    /// After a body: missing bytes of CR LF.
    Ending(u8),
}

enum Line<'a> {
    Fed(&'a [u8]),
    Kept,
}

#[derive(Debug)]
pub struct Decoder {
    state: State,
    line: Vec<u8>,
    line_is_stale: bool,
    /// Missing elements per level.
    open: [u64; DEPTH_MAX],
    depth: usize,
    /// One bit per level that is not part of a reply.
    asides: u16,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    pub const fn new() -> Self {
        Self {
            state: State::Line,
            line: Vec::new(),
            line_is_stale: false,
            open: [0; DEPTH_MAX],
            depth: 0,
            asides: 0,
        }
    }

    pub fn is_between_replies(&self) -> bool {
        self.state == State::Line && self.depth == 0 && (self.line.is_empty() || self.line_is_stale)
    }

    /// Missing bytes of the current body; 0 outside of bodies, and in skipped elements.
    pub fn body_left(&self) -> u64 {
        match self.state {
            State::Body(left) if self.asides == 0 => left,
            _ => 0,
        }
    }

    /// Counts bytes that bypassed the decoder. At most [`body_left`](Self::body_left).
    pub fn body_taken(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.body_left());
        if let State::Body(left) = &mut self.state {
            *left = left.saturating_sub(bytes);
        }
    }

    /// The next event in `input`, which is shortened by it; None when all is used up. After an
    /// error the connection is unusable.
    pub fn next<'d, 'i: 'd>(
        &'d mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<ReplyEvent<'d>>, ProtocolError> {
        loop {
            match self.state {
                State::Body(0) => self.state = State::Ending(2),
                State::Body(left) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let (part, rest) = input.split_at(length);
                    *input = rest;
                    self.state = State::Body(left - length as u64);
                    if self.asides == 0 {
                        return Ok(Some(ReplyEvent::Part(part)));
                    }
                }
                State::Ending(missing) => {
                    let Some((first, rest)) = input.split_first() else { return Ok(None) };
                    *input = rest;
                    match (missing, first) {
                        (2, b'\r') => self.state = State::Ending(1),
                        (1, b'\n') => {
                            self.state = State::Line;
                            let told = self.asides == 0;
                            self.element_is_over();
                            if told {
                                return Ok(Some(ReplyEvent::End));
                            }
                        }
                        _ => return Err(ProtocolError::BodyEnd),
                    }
                }
                State::Line => {
                    let Some(line) = self.take_line(input)? else { return Ok(None) };
                    let told = self.asides == 0;
                    let head = match &line {
                        Line::Fed(text) => Head::of(text)?,
                        Line::Kept => Head::of(&self.line)?,
                    };
                    self.enter(head)?;
                    // Skipped elements give no event, nor does their end.
                    if told && self.asides == 0 && head != Head::Aside(0) {
                        let text = match line {
                            Line::Fed(text) => &text[1..],
                            Line::Kept => &self.line[1..],
                        };
                        return Ok(Some(head.event(text)));
                    }
                }
            }
        }
    }

    /// A whole line without its end; None after keeping an incomplete one.
    fn take_line<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Line<'a>>, ProtocolError> {
        if self.line_is_stale {
            self.line.clear();
            self.line_is_stale = false;
        }
        let limit = LINE_BYTES_MAX - self.line.len();
        let Some(end) = memchr(b'\n', &input[..input.len().min(limit + 1)]) else {
            if input.len() > limit {
                return Err(ProtocolError::LongLine);
            }
            self.line.extend_from_slice(input);
            *input = &[];
            return Ok(None);
        };
        let (text, rest) = (&input[..end], &input[end + 1..]);
        *input = rest;
        if self.line.is_empty() {
            let text = text.strip_suffix(b"\r").ok_or(ProtocolError::LineEnd)?;
            return Ok(Some(Line::Fed(text)));
        }
        self.line.extend_from_slice(text);
        self.line_is_stale = true;
        if self.line.pop() == Some(b'\r') {
            Ok(Some(Line::Kept))
        } else {
            Err(ProtocolError::LineEnd)
        }
    }

    fn enter(&mut self, head: Head) -> Result<(), ProtocolError> {
        match head {
            Head::Body { length, .. } => self.state = State::Body(length),
            Head::Aggregate(_, 0) => self.element_is_over(),
            Head::Aggregate(_, elements) => self.descend(elements)?,
            Head::Aside(0) => {}
            Head::Aside(elements) => {
                self.descend(elements)?;
                self.asides |= 1 << (self.depth - 1);
            }
            _ => self.element_is_over(),
        }
        Ok(())
    }

    fn descend(&mut self, elements: u64) -> Result<(), ProtocolError> {
        let level = self.open.get_mut(self.depth).ok_or(ProtocolError::TooDeep)?;
        *level = elements;
        self.depth += 1;
        Ok(())
    }

    /// Ends an element, and the aggregates that it completes.
    fn element_is_over(&mut self) {
        while self.depth > 0 {
            let level = &mut self.open[self.depth - 1];
            *level -= 1;
            if *level > 0 {
                return;
            }
            self.depth -= 1;
            if self.asides & (1 << self.depth) != 0 {
                // An attribute precedes an element and is not counted.
                self.asides &= !(1 << self.depth);
                return;
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Simple,
    Error,
    Integer(i64),
    Null,
    Boolean(bool),
    Number,
    Body { length: u64, is_error: bool },
    Aggregate(Aggregate, u64),
    Aside(u64),
}

impl Head {
    fn of(line: &[u8]) -> Result<Self, ProtocolError> {
        let Some((kind, text)) = line.split_first() else {
            return Err(ProtocolError::Kind(b'\r'));
        };
        Ok(match kind {
            b'+' => Self::Simple,
            b'-' => Self::Error,
            b':' => Self::Integer(number(text)?),
            b'_' if text.is_empty() => Self::Null,
            b'#' if matches!(text, b"t" | b"f") => Self::Boolean(text == b"t"),
            b',' | b'(' => Self::Number,
            b'$' | b'*' if text == b"-1" => Self::Null,
            b'$' | b'=' => Self::Body { length: length(text, BODY_BYTES_MAX)?, is_error: false },
            b'!' => Self::Body { length: length(text, BODY_BYTES_MAX)?, is_error: true },
            b'*' => Self::Aggregate(Aggregate::Array, length(text, ELEMENTS_MAX)?),
            b'~' => Self::Aggregate(Aggregate::Set, length(text, ELEMENTS_MAX)?),
            b'%' => Self::Aggregate(Aggregate::Map, 2 * length(text, ELEMENTS_MAX)?),
            b'>' => Self::Aside(length(text, ELEMENTS_MAX)?),
            b'|' => Self::Aside(2 * length(text, ELEMENTS_MAX)?),
            b'_' | b'#' => return Err(not_a_number(text)),
            other => return Err(ProtocolError::Kind(*other)),
        })
    }

    fn event(self, text: &[u8]) -> ReplyEvent<'_> {
        match self {
            Self::Simple => ReplyEvent::Simple(text),
            Self::Error => ReplyEvent::Error(text),
            Self::Integer(value) => ReplyEvent::Integer(value),
            Self::Boolean(value) => ReplyEvent::Boolean(value),
            Self::Number => ReplyEvent::Number(text),
            Self::Body { length, is_error } => ReplyEvent::Body { length, is_error },
            Self::Aggregate(kind, elements) => ReplyEvent::Aggregate { kind, elements },
            Self::Null | Self::Aside(_) => ReplyEvent::Null,
        }
    }
}

fn not_a_number(text: &[u8]) -> ProtocolError {
    ProtocolError::Number(String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned())
}

fn number(text: &[u8]) -> Result<i64, ProtocolError> {
    let digits = std::str::from_utf8(text).ok();
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| not_a_number(text))
}

fn length(text: &[u8], limit: u64) -> Result<u64, ProtocolError> {
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return Err(not_a_number(text));
    }
    let value = text.iter().fold(0, |sum: u64, digit| sum * 10 + u64::from(digit - b'0'));
    if value > limit { Err(ProtocolError::TooLong(value)) } else { Ok(value) }
}
