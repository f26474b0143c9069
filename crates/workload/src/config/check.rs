//! Checks of a workload's values, and what follows from them for a number of users.

use super::{
    Agentic, Count, Draw, Length, LongContext, SharedPrefix, TraceFile, TraceFormat, WorkloadConfig,
};
use weir_model::TierKind;

use crate::error::WorkloadError;

pub const MAX_DISTINCT: u64 = 1 << 40;
const MAX_TIMES: f64 = 1e6;
/// Tokens of a prompt and its answer, several times the longest existing context.
pub const MAX_REQUEST_TOKENS: u64 = 1 << 26;
/// Far more than any cache has.
const MAX_BLOCK_TOKENS: u32 = 1 << 20;
/// Turns of one user or agent. Prompts grow with the turns, so a session's memory grows with their
/// square.
pub const MAX_TURNS: u32 = 1_000;
/// Includes all sub-agents.
pub const MAX_SESSION_TURNS: u64 = 4_000;
pub const MAX_DOCUMENTS_PER_PROMPT: u32 = 1_000;

impl WorkloadConfig {
    /// The error names the key.
    pub fn validate(&self) -> Result<(), WorkloadError> {
        match self {
            Self::SharedPrefix(config) => shared_prefix(config)?,
            Self::LongContext(config) => long_context(config)?,
            Self::Agentic(config) => agentic(config)?,
            Self::Trace(config) => trace(config)?,
        }
        match self.longest_request() {
            Some(longest) if longest > MAX_REQUEST_TOKENS => Err(WorkloadError::value(
                self.key(),
                format!(
                    "can ask for {longest} tokens in one request, more than {MAX_REQUEST_TOKENS}: \
                     lower {}",
                    self.levers()
                ),
            )),
            _ => Ok(()),
        }
    }

    #[must_use]
    pub fn resolve_users(&self, users: u32) -> Self {
        let mut resolved = self.clone();
        match &mut resolved {
            Self::SharedPrefix(config) => config.prefixes = config.prefixes.resolved(users),
            Self::LongContext(config) => config.documents = config.documents.resolved(users),
            Self::Agentic(_) | Self::Trace(_) => {}
        }
        resolved
    }

    /// Resolves counts in multiples of a tier. `held` gives the KV tokens of one replica's tier, or
    /// None where there is no such tier.
    pub fn resolve_capacity(
        &self,
        held: impl Fn(TierKind) -> Option<u64>,
    ) -> Result<Self, WorkloadError> {
        self.validate()?;
        let mut resolved = self.clone();
        match &mut resolved {
            Self::SharedPrefix(config) => {
                let tokens = u64::from(config.prefix_tokens);
                let key = "workload.shared-prefix.prefixes";
                config.prefixes = config.prefixes.filling(key, tokens, held)?;
            }
            Self::LongContext(config) => {
                // For documents of different length, the middle between shortest and longest.
                let (least, most) =
                    (config.document_tokens.smallest(), config.document_tokens.largest());
                let tokens = u64::from(least).midpoint(u64::from(most));
                let key = "workload.long-context.documents";
                config.documents = config.documents.filling(key, tokens, held)?;
            }
            Self::Agentic(_) | Self::Trace(_) => {}
        }
        Ok(resolved)
    }

    pub const fn is_sized_by_a_tier(&self) -> bool {
        match self {
            Self::SharedPrefix(config) => matches!(config.prefixes, Count::Times(..)),
            Self::LongContext(config) => matches!(config.documents, Count::Times(..)),
            Self::Agentic(_) | Self::Trace(_) => false,
        }
    }

    /// Only a closed loop has users.
    pub const fn is_per_user(&self) -> bool {
        match self {
            Self::SharedPrefix(config) => matches!(config.prefixes, Count::PerUser(_)),
            Self::LongContext(config) => matches!(config.documents, Count::PerUser(_)),
            Self::Agentic(_) | Self::Trace(_) => false,
        }
    }

    /// Most tokens of one prompt and its answer. None for a trace, whose requests are checked one
    /// by one.
    pub fn longest_request(&self) -> Option<u64> {
        let most = |length: &Length| u64::from(length.largest());
        match self {
            Self::SharedPrefix(c) => {
                let turn = most(&c.prompt_tokens) + most(&c.output_tokens);
                Some(u64::from(c.prefix_tokens) + u64::from(c.turns) * turn)
            }
            Self::LongContext(c) => {
                let documents = u64::from(c.documents_per_prompt) * most(&c.document_tokens);
                let question = most(&c.question_tokens) + most(&c.output_tokens);
                Some(u64::from(c.system_tokens) + documents + question)
            }
            Self::Agentic(c) => {
                let step = most(&c.call_tokens) + most(&c.result_tokens);
                let frame = u64::from(c.system_tokens) + most(&c.task_tokens);
                let answer = most(&c.answer_tokens);
                let spawned = match u64::from(c.sub_agents) {
                    0 => 0,
                    agents => most(&c.call_tokens) + agents * answer,
                };
                let parent = most(&c.tool_calls) * step + spawned;
                let sub_agent = match c.sub_agents {
                    0 => 0,
                    _ => most(&c.sub_agent_calls) * step,
                };
                Some(frame + parent.max(sub_agent) + answer)
            }
            Self::Trace(_) => None,
        }
    }

