//! Answers too long for one card: what is kept of them, and their pages.
//!
//! The first page is the card itself. What follows is cut from what was kept
//! when the card was made; no server is asked again. Everything here is text
//! that was fit to be shown.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use super::{language::show, words};
use crate::{
    diagnosis::Observation,
    model::{
        Action, ActionStyle, Align, Bar, Block, Card, Cell, Column, InstanceName, PersonId, RunId, ServiceName, Table,
        Text,
    },
};

/// The version of [`LongAnswer`].
pub const LONG_ANSWER_VERSION: u32 = 1;
/// Rows of a table that are kept at most.
pub(super) const MOST_ROWS: usize = 1_000;
/// Rows of a page.
const ROWS: usize = 20;
/// Lines of monospaced text on a card or a page.
pub(super) const LINES: usize = 40;
/// Bars of an opened prefix.
const BARS: usize = 12;
/// Prefixes below an opened one that have a button.
const OPENED: usize = 6;

/// Something of a card that is longer than the card shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A table with all its rows, of which the card shows the first.
    Table {
        /// All of it.
        table: Table,
        /// Rows on the card.
        shown: usize,
    },
    /// Monospaced text, of which the card shows the first lines.
    Code {
        /// All of it.
        text: String,
        /// Lines on the card.
        shown: usize,
    },
}

/// One prefix of a survey's tree, everything below it counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    /// `tenant:*:wm:*`; `*` is everything.
    pub prefix: String,
    /// How many parts it has.
    pub depth: u64,
    /// Keys.
    pub keys: f64,
    /// Bytes; 0 where they were not asked.
    #[serde(default)]
    pub bytes: f64,
    /// Share of the whole, 0 to 1.
    #[serde(default)]
    pub share: f64,
    /// Share of its keys without TTL, 0 to 1.
    #[serde(default)]
    pub endless_share: f64,
}

/// An answer that can be read on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LongAnswer {
    /// Of this document.
    pub version: u32,
    /// The run it is the answer of.
    pub run: RunId,
    /// The command, whose rights it takes to read on.
    pub command: String,
    /// The service it is about.
    pub service: ServiceName,
    /// Which of its instances.
    pub instance: InstanceName,
    /// When it was looked at, Unix milliseconds.
    pub at_ms: i64,
    /// It was said to this person alone; `None`: to everybody there.
    pub reader: Option<PersonId>,
    /// The first page, with the command's own buttons.
    pub card: Card,
    /// What the card shows the beginning of.
    pub parts: Vec<Part>,
    /// The tree of a survey by prefix, parents before children.
    pub tree: Vec<Branch>,
}

/// The tree of a survey among what was seen.
pub(super) fn tree<'a>(seen: impl Iterator<Item = &'a Observation>) -> Vec<Branch> {
    let values = seen.filter_map(|observation| observation.merged.as_ref().ok());
    let surveys = values.filter(|value| value.get("survey").and_then(Value::as_str) == Some("memkeys"));
    surveys
        .filter_map(|survey| Vec::<Branch>::deserialize(survey.get("tree")?).ok())
        .find(|tree| tree.len() > 1)
        .unwrap_or_default()
}

/// Some rows or lines of one part.
struct Slice<'a> {
    part: &'a Part,
    /// Which of the part's rows or lines, in order.
    places: Vec<usize>,
}

impl LongAnswer {
    /// Is there anything to read on?
    pub fn is_long(&self) -> bool {
        !self.parts.is_empty()
    }

    /// How many pages there are; the card itself is the first.
    pub fn pages(&self) -> usize {
        1 + self.rest().len()
    }

    /// The first page: the card, with buttons to read on.
    pub fn first(&self) -> Card {
        let mut card = self.card.clone();
        if self.is_long() {
            card.actions.extend(self.turning(1, self.pages(), None));
        }
        card
    }

    /// A page, from 1; past the last one it is the last.
    pub fn page(&self, number: usize) -> Card {
        let rest = self.rest();
        let pages = 1 + rest.len();
        let number = number.clamp(1, pages);
        match number.checked_sub(2).map(|at| &rest[at]) {
            None => self.first(),
            Some(slice) => self.card_of(vec![slice.block()], None, number, pages, None),
        }
    }

