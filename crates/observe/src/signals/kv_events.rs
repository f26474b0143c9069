//! Signals from engines' KV events: independent of their counters, and the only source for
//! evictions of vLLM's own connector.

use weir_model::{SignalKind, SignalSource, Signals, TierKind, TierNote};

use crate::kv_events::KvEventCounts;

const PART: &str = "vLLM's KV events";

/// Over all ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventBytes {
    pub block: u64,
    /// Of a chunk in host memory. Events name it by its last block, or by all of its blocks.
    pub chunk: u64,
    pub chunk_tokens: u32,
    /// Chunks loaded from a farther tier also count as stored in host memory: the sum is more than
    /// what left the GPU.
    pub promotes: bool,
}

/// Nothing where batches were lost or unreadable, or none came; the result has the reason.
pub fn add_kv_events(
    (before, after): (&KvEventCounts, &KvEventCounts),
    bytes: EventBytes,
    signals: &mut Signals,
) -> Option<TierNote> {
    let lost = after.lost - before.lost;
    if lost > 0 {
        return Some(TierNote::EventsLost { batches: lost });
    }
    if after.unreadable > before.unreadable {
        return Some(TierNote::EventsUnreadable { problem: after.problem.clone() });
    }
    if after.batches == before.batches {
        return Some(TierNote::NoEvents);
    }
    let source = |event: &str, medium: &str| {
        SignalSource::of(PART).metric(format!("{event}, medium {medium}"))
    };
    let mut add = |kind, blocks: u64, size: u64, event: &str, medium: &str| {
        signals.add(kind, blocks as f64 * size as f64, source(event, medium));
    };
    let grown = |medium: &str| {
        let (from, to) = (before.of(medium), after.of(medium));
        (to.stored - from.stored, to.removed - from.removed)
    };
    let (_, removed) = grown("gpu");
    add(SignalKind::GpuEvictedBytes, removed, bytes.block, "BlockRemoved", "GPU");
    // A connector without events (LMCache's) may still store.
    if after.media.contains_key("cpu") {
        let (stored, removed) = grown("cpu");
        let named = match after.of("cpu").tokens {
            0 => bytes.chunk,
            tokens => bytes.chunk * u64::from(tokens) / u64::from(bytes.chunk_tokens.max(1)),
        };
        if !bytes.promotes {
            add(SignalKind::StoredBytes, stored, named, "BlockStored", "CPU");
        }
        let source = source("BlockRemoved", "CPU");
        let evicted = removed as f64 * named as f64;
        signals.add_of(TierKind::Host, SignalKind::EvictedBytes, evicted, source);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::kv_events::MediumCounts;

    fn counts(batches: u64, lost: u64, media: &[(&str, u64, u64)]) -> KvEventCounts {
        let media: BTreeMap<String, MediumCounts> = media
            .iter()
            .map(|(name, stored, removed)| {
                let (stored, removed) = (*stored, *removed);
                ((*name).to_owned(), MediumCounts { stored, removed, tokens: 0 })
            })
            .collect();
        KvEventCounts { media, batches, lost, ..KvEventCounts::default() }
    }

    const BYTES: EventBytes =
        EventBytes { block: 10, chunk: 100, chunk_tokens: 160, promotes: false };

    #[test]
    fn what_grew_is_in_bytes_and_by_medium() {
        let before = counts(3, 0, &[("gpu", 5, 1), ("cpu", 2, 0)]);
        let after = counts(9, 0, &[("gpu", 9, 4), ("cpu", 7, 3)]);
        let mut signals = Signals::default();
        assert_eq!(add_kv_events((&before, &after), BYTES, &mut signals), None);
        assert_eq!(signals.get(SignalKind::GpuEvictedBytes), Some(30.0));
        assert_eq!(signals.get(SignalKind::StoredBytes), Some(500.0));
        assert_eq!(signals.get_of(TierKind::Host, SignalKind::EvictedBytes), Some(300.0));
        // Chunks that are named by all of their blocks.
        let mut described = after.clone();
        described.media.entry("cpu".to_owned()).or_default().tokens = 16;
        let mut signals = Signals::default();
        add_kv_events((&before, &described), BYTES, &mut signals);
        assert_eq!(signals.get(SignalKind::StoredBytes), Some(50.0));
        assert_eq!(signals.get_of(TierKind::Host, SignalKind::EvictedBytes), Some(30.0));
        // It is unknown how much of host memory's stores came from the GPU.
        let mut signals = Signals::default();
        let tiering = EventBytes { promotes: true, ..BYTES };
        assert_eq!(add_kv_events((&before, &after), tiering, &mut signals), None);
        assert_eq!(signals.get(SignalKind::StoredBytes), None);
        assert_eq!(signals.get_of(TierKind::Host, SignalKind::EvictedBytes), Some(300.0));
    }

    #[test]
    fn lost_batches_and_silence_give_no_signal_and_a_reason() {
        let before = counts(3, 0, &[]);
        for (after, note) in [
            (counts(9, 2, &[("cpu", 7, 3)]), TierNote::EventsLost { batches: 2 }),
            (counts(3, 0, &[]), TierNote::NoEvents),
        ] {
            let mut signals = Signals::default();
            let why = add_kv_events((&before, &after), BYTES, &mut signals);
            assert_eq!(why, Some(note));
            assert_eq!(signals, Signals::default());
        }
        let mut signals = Signals::default();
        add_kv_events((&before, &counts(9, 0, &[("gpu", 9, 4)])), BYTES, &mut signals);
        assert_eq!(signals.get(SignalKind::StoredBytes), None);
    }
}
