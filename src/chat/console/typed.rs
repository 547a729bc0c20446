//! What a typed line means.

/// A line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed {
    /// Nothing, or a comment in a script.
    Nothing,
    /// A command for the bot, without `/redis`.
    Command(String),
    /// Speak as somebody else from now on.
    As(String),
    /// React to a message, or take it back.
    React { emoji: String, message: Which, added: bool },
    /// Press a button, by its label or its number.
    Press { button: String, message: Which },
    /// Say what can be typed.
    Help,
    /// Leave.
    Quit,
    /// Not understood, and what would be.
    Wrong(String),
}

/// Which message is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    /// The latest one.
    Last,
    /// The one of that id.
    Id(String),
}

/// What `:help` says.
pub(super) const HELP: &str = "\
/redis status          ask the bot; `status` alone does too
/redis help            every command you may run
:react ✅ m3           react to a message (`last` is the latest one); :unreact takes it back
:press \"Undo\" m3       press a button, by its label or its number
:as bo                 speak as somebody else (only in `rediscue try`)
exit                   leave; quit, :quit and Ctrl-D do too";

/// Reads one line.
pub(super) fn read(line: &str) -> Typed {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Typed::Nothing;
    }
    // What every shell and `redis-cli` ends with. A command of a team's own by that name is still `/redis exit`.
    if ["exit", "quit"].iter().any(|word| line.eq_ignore_ascii_case(word)) {
        return Typed::Quit;
    }
    let Some(own) = line.strip_prefix(':') else {
        let text = match line.strip_prefix("/redis") {
            Some(rest) if rest.is_empty() || rest.starts_with(char::is_whitespace) => rest.trim_start(),
            _ => line,
        };
        // What a platform does with an empty slash command: show what there is.
        let text = if text.is_empty() { "help" } else { text };
        return Typed::Command(text.to_owned());
    };
    let words = match split(own) {
        Ok(words) => words,
        Err(why) => return Typed::Wrong(why),
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["as", person] => Typed::As((*person).to_owned()),
        ["react", emoji, rest @ ..] | ["unreact", emoji, rest @ ..] => {
            let added = words[0] == "react";
            match which(rest) {
                Some(message) => Typed::React { emoji: normalise(emoji), message, added },
                None => Typed::Wrong("say which message: `:react ✅ m3` or `:react ✅ last`".to_owned()),
            }
        }
        ["press", button, rest @ ..] => match which(rest) {
            Some(message) => Typed::Press { button: (*button).to_owned(), message },
            None => Typed::Wrong("say which message: `:press \"Undo\" m3` or `:press 1 last`".to_owned()),
        },
        ["help" | "h" | "?"] => Typed::Help,
        ["quit" | "q" | "exit"] => Typed::Quit,
        ["as"] => Typed::Wrong("say as whom: `:as bo`".to_owned()),
        ["react" | "unreact"] => Typed::Wrong("say with what: `:react ✅ last`".to_owned()),
        ["press"] => Typed::Wrong("say which button: `:press \"Undo\" last`".to_owned()),
        _ => Typed::Wrong(format!("`:{}` is not known here; `:help` lists what is", words.first().unwrap_or(&""))),
    }
}

fn which(words: &[&str]) -> Option<Which> {
    match words {
        [] | ["last"] => Some(Which::Last),
        [id] => {
            let number = id.strip_prefix('m').unwrap_or(id);
            number.parse::<u64>().ok().map(|number| Which::Id(format!("m{number}")))
        }
        _ => None,
    }
}

/// Splits at spaces; double quotes keep words together.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or("a quote is not closed")?,
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

/// The emoji as the bot compares it: no variation selector, no skin tone. The
/// two that matter can be typed as words, for keyboards without them.
fn normalise(emoji: &str) -> String {
    match emoji {
        "yes" | ":white_check_mark:" => return "✅".to_owned(),
        "no" | ":x:" => return "❌".to_owned(),
        _ => {}
    }
    emoji.chars().filter(|c| !matches!(c, '\u{fe0e}' | '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_with_and_without_the_prefix() {
        let status = Typed::Command("status prospectflow".to_owned());
        assert_eq!(read("/redis status prospectflow"), status);
        assert_eq!(read("  status prospectflow  "), status);
        assert_eq!(read("/redis"), Typed::Command("help".to_owned()));
        assert_eq!(read("/redisx"), Typed::Command("/redisx".to_owned()));
        assert_eq!(read("# a comment"), Typed::Nothing);
    }

    #[test]
    fn the_words_that_end_a_shell_end_the_chat_and_a_command_of_that_name_can_still_be_run() {
        for line in ["exit", "quit", " EXIT ", ":quit", ":q", ":exit"] {
            assert_eq!(read(line), Typed::Quit, "{line}");
        }
        assert_eq!(read("/redis exit"), Typed::Command("exit".to_owned()));
        assert_eq!(read("exit now"), Typed::Command("exit now".to_owned()));
    }

    #[test]
    fn reactions_name_a_message_or_the_last_one() {
        let react = |emoji: &str, message, added| Typed::React { emoji: emoji.to_owned(), message, added };
        assert_eq!(read(":react ✅ m3"), react("✅", Which::Id("m3".to_owned()), true));
        assert_eq!(read(":react ✅ last"), react("✅", Which::Last, true));
        assert_eq!(read(":unreact ❌ 3"), react("❌", Which::Id("m3".to_owned()), false));
        assert_eq!(read(":react 👍🏽 last"), react("👍", Which::Last, true));
        assert_eq!(read(":react ✔️"), react("✔", Which::Last, true));
        assert!(matches!(read(":react ✅ x y"), Typed::Wrong(_)));
    }

    #[test]
    fn buttons_are_named_in_quotes() {
        assert_eq!(
            read(":press \"Show memory\" last"),
            Typed::Press { button: "Show memory".to_owned(), message: Which::Last }
        );
        assert!(matches!(read(":press \"Show"), Typed::Wrong(_)));
        assert!(matches!(read(":dance"), Typed::Wrong(_)));
    }
}
