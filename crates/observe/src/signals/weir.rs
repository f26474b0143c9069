//! Signals from the real tiers of Weir's own engine.
//!
//! Tiers count moved blocks, independent of the engine's counters. A block is a chunk; its bytes
//! may be scaled down, while signals are the model's bytes.

use weir_model::{SignalKind, SignalSource, Signals, TierKind};

use super::{grown_or_gap, series};
use crate::difference::{GapError, SnapshotDifference};

const PART: &str = "Weir's tiers";
const BLOCKS: &str = "weir_tier_blocks_total";
const EVENTS: &str = "weir_carrier_events_total";

/// A block stands for `chunk_tokens` and for `chunk_bytes` of the model over all ranks.
pub fn add_weir(
    windows: &[SnapshotDifference<'_>],
    chunk_tokens: u32,
    chunk_bytes: u64,
    signals: &mut Signals,
) -> Vec<GapError> {
    let mut gaps = Vec::new();
    let mut read =
        |metric: &str, filter: &[(&str, &str)]| grown_or_gap(windows, metric, filter, &mut gaps);
    let source = |metric: &str, filter: &[(&str, &str)]| {
        SignalSource::of(PART).metric(series(metric, filter))
    };
    let of_all = |outcome: &str| source(BLOCKS, &[("outcome", outcome)]);
    let chunk_bytes = chunk_bytes as f64;
    let mut loaded = None;
    for tier in TierKind::ALL.into_iter().skip(1) {
        let kind = SignalKind::hits_of(tier);
        let filter = [("tier", tier.name()), ("outcome", "hit")];
        let Some(blocks) = read(BLOCKS, &filter) else { continue };
        signals.add(kind, blocks * f64::from(chunk_tokens), source(BLOCKS, &filter));
        loaded = Some(loaded.unwrap_or(0.0) + blocks);
    }
    if let Some(blocks) = loaded {
        signals.add(SignalKind::LoadedBytes, blocks * chunk_bytes, of_all("hit"));
    }
    // In host memory as the only tier, every stored block left the GPU. Otherwise the nearest tier
    // also takes copies from a farther one.
    let stored = |tier: TierKind| [("tier", tier.name()), ("outcome", "stored")];
    let behind = [TierKind::Disk, TierKind::Remote].map(|tier| read(BLOCKS, &stored(tier)));
    if behind == [None, None]
        && let Some(blocks) = read(BLOCKS, &stored(TierKind::Host))
    {
        signals.add(SignalKind::StoredBytes, blocks * chunk_bytes, of_all("stored"));
    }
    for (event, kind) in [
        ("failed_load", SignalKind::LoadFailures),
        ("failed_store", SignalKind::StoreFailures),
        ("wrong_block", SignalKind::WrongBlocks),
    ] {
        let filter = [("event", event)];
        if let Some(count) = read(EVENTS, &filter) {
            signals.add(kind, count, source(EVENTS, &filter));
        }
    }
    gaps
}
