//! `verdicts.md`: the words of a verdict and the signals behind them.
//!
//! Words and meanings are taken from the JSON schemas of the enumerations: their variants, under
//! the names that stand in files, with their doc comments. A new word documents itself.

use anyhow::Context;
use schemars::{JsonSchema, schema_for};
use serde_json::{Value, json};
use weir_model::{OverheadReason, SignalKind, Verdict, VoidReason};
use weir_report::tables::{Table, markdown};

use super::Reference;

/// One variant of an enumeration.
#[derive(Debug, Clone, PartialEq)]
struct Word {
    /// As it stands in files.
    name: String,
    /// Its doc comment.
    meaning: String,
    /// The schema of what the variant carries, where it carries anything.
    payload: Option<Value>,
}

/// The reference.
pub(crate) fn reference() -> anyhow::Result<Reference> {
    let body = format!(
        "# Verdicts\n\nEach cell ends with a verdict: whether the mechanism under test acted, and \
         what the cell's figures are worth. It stands in the cell's `evidence.json`, with the \
         claims and signals behind it, and in every table of the report. On the simulated target \
         verdicts are predictions.\n\n{}\n\
         ## Reasons of `overhead-only`\n\n{}\n## Reasons of `void`\n\n{}\n\
         ## Signals\n\nWhat was seen of the mechanism. A difference is taken over the measured \
         window, a level at its end. A signal that is missing could not be observed, which is not \
         the same as zero.\n\n{}",
        markdown(&verdicts()?),
        markdown(&reasons::<OverheadReason>()?),
        markdown(&reasons::<VoidReason>()?),
        markdown(&signals()?),
    );
    Ok(Reference::markdown("docs/reference/verdicts.md", &body))
}

fn verdicts() -> anyhow::Result<Table> {
    let mut table = Table::new("", &["verdict", "when", "enters means, differences, peaks"]);
    for word in words::<Verdict>()? {
        let verdict = example(&word)?;
        let counts = if verdict.counts() { "yes" } else { "no" };
        let reason = if word.payload.is_some() { " (reason)" } else { "" };
        let name = format!("`{}`{reason}", word.name);
        table.rows.push(vec![name.into(), word.meaning.into(), counts.into()]);
    }
    Ok(table)
}

/// A verdict with this word, whatever its reason.
fn example(word: &Word) -> anyhow::Result<Verdict> {
    let written = match &word.payload {
        None => json!(word.name),
        Some(payload) => {
            let reason = match payload.get("$ref").and_then(Value::as_str) {
                Some(path) if path.ends_with("/OverheadReason") => first::<OverheadReason>()?,
                Some(path) if path.ends_with("/VoidReason") => first::<VoidReason>()?,
                _ => "cause".to_owned(),
            };
            json!({ word.name.as_str(): reason })
        }
    };
    serde_json::from_value(written).with_context(|| format!("`{}` is no verdict", word.name))
}

fn first<T: JsonSchema>() -> anyhow::Result<String> {
    Ok(words::<T>()?.into_iter().next().context("an enumeration without words")?.name)
}

fn reasons<T: JsonSchema>() -> anyhow::Result<Table> {
    let mut table = Table::new("", &["reason", "meaning"]);
    for word in words::<T>()? {
        table.rows.push(vec![format!("`{}`", word.name).into(), word.meaning.into()]);
    }
    Ok(table)
}

fn signals() -> anyhow::Result<Table> {
    let mut table = Table::new("", &["signal", "unit", "is", "meaning"]);
    for word in words::<SignalKind>()? {
        let kind: SignalKind = serde_json::from_value(json!(word.name))
            .with_context(|| format!("`{}` is no signal", word.name))?;
        let is = if kind.is_gauge() { "level" } else { "difference" };
        // The column before says so already.
        let meaning = word.meaning.trim_start_matches("Gauge: ").to_owned();
        let name = format!("`{}`", word.name);
        table.rows.push(vec![name.into(), kind.unit().into(), is.into(), meaning.into()]);
    }
    Ok(table)
}

/// The variants of an enumeration, in the order of the source.
fn words<T: JsonSchema>() -> anyhow::Result<Vec<Word>> {
    let schema = schema_for!(T).to_value();
    let name = T::schema_name();
    let variants = schema
        .get("oneOf")
        .and_then(Value::as_array)
        .with_context(|| format!("{name} is no enumeration with documented variants"))?;
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
    fn a_variant_without_a_doc_comment_is_refused() {
        assert_eq!(word(&json!({ "const": "silent" })), None);
    }
}
