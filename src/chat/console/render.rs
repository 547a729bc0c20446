//! A card as lines of text.

use super::{
    ink::{Ink, Line, Piece, gap, line_width, paint, piece, width, wrap},
    table,
};
use crate::{
    chart::{Series, sparkline},
    model::{ActionStyle, Bar, Block, Card, Field, Finding, Level, Progress, Span, Text, Tick},
};

const INDENT: usize = 4;

/// How the reader's terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Escape sequences for colour and bold are understood and wanted.
    pub colour: bool,
    /// Columns.
    pub width: usize,
}

impl Style {
    /// For output that is no terminal: no escapes, the width most people read at.
    pub const PIPED: Style = Style { colour: false, width: 100 };
}

/// The card as lines, each ended; `head` stands before the title (`m3`).
/// Nothing in a card can escape: its text is made harmless here.
pub fn render(card: &Card, head: &str, style: &Style) -> String {
    let mut page = Page { columns: style.width.clamp(40, 160) - INDENT, lines: Vec::new() };
    page.card(card);

    let mut title = vec![piece(head, Ink::Dim), gap(2_usize.max(INDENT.saturating_sub(width(head))))];
    let signed = usize::from(card.level.is_some());
    if let Some(level) = card.level {
        title.push(piece(&format!("{} {}", level.sign(), level.word()), Ink::Level(level)));
        title.push(gap(2 * signed));
    }
    title.push(piece(&card.title, Ink::Strong));

    let mut out = String::new();
    for (at, line) in wrap_keeping_gaps(title, page.columns + INDENT).into_iter().enumerate() {
        if at > 0 {
            out.push_str("    ");
        }
        out.push_str(&paint(&line, style.colour));
        out.push('\n');
    }
    for line in page.lines {
        if !line.is_empty() {
            out.push_str("    ");
            out.push_str(&paint(&line, style.colour));
        }
        out.push('\n');
    }
    out
}

/// A title usually fits; only one that does not is broken, at the cost of its double spaces.
fn wrap_keeping_gaps(line: Line, columns: usize) -> Vec<Line> {
    if line_width(&line) <= columns { vec![line] } else { wrap(&line, columns.saturating_sub(INDENT)) }
}

struct Page {
    columns: usize,
    lines: Vec<Line>,
}

