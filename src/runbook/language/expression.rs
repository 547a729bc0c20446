//! Conditions and values in CEL.
//!
//! The `cel` crate parses; evaluation is ours, over the same values the
//! templates see. Three things differ from CEL's standard, because the people
//! who write these files look at servers that do not always answer, and they
//! are told so in `docs/commands.md`: what is missing makes a condition false
//! instead of failing; whole and broken numbers mix, and `/` never drops a
//! remainder; and there is a budget of steps.

use std::cmp::Ordering;

use cel::{
    IdedExpr,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators as op},
    parser::PrattParser,
};
use minijinja::{Value, value::ValueKind};

use super::{
    Scope,
    functions::{self, to_f64},
};

/// Characters of an expression.
const SOURCE_LIMIT: usize = 2_000;
/// How deep its parentheses, lists and calls may nest.
const DEPTH_LIMIT: usize = 16;
/// How many operators and dots it may hold, and how many `?`: a long chain is as deep as parentheses are.
const OPERATORS_LIMIT: usize = 200;
const CHOICES_LIMIT: usize = 8;
/// How many lists may be walked inside one another.
const WALK_LIMIT: usize = 2;
/// Steps an evaluation may take: a walk over 10,000 clients with a condition of ten parts is 100,000.
const BUDGET: u64 = 1_000_000;

/// A parsed expression.
#[derive(Debug, Clone)]
pub(in crate::runbook) struct Program {
    root: IdedExpr,
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::runbook) enum NoValue {
    /// Something it names is not there: a field a server did not send, a step that failed.
    #[error("{0} is not there")]
    Missing(String),
    /// The values do not fit what is done with them.
    #[error("{0}")]
    Mistake(String),
    /// It took too many steps.
    #[error("the expression does too much work")]
    TooMuch,
}

type Outcome = Result<Value, NoValue>;

impl Program {
    /// Parses an expression.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a lowercase fragment.
    pub(in crate::runbook) fn parse(source: &str) -> Result<Self, String> {
        if source.len() > SOURCE_LIMIT {
            return Err(format!("the expression is longer than {SOURCE_LIMIT} characters"));
        }
        if source.trim().is_empty() {
            return Err("the expression is empty".to_owned());
        }
        // Before the parser, whose own limit comes after it has gone down.
        check_shape(source)?;
        let guarded = guard_macros(source);
        let root = PrattParser::new().max_recursion_depth(64).parse(&guarded).map_err(|errors| {
            let message = errors.errors.first().map_or("it cannot be read", |error| error.msg.as_str());
            let message = message.lines().next().unwrap_or_default().trim_start_matches("Syntax error: ");
            let message = match message.split_once(" expecting ").map_or(message, |(said, _)| said) {
                said if said.contains("<EOF>") => "it ends too early",
                said => said,
            };
            super::show::truncate(message, 120)
        })?;
        let program = Self { root };
        let mut problem = None;
        program.visit(&mut |event| {
            let found = match event {
                Event::Call { name, arguments, method } => functions::check_call(name, arguments, method).err(),
                Event::Pattern(pattern) => functions::check_pattern(pattern).err(),
                Event::Name { .. } => None,
            };
            problem = problem.take().or(found);
        });
        if program.walks(&program.root) > WALK_LIMIT {
            problem = Some(format!("more than {WALK_LIMIT} lists are walked inside one another"));
        }
        problem.map_or(Ok(program), Err)
    }

    /// The value in this scope.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(in crate::runbook) fn value(&self, scope: &Scope) -> Outcome {
        let mut machine = Machine { scope, locals: Vec::new(), left: BUDGET };
        machine.eval(&self.root)
    }

    /// Whether it holds. What is missing or does not fit makes it false.
    pub(in crate::runbook) fn holds(&self, scope: &Scope) -> bool {
        self.value(scope).is_ok_and(|value| value.kind() == ValueKind::Bool && value.is_true())
    }

    /// Whether it holds whatever the names that are not known yet will stand for; `None`: it depends on them.
    pub(in crate::runbook) fn decided(&self, scope: &Scope, unknown: &dyn Fn(&str) -> bool) -> Option<bool> {
        decided(&self.root, scope, unknown)
    }

    /// Every name from outside it reads, with its first field where it has one: `info` and `used_memory`.
    pub(in crate::runbook) fn names(&self) -> Vec<(String, Option<String>)> {
        let mut names = Vec::new();
        self.visit(&mut |event| {
            if let Event::Name { root, field } = event {
                names.push((root.to_owned(), field.map(str::to_owned)));
            }
        });
        names
    }

    fn visit<'a>(&'a self, see: &mut dyn FnMut(Event<'a>)) {
        visit(&self.root, &mut Vec::new(), see);
    }

    fn walks(&self, expr: &IdedExpr) -> usize {
        let mut most = 0;
        let mut own = 0;
        if let Expr::Call(call) = &expr.expr
            && functions::is_walk(name_of(call), call.target.is_some())
        {
            own = 1;
        }
        // The list that is walked is worked out once, before the walk.
        if let (1, Expr::Call(call)) = (own, &expr.expr) {
            let target = call.target.as_deref().map_or(0, |target| self.walks(target));
            let inner = call.args.iter().map(|arg| self.walks(arg)).max().unwrap_or(0);
            return target.max(inner + 1);
        }
        children(expr, &mut |child| most = most.max(self.walks(child)));
        most
    }
}

