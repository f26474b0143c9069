//! Words that must not stay in a file: promises, remains of debugging, and local paths.

use super::Finding;
use super::views::Views;
use crate::repository::SourceFile;

// The words are put together here, so that this file does not hold them.

/// Promises of work: they belong in an issue.
const PROMISES: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("X", "X")];
/// Unfinished code.
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];
/// Local paths and names, which mean nothing to a reader.
const PLACES: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("fa", "rm-"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
/// Settings for other than the public registries.
const REGISTRIES: [&str; 5] = [
    concat!("index", "-url"),
    concat!("replace", "-with"),
    concat!("sparse", "+http"),
    concat!("[source", "."),
    concat!("registry", " = \""),
];

pub(super) fn check(file: &SourceFile, findings: &mut Vec<Finding>) {
    check_places(file, findings);
    if file.extension() == "rs" {
        check_code(file, findings);
    } else {
        for (number, line) in file.text.lines().enumerate() {
            check_promises(file, number, line, findings);
        }
    }
}

fn check_places(file: &SourceFile, findings: &mut Vec<Finding>) {
    for (number, line) in file.text.lines().enumerate() {
        if let Some(place) = PLACES.iter().find(|place| line.contains(*place)) {
            let message = format!("`{place}` is a place of one machine; write it relatively");
            findings.push(Finding::of(file, number + 1, message));
        }
        if let Some(setting) = REGISTRIES.iter().find(|setting| line.contains(*setting)) {
            let message = format!("`{setting}` names a package source; keep it out of the files");
            findings.push(Finding::of(file, number + 1, message));
        }
    }
}

fn check_promises(file: &SourceFile, number: usize, line: &str, findings: &mut Vec<Finding>) {
    let mut words = line.split(|c: char| c != '_' && !c.is_alphanumeric());
    if let Some(word) = words.find(|word| PROMISES.contains(word)) {
        let message = format!("{word}: do it, or open an issue and say how things are");
        findings.push(Finding::of(file, number + 1, message));
    }
}

fn check_code(file: &SourceFile, findings: &mut Vec<Finding>) {
    let views = Views::of(&file.text);
    for (number, comment) in views.comments.lines().enumerate() {
        check_promises(file, number, comment, findings);
    }
    for (number, line) in views.code.lines().enumerate() {
        if let Some(unfinished) = UNFINISHED.iter().find(|word| has_macro(line, word)) {
            let message = format!("`{unfinished}` is not meant to stay; finish the code");
            findings.push(Finding::of(file, number + 1, message));
        }
        let dense: String = line.split_whitespace().collect();
        if dense.contains("#[ignore]") || dense.contains(",ignore)]") {
            let message = "a test is ignored without a reason; write `#[ignore = \"why\"]`";
            findings.push(Finding::of(file, number + 1, message));
        }
    }
}

/// The macro itself, and not one with a longer name.
fn has_macro(line: &str, name: &str) -> bool {
    line.match_indices(name)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c == '_' || c.is_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        said(check, path, text).len()
    }

    #[test]
    fn promises_are_found_in_comments_and_not_in_code() {
        let promise = PROMISES[0];
        assert_eq!(found("a.rs", &format!("// {promise}: later\n")), 1);
        assert_eq!(found("a.rs", &format!("let a = \"{promise}\";\n")), 0);
        assert_eq!(found("a.rs", &format!("// {promise}S are none\n")), 0);
        assert_eq!(found("a.yaml", &format!("# {promise}\n")), 1);
    }

    #[test]
    fn unfinished_code_is_found() {
        assert_eq!(found("a.rs", "fn f() { todo!() }\n"), 1);
        assert_eq!(found("a.rs", "fn f() { let a = dbg!(b); }\n"), 1);
        assert_eq!(found("a.rs", "fn f() { not_todo!() }\n// todo!()\n"), 0);
    }

    #[test]
    fn a_test_is_ignored_with_a_reason_or_not_at_all() {
        assert_eq!(found("a.rs", "#[ignore]\nfn f() {}\n"), 1);
        assert_eq!(found("a.rs", "#[ignore = \"needs a GPU\"]\nfn f() {}\n"), 0);
        assert_eq!(found("a.rs", "#[cfg_attr(miri, ignore)]\nfn f() {}\n"), 1);
    }

    #[test]
    fn places_and_package_sources_are_found_everywhere() {
        for place in PLACES {
            assert_eq!(found("a.md", &format!("see {place}x\n")), 1, "{place}");
            assert_eq!(found("a.rs", &format!("let a = \"{place}x\";\n")), 1, "{place}");
        }
        for setting in REGISTRIES {
            assert_eq!(found(".cargo/config.toml", &format!("{setting}x\n")), 1, "{setting}");
        }
        assert_eq!(found("a.md", "a network of farms\n"), 0);
    }
}
