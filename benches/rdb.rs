//! Reading a snapshot of a million keys: time, memory, error per prefix, and
//! what peers on this machine take for the same file.
//!
//! What it fills, measures and prints, and where its peers come from, is in `benches/README.md`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench prints, may panic, and has threads of its own that may wait"
)]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rediscue::{
    exec::rdb::read_file,
    keyspace::{
        Tally, Wanted,
        rdb::{Allocator, Reading},
    },
};
use tokio_util::sync::CancellationToken;

const ROUNDS: usize = 5;

/// Another program that reads snapshots.
struct Peer {
    what: &'static str,
    /// Names the program.
    variable: &'static str,
    /// What it is called where it is installed.
    usual: Option<&'static str>,
    words: &'static [&'static str],
    /// Where it comes from.
    from: &'static str,
}

const PEERS: [Peer; 3] = [
    Peer {
        what: "redis-check-rdb (checks only)",
        variable: "RDB_PEER_CHECK",
        usual: Some("redis-check-rdb"),
        words: &[],
        from: "Debian's redis-tools",
    },
    Peer {
        what: "HDT3213/rdb -c memory",
        variable: "RDB_PEER_GO",
        usual: None,
        words: &["-c", "memory", "-o", "/dev/null"],
        from: "go install github.com/hdt3213/rdb@latest",
    },
    Peer {
        what: "redis-rdb-tools rdb -c memory",
        variable: "RDB_PEER_PYTHON",
        usual: None,
        words: &["-c", "memory"],
        from: "pip install rdbtools",
    },
];

fn main() {
    if let (Ok(file), Ok(how)) = (std::env::var("RDB_ROUND_FILE"), std::env::var("RDB_ROUND")) {
        return round(Path::new(&file), &how);
    }
    // `cargo test --benches` only wants to know that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let home = tempfile::TempDir::new().unwrap();
    let mut server = None;
    let file = std::env::var("RDB_FILE").map(PathBuf::from).unwrap_or_else(|_| {
        let started = server.insert(Server::start(home.path()));
        started.fill(keys());
        started.save(home.path())
    });
    let size = std::fs::metadata(&file).unwrap().len();
    println!("{} · {:.0} MB", file.display(), size as f64 / 1e6);
    println!("{:44} {:>9} {:>9}  ratio", "", "median s", "peak MiB");
    let mut base = None;
    for (how, what) in [
        ("read", "counted, no checksum"),
        ("read+sum", "counted, checksum (rdb verify)"),
        ("report", "report, no checksum"),
        ("report+sum", "report, checksum (rdb report)"),
    ] {
        let own = std::env::current_exe().unwrap();
        let (seconds, peak) = median(|| {
            let mut command = Command::new(&own);
            command.env("RDB_ROUND_FILE", &file).env("RDB_ROUND", how);
            command
        });
        let base = *base.get_or_insert(seconds);
        println!("{what:44} {seconds:9.3} {peak:9.1}  {:.1}×", seconds / base);
    }
    let Some(base) = base else { return };
    if std::env::var("RDB_PEERS").as_deref() != Ok("no") {
        PEERS.iter().for_each(|peer| peer.run(&file, base));
    }
    if let Some(server) = &mut server {
        errors(server, &file);
    }
}

impl Peer {
    fn run(&self, file: &Path, base: f64) {
        let program = std::env::var(self.variable).ok().or(self.usual.map(str::to_owned));
        let Some(program) = program else {
            return println!("{:44} left out: set {} to its path ({})", self.what, self.variable, self.from);
        };
        if program.contains('/') && !Path::new(&program).exists() {
            return println!("{:44} left out: there is no {program} ({})", self.what, self.from);
        }
        // One round: the slow ones take as long as all of ours together.
        let memory = PathBuf::from("/usr/bin/time");
        let mut command = match memory.exists() {
            true => Command::new(&memory),
            false => Command::new(&program),
        };
        if memory.exists() {
            command.args(["-f", "peak %M", &program]);
        }
        let start = Instant::now();
        let Ok(ended) = command.args(self.words).arg(file).stdout(Stdio::null()).output() else {
            return println!("{:44} left out: {program} cannot be started ({})", self.what, self.from);
        };
        let seconds = start.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let peak = said.lines().rev().find_map(|line| line.strip_prefix("peak ")?.trim().parse::<f64>().ok());
        let peak = peak.map_or("–".to_owned(), |kib| format!("{:.1}", kib / 1024.0));
        let last = said.lines().rfind(|line| !line.starts_with("peak ") && !line.trim().is_empty()).unwrap_or_default();
        let told = if ended.status.success() { String::new() } else { format!("  (it failed: {last})") };
        println!("{:44} {seconds:9.3} {peak:>9}  {:.1}×{told}", self.what, seconds / base);
    }
}

