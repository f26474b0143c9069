//! Keys of chunks in a store, and the bytes around a block: Weir's own layout, that of `LMCache`'s
//! server, and the in-engine `LMCache` layout for counting and removing.
//!
//! `LMCache`'s layouts as of version 0.5.6, observed in Redis after a run of it.

use std::fmt::Write as _;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::command::decimal;
use crate::tier::ChunkHash;

pub const TRAILER_MAGIC: [u8; 8] = *b"weirkv1\n";
/// Bytes of the trailer: the magic, then XXH3 (64 bits, little endian) of the block, seeded with
/// the first eight bytes of the chunk's hash (little endian), so that another chunk's bytes do not
/// match.
pub const TRAILER_BYTES: usize = 16;
const NAME_BYTES_MAX: usize = 512;
const HEX: &[u8; 16] = b"0123456789abcdef";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("namespace {0:?}: give 1 to 64 characters of a-z, A-Z, 0-9, '.', '_' and '-'")]
    Namespace(String),
    #[error("{what} {name:?}: give 1 to {NAME_BYTES_MAX} bytes without control characters{extra}")]
    Name {
        what: &'static str,
        name: String,
        /// Characters that the name must not contain in addition.
        extra: &'static str,
    },
}

/// Element types in in-engine `LMCache` keys.
const LMCACHE_DTYPES: [&str; 6] = ["half", "bfloat16", "float", "uint8", "fp8_e4m3fn", "fp8_e5m2"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyLayout {
    /// `weir:{namespace}:{hash in hex}` (without braces).
    Weir {
        /// Separates the keys of different users.
        namespace: String,
        /// Whether values end with a checksum trailer.
        checksums: bool,
    },
    /// `LMCache`'s server, L2 adapters `resp` and `valkey`:
    /// `{model}@{kv_rank:08x}@{object_group:x}@{hash in hex}[@{salt}]`.
    LmcacheServer {
        model: String,
        /// `world << 24 | rank << 16 | local_world << 8 | local_rank`.
        kv_rank: u32,
        /// Index of the group of layers.
        object_group: u32,
        /// The cache salt of requests, if any.
        salt: Option<String>,
    },
    /// All ranks and layer groups, for counting and removing; a block's key is that of the first.
    LmcacheServerRanks {
        model: String,
        /// Ranks of the engine; None for any number.
        world: Option<u8>,
        /// The cache salt of requests, if any.
        salt: Option<String>,
    },
    /// In-engine `LMCache` (`redis://` and the like), all workers and element types, for counting
    /// and removing chunks: `{model}@{world}@{worker}@{hash:x}@{dtype}`. The hash is the first
    /// eight bytes; suffix `kv_bytes` is the bytes, `metadata` their description. A block's key is
    /// that of the first worker.
    LmcacheWorkers { model: String, world_size: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPart {
    Value,
    /// The description of the bytes; only in [`KeyLayout::LmcacheWorkers`].
    Metadata,
}

impl KeyPart {
    const fn suffix(self) -> &'static [u8] {
        match self {
            Self::Value => b"kv_bytes",
            Self::Metadata => b"metadata",
        }
    }
}

impl KeyLayout {
    pub fn check(&self) -> Result<(), LayoutError> {
        let named = |what: &'static str, name: &str, at_sign: bool| {
            let control = name.chars().any(char::is_control);
            let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && !control;
            let extra = if at_sign { "" } else { " and without '@'" };
            if fits && (at_sign || !name.contains('@')) {
                return Ok(());
            }
            Err(LayoutError::Name { what, name: name.to_owned(), extra })
        };
        match self {
            Self::Weir { namespace, .. } => {
                let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                if (1..=64).contains(&namespace.len()) && namespace.chars().all(known) {
                    return Ok(());
                }
                Err(LayoutError::Namespace(namespace.clone()))
            }
            Self::LmcacheServer { model, salt, .. }
            | Self::LmcacheServerRanks { model, salt, .. } => {
                named("model", model, true)?;
                salt.as_ref().map_or(Ok(()), |salt| named("cache salt", salt, false))
            }
            Self::LmcacheWorkers { model, .. } => named("model", model, true),
        }
    }

    /// The word in tables and files.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Weir { .. } => "weir",
            Self::LmcacheServer { .. } | Self::LmcacheServerRanks { .. } => "lmcache-server",
            Self::LmcacheWorkers { .. } => "lmcache-redis",
        }
    }

    pub const fn has_metadata(&self) -> bool {
        matches!(self, Self::LmcacheWorkers { .. })
    }

    /// Bytes after the block in its value.
    pub const fn trailer_bytes(&self) -> usize {
        match self {
            Self::Weir { checksums: true, .. } => TRAILER_BYTES,
            _ => 0,
        }
    }

    pub fn key(&self, hash: &ChunkHash, part: KeyPart, out: &mut Vec<u8>) {
        self.prefix(out);
        match self {
            Self::Weir { .. } => hex(&hash.0, out),
            Self::LmcacheServer { salt, .. } | Self::LmcacheServerRanks { salt, .. } => {
                if let Self::LmcacheServerRanks { world, .. } = self {
                    let world = world.unwrap_or(1);
                    hex(&[world, 0, world, 0], out);
                    out.extend_from_slice(b"@0@");
                }
                hex(&hash.0, out);
                if let Some(salt) = salt {
                    out.push(b'@');
                    out.extend_from_slice(salt.as_bytes());
                }
            }
            Self::LmcacheWorkers { .. } => {
                out.extend_from_slice(b"0@");
                hex_number(first_eight(hash), out);
                out.extend_from_slice(b"@bfloat16");
                out.extend_from_slice(part.suffix());
            }
        }
    }

    fn prefix(&self, out: &mut Vec<u8>) {
        match self {
            Self::Weir { namespace, .. } => {
                out.extend_from_slice(b"weir:");
                out.extend_from_slice(namespace.as_bytes());
                out.push(b':');
            }
            Self::LmcacheServer { model, kv_rank, object_group, .. } => {
                out.extend_from_slice(model.as_bytes());
                out.push(b'@');
                hex(&kv_rank.to_be_bytes(), out);
                out.push(b'@');
                hex_number(u64::from(*object_group), out);
                out.push(b'@');
            }
            Self::LmcacheServerRanks { model, .. } => {
                out.extend_from_slice(model.as_bytes());
                out.push(b'@');
            }
            Self::LmcacheWorkers { model, world_size } => {
                out.extend_from_slice(model.as_bytes());
                out.push(b'@');
                decimal(out, u64::from(*world_size));
                out.push(b'@');
            }
        }
    }

    /// The chunk of a key, if the key belongs to this layout and no other.
    pub fn parse(&self, key: &[u8]) -> Option<(ChunkHash, KeyPart)> {
        self.reader().parse(key)
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        let mut prefix = Vec::new();
        self.prefix(&mut prefix);
        Reader { layout: self, prefix }
    }

    fn parse_rest(&self, rest: &[u8]) -> Option<(ChunkHash, KeyPart)> {
        match self {
            Self::Weir { .. } | Self::LmcacheServer { salt: None, .. } => {
                Some((ChunkHash(from_hex(rest)?), KeyPart::Value))
            }
            Self::LmcacheServerRanks { world, salt, .. } => {
                let hash = of_any_rank(rest, *world, salt.as_deref())?;
                Some((ChunkHash(hash), KeyPart::Value))
            }
            Self::LmcacheServer { salt: Some(salt), .. } => {
                let rest = rest.strip_suffix(salt.as_bytes())?.strip_suffix(b"@")?;
                Some((ChunkHash(from_hex(rest)?), KeyPart::Value))
            }
            Self::LmcacheWorkers { .. } => {
                let (rest, part) = without_suffix(rest)?;
                let at = rest.iter().position(|byte| *byte == b'@')?;
                let (worker, rest) = (&rest[..at], &rest[at + 1..]);
                let is_number = !worker.is_empty() && worker.iter().all(u8::is_ascii_digit);
                let hash = LMCACHE_DTYPES.into_iter().find_map(|dtype| short_hash(rest, dtype));
                hash.filter(|_| is_number).map(|hash| (hash, part))
            }
        }
    }

    /// A pattern for `SCAN` that matches all keys of this layout and maybe others;
    /// [`parse`](Self::parse) tells them apart. It ends before the first byte that is special on
    /// any server: some match globs, and some take every byte but a last star literally,
    /// backslashes too (Kvrocks up to 2.10, `src/commands/scan_base.h`).
    pub fn pattern(&self) -> Vec<u8> {
        let mut pattern = Vec::new();
        self.prefix(&mut pattern);
        let literal = pattern.iter().position(|byte| b"*?[\\".contains(byte));
        pattern.truncate(literal.unwrap_or(pattern.len()));
        pattern.push(b'*');
        pattern
    }

    pub fn trailer(&self, hash: &ChunkHash, block: &[u8], out: &mut Vec<u8>) {
        if self.trailer_bytes() > 0 {
            out.extend_from_slice(&TRAILER_MAGIC);
            out.extend_from_slice(&checksum(hash, block).to_le_bytes());
        }
    }

    pub fn trailer_fits(&self, hash: &ChunkHash, block: &[u8], trailer: &[u8]) -> bool {
        match trailer.split_first_chunk() {
            Some((magic, sum)) if self.trailer_bytes() > 0 => {
                *magic == TRAILER_MAGIC && sum == checksum(hash, block).to_le_bytes()
            }
            _ => trailer.len() == self.trailer_bytes(),
        }
    }
}

