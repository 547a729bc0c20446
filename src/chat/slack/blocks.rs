//! Cards as Block Kit.
//!
//! Two rules keep this room safe. Text goes into `plain_text` objects and
//! `rich_text` elements, never into mrkdwn: Slack shows those as they are, so a
//! key called `<!channel>` is six letters and two brackets, and a backtick is a
//! backtick. And every limit of Block Kit is kept here: what does not fit is
//! cut with a mark and counted, and [`Message::rest`] says there is more.
//!
//! Limits: <https://docs.slack.dev/reference/block-kit/blocks>.

use serde_json::{Value, json};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::table;
use crate::{
    chart,
    model::{Action, ActionStyle, Bar, Block, Card, Field, Finding, Level, PersonId, Progress, Span, Text, Tick},
};

/// Blocks of one message.
const BLOCKS: usize = 50;
/// Characters of a header.
const HEADER: usize = 150;
/// Characters of a section's or context's text.
const SECTION: usize = 3_000;
/// Fields of one section.
const FIELDS: usize = 10;
/// Characters of a field.
const FIELD: usize = 2_000;
/// Buttons of one actions block.
const ELEMENTS: usize = 25;
/// Characters on a button.
const BUTTON: usize = 75;
/// Characters of a button's value.
const BUTTON_VALUE: usize = 2_000;
/// Options of one menu.
const OPTIONS: usize = 100;
/// Characters of an option's value.
const OPTION_VALUE: usize = 150;
/// Lines to fill in of one message.
const ASKS: usize = 2;
/// Characters of an action's id.
const ACTION_ID: usize = 255;
/// What the id of a line to fill in begins with; the command follows.
pub(super) const ASK: &str = "ask:";
/// Characters of the fallback text.
const FALLBACK: usize = 3_900;
/// Characters of all text in one rich text block: kept to a section's limit.
const RICH: usize = SECTION;
/// Rows of bars and series are drawn this wide.
const BAR: usize = 16;

impl Message {
    /// The same, where the one before may have arrived and cannot be found.
    pub(super) fn said_again(mut self) -> Self {
        if self.blocks.len() < BLOCKS {
            let line = "said again: Slack did not confirm the first time, so this may be here twice";
            self.blocks.push(json!({ "type": "context", "elements": [plain(line, SECTION)] }));
        }
        self
    }
}

/// A message as Slack takes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// For notifications and screen readers.
    pub(super) text: String,
    /// The card.
    pub(super) blocks: Vec<Value>,
    /// How many blocks of the card did not fit.
    pub(super) rest: usize,
}

/// Renders a card. `account` tells the Slack user id of a person, so that they can be mentioned.
pub(super) fn render(card: &Card, account: &dyn Fn(&PersonId) -> Option<String>) -> Message {
    let mut blocks = vec![json!({ "type": "header", "text": plain(&title(card), HEADER) })];
    if let Some(verdict) = &card.verdict {
        let mut elements = Vec::new();
        if let Some(level) = card.level {
            elements.push(text_element(&format!("{}  ", level.word()), json!({ "bold": true })));
        }
        elements.extend(spans(verdict, account, RICH));
        blocks.push(rich_text(vec![section_element(elements)]));
    }
    if !card.context.is_empty() {
        blocks.push(json!({ "type": "context", "elements": [plain(&card.context.join("  ·  "), SECTION)] }));
    }
    for block in &card.blocks {
        blocks.extend(body(block, account));
    }
    // Buttons and small print stay on the message whatever the body's length.
    let mut tail = Vec::new();
    tail.extend(controls(&card.actions));
    if let Some(footer) = &card.footer {
        tail.push(json!({ "type": "context", "elements": [plain(footer, SECTION)] }));
    }
    let room = BLOCKS - tail.len();
    let mut rest = 0;
    if blocks.len() > room {
        rest = blocks.len() - (room - 1);
        blocks.truncate(room - 1);
        let more = format!("… {rest} more parts of this card did not fit into one message.");
        blocks.push(json!({ "type": "context", "elements": [plain(&more, SECTION)] }));
    }
    blocks.extend(tail);
    Message { text: fallback(card), blocks, rest }
}

