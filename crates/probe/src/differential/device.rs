//! The device alone: a file's blocks with direct access, without a tier.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use weir_store::{Block, Slab};
use weir_workload::RandomStream;

use super::{Moved, PlainRun};
use crate::cpu;
use crate::error::ProbeError;

/// Bytes of the file: too many for the device's own cache.
const FILE_BYTES: u64 = 512 << 20;
const PIECE_BYTES: u64 = 8 << 20;
/// Most accesses in flight: each has a thread.
const MOST_AT_ONCE: u32 = 128;
/// Direct access needs whole sectors.
const SECTOR: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceWork {
    Read,
    Write,
}

/// A scratch file with direct access; removed when dropped.
#[derive(Debug)]
pub struct Device {
    file: OwnedFd,
    path: PathBuf,
    blocks: u64,
    stride: u64,
}

impl Device {
    /// Writes the file into a folder. None if the file system has no direct access.
    pub fn create(folder: &Path, block_bytes: u64) -> Result<Option<Self>, ProbeError> {
        let path = folder.join(format!("weir-probe-device-{}", std::process::id()));
        let failed = |what: &str, errno: Errno| ProbeError::System {
            what: format!("{what} {}", path.display()),
            source: errno.into(),
        };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = match rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => file,
            Err(Errno::INVAL) => {
                // The name exists before the flag is refused.
                let _ = rustix::fs::unlink(&path);
                return Ok(None);
            }
            Err(errno) => return Err(failed("cannot create", errno)),
        };
        let stride = block_bytes.next_multiple_of(SECTOR);
        let blocks = (FILE_BYTES / stride).max(2);
        let device = Self { file, path: path.clone(), blocks, stride };
        let bytes = blocks * stride;
        let piece = PIECE_BYTES.next_multiple_of(stride).min(bytes);
        let slab = Slab::new(1, piece as usize)?;
        let Some(mut block) = slab.take() else { return Ok(None) };
        // Incompressible bytes.
        let mut stream = RandomStream::new(0, "probe device", 0);
        for word in block.chunks_mut(4) {
            let value = (stream.below(1 << 32) as u32).to_le_bytes();
            word.copy_from_slice(&value[..word.len()]);
        }
        let mut offset = 0;
        while offset < bytes {
            let part = piece.min(bytes - offset);
            write_block(&device.file, &block[..part as usize], offset)
                .map_err(|errno| failed("cannot write", errno))?;
            offset += part;
        }
        rustix::fs::fsync(&device.file).map_err(|errno| failed("cannot write", errno))?;
        Ok(Some(device))
    }

    /// Moves blocks at random offsets, `at_once` at a time.
    pub fn run(
        &self,
        work: DeviceWork,
        at_once: u32,
        time: Duration,
    ) -> Result<Option<PlainRun>, ProbeError> {
        let at_once = at_once.clamp(1, MOST_AT_ONCE);
        let slab = Slab::new(at_once, self.stride as usize)?;
        let blocks: Option<Vec<Block>> = (0..at_once).map(|_| slab.take()).collect();
        let Some(blocks) = blocks else { return Ok(None) };
        let turn = AtomicU64::new(0);
        let start = Arc::new(Barrier::new(at_once as usize));
        let moved: Vec<Result<Moved, Errno>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..)
                .zip(blocks)
                .map(|(thread, block)| {
                    let (turn, start) = (&turn, Arc::clone(&start));
                    scope.spawn(move || {
                        start.wait();
                        self.moves(work, block, thread, turn, time)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|one| one.join().unwrap_or_else(|why| std::panic::resume_unwind(why)))
                .collect()
        });
        let moved: Result<Vec<Moved>, Errno> = moved.into_iter().collect();
        let moved = moved.map_err(|errno| ProbeError::System {
            what: format!("direct access to {}", self.path.display()),
            source: errno.into(),
        })?;
        Ok(PlainRun::of(&moved))
    }

    fn moves(
        &self,
        work: DeviceWork,
        mut block: Block,
        thread: u64,
        turn: &AtomicU64,
        time: Duration,
    ) -> Result<Moved, Errno> {
        let mut stream = RandomStream::new(1, "probe device", thread);
        let mut bytes = 0;
        let (began, used) = (Instant::now(), cpu::of_thread());
        while began.elapsed() < time {
            let place = match work {
                DeviceWork::Read => stream.below(self.blocks),
                // Two simultaneous writes at one offset would be one.
                DeviceWork::Write => turn.fetch_add(1, Ordering::Relaxed) % self.blocks,
            };
            match work {
                DeviceWork::Read => read_block(&self.file, &mut block, place * self.stride)?,
                DeviceWork::Write => write_block(&self.file, &block, place * self.stride)?,
            }
            bytes += self.stride;
        }
        let seconds = began.elapsed().as_secs_f64();
        Ok(Moved { bytes, seconds, cpu: cpu::of_thread() - used })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Errors cannot be reported; the file's name shows its owner.
        let _ = rustix::fs::unlink(&self.path);
    }
}

fn read_block(file: impl AsFd, block: &mut [u8], offset: u64) -> Result<(), Errno> {
    let mut done = 0;
    while done < block.len() {
        match rustix::io::pread(&file, &mut block[done..], offset + done as u64) {
            // The file was truncated meanwhile.
            Ok(0) => return Err(Errno::IO),
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn write_block(file: impl AsFd, block: &[u8], offset: u64) -> Result<(), Errno> {
    let mut done = 0;
    while done < block.len() {
        match rustix::io::pwrite(&file, &block[done..], offset + done as u64) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_read_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let Some(device) = Device::create(folder.path(), 1 << 20).unwrap() else {
            // No direct access on this file system: a valid result.
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
            return;
        };
        for work in [DeviceWork::Read, DeviceWork::Write] {
            let run = device.run(work, 4, Duration::from_millis(50)).unwrap().unwrap();
            assert!(run.s_per_gb > 0.0, "{run:?}");
        }
        drop(device);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let missing = Device::create(&folder.path().join("none"), 4096).unwrap_err();
        assert!(missing.to_string().contains("cannot create"), "{missing}");
    }
}
