//! Families of the page in its order: vLLM 0.32's, then LMCache 0.5.6's. Tests compare them with
//! captured pages in `tests/fixtures/vllm-0.32.0`.
//!
//! Families of vLLM's page that are left out:
//!
//! | family | why |
//! |---|---|
//! | `python_*`, `process_*` | they describe the interpreter and its process |
//! | `http_*` | they come from the web framework's own instrumentation |
//! | `vllm:kv_block_*_seconds` | off by default (`--kv-cache-metrics`) |
//! | `vllm:lora_requests_info`, `vllm:spec_decode_*` | there are no adapters and no speculation |
//! | `vllm:num_requests_kv_fetch_by_stage` | the engine does not report the stages of a load |
//! | `vllm:kv_offload_stores_skipped` | only with a store threshold, which is not modelled |
//! | LMCache's request counts, rates and times | the engine core counts tokens and bytes only |
//!
//! Constant figures: operations and bytes per GPU (0 in vLLM unless `--enable-mfu-metrics`), the
//! multi-modal cache and queue limits (unused), the sleep state (awake), and what the engine does
//! not report (deferred requests, pinned host memory, `LMCache`'s remote usage).

use weir_model::TierKind;

use super::engine::{EngineMetrics, FinishReason};
use super::histogram;
use super::page::{Family, Labels, Page};
use super::snapshot::{CacheConfig, EngineSnapshot};

struct Engine<'a> {
    index: usize,
    model: &'a str,
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

    fn lmcache_labels(&self) -> Labels {
        vec![
            ("model_name", self.model.to_owned()),
            ("worker_id", self.index.to_string()),
            ("role", "worker".to_owned()),
            ("served_model_name", self.model.to_owned()),
        ]
    }
}

