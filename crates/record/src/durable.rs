//! Files that are whole or absent, and their checksums.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::error::{RecordError, one_line};

/// Prefix of incomplete files, which readers skip.
const TEMPORARY: &str = ".part-";

/// Size and checksum, as in `cell.json`.
pub(crate) type Digest = (u64, String);

/// xxh3-64 as 16 hex digits.
pub(crate) fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    (bytes.len() as u64, hex(xxh3_64(bytes)))
}

/// Reads once, with a small buffer.
pub(crate) fn digest_file(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; 1 << 18];
    let mut hash = Xxh3::new();
    let mut size = 0;
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => return Ok((size, hex(hash.digest()))),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&chunk[..read]);
        size += read as u64;
    }
}

/// Tracks size and checksum of its writes, so that the file need not be read again.
pub(crate) struct HashedFile {
    file: File,
    hash: Xxh3,
    size: u64,
}

impl HashedFile {
    pub(crate) fn create(path: &Path) -> Result<Self, RecordError> {
        let file = File::create(path).map_err(|e| RecordError::io("create", path, e))?;
        Ok(Self { file, hash: Xxh3::new(), size: 0 })
    }

    pub(crate) fn finish(&self, path: &Path) -> Result<Digest, RecordError> {
        self.file.sync_data().map_err(|e| RecordError::io("write", path, e))?;
        Ok((self.size, hex(self.hash.digest())))
    }
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a temporary sibling, syncs it, and renames it over `path`. Makes missing folders.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    create_folders(folder)?;
    let temporary = folder.join(temporary_name());
    let written = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // A failure is harmless: readers skip the file.
        let _ = fs::remove_file(&temporary);
        return Err(RecordError::io("write", path, error));
    }
    sync_folder(folder)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Unique among the processes of this machine and the calls of this one.
fn temporary_name() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    format!("{TEMPORARY}{}-{call}", std::process::id())
}

/// Of [`write_whole`] in a killed process.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY)
}

/// Removes what [`write_whole`] of a killed process left. The caller holds the run's lock.
/// Failures are harmless: readers skip these files.
pub(crate) fn remove_temporaries(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_temporaries(&entry.path());
        } else if is_temporary(&entry.file_name().to_string_lossy()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

pub(crate) fn create_folders(path: &Path) -> Result<(), RecordError> {
    fs::create_dir_all(path).map_err(|e| RecordError::io("create the folder", path, e))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), RecordError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| RecordError::io("sync the folder", path, e))
}

/// Also checks that the JSON can be read again: JSON has no NaN and no infinity, and a `null`
/// figure is an error here.
pub(crate) fn to_json<T>(path: &Path, value: &T) -> Result<Vec<u8>, RecordError>
where
    T: Serialize + DeserializeOwned,
{
    let unrecordable = |why: serde_json::Error| RecordError::Unrecordable {
        path: path.to_owned(),
        why: one_line(&why.to_string()),
    };
    let mut text = serde_json::to_vec_pretty(value).map_err(unrecordable)?;
    serde_json::from_slice::<T>(&text).map_err(unrecordable)?;
    text.push(b'\n');
    Ok(text)
}

/// With names relative to the folder (`/` between parts), sorted, without temporary files.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<(String, PathBuf)>, RecordError> {
    let mut found = Vec::new();
    collect(folder, "", &mut found)?;
    found.sort();
    Ok(found)
}

fn collect(
    folder: &Path,
    prefix: &str,
    found: &mut Vec<(String, PathBuf)>,
) -> Result<(), RecordError> {
    let refused = |e| RecordError::io("list the folder", folder, e);
    for entry in fs::read_dir(folder).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let kind = entry.file_type().map_err(refused)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue; // Nothing of ours has such a name.
        };
        let relative = format!("{prefix}{name}");
        if kind.is_dir() {
            collect(&entry.path(), &format!("{relative}/"), found)?;
        } else if !is_temporary(&name) {
            found.push((relative, entry.path()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_xxh3_64() {
        // Test vectors of the reference implementation, seed 0: no bytes, and `xxhsum -H3` of "a".
        assert_eq!(digest_of(b""), (0, "2d06800538d394c2".to_owned()));
        assert_eq!(digest_of(b"a"), (1, "e6c632b61e964e1f".to_owned()));
    }

    #[test]
    fn a_file_has_the_same_digest_by_all_three_ways() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        // Longer than the buffer of `digest_file`, written in uneven pieces.
        let bytes: Vec<u8> = (0..700_001_u32).map(|i| (i % 251) as u8).collect();
        let mut file = HashedFile::create(&path).unwrap();
        for piece in bytes.chunks(4099) {
            file.write_all(piece).unwrap();
        }
        let written = file.finish(&path).unwrap();
        assert_eq!(written, digest_of(&bytes));
        assert_eq!(written, digest_file(&path).unwrap());
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        // A folder in the file's place: the rename is refused.
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("old"), "").unwrap();
        assert!(write_whole(&path, b"new").is_err());
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["taken"]);
        assert!(path.join("old").exists());
    }
}
