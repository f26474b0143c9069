//! Keys of a recorded trace: the tier gets the requests of the trace's users.
//!
//! A Mooncake trace names blocks of tokens by hash ids that include all earlier tokens. A chunk's
//! key is the id of its last token and its position within that id. Chunks of any number of tokens
//! are therefore shared exactly when their prefixes are.

use std::collections::HashSet;
use std::path::Path;

use weir_model::Prompt;
use weir_store::ChunkHash;
use weir_workload::WorkloadError;
use weir_workload::trace::mooncake::MooncakeReader;
use weir_workload::trace::reading::TraceReading;

use crate::config::MOST_KEYS;
use crate::error::ProbeError;
use crate::keys::chunk_hash;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    chunks: Vec<ChunkHash>,
    ends: Vec<usize>,
    distinct: Vec<ChunkHash>,
}

impl Trace {
    /// Reads up to `limit` requests. A prompt's last chunk counts only if it is whole.
    pub fn read(
        of: &TraceReading,
        chunk_tokens: u32,
        limit: Option<u64>,
    ) -> Result<Self, ProbeError> {
        let path = Path::new(&of.path);
        let mut reader = MooncakeReader::open(path, 0, of.scale())?;
        let (mut chunks, mut ends) = (Vec::new(), Vec::new());
        let mut read = 0;
        while limit.is_none_or(|limit| read < limit)
            && let Some(record) = reader.next_record()?
        {
            read += 1;
            chunks.extend(chunk_keys(&record.prompt, chunk_tokens));
            if ends.last().is_none_or(|end| *end < chunks.len()) && !chunks.is_empty() {
                ends.push(chunks.len());
            }
            if chunks.len() as u64 > MOST_KEYS {
                return Err(ProbeError::value(
                    "trace",
                    format!("more than {MOST_KEYS} chunks of {chunk_tokens} tokens"),
                    "limit it with --requests, or take larger chunks",
                ));
            }
        }
        if ends.is_empty() {
            return Err(WorkloadError::Empty { path: path.to_owned() }.into());
        }
        let mut seen = HashSet::with_capacity(chunks.len());
        let distinct = chunks.iter().filter(|key| seen.insert(**key)).copied().collect();
        Ok(Self { chunks, ends, distinct })
    }

    /// The chunks of a request; None after the last one.
    pub fn request(&self, place: u64) -> Option<&[ChunkHash]> {
        let place = usize::try_from(place).ok()?;
        let end = *self.ends.get(place)?;
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        Some(&self.chunks[start..end])
    }

    pub fn requests(&self) -> u64 {
        self.ends.len() as u64
    }

    pub fn asked(&self) -> u64 {
        self.chunks.len() as u64
    }

    /// Every chunk once, in the order of first use.
    pub fn distinct(&self) -> &[ChunkHash] {
        &self.distinct
    }

    /// Hit share of a tier without limits, with the requests in order.
    pub fn best_hit_share(&self) -> f64 {
        1.0 - self.distinct.len() as f64 / self.chunks.len() as f64
    }
}

fn chunk_keys(prompt: &Prompt, chunk_tokens: u32) -> Vec<ChunkHash> {
    let mut keys = Vec::new();
    let mut before = 0;
    for piece in prompt.pieces() {
        let end = before + piece.len;
        // The first chunk end after `before`.
        let mut at = (before / chunk_tokens + 1) * chunk_tokens;
        while at <= end {
            let place = u64::from(piece.start + at - before);
            // Chunks of different sizes are different blocks.
            keys.push(chunk_hash(piece.content.0 ^ (u64::from(chunk_tokens) << 40), place));
            at += chunk_tokens;
        }
        before = end;
    }
    keys
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::fs;

    use weir_workload::config::TimeUnit;
    use weir_workload::trace::reading::Basis;

    use super::*;

    /// A trace with `limit` requests in blocks of 512.
    fn reading(file: &tempfile::NamedTempFile, requests: u64) -> TraceReading {
        TraceReading {
            path: file.path().display().to_string(),
            requests,
            block_tokens: 512,
            block_basis: Basis::Given,
            time_unit: TimeUnit::Ms,
            unit_basis: Basis::Unused,
            span: None,
        }
    }

    fn write(lines: &[(u32, &str)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut text = String::new();
        for (tokens, ids) in lines {
            let _ = writeln!(
                text,
                "{{\"timestamp\": 0, \"input_length\": {tokens}, \"output_length\": 1, \
                 \"hash_ids\": {ids}}}"
            );
        }
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn chunks_are_shared_as_far_as_prefixes_are() {
        let file = write(&[(1536, "[1, 2, 3]"), (1400, "[1, 2, 4]"), (100, "[9]")]);
        // Chunks of half an id, of one and of two.
        for (tokens, asked, distinct, shared) in [(256, 11, 7, 4), (512, 5, 3, 2), (1024, 2, 1, 1)]
        {
            let trace = Trace::read(&reading(&file, 3), tokens, None).unwrap();
            assert_eq!((trace.asked(), trace.distinct().len()), (asked, distinct), "{tokens}");
            // The third request has no whole chunk.
            assert_eq!(trace.requests(), 2);
            let (first, second) = (trace.request(0).unwrap(), trace.request(1).unwrap());
            assert_eq!(first.iter().zip(second).take_while(|(a, b)| a == b).count(), shared);
            assert_eq!(trace.request(2), None);
        }
    }

    #[test]
    fn a_limit_cuts_and_an_empty_trace_is_refused() {
        let file = write(&[(512, "[1]"), (512, "[1]"), (512, "[2]")]);
        let trace = Trace::read(&reading(&file, 3), 512, Some(2)).unwrap();
        assert_eq!((trace.requests(), trace.best_hit_share()), (2, 0.5));
        let file = write(&[(10, "[1]")]);
        let empty = Trace::read(&reading(&file, 1), 512, None).unwrap_err();
        assert!(empty.to_string().contains("holds no requests"), "{empty}");
    }
}
