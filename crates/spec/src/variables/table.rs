//! What a variable of other scripts is for.

/// A variable of one era.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// With a `*` at its end, all that begin so and have no row of their own.
    pub(super) name: &'static str,
    /// What the scripts take where it is not set.
    pub(super) default: Option<&'static str>,
    pub(super) becomes: Becomes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Becomes {
    Part(Part),
    /// Only one method of deployment reads it.
    Of(Method, Part),
    /// Its value is never looked at; why, and what to do.
    Secret(&'static str),
    /// Weir has no use for it, and why.
    Dropped(&'static str),
    /// Nothing in the scripts read it, and what did.
    Dead(&'static str),
    /// What Weir cannot do: refused unless it is off. The text is the remedy.
    Unsupported(&'static str),
}

/// Of llm-d-benchmark's `LLMDBENCH_DEPLOY_METHODS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Standalone,
    LlmD,
}

impl Method {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Standalone => "the standalone method",
            Self::LlmD => "the llm-d method",
        }
    }
}

macro_rules! parts {
    ($($name:ident => $key:literal,)*) => {
        /// A part of the experiment that a variable sets.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Part { $($name,)* }

        impl Part {
            /// Its key in the experiment file.
            pub(super) const fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }
        }
    };
}

parts! {
    // Of both.
    Namespace => "target.kubernetes.namespace",
    Model => "models",
    TensorParallel => "engine.tensor_parallel",
    Count => "hardware",
    Replicas => "replicas",
    MemoryShare => "engine.gpu_memory_utilization",
    MaxSequences => "engine.max_num_seqs",
    Image => "target.kubernetes.images.vllm",
    Name => "name",
    // Of natoscott's scripts.
    Kubeconfig => "target.kubernetes.kubeconfig",
    Hardware => "hardware",
    ArmName => "arms",
    ExtraArguments => "arms",
    EngineVariables => "arms",
    LmcacheImage => "arms",
    PickerBackend => "arms",
    MaxRequests => "load.max_requests",
    Rate => "load",
    RateType => "load",
    Duration => "load.duration",
    Seed => "seed",
    PromptTokens => "workload.shared-prefix.prompt_tokens",
    OutputTokens => "workload.shared-prefix.output_tokens",
    PrefixTokens => "workload.shared-prefix.prefix_tokens",
    Turns => "workload.shared-prefix.turns",
    Prefixes => "workload.shared-prefix.prefixes",
    // Of llm-d-benchmark.
    Server => "target.kubernetes.server",
    SecretName => "target.kubernetes.hf_secret.name",
    SecretKey => "target.kubernetes.hf_secret.key",
    Account => "target.kubernetes.service_account",
    Affinity => "target.kubernetes.node_selector, hardware",
    Resource => "target.kubernetes.gpu_resource",
    Cpu => "target.kubernetes.cpu",
    Memory => "target.kubernetes.memory",
    MaxModelLen => "engine.max_model_len",
    BlockSize => "engine.block_size",
    BatchedTokens => "engine.max_num_batched_tokens",
    CpuBlocks => "arms",
    CpuBytes => "arms",
    Claim => "target.kubernetes.model_volume.claim",
    ClaimClass => "target.kubernetes.model_volume.class",
    ClaimSize => "target.kubernetes.model_volume.size",
    Arguments => "engine, target.kubernetes.vllm_args",
    ValuesFile => "arms",
    PrefillReplicas => "replicas",
    Plugins => "arms",
    PrefixScorer => "arms",
    PrefixWeight => "arms.llm-d-approx.routing.weights.prefix",
    LoadScorer => "arms",
    LoadWeight => "arms.llm-d-approx.routing.weights.queue",
    IndexScorer => "arms",
    IndexWeight => "arms.llm-d-redis.routing.weights.prefix",
    Profile => "workload, load",
    Methods => "arms",
    StartTimeout => "target.kubernetes.start_timeout",
}

pub(super) const fn part(name: &'static str, default: &'static str, part: Part) -> Row {
    Row { name, default: Some(default), becomes: Becomes::Part(part) }
}

/// Without a default.
pub(super) const fn open(name: &'static str, part: Part) -> Row {
    Row { name, default: None, becomes: Becomes::Part(part) }
}

pub(super) const fn of(
    method: Method,
    name: &'static str,
    default: &'static str,
    part: Part,
) -> Row {
    Row { name, default: Some(default), becomes: Becomes::Of(method, part) }
}

pub(super) const fn dropped(name: &'static str, why: &'static str) -> Row {
    Row { name, default: None, becomes: Becomes::Dropped(why) }
}

pub(super) const fn dead(name: &'static str, why: &'static str) -> Row {
    Row { name, default: None, becomes: Becomes::Dead(why) }
}

pub(super) const fn secret(name: &'static str, what: &'static str) -> Row {
    Row { name, default: None, becomes: Becomes::Secret(what) }
}

pub(super) const fn unsupported(name: &'static str, remedy: &'static str) -> Row {
    Row { name, default: None, becomes: Becomes::Unsupported(remedy) }
}

/// The row of a variable: its own, else the first that its name begins like.
pub(super) fn find<'a>(rows: &[&'a [Row]], name: &str) -> Option<&'a Row> {
    let all = || rows.iter().flat_map(|rows| rows.iter());
    let begins = |row: &&Row| row.name.strip_suffix('*').is_some_and(|of| name.starts_with(of));
    all().find(|row| row.name == name).or_else(|| all().find(begins))
}
