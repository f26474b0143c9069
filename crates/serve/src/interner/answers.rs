//! Answers: token ids as a pure function of the answer's content.

use std::sync::Arc;

use weir_model::ContentId;
use weir_model::prompt::token_id;

/// The top bit of a content id says that the content is an answer of this server.
const ANSWER_BIT: u64 = 1 << 63;

pub(super) const fn answer_content(name: u64) -> ContentId {
    ContentId(name | ANSWER_BIT)
}

pub(super) const fn is_answer(content: ContentId) -> bool {
    content.0 & ANSWER_BIT != 0
}

/// The token ids that answers are made of.
#[derive(Debug, Clone)]
pub enum AnswerVocabulary {
    /// `span` ids from `first` on.
    Range { first: u32, span: u32 },
    /// These ids. Never empty.
    Table(Arc<[u32]>),
}

impl AnswerVocabulary {
    /// The token at `index` of an answer: the same on every machine, and before it is generated.
    pub fn token(&self, content: ContentId, index: u32) -> u32 {
        match self {
            Self::Range { first, span } => first + token_id(content, index, *span),
            Self::Table(ids) => ids[token_id(content, index, ids.len() as u32) as usize],
        }
    }
}
