//! The response parser on known messages, however split.

use std::mem::discriminant;

use weir_http::response::Framing;
use weir_http::{HttpError, Limits, Method, Progress, ResponseParser};

use crate::chance::Chance;

/// With the connection open.
#[derive(Debug)]
pub(crate) enum Outcome {
    Complete { status: u16, body: Vec<u8>, unread: usize },
    Unfinished { in_head: bool, body: Vec<u8> },
    Failed { error: HttpError, body: Vec<u8> },
}

/// Only quotations depend on how the input was split.
impl PartialEq for Outcome {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Complete { status, body, unread },
                Self::Complete { status: status2, body: body2, unread: unread2 },
            ) => (status, body, unread) == (status2, body2, unread2),
            (
                Self::Unfinished { in_head, body },
                Self::Unfinished { in_head: in_head2, body: body2 },
            ) => (in_head, body) == (in_head2, body2),
            (Self::Failed { error, body }, Self::Failed { error: error2, body: body2 }) => {
                discriminant(error) == discriminant(error2) && body == body2
            }
            _ => false,
        }
    }
}

pub(crate) fn read<'a>(
    parser: &mut ResponseParser,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Outcome {
    let mut body = Vec::new();
    let mut last = Progress::Head;
    let mut unread = 0;
    for piece in pieces {
        let range = piece.as_ptr_range();
        let fed = parser.feed(piece, &mut |span: &[u8]| {
            assert!(!span.is_empty() && range.contains(&span.as_ptr()), "no slice of the input");
            body.extend_from_slice(span);
        });
        match fed {
            Ok(progress) => last = progress,
            Err(error) => {
                assert_eq!(parser.feed(b"x", &mut |_| {}), Err(error.clone()), "sticks");
                let shown = error.to_string();
                assert!(shown.chars().count() < 220 && !shown.contains(['\n', '\r']), "{shown}");
                return Outcome::Failed { error, body };
            }
        }
        if let Progress::Complete { unread: more } = last {
            unread += more;
        }
    }
    match last {
        Progress::Complete { .. } => {
            Outcome::Complete { status: parser.head().unwrap().status, body, unread }
        }
        progress => Outcome::Unfinished { in_head: progress == Progress::Head, body },
    }
}

/// With its expected result.
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    status: u16,
    body: Vec<u8>,
    framing: Framing,
    keep_alive: bool,
    unread: usize,
}

/// Valid, at times with bytes after it.
pub(crate) fn message(chance: &mut Chance) -> Message {
    let status = *chance.pick(&[200u16, 200, 200, 204, 304, 404, 429, 500, 999]);
    let minor = usize::from(!chance.one_in(4));
    let end = *chance.pick(&["\r\n", "\r\n", "\n"]);
    let mut text = String::new();
    for _ in 0..chance.below(5).saturating_sub(2) {
        text += &format!("HTTP/1.1 {} Wait{end}{end}", chance.pick(&[100, 102, 103]));
    }
    text += &format!(
        "HTTP/1.{minor} {status}{}{end}",
        chance.pick(&[" OK", " ", "", " Not so \u{e9}"])
    );
    for _ in 0..chance.below(3) {
        text +=
            *chance.pick(&["X-A: b", "Server: uvicorn", "x-long: aaaaaaaaaaaaaaaaaaaaa", "date:"]);
        text += end;
    }
    let connection = *chance.pick(&["", "", "close", "keep-alive", "Keep-Alive, x", "x, Close"]);
    if !connection.is_empty() {
        text += &format!("Connection: {connection}{end}");
    }
    let has_close = connection.to_lowercase().contains("close");
    let mut keep_alive =
        !has_close && (minor == 1 || connection.to_lowercase().contains("keep-alive"));
    let tokens: [&[u8]; 5] = [b"data: x\n\n", b"\r\n", b"0\r\n\r\n", b"HTTP/1.1 200", b"a"];
    let mut body = chance.text(&tokens, 12);
    let (mut framing, mut coded) = match chance.below(3) {
        0 if minor == 1 => {
            text += &format!(
                "{}: chunked{end}",
                chance.pick(&["Transfer-Encoding", "TRANSFER-encoding"])
            );
            (Framing::Chunked, chunks(chance, &body))
        }
        1 => (Framing::UntilClose, body.clone()),
        _ => {
            text += &format!("Content-Length:{} {end}", body.len());
            (Framing::Length(body.len() as u64), body.clone())
        }
    };
    if matches!(status, 204 | 304) {
        framing = Framing::None;
        body.clear();
        coded.clear();
    }
    keep_alive &= framing != Framing::UntilClose;
    text += end;
    let mut bytes = text.into_bytes();
    bytes.extend(coded);
    let mut unread = 0;
    if framing != Framing::UntilClose && chance.one_in(4) {
        bytes.extend(b"HTTP/1.1 408 ");
        unread = 13;
    }
    Message { bytes, status, body, framing, keep_alive, unread }
}

