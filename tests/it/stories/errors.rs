//! Every error of Redis and of the network as people meet it: said on a card,
//! with its cause and the next step. Where a look cannot cause the error, the
//! card finds the state in which applications get it.

use std::time::Duration;

use rediscue::model::{Deployment, Level};
use tokio::net::TcpListener;

use crate::world::{
    chat::{Answer, Chat, ChatBuilder, ask},
    eventually, eventually_async,
    proxy::Proxy,
    redis::{ClusterWorld, RedisServer, free_port, instance},
};

const SOON: Duration = Duration::from_secs(20);

/// Two keys at once: what a team may write, and a cluster may refuse.
const BOTH: &str = r#"
name = "both"
summary = "whether both are there"

[[arguments]]
name = "first"
about = "a key"
type = "key"
required = true

[[arguments]]
name = "second"
about = "another key"
type = "key"
required = true

[[steps]]
id = "there"
redis = ["EXISTS", "{{ args.first }}", "{{ args.second }}"]

[card]
healthy = "There: {{ there }}."
"#;

#[track_caller]
fn says(answer: &Answer, wanted: &[&str]) {
    let text = answer.text();
    for word in wanted {
        assert!(text.contains(word), "`{word}` is not said:\n{text}");
    }
}

async fn bot_at(server: &RedisServer) -> Chat {
    ChatBuilder::new().service("shop", &server.address().to_string(), "").start().await
}

