//! Markdown: one title per file, valid links, and in each crate a README that states what it owns,
//! with a true file map.

use std::collections::BTreeSet;

use super::Finding;
use crate::repository::SourceFile;

/// Of each crate's README.
const HEADINGS: [&str; 4] = ["## Owns", "## Does not own", "## File map", "## Loop"];

/// Lines outside fenced blocks, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((number + 1, line))
    })
}

pub(super) fn check_title(file: &SourceFile, findings: &mut Vec<Finding>) {
    if file.extension() != "md" {
        return;
    }
    let titles: Vec<usize> = prose(&file.text)
        .filter(|(_, line)| line.starts_with("# "))
        .map(|(number, _)| number)
        .collect();
    if titles.is_empty() {
        findings.push(Finding::of(file, 0, "no title; begin with one `# Title`"));
    }
    for line in titles.iter().skip(1) {
        findings.push(Finding::of(file, *line, "a second title; make it a `## Heading`"));
    }
}

/// Links and paths in code type must exist.
pub(super) fn check_links(files: &[SourceFile], findings: &mut Vec<Finding>) {
    for file in files.iter().filter(|file| file.extension() == "md") {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (number, line) in prose(&file.text) {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            for target in targets {
                let path = target.split('#').next().unwrap_or(target);
                let leads_outside = path.is_empty() || path.contains(':');
                if !leads_outside && !exists(files, &resolved(folder, path)) {
                    let message = format!("the link to `{target}` leads nowhere; correct it");
                    findings.push(Finding::of(file, number, message));
                }
            }
            let named =
                line.split('`').skip(1).step_by(2).filter(|word| word.starts_with("crates/"));
            for path in named.filter(|word| !word.contains(|c: char| " *<{".contains(c))) {
                if !exists(files, path.trim_end_matches('/')) {
                    let message = format!("`{path}` is not there; correct it");
                    findings.push(Finding::of(file, number, message));
                }
            }
        }
    }
}

