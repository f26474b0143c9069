use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence::FailureReason;

crate::words! {
    /// Why a mechanism cost something but brought nothing.
    #[derive(JsonSchema)]
    pub enum OverheadReason {
        /// What was asked again was still in the GPU's cache.
        FitsGpu = "fits-gpu",
        /// What is asked again leaves the GPU, but hardly any of it was asked again in the window.
        NoReuseInWindow = "no-reuse-in-window",
        /// Nearer tiers served, and the farthest one, which the arm is about, hardly anything.
        NearerTier = "nearer-tier",
        /// No request had a whole chunk of the mechanism in common with an earlier one.
        ChunkTooLong = "chunk-too-long",
        /// The tier is smaller than what it would have to hold.
        TierTooSmall = "tier-too-small",
        /// The tier evicted blocks before they were asked for.
        Evicted = "evicted",
    }
}

impl OverheadReason {
    /// True where the cost of the arm's mechanism was measured. It was not where the window was too
    /// short, where other tiers than the arm's served, or where its chunks could not.
    pub const fn counts(self) -> bool {
        matches!(self, Self::FitsGpu | Self::TierTooSmall | Self::Evicted)
    }
}

crate::words! {
    /// Why a mechanism did not act at all.
    #[derive(JsonSchema)]
    pub enum VoidReason {
        /// No store and no lookup reached the mechanism.
        NoOperation = "no-operation",
        /// One replica, or one of several that answered everything, or a router that did not
        /// answer: nothing was chosen.
        NoChoice = "no-choice",
        /// A precise index that received no events.
        NoEvents = "no-events",
    }
}

/// What a cell is worth as evidence (design: the table of verdicts).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A baseline arm, and its own claims hold.
    Control,
    /// The mechanism served at least the planned share of what it was eligible for.
    Effective,
    /// It acted, but (almost) nothing came back: only its cost was measured.
    OverheadOnly(OverheadReason),
    /// It did not act.
    Void(VoidReason),
    /// Outputs differ from the control's beyond the A/A arm's rate.
    Corrupt,
    /// The cell did not finish, its figures contradict each other, or what ran is not comparable.
    Failed(#[schemars(with = "String")] FailureReason),
    /// There was no source to see the mechanism.
    Unverified,
    /// The load generator, and not the server, limited the level: its figures are bounds.
    Refused,
}

impl Verdict {
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Effective => "effective",
            Self::OverheadOnly(_) => "overhead-only",
            Self::Void(_) => "void",
            Self::Corrupt => "corrupt",
            Self::Failed(_) => "failed",
            Self::Unverified => "unverified",
            Self::Refused => "refused",
        }
    }

    /// Whether averages and plots may use the cell as a result of its arm.
    pub const fn counts(&self) -> bool {
        match self {
            Self::Control | Self::Effective => true,
            Self::OverheadOnly(reason) => reason.counts(),
            Self::Void(_) | Self::Corrupt | Self::Failed(_) | Self::Unverified | Self::Refused => {
                false
            }
        }
    }
}
