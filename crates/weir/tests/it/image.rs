//! `scripts/image`: the layout that `make image` and the clusters of tests use.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::folder::files;

fn image(folder: &Path, name: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/image");
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "install python3");
        println!("SKIPPED an_image: install python3");
        return None;
    }
    let out = folder.join(name);
    let words = ["--name", "weir:1.2", "--entrypoint", "weir", "sh=weir", "--out"];
    let output = Command::new(script).args(words).arg(&out).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(out)
}

fn sha256(bytes: &[u8]) -> String {
    let whole = Sha256::digest(bytes);
    whole.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// What a descriptor stands for, after a check of its size and digest.
#[track_caller]
fn blob(layout: &Path, descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"].as_str().unwrap();
    let bytes = fs::read(layout.join("blobs").join(digest.replace(':', "/"))).unwrap();
    assert_eq!(descriptor["size"], bytes.len());
    assert_eq!(sha256(&bytes), digest);
    bytes
}

#[test]
fn an_image_is_a_valid_layout_whose_user_is_not_root() {
    let folder = tempfile::tempdir().unwrap();
    let Some(layout) = image(folder.path(), "image") else { return };
    let read =
        |name| -> Value { serde_json::from_slice(&fs::read(layout.join(name)).unwrap()).unwrap() };
    assert_eq!(read("oci-layout")["imageLayoutVersion"], "1.0.0");
    let named = &read("index.json")["manifests"][0];
    assert_eq!(named["annotations"]["org.opencontainers.image.ref.name"], "1.2");
    assert_eq!(named["annotations"]["io.containerd.image.name"], "docker.io/library/weir:1.2");
    let manifest: Value = serde_json::from_slice(&blob(&layout, named)).unwrap();
    let config: Value = serde_json::from_slice(&blob(&layout, &manifest["config"])).unwrap();
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["weir"]));
    assert_eq!(config["config"]["User"], "65532:0");
    let packed = blob(&layout, &manifest["layers"][0]);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], sha256(&unpacked));
    let blobs = fs::read_dir(layout.join("blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 3, "manifest, configuration and layer");
}

#[test]
fn the_same_programs_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let Some(first) = image(folder.path(), "first") else { return };
    let second = image(folder.path(), "second").unwrap();
    assert_eq!(files(&first), files(&second));
}
