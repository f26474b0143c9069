//! Random and mutated bytes: no panic, and results equal to the references'. `WEIR_FUZZ_CASES` sets
//! their number.

use weir_http::{EventSplitter, Limits, ResponseParser};

use crate::chance::{Chance, cases};
use crate::events_equivalence::split;
use crate::plain_chunks::{self, PlainChunks};
use crate::plain_events::{self, PlainEvents};
use crate::response_equivalence::{Outcome, message, read};

/// Longer than any stream of these tests.
const LIMIT: usize = 1 << 16;

#[test]
fn event_streams() {
    let tokens: [&[u8]; 20] = [
        b"data: ",
        b"data:",
        b"data",
        b"\n",
        b"\n\n",
        b"\r\n",
        b"\r",
        b"\r\n\r\n",
        b":",
        b" ",
        b"x",
        b"id: 1\n",
        b"\xef\xbb\xbf",
        b"\xef",
        b"\xef\xbb",
        b"\xf0\x9f\x8c\x8a",
        b"[DONE]",
        b"\0",
        b"event: e\n",
        b"{\"choices\":[{\"text\":\"a\"}]}",
    ];
    let mut chance = Chance::new(1);
    let mut splitter = EventSplitter::new(LIMIT);
    let mut outcomes = [0usize; 3];
    for _ in 0..cases() {
        let mut stream = chance.text(&tokens, 24);
        if chance.one_in(2) {
            chance.mutate(&mut stream, b"\r\n: data\xef\xbb\xbf");
        }
        let limit = if chance.one_in(8) { chance.below(60) } else { LIMIT };
        let expected = plain_events::read(&stream, limit);
        let is_mid_event = expected.is_mid_event && !expected.too_long;
        let expected = PlainEvents { is_mid_event, ..expected };
        // Reused for equal limits, as on a connection.
        if limit == LIMIT {
            splitter.reset();
        } else {
            splitter = EventSplitter::new(limit);
        }
        let pieces = chance.pieces(&stream);
        let found = split(&mut splitter, pieces.iter().copied());
        assert_eq!(found, expected, "{}, limit {limit}, {pieces:?}", stream.escape_ascii());
        outcomes[usize::from(expected.too_long)] += 1;
        outcomes[2] += expected.events.len();
        if limit != LIMIT {
            splitter = EventSplitter::new(LIMIT);
        }
    }
    println!("{} event streams: {outcomes:?} (read, too long, events)", cases());
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

#[test]
fn responses() {
    let limits = Limits { head_bytes: 300, headers: 8 };
    let mut chance = Chance::new(2);
    let mut parser = ResponseParser::new(limits);
    let mut outcomes = [0usize; 3];
    for _ in 0..cases() {
        let mut bytes = message(&mut chance).bytes;
        if chance.one_in(10) {
            bytes =
                chance.text(&[b"HTTP/1.1 ", b"200", b"\r\n", b"\n", b":", b"\x15\x03", b"0"], 12);
        } else {
            chance.mutate(&mut bytes, b"\r\n :;0aF,1\x80");
        }
        parser.reset();
        let whole = read(&mut parser, [&bytes[..]]);
        parser.reset();
        let pieces = chance.pieces(&bytes);
        let split = read(&mut parser, pieces.iter().copied());
        assert_eq!(split, whole, "{}, {pieces:?}", bytes.escape_ascii());
        outcomes[match whole {
            Outcome::Complete { .. } => 0,
            Outcome::Unfinished { .. } => 1,
            Outcome::Failed { .. } => 2,
        }] += 1;
    }
    println!("{} responses: {outcomes:?} (complete, unfinished, failed)", cases());
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

#[test]
fn chunked_bodies() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let tokens: [&[u8]; 18] = [
        b"5\r\nhello\r\n",
        b"0\r\n",
        b"0\r\n\r\n",
        b"1;x=y\r\nz\r\n",
        b"3 \r\nabc\r\n",
        b"\r\n",
        b"A\r\n0123456789\r\n",
        b"00\r\n",
        b"X-Sum: 1\r\n",
        b"x",
        b"\n",
        b"\r",
        b";",
        b"ffffffffffffffff",
        b"0",
        b"1\r\n",
        b": ",
        b"0000000000000000000002\r\nab\r\n",
    ];
    let limits = Limits { head_bytes: 60, headers: 8 };
    let mut chance = Chance::new(3);
    let mut parser = ResponseParser::new(limits);
    let mut outcomes = [0usize; 3];
    for _ in 0..cases() {
        let mut body = chance.text(&tokens, 10);
        if chance.one_in(2) {
            chance.mutate(&mut body, b"\r\n;0aF1: ");
        }
        let expected = plain_chunks::read(&body, limits.head_bytes);
        outcomes[match expected {
            PlainChunks::Complete { .. } => 0,
            PlainChunks::Unfinished { .. } => 1,
            PlainChunks::Malformed => 2,
        }] += 1;
        parser.reset();
        let pieces = chance.pieces(&body);
        let found = match read(&mut parser, [&head[..]].into_iter().chain(pieces.iter().copied())) {
            Outcome::Complete { body, unread, .. } => PlainChunks::Complete { data: body, unread },
            Outcome::Unfinished { body, .. } => PlainChunks::Unfinished { data: body },
            Outcome::Failed { .. } => PlainChunks::Malformed,
        };
        assert_eq!(found, expected, "{}, {pieces:?}", body.escape_ascii());
    }
    println!("{} chunked bodies: {outcomes:?} (complete, unfinished, malformed)", cases());
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}
