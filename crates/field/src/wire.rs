//! The server side of HTTP/1.1 on one connection: requests in, replies out, one after the other.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::ops::RangeInclusive;

use serde::Serialize;

/// Of a request's head.
const HEAD_BYTES_MAX: u64 = 16 << 10;
const HEADERS_MAX: usize = 32;

#[derive(Debug, Default, Clone)]
pub(crate) struct ControlRequest {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    /// Of the body.
    pub(crate) length: u64,
}

impl ControlRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// First and last byte of `Range: bytes=A-B`, where it fits `size`.
    pub(crate) fn range(&self, size: u64) -> Option<RangeInclusive<u64>> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let first: u64 = first.parse().ok()?;
        let last = if last.is_empty() { size.checked_sub(1)? } else { last.parse().ok()? };
        (first <= last && first < size).then(|| first..=last.min(size - 1))
    }
}

pub(crate) enum ControlReply {
    Json {
        status: u16,
        body: Vec<u8>,
    },
    /// A part of a file: the file, its size and the range.
    Part {
        file: File,
        size: u64,
        range: RangeInclusive<u64>,
    },
}

impl ControlReply {
    pub(crate) fn json(status: u16, value: &impl Serialize) -> Self {
        // Messages are structs of numbers and text.
        Self::Json { status, body: serde_json::to_vec(value).unwrap_or_default() }
    }

    pub(crate) fn done() -> Self {
        Self::json(200, &())
    }

    /// Why not, as text.
    pub(crate) fn refusal(status: u16, why: &str) -> Self {
        Self::Json { status, body: why.as_bytes().to_vec() }
    }
}

pub(crate) struct ControlWire {
    reader: BufReader<TcpStream>,
    stream: TcpStream,
    /// Of the body of the last request that nobody read.
    left: u64,
}

impl ControlWire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { reader: BufReader::new(stream.try_clone()?), stream, left: 0 })
    }

    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// None when the peer has closed.
    pub(crate) fn next(&mut self) -> io::Result<Option<ControlRequest>> {
        let mut unread = (&mut self.reader).take(self.left);
        io::copy(&mut unread, &mut io::sink())?;
        self.left = 0;
        let mut head = Vec::new();
        let mut limited = (&mut self.reader).take(HEAD_BYTES_MAX);
        while !head.ends_with(b"\r\n\r\n") {
            let before = head.len();
            if limited.read_until(b'\n', &mut head)? == 0 {
                let is_end = before == 0 && limited.limit() > 0;
                return if is_end { Ok(None) } else { Err(wrong("a head without end")) };
            }
        }
        let asked = parse(&head)?;
        self.left = asked.length;
        Ok(Some(asked))
    }

    /// The body of the last request; an error if it is longer than `most`.
    pub(crate) fn body(&mut self, most: u64) -> io::Result<Vec<u8>> {
        if self.left > most {
            return Err(wrong("a body that is too long"));
        }
        let mut body = Vec::new();
        let length = std::mem::take(&mut self.left);
        (&mut self.reader).take(length).read_to_end(&mut body)?;
        if (body.len() as u64) < length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(body)
    }

    /// The body of the last request, into `to`.
    pub(crate) fn copy_body(&mut self, to: &mut impl Write) -> io::Result<()> {
        let length = std::mem::take(&mut self.left);
        let copied = io::copy(&mut (&mut self.reader).take(length), to)?;
        if copied < length { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    pub(crate) fn reply(&mut self, reply: ControlReply) -> io::Result<()> {
        match reply {
            ControlReply::Json { status, body } => {
                let head = format!(
                    "HTTP/1.1 {status} {}\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\n\r\n",
                    reason(status),
                    body.len()
                );
                self.stream.write_all(&[head.as_bytes(), &body].concat())
            }
            ControlReply::Part { mut file, size, range } => {
                let (first, last) = range.into_inner();
                let length = last - first + 1;
                let head = format!(
                    "HTTP/1.1 206 {}\r\nContent-Type: application/octet-stream\r\n\
                     Content-Range: bytes {first}-{last}/{size}\r\nContent-Length: {length}\r\n\r\n",
                    reason(206)
                );
                file.seek(SeekFrom::Start(first))?;
                self.stream.write_all(head.as_bytes())?;
                let copied = io::copy(&mut file.take(length), &mut self.stream)?;
                // A shorter file must not look like a whole part.
                if copied < length { Err(wrong("a file that shrank")) } else { Ok(()) }
            }
        }
    }

    /// From here on the peer asks.
    pub(crate) fn switch(&mut self, protocol: &str) -> io::Result<()> {
        let head = format!(
            "HTTP/1.1 101 {}\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n",
            reason(101)
        );
        self.stream.write_all(head.as_bytes())
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

fn parse(head: &[u8]) -> io::Result<ControlRequest> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        _ => return Err(wrong("no HTTP/1.1 request")),
    }
    let headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    let mut asked = ControlRequest {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        headers,
        length: 0,
    };
    if asked.header("transfer-encoding").is_some() {
        return Err(wrong("a body without a length"));
    }
    if let Some(length) = asked.header("content-length") {
        asked.length = length.parse().map_err(|_| wrong("a length that is not a number"))?;
    }
    Ok(asked)
}

const fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        206 => "Partial Content",
        401 => "Unauthorized",
        404 => "Not Found",
        409 => "Conflict",
        416 => "Range Not Satisfiable",
        422 => "Unprocessable Content",
        _ => "Bad Request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_and_ranges_stay_inside() {
        let head = b"POST /v1/order HTTP/1.1\r\nHost: a\r\nRange: bytes=4-9\r\n\
                     Content-Length: 12\r\n\r\n";
        let asked = parse(head).unwrap();
        assert_eq!((asked.method.as_str(), asked.length), ("POST", 12));
        assert_eq!(asked.range(100), Some(4..=9));
        assert_eq!(asked.range(7), Some(4..=6));
        assert_eq!(asked.range(4), None);
        let open = parse(b"GET / HTTP/1.1\r\nRange: bytes=3-\r\n\r\n").unwrap();
        assert_eq!((open.range(5), open.range(0)), (Some(3..=4), None));
        for bad in [
            &b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            b"hello\r\n\r\n",
        ] {
            assert!(parse(bad).is_err());
        }
    }
}
