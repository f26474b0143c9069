//! The benchmark as a program, on the smallest sizes.

use std::process::Command;

#[test]
fn every_tier_is_measured() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let json = folder.path().join("rounds.json");
    let output = Command::new(env!("CARGO_BIN_EXE_weir-bench-tiers"))
        .args(["--smoke", "--dir"])
        .arg(folder.path())
        .arg("--json")
        .arg(&json)
        .output()
        .expect("the benchmark starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rounds: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&json).expect("a file")).expect("JSON");
    let cases = rounds["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 2 + 4 + 2, "memory, two stores, a disk; two sizes of blocks each");
}
