//! Known causes by their text, with remedies.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Port,
    Other,
}

/// Text of a line, and its remedy.
pub(super) struct Known {
    pub(super) words: &'static str,
    pub(super) remedy: &'static str,
    pub(super) kind: Kind,
}

const fn known(words: &'static str, remedy: &'static str) -> Known {
    Known { words, remedy, kind: Kind::Other }
}

const fn port(words: &'static str) -> Known {
    Known { words, remedy: "a port was taken meanwhile: run it again", kind: Kind::Port }
}

const TOKENIZER: &str =
    "put the tokenizer's files (tokenizer.json, tokenizer_config.json) into the model's folder";
const WEIGHTS: &str =
    "write the model's folder in target.local.weights, with its config.json in it";
const LESS_MEMORY: &str = "lower engine.kv_tokens or the tier's bytes";
const SHORTER: &str = "lower engine.max_model_len, or raise engine.kv_tokens";
const ARGUMENTS: &str = "see vllm_args of the target and the arm";

/// The first matching row counts: special rows stand before general ones.
pub(super) const KNOWN: [Known; 32] = [
    port("ddress already in use"),
    known("Can't load tokenizer", TOKENIZER),
    known("Couldn't instantiate the backend tokenizer", TOKENIZER),
    known("Unrecognized model in", WEIGHTS),
    known("does not appear to have a file named", WEIGHTS),
    known("is not a local folder and is not a valid model identifier", WEIGHTS),
    known("Invalid repository ID or local directory", WEIGHTS),
    known("Repo id must be in the form", WEIGHTS),
    known("Cannot find any model weights", "put the weights into the model's folder"),
    known(
        "greater than the derived max_model_len",
        "lower engine.max_model_len to what the model's config.json allows",
    ),
    known("serve at least one request with the model's max seq len", SHORTER),
    known("larger than the maximum number of tokens that can be stored in KV cache", SHORTER),
    known("No common block size", "write another engine.block_size; on CPUs, one of 32"),
    known("LMCache chunk size", "write a chunk of whole blocks in the arm"),
    known("CUDA out of memory", "lower engine.gpu_memory_utilization or engine.max_model_len"),
    known("No available memory for the cache blocks", "raise engine.gpu_memory_utilization"),
    known("on kv cache allocation is less than requested memory", LESS_MEMORY),
    known("Not enough memory", LESS_MEMORY),
    known("annot allocate memory", LESS_MEMORY),
    known("can't allocate memory", LESS_MEMORY),
    known("MemoryError", LESS_MEMORY),
    known("No space left on device", "free some space there, or lower the tier's bytes"),
    known("Too many open files", "raise the limit (ulimit -n)"),
    known("Unsupported connector type", "this version has no such connector"),
    known(
        "cpu_bytes_to_use must be specified",
        "this version wants the bytes of host memory: write `bytes` of the arm",
    ),
    known(
        "No module named",
        "install what is missing beside vLLM, or name another Python by target.local.python",
    ),
    known("--l2-adapter", "this version of LMCache describes the tiers behind it in other words"),
    known("argument --kv-transfer-config", "see the connector's settings in vllm_args"),
    known("unrecognized arguments", "this version has no such argument: see vllm_args"),
    known("error: argument", ARGUMENTS),
    known("Fatal Python error", "native code crashed: its stack is in the log"),
    known("terminate called after throwing", "native code crashed: its stack is in the log"),
];

/// Consequences of another error, without a cause of their own.
pub(super) const SEQUELS: [&str; 9] = [
    "Engine core initialization failed",
    "See root cause above",
    "for the root cause",
    "WorkerProc initialization failed",
    "Engine core proc",
    "output_handler failed",
    "EngineCore failed to start",
    "Application startup failed",
    "ancelled",
];

/// A part was ended from outside: logs of the other parts say only that.
pub(super) const KILLED: [&str; 3] =
    ["engine core exited unexpectedly", "died unexpectedly", "terminated by signal"];
pub(super) const KILLED_REMEDY: &str =
    "it was killed by somebody, or by the kernel for want of memory: see the kernel's log";
