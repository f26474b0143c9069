//! A Redis-family store's own signals, independent of engine and connector.
//!
//! The store counts socket bytes: the blocks and a little protocol (under a thousandth for blocks
//! of 64 KiB and more). Other clients count too.
//! thousandth for blocks of 64 KiB and more). Others who use the same store are in its figures too.

use std::collections::BTreeMap;

use weir_model::{SignalKind, SignalSource, Signals, TierKind};

const RECEIVED: &str = "total_net_input_bytes";
const SENT: &str = "total_net_output_bytes";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Keys of the arm's layout; None where no reliable count exists.
    pub keys: Option<u64>,
    /// None where not reported.
    pub used_bytes: Option<u64>,
    /// Fields of `INFO` in the sum.
    pub used_fields: &'static [&'static str],
    /// Since its start (`evicted_keys`).
    pub evicted_keys: u64,
    /// Since its start (`expired_keys`).
    pub expired_keys: u64,
    /// `FLUSHALL` and `FLUSHDB` since its start; None where commands are not counted.
    pub flushes: Option<u64>,
    /// Run ids of its servers: a restart changes them.
    pub runs: Vec<String>,
    /// Since its start (`total_net_input_bytes`); None where not reported.
    pub input_bytes: Option<u64>,
    /// Since its start (`total_net_output_bytes`).
    pub output_bytes: Option<u64>,
    /// Refused writes since its start, by error (`OOM`, `READONLY`, `NOPERM`, `MISCONF`).
    pub refusals: BTreeMap<String, u64>,
    /// The keys are all of the database: the form of the arm's is not known.
    pub are_all_keys: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoredChunk {
    pub tokens: u32,
    /// The model's, over all ranks.
    pub model_bytes: u64,
    pub moved_bytes: u64,
}

