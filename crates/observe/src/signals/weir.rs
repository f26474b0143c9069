//! Signals from the tiers of Weir's own engine, where they hold real bytes.
//!
//! Tiers count blocks as they move, so their figures are a second source beside the engine's own
//! counters: what an engine thinks it loaded, and what a tier gave. A block is a chunk; the bytes
//! moved for it may be scaled down, and signals speak of the model's bytes.

use weir_model::{SignalKind, SignalSource, Signals, TierKind};

use super::{grown_or_gap, series};
use crate::difference::{GapError, SnapshotDifference};

const PART: &str = "Weir's tiers";
const BLOCKS: &str = "weir_tier_blocks_total";
const EVENTS: &str = "weir_carrier_events_total";

/// Adds the signals of tiers that hold real bytes. `chunk_tokens` and `chunk_bytes` say what a
/// block stands for: tokens, and the model's bytes over all ranks.
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
    // In host memory that is the only tier, every stored block left the GPU; otherwise the nearest
    // tier also takes copies of what came from a farther one.
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
