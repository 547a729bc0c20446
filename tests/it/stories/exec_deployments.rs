//! Every kind of Redis can be looked at: standalone, Sentinel, Cluster; over
//! TLS, as an ACL user, through a Unix socket, in a logical database.

use std::time::{Duration, Instant};

use rediscue::{
    diagnosis::Role,
    model::{Address, Deployment, Tls},
    runbook::{Look, Nodes},
};

use crate::world::{
    eventually_async,
    looking::Looker,
    redis::{ClusterWorld, RedisServer, SentinelWorld, credential, instance, tls_of},
};

#[tokio::test]
async fn a_standalone_server_is_looked_at_and_named() {
    let server = RedisServer::start();
    server.fill("session", 10, 10);
    let looker = Looker::at(server.instance());
    let seen = looker.redis("INFO", Nodes::Primaries).await;
    let info = seen.merged.unwrap();
    assert_eq!(info["role"], "master", "{info}");
    assert_eq!(seen.nodes[0].node.role, Some(Role::Primary));
    assert!(seen.took < Duration::from_secs(1));
    let target = looker.target().await.unwrap();
    assert_eq!(target.nodes[0].run_id.as_deref(), Some(server.info("run_id").as_str()));
    assert_eq!(target.nodes[0].version.as_deref(), Some(server.version().as_str()));
    assert!(target.context[0].starts_with("test/main · dev · standalone"), "{:?}", target.context);
    assert!(target.context[1].starts_with(&format!("primary {}", server.address())), "{:?}", target.context);
}

#[tokio::test]
async fn the_connection_says_what_it_is_and_one_serves_everybody() {
    let server = RedisServer::start();
    let looker = Looker::at(server.instance());
    let lines = ["INFO memory", "INFO stats", "DBSIZE", "SLOWLOG GET 10", "CONFIG GET maxmemory"];
    futures_util::future::join_all(lines.map(|line| looker.redis(line, Nodes::Primaries))).await;
    let clients: String = server.run(&["CLIENT", "LIST"]);
    assert_eq!(clients.matches("name=rediscue-look").count(), 1, "{clients}");
}

#[tokio::test]
async fn a_logical_database_of_its_own() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    redis::pipe().cmd("SELECT").arg(3).cmd("SET").arg("k").arg("v").exec(&mut admin).unwrap();
    let mut here = server.instance();
    here.database = 3;
    assert_eq!(Looker::at(here.clone()).redis("DBSIZE", Nodes::Primaries).await.merged.unwrap(), 1);
    here.database = 99;
    let error = Looker::at(here).refusal("DBSIZE").await;
    assert!(error.code == "ERR" || error.code == "DB", "{error:?}");
}

#[tokio::test]
async fn a_unix_socket() {
    let server = RedisServer::start();
    let looker = Looker::at(instance(Deployment::Standalone(Address::Unix(server.socket()))));
    assert!(looker.redis("PING", Nodes::Primaries).await.merged.is_ok());
    let seen = looker.look(Look::Connectivity).await.merged.unwrap();
    assert_eq!(seen["ok"], true, "{seen}");
}

#[tokio::test]
async fn tls_with_an_own_authority_a_client_certificate_and_another_name() {
    let server = RedisServer::builder().tls().option("tls-auth-clients", "yes").start();
    let mut over_tls = instance(Deployment::Standalone(server.tls_address()));
    let files = server.certificates();
    let whole = Tls { cert: Some(files.cert.clone()), key: Some(files.key.clone()), ..tls_of(&server) };
    over_tls.tls = Some(whole.clone());
    let seen = Looker::at(over_tls.clone()).redis("PING", Nodes::Primaries).await;
    assert!(seen.merged.is_ok(), "{:?}", seen.merged);

    over_tls.tls = Some(Tls { server_name: Some("redis.test".into()), ..whole.clone() });
    assert!(Looker::at(over_tls.clone()).redis("PING", Nodes::Primaries).await.merged.is_ok());

    for (what, tls) in [
        ("another name", Tls { server_name: Some("wrong.test".into()), ..whole.clone() }),
        ("an authority nobody trusts", Tls { ca: None, ..whole.clone() }),
        ("no client certificate", tls_of(&server)),
    ] {
        over_tls.tls = Some(tls);
        let error = Looker::at(over_tls.clone()).refusal("PING").await;
        assert_eq!(error.code, "TLS", "{what}: {error:?}");
    }

    // TLS spoken to a port that does not speak it: Redis waits for the rest of a line, and so do we.
    let mut plain = server.instance();
    plain.tls = Some(whole);
    assert_eq!(Looker::at(plain).refusal("PING").await.code, "TLS");
}

