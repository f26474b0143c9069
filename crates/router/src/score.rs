//! Scorers, their weighted sum, and the picker.
//!
//! Rules of llm-d's endpoint picker (llm-d-inference-scheduler 0.7.1 over
//! gateway-api-inference-extension 1.4.0): `queue-scorer`, `kv-cache-utilization-scorer`,
//! `prefix-cache-scorer`, `precise-prefix-cache-scorer`, `no-hit-lru-scorer`, `max-score-picker`.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::config::{Normalization, ScorerWeights};
use crate::index::Match;

/// What a router knows of a replica besides its cache.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReplicaLoad {
    /// Requests sent and not ended, as the router itself counts them.
    pub in_flight: u32,
    /// vLLM's gauge `num_requests_waiting`, as of the last scrape.
    pub waiting: u32,
    /// vLLM's gauge `kv_cache_usage_perc`, from 0 to 1, as of the last scrape.
    pub kv_usage: f64,
}

/// Of one replica, unweighted. A scorer of weight 0 may leave 0.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct ReplicaScores {
    pub(crate) queue: f64,
    pub(crate) kv_usage: f64,
    pub(crate) prefix: f64,
    pub(crate) no_hit_lru: f64,
}

impl ReplicaScores {
    /// Each score counts from 0 to 1, whatever a scorer returns.
    pub(crate) fn sum(&self, weights: &ScorerWeights) -> f64 {
        self.queue.clamp(0.0, 1.0) * weights.queue
            + self.kv_usage.clamp(0.0, 1.0) * weights.kv_usage
            + self.prefix.clamp(0.0, 1.0) * weights.prefix
            + self.no_hit_lru.clamp(0.0, 1.0) * weights.no_hit_lru
    }
}

/// The scorers of a prefix policy and the picker, behind whatever index.
#[derive(Debug)]
pub struct Scorers {
    weights: ScorerWeights,
    normalization: Normalization,
    cold: ColdOrder,
    chance: Xoshiro256PlusPlus,
    scores: Vec<ReplicaScores>,
}

impl Scorers {
    /// `seed` is that of the choices between equals.
    pub fn new(weights: ScorerWeights, normalization: Normalization, seed: u64) -> Self {
        Self {
            weights,
            normalization,
            cold: ColdOrder::default(),
            chance: Xoshiro256PlusPlus::seed_from_u64(seed),
            scores: Vec::new(),
        }
    }

    /// `loads` and `matches` are per replica, of equal length. 0 without replicas.
    pub fn choose(&mut self, loads: &[ReplicaLoad], matches: &[Match], total_blocks: u32) -> u16 {
        self.score(loads, matches, total_blocks);
        let replica = pick(&self.weights, &self.scores, &mut self.chance);
        self.chosen(replica, matches);
        replica
    }

    pub(crate) fn score(&mut self, loads: &[ReplicaLoad], matches: &[Match], total_blocks: u32) {
        let scores = &mut self.scores;
        scores.clear();
        scores.resize(loads.len(), ReplicaScores::default());
        score_queues(loads, scores);
        score_usage(loads, scores);
        score_prefixes(self.normalization, matches, total_blocks, scores);
        if self.weights.no_hit_lru > 0.0 {
            self.cold.score(is_cold(matches), scores);
        }
    }

    pub(crate) fn chosen(&mut self, replica: u16, matches: &[Match]) {
        if self.weights.no_hit_lru > 0.0 && is_cold(matches) {
            self.cold.note(replica);
        }
    }

    /// Among some replicas, after [`Self::score`].
    pub(crate) fn pick_among(&mut self, replicas: &[u16]) -> Option<u16> {
        let scores = |at: &u16| self.scores[usize::from(*at)];
        let scores: Vec<ReplicaScores> = replicas.iter().map(scores).collect();
        let place = pick(&self.weights, &scores, &mut self.chance);
        replicas.get(usize::from(place)).copied()
    }

