//! The event splitter against the naive reader, and against another library where the rules agree.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use eventsource_stream::Eventsource;
use futures_util::Stream;
use proptest::prelude::*;
use weir_http::{EventError, EventSplitter};

use crate::chance::Chance;
use crate::plain_events::{self, PlainEvents};

const NO_LIMIT: usize = 1 << 20;

pub(crate) fn split<'a>(
    splitter: &mut EventSplitter,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> PlainEvents {
    let mut events = Vec::new();
    let mut result = Ok(());
    for piece in pieces {
        let fed = splitter.feed(piece, &mut |event: &[u8]| events.push(event.to_vec()));
        result = result.and(fed);
    }
    let too_long = result.is_err();
    PlainEvents { events, is_mid_event: !too_long && splitter.is_mid_event(), too_long }
}

fn texts(stream: &[u8]) -> Vec<String> {
    let mut splitter = EventSplitter::new(NO_LIMIT);
    let whole = split(&mut splitter, [stream]);
    for at in 0..=stream.len() {
        splitter.reset();
        assert_eq!(split(&mut splitter, [&stream[..at], &stream[at..]]), whole, "split at {at}");
    }
    splitter.reset();
    assert_eq!(split(&mut splitter, stream.chunks(1)), whole, "byte by byte");
    assert_eq!(plain_events::read(stream, NO_LIMIT), whole);
    whole.events.into_iter().map(|event| String::from_utf8(event).unwrap()).collect()
}

#[test]
fn reads_what_the_standard_shows() {
    // Examples of section 9.2.6, and servers' forms.
    for (stream, events) in [
        ("data: YHOO\ndata: +2\ndata: 10\n\n", vec!["YHOO\n+2\n10"]),
        (
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
            { vec!["first event", "second event"] },
        ),
        ("data\n\ndata\ndata\n\ndata:", vec!["", "\n"]),
        ("data:test\n\ndata: test\n\n", vec!["test", "test"]),
        ("data: a\r\rdata: b\r\n\r\ndata: c\n\r\n\r", vec!["a", "b", "c"]),
        ("\u{feff}data: a\n\n\u{feff}data: b\n\n", vec!["a"]),
        ("\u{feff}\u{feff}data: a\n\n", vec![]),
        ("event: x\n\n\n\ndata: a\nretry: 5\nevent: y\n\n", vec!["a"]),
        ("data: [DONE]\n\ndata: [DONE]\n\n", vec!["[DONE]", "[DONE]"]),
        ("data: Grüße 🌊\n\n", vec!["Grüße 🌊"]),
        ("dataset: a\n\nDATA: b\n\n data: c\n\n", vec![]),
    ] {
        assert_eq!(texts(stream.as_bytes()), events, "{stream:?}");
    }
}

#[test]
fn tells_whether_an_event_is_cut_off() {
    for (stream, mid) in [
        ("", false),
        ("\u{feff}", false),
        ("data: a\n\n", false),
        ("data: a\r\n\r", false),
        ("data: a\n", true),
        ("data: a", true),
        (": comment\n", false),
        (": comm", true),
        ("event: x\n", false),
    ] {
        let mut splitter = EventSplitter::new(NO_LIMIT);
        split(&mut splitter, [stream.as_bytes()]);
        assert_eq!(splitter.is_mid_event(), mid, "{stream:?}");
    }
    let mut splitter = EventSplitter::new(NO_LIMIT);
    split(&mut splitter, [&b"\xef\xbb"[..]]);
    assert!(splitter.is_mid_event(), "half a byte order mark");
}

#[test]
fn hands_out_whole_events_where_they_lie() {
    let stream = b"data: one\n\n: ping\n\nid: 7\ndata:two\r\n\r\n".to_vec();
    let range = stream.as_ptr_range();
    let mut splitter = EventSplitter::new(NO_LIMIT);
    let mut events = 0;
    let mut event = |event: &[u8]| {
        events += 1;
        assert!(range.contains(&event.as_ptr()), "copied");
    };
    splitter.feed(&stream, &mut event).unwrap();
    assert_eq!(events, 2);
    assert_eq!(splitter.held_bytes(), 0);
}