    /// A page, from 1, of the rows and lines that hold a text, whatever its case.
    pub fn filtered(&self, wanted: &str, number: usize) -> Card {
        let folded = wanted.to_lowercase();
        let (mut held, mut all) = (0, 0);
        let mut slices = Vec::new();
        for part in &self.parts {
            all += part.len();
            let places: Vec<usize> = (0..part.len()).filter(|&at| part.holds(at, &folded)).collect();
            held += places.len();
            slices.extend(places.chunks(part.a_page()).map(|chunk| Slice { part, places: chunk.to_vec() }));
        }
        let pages = slices.len().max(1);
        let number = number.clamp(1, pages);
        let verdict = match held {
            0 => format!("None of {all} rows holds “{wanted}”."),
            1 => format!("1 of {all} rows holds “{wanted}”."),
            held => format!("{held} of {all} rows hold “{wanted}”."),
        };
        let blocks = slices.get(number - 1).map(Slice::block).into_iter().collect();
        self.card_of(blocks, Some(Text::plain(verdict)), number, pages, Some(wanted))
    }

    /// What lies directly below a prefix of the tree, and the prefix itself; `None`: there is no such prefix.
    pub fn open(&self, prefix: &str) -> Option<Card> {
        let at = self.tree.iter().position(|branch| branch.prefix == prefix)?;
        let opened = &self.tree[at];
        let below = self.below(at);
        let weighed = self.tree.iter().any(|branch| branch.bytes > 0.0);
        let weight = |branch: &Branch| if weighed { branch.bytes } else { branch.keys };
        let keys = |branch: &Branch| match branch.keys.round() {
            1.0 => "1 key".to_owned(),
            many => format!("{} keys", show::number(many)),
        };
        let mut sorted: Vec<&Branch> = below.clone();
        sorted.sort_by(|a, b| weight(b).total_cmp(&weight(a)).then_with(|| a.prefix.cmp(&b.prefix)));
        let shown = |branch: &Branch| match weighed {
            true => format!("{} · {}", show::bytes(branch.bytes), show::percent(branch.share)),
            false => keys(branch),
        };
        let size = if weighed { format!("{}, {}", keys(opened), shown(opened)) } else { keys(opened) };
        let verdict = match sorted.len() {
            0 => format!("{prefix}: {size}. Nothing below it is told apart."),
            many => format!("{prefix}: {size}. Directly below it: {many}."),
        };
        let mut blocks = Vec::new();
        if !sorted.is_empty() {
            let bars = sorted.iter().take(BARS);
            let bar =
                |branch: &&Branch| Bar { label: branch.prefix.clone(), value: weight(branch), shown: shown(branch) };
            let title = if weighed { "Bytes by prefix" } else { "Keys by prefix" };
            blocks.push(Block::Bars { title: title.to_owned(), bars: bars.map(bar).collect() });
            let column = |title: &str, align| Column { title: title.to_owned(), align };
            let cell = |text: String| Cell { text, level: None };
            let row = |branch: &&Branch| {
                vec![
                    cell(branch.prefix.clone()),
                    cell(show::number(branch.keys.round())),
                    cell(show::percent(branch.endless_share)),
                ]
            };
            blocks.push(Block::Table(Table {
                title: Some("By prefix".to_owned()),
                columns: vec![
                    column("Prefix", Align::Left),
                    column("Keys", Align::Right),
                    column("No TTL", Align::Right),
                ],
                rows: sorted.iter().take(ROWS).map(row).collect(),
                empty: None,
                total: (sorted.len() > ROWS).then_some(sorted.len() as u64),
            }));
        }
        let open = |branch: &Branch, label: String| Action {
            label,
            command: format!("open {} {}", self.run, words::always_quote(&branch.prefix)),
            style: ActionStyle::Plain,
        };
        let deeper = |branch: &&&Branch| {
            let at = self.tree.iter().position(|other| std::ptr::eq(other, **branch));
            at.is_some_and(|at| !self.below(at).is_empty())
        };
        let mut actions: Vec<Action> = sorted
            .iter()
            .filter(deeper)
            .take(OPENED)
            .map(|branch| open(branch, format!("Open {}", short(&branch.prefix))))
            .collect();
        if let Some(above) = self.above(at) {
            actions.push(open(above, format!("Up to {}", short(&above.prefix))));
        }
        actions.push(self.to(1, "Back to the card", None));
        Some(Card {
            title: self.card.title.clone(),
            verdict: Some(Text::plain(verdict)),
            context: self.card.context.clone(),
            blocks,
            actions,
            footer: Some(self.footer("from the stored survey")),
            ..Card::default()
        })
    }

