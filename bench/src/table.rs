//! Tables of Markdown.

/// A table, its columns aligned.
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Begins a cell that is longer than any column, and the last of its row.
    long: &'static str,
}

impl Table {
    pub(crate) fn new(head: Vec<String>, long: &'static str) -> Self {
        Self {
            head,
            rows: Vec::new(),
            long,
        }
    }

    pub(crate) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let rows: Vec<&Vec<String>> = std::iter::once(&self.head).chain(&self.rows).collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let short = cells.filter(|cell| !cell.starts_with(self.long));
            short.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = widths.iter().enumerate().map(|(column, width)| {
                let cell = row.get(column).map_or("", String::as_str);
                format!(" {cell:width$} |")
            });
            format!("|{}", cells.collect::<String>())
        };
        let mut lines: Vec<String> = rows.into_iter().map(line).collect();
        let rules = widths
            .iter()
            .map(|width| format!("{:-<1$}|", "", width + 2));
        lines.insert(1, format!("|{}", rules.collect::<String>()));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let text = |row: &[&str]| row.iter().map(|cell| (*cell).to_owned()).collect();
        let mut table = Table::new(text(&["peer", "×"]), "skipped");
        table.push(text(&["raw", "1.00"]));
        table.push(text(&["a", "skipped: it has none"]));
        table.push(text(&["µ"]));
        let lines = [
            "| peer | ×    |",
            "|------|------|",
            "| raw  | 1.00 |",
            "| a    | skipped: it has none |",
            "| µ    |      |",
        ];
        assert_eq!(table.lines(), lines);
    }
}
