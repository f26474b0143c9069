//! Files of `weir probe`: checked before the measurement, written whole at the end.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{Access, access};
use weir_probe::{ProbeConfig, ProbeError, Report, Work};
use weir_report::ReportError;

use super::{plots, summary};
use crate::cli::{OutputArgs, ProbeArgs};
use crate::exit::Mistake;
use crate::printer::Printer;

/// Prefix of all charts.
const CHARTS: &str = "probe_";

/// Refuses files that would replace each other or an input, and a profile that the points cannot
/// give.
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
    if let Some(folder) = &args.outputs.plots {
        check_plots(folder, &seen)?;
    }
    let lacks = |work| !config.works.contains(&work);
    if profile.is_some() && (lacks(Work::Read) || lacks(Work::Write)) {
        let why = format!(
            "--profile: a link is fitted to plain loads and stores, and the points are {}; give \
             --mix write,read without a trace, or leave --profile out",
            summary::works(&config.works)
        );
        return Err(Mistake(why).into());
    }
    Ok(())
}

/// Refuses a plot folder that is another flag's file, and a file in it with a chart's name.
fn check_plots(folder: &Path, files: &[(&str, PathBuf)]) -> anyhow::Result<()> {
    let folder = fs::canonicalize(folder).ok().or_else(|| place(folder));
    let Some(folder) = folder else { return Ok(()) };
    let is_chart = |file: &Path| {
        let is_picture = file.extension().is_some_and(|end| end == "png" || end == "svg");
        let is_named = |name: &str| name.starts_with(CHARTS);
        is_picture && file.file_name().and_then(|name| name.to_str()).is_some_and(is_named)
    };
    let clashes = |file: &Path| {
        folder.starts_with(file) || (file.parent() == Some(&folder) && is_chart(file))
    };
    let Some((flag, file)) = files.iter().find(|(_, file)| clashes(file)) else { return Ok(()) };
    let why = format!(
        "--plots: {} of --{flag} would be in the way of the charts; give the file another place",
        file.display()
    );
    Err(Mistake(why).into())
}

/// The real path of a file; None for devices and pipes, which may be shared, and for impossible
/// paths.
fn place(path: &Path) -> Option<PathBuf> {
    if let Ok(found) = fs::canonicalize(path) {
        return found.is_file().then_some(found);
    }
    let folder = folder_of(path);
    // The folder may not exist yet.
    let folder = fs::canonicalize(folder).or_else(|_| std::path::absolute(folder)).ok()?;
    Some(folder.join(path.file_name()?))
}

/// Checked output files.
pub(super) struct Outputs {
    json: Option<PathBuf>,
    csv: Option<PathBuf>,
    profile: Option<PathBuf>,
    plots: Option<PathBuf>,
}

impl Outputs {
    /// Refuses unwritable files. Nothing is made or emptied: a refused or killed probe must not
    /// cost earlier files.
    pub(super) fn tried(args: &OutputArgs) -> anyhow::Result<Self> {
        let OutputArgs { json, csv, profile, plots } = args;
        let in_plots = |path: &&PathBuf| is_in(plots.as_ref(), path);
        for path in [json, csv, profile].into_iter().flatten().filter(|path| !in_plots(path)) {
            try_file(path).with_context(|| unwritable(path))?;
        }
        if let Some(folder) = plots {
            // Made at the end, with the folders above it.
            let there = folder.ancestors().find(|one| one.exists());
            let there = there.filter(|one| !one.as_os_str().is_empty());
            try_folder(there.unwrap_or(Path::new("."))).with_context(|| unwritable(folder))?;
        }
        let [json, csv, profile, plots] = [json, csv, profile, plots].map(Clone::clone);
        Ok(Self { json, csv, profile, plots })
    }

    /// Reports that without points no file is written.
    pub(super) fn leave(&self, printer: &mut Printer) {
        let Self { json, csv, profile, plots } = self;
        let wanted = [("results", json), ("table", csv), ("profile", profile), ("plots", plots)];
        for (what, path) in wanted {
            if let Some(path) = path {
                let path = path.display();
                printer.note(&format!("{what}: {path} was not written: no point was measured"));
            }
        }
    }

    pub(super) fn json(
        &self,
        document: serde_json::Result<Vec<u8>>,
        printer: &mut Printer,
    ) -> anyhow::Result<()> {
        let Some(path) = &self.json else { return Ok(()) };
        let mut text = document.context("the results as JSON")?;
        text.push(b'\n');
        self.put(path, &text).with_context(|| unwritable(path))?;
        printer.note(&format!("results: {}", path.display()));
        Ok(())
    }

    pub(super) fn csv(
        &self,
        bytes: impl FnOnce() -> csv::Result<Vec<u8>>,
        printer: &mut Printer,
    ) -> anyhow::Result<()> {
        let Some(path) = &self.csv else { return Ok(()) };
        self.put(path, &bytes()?).with_context(|| unwritable(path))?;
        printer.note(&format!("table: {}", path.display()));
        Ok(())
    }

