//! What expressions can do with values.

use std::{cmp::Ordering, collections::HashMap, sync::Mutex};

use cel::common::ast::operators as op;
use minijinja::{Value, value::ValueKind};
use regex::{Regex, RegexBuilder};

use super::expression::{NoValue, field};
use crate::runbook::words::nearest;

type Outcome = Result<Value, NoValue>;

/// Functions by name with how many values they take, the one before the dot counted.
pub(in crate::runbook) const FUNCTIONS: &[(&str, usize)] = &[
    ("abs", 1),
    ("avg", 1),
    ("ceil", 1),
    ("contains", 2),
    ("default", 2),
    ("double", 1),
    ("endsWith", 2),
    ("entries", 1),
    ("first", 1),
    ("floor", 1),
    ("has", 1),
    ("int", 1),
    ("join", 2),
    ("keys", 1),
    ("last", 1),
    ("lower", 1),
    ("matches", 2),
    ("max", 1),
    ("min", 1),
    ("num", 1),
    ("ratio", 2),
    ("round", 1),
    ("size", 1),
    ("split", 2),
    ("startsWith", 2),
    ("string", 1),
    ("sum", 1),
    ("take", 2),
    ("upper", 1),
    ("values", 1),
];

/// Calls on a list that name its element first: `rows.filter(r, r.n > 1)`.
pub(in crate::runbook) const WALKS: &[&str] =
    &["all", "count", "exists", "existsOne", "exists_one", "filter", "map", "sortBy", "sortByDesc"];

const OPERATORS: &[&str] = &[
    op::CONDITIONAL,
    op::LOGICAL_AND,
    op::LOGICAL_OR,
    op::LOGICAL_NOT,
    op::SUBSTRACT,
    op::ADD,
    op::MULTIPLY,
    op::DIVIDE,
    op::MODULO,
    op::EQUALS,
    op::NOT_EQUALS,
    op::GREATER_EQUALS,
    op::LESS_EQUALS,
    op::GREATER,
    op::LESS,
    op::NEGATE,
    op::INDEX,
    op::IN,
];

pub(super) fn is_walk(name: &str, method: bool) -> bool {
    method && WALKS.contains(&name)
}

