//! The connections to one server: a bounded number, opened on demand, and a circuit breaker, so
//! that an absent server does not cost every batch a connection attempt.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use weir_http::TlsClient;

use super::address::{Address, StoreEndpoint};
use super::connection::StoreConnection;
use super::error::RespError;
use crate::tier::TierFault;

/// Callers that may wait per connection: more would only reach their deadline.
const WAITING_PER_CONNECTION: usize = 64;
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause, and so the longest time to find a returned store.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// An attempt with less time than this says nothing about the server.
const FAIR_ATTEMPT: Duration = Duration::from_millis(100);
/// Consecutive timed-out batches after which idle connections are closed: a server silent on one is
/// silent on the others.
const TIMEOUTS_MAX: u32 = 2;

#[derive(Debug, Clone)]
pub(crate) struct Dial {
    pub(crate) address: Address,
    pub(crate) tls: Option<TlsClient>,
    pub(crate) connect_timeout: Duration,
}

#[derive(Debug)]
pub(crate) struct Pool {
    dial: Dial,
    endpoint: StoreEndpoint,
    limit: usize,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<StoreConnection>,
    /// Open connections and attempts under way.
    open: usize,
    waiting: usize,
    breaker: Breaker,
    timeouts: u32,
}

#[derive(Debug, Default)]
enum Breaker {
    #[default]
    Closed,
    /// The last attempt failed: none before `until`.
    Open {
        until: Instant,
        pause: Duration,
        why: String,
    },
    Probing {
        why: String,
    },
}

pub(crate) struct PooledConnection {
    pub(crate) connection: StoreConnection,
    /// The server may have closed it unnoticed.
    pub(crate) was_idle: bool,
}

impl Pool {
    pub(crate) fn new(dial: Dial, endpoint: StoreEndpoint, limit: usize) -> Self {
        let state = Mutex::new(State::default());
        Self { dial, endpoint, limit, state, returned: Condvar::new() }
    }

    pub(crate) const fn endpoint(&self) -> &StoreEndpoint {
        &self.endpoint
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn place(&self) -> String {
        self.endpoint.to_string()
    }

    /// An idle connection, a new one, or one that another caller returns.
    pub(crate) fn take(&self, deadline: Instant) -> Result<PooledConnection, RespError> {
        let mut state = self.state();
        loop {
            if Instant::now() >= deadline {
                let doing = "waiting for a connection";
                return Err(RespError::Timeout { place: self.place(), doing });
            }
            while let Some(connection) = state.idle.pop() {
                if connection.is_fresh() {
                    return Ok(PooledConnection { connection, was_idle: true });
                }
                state.open -= 1;
            }
            if state.open < self.limit {
                return self.open(state, deadline);
            }
            let waiting = state.waiting;
            if waiting >= self.limit * WAITING_PER_CONNECTION {
                return Err(RespError::Busy { place: self.place(), waiting });
            }
            state.waiting += 1;
            let left = deadline.saturating_duration_since(Instant::now());
            self.returned.wait_for(&mut state, left);
            state.waiting -= 1;
        }
    }

    /// A new connection despite idle ones: for the second attempt of a batch.
    pub(crate) fn take_new(&self, deadline: Instant) -> Result<StoreConnection, RespError> {
        let mut state = self.state();
        // The cause of the first failure has most likely closed the idle ones too.
        state.open -= state.idle.len();
        state.idle.clear();
        self.open(state, deadline).map(|taken| taken.connection)
    }

    fn open(
        &self,
        mut state: MutexGuard<'_, State>,
        deadline: Instant,
    ) -> Result<PooledConnection, RespError> {
        let now = Instant::now();
        let (pause, why) = match &state.breaker {
            Breaker::Closed => (None, String::new()),
            Breaker::Open { until, pause, why } if now >= *until => (Some(*pause), why.clone()),
            Breaker::Open { why, .. } | Breaker::Probing { why, .. } => {
                let why = format!("not tried again yet after: {why}");
                return Err(RespError::Disconnected { place: self.place(), why });
            }
        };
        if pause.is_some() {
            state.breaker = Breaker::Probing { why };
        }
        state.open += 1;
        drop(state);
        let until = deadline.min(now + self.dial.connect_timeout);
        let Dial { address, tls, .. } = &self.dial;
        let outcome = StoreConnection::open(address, &self.endpoint, tls.as_ref(), until);
        let mut state = self.state();
        match outcome {
            Ok(connection) => {
                state.breaker = Breaker::Closed;
                Ok(PooledConnection { connection, was_idle: false })
            }
            Err(error) => {
                state.open -= 1;
                let unfair = error.fault() == TierFault::Timeout && until - now < FAIR_ATTEMPT;
                let next = pause.map_or(BACKOFF_MIN, |pause| (pause * 2).min(BACKOFF_MAX));
                state.breaker = match pause {
                    None if unfair => Breaker::Closed,
                    Some(pause) if unfair => {
                        Breaker::Open { until: now, pause, why: error.to_string() }
                    }
                    _ => Breaker::Open {
                        until: Instant::now() + next,
                        pause: next,
                        why: error.to_string(),
                    },
                };
                self.returned.notify_one();
                Err(error)
            }
        }
    }

    /// Returns a connection; a broken one is closed.
    pub(crate) fn give_back(&self, connection: StoreConnection) {
        self.put_back(connection, false);
    }

    /// Returns a connection after a failed batch.
    pub(crate) fn give_back_after(&self, connection: StoreConnection, error: &RespError) {
        self.put_back(connection, error.fault() == TierFault::Timeout);
    }

    fn put_back(&self, connection: StoreConnection, timed_out: bool) {
        let mut state = self.state();
        state.timeouts = if timed_out { state.timeouts + 1 } else { 0 };
        if state.timeouts >= TIMEOUTS_MAX {
            state.open -= state.idle.len();
            state.idle.clear();
        }
        if connection.is_broken() {
            state.open -= 1;
        } else {
            state.idle.push(connection);
        }
        self.returned.notify_one();
    }
}
