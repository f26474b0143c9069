//! llm-d/llm-d-benchmark, `setup/env.sh` and its scenario files.

mod may_2025;
mod v0_5;

use weir_model::Nanos;
use weir_model::quantity::Size;
use weir_router::config::ScorerWeights;
use weir_workload::WorkloadConfig;
use weir_workload::config::{Count, Draw, Length, SharedPrefix};

use super::engine_arguments::{EngineArguments, Offload};
use super::harness_profile::HarnessProfile;
use super::settings::{Given, Settings};
use super::table::{Method, Part};
use super::{accelerator, bare, images, model, plain_name, shell};
use crate::document::Spec;
use crate::document::arm::ArmSection;
use crate::document::hardware::HardwareSection;
use crate::document::kubernetes::{KubernetesTarget, ModelVolume, SecretKey};
use crate::document::load::LoadSection;
use crate::document::local::LmcacheMode;
use crate::document::routing::RoutingSection;
use crate::document::written::{NameOr, OneOrMany};

pub(super) use may_2025::ROWS as MAY_2025;
pub(super) use v0_5::ROWS as V0_5;

const METHODS: &str = "LLMDBENCH_DEPLOY_METHODS";
/// Between words of arguments, which the scripts turn into spaces.
const BETWEEN_WORDS: &str = "____";
/// Before the name of a variable, in arguments.
const VALUE_OF: &str = "REPLACE_ENV_";

/// Which variables the scripts look at. Both eras' default is a kind of llm-d.
pub(super) fn method(given: &[Given]) -> Method {
    let text = given.iter().rev().find(|of| of.name == METHODS).map(|of| of.value.text.as_str());
    if text == Some("standalone") { Method::Standalone } else { Method::LlmD }
}

pub(super) fn spec(
    settings: &mut Settings,
    method: Method,
    profile: Option<&HarnessProfile>,
) -> Spec {
    let (workload, load) = load(settings, profile);
    let count = settings.count(Part::Count).unwrap_or(1);
    let arguments = arguments(settings, method);
    let mut spec = Spec::of("llmdbench", workload, load);
    spec.engine = arguments.engine.clone();
    // Where arguments are given, the scripts have no others.
    if method == Method::Standalone && !settings.is_given(Part::Arguments) {
        let engine = &mut spec.engine;
        engine.max_model_len = settings.count(Part::MaxModelLen);
        engine.block_size = settings.count(Part::BlockSize);
        engine.max_num_seqs = settings.count(Part::MaxSequences);
        engine.max_num_batched_tokens = settings.count(Part::BatchedTokens);
        let share = settings.read(Part::MemoryShare, "a share such as 0.9");
        engine.gpu_memory_utilization = share.map(|share| OneOrMany(vec![share]));
    }
    let ranks = settings.count(Part::TensorParallel).unwrap_or(count);
    spec.engine.tensor_parallel.get_or_insert(OneOrMany(vec![ranks]));
    spec.models = vec![model(settings)];
    spec.replicas = settings.count(Part::Replicas).unwrap_or(1);
    let mut target = target(settings);
    spec.hardware = hardware(settings, &mut target, count);
    spec.arms = arms(settings, method, arguments, &mut target);
    images::put(settings, &mut spec, &mut target);
    if let Some(name) = settings.text(Part::Name) {
        let name = name.rsplit('/').next().unwrap_or_default();
        spec.name = plain_name(name.trim_end_matches(".sh"));
    }
    spec.target = target.into();
    spec
}

fn target(settings: &mut Settings) -> KubernetesTarget {
    let mut target = KubernetesTarget {
        namespace: settings.text(Part::Namespace).unwrap_or_default(),
        create_namespace: true,
        service_account: settings.text(Part::Account),
        cpu: settings.count(Part::Cpu).unwrap_or(8),
        hf_secret: settings.text(Part::SecretName).map(|name| SecretKey {
            name,
            key: settings.text(Part::SecretKey).unwrap_or_else(|| "HF_TOKEN".to_owned()),
        }),
        ..KubernetesTarget::default()
    };
    target.memory = size(settings, Part::Memory);
    if let Some(limit) = super::seconds(settings, Part::StartTimeout) {
        target.start_timeout = limit;
    }
    if let Some(resource) = settings.text(Part::Resource).filter(|resource| resource != "auto") {
        target.gpu_resource = resource;
    }
    target.model_volume = settings.text(Part::Claim).map(|claim| ModelVolume {
        claim,
        path: None,
        size: size(settings, Part::ClaimSize),
        class: settings.text(Part::ClaimClass).filter(|class| class != "default"),
    });
    server(settings, &mut target);
    target
}

