//! Opening the files of a disk tier: lock, layout, free space and `O_DIRECT`.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, FlockOperation, OFlags};
use rustix::io::Errno;
use weir_model::{Bytes, HeldIn};

use crate::held_in::{OVERLAY, held_in};
use crate::slab::{ALIGNMENT, Slab};

use super::DiskOptions;
use super::error::DiskError;
use super::header::{FileLayout, HeaderFile, Superblock};

pub const BLOCKS_FILE: &str = "blocks.weir";
pub const HEADERS_FILE: &str = "headers.weir";
/// A killed process keeps its lock until the kernel has ended its last write.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Place {
    pub(super) blocks: Arc<File>,
    pub(super) blocks_path: PathBuf,
    pub(super) headers: HeaderFile,
    /// Bytes of the block file before it was extended.
    pub(super) blocks_len: u64,
    pub(super) direct: bool,
    pub(super) warnings: Vec<String>,
}

impl Place {
    pub(super) fn open(options: &DiskOptions, layout: &FileLayout) -> Result<Self, DiskError> {
        let folder = &options.folder;
        std::fs::create_dir_all(folder)
            .map_err(|error| system(folder, "create the folder", &error))?;
        let blocks_path = folder.join(BLOCKS_FILE);
        let blocks = open_file(&blocks_path)?;
        lock(&blocks, &blocks_path)?;
        let headers_path = folder.join(HEADERS_FILE);
        let headers = HeaderFile::new(open_file(&headers_path)?);
        let fresh = is_fresh(&headers, &headers_path, layout, options.start_empty)?;
        let mut warnings = Vec::new();
        let metadata = blocks
            .metadata()
            .map_err(|error| system(&blocks_path, "ask for the length", &error))?;
        // Space first: formatting without enough of it would lose the earlier content.
        if !allocate(&blocks, &blocks_path, layout.block_file_bytes())? {
            warnings.push(format!(
                "{}: the file system does not reserve space: it may be full when blocks come",
                blocks_path.display()
            ));
        }
        if fresh {
            headers
                .format(layout)
                .map_err(|error| system(&headers_path, "write the headers", &error))?;
        }
        allocate(headers.file(), &headers_path, layout.header_file_bytes())?;
        let direct = match make_direct(&blocks, options.page_cache) {
            Ok(()) => true,
            Err(why) => {
                if !options.cooled {
                    warnings.push(format!(
                        "{}: {why}: the page cache is measured, not the disk",
                        blocks_path.display()
                    ));
                }
                false
            }
        };
        warnings.extend(
            held_in(folder).ok().and_then(|held| file_system_warning(held, &blocks, folder)),
        );
        let blocks_len = if fresh { 0 } else { metadata.len() };
        let blocks = Arc::new(blocks);
        Ok(Self { blocks, blocks_path, headers, blocks_len, direct, warnings })
    }
}

fn is_fresh(
    headers: &HeaderFile,
    path: &Path,
    layout: &FileLayout,
    start_empty: bool,
) -> Result<bool, DiskError> {
    let superblock =
        headers.superblock().map_err(|error| system(path, "read the headers", &error))?;
    match superblock {
        _ if start_empty => Ok(true),
        Superblock::Empty => Ok(true),
        Superblock::Foreign => Err(DiskError::Foreign { path: path.into() }),
        Superblock::Of(found) if found == *layout => Ok(false),
        Superblock::Of(found) => Err(DiskError::Layout {
            path: path.into(),
            found: found.to_string(),
            wanted: layout.to_string(),
        }),
    }
}

fn open_file(path: &Path) -> Result<File, DiskError> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| system(path, "open the file for reading and writing", &error))
}

fn lock(file: &File, path: &Path) -> Result<(), DiskError> {
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(Errno::WOULDBLOCK) => return Err(DiskError::Locked { path: path.into() }),
            Err(errno) => return Err(system(path, "lock the file", &errno.into())),
        }
    }
}

