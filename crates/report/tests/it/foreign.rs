//! Readers of other tools, in the environments that `scripts/peers/clients` makes.

use std::path::PathBuf;

/// The interpreter of a client. Without it a test says that it is skipped, and fails in CI.
pub(crate) fn python(test: &str, client: &str) -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("WEIR_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("weir")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/weir")));
    let python = cache.unwrap_or_default().join("clients").join(client).join("bin/python");
    if python.exists() {
        return Some(python);
    }
    assert!(std::env::var_os("CI").is_none(), "{test}: run scripts/peers/clients {client}");
    println!("SKIPPED {test}: run scripts/peers/clients {client} first");
    None
}

pub(crate) fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/foreign").join(name)
}
