//! Text prompts of an exact number of tokens.

#[cfg(feature = "tokenizer")]
pub(crate) mod tokenizer;

use std::fmt;

use thiserror::Error;
use weir_model::Prompt;

/// Why a prompt has no text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct TextError(pub String);

/// Makes text of symbolic prompts. Called ahead of time, never by the thread that measures.
pub trait TextMaker: fmt::Debug + Send + Sync {
    /// Text that a server tokenizes into exactly `prompt.tokens()` tokens. Prompts with a common
    /// beginning must give texts with a common beginning, or no prefix cache could serve them.
    fn text(&self, prompt: &Prompt) -> Result<String, TextError>;

    /// Tokens of a text that a server generated, without those that are added around a prompt.
    fn output_tokens(&self, text: &str) -> Result<u32, TextError>;
}
