//! Command lines, versions and log facts, as recorded.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_model::Nanos;

use super::stack::Stack;
use crate::log::StartUp;
use crate::process::Recipe;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartedCommand {
    pub name: String,
    pub line: Vec<String>,
    /// In addition to Weir's own environment; the experiment's values are withheld.
    pub env: BTreeMap<String, String>,
}

impl StartedCommand {
    pub(crate) fn of(recipe: &Recipe) -> Self {
        let program = recipe.program.display().to_string();
        let line = std::iter::once(&program).chain(&recipe.args);
        let kept = |(name, value): (&String, &String)| {
            let withheld = recipe.withheld.contains(name);
            let value = if withheld { "(withheld)".to_owned() } else { value.clone() };
            (name.clone(), value)
        };
        Self {
            name: recipe.name.clone(),
            line: line.map(|word| recipe.without_secrets(word)).collect(),
            env: recipe.env.iter().map(kept).collect(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Started {
    pub versions: BTreeMap<String, String>,
    pub commands: Vec<StartedCommand>,
    pub facts: BTreeMap<String, StartUp>,
    /// From start to ready, by part.
    pub ready_ns: BTreeMap<String, Nanos>,
}

impl Started {
    pub(super) fn of(stack: &Stack) -> Self {
        let mut versions = BTreeMap::from([("vllm".to_owned(), stack.vllm_text.clone())]);
        if let Some(lmcache) = stack.lmcache {
            versions.insert("lmcache".to_owned(), lmcache.to_string());
        }
        Self { versions, ..Self::default() }
    }

    pub fn startup_warning(&self) -> Option<String> {
        self.facts.values().find_map(|facts| facts.warnings.first().cloned())
    }

    pub(super) fn add(&mut self, name: &str, took: Duration, facts: StartUp) {
        let took = Nanos(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        self.ready_ns.insert(name.to_owned(), took);
        self.facts.insert(name.to_owned(), facts);
    }
}
