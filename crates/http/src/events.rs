//! Server-sent events from bytes as they come (WHATWG HTML, section 9.2.6).
//!
//! Only `data` is returned, as the measured servers use nothing else. An event of one `data:` line
//! within one read costs one scan for its line end and no copy.

use memchr::memchr2;
use thiserror::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EventError {
    #[error("malformed event stream: a line or event is longer than {limit} bytes without an end")]
    TooLong { limit: usize },
}

/// May begin a stream.
const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Returns the `data` of one stream's events.
#[derive(Debug)]
pub struct EventSplitter {
    /// Bytes of the event's data and the current line together.
    limit: usize,
    /// Start of an incomplete line.
    line: Vec<u8>,
    /// The event's data lines, joined by line feeds.
    data: Vec<u8>,
    /// True for an empty data line too.
    has_data: bool,
    /// The last byte was a carriage return, so a line feed now belongs to it.
    after_cr: bool,
    /// Matched bytes of a byte order mark. None after the start of the stream.
    start: Option<usize>,
    too_long: bool,
}

impl EventSplitter {
    /// It never holds more than twice `max_event_bytes`.
    pub fn new(max_event_bytes: usize) -> Self {
        Self {
            limit: max_event_bytes,
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            after_cr: false,
            start: Some(0),
            too_long: false,
        }
    }

    pub fn reset(&mut self) {
        self.line.clear();
        self.data.clear();
        self.has_data = false;
        self.after_cr = false;
        self.start = Some(0);
        self.too_long = false;
    }

    /// True in an event without its empty line, or a line without its end.
    pub fn is_mid_event(&self) -> bool {
        self.has_data || !self.line.is_empty() || self.start.is_some_and(|matched| matched > 0)
    }

    /// Capacity held for incomplete events and lines.
    pub fn held_bytes(&self) -> usize {
        self.line.capacity() + self.data.capacity()
    }

    /// `event` gets the `data` of each event that ends in `bytes`, without its last line feed, and
    /// as a slice of `bytes` where possible. After an error every feed gives the same error until a
    /// reset.
    ///
    /// A carriage return ends a line at once, so no event waits for a line feed.
    pub fn feed(&mut self, bytes: &[u8], event: &mut impl FnMut(&[u8])) -> Result<(), EventError> {
        if self.too_long {
            return Err(EventError::TooLong { limit: self.limit });
        }
        let mut rest = self.skip_start(bytes)?;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        if !self.line.is_empty() {
            rest = self.finish_line(rest)?;
        }
        if !self.has_data && self.line.is_empty() {
            rest = self.common(rest, event);
        }
        // The event's only data line, while it is in `bytes`.
        let mut span: Option<&[u8]> = None;
        while let Some(first) = rest.first() {
            // The first byte shows an empty line, so an event costs one scan.
            let found = match first {
                b'\n' | b'\r' => Some(0),
                _ => memchr2(b'\n', b'\r', rest),
            };
            let line = &rest[..found.unwrap_or(rest.len())];
            self.check(line.len() + span.map_or(0, <[u8]>::len))?;
            let Some(end) = found else {
                append(&mut self.line, line, self.limit);
                break;
            };
            rest = self.behind_line(rest, end);
            if line.is_empty() {
                self.dispatch(span.take(), event);
                rest = self.common(rest, event);
            } else if let Some(value) = data_of(line) {
                if span.is_none() && !self.has_data {
                    span = Some(value);
                } else {
                    if let Some(first) = span.take() {
                        self.push_data(first);
                    }
                    self.push_data(value);
                }
            }
        }
        if let Some(value) = span {
            self.push_data(value);
        }
        Ok(())
    }

    /// Fast path of [`feed`](Self::feed) between two events; returns the rest.
    fn common<'a>(&self, mut bytes: &'a [u8], event: &mut impl FnMut(&[u8])) -> &'a [u8] {
        const PREFIX: &[u8] = b"data: ";
        while let Some(line) = bytes.strip_prefix(PREFIX) {
            let Some(end) = memchr2(b'\n', b'\r', line) else { break };
            let (value, behind) = line.split_at(end);
            let Some(behind) = behind.strip_prefix(b"\n\n") else { break };
            if PREFIX.len() + end > self.limit {
                break;
            }
            event(value);
            bytes = behind;
        }
        bytes
    }

    fn dispatch(&mut self, span: Option<&[u8]>, event: &mut impl FnMut(&[u8])) {
        if let Some(value) = span {
            event(value);
        } else if self.has_data {
            event(&self.data);
            self.data.clear();
            self.has_data = false;
        }
    }

    /// A byte order mark at the start of the stream may be split.
    fn skip_start<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], EventError> {
        let Some(matched) = self.start else { return Ok(bytes) };
        let wanted = &BOM[matched..];
        let same = wanted.iter().zip(bytes).take_while(|(wanted, byte)| wanted == byte).count();
        if same == wanted.len() {
            self.start = None;
        } else if same == bytes.len() {
            self.start = Some(matched + same);
        } else {
            // The bytes are no mark, but begin the first line.
            self.start = None;
            self.check(matched)?;
            append(&mut self.line, &BOM[..matched], self.limit);
            return Ok(bytes);
        }
        Ok(&bytes[same..])
    }

    /// Returns what follows the line's end.
    fn finish_line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], EventError> {
        let found = memchr2(b'\n', b'\r', bytes);
        let more = &bytes[..found.unwrap_or(bytes.len())];
        self.check(more.len())?;
        append(&mut self.line, more, self.limit);
        let Some(end) = found else { return Ok(&[]) };
        let line = std::mem::take(&mut self.line);
        if let Some(value) = data_of(&line) {
            self.push_data(value);
        }
        self.line = line;
        self.line.clear();
        Ok(self.behind_line(bytes, end))
    }

    fn behind_line<'a>(&mut self, bytes: &'a [u8], end: usize) -> &'a [u8] {
        let rest = &bytes[end + 1..];
        if bytes[end] == b'\n' {
            return rest;
        }
        self.after_cr = rest.is_empty();
        rest.strip_prefix(b"\n").unwrap_or(rest)
    }

    fn push_data(&mut self, value: &[u8]) {
        if self.has_data {
            append(&mut self.data, b"\n", self.limit);
        }
        self.has_data = true;
        append(&mut self.data, value, self.limit);
    }

    /// Limits event and line together, whatever the splits of the stream.
    fn check(&mut self, more: usize) -> Result<(), EventError> {
        if self.data.len() + self.line.len() + more > self.limit {
            self.too_long = true;
            return Err(EventError::TooLong { limit: self.limit });
        }
        Ok(())
    }
}

/// Without the one space that may follow the colon.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    let value = match line.strip_prefix(b"data")? {
        [] => &[],
        [b':', b' ', value @ ..] | [b':', value @ ..] => value,
        _ => return None,
    };
    Some(value)
}

/// Doubles the capacity like `Vec`, up to the limit.
fn append(buffer: &mut Vec<u8>, bytes: &[u8], limit: usize) {
    let needed = buffer.len() + bytes.len();
    if needed > buffer.capacity() {
        let capacity = needed.max((2 * buffer.capacity()).min(limit));
        buffer.reserve_exact(capacity - buffer.len());
    }
    buffer.extend_from_slice(bytes);
}
