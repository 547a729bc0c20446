//! One TOML file, read so that every problem of it is found at once.
//!
//! serde stops at the first thing it does not like. So the file is first held
//! against the JSON Schema of its wire type, node by node, with the line of
//! each: unknown keys, wrong types, words that are not among the allowed,
//! missing keys. What is wrong is reported and taken out; what is left then
//! deserializes, and its meaning can be checked too.

use std::{collections::BTreeSet, fmt::Display, ops::Range, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use crate::model::{Problem, line_of};

/// A file with more problems than this is not the file somebody meant.
const MOST: usize = 50;

/// A value and the byte of its file it starts at; `None` when the file does not hold it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) at: Option<usize>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        let span = spanned.span();
        // Values out of the compiled-in defaults have an empty span: they stand in no file of the team's.
        Ok(Self { at: (!span.is_empty()).then_some(span.start), value: spanned.into_inner() })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

/// One file and what is wrong with it.
#[derive(Debug)]
pub(super) struct Sheet<'a> {
    file: PathBuf,
    text: &'a str,
    problems: Vec<Problem>,
    /// Where tables begin that lost a key: what they lack now, they may have said.
    hurt: BTreeSet<usize>,
}

impl<'a> Sheet<'a> {
    pub(super) fn new(file: PathBuf, text: &'a str) -> Self {
        Self { file, text, problems: Vec::new(), hurt: BTreeSet::new() }
    }

    /// Notes what is wrong at a byte of the file.
    pub(super) fn wrong(&mut self, at: Option<usize>, reason: impl Display, hint: impl Into<Option<String>>) {
        self.note(at, reason.to_string(), hint.into(), false);
    }

    /// Notes what is worth mending.
    pub(super) fn warn(&mut self, at: Option<usize>, reason: impl Display, hint: impl Into<Option<String>>) {
        self.note(at, reason.to_string(), hint.into(), true);
    }

    /// Did the table that begins there hold something that was told of and taken out, or lack something it needs?
    /// Then what it does not say now means nothing.
    pub(super) fn is_hurt(&self, at: Option<usize>) -> bool {
        at.is_some_and(|at| self.hurt.contains(&at))
    }

    /// What was found, in the order of the file.
    pub(super) fn problems(mut self) -> Vec<Problem> {
        self.problems.sort();
        self.problems.dedup();
        if self.problems.len() > MOST {
            let more = self.problems.len() - MOST;
            self.problems.truncate(MOST);
            self.problems.push(Problem {
                file: self.file,
                line: None,
                reason: format!("has {more} more problems than the {MOST} told here"),
                hint: None,
                warning: false,
            });
        }
        self.problems
    }

    fn note(&mut self, at: Option<usize>, reason: String, hint: Option<String>, warning: bool) {
        let line = at.map(|at| line_of(self.text, at));
        self.problems.push(Problem { file: self.file.clone(), line, reason, hint, warning });
    }

    /// Reads the file as a `T`; what does not fit is noted and left out. `None` when it is no TOML at all.
    pub(super) fn read<T: DeserializeOwned + JsonSchema>(&mut self) -> Option<T> {
        self.read_over(None)
    }

    /// The same, over defaults: each key of a section replaces the default's.
    pub(super) fn read_over<T: DeserializeOwned + JsonSchema>(&mut self, defaults: Option<&str>) -> Option<T> {
        let (mut document, errors) = DeTable::parse_recoverable(self.text);
        if !errors.is_empty() {
            for error in errors {
                // Only the message: the error's own rendering quotes the line, which may hold a secret.
                self.wrong(error.span().map(|span| span.start), format!("is not TOML here: {}", error.message()), None);
            }
            return None;
        }
        let root = schemars::schema_for!(T).to_value();
        let span = document.span();
        Walk { sheet: self, root: &root }.table(document.get_mut(), span, &root, "");

        if let Some(defaults) = defaults {
            let mut whole = DeTable::parse(defaults).expect("a test reads the compiled-in defaults").into_inner();
            forget_spans(&mut whole);
            merge_sections(&mut whole, document.into_inner());
            document = Spanned::new(0..0, whole);
        }
        match T::deserialize(toml::de::Deserializer::from(document)) {
            Ok(read) => Some(read),
            Err(error) => {
                self.wrong(error.span().map(|span| span.start), error.message(), None);
                None
            }
        }
    }
}

