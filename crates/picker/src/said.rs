//! What a picker runs with: by the document that is written for it, and by its start-up log.
//!
//! The log has the configuration in Go's own notation, with the parameters of plugins as JSON.
//! Sources: gateway-api-inference-extension 1.4.0 (`apix/config/v1alpha1`,
//! `pkg/epp/scheduling`), llm-d-kv-cache 0.9.0 (`kvblock.NewIndex`, `TokenProcessorConfig`).

use std::collections::BTreeMap;

use serde_json::Value;
use weir_model::{
    ComparedWith, Differing, FactDifference, FactKind, FactSource, FactValue, RunningFacts,
};

/// The picker's name in facts.
const PLACE: &str = "picker";

const KINDS: [FactKind; 5] = [
    FactKind::Scorers,
    FactKind::IndexBlock,
    FactKind::IndexSeed,
    FactKind::IndexStore,
    FactKind::EventsPort,
];
const LOADED: &str = "Loaded raw configuration";
const PARSED: &str = "parsed config";
const PARAMETERS: &str = ", Parameters: ";
const SCORERS: &str = "Scorers: [";
/// Ends the type of each scorer.
const SCORER: &str = "-scorer";
/// Tokens of an index's block where none are written.
const BLOCK_TOKENS: u64 = 16;
/// The first of these that is there keeps the index.
const INDEXES: [(&str, &str); 3] = [
    ("costAwareMemoryConfig", "cost-aware memory"),
    ("valkeyConfig", "valkey"),
    ("redisConfig", "redis"),
];
const IN_MEMORY: &str = "memory";

/// Of a configuration document.
pub fn of_document(document: &Value) -> RunningFacts {
    let mut facts = RunningFacts::default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    for plugin in list(&document["plugins"]) {
        let Some(kind) = plugin["type"].as_str() else { continue };
        types.insert(plugin["name"].as_str().unwrap_or(kind).to_owned(), kind.to_owned());
        add_index(&plugin["parameters"], &mut facts);
    }
    let profiles = list(&document["schedulingProfiles"]);
    let used = profiles.iter().flat_map(|profile| list(&profile["plugins"]));
    let scorers = used.filter_map(|used| {
        let kind = types.get(used["pluginRef"].as_str()?)?;
        let weight = used["weight"].as_f64().unwrap_or(1.0);
        kind.ends_with(SCORER).then(|| format!("{kind} {weight}"))
    });
    add(FactKind::Scorers, FactValue::Words(scorers.collect()), &mut facts);
    facts
}

/// Empty where the log does not have it.
pub fn of_log(text: &str) -> RunningFacts {
    let mut facts = RunningFacts::default();
    for line in text.lines().filter(|line| line.contains(LOADED) || line.contains(PARSED)) {
        let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
        if let (Some(LOADED), Some(config)) = (record["msg"].as_str(), record["config"].as_str()) {
            for of in parameters(config) {
                add_index(&of, &mut facts);
            }
        }
        if let (Some(PARSED), Some(parsed)) =
            (record["msg"].as_str(), record["scheduler-config"].as_str())
        {
            add(FactKind::Scorers, FactValue::Words(scorers(parsed)), &mut facts);
        }
    }
    facts
}

/// Where a picker says something else than what was planned. What it does not say is no difference.
pub fn differences(said: &RunningFacts, planned: &RunningFacts) -> Vec<FactDifference> {
    let mut differences = Vec::new();
    for kind in KINDS {
        let Some(fact) = said.all(kind).first() else { continue };
        let was = planned.all(kind).first().map(|fact| fact.value.clone());
        if was.as_ref() != Some(&fact.value) {
            differences.push(FactDifference {
                differs: Differing::Fact(kind),
                place: fact.place.clone(),
                is: Some(fact.value.clone()),
                than: ComparedWith::Plan,
                was,
                arguments: Vec::new(),
            });
        }
    }
    differences
}

/// Of every plugin that has some.
fn parameters(config: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut rest = config;
    while let Some((_, behind)) = rest.split_once(PARAMETERS) {
        let mut values = serde_json::Deserializer::from_str(behind).into_iter::<Value>();
        let read = values.next();
        rest = match read {
            Some(Ok(value)) => {
                all.push(value);
                &behind[values.byte_offset()..]
            }
            _ => behind,
        };
    }
    all
}

/// `Scorers: [name/type: 3.000000, ...]` of all profiles.
fn scorers(parsed: &str) -> Vec<String> {
    let lists = parsed.split(SCORERS).skip(1).filter_map(|rest| rest.split(']').next());
    let each = lists.flat_map(|list| list.split(", "));
    let read = each.filter_map(|scorer| {
        let (name, weight) = scorer.rsplit_once(": ")?;
        let (_, kind) = name.rsplit_once('/')?;
        Some(format!("{kind} {}", weight.parse::<f64>().ok()?))
    });
    read.collect()
}

