//! Items that no binary reaches. Behind `pub`, between crates, the compiler does not warn of dead
//! code.
//!
//! From the two `main` functions on, every name that a reached item mentions reaches all items of
//! that name. Names are not resolved: every finding is dead code, but not all dead code is found.
//! Tests, benches and suites reach nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::exceptions::{UNREACHED, Used};
use super::items::{Item, Items, Kind, Manner, Mention};
use crate::repository::SourceFile;

const MAINS: [&str; 2] = ["crates/weir/src/main.rs", "crates/dev/src/main.rs"];

/// A file of the product, with its declarations.
pub(super) struct Source<'a> {
    pub(super) file: &'a SourceFile,
    pub(super) items: Items,
}

/// Without tests, benches and suites.
pub(super) fn sources(files: &[SourceFile]) -> Vec<Source<'_>> {
    let is_source = |file: &&SourceFile| {
        file.path.starts_with("crates/") && file.path.contains("/src/") && file.extension() == "rs"
    };
    let all: Vec<Source> = files
        .iter()
        .filter(is_source)
        .map(|file| Source { file, items: Items::of(&file.text) })
        .collect();
    let tests: Vec<String> = all.iter().flat_map(Source::test_modules).collect();
    let is_test = |path: &str| {
        tests.iter().any(|module| {
            path.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with(['.', '/']))
        })
    };
    all.into_iter().filter(|source| !is_test(&source.file.path)).collect()
}

impl Source<'_> {
    /// Crates that a name may be imported from.
    fn imports_of(&self, name: &str, with_open: bool) -> impl Iterator<Item = &str> {
        let own = self.crate_name();
        let imports = self.items.imports.iter().filter(move |import| {
            (import.name == name || import.name == "*") && (with_open || !import.is_open)
        });
        imports.map(move |import| import.root.strip_prefix("weir_").unwrap_or(own))
    }

    pub(super) fn crate_name(&self) -> &str {
        self.file.path.split('/').nth(1).unwrap_or_default()
    }

    /// Module paths of tests, without extension.
    fn test_modules(&self) -> Vec<String> {
        let path = &self.file.path;
        let folder = match self.file.name() {
            "lib.rs" | "main.rs" | "mod.rs" => {
                path.rsplit_once('/').map_or("", |(folder, _)| folder)
            }
            _ => path.trim_end_matches(".rs"),
        };
        self.items.test_modules.iter().map(|name| format!("{folder}/{name}")).collect()
    }
}

struct Search<'a> {
    sources: &'a [Source<'a>],
    /// Implementations by their type; source and item.
    by_name: BTreeMap<&'a str, Vec<(usize, usize)>>,
    /// Types and traits of the workspace, as sources by name.
    types: BTreeMap<&'a str, Vec<usize>>,
    traits: BTreeSet<&'a str>,
    /// Names that a crate re-exports from another: the first, the other, the name.
    passed_on: BTreeSet<(&'a str, &'a str, &'a str)>,
    reached: BTreeSet<(usize, usize)>,
    /// Mentions so far by name, with their sources.
    mentioned: BTreeMap<&'a str, BTreeSet<(&'a Mention, usize)>>,
    open: Vec<(usize, usize)>,
}

