//! A `config.json` as exporters write it: Python's JSON, byte order marks, the language model's
//! part under any key, defaults left out.

use std::cell::RefCell;

use serde_json::{Map, Value};

use super::defaults;

/// Of multimodal models, in the order they are tried.
const TEXT_KEYS: [&str; 8] = [
    "text_config",
    "llm_config",
    "language_config",
    "language_model_config",
    "text_model_config",
    "lm_config",
    "thinker_config",
    "model_config",
];
/// Parts of keys of other models in the same file.
const OTHER_MODELS: [&str; 12] = [
    "vision",
    "visual",
    "audio",
    "speech",
    "talker",
    "code2wav",
    "token2wav",
    "vit",
    "draft",
    "projector",
    "encoder",
    "generation",
];

/// Decodes by the byte order mark.
pub(super) fn text(bytes: &[u8]) -> Result<String, String> {
    let wide = |pair: fn([u8; 2]) -> u16| {
        let units: Vec<u16> =
            bytes[2..].chunks_exact(2).map(|two| pair([two[0], two[1]])).collect();
        String::from_utf16(&units)
            .map_err(|_| "it is not UTF-16, as its first bytes say".to_owned())
    };
    match bytes {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => {
            let plain = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
            String::from_utf8(plain.to_vec()).map_err(|error| format!("it is not UTF-8: {error}"))
        }
    }
}

/// Python's three extra words become null: no count, width or length can be one of them.
pub(super) fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(&without_python_words(text)).map_err(|error| format!("not JSON: {error}"))
}

/// Replaces `NaN`, `Infinity` and `-Infinity` outside of strings by `null`. Lines stay.
fn without_python_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut quoted = false;
    while let Some(next) = rest.chars().next() {
        let word = ["-Infinity", "Infinity", "NaN"].into_iter().find(|word| rest.starts_with(word));
        let taken = match (quoted, word) {
            (false, Some(word)) => {
                out += "null";
                rest = &rest[word.len()..];
                continue;
            }
            (true, _) if next == '\\' => {
                next.len_utf8() + rest[1..].chars().next().map_or(0, char::len_utf8)
            }
            _ => next.len_utf8(),
        };
        quoted ^= next == '"';
        out += &rest[..taken];
        rest = &rest[taken..];
    }
    out
}

/// The file itself, or the part under a key of its own.
pub(super) fn language_model(document: &Value) -> Result<&Map<String, Value>, String> {
    let map = document.as_object().ok_or("it holds no map of keys")?;
    for key in TEXT_KEYS {
        if let Some(part) = map.get(key).filter(|part| part.is_object()) {
            return language_model(part);
        }
    }
    if map.contains_key("hidden_size") || map.contains_key("num_hidden_layers") {
        return Ok(map);
    }
    let parts: Vec<(&String, &Value)> = map
        .iter()
        .filter(|(key, _)| !OTHER_MODELS.iter().any(|other| key.contains(other)))
        .filter(|(_, part)| part.get("hidden_size").is_some() || has_nested(part))
        .collect();
    match parts.as_slice() {
        [] => Ok(map),
        [(_, part)] => language_model(part),
        several => {
            let keys: Vec<String> = several.iter().map(|(key, _)| format!("`{key}`")).collect();
            Err(format!(
                "{} could each be the language model; write that part into a file of its own",
                keys.join(", ")
            ))
        }
    }
}

fn has_nested(part: &Value) -> bool {
    TEXT_KEYS.iter().any(|key| part.get(key).is_some_and(Value::is_object))
}

pub(super) struct Keys<'a> {
    map: &'a Map<String, Value>,
    pub(super) document: &'a Value,
    /// Of the part, or of the file where the part has none.
    pub(super) family: &'a str,
    missing: RefCell<Vec<String>>,
}

