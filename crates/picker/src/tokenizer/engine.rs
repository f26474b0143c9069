//! Token ids by vLLM's render routes.

use std::time::Duration;

use serde_json::{Value, json};
use weir_http::{Fetch, FetchError, Url, fetch};

use super::messages::RenderChatRequest;

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(super) enum RenderError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("{0}: expected `token_ids` in the answer")]
    Answer(&'static str),
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
    pub(super) fn prompt(&self, prompt: &str) -> Result<Vec<u32>, RenderError> {
        let path = "/v1/completions/render";
        let body = json!({"model": self.model, "prompt": prompt});
        // One entry per prompt.
        self.ask(path, &body, |answer| answer.get(0)?.get("token_ids"))
    }

    pub(super) fn chat(&self, asked: &RenderChatRequest) -> Result<Vec<u32>, RenderError> {
        let message = |role: &str, content: &str| json!({"role": role, "content": content});
        let messages: Vec<Value> = asked
            .messages
            .iter()
            .map(|of| message(&of.role, of.content.as_deref().unwrap_or_default()))
            .collect();
        let body = json!({"model": self.model, "messages": messages});
        self.ask("/v1/chat/completions/render", &body, |answer| answer.get("token_ids"))
    }

    fn ask(
        &self,
        path: &'static str,
        body: &Value,
        ids: impl Fn(&Value) -> Option<&Value>,
    ) -> Result<Vec<u32>, RenderError> {
        let mut last = RenderError::NoReplica;
        for url in &self.urls {
            let body = body.to_string().into_bytes();
            let request =
                Fetch { timeout: TIMEOUT, ..Fetch::post(url, path, "application/json", body) };
            match fetch(&request).and_then(weir_http::Fetched::success) {
                Ok(answer) => {
                    let answer: Value = serde_json::from_slice(&answer.body)
                        .map_err(|_| RenderError::Answer(path))?;
                    let ids = ids(&answer).and_then(Value::as_array);
                    let ids = ids.ok_or(RenderError::Answer(path))?;
                    return Ok(ids.iter().filter_map(Value::as_u64).map(|id| id as u32).collect());
                }
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }
}
