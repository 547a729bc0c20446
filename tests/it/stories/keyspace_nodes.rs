//! Which servers a walk goes to: one that is named, a replica where the profile lets it, else each primary.

use std::time::Duration;

use crate::world::{
    chat::{Chat, ChatBuilder},
    eventually,
    redis::{ClusterWorld, RedisServer, SentinelWorld},
};

const SOON: Duration = Duration::from_secs(20);

#[track_caller]
fn says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "`{wanted}` is not in\n{text}");
    }
}

/// Keys that fall on each primary: 100, 200 and 300.
fn filled() -> ClusterWorld {
    let world = ClusterWorld::start(true);
    for (index, node) in world.primaries().iter().enumerate() {
        let mut admin = node.admin();
        let mut taken = 0;
        for i in 0.. {
            let name = format!("session:{index}-{i}");
            taken += usize::from(redis::cmd("SET").arg(&name).arg("v").exec(&mut admin).is_ok());
            if taken == 100 * (index + 1) {
                break;
            }
        }
        eventually("its replica has everything", SOON, || {
            world.nodes[3 + index].run::<usize>(&["DBSIZE"]) == taken && node.run::<usize>(&["DBSIZE"]) == taken
        });
    }
    world
}

/// Whether keys of it were walked or asked about since the last time.
fn walked(server: &RedisServer) -> bool {
    let stats: String = server.run(&["INFO", "commandstats"]);
    server.run::<()>(&["CONFIG", "RESETSTAT"]);
    ["scan:", "memory|usage:", "type:", "pttl:"].iter().any(|name| stats.contains(&format!("cmdstat_{name}")))
}

fn walked_of(world: &ClusterWorld) -> Vec<bool> {
    world.nodes.iter().map(walked).collect()
}

async fn count(chat: &mut Chat, line: &str) -> String {
    chat.ask("ana", line).await.text()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_of_a_cluster_is_walked_when_it_is_named_and_no_other_is() {
    let world = filled();
    let mut chat = ChatBuilder::new().service_at("shop", &world.instance(), "").start().await;
    let address = |at: usize| world.nodes[at].address().to_string();
    walked_of(&world);
    for (command, told) in [
        ("memkeys", "200"),
        ("bigkeys", "200"),
        ("keys session:*", "200 keys match"),
        ("ttl-audit", "200 of 200 keys never expire"),
    ] {
        let text = count(&mut chat, &format!("{command} shop --node {}", address(1))).await;
        says(&text, &[told, &format!("{} alone was counted, as asked", address(1))]);
        assert_eq!(walked_of(&world), [false, true, false, false, false, false], "{command}");
    }
    // Also a replica: it holds the slots of its primary.
    let text = count(&mut chat, &format!("memkeys shop --node {}", address(5))).await;
    says(&text, &["300", "every key counted", &format!("{} alone was counted", address(5))]);
    assert_eq!(walked_of(&world), [false, false, false, false, false, true]);
    let text = count(&mut chat, "memkeys shop").await;
    says(&text, &["600"]);
    assert_eq!(walked_of(&world), [true, true, true, false, false, false]);
    let text = count(&mut chat, &format!("big-clients shop --node {}", address(0))).await;
    says(&text, &["Held for them"]);
    // A server that is none of it is not spoken to, and the right ones are named.
    let stranger = RedisServer::start();
    let text = count(&mut chat, &format!("memkeys shop --node {}", stranger.address())).await;
    says(&text, &["is no server of shop/main", "name one of these: ", &address(0), &address(5)]);
    assert!(!walked(&stranger));
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_scan_replica_the_primaries_are_spared_by_every_command_that_walks() {
    let world = filled();
    let mut instance = world.instance();
    instance.scan_replica = true;
    let mut chat = ChatBuilder::new().service_at("shop", &instance, "").start().await;
    walked_of(&world);
    for command in ["memkeys", "bigkeys", "keys session:*", "ttl-audit"] {
        let text = count(&mut chat, &format!("{command} shop")).await;
        says(&text, &["600", "counted on the replica", "to spare its primary"]);
        assert_eq!(walked_of(&world), [false, false, false, true, true, true], "{command}");
    }
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_sentinel_the_replica_stands_in_until_it_has_lost_its_primary() {
    let world = SentinelWorld::start();
    world.servers[0].fill("session", 500, 20);
    eventually("the replica has everything", SOON, || world.servers[1].run::<usize>(&["DBSIZE"]) == 500);
    let mut instance = world.instance();
    instance.scan_replica = true;
    let mut chat = ChatBuilder::new().service_at("shop", &instance, "").start().await;
    let walked_of = || world.servers.iter().map(walked).collect::<Vec<_>>();
    walked_of();
    let text = count(&mut chat, "memkeys shop").await;
    says(&text, &["500", "counted on the replica", "to spare its primary"]);
    assert_eq!(walked_of(), [false, true]);
    // A replica that is not in step would tell of the past: the primary is walked.
    world.servers[1].run::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    eventually("it has lost its primary", SOON, || world.servers[1].info("master_link_status") == "down");
    walked_of();
    let text = count(&mut chat, "memkeys shop --top 3").await;
    says(&text, &["500"]);
    assert!(!text.contains("counted on the replica"), "{text}");
    assert!(walked_of()[0], "the primary was walked");
    chat.stop().await;
}