impl Page {
    fn card(&mut self, card: &Card) {
        if let Some(verdict) = &card.verdict {
            let ink = card.level.map_or(Ink::Strong, Ink::Level);
            for line in spans(verdict, ink) {
                self.wrapped(&line, 0);
            }
        }
        if !card.context.is_empty() {
            self.wrapped(&[piece(&card.context.join(" · "), Ink::Dim)], 0);
        }
        let mut under_heading = false;
        for block in &card.blocks {
            if !under_heading {
                self.blank();
            }
            self.block(block);
            under_heading = matches!(block, Block::Heading(_));
        }
        if !card.actions.is_empty() {
            self.blank();
            for (at, action) in card.actions.iter().enumerate() {
                let label = format!("[{}] {}", at + 1, action.label);
                let ink = match action.style {
                    ActionStyle::Plain | ActionStyle::Choice | ActionStyle::Ask => Ink::Plain,
                    ActionStyle::Primary => Ink::Strong,
                    ActionStyle::Danger => Ink::Level(Level::Crit),
                };
                let typed = if action.style == ActionStyle::Ask { " TEXT" } else { "" };
                let command = format!("/redis {}{typed}", action.command);
                self.wrapped(&[piece(&label, ink), piece(" → ", Ink::Dim), piece(&command, Ink::Code)], 4);
            }
        }
        if let Some(footer) = &card.footer {
            self.blank();
            for line in footer.lines() {
                self.wrapped(&[piece(line, Ink::Dim)], 0);
            }
        }
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Text(text) => {
                for line in spans(text, Ink::Plain) {
                    self.wrapped(&line, 0);
                }
            }
            Block::Heading(heading) => self.wrapped(&[piece(heading, Ink::Strong)], 0),
            Block::Fields(fields) => self.fields(fields),
            Block::Table(table) => self.lines.extend(table::lines(table, self.columns)),
            Block::Findings(findings) => {
                for finding in findings {
                    self.finding(finding);
                }
            }
            Block::Code(code) => self.code(code),
            Block::Bars { title, bars } => self.bars(title, bars),
            Block::Series(series) => self.series(series),
            Block::Progress(progress) => self.progress(progress),
            Block::Checklist(items) => {
                for (tick, text) in items {
                    let (mark, ink) = match tick {
                        Tick::Done => ("[x] ", Ink::Level(Level::Ok)),
                        Tick::Failed => ("[!] ", Ink::Level(Level::Crit)),
                        Tick::Open => ("[ ] ", Ink::Plain),
                        Tick::Skipped => ("[-] ", Ink::Dim),
                    };
                    self.led(piece(mark, ink), spans(text, Ink::Plain));
                }
            }
        }
    }

    /// Label, value, and what the thresholds say in a word.
    fn fields(&mut self, fields: &[Field]) {
        let longest = fields.iter().map(|field| width(&super::clean(&field.label))).max().unwrap_or(0);
        let label_columns = longest.min(self.columns / 3);
        for field in fields {
            let label = piece(&field.label, Ink::Dim);
            let pad = (label_columns + 2).saturating_sub(width(&label.text)).max(2);
            let hang = label_columns + 2;
            let ink = field.level.map_or(Ink::Plain, Ink::Level);
            let mut value = vec![piece(&field.value, ink)];
            if let Some(level) = field.level.filter(|level| *level != Level::Ok) {
                value.push(piece(&format!(" [{}]", level.word()), Ink::Level(level)));
            }
            let room = self.columns.saturating_sub(hang);
            let mut parts = Vec::new();
            if let Some(hint) = &field.hint {
                let beside = piece(&format!(" – {hint}"), Ink::Dim);
                if line_width(&value) + width(&beside.text) <= room {
                    value.push(beside);
                } else {
                    parts = wrap(&[piece(hint, Ink::Dim)], room);
                }
            }
            parts.splice(0..0, wrap(&value, room));
            for (at, part) in parts.into_iter().enumerate() {
                let mut line = if at == 0 { vec![label.clone(), gap(pad)] } else { vec![gap(hang)] };
                line.extend(part);
                self.lines.push(line);
            }
        }
    }

    fn finding(&mut self, finding: &Finding) {
        let word = format!("{:<8}  ", finding.level.word());
        self.led(piece(&word, Ink::Level(finding.level)), spans(&finding.what, Ink::Plain));
        if let Some(evidence) = &finding.evidence {
            for line in evidence.lines() {
                self.led(gap(10), vec![vec![piece(line, Ink::Dim)]]);
            }
        }
        if let Some(next) = &finding.next {
            let mut lines = spans(next, Ink::Plain);
            lines[0].insert(0, piece("next: ", Ink::Dim));
            self.led(gap(10), lines);
        }
    }

    /// As it came; a line that is too long goes on in the next, because nothing of it may be lost.
    fn code(&mut self, code: &str) {
        for line in code.replace("\r\n", "\n").trim_end_matches('\n').split('\n') {
            let line = piece(&line.replace('\t', "    "), Ink::Code);
            for (at, part) in super::ink::fold(&line.text, self.columns.saturating_sub(4)).into_iter().enumerate() {
                let mark = if at == 0 { "│ " } else { "│ ↳ " };
                self.lines.push(vec![piece(mark, Ink::Dim), Piece { text: part, ink: Ink::Code }]);
            }
        }
    }

    fn bars(&mut self, title: &str, bars: &[Bar]) {
        if !title.is_empty() {
            self.wrapped(&[piece(title, Ink::Strong)], 0);
        }
        let most = bars.iter().map(|bar| bar.value).filter(|v| v.is_finite()).fold(0.0_f64, f64::max);
        let labels: Vec<String> = bars.iter().map(|bar| super::clean(&bar.label).into_owned()).collect();
        let label_columns = labels.iter().map(|l| width(l)).max().unwrap_or(0).min(self.columns / 3);
        let shown_columns = bars.iter().map(|bar| width(&super::clean(&bar.shown))).max().unwrap_or(0);
        let room = self.columns.saturating_sub(label_columns + shown_columns + 4).clamp(4, 40);
        for (bar, label) in bars.iter().zip(labels) {
            let share = if most > 0.0 && bar.value.is_finite() { (bar.value / most).clamp(0.0, 1.0) } else { 0.0 };
            let drawn = drawn_bar(share, room);
            let rest = room.saturating_sub(width(&drawn));
            let shown = piece(&bar.shown, Ink::Plain);
            let parts = super::ink::chop(&label, label_columns);
            let last = parts.len() - 1;
            for (at, part) in parts.into_iter().enumerate() {
                let mut line = vec![gap(label_columns.saturating_sub(width(&part)))];
                line.insert(0, Piece { text: part, ink: Ink::Plain });
                if at == last {
                    line.extend([gap(2), piece(&drawn, Ink::Code), gap(rest + 2), shown.clone()]);
                }
                self.lines.push(line);
            }
        }
    }

    fn series(&mut self, series: &Series) {
        let values: Vec<f64> = series.points.iter().map(|(_, value)| *value).collect();
        let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let Some(last) = finite.last() else {
            self.wrapped(&[piece(&series.title, Ink::Strong), piece(": nothing recorded yet", Ink::Dim)], 0);
            return;
        };
        let low = finite.iter().copied().fold(f64::INFINITY, f64::min);
        let high = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let over = match (series.points.first(), series.points.last()) {
            (Some((from, _)), Some((to, _))) if to > from => format!(" over {}", spoken(to - from)),
            _ => String::new(),
        };
        let unit = &series.unit;
        let now = format!(" {} now", quantity(*last, unit));
        let range = format!(" ({} to {}{over})", quantity(low, unit), quantity(high, unit));
        let drawn = sparkline(&values, 40.min(self.columns / 2));
        self.wrapped(
            &[
                piece(&format!("{} ", series.title), Ink::Dim),
                piece(&drawn, Ink::Code),
                piece(&now, Ink::Plain),
                piece(&range, Ink::Dim),
            ],
            4,
        );
    }

    fn progress(&mut self, progress: &Progress) {
        let figures = progress_figures(progress);
        let mut line = vec![piece(&progress.doing, Ink::Strong), gap(1)];
        if let Some(total) = progress.total.filter(|&total| total > 0) {
            let share = (progress.done as f64 / total as f64).clamp(0.0, 1.0);
            let room = 20;
            let full = (share * room as f64).floor() as usize;
            let bar = format!("[{}{}]", "█".repeat(full), "░".repeat(room - full));
            line.push(piece(&bar, Ink::Code));
        }
        line.push(piece(&format!(" {figures}"), Ink::Plain));
        self.wrapped(&line, 4);
    }

    fn blank(&mut self) {
        self.lines.push(Line::new());
    }

    /// A paragraph; lines after the first hang by `hang`.
    fn wrapped(&mut self, line: &[Piece], hang: usize) {
        for (at, part) in wrap(line, self.columns.saturating_sub(hang)).into_iter().enumerate() {
            let mut out = Line::new();
            if at > 0 && hang > 0 {
                out.push(gap(hang));
            }
            out.extend(part);
            self.lines.push(out);
        }
    }

    /// Lines that all stand right of a mark before the first.
    fn led(&mut self, mark: Piece, lines: Vec<Line>) {
        let hang = width(&mark.text);
        let mut mark = Some(mark);
        for line in lines {
            for part in wrap(&line, self.columns.saturating_sub(hang)) {
                let mut out = vec![mark.take().unwrap_or_else(|| gap(hang))];
                out.extend(part);
                self.lines.push(out);
            }
        }
    }
}

