//! The sockets: PUB for batches, ROUTER for replays.
//!
//! Two tasks run beside the driver. One encodes, numbers, sends and keeps batches; the other
//! answers replay requests, so a slow reader of old batches never delays new ones.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use zeromq::{PubSocket, RouterSocket, Socket as _, SocketEvent, SocketRecv as _, SocketSend as _};
use zeromq::{RouterSendHalf, ZmqError, ZmqMessage};

use super::config::{Address, EventForm, KvEventsError, PublisherConfig};
use super::encoding::{Layout, encode_batch};
use super::event::Event;

/// Of the message that ends a replay.
const END_OF_REPLAY: [u8; 8] = [0xff; 8];
/// A replay ends when its reader takes no message for this long.
const REPLAY_SEND_LIMIT: Duration = Duration::from_secs(10);

/// Batches that may wait (vLLM's `max_queue_size`). Further ones are dropped, which subscribers
/// detect as a gap in the sequence numbers; vLLM makes its engine wait.
const QUEUED_MAX: usize = 100_000;
/// Pause after a peer refused the handshake.
const CONNECT_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Batch {
    sequence: u64,
    seconds: f64,
    events: Vec<Event>,
}

/// For one engine. Dropping it closes its sockets at once; [`Self::close`] sends what waits first.
#[derive(Debug)]
pub struct Publisher {
    queue: mpsc::Sender<Batch>,
    sending: JoinHandle<()>,
    replaying: Option<JoinHandle<()>>,
    next_sequence: u64,
    dropped: Arc<AtomicU64>,
    endpoint: String,
}

impl Publisher {
    /// Needs a Tokio runtime with I/O and time.
    pub async fn open(
        config: &PublisherConfig,
        form: &EventForm,
        rank: u16,
    ) -> Result<Self, KvEventsError> {
        let address = Address::parse(&config.endpoint, rank)?;
        let failed = |endpoint: &str, error: &ZmqError| KvEventsError::Address {
            endpoint: endpoint.to_owned(),
            why: format!("{error}; choose another port or end what uses it"),
        };
        let mut socket = PubSocket::new();
        let mut endpoint = address.text.clone();
        if address.binds {
            let bound = socket.bind(&address.text).await;
            endpoint = bound.map_err(|error| failed(&address.text, &error))?.to_string();
        }
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let topic = Bytes::copy_from_slice(config.topic.as_bytes());
        let mut replaying = None;
        if let Some(replay) = &config.replay_endpoint {
            let address = Address::parse(replay, rank)?;
            let mut router = RouterSocket::new();
            let bound = router.bind(&address.text).await;
            bound.map_err(|error| failed(&address.text, &error))?;
            replaying = Some(tokio::spawn(answer_replays(router, kept.clone(), topic.clone())));
        }
        let (queue, batches) = mpsc::channel(QUEUED_MAX);
        let sender = Sender {
            socket,
            batches,
            topic,
            archive: Archive {
                kept,
                capacity: if replaying.is_some() { config.buffer_steps } else { 0 },
                layout: form.layout,
                rank,
            },
            peer: (!address.binds).then(|| address.text.clone()),
        };
        Ok(Self {
            queue,
            sending: tokio::spawn(sender.run()),
            replaying,
            next_sequence: 0,
            dropped: Arc::new(AtomicU64::new(0)),
            endpoint,
        })
    }

    /// Publishes one pass as one batch, stamped `seconds` after 1970; nothing without events. Never
    /// waits: a full queue drops the batch and its sequence number.
    pub fn publish(&mut self, seconds: f64, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let batch = Batch { sequence: self.next_sequence, seconds, events };
        self.next_sequence += 1;
        if self.queue.try_send(batch).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Includes dropped ones.
    pub const fn batches(&self) -> u64 {
        self.next_sequence
    }

    /// Batches dropped by a full queue.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Bound address, or the peer's.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub async fn close(mut self) {
        let (closed, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.queue, closed));
        // The task ends with the queue. It fails only by a panic, which is reported already.
        let _ = (&mut self.sending).await;
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.sending.abort();
        if let Some(replaying) = &self.replaying {
            replaying.abort();
        }
    }
}

type Kept = Arc<Mutex<VecDeque<(u64, Bytes)>>>;

