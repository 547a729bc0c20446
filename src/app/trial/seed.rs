//! Some forty thousand keys of five services, and some trouble.
//!
//! Everything comes from one fixed seed: the same keys each time, so that what
//! a tutorial or a test says about them stays true. Nobody's data: names are
//! made up, addresses end in `.example`.

use std::io;

use super::resp::{Conversation, command};

/// Logical databases, one a service.
pub(super) const PROSPECTFLOW: u32 = 0;
pub(super) const GODEL: u32 = 1;
pub(super) const SOMABRAIN: u32 = 2;
pub(super) const ONESOURCE: u32 = 3;
pub(super) const OLUMI: u32 = 4;

/// Of the memory limit, what the data takes.
const FULL: f64 = 0.92;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// SplitMix64: a few lines, and the same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn uuid(&mut self) -> String {
        let (a, b) = (self.roll(), self.roll());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 50),
            b & 0xffff_ffff_ffff
        )
    }
}

/// The session ids the traffic asks for, the same ones [`fill`] writes first.
pub(super) fn session_keys(count: usize) -> Vec<String> {
    let mut dice = Dice(1);
    (0..count).map(|_| format!("session:{}", dice.uuid())).collect()
}

/// Fills an empty server. Blocks; some hundreds of milliseconds.
pub(super) fn fill(port: u16, password: &str) -> io::Result<()> {
    let mut redis = Conversation::open(port, password, "rediscue-try-seed")?;
    let now = jiff::Timestamp::now().as_millisecond().unsigned_abs();
    let mut commands = Vec::with_capacity(24 << 20);
    prospectflow(&mut commands, now);
    godel(&mut commands, now);
    somabrain(&mut commands, now);
    onesource(&mut commands, now);
    olumi(&mut commands);
    redis.pour(&commands)?;
    trouble(&mut redis)?;
    near_the_limit(&mut redis)
}

fn select(out: &mut Vec<u8>, database: u32) {
    command(out, &["SELECT", &database.to_string()]);
}

/// `session:<uuid>`: JSON, 24 h. Some have lost their TTL long ago.
fn prospectflow(out: &mut Vec<u8>, now: u64) {
    const ROLES: [&str; 3] = ["member", "admin", "viewer"];
    select(out, PROSPECTFLOW);
    let mut dice = Dice(2);
    for (at, key) in session_keys(12_000).into_iter().enumerate() {
        // One in twenty was written by a code path that forgot the TTL.
        let forgotten = at % 20 == 7;
        let age = if forgotten { DAY_MS + dice.below(90 * DAY_MS) } else { dice.below(DAY_MS - HOUR_MS) };
        let session = format!(
            r#"{{"userId":"user-{:05}","email":"user{:05}@prospectflow.example","organisationId":"org-{:03}","role":"{}","createdAt":{},"lastSeenAt":{},"csrf":"{:016x}","flags":["beta","digest"]}}"#,
            dice.below(9000),
            dice.below(9000),
            // A few organisations are large.
            dice.below(40).min(dice.below(40)),
            dice.pick(&ROLES),
            now - age,
            now - age / 3,
            dice.roll(),
        );
        if forgotten {
            command(out, &["SET", &key, &session]);
        } else {
            command(out, &["SET", &key, &session, "PX", &(DAY_MS - age).to_string()]);
        }
    }
}