fn title(card: &Card) -> String {
    match card.level {
        Some(level) => format!("{} {}", level.sign(), card.title),
        None => card.title.clone(),
    }
}

/// The line notifications show. It is mrkdwn to Slack, so what could format or mention is escaped.
fn fallback(card: &Card) -> String {
    let verdict = card.verdict.as_ref().map(|text| format!(": {}", text.to_plain())).unwrap_or_default();
    escape(&cut(&format!("{}{verdict}", title(card)), FALLBACK / 5))
}

/// Makes text inert in mrkdwn: control sequences by entities, formatting marks by a word joiner.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '*' | '_' | '~' | '`' => {
                safe.push('\u{2060}');
                safe.push(c);
            }
            c => safe.push(c),
        }
    }
    safe
}

fn body(block: &Block, account: &dyn Fn(&PersonId) -> Option<String>) -> Vec<Value> {
    match block {
        Block::Text(text) => vec![rich_text(vec![section_element(spans(text, account, RICH))])],
        Block::Heading(heading) => {
            vec![rich_text(vec![section_element(vec![text_element(&cut(heading, HEADER), json!({ "bold": true }))])])]
        }
        Block::Fields(fields) => fields.chunks(FIELDS).map(field_section).collect(),
        Block::Table(table) => table::render(table).into_iter().map(|part| preformatted(&part)).collect(),
        Block::Findings(findings) => findings.iter().map(|finding| finding_block(finding, account)).collect(),
        Block::Code(code) => pieces(code).iter().map(|piece| preformatted(piece)).collect(),
        Block::Bars { title, bars } => {
            let mut parts = heading(title);
            parts.push(preformatted(&bar_lines(bars)));
            parts
        }
        Block::Series(series) => vec![preformatted(&series_line(series))],
        Block::Progress(progress) => {
            vec![rich_text(vec![section_element(vec![text_element(&progress_line(progress), Value::Null)])])]
        }
        Block::Checklist(items) => {
            let lines = items.iter().map(|(tick, text)| {
                let mut elements = vec![text_element(&format!("{} ", tick_sign(*tick)), Value::Null)];
                elements.extend(spans(text, account, RICH / 4));
                section_element(elements)
            });
            let lines: Vec<Value> = lines.collect();
            lines.chunks(20).map(|chunk| rich_text(vec![list_element(chunk.to_vec())])).collect()
        }
    }
}

fn heading(title: &str) -> Vec<Value> {
    if title.is_empty() {
        return Vec::new();
    }
    vec![rich_text(vec![section_element(vec![text_element(&cut(title, HEADER), json!({ "bold": true }))])])]
}

fn field_section(fields: &[Field]) -> Value {
    let shown: Vec<Value> = fields
        .iter()
        .map(|field| {
            let sign = field.level.filter(|level| *level != Level::Ok).map_or("", Level::sign);
            let space = if sign.is_empty() { "" } else { " " };
            let hint = field.hint.as_ref().map(|hint| format!("\n{hint}")).unwrap_or_default();
            plain(&format!("{sign}{space}{}\n{}{hint}", field.label, field.value), FIELD)
        })
        .collect();
    json!({ "type": "section", "fields": shown })
}

fn finding_block(finding: &Finding, account: &dyn Fn(&PersonId) -> Option<String>) -> Value {
    let mut elements =
        vec![text_element(&format!("{} {}  ", finding.level.sign(), finding.level.word()), json!({ "bold": true }))];
    elements.extend(spans(&finding.what, account, RICH / 3));
    if let Some(evidence) = &finding.evidence {
        elements.push(text_element(&format!("\n{}", cut(evidence, RICH / 3)), json!({ "italic": true })));
    }
    if let Some(next) = &finding.next {
        elements.push(text_element("\n→ ", Value::Null));
        elements.extend(spans(next, account, RICH / 4));
    }
    rich_text(vec![section_element(elements)])
}

