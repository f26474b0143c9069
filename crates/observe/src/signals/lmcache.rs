//! Signals from `LMCache` 0.5.6: its server ("MP") and its connector inside vLLM.
//!
//! `LMCache` counts tokens at lookups and chunks at transfers. A lookup covers the whole prompt,
//! so its hits include those of the GPU. Its figures come after vLLM's, as an independent source.
//!
//! Its server exports through OpenTelemetry: a counter appears with its first increment, so an
//! operation that never happened is absent.

use weir_model::{Mechanism, SignalKind, SignalSource, Signals, TierKind};

use super::{Reading, add_readings, grown_or_gap, level};
use crate::difference::{GapError, SnapshotDifference};

/// From the plan: `LMCache` counts objects, signals are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objects {
    pub chunk_tokens: u32,
    /// KV bytes of a chunk over all ranks and layers; compression lowers them.
    pub chunk_bytes: u64,
    /// Ranks that each hold a part of every chunk (tensor parallelism).
    pub ranks: u32,
    /// A disk or a store; None without one.
    pub second_level: Option<TierKind>,
}

impl Objects {
    /// One rank's part of a chunk.
    fn bytes(&self) -> f64 {
        self.chunk_bytes as f64 / self.ranks.max(1) as f64
    }

    /// The ranks' objects of a chunk add up to the chunk.
    fn tokens(&self) -> f64 {
        self.chunk_tokens as f64 / self.ranks.max(1) as f64
    }
}

const SERVER: &str = "LMCache server's /metrics";

const SERVER_READINGS: &[Reading] = &[
    Reading::new(SignalKind::ExternalQueryTokens, "lmcache_mp_lookup_requested_tokens_total")
        .at_lookup(),
    Reading::new(SignalKind::HostHitTokens, "lmcache_mp_lookup_hit_l1_tokens_total").at_lookup(),
    Reading::of(
        SignalKind::StoreFailures,
        "lmcache_mp_l1_allocation_failure_chunks_total",
        &[("during", "l1_store")],
    )
    .speaks_of(TierKind::Host),
];

pub const LMCACHE_SERVER_FAMILIES: &str = Mechanism::LmcacheServer.traits().metrics;
const SECOND_LEVEL: &str = "lmcache_mp_lookup_hit_l2_tokens_total";
const LOADED: &str = "lmcache_mp_num_chunks_loaded_total";
const WRITTEN: &str = "lmcache_mp_l1_write_chunks_total";
const PROMOTED: &str = "lmcache_mp_l2_prefetch_load_completed_chunks_total";
const EVICTED: &str = "lmcache_mp_l1_evicted_chunks_total";
const EVICTED_FARTHER: &str = "lmcache_mp_l2_evicted_objects_chunks_total";
/// Without chunks that the second level refused.
const TAKEN_FARTHER: &str = "lmcache_mp_l2_store_completed_objects_chunks_total";
const USED: [&str; 2] = ["lmcache_mp_l1_memory_usage_bytes", "lmcache_mp_l2_usage_bytes"];

