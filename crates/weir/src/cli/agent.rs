//! Arguments of `weir agent`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use weir_model::quantity::Span;

use super::ExperimentArgs;

#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    #[command(subcommand)]
    pub(crate) command: AgentCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Generate one shard of each level of a load.
    Load(AgentLoadArgs),
    /// Run an experiment beside its endpoints, with the load of agents that dial.
    Field(AgentFieldArgs),
    /// Wait for the run of a field, and fetch its folder.
    Fetch(AgentFetchArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "The field runs the cells of an experiment with `target: {endpoint: ...}`. Its agents
generate the load. It serves the run folder until `weir agent fetch` has it. Started again with the
same folder, it finishes the run.

Examples:
  weir agent field experiment.yaml --agents 4 --listen 0.0.0.0:7411 --out /results/run
  weir agent load --field http://field:7411
  weir agent fetch http://127.0.0.1:7411 --out runs/first"
)]
pub(crate) struct AgentFieldArgs {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
    /// Number of agents.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) agents: u16,
    /// Address for agents and for `weir agent fetch`.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7411")]
    pub(crate) listen: String,
    /// Run folder to create, or to finish.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Longest wait for agents.
    #[arg(long, value_name = "TIME", default_value = "300s")]
    pub(crate) timeout: Span,
    /// Time to serve the run folder after the run.
    #[arg(long, value_name = "TIME", default_value = "3600s")]
    pub(crate) keep: Span,
    /// File with the token that agents know [default: `WEIR_AGENT_TOKEN`].
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Fetches what the folder does not have yet, in parts and with checksums: after a broken
connection, the same call goes on.

Examples:
  weir agent fetch http://127.0.0.1:7411 --out runs/first
  weir agent fetch http://127.0.0.1:7411 --out runs/first --keep"
)]
pub(crate) struct AgentFetchArgs {
    /// Address of the field.
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// Run folder to create, or to complete.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Leave the field running.
    #[arg(long)]
    pub(crate) keep: bool,
    /// File with the token that the field knows [default: `WEIR_AGENT_TOKEN`].
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "An agent sends any load to any address for whoever knows its token. Without a
token it listens on this machine only. Token and access to the server cross the network in plain
text.

Examples:
  WEIR_AGENT_TOKEN=... weir agent load --listen 0.0.0.0:7412
  weir load http://10.0.0.9:8000 --poisson 500 --agents 10.0.0.2:7412,10.0.0.3:7412
  weir agent load --field http://field:7411
  weir load http://10.0.0.9:8000 --poisson 500 --gather 4 --gather-at 0.0.0.0:7411"
)]
pub(crate) struct AgentLoadArgs {
    /// Address to listen on.
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:7412",
        conflicts_with = "field"
    )]
    pub(crate) listen: String,
    /// Dial `weir load --gather` or `weir agent field` instead of listening, and end with it.
    #[arg(long, value_name = "URL")]
    pub(crate) field: Option<String>,
    /// End with the first load.
    #[arg(long)]
    pub(crate) once: bool,
    /// Shard to ask for [default: `JOB_COMPLETION_INDEX`, which an indexed Kubernetes Job sets].
    #[arg(long, value_name = "N", requires = "field")]
    pub(crate) index: Option<u32>,
    /// File with the token that the field knows [default: `WEIR_AGENT_TOKEN`].
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}