struct Sender {
    socket: PubSocket,
    batches: mpsc::Receiver<Batch>,
    topic: Bytes,
    archive: Archive,
    /// None if the publisher binds.
    peer: Option<String>,
}

impl Sender {
    async fn run(mut self) {
        match self.peer.take() {
            None => {
                while let Some(batch) = self.batches.recv().await {
                    self.send(&batch).await;
                }
            }
            Some(peer) => self.run_connected(&peer).await,
        }
    }

    /// Reconnects when the peer disconnects. As with any PUB socket, only replays contain what is
    /// sent meanwhile.
    async fn run_connected(&mut self, peer: &str) {
        let mut changes = self.socket.monitor();
        while self.connect(peer).await {
            loop {
                tokio::select! {
                    batch = self.batches.recv() => match batch {
                        Some(batch) => self.send(&batch).await,
                        None => return,
                    },
                    change = changes.next() => {
                        if matches!(change, None | Some(SocketEvent::Disconnected(_))) {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// False when there is nothing more to send.
    async fn connect(&mut self, peer: &str) -> bool {
        let Self { socket, batches, archive, .. } = self;
        loop {
            let connecting = socket.connect(peer);
            let pause = async {
                // The library retries for ever; it fails only when the peer is no subscriber.
                if connecting.await.is_err() {
                    tokio::time::sleep(CONNECT_PAUSE).await;
                    return false;
                }
                true
            };
            tokio::pin!(pause);
            let connected = loop {
                tokio::select! {
                    connected = &mut pause => break connected,
                    batch = batches.recv() => match batch {
                        Some(batch) => drop(archive.add(&batch)),
                        None => return false,
                    },
                }
            };
            if connected {
                return true;
            }
        }
    }

    async fn send(&mut self, batch: &Batch) {
        let payload = self.archive.add(batch);
        let mut message = ZmqMessage::from(self.topic.clone());
        message.push_back(Bytes::copy_from_slice(&batch.sequence.to_be_bytes()));
        message.push_back(payload);
        // A PUB socket fails only towards single subscribers, who detect a gap.
        let _ = self.socket.send(message).await;
    }
}

struct Archive {
    kept: Kept,
    /// 0 without a replay endpoint.
    capacity: usize,
    layout: Layout,
    rank: u16,
}

impl Archive {
    fn add(&mut self, batch: &Batch) -> Bytes {
        let mut payload = Vec::new();
        let Batch { seconds, events, .. } = batch;
        encode_batch(&mut payload, self.layout, *seconds, events, self.rank);
        let payload = Bytes::from(payload);
        if self.capacity > 0 {
            let mut kept = self.kept.lock();
            if kept.len() == self.capacity {
                kept.pop_front();
            }
            kept.push_back((batch.sequence, payload.clone()));
        }
        payload
    }
}

/// A request is `[id, "", first sequence number as u64 BE]`. The answer is one message per kept
/// batch from that number on, and an end message. Others are ignored, as in vLLM.
async fn answer_replays(router: RouterSocket, kept: Kept, topic: Bytes) {
    let (mut answers, mut requests) = router.split();
    while let Ok(request) = requests.recv().await {
        let frames = request.into_vec();
        let [reader, _, start] = frames.as_slice() else { continue };
        let start = start.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        let batches: Vec<(u64, Bytes)> =
            kept.lock().iter().filter(|(sequence, _)| *sequence >= start).cloned().collect();
        let replies = batches.into_iter().map(|(sequence, payload)| {
            [topic.clone(), Bytes::copy_from_slice(&sequence.to_be_bytes()), payload]
        });
        let end = [Bytes::new(), Bytes::from_static(&END_OF_REPLAY), Bytes::new()];
        for frames in replies.chain([end]) {
            if !answer(&mut answers, reader, frames).await {
                break;
            }
        }
    }
}

/// False when the reader disconnected or takes nothing.
async fn answer(answers: &mut RouterSendHalf, reader: &Bytes, frames: [Bytes; 3]) -> bool {
    let mut message = ZmqMessage::from(reader.clone());
    message.push_back(Bytes::new());
    for frame in frames {
        message.push_back(frame);
    }
    matches!(tokio::time::timeout(REPLAY_SEND_LIMIT, answers.send(message)).await, Ok(Ok(())))
}
