//! The bot itself: how soon it answers after its start, what it weighs when
//! idle, and how long a journalled one-line command takes.
//!
//! `make bench` runs it; `benches/README.md` explains what it prints. It starts
//! a Redis of its own and needs nothing else.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints what it measured")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write as _},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture};
use rediscue::{
    app::serve,
    bot::{Bot, Parts, Reload},
    chat::{Audience, Event, Gateway, Inbound, Undelivered},
    config,
    exec::{Exec, ExecSettings},
    model::{Badges, Card, Identity, MessageRef, Place, PlaceKind, Platform},
    store::{Store, StoreSettings},
};
use tokio::sync::mpsc;

const SEQUENTIAL: usize = 5_000;
const IN_FLIGHT: usize = 100;
const MANY: usize = 60_000;

/// What peers with a one-line `redis ping` plugin, without policy or journal,
/// were measured at: seconds to the first answer, MiB idle, commands a second.
const PEERS: [(&str, f64, f64, f64); 3] =
    [("Hubot", 0.26, 57.0, 23_500.0), ("Errbot", 0.44, 68.0, 4_300.0), ("opsdroid", 0.51, 80.0, 3_300.0)];

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let redis = Redis::start(dir.path());
    write_config(dir.path(), redis.port);
    println!("The bot itself (peers: as measured elsewhere, with a plugin that does nothing but PING)\n");
    from_outside(dir.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(in_process(dir.path()));
}

/// Start-up and weight of the real program.
fn from_outside(dir: &Path) {
    let mut starts = Vec::new();
    let mut weight = 0.0;
    for round in 0..5 {
        let started = Instant::now();
        let mut bot = Command::new(env!("CARGO_BIN_EXE_rediscue"))
            .args(["serve", "--config"])
            .arg(dir.join("config"))
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        first_answer(&dir.join("console.sock"));
        starts.push(started.elapsed());
        if round == 4 {
            std::thread::sleep(Duration::from_secs(2));
            weight = resident_mib(bot.id());
        }
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(bot.id() as i32), nix::sys::signal::Signal::SIGTERM)
            .expect("the program can be told to stop");
        bot.wait().expect("the program ends");
    }
    starts.sort();
    let start = starts[starts.len() / 2].as_secs_f64();
    println!("{:<28} {start:>8.3} s      reach ≤ 0.100", "start to first answer");
    println!("{:<28} {weight:>8.1} MiB    reach ≤ 30", "idle memory");
    for (name, peer_start, peer_weight, _) in PEERS {
        let (faster, lighter) = (peer_start / start, peer_weight / weight);
        println!("{:<28} {faster:>8.1} × faster to start, {lighter:.1} × lighter", format!("  than {name}"));
    }
}

/// Speaks the console's protocol until `pong` is answered.
fn first_answer(socket: &Path) {
    let stream = loop {
        match UnixStream::connect(socket) {
            Ok(stream) => break stream,
            Err(_) => std::thread::yield_now(),
        }
    };
    let mut writer = stream.try_clone().expect("a socket can be cloned");
    writer
        .write_all(
            b"{\"message\":\"hello\",\"version\":1,\"script\":true}\n\
              {\"message\":\"command\",\"line\":1,\"speaker\":null,\"text\":\"pong\"}\n",
        )
        .expect("the bot takes a line");
    let said = BufReader::new(stream).lines().map_while(Result::ok).find(|line| line.contains("\"event\":\"say\""));
    let said = said.expect("the bot answers");
    assert!(said.contains("\"title\":\"pong"), "an answer to pong: {said}");
}

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a process has a size");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number of kB");
    kib / 1024.0
}

/// A place whose only reader counts.
struct Counter(mpsc::UnboundedSender<()>);

impl Gateway for Counter {
    fn say<'a>(
        &'a self,
        place: &'a Place,
        card: &'a Card,
        _: &'a Audience,
        key: &'a str,
    ) -> BoxFuture<'a, Result<MessageRef, Undelivered>> {
        assert!(card.title.starts_with("pong"), "every answer is an answer to pong: {card:?}");
        let _ = self.0.send(());
        let message = MessageRef { place: place.clone(), id: key.to_owned() };
        async move { Ok(message) }.boxed()
    }

    fn edit<'a>(&'a self, _: &'a MessageRef, _: &'a Card) -> BoxFuture<'a, Result<(), Undelivered>> {
        async { Ok(()) }.boxed()
    }

    fn react<'a>(&'a self, _: &'a MessageRef, _: &'a str, _: bool) -> BoxFuture<'a, Result<(), Undelivered>> {
        async { Ok(()) }.boxed()
    }

    fn upload<'a>(
        &'a self,
        _: &'a Place,
        _: &'a str,
        _: Vec<u8>,
        _: &'a Audience,
    ) -> BoxFuture<'a, Result<(), Undelivered>> {
        async { Ok(()) }.boxed()
    }

    fn edit_pace(&self) -> Duration {
        Duration::from_secs(1)
    }
}