    /// Everything, as a text file.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.card.title);
        if let Some(verdict) = &self.card.verdict {
            text += &format!("{}\n", verdict.to_plain());
        }
        text += &format!("{}\n{}\n", self.card.context.join(" · "), self.footer("everything that was kept"));
        for part in &self.parts {
            text.push('\n');
            match part {
                Part::Code { text: code, .. } => text += code,
                Part::Table { table, .. } => text += &columns(table),
            }
            text.push('\n');
        }
        text
    }

    /// The name of its file.
    pub fn file_name(&self) -> String {
        format!("{}-{}-{}.txt", self.command, self.service, self.run)
    }

    /// The pages after the first: what the card did not show, part after part.
    fn rest(&self) -> Vec<Slice<'_>> {
        let slices = self.parts.iter().flat_map(|part| {
            let places: Vec<usize> = (part.shown()..part.len()).collect();
            places.chunks(part.a_page()).map(|chunk| Slice { part, places: chunk.to_vec() }).collect::<Vec<_>>()
        });
        slices.collect()
    }

    fn card_of(
        &self,
        blocks: Vec<Block>,
        verdict: Option<Text>,
        number: usize,
        pages: usize,
        filter: Option<&str>,
    ) -> Card {
        let mut actions = self.turning(number, pages, filter);
        if filter.is_some() {
            actions.push(self.to(1, "All rows", None));
        }
        Card {
            title: self.card.title.clone(),
            verdict,
            context: self.card.context.clone(),
            blocks,
            actions,
            footer: Some(self.footer(&format!("page {number} of {pages}"))),
            ..Card::default()
        }
    }

    fn footer(&self, what: &str) -> String {
        let at = jiff::Timestamp::from_millisecond(self.at_ms).unwrap_or_default();
        format!("{what} · as it was at {} UTC · run {}", at.strftime("%Y-%m-%d %H:%M:%S"), self.run)
    }

    fn turning(&self, number: usize, pages: usize, filter: Option<&str>) -> Vec<Action> {
        let mut actions = Vec::new();
        if number > 1 {
            actions.push(self.to(number - 1, "‹ Previous", filter));
        }
        if number < pages {
            actions.push(self.to(number + 1, "Next ›", filter));
        }
        let other = |label: &str, flag: &str, style| Action {
            label: label.to_owned(),
            command: format!("page {} --{flag}", self.run),
            style,
        };
        actions.push(other("As a file", "file", ActionStyle::Plain));
        actions.push(other("Only rows with", "filter", ActionStyle::Ask));
        actions
    }

    fn to(&self, number: usize, label: &str, filter: Option<&str>) -> Action {
        let filter = filter.map(|filter| format!(" --filter {}", words::quote(filter))).unwrap_or_default();
        Action {
            label: label.to_owned(),
            command: format!("page {} {number}{filter}", self.run),
            style: ActionStyle::Plain,
        }
    }

    /// The branches directly below one: the next that are under it, and under no other in between.
    fn below(&self, at: usize) -> Vec<&Branch> {
        let under = |outer: &Branch, inner: &Branch| inner.depth > outer.depth && stem(inner).starts_with(stem(outer));
        let opened = &self.tree[at];
        let all: Vec<&Branch> = self.tree.iter().filter(|branch| under(opened, branch)).collect();
        let direct = |branch: &&&Branch| !all.iter().any(|other| under(other, branch));
        all.iter().filter(direct).copied().collect()
    }

    /// The branch directly above one.
    fn above(&self, at: usize) -> Option<&Branch> {
        let opened = &self.tree[at];
        let over = |branch: &&Branch| branch.depth < opened.depth && stem(opened).starts_with(stem(branch));
        self.tree.iter().filter(over).max_by_key(|branch| branch.depth)
    }
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Part::Table { table, .. } => table.rows.len(),
            Part::Code { text, .. } => text.lines().count(),
        }
    }

    fn shown(&self) -> usize {
        match self {
            Part::Table { shown, .. } | Part::Code { shown, .. } => *shown,
        }
    }

    fn a_page(&self) -> usize {
        match self {
            Part::Table { .. } => ROWS,
            Part::Code { .. } => LINES,
        }
    }

    fn holds(&self, at: usize, folded: &str) -> bool {
        match self {
            Part::Table { table, .. } => table.rows[at].iter().any(|cell| cell.text.to_lowercase().contains(folded)),
            Part::Code { text, .. } => text.lines().nth(at).is_some_and(|line| line.to_lowercase().contains(folded)),
        }
    }
}

