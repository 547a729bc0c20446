//! Paragraphs, tables, bars, series and code.

use super::{Rendering, figures::level_of};
use crate::{
    chart::Series,
    model::{Bar, Block, Cell, Column, Table},
    runbook::{
        BarsSpec, Part, TableSpec,
        language::{expression::number, show},
        long,
    },
};

/// The longest text of a cell or a bar's label.
const CELL: usize = 120;

impl Rendering<'_> {
    /// Appends the body in reading order.
    pub(super) fn body(&mut self, blocks: &mut Vec<Block>) {
        let spec = &self.diagnostic.card;
        for text in &spec.texts {
            if self.holds(text.when.as_deref()) {
                let text = self.text(&text.text, "a text");
                if !text.0.is_empty() {
                    blocks.push(Block::Text(text));
                }
            }
        }
        for table in &spec.tables {
            if self.holds(table.when.as_deref()) && !self.unseen(&table.rows) {
                let table = self.table(table);
                if !table.rows.is_empty() || table.empty.is_some() {
                    blocks.push(Block::Table(table));
                }
            }
        }
        for bars in &spec.bars {
            if self.holds(bars.when.as_deref()) {
                blocks.extend(self.bars(bars));
            }
        }
        for series in &spec.series {
            let points = self.evidence.series.get(&series.figure).cloned().unwrap_or_default();
            // One point is no course of things.
            if points.len() >= 2 {
                let threshold = self.threshold_of(&series.figure);
                let (title, unit) = (series.title.clone(), series.unit.clone());
                blocks.push(Block::Series(Series { title, unit, points, threshold }));
            }
        }
        for code in &spec.code {
            if self.holds(code.when.as_deref()) {
                match self.diagnostic.compiled.render(&code.text, &self.scope) {
                    Ok(marked) => {
                        let text = marked.block();
                        let lines = text.lines().count();
                        if lines > long::LINES {
                            let first: Vec<&str> = text.lines().take(long::LINES).collect();
                            blocks.push(Block::Code(format!(
                                "{}\n… {} of {lines} lines",
                                first.join("\n"),
                                long::LINES
                            )));
                            self.long.push(Part::Code { text, shown: long::LINES });
                        } else if !text.is_empty() {
                            blocks.push(Block::Code(text));
                        }
                    }
                    Err(why) => self.trouble("a block of code", &why),
                }
            }
        }
    }

    /// What a figure of this card is judged by: its warning, or what is worse where it has none.
    fn threshold_of(&self, figure: &str) -> Option<f64> {
        let figure = self.diagnostic.card.figures.iter().find(|spec| spec.name == figure)?;
        let threshold = self.evidence.service.thresholds.get(figure.judge.as_ref()?)?;
        threshold.warn.or(threshold.crit)
    }

    fn table(&mut self, spec: &TableSpec) -> Table {
        let title = spec.title.as_ref().map(|title| self.line(title, "a table's title", None));
        let place = title.as_ref().map_or_else(|| "a table".to_owned(), |title| format!("the table `{title}`"));
        let all = self.rows(&spec.rows, &place);
        let total = all.len();
        let thresholds = &self.evidence.service.thresholds;
        let mut rows = Vec::new();
        for row in all.into_iter().take(long::MOST_ROWS) {
            let scope = self.scope.with("row", row);
            let mut cells = Vec::new();
            for column in &spec.columns {
                let text = show::truncate(&self.line(&column.cell, &place, Some(&scope)), CELL);
                let level = column.value.as_ref().and_then(|value| {
                    let value = self.diagnostic.compiled.value(value, &scope).ok()?;
                    level_of(thresholds.get(column.judge.as_ref()?), &value)
                });
                cells.push(Cell { text, level });
            }
            rows.push(cells);
        }
        let columns =
            spec.columns.iter().map(|column| Column { title: column.title.clone(), align: column.align }).collect();
        let empty = spec.empty.as_ref().filter(|_| rows.is_empty()).map(|empty| self.line(empty, &place, None));
        let mut table = Table { title, columns, total: (total > rows.len()).then_some(total as u64), rows, empty };
        if total > spec.limit {
            self.long.push(Part::Table { table: table.clone(), shown: spec.limit });
            table.rows.truncate(spec.limit);
            table.total = Some(total as u64);
        }
        table
    }

    fn bars(&mut self, spec: &BarsSpec) -> Option<Block> {
        let title = self.line(&spec.title, "a bar chart's title", None);
        let place = format!("the bars `{title}`");
        let mut bars = Vec::new();
        for row in self.rows(&spec.rows, &place) {
            if bars.len() == spec.limit {
                break;
            }
            let scope = self.scope.with("row", row);
            let Ok(value) = self.diagnostic.compiled.value(&spec.value, &scope) else { continue };
            let Some(length) = number(&value) else { continue };
            let scope = scope.with("value", value);
            let label = show::truncate(&self.line(&spec.label, &place, Some(&scope)), CELL);
            let shown = show::truncate(&self.line(&spec.show, &place, Some(&scope)), CELL);
            bars.push(Bar { label, value: length, shown });
        }
        (!bars.is_empty()).then_some(Block::Bars { title, bars })
    }
}
