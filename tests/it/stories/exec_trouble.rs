//! A Redis in trouble: everybody who asks is told what is wrong, within the
//! deadline, and nobody else is slowed.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rediscue::{
    exec::{Exec, ExecSettings},
    model::{Address, Deployment},
    runbook::{Look, Nodes},
};

use crate::world::{
    eventually, eventually_async,
    looking::Looker,
    pause,
    proxy::Proxy,
    redis::{ClusterWorld, RedisServer, credential, free_port, instance, local},
};

#[tokio::test]
async fn twelve_who_ask_a_stopped_server_are_told_in_time_and_another_instance_is_as_quick_as_ever() {
    let stopped = RedisServer::start();
    let lively = RedisServer::start();
    let sick = Looker::at(stopped.instance());
    let well = Looker { exec: sick.exec.clone(), ..Looker::of(named("well", lively.instance())) };
    assert!(sick.redis("PING", Nodes::Primaries).await.merged.is_ok());
    assert!(well.redis("PING", Nodes::Primaries).await.merged.is_ok());
    stopped.freeze();
    let start = Instant::now();
    // Twelve different questions, so that sharing one look is no help.
    let questions = (0..12).map(|i| {
        let sick = sick.clone();
        async move {
            let begun = Instant::now();
            let error = sick.redis(&format!("SLOWLOG GET {}", i + 1), Nodes::Primaries).await.merged.unwrap_err();
            (error, begun.elapsed())
        }
    });
    let others = async {
        let mut slowest = Duration::ZERO;
        while start.elapsed() < Duration::from_millis(900) {
            let begun = Instant::now();
            assert!(well.redis("INFO", Nodes::Primaries).await.merged.is_ok());
            slowest = slowest.max(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        slowest
    };
    let (told, slowest) = tokio::join!(join_all(questions), others);
    for (error, took) in &told {
        assert_eq!(error.code, "TIMEOUT", "{error:?}");
        assert!(*took < sick.deadline, "{took:?}");
    }
    assert!(slowest < Duration::from_millis(200), "the other instance took {slowest:?}");
    // Who comes right after is told at once.
    let begun = Instant::now();
    assert_eq!(sick.refusal("DBSIZE").await.code, "TIMEOUT");
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    stopped.thaw();
    eventually_async("it is seen to be well again", Duration::from_secs(5), || async {
        sick.redis("PING", Nodes::Primaries).await.merged.is_ok()
    })
    .await;
}

fn named(name: &str, instance: rediscue::model::Instance) -> rediscue::model::Service {
    rediscue::model::Service { name: name.parse().unwrap(), ..crate::world::looking::service(vec![instance]) }
}

#[tokio::test]
async fn a_stopped_server_is_said_to_accept_and_not_answer() {
    let server = RedisServer::start();
    server.freeze();
    let looker = Looker::at(server.instance());
    let error = looker.refusal("INFO").await;
    assert_eq!(error.code, "TIMEOUT");
    let said = format!("{} {}", error.what, error.cause);
    assert!(said.contains("answer") && (said.contains("stopped") || said.contains("blocked")), "{said}");
    let target = looker.target().await.unwrap();
    assert!(target.nodes[0].silent.is_some());
    assert!(target.context[1].contains("TIMEOUT"), "{:?}", target.context);
    let seen = looker.look(Look::Connectivity).await.merged.unwrap();
    assert_eq!((&seen["ok"], &seen["first_failure"]["step"]), (&false.into(), &"ping".into()), "{seen}");
    server.thaw();
}

#[tokio::test]
async fn one_stopped_node_of_a_cluster_holds_nobody_up() {
    let world = ClusterWorld::start(false);
    let looker = Looker::at(world.instance());
    assert!(looker.redis("PING", Nodes::Primaries).await.merged.is_ok());
    world.nodes[1].freeze();
    let seen = looker.redis("INFO", Nodes::Primaries).await;
    assert!(seen.merged.is_ok());
    assert!(seen.took < Duration::from_millis(2500), "{:?}", seen.took);
    let codes: Vec<_> =
        seen.nodes.iter().filter_map(|node| node.result.as_ref().err()).map(|e| e.code.as_str()).collect();
    assert_eq!(codes, ["TIMEOUT"]);
    for node in seen.nodes.iter().filter(|node| node.result.is_ok()) {
        assert!(node.took < Duration::from_millis(500), "{:?}", node.took);
    }
    world.nodes[1].thaw();
}

#[tokio::test]
async fn a_server_that_comes_back_is_looked_at_over_a_new_connection() {
    let mut server = RedisServer::start();
    let looker = Looker::at(server.instance());
    assert!(looker.redis("PING", Nodes::Primaries).await.merged.is_ok());
    server.kill();
    assert_eq!(looker.refusal("PING").await.code, "REFUSED");
    server.restart();
    assert!(looker.redis("PING", Nodes::Primaries).await.merged.is_ok());
    // And when it was away only between two looks, nobody notices.
    server.restart();
    assert!(looker.redis("DBSIZE", Nodes::Primaries).await.merged.is_ok());
}

#[tokio::test]
async fn stopping_a_look_ends_it_at_once() {
    let server = RedisServer::start();
    server.freeze();
    let mut looker = Looker::at(server.instance());
    (looker.call, looker.deadline) = (Duration::from_secs(20), Duration::from_secs(30));
    let begun = Instant::now();
    let stop = looker.stop.clone();
    let (seen, ()) = tokio::join!(looker.redis("INFO", Nodes::Primaries), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.cancel();
    });
    assert_eq!(seen.merged.unwrap_err().code, "STOPPED");
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    server.thaw();
}

#[tokio::test]
async fn a_slow_way_shows_in_the_latency_and_a_swallowed_answer_as_silence() {
    let server = RedisServer::start();
    let proxy = Proxy::before(&server.address()).await;
    let looker = Looker::at(instance(Deployment::Standalone(proxy.address())));
    let usual = looker.look(Look::Latency { samples: 50 }).await.merged.unwrap();
    assert_eq!((&usual["samples"], &usual["failed"]), (&50.into(), &0.into()), "{usual}");
    assert!(usual["p50_ms"].as_f64().unwrap() < 20.0, "{usual}");
    proxy.delay(Duration::from_millis(40));
    let slow = looker.look(Look::Latency { samples: 10 }).await.merged.unwrap();
    assert!(slow["p50_ms"].as_f64().unwrap() >= 40.0, "{slow}");
    proxy.delay(Duration::ZERO);
    proxy.swallow(true);
    assert_eq!(looker.refusal("PING").await.code, "TIMEOUT");
    proxy.swallow(false);
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert!(looker.redis("PING", Nodes::Primaries).await.merged.is_ok());
    // Cut between two looks: a new connection is made without a word.
    let before = proxy.connections();
    proxy.cut();
    eventually_async("the cut connection was replaced", Duration::from_secs(2), || async {
        assert!(looker.redis("PING", Nodes::Primaries).await.merged.is_ok());
        proxy.connections() > before
    })
    .await;
}

#[tokio::test]
async fn a_loading_server_is_said_to_be_loading() {
    // Each key costs a millisecond to load: long enough to be seen, short enough to wait for.
    let mut server = RedisServer::builder().option("key-load-delay", "1000").option("rdbcompression", "no").start();
    // Between two megabytes of data the server hears what is asked.
    server.fill("k", 4_000, 16_000);
    server.run::<()>(&["SAVE"]);
    let looker = Looker::at(server.instance());
    server.restart();
    eventually("it loads", Duration::from_secs(5), || server.info("loading") == "1");
    assert_eq!(looker.refusal("DBSIZE").await.code, "LOADING");
    // What can be asked while it loads is answered.
    let info = looker.redis("INFO persistence", Nodes::Primaries).await.merged.unwrap();
    assert_eq!(info["loading"], 1, "{info}");
    assert_eq!(looker.look(Look::Latency { samples: 3 }).await.merged.unwrap_err().code, "LOADING");
}

#[tokio::test]
async fn every_fault_of_the_network_is_named() {
    let at = |host: &str, port| Address::Tcp { host: host.into(), port };
    let mut cases = vec![
        (at("127.0.0.1", free_port()), "REFUSED"),
        (at("nowhere.invalid", 6379), "DNS"),
        (Address::Unix("/nowhere/redis.sock".into()), "UNREACHABLE"),
    ];
    // One that closes at once, and one that speaks something else.
    let closes = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    cases.push((local(closes.local_addr().unwrap().port()), "CLOSED"));
    let closing = tokio::spawn(async move { while closes.accept().await.is_ok() {} });
    for (address, code) in cases {
        let looker = Looker::at(instance(Deployment::Standalone(address.clone())));
        let error = looker.refusal("PING").await;
        // A connection that is closed with something unread is reset: which of the two is seen is chance.
        let seen = if error.code == "RESET" { "CLOSED" } else { error.code.as_str() };
        assert_eq!(seen, code, "{address}: {error:?}");
        assert!(!error.cause.is_empty() && !error.next.is_empty(), "{error:?}");
        let ways = looker.look(Look::Connectivity).await.merged.unwrap();
        assert_eq!(ways["ok"], false, "{ways}");
        assert!(ways["first_failure"]["error"]["what"].is_string(), "{ways}");
    }
    closing.abort();
}

#[tokio::test]
async fn a_wrong_a_missing_and_an_unset_password_are_told_apart() {
    let server = RedisServer::builder().password("right").start();
    let bare = Looker::at(server.instance());
    assert_eq!(bare.refusal("PING").await.code, "NOAUTH");
    let mut wrong = server.instance();
    wrong.look = credential(server.dir(), None, "wrong");
    let error = Looker::at(wrong).refusal("PING").await;
    assert_eq!(error.code, "WRONGPASS");
    assert!(!format!("{error:?}").contains("wrong\""), "{error:?}");
    let mut unset = server.instance();
    unset.look.password = Some(rediscue::model::SecretRef::Env("REDISCUE_TEST_UNSET".into()));
    assert_eq!(Looker::at(unset).refusal("PING").await.code, "SECRET");
    let mut right = server.instance();
    right.look = credential(server.dir(), None, "right");
    let looker = Looker::at(right);
    let steps = looker.look(Look::Connectivity).await.merged.unwrap();
    let names: Vec<&str> =
        steps["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["dns", "tcp", "auth", "ping"], "{steps}");
    assert_eq!(steps["ipv4"], true);
}

#[tokio::test]
async fn what_the_server_flags_as_a_write_is_refused_whatever_it_is_called() {
    let server = RedisServer::builder()
        .option("rename-command", "STRLEN \"\"")
        .option("rename-command", "APPEND STRLEN")
        .start();
    server.fill("k", 1, 3);
    let looker = Looker::at(server.instance());
    let error = looker.redis("STRLEN k:0", Nodes::Key).await.merged.unwrap_err();
    assert!(error.what.contains("flags it as a write"), "{error:?}");
    // The table's own refusals need no server.
    for line in ["SET a b", "FLUSHALL", "KEYS *", "DEBUG SLEEP 1", "FROBNICATE"] {
        assert_eq!(looker.refusal(line).await.code, "REFUSED-LOOK", "{line}");
    }
    assert!(server.info("cmdstat_flushall").is_empty() && server.info("cmdstat_keys").is_empty());
}

#[tokio::test]
async fn a_managed_server_that_denies_much_still_says_what_it_can() {
    let denied = "-config -monitor -debug -sync -psync -object -client -command -eval -role";
    let server = RedisServer::builder().user(&format!("looks on >pw ~* +@all {denied}")).start();
    server.fill("k", 5, 5);
    let mut managed = server.instance();
    managed.look = credential(server.dir(), Some("looks"), "pw");
    let looker = Looker::at(managed);
    let seen = looker.redis("INFO", Nodes::Primaries).await;
    assert_eq!(seen.merged.unwrap()["role"], "master");
    assert_eq!(seen.nodes[0].node.role, Some(rediscue::diagnosis::Role::Primary), "told by INFO, as ROLE is denied");
    for line in ["CONFIG GET maxmemory", "CLIENT LIST"] {
        assert_eq!(looker.refusal(line).await.code, "NOPERM", "{line}");
    }
    let monitor = looker.look(Look::Monitor { time: Duration::from_millis(200), lines: 10 }).await;
    assert_eq!(monitor.merged.unwrap_err().code, "NOPERM");
    assert!(looker.look(Look::Latency { samples: 5 }).await.merged.is_ok());
    assert_eq!(looker.look(Look::Connectivity).await.merged.unwrap()["ok"], true);
    assert!(looker.redis("SLOWLOG GET 10", Nodes::Primaries).await.merged.is_ok());
    // What was denied once is not asked for again and again: the server's own log stays readable.
    for _ in 0..20 {
        looker.redis("DBSIZE", Nodes::Primaries).await;
    }
    let denials: u64 = server.info("acl_access_denied_cmd").parse().unwrap_or(0);
    assert!(denials < 15, "{denials}");
}

#[tokio::test]
async fn monitor_hears_shapes_only_and_leaves_nothing_behind() {
    let server = RedisServer::start();
    let looker = Looker::at(server.instance());
    let work = tokio::task::spawn_blocking({
        let mut admin = server.admin();
        move || {
            let end = Instant::now() + Duration::from_millis(1200);
            while Instant::now() < end {
                redis::cmd("SET").arg("session:ann").arg("s3cret").exec(&mut admin).unwrap();
                pause(Duration::from_millis(2));
            }
        }
    });
    let heard = looker.look(Look::Monitor { time: Duration::from_secs(2), lines: 50 }).await.merged.unwrap();
    assert_eq!((&heard["lines"], &heard["stopped_by"]), (&50.into(), &"lines".into()), "{heard}");
    assert_eq!(heard["commands"][0]["name"], "SET", "{heard}");
    let text = heard.to_string();
    assert!(!text.contains("s3cret") && !text.contains("ann"), "{text}");
    work.await.unwrap();
    eventually("the monitor is gone", Duration::from_secs(2), || {
        !server.run::<String>(&["CLIENT", "LIST"]).contains("cmd=monitor")
    });
    let quiet = looker.look(Look::Monitor { time: Duration::from_millis(300), lines: 50 }).await.merged.unwrap();
    assert_eq!(quiet["stopped_by"], "time", "{quiet}");
}

#[tokio::test]
async fn monitor_is_refused_on_a_busy_server() {
    let server = RedisServer::start();
    let mut looker = Looker::at(server.instance());
    looker.exec = Exec::new(ExecSettings { monitor_cpu_percent: 0.0, ..ExecSettings::default() });
    let work = tokio::task::spawn_blocking({
        let mut admin = server.admin();
        move || {
            let end = Instant::now() + Duration::from_millis(700);
            while Instant::now() < end {
                redis::cmd("INFO").query::<String>(&mut admin).unwrap();
            }
        }
    });
    let error = looker.look(Look::Monitor { time: Duration::from_secs(1), lines: 10 }).await.merged.unwrap_err();
    assert_eq!(error.code, "REFUSED-LOOK", "{error:?}");
    work.await.unwrap();
    assert!(server.info("cmdstat_monitor").is_empty());
}

#[tokio::test]
async fn counters_become_rates() {
    let server = RedisServer::start();
    let looker = Looker::at(server.instance());
    let work = tokio::task::spawn_blocking({
        let mut admin = server.admin();
        move || {
            let end = Instant::now() + Duration::from_millis(900);
            while Instant::now() < end {
                let _ = redis::cmd("GET").arg("nothing").query::<Option<String>>(&mut admin);
            }
        }
    });
    let rates = looker.look(Look::Rates { over: Duration::from_millis(500) }).await.merged.unwrap();
    assert!(rates["keyspace_misses_per_s"].as_f64().unwrap() > 50.0, "{rates}");
    assert_eq!(rates["hit_ratio"], 0.0, "{rates}");
    assert!(rates["used_cpu_percent"].as_f64().unwrap() > 0.0, "{rates}");
    work.await.unwrap();
}

#[tokio::test]
async fn a_handle_that_was_shown_names_its_key_again() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    redis::cmd("SET").arg("session:ann@example.com").arg("v").exec(&mut admin).unwrap();
    let looker = Looker::at(server.instance());
    let page = looker.redis("SCAN 0 MATCH session:* COUNT 100", Nodes::Primaries).await.merged.unwrap();
    let text = page.to_string();
    assert!(!text.contains("ann"), "{text}");
    let handle = page["items"][0].as_str().unwrap_or_else(|| panic!("{page}")).to_owned();
    assert_eq!(looker.redis(&format!("TYPE {handle}"), Nodes::Key).await.merged.unwrap(), "string");
}

#[tokio::test]
async fn five_who_ask_the_same_at_the_same_moment_cause_one_call() {
    let server = RedisServer::start();
    let looker = Looker::at(server.instance());
    looker.redis("PING", Nodes::Primaries).await;
    let calls = || -> u64 {
        let told = server.info("cmdstat_dbsize");
        told.split(&['=', ','][..]).nth(1).and_then(|calls| calls.parse().ok()).unwrap_or(0)
    };
    let before = calls();
    server.freeze();
    let asking = join_all((0..5).map(|_| looker.redis("DBSIZE", Nodes::Primaries)));
    let (seen, ()) = tokio::join!(asking, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.thaw();
    });
    assert!(seen.iter().all(|seen| seen.merged.is_ok()));
    assert_eq!(calls() - before, 1);
}
