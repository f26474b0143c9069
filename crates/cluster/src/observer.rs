use weir_engine::{Finished, SubmitError, Transfer};
use weir_model::{KvEvent, Nanos, StepRow, Tokens};

use crate::view::Placement;

/// Tags are those of `submit`. Token arrays are indexed by [`weir_model::TierKind::index`].
///
/// At the end of a pass come first tokens, each token, the pass, and finished requests. A request
/// has no calls after its end, refusal or abort.
pub trait Observer {
    /// Enables [`Observer::token`], which costs a walk over decoding requests per pass.
    const TOKENS: bool = false;

    /// Called within `submit`.
    fn placed(&mut self, _at: Nanos, _tag: u64, _placement: &Placement) {}

    fn refused(&mut self, _at: Nanos, _tag: u64, _why: &SubmitError) {}

    /// At the start of the request's first pass. `cached` are prompt tokens per tier.
    fn scheduled(&mut self, _at: Nanos, _tag: u64, _cached: [Tokens; 4]) {}

    fn first_token(&mut self, _at: Nanos, _tag: u64, _cached: [Tokens; 4]) {}

    /// Includes the first token. Called only if [`Observer::TOKENS`] is true.
    fn token(&mut self, _at: Nanos, _tag: u64) {}

    fn finished(&mut self, _at: Nanos, _tag: u64, _finished: &Finished) {}

    fn pass(&mut self, _step: &StepRow) {}

    /// `took` counts from the request of the transfer.
    fn transferred(&mut self, _at: Nanos, _replica: u16, _transfer: &Transfer, _took: Nanos) {}

    /// After KV events of tiers while no pass runs: an engine makes a step without work to tell
    /// that a transfer has ended.
    fn transfers_told(&mut self, _replica: u16) {}

    /// Called only with [`crate::ClusterConfig::kv_events`].
    fn kv_event(&mut self, _at: Nanos, _replica: u16, _event: &KvEvent) {}
}

impl Observer for () {}
