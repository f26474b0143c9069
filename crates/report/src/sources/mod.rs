//! Signals of a group of repeats, by source.

mod tokens;

use std::collections::BTreeMap;

use weir_model::{Signal, SignalKind, Signals, TierKind};

use crate::results::CellResult;

pub(crate) use tokens::TokenSources;

/// Relative difference up to which two sources agree: windows end a request apart.
const AGREE: f64 = 0.05;
/// Share of the prompts. Smaller differences in tokens are no contradiction, and prompts that
/// differ by less are the same.
const NEGLIGIBLE: f64 = 0.01;
const LOOKUPS: &str = " at lookups, which count what the GPU holds too";
/// Relative difference above which two sources cannot both be right.
const CONTRADICT: f64 = 0.25;

/// One quantity as one source observed it, over all repeats.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observation {
    pub(crate) part: String,
    /// Sum over the repeats; of a gauge, the mean.
    pub(crate) value: f64,
    /// See [`SignalSource::at_lookup`](weir_model::SignalSource::at_lookup).
    pub(crate) at_lookup: bool,
}

/// A quantity of the mechanism as a whole, or of one tier. Figures of different subjects are never
/// compared.
type Subject = (SignalKind, Option<TierKind>);

pub(crate) const fn tier_name(kind: TierKind) -> &'static str {
    match kind {
        TierKind::Gpu => "the GPU's cache",
        TierKind::Host => "host memory",
        TierKind::Disk => "disk",
        TierKind::Remote => "the remote store",
    }
}

/// Quantities that were observed in all of the repeats.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(BTreeMap<Subject, Vec<Observation>>);

impl Seen {
    /// Sums the signals of complete repeats. A source that is silent in one of them is left out:
    /// its sum would cover fewer. Of a source's figures the first is used, its most direct one.
    pub(crate) fn of(results: &[&CellResult]) -> Self {
        let signals: Vec<&Signals> =
            results.iter().filter_map(|result| Some(&result.evidence.as_ref()?.signals)).collect();
        let Some(first) = signals.first() else { return Self::default() };
        let mut seen = Self::default();
        for (kind, sources) in &first.0 {
            for Signal { source, tier, .. } in sources {
                let of_kind = seen.0.entry((*kind, *tier)).or_default();
                let (part, at_lookup) = (source.who.clone(), source.at_lookup);
                if of_kind.iter().any(|of| of.part == part && of.at_lookup == at_lookup) {
                    continue;
                }
                let value = |signals: &&Signals| {
                    let mut of_kind = signals.0.get(kind)?.iter();
                    let same = |signal: &&Signal| {
                        let of = &signal.source;
                        signal.tier == *tier && of.who == part && of.at_lookup == at_lookup
                    };
                    Some(of_kind.find(same)?.value)
                };
                let values: Option<Vec<f64>> = signals.iter().map(value).collect();
                let Some(values) = values else { continue };
                let sum: f64 = values.iter().sum();
                let value = if kind.is_gauge() { sum / values.len() as f64 } else { sum };
                of_kind.push(Observation { part, value, at_lookup });
            }
        }
        seen
    }

    /// Observations of the mechanism as a whole; the one that a verdict takes comes first.
    pub(crate) fn all(&self, kind: SignalKind) -> &[Observation] {
        self.about((kind, None))
    }

    fn about(&self, subject: Subject) -> &[Observation] {
        self.0.get(&subject).map_or(&[], Vec::as_slice)
    }

    /// Tier by tier, nearest first.
    pub(crate) fn tiers(&self, kind: SignalKind) -> impl Iterator<Item = (TierKind, f64)> + '_ {
        TierKind::ALL
            .into_iter()
            .filter_map(move |tier| Some((tier, self.about((kind, Some(tier))).first()?.value)))
    }

    /// The value that a verdict takes.
    pub(crate) fn get(&self, kind: SignalKind) -> Option<f64> {
        self.all(kind).first().map(|seen| seen.value)
    }

    /// One source's count of served tokens.
    pub(crate) fn by(&self, part: &str, kind: SignalKind) -> Option<f64> {
        let is_it = |seen: &&Observation| seen.part == part && !seen.at_lookup;
        self.all(kind).iter().find(is_it).map(|seen| seen.value)
    }

    /// Whether two sources give clearly different figures.
    pub(crate) fn differs(&self, kind: SignalKind) -> bool {
        let Some((first, others)) = self.all(kind).split_first() else { return false };
        others.iter().any(|other| difference(first.value, other.value).abs() > NEGLIGIBLE)
    }

    /// A figure with its sources and whether they agree: "34 GiB (vLLM's /metrics; Weir's tiers the
    /// same within 0.2 %)".
    pub(crate) fn told(&self, kind: SignalKind, print: fn(f64) -> String) -> Option<String> {
        told(self.all(kind), print)
    }

    pub(crate) fn told_of(
        &self,
        tier: TierKind,
        kind: SignalKind,
        print: fn(f64) -> String,
    ) -> Option<String> {
        told(self.about((kind, Some(tier))), print)
    }

    /// Whether two sources cannot both be right.
    pub(crate) fn contradicts(&self, kind: SignalKind) -> bool {
        let Some((first, others)) = self.all(kind).split_first() else { return false };
        let least = match kind.unit() {
            "tokens" => NEGLIGIBLE * self.get(SignalKind::PromptTokens).unwrap_or(0.0),
            _ => 0.0,
        };
        let differs = |other: &Observation| {
            difference(first.value, other.value).abs() > CONTRADICT
                && (first.value - other.value).abs() > least
        };
        !first.at_lookup && others.iter().any(|other| !other.at_lookup && differs(other))
    }
}

