//! Runs a batch with a full queue: requests start while there is room in flight, and the next one
//! is submitted before the last one's checksum is computed.

use std::slice::IterMut;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use weir_tier::keyed_cache::{Batch, Reservation};
use xxhash_rust::xxh3::xxh3_64;

use crate::slab::{ALIGNMENT, Block, Slab};
use crate::tier::{Get, Loaded, Put, Stored, TierFault};

use super::engine::{IoContext, bounce_slab};
use super::flight::{Buffer, Flights, Landed, Tag};
use super::slots::Slots;
use super::trouble::Trouble;

enum Step<O> {
    Started,
    Done(O),
    /// Retry after a request in flight has ended.
    Later,
}

#[derive(Clone, Copy)]
pub(super) struct Work<'t> {
    pub(super) slots: &'t Slots,
    pub(super) trouble: &'t Trouble,
    /// `O_DIRECT`: buffers must be aligned.
    pub(super) direct: bool,
}

impl Work<'_> {
    pub(super) fn put(
        self,
        context: &mut IoContext,
        puts: &[Put<'_>],
        deadline: Instant,
        outcomes: &mut [Stored],
    ) {
        let IoContext { lane, table, bounce } = context;
        let batch = self.slots.cache().begin(puts.iter().map(|put| put.key));
        let mut flights = Flights::new(lane, table);
        let mut landed: Vec<Landed<'_>> = Vec::with_capacity(flights.depth());
        let mut next = 0;
        loop {
            while next < puts.len() && flights.has_room() {
                if Instant::now() >= deadline {
                    outcomes[next..].fill(Stored::Failed(TierFault::Timeout));
                    next = puts.len();
                    break;
                }
                let alone = landed.is_empty() && !flights.in_flight();
                match self.start_put(next, &puts[next], batch, &mut flights, bounce, alone) {
                    Step::Started => {}
                    Step::Done(outcome) => outcomes[next] = outcome,
                    Step::Later => break,
                }
                next += 1;
            }
            flights.submit();
            // While the device writes.
            while let Some(tag) = flights.fresh() {
                self.slots.expect(tag.slot, xxh3_64(puts[tag.index].bytes));
            }
            for landed in landed.drain(..) {
                outcomes[landed.tag.index] = self.land_put(&puts[landed.tag.index], &landed);
            }
            flights.wait_for_some(&mut landed);
            if landed.is_empty() && next == puts.len() {
                return;
            }
        }
    }

    fn start_put<'b>(
        self,
        index: usize,
        put: &Put<'b>,
        batch: Batch,
        flights: &mut Flights<'_, 'b>,
        bounce: &mut Option<Arc<Slab>>,
        alone: bool,
    ) -> Step<Stored> {
        let layout = self.slots.layout();
        if put.bytes.len() as u64 != layout.block_bytes {
            return Step::Done(Stored::Failed(TierFault::Refused));
        }
        let buffer = match self.bounce(put.bytes, bounce, flights.depth(), alone) {
            Ok(buffer) => buffer,
            Err(step) => return step.map(Stored::Failed),
        };
        let slot = match self.slots.reserve(put.key, batch) {
            Reservation::Reserved(slot) => slot,
            Reservation::Present | Reservation::Pending => return Step::Done(Stored::Present),
            // The batch's own requests in flight may hold the room.
            Reservation::Full if !alone => return Step::Later,
            Reservation::Full => return Step::Done(Stored::Full),
        };
        if let Err(error) = self.slots.vacate(slot) {
            self.slots.cancel(slot);
            return Step::Done(self.trouble.storing(slot, errno(&error)));
        }
        let (tag, offset) = (Tag { index, slot }, layout.offset(slot));
        let started = match buffer {
            None => flights.write(put.bytes, offset, tag),
            Some(mut block) => {
                block[..put.bytes.len()].copy_from_slice(put.bytes);
                flights.write_bounce(block, offset, tag)
            }
        };
        match started {
            Ok(()) => Step::Started,
            Err(errno) => {
                self.slots.cancel(slot);
                Step::Done(self.trouble.storing(slot, errno))
            }
        }
    }

    fn land_put(self, put: &Put<'_>, landed: &Landed<'_>) -> Stored {
        let slot = landed.tag.slot;
        let wanted = match &landed.buffer {
            Buffer::Bounce(..) => self.slots.layout().stride as usize,
            Buffer::Written | Buffer::Read(_) => put.bytes.len(),
        };
        let written = match landed.ended {
            Ok(len) if len == wanted => self.slots.commit(slot, put.key).map_err(|e| errno(&e)),
            // A short write has reached the end of the space or the file size limit.
            Ok(_) => {
                self.slots.cancel(slot);
                Err(Errno::NOSPC)
            }
            Err(errno) => {
                self.slots.cancel(slot);
                Err(errno)
            }
        };
        match written {
            Ok(()) => Stored::Stored,
            Err(errno) => self.trouble.storing(slot, errno),
        }
    }

    pub(super) fn get<'b>(
        self,
        context: &mut IoContext,
        gets: &'b mut [Get<'_>],
        deadline: Instant,
        outcomes: &mut [Loaded],
    ) {
        let IoContext { lane, table, bounce } = context;
        let mut flights = Flights::new(lane, table);
        let mut landed: Vec<Landed<'b>> = Vec::with_capacity(flights.depth());
        let (mut next, total) = (0, gets.len());
        let mut gets = gets.iter_mut();
        loop {
            while next < total && flights.has_room() {
                if Instant::now() >= deadline {
                    outcomes[next..].fill(Loaded::Failed(TierFault::Timeout));
                    next = total;
                    break;
                }
                let alone = landed.is_empty() && !flights.in_flight();
                match self.start_get(next, &mut gets, &mut flights, bounce, alone) {
                    Step::Started => {}
                    Step::Done(outcome) => outcomes[next] = outcome,
                    Step::Later => break,
                }
                next += 1;
            }
            flights.submit();
            for landed in landed.drain(..) {
                let index = landed.tag.index;
                outcomes[index] = self.land_get(landed);
            }
            flights.wait_for_some(&mut landed);
            if landed.is_empty() && next == total {
                return;
            }
        }
    }

    fn start_get<'b>(
        self,
        index: usize,
        gets: &mut IterMut<'b, Get<'_>>,
        flights: &mut Flights<'_, 'b>,
        bounce: &mut Option<Arc<Slab>>,
        alone: bool,
    ) -> Step<Loaded> {
        let layout = self.slots.layout();
        let Some(get) = gets.as_slice().first() else { return Step::Later };
        let buffer = if get.into.len() as u64 == layout.block_bytes {
            self.bounce(get.into, bounce, flights.depth(), alone)
        } else {
            Err(Step::Done(TierFault::Refused))
        };
        if let Err(Step::Later) = buffer {
            return Step::Later;
        }
        let Some(get) = gets.next() else { return Step::Later };
        let buffer = match buffer {
            Ok(buffer) => buffer,
            Err(step) => return step.map(Loaded::Failed),
        };
        let Some(slot) = self.slots.pin(&get.key) else { return Step::Done(Loaded::Miss) };
        let (tag, offset) = (Tag { index, slot }, layout.offset(slot));
        let started = match buffer {
            None => flights.read(get.into, offset, tag),
            Some(block) => flights.read_bounce(block, Some(get.into), offset, tag),
        };
        match started {
            Ok(()) => Step::Started,
            Err(errno) => {
                self.slots.unpin(slot);
                Step::Done(self.trouble.loading(slot, errno))
            }
        }
    }

    fn land_get(self, landed: Landed<'_>) -> Loaded {
        let (slot, block_bytes) = (landed.tag.slot, self.slots.layout().block_bytes as usize);
        match landed.ended {
            Err(errno) => {
                self.slots.unpin(slot);
                return self.trouble.loading(slot, errno);
            }
            Ok(len) if len < block_bytes => return self.corrupt(slot),
            Ok(_) => {}
        }
        let expected = self.slots.expected(slot);
        let whole = match landed.buffer {
            Buffer::Read(bytes) => xxh3_64(bytes) == expected,
            Buffer::Bounce(block, into) => {
                let bytes = &block[..block_bytes];
                if let Some(into) = into {
                    into.copy_from_slice(bytes);
                }
                xxh3_64(bytes) == expected
            }
            Buffer::Written => false,
        };
        if whole {
            self.slots.unpin(slot);
            Loaded::Hit
        } else {
            self.corrupt(slot)
        }
    }

    fn corrupt(self, slot: u32) -> Loaded {
        self.trouble.corrupt(slot);
        if let Err(error) = self.slots.discard(slot) {
            self.trouble.loading(slot, errno(&error));
        }
        Loaded::Corrupt
    }

    fn bounce(
        self,
        bytes: &[u8],
        slab: &mut Option<Arc<Slab>>,
        depth: usize,
        alone: bool,
    ) -> Result<Option<Block>, Step<TierFault>> {
        let aligned = |number: usize| number.is_multiple_of(ALIGNMENT);
        if !self.direct || (aligned(bytes.as_ptr().addr()) && aligned(bytes.len())) {
            return Ok(None);
        }
        if slab.is_none() {
            *slab = bounce_slab(depth, self.slots.layout().stride as usize);
        }
        match slab.as_ref().map(Slab::take) {
            Some(Some(block)) => Ok(Some(block)),
            // Bounce buffers are freed as requests end.
            Some(None) if !alone => Err(Step::Later),
            _ => {
                self.trouble.no_memory();
                Err(Step::Done(TierFault::Io))
            }
        }
    }
}

impl<O> Step<O> {
    fn map<P>(self, done: impl FnOnce(O) -> P) -> Step<P> {
        match self {
            Self::Started => Step::Started,
            Self::Done(outcome) => Step::Done(done(outcome)),
            Self::Later => Step::Later,
        }
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
