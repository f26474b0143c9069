//! The cluster: N replicas behind a router, and the remote store that they share.
//!
//! Loop: take the next event; let the replica it belongs to react; plan what that leads to. The
//! cluster owns all model time; engines, router and tiers only answer.

use weir_engine::timing::{Timing, TimingError};
use weir_engine::{Slot, TransferId, TransferOutcome};
use weir_model::{Bytes, Nanos, Prompt, Request};
use weir_router::{PolicyConfig, Router, RouterStats};
use weir_tier::remote::RemoteStore;

use crate::clock::Clock;
use crate::config::ClusterConfig;
use crate::errand::Errand;
use crate::observer::Observer;
use crate::replica::{Event, Replica, Surroundings};
use crate::view::{InFlight, ReplicaView};

/// Where a request went, and what it would have found elsewhere. With one replica there is no
/// choice, and the hits are zero.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Placement {
    pub replica: u16,
    /// Prompt tokens that the chosen replica's GPU held at the decision.
    pub routed_hit: u32,
    /// The same, averaged over all replicas: a uniform choice.
    pub uniform_hit: f32,
    /// The same, of the best replica.
    pub best_hit: u32,
}

/// Engines behind a router. See the module's header.
pub struct Cluster {
    config: ClusterConfig,
    clock: Clock<Event>,
    replicas: Vec<Replica>,
    store: Option<RemoteStore>,
    router: Router,
    loads: Vec<weir_router::Load>,
}

impl Cluster {
    /// An idle cluster at time zero.
    pub fn new(config: ClusterConfig) -> Result<Self, TimingError> {
        let replicas = config.replicas.max(1);
        let event_delay = match &config.router.policy {
            PolicyConfig::PrecisePrefix { index, .. } if replicas > 1 => Some(index.event_delay),
            _ => None,
        };
        let timing = Timing::new(&config.timing)?;
        let store = config.offload.as_ref().and_then(|offload| {
            let store = offload.store.clone()?;
            let chunk = offload.chunk_tokens;
            let bytes = Bytes(offload.chunk_bytes.kept);
            Some(RemoteStore::new(store, chunk, bytes, replicas))
        });
        Ok(Self {
            clock: Clock::new(),
            replicas: (0..replicas)
                .map(|number| Replica::new(number, &config, timing.clone(), event_delay))
                .collect(),
            store,
            router: Router::new(&config.router, replicas),
            loads: Vec::new(),
            config,
        })
    }

    /// Leaves transfers and lookups to the caller, who moves real bytes: from now on they are
    /// [`Errand`]s, and links and store have no model. To be called before anything is submitted.
    pub fn carry(&mut self) {
        self.store = None;
        for replica in &mut self.replicas {
            replica.carry();
        }
    }

    /// Adds what the caller is to do. To be asked after each call that lets something happen.
    pub fn take_errands(&mut self, into: &mut Vec<Errand>) {
        for replica in &mut self.replicas {
            into.append(&mut replica.errands);
        }
    }

    /// A transfer that was an errand has ended at `now`. What follows is an event at that time.
    pub fn transfer_done(
        &mut self,
        now: Nanos,
        replica: u16,
        id: TransferId,
        outcome: TransferOutcome,
    ) {
        self.clock.plan(now.max(self.clock.now()), Event::TransferEnd(replica, id, outcome));
    }

    /// A lookup that was an errand is answered at `now`: `found` consecutive chunks from
    /// `from_chunk` on.
    pub fn lookup_done(
        &mut self,
        now: Nanos,
        replica: u16,
        slot: Slot,
        from_chunk: u32,
        found: u32,
    ) {
        let at = now.max(self.clock.now());
        self.clock.plan(at, Event::LookupEnd(replica, slot, from_chunk, found));
    }

    /// Routes a request that arrives at `now`. `tag` is the caller's name for it, unique among the
    /// requests in flight, and comes back with everything about it.
    ///
    /// The caller steps everything due at or before `now` first. A `now` before the event that was
    /// handled last counts as that event's time: nothing can arrive in the past.
    pub fn submit(
        &mut self,
        now: Nanos,
        tag: u64,
        request: Request,
        observer: &mut impl Observer,
    ) -> Placement {
        let now = now.max(self.clock.now());
        let (placement, delay) = self.place(now, &request.prompt);
        observer.placed(now, tag, &placement);
        let replica = &mut self.replicas[usize::from(placement.replica)];
        replica.arrive(now + delay, tag, request, &mut self.clock);
        placement
    }

    /// When the next event is due. Nothing: only the caller can make something happen.
    pub fn next_at(&self) -> Option<Nanos> {
        self.clock.next_at()
    }

