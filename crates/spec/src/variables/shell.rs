//! The part of the shell's language that scenario files are written in: assignments with quotes,
//! comments and earlier variables. Nothing is run; what only a shell can answer is refused.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// Longest value: longer than any command line, and a bound for variables that double themselves.
const MOST_BYTES: usize = 128 * 1024;

/// What a scenario file may not hold, with the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShellProblem {
    #[error("the quote `{0}` is not closed; close it, or write the value on one line")]
    OpenQuote(char),
    #[error("command substitution is not run; write the value that it gives")]
    Substitution,
    #[error("`{0}` is not supported in `${{...}}`; write `${{NAME}}`, or the value itself")]
    Expansion(char),
    #[error("`{0}` is an operator of the shell, which is not run; put the value in quotes")]
    Operator(char),
    #[error("expected `export NAME=value`: a scenario file is read and not run; remove the line")]
    Command,
    #[error("`+=` is not supported; write the whole value")]
    Append,
    #[error("the value is longer than {MOST_BYTES} bytes; write a shorter one")]
    TooLong,
}

/// A value with quotes removed and variables replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: String,
    /// A variable in it that no earlier line sets: then the value is not known.
    pub(super) missing: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) value: Text,
    /// From 1.
    pub(super) line: usize,
}

/// A fault of the text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) problem: ShellProblem,
    pub(super) line: usize,
    /// The variable whose value it is in.
    pub(super) name: Option<String>,
}

/// The assignments of a file, in their order.
pub(super) fn assignments(text: &str) -> Result<Vec<Assignment>, Fault> {
    let mut reader = Reader::of(text);
    let mut found = Vec::new();
    while reader.next_statement() {
        let line = reader.line;
        let (mut exports, mut count) = (false, 0);
        while reader.next_word() {
            let start = reader.line;
            let name = reader.name();
            let read = match (name.as_str(), reader.characters.peek()) {
                ("export", next) if count == 0 && next.is_none_or(|c| c.is_whitespace()) => {
                    exports = true;
                    count += 1;
                    continue;
                }
                (_, Some('=')) if !name.is_empty() => {
                    reader.characters.next();
                    reader.word()
                }
                (_, Some('+')) if !name.is_empty() => Err(ShellProblem::Append),
                // `export NAME` marks what an earlier line set.
                (_, next) if exports && !name.is_empty() && next.is_none_or(|c| ends(*c)) => {
                    continue;
                }
                _ => Err(ShellProblem::Command),
            };
            let value = read.map_err(|problem| {
                let place = if problem == ShellProblem::Command { line } else { start };
                let name = Some(name.clone()).filter(|_| problem != ShellProblem::Command);
                Fault { problem, line: place, name }
            })?;
            count += 1;
            reader.known.insert(name.clone(), value.clone());
            found.push(Assignment { name, value, line: start });
        }
    }
    Ok(found)
}

/// The words of a command line; a semicolon is a word of its own.
pub(super) fn words(text: &str) -> Result<Vec<Text>, ShellProblem> {
    let mut reader = Reader::of(text);
    let mut words = Vec::new();
    loop {
        reader.blanks(true);
        if reader.characters.peek().is_none() {
            return Ok(words);
        }
        if reader.characters.next_if_eq(&';').is_some() {
            words.push(Text { text: ";".to_owned(), missing: None });
            continue;
        }
        words.push(reader.word()?);
    }
}

fn ends(c: char) -> bool {
    c.is_whitespace() || c == ';'
}

struct Reader<'a> {
    characters: Peekable<Chars<'a>>,
    line: usize,
    known: BTreeMap<String, Text>,
}

impl<'a> Reader<'a> {
    fn of(text: &'a str) -> Self {
        Self { characters: text.chars().peekable(), line: 1, known: BTreeMap::new() }
    }