/// Lays the team's sections over the defaults: tables of the first level are
/// joined key by key, everything below replaces (half of `{ env = … }` and
/// half of `{ file = … }` would be no secret).
fn merge_sections<'i>(defaults: &mut DeTable<'i>, given: DeTable<'i>) {
    for (key, value) in given {
        // What is no section of the defaults was told of by the walk.
        let section = defaults.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut);
        let (Some(DeValue::Table(section)), DeValue::Table(given)) = (section, value.into_inner()) else { continue };
        for (key, value) in given {
            section.remove(key.get_ref().as_ref());
            section.insert(key, value);
        }
    }
}

fn forget_spans(table: &mut DeTable<'_>) {
    for (_, value) in table.iter_mut() {
        forget_span(value);
    }
}

fn forget_span(value: &mut Spanned<DeValue<'_>>) {
    let mut inner = std::mem::replace(value.get_mut(), DeValue::Boolean(false));
    match &mut inner {
        DeValue::Table(table) => forget_spans(table),
        DeValue::Array(array) => array.iter_mut().for_each(forget_span),
        _ => {}
    }
    *value = Spanned::new(0..0, inner);
}

/// Holds a document against its schema.
struct Walk<'w, 'a> {
    sheet: &'w mut Sheet<'a>,
    root: &'w Value,
}

impl<'w> Walk<'w, '_> {
    fn resolve(&self, schema: &'w Value) -> &'w Value {
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'));
        target.and_then(|path| self.root.pointer(path)).unwrap_or(schema)
    }

    /// The shapes a value may have; more than one where a file may write it in two ways.
    fn shapes(&self, schema: &'w Value) -> Vec<&'w Value> {
        let schema = self.resolve(schema);
        match schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
            Some(shapes) => shapes.iter().flat_map(|shape| self.shapes(shape)).collect(),
            None if schema.get("type").and_then(Value::as_str) == Some("null") => Vec::new(),
            None => vec![schema],
        }
    }

    /// False when the value cannot stay.
    fn value(&mut self, value: &mut Spanned<DeValue<'_>>, schema: &'w Value, path: &str) -> bool {
        let shapes = self.shapes(schema);
        let span = value.span();
        let Some(shape) = shapes.iter().find(|shape| fits(value.get_ref(), shape)) else {
            self.mismatch(value.get_ref(), span, &shapes, path);
            return false;
        };
        match value.get_mut() {
            DeValue::Table(table) => {
                self.table(table, span, shape, path);
                true
            }
            DeValue::Array(array) => {
                if array.is_empty() && shape.get("minItems").is_some() {
                    self.sheet.wrong(Some(span.start), format!("`{path}` must hold at least one"), None);
                }
                let items = shape.get("items");
                let kept =
                    std::mem::replace(array, DeArray::new()).into_iter().enumerate().filter_map(|(index, mut item)| {
                        let keep = items.is_none_or(|items| self.value(&mut item, items, &format!("{path}[{index}]")));
                        keep.then_some(item)
                    });
                *array = kept.collect();
                true
            }
            DeValue::String(text) => {
                let words: Vec<&str> = shapes.iter().flat_map(|shape| words(shape)).collect();
                let allowed = words.is_empty() || words.contains(&text.as_ref());
                if !allowed {
                    let hint = suggest(text, words.iter().copied());
                    let reason = format!("`{path}` must be one of {}", list(&words));
                    self.sheet.wrong(Some(span.start), reason, hint);
                }
                allowed
            }
            DeValue::Integer(number) => {
                let (least, most) = bounds(shape);
                let digits = number.as_str();
                let inside = i128::from_str_radix(digits, number.radix()).is_ok_and(|n| (least..=most).contains(&n));
                if !inside {
                    let reason = format!("`{path}` must be a whole number from {least} to {most}");
                    self.sheet.wrong(Some(span.start), reason, None);
                }
                inside
            }
            DeValue::Float(number) => {
                let finite = number.as_str().parse::<f64>().is_ok_and(f64::is_finite);
                if !finite {
                    self.sheet.wrong(Some(span.start), format!("`{path}` must be a finite number"), None);
                }
                finite
            }
            DeValue::Boolean(_) | DeValue::Datetime(_) => true,
        }
    }

    fn table(&mut self, table: &mut DeTable<'_>, span: Range<usize>, schema: &'w Value, path: &str) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        let known: Vec<&str> = properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !table.contains_key(name) {
                let place = if path.is_empty() { "the file".to_owned() } else { format!("`{path}`") };
                let about = properties.and_then(|all| all.get(name)).and_then(|schema| schema.get("description"));
                let hint = about.and_then(Value::as_str).map(|about| format!("{name}: {about}"));
                let at = (!path.is_empty()).then_some(span.start);
                self.sheet.wrong(at, format!("{place} must say `{name}`"), hint);
                self.sheet.hurt.insert(span.start);
            }
        }
        let mut kept = DeTable::new();
        for (key, mut value) in std::mem::take(table) {
            let name = key.get_ref().to_string();
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let Some(schema) = properties.and_then(|properties| properties.get(&name)).or(others) else {
                let hint =
                    suggest(&name, known.iter().copied()).unwrap_or_else(|| format!("known here: {}", list(&known)));
                self.sheet.wrong(Some(key.span().start), format!("unknown key `{inner}`"), hint);
                self.sheet.hurt.insert(span.start);
                continue;
            };
            if self.value(&mut value, schema, &inner) {
                kept.insert(key, value);
            } else {
                self.sheet.hurt.insert(span.start);
            }
        }
        *table = kept;
    }

    fn mismatch(&mut self, value: &DeValue<'_>, span: Range<usize>, shapes: &[&Value], path: &str) {
        let secret = shapes.iter().any(|shape| shape.get("x-secret").is_some());
        if secret && value.is_str() {
            let hint = "write where it is, `{ env = \"NAME\" }` or `{ file = \"/path\" }`, and change the secret: \
                        this file may have been read";
            self.sheet.wrong(
                Some(span.start),
                format!("`{path}` holds a secret, and secrets may not be written in files like this"),
                hint.to_owned(),
            );
            return;
        }
        let mut expected: Vec<&str> = shapes.iter().map(|shape| kind_of(shape)).collect();
        expected.dedup();
        let reason = format!("`{path}` must be {}, not {}", expected.join(" or "), kind(value));
        self.sheet.wrong(Some(span.start), reason, None);
    }
}

