//! The JSON of an answer: single events, whole bodies, and kept streams.
//!
//! Events with text are recognized by the key before it and not parsed while load is generated; all
//! others are parsed.

use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Whether a field has content: a text, array or object that is not empty. Copies nothing.
#[derive(Debug, Clone, Copy, Default)]
struct Filled(bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldVisitor;
        impl<'de> Visitor<'de> for FieldVisitor {
            type Value = Filled;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, list, object or null")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Filled, E> {
                Ok(Filled(!text.is_empty()))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Filled, E> {
                Ok(Filled(false))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Filled, A::Error> {
                let mut filled = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    filled = true;
                }
                Ok(Filled(filled))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filled, A::Error> {
                let mut filled = false;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    filled = true;
                }
                Ok(Filled(filled))
            }
        }
        deserializer.deserialize_any(FieldVisitor)
    }
}

/// A value of another kind than expected counts as absent.
macro_rules! lenient {
    ($name:ident, $inner:ty, $($method:ident($value:ident: $type:ty) => $taken:expr;)*) => {
        #[derive(Debug, Clone, Copy, Default)]
        struct $name(Option<$inner>);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct FieldVisitor;
                impl<'de> Visitor<'de> for FieldVisitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("any value")
                    }
                    $(fn $method<E: de::Error>(self, $value: $type) -> Result<$name, E> {
                        Ok($name($taken))
                    })*
                    fn visit_unit<E: de::Error>(self) -> Result<$name, E> {
                        Ok($name(None))
                    }
                    fn visit_bool<E: de::Error>(self, _: bool) -> Result<$name, E> {
                        Ok($name(None))
                    }
                    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<$name, A::Error> {
                        IgnoredAny.visit_seq(seq).map(|_| $name(None))
                    }
                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$name, A::Error> {
                        IgnoredAny.visit_map(map).map(|_| $name(None))
                    }
                }
                deserializer.deserialize_any(FieldVisitor)
            }
        }
    };
}

lenient! { Count, u32,
    visit_u64(value: u64) => u32::try_from(value).ok();
    visit_i64(value: i64) => u32::try_from(value).ok();
    // Gateways may pass numbers through a language without integers.
    visit_f64(value: f64) => (value >= 0.0 && value <= f64::from(u32::MAX)).then_some(value as u32);
    visit_str(_value: &str) => None;
}

lenient! { End, Finish,
    visit_str(value: &str) => Some(Finish::named(value));
    visit_u64(_value: u64) => Some(Finish::Other);
    visit_i64(_value: i64) => Some(Finish::Other);
    visit_f64(_value: f64) => Some(Finish::Other);
}

/// `finish_reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// At its token limit.
    Length,
    Stop,
    Other,
}

impl Finish {
    fn named(word: &str) -> Self {
        match word {
            "length" => Self::Length,
            "stop" => Self::Stop,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Finish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "length",
            Self::Stop => "stop",
            Self::Other => "another one",
        })
    }
}

/// Fields in which servers put generated output.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Filled,
    reasoning_content: Filled,
    reasoning: Filled,
    reasoning_details: Filled,
    thinking: Filled,
    refusal: Filled,
    audio: Filled,
    tool_calls: Filled,
    function_call: Filled,
    role: Option<IgnoredAny>,
}

