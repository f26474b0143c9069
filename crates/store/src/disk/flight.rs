//! Requests in flight: the one place where a disk's reads and writes meet borrowed memory.
//!
//! A [`Lane`] is what one call works with: a ring of its own, or a place at the shared threads. It
//! starts requests on plain addresses; [`Flights`] keeps the borrow of each buffer until its
//! request is over, also when the caller unwinds.

use rustix::io::Errno;

use crate::slab::Block;

use super::ring::RingLane;
use super::threads::ThreadLane;

/// A read or write of one block, on plain memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) write: bool,
    /// Place in the file, bytes.
    pub(super) offset: u64,
    pub(super) address: *mut u8,
    pub(super) len: usize,
    /// Comes back with the result.
    pub(super) token: u16,
}

#[expect(unsafe_code, reason = "requests go to the threads that work on them")]
// SAFETY: who started a request keeps its memory valid and otherwise unused until its end, on
// whatever thread that comes.
unsafe impl Send for Request {}

/// How a request ended: bytes moved, or the error.
pub(super) type Ended = Result<usize, Errno>;

/// What one call works with.
#[derive(Debug)]
pub(super) enum Lane {
    Ring(RingLane),
    Threads(ThreadLane),
}

impl Lane {
    /// Requests that may be in flight.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::Ring(lane) => lane.depth(),
            Self::Threads(lane) => lane.depth(),
        }
    }

    #[expect(unsafe_code, reason = "memory is lent to the kernel")]
    /// SAFETY: the memory must stay valid, and unused but for reads of what is written, until
    /// `wait` has returned the token. Not more than `depth` requests at a time.
    unsafe fn start(&mut self, request: Request) -> Result<(), Errno> {
        match self {
            // SAFETY: handed on.
            Self::Ring(lane) => unsafe { lane.start(request) },
            // SAFETY: handed on.
            Self::Threads(lane) => unsafe { lane.start(request) },
        }
    }

    /// Hands what was started to the device.
    fn submit(&mut self) {
        match self {
            Self::Ring(lane) => lane.submit(),
            Self::Threads(_) => {}
        }
    }

    /// Waits for the end of some request. Only while one is in flight.
    fn wait(&mut self) -> (u16, Ended) {
        match self {
            Self::Ring(lane) => lane.wait(),
            Self::Threads(lane) => lane.wait(),
        }
    }
}

/// What belongs to a request that is in flight. Kept with the lane, so that no call allocates.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    free: Vec<u16>,
}

#[derive(Debug)]
struct Row {
    tag: Tag,
    bounce: Option<Block>,
}

/// What the caller wants back with a result.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tag {
    /// Place in the batch.
    pub(super) index: usize,
    /// The slot.
    pub(super) slot: u32,
}

/// A request that is over.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) tag: Tag,
    pub(super) ended: Ended,
    /// The buffer, where it was not the caller's.
    pub(super) bounce: Option<Block>,
}

impl Table {
    pub(super) fn new(depth: usize) -> Self {
        let row = || Row { tag: Tag::default(), bounce: None };
        let rows = std::iter::repeat_with(row).take(depth).collect();
        Self { rows, free: (0..depth as u16).rev().collect() }
    }
}

/// The requests of one call. Buffers stay borrowed for `'b`, and the last request is over when this
/// value is gone.
#[derive(Debug)]
pub(super) struct Flights<'l, 'b> {
    lane: &'l mut Lane,
    table: &'l mut Table,
    borrowed: std::marker::PhantomData<&'b mut [u8]>,
}

impl<'l, 'b> Flights<'l, 'b> {
    pub(super) fn new(lane: &'l mut Lane, table: &'l mut Table) -> Self {
        Self { lane, table, borrowed: std::marker::PhantomData }
    }

    pub(super) fn has_room(&self) -> bool {
        !self.table.free.is_empty()
    }

    pub(super) fn in_flight(&self) -> bool {
        self.table.free.len() < self.table.rows.len()
    }

    /// Starts writing the caller's bytes.
    pub(super) fn write(&mut self, bytes: &'b [u8], offset: u64, tag: Tag) -> Result<(), Errno> {
        let address = bytes.as_ptr().cast_mut();
        self.start(true, address, bytes.len(), offset, tag, None)
    }

    /// Starts reading into the caller's buffer.
    pub(super) fn read(
        &mut self,
        into: &'b mut [u8],
        offset: u64,
        tag: Tag,
    ) -> Result<(), Errno> {
        self.start(false, into.as_mut_ptr(), into.len(), offset, tag, None)
    }

    /// Starts reading or writing a whole bounce buffer, which comes back with the result.
    pub(super) fn bounced(
        &mut self,
        write: bool,
        mut bounce: Block,
        offset: u64,
        tag: Tag,
    ) -> Result<(), Errno> {
        let padded = bounce.padded_mut();
        let (address, len) = (padded.as_mut_ptr(), padded.len());
        self.start(write, address, len, offset, tag, Some(bounce))
    }

    fn start(
        &mut self,
        write: bool,
        address: *mut u8,
        len: usize,
        offset: u64,
        tag: Tag,
        bounce: Option<Block>,
    ) -> Result<(), Errno> {
        let token = self.table.free.pop().ok_or(Errno::AGAIN)?;
        let request = Request { write, offset, address, len, token };
        #[expect(unsafe_code, reason = "memory is lent to the kernel")]
        // SAFETY: the memory is borrowed for 'b, which is longer than this value, or lies in a
        // block that the table keeps; `drop` waits for all requests.
        let started = unsafe { self.lane.start(request) };
        match started {
            Ok(()) => self.table.rows[usize::from(token)] = Row { tag, bounce },
            Err(_) => self.table.free.push(token),
        }
        started
    }

    /// Hands what was started to the device, so that it works while the caller does other things.
    pub(super) fn submit(&mut self) {
        self.lane.submit();
    }

    /// Waits for the end of some request; nothing when none is in flight.
    pub(super) fn wait(&mut self) -> Option<Landed> {
        if !self.in_flight() {
            return None;
        }
        let (token, ended) = self.lane.wait();
        self.table.free.push(token);
        let row = &mut self.table.rows[usize::from(token)];
        Some(Landed { tag: row.tag, ended, bounce: row.bounce.take() })
    }
}

impl Drop for Flights<'_, '_> {
    fn drop(&mut self) {
        while self.wait().is_some() {}
    }
}
