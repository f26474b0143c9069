use std::path::PathBuf;

use weir_model::Tokens;

use crate::config::WorkloadConfig;
use crate::error::WorkloadError;
use crate::generator::agentic::AgenticSource;
use crate::generator::long_context::LongContextSource;
use crate::generator::shared_prefix::SharedPrefixSource;
use crate::session::{Session, SessionSource};
use crate::trace::{TraceRules, TraceSource};

#[derive(Debug, Clone, PartialEq)]
pub struct SourceOptions {
    /// Equal seeds yield equal sessions.
    pub seed: u64,
    /// Limit of prompt and output tokens together.
    pub max_model_len: Tokens,
    /// Times of a trace are divided by it. Generators ignore it.
    pub trace_speed: f64,
    /// Base of a relative trace path: the experiment file's folder.
    pub trace_folder: PathBuf,
}

#[derive(Debug)]
pub enum Source {
    SharedPrefix(SharedPrefixSource),
    LongContext(LongContextSource),
    Agentic(AgenticSource),
    Trace(Box<TraceSource>),
}

impl Source {
    /// Requests of a trace left out so far because they exceed the context.
    pub const fn skipped(&self) -> u64 {
        match self {
            Self::Trace(source) => source.counts().skipped,
            _ => 0,
        }
    }

    pub const fn truncated(&self) -> u64 {
        match self {
            Self::Trace(source) => source.counts().truncated,
            _ => 0,
        }
    }

    /// Of a trace. None for generators, which have no end.
    pub const fn requests(&self) -> Option<u64> {
        match self {
            Self::Trace(source) => {
                let total = source.total();
                Some(total.read - total.skipped)
            }
            _ => None,
        }
    }

    /// See [`TraceSource::error`].
    pub const fn error(&self) -> Option<&WorkloadError> {
        match self {
            Self::Trace(source) => source.error(),
            _ => None,
        }
    }
}

impl SessionSource for Source {
    fn next_session(&mut self) -> Option<Session> {
        match self {
            Self::SharedPrefix(source) => source.next_session(),
            Self::LongContext(source) => source.next_session(),
            Self::Agentic(source) => source.next_session(),
            Self::Trace(source) => source.next_session(),
        }
    }

    fn is_finite(&self) -> bool {
        matches!(self, Self::Trace(_))
    }
}

/// Counts must be absolute. Traces are read to their end once. Generators are refused when a
/// request could exceed the model's context.
pub fn open(config: &WorkloadConfig, options: &SourceOptions) -> Result<Source, WorkloadError> {
    config.validate()?;
    if let Some(longest) = config.longest_request()
        && longest > u64::from(options.max_model_len.get())
    {
        return Err(WorkloadError::ContextTooSmall {
            key: config.key().to_owned(),
            longest,
            context: options.max_model_len,
            levers: config.levers(),
        });
    }
    let seed = options.seed;
    Ok(match config {
        WorkloadConfig::SharedPrefix(config) => {
            Source::SharedPrefix(SharedPrefixSource::new(config.clone(), seed)?)
        }
        WorkloadConfig::LongContext(config) => {
            Source::LongContext(LongContextSource::new(config.clone(), seed)?)
        }
        WorkloadConfig::Agentic(config) => {
            Source::Agentic(AgenticSource::new(config.clone(), seed)?)
        }
        WorkloadConfig::Trace(file) => {
            let rules = TraceRules {
                seed,
                max_model_len: options.max_model_len,
                speed: options.trace_speed,
            };
            Source::Trace(Box::new(TraceSource::open(file, &options.trace_folder, rules)?))
        }
    })
}
