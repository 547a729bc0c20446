//! The built program, run as people run it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid},
};
use serde_json::Value;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A home and a temporary directory of its own, so that one test's left-overs are not another's.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        std::fs::create_dir(dir.path().join("tmp")).expect("it is empty");
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the program with these arguments.
    pub(crate) fn start(&self, arguments: &[&str]) -> Program {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rediscue"))
            .args(arguments)
            .env("HOME", self.path())
            .env("TMPDIR", self.path().join("tmp"))
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let stdin = child.stdin.take();
        let (said, lines) = channel();
        let stdout = child.stdout.take().expect("it is piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        Program { child, stdin, lines }
    }

    /// Runs it with these lines piped in.
    pub(crate) fn run(&self, arguments: &[&str], lines: &str) -> Ran {
        let mut program = self.start(arguments);
        program.type_line(lines);
        program.end()
    }

    /// The directories of trials there are now.
    pub(crate) fn trials(&self) -> Vec<PathBuf> {
        let base = self.path().join(format!("tmp/rediscue-try-{}", Uid::effective()));
        let Ok(entries) = std::fs::read_dir(base) else { return Vec::new() };
        entries.flatten().map(|entry| entry.path()).collect()
    }
}

/// A running program; killed when dropped.
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// What it did.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The status it exited with; panics when a signal ended it.
    pub(crate) fn code(&self) -> i32 {
        assert_eq!(self.status.signal(), None, "{}", self.stderr);
        self.status.code().expect("it was no signal")
    }

    /// Standard output, each line as JSON.
    pub(crate) fn json(&self) -> Vec<Value> {
        let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(read).collect()
    }
}

impl Program {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types; the text brings its own line ends.
    pub(crate) fn type_line(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("it was not closed yet");
        // A program that has ended already says so by its status.
        let _ = stdin.write_all(text.as_bytes());
    }

    /// Waits for a line of standard output that holds these words.
    pub(crate) fn says(&mut self, words: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return line,
                Ok(_) => {}
                Err(_) => {
                    let _ = self.child.kill();
                    let mut stderr = String::new();
                    let _ = self.child.stderr.take().expect("it is piped").read_to_string(&mut stderr);
                    panic!("it never said `{words}`: {stderr}");
                }
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).expect("pids are small")), signal).expect("it runs");
    }

    /// Closes its input, and waits until it has ended.
    pub(crate) fn end(mut self) -> Ran {
        drop(self.stdin.take());
        let mut stderr = String::new();
        let _ = self.child.stderr.take().expect("it is piped").read_to_string(&mut stderr);
        let mut stdout = String::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            stdout.push_str(&line);
            stdout.push('\n');
        }
        let status = self.child.wait().expect("it was started here");
        Ran { status, stdout, stderr }
    }

    /// Waits until it has ended, its input still open.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it was started here")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is there such a process, not merely waiting to be reaped?
pub(crate) fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with('Z'))
}
