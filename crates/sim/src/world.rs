//! The world: N replicas behind a router, a remote store that they share, and the load.
//!
//! Loop: take the next event; let the replica it belongs to react; plan what that leads to. The
//! world owns all virtual time; engines, router and tiers only answer.

use weir_engine::timing::{Timing, TimingError};
use weir_engine::{Lookup, Slot, TransferId};
use weir_model::{Bytes, KvEvent, Nanos, Request, RequestRow, Signals, StepRow, Tokens};
use weir_router::{PolicyConfig, Router};
use weir_tier::remote::RemoteStore;
use weir_workload::{Session, SessionSource};

use crate::clock::Clock;
use crate::config::{Load, WorldConfig};
use crate::flight::Flight;
use crate::replica::{Planned, Replica};
use crate::sessions::{SessionSlot, Sessions};
use crate::tally::Tally;

/// Where rows go.
pub trait Recorder {
    /// Why a row could not be kept.
    type Error;
    /// A request has ended, or the cell has.
    fn request(&mut self, row: &RequestRow) -> Result<(), Self::Error>;
    /// A pass has ended.
    fn step(&mut self, row: &StepRow) -> Result<(), Self::Error>;
}

/// Why a cell could not be simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimError<E> {
    /// The timing model refused its configuration.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// A row could not be kept.
    #[error("recording failed: {0}")]
    Record(E),
    /// An endless workload without an end.
    #[error(
        "the workload has no end and the level has neither a duration nor a request limit; \
         set load.duration or load.max_requests"
    )]
    Endless,
}

/// What the world saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// When the last thing happened, or the duration.
    pub end: Nanos,
    /// The signals of the window.
    pub signals: Signals,
    /// Requests issued.
    pub issued: u64,
    /// Requests in flight at the end.
    pub unfinished: u64,
    /// Passes of all replicas.
    pub passes: u64,
    /// Integral of requests in flight over time, request-nanoseconds.
    pub flow_integral: u128,
    /// Sum of the residence times of all requests, cut off at the end: equal to the integral, or
    /// a request was lost.
    pub residence_sum: u128,
}

enum Event {
    /// The next session of an open loop or trace arrives.
    Arrival,
    /// A turn is due.
    Due(SessionSlot, u32),
    /// A request is past the router and the front end.
    Submit(u16, Box<Flight>),
    /// A pass ends.
    PassEnd(u16),
    /// A transfer ends.
    TransferEnd(u16, TransferId),
    /// A remote lookup is answered.
    LookupEnd(u16, Slot, u32, u32),
    /// KV events reach the router.
    KvEvents(u16, Vec<KvEvent>),
}

/// The world. Make one per cell.
pub struct World<'a, S, R: Recorder> {
    config: WorldConfig,
    source: &'a mut S,
    recorder: &'a mut R,
    clock: Clock<Event>,
    replicas: Vec<Replica>,
    store: Option<RemoteStore>,
    router: Router,
    loads: Vec<weir_router::Load>,
    sessions: Sessions,
    /// A trace's next session, read ahead to know its start.
    ahead: Option<Session>,
    issued: u64,
    /// No further session will arrive by itself.
    arrivals_over: bool,
    in_flight: u64,
    flow_at: Nanos,
    flow_integral: u128,
    residence_sum: u128,
    tally: Tally,
}

impl<'a, S: SessionSource, R: Recorder> World<'a, S, R> {
    /// A world at time zero.
    pub fn new(
        config: WorldConfig,
        source: &'a mut S,
        recorder: &'a mut R,
    ) -> Result<Self, SimError<R::Error>> {
        let router = Router::new(&config.router, config.replicas);
        let event_delay = match &config.router.policy {
            PolicyConfig::PrecisePrefix { index, .. } if config.replicas > 1 => {
                Some(index.event_delay)
            }
            _ => None,
        };
        let timing = Timing::new(&config.timing)?;
        let replicas = (0..config.replicas)
            .map(|number| {
                let offload = config.offload.as_ref();
                Replica::new(number, &config.engine, offload, timing.clone(), event_delay)
            })
            .collect();
        let store = config.offload.as_ref().and_then(|offload| {
            let store = offload.store.clone()?;
            let chunk = offload.chunk_tokens;
            let bytes = Bytes(config.engine.kv_bytes_per_token * u64::from(chunk));
            Some(RemoteStore::new(store, chunk, bytes, config.replicas))
        });
        let tally = Tally::new(&config);
        Ok(Self {
            config,
            source,
            recorder,
            clock: Clock::new(),
            replicas,
            store,
            router,
            loads: Vec::new(),
            sessions: Sessions::default(),
            ahead: None,
            issued: 0,
            arrivals_over: false,
            in_flight: 0,
            flow_at: Nanos::ZERO,
            flow_integral: 0,
            residence_sum: 0,
            tally,
        })
    }

