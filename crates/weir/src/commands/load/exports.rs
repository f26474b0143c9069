//! `--format NAME=FILE`: results in the formats of other tools.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use weir_lab::live::Journal;
use weir_record::{CellReader, RecordError, RunFolder};
use weir_report::exports::{Export, ExportError, ExportInput, OfferedLoad, Rows};
use weir_spec::plan::{Cell, Plan};

use crate::exit::Mistake;
use crate::printer::Printer;

pub(super) struct Wanted(Vec<(Export, PathBuf)>);

impl Wanted {
    pub(super) fn parse(flags: &[String]) -> Result<Self, Mistake> {
        let names: Vec<&str> = Export::ALL.iter().map(|export| export.name()).collect();
        let one = |flag: &String| {
            let known = flag.split_once('=').and_then(|(name, file)| {
                let export = Export::named(name)?;
                (!file.is_empty()).then(|| (export, PathBuf::from(file)))
            });
            known.ok_or_else(|| {
                Mistake(format!(
                    "--format {flag}: write FORMAT=FILE, with one of the formats {}",
                    names.join(", ")
                ))
            })
        };
        Ok(Self(flags.iter().map(one).collect::<Result<_, _>>()?))
    }

    /// For every cell that has ended.
    pub(super) fn write(
        &self,
        run: &RunFolder,
        plan: &Plan,
        printer: &mut Printer,
    ) -> anyhow::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let several = plan.cells.len() > 1;
        for cell in &plan.cells {
            let reader = match CellReader::open(run, &cell.path) {
                Ok(reader) => reader,
                Err(RecordError::Incomplete { .. }) => continue,
                Err(other) => return Err(other.into()),
            };
            for (export, file) in &self.0 {
                let file = if several { named(file, plan, cell) } else { file.clone() };
                match one(*export, &file, &reader, plan, cell) {
                    Ok(()) => printer.note(&format!("{}: {}", export.name(), file.display())),
                    // A refused level has no figures, which was reported.
                    Err(error) if is_refusal(&error) => printer.note(&error.to_string()),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

fn is_refusal(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ExportError::Refused { .. }))
}

/// Adds the level, and the repeat where there are several.
fn named(file: &Path, plan: &Plan, cell: &Cell) -> PathBuf {
    let level = &plan.deployments[cell.deployment].levels[cell.level].name;
    let repeat = if plan.repeats > 1 { format!("-{}", cell.repeat) } else { String::new() };
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let end = file.extension().map_or(String::new(), |end| format!(".{}", end.to_string_lossy()));
    file.with_file_name(format!("{stem}-{level}{repeat}{end}"))
}

fn one(
    export: Export,
    file: &Path,
    reader: &CellReader,
    plan: &Plan,
    cell: &Cell,
) -> anyhow::Result<()> {
    let deployment = &plan.deployments[cell.deployment];
    let level = &deployment.levels[cell.level];
    let journal = Journal::read(reader.tables().folder())?;
    let tables = reader.tables();
    let rows = || tables.rows().map(|rows| Box::new(rows) as Rows<'_>);
    let endpoint = plan.target.endpoint().map_or_else(
        || plan.target.name().to_owned(),
        |target| target.urls(&deployment.arms[cell.arm].name).join(","),
    );
    let input = ExportInput {
        rows: &rows,
        figures: &reader.record().figures,
        window: weir_lab::recorded::window(plan, cell, tables)?,
        level: &level.name,
        load: OfferedLoad::of(level),
        model: &deployment.model.name,
        endpoint: &endpoint,
        started_unix_ns: journal.started_unix_ns,
        seed: cell.seed,
        workers: plan.client.workers,
        slo: &plan.slo,
    };
    let created = File::create(file)
        .with_context(|| format!("cannot write {}; check the folder", file.display()))?;
    let mut out = BufWriter::new(created);
    let written = export.write(&input, &mut out).map_err(anyhow::Error::from).and_then(|()| {
        out.flush().with_context(|| format!("cannot write {}; check the disk", file.display()))
    });
    if written.is_err() {
        // A partial file would pass for results. A pipe or a device stays.
        drop(out);
        if file.is_file() {
            let _ = fs::remove_file(file);
        }
    }
    written
}
