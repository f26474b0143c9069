use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::Context;
use weir_spec::variables::ImportedVariables;

use crate::cli::{FromEnvArgs, SpecArgs, SpecCommand};
use crate::exit::{Exit, Mistake};
use crate::planned::planned;
use crate::printer::Printer;

pub(crate) fn run(args: &SpecArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    match &args.command {
        SpecCommand::New { file } if file == Path::new("-") => {
            printer.result(weir_spec::starter())?;
        }
        SpecCommand::New { file } => write_new(file, printer)?,
        SpecCommand::Check { experiment } => {
            let plan = planned(experiment)?.plan;
            let deployments = plan.deployments.len();
            printer.result(&format!(
                "{}: valid, {} cells in {deployments} deployments",
                plan.name,
                plan.cells.len()
            ))?;
            for warning in &plan.warnings {
                printer.note(&format!("warning: {warning}"));
            }
        }
        SpecCommand::FromEnv(args) => from_env(args, printer)?,
        SpecCommand::Schema => {
            printer.result(&serde_json::to_string_pretty(&weir_spec::schema())?)?;
        }
    }
    Ok(Exit::Done)
}

fn from_env(args: &FromEnvArgs, printer: &mut Printer) -> anyhow::Result<()> {
    let profile = args.profile.as_deref();
    let imported = if let Some(file) = &args.file {
        ImportedVariables::of_file(file, profile, args.era)?
    } else {
        let utf8 = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let all = std::env::vars_os().filter_map(utf8);
        ImportedVariables::of_environment(all, profile, args.era)?
    };
    for fate in &imported.fates {
        printer.note(&fate.to_string());
    }
    if let Some(place) = imported.unknown().next().filter(|_| args.strict) {
        let message = format!("{place}: unknown; correct its name, or leave out `--strict`");
        return Err(Mistake(message).into());
    }
    printer.result(&imported.experiment_file()?)
}

fn write_new(file: &Path, printer: &mut Printer) -> anyhow::Result<()> {
    let mut target = match OpenOptions::new().write(true).create_new(true).open(file) {
        Ok(target) => target,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let message = format!("{} exists; name another file", file.display());
            return Err(Mistake(message).into());
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            let folder = file.parent().unwrap_or(Path::new(".")).display();
            let message = format!(
                "cannot create {}: no folder {folder}; make it first, or name \
                 another file",
                file.display()
            );
            return Err(Mistake(message).into());
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot create {}", file.display()));
        }
    };
    target
        .write_all(weir_spec::starter().as_bytes())
        .with_context(|| format!("cannot write {}", file.display()))?;
    printer.note(&format!("wrote {0}; `weir plan {0}` shows what it would run", file.display()));
    Ok(())
}
