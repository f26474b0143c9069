//! Text prompts through a local `tokenizer.json`.
//!
//! A prompt is a row of words that are one token each in any context, because the tokenizer splits
//! at words before it merges. So the count is exact, and equal contents give equal words. Each text
//! is tokenized once more as a whole as a check.

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;
use weir_model::Prompt;

use crate::text::{TextError, TextMaker};

/// More words do not make prompts more different.
const WORDS_MAX: usize = 8192;
/// Makes contents differ from the first block on: 16 tokens of 64 words are 2^96 possibilities.
const WORDS_MIN: usize = 64;

#[derive(Debug)]
pub struct TokenizerText {
    path: PathBuf,
    tokenizer: Tokenizer,
    /// Each with a leading space.
    words: Vec<String>,
    /// Ids of each word at the start of a text, and elsewhere.
    ids: Vec<[u32; 2]>,
    /// Ids that the server puts before and after a text.
    around: [Vec<u32>; 2],
    /// The text starts with the first word's space.
    space_first: bool,
    /// Added by the server (the begin-of-text token of some models).
    special_tokens: u32,
    add_special_tokens: bool,
}

impl TokenizerText {
    /// `add_special_tokens` counts the tokens that the tokenizer adds, as vLLM does for
    /// completions. Chat templates bring their own.
    pub fn open(path: &Path, add_special_tokens: bool) -> Result<Self, TextError> {
        let refuse = |what: String| TextError(format!("{}: {what}", path.display()));
        let mut tokenizer =
            Tokenizer::from_file(path).map_err(|error| refuse(format!("no tokenizer: {error}")))?;
        // Padding and truncation in the file do not concern the text.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| refuse(error.to_string()))?;
        let candidates = candidates(&tokenizer);
        let (space_first, words) = [true, false]
            .map(|space_first| (space_first, lone_words(&tokenizer, &candidates, space_first)))
            .into_iter()
            .max_by_key(|(space_first, words)| (words.len(), *space_first))
            .unwrap_or_default();
        if words.len() < WORDS_MIN {
            return Err(refuse(format!(
                "only {} words are one token wherever they stand, {WORDS_MIN} are needed: use \
                 token-id prompts",
                words.len()
            )));
        }
        let special_tokens = count(&tokenizer, "", add_special_tokens).map_err(refuse)?;
        let path = path.to_path_buf();
        let (words, ids) = words.into_iter().unzip();
        let around = [Vec::new(), Vec::new()];
        let mut made = Self {
            path,
            tokenizer,
            words,
            ids,
            around,
            space_first,
            special_tokens,
            add_special_tokens,
        };
        made.around = made.ids_around()?;
        Ok(made)
    }

    /// Of a text of one word.
    fn ids_around(&self) -> Result<[Vec<u32>; 2], TextError> {
        let refuse = |what: String| TextError(format!("{}: {what}", self.path.display()));
        let word = if self.space_first { &self.words[0][..] } else { &self.words[0][1..] };
        let encoding = self
            .tokenizer
            .encode_fast(word, self.add_special_tokens)
            .map_err(|error| refuse(error.to_string()))?;
        let ids = encoding.get_ids();
        let at = ids.iter().position(|id| *id == self.ids[0][0]);
        let at = at.ok_or_else(|| refuse("special tokens change the text".to_owned()))?;
        Ok([ids[..at].to_vec(), ids[at + 1..].to_vec()])
    }

    /// The words of a prompt. Special tokens replace the first ones.
    fn places<'a>(&'a self, prompt: &'a Prompt) -> impl Iterator<Item = usize> + 'a {
        let words = self.words.len() as u32;
        prompt.token_ids(words).skip(self.special_tokens as usize).map(|word| word as usize)
    }

    /// As a server counts them.
    pub fn count(&self, text: &str) -> Result<u32, TextError> {
        count(&self.tokenizer, text, self.add_special_tokens)
            .map_err(|what| TextError(format!("{}: {what}", self.path.display())))
    }
}

impl TextMaker for TokenizerText {
    fn text(&self, prompt: &Prompt) -> Result<String, TextError> {
        let wanted = prompt.tokens().get();
        if wanted <= self.special_tokens {
            return Err(TextError(format!(
                "{}: {wanted} tokens leave no room beside the {} that the tokenizer adds",
                self.path.display(),
                self.special_tokens
            )));
        }
        let mut text = String::with_capacity(wanted as usize * 8);
        for word in self.places(prompt) {
            let word = &self.words[word];
            let skip = usize::from(text.is_empty() && !self.space_first);
            text.push_str(&word[skip..]);
        }
        let found = self.count(&text)?;
        if found != wanted {
            return Err(TextError(format!(
                "{}: a text of {wanted} words came to {found} tokens; use token-id prompts",
                self.path.display()
            )));
        }
        Ok(text)
    }

    fn token_ids(&self, prompt: &Prompt) -> Result<Vec<u32>, TextError> {
        let [before, after] = &self.around;
        let words = self.places(prompt).enumerate();
        let words = words.map(|(place, word)| self.ids[word][usize::from(place > 0)]);
        Ok(before.iter().copied().chain(words).chain(after.iter().copied()).collect())
    }

    fn output_tokens(&self, text: &str) -> Result<u32, TextError> {
        count(&self.tokenizer, text, false)
            .map_err(|what| TextError(format!("{}: {what}", self.path.display())))
    }
}

fn count(tokenizer: &Tokenizer, text: &str, special: bool) -> Result<u32, String> {
    let encoding = tokenizer.encode_fast(text, special).map_err(|error| error.to_string())?;
    Ok(encoding.len() as u32)
}

