//! The command line: types and help only. Commands turn them into a plan at once.

mod agent;
mod load;
mod probe;
mod route;
mod serve;
mod setup;
mod stand;
mod tokenizer;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use weir_report::comparison::TOLERANCE_PERCENT;
use weir_spec::variables::Era;

pub(crate) use agent::{AgentArgs, AgentCommand, AgentFetchArgs, AgentFieldArgs, AgentLoadArgs};
pub(crate) use load::{LoadArgs, SeveralArgs};
pub(crate) use probe::{AgainstArgs, OutputArgs, ProbeArgs};
pub(crate) use route::RouteArgs;
pub(crate) use serve::ServeArgs;
pub(crate) use setup::{ModelArgs, RouterArgs, SetupArgs, SetupCommand, VllmCpuArgs};
pub(crate) use stand::{
    DryRun, RenderArgs, SmoketestArgs, StandChoice, StandMethod, StandupArgs, StatusArgs,
};
pub(crate) use tokenizer::TokenizerArgs;

/// Evaluate KV-cache offloading for LLM serving: run one experiment on any target, and check for
/// each arm that its mechanism acted.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 done; 1 done, but a cell failed, or is void or unverified \
                  against the plan's prediction; 2 invalid input; 3 a fault of the \
                  environment; 101 a defect of Weir; 130 stopped by a second Ctrl-C."
)]
pub(crate) struct Cli {
    /// Print only errors to stderr.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run an experiment and write its report.
    Run(RunArgs),
    /// Print what would run: cells, working sets, tiers, predicted verdicts and time.
    Plan(PlanArgs),
    /// Benchmark an OpenAI-compatible server.
    Load(Box<LoadArgs>),
    /// Generate a load from several processes, or from inside a cluster.
    Agent(AgentArgs),
    /// Run the emulated engine behind a vLLM-compatible API.
    Serve(Box<ServeArgs>),
    /// Route requests to replicas, by the policies of the experiment file.
    Route(RouteArgs),
    /// Give an endpoint picker in the same pod the tokens of prompts.
    Tokenizer(TokenizerArgs),
    /// Benchmark a KV-cache tier with KV-shaped transfers, and show where the time goes.
    Probe(Box<ProbeArgs>),
    /// List known models, hardware and arms.
    List(ListArgs),
    /// Calculate KV bytes, tokens in GPU memory, prefixes per tier and break-even bandwidth.
    Size(SizeArgs),
    /// Write the report of a run folder again.
    Report(ReportArgs),
    /// Explain each arm's result: where tokens came from and why it counts or not.
    Explain(ExplainArgs),
    /// Bring up an arm in a Kubernetes cluster, step by step.
    Standup(StandupArgs),
    /// Write the Kubernetes objects of an arm.
    Render(RenderArgs),
    /// Print what stands in a Kubernetes namespace.
    Status(StatusArgs),
    /// Ask each engine in a Kubernetes cluster, and the router, for the same answer.
    Smoketest(SmoketestArgs),
    /// Remove what stands in a cluster, or what killed runs left on this machine.
    Teardown(TeardownArgs),
    /// Compare two runs cell by cell.
    Compare(CompareArgs),
    /// Fit the timing model's constants to a recorded run of a live target.
    Calibrate(CalibrateArgs),
    /// Write, check or describe experiment files.
    Spec(SpecArgs),
    /// Install vLLM with LMCache for the CPU, install llm-d's router, or write a model.
    Setup(SetupArgs),
    /// Print shell completions.
    Completions(CompletionsArgs),
}

