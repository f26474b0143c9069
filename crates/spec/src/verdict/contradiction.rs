//! Sources of the same tokens that contradict each other: one of them is not of the arm.

use weir_model::{
    CheckSetup, Claim, Claimed, FailureReason, Reason, Remedy, Signal, SignalKind, Signals,
    TierKind, Verdict,
};

use super::{Decision, Facts, is_more_than_rounding, sources};
use crate::plan::Arm;

/// Allowed difference of two counts, as a share of the larger one.
const APART: f64 = 0.5;
/// Allowed difference as a share of the prompt tokens: requests at the edges of a window may be in
/// one count only.
const EDGES: f64 = 0.05;
/// Allowed difference in longest sequences.
const EDGE_REQUESTS: f64 = 2.0;
/// Allowed excess of served over servable tokens, as a share: chat templates and blocks of other
/// lengths are unknown.
const BEYOND: f64 = 0.25;

fn edges(facts: &Facts<'_>, signals: &Signals) -> Option<f64> {
    let prompt = signals.get(SignalKind::PromptTokens)?;
    let longest = facts.longest_offer.unwrap_or(0) as f64;
    Some((EDGES * prompt).max(EDGE_REQUESTS * longest))
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Contradiction<'a> {
    /// The engines' metrics report hits of tiers, and the answers none.
    Answers { engines: &'a Signal, answers: &'a Signal },
    /// A mechanism reports hits of its store, and the store none.
    Store { mechanism: &'a Signal, store: &'a Signal },
    /// Tiers served more than was requested before and was not in the GPU.
    Eligible { engines: &'a Signal, eligible: f64 },
}

impl<'a> Contradiction<'a> {
    pub(super) fn of(arm: &Arm, facts: &Facts<'_>, signals: &'a Signals) -> Option<Self> {
        let edges = edges(facts, signals);
        let of_answers = edges.and_then(|edges| Self::of_answers(edges, signals));
        of_answers
            .or_else(|| Self::of_store(arm, signals))
            .or_else(|| Self::of_eligible(edges?, signals))
    }

    fn of_eligible(edges: f64, signals: &'a Signals) -> Option<Self> {
        let eligible = signals.get(SignalKind::EligibleTokens)?;
        let engines = sources(signals, SignalKind::ExternalHitTokens).next()?;
        let beyond = engines.value - eligible;
        (beyond > BEYOND * eligible && beyond > edges)
            .then_some(Self::Eligible { engines, eligible })
    }

    /// Engines count requests at the edges of the window differently from answers, but never half
    /// of all. Answers without cache figures are not a source.
    fn of_answers(edges: f64, signals: &'a Signals) -> Option<Self> {
        let mut sources = sources(signals, SignalKind::ExternalHitTokens);
        let engines = sources.next()?;
        let answers = sources.find(|other| other.source.who != engines.source.who)?;
        let apart = (engines.value - answers.value).abs();
        let is_so = apart > APART * engines.value.max(answers.value) && apart > edges;
        is_so.then_some(Self::Answers { engines, answers })
    }

    /// A mechanism's count at lookups exceeds its loads, and some of it is loaded.
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
        let (claim, failure, reason, remedy) = match self {
            Self::Answers { engines, answers } => (
                Claimed::AnswersAgree { engines: engines.clone(), answers: answers.clone() },
                FailureReason::AnswersContradict,
                Reason::AnswersContradict,
                Remedy::NameEngines,
            ),
            Self::Store { mechanism, store } => (
                Claimed::StoreAgrees { mechanism: mechanism.clone(), store: store.clone() },
                FailureReason::StoreContradicts,
                Reason::StoreContradicts {
                    mechanism: mechanism.source.who.clone(),
                    store: store.source.who.clone(),
                },
                Remedy::Check(CheckSetup::StoreAddress),
            ),
            Self::Eligible { engines, eligible } => (
                Claimed::ServedEligible { engines: engines.clone(), eligible },
                FailureReason::ServedTooMuch,
                Reason::ServedTooMuch,
                Remedy::StartFresh,
            ),
        };
        claims.push(Claim { claim, held: Some(false) });
        Decision::of(Verdict::Failed(failure), claims, reason, Some(remedy))
    }
}
