//! What an engine is, resolved: scheduler limits, block pool, offload mechanism, timing.

use serde::{Deserialize, Serialize};
use weir_model::{Accelerator, Bytes, Mechanism, MechanismTraits, ModelShape, Nanos, TierKind};
use weir_tier::{StoreConfig, TierConfig};

/// Limits of the scheduler and the pool (vLLM's names where it has one).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    pub block_size: u32,
    /// Blocks that can be allocated (vLLM's `num_gpu_blocks` less the null block).
    pub blocks: u32,
    /// Most sequences that run at once.
    pub max_num_seqs: u32,
    /// Most tokens in one pass.
    pub max_num_batched_tokens: u32,
    pub max_model_len: u32,
    /// Whether finished blocks can be hit again.
    pub prefix_caching: bool,
    /// Share of the blocks kept free when a waiting request is admitted while others run.
    pub watermark: f64,
    /// KV bytes that one more token adds over all ranks; latents, which every rank has, count once.
    pub kv_bytes_per_token: u64,
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

/// KV bytes of a chunk over all ranks, as the mechanism keeps and moves them. Layers that do not
/// keep every token make them differ from what the chunk's tokens add to the GPU's pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkBytes {
    /// Of a chunk in a tier, and of one that is stored.
    pub kept: u64,
    pub loaded: u64,
    /// Of a load besides, however long: the windows and states where it ends.
    pub loaded_once: u64,
}

impl ChunkBytes {
    /// Chunks that are loaded as they are kept.
    pub const fn whole(bytes: u64) -> Self {
        Self { kept: bytes, loaded: bytes, loaded_once: 0 }
    }
}

/// An offload mechanism with its tiers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffloadConfig {
    pub mechanism: Mechanism,
    /// Tokens per chunk, a multiple of the block size.
    pub chunk_tokens: u32,
    /// Its bytes; not known in plans of runs that older releases made.
    #[serde(default)]
    pub chunk_bytes: ChunkBytes,
    /// Only prompt chunks are stored, not generated ones.
    pub prompt_only: bool,
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
    pub const fn traits(&self) -> &'static MechanismTraits {
        self.mechanism.traits()
    }

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

    /// KV tokens that a tier of so many bytes holds, whole chunks or not.
    pub fn tokens(&self, capacity: Bytes) -> u64 {
        let tokens = u128::from(capacity.0) * u128::from(self.chunk_tokens);
        (tokens / u128::from(self.chunk_bytes.kept.max(1))) as u64
    }

    /// Bytes that so many tokens take in a tier.
    pub fn kept(&self, tokens: u64) -> Bytes {
        let bytes = u128::from(tokens) * u128::from(self.chunk_bytes.kept);
        Bytes(u64::try_from(bytes / u128::from(self.chunk_tokens.max(1))).unwrap_or(u64::MAX))
    }

    pub fn loaded(&self, tokens: u64) -> Bytes {
        let of = self.chunk_bytes;
        let bytes =
            u128::from(tokens) * u128::from(of.loaded) / u128::from(self.chunk_tokens.max(1));
        let moved = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(of.loaded_once);
        Bytes(moved).min(self.kept(tokens))
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
    pub model: ModelShape,
    pub accelerator: Accelerator,
    pub tensor_parallel: u32,
    /// The scheduler overlaps its CPU work with the GPU (`max` instead of sum).
    pub async_scheduling: bool,
    /// One long prefix shared by all running sequences is read once (cascade attention).
    pub cascade_attention: bool,
    pub cpu_per_pass: Nanos,
    /// CPU time per sequence in a pass.
    pub cpu_per_sequence: Nanos,
    /// Time between the request's arrival and the scheduler (HTTP, tokenizer), added to TTFT.
    pub front_end: Nanos,
}
