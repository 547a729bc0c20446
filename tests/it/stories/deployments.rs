//! Every kind of Redis through the cards people read: Sentinel and Cluster,
//! whole, with a node missing and in the middle of a failover; TLS, an ACL
//! user, a logical database and a Unix socket.

use std::time::Duration;

use rediscue::model::{Address, Block, Card, Credential, Deployment, Level};

use crate::world::{
    chat::{Chat, ChatBuilder, ask},
    eventually_async,
    redis::{ClusterWorld, RedisServer, SentinelWorld, credential, instance, tls_of},
};

const FAILOVER: Duration = Duration::from_secs(40);

/// Nothing that a deployment may lack.
const CARDS: &[&str] = &[
    "status",
    "memory",
    "clients",
    "slowlog",
    "replication",
    "persistence",
    "stats",
    "commandstats",
    "latency --samples 20",
    "keyspace",
    "capacity",
    "connectivity",
    "doctor",
];

fn says(text: &str, wanted: &[&str]) {
    for word in wanted {
        assert!(text.contains(word), "`{word}` is not said:\n{text}");
    }
}

/// Every card is there, and nothing on it went wrong in the making.
async fn every_card_is_complete(chat: &mut Chat, service: &str) {
    for command in CARDS {
        let answer = chat.ask("ana", &format!("{command} {service}")).await;
        let text = answer.text();
        assert!(!text.contains("incomplete") && !text.contains("not seen"), "{command}: {text}");
        assert!(!text.contains("cannot be worked out"), "{command}: {text}");
        assert!(answer.level() < Some(Level::Crit) && answer.level() != Some(Level::Unknown), "{command}: {text}");
    }
}

fn findings(card: &Card) -> Vec<String> {
    let blocks = card.blocks.iter().filter_map(|block| match block {
        Block::Findings(findings) => Some(findings),
        _ => None,
    });
    blocks.flatten().map(|finding| finding.what.to_plain()).collect()
}