impl<'a> Search<'a> {
    fn new(sources: &'a [Source<'a>]) -> Self {
        let mut by_name: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
        let mut types: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (source, item, found) in all(sources) {
            let names = [Some(&found.name), found.owner.as_ref(), found.of_trait.as_ref()];
            for name in names.into_iter().flatten() {
                by_name.entry(name).or_default().push((source, item));
            }
            if matches!(found.kind, Kind::Type | Kind::Trait) {
                types.entry(&found.name).or_default().push(source);
            }
        }
        let passed_on = sources.iter().flat_map(|source| {
            let foreign = source.items.imports.iter().filter_map(|import| {
                Some((import.root.strip_prefix("weir_")?, import.name.as_str()))
            });
            foreign.map(|(root, name)| (source.crate_name(), root, name))
        });
        let passed_on = passed_on.collect();
        let (reached, mentioned) = (BTreeSet::new(), BTreeMap::new());
        let traits = BTreeSet::new();
        let mut search = Self {
            sources,
            by_name,
            types,
            traits,
            passed_on,
            reached,
            mentioned,
            open: Vec::new(),
        };
        search.traits = search.imported_traits();
        search
    }

    /// Imported traits: a file may import one for its methods alone, without another mention.
    fn imported_traits(&self) -> BTreeSet<&'a str> {
        let traits = all(self.sources).filter(|(_, _, found)| found.kind == Kind::Trait);
        let is_imported = |(of, _, found): &(usize, usize, &Item)| {
            let declared = self.sources[*of].crate_name();
            (0..self.sources.len()).any(|from| self.imports(from, &found.name, declared, false))
        };
        traits.filter(is_imported).map(|(_, _, found)| found.name.as_str()).collect()
    }

    fn item(&self, (source, item): (usize, usize)) -> &'a Item {
        &self.sources[source].items.declared[item]
    }

    fn run(&mut self) {
        for (source, item, found) in all(self.sources) {
            let is_main = found.name == "main" && MAINS.contains(&&*self.sources[source].file.path);
            let is_trait = found.kind == Kind::Trait && self.traits.contains(found.name.as_str());
            if is_main || is_trait || found.kind == Kind::Other {
                self.reached.insert((source, item));
                self.open.push((source, item));
            }
        }
        while let Some(at) = self.open.pop() {
            for mention in &self.item(at).mentions {
                if self.mentioned.entry(&mention.name).or_default().insert((mention, at.0)) {
                    self.reach(&mention.name);
                }
            }
        }
    }

    /// Adds what a mention of `name` reaches.
    fn reach(&mut self, name: &str) {
        for at in self.by_name.get(name).cloned().unwrap_or_default() {
            if !self.reached.contains(&at) && self.is_reached(at) {
                self.reached.insert(at);
                self.open.push(at);
            }
        }
    }

    fn is_reached(&self, at: (usize, usize)) -> bool {
        let item = self.item(at);
        let is_type = |name: &str| match self.types.get(name) {
            Some(_) if self.traits.contains(name) => true,
            Some(declared) => declared.iter().any(|of| self.is_named(*of, name)),
            None => true,
        };
        let has_owner = item.owner.as_deref().is_none_or(is_type);
        let has_trait = item.of_trait.as_deref().is_none_or(is_type);
        has_owner
            && has_trait
            && match (item.kind, &item.owner) {
                (Kind::Implementation, _) => true,
                (_, Some(_)) => {
                    self.is_named_as(&item.name, |mention, _| mention.manner != Manner::Plain)
                }
                (_, None) => self.is_named(at.0, &item.name),
            }
    }

    /// Whether a file mentions `name` in a way that can mean an item of the source `of`.
    fn is_named(&self, of: usize, name: &str) -> bool {
        let declared = self.sources[of].crate_name();
        self.is_named_as(name, |mention, from| match (mention.manner, mention.root.as_deref()) {
            (Manner::Path, Some(root)) => self.leads_to(from, root, name, declared),
            (Manner::Path, None) => true,
            (Manner::Plain, _) => from == of || self.imports(from, name, declared, true),
            (Manner::Method, _) => false,
        })
    }

    /// Whether a path that begins with `root` in the source `from` can lead to the crate
    /// `declared`.
    fn leads_to(&self, from: usize, root: &str, name: &str, declared: &str) -> bool {
        if let Some(named) = root.strip_prefix("weir_") {
            return self.has_from(named, name, declared);
        }
        self.sources[from].crate_name() == declared || self.imports(from, root, declared, true)
    }

    /// Whether the source `from` imports `name` from the crate `declared`, or a re-export of it.
    fn imports(&self, from: usize, name: &str, declared: &str, with_open: bool) -> bool {
        let mut roots = self.sources[from].imports_of(name, with_open);
        roots.any(|root| self.has_from(root, name, declared))
    }

    fn has_from(&self, named: &str, name: &str, declared: &str) -> bool {
        named == declared
            || [name, "*"].iter().any(|name| self.passed_on.contains(&(named, declared, name)))
    }

    fn is_named_as(&self, name: &str, is_meant: impl Fn(&Mention, usize) -> bool) -> bool {
        let mentions = self.mentioned.get(name);
        mentions.is_some_and(|all| all.iter().any(|(mention, from)| is_meant(mention, *from)))
    }
}

fn all<'a>(sources: &'a [Source<'a>]) -> impl Iterator<Item = (usize, usize, &'a Item)> {
    sources.iter().enumerate().flat_map(|(source, of)| {
        of.items.declared.iter().enumerate().map(move |(item, found)| (source, item, found))
    })
}

