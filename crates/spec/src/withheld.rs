//! Values that run folders do not keep: those of headers, environment variables, and body fields
//! that carry keys. Their names stay, to show what was requested.
//!
//! Header values may change between a run and its resumption, as tokens do, and leave no trace.
//! Values of environment variables decide results: a short digest distinguishes them.

use serde::Serialize;
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use crate::document::{Spec, read_yaml};
use crate::plan::Plan;
use crate::set;

const WITHHELD: &str = "(withheld)";
/// Followed by a digest.
const WITHHELD_DIGEST: &str = "(withheld ";
const NOT_KEPT: &str = "values of headers and environment are not kept.";
/// Maps whose values are withheld, at any depth.
const HEADERS: &str = "headers";
const ENV: &str = "env";
const BODY: &str = "body";
/// Words in names of body fields whose values are mostly keys.
const KEYS: [&str; 7] =
    ["key", "token", "password", "secret", "auth", "authorization", "credential"];

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Recorded<'a> {
    Whole(&'a Plan),
    Redacted(Value),
}

impl<'a> Recorded<'a> {
    pub(crate) fn of(plan: &'a Plan) -> Self {
        let mut value = serde_json::to_value(plan).expect("a plan has text keys");
        if redact(&mut value) { Self::Redacted(value) } else { Self::Whole(plan) }
    }
}

/// As written, or, where values are withheld, rewritten without them and without comments.
pub fn recorded_text(text: &str) -> String {
    let Ok(mut value) = read_yaml::<Value>(text, "experiment") else { return text.to_owned() };
    if !redact(&mut value) {
        return text.to_owned();
    }
    format!("# Written by Weir: {NOT_KEPT}\n{}", yaml(&value))
}

/// A file that can be planned and run from any folder.
pub fn recorded_spec(spec: &Spec) -> String {
    let mut value = serde_json::to_value(spec).expect("a spec has text keys");
    set::locate(&mut Vec::new(), &mut value);
    let not_kept = if redact(&mut value) { format!("\n# {NOT_KEPT}") } else { String::new() };
    format!(
        "# What was asked: `weir run` with this file asks it again.{not_kept}\n{}",
        sections(value)
    )
}

/// A file for a user who has its values anyway: nothing is withheld. `head` is comments.
pub(crate) fn whole_spec(spec: &Spec, head: &str) -> String {
    let value = serde_json::to_value(spec).expect("a spec has text keys");
    format!("{head}{}", sections(value))
}

/// Without empty sections.
fn sections(mut spec: Value) -> String {
    if let Value::Object(sections) = &mut spec {
        sections.retain(|_, section| section.as_object().is_none_or(|keys| !keys.is_empty()));
    }
    yaml(&spec)
}

fn yaml(value: &Value) -> String {
    // JSON is YAML too, should the writer fail.
    serde_saphyr::to_string(value).unwrap_or_else(|_| value.to_string())
}

pub(crate) fn recorded_flag(flag: &str) -> String {
    let Some((path, text)) = flag.split_once('=') else { return flag.to_owned() };
    let parts = set::split_path(path.trim()).unwrap_or_default();
    // The value at its place in the file, so that the same rules find it.
    let Ok(mut value) = read_yaml::<Value>(text, "value") else {
        return format!("{path}={WITHHELD}");
    };
    for part in parts.into_iter().rev() {
        value = Value::Object(Map::from_iter([(part, value)]));
    }
    if redact(&mut value) { format!("{path}={WITHHELD}") } else { flag.to_owned() }
}

/// A plan with withheld values cannot be run.
pub(crate) fn missing(plan: &Plan) -> Option<String> {
    let value = serde_json::to_value(plan).expect("a plan has text keys");
    let mut path = Vec::new();
    find(&value, &mut path).then(|| path.join("."))
}