    /// The weighted sum, after [`Self::score`].
    pub(crate) fn sum(&self, replica: u16) -> f64 {
        self.scores[usize::from(replica)].sum(&self.weights)
    }

    /// Of the last choice, per replica.
    #[cfg(test)]
    pub(crate) fn scores(&self) -> &[ReplicaScores] {
        &self.scores
    }
}

/// No replica holds any of the prompt's blocks.
fn is_cold(matches: &[Match]) -> bool {
    matches.iter().all(|found| found.blocks == 0)
}

/// Shortest queue 1, longest 0; 1 for all when they are equal.
fn score_queues(loads: &[ReplicaLoad], scores: &mut [ReplicaScores]) {
    let min = loads.iter().map(|load| load.waiting).min().unwrap_or(0);
    let max = loads.iter().map(|load| load.waiting).max().unwrap_or(0);
    for (load, score) in loads.iter().zip(scores) {
        score.queue =
            if max == min { 1.0 } else { f64::from(max - load.waiting) / f64::from(max - min) };
    }
}

/// Free share of the KV pool.
fn score_usage(loads: &[ReplicaLoad], scores: &mut [ReplicaScores]) {
    for (load, score) in loads.iter().zip(scores) {
        score.kv_usage = 1.0 - load.kv_usage;
    }
}

fn score_prefixes(
    normalization: Normalization,
    matches: &[Match],
    total_blocks: u32,
    scores: &mut [ReplicaScores],
) {
    match normalization {
        Normalization::MinMax => score_between_extremes(matches, scores),
        Normalization::Share => {
            for (found, score) in matches.iter().zip(scores) {
                score.prefix = share(found, total_blocks);
            }
        }
    }
}

/// Matched over total blocks. The weighted sum is cut to whole blocks: one block in a tier of
/// weight 0.8 counts as none.
fn share(found: &Match, total_blocks: u32) -> f64 {
    if total_blocks == 0 { 0.0 } else { found.score.trunc() / f64::from(total_blocks) }
}

/// Between the least and the most of the replicas *that have a match*; 1 for all of them when these
/// are equal, 0 for the others. So one block on one replica counts as much as a whole prompt, and
/// the replica with the shorter of two matches counts as if it had none.
fn score_between_extremes(matches: &[Match], scores: &mut [ReplicaScores]) {
    let scored = || matches.iter().filter(|found| found.blocks > 0).map(|found| found.score);
    let min = scored().fold(f64::INFINITY, f64::min);
    let max = scored().fold(f64::NEG_INFINITY, f64::max);
    for (found, score) in matches.iter().zip(scores) {
        score.prefix = if found.blocks == 0 {
            0.0
        } else if min == max {
            1.0
        } else {
            (found.score - min) / (max - min)
        };
    }
}

/// Replicas in the order in which they last got a cold request, one without any match.
#[derive(Debug, Default)]
struct ColdOrder {
    oldest_first: Vec<u16>,
}

impl ColdOrder {
    /// Cold: from 1 for the first replica that never had a cold request, down to 0 for the one
    /// that had the last. Otherwise 0.5 for all.
    fn score(&self, is_cold: bool, scores: &mut [ReplicaScores]) {
        let last_rank = scores.len().saturating_sub(1);
        let of_rank = |rank: usize| match (is_cold, last_rank) {
            (false, _) => 0.5,
            (true, 0) => 1.0,
            (true, last) => 1.0 - rank as f64 / last as f64,
        };
        let unused = scores.len() - self.oldest_first.len();
        let mut rank = 0;
        for (replica, score) in scores.iter_mut().enumerate() {
            let used = self.oldest_first.iter().position(|used| usize::from(*used) == replica);
            score.no_hit_lru = of_rank(used.map_or(rank, |place| unused + place));
            rank += usize::from(used.is_none());
        }
    }

    fn note(&mut self, replica: u16) {
        self.oldest_first.retain(|used| *used != replica);
        self.oldest_first.push(replica);
    }
}