/// `product` names the source. A restart in between leaves only levels.
pub fn add_store(
    product: &str,
    (before, after): (&StoreCounts, &StoreCounts),
    chunk: StoredChunk,
    signals: &mut Signals,
) {
    let info = |field: &str| SignalSource::of(format!("{product} INFO")).metric(field);
    let mut add = |kind, value: f64, field: &str| {
        signals.add_of(TierKind::Remote, kind, value, info(field));
    };
    let per_moved = chunk.model_bytes as f64 / chunk.moved_bytes.max(1) as f64;
    let mut hits = None;
    let grown = |before: Option<u64>, after: Option<u64>| after?.checked_sub(before?);
    if let Some(bytes) = grown(before.input_bytes, after.input_bytes) {
        add(SignalKind::StoredBytes, bytes as f64 * per_moved, RECEIVED);
    }
    if let Some(bytes) = grown(before.output_bytes, after.output_bytes) {
        let tokens = bytes as f64 / chunk.moved_bytes.max(1) as f64 * f64::from(chunk.tokens);
        add(SignalKind::LoadedBytes, bytes as f64 * per_moved, SENT);
        hits = Some(tokens);
    }
    if let Some(keys) = after.evicted_keys.checked_sub(before.evicted_keys) {
        let expired = after.expired_keys.saturating_sub(before.expired_keys);
        let fields = if expired > 0 { "evicted_keys + expired_keys" } else { "evicted_keys" };
        let bytes = (keys + expired) as f64 * chunk.model_bytes as f64;
        add(SignalKind::EvictedBytes, bytes, fields);
    }
    if let Some(bytes) = after.used_bytes {
        let fields = after.used_fields.join(" + ");
        add(SignalKind::TierUsedBytes, bytes as f64 * per_moved, &fields);
    }
    let refused: Vec<(&str, u64)> = after
        .refusals
        .iter()
        .map(|(error, count)| {
            let earlier = before.refusals.get(error).copied().unwrap_or(0);
            (error.as_str(), count.saturating_sub(earlier))
        })
        .filter(|(_, count)| *count > 0)
        .collect();
    if !refused.is_empty() {
        let fields: Vec<String> =
            refused.iter().map(|(error, count)| format!("errorstat_{error} {count}")).collect();
        let all: u64 = refused.iter().map(|(_, count)| count).sum();
        add(SignalKind::StoreFailures, all as f64, &fields.join(", "));
    }
    if let Some(tokens) = hits {
        signals.add(SignalKind::RemoteHitTokens, tokens, info(SENT));
    }
    let gone = |of: &StoreCounts| of.evicted_keys + of.expired_keys;
    if let (Some(first), Some(last)) = (before.keys, after.keys)
        && gone(after) >= gone(before)
        && before.runs == after.runs
    {
        let added = (last + gone(after)).saturating_sub(first + gone(before));
        let source = SignalSource::of(product).metric("keys, evicted_keys + expired_keys");
        signals.add(SignalKind::StoreKeysAdded, added as f64, source);
    }
    // Keys of all clients say nothing of the arm's, unless there are none.
    if let Some(keys) = after.keys.filter(|keys| !after.are_all_keys || *keys == 0) {
        let source = SignalSource::of(product).metric("SCAN over the arm's keys");
        signals.add(SignalKind::StoreKeys, keys as f64, source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: StoredChunk =
        StoredChunk { tokens: 256, model_bytes: 32 << 20, moved_bytes: 4 << 20 };

    fn counts(keys: u64, evicted_keys: u64, input: u64, output: u64) -> StoreCounts {
        let (input_bytes, output_bytes) = (Some(input << 20), Some(output << 20));
        let used_bytes = Some(keys << 22);
        StoreCounts {
            keys: Some(keys),
            used_bytes,
            used_fields: &["used_memory"],
            evicted_keys,
            input_bytes,
            output_bytes,
            ..StoreCounts::default()
        }
    }

    #[test]
    fn what_is_counted_is_scaled_to_the_model() {
        let mut signals = Signals::default();
        // 10 chunks in, 5 out, 3 evicted.
        add_store("redis", (&counts(2, 1, 8, 0), &counts(9, 4, 48, 20)), CHUNK, &mut signals);
        let get = |kind| signals.get_of(TierKind::Remote, kind).unwrap();
        assert_eq!(get(SignalKind::StoredBytes), (320u64 << 20) as f64);
        assert_eq!(get(SignalKind::LoadedBytes), (160u64 << 20) as f64);
        assert_eq!(signals.get(SignalKind::RemoteHitTokens), Some(5.0 * 256.0));
        assert_eq!(get(SignalKind::EvictedBytes), (96u64 << 20) as f64);
        assert_eq!(signals.get(SignalKind::StoreKeys), Some(9.0));
        assert_eq!(get(SignalKind::TierUsedBytes), (288u64 << 20) as f64);
    }

    #[test]
    fn what_expired_is_gone_as_what_was_evicted() {
        let mut signals = Signals::default();
        let after = StoreCounts { expired_keys: 2, ..counts(9, 4, 0, 0) };
        add_store("redis", (&counts(9, 1, 0, 0), &after), CHUNK, &mut signals);
        let seen = &signals.0[&SignalKind::EvictedBytes][0];
        assert_eq!(seen.value, (160u64 << 20) as f64);
        assert_eq!(seen.source.to_string(), "redis INFO (evicted_keys + expired_keys)");
    }

    #[test]
    fn what_is_used_is_told_with_what_it_was_read_from() {
        let seen = |counts: &StoreCounts| {
            let mut signals = Signals::default();
            add_store("kvrocks", (counts, counts), CHUNK, &mut signals);
            signals.0.get(&SignalKind::TierUsedBytes).map(|seen| seen[0].source.to_string())
        };
        let used_fields: &[&str] = &["used_db_size", "all_mem_tables"];
        let files = StoreCounts { used_fields, ..counts(9, 0, 0, 0) };
        let wanted = "kvrocks INFO (used_db_size + all_mem_tables)";
        assert_eq!(seen(&files).as_deref(), Some(wanted));
        assert_eq!(seen(&StoreCounts { used_bytes: None, ..files }), None);
    }

    #[test]
    fn refused_writes_are_counted_in_the_window() {
        let mut signals = Signals::default();
        let refused = |oom: u64, replica: u64| StoreCounts {
            refusals: BTreeMap::from([("OOM".to_owned(), oom), ("READONLY".to_owned(), replica)]),
            ..counts(0, 0, 0, 0)
        };
        add_store("redis", (&refused(4, 2), &refused(28, 2)), CHUNK, &mut signals);
        let seen = &signals.0[&SignalKind::StoreFailures];
        assert_eq!(seen[0].value, 24.0);
        assert_eq!(seen[0].tier, Some(TierKind::Remote));
        assert_eq!(seen[0].source, SignalSource::of("redis INFO").metric("errorstat_OOM 24"));
        assert_eq!(seen[0].source.to_string(), "redis INFO (errorstat_OOM 24)");
    }

    #[test]
    fn keys_of_everybody_are_not_the_arms() {
        for (keys, told) in [(4, None), (0, Some(0.0))] {
            let mut signals = Signals::default();
            let all = StoreCounts { are_all_keys: true, ..counts(keys, 0, 0, 0) };
            add_store("redis", (&all, &all), CHUNK, &mut signals);
            assert_eq!(signals.get(SignalKind::StoreKeys), told);
        }
    }

    #[test]
    fn keys_that_a_store_let_go_of_were_added_to_it() {
        let added = |before: &StoreCounts, after: &StoreCounts| {
            let mut signals = Signals::default();
            add_store("redis", (before, after), CHUNK, &mut signals);
            signals.get(SignalKind::StoreKeysAdded)
        };
        let after = StoreCounts { expired_keys: 2, ..counts(9, 4, 0, 0) };
        assert_eq!(added(&counts(9, 1, 0, 0), &after), Some(5.0));
        assert_eq!(added(&counts(20, 0, 0, 0), &counts(9, 0, 0, 0)), Some(0.0), "others removed");
        let again = StoreCounts { runs: vec!["other".to_owned()], ..counts(9, 4, 0, 0) };
        assert_eq!(added(&counts(9, 1, 0, 0), &again), None);
        let uncounted = StoreCounts { keys: None, ..after };
        assert_eq!(added(&counts(9, 1, 0, 0), &uncounted), None);
    }

    #[test]
    fn a_restarted_store_gives_levels_and_no_differences() {
        let mut signals = Signals::default();
        add_store("redis", (&counts(9, 4, 48, 20), &counts(1, 0, 4, 0)), CHUNK, &mut signals);
        assert_eq!(signals.get_of(TierKind::Remote, SignalKind::StoredBytes), None);
        assert_eq!(signals.get_of(TierKind::Remote, SignalKind::EvictedBytes), None);
        assert_eq!(signals.get(SignalKind::StoreKeys), Some(1.0));
    }
}
