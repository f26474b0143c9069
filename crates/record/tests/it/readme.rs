//! The README describes the columns that are really written.

use std::fmt::Write;

use weir_record::{ColumnSpec, RequestColumn, SeriesColumn, StepColumn};

fn documented(specs: impl Iterator<Item = ColumnSpec>) -> String {
    let mut table = String::from("| column | type | unit | meaning |\n|---|---|---|---|\n");
    for spec in specs {
        let null = if spec.nullable { ", nullable" } else { "" };
        let ColumnSpec { name, kind, unit, meaning, .. } = spec;
        writeln!(table, "| `{name}` | {kind}{null} | {unit} | {meaning} |").unwrap();
    }
    table
}

#[test]
fn the_readme_lists_every_column() {
    let readme = include_str!("../../README.md");
    for table in [
        documented(RequestColumn::ALL.iter().map(|column| column.spec())),
        documented(StepColumn::ALL.iter().map(|column| column.spec())),
        documented(SeriesColumn::ALL.iter().map(|column| column.spec())),
    ] {
        assert!(readme.contains(&table), "README.md lacks this table:\n{table}");
    }
}

#[test]
fn names_end_with_their_unit() {
    let specs = RequestColumn::ALL.iter().map(|column| column.spec());
    for spec in specs.chain(StepColumn::ALL.iter().map(|column| column.spec())) {
        match spec.unit {
            "ns" => assert!(spec.name.ends_with("_ns"), "{}", spec.name),
            "tokens" => assert!(spec.name.ends_with("tokens"), "{}", spec.name),
            _ => {}
        }
    }
}