fn decided(expr: &IdedExpr, scope: &Scope, unknown: &dyn Fn(&str) -> bool) -> Option<bool> {
    let parts = |call: &CallExpr| call.args.iter().map(|part| decided(part, scope, unknown)).collect::<Vec<_>>();
    match &expr.expr {
        Expr::Call(call) if call.func_name == op::LOGICAL_AND => {
            let parts = parts(call);
            if parts.contains(&Some(false)) { Some(false) } else { parts.iter().all(Option::is_some).then_some(true) }
        }
        Expr::Call(call) if call.func_name == op::LOGICAL_OR => {
            let parts = parts(call);
            if parts.contains(&Some(true)) { Some(true) } else { parts.iter().all(Option::is_some).then_some(false) }
        }
        _ => {
            let part = Program { root: expr.clone() };
            let depends = part.names().iter().any(|(root, _)| unknown(root));
            (!depends).then(|| part.holds(scope))
        }
    }
}

/// The parser rewrites its own macros into loops that fail where an element
/// lacks a field. We walk lists ourselves, so the macros' names are hidden from it.
fn guard_macros(source: &str) -> String {
    const MACROS: &[&str] = &["all", "exists", "existsOne", "exists_one", "filter", "has", "map"];
    let mut guarded = String::with_capacity(source.len() + 16);
    let mut quote = None;
    let mut word = String::new();
    let mut characters = source.chars().peekable();
    while let Some(c) = characters.next() {
        if quote.is_none() && (c.is_ascii_alphanumeric() || c == '_') {
            word.push(c);
            guarded.push(c);
            continue;
        }
        if quote.is_none() && c == '(' && MACROS.contains(&word.as_str()) {
            guarded.push(GUARD);
        }
        word.clear();
        guarded.push(c);
        match (quote, c) {
            (Some(_), '\\') => guarded.extend(characters.next()),
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            _ => {}
        }
    }
    guarded
}

const GUARD: char = '_';

/// A function's name as it was written.
fn name_of(call: &CallExpr) -> &str {
    match call.func_name.strip_suffix(GUARD) {
        // Operators begin and end with it.
        Some(name) if !call.func_name.starts_with(GUARD) && !name.ends_with([']', '?', '!', '-']) => name,
        _ => &call.func_name,
    }
}

fn check_shape(source: &str) -> Result<(), String> {
    let (mut depth, mut deepest, mut operators, mut choices) = (0_usize, 0, 0_usize, 0_usize);
    let mut quote = None;
    let mut characters = source.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(_), '\\') => {
                characters.next();
            }
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '[' | '{') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, '?') => choices += 1,
            (None, '+' | '-' | '*' | '/' | '%' | '!' | '<' | '>' | '=' | '&' | '|' | '.') => operators += 1,
            _ => {}
        }
    }
    if deepest > DEPTH_LIMIT {
        Err(format!("it is nested more than {DEPTH_LIMIT} deep"))
    } else if operators > OPERATORS_LIMIT || choices > CHOICES_LIMIT {
        Err("it is too long a chain; work parts of it out as figures first".to_owned())
    } else {
        Ok(())
    }
}

