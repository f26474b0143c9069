//! Arguments of the commands on a cluster: `weir render`, `standup`, `status`, `smoketest`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ExperimentArgs;

/// Which arm of an experiment stands: the first that fits.
#[derive(Debug, Args)]
pub(crate) struct StandChoice {
    /// Arm of the experiment [default: the first].
    #[arg(long, value_name = "ARM")]
    pub(crate) arm: Option<String>,
    /// Models of the experiment, by name, a part of it, or an alias: `llama-3b`, `llama-8b`,
    /// `llama-70b`, `llama-17b` [default: all].
    #[arg(short = 'm', long, visible_alias = "model", value_name = "MODEL", value_delimiter = ',')]
    pub(crate) models: Vec<String>,
    /// Kind of arms: without or with a router in front [default: both].
    #[arg(short = 't', long, visible_alias = "types", value_name = "METHOD")]
    pub(crate) methods: Option<StandMethod>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StandMethod {
    /// Engines alone.
    Standalone,
    /// Engines behind llm-d's endpoint picker.
    LlmD,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir render examples/kubernetes/source-a.yaml --out yamls
  weir render experiment.yaml --arm llm-d-redis | less

Writes what `weir standup` applies, without asking the cluster. Values of Secrets are never in it.")]
pub(crate) struct RenderArgs {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
    #[command(flatten)]
    pub(crate) choice: StandChoice,
    /// Folder to write files to, one per object [default: print them].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Steps:
  01 preflight   rights of the user, kinds that the cluster knows
  04 namespace   anchor, volume of the model
  06 standalone  store, engines, their Service
  07 llm-d       index store, endpoint picker and Envoy, their rights
  08 smoketest   each engine answers, also through the router

Examples:
  weir standup examples/kubernetes/source-a.yaml
  weir standup experiment.yaml --arm llm-d-redis --steps 6-8
  weir standup experiment.yaml -n
  weir standup experiment.yaml -n=server
  weir standup experiment.yaml --print-rbac | kubectl apply -f -

Steps can be repeated: what stands as wanted stays. `weir run` brings up each arm by itself; after
it, or after `weir standup`, the stack stands until `weir teardown FILE`.")]
pub(crate) struct StandupArgs {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
    #[command(flatten)]
    pub(crate) choice: StandChoice,
    /// Steps to do: numbers, ranges and names, such as `4,6-8` or `standalone` [default: all].
    #[arg(short = 's', long, value_name = "STEPS")]
    pub(crate) steps: Option<String>,
    /// Do nothing: list the objects, or with `=server` ask the cluster what would change.
    #[arg(short = 'n', long, value_name = "WHERE", num_args = 0..=1, require_equals = true,
          default_missing_value = "here")]
    pub(crate) dry_run: Option<DryRun>,
    /// Print a Role with the rights that all arms need, for whoever may grant it.
    #[arg(long, conflicts_with_all = ["steps", "dry_run"])]
    pub(crate) print_rbac: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// Without any call to the cluster.
    Here,
    /// The cluster checks all objects and says what would change.
    Server,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir status examples/kubernetes/source-a.yaml")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir smoketest examples/kubernetes/source-a.yaml --arm llm-d-redis

Asks each engine, and the router, for the same answer over a forwarded port.")]
pub(crate) struct SmoketestArgs {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
    #[command(flatten)]
    pub(crate) choice: StandChoice,
}