    pub(super) fn plots(
        &self,
        charts: impl FnOnce() -> Result<Vec<(String, Vec<u8>)>, ReportError>,
        printer: &mut Printer,
    ) -> anyhow::Result<()> {
        let Some(folder) = &self.plots else { return Ok(()) };
        let charts = charts()?;
        if charts.is_empty() {
            printer.note(&format!("plots: {}: there is nothing to draw", folder.display()));
            return Ok(());
        }
        fs::create_dir_all(folder).with_context(|| unwritable(folder))?;
        for (name, bytes) in charts {
            let path = folder.join(name);
            write_whole(&path, &bytes).with_context(|| unwritable(&path))?;
        }
        printer.note(&format!("plots: {}", folder.display()));
        Ok(())
    }

    /// Makes the folder of the plots where the file belongs there.
    fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Some(folder) = self.plots.as_ref().filter(|_| is_in(self.plots.as_ref(), path)) {
            fs::create_dir_all(folder)?;
        }
        write_whole(path, bytes)
    }

    /// `fitted` has the reason where there is no link.
    pub(super) fn write(
        &self,
        report: &Report,
        fitted: Result<(), ProbeError>,
        printer: &mut Printer,
    ) -> anyhow::Result<()> {
        if report.measured.points.is_empty() {
            self.leave(printer);
            return Ok(());
        }
        self.json(serde_json::to_vec_pretty(report), printer)?;
        self.csv(|| report.csv(), printer)?;
        self.plots(|| plots::files(report), printer)?;
        let Some(path) = &self.profile else { return Ok(()) };
        if report.measured.interrupted || report.measured.failed.is_some() {
            printer.note(&format!(
                "profile: {} was not written: the probe ended before all was measured",
                path.display()
            ));
            return Ok(());
        }
        fitted?;
        let profile = report.profile().context("a fitted link has a profile")?;
        self.put(path, profile.to_yaml()?.as_bytes()).with_context(|| unwritable(path))?;
        printer.note(&format!("profile: {}", path.display()));
        Ok(())
    }
}

fn unwritable(path: &Path) -> String {
    format!("cannot write {}; check the folder", path.display())
}

/// The folder of the plots may not exist yet.
fn is_in(plots: Option<&PathBuf>, path: &Path) -> bool {
    plots.is_some_and(|folder| folder_of(path) == folder && !folder.exists())
}

/// Changes and makes nothing.
fn try_file(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(found) if found.is_file() => File::options().write(true).open(path).map(drop),
        // Not opened: a pipe would wait for its reader.
        Ok(_) => Ok(access(path, Access::WRITE_OK)?),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
                return Err(ErrorKind::IsADirectory.into());
            }
            try_folder(folder_of(path))
        }
        Err(error) => Err(error),
    }
}

/// Tries a nameless file, which vanishes by itself.
fn try_folder(folder: &Path) -> io::Result<()> {
    tempfile::tempfile_in(folder).map(drop)
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Replaces a file at once, so that there is always a whole one.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays, and leads to the new file.
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let before = fs::metadata(&place).ok();
    let is_stream = before.as_ref().is_some_and(|before| !before.is_file())
        || ["/dev", "/proc"].iter().any(|folder| path.starts_with(folder));
    if is_stream {
        // A shell's `/dev/stdout` may already hold lines of Weir.
        return File::options().append(true).open(path)?.write_all(bytes);
    }
    let mut beside = tempfile::Builder::new();
    beside.prefix(".weir-").permissions(Permissions::from_mode(0o666));
    match (beside.tempfile_in(folder_of(&place)), before) {
        (Ok(mut beside), before) => {
            beside.write_all(bytes)?;
            if let Some(before) = before {
                beside.as_file().set_permissions(before.permissions())?;
            }
            beside.persist(&place).map(drop).map_err(|failed| failed.error)
        }
        // The file may be writable in a folder that takes no others.
        (Err(_), Some(_)) => fs::write(&place, bytes),
        (Err(error), None) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trying_leaves_every_file_and_folder_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| Some(folder.path().join(name));
        fs::write(folder.path().join("old.json"), "old").unwrap();
        let args = |json, plots| OutputArgs { json, csv: at("new.csv"), profile: None, plots };
        Outputs::tried(&args(at("old.json"), at("a/b"))).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("old.json")).unwrap(), "old");
        // The future folder of the plots may take another file.
        let outputs = Outputs::tried(&args(at("plots/p.json"), at("plots"))).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        outputs.put(&folder.path().join("plots/p.json"), b"{}").unwrap();
        for (json, plots, named) in [
            (at("none/p.json"), None, "none/p.json"),
            (at("p.json/"), None, "p.json/"),
            (Some(folder.path().to_owned()), None, "cannot write"),
            (at("old.json/p.json"), None, "old.json/p.json"),
            (None, at("old.json"), "old.json"),
            (None, at("old.json/plots"), "old.json/plots"),
        ] {
            let Err(refused) = Outputs::tried(&args(json, plots)) else { panic!("{named}") };
            assert!(refused.to_string().contains(named), "{refused}");
        }
    }

    #[test]
    fn a_file_is_replaced_whole_where_its_link_leads_and_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| folder.path().join(name));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut reader = File::open(&file).unwrap();
        write_whole(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        let mut before = String::new();
        io::Read::read_to_string(&mut reader, &mut before).unwrap();
        assert_eq!(before, "old", "it was never empty");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
