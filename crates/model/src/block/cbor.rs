//! The few forms of canonical CBOR (RFC 8949, section 4.2.1) that block hashes are made of.
//!
//! Canonical here means the shortest head for every length and integer, and definite lengths. It
//! equals what Python's `cbor2.dumps(.., canonical=True)` and Go's `CanonicalEncOptions` write.

const NULL: u8 = 0xf6;

/// Values below this stand in the head itself.
const SHORT_VALUES: u64 = 24;
/// In place of a value: it follows in one, two, four or eight bytes.
const ONE_BYTE: u8 = 0x18;
const TWO_BYTES: u8 = 0x19;
const FOUR_BYTES: u8 = 0x1a;
const EIGHT_BYTES: u8 = 0x1b;

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

pub(super) fn null(out: &mut Vec<u8>) {
    out.push(NULL);
}

pub(super) fn unsigned(out: &mut Vec<u8>, value: u64) {
    head(out, UNSIGNED, value);
}

pub(super) fn integer(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        // CBOR keeps -1 - n, which in two's complement is the bitwise complement.
        head(out, NEGATIVE, !value as u64);
    } else {
        head(out, UNSIGNED, value as u64);
    }
}

pub(super) fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    head(out, BYTES, value.len() as u64);
    out.extend_from_slice(value);
}

pub(super) fn text(out: &mut Vec<u8>, value: &str) {
    head(out, TEXT, value.len() as u64);
    out.extend_from_slice(value.as_bytes());
}

/// The head of an array; its items follow.
pub(super) fn array(out: &mut Vec<u8>, items: usize) {
    head(out, ARRAY, items as u64);
}

/// The head of a map; its keys and values follow, in canonical order.
pub(super) fn map(out: &mut Vec<u8>, pairs: usize) {
    head(out, MAP, pairs as u64);
}

/// A whole array of token ids.
pub(super) fn tokens(out: &mut Vec<u8>, tokens: &[u32]) {
    array(out, tokens.len());
    for token in tokens {
        unsigned(out, u64::from(*token));
    }
}

fn head(out: &mut Vec<u8>, major: u8, value: u64) {
    let major = major << 5;
    if value < SHORT_VALUES {
        out.push(major | value as u8);
    } else if let Ok(value) = u8::try_from(value) {
        out.extend_from_slice(&[major | ONE_BYTE, value]);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(major | TWO_BYTES);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        out.push(major | FOUR_BYTES);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(major | EIGHT_BYTES);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::hex;

    #[test]
    fn heads_are_the_shortest() {
        let cases: [(i64, &str); 10] = [
            (0, "00"),
            (23, "17"),
            (24, "1818"),
            (255, "18ff"),
            (256, "190100"),
            (65_536, "1a00010000"),
            (4_294_967_296, "1b0000000100000000"),
            (-1, "20"),
            (-500, "3901f3"),
            (i64::MIN, "3b7fffffffffffffff"),
        ];
        for (value, expected) in cases {
            let mut out = Vec::new();
            integer(&mut out, value);
            assert_eq!(hex(&out), expected, "{value}");
        }
    }

    #[test]
    fn a_block_is_an_array_of_three() {
        // cbor2.dumps((b"\x01\x02", (10, 11, 300), None), canonical=True)
        let mut out = Vec::new();
        array(&mut out, 3);
        bytes(&mut out, &[1, 2]);
        tokens(&mut out, &[10, 11, 300]);
        null(&mut out);
        assert_eq!(hex(&out), "83420102830a0b19012cf6");
    }
}