/// Whether a call names something that exists and gives it what it takes.
pub(super) fn check_call(name: &str, arguments: usize, method: bool) -> Result<(), String> {
    if OPERATORS.contains(&name) {
        return Ok(());
    }
    if is_walk(name, method) {
        return if arguments == 2 {
            Ok(())
        } else {
            Err(format!("`{name}` takes a name and an expression: `rows.{name}(r, r.field)`"))
        };
    }
    let given = arguments + usize::from(method);
    match FUNCTIONS.iter().find(|(known, _)| *known == name) {
        Some((_, takes)) if *takes == given => Ok(()),
        // `max(a, b)` and `min(a, b)` read naturally.
        Some(("max" | "min", _)) if given == 2 => Ok(()),
        Some((_, takes)) => Err(format!("`{name}` takes {takes} values, not {given}")),
        None => {
            let known = FUNCTIONS.iter().map(|(known, _)| *known).chain(WALKS.iter().copied());
            let hint = nearest(name, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            Err(format!("there is no function `{name}`{hint}"))
        }
    }
}

/// Applies an operator or function.
pub(super) fn call(name: &str, values: &[Value]) -> Outcome {
    match (name, values) {
        (op::LOGICAL_NOT, [value]) if value.kind() == ValueKind::Bool => Ok(Value::from(!value.is_true())),
        (op::LOGICAL_NOT, [value]) => missing_or("`!` needs true or false", &[value]),
        (op::NEGATE, [value]) => arithmetic(name, &Value::from(0), value),
        (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, [a, b]) => arithmetic(name, a, b),
        (op::EQUALS, [a, b]) => Ok(Value::from(equal(a, b))),
        (op::NOT_EQUALS, [a, b]) => Ok(Value::from(!equal(a, b))),
        (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, [a, b]) => compare(name, a, b),
        (op::INDEX, [list, key]) => index(list, key),
        (op::IN, [wanted, list]) => match list.kind() {
            ValueKind::Map => Ok(Value::from(field(list, &wanted.to_string()).is_ok())),
            _ => Ok(Value::from(elements(list)?.iter().any(|element| equal(element, wanted)))),
        },
        ("size", [value]) => match value.kind() {
            ValueKind::String => Ok(Value::from(value.as_str().map_or(0, |text| text.chars().count()))),
            _ => value
                .len()
                .map(Value::from)
                .map_or_else(|| missing_or("only lists, maps and texts have a size", &[value]), Ok),
        },
        ("num", [value]) => Ok(parse_number(value)),
        ("int", [value]) => Ok(to_f64(value).map_or(Value::from(()), |number| whole(number.trunc()))),
        ("double", [value]) => Ok(to_f64(value).map_or(Value::from(()), Value::from)),
        ("string", [value]) => Ok(Value::from(plain(value))),
        ("abs", [value]) => numeric(value, f64::abs),
        ("ceil", [value]) => numeric(value, f64::ceil),
        ("floor", [value]) => numeric(value, f64::floor),
        ("round", [value]) => numeric(value, f64::round),
        ("max" | "min", [a, b]) => extreme(name, vec![a.clone(), b.clone()]),
        ("max" | "min", [list]) => extreme(name, elements(list)?),
        ("sum", [list]) => numbers(list)?.into_iter().try_fold(Value::from(0), |sum, n| arithmetic(op::ADD, &sum, &n)),
        ("avg", [list]) => {
            let numbers = numbers(list)?;
            let sum: f64 = numbers.iter().filter_map(to_f64).sum();
            Ok(if numbers.is_empty() { Value::from(()) } else { Value::from(sum / numbers.len() as f64) })
        }
        ("first", [list]) => Ok(elements(list)?.into_iter().next().unwrap_or_default_none()),
        ("last", [list]) => Ok(elements(list)?.pop().unwrap_or_default_none()),
        ("take", [list, count]) => {
            let count = count.as_usize().unwrap_or(0);
            Ok(elements(list)?.into_iter().take(count).collect::<Vec<_>>().into())
        }
        ("keys", [map]) => Ok(pairs(map)?.into_iter().map(|(key, _)| key).collect::<Vec<_>>().into()),
        ("values", [map]) => Ok(pairs(map)?.into_iter().map(|(_, value)| value).collect::<Vec<_>>().into()),
        ("entries", [map]) => Ok(pairs(map)?
            .into_iter()
            .map(|(key, value)| Value::from_pairs([("key", key), ("value", value)]))
            .collect::<Vec<_>>()
            .into()),
        ("join", [list, between]) => {
            let parts: Vec<String> = elements(list)?.iter().map(plain).collect();
            Ok(Value::from(parts.join(text(between)?)))
        }
        ("split", [value, between]) => {
            let between = text(between)?;
            Ok(text(value)?.split(between).take(10_000).map(Value::from).collect::<Vec<_>>().into())
        }
        ("lower", [value]) => Ok(Value::from(text(value)?.to_lowercase())),
        ("upper", [value]) => Ok(Value::from(text(value)?.to_uppercase())),
        ("contains", [value, part]) if value.kind() == ValueKind::Seq => {
            Ok(Value::from(elements(value)?.iter().any(|element| equal(element, part))))
        }
        ("contains", [value, part]) => Ok(Value::from(text(value)?.contains(text(part)?))),
        ("startsWith", [value, part]) => Ok(Value::from(text(value)?.starts_with(text(part)?))),
        ("endsWith", [value, part]) => Ok(Value::from(text(value)?.ends_with(text(part)?))),
        ("matches", [value, pattern]) => matches(text(value)?, text(pattern)?).map(Value::from),
        _ => Err(NoValue::Mistake(format!("`{name}` cannot be used like this"))),
    }
}

trait OrNone {
    fn unwrap_or_default_none(self) -> Value;
}

impl OrNone for Option<Value> {
    fn unwrap_or_default_none(self) -> Value {
        self.unwrap_or_else(|| Value::from(()))
    }
}

/// A mistake, unless it comes of a value that is not there.
fn missing_or(mistake: &str, values: &[&Value]) -> Outcome {
    if values.iter().any(|value| value.is_none() || value.is_undefined()) {
        Err(NoValue::Missing("a value".to_owned()))
    } else {
        Err(NoValue::Mistake(mistake.to_owned()))
    }
}

/// A value as text: `true`, not `True`; nothing for what is not there.
pub(in crate::runbook) fn plain(value: &Value) -> String {
    match value.kind() {
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::None | ValueKind::Undefined => String::new(),
        _ => value.to_string(),
    }
}

/// A number, or text that is one.
pub(in crate::runbook) fn to_f64(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Number => value.as_i64().map(|n| n as f64).or_else(|| f64::try_from(value.clone()).ok()),
        ValueKind::String => value.as_str()?.trim().parse().ok(),
        _ => None,
    }
}

