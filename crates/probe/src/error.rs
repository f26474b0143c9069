//! What keeps a probe from measuring.

use std::path::PathBuf;

use weir_model::Bytes;
use weir_store::resp::RespError;
use weir_store::server::ServerError;
use weir_store::{DiskError, Fault, SlabError, TierError};
use weir_workload::WorkloadError;

/// A probe that cannot be made. Blocks that fail while it runs are figures, not errors.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A setting that cannot be used.
    #[error("--{flag}: {problem}; {remedy}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A target that is none.
    #[error(
        "target `{target}`: {problem}; write `memory`, a folder such as `disk:/mnt/nvme/kv`, an \
         address such as `redis://127.0.0.1:6379` or `unix:///run/redis.sock`, or a server to \
         start: `redis`, `valkey`, `kvrocks`"
    )]
    Target {
        /// As it was written.
        target: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A working set in multiples of a capacity that nobody knows.
    #[error(
        "--working-set {times}x: the tier does not say how much it holds; set `maxmemory` in the \
         store, give --capacity, or give the working set in bytes"
    )]
    NoCapacity {
        /// The multiple.
        times: f64,
    },
    /// The tier does not work at all.
    #[error("{0}")]
    Tier(#[from] TierError),
    /// The folder cannot become a tier.
    #[error("{0}")]
    Disk(#[from] DiskError),
    /// The store cannot be reached or refuses.
    #[error("{0}")]
    Store(#[from] RespError),
    /// A store cannot be started.
    #[error("{0}")]
    Server(#[from] ServerError),
    /// A store that would be started has no room for what would be stored.
    #[error(
        "{product}: {wanted} would be stored, and there are {free} ({of}): shrink --working-set, \
         or give --capacity"
    )]
    NoRoom {
        /// The product.
        product: &'static str,
        /// Bytes of the working set and of a lap of new blocks.
        wanted: Bytes,
        /// Bytes that it may take.
        free: Bytes,
        /// Who says so.
        of: String,
    },
    /// What would be stored would take the place of others' keys.
    #[error(
        "{place} has {keys} of others and room for {room}: the probe would store up to {wanted}, \
         and {policy} would evict them; give a smaller --working-set, a larger maxmemory, or a \
         store of its own"
    )]
    AtStake {
        /// The store.
        place: String,
        /// Those of others.
        keys: String,
        /// Bytes that it takes before it evicts.
        room: Bytes,
        /// Bytes of its memory that the probe would fill.
        wanted: Bytes,
        /// What it evicts.
        policy: String,
    },
    /// More memory than there is.
    #[error(
        "{wanted} of memory would be taken, and there are {free} ({of}): shrink --working-set, \
         --capacity, --threads or --depth"
    )]
    NoMemory {
        /// For the blocks, and for the buffers.
        wanted: Bytes,
        /// What may be taken.
        free: Bytes,
        /// Who says so.
        of: &'static str,
    },
    /// There is no memory for the buffers.
    #[error("{0}")]
    Slab(#[from] SlabError),
    /// The trace cannot be read.
    #[error("{0}")]
    Trace(#[from] WorkloadError),
    /// Nothing of the working set could be stored, so there is nothing to load.
    #[error("{place}: none of {tried} blocks could be stored: {why}{}{remedy}", if remedy.is_empty() { "" } else { "; " })]
    NothingStored {
        /// The tier.
        place: String,
        /// Blocks.
        tried: u64,
        /// What the tier says, or the commonest outcome.
        why: String,
        /// What to do, where the tier does not say.
        remedy: &'static str,
    },
    /// The points do not determine a link.
    #[error("no link profile: {problem}; {remedy}")]
    Fit {
        /// What is missing.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// More than the last folder of a path is missing.
    #[error(
        "{}: {} does not exist; check the path, mount the disk that belongs there, or create the \
         folder",
        folder.display(),
        parent.display()
    )]
    NoFolder {
        /// As it was written.
        folder: PathBuf,
        /// Its parent, which is missing.
        parent: PathBuf,
    },
    /// The machine refuses something.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: String,
        /// The answer.
        source: std::io::Error,
    },
}

impl ProbeError {
    /// A flag's value that cannot be used.
    pub fn value(
        flag: &'static str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Value { flag, problem: problem.into(), remedy: remedy.into() }
    }

    /// Whether the user's input is at fault and not the environment.
    pub fn is_mistake(&self) -> bool {
        match self {
            Self::Value { .. }
            | Self::Target { .. }
            | Self::NoCapacity { .. }
            | Self::NoFolder { .. }
            | Self::Trace(_)
            | Self::Fit { .. } => true,
            // An address, a password, a permission.
            Self::Store(error) => error.fault() == Fault::Refused,
            Self::Tier(error) => error.fault == Fault::Refused,
            _ => false,
        }
    }
}
