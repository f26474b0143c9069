//! Names, help texts and buckets of vLLM 0.32's families (and of LMCache 0.5.6's, at the end), in
//! the order of its page. `tests/fixtures/vllm-0.32.0` has the pages that they are tested against.
//!
//! Families of vLLM's page that the look-alike leaves out:
//!
//! | family | why |
//! |---|---|
//! | `python_*`, `process_*` | they describe the interpreter and its process |
//! | `http_*` | they come from the web framework's own instrumentation |
//! | `vllm:kv_block_*_seconds` | off by default (`--kv-cache-metrics`) |
//! | `vllm:lora_requests_info`, `vllm:spec_decode_*` | there are no adapters and no speculation |
//! | `vllm:kv_offload_stores_skipped` | only with a store threshold, which is not modelled |
//! | LMCache's request counts, rates and times | the engine core counts tokens and bytes only |
//!
//! Three kinds are constant: floating point operations and bytes per GPU (0 in vLLM unless
//! `--enable-mfu-metrics`), the multi-modal cache and the queue limits (never used here), and the
//! sleep state (always awake).

use super::page::Family;

/// Time to first token, in seconds.
pub(super) const FIRST_TOKEN_SECONDS: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
/// Time between tokens, in seconds.
pub(super) const TOKEN_SECONDS: [f64; 19] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
/// Phases of a request, in seconds.
pub(super) const REQUEST_SECONDS: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];
pub(super) const PASS_TOKENS: [u64; 13] =
    [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];
pub(super) const ANSWERS: [u64; 5] = [1, 2, 5, 10, 20];
pub(super) const PREEMPTIONS_OF_A_REQUEST: [u64; 7] = [1, 2, 3, 4, 5, 10, 20];
pub(super) const TRANSFER_BYTES: [u64; 10] = [
    1_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    40_000_000,
    60_000_000,
    80_000_000,
    100_000_000,
    150_000_000,
    200_000_000,
];
pub(super) const STORE_CHUNKS: [u64; 10] = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144];
/// Time of one call of the lookup, in seconds.
pub(super) const LOOKUP_CALL_SECONDS: [f64; 11] =
    [0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];
