//! One engine in virtual time: its passes, its links and its transfers under way.

use weir_engine::timing::{Timing, TimingModel};
use weir_engine::{
    Effects, Engine, EngineConfig, Lookup, OffloadConfig, Transfer, TransferId, TransferKind,
};
use weir_model::{KvEvent, Nanos, TierKind};
use weir_tier::link::{Direction, Link};
use weir_tier::remote::RemoteStore;

use crate::flight::Flight;

/// What a call into the engine led to; the world plans it.
pub(crate) enum Planned {
    /// A transfer ends.
    Transfer(Nanos, TransferId),
    /// A lookup is answered.
    Lookup(Nanos, Lookup, u32),
    /// The pass ends.
    Pass(Nanos),
    /// KV events reach the router.
    Events(Nanos, Vec<KvEvent>),
}

/// A replica.
pub(crate) struct Replica {
    pub(crate) engine: Engine,
    timing: Timing,
    number: u16,
    /// Links of the local tiers.
    links: Vec<(TierKind, Link)>,
    /// Transfers under way, by id.
    transfers: Vec<Option<Transfer>>,
    /// Those that the pass under way waits for.
    held: Vec<TransferId>,
    /// Time by which copies issued since the last pass lengthen the next one.
    issue_debt: Nanos,
    /// When the front end has dealt with the requests it has.
    front_end_free: Nanos,
    in_pass: bool,
    last_end: Nanos,
    pub(crate) effects: Effects,
    pub(crate) flights: Vec<Option<Flight>>,
    /// Requests sent here and not ended, those before the front end included.
    pub(crate) in_flight: u32,
    new_transfers: Vec<Transfer>,
    new_lookups: Vec<Lookup>,
    pub(crate) planned: Vec<Planned>,
    event_delay: Option<Nanos>,
}

impl Replica {
    pub(crate) fn new(
        number: u16,
        config: &EngineConfig,
        offload: Option<&OffloadConfig>,
        timing: Timing,
        event_delay: Option<Nanos>,
    ) -> Self {
        let links = offload.map_or_else(Vec::new, |offload| {
            offload.tiers.iter().map(|tier| (tier.kind, Link::new(tier.link.clone()))).collect()
        });
        Self {
            engine: Engine::new(config.clone(), offload.cloned(), event_delay.is_some()),
            timing,
            number,
            links,
            transfers: Vec::new(),
            held: Vec::new(),
            issue_debt: Nanos::ZERO,
            front_end_free: Nanos::ZERO,
            in_pass: false,
            last_end: Nanos::ZERO,
            effects: Effects::default(),
            flights: Vec::new(),
            in_flight: 0,
            new_transfers: Vec::new(),
            new_lookups: Vec::new(),
            planned: Vec::new(),
            event_delay,
        }
    }

    /// When a request that arrives now gets past the front end, which takes one at a time.
    pub(crate) fn through_front_end(&mut self, now: Nanos) -> Nanos {
        self.front_end_free = self.front_end_free.max(now) + self.timing.front_end();
        self.front_end_free
    }

    /// Begins a pass if the engine is free and has something to run.
    pub(crate) fn kick(&mut self, now: Nanos, store: Option<&mut RemoteStore>) {
        if self.in_pass {
            return;
        }
        let duration = self.engine.begin().map(|shape| self.timing.pass(shape));
        let start = self.start_transfers(now, store);
        if let Some(duration) = duration {
            self.in_pass = true;
            let end = start + duration + std::mem::take(&mut self.issue_debt);
            self.planned.push(Planned::Pass(end));
        }
        self.collect_events(now);
    }

    /// Ends the pass under way; `self.effects` says what it brought. Returns the gap since the
    /// last one ended.
    pub(crate) fn end_pass(&mut self, now: Nanos, store: Option<&mut RemoteStore>) -> Nanos {
        self.in_pass = false;
        let mut store = store;
        for id in std::mem::take(&mut self.held) {
            self.end_transfer(id, store.as_deref_mut());
        }
        self.engine.complete(&mut self.effects);
        self.start_transfers(now, store);
        let gap = now - self.last_end;
        self.last_end = now;
        gap
    }

    /// A transfer has arrived.
    pub(crate) fn end_transfer(&mut self, id: TransferId, store: Option<&mut RemoteStore>) {
        let transfer =
            self.transfers[id.0 as usize].take().expect("a transfer ends once, after it began");
        if let (TransferKind::Store, TierKind::Remote, Some(store)) =
            (transfer.kind, transfer.tier, store)
        {
            store.stored(transfer.tokens.pieces(), transfer.from_chunk, transfer.to_chunk);
        }
        self.engine.transfer_done(id, weir_engine::TransferOutcome::Ok);
    }

    /// Starts what the engine handed out; returns when a pass that waits for it can start.
    fn start_transfers(&mut self, now: Nanos, mut store: Option<&mut RemoteStore>) -> Nanos {
        self.engine.take_transfers(&mut self.new_transfers);
        self.engine.take_lookups(&mut self.new_lookups);
        let mut start = now;
        for transfer in std::mem::take(&mut self.new_transfers) {
            let done = self.transfer_time(now, &transfer, store.as_deref_mut());
            self.issue_debt += transfer.issue_cost;
            let id = transfer.id;
            if transfer.holds_pass {
                start = start.max(done);
                self.held.push(id);
            } else {
                self.planned.push(Planned::Transfer(done, id));
            }
            if self.transfers.len() <= id.0 as usize {
                self.transfers.resize(id.0 as usize + 1, None);
            }
            self.transfers[id.0 as usize] = Some(transfer);
        }
        for lookup in std::mem::take(&mut self.new_lookups) {
            let store = store.as_deref_mut().expect("only a remote store is looked up");
            let pieces = lookup.tokens.pieces();
            let (found, at) = store.lookup(now, pieces, lookup.from_chunk, lookup.to_chunk);
            self.planned.push(Planned::Lookup(at, lookup, found));
        }
        start
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

    fn collect_events(&mut self, now: Nanos) {
        let Some(delay) = self.event_delay else { return };
        let mut events = Vec::new();
        self.engine.take_events(&mut events);
        if !events.is_empty() {
            self.planned.push(Planned::Events(now + delay, events));
        }
    }

    /// Whether the replica is a free engine with nothing to run and nothing under way.
    pub(crate) fn is_idle(&self) -> bool {
        !self.in_pass && self.engine.is_quiescent()
    }
}
