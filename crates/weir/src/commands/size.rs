//! `weir size`: the arithmetic behind an experiment, for one model on one kind of hardware.

use std::fmt::Write;

use anyhow::Context;
use weir_engine::timing::{Timing, TimingModel};
use weir_model::Nanos;
use weir_report::tables::{Table, text};
use weir_spec::kv_pool::PoolRule;
use weir_spec::kv_pool::offloaded::OffloadedRule;
use weir_spec::plan::{Arm, Deployment, Plan, Prices};
use weir_spec::size::{Sizes, TierSize, sizes};
use weir_spec::{Experiment, SpecError};

use crate::cli::SizeArgs;
use crate::exit::{Exit, Mistake};
use crate::planned::minimal;
use crate::printer::Printer;

pub(crate) fn run(args: &SizeArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    if args.prefix == 0 {
        return Err(Mistake("--prefix 0: a prefix has at least one token".to_owned()).into());
    }
    let (plan, obstacle) = planned(args)?;
    let deployment = plan.deployments.first().context("a plan has a deployment")?;
    let prefill = prefill(deployment, args.prefix)?;
    let of_arm = |arm| sizes(deployment, arm, args.prefix, prefill, &plan.prices);
    let first = deployment.arms.first().context("a plan has an arm")?;
    let mut out = format!(
        "{} on {}, TP {}\n",
        deployment.model.name, deployment.label, deployment.tensor_parallel
    );
    out += &facts(deployment, &of_arm(first), prefill, obstacle.as_ref());
    let asked = |name: &str| args.arms.iter().any(|arm| arm == name);
    for arm in &deployment.arms {
        let sizes = of_arm(arm);
        if sizes.tiers.is_empty() {
            if asked(&arm.name) {
                let _ = writeln!(
                    out,
                    "\n{}: keeps KV on the GPU alone ({})",
                    arm.name, arm.description
                );
            }
            continue;
        }
        out.push('\n');
        out += &text(&tier_table(&arm.name, &sizes, prefill, &plan.prices));
        out += &kept(deployment, arm, &sizes);
    }
    if let Some(warning) = too_long(args.prefix, deployment) {
        printer.note(&warning);
    }
    match &obstacle {
        Some(obstacle) => printer.note(&format!("warning: {obstacle}")),
        None => {
            for warning in &plan.warnings {
                printer.note(&format!("warning: {warning}"));
            }
        }
    }
    printer.result(&out)?;
    Ok(Exit::Done)
}

/// The plan, and the error that keeps the engine from starting: the other figures hold.
fn planned(args: &SizeArgs) -> anyhow::Result<(Plan, Option<SpecError>)> {
    let plan = |more: Option<String>| {
        let sets: Vec<String> = args.sets.iter().cloned().chain(more).collect();
        let mut arms = vec!["no-offload"];
        arms.extend(args.arms.iter().map(String::as_str));
        let mut experiment = Experiment::of(minimal(&args.model, &args.hardware, args.tp, &arms));
        experiment.set(&sets)?;
        Plan::resolve(&experiment)
    };
    let obstacle = match plan(None) {
        Ok(plan) => return Ok((plan, None)),
        Err(obstacle) => obstacle,
    };
    let instead = match &obstacle {
        SpecError::PoolTooSmall { holds, .. } if *holds > 0 => {
            return Ok((longest(plan, *holds)?, Some(obstacle)));
        }
        // A pool for any sequence, which is not shown.
        SpecError::DoesNotFit { .. }
        | SpecError::UnknownWeights { .. }
        | SpecError::PoolTooSmall { .. } => "engine.kv_tokens=16777216".to_owned(),
        _ => return Err(obstacle.into()),
    };
    Ok((plan(Some(instead))?, Some(obstacle)))
}

