//! `Look::Monitor`: what a server is doing right now, for a moment.
//!
//! MONITOR costs the server a copy of everything it does, so it gets a
//! connection of its own, ends by time and by lines, and is not begun on a
//! server that is busy. Of each command its shape is kept, and of its keys what
//! people may see. What the bot itself asks meanwhile is left out.

use std::{
    collections::{HashMap, HashSet},
    sync::PoisonError,
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader},
    time::{Instant, timeout_at},
};

use crate::{
    diagnosis::{Explained, NetworkFault, NodeOutcome, Observation, redact},
    model::Progress,
};

use super::{
    Job, dial, failed,
    fault::{Fault, of_io, silence},
    rates,
    server::{Kind, Lane, Server},
    wire,
};

/// Of a line, this much is kept: enough for the command and its key.
const LINE: usize = 4096;
/// So many lines are shown.
const SAMPLE: usize = 20;
/// So many different commands and clients are counted by name.
const NAMES: usize = 200;
/// So many different keys are counted; of those that come later it is told that there are some.
const KEYS: usize = 10_000;
/// So many of them are told.
const KEYS_TOLD: usize = 50;
/// Longer names are not counted: a line may be cut in the middle of one.
const KEY: usize = 512;
/// What the bot calls its connections begins like this.
const OURS: &str = "rediscue-";

/// Carries it out at every primary, side by side, sharing the lines out.
pub(crate) async fn look(job: &Job, time: Duration, lines: u32) -> Observation {
    let start = Instant::now();
    let topology = match job.site.topology(job.budget).await {
        Ok(topology) => topology,
        Err(error) => return failed(error, start),
    };
    let servers: Vec<_> = topology.primaries().map(|member| job.site.server(&member.address, Kind::Data)).collect();
    let each = lines.div_ceil(u32::try_from(servers.len()).unwrap_or(1).max(1)).max(1);
    let (nodes, tallies): (Vec<_>, Vec<_>) = join_all(servers.iter().enumerate().map(async |(index, server)| {
        let begun = Instant::now();
        let result = listen(job, server, time, each, index == 0).await;
        let value = result.as_ref().map(Tally::tell).map_err(Clone::clone);
        (NodeOutcome { node: server.node(), result: value, took: begun.elapsed() }, result.ok())
    }))
    .await
    .into_iter()
    .unzip();
    let merged = match tallies.into_iter().flatten().reduce(Tally::join) {
        Some(tally) => {
            let mut book = job.site.keys.lock().unwrap_or_else(PoisonError::into_inner);
            tally.most_asked().for_each(|(_, key)| book.add(&key.name));
            Ok(tally.tell())
        }
        None => Err(nodes.iter().find_map(|node| node.result.as_ref().err().cloned()).unwrap_or_else(super::nobody)),
    };
    Observation { nodes, merged, took: start.elapsed() }
}

async fn listen(job: &Job, server: &Server, time: Duration, lines: u32, tell: bool) -> Result<Tally, Explained> {
    let explain = |fault: Fault| fault.explain(Some(&server.address), server.credential(), Some("MONITOR"));
    let _turn = super::own_turn(server, job.budget.until()).await.map_err(explain)?;
    check_busy(job, server).await?;
    let mut tally = Tally { ours: our_connections(job, server).await, ..Tally::default() };
    let mut stream = open(server, job.budget.until()).await.map_err(explain)?;
    let begun = Instant::now();
    let end = job.budget.end.min(begun + time);
    let mut told = begun;
    loop {
        let line = match timeout_at(end, line(&mut stream)).await {
            Err(_) => break,
            Ok(Ok(line)) => line,
            Ok(Err(_)) => {
                tally.stopped_by = "closed";
                break;
            }
        };
        tally.take(&line);
        if tally.lines >= u64::from(lines) {
            tally.stopped_by = "lines";
            break;
        }
        if tell && told.elapsed() > Duration::from_millis(500) {
            told = Instant::now();
            let _ = job.progress.send(Some(Progress {
                doing: "listening".into(),
                done: tally.lines,
                total: Some(u64::from(lines)),
                unit: "commands".into(),
                rate: Some(tally.lines as f64 / begun.elapsed().as_secs_f64()),
                left_s: Some(end.saturating_duration_since(told).as_secs_f64()),
            }));
        }
    }
    tally.seconds = begun.elapsed().as_secs_f64();
    Ok(tally)
}

