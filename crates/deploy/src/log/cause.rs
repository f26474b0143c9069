//! Why a process ended, as its log has it.

use std::fmt;

use super::{plain, shortened};

/// A cause with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The line that tells it.
    pub line: String,
    /// What to do.
    pub remedy: &'static str,
    kind: Kind,
}

/// Causes that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Port,
    Other,
}

impl Cause {
    /// True where a port was taken.
    pub fn is_port_taken(&self) -> bool {
        self.kind == Kind::Port
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.line)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// Words in a line, what to do, and what it is. The first row that some line has tells the cause:
/// the special stands before the general.
const KNOWN: [(&str, &str, Kind); 19] = [
    ("address already in use", "a port was taken meanwhile: run it again", Kind::Port),
    ("Address already in use", "a port was taken meanwhile: run it again", Kind::Port),
    (
        "No module named",
        "install what is missing beside vLLM, or name another Python by target.local.python",
        Kind::Other,
    ),
    (
        "Can't load tokenizer",
        "put the tokenizer's files (tokenizer.json, tokenizer_config.json) into the model's folder",
        Kind::Other,
    ),
    (
        "Couldn't instantiate the backend tokenizer",
        "put the tokenizer's files (tokenizer.json, tokenizer_config.json) into the model's folder",
        Kind::Other,
    ),
    ("Unrecognized model in", "put the model's config.json into its folder", Kind::Other),
    (
        "does not appear to have a file named",
        "put the file into the model's folder, or write the folder in target.local.weights",
        Kind::Other,
    ),
    (
        "is not a local folder and is not a valid model identifier",
        "write the model's folder in target.local.weights",
        Kind::Other,
    ),
    (
        "Invalid repository ID or local directory",
        "write the model's folder in target.local.weights, with its config.json in it",
        Kind::Other,
    ),
    ("Cannot find any model weights", "put the weights into the model's folder", Kind::Other),
    (
        "cpu_bytes_to_use must be specified",
        "this version wants the bytes of host memory: write `bytes` of the arm",
        Kind::Other,
    ),
    ("unrecognized arguments", "this version has no such argument: see vllm_args", Kind::Other),
    ("error: argument", "see vllm_args of the target and the arm", Kind::Other),
    (
        "CUDA out of memory",
        "lower engine.gpu_memory_utilization or engine.max_model_len",
        Kind::Other,
    ),
    ("Not enough memory", "lower engine.kv_tokens or the tier's bytes", Kind::Other),
    (
        "larger than the maximum number of tokens that can be stored in KV cache",
        "lower engine.max_model_len, or raise engine.kv_tokens",
        Kind::Other,
    ),
    ("Cannot allocate memory", "lower engine.kv_tokens or the tier's bytes", Kind::Other),
    ("DefaultCPUAllocator: can't allocate memory", "lower engine.kv_tokens", Kind::Other),
    ("MemoryError", "lower engine.kv_tokens or the tier's bytes", Kind::Other),
];

/// Lines that follow from another error and say nothing of their own.
const SEQUELS: [&str; 5] = [
    "Engine core initialization failed",
    "See root cause above",
    "WorkerProc initialization failed",
    "Engine core proc died",
    "cancelled",
];

/// The cause that a log tells, if it tells one: a known one, else its last error.
pub fn cause(text: &str) -> Option<Cause> {
    let lines: Vec<String> = text.lines().map(plain).collect();
    for (words, remedy, kind) in KNOWN {
        if let Some(line) = lines.iter().rev().find(|line| line.contains(words)) {
            return Some(Cause { line: shortened(message(line)), remedy, kind });
        }
    }
    let is_error = |line: &&String| {
        let said = message(line);
        let first = said.split(':').next().unwrap_or_default();
        (first.ends_with("Error") || first.ends_with("Exception"))
            && !SEQUELS.iter().any(|words| said.contains(words))
    };
    let line = lines.iter().rev().find(is_error)?;
    Some(Cause { line: shortened(message(line)), remedy: "", kind: Kind::Other })
}

/// What a line says, without process, level, time and place.
fn message(line: &str) -> &str {
    let rest = line.rsplit_once(") ").map_or(line, |(_, rest)| rest);
    let rest = if rest.starts_with("ERROR") || rest.starts_with("WARNING") { rest } else { line };
    rest.split_once("] ").map_or(line, |(_, rest)| rest).trim()
}