/// Queues as lists, dead letters as one key each, a cache that expires.
fn godel(out: &mut Vec<u8>, now: u64) {
    const KINDS: [&str; 4] = ["page_view", "checkout", "signup", "export"];
    select(out, GODEL);
    let mut dice = Dice(3);
    let event = |dice: &mut Dice, age: u64| {
        format!(
            r#"{{"id":"{}","kind":"{}","tenant":"t{:03}","queuedAt":{},"attempts":{}}}"#,
            dice.uuid(),
            dice.pick(&KINDS),
            dice.below(120),
            now - age,
            dice.below(3),
        )
    };
    for (key, length) in [("godel:queue:pending", 1_840), ("godel:queue:processing", 12)] {
        for _ in 0..length {
            let age = dice.below(2 * HOUR_MS);
            let event = event(&mut dice, age);
            command(out, &["RPUSH", key, &event]);
        }
    }
    for at in 0..8_600_u32 {
        let age = HOUR_MS + dice.below(20 * DAY_MS);
        let event = event(&mut dice, age);
        let letter = format!(r#"{{"error":"timeout after 3 attempts","event":{event}}}"#);
        command(out, &["SET", &format!("godel:queue:dead:{at:06}"), &letter]);
    }
    for _ in 0..2_500 {
        let key = format!("godel:cache:page:{:012x}", dice.roll() >> 16);
        let ttl = (1 + dice.below(600)).to_string();
        command(out, &["SET", &key, &"x".repeat(180), "EX", &ttl]);
    }
}

/// `tenant:<name>:wm:<id>`: hashes, an hour. One archive has grown without end.
fn somabrain(out: &mut Vec<u8>, now: u64) {
    const TENANTS: [&str; 12] = [
        "production_agent",
        "acme",
        "borealis",
        "cobalt",
        "delphi",
        "ember",
        "fjord",
        "granite",
        "harbor",
        "old_tenant",
        "juniper",
        "kestrel",
    ];
    select(out, SOMABRAIN);
    let mut dice = Dice(4);
    for at in 0..6_000_u32 {
        // `old_tenant` left; nobody removed its memory.
        let tenant = TENANTS[dice.below(12) as usize];
        let id = if at < 12 { "active".to_owned() } else { format!("{:08x}", dice.roll() >> 32) };
        let tenant = if at < 12 { TENANTS[at as usize] } else { tenant };
        let key = format!("tenant:{tenant}:wm:{id}");
        let salience = format!("0.{:03}", dice.below(1000));
        let updated = (now - dice.below(HOUR_MS)).to_string();
        let thought = format!("observation {:08x} about task {}", dice.roll() >> 32, dice.below(400));
        command(
            out,
            &["HSET", &key, "content", &thought, "salience", &salience, "updatedAt", &updated, "kind", "episodic"],
        );
        if tenant != "old_tenant" {
            let ttl = (600 + dice.below(3000)).to_string();
            command(out, &["EXPIRE", &key, &ttl]);
        }
    }
    for chunk in 0..400_u32 {
        let mut words = vec!["HSET".to_owned(), "tenant:production_agent:wm:archive".to_owned()];
        for field in 0..100 {
            words.push(format!("memory:{:06}", chunk * 100 + field));
            words.push(format!("consolidated observation {:016x} {:016x}", dice.roll(), dice.roll()));
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        command(out, &words);
    }
}

/// `conv:<id>`: lists of turns, 30 days.
fn onesource(out: &mut Vec<u8>, now: u64) {
    const SAID: [&str; 4] = [
        "How do I reset the export schedule for my team?",
        "You can do that under Settings, Exports. Shall I open it for you?",
        "Yes please, and tell me who changed it last.",
        "It was last changed by somebody in your organisation three days ago.",
    ];
    select(out, ONESOURCE);
    let mut dice = Dice(5);
    for _ in 0..5_000 {
        let key = format!("conv:{}", dice.uuid());
        let age = dice.below(29 * DAY_MS);
        let turns: Vec<String> = (0..2 + dice.below(6) as usize)
            .map(|turn| {
                let role = if turn % 2 == 0 { "user" } else { "assistant" };
                let at = now - age + turn as u64 * 9_000;
                format!(r#"{{"role":"{role}","at":{at},"content":"{}"}}"#, SAID[turn % SAID.len()])
            })
            .collect();
        let mut words = vec!["RPUSH", &key];
        words.extend(turns.iter().map(String::as_str));
        command(out, &words);
        command(out, &["PEXPIRE", &key, &(30 * DAY_MS - age).to_string()]);
    }
}

/// `sse:state:*` and `sse:snapshot:*`: strings, 15 minutes. Some were orphaned without a TTL.
fn olumi(out: &mut Vec<u8>) {
    select(out, OLUMI);
    let mut dice = Dice(6);
    for at in 0..4_400_u32 {
        let key = format!("sse:state:{}", dice.uuid());
        let state = format!(
            r#"{{"seq":{},"lastEventId":"{:016x}","stage":"draft","buffered":{}}}"#,
            dice.below(900),
            dice.roll(),
            dice.below(20)
        );
        if at % 10 == 3 {
            command(out, &["SET", &key, &state]);
        } else {
            command(out, &["SET", &key, &state, "EX", &(30 + dice.below(870)).to_string()]);
        }
    }
    for _ in 0..600 {
        let key = format!("sse:snapshot:{}", dice.uuid());
        command(out, &["SET", &key, &"graph ".repeat(60), "EX", &(30 + dice.below(870)).to_string()]);
    }
    for _ in 0..300 {
        let key = format!("ratelimit:{:08x}", dice.roll() >> 32);
        command(out, &["SET", &key, &dice.below(60).to_string(), "EX", &(1 + dice.below(60)).to_string()]);
    }
}

/// What an operator should find.
fn trouble(redis: &mut Conversation) -> io::Result<()> {
    // What filling took is nobody's trouble.
    redis.ask(&["SLOWLOG", "RESET"])?;
    redis.ask(&["CLIENT", "SETNAME", "reports-cron"])?;
    // Somebody's report, run against production: a slow script …
    redis.ask(&["SELECT", &SOMABRAIN.to_string()])?;
    let report = "local n = 0 for i = 1, 2500000 do n = n + i % 7 end return n";
    redis.ask(&["EVAL", report, "1", "tenant:production_agent:wm:archive", "report=weekly"])?;
    // … and a walk over everything.
    redis.ask(&["SELECT", &GODEL.to_string()])?;
    redis.ask(&["EVAL", "return #redis.call('keys', 'godel:queue:dead:*')", "0"])?;
    redis.ask(&["SELECT", &PROSPECTFLOW.to_string()])?;
    redis.ask(&["KEYS", "session:*"])?;
    // Somebody tried a password: it is in the ACL log now.
    let _ = redis.ask(&["AUTH", "reports", "not-the-password"]);
    // Hits and misses, so that there is a ratio.
    let mut reads = Vec::new();
    for (at, key) in session_keys(1_200).iter().enumerate() {
        let absent = format!("session:gone-{at}");
        command(&mut reads, &["GET", if at % 7 == 0 { &absent } else { key }]);
    }
    redis.pour(&reads)
}

/// Sets the limit just above what is used, with a policy that refuses writes when it is reached.
fn near_the_limit(redis: &mut Conversation) -> io::Result<()> {
    let info = redis.ask(&["INFO", "memory"])?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse::<f64>().ok());
    let used = used.ok_or_else(|| io::Error::other("INFO does not say how much memory is used"))?;
    let limit = format!("{:.0}", used / FULL);
    redis.ask(&["CONFIG", "SET", "maxmemory", &limit])?;
    redis.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).map(|_| ())
}
