//! Removing keys while somebody else uses the server: us, with and without a way back, and the loops people type.
//!
//! Its flags, and what it prints, are in `benches/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench is a program for people at a terminal"
)]

mod ground;

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use ground::{BEFORE, DURING, Foreground, PACE, Redis, Waits, mix};
use rediscue::{
    exec::{
        Exec, ExecSettings, Hands, Looking, Touched,
        aside::{CountFor, Meant, Watched},
    },
    keyspace::pace::Limits,
    model::{
        Address, Credential, Deployment, Environment, Identity, Instance, Place, PlaceKind, Platform, RunId, Service,
    },
    policy::{CommandSet, Consent, Grant, Only, Person, Policy, Role, Rules, Said, TouchPermit},
    runbook::{self, Change, Cost, Kept, Kind, PLAN_VERSION, Plan, PlanStep, PlanTarget, Reach, Risk, Select, Undo},
    store::{Store, StoreSettings},
};

fn connection(redis: &Redis) -> redis::Connection {
    redis::Client::open(("127.0.0.1", redis.port)).unwrap().get_connection().unwrap()
}

/// Sessions of a hundred organisations, one in ten without a deadline, and so many that are to go.
fn fill(redis: &Redis, keys: u64, doomed: u64) {
    let mut connection = connection(redis);
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

fn count(redis: &Redis) -> u64 {
    redis::cmd("DBSIZE").query(&mut connection(redis)).unwrap()
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
    async fn at(redis: &Redis, pace: Option<Limits>) -> Self {
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
        let info: String = redis::cmd("INFO").arg("server").query(&mut connection(redis)).unwrap();
        let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap().trim().to_owned();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(StoreSettings::in_dir(dir.path())).await.unwrap();
        Self {
            exec: Exec::new(ExecSettings {
                changing: pace.unwrap_or_else(Limits::changing),
                ..ExecSettings::default()
            }),
            store,
            service: Arc::new(service),
            address,
            run_id,
            runs: 0,
            _dir: dir,
        }
    }

    /// What a bot counts to show a plan, and keeps true while people look at it.
    async fn count_for_a_plan(&mut self, change: &Change) -> Vec<Watched> {
        let (_, permit) = self.permitted(change.clone());
        let Change::RemoveKeys { select, now_ms, .. } = change else { panic!("keys are removed here") };
        let of = (&self.service, &self.service.instances[0]);
        let count = CountFor::Plan { watched: true };
        let counted = self.exec.measure(permit.look(), of, (select, None), *now_ms, count, &looking()).await.unwrap();
        let on: Vec<_> = counted.into_iter().filter_map(|(address, found)| Some((address, found.watch?))).collect();
        assert!(!on.is_empty(), "this server tells what is written");
        vec![Watched { select: select.clone(), on }]
    }

    /// What a bot does once a plan has its consents: it sees what is meant now, and removes it. How it went, and how
    /// long the first took.
    async fn touch(&mut self, change: Change, watched: &[Watched]) -> (Touched, Duration) {
        let (plan, permit) = self.permitted(change);
        let (cx, instance) = (looking(), &self.service.instances[0]);
        let Change::RemoveKeys { select, now_ms, .. } = &plan.steps[0].change else { panic!("keys are removed here") };
        let start = Instant::now();
        let (of, count) = ((&self.service, instance), CountFor::Run { watched });
        let counted = self.exec.measure(permit.look(), of, (select, None), *now_ms, count, &cx).await.unwrap();
        let on = counted.into_iter().filter_map(|(address, found)| Some((address, found.names?))).collect();
        let meant = [Meant { select: select.clone(), on }];
        let counting = start.elapsed();
        let hands = Hands { instance, address: &self.address, store: &self.store, meant: &meant, cx: &cx };
        (self.exec.touch(&permit, &plan, 0, &hands).await, counting)
    }

    /// A plan of one step that somebody consented to.
    fn permitted(&mut self, change: Change) -> (Plan, Box<TouchPermit>) {
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
        (plan, permit)
    }
}

fn looking() -> Looking {
    Looking {
        deadline: Instant::now() + Duration::from_secs(3_600),
        call: Duration::from_secs(5),
        stop: Default::default(),
        progress: None,
        partial: None,
    }
}

fn walk(redis: &Redis) {
    let mut client = redis.connect();
    let mut cursor = "0".to_owned();
    loop {
        let page = client.ask(&["SCAN", &cursor, "MATCH", "doomed:*", "COUNT", "500"]);
        cursor = page.lines().next().unwrap().to_owned();
        if cursor == "0" {
            return;
        }
    }
}

fn shell(redis: &Redis, line: &str, how: impl Fn(&str) -> Command) -> Duration {
    let start = Instant::now();
    let line = line.replace("redis-cli", &format!("redis-cli -p {}", redis.port));
    let status = how(&line).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{line}");
    start.elapsed()
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// What one round came to.
struct Round {
    wall: f64,
    /// Of it, until it was known what is to go.
    counting: f64,
    /// Before it, to count what was shown to people.
    planning: f64,
    /// What the server took for it, in seconds of its main thread, the foreground's share taken off.
    server: f64,
    /// Before and during.
    waits: [Waits; 2],
}

/// How it is done.
#[derive(Clone, Copy)]
enum Way {
    /// As people do it who know that KEYS blocks: what the others are compared with.
    Pipe,
    /// As the runbooks do it.
    Keys,
    /// Names alone, and nothing is removed: no removal that walks is faster than this.
    Walk,
    /// What the plan counted is kept true, as far as the server tells.
    Ours(Kept),
    /// It is not, and all is walked again once people have consented.
    Walked(Kept),
}

/// One way, and its rounds.
struct Row {
    what: &'static str,
    way: Way,
    undo: &'static str,
    rounds: Vec<Round>,
}

impl Row {
    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        let mut all: Vec<f64> = self.rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn times(&self, of: impl Fn(&Waits) -> f64) -> f64 {
        self.median(|round| of(&round.waits[1]) / of(&round.waits[0]))
    }
}

struct Options {
    keys: u64,
    doomed: u64,
    slice: u64,
    rounds: usize,
    pin: bool,
    only: Option<String>,
    pace: Option<Limits>,
}

fn options() -> Options {
    let (keys, doomed) = (1_000_000, 150_000);
    let mut options = Options { keys, doomed, slice: 300, rounds: 5, pin: true, only: None, pace: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut text = || words.next().unwrap_or_else(|| panic!("{word} wants a value")).replace('_', "");
        let mut number = || text().parse::<f64>().unwrap_or_else(|_| panic!("{word} wants a number"));
        let pace = options.pace.unwrap_or_else(Limits::changing);
        match word.as_str() {
            "--keys" => {
                options.keys = number() as u64;
                options.doomed = options.keys * 15 / 100;
            }
            "--slice" => options.slice = number() as u64,
            "--rounds" => options.rounds = (number() as usize).max(1),
            "--only" => options.only = Some(text()),
            "--shared" => options.pin = false,
            "--in-flight" => options.pace = Some(Limits { in_flight_us: number(), ..pace }),
            "--busy" => options.pace = Some(Limits { busy: number(), ..pace }),
            "--most-keys" => options.pace = Some(Limits { most_keys: number() as usize, ..pace }),
            _ => {}
        }
    }
    options
}

fn foreground(redis: &Redis, options: &Options) -> Foreground {
    let (doomed, others) = (options.doomed, options.keys - options.doomed);
    Foreground::start(redis, move |n| format!("session:{}", doomed + mix(n) % others), options.pin)
}

/// A server that was never anything else: in one that was emptied keys lie where others lay, and all takes longer.
async fn anew(options: &Options) -> (Redis, Hand) {
    let redis = Redis::start(&[]);
    if options.pin {
        redis.pin();
    }
    let hand = Hand::at(&redis, options.pace).await;
    fill(&redis, options.keys, options.doomed);
    (redis, hand)
}

/// One way, once, with the foreground there before and during.
async fn measured(options: &Options, row: &Row) -> Round {
    let &Options { keys, doomed, .. } = options;
    let (redis, mut hand) = anew(options).await;
    let redis = &redis;
    let foreground = foreground(redis, options);
    let removal = |keep| Change::RemoveKeys { select: Select::matching("doomed:*"), now_ms: 0, keys: doomed, keep };
    let start = Instant::now();
    let watched = match row.way {
        Way::Ours(keep) => hand.count_for_a_plan(&removal(keep)).await,
        _ => Vec::new(),
    };
    let planning = start.elapsed();
    tokio::time::sleep(Duration::from_millis(300)).await;
    foreground.phase(BEFORE);
    let idle = redis.cpu_seconds();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = redis.cpu_seconds();
    foreground.phase(DURING);
    let start = Instant::now();
    let mut counting = Duration::ZERO;
    match row.way {
        Way::Pipe => {
            shell(redis, "redis-cli --scan --pattern 'doomed:*' | xargs -n100 redis-cli unlink", ground::shell);
        }
        Way::Keys => {
            shell(redis, "redis-cli keys 'doomed:*' | xargs redis-cli del", ground::shell);
        }
        Way::Walk => walk(redis),
        Way::Ours(keep) | Way::Walked(keep) => {
            let (touched, took) = hand.touch(removal(keep), &watched).await;
            assert!(matches!(touched, Touched::Verified(_)), "{touched:?}");
            counting = took;
        }
    }
    let wall = start.elapsed().as_secs_f64();
    let server = redis.cpu_seconds() - before - (before - idle) / 2.0 * wall;
    let waits = foreground.end();
    if !matches!(row.way, Way::Walk | Way::Ours(Kept::Aside(_)) | Way::Walked(Kept::Aside(_))) {
        assert_eq!(count(redis), keys - doomed, "{}", row.what);
    }
    Round { wall, counting: counting.as_secs_f64(), planning: planning.as_secs_f64(), server, waits }
}

/// Purging by a field of JSON values, and the loop that people type instead.
async fn by_field(options: &Options) {
    let looked_at = options.keys - options.doomed;
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let (redis, mut hand) = anew(options).await;
        let foreground = foreground(&redis, options);
        let select = Select { predicate: Some("organisationId = org-7".into()), ..Select::matching("session:*") };
        let change = Change::RemoveKeys { select, now_ms: 0, keys: looked_at / 100, keep: Kept::Snapshot };
        let start = Instant::now();
        let (touched, _) = hand.touch(change, &[]).await;
        assert!(matches!(touched, Touched::Verified(_)), "{touched:?}");
        ours.push(start.elapsed().as_secs_f64() * 1e6 / looked_at as f64);
        print!("round {}: by JSON field, in a snapshot: {:.1} µs a key looked at", round + 1, ours[round]);
        if has("redis-cli") && has("jq") {
            let slice = options.slice;
            let line = format!(
                "for key in $(redis-cli --scan --pattern 'session:*' | head -n {slice}); do \
                   org=$(redis-cli get \"$key\" | jq -r .organisationId); \
                   if [ \"$org\" == org-8 ]; then echo \"Deleting $key\"; redis-cli del \"$key\"; fi; \
                 done"
            );
            peers.push(
                shell(&redis, &line, |line| ground::anywhere(line, options.pin)).as_secs_f64() * 1e6 / slice as f64,
            );
            print!("; the loop of redis-cli and jq, on {slice}: {:.0} µs", peers[round]);
        }
        println!();
        foreground.end();
    }
    let median = |list: &mut Vec<f64>| {
        list.sort_by(f64::total_cmp);
        list.get(list.len() / 2).copied()
    };
    if let (Some(ours), Some(peer)) = (median(&mut ours), median(&mut peers)) {
        println!(
            "by JSON field: {ours:.1} µs a key, the loop {peer:.0} µs (extrapolated): {:.0} × as fast",
            peer / ours
        );
    }
}

#[tokio::main]
async fn main() {
    let options = options();
    println!("{} keys, {} to remove, a foreground of {PACE} GET/s\n", options.keys, options.doomed);
    let mut rows: Vec<Row> = [
        ("redis-cli --scan, xargs -n100 unlink", Way::Pipe, "none"),
        ("redis-cli keys, xargs del", Way::Keys, "none"),
        ("SCAN alone, nothing removed", Way::Walk, "–"),
        ("ours, nothing watched, --no-undo", Way::Walked(Kept::Nothing), "none"),
        ("ours, nothing watched, in a snapshot", Way::Walked(Kept::Snapshot), "full"),
        ("ours, nothing watched, --aside", Way::Walked(Kept::Aside(3_600_000)), "full"),
        ("ours, --no-undo", Way::Ours(Kept::Nothing), "none"),
        ("ours, in a snapshot", Way::Ours(Kept::Snapshot), "full"),
        ("ours, --aside", Way::Ours(Kept::Aside(3_600_000)), "full"),
    ]
    .into_iter()
    .map(|(what, way, undo)| Row { what, way, undo, rounds: Vec::new() })
    .filter(|row| !matches!(row.way, Way::Pipe | Way::Keys) || has("redis-cli"))
    .filter(|row| options.only.as_ref().is_none_or(|only| only.split('|').any(|only| row.what.contains(only))))
    .collect();
    for round in 0..options.rounds {
        for row in &mut rows {
            let cost = measured(&options, row).await;
            let [before, during] = cost.waits;
            println!(
                "round {} {}: {:.2} s ({:.2} s before for the plan; counted after {:.2} s; server {:.2} s), p50 {:.0} → {:.0}, p95 {:.0} → {:.0}, p99 {:.0} → {:.0} µs",
                round + 1,
                row.what,
                cost.wall,
                cost.planning,
                cost.counting,
                cost.server,
                before.p50,
                during.p50,
                before.p95,
                during.p95,
                before.p99,
                during.p99,
            );
            row.rounds.push(cost);
        }
    }
    println!(
        "\n| removing {} of {} | wall s | of it counting | before it, for the plan | µs/key | p50 × | p95 × | p99 × | undo |\n\
         |---|---|---|---|---|---|---|---|---|",
        options.doomed, options.keys
    );
    for row in &rows {
        let wall = row.median(|round| round.wall);
        println!(
            "| {} | {wall:.2} | {:.2} | {:.2} | {:.1} | {:.2} | {:.2} | {:.2} | {} |",
            row.what,
            row.median(|round| round.counting),
            row.median(|round| round.planning),
            wall * 1e6 / options.doomed as f64,
            row.times(|waits| waits.p50),
            row.times(|waits| waits.p95),
            row.times(|waits| waits.p99),
            row.undo
        );
    }
    if let Some(peer) = rows.iter().find(|row| matches!(row.way, Way::Pipe)) {
        let peer = peer.median(|round| round.wall);
        for row in rows.iter().filter(|row| !matches!(row.way, Way::Pipe)) {
            let times = |of: &dyn Fn(&Round) -> f64| peer / row.median(of);
            print!("{}: {:.1} × as fast as the pipe", row.what, times(&|round| round.wall));
            match row.way {
                Way::Walked(_) => println!("; once counted, {:.1} ×", times(&|round| round.wall - round.counting)),
                Way::Ours(_) => {
                    println!("; with the plan's own count, {:.1} ×", times(&|round| round.wall + round.planning))
                }
                _ => println!(),
            }
        }
    }
    if options.only.as_ref().is_none_or(|only| only == "field") {
        println!();
        by_field(&options).await;
    }
}
