//! Surveys of real servers: exact totals equal to what was filled, stopping and going on, leaving
//! a busy server alone, and leaving no footprint.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rediscue::{
    exec::{Looking, survey},
    keyspace::pace::Limits,
    runbook::Survey,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::world::{
    looking::{Looker, permit},
    redis::{ClusterWorld, RedisServer},
};

/// What was put in.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) keys: u64,
    pub(super) endless: u64,
    prefixes: BTreeMap<&'static str, u64>,
}

/// Sessions with TTL, tenants' hashes, caches without; two huge keys.
pub(super) fn fill(server: &RedisServer, keys: usize) -> Truth {
    let mut admin = server.admin();
    let mut truth = Truth::default();
    for from in (0..keys).step_by(2_000) {
        let mut pipe = redis::pipe();
        for i in from..keys.min(from + 2_000) {
            let prefix = match i % 10 {
                0..6 => {
                    pipe.cmd("SET").arg(format!("session:{:016x}", i * 7_919)).arg("x".repeat(100 + i % 300));
                    pipe.arg("EX").arg(600 + i % 9_000).ignore();
                    "session:*"
                }
                6..8 => {
                    pipe.cmd("HSET").arg(format!("tenant:t{}:wm:{i}", i % 90)).arg(&["a", "1", "b", "2"]).ignore();
                    truth.endless += 1;
                    "tenant:*:wm:*"
                }
                _ => {
                    pipe.cmd("SET").arg(format!("cache:user:{i}")).arg("y".repeat(30)).ignore();
                    truth.endless += 1;
                    "cache:user:*"
                }
            };
            truth.keys += 1;
            *truth.prefixes.entry(prefix).or_default() += 1;
        }
        pipe.exec(&mut admin).unwrap();
    }
    redis::cmd("SET").arg("huge:string").arg("z".repeat(5 << 20)).exec(&mut admin).unwrap();
    let members: Vec<String> = (0..20_000).map(|i| format!("member:{i}")).collect();
    redis::cmd("SADD").arg("huge:set").arg(&members).exec(&mut admin).unwrap();
    truth.keys += 2;
    truth.endless += 2;
    truth
}

/// The sum of MEMORY USAGE over every key, by a loop that shares nothing with what is tested.
pub(super) fn weigh(server: &RedisServer) -> u64 {
    let mut admin = server.admin();
    let mut cursor = 0_u64;
    let mut bytes = 0;
    loop {
        let (next, names): (u64, Vec<String>) =
            redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(1000).query(&mut admin).unwrap();
        let mut pipe = redis::pipe();
        for name in &names {
            pipe.cmd("MEMORY").arg("USAGE").arg(name);
        }
        bytes += pipe.query::<Vec<u64>>(&mut admin).unwrap().iter().sum::<u64>();
        cursor = next;
        if cursor == 0 {
            return bytes;
        }
    }
}

fn patient(mut looker: Looker) -> Looker {
    looker.deadline = Duration::from_secs(120);
    looker.call = Duration::from_secs(5);
    looker
}

/// Surveys; the first answer and the last.
async fn run(looker: &Looker, what: Survey, options: &[(&str, &str)]) -> (Option<Value>, Value) {
    let (partial, first) = tokio::sync::watch::channel(None);
    let permit = permit(&looker.service, looker.reveal);
    let cx = Looking {
        deadline: Instant::now() + looker.deadline,
        call: looker.call,
        stop: looker.stop.clone(),
        progress: None,
        partial: Some(partial),
    };
    let look = survey(what, options);
    let seen = looker.exec.look(&permit, &looker.service, &looker.service.instances[0], &look, &cx).await;
    (first.borrow().clone(), seen.merged.unwrap_or_else(|error| panic!("{error:?}")))
}

fn number(report: &Value, field: &str) -> f64 {
    report[field].as_f64().unwrap_or_else(|| panic!("{field} in {report}"))
}

