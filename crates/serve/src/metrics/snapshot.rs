//! The state of an engine at a scrape, read from the cluster.

use weir_engine::Counters;
use weir_model::{MechanismTraits, Software, TierKind};

use super::page::{Labels, python_repr};

#[derive(Debug, Clone, Default)]
pub struct EngineSnapshot {
    pub running: u64,
    /// Waiting for KV blocks or a place in the batch.
    pub waiting: u64,
    /// Fraction of the KV blocks that requests hold.
    pub kv_usage: f64,
    pub counters: Counters,
    pub mechanism: Option<&'static MechanismTraits>,
    /// Summed over transfers from the GPU, in seconds.
    pub store_seconds: f64,
    /// Summed over transfers to the GPU, in seconds.
    pub load_seconds: f64,
    pub lmcache: LmcacheSnapshot,
}

impl EngineSnapshot {
    pub(super) fn is_native(&self) -> bool {
        self.mechanism.is_some_and(|of| of.software == Software::Vllm)
    }

    pub(super) fn is_lmcache(&self) -> bool {
        self.mechanism.is_some_and(|of| of.software == Software::Lmcache)
    }

    pub(super) fn external_hits(&self) -> u64 {
        self.counters.tier_hit_tokens[TierKind::Host.index()..].iter().sum()
    }

    /// Prompt tokens, for host and disk only.
    pub(super) fn named_hits(&self, tier: TierKind) -> u64 {
        let named = self.mechanism.is_none_or(|of| of.says_tiers);
        if named { self.counters.tier_hit_tokens[tier.index()] } else { 0 }
    }

    pub(super) fn unnamed_hits(&self) -> u64 {
        let named = self.named_hits(TierKind::Host) + self.named_hits(TierKind::Disk);
        self.external_hits() - named
    }
}

/// For an `LMCache` in the engine's process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LmcacheSnapshot {
    /// Includes evicted tokens.
    pub stored_tokens: u64,
    pub remote_read_bytes: u64,
    pub remote_written_bytes: u64,
    /// In host memory.
    pub local_bytes: u64,
    pub disk_bytes: u64,
}

/// The variable part of `vllm:cache_config_info`.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheConfig {
    pub block_tokens: u32,
    pub gpu_blocks: u64,
    pub gpu_blocks_override: Option<u64>,
    pub max_model_tokens: u32,
    pub prefix_caching: bool,
    /// `--prefix-caching-hash-algo`.
    pub hash_algorithm: &'static str,
    pub gpu_memory_utilization: f64,
    pub kv_cache_bytes: u64,
}

impl CacheConfig {
    /// In Python's notation, as in vLLM.
    pub(super) fn labels(&self, engine: usize) -> Labels {
        let block = self.block_tokens.to_string();
        let tokens = self.gpu_blocks * u64::from(self.block_tokens);
        let concurrency = tokens as f64 / f64::from(self.max_model_tokens.max(1));
        let flag = |on: bool| if on { "True" } else { "False" }.to_owned();
        let mut labels: Labels = vec![
            ("block_size", block.clone()),
            ("effective_attention_block_size", block),
            ("enable_prefix_caching", flag(self.prefix_caching)),
            ("engine", engine.to_string()),
            ("gpu_memory_utilization", python_repr(self.gpu_memory_utilization)),
            ("kv_cache_max_concurrency", python_repr(concurrency)),
            ("kv_cache_memory_bytes", self.kv_cache_bytes.to_string()),
            ("kv_cache_size_tokens", tokens.to_string()),
            ("num_gpu_blocks", self.gpu_blocks.to_string()),
            (
                "num_gpu_blocks_override",
                self.gpu_blocks_override.map_or_else(|| "None".to_owned(), |n| n.to_string()),
            ),
            ("prefix_caching_hash_algo", self.hash_algorithm.to_owned()),
        ];
        let constant = [
            ("_block_size_resolved", "True"),
            ("cache_dtype", "auto"),
            ("cache_hit_alignment_tokens", "None"),
            ("enable_mamba_shared_prefix_checkpoint", "False"),
            ("hash_block_size", "None"),
            ("is_attention_free", "False"),
            ("kv_cache_dtype_skip_layers", "[]"),
            ("kv_cache_layout", "None"),
            ("kv_offloading_backend", "native"),
            ("kv_offloading_size", "None"),
            ("kv_sharing_fast_prefill", "False"),
            ("mamba_block_size", "None"),
            ("mamba_cache_dtype", "auto"),
            ("mamba_cache_mode", "none"),
            ("mamba_page_size_padded", "None"),
            ("mamba_ssm_cache_dtype", "float32"),
            ("num_cpu_blocks", "None"),
            ("prefix_cache_retention_interval", "0"),
            ("prefix_match_unit", "None"),
            ("replayssm_buffer_len", "16"),
            ("skip_page_size_padded", "None"),
            ("sliding_window", "None"),
            ("swa_bounded_replay", "True"),
            ("use_kda_recoverssm", "False"),
            ("use_replayssm", "False"),
            ("user_specified_block_size", "True"),
        ];
        labels.extend(constant.map(|(name, value)| (name, value.to_owned())));
        labels
    }
}
