//! Names of files and modules must be nouns of the domain. The banned ones collect leftovers.

use super::Finding;
use super::views::Views;
use crate::repository::SourceFile;

const BANNED: [&str; 17] = [
    "base",
    "common",
    "commons",
    "core",
    "handler",
    "handlers",
    "helper",
    "helpers",
    "manager",
    "managers",
    "misc",
    "protocols",
    "shared",
    "types",
    "util",
    "utilities",
    "utils",
];

pub(super) fn check(file: &SourceFile, findings: &mut Vec<Finding>) {
    for part in file.path.split('/') {
        let stem = part.split('.').next().unwrap_or(part);
        if BANNED.contains(&stem) {
            let message = format!("`{stem}` is not a noun of the domain; name what it holds");
            findings.push(Finding::of(file, 0, message));
        }
    }
    if file.extension() != "rs" {
        return;
    }
    for (number, line) in Views::of(&file.text).code.lines().enumerate() {
        let mut words = line.split(|c: char| c != '_' && !c.is_alphanumeric());
        let Some(name) = words.find(|word| *word == "mod").and_then(|_| words.next()) else {
            continue;
        };
        if BANNED.contains(&name) {
            let message =
                format!("module `{name}` is not a noun of the domain; name what it holds");
            findings.push(Finding::of(file, number + 1, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::*;

    #[test]
    fn banned_names_are_found_in_paths_and_modules() {
        let found = |path: &str, text: &str| said(check, path, text).len();
        assert_eq!(found("crates/a/src/utils.rs", ""), 1);
        assert_eq!(found("crates/core/README.md", ""), 1);
        assert_eq!(found("crates/a/src/types/mod.rs", ""), 1);
        assert_eq!(found("crates/a/src/score.rs", ""), 0);
        assert_eq!(found("crates/a/src/encore.rs", ""), 0);
        assert_eq!(found("a.rs", "pub(crate) mod helpers {\n}\n"), 1);
        assert_eq!(found("a.rs", "// mod helpers\nmod helpful;\n"), 0);
    }
}
