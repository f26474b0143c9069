//! What can be wrong with a workload: its section of the experiment file, or its trace.
//!
//! Each message is one line that names the key, or the file and line, and what to do. Causes are
//! kept as text so that an error can be cloned and compared.

use std::path::PathBuf;

use weir_model::Tokens;

/// A workload that cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// A value of the workload's section that makes no sense.
    #[error("`{key}` {problem}")]
    Value {
        /// Path of the key in the experiment file.
        key: String,
        /// What is wrong with its value, and what to write instead.
        problem: String,
    },
    /// A request of a generator can exceed the model's context.
    #[error(
        "`{key}` can ask for {longest} tokens in one request, answer included, but the model's \
         context holds {context}: lower {levers}"
    )]
    ContextTooSmall {
        /// Path of the workload in the experiment file.
        key: String,
        /// The longest prompt and answer that the workload can draw.
        longest: u64,
        /// The model's context.
        context: Tokens,
        /// Keys that shorten it.
        levers: &'static str,
    },
    /// The trace file cannot be opened.
    #[error("cannot open the trace `{}`: {cause}; {remedy}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        cause: String,
        /// Where to get one and how to point to it.
        remedy: &'static str,
    },
    /// The trace file cannot be read to its end.
    #[error("`{}`, line {line}: cannot read the trace: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The line that was being read, from 1.
        line: u64,
        /// The operating system's answer.
        cause: String,
    },
    /// A line of the trace is not a request.
    #[error("`{}`, line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The trace is packed in a way that is not read.
    #[error("the trace `{}` is {what}: {remedy}", path.display())]
    Container {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// More than one block size fits the trace's requests.
    #[error(
        "the trace `{}` does not say how many tokens a hash id stands for: blocks of {fits} tokens \
         fit its {requests} requests; write `workload.trace.block_tokens` \
         (`--trace-block-tokens` on the command line)", path.display()
    )]
    BlockTokensUnknown {
        /// The file.
        path: PathBuf,
        /// Requests that were looked at.
        requests: u64,
        /// The sizes that fit.
        fits: String,
    },
    /// Nothing says in which unit the trace's times are.
    #[error(
        "the trace `{}` does not say in which unit its timestamps are: {why}; write \
         `workload.trace.time_unit: s` (or ms, us, ns; `--trace-time-unit` on the command line)",
        path.display()
    )]
    TimeUnitUnknown {
        /// The file.
        path: PathBuf,
        /// Why the published unit does not apply.
        why: String,
    },
    /// The trace has no request.
    #[error(
        "the trace `{}` holds no requests: check `workload.trace.path` and \
         `workload.trace.format`", path.display()
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A request exceeds the model's context, and the file says to refuse that.
    #[error(
        "`{}`, line {line}: {prompt} prompt and {output} output tokens exceed the model's context \
         of {context}; write `over_context: skip` or `over_context: truncate` to go on without \
         or with a shorter prompt", path.display()
    )]
    OverContext {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// Prompt tokens of the request.
        prompt: Tokens,
        /// Output tokens of the request.
        output: Tokens,
        /// The model's context.
        context: Tokens,
    },
    /// No request of the trace fits the model's context.
    #[error(
        "none of the {skipped} requests of the trace `{}` fits the model's context of {context}",
        path.display()
    )]
    NothingFits {
        /// The file.
        path: PathBuf,
        /// Requests that were left out.
        skipped: u64,
        /// The model's context.
        context: Tokens,
    },
}

impl WorkloadError {
    /// A value that makes no sense.
    pub(crate) fn value(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Value { key: key.into(), problem: problem.into() }
    }
}
