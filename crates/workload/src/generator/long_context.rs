//! Questions about long documents: retrieval-augmented generation, document question answering.

use weir_model::{ContentId, Nanos, Piece};

use super::context::{Context, PrivateContents};
use crate::config::{LongContext, WorkloadConfig};
use crate::draw::Picker;
use crate::error::WorkloadError;
use crate::seen::SeenChains;
use crate::session::{Session, SessionSource};
use crate::stream::RandomStream;

/// Each prompt is the system prompt, the session's documents in drawn order, and the question;
/// earlier questions and answers are not repeated.
///
/// A prefix cache returns a document only after the same documents in the same order, so reuse
/// across sessions falls quickly with the documents per prompt.
#[derive(Debug, Clone)]
pub struct LongContextSource {
    config: LongContext,
    seed: u64,
    picker: Picker,
    next: u64,
    seen: SeenChains,
}

impl LongContextSource {
    /// Counts must be absolute.
    pub fn new(config: LongContext, seed: u64) -> Result<Self, WorkloadError> {
        WorkloadConfig::LongContext(config.clone()).validate()?;
        let documents = config.documents.absolute("workload.long-context.documents")?;
        let picker = Picker::new(config.draw, documents);
        Ok(Self { config, seed, picker, next: 0, seen: SeenChains::default() })
    }

    /// `seen_tokens` is as if no other session had been requested before.
    pub fn session_at(&self, index: u64) -> Session {
        self.session_with(index, |_| 0)
    }

    /// `seen` gives how many tokens of its shared content were requested before.
    fn session_with(&self, index: u64, seen: impl FnOnce(&[Piece]) -> u32) -> Session {
        let config = &self.config;
        let mut stream = RandomStream::new(self.seed, "long-context session", index);
        let mut contents = PrivateContents::new(self.seed, "long-context private", index);
        let shared = self.shared_pieces(index, &mut stream);
        let mut seen = seen(&shared);
        let frame: u32 = shared.iter().map(|piece| piece.len).sum();
        let turns = (0..config.questions)
            .map(|turn| {
                let mut context = Context::new(shared.clone(), seen);
                seen = frame;
                context.append(contents.piece(config.question_tokens.draw(&mut stream)));
                let answer = contents.piece(config.output_tokens.draw(&mut stream));
                match turn {
                    0 => context.ask(answer, Vec::new(), Nanos::ZERO),
                    _ => context.ask(answer, vec![turn - 1], config.think),
                }
            })
            .collect();
        Session { id: index, start: None, turns }
    }

    fn shared_pieces(&self, index: u64, stream: &mut RandomStream) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(self.config.documents_per_prompt as usize + 1);
        if self.config.system_tokens > 0 {
            let system = ContentId::derive(self.seed, "long-context system", 0);
            pieces.push(Piece::new(system, self.config.system_tokens));
        }
        let count = u64::from(self.config.documents_per_prompt);
        for document in self.picker.pick_different(index, count, stream) {
            pieces.push(self.document(document));
        }
        pieces
    }

    /// The length belongs to the document, not to the session.
    fn document(&self, index: u64) -> Piece {
        let mut stream = RandomStream::new(self.seed, "long-context length", index);
        let tokens = self.config.document_tokens.draw(&mut stream);
        Piece::new(ContentId::derive(self.seed, "long-context document", index), tokens)
    }
}

impl SessionSource for LongContextSource {
    fn next_session(&mut self) -> Option<Session> {
        let index = self.next;
        self.next += 1;
        let mut seen = std::mem::take(&mut self.seen);
        let session = self.session_with(index, |shared| seen.observe(shared));
        self.seen = seen;
        Some(session)
    }
}
