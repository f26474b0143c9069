//! State of the server's thread, and the loop that steps the engines.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, oneshot};
use weir_cluster::IoRequest;
use weir_model::Nanos;
use weir_service::{Connections, ServiceError};
use weir_store::TierError;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::clock::ModelClock;
use crate::config::{ServeConfig, ServeError};
use crate::engine_loop::{EngineLoop, NewRequest, Submitted};
use crate::mover::{Completion, Mover};
use crate::telemetry::Telemetry;
use crate::timer::Timer;
use crate::tokenizer::Tokenizer;

#[derive(Debug)]
pub(crate) struct ServerInfo {
    /// Answers carry the first.
    pub(crate) models: Vec<String>,
    pub(crate) tokenizer: Tokenizer,
    /// Prompt and answer, in tokens.
    pub(crate) max_model_len: u32,
    /// Limit for chat requests without one.
    pub(crate) chat_default_tokens: u32,
    /// `usage` reports prompt tokens from caches.
    pub(crate) prompt_tokens_details: bool,
    /// In bytes.
    pub(crate) body_limit: usize,
    pub(crate) block_tokens: u32,
    pub(crate) pool_blocks: u32,
    /// For the random part of request ids.
    pub(crate) seed: u64,
    /// Start of the server, in seconds since 1970.
    pub(crate) created: u64,
}

impl ServerInfo {
    pub(crate) fn model(&self) -> &str {
        self.models.first().map_or("", String::as_str)
    }
}

/// Sent through a channel because axum's handlers must be `Send`.
#[derive(Debug)]
pub(crate) enum ControlCommand {
    ResetPrefixCache {
        /// Also empties tiers and store.
        external: bool,
        /// False: not possible now.
        reply: oneshot::Sender<Result<bool, TierError>>,
    },
    Scrape(oneshot::Sender<String>),
}

pub(crate) struct ServerState {
    pub(crate) info: Arc<ServerInfo>,
    engines: RefCell<EngineLoop<Telemetry>>,
    /// None: transfer times come from the link and store model.
    mover: Option<Mover>,
    clock: ModelClock,
    /// Wakes the engine loop after a submit or an abort.
    wake: Notify,
    aborted: RefCell<Vec<u64>>,
    request_count: Cell<u64>,
    pub(crate) connections: Connections,
}

impl ServerState {
    pub(crate) fn new(
        info: Arc<ServerInfo>,
        engines: EngineLoop<Telemetry>,
        mover: Option<Mover>,
        config: &ServeConfig,
    ) -> Rc<Self> {
        Rc::new(Self {
            info,
            engines: RefCell::new(engines),
            mover,
            clock: ModelClock::start(config.time),
            wake: Notify::new(),
            aborted: RefCell::default(),
            request_count: Cell::new(0),
            connections: Connections::default(),
        })
    }

    /// Unique in this server and very likely among servers.
    pub(crate) fn unique_id(&self) -> u64 {
        let count = self.request_count.get();
        self.request_count.set(count + 1);
        xxh3_64_with_seed(&count.to_le_bytes(), self.info.seed)
    }

    pub(crate) fn submit(&self, new: &NewRequest) -> Submitted {
        let submitted = self.engines.borrow_mut().submit(self.clock.now(), new);
        self.wake.notify_one();
        submitted
    }

    /// Queued for the engine loop, which may be borrowed when a response is dropped.
    pub(crate) fn abort(&self, tag: u64) {
        self.aborted.borrow_mut().push(tag);
        self.wake.notify_one();
    }

    /// Steps what is due, then waits for an event, a wake-up or I/O. Yields after each pass, so
    /// that tokens leave as soon as they are due.
    pub(crate) async fn run_engines(
        &self,
        timer: Timer,
        mut completions: UnboundedReceiver<Completion>,
    ) -> Result<(), ServeError> {
        let mut io_requests = Vec::new();
        let mut completed = None;
        loop {
            let next = self.step(&mut io_requests, completed.take(), &mut completions);
            match next {
                Some(at) if at <= self.clock.now() => tokio::task::yield_now().await,
                Some(at) => {
                    let span = self.clock.real_span(at.saturating_sub(self.clock.now()));
                    tokio::select! {
                        waited = timer.wait(span) => waited.map_err(|source| {
                            ServiceError::System { what: "wait for the timer", source }
                        })?,
                        () = self.wake.notified() => {}
                        done = completions.recv(), if self.mover.is_some() => completed = done,
                    }
                }
                None => tokio::select! {
                    () = self.wake.notified() => {}
                    done = completions.recv(), if self.mover.is_some() => completed = done,
                },
            }
        }
    }

    /// Returns the time of the next event.
    fn step(
        &self,
        io_requests: &mut Vec<IoRequest>,
        completed: Option<Completion>,
        completions: &mut UnboundedReceiver<Completion>,
    ) -> Option<Nanos> {
        let now = self.clock.now();
        let mut engines = self.engines.borrow_mut();
        for tag in self.aborted.borrow_mut().drain(..) {
            engines.abort(now, tag);
        }
        let waiting = std::iter::from_fn(|| completions.try_recv().ok());
        for completion in completed.into_iter().chain(waiting) {
            match completion {
                Completion::Transfer { replica, id, outcome } => {
                    engines.transfer_done(now, replica, id, outcome);
                }
                Completion::Lookup { replica, slot, from_chunk, found } => {
                    engines.lookup_done(now, replica, slot, from_chunk, found);
                }
            }
        }
        let next = if engines.advance(now) { Some(now) } else { engines.next_at() };
        if let Some(mover) = &self.mover {
            engines.take_io_requests(io_requests);
            mover.submit(io_requests, engines.interner());
        }
        next
    }

    pub(crate) async fn handle_control(&self, mut commands: UnboundedReceiver<ControlCommand>) {
        while let Some(command) = commands.recv().await {
            match command {
                ControlCommand::ResetPrefixCache { external, reply } => {
                    // The reset holds even if its client has disconnected.
                    let _ = reply.send(self.reset_prefix_cache(external));
                }
                ControlCommand::Scrape(reply) => {
                    let engines = self.engines.borrow();
                    let page = engines.watcher().page(engines.cluster(), self.mover.as_ref());
                    let _ = reply.send(page);
                }
            }
        }
    }

    /// `external` includes the real tiers. Blocks the thread, as vLLM's engine does, so that no
    /// request finds only some caches empty.
    fn reset_prefix_cache(&self, external: bool) -> Result<bool, TierError> {
        let done = self.engines.borrow_mut().reset_prefix_cache(self.clock.now(), external);
        self.wake.notify_one();
        match &self.mover {
            Some(mover) if done && external => mover.clear().map(|()| true),
            _ => Ok(done),
        }
    }

    pub(crate) async fn close_publishers(&self) {
        let publishers = self.engines.borrow_mut().watcher_mut().take_publishers();
        for publisher in publishers {
            publisher.close().await;
        }
    }
}