/// What the server answers an application.
fn application(server: &RedisServer, words: &[&str]) -> String {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    match command.query::<redis::Value>(&mut server.admin()) {
        Ok(value) => format!("{value:?}"),
        Err(error) => error.code().unwrap_or("ERR").to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loading() {
    let mut server = RedisServer::builder().option("key-load-delay", "1000").option("rdbcompression", "no").start();
    // Between two megabytes of data the server hears what is asked.
    server.fill("k", 4_000, 16_000);
    server.run::<()>(&["SAVE"]);
    let mut chat = bot_at(&server).await;
    server.restart();
    eventually("it loads", SOON, || server.info("loading") == "1");
    let answer = chat.ask("ana", "status shop").await;
    assert_eq!(answer.level(), Some(Level::Crit), "{}", answer.text());
    says(&answer, &["loading its data from disk and answers nothing else yet", "/redis persistence shop"]);
    says(&chat.ask("ana", "persistence shop").await, &["Loading: "]);
    let answer = chat.ask("ana", "inspect k:1 shop").await;
    says(&answer, &["is loading its data from disk", "it was restarted", "/redis persistence shop"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn misconf() {
    let gone = tempfile::tempdir().unwrap();
    let server = RedisServer::builder().option("dir", &gone.path().display().to_string()).start();
    server.run::<()>(&["CONFIG", "SET", "save", "3600 1"]);
    gone.close().unwrap();
    server.run::<String>(&["SET", "k", "v"]);
    server.run::<redis::Value>(&["BGSAVE"]);
    eventually("the save has failed", SOON, || server.info("rdb_last_bgsave_status") == "err");
    assert_eq!(application(&server, &["SET", "k", "v"]), "MISCONF");
    let mut chat = bot_at(&server).await;
    let answer = chat.ask("ana", "status shop").await;
    assert_eq!(answer.level(), Some(Level::Crit), "{}", answer.text());
    says(&answer, &["The last save to disk failed", "MISCONF", "/redis persistence shop"]);
    let answer = chat.ask("ana", "persistence shop").await;
    says(
        &answer,
        &[
            "The last snapshot failed",
            "until one succeeds (MISCONF)",
            "is the disk full",
            "memory holds the only good copy",
        ],
    );
    // PING itself is refused in this state.
    let answer = chat.ask("ana", "ping shop").await;
    says(&answer, &["refuses writes because its last save to disk failed", "stop-writes-on-bgsave-error"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oom() {
    let server = RedisServer::start();
    server.fill("k", 300, 10_000);
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "2mb"]);
    assert_eq!(application(&server, &["SET", "one", "more"]), "OOM");
    let mut chat = bot_at(&server).await;
    let answer = chat.ask("ana", "status shop").await;
    assert_eq!(answer.level(), Some(Level::Crit), "{}", answer.text());
    says(&answer, &["noeviction", "/redis memory shop"]);
    let answer = chat.ask("ana", "memory shop").await;
    says(&answer, &["every write that needs memory is refused with OOM", "find what grew", "OOM errors so far: "]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readonly_and_masterdown() {
    let mut primary = RedisServer::start();
    let at = format!("127.0.0.1 {}", primary.port());
    let replica = RedisServer::builder().option("replicaof", &at).option("replica-serve-stale-data", "no").start();
    eventually("the replica is in step", SOON, || replica.info("master_link_status") == "up");
    assert_eq!(application(&replica, &["SET", "k", "v"]), "READONLY");
    let mut chat = bot_at(&replica).await;
    let answer = chat.ask("ana", "status shop").await;
    says(&answer, &["This is a replica: it takes no writes (READONLY)", "a failover has moved the primary"]);

    primary.kill();
    eventually("the link is down", SOON, || replica.info("master_link_status") == "down");
    let answer = chat.ask("ana", "status shop").await;
    assert_eq!(answer.level(), Some(Level::Crit), "{}", answer.text());
    says(&answer, &["This replica has lost its primary", "/redis replication shop"]);
    let answer = chat.ask("ana", "inspect k shop").await;
    says(&answer, &["is a replica that has lost its primary", "replica-serve-stale-data", "/redis replication shop"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noreplicas() {
    let server = RedisServer::builder().option("min-replicas-to-write", "1").start();
    assert_eq!(application(&server, &["SET", "k", "v"]), "NOREPLICAS");
    let mut chat = bot_at(&server).await;
    let answer = chat.ask("ana", "status shop").await;
    assert_eq!(answer.level(), Some(Level::Crit), "{}", answer.text());
    says(&answer, &["Writes are refused (NOREPLICAS)", "/redis replication shop"]);
    says(
        &chat.ask("ana", "replication shop").await,
        &["Writes are refused (NOREPLICAS)", "0 of the 1", "bring the missing replica back"],
    );
    chat.stop().await;
}

/// The slot of a key, and the places among the primaries of its owner and of another one.
fn slot_of(world: &ClusterWorld, key: &str) -> (String, usize, usize) {
    let slot: u16 = world.nodes[0].run(&["CLUSTER", "KEYSLOT", key]);
    let owner = usize::from(slot) * 3 / 16_384;
    let owner = (owner.saturating_sub(1)..=2)
        .find(|at| application(&world.primaries()[*at], &["EXISTS", key]) != "MOVED")
        .expect("somebody owns the slot");
    (slot.to_string(), owner, (owner + 1) % 3)
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_ask_tryagain_and_crossslot() {
    let world = ClusterWorld::start(false);
    let (slot, from, to) = slot_of(&world, "{t}a");
    let (owner, other) = (&world.primaries()[from], &world.primaries()[to]);
    owner.run::<String>(&["SET", "{t}a", "v"]);
    owner.run::<String>(&["SET", "{t}b", "v"]);
    let mut chat = ChatBuilder::new()
        .service_at("whole", &world.instance(), "")
        .service("alone", &other.address().to_string(), "")
        .service("owner", &owner.address().to_string(), "")
        .file("commands/both.toml", BOTH)
        .start()
        .await;
    // A profile that takes one node of a cluster for a server of its own.
    let answer = chat.ask("ana", "inspect {t}a alone").await;
    let served = format!("slot {slot} is served by {}", owner.address());
    says(&answer, &[&served, "the client does not know the slots", "cluster ="]);
    let answer = chat.ask("ana", "both a b whole").await;
    says(&answer, &["the keys of one command live in different slots", "hash tag"]);

    let ids = [owner, other].map(|node| node.run::<String>(&["CLUSTER", "MYID"]));
    other.run::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[0]]);
    owner.run::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[1]]);
    let port = other.port().to_string();
    owner.run::<String>(&["MIGRATE", "127.0.0.1", &port, "{t}a", "0", "5000"]);
    assert_eq!(application(owner, &["GET", "{t}a"]), "ASK");
    // One key is found on either side; two on two sides are not, for the moment.
    let answer = chat.ask("ana", "inspect {t}a whole").await;
    assert_eq!(answer.level(), Some(Level::Ok), "{}", answer.text());
    says(&answer, &["string"]);
    let answer = chat.ask("ana", "both {t}a {t}b whole").await;
    says(&answer, &["being moved", "ask again"]);
    says(&chat.ask("ana", "replication whole").await, &["Slots are being moved between nodes"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clusterdown() {
    let mut world = ClusterWorld::start(false);
    for node in &world.nodes {
        node.run::<()>(&["CONFIG", "SET", "cluster-require-full-coverage", "yes"]);
    }
    let mut chat = ChatBuilder::new().service_at("shop", &world.instance(), "").start().await;
    world.nodes[1].kill();
    eventually("the cluster is down", SOON, || application(&world.nodes[0], &["GET", "k"]) == "CLUSTERDOWN");
    let mut answer = chat.ask("ana", "status shop").await;
    assert_eq!(answer.level(), Some(Level::Crit), "{}", answer.text());
    says(&answer, &["it answers CLUSTERDOWN", "/redis replication shop"]);
    for key in ["a", "b", "c", "d", "e", "f"] {
        answer = chat.ask("ana", &format!("inspect {key} shop")).await;
        assert_ne!(answer.level(), Some(Level::Ok), "{}", answer.text());
        if answer.text().contains("says the cluster is down") {
            break;
        }
    }
    says(&answer, &["says the cluster is down", "too few primaries can be reached", "/redis replication shop"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_reset_dns_tls_and_timeout() {
    let server = RedisServer::start();
    let frozen = RedisServer::start();
    let proxy = Proxy::before(&server.address()).await;
    // One that reads nothing and cuts.
    let cutter = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cut = cutter.local_addr().unwrap().to_string();
    let cutting = tokio::spawn(async move {
        while let Ok((stream, _)) = cutter.accept().await {
            // The question has come and is not read: closing now is a reset.
            let _ = stream.readable().await;
            drop(stream);
        }
    });
    let mut in_the_clear = instance(Deployment::Standalone(server.address()));
    in_the_clear.tls = Some(rediscue::model::Tls::default());
    let mut chat = ChatBuilder::new()
        .service("refused", &format!("127.0.0.1:{}", free_port()), "")
        .service("nameless", "redis.invalid:6379", "")
        .service("cut", &cut, "")
        .service("frozen", &frozen.address().to_string(), "")
        .service("proxied", &proxy.address().to_string(), "")
        .service_at("clear", &in_the_clear, "")
        .start()
        .await;
    frozen.freeze();
    let cases: [(&str, &[&str]); 5] = [
        ("refused", &["refused the connection: nobody listens there", "Redis is down", "/redis connectivity refused"]),
        ("nameless", &["the name of redis.invalid:6379 could not be resolved", "check the host in the profile"]),
        ("cut", &["cut the connection in the middle", "it crashed or was restarted", "ask again"]),
        ("frozen", &["accepts connections but did not answer within", "it is blocked", "/redis slowlog frozen"]),
        (
            "clear",
            &["the TLS handshake with", "does not speak TLS on this port", "compare tls and the port in the profile"],
        ),
    ];
    for (service, wanted) in cases {
        for command in ["status", "ping"] {
            let answer = chat.ask("ana", &format!("{command} {service}")).await;
            // Nobody listens: that is known, and it is an outage. The others could only not be seen.
            let known = service == "refused" || command == "ping";
            let level = if known { Level::Crit } else { Level::Unknown };
            assert_eq!(answer.level(), Some(level), "{}", answer.text());
            says(&answer, if command == "status" { wanted } else { &wanted[..2] });
        }
        let answer = chat.ask("ana", &format!("connectivity {service}")).await;
        assert_eq!(answer.level(), Some(Level::Crit), "{}", answer.text());
        says(&answer, &["It fails at "]);
        assert!(!answer.text().contains("→ `"), "{}", answer.text());
    }
    frozen.thaw();
    // A connection that is cut between two questions costs nobody an answer.
    assert_eq!(chat.ask("ana", "ping proxied").await.level(), Some(Level::Ok));
    proxy.cut();
    eventually_async("it answers over a new connection", SOON, || {
        let mut link = chat.seat("ana");
        async move { ask(&mut link, 1, "ping proxied").await.level() == Some(Level::Ok) }
    })
    .await;
    cutting.abort();
    chat.stop().await;
}