/// Buttons and menus in one row, then the lines to fill in.
fn controls(actions: &[Action]) -> Vec<Value> {
    // A menu's option takes fewer characters than a button: what is longer is a button.
    let in_menu = |action: &&Action| {
        action.style == ActionStyle::Choice
            && action.command.chars().count() <= OPTION_VALUE
            && !action.command.is_empty()
    };
    let choices: Vec<&Action> = actions.iter().filter(in_menu).collect();
    let buttons = actions.iter().filter(|action| action.style != ActionStyle::Ask && !in_menu(action));
    let menus = choices.chunks(OPTIONS).enumerate().map(|(index, options)| menu(index, options));
    let elements: Vec<Value> =
        menus.chain(buttons.enumerate().map(|(index, action)| button(index, action))).take(ELEMENTS).collect();
    let row = (!elements.is_empty()).then(|| json!({ "type": "actions", "elements": elements }));
    let asks = actions.iter().filter(|action| action.style == ActionStyle::Ask).take(ASKS).map(line_to_fill_in);
    row.into_iter().chain(asks).collect()
}

fn menu(index: usize, options: &[&Action]) -> Value {
    let options: Vec<Value> =
        options.iter().map(|action| json!({ "text": plain(&action.label, BUTTON), "value": action.command })).collect();
    json!({
        "type": "static_select",
        "action_id": format!("choose-{index}"),
        "placeholder": plain("Choose …", BUTTON),
        "options": options,
    })
}

/// What is typed there comes back under the command it stands for.
fn line_to_fill_in(action: &Action) -> Value {
    json!({
        "type": "input",
        "dispatch_action": true,
        "optional": true,
        "label": plain(&action.label, BUTTON),
        "element": {
            "type": "plain_text_input",
            "action_id": format!("{ASK}{}", cut(&action.command, ACTION_ID - ASK.len())),
            "max_length": 100,
            "placeholder": plain("a text, then Enter", BUTTON),
            "dispatch_action_config": { "trigger_actions_on": ["on_enter_pressed"] },
        },
    })
}

fn button(index: usize, action: &Action) -> Value {
    let mut button = json!({
        "type": "button",
        "action_id": format!("run-{index}"),
        "text": plain(&action.label, BUTTON),
        "value": cut(&action.command, BUTTON_VALUE),
    });
    match action.style {
        ActionStyle::Plain | ActionStyle::Choice | ActionStyle::Ask => {}
        ActionStyle::Primary => button["style"] = json!("primary"),
        ActionStyle::Danger => button["style"] = json!("danger"),
    }
    button
}

fn bar_lines(bars: &[Bar]) -> String {
    let largest = bars.iter().map(|bar| bar.value).fold(0.0_f64, f64::max);
    let label_width = bars.iter().map(|bar| bar.label.width()).max().unwrap_or(0).min(20);
    let lines = bars.iter().map(|bar| {
        let share = if largest > 0.0 { (bar.value / largest).clamp(0.0, 1.0) } else { 0.0 };
        let filled = (share * BAR as f64).round() as usize;
        let label = pad(&cut_width(&bar.label, label_width), label_width);
        format!("{label} {}{} {}", "█".repeat(filled), "░".repeat(BAR - filled), bar.shown)
    });
    let lines: Vec<String> = lines.collect();
    cut(&lines.join("\n"), SECTION)
}

fn series_line(series: &chart::Series) -> String {
    let values: Vec<f64> = series.points.iter().map(|(_, value)| *value).collect();
    let last = values.last().map(|last| format!(" {last:.1} {}", series.unit)).unwrap_or_default();
    format!("{} {}{last}", series.title, chart::sparkline(&values, 30))
}

