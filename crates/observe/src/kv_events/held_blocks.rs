//! Which engine held which blocks, and when, from their KV events: in GPU memory, or in a tier of
//! its own that it announces.
//!
//! A block's key is a hash of its tokens and of the key before it, so it depends on no engine's
//! hashes. Content alone names a block: all requests of a load have the same salt and adapter. A
//! cleared cache is one of all tiers, as for llm-d.
//!
//! A request is judged when it has ended, by what was held when it was sent. Blocks that left are
//! therefore remembered for as long as a request can take. An engine whose events are incomplete
//! has unknown contents until it says that all its blocks are gone.

use std::collections::{HashMap, VecDeque};

use weir_model::{ChoiceHits, Nanos, Tokens};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::decode::{HeardEvent, KvEventChange};
use crate::clock::UnixNanos;

/// Blocks of all engines, those that left included: some 250 MB.
const BLOCKS_MAX: usize = 2_000_000;
const GPU: &str = "gpu";
/// Its number.
const GPU_MEDIUM: u8 = 0;
/// Group of the layers with full attention, whose blocks are prefixes.
const GROUP: u32 = 0;
/// Parent that llm-d's simulator of engines names before the first block.
const NO_PARENT: u64 = 0;
/// Key before the first block.
const ROOT: u64 = 0;

/// What made contents unknown, in blocks but for `gaps`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeldGaps {
    /// Times that an engine's contents became unknown.
    pub gaps: u64,
    /// Stored after a block that no event had stored.
    pub orphans: u64,
    /// More blocks than are kept in memory.
    pub is_full: bool,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    from: UnixNanos,
    to: UnixNanos,
}

impl Span {
    fn contains(self, at: UnixNanos) -> bool {
        self.from <= at && at < self.to
    }
}

#[derive(Debug, Clone, Copy)]
struct Held {
    since: UnixNanos,
    /// Engines can hold a content twice, and report each copy; so does each tier.
    copies: u32,
}

/// An engine's hash where its blocks lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Name {
    /// By its place among the media heard of.
    medium: u8,
    hash: u64,
}

#[derive(Debug, Default)]
struct Engine {
    /// Key and copies of each.
    keys: HashMap<Name, (u64, u32)>,
    held: HashMap<u64, Held>,
    left: HashMap<u64, VecDeque<Span>>,
    /// When each of `left` ended, oldest first.
    leavings: VecDeque<(UnixNanos, u64)>,
    unknown: Vec<Span>,
    /// Contents are unknown from here on.
    unknown_since: Option<UnixNanos>,
    /// The last complete batch.
    heard: Option<UnixNanos>,
}

impl Engine {
    fn holds(&self, key: u64, at: UnixNanos) -> bool {
        self.held.get(&key).is_some_and(|held| held.since <= at)
            || self.left.get(&key).is_some_and(|left| left.iter().any(|span| span.contains(at)))
    }

    fn is_known(&self, at: UnixNanos) -> bool {
        self.unknown_since.is_none_or(|since| at < since)
            && !self.unknown.iter().any(|span| span.contains(at))
    }

    /// A tier names blocks as the GPU does.
    fn key_of(&self, Name { medium, hash }: Name) -> Option<u64> {
        let of = |medium| self.keys.get(&Name { medium, hash });
        of(medium).or_else(|| of(GPU_MEDIUM)).map(|(key, _)| *key)
    }

    fn store(&mut self, name: Name, key: u64, at: UnixNanos) {
        self.keys.entry(name).or_insert((key, 0)).1 += 1;
        self.held.entry(key).or_insert(Held { since: at, copies: 0 }).copies += 1;
    }

    fn remove(&mut self, name: Name, at: UnixNanos) {
        let Some((key, copies)) = self.keys.get_mut(&name) else { return };
        let key = *key;
        *copies -= 1;
        if *copies == 0 {
            self.keys.remove(&name);
        }
        let Some(held) = self.held.get_mut(&key) else { return };
        held.copies -= 1;
        if held.copies == 0 {
            let from = held.since;
            self.held.remove(&key);
            self.leave(key, Span { from, to: at });
        }
    }

    fn leave(&mut self, key: u64, span: Span) {
        self.left.entry(key).or_default().push_back(span);
        self.leavings.push_back((span.to, key));
    }

