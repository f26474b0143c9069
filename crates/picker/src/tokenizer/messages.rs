//! Messages of `tokenization.TokenizationService` (`tokenizer.proto` of llm-d-kv-cache 0.9.0): the
//! fields that are read or written here. Unknown ones are skipped.

use super::engine::TokenizeError;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Initialized {
    #[prost(bool, tag = "1")]
    pub(super) success: bool,
    #[prost(string, tag = "2")]
    pub(super) error_message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RenderRequest {
    #[prost(string, tag = "2")]
    pub(super) prompt: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RenderedPrompt {
    #[prost(uint32, repeated, tag = "2")]
    pub(super) token_ids: Vec<u32>,
    #[prost(bool, tag = "3")]
    pub(super) success: bool,
    #[prost(string, tag = "4")]
    pub(super) error_message: String,
}

impl RenderedPrompt {
    pub(super) fn of(tokens: Result<Vec<u32>, TokenizeError>) -> Self {
        let (token_ids, success, error_message) = parts(tokens);
        Self { token_ids, success, error_message }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ChatMessage {
    #[prost(string, tag = "1")]
    pub(super) role: String,
    #[prost(string, optional, tag = "2")]
    pub(super) content: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RenderChatRequest {
    #[prost(message, repeated, tag = "2")]
    pub(super) messages: Vec<ChatMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RenderedChat {
    #[prost(uint32, repeated, tag = "2")]
    pub(super) token_ids: Vec<u32>,
    #[prost(bool, tag = "4")]
    pub(super) success: bool,
    #[prost(string, tag = "5")]
    pub(super) error_message: String,
}

impl RenderedChat {
    pub(super) fn of(tokens: Result<Vec<u32>, TokenizeError>) -> Self {
        let (token_ids, success, error_message) = parts(tokens);
        Self { token_ids, success, error_message }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TokenizeRequest {
    #[prost(string, tag = "1")]
    pub(super) input: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Tokenized {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) input_ids: Vec<u32>,
    #[prost(bool, tag = "2")]
    pub(super) success: bool,
    #[prost(string, tag = "3")]
    pub(super) error_message: String,
    /// Begin and end per token; zeros, since no engine tells them.
    #[prost(uint32, repeated, tag = "4")]
    pub(super) offset_pairs: Vec<u32>,
}

impl Tokenized {
    pub(super) fn of(tokens: Result<Vec<u32>, TokenizeError>) -> Self {
        let (input_ids, success, error_message) = parts(tokens);
        let offset_pairs = vec![0; 2 * input_ids.len()];
        Self { input_ids, success, error_message, offset_pairs }
    }
}

fn parts(tokens: Result<Vec<u32>, TokenizeError>) -> (Vec<u32>, bool, String) {
    match tokens {
        Ok(ids) => (ids, true, String::new()),
        Err(error) => (Vec::new(), false, error.to_string()),
    }
}
