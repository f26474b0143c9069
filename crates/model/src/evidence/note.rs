//! What a reader of a cell's figures must also know.

use serde::{Deserialize, Serialize};

use super::failure::FailureCause;
use super::unfit::{Stalled, Unfit};
use crate::fact::FactDifference;
use crate::loaded_from::LoadedFrom;
use crate::units::{Bytes, Nanos};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Note {
    Load(LoadNote),
    Cache(CacheNote),
    Tier(TierNote),
    Routing(RoutingNote),
    Stalled(Stalled),
    /// In an arm as deployed: what would make another arm fail.
    Unfit(Unfit),
    OtherRun {
        pid: u32,
    },
    /// In the error's own words: something could not be read, or was no signal.
    Error(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LoadNote {
    /// Fewer than the plan allows.
    Failed(FailureCause),
    /// So many failed in a row that the rest was not sent.
    GaveUp { requests: u32, last: String },
    /// The load was steady from `from` on, after the window began.
    SteadyLate { from: Nanos, window_start: Nanos },
    /// The load was never steady.
    NeverSteady { window: Nanos },
    /// A server does not accept `max_tokens`.
    OtherLimitField { url: String },
    /// A server refuses a token id: only ids below `sent_below` are sent.
    SmallerVocabulary { url: String, refused: u32, sent_below: u32 },
    /// A server was answering other clients when the load began.
    OthersServed { url: String },
    /// Times of different shards cannot be compared more precisely: the clock of one is known to
    /// `bound` only.
    ClockBound { shard: u32, bound: Nanos },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum CacheNote {
    /// The place reported that it was empty, and served what it had held.
    NotEmptied { place: String, asked: u64, served: u64 },
    /// The place reported that it was empty, and does not report hits.
    Unverified { place: String },
    /// It cannot be emptied.
    CannotBeEmptied { place: String },
    /// A store that is not emptied held keys. None where they were not counted.
    StoreHeld { place: String, keys: Option<u64> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TierNote {
    /// Keys whose life ended in the window.
    KeysExpired {
        keys: u64,
    },
    EventsLost {
        batches: u64,
    },
    EventsUnreadable {
        problem: Option<String>,
    },
    NoEvents,
    StoreInMemory {
        who: String,
    },
    /// Loads of a disk, or of a store's files, that memory served before the device.
    WarmLoads {
        who: Option<String>,
        from: LoadedFrom,
    },
    DiskRoom {
        folder: String,
        free: Bytes,
        planned: Bytes,
    },
    /// The page cache can hold the whole folder.
    PageCache {
        folder: String,
        memory: Bytes,
    },
    StoreRoom {
        place: String,
        free: Bytes,
        wanted: Bytes,
        limit: String,
    },
    StoreShared {
        place: String,
        by: String,
    },
    StoreTaken {
        place: String,
        by: String,
    },
    StoreUnmarked {
        place: String,
        error: String,
    },
    /// Keys of others. None where the store does not count its keys at once.
    OtherKeys {
        place: String,
        keys: Option<u64>,
    },
    /// In the words of `weir-store`.
    Warning(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RoutingNote {
    /// A router's configuration of the user's own, where it differs from what Weir would write.
    ConfiguredOtherwise(FactDifference),
    /// A replica whose requests took several times as long as those of any other: those that it
    /// answered, and how many of them were open at once, mean over the window.
    SlowReplica {
        address: String,
        requests: u64,
        of: u64,
        /// Earlier runs counted those that waited in the engine.
        #[serde(alias = "waiting")]
        open: u64,
    },
    /// Answered requests of the window whose replica no answer names.
    ReplicasUnknown { requests: u64, of: u64 },
    /// Answered requests for which it is unknown what the replicas held.
    HitsUnknown {
        requests: u64,
        of: u64,
        /// False for chats and own answers, whose token ids are not known.
        prompts_known: bool,
        /// Batches of KV events.
        lost: u64,
        /// Blocks stored after one that no event had stored.
        orphans: u64,
        /// The replicas hold more blocks than are kept in memory.
        is_full: bool,
    },
}

impl From<RoutingNote> for Note {
    fn from(note: RoutingNote) -> Self {
        Self::Routing(note)
    }
}

impl From<LoadNote> for Note {
    fn from(note: LoadNote) -> Self {
        Self::Load(note)
    }
}

impl From<CacheNote> for Note {
    fn from(note: CacheNote) -> Self {
        Self::Cache(note)
    }
}

impl From<TierNote> for Note {
    fn from(note: TierNote) -> Self {
        Self::Tier(note)
    }
}
