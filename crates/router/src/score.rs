//! Scorers, their weighted sum, and the picker.
//!
//! Formulas of llm-d's endpoint picker (`queue-scorer`, `kv-cache-utilization-scorer`,
//! `prefix-cache-scorer`, `max-score-picker`). llm-d breaks ties at random; here load and then
//! number decide, without a seed.

use crate::config::ScorerWeights;
use crate::index::Match;

/// Last report of a replica.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReplicaLoad {
    pub waiting: u32,
    pub running: u32,
    /// 0 to 1.
    pub kv_usage: f64,
}

impl ReplicaLoad {
    pub const fn requests(&self) -> u64 {
        self.waiting as u64 + self.running as u64
    }
}

/// `(max - waiting) / (max - min)`; 1 when all queues are equal.
pub fn queue_score(waiting: u32, min: u32, max: u32) -> f64 {
    if max == min {
        return 1.0;
    }
    f64::from(max.saturating_sub(waiting)) / f64::from(max - min)
}

/// Free share of the KV pool.
pub fn kv_usage_score(load: &ReplicaLoad) -> f64 {
    1.0 - load.kv_usage
}

/// Matched over total blocks. The weighted score is rounded down, as in llm-d: one block in a tier
/// of weight 0.8 counts as none.
pub fn prefix_score(found: &Match, total_blocks: u32) -> f64 {
    if total_blocks == 0 {
        return 0.0;
    }
    found.score.trunc() / f64::from(total_blocks)
}

/// Highest weighted sum. `loads` and `matches` are per replica, of equal length. 0 without
/// replicas.
pub fn best_replica(
    weights: &ScorerWeights,
    loads: &[ReplicaLoad],
    matches: &[Match],
    total_blocks: u32,
) -> u16 {
    let min = loads.iter().map(|load| load.waiting).min().unwrap_or(0);
    let max = loads.iter().map(|load| load.waiting).max().unwrap_or(0);
    let mut best = 0;
    let mut best_score = f64::NEG_INFINITY;
    for (replica, (load, found)) in loads.iter().zip(matches).enumerate() {
        let score = weights.queue * queue_score(load.waiting, min, max)
            + weights.kv_usage * kv_usage_score(load)
            + weights.prefix * prefix_score(found, total_blocks);
        let tie = score == best_score && load.requests() < loads[best].requests();
        if score > best_score || tie {
            best = replica;
            best_score = score;
        }
    }
    best as u16
}

/// Ties go to the lowest number.
pub fn least_loaded(loads: &[ReplicaLoad]) -> u16 {
    let least = loads.iter().enumerate().min_by_key(|(_, load)| load.requests());
    least.map_or(0, |(replica, _)| replica as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(waiting: u32, running: u32, kv_usage: f64) -> ReplicaLoad {
        ReplicaLoad { waiting, running, kv_usage }
    }

    fn found(score: f64) -> Match {
        Match { blocks: score.ceil() as u32, score }
    }

    #[test]
    fn queues_are_scored_between_the_shortest_and_the_longest() {
        // (9 - 3) / (9 - 1) = 0.75
        assert_eq!(queue_score(3, 1, 9), 0.75);
        assert_eq!(queue_score(1, 1, 9), 1.0);
        assert_eq!(queue_score(9, 1, 9), 0.0);
        assert_eq!(queue_score(5, 5, 5), 1.0);
    }

    #[test]
    fn partial_blocks_do_not_count() {
        // 3 blocks in GPU memory and 2 below: 3 + 2 x 0.8 = 4.6, cut to 4; 4 / 8 = 0.5.
        assert_eq!(prefix_score(&found(4.6), 8), 0.5);
        assert_eq!(prefix_score(&found(0.8), 8), 0.0);
        assert_eq!(prefix_score(&found(0.0), 0), 0.0);
    }

    #[test]
    fn the_weighted_sum_decides() {
        let weights = ScorerWeights::default();
        // Replica 0: 2 x (4 - 4)/(4 - 0) + 2 x (1 - 0.9) + 3 x 8/8  = 0 + 0.2 + 3 = 3.2
        // Replica 1: 2 x 1               + 2 x (1 - 0.5) + 3 x 0/8  = 2 + 1 + 0 = 3.0
        let mut loads = [load(4, 10, 0.9), load(0, 10, 0.5)];
        let matches = [found(8.0), found(0.0)];
        assert_eq!(best_replica(&weights, &loads, &matches, 8), 0);
        // A pool of replica 1 at 0.35 makes it 2 + 1.3 = 3.3.
        loads[1].kv_usage = 0.35;
        assert_eq!(best_replica(&weights, &loads, &matches, 8), 1);
        // Without the queue and usage scorers only the prefix is left.
        let prefix = ScorerWeights { queue: 0.0, kv_usage: 0.0, prefix: 1.0 };
        assert_eq!(best_replica(&prefix, &loads, &matches, 8), 0);
    }

    #[test]
    fn ties_go_to_the_least_loaded_and_then_to_the_lowest() {
        let weights = ScorerWeights::default();
        let matches = [Match::default(); 3];
        let loads = [load(0, 3, 0.5), load(0, 1, 0.5), load(0, 1, 0.5)];
        assert_eq!(best_replica(&weights, &loads, &matches, 8), 1);
        assert_eq!(best_replica(&weights, &[load(0, 1, 0.5); 3], &matches, 8), 0);
        assert_eq!(best_replica(&weights, &[], &[], 8), 0);
    }

    #[test]
    fn least_loaded_counts_waiting_and_running() {
        assert_eq!(least_loaded(&[load(2, 2, 0.0), load(0, 3, 0.9), load(3, 0, 0.0)]), 1);
    }
}
