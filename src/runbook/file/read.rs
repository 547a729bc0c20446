//! TOML to wire types, with every problem and its line.
//!
//! serde stops at the first thing that does not fit. A person who mends a file
//! wants all of them, so what did not fit is taken out of the document and the
//! rest is read again, until it fits.

use std::{ops::Range, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    model::{Problem, line_of},
    runbook::words::nearest,
};

/// A value, and where it stands in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { span: spanned.span(), value: spanned.into_inner() })
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

/// How many problems of one file are told; who has more mends these first.
const MOST: usize = 100;

/// What was read of a document.
pub(super) struct Document<T> {
    /// What could be read, `None` where nothing could.
    pub(super) value: Option<T>,
    pub(super) problems: Vec<Problem>,
    /// Keys that were there and could not be read, each with its line: they are not missing as well.
    pub(super) taken_out: Vec<(String, usize)>,
}

/// Reads a document.
pub(super) fn read<T: DeserializeOwned>(file: &Path, text: &str) -> Document<T> {
    let (mut document, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> = errors
        .iter()
        .take(MOST)
        .map(|error| problem(file, text, error.span(), error.message().to_owned(), Some("this is not TOML".to_owned())))
        .collect();
    if !problems.is_empty() {
        // What stands behind a syntax error is a guess; its problems would be too.
        return Document { value: None, problems, taken_out: Vec::new() };
    }
    let mut taken_out = Vec::new();
    while problems.len() < MOST {
        match T::deserialize(toml::de::Deserializer::from(document.clone())) {
            Ok(value) => return Document { value: Some(value), problems, taken_out },
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                let key = take_out(document.get_mut(), &span);
                let (reason, hint) = said(error.message(), key.as_deref());
                let line = line_of(text, span.start);
                // A misspelt key stands for the one it is near to.
                taken_out.extend(
                    hint.as_deref().and_then(|hint| hint.split('`').nth(1)).map(|near| (near.to_owned(), line)),
                );
                problems.push(problem(file, text, Some(span), reason, hint));
                match key {
                    Some(key) => taken_out.push((key, line)),
                    None => break,
                }
            }
        }
    }
    Document { value: None, problems, taken_out }
}

/// A problem of a file.
pub(super) fn problem(
    file: &Path,
    text: &str,
    span: Option<Range<usize>>,
    reason: String,
    hint: Option<String>,
) -> Problem {
    let line = span.map(|span| line_of(text, span.start));
    Problem { file: file.to_owned(), line, reason, hint, warning: false }
}

/// Takes the smallest entry that holds `span` out; its key, if there was one.
fn take_out(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let mut found = None;
    for (key, value) in table.iter_mut() {
        let name = key.get_ref().to_string();
        if &key.span() == span || &value.span() == span {
            found = Some(name);
            break;
        }
        if let Some(inner) = take_out_of(value.get_mut(), &name, span) {
            return Some(inner);
        }
    }
    if let Some(name) = &found {
        *table = std::mem::take(table).into_iter().filter(|(key, _)| key.get_ref() != name.as_str()).collect();
    }
    found
}

fn take_out_of(value: &mut DeValue<'_>, name: &str, span: &Range<usize>) -> Option<String> {
    match value {
        DeValue::Table(table) => take_out(table, span),
        DeValue::Array(array) => {
            if let Some(position) = array.iter().position(|element| &element.span() == span) {
                let kept = array.iter().enumerate().filter(|(index, _)| *index != position);
                *array = kept.map(|(_, element)| element.clone()).collect();
                return Some(name.to_owned());
            }
            array.iter_mut().find_map(|element| take_out_of(element.get_mut(), name, span))
        }
        _ => None,
    }
}

/// serde's message, as a person would put it.
fn said(message: &str, key: Option<&str>) -> (String, Option<String>) {
    let message = message.lines().next().unwrap_or(message);
    if let Some((unknown, known)) = unknown(message, "unknown field ") {
        let hint = match nearest(&unknown, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "nothing may stand here".to_owned(),
            None => format!("known keys here: {}", known.join(", ")),
        };
        return (format!("unknown key `{unknown}`"), Some(hint));
    }
    if let Some((unknown, known)) = unknown(message, "unknown variant ") {
        let hint = match nearest(&unknown, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`? It can be {}", known.join(", ")),
            None => format!("it can be {}", known.join(", ")),
        };
        return (format!("`{}` cannot be `{unknown}`", key.unwrap_or("this")), Some(hint));
    }
    if let Some(rest) = message.strip_prefix("invalid type: ")
        && let Some((got, wanted)) = rest.split_once(", expected ")
    {
        let wanted = match wanted {
            "a string" => "text in quotes",
            "a boolean" => "true or false",
            "a sequence" => "a list in [ ]",
            "i64" | "u32" | "u64" | "usize" => "a whole number",
            wanted if wanted.starts_with("struct ") => "a table",
            wanted => wanted,
        };
        let got = match got.split_once(' ').map_or(got, |(kind, _)| kind) {
            "string" => "text",
            "integer" => "a whole number",
            "floating" => "a number with a fraction",
            "boolean" => "true or false",
            "sequence" => "a list",
            "map" => "a table",
            _ => "that",
        };
        return (format!("`{}` must be {wanted}, not {got}", key.unwrap_or("this")), None);
    }
    if let Some(rest) = message.strip_prefix("invalid value: ") {
        let wanted = rest.rsplit_once("expected ").map_or(rest, |(_, wanted)| wanted);
        let wanted =
            if matches!(wanted, "u32" | "u64" | "usize") { "a whole number that is not negative" } else { wanted };
        return (format!("`{}` must be {wanted}", key.unwrap_or("this")), None);
    }
    (message.to_owned(), None)
}

/// The word serde did not know, and the ones it knows.
fn unknown(message: &str, prefix: &str) -> Option<(String, Vec<String>)> {
    let mut quoted = message.strip_prefix(prefix)?.split('`').skip(1).step_by(2).map(str::to_owned);
    let unknown = quoted.next()?;
    Some((unknown, quoted.collect()))
}
