//! Callbacks of the request table: metrics and KV events in the server, recorders in tests.

use weir_engine::Transfer;
use weir_model::{KvEvent, Nanos, StepRow, Tokens};

use crate::metrics::FinishedRequest;
use crate::token_ids::TokenIds;

/// Events of the cluster's observer, with facts of the live request.
pub trait Watcher {
    /// `waited`: since the arrival. `cached`: prompt tokens from each tier, indexed by
    /// [`weir_model::TierKind::index`].
    fn first_token(
        &mut self,
        _replica: u16,
        _waited: Nanos,
        _prompt: Tokens,
        _cached: &[Tokens; 4],
    ) {
    }

    fn token(&mut self, _at: Nanos, _tag: u64) {}

    fn pass(&mut self, _step: &StepRow) {}

    fn ended(&mut self, _tag: u64, _replica: u16, _request: &FinishedRequest) {}

    fn transferred(&mut self, _replica: u16, _transfer: &Transfer) {}

    /// See [`weir_cluster::Observer::transfers_told`].
    fn transfers_told(&mut self, _replica: u16) {}

    fn kv_event(&mut self, _at: Nanos, _replica: u16, _event: &KvEvent, _tokens: &dyn TokenIds) {}
}

impl Watcher for () {}
