//! Weir: an evaluation lab for KV-cache offloading in LLM serving.

mod allocator;
mod cli;
mod commands;
mod exit;
mod forecast;
mod interrupt;
mod overview;
mod planned;
mod printer;
mod progress;
mod results;
mod run_progress;
mod view;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::printer::Printer;

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    if let Some(columns) = printer::columns() {
        weir_report::tables::set_width(columns);
    }
    let mut printer = Printer::new(cli.quiet);
    let outcome = match cli.command {
        Command::Run(args) => commands::run::run(&args, &mut printer),
        Command::Plan(args) => commands::plan::run(&args, &mut printer),
        Command::Load(args) => commands::load::run(&args, &mut printer),
        Command::Agent(args) => commands::agent::run(&args, &mut printer),
        Command::Serve(args) => commands::serve::run(&args, &mut printer),
        Command::Route(args) => commands::route::run(&args, &mut printer),
        Command::Tokenizer(args) => commands::tokenizer::run(&args, &mut printer),
        Command::Probe(args) => commands::probe::run(&args, &mut printer),
        Command::List(args) => commands::list::run(&args, &mut printer),
        Command::Size(args) => commands::size::run(&args, &mut printer),
        Command::Report(args) => commands::report::run(&args, &mut printer),
        Command::Standup(args) => commands::stand::standup(&args, &mut printer),
        Command::Render(args) => commands::stand::render(&args, &mut printer),
        Command::Status(args) => commands::stand::status(&args, &mut printer),
        Command::Smoketest(args) => commands::stand::smoketest(&args, &mut printer),
        Command::Teardown(args) => commands::teardown::run(&args, &mut printer),
        Command::Explain(args) => commands::explain::run(&args, &mut printer),
        Command::Compare(args) => commands::compare::run(&args, &mut printer),
        Command::Calibrate(args) => commands::calibrate::run(&args, &mut printer),
        Command::Spec(args) => commands::spec::run(&args, &mut printer),
        Command::Setup(args) => commands::setup::run(&args, &mut printer),
        Command::Completions(args) => commands::completions::run(&args, &mut printer),
    };
    let exit = outcome.unwrap_or_else(|error| {
        printer.error(&error);
        Exit::of(&error)
    });
    exit.into()
}