/// The plan with the longest sequence that the pool holds. The pool depends a little on that
/// length (windows, padding), so the first answer may be slightly too long.
fn longest(
    plan: impl Fn(Option<String>) -> Result<Plan, SpecError>,
    mut holds: u64,
) -> anyhow::Result<Plan> {
    const TRIES: u32 = 8;
    for _ in 0..TRIES {
        match plan(Some(format!("engine.max_model_len={holds}"))) {
            Err(SpecError::PoolTooSmall { holds: fewer, .. }) if 0 < fewer && fewer < holds => {
                holds = fewer;
            }
            other => return Ok(other?),
        }
    }
    Ok(plan(Some(format!("engine.max_model_len={holds}")))?)
}

/// Time to compute the prefix; None without known weights.
fn prefill(deployment: &Deployment, tokens: u32) -> anyhow::Result<Option<Nanos>> {
    if deployment.model.weight_bytes.is_none() {
        return Ok(None);
    }
    let mut timing = Timing::new(&deployment.timing)?;
    let budget = deployment.engine.max_num_batched_tokens;
    Ok(Some(timing.prefill_time(tokens, 0, budget)))
}

fn facts(
    of: &Deployment,
    sizes: &Sizes,
    prefill: Option<Nanos>,
    obstacle: Option<&SpecError>,
) -> String {
    let mut out = String::new();
    let mut line = |key: &str, value: String| {
        let _ = writeln!(out, "  {key:<34} {value}");
    };
    let unknown = || "-".to_owned();
    line("KV bytes per token", sizes.kv_bytes_per_token.0.to_string());
    let hybrid = sizes.kv_bytes_per_sequence.0 > 0;
    if hybrid {
        let windows = of.model.kv_layers().iter().any(|layers| layers.kind.limit().is_some());
        if windows {
            line(
                "KV bytes per token, windows open",
                of.model.kv_bytes_per_first_token_over(of.tensor_parallel).0.to_string(),
            );
        }
        let words = format!("{} in windows and states", sizes.kv_bytes_per_sequence);
        line("KV bytes per sequence", words);
    }
    if of.model.kv_is_replicated() && of.tensor_parallel > 1 {
        let words = format!("each of {} ranks has one; tiers keep one", of.tensor_parallel);
        line("copies of the latents", words);
    }
    line("weights", sizes.weight_bytes.map_or_else(unknown, |bytes| bytes.to_string()));
    // Without memory for the engine, the planned pool does not exist.
    let no_pool = matches!(
        obstacle,
        Some(
            SpecError::DoesNotFit { .. }
                | SpecError::UnknownWeights { .. }
                | SpecError::PoolTooSmall { holds: 0, .. }
        )
    );
    let pool = &sizes.pool;
    let held = if hybrid {
        format!("{} tokens in sequences of {}", pool.tokens, sizes.prefix_tokens)
    } else {
        format!("{} tokens in {} blocks", pool.tokens, pool.blocks.unwrap_or(0))
    };
    line("GPU pool", if no_pool { unknown() } else { held });
    if pool.rule != PoolRule::OneGroup {
        line("vLLM's rule for the pool", rule(of, sizes));
    }
    line(&format!("one prefix of {} tokens", sizes.prefix_tokens), sizes.prefix_bytes.to_string());
    let prefixes = (pool.tokens / u64::from(sizes.prefix_tokens)).to_string();
    line("prefixes in the GPU pool", if no_pool { unknown() } else { prefixes });
    line("time to compute one", prefill.map_or_else(unknown, |time| time.to_string()));
    if let Some(rate) = sizes.break_even_gb_per_s {
        line("loading beats computing from", format!("{rate:.2} GB/s on"));
    }
    out
}

/// Longer than any sequence of the engine.
fn too_long(prefix: u32, of: &Deployment) -> Option<String> {
    let longest = of.engine.max_model_len;
    (prefix >= longest).then(|| {
        format!(
            "warning: a prefix of {prefix} tokens is longer than {} takes: with its prompt and \
             answer at most {longest} tokens (engine.max_model_len)",
            of.model.name
        )
    })
}

