//! The router: a policy, its index and its counters, as a pure step.
//!
//! A decision depends on the caller's time, loads and events and on the seed alone, so the
//! simulator and a live proxy choose alike.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use weir_model::{KvEvent, Nanos, Prompt};

use crate::config::{PolicyConfig, RouterConfig, ScorerWeights};
use crate::index::{ApproximateIndex, BlockIndex, Match, PreciseIndex, TierWeights};
use crate::score::{ReplicaLoad, best_replica, least_loaded};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoutingDecision {
    pub replica: u16,
    /// Prompt tokens that the replica holds by the index; 0 for policies without one.
    pub matched_tokens: u32,
    /// The same, averaged over all replicas: the expectation of a random choice.
    pub uniform_matched_tokens: f64,
    /// Time that the decision takes before the request can be sent on.
    pub delay: Nanos,
}

/// Counters since the start or the last reset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouterStats {
    /// Requests sent to each replica.
    pub decisions: Vec<u64>,
    /// KV events that reached the index.
    pub index_events: u64,
    /// Blocks in the index.
    pub index_keys: u64,
    /// Lookups in the index.
    pub lookups: u64,
    /// Lookups that found at least the first block at some replica.
    pub lookup_hits: u64,
}

#[derive(Debug)]
enum Policy {
    Random(Xoshiro256PlusPlus),
    RoundRobin { next: u16 },
    LeastLoaded,
    Approximate { weights: ScorerWeights, index: ApproximateIndex },
    Precise { weights: ScorerWeights, index: PreciseIndex, delay: Nanos },
}

impl Policy {
    fn new(config: &RouterConfig) -> Self {
        match &config.policy {
            PolicyConfig::Random => Self::Random(Xoshiro256PlusPlus::seed_from_u64(config.seed)),
            PolicyConfig::RoundRobin => Self::RoundRobin { next: 0 },
            PolicyConfig::LeastLoaded => Self::LeastLoaded,
            PolicyConfig::ApproximatePrefix {
                weights,
                block_tokens,
                lru_blocks_per_replica,
                max_prefix_tokens,
            } => Self::Approximate {
                weights: *weights,
                index: ApproximateIndex::new(
                    *block_tokens,
                    *lru_blocks_per_replica,
                    *max_prefix_tokens,
                ),
            },
            PolicyConfig::PrecisePrefix { weights, block_tokens, index } => Self::Precise {
                weights: *weights,
                index: PreciseIndex::new(
                    *block_tokens,
                    TierWeights { gpu: index.gpu_weight, below: index.tier_weight },
                ),
                delay: index.lookup_latency,
            },
        }
    }

    fn index(&self) -> Option<&dyn BlockIndex> {
        match self {
            Self::Random(_) | Self::RoundRobin { .. } | Self::LeastLoaded => None,
            Self::Approximate { index, .. } => Some(index),
            Self::Precise { index, .. } => Some(index),
        }
    }
}

/// A router over a fixed number of replicas.
#[derive(Debug)]
pub struct Router {
    config: RouterConfig,
    policy: Policy,
    stats: RouterStats,
    /// One per replica; reused between decisions.
    loads: Vec<ReplicaLoad>,
    matches: Vec<Match>,
}

impl Router {
    /// A router over `replicas` replicas (at least one).
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

    /// Chooses a replica for a prompt. `loads` has one entry per replica; a missing one counts as
    /// idle, and what is too many is not looked at. No policy of today ages by `now`.
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
        let decision = match &mut self.policy {
            Policy::Random(random) => unindexed(below(random, replicas)),
            Policy::RoundRobin { next } => {
                let replica = *next;
                *next = (replica + 1) % replicas;
                unindexed(replica)
            }
            Policy::LeastLoaded => unindexed(least_loaded(&self.loads)),
            Policy::Approximate { weights, index } => {
                let seen = Lookup { weights, loads: &self.loads, delay: Nanos::ZERO };
                let decision = seen.decide(index, prompt, &mut self.matches, &mut self.stats);
                index.placed(decision.replica, prompt);
                decision
            }
            Policy::Precise { weights, index, delay } => {
                let seen = Lookup { weights, loads: &self.loads, delay: *delay };
                seen.decide(index, prompt, &mut self.matches, &mut self.stats)
            }
        };
        self.stats.decisions[usize::from(decision.replica)] += 1;
        decision
    }

    /// An event of a replica's engine, at the time it takes effect in the index. Policies without
    /// an index of events ignore it, and so does every policy for a replica that does not exist.
    pub fn apply(&mut self, _now: Nanos, replica: u16, event: &KvEvent) {
        if usize::from(replica) >= self.loads.len() {
            return;
        }
        if let Policy::Precise { index, .. } = &mut self.policy {
            self.stats.index_events += 1;
            index.apply(replica, event);
        }
    }

    pub fn stats(&self) -> RouterStats {
        let index_keys = self.policy.index().map_or(0, BlockIndex::known_blocks);
        RouterStats { index_keys, ..self.stats.clone() }
    }

    /// Back to the state after [`Router::new`], the random numbers included.
    pub fn reset(&mut self) {
        *self = Self::new(&self.config, self.loads.len() as u16);
    }
}

/// A decision without an index.
const fn unindexed(replica: u16) -> RoutingDecision {
    RoutingDecision { replica, matched_tokens: 0, uniform_matched_tokens: 0.0, delay: Nanos::ZERO }
}

/// A whole number below `bound` (Lemire's multiplication; its bias of at most one in 2^48 is far
/// below what any run could show).
fn below(random: &mut impl Rng, bound: u16) -> u16 {
    ((u128::from(random.next_u64()) * u128::from(bound)) >> 64) as u16
}

struct Lookup<'a> {
    weights: &'a ScorerWeights,
    loads: &'a [ReplicaLoad],
    delay: Nanos,
}

impl Lookup<'_> {
    fn decide(
        &self,
        index: &impl BlockIndex,
        prompt: &Prompt,
        matches: &mut [Match],
        stats: &mut RouterStats,
    ) -> RoutingDecision {
        let total_blocks = index.lookup(prompt, matches);
        let replica = best_replica(self.weights, self.loads, matches, total_blocks);
        let block_tokens = index.block_tokens();
        let all_blocks: u64 = matches.iter().map(|found| u64::from(found.blocks)).sum();
        stats.lookups += 1;
        stats.lookup_hits += u64::from(all_blocks > 0);
        RoutingDecision {
            replica,
            matched_tokens: matches[usize::from(replica)].blocks * block_tokens,
            uniform_matched_tokens: all_blocks as f64 * f64::from(block_tokens)
                / matches.len() as f64,
            delay: self.delay,
        }
    }
}
