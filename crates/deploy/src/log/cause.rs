//! Why a process ended, as its log has it.

use std::fmt;

use super::known::{KILLED, KILLED_REMEDY, KNOWN, Kind, SEQUELS};
use super::line::{Level, Line, shortened};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub line: String,
    /// Empty where none is known.
    pub remedy: &'static str,
    kind: Kind,
}

impl Cause {
    pub fn is_port_taken(&self) -> bool {
        self.kind == Kind::Port
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.line)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// In this order: the last known cause, the last exception, an end from outside, the last line
/// that a logger calls an error.
pub fn cause(text: &str) -> Option<Cause> {
    let lines = joined(text);
    // Warnings end nothing: vLLM warns of modules that it does without.
    let serious = || lines.iter().rev().filter(|line| line.level != Level::Remark);
    let told =
        |line: &Line, remedy| Cause { line: shortened(&line.said), remedy, kind: Kind::Other };
    serious()
        .find_map(|line| {
            let row = KNOWN.iter().find(|row| line.said.contains(row.words))?;
            Some(Cause { kind: row.kind, ..told(line, row.remedy) })
        })
        .or_else(|| serious().find(|line| is_exception(line)).map(|line| told(line, "")))
        .or_else(|| {
            let killed = |line: &&Line| KILLED.iter().any(|words| line.said.contains(words));
            lines.iter().rev().find(killed).map(|line| told(line, KILLED_REMEDY))
        })
        .or_else(|| {
            let error = |line: &&Line| line.level == Level::Error && !is_sequel(line);
            serious().filter(|line| !is_of_a_trace(line)).find(error).map(|line| told(line, ""))
        })
}

/// Joins pydantic's errors: their second line says what is wrong.
fn joined(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for text in text.lines() {
        let line = Line::of(text);
        match lines.last_mut() {
            Some(last) if last.said.contains(" validation error") && text.starts_with("  ") => {
                let what = line.said.split(" [type=").next().unwrap_or_default().trim();
                last.said = format!("{}: {what}", last.said);
                // One more line has the address of a page about it.
                lines.push(Line { level: Level::Remark, said: String::new() });
            }
            _ => lines.push(line),
        }
    }
    lines
}

fn is_sequel(line: &Line) -> bool {
    SEQUELS.iter().any(|words| line.said.contains(words))
}

fn is_exception(line: &Line) -> bool {
    let name = line.said.split(':').next().unwrap_or_default();
    let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
    is_name && (name.ends_with("Error") || name.ends_with("Exception")) && !is_sequel(line)
}

fn is_of_a_trace(line: &Line) -> bool {
    line.said.is_empty() || line.said.starts_with("Traceback") || line.said.starts_with("  ")
}
