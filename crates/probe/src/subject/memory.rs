use std::collections::BTreeMap;
use std::sync::Arc;

use weir_model::Bytes;
use weir_spec::catalogue::profile_file::ProfileKind;
use weir_store::{MemoryOptions, MemoryTier, Slab};

use super::{ProbedSubject, SubjectOptions, TierFacts};
use crate::config::ProbePoint;
use crate::error::ProbeError;
use crate::origin::TierOrigin;
use crate::session::{Baselines, Opened, Subject};

#[derive(Debug)]
pub struct Memory {
    options: SubjectOptions,
    settings: BTreeMap<String, String>,
}

impl Memory {
    /// Memory is mapped at opening.
    pub const fn new(options: SubjectOptions) -> Self {
        Self { options, settings: BTreeMap::new() }
    }
}

impl Subject for Memory {
    fn open(
        &mut self,
        block: Bytes,
        _threads: u32,
        _depth: u32,
        _slab: &Arc<Slab>,
    ) -> Result<Opened, ProbeError> {
        let capacity = self.options.blocks(block)?;
        let tier = MemoryTier::new(MemoryOptions {
            capacity,
            block_bytes: block.0 as usize,
            eviction: self.options.eviction,
        })?;
        self.settings.insert("capacity".to_owned(), self.options.capacity.to_string());
        self.settings
            .insert("eviction".to_owned(), format!("{:?}", self.options.eviction).to_lowercase());
        self.settings.insert("pages".to_owned(), tier.pages().to_string());
        Ok(Opened {
            tier: Arc::new(tier),
            server: None,
            origin: TierOrigin::MEMORY,
            cold: None,
            at_stake: None,
        })
    }

    fn baselines(&mut self, _point: &ProbePoint) -> Result<Baselines, ProbeError> {
        Ok(Baselines::Memory)
    }
}

impl ProbedSubject for Memory {
    fn facts(&self) -> TierFacts {
        TierFacts {
            kind: ProfileKind::Memory,
            product: "memory".to_owned(),
            version: None,
            place: "host memory of this process".to_owned(),
            settings: self.settings.clone(),
            warnings: Vec::new(),
        }
    }
}
