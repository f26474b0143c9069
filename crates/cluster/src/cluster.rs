//! N replicas behind a router, with a shared remote store.
//!
//! The cluster owns all model time; engines, router and tiers have no clock.

use weir_engine::timing::{Timing, TimingError};
use weir_engine::{Slot, TransferId, TransferOutcome};
use weir_model::{Bytes, KvEvent, Nanos, Prompt, Request};
use weir_router::{PolicyConfig, Router, RouterStats};
use weir_tier::remote::ModelledStore;

use crate::config::ClusterConfig;
use crate::event_queue::EventQueue;
use crate::io::IoRequest;
use crate::observer::Observer;
use crate::replica::{Event, Replica, SharedParts};
use crate::scrapes::Scrapes;
use crate::view::{InFlight, Placement};

pub struct Cluster {
    config: ClusterConfig,
    queue: EventQueue<Event>,
    replicas: Vec<Replica>,
    store: Option<ModelledStore>,
    router: Router,
    scrapes: Scrapes,
    spare: Vec<Vec<KvEvent>>,
}

impl Cluster {
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
            Some(ModelledStore::new(store, chunk, bytes, replicas))
        });
        Ok(Self {
            queue: EventQueue::new(),
            replicas: (0..replicas)
                .map(|number| Replica::new(number, &config, timing.clone(), event_delay))
                .collect(),
            store,
            router: Router::new(&config.router, replicas),
            scrapes: Scrapes::new(&config.router.policy, replicas),
            spare: Vec::new(),
            config,
        })
    }

    /// Transfers and lookups become [`IoRequest`]s for the caller, instead of the model of links
    /// and store. Must be called before the first request.
    pub fn use_external_io(&mut self) {
        self.store = None;
        for replica in &mut self.replicas {
            replica.use_external_io();
        }
    }

    /// Must be called after each call that can make new requests.
    pub fn take_io_requests(&mut self, into: &mut Vec<IoRequest>) {
        for replica in &mut self.replicas {
            into.append(&mut replica.io_requests);
        }
    }

    pub fn transfer_done(
        &mut self,
        now: Nanos,
        replica: u16,
        id: TransferId,
        outcome: TransferOutcome,
    ) {
        self.queue.schedule(now.max(self.queue.now()), Event::TransferEnd(replica, id, outcome));
    }

    /// The store has `found` consecutive chunks from `from_chunk` on.
    pub fn lookup_done(
        &mut self,
        now: Nanos,
        replica: u16,
        slot: Slot,
        from_chunk: u32,
        found: u32,
    ) {
        let at = now.max(self.queue.now());
        self.queue.schedule(at, Event::LookupEnd(replica, slot, from_chunk, found));
    }

    /// `tag` is the caller's id, unique among requests in flight, and part of all its events.
    ///
    /// The caller first steps everything due by `now`. An earlier `now` counts as the last event's
    /// time.
    pub fn submit(
        &mut self,
        now: Nanos,
        tag: u64,
        request: Request,
        observer: &mut impl Observer,
    ) -> Placement {
        let now = self.arrive_at(now);
        let (placement, delay) = self.place(now, &request.prompt);
        observer.placed(now, tag, &placement);
        let replica = &mut self.replicas[usize::from(placement.replica)];
        replica.arrive(now + delay, tag, request, &mut self.queue);
        placement
    }

    /// None: only a call can change anything.
    pub fn next_at(&self) -> Option<Nanos> {
        self.queue.next_at()
    }

    pub fn step(&mut self, observer: &mut impl Observer) -> bool {
        let Some(at) = self.queue.next_at() else { return false };
        self.arrive_at(at);
        let Some(event) = self.queue.next() else { return false };
        let now = self.queue.now();
        let shared = &mut SharedParts {
            queue: &mut self.queue,
            store: self.store.as_mut(),
            spare: &mut self.spare,
        };
        match event {
            Event::Submit(number) => {
                self.replicas[usize::from(number)].submit(now, shared, observer);
            }
            Event::PassEnd(number) => {
                self.replicas[usize::from(number)].end_pass(now, shared, observer);
            }
            Event::TransferEnd(number, id, outcome) => {
                let replica = &mut self.replicas[usize::from(number)];
                replica.transfer_ended(now, id, outcome, shared, observer);
            }
            Event::LookupEnd(number, slot, from, found) => {
                let replica = &mut self.replicas[usize::from(number)];
                replica.engine.lookup_done(slot, from, found);
                replica.try_begin_pass(now, shared, observer);
            }
            Event::KvEvents(number, mut events) => {
                for event in &events {
                    self.router.apply(now, number, event);
                }
                events.clear();
                self.spare.push(events);
            }
            Event::Wake(number) => {
                let replica = &mut self.replicas[usize::from(number)];
                replica.collect_events(now, shared, observer);
                replica.try_begin_pass(now, shared, observer);
            }
        }
        true
    }

    /// Ends all events of the request. Its blocks are free at once, except those that a load writes
    /// to. Unknown tags are ignored: a client may disconnect while its last token is sent.
    pub fn abort(&mut self, now: Nanos, tag: u64) {
        let now = self.arrive_at(now);
        let owner = self.replicas.iter_mut().find_map(|it| it.abort(tag).then_some(it.number));
        if let Some(number) = owner {
            self.queue.schedule(now, Event::Wake(number));
        }
    }

    /// As vLLM's `reset_prefix_cache`; `external` includes the tiers and the modelled store. A
    /// caller that does the I/O empties the real tiers itself. False, without changes, while
    /// requests hold blocks of any replica, or with `external` while any request or transfer is in
    /// flight.
    pub fn reset_prefix_cache(&mut self, now: Nanos, external: bool) -> bool {
        if self.replicas.iter().any(|replica| replica.engine.pool().used_blocks() > 0) {
            return false;
        }
        if external && !self.tiers_idle() {
            return false;
        }
        let now = self.arrive_at(now);
        for replica in &mut self.replicas {
            replica.engine.reset().expect("no request holds a block");
            if external {
                replica.engine.reset_tiers();
            }
            self.queue.schedule(now, Event::Wake(replica.number));
        }
        if let (true, Some(store)) = (external, &mut self.store) {
            store.clear();
        }
        true
    }

    fn tiers_idle(&self) -> bool {
        let idle = |replica: &Replica| replica.in_flight == 0 && replica.engine.tiers_idle();
        self.replicas.iter().all(idle)
    }

    pub const fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// In order of their numbers.
    pub fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter()
    }

    pub const fn store(&self) -> Option<&ModelledStore> {
        self.store.as_ref()
    }

    pub fn router_stats(&mut self) -> RouterStats {
        self.router.stats()
    }

    pub fn in_flight(&self) -> impl Iterator<Item = InFlight> {
        self.replicas.iter().flat_map(Replica::requests)
    }

    /// No pass runs and none can begin. Requests in flight then wait for a lookup or a transfer.
    pub fn is_idle(&self) -> bool {
        self.replicas.iter().all(Replica::is_idle)
    }

    /// Before anything changes at `now`, or at the last event's time if that is later, which is
    /// returned: what the router reads until then, it reads in the present state.
    fn arrive_at(&mut self, now: Nanos) -> Nanos {
        let now = now.max(self.queue.now());
        self.scrapes.take_due(now, &self.replicas);
        now
    }

    /// Also returns the time that the decision takes.
    fn place(&mut self, now: Nanos, prompt: &Prompt) -> (Placement, Nanos) {
        if self.replicas.len() == 1 {
            return (Placement::default(), Nanos::ZERO);
        }
        let loads = self.scrapes.loads(&self.replicas);
        let decision = self.router.place(now, prompt, loads);
        let mut placement = Placement { replica: decision.replica, ..Placement::default() };
        let mut sum = 0u64;
        for replica in &self.replicas {
            let held = replica.engine.announced_tokens(prompt);
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