/// One reading, in a process of its own; prints its peak memory in KiB.
fn round(file: &Path, how: &str) {
    let reading =
        Reading { now: 1_800_000_000_000, allocator: Allocator::Jemalloc, checksum: how.ends_with("+sum"), size: None };
    let mut tally = Tally::new(Wanted::default());
    let report = how.starts_with("report");
    let mut keys = 0u64;
    read_file(file, reading, &CancellationToken::new(), |key| {
        keys += 1;
        if report {
            tally.add(&key.seen(reading.now));
        }
    })
    .unwrap();
    tally.settle();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    println!("{} {keys}", peak.split_whitespace().next().unwrap_or("0"));
}

/// How many keys are filled.
fn keys() -> u64 {
    let keys = std::env::var("RDB_KEYS").ok().and_then(|text| text.replace('_', "").parse().ok());
    keys.unwrap_or(1_000_000_u64).max(1_000)
}

fn median(mut command: impl FnMut() -> Command) -> (f64, f64) {
    let mut rounds: Vec<(f64, f64)> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let output = command().output().unwrap();
            let seconds = start.elapsed().as_secs_f64();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let peak: f64 =
                text.split_whitespace().next().and_then(|text| text.parse().ok()).expect("a round prints it");
            (seconds, peak / 1024.0)
        })
        .collect();
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    rounds[ROUNDS / 2]
}

/// What the estimate is off by, per prefix, against MEMORY USAGE of every key.
fn errors(server: &mut Server, file: &Path) {
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut names = Vec::new();
    let allocator =
        if server.ask(&["INFO", "memory"]).contains("jemalloc") { server.allocator() } else { Allocator::Libc };
    let reading = Reading { now: 1_800_000_000_000, allocator, checksum: false, size: None };
    let prefix = |name: &str| name.split(':').next().unwrap_or_default().to_owned() + ":*";
    read_file(file, reading, &CancellationToken::new(), |key| {
        let name = String::from_utf8_lossy(key.name).into_owned();
        sums.entry(prefix(&name)).or_default().0 += key.bytes;
        names.push(name);
    })
    .unwrap();
    for chunk in names.chunks(500) {
        for name in chunk {
            server.send(&["MEMORY", "USAGE", name, "SAMPLES", "0"]);
        }
        for name in chunk {
            sums.entry(prefix(name)).or_default().1 += server.reply().trim().parse::<u64>().unwrap();
        }
    }
    println!("\n{:20} {:>14} {:>14}  error", "prefix", "estimated", "MEMORY USAGE");
    for (prefix, (estimate, truth)) in sums {
        let error = (estimate as f64 - truth as f64) / truth as f64 * 100.0;
        println!("{prefix:20} {estimate:14} {truth:14}  {error:+.3} %");
    }
}

struct Server {
    child: Child,
    line: BufReader<TcpStream>,
    seed: u64,
}