/// The line of a run under way, for readers who get one line each time: no escapes, no bar.
pub(super) fn progress_line(card: &Card) -> Option<String> {
    let progress = card.blocks.iter().find_map(|block| match block {
        Block::Progress(progress) => Some(progress),
        _ => None,
    })?;
    Some(super::clean(&format!("{}: {}", progress.doing, progress_figures(progress))).into_owned())
}

fn progress_figures(progress: &Progress) -> String {
    let mut figures = match progress.total.filter(|&total| total > 0) {
        Some(total) => {
            let percent = progress.done.min(total) as f64 * 100.0 / total as f64;
            format!("{percent:.0} %, {} of {} {}", grouped(progress.done), grouped(total), progress.unit)
        }
        None => format!("{} {}", grouped(progress.done), progress.unit),
    };
    if let Some(rate) = progress.rate.filter(|rate| rate.is_finite()) {
        figures.push_str(&format!(", {}/s", grouped(rate.round().max(0.0) as u64)));
    }
    if let Some(left) = progress.left_s.filter(|left| left.is_finite() && *left >= 0.0) {
        figures.push_str(&format!(", {} left", spoken(left.ceil() as i64)));
    }
    figures
}

/// A text's spans as lines; a line break in it is one.
fn spans(text: &Text, plain: Ink) -> Vec<Line> {
    let mut lines = vec![Line::new()];
    for span in &text.0 {
        let (text, ink, mark) = match span {
            Span::Plain(text) => (text.clone(), plain, ""),
            Span::Strong(text) => (text.clone(), Ink::Strong, ""),
            Span::Code(text) => (text.clone(), Ink::Code, "`"),
            Span::Mention(person) => (format!("@{person}"), Ink::Strong, ""),
        };
        for (at, part) in text.split('\n').enumerate() {
            if at > 0 {
                lines.push(Line::new());
            }
            if let Some(line) = lines.last_mut() {
                line.push(piece(&format!("{mark}{part}{mark}"), ink));
            }
        }
    }
    lines
}

