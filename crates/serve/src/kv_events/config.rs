//! What vLLM's `--kv-events-config` says, and where its addresses lead.

use serde::Deserialize;
use weir_model::block::vllm::DEFAULT_SEED;
use weir_model::block::{VllmAlgorithm, VllmHasher};

use super::chain::HashChain;
use super::encoding::{HashForm, Layout};
use super::expansion::{Expander, TierEvents};

/// The addresses and limits of a publisher: the keys of vLLM's `--kv-events-config`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublisherConfig {
    pub enable_kv_cache_events: bool,
    pub publisher: Option<String>,
    /// Where events go: `tcp://*:5557` binds, `tcp://host:5557` connects. Rank `r` adds `r` to the
    /// port.
    pub endpoint: String,
    /// Where missed events can be asked for; always bound.
    pub replay_endpoint: Option<String>,
    /// Batches kept for replay.
    pub buffer_steps: usize,
    /// Batches that may wait for a slow subscriber; 100,000 is the only value that the socket
    /// library offers.
    pub hwm: usize,
    /// Batches that may wait to be sent. A batch beyond it is dropped, which subscribers see as a
    /// gap in the sequence numbers (vLLM makes its engine wait instead).
    pub max_queue_size: usize,
    /// The first frame; llm-d expects `kv@<ip>:<port>@<model>`.
    pub topic: String,
}

impl Default for PublisherConfig {
    fn default() -> Self {
        Self {
            enable_kv_cache_events: false,
            publisher: None,
            endpoint: "tcp://*:5557".to_owned(),
            replay_endpoint: None,
            buffer_steps: 10_000,
            hwm: ONLY_HWM,
            max_queue_size: 100_000,
            topic: String::new(),
        }
    }
}

/// Batches that the socket library lets wait per subscriber.
const ONLY_HWM: usize = 100_000;

impl PublisherConfig {
    pub fn from_json(text: &str) -> Result<Self, KvEventsError> {
        let config: Self = serde_json::from_str(text)
            .map_err(|error| KvEventsError::Config(format!("{error}; give vLLM's JSON object")))?;
        config.check()?;
        Ok(config)
    }

    /// Whether a publisher is to be started. vLLM publishes over `ZeroMQ` unless told otherwise.
    pub fn is_on(&self) -> bool {
        self.enable_kv_cache_events && self.publisher.as_deref() != Some("null")
    }

    fn check(&self) -> Result<(), KvEventsError> {
        let refuse = |text: String| Err(KvEventsError::Config(text));
        match self.publisher.as_deref() {
            None | Some("zmq" | "null") => {}
            Some(other) => return refuse(format!("publisher `{other}`: write `zmq` or `null`")),
        }
        if self.hwm != ONLY_HWM {
            return refuse(format!("hwm {}: only {ONLY_HWM} is supported", self.hwm));
        }
        if self.max_queue_size == 0 {
            return refuse("max_queue_size 0: write at least 1".to_owned());
        }
        Address::parse(&self.endpoint, 0)?;
        if let Some(replay) = &self.replay_endpoint {
            Address::parse(replay, 0)?;
        }
        Ok(())
    }
}

/// What the blocks of an engine are called and how events say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventForm {
    pub block_tokens: u32,
    /// `--prefix-caching-hash-algo`.
    pub algorithm: VllmAlgorithm,
    /// The value of `PYTHONHASHSEED`; None where it is not set.
    pub hash_seed: Option<String>,
    /// Integers or bytes.
    pub hashes: HashForm,
    pub layout: Layout,
    /// What is published about tiers.
    pub tiers: TierEvents,
}

impl EventForm {
    /// vLLM 0.32's defaults for blocks of `block_tokens` tokens.
    pub fn new(block_tokens: u32) -> Self {
        Self {
            block_tokens,
            algorithm: VllmAlgorithm::Sha256,
            hash_seed: None,
            hashes: HashForm::Integer,
            layout: Layout::Map,
            tiers: TierEvents::Silent,
        }
    }

    pub fn expander(&self) -> Expander {
        let seed = self.hash_seed.as_deref().unwrap_or(DEFAULT_SEED);
        let chain = HashChain::new(VllmHasher::new(self.algorithm, seed), self.block_tokens);
        Expander::new(chain, self.block_tokens, self.tiers)
    }
}

