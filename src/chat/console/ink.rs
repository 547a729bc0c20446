//! Lines of coloured pieces, and breaking them at a width.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::model::Level;

/// How a piece of a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    Strong,
    Dim,
    Code,
    Level(Level),
}

impl Ink {
    fn sgr(self) -> &'static str {
        match self {
            Ink::Plain => "",
            Ink::Strong => "1",
            Ink::Dim => "2",
            Ink::Code => "36",
            Ink::Level(Level::Ok) => "32",
            Ink::Level(Level::Note) => "34",
            Ink::Level(Level::Unknown) => "35",
            Ink::Level(Level::Warn) => "1;33",
            Ink::Level(Level::Crit) => "1;31",
        }
    }
}

/// A piece of a line. Its text is clean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) ink: Ink,
}

/// One line.
pub(super) type Line = Vec<Piece>;

/// A piece, made harmless.
pub(super) fn piece(text: &str, ink: Ink) -> Piece {
    Piece { text: super::clean(text).into_owned(), ink }
}

/// Columns a text takes.
pub(super) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Columns a line takes.
pub(super) fn line_width(line: &[Piece]) -> usize {
    line.iter().map(|piece| width(&piece.text)).sum()
}

/// Spaces.
pub(super) fn gap(columns: usize) -> Piece {
    Piece { text: " ".repeat(columns), ink: Ink::Plain }
}

/// The line as the terminal gets it.
pub(super) fn paint(line: &[Piece], colour: bool) -> String {
    let mut out = String::new();
    for piece in line {
        match piece.ink.sgr() {
            sgr if colour && !sgr.is_empty() && !piece.text.is_empty() => {
                out.push_str("\x1b[");
                out.push_str(sgr);
                out.push('m');
                out.push_str(&piece.text);
                out.push_str("\x1b[0m");
            }
            _ => out.push_str(&piece.text),
        }
    }
    out.truncate(out.trim_end_matches(' ').len());
    out
}

/// How many bytes of a text fit, whole characters only.
fn fitting(text: &str, columns: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > columns {
            return at;
        }
    }
    text.len()
}

/// Breaks a text so that each part fits: of what would fit, as much is taken as `edge` says.
fn broken(text: &str, columns: usize, edge: impl Fn(&str) -> usize) -> Vec<String> {
    let columns = columns.max(2);
    let (mut parts, mut rest) = (Vec::new(), text);
    loop {
        let end = fitting(rest, columns);
        if end == rest.len() {
            parts.push(rest.to_owned());
            return parts;
        }
        let (part, others) = rest.split_at(edge(&rest[..end]));
        parts.push(part.to_owned());
        rest = others;
    }
}

/// Breaks a text at any character so that each part fits.
pub(super) fn chop(text: &str, columns: usize) -> Vec<String> {
    broken(text, columns, str::len)
}

/// Breaks a text so that each part fits, behind a space where one is not far from the edge. Nothing of it is lost: put
/// together again, the parts are the text.
pub(super) fn fold(text: &str, columns: usize) -> Vec<String> {
    broken(text, columns, |part| {
        part.rfind(' ').map(|at| at + 1).filter(|at| at * 2 > part.len()).unwrap_or(part.len())
    })
}

/// Breaks a line between words so that each part fits; a word that is too
/// long by itself is broken where it must be.
pub(super) fn wrap(line: &[Piece], columns: usize) -> Vec<Line> {
    let columns = columns.max(8);
    let mut lines: Vec<Line> = vec![Vec::new()];
    let mut used = 0;
    let mut space: Option<Ink> = None;
    for piece in line {
        for (at, word) in piece.text.split(' ').enumerate() {
            if at > 0 {
                space = Some(piece.ink);
            }
            if word.is_empty() {
                continue;
            }
            let wide = width(word);
            let spaced = usize::from(space.is_some() && used > 0);
            if used + spaced + wide > columns && used > 0 && (space.is_some() || wide > columns) {
                lines.push(Vec::new());
                used = 0;
                space = None;
            }
            let mut text = String::new();
            if used > 0 && space.take().is_some() {
                text.push(' ');
            }
            space = None;
            let mut parts = if wide > columns { chop(word, columns) } else { vec![word.to_owned()] };
            let rest = parts.split_off(1);
            text.push_str(&parts[0]);
            used += width(&text);
            push(&mut lines, text, piece.ink);
            for part in rest {
                used = width(&part);
                lines.push(vec![Piece { text: part, ink: piece.ink }]);
            }
        }
    }
    lines
}

fn push(lines: &mut [Line], text: String, ink: Ink) {
    let Some(line) = lines.last_mut() else { return };
    match line.last_mut() {
        Some(last) if last.ink == ink => last.text.push_str(&text),
        _ => line.push(Piece { text, ink }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_as_it_came_is_broken_behind_a_space_and_nothing_of_it_is_lost() {
        assert_eq!(fold("kubectl scale deployment api", 16), ["kubectl scale ", "deployment api"]);
        assert_eq!(fold("a sixteen-letters-and-more", 10), ["a sixteen-", "letters-an", "d-more"]);
        assert_eq!(fold("東京東京 東京東京", 10), ["東京東京 ", "東京東京"]);
        assert_eq!(fold("", 10), [""]);
        let long = "one two  three, four-five six";
        (2..40).for_each(|columns| assert_eq!(fold(long, columns).concat(), long));
    }

    fn wrapped(text: &str, columns: usize) -> Vec<String> {
        wrap(&[piece(text, Ink::Plain)], columns).iter().map(|line| paint(line, false)).collect()
    }

    #[test]
    fn lines_break_between_words_and_long_words_where_they_must() {
        assert_eq!(wrapped("one two three four", 9), ["one two", "three", "four"]);
        assert_eq!(wrapped("abcdefghijkl mn", 8), ["abcdefgh", "ijkl mn"]);
        assert_eq!(wrapped("東京東京東京 x", 8), ["東京東京", "東京 x"]);
        assert_eq!(wrapped("", 8), [""]);
    }

    #[test]
    fn pieces_that_touch_stay_together() {
        let line = [piece("run ", Ink::Plain), piece("memory", Ink::Code), piece(", now", Ink::Plain)];
        let lines: Vec<String> = wrap(&line, 20).iter().map(|line| paint(line, false)).collect();
        assert_eq!(lines, ["run memory, now"]);
        assert_eq!(paint(&line, true), "run \x1b[36mmemory\x1b[0m, now");
    }
}