fn chunks(chance: &mut Chance, body: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    for piece in chance.pieces(body).into_iter().filter(|piece| !piece.is_empty()) {
        let size = match chance.below(3) {
            0 => format!("{:x}", piece.len()),
            1 => format!("{:X};name=\"value\"", piece.len()),
            _ => format!("000{:x} ", piece.len()),
        };
        coded.extend([size.as_bytes(), b"\r\n", piece, b"\r\n"].concat());
    }
    coded.extend(*chance.pick(&[
        &b"0\r\n\r\n"[..],
        b"0\r\nX-Sum: 1\r\nY:\r\n\r\n",
        b"000;x\r\n\r\n",
    ]));
    coded
}

#[test]
fn reads_valid_messages_however_they_are_split() {
    let mut chance = Chance::new(11);
    let mut parser = ResponseParser::new(Limits::default());
    for _ in 0..5_000 {
        let message = message(&mut chance);
        for round in 0..2 {
            parser.reset();
            let pieces =
                if round == 0 { vec![&message.bytes[..]] } else { chance.pieces(&message.bytes) };
            let mut outcome = read(&mut parser, pieces.iter().copied());
            if let (Framing::UntilClose, Outcome::Unfinished { body, .. }) =
                (message.framing, &outcome)
            {
                assert_eq!(parser.end_of_input(), Ok(Progress::Complete { unread: 0 }));
                let body = body.clone();
                outcome = Outcome::Complete { status: message.status, body, unread: 0 };
            }
            let expected = Outcome::Complete {
                status: message.status,
                body: message.body.clone(),
                unread: message.unread,
            };
            assert_eq!(outcome, expected, "{}", message.bytes.escape_ascii());
            let head = parser.head().unwrap();
            assert_eq!((head.framing, head.keep_alive), (message.framing, message.keep_alive));
        }
    }
}

/// Checks all splits into two and single bytes against the whole input.
fn outcome(bytes: &[u8]) -> Outcome {
    let mut parser = ResponseParser::new(Limits::default());
    let whole = read(&mut parser, [bytes]);
    for at in 0..=bytes.len() {
        parser.reset();
        assert_eq!(read(&mut parser, [&bytes[..at], &bytes[at..]]), whole, "split at {at}");
    }
    parser.reset();
    assert_eq!(read(&mut parser, bytes.chunks(1)), whole);
    whole
}

fn failure(bytes: &str) -> String {
    match outcome(bytes.as_bytes()) {
        Outcome::Failed { error, .. } => error.to_string(),
        other => panic!("{bytes:?} gave {other:?}"),
    }
}

