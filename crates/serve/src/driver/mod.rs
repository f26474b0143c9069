//! The driver: live requests on one side, the cluster on the other, model time between them.
//!
//! It reads no clock and knows no socket. Whoever steps it says what time it is: the server's loop
//! says real time, a test says what it likes. Every event is handled at its own planned time, so a
//! late caller changes when tokens are sent, never what is decided.

mod flow;
mod watcher;

use std::rc::Rc;

use weir_cluster::{
    Cluster, ClusterConfig, Errand, Finished, Observer, Placement, SubmitError, TimingError,
};
use weir_engine::{Slot, Transfer, TransferId, TransferOutcome};
use weir_model::{ContentId, KvEvent, Nanos, Request, StepRow, Tokens};

pub(crate) use self::flow::{Flow, Progress};
pub use self::watcher::Watcher;
use crate::interner::{Interned, Interner};
use crate::metrics::{FinishReason, FinishedRequest};

/// Most events handled before an arrival is let in, so that a caller far behind comes back.
const CATCH_UP_EVENTS: u32 = 100_000;

/// What a live request asks of the cluster.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The prompt. Never empty.
    pub ids: Vec<u32>,
    /// Requests with different salts share no KV.
    pub salt: String,
    /// Tells answers to one prompt apart.
    pub seed: u64,
    /// Tokens to generate, at least one.
    pub output_tokens: u32,
    /// Requests of one session have one number.
    pub session: u64,
    /// Whether each token is waited for, or the end alone.
    pub streams: bool,
}

/// A request that the driver has taken.
#[derive(Debug, Clone)]
pub struct Taken {
    pub(crate) flow: Rc<Flow>,
    pub answer: ContentId,
}

impl Taken {
    /// Its name in the driver, as the watcher hears it.
    pub fn tag(&self) -> u64 {
        self.flow.tag.get()
    }

    /// Tokens that have come.
    pub fn due(&self) -> u32 {
        self.flow.due()
    }

    /// Whether all its tokens have come, or it was refused.
    pub fn is_over(&self) -> bool {
        self.flow.progress() != Progress::Running
    }
}

/// A request in flight.
#[derive(Debug)]
struct Live {
    flow: Rc<Flow>,
    interned: Interned,
    replica: u16,
    arrived: Nanos,
    scheduled: Nanos,
    first_token: Option<Nanos>,
    last_token: Nanos,
    cached: u32,
    output_tokens: u32,
}

/// A slot for a request; its generation tells a name of today from one of yesterday.
#[derive(Debug, Default)]
struct Berth {
    generation: u32,
    live: Option<Live>,
}

/// Everything about live requests: what the cluster's observer needs while it is stepped.
#[derive(Debug)]
struct Desk<W> {
    interner: Interner,
    berths: Vec<Berth>,
    free: Vec<u32>,
    watcher: W,
    passes: u64,
}

pub struct Driver<W> {
    cluster: Cluster,
    desk: Desk<W>,
    /// Model time of the last thing that happened.
    at: Nanos,
    /// Passes take no time: there is nothing to catch up with.
    instant: bool,
    /// When the last request arrived, if nothing was handled since.
    arriving: Option<Nanos>,
    submitted: u64,
}

impl<W: Watcher> Driver<W> {
    /// A driver at model time zero.
    pub fn new(
        config: ClusterConfig,
        interner: Interner,
        instant: bool,
        watcher: W,
    ) -> Result<Self, TimingError> {
        let cluster = Cluster::new(config)?;
        let desk = Desk { interner, berths: Vec::new(), free: Vec::new(), watcher, passes: 0 };
        Ok(Self { cluster, desk, at: Nanos::ZERO, instant, arriving: None, submitted: 0 })
    }

    /// Leaves transfers and lookups to the caller, as errands. To be called before anything is
    /// submitted.
    pub fn carry(&mut self) {
        self.cluster.carry();
    }

    /// Adds what is to be moved and asked. To be called after each call that lets something
    /// happen.
    pub fn take_errands(&mut self, into: &mut Vec<Errand>) {
        self.cluster.take_errands(into);
    }

