//! What can be wrong with a workload: its section of the experiment file, or its trace.
//!
//! Each message is one line that names the key, or the file and line, and what to do. Causes are
//! kept as text so that an error can be cloned and compared.

use std::path::PathBuf;

use weir_model::Tokens;
use weir_model::{Attributed, ErrorCause};

/// A workload that cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    #[error("`{key}` {problem}")]
    Value {
        key: String,
        /// What is wrong with its value, and what to write instead.
        problem: String,
    },
    #[error(
        "`{key}` can ask for {longest} tokens in one request, answer included, but the model's \
         context holds {context}: lower {levers}"
    )]
    ContextTooSmall {
        key: String,
        /// The longest prompt and answer that the workload can draw.
        longest: u64,
        context: Tokens,
        levers: &'static str,
    },
    #[error("cannot open the trace `{}`: {cause}; {remedy}", path.display())]
    Open {
        path: PathBuf,
        cause: String,
        /// Where to get one and how to point to it.
        remedy: &'static str,
    },
    #[error("`{}`, line {line}: cannot read the trace: {cause}", path.display())]
    Read {
        path: PathBuf,
        /// The line that was being read, from 1.
        line: u64,
        cause: String,
    },
    #[error("`{}`, line {line}: {problem}", path.display())]
    Line {
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        problem: String,
    },
    #[error("the trace `{}` is {what}: {remedy}", path.display())]
    Container { path: PathBuf, what: &'static str, remedy: &'static str },
    #[error(
        "the trace `{}` does not say how many tokens a hash id stands for: blocks of {fits} tokens \
         fit its {requests} requests; write `workload.trace.block_tokens` \
         (`--trace-block-tokens` on the command line)", path.display()
    )]
    BlockTokensUnknown { path: PathBuf, requests: u64, fits: String },
    #[error(
        "the trace `{}` does not say in which unit its timestamps are: {why}; write \
         `workload.trace.time_unit: s` (or ms, us, ns; `--trace-time-unit` on the command line)",
        path.display()
    )]
    TimeUnitUnknown { path: PathBuf, why: String },
    #[error(
        "the trace `{}` holds no requests: check `workload.trace.path` and \
         `workload.trace.format`", path.display()
    )]
    Empty { path: PathBuf },
    /// A request exceeds the model's context, and the file says to refuse that.
    #[error(
        "`{}`, line {line}: {prompt} prompt and {output} output tokens exceed the model's context \
         of {context}; write `over_context: skip` or `over_context: truncate` to go on without \
         or with a shorter prompt", path.display()
    )]
    OverContext {
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        prompt: Tokens,
        output: Tokens,
        context: Tokens,
    },
    #[error(
        "none of the {skipped} requests of the trace `{}` fits the model's context of {context}",
        path.display()
    )]
    NothingFits { path: PathBuf, skipped: u64, context: Tokens },
}

impl Attributed for WorkloadError {
    fn fault(&self) -> ErrorCause {
        ErrorCause::User
    }
}

impl WorkloadError {
    /// A value that makes no sense.
    pub(crate) fn value(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Value { key: key.into(), problem: problem.into() }
    }
}
