//! A small synthetic run: one model, five arms, three levels, three repeats, with each kind of
//! verdict. Figures follow simple formulas, for expectations by hand.

use std::collections::BTreeMap;

use weir_engine::{EngineConfig, TimingConfig};
use weir_model::accelerator::KernelFit;
use weir_model::{
    Accelerator, Bytes, CheckSetup, ModelShape, Nanos, OffloadReason, OverheadReason, Remedy,
    RoutingReason, SignalKind, Signals, TokenShare, Verdict, VoidReason,
};
use weir_record::{CellFigures, CellRecord, CellStatus, Distribution, Evidence, GuideLlmFigures};
use weir_report::results::{CellResult, Provenance, Results};
use weir_router::{PolicyConfig, RouterConfig};
use weir_spec::plan::{
    Arm, ArmRole, Cell, Deployment, Hardware, Level, LevelLoad, Origin, PLAN_FORMAT, Plan,
    Prediction, Prices, Regime, Slo, Target,
};
use weir_workload::WorkloadConfig;
use weir_workload::config::{OverContext, TimeUnit, TraceFile, TraceFormat};

/// Figures of the void arm, which no average may contain.
pub(crate) const ABSURD: f64 = 9.0e9;

pub(crate) const USERS: [u32; 3] = [1, 50, 300];

pub(crate) fn arm(name: &str, role: ArmRole) -> Arm {
    Arm {
        name: name.to_owned(),
        preset: name.to_owned(),
        role,
        description: format!("{name} of the fixture"),
        store_access: None,
        store_measured_on: None,
        processes: weir_spec::plan::Processes::default(),
        offload: None,
        engine: None,
        routing: RouterConfig { policy: PolicyConfig::LeastLoaded, seed: 1 },
        routing_is_claim: name.starts_with("llm-d"),
    }
}

pub(crate) fn level(users: u32) -> Level {
    let trace = TraceFile {
        format: TraceFormat::Mooncake,
        block_tokens: Some(512),
        time_unit: Some(TimeUnit::Ms),
        path: "trace.jsonl".to_owned(),
        limit: None,
        over_context: OverContext::Skip,
    };
    Level {
        name: format!("c{users}"),
        load: LevelLoad::Users(users),
        workload: WorkloadConfig::Trace(trace),
        duration: Some(Nanos::from_secs(120)),
        warmup: Nanos::from_secs(20),
        ramp: Nanos::ZERO,
        max_requests: None,
    }
}

pub(crate) fn deployment() -> Deployment {
    Deployment {
        model: ModelShape {
            name: "Qwen/Qwen3-8B".to_owned(),
            layers: 36,
            hidden: 4096,
            heads: 32,
            kv_heads: 8,
            head_dim: 128,
            intermediate: 12288,
            vocabulary: 151936,
            context: 40960,
            weight_bytes: Some(Bytes(16_400_000_000)),
            bytes_per_weight: 2.0,
            kv_bytes_per_element: 2,
            experts: None,
            latent: None,
            kv_layers: Vec::new(),
        },
        hardware: Hardware { name: "2x-l40s".to_owned(), count: 2, accelerator: accelerator() },
        label: "2x-l40s".to_owned(),
        tensor_parallel: 2,
        replicas: 1,
        vllm: "0.11.2".to_owned(),
        engine: EngineConfig {
            block_size: 16,
            blocks: 30_000,
            max_num_seqs: 1024,
            max_num_batched_tokens: 8192,
            max_model_len: 40960,
            prefix_caching: true,
            watermark: 0.0,
            kv_bytes_per_token: 147_456,
        },
        pool: weir_spec::plan::PoolSize::Given,
        vllm_block_size: 16,
        timing: TimingConfig::Fixed { base: Nanos::from_millis(5), per_token: Nanos(1000) },
        arms: vec![
            arm("no-offload", ArmRole::Control),
            arm("no-offload-aa", ArmRole::ControlAgain),
            arm("native-offload", ArmRole::Treatment),
            arm("lmcache-redis", ArmRole::Treatment),
            arm("llm-d-approx", ArmRole::Treatment),
        ],
        levels: USERS.map(level).to_vec(),
    }
}

