use std::path::PathBuf;

use weir_http::url::{Url, UrlError};
use weir_model::{Attributed, ErrorCause, Nanos};
use weir_router::{IndexConfig, PolicyConfig, RouterConfig};
use weir_service::ServiceError;
use weir_store::resp::AddressError;
use weir_store::{Address, RespError};

use crate::tokens::TokenError;

#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// At least one; `http` only.
    pub replicas: Vec<Url>,
    pub router: RouterConfig,
    /// `ZeroMQ` endpoints, for precise-prefix. One per replica in the same order, or any number
    /// whose topics name the replica (`kv@ADDRESS:PORT@MODEL`).
    pub kv_events: Vec<String>,
    /// Where the index of precise-prefix is. None: in memory.
    pub index: Option<Address>,
    /// llm-d's `hashSeed`. Matters only to those who share an index in a store.
    pub hash_seed: String,
    /// Text prompts are tokenized with this file. None: a replica's `/tokenize` is asked.
    pub tokenizer: Option<PathBuf>,
    /// Decisions as JSON lines, appended.
    pub log: Option<PathBuf>,
    /// In bytes; longer bodies get status 413.
    pub body_limit: usize,
    /// Pins the forwarding thread to this core.
    pub core: Option<usize>,
    /// Time that open answers get after a stop.
    pub grace: Nanos,
}

impl ProxyConfig {
    pub const fn new(replicas: Vec<Url>, router: RouterConfig) -> Self {
        Self {
            replicas,
            router,
            kv_events: Vec::new(),
            index: None,
            hash_seed: String::new(),
            tokenizer: None,
            log: None,
            body_limit: 64 << 20,
            core: None,
            grace: Nanos::from_secs(10),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ProxyError> {
        if self.replicas.is_empty() {
            return Err(ProxyError::NoReplica);
        }
        if let Some(url) = self.replicas.iter().find(|url| url.scheme_is_tls) {
            return Err(ProxyError::Tls(url.to_string()));
        }
        let is_named_twice = |at: usize| self.replicas[..at].contains(&self.replicas[at]);
        if let Some(at) = (0..self.replicas.len()).find(|at| is_named_twice(*at)) {
            return Err(ProxyError::Twice(self.replicas[at].to_string()));
        }
        match &self.router.policy {
            PolicyConfig::PrecisePrefix { index, .. } => {
                if self.kv_events.is_empty() {
                    return Err(ProxyError::NoEvents);
                }
                if self.index.is_none() && index.backend != IndexConfig::default().backend {
                    return Err(ProxyError::NoIndex(index.backend.clone()));
                }
                if let Some(address) = &self.index {
                    if address.cluster {
                        return Err(ProxyError::Cluster(address.to_string()));
                    }
                    if index.counts_stores {
                        return Err(ProxyError::CountedStores);
                    }
                }
            }
            _ if !self.kv_events.is_empty() => return Err(ProxyError::Unused("--kv-events")),
            _ if self.index.is_some() => return Err(ProxyError::Unused("--index")),
            _ => {}
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("no replica; give at least one, for example http://127.0.0.1:8000")]
    NoReplica,
    #[error("replica {0}: https is unsupported; give the address that the engine itself serves")]
    Tls(String),
    #[error("replica {0} is given twice; give each once")]
    Twice(String),
    #[error("replica {0}")]
    Url(#[from] UrlError),
    #[error(
        "precise-prefix knows caches from KV events; give --kv-events with one ZeroMQ endpoint per \
         replica, for example tcp://127.0.0.1:5557"
    )]
    NoEvents,
    #[error("the policy's index is in {0}; give its address with --index")]
    NoIndex(String),
    #[error(
        "{0} is used by the policy precise-prefix only; remove it, or use --policy precise-prefix"
    )]
    Unused(&'static str),
    #[error("--index {0}: a cluster is unsupported, as in llm-d; give a single server")]
    Cluster(String),
    #[error(
        "an index in a store cannot count stores, because llm-d's layout does not; remove --index, \
         or index.counts_stores"
    )]
    CountedStores,
    #[error("--index: {0}")]
    Address(#[from] AddressError),
    #[error("--index: {0}")]
    Store(#[from] RespError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("--log {}: {source}; give a file that can be written", path.display())]
    Log { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl Attributed for ProxyError {
    fn fault(&self) -> ErrorCause {
        match self {
            Self::Store(_)
            | Self::Service(ServiceError::Listen { .. } | ServiceError::System { .. }) => {
                ErrorCause::Environment
            }
            Self::Service(ServiceError::Panicked) => ErrorCause::Defect,
            _ => ErrorCause::User,
        }
    }
}
