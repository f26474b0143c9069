use serde::{Deserialize, Serialize};

use super::line::{Line, plain, shortened};

/// Facts of a start-up log; missing ones are absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StartUp {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lmcache: Option<String>,
    /// Capacity of the KV cache, tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<u64>,
    /// Tokens, where set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connectors: Vec<String>,
    /// Lines that say that a mechanism will not act as configured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Source lines of the facts, in order, without process and time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

/// Text of lines that say that a mechanism will not act.
const INACTIVE: [&str; 5] = [
    "No supported cpu connector found",
    "degraded mode",
    "always recompute",
    "falling back to recompute",
    "due to previous initialization failure",
];
const CREATED: [&str; 2] = [CONNECTOR, "Creating offloading spec with name: "];
pub(super) const CONNECTOR: &str = "Creating v1 connector with name: ";
/// Text before the number of blocks; the second is of vLLM's first engine.
const BLOCKS: [&str; 2] = ["num_gpu_blocks_override=", "# GPU blocks: "];
/// Text before a version: vLLM's banner and engine, an older vLLM, `LMCache`.
const VERSIONS: [&str; 4] = ["  version ", ENGINE, "API server version ", LMCACHE];
pub(super) const ENGINE: &str = "LLM engine (v";
pub(super) const LMCACHE: &str = "LMCache v";
/// Arguments that are no defaults, `'key': value`.
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
        // The last line counts: an override comes after its default.
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
            // Text after a traceback begins with the end of its sentence.
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

/// Letters, digits, points and signs after a mark.
pub(super) fn behind(line: &str, mark: &str) -> Option<String> {
    let (_, rest) = line.split_once(mark)?;
    let is_part = |c: &char| c.is_ascii_alphanumeric() || ".+".contains(*c);
    Some(rest.chars().take_while(is_part).collect())
}

pub(super) fn version(line: &str, mark: &str) -> Option<String> {
    behind(line, mark).filter(|version| version.starts_with(|c: char| c.is_ascii_digit()))
}

/// With or without commas.
pub(super) fn number(line: &str, mark: &str) -> Option<u64> {
    let (_, rest) = line.split_once(mark)?;
    let digits = rest.chars().take_while(|c| c.is_ascii_digit() || *c == ',');
    digits.filter(char::is_ascii_digit).collect::<String>().parse().ok()
}
