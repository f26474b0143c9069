//! Where the loads of an arm's farthest tier came from: its device, or memory.

use weir_deploy::TierReaders;
use weir_model::{
    Bytes, HeldIn, LoadedFrom, Note, SignalKind, SignalSource, Signals, TierKind, TierNote,
};
use weir_observe::signals::StoredChunk;

const COUNTER: &str = "read_bytes of /proc/PID/io";

/// Adds a tier's reads from devices, in the model's bytes, where the kernel counts them. The note
/// says that an arm with a disk was served by memory.
pub(crate) fn add(
    readers: &TierReaders,
    read: Option<Bytes>,
    chunk: StoredChunk,
    signals: &mut Signals,
) -> Option<Note> {
    let counted = read.filter(|_| readers.held == HeldIn::Device);
    let scale = chunk.model_bytes as f64 / chunk.moved_bytes.max(1) as f64;
    if let Some(read) = counted {
        let source = SignalSource::of(&readers.who).metric(COUNTER);
        let kind = SignalKind::DeviceReadBytes;
        signals.add_of(readers.tier, kind, read.0 as f64 * scale, source);
    }
    let tokens = signals.get(SignalKind::hits_of(readers.tier)).filter(|tokens| *tokens > 0.0)?;
    let loaded = tokens / f64::from(chunk.tokens.max(1)) * chunk.moved_bytes as f64;
    let from = LoadedFrom::of(readers.held, counted.map(|read| read.0 as f64 / loaded));
    let store = (readers.tier == TierKind::Remote).then(|| readers.who.clone());
    let note = match (from, store) {
        // A disk's folder has its note before the load.
        (LoadedFrom::Memory, Some(who)) => TierNote::StoreInMemory { who },
        (LoadedFrom::PageCache | LoadedFrom::Device { .. }, who) if !from.is_cold() => {
            TierNote::WarmLoads { who, from }
        }
        _ => return None,
    };
    Some(note.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 16 tokens of 1 MiB, moved as 64 KiB.
    const CHUNK: StoredChunk =
        StoredChunk { tokens: 16, model_bytes: 1 << 20, moved_bytes: 1 << 16 };

    /// Ten chunks were served.
    fn told(held: HeldIn, read: Option<u64>) -> (Option<f64>, Option<Note>) {
        let readers =
            TierReaders { tier: TierKind::Disk, held, processes: vec![1], who: "weir".to_owned() };
        let mut signals = Signals::default();
        signals.add(SignalKind::DiskHitTokens, 160.0, "test");
        let note = add(&readers, read.map(Bytes), CHUNK, &mut signals);
        (signals.get_of(TierKind::Disk, SignalKind::DeviceReadBytes), note)
    }

    #[test]
    fn a_disk_that_was_served_by_memory_is_told() {
        let (read, note) = told(HeldIn::Device, Some(0));
        assert_eq!(read, Some(0.0));
        let warm = |from| Some(TierNote::WarmLoads { who: None, from }.into());
        assert_eq!(note, warm(LoadedFrom::PageCache));
        let (read, note) = told(HeldIn::Device, Some(5 << 16));
        assert_eq!(read, Some((5u64 << 20) as f64), "in the model's bytes");
        assert_eq!(note, warm(LoadedFrom::Device { percent: 50.0 }));
        assert_eq!(told(HeldIn::Device, Some(9 << 16)), (Some((9u64 << 20) as f64), None));
        assert_eq!(told(HeldIn::Memory, Some(0)), (None, None), "its folder was told to be so");
        // Uncounted is not zero.
        assert_eq!(told(HeldIn::Uncounted, Some(0)), (None, None));
        assert_eq!(told(HeldIn::Device, None), (None, None));
    }

    #[test]
    fn of_a_tier_that_served_nothing_nothing_is_said() {
        let readers = TierReaders {
            tier: TierKind::Remote,
            held: HeldIn::Device,
            processes: vec![1],
            who: "kvrocks".to_owned(),
        };
        let mut signals = Signals::default();
        assert_eq!(add(&readers, Some(Bytes(7)), CHUNK, &mut signals), None);
        assert_eq!(signals.get_of(TierKind::Remote, SignalKind::DeviceReadBytes), Some(112.0));
    }
}
