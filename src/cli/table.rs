//! Tables without borders, as wide as they are.

use comfy_table::{Table, presets};

use super::output::{phase, plain};

/// A table for a terminal of so many columns; for none, it is as wide as it is. Where it is wider
/// than the terminal, each row becomes lines of its own, so that nothing is cut off.
pub(super) fn fitting(
    header: &[&str],
    rows: &[Vec<String>],
    columns: Option<usize>,
) -> Vec<String> {
    let table = lines(header, rows);
    let width = |line: &String| anstream::adapter::strip_str(line).to_string().chars().count();
    let is_wide = columns.is_some_and(|columns| table.iter().map(width).any(|it| columns < it));
    if is_wide { one_below_another(header, rows) } else { table }
}

/// For each row what its cells are called and hold; empty ones are left out.
fn one_below_another(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = header.iter().map(|name| name.len()).max().unwrap_or_default();
    let line = |(name, cell): (&&str, &String)| {
        let cell = if *name == "STATUS" { phase(cell) } else { plain(cell) };
        format!("{name:width$}   {cell}")
    };
    let row = |row: &Vec<String>| {
        let filled = header.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
        filled.map(line).collect::<Vec<_>>()
    };
    rows.iter().map(row).collect::<Vec<_>>().join(&String::new())
}

/// A table as lines. A cell of the column `STATUS` gets its colour after the layout, so that the
/// colour does not count as text.
pub(super) fn lines(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let status = header.iter().position(|name| *name == "STATUS");
    let mut lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let at = lines.first().and_then(|first| first.find("STATUS"));
    if let (Some(column), Some(at)) = (status, at) {
        for (line, row) in lines.iter_mut().skip(1).zip(rows) {
            let Some(word) = row.get(column) else { continue };
            let cell = at..at + word.len();
            if line.get(cell.clone()) == Some(word.as_str()) {
                line.replace_range(cell, &phase(word));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_room_each_row_is_lines_of_its_own() {
        let rows = [
            vec!["chat".to_owned(), "Running".to_owned(), String::new()],
            vec!["a-long-name".to_owned(), "Failed".to_owned(), "x".repeat(30)],
        ];
        let header = ["NAME", "STATUS", "URL"];
        assert_eq!(fitting(&header, &rows, None), lines(&header, &rows));
        assert_eq!(fitting(&header, &rows, Some(60)), lines(&header, &rows));
        let seen: Vec<_> = fitting(&header, &rows, Some(40))
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();
        let long = format!("URL      {}", "x".repeat(30));
        assert_eq!(
            seen,
            [
                "NAME     chat",
                "STATUS   Running",
                "",
                "NAME     a-long-name",
                "STATUS   Failed",
                long.as_str()
            ]
        );
    }

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let rows = [
            vec!["chat".to_owned(), "Running".to_owned(), "x".to_owned()],
            vec!["a-long-name".to_owned(), "Failed".to_owned(), String::new()],
        ];
        let lines: Vec<_> = lines(&["NAME", "STATUS", "URL"], &rows)
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();
        assert_eq!(
            lines,
            ["NAME          STATUS    URL", "chat          Running   x", "a-long-name   Failed"]
        );
    }
}
