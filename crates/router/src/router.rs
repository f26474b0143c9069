//! A policy with its index and counters, as a pure step.
//!
//! A decision depends on the caller's time, loads and events and on the seed alone, so simulator
//! and live proxy choose alike.

use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use weir_model::{KvEvent, Nanos, Prompt};

use crate::config::{Normalization, PolicyConfig, RouterConfig};
use crate::index::{ApproximateIndex, BlockIndex, Match, PreciseIndex, TierWeights};
use crate::score::{ReplicaLoad, Scorers, below, least_loaded};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoutingDecision {
    pub replica: u16,
    /// Prompt tokens that the index has for the replica; 0 without an index.
    pub matched_tokens: u32,
    /// Mean over all replicas: the expectation of a random choice.
    pub uniform_matched_tokens: f64,
    /// Before the request can be sent.
    pub delay: Nanos,
}

/// Since the start or the last reset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouterStats {
    /// Requests per replica.
    pub decisions: Vec<u64>,
    /// Applied to the index.
    pub index_events: u64,
    /// Blocks in the index.
    pub index_keys: u64,
    pub lookups: u64,
    /// Lookups that found the first block at a replica.
    pub lookup_hits: u64,
}

#[derive(Debug)]
enum Policy {
    Random(Xoshiro256PlusPlus),
    RoundRobin { next: u16 },
    LeastLoaded,
    Approximate { scorers: Scorers, index: ApproximateIndex },
    Precise { scorers: Scorers, index: PreciseIndex, delay: Nanos },
}

impl Policy {
    fn new(config: &RouterConfig) -> Self {
        let seed = config.seed;
        match &config.policy {
            PolicyConfig::Random => Self::Random(Xoshiro256PlusPlus::seed_from_u64(seed)),
            PolicyConfig::RoundRobin => Self::RoundRobin { next: 0 },
            PolicyConfig::LeastLoaded => Self::LeastLoaded,
            PolicyConfig::ApproximatePrefix {
                weights,
                block_tokens,
                lru_blocks_per_replica,
                max_prefix_tokens,
                ..
            } => Self::Approximate {
                scorers: Scorers::new(*weights, Normalization::Share, seed),
                index: ApproximateIndex::new(
                    *block_tokens,
                    *lru_blocks_per_replica,
                    *max_prefix_tokens,
                ),
            },
            PolicyConfig::PrecisePrefix { weights, normalization, block_tokens, index, .. } => {
                Self::Precise {
                    scorers: Scorers::new(*weights, *normalization, seed),
                    index: PreciseIndex::new(
                        *block_tokens,
                        TierWeights { gpu: index.gpu_weight, below: index.tier_weight },
                        index.counts_stores,
                    ),
                    delay: index.lookup_latency,
                }
            }
        }
    }

    fn index(&mut self) -> Option<&mut dyn BlockIndex> {
        match self {
            Self::Random(_) | Self::RoundRobin { .. } | Self::LeastLoaded => None,
            Self::Approximate { index, .. } => Some(index),
            Self::Precise { index, .. } => Some(index),
        }
    }
}

#[derive(Debug)]
pub struct Router {
    config: RouterConfig,
    policy: Policy,
    stats: RouterStats,
    /// Per replica; a reused buffer.
    loads: Vec<ReplicaLoad>,
    matches: Vec<Match>,
}

impl Router {
    /// `replicas` is at least one.
    pub fn new(config: &RouterConfig, replicas: u16) -> Self {
        let replicas = usize::from(replicas.max(1));
        Self {
            config: config.clone(),
            policy: Policy::new(config),
            stats: RouterStats { decisions: vec![0; replicas], ..RouterStats::default() },
            loads: vec![ReplicaLoad::default(); replicas],
            matches: vec![Match::default(); replicas],
        }
    }

    /// `loads` has one entry per replica; missing ones count as idle, surplus ones are ignored. No
    /// present policy uses `now`.
    pub fn place(
        &mut self,
        _now: Nanos,
        prompt: &Prompt,
        loads: &[ReplicaLoad],
    ) -> RoutingDecision {
        for (replica, load) in self.loads.iter_mut().enumerate() {
            *load = loads.get(replica).copied().unwrap_or_default();
        }
        let replicas = self.loads.len() as u16;
        let mut lookup = Lookup {
            prompt,
            loads: &self.loads,
            matches: &mut self.matches,
            stats: &mut self.stats,
            delay: Nanos::ZERO,
        };
        let decision = match &mut self.policy {
            Policy::Random(chance) => unindexed(below(chance, replicas)),
            Policy::RoundRobin { next } => {
                let replica = *next;
                *next = (replica + 1) % replicas;
                unindexed(replica)
            }
            Policy::LeastLoaded => unindexed(least_loaded(&self.loads)),
            Policy::Approximate { scorers, index } => {
                let decision = lookup.decide(scorers, index);
                index.placed(decision.replica, prompt);
                decision
            }
            Policy::Precise { scorers, index, delay } => {
                lookup.delay = *delay;
                lookup.decide(scorers, index)
            }
        };
        self.stats.decisions[usize::from(decision.replica)] += 1;
        decision
    }

    /// `now` is when the event takes effect. Policies without an event index and unknown replicas
    /// ignore it.
    pub fn apply(&mut self, _now: Nanos, replica: u16, event: &KvEvent) {
        if usize::from(replica) >= self.loads.len() {
            return;
        }
        if let Policy::Precise { index, .. } = &mut self.policy {
            self.stats.index_events += 1;
            index.apply(replica, event);
        }
    }

    pub fn stats(&mut self) -> RouterStats {
        let index_keys = self.policy.index().map_or(0, BlockIndex::known_blocks);
        RouterStats { index_keys, ..self.stats.clone() }
    }

    /// As after [`Router::new`], random numbers included.
    pub fn reset(&mut self) {
        *self = Self::new(&self.config, self.loads.len() as u16);
    }
}

const fn unindexed(replica: u16) -> RoutingDecision {
    RoutingDecision { replica, matched_tokens: 0, uniform_matched_tokens: 0.0, delay: Nanos::ZERO }
}

struct Lookup<'a> {
    prompt: &'a Prompt,
    loads: &'a [ReplicaLoad],
    matches: &'a mut [Match],
    stats: &'a mut RouterStats,
    delay: Nanos,
}

impl Lookup<'_> {
    fn decide(self, scorers: &mut Scorers, index: &mut impl BlockIndex) -> RoutingDecision {
        let Self { prompt, loads, matches, stats, delay } = self;
        let total_blocks = index.lookup(prompt, matches);
        let replica = scorers.choose(loads, matches, total_blocks);
        let block_tokens = index.block_tokens();
        let all_blocks: u64 = matches.iter().map(|found| u64::from(found.blocks)).sum();
        stats.lookups += 1;
        stats.lookup_hits += u64::from(all_blocks > 0);
        RoutingDecision {
            replica,
            matched_tokens: matches[usize::from(replica)].blocks * block_tokens,
            uniform_matched_tokens: all_blocks as f64 * f64::from(block_tokens)
                / matches.len() as f64,
            delay,
        }
    }
}
