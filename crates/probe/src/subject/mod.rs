//! What can be probed: how it is opened, and what it is compared with.

mod disk;
mod memory;
mod preflight;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use weir_http::TlsConfig;
use weir_model::Bytes;
use weir_spec::catalogue::profile_file::ProfileKind;
use weir_tier::EvictionPolicy;

use crate::config::{DEFAULT_WORKING_SET, ProbeConfig, WorkingSet};
use crate::error::ProbeError;
use crate::session::Subject;
use crate::target::ProbeTarget;

pub use disk::Disk;
pub use memory::Memory;
pub use preflight::check;
pub use store::Store;

/// What a result or a profile says about the tier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TierFacts {
    /// Memory, disk or store.
    pub kind: ProfileKind,
    pub product: String,
    pub version: Option<String>,
    /// Address or folder, without secrets.
    pub place: String,
    /// What else decides its figures.
    pub settings: BTreeMap<String, String>,
    /// What the user should know about it.
    pub warnings: Vec<String>,
}

/// Lines of a configuration, the flag that they were given with, and the side that it is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigLines {
    /// As they were written.
    pub text: Vec<String>,
    pub flag: &'static str,
    pub side: &'static str,
}

/// How a tier is opened.
#[derive(Debug, Clone)]
pub struct SubjectOptions {
    /// Bytes it may hold, where that is ours to say.
    pub capacity: Bytes,
    /// Bytes that are stored in it at most.
    pub stored: Bytes,
    pub eviction: EvictionPolicy,
    /// Longest wait for a call.
    pub deadline: Duration,
    /// Connections to a store; as many as threads where nothing is said.
    pub connections: Option<u32>,
    /// Whether values in a store carry checksums, which are compared at every load.
    pub checksums: bool,
    /// Whom to trust where TLS is spoken.
    pub tls: TlsConfig,
    /// Lines for the configuration of a store that is started, after those of its recipe.
    pub lines: ConfigLines,
    /// Whether a tier on a disk goes through the page cache.
    pub page_cache: bool,
    /// Whether loads are kept from coming out of caches.
    pub cold: bool,
}

impl SubjectOptions {
    fn blocks(&self, block: Bytes) -> Result<u32, ProbeError> {
        let blocks = (self.capacity.0 / block.0.max(1)).max(1);
        u32::try_from(blocks).map_err(|_| {
            let problem = format!("{blocks} blocks of {block}");
            ProbeError::value("capacity", problem, "lower it, or take larger blocks")
        })
    }

    /// Bytes that hold the working set and one lap of new blocks of any size.
    pub fn default_capacity(config: &ProbeConfig) -> Bytes {
        let largest = config.blocks.iter().map(|block| block.bytes.0).max().unwrap_or(1);
        let most = |list: &[u32]| u64::from(list.iter().copied().max().unwrap_or(1));
        let working = match config.working_set {
            WorkingSet::Blocks(blocks) => blocks.saturating_mul(largest),
            WorkingSet::Bytes(bytes) => bytes.0,
            WorkingSet::Capacities(_) => DEFAULT_WORKING_SET,
        };
        let lap = 8 * most(&config.threads) * most(&config.depths) * largest;
        Bytes(working.saturating_add(lap.max(DEFAULT_WORKING_SET.min(working.max(1)))))
    }
}

pub fn subject(
    target: &ProbeTarget,
    options: &SubjectOptions,
) -> Result<Box<dyn ProbedSubject>, ProbeError> {
    match target {
        ProbeTarget::Memory => Ok(Box::new(Memory::new(options.clone()))),
        ProbeTarget::Disk(folder) => Ok(Box::new(Disk::new(folder, options.clone()))),
        ProbeTarget::Store(address) => Ok(Box::new(Store::at(address, options.clone())?)),
        ProbeTarget::Started(product) => Ok(Box::new(Store::start(*product, options.clone())?)),
    }
}

/// A subject that can say what it is.
pub trait ProbedSubject: Subject {
    /// What it is, as far as known since it was opened.
    fn facts(&self) -> TierFacts;
}
