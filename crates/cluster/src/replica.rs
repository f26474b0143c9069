//! One engine with its front end, its links and its transfers under way.

use std::collections::VecDeque;

use weir_engine::timing::{Timing, TimingModel};
use weir_engine::{
    Effects, Engine, Eviction, Slot, Transfer, TransferId, TransferKind, TransferOutcome,
};
use weir_model::{KvEvent, Nanos, Request, StepRow, TierKind, Tokens};
use weir_tier::link::{Direction, Link};
use weir_tier::remote::RemoteStore;

use crate::clock::Clock;
use crate::config::ClusterConfig;
use crate::errand::Errand;
use crate::observer::Observer;
use crate::view::{InFlight, LinkTotals};

/// What happens to a replica, named by its number.
pub(crate) enum Event {
    /// The oldest request in the front end is past it.
    Submit(u16),
    PassEnd(u16),
    TransferEnd(u16, TransferId, TransferOutcome),
    /// A remote lookup is answered: from which chunk on it asked, and how many were found.
    LookupEnd(u16, Slot, u32, u32),
    /// KV events reach the router.
    KvEvents(u16, Vec<KvEvent>),
    /// The engine was changed from outside, and may have something to run.
    Wake(u16),
}

/// What a replica shares with the others.
pub(crate) struct Surroundings<'a> {
    pub(crate) clock: &'a mut Clock<Event>,
    pub(crate) store: Option<&'a mut RemoteStore>,
}

/// A request in the front end.
struct Arriving {
    tag: u64,
    request: Request,
}

pub(crate) struct Replica {
    pub(crate) engine: Engine,
    timing: Timing,
    pub(crate) number: u16,
    links: Vec<(TierKind, Link)>,
    pub(crate) totals: Vec<LinkTotals>,
    /// Transfers under way, by id, and when each was asked for.
    transfers: Vec<Option<(Transfer, Nanos)>>,
    /// Transfers that the next pass waits for and that have not arrived.
    awaited: u32,
    /// Those that have, and that the engine hears of at the pass's end.
    arrived: Vec<(TransferId, TransferOutcome)>,
    /// The duration of a pass that was planned and waits for its loads.
    waiting_pass: Option<Nanos>,
    /// Bytes are moved by the caller.
    carried: bool,
    /// What the caller is to do.
    pub(crate) errands: Vec<Errand>,
    gone: Vec<(TierKind, Eviction)>,
    /// Time by which copies issued since the last pass lengthen the next one.
    issue_debt: Nanos,
    /// Requests that the front end deals with, first in, first out. An aborted one leaves a hole.
    front_end: VecDeque<Option<Arriving>>,
    /// When the front end has dealt with the requests it has.
    front_end_free: Nanos,
    in_pass: bool,
    last_end: Nanos,
    effects: Effects,
    /// The callers' names of the requests in the engine, by slot.
    tags: Vec<Option<u64>>,
    /// Requests sent here and not ended, those before the front end included.
    pub(crate) in_flight: u32,
    new_transfers: Vec<Transfer>,
    new_lookups: Vec<weir_engine::Lookup>,
    /// How late the router learns of KV events, where it wants them.
    event_delay: Option<Nanos>,
    /// Whether observers are told of KV events.
    shows_events: bool,
}

impl Replica {
    pub(crate) fn new(
        number: u16,
        config: &ClusterConfig,
        timing: Timing,
        event_delay: Option<Nanos>,
    ) -> Self {
        let offload = config.offload.as_ref();
        let links = offload.map_or_else(Vec::new, |offload| {
            offload.tiers.iter().map(|tier| (tier.kind, Link::new(tier.link.clone()))).collect()
        });
        let keeps_events = event_delay.is_some() || config.kv_events;
        Self {
            engine: Engine::new(config.engine.clone(), offload.cloned(), keeps_events),
            timing,
            number,
            links,
            totals: Vec::new(),
            transfers: Vec::new(),
            awaited: 0,
            arrived: Vec::new(),
            waiting_pass: None,
            carried: false,
            errands: Vec::new(),
            gone: Vec::new(),
            issue_debt: Nanos::ZERO,
            front_end: VecDeque::new(),
            front_end_free: Nanos::ZERO,
            in_pass: false,
            last_end: Nanos::ZERO,
            effects: Effects::default(),
            tags: Vec::new(),
            in_flight: 0,
            new_transfers: Vec::new(),
            new_lookups: Vec::new(),
            event_delay,
            shows_events: config.kv_events,
        }
    }

