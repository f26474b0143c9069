//! The command line: types and help only. Commands turn them into a plan at once.

mod load;
mod probe;
mod serve;
mod setup;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use weir_report::comparison::TOLERANCE_PERCENT;

pub(crate) use load::{ApiArg, LoadArgs, TimeUnitArg, TraceFormatArg};
pub(crate) use probe::{AgainstArgs, EvictionArg, OutputArgs, ProbeArgs, VerifyArg};
pub(crate) use serve::{EventEncodingArg, MovementArg, ServeArgs};
pub(crate) use setup::{ModelArgs, SetupArgs, SetupCommand, VllmCpuArgs};

/// Evaluate KV-cache offloading for LLM serving: the same experiment on any target, each arm with
/// proof that its mechanism acted.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 done; 1 done, and some cell failed or is void or unverified \
                  against the plan's prediction; 2 a mistake in the input; 3 a fault of the \
                  environment; 101 a defect of Weir; 130 ended by a second Ctrl-C."
)]
pub(crate) struct Cli {
    /// Say nothing on stderr but errors.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run an experiment and write its report.
    Run(RunArgs),
    /// Print what would run: cells, working sets, tiers, predicted verdicts, time.
    Plan(PlanArgs),
    /// Ask a server, and measure how it answers.
    Load(Box<LoadArgs>),
    /// Serve Weir's own engine: an OpenAI-compatible server that looks like vLLM.
    Serve(Box<ServeArgs>),
    /// Measure a tier with KV-shaped transfers, and where its time goes.
    Probe(Box<ProbeArgs>),
    /// List known models, hardware, arms.
    List(ListArgs),
    /// Answer the arithmetic: KV bytes, tokens in GPU memory, prefixes per tier, break-even.
    Size(SizeArgs),
    /// Write the report of a run folder again.
    Report(ReportArgs),
    /// Tell in words what happened to each arm of a run, and why it counts or not.
    Explain(ExplainArgs),
    /// End and remove what runs that were killed left on this machine.
    Teardown(TeardownArgs),
    /// Compare two runs cell by cell.
    Compare(CompareArgs),
    /// Fit the constants of the timing model to a recording of a live target.
    Calibrate(CalibrateArgs),
    /// Write, check or describe experiment files.
    Spec(SpecArgs),
    /// Install the real stack for machines without a GPU, or write a model for it.
    Setup(SetupArgs),
    /// Print shell completions.
    Completions(CompletionsArgs),
}