fn drawn_bar(share: f64, room: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share * room as f64 * 8.0).round() as usize;
    // Something is there, however small its share.
    let eighths = if share > 0.0 { eighths.max(1) } else { eighths };
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn quantity(value: f64, unit: &str) -> String {
    if unit == "bytes" {
        let mut value = value;
        let mut name = "B";
        for larger in ["KiB", "MiB", "GiB", "TiB"] {
            if value.abs() < 1024.0 {
                break;
            }
            value /= 1024.0;
            name = larger;
        }
        return if name == "B" { format!("{value:.0} B") } else { format!("{value:.1} {name}") };
    }
    let number = match value.abs() {
        v if v >= 1000.0 => format!("{}{}", if value < 0.0 { "-" } else { "" }, grouped(v.round() as u64)),
        v if v >= 10.0 || value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    };
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

/// Seconds as people say them: the two largest units.
fn spoken(seconds: i64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut out = String::new();
    for (size, name) in units.iter().skip(first).take(2) {
        let count = rest / size;
        rest %= size;
        if count > 0 || out.is_empty() {
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(&format!("{count} {name}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Align, Cell, Column, Table};

    fn field(label: &str, value: &str, level: Option<Level>, hint: Option<&str>) -> Field {
        Field { label: label.to_owned(), value: value.to_owned(), level, hint: hint.map(str::to_owned) }
    }

    fn rich() -> Card {
        let cell = |text: &str, level| Cell { text: text.to_owned(), level };
        let column = |title: &str, align| Column { title: title.to_owned(), align };
        let bar =
            |label: &str, value: f64, shown: &str| Bar { label: label.to_owned(), value, shown: shown.to_owned() };
        Card {
            title: "status · prospectflow".to_owned(),
            level: Some(Level::Crit),
            verdict: Some(Text::notation("Memory is at *92 %* of its limit and nothing is evicted: writes will fail soon.")),
            context: vec!["prod".to_owned(), "primary 127.0.0.1:6379".to_owned(), "run id 3f2a9c01".to_owned()],
            blocks: vec![
                Block::Fields(vec![
                    field("Role", "primary, no replicas", None, None),
                    field("Memory", "24.1 MiB of 26.2 MiB (92 %)", Some(Level::Crit), Some("normal up to 70 %, +2.0 MiB since 03:12")),
                    field("Clients", "19 of 500", Some(Level::Ok), None),
                    field("Hit ratio", "86 %", Some(Level::Warn), Some("normal from 90 %")),
                ]),
                Block::Heading("Largest prefixes".to_owned()),
                Block::Bars {
                    title: String::new(),
                    bars: vec![
                        bar("session:*", 6.1e6, "6.1 MiB"),
                        bar("tenant:*:wm:*", 3.0e6, "3.0 MiB"),
                        bar("ratelimit:*", 2.0e4, "20 KiB"),
                    ],
                },
                Block::Series(Series {
                    title: "used memory".to_owned(),
                    unit: "bytes".to_owned(),
                    points: (0..60).map(|at| (1_700_000_000 + at * 120, 2.0e7 + (at * at) as f64 * 1500.0)).collect(),
                    threshold: None,
                }),
                Block::Findings(vec![
                    Finding {
                        level: Level::Crit,
                        what: Text::plain("600 sessions never expire, the oldest is 90 days old"),
                        evidence: Some("session:*: 12,000 keys, 5 % without TTL".to_owned()),
                        next: Some(Text::notation("`/redis ttl-audit prospectflow session:*`")),
                    },
                    Finding {
                        level: Level::Note,
                        what: Text(vec![Span::Plain("told to ".to_owned()), Span::Mention("ana".parse().unwrap())]),
                        evidence: None,
                        next: None,
                    },
                ]),
                Block::Table(Table {
                    title: Some("Clients by name".to_owned()),
                    columns: vec![
                        column("name", Align::Left),
                        column("address", Align::Left),
                        column("count", Align::Right),
                        column("idle", Align::Right),
                    ],
                    rows: vec![
                        vec![cell("prospectflow-api", None), cell("127.0.0.1", None), cell("7", None), cell("0 s", Some(Level::Ok))],
                        vec![
                            cell("a-worker-whose-name-is-much-longer-than-anybody-needs", None),
                            cell("fe80::1ff:fe23:4567:890a", None),
                            cell("1,204", Some(Level::Warn)),
                            cell("3 d", None),
                        ],
                        vec![cell("東京-api", None), cell("127.0.0.1", None), cell("1", None), cell("2 s", None)],
                    ],
                    empty: None,
                    total: Some(31),
                }),
                Block::Code("{\n\t\"userId\": \"…\",\n  \"note\": \"\u{1b}[31mnot red\u{1b}[0m and \u{202e}not turned round\"\n}".to_owned()),
                Block::Progress(Progress {
                    doing: "sampling keys".to_owned(),
                    done: 12_400,
                    total: Some(20_000),
                    unit: "keys".to_owned(),
                    rate: Some(8_300.0),
                    left_s: Some(0.9),
                }),
                Block::Checklist(vec![
                    (Tick::Done, Text::plain("PING answers")),
                    (Tick::Failed, Text::plain("replica is connected")),
                    (Tick::Open, Text::plain("application reports health")),
                    (Tick::Skipped, Text::plain("disk: cannot be seen from here")),
                ]),
            ],
            actions: vec![
                Action { label: "Memory".to_owned(), command: "memory prospectflow".to_owned(), style: ActionStyle::Primary },
                Action { label: "Doctor".to_owned(), command: "doctor prospectflow".to_owned(), style: ActionStyle::Plain },
            ],
            footer: Some("run 7K2Q0A1B · 12 ms".to_owned()),
        }
    }

    #[test]
    fn a_rich_card_reads_well_at_every_width() {
        for columns in [60, 80, 120] {
            let shown = render(&rich(), "m1", &Style { colour: false, width: columns });
            insta::assert_snapshot!(format!("rich_{columns}"), shown);
            assert!(shown.lines().all(|line| width(line) <= columns), "{shown}");
        }
        insta::assert_snapshot!("rich_piped", render(&rich(), "m1", &Style::PIPED));
    }

    #[test]
    fn colour_adds_escapes_and_changes_no_text() {
        let plain = render(&rich(), "m1", &Style { colour: false, width: 80 });
        let coloured = render(&rich(), "m1", &Style { colour: true, width: 80 });
        let mut bare = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\x1b[") {
            bare.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        bare.push_str(rest);
        assert!(coloured.len() > plain.len());
        assert_eq!(bare, plain);
        assert!(!plain.contains('\x1b') && !plain.contains('\u{202e}'));
    }

    #[test]
    fn an_empty_card_is_a_title() {
        let card = Card { title: "pong".to_owned(), ..Card::default() };
        assert_eq!(render(&card, "m7", &Style::PIPED), "m7  pong\n");
    }

    #[test]
    fn lengths_of_time_are_said_in_two_units() {
        assert_eq!(spoken(0), "0 s");
        assert_eq!(spoken(3_725), "1 h 2 m");
        assert_eq!(spoken(172_800), "2 d");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