impl Delta {
    const fn is_filled(&self) -> bool {
        self.content.0
            || self.reasoning_content.0
            || self.reasoning.0
            || self.reasoning_details.0
            || self.thinking.0
            || self.refusal.0
            || self.audio.0
            || self.tool_calls.0
            || self.function_call.0
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice {
    index: Count,
    text: Option<Filled>,
    delta: Option<Delta>,
    message: Option<Delta>,
    token_ids: Filled,
    finish_reason: End,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Count,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct UsageFields {
    prompt_tokens: Count,
    completion_tokens: Count,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the names of the interface's usage")]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: Option<u32>,
    pub(crate) completion_tokens: Option<u32>,
    /// Prompt tokens from a cache.
    pub(crate) cached_tokens: Option<u32>,
}

impl Usage {
    /// Counts missing here are those of `other`.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens.or(other.prompt_tokens),
            completion_tokens: self.completion_tokens.or(other.completion_tokens),
            cached_tokens: self.cached_tokens.or(other.cached_tokens),
        }
    }
}

impl From<UsageFields> for Usage {
    fn from(said: UsageFields) -> Self {
        Self {
            prompt_tokens: said.prompt_tokens.0,
            completion_tokens: said.completion_tokens.0,
            cached_tokens: said.prompt_tokens_details.and_then(|details| details.cached_tokens.0),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Document<'a> {
    choices: Option<Vec<Choice>>,
    usage: Option<UsageFields>,
    #[serde(borrow)]
    error: Option<&'a serde_json::value::RawValue>,
}

/// One event or one whole body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunk {
    pub(crate) has_output: bool,
    /// May be a token without text: a choice with more than a role or an end.
    pub(crate) has_choice: bool,
    /// Belongs to a second answer to the same request.
    pub(crate) is_of_another_choice: bool,
    pub(crate) finish: Option<Finish>,
    pub(crate) usage: Option<Usage>,
    /// Code and message.
    pub(crate) error: Option<(u16, String)>,
}

impl Chunk {
    pub(crate) fn read(data: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(data).map_err(|error| error.to_string())?;
        let error = document.error.filter(|error| error.get() != "null").map(|error| {
            let value: serde_json::Value = serde_json::from_str(error.get()).unwrap_or_default();
            let code = value["code"].as_u64().and_then(|code| u16::try_from(code).ok());
            let text = value["message"].as_str().or(value.as_str()).unwrap_or(error.get());
            (code.unwrap_or(200), crate::failure::quote(text.as_bytes()))
        });
        let usage = document.usage.map(Usage::from);
        let mut chunk = Self { usage, error, ..Self::default() };
        for choice in document.choices.iter().flatten() {
            let said = choice.delta.as_ref().or(choice.message.as_ref());
            let filled = choice.token_ids.0
                || choice.text.is_some_and(|text| text.0)
                || said.is_some_and(Delta::is_filled);
            chunk.has_output |= filled;
            chunk.is_of_another_choice |= choice.index.0.is_some_and(|index| index > 0);
            chunk.finish = chunk.finish.or(choice.finish_reason.0);
            let mere_role = said.is_some_and(|said| said.role.is_some());
            chunk.has_choice |= filled || (!mere_role && choice.finish_reason.0.is_none());
        }
        Ok(chunk)
    }
}

/// Keys of text in events, the commonest first.
static TEXT_KEYS: LazyLock<[Finder<'static>; 4]> = LazyLock::new(|| {
    ["\"text\":", "\"content\":", "\"reasoning_content\":", "\"reasoning\":"].map(Finder::new)
});

/// Finds text without parsing: one search while the stream keeps its key.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TextKeys {
    /// Index of the last text's key.
    last: usize,
}

