//! Arguments of `weir probe`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How much of a loaded block is compared with what was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VerifyArg {
    /// The last page of 16 KiB, and the beginnings of the first and of six more.
    Sampled,
    /// Every byte.
    Full,
}

/// What a tier with a limit of its own evicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EvictionArg {
    /// Least recently used.
    Lru,
    /// Adaptive replacement.
    Arc,
    /// Nothing: a full tier refuses blocks.
    None,
}

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

A profile is used by an experiment as `{preset: lmcache-redis, store: {profile: my-redis.yaml}}`.
Exit codes: 0 all points measured; 1 some blocks failed, found no room or were wrong, or it was
stopped; 2 a mistake in the input; 3 a fault of the environment.")]
pub(crate) struct ProbeArgs {
    /// `memory`, a folder (`disk:/mnt/nvme/kv`), a store's address (`redis://host:6379`,
    /// `unix:///run/redis.sock`), or a server to be started: `redis`, `valkey`, `kvrocks`.
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
    /// Print the points, the time and the bytes, and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What is moved.
#[derive(Debug, Args)]
#[command(next_help_heading = "Blocks")]
pub(crate) struct BlockArgs {
    /// Model of the catalogue, or the path of a Hugging Face config.json: a block has the KV bytes
    /// of --chunk-tokens.
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Tokens of a block; needs --model [default: 256, with --trace its blocks].
    #[arg(long, value_name = "N,..", value_delimiter = ',', requires = "model")]
    pub(crate) chunk_tokens: Vec<u32>,
    /// Sizes of blocks instead of --chunk-tokens [default without --model: 2MiB].
    #[arg(long, value_name = "SIZE,..", value_delimiter = ',', conflicts_with = "chunk_tokens")]
    pub(crate) block: Vec<String>,
    /// Compare with computing the tokens on this hardware, for example `1x-h100`; needs --model.
    #[arg(long, value_name = "HARDWARE", requires = "model")]
    pub(crate) hardware: Option<String>,
    /// Tensor-parallel ranks [default: all accelerators of the hardware].
    #[arg(long, value_name = "N", requires = "hardware")]
    pub(crate) tp: Option<u32>,
    /// Length of the prefix that is loaded or computed, tokens.
    #[arg(long, default_value_t = 10_000, value_name = "TOKENS")]
    pub(crate) prefix: u32,
}

/// Points: lists are swept, every combination is measured.
#[derive(Debug, Args)]
#[command(next_help_heading = "Points (lists are swept)")]
pub(crate) struct PointArgs {
    /// Threads, each with one batch under way [default: 1,4].
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    pub(crate) threads: Vec<u32>,
    /// Blocks of a batch: pipelining of a store, queue depth of a disk [default: 1,8].
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    pub(crate) depth: Vec<u32>,
    /// What is done: `write` (new blocks), `read`, a number (percent that reads), `engine` (loads,
    /// and stores what missed) [default: write,read; with --trace or a working set that is larger
    /// than the tier: engine].
    #[arg(long, value_name = "WORK,..", value_delimiter = ',')]
    pub(crate) mix: Vec<String>,
    /// A list by name: `threads=1,2,4`, `depth=1,8,32`, `block=64KiB,2MiB`,
    /// `chunk-tokens=64,256,1024`, `mix=write,read`. May be repeated.
    #[arg(long, value_name = "KEY=LIST")]
    pub(crate) sweep: Vec<String>,
    /// Measured time of a point in one repeat [default: 1s, with --trace 10s].
    #[arg(long, value_name = "TIME")]
    pub(crate) duration: Option<String>,
    /// Time before it that is not counted; a trace has none.
    #[arg(long, value_name = "TIME", default_value = "200ms")]
    pub(crate) warmup: String,
    /// Most blocks of a point in one repeat.
    #[arg(long, value_name = "N")]
    pub(crate) operations: Option<u64>,
    /// Repeats of each point; tables show medians and the spread [default: 3, with --against 6].
    #[arg(long, value_name = "N")]
    pub(crate) repeats: Option<u32>,
    /// Longest time of one batch.
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub(crate) deadline: String,
    /// How loads are checked, outside the measured time.
    #[arg(long, value_enum, default_value_t = VerifyArg::Sampled)]
    pub(crate) verify: VerifyArg,
    /// Pin the first thread to this processor, and the next ones to those after it, from the last
    /// on to the first.
    #[arg(long, value_name = "CPU")]
    pub(crate) pin: Option<u32>,
    /// Connections to a store [default: as many as threads].
    #[arg(long, value_name = "N")]
    pub(crate) connections: Option<u32>,
    /// Let values in a store carry a checksum that is compared at every load.
    #[arg(long)]
    pub(crate) checksums: bool,
    /// Certificates that the store is checked against, instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Accept any certificate.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Leave out the runs that say where the time goes.
    #[arg(long)]
    pub(crate) no_differential: bool,
}

/// Whether caches answer.
#[derive(Debug, Args)]
#[command(next_help_heading = "Caches")]
pub(crate) struct CacheArgs {
    /// Keep loads from coming out of caches: a tier in a folder passes the page cache by, or it is
    /// dropped between laps, as are the files of a store on this machine. A row is called cold
    /// where at least 90 % of what was loaded was read from the device.
    #[arg(long, conflicts_with = "trace")]
    pub(crate) cold: bool,
    /// Let a tier in a folder go through the page cache, as tiers without `O_DIRECT` do.
    #[arg(long)]
    pub(crate) page_cache: bool,
}

/// What is asked for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Keys")]
pub(crate) struct KeyArgs {
    /// Different blocks that are loaded: `512MiB`, `4000 blocks`, or `2x` the tier's capacity
    /// [default: 512MiB].
    #[arg(long, value_name = "SIZE")]
    pub(crate) working_set: Option<String>,
    /// Bytes that a tier in memory or on a disk may hold, or `maxmemory` of a store that is started
    /// [default: enough for the working set and one lap of new blocks].
    #[arg(long, value_name = "SIZE")]
    pub(crate) capacity: Option<String>,
    /// What a tier in memory or on a disk evicts when it is full.
    #[arg(long, value_enum, default_value_t = EvictionArg::Lru)]
    pub(crate) eviction: EvictionArg,
    /// Popularity: the k-th block is asked for with k to the power of minus this [default: all
    /// alike].
    #[arg(long, value_name = "EXPONENT")]
    pub(crate) zipf: Option<f64>,
    /// A Mooncake trace: its requests load and store their chunks in its order.
    #[arg(long, value_name = "FILE", requires = "model", conflicts_with_all = ["zipf", "working_set", "block"])]
    pub(crate) trace: Option<PathBuf>,
    /// Tokens that one of its hash ids stands for [default: found where one size alone fits].
    #[arg(long, value_name = "N", requires = "trace")]
    pub(crate) trace_block_tokens: Option<u32>,
    /// Most requests of the trace.
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
    /// A second target: each repeat is measured on both in turns (A B, B A, ...), with the same
    /// keys and draws, and the ratio A / B gets a 95 % interval.
    #[arg(
        long,
        value_name = "TARGET",
        conflicts_with_all = ["trace", "profile", "hardware"]
    )]
    pub(crate) against: Option<String>,
    /// A line for the configuration of A, where Weir starts it. May be repeated.
    #[arg(long, value_name = "LINE", requires = "against")]
    pub(crate) set_a: Vec<String>,
    /// The same for B.
    #[arg(long, value_name = "LINE", requires = "against")]
    pub(crate) set_b: Vec<String>,
    /// Tokens of B's blocks, as many sizes as A has [default: A's].
    #[arg(long, value_name = "N,..", value_delimiter = ',', requires_all = ["against", "model"])]
    pub(crate) chunk_tokens_b: Vec<u32>,
    /// Sizes of B's blocks, as many as A has [default: A's].
    #[arg(
        long,
        value_name = "SIZE,..",
        value_delimiter = ',',
        requires = "against",
        conflicts_with = "chunk_tokens_b"
    )]
    pub(crate) block_b: Vec<String>,
    /// What one GiB of A costs for a month, for example `3 USD` (the form that `prices` of an
    /// experiment has): ratios for the money stand beside those of the speed.
    #[arg(long, value_name = "MONEY", requires_all = ["against", "price_b"])]
    pub(crate) price_a: Option<String>,
    /// The same for B, in the same currency.
    #[arg(long, value_name = "MONEY", requires_all = ["against", "price_a"])]
    pub(crate) price_b: Option<String>,
    /// What the ratio A / B should be, over all points: `read >= 2.5`, `write <= 0.8`, `read 2..3`
    /// (GB/s), `lookup >= 1` (keys per second). The verdict is borne out, not borne out, or
    /// undecided. May be repeated.
    #[arg(long, value_name = "CLAIM", requires = "against")]
    pub(crate) claim: Vec<String>,
}

/// What is written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Outputs")]
pub(crate) struct OutputArgs {
    /// Everything that was measured, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// One row per point, as CSV.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Folder for plots, PNG and SVG.
    #[arg(long, value_name = "DIR")]
    pub(crate) plots: Option<PathBuf>,
    /// A link profile that the simulator takes: `store: {profile: FILE}`.
    #[arg(long, value_name = "FILE.yaml")]
    pub(crate) profile: Option<PathBuf>,
}
