//! Engines' KV events during a load: stored and removed blocks by medium, independent of their
//! counters.
//!
//! An engine publishes numbered batches over `ZeroMQ`, from 0. Batches before the subscription are
//! not received. A later missing number is a lost batch; it is counted, because sums without it
//! are too small. A doubled batch counts once.
//!
//! For a choice among engines, what each held when is kept too.

mod decode;
mod held_blocks;
mod sequence;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use weir_model::{ChoiceHits, Nanos};
use xxhash_rust::xxh3::xxh3_64;
use zeromq::{Socket as _, SocketRecv as _, SubSocket, ZmqMessage};

use crate::clock::{UnixNanos, UtcClock};
use sequence::{Arrived, BatchSequence};

pub use decode::{Heard, HeardEvent, KvEventChange, decode};
pub use held_blocks::{HeldBlocks, HeldGaps};

/// After an error of the connection, which the socket makes anew.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MediumCounts {
    /// Hashes: of blocks, or one for each chunk of a tier.
    pub stored: u64,
    pub removed: u64,
    /// Tokens that a hash stands for; 0 where events have none.
    pub tokens: u32,
}

/// Of all engines together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KvEventCounts {
    /// By medium: "gpu", "cpu", "storage", or an engine's own name, in lower case.
    pub media: BTreeMap<String, MediumCounts>,
    pub batches: u64,
    pub lost: u64,
    pub doubled: u64,
    pub unreadable: u64,
    pub problem: Option<String>,
}

impl KvEventCounts {
    pub fn of(&self, medium: &str) -> MediumCounts {
        self.media.get(medium).copied().unwrap_or_default()
    }

    fn add(&mut self, heard: &Heard) {
        for event in &heard.events {
            let counts = self.media.entry(event.medium.clone()).or_default();
            match event.change {
                KvEventChange::Stored => {
                    counts.stored += event.blocks();
                    let tokens = event.token_ids.len() as u64;
                    let tokens = tokens.checked_div(event.blocks()).unwrap_or(0) as u32;
                    counts.tokens = counts.tokens.max(tokens);
                }
                KvEventChange::Removed => counts.removed += event.blocks(),
                // The number of blocks is not given.
                KvEventChange::Cleared => {}
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum KvEventError {
    #[error("no thread to hear KV events: {0}; lower the number of threads in use")]
    Thread(std::io::Error),
}

/// What a subscription keeps.
#[derive(Debug, Clone, Copy)]
pub struct KvEventConfig {
    pub clock: UtcClock,
    /// None keeps counts alone. Else also which engine held which blocks when; blocks that left
    /// are kept for this long.
    pub remember: Option<Nanos>,
}

#[derive(Debug)]
struct Shared {
    clock: UtcClock,
    counts: Mutex<KvEventCounts>,
    held: Option<Mutex<HeldBlocks>>,
}

/// Receives events on its own thread until it is dropped.
#[derive(Debug)]
pub struct KvEventWatch {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl KvEventWatch {
    /// To all events of endpoints such as `tcp://127.0.0.1:5557`, one per engine.
    pub fn start(endpoints: Vec<String>, config: KvEventConfig) -> Result<Self, KvEventError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(KvEventError::Thread)?;
        let held = config.remember.map(|span| Mutex::new(HeldBlocks::new(endpoints.len(), span)));
        let shared = Arc::new(Shared { clock: config.clock, counts: Mutex::default(), held });
        let (stop, stopped) = oneshot::channel();
        let heard = Arc::clone(&shared);
        let hear = move || {
            for (engine, endpoint) in endpoints.into_iter().enumerate() {
                runtime.spawn(hear(endpoint, engine, Arc::clone(&heard)));
            }
            // Ends by a message or a closed channel. The tasks end with the runtime.
            let _ = runtime.block_on(stopped);
        };
        let thread = std::thread::Builder::new()
            .name("weir-kv-events".to_owned())
            .spawn(hear)
            .map_err(KvEventError::Thread)?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    pub fn counts(&self) -> KvEventCounts {
        self.shared.counts.lock().clone()
    }

    /// Of the times at which events were heard.
    pub fn clock(&self) -> UtcClock {
        self.shared.clock
    }

    /// See [`HeldBlocks::hits`]; None also where only counts are kept.
    pub fn hits(&self, at: UnixNanos, token_ids: &[u32], chosen: usize) -> Option<ChoiceHits> {
        self.shared.held.as_ref()?.lock().hits(at, token_ids, chosen)
    }

    pub fn gaps(&self) -> HeldGaps {
        self.shared.held.as_ref().map_or_else(HeldGaps::default, |held| held.lock().gaps())
    }
}

impl Drop for KvEventWatch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn hear(endpoint: String, engine: usize, shared: Arc<Shared>) {
    let mut socket = SubSocket::new();
    let connected = match socket.connect(&endpoint).await {
        Ok(()) => socket.subscribe("").await,
        Err(error) => Err(error),
    };
    if let Err(error) = connected {
        note(&mut shared.counts.lock(), format!("{endpoint}: {error}"));
        return;
    }
    let mut sequence = BatchSequence::default();
    // It ends with the runtime. What an engine publishes while nobody hears it is missing in the
    // numbers of its batches.
    loop {
        match socket.recv().await {
            Ok(message) => take(&message, engine, &mut sequence, &shared),
            Err(_) => tokio::time::sleep(RECONNECT_PAUSE).await,
        }
    }
}

fn note(counts: &mut KvEventCounts, problem: String) {
    counts.unreadable += 1;
    counts.problem.get_or_insert(problem);
}

fn take(message: &ZmqMessage, engine: usize, sequence: &mut BatchSequence, shared: &Shared) {
    let at = shared.clock.now();
    let mut counts = shared.counts.lock();
    counts.batches += 1;
    let number =
        message.get(1).and_then(|frame| Some(u64::from_be_bytes(frame[..].try_into().ok()?)));
    let mut held = shared.held.as_ref().map(Mutex::lock);
    let (Some(number), Some(payload)) = (number, message.get(2)) else {
        if let Some(held) = &mut held {
            held.lose(engine, at);
        }
        return note(&mut counts, format!("a batch of {} frames, not 3", message.len()));
    };
    let arrived = sequence.take(number, xxh3_64(payload));
    match arrived {
        Arrived::Again => {
            counts.doubled += 1;
            return;
        }
        Arrived::After(lost) | Arrived::Restarted(lost) => {
            counts.lost = counts.lost.saturating_add(lost);
        }
        Arrived::First(_) | Arrived::Next => {}
    }
    if let Some(held) = &mut held {
        if matches!(arrived, Arrived::Restarted(_)) {
            held.restart(engine, at);
        }
        if matches!(arrived, Arrived::First(1..) | Arrived::After(_) | Arrived::Restarted(1..)) {
            held.lose(engine, at);
        }
    }
    match (decode(payload), held) {
        (Ok(heard), held) => {
            counts.add(&heard);
            if let Some(mut held) = held {
                held.apply(engine, at, &heard.events);
            }
        }
        (Err(problem), held) => {
            if let Some(mut held) = held {
                held.lose(engine, at);
            }
            note(&mut counts, problem);
        }
    }
}
