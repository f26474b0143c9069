//! `io_uring`: a ring per call, with the file and the slab registered.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use io_uring::{IoUring, opcode, squeue, types};
use rustix::io::Errno;

use crate::slab::Slab;

use super::flight::{Ended, Request};

/// The kernel registers at most this many bytes in one piece.
const PIECE_BYTES_MAX: usize = 1 << 30;

pub(super) struct RingLane {
    ring: IoUring,
    /// Registered memory, which must outlive the ring.
    registered: Option<Registered>,
    /// Why a given slab is not registered.
    refused: Option<Errno>,
    depth: usize,
    unsubmitted: usize,
    _file: Arc<File>,
}

struct Registered {
    start: usize,
    len: usize,
    piece: usize,
    _slab: Arc<Slab>,
}

impl std::fmt::Debug for RingLane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RingLane").field("depth", &self.depth).finish_non_exhaustive()
    }
}

impl RingLane {
    /// A slab that the kernel does not register (a limit on locked memory) is used unregistered.
    pub(super) fn new(
        file: &Arc<File>,
        slab: Option<&Arc<Slab>>,
        depth: usize,
    ) -> Result<Self, Errno> {
        let entries = depth as u32;
        // Completions are handled when this thread enters the kernel, not by interrupts. Kernels
        // before 5.19 lack the flag.
        let ring = IoUring::builder()
            .setup_coop_taskrun()
            .build(entries)
            .or_else(|_| IoUring::builder().build(entries))
            .map_err(|error| errno(&error))?;
        ring.submitter().register_files(&[file.as_raw_fd()]).map_err(|error| errno(&error))?;
        let mut lane = Self {
            ring,
            registered: None,
            refused: None,
            depth,
            unsubmitted: 0,
            _file: Arc::clone(file),
        };
        match slab.map(|slab| lane.register(slab)) {
            Some(Ok(registered)) => lane.registered = Some(registered),
            Some(Err(errno)) => lane.refused = Some(errno),
            None => {}
        }
        Ok(lane)
    }

    fn register(&self, slab: &Arc<Slab>) -> Result<Registered, Errno> {
        let (start, len) = slab.region();
        // No block spans two pieces.
        let piece = PIECE_BYTES_MAX / slab.stride() * slab.stride();
        #[expect(unsafe_code, reason = "the kernel is told about the slab's memory")]
        // SAFETY: the ranges lie in the slab's mapping, which this lane keeps until the ring is
        // gone. `IoSlice` has the layout of `iovec` on Unix, as its documentation promises.
        unsafe {
            let slices: Vec<IoSlice<'_>> = (0..len)
                .step_by(piece)
                .map(|at| {
                    let address = (start + at) as *const u8;
                    IoSlice::new(std::slice::from_raw_parts(address, piece.min(len - at)))
                })
                .collect();
            let iovecs = std::slice::from_raw_parts(slices.as_ptr().cast(), slices.len());
            self.ring.submitter().register_buffers(iovecs).map_err(|error| errno(&error))?;
        }
        Ok(Registered { start, len, piece, _slab: Arc::clone(slab) })
    }

    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    pub(super) const fn has_fixed_buffers(&self) -> bool {
        self.registered.is_some()
    }

    pub(super) const fn refused_buffers(&self) -> Option<Errno> {
        self.refused
    }

    #[expect(unsafe_code, reason = "memory is lent to the kernel")]
    pub(super) unsafe fn start(&mut self, request: Request) -> Result<(), Errno> {
        let entry = self.entry(&request);
        // SAFETY: the caller's promise; the ring has room for `depth` entries.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.map_err(|_| Errno::AGAIN)?;
        self.unsubmitted += 1;
        Ok(())
    }

    fn entry(&self, request: &Request) -> squeue::Entry {
        let Request { write, offset, address, len, token } = *request;
        let (file, len) = (types::Fixed(0), len as u32);
        let fixed = self.registered.as_ref().and_then(|registered| {
            let at = (address as usize).checked_sub(registered.start)?;
            // Within one piece, by the rule of `register`.
            (at + len as usize <= registered.len).then_some((at / registered.piece) as u16)
        });
        let entry = match (write, fixed) {
            (true, Some(piece)) => {
                opcode::WriteFixed::new(file, address, len, piece).offset(offset).build()
            }
            (true, None) => opcode::Write::new(file, address, len).offset(offset).build(),
            (false, Some(piece)) => {
                opcode::ReadFixed::new(file, address, len, piece).offset(offset).build()
            }
            (false, None) => opcode::Read::new(file, address, len).offset(offset).build(),
        };
        entry.user_data(u64::from(token))
    }

    /// Submits started requests. A failure is left to `wait`, which tries again.
    pub(super) fn submit(&mut self) {
        if self.unsubmitted > 0
            && let Ok(taken) = self.ring.submit()
        {
            self.unsubmitted = self.unsubmitted.saturating_sub(taken);
        }
    }

    pub(super) fn poll(&mut self) -> Option<(u16, Ended)> {
        let entry = self.ring.completion().next()?;
        let ended = match u32::try_from(entry.result()) {
            Ok(bytes) => Ok(bytes as usize),
            Err(_) => Err(Errno::from_raw_os_error(-entry.result())),
        };
        Some((entry.user_data() as u16, ended))
    }

    /// Waits without a deadline: the kernel uses the caller's memory until the completion.
    pub(super) fn wait(&mut self) -> (u16, Ended) {
        loop {
            if self.unsubmitted > 0 {
                self.submit();
            }
            if let Some(landed) = self.poll() {
                return landed;
            }
            match self.ring.submit_and_wait(1) {
                Ok(taken) => self.unsubmitted = self.unsubmitted.saturating_sub(taken),
                // A signal, or no memory at the moment: only a retry helps.
                Err(_) => std::thread::yield_now(),
            }
        }
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