fn fits(value: &DeValue<'_>, shape: &Value) -> bool {
    let types: Vec<&str> = match shape.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(some)) => some.iter().filter_map(Value::as_str).collect(),
        // A bare `const` or `enum` is of words.
        _ => vec!["string"],
    };
    types.iter().any(|kind| match *kind {
        "string" => value.is_str(),
        "integer" => value.is_integer(),
        "number" => value.is_integer() || value.is_float(),
        "boolean" => value.is_bool(),
        "array" => value.is_array(),
        "object" => value.is_table(),
        _ => false,
    })
}

fn words(shape: &Value) -> Vec<&str> {
    let one = shape.get("const").and_then(Value::as_str);
    let some = shape.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    one.into_iter().chain(some).collect()
}

fn bounds(shape: &Value) -> (i128, i128) {
    let (least, most) = match shape.get("format").and_then(Value::as_str) {
        Some("uint8") => (0, i128::from(u8::MAX)),
        Some("uint16") => (0, i128::from(u16::MAX)),
        Some("uint32") => (0, i128::from(u32::MAX)),
        // TOML itself knows no more than 64 signed bits.
        Some("uint" | "uint64") => (0, i128::from(i64::MAX)),
        _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
    };
    let bound = |name: &str| shape.get(name).and_then(Value::as_i64).map(i128::from);
    (bound("minimum").unwrap_or(least), bound("maximum").unwrap_or(most))
}

fn kind_of(shape: &Value) -> &'static str {
    let kind = match shape.get("type") {
        Some(Value::Array(some)) => some.first().and_then(Value::as_str),
        Some(one) => one.as_str(),
        None => None,
    };
    match kind {
        Some("integer") => "a whole number",
        Some("number") => "a number",
        Some("boolean") => "true or false",
        Some("array") => "a list",
        Some("object") => "a table",
        _ => "text in quotes",
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// `did you mean …?`, when something near was meant.
pub(super) fn suggest<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<String> {
    nearest(written, names).map(|name| format!("did you mean `{name}`?"))
}

fn nearest<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // Long text is no name, and comparing it would cost its square.
    if written.len() > 80 {
        return None;
    }
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(written, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}

/// `` `a`, `b`, `c` ``
pub(super) fn list<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}
