//! The Mooncake trace format (FAST'25 release) and its relatives: JSON lines with hash ids.
//!
//! `{"timestamp": t, "input_length": n, "output_length": m, "hash_ids": [...]}`. A hash id names a
//! block of `b` tokens and everything before it, across the whole file. Piece `i` of the prompt
//! covers the tokens `[b i, min(b (i + 1), n))`, so a request has `ceil(n / b)` ids. The file
//! contains neither `b` nor the unit of `t`; [`super::reading`] finds them. Contents depend on the
//! ids alone, not on the seed: equal ids are equal tokens. Other fields are ignored, but their
//! names are kept because they distinguish releases.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead, Read as _};
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use weir_model::{ContentId, Piece, Prompt};

use super::dialect::{Dialect, MOST_KEYS};
use super::reading::Scale;
use super::{TraceRecord, bytes};
use crate::config::{MAX_REQUEST_TOKENS, TraceFormat};
use crate::error::WorkloadError;

/// Longest line; a million tokens of input take 16 KiB in blocks of 512, 512 KiB in blocks of 16.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Largest timestamp: about 30 million years, exact as nanoseconds in 128 bits.
const TIMESTAMP_NS_MAX: f64 = 1e24;

const REMEDY: &str = "get a Mooncake trace, for example conversation_trace.jsonl in \
    FAST25-release/traces of https://github.com/kvcache-ai/Mooncake, and point to it with \
    `--set workload.trace.path=FILE`";

/// In the file's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stamp {
    Whole(i64),
    Fraction(f64),
}

impl Stamp {
    /// None where it is out of range.
    pub(super) fn ns(self, unit_ns: i64) -> Option<i128> {
        match self {
            Self::Whole(value) => Some(i128::from(value) * i128::from(unit_ns)),
            Self::Fraction(value) => {
                let ns = (value * unit_ns as f64).round();
                (ns.abs() <= TIMESTAMP_NS_MAX).then_some(ns as i128)
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) timestamp: Stamp,
    pub(super) input_length: u32,
    output_length: u32,
    pub(super) hash_ids: Vec<u64>,
}

/// Includes what was read before an error.
#[derive(Default)]
struct Fields<'a> {
    timestamp: Option<Stamp>,
    input_length: Option<u32>,
    output_length: Option<u32>,
    hash_ids: Option<Vec<u64>>,
    keys: Option<&'a mut BTreeSet<String>>,
}

impl Fields<'_> {
    fn row<E: serde::de::Error>(self) -> Result<Row, E> {
        Ok(Row {
            timestamp: self.timestamp.ok_or_else(|| E::missing_field("timestamp"))?,
            input_length: self.input_length.ok_or_else(|| E::missing_field("input_length"))?,
            output_length: self.output_length.ok_or_else(|| E::missing_field("output_length"))?,
            hash_ids: self.hash_ids.ok_or_else(|| E::missing_field("hash_ids"))?,
        })
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Row, A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let twice = match key.as_str() {
                "timestamp" => self.timestamp.replace(map.next_value()?).is_some(),
                "input_length" => self.input_length.replace(map.next_value()?).is_some(),
                "output_length" => self.output_length.replace(map.next_value()?).is_some(),
                "hash_ids" => self.hash_ids.replace(map.next_value()?).is_some(),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    false
                }
            };
            if twice {
                return Err(A::Error::custom(format_args!("the key `{key}` stands twice")));
            }
            if let Some(keys) = self.keys.as_mut()
                && keys.len() < MOST_KEYS
                && !keys.contains(&key)
            {
                keys.insert(key);
            }
        }
        self.row()
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Stamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Stamp, E> {
                Ok(Stamp::Whole(value))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Stamp, E> {
                Ok(i64::try_from(value).map_or(Stamp::Fraction(value as f64), Stamp::Whole))
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Stamp, E> {
                Ok(Stamp::Fraction(value))
            }

            /// Some writers quote 64-bit times.
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Stamp, E> {
                let fraction = || text.parse().ok().filter(|value: &f64| value.is_finite());
                let whole = text.parse().map(Stamp::Whole).ok();
                whole
                    .or_else(|| fraction().map(Stamp::Fraction))
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Number)
    }
}

#[derive(Debug)]
pub(super) struct Rows {
    path: PathBuf,
    text: bytes::Text,
    line: u64,
    buffer: Vec<u8>,
    keys: BTreeSet<String>,
}

impl Rows {
    pub(super) fn open(path: &Path) -> Result<Self, WorkloadError> {
        let text = bytes::open(path, REMEDY)?;
        let (path, buffer, keys) = (path.to_owned(), Vec::new(), BTreeSet::new());
        Ok(Self { path, text, line: 0, buffer, keys })
    }

    pub(super) fn keys(&self) -> &BTreeSet<String> {
        &self.keys
    }