#[test]
fn names_what_is_wrong() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (bytes, message) in [
        (
            "SSH-2.0-OpenSSH_9.6\r\n",
            "not HTTP: the answer begins with \"SSH-2.0-OpenSSH_9.6\\r\\n\"",
        ),
        ("HTTP/2 200\r\n\r\n", "only HTTP/1.0 and HTTP/1.1"),
        ("\x15\x03\x03\0\x02\x02F", "write https:// in the URL"),
        ("\0\0\x12\x04\0\0\0\0\0\0", "only HTTP/1.1 is supported"),
        ("HTTP/1.1 2x0 OK\r\n\r\n", "malformed status line \"HTTP/1.1 2x0 OK\""),
        ("HTTP/1.1 007 OK\r\n\r\n", "malformed status line"),
        ("HTTP/1.7 200 OK\r\n\r\n", "malformed status line"),
        ("HTTP/1.1\r\n\r\n", "malformed status line"),
        ("HTTP/1.1 101 Switching\r\n\r\n", "not requested"),
        (&format!("{ok}A: b\r\nno colon\r\nC: d\r\n\r\n"), "malformed header line \"no colon\""),
        (&format!("{ok}A: b\r\n folded\r\n\r\n"), "malformed header line \" folded\""),
        (&format!("{ok}A: b\0\r\n\r\n"), "malformed header line \"A: b\\x00\""),
        (&format!("{ok}Content-Length: -1\r\n\r\n"), "\"-1\": expected a number"),
        (&format!("{ok}Content-Length: +1\r\n\r\n"), "expected a number"),
        (&format!("{ok}Content-Length: 0x1\r\n\r\n"), "expected a number"),
        (&format!("{ok}Content-Length:\r\n\r\n"), "expected a number"),
        (&format!("{ok}Content-Length: 99999999999999999999\r\n\r\n"), "expected a number"),
        (&format!("{ok}Content-Length: 1\r\nContent-Length: 2\r\n\r\n"), "contradicts"),
        (&format!("{ok}Content-Length: 1, 2\r\n\r\n"), "contradicts"),
        (&format!("{ok}Transfer-Encoding: gzip, chunked\r\n\r\n"), "only chunked is supported"),
        (&format!("{ok}Transfer-Encoding: chunked, chunked\r\n\r\n"), "only chunked"),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0 has no such header"),
        (
            &format!("{chunked}data: x\n\n"),
            "malformed chunk size at \"data: x\\n\\n\": expected a hex",
        ),
        (&format!("{chunked}5\nhello\r\n"), "expected a hexadecimal number"),
        (&format!("{chunked}5;x\nhello\r\n"), "line feed without"),
        (&format!("{chunked}5\rhello\r\n"), "carriage return without"),
        (&format!("{chunked}-5\r\nhello\r\n"), "hexadecimal"),
        (&format!("{chunked}10000000000000000\r\nx"), "does not fit 64 bits"),
        (&format!("{chunked}1;{}\r\nx", "y".repeat(4096)), "the line is too long"),
        (&format!("{chunked}3\r\nhello\r\n"), "found \"lo\\r\\n\" in place of its line end"),
        (&format!("{chunked}0\r\nHTTP/1.1 200 OK\r\n"), "it has no colon"),
        (&format!("{chunked}0\r\n\r\r\n"), "in place of its line end"),
        (&format!("{chunked}0\r\n: x\r\n"), "it has no name"),
        (&format!("{chunked}0\r\nx: {}\r\n", "y".repeat(65_536)), "the trailers are too long"),
    ] {
        // Long inputs have too many splits.
        let found = if bytes.len() > 3000 {
            let mut parser = ResponseParser::new(Limits::default());
            match read(&mut parser, [bytes.as_bytes()]) {
                Outcome::Failed { error, .. } => error.to_string(),
                other => panic!("{other:?}"),
            }
        } else {
            failure(bytes)
        };
        assert!(found.contains(message), "{found}\n{message}");
    }
}

