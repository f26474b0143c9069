//! Hits that nobody can have: more than the prompts of the cell had in common with earlier ones.
//!
//! The generator knows what it asked before. A cache that serves more holds what an earlier load or
//! somebody else left there, and the cell shows that, not its arm. A chunk per request is allowed
//! for what the generator does not know: the tokens that a server puts around a prompt, and chunks
//! that are longer than its blocks.

use weir_model::{ServedTokens, SignalKind, Signals, Window};
use weir_observe::signals::{AskedLoad, PromptTotals};
use weir_spec::plan::{Arm, LevelLoad};
use weir_workload::client::{Api, ClientOptions};

/// Tokens that a chat template puts before the first message, at most: they are in every prompt.
const TEMPLATE: u64 = 256;

/// Tokens that a server puts around each prompt of a client, at most.
pub(crate) fn template_tokens(client: &ClientOptions) -> u64 {
    if client.api == Api::Chat { TEMPLATE } else { 0 }
}

/// What a comparison of hits has to allow for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    pub(crate) per_request: u64,
    /// Of those, what a server puts around each prompt.
    pub(crate) template: u64,
    /// Requests whose hits the engines may have counted in the window, and the generator not.
    pub(crate) uncounted: u64,
}

/// What came of the load, as far as the comparison depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InWindow {
    /// The measured window, since the start of the load.
    pub(crate) window: Window,
    /// Sum of the residence times of the requests that ended in it, in nanoseconds.
    pub(crate) residence: u128,
    /// Requests without an answer.
    pub(crate) lost: u64,
}

impl Allowance {
    /// Of an arm at a level, on engines with blocks of so many tokens.
    pub(crate) fn of(
        arm: &Arm,
        client: &ClientOptions,
        load: &LevelLoad,
        block: u32,
        came: &InWindow,
    ) -> Self {
        let chunk = arm.offload.as_ref().map_or(block, |offload| offload.chunk_tokens.max(block));
        let span = u128::from(came.window.length().0).max(1);
        let in_flight = match load {
            LevelLoad::Users(users) => u64::from(*users),
            _ => (came.residence / span) as u64 + 1,
        };
        // At either edge of the window.
        let uncounted = 2 * in_flight + came.lost;
        let template = template_tokens(client);
        Self { per_request: u64::from(chunk) + template, template, uncounted }
    }
}

/// What was served, and what can have been there. What the answers say of their own requests is
/// compared exactly, in sum and each with what was asked before it: of requests in flight together
/// the later one may be served first. Engines' counters have the requests at the edges of the
/// window besides.
pub(crate) fn hits(
    load: &AskedLoad,
    signals: &Signals,
    allowance: Allowance,
) -> Option<ServedTokens> {
    let known = |of: &PromptTotals| of.servable_tokens + of.requests * allowance.per_request;
    let at_edges = |of: &PromptTotals| {
        let longest = of.prompt_tokens.div_ceil(of.requests.max(1)) + allowance.per_request;
        allowance.uncounted * longest
    };
    if load.measured.cached_tokens > 0 {
        let asked = &load.measured;
        let served = asked.cached_tokens;
        let by_each = served - asked.unseen_tokens.min(served)
            + asked.requests * allowance.template
            + at_edges(asked);
        return Some(ServedTokens { served, allowed: known(asked).min(by_each) });
    }
    let asked = &load.looked_up;
    if asked.requests == 0 {
        return None;
    }
    let get = |kind| signals.get(kind).unwrap_or(0.0);
    let served = (get(SignalKind::GpuHitTokens) + get(SignalKind::ExternalHitTokens)) as u64;
    Some(ServedTokens { served, allowed: known(asked) + at_edges(asked) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance = Allowance { per_request: 16, template: 0, uncounted: 4 };

    /// Ten requests of 1,000 tokens, of which 2,000 were asked before.
    fn asked(cached_tokens: u64) -> AskedLoad {
        let asked = PromptTotals {
            requests: 10,
            prompt_tokens: 10_000,
            seen_tokens: 2_000,
            servable_tokens: 2_000,
            cached_tokens,
            unseen_tokens: 0,
        };
        AskedLoad { measured: asked, looked_up: asked }
    }

    fn signals(gpu: f64, external: f64) -> Signals {
        let mut signals = Signals::default();
        signals.add(SignalKind::GpuHitTokens, gpu, "test");
        signals.add(SignalKind::ExternalHitTokens, external, "test");
        signals
    }

    /// What was served and allowed, and whether that is too much.
    fn judged(load: &AskedLoad, signals: &Signals) -> Option<(u64, u64, bool)> {
        let seen = hits(load, signals, ALLOWANCE)?;
        Some((seen.served, seen.allowed, seen.are_beyond()))
    }

    #[test]
    fn what_answers_say_is_held_to_a_chunk_per_request() {
        let none = Signals::default();
        assert_eq!(judged(&asked(2_160), &none), Some((2_160, 2_160, false)));
        assert_eq!(judged(&asked(2_161), &none), Some((2_161, 2_160, true)));
    }

    #[test]
    fn hits_that_no_earlier_request_explains_are_not_made_up_for_by_misses() {
        let none = Signals::default();
        let with = |unseen_tokens, servable_tokens| {
            let asked = PromptTotals { unseen_tokens, servable_tokens, ..asked(8_000).measured };
            AskedLoad { measured: asked, looked_up: asked }
        };
        // Four prompts of 1,016 may have been served before those that were sent earlier.
        assert_eq!(judged(&with(4_064, 9_000), &none), Some((8_000, 8_000, false)));
        assert_eq!(judged(&with(4_065, 9_000), &none), Some((8_000, 7_999, true)));
    }

    #[test]
    fn counters_may_have_the_requests_at_the_edges_besides() {
        // 2,160 and four prompts of 1,016.
        assert_eq!(judged(&asked(0), &signals(6_000.0, 224.0)), Some((6_224, 6_224, false)));
        assert_eq!(judged(&asked(0), &signals(6_000.0, 225.0)), Some((6_225, 6_224, true)));
        assert_eq!(judged(&AskedLoad::default(), &signals(1e6, 0.0)), None);
    }
}
