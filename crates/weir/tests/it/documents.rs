//! The program accepts the documentation's commands, and prints its recorded sessions of the
//! simulator.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binary::{WEIR, weir};

/// The README, the pages of `docs` and the README of the examples.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let docs = fs::read_dir(root.join("docs")).unwrap();
    let mut pages: Vec<PathBuf> = docs.map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.extend([root.join("README.md"), root.join("examples/README.md")]);
    pages
}

/// Lines that begin with `$ weir`, with lines continued by a backslash.
fn commands(text: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut is_continued = false;
    for line in text.lines().map(str::trim) {
        let part = line.trim_end_matches('\\');
        match line.strip_prefix("$ weir ") {
            Some(_) => commands.push(part["$ ".len()..].to_owned()),
            None if is_continued => commands.last_mut().unwrap().push_str(part),
            None => continue,
        }
        is_continued = line.ends_with('\\');
    }
    commands
}

#[test]
fn every_command_in_the_documentation_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let mut found = 0;
    for page in pages() {
        for command in commands(&fs::read_to_string(&page).unwrap()) {
            // Flags and values are read before `--help` answers; nothing runs.
            let checked = format!(
                "weir() {{ \"$WEIR\" \"$@\" --help >/dev/null; }}; {}",
                command.trim_end_matches('&')
            );
            let output = Command::new("bash")
                .args(["-c", &checked])
                .env("WEIR", WEIR)
                .current_dir(folder.path())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {command}\n{said}", page.display());
            found += 1;
        }
    }
    assert!(found >= 20, "{found} commands");
}

fn blocks(page: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join(page)).unwrap();
    text.split("```").skip(1).step_by(2).map(str::to_owned).collect()
}

fn recorded(block: &str) -> Vec<&str> {
    let is_output = |line: &&str| !line.starts_with("$ ") && !line.starts_with("Report: ");
    block.trim().lines().map(str::trim_end).filter(is_output).collect()
}

#[test]
fn the_built_in_experiment_prints_the_recorded_session() {
    let folder = tempfile::tempdir().unwrap();
    let printed = weir(folder.path(), &["run", "--quiet", "--out", "run"]).done().out;
    let sessions = blocks("examples/README.md");
    let session = sessions.iter().find(|block| block.trim().starts_with("first-look")).unwrap();
    assert_eq!(recorded(session), recorded(&printed), "record examples/README.md again");
    // The README shows a part of it.
    let readme = blocks("README.md");
    let part = readme.iter().find(|block| block.contains("  native-offload  c4")).unwrap();
    for line in part.lines().filter(|line| line.starts_with("  ") && !line.contains("[...]")) {
        assert!(printed.contains(line), "record README.md again: {line}");
    }
}

#[test]
fn the_sizes_are_those_of_the_recorded_session() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["size", "--model", "Qwen/Qwen3-8B", "--hardware", "2x-l40s", "--tp", "2"];
    let printed = weir(folder.path(), &args).done().out;
    let sessions = blocks("examples/README.md");
    let session = sessions.iter().find(|block| block.trim().starts_with("$ weir size")).unwrap();
    assert_eq!(recorded(session), recorded(&printed), "record examples/README.md again");
}