enum Event<'a> {
    Name { root: &'a str, field: Option<&'a str> },
    Call { name: &'a str, arguments: usize, method: bool },
    Pattern(&'a str),
}

fn visit<'a>(expr: &'a IdedExpr, bound: &mut Vec<&'a str>, see: &mut dyn FnMut(Event<'a>)) {
    match &expr.expr {
        Expr::Ident(name) if !bound.contains(&name.as_str()) => see(Event::Name { root: name, field: None }),
        Expr::Select(select) => {
            if let Expr::Ident(name) = &select.operand.expr {
                if !bound.contains(&name.as_str()) {
                    see(Event::Name { root: name, field: Some(&select.field) });
                }
            } else {
                visit(&select.operand, bound, see);
            }
        }
        Expr::Call(call) => {
            if call.func_name == op::INDEX
                && let [list, key] = call.args.as_slice()
                && let (Expr::Ident(name), Expr::Literal(LiteralValue::String(field))) = (&list.expr, &key.expr)
            {
                if !bound.contains(&name.as_str()) {
                    see(Event::Name { root: name, field: Some(field.inner()) });
                }
                return;
            }
            let method = call.target.is_some();
            see(Event::Call { name: name_of(call), arguments: call.args.len(), method });
            if call.func_name == "matches"
                && let Some(Expr::Literal(LiteralValue::String(pattern))) = call.args.last().map(|arg| &arg.expr)
            {
                see(Event::Pattern(pattern.inner()));
            }
            if let Some(target) = &call.target {
                visit(target, bound, see);
            }
            let variable = match call.args.first().map(|arg| &arg.expr) {
                Some(Expr::Ident(name)) if functions::is_walk(name_of(call), method) => Some(name.as_str()),
                _ => None,
            };
            let skip = usize::from(variable.is_some());
            bound.extend(variable);
            for arg in &call.args[skip..] {
                visit(arg, bound, see);
            }
            if variable.is_some() {
                bound.pop();
            }
        }
        _ => children(expr, &mut |child| visit(child, bound, see)),
    }
}

fn children<'a>(expr: &'a IdedExpr, see: &mut dyn FnMut(&'a IdedExpr)) {
    match &expr.expr {
        Expr::Call(call) => {
            if let Some(target) = &call.target {
                see(target);
            }
            call.args.iter().for_each(see);
        }
        Expr::Select(select) => see(&select.operand),
        Expr::List(list) => list.elements.iter().for_each(see),
        Expr::Map(map) => {
            for entry in &map.entries {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    see(&entry.key);
                    see(&entry.value);
                }
            }
        }
        _ => {}
    }
}

struct Machine<'a> {
    scope: &'a Scope,
    locals: Vec<(&'a str, Value)>,
    left: u64,
}

impl<'a> Machine<'a> {
    fn spend(&mut self, steps: u64) -> Result<(), NoValue> {
        self.left = self.left.checked_sub(steps).ok_or(NoValue::TooMuch)?;
        Ok(())
    }