#[test]
fn does_not_wait_for_a_line_feed_behind_a_carriage_return() {
    let mut splitter = EventSplitter::new(NO_LIMIT);
    assert_eq!(split(&mut splitter, [&b"data: a\r\r"[..]]).events, [b"a"]);
    assert_eq!(split(&mut splitter, [&b"\n\ndata: b\r\n\r"[..]]).events, [b"b"]);
}

#[test]
fn a_gigabyte_line_ends_at_the_limit() {
    let limit = 64 * 1024;
    let block = vec![b'x'; 1 << 20];
    for start in ["data: ", ": comment", "data: a\ndata:", ""] {
        for step in [1000, 4096, 1 << 20] {
            let mut splitter = EventSplitter::new(limit);
            splitter.feed(start.as_bytes(), &mut |_: &[u8]| {}).unwrap();
            let mut fed = 0u64;
            let error = loop {
                let result = splitter.feed(&block[..step], &mut |_: &[u8]| panic!("an event"));
                assert!(splitter.held_bytes() <= 2 * limit, "{}", splitter.held_bytes());
                fed += step as u64;
                if let Err(error) = result {
                    break error;
                }
                assert!(fed < 1 << 30, "a gigabyte was taken");
            };
            assert_eq!(error, EventError::TooLong { limit });
            assert_eq!(splitter.feed(b"\n\n", &mut |_: &[u8]| {}), Err(error), "sticks");
            splitter.reset();
            assert_eq!(split(&mut splitter, [&b"data: a\n\n"[..]]).events, [b"a"]);
        }
    }
    let mut splitter = EventSplitter::new(limit);
    let error = (0..1 << 20).find_map(|_| splitter.feed(b"data: 0123456789\n", &mut |_| {}).err());
    assert_eq!(error, Some(EventError::TooLong { limit }));
    assert!(splitter.held_bytes() <= 2 * limit);
}

/// By the other library. It takes text only, panics on a byte order mark (it removes one byte of
/// three), and waits after a final carriage return.
fn oracle(stream: &[u8]) -> Vec<Vec<u8>> {
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = vec![Ok(stream.to_vec())];
    let mut events = pin!(futures_util::stream::iter(pieces).eventsource());
    let mut context = Context::from_waker(Waker::noop());
    let mut found = Vec::new();
    loop {
        match events.as_mut().poll_next(&mut context) {
            Poll::Ready(Some(Ok(event))) => found.push(event.data.into_bytes()),
            Poll::Ready(None) => return found,
            other => panic!("{other:?}"),
        }
    }
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ -~äß🌊]{0,40}".prop_map(|text| format!("data: {text}")),
        2 => "[ -~äß🌊]{0,40}".prop_map(|text| format!("data:{text}")),
        1 => Just("data".to_owned()),
        1 => "[ -~]{0,20}".prop_map(|text| format!(":{text}")),
        1 => "(event|id|retry|dataset|Data): ?[a-z0-9]{0,8}",
        1 => "[a-z]{1,6}",
        5 => Just(String::new()),
    ]
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let end = prop_oneof![4 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\r")];
    (any::<bool>(), prop::collection::vec((line(), end), 0..24), line()).prop_map(
        |(bom, lines, last)| {
            let mut text = String::from(if bom { "\u{feff}" } else { "" });
            for (line, end) in lines {
                text.push_str(&line);
                text.push_str(end);
            }
            text.push_str(&last);
            text.into_bytes()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agrees_with_the_naive_reading(
        stream in stream(),
        limit in prop_oneof![Just(NO_LIMIT), 0usize..100],
        seed in any::<u64>(),
    ) {
        let expected = plain_events::read(&stream, limit);
        let is_mid_event = expected.is_mid_event && !expected.too_long;
        let expected = PlainEvents { is_mid_event, ..expected };
        let mut splitter = EventSplitter::new(limit);
        prop_assert_eq!(&split(&mut splitter, [&stream[..]]), &expected);
        splitter.reset();
        prop_assert_eq!(&split(&mut splitter, Chance::new(seed).pieces(&stream)), &expected);
    }

    #[test]
    fn agrees_with_another_library(stream in stream()) {
        let stream = stream.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&stream);
        let stream = [stream, b":"].concat();
        let mut splitter = EventSplitter::new(NO_LIMIT);
        prop_assert_eq!(split(&mut splitter, [&stream[..]]).events, oracle(&stream));
    }
}
