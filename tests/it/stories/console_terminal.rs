//! The local chat on a terminal: keys that come one by one or in one packet, and answers that come while
//! somebody types.

use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use nix::{
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::world::program::Home;

const PATIENCE: Duration = Duration::from_secs(60);

/// `rediscue try` on a terminal of its own.
struct Terminal {
    child: Child,
    keys: File,
    shown: Receiver<Vec<u8>>,
    /// Everything it was sent to show.
    sent: Vec<u8>,
    /// The same as text.
    screen: String,
}

impl Terminal {
    fn open(home: &Home) -> Self {
        let size = Winsize { ws_row: 50, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let end = |fd: &std::os::fd::OwnedFd| Stdio::from(fd.try_clone().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_rediscue"))
            .arg("try")
            .env("HOME", home.path())
            .env("TMPDIR", home.path().join("tmp"))
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .env_remove("COLUMNS")
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_RUNTIME_DIR")
            .stdin(end(&pty.slave))
            .stdout(end(&pty.slave))
            .stderr(end(&pty.slave))
            .spawn()
            .unwrap();
        drop(pty.slave);
        let keys = File::from(pty.master);
        let mut screen = keys.try_clone().unwrap();
        let (show, shown) = channel();
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut block) {
                if show.send(block[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys, shown, sent: Vec::new(), screen: String::new() }
    }

    /// All of it in one write, as a slow line delivers it.
    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until what was shown since `from` holds this; where it ends.
    fn shows(&mut self, from: usize, wanted: &str) -> usize {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.screen[from..].find(wanted) {
                return from + at + wanted.len();
            }
            match self.shown.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => {
                    // A character may come in two pieces.
                    self.sent.extend(bytes);
                    self.screen = String::from_utf8_lossy(&self.sent).into_owned();
                }
                Err(_) => panic!("`{wanted}` is not shown:\n{:?}", &self.screen[from..]),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Asked, not killed: what it started ends with it.
        let asked = i32::try_from(self.child.id()).map(|id| kill(Pid::from_raw(id), Signal::SIGTERM));
        if asked.is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

#[test]
fn a_line_that_comes_in_one_packet_is_taken_without_another_key() {
    let home = Home::new();
    let mut terminal = Terminal::open(&home);
    let prompt = terminal.shows(0, "ana> ");
    for line in ["/redis status", "/redis doctor", "/redis help"] {
        assert!(terminal.screen[..prompt].contains(line), "a newcomer is told what to type: {:?}", terminal.screen);
    }
    terminal.types("whoami\r");
    let answered = terminal.shows(prompt, "You are Ana");
    let prompt = terminal.shows(answered, "ana> ");
    // Two packets, cut in the middle of a word.
    terminal.types("who");
    terminal.types("ami\r");
    let answered = terminal.shows(prompt, "You are Ana");
    terminal.shows(answered, "ana> ");
    terminal.types("\x04");
    assert!(terminal.child.wait().unwrap().success());
}

#[test]
fn an_answer_that_comes_while_somebody_types_is_shown_at_once_and_the_line_survives() {
    let home = Home::new();
    let mut terminal = Terminal::open(&home);
    let prompt = terminal.shows(0, "ana> ");
    terminal.types("monitor prospectflow 2s\r");
    let entered = terminal.shows(prompt, "2s");
    let left = terminal.shows(entered, "\n");
    let prompt = terminal.shows(left, "ana> ");
    terminal.types("ping prospectf");
    let typed = terminal.shows(prompt, "ping prospectf");
    // No key is pressed from here on: the answer comes by itself, and the line stands below it.
    let answered = terminal.shows(typed, "monitor · prospectflow");
    let again = terminal.shows(answered, "ana> ping prospectf");
    terminal.types("low\r");
    let answered = terminal.shows(again, "ping · prospectflow");
    terminal.shows(answered, "ana> ");
    terminal.types("\x04");
    assert!(terminal.child.wait().unwrap().success());
}
