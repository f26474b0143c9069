//! What can be wrong with a workload: its section of the experiment file, or its trace.
//!
//! Each message is one line that names the key, or the file and line, and the remedy. Causes are
//! text, so that an error can be cloned and compared.

use std::path::PathBuf;

use weir_model::Tokens;
use weir_model::{Attributed, ErrorCause};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    #[error("`{key}` {problem}")]
    Value { key: String, problem: String },
    #[error(
        "`{key}` can ask for {longest} tokens in one request, answer included, but the model's \
         context holds {context}: lower {levers}"
    )]
    ContextTooSmall {
        key: String,
        /// In tokens, prompt and answer.
        longest: u64,
        context: Tokens,
        levers: &'static str,
    },
    #[error("cannot open the trace `{}`: {cause}; {remedy}", path.display())]
    Open { path: PathBuf, cause: String, remedy: &'static str },
    #[error("`{}`, line {line}: cannot read the trace: {cause}", path.display())]
    Read {
        path: PathBuf,
        /// From 1.
        line: u64,
        cause: String,
    },
    #[error("`{}`, line {line}: {problem}", path.display())]
    Line {
        path: PathBuf,
        /// From 1.
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
    /// Under `over_context: reject`.
    #[error(
        "`{}`, line {line}: {prompt} prompt and {output} output tokens exceed the model's context \
         of {context}; write `over_context: skip` or `over_context: truncate` to go on without \
         or with a shorter prompt", path.display()
    )]
    OverContext {
        path: PathBuf,
        /// From 1.
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
    pub(crate) fn value(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Value { key: key.into(), problem: problem.into() }
    }
}
