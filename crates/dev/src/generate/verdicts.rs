//! `verdicts.md`: the words of a verdict and the signals behind them.
//!
//! Words and meanings come from the JSON schemas of the enumerations: serialised names and doc
//! comments.

use std::path::Path;

use anyhow::Context;
use schemars::{JsonSchema, schema_for};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weir_model::{FactKind, OverheadReason, SignalKind, Verdict, VoidReason};

use super::Reference;
use super::table::{code, table};
use crate::truths;

const COUNTS: &str = "enters means, differences, peaks";

#[derive(Debug, Clone, PartialEq)]
struct Word {
    /// As serialised.
    name: String,
    meaning: String,
    /// Schema of the variant's payload.
    payload: Option<Value>,
}

pub(crate) fn reference(root: &Path) -> anyhow::Result<Reference> {
    let body = format!(
        "# Verdicts\n\nEach cell ends with a verdict: whether the mechanism under test acted, and \
         what the cell's figures are worth. It stands in the cell's `evidence.json`, with the \
         claims and signals behind it, and in every table of the report. On the simulated target \
         verdicts are predictions.\n\n{}\n\
         ## Reasons of `overhead-only`\n\n{}\n## Reasons of `void`\n\n{}\n\
         ## What was true, and what it is called\n\nEach row was arranged on real software and \
         recorded (`validation/verdicts/`); the suite decides it anew.\n\n{}\n\
         ## Signals\n\nWhat was seen of the mechanism. A difference is taken over the measured \
         window, a level at its end. A signal that is missing could not be observed, which is not \
         the same as zero.\n\n{}\n\
         ## Facts\n\nWhat the running software says of itself, per part of an arm, in the cell's \
         `evidence.json` (`facts`: place, value, source). What differs from the plan, between parts \
         of the arm or between before and after the load makes the cell `failed (not \
         comparable)`, and so does what differs between an arm and its control, unless it belongs \
         to the mechanism. The A/A arm equals its control in all of it, and in `vllm_args` and \
         `env`. A fact that is missing could not be seen: it is `unverified`.\n\n{}",
        verdicts()?,
        reasons_of_overhead()?,
        reasons::<VoidReason>()?,
        recorded(root)?,
        signals()?,
        facts()?,
    );
    Ok(Reference::markdown("docs/reference/verdicts.md", &body))
}

fn verdicts() -> anyhow::Result<String> {
    let mut rows = Vec::new();
    for word in words::<Verdict>()? {
        let counts = match example(&word)? {
            Verdict::OverheadOnly(_) => "by its reason",
            verdict => yes_or_no(verdict.counts()),
        };
        let reason = if word.payload.is_some() { " (reason)" } else { "" };
        rows.push(vec![code(&word.name) + reason, word.meaning, counts.to_owned()]);
    }
    Ok(table(&["verdict", "when", COUNTS], rows))
}

/// For any reason.
fn example(word: &Word) -> anyhow::Result<Verdict> {
    let written = match &word.payload {
        None => json!(word.name),
        Some(payload) => {
            let reason = match payload.get("$ref").and_then(Value::as_str) {
                Some(path) if path.ends_with("/OverheadReason") => first::<OverheadReason>()?,
                Some(path) if path.ends_with("/VoidReason") => first::<VoidReason>()?,
                // Any failure without a payload.
                _ => "control-served".to_owned(),
            };
            json!({ word.name.as_str(): reason })
        }
    };
    serde_json::from_value(written).with_context(|| format!("`{}` is not a verdict", word.name))
}

fn first<T: JsonSchema>() -> anyhow::Result<String> {
    Ok(words::<T>()?.into_iter().next().context("an enumeration without words")?.name)
}

fn recorded(root: &Path) -> anyhow::Result<String> {
    let rows = truths::all(root)?.into_iter().map(|(_, recording)| {
        let verdict = code(&recording.verdict.to_string());
        vec![recording.truth, code(&recording.arm.preset), verdict, recording.software]
    });
    Ok(table(&["what was true", "arm", "verdict", "software"], rows))
}

