//! The workload section of the experiment file and of the plan, where counts per user are resolved
//! for each level.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_model::{Nanos, TierKind};

mod check;
mod duration;
mod notation;

pub use check::{
    MAX_DISTINCT, MAX_DOCUMENTS_PER_PROMPT, MAX_REQUEST_TOKENS, MAX_SESSION_TURNS, MAX_TURNS,
};

/// What is asked. Written as a map with one key: `shared-prefix: {...}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadConfig {
    /// Prompts that start with one of a set of shared prefixes.
    SharedPrefix(SharedPrefix),
    /// Long documents with questions (retrieval-augmented generation).
    LongContext(LongContext),
    /// Agents: tool loops with growing context and sub-agents.
    Agentic(Agentic),
    /// A recorded trace.
    Trace(TraceFile),
}

/// Absolute, or proportional to the level's users or to what a tier holds. Written as `12`,
/// `{per_user: 2}` or `{times_gpu: 1.5}` (`times_host`, `times_disk`, `times_remote`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Count {
    Absolute(u64),
    PerUser(u64),
    /// Enough for a working set of so many times the capacity of one replica's tier.
    Times(f64, TierKind),
}

/// A distribution of token counts. Written as `128`, `{fixed: 128}`, `{uniform: {min, max}}`,
/// `{normal: {mean, stddev, min, max}}` or `{lognormal: {median, sigma, min, max}}`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    Fixed(u32),
    Uniform {
        min: u32,
        max: u32,
    },
    /// Rounded and clamped.
    Normal {
        mean: f64,
        stddev: f64,
        min: u32,
        max: u32,
    },
    /// Rounded and clamped.
    Lognormal {
        median: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
        min: u32,
        max: u32,
    },
}

/// How a session's prefix is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Draw {
    #[default]
    Uniform,
    RoundRobin,
    /// Rank `k` with probability proportional to `k^-exponent`.
    Zipf {
        /// Greater than 0.
        exponent: f64,
    },
}

/// Shared prefixes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharedPrefix {
    /// Number of distinct prefixes.
    pub prefixes: Count,
    /// How a session's prefix is chosen.
    #[serde(default)]
    pub draw: Draw,
    /// Length of a prefix; 0 makes prompts that share nothing, the control in which no cache can
    /// help.
    pub prefix_tokens: u32,
    /// Turns of a session.
    #[serde(default = "one")]
    pub turns: u32,
    /// New tokens of the user in each turn.
    pub prompt_tokens: Length,
    /// Tokens generated in each turn.
    pub output_tokens: Length,
    /// Pause of the user between turns.
    #[serde(default, with = "duration")]
    #[schemars(with = "String")]
    pub think: Nanos,
}

/// Long documents with questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LongContext {
    /// Number of distinct documents.
    pub documents: Count,
    /// How a session's documents are chosen.
    #[serde(default)]
    pub draw: Draw,
    /// Length of a document.
    pub document_tokens: Length,
    /// Documents in one prompt (retrieved chunks, in drawn order).
    #[serde(default = "one")]
    pub documents_per_prompt: u32,
    /// System prompt that every prompt starts with; may be 0.
    #[serde(default)]
    pub system_tokens: u32,
    /// Questions asked about the same documents, one after the other. Each prompt holds the
    /// documents and one question; earlier questions and answers are not repeated.
    #[serde(default = "one")]
    pub questions: u32,
    /// Length of a question.
    pub question_tokens: Length,
    /// Length of an answer.
    pub output_tokens: Length,
    /// Pause between questions.
    #[serde(default, with = "duration")]
    #[schemars(with = "String")]
    pub think: Nanos,
}

/// Agents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Agentic {
    /// System prompt and tool descriptions, shared by all agents.
    pub system_tokens: u32,
    /// The task given to an agent.
    pub task_tokens: Length,
    /// Calls of a tool per agent.
    pub tool_calls: Length,
    /// Tokens that the model writes to call a tool.
    pub call_tokens: Length,
    /// Tokens that a tool returns into the context.
    pub result_tokens: Length,
    /// Time a tool takes.
    #[serde(default, with = "duration")]
    #[schemars(with = "String")]
    pub tool_time: Nanos,
    /// Sub-agents that a task spawns (they share the system prompt, run side by side, and their
    /// answers go into the parent's context).
    #[serde(default)]
    pub sub_agents: u32,
    /// Tool calls of a sub-agent.
    #[serde(default = "none")]
    pub sub_agent_calls: Length,
    /// Length of the final answer.
    pub answer_tokens: Length,
}

/// Formats of recorded traces.
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TraceFormat {
    /// JSON lines: `timestamp`, `input_length`, `output_length`, `hash_ids` (one for each block of
    /// tokens, file-global). Mooncake's own and Qwen-Bailian's files are recognised.
    Mooncake,
    /// CSV: `TIMESTAMP`, `ContextTokens`, `GeneratedTokens`; no prefix information.
    Azure2023,
}

/// Unit of a trace's timestamps.
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimeUnit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

impl TimeUnit {
    pub const fn ns(self) -> i64 {
        match self {
            Self::S => 1_000_000_000,
            Self::Ms => 1_000_000,
            Self::Us => 1_000,
            Self::Ns => 1,
        }
    }

    pub const fn words(self) -> &'static str {
        match self {
            Self::S => "seconds",
            Self::Ms => "milliseconds",
            Self::Us => "microseconds",
            Self::Ns => "nanoseconds",
        }
    }
}

/// What to do with a request that the model's context cannot hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OverContext {
    /// Refuse the trace.
    #[default]
    Reject,
    /// Cut the prompt's end so that prompt and output fit.
    Truncate,
    /// Leave the request out, and count it.
    Skip,
}

/// A trace file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceFile {
    /// Its format.
    pub format: TraceFormat,
    /// Its path, relative to the experiment file's folder or absolute.
    pub path: String,
    /// Tokens that a hash id stands for (`mooncake`); found where one size alone fits all requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_tokens: Option<u32>,
    /// Unit of the timestamps (`mooncake`); known of Mooncake's own files (ms) and of
    /// Qwen-Bailian's (s), and asked for otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_unit: Option<TimeUnit>,
    /// Only the first requests of the file, those that are left out included.
    #[serde(default)]
    pub limit: Option<u64>,
    /// Requests that do not fit.
    #[serde(default)]
    pub over_context: OverContext,
}

impl WorkloadConfig {
    /// Tokens of a sequence in the middle of a typical session, from the middles of its lengths.
    /// None for a trace, whose lengths are in its file.
    pub fn typical_context(&self) -> Option<u64> {
        let middle = |length: &Length| u64::from(length.middle());
        match self {
            Self::SharedPrefix(of) => {
                let turn = middle(&of.prompt_tokens) + middle(&of.output_tokens);
                Some(u64::from(of.prefix_tokens) + turn * u64::from(of.turns).div_ceil(2))
            }
            Self::LongContext(of) => Some(
                u64::from(of.system_tokens)
                    + middle(&of.document_tokens) * u64::from(of.documents_per_prompt)
                    + middle(&of.question_tokens)
                    + middle(&of.output_tokens),
            ),
            Self::Agentic(of) => {
                let call = middle(&of.call_tokens) + middle(&of.result_tokens);
                let calls = middle(&of.tool_calls).div_ceil(2);
                Some(u64::from(of.system_tokens) + middle(&of.task_tokens) + call * calls)
            }
            Self::Trace(_) => None,
        }
    }
}

const fn one() -> u32 {
    1
}

const fn none() -> Length {
    Length::Fixed(0)
}
