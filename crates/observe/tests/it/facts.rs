//! Facts from captured scrapes of a real vLLM 0.32.

use weir_model::{FactKind, FactValue, RunningFacts};
use weir_observe::facts::{add_connector, add_engine_facts};

use crate::{captured, snapshot};

fn of(text: &str) -> RunningFacts {
    let snapshot = snapshot(text, 1);
    let mut facts = RunningFacts::default();
    add_engine_facts(&snapshot, "vllm-0", &mut facts);
    add_connector(&snapshot, "vllm-0", &mut facts);
    facts
}

fn value(facts: &RunningFacts, kind: FactKind) -> Option<FactValue> {
    facts.all(kind).first().map(|fact| fact.value.clone())
}

#[test]
fn the_labels_of_the_cache_are_facts_and_auto_is_no_type() {
    let facts = of(&captured("metrics-idle.txt"));
    assert_eq!(value(&facts, FactKind::PrefixCaching), Some(FactValue::Flag(true)));
    assert_eq!(value(&facts, FactKind::Blocks), Some(FactValue::Count(32_768)));
    assert_eq!(value(&facts, FactKind::BlockSize), Some(FactValue::Count(32)));
    assert_eq!(value(&facts, FactKind::KvDtype), None);
    // A vLLM without connector has no such families; that excludes no other connector.
    assert_eq!(value(&facts, FactKind::Connector), None);
}

#[test]
fn a_cache_that_is_off_and_has_its_own_type_says_so() {
    let text = captured("metrics-idle.txt")
        .replace("enable_prefix_caching=\"True\"", "enable_prefix_caching=\"False\"")
        .replace("cache_dtype=\"auto\",cache_hit", "cache_dtype=\"fp8\",cache_hit")
        .replace("num_gpu_blocks=\"32768\"", "num_gpu_blocks=\"None\"");
    let facts = of(&text);
    assert_eq!(value(&facts, FactKind::PrefixCaching), Some(FactValue::Flag(false)));
    assert_eq!(value(&facts, FactKind::KvDtype), Some(FactValue::text("fp8")));
    assert_eq!(value(&facts, FactKind::Blocks), None);
}

#[test]
fn engines_of_one_endpoint_are_apart() {
    let text = captured("metrics-idle.txt");
    let is_info = |line: &&str| line.starts_with("vllm:cache_config_info{");
    let line = text.lines().find(is_info).unwrap();
    let second = line.replace("engine=\"0\"", "engine=\"1\"").replace("32768", "64");
    let facts = of(&format!("{text}{second}\n"));
    let blocks: Vec<_> = facts
        .all(FactKind::Blocks)
        .iter()
        .map(|fact| (fact.place.as_str(), fact.value.clone()))
        .collect();
    let expected =
        [("vllm-0 engine 0", FactValue::Count(32_768)), ("vllm-0 engine 1", FactValue::Count(64))];
    assert_eq!(blocks, expected);
}

#[test]
fn families_tell_the_connector() {
    let names = |text: &str| value(&of(text), FactKind::Connector);
    let of = |name: &str| Some(FactValue::Words(vec![name.to_owned()]));
    assert_eq!(names(&captured("metrics-offload.txt")), of("OffloadingConnector"));
    // A declaration without samples shows the connector.
    let declared = "# TYPE vllm:kv_offload_load_bytes_total counter\n";
    assert_eq!(names(declared), of("OffloadingConnector"));
    assert_eq!(names("lmcache_mp_l1_write_chunks_total 3\n"), of("LMCacheMPConnector"));
    assert_eq!(names("lmcache:num_hit_tokens_total 3\n"), of("LMCacheConnectorV1"));
    let simple = "# TYPE vllm:simple_kv_offload_used_blocks gauge\n";
    assert_eq!(names(simple), of("SimpleCPUOffloadConnector"));
    let both = format!("{declared}lmcache_mp_l1_write_chunks_total 3\n");
    let both = names(&both);
    let expected = ["LMCacheMPConnector", "OffloadingConnector"].map(str::to_owned).to_vec();
    assert_eq!(both, Some(FactValue::Words(expected)));
}
