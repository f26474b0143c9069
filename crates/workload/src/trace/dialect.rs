//! Which program wrote a trace, by its keys or columns, so that a refusal can name it.
//!
//! Only the beginning of a file is read. Marks are keys that a dialect has and its neighbours lack,
//! in the order in which they decide.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::bytes;
use crate::config::TraceFormat;

/// A file of prompts may have one key per prompt.
pub(super) const MOST_KEYS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    /// With its article, as users call it.
    name: &'static str,
    /// Keys or columns that must all be there.
    marks: &'static [&'static str],
    lacks: Option<&'static str>,
    /// None where Weir has no reader.
    pub(super) format: Option<TraceFormat>,
}

const fn other(name: &'static str, marks: &'static [&'static str]) -> Dialect {
    Dialect { name, marks, lacks: None, format: None }
}

/// Sources: `AIPerf`'s loaders of Mooncake, multi-turn and Baseten traces, kv-cache-tester's
/// traces, `GuideLLM`'s guide to trace replay, the data sets' own descriptions.
const DIALECTS: [Dialect; 22] = [
    other("an AIPerf trace", &["session_id", "delay"]),
    other("an AIPerf trace", &["session_id", "input_length"]),
    other("an AIPerf trace", &["delay", "input_length"]),
    other("an AIPerf trace", &["text_input"]),
    other("an AIPerf multi-turn file", &["turns"]),
    other("a Baseten trace", &["timestamp_start_unix_ms"]),
    other("a kv-cache-tester (WEKA) trace", &["requests", "hash_id_scope"]),
    other("a kv-cache-tester (WEKA) trace", &["requests", "block_size"]),
    other("a file with all requests in one object", &["requests"]),
    other("an OpenTelemetry trace", &["trace_id", "spans"]),
    other("an OpenTelemetry trace", &["trace_id", "span_id"]),
    other("an OpenTelemetry trace", &["resourceSpans"]),
    other("a ShareGPT file", &["conversations"]),
    other("a ShareGPT file", &["conversation"]),
    other("a file of chat messages", &["messages"]),
    other("a BurstGPT trace", &["Request tokens", "Response tokens"]),
    other("an Azure trace of prompts with images", &["NumImages", "ContextTokens"]),
    other("a Vidur trace", &["num_prefill_tokens", "num_decode_tokens"]),
    other("a Splitwise trace", &["prompt_size", "token_size"]),
    Dialect {
        format: Some(TraceFormat::Azure2023),
        ..other("an Azure trace", &["TIMESTAMP", "ContextTokens", "GeneratedTokens"])
    },
    Dialect { lacks: Some("hash_ids"), ..other("a trace of lengths only", &["input_length"]) },
    Dialect {
        format: Some(TraceFormat::Mooncake),
        ..other("a Mooncake trace", &["input_length", "hash_ids"])
    },
];

impl Dialect {
    pub(super) fn of(keys: &BTreeSet<String>) -> Option<Self> {
        let has = |key: &str| keys.contains(key);
        DIALECTS.into_iter().find(|dialect| {
            dialect.marks.iter().all(|mark| has(mark)) && !dialect.lacks.is_some_and(has)
        })
    }

    /// `seen` are keys that another reader found.
    pub(super) fn of_file(path: &Path, seen: &BTreeSet<String>) -> Option<Self> {
        let mut keys = keys(&bytes::head(path));
        keys.extend(seen.iter().cloned());
        Self::of(&keys)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is {} ({}", self.name, self.marks.join(", "))?;
        if let Some(key) = self.lacks {
            write!(f, " without {key}")?;
        }
        match self.format {
            Some(TraceFormat::Mooncake) => f.write_str("); write `format: mooncake`"),
            Some(TraceFormat::Azure2023) => f.write_str("); write `format: azure2023`"),
            None => f.write_str(
                "); supported: Mooncake and Qwen-Bailian JSON lines (`format: mooncake`) and \
                 Azure CSV (`format: azure2023`)",
            ),
        }
    }
}

/// Keys of the objects at the beginning of a text, or the columns of its first line. The text may
/// be cut anywhere.
fn keys(head: &[u8]) -> BTreeSet<String> {
    let start = head.trim_ascii_start();
    if !matches!(start.first(), Some(b'{' | b'[')) {
        let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let columns = line.split([',', ';', '\t']).map(|name| name.trim().trim_matches('"'));
        return columns.take(MOST_KEYS).map(str::to_owned).collect();
    }
    let mut keys = BTreeSet::new();
    let mut rest = start;
    while !rest.is_empty() && keys.len() < MOST_KEYS {
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
        let complete = matches!(values.next(), Some(Ok(_)));
        let end = values.byte_offset();
        // The text's last value may be cut: its first keys still count.
        let _ = serde_json::Deserializer::from_slice(rest).deserialize_any(Keys(&mut keys));
        if !complete || end == 0 {
            break;
        }
        rest = rest[end..].trim_ascii_start();
    }
    keys
}

/// Of the object, or of the first object of a list.
struct Keys<'a>(&'a mut BTreeSet<String>);

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if self.0.len() < MOST_KEYS {
                self.0.insert(key);
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        list.next_element_seed(self)?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Keys<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}
