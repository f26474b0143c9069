//! Lengths: of lines, files and functions, and of the one `main`.

use super::Finding;
use super::exceptions::{Exception, LONG_FILES, LONG_FUNCTIONS, Used};
use super::views::Views;
use crate::repository::SourceFile;

/// Longest line of code.
const MOST_COLUMNS: usize = 100;
/// Longest Rust file, lines; tests at its end do not count, nor do files of tests.
const MOST_LINES: usize = 600;
/// Longest function, lines from `fn` to its last brace.
const MOST_FUNCTION_LINES: usize = 70;
/// Longest `main.rs` of the program, lines: who reads it knows the program.
const MOST_MAIN_LINES: usize = 60;
const MAIN: &str = "crates/weir/src/main.rs";
/// Files whose lines are code.
const CODE: [&str; 3] = ["rs", "py", "sh"];
/// Files whose lines are data, but for remarks (`#`).
const DATA: [&str; 3] = ["toml", "yaml", "yml"];

/// All rules on lengths.
pub(super) fn check(file: &SourceFile, used: &mut Used, findings: &mut Vec<Finding>) {
    check_columns(file, findings);
    if file.extension() == "rs" {
        check_lines(file, LONG_FILES, used, findings);
        check_functions(file, LONG_FUNCTIONS, used, findings);
    }
}

/// Lines of code fit the width, unless a literal, a URL or a table makes them long.
fn check_columns(file: &SourceFile, findings: &mut Vec<Finding>) {
    let is_data = DATA.contains(&file.extension());
    if !is_data && !CODE.contains(&file.extension()) {
        return;
    }
    let is_checked = |line: &str| !is_data || line.trim_start().starts_with('#');
    let is_long = |line: &str| line.chars().count() > MOST_COLUMNS && is_checked(line);
    if !file.text.lines().any(is_long) {
        return;
    }
    let views = (file.extension() == "rs").then(|| Views::of(&file.text));
    let mut literals = views.iter().flat_map(|views| views.literals.lines());
    for (number, line) in file.text.lines().enumerate() {
        let has_literal = literals.next().is_some_and(|literal| !literal.trim().is_empty());
        let is_table = line.trim_start_matches([' ', '/', '!', '#']).starts_with('|');
        if is_long(line) && !has_literal && !is_table && !line.contains("://") {
            let columns = line.chars().count();
            let message = format!("{columns} columns of {MOST_COLUMNS}; break the line");
            findings.push(Finding::of(file, number + 1, message));
        }
    }
}

pub(super) fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// A source without the tests at its end.
pub(super) fn without_tests(text: &str) -> &str {
    let tests = text.find("\n#[cfg(test)]\nmod tests {\n");
    &text[..tests.unwrap_or(text.len())]
}

fn check_lines(
    file: &SourceFile,
    exceptions: &[Exception],
    used: &mut Used,
    findings: &mut Vec<Finding>,
) {
    let lines = without_tests(&file.text).lines().count();
    if file.path == MAIN && lines > MOST_MAIN_LINES {
        let message = format!("{lines} lines of {MOST_MAIN_LINES}; move work into a module");
        findings.push(Finding::of(file, 0, message));
    }
    if lines > MOST_LINES && !is_test(&file.path) && !used.excepts(exceptions, &file.path) {
        let message = format!("{lines} lines of {MOST_LINES}; split it where its nouns part");
        findings.push(Finding::of(file, 0, message));
    }
}

fn check_functions(
    file: &SourceFile,
    exceptions: &[Exception],
    used: &mut Used,
    findings: &mut Vec<Finding>,
) {
    for function in functions(&Views::of(&file.text).code) {
        let name = format!("{}::{}", file.path, function.name);
        if function.lines > MOST_FUNCTION_LINES && !used.excepts(exceptions, &name) {
            let message = format!(
                "`{}` has {} lines of {MOST_FUNCTION_LINES}; split it",
                function.name, function.lines
            );
            findings.push(Finding::of(file, function.line, message));
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Function {
    name: String,
    /// Line of `fn`, from 1.
    line: usize,
    /// Lines from there to the last brace.
    lines: usize,
}

/// The functions of a source whose comments and literals are blanked.
fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c == '_' || c.is_alphanumeric()) {
            continue;
        }
        let behind = code[at + 3..].trim_start();
        let is_part = |c: &char| *c == '_' || c.is_alphanumeric();
        let name: String = behind.chars().take_while(is_part).collect();
        if name.is_empty() {
            // A type (`fn (u32)`), or a name that a macro makes.
            continue;
        }
        let Some(body) = body_lines(&code[at..]) else { continue };
        let line = code[..at].matches('\n').count() + 1;
        found.push(Function { name, line, lines: body });
    }
    found
}

