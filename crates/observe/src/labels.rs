//! Owned labels in one order, so that equal labels are equal keys.

use std::fmt;

use crate::exposition::LabelPairs;

/// Sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(Vec<(String, String)>);

impl Labels {
    pub fn of(pairs: &LabelPairs<'_>) -> Self {
        let own =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into_owned()));
        let mut labels: Vec<_> = own.collect();
        labels.sort_unstable();
        Self(labels)
    }

    pub(crate) fn one(name: &str, value: &str) -> Self {
        Self(vec![(name.to_owned(), value.to_owned())])
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }

    pub fn matches(&self, filter: &[(&str, &str)]) -> bool {
        filter.iter().all(|(name, value)| self.get(name) == Some(*value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// As in an exposition: `a="1",b="2"`, escaped; empty without labels.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            write!(f, "{name}=\"")?;
            for char in value.chars() {
                match char {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    other => write!(f, "{other}")?,
                }
            }
            f.write_str("\"")?;
        }
        Ok(())
    }
}
