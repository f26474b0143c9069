//! The order of the page: what comes after what, and from where.

use super::families as f;
use super::histogram::Histogram;
use super::page::{Family, Labels, Page, python_repr};
use super::{
    CacheConfig, EngineMetrics, EngineSnapshot, FinishReason, LmcacheSnapshot, Metrics,
    OffloadSnapshot,
};

struct Engine<'a> {
    labels: Labels,
    metrics: &'a EngineMetrics,
    state: &'a EngineSnapshot,
}

impl Engine<'_> {
    fn with(&self, name: &'static str, value: &str) -> Labels {
        let mut labels = self.labels.clone();
        labels.push((name, value.to_owned()));
        labels
    }
}

pub(super) fn page(metrics: &Metrics, cache: &CacheConfig, state: &[EngineSnapshot]) -> String {
    let engines: Vec<Engine<'_>> = metrics
        .engines
        .iter()
        .zip(state)
        .enumerate()
        .map(|(index, (metrics_of, state))| Engine {
            labels: vec![("engine", index.to_string()), ("model_name", metrics.model.clone())],
            metrics: metrics_of,
            state,
        })
        .collect();
    let mut writer = Writer { page: Page::new(metrics.created), engines };
    if state.iter().any(|engine| engine.offload.is_some()) {
        writer.offload();
    }
    for family in [
        f::ESTIMATED_FLOPS_PER_GPU,
        f::ESTIMATED_READ_BYTES_PER_GPU,
        f::ESTIMATED_WRITE_BYTES_PER_GPU,
    ] {
        writer.counter(family, |_| 0);
    }
    writer.scheduler();
    writer.prefix_cache();
    writer.tokens();
    writer.requests(&metrics.model);
    writer.request_histograms();
    writer.cache_config(cache);
    if state.iter().any(|engine| engine.lmcache.is_some()) {
        writer.lmcache(&metrics.model);
    }
    writer.page.finish()
}

/// Reads one figure of `LMCache`.
type Field = fn(&LmcacheSnapshot) -> u64;

struct Writer<'a> {
    page: Page,
    engines: Vec<Engine<'a>>,
}

