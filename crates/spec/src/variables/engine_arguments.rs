//! A command line of vLLM: settings that the experiment file has keys for, the connector, and the
//! rest.

use serde_json::Value;
use weir_model::Bytes;
use weir_model::quantity::Size;

use crate::document::engine::EngineSection;
use crate::document::local::{flag, is_flag};
use crate::document::written::OneOrMany;
use crate::resolve::is_secret_name;

/// Arguments that Weir writes itself.
const OWN: [&str; 6] = [
    "--host",
    "--port",
    "--model",
    "--served-model-name",
    "--kv-events-config",
    "--enable-prefix-caching",
];
/// Arguments about logs, some of which newer versions refuse.
const LOGS: [&str; 2] = ["--disable-log-requests", "--disable-uvicorn-access-log"];

/// What is wrong with a command line, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) problem: String,
    pub(super) remedy: &'static str,
}

fn refusal<T>(problem: impl Into<String>, remedy: &'static str) -> Result<T, Refusal> {
    Err(Refusal { problem: problem.into(), remedy })
}

/// What a connector offloads to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Offload {
    /// vLLM's own, to host memory.
    Native { bytes: Size, chunk_tokens: Option<u32> },
    /// vLLM's own, to files.
    Files { chunk_tokens: Option<u32> },
    /// LMCache in the engine.
    Lmcache,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct EngineArguments {
    pub(super) engine: EngineSection,
    pub(super) offload: Option<Offload>,
    pub(super) rest: Vec<String>,
    pub(super) remarks: Vec<String>,
}

impl EngineArguments {
    pub(super) fn read(words: &[String]) -> Result<Self, Refusal> {
        let mut read = Self::default();
        let mut at = 0;
        while let Some(word) = words.get(at) {
            at += 1;
            let behind = if is_flag(word) { &words[at..] } else { &[] };
            let values: Vec<&str> =
                behind.iter().map(String::as_str).take_while(|next| !is_flag(next)).collect();
            at += values.len();
            let value = word.split_once('=').map(|(_, value)| value).or(values.first().copied());
            if !read.known(&flag(word), value.unwrap_or_default())? {
                read.rest.push(word.clone());
                read.rest.extend(values.into_iter().map(str::to_owned));
            }
        }
        Ok(read)
    }

    /// False for an argument to be carried.
    fn known(&mut self, flag: &str, value: &str) -> Result<bool, Refusal> {
        let engine = &mut self.engine;
        match flag {
            "--kv-transfer-config" if self.offload.is_some() => {
                return refusal(
                    "`--kv-transfer-config` stands there twice, and vLLM takes the last alone",
                    "write one",
                );
            }
            "--kv-transfer-config" => {
                let (offload, left) = connector(value)?;
                if !left.is_empty() {
                    self.remarks.push(format!("Not carried of the connector: {}", left.join(", ")));
                }
                self.offload = Some(offload);
            }
            "--tensor-parallel-size" | "-tp" => {
                engine.tensor_parallel = Some(OneOrMany(vec![number(flag, value)?]));
            }
            "--gpu-memory-utilization" => {
                engine.gpu_memory_utilization = Some(OneOrMany(vec![number(flag, value)?]));
            }
            "--max-num-seqs" | "--max-num-seq" => engine.max_num_seqs = Some(number(flag, value)?),
            "--max-num-batched-tokens" => {
                engine.max_num_batched_tokens = Some(number(flag, value)?);
            }
            "--max-model-len" => engine.max_model_len = Some(number(flag, value)?),
            "--block-size" => engine.block_size = Some(number(flag, value)?),
            "--no-enable-prefix-caching" => {
                engine.prefix_caching = Some(false);
                self.remarks.push(
                    "Without prefix caching no cache is measured: remove engine.prefix_caching \
                     for a baseline"
                        .to_owned(),
                );
            }
            "--enforce-eager" => {
                self.remarks.push(
                    "`--enforce-eager` runs without CUDA graphs, which slows decoding: remove it \
                     for a baseline"
                        .to_owned(),
                );
                return Ok(false);
            }
            _ if is_secret_name(flag) => {
                self.remarks.push(format!("The value of `{flag}` is not written"));
            }
            _ => return Ok(OWN.contains(&flag) || LOGS.contains(&flag)),
        }
        Ok(true)
    }
}

fn number<T: std::str::FromStr>(flag: &str, value: &str) -> Result<T, Refusal> {
    value.parse().or_else(|_| {
        refusal(format!("`{flag}` has `{value}` where it needs a number"), "write the number")
    })
}

