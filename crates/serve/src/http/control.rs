//! All routes but generation: health, models, tokenize, render, metrics, reset.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body as AxumBody, Bytes};
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::body::{
    Body, BodyError, PromptField, boolean, check_content_type, integer, list, missing, negative,
    prompt_text,
};
use super::error::{ApiError, detail, json_bytes, json_response};
use super::request::{self, CheckedRequest, PromptRequest, check_model, generation_prompt};
use crate::metrics::CONTENT_TYPE as METRICS_CONTENT_TYPE;
use crate::state::{ControlCommand, ServerInfo};

/// The vLLM version whose interface this is.
const VERSION: &str = "0.32.0";

#[derive(Debug, Clone)]
pub(crate) struct ControlState {
    pub(crate) info: Arc<ServerInfo>,
    pub(crate) commands: UnboundedSender<ControlCommand>,
}

pub(crate) fn router(state: ControlState) -> Router {
    let body_limit = state.info.body_limit;
    Router::new()
        .route("/health", get(|| async {}))
        .route("/ping", get(|| async {}).post(|| async {}))
        .route("/version", get(|| async { json_reply(&json!({ "version": VERSION })) }))
        .route("/v1/models", get(models))
        .route("/metrics", get(metrics))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .route("/v1/completions/render", post(render_completion))
        .route("/v1/chat/completions/render", post(render_chat))
        .route("/reset_prefix_cache", post(reset_prefix_cache))
        .method_not_allowed_fallback(|| async {
            reply(detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"))
        })
        .fallback(|| async { reply(detail(StatusCode::NOT_FOUND, "Not Found")) })
        .layer(DefaultBodyLimit::max(body_limit))
        .with_state(state)
}

fn reply(response: hyper::Response<http_body_util::Full<Bytes>>) -> Response {
    response.map(AxumBody::new)
}

fn json_reply(value: &Value) -> Response {
    reply(json_response(StatusCode::OK, json_bytes(value)))
}

fn with_body(
    headers: &HeaderMap,
    bytes: &[u8],
    handle: impl FnOnce(Body) -> Result<Value, ApiError>,
) -> Response {
    let handled = check_content_type(headers)
        .map_err(BodyError::Api)
        .and_then(|()| Body::read(bytes))
        .and_then(|body| handle(body).map_err(BodyError::Api));
    match handled {
        Ok(value) => json_reply(&value),
        Err(error) => reply(error.response()),
    }
}

async fn answer<T>(
    state: &ControlState,
    command: impl FnOnce(oneshot::Sender<T>) -> ControlCommand,
) -> Result<T, Response> {
    let (reply_to, answer) = oneshot::channel();
    // A command that cannot be sent drops its sender.
    let _ = state.commands.send(command(reply_to));
    answer.await.map_err(|_| reply(ApiError::stopping().response()))
}

async fn models(State(state): State<ControlState>) -> Response {
    let info = &state.info;
    let card = |model: &String| {
        json!({
            "id": model, "object": "model", "created": info.created, "owned_by": "vllm",
            "root": model, "parent": null, "max_model_len": info.max_model_len,
            "permission": [{
                "id": format!("modelperm-{:016x}", info.seed), "object": "model_permission",
                "created": info.created, "allow_create_engine": false, "allow_sampling": true,
                "allow_logprobs": true, "allow_search_indices": false, "allow_view": true,
                "allow_fine_tuning": false, "organization": "*", "group": null,
                "is_blocking": false
            }]
        })
    };
    let data: Vec<Value> = info.models.iter().map(card).collect();
    json_reply(&json!({ "object": "list", "data": data }))
}

async fn metrics(State(state): State<ControlState>) -> Result<Response, Response> {
    let page = answer(&state, ControlCommand::Scrape).await?;
    Ok(([(CONTENT_TYPE, METRICS_CONTENT_TYPE)], page).into_response())
}

/// The last `reset_external` of a query, with pydantic's words for booleans. None if not a boolean.
fn reset_external(query: &str) -> Option<bool> {
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix("reset_external="));
    match values.next_back().unwrap_or("false").to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
        _ => None,
    }
}

