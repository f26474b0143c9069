use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use weir_engine::timing::{Timing, TimingModel};
use weir_http::TlsConfig;
use weir_model::Bytes;
use weir_model::quantity::Span;
use weir_probe::against::REPEATS;
use weir_probe::config::DEFAULT_WORKING_SET;
use weir_probe::report::{ModelFacts, Recompute};
use weir_probe::{
    BlockSize, ConfigLines, PointLimits, ProbeConfig, ProbeTarget, SubjectOptions, Trace, Work,
    WorkingSet,
};
use weir_spec::catalogue::{hugging_face, models};
use weir_spec::size::break_even_gb_per_s;
use weir_spec::{Experiment, Plan};
use weir_workload::WorkloadConfig;
use weir_workload::config::{Draw, OverContext, TraceFile, TraceFormat};
use weir_workload::trace::reading::TraceReading;

use crate::cli::{AgainstArgs, ProbeArgs};
use crate::exit::Mistake;
use crate::planned::minimal;

/// LMCache's chunk.
const CHUNK_TOKENS: u32 = 256;
/// Without a model.
const BLOCK: Bytes = Bytes(2 << 20);
/// Of a point in one repeat.
const DURATION: Duration = Duration::from_secs(1);
/// With a trace, whose hit rate needs its length.
const TRACE_DURATION: Duration = Duration::from_secs(10);

/// The checked arguments.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) target: ProbeTarget,
    pub(super) config: ProbeConfig,
    pub(super) options: SubjectOptions,
    pub(super) traces: Vec<(BlockSize, Trace)>,
    pub(super) reading: Option<TraceReading>,
    pub(super) model: Option<ModelFacts>,
    pub(super) recompute: Option<Recompute>,
}

/// Lists of the flags, with those of `--sweep`.
#[derive(Default)]
struct Lists {
    threads: Vec<u32>,
    depth: Vec<u32>,
    chunk_tokens: Vec<u32>,
    block: Vec<String>,
    mix: Vec<String>,
}

/// The probe, or with `against` the other side of the comparison.
pub(super) fn asked(args: &ProbeArgs, against: Option<&str>) -> anyhow::Result<Asked> {
    let target = ProbeTarget::parse(against.unwrap_or(&args.target))?;
    let mut lists = lists(args)?;
    if against.is_some() {
        lists.of_b(&args.against);
    }
    let model = args.blocks.model.as_deref().map(model).transpose()?;
    let reading = reading(args)?;
    // With a trace: one of its hash ids per block.
    let chunk = reading.as_ref().map_or(CHUNK_TOKENS, |reading| reading.block_tokens);
    let mut blocks = blocks(&lists, model.as_ref(), chunk)?;
    if args.against.against.is_none() {
        // Lists of two sides are pairs, in which one value may repeat.
        blocks = each_once(blocks);
    }
    let working_set = args.keys.working_set.as_deref().map(working_set).transpose()?;
    let overflows = matches!(working_set, Some(WorkingSet::Capacities(times)) if times > 1.0);
    let is_trace = args.keys.trace.is_some();
    let config = ProbeConfig {
        blocks,
        threads: each_once(or_default(lists.threads, &[1, 4])),
        depths: each_once(or_default(lists.depth, &[1, 8])),
        works: each_once(works(&lists.mix, is_trace, overflows)?),
        working_set: working_set.unwrap_or(WorkingSet::Bytes(Bytes(DEFAULT_WORKING_SET))),
        draw: draw(args)?,
        limits: limits(args, if is_trace { TRACE_DURATION } else { DURATION }),
        repeats: repeats(args),
        deadline: time(args.points.deadline),
        verify: args.points.verify,
        pin: args.points.pin,
        seed: args.keys.seed,
    };
    config.check()?;
    let options = SubjectOptions {
        capacity: match &args.keys.capacity {
            Some(text) => capacity(text, &config.blocks)?,
            None => default_capacity(&target, &config),
        },
        stored: SubjectOptions::default_capacity(&config),
        connections: args.points.connections,
        checksums: args.points.checksums,
        tls: TlsConfig { ca_file: args.points.ca_file.clone(), insecure: args.points.insecure },
        eviction: args.keys.eviction,
        deadline: config.deadline,
        lines: match against {
            None => ConfigLines { text: args.against.set_a.clone(), flag: "set-a", side: "A" },
            Some(_) => ConfigLines { text: args.against.set_b.clone(), flag: "set-b", side: "B" },
        },
        page_cache: args.caches.page_cache && has_page_cache(&target),
        cold: args.caches.cold && memory(&target).is_none(),
    };
    check_caches(args)?;
    let traces = traces(reading.as_ref(), args.keys.requests, &config)?;
    let recompute = recompute(args)?;
    Ok(Asked { target, config, options, traces, reading, model, recompute })
}

