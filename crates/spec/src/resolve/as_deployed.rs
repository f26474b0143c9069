//! The plan of a load on an endpoint of which nothing is known but its URL: no arms are compared
//! and no mechanism is claimed, hence no capacities and no predictions either.

use std::collections::BTreeMap;
use std::path::PathBuf;

use weir_engine::{EngineConfig, TimingConfig};
use weir_model::{Accelerator, KernelFit, ModelShape, Nanos, Verdict};
use weir_router::{PolicyConfig, RouterConfig};
use weir_workload::WorkloadConfig;

use super::{
    EFFECTIVE_SHARE, cell_path, cell_seed, check_repeats, client, in_random_order, input, level,
    trace,
};
use crate::catalogue::models;
use crate::document::SloSection;
use crate::document::client::ClientSection;
use crate::document::load::LoadSection;
use crate::document::target::EndpointTarget;
use crate::error::SpecError;
use crate::plan::{
    Arm, ArmRole, Cell, Deployment, Hardware, Level, Origin, PLAN_FORMAT, Plan, PoolSize,
    Prediction, Prices, Processes, Slo,
};
use crate::prediction;

/// The word for what is not known of an endpoint.
const ENDPOINT: &str = "endpoint";
/// Most token ids that are drawn where nobody says: below the vocabulary of nearly all models, and
/// below the ids that stand for pictures and the like.
const SAFE_VOCABULARY: u32 = 32_000;

/// Tokens per block, vLLM's default.
const BLOCK: u32 = 16;

/// One of the workloads that a load asks.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedWorkload {
    /// Stands behind the names of its levels; empty where there is one workload.
    pub name: String,
    pub workload: WorkloadConfig,
}

/// What `weir load` was asked for.
#[derive(Debug, Clone)]
pub struct AsDeployed {
    pub name: String,
    pub endpoint: EndpointTarget,
    /// The name that the server gives the model.
    pub model: String,
    /// The longest sequence it takes, where it says.
    pub max_model_len: Option<u32>,
    /// Tokens that its GPU's pool holds, where it says.
    pub pool_tokens: Option<u64>,
    /// What is asked: each on all levels, which are named after it where there are several.
    pub workloads: Vec<NamedWorkload>,
    pub load: LoadSection,
    pub client: ClientSection,
    pub slo: SloSection,
    pub repeats: u32,
    pub seed: u64,
    /// Where relative paths start.
    pub base: PathBuf,
}

impl Plan {
    /// Plans a load on an endpoint as it is deployed.
    pub fn as_deployed(of: &AsDeployed) -> Result<Self, SpecError> {
        check_repeats(of.repeats)?;
        let max_model_len = of.max_model_len.unwrap_or(u32::MAX);
        let mut levels = Vec::new();
        for NamedWorkload { name, workload } in &of.workloads {
            for mut level in level::all(workload, &of.load, &of.base, max_model_len)? {
                level.name += name;
                levels.push(level);
            }
        }
        let mut deployments = vec![deployment(of, max_model_len, levels)];
        let traces = trace::read(&mut deployments)?;
        let mut plan = Self {
            format: PLAN_FORMAT,
            name: of.name.clone(),
            target: EndpointTarget { model: Some(of.model.clone()), ..of.endpoint.clone() }.into(),
            seed: of.seed,
            repeats: of.repeats,
            effective_share: EFFECTIVE_SHARE,
            slo: Slo::of(&of.slo),
            prices: Prices::default(),
            client: client::resolve(&of.client, &of.base)?,
            salt: None,
            inputs: BTreeMap::new(),
            traces,
            deployments,
            cells: Vec::new(),
            warnings: Vec::new(),
            origins: BTreeMap::from([("target".to_owned(), Origin::File)]),
        };
        plan.cells = cells(&plan)?;
        input::digests(&mut plan)?;
        input::locate(&mut plan);
        Ok(plan)
    }
}

