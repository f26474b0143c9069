//! The replay: requests of a stream, one after another, against the caches of an arm.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::VecDeque;

use weir_engine::OffloadConfig;
use weir_engine::timing::{PassShape, Timing, TimingModel};
use weir_model::TierKind;
use weir_router::config::{IndexConfig, Normalization, PolicyConfig, ScorerWeights};
use weir_tier::EvictionPolicy;

use super::cache::{ByKey, Cache, Unit};
use super::stream::{Asked, Stream};
use crate::plan::{Arm, Deployment};

/// Step of the table of prompt durations.
const PROMPT_STEP: u32 = 512;

/// In tokens unless the name says otherwise.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) prompt: u64,
    pub(super) seen: u64,
    pub(super) gpu_hits: u64,
    /// By tier.
    pub(super) hits: [u64; 4],
    pub(super) stored: u64,
    pub(super) evicted: [u64; 4],
    /// By the tier without room.
    pub(super) refused: [u64; 4],
    pub(super) gpu_evicted: u64,
    pub(super) routed_hits: u64,
    pub(super) uniform_hits: f64,
    pub(super) best_hits: u64,
    /// Largest number of tokens of one replica that were requested and will be again.
    pub(super) working_set_tokens: u64,
    /// In tokens, of what requests offered to the tiers.
    pub(super) longest_offer: u64,
    /// Most leading tokens that a request had in common with an earlier one.
    pub(super) longest_reuse: u64,
    per_replica: Vec<u64>,
    eligible: u64,
}

impl Counts {
    pub(super) const fn eligible(&self) -> u64 {
        self.eligible
    }

    pub(super) fn largest_share_percent(&self) -> f64 {
        let most = self.per_replica.iter().copied().max().unwrap_or(0);
        if self.requests == 0 { 0.0 } else { 100.0 * most as f64 / self.requests as f64 }
    }
}

#[derive(Debug, Clone)]
struct Replica {
    gpu: Cache,
    tiers: Vec<(TierKind, Cache)>,
    reuse: Reuse,
    in_flight_tokens: u64,
}

/// Leading tokens of a prompt that KV events announce.
#[derive(Debug, Clone, Copy)]
struct Held {
    gpu: u64,
    /// Behind those on the GPU.
    tiers: u64,
}

impl Held {
    const fn tokens(self) -> u64 {
        self.gpu + self.tiers
    }

    /// As an index weighs them.
    fn weighted(self, index: &IndexConfig) -> f64 {
        self.gpu as f64 * index.gpu_weight + self.tiers as f64 * index.tier_weight
    }
}

