//! Processes that read an arm's farthest tier from a local device.

use std::time::{Duration, Instant};

use weir_model::{HeldIn, TierKind};
use weir_spec::plan::Arm;
use weir_store::held_in;

use crate::local::Local;
use crate::remote::RemoteStore;
use crate::site::Site;
use crate::tiers::Tiers;

/// Per answer of a store.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierReaders {
    pub tier: TierKind,
    pub held: HeldIn,
    /// Empty where unknown.
    pub processes: Vec<u32>,
    /// Such as "weir", "vllm-0 and lmcache" or "kvrocks".
    pub who: String,
}

impl Site {
    /// Of the arm's disk, or of a store with files. None for other tiers and remote ones.
    pub fn readers(&self, arm: &Arm) -> Option<TierReaders> {
        match arm.offload.as_ref()?.farthest()? {
            TierKind::Disk => {
                let emulated = self.tiers().and_then(Tiers::readers);
                emulated.or_else(|| self.processes().and_then(Local::readers))
            }
            TierKind::Remote => self.store().and_then(RemoteStore::readers),
            TierKind::Gpu | TierKind::Host => None,
        }
    }
}

impl Tiers {
    fn readers(&self) -> Option<TierReaders> {
        let held = held_in(self.disk_folder()?).unwrap_or(HeldIn::Uncounted);
        let processes = vec![std::process::id()];
        Some(TierReaders { tier: TierKind::Disk, held, processes, who: "weir".to_owned() })
    }
}

impl Local {
    /// Connector and LMCache's server read files through the kernel.
    fn readers(&self) -> Option<TierReaders> {
        let held = held_in(self.disk()?).unwrap_or(HeldIn::Uncounted);
        let names: Vec<&str> = self.parts().map(|(name, _)| name).collect();
        let who = names.join(" and ");
        Some(TierReaders { tier: TierKind::Disk, held, processes: self.families(), who })
    }
}

impl RemoteStore {
    fn readers(&self) -> Option<TierReaders> {
        let servers = self.servers(Instant::now() + PATIENCE).ok()?;
        let [server] = servers.as_slice() else { return None };
        if server.keeps_in_memory() {
            return None;
        }
        Some(TierReaders {
            tier: TierKind::Remote,
            held: server.values_in(),
            processes: server.process.into_iter().collect(),
            who: self.product().to_owned(),
        })
    }
}
