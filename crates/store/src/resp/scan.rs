//! Iterates over the keys of a layout with `SCAN`. Never `FLUSHALL`, never `KEYS`: a store may have
//! other users.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::connection::StoreConnection;
use super::error::RespError;
use super::fleet::Fleet;
use super::job::{AskJob, Asked, Question};
use super::layout::{KeyLayout, KeyPart};
use super::pipeline::{PendingCommand, drive};
use super::refusal::ErrorReply;
use super::value::Value;
use crate::tier::ChunkHash;

/// Keys per `SCAN` call: one or two milliseconds that block the server.
const PAGE: &[u8] = b"4000";
/// Keys remembered to detect duplicates: eight bytes each, 8 MiB in all. Beyond this, keys that
/// `SCAN` returns twice (Redis, while its table is resized) are counted twice.
const DISTINCT_MAX: usize = 1 << 20;
/// Names tried for a key in one server's slots of a cluster: with a thousand masters each has 16 of
/// 16,384.
const NAMES_MAX: u64 = 1 << 14;
/// Expiry of a proof key beyond its call's deadline, in case its removal fails.
const LIFE: Duration = Duration::from_mins(1);

type Work<'a> = &'a mut dyn FnMut(&mut StoreConnection, &[Vec<u8>]) -> Result<(), RespError>;

/// Passes every page of keys of this layout to `work`. A key may appear more than once.
fn scan(
    connection: &mut StoreConnection,
    layout: &KeyLayout,
    deadline: Instant,
    work: Work<'_>,
) -> Result<(), RespError> {
    let (pattern, reader) = (layout.pattern(), layout.reader());
    let mut cursor = b"0".to_vec();
    loop {
        let command: [&[u8]; 6] = [b"SCAN", &cursor, b"MATCH", &pattern, b"COUNT", PAGE];
        let reply = connection.demand(&command, deadline)?;
        let Value::Array(mut parts) = reply else { return Err(odd(connection)) };
        let (Some(Value::Array(keys)), Some(Value::Text(next)), true) =
            (parts.pop(), parts.pop(), parts.is_empty())
        else {
            return Err(odd(connection));
        };
        let keys: Vec<Vec<u8>> = keys
            .into_iter()
            .filter_map(|key| match key {
                Value::Text(key) if reader.parse(&key).is_some() => Some(key),
                _ => None,
            })
            .collect();
        if !keys.is_empty() {
            work(connection, &keys)?;
        }
        if next == b"0" {
            return Ok(());
        }
        cursor = next;
    }
}

fn odd(connection: &StoreConnection) -> RespError {
    RespError::Protocol {
        place: connection.place().to_owned(),
        why: "unexpected answer to SCAN".to_owned(),
    }
}

#[derive(Debug, Default)]
pub(super) struct Proven(Mutex<BTreeSet<String>>);

impl Proven {
    fn has(&self, place: &str) -> bool {
        self.0.lock().contains(place)
    }

    fn note(&self, place: &str) {
        self.0.lock().insert(place.to_owned());
    }
}

#[derive(Debug, Default)]
pub(super) struct Counted {
    /// None if a server's `SCAN` is not known to find such keys.
    pub(super) chunks: Option<u64>,
    pub(super) example: Option<String>,
}

/// Counts chunks of this layout. A server without any is believed only if its `SCAN` found such a
/// key before, or finds one written for the proof: a failing `SCAN` looks like an empty store.
pub(super) fn count(
    fleet: &Fleet,
    layout: &KeyLayout,
    proven: &Proven,
    deadline: Instant,
) -> Result<Counted, RespError> {
    let mut total = Some(0);
    let mut example = None;
    fleet.visit(deadline, |connection| {
        let chunks = count_on(connection, layout, &mut example, deadline)?;
        if chunks > 0 || (!proven.has(connection.place()) && prove(connection, layout, deadline)?) {
            proven.note(connection.place());
        }
        let known = proven.has(connection.place());
        total = total.filter(|_| known).map(|total: u64| total + chunks);
        Ok(())
    })?;
    Ok(Counted { chunks: total, example })
}

/// The key that exists exactly when the chunk does.
const fn telling(layout: &KeyLayout) -> KeyPart {
    if layout.has_metadata() { KeyPart::Metadata } else { KeyPart::Value }
}

