//! Values by the part of the experiment that they set, and what became of each variable.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::error::VariablePlace;
use super::shell::Text;
use super::table::{self, Becomes, Method, Part, Row};

/// What became of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableFate {
    pub place: VariablePlace,
    pub outcome: VariableOutcome,
    /// What there is to know of it, a sentence each. Never a secret.
    pub remarks: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VariableOutcome {
    /// With the key of the experiment file.
    Taken(&'static str),
    /// Not set, so the scripts took this value.
    Default {
        value: &'static str,
        key: &'static str,
    },
    /// The scripts read it in another case than this one.
    WithoutEffect(String),
    /// Weir has no use for it.
    Dropped(&'static str),
    /// Its value is neither read nor written.
    Withheld(&'static str),
    /// No code of its era read it.
    Dead(&'static str),
    /// A later line sets it again.
    Overwritten {
        by: usize,
    },
    Unknown,
    Refused {
        problem: String,
        remedy: String,
    },
}

impl fmt::Display for VariableFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, outcome, remarks } = self;
        match outcome {
            VariableOutcome::Taken(key) => write!(f, "{place}: taken, as {key}"),
            VariableOutcome::Default { value, key } => {
                write!(f, "{place}: not set, its era's default `{value}` as {key}")
            }
            VariableOutcome::WithoutEffect(why) => write!(f, "{place}: without effect, {why}"),
            VariableOutcome::Dropped(why) => write!(f, "{place}: dropped, {why}"),
            VariableOutcome::Withheld(what) => write!(f, "{place}: not written, {what}"),
            VariableOutcome::Dead(why) => write!(f, "{place}: dead in its era, {why}"),
            VariableOutcome::Overwritten { by } => write!(f, "{place}: replaced in line {by}"),
            VariableOutcome::Unknown => write!(f, "{place}: unknown"),
            VariableOutcome::Refused { problem, remedy } => {
                write!(f, "{place}: refused, {problem}; {remedy}")
            }
        }?;
        remarks.iter().try_for_each(|remark| write!(f, ". {remark}"))
    }
}

/// A variable as it was set.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) value: Text,
    pub(super) line: Option<usize>,
}

#[derive(Debug, Clone)]
struct Setting {
    value: Text,
    is_given: bool,
    fate: usize,
}

pub(super) struct Settings {
    file: Option<String>,
    values: BTreeMap<Part, Setting>,
    fates: Vec<VariableFate>,
}

impl Settings {
    /// `method` decides which variables the scripts looked at, where they have several.
    pub(super) fn of(
        given: &[Given],
        rows: &[&[Row]],
        method: Option<Method>,
        file: Option<&str>,
    ) -> Self {
        let mut all =
            Self { file: file.map(str::to_owned), values: BTreeMap::new(), fates: Vec::new() };
        for (index, variable) in given.iter().enumerate() {
            let later = given[index + 1..].iter().find(|later| later.name == variable.name);
            if let Some(by) = later.and_then(|later| later.line) {
                all.tell(&variable.name, variable.line, VariableOutcome::Overwritten { by });
            } else {
                all.put(variable, table::find(rows, &variable.name), method);
            }
        }
        for row in rows.iter().flat_map(|rows| rows.iter()) {
            let (Becomes::Part(part) | Becomes::Of(_, part)) = row.becomes else { continue };
            let is_read = !matches!(row.becomes, Becomes::Of(of, _) if Some(of) != method);
            let Some(value) = row.default.filter(|_| is_read && !all.values.contains_key(&part))
            else {
                continue;
            };
            let fate = all.fates.len();
            all.tell(row.name, None, VariableOutcome::Default { value, key: part.key() });
            let value = Text { text: value.to_owned(), missing: None };
            all.values.insert(part, Setting { value, is_given: false, fate });
        }
        all
    }

