//! The index of precise-prefix, in memory or in a store.

mod keys;
mod stored;

use parking_lot::Mutex;
use weir_observe::kv_events::{HeardEvent, KvEventChange};
use weir_router::{KeyedIndex, Match, TierWeights};
use weir_store::{Address, RespError};

pub(crate) use keys::KeyHasher;
pub(crate) use stored::StoredIndex;

#[derive(Debug)]
pub(crate) enum Index {
    Memory(Mutex<KeyedIndex>),
    Stored(Box<StoredIndex>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    Done,
    /// Its parent is unknown, so its blocks have no keys.
    Orphan,
}

impl Index {
    /// Answers of a store are awaited here, so that a wrong address is told at the start.
    pub(crate) fn open(
        address: Option<&Address>,
        replicas: Vec<String>,
        weights: TierWeights,
        counts_stores: bool,
    ) -> Result<Self, RespError> {
        let Some(address) = address else {
            return Ok(Self::Memory(Mutex::new(KeyedIndex::new(weights, counts_stores))));
        };
        let index = StoredIndex::open(address, replicas, weights)?;
        Ok(Self::Stored(Box::new(index)))
    }

    /// Events of one replica must come in their order.
    pub(crate) fn apply(
        &self,
        replica: u16,
        event: &HeardEvent,
        hasher: KeyHasher,
        block_tokens: u32,
    ) -> Result<Applied, RespError> {
        match event.change {
            KvEventChange::Stored => self.store(replica, event, hasher, block_tokens),
            KvEventChange::Removed => {
                self.remove(replica, event)?;
                Ok(Applied::Done)
            }
            KvEventChange::Cleared => {
                self.clear(replica)?;
                Ok(Applied::Done)
            }
        }
    }

    fn store(
        &self,
        replica: u16,
        event: &HeardEvent,
        hasher: KeyHasher,
        block_tokens: u32,
    ) -> Result<Applied, RespError> {
        if event.token_ids.is_empty() {
            self.store_known(replica, event)?;
            return Ok(Applied::Done);
        }
        let parent = match event.parent {
            None => None,
            Some(engine_key) => match self.key_of(engine_key)? {
                Some(key) => Some(key),
                None => return Ok(Applied::Orphan),
            },
        };
        // Outside of the lock: hashing is most of the work.
        let keys = keys_of(event, parent, hasher, block_tokens as usize);
        if keys.is_empty() {
            return Ok(Applied::Done);
        }
        match self {
            Self::Memory(index) => {
                let mut index = index.lock();
                let medium = index.medium(&event.medium);
                index.store(replica, medium, parent, &keys, &event.hashes);
            }
            Self::Stored(index) => index.store(replica, event, &keys)?,
        }
        Ok(Applied::Done)
    }

    fn store_known(&self, replica: u16, event: &HeardEvent) -> Result<(), RespError> {
        match self {
            Self::Memory(index) => {
                let mut index = index.lock();
                let medium = index.medium(&event.medium);
                index.store_known(replica, medium, &event.hashes);
                Ok(())
            }
            Self::Stored(index) => index.store_known(replica, event),
        }
    }

    fn remove(&self, replica: u16, event: &HeardEvent) -> Result<(), RespError> {
        match self {
            Self::Memory(index) => {
                let mut index = index.lock();
                let medium = index.medium(&event.medium);
                for engine_key in &event.hashes {
                    index.remove(replica, medium, *engine_key);
                }
                Ok(())
            }
            Self::Stored(index) => index.remove(replica, event),
        }
    }

    pub(crate) fn clear(&self, replica: u16) -> Result<(), RespError> {
        match self {
            Self::Memory(index) => {
                index.lock().clear(replica);
                Ok(())
            }
            Self::Stored(index) => index.clear(replica),
        }
    }

    fn key_of(&self, engine_key: u64) -> Result<Option<u64>, RespError> {
        match self {
            Self::Memory(index) => Ok(index.lock().key_of(engine_key)),
            Self::Stored(index) => index.key_of(engine_key),
        }
    }

