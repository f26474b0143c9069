//! Steps the cluster for live requests, in model time.
//!
//! The caller gives the time. Every event is handled at its scheduled time, so a late caller
//! changes when tokens are sent, never what is decided.

use std::rc::Rc;

use weir_cluster::{Cluster, ClusterConfig, IoRequest, TimingError};
use weir_engine::{Slot, TransferId, TransferOutcome};
use weir_model::{ContentId, Nanos, Request, Tokens};

use crate::interner::Interner;
use crate::metrics::FinishReason;
use crate::requests::{LiveRequest, RequestOutput, RequestTable, Status, Watcher};

/// Events handled before an arrival at most, so that a call returns even when the loop is far
/// behind.
const CATCH_UP_EVENTS: u32 = 100_000;

#[derive(Debug, Clone)]
pub struct NewRequest {
    /// Never empty.
    pub ids: Vec<u32>,
    /// Requests with different salts share no KV.
    pub salt: String,
    /// Answers to one prompt differ by it.
    pub seed: u64,
    /// At least one.
    pub output_tokens: u32,
    pub session: u64,
    /// Wake the response at each token, not only at the end.
    pub streams: bool,
}

#[derive(Debug, Clone)]
pub struct Submitted {
    pub(crate) output: Rc<RequestOutput>,
    pub answer: ContentId,
}

impl Submitted {
    pub fn tag(&self) -> u64 {
        self.output.tag.get()
    }

    pub fn due(&self) -> u32 {
        self.output.due()
    }

    /// True after a refusal too.
    pub fn is_over(&self) -> bool {
        self.output.status() != Status::Running
    }
}

pub struct EngineLoop<W> {
    cluster: Cluster,
    requests: RequestTable<W>,
    at: Nanos,
    /// Passes take no time.
    instant: bool,
    /// None once an event was handled after it.
    last_arrival: Option<Nanos>,
    submitted: u64,
}

impl<W: Watcher> EngineLoop<W> {
    pub fn new(
        config: ClusterConfig,
        interner: Interner,
        instant: bool,
        watcher: W,
    ) -> Result<Self, TimingError> {
        let cluster = Cluster::new(config)?;
        let requests = RequestTable::new(interner, watcher);
        Ok(Self { cluster, requests, at: Nanos::ZERO, instant, last_arrival: None, submitted: 0 })
    }

    pub fn use_external_io(&mut self) {
        self.cluster.use_external_io();
    }

    pub fn take_io_requests(&mut self, into: &mut Vec<IoRequest>) {
        self.cluster.take_io_requests(into);
    }

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

    /// `found` counts consecutive chunks from `from_chunk` on.
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

    pub fn next_at(&self) -> Option<Nanos> {
        self.cluster.next_at()
    }

    /// Handles events due by `now`, up to the end of one pass, so that a caller can flush its
    /// sockets between passes. Returns whether more may be due.
    pub fn advance(&mut self, now: Nanos) -> bool {
        let passes = self.requests.passes;
        while self.requests.passes == passes {
            if !self.step_if_due(now) {
                return false;
            }
        }
        true
    }

    fn step_if_due(&mut self, now: Nanos) -> bool {
        let due = self.cluster.next_at().filter(|at| *at <= now);
        if let Some(at) = due {
            self.last_arrival = None;
            self.at = self.at.max(at);
            self.cluster.step(&mut self.requests);
        }
        due.is_some()
    }

    /// `now`, limited to between the last handled and the next scheduled event. Requests of one
    /// moment arrive together, before any event that they cause at that moment, as in the
    /// simulator.
    fn arrival_time(&mut self, now: Nanos) -> Nanos {
        if !self.instant && self.last_arrival != Some(now) {
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

    pub fn submit(&mut self, now: Nanos, new: &NewRequest) -> Submitted {
        let now = self.arrival_time(now);
        self.last_arrival = Some(now);
        let interned =
            self.requests.interner.intern(&new.ids, &new.salt, new.seed, new.output_tokens);
        let answer = interned.answer;
        let request = Request {
            id: self.submitted,
            session: new.session,
            turn: 0,
            prompt: interned.prompt.clone(),
            output_tokens: Tokens(new.output_tokens),
            output: answer,
            seen_tokens: Tokens(interned.known_tokens),
        };
        self.submitted += 1;
        let output = Rc::new(RequestOutput::new(new.streams));
        let tag = self.requests.insert(LiveRequest {
            output: Rc::clone(&output),
            interned,
            replica: 0,
            arrived: now,
            scheduled: now,
            first_token: None,
            last_token: now,
            cached: 0,
            output_tokens: new.output_tokens,
        });
        output.tag.set(tag);
        self.cluster.submit(now, tag, request, &mut self.requests);
        Submitted { output, answer }
    }

    /// Frees the blocks of a request whose client disconnected. No effect after its end.
    pub fn abort(&mut self, now: Nanos, tag: u64) {
        let now = self.arrival_time(now);
        if self.requests.get_mut(tag).is_some() {
            self.cluster.abort(now, tag);
            self.requests.end(now, tag, FinishReason::Abort, 0);
        }
    }

    pub fn reset_prefix_cache(&mut self, now: Nanos, external: bool) -> bool {
        let now = self.arrival_time(now);
        self.cluster.reset_prefix_cache(now, external)
    }

    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub const fn interner(&self) -> &Interner {
        &self.requests.interner
    }

    pub const fn watcher(&self) -> &W {
        &self.requests.watcher
    }

    pub const fn watcher_mut(&mut self) -> &mut W {
        &mut self.requests.watcher
    }

    pub const fn in_flight(&self) -> u32 {
        self.requests.len()
    }
}