/// Where our own connections to this server come from, as it sees them. Those made later are known by the name they
/// give themselves first.
async fn our_connections(job: &Job, server: &Server) -> HashSet<String> {
    let list = redis::cmd("CLIENT").arg("LIST").to_owned();
    let listed = server.ask_one(Lane::Look, &list, job.budget).await.ok();
    let text = listed.as_ref().and_then(Value::as_str).unwrap_or_default();
    let field = |line: &str, name: &str| {
        line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    };
    let ours = text.lines().filter(|line| field(line, "name").is_some_and(|name| name.starts_with(OURS)));
    ours.filter_map(|line| field(line, "addr")).collect()
}

async fn check_busy(job: &Job, server: &Server) -> Result<(), Explained> {
    let limit = job.site.settings.monitor_cpu_percent;
    let Some(busy) = rates::cpu_percent(server, Duration::from_millis(250), job.budget).await? else {
        return Err(Explained {
            code: "REFUSED-LOOK".into(),
            what: format!("I do not start MONITOR on {}: how busy it is cannot be seen", server.address),
            cause: "INFO does not tell its CPU time, and MONITOR can halve a busy server's throughput".into(),
            next: "use `slowlog` and `commandstats`, which cost nothing".into(),
        });
    };
    if busy > limit {
        return Err(Explained {
            code: "REFUSED-LOOK".into(),
            what: format!("I do not start MONITOR on {}: it uses {busy:.0} % of a core", server.address),
            cause: format!("above {limit:.0} % MONITOR would slow everybody down"),
            next: "use `slowlog` and `commandstats`, which cost nothing, or ask again when it is quieter".into(),
        });
    }
    Ok(())
}

type Reader = BufReader<dial::Stream>;

/// A connection of its own, in the protocol's plain form: the shared kind cannot carry what nobody asked for.
async fn open(server: &Server, until: Instant) -> Result<Reader, Fault> {
    let setup = server.setup(Lane::Monitor);
    let mut stream = BufReader::new(dial::dial(setup.address, setup.tls, until).await?);
    if let Some(auth) = wire::auth(setup.credential)? {
        ask(&mut stream, &auth, until).await?;
    }
    if !setup.client_denied {
        match ask(&mut stream, redis::cmd("CLIENT").arg("SETNAME").arg(setup.name), until).await {
            Ok(()) | Err(Fault::Server(_)) => {}
            Err(fault) => return Err(fault),
        }
    }
    ask(&mut stream, &redis::cmd("MONITOR"), until).await?;
    Ok(stream)
}

/// Sends a command that is answered by one line.
async fn ask(stream: &mut Reader, command: &redis::Cmd, until: Instant) -> Result<(), Fault> {
    let start = Instant::now();
    let exchange = async {
        stream.write_all(&command.get_packed_command()).await.map_err(|error| of_io(&error))?;
        stream.flush().await.map_err(|error| of_io(&error))?;
        let reply = line(stream).await?;
        match reply.strip_prefix('-') {
            Some(error) => Err(Fault::Server(error.to_owned())),
            None => Ok(()),
        }
    };
    timeout_at(until, exchange).await.unwrap_or_else(|_| Err(silence(start.elapsed())))
}

/// One line, its end dropped when it is long: a command may hold megabytes.
async fn line(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<String, Fault> {
    let mut kept = Vec::new();
    loop {
        let chunk = stream.fill_buf().await.map_err(|error| of_io(&error))?;
        if chunk.is_empty() {
            return Err(Fault::Network(NetworkFault::Closed));
        }
        let (part, used, done) = match chunk.iter().position(|&byte| byte == b'\n') {
            Some(end) => (&chunk[..end], end + 1, true),
            None => (chunk, chunk.len(), false),
        };
        kept.extend_from_slice(&part[..part.len().min(LINE.saturating_sub(kept.len()))]);
        stream.consume(used);
        if done {
            return Ok(String::from_utf8_lossy(&kept).trim_end_matches('\r').to_owned());
        }
    }
}

/// What was heard.
#[derive(Debug)]
struct Tally {
    lines: u64,
    seconds: f64,
    stopped_by: &'static str,
    commands: HashMap<String, u64>,
    clients: HashMap<String, u64>,
    /// By what people may see of its name.
    keys: HashMap<String, Asked>,
    /// There were more keys than are counted.
    more_keys: bool,
    sample: Vec<Value>,
    /// Connections whose lines are left out.
    ours: HashSet<String>,
}

/// A key that was asked for.
#[derive(Debug)]
struct Asked {
    name: String,
    times: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            lines: 0,
            seconds: 0.0,
            stopped_by: "time",
            commands: HashMap::new(),
            clients: HashMap::new(),
            keys: HashMap::new(),
            more_keys: false,
            sample: Vec::new(),
            ours: HashSet::new(),
        }
    }
}

