use std::time::{Duration, Instant};

use super::{FILL_BYTES_MAX, Subject, check, content, get, key, keys, later, put};
use crate::tier::{Get, Loaded, Put, Stored, TierCounters, TierFault};

/// Allowed lateness after a deadline: a machine that runs other tests is slow.
const LATE_MAX: Duration = Duration::from_secs(3);

/// Stored blocks are loaded byte for byte, in batches of several sizes and in another order.
pub fn round_trip(subject: &Subject) {
    let mut next = 0;
    for size in [0, 1, 2, 7, super::BLOCKS_MIN] {
        subject.clear();
        let mut batch = keys(next..next + size);
        next += size;
        let outcomes = subject.put(&batch, later());
        assert!(outcomes.iter().all(|o| *o == Stored::Stored), "stored {size}: {outcomes:?}");
        assert!(subject.contains(&batch).iter().all(|present| *present), "all {size} are there");
        batch.reverse();
        let outcomes = subject.get(&batch, later());
        assert!(outcomes.iter().all(|o| *o == Loaded::Hit), "loaded {size}: {outcomes:?}");
        for one in batch {
            assert_eq!(subject.get(&[one], later()), [Loaded::Hit], "one of {size}");
        }
        subject.holds(size);
    }
}

/// An absent key is a miss, alone and between others.
pub fn absent_is_a_miss(subject: &Subject) {
    assert_eq!(subject.get(&keys(0..3), later()), [Loaded::Miss; 3]);
    assert_eq!(subject.contains(&keys(0..3)), [false; 3]);
    subject.put(&[key(1)], later());
    let wanted = [Loaded::Miss, Loaded::Hit, Loaded::Miss, Loaded::Hit];
    assert_eq!(subject.get(&[key(0), key(1), key(2), key(1)], later()), wanted);
    assert_eq!(subject.contains(&keys(0..3)), [false, true, false]);
    // A key that differs in its last byte is another key.
    let mut near = key(1);
    near.0[31] ^= 1;
    assert_eq!(subject.get(&[near], later()), [Loaded::Miss]);
}

pub fn present_is_kept(subject: &Subject) {
    subject.put(&keys(0..4), later());
    let outcomes = subject.put(&keys(0..5), later());
    for outcome in &outcomes[..4] {
        assert!(matches!(outcome, Stored::Present | Stored::Stored), "again: {outcomes:?}");
    }
    assert_eq!(outcomes[4], Stored::Stored, "the new one: {outcomes:?}");
    assert_eq!(subject.get(&keys(0..5), later()), [Loaded::Hit; 5]);
    subject.holds(5);
}

pub fn duplicates_in_a_batch(subject: &Subject) {
    let twice = [key(0), key(1), key(0), key(0)];
    for outcome in subject.put(&twice, later()) {
        assert!(matches!(outcome, Stored::Present | Stored::Stored), "{outcome:?}");
    }
    assert_eq!(subject.get(&twice, later()), [Loaded::Hit; 4]);
    subject.holds(2);
}

/// Removed blocks are misses, others stay, and absent ones are ignored.
pub fn remove_removes(subject: &Subject) {
    subject.put(&keys(0..6), later());
    subject.remove(&[key(1), key(4), key(77), key(1)]);
    let wanted = [true, false, true, true, false, true];
    assert_eq!(subject.contains(&keys(0..6)), wanted);
    let outcomes = subject.get(&keys(0..6), later());
    assert_eq!(outcomes.iter().map(|o| *o == Loaded::Hit).collect::<Vec<_>>(), wanted);
    assert_eq!(subject.put(&[key(1)], later()), [Stored::Stored], "removed blocks come back");
    assert_eq!(subject.get(&[key(1)], later()), [Loaded::Hit]);
    subject.remove(&[]);
}

/// Clearing removes all blocks of this tier and none of its neighbour's.
pub fn clear_spares_the_neighbour(subject: &Subject) {
    subject.clear();
    subject.put(&keys(0..5), later());
    let neighbour = subject.neighbour.as_deref();
    if let Some(neighbour) = neighbour {
        assert_eq!(get(subject, neighbour, &keys(0..5), later()), [Loaded::Miss; 5]);
        let stored = put(subject, neighbour, &keys(3..7), later());
        assert_eq!(stored, [Stored::Stored; 4], "of the neighbour");
    }
    subject.clear();
    assert_eq!(subject.get(&keys(0..7), later()), [Loaded::Miss; 7]);
    subject.holds(0);
    if let Some(neighbour) = neighbour {
        assert_eq!(get(subject, neighbour, &keys(3..7), later()), [Loaded::Hit; 4]);
        neighbour.clear(later()).expect("clear of the neighbour");
    }
    assert_eq!(subject.put(&keys(0..5), later()), [Stored::Stored; 5], "a cleared tier works");
}

