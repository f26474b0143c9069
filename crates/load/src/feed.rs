//! Sessions with their bodies, made ahead of time by a thread of its own.
//!
//! In a closed loop all workers take from one queue, so that a fast one is never kept waiting by a
//! slow one's backlog. Otherwise sessions are dealt in turn, as due times are.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use weir_model::Nanos;
use weir_workload::{Session, SessionSource};

use crate::body::{Body, BodyMaker};
use crate::clock::Clock;
use crate::config::{LoadConfig, LoadShape};
use crate::error::LoadError;

/// Bytes of bodies that wait to be sent. Beyond it the feeder waits, whatever the counts say.
const READY_BYTES_MAX: usize = 256 << 20;
/// Sessions that wait per worker in an open loop: a burst at a million requests per second lasts
/// longer than the encoding of as many short prompts.
const READY_OPEN: usize = 256;
/// Sessions that wait at most in a closed loop. At least one per user, as all may start at once.
const READY_USERS_MIN: usize = 64;

/// A session and the bodies of its turns.
#[derive(Debug)]
pub(crate) struct PreparedSession {
    pub(crate) session: Session,
    pub(crate) bodies: Vec<Body>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    sessions: VecDeque<PreparedSession>,
    bytes: usize,
    is_over: bool,
    receivers: usize,
    feeder_waits: bool,
}

impl Waiting {
    const fn is_abandoned(&self) -> bool {
        self.receivers == 0
    }
}

/// Sessions from the feeder to workers.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    sessions_max: usize,
    bytes_max: usize,
}

impl Queue {
    fn new(receivers: usize, sessions_max: usize, bytes_max: usize) -> Self {
        let waiting = Mutex::new(Waiting { receivers, ..Waiting::default() });
        Self { waiting, changed: Condvar::new(), sessions_max, bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }

    fn is_full(&self, waiting: &Waiting) -> bool {
        waiting.sessions.len() >= self.sessions_max
            || (waiting.bytes >= self.bytes_max && !waiting.sessions.is_empty())
    }

    /// Half empty: time to wake the feeder. Waking it for each session would cost the worker that
    /// takes it a switch of threads per request.
    fn is_low(&self, waiting: &Waiting) -> bool {
        let (sessions, bytes) = (waiting.sessions.len(), waiting.bytes);
        sessions == 0 || (sessions * 2 <= self.sessions_max && bytes * 2 <= self.bytes_max)
    }

    /// Waits for room. False when no worker receives any more.
    fn push(&self, prepared: PreparedSession) -> bool {
        let mut waiting = self.lock();
        while self.is_full(&waiting) && !waiting.is_abandoned() {
            waiting.feeder_waits = true;
            self.changed.wait(&mut waiting);
        }
        if waiting.is_abandoned() {
            return false;
        }
        waiting.bytes += prepared.bytes;
        waiting.sessions.push_back(prepared);
        self.changed.notify_all();
        true
    }

    /// `None`: there are no more. `waited` is called before it has to wait.
    fn take(&self, waited: impl FnOnce()) -> Option<PreparedSession> {
        let mut waiting = self.lock();
        let mut waited = Some(waited);
        while waiting.sessions.is_empty() && !waiting.is_over && !waiting.is_abandoned() {
            if let Some(waited) = waited.take() {
                waited();
            }
            self.changed.wait(&mut waiting);
        }
        if waiting.is_abandoned() {
            return None;
        }
        let prepared = waiting.sessions.pop_front()?;
        waiting.bytes -= prepared.bytes;
        if waiting.feeder_waits && self.is_low(&waiting) {
            waiting.feeder_waits = false;
            drop(waiting);
            self.changed.notify_all();
        }
        Some(prepared)
    }

    fn end(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }

    /// A worker receives no more. Sessions of a queue without receivers are dropped, so that the
    /// other workers get theirs.
    pub(crate) fn close_receiver(&self) {
        let mut waiting = self.lock();
        waiting.receivers = waiting.receivers.saturating_sub(1);
        self.changed.notify_all();
    }

    fn abandon(&self) {
        self.lock().receivers = 0;
        self.changed.notify_all();
    }

    fn is_abandoned(&self) -> bool {
        self.lock().is_abandoned()
    }

    /// Waits until it is full or complete.
    fn wait_filled(&self) {
        let mut waiting = self.lock();
        while !self.is_full(&waiting) && !waiting.is_over && !waiting.is_abandoned() {
            self.changed.wait(&mut waiting);
        }
    }
}

/// The queues of a cell, one per worker; the same one for all in a closed loop.
#[derive(Debug)]
pub(crate) struct Feed {
    queues: Vec<Arc<Queue>>,
}

impl Feed {
    pub(crate) fn new(config: &LoadConfig) -> Self {
        let workers = config.worker_count();
        let queues = match config.load {
            LoadShape::Users { users, .. } => {
                let sessions = (users as usize).max(READY_USERS_MIN);
                let shared = Arc::new(Queue::new(workers, sessions, READY_BYTES_MAX));
                (0..workers).map(|_| shared.clone()).collect()
            }
            LoadShape::Open(_) | LoadShape::SessionTimes => (0..workers)
                .map(|_| Arc::new(Queue::new(1, READY_OPEN, READY_BYTES_MAX / workers)))
                .collect(),
        };
        Self { queues }
    }

