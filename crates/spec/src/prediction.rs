//! Predictions of cells: a replay of the workload against caches without time.
//!
//! The replay sends the level's sessions to whole-piece LRU caches of the sizes of GPU pool and
//! tiers. Its counts of hits, stores and evictions are signals for the decision table that also
//! judges the run. Durations only estimate how many requests fit into the level's time, since a
//! store that is never read is worth nothing.

mod cache;
mod replay;
mod stream;

use weir_engine::timing::Timing;
use weir_model::{Bytes, SignalKind, Signals, TierKind};

use self::replay::{Caches, Counts};
use self::stream::Stream;
use crate::error::SpecError;
use crate::plan::{Arm, Deployment, Level, Prediction, Regime};
use crate::verdict::{self, Decision, Facts, NEGLIGIBLE_SHARE};

/// In the arms' order. The seed is the first repeat's.
pub(crate) fn of_level(
    deployment: &Deployment,
    level: &Level,
    seed: u64,
    effective_share: f64,
) -> Result<Vec<Prediction>, SpecError> {
    let stream = Stream::read(deployment, level, seed)?;
    let mut timing = timing(deployment)?;
    let mut known: Vec<(&Arm, Counts)> = Vec::new();
    let mut predictions = Vec::new();
    let mut endless = None;
    let mut returns: Vec<(&Arm, Regime)> = Vec::new();
    for arm in &deployment.arms {
        let same_placement =
            |other: &Arm| deployment.replicas == 1 || other.routing.policy == arm.routing.policy;
        // Arms that differ in name only (or in routing, with one replica) have one replay.
        let same =
            known.iter().find(|(other, _)| other.offload == arm.offload && same_placement(other));
        let counts = match same {
            Some((_, counts)) => counts.clone(),
            None => replay::run(&stream, &Caches::of(deployment, arm), deployment, &mut timing),
        };
        let regime = if !fits_gpu(&counts) {
            of_tiers(deployment, arm, &counts)
        } else if level.duration.is_none() {
            Regime::FitsGpu
        } else {
            // What the GPU loses depends on placement, not on the tiers behind it.
            let same = returns
                .iter()
                .find(|(other, _)| other.engine == arm.engine && same_placement(other));
            if let Some((_, regime)) = same {
                *regime
            } else {
                let endless = match &endless {
                    Some(stream) => stream,
                    None => endless.insert(without_end(deployment, level, seed)?),
                };
                let fits = fits_at_last(deployment, arm, endless, &mut timing);
                let regime = if fits { Regime::FitsGpu } else { Regime::EndsBeforeReuse };
                returns.push((arm, regime));
                regime
            }
        };
        predictions.push(judge(deployment, arm, &counts, (regime, effective_share)));
        known.push((arm, counts));
    }
    Ok(predictions)
}

fn of_tiers(deployment: &Deployment, arm: &Arm, counts: &Counts) -> Regime {
    if largest_tier(arm) >= Some(working_set(deployment, arm, counts)) {
        Regime::FitsTier
    } else {
        Regime::Overflows
    }
}

/// In bytes of the arm that has to hold it.
fn working_set(deployment: &Deployment, arm: &Arm, counts: &Counts) -> Bytes {
    let tokens = counts.working_set_tokens;
    match &arm.offload {
        Some(offload) => offload.kept(tokens),
        None => Bytes(tokens.saturating_mul(deployment.engine_of(arm).kv_bytes_per_token)),
    }
}

/// The level's load without its end. It shows whether reuse is small only because the level ends
/// earlier.
fn without_end(deployment: &Deployment, level: &Level, seed: u64) -> Result<Stream, SpecError> {
    let endless = Level { duration: None, max_requests: None, ..level.clone() };
    Stream::read(deployment, &endless, seed)
}

fn fits_at_last(deployment: &Deployment, arm: &Arm, stream: &Stream, timing: &mut Timing) -> bool {
    fits_gpu(&replay::run(stream, &Caches::of(deployment, arm), deployment, timing))
}

fn timing(deployment: &Deployment) -> Result<Timing, SpecError> {
    Timing::new(&deployment.timing).map_err(|error| {
        SpecError::value("engine.timing", error.to_string(), "check the model and the hardware")
    })
}

