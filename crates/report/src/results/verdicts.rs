//! The verdicts of repeats, together.

use serde::{Serialize, Serializer};
use weir_model::Verdict;

use crate::words;

/// Of a group's planned repeats; None for those that have not run. Equality ignores order.
#[derive(Debug, Clone, Default)]
pub struct GroupVerdicts(pub(super) Vec<Option<Verdict>>);

impl GroupVerdicts {
    pub fn that_ran(&self) -> impl Iterator<Item = &Verdict> {
        self.0.iter().flatten()
    }

    /// Whether all planned repeats have run, and each satisfies `is_it`.
    pub fn all(&self, is_it: impl Fn(&Verdict) -> bool) -> bool {
        self.0.iter().all(|verdict| verdict.as_ref().is_some_and(&is_it))
    }

    /// Each verdict once, with its number of repeats.
    fn counted(&self) -> Vec<(Option<&Verdict>, usize)> {
        let mut counted: Vec<(Option<&Verdict>, usize)> = Vec::new();
        for verdict in self.0.iter().map(Option::as_ref) {
            match counted.iter_mut().find(|(held, _)| *held == verdict) {
                Some((_, times)) => *times += 1,
                None => counted.push((verdict, 1)),
            }
        }
        counted
    }

    /// One verdict where all repeats agree, else each with its number.
    pub fn words(&self) -> String {
        let mut each: Vec<(String, usize)> = self
            .counted()
            .into_iter()
            .map(|(of, times)| (of.map_or_else(|| "not run".to_owned(), words::verdict), times))
            .collect();
        each.sort();
        match each.as_slice() {
            [] => "not planned".to_owned(),
            [(word, _)] => word.clone(),
            _ => {
                let each: Vec<String> =
                    each.into_iter().map(|(word, times)| format!("{times} x {word}")).collect();
                each.join(", ")
            }
        }
    }
}

impl PartialEq for GroupVerdicts {
    fn eq(&self, other: &Self) -> bool {
        let (own, others) = (self.counted(), other.counted());
        own.len() == others.len() && own.iter().all(|of| others.contains(of))
    }
}

/// As [`GroupVerdicts::words`].
impl Serialize for GroupVerdicts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.words())
    }
}
