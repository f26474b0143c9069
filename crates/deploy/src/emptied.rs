//! What is known of a cache after emptying: counted, answered, or unknown.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emptied {
    /// A process's name, a store's product, or an endpoint's URL.
    pub place: String,
    pub known: Emptiness,
    /// Count before emptying, in the same unit. None where nothing was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// How the emptiness of a cache is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Emptiness {
    Counted(EmptiedCount),
    /// The server confirmed, and nothing could be counted.
    Answered,
    /// It cannot be emptied, or its contents cannot be checked.
    Unknown,
}

/// Count after emptying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmptiedCount {
    /// Objects of LMCache's first level.
    Objects(u64),
    Files(u64),
    /// Keys of the arm in a store.
    Keys(u64),
    /// Cached tokens of prompts sent again, which the caches had held. The server was found to
    /// report hits just before.
    Served {
        asked: u64,
        served: u64,
    },
}

impl Emptiness {
    /// None where nothing was counted.
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
