//! Callbacks of a cluster while it is stepped.

use weir_engine::{Finished, SubmitError, Transfer};
use weir_model::{KvEvent, Nanos, StepRow, Tokens};

use crate::view::Placement;

/// Receives events as they happen. Tags are the caller's own, from `submit`. Arrays of tokens
/// are indexed by [`weir_model::TierKind::index`].
///
/// At the end of a pass come first tokens, then each token, then the pass, then the requests that
/// finished. There are no calls for a request after its end, refusal or abort.
pub trait Observer {
    /// Whether [`Observer::token`] is called, which costs a walk over the decoding requests per
    /// pass.
    const TOKENS: bool = false;

    /// A request was routed, from within `submit`.
    fn placed(&mut self, _at: Nanos, _tag: u64, _placement: &Placement) {}

    /// The engine refused a request; it has ended.
    fn refused(&mut self, _at: Nanos, _tag: u64, _why: &SubmitError) {}

    /// A pass begins in which the request runs for the first time. `cached` are the prompt tokens
    /// that each tier serves.
    fn scheduled(&mut self, _at: Nanos, _tag: u64, _cached: [Tokens; 4]) {}

    fn first_token(&mut self, _at: Nanos, _tag: u64, _cached: [Tokens; 4]) {}

    /// One token, the first included. Called only where [`Observer::TOKENS`] is true.
    fn token(&mut self, _at: Nanos, _tag: u64) {}

    fn finished(&mut self, _at: Nanos, _tag: u64, _finished: &Finished) {}

    fn pass(&mut self, _step: &StepRow) {}

    /// A transfer between GPU and tier ended, `took` after it was requested.
    fn transferred(&mut self, _at: Nanos, _replica: u16, _transfer: &Transfer, _took: Nanos) {}

    /// Called only with [`crate::ClusterConfig::kv_events`].
    fn kv_event(&mut self, _at: Nanos, _replica: u16, _event: &KvEvent) {}
}

impl Observer for () {}
