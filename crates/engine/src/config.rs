use serde::{Deserialize, Serialize};
use weir_model::{Accelerator, Bytes, Mechanism, MechanismTraits, ModelShape, Nanos, TierKind};
use weir_tier::{StoreConfig, TierConfig};

/// Limits of scheduler and pool, under vLLM's names where it has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    pub block_size: u32,
    /// vLLM's `num_gpu_blocks` less the null block.
    pub blocks: u32,
    pub max_num_seqs: u32,
    pub max_num_batched_tokens: u32,
    pub max_model_len: u32,
    pub prefix_caching: bool,
    /// Share of the blocks kept free when a waiting request is admitted while others run.
    pub watermark: f64,
    /// Added by one token, over all ranks. Latents, which every rank has, count once.
    pub kv_bytes_per_token: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadMode {
    /// Beside the passes; only the request that needs the blocks waits (`OffloadingConnector`).
    Async,
    /// At the start of a pass, which waits (LMCacheConnectorV1's default).
    InPass,
}

/// KV bytes of a chunk over all ranks, as the mechanism keeps and moves them. Layers that do not
/// keep every token make them differ from the GPU's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkBytes {
    /// Of a chunk in a tier or store.
    pub kept: u64,
    pub loaded: u64,
    /// Once per load, whatever its length: the windows and states at its end.
    pub loaded_once: u64,
}

impl ChunkBytes {
    /// Chunks are loaded as kept.
    pub const fn whole(bytes: u64) -> Self {
        Self { kept: bytes, loaded: bytes, loaded_once: 0 }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffloadConfig {
    pub mechanism: Mechanism,
    /// A multiple of the block size.
    pub chunk_tokens: u32,
    /// Unknown in plans of runs by older releases.
    #[serde(default)]
    pub chunk_bytes: ChunkBytes,
    pub prompt_only: bool,
    pub load: LoadMode,
    /// Added to the pass after the one that filled the chunk: connector work that does not overlap.
    pub store_cost_per_chunk: Nanos,
    /// Contiguous copies per chunk and direction.
    pub copies_per_chunk: u32,
    /// Nearest first.
    pub tiers: Vec<TierConfig>,
    pub store: Option<StoreConfig>,
}

impl OffloadConfig {
    pub const fn traits(&self) -> &'static MechanismTraits {
        self.mechanism.traits()
    }

    /// Nearest first; the store is last.
    pub fn capacities(&self) -> impl Iterator<Item = (TierKind, Bytes)> + '_ {
        let local = self.tiers.iter().map(|tier| (tier.kind, tier.capacity));
        local.chain(self.store.iter().map(|store| (TierKind::Remote, store.capacity)))
    }

    /// The last tier, which the mechanism is about. Nearer ones hold what is on its way there.
    pub fn farthest(&self) -> Option<TierKind> {
        self.capacities().last().map(|(tier, _)| tier)
    }

    /// KV tokens of a tier, whole chunks or not.
    pub fn tokens(&self, capacity: Bytes) -> u64 {
        let tokens = u128::from(capacity.0) * u128::from(self.chunk_tokens);
        (tokens / u128::from(self.chunk_bytes.kept.max(1))) as u64
    }

    /// Bytes of tokens in a tier.
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimingConfig {
    /// Performance model, section 3.
    Analytic(Box<AnalyticConfig>),
    /// `base + per_token * tokens`: for tests and peer benchmarks.
    Fixed { base: Nanos, per_token: Nanos },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnalyticConfig {
    pub model: ModelShape,
    pub accelerator: Accelerator,
    pub tensor_parallel: u32,
    /// CPU work overlaps with the GPU (`max` instead of sum).
    pub async_scheduling: bool,
    /// A long prefix shared by all running sequences is read once (cascade attention).
    pub cascade_attention: bool,
    pub cpu_per_pass: Nanos,
    pub cpu_per_sequence: Nanos,
    /// From arrival to the scheduler (HTTP, tokenizer); part of TTFT.
    pub front_end: Nanos,
}
