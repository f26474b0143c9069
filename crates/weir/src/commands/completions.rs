use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};
use crate::exit::Exit;
use crate::printer::Printer;

pub(crate) fn run(args: &CompletionsArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "weir", &mut script);
    printer.result(&String::from_utf8(script)?)?;
    Ok(Exit::Done)
}
