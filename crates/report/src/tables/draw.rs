//! Tables as plain text and as Markdown.

use std::fmt::Write;

use super::{Table, TableCell};

/// Widest line of plain text.
const WIDTH: usize = 110;

/// A table as aligned plain text, at most 110 columns wide: the last column is cut where it would
/// not fit.
pub fn text(table: &Table) -> String {
    let columns = table.heads.len();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = table.rows.iter().map(|row| length(&row[column].text));
            cells.chain([length(&table.heads[column].text)]).max().unwrap_or(0)
        })
        .collect();
    let before_last: usize =
        widths.iter().take(columns.saturating_sub(1)).map(|width| width + 2).sum();
    let last_width = WIDTH.saturating_sub(before_last + 2).max(8);
    let mut out = String::new();
    if !table.title.is_empty() {
        let _ = writeln!(out, "  {}", table.title);
    }
    let heads: Vec<TableCell> = table.heads.iter().map(|head| head.text.as_str().into()).collect();
    for row in std::iter::once(&heads).chain(&table.rows) {
        let mut line = String::from(" ");
        for (column, cell) in row.iter().enumerate() {
            let is_last = column + 1 == columns;
            let shown = if is_last { cut(&cell.text, last_width) } else { cell.text.clone() };
            let gap = " ".repeat(widths[column].saturating_sub(length(&shown)));
            line.push(' ');
            if table.heads[column].right {
                line.push_str(&gap);
                line.push_str(&shown);
            } else {
                line.push_str(&shown);
                line.push_str(&gap);
            }
            line.push(' ');
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// A table in Markdown, title above it in bold.
pub fn markdown(table: &Table) -> String {
    let mut out = String::new();
    if !table.title.is_empty() {
        let _ = writeln!(out, "**{}**\n", escaped(&table.title));
    }
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    out += &line(table.heads.iter().map(|head| escaped(&head.text)).collect());
    let rule = |right: bool| if right { "---:" } else { "---" }.to_owned();
    out += &line(table.heads.iter().map(|head| rule(head.right)).collect());
    for row in &table.rows {
        out += &line(row.iter().map(|cell| escaped(&cell.text)).collect());
    }
    out
}

/// Text broken into lines of at most 100 characters, each after `indent`.
pub fn wrapped(text: &str, indent: &str) -> String {
    let mut out = String::new();
    let mut line = indent.to_owned();
    for word in text.split_whitespace() {
        if length(&line) + 1 + length(word) > 100 && line.trim() != indent.trim() {
            let _ = writeln!(out, "{}", line.trim_end());
            indent.clone_into(&mut line);
        }
        line.push_str(word);
        line.push(' ');
    }
    let _ = writeln!(out, "{}", line.trim_end());
    out
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn cut(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width - 3).collect();
    short.push_str("...");
    short
}

/// Names come from the user's file: they must not end a cell or start an element.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            '<' => out.push_str("&lt;"),
            '\n' | '\r' => out.push(' '),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_last_columns_are_cut_and_cells_escaped() {
        let mut table = Table::new("t", &["arm", ">n", "why"]);
        table.rows.push(vec!["a|b".into(), "12".into(), "x".repeat(300).into()]);
        let drawn = text(&table);
        assert!(drawn.lines().all(|line| length(line) <= WIDTH), "{drawn}");
        assert!(drawn.contains("..."));
        assert!(markdown(&table).contains("a\\|b"));
    }

    #[test]
    fn text_wraps_at_words() {
        let drawn = wrapped(&"word ".repeat(60), "  ");
        assert!(drawn.lines().all(|line| length(line) <= 100 && line.starts_with("  word")));
        assert_eq!(drawn.split_whitespace().count(), 60);
    }
}