const fn has_page_cache(target: &ProbeTarget) -> bool {
    matches!(target, ProbeTarget::Disk(_))
}

/// Name of a target that keeps its blocks in memory.
fn memory(target: &ProbeTarget) -> Option<&'static str> {
    match target {
        ProbeTarget::Memory => Some("memory"),
        ProbeTarget::Started(product) if product.traits().keeps_in_memory => Some(product.name()),
        _ => None,
    }
}

/// Only files have a page cache; of two sides, one must have it.
fn check_caches(args: &ProbeArgs) -> anyhow::Result<()> {
    let words = [Some(&args.target), args.against.against.as_ref()];
    let targets = words.into_iter().flatten().map(|word| ProbeTarget::parse(word));
    let targets: Vec<ProbeTarget> = targets.collect::<Result<_, _>>()?;
    if args.caches.page_cache && !targets.iter().any(has_page_cache) {
        let why = "--page-cache: only a tier in a folder has one, such as disk:/mnt/nvme/kv";
        return Err(Mistake(why.to_owned()).into());
    }
    let memories: Vec<&str> = targets.iter().filter_map(memory).collect();
    if args.caches.cold && memories.len() == targets.len() {
        let why = format!(
            "--cold: {} keeps blocks in memory, where nothing comes from a device; leave it out, \
             or probe a folder or a store on a disk",
            memories.join(" as well as ")
        );
        return Err(Mistake(why).into());
    }
    Ok(())
}

/// Stores need more room than their values: allocators round values of a few MiB up by as much as
/// a quarter.
fn default_capacity(target: &ProbeTarget, config: &ProbeConfig) -> Bytes {
    let bytes = SubjectOptions::default_capacity(config);
    match target {
        ProbeTarget::Started(_) => Bytes(bytes.0.saturating_add(bytes.0 / 2)),
        _ => bytes,
    }
}

/// Of a point, or of a point of either side.
fn repeats(args: &ProbeArgs) -> u32 {
    let default = if args.against.against.is_some() { REPEATS } else { 3 };
    args.points.repeats.unwrap_or(default)
}

impl Lists {
    /// The sizes of the second side, where it has its own.
    fn of_b(&mut self, args: &AgainstArgs) {
        if !args.block_b.is_empty() {
            (self.block, self.chunk_tokens) = (args.block_b.clone(), Vec::new());
        }
        if !args.chunk_tokens_b.is_empty() {
            (self.block, self.chunk_tokens) = (Vec::new(), args.chunk_tokens_b.clone());
        }
    }
}

fn or_default(list: Vec<u32>, default: &[u32]) -> Vec<u32> {
    if list.is_empty() { default.to_vec() } else { list }
}

fn limits(args: &ProbeArgs, default: Duration) -> PointLimits {
    PointLimits {
        duration: args.points.duration.map_or(default, time),
        warmup: time(args.points.warmup),
        operations: args.points.operations,
    }
}

