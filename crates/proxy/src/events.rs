//! KV events of the replicas: heard on one thread, applied to the index on another.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Weak};
use std::time::Duration;

use weir_observe::kv_events::{HeardEvent, KvEventChange, decode};
use zeromq::{Socket as _, SocketRecv as _, SubSocket, ZmqMessage};

use crate::index::Applied;
use crate::known::SharedState;

/// Pause after a failed connection.
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);
/// Keys cover the model's name. Events whose topic lacks it wait for a replica to tell it.
const MODELS_PATIENCE: Duration = Duration::from_secs(5);
const MODELS_PAUSE: Duration = Duration::from_millis(10);

/// For the thread that applies events.
#[derive(Debug)]
pub(crate) enum IndexOrder {
    Batch {
        replica: u16,
        model: Option<String>,
        events: Vec<HeardEvent>,
    },
    /// The process is gone, and with it its cache.
    Clear {
        replica: u16,
    },
}

/// Numbers of the last batches, and whose they are.
struct Ear {
    shared: Arc<SharedState>,
    orders: Sender<IndexOrder>,
    /// The replica of an endpoint whose topics name none.
    replica: Option<u16>,
    /// By topic: one endpoint may carry several engines.
    last: HashMap<Vec<u8>, u64>,
}

/// What llm-d's pickers expect of a topic: `kv@ADDRESS:PORT@MODEL`.
#[derive(Debug, PartialEq)]
struct Topic<'a> {
    replica: Option<&'a str>,
    model: Option<&'a str>,
}

impl<'a> Topic<'a> {
    fn read(topic: &'a str) -> Self {
        let mut parts = topic.splitn(3, '@').skip(1);
        let (replica, model) = (parts.next(), parts.next());
        Self { replica, model: model.filter(|name| !name.is_empty()) }
    }
}

/// Hears an endpoint until the orders' receiver is gone.
pub(crate) async fn hear(
    endpoint: String,
    replica: Option<u16>,
    shared: Arc<SharedState>,
    orders: Sender<IndexOrder>,
) {
    let mut ear = Ear { shared, orders, replica, last: HashMap::new() };
    loop {
        let mut socket = SubSocket::new();
        let connected = match socket.connect(&endpoint).await {
            Ok(()) => socket.subscribe("").await,
            Err(error) => Err(error),
        };
        if connected.is_ok() {
            // An error is a peer that went away; the socket connects again by itself.
            loop {
                match socket.recv().await {
                    Ok(message) if ear.take(&message) => {}
                    Ok(_) => return,
                    Err(_) => tokio::time::sleep(RECONNECT_PAUSE).await,
                }
            }
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

impl Ear {
    /// False when nobody applies events any more.
    fn take(&mut self, message: &ZmqMessage) -> bool {
        let counters = &self.shared.counters;
        counters.batches.add(1);
        let frame = |at: usize| message.get(at).map(AsRef::<[u8]>::as_ref);
        let number = frame(1).and_then(|it| Some(u64::from_be_bytes(it.try_into().ok()?)));
        let (Some(topic), Some(number), Some(payload)) = (frame(0), number, frame(2)) else {
            counters.unreadable_batches.add(1);
            return true;
        };
        let last = self.last.insert(topic.to_vec(), number);
        if last == Some(number) {
            counters.repeated_batches.add(1);
            return true;
        }
        let Ok(heard) = decode(payload) else {
            counters.unreadable_batches.add(1);
            return true;
        };
        let text = String::from_utf8_lossy(topic);
        let topic = Topic::read(&text);
        let replica_of = |id| self.shared.replicas.iter().position(|it| it.id == id);
        let named = topic.replica.and_then(replica_of).map(|at| at as u16);
        let Some(replica) = named.or(self.replica) else {
            counters.foreign_batches.add(1);
            return true;
        };
        if let Some(last) = last {
            counters.lost_batches.add(number.saturating_sub(last + 1));
            // A number that starts again is that of a new process with an empty cache.
            if number < last && self.orders.send(IndexOrder::Clear { replica }).is_err() {
                return false;
            }
        }
        let model = topic.model.map(str::to_owned);
        self.orders.send(IndexOrder::Batch { replica, model, events: heard.events }).is_ok()
    }
}

/// Applies orders until all senders are gone, or the proxy is.
pub(crate) fn apply_all(
    orders: &Receiver<IndexOrder>,
    shared: &Weak<SharedState>,
    block_tokens: u32,
) {
    let mut patience = MODELS_PATIENCE;
    while let Ok(order) = orders.recv() {
        let is_nameless = matches!(order, IndexOrder::Batch { model: None, .. });
        while is_nameless && !patience.is_zero() && lacks_models(shared) {
            std::thread::sleep(MODELS_PAUSE);
            patience = patience.saturating_sub(MODELS_PAUSE);
        }
        let Some(shared) = shared.upgrade() else { return };
        let Some(index) = &shared.index else { return };
        let counters = &shared.counters;
        match order {
            IndexOrder::Clear { replica } => {
                if index.clear(replica).is_err() {
                    counters.event_failures.add(1);
                }
            }
            IndexOrder::Batch { replica, model, events } => {
                for event in &events {
                    counters.events.add(1);
                    // Only stored blocks need a key.
                    let name = event.lora.as_deref().or(model.as_deref());
                    let name = name.filter(|_| event.change == KvEventChange::Stored);
                    match index.apply(replica, event, shared.hasher(name), block_tokens) {
                        Ok(Applied::Done) => {}
                        Ok(Applied::Orphan) => counters.orphans.add(1),
                        Err(_) => counters.event_failures.add(1),
                    }
                }
            }
        }
    }
}

/// Names of models are not known yet, and the proxy is still there.
fn lacks_models(shared: &Weak<SharedState>) -> bool {
    shared.upgrade().is_some_and(|shared| !shared.knows_models())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_name_replica_and_model() {
        let topic = |replica, model| Topic { replica, model };
        assert_eq!(
            Topic::read("kv@10.0.0.1:8000@Qwen/Qwen3-8B"),
            topic(Some("10.0.0.1:8000"), Some("Qwen/Qwen3-8B"))
        );
        assert_eq!(Topic::read("kv@pod@a@b"), topic(Some("pod"), Some("a@b")));
        assert_eq!(Topic::read("kv-events"), topic(None, None));
        assert_eq!(Topic::read(""), topic(None, None));
    }
}