    /// Runs to the end of the cell. `go_on` is told the virtual time and the requests issued now
    /// and then; when it answers false, the run stops and gives nothing.
    pub fn run(
        mut self,
        mut go_on: impl FnMut(Nanos, u64) -> bool,
    ) -> Result<Option<Summary>, SimError<R::Error>> {
        if self.is_endless() {
            return Err(SimError::Endless);
        }
        self.start_load();
        let mut turns = 0u64;
        while let Some(at) = self.clock.next_at() {
            if self.config.duration.is_some_and(|end| at >= end) {
                break;
            }
            if self.is_answered() {
                // Only stores are under way; a cell does not last longer for them.
                break;
            }
            if !self.tally.is_open() && at >= self.config.warmup {
                self.tally.open(&self.replicas, self.store.as_ref(), &self.router.stats());
            }
            let event = self.clock.next().expect("it was there a moment ago");
            self.react(event)?;
            turns += 1;
            if turns.is_multiple_of(16_384) && !go_on(self.clock.now(), self.issued) {
                return Ok(None);
            }
        }
        self.finish().map(Some)
    }

    /// Nothing more will be asked, and everything asked was answered.
    fn is_answered(&self) -> bool {
        self.in_flight == 0
            && self.issued > 0
            && self.sessions.under_way() == 0
            && self.arrivals_over
    }

    /// Only a trace ends by itself.
    fn is_endless(&self) -> bool {
        self.config.duration.is_none()
            && self.config.max_requests.is_none()
            && !self.source.is_finite()
    }

    fn start_load(&mut self) {
        match &self.config.load {
            Load::Users(users) => {
                // From here on a session starts only where another ends.
                self.arrivals_over = true;
                for _ in 0..*users {
                    self.start_session();
                }
            }
            Load::Open(_) | Load::SessionTimes => self.plan_arrival(),
        }
    }

    /// A user, or an arrival, takes the next session.
    fn start_session(&mut self) {
        let session = match self.ahead.take() {
            Some(session) => Some(session),
            None if self.may_issue() => self.source.next_session(),
            None => None,
        };
        let Some(session) = session else { return };
        let now = self.clock.now();
        let clock = &mut self.clock;
        self.sessions.start(session, |slot, turn, think| {
            clock.plan(now + think, Event::Due(slot, turn));
        });
    }

    fn plan_arrival(&mut self) {
        let at = match &mut self.config.load {
            Load::Open(schedule) => schedule.next(),
            Load::SessionTimes => {
                self.ahead = self.source.next_session();
                self.ahead.as_ref().map(|session| session.start.unwrap_or(Nanos::ZERO))
            }
            Load::Users(_) => None,
        };
        match at {
            Some(at) if self.may_issue() => {
                self.clock.plan(at.max(self.clock.now()), Event::Arrival);
            }
            _ => self.arrivals_over = true,
        }
    }

    fn may_issue(&self) -> bool {
        self.config.max_requests.is_none_or(|most| self.issued < most)
    }

    fn react(&mut self, event: Event) -> Result<(), SimError<R::Error>> {
        match event {
            Event::Arrival => {
                let before = self.sessions.under_way();
                self.start_session();
                if self.sessions.under_way() > before || self.ahead.is_some() {
                    self.plan_arrival();
                }
            }
            Event::Due(session, turn) => self.issue(session, turn),
            Event::Submit(replica, flight) => self.submit(replica, *flight)?,
            Event::PassEnd(replica) => self.end_pass(replica)?,
            Event::TransferEnd(number, id) => {
                let replica = &mut self.replicas[usize::from(number)];
                replica.end_transfer(id, self.store.as_mut());
                self.kick(number);
            }
            Event::LookupEnd(number, slot, from, found) => {
                self.replicas[usize::from(number)].engine.lookup_done(slot, from, found);
                self.kick(number);
            }
            Event::KvEvents(replica, events) => {
                let now = self.clock.now();
                for event in &events {
                    self.router.apply(now, replica, event);
                }
            }
        }
        Ok(())
    }