/// One window per server.
pub fn add_lmcache_server(
    windows: &[SnapshotDifference<'_>],
    objects: &Objects,
    signals: &mut Signals,
) -> Vec<GapError> {
    let mut gaps = add_readings(SERVER_READINGS, SERVER, windows, signals);
    let mut read = |metric: &str| grown_or_gap(windows, metric, &[], &mut gaps);
    let source = |metrics: &str| SignalSource::of(SERVER).metric(metrics);
    let farther = objects.second_level;
    if let (Some(tier), Some(tokens)) = (farther, read(SECOND_LEVEL)) {
        signals.add(SignalKind::hits_of(tier), tokens, source(SECOND_LEVEL).at_lookup());
    }
    // Absent counters are 0 where the server has others.
    let speaks = !windows.is_empty()
        && windows.iter().all(|window| window.speaks_of(LMCACHE_SERVER_FAMILIES));
    let never = |value: Option<f64>| value.or_else(|| speaks.then_some(0.0));
    if let Some(loaded) = read(LOADED) {
        signals.add(SignalKind::ExternalHitTokens, loaded * objects.tokens(), source(LOADED));
        signals.add(SignalKind::LoadedBytes, loaded * objects.bytes(), source(LOADED));
    }
    // Promotions from the second level are also writes to the first, but not from the GPU. Without
    // a second level there is no such counter.
    let promoted = read(PROMOTED);
    let less_promoted = |metric: &str| match promoted {
        Some(_) => format!("{metric} - {PROMOTED}"),
        None => metric.to_owned(),
    };
    if let Some(written) = never(read(WRITTEN)) {
        let stored = (written - promoted.unwrap_or(0.0)).max(0.0) * objects.bytes();
        signals.add(SignalKind::StoredBytes, stored, source(&less_promoted(WRITTEN)));
    }
    // A promoted object is released after the read, and counted as an eviction.
    if let Some(evicted) = read(EVICTED) {
        let gone = (evicted - promoted.unwrap_or(0.0)).max(0.0) * objects.bytes();
        let source = source(&less_promoted(EVICTED));
        signals.add_of(TierKind::Host, SignalKind::EvictedBytes, gone, source);
    }
    let of_farther =
        [(SignalKind::StoredBytes, TAKEN_FARTHER), (SignalKind::EvictedBytes, EVICTED_FARTHER)];
    for (kind, metric) in of_farther {
        if let (Some(tier), Some(chunks)) = (farther, read(metric)) {
            signals.add_of(tier, kind, chunks * objects.bytes(), source(metric));
        }
    }
    let tiers = [(Some(TierKind::Host), USED[0]), (farther, USED[1])];
    for (tier, metric) in tiers {
        if let (Some(tier), Some(used)) = (tier, level(windows, metric)) {
            signals.add_of(tier, SignalKind::TierUsedBytes, used, source(metric));
        }
    }
    gaps
}

const IN_PROCESS: &str = "LMCache's /metrics";

const IN_PROCESS_READINGS: &[Reading] = &[
    Reading::new(SignalKind::ExternalQueryTokens, "lmcache:num_lookup_tokens_total").at_lookup(),
    Reading::new(SignalKind::ExternalHitTokens, "lmcache:num_hit_tokens_total"),
    Reading::new(SignalKind::StoreFailures, "lmcache:local_cpu_evict_failed_count_total")
        .speaks_of(TierKind::Host),
];

/// Growth times the bytes or tokens of one counted thing is a signal.
const STORED_TOKENS: &str = "lmcache:num_stored_tokens_total";
const HIT_TOKENS: &str = "lmcache:num_hit_tokens_total";
const REMOTE_READ_BYTES: &str = "lmcache:num_remote_read_bytes_total";
const EVICTED_KEYS: &str = "lmcache:local_cpu_evict_keys_count_total";
const LEVELS: [(TierKind, &str); 3] = [
    (TierKind::Host, "lmcache:local_cache_usage"),
    (TierKind::Disk, "lmcache:local_storage_usage"),
    (TierKind::Remote, "lmcache:remote_cache_usage"),
];

/// Its families stand among vLLM's own.
pub fn add_lmcache_in_process(
    windows: &[SnapshotDifference<'_>],
    objects: &Objects,
    signals: &mut Signals,
) -> Vec<GapError> {
    let mut gaps = add_readings(IN_PROCESS_READINGS, IN_PROCESS, windows, signals);
    let source = |metric: &str| SignalSource::of(IN_PROCESS).metric(metric);
    let token_bytes = objects.chunk_bytes as f64 / f64::from(objects.chunk_tokens.max(1));
    let scaled = [
        (SignalKind::StoredBytes, STORED_TOKENS, token_bytes),
        (SignalKind::LoadedBytes, HIT_TOKENS, token_bytes),
        (SignalKind::RemoteHitTokens, REMOTE_READ_BYTES, 1.0 / token_bytes.max(1.0)),
    ];
    let mut read = |metric: &str| grown_or_gap(windows, metric, &[], &mut gaps);
    for (kind, metric, factor) in scaled {
        if let Some(value) = read(metric) {
            signals.add(kind, value * factor, source(metric));
        }
    }
    if let Some(evicted) = read(EVICTED_KEYS) {
        let gone = evicted * objects.bytes();
        signals.add_of(TierKind::Host, SignalKind::EvictedBytes, gone, source(EVICTED_KEYS));
    }
    for (tier, metric) in LEVELS {
        // An unused level is a gauge of 0, of a tier that the arm may lack.
        if let Some(used) = level(windows, metric).filter(|used| *used > 0.0) {
            signals.add_of(tier, SignalKind::TierUsedBytes, used, source(metric));
        }
    }
    gaps
}
