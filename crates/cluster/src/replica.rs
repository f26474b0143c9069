//! One engine with its front end, its links and its transfers in flight.

use std::collections::VecDeque;

use weir_engine::timing::{Timing, TimingModel};
use weir_engine::{
    Counters, Effects, Engine, Eviction, Slot, Transfer, TransferId, TransferKind, TransferOutcome,
};
use weir_model::{KvEvent, Nanos, Request, StepRow, TierKind, Tokens};
use weir_tier::link::{Direction, Link};
use weir_tier::remote::ModelledStore;

use crate::config::ClusterConfig;
use crate::event_queue::EventQueue;
use crate::io::IoRequest;
use crate::observer::Observer;
use crate::view::{InFlight, LinkTotals};

/// The first field is the replica's number.
pub(crate) enum Event {
    /// The front end's oldest request is ready.
    Submit(u16),
    PassEnd(u16),
    TransferEnd(u16, TransferId, TransferOutcome),
    /// First chunk, and consecutive chunks found.
    LookupEnd(u16, Slot, u32, u32),
    /// KV events reach the router.
    KvEvents(u16, Vec<KvEvent>),
    /// A call changed the engine, which may run now.
    Wake(u16),
}

pub(crate) struct SharedParts<'a> {
    pub(crate) queue: &'a mut EventQueue<Event>,
    pub(crate) store: Option<&'a mut ModelledStore>,
    /// Emptied vectors, to be used again.
    pub(crate) spare: &'a mut Vec<Vec<KvEvent>>,
}

struct Arriving {
    tag: u64,
    request: Request,
}