/// Largest plausible figure of a kind: products of them stay in 64 bits.
fn most(key: &str) -> u32 {
    match key {
        "num_hidden_layers"
        | "num_attention_heads"
        | "num_key_value_heads"
        | "head_dim"
        | "global_head_dim"
        | "v_head_dim"
        | "linear_num_value_heads"
        | "linear_num_key_heads" => 1 << 12,
        "kv_lora_rank" | "qk_rope_head_dim" => 1 << 16,
        "vocab_size" | "max_position_embeddings" | "sliding_window" => 1 << 24,
        _ => 1 << 20,
    }
}

impl<'a> Keys<'a> {
    pub(super) fn of(document: &'a Value) -> Result<Self, String> {
        let map = language_model(document)?;
        let type_of = |map: &'a Map<String, Value>| map.get("model_type").and_then(Value::as_str);
        let outer = document.as_object().and_then(type_of);
        let family = type_of(map).filter(|name| !name.is_empty()).or(outer).unwrap_or_default();
        Ok(Self { map, document, family, missing: RefCell::new(Vec::new()) })
    }

    /// None for null.
    pub(super) fn value(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn written(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.as_str(), value))
    }

    /// Positive. The family's default where the key is left out.
    pub(super) fn number(&self, key: &str) -> Result<Option<u32>, String> {
        match self.map.get(key) {
            None => Ok(defaults::number(self.family, key)),
            Some(Value::Null) => Ok(None),
            Some(value) => whole(key, value).map(Some),
        }
    }

    pub(super) fn first(&self, keys: &[&str]) -> Result<Option<u32>, String> {
        for key in keys {
            if let Some(number) = self.number(key)? {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// A required number. A missing one is noted, and 1 stands for it until
    /// [`finish`](Self::finish).
    pub(super) fn need(&self, key: &str) -> Result<u32, String> {
        let number = self.number(key)?;
        if number.is_none() {
            self.note_missing(key);
        }
        Ok(number.unwrap_or(1))
    }

    /// May be 0, which stands for "none".
    pub(super) fn count(&self, key: &str) -> Result<u32, String> {
        match self.value(key) {
            Some(value) if value.as_u64() == Some(0) => Ok(0),
            _ => Ok(self.number(key)?.unwrap_or(0)),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.value(key).and_then(Value::as_bool).or_else(|| defaults::flag(self.family, key))
    }

    pub(super) fn word(&self, key: &str) -> Option<&'a str> {
        self.value(key).and_then(Value::as_str)
    }

    pub(super) fn list(&self, key: &str) -> Option<&'a [Value]> {
        self.value(key).and_then(Value::as_array).map(Vec::as_slice).filter(|list| !list.is_empty())
    }

    /// True where input and output embeddings are one matrix.
    pub(super) fn tied(&self) -> bool {
        let key = "tie_word_embeddings";
        let outer = || self.document.get(key).and_then(Value::as_bool);
        self.value(key)
            .and_then(Value::as_bool)
            .or_else(outer)
            .or_else(|| defaults::flag(self.family, key))
            .unwrap_or(false)
    }

    pub(super) fn note_missing(&self, key: &str) {
        let mut missing = self.missing.borrow_mut();
        if !missing.iter().any(|known| known == key) {
            missing.push(key.to_owned());
        }
    }

    pub(super) fn finish(&self) -> Result<(), String> {
        let missing = self.missing.borrow();
        if missing.is_empty() {
            return Ok(());
        }
        let keys: Vec<String> = missing.iter().map(|key| format!("`{key}`")).collect();
        let family = match self.family {
            "" => String::new(),
            family => format!(", and Weir knows no defaults of `{family}` for it"),
        };
        Err(format!("missing {}{family}; add it to the file", keys.join(", ")))
    }
}

/// A positive whole number that is plausible at this key.
pub(super) fn whole(key: &str, value: &Value) -> Result<u32, String> {
    let most = most(key);
    let whole = value.as_u64().or_else(|| {
        // Some exporters write 4096.0.
        value.as_f64().filter(|number| number.fract() == 0.0 && *number > 0.0).map(|n| n as u64)
    });
    whole
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| (1..=most).contains(number))
        .ok_or_else(|| format!("`{key}` is {value}, which is not a whole number from 1 to {most}"))
}