fn accelerator() -> Accelerator {
    Accelerator {
        name: "l40s".to_owned(),
        memory_mib: 46_068,
        bf16_tflops: 362.0,
        memory_gb_per_s: 864.0,
        l2_mib: 96,
        host_link_gb_per_s: 24.0,
        fit: KernelFit {
            gemm_flops_share: 0.7,
            gemm_bandwidth_share: 0.8,
            gemm_fixed_us: 5.0,
            gemm_blend: 2.0,
            decode_bandwidth_share: 0.7,
            prefill_flops_share: 0.5,
            prefill_half_tokens: 256.0,
            all_reduce: Vec::new(),
        },
        calibrated: true,
    }
}

pub(crate) fn plan() -> Plan {
    plan_of(deployment(), 3)
}

pub(crate) fn plan_of(deployment: Deployment, repeats: u32) -> Plan {
    let mut cells = Vec::new();
    for repeat in 0..repeats {
        for (level_at, level) in deployment.levels.iter().enumerate() {
            for (arm_at, arm) in deployment.arms.iter().enumerate() {
                cells.push(Cell {
                    path: format!("Qwen3-8B/2x-l40s/{}/{}/{repeat}", arm.name, level.name),
                    deployment: 0,
                    arm: arm_at,
                    level: level_at,
                    repeat,
                    seed: 1000 + u64::from(repeat),
                    prediction: prediction(&arm.name, level_at),
                });
            }
        }
    }
    Plan {
        format: PLAN_FORMAT,
        name: "fixture".to_owned(),
        target: Target::Simulated,
        seed: 889,
        repeats,
        effective_share: 0.1,
        slo: Slo::default(),
        prices: Prices { gpu_hour: Some(1.9), currency: "USD".to_owned(), ..Prices::default() },
        client: weir_spec::plan::ClientOptions::default(),
        salt: None,
        inputs: BTreeMap::new(),
        traces: Vec::new(),
        deployments: vec![deployment],
        cells,
        warnings: vec!["lmcache-redis: the store is smaller than the GPU pool".to_owned()],
        origins: BTreeMap::from([
            ("seed".to_owned(), Origin::Set("seed=889".to_owned())),
            ("repeats".to_owned(), Origin::File),
            ("engine.block_size".to_owned(), Origin::Default),
        ]),
    }
}

fn prediction(arm: &str, level: usize) -> Prediction {
    let remedy = match arm {
        "llm-d-approx" => Some(Remedy::AddReplicas),
        "lmcache-redis" => Some(Remedy::Check(CheckSetup::StoreAddress)),
        _ => None,
    };
    let regime = if level == 0 { Regime::FitsGpu } else { Regime::FitsTier };
    Prediction {
        working_set: Some(Bytes::from_gib(40)),
        regime,
        longest_offer: None,
        longest_reuse: None,
        verdict: verdict(arm, level),
        remedy,
    }
}

pub(crate) fn verdict(arm: &str, level: usize) -> Verdict {
    match (arm, level) {
        ("native-offload", 0) => Verdict::OverheadOnly(OverheadReason::FitsGpu),
        ("native-offload", _) => Verdict::Effective,
        ("lmcache-redis", _) => Verdict::Void(VoidReason::NoOperation),
        ("llm-d-approx", _) => Verdict::Void(VoidReason::NoChoice),
        _ => Verdict::Control,
    }
}

/// Output throughput: by level 100, 2000 and 2400 tok/s, 1 % more per repeat; native offload
/// loses 2 % at c1, gains 10 % at c50 and 25 % at c300.
pub(crate) fn throughput(arm: &str, level: usize, repeat: u32) -> f64 {
    let base = [100.0, 2000.0, 2400.0][level.min(2)] * (1.0 + 0.01 * f64::from(repeat));
    match arm {
        "native-offload" => base * [0.98, 1.10, 1.25][level.min(2)],
        "lmcache-redis" | "llm-d-approx" => ABSURD,
        _ => base,
    }
}

fn around(mean: f64) -> Distribution {
    Distribution {
        count: 1000,
        mean,
        stddev: mean * 0.1,
        min: mean * 0.5,
        p50: mean * 0.95,
        p90: mean * 1.3,
        p95: mean * 1.5,
        p99: mean * 1.9,
        max: mean * 2.5,
    }
}

