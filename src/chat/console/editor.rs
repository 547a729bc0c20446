//! Where lines come from: a line editor, or a pipe.
//!
//! Both block, so both live in a thread of their own. The thread is never
//! waited for: a person may sit at a prompt while the program has to end.

use std::{
    borrow::Cow,
    fmt::Write as _,
    fs,
    io::{self, BufRead, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rustyline::{
    CompletionType, Config, Context, Editor, Helper,
    completion::{Completer, Pair},
    error::ReadlineError,
    highlight::{CmdKind, Highlighter},
    hint::Hinter,
    history::FileHistory,
    validate::Validator,
};
use tokio::sync::mpsc;

use unicode_width::UnicodeWidthChar as _;

use super::{Completions, screen::Sink};

/// What came from the keyboard or the pipe.
#[derive(Debug)]
pub(super) enum Entry {
    /// A line.
    Line(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// Ctrl-D, or the end of the pipe.
    End,
    /// It cannot be read any further.
    Broken(String),
}

/// Lines, one each time it is asked.
pub(super) struct Lines {
    entries: mpsc::Receiver<Entry>,
    /// The prompt to show next; dropping it ends the thread.
    asks: std::sync::mpsc::Sender<String>,
}

impl Lines {
    /// Asks for the next line, showing this prompt where there is one.
    pub(super) fn ask(&self, prompt: String) {
        // A thread that has gone has said so through `entries`.
        let _ = self.asks.send(prompt);
    }

    pub(super) async fn next(&mut self) -> Entry {
        self.entries.recv().await.unwrap_or(Entry::End)
    }
}

/// The terminal's size as the editor last saw it.
#[derive(Debug, Default)]
pub(super) struct Size {
    columns: AtomicUsize,
    rows: AtomicUsize,
}

impl Size {
    /// Columns and rows, if known.
    pub(super) fn get(&self) -> Option<(usize, usize)> {
        let size = (self.columns.load(Ordering::Relaxed), self.rows.load(Ordering::Relaxed));
        (size.0 > 0 && size.1 > 0).then_some(size)
    }

    fn set(&self, size: Option<(u16, u16)>) {
        if let Some((columns, rows)) = size {
            self.columns.store(usize::from(columns), Ordering::Relaxed);
            self.rows.store(usize::from(rows), Ordering::Relaxed);
        }
    }
}

/// Lines of standard input.
pub(super) fn piped() -> Lines {
    let (entries_in, entries) = mpsc::channel(1);
    let (asks, asked) = std::sync::mpsc::channel::<String>();
    thread::spawn(move || {
        let mut lines = io::stdin().lock().lines();
        while asked.recv().is_ok() {
            let entry = match lines.next() {
                Some(Ok(line)) => Entry::Line(line),
                Some(Err(error)) => Entry::Broken(error.to_string()),
                None => Entry::End,
            };
            let last = !matches!(entry, Entry::Line(_));
            if entries_in.blocking_send(entry).is_err() || last {
                return;
            }
        }
    });
    Lines { entries, asks }
}

/// Lines of a test.
#[cfg(test)]
pub(super) fn scripted(lines: &[&str]) -> Lines {
    let (entries_in, entries) = mpsc::channel(1);
    let (asks, asked) = std::sync::mpsc::channel::<String>();
    let mut lines: std::collections::VecDeque<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    thread::spawn(move || {
        while asked.recv().is_ok() {
            let entry = lines.pop_front().map_or(Entry::End, Entry::Line);
            if entries_in.blocking_send(entry).is_err() {
                return;
            }
        }
    });
    Lines { entries, asks }
}

/// A line editor with history and completion; the sink prints above its prompt.
pub(super) fn edited(completions: Completions, history: Option<&Path>) -> rustyline::Result<(Lines, Sink, Arc<Size>)> {
    let config = Config::builder()
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .max_history_size(2000)?
        .build();
    // Asked of an editor that is then thrown away: whether this terminal can be edited on. One that keeps its
    // printer waits for the terminal alone, and leaves what it has already read (a line that came in one
    // packet) until the next key; so printing above the prompt is done here.
    Editor::<(), FileHistory>::new()?.create_external_printer()?;
    let mut editor: Editor<Names, FileHistory> = Editor::with_config(config)?;
    let shown = Arc::new(Shown::default());
    editor.set_helper(Some(Names { completions, shown: Arc::clone(&shown) }));
    let history = history.filter(|path| prepare(path).is_ok()).map(Path::to_owned);
    if let Some(path) = &history {
        // A history that cannot be read is not worth a word; the prompt is.
        let _ = editor.load_history(path);
    }
    let size = Arc::new(Size::default());
    size.set(editor.dimensions());
    let print = {
        let (shown, size) = (Arc::clone(&shown), Arc::clone(&size));
        move |text: String| {
            // Held while it is written: the editor draws before or after, not in between.
            let prompt = shown.lock();
            let mut stdout = io::stdout().lock();
            stdout.write_all(above(&prompt, size.get().map_or(80, |(columns, _)| columns), &text).as_bytes())?;
            stdout.flush()
        }
    };
    let (entries_in, entries) = mpsc::channel(1);
    let (asks, asked) = std::sync::mpsc::channel::<String>();
    let seen = Arc::clone(&size);
    thread::spawn(move || {
        while let Ok(prompt) = asked.recv() {
            *shown.lock() = Prompt::default();
            let read = editor.readline(&prompt);
            *shown.lock() = Prompt::default();
            let entry = match read {
                Ok(line) => {
                    if editor.add_history_entry(line.as_str()).unwrap_or(false)
                        && let Some(path) = &history
                    {
                        let _ = editor.append_history(path);
                    }
                    Entry::Line(line)
                }
                Err(ReadlineError::Interrupted) => Entry::Interrupted,
                Err(ReadlineError::Eof) => Entry::End,
                Err(ReadlineError::Signal(_)) => continue,
                Err(error) => Entry::Broken(error.to_string()),
            };
            seen.set(editor.dimensions());
            let last = matches!(entry, Entry::End | Entry::Broken(_));
            if entries_in.blocking_send(entry).is_err() || last {
                return;
            }
        }
    });
    Ok((Lines { entries, asks }, Sink::Prompt(Box::new(print)), size))
}

/// `$XDG_STATE_HOME/rediscue/console_history`: what people typed, which names keys.
pub(super) fn history_file() -> Option<PathBuf> {
    let state =
        std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(|| {
            let home = std::env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute())?;
            Some(home.join(".local/state"))
        })?;
    Some(state.join("rediscue/console_history"))
}

/// Makes the file, readable by its owner alone.
fn prepare(path: &Path) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

/// What the editor shows at the end of the screen, so that something can be printed above it.
#[derive(Debug, Default)]
struct Prompt {
    /// It is drawn, and not yet left by Enter.
    drawn: bool,
    left: bool,
    text: String,
    line: String,
    /// The cursor, in bytes of the line.
    cursor: usize,
}

#[derive(Debug, Default)]
struct Shown(Mutex<Prompt>);

impl Shown {
    fn lock(&self) -> MutexGuard<'_, Prompt> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, line: &str, cursor: usize) {
        let mut prompt = self.lock();
        line.clone_into(&mut prompt.line);
        prompt.cursor = cursor;
    }
}

/// The bytes that print a text above the prompt and draw the prompt again below it.
fn above(prompt: &Prompt, columns: usize, text: &str) -> String {
    if !prompt.drawn || prompt.left {
        return text.to_owned();
    }
    let (before, _) = prompt.line.split_at_checked(prompt.cursor).unwrap_or((&prompt.line, ""));
    let (row, column) = place([&prompt.text, before], columns);
    let (last_row, last_column) = place([&prompt.text, &prompt.line], columns);
    let mut out = String::new();
    // Writing to a String cannot fail.
    if row > 0 {
        let _ = write!(out, "\x1b[{row}A");
    }
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(out, "\r\x1b[J{text}{end}{}{}", prompt.text, prompt.line);
    if last_column == 0 && last_row > 0 && !prompt.line.ends_with('\n') {
        // A full row: terminals go to the next one only with the next character.
        out.push('\n');
    }
    if last_row > row {
        let _ = write!(out, "\x1b[{}A", last_row - row);
    }
    out.push('\r');
    if column > 0 {
        let _ = write!(out, "\x1b[{column}C");
    }
    out
}

/// Where the cursor stands after these, from where the first began: row and column.
fn place(texts: [&str; 2], columns: usize) -> (usize, usize) {
    let (mut row, mut column) = (0, 0);
    for c in texts.iter().flat_map(|text| text.chars()) {
        if c == '\n' {
            (row, column) = (row + 1, 0);
            continue;
        }
        let width = c.width().unwrap_or(0);
        column += width;
        if column > columns {
            (row, column) = (row + 1, width);
        }
    }
    if column == columns { (row + 1, 0) } else { (row, column) }
}

/// Completion for the editor, which also tells what the editor draws.
struct Names {
    completions: Completions,
    shown: Arc<Shown>,
}

impl Completer for Names {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, found) = self.completions.complete(line, pos);
        let pair = |(replacement, note): (String, String)| {
            let display = if note.is_empty() { replacement.clone() } else { format!("{replacement}  {note}") };
            Pair { display: super::clean(&display).into_owned(), replacement: format!("{replacement} ") }
        };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

impl Hinter for Names {
    type Hint = String;
}

/// Nothing is coloured: these are the moments at which the editor draws.
impl Highlighter for Names {
    fn highlight<'l>(&self, line: &'l str, pos: usize) -> Cow<'l, str> {
        self.shown.line(line, pos);
        Cow::Borrowed(line)
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        let mut shown = self.shown.lock();
        shown.drawn = true;
        prompt.clone_into(&mut shown.text);
        Cow::Borrowed(prompt)
    }

    fn highlight_char(&self, line: &str, pos: usize, kind: CmdKind) -> bool {
        self.shown.line(line, pos);
        if kind == CmdKind::ForcedRefresh {
            self.shown.lock().left = true;
        }
        // Drawn whole each time: what was printed meanwhile may stand where one character would go.
        true
    }
}

