//! Impossible hits: more than the prompts of the cell share with its earlier ones.
//!
//! A cache that serves more holds prompts of an earlier load or another client. The cell then does
//! not show its arm. Each request is allowed one chunk: the server adds tokens to a prompt, and
//! chunks can be longer than its blocks.

use weir_model::{ServedTokens, SignalKind, Signals, Window};
use weir_observe::signals::{AskedLoad, PromptTotals};
use weir_spec::plan::{Arm, LevelLoad};
use weir_workload::client::{Api, ClientOptions};

/// At most, before the first message of every prompt.
const TEMPLATE: u64 = 256;

/// At most, for each prompt.
pub(crate) fn template_tokens(client: &ClientOptions) -> u64 {
    if client.api == Api::Chat { TEMPLATE } else { 0 }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    pub(crate) per_request: u64,
    /// The part of them that a server adds to each prompt.
    pub(crate) template: u64,
    /// Requests whose hits only the engines may have counted in the window.
    pub(crate) uncounted: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct InWindow {
    /// Since the start of the load.
    pub(crate) window: Window,
    /// Sum over the requests that ended in the window, nanoseconds.
    pub(crate) residence: u128,
    /// Requests without an answer.
    pub(crate) lost: u64,
}

impl Allowance {
    /// `block`: tokens of a block of the engine.
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
        // Both edges of the window.
        let uncounted = 2 * in_flight + came.lost;
        let template = template_tokens(client);
        Self { per_request: u64::from(chunk) + template, template, uncounted }
    }
}

/// Served tokens, and the most that can have been cached. Answers report their own requests: these
/// are compared exactly, in sum and each with earlier prompts. Requests in flight together may be
/// served in either order. Engines' counters also have the requests at the window's edges.
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

    /// Ten requests of 1,000 tokens, 2,000 of them sent before.
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

    /// Tokens served and allowed, and whether they are too many.
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
        // Four prompts of 1,016 may have been served before earlier ones.
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
