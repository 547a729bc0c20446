//! What Slack takes for a message, and what a reader of it sees.

use serde_json::Value;

/// Why Slack would refuse a message, in its own words; `Ok` when it takes it.
pub(crate) fn check(text: &str, blocks: &[Value]) -> Result<(), (&'static str, Vec<String>)> {
    let mut wrong = Vec::new();
    if text.is_empty() && blocks.is_empty() {
        return Err(("no_text", wrong));
    }
    if text.chars().count() > 4_000 {
        return Err(("msg_too_long", wrong));
    }
    if blocks.len() > 50 {
        wrong.push(format!("no more than 50 items allowed, here are {} [json-pointer:/blocks]", blocks.len()));
    }
    let mut ids = std::collections::BTreeSet::new();
    for (at, block) in blocks.iter().enumerate() {
        check_block(block, &format!("/blocks/{at}"), &mut wrong);
        if let Some(id) = block.get("block_id").and_then(Value::as_str)
            && !ids.insert(id.to_owned())
        {
            wrong.push(format!("block_id `{id}` is there twice [json-pointer:/blocks/{at}]"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(("invalid_blocks", wrong)) }
}

fn check_block(block: &Value, at: &str, wrong: &mut Vec<String>) {
    let known: &[&str] = match kind(block) {
        "header" => {
            text_object(block.get("text"), 150, Some("plain_text"), &format!("{at}/text"), wrong);
            &["type", "block_id", "text"]
        }
        "section" => {
            let fields = list(block, "fields");
            match block.get("text") {
                Some(text) => text_object(Some(text), 3_000, None, &format!("{at}/text"), wrong),
                None if fields.is_empty() => wrong.push(format!("a section needs text or fields [json-pointer:{at}]")),
                None => {}
            }
            if fields.len() > 10 {
                wrong.push(format!("no more than 10 fields allowed [json-pointer:{at}/fields]"));
            }
            for (index, field) in fields.iter().enumerate() {
                text_object(Some(field), 2_000, None, &format!("{at}/fields/{index}"), wrong);
            }
            &["type", "block_id", "text", "fields", "accessory", "expand"]
        }
        "context" => {
            let elements = list(block, "elements");
            if elements.is_empty() || elements.len() > 10 {
                wrong.push(format!("a context has 1 to 10 elements [json-pointer:{at}/elements]"));
            }
            for (index, element) in elements.iter().enumerate() {
                text_object(Some(element), 3_000, None, &format!("{at}/elements/{index}"), wrong);
            }
            &["type", "block_id", "elements"]
        }
        "divider" => &["type", "block_id"],
        "actions" => {
            let elements = list(block, "elements");
            if elements.is_empty() || elements.len() > 25 {
                wrong.push(format!("actions have 1 to 25 elements [json-pointer:{at}/elements]"));
            }
            let mut ids = std::collections::BTreeSet::new();
            for (index, element) in elements.iter().enumerate() {
                let at = format!("{at}/elements/{index}");
                element_of_actions(element, &at, wrong);
                let id = word(element, "action_id");
                if id.is_empty() || id.len() > 255 || !ids.insert(id.to_owned()) {
                    wrong.push(format!("action_id `{id}` is missing, too long or there twice [json-pointer:{at}]"));
                }
            }
            &["type", "block_id", "elements"]
        }
        "input" => {
            text_object(block.get("label"), 2_000, Some("plain_text"), &format!("{at}/label"), wrong);
            match block.get("element") {
                Some(element) if kind(element) == "plain_text_input" => line_to_fill_in(element, at, wrong),
                _ => wrong.push(format!("an input needs an element that can be filled in [json-pointer:{at}/element]")),
            }
            // Without it nobody would hear of what was typed: a message has no button to submit.
            if block.get("dispatch_action") != Some(&Value::Bool(true)) {
                wrong.push(format!("an input of a message must dispatch its action [json-pointer:{at}]"));
            }
            &["type", "block_id", "label", "element", "dispatch_action", "optional", "hint"]
        }
        "rich_text" => {
            let elements = list(block, "elements");
            if elements.is_empty() {
                wrong.push(format!("rich text must hold something [json-pointer:{at}/elements]"));
            }
            for (index, element) in elements.iter().enumerate() {
                rich(element, &format!("{at}/elements/{index}"), wrong);
            }
            let length: usize = texts(block).iter().map(|text| text.chars().count()).sum();
            if length > 4_000 {
                wrong.push(format!("rich text of {length} characters is too long [json-pointer:{at}]"));
            }
            &["type", "block_id", "elements"]
        }
        "image" => {
            if word(block, "alt_text").is_empty() {
                wrong.push(format!("an image needs alt_text [json-pointer:{at}]"));
            }
            &["type", "block_id", "image_url", "slack_file", "alt_text", "title"]
        }
        other => {
            wrong.push(format!("unsupported type: {other} [json-pointer:{at}/type]"));
            return;
        }
    };
    strange(block, known, at, wrong);
}

fn strange(object: &Value, known: &[&str], at: &str, wrong: &mut Vec<String>) {
    for name in object.as_object().into_iter().flatten().map(|(name, _)| name) {
        if !known.contains(&name.as_str()) {
            wrong.push(format!("invalid additional property: {name} [json-pointer:{at}]"));
        }
    }
}

fn element_of_actions(element: &Value, at: &str, wrong: &mut Vec<String>) {
    match kind(element) {
        "button" => {
            text_object(element.get("text"), 75, Some("plain_text"), &format!("{at}/text"), wrong);
            if word(element, "value").chars().count() > 2_000 {
                wrong.push(format!("value is too long [json-pointer:{at}/value]"));
            }
            if !matches!(word(element, "style"), "" | "primary" | "danger") {
                wrong.push(format!("no such style [json-pointer:{at}/style]"));
            }
            strange(element, &["type", "action_id", "text", "value", "style", "url", "confirm"], at, wrong);
        }
        "static_select" => {
            text_object(element.get("placeholder"), 150, Some("plain_text"), &format!("{at}/placeholder"), wrong);
            let options = list(element, "options");
            if options.is_empty() || options.len() > 100 {
                wrong.push(format!("a select has 1 to 100 options [json-pointer:{at}/options]"));
            }
            for (index, option) in options.iter().enumerate() {
                let at = format!("{at}/options/{index}");
                text_object(option.get("text"), 75, Some("plain_text"), &format!("{at}/text"), wrong);
                let value = word(option, "value").chars().count();
                if value == 0 || value > 150 {
                    wrong.push(format!("value must have 1 to 150 characters [json-pointer:{at}/value]"));
                }
            }
            strange(element, &["type", "action_id", "placeholder", "options", "initial_option", "confirm"], at, wrong);
        }
        other => wrong.push(format!("unsupported type: {other} [json-pointer:{at}/type]")),
    }
}

fn line_to_fill_in(element: &Value, at: &str, wrong: &mut Vec<String>) {
    let at = format!("{at}/element");
    let id = word(element, "action_id");
    if id.is_empty() || id.chars().count() > 255 {
        wrong.push(format!("action_id `{id}` is missing or too long [json-pointer:{at}]"));
    }
    if element.get("placeholder").is_some() {
        text_object(element.get("placeholder"), 150, Some("plain_text"), &format!("{at}/placeholder"), wrong);
    }
    let known = [
        "type",
        "action_id",
        "placeholder",
        "initial_value",
        "multiline",
        "min_length",
        "max_length",
        "focus_on_load",
        "dispatch_action_config",
    ];
    strange(element, &known, &at, wrong);
}

fn text_object(object: Option<&Value>, limit: usize, only: Option<&str>, at: &str, wrong: &mut Vec<String>) {
    let Some(object) = object else {
        wrong.push(format!("missing required field [json-pointer:{at}]"));
        return;
    };
    let kind = kind(object);
    if !matches!(kind, "plain_text" | "mrkdwn") || only.is_some_and(|only| only != kind) {
        wrong.push(format!("unsupported type: {kind} [json-pointer:{at}/type]"));
    }
    let length = word(object, "text").chars().count();
    if length == 0 {
        wrong.push(format!("must be more than 0 characters [json-pointer:{at}/text]"));
    }
    if length > limit {
        wrong.push(format!("must be less than {} characters [json-pointer:{at}/text]", limit + 1));
    }
    strange(object, &["type", "text", "emoji", "verbatim"], at, wrong);
}

fn rich(element: &Value, at: &str, wrong: &mut Vec<String>) {
    match kind(element) {
        "rich_text_section" | "rich_text_preformatted" | "rich_text_quote" => {
            for (index, leaf) in list(element, "elements").iter().enumerate() {
                let at = format!("{at}/elements/{index}");
                match kind(leaf) {
                    "text" if word(leaf, "text").is_empty() => {
                        wrong.push(format!("must be more than 0 characters [json-pointer:{at}/text]"));
                    }
                    "text" => strange(leaf, &["type", "text", "style"], &at, wrong),
                    "user" => strange(leaf, &["type", "user_id", "style"], &at, wrong),
                    other => wrong.push(format!("unsupported type: {other} [json-pointer:{at}/type]")),
                }
            }
            strange(element, &["type", "elements", "border"], at, wrong);
        }
        "rich_text_list" => {
            for (index, section) in list(element, "elements").iter().enumerate() {
                rich(section, &format!("{at}/elements/{index}"), wrong);
            }
            strange(element, &["type", "elements", "style", "indent", "offset", "border"], at, wrong);
        }
        other => wrong.push(format!("unsupported type: {other} [json-pointer:{at}/type]")),
    }
}

fn kind(object: &Value) -> &str {
    word(object, "type")
}

fn word<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(object: &'a Value, name: &str) -> &'a [Value] {
    object.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Every text in a block, in reading order.
pub(crate) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Object(object) => object
            .iter()
            .flat_map(|(name, value)| match value {
                Value::String(text) if name == "text" => vec![text.clone()],
                Value::String(_) => Vec::new(),
                value => texts(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// Who and what a message would ping, link or format that is not plain: mrkdwn with control
/// sequences or marks, anywhere Slack reads mrkdwn. Mentions by structure are left out.
pub(crate) fn formatted(text: &str, blocks: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let mut mrkdwn = vec![text.to_owned()];
    for block in blocks {
        collect_mrkdwn(block, &mut mrkdwn);
    }
    for text in mrkdwn {
        if text.contains('<') {
            found.push(format!("a control sequence in `{text}`"));
        }
        for mark in ['*', '_', '~', '`'] {
            // Slack formats what stands between two marks at the edges of words.
            let opens = text.char_indices().any(|(at, c)| {
                c == mark
                    && text[..at]
                        .chars()
                        .next_back()
                        .is_none_or(|before| !before.is_alphanumeric() && before != '\u{2060}')
            });
            if opens && text.matches(mark).count() > 1 {
                found.push(format!("formatting by `{mark}` in `{text}`"));
            }
        }
    }
    found
}

fn collect_mrkdwn(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if object.get("type").and_then(Value::as_str) == Some("mrkdwn") {
                found.extend(object.get("text").and_then(Value::as_str).map(str::to_owned));
            }
            object.values().for_each(|value| collect_mrkdwn(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_mrkdwn(value, found)),
        _ => {}
    }
}