#[tokio::test]
async fn an_acl_user_whose_password_is_rotated() {
    let server = RedisServer::builder().user("looks on >first ~* +@all").start();
    let mut as_user = server.instance();
    as_user.look = credential(server.dir(), Some("looks"), "first");
    let looker = Looker::at(as_user.clone());
    assert!(looker.redis("PING", Nodes::Primaries).await.merged.is_ok());
    credential(server.dir(), Some("looks"), "wrong");
    let fresh = Looker::at(as_user.clone());
    assert_eq!(fresh.refusal("PING").await.code, "WRONGPASS");
    // The secret is read at the moment of use: no restart, no reload.
    credential(server.dir(), Some("looks"), "first");
    assert!(fresh.redis("PING", Nodes::Primaries).await.merged.is_ok());
}

#[tokio::test]
async fn a_failover_of_sentinel_is_followed_at_run_time() {
    let mut world = SentinelWorld::start();
    let looker = Looker::at(world.instance());
    let first = looker.redis("ROLE", Nodes::Primaries).await;
    assert_eq!(first.nodes.len(), 1);
    assert_eq!(first.nodes[0].node.address, world.servers[0].address());
    let all = looker.redis("PING", Nodes::All).await;
    assert_eq!(all.nodes.len(), 2, "master and replica");
    let target = looker.target().await.unwrap();
    assert!(target.context[0].contains("Sentinel master themaster"), "{:?}", target.context);

    world.servers[0].kill();
    let promoted = world.servers[1].address();
    let start = Instant::now();
    eventually_async("the new master is looked at", Duration::from_secs(20), || async {
        let seen = looker.redis("INFO replication", Nodes::Primaries).await;
        seen.merged.is_ok_and(|info| info["role"] == "master") && seen.nodes[0].node.address == promoted
    })
    .await;
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn sentinels_are_asked_in_turn_and_one_is_enough() {
    let mut world = SentinelWorld::start();
    world.sentinels[0].kill();
    world.sentinels[1].freeze();
    let looker = Looker::at(world.instance());
    let seen = looker.redis("PING", Nodes::Primaries).await;
    assert!(seen.merged.is_ok(), "{:?}", seen.merged);
    assert!(seen.took < Duration::from_secs(2), "{:?}", seen.took);
    // With none left, the master that was known is still looked at.
    world.sentinels[2].kill();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let seen = looker.redis("DBSIZE", Nodes::Primaries).await;
    assert!(seen.merged.is_ok(), "{:?}", seen.merged);
    world.sentinels[1].thaw();
}

#[tokio::test]
async fn a_cluster_is_one_instance_and_each_key_is_asked_where_it_lives() {
    let world = ClusterWorld::start(true);
    let looker = Looker::at(world.instance());
    let names: Vec<String> = (0..60).map(|i| format!("session:{i}")).collect();
    let client = world.primaries();
    for name in &names {
        // The node that holds it takes it; the others answer MOVED.
        let stored = client.iter().any(|node| redis::cmd("SET").arg(name).arg("v").exec(&mut node.admin()).is_ok());
        assert!(stored, "{name}");
    }
    let seen = looker.redis("DBSIZE", Nodes::Primaries).await;
    assert_eq!(seen.nodes.len(), 3);
    assert_eq!(seen.merged.unwrap(), 60);
    assert_eq!(looker.redis("PING", Nodes::All).await.nodes.len(), 6);
    for name in names.iter().take(10) {
        let seen = looker.redis(&format!("TYPE {name}"), Nodes::Key).await;
        assert_eq!(seen.merged.unwrap(), "string");
        let seen = looker.redis(&format!("OBJECT ENCODING {name}"), Nodes::Key).await;
        assert_eq!(seen.nodes.len(), 1);
        assert_eq!(seen.merged.unwrap(), "embstr");
    }
    let target = looker.target().await.unwrap();
    assert!(target.context[0].contains("cluster of 3 primaries and 3 replicas"), "{:?}", target.context);
}

#[tokio::test]
async fn a_dead_node_of_a_cluster_is_named_and_the_others_answer() {
    let mut world = ClusterWorld::start(false);
    let looker = Looker::at(world.instance());
    assert_eq!(looker.redis("PING", Nodes::Primaries).await.nodes.len(), 3);
    let dead = world.nodes[2].address();
    world.nodes[2].kill();
    let seen = looker.redis("INFO", Nodes::Primaries).await;
    assert!(seen.merged.is_ok(), "two of three answered");
    let failed: Vec<_> = seen.nodes.iter().filter(|node| node.result.is_err()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].node.address, dead);
    assert_eq!(failed[0].result.as_ref().unwrap_err().code, "REFUSED");
    // A seed that is gone is no matter either.
    world.nodes[0].kill();
    let fresh = Looker::at(world.instance());
    let seen = fresh.redis("PING", Nodes::Primaries).await;
    assert!(seen.merged.is_ok(), "{:?}", seen.merged);
}
