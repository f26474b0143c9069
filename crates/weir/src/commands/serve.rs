//! `weir serve`: Weir's own engine as a server.

use std::fmt::Write;
use std::net::TcpListener;
use std::path::Path;

use anyhow::Context;
use weir_deploy::Tiers;
use weir_model::Bytes;
use weir_report::words;
use weir_serve::kv_events::{EventForm, PublisherConfig};
use weir_serve::tokenizer::TokenizerConfig;
use weir_serve::{ServeConfig, Server, TimeMode};
use weir_service::Stopper;
use weir_spec::plan::{Arm, Deployment, EmulatedTarget, PLAN_FORMAT, Plan};
use weir_spec::{Experiment, Spec, SpecError};

use crate::cli::ServeArgs;
use crate::exit::{Exit, Mistake};
use crate::interrupt::{Interrupt, Waiting};
use crate::planned::minimal;
use crate::printer::Printer;

pub(crate) fn run(args: &ServeArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let plan = plan(args)?;
    let [deployment] = plan.deployments.as_slice() else {
        return Err(Mistake(format!(
            "{} deployments (models x hardware), and a server is one; choose with `--set \
             'models=[...]'` and `--set hardware=...`",
            plan.deployments.len()
        ))
        .into());
    };
    let arm = arm(deployment, &args.arm)?;
    let target = emulated(args, &plan)?;
    let run = format!("serve-{}", std::process::id());
    let tiers = Tiers::open(&target, deployment, arm, 1, &run)?;
    let config = config(args, deployment, arm, tiers.as_ref())?;
    let address = (args.host.as_str(), args.port);
    let listener = TcpListener::bind(address).with_context(|| {
        format!(
            "cannot listen on {}:{}; choose a free port, or --port 0 to be given one",
            args.host, args.port
        )
    })?;
    let local = listener.local_addr().context("cannot read the listener's address")?;
    let notes = tiers.iter().flat_map(Tiers::notes).map(|note| words::note(&note));
    for warning in plan.warnings.iter().cloned().chain(notes) {
        printer.note(&format!("warning: {warning}"));
    }
    let stopper = Stopper::default();
    let stop = stopper.clone();
    Interrupt::listen_and(Waiting::Answers(config.grace), printer.is_quiet(), move || stop.stop())?;
    let mut said = Ok(());
    let words = banner(deployment, arm, &config, &local.to_string());
    let ended = Server::run(&config, listener, &stopper, || said = printer.result(&words));
    said?;
    ended?;
    tiers.map_or(Ok(()), Tiers::close)?;
    Ok(Exit::Done)
}

/// The file's target with the flags laid over.
fn emulated(args: &ServeArgs, plan: &Plan) -> anyhow::Result<EmulatedTarget> {
    let mut target = plan.target.emulated().cloned().unwrap_or_default();
    target.bytes = args.bytes.unwrap_or(target.bytes);
    if let Some(scale) = args.byte_scale {
        if !(scale > 0.0 && scale <= 1.0) {
            let words = format!("--byte-scale must be above 0 and at most 1, not {scale}");
            return Err(Mistake(words).into());
        }
        target.byte_scale = scale;
    }
    if let Some(disk) = &args.disk {
        target.disk = Some(disk.display().to_string());
    }
    Ok(target)
}

fn plan(args: &ServeArgs) -> anyhow::Result<Plan> {
    if let Some(file) = args.file.as_ref().filter(|file| is_plan(file)) {
        return recorded_plan(file, args);
    }
    if let Some(file) = &args.file {
        let mut sets = args.sets.clone();
        sets.extend(
            args.model.as_ref().map(|model| format!("models={}", serde_json::json!([model]))),
        );
        return Ok(weir_lab::planned::as_written(file, &sets)?.plan);
    }
    let model = args.model.as_deref().unwrap_or_default();
    let hardware = args.hardware.as_deref().unwrap_or_default();
    let mut experiment = Experiment::of(Spec {
        target: EmulatedTarget::default().into(),
        replicas: args.replicas,
        ..minimal(model, hardware, args.tp, &[&args.arm])
    });
    experiment.set(&args.sets)?;
    Ok(Plan::resolve(&experiment)?)
}

