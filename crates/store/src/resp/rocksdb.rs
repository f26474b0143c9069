//! Counters of the `RocksDB` in a Kvrocks: its part of `INFO`, and the answer to `STATS`.
//!
//! The names are those of `Server::GetRocksDBInfo` and `Server::GetRocksDBStatsJson`
//! (apache/kvrocks, `src/server/server.cc` at 48eef8d). `STATS` gives every ticker of
//! `TickersNameMap` as a number, and every histogram of `HistogramsNameMap` as p50, p95, p99,
//! largest, count and sum (facebook/rocksdb `monitoring/statistics.cc` at 0044a76). Kvrocks always
//! collects them (`src/storage/storage.cc` at 00db427). Releases differ in their figures; a missing
//! one is absent, never 0.

use std::collections::BTreeMap;

use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RocksDbFigure {
    /// Reads answered by unflushed data.
    MemtableHits,
    /// Reads that continued to files.
    MemtableMisses,
    BlockCacheHits,
    BlockCacheMisses,
    Gets,
    /// Microseconds, summed over threads.
    GetMicros,
    /// Microseconds, summed over threads: log, memtable and stalls.
    WriteMicros,
    /// Of table and blob files, cached or not; microseconds, summed over threads.
    FileReadMicros,
    /// Bytes of values found.
    ReadBytes,
    WrittenBytes,
    LogBytes,
    /// Including blob files.
    FlushedBytes,
    CompactionReadBytes,
    /// Including blob files.
    CompactionWrittenBytes,
    BlobReadBytes,
    BlobWrittenBytes,
    Flushes,
    Compactions,
    /// Delayed writes: too many files in level 0, memtables or bytes to compact.
    Slowdowns,
    /// Stopped writes, for the same reasons.
    Stops,
    /// Microseconds of delayed and stopped writes.
    StallMicros,
    MemtableBytes,
    WaitingMemtables,
    BlockCacheBytes,
    /// Estimated bytes to compact.
    PendingCompactionBytes,
    RunningFlushes,
    RunningCompactions,
}

