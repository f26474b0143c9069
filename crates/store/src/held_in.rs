//! What holds a folder's bytes, a device or memory, and how to drop its page cache.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Advice, FileType, major, minor};
use weir_model::{Bytes, HeldIn};

/// Magic numbers of `statfs(2)`: `linux/magic.h` and each file system's own header.
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;
const HUGETLBFS: u64 = 0x9584_58f6;
/// An overlay passes reads to the lower file system in the same process.
pub(crate) const OVERLAY: u64 = 0x794c_7630;
/// File systems whose device reads the kernel counts for the reading process: ext2 to ext4, XFS,
/// Btrfs, F2FS, and overlays of them. Reads of others (FUSE, 9p, NFS, ZFS) are made by another
/// process or not counted.
const COUNTED: [u64; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, OVERLAY];
/// Nested loop devices that are followed.
const LOOPS: u32 = 4;
/// Deepest subfolder that is searched, and most files.
const DEEPEST: u32 = 8;
const MOST_FILES: usize = 100_000;

pub fn held_in(path: &Path) -> io::Result<HeldIn> {
    behind(path, LOOPS)
}

fn behind(path: &Path, loops: u32) -> io::Result<HeldIn> {
    let file = File::open(path)?;
    let kind = rustix::fs::fstatfs(&file)?.f_type as u64;
    let by_kind = of_kind(kind);
    if by_kind != HeldIn::Device {
        return Ok(by_kind);
    }
    Ok(device_name(file.metadata()?.dev()).map_or(by_kind, |name| of_device(&name, loops)))
}

pub(crate) fn of_kind(kind: u64) -> HeldIn {
    match kind {
        TMPFS | RAMFS | HUGETLBFS => HeldIn::Memory,
        kind if COUNTED.contains(&kind) => HeldIn::Device,
        _ => HeldIn::Uncounted,
    }
}

/// The kernel's name of a block device; None for file systems with an anonymous device number.
fn device_name(number: u64) -> Option<String> {
    let link = format!("/sys/dev/block/{}:{}", major(number), minor(number));
    let path = fs::canonicalize(link).ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

fn of_device(name: &str, loops: u32) -> HeldIn {
    let digits = |rest: &str| rest.starts_with(|letter: char| letter.is_ascii_digit());
    let is = |prefix: &str| name.strip_prefix(prefix).is_some_and(digits);
    if is("zram") || is("ram") {
        return HeldIn::Memory;
    }
    if is("pmem") {
        // Mapped persistent memory is not read by requests, which are what is counted.
        return HeldIn::Uncounted;
    }
    if is("loop") && loops > 0 {
        // A partition's name is that of its device, `p` and a number.
        let whole = name[4..].find('p').map_or(name, |at| &name[..4 + at]);
        let backing = fs::read_to_string(format!("/sys/block/{whole}/loop/backing_file"));
        let backing = backing.ok().map(|path| behind(Path::new(path.trim()), loops - 1));
        return backing.and_then(Result::ok).unwrap_or(HeldIn::Uncounted);
    }
    HeldIn::Device
}

/// Writes a folder's files to their device and drops their page cache (`POSIX_FADV_DONTNEED`);
/// returns the bytes of the files. Mapped pages stay.
pub fn drop_page_cache(folder: &Path) -> io::Result<Bytes> {
    let mut found = Vec::new();
    files(folder, DEEPEST, &mut found)?;
    let mut bytes = 0;
    for path in found {
        let file = match File::open(&path) {
            Ok(file) => file,
            // A server removes its files at any time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // Dirty pages cannot be dropped.
        file.sync_data()?;
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        bytes += file.metadata()?.len();
    }
    Ok(Bytes(bytes))
}

/// Plain files at and below a folder; links are not followed.
fn files(folder: &Path, deeper: u32, found: &mut Vec<std::path::PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = match fs::symlink_metadata(entry.path()) {
            Ok(about) => FileType::from_raw_mode(about.mode()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        match kind {
            FileType::RegularFile if found.len() < MOST_FILES => found.push(entry.path()),
            FileType::Directory if deeper > 0 => files(&entry.path(), deeper - 1, found)?,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn memory_and_devices_are_told_apart() {
        let folder =
            |path: &str| Path::new(path).is_dir().then(|| held_in(Path::new(path)).unwrap());
        assert!(folder("/dev/shm").is_none_or(|held| held == HeldIn::Memory));
        assert_eq!(held_in(Path::new("/proc")).unwrap(), HeldIn::Uncounted);
        assert!(held_in(Path::new("/no/such/folder")).is_err());
        for (name, held) in [
            ("nvme0n1p2", HeldIn::Device),
            ("md0", HeldIn::Device),
            ("dm-3", HeldIn::Device),
            ("zram0", HeldIn::Memory),
            ("ram1", HeldIn::Memory),
            ("pmem0", HeldIn::Uncounted),
            ("loop4711", HeldIn::Uncounted),
            ("loop4711p1", HeldIn::Uncounted),
        ] {
            assert_eq!(of_device(name, LOOPS), held, "{name}");
        }
    }

    /// Bytes that this process fetched from a device; None if the kernel does not say.
    fn device_read() -> Option<u64> {
        let text = fs::read_to_string("/proc/self/io").ok()?;
        text.lines().find_map(|line| line.strip_prefix("read_bytes:")?.trim().parse().ok())
    }

    #[test]
    fn dropped_files_are_read_from_the_device_again() {
        const BYTES: usize = 8 << 20;
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("db/sst");
        fs::create_dir_all(&below).unwrap();
        let path = below.join("1.sst");
        fs::write(&path, vec![7; BYTES]).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        let read = || {
            let before = device_read();
            let mut bytes = Vec::new();
            File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len(), BYTES);
            before.zip(device_read()).map(|(before, after)| after - before)
        };
        let warm = read();
        assert_eq!(drop_page_cache(folder.path()).unwrap(), Bytes(BYTES as u64));
        let cold = read();
        let missing = drop_page_cache(&folder.path().join("none")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        if held_in(folder.path()).unwrap() != HeldIn::Device || warm.is_none() {
            println!("SKIPPED the counts: {} is on no device", folder.path().display());
            return;
        }
        // Other tests of this process read little, if anything.
        assert!(warm.unwrap() < BYTES as u64 / 2, "{warm:?}");
        assert!(cold.unwrap() >= BYTES as u64, "{cold:?}");
    }
}