    /// A turn is due: it becomes a request, and is routed.
    fn issue(&mut self, session_slot: SessionSlot, turn: u32) {
        if !self.may_issue() {
            return;
        }
        let now = self.clock.now();
        let session = self.sessions.get(session_slot);
        let asked = &session.turns[turn as usize];
        let request = Request {
            id: self.issued,
            session: session.id,
            turn,
            prompt: asked.prompt.clone(),
            output_tokens: Tokens(asked.output_tokens.0.max(1)),
            output: asked.output,
            seen_tokens: asked.seen_tokens,
        };
        self.issued += 1;
        self.count_flow();
        self.in_flight += 1;
        let mut flight = Flight {
            request,
            session: session_slot,
            due: now,
            first_token: None,
            routed_hit: 0,
            uniform_hit: 0.0,
            best_hit: 0,
        };
        let (number, delay) = self.place(&mut flight);
        let replica = &mut self.replicas[usize::from(number)];
        replica.in_flight += 1;
        let at = replica.through_front_end(now + delay);
        self.clock.plan(at, Event::Submit(number, Box::new(flight)));
    }

    /// Chooses a replica, and notes what a uniform and the best choice would have hit.
    fn place(&mut self, flight: &mut Flight) -> (u16, Nanos) {
        if self.replicas.len() == 1 {
            return (0, Nanos::ZERO);
        }
        self.loads.clear();
        self.loads.extend(self.replicas.iter().map(|replica| {
            let pool = replica.engine.pool();
            let running = replica.engine.running();
            weir_router::Load {
                // A router knows what it has sent, also what has not reached the engine yet.
                waiting: replica.in_flight - running,
                running,
                kv_usage: f64::from(pool.used_blocks()) / f64::from(pool.total_blocks()),
            }
        }));
        let now = self.clock.now();
        let prompt = &flight.request.prompt;
        let decision = self.router.place(now, prompt, &self.loads);
        let block = self.config.engine.block_size;
        let limit = (prompt.tokens().0.max(1) - 1) / block;
        let mut sum = 0u64;
        for (number, replica) in self.replicas.iter().enumerate() {
            let held = replica.engine.pool().lookup(prompt.pieces(), limit).blocks * block;
            sum += u64::from(held);
            flight.best_hit = flight.best_hit.max(held);
            if number == usize::from(decision.replica) {
                flight.routed_hit = held;
            }
        }
        flight.uniform_hit = sum as f32 / self.replicas.len() as f32;
        self.tally.decision(decision.replica, flight);
        (decision.replica, decision.delay)
    }

    fn submit(&mut self, number: u16, flight: Flight) -> Result<(), SimError<R::Error>> {
        let replica = &mut self.replicas[usize::from(number)];
        match replica.engine.submit(&flight.request) {
            Ok(slot) => {
                let index = slot.0 as usize;
                if replica.flights.len() <= index {
                    replica.flights.resize(index + 1, None);
                }
                replica.flights[index] = Some(flight);
                self.kick(number);
            }
            Err(refusal) => {
                let now = self.clock.now();
                let row = flight.refused(number, now, refusal.to_string());
                self.recorder.request(&row).map_err(SimError::Record)?;
                self.end_flight(number, &flight);
            }
        }
        Ok(())
    }

    fn end_pass(&mut self, number: u16) -> Result<(), SimError<R::Error>> {
        let now = self.clock.now();
        let replica = &mut self.replicas[usize::from(number)];
        let (running, waiting) = (replica.engine.running(), replica.engine.waiting());
        let gap = replica.end_pass(now, self.store.as_mut());
        let effects = std::mem::take(&mut replica.effects);
        let step = StepRow {
            replica: number,
            step: effects.pass,
            end: now,
            gap,
            decoding: effects.decoding,
            tokens: effects.tokens,
            running,
            waiting,
            used_blocks: replica.engine.pool().used_blocks(),
        };
        for slot in &effects.first_tokens {
            let cached = replica.engine.cached_tokens(*slot);
            let flight = replica.flights[slot.0 as usize].as_mut();
            let flight = flight.expect("a token belongs to a request in flight");
            flight.first_token = Some(now);
            let block = self.config.engine.block_size;
            self.tally.started(number, &flight.request, cached, block);
        }
        self.recorder.step(&step).map_err(SimError::Record)?;
        for finished in &effects.finished {
            let replica = &mut self.replicas[usize::from(number)];
            let flight = replica.flights[finished.slot.0 as usize].take();
            let flight = flight.expect("a request in flight ends once");
            let row = flight.done(number, now, finished);
            self.tally.ended(number, &flight.request);
            self.recorder.request(&row).map_err(SimError::Record)?;
            self.end_flight(number, &flight);
        }
        self.replicas[usize::from(number)].effects = effects;
        self.kick(number);
        Ok(())
    }

