//! Keys that a store lost in the window without the arm: it was emptied or restarted, or keys
//! expired.

use weir_model::LostKeys;
use weir_observe::signals::StoreCounts;

/// None where it lost nothing.
pub(crate) fn between(before: &StoreCounts, after: &StoreCounts) -> Option<LostKeys> {
    let restarted = before.runs != after.runs;
    // A restart resets the counters.
    let since = |before: u64, after: u64| if restarted { 0 } else { after.saturating_sub(before) };
    let flushes = before.flushes.zip(after.flushes);
    let lost = LostKeys {
        flushes: flushes.map_or(0, |(before, after)| since(before, after)),
        restarted,
        expired: since(before.expired_keys, after.expired_keys),
    };
    (lost != LostKeys::default()).then_some(lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(run: &str, flushes: Option<u64>, expired_keys: u64) -> StoreCounts {
        StoreCounts { flushes, expired_keys, runs: vec![run.to_owned()], ..StoreCounts::default() }
    }

    #[test]
    fn what_is_emptied_by_somebody_is_told_from_what_expires() {
        let before = counts("a", Some(3), 10);
        assert_eq!(between(&before, &before), None);
        let emptied = between(&before, &counts("a", Some(4), 10)).unwrap();
        assert_eq!(emptied, LostKeys { flushes: 1, ..LostKeys::default() });
        assert!(emptied.is_all());
        let expired = between(&before, &counts("a", Some(3), 15)).unwrap();
        assert!(!expired.is_all());
        assert_eq!(expired.expired, 5);
        // Without a count of commands nothing follows.
        assert_eq!(between(&counts("a", None, 10), &before), None);
    }

    #[test]
    fn a_store_that_was_started_again_has_counters_of_its_own() {
        let again = between(&counts("a", Some(3), 10), &counts("b", Some(9), 90)).unwrap();
        assert_eq!(again, LostKeys { restarted: true, ..LostKeys::default() });
        assert!(again.is_all());
    }
}
