//! Where a text is not what its type may hold, and what is wrong there.

use std::fmt;

use serde_saphyr::{Location, MessageFormatter, UserMessageFormatter};

use crate::error::did_you_mean;
use crate::set;

/// Gathers its path on the way up from the place.
#[derive(Debug)]
pub(crate) struct Mismatch(Box<Fault>);

#[derive(Debug)]
struct Fault {
    place: Location,
    /// Keys and numbers of list elements, the innermost first.
    path: Vec<String>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    UnknownKey { key: String, known: &'static [&'static str] },
    UnknownWord { word: String, known: &'static [&'static str] },
    Other(String),
}

impl Mismatch {
    fn of(kind: Kind) -> Self {
        Self(Box::new(Fault { place: Location::UNKNOWN, path: Vec::new(), kind }))
    }

    pub(super) fn syntax(error: &serde_saphyr::Error) -> Self {
        let message = in_words(&UserMessageFormatter.format_message(error.without_snippet()));
        Self::of(Kind::Other(message)).at(error.location().unwrap_or(Location::UNKNOWN))
    }

    /// The innermost place counts.
    pub(super) fn at(mut self, place: Location) -> Self {
        if self.0.place == Location::UNKNOWN {
            self.0.place = place;
        }
        self
    }

    pub(super) fn below(mut self, key: String) -> Self {
        self.0.path.push(key);
        self
    }

    /// From 1.
    pub(crate) fn line(&self) -> u64 {
        self.0.place.line().max(1)
    }

    /// From 1.
    pub(crate) fn column(&self) -> u64 {
        self.0.place.column().max(1)
    }

    /// In words. A key or a word that is unknown is told with its path, as `--set` takes it, and
    /// with the nearest one that is known.
    pub(crate) fn message(&self) -> String {
        let parts: Vec<String> = self.0.path.iter().rev().map(|part| set::quoted(part)).collect();
        let path = parts.join(".");
        let told = |of: &str, known: &'static [&'static str]| {
            let nearest = did_you_mean(of, known.iter().copied());
            format!("`{nearest}; expected one of {}", known.join(", "))
        };
        match &self.0.kind {
            Kind::UnknownKey { key, known } => {
                let above = if path.is_empty() { path } else { format!("{path}.") };
                format!("unknown key `{above}{}{}", set::quoted(key), told(key, known))
            }
            Kind::UnknownWord { word, known } => {
                format!("{path}: unknown value `{word}{}", told(word, known))
            }
            Kind::Other(message) => message.clone(),
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

impl std::error::Error for Mismatch {}

impl serde::de::Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::of(Kind::Other(in_words(&message.to_string())))
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::of(Kind::UnknownKey { key: key.to_owned(), known })
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::of(Kind::UnknownWord { word: word.to_owned(), known })
    }
}

/// A message of the libraries below without their words for types, on one line.
fn in_words(message: &str) -> String {
    let mut text = message.replace('\n', " ");
    if let Some((before, _)) = text.split_once("expected struct ") {
        text = format!("{before}expected a map");
    }
    for kind in ["u32", "u64", "u16", "usize"] {
        let whole = "expected a whole number of 0 or more";
        text = text.replace(&format!("expected {kind}"), whole);
    }
    for (theirs, ours) in
        [("expected f64", "expected a number"), ("expected a sequence", "expected a list")]
    {
        text = text.replace(theirs, ours);
    }
    text
}