async fn reset_prefix_cache(
    State(state): State<ControlState>,
    RawQuery(query): RawQuery,
) -> Result<Response, Response> {
    let Some(external) = reset_external(&query.unwrap_or_default()) else {
        let text = "reset_external must be true or false";
        return Err(reply(detail(StatusCode::UNPROCESSABLE_ENTITY, text)));
    };
    let command = |reply| ControlCommand::ResetPrefixCache { external, reply };
    Ok(match answer(&state, command).await? {
        Ok(success) => json_reply(&json!({ "success": success })),
        Err(failed) => reply(ApiError::not_emptied(&failed).response()),
    })
}

async fn tokenize(State(state): State<ControlState>, headers: HeaderMap, bytes: Bytes) -> Response {
    with_body(&headers, &bytes, |body| {
        let info = &state.info;
        check_model(&body.model, info)?;
        let ids = match (&body.prompt, request::messages(&body.messages, info)?) {
            (PromptField::Absent, Some(messages)) => {
                info.tokenizer.encode_chat(&messages, generation_prompt(&body)?)
            }
            (PromptField::Absent, None) => return Err(missing("prompt")),
            (prompt, _) => info.tokenizer.encode(prompt_text(prompt)?),
        };
        let strings = boolean("return_token_strs", &body.return_token_strs)?;
        let strings: Option<Vec<String>> =
            strings.then(|| ids.iter().map(|id| info.tokenizer.decode(&[*id])).collect());
        Ok(json!({
            "count": ids.len(), "max_model_len": info.max_model_len, "tokens": ids,
            "token_strs": strings
        }))
    })
}

async fn detokenize(
    State(state): State<ControlState>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    with_body(&headers, &bytes, |body| {
        check_model(&body.model, &state.info)?;
        let tokens = list("tokens", &body.tokens)?.ok_or_else(|| missing("tokens"))?;
        let ids = tokens.iter().enumerate().map(|(index, id)| token_id(index, id));
        let ids: Vec<u32> = ids.collect::<Result<_, _>>()?;
        Ok(json!({ "prompt": state.info.tokenizer.decode(&ids) }))
    })
}

fn token_id(index: usize, value: &Value) -> Result<u32, ApiError> {
    let name = format!("tokens.{index}");
    let id = integer(&name, &Some(value.clone()))?.unwrap_or(0);
    if id < 0 {
        return Err(negative(&name, value));
    }
    // As in vLLM, ids outside of the vocabulary decode to nothing.
    Ok(u32::try_from(id).unwrap_or(u32::MAX))
}

async fn render_completion(
    State(state): State<ControlState>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    with_body(&headers, &bytes, |body| {
        let checked = request::completion(body, &state.info)?;
        Ok(Value::Array(rendered(&checked, "cmpl")))
    })
}

async fn render_chat(
    State(state): State<ControlState>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    with_body(&headers, &bytes, |body| {
        let checked = request::chat(&body, &state.info)?;
        let mut requests = rendered(&checked, "chatcmpl");
        requests.pop().ok_or_else(|| ApiError::bad_request("No token_ids rendered", None))
    })
}

/// One `GenerateRequest` per prompt, as from vLLM's render endpoints, where routers get token ids.
fn rendered(request: &CheckedRequest, prefix: &str) -> Vec<Value> {
    let several = request.prompts.len() > 1;
    let base = request.request_id.as_deref().unwrap_or("render");
    let render = |(index, prompt): (usize, &PromptRequest)| {
        let id =
            if several { format!("{prefix}-{base}-{index}") } else { format!("{prefix}-{base}") };
        json!({
            "request_id": id,
            "token_ids": prompt.ids,
            "token_offsets": null,
            "features": null,
            "content_parts": null,
            "sampling_params": {
                "n": 1, "max_tokens": prompt.output_tokens, "seed": request.seed,
                "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0,
                "ignore_eos": true
            },
            "model": request.model,
            "reasoning_ended": null,
            "reasoning_parser_kwargs": null,
            "return_token_ids": null,
            "output_mode": "tokens",
            "stream": request.options.stream,
            "stream_options": null,
            "cache_salt": (!request.salt.is_empty()).then_some(&request.salt),
            "priority": request.priority,
            "kv_transfer_params": null,
            "ec_transfer_params": null
        })
    };
    request.prompts.iter().enumerate().map(render).collect()
}