    pub(crate) const fn is_in_memory(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    /// None for a store, which others may fill too.
    pub(crate) fn known_blocks(&self) -> Option<u64> {
        match self {
            Self::Memory(index) => Some(index.lock().known_blocks()),
            Self::Stored(_) => None,
        }
    }

    /// Fills `matches`, one per replica. Waits for the answer of a store.
    pub(crate) fn lookup(&self, keys: &[u64], matches: &mut [Match]) -> Result<(), RespError> {
        match self {
            Self::Memory(index) => {
                index.lock().lookup(keys, matches);
                Ok(())
            }
            Self::Stored(index) => index.lookup(keys, matches),
        }
    }
}

/// The keys of whole index blocks in an event. Where an engine's blocks have another size, what
/// taints them goes to the blocks that they share (as in llm-d).
fn keys_of(
    event: &HeardEvent,
    parent: Option<u64>,
    hasher: KeyHasher,
    block_tokens: usize,
) -> Vec<u64> {
    let blocks = event.token_ids.chunks_exact(block_tokens);
    let (count, tainted) = (blocks.len(), event.extra.len());
    let mut key = parent.unwrap_or(hasher.root());
    let key_of_block = |(at, tokens): (usize, &[u32])| {
        let extra: &[String] = if tainted == 0 {
            &[]
        } else if tainted <= count {
            &event.extra[at * tainted / count]
        } else {
            let covered = (0..tainted).filter(|it| it * count / tainted == at);
            let all: Vec<String> = covered.flat_map(|it| event.extra[it].clone()).collect();
            key = hasher.key(key, tokens, &all);
            return key;
        };
        key = hasher.key(key, tokens, extra);
        key
    };
    blocks.enumerate().map(key_of_block).collect()
}

/// The keys of a prompt; a salt taints its first block, as engines announce it.
pub(crate) fn prompt_keys(
    hasher: KeyHasher,
    tokens: &[u32],
    block_tokens: u32,
    salt: Option<&str>,
) -> Vec<u64> {
    let blocks = tokens.chunks_exact(block_tokens as usize);
    let (mut key, mut extra) = (hasher.root(), salt.map(str::to_owned));
    let key_of_block = |tokens: &[u32]| {
        key = hasher.key(key, tokens, extra.take().as_slice());
        key
    };
    blocks.map(key_of_block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(tokens: u32, extra: &[&[&str]]) -> HeardEvent {
        HeardEvent {
            change: KvEventChange::Stored,
            hashes: vec![1],
            parent: None,
            token_ids: (0..tokens).collect(),
            medium: "gpu".to_owned(),
            lora: None,
            extra: extra.iter().map(|it| it.iter().map(|&s| s.to_owned()).collect()).collect(),
            group: None,
        }
    }

    #[test]
    fn a_prompt_has_the_keys_of_its_events() {
        for hasher in [KeyHasher::llm_d("", "m"), KeyHasher::own("m")] {
            check_keys(hasher);
        }
    }

    fn check_keys(hasher: KeyHasher) {
        let tokens: Vec<u32> = (0..40).collect();
        let plain = prompt_keys(hasher, &tokens, 16, None);
        assert_eq!(plain.len(), 2);
        assert_eq!(keys_of(&event(40, &[]), None, hasher, 16), plain);
        assert_eq!(keys_of(&event(40, &[&[], &[]]), None, hasher, 16), plain);
        let salted = prompt_keys(hasher, &tokens, 16, Some("s"));
        assert_ne!(salted, plain);
        assert_eq!(keys_of(&event(40, &[&["s"], &[]]), None, hasher, 16), salted);
        // A second event goes on where the first ended.
        let mut second = event(0, &[]);
        second.token_ids = (16..32).collect();
        assert_eq!(keys_of(&second, Some(plain[0]), hasher, 16), plain[1..]);
    }

    #[test]
    fn blocks_of_other_sizes_share_what_taints_them() {
        let hasher = KeyHasher::own("m");
        let of = |extra: &[&[&str]], size| keys_of(&event(64, extra), None, hasher, size);
        // Engine blocks of 16 in index blocks of 32, and the other way round.
        assert_eq!(of(&[&["a"], &["b"], &[], &[]], 32), of(&[&["a", "b"], &[]], 32));
        assert_eq!(of(&[&["a"], &[]], 16), of(&[&["a"], &["a"], &[], &[]], 16));
        assert!(of(&[], 100).is_empty());
    }

    #[test]
    fn own_keys_cover_model_parent_tokens_and_taint() {
        let tokens: Vec<u32> = (0..40).collect();
        let keys = |model, salt| prompt_keys(KeyHasher::own(model), &tokens, 20, salt);
        let all = [keys("m", None), keys("n", None), keys("m", Some("s")), keys("m", Some("t"))];
        let mut distinct: Vec<u64> = all.concat();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 8);
        let mut other = tokens.clone();
        other[19] += 1;
        assert_ne!(prompt_keys(KeyHasher::own("m"), &other, 20, None)[0], all[0][0]);
    }
}