fn parse_number(value: &Value) -> Value {
    match value.kind() {
        ValueKind::Number => value.clone(),
        ValueKind::Bool => Value::from(i64::from(value.is_true())),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default().trim();
            match (text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(number), _) => Value::from(number),
                (_, Ok(number)) if number.is_finite() => Value::from(number),
                _ => Value::from(()),
            }
        }
        _ => Value::from(()),
    }
}

/// An `i64` where the number is one, so that it prints without a fraction.
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 { Value::from(number as i64) } else { Value::from(number) }
}

fn numeric(value: &Value, apply: fn(f64) -> f64) -> Outcome {
    match (value.kind(), to_f64(value)) {
        (ValueKind::Number, Some(number)) => Ok(whole(apply(number))),
        _ => missing_or("this needs a number; `num(x)` makes one of text", &[value]),
    }
}

/// Zero, or a side that is missing, gives null.
pub(super) fn ratio(part: &Value, whole: &Value) -> Value {
    match (to_f64(part), to_f64(whole)) {
        (Some(part), Some(whole)) if whole != 0.0 && (part / whole).is_finite() => Value::from(part / whole),
        _ => Value::from(()),
    }
}

fn arithmetic(name: &str, a: &Value, b: &Value) -> Outcome {
    if name == op::ADD
        && let (Some(a), Some(b)) = (a.as_str(), b.as_str())
    {
        return if a.len() + b.len() > 100_000 { Err(NoValue::TooMuch) } else { Ok(Value::from(format!("{a}{b}"))) };
    }
    if name == op::ADD && a.kind() == ValueKind::Seq && b.kind() == ValueKind::Seq {
        let mut list = elements(a)?;
        list.extend(elements(b)?);
        return if list.len() > 100_000 { Err(NoValue::TooMuch) } else { Ok(Value::from(list)) };
    }
    if a.kind() != ValueKind::Number || b.kind() != ValueKind::Number {
        return missing_or("arithmetic needs numbers; `num(x)` makes one of text", &[a, b]);
    }
    if let (true, Some(a), true, Some(b)) = (a.is_integer(), a.as_i64(), b.is_integer(), b.as_i64()) {
        let exact = match name {
            op::ADD => a.checked_add(b),
            op::SUBSTRACT | op::NEGATE => a.checked_sub(b),
            op::MULTIPLY => a.checked_mul(b),
            op::DIVIDE if b == 0 => return Err(NoValue::Mistake("division by zero".to_owned())),
            op::DIVIDE if a.checked_rem(b) == Some(0) => a.checked_div(b),
            op::MODULO if b == 0 => return Err(NoValue::Mistake("division by zero".to_owned())),
            op::MODULO => a.checked_rem(b),
            _ => None,
        };
        if let Some(exact) = exact {
            return Ok(Value::from(exact));
        }
    }
    let (Some(a), Some(b)) = (to_f64(a), to_f64(b)) else {
        return Err(NoValue::Mistake("arithmetic needs numbers".to_owned()));
    };
    let result = match name {
        op::ADD => a + b,
        op::SUBSTRACT | op::NEGATE => a - b,
        op::MULTIPLY => a * b,
        op::DIVIDE | op::MODULO if b == 0.0 => return Err(NoValue::Mistake("division by zero".to_owned())),
        op::DIVIDE => a / b,
        _ => a % b,
    };
    if result.is_finite() {
        Ok(Value::from(result))
    } else {
        Err(NoValue::Mistake("the number is too large".to_owned()))
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    if a.kind() == ValueKind::Number && b.kind() == ValueKind::Number {
        return order(a, b) == Some(Ordering::Equal);
    }
    a.kind() == b.kind() && a == b
}

/// The order of two numbers, texts or truths; a value that is not there comes first.
pub(super) fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a.kind(), b.kind()) {
        (ValueKind::Number, ValueKind::Number) => match (a.as_i64(), b.as_i64()) {
            (Some(x), Some(y)) if a.is_integer() && b.is_integer() => Some(x.cmp(&y)),
            _ => to_f64(a)?.partial_cmp(&to_f64(b)?),
        },
        (ValueKind::String, ValueKind::String) => Some(a.as_str()?.cmp(b.as_str()?)),
        (ValueKind::Bool, ValueKind::Bool) => Some(a.is_true().cmp(&b.is_true())),
        (ValueKind::None | ValueKind::Undefined, ValueKind::None | ValueKind::Undefined) => Some(Ordering::Equal),
        (ValueKind::None | ValueKind::Undefined, _) => Some(Ordering::Less),
        (_, ValueKind::None | ValueKind::Undefined) => Some(Ordering::Greater),
        _ => None,
    }
}