    fn clear(&mut self, at: UnixNanos) {
        self.keys.clear();
        for (key, held) in std::mem::take(&mut self.held) {
            self.leave(key, Span { from: held.since, to: at });
        }
        if let Some(from) = self.unknown_since.take() {
            self.unknown.push(Span { from, to: at });
        }
    }

    fn forget_before(&mut self, horizon: UnixNanos) {
        while let Some((_, key)) = self.leavings.pop_front_if(|(to, _)| *to < horizon) {
            if let Some(spans) = self.left.get_mut(&key) {
                spans.pop_front();
                if spans.is_empty() {
                    self.left.remove(&key);
                }
            }
        }
        self.unknown.retain(|span| span.to >= horizon);
    }
}

#[derive(Debug)]
pub struct HeldBlocks {
    engines: Vec<Engine>,
    /// Blocks are kept for this long after they left.
    remember: Nanos,
    /// Tokens of a block, of the first event.
    block_tokens: u32,
    /// By the number in names. That of GPU memory is the first.
    media: Vec<String>,
    gaps: HeldGaps,
    newest: UnixNanos,
}

impl HeldBlocks {
    /// All engines are empty at first.
    pub fn new(engines: usize, remember: Nanos) -> Self {
        Self {
            engines: (0..engines).map(|_| Engine::default()).collect(),
            remember,
            block_tokens: 0,
            media: vec![GPU.to_owned()],
            gaps: HeldGaps::default(),
            newest: UnixNanos(0),
        }
    }

    pub const fn gaps(&self) -> HeldGaps {
        self.gaps
    }

    /// Events of a batch that was heard at `at`, not before the one before it.
    pub fn apply(&mut self, engine: usize, at: UnixNanos, events: &[HeardEvent]) {
        if self.gaps.is_full {
            return;
        }
        self.newest = self.newest.max(at);
        self.engines[engine].heard = Some(at);
        for event in events {
            match event.change {
                KvEventChange::Cleared => self.engines[engine].clear(at),
                _ if event.group.unwrap_or(GROUP) != GROUP => {}
                KvEventChange::Stored if event.medium == GPU => self.store(engine, at, event),
                KvEventChange::Stored => self.store_in_tier(engine, at, event),
                KvEventChange::Removed => {
                    let medium = self.medium(&event.medium);
                    for hash in &event.hashes {
                        self.engines[engine].remove(Name { medium, hash: *hash }, at);
                    }
                }
            }
        }
        let horizon = self.horizon();
        self.engines[engine].forget_before(horizon);
        self.bound();
    }

    /// Batches before the one at `at` are lost, or it cannot be read.
    pub fn lose(&mut self, engine: usize, at: UnixNanos) {
        let engine = &mut self.engines[engine];
        let since = engine.heard.unwrap_or(UnixNanos(0)).min(at);
        if engine.unknown_since.is_none() {
            engine.unknown_since = Some(since);
            self.gaps.gaps += 1;
        }
    }

    /// The engine is another process since its last batch, and empty.
    pub fn restart(&mut self, engine: usize, at: UnixNanos) {
        self.lose(engine, at);
        self.engines[engine].clear(at);
    }

    /// None where contents were unknown then, or what the chosen engine stores is not published.
    pub fn hits(&self, at: UnixNanos, token_ids: &[u32], chosen: usize) -> Option<ChoiceHits> {
        let is_known = |engine: &Engine| engine.is_known(at);
        if self.gaps.is_full || at < self.horizon() || !self.engines.iter().all(is_known) {
            return None;
        }
        self.engines.get(chosen)?.heard?;
        let block = self.block_tokens.max(1) as usize;
        let most = token_ids.len().saturating_sub(1) / block;
        let mut held = vec![0_u32; self.engines.len()];
        let mut key = ROOT;
        for (place, tokens) in token_ids.chunks_exact(block).take(most).enumerate() {
            key = key_of(key, tokens);
            let mut goes_on = false;
            for (engine, held) in self.engines.iter().zip(&mut held) {
                if *held as usize == place && engine.holds(key, at) {
                    *held += 1;
                    goes_on = true;
                }
            }
            if !goes_on {
                break;
            }
        }
        let tokens = |blocks: u32| Tokens(blocks * self.block_tokens);
        let sum: u64 = held.iter().map(|blocks| u64::from(tokens(*blocks).0)).sum();
        Some(ChoiceHits {
            routed: tokens(held[chosen]),
            uniform: sum as f32 / held.len() as f32,
            best: tokens(held.iter().copied().max().unwrap_or(0)),
        })
    }

