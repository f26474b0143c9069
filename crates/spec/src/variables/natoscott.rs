//! natoscott/benchmarks, `llm-d-kvcache-offload-eval/scripts/run-benchmark.sh` (38330c1e): one run
//! of one arm. Its picker was GAIE 1.5.0, whose `prefix-cache-scorer` takes no parameters: whatever
//! index its configuration named, it routed by an approximate one.

use weir_model::quantity::Size;
use weir_model::{Bytes, Nanos};
use weir_workload::WorkloadConfig;
use weir_workload::config::{Count, Draw, Length, SharedPrefix};

use super::engine_arguments::{EngineArguments, Offload};
use super::settings::Settings;
use super::table::{Part, Row, dropped, open, part, unsupported};
use super::{accelerator, bare, images, model, plain_name, shell};
use crate::document::Spec;
use crate::document::arm::{ArmSection, StoreSection};
use crate::document::hardware::HardwareSection;
use crate::document::kubernetes::{KubernetesTarget, SecretKey};
use crate::document::load::LoadSection;
use crate::document::local::LmcacheMode;
use crate::document::written::{NameOr, OneOrMany};
use crate::resolve::is_secret_name;

const ADOPTED: &str = "Weir makes its own objects; `target: {endpoint: {url: ...}}` measures a \
                       deployment as it stands";

/// With the defaults of the script, which differ from its README's.
pub(super) const ROWS: &[Row] = &[
    open("KUBECONFIG", Part::Kubeconfig),
    part("NAMESPACE", "llm-d-pfc-cpu", Part::Namespace),
    part("MODEL", "Qwen/Qwen3-0.6B", Part::Model),
    dropped("MODEL_NAME", "it named folders, and Weir's have the model's own name"),
    part("TENSOR_PARALLEL_SIZE", "2", Part::TensorParallel),
    // As many as ranks.
    open("GPUS_PER_REPLICA", Part::Count),
    part("CURRENT_REPLICAS", "1", Part::Replicas),
    part("MAX_NUM_SEQ", "1024", Part::MaxSequences),
    part("GPU_MEMORY_UTILIZATION", "0.9", Part::MemoryShare),
    open("VLLM_EXTRA_ARGS", Part::ExtraArguments),
    open("VLLM_ENV_VARS", Part::EngineVariables),
    part("USE_LMCACHE_IMAGE", "false", Part::LmcacheImage),
    open("CONTAINER_IMAGE", Part::Image),
    unsupported(
        "VLLM_PRE_CMD",
        "build an image in which it has run, and name it in CONTAINER_IMAGE",
    ),
    dropped("MLFLOW_CONF", "Weir writes its own run folder"),
    part("EPP_BACKEND_CONFIG", "in-memory", Part::PickerBackend),
    dropped("EPP_CONFIGMAP", ADOPTED),
    dropped("EPP_DEPLOYMENT", ADOPTED),
    dropped("INFERENCE_DEPLOYMENT", ADOPTED),
    dropped("TARGET", ADOPTED),
    open("PARAMETERS", Part::ArmName),
    open("EXPERIMENT_NAME", Part::Name),
    part("HARDWARE", "1x2xL40S", Part::Hardware),
    dropped("SOFTWARE", "it named folders; Weir records the images that ran"),
    // The README has a default of 10, which the script does not apply.
    open("MAX_REQUESTS", Part::MaxRequests),
    dropped("SAMPLE_REQUESTS", "it chose how many requests the report lists, and limited none"),
    part("RATE", "1", Part::Rate),
    part("RATE_TYPE", "concurrent", Part::RateType),
    part("MAX_SECONDS", "30", Part::Duration),
    part("RANDOM_SEED", "889", Part::Seed),
    part("PROMPT_TOKENS", "128", Part::PromptTokens),
    part("OUTPUT_TOKENS", "128", Part::OutputTokens),
    part("PREFIX_TOKENS", "10000", Part::PrefixTokens),
    part("TURNS", "5", Part::Turns),
    part("PREFIX_COUNT", "2", Part::Prefixes),
];

/// What LMCache was asked for by variables of the engine.
#[derive(Debug, Default)]
struct LmcacheVariables {
    gib_per_rank: Option<f64>,
    chunk_tokens: Option<u32>,
    remote: Option<String>,
}