impl Tally {
    fn take(&mut self, line: &str) {
        let Some(heard) = read(line) else { return };
        if heard.names_us {
            self.ours.insert(heard.from.clone());
        }
        if self.ours.contains(&heard.from) {
            return;
        }
        self.lines += 1;
        for key in heard.keys {
            self.key(&redact::key(&key), &key, 1);
        }
        count(&mut self.commands, &heard.name, 1);
        count(&mut self.clients, &heard.client, 1);
        if self.sample.len() < SAMPLE {
            self.sample
                .push(json!({"at": heard.at, "client": heard.client, "db": heard.database, "command": heard.shape}));
        }
    }

    fn key(&mut self, shown: &str, name: &str, times: u64) {
        if let Some(asked) = self.keys.get_mut(shown) {
            asked.times += times;
        } else if self.keys.len() < KEYS {
            self.keys.insert(shown.to_owned(), Asked { name: name.to_owned(), times });
        } else {
            self.more_keys = true;
        }
    }

    /// The keys asked for most, by what people may see of their names.
    fn most_asked(&self) -> impl Iterator<Item = (&str, &Asked)> {
        let mut all: Vec<(&str, &Asked)> = self.keys.iter().map(|(shown, asked)| (shown.as_str(), asked)).collect();
        all.sort_by(|a, b| b.1.times.cmp(&a.1.times).then(a.0.cmp(b.0)));
        all.into_iter().take(KEYS_TOLD)
    }

    fn join(mut self, other: Self) -> Self {
        self.lines += other.lines;
        self.seconds = self.seconds.max(other.seconds);
        if other.stopped_by != "time" {
            self.stopped_by = other.stopped_by;
        }
        other.commands.iter().for_each(|(name, by)| count(&mut self.commands, name, *by));
        other.clients.iter().for_each(|(name, by)| count(&mut self.clients, name, *by));
        other.keys.iter().for_each(|(shown, asked)| self.key(shown, &asked.name, asked.times));
        self.more_keys |= other.more_keys;
        self.sample.extend(other.sample);
        self.sample.sort_by(|a, b| a["at"].as_f64().unwrap_or(0.0).total_cmp(&b["at"].as_f64().unwrap_or(0.0)));
        self.sample.truncate(SAMPLE);
        self
    }

    fn tell(&self) -> Value {
        let round = |x: f64| (x * 1e3).round() / 1e3;
        let per_s = |n: u64| round(n as f64 / self.seconds.max(1e-3));
        let commands: Vec<Value> = ranked(&self.commands)
            .into_iter()
            .map(|(name, count)| json!({"name": name, "count": count, "per_s": per_s(count)}))
            .collect();
        let clients: Vec<Value> = ranked(&self.clients)
            .into_iter()
            .map(|(client, count)| json!({"client": client, "count": count}))
            .collect();
        let keys: Vec<Value> = self
            .most_asked()
            .map(|(shown, asked)| json!({"key": shown, "count": asked.times, "per_s": per_s(asked.times)}))
            .collect();
        json!({
            "seconds": round(self.seconds),
            "lines": self.lines,
            "per_s": per_s(self.lines),
            "stopped_by": self.stopped_by,
            "commands": commands,
            "clients": clients,
            "keys": keys,
            "keys_counted": self.keys.len(),
            "more_keys": self.more_keys,
            "sample": self.sample,
        })
    }
}

fn count(names: &mut HashMap<String, u64>, name: &str, by: u64) {
    let room = names.len() < NAMES;
    match names.get_mut(name) {
        Some(count) => *count += by,
        None => *names.entry(if room { name } else { "(others)" }.to_owned()).or_default() += by,
    }
}

fn ranked(names: &HashMap<String, u64>) -> Vec<(&str, u64)> {
    let mut all: Vec<(&str, u64)> = names.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    all
}