fn judge(
    deployment: &Deployment,
    arm: &Arm,
    counts: &Counts,
    (regime, share): (Regime, f64),
) -> Prediction {
    let working_set = Some(working_set(deployment, arm, counts));
    let signals = predicted_signals(deployment, arm, counts);
    let longest_offer = arm.offload.is_some().then_some(counts.longest_offer);
    let facts = Facts {
        replicas: deployment.replicas,
        effective_share: share,
        working_set,
        regime,
        longest_offer,
        longest_reuse: Some(counts.longest_reuse),
        startup_warning: None,
        index_block: None,
    };
    let decision = verdict::decide(arm, &facts, &signals);
    let Decision { verdict, remedy, .. } = decision;
    Prediction {
        working_set,
        regime,
        longest_offer,
        longest_reuse: facts.longest_reuse,
        verdict,
        remedy,
    }
}

/// Hardly any reuse is lost from the GPU's pool.
fn fits_gpu(counts: &Counts) -> bool {
    (counts.eligible() as f64) < NEGLIGIBLE_SHARE * counts.prompt as f64
}

/// For an endpoint of which at most the pool's size is known.
pub(crate) fn regime_as_deployed(
    deployment: &Deployment,
    level: &Level,
    seed: u64,
) -> Result<Regime, SpecError> {
    if deployment.engine.blocks == 0 {
        return Ok(Regime::Unknown);
    }
    // The duration of its passes is unknown: the replay runs to its own end.
    let stream = Stream { seconds: None, ..Stream::read(deployment, level, seed)? };
    let fits = fits_at_last(deployment, &deployment.arms[0], &stream, &mut timing(deployment)?);
    Ok(if fits { Regime::FitsGpu } else { Regime::ExceedsGpu })
}

pub(crate) fn largest_tier(arm: &Arm) -> Option<Bytes> {
    arm.offload.as_ref()?.capacities().map(|(_, capacity)| capacity).max()
}

const SOURCE: &str = "prediction";

fn predicted_signals(deployment: &Deployment, arm: &Arm, counts: &Counts) -> Signals {
    let mut signals = Signals::default();
    let mut add = |kind, value: f64| signals.add(kind, value, SOURCE);
    let tokens = |tokens: u64| tokens as f64;
    let gpu = deployment.engine_of(arm).kv_bytes_per_token;
    add(SignalKind::PromptTokens, tokens(counts.prompt));
    add(SignalKind::SeenTokens, tokens(counts.seen));
    add(SignalKind::GpuHitTokens, tokens(counts.gpu_hits));
    add(SignalKind::EligibleTokens, tokens(counts.eligible()));
    add(SignalKind::GpuEvictedBytes, tokens(counts.gpu_evicted) * gpu as f64);
    add(SignalKind::Replicas, f64::from(deployment.replicas));
    add(SignalKind::RoutingMaxSharePercent, counts.largest_share_percent());
    if let (Some(capacity), Some(offload)) = (largest_tier(arm), &arm.offload) {
        let bytes = |tokens: u64| offload.kept(tokens).0 as f64;
        let external = counts.hits.iter().sum();
        let hits = |tier: TierKind| tokens(counts.hits[tier.index()]);
        add(SignalKind::ExternalQueryTokens, tokens(counts.prompt - counts.gpu_hits));
        add(SignalKind::ExternalHitTokens, tokens(external));
        add(SignalKind::HostHitTokens, hits(TierKind::Host));
        add(SignalKind::DiskHitTokens, hits(TierKind::Disk));
        add(SignalKind::RemoteHitTokens, hits(TierKind::Remote));
        add(SignalKind::StoredBytes, bytes(counts.stored));
        add(SignalKind::LoadedBytes, offload.loaded(external).0 as f64);
        add(SignalKind::TierCapacityBytes, capacity.0 as f64);
    }
    if let Some(offload) = &arm.offload {
        for (tier, _) in offload.capacities() {
            let mut add = |kind, value| signals.add_of(tier, kind, value, SOURCE);
            add(SignalKind::EvictedBytes, offload.kept(counts.evicted[tier.index()]).0 as f64);
            add(SignalKind::StoreFailures, tokens(counts.refused[tier.index()]));
        }
    }
    let mut add = |kind, value: f64| signals.add(kind, value, SOURCE);
    if deployment.replicas > 1 {
        add(SignalKind::RoutingChoices, tokens(counts.requests));
        add(SignalKind::RoutedHitTokens, tokens(counts.routed_hits));
        add(SignalKind::UniformHitTokens, counts.uniform_hits);
        add(SignalKind::BestHitTokens, tokens(counts.best_hits));
        // Engines that store blocks report it, and every decision queries the index.
        add(SignalKind::IndexEvents, tokens(counts.requests));
        add(SignalKind::IndexLookups, tokens(counts.requests));
        add(SignalKind::IndexHits, tokens(u64::from(counts.best_hits > 0)));
    }
    signals
}
