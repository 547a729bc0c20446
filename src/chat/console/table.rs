//! Tables that line up at any width.

use super::ink::{Ink, Line, Piece, chop, gap, piece, width};
use crate::model::{Align, Cell, Table};

const BETWEEN: usize = 2;
const NARROWEST: usize = 8;

/// The table's lines, none wider than `columns` as long as there is room for
/// eight characters a column. Cells that do not fit go on in the next line:
/// half a key name is no key name.
pub(super) fn lines(table: &Table, columns: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(title) = &table.title {
        lines.push(vec![piece(title, Ink::Strong)]);
    }
    if table.rows.is_empty() {
        let empty = table.empty.as_deref().unwrap_or("nothing");
        lines.push(vec![piece(empty, Ink::Dim)]);
        return lines;
    }
    let titles: Vec<String> = table.columns.iter().map(|column| super::clean(&column.title).into_owned()).collect();
    let rows: Vec<Vec<(String, Ink)>> = table.rows.iter().map(|row| row.iter().map(shown).collect()).collect();
    let widths = fit(&natural(&titles, &rows), table, columns);

    if titles.iter().any(|title| !title.is_empty()) {
        let heading: Vec<(String, Ink)> = titles.into_iter().map(|title| (title, Ink::Strong)).collect();
        lines.extend(row_lines(&heading, table, &widths));
        let total = widths.iter().sum::<usize>() + BETWEEN * widths.len().saturating_sub(1);
        lines.push(vec![Piece { text: "─".repeat(total), ink: Ink::Dim }]);
    }
    for row in &rows {
        lines.extend(row_lines(row, table, &widths));
    }
    if let Some(total) = table.total.filter(|&total| total > table.rows.len() as u64) {
        lines.push(vec![piece(&format!("{} of {total} rows", table.rows.len()), Ink::Dim)]);
    }
    lines
}

/// A judged cell says its judgement in a word: colour alone is not readable everywhere.
fn shown(cell: &Cell) -> (String, Ink) {
    use crate::model::Level::{Crit, Unknown, Warn};
    let text = super::clean(&cell.text);
    match cell.level {
        Some(level @ (Warn | Crit | Unknown)) => (format!("{text} [{}]", level.word()), Ink::Level(level)),
        Some(level) => (text.into_owned(), Ink::Level(level)),
        None => (text.into_owned(), Ink::Plain),
    }
}

fn natural(titles: &[String], rows: &[Vec<(String, Ink)>]) -> Vec<usize> {
    let mut widths: Vec<usize> = titles.iter().map(|title| width(title)).collect();
    for row in rows {
        for (at, (text, _)) in row.iter().enumerate().take(widths.len()) {
            widths[at] = widths[at].max(width(text));
        }
    }
    widths
}

/// Takes from the widest text column, then from the widest of all, until the table fits.
fn fit(natural: &[usize], table: &Table, columns: usize) -> Vec<usize> {
    let mut widths = natural.to_vec();
    let room = columns.saturating_sub(BETWEEN * widths.len().saturating_sub(1));
    let mut over = widths.iter().sum::<usize>().saturating_sub(room);
    while over > 0 {
        let can_give = |at: &usize| widths[*at] > NARROWEST;
        let is_text = |at: &usize| table.columns[*at].align == Align::Left;
        let widest = (0..widths.len()).filter(can_give).max_by_key(|at| (is_text(at), widths[*at]));
        let Some(widest) = widest else { break };
        widths[widest] -= 1;
        over -= 1;
    }
    widths
}

fn row_lines(row: &[(String, Ink)], table: &Table, widths: &[usize]) -> Vec<Line> {
    let cells: Vec<Vec<String>> =
        row.iter().zip(widths).map(|((text, _), &columns)| break_cell(text, columns)).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    (0..height)
        .map(|at| {
            let mut line = Line::new();
            for (column, parts) in cells.iter().enumerate() {
                if column > 0 {
                    line.push(gap(BETWEEN));
                }
                let part = parts.get(at).map_or("", String::as_str);
                let pad = widths[column].saturating_sub(width(part));
                let right = table.columns[column].align == Align::Right;
                if right && pad > 0 {
                    line.push(gap(pad));
                }
                line.push(Piece { text: part.to_owned(), ink: row[column].1 });
                if !right && pad > 0 {
                    line.push(gap(pad));
                }
            }
            line
        })
        .collect()
}

fn break_cell(text: &str, columns: usize) -> Vec<String> {
    if width(text) <= columns {
        return vec![text.to_owned()];
    }
    let line = [Piece { text: text.to_owned(), ink: Ink::Plain }];
    if columns < NARROWEST {
        return chop(text, columns);
    }
    super::ink::wrap(&line, columns).iter().map(|line| super::ink::paint(line, false)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::console::ink::{line_width, paint},
        model::Column,
    };

    fn table() -> Table {
        let column = |title: &str, align| Column { title: title.to_owned(), align };
        let cell = |text: &str| Cell { text: text.to_owned(), level: None };
        Table {
            title: None,
            columns: vec![column("key", Align::Left), column("bytes", Align::Right)],
            rows: vec![
                vec![cell("session:東京"), cell("12")],
                vec![cell("a-rather-long-key-name-that-does-not-fit"), cell("1,234,567")],
            ],
            empty: None,
            total: Some(40),
        }
    }

    #[test]
    fn columns_line_up_with_wide_characters_and_long_cells() {
        let shown: Vec<String> = lines(&table(), 30).iter().map(|line| paint(line, false)).collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        key                      bytes
        ──────────────────────────────
        session:東京                12
        a-rather-long-key-n  1,234,567
        ame-that-does-not-f
        it
        2 of 40 rows
        ");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for columns in 24..80 {
            assert!(lines(&table(), columns).iter().all(|line| line_width(line) <= columns), "{columns}");
        }
    }
}