/// With the keys that nothing was made of.
fn connector(text: &str) -> Result<(Offload, Vec<String>), Refusal> {
    let Ok(Value::Object(config)) = serde_json::from_str(text) else {
        return refusal(
            "`--kv-transfer-config` is not a JSON object",
            "write it in single quotes, as '{\"kv_connector\": ...}'",
        );
    };
    let none = serde_json::Map::new();
    let extra = config.get("kv_connector_extra_config").and_then(Value::as_object);
    let extra = extra.unwrap_or(&none);
    let natural = |name: &str| extra.get(name).and_then(Value::as_u64);
    let chunk_tokens = natural("block_size").and_then(|tokens| u32::try_from(tokens).ok());
    let is_to_files =
        extra.get("spec_name").and_then(Value::as_str) == Some("SharedStorageOffloadingSpec");
    let offload = match config.get("kv_connector").and_then(Value::as_str) {
        Some("OffloadingConnector") if is_to_files => Offload::Files { chunk_tokens },
        Some("OffloadingConnector") => {
            let blocks = natural("num_cpu_blocks").map(|blocks| match chunk_tokens {
                Some(tokens) => Size::Tokens(blocks.saturating_mul(u64::from(tokens))),
                None => Size::Blocks(blocks),
            });
            let bytes = match (blocks, natural("cpu_bytes_to_use")) {
                (Some(size), None) => size,
                (None, Some(bytes)) => Size::Bytes(Bytes(bytes)),
                (Some(_), Some(_)) => {
                    return refusal(
                        "the connector has both `num_cpu_blocks` and `cpu_bytes_to_use`",
                        "write one of them",
                    );
                }
                (None, None) => {
                    return refusal(
                        "the connector has no size, without which vLLM does not start",
                        "write `num_cpu_blocks` or `cpu_bytes_to_use`",
                    );
                }
            };
            Offload::Native { bytes, chunk_tokens }
        }
        Some("LMCacheConnectorV1") => Offload::Lmcache,
        Some("NixlConnector" | "P2pNcclConnector") => {
            return refusal(
                "its connector moves KV from prefill to decode engines, which Weir does not",
                "remove it: each engine then does both",
            );
        }
        _ => {
            return refusal(
                "unsupported connector",
                "use `OffloadingConnector` or `LMCacheConnectorV1`",
            );
        }
    };
    let known = ["num_cpu_blocks", "cpu_bytes_to_use", "block_size", "spec_name"];
    let left = extra.keys().filter(|key| !known.contains(&key.as_str())).cloned().collect();
    Ok((offload, left))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Result<EngineArguments, Refusal> {
        let words = crate::variables::shell::words(line).unwrap();
        EngineArguments::read(&words.into_iter().map(|of| of.text).collect::<Vec<_>>())
    }

    fn offload(extra: &str) -> Result<Offload, Refusal> {
        let line = format!(
            "--kv-transfer-config '{{\"kv_connector\":\"OffloadingConnector\",\
             \"kv_connector_extra_config\":{extra}}}'"
        );
        read(&line).map(|read| read.offload.unwrap())
    }

    #[test]
    fn arguments_become_keys_and_others_are_carried() {
        let line = "--max_model_len=2048 --block-size 64 -tp 2 --gpu-memory-utilization 0.8 \
                    --max-num-seq 7 --max-num-batched-tokens 4096 --no-enable-prefix-caching \
                    --enforce-eager --port 80 --api-key hf_x --hf-token=hf_x --rope -1 2 -O3 --load-format auto";
        let read = read(line).unwrap();
        let engine = EngineSection {
            max_model_len: Some(2048),
            block_size: Some(64),
            tensor_parallel: Some(OneOrMany(vec![2])),
            gpu_memory_utilization: Some(OneOrMany(vec![0.8])),
            max_num_seqs: Some(7),
            max_num_batched_tokens: Some(4096),
            prefix_caching: Some(false),
            ..EngineSection::default()
        };
        assert_eq!(read.engine, engine);
        let rest = ["--enforce-eager", "--rope", "-1", "2", "-O3", "--load-format", "auto"];
        assert_eq!(read.rest, rest);
        assert_eq!(read.remarks.len(), 4, "{:?}", read.remarks);
        assert!(!format!("{read:?}").contains("hf_x"), "{read:?}");
    }

    #[test]
    fn connectors_become_what_they_offload_to() {
        let native = |bytes, chunk_tokens| Ok(Offload::Native { bytes, chunk_tokens });
        assert_eq!(offload("{\"num_cpu_blocks\":100}"), native(Size::Blocks(100), None));
        let sized = "{\"num_cpu_blocks\":100,\"block_size\":64}";
        assert_eq!(offload(sized), native(Size::Tokens(6400), Some(64)));
        let bytes = native(Size::Bytes(Bytes(1_000_000_000)), None);
        assert_eq!(offload("{\"cpu_bytes_to_use\":1000000000}"), bytes);
        let files = "{\"spec_name\":\"SharedStorageOffloadingSpec\",\"block_size\":256}";
        assert_eq!(offload(files), Ok(Offload::Files { chunk_tokens: Some(256) }));
        let lmcache =
            read("--kv-transfer-config={\\\"kv_connector\\\":\\\"LMCacheConnectorV1\\\"}");
        assert_eq!(lmcache.unwrap().offload, Some(Offload::Lmcache));
    }

    #[test]
    fn contradictions_and_unknown_connectors_are_refused() {
        let one = "--kv-transfer-config '{\"kv_connector\":\"LMCacheConnectorV1\"}'";
        let problem = |line: &str| read(line).unwrap_err().problem;
        assert!(problem(&format!("{one} {one}")).contains("twice"));
        assert!(problem("--kv-transfer-config '{'").contains("JSON"));
        let nixl = "--kv-transfer-config '{\"kv_connector\":\"NixlConnector\"}'";
        assert!(problem(nixl).contains("prefill"));
        assert!(problem("--kv-transfer-config '{\"kv_connector\":\"X\"}'").contains("unsupported"));
        assert!(problem("--max-model-len x").contains("--max-model-len"));
        let both = offload("{\"num_cpu_blocks\":1,\"cpu_bytes_to_use\":1}").unwrap_err();
        assert!(both.problem.contains("both"), "{both:?}");
        assert!(offload("{}").unwrap_err().problem.contains("no size"));
    }

    proptest! {
        #[test]
        fn no_words_panic(words in proptest::collection::vec("[-a-z=0-9{}\":é]{0,20}", 0..8)) {
            let _ = EngineArguments::read(&words);
        }
    }
}
