//! Routes beside generation: health, models, text, render, metrics, reset.

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

use super::asked::{self, check_model, generation_prompt};
use super::body::{Body, BodyError};
use super::error::{ApiError, detail, json_bytes};
use super::facts::{Facts, VERSION};
use super::fields::{boolean, list, missing};
use super::prompt::PromptField;
use super::render;
use super::{check_content_type, prompt_text};
use crate::house::Command;
use crate::metrics::CONTENT_TYPE as METRICS_CONTENT_TYPE;

/// What control handlers know.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    pub(crate) facts: Arc<Facts>,
    pub(crate) commands: UnboundedSender<Command>,
}

pub(crate) fn router(desk: Desk) -> Router {
    let body_limit = desk.facts.body_limit;
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
        .with_state(desk)
}

fn reply(response: hyper::Response<http_body_util::Full<Bytes>>) -> Response {
    response.map(AxumBody::new)
}

fn json_reply(value: &Value) -> Response {
    reply(super::error::json_response(StatusCode::OK, json_bytes(value)))
}

fn outcome(result: Result<Value, ApiError>) -> Response {
    match result {
        Ok(value) => json_reply(&value),
        Err(error) => reply(error.response()),
    }
}

/// Reads a body as vLLM does, then answers it.
fn with_body(
    headers: &HeaderMap,
    bytes: &[u8],
    handle: impl FnOnce(Body) -> Result<Value, ApiError>,
) -> Response {
    if let Err(error) = check_content_type(headers) {
        return reply(error.response());
    }
    match Body::read(bytes) {
        Ok(body) => outcome(handle(body)),
        Err(BodyError::Api(error)) => reply(error.response()),
        Err(BodyError::NotText) => {
            reply(detail(StatusCode::BAD_REQUEST, "There was an error parsing the body"))
        }
    }
}

async fn models(State(desk): State<Desk>) -> Response {
    let facts = &desk.facts;
    let card = |model: &String| {
        json!({
            "id": model, "object": "model", "created": facts.created, "owned_by": "vllm",
            "root": model, "parent": null, "max_model_len": facts.max_model_len,
            "permission": [{
                "id": format!("modelperm-{:016x}", facts.seed), "object": "model_permission",
                "created": facts.created, "allow_create_engine": false, "allow_sampling": true,
                "allow_logprobs": true, "allow_search_indices": false, "allow_view": true,
                "allow_fine_tuning": false, "organization": "*", "group": null,
                "is_blocking": false
            }]
        })
    };
    let data: Vec<Value> = facts.models.iter().map(card).collect();
    json_reply(&json!({ "object": "list", "data": data }))
}

async fn metrics(State(desk): State<Desk>) -> Response {
    let (reply_to, answer) = oneshot::channel();
    let sent = desk.commands.send(Command::Scrape(reply_to)).is_ok();
    match answer.await {
        Ok(page) if sent => ([(CONTENT_TYPE, METRICS_CONTENT_TYPE)], page).into_response(),
        _ => reply(ApiError::stopping().response()),
    }
}

/// Whether a query asks for the tiers to be emptied too; nothing where it cannot be read. The words
/// are pydantic's for a boolean; of several, the last one counts.
fn reset_external(query: &str) -> Option<bool> {
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix("reset_external="));
    match values.next_back().unwrap_or("false").to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
        _ => None,
    }
}

async fn reset_prefix_cache(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Response {
    let Some(external) = reset_external(&query.unwrap_or_default()) else {
        let text = "reset_external must be true or false";
        return reply(detail(StatusCode::UNPROCESSABLE_ENTITY, text));
    };
    let (reply_to, answer) = oneshot::channel();
    let sent = desk.commands.send(Command::Reset { external, reply: reply_to }).is_ok();
    match answer.await {
        Ok(Ok(success)) if sent => json_reply(&json!({ "success": success })),
        Ok(Err(failed)) => reply(ApiError::tier(&failed).response()),
        _ => reply(ApiError::stopping().response()),
    }
}

async fn tokenize(State(desk): State<Desk>, headers: HeaderMap, bytes: Bytes) -> Response {
    with_body(&headers, &bytes, |body| {
        let facts = &desk.facts;
        check_model(&body.model, facts)?;
        let ids = match (&body.prompt, asked::messages(&body.messages, facts)?) {
            (PromptField::Absent, Some(messages)) => {
                facts.tokenizer.encode_chat(&messages, generation_prompt(&body)?)
            }
            (PromptField::Absent, None) => return Err(missing("prompt")),
            (prompt, _) => facts.tokenizer.encode(prompt_text(prompt)?),
        };
        let strings = boolean("return_token_strs", &body.return_token_strs)?;
        let strings: Option<Vec<String>> =
            strings.then(|| ids.iter().map(|id| facts.tokenizer.decode(&[*id])).collect());
        Ok(json!({
            "count": ids.len(), "max_model_len": facts.max_model_len, "tokens": ids,
            "token_strs": strings
        }))
    })
}

async fn detokenize(State(desk): State<Desk>, headers: HeaderMap, bytes: Bytes) -> Response {
    with_body(&headers, &bytes, |body| {
        check_model(&body.model, &desk.facts)?;
        let tokens = list("tokens", &body.tokens)?.ok_or_else(|| missing("tokens"))?;
        let ids = tokens.iter().enumerate().map(|(index, id)| token_id(index, id));
        let ids: Vec<u32> = ids.collect::<Result<_, _>>()?;
        Ok(json!({ "prompt": desk.facts.tokenizer.decode(&ids) }))
    })
}

fn token_id(index: usize, value: &Value) -> Result<u32, ApiError> {
    let name = format!("tokens.{index}");
    let id = super::fields::integer(&name, &Some(value.clone()))?.unwrap_or(0);
    if id < 0 {
        return Err(super::fields::negative(&name, value));
    }
    // Ids that no vocabulary has are decoded to nothing, as vLLM does.
    Ok(u32::try_from(id).unwrap_or(u32::MAX))
}

async fn render_completion(State(desk): State<Desk>, headers: HeaderMap, bytes: Bytes) -> Response {
    with_body(&headers, &bytes, |body| {
        let asked = asked::completion(body, &desk.facts)?;
        Ok(Value::Array(render::questions(&asked, "cmpl")))
    })
}

async fn render_chat(State(desk): State<Desk>, headers: HeaderMap, bytes: Bytes) -> Response {
    with_body(&headers, &bytes, |body| {
        let asked = asked::chat(&body, &desk.facts)?;
        let mut rendered = render::questions(&asked, "chatcmpl");
        rendered.pop().ok_or_else(|| ApiError::bad_request("No token_ids rendered", None))
    })
}