    fn eval(&mut self, expr: &'a IdedExpr) -> Outcome {
        self.spend(1)?;
        match &expr.expr {
            Expr::Literal(literal) => Ok(literal_value(literal)),
            Expr::Ident(name) => self.lookup(name),
            Expr::Select(select) => {
                let operand = self.eval(&select.operand)?;
                field(&operand, &select.field)
            }
            Expr::List(list) => {
                list.elements.iter().map(|element| self.eval(element)).collect::<Result<Vec<_>, _>>().map(Value::from)
            }
            Expr::Map(map) => {
                let mut pairs = Vec::new();
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        pairs.push((self.eval(&entry.key)?.to_string(), self.eval(&entry.value)?));
                    }
                }
                Ok(Value::from_pairs(pairs))
            }
            Expr::Call(call) => self.call(call),
            Expr::Unspecified | Expr::Comprehension(_) | Expr::Struct(_) => {
                Err(NoValue::Mistake("this form is not supported".to_owned()))
            }
        }
    }

    fn lookup(&self, name: &str) -> Outcome {
        self.locals
            .iter()
            .rev()
            .find(|(local, _)| *local == name)
            .map(|(_, value)| value)
            .or_else(|| self.scope.get(name))
            .filter(|value| !value.is_undefined())
            .cloned()
            .ok_or_else(|| NoValue::Missing(format!("`{name}`")))
    }

    fn call(&mut self, call: &'a CallExpr) -> Outcome {
        let args = call.args.as_slice();
        match (name_of(call), args) {
            (op::LOGICAL_AND, [left, right]) => self.both(left, right, false),
            (op::LOGICAL_OR, [left, right]) => self.both(left, right, true),
            (op::CONDITIONAL, [condition, then, otherwise]) => {
                let holds = match self.eval(condition) {
                    Ok(value) => truth(&value)?,
                    Err(NoValue::Missing(_)) => false,
                    Err(error) => return Err(error),
                };
                self.eval(if holds { then } else { otherwise })
            }
            ("has", [wanted]) => match self.eval(wanted) {
                Ok(value) => Ok(Value::from(!value.is_none())),
                Err(NoValue::Missing(_)) => Ok(Value::from(false)),
                Err(error) => Err(error),
            },
            ("default", [wanted, otherwise]) => match self.eval(wanted) {
                Ok(value) if !value.is_none() => Ok(value),
                Ok(_) | Err(NoValue::Missing(_)) => self.eval(otherwise),
                Err(error) => Err(error),
            },
            ("ratio", [part, whole]) => {
                let (part, whole) = (self.or_null(part)?, self.or_null(whole)?);
                Ok(functions::ratio(&part, &whole))
            }
            (name, [variable, body]) if functions::is_walk(name, call.target.is_some()) => {
                let Some(target) = &call.target else {
                    return Err(NoValue::Mistake(format!("{name} needs a list before it")));
                };
                let list = self.eval(target)?;
                let Expr::Ident(variable) = &variable.expr else {
                    return Err(NoValue::Mistake(format!("{name} needs a name first")));
                };
                self.walk(name, &list, variable, body)
            }
            (name, args) => {
                let mut values = Vec::with_capacity(args.len() + 1);
                if let Some(target) = &call.target {
                    values.push(self.eval(target)?);
                }
                for arg in args {
                    values.push(self.eval(arg)?);
                }
                if let Some(size) = values.first().and_then(Value::len) {
                    self.spend(size as u64 / 8)?;
                }
                functions::call(name, &values)
            }
        }
    }

    fn or_null(&mut self, expr: &'a IdedExpr) -> Outcome {
        match self.eval(expr) {
            Err(NoValue::Missing(_)) => Ok(Value::from(())),
            outcome => outcome,
        }
    }

    /// `&&` and `||`: one side that settles it is enough, in either order, even when the other is missing.
    fn both(&mut self, left: &'a IdedExpr, right: &'a IdedExpr, settles: bool) -> Outcome {
        let first = match self.eval(left) {
            Ok(value) => Ok(truth(&value)?),
            Err(NoValue::Missing(what)) => Err(what),
            Err(error) => return Err(error),
        };
        if first == Ok(settles) {
            return Ok(Value::from(settles));
        }
        let second = truth(&self.eval(right)?)?;
        match first {
            _ if second == settles => Ok(Value::from(settles)),
            Ok(_) => Ok(Value::from(!settles)),
            Err(what) => Err(NoValue::Missing(what)),
        }
    }

    fn walk(&mut self, name: &str, list: &Value, variable: &'a str, body: &'a IdedExpr) -> Outcome {
        let elements = functions::elements(list)?;
        let mut kept = Vec::new();
        let mut hits = 0_u64;
        let mut keyed = Vec::new();
        for element in elements {
            self.spend(1)?;
            self.locals.push((variable, element.clone()));
            let outcome = self.eval(body);
            self.locals.pop();
            let value = match outcome {
                Ok(value) => value,
                // An element without the field: it does not match, and has no value.
                Err(NoValue::Missing(_)) => Value::from(()),
                Err(error) => return Err(error),
            };
            let holds = value.kind() == ValueKind::Bool && value.is_true();
            match name {
                "exists" if holds => return Ok(Value::from(true)),
                "all" if !holds => return Ok(Value::from(false)),
                "filter" if holds => kept.push(element),
                "map" => kept.push(value),
                "exists_one" | "existsOne" | "count" if holds => hits += 1,
                "sortBy" | "sortByDesc" => keyed.push((value, element)),
                _ => {}
            }
        }
        Ok(match name {
            "exists" => Value::from(false),
            "all" => Value::from(true),
            "exists_one" | "existsOne" => Value::from(hits == 1),
            "count" => Value::from(hits),
            "sortBy" | "sortByDesc" => {
                let size = keyed.len() as u64;
                self.spend(size * u64::from(64 - size.leading_zeros()))?;
                keyed.sort_by(|(a, _), (b, _)| functions::order(a, b).unwrap_or(Ordering::Equal));
                if name == "sortByDesc" {
                    keyed.reverse();
                }
                keyed.into_iter().map(|(_, element)| element).collect::<Vec<_>>().into()
            }
            _ => Value::from(kept),
        })
    }
}

