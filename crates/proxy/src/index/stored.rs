//! The index in Redis or Valkey, in the layout of llm-d-kv-cache 0.9.0, so that its pickers can
//! share it.
//!
//! | key | holds |
//! |---|---|
//! | decimal key of a block | HASH; a field per holder: JSON of its replica, medium and group |
//! | `engine:` and a decimal engine key | ZSET: keys of the blocks, in their order |

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use weir_http::TlsConfig;
use weir_observe::kv_events::HeardEvent;
use weir_router::{Match, TierWeights};
use weir_store::resp::value::Value;
use weir_store::{Address, RespError, StoreClient};

/// Of one exchange.
const PATIENCE: Duration = Duration::from_secs(2);
/// Blocks that are asked for together. Longer prompts end early where nobody has the first ones.
const LOOKUP_BLOCKS: usize = 256;
const SCAN_KEYS: &[u8] = b"1024";
const GPU: &str = "gpu";

/// Forgets an engine key when none of its blocks is held any more, in one step because others may
/// store one of them at the same time.
const FORGET: &[u8] = b"for at = 2, #KEYS do \
    if redis.call('EXISTS', KEYS[at]) == 1 then return 0 end end \
    return redis.call('DEL', KEYS[1])";

/// A field, with the names and the order that Go gives it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PodEntry<'a> {
    pod_identifier: &'a str,
    device_tier: &'a str,
    speculative: bool,
    has_group: bool,
    group_idx: u32,
}

#[derive(Debug)]
pub(crate) struct StoredIndex {
    /// Replicas in their order, by the names that topics have.
    replicas: Vec<String>,
    weights: TierWeights,
    /// Of events, and of lookups: neither waits for the other.
    events: StoreClient,
    lookups: StoreClient,
}

type Command = Vec<Vec<u8>>;

fn command(words: &[&[u8]]) -> Command {
    words.iter().map(|word| word.to_vec()).collect()
}

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

fn number(value: &Value) -> Option<u64> {
    value.text()?.parse().ok()
}

impl StoredIndex {
    pub(crate) fn open(
        address: &Address,
        replicas: Vec<String>,
        weights: TierWeights,
    ) -> Result<Self, RespError> {
        let client = || StoreClient::new(address, &TlsConfig::default());
        let index = Self { replicas, weights, events: client()?, lookups: client()? };
        index.events.call(&[b"PING"], deadline())?;
        index.lookups.call(&[b"PING"], deadline())?;
        Ok(index)
    }

    fn field(&self, replica: u16, event: &HeardEvent) -> Vec<u8> {
        let entry = PodEntry {
            pod_identifier: &self.replicas[usize::from(replica)],
            device_tier: &event.medium,
            speculative: false,
            has_group: event.group.is_some(),
            group_idx: event.group.unwrap_or(0),
        };
        serde_json::to_vec(&entry).expect("names and numbers are valid JSON")
    }

    pub(crate) fn key_of(&self, engine_key: u64) -> Result<Option<u64>, RespError> {
        let name = engine_name(engine_key);
        let last: [&[u8]; 4] = [b"ZREVRANGE", name.as_bytes(), b"0", b"0"];
        let answer = self.events.call(&last, deadline())?;
        Ok(answer.elements().first().and_then(number))
    }

    pub(crate) fn store(
        &self,
        replica: u16,
        event: &HeardEvent,
        keys: &[u64],
    ) -> Result<(), RespError> {
        let field = self.field(replica, event);
        let engine_keys = &event.hashes;
        let mut commands = Vec::with_capacity(2 * keys.len());
        let pairs = if engine_keys.is_empty() { 0 } else { keys.len().max(engine_keys.len()) };
        for pair in 0..pairs {
            let engine_key = engine_name(engine_keys[pair * engine_keys.len() / pairs]);
            let key = keys[pair * keys.len() / pairs].to_string();
            let ordinal = pair.to_string();
            let words = [b"ZADD", engine_key.as_bytes(), ordinal.as_bytes(), key.as_bytes()];
            commands.push(command(&words));
        }
        commands.extend(keys.iter().map(|key| hold(*key, &field)));
        self.events.call_all(&commands, deadline()).map(drop)
    }

    pub(crate) fn store_known(&self, replica: u16, event: &HeardEvent) -> Result<(), RespError> {
        let field = self.field(replica, event);
        let covered = self.covered(&event.hashes)?;
        let mut keys: Vec<u64> = covered.iter().filter_map(|keys| keys.last().copied()).collect();
        keys.dedup();
        let commands: Vec<Command> = keys.iter().map(|key| hold(*key, &field)).collect();
        self.events.call_all(&commands, deadline()).map(drop)
    }

