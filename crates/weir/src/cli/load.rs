//! Arguments of `weir load`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use weir_spec::plan::Tolerance;
use weir_workload::config::TimeUnit;

/// Which of the interfaces is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ApiArg {
    /// `/v1/completions`.
    Completions,
    /// `/v1/chat/completions`; needs --tokenizer.
    Chat,
}

/// Units of a trace's timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TimeUnitArg {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

impl TimeUnitArg {
    pub(crate) const fn unit(self) -> TimeUnit {
        match self {
            Self::S => TimeUnit::S,
            Self::Ms => TimeUnit::Ms,
            Self::Us => TimeUnit::Us,
            Self::Ns => TimeUnit::Ns,
        }
    }
}

/// Formats of recorded traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TraceFormatArg {
    /// JSON lines with `hash_ids`, one for each block of tokens.
    Mooncake,
    /// CSV with lengths and times only.
    Azure2023,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir load http://127.0.0.1:8000 --users 1,8,64 --prompt-tokens 512 --output-tokens 128
  weir load http://127.0.0.1:8000 --poisson 2,4,8 --prefixes 50 --prefix-tokens 8000 --duration 2m
  weir load http://127.0.0.1:8000 --working-set 0,0.5,3 --prefix-tokens 4000 --users 8
  weir load http://127.0.0.1:8000 --trace conversation_trace.jsonl --requests 500
  weir load http://127.0.0.1:8000 --find-rate 1..64 --slo-ttft 2s --slo-tpot 100ms
  weir load https://host/v1 --bearer-file token --api chat --tokenizer tokenizer.json --users 16
  weir load http://127.0.0.1:8000 --workload '{agentic: {system_tokens: 2000, task_tokens: 100,
       tool_calls: 4, call_tokens: 50, result_tokens: 800, answer_tokens: 200}}' --users 8")]
pub(crate) struct LoadArgs {
    /// Base URL of the server; with several, sessions go to them in turn.
    #[arg(value_name = "URL", required = true)]
    pub(crate) urls: Vec<String>,
    /// The name that the server gives the model; by default the only one it serves.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) arrival: ArrivalArgs,
    #[command(flatten)]
    pub(crate) asked: AskedArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) objectives: ObjectiveArgs,
    /// Run folder to create; the default is `runs/load-<time>`.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Also write results as `guidellm=FILE`, `vllm-bench=FILE`, `benchmark-report=FILE`
    /// or `csv=FILE`; with several levels, FILE gets the level's name. May be repeated.
    #[arg(long = "format", value_name = "FORMAT=FILE")]
    pub(crate) formats: Vec<String>,
    /// Print what would be sent and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// How requests arrive: one of these; a list is a sweep.