    /// A transfer that was an errand has ended.
    pub fn transfer_done(
        &mut self,
        now: Nanos,
        replica: u16,
        id: TransferId,
        outcome: TransferOutcome,
    ) {
        let now = self.arrival_time(now);
        self.cluster.transfer_done(now, replica, id, outcome);
    }

    /// A lookup that was an errand is answered: `found` consecutive chunks from `from_chunk` on.
    pub fn lookup_done(
        &mut self,
        now: Nanos,
        replica: u16,
        slot: Slot,
        from_chunk: u32,
        found: u32,
    ) {
        let now = self.arrival_time(now);
        self.cluster.lookup_done(now, replica, slot, from_chunk, found);
    }

    /// When the next thing is due in model time.
    pub fn next_at(&self) -> Option<Nanos> {
        self.cluster.next_at()
    }

    /// Handles what is due at or before `now`, up to the end of one pass: whoever has sockets to
    /// flush gets a turn between passes. Answers whether more may be due.
    pub fn advance(&mut self, now: Nanos) -> bool {
        let passes = self.desk.passes;
        while self.desk.passes == passes {
            if !self.step_if_due(now) {
                return false;
            }
        }
        true
    }

    fn step_if_due(&mut self, now: Nanos) -> bool {
        let due = self.cluster.next_at().filter(|at| *at <= now);
        if let Some(at) = due {
            self.arriving = None;
            self.at = self.at.max(at);
            self.cluster.step(&mut self.desk);
        }
        due.is_some()
    }

    /// The model time at which something from outside happens: `now`, but neither before what has
    /// happened nor after what is planned and not yet handled. Requests that arrive at one moment
    /// arrive together, before anything that they lead to at that moment: the simulator's rule.
    fn arrival_time(&mut self, now: Nanos) -> Nanos {
        if !self.instant && self.arriving != Some(now) {
            for _ in 0..CATCH_UP_EVENTS {
                if !self.step_if_due(now) {
                    break;
                }
            }
        }
        let planned = self.cluster.next_at().unwrap_or(Nanos::MAX);
        self.at = now.min(planned).max(self.at);
        self.at
    }

    pub fn submit(&mut self, now: Nanos, ask: &Ask) -> Taken {
        let now = self.arrival_time(now);
        self.arriving = Some(now);
        let interned = self.desk.interner.intern(&ask.ids, &ask.salt, ask.seed, ask.output_tokens);
        let answer = interned.answer;
        let request = Request {
            id: self.submitted,
            session: ask.session,
            turn: 0,
            prompt: interned.prompt.clone(),
            output_tokens: Tokens(ask.output_tokens),
            output: answer,
            seen_tokens: Tokens(interned.known_tokens),
        };
        self.submitted += 1;
        let flow = Rc::new(Flow::new(ask.streams));
        let tag = self.desk.moor(Live {
            flow: Rc::clone(&flow),
            interned,
            replica: 0,
            arrived: now,
            scheduled: now,
            first_token: None,
            last_token: now,
            cached: 0,
            output_tokens: ask.output_tokens,
        });
        flow.tag.set(tag);
        self.cluster.submit(now, tag, request, &mut self.desk);
        Taken { flow, answer }
    }

    /// The peer of a request is gone: its blocks are freed. Nothing happens if it has ended.
    pub fn abort(&mut self, now: Nanos, tag: u64) {
        let now = self.arrival_time(now);
        if self.desk.live(tag).is_some() {
            self.cluster.abort(now, tag);
            self.desk.end(now, tag, FinishReason::Abort, 0);
        }
    }

    /// Empties the engines' prefix caches, with `external` also their tiers; false while requests
    /// hold blocks, or anything moves to or from the tiers.
    pub fn reset_prefix_cache(&mut self, now: Nanos, external: bool) -> bool {
        let now = self.arrival_time(now);
        self.cluster.reset_prefix_cache(now, external)
    }

    /// The cluster, for what can be seen of it between steps.
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The interner, for token ids.
    pub const fn interner(&self) -> &Interner {
        &self.desk.interner
    }

