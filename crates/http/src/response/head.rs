//! Response heads: status line, relevant headers, framing.

use httparse::{EMPTY_HEADER, Header, Status};

use super::{HttpError, Limits};
use crate::quote::Quoted;
use crate::request::Method;

/// RFC 9112, section 6.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// To HEAD, or status 204 or 304.
    None,
    Length(u64),
    Chunked,
    /// Until the server closes the connection.
    UntilClose,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// 200 to 999.
    pub status: u16,
    pub content_type: Option<String>,
    /// As sent. None is requested; other values than `identity` mean a compressed body.
    pub content_encoding: Option<String>,
    /// As sent.
    pub location: Option<String>,
    /// The header of [`super::ResponseParser::noting`].
    pub noted: Option<String>,
    /// The connection may be reused after the response.
    pub keep_alive: bool,
    pub framing: Framing,
}

const START: &[u8] = b"HTTP/1.";

/// Detects other protocols at the first bytes instead of at a time-out.
pub(super) fn check_start(bytes: &[u8]) -> Result<(), HttpError> {
    let compared = bytes.len().min(START.len());
    if bytes[..compared] == START[..compared] {
        return Ok(());
    }
    let hint = match bytes {
        // TLS record: alert or handshake, version 3.x.
        [0x15 | 0x16, 0x03, ..] => ", which is TLS: write https:// in the URL",
        // HTTP/2 SETTINGS frame: its length is a small multiple of six.
        [0, 0, _, 4, ..] => ", which is HTTP/2: only HTTP/1.1 is supported",
        [b'H', b'T', b'T', b'P', b'/', ..] => ": only HTTP/1.0 and HTTP/1.1 are supported",
        _ => "",
    };
    Err(HttpError::NotHttp { seen: Quoted::new(bytes), hint })
}

/// Length including the empty line, if complete. Line ends before `from` are known not to begin it.
pub(super) fn end(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', &bytes[from..]).find_map(|at| {
        let at = from + at;
        match bytes[at + 1..] {
            [b'\n', ..] => Some(at + 2),
            [b'\r', b'\n', ..] => Some(at + 3),
            _ => None,
        }
    })
}

impl Head {
    /// None if the body is not compressed.
    pub fn coding(&self) -> Option<&str> {
        let coding = self.content_encoding.as_deref()?.trim();
        (!coding.is_empty() && !coding.eq_ignore_ascii_case("identity")).then_some(coding)
    }

    /// For messages, without user information and query, which may be secret.
    pub fn redirect(&self) -> Option<String> {
        let location = self.location.as_deref().filter(|_| (300..400).contains(&self.status))?;
        let place = location.split(['?', '#']).next().unwrap_or_default();
        Some(match place.split_once("://") {
            Some((scheme, rest)) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                format!("{scheme}://{host}{path}")
            }
            None => place.to_owned(),
        })
    }

    /// None for an interim response.
    pub(super) fn read(
        bytes: &[u8],
        method: Method,
        most_headers: usize,
        noting: Option<&str>,
    ) -> Result<Option<Self>, HttpError> {
        let mut table = [EMPTY_HEADER; Limits::MOST_HEADERS];
        let limit = most_headers.min(Limits::MOST_HEADERS);
        let mut response = httparse::Response::new(&mut table[..limit]);
        match response.parse(bytes) {
            Ok(Status::Complete(_)) => {}
            Ok(Status::Partial) => return Err(status_line(bytes, "it ends too early".to_owned())),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(HttpError::TooManyHeaders { limit });
            }
            Err(error) => return Err(malformed(bytes, error)),
        }
        let status = response.code.unwrap_or(0);
        let is_http_1_1 = response.version == Some(1);
        match status {
            101 => return Err(HttpError::Upgrade),
            100..=199 => return Ok(None),
            200..=999 => {}
            _ => return Err(status_line(bytes, "the status is below 100".to_owned())),
        }
        let headers = &*response.headers;
        let framing = if method == Method::Head || matches!(status, 204 | 304) {
            Framing::None
        } else {
            framing(headers, is_http_1_1)?
        };
        let keep_alive = keeps_alive(headers, is_http_1_1) && framing != Framing::UntilClose;
        Ok(Some(Self {
            status,
            content_type: text(headers, "content-type"),
            content_encoding: text(headers, "content-encoding"),
            location: text(headers, "location"),
            noted: noting.and_then(|name| text(headers, name)),
            keep_alive,
            framing,
        }))
    }
}

fn values<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value)
}

/// Items of a comma-separated header, over all its lines.
fn items<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    values(headers, name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

fn text(headers: &[Header<'_>], name: &str) -> Option<String> {
    values(headers, name).next().map(|value| String::from_utf8_lossy(value).into_owned())
}

fn framing(headers: &[Header<'_>], is_http_1_1: bool) -> Result<Framing, HttpError> {
    let coding = "transfer-encoding";
    if let Some(value) = values(headers, coding).next() {
        let refuse = |why| Err(HttpError::Header { name: coding, value: Quoted::new(value), why });
        if !is_http_1_1 {
            return refuse("HTTP/1.0 has no such header, so the end of the body is unknown");
        }
        let mut codings = items(headers, coding);
        let chunked = codings.next().is_some_and(|item| item.eq_ignore_ascii_case(b"chunked"));
        if !chunked || codings.next().is_some() {
            return refuse("only chunked is supported, and no compression was requested");
        }
        return Ok(Framing::Chunked);
    }
    let name = "content-length";
    let mut length = None;
    for item in items(headers, name) {
        let refuse = |why| Err(HttpError::Header { name, value: Quoted::new(item), why });
        let Some(value) = decimal(item) else {
            return refuse("expected a number of bytes");
        };
        if length.is_some_and(|earlier| earlier != value) {
            return refuse("it contradicts an earlier one");
        }
        length = Some(value);
    }
    Ok(length.map_or(Framing::UntilClose, Framing::Length))
}

/// Digits only, within 64 bits.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

fn keeps_alive(headers: &[Header<'_>], is_http_1_1: bool) -> bool {
    let has =
        |option: &[u8]| items(headers, "connection").any(|item| item.eq_ignore_ascii_case(option));
    if is_http_1_1 { !has(b"close") } else { has(b"keep-alive") && !has(b"close") }
}

fn status_line(bytes: &[u8], why: String) -> HttpError {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or(bytes);
    HttpError::StatusLine { line: Quoted::new(line.trim_ascii_end()), why }
}

/// Finds the invalid line, which `httparse` does not report.
fn malformed(bytes: &[u8], error: httparse::Error) -> HttpError {
    let is_status = matches!(
        error,
        httparse::Error::Status | httparse::Error::Version | httparse::Error::NewLine
    );
    let why = error.to_string();
    if is_status {
        return status_line(bytes, why);
    }
    let line = bytes.split_inclusive(|byte| *byte == b'\n').skip(1).find(|line| {
        let alone = [line, b"\r\n".as_slice()].concat();
        httparse::parse_headers(&alone, &mut [EMPTY_HEADER; 1]).is_err()
    });
    HttpError::HeaderLine { line: Quoted::new(line.unwrap_or(bytes).trim_ascii_end()), why }
}
