//! Families of a scrape that are kept.
//!
//! An engine exposes some thousand samples, mostly buckets of request parameters. Only a few dozen
//! families concern KV offloading, load and usage; the others would cost memory and file size.

/// Families on KV caching, offloading, routing or load. A final `*` stands for any rest; suffixes
/// (`_total`, `_bucket`, `_sum`, `_count`, `_created`) are left out. Names: vLLM 0.32 and, where
/// they differ, 0.8 and later; `LMCache` 0.5.6; llm-d-router 0.10 and llm-d-kv-cache 0.9.
const RELEVANT: &[&str] = &[
    "process_start_time_seconds",
    "process_cpu_seconds",
    "process_resident_memory_bytes",
    "process_device_read_bytes",
    "vllm:num_requests_*",
    "vllm:kv_cache_usage_perc",
    "vllm:gpu_cache_usage_perc",
    "vllm:cache_config_info",
    "vllm:prefix_cache_*",
    "vllm:gpu_prefix_cache_*",
    "vllm:external_prefix_cache_*",
    "vllm:prompt_tokens*",
    "vllm:generation_tokens",
    "vllm:num_preemptions",
    "vllm:request_success",
    "vllm:time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:request_queue_time_seconds",
    "vllm:e2e_request_latency_seconds",
    "vllm:kv_offload_*",
    "vllm:kv_block_*",
    "vllm:simple_kv_offload_*",
    "vllm:lmcache_mp_*",
    "lmcache_mp_*",
    "lmcache:*",
    "llm_d_epp_*",
    "llm_d_router_epp_kv_cache_*",
    "kvcache_index_*",
    "inference_pool_*",
    "inference_extension_prefix_indexer_*",
    "envoy_cluster_upstream_rq",
    "weir_*",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection(Option<Vec<String>>);

impl Selection {
    pub const fn all() -> Self {
        Self(None)
    }

    pub fn relevant() -> Self {
        Self::of(RELEVANT)
    }

    /// Names without suffix; a final `*` stands for any rest. The process's start time is always
    /// kept: it shows a restart.
    pub fn of(patterns: &[&str]) -> Self {
        let start = std::iter::once("process_start_time_seconds");
        Self(Some(start.chain(patterns.iter().copied()).map(str::to_owned).collect()))
    }

    pub fn keeps(&self, name: &str) -> bool {
        let Some(patterns) = &self.0 else { return true };
        patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => pattern == name || pattern == without_suffix(name),
        })
    }
}

pub(crate) fn without_suffix(name: &str) -> &str {
    ["_total", "_created", "_bucket", "_sum", "_count", "_info"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_families_with_all_their_suffixes() {
        let selection = Selection::relevant();
        for kept in [
            "vllm:prompt_tokens_total",
            "vllm:prompt_tokens_created",
            "vllm:prompt_tokens_by_source_total",
            "vllm:kv_offload_store_bytes_total",
            "vllm:time_to_first_token_seconds_bucket",
            "vllm:cache_config_info",
            "lmcache_mp_l1_write_chunks_total",
            "process_start_time_seconds",
        ] {
            assert!(selection.keeps(kept), "{kept}");
        }
        for left in ["python_gc_objects_collected_total", "vllm:request_params_n_bucket", "vllm"] {
            assert!(!selection.keeps(left), "{left}");
        }
        assert!(Selection::all().keeps("python_info"));
        assert!(Selection::of(&["a"]).keeps("process_start_time_seconds"));
        assert!(!Selection::of(&["a"]).keeps("ab"));
    }
}
