//! `columns.md`: every column of every table that a run leaves, with its unit and meaning.

use std::fmt::Write;

use weir_record::{ColumnSpec, RequestColumn, SeriesColumn, StepColumn};
use weir_report::files::columns_reference;

use super::Reference;
use super::table::{code, table};

pub(crate) fn reference() -> Reference {
    let tables = [
        (
            "requests.parquet",
            "One row per request.",
            RequestColumn::ALL.iter().map(|column| column.spec()).collect::<Vec<_>>(),
        ),
        (
            "steps.parquet",
            "One row per pass of a replica; no rows on live targets.",
            StepColumn::ALL.iter().map(|column| column.spec()).collect(),
        ),
        (
            "series.parquet",
            "One row per sample of what was observed beside the requests.",
            SeriesColumn::ALL.iter().map(|column| column.spec()).collect(),
        ),
    ];
    let mut body = String::from(
        "# Columns\n\nWhat a run folder holds: the tables of each cell, as recorded, and the \
         files of `analysis/`, as computed from them.\n\n## Files of cells/\n\nTimes count from \
         the start of the cell. Any Parquet reader will do.\n",
    );
    for (file, rows, specs) in tables {
        let _ = write!(body, "\n### {file}\n\n{rows}\n\n{}", described(&specs));
    }
    body.push('\n');
    body += &deepened(&columns_reference());
    Reference::markdown("docs/reference/columns.md", &body)
}

fn described(specs: &[ColumnSpec]) -> String {
    let rows = specs.iter().map(|spec| {
        let null = if spec.nullable { ", nullable" } else { "" };
        let kind = format!("{}{null}", spec.kind);
        vec![code(spec.name), kind, spec.unit.to_owned(), spec.meaning.to_owned()]
    });
    table(&["column", "type", "unit", "meaning"], rows)
}

/// One heading level deeper, for use inside another document.
fn deepened(text: &str) -> String {
    let deeper = |line: &str| {
        if line.starts_with('#') { format!("#{line}\n") } else { format!("{line}\n") }
    };
    text.lines().map(deeper).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_columns_are_there_under_one_title() {
        let text = reference().text;
        for name in ["`prompt_id`", "`gap_ns`", "`labels`", "### performance_comparisons.csv"] {
            assert!(text.contains(name), "{name}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("# ")).count(), 1);
    }

    #[test]
    fn headings_go_one_level_deeper() {
        assert_eq!(deepened("# A\n\ntext # no\n## B"), "## A\n\ntext # no\n### B\n");
    }
}
