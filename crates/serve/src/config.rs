use weir_cluster::{ClusterConfig, TimingError};
use weir_engine::TimingConfig;
use weir_model::Nanos;
use weir_service::ServiceError;

use crate::clock::TimeMode;
use crate::kv_events::{EventForm, KvEventsError, PublisherConfig};
use crate::mover::{MoverConfig, MoverError};
use crate::tokenizer::{TokenizerConfig, TokenizerError};

#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// [`TimeMode::Instant`] does not use its timing. Its `kv_events` is set by whether there is a
    /// publisher.
    pub cluster: ClusterConfig,
    /// Accepted model names, at least one; answers carry the first.
    pub models: Vec<String>,
    pub tokenizer: TokenizerConfig,
    /// Without tiers or without a mechanism no bytes move, and the link model gives the times.
    pub mover: Option<MoverConfig>,
    pub time: TimeMode,
    pub kv_events: Option<(PublisherConfig, EventForm)>,
    /// In bytes; longer bodies get status 413.
    pub body_limit: usize,
    /// Prompt tokens kept to recognize equal prefixes, 4 bytes each. Should be well above what the
    /// GPU pools and tiers hold.
    pub remembered_tokens: u64,
    /// Limit for chat requests without one. vLLM allows the rest of the context, where a model
    /// stops by itself; this server never stops early.
    pub chat_default_tokens: u32,
    /// As vLLM's `--enable-prompt-tokens-details`, which is off there.
    pub prompt_tokens_details: bool,
    /// Pins the server's thread to this core.
    pub core: Option<usize>,
    /// Time that open answers get after a stop.
    pub grace: Nanos,
}

impl ServeConfig {
    pub fn new(cluster: ClusterConfig, model: impl Into<String>) -> Self {
        Self {
            cluster,
            models: vec![model.into()],
            tokenizer: TokenizerConfig::default(),
            mover: None,
            time: TimeMode::Real,
            kv_events: None,
            body_limit: 64 << 20,
            remembered_tokens: 64_000_000,
            chat_default_tokens: 1024,
            prompt_tokens_details: true,
            core: None,
            grace: Nanos::from_secs(10),
        }
    }

    pub(crate) fn resolved_cluster(&self) -> ClusterConfig {
        let mut cluster = self.cluster.clone();
        cluster.kv_events = self.kv_events.is_some();
        if self.time == TimeMode::Instant {
            cluster.timing = TimingConfig::Fixed { base: Nanos::ZERO, per_token: Nanos::ZERO };
        }
        cluster
    }

    pub(crate) fn check(&self) -> Result<(), ServeError> {
        if self.models.is_empty() || self.models.iter().any(String::is_empty) {
            return Err(ServeError::NoModel);
        }
        let scale = self.time.scale();
        if !(scale.is_finite() && scale > 0.0) {
            return Err(ServeError::TimeScale(scale));
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the server has no model name; give at least one, none of them empty")]
    NoModel,
    #[error("the time scale {0} is not a positive number; write for example 10")]
    TimeScale(f64),
    #[error(transparent)]
    Timing(#[from] TimingError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    KvEvents(#[from] KvEventsError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    Mover(#[from] MoverError),
}