/// Experiment files are YAML.
fn is_plan(file: &Path) -> bool {
    file.extension().is_some_and(|of| of == "json")
}

/// Nothing can be laid over a plan: it is resolved.
fn recorded_plan(file: &Path, args: &ServeArgs) -> anyhow::Result<Plan> {
    if !args.sets.is_empty() || args.model.is_some() {
        let words = format!("{} is a plan, which --set and --model cannot change", file.display());
        return Err(Mistake(words).into());
    }
    let mistake = |problem: String| {
        Mistake(format!("{}: {problem}; name an experiment file or a run's plan", file.display()))
    };
    let text = std::fs::read_to_string(file).map_err(|error| mistake(error.to_string()))?;
    let plan: Plan = serde_json::from_str(&text).map_err(|error| mistake(error.to_string()))?;
    if plan.format != PLAN_FORMAT {
        return Err(mistake(format!("plan format {} is not supported", plan.format)).into());
    }
    Ok(plan)
}

fn arm<'a>(deployment: &'a Deployment, name: &str) -> Result<&'a Arm, SpecError> {
    deployment.arms.iter().find(|arm| arm.name == name).ok_or_else(|| {
        let names: Vec<&str> = deployment.arms.iter().map(|arm| arm.name.as_str()).collect();
        SpecError::Value {
            key: "--arm".to_owned(),
            problem: format!("the experiment has no arm `{name}`"),
            remedy: format!("write one of {}", names.join(", ")),
        }
    })
}

fn config(
    args: &ServeArgs,
    deployment: &Deployment,
    arm: &Arm,
    tiers: Option<&Tiers>,
) -> anyhow::Result<ServeConfig> {
    let replicas = if args.one_replica { 1 } else { deployment.replicas };
    let mut config = weir_deploy::emulated::config(deployment, arm, replicas)?;
    config.mover = tiers.map(Tiers::mover);
    if let Some(name) = &args.served_model_name {
        config.models = vec![name.clone()];
    }
    if let Some(file) = &args.tokenizer {
        config.tokenizer = TokenizerConfig::File(file.clone());
    }
    config.time = match (args.instant, args.time_scale) {
        (true, _) => TimeMode::Instant,
        (false, 1.0) => TimeMode::Real,
        (false, scale) => TimeMode::Scaled(scale),
    };
    config.core = args.pin.map(|core| core as usize);
    if let Some(endpoint) = &args.kv_events {
        let publisher = PublisherConfig {
            endpoint: endpoint.clone(),
            replay_endpoint: args.kv_replay.clone(),
            buffer_steps: PublisherConfig::BUFFER_STEPS,
            topic: args.kv_topic.clone(),
        };
        let form = weir_deploy::emulated::event_form(deployment, arm, args.kv_self_describing);
        let form = EventForm { layout: args.kv_encoding, ..form };
        config.kv_events = Some((publisher, form));
    }
    Ok(config)
}

/// Address, engine, and an example request.
fn banner(of: &Deployment, arm: &Arm, config: &ServeConfig, address: &str) -> String {
    let mut out = String::new();
    let model = &config.models[0];
    let engine = of.engine_of(arm);
    let tokens = u64::from(engine.blocks) * u64::from(engine.block_size);
    let time = match config.time {
        TimeMode::Real => "in real time".to_owned(),
        TimeMode::Scaled(scale) => format!("{scale} times as fast as real time"),
        TimeMode::Instant => "without time for passes".to_owned(),
    };
    let _ = writeln!(out, "http://{address}  {model}");
    let _ = writeln!(
        out,
        "  {} on {}, {} x TP {}, arm {}, {time}; GPU pool {tokens} tokens per replica",
        of.model.name, of.label, of.replicas, of.tensor_parallel, arm.name
    );
    if let Some(mover) = &config.mover {
        let _ = writeln!(
            out,
            "  real bytes: {} per chunk of {} tokens, {:.4} of the model's",
            Bytes(mover.block_bytes as u64),
            mover.chunk_tokens,
            mover.byte_scale
        );
    }
    if let Some((publisher, _)) = &config.kv_events {
        let _ = writeln!(out, "  KV events at {}", publisher.endpoint);
    }
    out
}
