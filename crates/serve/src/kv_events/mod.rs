//! KV events over `ZeroMQ` as vLLM publishes them.
//!
//! From the engine's symbolic [`KvEvent`](weir_model::KvEvent)s to frames on a socket. [`Expander`]
//! adds hashes and token ids (from [`TokenIds`](crate::token_ids::TokenIds)), [`encode_batch`]
//! writes vLLM's bytes, and [`Publisher`] numbers, sends and replays batches. The driver publishes
//! one batch per pass, events of tiers last, and one when a transfer ends while no pass runs.
//! vLLM announces `AllBlocksCleared` in the batch of the next pass that has events; a driver that
//! keeps a cleared event until then looks the same.

mod chain;
mod config;
mod encoding;
mod event;
mod expansion;
mod publisher;
#[cfg(test)]
mod tests;

pub use config::{EventForm, KvEventsError, PublisherConfig, TierForm};
pub use encoding::{Layout, encode_batch};
pub use event::{BlockHash, BlockRemoved, BlockStored, Event, EventSource};
pub use expansion::Expander;
pub use publisher::Publisher;
