//! A request body: its fields, unchecked, and scalars read as leniently as vLLM reads them (`"3"`,
//! `3.0` and `true` are integers).
//!
//! The prompt is most of a body and is read in one pass: a hundred thousand ids become one `Vec<u32>`
//! and nothing else.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::error::{ApiError, Fault};

/// The fields of all endpoints. Unknown ones are ignored, as in vLLM.
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

pub(super) type Field = Option<Value>;

fn fault(kind: &'static str, name: &str, message: &str, value: &Value) -> ApiError {
    ApiError::invalid(&[Fault::new(kind, format!("body.{name}"), message, value)])
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
    ApiError::invalid(&[Fault {
        kind: "missing",
        place: format!("body.{name}"),
        message: "Field required".to_owned(),
        input: "<dict>".to_owned(),
    }])
}

pub(super) fn negative(name: &str, value: &Value) -> ApiError {
    fault("greater_than_equal", name, "Input should be greater than or equal to 0", value)
}

/// A text, token ids, or a list of either.
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

enum Element {
    Id(u32),
    Ids(Vec<u32>),
    Text(String),
    Wrong { kind: &'static str, message: &'static str, input: Value },
}

const NOT_A_STRING: (&str, &str) = ("string_type", "Input should be a valid string");
const NOT_AN_INTEGER: (&str, &str) = ("int_type", "Input should be a valid integer");
const NEGATIVE: (&str, &str) = ("greater_than_equal", "Input should be greater than or equal to 0");
const FRACTION: (&str, &str) =
    ("int_from_float", "Input should be a valid integer, got a number with a fractional part");

fn wrong((kind, message): (&'static str, &'static str), input: Value) -> Element {
    Element::Wrong { kind, message, input }
}

fn at(place: String, element: Element) -> Fault {
    match element {
        Element::Wrong { kind, message, input } => Fault::new(kind, place, message, &input),
        Element::Text(text) => {
            Fault::new(NOT_AN_INTEGER.0, place, NOT_AN_INTEGER.1, &Value::String(text))
        }
        Element::Id(id) => Fault::new(NOT_A_STRING.0, place, NOT_A_STRING.1, &Value::from(id)),
        Element::Ids(ids) => Fault::new(
            NOT_A_STRING.0,
            place,
            NOT_A_STRING.1,
            &Value::Array(vec![Value::Null; ids.len()]),
        ),
    }
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token id, a list of token ids, or a text")
    }

    fn visit_u64<E>(self, value: u64) -> Result<Element, E> {
        // Ids beyond 32 bits are beyond any vocabulary; the check against it names them.
        Ok(Element::Id(u32::try_from(value).unwrap_or(u32::MAX)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Element, E> {
        // Only negative numbers come this way.
        Ok(wrong(NEGATIVE, Value::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Element, E> {
        if value.fract() == 0.0 && (0.0..4e9).contains(&value) {
            return Ok(Element::Id(value as u32));
        }
        Ok(wrong(FRACTION, Value::from(value)))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Element, E> {
        Ok(wrong(NOT_AN_INTEGER, Value::from(value)))
    }

    fn visit_unit<E>(self) -> Result<Element, E> {
        Ok(wrong(NOT_AN_INTEGER, Value::Null))
    }

    fn visit_str<E>(self, text: &str) -> Result<Element, E> {
        Ok(Element::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Element, E> {
        Ok(Element::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Element, A::Error> {
        let mut ids = Vec::new();
        let mut fault = None;
        while let Some(item) = items.next_element::<Element>()? {
            match item {
                Element::Id(id) => ids.push(id),
                other => {
                    fault.get_or_insert(other);
                }
            }
        }
        Ok(match fault {
            Some(Element::Text(text)) => wrong(NOT_AN_INTEGER, Value::String(text)),
            Some(Element::Ids(_)) => wrong(NOT_AN_INTEGER, Value::Array(Vec::new())),
            Some(other) => other,
            None => Element::Ids(ids),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Element, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(wrong(NOT_AN_INTEGER, Value::Object(serde_json::Map::new())))
    }
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ElementVisitor)
    }
}

struct PromptVisitor;

impl PromptVisitor {
    fn wrong(input: &Value) -> PromptField {
        PromptField::Wrong(Fault::new(NOT_A_STRING.0, "body.prompt", NOT_A_STRING.1, input))
    }
}

impl<'de> Visitor<'de> for PromptVisitor {
    type Value = PromptField;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, token ids, or a list of either")
    }

    fn visit_unit<E>(self) -> Result<PromptField, E> {
        Ok(PromptField::Absent)
    }

    fn visit_none<E>(self) -> Result<PromptField, E> {
        Ok(PromptField::Absent)
    }

    fn visit_str<E>(self, text: &str) -> Result<PromptField, E> {
        Ok(PromptField::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<PromptField, E> {
        Ok(PromptField::Text(text))
    }

    fn visit_bool<E>(self, value: bool) -> Result<PromptField, E> {
        Ok(Self::wrong(&Value::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<PromptField, E> {
        Ok(Self::wrong(&Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<PromptField, E> {
        Ok(Self::wrong(&Value::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<PromptField, E> {
        Ok(Self::wrong(&Value::from(value)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<PromptField, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::wrong(&Value::Object(serde_json::Map::new())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<PromptField, A::Error> {
        let mut found = PromptField::Empty;
        let mut count = 0usize;
        let mut fault = None;
        while let Some(item) = items.next_element::<Element>()? {
            match (&mut found, item) {
                (PromptField::Empty, Element::Id(id)) => {
                    let mut ids = Vec::with_capacity(items.size_hint().unwrap_or(0).max(1024));
                    ids.push(id);
                    found = PromptField::Ids(ids);
                }
                (PromptField::Empty, Element::Ids(ids)) => found = PromptField::IdLists(vec![ids]),
                (PromptField::Empty, Element::Text(text)) => found = PromptField::Texts(vec![text]),
                (PromptField::Ids(ids), Element::Id(id)) => ids.push(id),
                (PromptField::IdLists(lists), Element::Ids(ids)) => lists.push(ids),
                (PromptField::Texts(texts), Element::Text(text)) => texts.push(text),
                (_, other) => {
                    fault.get_or_insert_with(|| at(format!("body.prompt.{count}"), other));
                }
            }
            count += 1;
        }
        Ok(fault.map_or(found, PromptField::Wrong))
    }
}

impl<'de> Deserialize<'de> for PromptField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PromptVisitor)
    }
}