fn told(seen: &[Observation], print: fn(f64) -> String) -> Option<String> {
    let (first, others) = seen.split_first()?;
    let lookups = if first.at_lookup { LOOKUPS } else { "" };
    let mut words = format!("{} ({}{lookups}", print(first.value), first.part);
    for other in others {
        words += "; ";
        words += &against(first, other, print);
    }
    Some(words + ")")
}

/// Relative to the larger; -1 to 1.
fn difference(first: f64, other: f64) -> f64 {
    let largest = first.abs().max(other.abs());
    if largest > 0.0 { (other - first) / largest } else { 0.0 }
}

fn against(first: &Observation, other: &Observation, print: fn(f64) -> String) -> String {
    let difference = difference(first.value, other.value);
    let (part, value) = (&other.part, print(other.value));
    if first.at_lookup != other.at_lookup {
        let lookups = if other.at_lookup { LOOKUPS } else { "" };
        return format!("{part} {value}{lookups}");
    }
    if first.value == other.value {
        format!("{part} says the same")
    } else if difference.abs() <= AGREE {
        format!("{part} the same within {:.1} %", (100.0 * difference.abs()).max(0.1))
    } else {
        format!("{part} says {value}")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use weir_model::{RunningFacts, SignalSource, Verdict};
    use weir_record::{CellFigures, CellRecord, CellStatus, Evidence};

    use super::*;

    pub(in super::super) fn cell_with(signals: Signals) -> CellResult {
        CellResult {
            cell: 0,
            record: CellRecord {
                path: "cell".to_owned(),
                status: CellStatus::Complete,
                figures: CellFigures::default(),
                files: BTreeMap::new(),
                attempts: 1,
            },
            evidence: Some(Evidence {
                facts: RunningFacts::default(),
                signals,
                verdict: Verdict::Effective,
                predicted: false,
                claims: Vec::new(),
                reason: None,
                other_half: None,
                remedy: None,
                notes: Vec::new(),
                short_window: None,
            }),
            throughput_batches: Vec::new(),
            answers: None,
            unlike: Vec::new(),
            corrupt: None,
            inexact: Vec::new(),
        }
    }

    /// A source is identified by its name alone; what it was read from can differ over the repeats.
    #[test]
    fn a_part_is_named_whole_and_its_figures_are_added_up() {
        let kind = SignalKind::StoreFailures;
        let cell = |count: f64| {
            let mut signals = Signals::default();
            let source = SignalSource::of("redis (lookup cache) INFO");
            let source = source.metric(format!("errorstat_OOM {count}"));
            signals.add_of(TierKind::Remote, kind, count, source);
            cell_with(signals)
        };
        let seen = Seen::of(&[&cell(24.0), &cell(30.0)]);
        let told = seen.told_of(TierKind::Remote, kind, |value| format!("{value:.0}"));
        assert_eq!(told.as_deref(), Some("54 (redis (lookup cache) INFO)"));
    }

    /// One source can report lookup hits and served tokens.
    #[test]
    fn what_lookups_found_stands_beside_what_was_served() {
        let kind = SignalKind::HostHitTokens;
        let mut signals = Signals::default();
        let tiers = || SignalSource::of("tiers");
        signals.add(kind, 900.0, tiers().metric("found").at_lookup());
        signals.add(kind, 400.0, tiers().metric("lookups_served"));
        signals.add(kind, 399.0, tiers().metric("a less direct count"));
        let seen = Seen::of(&[&cell_with(signals)]);
        let all = [observation("tiers", 900.0, true), observation("tiers", 400.0, false)];
        assert_eq!(seen.all(kind), all);
        assert_eq!(seen.by("tiers", kind), Some(400.0));
    }

    fn observation(part: &str, value: f64, at_lookup: bool) -> Observation {
        Observation { part: part.to_owned(), value, at_lookup }
    }

    #[test]
    fn sources_agree_differ_or_contradict() {
        let kind = SignalKind::ExternalHitTokens;
        let seen = |values: &[Observation]| Seen(BTreeMap::from([((kind, None), values.to_vec())]));
        let told = |seen: &Seen| seen.told(kind, |value| format!("{value:.0}")).unwrap();
        let engine = observation("vLLM's /metrics", 1000.0, false);
        let one = seen(std::slice::from_ref(&engine));
        assert_eq!(told(&one), "1000 (vLLM's /metrics)");
        let near = seen(&[engine.clone(), observation("tiers", 996.0, false)]);
        assert_eq!(told(&near), "1000 (vLLM's /metrics; tiers the same within 0.4 %)");
        let far = seen(&[engine.clone(), observation("tiers", 100.0, false)]);
        assert_eq!(told(&far), "1000 (vLLM's /metrics; tiers says 100)");
        assert!(far.contradicts(kind) && !near.contradicts(kind) && !one.contradicts(kind));
        let lookup = seen(&[engine, observation("LMCache", 9000.0, true)]);
        assert!(!lookup.contradicts(kind));
        assert!(told(&lookup).contains("LMCache 9000 at lookups"), "{}", told(&lookup));
    }
}
