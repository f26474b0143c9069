//! Signals from llm-d's endpoint picker (EPP).
//!
//! The router (`llm_d_epp_kv_cache_index_*`, 0.10 and later) or the older library
//! (`kvcache_index_*`, second here) counts the same. A precise index has no gauge of its keys; the
//! approximate one has.

use weir_model::{SignalKind, SignalSource, Signals};

use super::{Reading, add_readings, level};
use crate::difference::{GapError, SnapshotDifference};

const PART: &str = "EPP's /metrics";

const READINGS: &[Reading] = &[
    Reading::new(SignalKind::IndexEvents, "llm_d_epp_kv_cache_events_messages_received_total"),
    Reading::new(SignalKind::IndexEvents, "llm_d_epp_kv_cache_index_admissions_total"),
    Reading::new(SignalKind::IndexEvents, "kvcache_index_admissions_total"),
    Reading::new(SignalKind::IndexLookups, "llm_d_epp_kv_cache_index_lookup_requests_total"),
    Reading::new(SignalKind::IndexLookups, "kvcache_index_lookup_requests_total"),
    Reading::new(SignalKind::IndexHits, "llm_d_epp_kv_cache_index_lookup_hits_total"),
    Reading::new(SignalKind::IndexHits, "kvcache_index_lookup_hits_total"),
];

const LEVELS: &[(SignalKind, &str)] = &[
    (SignalKind::IndexKeys, "llm_d_epp_prefix_indexer_size"),
    (SignalKind::IndexKeys, "inference_extension_prefix_indexer_size"),
    (SignalKind::Replicas, "llm_d_epp_ready_endpoints"),
    (SignalKind::Replicas, "inference_pool_ready_pods"),
];

/// One window per endpoint.
pub fn add_epp(windows: &[SnapshotDifference<'_>], signals: &mut Signals) -> Vec<GapError> {
    let gaps = add_readings(READINGS, PART, windows, signals);
    for (kind, metric) in LEVELS {
        if let Some(value) = level(windows, metric) {
            signals.add(*kind, value, SignalSource::of(PART).metric(*metric));
        }
    }
    gaps
}
