use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

pub(super) struct Lab {
    pub(super) weir: PathBuf,
    pub(super) root: PathBuf,
    pub(super) scratch: PathBuf,
}

/// One row of `<model>_<arm>_metrics.csv`.
pub(super) type CellRow = BTreeMap<String, String>;

pub(super) struct Cells(Vec<CellRow>);

impl Lab {
    /// An experiment file of the repository with `--set` values.
    pub(super) fn run(&self, name: &str, file: &str, sets: &[String]) -> anyhow::Result<Cells> {
        let path = self.root.join(file);
        let out = self.scratch.join(name);
        let mut command = Command::new(&self.weir);
        command.args(["run", "--quiet", "--out"]).arg(&out).arg(path);
        for set in sets {
            command.args(["--set", set]);
        }
        let done = command.output().context("cannot start the binary")?;
        if !done.status.success() {
            bail!("{name}: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
        let mut rows = Vec::new();
        for entry in std::fs::read_dir(out.join("analysis"))? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with("_metrics.csv")
                && !path.to_string_lossy().ends_with("all_peak_metrics.csv")
            {
                let mut reader = csv::Reader::from_path(&path)?;
                for row in reader.deserialize() {
                    rows.push(row?);
                }
            }
        }
        Ok(Cells(rows))
    }
}

impl Cells {
    /// Of the one cell with these names; a hardware label matches by its end.
    pub(super) fn figure(
        &self,
        (model, hardware_end, arm, level): (&str, &str, &str, &str),
        column: &str,
    ) -> anyhow::Result<f64> {
        let matching = |row: &&CellRow| {
            row["model"] == model
                && row["hardware"].ends_with(hardware_end)
                && row["arm"] == arm
                && row["level"] == level
        };
        let row = self.0.iter().find(matching);
        let row = row.with_context(|| format!("no cell {model} {hardware_end} {arm} {level}"))?;
        row[column].parse().with_context(|| format!("{model} {arm} {level} has no {column}"))
    }

    /// The largest over the levels.
    pub(super) fn peak(
        &self,
        (model, hardware_end, arm): (&str, &str, &str),
        column: &str,
    ) -> anyhow::Result<f64> {
        self.0
            .iter()
            .filter(|row| {
                row["model"] == model
                    && row["hardware"].ends_with(hardware_end)
                    && row["arm"] == arm
            })
            .filter_map(|row| row[column].parse::<f64>().ok())
            .max_by(f64::total_cmp)
            .with_context(|| format!("no cell {model} {hardware_end} {arm}"))
    }
}