fn compare(name: &str, a: &Value, b: &Value) -> Outcome {
    let absent = |value: &Value| value.is_none() || value.is_undefined();
    let order = if absent(a) || absent(b) { None } else { order(a, b) };
    let Some(order) = order else {
        return missing_or("these two cannot be compared; `num(x)` makes a number of text", &[a, b]);
    };
    Ok(Value::from(match name {
        op::LESS => order.is_lt(),
        op::LESS_EQUALS => order.is_le(),
        op::GREATER => order.is_gt(),
        _ => order.is_ge(),
    }))
}

fn index(list: &Value, key: &Value) -> Outcome {
    match (list.kind(), key.kind()) {
        (ValueKind::Map, _) => field(list, &key.to_string()),
        (ValueKind::Seq | ValueKind::Iterable, ValueKind::Number) => {
            let found = key.as_usize().and_then(|position| list.get_item_by_index(position).ok());
            found.filter(|value| !value.is_undefined()).ok_or_else(|| NoValue::Missing(format!("element {key}")))
        }
        _ => missing_or("only lists and maps have elements", &[list, key]),
    }
}

/// The elements of a list, or the keys of a map.
pub(in crate::runbook) fn elements(list: &Value) -> Result<Vec<Value>, NoValue> {
    match list.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
            list.try_iter().map(Iterator::collect).map_err(|_| NoValue::Mistake("this is not a list".to_owned()))
        }
        ValueKind::None | ValueKind::Undefined => Err(NoValue::Missing("a list".to_owned())),
        kind => Err(NoValue::Mistake(format!("this needs a list, not a {kind}"))),
    }
}

fn pairs(map: &Value) -> Result<Vec<(Value, Value)>, NoValue> {
    match map.kind() {
        ValueKind::Map => Ok(elements(map)?
            .into_iter()
            .map(|key| {
                let value = map.get_item(&key).unwrap_or_default();
                (key, value)
            })
            .collect()),
        ValueKind::None | ValueKind::Undefined => Err(NoValue::Missing("a map".to_owned())),
        kind => Err(NoValue::Mistake(format!("this needs a map, not a {kind}"))),
    }
}

/// The numbers of a list; what is not there is left out.
fn numbers(list: &Value) -> Result<Vec<Value>, NoValue> {
    let present = elements(list)?.into_iter().filter(|value| !value.is_none() && !value.is_undefined());
    let numbers: Vec<Value> = present.map(|value| parse_number(&value)).collect();
    if numbers.iter().any(Value::is_none) {
        return Err(NoValue::Mistake("the list holds more than numbers".to_owned()));
    }
    Ok(numbers)
}

fn extreme(name: &str, values: Vec<Value>) -> Outcome {
    let mut best: Option<Value> = None;
    for value in values.into_iter().filter(|value| !value.is_none() && !value.is_undefined()) {
        let better = match &best {
            None => true,
            Some(best) => {
                let order = order(&value, best)
                    .ok_or_else(|| NoValue::Mistake("these values cannot be compared".to_owned()))?;
                if name == "max" { order.is_gt() } else { order.is_lt() }
            }
        };
        if better {
            best = Some(value);
        }
    }
    Ok(best.unwrap_or_default_none())
}

fn text(value: &Value) -> Result<&str, NoValue> {
    match value.as_str() {
        Some(text) => Ok(text),
        None if value.is_none() || value.is_undefined() => Err(NoValue::Missing("a text".to_owned())),
        None => Err(NoValue::Mistake("this needs text; `string(x)` makes it".to_owned())),
    }
}

/// Compiled patterns are kept: a filter over ten thousand rows compiles its pattern once.
fn matches(text: &str, pattern: &str) -> Result<bool, NoValue> {
    static PATTERNS: Mutex<Option<HashMap<String, Regex>>> = Mutex::new(None);
    let mut patterns = PATTERNS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let patterns = patterns.get_or_insert_default();
    if let Some(known) = patterns.get(pattern) {
        return Ok(known.is_match(text));
    }
    let compiled = check_pattern(pattern).map_err(NoValue::Mistake)?;
    let found = compiled.is_match(text);
    if patterns.len() >= 256 {
        patterns.clear();
    }
    patterns.insert(pattern.to_owned(), compiled);
    Ok(found)
}

/// Compiles the pattern of `matches`.
pub(super) fn check_pattern(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(1 << 20)
        .build()
        .map_err(|_| "the pattern of `matches` is not a regular expression".to_owned())
}
