//! Growth of a store's `RocksDB` counters during a row, in relation to the bytes on the wire.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use weir_store::resp::{RocksDbFigure as Figure, RocksDbFigures};

/// Growth of `RocksDB` counters per byte. A figure that the server does not give is absent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EngineWork {
    pub memtable_percent: Option<f64>,
    /// Percent of files' data blocks found in the block cache.
    pub block_cache_percent: Option<f64>,
    /// Bytes of values read per byte moved, or requested by a lookup.
    pub read_per_byte: Option<f64>,
    pub blob_read_per_byte: Option<f64>,
    pub log_per_byte: Option<f64>,
    pub flushed_per_byte: Option<f64>,
    pub compacted_per_byte: Option<f64>,
    pub stalls: Option<u64>,
    /// Seconds of delayed and stopped writes.
    pub stall_s: Option<f64>,
    /// Seconds in `Get` per GB, summed over threads.
    pub get_s_per_gb: Option<f64>,
    /// Seconds in writes per GB, summed over threads.
    pub write_s_per_gb: Option<f64>,
    /// Seconds in file reads per GB, summed over threads.
    pub file_read_s_per_gb: Option<f64>,
    /// Denominator of the ratios.
    pub bytes: u64,
    #[serde(serialize_with = "named")]
    pub counters: RocksDbFigures,
}

fn named<S: Serializer>(counters: &RocksDbFigures, serializer: S) -> Result<S::Ok, S::Error> {
    let named: BTreeMap<&str, u64> =
        counters.iter().map(|(figure, value)| (figure.name(), value)).collect();
    named.serialize(serializer)
}

impl EngineWork {
    /// From the growth of the counters while `bytes` were moved; None without bytes.
    pub fn of(counters: &RocksDbFigures, bytes: u64) -> Option<Self> {
        let get = |figure| counters.get(figure);
        let per_byte = |figure| Some(get(figure)? as f64 / bytes as f64);
        let seconds = |figure| Some(get(figure)? as f64 / 1e6);
        let share = |part: Figure, rest: Figure| {
            let (part, rest) = (get(part)?, get(rest)?);
            (part + rest > 0).then(|| 100.0 * part as f64 / (part + rest) as f64)
        };
        let gigabytes = bytes as f64 / 1e9;
        // A server that measures no times reports sums of 0, with calls or without.
        let timed = |figure| seconds(figure).filter(|s| *s > 0.0).map(|s| s / gigabytes);
        let reads = get(Figure::Gets).filter(|gets| *gets > 0);
        if bytes == 0 || counters.iter().next().is_none() {
            return None;
        }
        Some(Self {
            memtable_percent: share(Figure::MemtableHits, Figure::MemtableMisses),
            block_cache_percent: share(Figure::BlockCacheHits, Figure::BlockCacheMisses),
            read_per_byte: per_byte(Figure::ReadBytes),
            blob_read_per_byte: per_byte(Figure::BlobReadBytes),
            log_per_byte: per_byte(Figure::LogBytes),
            flushed_per_byte: per_byte(Figure::FlushedBytes),
            compacted_per_byte: per_byte(Figure::CompactionWrittenBytes),
            stalls: get(Figure::Slowdowns).zip(get(Figure::Stops)).map(|(slow, stop)| slow + stop),
            stall_s: seconds(Figure::StallMicros),
            get_s_per_gb: reads.and_then(|_| timed(Figure::GetMicros)),
            write_s_per_gb: timed(Figure::WriteMicros),
            // A zero time of file reads counts only if times are measured: all were memtable hits.
            file_read_s_per_gb: timed(Figure::GetMicros)
                .and_then(|_| Some(seconds(Figure::FileReadMicros)? / gigabytes)),
            bytes,
            counters: counters.clone(),
        })
    }

    /// Over several repeats; None if one of them has none.
    pub fn sum<'w>(repeats: impl IntoIterator<Item = Option<&'w Self>>) -> Option<Self> {
        let repeats: Vec<&Self> = repeats.into_iter().collect::<Option<_>>()?;
        let (first, rest) = repeats.split_first()?;
        let counters = rest.iter().fold(first.counters.clone(), |sum, one| sum.plus(&one.counters));
        Self::of(&counters, repeats.iter().map(|one| one.bytes).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(values: &[(Figure, u64)]) -> RocksDbFigures {
        values.iter().copied().collect()
    }

    #[test]
    fn shares_and_bytes_are_related_to_what_was_moved() {
        let first = EngineWork::of(
            &figures(&[
                (Figure::MemtableHits, 3),
                (Figure::MemtableMisses, 1),
                (Figure::Gets, 4),
                (Figure::GetMicros, 500_000),
                (Figure::FileReadMicros, 0),
                (Figure::FlushedBytes, 2_000_000_000),
                (Figure::Slowdowns, 2),
                (Figure::Stops, 1),
            ]),
            1_000_000_000,
        )
        .unwrap();
        assert_eq!((first.memtable_percent, first.block_cache_percent), (Some(75.0), None));
        assert_eq!((first.flushed_per_byte, first.stalls), (Some(2.0), Some(3)));
        assert_eq!((first.get_s_per_gb, first.file_read_s_per_gb), (Some(0.5), Some(0.0)));
        assert_eq!((first.stall_s, first.compacted_per_byte), (None, None));
        // Figures unknown in one repeat are unknown in the sum.
        let second = figures(&[(Figure::FlushedBytes, 0), (Figure::MemtableHits, 9)]);
        let second = EngineWork::of(&second, 3_000_000_000);
        let both = EngineWork::sum([Some(&first), second.as_ref()]).unwrap();
        assert_eq!((both.flushed_per_byte, both.memtable_percent), (Some(0.5), None));
        assert_eq!(EngineWork::sum([Some(&first), None]), None);
        assert_eq!(EngineWork::of(&figures(&[]), 5), None);
    }

    #[test]
    fn a_server_that_takes_no_times_has_unknown_ones() {
        let untimed = figures(&[
            (Figure::Gets, 4),
            (Figure::GetMicros, 0),
            (Figure::FileReadMicros, 0),
            (Figure::WriteMicros, 0),
        ]);
        let work = EngineWork::of(&untimed, 1_000_000_000).unwrap();
        assert_eq!((work.get_s_per_gb, work.file_read_s_per_gb), (None, None));
        assert_eq!(work.write_s_per_gb, None);
    }
}
