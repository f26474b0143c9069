//! Settings in the start-up logs of vLLM and LMCache.
//!
//! vLLM logs its resolved configuration and its arguments that are not defaults: both the request
//! and the result.

use std::collections::BTreeSet;

use weir_model::{FactKind, FactSource, FactValue, RunningFacts};

use super::line::plain;
use super::start_up::{ARGUMENTS, BLOCK_SIZE, CONNECTOR, ENGINE, LMCACHE, behind, number, version};

/// An engine's configuration, `key=value, key=value`.
const CONFIG: &str = " with config: ";
const CONFIGURED: [(&str, FactKind); 7] = [
    ("enable_prefix_caching", FactKind::PrefixCaching),
    ("dtype", FactKind::Dtype),
    ("max_seq_len", FactKind::MaxModelLen),
    ("enable_chunked_prefill", FactKind::ChunkedPrefill),
    ("tensor_parallel_size", FactKind::TensorParallel),
    ("enforce_eager", FactKind::Eager),
    ("served_model_name", FactKind::ServedModel),
];
const KV_DTYPE: &str = "kv_cache_dtype";
/// The cache has the type of the weights.
const AUTO: &str = "auto";
const GIVEN: [(&str, FactKind); 3] = [
    ("'max_num_seqs': ", FactKind::MaxSequences),
    ("'max_num_batched_tokens': ", FactKind::MaxBatchedTokens),
    (BLOCK_SIZE, FactKind::BlockSize),
];
/// Host memory of a connector, bytes; the argument in GiB stands before it.
const HOST_BYTES: &str = "'cpu_bytes_to_use': ";
const OFFLOADING_SIZE: &str = "'kv_offloading_size': ";
const GIB: f64 = (1u64 << 30) as f64;
/// Before the tokens of a chunk: LMCache's server, and inside vLLM.
const CHUNK: [&str; 2] = ["TokenHasher initialized: chunk_size=", "chunk_size: "];
const TORCH: &str = "torch.";

/// Up to the line where the part (`place`) is ready.
pub fn running_facts(text: &str, place: &str) -> RunningFacts {
    let mut facts = RunningFacts::default();
    let mut connectors = BTreeSet::new();
    let mut has_engine = false;
    for line in text.lines().map(plain) {
        let mut add = |kind, value| facts.add(kind, place, value, FactSource::StartUpLog);
        if let Some((_, config)) = line.split_once(CONFIG) {
            has_engine = true;
            for (kind, value) in configured(config) {
                add(kind, value);
            }
        }
        if line.contains(ARGUMENTS) {
            for (mark, kind) in GIVEN {
                if let Some(given) = number(&line, mark) {
                    add(kind, FactValue::Count(given));
                }
            }
            if let Some(bytes) = host_bytes(&line) {
                add(FactKind::HostBytes, FactValue::Count(bytes));
            }
        }
        for (mark, kind) in [(ENGINE, FactKind::EngineVersion), (LMCACHE, FactKind::LmcacheVersion)]
        {
            if let Some(version) = version(&line, mark) {
                add(kind, FactValue::Text(version));
            }
        }
        if let Some(chunk) = CHUNK.iter().find_map(|mark| number(&line, mark)) {
            add(FactKind::ChunkTokens, FactValue::Count(chunk));
        }
        let created =
            line.split_once(CONNECTOR).and_then(|(_, rest)| rest.split_whitespace().next());
        connectors.extend(created.map(str::to_owned));
    }
    if has_engine {
        // A log with the engine's start also has its connectors.
        let names = FactValue::Words(connectors.into_iter().collect());
        facts.add(FactKind::Connector, place, names, FactSource::StartUpLog);
    }
    facts
}

/// Of vLLM's own connector, from a line of arguments.
fn host_bytes(arguments: &str) -> Option<u64> {
    let size = behind(arguments, OFFLOADING_SIZE).and_then(|text| text.parse::<f64>().ok());
    size.map(|gib| (gib * GIB) as u64).or_else(|| number(arguments, HOST_BYTES))
}

fn configured(config: &str) -> Vec<(FactKind, FactValue)> {
    let value = |key: &str| {
        let start = format!("{key}=");
        config.split(", ").find_map(|field| field.trim().strip_prefix(&start))
    };
    let mut facts: Vec<(FactKind, FactValue)> =
        CONFIGURED.iter().filter_map(|(key, kind)| Some((*kind, printed(value(key)?)))).collect();
    let kv_dtype = match value(KV_DTYPE) {
        Some(AUTO) => value("dtype"),
        said => said,
    };
    facts.extend(kv_dtype.map(|dtype| (FactKind::KvDtype, printed(dtype))));
    facts
}

fn printed(text: &str) -> FactValue {
    FactValue::printed(text.trim_matches('\'').trim_start_matches(TORCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_of_its_own_type_is_not_that_of_the_weights() {
        let facts = configured("model='m', dtype=torch.bfloat16, kv_cache_dtype=fp8, seed=0");
        let expected = [
            (FactKind::Dtype, FactValue::text("bfloat16")),
            (FactKind::KvDtype, FactValue::text("fp8")),
        ];
        assert_eq!(facts, expected);
    }

    #[test]
    fn an_argument_in_gib_goes_before_the_bytes_of_the_connector() {
        let bytes = "'kv_connector_extra_config': {'cpu_bytes_to_use': 104857600}";
        assert_eq!(host_bytes(bytes), Some(100 << 20));
        let both = format!("'kv_offloading_size': 0.5, {bytes}");
        assert_eq!(host_bytes(&both), Some(512 << 20));
        assert_eq!(host_bytes("'num_cpu_blocks': 4096"), None);
    }

    #[test]
    fn without_the_start_of_an_engine_no_connector_is_denied() {
        let facts = running_facts("INFO 11-30 05:49:18 [a.py:1] hello\n", "vllm-0");
        assert!(facts.is_empty(), "{facts:?}");
    }
}
