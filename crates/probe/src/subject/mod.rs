//! Subjects of a probe: how each is opened, and its comparison runs.

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

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TierFacts {
    pub kind: ProfileKind,
    pub product: String,
    pub version: Option<String>,
    /// Address or folder, without secrets.
    pub place: String,
    pub settings: BTreeMap<String, String>,
    pub warnings: Vec<String>,
}

/// Configuration lines, the flag that gave them, and the side that they are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigLines {
    /// As written by the user.
    pub text: Vec<String>,
    pub flag: &'static str,
    pub side: &'static str,
}

#[derive(Debug, Clone)]
pub struct SubjectOptions {
    /// Bytes, if the tier's capacity is not fixed.
    pub capacity: Bytes,
    /// Most bytes stored at one time.
    pub stored: Bytes,
    pub eviction: EvictionPolicy,
    pub deadline: Duration,
    /// Connections to a store; None for one per thread.
    pub connections: Option<u32>,
    /// Whether values in a store carry checksums, which are compared at every load.
    pub checksums: bool,
    pub tls: TlsConfig,
    /// Lines for the configuration of a started store, after those of its recipe.
    pub lines: ConfigLines,
    pub page_cache: bool,
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

    /// Bytes for the working set and one lap of new blocks of any size.
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

pub trait ProbedSubject: Subject {
    fn facts(&self) -> TierFacts;
}
