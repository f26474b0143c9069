//! Recorded traces as sources of sessions, one request each.
//!
//! A trace is read twice. The first pass checks every line that will be used, so that a cell never
//! starts on a trace that breaks in its middle; the second yields sessions. Both stream: memory
//! holds one line, and the chains that the trace itself shares. An error in the second pass means
//! that the file changed or became unreadable in between; the source then ends with
//! [`TraceSource::error`].

pub mod azure;
mod bytes;
mod dialect;
pub mod mooncake;
pub mod reading;

use std::path::{Path, PathBuf};

use weir_model::{ContentId, Nanos, Prompt, Tokens};

use crate::config::{OverContext, TraceFile, TraceFormat};
use crate::error::WorkloadError;
use crate::seen::SeenChains;
use crate::session::{Session, SessionSource, Turn};
use reading::{Scale, TraceReading};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceRecord {
    /// From 1.
    pub line: u64,
    /// On the trace's own clock.
    pub at_ns: i128,
    pub prompt: Prompt,
    pub output_tokens: u32,
    pub output: ContentId,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TraceCounts {
    /// Includes those left out.
    pub read: u64,
    pub skipped: u64,
    pub truncated: u64,
    /// Recorded without output; they request one token instead.
    pub raised: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceRules {
    /// For contents that no other request shares.
    pub seed: u64,
    /// Limit of prompt and output tokens together.
    pub max_model_len: Tokens,
    /// Times are divided by it: 2 replays the trace in half its time.
    pub speed: f64,
}

#[derive(Debug)]
enum Reader {
    Mooncake(mooncake::MooncakeReader),
    Azure2023(azure::AzureReader),
}

impl Reader {
    fn open(path: &Path, seed: u64, scale: Option<Scale>) -> Result<Self, WorkloadError> {
        Ok(match scale {
            Some(scale) => Self::Mooncake(mooncake::MooncakeReader::open(path, seed, scale)?),
            None => Self::Azure2023(azure::AzureReader::open(path, seed)?),
        })
    }

    fn next_record(&mut self) -> Result<Option<TraceRecord>, WorkloadError> {
        match self {
            Self::Mooncake(reader) => reader.next_record(),
            Self::Azure2023(reader) => reader.next_record(),
        }
    }
}

/// In order, within the limit and the context.
#[derive(Debug)]
struct Requests {
    path: PathBuf,
    reader: Reader,
    over_context: OverContext,
    limit: u64,
    rules: TraceRules,
    counts: TraceCounts,
    /// First and last request, on the trace's clock.
    span_ns: Option<(i128, i128)>,
}

impl Requests {
    fn open(
        file: &TraceFile,
        path: &Path,
        scale: Option<Scale>,
        rules: TraceRules,
    ) -> Result<Self, WorkloadError> {
        Ok(Self {
            path: path.to_owned(),
            reader: Reader::open(path, rules.seed, scale)?,
            over_context: file.over_context,
            limit: file.limit.unwrap_or(u64::MAX),
            rules,
            counts: TraceCounts::default(),
            span_ns: None,
        })
    }

    fn next_request(&mut self) -> Result<Option<(Nanos, TraceRecord)>, WorkloadError> {
        while self.counts.read < self.limit {
            let Some(mut record) = self.reader.next_record()? else {
                return Ok(None);
            };
            self.counts.read += 1;
            let due = self.due(&record)?;
            if record.output_tokens == 0 {
                record.output_tokens = 1;
                self.counts.raised += 1;
            }
            if self.admit(&mut record)? {
                return Ok(Some((due, record)));
            }
        }
        Ok(None)
    }

    /// Since the trace's first request, scaled.
    fn due(&mut self, record: &TraceRecord) -> Result<Nanos, WorkloadError> {
        let (first, last) = self.span_ns.unwrap_or((record.at_ns, record.at_ns));
        if record.at_ns < last {
            return Err(self.line_error(
                record,
                "is earlier than the line before it; sort the trace by its timestamps".to_owned(),
            ));
        }
        self.span_ns = Some((first, record.at_ns));
        let since = record.at_ns - first;
        let scaled = (since as f64 / self.rules.speed).round();
        // Up to 2^53 ns (104 days) the division by a speed of 1 is exact.
        if scaled < u64::MAX as f64 {
            return Ok(Nanos(scaled as u64));
        }
        Err(self.line_error(record, "comes centuries after the first request".to_owned()))
    }

    /// False leaves the request out.
    fn admit(&mut self, record: &mut TraceRecord) -> Result<bool, WorkloadError> {
        let context = self.rules.max_model_len.get();
        let prompt = record.prompt.tokens();
        if u64::from(prompt.get()) + u64::from(record.output_tokens) <= u64::from(context) {
            return Ok(true);
        }
        match self.over_context {
            OverContext::Skip => {
                self.counts.skipped += 1;
                Ok(false)
            }
            OverContext::Truncate if record.output_tokens < context => {
                record.prompt = record.prompt.truncated(Tokens(context - record.output_tokens));
                self.counts.truncated += 1;
                Ok(true)
            }
            OverContext::Truncate => {
                let problem = format!(
                    "asks for {} output tokens, which leave no room for a prompt in the model's \
                     context of {context}; write `over_context: skip`",
                    record.output_tokens
                );
                Err(self.line_error(record, problem))
            }
            OverContext::Reject => Err(WorkloadError::OverContext {
                path: self.path.clone(),
                line: record.line,
                prompt,
                output: Tokens(record.output_tokens),
                context: self.rules.max_model_len,
            }),
        }
    }

    fn line_error(&self, record: &TraceRecord, problem: String) -> WorkloadError {
        WorkloadError::Line { path: self.path.clone(), line: record.line, problem }
    }

    fn check(mut self) -> Result<TraceCounts, WorkloadError> {
        while self.next_request()?.is_some() {}
        let TraceCounts { read, skipped, .. } = self.counts;
        let context = self.rules.max_model_len;
        match read {
            0 => Err(WorkloadError::Empty { path: self.path }),
            _ if read == skipped => {
                Err(WorkloadError::NothingFits { path: self.path, skipped, context })
            }
            _ => Ok(self.counts),
        }
    }
}

#[derive(Debug)]
pub struct TraceSource {
    requests: Requests,
    total: TraceCounts,
    seen: SeenChains,
    next: u64,
    error: Option<WorkloadError>,
}

impl TraceSource {
    /// Checks the whole trace (up to its limit). A relative path starts at `folder`. Block size and
    /// time unit are inferred where the file does not give them, see [`TraceReading::of`].
    pub fn open(file: &TraceFile, folder: &Path, rules: TraceRules) -> Result<Self, WorkloadError> {
        if !(rules.speed > 0.0 && rules.speed.is_finite()) {
            return Err(WorkloadError::value(
                "load.trace.speed",
                format!("is {}; it must be a number above 0 (1 plays in real time)", rules.speed),
            ));
        }
        let path = folder.join(&file.path);
        let scale = match (file.format, file.block_tokens, file.time_unit) {
            (TraceFormat::Mooncake, Some(block_tokens), Some(unit)) => {
                Some(Scale { block_tokens, unit })
            }
            _ => TraceReading::of(file, folder, true)?.map(|reading| reading.scale()),
        };
        let total = Requests::open(file, &path, scale, rules)?.check()?;
        Ok(Self {
            requests: Requests::open(file, &path, scale, rules)?,
            total,
            seen: SeenChains::default(),
            next: 0,
            error: None,
        })
    }

    pub const fn counts(&self) -> TraceCounts {
        self.requests.counts
    }

    pub const fn total(&self) -> TraceCounts {
        self.total
    }

    /// Set where the file changed after it was opened, so that the source ended early.
    pub const fn error(&self) -> Option<&WorkloadError> {
        self.error.as_ref()
    }
}

impl SessionSource for TraceSource {
    fn next_session(&mut self) -> Option<Session> {
        if self.error.is_some() {
            return None;
        }
        let (due, record) = match self.requests.next_request() {
            Ok(request) => request?,
            Err(error) => {
                self.error = Some(error);
                return None;
            }
        };
        let id = self.next;
        self.next += 1;
        // Formats without prefix information share nothing, and must cost no memory.
        let seen = match self.requests.reader {
            Reader::Mooncake(_) => self.seen.observe(record.prompt.pieces()),
            Reader::Azure2023(_) => 0,
        };
        let turn = Turn {
            prompt: record.prompt,
            output_tokens: Tokens(record.output_tokens),
            output: record.output,
            seen_tokens: Tokens(seen),
            after: Vec::new(),
            think: Nanos::ZERO,
        };
        Some(Session { id, start: Some(due), turns: vec![turn] })
    }
}
