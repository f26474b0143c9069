//! The part of pickle protocol 5 that block hashes are made of, byte for byte as `CPython`'s C
//! pickler writes it.
//!
//! A digest over a pickle only matches if every choice of the pickler does: frames (one per 64 KiB,
//! closed where the next object begins), the shortest integer opcode, special opcodes for tuples of
//! up to three, and a memo entry after each bytes, string and non-empty tuple.

const PROTO_5: [u8; 2] = [0x80, 5];
const FRAME: u8 = 0x95;
const MEMOIZE: u8 = 0x94;
const MARK: u8 = b'(';
const STOP: u8 = b'.';
const NONE: u8 = b'N';
const EMPTY_TUPLE: u8 = b')';
const SHORT_TUPLES: [u8; 3] = [0x85, 0x86, 0x87];
const TUPLE: u8 = b't';
const BININT1: u8 = b'K';
const BININT2: u8 = b'M';
const BININT: u8 = b'J';
const LONG1: u8 = 0x8a;
const SHORT_BINBYTES: u8 = b'C';
const BINBYTES: u8 = b'B';
const SHORT_BINUNICODE: u8 = 0x8c;
const BINUNICODE: u8 = b'X';

/// A frame is closed at the first object boundary after this many bytes (`FRAME_SIZE_TARGET`).
const FRAME_BYTES: usize = 64 * 1024;
const FRAME_HEADER_BYTES: usize = 9;

/// Strings and bytes of 64 KiB and more, which `CPython` writes outside of frames, do not occur in
/// block hashes.
pub(super) struct Pickler<'a> {
    out: &'a mut Vec<u8>,
    /// Where the payload of the open frame begins.
    payload: usize,
}

impl<'a> Pickler<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        out.clear();
        out.extend_from_slice(&PROTO_5);
        let mut pickler = Self { out, payload: 0 };
        pickler.open_frame();
        pickler
    }

    pub(super) fn finish(mut self) {
        self.out.push(STOP);
        self.close_frame();
    }

    pub(super) fn none(&mut self) {
        self.begin_object();
        self.out.push(NONE);
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.begin_object();
        self.length(value.len(), SHORT_BINBYTES, BINBYTES);
        self.out.extend_from_slice(value);
        self.memoize();
    }

    pub(super) fn text(&mut self, value: &str) {
        self.begin_object();
        self.length(value.len(), SHORT_BINUNICODE, BINUNICODE);
        self.out.extend_from_slice(value.as_bytes());
        self.memoize();
    }

    /// The items follow, then [`Pickler::end_tuple`] with the same count.
    pub(super) fn begin_tuple(&mut self, items: usize) {
        self.begin_object();
        if items > SHORT_TUPLES.len() {
            self.out.push(MARK);
        }
    }

    pub(super) fn end_tuple(&mut self, items: usize) {
        match items {
            0 => self.out.push(EMPTY_TUPLE),
            1..=3 => self.out.push(SHORT_TUPLES[items - 1]),
            _ => self.out.push(TUPLE),
        }
        if items > 0 {
            self.memoize();
        }
    }

    pub(super) fn tokens(&mut self, tokens: &[u32]) {
        self.begin_tuple(tokens.len());
        for token in tokens {
            self.integer(*token);
        }
        self.end_tuple(tokens.len());
    }

    fn integer(&mut self, value: u32) {
        self.begin_object();
        if let Ok(value) = u8::try_from(value) {
            self.out.extend_from_slice(&[BININT1, value]);
        } else if let Ok(value) = u16::try_from(value) {
            self.out.push(BININT2);
            self.out.extend_from_slice(&value.to_le_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.out.push(BININT);
            self.out.extend_from_slice(&value.to_le_bytes());
        } else {
            // Five bytes of two's complement: the sign needs a bit of its own.
            self.out.extend_from_slice(&[LONG1, 5]);
            self.out.extend_from_slice(&value.to_le_bytes());
            self.out.push(0);
        }
    }

    fn memoize(&mut self) {
        self.out.push(MEMOIZE);
    }

    fn length(&mut self, length: usize, short: u8, long: u8) {
        if let Ok(length) = u8::try_from(length) {
            self.out.extend_from_slice(&[short, length]);
        } else {
            self.out.push(long);
            self.out.extend_from_slice(&(length as u32).to_le_bytes());
        }
    }

    fn begin_object(&mut self) {
        if self.out.len() - self.payload >= FRAME_BYTES {
            self.close_frame();
            self.open_frame();
        }
    }

    fn open_frame(&mut self) {
        self.out.push(FRAME);
        self.out.extend_from_slice(&[0; FRAME_HEADER_BYTES - 1]);
        self.payload = self.out.len();
    }

    fn close_frame(&mut self) {
        let bytes = (self.out.len() - self.payload) as u64;
        self.out[self.payload - 8..self.payload].copy_from_slice(&bytes.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::hex;

    #[test]
    fn integers_of_every_width_as_python_writes_them() {
        // ids = (1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
        // pickle.dumps((b"\x11" * 2, ids, None), 5)
        let mut out = Vec::new();
        let mut pickler = Pickler::new(&mut out);
        pickler.begin_tuple(3);
        pickler.bytes(&[0x11, 0x11]);
        pickler.tokens(&[1, 255, 256, 65_535, 65_536, 2_147_483_647, 2_147_483_648, u32::MAX]);
        pickler.none();
        pickler.end_tuple(3);
        pickler.finish();
        assert_eq!(
            hex(&out),
            "80\
             05952e0000000000000043021111942\
             84b014bff4d00014dffff4a000001004affffff7f8a0500000080008a05ffffffff0074944e87942e"
        );
    }

    #[test]
    fn frames_close_at_64_kib() {
        // pickle.dumps((b"x" * 32, tuple(100000 + i for i in range(30000)), None), 5) has frames of
        // 65536, 65540 and 18966 bytes.
        let tokens: Vec<u32> = (0..30_000).map(|index| 100_000 + index).collect();
        let mut out = Vec::new();
        let mut pickler = Pickler::new(&mut out);
        pickler.begin_tuple(3);
        pickler.bytes(&[b'x'; 32]);
        pickler.tokens(&tokens);
        pickler.none();
        pickler.end_tuple(3);
        pickler.finish();
        let mut at = 2;
        let mut frames = Vec::new();
        while at < out.len() {
            assert_eq!(out[at], FRAME);
            let bytes = u64::from_le_bytes(out[at + 1..at + 9].try_into().unwrap());
            frames.push(bytes);
            at += FRAME_HEADER_BYTES + bytes as usize;
        }
        assert_eq!(frames, [65_536, 65_540, 18_966]);
    }

    #[test]
    fn empty_tuples_are_not_memoized() {
        // pickle.dumps((b"", (), None), 5)
        let mut out = Vec::new();
        let mut pickler = Pickler::new(&mut out);
        pickler.begin_tuple(3);
        pickler.bytes(&[]);
        pickler.tokens(&[]);
        pickler.none();
        pickler.end_tuple(3);
        pickler.finish();
        assert_eq!(hex(&out), "8005950800000000000000430094294e87942e");
    }
}
