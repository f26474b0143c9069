use std::path::PathBuf;

use weir_model::{Attributed, ErrorCause};
use weir_model::{Bytes, Product};
use weir_store::resp::RespError;
use weir_store::server::ServerError;
use weir_store::{DiskError, SlabError, TierError, TierFault};
use weir_workload::WorkloadError;

/// Blocks that fail while a probe runs are figures, not errors.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("--{flag}: {problem}; {remedy}")]
    Value { flag: &'static str, problem: String, remedy: String },
    #[error(
        "target `{target}`: {problem}; write `memory`, a folder such as `disk:/mnt/nvme/kv`, an \
         address such as `redis://127.0.0.1:6379` or `unix:///run/redis.sock`, or a server to \
         start: {}",
        Product::choice()
    )]
    Target { target: String, problem: String },
    #[error(
        "--working-set {times}x: the tier does not say how much it holds; set `maxmemory` in the \
         store, give --capacity, or give the working set in bytes"
    )]
    NoCapacity { times: f64 },
    #[error("{0}")]
    Tier(#[from] TierError),
    #[error("{0}")]
    Disk(#[from] DiskError),
    #[error("{0}")]
    Store(#[from] RespError),
    #[error("{0}")]
    Server(#[from] ServerError),
    #[error(
        "{product}: {wanted} would be stored, and there are {free} ({of}): shrink --working-set, \
         or give --capacity"
    )]
    NoRoom {
        product: &'static str,
        /// Bytes of the working set and a lap of new blocks.
        wanted: Bytes,
        free: Bytes,
        of: String,
    },
    #[error(
        "{place} has {keys} of others and room for {room}: the probe would store up to {wanted}, \
         and {policy} would evict them; give a smaller --working-set, a larger maxmemory, or a \
         store of its own"
    )]
    AtStake {
        place: String,
        keys: String,
        room: Bytes,
        /// Bytes of memory that the probe would fill.
        wanted: Bytes,
        policy: String,
    },
    #[error(
        "{wanted} of memory would be taken, and there are {free} ({of}): shrink --working-set, \
         --capacity, --threads or --depth"
    )]
    NoMemory { wanted: Bytes, free: Bytes, of: &'static str },
    #[error("{0}")]
    Slab(#[from] SlabError),
    #[error("{0}")]
    Trace(#[from] WorkloadError),
    #[error("{place}: none of {tried} blocks could be stored: {why}{}{remedy}", if remedy.is_empty() { "" } else { "; " })]
    NothingStored {
        place: String,
        tried: u64,
        why: String,
        /// Used if the tier does not say.
        remedy: &'static str,
    },
    #[error("no link profile: {problem}; {remedy}")]
    Fit { problem: String, remedy: String },
    #[error(
        "{}: {} does not exist; check the path, mount the disk that belongs there, or create the \
         folder",
        folder.display(),
        parent.display()
    )]
    NoFolder { folder: PathBuf, parent: PathBuf },
    #[error("{what}: {source}")]
    System { what: String, source: std::io::Error },
}

impl ProbeError {
    pub fn value(
        flag: &'static str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Value { flag, problem: problem.into(), remedy: remedy.into() }
    }
}

impl Attributed for ProbeError {
    fn fault(&self) -> ErrorCause {
        ErrorCause::mistake_if(match self {
            Self::Value { .. }
            | Self::Target { .. }
            | Self::NoCapacity { .. }
            | Self::NoFolder { .. }
            | Self::Trace(_)
            | Self::Fit { .. } => true,
            // An address, a password or a permission.
            Self::Store(error) => error.fault() == TierFault::Refused,
            Self::Tier(error) => error.fault == TierFault::Refused,
            _ => false,
        })
    }
}
