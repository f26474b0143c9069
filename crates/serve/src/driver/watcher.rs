//! Who else looks on: metrics and KV events in the server, recorders in tests.

use weir_engine::Transfer;
use weir_model::{KvEvent, Nanos, StepRow, Tokens};

use crate::metrics::FinishedRequest;
use crate::token_ids::TokenIds;

/// Sees what the cluster does, with what only the driver knows beside it.
pub trait Watcher {
    /// A request's first token came, `waited` after its arrival. `cached` prompt tokens came from
    /// each tier.
    fn first_token(
        &mut self,
        _replica: u16,
        _waited: Nanos,
        _prompt: Tokens,
        _cached: &[Tokens; 4],
    ) {
    }

    /// A request's token came: the driver's name for the request.
    fn token(&mut self, _at: Nanos, _tag: u64) {}

    fn pass(&mut self, _step: &StepRow) {}

    /// A request has ended, `tag` being the driver's name for it.
    fn ended(&mut self, _tag: u64, _replica: u16, _request: &FinishedRequest) {}

    /// A transfer between GPU and tier has ended.
    fn transferred(&mut self, _replica: u16, _transfer: &Transfer) {}

    /// An engine's cache changed.
    fn kv_event(&mut self, _at: Nanos, _replica: u16, _event: &KvEvent, _tokens: &dyn TokenIds) {}
}

impl Watcher for () {}
