//! One response at a time, from bytes as they come: a head, then the body in slices of the input.
//!
//! Only a split head is held. Framing errors are errors even where browsers guess, because a cut or
//! mixed stream must not be measured as an answer.

mod chunked;
mod error;
mod head;

use std::sync::Arc;

use crate::quote::Quoted;
use crate::request::Method;

use chunked::ChunkDecoder;
pub use error::HttpError;
pub use head::{Framing, Head};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of the head, with status line and interim (1xx) responses; as many again for trailers.
    pub head_bytes: usize,
    /// At most [`Limits::MOST_HEADERS`].
    pub headers: usize,
}

impl Limits {
    /// Length of the parser's table.
    pub const MOST_HEADERS: usize = 128;
}

impl Default for Limits {
    /// 64 KiB and 128 lines, far more than gateways add.
    fn default() -> Self {
        Self { head_bytes: 64 * 1024, headers: Self::MOST_HEADERS }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Head,
    /// The head is known, the body incomplete.
    Body,
    Complete {
        /// Bytes of the last feed after the response. Unless 0, they are a server error, and the
        /// connection must not be reused.
        unread: usize,
    },
}

#[derive(Debug, Clone)]
enum Stage {
    Head,
    /// Remaining bytes.
    Length(u64),
    Chunked(ChunkDecoder),
    UntilClose,
    Complete,
    Failed(HttpError),
}

/// Responses of one connection, one after the other.
#[derive(Debug)]
pub struct ResponseParser {
    limits: Limits,
    method: Method,
    stage: Stage,
    /// From earlier feeds.
    partial: Vec<u8>,
    /// Remaining bytes for heads, interim ones included.
    budget: usize,
    noting: Option<Arc<str>>,
    head: Option<Head>,
    body_bytes: u64,
}

impl ResponseParser {
    /// For a response to GET or POST.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            method: Method::Get,
            stage: Stage::Head,
            partial: Vec::new(),
            budget: limits.head_bytes,
            noting: None,
            head: None,
            body_bytes: 0,
        }
    }

    /// Heads have the value of this header too.
    #[must_use]
    pub fn noting(self, header: Arc<str>) -> Self {
        Self { noting: Some(header), ..self }
    }

    /// For a response to GET or POST.
    pub fn reset(&mut self) {
        self.reset_for(Method::Get);
    }

    /// A response to HEAD has no body.
    pub fn reset_for(&mut self, method: Method) {
        self.method = method;
        self.stage = Stage::Head;
        self.partial.clear();
        self.budget = self.limits.head_bytes;
        self.head = None;
        self.body_bytes = 0;
    }

    /// Once complete. Interim (1xx) responses are skipped.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// `body` gets the body's bytes in order, as slices of `bytes` that are never empty. After an
    /// error every feed gives the same error until a reset.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        body: &mut impl FnMut(&[u8]),
    ) -> Result<Progress, HttpError> {
        let progress = self.advance(bytes, body);
        if let Err(error) = &progress {
            self.stage = Stage::Failed(error.clone());
        }
        progress
    }

    /// The peer closed its side. Complete if the response was, or if the close ends it.
    pub fn end_of_input(&mut self) -> Result<Progress, HttpError> {
        let got = self.body_bytes;
        let error = match &self.stage {
            Stage::Complete => return Ok(Progress::Complete { unread: 0 }),
            Stage::UntilClose => {
                self.stage = Stage::Complete;
                return Ok(Progress::Complete { unread: 0 });
            }
            Stage::Failed(error) => error.clone(),
            Stage::Head if self.partial.is_empty() && self.budget == self.limits.head_bytes => {
                HttpError::NoResponse
            }
            Stage::Head => HttpError::HeadCutOff { seen: Quoted::new(&self.partial) },
            Stage::Length(left) => HttpError::BodyCutOff { got, expected: got + left },
            Stage::Chunked(_) => HttpError::ChunksCutOff { got },
        };
        self.stage = Stage::Failed(error.clone());
        Err(error)
    }

    fn advance(
        &mut self,
        bytes: &[u8],
        body: &mut impl FnMut(&[u8]),
    ) -> Result<Progress, HttpError> {
        let mut rest = bytes;
        loop {
            match &mut self.stage {
                Stage::Head => {
                    if !self.read_head(&mut rest)? {
                        return Ok(Progress::Head);
                    }
                }
                Stage::Length(left) => {
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    if taken > 0 {
                        body(&rest[..taken]);
                    }
                    rest = &rest[taken..];
                    *left -= taken as u64;
                    self.body_bytes += taken as u64;
                    if *left > 0 {
                        return Ok(Progress::Body);
                    }
                    self.stage = Stage::Complete;
                }
                Stage::Chunked(decoder) => {
                    let mut handed = 0;
                    let decoded = decoder.decode(rest, &mut |span: &[u8]| {
                        handed += span.len() as u64;
                        body(span);
                    });
                    self.body_bytes += handed;
                    let Some(used) = decoded? else { return Ok(Progress::Body) };
                    rest = &rest[used..];
                    self.stage = Stage::Complete;
                }
                Stage::UntilClose => {
                    if !rest.is_empty() {
                        body(rest);
                    }
                    self.body_bytes += rest.len() as u64;
                    return Ok(Progress::Body);
                }
                Stage::Complete => return Ok(Progress::Complete { unread: rest.len() }),
                Stage::Failed(error) => return Err(error.clone()),
            }
        }
    }

    /// Consumes a head from the front of `rest`. True when the final (not interim) head is
    /// complete.
    fn read_head(&mut self, rest: &mut &[u8]) -> Result<bool, HttpError> {
        loop {
            if rest.is_empty() {
                return Ok(false);
            }
            let held = self.partial.len();
            // Within the budget, so that input without line ends does not grow the buffer.
            let visible = &rest[..rest.len().min(self.budget - held)];
            let found = if held == 0 {
                head::check_start(visible)?;
                head::end(visible, 0)
            } else {
                self.partial.extend_from_slice(visible);
                head::check_start(&self.partial)?;
                head::end(&self.partial, held.saturating_sub(2))
            };
            let Some(end) = found else {
                if held + visible.len() >= self.budget {
                    return Err(HttpError::HeadTooLarge { limit: self.limits.head_bytes });
                }
                if held == 0 {
                    self.partial.extend_from_slice(visible);
                }
                return Ok(false);
            };
            let bytes = if held == 0 { &rest[..end] } else { &self.partial[..end] };
            let head = Head::read(bytes, self.method, self.limits.headers, self.noting.as_deref())?;
            *rest = &rest[end - held..];
            self.partial.clear();
            self.budget -= end;
            if let Some(head) = head {
                self.stage = match head.framing {
                    Framing::None => Stage::Complete,
                    Framing::Length(length) => Stage::Length(length),
                    Framing::Chunked => Stage::Chunked(ChunkDecoder::new(self.limits.head_bytes)),
                    Framing::UntilClose => Stage::UntilClose,
                };
                self.head = Some(head);
                return Ok(true);
            }
            if self.budget == 0 {
                return Err(HttpError::HeadTooLarge { limit: self.limits.head_bytes });
            }
        }
    }
}