    fn put(&mut self, variable: &Given, row: Option<&Row>, method: Option<Method>) {
        // The scripts take an empty value for none.
        if variable.value.text.is_empty() && variable.value.missing.is_none() {
            return;
        }
        let is_off = ["false", "0", "no"].contains(&variable.value.text.as_str());
        let outcome = match row.map(|row| row.becomes) {
            None => VariableOutcome::Unknown,
            Some(Becomes::Secret(what)) => VariableOutcome::Withheld(what),
            Some(Becomes::Dropped(why)) => VariableOutcome::Dropped(why),
            Some(Becomes::Dead(why)) => VariableOutcome::Dead(why),
            Some(Becomes::Unsupported(_)) if is_off => VariableOutcome::Dropped("it is off"),
            Some(Becomes::Unsupported(remedy)) => VariableOutcome::Refused {
                problem: "Weir has nothing that does the same".to_owned(),
                remedy: remedy.to_owned(),
            },
            Some(Becomes::Of(of, _)) if Some(of) != method => {
                VariableOutcome::WithoutEffect(format!("only {} reads it", of.words()))
            }
            Some(Becomes::Part(part) | Becomes::Of(_, part)) => {
                let fate = self.fates.len();
                let value = variable.value.clone();
                self.values.insert(part, Setting { value, is_given: true, fate });
                VariableOutcome::Taken(part.key())
            }
        };
        self.tell(&variable.name, variable.line, outcome);
    }

    fn tell(&mut self, name: &str, line: Option<usize>, outcome: VariableOutcome) {
        let place = VariablePlace { file: self.file.clone(), line, name: Some(name.to_owned()) };
        self.fates.push(VariableFate { place, outcome, remarks: Vec::new() });
    }

    pub(super) fn into_fates(self) -> Vec<VariableFate> {
        self.fates
    }

    /// Set, and not only a default.
    pub(super) fn is_given(&self, part: Part) -> bool {
        self.values.get(&part).is_some_and(|setting| setting.is_given)
    }

    /// The value, or the era's default.
    pub(super) fn text(&mut self, part: Part) -> Option<String> {
        let Text { text, missing } = self.values.get(&part)?.value.clone();
        if let Some(missing) = missing {
            let problem = format!("`{missing}` is set on no earlier line");
            self.refuse(part, problem, "write the value itself");
            return None;
        }
        Some(text)
    }

    pub(super) fn read<T: FromStr>(&mut self, part: Part, expected: &str) -> Option<T> {
        let text = self.text(part)?;
        let value = text.trim().parse().ok();
        if value.is_none() {
            let remedy = format!("write {expected}");
            self.refuse(part, format!("expected {expected}, and it is `{text}`"), remedy);
        }
        value
    }

    pub(super) fn count(&mut self, part: Part) -> Option<u32> {
        let count = self.read(part, "a whole number")?;
        if count == 0 {
            self.refuse(part, "0 is out of range", "write a number from 1");
            return None;
        }
        Some(count)
    }

    pub(super) fn is_on(&mut self, part: Part) -> bool {
        match self.text(part).as_deref() {
            Some("true" | "1" | "yes") => true,
            None | Some("false" | "0" | "no") => false,
            Some(_) => {
                self.refuse(part, "expected `true` or `false`", "write one of them");
                false
            }
        }
    }

    pub(super) fn remark(&mut self, part: Part, remark: impl Into<String>) {
        if let Some(fate) = self.fate(part) {
            fate.remarks.push(remark.into());
        }
    }

    pub(super) fn refuse(
        &mut self,
        part: Part,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if let Some(fate) = self.fate(part) {
            let (problem, remedy) = (problem.into(), remedy.into());
            fate.outcome = VariableOutcome::Refused { problem, remedy };
        }
    }

    /// Of a variable that the scripts looked at only in other cases.
    pub(super) fn without_effect(&mut self, part: Part, why: &str) {
        if let Some(fate) = self.fate(part) {
            fate.outcome = VariableOutcome::WithoutEffect(why.to_owned());
        }
    }

    fn fate(&mut self, part: Part) -> Option<&mut VariableFate> {
        let fate = self.values.get(&part)?.fate;
        self.fates.get_mut(fate)
    }
}
