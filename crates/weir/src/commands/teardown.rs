//! `weir teardown`: removes what killed runs left on this machine.

use std::path::Path;
use std::time::Duration;

use weir_deploy::kubernetes::{StackChoice, take_down};
use weir_deploy::leftovers::{Whose, clear, run_id};
use weir_record::RunFolder;

use crate::cli::{ExperimentArgs, TeardownArgs};
use crate::commands::stand::{holder, target_of};
use crate::exit::{Exit, Mistake};
use crate::interrupt::{Interrupt, Waiting};
use crate::planned::planned;
use crate::printer::Printer;

/// For processes to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// For pods and what belongs to them.
const CLUSTER_PATIENCE: Duration = Duration::from_mins(5);

pub(crate) fn run(args: &TeardownArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    if let Some(file) = args.run.as_ref().filter(|path| path.is_file()) {
        let choice = match &args.stack {
            _ if args.expired => StackChoice::Expired,
            Some(name) => StackChoice::Named(name),
            None => StackChoice::All,
        };
        return of_cluster(file, choice, printer);
    }
    if args.stack.is_some() || args.expired {
        let option = if args.expired { "--expired" } else { "--stack" };
        return Err(Mistake(format!(
            "{option} is for stacks of a cluster; write the experiment's file before it"
        ))
        .into());
    }
    let whose = match &args.run {
        // Opened, so that a wrong path is an error.
        Some(folder) => Whose::Run(run_id(RunFolder::open_read_only(folder)?.path())),
        None => Whose::DeadOwners,
    };
    let cleared = clear(&whose, PATIENCE)?;
    for what in &cleared {
        printer.result(&format!("removed {what}\n"))?;
    }
    if cleared.is_empty() {
        printer.note("nothing was left");
    }
    Ok(Exit::Done)
}

/// Of Weir's in the namespace of the experiment, whoever started it.
fn of_cluster(file: &Path, choice: StackChoice<'_>, printer: &mut Printer) -> anyhow::Result<Exit> {
    let experiment = ExperimentArgs { file: Some(file.to_owned()), sets: Vec::new() };
    let plan = planned(&experiment)?.plan;
    let target = target_of(&plan, &experiment)?;
    let interrupt = Interrupt::listen(Waiting::Cells, printer.is_quiet())?;
    let stopped = || interrupt.stop().is_asked();
    let removed = take_down(target, choice, &holder(), CLUSTER_PATIENCE, &stopped)?;
    printer.result(&format!("removed {} objects\n", removed.gone))?;
    for kind in &removed.unseen {
        printer.note(&format!("not looked for: {kind}"));
    }
    for left in &removed.left {
        printer.result(&format!("left: {left}\n"))?;
    }
    Ok(if removed.left.is_empty() { Exit::Done } else { Exit::Environment })
}
