//! Dependencies: their number, and that each is used.

use std::collections::BTreeSet;

use super::Finding;
use super::views::Views;
use crate::repository::SourceFile;

/// Packages in the lock file: each costs build time and trust.
const MOST_PACKAGES: usize = 550;

pub(super) fn check(files: &[SourceFile], findings: &mut Vec<Finding>) {
    check_lock(files, findings);
    check_workspace(files, findings);
    check_crates(files, findings);
}

fn check_lock(files: &[SourceFile], findings: &mut Vec<Finding>) {
    let Some(lock) = files.iter().find(|file| file.path == "Cargo.lock") else { return };
    let packages = lock.text.lines().filter(|line| *line == "[[package]]").count();
    if packages >= MOST_PACKAGES {
        let message = format!("{packages} packages, not below {MOST_PACKAGES}; drop one");
        findings.push(Finding::of(lock, 0, message));
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Dependency<'a> {
    name: &'a str,
    line: usize,
}

/// In all sections whose names `is_section` accepts.
fn dependencies(text: &str, is_section: impl Fn(&str) -> bool) -> Vec<Dependency<'_>> {
    let mut found = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            inside = is_section(section.trim_end_matches(']'));
            continue;
        }
        let is_part = |c: char| c == '-' || c == '_' || c.is_ascii_alphanumeric();
        let end = line.find(|c: char| !is_part(c)).unwrap_or(line.len());
        let is_entry = end > 0 && line[end..].trim_start().starts_with(['=', '.']);
        if inside && is_entry {
            found.push(Dependency { name: &line[..end], line: number + 1 });
        }
    }
    found
}

fn asked_for(text: &str) -> Vec<Dependency<'_>> {
    dependencies(text, |section| section.ends_with("dependencies"))
}

fn is_crate_manifest(file: &SourceFile) -> bool {
    file.path.starts_with("crates/") && file.name() == "Cargo.toml"
}

/// Each workspace dependency is used by a crate.
fn check_workspace(files: &[SourceFile], findings: &mut Vec<Finding>) {
    let Some(root) = files.iter().find(|file| file.path == "Cargo.toml") else { return };
    let taken: BTreeSet<&str> = files
        .iter()
        .filter(|file| is_crate_manifest(file))
        .flat_map(|manifest| asked_for(&manifest.text))
        .map(|dependency| dependency.name)
        .collect();
    for offered in dependencies(&root.text, |section| section == "workspace.dependencies") {
        if !taken.contains(offered.name) {
            let message = format!("no crate uses `{}`; remove it", offered.name);
            findings.push(Finding::of(root, offered.line, message));
        }
    }
}

/// Each dependency of a crate is named in its code.
fn check_crates(files: &[SourceFile], findings: &mut Vec<Finding>) {
    for manifest in files.iter().filter(|file| is_crate_manifest(file)) {
        let folder = manifest.path.trim_end_matches("Cargo.toml");
        let words: BTreeSet<String> = files
            .iter()
            .filter(|file| file.extension() == "rs" && file.path.starts_with(folder))
            .flat_map(|file| words(&Views::of(&file.text).code))
            .collect();
        for dependency in asked_for(&manifest.text) {
            if !words.contains(&dependency.name.replace('-', "_")) {
                let message = format!("`{}` is in none of its files; remove it", dependency.name);
                findings.push(Finding::of(manifest, dependency.line, message));
            }
        }
    }
}

fn words(code: &str) -> BTreeSet<String> {
    code.split(|c: char| c != '_' && !c.is_alphanumeric()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    fn found(files: &[SourceFile]) -> Vec<String> {
        let mut findings = Vec::new();
        check(files, &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn packages_are_counted() {
        let lock = |count: usize| file("Cargo.lock", &"[[package]]\nname = \"a\"\n".repeat(count));
        assert_eq!(found(&[lock(MOST_PACKAGES - 1)]), Vec::<String>::new());
        assert_eq!(found(&[lock(MOST_PACKAGES)]).len(), 1);
    }

    #[test]
    fn what_is_offered_is_taken_and_what_is_taken_is_used() {
        let files = [
            file(
                "Cargo.toml",
                "[workspace.dependencies]\n# a remark = 1\nused-one = \"1\"\nspare = \"1\"\n\
                 [workspace.lints]\nx = 1\n",
            ),
            file(
                "crates/a/Cargo.toml",
                "[package]\nversion.workspace = true\n[dependencies]\n\
                 used-one = { workspace = true }\n[dev-dependencies]\nidle.workspace = true\n",
            ),
            file("crates/a/src/lib.rs", "use used_one::Thing;\n// idle\n"),
        ];
        assert_eq!(
            found(&files),
            [
                "Cargo.toml:4: no crate uses `spare`; remove it",
                "crates/a/Cargo.toml:6: `idle` is in none of its files; remove it",
            ]
        );
    }

    #[test]
    fn features_are_no_dependencies() {
        let text = "[features]\nfast = []\n[dependencies]\na = { version = \"1\", features = [\n\
                    \"b\",\n] }\n";
        let names: Vec<&str> = asked_for(text).into_iter().map(|found| found.name).collect();
        assert_eq!(names, ["a"]);
    }
}
