//! Facts that vLLM and LMCache state when they start.

use serde::{Deserialize, Serialize};

use super::line::{Line, plain, shortened};

/// What a log says of a start; what it does not say is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StartUp {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The version of `LMCache` that was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lmcache: Option<String>,
    /// Tokens that the engine's KV cache holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_tokens: Option<u64>,
    /// Its blocks, where they were overridden or are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<u64>,
    /// Tokens of a block, where that was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u64>,
    /// Connectors and their specs that were created.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connectors: Vec<String>,
    /// Lines that say that a mechanism will not do what it was configured for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The lines that the facts were read from, without process and time, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

/// Words of lines that say that a mechanism will not act.
const INACTIVE: [&str; 5] = [
    "No supported cpu connector found",
    "degraded mode",
    "always recompute",
    "falling back to recompute",
    "due to previous initialization failure",
];
const CREATED: [&str; 2] = [CONNECTOR, "Creating offloading spec with name: "];
pub(super) const CONNECTOR: &str = "Creating v1 connector with name: ";
/// Before the count of blocks; in vLLM's first engine the second.
const BLOCKS: [&str; 2] = ["num_gpu_blocks_override=", "# GPU blocks: "];
/// Before the version: of vLLM in its banner and its engine, of an older one, of `LMCache`.
const VERSIONS: [&str; 4] = ["  version ", ENGINE, "API server version ", LMCACHE];
pub(super) const ENGINE: &str = "LLM engine (v";
pub(super) const LMCACHE: &str = "LMCache v";
/// The line of the arguments that are no defaults, `'key': value`.
pub(super) const ARGUMENTS: &str = "non-default args: ";
pub(super) const BLOCK_SIZE: &str = "'block_size': ";

impl StartUp {
    pub fn of(text: &str) -> Self {
        let mut facts = Self::default();
        for line in text.lines().map(plain) {
            let before = facts.clone();
            facts.read(&line);
            if facts != before {
                facts.lines.push(shortened(&Line::of(&line).said));
            }
        }
        facts
    }

    fn read(&mut self, line: &str) {
        first(&mut self.version, VERSIONS.iter().find_map(|mark| version(line, mark)));
        first(&mut self.lmcache, version(line, LMCACHE));
        // Each says the last word on its own: an override comes behind what it overrides.
        last(&mut self.kv_tokens, number(line, "KV cache size: "));
        last(&mut self.blocks, BLOCKS.iter().find_map(|mark| number(line, mark)));
        if line.contains(ARGUMENTS) {
            last(&mut self.block_size, number(line, BLOCK_SIZE));
        }
        for mark in CREATED {
            let rest = line.split_once(mark).map(|(_, rest)| rest).unwrap_or_default();
            if let Some(name) = rest.split_whitespace().next()
                && !self.connectors.iter().any(|known| known == name)
            {
                self.connectors.push(name.to_owned());
            }
        }
        if INACTIVE.iter().any(|words| line.contains(words)) {
            let words = shortened(&Line::of(line).said);
            // What follows the end of a traceback begins with the end of its sentence.
            let words = words.trim_start_matches(['.', ' ']).to_owned();
            if !self.warnings.contains(&words) {
                self.warnings.push(words);
            }
        }
    }
}

fn first<T>(fact: &mut Option<T>, read: Option<T>) {
    if fact.is_none() {
        *fact = read;
    }
}

fn last<T>(fact: &mut Option<T>, read: Option<T>) {
    if read.is_some() {
        *fact = read;
    }
}

/// The letters, digits, points and signs behind a mark.
pub(super) fn behind(line: &str, mark: &str) -> Option<String> {
    let (_, rest) = line.split_once(mark)?;
    let is_part = |c: &char| c.is_ascii_alphanumeric() || ".+".contains(*c);
    Some(rest.chars().take_while(is_part).collect())
}

pub(super) fn version(line: &str, mark: &str) -> Option<String> {
    behind(line, mark).filter(|version| version.starts_with(|c: char| c.is_ascii_digit()))
}

/// The number behind a mark, with or without commas.
pub(super) fn number(line: &str, mark: &str) -> Option<u64> {
    let (_, rest) = line.split_once(mark)?;
    let digits = rest.chars().take_while(|c| c.is_ascii_digit() || *c == ',');
    digits.filter(char::is_ascii_digit).collect::<String>().parse().ok()
}
