//! Templates, and why what stands in them cannot be mistaken for markup.
//!
//! The house's notation (`` `code` ``, `*strong*`) is for the words of the
//! command file only. Every value a template prints is enclosed in two
//! characters that no text from outside can hold (they are Unicode
//! noncharacters, and taken out of every value), so that after rendering we
//! still know which characters the team wrote and which came from Redis. The
//! enclosed ones are data: they never open or close a span, and in a button's
//! command each is one quoted word.

use std::{fmt::Write as _, sync::LazyLock};

use minijinja::{
    Environment, Error, ErrorKind, UndefinedBehavior, Value,
    value::{Kwargs, Rest, ValueKind},
};

use super::{Scope, show};
use crate::model::{Span, Text};

const OPEN: char = '\u{FDD0}';
const CLOSE: char = '\u{FDD1}';
const CODE_OPEN: char = '\u{FDD2}';
const CODE_CLOSE: char = '\u{FDD3}';
const TICK: char = '\u{FDD4}';
const STAR: char = '\u{FDD5}';
/// Stands for a value that is not there: a dash to read, nothing to send.
const ABSENT: char = '\u{FDD6}';

/// What is printed for a value that is not there.
pub(in crate::runbook) const NOTHING: &str = "–";
/// Steps of the template machine; a card's longest table cell takes tens.
const FUEL: u64 = 20_000;
/// Characters a template may give for one line, and for a block of code.
const LINE: usize = 2_000;
const BLOCK: usize = 16_000;
/// Templates longer than this are refused.
pub(super) const SOURCE_LIMIT: usize = 8_000;

/// An environment that knows our filters and nothing else: no includes, no macros, no `safe`.
pub(super) fn environment() -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_undefined_behavior(UndefinedBehavior::Chainable);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(20);
    env.set_formatter(|out, _, value| {
        out.write_char(OPEN).map_err(write_failed)?;
        match value.kind() {
            ValueKind::Undefined | ValueKind::None => out.write_char(ABSENT),
            _ if value.is_safe() => out.write_str(&value.to_string()),
            ValueKind::Number => out.write_str(&plain_number(value)),
            _ => out.write_str(&unmarked(&super::functions::plain(value))),
        }
        .map_err(write_failed)?;
        out.write_char(CLOSE).map_err(write_failed)
    });
    add_filters(&mut env);
    add_tests(&mut env);
    env
}

fn write_failed(_: std::fmt::Error) -> Error {
    Error::new(ErrorKind::WriteFailure, "the text could not be written")
}

/// Names of the filters there are, for `check` and the documentation.
pub(in crate::runbook) const FILTERS: &[&str] = &[
    "abs", "ago", "bytes", "code", "default", "duration", "first", "float", "int", "items", "join", "last", "length",
    "list", "lower", "max", "min", "ms", "number", "percent", "plural", "quote", "rate", "replace", "reverse", "round",
    "sort", "string", "sum", "title", "trim", "truncate", "unique", "upper",
];

fn add_filters(env: &mut Environment<'static>) {
    use minijinja::filters;
    env.add_filter("abs", filters::abs);
    env.add_filter("default", default);
    env.add_filter("first", filters::first);
    env.add_filter("float", filters::float);
    env.add_filter("int", filters::int);
    env.add_filter("items", filters::items);
    env.add_filter("join", filters::join);
    env.add_filter("last", filters::last);
    env.add_filter("length", filters::length);
    env.add_filter("list", filters::list);
    env.add_filter("lower", filters::lower);
    env.add_filter("max", filters::max);
    env.add_filter("min", filters::min);
    env.add_filter("replace", filters::replace);
    env.add_filter("reverse", filters::reverse);
    env.add_filter("round", filters::round);
    env.add_filter("sort", filters::sort);
    env.add_filter("string", filters::string);
    env.add_filter("sum", filters::sum);
    env.add_filter("title", filters::title);
    env.add_filter("trim", filters::trim);
    env.add_filter("unique", filters::unique);
    env.add_filter("upper", filters::upper);
    env.add_filter("bytes", |value: Value| shown(&value, show::bytes));
    env.add_filter("number", |value: Value| shown(&value, show::number));
    env.add_filter("percent", |value: Value| shown(&value, show::percent));
    env.add_filter("duration", |value: Value| shown(&value, show::duration));
    env.add_filter("ms", |value: Value| shown(&value, show::milliseconds));
    env.add_filter("ago", |value: Value| shown(&value, |seconds| format!("{} ago", show::duration(seconds.max(0.0)))));
    env.add_filter("rate", |value: Value| shown(&value, show::rate));
    env.add_filter("plural", |value: Value, one: String, many: Option<String>| {
        shown(&value, |count| show::plural(count, &one, many.as_deref()))
    });
    env.add_filter("truncate", |value: Value, limit: Option<usize>, _: Kwargs| {
        if value.is_undefined() || value.is_none() {
            return value;
        }
        Value::from(show::truncate(&value.to_string(), limit.unwrap_or(80)))
    });
    env.add_filter("code", |value: Value| {
        if value.is_undefined() || value.is_none() {
            return value;
        }
        let text = unmarked(&super::functions::plain(&value));
        Value::from_safe_string(format!("{CODE_OPEN}{text}{CODE_CLOSE}"))
    });
    env.add_filter("quote", |value: Value| match value.kind() {
        ValueKind::Undefined | ValueKind::None => value,
        _ => Value::from(crate::runbook::words::quote(&value.to_string())),
    });
}

