//! Turns sessions and a load into requests, one by one.
//!
//! There is no clock inside: the simulator calls in virtual time and the load generator in real
//! time, so both issue the same requests. Due times are absolute, and a late driver learns the due
//! time ([`Due::at`]). A session's first turns count from that time; only turns that wait for an
//! answer count from when the answer came.

mod sessions;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use weir_model::{Nanos, Request, Tokens};

use crate::arrival::{Ramp, Schedule};
use crate::session::{Session, SessionSource};
use sessions::Sessions;

pub use sessions::SessionSlot;

#[derive(Debug, Clone)]
pub enum Load {
    /// Closed loop: each user has one session at a time, and takes the next when it ends.
    Users(Ramp),
    Open(Schedule),
    SessionTimes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// May be before the time of the call.
    pub at: Nanos,
    /// Given back when the turn has ended.
    pub slot: SessionSlot,
    pub request: Request,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    User,
    Arrival,
    Turn(SessionSlot, u32),
}

#[derive(Debug)]
pub struct Demand<S> {
    load: Load,
    source: S,
    max_requests: Option<u64>,
    /// By time; ties in the order in which they were planned.
    queue: BinaryHeap<Reverse<(Nanos, u64, Event)>>,
    planned: u64,
    sessions: Sessions,
    /// A trace's next session, read ahead to know its start.
    ahead: Option<Session>,
    users_to_start: u32,
    arrivals_over: bool,
    issued: u64,
    in_flight: u32,
}

impl<S: SessionSource> Demand<S> {
    /// Starts at time zero, and issues at most `max_requests` requests.
    pub fn new(load: Load, source: S, max_requests: Option<u64>) -> Self {
        let mut demand = Self {
            load,
            source,
            max_requests,
            queue: BinaryHeap::new(),
            planned: 0,
            sessions: Sessions::default(),
            ahead: None,
            users_to_start: 0,
            arrivals_over: false,
            issued: 0,
            in_flight: 0,
        };
        if let Load::Users(ramp) = demand.load {
            demand.users_to_start = ramp.users();
            demand.arrivals_over = demand.users_to_start == 0;
            for at in ramp.starts() {
                demand.plan(at, Event::User);
            }
        } else {
            demand.plan_arrival(Nanos::ZERO);
        }
        demand
    }

    /// None: not before a turn ends, or never (see [`Demand::is_over`]). What is due may yield no
    /// request, because the source or the limit has ended.
    pub fn next_at(&self) -> Option<Nanos> {
        self.queue.peek().map(|next| next.0.0)
    }

    /// The next turn due at or before `now`. Request ids count from 0 in order of issue. After
    /// None, nothing more is due at or before `now` unless a turn ends.
    pub fn pop(&mut self, now: Nanos) -> Option<Due> {
        while self.next_at().is_some_and(|at| at <= now) {
            let Reverse((at, _, event)) = self.queue.pop()?;
            match event {
                Event::User => {
                    self.users_to_start -= 1;
                    self.arrivals_over = self.users_to_start == 0;
                    self.start_session(at);
                }
                Event::Arrival => {
                    if self.start_session(at) || self.ahead.is_some() {
                        self.plan_arrival(at);
                    }
                }
                Event::Turn(slot, turn) if self.may_issue() => {
                    return Some(self.issue(at, slot, turn));
                }
                Event::Turn(..) => {}
            }
        }
        None
    }

    /// Valid from the session's first due turn to the end of its last.
    pub fn session(&self, slot: SessionSlot) -> &Session {
        self.sessions.get(slot)
    }

    /// A turn has ended, with or without success. Turns that waited for it are planned, and a user
    /// whose session ended takes the next one.
    pub fn ended(&mut self, slot: SessionSlot, turn: u32, now: Nanos) {
        self.in_flight -= 1;
        let (queue, planned) = (&mut self.queue, &mut self.planned);
        let over = self.sessions.end_turn(slot, turn, |turn, think| {
            *planned += 1;
            queue.push(Reverse((now + think, *planned, Event::Turn(slot, turn))));
        });
        if over && matches!(self.load, Load::Users(_)) {
            self.start_session(now);
        }
    }

    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub const fn issued(&self) -> u64 {
        self.issued
    }

    /// Nothing more will be issued, and nothing is in flight.
    pub fn is_over(&self) -> bool {
        self.in_flight == 0 && (self.queue.is_empty() || !self.may_issue())
    }

    /// All sessions have come, and each was served to its last turn. Unlike [`Demand::is_over`], a
    /// session that the limit cut off is never served.
    pub const fn is_served(&self) -> bool {
        self.in_flight == 0
            && self.issued > 0
            && self.sessions.under_way() == 0
            && self.arrivals_over
    }

    pub fn is_finite(&self) -> bool {
        self.max_requests.is_some() || self.source.is_finite()
    }

    pub const fn source(&self) -> &S {
        &self.source
    }

    fn plan(&mut self, at: Nanos, event: Event) {
        self.planned += 1;
        self.queue.push(Reverse((at, self.planned, event)));
    }

    fn may_issue(&self) -> bool {
        self.max_requests.is_none_or(|most| self.issued < most)
    }

    /// False when there is none.
    fn start_session(&mut self, at: Nanos) -> bool {
        let session = match self.ahead.take() {
            Some(session) => Some(session),
            None if self.may_issue() => self.source.next_session(),
            None => None,
        };
        let Some(session) = session else { return false };
        let (queue, planned) = (&mut self.queue, &mut self.planned);
        self.sessions.start(session, |slot, turn, think| {
            *planned += 1;
            queue.push(Reverse((at + think, *planned, Event::Turn(slot, turn))));
        });
        true
    }

    fn plan_arrival(&mut self, now: Nanos) {
        let at = match &mut self.load {
            Load::Open(schedule) => schedule.next(),
            Load::SessionTimes => {
                self.ahead = self.source.next_session();
                self.ahead.as_ref().map(|session| session.start.unwrap_or(Nanos::ZERO))
            }
            Load::Users(_) => None,
        };
        match at {
            Some(at) if self.may_issue() => self.plan(at.max(now), Event::Arrival),
            _ => self.arrivals_over = true,
        }
    }

    fn issue(&mut self, at: Nanos, slot: SessionSlot, turn: u32) -> Due {
        let session = self.sessions.get(slot);
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
        self.in_flight += 1;
        Due { at, slot, request }
    }
}