pub(crate) fn figures(arm: &str, level: usize, repeat: u32) -> CellFigures {
    let tokens = throughput(arm, level, repeat);
    let users = f64::from(USERS[level.min(2)]);
    let e2e = users / tokens * 128.0 * 1e3;
    let ttft = e2e * if arm == "native-offload" && level > 0 { 0.2 } else { 0.4 };
    let tpot = (e2e - ttft) / 127.0;
    let external = if arm == "native-offload" { [0.0, 40.0, 60.0][level.min(2)] } else { 0.0 };
    CellFigures {
        window_s: 100.0,
        measured: (tokens / 128.0 * 100.0) as u64,
        completed: (tokens / 128.0 * 100.0) as u64,
        output_tokens_per_s: Some(tokens),
        failed_output_tokens_per_s: Some(0.0),
        completed_output_tokens_per_s: Some(tokens * 0.99),
        per_request_output_tokens_per_s: Some(tokens * 1.05),
        prompt_tokens_per_s: Some(tokens * 10.0),
        requests_per_s: Some(tokens / 128.0),
        ttft_ms: around(ttft),
        tpot_ms: around(tpot),
        itl_ms: around(tpot * 0.98),
        e2e_ms: around(e2e),
        guidellm: GuideLlmFigures {
            output_tokens_per_s: Some(tokens),
            ttft_ms: around(ttft),
            tpot_ms: around(e2e / 128.0),
            itl_ms: around(tpot * 0.98),
        },
        mean_in_flight: users,
        goodput_requests_per_s: Some(tokens / 128.0 * 0.9),
        goodput_share: Some(0.98),
        gpu_hit_percent: Some([95.0, 50.0, 20.0][level.min(2)]),
        external_hit_percent: Some(external),
        cost_per_million_output_tokens: Some(2.0 * 1.9 / 3600.0 / tokens * 1e6),
        passes: 10_000,
        ..CellFigures::default()
    }
}

pub(crate) fn evidence(arm: &str, level: usize) -> Evidence {
    let mut signals = Signals::default();
    if arm == "native-offload" {
        signals.add(SignalKind::LoadedBytes, 1.0e11 * level as f64, "simulator");
        signals.add(SignalKind::StoredBytes, 2.0e11, "simulator");
    }
    Evidence {
        signals,
        facts: weir_model::RunningFacts::default(),
        verdict: verdict(arm, level),
        predicted: true,
        claims: Vec::new(),
        reason: Some(match arm {
            "llm-d-approx" => RoutingReason::OneReplica.into(),
            _ => OffloadReason::Served(TokenShare { part: 1.0, whole: 1.0 }).into(),
        }),
        other_half: None,
        remedy: (arm == "llm-d-approx").then_some(Remedy::AddReplicas),
        notes: Vec::new(),
        short_window: None,
    }
}

pub(crate) fn result(plan: &Plan, cell: usize) -> CellResult {
    let at = &plan.cells[cell];
    let arm = &plan.deployments[at.deployment].arms[at.arm].name;
    CellResult { evidence: Some(evidence(arm, at.level)), ..result_of(plan, cell) }
}

pub(crate) fn result_of(plan: &Plan, cell: usize) -> CellResult {
    let at = &plan.cells[cell];
    let arm = &plan.deployments[at.deployment].arms[at.arm].name;
    CellResult {
        cell,
        record: CellRecord {
            path: at.path.clone(),
            status: CellStatus::Complete,
            figures: figures(arm, at.level, at.repeat),
            files: BTreeMap::new(),
            attempts: 1,
        },
        evidence: None,
        throughput_batches: Vec::new(),
        answers: None,
        unlike: Vec::new(),
        corrupt: None,
        inexact: Vec::new(),
    }
}

pub(crate) fn results(plan: &Plan) -> Results<'_> {
    Results {
        plan,
        provenance: Provenance {
            run: "fixture-run".to_owned(),
            plan_hash: "c0ffee00c0ffee00".to_owned(),
            versions: BTreeMap::from([("weir".to_owned(), "0.1.0".to_owned())]),
        },
        cells: (0..plan.cells.len()).map(|cell| result(plan, cell)).collect(),
    }
}
