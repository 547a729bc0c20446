//! What the benches share: a server of their own, and somebody who uses it all the time.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "each bench uses its part of it, and a bench is a program for people at a terminal"
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

/// GETs per second of the foreground.
pub(crate) const PACE: u64 = 5_000;

/// A server on the loopback, gone with this value.
pub(crate) struct Redis {
    child: Child,
    pub(crate) port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Redis {
    /// Starts what `REDISCUE_REDIS_SERVER` names, or `redis-server`, with these options more.
    pub(crate) fn start(options: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let program = std::env::var("REDISCUE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".into());
        let child = Command::new(program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(dir.path())
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let redis = Self { child, port, _dir: dir };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        redis
    }

    /// A connection.
    pub(crate) fn connect(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { reader: BufReader::with_capacity(1 << 16, stream.try_clone().unwrap()), stream }
    }

    /// What its main thread has taken.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let info = self.connect().ask(&["INFO", "cpu"]);
        info.lines()
            .filter(|line| {
                line.starts_with("used_cpu_sys_main_thread:") || line.starts_with("used_cpu_user_main_thread:")
            })
            .filter_map(|line| line.split(':').nth(1)?.trim().parse::<f64>().ok())
            .sum()
    }

    /// Gives the server a core of its own: what others wait is then what it makes them wait, and not
    /// that they share a core with those who look.
    pub(crate) fn pin(&self) {
        let pid = self.child.id().to_string();
        let own = std::process::id().to_string();
        let cores = *CORES;
        if cores < 2 {
            return println!("one core only: the server has none for itself");
        }
        let rest = format!("1-{}", cores - 1);
        for (what, words) in [
            ("the server has core 0 for itself", ["-acp", "0", &pid]),
            ("everything else has the others", ["-acp", &rest, &own]),
        ] {
            let done = Command::new("taskset").args(words).stdout(Stdio::null()).status();
            let done = done.is_ok_and(|status| status.success());
            if !SAID.load(Ordering::Relaxed) {
                println!("{}{what}", if done { "" } else { "taskset cannot, so it does not hold that " });
            }
        }
        SAID.store(true, Ordering::Relaxed);
    }
}

/// What has which cores is said once.
static SAID: AtomicBool = AtomicBool::new(false);

/// As many as there were before anything was pinned.
static CORES: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));

/// A loop of a shell, which may run wherever there is room, the server's core included: it starts a process for each
/// key, and is slower on what is left of one core. (A pipe of two programs is slower when it shares the server's.)
pub(crate) fn anywhere(line: &str, pinned: bool) -> Command {
    if !pinned || *CORES < 2 {
        return shell(line);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &format!("0-{}", *CORES - 1), "bash", "-c", line]);
    command
}

/// A line of a shell.
pub(crate) fn shell(line: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", line]);
    command
}

/// A connection spoken to in words.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
    stream: TcpStream,
}

/// A command as bytes.
pub(crate) fn encode(words: &[&str], out: &mut Vec<u8>) {
    let _ = write!(out, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(out, "${}\r\n{word}\r\n", word.len());
    }
}

impl Client {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// One reply, arrays joined by line breaks.
    pub(crate) fn reply(&mut self) -> String {
        let mut head = String::new();
        self.reader.read_line(&mut head).unwrap();
        let rest = head[1..].trim_end();
        match head.as_bytes()[0] {
            b'$' => {
                let length: i64 = rest.parse().unwrap();
                if length < 0 {
                    return String::new();
                }
                let mut text = vec![0; length as usize + 2];
                self.reader.read_exact(&mut text).unwrap();
                text.truncate(length as usize);
                String::from_utf8_lossy(&text).into_owned()
            }
            b'*' => {
                let count: i64 = rest.parse().unwrap();
                (0..count.max(0)).map(|_| self.reply()).collect::<Vec<_>>().join("\n")
            }
            _ => rest.to_owned(),
        }
    }

    pub(crate) fn ask(&mut self, words: &[&str]) -> String {
        let mut bytes = Vec::new();
        encode(words, &mut bytes);
        self.send(&bytes);
        self.reply()
    }
}

/// Spreads numbers evenly, the same each time.
pub(crate) fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What the foreground waits now is not counted …
pub(crate) const QUIET: u8 = 0;
/// … counts as before …
pub(crate) const BEFORE: u8 = 1;
/// … or as during what is measured.
pub(crate) const DURING: u8 = 2;

/// Connections of the foreground. Over one alone a GET that waits holds up those that are due after it, and what is
/// measured is then a queue of its own.
const USERS: u64 = 10;

/// People who GET at a steady pace, whatever the answers take. Latency counts from the moment a GET was meant to be
/// sent.
pub(crate) struct Foreground {
    phase: Arc<AtomicU8>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<[Vec<u32>; 3]>>,
}

impl Foreground {
    /// `key` names the key of each GET; `pin`: they go before everybody else on their core.
    pub(crate) fn start(redis: &Redis, key: impl Fn(u64) -> String + Clone + Send + 'static, pin: bool) -> Self {
        let (phase, stop) = (Arc::new(AtomicU8::new(QUIET)), Arc::new(AtomicBool::new(false)));
        let start = Instant::now();
        let user = |first: u64| {
            let (now, end, key, mut client) = (phase.clone(), stop.clone(), key.clone(), redis.connect());
            std::thread::spawn(move || {
                if pin {
                    first_in_line();
                }
                let mut seen: [Vec<u32>; 3] = Default::default();
                let gap = Duration::from_nanos(1_000_000_000 / PACE);
                let mut bytes = Vec::new();
                for n in (first..).step_by(USERS as usize) {
                    if end.load(Ordering::Relaxed) {
                        break;
                    }
                    let meant = start + gap * n as u32;
                    let early = meant.saturating_duration_since(Instant::now());
                    if !early.is_zero() {
                        std::thread::sleep(early);
                    }
                    bytes.clear();
                    encode(&["GET", &key(n)], &mut bytes);
                    client.send(&bytes);
                    client.reply();
                    let took = meant.elapsed().as_micros() as u32;
                    seen[now.load(Ordering::Relaxed) as usize].push(took);
                }
                seen
            })
        };
        let threads = (0..USERS).map(user).collect();
        Self { phase, stop, threads }
    }

    /// From now on what it waits counts as this.
    pub(crate) fn phase(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
    }

    /// What half, 95 and 99 of a hundred did not wait longer than, before and during.
    pub(crate) fn end(self) -> [Waits; 2] {
        self.stop.store(true, Ordering::Relaxed);
        let (mut before, mut during) = (Vec::new(), Vec::new());
        for thread in self.threads {
            let [_, one, other] = thread.join().unwrap();
            before.extend(one);
            during.extend(other);
        }
        let at = |list: &[u32], share: f64| {
            list.get(((list.len() as f64 * share) as usize).min(list.len().saturating_sub(1)))
                .map_or(0.0, |&us| f64::from(us))
        };
        [before, during].map(|mut list: Vec<u32>| {
            list.sort_unstable();
            Waits { p50: at(&list, 0.5), p95: at(&list, 0.95), p99: at(&list, 0.99) }
        })
    }
}

/// Microseconds that so many of a hundred did not wait longer than.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Waits {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
}

/// The thread that measures goes before everybody else on its core, where the system lets it.
fn first_in_line() {
    let Ok(task) = std::fs::read_link("/proc/thread-self") else { return };
    if let Some(id) = task.file_name().and_then(|id| id.to_str()) {
        let _ =
            Command::new("renice").args(["-n", "-15", "-p", id]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}
