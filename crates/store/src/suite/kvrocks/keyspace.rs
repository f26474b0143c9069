use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

/// Bytes of a memtable before a flush (`rocksdb.write_buffer_size`, 64 MiB by default). With a
/// small limit, memtables are small as well.
const MEMTABLE_BYTES: u64 = 64 << 20;
/// Approximate bytes that `RocksDB` stores beside key and value.
const OVERHEAD: u64 = 64;

#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
}

#[derive(Debug)]
struct Entry {
    value: Value,
    ends: Option<Instant>,
    /// Flushes before its write: after a later flush it is in a file.
    flushes_before: u64,
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
    /// Written and not flushed (`all_mem_tables`), bytes.
    unflushed: u64,
    /// In files (`used_db_size`), bytes.
    flushed: u64,
    /// Keys found by the last `DBSIZE SCAN`.
    scanned: u64,
    has_scanned: bool,
    counters: Counters,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counters {
    pub(super) flushes: u64,
    pub(super) flushed_bytes: u64,
    pub(super) compaction_read_bytes: u64,
    pub(super) compaction_written_bytes: u64,
    pub(super) memtable_hits: u64,
    pub(super) memtable_misses: u64,
    /// There is no block cache: each file read is a miss.
    pub(super) block_cache_misses: u64,
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) gets: u64,
    pub(super) writes: u64,
    pub(super) get_time: Duration,
    pub(super) write_time: Duration,
    /// Copies of values from the simulated files.
    pub(super) file_reads: u64,
    pub(super) file_read_time: Duration,
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
            counters: Counters::default(),
        }
    }

    pub(super) const fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) const fn levels(&self) -> (u64, u64) {
        (self.flushed, self.unflushed)
    }

    pub(super) const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The limit is checked after flushes only.
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

    /// Reads a whole value as `Get` of `RocksDB` does, even if the answer needs none.
    pub(super) fn read(&mut self, key: &[u8]) -> Option<Value> {
        let began = Instant::now();
        let counters = &mut self.counters;
        counters.gets += 1;
        let entry = self.entries.get(key).filter(|entry| !entry.is_over());
        let in_memtable = entry.is_some_and(|entry| entry.flushes_before == counters.flushes);
        if in_memtable {
            counters.memtable_hits += 1;
        } else {
            counters.memtable_misses += 1;
        }
        let value = entry.map(|entry| {
            let copying = Instant::now();
            let value = entry.value.clone();
            if !in_memtable {
                counters.block_cache_misses += 1;
                counters.file_reads += 1;
                counters.file_read_time += copying.elapsed();
            }
            counters.read_bytes += entry.bytes() - OVERHEAD;
            value
        });
        counters.get_time += began.elapsed();
        value
    }

    pub(super) fn set(&mut self, key: &[u8], value: Value, ends: Option<Instant>) {
        let began = Instant::now();
        let entry = Entry { value, ends, flushes_before: self.counters.flushes };
        let bytes = key.len() as u64 + entry.bytes();
        self.unflushed += bytes;
        self.counters.writes += 1;
        self.counters.written_bytes += bytes;
        self.entries.insert(key.to_owned(), entry);
        // Flushes and compactions block nothing.
        self.counters.write_time += began.elapsed();
        if self.unflushed >= self.memtable_bytes {
            self.flush();
        }
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        self.unflushed += key.len() as u64 + OVERHEAD;
        self.entries.remove(key).is_some_and(|entry| !entry.is_over())
    }

    fn flush(&mut self) {
        self.entries.retain(|_, entry| !entry.is_over());
        self.counters.flushes += 1;
        self.counters.flushed_bytes += self.unflushed;
        self.counters.compaction_read_bytes += self.flushed + self.unflushed;
        self.unflushed = 0;
        self.flushed =
            self.entries.iter().map(|(key, entry)| key.len() as u64 + entry.bytes()).sum();
        self.counters.compaction_written_bytes += self.flushed;
    }

    /// A page: seeks to the cursor's key and steps one further, even if that key was not found. A
    /// full page returns its last key.
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

/// Splits a glob after its literal prefix, whose backslashes are removed.
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

/// Whether a glob of `*`, `?` and literal bytes matches; classes match nothing.
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