#[derive(Debug, Clone, Copy)]
enum Stat {
    Ticker(&'static str),
    Count(&'static str),
    Sum(&'static str),
}

struct Source {
    figure: RocksDbFigure,
    name: &'static str,
    /// Whether it only grows while the server runs.
    grows: bool,
    /// Fields of `INFO` whose sum it is, each over its column families.
    info: &'static [&'static str],
    /// Parts of `STATS` whose sum it is, if `INFO` has none.
    stats: &'static [Stat],
}

use RocksDbFigure as Figure;
use Stat::{Count, Sum, Ticker};

const fn counted(
    figure: Figure,
    name: &'static str,
    info: &'static [&'static str],
    stats: &'static [Stat],
) -> Source {
    Source { figure, name, grows: true, info, stats }
}

const fn level(figure: Figure, name: &'static str, info: &'static [&'static str]) -> Source {
    Source { figure, name, grows: false, info, stats: &[] }
}

/// Those `..._with_ongoing_compaction` are part of those without.
const SLOWDOWNS: &[&str] = &[
    "level0_file_limit_slowdown",
    "memtable_count_limit_slowdown",
    "pending_compaction_bytes_slowdown",
];
const STOPS: &[&str] =
    &["level0_file_limit_stop", "memtable_count_limit_stop", "pending_compaction_bytes_stop"];

const SOURCES: [Source; 27] = [
    counted(Figure::MemtableHits, "memtable_hits", &[], &[Ticker("rocksdb.memtable.hit")]),
    counted(Figure::MemtableMisses, "memtable_misses", &[], &[Ticker("rocksdb.memtable.miss")]),
    counted(
        Figure::BlockCacheHits,
        "block_cache_hits",
        &["block_cache_data_hit"],
        &[Ticker("rocksdb.block.cache.data.hit")],
    ),
    counted(
        Figure::BlockCacheMisses,
        "block_cache_misses",
        &["block_cache_data_miss"],
        &[Ticker("rocksdb.block.cache.data.miss")],
    ),
    counted(Figure::Gets, "gets", &[], &[Count("rocksdb.db.get.micros")]),
    counted(Figure::GetMicros, "get_micros", &[], &[Sum("rocksdb.db.get.micros")]),
    counted(Figure::WriteMicros, "write_micros", &[], &[Sum("rocksdb.db.write.micros")]),
    counted(
        Figure::FileReadMicros,
        "file_read_micros",
        &[],
        &[Sum("rocksdb.sst.read.micros"), Sum("rocksdb.blobdb.blob.file.read.micros")],
    ),
    counted(Figure::ReadBytes, "read_bytes", &[], &[Ticker("rocksdb.bytes.read")]),
    counted(Figure::WrittenBytes, "written_bytes", &[], &[Ticker("rocksdb.bytes.written")]),
    counted(Figure::LogBytes, "log_bytes", &[], &[Ticker("rocksdb.wal.bytes")]),
    counted(Figure::FlushedBytes, "flushed_bytes", &[], &[Ticker("rocksdb.flush.write.bytes")]),
    counted(
        Figure::CompactionReadBytes,
        "compaction_read_bytes",
        &[],
        &[Ticker("rocksdb.compact.read.bytes")],
    ),
    counted(
        Figure::CompactionWrittenBytes,
        "compaction_written_bytes",
        &[],
        &[Ticker("rocksdb.compact.write.bytes")],
    ),
    counted(
        Figure::BlobReadBytes,
        "blob_read_bytes",
        &[],
        &[Ticker("rocksdb.blobdb.blob.file.bytes.read")],
    ),
    counted(
        Figure::BlobWrittenBytes,
        "blob_written_bytes",
        &[],
        &[Ticker("rocksdb.blobdb.blob.file.bytes.written")],
    ),
    counted(Figure::Flushes, "flushes", &["flush_count"], &[]),
    counted(Figure::Compactions, "compactions", &["compaction_count"], &[]),
    counted(Figure::Slowdowns, "slowdowns", SLOWDOWNS, &[]),
    counted(Figure::Stops, "stops", STOPS, &[]),
    counted(Figure::StallMicros, "stall_micros", &[], &[Ticker("rocksdb.stall.micros")]),
    level(Figure::MemtableBytes, "memtable_bytes", &["all_mem_tables"]),
    level(Figure::WaitingMemtables, "waiting_memtables", &["num_immutable_tables"]),
    // Column families share one cache.
    level(Figure::BlockCacheBytes, "block_cache_bytes", &["block_cache_usage"]),
    level(
        Figure::PendingCompactionBytes,
        "pending_compaction_bytes",
        &["estimate_pending_compaction_bytes"],
    ),
    level(Figure::RunningFlushes, "running_flushes", &["num_running_flushes"]),
    level(Figure::RunningCompactions, "running_compactions", &["num_running_compactions"]),
];

impl RocksDbFigure {
    pub fn all() -> impl Iterator<Item = Self> {
        SOURCES.iter().map(|source| source.figure)
    }

    pub fn name(self) -> &'static str {
        self.source().name
    }

    /// Whether it only grows while the server runs; otherwise it is a level.
    pub fn grows(self) -> bool {
        self.source().grows
    }

    fn source(self) -> &'static Source {
        // In the order of the enum, which a test compares.
        &SOURCES[self as usize]
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RocksDbFigures(BTreeMap<RocksDbFigure, u64>);

impl RocksDbFigures {
    /// From the fields of `INFO` and the text of `STATS`; None if neither has any.
    pub(super) fn read(info: &BTreeMap<&str, &str>, stats: Option<&str>) -> Option<Self> {
        let stats = stats.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let found = |source: &Source| {
            let value = of_info(info, source.info).or_else(|| {
                let stats = stats.as_ref().filter(|_| !source.stats.is_empty())?;
                source.stats.iter().map(|stat| stat.of(stats)).sum()
            });
            Some((source.figure, value?))
        };
        let figures: BTreeMap<_, _> = SOURCES.iter().filter_map(found).collect();
        (!figures.is_empty()).then_some(Self(figures))
    }

    pub fn get(&self, figure: RocksDbFigure) -> Option<u64> {
        self.0.get(&figure).copied()
    }

    /// In a stable order.
    pub fn iter(&self) -> impl Iterator<Item = (RocksDbFigure, u64)> + '_ {
        self.0.iter().map(|(figure, value)| (*figure, *value))
    }

    /// Growth since `earlier`, without levels and without counters that restarted.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let grown = |(figure, now): (RocksDbFigure, u64)| {
            let then = earlier.get(figure).filter(|_| figure.grows())?;
            Some((figure, now.checked_sub(then)?))
        };
        self.iter().filter_map(grown).collect()
    }

    /// Sums of the figures that both have.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let sum = |(figure, value): (RocksDbFigure, u64)| {
            Some((figure, value.saturating_add(other.get(figure)?)))
        };
        self.iter().filter_map(sum).collect()
    }
}