    /// A request arrives at the front end, which takes one at a time.
    pub(crate) fn arrive(
        &mut self,
        now: Nanos,
        tag: u64,
        request: Request,
        clock: &mut Clock<Event>,
    ) {
        self.in_flight += 1;
        self.front_end_free = self.front_end_free.max(now) + self.timing.front_end();
        self.front_end.push_back(Some(Arriving { tag, request }));
        clock.plan(self.front_end_free, Event::Submit(self.number));
    }

    /// The oldest request in the front end goes to the engine.
    pub(crate) fn submit(
        &mut self,
        now: Nanos,
        around: &mut Surroundings<'_>,
        observer: &mut impl Observer,
    ) {
        let arriving = self.front_end.front().expect("each arrival is submitted once");
        let submitted = arriving.as_ref().map(|it| (it.tag, self.engine.submit(&it.request)));
        self.front_end.pop_front();
        match submitted {
            Some((tag, Ok(slot))) => {
                let index = slot.0 as usize;
                if self.tags.len() <= index {
                    self.tags.resize(index + 1, None);
                }
                self.tags[index] = Some(tag);
                self.kick(now, around, observer);
            }
            Some((tag, Err(refusal))) => {
                self.in_flight -= 1;
                observer.refused(now, tag, &refusal);
            }
            None => {}
        }
    }

    /// Begins a pass if the engine is free and has something to run.
    pub(crate) fn kick<O: Observer>(
        &mut self,
        now: Nanos,
        around: &mut Surroundings<'_>,
        observer: &mut O,
    ) {
        if self.in_pass {
            return;
        }
        self.engine.advance(now);
        let duration = self.engine.begin().map(|shape| self.timing.pass(shape));
        if let Some(duration) = duration {
            for slot in self.engine.started_slots() {
                observer.scheduled(now, self.tag(slot), self.engine.cached_tokens(slot));
            }
            let start = self.start_transfers(now, around);
            self.in_pass = true;
            let duration = duration + std::mem::take(&mut self.issue_debt);
            if self.awaited > 0 {
                self.waiting_pass = Some(duration);
            } else {
                around.clock.plan(start + duration, Event::PassEnd(self.number));
            }
        } else {
            self.start_transfers(now, around);
        }
        self.collect_events(now, around.clock, observer);
    }

    /// Ends the pass under way, and tells what it brought.
    pub(crate) fn end_pass<O: Observer>(
        &mut self,
        now: Nanos,
        around: &mut Surroundings<'_>,
        observer: &mut O,
    ) {
        let (running, waiting) = (self.engine.running(), self.engine.waiting());
        self.in_pass = false;
        for (id, outcome) in std::mem::take(&mut self.arrived) {
            self.end_transfer(now, id, outcome, around.store.as_deref_mut(), observer);
        }
        let mut effects = std::mem::take(&mut self.effects);
        self.engine.advance(now);
        self.engine.complete(&mut effects);
        self.start_transfers(now, around);
        for slot in &effects.first_tokens {
            observer.first_token(now, self.tag(*slot), self.engine.cached_tokens(*slot));
        }
        if O::TOKENS {
            for slot in self.engine.token_slots() {
                observer.token(now, self.tag(slot));
            }
        }
        observer.pass(&StepRow {
            replica: self.number,
            step: effects.pass,
            end: now,
            gap: now - std::mem::replace(&mut self.last_end, now),
            decoding: effects.decoding,
            tokens: effects.tokens,
            running,
            waiting,
            used_blocks: self.engine.pool().used_blocks(),
        });
        for finished in &effects.finished {
            let tag = self.tags[finished.slot.0 as usize].take();
            self.in_flight -= 1;
            observer.finished(now, tag.expect("a request in flight ends once"), finished);
        }
        self.effects = effects;
        self.kick(now, around, observer);
    }

