//! The files of `weir probe`: opened before anything is measured, written at the end.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use weir_probe::{ProbeError, Report};
use weir_report::ReportError;

use super::plots;
use crate::cli::OutputArgs;
use crate::printer::Printer;

/// Files that are wanted, each open already.
pub(super) struct Outputs {
    json: Option<(PathBuf, File)>,
    csv: Option<(PathBuf, File)>,
    profile: Option<PathBuf>,
    plots: Option<PathBuf>,
}

impl Outputs {
    /// Creates the files and the folder.
    pub(super) fn create(args: &OutputArgs) -> anyhow::Result<Self> {
        let open = |path: &Option<PathBuf>| -> anyhow::Result<Option<(PathBuf, File)>> {
            let Some(path) = path else { return Ok(None) };
            let file = File::create(path).with_context(|| unwritable(path))?;
            Ok(Some((path.clone(), file)))
        };
        if let Some(folder) = &args.plots {
            fs::create_dir_all(folder).with_context(|| unwritable(folder))?;
        }
        if let Some(path) = &args.profile {
            // Not emptied: a probe that fails must not cost the profile of the one before.
            let mut options = File::options();
            options.create(true).append(true).open(path).with_context(|| unwritable(path))?;
        }
        Ok(Self {
            json: open(&args.json)?,
            csv: open(&args.csv)?,
            profile: args.profile.clone(),
            plots: args.plots.clone(),
        })
    }

    /// Writes a JSON document, where that is wanted.
    pub(super) fn json(
        &mut self,
        document: serde_json::Result<Vec<u8>>,
        printer: &mut Printer,
    ) -> anyhow::Result<()> {
        let Some((path, mut file)) = self.json.take() else { return Ok(()) };
        let mut text = document.context("the results as JSON")?;
        text.push(b'\n');
        file.write_all(&text).with_context(|| unwritable(&path))?;
        printer.note(&format!("results: {}", path.display()));
        Ok(())
    }

    /// Writes a table as CSV, where that is wanted.
    pub(super) fn csv(
        &mut self,
        bytes: impl FnOnce() -> csv::Result<Vec<u8>>,
        printer: &mut Printer,
    ) -> anyhow::Result<()> {
        let Some((path, mut file)) = self.csv.take() else { return Ok(()) };
        file.write_all(&bytes()?).with_context(|| unwritable(&path))?;
        printer.note(&format!("table: {}", path.display()));
        Ok(())
    }

    /// Writes charts by name, where they are wanted.
    pub(super) fn plots(
        &mut self,
        charts: impl FnOnce() -> Result<Vec<(String, Vec<u8>)>, ReportError>,
        printer: &mut Printer,
    ) -> anyhow::Result<()> {
        let Some(folder) = self.plots.take() else { return Ok(()) };
        for (name, bytes) in charts()? {
            let path = folder.join(name);
            fs::write(&path, bytes).with_context(|| unwritable(&path))?;
        }
        printer.note(&format!("plots: {}", folder.display()));
        Ok(())
    }

    /// Writes all of them. `fitted` is why there is no link, where there is none.
    pub(super) fn write(
        mut self,
        report: &Report,
        fitted: Result<(), ProbeError>,
        printer: &mut Printer,
    ) -> anyhow::Result<()> {
        self.json(serde_json::to_vec_pretty(report), printer)?;
        self.csv(|| report.csv(), printer)?;
        self.plots(|| plots::files(report), printer)?;
        if let Some(path) = self.profile {
            let is_empty = fs::metadata(&path).is_ok_and(|data| data.len() == 0);
            if let Err(why) = fitted {
                if is_empty {
                    // The file that `create` made; one that was there before stays.
                    let _ = fs::remove_file(&path);
                }
                return Err(why.into());
            }
            let profile = report.profile().context("a fitted link has a profile")?;
            fs::write(&path, profile.to_yaml()?).with_context(|| unwritable(&path))?;
            printer.note(&format!("profile: {}", path.display()));
        }
        Ok(())
    }
}

fn unwritable(path: &Path) -> String {
    format!("cannot write {}; check the folder", path.display())
}
