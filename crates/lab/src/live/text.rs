//! Text prompts for the emulated engine's own tokenizer.
//!
//! Some routers read prompts as text only. The built-in words survive being decoded and encoded,
//! so a row of them has exactly the tokens asked for.

use weir_load::{TextError, TextMaker};
use weir_model::Prompt;
use weir_serve::interner::AnswerVocabulary;
use weir_serve::tokenizer::{Tokenizer, TokenizerConfig, TokenizerError};

#[derive(Debug)]
pub(super) struct EmulatedText {
    tokenizer: Tokenizer,
    /// Ids of words.
    first: u32,
    words: u32,
}

impl EmulatedText {
    pub(super) fn new(vocabulary: u32) -> Result<Self, TokenizerError> {
        let tokenizer = Tokenizer::new(&TokenizerConfig::BuiltIn { vocabulary })?;
        let AnswerVocabulary::Range { first, span } = tokenizer.answers() else {
            return Err(TokenizerError::Vocabulary(vocabulary));
        };
        Ok(Self { tokenizer, first, words: span })
    }
}

impl TextMaker for EmulatedText {
    fn text(&self, prompt: &Prompt) -> Result<String, TextError> {
        Ok(self.tokenizer.decode(&self.token_ids(prompt)?))
    }

    fn token_ids(&self, prompt: &Prompt) -> Result<Vec<u32>, TextError> {
        Ok(prompt.token_ids(self.words).map(|word| self.first + word).collect())
    }

    fn output_tokens(&self, text: &str) -> Result<u32, TextError> {
        Ok(self.tokenizer.encode(text).len() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_model::ContentId;
    use weir_model::prompt::Piece;

    #[test]
    fn a_prompt_has_exactly_its_tokens_and_keeps_common_prefixes() {
        for vocabulary in [2000, 151_936] {
            let text = EmulatedText::new(vocabulary).unwrap();
            let piece = |content, len| Piece { content: ContentId(content), start: 0, len };
            let ids = |pieces: Vec<Piece>| {
                text.tokenizer.encode(&text.text(&Prompt::new(pieces)).unwrap())
            };
            let (one, other) =
                (ids(vec![piece(1, 300), piece(2, 20)]), ids(vec![piece(1, 300), piece(3, 20)]));
            assert_eq!((one.len(), other.len()), (320, 320));
            let told = text.token_ids(&Prompt::new([piece(1, 300), piece(2, 20)])).unwrap();
            assert_eq!(one, told);
            assert_eq!(one[..300], other[..300]);
            assert_ne!(one[300..], other[300..]);
        }
    }
}
