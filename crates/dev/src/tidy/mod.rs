//! Rules for sources that no compiler checks, for `cargo dev tidy` and, as a test, `cargo test`.
//!
//! A rule is a function from files to findings and reads no disk, so each can be tested on a few
//! lines. `exceptions.rs` has exceptions with their reasons; an unneeded one is a finding.

mod exceptions;
mod items;
mod lengths;
mod manifests;
mod names;
mod reached;
mod readmes;
mod strays;
mod type_names;
mod views;
mod words;

use std::fmt;

use crate::repository::SourceFile;

/// A violation of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    /// From 1; 0 for the file as a whole.
    line: usize,
    /// What is wrong, and what to do.
    message: String,
}

impl Finding {
    fn of(file: &SourceFile, line: usize, message: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Sorted by path and line.
pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used = exceptions::Used::default();
    for file in files {
        names::check(file, &mut findings);
        words::check(file, &mut findings);
        lengths::check(file, &mut used, &mut findings);
        readmes::check_title(file, &mut findings);
    }
    readmes::check_links(files, &mut findings);
    readmes::check_crates(files, &mut findings);
    manifests::check(files, &mut findings);
    strays::check(files, &mut findings);
    let sources = reached::sources(files);
    reached::check(&sources, &mut used, &mut findings);
    type_names::check(&sources, &mut used, &mut findings);
    used.check(&mut findings);
    findings.sort();
    findings
}

#[cfg(test)]
fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

/// Findings of a rule for one file, without the path.
#[cfg(test)]
fn said(rule: impl Fn(&SourceFile, &mut Vec<Finding>), path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    rule(&file(path, text), &mut findings);
    findings.into_iter().map(|found| format!("{}: {}", found.line, found.message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let files = crate::repository::read(&crate::repository::root()).expect("can be read");
        let findings: Vec<String> = check(&files).iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    }

    #[test]
    fn findings_name_place_and_remedy() {
        let found = Finding::of(&file("a/b.rs", ""), 3, "too long; split it");
        assert_eq!(found.to_string(), "a/b.rs:3: too long; split it");
        let found = Finding::of(&file("a/b.rs", ""), 0, "too long; split it");
        assert_eq!(found.to_string(), "a/b.rs: too long; split it");
    }
}