impl TextKeys {
    /// False: the event must be parsed, as the text may be empty or the output something else. Text
    /// cannot contain a key, because its quotes are escaped.
    pub(crate) fn has_text(&mut self, data: &[u8]) -> bool {
        let keys = &*TEXT_KEYS;
        let has = |key: usize| {
            let finder = &keys[key];
            let Some(at) = finder.find(data) else { return false };
            let value = data[at + finder.needle().len()..].trim_ascii_start();
            matches!(value, [b'"', first, ..] if *first != b'"')
        };
        if has(self.last) {
            return true;
        }
        let found = (0..keys.len()).find(|key| *key != self.last && has(*key));
        self.last = found.unwrap_or(self.last);
        found.is_some()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OutputChoice {
    text: Option<String>,
    delta: Option<OutputDelta>,
    message: Option<OutputDelta>,
    token_ids: Option<Vec<u32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDelta {
    #[serde(deserialize_with = "text_alone")]
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
}

/// A text, or the texts of a list of parts, as some servers send.
fn text_alone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Array(parts) => {
            Some(parts.iter().filter_map(|part| part["text"].as_str()).collect())
        }
        _ => None,
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDocument {
    choices: Option<Vec<OutputChoice>>,
}

/// Of a kept answer.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// None unless every document with output has them.
    pub(crate) token_ids: Option<Vec<u32>>,
    /// xxh3 of the token ids (little endian, 4 bytes each), else of the text.
    pub(crate) digest: u64,
    /// Includes the reasoning.
    pub(crate) text: String,
}

impl Output {
    pub(crate) fn read<'a>(documents: impl Iterator<Item = &'a [u8]>) -> Result<Self, String> {
        let mut ids = Vec::new();
        let mut all_have_ids = true;
        let mut text = String::new();
        for data in documents {
            let document: OutputDocument =
                serde_json::from_slice(data).map_err(|error| error.to_string())?;
            let Some(choice) = document.choices.into_iter().flatten().next() else { continue };
            let said = choice.delta.or(choice.message);
            let mut has_text = false;
            let spoken = said.map(|said| [said.reasoning_content, said.reasoning, said.content]);
            for part in spoken.into_iter().flatten().chain([choice.text]).flatten() {
                has_text |= !part.is_empty();
                text.push_str(&part);
            }
            match choice.token_ids {
                Some(more) => ids.extend(more),
                None => all_have_ids &= !has_text,
            }
        }
        if !all_have_ids || ids.is_empty() {
            return Ok(Self { token_ids: None, digest: xxh3_64(text.as_bytes()), text });
        }
        let mut digest = Xxh3::new();
        for id in &ids {
            digest.update(&id.to_le_bytes());
        }
        Ok(Self { token_ids: Some(ids), digest: digest.digest(), text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(data: &str) -> bool {
        Chunk::read(data.as_bytes()).unwrap().has_output
    }

    #[test]
    fn output_is_told_from_roles_ends_and_usage() {
        assert!(output(r#"{"choices":[{"text":"a"}]}"#));
        assert!(output(r#"{"choices":[{"text":"","token_ids":[5]}]}"#));
        assert!(output(r#"{"choices":[{"delta":{"content":"\u00e9"}}]}"#));
        assert!(output(r#"{"choices":[{"delta":{"reasoning_content":"x","content":null}}]}"#));
        assert!(output(r#"{"choices":[{"delta":{"reasoning":"x"}}]}"#));
        assert!(output(r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#));
        assert!(output(r#"{"choices":[{"message":{"role":"assistant","content":"x"}}]}"#));
        assert!(!output(r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#));
        assert!(!output(r#"{"choices":[{"text":"","finish_reason":"length"}]}"#));
        assert!(!output(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#));
        assert!(!output(r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#));
        assert!(!output("{}"));
    }

    #[test]
    fn a_token_without_text_is_a_choice_and_a_role_is_not() {
        let choice = |data: &str| Chunk::read(data.as_bytes()).unwrap().has_choice;
        assert!(choice(r#"{"choices":[{"text":"","finish_reason":null}]}"#));
        assert!(choice(r#"{"choices":[{"delta":{"content":""}}]}"#));
        assert!(!choice(r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#));
        assert!(!choice(r#"{"choices":[{"text":"","finish_reason":"stop"}]}"#));
    }

    fn counts(prompt: Option<u32>, completion: Option<u32>, cached: Option<u32>) -> Usage {
        Usage { prompt_tokens: prompt, completion_tokens: completion, cached_tokens: cached }
    }

    #[test]
    fn the_end_and_second_answers_are_told() {
        let chunk = |data: &str| Chunk::read(data.as_bytes()).unwrap();
        let end = |data: &str| chunk(data).finish;
        assert_eq!(end(r#"{"choices":[{"finish_reason":"length"}]}"#), Some(Finish::Length));
        assert_eq!(end(r#"{"choices":[{"finish_reason":"stop"}]}"#), Some(Finish::Stop));
        assert_eq!(end(r#"{"choices":[{"finish_reason":"tool_calls"}]}"#), Some(Finish::Other));
        assert_eq!(end(r#"{"choices":[{"finish_reason":null}]}"#), None);
        assert!(chunk(r#"{"choices":[{"index":1,"text":"x"}]}"#).is_of_another_choice);
        assert!(!chunk(r#"{"choices":[{"index":0,"text":"x"}]}"#).is_of_another_choice);
    }

    #[test]
    fn text_is_told_without_reading() {
        let mut keys = TextKeys::default();
        let mut has = |data: &str| keys.has_text(data.as_bytes());
        for filled in [
            r#"{"choices":[{"text":"a"}]}"#,
            r#"{"choices": [{"text": "a", "logprobs": null}]}"#,
            r#"{"choices":[{"delta":{"content":"\""}}]}"#,
            r#"{"choices":[{"delta":{"reasoning_content":"x","content":null}}]}"#,
            r#"{"choices":[{"delta":{"reasoning":"x"}}]}"#,
            r#"{"choices":[{"text":"back"}]}"#,
        ] {
            assert!(has(filled) && output(filled), "{filled}");
        }
        for other in [
            r#"{"choices":[{"text":""}]}"#,
            r#"{"choices":[{"delta":{"content": ""}}]}"#,
            r#"{"choices":[{"delta":{"content":null}}]}"#,
            r#"{"choices":[{"delta":{}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#,
            r#"{"choices":[{"text":"","token_ids":[5]}]}"#,
            r#"{"error":{"message":"\"text\":\"x\""}}"#,
            "{}",
        ] {
            assert!(!has(other), "{other}");
        }
    }

    #[test]
    fn usage_and_errors_are_read() {
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,
            "total_tokens":13,"prompt_tokens_details":{"cached_tokens":8}}}"#;
        let usage = Chunk::read(usage.as_bytes()).unwrap().usage.unwrap();
        assert_eq!(usage, counts(Some(9), Some(4), Some(8)));
        let usage = |data: &str| Chunk::read(data.as_bytes()).unwrap().usage;
        let plain = r#"{"usage":{"prompt_tokens":9,"prompt_tokens_details":null}}"#;
        assert_eq!(usage(plain), Some(counts(Some(9), None, None)));
        let nulls = r#"{"choices":null,"usage":{"prompt_tokens":null,"completion_tokens":4.0}}"#;
        assert_eq!(usage(nulls), Some(counts(None, Some(4), None)));
        let odd = r#"{"usage":{"prompt_tokens":-1,"completion_tokens":"4",
            "prompt_tokens_details":{"cached_tokens":[]}}}"#;
        assert_eq!(usage(odd), Some(counts(None, None, None)));
        assert_eq!(usage(r#"{"usage":null,"choices":null}"#), None);
        let error = |data: &str| Chunk::read(data.as_bytes()).unwrap().error;
        assert_eq!(
            error(r#"{"error":{"message":"out of\nmemory","code":500}}"#),
            Some((500, "out of memory".to_owned()))
        );
        assert_eq!(error(r#"{"error":"busy"}"#), Some((200, "busy".to_owned())));
        assert_eq!(error(r#"{"error":null}"#), None);
        assert!(Chunk::read(b"{\"choices\":[{\"text\":7}]}").is_err());
        assert!(Chunk::read(b"[DON").is_err());
    }

    #[test]
    fn kept_answers_give_ids_and_a_digest_that_depends_on_the_output_alone() {
        let read = |parts: &[&str]| Output::read(parts.iter().map(|p| p.as_bytes())).unwrap();
        let split = read(&[
            r#"{"choices":[{"text":"a","token_ids":[1,2]}]}"#,
            r#"{"choices":[{"text":"b","token_ids":[3]}]}"#,
            r#"{"choices":[],"usage":null}"#,
        ]);
        let whole = read(&[r#"{"choices":[{"text":"ab","token_ids":[1,2,3]}]}"#]);
        assert_eq!(split.token_ids, Some(vec![1, 2, 3]));
        assert_eq!(split.digest, whole.digest);
        let text = read(&[r#"{"choices":[{"delta":{"content":"a"}}]}"#, "{}"]);
        let other = read(&[r#"{"choices":[{"text":"a"}]}"#]);
        assert_eq!(text.token_ids, None);
        assert_eq!(text.digest, other.digest);
        assert_ne!(text.digest, split.digest);
    }
}