    /// A transfer has arrived: the engine hears of it, at once or with the pass that waits for it.
    pub(crate) fn arrive_transfer(
        &mut self,
        now: Nanos,
        id: TransferId,
        outcome: TransferOutcome,
        around: &mut Surroundings<'_>,
        observer: &mut impl Observer,
    ) {
        let under_way = self.transfers[id.0 as usize].as_ref();
        if !under_way.is_some_and(|(transfer, _)| transfer.holds_pass) {
            self.end_transfer(now, id, outcome, around.store.as_deref_mut(), observer);
            self.kick(now, around, observer);
            return;
        }
        self.arrived.push((id, outcome));
        self.awaited -= 1;
        if self.awaited == 0
            && let Some(duration) = self.waiting_pass.take()
        {
            around.clock.plan(now + duration, Event::PassEnd(self.number));
        }
    }

    fn end_transfer(
        &mut self,
        now: Nanos,
        id: TransferId,
        outcome: TransferOutcome,
        store: Option<&mut RemoteStore>,
        observer: &mut impl Observer,
    ) {
        let (transfer, asked) =
            self.transfers[id.0 as usize].take().expect("a transfer ends once, after it began");
        if let (TransferKind::Store, TierKind::Remote, Some(store)) =
            (transfer.kind, transfer.tier, store)
        {
            store.stored(transfer.tokens.pieces(), transfer.from_chunk, transfer.to_chunk);
        }
        self.engine.advance(now);
        self.engine.transfer_done(id, outcome);
        if outcome == TransferOutcome::Ok {
            self.count(&transfer, now - asked);
            observer.transferred(now, self.number, &transfer, now - asked);
        }
    }

    /// Gives a request up. False when it is not here.
    pub(crate) fn abort(&mut self, tag: u64) -> bool {
        let in_front = |place: &Option<Arriving>| place.as_ref().is_some_and(|it| it.tag == tag);
        if let Some(place) = self.front_end.iter_mut().find(|place| in_front(place)) {
            *place = None;
        } else if let Some(slot) = self.tags.iter().position(|it| *it == Some(tag)) {
            self.tags[slot] = None;
            self.engine.abort(Slot(slot as u32));
        } else {
            return false;
        }
        self.in_flight -= 1;
        true
    }

    /// Tells of what changed in the cache since the last call.
    pub(crate) fn collect_events(
        &mut self,
        now: Nanos,
        clock: &mut Clock<Event>,
        observer: &mut impl Observer,
    ) {
        if self.event_delay.is_none() && !self.shows_events {
            return;
        }
        let mut events = Vec::new();
        self.engine.take_events(&mut events);
        if self.shows_events {
            for event in &events {
                observer.kv_event(now, self.number, event);
            }
        }
        if let (Some(delay), false) = (self.event_delay, events.is_empty()) {
            clock.plan(now + delay, Event::KvEvents(self.number, events));
        }
    }

    /// From now on the caller moves the bytes.
    pub(crate) fn carry(&mut self) {
        self.carried = true;
        self.engine.carry();
    }

    /// Starts what the engine handed out; returns when a pass that waits for it can start, as far
    /// as that is known now.
    fn start_transfers(&mut self, now: Nanos, around: &mut Surroundings<'_>) -> Nanos {
        self.engine.take_transfers(&mut self.new_transfers);
        self.engine.take_lookups(&mut self.new_lookups);
        if self.carried {
            self.send_out(now);
            return now;
        }
        let mut start = now;
        for transfer in std::mem::take(&mut self.new_transfers) {
            let done = self.transfer_time(now, &transfer, around.store.as_deref_mut());
            let (id, ok) = (transfer.id, TransferOutcome::Ok);
            if transfer.holds_pass {
                start = start.max(done);
                self.arrived.push((id, ok));
            } else {
                around.clock.plan(done, Event::TransferEnd(self.number, id, ok));
            }
            self.remember(now, transfer);
        }
        for lookup in std::mem::take(&mut self.new_lookups) {
            let store = around.store.as_deref_mut().expect("only a remote store is looked up");
            let (pieces, from) = (lookup.tokens.pieces(), lookup.from_chunk);
            let (found, at) = store.lookup(now, pieces, from, lookup.to_chunk);
            around.clock.plan(at, Event::LookupEnd(self.number, lookup.slot, from, found));
        }
        start
    }

