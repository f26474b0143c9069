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
    RemoveConnector,
    /// Make the metrics of engine, router and stores reachable.
    ReachMetrics,
    /// A gateway names the replica in each response.
    NameReplicas,
    /// Engines publish KV events, which Weir hears.
    HearEvents,
    /// Name the metrics of all engines that answer, and no others.
    NameEngines,
    /// Empty the tiers, send new prompts, and name the metrics of the engines that answer.
    StartFresh,
    OtherMode,

    LongerPrompts,
    LongerOrFewerUsers,
    LongerOrMoreUsers,
    AddReuse,
    /// More prefixes or users, or a smaller GPU pool.
    ExceedGpu,
    /// More prefixes than one replica holds, or sessions of several turns.
    MorePrefixes,

    /// Give the farthest tier room, the right to be written, and keys that do not expire.
    RoomInTier,
    LargerNearestOrFaster,
    LargerNearest,
    /// Smaller nearer tiers, or a larger working set.
    SmallerNearer,
    /// At least a replica's working set, where that is known.
    LargerTier(Option<Bytes>),
    /// A tier for all that was stored, or an eviction policy that keeps what is requested again.
    LargerOrKeeping(Bytes),
    /// In tokens, at most.
    ShorterChunks {
        longest: u64,
    },
    AddReplicas,
    /// A higher weight of the prefix score, or a larger index.
    RaisePrefixWeight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckSetup {
    Replicas,
    /// The store of the file is that of the mechanism.
    StoreAddress,
    /// The store is the mechanism's, and nobody else uses it.
    StoreAlone,
    /// The connector is loaded, with the keys of its version.
    Connector,
    /// The mechanism's configuration names its farthest tier.
    Place(TierKind),
    /// What a tier holds, and who else removes it.
    Contents(TierKind),
    /// Stored and requested keys agree, or the run is too short.
    Keys,
    /// Engines publish KV events, and the index subscribes to them.
    Events,
    Scorer,
    /// The router runs and answers.
    Router,
    /// The scorer names the producer of the precise index, and prompts are tokenized for it.
    Producer,
    /// Tokens, block size and hash seed of the index are the engines'.
    IndexKeys,
    /// The index is told its store, by the keys of its version.
    IndexStore,
    Blocks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MakeAlike {
    KeepDeployment,
    Replicas,
    /// Change the deployment, or the file to match what runs.
    Plan,
    Arguments,
    /// Start both arms alike except for the mechanism.
    Arms,
}