impl Replica {
    fn held(&self, units: &[Unit], offload: Option<&OffloadConfig>) -> Held {
        let announces =
            |tier: TierKind| offload.is_some_and(|of| of.traits().events_of(tier).is_some());
        let gpu = self.gpu.prefix(units);
        let held = |unit: &&Unit| {
            let in_tier =
                |(tier, cache): &(TierKind, Cache)| announces(*tier) && cache.holds(**unit);
            self.gpu.holds(**unit) || self.tiers.iter().any(in_tier)
        };
        let all: u64 = units.iter().take_while(held).map(|unit| u64::from(unit.tokens)).sum();
        Held { gpu, tiers: all - gpu }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Caches {
    replicas: Vec<Replica>,
    store: Option<Cache>,
    prompt_only: bool,
    chunk_tokens: u64,
    policy: PolicyConfig,
    seed: u64,
    /// In tokens, of one replica.
    pool: u64,
    offload: Option<OffloadConfig>,
    /// Of the nearest tier, for the time of loads.
    read_bytes_per_s: f64,
}

impl Caches {
    pub(super) fn of(deployment: &Deployment, arm: &Arm) -> Self {
        let engine = deployment.engine_of(arm);
        let pool = u64::from(engine.blocks) * u64::from(engine.block_size);
        let refuses = |policy| policy == EvictionPolicy::None;
        let offload = arm.offload.as_ref();
        let replica = Replica {
            gpu: Cache::new(if engine.prefix_caching { pool } else { 0 }, false),
            tiers: offload.map_or(Vec::new(), |offload| {
                let tiers = offload.tiers.iter();
                tiers
                    .map(|tier| {
                        let tokens = offload.tokens(tier.capacity);
                        (tier.kind, Cache::new(tokens, refuses(tier.policy)))
                    })
                    .collect()
            }),
            reuse: Reuse::default(),
            in_flight_tokens: 0,
        };
        let store = offload.and_then(|offload| Some((offload, offload.store.as_ref()?)));
        let nearest = offload.and_then(|offload| offload.tiers.first());
        Self {
            replicas: vec![replica; deployment.replicas as usize],
            store: store.map(|(offload, store)| {
                Cache::new(offload.tokens(store.capacity), refuses(store.policy))
            }),
            prompt_only: offload.is_some_and(|offload| offload.prompt_only),
            chunk_tokens: offload.map_or(0, |offload| u64::from(offload.chunk_tokens)),
            policy: arm.routing.policy.clone(),
            seed: arm.routing.seed,
            pool,
            offload: offload.cloned(),
            read_bytes_per_s: nearest.map_or(f64::INFINITY, |tier| tier.link.read_bytes_per_s),
        }
    }
}

/// Ends with the stream, or with the level's time.
pub(super) fn run(
    stream: &Stream,
    caches: &Caches,
    deployment: &Deployment,
    timing: &mut Timing,
) -> Counts {
    let mut caches = caches.clone();
    let replicas = caches.replicas.len();
    let mut counts = Counts { per_replica: vec![0; replicas], ..Counts::default() };
    let mut router = Router::new(caches.seed, stream.in_flight);
    let mut pace = Pace::new(stream, deployment);
    let mut seconds = 0.0;
    for asked in &stream.requests {
        let chosen = router.choose(&mut caches, asked, &mut counts);
        caches.replicas[chosen].reuse.note(asked);
        let served = serve(&mut caches, chosen, asked, &mut counts);
        counts.per_replica[chosen] += 1;
        let Some(most) = stream.seconds else { continue };
        let moved = caches.offload.as_ref().map_or(0, |offload| offload.loaded(served.loaded).0);
        let loading = moved as f64 / caches.read_bytes_per_s;
        seconds += pace.seconds(asked, served.computed, timing) + loading;
        if seconds / replicas as f64 > most {
            break;
        }
    }
    let peaks = caches.replicas.iter().map(|replica| replica.reuse.peak());
    counts.working_set_tokens = peaks.max().unwrap_or(0);
    counts
}

/// The working set at each moment: what a cache must hold to serve all reuse.
#[derive(Debug, Clone, Default)]
struct Reuse {
    /// The last request that used or generated a unit.
    last: ByKey<usize>,
    /// Of the tokens kept, by request.
    changes: Vec<i64>,
}

impl Reuse {
    fn note(&mut self, asked: &Asked) {
        let now = self.changes.len();
        self.changes.push(0);
        for unit in asked.whole() {
            if let Some(before) = self.last.insert(unit.key, now)
                && before < now
            {
                self.changes[before] += i64::from(unit.tokens);
                self.changes[now] -= i64::from(unit.tokens);
            }
        }
    }

    fn peak(&self) -> u64 {
        let mut kept = 0;
        let running = self.changes.iter().map(|change| {
            kept += change;
            kept
        });
        running.max().unwrap_or(0).max(0) as u64
    }
}

struct Served {
    computed: u64,
    loaded: u64,
}

fn serve(caches: &mut Caches, chosen: usize, asked: &Asked, counts: &mut Counts) -> Served {
    let Caches { replicas, store, prompt_only, chunk_tokens, .. } = caches;
    let replica = &mut replicas[chosen];
    let (mut gpu, mut hits) = (0, [0; 4]);
    let mut on_gpu = true;
    for unit in asked.prompt() {
        let tokens = u64::from(unit.tokens);
        on_gpu = on_gpu && replica.gpu.holds(*unit);
        if on_gpu {
            gpu += tokens;
            continue;
        }
        let tier = replica.tiers.iter().find(|(_, cache)| cache.holds(*unit));
        let tier = match tier {
            Some((tier, _)) => *tier,
            None if store.as_ref().is_some_and(|store| store.holds(*unit)) => TierKind::Remote,
            None => break,
        };
        hits[tier.index()] += tokens;
    }
    let loaded = in_chunks(&mut hits, gpu, *chunk_tokens);
    for (all, hits) in counts.hits.iter_mut().zip(hits) {
        *all += hits;
    }
    counts.requests += 1;
    counts.prompt += asked.prompt_tokens;
    counts.seen += asked.seen_tokens;
    counts.gpu_hits += gpu;
    counts.eligible += asked.seen_tokens.saturating_sub(gpu);
    counts.gpu_evicted += replica.gpu.insert(asked.whole()).evicted;
    let answer = if *prompt_only { 0 } else { u64::from(asked.output_tokens) };
    let offered = asked.prompt_tokens + answer;
    counts.longest_offer = counts.longest_offer.max(offered);
    counts.longest_reuse = counts.longest_reuse.max(asked.seen_tokens);
    let stored = match *prompt_only {
        _ if offered < *chunk_tokens => &[],
        true => asked.prompt(),
        false => asked.whole(),
    };
    let local = replica.tiers.iter_mut().map(|(tier, cache)| (*tier, cache));
    for (tier, cache) in local.chain(store.as_mut().map(|store| (TierKind::Remote, store))) {
        let done = cache.insert(stored);
        counts.stored += done.stored;
        counts.evicted[tier.index()] += done.evicted;
        counts.refused[tier.index()] += done.refused;
    }
    Served { computed: asked.prompt_tokens.saturating_sub(gpu + loaded), loaded }
}

/// Rounds a request's hits behind the GPU down to whole chunks, which mechanisms load, and returns
/// their sum.
fn in_chunks(hits: &mut [u64; 4], gpu: u64, chunk_tokens: u64) -> u64 {
    let loaded: u64 = hits.iter().sum();
    let rest = (gpu + loaded) % chunk_tokens.max(1);
    let mut excess = rest.min(loaded);
    for hits in hits.iter_mut().rev() {
        let less = excess.min(*hits);
        *hits -= less;
        excess -= less;
    }
    loaded - rest.min(loaded)
}

/// Chance for all policies that do not look at caches, since replicas are alike.
struct Router {
    chance: Xoshiro256PlusPlus,
    /// Replica and tokens of the last requests, taken as those in flight.
    recent: VecDeque<(usize, u64)>,
    window: usize,
}

impl Router {
    fn new(seed: u64, window: usize) -> Self {
        let chance = Xoshiro256PlusPlus::seed_from_u64(seed);
        Self { chance, recent: VecDeque::new(), window }
    }

    fn choose(&mut self, caches: &mut Caches, asked: &Asked, counts: &mut Counts) -> usize {
        let count = caches.replicas.len();
        if count == 1 {
            return 0;
        }
        let offload = caches.offload.as_ref();
        let held: Vec<Held> =
            caches.replicas.iter().map(|it| it.held(asked.prompt(), offload)).collect();
        let prompt = asked.prompt_tokens.max(1) as f64;
        let chosen = match &caches.policy {
            PolicyConfig::PrecisePrefix { weights, normalization, index, .. } => {
                let weighted: Vec<f64> = held.iter().map(|it| it.weighted(index)).collect();
                let scores = match normalization {
                    Normalization::MinMax => between_extremes(&weighted),
                    Normalization::Share => weighted.iter().map(|it| it / prompt).collect(),
                };
                self.best(caches, scores, weights)
            }
            PolicyConfig::ApproximatePrefix { weights, .. } => {
                self.best(caches, held.iter().map(|it| it.gpu as f64 / prompt).collect(), weights)
            }
            _ => self.any_of(count),
        };
        let hits: Vec<u64> = held.iter().map(|it| it.tokens()).collect();
        counts.routed_hits += hits[chosen];
        counts.uniform_hits += hits.iter().sum::<u64>() as f64 / count as f64;
        counts.best_hits += hits.iter().copied().max().unwrap_or(0);
        let tokens = asked.prompt_tokens + u64::from(asked.output_tokens);
        let replica = &mut caches.replicas[chosen];
        replica.in_flight_tokens += tokens;
        self.recent.push_back((chosen, tokens));
        if self.recent.len() > self.window
            && let Some((done, tokens)) = self.recent.pop_front()
        {
            let replica = &mut caches.replicas[done];
            replica.in_flight_tokens -= tokens;
        }
        chosen
    }

    fn any_of(&mut self, count: usize) -> usize {
        (self.chance.next_u64() % count as u64) as usize
    }

    /// Highest score, by chance between several. Tokens in flight stand for usage, and for the
    /// queue where they exceed the pool.
    fn best(&mut self, caches: &Caches, prefix: Vec<f64>, weights: &ScorerWeights) -> usize {
        let waiting = |replica: &Replica| replica.in_flight_tokens.saturating_sub(caches.pool);
        let least = caches.replicas.iter().map(waiting).min().unwrap_or(0);
        let most = caches.replicas.iter().map(waiting).max().unwrap_or(0);
        let score = |(replica, prefix): (&Replica, f64)| {
            let queue = if most == least {
                1.0
            } else {
                (most - waiting(replica)) as f64 / (most - least) as f64
            };
            let usage = (replica.in_flight_tokens as f64 / caches.pool.max(1) as f64).min(1.0);
            weights.prefix * prefix + weights.queue * queue + weights.kv_usage * (1.0 - usage)
        };
        let scores: Vec<f64> = caches.replicas.iter().zip(prefix).map(score).collect();
        let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let best: Vec<usize> =
            (0..scores.len()).filter(|index| scores[*index] == highest).collect();
        if best.len() == 1 { best[0] } else { best[self.any_of(best.len())] }
    }
}

/// As the picker scores matches against each other: 1 for the longest, 0 for the shortest and for
/// none, 1 for all matches of one length.
fn between_extremes(held: &[f64]) -> Vec<f64> {
    let matched = || held.iter().copied().filter(|held| *held > 0.0);
    let (least, most) = (matched().fold(f64::INFINITY, f64::min), matched().fold(0.0, f64::max));
    let score = |held: f64| {
        if held <= 0.0 {
            0.0
        } else if most <= least {
            1.0
        } else {
            (held - least) / (most - least)
        }
    };
    held.iter().map(|held| score(*held)).collect()
}

/// GPU seconds per request: the prompt alone, and its share of the passes that it decodes in.
struct Pace {
    batch: u32,
    pool: u64,
    budget: u32,
    prompts: ByKey<f64>,
    decode: Option<f64>,
}

impl Pace {
    fn new(stream: &Stream, deployment: &Deployment) -> Self {
        let engine = &deployment.engine;
        let per_replica = (stream.in_flight as u32).div_ceil(deployment.replicas);
        Self {
            batch: per_replica.clamp(1, engine.max_num_seqs.max(1)),
            pool: u64::from(engine.blocks) * u64::from(engine.block_size),
            budget: engine.max_num_batched_tokens,
            prompts: ByKey::default(),
            decode: None,
        }
    }

    fn seconds(&mut self, asked: &Asked, computed: u64, timing: &mut Timing) -> f64 {
        let steps = (computed as u32).div_ceil(PROMPT_STEP);
        let budget = self.budget;
        let prompt = *self
            .prompts
            .entry(u64::from(steps))
            .or_insert_with(|| timing.prefill_time(steps * PROMPT_STEP, 0, budget).as_secs_f64());
        let (batch, pool) = (self.batch, self.pool);
        let decode = *self.decode.get_or_insert_with(|| {
            let context = u64::from(batch) * asked.prompt_tokens;
            let shape = PassShape {
                decoding: batch,
                context_tokens: context,
                unique_context_tokens: context.min(pool),
                ..PassShape::default()
            };
            timing.pass(&shape).as_secs_f64()
        });
        prompt + f64::from(asked.output_tokens) * decode / f64::from(batch)
    }
}