    /// A request has left: its session goes on, or its user takes the next one.
    fn end_flight(&mut self, replica: u16, flight: &Flight) {
        self.count_flow();
        self.in_flight -= 1;
        self.replicas[usize::from(replica)].in_flight -= 1;
        let now = self.clock.now();
        self.residence_sum += u128::from((now - flight.due).0);
        let clock = &mut self.clock;
        let session = flight.session;
        let over = self.sessions.end_turn(session, flight.request.turn, |turn, think| {
            clock.plan(now + think, Event::Due(session, turn));
        });
        if over && matches!(self.config.load, Load::Users(_)) {
            self.start_session();
        }
    }

    fn kick(&mut self, number: u16) {
        let now = self.clock.now();
        let replica = &mut self.replicas[usize::from(number)];
        replica.kick(now, self.store.as_mut());
        for planned in replica.planned.drain(..) {
            let (at, event) = match planned {
                Planned::Transfer(at, id) => (at, Event::TransferEnd(number, id)),
                Planned::Lookup(at, Lookup { slot, from_chunk, .. }, found) => {
                    (at, Event::LookupEnd(number, slot, from_chunk, found))
                }
                Planned::Pass(at) => (at, Event::PassEnd(number)),
                Planned::Events(at, events) => (at, Event::KvEvents(number, events)),
            };
            self.clock.plan(at, event);
        }
    }

    fn count_flow(&mut self) {
        let now = self.clock.now();
        self.flow_integral += u128::from(self.in_flight) * u128::from((now - self.flow_at).0);
        self.flow_at = now;
    }

    /// Records what is in flight, and sums up.
    fn finish(mut self) -> Result<Summary, SimError<R::Error>> {
        if let Some(end) = self.config.duration {
            self.clock.advance_to(end);
        } else {
            assert_eq!(self.in_flight, 0, "a request was left without a wake-up");
            debug_assert!(self.replicas.iter().all(Replica::is_idle));
        }
        let end = self.clock.now();
        self.count_flow();
        let unfinished = self.in_flight;
        self.record_unfinished(end)?;
        if !self.tally.is_open() {
            self.tally.open(&self.replicas, self.store.as_ref(), &self.router.stats());
        }
        let stats = self.router.stats();
        let signals = self.tally.signals(&self.replicas, self.store.as_ref(), &stats);
        Ok(Summary {
            end,
            signals,
            issued: self.issued,
            unfinished,
            passes: self.replicas.iter().map(|r| r.engine.counters().passes).sum(),
            flow_integral: self.flow_integral,
            residence_sum: self.residence_sum,
        })
    }

    fn record_unfinished(&mut self, end: Nanos) -> Result<(), SimError<R::Error>> {
        let mut rows = Vec::new();
        for (number, replica) in self.replicas.iter().enumerate() {
            for (slot, flight) in replica.flights.iter().enumerate() {
                if let Some(flight) = flight {
                    let tokens = replica.engine.generated_tokens(Slot(slot as u32));
                    let cached = replica.engine.cached_tokens(Slot(slot as u32));
                    let row = flight.unfinished(number as u16, end, tokens, cached);
                    rows.push((row, flight.due));
                }
            }
        }
        // Requests that had not reached an engine are in the event queue.
        while let Some(event) = self.clock.next_unticked() {
            if let Event::Submit(number, flight) = event {
                rows.push((flight.unfinished(number, end, 0, [Tokens::ZERO; 4]), flight.due));
            }
        }
        rows.sort_by_key(|(row, _)| row.request);
        for (row, due) in rows {
            self.residence_sum += u128::from((end - due).0);
            self.recorder.request(&row).map_err(SimError::Record)?;
        }
        Ok(())
    }
}
