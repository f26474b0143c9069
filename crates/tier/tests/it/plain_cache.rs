//! A chunk-by-chunk tier, as in vLLM's offloading and LMCache: the reference for the cache by runs.

use std::collections::BTreeMap;

use weir_tier::EvictionPolicy;
use weir_tier::chunk_cache::{Fit, Found};

/// A chunk's content: the whole token sequence up to its end.
pub(crate) type Key = Vec<u32>;

#[derive(Debug, Clone)]
struct Chunk {
    ready: bool,
    pins: u32,
}

#[derive(Default)]
struct Queue(Vec<Key>);

impl Queue {
    fn has(&self, key: &Key) -> bool {
        self.0.contains(key)
    }
    fn remove(&mut self, key: &Key) {
        self.0.retain(|other| other != key);
    }
    fn renew(&mut self, key: &Key) {
        self.remove(key);
        self.0.push(key.clone());
    }
}

pub(crate) struct PlainCache {
    chunks: BTreeMap<Key, Chunk>,
    once: Queue,
    again: Queue,
    ghost_once: Queue,
    ghost_again: Queue,
    target: f64,
    capacity: usize,
    policy: EvictionPolicy,
    unit: usize,
    pub(crate) evicted: u64,
}

impl PlainCache {
    pub(crate) fn new(capacity: usize, unit: usize, policy: EvictionPolicy) -> Self {
        Self {
            chunks: BTreeMap::new(),
            once: Queue::default(),
            again: Queue::default(),
            ghost_once: Queue::default(),
            ghost_again: Queue::default(),
            target: 0.0,
            capacity,
            policy,
            unit,
            evicted: 0,
        }
    }

    pub(crate) fn used(&self) -> usize {
        self.chunks.len()
    }

    fn keys(&self, tokens: &[u32], to: usize) -> Vec<Key> {
        (1..=to).map(|end| tokens[..end * self.unit].to_vec()).collect()
    }

    pub(crate) fn lookup(&self, tokens: &[u32], from: usize, limit: usize) -> Found {
        let mut found = Found::default();
        for key in self.keys(tokens, limit).into_iter().skip(from) {
            match self.chunks.get(&key) {
                Some(chunk) if chunk.ready => {
                    found.chunks += 1;
                    found.reading |= chunk.pins > 0;
                }
                Some(_) => {
                    found.pending = true;
                    return found;
                }
                None => return found,
            }
        }
        found
    }

    /// vLLM's end of a request, for the keys that it used; it stored those in `stored` itself.
    pub(crate) fn touch(&mut self, tokens: &[u32], from: usize, to: usize, stored: &[usize]) {
        for (index, key) in self.keys(tokens, to).iter().enumerate().skip(from).rev() {
            let own = stored.contains(&index);
            let Some(chunk) = self.chunks.get(key) else { continue };
            if !chunk.ready && !own {
                continue;
            }
            if self.again.has(key) {
                self.again.renew(key);
            } else if self.policy == EvictionPolicy::Arc && !own {
                self.once.remove(key);
                self.again.renew(key);
            } else {
                self.once.renew(key);
            }
        }
    }

    /// ARC learns from a miss of a ghost.
    fn learn(&mut self, key: &Key) {
        let (once, again) = (self.ghost_once.0.len() as f64, self.ghost_again.0.len() as f64);
        if self.ghost_once.has(key) {
            self.target = (self.target + (again / once).max(1.0)).min(self.capacity as f64);
            self.ghost_once.renew(key);
        } else if self.ghost_again.has(key) {
            self.target = (self.target - (once / again).max(1.0)).max(0.0);
            self.ghost_again.renew(key);
        }
    }

    fn trim_ghosts(&mut self) {
        for ghosts in [&mut self.ghost_once, &mut self.ghost_again] {
            let surplus = ghosts.0.len().saturating_sub(self.capacity);
            ghosts.0.drain(..surplus);
        }
    }

