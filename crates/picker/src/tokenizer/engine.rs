//! Token ids by an engine's `/tokenize`, which serves with every vLLM. The render routes need
//! `--enable-scale-out` in 0.32.

use std::time::Duration;

use serde_json::{Value, json};
use weir_http::{Fetch, FetchError, Url, fetch};

use super::messages::RenderChatRequest;

const PATH: &str = "/tokenize";
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(super) enum TokenizeError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("{PATH}: expected `tokens` in the answer")]
    Answer,
    #[error("no replica is known")]
    NoReplica,
}

/// The replicas, one of which is asked; the next where it does not answer.
#[derive(Debug)]
pub(crate) struct Engines {
    pub(crate) urls: Vec<Url>,
    pub(crate) model: String,
}

impl Engines {
    pub(super) fn prompt(&self, prompt: &str) -> Result<Vec<u32>, TokenizeError> {
        self.ask(&json!({"model": self.model, "prompt": prompt}))
    }

    pub(super) fn chat(&self, asked: &RenderChatRequest) -> Result<Vec<u32>, TokenizeError> {
        let message = |role: &str, content: &str| json!({"role": role, "content": content});
        let messages: Vec<Value> = asked
            .messages
            .iter()
            .map(|of| message(&of.role, of.content.as_deref().unwrap_or_default()))
            .collect();
        self.ask(&json!({"model": self.model, "messages": messages}))
    }

    fn ask(&self, body: &Value) -> Result<Vec<u32>, TokenizeError> {
        let mut last = TokenizeError::NoReplica;
        for url in &self.urls {
            let body = body.to_string().into_bytes();
            let request =
                Fetch { timeout: TIMEOUT, ..Fetch::post(url, PATH, "application/json", body) };
            match fetch(&request).and_then(weir_http::Fetched::success) {
                Ok(answer) => {
                    let answer: Value =
                        serde_json::from_slice(&answer.body).map_err(|_| TokenizeError::Answer)?;
                    let ids = answer["tokens"].as_array().ok_or(TokenizeError::Answer)?;
                    return Ok(ids.iter().filter_map(Value::as_u64).map(|id| id as u32).collect());
                }
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }
}
