//! The indexes in the suite, defective ones that must fail it, and cases beyond the suite.

use weir_model::{ContentId, KvChange, KvEvent, Piece, Prompt, TierKind, Tokens};
use weir_router::{ApproximateIndex, BlockIndex, Match, PreciseIndex, TierWeights};

use crate::reference::{EventReference, PlacementReference};
use crate::suite::{Feed, equals_reference, stored};

/// Their sums are exact, so runs and single blocks must agree to the last bit.
const WEIGHTS: TierWeights = TierWeights { gpu: 1.0, below: 0.75 };
const ROOMY: u32 = 1_000_000;

index_suite!(precise, Feed::Events, || PreciseIndex::new(32, WEIGHTS, false), || {
    EventReference::new(32, WEIGHTS, false)
});

index_suite!(precise_at_block_size, Feed::Events, || PreciseIndex::new(16, WEIGHTS, false), || {
    EventReference::new(16, WEIGHTS, false)
});

index_suite!(precise_with_counts, Feed::Events, || PreciseIndex::new(32, WEIGHTS, true), || {
    EventReference::new(32, WEIGHTS, true)
});

index_suite!(approximate, Feed::Placements, || ApproximateIndex::new(64, ROOMY, ROOMY), || {
    PlacementReference::new(64, ROOMY, ROOMY)
});

// So small that most placements evict, and some do not fit.
index_suite!(
    approximate_under_pressure,
    Feed::Placements,
    || ApproximateIndex::new(64, 16, 1024),
    || PlacementReference::new(64, 16, 1024)
);

struct Broken<I> {
    index: I,
    /// Removes the whole path instead of the span.
    removes_paths: bool,
    /// A known prompt does not become recent again.
    forgets_recency: bool,
    /// Drops a second store, though stores are counted.
    counts_once: bool,
}

impl<I> Broken<I> {
    fn new(index: I) -> Self {
        Self { index, removes_paths: false, forgets_recency: false, counts_once: false }
    }
}

impl<I: BlockIndex> Broken<I> {
    fn holds(&mut self, replica: u16, prompt: &Prompt) -> bool {
        let mut matches = [Match::default(); crate::suite::REPLICAS as usize];
        let total = self.index.lookup(prompt, &mut matches);
        matches[usize::from(replica)].blocks == total
    }
}

impl<I: BlockIndex> BlockIndex for Broken<I> {
    fn lookup(&mut self, prompt: &Prompt, matches: &mut [Match]) -> u32 {
        self.index.lookup(prompt, matches)
    }

    fn placed(&mut self, replica: u16, prompt: &Prompt) {
        if !(self.forgets_recency && self.holds(replica, prompt)) {
            self.index.placed(replica, prompt);
        }
    }

    fn apply(&mut self, replica: u16, event: &KvEvent) {
        let path = event.path.truncated(Tokens(event.to_token));
        match event.change {
            KvChange::Removed if self.removes_paths => {
                self.index.apply(replica, &KvEvent { from_token: 0, ..event.clone() });
            }
            KvChange::Stored if self.counts_once && self.holds(replica, &path) => {}
            _ => self.index.apply(replica, event),
        }
    }

    fn block_tokens(&self) -> u32 {
        self.index.block_tokens()
    }

    fn known_blocks(&mut self) -> u64 {
        self.index.known_blocks()
    }

    fn extents(&mut self) -> usize {
        self.index.extents()
    }

    fn clear(&mut self) {
        self.index.clear();
    }
}

#[test]
fn the_suite_catches_broken_indexes() {
    let precise = || PreciseIndex::new(32, WEIGHTS, true);
    let events = || EventReference::new(32, WEIGHTS, true);
    let whole = || Broken::new(precise());
    assert_eq!(equals_reference(Feed::Events, whole, events), Ok(()));
    let removes_paths = || Broken { removes_paths: true, ..Broken::new(precise()) };
    assert!(equals_reference(Feed::Events, removes_paths, events).is_err());
    let counts_once = || Broken { counts_once: true, ..Broken::new(precise()) };
    assert!(equals_reference(Feed::Events, counts_once, events).is_err());
    let forgets_recency =
        || Broken { forgets_recency: true, ..Broken::new(ApproximateIndex::new(64, 16, 1024)) };
    let placements = || PlacementReference::new(64, 16, 1024);
    assert!(equals_reference(Feed::Placements, forgets_recency, placements).is_err());
}

fn prompt(parts: &[(u64, u32)]) -> Prompt {
    Prompt::new(parts.iter().map(|(content, len)| Piece::new(ContentId(*content), *len)))
}

fn removed(path: &Prompt, from_token: u32, tier: TierKind) -> KvEvent {
    KvEvent { change: KvChange::Removed, from_token, tier, ..stored(path) }
}

fn matched(index: &mut impl BlockIndex, prompt: &Prompt) -> [Match; 2] {
    let mut matches = [Match::default(); 2];
    index.lookup(prompt, &mut matches);
    matches
}

#[test]
fn two_counted_stores_need_two_removals() {
    let mut index = PreciseIndex::new(16, WEIGHTS, true);
    let text = prompt(&[(1, 160)]);
    index.apply(0, &stored(&text));
    index.apply(0, &stored(&text));
    index.apply(0, &removed(&text, 0, TierKind::Gpu));
    assert_eq!(matched(&mut index, &text)[0].blocks, 10);
    // The host tier never stored it.
    index.apply(0, &removed(&text, 0, TierKind::Host));
    assert_eq!(matched(&mut index, &text)[0].blocks, 10);
    index.apply(0, &removed(&text, 0, TierKind::Gpu));
    assert_eq!((matched(&mut index, &text)[0].blocks, index.known_blocks()), (0, 0));
    assert_eq!(index.extents(), 0);
}