    fn store(&mut self, engine: usize, at: UnixNanos, event: &HeardEvent) {
        let (hashes, tokens) = (&event.hashes, &event.token_ids);
        let block = tokens.len().checked_div(hashes.len()).unwrap_or(0);
        if self.block_tokens == 0 {
            self.block_tokens = block as u32;
        }
        let engine = &mut self.engines[engine];
        let parent = match event.parent {
            None => Some(ROOT),
            Some(parent) => engine
                .key_of(Name { medium: GPU_MEDIUM, hash: parent })
                .or_else(|| (parent == NO_PARENT).then_some(ROOT)),
        };
        let is_whole = block > 0
            && block == self.block_tokens as usize
            && tokens.len() == hashes.len() * block;
        let Some(mut key) = parent.filter(|_| is_whole) else {
            self.gaps.orphans += hashes.len() as u64;
            if engine.unknown_since.is_none() {
                engine.unknown_since = Some(at);
                self.gaps.gaps += 1;
            }
            return;
        };
        for (hash, tokens) in hashes.iter().zip(tokens.chunks_exact(block)) {
            key = key_of(key, tokens);
            engine.store(Name { medium: GPU_MEDIUM, hash: *hash }, key, at);
        }
    }

    /// Blocks whose place in a prompt is unknown are left out: no prefix reaches them.
    fn store_in_tier(&mut self, engine: usize, at: UnixNanos, event: &HeardEvent) {
        let medium = self.medium(&event.medium);
        let block = self.block_tokens as usize;
        let engine = &mut self.engines[engine];
        let (hashes, tokens) = (&event.hashes, &event.token_ids);
        if tokens.is_empty() {
            // vLLM's offloading by default: the hash of a block in GPU memory.
            for hash in hashes {
                let name = Name { medium, hash: *hash };
                if let Some(key) = engine.key_of(name) {
                    engine.store(name, key, at);
                }
            }
            return;
        }
        let parent = match event.parent {
            None => Some(ROOT),
            Some(hash) => engine.key_of(Name { medium, hash }),
        };
        let is_whole = block > 0 && tokens.len() == hashes.len() * block;
        let Some(mut key) = parent.filter(|_| is_whole) else { return };
        for (hash, tokens) in hashes.iter().zip(tokens.chunks_exact(block)) {
            key = key_of(key, tokens);
            engine.store(Name { medium, hash: *hash }, key, at);
        }
    }

    /// Media beyond the 256th share a number.
    fn medium(&mut self, name: &str) -> u8 {
        let known = self.media.iter().position(|known| known == name);
        let number = known.unwrap_or_else(|| {
            if u8::try_from(self.media.len()).is_ok() {
                self.media.push(name.to_owned());
            }
            self.media.len() - 1
        });
        u8::try_from(number).unwrap_or(u8::MAX)
    }

    fn horizon(&self) -> UnixNanos {
        UnixNanos(self.newest.0.saturating_sub(self.remember.0))
    }

    fn bound(&mut self) {
        let blocks: usize =
            self.engines.iter().map(|engine| engine.held.len() + engine.leavings.len()).sum();
        if blocks > BLOCKS_MAX {
            self.gaps.is_full = true;
            self.engines.iter_mut().for_each(|engine| *engine = Engine::default());
        }
    }
}

fn key_of(parent: u64, tokens: &[u32]) -> u64 {
    let mut bytes = [0_u8; 256];
    let mut digest = parent;
    // Blocks are 16 tokens and rarely more.
    for tokens in tokens.chunks(bytes.len() / 4) {
        for (token, place) in tokens.iter().zip(bytes.chunks_exact_mut(4)) {
            place.copy_from_slice(&token.to_le_bytes());
        }
        digest = xxh3_64_with_seed(&bytes[..4 * tokens.len()], digest);
    }
    digest
}
