//! Arguments of `weir load`.

use std::path::PathBuf;

use clap::Args;
use weir_model::quantity::Span;
use weir_workload::client::{ARRIVAL_HEADING, ClientOptions};
use weir_workload::config::{TimeUnit, TraceFormat};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir load http://127.0.0.1:8000 --users 1,8,64 --prompt-tokens 512 --output-tokens 128
  weir load http://127.0.0.1:8000 --poisson 2,4,8 --prefixes 50 --prefix-tokens 8000 --duration 2m
  weir load http://127.0.0.1:8000 --working-set 0,0.5,3 --prefix-tokens 4000 --users 8
  weir load http://127.0.0.1:8000 --trace conversation_trace.jsonl --requests 500
  weir load http://127.0.0.1:8000 --find-rate 1..64 --slo-ttft 2s --slo-tpot 100ms
  weir load http://127.0.0.1:8000 --users 256 --processes 4
  weir load http://10.0.0.9:8000 --poisson 500 --agents 10.0.0.2:7412,10.0.0.3:7412
  weir load https://host/v1 --bearer-file token --api chat --tokenizer tokenizer.json --users 16
  weir load http://127.0.0.1:8000 --workload '{agentic: {system_tokens: 2000, task_tokens: 100,
       tool_calls: 4, call_tokens: 50, result_tokens: 800, answer_tokens: 200}}' --users 8")]
pub(crate) struct LoadArgs {
    /// Base URL of the server; with several, sessions are spread over them in turn.
    #[arg(value_name = "URL", required = true)]
    pub(crate) urls: Vec<String>,
    /// Served model name [default: the only one that the server has].
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) arrival: ArrivalArgs,
    #[command(flatten)]
    pub(crate) asked: AskedArgs,
    #[command(flatten)]
    pub(crate) client: ClientOptions<Span>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    #[command(flatten)]
    pub(crate) several: SeveralArgs,
    #[command(flatten)]
    pub(crate) objectives: ObjectiveArgs,
    /// Run folder to create [default: `runs/load-<time>`].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Also write results as `guidellm=FILE`, `vllm-bench=FILE`, `benchmark-report=FILE` or
    /// `csv=FILE`; with several levels, the level's name is added to FILE. May be repeated.
    #[arg(long = "format", value_name = "FORMAT=FILE")]
    pub(crate) formats: Vec<String>,
    /// Print what would be sent, and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// How requests arrive: one of these; a list is a sweep.
