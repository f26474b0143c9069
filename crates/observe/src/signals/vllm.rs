//! Signals from vLLM's `/metrics` (semantics from vLLM 0.32's source).
//!
//! - `prompt_tokens*` and `prompt_tokens_by_source*` count at the end of a prefill, as the
//!   simulator does at the first token. They are exact and come first.
//! - `prefix_cache_hits` and `external_prefix_cache_hits` count at admission, without requests
//!   after a preemption. Versions that count at the lookup count a waiting request once per pass.
//! - Hits of the GPU and of a connector are separate: nothing is subtracted.
//! - `external_prefix_cache_queries` are the prompt's tokens minus the GPU's hits.
//! - `prompt_tokens_cached_by_source` splits hits by tier. Connectors without a split (`LMCache`,
//!   remote stores) count as `external_unspecified`; with such hits a tier's zero would be false.
//! - `kv_offload_cpu_cache_usage_perc` is the share pinned by transfers, not the used one: no
//!   signal.

use std::collections::BTreeMap;

use weir_model::{SignalKind, SignalSource, Signals, TierKind};

use super::{Reading, add_readings, grown_or_gap, note};
use crate::difference::{GapError, SnapshotDifference};

const PART: &str = "vLLM's /metrics";

const READINGS: &[Reading] = &[
    Reading::new(SignalKind::PromptTokens, "vllm:prompt_tokens_total"),
    Reading::of(
        SignalKind::GpuHitTokens,
        "vllm:prompt_tokens_by_source_total",
        &[("source", "local_cache_hit")],
    ),
    Reading::new(SignalKind::GpuHitTokens, "vllm:prefix_cache_hits_total"),
    Reading::new(SignalKind::GpuHitTokens, "vllm:gpu_prefix_cache_hits_total"),
    Reading::new(SignalKind::ExternalQueryTokens, "vllm:external_prefix_cache_queries_total"),
    Reading::of(
        SignalKind::ExternalHitTokens,
        "vllm:prompt_tokens_by_source_total",
        &[("source", "external_kv_transfer")],
    ),
    Reading::new(SignalKind::ExternalHitTokens, "vllm:external_prefix_cache_hits_total"),
    Reading::new(SignalKind::StoredBytes, "vllm:kv_offload_store_bytes_total"),
    Reading::of(
        SignalKind::StoredBytes,
        "vllm:kv_offload_total_bytes_total",
        &[("transfer_type", "GPU_to_CPU")],
    ),
    Reading::new(SignalKind::LoadedBytes, "vllm:kv_offload_load_bytes_total"),
    Reading::of(
        SignalKind::LoadedBytes,
        "vllm:kv_offload_total_bytes_total",
        &[("transfer_type", "CPU_to_GPU")],
    ),
    Reading::new(SignalKind::StoreFailures, "vllm:kv_offload_allocation_failure_total")
        .speaks_of(TierKind::Host),
    Reading::new(SignalKind::Preemptions, "vllm:num_preemptions_total"),
];

const BY_TIER: &str = "vllm:prompt_tokens_cached_by_source_total";

const TIERS: &[Reading] = &[
    Reading::of(SignalKind::HostHitTokens, BY_TIER, &[("source", "host")]),
    Reading::of(SignalKind::DiskHitTokens, BY_TIER, &[("source", "disk")]),
    // Another engine's memory is no store, but the only remote source that vLLM names.
    Reading::of(SignalKind::RemoteHitTokens, BY_TIER, &[("source", "p2p")]),
];

const CONNECTOR: &str = "vllm:kv_offload_";

/// Each engine has one series.
const PER_ENGINE: &str = "vllm:num_requests_running";
const ENDED: &str = "vllm:request_success_total";

/// One window per endpoint. Returns what a restart made unknown.
pub fn add_vllm(windows: &[SnapshotDifference<'_>], signals: &mut Signals) -> Vec<GapError> {
    let mut gaps = add_readings(READINGS, PART, windows, signals);
    let of_unknown = [("source", "external_unspecified")];
    if grown_or_gap(windows, BY_TIER, &of_unknown, &mut gaps) == Some(0.0) {
        for gap in add_readings(TIERS, PART, windows, signals) {
            note(&mut gaps, gap);
        }
    }
    // A connector's counters appear with their first increment: where others are there, an absent
    // one is 0.
    let has_connector =
        !windows.is_empty() && windows.iter().all(|window| window.speaks_of(CONNECTOR));
    if has_connector {
        for kind in [SignalKind::StoredBytes, SignalKind::LoadedBytes] {
            if signals.get(kind).is_none() {
                let metric = format!("{CONNECTOR}*: none of it was ever counted");
                signals.add(kind, 0.0, SignalSource::of(PART).metric(metric));
            }
        }
    }
    if let Some(replicas) = replicas(windows) {
        let source = SignalSource::of(PART).metric(PER_ENGINE);
        signals.add(SignalKind::Replicas, replicas as f64, source);
        if replicas > 1
            && let Err(gap) = add_choices(windows, signals)
        {
            note(&mut gaps, gap);
        }
    }
    gaps
}

/// By engine label, over all endpoints; None when an endpoint has none.
fn replicas(windows: &[SnapshotDifference<'_>]) -> Option<usize> {
    let per_endpoint: Option<Vec<usize>> = windows
        .iter()
        .map(|window| window.after().series(PER_ENGINE).map(std::collections::BTreeMap::len))
        .collect();
    per_endpoint.map(|engines| engines.iter().sum()).filter(|engines| *engines > 0)
}

/// By engine, of requests that ended in the window.
fn add_choices(windows: &[SnapshotDifference<'_>], signals: &mut Signals) -> Result<(), GapError> {
    let mut per_engine: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for window in windows {
        let Some(ended) = window.counter_by(ENDED, &[])? else { return Ok(()) };
        for (labels, count) in ended {
            let engine = (window.endpoint(), labels.get("engine").unwrap_or_default());
            *per_engine.entry(engine).or_default() += count;
        }
    }
    let source = || SignalSource::of(PART).metric(format!("{ENDED} per engine"));
    let all: f64 = per_engine.values().sum();
    signals.add(SignalKind::RoutingChoices, all, source());
    if all > 0.0 {
        let most = per_engine.values().copied().fold(0.0, f64::max);
        signals.add(SignalKind::RoutingMaxSharePercent, 100.0 * most / all, source());
    }
    Ok(())
}
