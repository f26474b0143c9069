//! Validation by JSON Schema 2020-12, with the keywords that the published schema uses. Another
//! keyword panics. (The crate for all of them took 80 s of CPU time to compile.)

use std::fmt::Write as _;

use regex::Regex;
use serde_json::Value;

/// Without influence on what is valid.
const NOTES: [&str; 9] = [
    "$comment",
    "$defs",
    "$schema",
    "default",
    "description",
    "examples",
    "format",
    "properties",
    "title",
];

/// Where the document is not valid, with the violated keywords; empty for a valid one.
pub(crate) fn violations(schema: &Value, document: &Value) -> String {
    let mut found = String::new();
    check(schema, schema, document, "", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut String) {
    let keywords = match schema {
        Value::Bool(true) => return,
        Value::Bool(false) => {
            let _ = write!(found, "{at}: nothing may stand here; ");
            return;
        }
        Value::Object(keywords) => keywords,
        other => panic!("{other} is no schema"),
    };
    let holds = |schema: &Value| {
        let mut inner = String::new();
        check(root, schema, value, at, &mut inner);
        inner.is_empty()
    };
    if let Some(Value::Object(properties)) = keywords.get("properties") {
        for (key, child) in properties {
            if let Some(below) = value.get(key) {
                check(root, child, below, &format!("{at}/{key}"), found);
            }
        }
    }
    for (keyword, rule) in keywords {
        let is_valid = match keyword.as_str() {
            "$ref" => {
                let pointer = text(rule).strip_prefix('#').expect("a place in here");
                check(root, root.pointer(pointer).expect("it is there"), value, at, found);
                true
            }
            "additionalProperties" => {
                let known = |key: &String| {
                    keywords.get("properties").is_some_and(|them| them.get(key).is_some())
                };
                for (key, below) in value.as_object().into_iter().flatten() {
                    if !known(key) {
                        check(root, rule, below, &format!("{at}/{key}"), found);
                    }
                }
                true
            }
            "items" => {
                for (index, below) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, below, &format!("{at}/{index}"), found);
                }
                true
            }
            "anyOf" => list(rule).any(holds),
            "oneOf" => list(rule).filter(|schema| holds(schema)).count() == 1,
            keyword => NOTES.contains(&keyword) || is_within(keyword, rule, value),
        };
        if !is_valid {
            let _ = write!(found, "{at}: {value} violates {keyword} {rule}; ");
        }
    }
}

/// Keywords without schemas of their own. A value of another type does not violate one.
fn is_within(keyword: &str, rule: &Value, value: &Value) -> bool {
    let number = |compare: fn(&f64, &f64) -> bool| {
        value.as_f64().is_none_or(|number| compare(&number, &rule.as_f64().expect("a number")))
    };
    let length = |length: Option<usize>, compare: fn(&usize, &usize) -> bool| {
        length.is_none_or(|length| compare(&length, &(rule.as_u64().expect("a number") as usize)))
    };
    let properties = value.as_object().map(serde_json::Map::len);
    match keyword {
        "const" => value == rule,
        "enum" => list(rule).any(|allowed| value == allowed),
        "exclusiveMinimum" => number(f64::gt),
        "maxProperties" => length(properties, usize::le),
        "minItems" => length(value.as_array().map(Vec::len), usize::ge),
        "minProperties" => length(properties, usize::ge),
        "minimum" => number(f64::ge),
        "pattern" => {
            let pattern = Regex::new(text(rule)).expect("a regular expression");
            value.as_str().is_none_or(|text| pattern.is_match(text))
        }
        "required" => {
            value.as_object().is_none_or(|map| list(rule).all(|key| map.contains_key(text(key))))
        }
        "type" => match rule {
            Value::String(kind) => is_of(value, kind),
            kinds => list(kinds).any(|kind| is_of(value, text(kind))),
        },
        other => panic!("`{other}` is not known here: add it"),
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        other => panic!("`{other}` is no type of JSON Schema"),
    }
}

fn list(rule: &Value) -> impl Iterator<Item = &Value> {
    rule.as_array().expect("a list").iter()
}

fn text(rule: &Value) -> &str {
    rule.as_str().expect("a text")
}
