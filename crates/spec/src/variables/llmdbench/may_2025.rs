//! llm-d-benchmark at 3709fab2 (2025-05-27), which calls llm-d-deployer.

use crate::variables::table::Method::{LlmD, Standalone};
use crate::variables::table::{Part, Row, dead, dropped, of, open, part, secret, unsupported};

const ROUTE: &str = "Weir makes no route: its load asks the pods themselves";
const HARNESS: &str = "Weir's own load takes the harness's place";
const BUILD: &str = "it chose what the scripts download, and Weir downloads nothing of it";
const SCORERS: &str = "no code read it: the picker had its defaults";
const NO_PREFILL: &str = "set it to false: engines do prefill and decode";

pub(in crate::variables) const ROWS: &[&[Row]] = &[ERA, COMMON];

const ERA: &[Row] = &[
    dead("LLMDBENCH_CLUSTER_HOST", "only the README names it: set LLMDBENCH_CLUSTER_URL"),
    part(
        "LLMDBENCH_VLLM_COMMON_AFFINITY",
        "nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3",
        Part::Affinity,
    ),
    part("LLMDBENCH_VLLM_COMMON_GPU_NR", "1", Part::Count),
    of(Standalone, "LLMDBENCH_VLLM_COMMON_GPU_MEM_UTIL", "0.95", Part::MemoryShare),
    of(Standalone, "LLMDBENCH_VLLM_COMMON_MAX_MODEL_LEN", "16384", Part::MaxModelLen),
    part("LLMDBENCH_VLLM_COMMON_PVC_STORAGE_CLASS", "ocs-storagecluster-cephfs", Part::ClaimClass),
    part("LLMDBENCH_VLLM_DEPLOYER_VALUES_FILE", "fromenv", Part::ValuesFile),
    of(LlmD, "LLMDBENCH_VLLM_DEPLOYER_PREFILL_REPLICAS", "1", Part::PrefillReplicas),
    of(LlmD, "LLMDBENCH_VLLM_DEPLOYER_DECODE_REPLICAS", "1", Part::Replicas),
    dropped("LLMDBENCH_VLLM_DEPLOYER_MODELSERVICE_REPLICAS", "Weir has no such controller"),
    dropped("LLMDBENCH_VLLM_DEPLOYER_ROUTE", ROUTE),
    of(LlmD, "LLMDBENCH_VLLM_DEPLOYER_EPP_ENABLE_PREFIX_AWARE_SCORER", "true", Part::PrefixScorer),
    of(LlmD, "LLMDBENCH_VLLM_DEPLOYER_EPP_PREFIX_AWARE_SCORER_WEIGHT", "2", Part::PrefixWeight),
    of(LlmD, "LLMDBENCH_VLLM_DEPLOYER_EPP_ENABLE_LOAD_AWARE_SCORER", "true", Part::LoadScorer),
    of(LlmD, "LLMDBENCH_VLLM_DEPLOYER_EPP_LOAD_AWARE_SCORER_WEIGHT", "1", Part::LoadWeight),
    of(LlmD, "LLMDBENCH_VLLM_DEPLOYER_EPP_ENABLE_KVCACHE_AWARE_SCORER", "false", Part::IndexScorer),
    of(LlmD, "LLMDBENCH_VLLM_DEPLOYER_EPP_KVCACHE_AWARE_SCORER_WEIGHT", "1", Part::IndexWeight),
    unsupported(
        "LLMDBENCH_VLLM_DEPLOYER_EPP_ENABLE_SESSION_AWARE_SCORER",
        "set it to false: Weir's pickers score prefixes and load",
    ),
    dropped("LLMDBENCH_VLLM_DEPLOYER_EPP_SESSION_AWARE_SCORER_WEIGHT", "its scorer is off"),
    unsupported("LLMDBENCH_VLLM_DEPLOYER_EPP_PD_ENABLED", NO_PREFILL),
    dropped("LLMDBENCH_VLLM_DEPLOYER_EPP_PD_PROMPT_LEN_THRESHOLD", "engines do both"),
    unsupported("LLMDBENCH_VLLM_DEPLOYER_EPP_PREFILL_ENABLE_*", NO_PREFILL),
    dropped("LLMDBENCH_VLLM_DEPLOYER_EPP_PREFILL_*", "it weighs a scorer that is off"),
    dead("LLMDBENCH_EPP_*", SCORERS),
    dead("LLMDBENCH_VLLM_P2P_*", "its method was gone"),
    dead("LLMDBENCH_VLLM_COMMON_PERSISTENCE_ENABLED", "the volume is always there"),
    dead("LLMDBENCH_FMPERF_EXPERIMENT_HARNESS", "one program was always started"),
    part("LLMDBENCH_FMPERF_EXPERIMENT_PROFILE", "sanity_short-input.yaml", Part::Profile),
    dropped("LLMDBENCH_FMPERF_EXPERIMENT_SKIP", "`weir report RUN` analyses without a load"),
    dropped("LLMDBENCH_FMPERF_*", HARNESS),
    part("LLMDBENCH_DEPLOY_MODEL_LIST", "llama-3b", Part::Model),
    part("LLMDBENCH_DEPLOY_METHODS", "deployer", Part::Methods),
    dropped("LLMDBENCH_DEPLOYER_*", BUILD),
];