/// An experiment file and what is laid over it.
#[derive(Debug, Args)]
pub(crate) struct ExperimentArgs {
    /// Experiment file; without one, a small built-in experiment.
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Override a value of the file, for example `load.users=[1,50]`; a path starts from the
    /// working directory. May be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(crate) sets: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir run
  weir run examples/published-evaluation.yaml
  weir run examples/mooncake.yaml --set workload.trace.path=/data/conversation_trace.jsonl
  weir run experiment.yaml --out runs/first --set repeats=3
  weir run --resume runs/first")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
    /// Run folder to create; the default is `runs/<name>-<time>`.
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub(crate) out: Option<PathBuf>,
    /// Finish the run in this folder. With a FILE, its plan must be the run's.
    #[arg(long, value_name = "DIR")]
    pub(crate) resume: Option<PathBuf>,
    /// Cells that run at once; the default is the number of processors.
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// Print the plan and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir plan examples/capacity-bound.yaml
  weir plan experiment.yaml --set hardware=[2x-l40s,1x-h100]
  weir plan experiment.yaml --json")]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
    /// Print the whole plan as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Catalogue {
    /// Models, with their KV bytes per token.
    Models,
    /// Accelerators.
    Hardware,
    /// Arm presets.
    Arms,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir list
  weir list models")]
pub(crate) struct ListArgs {
    /// One catalogue; all of them by default.
    pub(crate) what: Option<Catalogue>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir size --model Qwen/Qwen3-8B --hardware 2x-l40s --tp 2
  weir size --model path/to/config.json --hardware 1x-h100 --prefix 30000
  weir size --model Qwen/Qwen3-8B --hardware 2x-l40s --arm native-offload \\
            --set 'arms=[{preset: native-offload, bytes: 200GiB}]'")]
pub(crate) struct SizeArgs {
    /// Model of the catalogue, or the path of a Hugging Face config.json.
    #[arg(long)]
    pub(crate) model: String,
    /// Hardware of one replica, for example `2x-l40s`.
    #[arg(long)]
    pub(crate) hardware: String,
    /// Tensor-parallel ranks; the default is all accelerators of the hardware.
    #[arg(long, value_name = "N")]
    pub(crate) tp: Option<u32>,
    /// Length of the prefix in question, tokens.
    #[arg(long, default_value_t = 10_000, value_name = "TOKENS")]
    pub(crate) prefix: u32,
    /// Arm presets whose tiers are sized. May be repeated.
    #[arg(long = "arm", value_name = "PRESET", default_values = ["native-offload", "lmcache-redis"])]
    pub(crate) arms: Vec<String>,
    /// Override a value of the experiment behind the arithmetic; paths start from the working
    /// directory. May be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(crate) sets: Vec<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "With --prediction, the report of a live run gets a section that sets what was
simulated beside what was measured: hit tokens per tier, which must be equal to the token where
requests are sequential (one user) and within the tolerance elsewhere, and throughput and latency
with the error of the prediction. Both runs are of the same experiment file.

Examples:
  weir report runs/first
  weir report runs/live --prediction runs/simulated
  weir report runs/live --prediction runs/simulated --tolerance 2"
)]
pub(crate) struct ReportArgs {
    /// Run folder.
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Simulated run of the same experiment, to set beside this live one.
    #[arg(long, value_name = "RUN")]
    pub(crate) prediction: Option<PathBuf>,
    /// By how much hits may differ where requests overlap, percent of the prompt tokens.
    #[arg(long, default_value_t = TOLERANCE_PERCENT, value_name = "PERCENT", requires = "prediction")]
    pub(crate) tolerance: f64,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Says per arm and level where prompt tokens came from, what was stored, who says
so and whether sources agree, in which regime the arm was, why it is void, overhead-only, corrupt or
failed, and what to change to see an effect. Writes nothing.

Examples:
  weir explain runs/first
  weir explain runs/first --arm lmcache-redis
  weir explain runs/first --arm native-offload --level c50"
)]
pub(crate) struct ExplainArgs {
    /// Run folder.
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Only this arm.
    #[arg(long, value_name = "NAME")]
    pub(crate) arm: Option<String>,
    /// Only this level, for example `c50`.
    #[arg(long, value_name = "NAME")]
    pub(crate) level: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir compare runs/before runs/after
  weir compare runs/before runs/after --least 1 --csv > changes.csv")]
pub(crate) struct CompareArgs {
    /// First run folder.
    #[arg(value_name = "RUN")]
    pub(crate) first: PathBuf,
    /// Second run folder.
    #[arg(value_name = "RUN")]
    pub(crate) second: PathBuf,
    /// Leave out changes smaller than this, in percent.
    #[arg(long, default_value_t = 0.5, value_name = "PERCENT")]
    pub(crate) least: f64,
    /// Print all changes as CSV.
    #[arg(long)]
    pub(crate) csv: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir calibrate runs/calibration-20261127-101500
  weir calibrate runs/calibration-20261127-101500 > timing.yaml

Takes the requests of the no-offload cells that had the engine to themselves, and prints `engine:
{timing: {fixed: ...}}` for an experiment file, with how well it fits. Never compare the cells that
the constants come from with what is simulated with them (docs/calibration.md).")]
pub(crate) struct CalibrateArgs {
    /// Run folder.
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct SpecArgs {
    #[command(subcommand)]
    pub(crate) command: SpecCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SpecCommand {
    /// Write a commented experiment file.
    New {
        /// Where to; `-` is stdout.
        #[arg(default_value = "experiment.yaml")]
        file: PathBuf,
    },
    /// Check an experiment file without running it.
    Check {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// Print the JSON schema of experiment files.
    Schema,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir teardown
  weir teardown runs/local-cpu-20261127-101500

Processes are known by the run's mark in their environments, folders and shared memory by their
names: what a `kill -9` left is found too. Without RUN, only what belongs to processes of Weir that
are gone is touched.")]
pub(crate) struct TeardownArgs {
    /// Run folder: what was started for it goes, even while it runs.
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: Shell,
}
