//! The files of `weir probe`: opened before anything is measured, written at the end.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use weir_probe::{ProbeConfig, ProbeError, Report, Work};
use weir_report::ReportError;

use super::plots;
use crate::cli::{OutputArgs, ProbeArgs};
use crate::exit::Mistake;
use crate::printer::Printer;

/// Refuses files that would take each other's place or that of an input, and a profile that the
/// points cannot give.
pub(super) fn check(args: &ProbeArgs, config: &ProbeConfig) -> anyhow::Result<()> {
    let OutputArgs { json, csv, profile, .. } = &args.outputs;
    let outputs = [("json", json), ("csv", csv), ("profile", profile)];
    let model = args.blocks.model.as_ref().map(PathBuf::from);
    let inputs =
        [("model", &model), ("trace", &args.keys.trace), ("ca-file", &args.points.ca_file)];
    let known =
        |(flag, path): (&'static str, &Option<PathBuf>)| Some((flag, place(path.as_ref()?)?));
    let mut seen: Vec<(&str, PathBuf)> = inputs.into_iter().filter_map(known).collect();
    for (flag, place) in outputs.into_iter().filter_map(known) {
        if let Some((other, _)) = seen.iter().find(|(_, of_other)| *of_other == place) {
            let why = format!(
                "--{flag}: {} is the file of --{other} too; give each a file of its own",
                place.display()
            );
            return Err(Mistake(why).into());
        }
        seen.push((flag, place));
    }
    let lacks = |work| !config.works.contains(&work);
    if profile.is_some() && (lacks(Work::Read) || lacks(Work::Write)) {
        let names: Vec<String> = config.works.iter().map(|work| work.name()).collect();
        let why = format!(
            "--profile: a link is fitted to plain loads and stores, and the points are {}; give \
             --mix write,read without a trace, or leave --profile out",
            names.join(",")
        );
        return Err(Mistake(why).into());
    }
    Ok(())
}

/// Where a file is or will be, whatever it is called; nothing of devices and pipes, which many may
/// share, and of what cannot be.
fn place(path: &Path) -> Option<PathBuf> {
    if let Ok(found) = fs::canonicalize(path) {
        return found.is_file().then_some(found);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Some(fs::canonicalize(folder.unwrap_or(Path::new("."))).ok()?.join(path.file_name()?))
}

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
            let is_whole = !report.measured.interrupted && report.measured.failed.is_none();
            if is_empty && (fitted.is_err() || !is_whole) {
                // The file that `create` made; one that was there before stays.
                let _ = fs::remove_file(&path);
            }
            if !is_whole {
                printer.note(&format!(
                    "profile: {} was not written: the probe ended before all was measured",
                    path.display()
                ));
                return Ok(());
            }
            fitted?;
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