    /// Makes errands of what the engine handed out.
    fn send_out(&mut self, now: Nanos) {
        let replica = self.number;
        self.engine.take_evictions(&mut self.gone);
        let gone = self.gone.drain(..);
        self.errands.extend(gone.map(|(tier, gone)| Errand::Drop { replica, tier, gone }));
        for transfer in std::mem::take(&mut self.new_transfers) {
            self.awaited += u32::from(transfer.holds_pass);
            self.errands.push(Errand::Transfer { replica, transfer: transfer.clone() });
            self.remember(now, transfer);
        }
        let lookups = self.new_lookups.drain(..);
        self.errands.extend(lookups.map(|lookup| Errand::Lookup { replica, lookup }));
    }

    /// Keeps a transfer under way, with the time at which it was asked for.
    fn remember(&mut self, now: Nanos, transfer: Transfer) {
        self.issue_debt += transfer.issue_cost;
        let index = transfer.id.0 as usize;
        if self.transfers.len() <= index {
            self.transfers.resize(index + 1, None);
        }
        self.transfers[index] = Some((transfer, now));
    }

    fn transfer_time(
        &mut self,
        now: Nanos,
        transfer: &Transfer,
        store: Option<&mut RemoteStore>,
    ) -> Nanos {
        let direction = match transfer.kind {
            TransferKind::Store => Direction::Write,
            TransferKind::Load => Direction::Read,
        };
        let local = self.links.iter_mut().find(|(kind, _)| *kind == transfer.tier);
        if let Some((_, link)) = local {
            return link.transfer(now, direction, transfer.copies, transfer.bytes);
        }
        let store = store.expect("a transfer goes to a local tier or to the store");
        let chunks = transfer.to_chunk - transfer.from_chunk;
        let present = match transfer.kind {
            TransferKind::Store => {
                store.present(transfer.tokens.pieces(), transfer.from_chunk, transfer.to_chunk)
            }
            TransferKind::Load => 0,
        };
        if present == chunks {
            return now;
        }
        store.transfer(now, self.number, direction, chunks - present)
    }

    fn count(&mut self, transfer: &Transfer, took: Nanos) {
        let (tier, kind) = (transfer.tier, transfer.kind);
        let known = self.totals.iter().position(|it| it.tier == tier && it.kind == kind);
        let index = known.unwrap_or_else(|| {
            let (bytes, time) = (weir_model::Bytes::ZERO, Nanos::ZERO);
            self.totals.push(LinkTotals { tier, kind, transfers: 0, bytes, time });
            self.totals.len() - 1
        });
        let totals = &mut self.totals[index];
        totals.transfers += 1;
        totals.bytes += transfer.bytes;
        totals.time += took;
    }

    fn tag(&self, slot: Slot) -> u64 {
        self.tags[slot.0 as usize].expect("who runs was submitted and has not ended")
    }

    /// Share of the pool's blocks that requests hold.
    pub(crate) fn kv_usage(&self) -> f64 {
        let pool = self.engine.pool();
        f64::from(pool.used_blocks()) / f64::from(pool.total_blocks())
    }

    /// Requests that have not ended: those in the engine, then those in the front end.
    pub(crate) fn requests(&self) -> impl Iterator<Item = InFlight> {
        let replica = self.number;
        let inside = self.tags.iter().enumerate().filter_map(move |(slot, tag)| {
            let (tag, slot) = ((*tag)?, Slot(slot as u32));
            let generated = self.engine.generated_tokens(slot);
            let cached = self.engine.cached_tokens(slot);
            Some(InFlight { tag, replica, generated, cached })
        });
        let outside = self.front_end.iter().flatten().map(move |arriving| InFlight {
            tag: arriving.tag,
            replica,
            generated: 0,
            cached: [Tokens::ZERO; 4],
        });
        inside.chain(outside)
    }

    /// Whether the replica is a free engine with nothing to run and nothing under way.
    pub(crate) fn is_idle(&self) -> bool {
        !self.in_pass && self.engine.is_quiescent()
    }
}