pub fn capacity_is_kept(subject: &Subject) {
    let block = subject.tier().block_bytes() as u64;
    let Some(capacity) = subject.capacity().filter(|c| c * block * 2 <= FILL_BYTES_MAX) else {
        return;
    };
    let all = keys(0..capacity * 2 + 3);
    let mut refused = 0;
    for batch in all.chunks(5) {
        for outcome in subject.put(batch, later()) {
            match outcome {
                Stored::Stored => {}
                Stored::Full => refused += 1,
                other => panic!("storing beyond the capacity: {other:?}"),
            }
        }
        let usage = subject.tier().usage(later()).expect("usage");
        assert!(usage.used <= usage.capacity.expect("it had one before"), "{usage:?}");
        assert!(usage.chunks <= capacity, "{usage:?}");
    }
    let usage = subject.tier().usage(later()).expect("usage");
    let hits = all.chunks(5).flat_map(|batch| subject.get(batch, later()));
    let hits = hits
        .inspect(|o| assert!(matches!(o, Loaded::Hit | Loaded::Miss), "{o:?}"))
        .filter(|o| *o == Loaded::Hit)
        .count() as u64;
    assert!(hits <= capacity, "{hits} of {capacity}");
    assert_eq!(hits, usage.chunks, "what it says it holds can be loaded");
    let accounted = hits + refused + usage.evicted_chunks;
    assert_eq!(accounted, all.len() as u64, "held, refused and evicted: {usage:?}");
}

/// A passed deadline ends a call soon, without wrong bytes, and the tier keeps working.
pub fn deadlines_hold(subject: &Subject) {
    subject.put(&keys(0..4), later());
    for patience in [Duration::ZERO, Duration::from_micros(50), Duration::from_millis(5)] {
        let began = Instant::now();
        let until = began + patience;
        let loaded = subject.get(&keys(0..8), until);
        let stored = subject.put(&keys(8..12), until);
        let mut present = [false; 2];
        let asked = subject.tier().contains(&keys(0..2), until, &mut present);
        let removed = subject.tier().remove(&keys(11..12), until);
        let usage = subject.tier().usage(until);
        assert!(began.elapsed() < patience + LATE_MAX, "took {:?}", began.elapsed());
        for (number, outcome) in loaded.into_iter().enumerate() {
            let fits = match outcome {
                Loaded::Failed(TierFault::Timeout) => true,
                Loaded::Hit => number < 4,
                Loaded::Miss => number >= 4,
                _ => false,
            };
            assert!(fits, "block {number} after {patience:?}: {outcome:?}");
        }
        for outcome in stored {
            let failed = matches!(outcome, Stored::Failed(TierFault::Timeout));
            assert!(failed || matches!(outcome, Stored::Stored | Stored::Present), "{outcome:?}");
        }
        let errors = [asked.err(), removed.err(), usage.err()];
        for error in errors.into_iter().flatten() {
            assert_eq!(error.fault, TierFault::Timeout, "{error}");
        }
    }
    let zero = subject.get(&keys(0..1), Instant::now());
    assert_eq!(zero, [Loaded::Failed(TierFault::Timeout)], "a deadline that has passed");
    assert_eq!(subject.get(&keys(0..4), later()), [Loaded::Hit; 4], "and afterwards all is well");
}

/// A buffer of another length affects the outcome of its block only.
pub fn wrong_lengths_are_outcomes(subject: &Subject) {
    let block = subject.tier().block_bytes();
    let mut right = vec![0; block];
    content(key(0), &mut right);
    let long = vec![1; block + 1];
    let puts = [
        Put { key: key(1), bytes: &[] },
        Put { key: key(0), bytes: &right },
        Put { key: key(2), bytes: &long },
    ];
    let mut stored = [Stored::Full; 3];
    subject.tier().put(&puts, later(), &mut stored);
    let refused = Stored::Failed(TierFault::Refused);
    assert_eq!(stored, [refused, Stored::Stored, refused]);
    assert_eq!(subject.contains(&keys(0..3)), [true, false, false]);
    let (mut short, mut long) = (vec![0; block - 1], long);
    let mut gets = [
        Get { key: key(0), into: &mut short },
        Get { key: key(0), into: &mut right },
        Get { key: key(0), into: &mut long },
    ];
    let mut loaded = [Loaded::Miss; 3];
    subject.tier().get(&mut gets, later(), &mut loaded);
    let refused = Loaded::Failed(TierFault::Refused);
    assert_eq!(loaded, [refused, Loaded::Hit, refused]);
    check(key(0), &right, "a hit between wrong lengths");
}

/// Every requested block is counted once.
pub fn counters_add_up(subject: &Subject) {
    let before = subject.tier().counters();
    subject.put(&keys(0..6), later());
    subject.put(&keys(4..8), later());
    subject.get(&keys(5..11), later());
    subject.get(&keys(0..2), Instant::now());
    subject.contains(&keys(0..30));
    let after = subject.tier().counters();
    let grown = |field: fn(&TierCounters) -> u64| field(&after) - field(&before);
    assert_eq!(grown(|c| c.stored) + grown(|c| c.present), 10, "{after:?}");
    assert!(grown(|c| c.stored) >= 8, "{after:?}");
    assert_eq!(grown(|c| c.hits), 3, "{after:?}");
    assert_eq!(grown(|c| c.misses), 3, "{after:?}");
    assert_eq!(grown(|c| c.faults[TierFault::Timeout as usize]), 2, "{after:?}");
    assert_eq!(grown(|c| c.faults.iter().sum()), 2, "no fault but those: {after:?}");
    assert_eq!(grown(|c| c.corrupt) + grown(|c| c.full), 0, "{after:?}");
}
