//! A trace's text: decompressed while it is read, without a byte order mark.
//!
//! The first bytes of a file decide its kind, not its name. gzip and zstd are read as streams, so a
//! trace never has to fit in memory; other containers are named and refused.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::WorkloadError;

/// Read at once. Long enough to identify a file, see [`head`].
const BUFFER_BYTES: usize = 1 << 16;

const MARK: &[u8] = b"\xef\xbb\xbf";

/// First bytes, name and remedy. Sources: RFC 1952 (gzip) and 8878 (zstd), which are read; the
/// formats' own documents for the rest.
const CONTAINERS: [(&[u8], &str, &str); 8] = [
    (b"PK\x03\x04", "a ZIP archive", "unpack it"),
    (b"\xfd7zXZ\0", "compressed with xz", "decompress it, or compress it with gzip or zstd"),
    (b"BZh", "compressed with bzip2", "decompress it, or compress it with gzip or zstd"),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "decompress it, or compress it with gzip or zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"PAR1", "a Parquet file", "write its rows as JSON lines or CSV"),
    (b"\xff\xfe", "UTF-16 text", "convert it to UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "convert it to UTF-8"),
];

/// Offset and magic of a tar archive (POSIX.1-1988).
const TAR: (usize, &[u8]) = (257, b"ustar");

pub(super) type Text = BufReader<Unpacked>;

pub(super) struct Unpacked(Box<dyn Read + Send>);

impl fmt::Debug for Unpacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unpacked")
    }
}

impl Read for Unpacked {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

/// `remedy` says where to get a trace.
pub(super) fn open(path: &Path, remedy: &'static str) -> Result<Text, WorkloadError> {
    let failed = |cause: io::Error| WorkloadError::Open {
        path: path.to_owned(),
        cause: cause.to_string(),
        remedy,
    };
    // Opening a folder works; its first read fails.
    let unread = |cause: io::Error| WorkloadError::Read {
        path: path.to_owned(),
        line: 1,
        cause: cause.to_string(),
    };
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(failed)?);
    let head = file.fill_buf().map_err(unread)?;
    let plain: Box<dyn Read + Send> = if head.starts_with(b"\x1f\x8b") {
        Box::new(MultiGzDecoder::new(file))
    } else if is_zstd(head) {
        Box::new(zstd::Decoder::with_buffer(file).map_err(unread)?)
    } else {
        Box::new(file)
    };
    let mut text = BufReader::with_capacity(BUFFER_BYTES, Unpacked(plain));
    let head = text.fill_buf().map_err(unread)?;
    let found = CONTAINERS.iter().find(|(magic, ..)| head.starts_with(magic));
    let is_tar = head.get(TAR.0..).is_some_and(|rest| rest.starts_with(TAR.1));
    let tar = is_tar.then_some((&[][..], "a tar archive", "unpack it"));
    if let Some((_, what, remedy)) = found.copied().or(tar) {
        return Err(WorkloadError::Container { path: path.to_owned(), what, remedy });
    }
    if head.starts_with(MARK) {
        text.consume(MARK.len());
    }
    Ok(text)
}

/// A frame, or a skippable frame before one (the low half byte of its first byte is free).
fn is_zstd(head: &[u8]) -> bool {
    match head {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => true,
        [first, 0x2a, 0x4d, 0x18, ..] => first & 0xf0 == 0x50,
        _ => false,
    }
}

/// To identify the file; empty where it cannot be read.
pub(super) fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    if let Ok(text) = open(path, "") {
        // Bytes read before an error are still the file's beginning.
        let _ = text.take(BUFFER_BYTES as u64).read_to_end(&mut head);
    }
    head
}