fn server(settings: &mut Settings, target: &mut KubernetesTarget) {
    let Some(url) = settings.text(Part::Server).filter(|url| url != "auto") else { return };
    if url.contains('@') {
        settings.refuse(Part::Server, "it holds a login, which would be written", "leave it out");
        return;
    }
    let has_port = url.rsplit(':').next().is_some_and(|end| end.parse::<u16>().is_ok());
    // As the scripts add it.
    target.server =
        Some(if has_port { url } else { format!("{}:6443", url.trim_end_matches('/')) });
    target.token_file = Some("cluster-token".to_owned());
    settings.remark(
        Part::Server,
        "Write its token into the file `cluster-token` beside the experiment",
    );
}

/// Kubernetes writes `Gi` for GiB.
fn size(settings: &mut Settings, part: Part) -> Option<Size> {
    let text = settings.text(part)?;
    let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
    let long = if has_unit && !text.ends_with('B') { format!("{text}B") } else { text };
    let size = long.parse().ok().filter(|size| matches!(size, Size::Bytes(_)));
    if size.is_none() {
        settings.refuse(part, "expected a size", "write for example `40Gi`");
    }
    size
}

/// `<label>:<product>`.
fn hardware(
    settings: &mut Settings,
    target: &mut KubernetesTarget,
    count: u32,
) -> OneOrMany<NameOr<HardwareSection>> {
    let text = settings.text(Part::Affinity).unwrap_or_default();
    let (label, product) = text.split_once(':').unwrap_or(("", &text));
    let found = accelerator::hardware(product, count);
    if found.is_none() || label.is_empty() {
        settings.refuse(
            Part::Affinity,
            "expected the label of nodes with an accelerator of the catalogue",
            "write for example `nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3`",
        );
        return OneOrMany::default();
    }
    if accelerator::is_slice(product) {
        settings.remark(
            Part::Affinity,
            "Predictions take a slice's memory and the compute of the whole accelerator",
        );
    }
    target.node_selector.insert(label.to_owned(), product.to_owned());
    OneOrMany(found.into_iter().collect())
}

fn load(
    settings: &mut Settings,
    profile: Option<&HarnessProfile>,
) -> (WorkloadConfig, LoadSection) {
    let name = settings.text(Part::Profile).unwrap_or_default();
    let found = profile.cloned().or_else(|| HarnessProfile::named(&name));
    let Some(found) = found else {
        let remedy = "name its file with `--profile FILE`";
        settings.refuse(Part::Profile, "this profile is not known by its name", remedy);
        let nothing = SharedPrefix {
            prefixes: Count::Absolute(1),
            draw: Draw::Uniform,
            prefix_tokens: 0,
            turns: 1,
            prompt_tokens: Length::Fixed(1),
            output_tokens: Length::Fixed(1),
            think: Nanos::ZERO,
        };
        return (WorkloadConfig::SharedPrefix(nothing), LoadSection::default());
    };
    for remark in found.remarks {
        settings.remark(Part::Profile, remark);
    }
    (found.workload, found.load)
}

/// With the values of the variables that they name.
fn arguments(settings: &mut Settings, method: Method) -> EngineArguments {
    let Some(text) = settings.text(Part::Arguments) else { return EngineArguments::default() };
    let line = text.trim().trim_start_matches('[').trim_end_matches(']');
    let line = line.replace(BETWEEN_WORDS, " ");
    let mut named = Vec::new();
    let words = shell::words(&line).map(|words| {
        let mut words = words;
        for word in &mut words {
            for (variable, part) in v0_5::IN_ARGUMENTS {
                let reference = format!("{VALUE_OF}{variable}");
                if word.text.contains(&reference) {
                    named.push(*part);
                    let value = settings.text(*part).unwrap_or_default();
                    word.text = word.text.replace(&reference, &value);
                }
            }
        }
        let serve = words.iter().position(|word| word.text == "serve");
        // Behind `vllm serve MODEL`, and without what runs before it.
        serve.map_or(words.clone(), |at| words.split_off((at + 2).min(words.len())))
    });
    let is_by_default = method == Method::Standalone && !settings.is_given(Part::Arguments);
    let sizes = [Part::CpuBlocks, Part::CpuBytes];
    for (_, part) in v0_5::IN_ARGUMENTS {
        let of_pod = [Part::TensorParallel, Part::Count].contains(part);
        let is_read = of_pod || named.contains(part) || is_by_default && !sizes.contains(part);
        if !is_read {
            settings.without_effect(*part, "no argument names it");
        }
    }
    super::arguments(settings, Part::Arguments, words)
}

