//! Looking at a keyspace while somebody else uses it: us and the usual tools, in turn.
//!
//! What it fills, measures and prints is in `benches/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench is a program for people at a terminal"
)]

mod ground;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use ground::{BEFORE, Client, DURING, Foreground, PACE, QUIET, Redis, Waits, encode, mix};

use rediscue::{
    exec::{Exec, ExecSettings, Looking, survey},
    keyspace::pace::Limits,
    model::{
        Actor, Address, Badges, Credential, Deployment, Environment, Identity, Instance, Place, PlaceKind, Platform,
        RunId, Service,
    },
    policy::{Ask, CommandSet, Grant, Only, Permit, Person, Policy, Role, Rules, Verdict},
    runbook::{self, Cost, Kind, Survey},
};
use serde_json::Value;

struct Options {
    keys: u64,
    rounds: usize,
    slice: usize,
    peers: bool,
    shell: bool,
    once: Option<String>,
    /// How our own surveys go.
    pace: Limits,
    threads: Option<usize>,
    sweep: bool,
    pin: bool,
}

fn options() -> Options {
    let mut options = Options {
        keys: 1_000_000,
        rounds: 5,
        slice: 1_000,
        peers: true,
        shell: true,
        once: None,
        pace: Limits::default(),
        threads: None,
        sweep: false,
        pin: true,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut text = || words.next().unwrap_or_else(|| panic!("{word} wants a value")).replace('_', "");
        let mut number = || text().parse::<u64>().unwrap_or_else(|_| panic!("{word} wants a number"));
        match word.as_str() {
            "--in-flight" => options.pace.in_flight_us = number() as f64,
            "--busy" => {
                options.pace.busy = text().parse().unwrap_or_else(|_| panic!("--busy wants a share such as 0.6"))
            }
            "--most-keys" => options.pace.most_keys = number() as usize,
            "--lanes" => options.pace.lanes = number() as usize,
            "--threads" => options.threads = Some(number() as usize),
            "--sweep" => options.sweep = true,
            "--shared" => options.pin = false,
            "--keys" => options.keys = number().max(1_000),
            "--5m" => options.keys = 5_000_000,
            "--rounds" => options.rounds = number().max(1) as usize,
            "--slice" => options.slice = number().max(1) as usize,
            "--no-peers" => options.peers = false,
            "--no-shell" => options.shell = false,
            "--only" => options.once = Some(text()),
            _ => {}
        }
    }
    options
}

// ---- what is in the server ----

/// What the fill knows.
#[derive(Debug, Default, Clone)]
struct Truth {
    keys: u64,
    endless: u64,
    endless_bytes: u64,
    bytes: u64,
    prefixes: BTreeMap<&'static str, u64>,
    elements: u64,
}

fn session(n: u64) -> String {
    format!("session:{:016x}", mix(n))
}

