use weir_model::Nanos;
use weir_router::RouterConfig;
use weir_router::config::{IndexConfig, Normalization, PolicyConfig, ScorerWeights};

use super::{HOUR, check_span, derived_seed};
use crate::catalogue::presets::{self, Preset, RoutingKind};
use crate::document::arm::ArmSection;
use crate::document::routing::{IndexSection, RoutingSection};
use crate::document::written::NameOr;
use crate::document::{Spec, tree};
use crate::error::SpecError;

/// The smallest block of the approximate index that all releases of llm-d take as written.
const APPROXIMATE_BLOCK_TOKENS: u32 = 64;
/// llm-d's `lruCapacityPerServer`.
const APPROXIMATE_LRU_BLOCKS: u32 = 31_250;
/// llm-d's `maxPrefixTokensToMatch`.
const APPROXIMATE_MAX_TOKENS: u32 = 131_072;
/// One pipelined request to a local store, for an index outside memory. An assumption.
const STORE_INDEX_LOOKUP: Nanos = Nanos(1_000_000);
/// Delay of an event into that index. An assumption.
const STORE_INDEX_EVENT: Nanos = Nanos(5_000_000);

const POLICIES: [&str; 5] =
    ["random", "round-robin", "least-loaded", "approximate-prefix", "precise-prefix"];

pub(super) const fn is_prefix_aware(policy: &PolicyConfig) -> bool {
    matches!(policy, PolicyConfig::ApproximatePrefix { .. } | PolicyConfig::PrecisePrefix { .. })
}

pub(super) const fn is_random(policy: &PolicyConfig) -> bool {
    matches!(policy, PolicyConfig::Random)
}

/// The arm's own, else its preset's, else the experiment's, else least-loaded.
pub(super) fn resolve(
    spec: &Spec,
    name: &str,
    preset: &Preset,
    section: &ArmSection,
    block_size: u32,
) -> Result<RouterConfig, SpecError> {
    let seed = derived_seed(spec.seed, "router");
    let policy = match (&section.routing, preset.routing, &spec.routing) {
        (Some(entry), ..) => entry_policy(entry, &format!("arms.{name}.routing"), block_size)?,
        (None, RoutingKind::Shared, Some(entry)) => entry_policy(entry, "routing", block_size)?,
        (None, RoutingKind::Shared, None) => PolicyConfig::LeastLoaded,
        (None, kind, _) => preset_policy(kind, block_size),
    };
    Ok(RouterConfig { policy, seed })
}

/// A policy as `routing` writes it: a name, or a map in YAML. For a router without an experiment.
pub fn routing_policy(text: &str, key: &str, block_size: u32) -> Result<PolicyConfig, SpecError> {
    let entry = tree::typed::<NameOr<RoutingSection>>(text).map_err(|mismatch| {
        let remedy = "write a name, or a map such as '{policy: precise-prefix, block_tokens: 64}'";
        SpecError::value(key, mismatch.message(), remedy)
    })?;
    entry_policy(&entry, key, block_size)
}

fn preset_policy(kind: RoutingKind, block_size: u32) -> PolicyConfig {
    match kind {
        RoutingKind::Shared => PolicyConfig::LeastLoaded,
        RoutingKind::Random => PolicyConfig::Random,
        RoutingKind::Approximate => PolicyConfig::ApproximatePrefix {
            weights: ScorerWeights::default(),
            block_tokens: APPROXIMATE_BLOCK_TOKENS,
            lru_blocks_per_replica: APPROXIMATE_LRU_BLOCKS,
            max_prefix_tokens: APPROXIMATE_MAX_TOKENS,
            scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
        },
        RoutingKind::Precise(backend) => PolicyConfig::PrecisePrefix {
            weights: ScorerWeights::default(),
            normalization: Normalization::default(),
            block_tokens: block_size,
            index: index(backend),
            scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
        },
    }
}

fn index(backend: &str) -> IndexConfig {
    let in_memory = IndexConfig::default();
    if backend == in_memory.backend {
        return in_memory;
    }
    IndexConfig {
        backend: backend.to_owned(),
        event_delay: STORE_INDEX_EVENT,
        lookup_latency: STORE_INDEX_LOOKUP,
        ..in_memory
    }
}

fn entry_policy(
    entry: &NameOr<RoutingSection>,
    key: &str,
    block_size: u32,
) -> Result<PolicyConfig, SpecError> {
    match entry {
        NameOr::Name(name) => named_policy(name, key, block_size),
        NameOr::Map(section) => {
            let policy = named_policy(&section.policy, &format!("{key}.policy"), block_size)?;
            with_parameters(policy, section, key)
        }
    }
}

fn named_policy(name: &str, key: &str, block_size: u32) -> Result<PolicyConfig, SpecError> {
    let kind = match name {
        "random" => RoutingKind::Random,
        "round-robin" => return Ok(PolicyConfig::RoundRobin),
        "least-loaded" => RoutingKind::Shared,
        "approximate-prefix" => RoutingKind::Approximate,
        "precise-prefix" => RoutingKind::Precise("in-memory"),
        _ => {
            let routing = |preset: &&Preset| preset.routing != RoutingKind::Shared;
            let preset = presets::ALL.iter().filter(routing).find(|preset| preset.name == name);
            preset.map(|preset| preset.routing).ok_or_else(|| {
                let presets = presets::ALL.iter().filter(routing).map(|preset| preset.name);
                SpecError::unknown(
                    key,
                    "routing",
                    name,
                    "arms",
                    POLICIES.into_iter().chain(presets),
                )
            })?
        }
    };
    Ok(preset_policy(kind, block_size))
}