    pub(crate) fn queue(&self, worker: usize) -> Arc<Queue> {
        self.queues[worker].clone()
    }

    /// Prepares sessions until they end or no worker receives any more.
    pub(crate) fn run(
        &self,
        config: &LoadConfig,
        mut source: impl SessionSource,
    ) -> Result<(), LoadError> {
        let mut maker = BodyMaker::new(config);
        let mut result = Ok(());
        for queue in self.queues.iter().cycle() {
            let Some(session) = source.next_session() else { break };
            match maker.bodies(&session) {
                Ok((bodies, bytes)) => {
                    let taken = queue.push(PreparedSession { session, bodies, bytes });
                    if !taken && self.queues.iter().all(|queue| queue.is_abandoned()) {
                        break;
                    }
                }
                Err((turn, error)) => {
                    let (session, cause) = (session.id, error.to_string());
                    result = Err(LoadError::Prompt { session, turn, cause });
                    break;
                }
            }
        }
        self.queues.iter().for_each(|queue| queue.end());
        result
    }

    /// Closes all receivers and wakes everybody who waits.
    pub(crate) fn abandon(&self) {
        self.queues.iter().for_each(|queue| queue.abandon());
    }

    /// Waits until everything that fits is prepared, so that a burst at the start finds its bodies.
    pub(crate) fn wait_filled(&self) {
        self.queues.iter().for_each(|queue| queue.wait_filled());
    }
}

/// A session of a worker.
#[derive(Debug)]
pub(crate) struct OpenSession {
    /// Taken when they are sent.
    pub(crate) bodies: Vec<Body>,
    /// The server's own answers, where later turns quote them.
    pub(crate) answers: Vec<Option<Vec<u32>>>,
    /// Unfinished turns.
    pub(crate) left: usize,
    /// When the last of the others ended. They may be noticed in another order.
    pub(crate) ended: Nanos,
}

#[derive(Debug)]
pub(crate) struct Intake {
    queue: Arc<Queue>,
    clock: Clock,
    pub(crate) open_sessions: HashMap<u64, OpenSession>,
    /// Time that passed while the worker waited for a session.
    pub(crate) starved: Nanos,
}

/// The worker's end of the feed, as the source that its demand draws from.
#[derive(Debug, Clone)]
pub(crate) struct WorkerSource(pub(crate) Rc<RefCell<Intake>>);

impl WorkerSource {
    pub(crate) fn new(queue: Arc<Queue>, clock: Clock) -> Self {
        let (open_sessions, starved) = (HashMap::new(), Nanos::ZERO);
        Self(Rc::new(RefCell::new(Intake { queue, clock, open_sessions, starved })))
    }
}

impl SessionSource for WorkerSource {
    /// Waits if the feeder is behind: arrivals are stamped by the kernel meanwhile, and the time
    /// counts as starved.
    fn next_session(&mut self) -> Option<Session> {
        let intake = &mut *self.0.borrow_mut();
        let clock = intake.clock;
        let mut began = None;
        let prepared = intake.queue.take(|| began = Some(clock.now()));
        if let Some(began) = began {
            intake.starved += clock.now().saturating_sub(began);
        }
        let PreparedSession { session, bodies, .. } = prepared?;
        let turns = session.turns.len();
        let answers = vec![None; turns];
        intake
            .open_sessions
            .insert(session.id, OpenSession { bodies, answers, left: turns, ended: Nanos::ZERO });
        Some(session)
    }
}
