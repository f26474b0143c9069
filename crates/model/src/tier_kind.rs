//! The kinds of places where KV blocks can be.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a KV block came from or went to, nearest first.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum TierKind {
    /// The GPU's own prefix cache.
    Gpu,
    /// Host memory of the replica.
    Host,
    /// A disk of the replica.
    Disk,
    /// A store reached over a network, possibly shared by replicas.
    Remote,
}

impl TierKind {
    /// All kinds, nearest first.
    pub const ALL: [Self; 4] = [Self::Gpu, Self::Host, Self::Disk, Self::Remote];

    /// The place in [`TierKind::ALL`], for arrays indexed by kind.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word used in files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gpu => "gpu",
            Self::Host => "host",
            Self::Disk => "disk",
            Self::Remote => "remote",
        }
    }
}

impl fmt::Display for TierKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
