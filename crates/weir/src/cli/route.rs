//! Arguments of `weir route`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir route http://10.0.0.1:8000 http://10.0.0.2:8000
  weir route http://10.0.0.1:8000 http://10.0.0.2:8000 --policy precise-prefix \\
             --kv-events tcp://10.0.0.1:5557,tcp://10.0.0.2:5557
  weir route http://10.0.0.1:8000 http://10.0.0.2:8000 --listen 0.0.0.0:8080 \\
             --policy '{policy: precise-prefix, weights: {queue: 1, kv_usage: 0, prefix: 5}}' \\
             --kv-events tcp://10.0.0.1:5557,tcp://10.0.0.2:5557 --index redis://10.0.0.9:6379

Answers have the header `x-weir-replica`. The router's own metrics are at /metrics.")]
pub(crate) struct RouteArgs {
    /// Replicas, as http://HOST:PORT.
    #[arg(value_name = "URL", required = true)]
    pub(crate) replicas: Vec<String>,
    /// Policy, as `routing` in an experiment file: `random`, `round-robin`, `least-loaded`,
    /// `approximate-prefix`, `precise-prefix`, or a map with parameters.
    #[arg(long, value_name = "POLICY", default_value = "approximate-prefix")]
    pub(crate) policy: String,
    /// `ZeroMQ` endpoints of the replicas' KV events, in their order (precise-prefix).
    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',')]
    pub(crate) kv_events: Vec<String>,
    /// Redis or Valkey for the index, in llm-d's layout (precise-prefix) [default: in memory].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) index: Option<String>,
    /// Seed of the index's keys: llm-d's `hashSeed`, for an index that pickers share.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) hash_seed: String,
    /// Tokenize text prompts with this tokenizer.json [default: ask a replica].
    #[arg(long, value_name = "FILE")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// Append each decision to this file as a line of JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Address to listen on; port 0 picks a free one and prints it.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) listen: String,
    /// Seed of random choices.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Pin the router to this CPU.
    #[arg(long, value_name = "CPU")]
    pub(crate) pin: Option<u32>,
}