/// One command that was heard.
#[derive(Debug, PartialEq)]
struct Heard {
    at: f64,
    database: u32,
    /// The client's host without its port: one application is many ports. `lua` for scripts.
    client: String,
    /// The client as the server lists it, with its port.
    from: String,
    name: String,
    shape: String,
    /// The keys it is about.
    keys: Vec<String>,
    /// It is one of our connections giving itself its name.
    names_us: bool,
}

/// Reads `+1700000000.123456 [0 10.0.0.1:5000] "GET" "session:1"`.
fn read(line: &str) -> Option<Heard> {
    let (at, rest) = line.strip_prefix('+').unwrap_or(line).split_once(" [")?;
    let (source, words) = rest.split_once("] ")?;
    let (database, from) = source.split_once(' ')?;
    let client = match from.rsplit_once(':') {
        Some((host, _)) if !from.starts_with("unix:") => host.trim_matches(['[', ']']),
        _ => from.split(':').next().unwrap_or(from),
    };
    let argv = unquote(words);
    let shape = redact::command_shape(&argv);
    // The name is the shape's own first words, so nothing else can slip in.
    let name = match argv.first() {
        Some(name) => redact::command_shape(std::slice::from_ref(name)),
        None => return None,
    };
    let word = |at: usize| argv.get(at).map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    Some(Heard {
        at: at.parse().ok()?,
        database: database.parse().ok()?,
        client: client.to_owned(),
        from: from.to_owned(),
        name,
        shape,
        names_us: word(0) == "client" && word(1) == "setname" && word(2).starts_with(OURS),
        keys: keys(&argv).into_iter().filter(|key| key.len() <= KEY).map(str::to_owned).collect(),
    })
}

/// The keys of a command, as far as they can be told from its words alone.
fn keys(argv: &[String]) -> Vec<&str> {
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let name = words.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
    let from = |at: usize| words.get(at..).unwrap_or_default();
    // So many keys, as the word at `at` says.
    let counted = |at: usize| {
        let many = words.get(at).and_then(|many| many.parse().ok()).unwrap_or(0);
        from(at + 1).iter().copied().take(many).collect()
    };
    match name.as_str() {
        "mget" | "del" | "unlink" | "exists" | "touch" | "watch" | "sinter" | "sunion" | "sdiff" | "pfcount" => {
            from(1).to_vec()
        }
        "mset" | "msetnx" => from(1).iter().step_by(2).copied().collect(),
        "zunion" | "zinter" | "zdiff" | "zintercard" | "sintercard" | "lmpop" | "zmpop" => counted(1),
        "blmpop" | "bzmpop" | "eval" | "evalsha" | "eval_ro" | "evalsha_ro" | "fcall" | "fcall_ro" => counted(2),
        "xread" | "xreadgroup" => {
            let after =
                words.iter().position(|word| word.eq_ignore_ascii_case("streams")).map_or(words.len(), |at| at + 1);
            let streams = from(after);
            // As many keys as ids.
            streams[..streams.len() / 2].to_vec()
        }
        "bitop" => from(2).to_vec(),
        "object" | "xinfo" | "xgroup" => words.get(2).copied().into_iter().collect(),
        "memory" if words.get(1).is_some_and(|word| word.eq_ignore_ascii_case("usage")) => {
            words.get(2).copied().into_iter().collect()
        }
        // What takes no key, or no key first.
        "acl" | "asking" | "auth" | "bgrewriteaof" | "bgsave" | "client" | "cluster" | "command" | "config"
        | "dbsize" | "debug" | "discard" | "echo" | "exec" | "failover" | "flushall" | "flushdb" | "function"
        | "hello" | "info" | "keys" | "lastsave" | "latency" | "memory" | "migrate" | "module" | "monitor"
        | "multi" | "ping" | "psubscribe" | "psync" | "publish" | "pubsub" | "punsubscribe" | "quit" | "randomkey"
        | "readonly" | "readwrite" | "replconf" | "replicaof" | "reset" | "role" | "save" | "scan" | "script"
        | "select" | "shutdown" | "slaveof" | "slowlog" | "spublish" | "ssubscribe" | "subscribe" | "sunsubscribe"
        | "swapdb" | "sync" | "time" | "unsubscribe" | "unwatch" | "wait" | "waitaof" => Vec::new(),
        module if module.starts_with("ft.") => Vec::new(),
        _ => words.get(1).copied().into_iter().collect(),
    }
}

