//! What logs of vLLM and LMCache say: facts of the start, and why something ended.

mod cause;
mod start_up;

pub use cause::{Cause, cause};
pub use start_up::StartUp;

/// The last line that says something, without colours and shortened.
pub(crate) fn last_line(text: &str) -> String {
    let line = text.lines().rev().map(plain).find(|line| !line.trim().is_empty());
    line.map_or_else(|| "(nothing)".to_owned(), |line| shortened(&line))
}

/// A line without the codes of terminals.
fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("\u{1b}[") {
        out.push_str(&rest[..at]);
        let code = &rest[at + 2..];
        let end = code.find(|c: char| c.is_ascii_alphabetic()).map_or(code.len(), |end| end + 1);
        rest = &code[end..];
    }
    out.push_str(rest);
    out
}

fn shortened(line: &str) -> String {
    const MOST: usize = 300;
    let line = line.trim();
    if line.chars().count() <= MOST {
        return line.to_owned();
    }
    let head: String = line.chars().take(MOST).collect();
    format!("{head}...")
}