fn reasons_of_overhead() -> anyhow::Result<String> {
    answered(&["reason", "meaning", COUNTS], OverheadReason::counts)
}

/// A table of words with properties.
fn answered<T: JsonSchema + DeserializeOwned>(
    heads: &[&str],
    is_so: impl Fn(T) -> bool,
) -> anyhow::Result<String> {
    let mut rows = Vec::new();
    for word in words::<T>()? {
        let value = serde_json::from_value(json!(word.name))
            .with_context(|| format!("`{}` is not read back", word.name))?;
        rows.push(vec![code(&word.name), word.meaning, yes_or_no(is_so(value)).to_owned()]);
    }
    Ok(table(heads, rows))
}

const fn yes_or_no(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}

fn reasons<T: JsonSchema>() -> anyhow::Result<String> {
    let rows = words::<T>()?.into_iter().map(|word| vec![code(&word.name), word.meaning]);
    Ok(table(&["reason", "meaning"], rows))
}

fn facts() -> anyhow::Result<String> {
    answered(&["fact", "meaning", "arms may differ in it"], FactKind::is_mechanism)
}

fn signals() -> anyhow::Result<String> {
    let mut rows = Vec::new();
    for word in words::<SignalKind>()? {
        let kind: SignalKind = serde_json::from_value(json!(word.name))
            .with_context(|| format!("`{}` is not a signal", word.name))?;
        let is = if kind.is_gauge() { "level" } else { "difference" };
        // The column before says so already.
        let meaning = capitalised(word.meaning.trim_start_matches("Gauge: "));
        rows.push(vec![code(&word.name), kind.unit().to_owned(), is.to_owned(), meaning]);
    }
    Ok(table(&["signal", "unit", "is", "meaning"], rows))
}

/// After its beginning was cut off.
fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// In the order of the source.
fn words<T: JsonSchema>() -> anyhow::Result<Vec<Word>> {
    let schema = schema_for!(T).to_value();
    let name = T::schema_name();
    let variants = schema
        .get("oneOf")
        .and_then(Value::as_array)
        .with_context(|| format!("{name} is not an enumeration with documented variants"))?;
    let word = |variant| word(variant).with_context(|| format!("{name}: not a word: {variant}"));
    variants.iter().map(word).collect()
}

fn word(variant: &Value) -> Option<Word> {
    // Lines of a doc comment are one sentence.
    let meaning = variant.get("description")?.as_str()?.replace('\n', " ");
    if let Some(name) = variant.get("const").and_then(Value::as_str) {
        return Some(Word { name: name.to_owned(), meaning, payload: None });
    }
    let (name, payload) = variant.get("properties")?.as_object()?.iter().next()?;
    Some(Word { name: name.clone(), meaning, payload: Some(payload.clone()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_code() {
        let words = words::<Verdict>().expect("verdicts are documented");
        let names: Vec<&str> = words.iter().map(|word| word.name.as_str()).collect();
        assert_eq!(names.first(), Some(&"control"));
        assert!(names.contains(&"overhead-only") && names.contains(&"failed"));
        for word in &words {
            assert_eq!(example(word).expect("a verdict").word(), word.name);
        }
    }

    #[test]
    fn reasons_read_back_as_themselves() {
        for word in words::<VoidReason>().expect("reasons are documented") {
            let reason: VoidReason = serde_json::from_value(json!(word.name)).expect("a reason");
            assert_eq!(reason.name(), word.name);
        }
    }

    #[test]
    fn signals_say_once_that_they_are_levels() {
        let table = signals().expect("signals are documented");
        assert!(table.contains("| `tier-capacity-bytes` | bytes | level | Capacity"), "{table}");
        assert!(table.contains("| `stored-bytes` | bytes | difference |"), "{table}");
    }

    #[test]
    fn a_variant_without_a_doc_comment_is_refused() {
        assert_eq!(word(&json!({ "const": "silent" })), None);
    }
}