fn literal_value(literal: &LiteralValue) -> Value {
    match literal {
        LiteralValue::Boolean(value) => Value::from(*value.inner()),
        LiteralValue::Int(value) => Value::from(*value.inner()),
        LiteralValue::UInt(value) => Value::from(*value.inner()),
        LiteralValue::Double(value) => Value::from(*value.inner()),
        LiteralValue::String(value) => Value::from(value.inner()),
        LiteralValue::Bytes(_) | LiteralValue::Null => Value::from(()),
    }
}

fn truth(value: &Value) -> Result<bool, NoValue> {
    match value.kind() {
        ValueKind::Bool => Ok(value.is_true()),
        ValueKind::None | ValueKind::Undefined => Err(NoValue::Missing("a condition".to_owned())),
        kind => Err(NoValue::Mistake(format!("a condition must be true or false, not a {kind}"))),
    }
}

/// A field of a map, or an element of a list.
pub(super) fn field(value: &Value, name: &str) -> Outcome {
    let found = match value.kind() {
        ValueKind::Map => value.get_attr(name).ok(),
        _ => None,
    };
    found.filter(|found| !found.is_undefined()).ok_or_else(|| NoValue::Missing(format!("`{name}`")))
}

/// A number from a value that is one.
pub(in crate::runbook) fn number(value: &Value) -> Option<f64> {
    if value.kind() == ValueKind::Number { to_f64(value).filter(|number| number.is_finite()) } else { None }
}

#[cfg(test)]
mod tests {
    use std::ops::Add as _;

    use serde_json::json;

    use super::*;

    fn scope() -> Scope {
        let mut scope = Scope::default();
        for (name, value) in [
            ("info", json!({"used": 850, "max": 1000, "zero": 0, "ratio": 0.5, "text": "12.5", "none": null})),
            ("rows", json!([{"a": 3, "n": "x"}, {"a": 1, "n": "y"}, {"n": "z"}, {"a": 2, "n": "w"}])),
        ] {
            scope.set(name, Value::from(minijinja::value::Serde(value)));
        }
        scope
    }

    fn value(source: &str) -> Outcome {
        Program::parse(source).unwrap_or_else(|error| panic!("{source}: {error}")).value(&scope())
    }

