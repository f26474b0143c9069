//! The HTTP interface: vLLM's routes, bodies and errors.
//!
//! The two generation routes are answered here, on the thread that owns the driver; all others are
//! axum's. Bodies are read whole, within a limit, before anything is done.

mod asked;
mod body;
mod control;
mod error;
mod exchange;
mod facts;
mod fields;
mod frames;
mod prompt;
mod render;
mod reply;
mod stream;
mod whole;

use std::convert::Infallible;
use std::rc::Rc;

use axum::Router;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::service::TowerToHyperService;

use self::asked::Api;
use self::body::{Body, BodyError};
pub(crate) use self::control::{Desk, router};
use self::error::{ApiError, Fault, detail, json_response};
use self::exchange::Exchange;
pub(crate) use self::facts::Facts;
use self::prompt::PromptField;
pub(crate) use self::reply::Reply;
use self::stream::TokenStream;
use crate::house::House;

const X_REQUEST_ID: &str = "x-request-id";
const X_SESSION_ID: &str = "x-session-id";

/// Answers one HTTP request.
pub(crate) async fn answer(
    house: Rc<House>,
    control: TowerToHyperService<Router>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    let api = match request.uri().path() {
        "/v1/completions" => Api::Completions,
        "/v1/chat/completions" => Api::Chat,
        _ => {
            let Ok(response) = control.call(request).await;
            return Ok(response.map(Reply::Control));
        }
    };
    if request.method() != Method::POST {
        let mut response = detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Ok(response.map(Reply::Whole));
    }
    Ok(match generate(&house, api, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.map(Reply::Whole),
    })
}

async fn generate(
    house: &Rc<House>,
    api: Api,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Response<Full<Bytes>>> {
    let refuse = |error: ApiError| error.response();
    if house.is_stopping() {
        return Err(ApiError::stopping().response());
    }
    check_content_type(request.headers()).map_err(refuse)?;
    let (head, incoming) = request.into_parts();
    let facts = &house.facts;
    let bytes = read(incoming, facts.body_limit).await?;
    let body = Body::read(&bytes).map_err(|error| match error {
        BodyError::Api(error) => error.response(),
        BodyError::NotText => {
            detail(StatusCode::BAD_REQUEST, "There was an error parsing the body")
        }
    })?;
    drop(bytes);
    let checked = match api {
        Api::Completions => asked::completion(body, facts),
        Api::Chat => asked::chat(&body, facts),
    };
    let mut asked = checked.map_err(refuse)?;
    if let Some(session) = header(&head.headers, X_SESSION_ID) {
        asked.session.get_or_insert(xxhash_rust::xxh3::xxh3_64(session.as_bytes()));
    }
    let id = header(&head.headers, X_REQUEST_ID);
    let exchange = Exchange::start(house, asked, id).map_err(refuse)?;
    if exchange.options.stream {
        let mut response = Response::new(Reply::Stream(TokenStream::new(exchange)));
        let stream = HeaderValue::from_static("text/event-stream; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, stream);
        return Ok(response);
    }
    exchange.ended().await.map_err(refuse)?;
    let body = whole::answer(&exchange);
    Ok(json_response(StatusCode::OK, body).map(Reply::Whole))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

async fn read(incoming: Incoming, limit: usize) -> Result<Bytes, Response<Full<Bytes>>> {
    let length = hyper::body::Body::size_hint(&incoming).lower();
    if length > limit as u64 {
        return Err(ApiError::too_large(limit).response());
    }
    match Limited::new(incoming, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(limit).response()),
        // The peer broke off in the middle of its body: nobody will read this.
        Err(_) => Err(detail(StatusCode::BAD_REQUEST, "There was an error parsing the body")),
    }
}

/// vLLM reads JSON only when it is called JSON.
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = header(headers, CONTENT_TYPE.as_str()).unwrap_or_default();
    let media = given.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError {
        status: StatusCode::BAD_REQUEST,
        message: "1 validation error:\n  Unsupported Media Type: Only 'application/json' is \
                  allowed"
            .to_owned(),
        kind: "Bad Request",
        param: None,
    })
}

/// The text of a prompt that must be one text.
fn prompt_text(prompt: &PromptField) -> Result<&str, ApiError> {
    match prompt {
        PromptField::Text(text) => Ok(text),
        PromptField::Wrong(fault) => Err(ApiError::invalid(std::slice::from_ref(fault))),
        _ => {
            let message = "Input should be a valid string";
            let list = serde_json::Value::Array(Vec::new());
            Err(ApiError::invalid(&[Fault::new("string_type", "body.prompt", message, &list)]))
        }
    }
}
