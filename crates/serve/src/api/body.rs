//! A request body as it came: every field that this server looks at, unchecked.

use serde::Deserialize;
use serde_json::Value;

use super::error::{ApiError, Fault};
use super::fields::Field;
use super::prompt::PromptField;

/// The fields of all endpoints. Unknown ones are ignored, as vLLM does.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Body {
    pub(super) prompt: PromptField,
    pub(super) messages: Field,
    pub(super) tokens: Field,
    pub(super) model: Field,
    pub(super) max_tokens: Field,
    pub(super) max_completion_tokens: Field,
    pub(super) min_tokens: Field,
    pub(super) n: Field,
    pub(super) stream: Field,
    pub(super) stream_options: Field,
    pub(super) echo: Field,
    pub(super) logprobs: Field,
    pub(super) prompt_logprobs: Field,
    pub(super) ignore_eos: Field,
    pub(super) temperature: Field,
    pub(super) top_p: Field,
    pub(super) top_k: Field,
    pub(super) presence_penalty: Field,
    pub(super) frequency_penalty: Field,
    pub(super) seed: Field,
    pub(super) priority: Field,
    pub(super) request_id: Field,
    pub(super) session_id: Field,
    pub(super) cache_salt: Field,
    pub(super) return_token_ids: Field,
    pub(super) return_token_strs: Field,
    pub(super) kv_transfer_params: Field,
    pub(super) stop: Field,
    pub(super) stop_token_ids: Field,
    pub(super) suffix: Field,
    pub(super) use_beam_search: Field,
    pub(super) truncate_prompt_tokens: Field,
    pub(super) truncation_side: Field,
    pub(super) tool_choice: Field,
    pub(super) tools: Field,
    pub(super) add_generation_prompt: Field,
}

/// Why a body could not be read at all.
#[derive(Debug)]
pub(super) enum BodyError {
    /// It is no UTF-8: Starlette answers before vLLM sees it.
    NotText,
    /// It is no JSON object.
    Api(ApiError),
}

impl Body {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, BodyError> {
        let text = std::str::from_utf8(bytes).map_err(|_| BodyError::NotText)?;
        let invalid = |fault: Fault| BodyError::Api(ApiError::invalid(&[fault]));
        match text.trim_start().as_bytes().first() {
            None => {
                let message = "Field required";
                Err(invalid(Fault::new("missing", "body", message, &Value::Null)))
            }
            // A derived struct would also read a list.
            Some(b'{') => serde_json::from_str(text).map_err(|error| invalid(syntax(text, &error))),
            Some(_) => match serde_json::from_str::<Value>(text) {
                Ok(value) => {
                    let message =
                        "Input should be a valid dictionary or object to extract fields from";
                    Err(invalid(Fault::new("model_attributes_type", "body", message, &value)))
                }
                Err(error) => Err(invalid(syntax(text, &error))),
            },
        }
    }
}

/// Where the JSON breaks, counted in bytes from the start as Python does for one-line bodies.
fn syntax(text: &str, error: &serde_json::Error) -> Fault {
    let before: usize =
        text.split_inclusive('\n').take(error.line().max(1) - 1).map(str::len).sum();
    let at = before + error.column().saturating_sub(1);
    Fault {
        kind: "json_invalid",
        place: format!("body.{at}"),
        message: "JSON decode error".to_owned(),
        input: error.to_string(),
    }
}