/// Fills it: JSON sessions, hashes of tenants, conversations, SSE state, small strings, five huge keys.
fn fill(redis: &Redis, keys: u64) -> Truth {
    let mut client = redis.connect();
    let mut truth = Truth::default();
    let mut batch = Vec::new();
    let mut owed = 0;
    let filler = "x".repeat(900);
    for n in 0..keys.saturating_sub(5) {
        let random = mix(n);
        let endless = random % 10 == 3;
        // None is over before the bench is.
        let ttl = (6 * 3_600 + (random >> 8) % 86_400).to_string();
        let kind = n % 20;
        let name;
        let prefix;
        match kind {
            0..11 => {
                name = session(n);
                prefix = "session:*";
                let value = format!(
                    "{{\"id\":{n},\"organisationId\":\"org{}\",\"createdAt\":{},\"data\":\"{}\"}}",
                    random % 50,
                    1_700_000_000_000_u64 + n,
                    &filler[..(300 + random as usize % 500)]
                );
                encode(&["SET", &name, &value], &mut batch);
            }
            11..14 => {
                name = format!("tenant:t{}:wm:{n}", random % 200);
                prefix = "tenant:*:wm:*";
                let value = &filler[..40];
                encode(
                    &["HSET", &name, "a", value, "b", value, "c", value, "d", value, "e", value, "f", value],
                    &mut batch,
                );
                truth.elements += 6;
            }
            14..16 => {
                name = format!("conv:{:012x}", random >> 16);
                prefix = "conv:*";
                let value = &filler[..60];
                encode(&["RPUSH", &name, value, value, value, value, value, value, value, value], &mut batch);
                truth.elements += 8;
            }
            16..18 => {
                name = format!("sse:state:{:012x}", random >> 16);
                prefix = "sse:state:*";
                encode(&["SET", &name, &filler[..200]], &mut batch);
            }
            _ => {
                name = format!("cache:user:{n}");
                prefix = "cache:user:*";
                encode(&["SET", &name, &filler[..64]], &mut batch);
            }
        }
        owed += 1;
        if endless {
            truth.endless += 1;
        } else {
            encode(&["EXPIRE", &name, &ttl], &mut batch);
            owed += 1;
        }
        truth.keys += 1;
        *truth.prefixes.entry(prefix).or_default() += 1;
        if owed >= 500 {
            client.send(&std::mem::take(&mut batch));
            (0..owed).for_each(|_| drop(client.reply()));
            owed = 0;
        }
    }
    client.send(&batch);
    (0..owed).for_each(|_| drop(client.reply()));
    for (name, command) in [("huge:hash", "HSET"), ("huge:zset", "ZADD"), ("huge:list", "RPUSH"), ("huge:set", "SADD")]
    {
        for chunk in 0..200 {
            let mut words = vec![command.to_owned(), name.to_owned()];
            for i in 0..1_000 {
                let member = format!("member:{:08}", chunk * 1_000 + i);
                match command {
                    "HSET" => words.extend([member, filler[..30].to_owned()]),
                    "ZADD" => words.extend([i.to_string(), member]),
                    _ => words.push(member),
                }
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            client.ask(&words);
        }
        truth.elements += 200_000;
    }
    client.ask(&["SET", "huge:string", &"y".repeat(20 << 20)]);
    truth.keys += 5;
    truth.endless += 5;
    *truth.prefixes.entry("huge:*").or_default() += 5;
    (truth.bytes, truth.endless_bytes) = weigh(&mut client);
    client.ask(&["SLOWLOG", "RESET"]);
    truth
}

/// The sum of MEMORY USAGE over all keys, and over those without TTL, by a loop that shares nothing with what is
/// measured.
fn weigh(client: &mut Client) -> (u64, u64) {
    let mut cursor = "0".to_owned();
    let (mut bytes, mut endless) = (0, 0);
    loop {
        let page = client.ask(&["SCAN", &cursor, "COUNT", "1000"]);
        let mut lines = page.split('\n');
        cursor = lines.next().unwrap().to_owned();
        let names: Vec<&str> = lines.filter(|name| !name.is_empty()).collect();
        let mut batch = Vec::new();
        for name in &names {
            encode(&["MEMORY", "USAGE", name], &mut batch);
            encode(&["TTL", name], &mut batch);
        }
        client.send(&batch);
        for _ in &names {
            let weight = client.reply().parse::<u64>().unwrap_or(0);
            bytes += weight;
            endless += if client.reply() == "-1" { weight } else { 0 };
        }
        if cursor == "0" {
            return (bytes, endless);
        }
    }
}

// ---- those who look ----

/// What one run of one tool cost.
#[derive(Debug, Clone, Default)]
struct Cost1 {
    wall: f64,
    first: Option<f64>,
    server_us: f64,
    /// Before and during.
    p: [Waits; 2],
    slow: u64,
    note: String,
}

impl Cost1 {
    /// During over before.
    fn times(&self, of: impl Fn(&Waits) -> f64) -> f64 {
        of(&self.p[1]) / of(&self.p[0])
    }
}

/// Which commands took the server more than a millisecond, and the longest of each.
fn slow_commands(client: &mut Client) -> (u64, String) {
    let mut worst: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let text = client.ask(&["SLOWLOG", "GET", "1000"]);
    // Of each entry: id, time, microseconds, words …, address, name. Words of ours hold no bare numbers.
    let lines: Vec<&str> = text.split('\n').collect();
    for at in 2..lines.len() {
        let is_number = |line: &str| line.parse::<u64>().ok();
        if let (Some(_), Some(time), Some(us)) =
            (is_number(lines[at - 2]), is_number(lines[at - 1]), is_number(lines[at]))
            && time > 1_000_000_000
            && let Some(word) = lines.get(at + 1)
        {
            let entry = worst.entry((*word).to_owned()).or_default();
            *entry = (entry.0 + 1, entry.1.max(us));
        }
    }
    let told: Vec<String> = worst.iter().map(|(word, (times, us))| format!("{word} ×{times} up to {us} µs")).collect();
    // The foreground's GETs take a microsecond: one that is slow shows that the server was not running.
    let theirs = worst.get("GET").map_or(0, |(times, _)| *times);
    let all: u64 = client.ask(&["SLOWLOG", "LEN"]).parse().unwrap_or(0);
    (all.saturating_sub(theirs), told.join(", "))
}

fn measured(redis: &Redis, options: &Options, tool: &mut dyn FnMut() -> (Option<f64>, String)) -> Cost1 {
    let mut client = redis.connect();
    client.ask(&["SLOWLOG", "RESET"]);
    let keys = options.keys;
    // Sessions are the first eleven of every twenty.
    let key = move |n| session(mix(n) % (keys / 20) * 20 + mix(n + 7) % 11);
    let foreground = Foreground::start(redis, key, options.pin);
    std::thread::sleep(Duration::from_millis(300));
    foreground.phase(BEFORE);
    let (began, cpu_before) = (Instant::now(), redis.cpu_seconds());
    std::thread::sleep(Duration::from_secs(2));
    let idle_rate = (redis.cpu_seconds() - cpu_before) / began.elapsed().as_secs_f64();
    foreground.phase(DURING);
    let (began, cpu_before) = (Instant::now(), redis.cpu_seconds());
    let (first, note) = tool();
    let wall = began.elapsed().as_secs_f64();
    let cpu = redis.cpu_seconds() - cpu_before - idle_rate * wall;
    foreground.phase(QUIET);
    let (slow, which) = slow_commands(&mut client);
    let note = if which.is_empty() { note } else { format!("{note}; slow: {which}") };
    Cost1 { wall, first, server_us: cpu * 1e6 / keys as f64, p: foreground.end(), slow, note }
}

/// Asks for one small key and nothing else, in batches as small as a gentle walk's. None of it can take a
/// millisecond: what is counted as slow here is the machine, which took the server's core away.
fn one_key_all_the_while(client: &mut Client, how_long: Duration) {
    client.ask(&["SET", "control", "x"]);
    let mut batch = Vec::new();
    (0..20).for_each(|_| encode(&["MEMORY", "USAGE", "control"], &mut batch));
    let start = Instant::now();
    while start.elapsed() < how_long {
        client.send(&batch);
        (0..20).for_each(|_| drop(client.reply()));
    }
    client.ask(&["UNLINK", "control"]);
}

struct Us {
    runtime: tokio::runtime::Runtime,
    exec: Exec,
    service: Arc<Service>,
    permit: Permit,
}

impl Us {
    fn at(redis: &Redis, pace: Limits, threads: Option<usize>) -> Self {
        let instance = Instance {
            name: "main".parse().unwrap(),
            deployment: Deployment::Standalone(Address::Tcp { host: "127.0.0.1".into(), port: redis.port }),
            database: 0,
            tls: None,
            look: Credential::default(),
            touch: None,
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
        let permit = permit(&service);
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        if let Some(threads) = threads {
            builder.worker_threads(threads.max(1));
        }
        let runtime = builder.enable_all().build().unwrap();
        Self {
            runtime,
            exec: Exec::new(ExecSettings { pace, ..ExecSettings::default() }),
            service: Arc::new(service),
            permit,
        }
    }

    /// Surveys; the seconds to the first answer, that answer, and the last.
    fn survey(&self, what: Survey, options: &[(&str, &str)]) -> (Option<f64>, Option<Value>, Value) {
        let look = survey(what, options);
        let (partial, mut first) = tokio::sync::watch::channel(None);
        self.runtime.block_on(async {
            let cx = Looking {
                deadline: Instant::now() + Duration::from_secs(600),
                call: Duration::from_secs(5),
                stop: tokio_util::sync::CancellationToken::new(),
                progress: None,
                partial: Some(partial),
            };
            let began = Instant::now();
            let watch = tokio::spawn(async move {
                first.wait_for(Option::is_some).await.ok()?;
                let took = began.elapsed().as_secs_f64();
                Some((took, first.borrow().clone()?))
            });
            let seen = self.exec.look(&self.permit, &self.service, &self.service.instances[0], &look, &cx).await;
            drop(cx);
            let first = watch.await.unwrap();
            let value = seen.merged.unwrap_or_else(|error| panic!("{error:?}"));
            (first.as_ref().map(|(took, _)| *took), first.map(|(_, value)| value), value)
        })
    }
}

fn permit(service: &Service) -> Permit {
    let identity = Identity { platform: Platform::Console, team: String::new(), user: "ann".into() };
    let person: rediscue::model::PersonId = "ann".parse().unwrap();
    let grant = Grant {
        commands: BTreeSet::from([CommandSet::Every]),
        services: Only::Any,
        environments: Only::Any,
        places: Only::Any,
        reveal: true,
    };
    let ann = Person {
        name: "Ann".into(),
        identities: BTreeSet::from([identity.clone()]),
        roles: BTreeSet::from(["all".into()]),
    };
    let policy = Policy::new(Rules {
        people: BTreeMap::from([(person.clone(), ann)]),
        roles: BTreeMap::from([("all".into(), Role { grants: vec![grant], ..Role::default() })]),
        ..Rules::default()
    });
    let place = Place {
        platform: Platform::Console,
        team: String::new(),
        channel: "local".into(),
        thread: None,
        kind: PlaceKind::Direct,
        via: None,
    };
    let actor = Actor { identity, person: Some(person), display: "ann".into(), badges: Badges::default() };
    let command = runbook::Command {
        name: "bigkeys".into(),
        aliases: Vec::new(),
        summary: String::new(),
        about: None,
        examples: Vec::new(),
        group: "keys".into(),
        arguments: Vec::new(),
        cost: Cost::Heavy,
        deadline: Duration::from_secs(600),
        call_deadline: Duration::from_secs(5),
        private: false,
        source: "bench".into(),
        kind: Kind::BuiltIn,
    };
    let ask = Ask {
        actor: &actor,
        place: &place,
        command: &command,
        service: Some(service),
        reveal: false,
        run: &RunId::from_bits(1),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    match policy.decide(&ask) {
        Verdict::Allow(permit) => permit,
        Verdict::Deny(refusal) => panic!("{}", refusal.why),
    }
}

/// Compares what a survey says with what the fill knows.
fn compare(truth: &Truth, first: Option<&Value>, last: &Value) -> String {
    let number = |value: &Value, name: &str| value[name].as_f64().unwrap_or(f64::NAN);
    let mut said = Vec::new();
    if let Some(first) = first {
        // The fill does not know the bytes of those that match a pattern.
        if first["pattern"].is_null() {
            said.push(format!(
                "first answer: bytes {:+.2} % of the truth, no TTL {:.0} [{:.0}–{:.0}] of {}",
                (number(first, "bytes") / truth.bytes as f64 - 1.0) * 100.0,
                number(first, "endless_keys"),
                number(first, "endless_keys_low"),
                number(first, "endless_keys_high"),
                truth.endless
            ));
        }
    }
    if last["exact"] == Value::Bool(true) {
        let mut wrong = Vec::new();
        for (name, expected) in [
            ("keys", truth.keys),
            ("bytes", truth.bytes),
            ("endless_keys", truth.endless),
            ("endless_bytes", truth.endless_bytes),
        ] {
            let got = number(last, name);
            if last["weighed"] == Value::Bool(true) && got != expected as f64 {
                let (low, high) = (number(last, "bytes_low"), number(last, "bytes_high"));
                if name == "bytes" && low < high {
                    let off = (got / expected as f64 - 1.0) * 100.0;
                    let within = (high / got - 1.0) * 100.0;
                    said.push(format!("one key in eight weighed: bytes {off:+.2} % of the truth, ± {within:.2} %"));
                } else {
                    wrong.push(format!("{name} {got} ≠ {expected}"));
                }
            }
        }
        for (prefix, expected) in &truth.prefixes {
            let got = last["prefixes"].as_array().into_iter().flatten().find(|row| row["prefix"] == **prefix);
            if got.is_some_and(|row| row["keys"] != *expected as f64) {
                wrong.push(format!("{prefix} {} ≠ {expected}", got.map_or(&Value::Null, |row| &row["keys"])));
            }
        }
        said.push(if wrong.is_empty() {
            "exact totals equal the truth".to_owned()
        } else {
            format!("WRONG: {}", wrong.join(", "))
        });
    }
    let server = &last["servers"][0];
    said.push(format!(
        "busy {:.0} → {:.0} %, {:.1} µs/key, stepped back {}",
        server["busy_before"].as_f64().unwrap_or(0.0) * 100.0,
        server["busy_most"].as_f64().unwrap_or(0.0) * 100.0,
        server["us_per_key"].as_f64().unwrap_or(0.0),
        server["stepped_back"]
    ));
    said.join("; ")
}

fn median(list: &mut [f64]) -> f64 {
    list.sort_by(f64::total_cmp);
    list.get(list.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() {
    let options = options();
    println!("filling a Redis with {} keys …", options.keys);
    let redis = Redis::start(&["--slowlog-log-slower-than", "1000", "--slowlog-max-len", "1000"]);
    let began = Instant::now();
    let truth = fill(&redis, options.keys);
    let info = redis.connect().ask(&["INFO", "memory"]);
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory_human:")).unwrap_or("?");
    println!(
        "filled in {:.0} s: {used} used, {} bytes by MEMORY USAGE, {} keys without TTL; foreground {PACE} GET/s\n",
        began.elapsed().as_secs_f64(),
        truth.bytes,
        truth.endless
    );
    if options.pin {
        redis.pin();
    }
    if options.sweep {
        return sweep(&redis, &options, &truth);
    }
    let us = Us::at(&redis, options.pace, options.threads);
    let port = redis.port.to_string();
    let cli = |program: &str, words: &[&str]| {
        let out = Command::new(program).args(["-p", &port]).args(words).output().expect("redis-cli is installed");
        assert!(out.status.success(), "{program} {words:?}");
    };
    let redis = &redis;
    let newer = std::env::var("REDIS_CLI_8").ok();
    type Tool<'a> = (String, Box<dyn FnMut() -> (Option<f64>, String) + 'a>);
    let mut tools: Vec<Tool<'_>> = Vec::new();
    let (ours, truth_ref) = (&us, &truth);
    let mut add_ours = |name: &str, what: Survey, options: Vec<(&'static str, &'static str)>| {
        tools.push((
            format!("rediscue {name}"),
            Box::new(move || {
                let (first_s, first, last) = ours.survey(what, &options);
                (first_s, compare(truth_ref, first.as_ref(), &last))
            }),
        ));
    };
    add_ours("first answer only", Survey::Bigkeys, vec![("sample", "true")]);
    add_ours("bigkeys", Survey::Bigkeys, vec![]);
    add_ours("bigkeys --lengths", Survey::Bigkeys, vec![("lengths", "true")]);
    add_ours("memkeys", Survey::Memkeys, vec![]);
    add_ours("ttl-audit", Survey::TtlAudit, vec![]);
    add_ours("keys session:*", Survey::Keys, vec![("pattern", "session:*")]);
    let seconds = options.keys / 100_000;
    tools.push((
        "control: one key, all the while".to_owned(),
        Box::new(move || {
            one_key_all_the_while(&mut redis.connect(), Duration::from_secs(seconds.max(1)));
            (None, String::new())
        }),
    ));
    if options.peers {
        for words in [vec!["--bigkeys"], vec!["--memkeys"]] {
            let cli = &cli;
            tools.push((
                format!("redis-cli {}", words.join(" ")),
                Box::new(move || {
                    cli("redis-cli", &words);
                    (None, String::new())
                }),
            ));
        }
        if let Some(newer) = &newer {
            for words in [
                vec!["--bigkeys", "--count", "1000"],
                vec!["--keystats"],
                vec!["--keystats", "--count", "100"],
                vec!["--keystats", "--count", "1000"],
            ] {
                let cli = &cli;
                tools.push((
                    format!("redis-cli 8 {}", words.join(" ")),
                    Box::new(move || {
                        cli(newer, &words);
                        (None, String::new())
                    }),
                ));
            }
        } else {
            println!("redis-cli 8 is left out: set REDIS_CLI_8 to its path\n");
        }
    }
    if let Some(only) = &options.once {
        tools.retain(|(name, _)| name.contains(only.as_str()));
    }
    let mut costs: Vec<Vec<Cost1>> = vec![Vec::new(); tools.len()];
    for round in 0..options.rounds {
        for ((name, tool), costs) in tools.iter_mut().zip(&mut costs) {
            let cost = measured(redis, &options, tool);
            println!(
                "round {} {name}: {:.2} s{}, {:.1} µs/key, p50 {:.0} → {:.0}, p95 {:.0} → {:.0}, p99 {:.0} → {:.0} µs (× {:.2}), {} slow. {}",
                round + 1,
                cost.wall,
                cost.first.map_or(String::new(), |first| format!(" (first after {first:.3})")),
                cost.server_us,
                cost.p[0].p50,
                cost.p[1].p50,
                cost.p[0].p95,
                cost.p[1].p95,
                cost.p[0].p99,
                cost.p[1].p99,
                cost.times(|waits| waits.p99),
                cost.slow,
                cost.note
            );
            costs.push(cost);
        }
    }
    println!("\n| looking | wall s | first s | server µs/key | p50 × | p95 × | p99 × | commands > 1 ms |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut walls = BTreeMap::new();
    for ((name, _), costs) in tools.iter().zip(&costs) {
        let of = |figure: &dyn Fn(&Cost1) -> f64| median(&mut costs.iter().map(figure).collect::<Vec<_>>());
        let wall = of(&|cost| cost.wall);
        let first = of(&|cost| cost.first.unwrap_or(f64::NAN));
        walls.insert(name.clone(), (wall, first));
        println!(
            "| {name} | {wall:.2} | {} | {:.1} | {:.2} | {:.2} | {:.2} | {} |",
            if first.is_nan() { "–".to_owned() } else { format!("{first:.3}") },
            of(&|cost| cost.server_us),
            of(&|cost| cost.times(|waits| waits.p50)),
            of(&|cost| cost.times(|waits| waits.p95)),
            of(&|cost| cost.times(|waits| waits.p99)),
            costs.iter().map(|cost| cost.slow).max().unwrap_or(0)
        );
    }
    let bigkeys = walls.get("redis-cli --bigkeys").map(|(wall, _)| *wall);
    if let (Some(theirs), Some((ours, first))) = (bigkeys, walls.get("rediscue bigkeys")) {
        let sooner = match first.is_nan() {
            true => "no first answer (so few keys are counted at once)".to_owned(),
            false => format!("first answer {:.0}× sooner than redis-cli --bigkeys", theirs / first),
        };
        println!("\n{sooner}, the exact one {:.1}×", theirs / ours);
    }
    if options.shell && options.once.is_none() {
        shell(redis, &options, &walls);
    }
}

/// The same survey at several paces, to choose one: what others wait against how long it takes.
fn sweep(redis: &Redis, options: &Options, truth: &Truth) {
    let mut rows = Vec::new();
    for lanes in [1, 2] {
        for in_flight_us in [50.0, 80.0, 110.0, 150.0] {
            for busy in [0.6, 0.75] {
                rows.push((Limits { lanes, in_flight_us, busy, ..options.pace }, Vec::new()));
            }
        }
    }
    for round in 0..options.rounds {
        for (pace, costs) in &mut rows {
            let us = Us::at(redis, *pace, options.threads);
            let cost = measured(redis, options, &mut || {
                let (first_s, first, last) = us.survey(Survey::Memkeys, &[]);
                (first_s, compare(truth, first.as_ref(), &last))
            });
            println!(
                "round {} lanes {}, {} µs in flight, busy {}: {:.2} s, p95 × {:.2}, p99 × {:.2}. {}",
                round + 1,
                pace.lanes,
                pace.in_flight_us,
                pace.busy,
                cost.wall,
                cost.times(|waits| waits.p95),
                cost.times(|waits| waits.p99),
                cost.note
            );
            costs.push(cost);
        }
    }
    println!(
        "\n| memkeys: lanes | in flight µs | busy | wall s | server µs/key | p50 × | p95 × | p99 × |\n|---|---|---|---|---|---|---|---|"
    );
    for (pace, costs) in &rows {
        let of = |figure: &dyn Fn(&Cost1) -> f64| median(&mut costs.iter().map(figure).collect::<Vec<_>>());
        println!(
            "| {} | {} | {} | {:.2} | {:.1} | {:.2} | {:.2} | {:.2} |",
            pace.lanes,
            pace.in_flight_us,
            pace.busy,
            of(&|cost| cost.wall),
            of(&|cost| cost.server_us),
            of(&|cost| cost.times(|waits| waits.p50)),
            of(&|cost| cost.times(|waits| waits.p95)),
            of(&|cost| cost.times(|waits| waits.p99))
        );
    }
}

/// The runbooks' loops, on a slice, as they are written there: a process per key.
fn shell(redis: &Redis, options: &Options, walls: &BTreeMap<String, (f64, f64)>) {
    let scan = format!(
        "redis-cli -p {0} --scan --pattern 'session:*' | head -{1} | while read key; do",
        redis.port, options.slice
    );
    let run = |name: &str, rest: String| {
        let began = Instant::now();
        let out = ground::anywhere(&format!("{scan} {rest}"), options.pin).output().unwrap();
        let per_key = began.elapsed().as_secs_f64() / options.slice as f64;
        let whole = per_key * options.keys as f64;
        println!(
            "\nshell loop `{name}` on {} keys: {:.1} ms a key, {} found; for all {} keys {:.0} min (extrapolated)",
            options.slice,
            per_key * 1e3,
            String::from_utf8_lossy(&out.stdout).trim(),
            options.keys,
            whole / 60.0
        );
        whole
    };
    let whole = run(
        "scan | while read; do redis-cli ttl",
        format!("redis-cli -p {} ttl \"$key\"; done | grep -c '^-1'", redis.port),
    );
    if let Some((wall, first)) = walls.get("rediscue ttl-audit") {
        let sooner = if first.is_nan() { String::new() } else { format!(", its first answer {:.0}×", whole / first) };
        println!("ttl-audit finds them {:.0}× sooner{sooner}", whole / wall);
    }
    if Command::new("jq").arg("--version").stdout(Stdio::null()).status().is_err() {
        return println!("\nthe loop with jq is left out: jq is not installed");
    }
    run(
        "scan | while read; do redis-cli get | jq -e '.organisationId == …'",
        format!(
            "redis-cli -p {} get \"$key\" | jq -e '.organisationId == \"org7\"' >/dev/null && echo \"$key\"; done | grep -c .",
            redis.port
        ),
    );
}
