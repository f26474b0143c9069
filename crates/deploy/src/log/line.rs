/// Longest displayed line, characters.
const MOST: usize = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Remarks and warnings.
    Remark,
    Error,
    /// Not written by a logger: output of programs, tracebacks.
    Bare,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) level: Level,
    /// Without process, level, time and place.
    pub(super) said: String,
}

impl Line {
    /// Formats: vLLM `(EngineCore pid=7) ERROR 11-27 20:10:41 [core.py:1510] words`; `LMCache`
    /// `[2026-11-27 20:12:03,493] LMCache ERROR: words (place)`; uvicorn `ERROR:    words`.
    pub(super) fn of(text: &str) -> Self {
        let text = plain(text);
        let rest = after_process(&text);
        if let Some((_, rest)) = rest.split_once("] LMCache ")
            && let Some((word, said)) = rest.split_once(": ")
            && let Some(level) = level(word)
        {
            return Self { level, said: without_place(said).to_owned() };
        }
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let Some(level) = level(word.trim_end_matches(':')) else {
            let bare = if is_warning(rest) { Level::Remark } else { Level::Bare };
            // Lines of a record after a traceback have only the place.
            return Self { level: bare, said: without_place(rest).to_owned() };
        };
        let said = if word.ends_with(':') {
            after.trim_start()
        } else {
            after.split_once("] ").map_or("", |(_, said)| said)
        };
        Self { level, said: said.to_owned() }
    }
}

fn level(word: &str) -> Option<Level> {
    match word {
        "DEBUG" | "INFO" | "WARNING" => Some(Level::Remark),
        "ERROR" | "CRITICAL" | "FATAL" => Some(Level::Error),
        _ => None,
    }
}

/// Python's `place: UserWarning: words`, and `PyTorch`'s `[W1127 20:26:48.98 a]`.
fn is_warning(text: &str) -> bool {
    text.contains("Warning: ") || text.starts_with("[W")
}

fn after_process(text: &str) -> &str {
    let named = text.strip_prefix('(').and_then(|rest| rest.split_once(") "));
    named.filter(|(name, _)| name.contains("pid=")).map_or(text, |(_, rest)| rest)
}

/// `LMCache` has the place in parentheses at the end.
fn without_place(said: &str) -> &str {
    let said = said.trim_end();
    match said.rsplit_once(" (") {
        Some((words, place)) if place.contains(".py:") => words,
        _ => said,
    }
}

pub(super) fn plain(line: &str) -> String {
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

/// Keeps both ends: a chain of Go's errors begins with the first call and ends with the cause.
pub(super) fn shortened_within(chain: &str) -> String {
    let length = chain.chars().count();
    if length <= MOST {
        return chain.to_owned();
    }
    let head: String = chain.chars().take(MOST / 4).collect();
    let tail: String = chain.chars().skip(length - MOST * 3 / 4).collect();
    format!("{head} ... {tail}")
}

pub(super) fn shortened(line: &str) -> String {
    let line = line.trim();
    if line.chars().count() <= MOST {
        return line.to_owned();
    }
    let head: String = line.chars().take(MOST).collect();
    format!("{head}...")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_each_writer_are_taken_apart() {
        let cases = [
            ("(EngineCore pid=7) ERROR 11-27 20:10:41 [core.py:1510] No.", Level::Error, "No."),
            ("WARNING 11-27 20:10:41 [a.py:1] Hm.", Level::Remark, "Hm."),
            (
                "\u{1b}[31;20m[2026-11-27 20:12:03,493] LMCache ERROR:\u{1b}[0m It: no. \
                 \u{1b}[3m(manager.py:107:lmcache.v1.manager)\u{1b}[0m",
                Level::Error,
                "It: no.",
            ),
            ("[2026-11-27 20:12:03,493] LMCache INFO: Yes", Level::Remark, "Yes"),
            ("ERROR:    [Errno 98] in use", Level::Error, "[Errno 98] in use"),
            ("INFO:     127.0.0.1 - \"GET /health\" 200 OK", Level::Remark, ""),
            ("ValueError: (a) b", Level::Bare, "ValueError: (a) b"),
            ("/a/b.py:254: UserWarning: leaked", Level::Remark, "/a/b.py:254: UserWarning: leaked"),
            ("", Level::Bare, ""),
        ];
        for (text, level, said) in cases {
            let line = Line::of(text);
            assert_eq!(line.level, level, "{text}");
            if !said.is_empty() {
                assert_eq!(line.said, said);
            }
        }
    }

    #[test]
    fn codes_of_terminals_are_left_out_also_where_they_are_cut_off() {
        assert_eq!(plain("a\u{1b}[32;20mb\u{1b}[0mc"), "abc");
        assert_eq!(plain("a\u{1b}[32;2"), "a");
        assert_eq!(plain("ä\u{1b}[1mö"), "äö");
    }
}
