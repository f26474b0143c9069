//! What all threads know: configuration, index, replicas, counters.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::config::ProxyConfig;
use crate::index::{Index, KeyHasher};
use crate::replica::LiveReplica;

#[derive(Debug, Default)]
pub(crate) struct AtomicCounter(AtomicU64);

impl AtomicCounter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct ProxyCounters {
    pub(crate) decisions: AtomicCounter,
    /// Requests that a second replica got, because nothing listened at the first.
    pub(crate) retried: AtomicCounter,
    pub(crate) unanswered: AtomicCounter,
    pub(crate) lookups: AtomicCounter,
    /// Lookups that found the first block at a replica.
    pub(crate) lookup_hits: AtomicCounter,
    pub(crate) lookup_failures: AtomicCounter,
    /// Prompts whose token ids nobody gave.
    pub(crate) untokenized: AtomicCounter,
    pub(crate) batches: AtomicCounter,
    pub(crate) lost_batches: AtomicCounter,
    /// Batches that came twice.
    pub(crate) repeated_batches: AtomicCounter,
    pub(crate) unreadable_batches: AtomicCounter,
    /// Batches of a replica that is not ours.
    pub(crate) foreign_batches: AtomicCounter,
    pub(crate) events: AtomicCounter,
    /// Events whose parent is not in the index, so that their blocks have no key.
    pub(crate) orphans: AtomicCounter,
    pub(crate) event_failures: AtomicCounter,
    pub(crate) scrape_failures: AtomicCounter,
    pub(crate) log_failures: AtomicCounter,
}

/// What a proxy did, and what it missed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProxyTotals {
    /// Generations that were to be routed.
    pub requests: u64,
    /// Requests that no replica was left for.
    pub unanswered: u64,
    /// Batches of KV events that did not come.
    pub lost_batches: u64,
    /// Prompts scored without their token ids.
    pub untokenized: u64,
    /// Prompts scored without the store of the index.
    pub lookup_failures: u64,
    pub log_failures: u64,
}

#[derive(Debug)]
pub(crate) struct SharedState {
    pub(crate) replicas: Vec<LiveReplica>,
    /// Of precise-prefix.
    pub(crate) index: Option<Index>,
    pub(crate) counters: ProxyCounters,
    hash_seed: String,
    /// Names of the base model, as a replica lists them.
    models: Mutex<Vec<String>>,
}

impl SharedState {
    pub(crate) fn new(config: &ProxyConfig, index: Option<Index>) -> Self {
        Self {
            replicas: config.replicas.iter().cloned().map(LiveReplica::new).collect(),
            index,
            counters: ProxyCounters::default(),
            hash_seed: config.hash_seed.clone(),
            models: Mutex::default(),
        }
    }

    pub(crate) fn totals(&self) -> ProxyTotals {
        let counters = &self.counters;
        ProxyTotals {
            requests: counters.decisions.get() + counters.unanswered.get() - counters.retried.get(),
            unanswered: counters.unanswered.get(),
            lost_batches: counters.lost_batches.get(),
            untokenized: counters.untokenized.get(),
            lookup_failures: counters.lookup_failures.get(),
            log_failures: counters.log_failures.get(),
        }
    }

    pub(crate) fn learn_models(&self, names: Vec<String>) {
        let mut models = self.models.lock();
        if models.is_empty() {
            *models = names;
        }
    }

    pub(crate) fn knows_models(&self) -> bool {
        !self.models.lock().is_empty()
    }

    /// All names of the base model lead to the same keys; another name is an adapter's.
    pub(crate) fn hasher(&self, model: Option<&str>) -> KeyHasher {
        let models = self.models.lock();
        let base = models.first().map(String::as_str);
        let name = match model {
            Some(name) if !models.iter().any(|known| known == name) => name,
            _ => base.or(model).unwrap_or_default(),
        };
        match &self.index {
            Some(index) if !index.is_in_memory() => KeyHasher::llm_d(&self.hash_seed, name),
            _ => KeyHasher::own(name),
        }
    }
}
