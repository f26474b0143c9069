//! `weir teardown`: removes what killed runs left on this machine.

use std::time::Duration;

use weir_deploy::leftovers::{Whose, clear, run_id};
use weir_record::RunFolder;

use crate::cli::TeardownArgs;
use crate::exit::Exit;
use crate::printer::Printer;

/// For processes to end.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(args: &TeardownArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
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
