//! Signals from the answered requests of a load: which replicas answered them, and what each held.
//!
//! Of the measured set, as all figures. The hits need the replicas' contents at the moment of each
//! request, which KV events give; without them for nearly all requests there is no signal.

use std::collections::BTreeMap;

use weir_model::{Nanos, Outcome, RequestRow, SignalKind, SignalSource, Signals, Window};

/// Least share of the requests whose replica, or whose hits, must be known.
const KNOWN_SHARE: f64 = 0.95;
const EVENTS: &str = "KV events heard by Weir";

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplicaTotals {
    pub requests: u64,
    pub prompt_tokens: u64,
    /// By the answers, of any tier.
    pub cached_tokens: u64,
    /// From each request's start to its end.
    pub time: Nanos,
}

/// Answered requests that were due in the window.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AnsweredBy {
    pub replicas: BTreeMap<u16, ReplicaTotals>,
    /// Their replica is not known.
    pub unknown: u64,
    /// Whose hits are known, with the sums of these.
    pub with_hits: u64,
    routed: f64,
    uniform: f64,
    best: f64,
}

impl AnsweredBy {
    pub fn add(&mut self, row: &RequestRow, window: Window) {
        if row.outcome != Outcome::Done || !window.measures(row.due) {
            return;
        }
        let Some(replica) = row.replica else {
            self.unknown += 1;
            return;
        };
        let totals = self.replicas.entry(replica).or_default();
        totals.requests += 1;
        totals.time.0 += row.end.saturating_sub(row.start).0;
        totals.prompt_tokens += u64::from(row.prompt_tokens.0);
        totals.cached_tokens +=
            row.cached_tokens.iter().map(|tokens| u64::from(tokens.0)).sum::<u64>();
        if let Some(hits) = row.hits {
            self.with_hits += 1;
            self.routed += f64::from(hits.routed.0);
            self.uniform += f64::from(hits.uniform);
            self.best += f64::from(hits.best.0);
        }
    }

    /// With a known replica.
    pub fn known(&self) -> u64 {
        self.replicas.values().map(|of| of.requests).sum()
    }

    fn are_enough(&self, known: u64) -> bool {
        known > 0 && known as f64 >= KNOWN_SHARE * (self.known() + self.unknown) as f64
    }
}

/// `replicas`: how many there are to choose from, at least; `source` says who names them.
pub fn add_choices(
    answered: &AnsweredBy,
    replicas: usize,
    source: &SignalSource,
    signals: &mut Signals,
) {
    let known = answered.known();
    if replicas.max(answered.replicas.len()) < 2 || !answered.are_enough(known) {
        return;
    }
    signals.add(SignalKind::RoutingChoices, known as f64, source.clone());
    let most = answered.replicas.values().map(|of| of.requests).max().unwrap_or(0);
    let share = 100.0 * most as f64 / known as f64;
    signals.add(SignalKind::RoutingMaxSharePercent, share, source.clone());
    if answered.are_enough(answered.with_hits) {
        signals.add(SignalKind::RoutedHitTokens, answered.routed, EVENTS);
        signals.add(SignalKind::UniformHitTokens, answered.uniform, EVENTS);
        signals.add(SignalKind::BestHitTokens, answered.best, EVENTS);
    }
}