pub(super) fn spec(settings: &mut Settings) -> Spec {
    let ranks = settings.count(Part::TensorParallel).unwrap_or(1);
    let replicas = settings.count(Part::Replicas).unwrap_or(1);
    let workload = workload(settings);
    let load = load(settings);
    let arguments = arguments(settings);
    let mut spec = Spec::of("natoscott", workload, load);
    spec.engine = arguments.engine.clone();
    spec.engine.tensor_parallel.get_or_insert(OneOrMany(vec![ranks]));
    if let Some(share) = settings.read(Part::MemoryShare, "a share such as 0.9") {
        spec.engine.gpu_memory_utilization.get_or_insert(OneOrMany(vec![share]));
    }
    if let Some(most) = settings.count(Part::MaxSequences) {
        spec.engine.max_num_seqs.get_or_insert(most);
    }
    spec.models = vec![model(settings)];
    spec.replicas = replicas;
    spec.seed = settings.read(Part::Seed, "a whole number").unwrap_or(0);
    let count = settings.count(Part::Count).unwrap_or(ranks);
    spec.hardware = hardware(settings, count);
    let mut target = target(settings);
    spec.arms = arms(settings, arguments, ranks, replicas);
    images::put(settings, &mut spec, &mut target);
    if let Some(name) = settings.text(Part::Name) {
        spec.name = plain_name(&name);
    }
    spec.target = target.into();
    spec
}

fn target(settings: &mut Settings) -> KubernetesTarget {
    let kubeconfig = settings.text(Part::Kubeconfig).filter(|path| {
        // With several files the client reads the variable itself.
        !path.contains(':')
    });
    if kubeconfig.is_none() && settings.is_given(Part::Kubeconfig) {
        settings
            .remark(Part::Kubeconfig, "Of several files none is written: leave the variable set");
    }
    KubernetesTarget {
        kubeconfig,
        namespace: settings.text(Part::Namespace).unwrap_or_default(),
        // The scripts mount this Secret whatever is set.
        hf_secret: Some(SecretKey {
            name: "llm-d-hf-token".to_owned(),
            key: "HF_TOKEN".to_owned(),
        }),
        ..KubernetesTarget::default()
    }
}

/// `<nodes>x<GPUs>x<product>`.
fn hardware(settings: &mut Settings, count: u32) -> OneOrMany<NameOr<HardwareSection>> {
    let label = settings.text(Part::Hardware).unwrap_or_default();
    let product = label.rsplit('x').next().unwrap_or_default();
    let found = accelerator::hardware(product, count);
    if found.is_none() {
        settings.refuse(
            Part::Hardware,
            format!("the catalogue has no accelerator `{product}`"),
            "write for example `1x2xL40S` (`weir list hardware` prints the known ones)",
        );
    }
    OneOrMany(found.into_iter().collect())
}

fn workload(settings: &mut Settings) -> WorkloadConfig {
    let prefixes = settings.count(Part::Prefixes).unwrap_or(1);
    let users = match settings.text(Part::RateType).as_deref() {
        Some("concurrent") => settings.text(Part::Rate).and_then(|rate| rate.parse::<u32>().ok()),
        _ => None,
    };
    // The script that runs all sets twice its rate.
    let per_user = users.is_some_and(|users| users.checked_mul(2) == Some(prefixes));
    let tokens = |settings: &mut Settings, part| settings.count(part).unwrap_or(1);
    WorkloadConfig::SharedPrefix(SharedPrefix {
        prefixes: if per_user { Count::PerUser(2) } else { Count::Absolute(prefixes.into()) },
        draw: Draw::Uniform,
        prefix_tokens: settings.read(Part::PrefixTokens, "a number of tokens").unwrap_or(0),
        turns: tokens(settings, Part::Turns),
        prompt_tokens: Length::Fixed(tokens(settings, Part::PromptTokens)),
        output_tokens: Length::Fixed(tokens(settings, Part::OutputTokens)),
        think: Nanos::ZERO,
    })
}