/// Of both eras.
pub(super) const COMMON: &[Row] = &[
    part("LLMDBENCH_CLUSTER_URL", "auto", Part::Server),
    secret("LLMDBENCH_CLUSTER_TOKEN", "name a file as target.kubernetes.token_file"),
    secret("LLMDBENCH_HF_TOKEN", "the Secret of target.kubernetes.hf_secret has it"),
    part("LLMDBENCH_VLLM_COMMON_HF_TOKEN_NAME", "llm-d-hf-token", Part::SecretName),
    part("LLMDBENCH_VLLM_COMMON_HF_TOKEN_KEY", "HF_TOKEN", Part::SecretKey),
    part("LLMDBENCH_VLLM_COMMON_NAMESPACE", "llmdbench", Part::Namespace),
    part("LLMDBENCH_VLLM_COMMON_SERVICE_ACCOUNT", "default", Part::Account),
    of(Standalone, "LLMDBENCH_VLLM_COMMON_REPLICAS", "1", Part::Replicas),
    of(Standalone, "LLMDBENCH_VLLM_COMMON_CPU_NR", "4", Part::Cpu),
    of(Standalone, "LLMDBENCH_VLLM_COMMON_CPU_MEM", "40Gi", Part::Memory),
    part("LLMDBENCH_VLLM_COMMON_PVC_NAME", "model-pvc", Part::Claim),
    part("LLMDBENCH_VLLM_COMMON_PVC_MODEL_CACHE_SIZE", "300Gi", Part::ClaimSize),
    dropped("LLMDBENCH_VLLM_COMMON_PVC_DOWNLOAD_TIMEOUT", "engines download while they start"),
    dropped("LLMDBENCH_VLLM_COMMON_INFERENCE_PORT", "Weir's engines listen on 8000"),
    dropped("LLMDBENCH_VLLM_STANDALONE_PVC_MOUNTPOINT", "Weir mounts the volume at /models"),
    dropped("LLMDBENCH_VLLM_STANDALONE_ROUTE", ROUTE),
    dropped("LLMDBENCH_VLLM_STANDALONE_HTTPROUTE", ROUTE),
    of(Standalone, "LLMDBENCH_VLLM_STANDALONE_IMAGE", "vllm/vllm-openai:latest", Part::Image),
    dropped("LLMDBENCH_IMAGE_*", "Weir's own program takes its place"),
    open("LLMDBENCH_DEPLOY_SCENARIO", Part::Name),
    dropped("LLMDBENCH_CONTROL_WORK_DIR", "`weir run --out FOLDER` names the run folder"),
    dropped("LLMDBENCH_CONTROL_DRY_RUN", "`weir standup FILE -n` lists what would be applied"),
    part("LLMDBENCH_CONTROL_WAIT_TIMEOUT", "900", Part::StartTimeout),
    dropped("LLMDBENCH_CONTROL_CHECK_CLUSTER_AUTHORIZATIONS", "Weir always checks rights first"),
    dropped("LLMDBENCH_CONTROL_*", "it is of the scripts alone"),
    dropped("LLMDBENCH_USER_IS_ADMIN", "Weir asks the cluster for each right"),
];
