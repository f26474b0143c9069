//! Sessions that start with one of a set of shared prefixes (system prompts, few-shot examples).

use weir_model::{ContentId, Nanos, Piece, Tokens};

use super::context::{Context, PrivateContents};
use crate::config::{SharedPrefix, WorkloadConfig};
use crate::draw::Picker;
use crate::error::WorkloadError;
use crate::seen::SeenChains;
use crate::session::{Session, SessionSource};
use crate::stream::RandomStream;

/// The prompt of a turn is the prefix, the session's history, and the user's new part.
#[derive(Debug, Clone)]
pub struct SharedPrefixSource {
    config: SharedPrefix,
    seed: u64,
    picker: Picker,
    next: u64,
    seen: SeenChains,
}

impl SharedPrefixSource {
    /// Counts must be absolute.
    pub fn new(config: SharedPrefix, seed: u64) -> Result<Self, WorkloadError> {
        WorkloadConfig::SharedPrefix(config.clone()).validate()?;
        let prefixes = config.prefixes.absolute("workload.shared-prefix.prefixes")?;
        let picker = Picker::new(config.draw, prefixes);
        Ok(Self { config, seed, picker, next: 0, seen: SeenChains::default() })
    }

    /// `seen_tokens` is as if no other session had been requested before.
    pub fn session_at(&self, index: u64) -> Session {
        let config = &self.config;
        let mut stream = RandomStream::new(self.seed, "shared-prefix session", index);
        let mut contents = PrivateContents::new(self.seed, "shared-prefix private", index);
        let prefix = self.picker.pick(index, &mut stream);
        let prefix = ContentId::derive(self.seed, "shared-prefix prefix", prefix);
        let mut context = Context::new(vec![Piece::new(prefix, config.prefix_tokens)], 0);
        let turns = (0..config.turns)
            .map(|turn| {
                context.append(contents.piece(config.prompt_tokens.draw(&mut stream)));
                let answer = contents.piece(config.output_tokens.draw(&mut stream));
                match turn {
                    0 => context.ask(answer, Vec::new(), Nanos::ZERO),
                    _ => context.ask(answer, vec![turn - 1], config.think),
                }
            })
            .collect();
        Session { id: index, start: None, turns }
    }
}

impl SessionSource for SharedPrefixSource {
    fn next_session(&mut self) -> Option<Session> {
        let mut session = self.session_at(self.next);
        self.next += 1;
        let first = &mut session.turns[0];
        first.seen_tokens = Tokens(self.seen.observe(&first.prompt.pieces()[..1]));
        Some(session)
    }
}
