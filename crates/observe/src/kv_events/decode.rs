//! vLLM's batches of KV events: `MessagePack`, `[time, [events], rank]`.
//!
//! An event is a map with its name in `type` (since vLLM #42892), or an older array:
//! `[BlockStored, hashes, parent, token ids, block size, lora id, medium, lora name, extra keys,
//! group]`, `[BlockRemoved, hashes, medium, group]`, `[AllBlocksCleared]`. Later fields and unknown
//! ones are skipped.

use rmp::Marker;
use rmp::decode::{read_array_len, read_map_len, read_marker};

/// Of events without a medium.
const GPU: &str = "gpu";
/// Events have four levels.
const DEEPEST: u32 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvEventChange {
    /// The blocks can be hit from now on.
    Stored,
    /// They no longer can.
    Removed,
    Cleared,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeardEvent {
    pub change: KvEventChange,
    /// The engine's names of the blocks; of byte strings the last eight bytes, big endian.
    pub hashes: Vec<u64>,
    /// None before the first block of a prompt; the engines of llm-d's simulator send 0 for it.
    pub parent: Option<u64>,
    pub token_ids: Vec<u32>,
    /// In lower case.
    pub medium: String,
    /// Name of the adapter.
    pub lora: Option<String>,
    /// Per block what else its hash covers: hashes of images, a cache salt.
    pub extra: Vec<Vec<String>>,
    /// The group of layers, where an engine has several.
    pub group: Option<u32>,
}

impl HeardEvent {
    pub const fn blocks(&self) -> u64 {
        self.hashes.len() as u64
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// Without unknown kinds.
    pub events: Vec<HeardEvent>,
}

pub fn decode(mut bytes: &[u8]) -> Result<Heard, String> {
    let at = &mut bytes;
    let parts = read_array_len(at).map_err(|error| format!("no batch: {error}"))?;
    if parts < 2 {
        return Err(format!("a batch of {parts} parts"));
    }
    skip(at, 0)?;
    let count = read_array_len(at).map_err(|error| format!("no list of events: {error}"))?;
    let mut heard = Heard::default();
    for _ in 0..count {
        heard.events.extend(event(at)?);
    }
    Ok(heard)
}

fn event(at: &mut &[u8]) -> Result<Option<HeardEvent>, String> {
    let mut read = Read::default();
    if is_map(at) {
        let keys = read_map_len(at).map_err(|error| error.to_string())?;
        for _ in 0..keys {
            match text(at)?.unwrap_or_default().as_str() {
                "type" => read.name = text(at)?,
                "block_hashes" => read.hashes = list(at, hash)?,
                "parent_block_hash" => read.parent = hash(at)?,
                "token_ids" => read.token_ids = list(at, token)?,
                "medium" => read.medium = text(at)?,
                "lora_name" => read.lora = text(at)?,
                "extra_keys" => read.extra = list(at, block_extra)?,
                "group_idx" => read.group = token(at)?,
                _ => skip(at, 0)?,
            }
        }
    } else {
        let fields = read_array_len(at).map_err(|error| format!("no event: {error}"))?;
        for field in 0..fields {
            let stored = read.name.as_deref() == Some("BlockStored");
            match (field, stored) {
                (0, _) => read.name = text(at)?,
                (1, _) => read.hashes = list(at, hash)?,
                (2, true) => read.parent = hash(at)?,
                (2, false) | (6, true) => read.medium = text(at)?,
                (3, true) => read.token_ids = list(at, token)?,
                (3, false) | (9, true) => read.group = token(at)?,
                (7, true) => read.lora = text(at)?,
                (8, true) => read.extra = list(at, block_extra)?,
                _ => skip(at, 0)?,
            }
        }
    }
    Ok(read.event())
}

#[derive(Debug, Default)]
struct Read {
    name: Option<String>,
    hashes: Option<Vec<u64>>,
    parent: Option<u64>,
    token_ids: Option<Vec<u32>>,
    medium: Option<String>,
    lora: Option<String>,
    extra: Option<Vec<Vec<String>>>,
    group: Option<u32>,
}

impl Read {
    fn event(self) -> Option<HeardEvent> {
        let change = match self.name.as_deref()? {
            "BlockStored" => KvEventChange::Stored,
            "BlockRemoved" => KvEventChange::Removed,
            "AllBlocksCleared" => KvEventChange::Cleared,
            _ => return None,
        };
        Some(HeardEvent {
            change,
            hashes: self.hashes.unwrap_or_default(),
            parent: self.parent.filter(|parent| *parent != 0),
            token_ids: self.token_ids.unwrap_or_default(),
            medium: self.medium.map_or_else(|| GPU.to_owned(), |medium| medium.to_lowercase()),
            lora: self.lora.filter(|name| !name.is_empty()),
            extra: self.extra.unwrap_or_default(),
            group: self.group,
        })
    }
}

fn marker(at: &[u8]) -> Option<Marker> {
    at.first().map(|byte| Marker::from_u8(*byte))
}

fn is_map(at: &[u8]) -> bool {
    matches!(marker(at), Some(Marker::FixMap(_) | Marker::Map16 | Marker::Map32))
}

/// None for a value of another kind, which is skipped.
fn text(at: &mut &[u8]) -> Result<Option<String>, String> {
    let mut rest = *at;
    let is_text = matches!(
        marker(at),
        Some(Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32)
    );
    if !is_text {
        skip(at, 0)?;
        return Ok(None);
    }
    let length = rmp::decode::read_str_len(&mut rest).map_err(|error| error.to_string())?;
    let bytes = taken(&mut rest, u64::from(length))?;
    *at = rest;
    Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
}

/// The values of an array as `one` reads them; what it finds to be of another kind is left out.
/// None for a value that is no array, which is skipped.
fn list<T>(
    at: &mut &[u8],
    one: impl Fn(&mut &[u8]) -> Result<Option<T>, String>,
) -> Result<Option<Vec<T>>, String> {
    if !matches!(marker(at), Some(Marker::FixArray(_) | Marker::Array16 | Marker::Array32)) {
        skip(at, 0)?;
        return Ok(None);
    }
    let count = read_array_len(at).map_err(|error| error.to_string())?;
    // A length that the batch cannot hold must not reserve memory.
    let mut values = Vec::with_capacity((count as usize).min(at.len()));
    for _ in 0..count {
        values.extend(one(at)?);
    }
    Ok(Some(values))
}

/// None for nil.
fn hash(at: &mut &[u8]) -> Result<Option<u64>, String> {
    let length = match marker(at) {
        Some(Marker::Bin8) => 1,
        Some(Marker::Bin16) => 2,
        Some(Marker::Bin32) => 4,
        _ => return integer(at),
    };
    taken(at, 1)?;
    let length = number(at, length)?;
    let bytes = taken(at, length)?;
    let tail = &bytes[bytes.len().saturating_sub(8)..];
    Ok(Some(tail.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))))
}

