//! Engines' KV events during a load: stored and removed blocks by medium, independent of their
//! counters.
//!
//! An engine publishes numbered batches over `ZeroMQ`, from 0. Batches before the subscription are
//! not received. A later missing number is a lost batch; it is counted, because sums without it
//! are too small.

mod decode;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use zeromq::{Socket as _, SocketRecv as _, SubSocket, ZmqMessage};

pub use decode::{Heard, HeardEvent, KvEventChange, decode};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MediumCounts {
    /// Of a tier: chunks.
    pub stored: u64,
    pub removed: u64,
}

/// Of all engines together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KvEventCounts {
    /// By medium: "gpu", "cpu", "storage", or an engine's own name, in lower case.
    pub media: BTreeMap<String, MediumCounts>,
    pub batches: u64,
    pub lost: u64,
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
                KvEventChange::Stored => counts.stored += event.blocks(),
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

/// Receives events on its own thread until it is dropped.
#[derive(Debug)]
pub struct KvEventWatch {
    counts: Arc<Mutex<KvEventCounts>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl KvEventWatch {
    /// To all events of endpoints such as `tcp://127.0.0.1:5557`.
    pub fn start(endpoints: Vec<String>) -> Result<Self, KvEventError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(KvEventError::Thread)?;
        let counts: Arc<Mutex<KvEventCounts>> = Arc::default();
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&counts);
        let hear = move || {
            for endpoint in endpoints {
                runtime.spawn(hear(endpoint, Arc::clone(&shared)));
            }
            // Ends by a message or a closed channel. The tasks end with the runtime.
            let _ = runtime.block_on(stopped);
        };
        let thread = std::thread::Builder::new()
            .name("weir-kv-events".to_owned())
            .spawn(hear)
            .map_err(KvEventError::Thread)?;
        Ok(Self { counts, stop: Some(stop), thread: Some(thread) })
    }

    pub fn counts(&self) -> KvEventCounts {
        self.counts.lock().clone()
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

async fn hear(endpoint: String, counts: Arc<Mutex<KvEventCounts>>) {
    let mut socket = SubSocket::new();
    let connected = match socket.connect(&endpoint).await {
        Ok(()) => socket.subscribe("").await,
        Err(error) => Err(error),
    };
    if let Err(error) = connected {
        note(&mut counts.lock(), format!("{endpoint}: {error}"));
        return;
    }
    let mut last = None;
    while let Ok(message) = socket.recv().await {
        take(&message, &mut last, &mut counts.lock());
    }
}

fn note(counts: &mut KvEventCounts, problem: String) {
    counts.unreadable += 1;
    counts.problem.get_or_insert(problem);
}

fn take(message: &ZmqMessage, last: &mut Option<u64>, counts: &mut KvEventCounts) {
    counts.batches += 1;
    let number =
        message.get(1).and_then(|frame| Some(u64::from_be_bytes(frame[..].try_into().ok()?)));
    let (Some(number), Some(payload)) = (number, message.get(2)) else {
        return note(counts, format!("a batch of {} frames, not 3", message.len()));
    };
    if let Some(last) = *last {
        // A number that starts again means a restarted engine, not a loss.
        counts.lost += number.saturating_sub(last + 1);
    }
    *last = Some(number);
    match decode(payload) {
        Ok(heard) => counts.add(&heard),
        Err(problem) => note(counts, problem),
    }
}
