//! A policy over live replicas: they come and go, and the caller looked up what they hold.
//!
//! The scorers are those of [`Router`](crate::Router); its symbolic prompts and its index are not
//! used.

use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::config::{Normalization, PolicyConfig, RouterConfig};
use crate::index::Match;
use crate::score::{ReplicaLoad, Scorers, below, least_loaded};

/// Of one replica, when a request comes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReplicaView {
    /// Others are left out, as if they were not there.
    pub is_candidate: bool,
    pub load: ReplicaLoad,
    /// Used by prefix policies.
    pub found: Match,
}

#[derive(Debug)]
enum LivePolicy {
    Random(Xoshiro256PlusPlus),
    RoundRobin { next: u16 },
    LeastLoaded,
    Scored(Scorers),
}

#[derive(Debug)]
pub struct ReplicaChooser {
    policy: LivePolicy,
    /// Reused buffers: the candidates, then loads and matches of all replicas.
    candidates: Vec<u16>,
    loads: Vec<ReplicaLoad>,
    matches: Vec<Match>,
    /// Per replica; of the last choice.
    sums: Vec<Option<f64>>,
}

impl ReplicaChooser {
    pub fn new(config: &RouterConfig) -> Self {
        let seed = config.seed;
        let policy = match &config.policy {
            PolicyConfig::Random => LivePolicy::Random(Xoshiro256PlusPlus::seed_from_u64(seed)),
            PolicyConfig::RoundRobin => LivePolicy::RoundRobin { next: 0 },
            PolicyConfig::LeastLoaded => LivePolicy::LeastLoaded,
            PolicyConfig::ApproximatePrefix { weights, .. } => {
                LivePolicy::Scored(Scorers::new(*weights, Normalization::Share, seed))
            }
            PolicyConfig::PrecisePrefix { weights, normalization, .. } => {
                LivePolicy::Scored(Scorers::new(*weights, *normalization, seed))
            }
        };
        let (candidates, loads, matches) = (Vec::new(), Vec::new(), Vec::new());
        Self { policy, candidates, loads, matches, sums: Vec::new() }
    }

    /// Weighted sums of the last choice per replica, None for those that were no candidates. Empty
    /// for policies without scorers.
    pub fn sums(&self) -> &[Option<f64>] {
        &self.sums
    }

    /// `views` has all replicas, `total_blocks` are those of the prompt. None without candidates.
    pub fn choose(&mut self, views: &[ReplicaView], total_blocks: u32) -> Option<u16> {
        let Self { policy, candidates, loads, matches, sums } = self;
        sums.clear();
        candidates.clear();
        let is_candidate = |at: &u16| views[usize::from(*at)].is_candidate;
        candidates.extend((0..views.len() as u16).filter(is_candidate));
        let first = views[usize::from(*candidates.first()?)];
        match policy {
            LivePolicy::Random(chance) => {
                let place = below(chance, candidates.len() as u16);
                candidates.get(usize::from(place)).copied()
            }
            LivePolicy::RoundRobin { next } => {
                let following = candidates.iter().find(|at| *at >= next).or(candidates.first());
                *next = following? + 1;
                following.copied()
            }
            LivePolicy::LeastLoaded => {
                loads.clear();
                loads.extend(candidates.iter().map(|at| views[usize::from(*at)].load));
                candidates.get(usize::from(least_loaded(loads))).copied()
            }
            LivePolicy::Scored(scorers) => {
                // With the load of another and without a match, the others change no score.
                let neutral = ReplicaView { found: Match::default(), ..first };
                let seen = || views.iter().map(|it| if it.is_candidate { *it } else { neutral });
                loads.clear();
                loads.extend(seen().map(|view| view.load));
                matches.clear();
                matches.extend(seen().map(|view| view.found));
                scorers.score(loads, matches, total_blocks);
                let replica = scorers.pick_among(candidates)?;
                scorers.chosen(replica, matches);
                sums.resize(views.len(), None);
                for at in &*candidates {
                    sums[usize::from(*at)] = Some(scorers.sum(*at));
                }
                Some(replica)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{IndexConfig, ScorerWeights};

    fn router(policy: PolicyConfig) -> ReplicaChooser {
        ReplicaChooser::new(&RouterConfig { policy, seed: 5 })
    }

    fn precise(weights: ScorerWeights) -> ReplicaChooser {
        router(PolicyConfig::PrecisePrefix {
            weights,
            normalization: Normalization::Share,
            block_tokens: 16,
            index: IndexConfig::default(),
            scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
        })
    }

    fn view(in_flight: u32, waiting: u32, blocks: u32) -> ReplicaView {
        ReplicaView {
            is_candidate: true,
            load: ReplicaLoad { in_flight, waiting, kv_usage: 0.0 },
            found: Match { blocks, score: f64::from(blocks) },
        }
    }

    const fn gone(view: ReplicaView) -> ReplicaView {
        ReplicaView { is_candidate: false, ..view }
    }

    #[test]
    fn those_that_are_gone_are_never_chosen() {
        let weights = ScorerWeights { no_hit_lru: 1.0, ..ScorerWeights::default() };
        let policies = [PolicyConfig::Random, PolicyConfig::RoundRobin, PolicyConfig::LeastLoaded];
        let mut routers: Vec<ReplicaChooser> = policies.into_iter().map(router).collect();
        routers.push(precise(weights));
        for mut router in routers {
            let all = [view(0, 0, 0), view(1, 0, 0), view(2, 0, 0)];
            for _ in 0..6 {
                assert!(router.choose(&all, 0).is_some());
            }
            let two = [gone(view(0, 0, 9)), view(1, 0, 0), view(2, 0, 0)];
            for _ in 0..20 {
                assert!(matches!(router.choose(&two, 9), Some(1 | 2)));
            }
            assert_eq!(router.choose(&[gone(view(0, 0, 0))], 0), None);
            assert_eq!(router.choose(&[], 0), None);
        }
    }

    #[test]
    fn turns_go_on_behind_the_last_one() {
        let mut router = router(PolicyConfig::RoundRobin);
        let all = [view(0, 0, 0); 3];
        assert_eq!([router.choose(&all, 0), router.choose(&all, 0)], [Some(0), Some(1)]);
        let two = [view(0, 0, 0), view(0, 0, 0), gone(view(0, 0, 0))];
        assert_eq!([router.choose(&two, 0), router.choose(&two, 0)], [Some(0), Some(1)]);
        assert_eq!(router.choose(&all, 0), Some(2));
    }

    #[test]
    fn scores_are_those_of_the_replicas_that_are_there() {
        let mut router = precise(ScorerWeights::default());
        // Queue 2 x (4 - 4)/4 + usage 2 + prefix 3 x 8/8 = 5, and 2 + 2 + 0 = 4.
        let two = [view(0, 4, 8), view(0, 0, 0)];
        assert_eq!(router.choose(&two, 8), Some(0));
        assert_eq!(router.sums(), [Some(5.0), Some(4.0)]);
        // A longer queue that is gone does not make 4 a short one.
        let three = [view(0, 4, 8), view(0, 0, 0), gone(view(0, 40, 8))];
        assert_eq!(router.choose(&three, 8), Some(0));
        assert_eq!(router.sums(), [Some(5.0), Some(4.0), None]);
    }
}