/// Time until a deferred lookup is resolved, in seconds.
pub(super) const LOOKUP_WAIT_SECONDS: [f64; 11] =
    [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// Declares families: one constant each.
macro_rules! families {
    ($($constant:ident = $name:literal: $help:literal;)*) => {
        $(pub(super) const $constant: Family = Family { name: $name, help: $help };)*
    };
}

families! {
    ESTIMATED_FLOPS_PER_GPU = "vllm:estimated_flops_per_gpu":
        "Estimated number of floating point operations per GPU (for Model Flops Utilization \
        calculations).";
    ESTIMATED_READ_BYTES_PER_GPU = "vllm:estimated_read_bytes_per_gpu":
        "Estimated number of bytes read from memory per GPU (for Model Flops Utilization \
        calculations).";
    ESTIMATED_WRITE_BYTES_PER_GPU = "vllm:estimated_write_bytes_per_gpu":
        "Estimated number of bytes written to memory per GPU (for Model Flops Utilization \
        calculations).";
    NUM_REQUESTS_RUNNING = "vllm:num_requests_running":
        "Number of requests in model execution batches.";
    NUM_REQUESTS_WAITING = "vllm:num_requests_waiting":
        "Number of requests waiting to be processed.";
    NUM_REQUESTS_WAITING_BY_REASON = "vllm:num_requests_waiting_by_reason":
        "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling \
        capacity; 'deferred' = deferred by transient constraints (LoRA budget, KV transfer, \
        blocked status). Sum of all reasons equals vllm:num_requests_waiting.";
    NUM_REQUESTS_KV_FETCH_BY_STAGE = "vllm:num_requests_kv_fetch_by_stage":
        "Number of waiting requests by async KV load stage. Stage labels: 'waiting_to_start' = \
        needs an async KV load that has not started; 'in_progress' = load started and not yet \
        reported finished; 'completed_waiting' = load finished, request not running yet.";
    ENGINE_SLEEP_STATE = "vllm:engine_sleep_state":
        "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; \
        weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.";
    KV_CACHE_USAGE_PERC = "vllm:kv_cache_usage_perc":
        "KV-cache usage. 1 means 100 percent usage.";
    PREFIX_CACHE_QUERIES = "vllm:prefix_cache_queries":
        "Prefix cache queries, in terms of number of queried tokens.";
    PREFIX_CACHE_HITS = "vllm:prefix_cache_hits":
        "Prefix cache hits, in terms of number of cached tokens.";
    EXTERNAL_PREFIX_CACHE_QUERIES = "vllm:external_prefix_cache_queries":
        "External prefix cache queries from KV connector cross-instance cache sharing, in terms \
        of number of queried tokens.";
    EXTERNAL_PREFIX_CACHE_HITS = "vllm:external_prefix_cache_hits":
        "External prefix cache hits from KV connector cross-instance cache sharing, in terms of \
        number of cached tokens.";
    MM_CACHE_QUERIES = "vllm:mm_cache_queries":
        "Multi-modal cache queries, in terms of number of queried items.";
    MM_CACHE_HITS = "vllm:mm_cache_hits":
        "Multi-modal cache hits, in terms of number of cached items.";
    NUM_PREEMPTIONS = "vllm:num_preemptions":
        "Cumulative number of preemption from the engine.";
    PROMPT_TOKENS = "vllm:prompt_tokens":
        "Number of prefill tokens processed.";
    PROMPT_TOKENS_BY_SOURCE = "vllm:prompt_tokens_by_source":
        "Number of prompt tokens by source.";
    PROMPT_TOKENS_CACHED = "vllm:prompt_tokens_cached":
        "Number of cached prompt tokens (local + external).";
    PROMPT_TOKENS_CACHED_BY_SOURCE = "vllm:prompt_tokens_cached_by_source":
        "Prefix-cache hit tokens by the cache tier that supplied them: device (local HBM), host \
        (offloaded to DRAM), disk, p2p (transferred from another vLLM instance) or \
        external_unspecified. Counted at admission; sums to vllm:prefix_cache_hits + \
        vllm:external_prefix_cache_hits.";
    GENERATION_TOKENS = "vllm:generation_tokens":
        "Number of generation tokens processed.";
    REQUEST_SUCCESS = "vllm:request_success":
        "Count of successfully processed requests.";
    ADMISSION_REJECTIONS = "vllm:admission_rejections":
        "Number of admission attempts rejected by a queue limit, by reason.";
    REQUEST_PROMPT_TOKENS = "vllm:request_prompt_tokens":
        "Number of prefill tokens processed.";
    REQUEST_GENERATION_TOKENS = "vllm:request_generation_tokens":
        "Number of generation tokens processed.";
    ITERATION_TOKENS = "vllm:iteration_tokens_total":
        "Histogram of number of tokens per engine_step.";
    REQUEST_MAX_NUM_GENERATION_TOKENS = "vllm:request_max_num_generation_tokens":
        "Histogram of maximum number of requested generation tokens.";
    REQUEST_PARAMS_N = "vllm:request_params_n":
        "Histogram of the n request parameter.";
    REQUEST_PARAMS_MAX_TOKENS = "vllm:request_params_max_tokens":
        "Histogram of the max_tokens request parameter.";
    TIME_TO_FIRST_TOKEN_SECONDS = "vllm:time_to_first_token_seconds":
        "Histogram of time to first token in seconds.";
    INTER_TOKEN_LATENCY_SECONDS = "vllm:inter_token_latency_seconds":
        "Histogram of inter-token latency in seconds.";
    REQUEST_TIME_PER_OUTPUT_TOKEN_SECONDS = "vllm:request_time_per_output_token_seconds":
        "Histogram of time_per_output_token_seconds per request.";
    E2E_REQUEST_LATENCY_SECONDS = "vllm:e2e_request_latency_seconds":
        "Histogram of e2e request latency in seconds.";
    REQUEST_QUEUE_TIME_SECONDS = "vllm:request_queue_time_seconds":
        "Histogram of time spent in WAITING phase for request.";
    REQUEST_INFERENCE_TIME_SECONDS = "vllm:request_inference_time_seconds":
        "Histogram of time spent in RUNNING phase for request.";
    REQUEST_PREFILL_TIME_SECONDS = "vllm:request_prefill_time_seconds":
        "Histogram of time spent in PREFILL phase for request.";
    REQUEST_DECODE_TIME_SECONDS = "vllm:request_decode_time_seconds":
        "Histogram of time spent in DECODE phase for request.";
    REQUEST_NUM_PREEMPTIONS = "vllm:request_num_preemptions":
        "Histogram of the number of times a request was preempted.";
    REQUEST_PREFILL_KV_COMPUTED_TOKENS = "vllm:request_prefill_kv_computed_tokens":
        "Histogram of new KV tokens computed during prefill (excluding cached tokens).";
    CACHE_CONFIG_INFO = "vllm:cache_config_info":
        "Information of the LLMEngine CacheConfig";
    KV_OFFLOAD_TOTAL_BYTES = "vllm:kv_offload_total_bytes":
        "Number of bytes offloaded by KV connector";
    KV_OFFLOAD_TOTAL_TIME = "vllm:kv_offload_total_time":
        "Total time measured by all KV offloading operations";
    KV_OFFLOAD_SIZE = "vllm:kv_offload_size":
        "Histogram of KV offload transfer size, in bytes.";
    KV_OFFLOAD_CPU_CACHE_USAGE_PERC = "vllm:kv_offload_cpu_cache_usage_perc":
        "Fraction of CPU KV-cache space currently pinned by active transfers (0.0 = idle, 1.0 = \
        saturated). Sustained high values indicate transfers (stores or promotions) may be \
        dropped due to insufficient capacity.";
    KV_OFFLOAD_CPU_CACHE_WRITE_USAGE_PERC = "vllm:kv_offload_cpu_cache_write_usage_perc":
        "Fraction of CPU KV-cache space currently pinned by in-flight stores that have not yet \
        completed (0.0 = idle, 1.0 = saturated).";
    KV_OFFLOAD_CPU_CACHE_READ_USAGE_PERC = "vllm:kv_offload_cpu_cache_read_usage_perc":
        "Fraction of CPU KV-cache space currently pinned by in-flight loads that have not yet \
        completed (0.0 = idle, 1.0 = saturated).";
    KV_OFFLOAD_CPU_ALLOCATION_SIZE = "vllm:kv_offload_cpu_allocation_size":
        "Histogram of the number of CPU chunks requested by each KV offload prepare_store call.";
    KV_OFFLOAD_LOAD_BYTES = "vllm:kv_offload_load_bytes":
        "Total bytes loaded from offload storage to GPU.";
    KV_OFFLOAD_LOAD_TIME = "vllm:kv_offload_load_time":
        "Total load time from offload storage to GPU, in seconds.";
    KV_OFFLOAD_LOAD_SIZE = "vllm:kv_offload_load_size":
        "Histogram of KV offload load operation size, in bytes.";
    KV_OFFLOAD_STORE_BYTES = "vllm:kv_offload_store_bytes":
        "Total bytes stored from GPU to offload storage.";
    KV_OFFLOAD_STORE_TIME = "vllm:kv_offload_store_time":
        "Total store time from GPU to offload storage, in seconds.";
    KV_OFFLOAD_STORE_SIZE = "vllm:kv_offload_store_size":
        "Histogram of KV offload store operation size, in bytes.";
    KV_OFFLOAD_LOOKUP_SYNC_DELAY_SECONDS = "vllm:kv_offload_lookup_sync_delay_seconds":
        "Histogram of the time spent in a single offload lookup call, in seconds.";
    KV_OFFLOAD_LOOKUP_ASYNC_DELAY_SECONDS = "vllm:kv_offload_lookup_async_delay_seconds":
        "Histogram of time between a request's offload lookup first deferring and the following \
        lookup resolving, or request finish, in seconds.";
    KV_OFFLOAD_ALLOCATION_FAILURE = "vllm:kv_offload_allocation_failure":
        "Number of KV offload store allocation attempts that failed.";
    LMCACHE_REQUESTED_TOKENS = "lmcache:num_requested_tokens":
        "Total number of tokens requested from lmcache";
    LMCACHE_HIT_TOKENS = "lmcache:num_hit_tokens":
        "Total number of tokens hit in lmcache";
    LMCACHE_STORED_TOKENS = "lmcache:num_stored_tokens":
        "Total number of tokens stored in lmcache including evicted ones";
    LMCACHE_VLLM_HIT_TOKENS = "lmcache:num_vllm_hit_tokens":
        "Number of hit tokens in vllm";
    LMCACHE_PROMPT_TOKENS = "lmcache:num_prompt_tokens":
        "Number of prompt tokens in lmcache";
    LMCACHE_REMOTE_READ_BYTES = "lmcache:num_remote_read_bytes":
        "Total number of bytes read from remote backends in lmcache";
    LMCACHE_REMOTE_WRITE_BYTES = "lmcache:num_remote_write_bytes":
        "Total number of bytes write to remote backends in lmcache";
    LMCACHE_LOCAL_CACHE_USAGE = "lmcache:local_cache_usage":
        "Local cache usage (bytes) of lmcache";
    LMCACHE_REMOTE_CACHE_USAGE = "lmcache:remote_cache_usage":
        "Remote cache usage (bytes) of lmcache";
    LMCACHE_LOCAL_STORAGE_USAGE = "lmcache:local_storage_usage":
        "Local storage usage (bytes) of lmcache";
}