/// A path relative to a folder as a path from the root.
fn resolved(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// A file, or a folder with files.
fn exists(files: &[SourceFile], path: &str) -> bool {
    files.iter().any(|file| {
        file.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Each crate has a README with the headings and a true file map.
pub(super) fn check_crates(files: &[SourceFile], findings: &mut Vec<Finding>) {
    for manifest in files {
        let Some(folder) = manifest.path.strip_suffix("Cargo.toml") else { continue };
        if !folder.starts_with("crates/") {
            continue;
        }
        let path = format!("{folder}README.md");
        let Some(readme) = files.iter().find(|file| file.path == path) else {
            let message = format!("its crate has no README.md; write one with {HEADINGS:?}");
            findings.push(Finding::of(manifest, 0, message));
            continue;
        };
        for heading in HEADINGS {
            if !prose(&readme.text).any(|(_, line)| line.trim_end() == heading) {
                findings.push(Finding::of(readme, 0, format!("no `{heading}`; add it")));
            }
        }
        check_map(readme, folder, files, findings);
    }
}

/// Each name in a file map exists, and each module at the crate's root is named.
fn check_map(readme: &SourceFile, folder: &str, files: &[SourceFile], findings: &mut Vec<Finding>) {
    let own: Vec<&str> = files.iter().filter_map(|file| file.path.strip_prefix(folder)).collect();
    let map: Vec<(usize, &str)> = section(&readme.text, "## File map");
    let mut named = BTreeSet::new();
    for (number, line) in &map {
        for word in first_cell(line).split([' ', ',', '`']).filter(|word| !word.is_empty()) {
            let from_root = word.strip_prefix("src/").unwrap_or(word);
            named.insert(from_root.trim_end_matches('/').trim_end_matches(".rs"));
            if let Some(first) = from_root.strip_suffix("/mod.rs") {
                named.insert(first);
            }
            let claims_file =
                word.ends_with('/') || word.rsplit_once('.').is_some_and(|(_, end)| end == "rs");
            if claims_file && !is_there(&own, word) {
                let message = format!("`{word}` is not there; correct the file map");
                findings.push(Finding::of(readme, *number, message));
            }
        }
    }
    if map.is_empty() {
        return;
    }
    let modules: BTreeSet<&str> = own
        .iter()
        .filter_map(|path| path.strip_prefix("src/"))
        .filter_map(|path| path.split('/').next())
        .map(|part| part.trim_end_matches(".rs"))
        .filter(|module| !matches!(*module, "lib" | "main" | "tests"))
        .collect();
    for module in modules.difference(&named) {
        findings.push(Finding::of(readme, 0, format!("the file map lacks `{module}`; add it")));
    }
}

/// The first cell of a table's row, or the text before two spaces in a fenced block.
fn first_cell(line: &str) -> &str {
    let cell = match line.strip_prefix('|') {
        Some(row) => row.split('|').next(),
        None => line.split("  ").next(),
    };
    cell.unwrap_or(line)
}

/// A file or folder (`name/`) at the crate's root or in `src/`.
fn is_there(own: &[&str], name: &str) -> bool {
    let matches = |path: &str, wanted: &str| {
        if wanted.ends_with('/') { path.starts_with(wanted) } else { path == wanted }
    };
    let in_sources = format!("src/{name}");
    own.iter().any(|path| matches(path, name) || matches(path, &in_sources))
}

/// With fenced lines, up to the next heading of the same depth.
fn section<'a>(text: &'a str, heading: &str) -> Vec<(usize, &'a str)> {
    text.lines()
        .enumerate()
        .skip_while(|(_, line)| line.trim_end() != heading)
        .skip(1)
        .take_while(|(_, line)| !line.starts_with("## "))
        .map(|(number, line)| (number + 1, line))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{file, said};
    use super::*;

    const README: &str = "# a\n\n## Owns\n\n## Does not own\n\n## File map\n\n| `one.rs` | one |\n\
                          | `two/` | two |\n\n## Loop\n";

    fn crate_with(readme: &str) -> Vec<String> {
        let files = [
            file("crates/a/Cargo.toml", ""),
            file("crates/a/README.md", readme),
            file("crates/a/src/lib.rs", ""),
            file("crates/a/src/one.rs", ""),
            file("crates/a/src/two/mod.rs", ""),
        ];
        let mut findings = Vec::new();
        check_crates(&files, &mut findings);
        findings.into_iter().map(|found| found.message).collect()
    }

    #[test]
    fn a_markdown_file_has_one_title() {
        let found = |text: &str| said(check_title, "a.md", text).len();
        assert_eq!(found("# A\n\n## B\n"), 0);
        assert_eq!(found("# A\n\n# B\n"), 1);
        assert_eq!(found("## B\n"), 1);
        assert_eq!(found("# A\n\n```sh\n# a remark\n```\n"), 0);
    }

    #[test]
    fn links_lead_to_files_and_folders() {
        let page = |text: &str| {
            let files =
                ["docs/b/c.md", "LICENSE", "crates/a/src/lib.rs"].map(|path| file(path, ""));
            let files = [&files[..], &[file("docs/a.md", text)]].concat();
            let mut findings = Vec::new();
            check_links(&files, &mut findings);
            findings.len()
        };
        assert_eq!(page("[c](b/c.md#top), [b](b), [l](../LICENSE), [x](https://x.y), [t](#t)"), 0);
        assert_eq!(page("[c](c.md) and [d](b/d.md)"), 2);
        assert_eq!(page("```\n[c](c.md)\n```\n"), 0);
        assert_eq!(
            page("`crates/a/src/` has `crates/a/src/lib.rs`, `x` crates/b, `crates/*/b`"),
            0
        );
        assert_eq!(page("`crates/a/src/b.rs` and `crates/c/`"), 2);
    }

    #[test]
    fn a_crate_needs_a_readme() {
        let mut findings = Vec::new();
        check_crates(&[file("crates/a/Cargo.toml", "")], &mut findings);
        assert_eq!(findings.len(), 1);
        check_crates(&[file("bench/Cargo.toml", "")], &mut findings);
        assert_eq!(findings.len(), 1, "only crates need one");
    }

    #[test]
    fn headings_are_asked_for_one_by_one() {
        assert_eq!(crate_with(README), Vec::<String>::new());
        let found = crate_with(&README.replace("## Loop", "## Loops"));
        assert_eq!(found, ["no `## Loop`; add it"]);
    }

    #[test]
    fn a_file_map_may_be_a_fenced_block() {
        let rows = "| `one.rs` | one |\n| `two/` | two |";
        let found =
            crate_with(&README.replace(rows, "```\none.rs   before two/\ntwo/     gone.rs\n```"));
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_file_map_is_neither_wrong_nor_short() {
        let found = crate_with(&README.replace("`one.rs`", "`gone.rs`"));
        let expected =
            ["`gone.rs` is not there; correct the file map", "the file map lacks `one`; add it"];
        assert_eq!(found, expected);
        assert_eq!(crate_with(&README.replace("`two/`", "`src/two/mod.rs`")), Vec::<String>::new());
    }
}
