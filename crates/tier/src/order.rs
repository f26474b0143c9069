//! Orders of eviction (LRU, ARC, none) over indices of the user's entries, weighted by chunks.
//!
//! ARC follows Megiddo and Modha (FAST 2003) in the form of vLLM's offloading: T1 holds chunks used
//! once, T2 chunks used again; B1 and B2 remember their evictions, and a use of a remembered chunk
//! moves the target size of T1.

use crate::config::EvictionPolicy;
use crate::recency::RecencyList;

/// LRU uses only `Once`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PolicyQueue {
    /// Used once (T1); with LRU, everything.
    Once,
    /// Used again (T2).
    Again,
    /// Evicted from `Once` (B1).
    GhostOnce,
    /// Evicted from `Again` (B2).
    GhostAgain,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Victim {
    pub index: u32,
    /// Chunks after which the choice must be repeated.
    pub at_most: u32,
}

#[derive(Debug, Clone, Default)]
struct Weighted {
    list: RecencyList,
    chunks: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Order {
    policy: EvictionPolicy,
    queues: [Weighted; 4],
    /// Target size of `Once` under ARC, chunks.
    target: f64,
    capacity: u64,
}

impl Order {
    pub(crate) fn new(policy: EvictionPolicy, capacity: u32) -> Self {
        let queues = std::array::from_fn(|_| Weighted::default());
        Self { policy, queues, target: 0.0, capacity: u64::from(capacity) }
    }

    /// Makes room for indices below `ids`, so that later calls do not allocate.
    pub(crate) fn reserve(&mut self, ids: u32) {
        for queue in &mut self.queues {
            queue.list.reserve(ids);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.policy, self.capacity as u32);
    }

    /// Adds a run, which may have been a ghost.
    pub(crate) fn entered(
        &mut self,
        index: u32,
        chunks: u32,
        was: Option<PolicyQueue>,
    ) -> PolicyQueue {
        self.take(index, chunks, was);
        self.put(index, chunks, PolicyQueue::Once)
    }

    pub(crate) fn touched(
        &mut self,
        index: u32,
        chunks: u32,
        was: Option<PolicyQueue>,
    ) -> Option<PolicyQueue> {
        let queue = was?;
        let next = match (self.policy, queue) {
            (EvictionPolicy::Arc, PolicyQueue::Once) => PolicyQueue::Again,
            (EvictionPolicy::Arc, PolicyQueue::GhostOnce) => {
                self.adapt(chunks, PolicyQueue::GhostAgain, PolicyQueue::GhostOnce, 1.0);
                queue
            }
            (EvictionPolicy::Arc, PolicyQueue::GhostAgain) => {
                self.adapt(chunks, PolicyQueue::GhostOnce, PolicyQueue::GhostAgain, -1.0);
                queue
            }
            _ => queue,
        };
        self.take(index, chunks, was);
        Some(self.put(index, chunks, next))
    }

    /// Makes a run the most recent one of its queue.
    pub(crate) fn renewed(&mut self, index: u32, chunks: u32, queue: Option<PolicyQueue>) {
        self.take(index, chunks, queue);
        if let Some(queue) = queue {
            self.put(index, chunks, queue);
        }
    }

    /// Moves the target by `max(1, |more| / |less|)` per chunk.
    fn adapt(&mut self, chunks: u32, more: PolicyQueue, less: PolicyQueue, direction: f64) {
        let ratio = self.chunks(more) as f64 / self.chunks(less).max(1) as f64;
        let moved = self.target + direction * f64::from(chunks) * ratio.max(1.0);
        self.target = moved.clamp(0.0, self.capacity as f64);
    }