pub(super) fn check(sources: &[Source], used: &mut Used, findings: &mut Vec<Finding>) {
    let mut search = Search::new(sources);
    search.run();
    for (source, item, found) in all(sources) {
        let is_checked =
            matches!(found.kind, Kind::Function | Kind::Type | Kind::Trait | Kind::Constant);
        let name = format!("{}::{}", sources[source].crate_name(), found.name);
        if is_checked
            && !search.reached.contains(&(source, item))
            && !used.excepts(UNREACHED, &name)
        {
            let message = format!("no binary reaches `{}`; delete it", found.name);
            findings.push(Finding::of(sources[source].file, found.line, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    const MAIN: &str = "use weir_a::{Kept, Told, kept as taken};\n\
                        fn main() { taken(); Kept::new().act(); println!(\"{LIMIT}\"); }\n\
                        const LIMIT: u32 = 1;\n";

    fn unreached(library: &str) -> Vec<String> {
        let files = [
            file("crates/a/src/lib.rs", library),
            file("crates/weir/src/main.rs", MAIN),
            file("crates/a/tests/it/main.rs", "fn main() { weir_a::tested(); }\n"),
        ];
        let (mut used, mut findings) = (Used::default(), Vec::new());
        check(&sources(&files), &mut used, &mut findings);
        findings.into_iter().map(|found| format!("{}: {}", found.line, found.message)).collect()
    }

    fn names(library: &str) -> Vec<String> {
        let name = |found: &String| found.split('`').nth(1).unwrap_or_default().to_owned();
        unreached(library).iter().map(name).collect()
    }

    #[test]
    fn what_no_main_leads_to_is_found_with_what_it_alone_uses() {
        let library = "pub fn kept() { inner() }\nfn inner() {}\n\
                       pub fn tested() { below() }\nfn below() {}\n";
        assert_eq!(
            unreached(library),
            ["3: no binary reaches `tested`; delete it", "4: no binary reaches `below`; delete it"]
        );
    }

    #[test]
    fn methods_are_reached_by_call_and_through_their_type() {
        let library = "pub struct Kept { pub idle: u32 }\nimpl Kept {\n\
                       pub fn new() -> Self { Self { idle: 0 } }\n\
                       pub fn act(&self) {}\npub fn idle(&self) {}\n}\n\
                       pub struct Gone;\nimpl Gone { pub fn act(&self) {} }\n";
        // `idle` is mentioned only as a field.
        assert_eq!(names(library), ["idle", "Gone", "act"]);
    }

    #[test]
    fn an_import_or_a_variable_of_the_name_reaches_nothing() {
        let library = "pub use inside::Told;\nmod inside;\npub fn act() {}\n\
                       pub fn kept() { let other = 1; drop(other); }\n";
        let files = [
            file("crates/a/src/lib.rs", library),
            file("crates/a/src/inside.rs", "pub struct Told;\npub fn other() {}\n"),
            file("crates/weir/src/main.rs", MAIN),
        ];
        let (mut used, mut findings) = (Used::default(), Vec::new());
        check(&sources(&files), &mut used, &mut findings);
        let found: Vec<&str> = findings.iter().map(|found| found.message.as_str()).collect();
        assert_eq!(
            found,
            [
                "no binary reaches `act`; delete it",
                "no binary reaches `Told`; delete it",
                "no binary reaches `other`; delete it",
            ]
        );
    }

    #[test]
    fn attributes_macros_and_traits_reach_what_they_name() {
        let library = "#[derive(Serialize)]\npub struct Kept {\n\
                       #[serde(default = \"first\", with = \"text\")] pub a: u32,\n}\n\
                       impl Kept { pub fn new() -> Self { make!(Self) } pub fn act(&self) {} }\n\
                       fn first() -> u32 { 1 }\nmod text { pub fn serialize() {} }\n\
                       macro_rules! make { ($it:ident) => { $it { a: second() } } }\n\
                       fn second() -> u32 { 2 }\nuse std::fmt;\nuse outer::Show;\n\
                       impl fmt::Display for Kept { fn fmt(&self) { self.third() } }\n\
                       impl Kept { fn third(&self) {} }\npub fn kept() {}\n\
                       pub mod outer { pub trait Show { fn unasked(&self); } }\n\
                       table! { fourth, Kept }\nfn fourth() {}\n";
        assert_eq!(names(library), ["unasked"]);
    }

    #[test]
    fn what_tests_and_suites_alone_have_is_not_looked_at() {
        let library = "pub fn kept() {}\n#[cfg(test)]\nmod tests { pub fn a() {} }\n\
                       #[cfg(feature = \"suite\")]\npub mod suite;\n\
                       #[cfg(test)]\nmod fixtures;\n";
        let files = [
            file("crates/a/src/lib.rs", library),
            file("crates/a/src/suite.rs", "pub fn b() {}\n"),
            file("crates/a/src/fixtures/mod.rs", "pub fn c() {}\n"),
            file("crates/weir/src/main.rs", MAIN),
        ];
        let (mut used, mut findings) = (Used::default(), Vec::new());
        check(&sources(&files), &mut used, &mut findings);
        assert_eq!(findings, []);
    }
}