fn load(settings: &mut Settings) -> LoadSection {
    let mut load = LoadSection {
        duration: super::seconds(settings, Part::Duration),
        max_requests: settings.read(Part::MaxRequests, "a number of requests"),
        ..LoadSection::default()
    };
    let kind = settings.text(Part::RateType).unwrap_or_default();
    match kind.as_str() {
        "synchronous" => {
            load.users = Some(OneOrMany(vec![1]));
            settings.without_effect(Part::Rate, "a synchronous load is one user");
        }
        "concurrent" => {
            load.users = Some(OneOrMany(list(settings, Part::Rate, "users, such as 1,50")));
        }
        "constant" | "poisson" => {
            let rates =
                Some(OneOrMany(list(settings, Part::Rate, "rates per second, such as 0.5,1")));
            settings.remark(Part::Rate, "A rate is of sessions in Weir, each with all its turns");
            if kind == "constant" { load.constant = rates } else { load.poisson = rates }
        }
        _ => settings.refuse(
            Part::RateType,
            "unsupported kind of load",
            "write `concurrent`, `constant`, `poisson` or `synchronous`",
        ),
    }
    load
}

fn list<T: std::str::FromStr>(settings: &mut Settings, part: Part, expected: &str) -> Vec<T> {
    let text = settings.text(part).unwrap_or_default();
    let values: Result<Vec<T>, _> = text.split(',').map(|one| one.trim().parse()).collect();
    values.unwrap_or_else(|_| {
        settings.refuse(part, format!("expected {expected}, and it is `{text}`"), "write numbers");
        Vec::new()
    })
}

/// Empty where the image of LMCache has its own command line.
fn arguments(settings: &mut Settings) -> EngineArguments {
    let lmcache = settings.is_on(Part::LmcacheImage);
    let Some(text) = settings.text(Part::ExtraArguments) else {
        return with_lmcache(EngineArguments::default(), lmcache);
    };
    if lmcache {
        let why = "USE_LMCACHE_IMAGE has a command line of its own, without it";
        settings.without_effect(Part::ExtraArguments, why);
        return with_lmcache(EngineArguments::default(), lmcache);
    }
    super::arguments(settings, Part::ExtraArguments, shell::words(&text))
}

fn with_lmcache(mut arguments: EngineArguments, is_on: bool) -> EngineArguments {
    if is_on {
        arguments.offload = Some(Offload::Lmcache);
    }
    arguments
}

/// The arm that ran, behind the controls that it needs.
fn arms(
    settings: &mut Settings,
    arguments: EngineArguments,
    ranks: u32,
    replicas: u32,
) -> Vec<NameOr<ArmSection>> {
    let is_lmcache = arguments.offload == Some(Offload::Lmcache);
    let mut arm = ArmSection { vllm_args: arguments.rest, ..ArmSection::default() };
    let variables = variables(settings, &mut arm, is_lmcache);
    match arguments.offload {
        None => {}
        Some(Offload::Native { bytes, chunk_tokens }) => {
            arm.preset = Some("native-offload".to_owned());
            arm.bytes = Some(bytes);
            arm.chunk_tokens = chunk_tokens;
        }
        Some(Offload::Files { chunk_tokens }) => {
            arm.preset = Some("native-fs".to_owned());
            arm.chunk_tokens = chunk_tokens;
            settings.remark(
                Part::ExtraArguments,
                "Its file system was a plug-in's; Weir's native-fs is vLLM's own, and never empties",
            );
        }
        Some(Offload::Lmcache) => lmcache(&mut arm, variables, ranks),
    }
    let offloads = arm.preset.is_some();
    routing(settings, &mut arm, replicas);
    if let Some(name) = settings.text(Part::ArmName) {
        let name = plain_name(&name);
        if ["no-offload", "llm-d-random"].contains(&name.as_str()) && arm.preset.is_some() {
            settings.refuse(
                Part::ArmName,
                "it is the name of a control",
                "name the arm after its parts",
            );
        }
        arm.name = Some(name);
    }
    let mut arms = Vec::new();
    if offloads {
        arms.push("no-offload".into());
    }
    let routed = arm.routing.is_some() || !offloads && arm.preset.is_some();
    if routed {
        arms.push("llm-d-random".into());
    }
    arm.preset.get_or_insert_with(|| "no-offload".to_owned());
    arms.push(bare(arm));
    arms
}