    /// A session can have several turns.
    pub fn has_turns(&self) -> bool {
        match self {
            Self::SharedPrefix(c) => c.turns > 1,
            Self::LongContext(c) => c.questions > 1,
            Self::Agentic(c) => c.tool_calls.largest() > 0 || c.sub_agents > 0,
            Self::Trace(_) => false,
        }
    }

    pub const fn key(&self) -> &'static str {
        match self {
            Self::SharedPrefix(_) => "workload.shared-prefix",
            Self::LongContext(_) => "workload.long-context",
            Self::Agentic(_) => "workload.agentic",
            Self::Trace(_) => "workload.trace",
        }
    }

    /// The keys that decide how long a request can become.
    pub(crate) const fn levers(&self) -> &'static str {
        match self {
            Self::SharedPrefix(_) => "`prefix_tokens`, `turns`, `prompt_tokens` or `output_tokens`",
            Self::LongContext(_) => "`documents_per_prompt` or `document_tokens`",
            Self::Agentic(_) => "`tool_calls`, `result_tokens` or `sub_agents`",
            Self::Trace(_) => "`limit`",
        }
    }
}

impl Count {
    const fn resolved(self, users: u32) -> Self {
        match self {
            Self::Absolute(count) => Self::Absolute(count),
            Self::PerUser(count) => Self::Absolute(count.saturating_mul(users as u64)),
            Self::Times(..) => self,
        }
    }

    /// The count of items of `tokens` each that fill the tier so many times.
    fn filling(
        self,
        key: &str,
        tokens: u64,
        held: impl Fn(TierKind) -> Option<u64>,
    ) -> Result<Self, WorkloadError> {
        let Self::Times(times, tier) = self else { return Ok(self) };
        let Some(held) = held(tier) else {
            return Err(WorkloadError::value(
                key,
                format!("is in multiples of the {tier} tier, and no arm has one: name another"),
            ));
        };
        if tokens == 0 {
            let problem = "is in multiples of a tier, and what is counted has no tokens";
            return Err(WorkloadError::value(key, problem));
        }
        // At least one, however small the tier.
        let count = (times * held as f64 / tokens as f64).ceil().max(1.0);
        Ok(Self::Absolute(count as u64))
    }

    /// An error for a count per user that was not resolved.
    pub(crate) fn absolute(self, key: &str) -> Result<u64, WorkloadError> {
        match self {
            Self::Absolute(count) => Ok(count),
            Self::PerUser(_) => Err(WorkloadError::value(
                key,
                "is per user, but this load has no users: write a plain number",
            )),
            Self::Times(..) => Err(WorkloadError::value(
                key,
                "is in multiples of a tier whose size is not known here: write a plain number",
            )),
        }
    }
}

