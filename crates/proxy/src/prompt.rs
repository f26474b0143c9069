//! The prompt in a request's body, as far as routing needs it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use weir_model::{ContentId, Piece, Prompt};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::id_list::IdPrompt;

/// llm-d's guess at the bytes of a token, for prompts that it does not tokenize.
const TEXT_BYTES_PER_TOKEN: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Completions,
    Chat,
}

impl Route {
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/v1/completions" => Some(Self::Completions),
            "/v1/chat/completions" => Some(Self::Chat),
            _ => None,
        }
    }
}

#[derive(Debug, PartialEq)]
pub(crate) enum Content<'a> {
    Ids(Vec<u32>),
    Text(Cow<'a, str>),
    /// The messages of a chat as they are written; only the engine has the template.
    Messages(&'a str),
}

#[derive(Debug, PartialEq)]
pub(crate) struct Asked<'a> {
    pub(crate) model: Option<Cow<'a, str>>,
    pub(crate) salt: Option<Cow<'a, str>>,
    /// Of several prompts the first.
    pub(crate) content: Content<'a>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    cache_salt: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow, default)]
    messages: Option<&'a RawValue>,
}

impl<'a> Asked<'a> {
    /// None for a body that no engine would take; which one refuses it does not matter.
    pub(crate) fn read(route: Route, body: &'a [u8]) -> Option<Self> {
        if route == Route::Completions
            && let Some(IdPrompt { model, salt, ids }) = IdPrompt::find(body)
        {
            let salt = salt.filter(|salt| !salt.is_empty());
            let (model, salt) = (model.map(Cow::Borrowed), salt.map(Cow::Borrowed));
            return Some(Self { model, salt, content: Content::Ids(ids) });
        }
        let fields: Fields<'a> = serde_json::from_slice(body).ok()?;
        let content = match route {
            Route::Completions => completion(fields.prompt?.get())?,
            Route::Chat => Content::Messages(fields.messages?.get()),
        };
        let salt = fields.cache_salt.filter(|salt| !salt.is_empty());
        Some(Self { model: fields.model, salt, content })
    }

    /// The prompt in blocks, each named by its content and all before it. Only whole blocks count,
    /// as in an index.
    pub(crate) fn estimated(&self, block_tokens: u32) -> Prompt {
        let block = block_tokens.max(1) as usize;
        let seed = xxh3_64_with_seed(self.model.as_deref().unwrap_or_default().as_bytes(), 0);
        let seed = xxh3_64_with_seed(self.salt.as_deref().unwrap_or_default().as_bytes(), seed);
        let bytes = match &self.content {
            Content::Ids(ids) => {
                let mut bytes = Vec::with_capacity(block * 4);
                return chain(block_tokens, seed, ids.chunks_exact(block), |seed, block| {
                    bytes.clear();
                    bytes.extend(block.iter().flat_map(|id| id.to_le_bytes()));
                    xxh3_64_with_seed(&bytes, seed)
                });
            }
            Content::Text(text) => text.as_bytes(),
            Content::Messages(text) => text.as_bytes(),
        };
        let blocks = bytes.chunks_exact(block * TEXT_BYTES_PER_TOKEN);
        chain(block_tokens, seed, blocks, |seed, block| xxh3_64_with_seed(block, seed))
    }
}

fn chain<T>(
    block_tokens: u32,
    seed: u64,
    blocks: impl Iterator<Item = T>,
    mut hash: impl FnMut(u64, T) -> u64,
) -> Prompt {
    let pieces = blocks.scan(seed, |seed, block| {
        *seed = hash(*seed, block);
        Some(Piece::new(ContentId(*seed), block_tokens))
    });
    Prompt::new(pieces)
}

fn completion(raw: &str) -> Option<Content<'_>> {
    if raw.starts_with('"') {
        return Some(Content::Text(text(raw)?));
    }
    if let Ok(ids) = serde_json::from_str::<Vec<u32>>(raw) {
        return Some(Content::Ids(ids));
    }
    let several: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let first = several.first()?.get();
    match text(first) {
        Some(text) => Some(Content::Text(text)),
        None => Some(Content::Ids(serde_json::from_str(first).ok()?)),
    }
}

/// Borrowed where nothing is escaped.
fn text(raw: &str) -> Option<Cow<'_, str>> {
    if let Ok(text) = serde_json::from_str::<&str>(raw) {
        return Some(Cow::Borrowed(text));
    }
    serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(body: &str) -> Option<Content<'_>> {
        Asked::read(Route::Completions, body.as_bytes()).map(|asked| asked.content)
    }

    #[test]
    fn prompts_come_as_text_or_ids_one_or_several() {
        let text = |text| Some(Content::Text(Cow::Borrowed(text)));
        assert_eq!(content(r#"{"prompt":"a b","model":"m"}"#), text("a b"));
        assert_eq!(content(r#"{"prompt":"a\nb"}"#), text("a\nb"));
        assert_eq!(content(r#"{"prompt":["a","b"]}"#), text("a"));
        assert_eq!(content(r#"{"prompt":[1,2]}"#), Some(Content::Ids(vec![1, 2])));
        assert_eq!(content(r#"{"prompt":[[3],[4]]}"#), Some(Content::Ids(vec![3])));
        for body in ["", "[]", "{}", r#"{"prompt":7}"#, r#"{"prompt":[{}]}"#, r#"{"prompt":"a""#] {
            assert_eq!(content(body), None, "{body}");
        }
    }

    #[test]
    fn model_and_salt_are_read_and_messages_stay_as_written() {
        let body = r#"{"messages":[{"role": "user"}],"model":"m","cache_salt":"s"}"#;
        let asked = Asked::read(Route::Chat, body.as_bytes()).unwrap();
        assert_eq!(asked.content, Content::Messages(r#"[{"role": "user"}]"#));
        assert_eq!((asked.model.as_deref(), asked.salt.as_deref()), (Some("m"), Some("s")));
        assert_eq!(Asked::read(Route::Completions, body.as_bytes()), None);
    }

    #[test]
    fn estimates_agree_as_far_as_prompts_do() {
        let prompt = |ids: &[u32], salt: Option<&'static str>| {
            let content = Content::Ids(ids.to_vec());
            Asked { model: None, salt: salt.map(Cow::Borrowed), content }.estimated(2)
        };
        let (a, b) = (prompt(&[1, 2, 3, 4, 5], None), prompt(&[1, 2, 9, 4], None));
        assert_eq!(a.tokens().0, 4);
        assert_eq!((a.pieces()[0], a.pieces().len()), (b.pieces()[0], 2));
        assert_ne!(a.pieces()[1], b.pieces()[1]);
        assert_ne!(a.pieces()[0], prompt(&[1, 2], Some("salt")).pieces()[0]);
    }
}
