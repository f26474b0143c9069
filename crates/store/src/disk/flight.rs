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
    Ring(Box<RingLane>),
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

    /// A request that is over already.
    fn poll(&mut self) -> Option<(u16, Ended)> {
        match self {
            Self::Ring(lane) => lane.poll(),
            Self::Threads(lane) => lane.poll(),
        }
    }
}

/// What belongs to a request that is in flight. Kept with the lane, so that no call allocates.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    free: Vec<u16>,
    /// Writes started since they were last asked for.
    fresh: Vec<Tag>,
}

#[derive(Debug)]
struct Row {
    tag: Tag,
    held: Held,
}

/// The memory of a request.
#[derive(Debug, Default)]
enum Held {
    /// Nothing, or bytes of the caller's that are written.
    #[default]
    None,
    /// A buffer of the caller's that is read into.
    Lent(Lent),
    /// A bounce buffer, and where what is read into it will go.
    Bounce(Block, Option<Lent>),
}

/// A caller's buffer, as an address.
#[derive(Debug, Clone, Copy)]
struct Lent(*mut u8, usize);

impl Lent {
    fn take(into: &mut [u8]) -> Self {
        Self(into.as_mut_ptr(), into.len())
    }

    #[expect(unsafe_code, reason = "a lent buffer comes back")]
    /// SAFETY: once, and not before its request is over, by the `Flights` that took it from a
    /// reference which lives for 'b.
    unsafe fn give_back<'b>(self) -> &'b mut [u8] {
        // SAFETY: the caller's promise; nobody has used the buffer meanwhile.
        unsafe { std::slice::from_raw_parts_mut(self.0, self.1) }
    }
}

#[expect(unsafe_code, reason = "a table moves between calls, when it holds nothing")]
// SAFETY: a lent address is turned into a reference only by the `Flights` that took it from one.
unsafe impl Send for Lent {}

/// What the caller wants back with a result.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tag {
    /// Place in the batch.
    pub(super) index: usize,
    pub(super) slot: u32,
}

/// A request that is over.
#[derive(Debug)]
pub(super) struct Landed<'b> {
    pub(super) tag: Tag,
    pub(super) ended: Ended,
    pub(super) buffer: Buffer<'b>,
}