pub struct Replica {
    pub(crate) engine: Engine,
    timing: Timing,
    pub(crate) number: u16,
    links: Vec<(TierKind, Link)>,
    pub(crate) totals: Vec<LinkTotals>,
    /// By id, with the request's time.
    transfers: Vec<Option<(Transfer, Nanos)>>,
    /// Transfers in flight that delay the next pass.
    pass_transfers: u32,
    /// For the engine at the end of the pass.
    pass_outcomes: Vec<(TransferId, TransferOutcome)>,
    /// Duration of a pass that waits for its loads.
    delayed_pass: Option<Nanos>,
    external_io: bool,
    pub(crate) io_requests: Vec<IoRequest>,
    evictions: Vec<(TierKind, Eviction)>,
    /// Copies since the last pass lengthen the next by this.
    issue_debt: Nanos,
    /// First in, first out. None: aborted.
    front_end: VecDeque<Option<Arriving>>,
    /// When the front end has processed all.
    front_end_free: Nanos,
    in_pass: bool,
    last_end: Nanos,
    effects: Effects,
    /// Caller's tags by slot.
    tags: Vec<Option<u64>>,
    /// Unfinished, the front end's included.
    pub(crate) in_flight: u32,
    new_transfers: Vec<Transfer>,
    new_lookups: Vec<weir_engine::Lookup>,
    /// To the router. None if it does not use them.
    event_delay: Option<Nanos>,
    observes_events: bool,
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
            pass_transfers: 0,
            pass_outcomes: Vec::new(),
            delayed_pass: None,
            external_io: false,
            io_requests: Vec::new(),
            evictions: Vec::new(),
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
            observes_events: config.kv_events,
        }
    }

    /// The front end processes one request at a time.
    pub(crate) fn arrive(
        &mut self,
        now: Nanos,
        tag: u64,
        request: Request,
        queue: &mut EventQueue<Event>,
    ) {
        self.in_flight += 1;
        self.front_end_free = self.front_end_free.max(now) + self.timing.front_end();
        self.front_end.push_back(Some(Arriving { tag, request }));
        queue.schedule(self.front_end_free, Event::Submit(self.number));
    }

    pub(crate) fn submit(
        &mut self,
        now: Nanos,
        shared: &mut SharedParts<'_>,
        observer: &mut impl Observer,
    ) {
        let arriving = self.front_end.front().expect("each request is submitted once");
        let submitted = arriving.as_ref().map(|it| (it.tag, self.engine.submit(&it.request)));
        self.front_end.pop_front();
        match submitted {
            Some((tag, Ok(slot))) => {
                let index = slot.0 as usize;
                if self.tags.len() <= index {
                    self.tags.resize(index + 1, None);
                }
                self.tags[index] = Some(tag);
                self.try_begin_pass(now, shared, observer);
            }
            Some((tag, Err(refusal))) => {
                self.in_flight -= 1;
                observer.refused(now, tag, &refusal);
            }
            None => {}
        }
    }

    /// No effect if one runs or the engine has no work.
    pub(crate) fn try_begin_pass<O: Observer>(
        &mut self,
        now: Nanos,
        shared: &mut SharedParts<'_>,
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
            let start = self.start_transfers(now, shared);
            self.in_pass = true;
            let duration = duration + std::mem::take(&mut self.issue_debt);
            if self.pass_transfers > 0 {
                self.delayed_pass = Some(duration);
            } else {
                shared.queue.schedule(start + duration, Event::PassEnd(self.number));
            }
        } else {
            self.start_transfers(now, shared);
        }
        self.collect_events(now, shared, observer);
    }

    pub(crate) fn end_pass<O: Observer>(
        &mut self,
        now: Nanos,
        shared: &mut SharedParts<'_>,
        observer: &mut O,
    ) {
        let (running, waiting) = (self.engine.running(), self.engine.waiting());
        self.in_pass = false;
        for (id, outcome) in std::mem::take(&mut self.pass_outcomes) {
            self.end_transfer(now, id, outcome, shared.store.as_deref_mut(), observer);
        }
        let mut effects = std::mem::take(&mut self.effects);
        self.engine.advance(now);
        self.engine.complete(&mut effects);
        self.start_transfers(now, shared);
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
        self.try_begin_pass(now, shared, observer);
    }

    /// Reported at once, or with the pass that waits for it.
    pub(crate) fn transfer_ended(
        &mut self,
        now: Nanos,
        id: TransferId,
        outcome: TransferOutcome,
        shared: &mut SharedParts<'_>,
        observer: &mut impl Observer,
    ) {
        let transfer = self.transfers[id.0 as usize].as_ref();
        if !transfer.is_some_and(|(transfer, _)| transfer.holds_pass) {
            self.end_transfer(now, id, outcome, shared.store.as_deref_mut(), observer);
            self.try_begin_pass(now, shared, observer);
            return;
        }
        self.pass_outcomes.push((id, outcome));
        self.pass_transfers -= 1;
        if self.pass_transfers == 0
            && let Some(duration) = self.delayed_pass.take()
        {
            shared.queue.schedule(now + duration, Event::PassEnd(self.number));
        }
    }

    fn end_transfer(
        &mut self,
        now: Nanos,
        id: TransferId,
        outcome: TransferOutcome,
        store: Option<&mut ModelledStore>,
        observer: &mut impl Observer,
    ) {
        let (transfer, requested_at) =
            self.transfers[id.0 as usize].take().expect("a transfer ends once, after it began");
        if let (TransferKind::Store, TierKind::Remote, Some(store)) =
            (transfer.kind, transfer.tier, store)
        {
            store.stored(transfer.tokens.pieces(), transfer.from_chunk, transfer.to_chunk);
        }
        self.engine.advance(now);
        self.engine.transfer_done(id, outcome);
        if outcome == TransferOutcome::Ok {
            self.count(&transfer, now - requested_at);
            observer.transferred(now, self.number, &transfer, now - requested_at);
        }
    }

    /// False if the request is not on this replica.
    pub(crate) fn abort(&mut self, tag: u64) -> bool {
        let matches = |entry: &Option<Arriving>| entry.as_ref().is_some_and(|it| it.tag == tag);
        if let Some(entry) = self.front_end.iter_mut().find(|entry| matches(entry)) {
            *entry = None;
        } else if let Some(slot) = self.tags.iter().position(|it| *it == Some(tag)) {
            self.tags[slot] = None;
            self.engine.abort(Slot(slot as u32));
        } else {
            return false;
        }
        self.in_flight -= 1;
        true
    }

    pub(crate) fn collect_events(
        &mut self,
        now: Nanos,
        shared: &mut SharedParts<'_>,
        observer: &mut impl Observer,
    ) {
        if self.event_delay.is_none() && !self.observes_events {
            return;
        }
        let mut events = shared.spare.pop().unwrap_or_default();
        self.engine.take_events(&mut events);
        if self.observes_events {
            for event in &events {
                observer.kv_event(now, self.number, event);
            }
            if !self.in_pass && events.iter().any(|event| event.tier != TierKind::Gpu) {
                observer.transfers_told(self.number);
            }
        }
        if let (Some(delay), false) = (self.event_delay, events.is_empty()) {
            shared.queue.schedule_delayed(now + delay, Event::KvEvents(self.number, events));
        } else {
            events.clear();
            shared.spare.push(events);
        }
    }

    pub(crate) fn use_external_io(&mut self) {
        self.external_io = true;
        self.engine.use_external_io();
    }

    /// Returns the earliest start of a pass that waits for them, if the model knows it.
    fn start_transfers(&mut self, now: Nanos, shared: &mut SharedParts<'_>) -> Nanos {
        self.engine.take_transfers(&mut self.new_transfers);
        self.engine.take_lookups(&mut self.new_lookups);
        if self.external_io {
            self.make_io_requests(now);
            return now;
        }
        let mut start = now;
        for transfer in std::mem::take(&mut self.new_transfers) {
            let done = self.transfer_time(now, &transfer, shared.store.as_deref_mut());
            let (id, ok) = (transfer.id, TransferOutcome::Ok);
            if transfer.holds_pass {
                start = start.max(done);
                self.pass_outcomes.push((id, ok));
            } else {
                shared.queue.schedule(done, Event::TransferEnd(self.number, id, ok));
            }
            self.track(now, transfer);
        }
        for lookup in std::mem::take(&mut self.new_lookups) {
            let store = shared.store.as_deref_mut().expect("only a remote store is looked up");
            let (pieces, from) = (lookup.tokens.pieces(), lookup.from_chunk);
            let (found, at) = store.lookup(now, pieces, from, lookup.to_chunk);
            shared.queue.schedule(at, Event::LookupEnd(self.number, lookup.slot, from, found));
        }
        start
    }

    fn make_io_requests(&mut self, now: Nanos) {
        let replica = self.number;
        self.engine.take_evictions(&mut self.evictions);
        let evictions = self.evictions.drain(..);
        let drops = evictions.map(|(tier, eviction)| IoRequest::Drop { replica, tier, eviction });
        self.io_requests.extend(drops);
        for transfer in std::mem::take(&mut self.new_transfers) {
            self.pass_transfers += u32::from(transfer.holds_pass);
            self.io_requests.push(IoRequest::Transfer { replica, transfer: transfer.clone() });
            self.track(now, transfer);
        }
        let lookups = self.new_lookups.drain(..);
        self.io_requests.extend(lookups.map(|lookup| IoRequest::Lookup { replica, lookup }));
    }

    fn track(&mut self, now: Nanos, transfer: Transfer) {
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
        store: Option<&mut ModelledStore>,
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
        let existing = self.totals.iter().position(|it| it.tier == tier && it.kind == kind);
        let index = existing.unwrap_or_else(|| {
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
        self.tags[slot.0 as usize].expect("a running request was submitted and has not ended")
    }

    /// From 0.
    pub const fn number(&self) -> u16 {
        self.number
    }

    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Since the start.
    pub const fn counters(&self) -> Counters {
        self.engine.counters()
    }

    pub const fn running(&self) -> u32 {
        self.engine.running()
    }

    /// Ended transfers per tier and direction.
    pub fn links(&self) -> &[LinkTotals] {
        &self.totals
    }

    /// Share of blocks held by requests, 0 to 1.
    pub fn kv_usage(&self) -> f64 {
        let pool = self.engine.pool();
        f64::from(pool.used_blocks()) / f64::from(pool.total_blocks())
    }

    /// Those in the engine, then those in the front end.
    pub(crate) fn requests(&self) -> impl Iterator<Item = InFlight> {
        let replica = self.number;
        let in_engine = self.tags.iter().enumerate().filter_map(move |(slot, tag)| {
            let (tag, slot) = ((*tag)?, Slot(slot as u32));
            let generated = self.engine.generated_tokens(slot);
            let cached = self.engine.cached_tokens(slot);
            Some(InFlight { tag, replica, generated, cached })
        });
        let in_front_end = self.front_end.iter().flatten().map(move |arriving| InFlight {
            tag: arriving.tag,
            replica,
            generated: 0,
            cached: [Tokens::ZERO; 4],
        });
        in_engine.chain(in_front_end)
    }

    pub(crate) fn is_idle(&self) -> bool {
        !self.in_pass && self.engine.is_quiescent()
    }
}
