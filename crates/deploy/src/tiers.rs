//! The tiers of an emulated arm: sized, opened, emptied before a cell, closed after it.
//!
//! The engine's records decide what a local tier holds; the real tier follows, with extra room for
//! simultaneous stores and evictions.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_engine::OffloadConfig;
use weir_model::{Bytes, Note, TierKind, TierNote};
use weir_serve::mover::{BATCH, MoverConfig};
use weir_spec::plan::{Arm, Deployment, EmulatedTarget, Movement};
use weir_store::held::{HeldFolder, TIER};
use weir_store::{DiskOptions, DiskTier, MemoryOptions, MemoryTier, Slab, SlabError, Tier};
use weir_tier::TierConfig;

use crate::error::DeployError;
use crate::process::Owner;
use crate::remote::{Keys, RemoteStore, StoreTraffic, emulated_layout};

/// Blocks are whole pages, as disks require; the cost is at most a page per chunk.
const PAGE: u64 = 4096;
/// To empty a tier, or to read its fill.
const PATIENCE: Duration = Duration::from_secs(30);
/// For a store that was gone, at the end.
const COME_BACK: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub struct Tiers {
    mover: MoverConfig,
    remote: Option<RemoteStore>,
    /// Of disk tiers, removed with this.
    folder: Option<HeldFolder>,
    /// On local tiers, one sentence each.
    notes: Vec<Note>,
}

impl Tiers {
    /// `servers` share the tiers of a store, each with the local tiers of its replicas. `run` is
    /// the run's id. None without tiers, or with modelled bytes.
    pub fn open(
        target: &EmulatedTarget,
        deployment: &Deployment,
        arm: &Arm,
        servers: u32,
        run: &str,
    ) -> Result<Option<Self>, DeployError> {
        let Some(offload) = &arm.offload else { return Ok(None) };
        if target.bytes == Movement::Modelled {
            return Ok(None);
        }
        let sizes = Sizes::new(target, offload);
        let workers = target.movers as usize;
        let moving = workers * servers as usize;
        let slab = Slab::new((moving * BATCH) as u32, sizes.block_bytes as usize)
            .map_err(|error| out_of_memory(arm, "blocks on their way", &error))?;
        let mut tiers = Self {
            mover: MoverConfig {
                chunk_tokens: offload.chunk_tokens,
                block_bytes: sizes.block_bytes as usize,
                byte_scale: sizes.scale(),
                local: Vec::new(),
                store: None,
                keeps_copies_of: offload.traits().keeps_copies_of,
                workers,
                slab,
                deadline: Duration::from_nanos(target.deadline.0.0),
            },
            remote: None,
            folder: None,
            notes: Vec::new(),
        };
        for replica in 0..deployment.replicas {
            let mut local: Vec<Arc<dyn Tier>> = Vec::new();
            for tier in &offload.tiers {
                local.push(match tier.kind {
                    TierKind::Disk => tiers.disk(target, arm, &sizes, tier, replica)?,
                    _ => memory(arm, &sizes, tier, target)?,
                });
            }
            tiers.mover.local.push(local);
        }
        if let Some(store) = &offload.store {
            let owner = Owner::this_process(run)?;
            let moved = StoreTraffic {
                layout: &emulated_layout(&deployment.model.name, &owner),
                block_bytes: sizes.block_bytes as usize,
                blocks: sizes.blocks(store.capacity),
                workers: moving,
                batch: BATCH,
                checksums: target.checksums,
                below: None,
            };
            let remote = RemoteStore::open(arm, store, moved, Keys::Run(&owner))?;
            remote.empty(Instant::now() + PATIENCE)?;
            tiers.mover.store = Some(remote.tier());
            tiers.remote = Some(remote);
        }
        Ok(Some(tiers))
    }

