use serde::{Deserialize, Serialize};

use crate::product::Product;
use crate::signal::Signal;
use crate::tier_kind::TierKind;
use crate::units::Bytes;

/// Sources that end a request apart can give a part above the whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenShare {
    pub part: f64,
    pub whole: f64,
}

impl TokenShare {
    /// Of an empty whole, 0.
    pub fn percent(self) -> f64 {
        if self.whole > 0.0 { 100.0 * self.part / self.whole } else { 0.0 }
    }

    pub fn is_all(self) -> bool {
        self.part >= self.whole
    }
}

/// A quantity that decides and has no source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unseen {
    Operations,
    /// What the mechanism served, or could have served.
    Served,
    ServedBy(TierKind),
    IndexEvents,
    /// Which replicas answered.
    Replicas,
    /// What the chosen replicas held at the decisions.
    Choices,
}

/// The tier that an arm is about, by what shows that it holds something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FarthestTier {
    /// Files.
    Disk,
    /// Keys of the product.
    Store { product: Product },
}

/// How a mechanism, or its farthest tier, did nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Inaction {
    /// No request is as long as a chunk of the mechanism.
    NoChunkFilled { chunk_tokens: u64, longest: u64 },
    /// No store and no lookup.
    NothingReached,
    /// It served nothing, and a start-up log line says that it would not.
    StartupWarning { line: String },
    /// The tier that the arm is about holds nothing.
    FarthestEmpty {
        tier: FarthestTier,
        nearer_served: bool,
        /// Stores refused by it, or by host memory on the way to it.
        refused: Option<Signal>,
    },
    /// The named store gained too few keys to be the one that was written.
    StoreOfOthers { who: String, chunks: f64, product: Product, added_keys: f64 },
    /// Counted as empty, and yet it served.
    EmptyAndServed { tier: TierKind, served: Signal },
    /// A tier with room refused all stores: its configured size did not take effect.
    RefusedAll { capacity: Bytes },
    /// It got lookups, and stored nothing.
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
    /// The plan predicts reuse, but too few prompt tokens in the window were reused.
    NoReuseInWindow { eligible: TokenShare },
    /// Hardly anything was requested twice.
    NothingAskedTwice,
    /// The GPU holds what is requested again.
    FitsGpu { eligible: TokenShare, working_set: Option<Bytes> },
    /// A chunk is longer than what requests have in common.
    ChunkTooLong { chunk_tokens: u64, longest: u64 },
    /// Stores were refused, though the largest tier could hold what is requested again.
    NoRoom { capacity: Bytes, served: TokenShare },
    /// The largest tier cannot hold what is requested again. `capacity` is None where unknown.
    TierTooSmall { capacity: Option<Bytes>, served: TokenShare },
    /// Blocks were evicted before they were requested.
    Evicted { evicted: Bytes, served: TokenShare },
    /// It served hardly anything, and the counts do not explain it.
    Unexplained { served: TokenShare, stored: bool, kept: bool },
    /// Nearer tiers than the one that the arm is about served nearly all.
    NearerServed {
        tier: TierKind,
        served: TokenShare,
        /// Stores refused by it, or by host memory on the way to it.
        refused: Option<Signal>,
        evicted: Option<Bytes>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RoutingReason {
    /// One replica: nothing to choose.
    OneReplica,
    /// Of several, one answered all requests.
    OneAnswered,
    /// The gateway sent requests by itself, because the router did not answer. `of` is None where
    /// answers do not name replicas.
    GatewayChose { requests: f64, of: Option<f64> },
    /// The best choice would hardly gain over chance. A share of the prompt tokens.
    ReplicasAlike { possible: TokenShare },
    /// A share of the best possible gain over chance.
    ChoicesGained(TokenShare),
    /// Too small a share of that gain.
    ChoicesInVain(TokenShare),
    /// No KV event reached the index.
    NoEvents,
    /// No event filled a block of the index, which is longer than the engines', in tokens.
    IndexBlockUnfilled { index: u64, engine: u64 },
    /// The router never queried the index.
    IndexNotAsked,
    /// A scorer of the router's own choices fills its index, which decides in place of the precise
    /// one.
    ApproximateDecides { blocks: f64 },
    /// Events reached the index, prompts were asked again, and no lookup found a block.
    NothingFound,
    /// The store of the index is empty: an index in memory serves.
    IndexStoreEmpty,
}

/// Tokens and bytes are those of the window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reason {
    /// A deployment as it is: no arm is under test.
    NothingClaimed,
    Baseline,
    /// Something outside the GPU served the control.
    ControlServed,
    /// A connector worked in the control: its cost is in the figures.
    ControlConnected,
    /// One replica got nearly all requests of a choice by chance.
    UnevenChoice,
    NoSource(Unseen),

    AnswersContradict,
    /// The mechanism uses another store than the arm names, or did not load from it.
    StoreContradicts {
        mechanism: String,
        store: String,
    },
    /// The tiers served more than was requested before.
    ServedTooMuch,

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
