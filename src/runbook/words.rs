//! A line to words and back.

/// One word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// What it says, quotes and escapes undone.
    pub(super) text: String,
    /// It began with a quote: it is a value, never a flag or a service.
    pub(super) quoted: bool,
    /// Where it stands in the line, in bytes.
    pub(super) at: std::ops::Range<usize>,
}

/// Why a line could not be split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unsplit {
    /// This quote, begun at this character, has no end.
    Open(char, usize),
    /// The line ends in a backslash.
    Backslash,
}

/// Splits a line: spaces part words; `"…"` and `'…'` keep them together;
/// a backslash takes the next character as it is, except inside `'…'`.
pub(super) fn split(line: &str) -> Result<Vec<Word>, Unsplit> {
    let mut words: Vec<Word> = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote: Option<(char, usize)> = None;
    let mut characters = line.char_indices().enumerate();
    while let Some((position, (at, c))) = characters.next() {
        match (quote, c) {
            (Some((open, _)), c) if c == open => quote = None,
            (Some(('\'', _)), c) => push(&mut word, at, c),
            (_, '\\') => match characters.next() {
                Some((_, (_, escaped))) => push(&mut word, at, escaped),
                None => return Err(Unsplit::Backslash),
            },
            (Some(_), c) => push(&mut word, at, c),
            (None, '"' | '\'') => {
                word.get_or_insert_with(|| Word { text: String::new(), quoted: true, at: at..at });
                quote = Some((c, position + 1));
            }
            (None, c) if c.is_whitespace() => words.extend(ended(&mut word, at)),
            (None, c) => push(&mut word, at, c),
        }
    }
    if let Some((open, position)) = quote {
        return Err(Unsplit::Open(open, position));
    }
    words.extend(ended(&mut word, line.len()));
    Ok(words)
}

fn ended(word: &mut Option<Word>, end: usize) -> Option<Word> {
    let mut word = word.take()?;
    word.at.end = end;
    Some(word)
}

fn push(word: &mut Option<Word>, at: usize, c: char) {
    word.get_or_insert_with(|| Word { text: String::new(), quoted: false, at: at..at }).text.push(c);
}

/// A word as it has to be typed to arrive as it is.
pub(super) fn quote(text: &str) -> String {
    let plain = !text.is_empty()
        && !text.starts_with('-')
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '\\'));
    if plain { text.to_owned() } else { always_quote(text) }
}

/// The same, in quotes even where none are needed.
pub(super) fn always_quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// A line with a service's bare name, about one of its instances: the last such word that is no value in quotes.
pub(super) fn about(line: &str, service: &str, place: &str) -> String {
    let words = split(line).unwrap_or_default();
    match words.iter().skip(1).rfind(|word| !word.quoted && word.text.eq_ignore_ascii_case(service)) {
        Some(Word { at, .. }) => format!("{}{place}{}", &line[..at.start], &line[at.end..]),
        None => line.to_owned(),
    }
}

/// The same for a line as it is shown to people, behind its `/redis`; any other text is left as it is.
pub(super) fn shown_about(shown: &str, service: &str, place: &str) -> String {
    match shown.strip_prefix("/redis ") {
        Some(line) => format!("/redis {}", about(line, service, place)),
        None => shown.to_owned(),
    }
}

/// The one known word that is near enough to be what was meant; none when two are equally near.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word: String = word.chars().take(80).flat_map(char::to_lowercase).collect();
    if word.is_empty() {
        return None;
    }
    let allowed = match word.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    let mut best: Option<(usize, &str)> = None;
    let mut tied = false;
    for candidate in known {
        let starts = word.len() >= 3 && candidate.len() > word.len() && candidate.starts_with(&word);
        let distance = if starts { 1 } else { strsim::damerau_levenshtein(&word, candidate) };
        // A word that shares nothing with what was typed is no help.
        if distance > allowed || distance >= word.chars().count() {
            continue;
        }
        match best {
            Some((least, found)) if distance == least && found != candidate => tied = true,
            Some((least, _)) if distance >= least => {}
            _ => {
                best = Some((distance, candidate));
                tied = false;
            }
        }
    }
    best.filter(|_| !tied).map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        split(line).unwrap().into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn quotes_keep_words_together_and_backslashes_take_the_next_character() {
        assert_eq!(texts(r#"inspect "a b" 'c "d"' e\ f g"h i"j"#), ["inspect", "a b", "c \"d\"", "e f", "gh ij"]);
        assert_eq!(texts(r#""a\"b" 'a\b' """#), ["a\"b", "a\\b", ""]);
        assert_eq!(split("say \"hello"), Err(Unsplit::Open('"', 5)));
        assert_eq!(split("say \\"), Err(Unsplit::Backslash));
    }

    #[test]
    fn a_quoted_word_arrives_as_it_was() {
        for word in ["", "a", "a b", "--reveal", "it's", "a\"b\\c", "é\u{1f600}", "a\tb"] {
            assert_eq!(texts(&quote(word)), [word]);
            assert_eq!(texts(&always_quote(word)), [word]);
        }
    }

    #[test]
    fn a_line_about_a_service_becomes_one_about_an_instance_and_its_values_stay() {
        let about = |line: &str| about(line, "shop", "shop/other");
        assert_eq!(about("memory shop"), "memory shop/other");
        assert_eq!(about("keys shop shop --page 2"), "keys shop shop/other --page 2");
        assert_eq!(about("keys \"shop\" --service shop"), "keys \"shop\" --service shop/other");
        for same in ["memory shop/main", "inspect \"shop\"", "shop", "open 7K2QX9AB shop:*", "say \"shop"] {
            assert_eq!(about(same), same);
        }
        assert_eq!(shown_about("/redis memory shop", "shop", "shop/other"), "/redis memory shop/other");
        assert_eq!(shown_about("see the log of shop", "shop", "shop/other"), "see the log of shop");
    }

    #[test]
    fn the_nearest_word_is_offered_only_when_there_is_one() {
        let known = ["status", "stats", "memory", "slowlog", "latency"];
        assert_eq!(nearest("memroy", known.into_iter()), Some("memory"));
        assert_eq!(nearest("slow", known.into_iter()), Some("slowlog"));
        assert_eq!(nearest("stat", known.into_iter()), None, "status and stats are equally near");
        assert_eq!(nearest("deploy", known.into_iter()), None);
        assert_eq!(nearest("xy", ["zz"].into_iter()), None);
    }
}
