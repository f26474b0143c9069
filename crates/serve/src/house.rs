//! What the tasks of the server's one thread share: the driver, the clock, who is inside.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use weir_cluster::Errand;
use weir_model::Nanos;
use weir_store::TierError;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::api::Facts;
use crate::carrier::{Carrier, Done};
use crate::clock::ModelClock;
use crate::config::{ServeConfig, ServeError};
use crate::driver::{Ask, Driver, Taken};
use crate::telemetry::Telemetry;
use crate::timer::Timer;

/// What control routes ask of the driver. They run on the same thread, but axum wants handlers
/// that could run anywhere.
#[derive(Debug)]
pub(crate) enum Command {
    Reset {
        /// Tiers and store are to be emptied as well.
        external: bool,
        /// Whether it was possible, or which tier failed.
        reply: oneshot::Sender<Result<bool, TierError>>,
    },
    Scrape(oneshot::Sender<String>),
}

/// The shared part of a server.
pub(crate) struct House {
    pub(crate) facts: Arc<Facts>,
    driver: RefCell<Driver<Telemetry>>,
    /// Moves bytes, where they are real.
    carrier: Option<Carrier>,
    clock: ModelClock,
    /// The driver's loop is to look again: something was submitted or given up.
    knock: Notify,
    given_up: RefCell<Vec<u64>>,
    unique: Cell<u64>,
    stopping: Cell<bool>,
    /// One waker per open connection, to tell them of the end.
    connections: RefCell<Vec<Option<Waker>>>,
    vacant: RefCell<Vec<usize>>,
    /// Told when a connection closes.
    departure: Notify,
}

impl House {
    pub(crate) fn new(
        facts: Arc<Facts>,
        driver: Driver<Telemetry>,
        carrier: Option<Carrier>,
        config: &ServeConfig,
    ) -> Rc<Self> {
        Rc::new(Self {
            facts,
            driver: RefCell::new(driver),
            carrier,
            clock: ModelClock::start(config.time),
            knock: Notify::new(),
            given_up: RefCell::default(),
            unique: Cell::new(0),
            stopping: Cell::new(false),
            connections: RefCell::default(),
            vacant: RefCell::default(),
            departure: Notify::new(),
        })
    }

    /// A number that no other request of this server has, and likely none of another.
    pub(crate) fn unique(&self) -> u64 {
        let count = self.unique.get();
        self.unique.set(count + 1);
        xxh3_64_with_seed(&count.to_le_bytes(), self.facts.seed)
    }

    /// Hands a request to the driver, now.
    pub(crate) fn submit(&self, ask: &Ask) -> Taken {
        let taken = self.driver.borrow_mut().submit(self.clock.now(), ask);
        self.knock.notify_one();
        taken
    }

    /// A response was dropped before its end. Done by the driver's loop, because a response may be
    /// dropped anywhere.
    pub(crate) fn give_up(&self, tag: u64) {
        self.given_up.borrow_mut().push(tag);
        self.knock.notify_one();
    }

    /// The driver's loop: steps what is due, then waits for the next event, a knock, or bytes that
    /// have arrived. After each pass the runtime has a turn, so that tokens leave as soon as they
    /// are due.
    pub(crate) async fn drive(
        &self,
        timer: Timer,
        mut outcomes: UnboundedReceiver<Done>,
    ) -> Result<(), ServeError> {
        let mut errands = Vec::new();
        let mut arrived = None;
        loop {
            let next = self.step(&mut errands, arrived.take(), &mut outcomes);
            match next {
                Some(at) if at <= self.clock.now() => tokio::task::yield_now().await,
                Some(at) => {
                    let span = self.clock.real_span(at.saturating_sub(self.clock.now()));
                    tokio::select! {
                        waited = timer.wait(span) => waited.map_err(|source| {
                            ServeError::System { what: "wait for the timer", source }
                        })?,
                        () = self.knock.notified() => {}
                        done = outcomes.recv(), if self.carrier.is_some() => arrived = done,
                    }
                }
                None => tokio::select! {
                    () = self.knock.notified() => {}
                    done = outcomes.recv(), if self.carrier.is_some() => arrived = done,
                },
            }
        }
    }

    /// Handles what is due now, and says when the next thing is.
    fn step(
        &self,
        errands: &mut Vec<Errand>,
        arrived: Option<Done>,
        outcomes: &mut UnboundedReceiver<Done>,
    ) -> Option<Nanos> {
        let now = self.clock.now();
        let mut driver = self.driver.borrow_mut();
        for tag in self.given_up.borrow_mut().drain(..) {
            driver.abort(now, tag);
        }
        let waiting = std::iter::from_fn(|| outcomes.try_recv().ok());
        for done in arrived.into_iter().chain(waiting) {
            match done {
                Done::Transfer { replica, id, outcome } => {
                    driver.transfer_done(now, replica, id, outcome);
                }
                Done::Lookup { replica, slot, from_chunk, found } => {
                    driver.lookup_done(now, replica, slot, from_chunk, found);
                }
            }
        }
        let next = if driver.advance(now) { Some(now) } else { driver.next_at() };
        if let Some(carrier) = &self.carrier {
            driver.take_errands(errands);
            carrier.take(errands, driver.interner());
        }
        next
    }

    /// Answers what control routes ask, until nobody can ask any more.
    pub(crate) async fn obey(&self, mut commands: UnboundedReceiver<Command>) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Reset { external, reply } => {
                    // Who asked may be gone; the reset stands.
                    let _ = reply.send(self.reset(external));
                }
                Command::Scrape(reply) => {
                    let driver = self.driver.borrow();
                    let carried = self.carrier.as_ref().map(Carrier::state);
                    let page = driver.watcher().page(driver.cluster(), carried.as_ref());
                    let _ = reply.send(page);
                }
            }
        }
    }

    /// Empties the caches, and the real tiers in step with the engines' books. Nothing else is done
    /// meanwhile, as in vLLM's engine: what arrives waits, and finds all of them empty.
    fn reset(&self, external: bool) -> Result<bool, TierError> {
        let done = self.driver.borrow_mut().reset_prefix_cache(self.clock.now(), external);
        self.knock.notify_one();
        match &self.carrier {
            Some(carrier) if done && external => carrier.clear().map(|()| true),
            _ => Ok(done),
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// A connection opens: its place, until [`House::leave`].
    pub(crate) fn enter(&self) -> usize {
        let mut connections = self.connections.borrow_mut();
        self.vacant.borrow_mut().pop().unwrap_or_else(|| {
            connections.push(None);
            connections.len() - 1
        })
    }

    /// How to wake a connection when the server stops.
    pub(crate) fn listen(&self, place: usize, waker: &Waker) {
        let slot = &mut self.connections.borrow_mut()[place];
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    pub(crate) fn leave(&self, place: usize) {
        self.connections.borrow_mut()[place] = None;
        self.vacant.borrow_mut().push(place);
        self.departure.notify_one();
    }

    fn open_connections(&self) -> usize {
        self.connections.borrow().len() - self.vacant.borrow().len()
    }

    /// Tells all connections to end after their present answer, and waits until they have.
    pub(crate) async fn empty(&self) {
        self.stopping.set(true);
        for waker in self.connections.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
        while self.open_connections() > 0 {
            self.departure.notified().await;
        }
    }

    /// Sends the KV events that wait, and closes their sockets.
    pub(crate) async fn close_feeds(&self) {
        let feeds = self.driver.borrow_mut().watcher_mut().take_feeds();
        for feed in feeds {
            feed.close().await;
        }
    }
}
