//! A `tokenizer.json`, read by the `tokenizers` library.
//!
//! Answers use plain words only: ids whose text is a space and ASCII letters, and whose text
//! encodes to the same id. Escaped texts are cached, because the library's decoder costs
//! microseconds per call.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::TokenizerError;
use crate::interner::AnswerVocabulary;

/// Each check costs start-up time, and more words are not needed.
const MOST_ANSWER_WORDS: usize = 4096;

#[derive(Debug)]
pub struct FileTokenizer {
    library: tokenizers::Tokenizer,
    vocabulary: u32,
    answers: Arc<[u32]>,
    escaped: HashMap<u32, Box<[u8]>>,
}

impl FileTokenizer {
    pub(super) fn read(path: &Path) -> Result<Self, TokenizerError> {
        let library = tokenizers::Tokenizer::from_file(path).map_err(|error| {
            TokenizerError::File { path: path.to_owned(), reason: error.to_string() }
        })?;
        let vocabulary = library
            .get_vocab(true)
            .into_values()
            .max()
            .map_or(0, |highest| highest.saturating_add(1));
        let mut answers = Vec::new();
        let mut escaped = HashMap::new();
        for id in 0..vocabulary {
            if answers.len() == MOST_ANSWER_WORDS {
                break;
            }
            let Some(text) = plain_word(&library, id) else { continue };
            answers.push(id);
            escaped.insert(id, text.into_bytes().into());
        }
        if answers.is_empty() {
            return Err(TokenizerError::NoWords(path.to_owned()));
        }
        Ok(Self { library, vocabulary, answers: answers.into(), escaped })
    }

    pub(super) const fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    pub(super) fn answers(&self) -> AnswerVocabulary {
        AnswerVocabulary::Table(Arc::clone(&self.answers))
    }

    /// Empty for ids that answers do not use.
    pub(super) fn escaped(&self, id: u32) -> &[u8] {
        self.escaped.get(&id).map_or(&[], |text| text)
    }

    pub(super) fn encode(&self, text: &str, special: bool) -> Vec<u32> {
        // A text that cannot be encoded has no ids; the caller refuses an empty prompt.
        self.library.encode(text, special).map(|found| found.get_ids().to_vec()).unwrap_or_default()
    }

    pub(super) fn decode(&self, ids: &[u32]) -> String {
        self.library.decode(ids, false).unwrap_or_default()
    }
}

/// The text of an id if it is a space and letters and encodes to the same id.
fn plain_word(library: &tokenizers::Tokenizer, id: u32) -> Option<String> {
    // The id is decoded inside a row, because some decoders drop a leading space.
    let twice = library.decode(&[id; 2], false).ok()?;
    let thrice = library.decode(&[id; 3], false).ok()?;
    let text = thrice.strip_prefix(&twice)?;
    let word = text.strip_prefix(' ')?;
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let again = library.encode(thrice.as_str(), false).ok()?;
    (again.get_ids() == [id; 3]).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte-level BPE of nine ids, two of them plain words.
    const SMALL: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[
        {"id":7,"content":"<|im_start|>","single_word":false,"lstrip":false,"rstrip":false,
         "normalized":false,"special":true},
        {"id":8,"content":"<|im_end|>","single_word":false,"lstrip":false,"rstrip":false,
         "normalized":false,"special":true}],
        "normalizer":null,"post_processor":null,
        "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,
          "use_regex":true},
        "decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,
          "use_regex":true},
        "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
          "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":false,
          "vocab":{"\u0120":0,"a":1,"b":2,"\u0120a":3,"\u0120ab":4,"!":5,"\u010a":6},
          "merges":["\u0120 a","\u0120a b"]}}"#;

    fn written(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn answers_are_plain_words_that_are_found_again() {
        let (_folder, path) = written(SMALL);
        let file = FileTokenizer::read(&path).unwrap();
        assert_eq!(file.vocabulary(), 9);
        assert_eq!(&*file.answers, [3, 4]);
        assert_eq!((file.escaped(4), file.escaped(5)), (b" ab".as_slice(), b"".as_slice()));
        let ids = [4, 3, 3, 4];
        let text = file.decode(&ids);
        assert_eq!(text, " ab a a ab");
        assert_eq!(file.encode(&text, false), ids);
        assert_eq!(file.encode("<|im_start|>a<|im_end|>", false), [7, 1, 8]);
    }

    #[test]
    fn files_that_cannot_serve_are_refused_in_one_line() {
        let (_folder, path) = written("{");
        let broken = FileTokenizer::read(&path).unwrap_err().to_string();
        assert!(broken.contains("tokenizer.json") && !broken.contains('\n'), "{broken}");
        let without_words = SMALL.replace(r#"["\u0120 a","\u0120a b"]"#, "[]");
        assert_ne!(without_words, SMALL);
        let (_folder, path) = written(&without_words);
        let error = FileTokenizer::read(&path).unwrap_err();
        assert!(matches!(error, TokenizerError::NoWords(_)), "{error}");
    }
}
