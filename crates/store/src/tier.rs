//! The tier interface: a place that keeps blocks of one size under their chunk hashes.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use weir_model::{Bytes, TierKind};

/// The hash of a chunk's tokens and of all tokens before them. Shorter hashes (LMCache's in-process
/// connector has eight bytes) are padded with zeros at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkHash(pub [u8; 32]);

#[derive(Debug, Clone, Copy)]
pub struct Put<'a> {
    pub key: ChunkHash,
    /// [`Tier::block_bytes`] bytes.
    pub bytes: &'a [u8],
}

#[derive(Debug)]
pub struct Get<'a> {
    pub key: ChunkHash,
    /// [`Tier::block_bytes`] bytes. Undefined unless the outcome is [`Loaded::Hit`].
    pub into: &'a mut [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TierFault {
    Timeout,
    /// Back-pressure: too many calls wait already.
    Busy,
    /// No connection, or a broken one.
    Disconnected,
    /// The peer violates its protocol.
    Protocol,
    /// The peer refuses: a password, a permission, an unknown command.
    Refused,
    Io,
}

impl TierFault {
    /// In the order of [`TierCounters::faults`].
    pub const ALL: [Self; 6] =
        [Self::Timeout, Self::Busy, Self::Disconnected, Self::Protocol, Self::Refused, Self::Io];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Disconnected => "disconnected",
            Self::Protocol => "protocol",
            Self::Refused => "refused",
            Self::Io => "io",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// The bytes were moved and can be loaded.
    Stored,
    /// The tier had the chunk; no bytes were moved.
    Present,
    /// The tier is full and cannot evict.
    Full,
    Failed(TierFault),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded {
    /// The buffer has the bytes.
    Hit,
    Miss,
    /// The tier's block differs from the stored one (length, header or checksum): counts as a miss.
    Corrupt,
    Failed(TierFault),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TierUsage {
    /// Chunks it holds; in a store with other users, those of this tier's layout as far as known.
    pub chunks: u64,
    pub used: Bytes,
    /// Capacity; None without a limit or if unknown.
    pub capacity: Option<Bytes>,
    /// Chunks evicted since it was opened; for a store, by its own counter.
    pub evicted_chunks: u64,
}

/// Counts since a tier was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TierCounters {
    pub stored: u64,
    /// Blocks not stored because they were present.
    pub present: u64,
    /// Blocks that found no room.
    pub full: u64,
    pub hits: u64,
    pub misses: u64,
    /// Blocks that differed from the stored ones.
    pub corrupt: u64,
    /// Failed blocks and calls, indexed as [`TierFault::ALL`].
    pub faults: [u64; 6],
}

/// The error of a call that is not about single blocks.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct TierError {
    pub fault: TierFault,
    /// Address or folder, without secrets.
    pub place: String,
    /// The problem and its remedy, for people.
    pub problem: String,
}

/// A place for blocks. Calls may come from many threads at once; a batch overlaps its blocks as far
/// as the tier can (pipelining, queue depth).
///
/// Contract, checked by `tier_suite!`: a [`Stored::Stored`] block is loaded byte for byte, or is a
/// [`Loaded::Miss`] after eviction or removal. An absent key is a miss and not a fault. Outcomes
/// are in the order of the batch. The tier stays within its capacity. A call returns soon after its
/// deadline.
pub trait Tier: fmt::Debug + Send + Sync {
    fn kind(&self) -> TierKind;

    /// Address or folder, without secrets.
    fn place(&self) -> String;

    fn block_bytes(&self) -> usize;

    /// `outcomes` has the length of `puts`.
    fn put(&self, puts: &[Put<'_>], deadline: Instant, outcomes: &mut [Stored]);

    /// `outcomes` has the length of `gets`.
    fn get(&self, gets: &mut [Get<'_>], deadline: Instant, outcomes: &mut [Loaded]);

    /// `present` has the length of `keys`. Renews the chunks.
    fn contains(
        &self,
        keys: &[ChunkHash],
        deadline: Instant,
        present: &mut [bool],
    ) -> Result<(), TierError>;

    /// Absent chunks are ignored.
    fn remove(&self, keys: &[ChunkHash], deadline: Instant) -> Result<(), TierError>;

    /// Removes all chunks of this tier, and nothing of other users.
    fn clear(&self, deadline: Instant) -> Result<(), TierError>;

    fn usage(&self, deadline: Instant) -> Result<TierUsage, TierError>;

    fn counters(&self) -> TierCounters;

    /// The last failure in words: outcomes and counters have the class only. None if a tier has no
    /// more to say.
    fn problem(&self) -> Option<String> {
        None
    }
}

/// Replicas share one tier, and stacked tiers are boxed.
macro_rules! forward {
    ($pointer:ident) => {
        impl<T: Tier + ?Sized> Tier for $pointer<T> {
            fn kind(&self) -> TierKind {
                (**self).kind()
            }

            fn place(&self) -> String {
                (**self).place()
            }

            fn block_bytes(&self) -> usize {
                (**self).block_bytes()
            }

            fn put(&self, puts: &[Put<'_>], deadline: Instant, outcomes: &mut [Stored]) {
                (**self).put(puts, deadline, outcomes);
            }

            fn get(&self, gets: &mut [Get<'_>], deadline: Instant, outcomes: &mut [Loaded]) {
                (**self).get(gets, deadline, outcomes);
            }

            fn contains(
                &self,
                keys: &[ChunkHash],
                deadline: Instant,
                present: &mut [bool],
            ) -> Result<(), TierError> {
                (**self).contains(keys, deadline, present)
            }

            fn remove(&self, keys: &[ChunkHash], deadline: Instant) -> Result<(), TierError> {
                (**self).remove(keys, deadline)
            }

            fn clear(&self, deadline: Instant) -> Result<(), TierError> {
                (**self).clear(deadline)
            }

            fn usage(&self, deadline: Instant) -> Result<TierUsage, TierError> {
                (**self).usage(deadline)
            }

            fn counters(&self) -> TierCounters {
                (**self).counters()
            }

            fn problem(&self) -> Option<String> {
                (**self).problem()
            }
        }
    };
}

forward!(Arc);
forward!(Box);
