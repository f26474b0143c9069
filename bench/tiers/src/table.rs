//! Plain tables for the terminal.

/// The first column is left-aligned, the others right-aligned.
pub(crate) fn text(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(header.get(column).map(|cell| cell.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let header = line(header.iter().copied(), &widths);
    let rows = rows.iter().map(|row| line(row.iter().map(String::as_str), &widths));
    std::iter::once(header).chain(rows).collect()
}

fn line<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
    let cells = cells.zip(widths).enumerate().map(|(place, (cell, &width))| match place {
        0 => format!("{cell:<width$}"),
        _ => format!("  {cell:>width$}"),
    });
    let line: String = cells.collect();
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "1"], ["bc", "±234"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(text(&["", "figure"], &rows), "    figure\na        1\nbc    ±234\n");
    }
}
