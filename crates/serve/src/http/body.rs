//! Unchecked fields of a request body. Scalars are read as leniently as vLLM reads them (`"3"`,
//! `3.0` and `true` are integers). A prompt of token ids is read in one pass into one `Vec<u32>`,
//! because it is most of a body.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::{ApiError, Fault, detail};

/// Unknown fields are ignored, as in vLLM.
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

#[derive(Debug)]
pub(super) enum BodyError {
    /// Not UTF-8: Starlette's error.
    NotText,
    /// Not a JSON object.
    Api(ApiError),
}

impl BodyError {
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        match self {
            Self::NotText => detail(StatusCode::BAD_REQUEST, "There was an error parsing the body"),
            Self::Api(error) => error.response(),
        }
    }
}

impl Body {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, BodyError> {
        let text = std::str::from_utf8(bytes).map_err(|_| BodyError::NotText)?;
        let invalid = |fault: Fault| BodyError::Api(ApiError::invalid(&fault));
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

/// Position in bytes from the start, as Python gives it for one-line bodies.
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

pub(super) type Field = Option<Value>;

fn fault(kind: &'static str, name: &str, message: &str, value: &Value) -> ApiError {
    ApiError::invalid(&Fault::new(kind, format!("body.{name}"), message, value))
}

/// An integer beyond 64 bits becomes the nearest that fits.
pub(super) fn integer(name: &str, field: &Field) -> Result<Option<i64>, ApiError> {
    let Some(value) = field else { return Ok(None) };
    let number = match value {
        Value::Bool(flag) => return Ok(Some(i64::from(*flag))),
        Value::String(text) => {
            let trimmed = text.trim().parse::<i64>();
            return trimmed.map(Some).map_err(|_| {
                let message =
                    "Input should be a valid integer, unable to parse string as an integer";
                fault("int_parsing", name, message, value)
            });
        }
        Value::Number(number) => number,
        _ => return Err(fault("int_type", name, "Input should be a valid integer", value)),
    };
    if let Some(integer) = number.as_i64() {
        return Ok(Some(integer));
    }
    match number.as_f64() {
        Some(float) if float.fract() == 0.0 => Ok(Some(float as i64)),
        _ => {
            let message = "Input should be a valid integer, got a number with a fractional part";
            Err(fault("int_from_float", name, message, value))
        }
    }
}

pub(super) fn float(name: &str, field: &Field) -> Result<Option<f64>, ApiError> {
    let Some(value) = field else { return Ok(None) };
    let number = match value {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if number.is_finite() => Ok(Some(number)),
        Some(_) => Err(fault("finite_number", name, "Input should be a finite number", value)),
        None => Err(fault("float_type", name, "Input should be a valid number", value)),
    }
}

pub(super) fn boolean(name: &str, field: &Field) -> Result<bool, ApiError> {
    let Some(value) = field else { return Ok(false) };
    let flag = match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "t" | "yes" | "y" | "on" => Some(true),
            "0" | "false" | "f" | "no" | "n" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    };
    flag.ok_or_else(|| {
        let message = "Input should be a valid boolean, unable to interpret input";
        fault("bool_parsing", name, message, value)
    })
}

pub(super) fn text<'a>(name: &str, field: &'a Field) -> Result<Option<&'a str>, ApiError> {
    match field {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(value) => Err(fault("string_type", name, "Input should be a valid string", value)),
    }
}

pub(super) fn object<'a>(
    name: &str,
    field: &'a Field,
) -> Result<Option<&'a serde_json::Map<String, Value>>, ApiError> {
    match field {
        None => Ok(None),
        Some(Value::Object(entries)) => Ok(Some(entries)),
        Some(value) => Err(fault("dict_type", name, "Input should be a valid dictionary", value)),
    }
}

pub(super) fn list<'a>(name: &str, field: &'a Field) -> Result<Option<&'a [Value]>, ApiError> {
    match field {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(value) => Err(fault("list_type", name, "Input should be a valid list", value)),
    }
}

pub(super) fn missing(name: &str) -> ApiError {
    ApiError::invalid(&Fault {
        kind: "missing",
        place: format!("body.{name}"),
        message: "Field required".to_owned(),
        input: "<dict>".to_owned(),
    })
}

