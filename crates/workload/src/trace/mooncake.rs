//! The Mooncake trace format (FAST'25 release): JSON lines.
//!
//! `{"timestamp": ms, "input_length": n, "output_length": m, "hash_ids": [...]}`. A hash id names
//! a block of 512 tokens given all that stands before it, across the whole file. Piece `i` of the
//! prompt covers the tokens `[512 i, min(512 (i + 1), n))`; ids beyond the input are ignored, too
//! few of them are an error. Contents come from the ids alone and not from the seed: equal ids
//! are equal tokens, whoever reads them. Unknown fields are ignored, since releases add some.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use weir_model::{ContentId, Piece, Prompt};

use super::TraceRecord;
use crate::config::MAX_REQUEST_TOKENS;
use crate::error::WorkloadError;

/// Tokens per hash id.
pub const BLOCK_TOKENS: u32 = 512;

/// Longest line; a million tokens of input take 16 KiB.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Timestamps stay exact as nanoseconds in 128 bits far beyond this.
const TIMESTAMP_MS_MAX: f64 = 1e15;

/// Said when the file cannot be opened.
const REMEDY: &str = "get a Mooncake trace, for example conversation_trace.jsonl in \
    FAST25-release/traces of https://github.com/kvcache-ai/Mooncake, and point to it with \
    `--set workload.trace.path=FILE`";

#[derive(Deserialize)]
struct Line {
    timestamp: f64,
    input_length: u32,
    output_length: u32,
    hash_ids: Vec<u64>,
}

/// Reads a file line by line.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    seed: u64,
    line: u64,
    buffer: Vec<u8>,
}

impl Reader {
    /// Opens a file. The seed names the answers, which no other request quotes.
    pub fn open(path: &Path, seed: u64) -> Result<Self, WorkloadError> {
        let file = File::open(path).map_err(|cause| WorkloadError::Open {
            path: path.to_owned(),
            cause: cause.to_string(),
            remedy: REMEDY,
        })?;
        let file = BufReader::with_capacity(1 << 16, file);
        Ok(Self { path: path.to_owned(), file, seed, line: 0, buffer: Vec::new() })
    }

    /// The next request; nothing at the end of the file. Blank lines are passed over.
    pub fn next_record(&mut self) -> Result<Option<TraceRecord>, WorkloadError> {
        loop {
            self.line += 1;
            self.buffer.clear();
            let mut limited = (&mut self.file).take(LINE_BYTES_MAX);
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
                return Err(self.error("is longer than 16 MiB; is this a Mooncake trace?"));
            }
            if !self.buffer.trim_ascii().is_empty() {
                return self.record().map(Some);
            }
        }
    }

    /// The request in the buffer.
    fn record(&self) -> Result<TraceRecord, WorkloadError> {
        let line: Line = serde_json::from_slice(&self.buffer).map_err(|cause| {
            self.error(format!(
                "is not a Mooncake request: {}; each line must be a JSON object with timestamp \
                 (ms), input_length, output_length and hash_ids",
                without_line(&cause)
            ))
        })?;
        if line.timestamp.abs() > TIMESTAMP_MS_MAX {
            return Err(
                self.error(format!("has the timestamp {} ms, out of range", line.timestamp))
            );
        }
        if line.input_length == 0 {
            return Err(self.error("has input_length 0; a request must ask something"));
        }
        if u64::from(line.input_length) + u64::from(line.output_length) > MAX_REQUEST_TOKENS {
            return Err(self.error(format!(
                "has {} input and {} output tokens, together more than {MAX_REQUEST_TOKENS}",
                line.input_length, line.output_length
            )));
        }
        let blocks = line.input_length.div_ceil(BLOCK_TOKENS) as usize;
        if line.hash_ids.len() < blocks {
            return Err(self.error(format!(
                "has {} hash_ids, but input_length {} needs {blocks} blocks of {BLOCK_TOKENS}",
                line.hash_ids.len(),
                line.input_length
            )));
        }
        let pieces = line.hash_ids[..blocks].iter().enumerate().map(|(index, id)| {
            let left = line.input_length - index as u32 * BLOCK_TOKENS;
            Piece::new(block_content(*id), left.min(BLOCK_TOKENS))
        });
        Ok(TraceRecord {
            line: self.line,
            at_ns: (line.timestamp * 1e6).round() as i128,
            prompt: Prompt::new(pieces),
            output_tokens: line.output_length,
            output: ContentId::derive(self.seed, "mooncake answer", self.line),
        })
    }

    fn error(&self, problem: impl Into<String>) -> WorkloadError {
        WorkloadError::Line { path: self.path.clone(), line: self.line, problem: problem.into() }
    }
}

/// The content of a hash id: the same for every seed and file.
pub fn block_content(hash_id: u64) -> ContentId {
    ContentId::derive(0, "mooncake block", hash_id)
}

/// A JSON error with its column, but without its line, which is always 1 here.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let problem = text.split(" at line ").next().unwrap_or(&text);
    format!("{problem} (column {})", error.column())
}