fn cells(plan: &Plan) -> Result<Vec<Cell>, SpecError> {
    let deployment = &plan.deployments[0];
    let mut cells = Vec::new();
    for (index, level) in deployment.levels.iter().enumerate() {
        let seed = cell_seed(plan.seed, &level.name, 0);
        let regime = prediction::regime_as_deployed(deployment, level, seed)?;
        for repeat in 0..plan.repeats {
            cells.push(Cell {
                path: cell_path(deployment, 0, &level.name, repeat),
                deployment: 0,
                arm: 0,
                level: index,
                repeat,
                seed: cell_seed(plan.seed, &level.name, repeat),
                prediction: Prediction {
                    working_set: None,
                    regime,
                    longest_offer: None,
                    longest_reuse: None,
                    verdict: Verdict::Control,
                    remedy: None,
                },
            });
        }
    }
    in_random_order(plan, &mut cells);
    Ok(cells)
}

/// One arm on hardware of which nothing is known: sizes and constants are zero.
fn deployment(of: &AsDeployed, max_model_len: u32, levels: Vec<Level>) -> Deployment {
    let known = models::find(&of.model).map_or(SAFE_VOCABULARY, |model| model.vocabulary);
    let vocabulary = of.client.vocabulary.unwrap_or(known.min(SAFE_VOCABULARY));
    Deployment {
        model: model(&of.model, max_model_len, vocabulary),
        hardware: Hardware { name: ENDPOINT.to_owned(), count: 1, accelerator: accelerator() },
        label: ENDPOINT.to_owned(),
        tensor_parallel: 1,
        replicas: 1,
        vllm: "unknown".to_owned(),
        engine: EngineConfig {
            block_size: BLOCK,
            blocks: of
                .pool_tokens
                .map_or(0, |tokens| u32::try_from(tokens / u64::from(BLOCK)).unwrap_or(u32::MAX)),
            max_num_seqs: 0,
            max_num_batched_tokens: 0,
            max_model_len,
            prefix_caching: true,
            watermark: 0.0,
            kv_bytes_per_token: 0,
        },
        pool: PoolSize::Given,
        vllm_block_size: 16,
        timing: TimingConfig::Fixed { base: Nanos::ZERO, per_token: Nanos::ZERO },
        arms: vec![Arm {
            name: "as-deployed".to_owned(),
            preset: "as-deployed".to_owned(),
            role: ArmRole::AsDeployed,
            description: "Whatever the endpoint has".to_owned(),
            offload: None,
            store_access: None,
            store_measured_on: None,
            processes: Processes::default(),
            engine: None,
            routing: RouterConfig { policy: PolicyConfig::RoundRobin, seed: of.seed },
            routing_is_claim: false,
        }],
        levels,
    }
}

fn model(name: &str, context: u32, vocabulary: u32) -> ModelShape {
    ModelShape {
        name: name.to_owned(),
        layers: 0,
        hidden: 0,
        heads: 0,
        kv_heads: 0,
        head_dim: 0,
        intermediate: 0,
        vocabulary,
        context,
        weight_bytes: None,
        bytes_per_weight: 0.0,
        kv_bytes_per_element: 0,
        experts: None,
        latent: None,
        kv_layers: Vec::new(),
    }
}

fn accelerator() -> Accelerator {
    Accelerator {
        name: "unknown".to_owned(),
        memory_mib: 0,
        bf16_tflops: 0.0,
        memory_gb_per_s: 0.0,
        l2_mib: 0,
        host_link_gb_per_s: 0.0,
        fit: KernelFit {
            gemm_flops_share: 0.0,
            gemm_bandwidth_share: 0.0,
            gemm_fixed_us: 0.0,
            gemm_blend: 1.0,
            decode_bandwidth_share: 0.0,
            prefill_flops_share: 0.0,
            prefill_half_tokens: 0.0,
            all_reduce: Vec::new(),
        },
        calibrated: true,
    }
}
