//! Tables without borders, as wide as they are.

use comfy_table::{Table, presets};

use super::output::{phase, plain};

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
