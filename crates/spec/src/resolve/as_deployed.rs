//! The plan of a load on an endpoint of which only the URL is known: no comparison, no claimed
//! mechanism, hence no capacities and no predictions. In a file it is `arms: [as-deployed]` on
//! `hardware: endpoint`, as `weir load` records it.

use std::collections::{BTreeMap, BTreeSet};

use weir_engine::{EngineConfig, TimingConfig};
use weir_model::{Accelerator, KernelFit, ModelShape, Nanos, TierKind, Verdict};
use weir_router::{PolicyConfig, RouterConfig};
use weir_workload::WorkloadConfig;
use weir_workload::config::{Count, Length, SharedPrefix};

use super::{
    EFFECTIVE_SHARE, cell_path, cell_seed, client, in_random_order, input, level, target, trace,
};
use crate::catalogue::models;
use crate::document::engine::EngineSection;
use crate::document::target::{EndpointTarget, LiveTarget, Target};
use crate::document::written::NameOr;
use crate::document::{PriceSection, Spec, VerdictSection};
use crate::error::SpecError;
use crate::experiment::Experiment;
use crate::plan::{
    Arm, ArmRole, Cell, Deployment, Hardware, Level, Origin, PLAN_FORMAT, Plan, PoolSize,
    Prediction, Prices, Processes, Slo,
};
use crate::prediction;

pub const ARM: &str = "as-deployed";
pub const ENDPOINT: &str = "endpoint";
/// Default number of token ids: below the vocabulary of nearly all models, and below the ids of
/// pictures and other special content.
const SAFE_VOCABULARY: u32 = 32_000;
/// vLLM's default.
const BLOCK: u32 = 16;
/// Of a GPU's cache.
const MOST_TIMES: f64 = 1000.0;

struct Deployed<'a> {
    spec: &'a Spec,
    model: &'a str,
    endpoint: &'a EndpointTarget,
    /// None where the endpoint does not report it.
    max_model_len: Option<u32>,
    /// None where the endpoint does not report it.
    pool_tokens: Option<u64>,
}

pub(super) fn is_meant(spec: &Spec) -> bool {
    spec.arms.iter().any(|arm| matches!(arm, NameOr::Name(name) if name == ARM))
}

pub(super) fn resolve(experiment: &Experiment) -> Result<Plan, SpecError> {
    let spec = &experiment.spec;
    let of = known(experiment)?;
    let longest = of.max_model_len.unwrap_or(u32::MAX);
    let mut levels = Vec::new();
    for (suffix, workload) in workloads(&of)? {
        for mut level in level::all(&workload, &spec.load, &experiment.base, longest)? {
            level.name += &suffix;
            levels.push(level);
        }
    }
    let mut deployments = vec![deployment(&of, longest, levels)];
    let traces = trace::read(&mut deployments)?;
    let mut origins = experiment.origins.clone();
    origins.extend(experiment.limits.keys().map(|key| (key.to_owned(), Origin::Endpoint)));
    let mut plan = Plan {
        format: PLAN_FORMAT,
        name: spec.name.clone(),
        target: EndpointTarget {
            model: Some(of.endpoint.model.as_deref().unwrap_or(of.model).to_owned()),
            ..target::located(of.endpoint, &experiment.base)
        }
        .into(),
        seed: spec.seed,
        repeats: spec.repeats,
        effective_share: EFFECTIVE_SHARE,
        slo: Slo::of(&spec.slo),
        prices: Prices::default(),
        client: client::resolve(&spec.client, &experiment.base)?,
        salt: None,
        inputs: BTreeMap::new(),
        traces,
        deployments,
        cells: Vec::new(),
        warnings: Vec::new(),
        origins,
    };
    plan.cells = cells(&plan)?;
    input::digests(&mut plan)?;
    input::locate(&mut plan);
    Ok(plan)
}

/// Refuses keys about a deployment that cannot be known.
fn known(experiment: &Experiment) -> Result<Deployed<'_>, SpecError> {
    let spec = &experiment.spec;
    let Target::Live(LiveTarget::Endpoint(endpoint)) = &spec.target else {
        let remedy = "write `target: {endpoint: {url: http://host:8000}}`";
        return Err(SpecError::value("target", "only an endpoint is deployed already", remedy));
    };
    if endpoint.url.0.is_empty() {
        let remedy = "write `target: {endpoint: {url: http://host:8000}}`";
        return Err(SpecError::value("target.endpoint.url", "no URL", remedy));
    }
    target::check_urls(endpoint)?;
    let [NameOr::Name(model)] = spec.models.as_slice() else {
        let problem = "an endpoint is asked for one model, by its name";
        return Err(SpecError::value("models", problem, "write the name that the server gives it"));
    };
    if !matches!(spec.hardware.0.as_slice(), [NameOr::Name(name)] if name == ENDPOINT) {
        let problem = format!("the hardware of `{ARM}` is not known");
        return Err(SpecError::value("hardware", problem, format!("write `{ENDPOINT}`")));
    }
    let engine = EngineSection { max_model_len: None, kv_tokens: None, ..spec.engine.clone() };
    let said = [
        ("arms", spec.arms.len() > 1),
        ("target.endpoint.arms", !endpoint.arms.is_empty()),
        ("replicas", spec.replicas != 1),
        ("engine", engine != EngineSection::default()),
        ("equal_resources", spec.equal_resources.is_some()),
        ("routing", spec.routing.is_some()),
        ("overrides", !spec.overrides.is_empty()),
        ("prices", spec.prices != PriceSection::default()),
        ("verdict", spec.verdict != VerdictSection::default()),
    ];
    if let Some((key, _)) = said.into_iter().find(|(_, is_said)| *is_said) {
        let problem = format!("nothing is compared beside `{ARM}`, and nothing is known of it");
        let remedy = "remove it; of `engine`, `max_model_len` and `kv_tokens` may be given";
        return Err(SpecError::value(key, problem, remedy));
    }
    let limits = &experiment.limits;
    Ok(Deployed {
        spec,
        model,
        endpoint,
        max_model_len: limits.max_model_len.or(spec.engine.max_model_len),
        pool_tokens: limits.kv_tokens.or(spec.engine.kv_tokens),
    })
}

