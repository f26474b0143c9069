//! Who reads the blocks of an arm's farthest tier from a device, where that is on this machine.

use std::time::{Duration, Instant};

use weir_model::{HeldIn, TierKind};
use weir_spec::plan::Arm;
use weir_store::held_in;

use crate::local::Local;
use crate::remote::RemoteStore;
use crate::site::Site;
use crate::tiers::Tiers;

/// Longest wait for a store to say where it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// The processes that read a tier's blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierReaders {
    pub tier: TierKind,
    /// What holds its bytes.
    pub held: HeldIn,
    /// Process ids; empty where they are not known.
    pub processes: Vec<u32>,
    /// Their names: "weir", "vllm-0 and lmcache", "kvrocks".
    pub who: String,
}

impl Site {
    /// Who reads the blocks of the arm's disk, or of a store that keeps them in files; nothing of
    /// other tiers, and of those that are elsewhere.
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
    /// The connector in the engines and LMCache's server read files through the kernel.
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
