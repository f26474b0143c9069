//! The protocol alone: the same replies for any split of the bytes, and no input makes the decoder
//! panic or exceed its limits.

use proptest::collection::vec;
use proptest::prelude::*;
use weir_store::resp::command::command;
use weir_store::resp::refusal::ErrorReply;
use weir_store::resp::reply::{Decoder, LINE_BYTES_MAX, ProtocolError, ReplyEvent};
use weir_store::resp::value::{Builder, Value};

/// Feeds bytes in pieces that end at `cuts`; returns all values and the first error.
fn decode(bytes: &[u8], cuts: &[usize]) -> (Vec<Value>, Option<ProtocolError>, bool) {
    let (mut decoder, mut builder) = (Decoder::new(), Builder::default());
    let mut values = Vec::new();
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut from = 0;
    for end in ends {
        let mut input = &bytes[from..end];
        from = end;
        loop {
            match decoder.next(&mut input).and_then(|event| {
                event.map(|event| builder.push(event)).transpose().map(|done| done.map(Some))
            }) {
                Ok(None) => break,
                Ok(Some(Some(Some(value)))) => values.push(value),
                Ok(Some(_)) => {}
                Err(error) => return (values, Some(error), false),
            }
        }
        assert!(input.is_empty(), "it stops only when all is used up");
    }
    (values, None, decoder.is_between_replies())
}

/// A value as a server writes it, in RESP3 if `three`.
fn write(value: &Value, three: bool, out: &mut Vec<u8>) {
    match value {
        Value::Null if three => out.extend_from_slice(b"_\r\n"),
        Value::Null => out.extend_from_slice(b"$-1\r\n"),
        Value::Integer(number) => out.extend_from_slice(format!(":{number}\r\n").as_bytes()),
        Value::Boolean(truth) => {
            out.extend_from_slice(if *truth { b"#t\r\n" } else { b"#f\r\n" });
        }
        Value::Text(bytes) => {
            out.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
        Value::Error(text) if three => {
            out.extend_from_slice(format!("!{}\r\n{text}\r\n", text.len()).as_bytes());
        }
        Value::Error(text) => out.extend_from_slice(format!("-{text}\r\n").as_bytes()),
        Value::Array(elements) => {
            if three {
                // An attribute before an element.
                out.extend_from_slice(b"|1\r\n+ttl\r\n*2\r\n:1\r\n|1\r\n+a\r\n+b\r\n:2\r\n");
            }
            let map = three && elements.len() % 2 == 0;
            let (kind, count) = if map { ('%', elements.len() / 2) } else { ('*', elements.len()) };
            out.extend_from_slice(format!("{kind}{count}\r\n").as_bytes());
            for element in elements {
                write(element, three, out);
            }
        }
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Boolean),
        vec(any::<u8>(), 0..40).prop_map(Value::Text),
        "[ -~]{0,40}".prop_map(Value::Error),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| vec(inner, 0..6).prop_map(Value::Array))
}