/// The buffer of a request that is over.
#[derive(Debug)]
pub(super) enum Buffer<'b> {
    /// The caller's bytes, written.
    Written,
    /// The caller's buffer, given back.
    Read(&'b mut [u8]),
    /// A bounce buffer, and where what was read into it should go.
    Bounce(Block, Option<&'b mut [u8]>),
}

impl Table {
    pub(super) fn new(depth: usize) -> Self {
        let row = || Row { tag: Tag::default(), held: Held::None };
        let rows = std::iter::repeat_with(row).take(depth).collect();
        let (free, fresh) = ((0..depth as u16).rev().collect(), Vec::with_capacity(depth));
        Self { rows, free, fresh }
    }
}

/// The requests of one call. Buffers stay borrowed for `'b`, and the last request is over when this
/// value is dropped: it must not be forgotten instead (`mem::forget`), which nobody here does.
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

    pub(super) fn depth(&self) -> usize {
        self.lane.depth()
    }

    pub(super) fn has_room(&self) -> bool {
        !self.table.free.is_empty()
    }

    pub(super) fn in_flight(&self) -> bool {
        self.table.free.len() < self.table.rows.len()
    }

    /// Starts writing the caller's bytes.
    pub(super) fn write(&mut self, bytes: &'b [u8], offset: u64, tag: Tag) -> Result<(), Errno> {
        self.start(true, (bytes.as_ptr().cast_mut(), bytes.len()), offset, tag, Held::None)
    }

    /// Starts reading into the caller's buffer.
    pub(super) fn read(&mut self, into: &'b mut [u8], offset: u64, tag: Tag) -> Result<(), Errno> {
        let lent = Lent::take(into);
        self.start(false, (lent.0, lent.1), offset, tag, Held::Lent(lent))
    }

    /// Starts writing a whole bounce buffer.
    pub(super) fn write_bounce(
        &mut self,
        mut bounce: Block,
        offset: u64,
        tag: Tag,
    ) -> Result<(), Errno> {
        let padded = bounce.padded_mut();
        let memory = (padded.as_mut_ptr(), padded.len());
        self.start(true, memory, offset, tag, Held::Bounce(bounce, None))
    }

    /// Starts reading into a whole bounce buffer; `into` is kept for what is read.
    pub(super) fn read_bounce(
        &mut self,
        mut bounce: Block,
        into: Option<&'b mut [u8]>,
        offset: u64,
        tag: Tag,
    ) -> Result<(), Errno> {
        let padded = bounce.padded_mut();
        let memory = (padded.as_mut_ptr(), padded.len());
        let held = Held::Bounce(bounce, into.map(Lent::take));
        self.start(false, memory, offset, tag, held)
    }

    fn start(
        &mut self,
        write: bool,
        (address, len): (*mut u8, usize),
        offset: u64,
        tag: Tag,
        held: Held,
    ) -> Result<(), Errno> {
        let token = self.table.free.pop().ok_or(Errno::AGAIN)?;
        let request = Request { write, offset, address, len, token };
        #[expect(unsafe_code, reason = "memory is lent to the kernel")]
        // SAFETY: the memory is borrowed for 'b, which is longer than this value, or lies in a
        // block that the table keeps; there are not more tokens than the lane has room; `drop`
        // waits for all requests.
        let started = unsafe { self.lane.start(request) };
        match started {
            Ok(()) => {
                self.table.rows[usize::from(token)] = Row { tag, held };
                if write {
                    self.table.fresh.push(tag);
                }
            }
            Err(_) => self.table.free.push(token),
        }
        started
    }

    /// Hands what was started to the device, so that it works while the caller does other things.
    pub(super) fn submit(&mut self) {
        self.lane.submit();
    }

    /// A write started since the last of these was asked for.
    pub(super) fn fresh(&mut self) -> Option<Tag> {
        self.table.fresh.pop()
    }

    /// Waits for the end of some request; nothing when none is in flight.
    pub(super) fn wait(&mut self) -> Option<Landed<'b>> {
        if !self.in_flight() {
            return None;
        }
        let (token, ended) = self.lane.wait();
        Some(self.land(token, ended))
    }

    /// Waits for the end of some request and takes along what else is over by then, since several
    /// requests that follow together cost less. Not more than a quarter of the queue, though: while
    /// they are made ready the device must not run dry. Writes of 64 KiB with 16 in flight reached
    /// 2.2 GB/s with all that was over, 2.6 with one at a time, and 2.7 so (one virtual disk).
    pub(super) fn wait_for_some(&mut self, landed: &mut Vec<Landed<'b>>) {
        landed.extend(self.wait());
        while landed.len() * 4 < self.depth()
            && self.in_flight()
            && let Some((token, ended)) = self.lane.poll()
        {
            landed.push(self.land(token, ended));
        }
    }

    fn land(&mut self, token: u16, ended: Ended) -> Landed<'b> {
        self.table.free.push(token);
        let row = &mut self.table.rows[usize::from(token)];
        #[expect(unsafe_code, reason = "lent buffers come back")]
        // SAFETY: the request is over, its row is taken, and `read` or `read_bounce` of this value
        // filled it: rows are empty between calls.
        let buffer = unsafe {
            match std::mem::take(&mut row.held) {
                Held::None => Buffer::Written,
                Held::Bounce(block, into) => Buffer::Bounce(block, into.map(|l| l.give_back())),
                Held::Lent(lent) => Buffer::Read(lent.give_back()),
            }
        };
        Landed { tag: row.tag, ended, buffer }
    }
}

impl Drop for Flights<'_, '_> {
    fn drop(&mut self) {
        while self.wait().is_some() {}
        self.table.fresh.clear();
    }
}