fn find(value: &Value, path: &mut Vec<String>) -> bool {
    let mut below = |key: String, child: &Value| {
        path.push(key);
        let found = find(child, path);
        if !found {
            path.pop();
        }
        found
    };
    match value {
        Value::String(text) => is_withheld(text),
        Value::Object(map) => map.iter().any(|(key, child)| {
            // Origins are shown, never used.
            key != "origins" && below(key.clone(), child)
        }),
        Value::Array(list) => list.iter().enumerate().any(|(at, one)| below(at.to_string(), one)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn is_withheld(text: &str) -> bool {
    text == WITHHELD || text.starts_with(WITHHELD_DIGEST)
}

/// True where something was withheld.
fn redact(value: &mut Value) -> bool {
    match value {
        Value::Object(map) => map.iter_mut().fold(false, |any, (key, child)| {
            let here = match key.as_str() {
                HEADERS => each(child, |_| WITHHELD.to_owned()),
                ENV => each(child, digest),
                BODY => redact_body(child),
                _ => redact(child),
            };
            any | here
        }),
        Value::Array(list) => list.iter_mut().fold(false, |any, one| any | redact(one)),
        _ => false,
    }
}

/// Replaces the scalars of a map; withheld ones stay.
fn each(map: &mut Value, put: impl Fn(&str) -> String) -> bool {
    let Value::Object(map) = map else { return false };
    map.values_mut().fold(false, |any, value| {
        let text = match value {
            Value::String(text) => std::mem::take(text),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            // A map names the place of the value (`from_env`).
            Value::Null | Value::Array(_) | Value::Object(_) => return any,
        };
        *value = Value::String(if is_withheld(&text) { text } else { put(&text) });
        true
    })
}

fn digest(text: &str) -> String {
    format!("{WITHHELD_DIGEST}{:08x})", xxh3_64(text.as_bytes()) as u32)
}

/// Withholds texts whose names mark them as keys.
fn redact_body(value: &mut Value) -> bool {
    match value {
        Value::Object(map) => map.iter_mut().fold(false, |any, (key, child)| {
            let key = key.to_ascii_lowercase();
            let is_key =
                key.split(['_', '-']).any(|word| KEYS.contains(&word)) || key.ends_with("apikey");
            any | match child {
                Value::String(text) if is_key => {
                    WITHHELD.clone_into(text);
                    true
                }
                _ => redact_body(child),
            }
        }),
        Value::Array(list) => list.iter_mut().fold(false, |any, one| any | redact_body(one)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_and_names_stay() {
        let text = "# mine\ntarget:\n  endpoint:\n    url: http://h\n    headers:\n      api-key: S3CRET\n      \
                    other: {from_env: NAME}\narms:\n- {preset: a, env: {LEVEL: 3, OTHER: \"x y\"}}\n\
                    client: {body: {seed: 1, api_key: S3CRET, deep: {auth-token: S3CRET}}}\n";
        let kept = recorded_text(text);
        assert!(!kept.contains("S3CRET") && !kept.contains("x y"), "{kept}");
        let value: Value = read_yaml(&kept, "kept").unwrap();
        let headers = &value["target"]["endpoint"]["headers"];
        assert_eq!(headers["api-key"], WITHHELD);
        assert_eq!(headers["other"]["from_env"], "NAME");
        assert_eq!(value["target"]["endpoint"]["url"], "http://h");
        assert_eq!(value["client"]["body"]["seed"], 1);
        assert_eq!(value["client"]["body"]["deep"]["auth-token"], WITHHELD);
        let env = &value["arms"][0]["env"];
        assert!(is_withheld(env["LEVEL"].as_str().unwrap()) && env["LEVEL"] != env["OTHER"]);
        assert_eq!(read_yaml::<Value>(&recorded_text(&kept), "again").unwrap(), value);
        let plain = "# mine\nname: x\nclient: {body: {max_tokens: null}}\n";
        assert_eq!(recorded_text(plain), plain);
    }

    #[test]
    fn flags_are_kept_without_values() {
        let header = recorded_flag("target.endpoint.headers.api-key=S3CRET");
        assert_eq!(header, "target.endpoint.headers.api-key=(withheld)");
        let map = recorded_flag("target={endpoint: {url: http://h, headers: {a: S3CRET}}}");
        assert_eq!(map, "target=(withheld)");
        assert_eq!(recorded_flag("load.users=[1,2]"), "load.users=[1,2]");
    }
}