fn count_on(
    connection: &mut StoreConnection,
    layout: &KeyLayout,
    example: &mut Option<String>,
    deadline: Instant,
) -> Result<u64, RespError> {
    let mut seen: Vec<u64> = Vec::new();
    let mut beyond = 0;
    let (reader, counted) = (layout.reader(), telling(layout));
    // In a one-key layout every key is a chunk's.
    let is_all = !layout.has_metadata();
    scan(connection, layout, deadline, &mut |_, keys| {
        let tells = |key: &&Vec<u8>| {
            is_all || matches!(reader.parse(key), Some((_, part)) if part == counted)
        };
        for key in keys.iter().filter(tells) {
            example.get_or_insert_with(|| String::from_utf8_lossy(key).into_owned());
            if seen.len() < DISTINCT_MAX {
                seen.push(xxh3_64(key));
            } else {
                beyond += 1;
            }
        }
        Ok(())
    })?;
    seen.sort_unstable();
    seen.dedup();
    Ok(seen.len() as u64 + beyond)
}

/// Whether `SCAN` finds a written key that no chunk has; false if the server refuses the key.
fn prove(
    connection: &mut StoreConnection,
    layout: &KeyLayout,
    deadline: Instant,
) -> Result<bool, RespError> {
    let life = deadline.saturating_duration_since(Instant::now()) + LIFE;
    let life = life.as_secs().to_string();
    let mut key = Vec::new();
    for attempt in 0..NAMES_MAX {
        key.clear();
        layout.key(&nobodys(attempt), telling(layout), &mut key);
        let command: [&[u8]; 5] = [b"SET", &key, b"", b"EX", life.as_bytes()];
        if let Value::Error(words) = connection.call(&command, deadline)? {
            match ErrorReply::of(words.as_bytes()) {
                // Another server of the cluster owns this key's slot.
                ErrorReply::Moved { .. } | ErrorReply::Ask { .. } => continue,
                _ => return Ok(false),
            }
        }
        let mut found = false;
        scan(connection, layout, deadline, &mut |_, keys| {
            found |= keys.contains(&key);
            Ok(())
        })?;
        connection.call(&[b"DEL", &key], deadline)?;
        return Ok(found);
    }
    Ok(false)
}

/// A hash that no chunk has, different for two simultaneous proofs.
fn nobodys(attempt: u64) -> ChunkHash {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    let name = format!("weir looks whether it finds a key {} {now} {attempt}", std::process::id());
    let mut hash = [0; 32];
    for (lane, bytes) in hash.chunks_exact_mut(8).enumerate() {
        bytes.copy_from_slice(&xxh3_64_with_seed(name.as_bytes(), lane as u64).to_le_bytes());
    }
    ChunkHash(hash)
}

/// Removes all keys of this layout, pass by pass, until one removes none. If the cursor is the last
/// key of a page and was removed, a server may resume after the next key, so each removed page
/// hides a key (Kvrocks, `src/storage/redis_db.cc`, `Database::Scan`).
pub(super) fn clear(
    fleet: &Fleet,
    layout: &KeyLayout,
    mut question: Question,
    deadline: Instant,
) -> Result<(), RespError> {
    fleet.visit(deadline, |connection| {
        loop {
            let mut removed = 0;
            scan(connection, layout, deadline, &mut |connection, keys| {
                let mut outcome = unlink(connection, question, keys, deadline)?;
                if outcome.is_none() {
                    question = question.older();
                    outcome = unlink(connection, question, keys, deadline)?;
                }
                removed += outcome.unwrap_or(0);
                Ok(())
            })?;
            if removed == 0 {
                return Ok(());
            }
        }
    })
}

/// Removes keys and returns how many existed; None if the server lacks the command.
fn unlink(
    connection: &mut StoreConnection,
    question: Question,
    keys: &[Vec<u8>],
    deadline: Instant,
) -> Result<Option<u64>, RespError> {
    let mut answers = vec![Asked::Pending; keys.len()];
    let key = |index: u32, out: &mut Vec<u8>| out.extend_from_slice(&keys[index as usize]);
    let commands = (0..keys.len() as u32).map(|command| PendingCommand { command, asking: false });
    connection.pipe.load(commands);
    let mut job = AskJob { question, key, answers: &mut answers };
    drive(std::slice::from_mut(connection), &mut job, deadline);
    if let Some(error) = connection.pipe.error.take() {
        return Err(error);
    }
    if answers.contains(&Asked::Unknown) {
        return Ok(None);
    }
    // A key of a moving slot, or a missing permission.
    let left = answers.iter().filter(|answer| !matches!(answer, Asked::Known(_))).count();
    if left > 0 {
        if let Some(words) = connection.pipe.refused.take() {
            return Err(RespError::refused(connection.place(), &words));
        }
        return Err(RespError::Refused {
            place: connection.place().to_owned(),
            why: format!("{left} keys could not be removed"),
            remedy: "look whether the cluster is moving slots",
            refusal: ErrorReply::Other,
        });
    }
    let removed = answers.iter().filter(|answer| **answer == Asked::Known(true)).count();
    Ok(Some(removed as u64))
}
