//! Why a cell has its verdict.

use serde::{Deserialize, Serialize};

use crate::product::Product;
use crate::signal::Signal;
use crate::tier_kind::TierKind;
use crate::units::Bytes;

/// A part and its whole. Sources that end a request apart can give more than the whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenShare {
    pub part: f64,
    pub whole: f64,
}

impl TokenShare {
    /// In percent; of nothing, 0.
    pub fn percent(self) -> f64 {
        if self.whole > 0.0 { 100.0 * self.part / self.whole } else { 0.0 }
    }

    pub fn is_all(self) -> bool {
        self.part >= self.whole
    }
}

/// A quantity that decides, and that nobody reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unseen {
    /// Stores and lookups of the mechanism.
    Operations,
    /// What the mechanism served, or could have served.
    Served,
    /// What the tier that the arm is about served.
    ServedBy(TierKind),
    /// KV events that reached the index.
    IndexEvents,
    /// What the chosen replicas held at the decisions.
    Choices,
}

/// The tier that an arm is about, by what would show that it holds something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FarthestTier {
    /// Files.
    Disk,
    /// Keys of a product.
    Store { product: Product },
}

/// How a mechanism was there and did nothing, or its farthest tier did nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Inaction {
    /// No request is as long as a chunk of the mechanism.
    NoChunkFilled { chunk_tokens: u64, longest: u64 },
    /// No store and no lookup.
    NothingReached,
    /// It served nothing, and a line of a start-up log says that it would not.
    StartupWarning { line: String },
    /// The tier that the arm is about holds nothing.
    FarthestEmpty {
        tier: FarthestTier,
        /// Whether nearer tiers served.
        nearer_served: bool,
        /// Stores that it, or host memory on the way to it, did not take.
        refused: Option<Signal>,
    },
    /// The store that the arm names gained too few keys to be the one that was written.
    StoreOfOthers { who: String, chunks: f64, product: Product, added_keys: f64 },
    /// Counted as empty, and yet it served.
    EmptyAndServed { tier: TierKind, served: Signal },
    /// A tier with room refused all stores: its size did not reach it.
    RefusedAll { capacity: Bytes },
    /// It was asked for blocks, and stored none.
    StoredNothing,
}

/// What a mechanism served of the reuse that the GPU did not hold, and why no more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum OffloadReason {
    /// No first token in the window.
    NoFirstToken,
    /// It served enough of the reuse that the GPU did not hold.
    Served(TokenShare),
    /// The plan predicts reuse, and too small a part of the prompt tokens in the window was.
    NoReuseInWindow { eligible: TokenShare },
    /// Hardly anything was asked twice.
    NothingAskedTwice,
    /// The GPU holds what is asked again.
    FitsGpu { eligible: TokenShare, working_set: Option<Bytes> },
    /// A chunk is longer than what requests have in common.
    ChunkTooLong { chunk_tokens: u64, longest: u64 },
    /// Stores were refused, though the largest tier could hold what is asked again.
    NoRoom { capacity: Bytes, served: TokenShare },
    /// The largest tier, where its size is known, cannot hold what is asked again.
    TierTooSmall { capacity: Option<Bytes>, served: TokenShare },
    /// Blocks were evicted before they were asked for.
    Evicted { evicted: Bytes, served: TokenShare },
    /// It served hardly anything, and what was counted does not say why.
    Unexplained {
        served: TokenShare,
        /// Whether it is known to have stored blocks.
        stored: bool,
        /// Whether it is known to have evicted none.
        kept: bool,
    },
    /// Nearer tiers than the one that the arm is about served nearly all.
    NearerServed {
        tier: TierKind,
        served: TokenShare,
        /// Stores that it, or host memory on the way to it, did not take.
        refused: Option<Signal>,
        /// What it let go of.
        evicted: Option<Bytes>,
    },
}

/// What the choices of a router were worth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RoutingReason {
    /// One replica: nothing to choose.
    OneReplica,
    /// The best choice would hardly gain over chance; of the prompt tokens.
    ReplicasAlike { possible: TokenShare },
    /// Its choices gained enough; of what the best ones would over chance.
    ChoicesGained(TokenShare),
    /// Its choices gained too little of it.
    ChoicesInVain(TokenShare),
    /// No KV event reached the index.
    NoEvents,
    /// The router never asked the index.
    IndexNotAsked,
}

/// Why a cell has its verdict, by its signals. Tokens and bytes are those of the window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reason {
    /// A deployment as it is: no arm is under test.
    NothingClaimed,
    /// The others are compared with it.
    Baseline,
    /// Something outside the GPU served the control.
    ControlServed,
    /// A connector worked in the control: its cost is in the figures.
    ControlConnected,
    /// One replica got nearly all requests of a choice by chance.
    UnevenChoice,
    /// A signal that decides could not be observed.
    NoSource(Unseen),

    /// Metrics and answers are not of the same engines.
    AnswersContradict,
    /// The mechanism has another store than the arm names, or did not load from it.
    StoreContradicts {
        mechanism: String,
        store: String,
    },
    /// The tiers served more than the load had asked before.
    ServedTooMuch,

    /// The mechanism did nothing, or nothing shows where.
    Inaction(Inaction),

    Offload(OffloadReason),
    Routing(RoutingReason),
}

impl From<Inaction> for Reason {
    fn from(why: Inaction) -> Self {
        Self::Inaction(why)
    }
}

impl From<OffloadReason> for Reason {
    fn from(why: OffloadReason) -> Self {
        Self::Offload(why)
    }
}

impl From<RoutingReason> for Reason {
    fn from(why: RoutingReason) -> Self {
        Self::Routing(why)
    }
}