/// A prefix in an arm's tiers, for a model with layers that do not keep every token.
fn kept(of: &Deployment, arm: &Arm, sizes: &Sizes) -> String {
    let plain = of.model.kv_layers().iter().all(|layers| layers.kind.growth() == Some(1));
    let Some(offloaded) = sizes.offloaded.filter(|_| !plain) else { return String::new() };
    let mut out = String::new();
    let mut line = |key: &str, value: String| {
        let _ = writeln!(out, "  {key:<34} {value}");
    };
    line("one prefix in its tiers", offloaded.kept.to_string());
    line("loading one moves", offloaded.loaded.to_string());
    let words = match offloaded.rule {
        OffloadedRule::EveryToken => "every token of every layer",
        OffloadedRule::PoolBlocks => "blocks of the GPU pool, of each group of layers",
        OffloadedRule::PackedBlocks => {
            "windows before each block; padding of packed pages is unverified"
        }
        OffloadedRule::WindowsOfChunks => {
            "every layer; of windows and states the end of each chunk"
        }
    };
    line("rule of its tiers", words.to_owned());
    if arm.engine.is_some() {
        let words = format!(
            "{} tokens: the connector switches the hybrid KV cache manager off",
            sizes.pool.tokens
        );
        line("GPU pool of this arm", words);
    }
    out
}

fn rule(of: &Deployment, sizes: &Sizes) -> String {
    let block = sizes.pool.block_size;
    match sizes.pool.rule {
        PoolRule::OneGroup => format!("{}: one group of layers", of.vllm),
        PoolRule::Groups { groups, layers, padding: 0 } => {
            format!("{}: {groups} groups of {layers} layers, blocks of {block} tokens", of.vllm)
        }
        PoolRule::Groups { groups, layers, padding } => format!(
            "{}: {groups} groups of {layers} layers, {padding} of them padding, blocks of {block} \
             tokens",
            of.vllm
        ),
        PoolRule::Packed => {
            format!("{}: packed pages, counted in bytes, blocks of {block} tokens", of.vllm)
        }
    }
}

fn tier_table(arm: &str, sizes: &Sizes, prefill: Option<Nanos>, prices: &Prices) -> Table {
    let computing = prefill.map_or_else(|| "-".to_owned(), |time| time.to_string());
    let title = format!("{arm} (computing a prefix takes {computing})");
    let mut heads =
        vec!["tier", ">capacity", ">tokens", ">prefixes", ">load one prefix", ">against computing"];
    let priced = sizes.tiers.iter().any(|tier| tier.cost.is_some());
    let (month, saved) = (format!(">{}/month", prices.currency), ">loads/month to pay");
    if priced {
        heads.extend([month.as_str(), saved]);
    }
    let mut table = Table::new(&title, &heads);
    for tier in &sizes.tiers {
        let mut row = vec![
            tier.name.as_str().into(),
            tier.capacity.to_string().into(),
            tier.tokens.to_string().into(),
            tier.prefixes.to_string().into(),
            tier.load.map_or(String::new(), |load| load.to_string()).into(),
            against(tier, prefill).into(),
        ];
        if priced {
            let cost = tier.cost;
            let shown = |value: Option<f64>, digits: usize| {
                value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
            };
            row.push(shown(cost.map(|cost| cost.per_month), 2).into());
            let loads = cost.and_then(|cost| cost.loads_to_pay());
            row.push(shown(loads.map(f64::ceil), 0).into());
        }
        table.rows.push(row);
    }
    table
}

/// `26 x faster`, or the mark of a tier that is slower than computing.
fn against(tier: &TierSize, prefill: Option<Nanos>) -> String {
    let (Some(load), Some(prefill)) = (tier.load, prefill) else { return "-".to_owned() };
    let (load, prefill) = (load.as_secs_f64(), prefill.as_secs_f64());
    if load <= 0.0 || prefill <= 0.0 {
        return "-".to_owned();
    }
    if load > prefill {
        format!("{:.1} x SLOWER", load / prefill)
    } else {
        format!("{:.1} x faster", prefill / load)
    }
}