#[derive(Debug, Args)]
#[command(next_help_heading = ARRIVAL_HEADING)]
pub(crate) struct ArrivalArgs {
    /// Closed loop: number of users, each with one session at a time [default: 1].
    #[arg(long, value_name = "N,..", value_delimiter = ',', group = "arrival")]
    pub(crate) users: Vec<u32>,
    /// Open loop with constant gaps, in sessions per second.
    #[arg(long, value_name = "RATE,..", value_delimiter = ',', group = "arrival")]
    pub(crate) rate: Vec<f64>,
    /// Open loop with exponential gaps (Poisson arrivals), in sessions per second.
    #[arg(long, value_name = "RATE,..", value_delimiter = ',', group = "arrival")]
    pub(crate) poisson: Vec<f64>,
    /// Open loop with gamma-distributed gaps of variation --cv, in sessions per second.
    #[arg(long, value_name = "RATE,..", value_delimiter = ',', group = "arrival")]
    pub(crate) gamma: Vec<f64>,
    /// Find the highest Poisson rate in a range that meets the objectives.
    #[arg(long, value_name = "LOW..HIGH", group = "arrival")]
    pub(crate) find_rate: Option<String>,
    /// Use the trace's own times, divided by this factor [default with --trace: 1].
    #[arg(long, value_name = "FACTOR,..", value_delimiter = ',', group = "arrival")]
    pub(crate) trace_speed: Vec<f64>,
    /// Coefficient of variation of --gamma; 1 is Poisson, more is burstier.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) cv: f64,
    /// End of the measured window: requests due before it count [default: 30s; with --requests or a
    /// trace: no end].
    #[arg(long, value_name = "TIME")]
    pub(crate) duration: Option<Span>,
    /// Start of the measured window [default: a tenth of --duration].
    #[arg(long, value_name = "TIME")]
    pub(crate) warmup: Option<Span>,
    /// Spread the start of users evenly over this time; 0s starts all at once [default: half of
    /// --warmup].
    #[arg(long, value_name = "TIME")]
    pub(crate) ramp: Option<Span>,
    /// Largest number of requests of a level.
    #[arg(long, value_name = "N")]
    pub(crate) requests: Option<u64>,
    /// Number of repeats of each level.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) repeats: u32,
    /// Master seed: equal seeds give prompts of equal structure (with --same-prompts: the same
    /// prompts).
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

/// What the prompts hold.
#[derive(Debug, Args)]
#[command(next_help_heading = "Prompts")]
pub(crate) struct AskedArgs {
    /// Number of new tokens in each prompt.
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub(crate) prompt_tokens: u32,
    /// Number of tokens to generate.
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(crate) output_tokens: u32,
    /// Length of the prefix that prompts share, in tokens; 0 is none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) prefix_tokens: u32,
    /// Number of different prefixes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) prefixes: u64,
    /// Choose the number of prefixes so that they fill the server's GPU cache this many times.
    /// Below 1 they fit, and offloading cannot help; above 1 only offloading can; 0 shares no
    /// prefix. A list compares.
    #[arg(long, value_name = "TIMES,..", value_delimiter = ',', conflicts_with_all = ["prefixes", "trace"])]
    pub(crate) working_set: Vec<f64>,
    /// Number of turns in a session; each prompt contains the turns before.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) turns: u32,
    /// Pause between turns.
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub(crate) think: Span,
    /// Workload section of an experiment file, as YAML or as the path of a YAML file.
    #[arg(long, value_name = "YAML", conflicts_with_all = ["trace", "prefix_tokens", "prefixes", "turns", "working_set"])]
    pub(crate) workload: Option<String>,
    /// Recorded trace to replay.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<String>,
    /// Format of the trace.
    #[arg(long, value_enum, default_value_t = TraceFormat::Mooncake)]
    pub(crate) trace_format: TraceFormat,
    /// Number of tokens per hash id of the trace [default: detected where only one size fits].
    #[arg(long, value_name = "N", requires = "trace")]
    pub(crate) trace_block_tokens: Option<u32>,
    /// Unit of the trace's timestamps [default: detected for the Mooncake and Qwen-Bailian files].
    #[arg(long, value_enum, requires = "trace")]
    pub(crate) trace_time_unit: Option<TimeUnit>,
}

/// Who asks, and whom the client trusts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Client")]
pub(crate) struct AccessArgs {
    /// File that holds the bearer token.
    #[arg(long, value_name = "FILE")]
    pub(crate) bearer_file: Option<String>,
    /// Additional header. May be repeated.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// Certificates to check the server against, instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<String>,
    /// Accept any server certificate.
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// Who generates the load, where one process does not suffice.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load from several processes (choose one)")]
pub(crate) struct SeveralArgs {
    /// Divide the load among this many processes of this machine.
    #[arg(long, value_name = "N", group = "several", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) processes: Option<u16>,
    /// Divide the load among agents that listen (`weir agent load --listen`).
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',', group = "several")]
    pub(crate) agents: Vec<String>,
    /// Divide the load among this many agents, and wait until they have dialed
    /// (`weir agent load --field`).
    #[arg(long, value_name = "N", group = "several", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) gather: Option<u16>,
    /// Where agents dial.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7411", requires = "gather")]
    pub(crate) gather_at: String,
    /// Longest wait for agents.
    #[arg(long, value_name = "TIME", default_value = "300s", requires = "gather")]
    pub(crate) gather_timeout: Span,
    /// File with the token that agents know [default: `WEIR_AGENT_TOKEN`].
    #[arg(long, value_name = "FILE")]
    pub(crate) agent_token_file: Option<PathBuf>,
}

/// Objectives: goodput is counted against them.
// The flags' names.
#[allow(clippy::struct_field_names)]
#[derive(Debug, Args)]
#[command(next_help_heading = "Objectives")]
pub(crate) struct ObjectiveArgs {
    /// Longest acceptable time to first token.
    #[arg(long, value_name = "TIME")]
    pub(crate) slo_ttft: Option<Span>,
    /// Longest acceptable time per output token after the first.
    #[arg(long, value_name = "TIME")]
    pub(crate) slo_tpot: Option<Span>,
    /// Longest acceptable time of a whole request.
    #[arg(long, value_name = "TIME")]
    pub(crate) slo_e2e: Option<Span>,
    /// Share of requests that must meet the objectives, for --find-rate.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    pub(crate) slo_share: f64,
}
