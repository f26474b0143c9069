//! Arguments of `weir probe`.

use std::path::PathBuf;

use clap::Args;
use weir_model::quantity::Span;
use weir_probe::Verify;
use weir_tier::EvictionPolicy;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir probe memory
  weir probe disk:/mnt/nvme/kv --model Qwen/Qwen3-8B --threads 1,4 --depth 1,8,32
  weir probe redis --model Qwen/Qwen3-8B --hardware 1x-h100 --profile my-redis.yaml
  weir probe redis://10.0.0.5:6379 --sweep chunk-tokens=64,256,1024 --sweep threads=1,2,4
  weir probe unix:///run/valkey.sock --block 64KiB,2MiB --mix write,read,70
  weir probe redis://:secret@host:6379 --working-set 2x --mix engine --zipf 1.1
  weir probe redis --against valkey --claim 'read >= 1'
  weir probe redis --against kvrocks --cold --claim 'read 2..3'
  weir probe kvrocks --against kvrocks --set-b 'rocksdb.enable_blob_files no'
  weir probe redis --against kvrocks --price-a '3 USD' --price-b '0.1 USD' --csv ab.csv
  weir probe disk:/mnt/nvme/kv --page-cache --cold --threads 1 --depth 1,8
  weir probe disk:/mnt/nvme/kv --model Qwen/Qwen3-8B --trace conversation_trace.jsonl \\
             --capacity 20GiB

An experiment uses a profile as `{preset: lmcache-redis, store: {profile: my-redis.yaml}}`.
Exit codes: 0 all points measured; 1 some blocks failed, were refused or were wrong, or the probe
was stopped; 2 invalid input; 3 a fault of the environment.")]
pub(crate) struct ProbeArgs {
    /// `memory`, a folder (`disk:/mnt/nvme/kv`), a store's address (`redis://host:6379`,
    /// `unix:///run/redis.sock`), or a server to start: `redis`, `valkey`, `kvrocks`.
    #[arg(value_name = "TARGET")]
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) blocks: BlockArgs,
    #[command(flatten)]
    pub(crate) points: PointArgs,
    #[command(flatten)]
    pub(crate) caches: CacheArgs,
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    #[command(flatten)]
    pub(crate) against: AgainstArgs,
    #[command(flatten)]
    pub(crate) outputs: OutputArgs,
    /// Print the points, the time and the bytes needed, and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What is moved.
