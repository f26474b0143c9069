//! The connections to one server: a bounded number, opened when they are needed, and a breaker that
//! keeps a server which is gone from costing every batch the time of an attempt.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use weir_http::TlsClient;

use super::address::{Address, StoreEndpoint};
use super::connection::StoreConnection;
use super::error::RespError;
use crate::tier::TierFault;

/// Callers that may wait for a connection, per connection: more would only wait for their deadline.
const WAITING_PER_CONNECTION: usize = 64;
/// First pause after a failed attempt to connect.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause: a store that came back is found within it.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// An attempt that had less time than this says nothing about the server.
const FAIR_ATTEMPT: Duration = Duration::from_millis(100);
/// Batches that ran out of time one after the other, after which idle connections are given up: a
/// server that does not answer on one does not answer on the others.
const TIMEOUTS_MAX: u32 = 2;

/// How to reach a server.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    pub(crate) address: Address,
    pub(crate) tls: Option<TlsClient>,
    pub(crate) connect_timeout: Duration,
}

/// The connections to one server.
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
    /// Connections that exist or are being made.
    open: usize,
    waiting: usize,
    breaker: Breaker,
    timeouts: u32,
}

/// Whether attempts to connect make sense.
#[derive(Debug, Default)]
enum Breaker {
    #[default]
    Closed,
    /// One failed: none before `until`.
    Open { until: Instant, pause: Duration, why: String },
    /// One caller finds out.
    Probing { why: String },
}

/// A connection that was taken out.
pub(crate) struct PooledConnection {
    pub(crate) connection: StoreConnection,
    /// It stood idle: the server may have closed it without our having heard of it.
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

    /// A connection: an idle one, a new one, or one that somebody returns.
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

    /// A new connection, whatever is idle: for the second attempt of a batch.
    pub(crate) fn take_new(&self, deadline: Instant) -> Result<StoreConnection, RespError> {
        let mut state = self.state();
        // What made the first attempt fail has most likely ended the idle ones as well.
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
                    // Another caller's turn.
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

    /// Gives a connection back; a broken one is closed.
    pub(crate) fn give_back(&self, connection: StoreConnection) {
        self.put_back(connection, false);
    }

    /// Gives a connection back on which a batch had an error.
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