    fn shown(source: &str) -> String {
        match value(source) {
            Ok(value) if value.is_none() => "null".to_owned(),
            Ok(value) => functions::plain(&value),
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn a_condition_that_is_false_whatever_is_not_known_yet_is_told_apart_from_one_that_depends_on_it() {
        let mut scope = Scope::default();
        scope.set("args", Value::from_pairs([("flush", Value::from(false)), ("mark", Value::from(90))]));
        let decided = |source: &str| Program::parse(source).unwrap().decided(&scope, &|name| name == "seen");
        for (source, known) in [
            ("args.flush && seen.figures.percent > args.mark", Some(false)),
            ("has(args.purge) && default(seen.figures.percent, 100) >= 90", Some(false)),
            ("!args.flush && seen.good", None),
            ("!args.flush || seen.good", Some(true)),
            ("args.flush || seen.good", None),
            ("args.mark == 90 && !args.flush", Some(true)),
            ("seen.good", None),
        ] {
            assert_eq!(decided(source), known, "{source}");
        }
    }

    #[test]
    fn whole_and_broken_numbers_mix_and_division_keeps_the_rest() {
        for (source, expected) in [
            ("7 / 2", "3.5"),
            ("8 / 2", "4"),
            ("info.used * 1.5", "1275.0"),
            ("info.used + 1", "851"),
            ("info.used / info.max > 0.8", "true"),
            ("1 == 1.0", "true"),
            ("info.used > 849.9", "true"),
            ("-info.used", "-850"),
            ("7 % 4", "3"),
            ("info.used / info.zero", "! division by zero"),
            ("9223372036854775807 + 1", "9223372036854776000.0"),
            ("'a' + 'b'", "ab"),
        ] {
            assert_eq!(shown(source), expected, "{source}");
        }
    }

    #[test]
    fn what_is_missing_makes_a_condition_false() {
        for source in [
            "info.nope > 1",
            "nope.deeper > 1",
            "!(info.nope > 1)",
            "info.none > 1",
            "info.used + info.none > 1",
            "info.nope == 1",
            "info.nope != 1",
            "rows[17].a == 1",
            "'text'",
            "info.nope ? true : false",
        ] {
            assert!(!Program::parse(source).unwrap().holds(&scope()), "{source}");
        }
    }

    #[test]
    fn one_side_that_settles_it_is_enough() {
        assert_eq!(shown("info.nope > 1 || info.used > 1"), "true");
        assert_eq!(shown("info.used > 1 || info.nope > 1"), "true");
        assert_eq!(shown("info.nope > 1 && info.used < 1"), "false");
        assert_eq!(shown("info.nope > 1 && info.used > 1"), "! `nope` is not there");
    }

    #[test]
    fn helpers_are_safe_where_servers_are_not() {
        for (source, expected) in [
            ("ratio(1, 0)", "null"),
            ("ratio(info.nope, 3)", "null"),
            ("ratio(info.used, info.max)", "0.85"),
            ("num(info.text)", "12.5"),
            ("num('12') + 1", "13"),
            ("num('x')", "null"),
            ("default(info.nope, 7)", "7"),
            ("default(info.none, 7)", "7"),
            ("default(info.used, 7)", "850"),
            ("has(info.used) && !has(info.nope) && !has(info.none)", "true"),
        ] {
            assert_eq!(shown(source), expected, "{source}");
        }
    }

    #[test]
    fn lists_are_walked_filtered_and_sorted() {
        for (source, expected) in [
            ("rows.exists(r, r.a == 3)", "true"),
            ("rows.all(r, r.a > 0)", "false"),
            ("rows.count(r, r.a > 1)", "2"),
            ("size(rows.filter(r, r.a > 1))", "2"),
            ("rows.map(r, r.n)", "['x', 'y', 'z', 'w']"),
            ("rows.sortByDesc(r, r.a).map(r, r.n)", "['x', 'w', 'y', 'z']"),
            ("sum(rows.map(r, r.a))", "6"),
            ("max(rows.map(r, r.a))", "3"),
            ("first(rows).n + last(rows).n", "xw"),
            ("size(take(rows, 2))", "2"),
            ("'x' in rows.map(r, r.n)", "true"),
            ("entries({'b': 1}).map(e, e.key)", "['b']"),
            ("info['used']", "850"),
            ("rows[0].n", "x"),
            ("'abc'.startsWith('ab') && 'abc'.matches('^a.c$') && 'abc'.contains('b')", "true"),
        ] {
            assert_eq!(shown(source), expected, "{source}");
        }
    }

    #[test]
    fn mistakes_are_found_before_anybody_asks() {
        for (source, part) in [
            ("info.used >", "ends too early"),
            ("sise(rows)", "did you mean `size`"),
            ("size(rows, 2)", "takes 1"),
            ("rows[0].n.matches('(')", "regular expression"),
            ("", "empty"),
        ] {
            let error = Program::parse(source).map(|_| ()).unwrap_err();
            assert!(error.contains(part), "{source}: {error}");
        }
        assert!(Program::parse(&"(".repeat(500)).is_err());
        assert!(Program::parse(&format!("{}1{}", "(".repeat(16), ")".repeat(16))).is_ok());
        let chain = Program::parse(&format!("1{}", " + 1".repeat(200))).unwrap();
        assert_eq!(chain.value(&scope()).unwrap().as_i64(), Some(201));
        assert!(Program::parse(&"a ? b : ".repeat(8).add("c")).is_ok());
        assert!(Program::parse(&format!("{}1{}", "(".repeat(100), ")".repeat(100))).is_err());
        assert!(Program::parse(&format!("1{}", " + 1".repeat(1000))).is_err());
        let three = "rows.map(a, rows.map(b, rows.map(c, 1)))";
        assert!(Program::parse(three).is_err());
    }

    #[test]
    fn names_are_known_with_their_first_field_and_without_the_walked_ones() {
        let names = Program::parse("rows.filter(r, r.a > args.min && info['used'] > figures.x.y)").unwrap().names();
        let names: Vec<_> = names.iter().map(|(root, field)| (root.as_str(), field.as_deref())).collect();
        assert_eq!(names, [("rows", None), ("args", Some("min")), ("info", Some("used")), ("figures", Some("x"))]);
    }

    #[test]
    fn an_expression_that_works_too_long_is_stopped() {
        let mut scope = scope();
        scope.set("many", Value::from((0..5000).collect::<Vec<i64>>()));
        let program = Program::parse("many.exists(a, many.exists(b, a + b < 0))").unwrap();
        assert_eq!(program.value(&scope), Err(NoValue::TooMuch));
    }
}
