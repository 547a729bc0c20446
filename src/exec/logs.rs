//! `Look::Logs`: the last lines of a log that match, counted and masked.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use regex::Regex;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::{
    diagnosis::{Explained, Observation, redact},
    model::{LogFrom, LogSource},
};

use super::{Job, failed, fault::plain, request};

/// A line longer than this is cut when shown.
const LINE: usize = 500;
/// At most this many lines are shown, whatever is asked.
const MOST: usize = 200;

/// Carries it out.
pub(crate) async fn look(job: &Job, source: &str, filter: Option<&str>, last: u32) -> Observation {
    let start = Instant::now();
    let merged = match job.service.logs.iter().find(|known| known.name == source) {
        Some(source) => read(job, source, filter, last).await,
        None => Err(super::not_in_profile("log", source, "logs")),
    };
    match merged {
        Ok(value) => Observation { nodes: Vec::new(), merged: Ok(value), took: start.elapsed() },
        Err(error) => failed(error, start),
    }
}

async fn read(job: &Job, source: &LogSource, filter: Option<&str>, last: u32) -> Result<Value, Explained> {
    let filter = filter.filter(|filter| !filter.is_empty());
    let pattern = filter.map(|filter| compile(source, filter)).transpose()?;
    let last = usize::try_from(last).unwrap_or(MOST).min(MOST);
    let until = job.budget.until();
    let most = job.site.settings.log_bytes;
    let found = match &source.from {
        LogFrom::File(path) => {
            let path = path.clone();
            let work = tokio::task::spawn_blocking(move || tail(&path, most, pattern.as_ref(), last));
            match timeout_at(until, work).await {
                Err(_) => return Err(unreadable(source, "its disk did not answer in time")),
                Ok(Err(_)) => return Err(unreadable(source, "reading it was given up")),
                Ok(Ok(Err(error))) => return Err(unreadable(source, &plain(&error))),
                Ok(Ok(Ok(found))) => found,
            }
        }
        LogFrom::Http(url) => {
            let request = request::begin(Method::GET, url, true)?;
            let response = request::send(request, until).await?;
            if !response.status().is_success() {
                return Err(unreadable(source, &format!("its endpoint answered {}", response.status().as_u16())));
            }
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let (body, cut) = request::body(response, most, until).await?;
            let mut found =
                scan(&body[..], pattern.as_ref(), last).map_err(|error| unreadable(source, &plain(&error)))?;
            found.truncated = cut;
            found
        }
    };
    Ok(json!({
        "source": source.name,
        "filter": filter,
        "matched": found.matched,
        "scanned_lines": found.lines,
        "scanned_bytes": found.bytes,
        "truncated": found.truncated,
        "lines": found.last.iter().map(|line| shown(line)).collect::<Vec<_>>(),
    }))
}

fn compile(source: &LogSource, filter: &str) -> Result<Regex, Explained> {
    let pattern = source.filters.get(filter).map_or(filter, String::as_str);
    regex::RegexBuilder::new(pattern).size_limit(1 << 20).build().map_err(|_| Explained {
        code: "ARGUMENT".into(),
        what: "the filter is neither a named one nor a regular expression".into(),
        cause: match source.filters.is_empty() {
            true => "the profile names no filters for this log".into(),
            false => format!(
                "the profile's filters for `{}` are: {}",
                source.name,
                source.filters.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
            ),
        },
        next: "use a named filter, or escape the characters that mean something (`\\[`, `\\(`, `\\*`)".into(),
    })
}

fn unreadable(source: &LogSource, why: &str) -> Explained {
    Explained {
        code: "LOG".into(),
        what: format!("the log `{}` cannot be read: {why}", source.name),
        cause: "the path is wrong, was rotated away, or the bot's user may not read it".into(),
        next: "let the bot's user read it, or correct the source in the service's profile".into(),
    }
}

fn shown(line: &str) -> String {
    let masked = redact::line(line);
    match masked.char_indices().nth(LINE) {
        Some((at, _)) => format!("{}…", &masked[..at]),
        None => masked,
    }
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    matched: u64,
    lines: u64,
    bytes: u64,
    truncated: bool,
    last: VecDeque<String>,
}

/// Reads a file's last part; the line it starts in the middle of is left out.
fn tail(path: &Path, most: u64, pattern: Option<&Regex>, last: usize) -> io::Result<Found> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(most);
    let mut truncated = false;
    if from > 0 {
        file.seek(SeekFrom::Start(from - 1))?;
        truncated = true;
    }
    // What is appended meanwhile is left for the next look.
    let mut reader = BufReader::with_capacity(64 << 10, file.take(most + 1));
    if truncated {
        reader.skip_until(b'\n')?;
    }
    Ok(Found { truncated, ..scan(reader, pattern, last)? })
}

/// Goes through lines one by one, keeping only the last that match.
fn scan(mut reader: impl BufRead, pattern: Option<&Regex>, last: usize) -> io::Result<Found> {
    let mut found = Found::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(found);
        }
        found.bytes += read as u64;
        found.lines += 1;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        if pattern.is_none_or(|pattern| pattern.is_match(text)) {
            found.matched += 1;
            if last > 0 {
                if found.last.len() == last {
                    found.last.pop_front();
                }
                found.last.push_back(text.chars().take(4 * LINE).collect());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_large_file_is_read_and_no_half_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text: String =
            (0..1000).map(|i| format!("line {i} {}\n", if i % 10 == 0 { "ERROR" } else { "ok" })).collect();
        std::fs::write(file.path(), &text).unwrap();
        let pattern = Regex::new("ERROR").unwrap();
        let found = tail(file.path(), 1 << 20, Some(&pattern), 2).unwrap();
        assert_eq!((found.matched, found.lines, found.truncated), (100, 1000, false));
        assert_eq!(found.last, ["line 980 ERROR", "line 990 ERROR"]);
        let found = tail(file.path(), 100, None, 50).unwrap();
        assert!(found.truncated && found.lines < 10 && found.last.iter().all(|line| line.starts_with("line 9")));
        assert!(found.bytes <= 100);
    }

    #[test]
    fn a_cut_that_falls_on_a_line_break_keeps_the_whole_next_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "aaaa\nbbbb\n").unwrap();
        assert_eq!(tail(file.path(), 5, None, 9).unwrap().last, ["bbbb"]);
    }

    #[test]
    fn shown_lines_are_masked_and_cut() {
        assert!(!shown("login password=s3cret99 ok").contains("s3cret99"));
        assert!(shown(&"a b ".repeat(1000)).ends_with('…'));
    }
}
