//! Text to token ids and back: a `tokenizer.json`, or the built-in one.

mod chat;
#[cfg(feature = "tokenizer")]
mod file;
mod words;

use std::path::PathBuf;

pub use self::chat::Message;
use self::chat::{Part, walk};
pub use self::words::Words;
use self::words::{LEAST_VOCABULARY, MESSAGE_END, MESSAGE_START, MOST_VOCABULARY};
use crate::interner::AnswerVocabulary;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizerConfig {
    BuiltIn {
        /// Includes bytes.
        vocabulary: u32,
    },
    /// A `tokenizer.json` of the `tokenizers` library.
    File(PathBuf),
}

impl Default for TokenizerConfig {
    /// The vocabulary of Qwen 3.
    fn default() -> Self {
        Self::BuiltIn { vocabulary: 151_936 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// No room for answers, or more ids than words.
    #[error(
        "the built-in tokenizer cannot have {0} ids; choose from {LEAST_VOCABULARY} to \
         {MOST_VOCABULARY}"
    )]
    Vocabulary(u32),
    #[error(
        "cannot read {0}: this program was built without the feature `tokenizer`; build it with \
         `--features tokenizer`, or use the built-in tokenizer"
    )]
    NotBuilt(PathBuf),
    #[error("cannot read tokenizer {path}: {reason}; give a tokenizer.json of the model")]
    File { path: PathBuf, reason: String },
    #[error(
        "tokenizer {0} has no plain words that survive being decoded and encoded; use another \
         tokenizer.json, or the built-in tokenizer"
    )]
    NoWords(PathBuf),
}

#[derive(Debug)]
pub enum Tokenizer {
    BuiltIn(Words),
    #[cfg(feature = "tokenizer")]
    File(Box<file::FileTokenizer>),
}

impl Tokenizer {
    pub fn new(config: &TokenizerConfig) -> Result<Self, TokenizerError> {
        match config {
            TokenizerConfig::BuiltIn { vocabulary } => {
                if !(LEAST_VOCABULARY..=MOST_VOCABULARY).contains(vocabulary) {
                    return Err(TokenizerError::Vocabulary(*vocabulary));
                }
                Ok(Self::BuiltIn(Words::new(*vocabulary)))
            }
            #[cfg(feature = "tokenizer")]
            TokenizerConfig::File(path) => {
                file::FileTokenizer::read(path).map(Box::new).map(Self::File)
            }
            #[cfg(not(feature = "tokenizer"))]
            TokenizerConfig::File(path) => Err(TokenizerError::NotBuilt(path.clone())),
        }
    }

    /// Ids are below this.
    pub fn vocabulary(&self) -> u32 {
        match self {
            Self::BuiltIn(words) => words.vocabulary(),
            #[cfg(feature = "tokenizer")]
            Self::File(file) => file.vocabulary(),
        }
    }

    /// Decoding and encoding them gives the same ids (with a file, checked for single words only).
    pub fn answers(&self) -> AnswerVocabulary {
        match self {
            Self::BuiltIn(words) => {
                let first = words.first_word();
                AnswerVocabulary::Range { first, span: words.vocabulary() - first }
            }
            #[cfg(feature = "tokenizer")]
            Self::File(file) => file.answers(),
        }
    }

    pub fn append_answer_text(&self, id: u32, json: &mut Vec<u8>) {
        match self {
            // Words are a space and letters: nothing to escape.
            Self::BuiltIn(words) => words.append(id, json),
            #[cfg(feature = "tokenizer")]
            Self::File(file) => json.extend_from_slice(file.escaped(id)),
        }
    }

    /// With the special tokens that the tokenizer adds (the built-in one: none).
    pub fn encode(&self, text: &str) -> Vec<u32> {
        match self {
            Self::BuiltIn(words) => {
                let mut ids = Vec::new();
                words.encode(text, &mut ids);
                ids
            }
            #[cfg(feature = "tokenizer")]
            Self::File(file) => file.encode(text, true),
        }
    }

    pub fn encode_chat(&self, messages: &[Message], generation_prompt: bool) -> Vec<u32> {
        match self {
            Self::BuiltIn(words) => {
                let mut ids = Vec::new();
                walk(messages, generation_prompt, &mut |part| match part {
                    Part::Start => ids.push(MESSAGE_START),
                    Part::End => ids.push(MESSAGE_END),
                    Part::Text(text) => words.encode(text, &mut ids),
                });
                ids
            }
            #[cfg(feature = "tokenizer")]
            Self::File(file) => {
                let mut text = String::new();
                walk(messages, generation_prompt, &mut |part| {
                    text.push_str(match part {
                        Part::Start => "<|im_start|>",
                        Part::End => "<|im_end|>",
                        Part::Text(text) => text,
                    });
                });
                file.encode(&text, false)
            }
        }
    }

    /// Invalid UTF-8 becomes U+FFFD; ids outside the vocabulary are left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        match self {
            Self::BuiltIn(words) => {
                let mut bytes = Vec::new();
                for id in ids {
                    words.append(*id, &mut bytes);
                }
                String::from_utf8_lossy(&bytes).into_owned()
            }
            #[cfg(feature = "tokenizer")]
            Self::File(file) => file.decode(ids),
        }
    }
}
