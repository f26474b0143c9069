//! Tables in Markdown. Cells are Markdown already, so that names can stand in backticks.

use std::fmt::Write;

/// A head that begins with `>` aligns its column to the right.
pub(super) fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut out = String::new();
    let mut line = |cells: &[String]| {
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    };
    let names: Vec<String> =
        heads.iter().map(|head| head.trim_start_matches('>').to_owned()).collect();
    line(&names);
    let rule = |head: &&str| if head.starts_with('>') { "---:" } else { "---" }.to_owned();
    line(&heads.iter().map(rule).collect::<Vec<_>>());
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        line(&cells);
    }
    out
}

pub(super) fn code(name: &str) -> String {
    format!("`{name}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_cannot_end_their_row() {
        let rows = [vec!["`a|b`".to_owned(), "1".to_owned()]];
        assert_eq!(table(&["name", ">n"], rows), "| name | n |\n| --- | ---: |\n| `a\\|b` | 1 |\n");
    }
}
