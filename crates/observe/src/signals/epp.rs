//! Signals from llm-d's endpoint picker (EPP).
//!
//! The router (`llm_d_router_epp_kv_cache_*`, 0.10) and the library (`kvcache_index_*`, also in
//! llm-d-inference-scheduler 0.7) count the same. A precise index has no gauge of its keys. The
//! approximate one has, where a scorer uses it.

use weir_model::{SignalKind, SignalSource, Signals};

use super::{Reading, add_readings, level};
use crate::difference::{GapError, SnapshotDifference};

const PART: &str = "EPP's /metrics";

const READINGS: &[Reading] = &[
    Reading::new(
        SignalKind::IndexEvents,
        "llm_d_router_epp_kv_cache_events_messages_received_total",
    ),
    Reading::new(SignalKind::IndexEvents, "llm_d_router_epp_kv_cache_index_admissions_total"),
    Reading::new(SignalKind::IndexEvents, "kvcache_index_admissions_total"),
    Reading::new(SignalKind::IndexLookups, "llm_d_router_epp_kv_cache_index_lookup_requests_total"),
    Reading::new(SignalKind::IndexLookups, "kvcache_index_lookup_requests_total"),
    Reading::new(SignalKind::IndexHits, "llm_d_router_epp_kv_cache_index_lookup_hits_total"),
    Reading::new(SignalKind::IndexHits, "kvcache_index_lookup_hits_total"),
];

const LEVELS: &[(SignalKind, &str)] = &[
    (SignalKind::ApproximateKeys, "llm_d_epp_prefix_indexer_size"),
    (SignalKind::ApproximateKeys, "inference_extension_prefix_indexer_size"),
    (SignalKind::Replicas, "llm_d_epp_ready_endpoints"),
    (SignalKind::Replicas, "inference_pool_ready_pods"),
];

/// Of any part of the picker.
const FAMILIES: [&str; 5] = [
    "llm_d_epp_",
    "llm_d_router_epp_kv_cache_",
    "kvcache_index_",
    "inference_pool_",
    "inference_extension_prefix_indexer_",
];

/// One window per endpoint; those of engines have nothing of it.
pub fn add_epp(windows: &[SnapshotDifference<'_>], signals: &mut Signals) -> Vec<GapError> {
    let is_picker =
        |window: &&SnapshotDifference<'_>| FAMILIES.iter().any(|family| window.speaks_of(family));
    let windows: Vec<SnapshotDifference<'_>> = windows.iter().filter(is_picker).copied().collect();
    let gaps = add_readings(READINGS, PART, &windows, signals);
    for (kind, metric) in LEVELS {
        if let Some(value) = level(&windows, metric) {
            signals.add(*kind, value, SignalSource::of(PART).metric(*metric));
        }
    }
    gaps
}