/// The quoted words of a line, with MONITOR's escapes undone.
fn unquote(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (&mut word, c) {
            (None, '"') => word = Some(String::new()),
            (None, _) => {}
            (Some(_), '"') => words.extend(word.take()),
            (Some(inside), '\\') => inside.extend(match chars.next() {
                Some('n') => Some('\n'),
                Some('r') => Some('\r'),
                Some('t') => Some('\t'),
                Some('x') => {
                    let code: String = chars.by_ref().take(2).collect();
                    u8::from_str_radix(&code, 16).ok().map(char::from)
                }
                other => other,
            }),
            (Some(inside), c) => inside.push(c),
        }
    }
    // A line that was cut ends inside a word.
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_without_what_people_stored() {
        let line = r#"+1700000000.123456 [3 10.0.0.1:5000] "SET" "session:a\"b] [" "s3cret value""#;
        let heard = read(line).unwrap();
        assert_eq!((heard.at, heard.database, heard.client.as_str()), (1_700_000_000.123_456, 3, "10.0.0.1"));
        assert!(heard.shape.starts_with("SET session:"), "{}", heard.shape);
        assert!(!heard.shape.contains("s3cret") && !heard.shape.contains("a\""), "{}", heard.shape);
        assert_eq!(read(r#"+1.5 [0 lua] "GET" "k""#).unwrap().client, "lua");
        assert_eq!(read(r#"+1.5 [0 unix:/run/redis.sock] "PING""#).unwrap().client, "unix");
        assert_eq!(read(r#"+1.5 [0 [::1]:77] "PING""#).unwrap().client, "::1");
    }

    fn heard(lines: &[&str]) -> Tally {
        let mut tally = Tally { ours: HashSet::from(["10.0.0.9:7".to_owned()]), ..Tally::default() };
        lines.iter().for_each(|line| tally.take(line));
        tally.seconds = 1.0;
        tally
    }

    #[test]
    fn keys_are_counted_by_what_may_be_seen_of_them_and_our_own_questions_are_not() {
        let tally = heard(&[
            r#"+1.0 [0 10.0.0.1:5] "GET" "session:4f5e6d7c""#,
            r#"+1.0 [0 10.0.0.1:5] "MGET" "session:4f5e6d7c" "feature:flags""#,
            r#"+1.0 [0 10.0.0.9:7] "OBJECT" "IDLETIME" "cold:1""#,
            r#"+1.0 [0 10.0.0.9:8] "CLIENT" "SETNAME" "rediscue-scan""#,
            r#"+1.0 [0 10.0.0.9:8] "SCAN" "0" "COUNT" "100""#,
        ]);
        let told = tally.tell();
        assert_eq!(told["lines"], 2, "{told}");
        let keys: Vec<(&str, u64)> = told["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["key"].as_str().unwrap(), row["count"].as_u64().unwrap()))
            .collect();
        assert_eq!(keys, [(redact::key("session:4f5e6d7c").as_str(), 2), ("feature:flags", 1)]);
        assert!(!told.to_string().contains("4f5e6d7c"), "{told}");
    }

    #[test]
    fn the_keys_of_a_command_are_those_it_is_about() {
        for (line, wanted) in [
            ("SET a 1 EX 5", &["a"][..]),
            ("MSET a 1 b 2", &["a", "b"]),
            ("EVALSHA 5f 2 a b c", &["a", "b"]),
            ("XREADGROUP GROUP g c COUNT 5 STREAMS a b > >", &["a", "b"]),
            ("BLMPOP 0 2 a b LEFT", &["a", "b"]),
            ("MEMORY USAGE a", &["a"]),
            ("MEMORY DOCTOR", &[]),
            ("PUBLISH channel text", &[]),
            ("PING", &[]),
            ("JSON.GET a", &["a"]),
        ] {
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(keys(&argv), wanted, "{line}");
        }
    }

    #[test]
    fn what_is_no_line_is_passed_over() {
        for bad in ["", "+OK", "+1.0 [x", "+1.0 [0 a:1] ", "-ERR"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_line_of_megabytes_is_cut_and_the_next_one_whole() {
        let mut text = vec![b'x'; 3 << 20];
        text.extend_from_slice(b"\r\nnext\r\n");
        let mut stream = BufReader::new(&text[..]);
        assert_eq!(line(&mut stream).await.unwrap().len(), LINE);
        assert_eq!(line(&mut stream).await.unwrap(), "next");
    }
}