struct Section(&'static str);

impl Section {
    fn error(&self, key: &str, problem: impl Into<String>) -> WorkloadError {
        WorkloadError::value(format!("workload.{}.{key}", self.0), problem)
    }

    fn at_least_one(&self, key: &str, value: u64) -> Result<(), WorkloadError> {
        if value == 0 { Err(self.error(key, "must be at least 1")) } else { Ok(()) }
    }

    fn at_most(&self, key: &str, value: u64, most: u64) -> Result<(), WorkloadError> {
        if value > most {
            return Err(self.error(key, format!("is {value}, more than {most}")));
        }
        Ok(())
    }

    fn count(&self, key: &str, count: Count) -> Result<(), WorkloadError> {
        let value = match count {
            Count::Absolute(value) | Count::PerUser(value) => value,
            Count::Times(times, _) if times > 0.0 && times <= MAX_TIMES => return Ok(()),
            Count::Times(times, _) => {
                return Err(self.error(
                    key,
                    format!("is {times} times a tier; it must be above 0 and at most {MAX_TIMES}"),
                ));
            }
        };
        self.at_least_one(key, value)?;
        self.at_most(key, value, MAX_DISTINCT)
    }

    fn turns(&self, key: &str, turns: u32) -> Result<(), WorkloadError> {
        self.at_least_one(key, u64::from(turns))?;
        self.at_most(key, u64::from(turns), u64::from(MAX_TURNS))
    }

    fn draw(&self, draw: Draw) -> Result<(), WorkloadError> {
        match draw {
            Draw::Zipf { exponent } if !(exponent > 0.0 && exponent.is_finite()) => Err(self
                .error(
                    "draw.zipf.exponent",
                    format!(
                        "is {exponent}; it must be a number above 0 (`draw: uniform` for none)"
                    ),
                )),
            _ => Ok(()),
        }
    }

    /// May be 0.
    fn length(&self, key: &str, length: Length) -> Result<(), WorkloadError> {
        let form = match length {
            Length::Fixed(_) => return Ok(()),
            Length::Uniform { .. } => "uniform",
            Length::Normal { .. } => "normal",
            Length::Lognormal { .. } => "lognormal",
        };
        let (min, max) = (length.smallest(), length.largest());
        if min > max {
            return Err(self.error(
                &format!("{key}.{form}"),
                format!("has min {min} above max {max}: swap them"),
            ));
        }
        let number = |name: &str, value: f64, low: f64| {
            if value >= low && value.is_finite() {
                return Ok(());
            }
            let problem = format!("is {value}; it must be a number of at least {low}");
            Err(self.error(&format!("{key}.{form}.{name}"), problem))
        };
        match length {
            Length::Fixed(_) | Length::Uniform { .. } => Ok(()),
            Length::Normal { mean, stddev, .. } => {
                number("mean", mean, 0.0)?;
                number("stddev", stddev, 0.0)
            }
            Length::Lognormal { median, sigma, .. } => {
                number("median", median, 1.0)?;
                number("sigma", sigma, 0.0)
            }
        }
    }

    /// Must not be 0.
    fn tokens(&self, key: &str, length: Length) -> Result<(), WorkloadError> {
        self.length(key, length)?;
        match length {
            Length::Fixed(0) => Err(self.error(key, "must be at least 1")),
            _ if length.smallest() == 0 => {
                Err(self.error(key, "can be 0; set its min to at least 1"))
            }
            _ => Ok(()),
        }
    }
}

fn shared_prefix(config: &SharedPrefix) -> Result<(), WorkloadError> {
    let section = Section("shared-prefix");
    section.count("prefixes", config.prefixes)?;
    section.draw(config.draw)?;
    section.turns("turns", config.turns)?;
    section.tokens("prompt_tokens", config.prompt_tokens)?;
    section.tokens("output_tokens", config.output_tokens)
}

fn long_context(config: &LongContext) -> Result<(), WorkloadError> {
    let section = Section("long-context");
    section.count("documents", config.documents)?;
    section.draw(config.draw)?;
    section.tokens("document_tokens", config.document_tokens)?;
    let per_prompt = u64::from(config.documents_per_prompt);
    section.at_least_one("documents_per_prompt", per_prompt)?;
    section.at_most("documents_per_prompt", per_prompt, u64::from(MAX_DOCUMENTS_PER_PROMPT))?;
    match config.documents {
        Count::Absolute(documents) if documents < per_prompt => {
            return Err(section.error(
                "documents_per_prompt",
                format!("is {per_prompt}, but there are only {documents} documents to choose from"),
            ));
        }
        _ => {}
    }
    section.turns("questions", config.questions)?;
    section.tokens("question_tokens", config.question_tokens)?;
    section.tokens("output_tokens", config.output_tokens)
}

fn agentic(config: &Agentic) -> Result<(), WorkloadError> {
    let section = Section("agentic");
    section.tokens("task_tokens", config.task_tokens)?;
    section.length("tool_calls", config.tool_calls)?;
    section.length("sub_agent_calls", config.sub_agent_calls)?;
    section.tokens("call_tokens", config.call_tokens)?;
    section.tokens("result_tokens", config.result_tokens)?;
    section.tokens("answer_tokens", config.answer_tokens)?;
    let turns = u64::from(MAX_TURNS);
    section.at_most("tool_calls", u64::from(config.tool_calls.largest()), turns)?;
    section.at_most("sub_agent_calls", u64::from(config.sub_agent_calls.largest()), turns)?;
    section.at_most("sub_agents", u64::from(config.sub_agents), turns)?;
    let sub_turns = u64::from(config.sub_agent_calls.largest()) + 1;
    let all = u64::from(config.tool_calls.largest()) + 2 + u64::from(config.sub_agents) * sub_turns;
    if all > MAX_SESSION_TURNS {
        return Err(section.error(
            "sub_agents",
            format!(
                "make a task of up to {all} turns, more than {MAX_SESSION_TURNS}: lower \
                 `sub_agents` or `sub_agent_calls`"
            ),
        ));
    }
    Ok(())
}

fn trace(config: &TraceFile) -> Result<(), WorkloadError> {
    let section = Section("trace");
    if config.path.is_empty() {
        return Err(section.error("path", "is empty: write the path of the trace file"));
    }
    if config.block_tokens.is_some_and(|tokens| !(1..=MAX_BLOCK_TOKENS).contains(&tokens)) {
        let problem =
            format!("must be from 1 to {MAX_BLOCK_TOKENS}; leave it out to have it found");
        return Err(section.error("block_tokens", problem));
    }
    if config.format != TraceFormat::Mooncake {
        for (key, given) in [
            ("block_tokens", config.block_tokens.is_some()),
            ("time_unit", config.time_unit.is_some()),
        ] {
            if given {
                return Err(section.error(key, "applies to `format: mooncake` only; leave it out"));
            }
        }
    }
    match config.limit {
        Some(0) => Err(section.error("limit", "must be at least 1; leave it out for all requests")),
        _ => Ok(()),
    }
}
