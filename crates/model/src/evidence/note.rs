//! What a reader of a cell's figures must know besides.

use serde::{Deserialize, Serialize};

use super::failure::FailureCause;
use super::unfit::{Stalled, Unfit};
use crate::loaded_from::LoadedFrom;
use crate::units::{Bytes, Nanos};

/// What could not be done or seen of a cell, or was seen besides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Note {
    Load(LoadNote),
    Cache(CacheNote),
    Tier(TierNote),
    /// Time of the window in which nothing came.
    Stalled(Stalled),
    /// Of an arm as it is deployed: what would make another one fail.
    Unfit(Unfit),
    /// Another run of Weir was on this machine.
    OtherRun {
        pid: u32,
    },
    /// An error, in its own words: something could not be read, or was no signal.
    Error(String),
}

/// About the requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LoadNote {
    /// Fewer than the plan allows.
    Failed(FailureCause),
    /// So many in a row failed that the rest was not sent.
    GaveUp { requests: u32, last: String },
    /// The load was steady from then on, after the window began.
    SteadyLate { from: Nanos, window_start: Nanos },
    /// It never was, in a window of this length.
    NeverSteady { window: Nanos },
    /// A server takes no `max_tokens`.
    OtherLimitField { url: String },
    /// A server refuses a token id: ids below `sent_below` are sent.
    SmallerVocabulary { url: String, refused: u32, sent_below: u32 },
    /// A server answered others when the load began.
    OthersServed { url: String },
}

/// About what caches and stores held before the load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum CacheNote {
    /// It said that it was empty, and served what it had held.
    NotEmptied { place: String, asked: u64, served: u64 },
    /// It said that it was empty, and does not tell of hits.
    Unverified { place: String },
    /// It cannot be emptied.
    CannotBeEmptied { place: String },
    /// A store that nobody empties held keys; absent where they were not counted.
    StoreHeld { place: String, keys: Option<u64> },
}

/// About tiers and stores.
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
    /// A store whose files are in memory.
    StoreInMemory {
        who: String,
    },
    /// Loads of a disk, or of a store's files, that came out of memory before the device.
    WarmLoads {
        who: Option<String>,
        from: LoadedFrom,
    },
    /// A folder has less room than the arm may need.
    DiskRoom {
        folder: String,
        free: Bytes,
        planned: Bytes,
    },
    /// The page cache can hold all of a folder.
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
    /// Another run uses the store.
    StoreShared {
        place: String,
        by: String,
    },
    /// Another run took the store over.
    StoreTaken {
        place: String,
        by: String,
    },
    /// The store takes no mark of this run.
    StoreUnmarked {
        place: String,
        error: String,
    },
    /// Keys of others; absent where the store does not count its keys at once.
    OtherKeys {
        place: String,
        keys: Option<u64>,
    },
    /// What a disk or a store says of itself, as `weir-store` words it.
    Warning(String),
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
