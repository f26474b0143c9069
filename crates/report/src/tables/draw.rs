//! Tables as plain text and as Markdown.

use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Table, TableCell};

const WIDEST: usize = 110;
/// Below it words would be broken.
const NARROWEST: usize = 40;
/// Longer lines of sentences are hard to read.
const SENTENCE: usize = 99;
/// A last column of text is cut to this width before the table is stacked.
const LAST_COLUMN: usize = 16;

static WIDTH: AtomicUsize = AtomicUsize::new(WIDEST);

pub fn set_width(columns: usize) {
    WIDTH.store(columns.clamp(NARROWEST, WIDEST), Ordering::Relaxed);
}

/// Aligned where columns fit the terminal (a last column of text is cut), else each row as a
/// paragraph.
pub fn text(table: &Table) -> String {
    text_within(table, WIDTH.load(Ordering::Relaxed))
}

fn text_within(table: &Table, width: usize) -> String {
    let columns = table.heads.len();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = table.rows.iter().map(|row| length(&row[column].text));
            cells.chain([length(&table.heads[column].text)]).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    if !table.title.is_empty() {
        out += &wrapped_within(&table.title, "  ", width);
    }
    let before_last: usize =
        widths.iter().take(columns.saturating_sub(1)).map(|width| width + 2).sum();
    let last = widths.last().copied().unwrap_or(0);
    let is_text = table.heads.last().is_some_and(|head| !head.right);
    let least = if is_text { last.min(LAST_COLUMN) } else { last };
    if before_last + 2 + least > width {
        stack(table, width, &mut out);
    } else {
        align(table, &widths, width - before_last - 2, &mut out);
    }
    out
}

fn align(table: &Table, widths: &[usize], last_width: usize, out: &mut String) {
    let heads: Vec<TableCell> = table.heads.iter().map(|head| head.text.as_str().into()).collect();
    for row in std::iter::once(&heads).chain(&table.rows) {
        let mut line = String::from(" ");
        for (column, cell) in row.iter().enumerate() {
            let is_last = column + 1 == widths.len();
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
}

/// Each row as a paragraph: its names, then its cells with their heads.
fn stack(table: &Table, width: usize, out: &mut String) {
    let first_figure = table.heads.iter().position(|head| head.right);
    let about = first_figure.unwrap_or(1).max(1).min(table.heads.len());
    // A name that the row above already has is repeated here.
    let mut last: Vec<&str> = vec![""; about];
    for row in &table.rows {
        let starts_anew = row.iter().take(about).position(|cell| !cell.text.is_empty());
        for (column, cell) in row.iter().take(about).enumerate() {
            if starts_anew.is_none_or(|at| column >= at) {
                last[column] = &cell.text;
            }
        }
        let names: Vec<&str> = last.iter().copied().filter(|name| !name.is_empty()).collect();
        *out += &wrapped_within(&names.join(", "), "  ", width);
        let cells = table.heads.iter().zip(row).skip(about);
        let told: Vec<String> = cells
            .filter(|(_, cell)| !cell.text.is_empty())
            .map(|(head, cell)| format!("{} {}", head.text, cell.text).trim().to_owned())
            .collect();
        if !told.is_empty() {
            *out += &wrapped_within(&told.join(", "), "    ", width);
        }
    }
}

/// With the title above it in bold.
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

/// Lines fit the terminal and have at most 99 characters, each after `indent`.
pub fn wrapped(text: &str, indent: &str) -> String {
    wrapped_within(text, indent, WIDTH.load(Ordering::Relaxed).min(SENTENCE))
}

fn wrapped_within(text: &str, indent: &str, width: usize) -> String {
    let room = width.saturating_sub(length(indent)).max(1);
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && length(&line) + 1 + length(word) > room {
            let _ = writeln!(out, "{indent}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        // A word longer than a line is broken.
        while length(&line) > room {
            let rest: String = line.chars().skip(room).collect();
            let front: String = line.chars().take(room).collect();
            let _ = writeln!(out, "{indent}{front}");
            line = rest;
        }
    }
    let _ = writeln!(out, "{}", format!("{indent}{line}").trim_end());
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

    fn fits(text: &str, width: usize) -> bool {
        text.lines().all(|line| length(line) <= width)
    }

    #[test]
    fn long_last_columns_are_cut_and_cells_escaped() {
        let mut table = Table::new("t", &["arm", ">n", "why"]);
        table.rows.push(vec!["a|b".into(), "12".into(), "x".repeat(300).into()]);
        let drawn = text_within(&table, 110);
        assert!(fits(&drawn, 110), "{drawn}");
        assert!(drawn.contains("..."));
        assert!(markdown(&table).contains("a\\|b"));
    }

    #[test]
    fn a_table_that_does_not_fit_is_told_row_by_row_without_loss() {
        let title = "Arms at equal level; change: output throughput against the arm's control";
        let heads = [
            "arm",
            "level",
            ">tok/s",
            ">change",
            ">TTFT p50",
            ">ITL mean",
            ">ext hit %",
            "verdict",
        ];
        let mut table = Table::new(title, &heads);
        let cells = ["native-offload", "c50", "2,222", "+10.0 % ± 0.0", "604", "26.2", "40.0"];
        for level in ["c50", "c300"] {
            let mut row: Vec<TableCell> = cells.map(TableCell::from).into();
            row[0] = if level == "c50" { cells[0] } else { "" }.into();
            row[1] = level.into();
            row.push("overhead-only (tier-too-small)".into());
            table.rows.push(row);
        }
        for width in [60, 80] {
            let drawn = text_within(&table, width);
            assert!(fits(&drawn, width), "{drawn}");
            let words = drawn.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains("native-offload, c300 tok/s 2,222, change +10.0 %"), "{words}");
            assert!(words.contains("verdict overhead-only (tier-too-small)"), "{words}");
        }
        assert!(text_within(&table, 110).lines().nth(1).unwrap().contains("level"), "aligned");
    }

    #[test]
    fn text_wraps_at_words_and_breaks_those_that_no_line_holds() {
        let drawn = wrapped_within(&"word ".repeat(60), "  ", 100);
        assert!(fits(&drawn, 100) && drawn.lines().all(|line| line.starts_with("  word")));
        assert_eq!(drawn.split_whitespace().count(), 60);
        let drawn = wrapped_within(&format!("see {}", "x".repeat(150)), "  ", 60);
        assert!(fits(&drawn, 60), "{drawn}");
        assert_eq!(drawn.matches('x').count(), 150);
    }
}
