//! Tables that line up on a phone.
//!
//! A phone shows about forty monospaced columns. A table that fits, after its
//! widest text columns have given way, is drawn as a table; one that does not
//! becomes a list: the first cell as a heading, the others with their labels.

use unicode_width::UnicodeWidthStr;

use super::blocks::{cut_width, pad};
use crate::model::{Align, Cell, Level, Table};

/// Columns of a phone.
const PHONE: usize = 44;
/// A text column gives way no further than this.
const NARROWEST: usize = 10;
/// Characters of one preformatted block.
const PART: usize = 2_900;

/// The table as monospaced texts, each of which fits one block.
pub(super) fn render(table: &Table) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(title) = &table.title {
        lines.push(title.clone());
    }
    if table.rows.is_empty() {
        lines.push(table.empty.clone().unwrap_or_else(|| "nothing".to_owned()));
        return vec![lines.join("\n")];
    }
    match widths(table) {
        Some(widths) => {
            let titles: Vec<String> = table.columns.iter().map(|column| column.title.clone()).collect();
            lines.push(line(table, &titles, &widths));
            lines.push(widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>().join(" "));
            lines.extend(table.rows.iter().map(|row| {
                let texts: Vec<String> = row.iter().map(shown).collect();
                line(table, &texts, &widths)
            }));
        }
        None => lines.extend(table.rows.iter().map(|row| as_list(table, row))),
    }
    if let Some(total) = table.total.filter(|total| *total > table.rows.len() as u64) {
        lines.push(format!("… {} of {total} shown", table.rows.len()));
    }
    parts(lines)
}

fn shown(cell: &Cell) -> String {
    match cell.level.filter(|level| *level > Level::Note) {
        Some(level) => format!("{} {}", level.sign(), cell.text),
        None => cell.text.clone(),
    }
}

/// The width of each column, or `None` where no table fits a phone.
fn widths(table: &Table) -> Option<Vec<usize>> {
    let mut widths: Vec<usize> = table.columns.iter().map(|column| column.title.width()).collect();
    for row in &table.rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(shown(cell).width());
        }
    }
    let spaces = widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + spaces > PHONE {
        let (widest, width) = widths
            .iter_mut()
            .enumerate()
            .filter(|(index, width)| table.columns[*index].align == Align::Left && **width > NARROWEST)
            .max_by_key(|(_, width)| **width)?;
        let _ = widest;
        *width -= 1;
    }
    Some(widths)
}

fn line(table: &Table, texts: &[String], widths: &[usize]) -> String {
    let cells: Vec<String> = table
        .columns
        .iter()
        .zip(texts)
        .zip(widths)
        .map(|((column, text), width)| {
            let text = cut_width(&text.replace(['\n', '\r', '\t'], " "), *width);
            match column.align {
                Align::Left => pad(&text, *width),
                Align::Right => format!("{}{text}", " ".repeat(width.saturating_sub(text.width()))),
            }
        })
        .collect();
    cells.join(" ").trim_end().to_owned()
}

fn as_list(table: &Table, row: &[Cell]) -> String {
    let mut lines = Vec::new();
    for (column, cell) in table.columns.iter().zip(row) {
        let text = shown(cell);
        if lines.is_empty() {
            lines.push(text);
        } else if !text.is_empty() {
            lines.push(format!("  {}: {text}", column.title));
        }
    }
    lines.join("\n")
}

fn parts(lines: Vec<String>) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in lines {
        let last = parts.last_mut().expect("there is always one part");
        if !last.is_empty() && last.chars().count() + line.chars().count() + 1 > PART {
            parts.push(line);
        } else {
            if !last.is_empty() {
                last.push('\n');
            }
            last.push_str(&line);
        }
    }
    parts
}
