use std::sync::atomic::{AtomicU64, Ordering};

use super::{BLOCKS_MIN, Subject, check, content, key, later, mixed};
use crate::tier::{ChunkHash, Get, Loaded, Put, Stored, Tier};

const THREADS: u64 = 6;
const ROUNDS: u64 = 60;
const BATCH: u64 = 4;

/// A hit has the bytes of its key, and nothing is lost at the end.
pub fn threads_see_right_bytes(subject: &Subject) {
    let tier = subject.tier();
    let capacity = subject.capacity().unwrap_or(u64::MAX);
    // More keys than fit, if the limit can be reached.
    let names = if capacity <= 256 { capacity * 3 / 2 } else { BLOCKS_MIN * 3 };
    let counted = AtomicU64::new(0);
    let before = tier.counters();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let counted = &counted;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    counted.fetch_add(turn(tier, thread, round, names), Ordering::Relaxed);
                }
            });
        }
    });
    let after = tier.counters();
    let puts = |c: &crate::tier::TierCounters| c.stored + c.present + c.full;
    let gets = |c: &crate::tier::TierCounters| c.hits + c.misses + c.corrupt;
    let total = puts(&after) + gets(&after) - puts(&before) - gets(&before);
    assert_eq!(total, counted.into_inner(), "every block is counted: {after:?}");
    // Nothing is pinned or pending at the end: a full batch fits.
    subject.clear();
    let batch = super::keys(0..BLOCKS_MIN);
    let outcomes = subject.put(&batch, later());
    assert!(outcomes.iter().all(|o| *o == Stored::Stored), "afterwards: {outcomes:?}");
    let outcomes = subject.get(&batch, later());
    assert!(outcomes.iter().all(|o| *o == Loaded::Hit), "afterwards: {outcomes:?}");
}

/// One action of a thread; returns the number of requested blocks.
fn turn(tier: &dyn Tier, thread: u64, round: u64, names: u64) -> u64 {
    let dice = mixed(thread << 32 | round);
    let batch: Vec<ChunkHash> = (0..BATCH).map(|i| key(mixed(dice ^ i) % names)).collect();
    let mut buffers = vec![vec![0_u8; tier.block_bytes()]; BATCH as usize];
    match dice >> 60 {
        0 => tier.remove(&batch[..1], later()).map(|()| 0).expect("remove of a healthy tier"),
        1 => {
            let mut present = [false; BATCH as usize];
            tier.contains(&batch, later(), &mut present).map(|()| 0).expect("contains")
        }
        2..=8 => {
            for (key, buffer) in batch.iter().zip(&mut buffers) {
                content(*key, buffer);
            }
            let puts: Vec<Put<'_>> =
                batch.iter().zip(&buffers).map(|(key, bytes)| Put { key: *key, bytes }).collect();
            let mut outcomes = [Stored::Full; BATCH as usize];
            tier.put(&puts, later(), &mut outcomes);
            for outcome in outcomes {
                assert!(!matches!(outcome, Stored::Failed(_)), "storing: {outcome:?}");
            }
            BATCH
        }
        _ => {
            let mut gets: Vec<Get<'_>> =
                batch.iter().zip(&mut buffers).map(|(key, into)| Get { key: *key, into }).collect();
            let mut outcomes = [Loaded::Corrupt; BATCH as usize];
            tier.get(&mut gets, later(), &mut outcomes);
            for (get, outcome) in gets.iter().zip(outcomes) {
                match outcome {
                    Loaded::Hit => check(get.key, get.into, "a hit among threads"),
                    Loaded::Miss => {}
                    other => panic!("loading: {other:?}"),
                }
            }
            BATCH
        }
    }
}
