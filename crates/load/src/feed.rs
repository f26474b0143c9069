//! Sessions with their bodies, prepared by a separate thread.
//!
//! In a closed loop all workers share one queue, so that no backlog of one makes another wait.
//! Otherwise sessions are assigned in turn, like due times.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use weir_model::Nanos;
use weir_workload::{Session, SessionSource, Sharded};

use crate::body::{Body, BodyMaker};
use crate::clock::Clock;
use crate::config::{LoadConfig, LoadShape};
use crate::error::LoadError;

/// Limit of waiting bodies in bytes, whatever the counts are.
const READY_BYTES_MAX: usize = 256 << 20;
/// Waiting sessions per worker in an open loop. A burst of a million requests per second outlasts
/// the encoding of as many short prompts.
const READY_OPEN: usize = 256;
/// Waiting sessions in a closed loop; at least one per user, as all may start at once.
const READY_USERS_MIN: usize = 64;

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

    /// At half, the feeder is woken. Waking it for each session would cost the worker a context
    /// switch per request.
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

    /// None at the end. `waited` is called before a wait.
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

    /// A queue without receivers drops its sessions, so that other workers get theirs.
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

    fn wait_filled(&self) {
        let mut waiting = self.lock();
        while !self.is_full(&waiting) && !waiting.is_over && !waiting.is_abandoned() {
            self.changed.wait(&mut waiting);
        }
    }
}

/// One per worker; in a closed loop the same one for all.
#[derive(Debug)]
pub(crate) struct Feed {
    queues: Vec<Arc<Queue>>,
}

impl Feed {
    pub(crate) fn new(config: &LoadConfig) -> Self {
        let workers = config.worker_count();
        let queues = match config.load {
            LoadShape::Users { users, .. } => {
                let users = config.shard.share(u64::from(users)) as usize;
                let sessions = users.max(READY_USERS_MIN);
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

    /// Ends with the sessions or the last receiver. `source` is that of the whole load.
    pub(crate) fn run(
        &self,
        config: &LoadConfig,
        source: impl SessionSource,
    ) -> Result<(), LoadError> {
        let mut source = Sharded::new(source, config.shard);
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

    /// Wakes all waiting threads.
    pub(crate) fn abandon(&self) {
        self.queues.iter().for_each(|queue| queue.abandon());
    }

    /// Waits until the queues are full, so that a burst at the start finds its bodies.
    pub(crate) fn wait_filled(&self) {
        self.queues.iter().for_each(|queue| queue.wait_filled());
    }
}

#[derive(Debug)]
pub(crate) struct OpenSession {
    /// Taken when sent.
    pub(crate) bodies: Vec<Body>,
    /// The server's answers, if later turns quote them.
    pub(crate) answers: Vec<Option<Vec<u32>>>,
    pub(crate) left: usize,
    /// Latest end of its other turns, which may be detected out of order.
    pub(crate) ended: Nanos,
}

#[derive(Debug)]
pub(crate) struct Intake {
    queue: Arc<Queue>,
    clock: Clock,
    pub(crate) open_sessions: HashMap<u64, OpenSession>,
    /// Time in which the worker waited for a session.
    pub(crate) starved: Nanos,
}

/// Session source of a worker's demand.
#[derive(Debug, Clone)]
pub(crate) struct WorkerSource(pub(crate) Rc<RefCell<Intake>>);

impl WorkerSource {
    pub(crate) fn new(queue: Arc<Queue>, clock: Clock) -> Self {
        let (open_sessions, starved) = (HashMap::new(), Nanos::ZERO);
        Self(Rc::new(RefCell::new(Intake { queue, clock, open_sessions, starved })))
    }
}

impl SessionSource for WorkerSource {
    /// Waits if the feeder is late, counted as starved. The kernel stamps arrivals meanwhile.
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
