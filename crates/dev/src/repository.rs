//! The repository's files without those in the root `.gitignore`. Found by a walk and not by git:
//! this works for unpacked archives, and for files before they are added.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Larger files are data, whatever their name.
const MOST_BYTES: u64 = 4 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    pub(crate) fn extension(&self) -> &str {
        self.name().rsplit_once('.').map_or("", |(_, extension)| extension)
    }
}

/// Of the workspace that this program was built from.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Without ignored files, sorted by path.
pub(crate) fn read(root: &Path) -> anyhow::Result<Vec<SourceFile>> {
    let ignore = Ignore::parse(&fs::read_to_string(root.join(".gitignore")).unwrap_or_default());
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let at = root.join(&folder);
        let entries = match fs::read_dir(&at) {
            // The folder of a test that has just ended.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("cannot list {}", at.display()))?,
        };
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", at.display()))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let kind = entry.file_type().with_context(|| format!("cannot look at {path}"))?;
            if path == ".git" || ignore.covers(&path) {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && let Some(text) = text_of(&entry.path())?
            {
                files.push(SourceFile { path, text });
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// Empty for pictures and other data, `None` for a file that has just been removed.
fn text_of(path: &Path) -> anyhow::Result<Option<String>> {
    let bytes = match fs::metadata(path) {
        Ok(metadata) if metadata.len() > MOST_BYTES => return Ok(Some(String::new())),
        Ok(_) => match fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("cannot read {}", path.display()))?,
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(format!("cannot read {}", path.display())),
    };
    Ok(Some(String::from_utf8(bytes).unwrap_or_default()))
}

/// The part of gitignore's notation in use: a path from the root (`/target`), or a name anywhere
/// (`*.log`), each with `*` for part of a name.
#[derive(Debug)]
struct Ignore {
    patterns: Vec<String>,
}

impl Ignore {
    fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let patterns = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { patterns: patterns.map(|line| line.trim_end_matches('/').to_owned()).collect() }
    }

    fn covers(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.patterns.iter().any(|pattern| match pattern.strip_prefix('/') {
            Some(anchored) => matches(anchored, path),
            None => matches(pattern, name),
        })
    }
}

/// `*` stands for any characters but `/`.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((front, rest)) => text.strip_prefix(front).is_some_and(|behind| {
            let end = behind.find('/').unwrap_or(behind.len());
            (0..=end).any(|skip| behind.is_char_boundary(skip) && matches(rest, &behind[skip..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_paths_are_those_git_would_ignore() {
        let ignore = Ignore::parse("/target\n# a remark\n\n/runs/\n/weir-run-*\n*.profraw\n");
        for (path, covered) in [
            ("target", true),
            ("crates/target", false),
            ("runs", true),
            ("weir-run-1", true),
            ("docs/weir-run-1", false),
            ("crates/dev/a.profraw", true),
            ("a.profraw.txt", false),
            ("# a remark", false),
        ] {
            assert_eq!(ignore.covers(path), covered, "{path}");
        }
    }

    #[test]
    fn a_star_stays_within_one_name() {
        assert!(matches("a*c", "abc"));
        assert!(matches("a*", "a"));
        assert!(!matches("a*c", "a/c"));
        assert!(!matches("a*c", "abd"));
    }

    #[test]
    fn this_file_is_found_and_build_outputs_are_not() {
        let files = read(&root()).expect("the repository can be read");
        assert!(files.iter().any(|file| file.path == "crates/dev/src/repository.rs"));
        let picture = files.iter().find(|file| file.path == "docs/report.png");
        assert_eq!(picture.expect("a link may lead to a picture").text, "");
        assert!(files.iter().all(|file| !file.path.starts_with("target/")));
        assert!(files.is_sorted_by(|one, other| one.path < other.path));
    }
}