impl Validator for Names {}

impl Helper for Names {}

/// The terminal's modes, put back when the session ends while a prompt is shown.
pub(super) struct Modes(Option<nix::sys::termios::Termios>);

impl Modes {
    pub(super) fn save() -> Self {
        Self(nix::sys::termios::tcgetattr(io::stdin()).ok())
    }
}

impl Drop for Modes {
    fn drop(&mut self) {
        use nix::sys::termios::{SetArg, tcsetattr};
        if let Some(modes) = &self.0 {
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, modes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(line: &str, cursor: usize) -> Prompt {
        Prompt { drawn: true, left: false, text: "ana> ".into(), line: line.into(), cursor }
    }

    #[test]
    fn the_line_being_typed_is_drawn_again_below_what_is_printed() {
        assert_eq!(above(&prompt("status", 6), 80, "m1\n"), "\r\x1b[Jm1\nana> status\r\x1b[11C");
        // The cursor stays where it was, also in a line of two rows.
        assert_eq!(above(&prompt("status", 0), 80, "m1"), "\r\x1b[Jm1\nana> status\r\x1b[5C");
        assert_eq!(above(&prompt("123456789", 9), 10, "m1\n"), "\x1b[1A\r\x1b[Jm1\nana> 123456789\r\x1b[4C");
        assert_eq!(above(&prompt("123456789", 1), 10, "m1\n"), "\r\x1b[Jm1\nana> 123456789\x1b[1A\r\x1b[6C");
        // A row that is full to its last column.
        assert_eq!(above(&prompt("12345", 5), 10, "m1\n"), "\x1b[1A\r\x1b[Jm1\nana> 12345\n\r");
    }

    #[test]
    fn without_a_prompt_on_the_screen_it_is_simply_printed() {
        assert_eq!(above(&Prompt::default(), 80, "m1\n"), "m1\n");
        assert_eq!(above(&Prompt { left: true, ..prompt("status", 6) }, 80, "m1\n"), "m1\n");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(place(["ana> ", "日本"], 80), (0, 9));
        assert_eq!(place(["ana> ", "日本語"], 10), (1, 2));
    }
}