    fn take(&mut self) -> Option<char> {
        let next = self.characters.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    /// Also a line's continuation, and comments where a word may begin.
    fn blanks(&mut self, over_lines: bool) {
        loop {
            match self.characters.peek() {
                Some('#') => while self.characters.next_if(|c| *c != '\n').is_some() {},
                Some('\n') if !over_lines => return,
                Some(c) if c.is_whitespace() => {
                    self.take();
                }
                Some('\\') => {
                    let mut ahead = self.characters.clone();
                    ahead.next();
                    if ahead.next() != Some('\n') {
                        return;
                    }
                    self.take();
                    self.take();
                }
                _ => return,
            }
        }
    }

    /// Past empty lines, comments and semicolons. False at the end.
    fn next_statement(&mut self) -> bool {
        loop {
            self.blanks(true);
            if self.characters.next_if_eq(&';').is_none() {
                return self.characters.peek().is_some();
            }
        }
    }

    /// False at the end of the statement.
    fn next_word(&mut self) -> bool {
        self.blanks(false);
        !matches!(self.characters.peek(), None | Some('\n' | ';'))
    }

    /// As far as it can be a variable's.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.characters.next_if(|c| {
            *c == '_' || c.is_ascii_alphabetic() || (!name.is_empty() && c.is_ascii_digit())
        }) {
            name.push(c);
        }
        name
    }

    /// To its end, without quotes.
    fn word(&mut self) -> Result<Text, ShellProblem> {
        let mut word = Text::default();
        if self.characters.peek() == Some(&'~') {
            // The home folder of whoever runs it.
            word.missing = Some("HOME".to_owned());
        }
        while let Some(c) = self.characters.peek().copied() {
            match c {
                _ if ends(c) => break,
                '\'' | '"' => {
                    self.take();
                    self.quoted(c, &mut word)?;
                }
                '\\' => {
                    self.take();
                    match self.take() {
                        Some('\n') | None => {}
                        Some(plain) => word.text.push(plain),
                    }
                }
                '$' => self.variable(&mut word)?,
                '`' => return Err(ShellProblem::Substitution),
                '&' | '|' | '<' | '>' | '(' | ')' => return Err(ShellProblem::Operator(c)),
                _ => {
                    self.take();
                    word.text.push(c);
                }
            }
            if word.text.len() > MOST_BYTES {
                return Err(ShellProblem::TooLong);
            }
        }
        Ok(word)
    }

    /// Behind the opening quote.
    fn quoted(&mut self, quote: char, word: &mut Text) -> Result<(), ShellProblem> {
        loop {
            if word.text.len() > MOST_BYTES {
                return Err(ShellProblem::TooLong);
            }
            let Some(c) = self.characters.peek().copied() else {
                return Err(ShellProblem::OpenQuote(quote));
            };
            if quote == '"' && c == '$' {
                self.variable(word)?;
                continue;
            }
            self.take();
            match c {
                _ if c == quote => return Ok(()),
                '`' if quote == '"' => return Err(ShellProblem::Substitution),
                '\\' if quote == '"' => match self.characters.peek() {
                    Some('\n') => {
                        self.take();
                    }
                    Some('$' | '`' | '"' | '\\') => word.text.extend(self.take()),
                    _ => word.text.push('\\'),
                },
                _ => word.text.push(c),
            }
        }
    }

    /// At a `$`.
    fn variable(&mut self, word: &mut Text) -> Result<(), ShellProblem> {
        self.take();
        match self.characters.peek().copied() {
            Some('(') => return Err(ShellProblem::Substitution),
            Some('{') => {
                self.take();
                let name = self.name();
                match self.characters.next() {
                    Some('}') if !name.is_empty() => self.put(&name, word),
                    Some(':') if !name.is_empty() => self.otherwise(&name, word)?,
                    other => return Err(ShellProblem::Expansion(other.unwrap_or('$'))),
                }
            }
            Some(c) if c == '_' || c.is_ascii_alphabetic() => {
                let name = self.name();
                self.put(&name, word);
            }
            // `$1`, `$?`, `$$` and the like: only a running shell has them.
            Some(c @ ('0'..='9' | '?' | '!' | '$' | '#' | '@' | '*' | '-')) => {
                return Err(ShellProblem::Expansion(c));
            }
            _ => word.text.push('$'),
        }
        Ok(())
    }

    fn put(&self, name: &str, word: &mut Text) {
        match self.known.get(name) {
            Some(value) => {
                word.text.push_str(&value.text);
                word.missing = word.missing.take().or_else(|| value.missing.clone());
            }
            None => word.missing = word.missing.take().or_else(|| Some(name.to_owned())),
        }
    }

    /// Behind the colon of `${NAME:-words}`, whose words stand where the variable is not set.
    fn otherwise(&mut self, name: &str, word: &mut Text) -> Result<(), ShellProblem> {
        if self.characters.next_if_eq(&'-').is_none() {
            return Err(ShellProblem::Expansion(':'));
        }
        let mut default = String::new();
        loop {
            match self.take() {
                Some('}') => break,
                Some(c @ ('$' | '`' | '{' | '"' | '\'' | '\\')) => {
                    return Err(ShellProblem::Expansion(c));
                }
                Some(c) => default.push(c),
                None => return Err(ShellProblem::Expansion('{')),
            }
        }
        let is_set = self.known.get(name).is_some_and(|value| !value.text.is_empty());
        if is_set {
            self.put(name, word);
        } else {
            word.text.push_str(&default);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(String, String, usize)> {
        let found = assignments(text).unwrap();
        found.into_iter().map(|of| (of.name, of.value.text, of.line)).collect()
    }

    fn one(text: &str) -> String {
        let found = read(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        found[0].1.clone()
    }

    fn fault(text: &str) -> (ShellProblem, usize, Option<String>) {
        let fault = assignments(text).unwrap_err();
        (fault.problem, fault.line, fault.name)
    }

    #[test]
    fn values_are_what_a_shell_assigns() {
        for (text, value) in [
            ("export A=b", "b"),
            ("A=b", "b"),
            ("  export   A=b   # why", "b"),
            ("export A='b c'", "b c"),
            ("export A=\"b c\"", "b c"),
            ("export A=b#c", "b#c"),
            ("export A=a' b 'c\" d \"e", "a b c d e"),
            ("export A=", ""),
            ("export A=b\\ c", "b c"),
            ("export A='$(not run) `at all` \\'", "$(not run) `at all` \\"),
            ("export A=\"{\\\"k\\\":\\\"v\\\"}\"", "{\"k\":\"v\"}"),
            ("export A='{\"k\": \"v\"}'", "{\"k\": \"v\"}"),
            ("export A=\"a\\n\\$b\"", "a\\n$b"),
            ("export A=\"[\\\n--x____\\\n1\\\n]\"", "[--x____1]"),
            ("export A=\"two\nlines\"", "two\nlines"),
            ("export A=${B:-c-d}", "c-d"),
            ("export A=cost$", "cost$"),
            ("export A=b;", "b"),
            ("export A=b\r\n", "b"),
        ] {
            assert_eq!(one(text), value, "{text}");
        }
    }

    #[test]
    fn earlier_lines_are_known_and_lines_are_counted() {
        let text =
            "# head\n\nexport A=x B=y; C=\"$A/${B}\"\nexport A\nexport D=${C:-z}\\\n!\nA=${A}2";
        assert_eq!(
            read(text),
            [("A", "x", 3), ("B", "y", 3), ("C", "x/y", 3), ("D", "x/y!", 5), ("A", "x2", 7)]
                .map(|(name, value, line)| (name.to_owned(), value.to_owned(), line))
        );
        let unknown = &assignments("export A=$HF_TOKEN\nexport B=${A}-1").unwrap();
        for of in unknown {
            assert_eq!(of.value.missing.as_deref(), Some("HF_TOKEN"), "{}", of.name);
        }
        let home = &assignments("export A=~/.kube/config").unwrap()[0];
        assert_eq!(home.value.missing.as_deref(), Some("HOME"));
    }

    #[test]
    fn what_a_shell_would_run_is_refused_with_its_line_and_variable() {
        let a = Some("A".to_owned());
        for (text, problem, line, name) in [
            ("\nexport A=$(id)", ShellProblem::Substitution, 2, &a),
            ("export A=\"x $(id)\"", ShellProblem::Substitution, 1, &a),
            ("export A=`id`", ShellProblem::Substitution, 1, &a),
            ("export A=$((1+1))", ShellProblem::Substitution, 1, &a),
            ("export B=1\nexport A='b\n\n", ShellProblem::OpenQuote('\''), 2, &a),
            ("export A=\"b", ShellProblem::OpenQuote('"'), 1, &a),
            ("export A=${B#x}", ShellProblem::Expansion('#'), 1, &a),
            ("export A=${B:=x}", ShellProblem::Expansion(':'), 1, &a),
            ("export A=$1", ShellProblem::Expansion('1'), 1, &a),
            ("export A=${", ShellProblem::Expansion('$'), 1, &a),
            ("export A=(a b)", ShellProblem::Operator('('), 1, &a),
            ("export A=a|b", ShellProblem::Operator('|'), 1, &a),
            ("export A+=a", ShellProblem::Append, 1, &a),
            ("\n\nsource other.sh", ShellProblem::Command, 3, &None),
            ("cat << EOF > x", ShellProblem::Command, 1, &None),
            ("export -n A", ShellProblem::Command, 1, &None),
            ("A=1 run.sh", ShellProblem::Command, 1, &None),
            ("'A'=1", ShellProblem::Command, 1, &None),
        ] {
            assert_eq!(fault(text), (problem, line, name.clone()), "{text}");
        }
        let doubled = "A=0123456789abcdef\n".to_owned() + &"A=$A$A\n".repeat(40);
        assert_eq!(fault(&doubled).0, ShellProblem::TooLong);
    }

    #[test]
    fn words_of_a_command_line() {
        let line = "--kv-transfer-config '{\"a\": \"b c\"}' --x=\"1 2\"  -O3";
        let read: Vec<String> = words(line).unwrap().into_iter().map(|of| of.text).collect();
        assert_eq!(read, ["--kv-transfer-config", "{\"a\": \"b c\"}", "--x=1 2", "-O3"]);
        assert_eq!(words("'a"), Err(ShellProblem::OpenQuote('\'')));
        assert_eq!(words("a; b").unwrap().len(), 3);
    }

    proptest! {
        #[test]
        fn no_text_panics_or_hangs(text in "[-A-Z=${}()'\"`;#\\\\ \n:+~0-9é]{0,80}") {
            let _ = assignments(&text);
            let _ = words(&text);
        }
    }
}
