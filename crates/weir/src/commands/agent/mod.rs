//! `weir agent`: loads from several processes, and from inside a cluster.

mod fetch;
mod field;
mod load;

use crate::cli::{AgentArgs, AgentCommand};
use crate::exit::Exit;
use crate::printer::Printer;

pub(crate) fn run(args: &AgentArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    match &args.command {
        AgentCommand::Load(args) => load::run(args, printer),
        AgentCommand::Field(args) => field::run(args, printer),
        AgentCommand::Fetch(args) => fetch::run(args, printer),
    }
}