fn asked(number: usize) -> Inbound {
    let place = Place {
        platform: Platform::Console,
        team: "bench".to_owned(),
        channel: "console".to_owned(),
        thread: None,
        kind: PlaceKind::Channel,
        via: None,
    };
    Inbound {
        event: format!("bench-{number}"),
        from: Identity { platform: Platform::Console, team: "bench".to_owned(), user: "ana".to_owned() },
        display: "ana".to_owned(),
        person: Some("ana".parse().expect("a valid name")),
        barred: None,
        place,
        what: Event::Command { text: "pong".to_owned(), message: None },
        badges: Badges::default(),
        kept: None,
    }
}

/// Latency and throughput, from the event to the answer handed to the gateway,
/// with the row of the journal committed in between.
async fn in_process(dir: &Path) {
    let directory = dir.join("config");
    let rules = serve::rules(config::load(&directory).expect("the configuration holds"));
    let store = Store::open(StoreSettings::in_dir(dir.join("in-process"))).await.expect("the store opens");
    let exec = Exec::new(ExecSettings::default());
    let (said, mut heard) = mpsc::unbounded_channel();
    let gateways = BTreeMap::from([(Platform::Console, Arc::new(Counter(said)) as Arc<dyn Gateway>)]);
    let reload: Reload = Arc::new(move || config::load(&directory).map(serve::rules));
    let bot = Bot::start(Parts { rules, reload, exec: exec.clone(), store: store.clone(), gateways });
    let inbound = bot.inbound();
    let mut number = 0;
    let mut latencies = Vec::with_capacity(SEQUENTIAL);
    for _ in 0..SEQUENTIAL {
        number += 1;
        let started = Instant::now();
        inbound.send(asked(number)).await.expect("the bot is there");
        heard.recv().await.expect("the bot answers");
        latencies.push(started.elapsed());
    }
    latencies.sort();
    let ms = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{:<28} p50 {:.3} ms, p99 {:.3} ms    reach p99 ≤ 1.5", "one after the other", ms(0.5), ms(0.99));

    let started = Instant::now();
    let mut sent = 0;
    while sent < IN_FLIGHT {
        number += 1;
        sent += 1;
        inbound.send(asked(number)).await.expect("the bot is there");
    }
    for _ in 0..MANY {
        heard.recv().await.expect("the bot answers");
        if sent < MANY {
            number += 1;
            sent += 1;
            inbound.send(asked(number)).await.expect("the bot is there");
        }
    }
    let rate = MANY as f64 / started.elapsed().as_secs_f64();
    let label = format!("{IN_FLIGHT} in flight");
    println!("{label:<28} {rate:>8.0} commands/s, each a row of the journal    reach ≥ 5,000");
    for (name, _, _, peer_rate) in PEERS {
        println!("{:<28} {:>8.2} × (it journals nothing)", format!("  {name}"), rate / peer_rate);
    }
    bot.stop().await;
    let rows = store.journal(1).await.expect("the journal can be read")[0].seq;
    assert!(rows as usize >= SEQUENTIAL + MANY, "every command has a row: {rows}");
    exec.close().await;
    store.close().await;
}

fn write_config(dir: &Path, port: u16) {
    let config = dir.join("config");
    std::fs::create_dir_all(config.join("services")).expect("a directory");
    let write = |name: &str, text: String| std::fs::write(config.join(name), text).expect("a file");
    let any = "{ per_minute = 100000000, burst = 10000000, at_once = 10000 }";
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective())
        .ok()
        .flatten()
        .map_or_else(|| "root".to_owned(), |user| user.name);
    write(
        "policy.toml",
        format!(
            "mode = \"normal\"\nkeepers = [\"ana\"]\n\
             [people.ana]\nroles = [\"all\"]\nconsole = [\"{user}\"]\n\
             [roles.all]\nabout = \"all\"\nmay = [{{ commands = [\"*\"], services = [\"*\"] }}]\n\
             [limits]\nperson = {any}\ninstance = {any}\ncheap = {any}\nmoderate = {any}\nheavy = {any}\n"
        ),
    );
    // What the peers' plugins do: one PING, one line. The built-in `ping` also measures.
    std::fs::create_dir_all(config.join("commands")).expect("a directory");
    write(
        "commands/pong.toml",
        "name = \"pong\"\nsummary = \"one PING\"\ncost = \"cheap\"\n\
         [[steps]]\nid = \"pong\"\nredis = [\"PING\"]\n[card]\nhealthy = \"PONG\"\n"
            .to_owned(),
    );
    let root = dir.display();
    write(
        "bot.toml",
        format!(
            "[store]\npath = \"{root}/store/rediscue.db\"\nkey_file = \"{root}/store/journal.key\"\n\
             [web]\nenabled = false\n[console]\nsocket = \"{root}/console.sock\"\n"
        ),
    );
    write(
        "services/bench.toml",
        format!(
            "title = \"bench\"\nenvironment = \"dev\"\nowner = \"bench\"\n[[instances]]\naddress = \"127.0.0.1:{port}\"\n"
        ),
    );
}

struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    fn start(dir: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let program = std::env::var("REDISCUE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let child = Command::new(program)
            .args(["--port", &port.to_string(), "--save", "", "--bind", "127.0.0.1", "--dir"])
            .arg(dir)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed: `make bench` sees to it");
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Self { child, port }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
