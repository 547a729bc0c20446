//! Where lines come from: a line editor, or a pipe.
//!
//! Both block, so both live in a thread of their own. The thread is never
//! waited for: a person may sit at a prompt while the program has to end.

use std::{
    fs,
    io::{self, BufRead},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rustyline::{
    CompletionType, Config, Context, Editor, ExternalPrinter as _, Helper,
    completion::{Completer, Pair},
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::FileHistory,
    validate::Validator,
};
use tokio::sync::mpsc;

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
    let mut editor: Editor<Names, FileHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Names(completions)));
    let history = history.filter(|path| prepare(path).is_ok()).map(Path::to_owned);
    if let Some(path) = &history {
        // A history that cannot be read is not worth a word; the prompt is.
        let _ = editor.load_history(path);
    }
    let size = Arc::new(Size::default());
    size.set(editor.dimensions());
    let mut printer = editor.create_external_printer()?;
    let print = move |text: String| printer.print(text).map_err(io::Error::other);
    let (entries_in, entries) = mpsc::channel(1);
    let (asks, asked) = std::sync::mpsc::channel::<String>();
    let seen = Arc::clone(&size);
    thread::spawn(move || {
        while let Ok(prompt) = asked.recv() {
            let entry = match editor.readline(&prompt) {
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

/// Completion for the editor.
struct Names(Completions);

impl Completer for Names {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, found) = self.0.complete(line, pos);
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

impl Highlighter for Names {}

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
