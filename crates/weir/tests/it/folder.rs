//! Run folders as bytes, and the small experiments that fill them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Two cells that take milliseconds.
pub(crate) const SMALL: &str = "\
name: small
models: [Qwen/Qwen3-8B]
hardware: 2x-l40s
arms: [no-offload, native-offload]
workload:
  shared-prefix: {prefixes: 4, prefix_tokens: 1000, prompt_tokens: 100, output_tokens: 20}
load: {users: [2], duration: 10s}
";

/// With the small experiment as `small.yaml`.
pub(crate) fn with_small() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.yaml"), SMALL).unwrap();
    folder
}

pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// Relative path and bytes.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|e| panic!("{}: {e}", next.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[track_caller]
pub(crate) fn assert_same(left: &BTreeMap<String, Vec<u8>>, right: &BTreeMap<String, Vec<u8>>) {
    let differ: Vec<&String> = left
        .keys()
        .chain(right.keys())
        .filter(|name| left.get(*name) != right.get(*name))
        .collect();
    assert!(differ.is_empty(), "these differ: {differ:?}");
    assert!(!left.is_empty(), "nothing was compared");
}

/// By the path of their folder.
pub(crate) fn complete_cells(run: &Path) -> Vec<String> {
    let cells = run.join("cells");
    if !cells.exists() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut open = vec![cells.clone()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.ends_with("cell.json") {
                let cell = path.parent().unwrap().strip_prefix(&cells).unwrap();
                found.push(cell.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn planned_cells(run: &Path) -> usize {
    json(&run.join("plan.json"))["cells"].as_array().expect("a list of cells").len()
}

pub(crate) fn json(path: &Path) -> serde_json::Value {
    let text = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub(crate) type Row = BTreeMap<String, String>;

/// The rows of all `<model>_<arm>_metrics.csv` of a run.
pub(crate) fn metrics(run: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, bytes) in files(&run.join("analysis")) {
        if name.ends_with("_metrics.csv") && name != "all_peak_metrics.csv" {
            let mut reader = csv::Reader::from_reader(bytes.as_slice());
            rows.extend(
                reader.deserialize().map(|row| row.unwrap_or_else(|e| panic!("{name}: {e}"))),
            );
        }
    }
    rows
}
