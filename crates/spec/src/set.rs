//! The value of `--set path=value`, and the sections of `overrides`.
//!
//! A flag is applied to the serialised experiment, which is then typed again. It was valid before,
//! so an error is the flag's. A key with dots stands in double quotes:
//! `overrides."Qwen/Qwen3-0.6B".load.users=[1,50]`. Elements of a list are named by number, arms
//! also by name: `arms.native-offload.bytes=64GiB`. Paths of flags are relative to the working
//! directory, as a shell completes them; those in the file to the file's folder.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::catalogue::profile_file;
use crate::document::{self, Spec, tree};
use crate::error::SpecError;

/// An experiment has exactly one of them: setting one removes the others.
const WORKLOADS: [&str; 4] = ["shared-prefix", "long-context", "agentic", "trace"];
const ARRIVALS: [&str; 5] = ["users", "constant", "poisson", "gamma", "trace"];
const TARGETS: [&str; 3] = ["emulated", "local", "endpoint"];
/// Maps with dependent keys: a new one replaces the whole.
const WHOLE: [&str; 1] = ["routing"];

pub(crate) fn apply(spec: &Spec, flag: &str) -> Result<(Spec, String), SpecError> {
    let fail = |message: String| SpecError::Set { flag: flag.to_owned(), message };
    let (path, text) = flag
        .split_once('=')
        .ok_or_else(|| fail("no `=`; write for example `--set load.duration=60s`".to_owned()))?;
    let path = path.trim();
    let parts = split_path(path).map_err(&fail)?;
    let mut value: Value = document::read_yaml(text, "value")
        .map_err(|error| fail(format!("the value is not YAML: {error}")))?;
    let model = value.as_str().filter(|text| parts[0] == "models" && is_config(text));
    if let Some(file) = model.map(str::to_owned) {
        let (left, right) = if parts.len() == 1 { ("[", "]") } else { ("", "") };
        return Err(fail(format!(
            "`{file}` is a file; write `--set '{path}={left}{{config: {file}}}{right}'`"
        )));
    }
    let mut keys: Vec<&str> = parts.iter().map(String::as_str).collect();
    locate(&mut keys, &mut value);
    let written = serde_json::to_value(spec)
        .map_err(|error| fail(format!("the experiment cannot be written back: {error}")))?;
    let typed = |value: Value| {
        let mut changed = written.clone();
        put(&mut changed, &parts, value)?;
        tree::typed_value::<Spec>(changed).map_err(|mismatch| mismatch.message())
    };
    let scalar = value.is_number() || value.is_boolean();
    let spec = typed(value).or_else(|error| {
        // `--set engine.vllm=0.11` means the text: a shell removes the quotes.
        let as_text =
            if scalar { typed(Value::String(text.trim().to_owned())) } else { Err(String::new()) };
        as_text.map_err(|_| fail(error))
    })?;
    Ok((spec, path.to_owned()))
}

/// True for a model's file, false for its name.
pub(crate) fn is_config(text: &str) -> bool {
    Path::new(text).extension().is_some_and(|end| end.eq_ignore_ascii_case("json"))
}

