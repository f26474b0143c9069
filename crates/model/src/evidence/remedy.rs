//! What to change where a verdict shows nothing.

use serde::{Deserialize, Serialize};

use crate::tier_kind::TierKind;
use crate::units::Bytes;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Remedy {
    Check(CheckSetup),
    Alike(MakeAlike),

    /// Empty all tiers, and load no connector.
    FlushTiers,
    /// Serve the control without a connector.
    RemoveConnector,
    /// Make the metrics of engine, router and stores reachable.
    ReachMetrics,
    /// Name the metrics of all engines that answer, and no others.
    NameEngines,
    /// Empty the tiers, ask new prompts, and name the metrics of the engines that answer.
    StartFresh,
    /// Use a mode of the mechanism that works on this platform.
    OtherMode,

    /// Longer prompts, or shorter chunks.
    LongerPrompts,
    /// A longer window, or fewer users.
    LongerOrFewerUsers,
    /// A longer window, or more users.
    LongerOrMoreUsers,
    /// A workload with reuse.
    AddReuse,
    /// More prefixes or users, or a smaller GPU pool.
    ExceedGpu,
    /// More prefixes than one replica holds, or sessions of several turns.
    MorePrefixes,

    /// Give the farthest tier room, the right to be written, and keys that do not expire.
    RoomInTier,
    /// A larger nearest tier, or a faster farthest one.
    LargerNearestOrFaster,
    LargerNearest,
    /// Smaller nearer tiers, or a larger working set.
    SmallerNearer,
    /// A larger tier: of at least a replica's working set, where that is known.
    LargerTier(Option<Bytes>),
    /// A tier for all that was stored, or an eviction policy that keeps what is asked again.
    LargerOrKeeping(Bytes),
    /// Chunks of at most so many tokens.
    ShorterChunks {
        longest: u64,
    },
    /// Two replicas or more.
    AddReplicas,
    /// A higher weight of the prefix score, or a larger index.
    RaisePrefixWeight,
}

/// What to look at by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckSetup {
    /// All replicas are ready, and behind the router.
    Replicas,
    /// The store of the file is that of the mechanism.
    StoreAddress,
    /// The same, and nobody else uses it.
    StoreAlone,
    /// The connector is loaded, with the keys of its version.
    Connector,
    /// The mechanism is told where its farthest tier is.
    Place(TierKind),
    /// What a tier holds, and who else removes it.
    Contents(TierKind),
    /// Stored and asked keys agree; or the run is too short.
    Keys,
    /// Engines publish KV events, and the index subscribes to them.
    Events,
    /// The router's profile uses the precise scorer.
    Scorer,
    /// Which blocks come back wrong.
    Blocks,
}

/// How to make arms comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MakeAlike {
    /// Keep the deployment as it is while a cell is measured.
    KeepDeployment,
    /// Start all replicas of an arm alike.
    Replicas,
    /// Change the deployment, or write into the file what runs.
    Plan,
    /// Give all arms the same arguments and variables.
    Arguments,
    /// Start both arms alike but for the mechanism.
    Arms,
}