fn add_tests(env: &mut Environment<'static>) {
    use minijinja::tests;
    env.add_test("defined", tests::is_defined);
    env.add_test("undefined", tests::is_undefined);
    env.add_test("none", tests::is_none);
    env.add_test("number", tests::is_number);
    env.add_test("string", tests::is_string);
    env.add_test("sequence", tests::is_sequence);
    env.add_test("mapping", tests::is_mapping);
    env.add_test("in", tests::is_in);
    env.add_test("odd", tests::is_odd);
    env.add_test("even", tests::is_even);
}

fn default(value: Value, other: Option<Value>, _: Rest<Value>) -> Value {
    if value.is_undefined() || value.is_none() { other.unwrap_or_else(|| Value::from("")) } else { value }
}

/// A number, or text that is one; anything else is printed as it is.
fn shown(value: &Value, show: impl FnOnce(f64) -> String) -> Value {
    match super::functions::to_f64(value) {
        Some(number) => Value::from(show(number)),
        None => value.clone(),
    }
}

fn plain_number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match super::functions::to_f64(value) {
        Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => format!("{number:.0}"),
        Some(number) => {
            let text = format!("{number:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        None => value.to_string(),
    }
}

/// Takes our own marks out of a value. What is sent to a server is otherwise exact.
fn unmarked(text: &str) -> String {
    text.replace(|c| ('\u{FDD0}'..='\u{FDEF}').contains(&c), "")
}

/// What a piece shows: of a value, nothing that could disturb the text around it.
fn tame(outside: bool, text: &str) -> std::borrow::Cow<'_, str> {
    let wild = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || turns(c);
    if !outside || !text.contains(wild) {
        return text.into();
    }
    text.replace(wild, "\u{FFFD}").into()
}

/// Characters that turn the direction of what follows.
fn turns(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}')
}

/// Takes out of a value what no value may hold: our own marks, control
/// characters, and characters that turn the direction of what follows.
pub(in crate::runbook) fn clean(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '\n' | '\t' => Some(c),
            '\u{FDD0}'..='\u{FDEF}' => None,
            c if c.is_control() || turns(c) => Some('\u{FFFD}'),
            c => Some(c),
        })
        .collect()
}

/// A rendered template: the team's words, and what came from outside, still told apart.
pub(in crate::runbook) struct Marked(String);

/// Renders a template.
///
/// # Errors
///
/// What was wrong, in a short sentence that names no value.
pub(super) fn render(env: &Environment<'_>, source: &str, scope: &Scope) -> Result<Marked, String> {
    let template = match env.get_template(source) {
        Ok(template) => template,
        // A text that was not compiled with its command: tests, and commands made in code.
        Err(_) => env.template_from_str(source).map_err(|error| reason(&error))?,
    };
    template.render(scope.context()).map(Marked).map_err(|error| reason(&error))
}

/// What a template error says, without the values it may quote.
pub(super) fn reason(error: &Error) -> String {
    match error.kind() {
        ErrorKind::OutOfFuel => "the template does too much work".to_owned(),
        ErrorKind::SyntaxError => error.detail().unwrap_or("it is not a template").to_owned(),
        ErrorKind::UnknownFilter => format!("unknown filter{}", detail(error)),
        ErrorKind::UnknownTest => format!("unknown test{}", detail(error)),
        ErrorKind::UnknownFunction => format!("unknown function{}", detail(error)),
        ErrorKind::UnknownMethod => "a value was called like a function".to_owned(),
        _ => "the values do not fit the template".to_owned(),
    }
}