    fn may_go(&self, key: &Key, kept: &[Key]) -> bool {
        self.chunks[key].ready && self.chunks[key].pins == 0 && !kept.contains(key)
    }

    fn victim(&self, kept: &[Key]) -> Option<Key> {
        let first = |queue: &Queue| queue.0.iter().find(|key| self.may_go(key, kept)).cloned();
        match self.policy {
            EvictionPolicy::None => None,
            EvictionPolicy::Lru => first(&self.once),
            EvictionPolicy::Arc if self.once.0.len() >= self.target as usize => {
                first(&self.once).or_else(|| first(&self.again))
            }
            EvictionPolicy::Arc => first(&self.again).or_else(|| first(&self.once)),
        }
    }

    fn evict(&mut self, kept: &[Key]) -> bool {
        let Some(key) = self.victim(kept) else { return false };
        self.chunks.remove(&key);
        self.evicted += 1;
        let was_once = self.once.has(&key);
        self.once.remove(&key);
        self.again.remove(&key);
        if self.policy == EvictionPolicy::Arc {
            let ghosts = if was_once { &mut self.ghost_once } else { &mut self.ghost_again };
            ghosts.0.push(key);
        }
        true
    }

    /// Makes the missing ones among `from..to` pending; returns their indices.
    pub(crate) fn reserve(
        &mut self,
        tokens: &[u32],
        from: usize,
        to: usize,
        fit: Fit,
    ) -> Vec<usize> {
        let kept: Vec<Key> = self.keys(tokens, to).into_iter().skip(from).collect();
        let missing: Vec<usize> =
            (0..kept.len()).filter(|index| !self.chunks.contains_key(&kept[*index])).collect();
        for index in missing.iter().rev() {
            self.learn(&kept[*index]);
        }
        let evictable = self.chunks.keys().filter(|key| self.may_go(key, &kept)).count();
        let evictable = if self.policy == EvictionPolicy::None { 0 } else { evictable };
        let mut new = Vec::new();
        let evictable = if fit == Fit::Free { 0 } else { evictable };
        let fits = self.chunks.len() + missing.len() <= self.capacity + evictable;
        if fit == Fit::Front || fits {
            while self.chunks.len() + missing.len() > self.capacity && self.evict(&kept) {}
            self.trim_ghosts();
            for index in missing.into_iter().take(self.capacity - self.chunks.len()) {
                let key = &kept[index];
                self.chunks.insert(key.clone(), Chunk { ready: false, pins: 1 });
                self.ghost_once.remove(key);
                self.ghost_again.remove(key);
                self.once.renew(key);
                new.push(from + index);
            }
        }
        new
    }

    pub(crate) fn gap(&self, tokens: &[u32], from: usize, limit: usize) -> usize {
        let keys = self.keys(tokens, limit);
        keys.iter().skip(from).take_while(|key| !self.chunks.contains_key(*key)).count()
    }

    pub(crate) fn evict_oldest(&mut self, chunks: usize) -> usize {
        let gone = (0..chunks).take_while(|_| self.evict(&[])).count();
        self.trim_ghosts();
        gone
    }

    pub(crate) fn settle(&mut self, tokens: &[u32], indices: &[usize], arrived: bool) {
        let keys = self.keys(tokens, indices.last().map_or(0, |last| last + 1));
        for index in indices {
            let key = &keys[*index];
            if arrived {
                let chunk = self.chunks.get_mut(key).expect("pending chunks stay");
                chunk.ready = true;
                chunk.pins -= 1;
            } else {
                self.chunks.remove(key);
                self.once.remove(key);
                self.again.remove(key);
            }
        }
    }

    pub(crate) fn pin(&mut self, tokens: &[u32], from: usize, to: usize, up: bool) {
        for key in self.keys(tokens, to).into_iter().skip(from) {
            let chunk = self.chunks.get_mut(&key).expect("only present chunks are pinned");
            if up {
                chunk.pins += 1;
            } else {
                chunk.pins -= 1;
            }
        }
    }
}