impl Slice<'_> {
    fn block(&self) -> Block {
        match self.part {
            Part::Code { text, .. } => {
                let lines: Vec<&str> = text.lines().collect();
                let lines: Vec<&str> = self.places.iter().map(|&at| lines[at]).collect();
                Block::Code(lines.join("\n"))
            }
            Part::Table { table, .. } => {
                let (first, last) =
                    (self.places.first().map_or(0, |at| at + 1), self.places.last().map_or(0, |at| at + 1));
                let all = table.total.unwrap_or(table.rows.len() as u64);
                let kept =
                    if all > table.rows.len() as u64 { format!(", {} kept", table.rows.len()) } else { String::new() };
                let which = match self.places.as_slice() {
                    [_] => format!("{first} of {all}{kept}"),
                    places if last + 1 - first == places.len() => format!("{first}–{last} of {all}{kept}"),
                    _ => format!("of {all}{kept}"),
                };
                let title = match &table.title {
                    Some(title) => format!("{title}, {which}"),
                    None => which,
                };
                Block::Table(Table {
                    title: Some(title),
                    columns: table.columns.clone(),
                    rows: self.places.iter().map(|&at| table.rows[at].clone()).collect(),
                    empty: None,
                    total: None,
                })
            }
        }
    }
}

/// A table as aligned text.
fn columns(table: &Table) -> String {
    let mut widths: Vec<usize> = table.columns.iter().map(|column| column.title.width()).collect();
    for row in &table.rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.width());
        }
    }
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().zip(&widths).zip(&table.columns).map(|((text, width), column)| {
            let gap = " ".repeat(width.saturating_sub(text.width()));
            if column.align == Align::Right { format!("{gap}{text}") } else { format!("{text}{gap}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text = String::new();
    if let Some(title) = &table.title {
        let _ = writeln!(text, "{title}");
    }
    let _ = writeln!(text, "{}", line(table.columns.iter().map(|column| column.title.as_str()).collect()));
    for row in &table.rows {
        let _ = writeln!(text, "{}", line(row.iter().map(|cell| cell.text.as_str()).collect()));
    }
    if let Some(total) = table.total.filter(|total| *total > table.rows.len() as u64) {
        let _ = writeln!(text, "… {} of {total} kept", table.rows.len());
    }
    text
}

/// What all names below a branch begin with.
fn stem(branch: &Branch) -> &str {
    branch.prefix.strip_suffix('*').unwrap_or(&branch.prefix)
}

fn short(prefix: &str) -> String {
    match prefix.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", &prefix[..at]),
        None => prefix.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rows: usize, lines: usize) -> LongAnswer {
        let cell = |text: String| Cell { text, level: None };
        let table = Table {
            title: Some("Slow".to_owned()),
            columns: vec![
                Column { title: "what".to_owned(), align: Align::Left },
                Column { title: "n".to_owned(), align: Align::Right },
            ],
            rows: (0..rows).map(|at| vec![cell(format!("GET k{at}")), cell(at.to_string())]).collect(),
            empty: None,
            total: None,
        };
        let text = (0..lines).map(|at| format!("line {at}")).collect::<Vec<_>>().join("\n");
        let branch = |prefix: &str, depth, bytes| Branch {
            prefix: prefix.to_owned(),
            depth,
            keys: 10.0,
            bytes,
            share: 0.5,
            endless_share: 1.0,
        };
        LongAnswer {
            version: LONG_ANSWER_VERSION,
            run: RunId::parse("7K2QABCD").unwrap(),
            command: "slowlog".to_owned(),
            service: "godel".parse().unwrap(),
            instance: "main".parse().unwrap(),
            at_ms: 1_760_000_000_000,
            reader: None,
            card: Card { title: "slowlog · godel".to_owned(), ..Card::default() },
            parts: vec![Part::Table { table, shown: 15 }, Part::Code { text, shown: LINES }],
            tree: vec![
                branch("*", 0, 100.0),
                branch("tenant:*", 1, 80.0),
                branch("tenant:*:wm:*", 3, 60.0),
                branch("tenants:*", 1, 20.0),
            ],
        }
    }

    fn rows(card: &Card) -> Vec<String> {
        let rows = |block: &Block| match block {
            Block::Table(table) => table.rows.iter().map(|row| row[0].text.clone()).collect(),
            Block::Code(code) => code.lines().map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        card.blocks.iter().flat_map(rows).collect()
    }

    #[test]
    fn the_pages_hold_every_row_and_line_after_the_first_card_once_and_in_order() {
        for (table, code) in [(16, 41), (35, 80), (36, 200), (1_000, 40)] {
            let answer = answer(table, code);
            let seen: Vec<String> = (2..=answer.pages()).flat_map(|number| rows(&answer.page(number))).collect();
            let wanted: Vec<String> = (15..table)
                .map(|at| format!("GET k{at}"))
                .chain((LINES..code).map(|at| format!("line {at}")))
                .collect();
            assert_eq!(seen, wanted, "{table} rows, {code} lines");
        }
    }

    #[test]
    fn buttons_lead_to_the_pages_there_are() {
        let answer = answer(40, 41);
        let commands = |card: Card| card.actions.into_iter().map(|action| action.command).collect::<Vec<_>>();
        assert_eq!(commands(answer.first()), ["page 7K2QABCD 2", "page 7K2QABCD --file", "page 7K2QABCD --filter"]);
        assert_eq!(commands(answer.page(2))[..2], ["page 7K2QABCD 1", "page 7K2QABCD 3"]);
        assert_eq!(commands(answer.page(99))[0], format!("page 7K2QABCD {}", answer.pages() - 1));
        assert_eq!(commands(answer.filtered("a b", 1)).last().unwrap(), "page 7K2QABCD 1");
        let many = commands(answer.filtered("GET k", 1));
        assert_eq!(many[0], "page 7K2QABCD 2 --filter \"GET k\"");
    }

    #[test]
    fn a_filter_finds_what_holds_the_text_wherever_it_stands() {
        let answer = answer(40, 60);
        let card = answer.filtered("K39", 1);
        assert_eq!(rows(&card), ["GET k39"]);
        assert_eq!(card.verdict.unwrap().to_plain(), "1 of 100 rows holds “K39”.");
        assert_eq!(rows(&answer.filtered("line 59", 7)), ["line 59"]);
        assert!(answer.filtered("absent", 1).verdict.unwrap().to_plain().starts_with("None of 100"));
    }

    #[test]
    fn a_prefix_is_opened_from_the_tree_and_its_siblings_stay_out() {
        let answer = answer(16, 41);
        let root = answer.open("*").unwrap();
        assert_eq!(rows(&root), ["tenant:*", "tenants:*"]);
        assert_eq!(root.actions[0].command, "open 7K2QABCD \"tenant:*\"");
        let tenant = answer.open("tenant:*").unwrap();
        assert_eq!(rows(&tenant), ["tenant:*:wm:*"]);
        assert!(tenant.actions.iter().any(|action| action.command == "open 7K2QABCD \"*\""));
        assert_eq!(rows(&answer.open("tenant:*:wm:*").unwrap()), Vec::<String>::new());
        assert_eq!(answer.open("nothing:*"), None);
        let mut few = answer;
        few.tree[2].keys = 1.0;
        let said = few.open("tenant:*:wm:*").unwrap().verdict.unwrap().to_plain();
        assert!(said.starts_with("tenant:*:wm:*: 1 key, "), "{said}");
    }

    #[test]
    fn the_file_holds_everything_that_was_kept() {
        let text = answer(40, 60).to_text();
        for wanted in ["slowlog · godel", "GET k0 ", "GET k39  39", "line 0\n", "line 59", "2025-10-09 08:53:20 UTC"] {
            assert!(text.contains(wanted), "`{wanted}` is not in\n{text}");
        }
    }
}
