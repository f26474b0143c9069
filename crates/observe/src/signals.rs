//! Signals from the metrics of a live stack.
//!
//! Each module below is a table from families and labels to signals. The most direct source comes
//! first, because a verdict takes the first. A missing counter gives no signal, which is not zero;
//! a restarted process gives a gap. Replicas are summed only when every one has the family: a
//! partial sum would be wrong.

mod client;
mod kv_events;
mod lmcache;
mod router;
mod routing;
mod store;
mod vllm;
mod weir;

use weir_model::{SignalKind, SignalSource, Signals, TierKind};

use crate::difference::{GapError, SnapshotDifference};

pub use client::{AskedLoad, PromptTotals, add_client};
pub use kv_events::{EventBytes, add_kv_events};
pub use lmcache::{LMCACHE_SERVER_FAMILIES, Objects, add_lmcache_in_process, add_lmcache_server};
pub use router::add_router;
pub use routing::{AnsweredBy, ReplicaTotals, add_choices};
pub use store::{StoreCounts, StoredChunk, add_store};
pub use vllm::add_vllm;
pub use weir::add_weir;

#[derive(Debug, Clone, Copy)]
struct Reading {
    kind: SignalKind,
    metric: &'static str,
    filter: &'static [(&'static str, &'static str)],
    /// None for the mechanism as a whole.
    tier: Option<TierKind>,
    /// See [`SignalSource::at_lookup`].
    at_lookup: bool,
}

impl Reading {
    const fn new(kind: SignalKind, metric: &'static str) -> Self {
        Self::of(kind, metric, &[])
    }

    const fn of(
        kind: SignalKind,
        metric: &'static str,
        filter: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { kind, metric, filter, tier: None, at_lookup: false }
    }

    const fn speaks_of(self, tier: TierKind) -> Self {
        Self { tier: Some(tier), ..self }
    }

    const fn at_lookup(self) -> Self {
        Self { at_lookup: true, ..self }
    }

    fn source(&self, part: &str) -> SignalSource {
        let source = SignalSource::of(part).metric(series(self.metric, self.filter));
        SignalSource { at_lookup: self.at_lookup, ..source }
    }
}

fn series(metric: &str, filter: &[(&str, &str)]) -> String {
    let labels: Vec<String> =
        filter.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    if labels.is_empty() { metric.to_owned() } else { format!("{metric}{{{}}}", labels.join(",")) }
}

/// Growth over all windows. None without windows or when one lacks the counter.
fn grown(
    windows: &[SnapshotDifference<'_>],
    metric: &str,
    filter: &[(&str, &str)],
) -> Result<Option<f64>, GapError> {
    let mut sum = None;
    for window in windows {
        match window.counter(metric, filter)? {
            Some(value) => sum = Some(sum.unwrap_or(0.0) + value),
            None => return Ok(None),
        }
    }
    Ok(sum)
}

/// The same, with a gap noted.
fn grown_or_gap(
    windows: &[SnapshotDifference<'_>],
    metric: &str,
    filter: &[(&str, &str)],
    gaps: &mut Vec<GapError>,
) -> Option<f64> {
    grown(windows, metric, filter).unwrap_or_else(|gap| {
        note(gaps, gap);
        None
    })
}

/// Gauges at the end of the windows, summed; None when one is missing.
fn level(windows: &[SnapshotDifference<'_>], metric: &str) -> Option<f64> {
    let levels: Option<Vec<f64>> =
        windows.iter().map(|window| window.after().gauge_sum(metric, &[])).collect();
    levels.filter(|levels| !levels.is_empty()).map(|levels| levels.iter().sum())
}

/// A gap is noted once per cause.
fn add_readings(
    readings: &[Reading],
    part: &str,
    windows: &[SnapshotDifference<'_>],
    signals: &mut Signals,
) -> Vec<GapError> {
    let mut gaps = Vec::new();
    for reading in readings {
        let grown = grown_or_gap(windows, reading.metric, reading.filter, &mut gaps);
        let Some(value) = grown else { continue };
        let source = reading.source(part);
        match reading.tier {
            Some(tier) => signals.add_of(tier, reading.kind, value, source),
            None => signals.add(reading.kind, value, source),
        }
    }
    gaps
}

/// Once.
fn note(gaps: &mut Vec<GapError>, gap: GapError) {
    if !gaps.contains(&gap) {
        gaps.push(gap);
    }
}
