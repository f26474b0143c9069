//! KV events of engines, heard while a load runs: what they say that they stored and removed, by
//! medium. A source that is independent of their counters.
//!
//! An engine publishes batches over `ZeroMQ`, numbered from 0. What was published before the
//! subscription arrived is not heard; a number that is left out later is a lost batch, which is
//! counted, because sums without it are too small.

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
    /// Blocks (of a tier: chunks) that were stored.
    pub stored: u64,
    pub removed: u64,
}

/// What was heard so far, of all engines together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KvEventCounts {
    /// By medium: "gpu", "cpu", "storage", or what an engine calls it, in lower case.
    pub media: BTreeMap<String, MediumCounts>,
    pub batches: u64,
    /// Batches whose numbers were left out.
    pub lost: u64,
    /// Batches that could not be read.
    pub unreadable: u64,
    /// Why the first of them could not.
    pub problem: Option<String>,
}

impl KvEventCounts {
    /// What of a medium was heard.
    pub fn of(&self, medium: &str) -> MediumCounts {
        self.media.get(medium).copied().unwrap_or_default()
    }

    fn add(&mut self, heard: &Heard) {
        for event in &heard.events {
            let counts = self.media.entry(event.medium.clone()).or_default();
            match event.change {
                KvEventChange::Stored => counts.stored += event.blocks,
                KvEventChange::Removed => counts.removed += event.blocks,
                // How many blocks went is not said.
                KvEventChange::Cleared => {}
            }
        }
    }
}

/// Why events cannot be heard.
#[derive(Debug, thiserror::Error)]
pub enum KvEventError {
    #[error("no thread to hear KV events: {0}; lower the number of threads in use")]
    Thread(std::io::Error),
}

/// Hears events on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct KvEventWatch {
    counts: Arc<Mutex<KvEventCounts>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl KvEventWatch {
    /// Subscribes to all events of these endpoints (`tcp://127.0.0.1:5557`).
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
            // Ended by a word, or by the end of who would say it. The tasks go with the runtime.
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

/// Counts one batch: topic, number, payload.
fn take(message: &ZmqMessage, last: &mut Option<u64>, counts: &mut KvEventCounts) {
    counts.batches += 1;
    let number =
        message.get(1).and_then(|frame| Some(u64::from_be_bytes(frame[..].try_into().ok()?)));
    let (Some(number), Some(payload)) = (number, message.get(2)) else {
        return note(counts, format!("a batch of {} frames, not 3", message.len()));
    };
    if let Some(last) = *last {
        // A number that begins anew is another life of the engine, not a loss.
        counts.lost += number.saturating_sub(last + 1);
    }
    *last = Some(number);
    match decode(payload) {
        Ok(heard) => counts.add(&heard),
        Err(problem) => note(counts, problem),
    }
}