/// An experiment file and what is laid over it.
#[derive(Debug, Args)]
pub(crate) struct ExperimentArgs {
    /// Experiment file [default: a small built-in experiment].
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Override a value of the file, for example `load.users=[1,50]`; paths are relative to the
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
    /// Run folder to create [default: `runs/<name>-<time>`].
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub(crate) out: Option<PathBuf>,
    /// Finish the run in this folder. With FILE, its plan must be that of the run.
    #[arg(long, value_name = "DIR")]
    pub(crate) resume: Option<PathBuf>,
    /// Number of cells that run at once [default: the number of CPUs].
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
    /// Catalogue to list [default: all].
    pub(crate) what: Option<Catalogue>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir size --model Qwen/Qwen3-8B --hardware 2x-l40s --tp 2
  weir size --model path/to/config.json --hardware 1x-h100 --prefix 30000
  weir size --model Qwen/Qwen3-8B --hardware 2x-l40s --arm native-offload \\
            --set 'arms=[{preset: native-offload, bytes: 200GiB}]'")]
pub(crate) struct SizeArgs {
    /// Model from the catalogue, or the path of a Hugging Face config.json.
    #[arg(long)]
    pub(crate) model: String,
    /// Hardware of one replica, for example `2x-l40s`.
    #[arg(long)]
    pub(crate) hardware: String,
    /// Number of tensor-parallel ranks [default: all accelerators of the hardware].
    #[arg(long, value_name = "N")]
    pub(crate) tp: Option<u32>,
    /// Length of the prefix, in tokens.
    #[arg(long, default_value_t = 10_000, value_name = "TOKENS")]
    pub(crate) prefix: u32,
    /// Arm preset whose tiers are sized. May be repeated.
    #[arg(long = "arm", value_name = "PRESET", default_values = ["native-offload", "lmcache-redis"])]
    pub(crate) arms: Vec<String>,
    /// Override a value of the experiment that is sized; paths are relative to the working
    /// directory. May be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(crate) sets: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "With --prediction, the report of a live run gets a section that compares
simulation and measurement. Hit tokens per tier must be equal to the token where requests are
sequential (one user), and within the tolerance elsewhere. Throughput and latency are shown with the
error of the prediction. Both runs must be of the same experiment file.

Examples:
  weir report runs/first
  weir report runs/live --prediction runs/simulated
  weir report runs/live --prediction runs/simulated --tolerance 2")]
pub(crate) struct ReportArgs {
    /// Run folder.
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Simulated run of the same experiment, to compare with this live run.
    #[arg(long, value_name = "RUN")]
    pub(crate) prediction: Option<PathBuf>,
    /// Largest difference in hits where requests overlap, in percent of the prompt tokens.
    #[arg(long, default_value_t = TOLERANCE_PERCENT, value_name = "PERCENT", requires = "prediction")]
    pub(crate) tolerance: f64,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Prints for each arm and level: where prompt tokens came from, what was stored,
which source says so and whether sources agree, the regime, why the arm is void, overhead-only,
corrupt or failed, and what to change to see an effect. Writes no files.

Examples:
  weir explain runs/first
  weir explain runs/first --arm lmcache-redis
  weir explain runs/first --arm native-offload --level c50"
)]
pub(crate) struct ExplainArgs {
    /// Run folder.
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Explain only this arm.
    #[arg(long, value_name = "NAME")]
    pub(crate) arm: Option<String>,
    /// Explain only this level, for example `c50`.
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
    /// Hide changes smaller than this, in percent.
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

Uses the requests of no-offload cells that had the engine to themselves. Prints `engine: {timing:
{fixed: ...}}` for an experiment file, and how well it fits. Never compare a simulation with the
cells that its constants come from (docs/calibration.md).")]
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
        /// File to write; `-` is stdout.
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
    /// Print the experiment that the variables of other benchmark scripts describe.
    FromEnv(FromEnvArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir spec from-env scenario.sh --era llmdbench-2025-05 > experiment.yaml
  weir spec from-env scenario.sh --era llmdbench-0.5 --profile shared_prefix.yaml > experiment.yaml
  weir spec from-env --era natoscott --strict > experiment.yaml

A scenario file is read as lines of `export NAME=value`, and never run. Stderr has a line for each
variable: what it became, the default that ran, or why nothing came of it. Values of tokens and
passwords are never printed (docs/kubernetes.md).")]
pub(crate) struct FromEnvArgs {
    /// Scenario file. Without it, the environment, of which other programs' names are left out.
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Scripts that the variables were for, and of what time.
    #[arg(long)]
    pub(crate) era: Era,
    /// Load profile of the harness, where its name alone does not say what it asks.
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// Refuse names that the scripts do not have.
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir teardown
  weir teardown runs/local-cpu-20261127-101500
  weir teardown examples/kubernetes/source-a.yaml
  weir teardown examples/kubernetes/source-a.yaml --expired

Finds processes by a mark in their environment, and folders and shared memory by name, so that it
also finds what a `kill -9` left. Without RUN, it touches only what belongs to Weir processes that
no longer run.")]
pub(crate) struct TeardownArgs {
    /// Run folder: stop all that was started for this run, even while it runs. Or the file of
    /// an experiment on Kubernetes: remove all that Weir has in its namespace.
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<PathBuf>,
    /// Of a namespace, remove this stack only.
    #[arg(long, value_name = "STACK")]
    pub(crate) stack: Option<String>,
    /// Of a namespace, remove the stacks whose `ttl` has passed, whoever they belong to.
    #[arg(long, conflicts_with = "stack")]
    pub(crate) expired: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell.
    pub(crate) shell: Shell,
}