#[test]
fn bounds_the_head() {
    let limits = Limits { head_bytes: 100, headers: 3 };
    let head =
        |padding: usize| format!("HTTP/1.1 200 OK\r\nX: {}\r\nY: z\r\n\r\n", "a".repeat(padding));
    let longest = 100 - head(0).len();
    for step in [1, 7, 1000] {
        let outcome = |text: &str| {
            let mut parser = ResponseParser::new(limits);
            read(&mut parser, text.as_bytes().chunks(step))
        };
        assert!(matches!(outcome(&head(longest)), Outcome::Unfinished { in_head: false, .. }));
        let Outcome::Failed { error, .. } = outcome(&head(longest + 1)) else { panic!("taken") };
        assert_eq!(error, HttpError::HeadTooLarge { limit: 100 });
        // Interim responses use the same budget.
        let Outcome::Failed { error, .. } = outcome(&"HTTP/1.1 100 C\r\n\r\n".repeat(99)) else {
            panic!("taken")
        };
        assert_eq!(error, HttpError::HeadTooLarge { limit: 100 });
        let Outcome::Failed { error, .. } =
            outcome(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "A:\r\n".repeat(4)))
        else {
            panic!("taken")
        };
        assert_eq!(error, HttpError::TooManyHeaders { limit: 3 });
    }
}

#[test]
fn bodies_that_are_not_there() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n";
    let mut parser = ResponseParser::new(Limits::default());
    parser.reset_for(Method::Head);
    assert_eq!(parser.feed(bytes, &mut |_| {}), Ok(Progress::Complete { unread: 0 }));
    assert!(parser.head().unwrap().keep_alive);
    parser.reset();
    assert_eq!(parser.feed(bytes, &mut |_| {}), Ok(Progress::Body));
    for head in ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
    {
        assert!(matches!(outcome(head.as_bytes()), Outcome::Complete { unread: 0, .. }), "{head}");
    }
}

#[test]
fn the_first_head_line_wins_over_framing_doubts() {
    // RFC 9112, 6.3: Transfer-Encoding overrides Content-Length; equal lengths are one.
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    assert_eq!(
        outcome(both.as_bytes()),
        Outcome::Complete { status: 200, body: b"a".to_vec(), unread: 0 }
    );
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\ncontent-length: 03\r\n\r\nabcd";
    assert_eq!(
        outcome(twice.as_bytes()),
        Outcome::Complete { status: 200, body: b"abc".to_vec(), unread: 1 }
    );
}

#[test]
fn says_where_a_connection_was_cut() {
    let mut parser = ResponseParser::new(Limits::default());
    let mut cut = |bytes: &str| {
        parser.reset();
        parser.feed(bytes.as_bytes(), &mut |_| {}).unwrap();
        let error = parser.end_of_input().unwrap_err();
        assert_eq!(parser.end_of_input(), Err(error.clone()));
        error.to_string()
    };
    assert!(cut("").contains("without an answer"));
    assert!(cut("HTTP/1.1 20").contains("inside the head of its answer, after \"HTTP/1.1 20\""));
    assert!(cut("HTTP/1.1 100 Continue\r\n\r\n").contains("inside the head"));
    assert!(cut("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").contains("after 3 of 5 bytes"));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(
        cut(&format!("{chunked}5\r\nhello\r\n")).contains("inside a chunked body, after 5 bytes")
    );
    assert!(cut(&format!("{chunked}5\r\nhello\r\n0\r\n")).contains("inside a chunked body"));
}

#[test]
fn keeps_the_headers_that_matter() {
    let bytes = b"HTTP/1.1 307 Temporary\r\nCONTENT-type: text/event-stream; charset=utf-8\r\n\
        Location: /v2\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n";
    let mut parser = ResponseParser::new(Limits::default());
    parser.feed(bytes, &mut |_| {}).unwrap();
    let head = parser.head().unwrap();
    assert_eq!(head.status, 307);
    assert_eq!(head.content_type.as_deref(), Some("text/event-stream; charset=utf-8"));
    assert_eq!(head.location.as_deref(), Some("/v2"));
    assert_eq!(head.content_encoding.as_deref(), Some("gzip"));
}
