//! What each replica held of a request's prompt when it was sent, by the engines' KV events.

use weir_load::{Live, LoadConfig};
use weir_model::{ChoiceHits, Note, Outcome, Prompt, RequestRow, RoutingNote};
use weir_observe::signals::AnsweredBy;
use weir_observe::{KvEventWatch, UnixNanos};

#[derive(Clone, Copy)]
pub(crate) struct Choices<'a> {
    /// Of all replicas, in the order of their numbers.
    pub(crate) events: &'a KvEventWatch,
    pub(crate) config: &'a LoadConfig,
    pub(crate) live: &'a Live,
}

impl Choices<'_> {
    /// None where no answer tells the replica, or contents are unknown.
    pub(crate) fn hits(&self, row: &RequestRow, prompt: &Prompt) -> Option<ChoiceHits> {
        let replica = row.replica.filter(|_| row.outcome == Outcome::Done)?;
        let sent = self.began()?.after(row.start);
        let ids = self.config.prompt_ids(prompt)?;
        self.events.hits(sent, &ids, usize::from(replica))
    }

    /// Start of the load by the clock of the events.
    fn began(&self) -> Option<UnixNanos> {
        let elapsed = self.live.elapsed()?;
        let now = self.events.clock().now();
        Some(UnixNanos(now.0.saturating_sub(elapsed.0)))
    }

    /// Why hits are missing, if some are.
    pub(crate) fn note(&self, answered: &AnsweredBy) -> Option<Note> {
        let requests = answered.known() - answered.with_hits;
        let gaps = self.events.gaps();
        (requests > 0).then(|| {
            RoutingNote::HitsUnknown {
                requests,
                of: answered.known(),
                prompts_known: self.config.prompt_ids(&Prompt::new([])).is_some(),
                lost: self.events.counts().lost,
                orphans: gaps.orphans,
                is_full: gaps.is_full,
            }
            .into()
        })
    }
}