#[test]
fn the_first_removal_forgets_unless_stores_are_counted() {
    let mut index = PreciseIndex::new(16, WEIGHTS, false);
    let text = prompt(&[(1, 160)]);
    index.apply(0, &stored(&text));
    index.apply(0, &stored(&text));
    index.apply(0, &removed(&text, 80, TierKind::Gpu));
    assert_eq!(matched(&mut index, &text)[0].blocks, 5);
    // A second removal of them, and one of what was never stored.
    index.apply(0, &removed(&text, 80, TierKind::Gpu));
    index.apply(1, &removed(&text, 0, TierKind::Gpu));
    assert_eq!((matched(&mut index, &text)[0].blocks, index.known_blocks()), (5, 5));
}

#[test]
fn a_cleared_replica_is_forgotten_in_all_tiers() {
    let mut index = PreciseIndex::new(16, WEIGHTS, false);
    let text = prompt(&[(1, 160)]);
    for replica in 0..2 {
        index.apply(replica, &KvEvent { tier: TierKind::Host, ..stored(&text) });
        index.apply(replica, &stored(&prompt(&[(1, 64)])));
    }
    let cleared = KvEvent { change: KvChange::Cleared, ..stored(&prompt(&[])) };
    index.apply(0, &cleared);
    assert_eq!(matched(&mut index, &text).map(|found| found.blocks), [0, 10]);
}

#[test]
fn the_best_tier_counts() {
    let mut index = PreciseIndex::new(16, WEIGHTS, false);
    let text = prompt(&[(1, 160)]);
    index.apply(0, &KvEvent { tier: TierKind::Disk, ..stored(&text) });
    assert_eq!(matched(&mut index, &text)[0], Match { blocks: 10, score: 7.5 });
    index.apply(0, &stored(&prompt(&[(1, 64)])));
    // 4 x 1 + 6 x 0.75
    assert_eq!(matched(&mut index, &text)[0], Match { blocks: 10, score: 8.5 });
    // 100 of 160 tokens agree: 6 whole blocks.
    let other = prompt(&[(1, 100), (2, 60)]);
    assert_eq!(matched(&mut index, &other)[0], Match { blocks: 6, score: 5.5 });
}

#[test]
fn a_long_prefix_is_one_extent_and_stays_few_when_evicted_by_the_block() {
    let mut index = PreciseIndex::new(16, WEIGHTS, false);
    let prefix = prompt(&[(1, 10_000)]);
    index.apply(0, &stored(&prefix));
    index.apply(1, &stored(&prefix));
    assert_eq!((index.extents(), index.known_blocks()), (1, 625));
    for block in (300..625).rev() {
        let path = prompt(&[(1, (block + 1) * 16)]);
        index.apply(1, &removed(&path, block * 16, TierKind::Gpu));
        assert_eq!(index.extents(), 2);
    }
    assert_eq!(matched(&mut index, &prefix).map(|found| found.blocks), [625, 300]);
    // Generated blocks, one event each, are merged.
    for block in 300..625 {
        let path = prompt(&[(1, (block + 1) * 16)]);
        index.apply(1, &KvEvent { from_token: block * 16, ..stored(&path) });
    }
    assert_eq!(index.extents(), 1);
}

#[test]
fn events_that_contradict_themselves_change_nothing() {
    let mut index = PreciseIndex::new(16, WEIGHTS, false);
    let text = prompt(&[(1, 160)]);
    index.apply(0, &KvEvent { to_token: 320, ..stored(&text) });
    index.apply(0, &KvEvent { from_token: 160, to_token: 16, ..stored(&text) });
    assert_eq!((index.known_blocks(), index.extents()), (0, 0));
}

#[test]
fn the_capacity_per_replica_is_kept() {
    let mut index = ApproximateIndex::new(64, 100, ROOMY);
    for content in 0..40 {
        index.placed(0, &prompt(&[(7, 640), (content, 1280)]));
        index.placed(1, &prompt(&[(7, 640)]));
        assert!(index.blocks_of(0) <= 100);
    }
    assert_eq!((index.blocks_of(0), index.blocks_of(1)), (100, 10));
    // The shared 10 blocks are recent in both; four tails of 20 blocks and half of another.
    assert_eq!(index.known_blocks(), 100);
    let mut matches = [Match::default(); 2];
    index.lookup(&prompt(&[(7, 640), (39, 1280)]), &mut matches);
    assert_eq!(matches.map(|found| found.blocks), [30, 10]);
    index.lookup(&prompt(&[(7, 640), (1, 1280)]), &mut matches);
    assert_eq!(matches.map(|found| found.blocks), [10, 10]);
}

#[test]
fn only_the_configured_prefix_is_matched() {
    let mut index = ApproximateIndex::new(64, 1000, 640);
    let long = prompt(&[(1, 6400)]);
    index.placed(0, &long);
    let mut matches = [Match::default(); 2];
    assert_eq!(index.lookup(&long, &mut matches), 10);
    assert_eq!((matches[0].blocks, index.blocks_of(0)), (10, 10));
}