/// Plain words with a leading space, in order of their ids.
fn candidates(tokenizer: &Tokenizer) -> Vec<String> {
    let size = tokenizer.get_vocab_size(false) as u32;
    let mut found = Vec::new();
    for id in 0..size {
        let Ok(text) = tokenizer.decode(&[id], true) else { continue };
        let word = text.trim_start_matches(' ');
        let plain = (2..=12).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase());
        // Two tokens can have one text, with and without the leading space.
        if plain {
            found.push(format!(" {word}"));
        }
        if found.len() == WORDS_MAX * 4 {
            break;
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Those that are one token at the start, in the middle and at the end, with their first two ids.
fn lone_words(
    tokenizer: &Tokenizer,
    candidates: &[String],
    space_first: bool,
) -> Vec<(String, [u32; 2])> {
    let alone = |word: &String| {
        let text = word.repeat(3);
        let text = if space_first { &text } else { &text[1..] };
        let encoding = tokenizer.encode(text, false).ok()?;
        match encoding.get_ids() {
            [first, second, third] if second == third => Some((word.clone(), [*first, *second])),
            _ => None,
        }
    };
    candidates.iter().filter_map(alone).take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use weir_model::{ContentId, Piece, Tokens};

    use super::*;

    /// A byte-level BPE like GPT-2's: 256 bytes, and merges to words with and without a leading
    /// space.
    fn tokenizer_file(folder: &Path, post_processor: &str) -> PathBuf {
        let mut bytes: Vec<char> = ('!'..='~').chain('\u{a1}'..='\u{ac}').collect();
        bytes.extend('\u{ae}'..='\u{ff}');
        bytes.extend((0..68).map(|extra| char::from_u32(0x100 + extra).unwrap()));
        let mut vocabulary: Vec<String> = bytes.iter().map(char::to_string).collect();
        let mut merges = Vec::new();
        for first in 'a'..='j' {
            let spaced = format!("\u{120}{first}");
            merges.push(serde_json::json!(["\u{120}", first.to_string()]));
            vocabulary.push(spaced.clone());
            for second in 'a'..='j' {
                merges.push(serde_json::json!([spaced, second.to_string()]));
                vocabulary.push(format!("{spaced}{second}"));
            }
        }
        vocabulary.push("<s>".to_owned());
        let map: serde_json::Map<_, _> =
            vocabulary.into_iter().enumerate().map(|(id, token)| (token, id.into())).collect();
        let bos = map["<s>"].clone();
        let file = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [{"id": bos, "content": "<s>", "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true}],
            "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
                "trim_offsets": true, "use_regex": true},
            "post_processor": serde_json::from_str::<serde_json::Value>(
                &post_processor.replace("BOS", &bos.to_string())).unwrap(),
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                "use_regex": true},
            "model": {"type": "BPE", "dropout": null, "unk_token": null,
                "continuing_subword_prefix": null, "end_of_word_suffix": null,
                "fuse_unk": false, "byte_fallback": false, "vocab": map, "merges": merges}
        });
        let path = folder.join("tokenizer.json");
        std::fs::write(&path, file.to_string()).unwrap();
        path
    }

    const BOS: &str = r#"{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>",
        "type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":
        {"<s>":{"id":"<s>","ids":[BOS],"tokens":["<s>"]}}}"#;

    fn prompt(parts: &[(u64, u32)]) -> Prompt {
        Prompt::new(parts.iter().map(|(content, len)| Piece::new(ContentId(*content), *len)))
    }

    #[test]
    fn lengths_are_exact_and_prefixes_stay() {
        let folder = tempfile::tempdir().unwrap();
        for (post, special) in [("null", 0), (BOS, 1)] {
            let path = tokenizer_file(folder.path(), post);
            let maker = TokenizerText::open(&path, true).unwrap();
            assert_eq!(maker.special_tokens, special);
            for tokens in [2, 17, 1000] {
                let text = maker.text(&prompt(&[(1, tokens)])).unwrap();
                assert_eq!(maker.count(&text).unwrap(), tokens);
                let ids = maker.token_ids(&prompt(&[(1, tokens)])).unwrap();
                let encoded = maker.tokenizer.encode(text, true).unwrap();
                assert_eq!(ids, encoded.get_ids());
            }
            let short = maker.text(&prompt(&[(1, 100)])).unwrap();
            let long = maker.text(&prompt(&[(1, 100), (2, 33)])).unwrap();
            assert!(long.starts_with(&short));
            let other = maker.text(&prompt(&[(3, 100)])).unwrap();
            assert_ne!(short, other);
        }
    }

    #[test]
    fn without_special_tokens_chat_content_is_exact_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = tokenizer_file(folder.path(), BOS);
        let maker = TokenizerText::open(&path, false).unwrap();
        let text = maker.text(&prompt(&[(1, 50)])).unwrap();
        assert_eq!(text.split(' ').filter(|word| !word.is_empty()).count(), 50);
        assert_eq!(prompt(&[(1, 50)]).tokens(), Tokens(50));
    }

    #[test]
    fn what_cannot_be_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = tokenizer_file(folder.path(), BOS);
        let maker = TokenizerText::open(&path, true).unwrap();
        let error = maker.text(&prompt(&[(1, 1)])).unwrap_err().to_string();
        assert!(error.ends_with("1 tokens leave no room beside the 1 that the tokenizer adds"));
        let error = TokenizerText::open(&folder.path().join("none"), true).unwrap_err();
        assert!(error.to_string().contains("no tokenizer"), "{error}");
        std::fs::write(&path, "{}").unwrap();
        assert!(TokenizerText::open(&path, true).is_err());
    }
}