    /// ARC remembers an evicted run.
    pub(crate) fn evicted(
        &mut self,
        index: u32,
        chunks: u32,
        was: Option<PolicyQueue>,
    ) -> Option<PolicyQueue> {
        self.take(index, chunks, was);
        match (self.policy, was) {
            (EvictionPolicy::Arc, Some(PolicyQueue::Once)) => {
                Some(self.put(index, chunks, PolicyQueue::GhostOnce))
            }
            (EvictionPolicy::Arc, Some(PolicyQueue::Again)) => {
                Some(self.put(index, chunks, PolicyQueue::GhostAgain))
            }
            _ => None,
        }
    }

    pub(crate) fn dropped(
        &mut self,
        index: u32,
        chunks: u32,
        was: Option<PolicyQueue>,
    ) -> Option<PolicyQueue> {
        self.take(index, chunks, was);
        None
    }

    /// Splits a run: `front` is new, and leaves before `tail` or after it.
    pub(crate) fn divided(
        &mut self,
        tail: u32,
        front: u32,
        queue: Option<PolicyQueue>,
        front_leaves_first: bool,
    ) {
        let Some(queue) = queue else { return };
        let list = &mut self.queues[queue as usize].list;
        if front_leaves_first {
            list.insert_before(front, tail);
        } else {
            list.insert_after(front, tail);
        }
    }

    /// True if evicted runs are remembered.
    pub(crate) fn remembers(&self) -> bool {
        self.policy == EvictionPolicy::Arc
    }

    /// All runs except ghosts; empty if nothing is evicted at all.
    pub(crate) fn evictable(&self) -> impl Iterator<Item = u32> + '_ {
        let queues = match self.policy {
            EvictionPolicy::None => [].iter(),
            EvictionPolicy::Lru => [PolicyQueue::Once].iter(),
            EvictionPolicy::Arc => [PolicyQueue::Once, PolicyQueue::Again].iter(),
        };
        queues.flat_map(|queue| self.queues[*queue as usize].list.iter())
    }

    /// The next run to evict among those that `may_go`.
    pub(crate) fn victim(&self, may_go: impl Fn(u32) -> bool) -> Option<Victim> {
        let first = |queue: PolicyQueue| {
            self.queues[queue as usize].list.iter().find(|index| may_go(*index))
        };
        let any = |index| Victim { index, at_most: u32::MAX };
        match self.policy {
            EvictionPolicy::None => None,
            EvictionPolicy::Lru => first(PolicyQueue::Once).map(any),
            EvictionPolicy::Arc => {
                let once = self.chunks(PolicyQueue::Once);
                let target = self.target as u64;
                if once >= target {
                    let at_most = u32::try_from(once - target + 1).unwrap_or(u32::MAX);
                    first(PolicyQueue::Once)
                        .map(|index| Victim { index, at_most })
                        .or_else(|| first(PolicyQueue::Again).map(any))
                } else {
                    first(PolicyQueue::Again).or_else(|| first(PolicyQueue::Once)).map(any)
                }
            }
        }
    }

    /// The oldest ghost of an overfull list, and the number of surplus chunks.
    pub(crate) fn surplus_ghost(&self) -> Option<(u32, u32)> {
        [PolicyQueue::GhostOnce, PolicyQueue::GhostAgain].into_iter().find_map(|queue| {
            let surplus = self.chunks(queue).checked_sub(self.capacity).filter(|over| *over > 0)?;
            let oldest = self.queues[queue as usize].list.oldest()?;
            Some((oldest, u32::try_from(surplus).unwrap_or(u32::MAX)))
        })
    }

    fn chunks(&self, queue: PolicyQueue) -> u64 {
        self.queues[queue as usize].chunks
    }

    fn take(&mut self, index: u32, chunks: u32, was: Option<PolicyQueue>) {
        if let Some(queue) = was {
            let queue = &mut self.queues[queue as usize];
            queue.list.remove(index);
            queue.chunks -= u64::from(chunks);
        }
    }

    fn put(&mut self, index: u32, chunks: u32, queue: PolicyQueue) -> PolicyQueue {
        let weighted = &mut self.queues[queue as usize];
        weighted.list.push(index);
        weighted.chunks += u64::from(chunks);
        queue
    }
}
