//! What is known of a cache after it was asked to be empty: counted, answered, or neither.

use serde::{Deserialize, Serialize};

/// A cache before the load, and how much is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emptied {
    /// The part of the arm: a process's name, a store's product, an endpoint's URL.
    pub place: String,
    pub known: Emptiness,
    /// What was counted in it before it was emptied, in the same unit; nothing where that was not
    /// counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// How it is known whether a cache is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Emptiness {
    Counted(EmptiedCount),
    /// It answered that it emptied itself, and nothing could be counted.
    Answered,
    /// It has no request to be emptied, or does not tell what is left.
    Unknown,
}

/// What was counted after a cache was emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmptiedCount {
    /// Objects of LMCache's first level.
    Objects(u64),
    Files(u64),
    /// Keys of the arm in a store.
    Keys(u64),
    /// Prompt tokens that were served of those asked again, in prompts that the caches had held.
    /// That the server tells of hits was seen just before.
    Served {
        asked: u64,
        served: u64,
    },
}

impl Emptiness {
    /// Whether it is empty; nothing where nothing was counted.
    pub const fn is_empty(self) -> Option<bool> {
        match self {
            Self::Counted(
                EmptiedCount::Objects(left) | EmptiedCount::Files(left) | EmptiedCount::Keys(left),
            ) => Some(left == 0),
            Self::Counted(EmptiedCount::Served { served, .. }) => Some(served == 0),
            Self::Answered | Self::Unknown => None,
        }
    }
}
