//! What a server is: cluster, names, text, time, limits.

use std::net::SocketAddr;

use weir_cluster::{ClusterConfig, TimingError};
use weir_engine::TimingConfig;
use weir_model::Nanos;

use crate::clock::TimeMode;
use crate::kv_events::{EventForm, KvEventsError, PublisherConfig};
use crate::mover::{MoverConfig, MoverError};
use crate::tokenizer::{TokenizerConfig, TokenizerError};

/// Everything a server needs.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Engines, tiers and router. In [`TimeMode::Instant`] its timing is not used, and its
    /// `kv_events` is set by whether there is a publisher.
    pub cluster: ClusterConfig,
    /// Names that requests may use for the model; the first one is shown. At least one.
    pub models: Vec<String>,
    /// Text to token ids and back.
    pub tokenizer: TokenizerConfig,
    /// Real tiers of the offload mechanism. Without them, or without a mechanism, no bytes move and
    /// the link model gives the times.
    pub mover: Option<MoverConfig>,
    /// How model time runs.
    pub time: TimeMode,
    /// Where KV events go, and how their blocks are named.
    pub kv_events: Option<(PublisherConfig, EventForm)>,
    /// Longest request body in bytes; longer ones are refused with 413.
    pub body_limit: usize,
    /// Tokens of prompts that are remembered (4 bytes each), so that equal prefixes are known to
    /// be equal. Should be well above what the GPU pools and tiers hold.
    pub remembered_tokens: u64,
    /// Most tokens of a chat answer whose length the request leaves open. vLLM allows the rest of
    /// the context, where a model stops by itself; this server never stops early.
    pub chat_default_tokens: u32,
    /// Whether `usage` says how many prompt tokens came from caches (vLLM's
    /// `--enable-prompt-tokens-details`, which is off there).
    pub prompt_tokens_details: bool,
    /// The core that the server's thread is pinned to.
    pub core: Option<usize>,
    /// How long open answers may go on after a stop.
    pub grace: Nanos,
}

impl ServeConfig {
    /// A server of `cluster` under one model name, everything else by default.
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

    /// The cluster as it will run.
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

/// Why a server could not be started, or had to end.
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
    #[error("cannot listen on {address}: {source}; choose another address")]
    Listen {
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    #[error("cannot {what}: {source}; free resources of this machine and try again")]
    System {
        what: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    #[error(transparent)]
    Mover(#[from] MoverError),
    #[error("cannot pin the server to core {core}: {source}; choose a core of this machine")]
    Core {
        core: usize,
        /// What the system says.
        source: std::io::Error,
    },
    #[error("the server's thread panicked; please report its message")]
    Panicked,
}