/// From the working directory.
pub(crate) fn locate<'a>(keys: &mut Vec<&'a str>, value: &'a mut Value) {
    match value {
        Value::String(text) => {
            if is_path(keys, text)
                && let Ok(path) = std::path::absolute(&*text)
            {
                *text = path.display().to_string();
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|element| locate(keys, element)),
        Value::Object(map) => {
            for (key, below) in map {
                keys.push(key);
                locate(keys, below);
                keys.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A profile may be a name of the catalogue, and a program or a model's weights may be a name that
/// is looked up.
fn is_path(keys: &[&str], text: &str) -> bool {
    match keys {
        ["models", .., "config"]
        | [.., "trace", "path"]
        | [.., "client", "tokenizer"]
        | [.., "emulated" | "local", "disk"]
        | [.., "store", "password_file"]
        | [.., "endpoint", "bearer_file" | "ca_file"] => true,
        [.., "store" | "disk", "profile"] => profile_file::is_file(text),
        [.., "local", "python" | "weights"] => text.contains('/') && Path::new(text).exists(),
        _ => false,
    }
}

/// A part in double quotes may contain dots.
pub(crate) fn split_path(path: &str) -> Result<Vec<String>, String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut in_quotes = false;
    for c in path.chars() {
        match c {
            '"' => in_quotes = !in_quotes,
            '.' if !in_quotes => parts.push(std::mem::take(&mut part)),
            _ => part.push(c),
        }
    }
    parts.push(part);
    if in_quotes || parts.iter().any(String::is_empty) {
        return Err(format!("`{path}` is not a path; write keys with dots between them"));
    }
    Ok(parts)
}

/// As written in a path.
pub(crate) fn quoted(key: &str) -> String {
    if key.contains('.') { format!("\"{key}\"") } else { key.to_owned() }
}

/// Overrides the keys of `base` by those of `change`. `name` is the section's key in the file.
pub(crate) fn over<T: Serialize + DeserializeOwned>(name: &str, base: &T, change: &T) -> T {
    let written = |section: &T| serde_json::to_value(section).expect("a section has text keys");
    let mut both = written(base);
    lay(&mut both, written(change), name);
    tree::typed_value(both).expect("keys of two valid sections are a valid one")
}

pub(crate) fn over_maybe<T>(name: &str, base: &T, change: Option<&T>) -> T
where
    T: Clone + Serialize + DeserializeOwned,
{
    change.map_or_else(|| base.clone(), |change| over(name, base, change))
}

/// Maps are merged key by key, other values replaced.
fn lay(place: &mut Value, change: Value, key: &str) {
    match (place, change) {
        (Value::Object(map), Value::Object(change)) if !WHOLE.contains(&key) => {
            for below in change.keys() {
                make_room(map, key, below);
            }
            for (below, value) in change {
                lay(map.entry(below.clone()).or_insert(Value::Null), value, &below);
            }
        }
        (place, change) => *place = change,
    }
}

/// Creates missing maps.
fn put(document: &mut Value, parts: &[String], value: Value) -> Result<(), String> {
    let mut place = document;
    for (depth, part) in parts.iter().enumerate() {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        if depth > 0 && place.is_string() && parts[0] == "arms" {
            let preset = place.take();
            *place = Value::Object(Map::from_iter([("preset".to_owned(), preset)]));
        }
        if depth > 0 && place.is_string() && parts[0] == "target" {
            *place = Value::Object(Map::new());
        }
        let inside = parts[..depth].join(".");
        place = match place {
            Value::Object(map) => {
                if let Some(above) = depth.checked_sub(1) {
                    make_room(map, &parts[above], part);
                }
                map.entry(part.clone()).or_insert(Value::Null)
            }
            Value::Array(list) => {
                let length = list.len();
                let index = position(list, part).ok_or_else(|| {
                    format!("`{inside}` has {length} elements and none is `{part}`")
                })?;
                &mut list[index]
            }
            _ => return Err(format!("`{inside}` is a value and has no key `{part}`")),
        };
    }
    *place = value;
    Ok(())
}

/// Removes the alternatives of a key that is about to be set in the map at `above`.
fn make_room(map: &mut Map<String, Value>, above: &str, key: &str) {
    let alternatives: &[&str] = match above {
        "workload" => &WORKLOADS,
        "load" => &ARRIVALS,
        "target" => &TARGETS,
        _ => return,
    };
    if alternatives.contains(&key) {
        map.retain(|other, _| other == key || !alternatives.contains(&other.as_str()));
    }
}

fn position(list: &[Value], part: &str) -> Option<usize> {
    if let Ok(index) = part.parse::<usize>() {
        return (index < list.len()).then_some(index);
    }
    let named = |value: &Value, key: &str| value.get(key).and_then(Value::as_str) == Some(part);
    list.iter()
        .position(|element| element.as_str() == Some(part) || named(element, "name"))
        .or_else(|| list.iter().position(|element| named(element, "preset")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(text: &str) -> Vec<String> {
        split_path(text).unwrap()
    }

    #[test]
    fn quotes_protect_dots() {
        assert_eq!(path("a.\"Qwen/Qwen3-0.6B\".b"), ["a", "Qwen/Qwen3-0.6B", "b"]);
        assert!(split_path("a..b").is_err());
        assert!(split_path("a.\"b").is_err());
        assert_eq!(quoted("Qwen3-0.6B"), "\"Qwen3-0.6B\"");
    }

    #[test]
    fn one_form_of_load_takes_the_place_of_another() {
        let mut document = json!({"load": {"users": [1], "duration": "5s"}});
        put(&mut document, &path("load.poisson"), json!([2.0])).unwrap();
        assert_eq!(document, json!({"load": {"poisson": [2.0], "duration": "5s"}}));
    }

    #[test]
    fn a_bare_target_takes_what_is_set_of_it_and_another_goes() {
        for before in [json!("endpoint"), json!("simulated"), json!({"emulated": {}})] {
            let mut document = json!({"target": before});
            put(&mut document, &path("target.endpoint.url"), json!("http://a:1")).unwrap();
            assert_eq!(document, json!({"target": {"endpoint": {"url": "http://a:1"}}}));
        }
    }

    #[test]
    fn a_change_is_laid_over_key_by_key_and_a_routing_as_a_whole() {
        let mut arm = json!({
            "preset": "lmcache-redis", "bytes": "1GiB", "env": {"A": "1", "B": "1"},
            "store": {"policy": "lru", "link": {"lanes": 2, "latency": "1ms"}},
            "routing": {"policy": "approximate-prefix", "block_tokens": 16},
        });
        let change = json!({
            "bytes": "2GiB", "env": {"B": "2"}, "store": {"link": {"latency": "2ms"}},
            "routing": {"policy": "random"}, "vllm_args": ["--x"],
        });
        lay(&mut arm, change, "arm");
        assert_eq!(
            arm,
            json!({
                "preset": "lmcache-redis", "bytes": "2GiB", "env": {"A": "1", "B": "2"},
                "store": {"policy": "lru", "link": {"lanes": 2, "latency": "2ms"}},
                "routing": {"policy": "random"}, "vllm_args": ["--x"],
            })
        );
        let mut load = json!({"users": [1], "duration": "5s"});
        lay(&mut load, json!({"gamma": {"rates": [1.0], "cv": 2.0}}), "load");
        assert_eq!(load, json!({"gamma": {"rates": [1.0], "cv": 2.0}, "duration": "5s"}));
    }

    #[test]
    fn arms_are_found_by_name_and_bare_names_become_maps() {
        let mut document = json!({"arms": ["no-offload", {"preset": "native-offload"}]});
        put(&mut document, &path("arms.native-offload.bytes"), json!("1GiB")).unwrap();
        put(&mut document, &path("arms.no-offload.name"), json!("base")).unwrap();
        assert_eq!(
            document,
            json!({"arms": [
                {"preset": "no-offload", "name": "base"},
                {"preset": "native-offload", "bytes": "1GiB"},
            ]})
        );
        let error = put(&mut document, &path("arms.nothing.bytes"), json!(1)).unwrap_err();
        assert_eq!(error, "`arms` has 2 elements and none is `nothing`");
    }
}
