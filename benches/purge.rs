//! Removing keys while somebody else uses the server: us, with and without a way back, and the loops people type.
//!
//! `--keys N` (default 40,000) sets the size, `--full` is 1 million with 150,000 to remove; `--slice N`
//! how many keys the slow loops are measured on before they are scaled up.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench is a program for people at a terminal"
)]

use std::{
    collections::BTreeMap,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rediscue::{
    exec::{Exec, ExecSettings, Hands, Looking, Touched},
    model::{
        Address, Credential, Deployment, Environment, Identity, Instance, Place, PlaceKind, Platform, RunId, Service,
    },
    policy::{CommandSet, Consent, Grant, Only, Person, Policy, Role, Rules, Said},
    runbook::{self, Change, Cost, Kept, Kind, PLAN_VERSION, Plan, PlanStep, PlanTarget, Reach, Risk, Select, Undo},
    store::{Store, StoreSettings},
};

/// GETs per second of the foreground.
const PACE: u64 = 5_000;

struct Redis {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Redis {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let program = std::env::var("REDISCUE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".into());
        let child = Command::new(program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let redis = Self { child, port, _dir: dir };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        redis
    }

    fn connect(&self) -> redis::Connection {
        redis::Client::open(("127.0.0.1", self.port)).unwrap().get_connection().unwrap()
    }

    /// Every tenth key is to go; the others are sessions of a hundred organisations, some without a deadline.
    fn fill(&self, keys: u64, doomed: u64) {
        let mut connection = self.connect();
        redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
        let filler = "x".repeat(400);
        for from in (0..keys).step_by(1_000) {
            let mut pipe = redis::pipe();
            for n in from..keys.min(from + 1_000) {
                let value = format!(r#"{{"organisationId":"org-{}","createdAt":{n},"x":"{filler}"}}"#, n % 100);
                let name = if n < doomed { format!("doomed:{n}") } else { format!("session:{n}") };
                let command = pipe.cmd("SET").arg(name).arg(value);
                if n % 10 != 3 {
                    command.arg("EX").arg(86_400);
                }
                command.ignore();
            }
            pipe.exec(&mut connection).unwrap();
        }
    }

    fn count(&self) -> u64 {
        redis::cmd("DBSIZE").query(&mut self.connect()).unwrap()
    }
}

/// Somebody who uses the server all the time, and how long they wait.
struct Foreground {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<u64>>,
}

impl Foreground {
    fn start(redis: &Redis, keys: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut connection = redis.connect();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (begun, mut sent, mut waited) = (Instant::now(), 0_u64, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                let due = Duration::from_micros(sent * 1_000_000 / PACE);
                if let Some(early) = due.checked_sub(begun.elapsed()) {
                    std::thread::sleep(early);
                }
                let name = format!("session:{}", sent * 7_919 % keys);
                let _: Option<String> = redis::cmd("GET").arg(name).query(&mut connection).unwrap();
                // From the moment it was due: a stall is charged to everybody who had to wait for it.
                waited.push(begun.elapsed().saturating_sub(due).as_micros() as u64);
                sent += 1;
            }
            waited
        });
        Self { stop, thread }
    }

    /// The 99th of a hundred waits, in microseconds.
    fn p99(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut waited = self.thread.join().unwrap();
        waited.sort_unstable();
        waited.get(waited.len() * 99 / 100).copied().unwrap_or(0) as f64
    }
}

/// Us.
struct Hand {
    exec: Exec,
    store: Store,
    service: Arc<Service>,
    address: Address,
    run_id: String,
    runs: u64,
    _dir: tempfile::TempDir,
}

impl Hand {
    async fn at(redis: &Redis) -> Self {
        let address = Address::Tcp { host: "127.0.0.1".into(), port: redis.port };
        let instance = Instance {
            name: "main".parse().unwrap(),
            deployment: Deployment::Standalone(address.clone()),
            database: 0,
            tls: None,
            look: Credential::default(),
            touch: Some(Credential::default()),
            scan_replica: false,
        };
        let service = Service {
            name: "bench".parse().unwrap(),
            title: "Bench".into(),
            environment: Environment::Dev,
            owner: "bench".into(),
            instances: vec![instance],
            patterns: Vec::new(),
            queues: Vec::new(),
            thresholds: BTreeMap::new(),
            declared: BTreeMap::new(),
            endpoints: Vec::new(),
            metrics: Vec::new(),
            logs: Vec::new(),
            links: Vec::new(),
            contacts: Vec::new(),
            impact: Vec::new(),
        };
        let info: String = redis::cmd("INFO").arg("server").query(&mut redis.connect()).unwrap();
        let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap().trim().to_owned();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(StoreSettings::in_dir(dir.path())).await.unwrap();
        Self {
            exec: Exec::new(ExecSettings::default()),
            store,
            service: Arc::new(service),
            address,
            run_id,
            runs: 0,
            _dir: dir,
        }
    }

    async fn touch(&mut self, change: Change) -> Touched {
        self.runs += 1;
        let identity = Identity { platform: Platform::Console, team: String::new(), user: "ann".into() };
        let plan = Plan {
            version: PLAN_VERSION,
            run: RunId::from_bits(self.runs),
            command: "purge".into(),
            wanted: Vec::new(),
            service: self.service.name.clone(),
            instance: self.service.instances[0].name.clone(),
            targets: vec![PlanTarget {
                address: self.address.to_string(),
                run_id: self.run_id.clone(),
                replicas: 0,
                lag_bytes: None,
            }],
            steps: vec![PlanStep { target: 0, change }],
            reach: Reach { tolerance_percent: 5, ..Reach::default() },
            facts: Vec::new(),
            warnings: Vec::new(),
            undo: Undo::By("bench".into()),
            risk: Risk::Low,
            requester: "ann".parse().unwrap(),
            asker: identity.clone(),
            made_ms: 0,
            expires_ms: i64::MAX,
            lasts_ms: None,
            undoes: None,
            asks: None,
            rolls_back: None,
        };
        let grant = Grant {
            commands: [CommandSet::Every].into(),
            services: Only::Any,
            environments: Only::Any,
            places: Only::Any,
            reveal: false,
        };
        let person = Person { name: "Ann".into(), identities: [identity].into(), roles: ["all".into()].into() };
        let policy = Policy::new(Rules {
            people: BTreeMap::from([("ann".parse().unwrap(), person)]),
            roles: BTreeMap::from([("all".into(), Role { grants: vec![grant], ..Role::default() })]),
            ..Rules::default()
        });
        let command = runbook::Command {
            name: "purge".into(),
            aliases: Vec::new(),
            summary: String::new(),
            about: None,
            examples: Vec::new(),
            group: "change".into(),
            arguments: Vec::new(),
            cost: Cost::Heavy,
            deadline: Duration::from_secs(10),
            call_deadline: Duration::from_secs(2),
            private: false,
            source: "bench".into(),
            kind: Kind::BuiltIn,
        };
        let place = Place {
            platform: Platform::Console,
            team: String::new(),
            channel: "local".into(),
            thread: None,
            kind: PlaceKind::Direct,
            via: None,
        };
        let consent =
            policy.consent(&plan, &command, &self.service, &place, Said::default(), jiff::Timestamp::UNIX_EPOCH);
        let Consent::Granted(permit) = consent else { panic!("{consent:?}") };
        let cx = Looking {
            deadline: Instant::now() + Duration::from_secs(3_600),
            call: Duration::from_secs(5),
            stop: Default::default(),
            progress: None,
            partial: None,
        };
        let instance = &self.service.instances[0];
        let hands = Hands { instance, address: &self.address, store: &self.store, cx: &cx };
        self.exec.touch(&permit, &plan, 0, &hands).await
    }
}

fn shell(redis: &Redis, line: &str) -> Duration {
    let start = Instant::now();
    let line = line.replace("redis-cli", &format!("redis-cli -p {}", redis.port));
    let status = Command::new("sh").args(["-c", &line]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{line}");
    start.elapsed()
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

struct Row {
    what: &'static str,
    wall: f64,
    p99: f64,
}

#[tokio::main]
async fn main() {
    let (mut keys, mut doomed, mut slice) = (40_000_u64, 6_000_u64, 300_u64);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|text| text.replace('_', "").parse::<u64>().ok()).unwrap();
        match word.as_str() {
            "--keys" => {
                keys = number();
                doomed = keys * 15 / 100;
            }
            "--full" => (keys, doomed) = (1_000_000, 150_000),
            "--slice" => slice = number(),
            _ => {}
        }
    }
    let redis = Redis::start();
    let mut hand = Hand::at(&redis).await;
    let cli = has("redis-cli");
    println!("{keys} keys, {doomed} to remove, a foreground of {PACE} GET/s\n");
    println!("| removing {doomed} of {keys} | wall s | µs/key | p99 × | undo |\n|---|---|---|---|---|");
    let mut rows = Vec::new();
    let ways: [(&'static str, Option<Kept>, &str); 4] = [
        ("redis-cli --scan, xargs -n100 unlink", None, "none"),
        ("ours, --no-undo", Some(Kept::Nothing), "none"),
        ("ours, in a snapshot", Some(Kept::Snapshot), "full"),
        ("ours, --aside", Some(Kept::Aside(3_600_000)), "full"),
    ];
    for (what, kept, undo) in ways {
        if kept.is_none() && !cli {
            continue;
        }
        redis.fill(keys, doomed);
        let quiet = Foreground::start(&redis, keys);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = quiet.p99();
        let foreground = Foreground::start(&redis, keys);
        let start = Instant::now();
        match kept {
            None => {
                shell(&redis, "redis-cli --scan --pattern 'doomed:*' | xargs -n100 redis-cli unlink");
            }
            Some(keep) => {
                let change = Change::RemoveKeys { select: Select::matching("doomed:*"), now_ms: 0, keys: doomed, keep };
                let touched = hand.touch(change).await;
                assert!(matches!(touched, Touched::Verified(_)), "{touched:?}");
            }
        }
        let wall = start.elapsed().as_secs_f64();
        let p99 = foreground.p99() / before;
        if !matches!(kept, Some(Kept::Aside(_))) {
            assert_eq!(redis.count(), keys - doomed, "{what}");
        }
        println!("| {what} | {wall:.2} | {:.1} | {p99:.2} | {undo} |", wall * 1e6 / doomed as f64);
        rows.push(Row { what, wall, p99 });
    }
    if let Some(peer) = rows.iter().find(|row| row.what.starts_with("redis-cli")) {
        for row in rows.iter().filter(|row| row.what.starts_with("ours")) {
            println!(
                "{}: {:.1} × as fast as the peer, foreground p99 {:.2} ×",
                row.what,
                peer.wall / row.wall,
                row.p99
            );
        }
    }

    redis.fill(keys, doomed);
    let select = Select { predicate: Some("organisationId = org-7".into()), ..Select::matching("session:*") };
    let expected = (keys - doomed) / 100;
    let change = Change::RemoveKeys { select, now_ms: 0, keys: expected, keep: Kept::Snapshot };
    let start = Instant::now();
    let touched = hand.touch(change).await;
    assert!(matches!(touched, Touched::Verified(_)), "{touched:?}");
    let ours = start.elapsed().as_secs_f64() * 1e6 / (keys - doomed) as f64;
    println!("\npurge by JSON field, in a snapshot: {ours:.1} µs a key looked at");
    if cli && has("jq") {
        let line = format!(
            "redis-cli --scan --pattern 'session:*' | head -n {slice} | while read k; do \
             o=$(redis-cli get \"$k\" | jq -r .organisationId); [ \"$o\" = org-8 ] && redis-cli del \"$k\"; done; true"
        );
        let peer = shell(&redis, &line).as_secs_f64() * 1e6 / slice as f64;
        println!("the loop of redis-cli and jq: {peer:.0} µs a key: {:.0} × as fast", peer / ours);
    }
}