/// One workload per working set. The first part is a suffix for the names of levels, empty where
/// there is one workload.
fn workloads(of: &Deployed<'_>) -> Result<Vec<(String, WorkloadConfig)>, SpecError> {
    let workload = &of.spec.workload;
    let Some(sets) = &of.spec.working_sets else {
        return Ok(vec![(String::new(), sized(workload, of)?)]);
    };
    let WorkloadConfig::SharedPrefix(shared) = workload else {
        let remedy = "remove it, or write `workload: {shared-prefix: ...}`";
        return Err(SpecError::value("working_sets", "the workload shares no prefixes", remedy));
    };
    check_sets(&sets.0, shared)?;
    let named = |times: f64| if sets.0.len() > 1 { format!("-ws{times}") } else { String::new() };
    let one = |times: &f64| {
        let set = WorkloadConfig::SharedPrefix(in_set(shared, *times));
        Ok((named(*times), sized(&set, of)?))
    };
    sets.0.iter().map(one).collect()
}

/// Enough prefixes for so many times the GPU's cache. Prompts without a shared prefix keep their
/// length.
fn in_set(of: &SharedPrefix, times: f64) -> SharedPrefix {
    if times > 0.0 {
        return SharedPrefix { prefixes: Count::Times(times, TierKind::Gpu), ..of.clone() };
    }
    let own = of.prompt_tokens.largest().saturating_add(of.prefix_tokens);
    let (prefixes, prompt_tokens) = (Count::Absolute(1), Length::Fixed(own));
    SharedPrefix { prefixes, prefix_tokens: 0, prompt_tokens, ..of.clone() }
}

fn check_sets(sets: &[f64], of: &SharedPrefix) -> Result<(), SpecError> {
    let key = "working_sets";
    let most =
        format!("write multiples of the GPU cache from 0 to {MOST_TIMES}, such as [0, 0.5, 3]");
    if let Some(times) = sets.iter().find(|times| !(0.0..=MOST_TIMES).contains(*times)) {
        return Err(SpecError::value(key, format!("{times} is out of range"), most));
    }
    if sets.is_empty() {
        return Err(SpecError::value(key, "the list is empty", most));
    }
    let mut seen = BTreeSet::new();
    if let Some(times) = sets.iter().find(|times| !seen.insert(times.to_bits())) {
        return Err(SpecError::value(key, format!("{times} is given twice"), "remove one"));
    }
    if of.prefix_tokens == 0 {
        let remedy = "give them one, for example `prefix_tokens: 4000`";
        return Err(SpecError::value(key, "prompts share no prefix", remedy));
    }
    Ok(())
}

/// Resolves multiples of the GPU's cache with the server's reported pool.
fn sized(workload: &WorkloadConfig, of: &Deployed<'_>) -> Result<WorkloadConfig, SpecError> {
    if workload.is_sized_by_a_tier() && of.pool_tokens.is_none() {
        let problem = format!(
            "{} does not say how much its GPU cache holds (vllm:cache_config_info at /metrics)",
            of.endpoint.url.0[0]
        );
        let remedy = "write a plain number of prefixes";
        return Err(SpecError::value(workload.key(), problem, remedy));
    }
    Ok(workload.resolve_capacity(|tier| of.pool_tokens.filter(|_| tier == TierKind::Gpu))?)
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

/// Sizes and constants of the unknown hardware are zero.
fn deployment(of: &Deployed<'_>, max_model_len: u32, levels: Vec<Level>) -> Deployment {
    let known = models::find(of.model).map_or(SAFE_VOCABULARY, |model| model.vocabulary);
    let vocabulary = of.spec.client.vocabulary.unwrap_or(known.min(SAFE_VOCABULARY));
    Deployment {
        model: model(of.model, max_model_len, vocabulary),
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
        vllm_block_size: BLOCK,
        timing: TimingConfig::Fixed { base: Nanos::ZERO, per_token: Nanos::ZERO },
        arms: vec![Arm {
            name: ARM.to_owned(),
            preset: ARM.to_owned(),
            role: ArmRole::AsDeployed,
            description: "Whatever the endpoint has".to_owned(),
            offload: None,
            store_access: None,
            store_measured_on: None,
            processes: Processes::default(),
            engine: None,
            routing: RouterConfig { policy: PolicyConfig::RoundRobin, seed: of.spec.seed },
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
