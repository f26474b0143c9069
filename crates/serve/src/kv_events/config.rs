use weir_model::Mechanism;
use weir_model::block::VllmHasher;
use weir_model::block::vllm::DEFAULT_SEED;

use super::chain::HashChain;
use super::encoding::Layout;
use super::event::EventSource;
use super::expansion::{Expander, TierNames};

/// Keys of vLLM's `--kv-events-config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherConfig {
    /// `tcp://*:5557` binds, `tcp://host:5557` connects. Rank `r` adds `r` to the port.
    pub endpoint: String,
    /// Serves missed events; always bound.
    pub replay_endpoint: Option<String>,
    /// Batches kept for replay.
    pub buffer_steps: usize,
    /// The first frame; llm-d expects `kv@<ip>:<port>@<model>`.
    pub topic: String,
}

impl PublisherConfig {
    /// vLLM's default.
    pub const BUFFER_STEPS: usize = 10_000;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventForm {
    pub block_tokens: u32,
    /// The value of `PYTHONHASHSEED`, if set.
    pub hash_seed: Option<String>,
    pub layout: Layout,
    /// None: nothing of tiers below the GPU.
    pub tiers: Option<TierForm>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierForm {
    pub mechanism: Mechanism,
    pub chunk_tokens: u32,
    /// vLLM's `self_describing_kv_events`: events of its offloading have token ids and a parent.
    pub self_describing: bool,
}

impl TierForm {
    fn names(self) -> TierNames {
        TierNames {
            mechanism: self.mechanism.traits(),
            chunk_tokens: self.chunk_tokens,
            source: if self.self_describing {
                EventSource::Offloading
            } else {
                EventSource::PlainOffloading
            },
        }
    }
}

impl EventForm {
    /// vLLM 0.32's defaults.
    pub fn new(block_tokens: u32) -> Self {
        Self { block_tokens, hash_seed: None, layout: Layout::Map, tiers: None }
    }

    pub fn expander(&self) -> Expander {
        let seed = self.hash_seed.as_deref().unwrap_or(DEFAULT_SEED);
        let chain = HashChain::new(VllmHasher::new(seed), self.block_tokens);
        Expander::new(chain, self.tiers.map(TierForm::names))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KvEventsError {
    #[error("kv-events-config: cannot use address `{endpoint}`: {why}")]
    Address { endpoint: String, why: String },
}

/// `ZeroMQ` address of one rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) text: String,
    pub(super) binds: bool,
}

impl Address {
    /// As in vLLM: an address with `*` or `::` is bound, any other connected to. Rank `r` adds `r`
    /// to the port; the system chooses for port 0.
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
}
