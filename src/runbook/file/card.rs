//! The card of a command file.

use super::{
    check::Checker,
    read::At,
    wire::{self, AlignWord, LevelWord, Str},
};
use crate::{
    model::{Align, Level},
    runbook::{
        ActionSpec, BarsSpec, CardSpec, CheckSpec, CodeSpec, ColumnSpec, FigureSpec, FindingSpec, SeriesSpec,
        TableSpec, TextSpec,
    },
};

/// `last.at` and `healthy.at` are times.
const TAKEN: &str = "at";

pub(super) fn card(checker: &mut Checker, wire: Option<wire::Card>) -> CardSpec {
    let Some(wire) = wire else { return CardSpec::default() };
    checker.all_figures =
        wire.figures.iter().filter_map(|figure| figure.value.name.as_ref().map(|name| name.value.clone())).collect();
    let figures: Vec<FigureSpec> = wire.figures.into_iter().filter_map(|at| figure(checker, at)).collect();
    checker.template(wire.healthy.as_ref(), "healthy", &[]);
    CardSpec {
        healthy: text(wire.healthy),
        figures,
        findings: wire.findings.into_iter().filter_map(|at| finding(checker, at)).collect(),
        checks: wire.checks.into_iter().filter_map(|at| check(checker, at)).collect(),
        texts: wire
            .texts
            .into_iter()
            .filter_map(|at| paragraph(checker, at, "this text"))
            .map(|(when, text)| TextSpec { when, text })
            .collect(),
        tables: wire.tables.into_iter().filter_map(|at| table(checker, at)).collect(),
        bars: wire.bars.into_iter().filter_map(|at| bars(checker, at)).collect(),
        series: wire.series.into_iter().filter_map(|at| series(checker, at)).collect(),
        code: wire
            .code
            .into_iter()
            .filter_map(|at| paragraph(checker, at, "this code"))
            .map(|(when, text)| CodeSpec { when, text })
            .collect(),
        actions: wire.actions.into_iter().filter_map(|at| action(checker, at)).collect(),
        gather: wire.gather,
    }
}

fn text(at: Option<Str>) -> Option<String> {
    at.map(|at| at.value)
}

fn bare<T>(at: At<T>) -> (T, At<()>) {
    (at.value, At { value: (), span: at.span })
}

fn figure(checker: &mut Checker, at: At<wire::Figure>) -> Option<FigureSpec> {
    let (figure, here) = bare(at);
    let name = checker.need(figure.name, "name", &here, "this figure");
    let of = name.as_ref().map_or_else(|| "this figure".to_owned(), |name| format!("the figure `{}`", name.value));
    let value = checker.need(figure.value, "value", &here, &of);
    checker.expression(value.as_ref(), "value", &[]);
    checker.expression(figure.when.as_ref(), "when", &[]);
    checker.template(figure.show.as_ref(), "show", &["value"]);
    let name = name?;
    let fits = !name.value.is_empty()
        && name.value.len() <= 48
        && name.value.starts_with(|c: char| c.is_ascii_lowercase())
        && name.value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !fits || name.value == TAKEN {
        checker.say(
            &name,
            format!("`{}` cannot be a figure's name", name.value),
            "use a-z, 0-9 and `_`, a letter first; not `at`",
        );
    } else if !checker.figures.insert(name.value.clone()) {
        checker.say(&name, format!("there are two figures called `{}`", name.value), "rename one of them");
    }
    if figure.otherwise.is_some() && figure.label.is_none() {
        checker.say(&here, format!("`otherwise` of {of} is never shown"), "give it a `label`, or drop `otherwise`");
    }
    Some(FigureSpec {
        name: name.value,
        label: figure.label,
        value: value?.value,
        show: text(figure.show),
        judge: text(figure.judge),
        when: text(figure.when),
        otherwise: figure.otherwise,
        remember: figure.remember.unwrap_or(true),
    })
}

fn finding(checker: &mut Checker, at: At<wire::Finding>) -> Option<FindingSpec> {
    let (finding, here) = bare(at);
    checker.expression(finding.when.as_ref(), "when", &[]);
    checker.template(finding.what.as_ref(), "what", &[]);
    checker.template(finding.evidence.as_ref(), "evidence", &[]);
    checker.template(finding.next.as_ref(), "next", &[]);
    let when = checker.need(finding.when, "when", &here, "this finding");
    let level = checker.need(finding.level, "level", &here, "this finding");
    let what = checker.need(finding.what, "what", &here, "this finding");
    Some(FindingSpec {
        when: when?.value,
        level: match level? {
            LevelWord::Ok => Level::Ok,
            LevelWord::Note => Level::Note,
            LevelWord::Unknown => Level::Unknown,
            LevelWord::Warn => Level::Warn,
            LevelWord::Crit => Level::Crit,
        },
        what: what?.value,
        evidence: text(finding.evidence),
        next: text(finding.next),
    })
}

