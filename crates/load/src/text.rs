//! Text prompts of an exact number of tokens.

#[cfg(feature = "tokenizer")]
pub(crate) mod tokenizer;

use std::fmt;

use thiserror::Error;
use weir_model::Prompt;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct TextError(pub String);

/// Called ahead of time, never by a measuring thread.
pub trait TextMaker: fmt::Debug + Send + Sync {
    /// Must tokenize into exactly `prompt.tokens()` tokens. Prompts with a common beginning must
    /// give texts with one, or no prefix cache could serve them.
    fn text(&self, prompt: &Prompt) -> Result<String, TextError>;

    /// The tokens of [`Self::text`], as the engine's tokenizer makes them.
    fn token_ids(&self, prompt: &Prompt) -> Result<Vec<u32>, TextError>;

    /// Tokens of generated text, without those added around a prompt.
    fn output_tokens(&self, text: &str) -> Result<u32, TextError>;
}
