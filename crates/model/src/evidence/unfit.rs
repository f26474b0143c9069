//! Why a cell that ran to its end has no result of its arm, with the compared figures.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::units::Nanos;

/// A part that does not answer for this long has stopped.
const STOPPED: Nanos = Nanos::from_secs(5);
/// A cell that stood still for more than this share of its window has no result.
pub const STALLED_SHARE: f64 = 0.25;

/// Prompt tokens that caches served, and what they can have held since the cell began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServedTokens {
    pub served: u64,
    /// With the tolerance.
    pub allowed: u64,
}

impl ServedTokens {
    pub const fn are_beyond(&self) -> bool {
        self.served > self.allowed
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountedTokens {
    pub counted: u64,
    /// By requests whose first token came in the window.
    pub sent: u64,
    /// With all that can have been counted in addition.
    pub most: u64,
    /// Without what can have been counted before or after.
    #[serde(default)]
    pub least: u64,
}

impl CountedTokens {
    pub const fn are_foreign(&self) -> bool {
        self.counted > self.most
    }

    pub const fn are_missing(&self) -> bool {
        self.counted < self.least
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostKeys {
    pub flushes: u64,
    pub restarted: bool,
    pub expired: u64,
}

impl LostKeys {
    /// Whether all of its keys may be gone at once.
    pub const fn is_all(&self) -> bool {
        self.flushes > 0 || self.restarted
    }
}

/// Time of the window without answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(deny_unknown_fields)]
#[error("{of} for {total} of the window of {window}, the longest span {longest}")]
pub struct Stalled {
    pub of: Silence,
    pub longest: Nanos,
    pub total: Nanos,
    pub window: Nanos,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum Silence {
    #[error("no request got a token")]
    Tokens,
    #[error("{0} did not answer")]
    Part(String),
    /// The part that stood still at the same time.
    #[error("no request got a token, and {0} did not answer,")]
    Behind(String),
}

impl Stalled {
    /// Too long, and by whom: failed requests say less.
    pub fn names_a_part(&self) -> bool {
        matches!(self.of, Silence::Behind(_)) && self.is_too_long()
    }

    /// Too long a part of the window for a result. A part that answers late on a busy machine still
    /// works.
    pub fn is_too_long(&self) -> bool {
        let stopped = match self.of {
            Silence::Tokens | Silence::Behind(_) => true,
            Silence::Part(_) => self.longest >= STOPPED,
        };
        stopped && self.total.0 as f64 > STALLED_SHARE * self.window.0 as f64
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum Unfit {
    #[error(
        "caches served {} prompt tokens, and only {} can have been in them since the cell began: \
         they hold what was asked before it, or by others; empty them (vLLM: \
         VLLM_SERVER_DEV_MODE=1), keep other clients away, and ask new prompts",
        .0.served, .0.allowed
    )]
    HitsBeyondAsked(ServedTokens),
    #[error(
        "the engines counted {} prompt tokens in the window, and the load sent {}, with the \
         requests at the window's edges {} at most: other clients were served too; keep them away, \
         and check that the metrics are those of the arm's engines alone",
        .0.counted, .0.sent, .0.most
    )]
    ForeignTokens(CountedTokens),
    #[error(
        "the load sent {} prompt tokens in the window, and the engines counted {}: something else \
         answered, a cache in front of them or engines whose metrics are not asked, or the metrics \
         are old ones; name the metrics of all engines, and measure behind what answers for them",
        .0.sent, .0.counted
    )]
    UncountedTokens(CountedTokens),
    #[error(
        "the store held {0} keys before the load, and the prompts are those of earlier loads \
         (same_prompts): hits of the arm cannot be told from theirs; ask new prompts, or empty the \
         store"
    )]
    WarmStore(u64),
    #[error(
        "the store {} in the window: what it had is gone, and what was asked again after that was \
         computed; keep others from it while a cell is measured",
        if .0.restarted { "was started again" } else { "was emptied (FLUSHALL, FLUSHDB)" }
    )]
    StoreLost(LostKeys),
    #[error(
        "the store of the router's index {} in the window: what the index knew of the replicas is \
         gone, and the router chose without it; keep others from it while a cell is measured",
        if .0.restarted { "was started again" } else { "was emptied (FLUSHALL, FLUSHDB)" }
    )]
    IndexLost(LostKeys),
    #[error("{0}: more than {percent:.0} % of it", percent = 100.0 * STALLED_SHARE)]
    Stalled(Stalled),
}