fn prefix_keys(report: &Value, prefix: &str) -> f64 {
    let rows = report["prefixes"].as_array().unwrap();
    let row = rows.iter().find(|row| row["prefix"] == prefix).unwrap_or_else(|| panic!("{prefix} in {rows:?}"));
    number(row, "keys")
}

#[tokio::test(flavor = "multi_thread")]
async fn exact_totals_equal_what_was_filled_and_the_first_answer_comes_near_it() {
    let server = RedisServer::builder().start();
    let truth = fill(&server, 200_000);
    let bytes = weigh(&server) as f64;
    let looker = patient(Looker::at(server.instance()));
    let (first, last) = run(&looker, Survey::Bigkeys, &[]).await;
    assert_eq!(last["exact"], Value::Bool(true), "{last}");
    assert_eq!(number(&last, "keys"), truth.keys as f64);
    assert_eq!(number(&last, "bytes"), bytes);
    assert_eq!(number(&last, "endless_keys"), truth.endless as f64);
    for (prefix, keys) in &truth.prefixes {
        assert_eq!(prefix_keys(&last, prefix), *keys as f64, "{prefix}");
    }
    assert_eq!(last["largest"][0]["kind"], "string");
    assert_eq!(last["largest"][1]["kind"], "set");
    let first = first.expect("there was a first answer");
    assert_eq!(first["method"], "sample");
    let error = number(&first, "bytes") / bytes - 1.0;
    assert!(error.abs() < 0.02, "total memory is {:.2} % off", error * 100.0);
    for (prefix, keys) in &truth.prefixes {
        let off = prefix_keys(&first, prefix) / *keys as f64 - 1.0;
        assert!(off.abs() < 0.15, "{prefix} is {off} off");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_a_walk_sends_asks_the_server_for_much_at_once() {
    let server =
        RedisServer::builder().option("slowlog-log-slower-than", "0").option("slowlog-max-len", "1000000").start();
    fill(&server, 20_000);
    let looker = patient(Looker::at(server.instance()));
    for what in [Survey::Bigkeys, Survey::Memkeys, Survey::TtlAudit] {
        server.run::<()>(&["SLOWLOG", "RESET"]);
        run(&looker, what, &[]).await;
        let sent = sent_by_us(&server);
        assert!(sent.len() > 20_000 / 200, "{what:?} walked over all of it: {} commands", sent.len());
        for words in sent {
            let word = |at: usize| words.get(at).map_or("", String::as_str);
            match word(0) {
                "SCAN" => {
                    let at = words.iter().position(|word| word == "COUNT").expect("a batch has a size");
                    let count: usize = words[at + 1].parse().unwrap();
                    assert!(count <= Limits::default().most_keys, "{words:?}");
                }
                // Of a large value only a few elements are weighed.
                "MEMORY" => assert!(
                    word(1) == "USAGE" && (words.len() == 3 || word(3) == "SAMPLES" && word(4) != "0"),
                    "{words:?}"
                ),
                "AUTH" | "HELLO" | "CLIENT" | "SELECT" | "INFO" | "PING" | "TIME" | "CONFIG" | "COMMAND" | "ACL"
                | "ROLE" => {}
                "TYPE" | "PTTL" | "PEXPIRETIME" | "STRLEN" | "LLEN" | "HLEN" | "SCARD" | "ZCARD" | "XLEN"
                | "OBJECT" | "RANDOMKEY" | "DBSIZE" => {}
                other => panic!("{other} is not among what a walk may send: {words:?}"),
            }
        }
    }
}

/// Every command of our connections since the slow log was emptied, its words.
fn sent_by_us(server: &RedisServer) -> Vec<Vec<String>> {
    let entries: Vec<redis::Value> = server.run(&["SLOWLOG", "GET", "-1"]);
    let read = |entry: redis::Value| {
        let (_, _, _, words, _, name): (i64, i64, i64, Vec<String>, String, String) =
            redis::from_redis_value(entry).unwrap();
        (name.starts_with("rediscue"), words.into_iter().map(|word| word.to_uppercase()).collect::<Vec<_>>())
    };
    entries.into_iter().map(read).filter(|(ours, _)| *ours).map(|(_, words)| words).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_times_and_use_counters_are_as_they_were() {
    let server = RedisServer::builder().option("maxmemory-policy", "allkeys-lfu").start();
    fill(&server, 3_000);
    // RESTORE gives a key the idle time or the counter of one's choice.
    let mark = |name: &str, what: &str, value: &str| {
        let dump: Vec<u8> = {
            server.run::<()>(&["RPUSH", "seed", "1", "2", "3"]);
            server.run(&["DUMP", "seed"])
        };
        redis::cmd("RESTORE").arg(name).arg(0).arg(dump).arg(what).arg(value).exec(&mut server.admin()).unwrap();
    };
    for i in 0..50 {
        mark(&format!("marked:{i}"), "FREQ", "77");
    }
    let looker = patient(Looker::at(server.instance()));
    for what in [Survey::Bigkeys, Survey::Memkeys, Survey::TtlAudit, Survey::Keys, Survey::Hotkeys] {
        run(&looker, what, &[]).await;
    }
    for i in 0..50 {
        assert_eq!(server.run::<u64>(&["OBJECT", "FREQ", &format!("marked:{i}")]), 77);
    }
    let server = RedisServer::start();
    let dump: Vec<u8> = {
        server.run::<()>(&["RPUSH", "seed", "1", "2", "3"]);
        server.run(&["DUMP", "seed"])
    };
    for i in 0..50 {
        let name = format!("marked:{i}");
        redis::cmd("RESTORE")
            .arg(&name)
            .arg(0)
            .arg(&dump[..])
            .arg("IDLETIME")
            .arg(5_000)
            .exec(&mut server.admin())
            .unwrap();
    }
    let looker = patient(Looker::at(server.instance()));
    for what in [Survey::Bigkeys, Survey::Memkeys, Survey::TtlAudit, Survey::Keys] {
        run(&looker, what, &[]).await;
    }
    for i in 0..50 {
        assert!(server.run::<u64>(&["OBJECT", "IDLETIME", &format!("marked:{i}")]) >= 5_000);
    }
    // Elements are only asked for when somebody wants them at that price.
    let (_, last) = run(&looker, Survey::Bigkeys, &[("lengths", "true")]).await;
    assert_eq!(last["longest"][0]["elements"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_that_is_cancelled_goes_on_when_it_is_asked_for_again() {
    let server = RedisServer::start();
    let truth = fill(&server, 150_000);
    let mut looker = patient(Looker::at(server.instance()));
    let token = CancellationToken::new();
    looker.stop = token.clone();
    let counted = |server: &RedisServer| -> u64 {
        let stats: String = server.run(&["INFO", "commandstats"]);
        // Before 7.0 subcommands are not counted apart; MEMORY is asked for nothing else here.
        let calls = |name: &str| {
            let found = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":calls="))?;
            found.split(',').next()?.parse().ok()
        };
        calls("cmdstat_memory|usage").or_else(|| calls("cmdstat_memory")).unwrap_or(0)
    };
    let (runner, look) = (looker.clone(), survey(Survey::Bigkeys, &[]));
    let task = tokio::spawn(async move { runner.look(look).await });
    crate::world::eventually("a third of it is counted", Duration::from_secs(60), || counted(&server) > 70_000);
    token.cancel();
    let stopped = task.await.unwrap();
    assert_eq!(stopped.merged.unwrap_err().code, "STOPPED");
    let before = counted(&server);
    assert!(before < 165_000, "it was not stopped in the middle: {before}");
    looker.stop = CancellationToken::new();
    // What was stopped puts itself away a moment after the asker is told.
    crate::world::eventually("the walk's connections are gone", Duration::from_secs(5), || {
        !server.run::<String>(&["CLIENT", "LIST"]).contains("rediscue-scan")
    });
    let (first, last) = run(&looker, Survey::Bigkeys, &[]).await;
    assert!(first.is_none(), "it goes on with the walk at once");
    assert_eq!(last["exact"], Value::Bool(true));
    assert_eq!(number(&last, "keys"), truth.keys as f64);
    assert_eq!(number(&last, "endless_keys"), truth.endless as f64);
    assert!(last["notes"].to_string().contains("went on where an earlier walk was stopped"), "{}", last["notes"]);
    let again = counted(&server) - before;
    assert!(again < truth.keys - 40_000, "{again} keys were asked about again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_at_ninety_percent_is_left_alone_and_the_report_says_so() {
    let server = RedisServer::start();
    fill(&server, 5_000);
    let stop = Arc::new(AtomicBool::new(false));
    // Somebody keeps the server busy with scripts, one straight after the other.
    let hogs: Vec<_> = (0..2)
        .map(|_| {
            let (mut admin, stop) = (server.admin(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let script = "local x = 0 for i = 1, 300000 do x = x + i end return x";
                    let _: i64 = redis::cmd("EVAL").arg(script).arg(0).query(&mut admin).unwrap();
                }
            })
        })
        .collect();
    let scans = |server: &RedisServer| server.run::<String>(&["INFO", "commandstats"]).contains("cmdstat_scan:");
    let looker = patient(Looker::at(server.instance()));
    let mut report = Value::Null;
    // A machine that is itself busy may keep the server from being so; ask until it shows.
    for _ in 0..15 {
        report = run(&looker, Survey::Memkeys, &[]).await.1;
        if report["method"] == "left-alone" {
            break;
        }
        server.run::<()>(&["CONFIG", "RESETSTAT"]);
    }
    assert_eq!(report["method"], "left-alone", "{report}");
    assert!(report["notes"][0].as_str().unwrap().contains("left alone"), "{}", report["notes"]);
    assert!(!scans(&server), "nothing was asked of its keys");
    assert_eq!(number(&report, "dbsize"), 5_002.0);
    stop.store(true, Ordering::Relaxed);
    hogs.into_iter().for_each(|hog| hog.join().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_primary_of_a_cluster_is_counted_and_a_replica_may_stand_in() {
    let cluster = ClusterWorld::start(true);
    let mut expected = 0;
    for (index, node) in cluster.primaries().iter().enumerate() {
        // Names that fall on this node: tried until enough were taken.
        let mut admin = node.admin();
        let mut taken = 0;
        for i in 0.. {
            let name = format!("session:{index}-{i}");
            if redis::cmd("SET").arg(&name).arg("v").exec(&mut admin).is_ok() {
                taken += 1;
            }
            if taken == 400 * (index + 1) {
                break;
            }
        }
        expected += taken;
    }
    let looker = patient(Looker::at(cluster.instance()));
    let (_, last) = run(&looker, Survey::Memkeys, &[]).await;
    assert_eq!(last["exact"], Value::Bool(true));
    assert_eq!(number(&last, "keys"), expected as f64);
    assert_eq!(last["servers"].as_array().unwrap().len(), 3);
    for node in cluster.primaries() {
        let size = node.run::<usize>(&["DBSIZE"]);
        crate::world::eventually("the replicas have everything", Duration::from_secs(20), || {
            cluster.nodes[3..].iter().any(|replica| replica.run::<usize>(&["DBSIZE"]) == size)
        });
        node.run::<()>(&["CONFIG", "RESETSTAT"]);
    }
    let mut instance = cluster.instance();
    instance.scan_replica = true;
    let (_, last) = run(&patient(Looker::at(instance)), Survey::Memkeys, &[]).await;
    assert_eq!(number(&last, "keys"), expected as f64);
    assert_eq!(last["notes"].to_string().matches("to spare its primary").count(), 3, "{}", last["notes"]);
    for node in cluster.primaries() {
        assert!(!node.run::<String>(&["INFO", "commandstats"]).contains("cmdstat_scan:"), "the primary was scanned");
    }
}
