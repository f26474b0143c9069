//! Errors as vLLM words them: `{"error": {"message", "type", "param", "code"}}`.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// A request that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// What failed, on what, and what would do.
    pub(crate) message: String,
    /// vLLM's word for the kind of error.
    pub(crate) kind: &'static str,
    /// The field it is about.
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
    /// A request that the engine's own checks refuse.
    pub(crate) fn bad_request(message: impl Into<String>, param: Option<&str>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            kind: "BadRequestError",
            param: param.map(str::to_owned),
        }
    }

    /// The same with the field and its value in the message, as vLLM adds them.
    pub(crate) fn value(message: impl Into<String>, param: &str, value: &impl ToString) -> Self {
        let message = message.into();
        let text = format!("{message} (parameter={param}, value={})", value.to_string());
        Self::bad_request(text, Some(param))
    }

    /// A body that does not have the right shape: one line per fault, as pydantic's are printed.
    pub(crate) fn invalid(faults: &[Fault]) -> Self {
        let noun = if faults.len() == 1 { "error" } else { "errors" };
        let mut message = format!("{} validation {noun}:", faults.len());
        for fault in faults {
            message.push_str("\n  ");
            message.push_str(&fault.line());
        }
        Self {
            status: StatusCode::BAD_REQUEST,
            message,
            kind: "Bad Request",
            param: faults.first().map(|fault| fault.place.clone()),
        }
    }

    pub(crate) fn no_such_model(model: &str, served: &[String]) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            message: format!(
                "The model `{model}` does not exist. Valid aliases: {}.",
                served.join(", ")
            ),
            kind: "NotFoundError",
            param: Some("model".to_owned()),
        }
    }

    /// A body longer than the server takes.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            message: format!("the request body is longer than {limit} bytes, this server's limit"),
            kind: "Request Entity Too Large",
            param: None,
        }
    }

    /// The server is going away.
    pub(crate) fn stopping() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            message: "the server is shutting down; ask another one".to_owned(),
            kind: "ServiceUnavailableError",
            param: None,
        }
    }

    /// A tier that could not be emptied.
    pub(crate) fn tier(error: &weir_store::TierError) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: format!("the caches are not all empty: {error}"),
            kind: "InternalServerError",
            param: None,
        }
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

/// Serializes a value that cannot fail to be: structs of strings and numbers.
pub(crate) fn json_bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings, numbers and lists of them have a JSON form")
}

pub(crate) fn json_response(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// What Starlette says of routes, methods and bodies before vLLM is asked.
pub(crate) fn detail(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    json_response(status, json_bytes(&serde_json::json!({ "detail": text })))
}

/// One fault of a body's shape, in pydantic's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: &'static str,
    pub(crate) place: String,
    pub(crate) message: String,
    /// The offending value, or what it is.
    pub(crate) input: String,
}

/// Longer inputs are cut in messages.
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

/// A value in a message: containers by their size, texts cut.
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