fn detail(error: &Error) -> String {
    error.detail().map(|detail| format!(": {detail}")).unwrap_or_default()
}

impl Marked {
    /// The text as one line: the team's own notation is not read.
    pub(in crate::runbook) fn line(&self) -> String {
        let text: String = self.pieces().map(|(outside, text)| tame(outside, text)).collect::<String>();
        let text = text.replace([CODE_OPEN, CODE_CLOSE], "").replace(ABSENT, NOTHING);
        show::truncate(&one_line(&text), LINE)
    }

    /// The text with its lines.
    pub(in crate::runbook) fn block(&self) -> String {
        let text: String = self.pieces().map(|(outside, text)| tame(outside, text)).collect();
        let text = text.replace([CODE_OPEN, CODE_CLOSE], "").replace(ABSENT, NOTHING).replace('\t', "    ");
        show::truncate(text.trim_matches('\n').trim_end(), BLOCK)
    }

    /// The text exactly as rendered, for what is sent and not shown.
    pub(in crate::runbook) fn raw(&self) -> String {
        self.0.replace([OPEN, CLOSE, CODE_OPEN, CODE_CLOSE, ABSENT], "")
    }

    /// Spans: the team's notation read, values kept as they are.
    pub(in crate::runbook) fn text(&self) -> Text {
        let mut marked = String::with_capacity(self.0.len());
        for (outside, text) in self.pieces() {
            if outside {
                // An empty value must not leave `` standing, which would pair with a later mark.
                marked.push(OPEN);
                for c in tame(true, text).chars() {
                    marked.push(match c {
                        '`' => TICK,
                        '*' => STAR,
                        CODE_OPEN | CODE_CLOSE => '`',
                        '\n' | '\t' => ' ',
                        c => c,
                    });
                }
            } else {
                marked.push_str(text);
            }
        }
        let restore = |text: &str| -> String {
            text.chars()
                .filter(|&c| c != OPEN)
                .map(|c| match c {
                    TICK => '`',
                    STAR => '*',
                    ABSENT => '–',
                    c => c,
                })
                .collect()
        };
        let spans = Text::notation(show::truncate(marked.trim(), LINE).as_str()).0;
        Text(
            spans
                .into_iter()
                .map(|span| match span {
                    Span::Plain(text) => Span::Plain(restore(&text)),
                    Span::Strong(text) => Span::Strong(restore(&text)),
                    Span::Code(text) => Span::Code(restore(&text)),
                    mention @ Span::Mention(_) => mention,
                })
                .filter(|span| !matches!(span, Span::Plain(text) | Span::Strong(text) | Span::Code(text) if text.is_empty()))
                .collect(),
        )
    }

    /// A line to type: every value is one word, whatever it holds.
    pub(in crate::runbook) fn command(&self) -> String {
        let line: String = self
            .pieces()
            .map(|(outside, text)| {
                let text = one_line(&tame(outside, text).replace([CODE_OPEN, CODE_CLOSE], ""));
                match outside {
                    true if text.contains(ABSENT) => String::new(),
                    true => crate::runbook::words::quote(&text),
                    // Spaces at the edges of a piece part it from the value beside it.
                    false => text,
                }
            })
            .collect();
        line.trim().to_owned()
    }

