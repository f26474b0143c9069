//! KV events over `ZeroMQ` as vLLM publishes them.
//!
//! Owns the way from the engine's symbolic [`KvEvent`](weir_model::KvEvent)s to frames on a
//! socket: [`Expander`] gives blocks their hashes and token ids, [`encode_batch`] writes vLLM's
//! bytes, [`Publisher`] numbers batches, sends them and replays them. Does not own the token ids
//! ([`TokenIds`](crate::token_ids::TokenIds) does) nor the moment: the driver expands the events
//! of a pass and publishes them as one batch, and without a publisher none of this runs.
//!
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

pub use config::{EventForm, KvEventsError, PublisherConfig};
pub use encoding::{Layout, encode_batch};
pub use event::{BlockHash, BlockStored, Event};
pub use expansion::Expander;
pub use publisher::Publisher;
