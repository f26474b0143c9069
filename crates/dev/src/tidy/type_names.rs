//! Names of types: one meaning in the workspace. With two types of one name, every import is
//! ambiguous to a reader. Private types do not count.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::exceptions::{TWICE_DEFINED, Used};
use super::items::Kind;
use super::reached::Source;

/// No name of an open type (`pub`, `pub(crate)`) stands in two crates.
pub(super) fn check(sources: &[Source], used: &mut Used, findings: &mut Vec<Finding>) {
    let mut defined: BTreeMap<&str, Vec<(&Source, usize)>> = BTreeMap::new();
    for source in sources {
        let types = source.items.declared.iter().filter(|item| {
            matches!(item.kind, Kind::Type | Kind::Trait) && item.is_open && item.owner.is_none()
        });
        for item in types {
            defined.entry(&item.name).or_default().push((source, item.line));
        }
    }
    for (name, places) in defined {
        let crates: BTreeSet<&str> = places.iter().map(|(source, _)| source.crate_name()).collect();
        if crates.len() < 2 || used.excepts(TWICE_DEFINED, name) {
            continue;
        }
        let crates: Vec<&str> = crates.into_iter().collect();
        let message =
            format!("`{name}` is a type in {}; say which it is in the name", crates.join(", "));
        for (source, line) in places {
            findings.push(Finding::of(source.file, line, message.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::super::reached::sources;
    use super::*;

    #[test]
    fn a_name_in_two_crates_is_found_where_others_can_see_it() {
        let one = "pub struct Line;\npub(crate) enum Step {}\nstruct State;\n\
                   impl A { pub fn line() {} }\n";
        let other = "pub(crate) type Line = u32;\npub trait Step {}\npub struct State;\n\
                     pub(super) struct Near;\n";
        let files = [
            file("crates/a/src/lib.rs", one),
            file("crates/b/src/lib.rs", other),
            file("crates/a/src/near.rs", "pub struct Near;\n"),
            file("crates/b/tests/it/main.rs", "pub struct Near;\n"),
        ];
        let mut findings = Vec::new();
        check(&sources(&files), &mut Used::default(), &mut findings);
        let found: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "crates/a/src/lib.rs:1: `Line` is a type in a, b; say which it is in the name",
                "crates/b/src/lib.rs:1: `Line` is a type in a, b; say which it is in the name",
                "crates/a/src/lib.rs:2: `Step` is a type in a, b; say which it is in the name",
                "crates/b/src/lib.rs:2: `Step` is a type in a, b; say which it is in the name",
            ]
        );
    }
}