proptest! {
    #[test]
    fn replies_survive_any_cut(
        wanted in vec(values(), 0..6),
        cuts in vec(any::<usize>(), 0..12),
        three in any::<bool>(),
    ) {
        let mut bytes = Vec::new();
        for value in &wanted {
            write(value, three, &mut bytes);
            if three {
                bytes.extend_from_slice(b">2\r\n+message\r\n$3\r\nabc\r\n");
            }
        }
        let (found, error, between) = decode(&bytes, &cuts);
        prop_assert_eq!(error, None);
        prop_assert!(between);
        prop_assert_eq!(&found, &wanted);
        let every: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(decode(&bytes, &every).0, wanted);
    }

    #[test]
    fn cuts_do_not_change_what_garbage_is(
        bytes in vec(prop_oneof![
            any::<u8>(),
            proptest::sample::select(b"+-:$*_#,(!=%~>|0123456789\r\n".to_vec()),
        ], 0..200),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let whole = decode(&bytes, &[]);
        let cut = decode(&bytes, &cuts);
        prop_assert_eq!(&whole.0, &cut.0);
        prop_assert_eq!(whole.1.is_some(), cut.1.is_some());
        let _ = ErrorReply::of(&bytes);
    }

    #[test]
    fn a_damaged_reply_is_no_panic(
        wanted in values(),
        at in any::<usize>(),
        with in any::<u8>(),
        three in any::<bool>(),
    ) {
        let mut bytes = Vec::new();
        write(&wanted, three, &mut bytes);
        let at = at % bytes.len();
        bytes[at] = with;
        let _ = decode(&bytes, &[at]);
    }

    /// The decoder reads what the encoder writes.
    #[test]
    fn commands_are_read_back(arguments in vec(vec(any::<u8>(), 0..50), 1..8)) {
        let mut bytes = Vec::new();
        let slices: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        command(&mut bytes, &slices);
        let wanted = Value::Array(arguments.into_iter().map(Value::Text).collect());
        prop_assert_eq!(decode(&bytes, &[]).0, vec![wanted]);
    }

    #[test]
    fn bodies_may_go_past(length in 0_usize..5000, portion in 1_usize..900) {
        let mut decoder = Decoder::new();
        let head = format!("${length}\r\n");
        let mut input = head.as_bytes();
        let wanted = ReplyEvent::Body { length: length as u64, is_error: false };
        prop_assert_eq!(decoder.next(&mut input), Ok(Some(wanted)));
        let mut left = length;
        while left > 0 {
            prop_assert_eq!(decoder.body_left(), left as u64);
            let step = left.min(portion);
            decoder.body_taken(step as u64);
            left -= step;
        }
        let mut input = &b"\r\n:7\r\n"[..];
        prop_assert_eq!(decoder.next(&mut input), Ok(Some(ReplyEvent::End)));
        prop_assert_eq!(decoder.next(&mut input), Ok(Some(ReplyEvent::Integer(7))));
        prop_assert!(decoder.is_between_replies());
    }
}

#[test]
fn limits_hold() {
    let error = |bytes: &[u8]| decode(bytes, &[3]).1.unwrap();
    assert_eq!(error(b"$536870913\r\n"), ProtocolError::TooLong(536870913));
    assert_eq!(error(b"*1048577\r\n"), ProtocolError::TooLong(1048577));
    assert_eq!(error(b"*99999999999999999999\r\n"), number("99999999999999999999"));
    assert_eq!(error(b"$-2\r\n"), number("-2"));
    assert_eq!(error(b"*?\r\n"), number("?"));
    assert_eq!(error(b"$\r\n"), number(""));
    assert_eq!(error(b":1.5\r\n"), number("1.5"));
    assert_eq!(error(b":9223372036854775808\r\n"), number("9223372036854775808"));
    assert_eq!(error(b"#x\r\n"), number("x"));
    assert_eq!(error(b"HTTP/1.1 400 Bad Request\r\n"), ProtocolError::Kind(b'H'));
    assert_eq!(error(b"+OK\n"), ProtocolError::LineEnd);
    assert_eq!(error(b"\r\n"), ProtocolError::Kind(b'\r'));
    assert_eq!(error(b"$2\r\nabc\r\n"), ProtocolError::BodyEnd);
    assert_eq!(error(&b"*1\r\n".repeat(13)), ProtocolError::TooDeep);
    let mut long = b"+".to_vec();
    long.resize(LINE_BYTES_MAX + 2, b'x');
    assert_eq!(error(&long), ProtocolError::LongLine);
    let pieces: Vec<usize> = (0..long.len()).collect();
    assert_eq!(decode(&long, &pieces).1, Some(ProtocolError::LongLine));
    // A line of exactly the limit is valid.
    long.truncate(LINE_BYTES_MAX - 1);
    long.extend_from_slice(b"\r\n");
    assert_eq!(decode(&long, &pieces).1, None);
}

fn number(text: &str) -> ProtocolError {
    ProtocolError::Number(text.to_owned())
}