    /// Pieces in order, each with whether it came from outside.
    fn pieces(&self) -> impl Iterator<Item = (bool, &str)> {
        self.0.split(OPEN).enumerate().flat_map(|(index, piece)| {
            let (value, own) = match piece.split_once(CLOSE) {
                Some((value, own)) if index > 0 => (Some(value), own),
                _ => (None, piece),
            };
            value.map(|value| (true, value)).into_iter().chain(std::iter::once((false, own)))
        })
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\t', '\r'], " ")
}

/// Names of filters a template uses that do not exist. The engine would only say so on a card.
pub(super) fn unknown_filters(source: &str) -> Vec<String> {
    static FILTER: LazyLock<regex::Regex> =
        LazyLock::new(|| regex::Regex::new(r"\|\s*([A-Za-z_][A-Za-z0-9_]*)").expect("the pattern is fixed"));
    static QUOTED: LazyLock<regex::Regex> =
        LazyLock::new(|| regex::Regex::new(r#"'[^']*'|"[^"]*""#).expect("the pattern is fixed"));
    let mut unknown = Vec::new();
    for (opening, closing) in [("{{", "}}"), ("{%", "%}")] {
        for piece in source.split(opening).skip(1) {
            let inside = piece.split(closing).next().unwrap_or(piece);
            let inside = QUOTED.replace_all(inside, "''");
            for found in FILTER.captures_iter(&inside) {
                if !FILTERS.contains(&&found[1]) {
                    unknown.push(found[1].to_owned());
                }
            }
        }
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(source: &str, name: &str, value: impl Into<Value>) -> Marked {
        let mut scope = Scope::default();
        scope.set(name, value.into());
        render(&environment(), source, &scope).unwrap()
    }

    #[test]
    fn values_cannot_bring_markup_with_them() {
        let text = marked("key `{{ key }}` is *big*", "key", "a`b *c* <!channel> {{ x }} {% y %}").text();
        assert_eq!(
            text.0,
            vec![
                Span::Plain("key ".into()),
                Span::Code("a`b *c* <!channel> {{ x }} {% y %}".into()),
                Span::Plain(" is ".into()),
                Span::Strong("big".into()),
            ]
        );
        let text = marked("{{ key }} is `fine`", "key", "`rm` *now*").text();
        assert_eq!(text.0, vec![Span::Plain("`rm` *now* is ".into()), Span::Code("fine".into())]);
    }

    #[test]
    fn an_empty_value_does_not_shift_the_marks_of_the_team() {
        let text = marked("`{{ key }}` and `b`", "key", "").text();
        assert_eq!(text.0, vec![Span::Plain(" and ".into()), Span::Code("b".into())]);
    }

    #[test]
    fn the_marks_themselves_are_taken_out_of_values() {
        let evil = format!("{CLOSE}`x`{OPEN}{CODE_OPEN}y{CODE_CLOSE}");
        assert_eq!(marked("{{ key }}!", "key", evil).text().0, vec![Span::Plain("`x`y!".into())]);
    }

    #[test]
    fn code_is_a_span_in_text_and_nothing_in_a_line() {
        assert_eq!(marked("{{ key | code }}", "key", "a`b").text().0, vec![Span::Code("a`b".into())]);
        assert_eq!(marked("{{ key | code }}", "key", "a`b").line(), "a`b");
    }

    #[test]
    fn a_value_in_a_command_is_one_word() {
        let line = marked("inspect {{ key }} payments", "key", "a b --reveal").command();
        assert_eq!(line, "inspect \"a b --reveal\" payments");
    }

    #[test]
    fn what_is_not_there_is_a_dash() {
        for source in ["{{ nope }}", "{{ nope.deeper.still }}", "{{ nope | bytes }}", "{{ key | percent }}"] {
            assert_eq!(marked(source, "key", ()).line(), NOTHING, "{source}");
        }
    }

    #[test]
    fn filters_take_numbers_and_text_that_is_a_number() {
        assert_eq!(marked("{{ n | bytes }}", "n", 851_443_712).line(), "812 MiB");
        assert_eq!(marked("{{ n | bytes }}", "n", "851443712").line(), "812 MiB");
        assert_eq!(marked("{{ n | plural('key') }}", "n", 1204).line(), "1,204 keys");
        assert_eq!(marked("{{ n | plural('entry', 'entries') }}", "n", 2).line(), "2 entries");
        assert_eq!(marked("{{ n | number }}", "n", "many").line(), "many");
        assert_eq!(marked("{{ n }}", "n", 2.0).line(), "2");
    }

    #[test]
    fn a_template_that_works_too_long_is_stopped() {
        let mut scope = Scope::default();
        scope.set("n", Value::from((0..1000).collect::<Vec<i64>>()));
        let source = "{% for a in n %}{% for b in n %}{{ a }}{% endfor %}{% endfor %}";
        assert_eq!(render(&environment(), source, &scope).err().as_deref(), Some("the template does too much work"));
    }

    #[test]
    fn includes_and_unsafe_filters_do_not_exist() {
        let env = environment();
        for source in
            ["{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% macro m() %}{% endmacro %}"]
        {
            assert!(env.template_from_str(source).is_err(), "{source}");
        }
        assert_eq!(unknown_filters("{{ a | safe }} {{ 'x | y' | bytes }} | z"), ["safe"]);
    }
}
