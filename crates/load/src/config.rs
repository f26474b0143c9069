//! The configuration of a cell of load, and its checks.

use std::sync::Arc;

use weir_http::{TlsConfig, Url, request};
use weir_model::{Nanos, Window};
use weir_workload::Arrivals;
use weir_workload::client::{Answers, Api, ClientOptions};

use crate::error::LoadError;
use crate::text::TextMaker;

/// The field of a request that bounds its answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LimitField {
    #[default]
    MaxTokens,
    /// `max_completion_tokens`, by which newer servers of `/v1/chat/completions` replace it.
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

/// How a symbolic prompt becomes something that can be sent.
#[derive(Debug, Clone)]
pub enum PromptForm {
    /// Token ids below `vocabulary`: exact lengths without a tokenizer, completions only.
    TokenIds {
        /// Ids are below it; at least 2.
        vocabulary: u32,
    },
    /// Text that has exactly as many tokens.
    Text(Arc<dyn TextMaker>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LoadShape {
    /// Closed loop: so many users, each with one session at a time, started evenly over
    /// `ramp`.
    Users {
        users: u32,
        /// Time until all have started.
        ramp: Nanos,
    },
    /// Open loop: absolute due times of an arrival process.
    Open(Arrivals),
    /// Each session brings its start.
    SessionTimes,
}

/// Everything a cell of load needs.
#[derive(Debug, Clone)]
pub struct LoadConfig {
    /// Sessions are dealt to them in turn; a session stays with one.
    pub endpoints: Vec<Url>,
    /// The model's name in requests.
    pub model: String,
    /// What the user wants of this client. Fields of `body` override ours, and `null` leaves a
    /// field out.
    pub client: ClientOptions,
    pub prompts: PromptForm,
    /// Send `min_tokens` = `max_tokens`.
    pub min_tokens: bool,
    /// What bounds an answer, unless the body does.
    pub limit_field: LimitField,
    /// Keep each streamed answer until it ends and record a digest of its text or token ids.
    pub digest_output: bool,
    pub bearer: Option<String>,
    pub headers: Vec<(String, String)>,
    pub tls: TlsConfig,
    pub load: LoadShape,
    /// Of the arrival process.
    pub seed: u64,
    /// The measured window ends here. The load goes on until every request that was due in the
    /// window has ended.
    pub duration: Option<Nanos>,
    /// The measured window starts here.
    pub warmup: Nanos,
    /// Most requests to send.
    pub max_requests: Option<u64>,
}

/// Shorter values of headers (`1`, `on`) are no secrets, and stand in every other message.
const SECRET_BYTES_MIN: usize = 6;

/// Fields that the generator itself must decide, with what decides them.
const RESERVED_FIELDS: [(&str, &str); 6] = [
    ("prompt", "the workload"),
    ("messages", "the workload"),
    ("model", "the model's name"),
    ("stream", "the streaming option"),
    ("n", "nothing else than 1 answer per request can be timed"),
    ("return_token_ids", "how answers are quoted"),
];

impl LoadConfig {
    /// The measured window; without a duration it has no end that is known before the load's.
    pub(crate) fn window(&self) -> Window {
        Window { start: self.warmup, end: self.duration.unwrap_or(Nanos::MAX) }
    }

    /// What contradicts itself, before any connection is opened.
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
        if matches!(self.load, LoadShape::Users { users: 0, .. }) {
            return refuse("users must be at least 1".to_owned());
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
        for (name, value) in &self.headers {
            request::check(name, value).map_err(|error| LoadError::Config(error.to_string()))?;
        }
        Ok(())
    }

    /// The number by which the caller's own fields bound every answer.
    pub(crate) fn given_limit(&self) -> Option<u32> {
        let mut numbers =
            LimitField::ALL.iter().filter_map(|field| self.client.body.get(field.name()));
        numbers.find_map(|value| value.as_u64().and_then(|tokens| u32::try_from(tokens).ok()))
    }

    /// Whether requests say how long an answer may be.
    pub(crate) fn sends_limit(&self) -> bool {
        self.given_limit().is_some() || !self.client.body.contains_key(self.limit_field.name())
    }

    /// Values of headers, and what follows their scheme (`Bearer ...`), that no error may repeat.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let values = self.headers.iter().map(|(_, value)| value.as_str());
        let parts = values.flat_map(|value| [value, value.rsplit(' ').next().unwrap_or(value)]);
        let all = parts.chain(self.bearer.as_deref()).filter(|part| part.len() >= SECRET_BYTES_MIN);
        let mut all: Vec<String> = all.map(str::to_owned).collect();
        // The longest first: a part of it must not leave the rest standing.
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        all
    }

    /// Workers that have something to do: never more than users.
    pub(crate) fn worker_count(&self) -> usize {
        let workers = self.client.workers as usize;
        match self.load {
            LoadShape::Users { users, .. } => workers.min(users as usize),
            LoadShape::Open(_) | LoadShape::SessionTimes => workers,
        }
    }
}
