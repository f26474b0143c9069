//! KV events that the tree does not have yet.
//!
//! An event matters to lookups of prompts that begin as its path does. Until one comes, further
//! events of the same sequence join it: a decoding sequence stores its blocks one by one, and an
//! engine evicts them one by one.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use weir_model::prefix_tree::FingerprintHasher;
use weir_model::{ContentId, KvEvent};

/// Bounds memory, and the time of a step that needs them all.
const MOST: usize = 16_384;
/// Events of other sequences that a new one may pass to join an earlier one.
const MOST_PASSED: usize = 8;

/// Event and replica.
type Held = (u16, KvEvent);
type Queues = HashMap<ContentId, Vec<Held>, BuildHasherDefault<FingerprintHasher>>;

/// Each replica's events under one first content stay in order, or an order of equal effect. Those
/// under different first contents, and of different replicas, change different marks.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending {
    queues: Queues,
    events: usize,
    /// Emptied queues, to be used again.
    spare: Vec<Vec<Held>>,
}

impl Pending {
    /// An event with a span.
    pub(super) fn push(&mut self, replica: u16, event: &KvEvent) {
        let Some(first) = event.path.pieces().first() else { return };
        let spare = &mut self.spare;
        let queue =
            self.queues.entry(first.content).or_insert_with(|| spare.pop().unwrap_or_default());
        for (owner, earlier) in queue.iter_mut().rev().take(MOST_PASSED) {
            if *owner != replica {
                continue;
            }
            if earlier.change != event.change {
                break;
            }
            if join(earlier, event) {
                return;
            }
        }
        queue.push((replica, event.clone()));
        self.events += 1;
    }

    pub(super) const fn is_full(&self) -> bool {
        self.events >= MOST
    }

    /// In order. Give the vector back to [`Pending::give_back`].
    pub(super) fn take(&mut self, first: ContentId) -> Option<Vec<Held>> {
        let queue = self.queues.remove(&first)?;
        self.events -= queue.len();
        Some(queue)
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Held> + use<> {
        self.events = 0;
        std::mem::take(&mut self.queues).into_values().flatten()
    }

    pub(super) fn give_back(&mut self, mut queue: Vec<Held>) {
        queue.clear();
        self.spare.push(queue);
    }

    pub(super) fn clear(&mut self) {
        self.queues.clear();
        self.events = 0;
    }
}

/// True if `earlier` now has the span of both, which are of one replica and change.
fn join(earlier: &mut KvEvent, event: &KvEvent) -> bool {
    if earlier.tier != event.tier || !earlier.path.is_clone_of(&event.path) {
        return false;
    }
    if earlier.to_token == event.from_token {
        earlier.to_token = event.to_token;
    } else if earlier.from_token == event.to_token {
        earlier.from_token = event.from_token;
    } else {
        return false;
    }
    true
}