fn token(at: &mut &[u8]) -> Result<Option<u32>, String> {
    Ok(integer(at)?.map(|value| value as u32))
}

/// None for a value of another kind, which is skipped.
fn integer(at: &mut &[u8]) -> Result<Option<u64>, String> {
    let bytes = match marker(at) {
        Some(Marker::FixPos(value)) => {
            taken(at, 1)?;
            return Ok(Some(u64::from(value)));
        }
        Some(Marker::U8) => 1,
        Some(Marker::U16) => 2,
        Some(Marker::U32) => 4,
        Some(Marker::U64) => 8,
        Some(Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64 | Marker::FixNeg(_)) => {
            let value: i64 =
                rmp::decode::read_int(at).map_err(|_| "the batch ends in a number".to_owned())?;
            return Ok(Some(value.cast_unsigned()));
        }
        _ => {
            skip(at, 0)?;
            return Ok(None);
        }
    };
    taken(at, 1)?;
    number(at, bytes).map(Some)
}

/// Nil, of most blocks, is an empty list.
fn block_extra(at: &mut &[u8]) -> Result<Option<Vec<String>>, String> {
    Ok(Some(list(at, extra_key)?.unwrap_or_default()))
}

/// A text, or the text that begins an array (vLLM before 0.18: an image's hash and its place).
fn extra_key(at: &mut &[u8]) -> Result<Option<String>, String> {
    if matches!(marker(at), Some(Marker::FixArray(_))) {
        return Ok(list(at, text)?.and_then(|texts| texts.into_iter().next()));
    }
    text(at)
}

