//! The chunked transfer coding (RFC 9112, section 7.1), split anywhere. Strict about line ends,
//! because a lenient reader can disagree with a proxy about the end of a chunk.

use super::HttpError;
use crate::quote::Quoted;

/// Of one chunk's size line, extensions included, which no server in this field sends.
const SIZE_LINE_BYTES: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    /// Between size and line end.
    Extension,
    /// After the CR of the size line.
    SizeLf,
    Data,
    /// After the last data byte.
    DataCr,
    DataLf,
    /// At the start of a trailer line or of the final empty line.
    TrailerStart,
    TrailerName,
    TrailerValue,
    /// After the CR of the last line.
    EndLf,
}

#[derive(Debug, Clone)]
pub(super) struct ChunkDecoder {
    state: State,
    /// The size as far as read, then the remaining data bytes.
    left: u64,
    /// Bytes of the size line.
    line: usize,
    /// Remaining bytes for trailers.
    trailer_budget: usize,
}

impl ChunkDecoder {
    pub(super) fn new(trailer_bytes: usize) -> Self {
        Self { state: State::Size, left: 0, line: 0, trailer_budget: trailer_bytes }
    }

    /// `body` gets the data. Returns the bytes of the coding if it ends in `bytes`.
    pub(super) fn decode(
        &mut self,
        bytes: &[u8],
        body: &mut impl FnMut(&[u8]),
    ) -> Result<Option<usize>, HttpError> {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Data => {
                    let present = bytes.len() - at;
                    let taken = present.min(usize::try_from(self.left).unwrap_or(usize::MAX));
                    body(&bytes[at..at + taken]);
                    at += taken;
                    self.left -= taken as u64;
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                    continue;
                }
                State::Size | State::Extension | State::SizeLf => self.size_line(bytes, at)?,
                State::DataCr => self.expect(&bytes[at..], b'\r', State::DataLf)?,
                State::DataLf => {
                    self.expect(&bytes[at..], b'\n', State::Size)?;
                    self.line = 0;
                }
                State::EndLf => {
                    self.expect(&bytes[at..], b'\n', State::EndLf)?;
                    return Ok(Some(at + 1));
                }
                State::TrailerStart | State::TrailerName | State::TrailerValue => {
                    self.trailer(&bytes[at..])?;
                }
            }
            at += 1;
        }
        Ok(None)
    }

    fn size_line(&mut self, bytes: &[u8], at: usize) -> Result<(), HttpError> {
        // Quoted from the start of the line, as far as it is in `bytes`.
        let line = &bytes[at.saturating_sub(self.line)..];
        let refuse = |why| Err(HttpError::ChunkSize { seen: Quoted::new(line), why });
        let byte = bytes[at];
        if self.line >= SIZE_LINE_BYTES {
            return refuse("the line is too long");
        }
        match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if self.left >> 60 != 0 {
                    return refuse("the number does not fit 64 bits");
                }
                let digit =
                    if byte.is_ascii_digit() { byte - b'0' } else { (byte | 0x20) - b'a' + 10 };
                self.left = self.left << 4 | u64::from(digit);
            }
            (State::Size, _) if self.line == 0 => return refuse("expected a hexadecimal number"),
            (State::Size, b';' | b' ' | b'\t') => self.state = State::Extension,
            (State::Size | State::Extension, b'\r') => self.state = State::SizeLf,
            (State::Size, _) => return refuse("expected a hexadecimal number"),
            (State::Extension, b'\n') => return refuse("a line feed without a carriage return"),
            (State::Extension, _) => {}
            (_, b'\n') => {
                self.state = if self.left == 0 { State::TrailerStart } else { State::Data };
            }
            _ => return refuse("a carriage return without a line feed"),
        }
        self.line += 1;
        Ok(())
    }

    /// Trailers are skipped. Their form is checked, so that a following response is not taken for
    /// one.
    fn trailer(&mut self, rest: &[u8]) -> Result<(), HttpError> {
        let refuse = |why| Err(HttpError::Trailer { seen: Quoted::new(rest), why });
        if self.trailer_budget == 0 {
            return refuse("the trailers are too long");
        }
        self.trailer_budget -= 1;
        self.state = match (self.state, rest[0]) {
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart, b':') => return refuse("it has no name"),
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerStart | State::TrailerName, b'!'..=b'~') => State::TrailerName,
            (State::TrailerStart | State::TrailerName, _) => return refuse("it has no colon"),
            (_, b'\n') => State::TrailerStart,
            _ => State::TrailerValue,
        };
        Ok(())
    }

    fn expect(&mut self, rest: &[u8], wanted: u8, next: State) -> Result<(), HttpError> {
        if rest[0] != wanted {
            return Err(HttpError::ChunkEnd { seen: Quoted::new(rest) });
        }
        self.state = next;
        Ok(())
    }
}