pub(super) fn negative(name: &str, value: &Value) -> ApiError {
    fault("greater_than_equal", name, "Input should be greater than or equal to 0", value)
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum PromptField {
    #[default]
    Absent,
    Text(String),
    Texts(Vec<String>),
    Ids(Vec<u32>),
    IdLists(Vec<Vec<u32>>),
    Empty,
    Wrong(Fault),
}

/// Pydantic's kind and message for an invalid element, and its value.
type Flaw = ((&'static str, &'static str), Value);

const NOT_A_STRING: (&str, &str) = ("string_type", "Input should be a valid string");
const NOT_AN_INTEGER: (&str, &str) = ("int_type", "Input should be a valid integer");
const NEGATIVE: (&str, &str) = ("greater_than_equal", "Input should be greater than or equal to 0");
const FRACTION: (&str, &str) =
    ("int_from_float", "Input should be a valid integer, got a number with a fractional part");

/// An id beyond 32 bits becomes `u32::MAX`; the vocabulary check names it.
fn prompt_id(value: Value) -> Result<u32, Flaw> {
    let whole = |float: &f64| float.fract() == 0.0 && (0.0..4e9).contains(float);
    let id = value.as_u64().or_else(|| value.as_f64().filter(whole).map(|float| float as u64));
    match id {
        Some(id) => Ok(u32::try_from(id).unwrap_or(u32::MAX)),
        None if value.is_i64() => Err((NEGATIVE, value)),
        None if value.is_number() => Err((FRACTION, value)),
        None => Err((NOT_AN_INTEGER, value)),
    }
}

fn prompt_ids(values: Vec<Value>) -> Result<Vec<u32>, Flaw> {
    values.into_iter().map(prompt_id).collect()
}

impl PromptField {
    fn read(json: &str) -> serde_json::Result<Self> {
        // Long prompts are token ids, so no `Value` is made of each.
        if let Some(ids) = serde_json::from_str::<Vec<u32>>(json).ok().filter(|ids| !ids.is_empty())
        {
            return Ok(Self::Ids(ids));
        }
        let wrong = |((kind, message), value): Flaw, place: String| {
            Self::Wrong(Fault::new(kind, place, message, &value))
        };
        Ok(match serde_json::from_str(json)? {
            Value::Null => Self::Absent,
            Value::String(text) => Self::Text(text),
            Value::Array(items) => {
                let mut found = Self::Empty;
                for (index, item) in items.into_iter().enumerate() {
                    if let Err(flaw) = found.push(item) {
                        return Ok(wrong(flaw, format!("body.prompt.{index}")));
                    }
                }
                found
            }
            other => wrong((NOT_A_STRING, other), "body.prompt".to_owned()),
        })
    }

    /// All elements must be of the kind of the first.
    fn push(&mut self, item: Value) -> Result<(), Flaw> {
        match (&mut *self, item) {
            (Self::Texts(texts), Value::String(text)) => texts.push(text),
            (Self::IdLists(lists), Value::Array(ids)) => lists.push(prompt_ids(ids)?),
            (Self::Empty, Value::String(text)) => *self = Self::Texts(vec![text]),
            (Self::Empty, Value::Array(ids)) => *self = Self::IdLists(vec![prompt_ids(ids)?]),
            (_, Value::Array(ids)) => return Err((NOT_A_STRING, Value::Array(ids))),
            (found, item) => match (found, prompt_id(item)?) {
                (Self::Ids(ids), id) => ids.push(id),
                (Self::Empty, id) => *self = Self::Ids(vec![id]),
                (_, id) => return Err((NOT_A_STRING, Value::from(id))),
            },
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for PromptField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?;
        Self::read(json.get()).map_err(D::Error::custom)
    }
}

/// vLLM reads a body only with the content type of JSON.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let media = given.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message =
        "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed";
    Err(ApiError::new(StatusCode::BAD_REQUEST, "Bad Request", message, None))
}

pub(super) fn prompt_text(prompt: &PromptField) -> Result<&str, ApiError> {
    match prompt {
        PromptField::Text(text) => Ok(text),
        PromptField::Wrong(fault) => Err(ApiError::invalid(fault)),
        _ => {
            let message = "Input should be a valid string";
            let list = Value::Array(Vec::new());
            Err(ApiError::invalid(&Fault::new("string_type", "body.prompt", message, &list)))
        }
    }
}