/// Extends a file with reserved space; false if the file system cannot reserve.
fn allocate(file: &File, path: &Path, wanted: u64) -> Result<bool, DiskError> {
    let metadata = file.metadata().map_err(|error| system(path, "ask for the length", &error))?;
    if metadata.len() > wanted {
        file.set_len(wanted).map_err(|error| system(path, "shorten the file", &error))?;
    }
    // Checked first, because a reservation that fails half way takes space from others meanwhile.
    let missing = wanted.saturating_sub(metadata.blocks() * 512);
    let room = rustix::fs::fstatvfs(file)
        .map_err(|errno| system(path, "ask for free space", &errno.into()))?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    if missing > free {
        return Err(DiskError::NoRoom { path: path.into(), wanted: missing, free });
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, wanted) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP) => {
            file.set_len(wanted).map_err(|error| system(path, "set the length", &error))?;
            Ok(false)
        }
        Err(errno) => {
            // Releases the reservation; the first error is the one to report.
            let _ = file.set_len(metadata.len().min(wanted));
            if matches!(errno, Errno::NOSPC | Errno::DQUOT) {
                return Err(DiskError::NoRoom { path: path.into(), wanted: missing, free });
            }
            Err(system(path, "reserve space", &errno.into()))
        }
    }
}

/// Sets `O_DIRECT` and tests a read, because some file systems accept the flag and fail later.
fn make_direct(file: &File, page_cache: bool) -> Result<(), String> {
    if page_cache {
        return Err("asked to go through the page cache".to_owned());
    }
    let set = |flags| rustix::fs::fcntl_setfl(file, flags);
    let flags = rustix::fs::fcntl_getfl(file).map_err(|errno| format!("no flags: {errno}"))?;
    set(flags | OFlags::DIRECT).map_err(|errno| format!("O_DIRECT refused: {errno}"))?;
    let tried = Slab::new(1, ALIGNMENT)
        .ok()
        .and_then(|slab| slab.take())
        .ok_or_else(|| "no memory to try O_DIRECT".to_owned())
        .and_then(|mut block| {
            file.read_at(&mut block, 0)
                .map(drop)
                .map_err(|error| format!("O_DIRECT refused when reading: {error}"))
        });
    if tried.is_err() {
        // A file that keeps the flag fails at the first block: better no tier than that.
        set(flags).map_err(|errno| format!("O_DIRECT stays on: {errno}"))?;
    }
    tried
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFolder {
    /// Bytes that this user may still write.
    pub free: Bytes,
    pub in_memory: bool,
    /// Why its figures are not a disk's, one sentence.
    pub warning: Option<String>,
}

impl DiskFolder {
    pub fn look(folder: &Path) -> Result<Self, DiskError> {
        let file = File::open(folder).map_err(|error| system(folder, "open the folder", &error))?;
        let room = rustix::fs::fstatvfs(&file)
            .map_err(|errno| system(folder, "ask for free space", &errno.into()))?;
        let held = held_in(folder).ok();
        Ok(Self {
            free: Bytes(room.f_bavail.saturating_mul(room.f_frsize)),
            in_memory: held == Some(HeldIn::Memory),
            warning: held.and_then(|held| file_system_warning(held, &file, folder)),
        })
    }
}

fn file_system(file: &File) -> Option<u64> {
    rustix::fs::fstatfs(file).ok().map(|about| about.f_type as u64)
}

fn file_system_warning(held: HeldIn, file: &File, folder: &Path) -> Option<String> {
    let what = match held {
        HeldIn::Memory => "is in memory (tmpfs): this measures no disk",
        _ if file_system(file) == Some(OVERLAY) => {
            "is an overlay file system (a container's own): use a volume on the disk"
        }
        _ => return None,
    };
    Some(format!("{} {what}", folder.display()))
}

fn system(path: &Path, action: &'static str, error: &std::io::Error) -> DiskError {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    DiskError::System { path: path.into(), action, errno, remedy: remedy(errno) }
}

pub(super) const fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::ROFS => "the file system is read-only: give a folder on another one",
        Errno::ACCESS | Errno::PERM => "give a folder that this user may write to",
        Errno::NOSPC | Errno::DQUOT => "free some room, or open the tier with fewer blocks",
        Errno::FBIG => "raise the limit on file sizes (ulimit -f), or give fewer blocks",
        Errno::NOTDIR | Errno::EXIST | Errno::ISDIR => "something else has that name: give another",
        Errno::MFILE | Errno::NFILE => "raise the limit on open files",
        Errno::INVAL => "the file system refuses requests of this kind: use another one",
        Errno::IO => "look at the kernel's log for what the device says",
        _ => "check the folder and the device below it",
    }
}