fn progress_line(progress: &Progress) -> String {
    let mut line = progress.doing.clone();
    if let Some(total) = progress.total.filter(|total| *total > 0) {
        let share = (progress.done as f64 / total as f64).clamp(0.0, 1.0);
        let filled = (share * BAR as f64).round() as usize;
        line += &format!("\n{}{} {:.0} %", "█".repeat(filled), "░".repeat(BAR - filled), share * 100.0);
        line += &format!("\n{} of {total} {}", progress.done, progress.unit);
    } else {
        line += &format!("\n{} {}", progress.done, progress.unit);
    }
    if let Some(rate) = progress.rate {
        line += &format!(" · {rate:.0}/s");
    }
    if let Some(left) = progress.left_s {
        line += &format!(" · {left:.0} s left");
    }
    line
}

fn tick_sign(tick: Tick) -> &'static str {
    match tick {
        Tick::Done => "✅",
        Tick::Failed => "❌",
        Tick::Open => "⬜",
        Tick::Skipped => "➖",
    }
}

fn spans(text: &Text, account: &dyn Fn(&PersonId) -> Option<String>, limit: usize) -> Vec<Value> {
    let mut left = limit;
    let mut elements = Vec::new();
    for span in &text.0 {
        if left == 0 {
            break;
        }
        let (words, style) = match span {
            Span::Plain(words) => (words.clone(), Value::Null),
            Span::Strong(words) => (words.clone(), json!({ "bold": true })),
            Span::Code(words) => (words.clone(), json!({ "code": true })),
            Span::Mention(person) => match account(person) {
                Some(user) => {
                    elements.push(json!({ "type": "user", "user_id": user }));
                    continue;
                }
                None => (format!("@{person}"), Value::Null),
            },
        };
        let shown = cut(&words, left);
        left -= shown.chars().count().min(left);
        elements.push(text_element(&shown, style));
    }
    if elements.is_empty() {
        elements.push(text_element("–", Value::Null));
    }
    elements
}

/// Slack refuses an empty text element.
fn text_element(text: &str, style: Value) -> Value {
    let text = if text.is_empty() { "–" } else { text };
    let mut element = json!({ "type": "text", "text": text });
    if !style.is_null() {
        element["style"] = style;
    }
    element
}

fn section_element(elements: Vec<Value>) -> Value {
    json!({ "type": "rich_text_section", "elements": elements })
}

fn list_element(sections: Vec<Value>) -> Value {
    json!({ "type": "rich_text_list", "style": "bullet", "elements": sections })
}

fn rich_text(elements: Vec<Value>) -> Value {
    json!({ "type": "rich_text", "elements": elements })
}

fn preformatted(text: &str) -> Value {
    rich_text(vec![
        json!({ "type": "rich_text_preformatted", "elements": [text_element(&cut(text, SECTION), Value::Null)] }),
    ])
}

/// `emoji: false`: `:names:` in text from outside stay text.
fn plain(text: &str, limit: usize) -> Value {
    let text = if text.trim().is_empty() { "–" } else { text };
    json!({ "type": "plain_text", "text": cut(text, limit), "emoji": false })
}

/// Long text in pieces that each fit a block, cut at line ends where there are some.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for line in text.split_inclusive('\n') {
        let mut line = line;
        loop {
            let last = pieces.last_mut().expect("there is always one piece");
            let room = SECTION - last.chars().count();
            if line.chars().count() <= room {
                last.push_str(line);
                break;
            }
            if last.is_empty() {
                let end = line.char_indices().nth(SECTION).map_or(line.len(), |(at, _)| at);
                last.push_str(&line[..end]);
                line = &line[end..];
            }
            pieces.push(String::new());
        }
    }
    pieces
}

/// At most `limit` characters, the last one an ellipsis when something was cut.
pub(super) fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// At most `width` columns.
pub(super) fn cut_width(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        shown.push(c);
    }
    shown.push('…');
    shown
}