/// Why KV events cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KvEventsError {
    #[error("kv-events-config: {0}")]
    Config(String),
    #[error("kv-events-config: cannot use address `{endpoint}`: {why}")]
    Address {
        endpoint: String,
        /// What is wrong and what to write instead.
        why: String,
    },
}

/// A TCP address of `ZeroMQ` for one rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// The address as the socket library wants it.
    pub(super) text: String,
    /// Bind to it, else connect.
    pub(super) binds: bool,
}

impl Address {
    /// Follows vLLM: an address with `*` or `::` is bound, any other connected to; rank `r` adds
    /// `r` to the port, and a port of 0 is left to the system.
    pub(super) fn parse(endpoint: &str, rank: u16) -> Result<Self, KvEventsError> {
        let error = |why: String| KvEventsError::Address { endpoint: endpoint.to_owned(), why };
        let Some(rest) = endpoint.strip_prefix("tcp://") else {
            return Err(error("only tcp://host:port is supported".to_owned()));
        };
        let port_of = |text: &str| text.parse::<u16>().ok();
        let Some((host, port)) = rest.rsplit_once(':').and_then(|(h, p)| Some((h, port_of(p)?)))
        else {
            return Err(error("write tcp://host:port with a port from 0 to 65535".to_owned()));
        };
        let binds = endpoint.contains('*') || endpoint.contains("::");
        let port = match port {
            0 => 0,
            port => port.checked_add(rank).ok_or_else(|| {
                error(format!("rank {rank} adds {rank} to the port, which exceeds 65535"))
            })?,
        };
        let host = match host {
            "*" => "0.0.0.0",
            "::" => "[::]",
            "" => return Err(error("it has no host; write `*` to bind all".to_owned())),
            host => host,
        };
        if port == 0 && !binds {
            return Err(error("port 0 is only for binding".to_owned()));
        }
        Ok(Self { text: format!("tcp://{host}:{port}"), binds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_the_rank() {
        let address = |endpoint, rank| {
            Address::parse(endpoint, rank).map(|address| (address.text, address.binds))
        };
        assert_eq!(address("tcp://*:5557", 0), Ok(("tcp://0.0.0.0:5557".to_owned(), true)));
        assert_eq!(address("tcp://*:5557", 3), Ok(("tcp://0.0.0.0:5560".to_owned(), true)));
        assert_eq!(address("tcp://[::]:5557", 1), Ok(("tcp://[::]:5558".to_owned(), true)));
        assert_eq!(address("tcp://*:0", 3), Ok(("tcp://0.0.0.0:0".to_owned(), true)));
        assert_eq!(address("tcp://epp:5557", 1), Ok(("tcp://epp:5558".to_owned(), false)));
        for wrong in
            ["ipc:///tmp/x", "tcp://*", "tcp://*:x", "tcp://*:70000", "tcp://:1", "tcp://a:0"]
        {
            assert!(address(wrong, 0).is_err(), "{wrong}");
        }
        let full = address("tcp://*:65535", 1).unwrap_err().to_string();
        assert!(full.contains("65535") && !full.contains('\n'), "{full}");
    }

    #[test]
    fn the_configuration_is_vllms() {
        let config = PublisherConfig::from_json(
            r#"{"enable_kv_cache_events":true,"publisher":"zmq","endpoint":"tcp://*:5557",
                "replay_endpoint":"tcp://*:5558","topic":"kv@a@b"}"#,
        );
        let config = config.unwrap();
        assert!(config.is_on());
        assert_eq!((config.buffer_steps, config.max_queue_size), (10_000, 100_000));
        assert!(!PublisherConfig::from_json("{}").unwrap().is_on());
        for (wrong, says) in [
            ("{", "EOF"),
            (r#"{"endpont":"tcp://*:1"}"#, "endpont"),
            (r#"{"publisher":"kafka"}"#, "kafka"),
            (r#"{"hwm":5}"#, "hwm"),
            (r#"{"max_queue_size":0}"#, "max_queue_size"),
            (r#"{"endpoint":"inproc://x"}"#, "inproc"),
        ] {
            let error = PublisherConfig::from_json(wrong).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains('\n'), "{wrong}: {error}");
        }
    }
}
