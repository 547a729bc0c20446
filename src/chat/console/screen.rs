//! Where what is heard is printed.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Write},
    time::{Duration, Instant},
};

use super::{
    ink::width,
    render::{Style, progress_line, render},
    session::Output,
    wire::FromBot,
};
use crate::model::Card;

/// Messages whose buttons can still be pressed.
const REMEMBERED: usize = 256;

/// Where bytes go.
pub(super) enum Sink {
    /// Standard output.
    Stdout,
    /// Above the prompt of a line editor.
    Prompt(Box<dyn FnMut(String) -> io::Result<()> + Send>),
    /// Kept, for tests.
    #[cfg(test)]
    Kept(String),
}

/// A reader's screen, or what stands in for one.
pub(super) struct Screen {
    pub(super) output: Output,
    pub(super) style: Style,
    /// Rows of the terminal; `None` where nothing can be drawn over.
    pub(super) rows: Option<usize>,
    pub(super) sink: Sink,
    cards: VecDeque<(String, Card)>,
    /// The message at the very end of the screen, and how many rows it takes.
    drawn: Option<(String, usize)>,
    progress_told: HashMap<String, (Instant, String)>,
}

impl Screen {
    pub(super) fn new(output: Output, style: Style, rows: Option<usize>, sink: Sink) -> Self {
        Self { output, style, rows, sink, cards: VecDeque::new(), drawn: None, progress_told: HashMap::new() }
    }

    /// Prints what the bot said. An error means nobody reads any more.
    pub(super) fn show(&mut self, event: &FromBot) -> io::Result<()> {
        match event {
            FromBot::Say { id, card, .. } | FromBot::Edit { id, card } => self.remember(id, card),
            FromBot::Hello { .. } | FromBot::Settled { .. } | FromBot::Refused { .. } => return Ok(()),
            FromBot::React { .. } | FromBot::File { .. } => {}
        }
        if self.output == Output::Json {
            let json = serde_json::to_string(event).map_err(io::Error::other)?;
            return self.put(format!("{}\n", super::clean_json(&json)));
        }
        match event {
            FromBot::Say { id, private, card } => {
                let head = if *private { format!("{id} (only you)") } else { id.clone() };
                self.draw(id, &head, card)
            }
            FromBot::Edit { id, card } => self.redraw(id, card),
            FromBot::React { id, emoji, added } => {
                let what = if *added { "" } else { " taken back" };
                self.say(&format!("{id}  {}{what}", super::clean(emoji)))
            }
            FromBot::File { name, base64 } => {
                let bytes = base64.len() / 4 * 3;
                let name = super::clean(name);
                self.say(&format!("file {name}, about {bytes} bytes; `--output json` hands them over"))
            }
            FromBot::Hello { .. } | FromBot::Settled { .. } | FromBot::Refused { .. } => Ok(()),
        }
    }

    /// A line of the console itself. Never part of JSON output.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        if self.output == Output::Json {
            return writeln!(io::stderr().lock(), "{text}");
        }
        self.drawn = None;
        self.put(format!("{text}\n"))
    }

    /// Something else has been written to the terminal: nothing is drawn over from here on.
    pub(super) fn disturbed(&mut self) {
        self.drawn = None;
    }

    /// The card a message shows.
    pub(super) fn card(&self, id: &str) -> Option<&Card> {
        self.cards.iter().rev().find(|(shown, _)| shown == id).map(|(_, card)| card)
    }

    /// The id of the latest message.
    pub(super) fn last(&self) -> Option<&str> {
        self.cards.back().map(|(id, _)| id.as_str())
    }

    fn remember(&mut self, id: &str, card: &Card) {
        if let Some((_, shown)) = self.cards.iter_mut().find(|(shown, _)| shown == id) {
            *shown = card.clone();
            return;
        }
        if self.cards.len() == REMEMBERED {
            self.cards.pop_front();
        }
        self.cards.push_back((id.to_owned(), card.clone()));
    }

    fn draw(&mut self, id: &str, head: &str, card: &Card) -> io::Result<()> {
        let text = render(card, head, &self.style);
        let rows = text.matches('\n').count();
        self.put(format!("{text}\n"))?;
        self.drawn = Some((id.to_owned(), rows + 1));
        Ok(())
    }

    /// In place while the message is the last thing on a terminal; else a run
    /// under way is one line now and then, and everything else is said again.
    fn redraw(&mut self, id: &str, card: &Card) -> io::Result<()> {
        let text = render(card, id, &self.style);
        let fits = |rows: usize| self.rows.is_some_and(|screen| rows + 2 < screen);
        let narrow = text.lines().all(|line| width(&bare(line)) <= self.style.width);
        let rows = text.matches('\n').count() + 1;
        if let Some((drawn, before)) = &self.drawn
            && drawn == id
            && fits(*before)
            && fits(rows)
            && narrow
        {
            let up = format!("\x1b[{before}A\r\x1b[J{text}\n");
            self.put(up)?;
            self.drawn = Some((id.to_owned(), rows));
            return Ok(());
        }
        let Some(line) = progress_line(card) else {
            self.progress_told.remove(id);
            return self.draw(id, &format!("{id} (now)"), card);
        };
        let pace = if self.rows.is_some() { Duration::from_secs(5) } else { Duration::from_secs(1) };
        let now = Instant::now();
        let told = self.progress_told.get(id);
        if told.is_some_and(|(at, said)| now.duration_since(*at) < pace || *said == line) {
            return Ok(());
        }
        self.say(&format!("{id}  {line}"))?;
        self.progress_told.insert(id.to_owned(), (now, line));
        Ok(())
    }

    fn put(&mut self, text: String) -> io::Result<()> {
        match &mut self.sink {
            Sink::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text.as_bytes())?;
                stdout.flush()
            }
            Sink::Prompt(print) => print(text),
            #[cfg(test)]
            Sink::Kept(kept) => {
                kept.push_str(&text);
                Ok(())
            }
        }
    }
}

/// The line without colours.
fn bare(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("\x1b[") {
        out.push_str(&rest[..at]);
        rest = rest[at..].split_once('m').map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}