impl FromIterator<(RocksDbFigure, u64)> for RocksDbFigures {
    fn from_iter<I: IntoIterator<Item = (RocksDbFigure, u64)>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

/// The sum of fields, each over its column families. None if one is missing or not a number (older
/// releases query `RocksDB` names that no longer exist, and print them empty).
fn of_info(info: &BTreeMap<&str, &str>, names: &[&str]) -> Option<u64> {
    if names.is_empty() {
        return None;
    }
    let of_name = |name: &&str| -> Option<u64> {
        if let Some(value) = info.get(name) {
            return value.parse().ok();
        }
        let is_family = |key: &str| {
            key.strip_prefix(name).is_some_and(|rest| rest.starts_with('[') && rest.ends_with(']'))
        };
        let mut values = info.iter().filter(|(key, _)| is_family(key)).peekable();
        values.peek()?;
        let is_shared = *name == "block_cache_usage";
        let values = values.map(|(_, value)| value.parse::<u64>().ok());
        if is_shared { values.max().flatten() } else { values.sum() }
    };
    names.iter().map(of_name).sum()
}

impl Stat {
    fn of(self, stats: &Value) -> Option<u64> {
        match self {
            Ticker(name) => stats.get(name)?.as_u64(),
            // p50, p95, p99, largest, count, sum.
            Count(name) => whole(stats.get(name)?.get(4)?),
            Sum(name) => whole(stats.get(name)?.get(5)?),
        }
    }
}

/// Releases write counts as whole numbers or with a fraction of 0.
fn whole(value: &Value) -> Option<u64> {
    let number = value.as_f64().filter(|number| *number >= 0.0 && number.is_finite())?;
    Some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(info: &str, stats: Option<&str>) -> Option<RocksDbFigures> {
        let info = info.lines().filter_map(|line| line.split_once(':')).collect();
        RocksDbFigures::read(&info, stats)
    }

    #[test]
    fn each_figure_has_its_own_row_and_word() {
        for (place, source) in SOURCES.iter().enumerate() {
            assert_eq!(source.figure as usize, place, "{}", source.name);
            assert!(source.info.len() + source.stats.len() > 0);
        }
        let words: std::collections::BTreeSet<_> = RocksDbFigure::all().map(Figure::name).collect();
        assert_eq!(words.len(), SOURCES.len());
    }

    #[test]
    fn what_a_release_does_not_give_is_absent() {
        assert_eq!(read("used_memory:5", None), None);
        // Names unknown to RocksDB are empty, not 0.
        let old = "all_mem_tables:7\nlevel0_file_limit_stop[default]:\n\
                   memtable_count_limit_stop[default]:\npending_compaction_bytes_stop[default]:";
        let old = read(old, Some("no JSON")).unwrap();
        assert_eq!(old.get(Figure::MemtableBytes), Some(7));
        assert_eq!((old.get(Figure::Stops), old.get(Figure::MemtableHits)), (None, None));
        assert_eq!(old.iter().count(), 1);
    }

    #[test]
    fn column_families_are_summed_and_a_shared_cache_is_not() {
        let info = "level0_file_limit_stop[default]:1\nlevel0_file_limit_stop[metadata]:2\n\
                    memtable_count_limit_stop[default]:4\nmemtable_count_limit_stop[metadata]:8\n\
                    pending_compaction_bytes_stop[default]:16\n\
                    level0_file_limit_stop_with_ongoing_compaction[default]:100\n\
                    block_cache_usage[default]:50\nblock_cache_usage[metadata]:50";
        let found = read(info, None).unwrap();
        assert_eq!(found.get(Figure::Stops), Some(31));
        assert_eq!(found.get(Figure::BlockCacheBytes), Some(50));
        assert_eq!(found.get(Figure::Slowdowns), None);
    }

    #[test]
    fn tickers_counts_and_sums_are_told_apart() {
        let stats = r#"{"rocksdb.memtable.hit":3,"rocksdb.block.cache.data.hit":9,
            "rocksdb.db.get.micros":[1.5,2.5,3.5,4.0,10,25],
            "rocksdb.sst.read.micros":[1.0,1.0,1.0,1.0,2.0,5.0],
            "rocksdb.blobdb.blob.file.read.micros":[1.0,1.0,1.0,1.0,3,7]}"#;
        let found = read("block_cache_data_hit:8", Some(stats)).unwrap();
        for (figure, value) in [
            (Figure::MemtableHits, 3),
            (Figure::BlockCacheHits, 8),
            (Figure::Gets, 10),
            (Figure::GetMicros, 25),
            (Figure::FileReadMicros, 12),
        ] {
            assert_eq!(found.get(figure), Some(value), "{figure:?}");
        }
        // A sum needs both parts.
        let half = read("", Some(r#"{"rocksdb.sst.read.micros":[1,1,1,1,2,5]}"#));
        assert_eq!(half, None);
    }

    #[test]
    fn growth_leaves_out_levels_and_what_began_anew() {
        let at = |hits, flushes, level| {
            let stats = format!(r#"{{"rocksdb.memtable.hit":{hits}}}"#);
            read(&format!("flush_count:{flushes}\nall_mem_tables:{level}"), Some(&stats)).unwrap()
        };
        let grown = at(9, 1, 70).since(&at(4, 2, 50));
        assert_eq!(grown.iter().collect::<Vec<_>>(), [(Figure::MemtableHits, 5)]);
        let sum = at(1, 2, 3).since(&at(0, 0, 0)).plus(&grown);
        assert_eq!(sum.iter().collect::<Vec<_>>(), [(Figure::MemtableHits, 6)]);
    }
}