/// A replica with the highest weighted sum. Chance decides between several, and is drawn only then.
/// 0 without replicas.
fn pick(weights: &ScorerWeights, scores: &[ReplicaScores], chance: &mut impl Rng) -> u16 {
    let (mut best, mut ties, mut first) = (f64::NEG_INFINITY, 0, 0);
    for (replica, score) in scores.iter().enumerate() {
        let sum = score.sum(weights);
        if sum > best {
            (best, ties, first) = (sum, 1, replica as u16);
        } else if sum == best {
            ties += 1;
        }
    }
    if ties < 2 {
        return first;
    }
    let skipped = usize::from(below(chance, ties));
    let equals = scores.iter().enumerate().filter(|(_, score)| score.sum(weights) == best);
    equals.map(|(replica, _)| replica as u16).nth(skipped).unwrap_or(first)
}

/// Below `bound`, by Lemire's multiplication; its bias of at most one in 2^48 is negligible.
pub(crate) fn below(chance: &mut impl Rng, bound: u16) -> u16 {
    ((u128::from(chance.next_u64()) * u128::from(bound)) >> 64) as u16
}

/// Fewest requests in flight. Ties go to the lowest number.
pub(crate) fn least_loaded(loads: &[ReplicaLoad]) -> u16 {
    let least = loads.iter().enumerate().min_by_key(|(_, load)| load.in_flight);
    least.map_or(0, |(replica, _)| replica as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(waiting: u32, kv_usage: f64) -> ReplicaLoad {
        ReplicaLoad { in_flight: 0, waiting, kv_usage }
    }

    fn found(score: f64) -> Match {
        Match { blocks: score.ceil() as u32, score }
    }

    fn queues<const N: usize>(waiting: [u32; N]) -> [f64; N] {
        let mut scores = [ReplicaScores::default(); N];
        score_queues(&waiting.map(|waiting| load(waiting, 0.0)), &mut scores);
        scores.map(|score| score.queue)
    }

    fn prefixes<const N: usize>(normalization: Normalization, matches: [f64; N]) -> [f64; N] {
        let mut scores = [ReplicaScores::default(); N];
        score_prefixes(normalization, &matches.map(found), 8, &mut scores);
        scores.map(|score| score.prefix)
    }

    fn chance() -> Xoshiro256PlusPlus {
        Xoshiro256PlusPlus::seed_from_u64(889)
    }

    #[test]
    fn queues_are_scored_between_the_shortest_and_the_longest() {
        // (9 - 3) / (9 - 1) = 0.75
        assert_eq!(queues([3, 1, 9]), [0.75, 1.0, 0.0]);
        assert_eq!(queues([5, 5]), [1.0, 1.0]);
    }

    #[test]
    fn a_share_counts_whole_blocks() {
        // 3 blocks in GPU memory and 2 below: 3 + 2 x 0.8 = 4.6, cut to 4; 4 / 8 = 0.5.
        assert_eq!(prefixes(Normalization::Share, [4.6, 0.8, 8.0]), [0.5, 0.0, 1.0]);
        assert_eq!(share(&found(0.0), 0), 0.0);
    }

    #[test]
    fn min_max_has_its_traps() {
        // (5 - 2) / (8 - 2) = 0.5; the replica with 2 blocks counts like the one without.
        assert_eq!(prefixes(Normalization::MinMax, [2.0, 8.0, 0.0, 5.0]), [0.0, 1.0, 0.0, 0.5]);
        // One shared block is worth a whole prompt.
        assert_eq!(prefixes(Normalization::MinMax, [1.0, 0.0]), [1.0, 0.0]);
        assert_eq!(prefixes(Normalization::MinMax, [0.8, 0.8, 0.0]), [1.0, 1.0, 0.0]);
        assert_eq!(prefixes(Normalization::MinMax, [0.0, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn cold_requests_go_round_from_the_unused_to_the_latest() {
        let mut order = ColdOrder::default();
        let score = |order: &ColdOrder, is_cold| {
            let mut scores = [ReplicaScores::default(); 5];
            order.score(is_cold, &mut scores);
            scores.map(|score| score.no_hit_lru)
        };
        assert_eq!(score(&order, true), [1.0, 0.75, 0.5, 0.25, 0.0]);
        order.note(0);
        order.note(3);
        // Unused 1, 2, 4 have ranks 0 to 2; 0 is older than 3.
        assert_eq!(score(&order, true), [0.25, 1.0, 0.75, 0.0, 0.5]);
        order.note(0);
        assert_eq!(score(&order, true), [0.0, 1.0, 0.75, 0.25, 0.5]);
        assert_eq!(score(&order, false), [0.5; 5]);
        let mut alone = [ReplicaScores::default()];
        ColdOrder::default().score(true, &mut alone);
        assert_eq!(alone[0].no_hit_lru, 1.0);
    }

    #[test]
    fn the_weighted_sum_decides() {
        let weights = ScorerWeights::default();
        let scores = |usage: f64| {
            let loads = [load(4, 0.9), load(0, usage)];
            let mut scores = [ReplicaScores::default(); 2];
            score_queues(&loads, &mut scores);
            score_usage(&loads, &mut scores);
            score_prefixes(Normalization::Share, &[found(8.0), found(0.0)], 8, &mut scores);
            scores
        };
        // Replica 0: 2 x (4 - 4)/(4 - 0) + 2 x (1 - 0.9) + 3 x 8/8  = 0 + 0.2 + 3 = 3.2
        // Replica 1: 2 x 1               + 2 x (1 - 0.5) + 3 x 0/8  = 2 + 1 + 0 = 3.0
        assert_eq!(pick(&weights, &scores(0.5), &mut chance()), 0);
        // A pool of replica 1 at 0.35 makes it 2 + 1.3 = 3.3.
        assert_eq!(pick(&weights, &scores(0.35), &mut chance()), 1);
        // Without the queue and usage scorers only the prefix is left.
        let prefix = ScorerWeights { queue: 0.0, kv_usage: 0.0, prefix: 1.0, no_hit_lru: 0.0 };
        assert_eq!(pick(&prefix, &scores(0.35), &mut chance()), 0);
    }

    #[test]
    fn scores_beyond_their_range_count_as_its_end() {
        let weights = ScorerWeights { queue: 0.0, kv_usage: 1.0, prefix: 1.0, no_hit_lru: 0.0 };
        let over = ReplicaScores { kv_usage: 1.5, ..ReplicaScores::default() };
        let under = ReplicaScores { kv_usage: -0.5, prefix: 1.0, ..ReplicaScores::default() };
        assert_eq!((over.sum(&weights), under.sum(&weights)), (1.0, 1.0));
    }

    #[test]
    fn chance_decides_between_equals_and_is_drawn_only_then() {
        let weights = ScorerWeights::default();
        let (low, high) =
            (ReplicaScores::default(), ReplicaScores { queue: 1.0, ..ReplicaScores::default() });
        let scores = [high, low, high, high];
        let (mut random, mut counts) = (chance(), [0_u32; 4]);
        for _ in 0..3000 {
            counts[usize::from(pick(&weights, &scores, &mut random))] += 1;
        }
        // 1000 expected; 150 is more than five standard deviations of sqrt(3000 x 2/9) = 25.8.
        assert_eq!(counts[1], 0);
        assert!([0, 2, 3].iter().all(|it: &usize| counts[*it].abs_diff(1000) < 150), "{counts:?}");
        let mut random = chance();
        assert_eq!(pick(&weights, &[low, high, low], &mut random), 1);
        assert_eq!(pick(&weights, &[], &mut random), 0);
        assert_eq!(random, chance());
    }

    #[test]
    fn least_loaded_counts_requests_in_flight() {
        let loads = [4, 3, 3].map(|in_flight| ReplicaLoad { in_flight, ..load(0, 0.0) });
        assert_eq!(least_loaded(&loads), 1);
    }
}