fn taken<'a>(at: &mut &'a [u8], count: u64) -> Result<&'a [u8], String> {
    let count = usize::try_from(count).map_err(|_| "a value beyond memory".to_owned())?;
    let (head, rest) = at.split_at_checked(count).ok_or("the batch ends in a value")?;
    *at = rest;
    Ok(head)
}

/// Big-endian.
fn number(at: &mut &[u8], bytes: u64) -> Result<u64, String> {
    Ok(taken(at, bytes)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn skip(at: &mut &[u8], depth: u32) -> Result<(), String> {
    if depth > DEEPEST {
        return Err("a batch that is nested too deeply".to_owned());
    }
    let marker = read_marker(at).map_err(|_| "the batch ends before a value".to_owned())?;
    let (bytes, values) = match marker {
        Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => {
            (0, 0)
        }
        Marker::U8 | Marker::I8 => (1, 0),
        Marker::U16 | Marker::I16 | Marker::FixExt1 => (2, 0),
        Marker::U32 | Marker::I32 | Marker::F32 => (4, 0),
        Marker::U64 | Marker::I64 | Marker::F64 => (8, 0),
        Marker::FixStr(length) => (u64::from(length), 0),
        Marker::Str8 | Marker::Bin8 => (number(at, 1)?, 0),
        Marker::Str16 | Marker::Bin16 => (number(at, 2)?, 0),
        Marker::Str32 | Marker::Bin32 => (number(at, 4)?, 0),
        Marker::FixArray(count) => (0, u64::from(count)),
        Marker::Array16 => (0, number(at, 2)?),
        Marker::Array32 => (0, number(at, 4)?),
        Marker::FixMap(count) => (0, 2 * u64::from(count)),
        Marker::Map16 => (0, 2 * number(at, 2)?),
        Marker::Map32 => (0, 2 * number(at, 4)?),
        Marker::FixExt2 => (3, 0),
        Marker::FixExt4 => (5, 0),
        Marker::FixExt8 => (9, 0),
        Marker::FixExt16 => (17, 0),
        Marker::Ext8 => (number(at, 1)? + 1, 0),
        Marker::Ext16 => (number(at, 2)? + 1, 0),
        Marker::Ext32 => (number(at, 4)? + 1, 0),
        Marker::Reserved => return Err("a byte that begins no value".to_owned()),
    };
    taken(at, bytes)?;
    for _ in 0..values {
        skip(at, depth + 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(change: KvEventChange, hashes: &[u64], medium: &str) -> HeardEvent {
        HeardEvent {
            change,
            hashes: hashes.to_vec(),
            parent: None,
            token_ids: Vec::new(),
            medium: medium.to_owned(),
            lora: None,
            extra: Vec::new(),
            group: None,
        }
    }

    /// `[1.5, [{type: BlockStored, block_hashes: [7, 8], token_ids: [1], medium: GPU,
    /// extra_keys: [nil]}, {type: BlockRemoved, block_hashes: [h'00ff'], medium: CPU},
    /// {type: AllBlocksCleared}], 0]`.
    fn maps() -> Vec<u8> {
        let mut bytes = vec![0x93, 0xcb];
        bytes.extend_from_slice(&1.5_f64.to_be_bytes());
        bytes.push(0x93);
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.push(0xa0 | text.len() as u8);
            bytes.extend_from_slice(text.as_bytes());
        };
        bytes.push(0x85);
        text(&mut bytes, "type");
        text(&mut bytes, "BlockStored");
        text(&mut bytes, "block_hashes");
        bytes.extend_from_slice(&[0x92, 7, 0xcd, 1, 8]);
        text(&mut bytes, "token_ids");
        bytes.extend_from_slice(&[0x91, 1]);
        text(&mut bytes, "medium");
        text(&mut bytes, "GPU");
        text(&mut bytes, "extra_keys");
        bytes.extend_from_slice(&[0x91, 0xc0]);
        bytes.push(0x83);
        text(&mut bytes, "type");
        text(&mut bytes, "BlockRemoved");
        text(&mut bytes, "block_hashes");
        bytes.extend_from_slice(&[0x91, 0xc4, 2, 0, 0xff]);
        text(&mut bytes, "medium");
        text(&mut bytes, "CPU");
        bytes.push(0x81);
        text(&mut bytes, "type");
        text(&mut bytes, "AllBlocksCleared");
        bytes.push(0);
        bytes
    }

    #[test]
    fn events_in_maps_are_read() {
        let heard = decode(&maps()).unwrap();
        let stored = HeardEvent {
            token_ids: vec![1],
            extra: vec![Vec::new()],
            ..self::heard(KvEventChange::Stored, &[7, 264], "gpu")
        };
        let removed = self::heard(KvEventChange::Removed, &[0xff], "cpu");
        let cleared = self::heard(KvEventChange::Cleared, &[], "gpu");
        assert_eq!(heard.events, [stored, removed, cleared]);
    }

    #[test]
    fn events_in_arrays_are_read() {
        // [1, [["BlockStored", [1, 2, h'..01020304050607'], -1, [5, 300], 2, nil, "CPU", "ad",
        // [nil, ["salt"], [["image", 3]]], 1], ["BlockRemoved", [9]]]]
        let mut bytes = vec![0x92, 1, 0x92, 0x9a, 0xab];
        bytes.extend_from_slice(b"BlockStored");
        bytes.extend_from_slice(&[0x93, 1, 2, 0xc4, 9, 9, 0, 1, 2, 3, 4, 5, 6, 7]);
        bytes.extend_from_slice(&[0xff, 0x92, 5, 0xcd, 1, 44, 2, 0xc0, 0xa3]);
        bytes.extend_from_slice(b"CPU\xa2ad\x93\xc0\x91\xa4salt\x91\x92\xa5image");
        bytes.extend_from_slice(&[3, 1, 0x92, 0xac]);
        bytes.extend_from_slice(b"BlockRemoved");
        bytes.extend_from_slice(&[0x91, 9]);
        let heard = decode(&bytes).unwrap();
        let stored = HeardEvent {
            parent: Some(u64::MAX),
            token_ids: vec![5, 300],
            lora: Some("ad".to_owned()),
            extra: vec![Vec::new(), vec!["salt".to_owned()], vec!["image".to_owned()]],
            group: Some(1),
            ..self::heard(KvEventChange::Stored, &[1, 2, 0x0001_0203_0405_0607], "cpu")
        };
        assert_eq!(heard.events, [stored, self::heard(KvEventChange::Removed, &[9], "gpu")]);
    }

    #[test]
    fn what_breaks_off_is_an_error_wherever_it_does() {
        let whole = maps();
        for end in 0..whole.len() - 1 {
            assert!(decode(&whole[..end]).is_err(), "{end}");
        }
        assert!(decode(&[0xc1]).is_err());
        // An array of four thousand million missing hashes.
        assert!(decode(&[0x92, 1, 0x91, 0x92, 0xa1, b'B', 0xdd, 0xff, 0xff, 0xff, 0xff]).is_err());
        let deep = [vec![0x92], vec![0x91; 100]].concat();
        assert!(decode(&deep).is_err());
    }
}
