//! Errors as vLLM words them: `{"error": {"message", "type", "param", "code"}}`.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// vLLM's `type`.
    pub(crate) kind: &'static str,
    pub(crate) param: Option<String>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: u16,
}

impl ApiError {
    pub(super) fn new(
        status: StatusCode,
        kind: &'static str,
        message: impl Into<String>,
        param: Option<&str>,
    ) -> Self {
        Self { status, message: message.into(), kind, param: param.map(str::to_owned) }
    }

    pub(crate) fn bad_request(message: impl Into<String>, param: Option<&str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequestError", message, param)
    }

    /// The message ends in field and value, as in vLLM.
    pub(crate) fn value(message: impl Into<String>, param: &str, value: &impl ToString) -> Self {
        let message = message.into();
        let text = format!("{message} (parameter={param}, value={})", value.to_string());
        Self::bad_request(text, Some(param))
    }

    /// The shape is wrong; pydantic's format.
    pub(crate) fn invalid(fault: &Fault) -> Self {
        let message = format!("1 validation error:\n  {}", fault.line());
        Self::new(StatusCode::BAD_REQUEST, "Bad Request", message, Some(&fault.place))
    }

    pub(crate) fn no_such_model(model: &str, served: &[String]) -> Self {
        let names = served.join(", ");
        let message = format!("The model `{model}` does not exist. Valid aliases: {names}.");
        Self::new(StatusCode::NOT_FOUND, "NotFoundError", message, Some("model"))
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the request body is longer than {limit} bytes, this server's limit");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large", message, None)
    }

    pub(crate) fn stopping() -> Self {
        let message = "the server is shutting down; use another one";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableError", message, None)
    }

    pub(crate) fn not_emptied(error: &weir_store::TierError) -> Self {
        let message = format!("the caches are not all empty: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message, None)
    }

    pub(crate) fn json(&self) -> Vec<u8> {
        let error = Inner {
            message: &self.message,
            r#type: self.kind,
            param: self.param.as_deref(),
            code: self.status.as_u16(),
        };
        json_bytes(&Envelope { error })
    }

    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        json_response(self.status, self.json())
    }
}

pub(crate) fn json_bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings, numbers and lists of them can be serialized")
}

pub(crate) fn json_response(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// Starlette's errors of routes, methods and bodies, before vLLM's own checks.
pub(crate) fn detail(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    json_response(status, json_bytes(&serde_json::json!({ "detail": text })))
}

/// Pydantic's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: &'static str,
    pub(crate) place: String,
    pub(crate) message: String,
    pub(crate) input: String,
}

const MOST_INPUT_CHARS: usize = 200;

impl Fault {
    pub(crate) fn new(
        kind: &'static str,
        place: impl Into<String>,
        message: impl Into<String>,
        input: &serde_json::Value,
    ) -> Self {
        Self { kind, place: place.into(), message: message.into(), input: described(input) }
    }

    fn line(&self) -> String {
        format!(
            "{{'type': '{}', 'loc': '{}', 'msg': '{}', 'input': '{}'}}",
            self.kind, self.place, self.message, self.input
        )
    }
}

/// Containers by their size, texts cut to a limit.
pub(crate) fn described(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Array(items) => format!("<list of {} items>", items.len()),
        Value::Object(fields) => format!("<dict of {} items>", fields.len()),
        Value::String(text) => cut(text),
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MOST_INPUT_CHARS) {
        Some((end, _)) => format!("{}...[truncated]", &text[..end]),
        None => text.to_owned(),
    }
}