    pub(crate) fn remove(&self, replica: u16, event: &HeardEvent) -> Result<(), RespError> {
        let field = self.field(replica, event);
        let covered = self.covered(&event.hashes)?;
        let mut commands = Vec::new();
        for (engine_key, keys) in event.hashes.iter().zip(&covered) {
            if keys.is_empty() {
                continue;
            }
            let names: Vec<String> = keys.iter().map(u64::to_string).collect();
            // A hash without fields does not exist.
            commands.extend(names.iter().map(|it| command(&[b"HDEL", it.as_bytes(), &field])));
            let (engine_key, count) = (engine_name(*engine_key), (names.len() + 1).to_string());
            let mut words = vec![b"EVAL", FORGET, count.as_bytes(), engine_key.as_bytes()];
            words.extend(names.iter().map(String::as_bytes));
            commands.push(command(&words));
        }
        self.events.call_all(&commands, deadline()).map(drop)
    }

    /// The blocks that each engine key covers.
    fn covered(&self, engine_keys: &[u64]) -> Result<Vec<Vec<u64>>, RespError> {
        let range = |key: &u64| command(&[b"ZRANGE", engine_name(*key).as_bytes(), b"0", b"-1"]);
        let commands: Vec<Command> = engine_keys.iter().map(range).collect();
        let answers = self.events.call_all(&commands, deadline())?;
        let keys = |answer: &Value| answer.elements().iter().filter_map(number).collect();
        Ok(answers.iter().map(keys).collect())
    }

    /// Walks over all keys of the database, as llm-d does. Keys of others are left alone.
    pub(crate) fn clear(&self, replica: u16) -> Result<(), RespError> {
        let mut cursor = b"0".to_vec();
        loop {
            let scan: [&[u8]; 4] = [b"SCAN", &cursor, b"COUNT", SCAN_KEYS];
            let page = self.events.call(&scan, deadline())?;
            let [Value::Text(next), keys] = page.elements() else { return Ok(()) };
            let blocks: Vec<u64> = keys.elements().iter().filter_map(number).collect();
            let fields: Vec<Command> = blocks.iter().map(|key| fields_of(*key)).collect();
            let answers = self.events.call_all(&fields, deadline())?;
            let mut commands = Vec::new();
            for (key, held) in blocks.iter().zip(&answers) {
                let of_replica = held.elements().iter().filter(|field| {
                    self.holder(field).is_some_and(|(number, _)| number == usize::from(replica))
                });
                let name = key.to_string();
                commands.extend(of_replica.filter_map(|field| match field {
                    Value::Text(field) => Some(command(&[b"HDEL", name.as_bytes(), field])),
                    _ => None,
                }));
            }
            self.events.call_all(&commands, deadline())?;
            if next == b"0" {
                return Ok(());
            }
            cursor.clone_from(next);
        }
    }

    /// The replica and the weight of a field; None for those of others.
    fn holder(&self, field: &Value) -> Option<(usize, f64)> {
        let entry: PodEntry<'_> = serde_json::from_str(field.text()?).ok()?;
        let replica = self.replicas.iter().position(|id| id == entry.pod_identifier)?;
        let weights = self.weights;
        Some((replica, if entry.device_tier == GPU { weights.gpu } else { weights.below }))
    }

    pub(crate) fn lookup(&self, keys: &[u64], matches: &mut [Match]) -> Result<(), RespError> {
        matches.fill(Match::default());
        let mut at = 0;
        for keys in keys.chunks(LOOKUP_BLOCKS) {
            let commands: Vec<Command> = keys.iter().map(|key| fields_of(*key)).collect();
            for fields in self.lookups.call_all(&commands, deadline())? {
                let mut best: Vec<Option<f64>> = vec![None; matches.len()];
                for (replica, weight) in fields.elements().iter().filter_map(|it| self.holder(it)) {
                    if let Some(best) = best.get_mut(replica) {
                        *best = Some(best.map_or(weight, |known: f64| known.max(weight)));
                    }
                }
                let mut is_held = false;
                for (found, weight) in matches.iter_mut().zip(best) {
                    if let Some(weight) = weight.filter(|_| found.blocks == at) {
                        found.blocks += 1;
                        found.score += weight;
                        is_held = true;
                    }
                }
                if !is_held {
                    return Ok(());
                }
                at += 1;
            }
        }
        Ok(())
    }
}

fn engine_name(engine_key: u64) -> String {
    format!("engine:{engine_key}")
}

fn hold(key: u64, field: &[u8]) -> Command {
    command(&[b"HSET", key.to_string().as_bytes(), field, b""])
}

fn fields_of(key: u64) -> Command {
    command(&[b"HKEYS", key.to_string().as_bytes()])
}
