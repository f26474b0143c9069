//! An untrained tokenizer: one token per byte, and a word for every other token. Any text encodes,
//! and any answer encodes again to the same tokens.

use serde_json::{Map, Value, json};

/// From id 0 on.
const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// A space, as the byte-level alphabet writes it.
const SPACE: char = '\u{120}';
const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
const VOWELS: &[u8; 4] = b"aiou";
const TEMPLATE: &str = "{% for message in messages %}\
    <|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n\
    {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// The special tokens and the bytes are in every vocabulary.
pub(super) const LEAST: u32 = SPECIAL.len() as u32 + 256;
/// Tokens from id 0 on that answers never have.
pub(super) const SPECIALS: u32 = SPECIAL.len() as u32;

/// `tokenizer.json` for a vocabulary of at least [`LEAST`] tokens.
pub(super) fn tokenizer(vocabulary: u32) -> Value {
    // A syllable has 6 bits, and ids have 32.
    let syllables = (1..=6).find(|count| 64u64.pow(*count) >= u64::from(vocabulary));
    let mut ids = Map::new();
    let mut next = 0u32;
    let mut add = |token: String| {
        ids.insert(token, next.into());
        next += 1;
    };
    for token in SPECIAL {
        add(token.to_owned());
    }
    for letter in alphabet() {
        add(letter.to_string());
    }
    for index in 0..vocabulary.saturating_sub(LEAST) {
        add(word(index, syllables.unwrap_or(1)));
    }
    let added: Vec<Value> = (0u32..)
        .zip(SPECIAL)
        .map(|(id, content)| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true,
            })
        })
        .collect();
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": bytes,
        "post_processor": null,
        "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            // A word is one token without any merge.
            "ignore_merges": true,
            "vocab": ids,
            "merges": [],
        },
    })
}

pub(super) fn config(context: u32) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": SPECIAL[2],
        "pad_token": SPECIAL[0],
        "model_max_length": context,
        "chat_template": TEMPLATE,
    })
}

/// By byte: printable Latin-1 is itself, the rest counts from U+0100 in order.
fn alphabet() -> Vec<char> {
    let mut above = '\u{100}'..;
    (0u8..=255)
        .map(|byte| match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
            _ => above.next().unwrap_or(SPACE),
        })
        .collect()
}

/// A space, then syllables of 6 bits each.
fn word(index: u32, syllables: u32) -> String {
    let mut word = String::from(SPACE);
    for place in (0..syllables).rev() {
        let bits = (u64::from(index) >> (6 * place)) as usize & 63;
        word.push(char::from(CONSONANTS[bits >> 2]));
        word.push(char::from(VOWELS[bits & 3]));
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_one_token_and_bytes_follow_the_special_ones() {
        for vocabulary in [LEAST, 4096, 151_936] {
            let made = tokenizer(vocabulary);
            let vocab = made["model"]["vocab"].as_object().unwrap();
            assert_eq!(vocab.len(), vocabulary as usize);
            let mut ids: Vec<u64> = vocab.values().map(|id| id.as_u64().unwrap()).collect();
            ids.sort_unstable();
            assert!(ids.iter().enumerate().all(|(at, id)| at as u64 == *id));
            assert_eq!(vocab["A"], 3 + 65);
            assert_eq!(vocab["\u{120}"], 3 + 32);
            assert_eq!(vocab["\u{10a}"], 3 + 10, "a new line");
        }
    }
}