/// Refuses a parameter that the policy does not have.
fn with_parameters(
    mut policy: PolicyConfig,
    section: &RoutingSection,
    key: &str,
) -> Result<PolicyConfig, SpecError> {
    let mut left = section.clone();
    match &mut policy {
        PolicyConfig::ApproximatePrefix {
            weights,
            block_tokens,
            lru_blocks_per_replica,
            max_prefix_tokens,
            scrape_interval,
        } => {
            *weights = left.weights.take().unwrap_or(*weights);
            *block_tokens = left.block_tokens.take().unwrap_or(*block_tokens);
            *lru_blocks_per_replica =
                left.lru_blocks_per_replica.take().unwrap_or(*lru_blocks_per_replica);
            *max_prefix_tokens = left.max_prefix_tokens.take().unwrap_or(*max_prefix_tokens);
            *scrape_interval = left.scrape_interval.take().map_or(*scrape_interval, |it| it.0);
        }
        PolicyConfig::PrecisePrefix {
            weights,
            normalization,
            block_tokens,
            index,
            scrape_interval,
        } => {
            *weights = left.weights.take().unwrap_or(*weights);
            *normalization = left.normalization.take().unwrap_or(*normalization);
            *block_tokens = left.block_tokens.take().unwrap_or(*block_tokens);
            *scrape_interval = left.scrape_interval.take().map_or(*scrape_interval, |it| it.0);
            if let Some(section) = left.index.take() {
                *index = with_index(index, &section, key)?;
            }
        }
        PolicyConfig::Random | PolicyConfig::RoundRobin | PolicyConfig::LeastLoaded => {}
    }
    for (name, ignored) in [
        ("weights", left.weights.is_some()),
        ("normalization", left.normalization.is_some()),
        ("scrape_interval", left.scrape_interval.is_some()),
        ("block_tokens", left.block_tokens.is_some()),
        ("lru_blocks_per_replica", left.lru_blocks_per_replica.is_some()),
        ("max_prefix_tokens", left.max_prefix_tokens.is_some()),
        ("index", left.index.is_some()),
    ] {
        if ignored {
            return Err(SpecError::value(
                format!("{key}.{name}"),
                format!("the policy `{}` has no such parameter", section.policy),
                "remove it, or use another policy",
            ));
        }
    }
    check(&policy, key)?;
    Ok(policy)
}

/// A named backend brings its own delays.
fn with_index(
    base: &IndexConfig,
    section: &IndexSection,
    key: &str,
) -> Result<IndexConfig, SpecError> {
    const BACKENDS: [&str; 3] = ["in-memory", "redis", "valkey"];
    let base = match section.backend.as_deref() {
        None => base.clone(),
        Some(backend) if BACKENDS.contains(&backend) => index(backend),
        Some(backend) => {
            let key = format!("{key}.index.backend");
            return Err(SpecError::unknown(key, "index", backend, "arms", BACKENDS));
        }
    };
    Ok(IndexConfig {
        backend: base.backend,
        event_delay: section.event_delay.map_or(base.event_delay, |span| span.0),
        lookup_latency: section.lookup_latency.map_or(base.lookup_latency, |span| span.0),
        gpu_weight: section.gpu_weight.unwrap_or(base.gpu_weight),
        tier_weight: section.tier_weight.unwrap_or(base.tier_weight),
        counts_stores: section.counts_stores.unwrap_or(base.counts_stores),
    })
}

fn check(policy: &PolicyConfig, key: &str) -> Result<(), SpecError> {
    let (weights, numbers) = match policy {
        PolicyConfig::ApproximatePrefix {
            weights,
            block_tokens,
            lru_blocks_per_replica,
            max_prefix_tokens,
            ..
        } => (
            weights,
            vec![
                ("block_tokens", *block_tokens),
                ("lru_blocks_per_replica", *lru_blocks_per_replica),
                ("max_prefix_tokens", *max_prefix_tokens),
            ],
        ),
        PolicyConfig::PrecisePrefix { weights, block_tokens, index, .. } => {
            for (name, weight) in
                [("gpu_weight", index.gpu_weight), ("tier_weight", index.tier_weight)]
            {
                check_weight(&format!("{key}.index.{name}"), weight)?;
            }
            check_span(&format!("{key}.index.event_delay"), index.event_delay, HOUR)?;
            check_span(&format!("{key}.index.lookup_latency"), index.lookup_latency, HOUR)?;
            (weights, vec![("block_tokens", *block_tokens)])
        }
        _ => return Ok(()),
    };
    if let Some(interval) = policy.scrape_interval() {
        check_span(&format!("{key}.scrape_interval"), interval, HOUR)?;
    }
    for (name, weight) in [
        ("queue", weights.queue),
        ("kv_usage", weights.kv_usage),
        ("prefix", weights.prefix),
        ("no_hit_lru", weights.no_hit_lru),
    ] {
        check_weight(&format!("{key}.weights.{name}"), weight)?;
    }
    for (name, number) in numbers {
        if number == 0 {
            let key = format!("{key}.{name}");
            return Err(SpecError::value(key, "0 is out of range", "write a number above 0"));
        }
    }
    Ok(())
}

fn check_weight(key: &str, weight: f64) -> Result<(), SpecError> {
    if (0.0..=1e6).contains(&weight) {
        return Ok(());
    }
    Err(SpecError::value(
        key,
        format!("unsupported weight {weight}"),
        "write a number of at least 0",
    ))
}