/// Lines from the start of `code` to the brace that closes its first body; nothing where a
/// semicolon comes first.
fn body_lines(code: &str) -> Option<usize> {
    let (mut lines, mut round, mut braces) = (1, 0usize, 0usize);
    for c in code.chars() {
        match c {
            '\n' => lines += 1,
            '(' | '[' => round += 1,
            ')' | ']' => round = round.saturating_sub(1),
            ';' if round == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' if braces == 1 => return Some(lines),
            // The end of what surrounds a declaration without a body, inside a macro.
            '}' if braces == 0 => return None,
            '}' => braces -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::*;

    fn long(front: &str, back: &str) -> String {
        format!("{front}{}{back}\n", "x".repeat(MOST_COLUMNS))
    }

    #[test]
    fn long_lines_of_code_are_found() {
        let found = |path: &str, text: &str| said(check_columns, path, text).len();
        assert_eq!(found("a.rs", &long("let ", " = 1;")), 1);
        assert_eq!(found("a.rs", &long("// ", "")), 1);
        assert_eq!(found("a.rs", &long("let a = \"", "\";")), 0, "a literal");
        assert_eq!(found("a.rs", &long("// https://", "")), 0, "a URL");
        assert_eq!(found("a.rs", &long("/// | ", " |")), 0, "a table");
        assert_eq!(found("a.md", &long("", "")), 0, "prose");
        assert_eq!(found("a.yaml", &long("arms: [", "]")), 0, "data");
        assert_eq!(found("a.yaml", &long("  # ", "")), 1, "a remark");
        assert_eq!(found("a.rs", &format!("{}\n", "ä".repeat(MOST_COLUMNS))), 0, "characters");
    }

    #[test]
    fn long_files_are_found_outside_tests() {
        let rule = |file: &SourceFile, findings: &mut Vec<Finding>| {
            check_lines(file, &[], &mut Used::default(), findings);
        };
        let lines = |count: usize| "\n".repeat(count);
        assert_eq!(said(rule, "crates/a/src/b.rs", &lines(MOST_LINES)).len(), 0);
        assert_eq!(said(rule, "crates/a/src/b.rs", &lines(MOST_LINES + 1)).len(), 1);
        assert_eq!(said(rule, "crates/a/tests/it/b.rs", &lines(MOST_LINES + 1)).len(), 0);
        let tested = |count: usize| format!("{}\n#[cfg(test)]\nmod tests {{\n\n}}\n", lines(count));
        assert_eq!(said(rule, "crates/a/src/b.rs", &tested(MOST_LINES)).len(), 0);
        assert_eq!(said(rule, "crates/a/src/b.rs", &tested(MOST_LINES + 1)).len(), 1);
        assert_eq!(said(rule, "crates/weir/src/main.rs", &lines(MOST_MAIN_LINES)).len(), 0);
        assert_eq!(said(rule, "crates/weir/src/main.rs", &lines(MOST_MAIN_LINES + 1)).len(), 1);
        assert_eq!(said(rule, "crates/dev/src/main.rs", &lines(MOST_MAIN_LINES + 1)).len(), 0);
    }

    #[test]
    fn long_functions_are_found_with_name_and_line() {
        let rule = |file: &SourceFile, findings: &mut Vec<Finding>| {
            check_functions(file, &[], &mut Used::default(), findings);
        };
        let function = |lines: usize| format!("\nfn f() {{{}}}\n", "\n".repeat(lines - 1));
        assert_eq!(said(rule, "a.rs", &function(MOST_FUNCTION_LINES)), Vec::<String>::new());
        let found = said(rule, "a.rs", &function(MOST_FUNCTION_LINES + 1));
        assert_eq!(found, ["2: `f` has 71 lines of 70; split it"]);
    }

    #[test]
    fn functions_are_measured_from_fn_to_the_last_brace() {
        let code = "trait T {\n    fn no_body(&self, a: [u8; 3]);\n}\n\
                    pub(crate) fn two(f: fn (u32)) -> u32\n{ if a { b } }\n\
                    fn outer() {\n    fn inner() {}\n}\n";
        let found: Vec<(String, usize, usize)> =
            functions(code).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
        let expected = [("two", 4, 2), ("outer", 6, 3), ("inner", 7, 1)];
        assert_eq!(found, expected.map(|(name, line, lines)| (name.to_owned(), line, lines)));
    }
}
