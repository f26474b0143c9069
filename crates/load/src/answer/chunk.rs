//! What the JSON of an answer says: of single events, whole bodies, and kept streams.
//!
//! Only the events at both ends of a stream are read while load is generated: the first ones to
//! see which brought output, the last ones for usage and errors.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use xxhash_rust::xxh3::Xxh3;

/// Whether a field holds anything: a text that is not empty, an array or object with something in
/// it. Its content is passed over without a copy.
#[derive(Debug, Clone, Copy, Default)]
struct Filled(bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
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
        deserializer.deserialize_any(Look)
    }
}

#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    content: Filled,
    #[serde(default)]
    reasoning_content: Filled,
    #[serde(default)]
    reasoning: Filled,
    #[serde(default)]
    tool_calls: Filled,
    #[serde(default)]
    role: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default)]
    text: Option<Filled>,
    #[serde(default)]
    delta: Option<Said>,
    #[serde(default)]
    message: Option<Said>,
    #[serde(default)]
    token_ids: Filled,
    #[serde(default)]
    finish_reason: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u32>,
}

/// Token counts as the server gives them.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(crate) struct Usage {
    /// Of the prompt.
    #[serde(default)]
    pub(crate) prompt_tokens: u32,
    /// Of the answer.
    #[serde(default)]
    pub(crate) completion_tokens: u32,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
}

impl Usage {
    /// Prompt tokens that a cache served; 0 where the server does not tell.
    pub(crate) fn cached_tokens(&self) -> u32 {
        self.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0)
    }
}

#[derive(Debug, Deserialize)]
struct Document<'a> {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default, borrow)]
    error: Option<&'a serde_json::value::RawValue>,
}

/// What one event, or one whole body, says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunk {
    /// It brought output.
    pub(crate) has_output: bool,
    /// It may stand for a token without text: it has a choice that is no mere role and no mere end.
    pub(crate) has_choice: bool,
    /// Token counts.
    pub(crate) usage: Option<Usage>,
    /// The error that it reports: code and message.
    pub(crate) error: Option<(u16, String)>,
}

impl Chunk {
    /// Reads the data of an event or a body; what is wrong with it otherwise.
    pub(crate) fn read(data: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(data).map_err(|error| error.to_string())?;
        let error = document.error.filter(|error| error.get() != "null").map(|error| {
            let value: serde_json::Value = serde_json::from_str(error.get()).unwrap_or_default();
            let code = value["code"].as_u64().and_then(|code| u16::try_from(code).ok());
            let text = value["message"].as_str().or(value.as_str()).unwrap_or(error.get());
            (code.unwrap_or(200), crate::failure::quote(text.as_bytes()))
        });
        let mut chunk = Self { usage: document.usage, error, ..Self::default() };
        for choice in &document.choices {
            let said = choice.delta.as_ref().or(choice.message.as_ref());
            let filled = choice.token_ids.0
                || choice.text.is_some_and(|text| text.0)
                || said.is_some_and(|said| {
                    said.content.0
                        || said.reasoning_content.0
                        || said.reasoning.0
                        || said.tool_calls.0
                });
            chunk.has_output |= filled;
            let mere_role = said.is_some_and(|said| said.role.is_some());
            chunk.has_choice |= filled || (!mere_role && choice.finish_reason.is_none());
        }
        Ok(chunk)
    }
}

#[derive(Debug, Deserialize)]
struct SpokenChoice {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    delta: Option<Spoken>,
    #[serde(default)]
    message: Option<Spoken>,
    #[serde(default)]
    token_ids: Option<Vec<u32>>,
}

#[derive(Debug, Deserialize)]
struct Spoken {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    reasoning: Option<String>,
}

#[derive(Debug, Deserialize)]
struct SpokenDocument {
    #[serde(default)]
    choices: Vec<SpokenChoice>,
}

/// The output of an answer that was kept.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Token ids, where every document with output had them.
    pub(crate) token_ids: Option<Vec<u32>>,
    /// xxh3 of the token ids (little endian, 4 bytes each), else of the text.
    pub(crate) digest: u64,
}

impl Output {
    /// Reads the kept documents of one answer, in order.
    pub(crate) fn read<'a>(documents: impl Iterator<Item = &'a [u8]>) -> Result<Self, String> {
        let mut ids = Vec::new();
        let mut all_have_ids = true;
        let mut text = Xxh3::new();
        for data in documents {
            let document: SpokenDocument =
                serde_json::from_slice(data).map_err(|error| error.to_string())?;
            let Some(choice) = document.choices.into_iter().next() else { continue };
            let said = choice.delta.or(choice.message);
            let mut has_text = false;
            let spoken = said.map(|said| [said.reasoning_content, said.reasoning, said.content]);
            for part in spoken.into_iter().flatten().chain([choice.text]).flatten() {
                has_text |= !part.is_empty();
                text.update(part.as_bytes());
            }
            match choice.token_ids {
                Some(more) => ids.extend(more),
                None => all_have_ids &= !has_text,
            }
        }
        if !all_have_ids || ids.is_empty() {
            return Ok(Self { token_ids: None, digest: text.digest() });
        }
        let mut digest = Xxh3::new();
        for id in &ids {
            digest.update(&id.to_le_bytes());
        }
        Ok(Self { token_ids: Some(ids), digest: digest.digest() })
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

    #[test]
    fn usage_and_errors_are_read() {
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,
            "total_tokens":13,"prompt_tokens_details":{"cached_tokens":8}}}"#;
        let usage = Chunk::read(usage.as_bytes()).unwrap().usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (9, 4));
        assert_eq!(usage.cached_tokens(), 8);
        let plain = r#"{"usage":{"prompt_tokens":9,"prompt_tokens_details":null}}"#;
        assert_eq!(Chunk::read(plain.as_bytes()).unwrap().usage.unwrap().cached_tokens(), 0);
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
