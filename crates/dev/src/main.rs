//! `cargo dev`: work on the repository itself. Generated references, and the tidy rules.

mod generate;
mod repository;
mod tidy;
mod truths;
mod validate;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Work on this repository: references that are made from code, and rules for the sources.
#[derive(Debug, Parser)]
#[command(name = "cargo dev", bin_name = "cargo dev")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write docs/reference/ from the code.
    Generate {
        /// Write nothing; fail where a file differs from what would be written.
        #[arg(long)]
        check: bool,
    },
    /// Check the rules for sources: lengths, names, READMEs, dependencies.
    Tidy,
    /// Record a cell of real software whose truth was arranged, with the verdict that it must get.
    Truth {
        /// The run's folder.
        run: std::path::PathBuf,
        /// The arm; its first level and repeat are taken.
        arm: String,
        /// The recording's name: a file of validation/verdicts/.
        name: String,
        /// What was true, in one sentence.
        truth: String,
    },
    /// Compare the simulator with published measurements, row by row.
    Validate {
        /// The binary; the default is the release build.
        #[arg(long, value_name = "PATH")]
        weir: Option<std::path::PathBuf>,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Generate { check } => generate(check),
        Command::Tidy => tidy(),
        Command::Truth { run, arm, name, truth } => record(&run, &arm, &name, &truth),
        Command::Validate { weir } => validate(weir),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to tell when stderr is closed too.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(3)
        }
    }
}

fn generate(check: bool) -> anyhow::Result<ExitCode> {
    let root = repository::root();
    let mut references = generate::from_code(&root)?;
    references.push(generate::command_line::reference(&root)?);
    let mut out = std::io::stdout();
    if !check {
        for reference in &references {
            if reference.write(&root)? {
                writeln!(out, "wrote {}", reference.path)?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let differing = generate::differing(&root, &references)?;
    for line in &differing {
        writeln!(out, "{line}")?;
    }
    Ok(if differing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn tidy() -> anyhow::Result<ExitCode> {
    let files = repository::read(&repository::root())?;
    let findings = tidy::check(&files);
    let mut out = std::io::stdout();
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn record(run: &std::path::Path, arm: &str, name: &str, truth: &str) -> anyhow::Result<ExitCode> {
    let path = truths::record(&repository::root(), (run, arm), (name, truth))?;
    writeln!(std::io::stdout(), "wrote {}", path.display())?;
    Ok(ExitCode::SUCCESS)
}

fn validate(weir: Option<std::path::PathBuf>) -> anyhow::Result<ExitCode> {
    let root = repository::root();
    let weir = weir.unwrap_or_else(|| validate::default_binary(&root));
    write!(std::io::stdout(), "{}", validate::run(&weir, &root)?)?;
    Ok(ExitCode::SUCCESS)
}
