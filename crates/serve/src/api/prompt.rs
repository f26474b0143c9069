//! The `prompt` field: a text, token ids, or lists of either. Read in one pass, because a prompt
//! is most of a body: a hundred thousand ids become one `Vec<u32>` and nothing else.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::error::Fault;

/// What a client asked to be completed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum PromptField {
    #[default]
    Absent,
    Text(String),
    Texts(Vec<String>),
    Ids(Vec<u32>),
    /// Several prompts of token ids.
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