impl Server {
    fn start(home: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(home)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let start = Instant::now();
        let line = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(line) => break line,
                Err(error) => assert!(start.elapsed() < Duration::from_secs(10), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Self { child, line: BufReader::new(line), seed: 42 }
    }

    fn send(&mut self, words: &[&str]) {
        let mut request = String::new();
        write!(request, "*{}\r\n", words.len()).unwrap();
        for word in words {
            write!(request, "${}\r\n{word}\r\n", word.len()).unwrap();
        }
        self.line.get_mut().write_all(request.as_bytes()).unwrap();
    }

    fn reply(&mut self) -> String {
        let mut line = String::new();
        self.line.read_line(&mut line).unwrap();
        assert!(!line.starts_with('-'), "{line}");
        let Some(length) = line.strip_prefix('$') else { return line[1..].trim_end().to_owned() };
        let mut bytes = vec![0; length.trim_end().parse::<usize>().unwrap() + 2];
        self.line.read_exact(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn ask(&mut self, words: &[&str]) -> String {
        self.send(words);
        self.reply()
    }

    fn allocator(&mut self) -> Allocator {
        self.ask(&["SET", "allocator-probe", "x"]);
        let bytes = self.ask(&["MEMORY", "USAGE", "allocator-probe"]);
        self.ask(&["DEL", "allocator-probe"]);
        if bytes == "72" { Allocator::Jemalloc } else { Allocator::SystemJemalloc }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    fn letters(&mut self, count: u64) -> String {
        (0..count).map(|_| (b'A' + self.random(26) as u8 + 32 * self.random(2) as u8) as char).collect()
    }

    /// JSON sessions, hashes, lists, strings and five huge keys.
    fn fill(&mut self, keys: u64) {
        let pool: Vec<String> = (0..20_000).map(|_| self.letters(32)).collect();
        let mut waiting = 0;
        for n in 0..keys {
            // The same mixture at every size.
            let place = if n < 5 { n } else { (n * 1_000_000 / keys).max(5) };
            let command = self.key(n, place, &pool);
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            self.send(&words);
            waiting += 1;
            if waiting == 100 {
                for _ in 0..waiting {
                    self.reply();
                }
                waiting = 0;
            }
        }
        for _ in 0..waiting {
            self.reply();
        }
        // Lets the largest table finish growing, as any that was used for a while has: a snapshot
        // does not say that a table is half way, and MEMORY USAGE counts it twice then.
        let items: Vec<String> = (0..200_000).map(|i| format!("item:{i}")).collect();
        let words: Vec<&str> = ["SMISMEMBER", "huge:set"].into_iter().chain(items.iter().map(String::as_str)).collect();
        self.send(&words);
        self.skip();
    }

    /// Reads a reply that is a list of numbers.
    fn skip(&mut self) {
        let head = self.reply();
        (0..head.parse::<usize>().unwrap_or(0)).for_each(|_| drop(self.reply()));
    }

    fn key(&mut self, n: u64, place: u64, pool: &[String]) -> Vec<String> {
        let word = |text: &str| text.to_owned();
        let some = |at: u64| pool[(at % pool.len() as u64) as usize].clone();
        match place {
            0 => [word("HSET"), word("huge:hash")]
                .into_iter()
                .chain((0..200_000).flat_map(|i| [format!("field:{i}"), some(i).repeat(2)]))
                .collect(),
            1 => [word("ZADD"), word("huge:zset")]
                .into_iter()
                .chain((0..200_000).flat_map(|i| [format!("{i}.5"), format!("member:{i}")]))
                .collect(),
            2 => [word("RPUSH"), word("huge:list")].into_iter().chain((0..300_000).map(some)).collect(),
            3 => {
                [word("SADD"), word("huge:set")].into_iter().chain((0..200_000).map(|i| format!("item:{i}"))).collect()
            }
            4 => vec![word("SET"), word("huge:blob"), self.letters(1_000_000).repeat(20)],
            5..400_000 => {
                let json = format!(
                    r#"{{"id":{n},"user":{},"token":"{}","roles":["reader","writer"],"ip":"10.{}.{}.7","agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36","csrf":"{}","data":[{}]}}"#,
                    n % 90_000,
                    self.letters(300),
                    n % 256,
                    n / 256 % 256,
                    self.letters(64),
                    self.letters(120)
                );
                let mut command = vec![word("SET"), format!("session:{n}"), json];
                if !n.is_multiple_of(5) {
                    command.extend([word("EX"), (60 + self.random(90 * 86_400)).to_string()]);
                }
                command
            }
            400_000..650_000 => {
                let mut command = vec![word("HSET"), format!("user:{n}:profile")];
                for field in ["name", "mail", "phone", "city", "plan", "seen"] {
                    let length = 4 + self.random(28) as usize;
                    command.extend([word(field), some(self.seed >> 40)[..length].to_owned()]);
                }
                command
            }
            650_000..800_000 => [word("RPUSH"), format!("feed:{n}")]
                .into_iter()
                .chain((0..12).map(|i| some(n * 7 + i)[..20].to_owned()))
                .collect(),
            _ if n.is_multiple_of(2) => vec![word("SET"), format!("counter:{n}"), (n * 17).to_string()],
            _ => {
                vec![
                    word("SET"),
                    format!("cache:page:{n}"),
                    self.letters(200),
                    word("EX"),
                    (60 + n % 86_400).to_string(),
                ]
            }
        }
    }

    fn save(&mut self, home: &Path) -> PathBuf {
        self.ask(&["SAVE"]);
        home.join("dump.rdb")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