/// A repeated point is measured once.
fn each_once<T: PartialEq>(list: Vec<T>) -> Vec<T> {
    let mut kept = Vec::with_capacity(list.len());
    for value in list {
        if !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept
}

/// At least one block of each size: a tier without that room takes nothing.
fn capacity(text: &str, blocks: &[BlockSize]) -> anyhow::Result<Bytes> {
    let capacity: Bytes = number("--capacity", text)?;
    let largest = blocks.iter().map(|block| block.bytes).max().unwrap_or_default();
    if capacity < largest {
        let why = format!(
            "--capacity: {capacity} is less than one block of {largest}; give at least that, or \
             take smaller blocks"
        );
        return Err(Mistake(why).into());
    }
    Ok(capacity)
}

/// With those of `--sweep`; a key given twice is an error.
fn lists(args: &ProbeArgs) -> anyhow::Result<Lists> {
    let mut lists = Lists {
        threads: args.points.threads.clone(),
        depth: args.points.depth.clone(),
        chunk_tokens: args.blocks.chunk_tokens.clone(),
        block: args.blocks.block.clone(),
        mix: args.points.mix.clone(),
    };
    for sweep in &args.points.sweep {
        let flag = format!("--sweep {sweep}");
        let (key, values) = sweep
            .split_once('=')
            .filter(|(_, values)| !values.is_empty())
            .ok_or_else(|| Mistake(format!("{flag}: write for example `threads=1,2,4`")))?;
        let values: Vec<&str> = values.split(',').map(str::trim).collect();
        match key.trim() {
            "threads" => extend(&mut lists.threads, &values, &flag)?,
            "depth" => extend(&mut lists.depth, &values, &flag)?,
            "chunk-tokens" => extend(&mut lists.chunk_tokens, &values, &flag)?,
            "block" => extend(&mut lists.block, &values, &flag)?,
            "mix" => extend(&mut lists.mix, &values, &flag)?,
            other => {
                return Err(Mistake(format!(
                    "{flag}: `{other}` is not swept; write threads, depth, block, chunk-tokens or \
                     mix"
                ))
                .into());
            }
        }
    }
    Ok(lists)
}

fn extend<T: FromStr>(list: &mut Vec<T>, values: &[&str], flag: &str) -> anyhow::Result<()> {
    if !list.is_empty() {
        return Err(Mistake(format!("{flag}: the list is given twice; keep one of them")).into());
    }
    for value in values {
        let read = value.parse();
        list.push(read.map_err(|_| Mistake(format!("{flag}: unsupported value `{value}`")))?);
    }
    Ok(())
}

fn model(name: &str) -> anyhow::Result<ModelFacts> {
    let is_file = Path::new(name).extension().is_some_and(|end| end == "json");
    let shape = if is_file {
        hugging_face::read(Path::new(name))?.shape
    } else {
        models::find(name).ok_or_else(|| {
            Mistake(format!("--model {name}: not known; `weir list models` prints the known ones"))
        })?
    };
    let kv_bytes_per_token = shape.kv_bytes_per_token();
    Ok(ModelFacts { name: shape.name, kv_bytes_per_token })
}

fn blocks(
    lists: &Lists,
    model: Option<&ModelFacts>,
    chunk_tokens: u32,
) -> anyhow::Result<Vec<BlockSize>> {
    let per_token = model.map(|model| model.kv_bytes_per_token.0.max(1));
    if !lists.block.is_empty() {
        if !lists.chunk_tokens.is_empty() {
            let why = "block and chunk-tokens both say how large blocks are; keep one of them";
            return Err(Mistake(why.to_owned()).into());
        }
        let size = |text: &String| {
            let bytes: Bytes = number("--block", text)?;
            // A size that is no whole number of tokens has none.
            let tokens = per_token.filter(|per| bytes.0.is_multiple_of(*per));
            Ok(BlockSize { bytes, tokens: tokens.map(|per| (bytes.0 / per) as u32) })
        };
        return lists.block.iter().map(size).collect();
    }
    let Some(per_token) = per_token else {
        return if lists.chunk_tokens.is_empty() {
            Ok(vec![BlockSize { bytes: BLOCK, tokens: None }])
        } else {
            let why = "chunk-tokens: tokens have bytes only with --model; name one";
            Err(Mistake(why.to_owned()).into())
        };
    };
    let tokens = or_default(lists.chunk_tokens.clone(), &[chunk_tokens]);
    if tokens.contains(&0) {
        return Err(Mistake("--chunk-tokens 0: a block has at least one token".to_owned()).into());
    }
    let size = |tokens: u32| BlockSize {
        bytes: Bytes(per_token.saturating_mul(u64::from(tokens))),
        tokens: Some(tokens),
    };
    Ok(tokens.into_iter().map(size).collect())
}

fn works(mix: &[String], is_trace: bool, overflows: bool) -> anyhow::Result<Vec<Work>> {
    if is_trace {
        return match mix {
            [] => Ok(vec![Work::Engine]),
            [one] if one == "engine" => Ok(vec![Work::Engine]),
            _ => {
                let why = "--mix: a trace is played as an engine does; leave --mix out";
                Err(Mistake(why.to_owned()).into())
            }
        };
    }
    if mix.is_empty() {
        let default = if overflows { Work::Engine } else { Work::Read };
        return Ok(vec![Work::Write, default]);
    }
    let one = |text: &String| match text.as_str() {
        "write" => Ok(Work::Write),
        "read" => Ok(Work::Read),
        "engine" => Ok(Work::Engine),
        number => match number.trim_end_matches('%').parse::<f64>() {
            Ok(percent) if percent > 0.0 && percent < 100.0 => Ok(Work::Mixed(percent / 100.0)),
            _ => Err(Mistake(format!(
                "--mix {number}: write `write`, `read`, `engine` or the percent that reads, such \
                 as `70`"
            ))
            .into()),
        },
    };
    mix.iter().map(one).collect()
}

fn draw(args: &ProbeArgs) -> anyhow::Result<Draw> {
    match args.keys.zipf {
        None => Ok(Draw::Uniform),
        Some(exponent) if exponent > 0.0 && exponent <= 100.0 => Ok(Draw::Zipf { exponent }),
        Some(other) => {
            Err(Mistake(format!("--zipf {other}: write a number above 0, for example 1.1")).into())
        }
    }
}

fn working_set(text: &str) -> anyhow::Result<WorkingSet> {
    let refused = || {
        Mistake(format!(
            "--working-set {text}: write a size such as `512MiB`, a number such as `4000 blocks`, \
             or a multiple of the tier's capacity such as `2x`"
        ))
    };
    if let Some(times) = text.trim().strip_suffix('x') {
        let times: f64 = times.trim().parse().map_err(|_| refused())?;
        let is_some = times > 0.0 && times <= 1000.0;
        return if is_some { Ok(WorkingSet::Capacities(times)) } else { Err(refused().into()) };
    }
    if let Some(blocks) = text.trim().strip_suffix("blocks") {
        let blocks: u64 = blocks.trim().parse().map_err(|_| refused())?;
        return if blocks > 0 { Ok(WorkingSet::Blocks(blocks)) } else { Err(refused().into()) };
    }
    Ok(WorkingSet::Bytes(text.parse().map_err(|_| refused())?))
}

/// Without its times.
fn reading(args: &ProbeArgs) -> anyhow::Result<Option<TraceReading>> {
    let keys = &args.keys;
    let Some(path) = &keys.trace else { return Ok(None) };
    let file = TraceFile {
        format: TraceFormat::Mooncake,
        path: path.display().to_string(),
        block_tokens: keys.trace_block_tokens,
        time_unit: None,
        limit: keys.requests,
        over_context: OverContext::Reject,
    };
    WorkloadConfig::Trace(file.clone()).validate()?;
    Ok(TraceReading::of(&file, Path::new(""), false)?)
}

fn traces(
    reading: Option<&TraceReading>,
    requests: Option<u64>,
    config: &ProbeConfig,
) -> anyhow::Result<Vec<(BlockSize, Trace)>> {
    let Some(reading) = reading else { return Ok(Vec::new()) };
    let mut traces = Vec::new();
    for block in &config.blocks {
        if let Some(tokens) = block.tokens {
            traces.push((*block, Trace::read(reading, tokens, requests)?));
        }
    }
    Ok(traces)
}

/// Time to compute a prefix, by the simulator's timing model.
fn recompute(args: &ProbeArgs) -> anyhow::Result<Option<Recompute>> {
    let (Some(model), Some(hardware)) = (&args.blocks.model, &args.blocks.hardware) else {
        return Ok(None);
    };
    if args.blocks.prefix == 0 {
        return Err(Mistake("--prefix 0: a prefix has at least one token".to_owned()).into());
    }
    let spec = minimal(model, hardware, args.blocks.tp, &["no-offload"]);
    let plan = Plan::resolve(&Experiment::of(spec))?;
    let Some(deployment) = plan.deployments.first() else { return Ok(None) };
    let mut timing = Timing::new(&deployment.timing)?;
    let budget = deployment.engine.max_num_batched_tokens;
    let compute = timing.prefill_time(args.blocks.prefix, 0, budget);
    let bytes = Bytes(deployment.engine.kv_bytes_per_token) * u64::from(args.blocks.prefix);
    Ok(Some(Recompute {
        hardware: deployment.label.clone(),
        tensor_parallel: deployment.tensor_parallel,
        prefix_tokens: args.blocks.prefix,
        compute_s: compute.as_secs_f64(),
        break_even_gb_per_s: break_even_gb_per_s(bytes, compute),
    }))
}

const fn time(span: Span) -> Duration {
    Duration::from_nanos(span.0.0)
}

fn number<T: FromStr<Err = weir_model::units::UnitError>>(
    flag: &str,
    text: &str,
) -> anyhow::Result<T> {
    Ok(text.parse().map_err(|error| Mistake(format!("{flag}: {error}")))?)
}
