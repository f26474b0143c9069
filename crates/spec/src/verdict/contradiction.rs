//! Sources that speak of the same tokens and cannot both be right: one of them is not of the arm.

use weir_model::{Signal, SignalKind, Signals, TierKind, Verdict};

use super::{Claim, Decision, is_more_than_rounding, sources};
use crate::plan::Arm;

/// Two who counted the same tokens differ by less than this share of the larger count.
const APART: f64 = 0.5;
/// And by less than this share of the prompt tokens: requests at the edges of a window are of the
/// one count and not of the other.
const EDGES: f64 = 0.05;

/// Who said what of one quantity.
#[derive(Debug, Clone, Copy)]
pub(super) enum Contradiction<'a> {
    /// The engines' metrics say that tiers served, and the answers that nothing came from them.
    Answers { engines: &'a Signal, answers: &'a Signal },
    /// A mechanism says that its store served, and the store that it gave nothing away.
    Store { mechanism: &'a Signal, store: &'a Signal },
}

impl<'a> Contradiction<'a> {
    pub(super) fn of(arm: &Arm, signals: &'a Signals) -> Option<Self> {
        Self::of_answers(signals).or_else(|| Self::of_store(arm, signals))
    }

    /// Engines count requests at the edges of the window otherwise than answers do, never half of
    /// all. Answers that tell nothing of caches are no source.
    fn of_answers(signals: &'a Signals) -> Option<Self> {
        let prompt = signals.get(SignalKind::PromptTokens)?;
        let mut sources = sources(signals, SignalKind::ExternalHitTokens);
        let engines = sources.next()?;
        let answers = sources.find(|other| other.source.who != engines.source.who)?;
        let apart = (engines.value - answers.value).abs();
        let is_so = apart > APART * engines.value.max(answers.value) && apart > EDGES * prompt;
        is_so.then_some(Self::Answers { engines, answers })
    }

    /// What a mechanism counts at its lookups is more than what it loads, and some of it is loaded.
    fn of_store(arm: &Arm, signals: &'a Signals) -> Option<Self> {
        let offload = arm.offload.as_ref()?;
        if offload.farthest() != Some(TierKind::Remote) {
            return None;
        }
        let eligible = signals.get(SignalKind::EligibleTokens)?;
        let is_much = |of: &Signal| is_more_than_rounding(of.value, eligible);
        let mut sources = sources(signals, SignalKind::RemoteHitTokens);
        let mechanism = sources.next().filter(|of| is_much(of))?;
        let store = sources.find(|of| of.source.who != mechanism.source.who && !is_much(of))?;
        Some(Self::Store { mechanism, store })
    }

    pub(super) fn decided(self, mut claims: Vec<Claim>) -> Decision {
        let said = |of: &Signal| format!("{} says {:.0}", of.source.who, of.value);
        let (claim, seen, reason, explanation, remedy) = match self {
            Self::Answers { engines, answers } => (
                "engines and answers agree on what the tiers served",
                format!("{}, {}", said(engines), said(answers)),
                "hits that the answers contradict",
                "The engines' metrics and the answers speak of different tokens: the metrics are \
                 not those of the engines that answered, or something answered before them."
                    .to_owned(),
                "name the metrics of the engines that answer, all of them, and no others",
            ),
            Self::Store { mechanism, store } => (
                "mechanism and store agree on what the store served",
                format!("{}, {}", said(mechanism), said(store)),
                "hits that the store contradicts",
                format!(
                    "{} counts tokens out of the store, and {} none that left it: the mechanism \
                     has another store than the arm names, or asked its store and did not load.",
                    mechanism.source.who, store.source.who
                ),
                "check that store.address is the store that the mechanism was told",
            ),
        };
        claims.push(Claim { claim: claim.to_owned(), held: Some(false), seen });
        Decision {
            verdict: Verdict::Failed(reason.to_owned()),
            claims,
            explanation,
            remedy: Some(remedy.to_owned()),
        }
    }
}
