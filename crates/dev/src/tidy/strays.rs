//! Kinds whose differences stand in a table of traits. Code that names a kind outside of the
//! places listed here would miss the next kind.

use super::Finding;
use super::lengths::{is_test, without_tests};
use super::views::Views;
use crate::repository::SourceFile;

/// An enum, and the places that may name its variants.
struct TraitTable {
    name: &'static str,
    table: &'static str,
    homes: &'static [AllowedPath],
}

/// A file, or a folder with a final slash, with the reason.
struct AllowedPath {
    path: &'static str,
    reason: &'static str,
}

const KINDS: [TraitTable; 2] = [
    TraitTable {
        name: "Mechanism",
        table: "crates/model/src/mechanism.rs",
        homes: &[
            AllowedPath { path: "crates/spec/src/resolve/offload.rs", reason: "chooses an arm's" },
            AllowedPath {
                path: "crates/deploy/src/local/mechanism/",
                reason: "starts each, file by file",
            },
            AllowedPath {
                path: "crates/observe/src/signals/lmcache.rs",
                reason: "reads metrics of one",
            },
        ],
    },
    TraitTable {
        name: "Product",
        table: "crates/model/src/product.rs",
        homes: &[
            AllowedPath {
                path: "crates/spec/src/catalogue/presets.rs",
                reason: "has an arm for each",
            },
            AllowedPath {
                path: "crates/spec/src/plan.rs",
                reason: "has a price by the name of one",
            },
            AllowedPath {
                path: "crates/store/src/server/recipe.rs",
                reason: "is each one's settings",
            },
            AllowedPath {
                path: "crates/store/src/resp/info.rs",
                reason: "takes one for the unknown",
            },
        ],
    },
];

/// Finds variants named elsewhere, and places that name none.
pub(super) fn check(files: &[SourceFile], findings: &mut Vec<Finding>) {
    for kind in &KINDS {
        check_kind(kind, files, findings);
    }
}

fn check_kind(kind: &TraitTable, files: &[SourceFile], findings: &mut Vec<Finding>) {
    let mut unused: Vec<&AllowedPath> = kind.homes.iter().collect();
    for file in files.iter().filter(|file| is_product(file)) {
        let code = Views::of(without_tests(&file.text)).code;
        let lines: Vec<usize> = (1..)
            .zip(code.lines())
            .filter(|(_, line)| names(line, kind.name))
            .map(|(number, _)| number)
            .collect();
        if lines.is_empty() || file.path == kind.table {
            continue;
        }
        if kind.homes.iter().any(|home| file.path.starts_with(home.path)) {
            unused.retain(|home| !file.path.starts_with(home.path));
            continue;
        }
        for line in lines {
            let message = format!(
                "a `{}` is named; ask its traits, and add one to {} where none answers",
                kind.name, kind.table
            );
            findings.push(Finding::of(file, line, message));
        }
    }
    for home in unused {
        let AllowedPath { path, reason } = home;
        let message = format!("{path} ({reason}) names no `{}`; remove it here", kind.name);
        let path = "crates/dev/src/tidy/strays.rs".to_owned();
        findings.push(Finding { path, line: 0, message });
    }
}

/// Neither test nor benchmark.
fn is_product(file: &SourceFile) -> bool {
    let path = &file.path;
    let in_crate = path.starts_with("crates/") && path.contains("/src/");
    in_crate && file.extension() == "rs" && !is_test(path)
}

/// `Name::Variant`, but no constant.
fn names(line: &str, name: &str) -> bool {
    let path = format!("{name}::");
    line.match_indices(&path).any(|(at, _)| {
        let is_whole = !line[..at].ends_with(|c: char| c == '_' || c.is_alphanumeric());
        let mut behind = line[at + path.len()..].chars();
        is_whole
            && behind.next().is_some_and(char::is_uppercase)
            && behind.next().is_some_and(char::is_lowercase)
    })
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_kind_is_named_in_its_places_alone() {
        let kind = TraitTable {
            name: "Mechanism",
            table: "crates/model/src/mechanism.rs",
            homes: &[
                AllowedPath { path: "crates/deploy/", reason: "starts them" },
                AllowedPath { path: "crates/old/", reason: "did something" },
            ],
        };
        let matched = "match it {\n    Mechanism::Native => 1,\n}\n";
        let in_tests = format!("\n#[cfg(test)]\nmod tests {{\n{matched}");
        let files = [
            file("crates/model/src/mechanism.rs", matched),
            file("crates/deploy/src/native.rs", matched),
            file("crates/engine/src/lib.rs", matched),
            file("crates/engine/tests/it/main.rs", matched),
            file("crates/engine/benches/speed.rs", matched),
            file("crates/engine/src/queue.rs", &in_tests),
            file(
                "crates/engine/src/all.rs",
                "Mechanism::ALL; OfMechanism::Native; // Mechanism::Native\n",
            ),
        ];
        let mut findings = Vec::new();
        check_kind(&kind, &files, &mut findings);
        let places: Vec<(&str, usize)> =
            findings.iter().map(|found| (found.path.as_str(), found.line)).collect();
        assert_eq!(places, [("crates/engine/src/lib.rs", 2), ("crates/dev/src/tidy/strays.rs", 0)]);
    }

    #[test]
    fn every_place_has_a_reason() {
        let homes = KINDS.iter().flat_map(|kind| kind.homes);
        assert!(homes.clone().all(|home| !home.reason.is_empty()));
    }
}
