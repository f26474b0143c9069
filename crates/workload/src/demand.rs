//! What is due when: sessions and a load, turned into requests one by one.
//!
//! No clock is inside: the simulator asks in virtual time and the load generator in real time, so
//! both issue the same requests under the same rules. Due times are absolute. A driver that is
//! late is told when the request should have gone out ([`Due::at`]), and what follows from a due
//! time (a session's first turns) counts from that time and not from the late answer; only what
//! waits for an answer counts from when the answer came.

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
    /// Closed loop: each user has one session at a time, and takes the next when it is over.
    Users(Ramp),
    /// Open loop: a session at each due time.
    Open(Schedule),
    /// Each session brings its start.
    SessionTimes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// When it is due, which may be before the time that was asked for.
    pub at: Nanos,
    /// Its session, to be named when the turn has ended.
    pub slot: SessionSlot,
    pub request: Request,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A user of a closed loop starts.
    User,
    /// The next session of an open loop or trace arrives.
    Arrival,
    Turn(SessionSlot, u32),
}

/// The demand of a cell. See the module's header.
#[derive(Debug)]
pub struct Demand<S> {
    load: Load,
    source: S,
    max_requests: Option<u64>,
    /// What comes, in order of time; ties in the order in which they were planned.
    queue: BinaryHeap<Reverse<(Nanos, u64, Event)>>,
    planned: u64,
    sessions: Sessions,
    /// A trace's next session, read ahead to know its start.
    ahead: Option<Session>,
    users_to_start: u32,
    /// No further session will arrive by itself.
    arrivals_over: bool,
    issued: u64,
    in_flight: u32,
}

impl<S: SessionSource> Demand<S> {
    /// The demand from time zero on. At most `max_requests` requests are issued.
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

    /// When something is due. Nothing: not before a turn ends, or never (see
    /// [`Demand::is_over`]). What is due may turn out to be no request, because the source or the
    /// limit has come to its end.
    pub fn next_at(&self) -> Option<Nanos> {
        self.queue.peek().map(|next| next.0.0)
    }

    /// The next turn that is due at or before `now`. Request ids count from 0 in order of issue.
    /// Nothing more will be due at or before `now` once this answers nothing, unless a turn ends.
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

    /// The session in a place, from its first due turn to the end of its last.
    pub fn session(&self, slot: SessionSlot) -> &Session {
        self.sessions.get(slot)
    }

    /// A turn has ended, well or not: what waited for it is planned, and a user whose session is
    /// over takes the next one.
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

    /// Requests issued and not ended.
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

    /// Every session that was to come has come, and each was served to its last turn. Unlike
    /// [`Demand::is_over`], a session that the limit cut off is never served.
    pub const fn is_served(&self) -> bool {
        self.in_flight == 0
            && self.issued > 0
            && self.sessions.under_way() == 0
            && self.arrivals_over
    }

    /// True when it comes to an end by itself.
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

    /// A user, or an arrival, takes the next session. False when there is none.
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

    /// A turn is due: it becomes a request.
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
