//! The seam: a place that keeps blocks of one size under the names of their chunks.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use weir_model::{Bytes, TierKind};

/// The name of a chunk: the hash of its tokens and of all that came before them. Shorter hashes
/// (LMCache's in-process connector has eight bytes) stand at the front, followed by zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkHash(pub [u8; 32]);

/// A block to be stored.
#[derive(Debug, Clone, Copy)]
pub struct Put<'a> {
    pub key: ChunkHash,
    /// Its bytes, [`Tier::block_bytes`] of them.
    pub bytes: &'a [u8],
}

/// A block to be loaded.
#[derive(Debug)]
pub struct Get<'a> {
    pub key: ChunkHash,
    /// Where its bytes go, [`Tier::block_bytes`] of them. Undefined unless the outcome is
    /// [`Loaded::Hit`].
    pub into: &'a mut [u8],
}

/// What kept a tier from doing its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TierFault {
    Timeout,
    /// So much waits already that the tier takes no more (back-pressure).
    Busy,
    /// There is no connection, or it broke.
    Disconnected,
    /// The peer says something that is not its protocol.
    Protocol,
    /// The peer refuses: a password, a permission, an unknown command.
    Refused,
    /// The system's input or output failed.
    Io,
}

impl TierFault {
    /// All faults, for counters indexed by them.
    pub const ALL: [Self; 6] =
        [Self::Timeout, Self::Busy, Self::Disconnected, Self::Protocol, Self::Refused, Self::Io];

    /// The word in tables and files.
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

/// How storing a block ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// The bytes were moved, and can be loaded.
    Stored,
    /// The tier had the chunk, and no bytes were moved.
    Present,
    /// No room: the tier is full and evicts nothing, or all it holds is in use.
    Full,
    /// It did not work; the tier may or may not hold the chunk.
    Failed(TierFault),
}

/// How loading a block ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded {
    /// The bytes are there.
    Hit,
    /// The tier does not have the chunk.
    Miss,
    /// What the tier has is not what was stored (length, header or checksum): counts as a miss.
    Corrupt,
    /// It did not work.
    Failed(TierFault),
}

/// Levels of a tier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TierUsage {
    /// Chunks it holds; of a store that others use too, those of this tier's layout as far as
    /// known.
    pub chunks: u64,
    /// Bytes that they take.
    pub used: Bytes,
    /// Bytes it may hold; nothing where it has no limit or does not say.
    pub capacity: Option<Bytes>,
    /// Chunks it evicted by itself since it was opened; of a store, as its own counter says.
    pub evicted_chunks: u64,
}

/// What a tier did since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TierCounters {
    /// Blocks stored, by bytes moved.
    pub stored: u64,
    /// Blocks not stored because they were there.
    pub present: u64,
    /// Blocks that found no room.
    pub full: u64,
    pub hits: u64,
    /// Blocks that were asked for and not there.
    pub misses: u64,
    /// Blocks that were not what was stored.
    pub corrupt: u64,
    /// Blocks and calls that failed, by [`TierFault`] in the order of [`TierFault::ALL`].
    pub faults: [u64; 6],
}

/// Why a call that is not about single blocks failed.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct TierError {
    pub fault: TierFault,
    /// The tier: its address or folder, without secrets.
    pub place: String,
    /// What went wrong and what to do, for people.
    pub problem: String,
}

/// A place for blocks. All calls may come from many threads at once; a batch is worked on with as
/// much overlap as the tier has (pipelining, queue depth).
///
/// Law, checked by `tier_suite!`: what was [`Stored::Stored`] is loaded byte for byte or is a
/// [`Loaded::Miss`] because it was evicted or removed; an absent key is a miss and not a fault;
/// outcomes stand in the order of the batch; nothing is held beyond the capacity; a call returns
/// soon after its deadline.
pub trait Tier: fmt::Debug + Send + Sync {
    fn kind(&self) -> TierKind;

    /// Where it is, for people: an address or a folder, without secrets.
    fn place(&self) -> String;

    fn block_bytes(&self) -> usize;

    /// Stores blocks. `outcomes` has the length of `puts`.
    fn put(&self, puts: &[Put<'_>], deadline: Instant, outcomes: &mut [Stored]);

    /// Loads blocks. `outcomes` has the length of `gets`.
    fn get(&self, gets: &mut [Get<'_>], deadline: Instant, outcomes: &mut [Loaded]);

    /// Which chunks are there. `present` has the length of `keys`. Makes them recent.
    fn contains(
        &self,
        keys: &[ChunkHash],
        deadline: Instant,
        present: &mut [bool],
    ) -> Result<(), TierError>;

    /// Removes chunks; those that are not there are passed over.
    fn remove(&self, keys: &[ChunkHash], deadline: Instant) -> Result<(), TierError>;

    /// Removes all chunks of this tier, and nothing of anybody else.
    fn clear(&self, deadline: Instant) -> Result<(), TierError>;

    fn usage(&self, deadline: Instant) -> Result<TierUsage, TierError>;

    fn counters(&self) -> TierCounters;

    /// What went wrong last, in words: outcomes and counters have the class only. Nothing where a
    /// tier has no more to say than they have.
    fn problem(&self) -> Option<String> {
        None
    }
}

/// A tier behind a pointer is that tier: replicas share one, and a stack of them is boxed.
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