    /// Handles the one next event, at its own planned time. False when there is none.
    pub fn step(&mut self, observer: &mut impl Observer) -> bool {
        let Some(event) = self.clock.next() else { return false };
        let now = self.clock.now();
        let around = &mut Surroundings { clock: &mut self.clock, store: self.store.as_mut() };
        match event {
            Event::Submit(number) => {
                self.replicas[usize::from(number)].submit(now, around, observer);
            }
            Event::PassEnd(number) => {
                self.replicas[usize::from(number)].end_pass(now, around, observer);
            }
            Event::TransferEnd(number, id, outcome) => {
                let replica = &mut self.replicas[usize::from(number)];
                replica.arrive_transfer(now, id, outcome, around, observer);
            }
            Event::LookupEnd(number, slot, from, found) => {
                let replica = &mut self.replicas[usize::from(number)];
                replica.engine.lookup_done(slot, from, found);
                replica.kick(now, around, observer);
            }
            Event::KvEvents(number, events) => {
                for event in &events {
                    self.router.apply(now, number, event);
                }
            }
            Event::Wake(number) => {
                let replica = &mut self.replicas[usize::from(number)];
                replica.collect_events(now, around.clock, observer);
                replica.kick(now, around, observer);
            }
        }
        true
    }

    /// Gives a request up, wherever it stands: nothing more is told of it. Its blocks are free at
    /// once, except those that a load still writes to. A tag that is not in flight is ignored, so
    /// that a client may vanish while its last token is on the way.
    pub fn abort(&mut self, now: Nanos, tag: u64) {
        let here = self.replicas.iter_mut().find_map(|it| it.abort(tag).then_some(it.number));
        if let Some(number) = here {
            self.clock.plan(now.max(self.clock.now()), Event::Wake(number));
        }
    }

    /// Empties the GPUs' caches, as vLLM's `reset_prefix_cache` does; with `external` also the
    /// tiers and the modelled store, which otherwise keep what they have. A caller who moves real
    /// bytes empties the real tiers itself. False, and nothing is changed, while requests hold
    /// blocks of any replica; with `external` while any request or transfer is under way.
    pub fn reset_prefix_cache(&mut self, now: Nanos, external: bool) -> bool {
        if self.replicas.iter().any(|replica| replica.engine.pool().used_blocks() > 0) {
            return false;
        }
        if external && !self.tiers_rest() {
            return false;
        }
        let now = now.max(self.clock.now());
        for replica in &mut self.replicas {
            replica.engine.reset().expect("no block of it is held");
            if external {
                replica.engine.reset_tiers();
            }
            self.clock.plan(now, Event::Wake(replica.number));
        }
        if let (true, Some(store)) = (external, &mut self.store) {
            store.clear();
        }
        true
    }

    /// True when no request may still ask the tiers for chunks that they had, and nothing moves.
    fn tiers_rest(&self) -> bool {
        let rests = |replica: &Replica| replica.in_flight == 0 && replica.engine.tiers_rest();
        self.replicas.iter().all(rests)
    }

    pub const fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// The replicas, in order of their numbers.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaView<'_>> {
        self.replicas.iter().map(ReplicaView)
    }

    /// The store that the replicas share.
    pub const fn store(&self) -> Option<&RemoteStore> {
        self.store.as_ref()
    }

    pub fn router_stats(&self) -> RouterStats {
        self.router.stats()
    }

    /// Requests submitted that have not ended.
    pub fn in_flight(&self) -> impl Iterator<Item = InFlight> {
        self.replicas.iter().flat_map(Replica::requests)
    }

    /// True when no pass is under way and none can begin. A request that is in flight nevertheless
    /// waits for a lookup or a transfer, which is an event that [`Cluster::next_at`] knows.
    pub fn is_idle(&self) -> bool {
        self.replicas.iter().all(Replica::is_idle)
    }

    /// Chooses a replica, and notes what a uniform and the best choice would have hit. Also the
    /// time that the decision takes.
    fn place(&mut self, now: Nanos, prompt: &Prompt) -> (Placement, Nanos) {
        if self.replicas.len() == 1 {
            return (Placement::default(), Nanos::ZERO);
        }
        self.loads.clear();
        self.loads.extend(self.replicas.iter().map(|replica| {
            let running = replica.engine.running();
            weir_router::Load {
                // A router knows what it has sent, also what has not reached the engine yet.
                waiting: replica.in_flight - running,
                running,
                kv_usage: replica.kv_usage(),
            }
        }));
        let decision = self.router.place(now, prompt, &self.loads);
        let mut placement = Placement { replica: decision.replica, ..Placement::default() };
        let block = self.config.engine.block_size;
        let limit = (prompt.tokens().0.max(1) - 1) / block;
        let mut sum = 0u64;
        for replica in &self.replicas {
            let held = replica.engine.pool().lookup(prompt.pieces(), limit).blocks * block;
            sum += u64::from(held);
            placement.best_hit = placement.best_hit.max(held);
            if replica.number == decision.replica {
                placement.routed_hit = held;
            }
        }
        placement.uniform_hit = sum as f32 / self.replicas.len() as f32;
        (placement, decision.delay)
    }
}