    pub const fn watcher(&self) -> &W {
        &self.desk.watcher
    }

    /// Who looks on, to take something out.
    pub const fn watcher_mut(&mut self) -> &mut W {
        &mut self.desk.watcher
    }

    /// Requests that have neither ended nor been given up.
    pub fn in_flight(&self) -> u32 {
        (self.desk.berths.len() - self.desk.free.len()) as u32
    }
}

impl<W: Watcher> Desk<W> {
    fn moor(&mut self, live: Live) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.berths.push(Berth::default());
            (self.berths.len() - 1) as u32
        });
        let berth = &mut self.berths[index as usize];
        berth.live = Some(live);
        u64::from(berth.generation) << 32 | u64::from(index)
    }

    fn live(&mut self, tag: u64) -> Option<&mut Live> {
        let berth = self.berths.get_mut(tag as u32 as usize)?;
        if u64::from(berth.generation) != tag >> 32 {
            return None;
        }
        berth.live.as_mut()
    }

    /// Gives the berth back and tells the watcher how it ended.
    fn end(&mut self, at: Nanos, tag: u64, reason: FinishReason, preemptions: u16) -> Option<Live> {
        self.live(tag)?;
        let index = tag as u32;
        let berth = &mut self.berths[index as usize];
        berth.generation = berth.generation.wrapping_add(1);
        let live = berth.live.take()?;
        self.free.push(index);
        self.interner.release(&live.interned);
        let finished = FinishedRequest {
            reason,
            arrived: live.arrived,
            queued: live.arrived,
            scheduled: live.scheduled,
            first_token: live.first_token.unwrap_or(live.last_token),
            last_token: live.last_token,
            ended: at,
            prompt_tokens: live.interned.prompt.tokens(),
            cached_tokens: Tokens(live.cached),
            output_tokens: Tokens(live.flow.due()),
            max_tokens: Some(Tokens(live.output_tokens)),
            preemptions,
        };
        self.watcher.ended(tag, live.replica, &finished);
        Some(live)
    }
}

impl<W: Watcher> Observer for Desk<W> {
    const TOKENS: bool = true;

    fn placed(&mut self, _at: Nanos, tag: u64, placement: &Placement) {
        if let Some(live) = self.live(tag) {
            live.replica = placement.replica;
        }
    }

    fn refused(&mut self, at: Nanos, tag: u64, why: &SubmitError) {
        if let Some(live) = self.end(at, tag, FinishReason::Error, 0) {
            live.flow.refuse(why.to_string());
        }
    }

    fn scheduled(&mut self, at: Nanos, tag: u64, _cached: [Tokens; 4]) {
        if let Some(live) = self.live(tag) {
            live.scheduled = at;
        }
    }

    fn first_token(&mut self, at: Nanos, tag: u64, cached: [Tokens; 4]) {
        let Some(live) = self.live(tag) else { return };
        live.first_token = Some(at);
        live.cached = cached.iter().map(|tokens| tokens.0).sum();
        live.flow.first_token(live.cached);
        let (replica, waited) = (live.replica, at.saturating_sub(live.arrived));
        let prompt = live.interned.prompt.tokens();
        self.watcher.first_token(replica, waited, prompt, &cached);
    }

    fn token(&mut self, at: Nanos, tag: u64) {
        let Some(live) = self.live(tag) else { return };
        live.last_token = at;
        live.flow.token();
        self.watcher.token(at, tag);
    }

    fn finished(&mut self, at: Nanos, tag: u64, finished: &Finished) {
        if let Some(live) = self.end(at, tag, FinishReason::Length, finished.preemptions) {
            live.flow.finish();
        }
    }

    fn pass(&mut self, step: &StepRow) {
        self.passes += 1;
        self.watcher.pass(step);
    }

    fn transferred(&mut self, _at: Nanos, replica: u16, transfer: &Transfer, _took: Nanos) {
        self.watcher.transferred(replica, transfer);
    }

    fn kv_event(&mut self, at: Nanos, replica: u16, event: &KvEvent) {
        self.watcher.kv_event(at, replica, event, &self.interner);
    }
}