/// What really routed, where there was something to choose or it was asked for.
fn routing(settings: &mut Settings, arm: &mut ArmSection, replicas: u32) {
    let preset = match settings.text(Part::PickerBackend).as_deref() {
        Some("in-memory") => {
            let remark = "What ran was an approximate index, as in llm-d-approx";
            settings.remark(Part::PickerBackend, remark);
            let is_choice = replicas > 1;
            if !is_choice && (arm.preset.is_some() || !settings.is_given(Part::PickerBackend)) {
                settings.remark(Part::PickerBackend, "With one replica it had nothing to choose");
                return;
            }
            "llm-d-approx"
        }
        Some(backend @ ("redis" | "valkey")) => {
            settings.remark(
                Part::PickerBackend,
                "The picker ignored it and routed by an approximate index (llm-d-approx): written \
                 is the arm that it claimed to be",
            );
            if backend == "redis" { "llm-d-redis" } else { "llm-d-valkey" }
        }
        _ => {
            let remedy = "write `in-memory`, `redis` or `valkey`";
            settings.refuse(Part::PickerBackend, "unknown backend", remedy);
            return;
        }
    };
    match arm.preset {
        Some(_) => arm.routing = Some(preset.into()),
        None => arm.preset = Some(preset.to_owned()),
    }
}

/// Carries the variables that are not keys of the arm.
fn variables(settings: &mut Settings, arm: &mut ArmSection, is_lmcache: bool) -> LmcacheVariables {
    let mut lmcache = LmcacheVariables::default();
    let text = settings.text(Part::EngineVariables).unwrap_or_default();
    let mut idle = Vec::new();
    for pair in text.split_whitespace() {
        let Some((name, value)) = pair.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            let problem = "it holds a word that is not NAME=value";
            settings.refuse(Part::EngineVariables, problem, "write `NAME=value NAME=value`");
            continue;
        };
        let is_login = value.contains("://") && value.contains('@');
        if is_secret_name(name) || is_login && name != "LMCACHE_REMOTE_URL" {
            let remark = format!("The value of {name} is not written: name a Secret");
            settings.remark(Part::EngineVariables, remark);
            continue;
        }
        if name.starts_with("LMCACHE_") && !is_lmcache {
            idle.push(name);
            continue;
        }
        let is_read = match name {
            "LMCACHE_MAX_LOCAL_CPU_SIZE" => {
                lmcache.gib_per_rank = value.parse().ok().filter(|gib: &f64| *gib >= 0.0);
                lmcache.gib_per_rank.is_some()
            }
            "LMCACHE_CHUNK_SIZE" => {
                lmcache.chunk_tokens = value.parse().ok();
                lmcache.chunk_tokens.is_some()
            }
            "LMCACHE_REMOTE_URL" => {
                lmcache.remote = Some(value.to_owned());
                !value.contains('@')
            }
            _ => {
                arm.env.insert(name.to_owned(), value.to_owned());
                true
            }
        };
        if !is_read {
            let remedy = if name == "LMCACHE_REMOTE_URL" {
                "leave the password out, and write it into a file for `store.password_file`"
            } else {
                "write a number"
            };
            settings.refuse(
                Part::EngineVariables,
                format!("the value of {name} is unsupported"),
                remedy,
            );
        }
    }
    if !idle.is_empty() {
        let remark = format!("Without LMCache's connector these did nothing: {}", idle.join(", "));
        settings.remark(Part::EngineVariables, remark);
    }
    lmcache
}

fn lmcache(arm: &mut ArmSection, variables: LmcacheVariables, ranks: u32) {
    arm.lmcache_mode = Some(LmcacheMode::InProcess);
    arm.chunk_tokens = variables.chunk_tokens;
    // LMCache takes GiB for each rank, whatever its documentation says.
    let bytes = |gib: f64| Bytes((gib * Bytes::GIB as f64) as u64 * u64::from(ranks));
    arm.bytes = variables.gib_per_rank.map(|gib| Size::Bytes(bytes(gib)));
    let Some(remote) = variables.remote else {
        arm.preset = Some("lmcache-local".to_owned());
        return;
    };
    let (scheme, place) = remote.split_once("://").unwrap_or(("redis", &remote));
    let named = |product: &str| scheme == product || place.contains(product);
    let product = if named("valkey") {
        "valkey"
    } else if named("kvrocks") || place.ends_with(":6666") {
        "kvrocks"
    } else {
        "redis"
    };
    arm.preset = Some(format!("lmcache-{product}"));
    arm.store =
        Some(StoreSection { address: Some(format!("redis://{place}")), ..StoreSection::default() });
}