#[derive(Debug, Args)]
#[command(next_help_heading = "Arrival (one of; lists are swept)")]
pub(crate) struct ArrivalArgs {
    /// Closed loop: users with one session at a time [default: 1].
    #[arg(long, value_name = "N,..", value_delimiter = ',', group = "arrival")]
    pub(crate) users: Vec<u32>,
    /// Open loop with constant gaps: sessions per second.
    #[arg(long, value_name = "RATE,..", value_delimiter = ',', group = "arrival")]
    pub(crate) rate: Vec<f64>,
    /// Open loop with exponential gaps.
    #[arg(long, value_name = "RATE,..", value_delimiter = ',', group = "arrival")]
    pub(crate) poisson: Vec<f64>,
    /// Open loop with gamma gaps of variation --cv.
    #[arg(long, value_name = "RATE,..", value_delimiter = ',', group = "arrival")]
    pub(crate) gamma: Vec<f64>,
    /// Search the highest Poisson rate of a range that meets the objectives.
    #[arg(long, value_name = "LOW..HIGH", group = "arrival")]
    pub(crate) find_rate: Option<String>,
    /// A trace's own times, divided by this [default with --trace: 1].
    #[arg(long, value_name = "FACTOR,..", value_delimiter = ',', group = "arrival")]
    pub(crate) trace_speed: Vec<f64>,
    /// Coefficient of variation of --gamma; 1 is Poisson, above is burstier.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) cv: f64,
    /// Requests due until here are measured [default: 30s; with --requests or a trace none].
    #[arg(long, value_name = "TIME")]
    pub(crate) duration: Option<String>,
    /// The measured window starts here [default: a tenth of --duration].
    #[arg(long, value_name = "TIME")]
    pub(crate) warmup: Option<String>,
    /// Users start evenly over this time; 0s starts all at once [default: half of --warmup].
    #[arg(long, value_name = "TIME")]
    pub(crate) ramp: Option<String>,
    /// Most requests of a level.
    #[arg(long, value_name = "N")]
    pub(crate) requests: Option<u64>,
    /// Measured requests may take this much longer, while the load goes on.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub(crate) drain: String,
    /// Largest share of the measured requests that may fail before a level says nothing.
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub(crate) max_failures: f64,
    /// Repeats of each level.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) repeats: u32,
    /// Master seed: equal seeds ask prompts of one structure (--same-prompts: the same prompts).
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

/// What is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is asked")]
pub(crate) struct AskedArgs {
    /// New tokens of each prompt.
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub(crate) prompt_tokens: u32,
    /// Tokens to generate.
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(crate) output_tokens: u32,
    /// Length of the prefix that prompts share; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) prefix_tokens: u32,
    /// Number of different prefixes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) prefixes: u64,
    /// As many prefixes as make so many times what the server's GPU cache holds: below 1 they fit,
    /// and no offloading can help; above, only offloading can; 0 shares no prefix. A list compares.
    #[arg(long, value_name = "TIMES,..", value_delimiter = ',', conflicts_with_all = ["prefixes", "trace"])]
    pub(crate) working_set: Vec<f64>,
    /// Turns of a session; each quotes the ones before.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) turns: u32,
    /// Pause between turns.
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub(crate) think: String,
    /// Any workload of experiment files, as YAML or as a file that holds it.
    #[arg(long, value_name = "YAML", conflicts_with_all = ["trace", "prefix_tokens", "prefixes", "turns", "working_set"])]
    pub(crate) workload: Option<String>,
    /// A recorded trace.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<String>,
    /// Its format.
    #[arg(long, value_enum, default_value_t = TraceFormatArg::Mooncake)]
    pub(crate) trace_format: TraceFormatArg,
    /// Tokens that one of its hash ids stands for [default: found where one size alone fits].
    #[arg(long, value_name = "N", requires = "trace")]
    pub(crate) trace_block_tokens: Option<u32>,
    /// Unit of its timestamps [default: known of Mooncake's and Qwen-Bailian's own files].
    #[arg(long, value_enum, requires = "trace")]
    pub(crate) trace_time_unit: Option<TimeUnitArg>,
}

/// How it is asked.
// Each switch is a flag of its own to the user.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Args)]
#[command(next_help_heading = "Client")]
pub(crate) struct ClientArgs {
    /// Which interface.
    #[arg(long, value_enum, default_value_t = ApiArg::Completions)]
    pub(crate) api: ApiArg,
    /// A tokenizer.json: prompts are sent as text of exact length instead of token ids.
    #[arg(long, value_name = "FILE")]
    pub(crate) tokenizer: Option<String>,
    /// Token ids are drawn below this [default: the served model's vocabulary where it is known, at
    /// most 32000].
    #[arg(long, value_name = "N")]
    pub(crate) vocabulary: Option<u32>,
    /// Ask what other loads with the same seed ask, instead of new prompts of the same structure.
    #[arg(long)]
    pub(crate) same_prompts: bool,
    /// Quote the server's own answers in later turns, as token ids.
    #[arg(long)]
    pub(crate) own_answers: bool,
    /// Ask for whole answers instead of streams.
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Let answers end early: do not send `ignore_eos` and `min_tokens`.
    #[arg(long)]
    pub(crate) allow_eos: bool,
    /// A connection of its own for each request.
    #[arg(long)]
    pub(crate) new_connections: bool,
    /// File with the bearer token.
    #[arg(long, value_name = "FILE")]
    pub(crate) bearer_file: Option<String>,
    /// A further header. May be repeated.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// Further keys of each request's body, as a JSON object.
    #[arg(long, value_name = "JSON")]
    pub(crate) body: Option<String>,
    /// Certificates that the server is checked against, instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<String>,
    /// Accept any certificate.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Longest wait for a connection.
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub(crate) connect_timeout: String,
    /// Longest request.
    #[arg(long, value_name = "TIME", default_value = "600s")]
    pub(crate) request_timeout: String,
    /// Threads that send and time requests.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) workers: u32,
    /// Largest error of a time because of this client, as a time or a share: `5ms`, `5%`. Times
    /// with a larger one are shown as bounds [default: 5% of the figure, at least 1ms].
    #[arg(long, value_name = "ERROR")]
    pub(crate) max_error: Option<Tolerance>,
    /// Pin the first worker to this processor, and the next ones to those after it.
    #[arg(long, value_name = "CPU")]
    pub(crate) pin: Option<u32>,
}

/// Objectives: goodput is counted against them.
// The flags' names.
#[allow(clippy::struct_field_names)]
#[derive(Debug, Args)]
#[command(next_help_heading = "Objectives")]
pub(crate) struct ObjectiveArgs {
    /// Longest time to first token.
    #[arg(long, value_name = "TIME")]
    pub(crate) slo_ttft: Option<String>,
    /// Longest time per output token after the first.
    #[arg(long, value_name = "TIME")]
    pub(crate) slo_tpot: Option<String>,
    /// Longest request.
    #[arg(long, value_name = "TIME")]
    pub(crate) slo_e2e: Option<String>,
    /// Share of the requests that must meet them for --find-rate.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    pub(crate) slo_share: f64,
}