fn check(checker: &mut Checker, at: At<wire::CheckLine>) -> Option<CheckSpec> {
    let (check, here) = bare(at);
    checker.template(check.what.as_ref(), "what", &[]);
    checker.expression(check.holds.as_ref(), "holds", &[]);
    checker.expression(check.when.as_ref(), "when", &[]);
    checker.template(check.otherwise.as_ref(), "otherwise", &[]);
    let what = checker.need(check.what, "what", &here, "this check");
    let holds = checker.need(check.holds, "holds", &here, "this check");
    Some(CheckSpec { what: what?.value, holds: holds?.value, when: text(check.when), otherwise: text(check.otherwise) })
}

fn paragraph(checker: &mut Checker, at: At<wire::Paragraph>, of: &str) -> Option<(Option<String>, String)> {
    let (paragraph, here) = bare(at);
    checker.expression(paragraph.when.as_ref(), "when", &[]);
    checker.template(paragraph.text.as_ref(), "text", &[]);
    let words = checker.need(paragraph.text, "text", &here, of)?;
    Some((text(paragraph.when), words.value))
}

fn table(checker: &mut Checker, at: At<wire::Table>) -> Option<TableSpec> {
    let (table, here) = bare(at);
    checker.template(table.title.as_ref(), "title", &[]);
    checker.expression(table.rows.as_ref(), "rows", &[]);
    checker.template(table.empty.as_ref(), "empty", &[]);
    checker.expression(table.when.as_ref(), "when", &[]);
    let rows = checker.need(table.rows, "rows", &here, "this table");
    if table.columns.is_empty() {
        checker.say(
            &here,
            "this table has no columns".to_owned(),
            "add `columns = [{ title = \"…\", cell = \"{{ row.… }}\" }]`",
        );
    }
    let columns = table.columns.into_iter().filter_map(|at| column(checker, at)).collect();
    Some(TableSpec {
        title: text(table.title),
        rows: rows?.value,
        columns,
        limit: checker.count(table.limit.as_ref(), "limit", 1, 100, 15) as usize,
        empty: text(table.empty),
        when: text(table.when),
    })
}

fn column(checker: &mut Checker, at: At<wire::Column>) -> Option<ColumnSpec> {
    let (column, here) = bare(at);
    checker.template(column.cell.as_ref(), "cell", &["row"]);
    checker.expression(column.value.as_ref(), "value", &["row"]);
    if column.value.is_some() != column.judge.is_some() {
        checker.say(
            &here,
            "a column needs both `value` and `judge`, or neither".to_owned(),
            "`value` is the number that the threshold `judge` judges",
        );
    }
    let cell = checker.need(column.cell, "cell", &here, "this column");
    let title = checker.need(column.title, "title", &here, "this column");
    Some(ColumnSpec {
        title: title?,
        cell: cell?.value,
        align: match column.align {
            Some(AlignWord::Right) => Align::Right,
            _ => Align::Left,
        },
        value: text(column.value),
        judge: text(column.judge),
    })
}

fn bars(checker: &mut Checker, at: At<wire::Bars>) -> Option<BarsSpec> {
    let (bars, here) = bare(at);
    checker.template(bars.title.as_ref(), "title", &[]);
    checker.expression(bars.rows.as_ref(), "rows", &[]);
    checker.template(bars.label.as_ref(), "label", &["row"]);
    checker.expression(bars.value.as_ref(), "value", &["row"]);
    checker.template(bars.show.as_ref(), "show", &["row", "value"]);
    checker.expression(bars.when.as_ref(), "when", &[]);
    let limit = checker.count(bars.limit.as_ref(), "limit", 1, 50, 12) as usize;
    let title = checker.need(bars.title, "title", &here, "this bar chart");
    let rows = checker.need(bars.rows, "rows", &here, "this bar chart");
    let label = checker.need(bars.label, "label", &here, "this bar chart");
    let value = checker.need(bars.value, "value", &here, "this bar chart");
    Some(BarsSpec {
        title: title?.value,
        rows: rows?.value,
        label: label?.value,
        value: value?.value,
        show: bars.show.map_or_else(|| "{{ value | number }}".to_owned(), |show| show.value),
        limit,
        when: text(bars.when),
    })
}

fn series(checker: &mut Checker, at: At<wire::Series>) -> Option<SeriesSpec> {
    let (series, here) = bare(at);
    let figure = checker.need(series.figure, "figure", &here, "this series")?;
    if !checker.all_figures.contains(&figure.value) {
        checker.say(
            &figure,
            format!("`{}` is not a figure of this card", figure.value),
            "a series shows a remembered figure over time",
        );
    }
    Some(SeriesSpec {
        title: series.title.unwrap_or_else(|| figure.value.replace('_', " ")),
        unit: series.unit.unwrap_or_default(),
        figure: figure.value,
    })
}

fn action(checker: &mut Checker, at: At<wire::Button>) -> Option<ActionSpec> {
    let (button, here) = bare(at);
    checker.template(button.label.as_ref(), "label", &[]);
    checker.template(button.command.as_ref(), "command", &[]);
    checker.expression(button.when.as_ref(), "when", &[]);
    let label = checker.need(button.label, "label", &here, "this action");
    let command = checker.need(button.command, "command", &here, "this action");
    Some(ActionSpec { label: label?.value, command: command?.value, when: text(button.when) })
}