/// Per engine, or per engine and one more label.
enum Series {
    Gauge(fn(&Engine<'_>) -> f64),
    Counter(fn(&Engine<'_>) -> u64),
    /// Absent while zero.
    SparseCounter(fn(&Engine<'_>) -> f64),
    Histogram(fn(&EngineMetrics) -> &histogram::Histogram),
    /// Absent while empty.
    SparseHistogram(fn(&EngineMetrics) -> &histogram::Histogram),
    LabelledGauge(&'static str, fn(&Engine<'_>) -> Vec<(&'static str, u64)>),
    LabelledCounter(&'static str, fn(&Engine<'_>) -> Vec<(&'static str, u64)>),
    /// In the order of [`DIRECTIONS`].
    TransferCounter(fn(&EngineSnapshot) -> [f64; 2]),
    TransferHistogram(fn(&EngineMetrics) -> [&histogram::Histogram; 2]),
    LmcacheCounter(fn(&EngineSnapshot) -> u64),
    LmcacheGauge(fn(&EngineSnapshot) -> u64),
    /// Of the server; always zero.
    QueueLimits,
    CacheConfigInfo,
}

use Series::{
    CacheConfigInfo, Counter, Gauge, Histogram, LabelledCounter, LabelledGauge, LmcacheCounter,
    LmcacheGauge, QueueLimits, SparseCounter, SparseHistogram, TransferCounter, TransferHistogram,
};

const DIRECTIONS: [&str; 2] = ["CPU_to_GPU", "GPU_to_CPU"];

struct Row {
    family: Family,
    series: Series,
}

/// Per family: name, source and help text.
macro_rules! rows {
    ($section:ident: $($name:literal = $series:expr => $help:literal;)*) => {
        const $section: &[Row] =
            &[$(Row { family: Family { name: $name, help: $help }, series: $series }),*];
    };
}

pub(super) fn page(
    model: &str,
    created: f64,
    metrics: &[EngineMetrics],
    cache: &CacheConfig,
    state: &[EngineSnapshot],
) -> String {
    let engine = |(index, (metrics, state))| {
        let labels = vec![("engine", format!("{index}")), ("model_name", model.to_owned())];
        Engine { index, model, labels, metrics, state }
    };
    let engines: Vec<Engine<'_>> = metrics.iter().zip(state).enumerate().map(engine).collect();
    let sections = [
        (OFFLOAD, state.iter().any(EngineSnapshot::is_native)),
        (ENGINE, true),
        (LMCACHE, state.iter().any(EngineSnapshot::is_lmcache)),
    ];
    let mut page = Page::new(created);
    for (rows, _) in sections.iter().filter(|(_, shown)| *shown) {
        for row in *rows {
            row.write(&mut page, &engines, cache);
        }
    }
    page.finish()
}

impl Row {
    fn write(&self, page: &mut Page, engines: &[Engine<'_>], cache: &CacheConfig) {
        let family = self.family;
        match self.series {
            Gauge(of) => page.gauge(family, by_engine(engines, of)),
            Counter(of) => page.counter(family, by_engine(engines, |e| of(e) as f64)),
            SparseCounter(of) => {
                let mut series = by_engine(engines, of);
                series.retain(|(_, value)| *value > 0.0);
                page.counter(family, series);
            }
            Histogram(of) => page.histogram(family, by_engine(engines, |e| of(e.metrics))),
            SparseHistogram(of) => {
                let mut series = by_engine(engines, |e| of(e.metrics));
                series.retain(|(_, histogram)| histogram.count() > 0);
                page.histogram(family, series);
            }
            LabelledGauge(label, of) => page.gauge(family, by_label(engines, label, of)),
            LabelledCounter(label, of) => page.counter(family, by_label(engines, label, of)),
            TransferCounter(of) => {
                page.counter(family, by_direction(engines, |e| of(e.state)));
            }
            TransferHistogram(of) => {
                page.histogram(family, by_direction(engines, |e| of(e.metrics)));
            }
            LmcacheCounter(of) => page.counter(family, lmcache(engines, of)),
            LmcacheGauge(of) => page.gauge(family, lmcache(engines, of)),
            QueueLimits => {
                let model = engines.first().map_or("", |engine| engine.model);
                let series = ["max_num_queued_reqs", "max_num_queued_tokens"].map(|reason| {
                    (vec![("model_name", model.to_owned()), ("reason", reason.to_owned())], 0.0)
                });
                page.counter(family, series.into());
            }
            CacheConfigInfo => {
                let series = engines.iter().map(|engine| (cache.labels(engine.index), 1.0));
                page.gauge(family, series.collect());
            }
        }
    }
}

fn by_engine<'a, T>(
    engines: &'a [Engine<'_>],
    of: impl Fn(&'a Engine<'_>) -> T,
) -> Vec<(Labels, T)> {
    engines.iter().map(|engine| (engine.labels.clone(), of(engine))).collect()
}

/// All engines of a label's first value, then those of the next.
fn by_label(
    engines: &[Engine<'_>],
    label: &'static str,
    of: fn(&Engine<'_>) -> Vec<(&'static str, u64)>,
) -> Vec<(Labels, f64)> {
    let values: Vec<_> = engines.iter().map(of).collect();
    let mut series = Vec::new();
    for index in 0..values.first().map_or(0, Vec::len) {
        for (engine, values) in engines.iter().zip(&values) {
            let (text, value) = values[index];
            series.push((engine.with(label, text), value as f64));
        }
    }
    series
}

fn by_direction<'a, T>(
    engines: &'a [Engine<'_>],
    of: impl Fn(&'a Engine<'_>) -> [T; 2],
) -> Vec<(Labels, T)> {
    let of_engine = |engine: &'a Engine<'_>| {
        let labels = DIRECTIONS.map(|direction| engine.with("transfer_type", direction));
        labels.into_iter().zip(of(engine))
    };
    engines.iter().flat_map(of_engine).collect()
}

fn lmcache(engines: &[Engine<'_>], of: fn(&EngineSnapshot) -> u64) -> Vec<(Labels, f64)> {
    engines.iter().map(|engine| (engine.lmcache_labels(), of(engine.state) as f64)).collect()
}

rows! {
    OFFLOAD:
    "vllm:kv_offload_total_bytes" =
        TransferCounter(|s| [s.counters.loaded_bytes as f64, s.counters.stored_bytes as f64]) =>
        "Number of bytes offloaded by KV connector";
    "vllm:kv_offload_total_time" = TransferCounter(|s| [s.load_seconds, s.store_seconds]) =>
        "Total time measured by all KV offloading operations";
    "vllm:kv_offload_size" =
        TransferHistogram(|m| [&m.offload.load_bytes, &m.offload.store_bytes]) =>
        "Histogram of KV offload transfer size, in bytes.";
    "vllm:kv_offload_cpu_cache_usage_perc" = Gauge(|_| 0.0) =>
        "Fraction of CPU KV-cache space currently pinned by active transfers (0.0 = idle, 1.0 = \
         saturated). Sustained high values indicate transfers (stores or promotions) may be \
         dropped due to insufficient capacity.";
    "vllm:kv_offload_cpu_cache_write_usage_perc" = Gauge(|_| 0.0) =>
        "Fraction of CPU KV-cache space currently pinned by in-flight stores that have not yet \
         completed (0.0 = idle, 1.0 = saturated).";
    "vllm:kv_offload_cpu_cache_read_usage_perc" = Gauge(|_| 0.0) =>
        "Fraction of CPU KV-cache space currently pinned by in-flight loads that have not yet \
         completed (0.0 = idle, 1.0 = saturated).";
    "vllm:kv_offload_cpu_allocation_size" = SparseHistogram(|m| &m.offload.store_chunks) =>
        "Histogram of the number of CPU chunks requested by each KV offload prepare_store call.";
    "vllm:kv_offload_load_bytes" = SparseCounter(|e| e.state.counters.loaded_bytes as f64) =>
        "Total bytes loaded from offload storage to GPU.";
    "vllm:kv_offload_load_time" = SparseCounter(|e| e.state.load_seconds) =>
        "Total load time from offload storage to GPU, in seconds.";
    "vllm:kv_offload_load_size" = SparseHistogram(|m| &m.offload.load_bytes) =>
        "Histogram of KV offload load operation size, in bytes.";
    "vllm:kv_offload_store_bytes" = SparseCounter(|e| e.state.counters.stored_bytes as f64) =>
        "Total bytes stored from GPU to offload storage.";
    "vllm:kv_offload_store_time" = SparseCounter(|e| e.state.store_seconds) =>
        "Total store time from GPU to offload storage, in seconds.";
    "vllm:kv_offload_store_size" = SparseHistogram(|m| &m.offload.store_bytes) =>
        "Histogram of KV offload store operation size, in bytes.";
    "vllm:kv_offload_lookup_sync_delay_seconds" = SparseHistogram(|m| &m.offload.lookup_call) =>
        "Histogram of the time spent in a single offload lookup call, in seconds.";
    "vllm:kv_offload_lookup_async_delay_seconds" = SparseHistogram(|m| &m.offload.lookup_wait) =>
        "Histogram of time between a request's offload lookup first deferring and the following \
         lookup resolving, or request finish, in seconds.";
    "vllm:kv_offload_allocation_failure" =
        SparseCounter(|e| e.state.counters.refused_chunks as f64) =>
        "Number of KV offload store allocation attempts that failed.";
}

rows! {
    ENGINE:
    "vllm:estimated_flops_per_gpu" = Counter(|_| 0) =>
        "Estimated number of floating point operations per GPU (for Model Flops Utilization \
         calculations).";
    "vllm:estimated_read_bytes_per_gpu" = Counter(|_| 0) =>
        "Estimated number of bytes read from memory per GPU (for Model Flops Utilization \
         calculations).";
    "vllm:estimated_write_bytes_per_gpu" = Counter(|_| 0) =>
        "Estimated number of bytes written to memory per GPU (for Model Flops Utilization \
         calculations).";
    "vllm:num_requests_running" = Gauge(|e| e.state.running as f64) =>
        "Number of requests in model execution batches.";
    "vllm:num_requests_waiting" = Gauge(|e| e.state.waiting as f64) =>
        "Number of requests waiting to be processed.";
    "vllm:num_requests_waiting_by_reason" = LabelledGauge("reason", |e| vec![
        ("capacity", e.state.waiting),
        ("deferred", 0),
    ]) =>
        "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling \
         capacity; 'deferred' = deferred by transient constraints (LoRA budget, KV transfer, \
         blocked status). Sum of all reasons equals vllm:num_requests_waiting.";
    "vllm:engine_sleep_state" = LabelledGauge("sleep_state", |_| vec![
        ("awake", 1),
        ("weights_offloaded", 0),
        ("discard_all", 0),
    ]) =>
        "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; \
         weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.";
    "vllm:kv_cache_usage_perc" = Gauge(|e| e.state.kv_usage) =>
        "KV-cache usage. 1 means 100 percent usage.";
    "vllm:prefix_cache_queries" = Counter(|e| e.state.counters.prompt_tokens) =>
        "Prefix cache queries, in terms of number of queried tokens.";
    "vllm:prefix_cache_hits" = Counter(|e| e.state.counters.gpu_hit_tokens) =>
        "Prefix cache hits, in terms of number of cached tokens.";
    "vllm:external_prefix_cache_queries" = Counter(|e| e.state.counters.external_query_tokens) =>
        "External prefix cache queries from KV connector cross-instance cache sharing, in terms \
         of number of queried tokens.";
    "vllm:external_prefix_cache_hits" = Counter(|e| e.state.external_hits()) =>
        "External prefix cache hits from KV connector cross-instance cache sharing, in terms of \
         number of cached tokens.";
    "vllm:mm_cache_queries" = Counter(|_| 0) =>
        "Multi-modal cache queries, in terms of number of queried items.";
    "vllm:mm_cache_hits" = Counter(|_| 0) =>
        "Multi-modal cache hits, in terms of number of cached items.";
    "vllm:num_preemptions" = Counter(|e| e.state.counters.preemptions) =>
        "Cumulative number of preemption from the engine.";
    "vllm:prompt_tokens" = Counter(|e| e.metrics.prompt_tokens_total) =>
        "Number of prefill tokens processed.";
    "vllm:prompt_tokens_by_source" = LabelledCounter("source", |e| vec![
        ("local_compute", e.metrics.prompt_tokens_total.saturating_sub(e.metrics.cached_tokens())),
        ("local_cache_hit", e.metrics.local_hit_tokens),
        ("external_kv_transfer", e.metrics.external_hit_tokens),
    ]) =>
        "Number of prompt tokens by source.";
    "vllm:prompt_tokens_cached" = Counter(|e| e.metrics.cached_tokens()) =>
        "Number of cached prompt tokens (local + external).";
    "vllm:prompt_tokens_cached_by_source" = LabelledCounter("source", |e| vec![
        ("device", e.state.counters.gpu_hit_tokens),
        ("host", e.state.named_hits(TierKind::Host)),
        ("p2p", 0),
        ("disk", e.state.named_hits(TierKind::Disk)),
        ("external_unspecified", e.state.unnamed_hits()),
    ]) =>
        "Prefix-cache hit tokens by the cache tier that supplied them: device (local HBM), host \
         (offloaded to DRAM), disk, p2p (transferred from another vLLM instance) or \
         external_unspecified. Counted at admission; sums to vllm:prefix_cache_hits + \
         vllm:external_prefix_cache_hits.";
    "vllm:generation_tokens" = Counter(|e| e.metrics.generation_tokens_total) =>
        "Number of generation tokens processed.";
    "vllm:request_success" = LabelledCounter("finished_reason", |e| {
        FinishReason::NAMES.into_iter().zip(e.metrics.finished).collect()
    }) =>
        "Count of successfully processed requests.";
    "vllm:admission_rejections" = QueueLimits =>
        "Number of admission attempts rejected by a queue limit, by reason.";
    "vllm:request_prompt_tokens" = Histogram(|m| &m.prompt_tokens) =>
        "Number of prefill tokens processed.";
    "vllm:request_generation_tokens" = Histogram(|m| &m.generation_tokens) =>
        "Number of generation tokens processed.";
    "vllm:iteration_tokens_total" = Histogram(|m| &m.pass_tokens) =>
        "Histogram of number of tokens per engine_step.";
    "vllm:request_max_num_generation_tokens" = Histogram(|m| &m.most_generation_tokens) =>
        "Histogram of maximum number of requested generation tokens.";
    "vllm:request_params_n" = Histogram(|m| &m.answers) =>
        "Histogram of the n request parameter.";
    "vllm:request_params_max_tokens" = Histogram(|m| &m.max_tokens) =>
        "Histogram of the max_tokens request parameter.";
    "vllm:time_to_first_token_seconds" = Histogram(|m| &m.first_token) =>
        "Histogram of time to first token in seconds.";
    "vllm:inter_token_latency_seconds" = Histogram(|m| &m.token_gap) =>
        "Histogram of inter-token latency in seconds.";
    "vllm:request_time_per_output_token_seconds" = Histogram(|m| &m.time_per_output_token) =>
        "Histogram of time_per_output_token_seconds per request.";
    "vllm:e2e_request_latency_seconds" = Histogram(|m| &m.end_to_end) =>
        "Histogram of e2e request latency in seconds.";
    "vllm:request_queue_time_seconds" = Histogram(|m| &m.queue) =>
        "Histogram of time spent in WAITING phase for request.";
    "vllm:request_inference_time_seconds" = Histogram(|m| &m.inference) =>
        "Histogram of time spent in RUNNING phase for request.";
    "vllm:request_prefill_time_seconds" = Histogram(|m| &m.prefill) =>
        "Histogram of time spent in PREFILL phase for request.";
    "vllm:request_decode_time_seconds" = Histogram(|m| &m.decode) =>
        "Histogram of time spent in DECODE phase for request.";
    "vllm:request_num_preemptions" = Histogram(|m| &m.preemptions) =>
        "Histogram of the number of times a request was preempted.";
    "vllm:request_prefill_kv_computed_tokens" = Histogram(|m| &m.computed_tokens) =>
        "Histogram of new KV tokens computed during prefill (excluding cached tokens).";
    "vllm:cache_config_info" = CacheConfigInfo =>
        "Information of the LLMEngine CacheConfig";
}

rows! {
    LMCACHE:
    "lmcache:num_requested_tokens" = LmcacheCounter(|s| s.counters.external_query_tokens) =>
        "Total number of tokens requested from lmcache";
    "lmcache:num_hit_tokens" = LmcacheCounter(EngineSnapshot::external_hits) =>
        "Total number of tokens hit in lmcache";
    "lmcache:num_stored_tokens" = LmcacheCounter(|s| s.lmcache.stored_tokens) =>
        "Total number of tokens stored in lmcache including evicted ones";
    "lmcache:num_vllm_hit_tokens" = LmcacheCounter(|s| s.counters.gpu_hit_tokens) =>
        "Number of hit tokens in vllm";
    "lmcache:num_prompt_tokens" = LmcacheCounter(|s| s.counters.prompt_tokens) =>
        "Number of prompt tokens in lmcache";
    "lmcache:num_remote_read_bytes" = LmcacheCounter(|s| s.lmcache.remote_read_bytes) =>
        "Total number of bytes read from remote backends in lmcache";
    "lmcache:num_remote_write_bytes" = LmcacheCounter(|s| s.lmcache.remote_written_bytes) =>
        "Total number of bytes write to remote backends in lmcache";
    "lmcache:local_cache_usage" = LmcacheGauge(|s| s.lmcache.local_bytes) =>
        "Local cache usage (bytes) of lmcache";
    "lmcache:remote_cache_usage" = LmcacheGauge(|_| 0) =>
        "Remote cache usage (bytes) of lmcache";
    "lmcache:local_storage_usage" = LmcacheGauge(|s| s.lmcache.disk_bytes) =>
        "Local storage usage (bytes) of lmcache";
}