    /// Each replica has its own folder, removed with the arm.
    fn disk(
        &mut self,
        target: &EmulatedTarget,
        arm: &Arm,
        sizes: &Sizes,
        tier: &TierConfig,
        replica: u32,
    ) -> Result<Arc<dyn Tier>, DeployError> {
        let wrong = |problem: String, remedy: &str| DeployError::Tier {
            arm: arm.name.clone(),
            problem,
            remedy: remedy.to_owned(),
        };
        let parent = target.disk.as_ref().map_or_else(std::env::temp_dir, Into::into);
        if self.folder.is_none() {
            self.folder = Some(HeldFolder::below(&parent, TIER).map_err(|error| {
                let problem = format!("no folder can be made in {}: {error}", parent.display());
                wrong(problem, "name a folder of yours by target.emulated.disk (or --disk)")
            })?);
        }
        let folder = self.folder.as_ref().expect("it was made just now").path();
        let capacity = sizes.with_room(tier.capacity, target);
        let mut options =
            DiskOptions::new(folder.join(replica.to_string()), capacity, self.mover.block_bytes);
        options.eviction = tier.policy;
        options.lanes = target.movers as u16;
        options.slab = Some(Arc::clone(&self.mover.slab));
        let disk = DiskTier::open(&options).map_err(|error| {
            let problem = format!("a disk of {} (before scaling): {error}", tier.capacity);
            let remedy = format!(
                "lower arms.{}.disk.bytes or target.emulated.byte_scale, or choose another folder \
                 by target.emulated.disk (or --disk)",
                arm.name
            );
            wrong(problem, &remedy)
        })?;
        if replica == 0 {
            let warnings = disk.warnings().iter().cloned();
            self.notes.extend(warnings.map(|text| TierNote::Warning(text).into()));
        }
        Ok(Arc::new(disk))
    }

    pub fn mover(&self) -> MoverConfig {
        self.mover.clone()
    }

    /// For a server with this replica alone.
    pub fn mover_of(&self, replica: usize) -> MoverConfig {
        let local = self.mover.local.get(replica).cloned().into_iter().collect();
        MoverConfig { local, ..self.mover.clone() }
    }

    /// Moved for one chunk.
    pub const fn block_bytes(&self) -> u64 {
        self.mover.block_bytes as u64
    }

    pub const fn remote(&self) -> Option<&RemoteStore> {
        self.remote.as_ref()
    }

    pub(crate) fn disk_folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(HeldFolder::path)
    }

    /// What the figures alone do not show.
    pub fn notes(&self) -> Vec<Note> {
        let of_store = self.remote.as_ref().map_or(&[][..], RemoteStore::notes);
        self.notes.iter().chain(of_store).cloned().collect()
    }

    /// A deployed store stays as it was found.
    pub fn close(self) -> Result<(), DeployError> {
        match &self.remote {
            Some(remote) if !remote.is_own() => {
                let begin = Instant::now();
                loop {
                    let emptied = remote.empty(Instant::now() + PATIENCE);
                    // A store that was gone gets time to come back.
                    if emptied.is_ok() || begin.elapsed() > COME_BACK {
                        return emptied;
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            _ => Ok(()),
        }
    }
}

/// From the model's bytes to those moved.
struct Sizes {
    /// The model's, over all ranks.
    chunk_bytes: u64,
    block_bytes: u64,
}

impl Sizes {
    fn new(target: &EmulatedTarget, offload: &OffloadConfig) -> Self {
        let chunk_bytes = offload.chunk_bytes.kept;
        let scaled = (chunk_bytes as f64 * target.byte_scale) as u64;
        Self { chunk_bytes, block_bytes: scaled.next_multiple_of(PAGE).max(PAGE) }
    }

    /// Bytes moved per byte of the model's, with rounded pages.
    fn scale(&self) -> f64 {
        self.block_bytes as f64 / self.chunk_bytes as f64
    }

    /// Of a capacity in the model's bytes.
    const fn blocks(&self, capacity: Bytes) -> u64 {
        capacity.0 / self.chunk_bytes
    }

    /// For a local tier: the engine's contents, and blocks under way.
    fn with_room(&self, capacity: Bytes, target: &EmulatedTarget) -> u32 {
        let blocks = self.blocks(capacity);
        let room = blocks / 16 + u64::from(target.movers) * BATCH as u64;
        u32::try_from(blocks + room).unwrap_or(u32::MAX)
    }
}

fn memory(
    arm: &Arm,
    sizes: &Sizes,
    tier: &TierConfig,
    target: &EmulatedTarget,
) -> Result<Arc<dyn Tier>, DeployError> {
    let options = MemoryOptions {
        capacity: sizes.with_room(tier.capacity, target),
        block_bytes: sizes.block_bytes as usize,
        eviction: tier.policy,
    };
    match MemoryTier::new(options) {
        Ok(memory) => Ok(Arc::new(memory)),
        Err(error) => {
            let what = format!("host memory of {} (before scaling)", tier.capacity);
            Err(out_of_memory(arm, &what, &error))
        }
    }
}

fn out_of_memory(arm: &Arm, what: &str, error: &SlabError) -> DeployError {
    DeployError::Tier {
        arm: arm.name.clone(),
        problem: format!("{what}: {error}"),
        remedy: format!(
            "lower arms.{}.bytes or target.emulated.byte_scale, or write `target: {{emulated: \
             {{bytes: modelled}}}}`",
            arm.name
        ),
    }
}
