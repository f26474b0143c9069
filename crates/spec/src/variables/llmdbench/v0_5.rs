//! llm-d-benchmark v0.5.2, the last of shell scripts.

use super::may_2025::COMMON;
use crate::variables::table::Method::{LlmD, Standalone};

use crate::variables::table::{Part, Row, dead, dropped, of, open, part};

const HARNESS: &str = "Weir's own load takes the harness's place";
const IN_POD: &str = "Weir writes its pods itself";

pub(in crate::variables) const ROWS: &[&[Row]] = &[ERA, COMMON];

/// Variables that arguments may name, with what they set.
pub(super) const IN_ARGUMENTS: &[(&str, Part)] = &[
    ("LLMDBENCH_VLLM_COMMON_ACCELERATOR_MEM_UTIL", Part::MemoryShare),
    ("LLMDBENCH_VLLM_COMMON_ACCELERATOR_NR", Part::Count),
    ("LLMDBENCH_VLLM_COMMON_TENSOR_PARALLELISM", Part::TensorParallel),
    ("LLMDBENCH_VLLM_COMMON_MAX_MODEL_LEN", Part::MaxModelLen),
    ("LLMDBENCH_VLLM_COMMON_BLOCK_SIZE", Part::BlockSize),
    ("LLMDBENCH_VLLM_COMMON_MAX_NUM_SEQ", Part::MaxSequences),
    ("LLMDBENCH_VLLM_COMMON_MAX_NUM_BATCHED_TOKENS", Part::BatchedTokens),
    ("LLMDBENCH_VLLM_COMMON_NUM_CPU_BLOCKS", Part::CpuBlocks),
    ("LLMDBENCH_VLLM_COMMON_CPU_BYTES_TO_USE", Part::CpuBytes),
];

const ERA: &[Row] = &[
    part(
        "LLMDBENCH_VLLM_COMMON_AFFINITY",
        "nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3",
        Part::Affinity,
    ),
    part("LLMDBENCH_VLLM_COMMON_ACCELERATOR_RESOURCE", "nvidia.com/gpu", Part::Resource),
    part("LLMDBENCH_VLLM_COMMON_ACCELERATOR_NR", "1", Part::Count),
    // As many as accelerators.
    open("LLMDBENCH_VLLM_COMMON_TENSOR_PARALLELISM", Part::TensorParallel),
    part("LLMDBENCH_VLLM_COMMON_ACCELERATOR_MEM_UTIL", "0.95", Part::MemoryShare),
    part("LLMDBENCH_VLLM_COMMON_MAX_MODEL_LEN", "16384", Part::MaxModelLen),
    part("LLMDBENCH_VLLM_COMMON_BLOCK_SIZE", "64", Part::BlockSize),
    part("LLMDBENCH_VLLM_COMMON_MAX_NUM_SEQ", "1024", Part::MaxSequences),
    part("LLMDBENCH_VLLM_COMMON_MAX_NUM_BATCHED_TOKENS", "4096", Part::BatchedTokens),
    part("LLMDBENCH_VLLM_COMMON_NUM_CPU_BLOCKS", "5000", Part::CpuBlocks),
    part("LLMDBENCH_VLLM_COMMON_CPU_BYTES_TO_USE", "1000000000", Part::CpuBytes),
    part("LLMDBENCH_VLLM_COMMON_PVC_STORAGE_CLASS", "default", Part::ClaimClass),
    dropped("LLMDBENCH_VLLM_COMMON_SHM_MEM", "Weir gives each engine 20 GiB of shared memory"),
    dropped("LLMDBENCH_VLLM_COMMON_PVC_ACCESSMODE", "Weir asks for ReadWriteMany"),
    dropped("LLMDBENCH_VLLM_COMMON_*", IN_POD),
    // A standalone vLLM had no cache of prefixes: no baseline for a study of caches.
    of(
        Standalone,
        "LLMDBENCH_VLLM_STANDALONE_ARGS",
        "--no-enable-prefix-caching____--enforce-eager",
        Part::Arguments,
    ),
    dropped("LLMDBENCH_VLLM_STANDALONE_*", IN_POD),
    of(LlmD, "LLMDBENCH_VLLM_MODELSERVICE_DECODE_REPLICAS", "1", Part::Replicas),
    of(LlmD, "LLMDBENCH_VLLM_MODELSERVICE_PREFILL_REPLICAS", "0", Part::PrefillReplicas),
    of(LlmD, "LLMDBENCH_VLLM_MODELSERVICE_DECODE_EXTRA_ARGS", "[]", Part::Arguments),
    of(
        LlmD,
        "LLMDBENCH_VLLM_MODELSERVICE_GAIE_PLUGINS_CONFIGFILE",
        "default-plugins.yaml",
        Part::Plugins,
    ),
    dead(
        "LLMDBENCH_VLLM_MODELSERVICE_GAIE_PRESETS",
        "LLMDBENCH_VLLM_MODELSERVICE_GAIE_PLUGINS_CONFIGFILE took its place",
    ),
    dropped("LLMDBENCH_VLLM_MODELSERVICE_*", IN_POD),
    dead("LLMDBENCH_VLLM_DEPLOYER_*", "llm-d-deployer was gone"),
    dead("LLMDBENCH_EPP_*", "no code read it"),
    dead("LLMDBENCH_FMPERF_*", "LLMDBENCH_HARNESS_* took its place"),
    part("LLMDBENCH_HARNESS_EXPERIMENT_PROFILE", "sanity_random.yaml", Part::Profile),
    dropped("LLMDBENCH_HARNESS_*", HARNESS),
    dropped("LLMDBENCH_RUN_*", HARNESS),
    dropped("LLMDBENCH_VLLM_INFRA_*", IN_POD),
    dropped("LLMDBENCH_VLLM_GAIE_*", IN_POD),
    dropped("LLMDBENCH_LLMD_*", "Weir's own images take their place"),
    dropped("LLMDBENCH_INFRA_*", "it chose what the scripts download"),
    part("LLMDBENCH_DEPLOY_MODEL_LIST", "meta-llama/Llama-3.2-1B-Instruct", Part::Model),
    part("LLMDBENCH_DEPLOY_METHODS", "modelservice", Part::Methods),
];
