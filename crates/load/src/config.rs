use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_http::{TlsConfig, Url, request};
use weir_model::{Nanos, Prompt, Window};
use weir_workload::client::{Answers, Api, ClientOptions};
use weir_workload::{Arrivals, Shard};

use crate::error::LoadError;
use crate::text::TextMaker;

/// The request field that limits the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitField {
    #[default]
    MaxTokens,
    /// Replaces `max_tokens` in newer servers of `/v1/chat/completions`.
    MaxCompletionTokens,
}

impl LimitField {
    pub const ALL: [Self; 2] = [Self::MaxTokens, Self::MaxCompletionTokens];

    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// How a symbolic prompt is sent.
#[derive(Debug, Clone)]
pub enum PromptForm {
    /// Exact lengths without a tokenizer. Completions only.
    TokenIds {
        /// Ids are below it; at least 2.
        vocabulary: u32,
    },
    /// Text with exactly as many tokens.
    Text(Arc<dyn TextMaker>),
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LoadShape {
    /// Closed loop of users with one session at a time, started evenly over `ramp`.
    Users { users: u32, ramp: Nanos },
    /// Open loop: absolute due times of an arrival process.
    Open(Arrivals),
    /// Each session has its own start.
    SessionTimes,
}

#[derive(Debug, Clone)]
pub struct LoadConfig {
    /// Sessions are assigned in turn and keep their endpoint.
    pub endpoints: Vec<Url>,
    pub model: String,
    /// Addresses of the replicas that answer, in the order of their numbers; those that responses
    /// name besides get later numbers. An endpoint among them answers itself where a response
    /// names nobody.
    pub replicas: Vec<String>,
    /// Fields of `body` override the generator's; `null` leaves a field out.
    pub client: ClientOptions,
    pub prompts: PromptForm,
    /// Send `min_tokens` = `max_tokens`.
    pub min_tokens: bool,
    /// Unless the body sets a limit.
    pub limit_field: LimitField,
    /// Keep each streamed answer until its end and record a digest of its text or token ids.
    pub digest_output: bool,
    pub bearer: Option<String>,
    pub headers: Vec<(String, String)>,
    pub tls: TlsConfig,
    pub load: LoadShape,
    /// Of sessions, due times, users and the request limit, which are those of the whole load.
    pub shard: Shard,
    /// Of the arrival process.
    pub seed: u64,
    /// End of the measured window. The load goes on until every request due in the window has
    /// ended.
    pub duration: Option<Nanos>,
    /// Start of the measured window.
    pub warmup: Nanos,
    pub max_requests: Option<u64>,
}

/// Shorter header values (`1`, `on`) are not secret, and every other message contains them.
const SECRET_BYTES_MIN: usize = 6;

/// Fields reserved for the generator, with the setting that decides each.
const RESERVED_FIELDS: [(&str, &str); 6] = [
    ("prompt", "the workload"),
    ("messages", "the workload"),
    ("model", "the model's name"),
    ("stream", "the streaming option"),
    ("n", "nothing else than 1 answer per request can be timed"),
    ("return_token_ids", "how answers are quoted"),
];

impl LoadConfig {
    /// Without a duration its end is known only after the load.
    pub(crate) fn window(&self) -> Window {
        Window { start: self.warmup, end: self.duration.unwrap_or(Nanos::MAX) }
    }

    /// Refuses contradictions before any connection is opened.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        let refuse = |what: String| Err(LoadError::Config(what));
        if self.endpoints.is_empty() {
            return refuse("no endpoint is given: name at least one URL".to_owned());
        }
        if self.endpoints.len() > usize::from(u16::MAX) {
            return refuse(format!("{} endpoints are too many", self.endpoints.len()));
        }
        if self.client.workers == 0 {
            return refuse("no worker is given: at least one thread must send".to_owned());
        }
        match (&self.prompts, self.client.api, self.client.answers) {
            (PromptForm::TokenIds { vocabulary: 0 | 1 }, ..) => {
                return refuse("the vocabulary has fewer than 2 tokens".to_owned());
            }
            (PromptForm::TokenIds { .. }, Api::Chat, _) => {
                return refuse(
                    "chat takes no token ids: give a tokenizer for text prompts, or use completions"
                        .to_owned(),
                );
            }
            (PromptForm::Text(_), _, Answers::Own) => {
                return refuse(
                    "own answers are quoted as token ids: use token-id prompts on completions"
                        .to_owned(),
                );
            }
            _ => {}
        }
        let Shard { index, of } = self.shard;
        if index >= of {
            return refuse(format!("shard {index} of {of} does not exist"));
        }
        if let LoadShape::Users { users, .. } = self.load
            && users <= index
        {
            return refuse(match of {
                1 => "users must be at least 1".to_owned(),
                _ => format!("{users} users do not suffice for {of} shards: each needs one"),
            });
        }
        if self.duration.is_some_and(|duration| duration <= self.warmup) {
            return refuse(format!(
                "the warm-up of {} leaves nothing of the duration to measure",
                self.warmup
            ));
        }
        if let Some((field, by)) =
            RESERVED_FIELDS.iter().find(|f| self.client.body.contains_key(f.0))
        {
            return refuse(format!("the body field `{field}` is decided by {by}: leave it out"));
        }
        if !self.client.replica_header.is_empty() {
            request::check(&self.client.replica_header, "")
                .map_err(|error| LoadError::Config(error.to_string()))?;
        }
        for (name, value) in &self.headers {
            request::check(name, value).map_err(|error| LoadError::Config(error.to_string()))?;
        }
        Ok(())
    }

    /// A prompt's token ids as the engine gets them. None where it gets others: a template is put
    /// around chats, and own answers are not known beforehand.
    pub fn prompt_ids(&self, prompt: &Prompt) -> Option<Vec<u32>> {
        match (&self.prompts, self.client.api, self.client.answers) {
            (_, _, Answers::Own) | (_, Api::Chat, _) => None,
            (PromptForm::TokenIds { vocabulary }, ..) => {
                Some(prompt.token_ids(*vocabulary).collect())
            }
            (PromptForm::Text(maker), ..) => maker.token_ids(prompt).ok(),
        }
    }

    /// The answer limit in the caller's own fields.
    pub(crate) fn given_limit(&self) -> Option<u32> {
        let mut numbers =
            LimitField::ALL.iter().filter_map(|field| self.client.body.get(field.name()));
        numbers.find_map(|value| value.as_u64().and_then(|tokens| u32::try_from(tokens).ok()))
    }

    pub(crate) fn sends_limit(&self) -> bool {
        self.given_limit().is_some() || !self.client.body.contains_key(self.limit_field.name())
    }

    /// Header values, and what follows their scheme (`Bearer ...`). No error may contain them.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let values = self.headers.iter().map(|(_, value)| value.as_str());
        let parts = values.flat_map(|value| [value, value.rsplit(' ').next().unwrap_or(value)]);
        let all = parts.chain(self.bearer.as_deref()).filter(|part| part.len() >= SECRET_BYTES_MIN);
        let mut all: Vec<String> = all.map(str::to_owned).collect();
        // Longest first, so that no rest of a longer one remains.
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        all
    }

    /// Never more than the shard's users.
    pub(crate) fn worker_count(&self) -> usize {
        let workers = self.client.workers as usize;
        match self.load {
            LoadShape::Users { users, .. } => {
                workers.min(self.shard.share(u64::from(users)) as usize)
            }
            LoadShape::Open(_) | LoadShape::SessionTimes => workers,
        }
    }
}
