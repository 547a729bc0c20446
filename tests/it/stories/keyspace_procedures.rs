//! The keyspace rows of the runbooks, each by its id, from the line somebody types to the card they read.

use std::time::Duration;

use crate::world::{
    chat::{Chat, ChatBuilder},
    eventually,
    redis::RedisServer,
};

async fn bot(service: &str, server: &RedisServer, profile: &str) -> Chat {
    ChatBuilder::new().service(service, &server.address().to_string(), profile).start().await
}

#[track_caller]
fn says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "`{wanted}` is not in\n{text}");
    }
}

/// The rows of a table as text, at most so many.
#[track_caller]
fn rows_under(text: &str, title: &str, most: usize) -> Vec<String> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(title));
    assert!(lines.next().is_some(), "`{title}` is not in\n{text}");
    lines.take_while(|line| line.contains(" | ")).take(most).map(str::to_owned).collect()
}

/// A connection of that name that has sent the beginning of a large value and not its end.
fn half_a_command(server: &RedisServer, name: &str, bytes: usize) -> std::os::unix::net::UnixStream {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(server.socket()).unwrap();
    write!(stream, "CLIENT SETNAME {name}\r\n").unwrap();
    let mut reply = [0; 5];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"+OK\r\n");
    let whole = bytes * 2;
    write!(stream, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${whole}\r\n{}", "x".repeat(bytes)).unwrap();
    let arrived = || {
        let list: String = server.run(&["CLIENT", "LIST"]);
        let line = list.lines().find(|line| line.contains(&format!("name={name} "))).map(str::to_owned);
        let held =
            line.as_deref().and_then(|line| line.split(" qbuf=").nth(1)?.split(' ').next()?.parse::<usize>().ok());
        held.is_some_and(|held| held >= bytes)
    };
    eventually("the server holds it", Duration::from_secs(20), arrived);
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn o8_hot_keys_are_found_without_lfu_and_with_it() {
    let server = RedisServer::start();
    server.fill("cold", 2_000, 10);
    server.run::<()>(&["SET", "sse:state:busy", "1"]);
    // Redis keeps idle times in whole seconds: wait until the others have visibly been idle.
    eventually("the cold keys are cold", Duration::from_secs(20), || {
        server.run::<u64>(&["OBJECT", "IDLETIME", "cold:1"]) >= 3
    });
    let mut admin = server.admin();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let end = stop.clone();
    let user = std::thread::spawn(move || {
        while !end.load(std::sync::atomic::Ordering::Relaxed) {
            let _: String = redis::cmd("GET").arg("sse:state:busy").query(&mut admin).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let log = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(log.path(), "12:00 ok\n12:01 redis pool: 50 of 50 in use, 7 wait\n12:02 ok\n").unwrap();
    let profile =
        format!("[logs.app]\nfile = \"{}\"\n\n[logs.app.filters]\npool = \"redis pool\"\n", log.path().display());
    let mut chat = bot("olumi", &server, &profile).await;
    // Pool lines of the logs, and slow queries by their shape.
    says(&chat.ask("ana", "/redis logs olumi --filter pool").await.text(), &["1 of 1 log", "50 of 50 in use, 7 wait"]);
    server.run::<()>(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    server.run::<()>(&["SET", "session:4f5e6d7c8b9a0f1e", "x"]);
    let slow = chat.ask("ana", "/redis slowlog olumi").await.text();
    says(&slow, &["SET session:* …"]);
    assert!(!slow.contains("4f5e6d7c"), "{slow}");
    server.run::<()>(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"]);
    let card = chat.ask("ana", "/redis hotkeys olumi").await;
    says(&card.text(), &["sse:state:", "8 of 8", "idle times", "string"]);
    let top = rows_under(&card.text(), "Used most", 1);
    assert!(top[0].starts_with("sse:state:") && top[0].ends_with("8 of 8"), "{}", card.text());
    assert!(!card.text().contains("cold:"), "{}", card.text());
    server.run::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lfu"]);
    eventually("the counter has counted", Duration::from_secs(20), || {
        server.run::<u64>(&["OBJECT", "FREQ", "sse:state:busy"]) > 10
    });
    let card = chat.ask("ana", "/redis hotkeys olumi").await;
    says(&card.text(), &["sse:state:", "use counters"]);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    user.join().unwrap();
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g5_large_keys_are_named_by_bytes_and_by_elements_when_wanted() {
    let server = RedisServer::start();
    server.fill("godel:cache", 500, 50);
    server.run::<()>(&["SET", "godel:blob", &"x".repeat(12 << 20)]);
    let items: Vec<String> = (0..3_000).map(|i| format!("job{i}")).collect();
    redis::cmd("RPUSH").arg("godel:queue:pending").arg(&items).exec(&mut server.admin()).unwrap();
    let mut chat = bot("godel", &server, "").await;
    let card = chat.ask("ana", "/redis bigkeys godel").await;
    says(&card.text(), &["godel:~", "string | ", " MiB", "over 10 MiB", "every key counted"]);
    // Where asking resets no idle time, nobody has to want it.
    match server.knows_no_touch() {
        true => says(&card.text(), &["list | godel:queue:pending | 3,000 items"]),
        false => says(&card.text(), &["elements are left out", "--lengths"]),
    }
    let card = chat.ask("ana", "/redis bigkeys godel --lengths").await;
    says(&card.text(), &["godel:queue:pending", "3,000"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_tenant_keys_are_counted_with_a_breakdown_per_tenant() {
    let server = RedisServer::start();
    for tenant in ["acme", "globex", "initech"] {
        server.fill(&format!("tenant:{tenant}:wm"), tenant.len() * 10, 20);
    }
    server.fill("other", 100, 10);
    let mut chat = bot("somabrain", &server, "").await;
    let card = chat.ask("ana", "/redis keys tenant:* somabrain").await;
    let text = card.text();
    says(&text, &["170 keys match tenant:*", "tenant:*:wm:*", "By what follows tenant:"]);
    let groups = rows_under(&text, "By what follows tenant:", 3);
    let counts: Vec<&str> = groups.iter().map(|row| row.split(" | ").nth(1).unwrap()).collect();
    assert_eq!(counts, ["70", "60", "40"], "{text}");
    assert!(!text.contains("acme") && !text.contains("globex"), "tenants are people's data:\n{text}");
    // Pages hold different names, the same ones each time.
    let first = rows_under(&text, "Some of them, page 1 of", 15);
    let second = chat.ask("ana", "/redis keys tenant:* somabrain --page 2").await.text();
    let second = rows_under(&second, "Some of them, page 2 of", 15);
    assert!(first.iter().chain(&second).all(|row| row.starts_with("tenant:*:wm:~")), "{first:?} {second:?}");
    assert!(!second.iter().any(|row| first.contains(row)), "{first:?} and {second:?}");
    let again = chat.ask("ana", "/redis keys tenant:* somabrain").await.text();
    assert_eq!(rows_under(&again, "Some of them, page 1 of", 15), first);
    // TTL and MEMORY USAGE of one of them, by the handle the card gave it.
    let handle = first[0].split(" | ").next().unwrap();
    let text = chat.ask("ana", &format!("/redis inspect {handle} somabrain")).await.text();
    says(&text, &["a string of", " B, ", "Memory", "TTL"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_memory_by_prefix_and_keys_without_ttl() {
    let server = RedisServer::start();
    server.fill("tenant:acme:wm", 300, 400);
    server.fill("tenant:globex:wm", 100, 400);
    let mut admin = server.admin();
    for i in 0..200 {
        redis::cmd("SET").arg(format!("session:{i}")).arg("x").arg("EX").arg(7_200).exec(&mut admin).unwrap();
    }
    let mut chat = bot("somabrain", &server, "").await;
    let card = chat.ask("ana", "/redis memkeys somabrain").await;
    says(
        &card.text(),
        &["600 keys hold", "Bytes by prefix", "session:*", "tenant:*:wm:* | 400 | ", "session:* | 200 | "],
    );
    let card = chat.ask("ana", "/redis ttl-audit somabrain").await;
    says(&card.text(), &["400 of 600 keys never expire", "1–6 h: 200"]);
    let card = chat.ask("ana", "/redis bigkeys somabrain").await;
    says(&card.text(), &["Largest by bytes", "600 keys hold"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_sessions_are_listed_and_counted_without_keys() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    for i in 0..1_200 {
        redis::cmd("SET").arg(format!("session:{i:08}")).arg("{}").arg("EX").arg(86_400).exec(&mut admin).unwrap();
    }
    let mut chat = bot("prospectflow", &server, "").await;
    let card = chat.ask("ana", "/redis keys session:* prospectflow").await;
    let text = card.text();
    says(&text, &["1,200 keys match session:*", "session:~", "string", "23 h"]);
    assert!(!text.contains("session:0000"), "{text}");
    // One of them, by its handle: how long it lives, and its value's shape, never its value.
    let handle = text.split_whitespace().find(|word| word.starts_with("session:~")).unwrap().to_owned();
    let inspected = chat.ask("ana", &format!("/redis inspect {handle} prospectflow")).await.text();
    says(&inspected, &["TTL", "23 h"]);
    server.run::<()>(&["SET", "session:endless", r#"{"user":{"id":7,"roles":["admin"]}}"#]);
    let endless = chat.ask("ana", "/redis inspect session:endless prospectflow --reveal").await.text();
    says(&endless, &["-1: it never expires", "\"user\": {", "\"roles\": ["]);
    let gone = chat.ask("ana", "/redis inspect session:nobody prospectflow").await.text();
    says(&gone, &["There is no key", "-2: "]);
    let stats: String = server.run(&["INFO", "commandstats"]);
    assert!(!stats.contains("cmdstat_keys:"), "KEYS was sent");
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn big_clients_are_ranked_by_what_the_server_tells() {
    let server = RedisServer::start();
    let mut chat = bot("godel", &server, "").await;
    let mut small = server.admin();
    redis::cmd("CLIENT").arg("SETNAME").arg("api").exec(&mut small).unwrap();
    // Half a command: its argument waits in the server's memory for the rest.
    let half = half_a_command(&server, "etl-job", 2 << 20);
    let card = chat.ask("ana", "/redis big-clients godel").await;
    let text = card.text();
    says(&text, &["Held for them"]);
    let ranked = rows_under(&text, "Ranked by", 10);
    let place = |name: &str| ranked.iter().position(|row| row.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
    let (large, small_one) = (place("etl-job"), place("api"));
    assert!(ranked[large].contains("MiB"), "{text}");
    // Where bytes moved are counted, neither moves any while we look.
    if text.contains("Ranked by memory held") {
        assert!(large < small_one, "{text}");
        let text = chat.ask("ana", "/redis big-clients godel --top 1").await.text();
        assert_eq!(rows_under(&text, "Ranked by", 10).len(), 1, "{text}");
        says(&text, &["etl-job"]);
    }
    drop(half);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn o10_memory_is_one_card_with_limit_policy_evictions_and_what_to_do() {
    let server = RedisServer::builder().option("maxmemory", "20mb").start();
    server.fill("sse:state", 1_100, 10_000);
    let profile = "[thresholds]\nmemory = { warn = 40, crit = 95 }\n";
    let mut chat = bot("olumi", &server, profile).await;
    let answer = chat.ask("ana", "memory olumi").await;
    let text = answer.text();
    assert_eq!(answer.level(), Some(rediscue::model::Level::Warn), "{text}");
    // Used of maxmemory, peak, resident, the data's share, policy and evictions; fragmentation is the
    // program's own on a server as small as this, and is not told.
    says(&text, &["of 20.0 MiB", "Peak: ", "Resident: ", "Data: ", "Policy: noeviction", "Evicted: 0"]);
    // Advice: that the limit can be raised, and that what is kept never expires.
    says(&text, &["Much of what is kept never expires", "raise the limit", "capacity olumi"]);
    let stats: String = server.run(&["INFO", "commandstats"]);
    assert!(!stats.contains("cmdstat_scan:"), "it costs INFO, no walk");
    // Full with noeviction: writes fail, and that is what is said first.
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "10mb"]);
    let answer = chat.ask("ana", "memory olumi").await;
    assert_eq!(answer.level(), Some(rediscue::model::Level::Crit), "{}", answer.text());
    says(&answer.text(), &["every write that needs memory is refused with OOM"]);
    // With a policy that evicts, evictions are counted.
    server.run::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    server.fill("sse:state", 1_100, 10_000);
    let evicted = server.info("evicted_keys").parse::<u64>().unwrap();
    assert!(evicted > 0);
    says(&chat.ask("ana", "memory olumi").await.text(), &["Policy: allkeys-lru", "Evicted: "]);
    chat.stop().await;
}
