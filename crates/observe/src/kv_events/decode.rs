//! vLLM's batches of KV events: `MessagePack`, `[time, [events], rank]`.
//!
//! An event is a map with its name in `type` (since vLLM #42892), or an older array:
//! `[BlockStored, hashes, parent, token ids, block size, lora, medium, ...]`, `[BlockRemoved,
//! hashes, medium, ...]`, `[AllBlocksCleared]`. Only counted values are read; unknown ones are
//! skipped.

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
    pub blocks: u64,
    pub medium: String,
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
    let is_map = at.first().is_some_and(|byte| {
        matches!(Marker::from_u8(*byte), Marker::FixMap(_) | Marker::Map16 | Marker::Map32)
    });
    if is_map {
        let keys = read_map_len(at).map_err(|error| error.to_string())?;
        for _ in 0..keys {
            match text(at)?.unwrap_or_default().as_str() {
                "type" => read.name = text(at)?,
                "block_hashes" => read.blocks = length(at)?,
                "medium" => read.medium = text(at)?,
                _ => skip(at, 0)?,
            }
        }
    } else {
        let fields = read_array_len(at).map_err(|error| format!("no event: {error}"))?;
        for field in 0..fields {
            let stored = read.name.as_deref() == Some("BlockStored");
            match field {
                0 => read.name = text(at)?,
                1 => read.blocks = length(at)?,
                2 if !stored => read.medium = text(at)?,
                6 if stored => read.medium = text(at)?,
                _ => skip(at, 0)?,
            }
        }
    }
    Ok(read.event())
}

#[derive(Debug, Default)]
struct Read {
    name: Option<String>,
    blocks: u64,
    medium: Option<String>,
}

impl Read {
    fn event(self) -> Option<HeardEvent> {
        let change = match self.name.as_deref()? {
            "BlockStored" => KvEventChange::Stored,
            "BlockRemoved" => KvEventChange::Removed,
            "AllBlocksCleared" => KvEventChange::Cleared,
            _ => return None,
        };
        let medium = self.medium.map_or_else(|| GPU.to_owned(), |medium| medium.to_lowercase());
        Some(HeardEvent { change, blocks: self.blocks, medium })
    }
}

/// None for a value of another kind, which is skipped.
fn text(at: &mut &[u8]) -> Result<Option<String>, String> {
    let mut rest = *at;
    let is_text = at.first().is_some_and(|byte| {
        let marker = Marker::from_u8(*byte);
        matches!(marker, Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32)
    });
    if !is_text {
        skip(at, 0)?;
        return Ok(None);
    }
    let length = rmp::decode::read_str_len(&mut rest).map_err(|error| error.to_string())?;
    let bytes = taken(&mut rest, u64::from(length))?;
    *at = rest;
    Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
}

/// Skips the elements of an array; 0 for a value of another kind.
fn length(at: &mut &[u8]) -> Result<u64, String> {
    let is_array = at.first().is_some_and(|byte| {
        let marker = Marker::from_u8(*byte);
        matches!(marker, Marker::FixArray(_) | Marker::Array16 | Marker::Array32)
    });
    if !is_array {
        skip(at, 0)?;
        return Ok(0);
    }
    let count = read_array_len(at).map_err(|error| error.to_string())?;
    for _ in 0..count {
        skip(at, 0)?;
    }
    Ok(u64::from(count))
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

    fn stored(blocks: u64, medium: &str) -> HeardEvent {
        HeardEvent { change: KvEventChange::Stored, blocks, medium: medium.to_owned() }
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
        let removed =
            HeardEvent { change: KvEventChange::Removed, blocks: 1, medium: "cpu".to_owned() };
        let cleared =
            HeardEvent { change: KvEventChange::Cleared, blocks: 0, medium: "gpu".to_owned() };
        assert_eq!(heard.events, [stored(2, "gpu"), removed, cleared]);
    }

    #[test]
    fn events_in_arrays_are_read() {
        // [1, [["BlockStored", [1, 2, 3], nil, [], 0, nil, "CPU", nil], ["BlockRemoved", [9]]]]
        let mut bytes = vec![0x92, 1, 0x92, 0x98, 0xab];
        bytes.extend_from_slice(b"BlockStored");
        bytes.extend_from_slice(&[0x93, 1, 2, 3, 0xc0, 0x90, 0, 0xc0, 0xa3]);
        bytes.extend_from_slice(b"CPU");
        bytes.extend_from_slice(&[0xc0, 0x92, 0xac]);
        bytes.extend_from_slice(b"BlockRemoved");
        bytes.extend_from_slice(&[0x91, 9]);
        let heard = decode(&bytes).unwrap();
        let removed =
            HeardEvent { change: KvEventChange::Removed, blocks: 1, medium: "gpu".to_owned() };
        assert_eq!(heard.events, [stored(3, "cpu"), removed]);
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
