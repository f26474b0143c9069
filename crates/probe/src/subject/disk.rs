//! A tier on a disk, in its own folder, which is removed when the probe ends.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_model::{Bytes, HeldIn};
use weir_spec::catalogue::profile_file::ProfileKind;
use weir_store::held::{HeldFolder, PROBE};
use weir_store::{DiskOptions, DiskTier, Slab, drop_page_cache, held_in};

use super::{ProbedSubject, SubjectOptions, TierFacts};
use crate::config::ProbePoint;
use crate::differential::Device;
use crate::error::ProbeError;
use crate::origin::{BlockReader, Cold, TierOrigin};
use crate::session::{Baselines, Opened, Subject};

const MOST_LANES: u32 = 256;
const DEEPEST: u32 = 1024;

#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    options: SubjectOptions,
    scratch: Option<Scratch>,
    /// Whether a run on the device alone bounds the tier's waiting.
    has_device: bool,
    settings: BTreeMap<String, String>,
    warnings: Vec<String>,
}

/// The probe's own folder; removed with its content when dropped.
#[derive(Debug)]
struct Scratch {
    held: Option<HeldFolder>,
    /// The parent folder, if the probe created it too.
    around: Option<PathBuf>,
}

impl Scratch {
    fn create(folder: &Path) -> Result<Self, ProbeError> {
        let failed = |source| ProbeError::System {
            what: format!("cannot write to {}; check the folder", folder.display()),
            source,
        };
        let around = (!folder.exists()).then(|| folder.to_owned());
        if around.is_some() {
            // Only the last folder is created. If more is missing, the path or a mount is wrong,
            // and a new folder would be on another disk.
            fs::create_dir(folder).map_err(|source| match (source.kind(), folder.parent()) {
                (ErrorKind::NotFound, Some(parent)) => {
                    ProbeError::NoFolder { folder: folder.to_owned(), parent: parent.to_owned() }
                }
                _ => failed(source),
            })?;
        }
        let mut scratch = Self { held: None, around };
        scratch.held = Some(HeldFolder::below(folder, PROBE).map_err(failed)?);
        Ok(scratch)
    }

    fn path(&self) -> &Path {
        self.held.as_ref().map_or(Path::new(""), HeldFolder::path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.held = None;
        if let Some(around) = &self.around {
            let _ = fs::remove_dir(around);
        }
    }
}

impl Disk {
    /// Nothing is written before it is opened.
    pub fn new(folder: &Path, options: SubjectOptions) -> Self {
        Self {
            folder: folder.to_owned(),
            options,
            scratch: None,
            has_device: false,
            settings: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }

    fn scratch(&mut self) -> Result<&Path, ProbeError> {
        let scratch = match self.scratch.take() {
            Some(scratch) => scratch,
            None => Scratch::create(&self.folder)?,
        };
        Ok(self.scratch.insert(scratch).path())
    }
}

impl Subject for Disk {
    fn open(
        &mut self,
        block: Bytes,
        threads: u32,
        depth: u32,
        slab: &Arc<Slab>,
    ) -> Result<Opened, ProbeError> {
        let capacity = self.options.blocks(block)?;
        let folder = self.scratch()?.join(format!("blocks-{}", block.0));
        let options = DiskOptions {
            eviction: self.options.eviction,
            lanes: threads.clamp(1, MOST_LANES) as u16,
            depth: depth.clamp(1, DEEPEST) as u16,
            slab: Some(Arc::clone(slab)),
            page_cache: self.options.page_cache,
            cooled: self.options.cold,
            start_empty: true,
            ..DiskOptions::new(folder, capacity, block.0 as usize)
        };
        let tier = DiskTier::open(&options)?;
        let held = held_in(&options.folder).unwrap_or(HeldIn::Uncounted);
        if held == HeldIn::Memory && self.options.cold {
            return Err(ProbeError::value(
                "cold",
                format!(
                    "{} is in memory, where nothing comes from a device",
                    self.folder.display()
                ),
                "give a folder on a disk",
            ));
        }
        let made = self.scratch.as_ref().and_then(|scratch| scratch.around.as_ref());
        self.settings.insert("capacity".to_owned(), self.options.capacity.to_string());
        self.settings.insert("engine".to_owned(), tier.engine().to_string());
        self.warnings = tier.warnings().to_vec();
        self.warnings.extend(made.map(|folder| {
            format!(
                "{} did not exist: it was made for the probe and is removed after it; if a disk \
                 belongs there, mount it and probe again",
                folder.display()
            )
        }));
        let direct = tier.engine().direct;
        let origin = TierOrigin { held, reader: BlockReader::Own, direct };
        self.has_device = origin.has_device();
        let cold = self.options.cold.then(|| cold(&tier, &options.folder));
        if let Some(cold) = &cold {
            self.settings.insert("cold".to_owned(), cold.how.clone());
        }
        Ok(Opened { tier: Arc::new(tier), server: None, origin, cold, at_stake: None })
    }

    fn baselines(&mut self, point: &ProbePoint) -> Result<Baselines, ProbeError> {
        let bytes = point.block.bytes.0;
        // Direct access to a device says nothing about reads through the page cache or from memory.
        let device = if self.has_device { Device::create(self.scratch()?, bytes)? } else { None };
        Ok(Baselines::Disk(device))
    }
}

/// Direct access needs nothing; otherwise the page cache is dropped.
fn cold(tier: &DiskTier, folder: &Path) -> Cold {
    if tier.engine().direct {
        return Cold { how: "by O_DIRECT".to_owned(), cool: Box::new(|| Ok(())) };
    }
    let folder = folder.to_owned();
    let cool = move || {
        drop_page_cache(&folder).map(drop).map_err(|source| ProbeError::System {
            what: format!("--cold: cannot drop the page cache of {}", folder.display()),
            source,
        })
    };
    Cold { how: "by posix_fadvise(DONTNEED) between laps".to_owned(), cool: Box::new(cool) }
}

impl ProbedSubject for Disk {
    fn facts(&self) -> TierFacts {
        TierFacts {
            kind: ProfileKind::Disk,
            product: "disk".to_owned(),
            version: None,
            place: self.folder.display().to_string(),
            settings: self.settings.clone(),
            warnings: self.warnings.clone(),
        }
    }
}
