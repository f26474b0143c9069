//! `cargo dev validate`: the simulator against published measurements, row by row.
//!
//! Runs the binary, reads its CSVs, and prints prediction, publication and error; rows with a
//! fitted constant have a mark. Arms that were A/A in truth are compared with the control for
//! throughput, never for offload gains. The published tables are
//! `weir_engine::timing::validation`.

mod cells;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use cells::Lab;
use tables::Table;

/// `weir` is the binary.
pub(crate) fn run(weir: &Path, root: &Path) -> anyhow::Result<String> {
    if !weir.exists() {
        bail!("no binary at {}; `make validate` builds it", weir.display());
    }
    let scratch = std::env::temp_dir().join(format!("weir-validate-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)
        .with_context(|| format!("cannot create {}", scratch.display()))?;
    let lab = Lab { weir: weir.to_owned(), root: root.to_owned(), scratch: scratch.clone() };
    let made = all(&lab);
    std::fs::remove_dir_all(&scratch)
        .with_context(|| format!("cannot remove {}", scratch.display()))?;
    Ok(made?.iter().map(Table::text).collect::<Vec<_>>().join("\n"))
}

fn all(lab: &Lab) -> anyhow::Result<Vec<Table>> {
    let mut made = tables::shared_prefix(lab)?;
    made.extend(tables::capacity_bound(lab)?);
    made.push(tables::offload_ttft(lab)?);
    made.push(tables::prefill_hits(lab)?);
    Ok(made)
}

pub(crate) fn default_binary(root: &Path) -> PathBuf {
    root.join("target/release/weir")
}