#[derive(Debug, Args)]
#[command(next_help_heading = "Blocks")]
pub(crate) struct BlockArgs {
    /// Model from the catalogue, or the path of a Hugging Face config.json: a block has the KV
    /// bytes of --chunk-tokens.
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Tokens per block; needs --model [default: 256; with --trace: the trace's block size].
    #[arg(long, value_name = "N,..", value_delimiter = ',', requires = "model")]
    pub(crate) chunk_tokens: Vec<u32>,
    /// Block sizes, instead of --chunk-tokens [default without --model: 2MiB].
    #[arg(long, value_name = "SIZE,..", value_delimiter = ',', conflicts_with = "chunk_tokens")]
    pub(crate) block: Vec<String>,
    /// Compare with recomputing the tokens on this hardware, for example `1x-h100`; needs --model.
    #[arg(long, value_name = "HARDWARE", requires = "model")]
    pub(crate) hardware: Option<String>,
    /// Number of tensor-parallel ranks [default: all accelerators of the hardware].
    #[arg(long, value_name = "N", requires = "hardware")]
    pub(crate) tp: Option<u32>,
    /// Length of the prefix that is loaded or computed, in tokens.
    #[arg(long, default_value_t = 10_000, value_name = "TOKENS")]
    pub(crate) prefix: u32,
}

/// Points: lists are swept; every combination is measured.
#[derive(Debug, Args)]
#[command(next_help_heading = "Points (lists are swept)")]
pub(crate) struct PointArgs {
    /// Number of threads, each with one batch in flight [default: 1,4].
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    pub(crate) threads: Vec<u32>,
    /// Blocks per batch: pipelining of a store, queue depth of a disk [default: 1,8].
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    pub(crate) depth: Vec<u32>,
    /// Operations: `write` (new blocks), `read`, a number (percent of reads), or `engine` (load,
    /// and store what missed) [default: write,read; with --trace or a working set larger than the
    /// tier: engine].
    #[arg(long, value_name = "WORK,..", value_delimiter = ',')]
    pub(crate) mix: Vec<String>,
    /// Sweep an option by name: `threads=1,2,4`, `depth=1,8,32`, `block=64KiB,2MiB`,
    /// `chunk-tokens=64,256,1024`, `mix=write,read`. May be repeated.
    #[arg(long, value_name = "KEY=LIST")]
    pub(crate) sweep: Vec<String>,
    /// Measured time of a point in one repeat [default: 1s; with --trace: 10s].
    #[arg(long, value_name = "TIME")]
    pub(crate) duration: Option<Span>,
    /// Time before the measured time that does not count; a trace has none.
    #[arg(long, value_name = "TIME", default_value = "200ms")]
    pub(crate) warmup: Span,
    /// Largest number of blocks of a point in one repeat.
    #[arg(long, value_name = "N")]
    pub(crate) operations: Option<u64>,
    /// Number of repeats of each point; tables show median and spread [default: 3; with --against:
    /// 6].
    #[arg(long, value_name = "N")]
    pub(crate) repeats: Option<u32>,
    /// Timeout of one batch.
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub(crate) deadline: Span,
    /// How loaded blocks are checked, outside the measured time.
    #[arg(long, value_enum, default_value_t = Verify::Sampled)]
    pub(crate) verify: Verify,
    /// Pin the first thread to this CPU, and the others to the CPUs after it; after the last CPU
    /// comes the first.
    #[arg(long, value_name = "CPU")]
    pub(crate) pin: Option<u32>,
    /// Number of connections to a store [default: the number of threads].
    #[arg(long, value_name = "N")]
    pub(crate) connections: Option<u32>,
    /// Store a checksum with each value, and check it at every load.
    #[arg(long)]
    pub(crate) checksums: bool,
    /// Certificates to check the store against, instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Accept any server certificate.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Skip the runs that show where the time goes.
    #[arg(long)]
    pub(crate) no_differential: bool,
}

/// Whether caches answer.
#[derive(Debug, Args)]
#[command(next_help_heading = "Caches")]
pub(crate) struct CacheArgs {
    /// Keep loads out of caches: a tier in a folder bypasses the page cache, or the cache is
    /// dropped between laps. The cached files of a store on this machine are dropped too. A row
    /// counts as cold where at least 90 % of the loaded bytes were read from the device.
    #[arg(long, conflicts_with = "trace")]
    pub(crate) cold: bool,
    /// Use the page cache for a tier in a folder, as tiers without `O_DIRECT` do.
    #[arg(long)]
    pub(crate) page_cache: bool,
}

/// Which blocks are loaded and stored.
#[derive(Debug, Args)]
#[command(next_help_heading = "Keys")]
pub(crate) struct KeyArgs {
    /// Size of the set of different blocks that are loaded: `512MiB`, `4000 blocks`, or `2x` the
    /// tier's capacity [default: 512MiB].
    #[arg(long, value_name = "SIZE")]
    pub(crate) working_set: Option<String>,
    /// Capacity of a tier in memory or on a disk, or `maxmemory` of a store that Weir starts
    /// [default: enough for the working set and one lap of new blocks].
    #[arg(long, value_name = "SIZE")]
    pub(crate) capacity: Option<String>,
    /// Eviction policy of a tier in memory or on a disk.
    #[arg(long, value_enum, default_value_t = EvictionPolicy::Lru)]
    pub(crate) eviction: EvictionPolicy,
    /// Zipf exponent: the k-th block is requested with weight k to the power of minus this number
    /// [default: all alike].
    #[arg(long, value_name = "EXPONENT")]
    pub(crate) zipf: Option<f64>,
    /// Mooncake trace to replay: its requests load and store their chunks in order.
    #[arg(long, value_name = "FILE", requires = "model", conflicts_with_all = ["zipf", "working_set", "block"])]
    pub(crate) trace: Option<PathBuf>,
    /// Number of tokens per hash id of the trace [default: detected where only one size fits].
    #[arg(long, value_name = "N", requires = "trace")]
    pub(crate) trace_block_tokens: Option<u32>,
    /// Largest number of requests taken from the trace.
    #[arg(long, value_name = "N", requires = "trace")]
    pub(crate) requests: Option<u64>,
    /// Seed of keys and draws.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

/// Two tiers side by side.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Two tiers in turns (A is TARGET, B is --against)")]
pub(crate) struct AgainstArgs {
    /// Second target: each repeat measures both in turns (A B, B A, ...) with the same keys and
    /// draws. The ratio A / B gets a 95 % interval.
    #[arg(
        long,
        value_name = "TARGET",
        conflicts_with_all = ["trace", "profile", "hardware"]
    )]
    pub(crate) against: Option<String>,
    /// Add a line to the configuration of A, if Weir starts it. May be repeated.
    #[arg(long, value_name = "LINE", requires = "against")]
    pub(crate) set_a: Vec<String>,
    /// The same for B.
    #[arg(long, value_name = "LINE", requires = "against")]
    pub(crate) set_b: Vec<String>,
    /// Tokens per block of B, one value for each of A's [default: those of A].
    #[arg(long, value_name = "N,..", value_delimiter = ',', requires_all = ["against", "model"])]
    pub(crate) chunk_tokens_b: Vec<u32>,
    /// Block sizes of B, one for each of A's [default: those of A].
    #[arg(
        long,
        value_name = "SIZE,..",
        value_delimiter = ',',
        requires = "against",
        conflicts_with = "chunk_tokens_b"
    )]
    pub(crate) block_b: Vec<String>,
    /// Price of one GiB of A for a month, for example `3 USD` (as in `prices` of an experiment):
    /// adds ratios per price to the ratios of speed.
    #[arg(long, value_name = "MONEY", requires_all = ["against", "price_b"])]
    pub(crate) price_a: Option<String>,
    /// Price of one GiB of B for a month, in the same currency.
    #[arg(long, value_name = "MONEY", requires_all = ["against", "price_a"])]
    pub(crate) price_b: Option<String>,
    /// Claim about the ratio A / B over all points: `read >= 2.5`, `write <= 0.8`, `read 2..3`
    /// (GB/s), `lookup >= 1` (keys per second). The verdict is borne out, not borne out or
    /// undecided. May be repeated.
    #[arg(long, value_name = "CLAIM", requires = "against")]
    pub(crate) claim: Vec<String>,
}

/// Files to write.
#[derive(Debug, Args)]
#[command(next_help_heading = "Outputs")]
pub(crate) struct OutputArgs {
    /// Write everything that was measured as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write one row per point as CSV.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Write plots to this folder, as PNG and SVG.
    #[arg(long, value_name = "DIR")]
    pub(crate) plots: Option<PathBuf>,
    /// Write a link profile for the simulator: `store: {profile: FILE}`.
    #[arg(long, value_name = "FILE.yaml")]
    pub(crate) profile: Option<PathBuf>,
}
