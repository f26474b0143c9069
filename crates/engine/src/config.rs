//! What an engine is, resolved: scheduler limits, block pool, offload mechanism, timing.

use serde::{Deserialize, Serialize};
use weir_model::{Accelerator, Bytes, ModelShape, Nanos, TierKind};
use weir_tier::{StoreConfig, TierConfig};

/// Limits of the scheduler and the pool (vLLM's names where it has one).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// Tokens per block.
    pub block_size: u32,
    /// Blocks that can be allocated (vLLM's `num_gpu_blocks` less the null block).
    pub blocks: u32,
    /// Most sequences that run at once.
    pub max_num_seqs: u32,
    /// Most tokens in one pass.
    pub max_num_batched_tokens: u32,
    /// Longest sequence.
    pub max_model_len: u32,
    /// Whether finished blocks can be hit again.
    pub prefix_caching: bool,
    /// Share of the blocks kept free when a waiting request is admitted while others run.
    pub watermark: f64,
    /// KV bytes that one more token adds over all ranks; latents, which every rank has, count once.
    pub kv_bytes_per_token: u64,
}

/// Which software moves the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// vLLM's `OffloadingConnector`.
    Native,
    /// LMCache, inside the engine's process.
    Lmcache,
    /// LMCache's server, a process of its own.
    LmcacheServer,
}

impl Mechanism {
    /// True for LMCache, wherever it runs.
    pub const fn is_lmcache(self) -> bool {
        matches!(self, Self::Lmcache | Self::LmcacheServer)
    }
}

/// When a load from a tier happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadMode {
    /// Beside the passes: only the request that needs the blocks waits (`OffloadingConnector`).
    Async,
    /// At the start of a pass, which waits for it (LMCacheConnectorV1's default).
    InPass,
}

/// An offload mechanism with its tiers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffloadConfig {
    /// Which software.
    pub mechanism: Mechanism,
    /// Tokens per chunk, a multiple of the block size.
    pub chunk_tokens: u32,
    /// Only prompt chunks are stored, not generated ones.
    pub prompt_only: bool,
    /// When loads happen.
    pub load: LoadMode,
    /// Time by which storing a chunk lengthens the pass after the one that filled it: work of the
    /// connector that does not overlap.
    pub store_cost_per_chunk: Nanos,
    /// Contiguous copies per chunk and direction.
    pub copies_per_chunk: u32,
    /// Local tiers, nearest first.
    pub tiers: Vec<TierConfig>,
    /// A remote store behind them.
    pub store: Option<StoreConfig>,
}

impl OffloadConfig {
    /// The kinds of its tiers with their capacities, nearest first; the store is the last.
    pub fn capacities(&self) -> impl Iterator<Item = (TierKind, Bytes)> + '_ {
        let local = self.tiers.iter().map(|tier| (tier.kind, tier.capacity));
        local.chain(self.store.iter().map(|store| (TierKind::Remote, store.capacity)))
    }

    /// The tier that the mechanism is about: the last one. What nearer ones hold is on its way
    /// there.
    pub fn farthest(&self) -> Option<TierKind> {
        self.capacities().last().map(|(tier, _)| tier)
    }
}

/// How long a pass takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimingConfig {
    /// The analytic model (performance model, section 3).
    Analytic(Box<AnalyticConfig>),
    /// `base + per_token * tokens`: for tests and peer benchmarks.
    Fixed {
        /// Time of an empty pass.
        base: Nanos,
        /// Added per scheduled token.
        per_token: Nanos,
    },
}

/// Inputs of the analytic timing model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnalyticConfig {
    /// The model's shape.
    pub model: ModelShape,
    /// The accelerator, with its constants.
    pub accelerator: Accelerator,
    /// Tensor-parallel ranks.
    pub tensor_parallel: u32,
    /// The scheduler overlaps its CPU work with the GPU (`max` instead of sum).
    pub async_scheduling: bool,
    /// One long prefix shared by all running sequences is read once (cascade attention).
    pub cascade_attention: bool,
    /// CPU time of a pass.
    pub cpu_per_pass: Nanos,
    /// CPU time per sequence in a pass.
    pub cpu_per_sequence: Nanos,
    /// Time between the request's arrival and the scheduler (HTTP, tokenizer), added to TTFT.
    pub front_end: Nanos,
}
