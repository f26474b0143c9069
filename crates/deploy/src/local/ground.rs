//! The folder that the disk tier of an arm gets: whether it is on a disk, and has room.

use std::fs;
use std::path::Path;

use weir_model::{Bytes, TierKind};
use weir_spec::plan::{Arm, Deployment};
use weir_store::DiskFolder;

use crate::error::DeployError;

/// What figures of the disk would not say, one sentence each. Refuses a folder without room for one
/// chunk.
pub(super) fn notes(
    folder: &Path,
    deployment: &Deployment,
    arm: &Arm,
) -> Result<Vec<String>, DeployError> {
    let Some(offload) = &arm.offload else { return Ok(Vec::new()) };
    let disk = offload.tiers.iter().find(|tier| tier.kind == TierKind::Disk);
    let Some(planned) = disk.map(|tier| tier.capacity) else { return Ok(Vec::new()) };
    let failed = |problem: String| DeployError::Tier {
        arm: arm.name.clone(),
        problem,
        remedy: "name another folder by target.local.disk, or free some room".to_owned(),
    };
    let found = DiskFolder::look(folder).map_err(|error| failed(error.to_string()))?;
    let chunk = Bytes(deployment.engine.kv_bytes_per_token * u64::from(offload.chunk_tokens));
    let place = folder.display();
    if found.free < chunk {
        return Err(failed(format!("{place} has {} free, and one chunk has {chunk}", found.free)));
    }
    let mut notes: Vec<String> = found.warning.into_iter().collect();
    if found.free < planned {
        notes.push(format!(
            "{place} has {} free, and the arm may store {planned} there",
            found.free
        ));
    }
    // vLLM's and LMCache's file tiers read and write through the kernel.
    if let Some(memory) = free_memory().filter(|memory| !found.in_memory && *memory >= planned) {
        notes.push(format!(
            "{place}: the page cache has room for all of it ({memory} of memory are free), so reads \
             may not reach the disk"
        ));
    }
    Ok(notes)
}

/// Memory that the kernel would give to its page cache.
fn free_memory() -> Option<Bytes> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes(kib << 10))
}
