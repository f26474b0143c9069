//! Where an engine on this machine is asked, and where it publishes KV events.

use std::net::Ipv4Addr;

use weir_http::{Url, UrlError};
use weir_picker::PickedReplicas;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EngineAddress {
    pub(crate) host: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) events_port: u16,
}

impl EngineAddress {
    pub(crate) fn all_of(replicas: &PickedReplicas) -> impl Iterator<Item = Self> {
        let (port, events_port) = (replicas.port, replicas.events_port);
        replicas.addresses.iter().map(move |host| Self { host: *host, port, events_port })
    }

    pub(crate) fn url(self) -> Result<Url, UrlError> {
        Url::parse(&format!("http://{}:{}", self.host, self.port))
    }

    /// Mapped to IPv6, because engines bind only what has `*` or `::`, and connect to anything
    /// else.
    pub(crate) fn events_bind(self) -> String {
        format!("tcp://[::ffff:{}]:{}", self.host, self.events_port)
    }

    pub(crate) fn events_url(self) -> String {
        format!("tcp://{}:{}", self.host, self.events_port)
    }

    /// llm-d knows a publisher by its topic.
    pub(crate) fn events_topic(self, model: &str) -> String {
        format!("kv@{}:{}@{model}", self.host, self.port)
    }

    /// For `vllm serve`.
    pub(crate) fn listening(self, model: &str) -> Listening {
        Listening {
            host: self.host.to_string(),
            port: self.port,
            events_bind: self.events_bind(),
            events_topic: self.events_topic(model),
        }
    }
}

/// Where an engine is told to listen.
#[derive(Debug, Clone)]
pub(crate) struct Listening {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) events_bind: String,
    pub(crate) events_topic: String,
}
