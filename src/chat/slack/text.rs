//! Undoing what Slack does to text.
//!
//! What a person typed arrives with entities (`&lt;`), typographic quotes and
//! dashes, and links put around names that look like hosts or addresses. A
//! command must see what was typed.

/// The words as they were typed. User and channel references stay as they are.
pub(super) fn typed(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        plain.push_str(&rest[..start]);
        rest = &rest[start..];
        let Some(length) = rest.find('>') else { break };
        plain.push_str(&reference(&rest[1..length]));
        rest = &rest[length + 1..];
    }
    plain.push_str(rest);
    straighten(&entities(&plain))
}

/// What stood where Slack put `<…>`: a link's label, or its address without the scheme Slack added.
fn reference(inside: &str) -> String {
    match inside.chars().next() {
        // Users, channels, groups and special mentions: no command takes them, but nothing is lost.
        Some('@' | '#' | '!') => format!("<{inside}>"),
        _ => match inside.split_once('|') {
            Some((_, label)) => label.to_owned(),
            None => inside.strip_prefix("mailto:").or(inside.strip_prefix("tel:")).unwrap_or(inside).to_owned(),
        },
    }
}

/// The three entities Slack uses, each undone once: `&amp;lt;` is what `&lt;` looks like when typed.
fn entities(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>')];
        match known.iter().find(|(entity, _)| rest.starts_with(entity)) {
            Some((entity, c)) => {
                plain.push(*c);
                rest = &rest[entity.len()..];
            }
            None => {
                plain.push('&');
                rest = &rest[1..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

/// Quotes and dashes that keyboards make of plain ones. A dash before a letter at a word's start was `--`.
fn straighten(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut before = ' ';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '“' | '”' | '„' | '‟' => plain.push('"'),
            '‘' | '’' | '‚' | '‛' => plain.push('\''),
            '—' | '–' if before.is_whitespace() && chars.peek().is_some_and(|next| next.is_alphabetic()) => {
                plain.push_str("--");
            }
            '\u{a0}' => plain.push(' '),
            c => plain.push(c),
        }
        before = c;
    }
    plain
}

/// The words after the bot's own mention, if the text holds one: `<@U123> status` or `hey <@U123|bot> status`.
pub(super) fn after_mention<'a>(text: &'a str, bot: &str) -> Option<&'a str> {
    let start = text.find(&format!("<@{bot}"))?;
    let length = text[start..].find('>')?;
    Some(text[start + length + 1..].trim())
}

/// An emoji's name as the house knows it: a sign, without skin tone.
pub(super) fn emoji(name: &str) -> String {
    let base = name.split("::").next().unwrap_or(name);
    match base {
        "white_check_mark" => "✅",
        "x" => "❌",
        "hourglass_flowing_sand" => "⏳",
        "eyes" => "👀",
        "+1" | "thumbsup" => "👍",
        "-1" | "thumbsdown" => "👎",
        other => other,
    }
    .to_owned()
}

/// Slack's name of a sign the bot puts on messages.
pub(super) fn emoji_name(sign: &str) -> &str {
    match sign.trim_end_matches('\u{fe0f}') {
        "✅" => "white_check_mark",
        "❌" => "x",
        "⏳" => "hourglass_flowing_sand",
        "👀" => "eyes",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_sees_what_was_typed() {
        for (slack, plain) in [
            ("inspect “a b”", "inspect \"a b\""),
            ("clients —blocked", "clients --blocked"),
            ("clients –blocked", "clients --blocked"),
            ("keys a–b", "keys a–b"),
            ("connectivity <http://redis.example|redis.example>", "connectivity redis.example"),
            ("x <http://redis.example>", "x http://redis.example"),
            ("x <mailto:a@b.example|a@b.example>", "x a@b.example"),
            ("keys &lt;tag&gt; &amp;amp;", "keys <tag> &amp;"),
            ("who <@U1> <#C1|ops>", "who <@U1> <#C1|ops>"),
            ("a < b", "a < b"),
        ] {
            assert_eq!(typed(slack), plain, "{slack}");
        }
    }

    #[test]
    fn a_mention_is_followed_by_the_command() {
        assert_eq!(after_mention("<@UBOT> status", "UBOT"), Some("status"));
        assert_eq!(after_mention("hey <@UBOT|bot>  status godel ", "UBOT"), Some("status godel"));
        assert_eq!(after_mention("status", "UBOT"), None);
    }

    #[test]
    fn skin_tones_do_not_change_a_consent() {
        assert_eq!(emoji("white_check_mark"), "✅");
        assert_eq!(emoji("+1::skin-tone-3"), "👍");
        assert_eq!(emoji_name(&emoji("x")), "x");
    }
}
