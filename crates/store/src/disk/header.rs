//! Headers: which block is in which slot, with its checksum.
//!
//! Headers have their own file: small writes through the page cache would otherwise wait for direct
//! writes to the same file (file systems lock a file between the two). A header is written after
//! its block and erased before its slot is rewritten, so a killed process leaves no header without
//! its block. After a machine crash it may; then the checksum differs.
//!
//! ```text
//! 0      superblock: magic, version, block bytes, stride, slots, zeros, xxh3-64     4096 bytes
//! 4096   header of slot 0: magic, version, key, length, xxh3-64 of the block,
//!        generation, slot, zeros, xxh3-64 of the header                              128 bytes
//! 4224   header of slot 1 ...
//! ```
//!
//! Numbers are little-endian. Generations count all blocks ever stored and give the order of age
//! when a tier is opened again.

use std::fs::File;
use std::os::unix::fs::FileExt;

use xxhash_rust::xxh3::xxh3_64;

use crate::tier::ChunkHash;

/// A sector has a whole number of headers, so none is torn between two sectors.
pub(super) const HEADER_BYTES: u64 = 128;
pub(super) const HEADERS_AT: u64 = 4096;
const MAGIC_HEADER: [u8; 4] = *b"WBLK";
const MAGIC_FILE: [u8; 8] = *b"WEIRSLOT";
const VERSION: u32 = 1;
/// Headers per read when a tier is opened: half a MiB.
const HEADERS_PER_READ: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) key: ChunkHash,
    pub(super) length: u64,
    pub(super) checksum: u64,
    pub(super) generation: u64,
    pub(super) slot: u32,
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[..4].copy_from_slice(&MAGIC_HEADER);
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..40].copy_from_slice(&self.key.0);
        let numbers = [self.length, self.checksum, self.generation, u64::from(self.slot)];
        for (place, number) in bytes[40..72].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        seal(&mut bytes);
        bytes
    }

    /// None unless the bytes are a whole header.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let known = bytes[..4] == MAGIC_HEADER && bytes[4..8] == VERSION.to_le_bytes();
        if !known || !is_sealed(bytes) {
            return None;
        }
        Some(Self {
            key: ChunkHash(bytes[8..40].try_into().ok()?),
            length: number(bytes, 40),
            checksum: number(bytes, 48),
            generation: number(bytes, 56),
            slot: u32::try_from(number(bytes, 64)).ok()?,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileLayout {
    pub(super) block_bytes: u64,
    pub(super) stride: u64,
    pub(super) slots: u32,
}

impl FileLayout {
    pub(super) fn header_file_bytes(&self) -> u64 {
        HEADERS_AT + u64::from(self.slots) * HEADER_BYTES
    }

    pub(super) fn block_file_bytes(&self) -> u64 {
        u64::from(self.slots) * self.stride
    }

    pub(super) fn offset(&self, slot: u32) -> u64 {
        u64::from(slot) * self.stride
    }
}

impl std::fmt::Display for FileLayout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} blocks of {} bytes", self.slots, self.block_bytes)
    }
}

#[derive(Debug)]
pub(super) enum Superblock {
    Empty,
    /// Another program's, or damaged.
    Foreign,
    Of(FileLayout),
}

#[derive(Debug)]
pub(super) struct HeaderFile {
    file: File,
}

impl HeaderFile {
    pub(super) fn new(file: File) -> Self {
        Self { file }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn superblock(&self) -> std::io::Result<Superblock> {
        let mut bytes = [0; HEADERS_AT as usize];
        let len = read_full(&self.file, &mut bytes, 0)?;
        if bytes[..len].iter().all(|byte| *byte == 0) {
            return Ok(Superblock::Empty);
        }
        if bytes[..8] != MAGIC_FILE || number(&bytes, 8) != u64::from(VERSION) || !is_sealed(&bytes)
        {
            return Ok(Superblock::Foreign);
        }
        let slots = u32::try_from(number(&bytes, 32)).unwrap_or(u32::MAX);
        let (block_bytes, stride) = (number(&bytes, 16), number(&bytes, 24));
        Ok(Superblock::Of(FileLayout { block_bytes, stride, slots }))
    }

    /// Erases the file, then writes the superblock of this layout.
    pub(super) fn format(&self, layout: &FileLayout) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.set_len(layout.header_file_bytes())?;
        let mut bytes = [0; HEADERS_AT as usize];
        bytes[..8].copy_from_slice(&MAGIC_FILE);
        let numbers =
            [u64::from(VERSION), layout.block_bytes, layout.stride, u64::from(layout.slots)];
        for (place, number) in bytes[8..40].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        seal(&mut bytes);
        self.file.write_all_at(&bytes, 0)
    }

    /// None for invalid bytes; slots never written or erased are skipped.
    pub(super) fn scan(
        &self,
        layout: &FileLayout,
        mut each: impl FnMut(u32, Option<Header>),
    ) -> std::io::Result<()> {
        let mut bytes = vec![0; (HEADERS_PER_READ * HEADER_BYTES) as usize];
        let mut slot = 0;
        while slot < layout.slots {
            let count = u64::from(layout.slots - slot).min(HEADERS_PER_READ);
            let wanted = (count * HEADER_BYTES) as usize;
            bytes[..wanted].fill(0);
            read_full(&self.file, &mut bytes[..wanted], at(slot))?;
            for header in bytes[..wanted].chunks_exact(HEADER_BYTES as usize) {
                if header.iter().any(|byte| *byte != 0) {
                    each(slot, Header::decode(header).filter(|header| header.slot == slot));
                }
                slot += 1;
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, header: &Header) -> std::io::Result<()> {
        self.file.write_all_at(&header.encode(), at(header.slot))
    }

    pub(super) fn erase(&self, slot: u32) -> std::io::Result<()> {
        self.file.write_all_at(&[0; HEADER_BYTES as usize], at(slot))
    }
}

fn at(slot: u32) -> u64 {
    HEADERS_AT + u64::from(slot) * HEADER_BYTES
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// Writes the checksum of the preceding bytes into the last eight.
fn seal(bytes: &mut [u8]) {
    let end = bytes.len() - 8;
    let sum = xxh3_64(&bytes[..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&sum);
}

fn is_sealed(bytes: &[u8]) -> bool {
    let end = bytes.len() - 8;
    number(bytes, end) == xxh3_64(&bytes[..end])
}

fn read_full(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut len = 0;
    while len < bytes.len() {
        match file.read_at(&mut bytes[len..], offset + len as u64) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_any_bit_turned_is_none() {
        let header = Header {
            key: ChunkHash([7; 32]),
            length: 65536,
            checksum: 0x0123_4567_89ab_cdef,
            generation: 42,
            slot: 3,
        };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&damaged), None, "bit {bit}");
        }
        assert_eq!(Header::decode(&[0; HEADER_BYTES as usize]), None);
    }
}
