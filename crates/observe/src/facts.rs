//! Facts of an engine from its `/metrics`: the labels of `vllm:cache_config_info`, and connectors'
//! families.
//!
//! Sources: vLLM 0.32 and `LMCache` 0.5.6. A connector declares its families when it is created;
//! in `LMCache`'s server they appear with their first increment.

use std::collections::BTreeSet;

use weir_model::{FactKind, FactSource, FactValue, Mechanism, RunningFacts};

use crate::snapshot::Snapshot;

/// A gauge whose labels are the settings and sizes of vLLM's caches.
pub const CACHE_CONFIG: &str = "vllm:cache_config_info";
const LABELS: [(&str, FactKind); 3] = [
    ("enable_prefix_caching", FactKind::PrefixCaching),
    ("num_gpu_blocks", FactKind::Blocks),
    ("block_size", FactKind::BlockSize),
];
/// `auto` is the type of the weights, which is not given.
const CACHE_DTYPE: &str = "cache_dtype";
const AUTO: &str = "auto";
const NONE: &str = "None";
/// Bytes behind the host memory of an `LMCache` server, by adapter.
const SECOND_LEVEL: &str = "lmcache_mp_l2_usage_bytes";
/// More prefixes of connectors' families than those of mechanisms.
const MORE_CONNECTORS: [(&str, &str); 2] = [
    ("vllm:simple_kv_offload_", "SimpleCPUOffloadConnector"),
    ("vllm:lmcache_mp_", "LMCacheMPConnector"),
];

/// `place` is the endpoint's name. Engines of one endpoint differ by their label.
pub fn add_engine_facts(snapshot: &Snapshot, place: &str, facts: &mut RunningFacts) {
    let engines: Vec<_> = snapshot.series(CACHE_CONFIG).into_iter().flatten().collect();
    for (labels, _) in &engines {
        let engine = labels.get("engine").filter(|_| engines.len() > 1);
        let place = engine.map_or(place.to_owned(), |engine| format!("{place} engine {engine}"));
        let mut add = |kind, text: &str| {
            facts.add(kind, &place, FactValue::printed(text), FactSource::Metrics);
        };
        for (label, kind) in LABELS {
            if let Some(text) = labels.get(label).filter(|text| *text != NONE) {
                add(kind, text);
            }
        }
        if let Some(dtype) = labels.get(CACHE_DTYPE).filter(|text| *text != AUTO) {
            add(FactKind::KvDtype, dtype);
        }
    }
}

/// Tiers of an `LMCache` server behind host memory, by adapter. Nothing without such a family,
/// which a server without a second level lacks.
pub fn add_second_level(snapshot: &Snapshot, place: &str, facts: &mut RunningFacts) {
    let series = snapshot.series(SECOND_LEVEL).into_iter().flatten();
    let names: BTreeSet<String> =
        series.filter_map(|(labels, _)| labels.get("l2_name").map(str::to_owned)).collect();
    if !names.is_empty() {
        let names = FactValue::Words(names.into_iter().collect());
        facts.add(FactKind::SecondLevel, place, names, FactSource::Metrics);
    }
}

/// The connector of a scrape's families. Nothing without them: a connector need not have families,
/// nor its server be scraped.
pub fn add_connector(snapshot: &Snapshot, place: &str, facts: &mut RunningFacts) {
    let known = Mechanism::ALL.map(|of| (of.traits().metrics, of.traits().connector));
    let all = known.into_iter().chain(MORE_CONNECTORS);
    let seen = all.filter(|(prefix, _)| snapshot.speaks_of(prefix));
    let names: BTreeSet<String> = seen.map(|(_, name)| name.to_owned()).collect();
    if !names.is_empty() {
        let names = FactValue::Words(names.into_iter().collect());
        facts.add(FactKind::Connector, place, names, FactSource::Metrics);
    }
}
