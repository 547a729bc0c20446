//! Text from outside, made harmless before it reaches a terminal.
//!
//! A key name may hold an escape sequence that recolours the screen, renames
//! the window or types into the shell; a value may hold bidirectional
//! overrides that show `prod` as something else. Such characters are shown,
//! never sent.

use std::borrow::Cow;

/// Characters that change how other characters are shown, or show as nothing.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}')
}

fn is_harmless(c: char) -> bool {
    !c.is_control() && !is_invisible(c)
}

/// The text on one line: control characters as their pictures (`␛`, `␊`),
/// other invisible characters as `⟨U+202E⟩`, a tab as a space.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\t' => shown.push(' '),
            '\u{0}'..='\u{1f}' => shown.push(char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}')),
            '\u{7f}' => shown.push('␡'),
            c if is_harmless(c) => shown.push(c),
            c => shown.push_str(&format!("⟨U+{:04X}⟩", c as u32)),
        }
    }
    Cow::Owned(shown)
}

/// JSON whose strings may hold such characters, with each written as an
/// escape: still the same JSON value, and safe to look at in a terminal.
pub fn clean_json(json: &str) -> Cow<'_, str> {
    if json.chars().all(is_harmless) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 8);
    let mut units = [0u16; 2];
    for c in json.chars() {
        if is_harmless(c) {
            shown.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_overrides_are_shown_instead_of_obeyed() {
        assert_eq!(clean("\u{1b}[31mred\u{1b}]0;title\u{7}"), "␛[31mred␛]0;title␇");
        assert_eq!(clean("a\nb\r\tc\u{7f}"), "a␊b␍ c␡");
        assert_eq!(clean("abc\u{202e}def\u{9b}31m"), "abc⟨U+202E⟩def⟨U+009B⟩31m");
        assert_eq!(clean("tag\u{e0041}\u{feff}"), "tag⟨U+E0041⟩⟨U+FEFF⟩");
        assert!(matches!(clean("Zürich · 東京 👩‍👩‍👧"), Cow::Borrowed(_)));
    }

    #[test]
    fn cleaned_json_means_the_same() {
        let value = serde_json::json!({"key": "a\u{202e}b\u{9b}c\u{e0041}\u{7f}\u{1b}"});
        let text = value.to_string();
        let shown = clean_json(&text);
        assert!(shown.chars().all(is_harmless), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