impl Writer<'_> {
    fn gauge(&mut self, family: Family, value: impl Fn(&Engine<'_>) -> f64) {
        let series =
            self.engines.iter().map(|engine| (engine.labels.clone(), value(engine))).collect();
        self.page.gauge(family, series);
    }

    fn counter(&mut self, family: Family, value: impl Fn(&Engine<'_>) -> u64) {
        let series = self
            .engines
            .iter()
            .map(|engine| (engine.labels.clone(), value(engine) as f64))
            .collect();
        self.page.counter(family, series);
    }

    fn histogram(&mut self, family: Family, of: impl Fn(&EngineMetrics) -> &Histogram) {
        let series =
            self.engines.iter().map(|engine| (engine.labels.clone(), of(engine.metrics))).collect();
        self.page.histogram(family, series);
    }

    /// Series with one more label, in the order label value by engine.
    fn by_label(
        &self,
        label: &'static str,
        values: &[&str],
        value: impl Fn(&Engine<'_>, usize) -> f64,
    ) -> Vec<(Labels, f64)> {
        let mut series = Vec::new();
        for (index, text) in values.iter().enumerate() {
            for engine in &self.engines {
                series.push((engine.with(label, text), value(engine, index)));
            }
        }
        series
    }

    fn scheduler(&mut self) {
        let waiting = |e: &EngineSnapshot| e.waiting_for_capacity + e.deferred;
        self.gauge(f::NUM_REQUESTS_RUNNING, |e| e.state.running as f64);
        self.gauge(f::NUM_REQUESTS_WAITING, |e| waiting(e.state) as f64);
        let reasons = self.by_label("reason", &["capacity", "deferred"], |e, reason| {
            [e.state.waiting_for_capacity, e.state.deferred][reason] as f64
        });
        self.page.gauge(f::NUM_REQUESTS_WAITING_BY_REASON, reasons);
        if self.engines.iter().any(|engine| engine.state.fetches.is_some()) {
            let stages = ["waiting_to_start", "in_progress", "completed_waiting"];
            let series = self.by_label("stage", &stages, |e, stage| {
                let of = e.state.fetches.unwrap_or_default();
                [of.waiting_to_start, of.in_progress, of.completed_waiting][stage] as f64
            });
            self.page.gauge(f::NUM_REQUESTS_KV_FETCH_BY_STAGE, series);
        }
        let states = ["awake", "weights_offloaded", "discard_all"];
        let sleep = self.by_label("sleep_state", &states, |_, state| [1.0, 0.0, 0.0][state]);
        self.page.gauge(f::ENGINE_SLEEP_STATE, sleep);
        self.gauge(f::KV_CACHE_USAGE_PERC, |e| e.state.kv_usage);
    }

    fn prefix_cache(&mut self) {
        self.counter(f::PREFIX_CACHE_QUERIES, |e| e.state.prefix_queries);
        self.counter(f::PREFIX_CACHE_HITS, |e| e.state.prefix_hits);
        self.counter(f::EXTERNAL_PREFIX_CACHE_QUERIES, |e| e.state.external_queries);
        self.counter(f::EXTERNAL_PREFIX_CACHE_HITS, |e| e.state.external_hits.total());
        self.counter(f::MM_CACHE_QUERIES, |_| 0);
        self.counter(f::MM_CACHE_HITS, |_| 0);
        self.counter(f::NUM_PREEMPTIONS, |e| e.state.preemptions);
    }

    fn tokens(&mut self) {
        self.counter(f::PROMPT_TOKENS, |e| e.metrics.prompt_tokens_total);
        let sources = ["local_compute", "local_cache_hit", "external_kv_transfer"];
        let by_source = self.by_label("source", &sources, |e, source| {
            let EngineMetrics {
                prompt_tokens_total, local_hit_tokens, external_hit_tokens, ..
            } = e.metrics;
            let cached = local_hit_tokens + external_hit_tokens;
            let computed = prompt_tokens_total.saturating_sub(cached);
            [computed, *local_hit_tokens, *external_hit_tokens][source] as f64
        });
        self.page.counter(f::PROMPT_TOKENS_BY_SOURCE, by_source);
        self.counter(f::PROMPT_TOKENS_CACHED, |e| {
            e.metrics.local_hit_tokens + e.metrics.external_hit_tokens
        });
        let tiers = ["device", "host", "p2p", "disk", "external_unspecified"];
        let by_tier = self.by_label("source", &tiers, |e, tier| {
            let hits = &e.state.external_hits;
            [e.state.prefix_hits, hits.host, hits.peer, hits.disk, hits.unspecified][tier] as f64
        });
        self.page.counter(f::PROMPT_TOKENS_CACHED_BY_SOURCE, by_tier);
        self.counter(f::GENERATION_TOKENS, |e| e.metrics.generation_tokens_total);
    }

    fn requests(&mut self, model: &str) {
        let reasons = FinishReason::ALL.map(FinishReason::name);
        let success = self
            .by_label("finished_reason", &reasons, |e, reason| e.metrics.finished[reason] as f64);
        self.page.counter(f::REQUEST_SUCCESS, success);
        let limits = ["max_num_queued_reqs", "max_num_queued_tokens"].map(|reason| {
            (vec![("model_name", model.to_owned()), ("reason", reason.to_owned())], 0.0)
        });
        self.page.counter(f::ADMISSION_REJECTIONS, limits.into());
    }

    fn request_histograms(&mut self) {
        self.histogram(f::REQUEST_PROMPT_TOKENS, |e| &e.prompt_tokens);
        self.histogram(f::REQUEST_GENERATION_TOKENS, |e| &e.generation_tokens);
        self.histogram(f::ITERATION_TOKENS, |e| &e.pass_tokens);
        self.histogram(f::REQUEST_MAX_NUM_GENERATION_TOKENS, |e| &e.most_generation_tokens);
        self.histogram(f::REQUEST_PARAMS_N, |e| &e.answers);
        self.histogram(f::REQUEST_PARAMS_MAX_TOKENS, |e| &e.max_tokens);
        self.histogram(f::TIME_TO_FIRST_TOKEN_SECONDS, |e| &e.first_token);
        self.histogram(f::INTER_TOKEN_LATENCY_SECONDS, |e| &e.token_gap);
        self.histogram(f::REQUEST_TIME_PER_OUTPUT_TOKEN_SECONDS, |e| &e.time_per_output_token);
        self.histogram(f::E2E_REQUEST_LATENCY_SECONDS, |e| &e.end_to_end);
        self.histogram(f::REQUEST_QUEUE_TIME_SECONDS, |e| &e.queue);
        self.histogram(f::REQUEST_INFERENCE_TIME_SECONDS, |e| &e.inference);
        self.histogram(f::REQUEST_PREFILL_TIME_SECONDS, |e| &e.prefill);
        self.histogram(f::REQUEST_DECODE_TIME_SECONDS, |e| &e.decode);
        self.histogram(f::REQUEST_NUM_PREEMPTIONS, |e| &e.preemptions);
        self.histogram(f::REQUEST_PREFILL_KV_COMPUTED_TOKENS, |e| &e.computed_tokens);
    }

    fn cache_config(&mut self, cache: &CacheConfig) {
        let series =
            (0..self.engines.len()).map(|engine| (cache_labels(cache, engine), 1.0)).collect();
        self.page.gauge(f::CACHE_CONFIG_INFO, series);
    }

    /// Counters and histograms of the offload connector. The newer ones have no series before
    /// something happened; the older ones, with a `transfer_type`, always have.
    fn offload(&mut self) {
        let ways = ["CPU_to_GPU", "GPU_to_CPU"];
        let both = |of: &dyn Fn(&OffloadSnapshot) -> [f64; 2]| -> Vec<(Labels, f64)> {
            let pairs = self.engines.iter().flat_map(|engine| {
                let values = of(&engine.state.offload.unwrap_or_default());
                [0, 1].map(|way| (engine.with("transfer_type", ways[way]), values[way]))
            });
            pairs.collect()
        };
        let bytes = both(&|o| [o.loaded_bytes as f64, o.stored_bytes as f64]);
        let times = both(&|o| [o.load_seconds, o.store_seconds]);
        let sizes = self.engines.iter().flat_map(|engine| {
            let offload = &engine.metrics.offload;
            [
                (engine.with("transfer_type", ways[0]), &offload.load_bytes),
                (engine.with("transfer_type", ways[1]), &offload.store_bytes),
            ]
        });
        let sizes = sizes.collect();
        self.page.counter(f::KV_OFFLOAD_TOTAL_BYTES, bytes);
        self.page.counter(f::KV_OFFLOAD_TOTAL_TIME, times);
        self.page.histogram(f::KV_OFFLOAD_SIZE, sizes);

        self.offload_gauge(f::KV_OFFLOAD_CPU_CACHE_USAGE_PERC, |o| {
            o.pinned_by_stores + o.pinned_by_loads
        });
        self.offload_gauge(f::KV_OFFLOAD_CPU_CACHE_WRITE_USAGE_PERC, |o| o.pinned_by_stores);
        self.offload_gauge(f::KV_OFFLOAD_CPU_CACHE_READ_USAGE_PERC, |o| o.pinned_by_loads);
        self.offload_histogram(f::KV_OFFLOAD_CPU_ALLOCATION_SIZE, |e| &e.offload.store_chunks);
        self.offload_counter(f::KV_OFFLOAD_LOAD_BYTES, |o| o.loaded_bytes as f64);
        self.offload_counter(f::KV_OFFLOAD_LOAD_TIME, |o| o.load_seconds);
        self.offload_histogram(f::KV_OFFLOAD_LOAD_SIZE, |e| &e.offload.load_bytes);
        self.offload_counter(f::KV_OFFLOAD_STORE_BYTES, |o| o.stored_bytes as f64);
        self.offload_counter(f::KV_OFFLOAD_STORE_TIME, |o| o.store_seconds);
        self.offload_histogram(f::KV_OFFLOAD_STORE_SIZE, |e| &e.offload.store_bytes);
        self.offload_histogram(f::KV_OFFLOAD_LOOKUP_SYNC_DELAY_SECONDS, |e| &e.offload.lookup_call);
        self.offload_histogram(f::KV_OFFLOAD_LOOKUP_ASYNC_DELAY_SECONDS, |e| {
            &e.offload.lookup_wait
        });
        self.offload_counter(f::KV_OFFLOAD_ALLOCATION_FAILURE, |o| o.allocation_failures as f64);
    }

    fn offload_gauge(&mut self, family: Family, value: impl Fn(&OffloadSnapshot) -> f64) {
        self.gauge(family, |e| value(&e.state.offload.unwrap_or_default()));
    }

    fn offload_counter(&mut self, family: Family, value: impl Fn(&OffloadSnapshot) -> f64) {
        let series = self
            .engines
            .iter()
            .map(|e| (e.labels.clone(), value(&e.state.offload.unwrap_or_default())))
            .filter(|(_, value)| *value > 0.0)
            .collect();
        self.page.counter(family, series);
    }

    fn offload_histogram(&mut self, family: Family, of: impl Fn(&EngineMetrics) -> &Histogram) {
        let series = self
            .engines
            .iter()
            .map(|e| (e.labels.clone(), of(e.metrics)))
            .filter(|(_, histogram)| histogram.count() > 0)
            .collect();
        self.page.histogram(family, series);
    }

    /// `LMCache` inside the engine's process: its own names, and its own labels.
    fn lmcache(&mut self, model: &str) {
        let counters: [(Family, Field); 7] = [
            (f::LMCACHE_REQUESTED_TOKENS, |l| l.requested_tokens),
            (f::LMCACHE_HIT_TOKENS, |l| l.hit_tokens),
            (f::LMCACHE_STORED_TOKENS, |l| l.stored_tokens),
            (f::LMCACHE_VLLM_HIT_TOKENS, |l| l.gpu_hit_tokens),
            (f::LMCACHE_PROMPT_TOKENS, |l| l.prompt_tokens),
            (f::LMCACHE_REMOTE_READ_BYTES, |l| l.remote_read_bytes),
            (f::LMCACHE_REMOTE_WRITE_BYTES, |l| l.remote_written_bytes),
        ];
        let gauges: [(Family, Field); 3] = [
            (f::LMCACHE_LOCAL_CACHE_USAGE, |l| l.local_bytes),
            (f::LMCACHE_REMOTE_CACHE_USAGE, |l| l.remote_bytes),
            (f::LMCACHE_LOCAL_STORAGE_USAGE, |l| l.disk_bytes),
        ];
        for (family, value) in counters {
            let series = self.lmcache_series(model, value);
            self.page.counter(family, series);
        }
        for (family, value) in gauges {
            let series = self.lmcache_series(model, value);
            self.page.gauge(family, series);
        }
    }

    fn lmcache_series(&self, model: &str, value: Field) -> Vec<(Labels, f64)> {
        let series = self.engines.iter().enumerate().map(|(worker, engine)| {
            let labels = vec![
                ("model_name", model.to_owned()),
                ("worker_id", worker.to_string()),
                ("role", "worker".to_owned()),
                ("served_model_name", model.to_owned()),
            ];
            (labels, value(&engine.state.lmcache.unwrap_or_default()) as f64)
        });
        series.collect()
    }
}

/// vLLM prints its whole cache configuration as labels, in Python's notation.
fn cache_labels(cache: &CacheConfig, engine: usize) -> Labels {
    let block = cache.block_tokens.to_string();
    let tokens = cache.gpu_blocks * u64::from(cache.block_tokens);
    let concurrency = tokens as f64 / f64::from(cache.max_model_tokens.max(1));
    let flag = |on: bool| if on { "True" } else { "False" }.to_owned();
    let mut labels: Labels = vec![
        ("block_size", block.clone()),
        ("effective_attention_block_size", block),
        ("enable_prefix_caching", flag(cache.prefix_caching)),
        ("engine", engine.to_string()),
        ("gpu_memory_utilization", python_repr(cache.gpu_memory_utilization)),
        ("kv_cache_max_concurrency", python_repr(concurrency)),
        ("kv_cache_memory_bytes", cache.kv_cache_bytes.to_string()),
        ("kv_cache_size_tokens", tokens.to_string()),
        ("num_gpu_blocks", cache.gpu_blocks.to_string()),
        (
            "num_gpu_blocks_override",
            cache.gpu_blocks_override.map_or_else(|| "None".to_owned(), |n| n.to_string()),
        ),
        ("prefix_caching_hash_algo", cache.hash_algorithm.to_owned()),
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
