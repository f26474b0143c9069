//! Signals from the router in front of replicas: llm-d's endpoint picker (EPP) behind Envoy, or
//! `weir route`.
//!
//! The router (`llm_d_router_epp_kv_cache_*`, 0.10) and the library (`kvcache_index_*`, also in
//! llm-d-inference-scheduler 0.7) count the same. A precise index has no gauge of its keys. The
//! approximate one has, where a scorer uses it.

use weir_model::{SignalKind, SignalSource, Signals};

use super::{Reading, add_readings, level};
use crate::difference::{GapError, SnapshotDifference};

struct Router {
    part: &'static str,
    /// Names of its families begin so.
    families: &'static [&'static str],
    readings: &'static [Reading],
    levels: &'static [(SignalKind, &'static str)],
}

const WEIR: Router = Router {
    part: "weir route's /metrics",
    families: &["weir_route_"],
    readings: &[
        Reading::new(SignalKind::IndexEvents, "weir_route_index_events_total"),
        Reading::new(SignalKind::IndexLookups, "weir_route_index_lookups_total"),
        Reading::new(SignalKind::IndexHits, "weir_route_index_lookup_hits_total"),
    ],
    levels: &[(SignalKind::IndexKeys, "weir_route_index_keys")],
};

/// Envoy as Weir sets it up: `any` has the replicas to which it sends requests by itself.
const ENVOY: Router = Router {
    part: "Envoy's /stats",
    families: &["envoy_cluster_"],
    readings: &[Reading::of(
        SignalKind::UnroutedRequests,
        "envoy_cluster_upstream_rq_total",
        &[("envoy_cluster_name", "any")],
    )],
    levels: &[],
};

const EPP: Router =
    Router { part: "EPP's /metrics", families: &FAMILIES, readings: READINGS, levels: LEVELS };

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
pub fn add_router(windows: &[SnapshotDifference<'_>], signals: &mut Signals) -> Vec<GapError> {
    let mut gaps = Vec::new();
    for router in [EPP, ENVOY, WEIR] {
        let is_its = |window: &&SnapshotDifference<'_>| {
            router.families.iter().any(|family| window.speaks_of(family))
        };
        let own: Vec<SnapshotDifference<'_>> = windows.iter().filter(is_its).copied().collect();
        gaps.extend(add_readings(router.readings, router.part, &own, signals));
        for (kind, metric) in router.levels {
            if let Some(value) = level(&own, metric) {
                signals.add(*kind, value, SignalSource::of(router.part).metric(*metric));
            }
        }
    }
    gaps
}
