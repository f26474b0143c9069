//! Checks of a disk tier's folder: medium and free space.

use std::path::Path;

use weir_model::{Bytes, Note, TierKind, TierNote};
use weir_spec::plan::Arm;
use weir_store::DiskFolder;
use weir_store::slab::machine_memory;

use crate::error::DeployError;

/// Notes on what the disk's figures do not show. Refuses a folder without room for one chunk.
pub(super) fn notes(folder: &Path, arm: &Arm) -> Result<Vec<Note>, DeployError> {
    let Some(offload) = &arm.offload else { return Ok(Vec::new()) };
    let disk = offload.tiers.iter().find(|tier| tier.kind == TierKind::Disk);
    let Some(planned) = disk.map(|tier| tier.capacity) else { return Ok(Vec::new()) };
    let failed = |problem: String| DeployError::Tier {
        arm: arm.name.clone(),
        problem,
        remedy: "name another folder by target.local.disk, or free some room".to_owned(),
    };
    let found = DiskFolder::look(folder).map_err(|error| failed(error.to_string()))?;
    let chunk = Bytes(offload.chunk_bytes.kept);
    if found.free < chunk {
        return Err(failed(no_room(folder, found.free, chunk)));
    }
    Ok(worth_knowing(folder, found, planned))
}

fn no_room(folder: &Path, free: Bytes, chunk: Bytes) -> String {
    format!("{} has {free} free, and one chunk has {chunk}", folder.display())
}

fn worth_knowing(folder: &Path, found: DiskFolder, planned: Bytes) -> Vec<Note> {
    let folder = folder.display().to_string();
    let (free, in_memory) = (found.free, found.in_memory);
    let mut notes: Vec<TierNote> = found.warning.map(TierNote::Warning).into_iter().collect();
    if free < planned {
        notes.push(TierNote::DiskRoom { folder: folder.clone(), free, planned });
    }
    // vLLM's and LMCache's file tiers use the page cache.
    if let Some(memory) = machine_memory().filter(|memory| !in_memory && *memory >= planned) {
        notes.push(TierNote::PageCache { folder, memory });
    }
    notes.into_iter().map(Note::from).collect()
}

#[cfg(test)]
mod tests {
    use weir_spec::{Experiment, Plan};

    use super::*;

    const TOKEN: u64 = 4096;

    fn notes_of(folder: &Path, bytes: &str, token: u64) -> Result<Vec<Note>, DeployError> {
        let text = format!(
            "name: ground\ntarget: local\nmodels: [weir/tiny-qwen3]\nhardware: 1x-cpu\nengine: \
             {{kv_tokens: 4096, block_size: 32, max_model_len: 2048}}\narms: [{{preset: \
             lmcache-disk, chunk_tokens: 32, disk: {{bytes: {bytes}}}}}]\nworkload: \
             {{shared-prefix: {{prefixes: 1, prefix_tokens: 100, prompt_tokens: 10, \
             output_tokens: 4}}}}\nload: {{users: [1], duration: 5s}}\n"
        );
        let experiment = Experiment::parse(&text, "ground.yaml", Path::new(""), &[]).unwrap();
        let mut plan = Plan::resolve(&experiment).unwrap();
        let arm = &mut plan.deployments[0].arms[0];
        if let Some(offload) = &mut arm.offload {
            offload.chunk_bytes = weir_engine::ChunkBytes::whole(32 * token);
        }
        notes(folder, arm)
    }

    #[test]
    fn memory_that_looks_like_a_disk_is_called_so() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let notes = notes_of(folder.path(), "1MiB", TOKEN).unwrap();
        assert_eq!(notes.len(), 1, "{notes:?}");
        let Note::Tier(TierNote::Warning(text)) = &notes[0] else { panic!("{notes:?}") };
        assert!(text.contains("tmpfs"), "{text}");
    }

    #[test]
    fn a_disk_of_which_the_kernel_can_keep_all_is_noted() {
        // In the build's folder: the temporary one may be in memory.
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let notes = |bytes| notes_of(folder.path(), bytes, TOKEN).unwrap();
        let is_cached = |note: &Note| matches!(note, Note::Tier(TierNote::PageCache { .. }));
        assert!(notes("1MiB").iter().any(is_cached));
        let large = notes("900TiB");
        let short = |note: &Note| match note {
            Note::Tier(TierNote::DiskRoom { planned, .. }) => planned.0 == 900 << 40,
            _ => false,
        };
        assert!(large.iter().any(short), "{large:?}");
        assert!(!large.iter().any(is_cached), "{large:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_refused_with_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent");
        let error = notes_of(&absent, "1MiB", TOKEN).unwrap_err().to_string();
        assert!(error.contains("absent") && error.contains("target.local.disk"), "{error}");
        let error = notes_of(folder.path(), "900TiB", 1 << 40).unwrap_err().to_string();
        assert!(error.contains("free, and one chunk has 32 TiB"), "{error}");
    }
}
