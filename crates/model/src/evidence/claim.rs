//! What an arm must show for its verdict, and what was observed.

use std::mem::discriminant;

use serde::{Deserialize, Serialize};

use super::reason::TokenShare;
use crate::signal::Signal;
use crate::tier_kind::TierKind;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    pub claim: Claimed,
    /// None where it could not be observed.
    pub held: Option<bool>,
}

/// What is claimed, with the observed figures. An absent figure was not observable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Claimed {
    /// Of a control: nothing outside the GPU served it.
    NoExternalHits { tokens: Option<f64> },
    /// Of a control: nothing was stored or looked up outside the GPU.
    NothingOutsideGpu { stored_bytes: Option<f64>, asked_tokens: Option<f64> },
    /// Of a choice by chance: no replica got more than `most_percent` of the requests.
    EvenChoice { most_percent: f64, largest_percent: Option<f64> },
    /// The mechanism stored blocks.
    Stored { bytes: Option<f64> },
    /// The mechanism was queried for blocks.
    Asked { tokens: Option<f64> },
    /// The tiers served at least `least` (0 to 1) of the reuse that the GPU did not hold.
    ServedEnough { least: f64, served: TokenShare },
    /// The tier that the arm is about served blocks.
    FarthestServed { tier: TierKind, tokens: Option<f64> },
    /// What the farthest tier held at the end was counted. False where it served all the same.
    HeldCounted { served: Signal },
    /// Engines and answers agree on what the tiers served.
    AnswersAgree { engines: Signal, answers: Signal },
    /// Mechanism and store agree on what the store served.
    StoreAgrees { mechanism: Signal, store: Signal },
    /// The tiers served no more than was requested before and was not in the GPU.
    ServedEligible { engines: Signal, eligible: f64 },
    /// There were several replicas to choose from.
    SeveralReplicas { replicas: u32 },
    /// More than one replica answered.
    SeveralAnswered { largest_percent: f64 },
    /// The router chose the replicas, and not the gateway in its place.
    RouterChose { unrouted: f64 },
    /// KV events reached the index.
    IndexEvents { events: Option<f64> },
    /// The router queried the index.
    IndexAsked { lookups: Option<f64> },
    /// Lookups in the index found blocks.
    IndexHits { lookups: Option<f64> },
    /// No scorer uses the router's own choices in place of the index.
    PreciseDecides { approximate_blocks: f64 },
    /// The store of the index holds it.
    IndexStored { keys: Option<f64> },
    /// The choices gained at least `least` (0 to 1) of the best possible gain over chance.
    ChoicesGained {
        least: f64,
        routed: f64,
        /// Expectation of a uniform choice.
        uniform: f64,
        best: f64,
    },
}

impl Claimed {
    /// Compares the kind of claim, not its figures.
    pub fn is_same(&self, other: &Self) -> bool {
        discriminant(self) == discriminant(other)
    }
}