/// A precise index, where a plugin's parameters are of one.
fn add_index(parameters: &Value, facts: &mut RunningFacts) {
    let (tokens, index) = (&parameters["tokenProcessorConfig"], &parameters["indexerConfig"]);
    if tokens.is_null() && index.is_null() {
        return;
    }
    let written = ["blockSizeTokens", "blockSize"].into_iter();
    let block = written.filter_map(|key| tokens[key].as_u64()).find(|tokens| *tokens > 0);
    add(FactKind::IndexBlock, FactValue::Count(block.unwrap_or(BLOCK_TOKENS)), facts);
    if let Some(seed) = tokens["hashSeed"].as_str().filter(|seed| !seed.is_empty()) {
        add(FactKind::IndexSeed, FactValue::text(seed), facts);
    }
    let kept = &index["kvBlockIndexConfig"];
    let kept = INDEXES.iter().find(|(key, _)| !kept[*key].is_null());
    let kept = kept.map_or(IN_MEMORY, |(_, name)| name);
    add(FactKind::IndexStore, FactValue::text(kept), facts);
    let port = parameters["kvEventsConfig"]["podDiscoveryConfig"]["socketPort"].as_u64();
    if let Some(port) = port {
        add(FactKind::EventsPort, FactValue::Count(port), facts);
    }
}

fn add(kind: FactKind, value: FactValue, facts: &mut RunningFacts) {
    facts.add(kind, PLACE, value, FactSource::StartUpLog);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(facts: &RunningFacts, kind: FactKind) -> Option<FactValue> {
        facts.all(kind).first().map(|fact| fact.value.clone())
    }

    /// Lines of llm-d-inference-scheduler 0.7.1, shortened.
    const LOG: &str = r#"{"level":"info","logger":"setup","msg":"GIE build"}
{"level":"info","msg":"Loaded raw configuration","config":"{FeatureGates: {}, Plugins: [{a/precise-prefix-cache-scorer, Parameters: {\n \"indexerConfig\": {\"redisConfig\": {\"address\": \"redis://127.0.0.1:1\"}, \"kvBlockIndexConfig\": {\"enableMetrics\": true}},\n \"kvEventsConfig\": {\"podDiscoveryConfig\": {\"socketPort\": 43567}},\n \"tokenProcessorConfig\": {\"blockSize\": 64, \"hashSeed\": \"7\"}}} {/queue-scorer} {/max-score-picker}], SchedulingProfiles: [{Name: default, Plugins: [{PluginRef: a, Weight: 3.000000}]}]}"}
{"level":"info","msg":"parsed config","scheduler-config":"{ProfileHandler: x/x, Profiles: map[default:{Filters: [], Scorers: [a/precise-prefix-cache-scorer: 3.000000, queue-scorer/queue-scorer: 0.500000], Picker: max-score-picker/max-score-picker}]}"}
"#;

    #[test]
    fn a_log_says_what_decides_and_where_the_index_is() {
        let facts = of_log(LOG);
        let scorers = ["precise-prefix-cache-scorer 3", "queue-scorer 0.5"];
        let scorers = scorers.map(str::to_owned).to_vec();
        assert_eq!(of(&facts, FactKind::Scorers), Some(FactValue::Words(scorers)));
        assert_eq!(of(&facts, FactKind::IndexBlock), Some(FactValue::Count(64)));
        assert_eq!(of(&facts, FactKind::IndexSeed), Some(FactValue::text("7")));
        assert_eq!(of(&facts, FactKind::EventsPort), Some(FactValue::Count(43567)));
        // `redisConfig` stands one level too high, where nothing reads it.
        assert_eq!(of(&facts, FactKind::IndexStore), Some(FactValue::text("memory")));
        assert!(of_log("hello\n{\"msg\": \"parsed config\"}\n").is_empty());
    }

    #[test]
    fn a_document_comes_to_the_same_as_its_log() {
        let document = json!({
            "plugins": [
                {"name": "a", "type": "precise-prefix-cache-scorer", "parameters": {
                    "tokenProcessorConfig": {"blockSize": 64, "hashSeed": "7"},
                    "indexerConfig": {"kvBlockIndexConfig": {"enableMetrics": true}},
                    "kvEventsConfig": {"podDiscoveryConfig": {"socketPort": 43567}},
                }},
                {"type": "queue-scorer"},
                {"type": "max-score-picker"},
            ],
            "schedulingProfiles": [{"name": "default", "plugins": [
                {"pluginRef": "a", "weight": 3.0},
                {"pluginRef": "queue-scorer", "weight": 0.5},
                {"pluginRef": "max-score-picker"},
            ]}],
        });
        assert_eq!(of_document(&document), of_log(LOG));
        assert_eq!(differences(&of_log(LOG), &of_document(&document)), []);
    }

    #[test]
    fn what_is_said_otherwise_is_named_with_both_values() {
        let seed = LOG.replace("blockSize", "blockSizeTokens").replace("\\\"7\\\"", "\\\"\\\"");
        let found = differences(&of_log(LOG), &of_log(&seed));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].differs, Differing::Fact(FactKind::IndexSeed));
        assert_eq!((found[0].is.clone(), found[0].was.clone()), (Some(FactValue::text("7")), None));
    }
}
