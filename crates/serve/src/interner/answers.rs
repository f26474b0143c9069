//! Answers: token ids as a pure function of the answer's content.

use std::sync::Arc;

use weir_model::ContentId;
use weir_model::prompt::token_id;

/// This bit of a content id marks an answer of this server.
const ANSWER_BIT: u64 = 1 << 63;

pub(super) const fn answer_content(name: u64) -> ContentId {
    ContentId(name | ANSWER_BIT)
}

pub(super) const fn is_answer(content: ContentId) -> bool {
    content.0 & ANSWER_BIT != 0
}

#[derive(Debug, Clone)]
pub enum AnswerVocabulary {
    /// `span` ids from `first` on.
    Range { first: u32, span: u32 },
    /// Never empty.
    Table(Arc<[u32]>),
}

impl AnswerVocabulary {
    /// The same on every machine, and known before it is generated.
    pub fn token(&self, content: ContentId, index: u32) -> u32 {
        match self {
            Self::Range { first, span } => first + token_id(content, index, *span),
            Self::Table(ids) => ids[token_id(content, index, ids.len() as u32) as usize],
        }
    }
}