/// The arm that ran, behind its control.
fn arms(
    settings: &mut Settings,
    method: Method,
    arguments: EngineArguments,
    target: &mut KubernetesTarget,
) -> Vec<NameOr<ArmSection>> {
    target.vllm_args = arguments.rest;
    let known = ["standalone", "deployer", "modelservice"];
    if settings.text(Part::Methods).is_some_and(|method| !known.contains(&method.as_str())) {
        let remedy = "write `standalone`, `deployer` or `modelservice`";
        settings.refuse(Part::Methods, "expected one method of deployment", remedy);
    }
    let mut arm = match arguments.offload {
        Some(Offload::Native { bytes, chunk_tokens }) => {
            let bytes = Some(bytes);
            ArmSection { bytes, chunk_tokens, ..preset("native-offload") }
        }
        Some(Offload::Files { chunk_tokens }) => ArmSection { chunk_tokens, ..preset("native-fs") },
        Some(Offload::Lmcache) => {
            let lmcache_mode = Some(LmcacheMode::InProcess);
            ArmSection { lmcache_mode, ..preset("lmcache-local") }
        }
        None => ArmSection::default(),
    };
    let mut arms: Vec<NameOr<ArmSection>> = Vec::new();
    if method == Method::Standalone {
        arms.push("no-offload".into());
        if arm.preset.is_some() {
            arms.push(bare(arm));
        }
        return arms;
    }
    if arm.preset.is_some() {
        arms.push("no-offload".into());
    }
    arms.push("llm-d-random".into());
    let (name, routing) = routing(settings);
    if arm.preset.is_none() {
        arm.preset = Some(name.to_owned());
        arm.routing = routing;
    } else {
        arm.routing = Some(routing.unwrap_or_else(|| name.into()));
    }
    arms.push(bare(arm));
    arms
}

fn preset(name: &str) -> ArmSection {
    ArmSection { preset: Some(name.to_owned()), ..ArmSection::default() }
}

/// The picker's preset, with weights where the variables have them.
fn routing(settings: &mut Settings) -> (&'static str, Option<NameOr<RoutingSection>>) {
    if settings.text(Part::ValuesFile).is_some_and(|file| file != "fromenv") {
        let remedy = "write `fromenv`, or the file's values as variables";
        settings.refuse(Part::ValuesFile, "files of values are not read", remedy);
    }
    if settings.text(Part::Plugins).is_some_and(|file| file != "default-plugins.yaml") {
        settings.refuse(
            Part::Plugins,
            "only the picker's own configuration is known by its name",
            "leave it out, and name the file as the arm's `picker_config`",
        );
    }
    if settings
        .read::<u32>(Part::PrefillReplicas, "a number of engines")
        .is_some_and(|many| many > 0)
    {
        settings.remark(
            Part::PrefillReplicas,
            "Weir has no engines for prefill alone: those for decode do both",
        );
    }
    if settings.text(Part::PrefixScorer).is_none() {
        return ("llm-d-approx", None);
    }
    let weight = |settings: &mut Settings, switch, weight| {
        let is_on = settings.is_on(switch);
        let weight: Option<f64> = settings.read(weight, "a weight such as 1");
        if is_on { weight.unwrap_or(0.0) } else { 0.0 }
    };
    let approximate = weight(settings, Part::PrefixScorer, Part::PrefixWeight);
    let queue = weight(settings, Part::LoadScorer, Part::LoadWeight);
    let precise = weight(settings, Part::IndexScorer, Part::IndexWeight);
    settings.remark(
        Part::LoadWeight,
        "It scored the load by another formula than today's queue scorer",
    );
    let (name, policy, prefix) = if precise > 0.0 {
        if approximate > 0.0 {
            let remark = "A precise index takes its place: Weir has one prefix scorer";
            settings.remark(Part::PrefixWeight, remark);
        }
        ("llm-d-redis", "llm-d-redis", precise)
    } else {
        ("llm-d-approx", "approximate-prefix", approximate)
    };
    let weights = ScorerWeights { queue, kv_usage: 0.0, prefix, no_hit_lru: 0.0 };
    let section = RoutingSection {
        policy: policy.to_owned(),
        weights: Some(weights),
        normalization: None,
        scrape_interval: None,
        block_tokens: None,
        lru_blocks_per_replica: None,
        max_prefix_tokens: None,
        index: None,
    };
    (name, Some(NameOr::Map(section)))
}
