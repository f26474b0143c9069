//! Facts that vLLM and LMCache state when they start.

use serde::{Deserialize, Serialize};

use super::plain;

/// What a log says of a start; what it does not say is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StartUp {
    /// The version that started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Tokens that the engine's KV cache holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_tokens: Option<u64>,
    /// Its blocks, where they were overridden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<u64>,
    /// Connectors and their specs that were created.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connectors: Vec<String>,
    /// Lines that say that a mechanism will not do what it was configured for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
}

/// Words of lines that cast doubt on a mechanism.
const DOUBTS: [&str; 4] = [
    "No supported cpu connector found",
    "degraded mode",
    "always recompute",
    "falling back to recompute",
];

impl StartUp {
    /// Reads a log.
    pub fn of(text: &str) -> Self {
        let mut facts = Self::default();
        for line in text.lines().map(plain) {
            facts.read(&line);
        }
        facts
    }

    fn read(&mut self, line: &str) {
        if self.version.is_none() {
            self.version = version(line);
        }
        if let Some(tokens) = number_after(line, "KV cache size: ") {
            self.kv_tokens = Some(tokens);
        }
        if let Some((_, rest)) = line.split_once("num_gpu_blocks_override=") {
            self.blocks = number(rest).or(self.blocks);
        }
        for mark in ["Creating v1 connector with name: ", "Creating offloading spec with name: "] {
            if let Some((_, rest)) = line.split_once(mark) {
                let name = rest.split_whitespace().next().unwrap_or_default().to_owned();
                if !name.is_empty() && !self.connectors.contains(&name) {
                    self.connectors.push(name);
                }
            }
        }
        if DOUBTS.iter().any(|words| line.contains(words)) {
            let words = super::shortened(after_prefix(line));
            if !self.doubts.contains(&words) {
                self.doubts.push(words);
            }
        }
    }
}

/// vLLM: `version 0.32.0` in its banner, or `(v0.32.0)`; LMCache: `LMCache v0.5.6`.
fn version(line: &str) -> Option<String> {
    let marks = ["LMCache v", "LLM engine (v", "API server version ", "  version "];
    let rest = marks.iter().find_map(|mark| line.split_once(mark).map(|(_, rest)| rest))?;
    let version: String =
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || ".+".contains(*c)).collect();
    version.starts_with(|c: char| c.is_ascii_digit()).then_some(version)
}

fn number_after(line: &str, mark: &str) -> Option<u64> {
    number(line.split_once(mark)?.1)
}

/// The number at the start, with or without commas.
fn number(text: &str) -> Option<u64> {
    let digits: String = text
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == ',')
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

/// A line without process, level, time and place.
fn after_prefix(line: &str) -> &str {
    line.split_once("] ").map_or(line, |(_, rest)| rest)
}
