//! Lengths of lines, files and `main`. Clippy checks those of functions.

use super::Finding;
use super::exceptions::{Exception, LONG_FILES, Used};
use super::views::Views;
use crate::repository::SourceFile;

const MOST_COLUMNS: usize = 100;
/// Lines of a Rust file, without tests at its end; test files have no limit.
const MOST_LINES: usize = 600;
/// The program's `main.rs` gives an overview of it.
const MOST_MAIN_LINES: usize = 60;
const MAIN: &str = "crates/weir/src/main.rs";
const CODE: [&str; 3] = ["rs", "py", "sh"];
/// Extensions of data; only comments (`#`) count.
const DATA: [&str; 3] = ["toml", "yaml", "yml"];

pub(super) fn check(file: &SourceFile, used: &mut Used, findings: &mut Vec<Finding>) {
    check_columns(file, findings);
    if file.extension() == "rs" {
        check_lines(file, LONG_FILES, used, findings);
    }
}

/// Literals, URLs and tables may exceed the width.
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
}