    /// None at the end of the file. Blank lines are skipped.
    pub(super) fn next_row(&mut self) -> Result<Option<Row>, WorkloadError> {
        loop {
            self.line += 1;
            self.buffer.clear();
            let mut limited = (&mut self.text).take(LINE_BYTES_MAX);
            let read = limited.read_until(b'\n', &mut self.buffer).map_err(|cause| {
                WorkloadError::Read {
                    path: self.path.clone(),
                    line: self.line,
                    cause: cause.to_string(),
                }
            })?;
            if read == 0 {
                return Ok(None);
            }
            if read as u64 == LINE_BYTES_MAX {
                return Err(self.broken(None));
            }
            if !self.buffer.trim_ascii().is_empty() {
                return self.row().map(Some);
            }
        }
    }

    fn row(&mut self) -> Result<Row, WorkloadError> {
        let mut deserializer = serde_json::Deserializer::from_slice(&self.buffer);
        let fields = Fields { keys: Some(&mut self.keys), ..Fields::default() };
        let row = deserializer
            .deserialize_any(fields)
            .and_then(|row| deserializer.end().map(|()| row))
            .map_err(|cause| self.broken(Some(&cause)))?;
        // Turns of a session have their own times and lengths, whatever the other fields.
        if self.keys.contains("session_id") || self.keys.contains("delay") {
            return Err(self.broken(None));
        }
        if row.input_length == 0 {
            return Err(self.error("has input_length 0; a request must ask something"));
        }
        if u64::from(row.input_length) + u64::from(row.output_length) > MAX_REQUEST_TOKENS {
            return Err(self.error(format!(
                "has {} input and {} output tokens, together more than {MAX_REQUEST_TOKENS}",
                row.input_length, row.output_length
            )));
        }
        Ok(row)
    }

    /// Names another dialect where the file's beginning shows one.
    fn broken(&self, cause: Option<&serde_json::Error>) -> WorkloadError {
        let dialect = Dialect::of_file(&self.path, &self.keys)
            .filter(|dialect| dialect.format != Some(TraceFormat::Mooncake));
        match (dialect, cause) {
            (Some(dialect), _) => self.error(dialect.to_string()),
            (None, Some(cause)) => self.error(format!(
                "is not a Mooncake request: {}; each line must be a JSON object with timestamp, \
                 input_length, output_length and hash_ids",
                without_line(cause)
            )),
            (None, None) => self.error("is longer than 16 MiB; is this a Mooncake trace?"),
        }
    }

    /// One id per block of the prompt; the last block may be partial.
    pub(super) fn check_blocks(&self, row: &Row, block: u32) -> Result<(), WorkloadError> {
        let blocks = row.input_length.div_ceil(block) as usize;
        if row.hash_ids.len() == blocks {
            return Ok(());
        }
        Err(self.error(format!(
            "has {} hash_ids, but input_length {} is {blocks} blocks of {block} tokens; write \
             another `workload.trace.block_tokens`, or leave it out to have it found",
            row.hash_ids.len(),
            row.input_length
        )))
    }

    pub(super) fn error(&self, problem: impl Into<String>) -> WorkloadError {
        WorkloadError::Line { path: self.path.clone(), line: self.line, problem: problem.into() }
    }
}

#[derive(Debug)]
pub struct MooncakeReader {
    rows: Rows,
    seed: u64,
    scale: Scale,
}

impl MooncakeReader {
    /// The seed names the answers, which no other request quotes.
    pub fn open(path: &Path, seed: u64, scale: Scale) -> Result<Self, WorkloadError> {
        Ok(Self { rows: Rows::open(path)?, seed, scale })
    }

    /// None at the end of the file.
    pub fn next_record(&mut self) -> Result<Option<TraceRecord>, WorkloadError> {
        let Some(row) = self.rows.next_row()? else { return Ok(None) };
        let block = self.scale.block_tokens;
        self.rows.check_blocks(&row, block)?;
        let at_ns = row.timestamp.ns(self.scale.unit.ns()).ok_or_else(|| {
            self.rows.error(format!("has the timestamp {}, out of range", Number(row.timestamp)))
        })?;
        let pieces = row.hash_ids.iter().enumerate().map(|(index, id)| {
            let left = row.input_length - index as u32 * block;
            Piece::new(block_content(*id), left.min(block))
        });
        Ok(Some(TraceRecord {
            line: self.rows.line,
            at_ns,
            prompt: Prompt::new(pieces),
            output_tokens: row.output_length,
            output: ContentId::derive(self.seed, "mooncake answer", self.rows.line),
        }))
    }
}

struct Number(Stamp);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Stamp::Whole(value) => write!(f, "{value}"),
            Stamp::Fraction(value) => write!(f, "{value:e}"),
        }
    }
}

/// The same for every seed and file.
pub fn block_content(hash_id: u64) -> ContentId {
    ContentId::derive(0, "mooncake block", hash_id)
}

/// Keeps the column. The line is always 1 here.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let problem = text.split(" at line ").next().unwrap_or(&text);
    format!("{problem} (column {})", error.column())
}
