//! The keys, in the order in which `RocksDB` has them, and what their bytes count as.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Instant;

/// Bytes of a memtable before it is flushed (`rocksdb.write_buffer_size`, 64 MiB by default); a
/// server with a small limit has small ones, as it would have to.
const MEMTABLE_BYTES: u64 = 64 << 20;
/// What `RocksDB` keeps beside key and value, about.
const OVERHEAD: u64 = 64;

#[derive(Debug)]
pub(super) enum Value {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
}

#[derive(Debug)]
struct Entry {
    value: Value,
    ends: Option<Instant>,
}

impl Entry {
    fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| ends <= Instant::now())
    }

    fn bytes(&self) -> u64 {
        let bytes = match &self.value {
            Value::Text(text) => text.len(),
            Value::List(parts) => parts.iter().map(Vec::len).sum(),
        };
        bytes as u64 + OVERHEAD
    }
}

#[derive(Debug)]
pub(super) struct Keyspace {
    entries: BTreeMap<Vec<u8>, Entry>,
    limit: Option<u64>,
    memtable_bytes: u64,
    /// Written and not flushed (`all_mem_tables`).
    unflushed: u64,
    /// In files (`used_db_size`).
    flushed: u64,
    /// Keys that `DBSIZE SCAN` found last.
    scanned: u64,
    has_scanned: bool,
}

impl Keyspace {
    pub(super) fn new(limit: Option<u64>) -> Self {
        let memtable_bytes = limit.map_or(MEMTABLE_BYTES, |limit| limit / 4);
        Self {
            entries: BTreeMap::new(),
            limit,
            memtable_bytes,
            unflushed: 0,
            flushed: 0,
            scanned: 0,
            has_scanned: false,
        }
    }

    pub(super) const fn levels(&self) -> (u64, u64) {
        (self.flushed, self.unflushed)
    }

    pub(super) const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The limit is looked at after flushes only.
    pub(super) fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.flushed >= limit)
    }

    pub(super) const fn last_scan(&self) -> Option<u64> {
        if self.has_scanned { Some(self.scanned) } else { None }
    }

    pub(super) fn scan_all(&mut self) {
        self.scanned = self.entries.values().filter(|entry| !entry.is_over()).count() as u64;
        self.has_scanned = true;
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Value> {
        let entry = self.entries.get(key).filter(|entry| !entry.is_over())?;
        Some(&entry.value)
    }

    pub(super) fn set(&mut self, key: &[u8], value: Value, ends: Option<Instant>) {
        let entry = Entry { value, ends };
        self.unflushed += key.len() as u64 + entry.bytes();
        self.entries.insert(key.to_owned(), entry);
        if self.unflushed >= self.memtable_bytes {
            self.flush();
        }
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        self.unflushed += key.len() as u64 + OVERHEAD;
        self.entries.remove(key).is_some_and(|entry| !entry.is_over())
    }

    /// Flushes, and compacts at once.
    fn flush(&mut self) {
        self.entries.retain(|_, entry| !entry.is_over());
        self.unflushed = 0;
        self.flushed =
            self.entries.iter().map(|(key, entry)| key.len() as u64 + entry.bytes()).sum();
    }

    /// A page: seeks to the cursor's key and goes one on, whether or not it found that very key.
    /// The last key looked at comes with it where the page is full.
    pub(super) fn scan(
        &self,
        cursor: &[u8],
        prefix: &[u8],
        suffix: &[u8],
        limit: usize,
    ) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
        let start = if cursor.is_empty() { prefix } else { cursor };
        let range = (Bound::Included(start), Bound::Unbounded);
        let mut entries = self.entries.range::<[u8], _>(range);
        if !cursor.is_empty() {
            entries.next();
        }
        let mut keys = Vec::new();
        for (key, entry) in entries {
            let Some(rest) = key.strip_prefix(prefix) else { break };
            if entry.is_over() || !fits(suffix, rest) {
                continue;
            }
            keys.push(key.clone());
            if keys.len() == limit {
                return (keys, Some(key.clone()));
            }
        }
        (keys, None)
    }
}

/// Splits a glob where its literal beginning ends, which loses its backslashes.
pub(super) fn split_glob(pattern: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut prefix = Vec::new();
    let mut rest = pattern;
    while !matches!(rest, [] | [b'*' | b'?' | b'[', ..]) {
        if let [b'\\', byte, tail @ ..] | [byte, tail @ ..] = rest {
            prefix.push(*byte);
            rest = tail;
        }
    }
    (prefix, rest)
}

/// Whether a glob of `*`, `?` and literal bytes fits; classes fit nothing.
fn fits(glob: &[u8], text: &[u8]) -> bool {
    match (glob, text) {
        ([b'*'], _) | ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|from| fits(rest, &text[from..])),
        ([b'?', rest @ ..], [_, tail @ ..]) => fits(rest, tail),
        ([b'[', ..], _) | ([_, ..], []) | ([], [_, ..]) => false,
        ([b'\\', byte, rest @ ..] | [byte, rest @ ..], [first, tail @ ..]) => {
            byte == first && fits(rest, tail)
        }
    }
}