pub(super) struct Reader<'a> {
    layout: &'a KeyLayout,
    prefix: Vec<u8>,
}

impl Reader<'_> {
    pub(super) fn parse(&self, key: &[u8]) -> Option<(ChunkHash, KeyPart)> {
        self.layout.parse_rest(key.strip_prefix(self.prefix.as_slice())?)
    }
}

fn checksum(hash: &ChunkHash, block: &[u8]) -> u64 {
    xxh3_64_with_seed(block, u64::from_le_bytes(*hash.0.first_chunk().expect("32 bytes")))
}

fn first_eight(hash: &ChunkHash) -> u64 {
    u64::from_be_bytes(*hash.0.first_chunk().expect("32 bytes"))
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// Hex digits without leading zeros, as Python's `:x`.
fn hex_number(number: u64, out: &mut Vec<u8>) {
    let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(HEX[(number >> (4 * digit) & 15) as usize]);
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn from_hex(text: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Parses `{kv_rank:08x}@{object_group:x}@{hash in hex}[@{salt}]` of an engine with `world` ranks.
fn of_any_rank(text: &[u8], world: Option<u8>, salt: Option<&str>) -> Option<[u8; 32]> {
    let is_hex = |part: &[u8]| !part.is_empty() && part.iter().all(|byte| digit(*byte).is_some());
    let mut parts = text.splitn(4, |byte| *byte == b'@');
    let (rank, group, hash) = (parts.next()?, parts.next()?, parts.next()?);
    let of_world = match rank {
        [high, low, ..] => digit(*high)? << 4 | digit(*low)?,
        _ => return None,
    };
    let fits = rank.len() == 8
        && is_hex(rank)
        && is_hex(group)
        && world.is_none_or(|world| world == of_world)
        && parts.next() == salt.map(str::as_bytes);
    if fits { from_hex(hash) } else { None }
}

fn without_suffix(text: &[u8]) -> Option<(&[u8], KeyPart)> {
    let parts = [KeyPart::Value, KeyPart::Metadata];
    parts.into_iter().find_map(|part| Some((text.strip_suffix(part.suffix())?, part)))
}

fn short_hash(text: &[u8], dtype: &str) -> Option<ChunkHash> {
    let text = text.strip_suffix(dtype.as_bytes())?.strip_suffix(b"@")?;
    let canonical = matches!(text, [b'0'] | [b'1'..=b'9' | b'a'..=b'f', ..]);
    if !canonical || text.len() > 16 {
        return None;
    }
    let mut number = 0;
    for byte in text {
        number = number << 4 | u64::from(digit(*byte)?);
    }
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    Some(ChunkHash(hash))
}

impl std::fmt::Display for KeyLayout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut prefix = Vec::new();
        self.prefix(&mut prefix);
        f.write_str(&String::from_utf8_lossy(&prefix))?;
        f.write_char('*')
    }
}
