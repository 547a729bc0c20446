//! The reference of the files, made of what reads them: the comments of the
//! compiled-in `bot.toml`, and the schemas of the wire types.

use std::{collections::BTreeSet, fmt::Write};

use serde_json::{Value, json};

use super::{
    bot::DEFAULTS,
    wire::{BotFile, PolicyFile, ServiceFile},
};
use crate::runbook;

/// The JSON Schema of each kind of file, by the name of the file.
pub fn json_schema() -> Value {
    json!({
        "bot.toml": schemars::schema_for!(BotFile).to_value(),
        "policy.toml": schemars::schema_for!(PolicyFile).to_value(),
        "services/NAME.toml": schemars::schema_for!(ServiceFile).to_value(),
        "commands/NAME.toml": runbook::json_schema(),
        "commands/runbooks/NAME.toml": runbook::book_schema(),
    })
}

/// The reference of `bot.toml`, `policy.toml` and `services/NAME.toml`, as Markdown.
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         Made by `rediscue reference` from what reads the files; a test keeps it true.\n\n\
         A configuration is a directory: `policy.toml`, `services/NAME.toml`, and where something differs from \
         the defaults `bot.toml`; a team's own commands are in `commands/NAME.toml`. It is taken as a whole or not \
         at all: `rediscue check --config DIR` prints every problem at once. Lengths of time are written `250ms`, \
         `30s`, `5m`, `2h`, `1d`, `2w`. Secrets are never written down, only where they are.\n",
    );
    bot(&mut page);
    let files = [schemars::schema_for!(PolicyFile).to_value(), schemars::schema_for!(ServiceFile).to_value()];
    for root in &files {
        File { root, told: BTreeSet::new(), waiting: Vec::new() }.write(&mut page);
    }
    page
}

/// `bot.toml` from its own comments: each stands over what it is about.
fn bot(page: &mut String) {
    page.push_str("\n## bot.toml\n");
    let mut comment: Vec<&str> = Vec::new();
    let mut head = true;
    for line in DEFAULTS.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
        } else if line.is_empty() {
            // The first paragraphs are about the file.
            if head && !comment.is_empty() {
                let _ = write!(page, "\n{}\n", comment.join(" ").replace("  ", "\n\n"));
                comment.clear();
            }
        } else if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            head = false;
            let about = std::mem::take(&mut comment).join(" ");
            let _ = write!(page, "\n### [{section}]\n\n{about}\n\n| key | default | |\n|---|---|---|\n");
        } else if let Some((key, value)) = line.split_once(" = ") {
            let about = std::mem::take(&mut comment).join(" ");
            let _ = writeln!(page, "| `{key}` | `{}` | {} |", cell(value), cell(&about));
        }
    }
}

/// One kind of file, table by table.
struct File<'s> {
    root: &'s Value,
    told: BTreeSet<&'s str>,
    /// Tables that were spoken of and are still to be told: their type, and where they stand.
    waiting: Vec<(&'s str, String)>,
}

impl<'s> File<'s> {
    fn write(&mut self, page: &mut String) {
        let title = self.root.get("title").and_then(Value::as_str).unwrap_or_default();
        let _ = write!(page, "\n## {title}\n\n{}\n", about(self.root));
        self.table(page, self.root, "");
        while !self.waiting.is_empty() {
            let (name, path) = self.waiting.remove(0);
            let Some(schema) = self.root.pointer(&format!("/$defs/{name}")) else { continue };
            let _ = write!(page, "\n### {path}\n\n{}\n", about(schema));
            self.table(page, schema, &path);
        }
    }

    fn table(&mut self, page: &mut String, schema: &'s Value, path: &str) {
        let required: BTreeSet<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        page.push_str("\n| key | holds | |\n|---|---|---|\n");
        let keys: Vec<(&String, &'s Value)> =
            schema.get("properties").and_then(Value::as_object).into_iter().flatten().collect();
        for (key, property) in keys {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let holds = self.holds(property, &inner);
            let must = if required.contains(key.as_str()) { "**must be there.** " } else { "" };
            let _ = writeln!(page, "| `{key}` | {holds} | {must}{} |", cell(&about(property)));
        }
    }

    /// What a value is, in words; a table is told later under its own heading.
    fn holds(&mut self, schema: &'s Value, path: &str) -> String {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/")) {
            let Some(target) = self.root.pointer(&format!("/$defs/{name}")) else { return String::new() };
            if target.get("properties").is_none() {
                return self.holds(target, path);
            }
            if target.get("x-secret").is_some() {
                return "where a secret is: `{ env = \"NAME\" }` or `{ file = \"/path\" }`".to_owned();
            }
            if self.told.insert(name) {
                self.waiting.push((name, path.to_owned()));
            }
            return "a table".to_owned();
        }
        if let Some(shapes) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
            let mut words: Vec<String> = shapes
                .iter()
                .filter(|shape| shape.get("type").and_then(Value::as_str) != Some("null"))
                .map(|shape| self.holds(shape, path))
                .collect();
            words.dedup();
            return words.join(" or ");
        }
        if let Some(word) = schema.get("const").and_then(Value::as_str) {
            return format!("`{word}`");
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            let words: Vec<String> = words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`")).collect();
            return words.join(" or ");
        }
        let kind = match schema.get("type") {
            Some(Value::Array(some)) => some.first().and_then(Value::as_str).unwrap_or_default(),
            Some(one) => one.as_str().unwrap_or_default(),
            None => "",
        };
        match kind {
            "integer" => "a whole number".to_owned(),
            "number" => "a number".to_owned(),
            "boolean" => "true or false".to_owned(),
            "array" => {
                let items = schema.get("items").map(|items| self.holds(items, &format!("{path}[]")));
                format!("a list; each {}", items.unwrap_or_default())
            }
            "object" => {
                let others =
                    schema.get("additionalProperties").map(|others| self.holds(others, &format!("{path}.NAME")));
                format!("names; each {}", others.unwrap_or_default())
            }
            _ => "text".to_owned(),
        }
    }
}

fn about(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}

/// A cell of a Markdown table holds no bar and no line break.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