/// Filled up with spaces to `width` columns.
pub(super) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Align, Cell, Column, Table};

    fn nobody(_: &PersonId) -> Option<String> {
        None
    }

    #[test]
    fn a_card_of_every_part_is_drawn_in_block_kit() {
        let hostile = "<!channel> *x* `y` :boom: & <https://evil.example|click>";
        let cell = |text: &str| Cell { text: text.to_owned(), level: None };
        let column = |title: &str, align| Column { title: title.to_owned(), align };
        let card = Card {
            title: "status · godel".to_owned(),
            level: Some(Level::Warn),
            verdict: Some(Text(vec![
                Span::Plain("Nearly full: ".to_owned()),
                Span::Strong("93 %".to_owned()),
                Span::Code(hostile.to_owned()),
                Span::Mention("ana".parse().unwrap()),
            ])),
            context: vec!["prod · Godel".to_owned(), "main · master 10.0.0.1:6379".to_owned()],
            blocks: vec![
                Block::Heading("Keys".to_owned()),
                Block::Text(Text::plain(hostile)),
                Block::Fields(vec![Field {
                    label: "Memory".to_owned(),
                    value: "930 MiB of 1.00 GiB".to_owned(),
                    level: Some(Level::Warn),
                    hint: Some("warns from 80 %".to_owned()),
                }]),
                Block::Table(Table {
                    title: Some("Largest".to_owned()),
                    columns: vec![column("key", Align::Left), column("bytes", Align::Right)],
                    rows: vec![vec![cell(hostile), cell("12")], vec![cell("session:…"), cell("1,024")]],
                    empty: None,
                    total: Some(9),
                }),
                Block::Findings(vec![Finding {
                    level: Level::Warn,
                    what: Text::plain("Memory is short."),
                    evidence: Some("930 MiB of 1.00 GiB".to_owned()),
                    next: Some(Text::notation("run `/redis memory godel`")),
                }]),
                Block::Code("used_memory:1".to_owned()),
                Block::Bars {
                    title: "Bytes".to_owned(),
                    bars: vec![
                        Bar { label: "a:".to_owned(), value: 3.0, shown: "3 B".to_owned() },
                        Bar { label: "b:".to_owned(), value: 1.0, shown: "1 B".to_owned() },
                    ],
                },
                Block::Progress(Progress {
                    doing: "reading".to_owned(),
                    done: 5,
                    total: Some(10),
                    unit: "keys".to_owned(),
                    rate: Some(2.0),
                    left_s: Some(3.0),
                }),
                Block::Checklist(vec![(Tick::Done, Text::plain("looked")), (Tick::Open, Text::plain("not yet"))]),
            ],
            actions: vec![Action {
                label: "Memory".to_owned(),
                command: "memory godel".to_owned(),
                style: ActionStyle::Primary,
            }],
            footer: Some("run 7K2QAAAA".to_owned()),
        };
        let message = render(&card, &nobody);
        let drawn = serde_json::to_string_pretty(&json!({ "text": message.text, "blocks": message.blocks })).unwrap();
        insta::assert_snapshot!(drawn);
    }

    #[test]
    fn what_does_not_fit_a_message_is_counted_and_the_buttons_stay() {
        let card = Card {
            title: "x".repeat(500),
            blocks: (0..80).map(|at| Block::Text(Text::plain(format!("{at}{}", "y".repeat(9_000))))).collect(),
            actions: vec![Action { label: "z".repeat(200), command: "status".to_owned(), style: ActionStyle::Plain }],
            footer: Some("end".to_owned()),
            ..Card::default()
        };
        let message = render(&card, &nobody);
        assert_eq!(message.blocks.len(), BLOCKS);
        assert_eq!(message.rest, 81 - 47);
        assert_eq!(message.blocks[48]["type"], "actions");
        assert!(message.blocks[47].to_string().contains("34 more parts"));
        assert!(message.blocks.iter().all(|block| block.to_string().chars().count() < 3_500));
    }
}