/// Keys `k:0` …, each where it belongs.
fn spread(world: &ClusterWorld, keys: usize) -> Vec<usize> {
    let mut held = Vec::new();
    for key in 0..keys {
        let at = world.primaries().iter().position(|node| {
            let mut set = redis::cmd("SET");
            set.arg(format!("k:{key}")).arg("v").arg("EX").arg(9_000);
            set.query::<()>(&mut node.admin()).is_ok()
        });
        held.push(at.expect("some primary holds the slot"));
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_one_redis_on_every_card() {
    let world = ClusterWorld::start(true);
    let held = spread(&world, 30);
    let slow = &world.primaries()[2];
    slow.run::<String>(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    slow.run::<i64>(&["DBSIZE"]);
    slow.run::<String>(&["CONFIG", "SET", "slowlog-log-slower-than", "1000000"]);
    let mut chat = ChatBuilder::new().service_at("shop", &world.instance(), "").start().await;
    every_card_is_complete(&mut chat, "shop").await;

    let text = chat.ask("ana", "status shop").await.text();
    says(&text, &["cluster of 3 primaries and 3 replicas", "3 primaries, up", "Keys: 30", "3 of 3 replicas in step"]);
    says(&text, &["ok, 16,384 of 16,384 slots served"]);
    for node in &world.nodes {
        says(&text, &[&node.address().to_string()]);
    }
    says(&chat.ask("ana", "slowlog shop").await.text(), &["DBSIZE"]);
    says(&chat.ask("ana", "clients shop").await.text(), &["rediscue-look | 3", "of 30,000"]);
    says(&chat.ask("ana", "replication shop").await.text(), &["by 3 primaries", "| replica | up"]);
    // A key is found on whichever node holds it.
    for node in 0..3 {
        let key = held.iter().position(|held| *held == node).expect("thirty keys reach every node");
        let answer = chat.ask("ana", &format!("inspect k:{key} shop")).await;
        assert_eq!(answer.level(), Some(Level::Ok), "{}", answer.text());
        says(&answer.text(), &["string"]);
    }
    says(&chat.ask("ana", "inspect k:none shop").await.text(), &["There is no key"]);
    let steps = chat.ask("ana", "connectivity shop").await.text();
    for node in &world.nodes {
        says(&steps, &[&format!("{} | ", node.address())]);
    }
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_one_of_its_primaries_says_which_and_goes_on_with_the_others() {
    let mut world = ClusterWorld::start(false);
    let held = spread(&world, 30);
    let mut chat = ChatBuilder::new().service_at("shop", &world.instance(), "").start().await;
    chat.ask("ana", "status shop").await;
    world.nodes[1].kill();
    let gone = world.nodes[1].address().to_string();

    let answer = chat.ask("ana", "status shop").await;
    assert_eq!(answer.level(), Some(Level::Crit), "{}", answer.text());
    says(&answer.text(), &[&format!("{gone} refused the connection"), "1 of 3 servers", "2 primaries, up"]);
    eventually_async("the card says that slots are served by nobody", FAILOVER, || {
        let mut link = chat.seat("ana");
        async move { ask(&mut link, 1, "status shop").await.text().contains("nobody serves their slots") }
    })
    .await;
    let answer = chat.ask("ana", "replication shop").await;
    assert_eq!(answer.level(), Some(Level::Crit), "{}", answer.text());
    says(&answer.text(), &["nobody serves their slots", "failing"]);

    // A bot that never saw it alive is told of it by the others, whatever slots they say it has.
    let mut newcomer = ChatBuilder::new().service_at("shop", &world.instance(), "").start().await;
    let answer = newcomer.ask("ana", "status shop").await;
    assert_eq!(answer.level(), Some(Level::Crit), "{}", answer.text());
    says(
        &answer.text(),
        &["cluster of 3 primaries and 0 replicas", &format!("primary {gone} · REFUSED"), "2 primaries, up"],
    );
    newcomer.stop().await;

    let answer = chat.ask("ana", "doctor shop").await;
    assert_eq!(answer.level(), Some(Level::Crit), "{}", answer.text());
    let told = findings(answer.card()).iter().filter(|what| what.contains("refused the connection")).count();
    assert_eq!(told, 1, "one fact, told once: {}", answer.text());

    let on = |node: usize| held.iter().position(|held| *held == node).expect("thirty keys reach every node");
    let answer = chat.ask("ana", &format!("inspect k:{} shop", on(0))).await;
    assert_eq!(answer.level(), Some(Level::Ok), "{}", answer.text());
    let answer = chat.ask("ana", &format!("inspect k:{} shop", on(1))).await;
    assert_ne!(answer.level(), Some(Level::Ok), "{}", answer.text());
    // Newer clusters no longer name a failed owner.
    let text = answer.text();
    assert!(text.contains(&gone) || text.contains("no node holds hash slot"), "{text}");
    says(&text, &["/redis "]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_fails_over_is_followed() {
    let mut world = ClusterWorld::start(true);
    let mut chat = ChatBuilder::new().service_at("shop", &world.instance(), "").start().await;
    assert!(chat.ask("ana", "status shop").await.level() <= Some(Level::Note));
    world.nodes[2].kill();
    eventually_async("its replica is shown as the primary", FAILOVER, || {
        let mut link = chat.seat("ana");
        async move {
            let text = ask(&mut link, 1, "status shop").await.text();
            text.contains("3 primaries, up") && text.contains("ok, 16,384 of 16,384 slots served")
        }
    })
    .await;
    let text = chat.ask("ana", "replication shop").await.text();
    says(&text, &["A node of the cluster has failed", "failing"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_sentinel_the_master_of_the_moment_is_asked_also_after_a_failover() {
    let mut world = SentinelWorld::start();
    world.servers[0].run::<String>(&["SET", "k:1", "v"]);
    let mut chat = ChatBuilder::new().service_at("shop", &world.instance(), "").start().await;
    every_card_is_complete(&mut chat, "shop").await;
    let [first, second] = [0, 1].map(|server: usize| world.servers[server].address().to_string());
    let text = chat.ask("ana", "status shop").await.text();
    says(&text, &["Sentinel master themaster", &format!("primary {first}"), &format!("replica {second}")]);
    says(&chat.ask("ana", "inspect k:1 shop").await.text(), &["string"]);
    let text = chat.ask("ana", "connectivity shop").await.text();
    assert_eq!(text.matches("| sentinel | PING | works").count(), 3, "{text}");

    world.servers[0].kill();
    let answer = chat.ask("ana", "status shop").await;
    // The Sentinels have not agreed yet: the old master is told to be away, and nothing is invented.
    if answer.text().contains(&format!("primary {first}")) {
        says(&answer.text(), &[&format!("{first} refused the connection"), "/redis connectivity shop"]);
        assert!(!answer.text().contains("append-only file"), "{}", answer.text());
    }
    let promoted = format!("primary {second}");
    let program = format!("Server: {}", world.servers[1].program());
    eventually_async("the replica is shown as the primary", FAILOVER, || {
        let (mut link, promoted, program) = (chat.seat("ana"), promoted.clone(), program.clone());
        async move {
            let answer = ask(&mut link, 1, "status shop").await;
            answer.text().contains(&promoted) && answer.text().contains(&program)
        }
    })
    .await;
    says(&chat.ask("ana", "replication shop").await.text(), &["Role: primary"]);
    says(&chat.ask("ana", "inspect k:1 shop").await.text(), &["string"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_sentinel_the_card_says_whom_to_look_for() {
    let mut world = SentinelWorld::start();
    let mut chat = ChatBuilder::new().service_at("shop", &world.instance(), "").start().await;
    for sentinel in &mut world.sentinels {
        sentinel.kill();
    }
    let text = chat.ask("ana", "status shop").await.text();
    says(
        &text,
        &["Sentinel master themaster", "none of the 3 Sentinels in the profile tells which server is the master"],
    );
    let text = chat.ask("ana", "connectivity shop").await.text();
    says(&text, &["| sentinel | TCP | fails: REFUSED", "It fails at TCP"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_as_an_acl_user_in_a_logical_database() {
    let server = RedisServer::builder()
        .tls()
        .option("tls-auth-clients", "yes")
        .user("looker on >lookhere ~* resetchannels -@all +@read +@connection +info +ping +role +dbsize +slowlog|get +latency +client|list +config|get +memory +acl|whoami")
        .start();
    redis::pipe().cmd("SELECT").arg(3).cmd("SET").arg("k:1").arg("v").exec(&mut server.admin()).unwrap();
    let files = server.certificates();
    let mut over_tls = instance(Deployment::Standalone(server.tls_address()));
    over_tls.database = 3;
    over_tls.look = credential(server.dir(), Some("looker"), "lookhere");
    over_tls.tls =
        Some(rediscue::model::Tls { cert: Some(files.cert.clone()), key: Some(files.key.clone()), ..tls_of(&server) });
    let mut stranger = over_tls.clone();
    stranger.tls = Some(rediscue::model::Tls { cert: None, key: None, ..tls_of(&server) });
    let mut wrong = over_tls.clone();
    wrong.look = Credential { user: Some("nobody".into()), ..over_tls.look.clone() };
    let mut chat = ChatBuilder::new()
        .service_at("shop", &over_tls, "")
        .service_at("bare", &stranger, "")
        .service_at("wrong", &wrong, "")
        .start()
        .await;
    for command in ["status", "memory", "clients", "slowlog", "replication", "persistence", "keyspace"] {
        let answer = chat.ask("ana", &format!("{command} shop")).await;
        assert!(answer.level() < Some(Level::Crit), "{command}: {}", answer.text());
        assert!(!answer.text().contains("incomplete"), "{command}: {}", answer.text());
    }
    says(&chat.ask("ana", "inspect k:1 shop").await.text(), &["string"]);
    says(&chat.ask("ana", "connectivity shop").await.text(), &["TLS | works", "AUTH | works", "user looker of Redis"]);
    let text = chat.ask("ana", "status bare").await.text();
    says(&text, &["TLS handshake", "wants a client certificate", "check tls in the profile"]);
    let text = chat.ask("ana", "status wrong").await.text();
    says(&text, &["refused the password of user `nobody`", "put the new secret where the profile says it is"]);
    says(&chat.ask("ana", "connectivity wrong").await.text(), &["It fails at AUTH"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_unix_socket() {
    let server = RedisServer::start();
    server.run::<String>(&["SET", "k:1", "v"]);
    let socket = instance(Deployment::Standalone(Address::Unix(server.socket())));
    let mut chat = ChatBuilder::new().service_at("shop", &socket, "").start().await;
    every_card_is_complete(&mut chat, "shop").await;
    says(&chat.ask("ana", "status shop").await.text(), &["Keys: 1", "primary unix:"]);
    says(&chat.ask("ana", "inspect k:1 shop").await.text(), &["string"]);
    chat.stop().await;
}
