//! Making a replica the primary: waited for until it is, refused while it would lose data.

use std::time::Duration;

use rediscue::model::{Address, Level};

use crate::world::{
    eventually,
    proxy::Proxy,
    redis::{ClusterWorld, RedisServer, SentinelWorld},
    room::{Room, house, house_at},
};

fn with_toucher<'a>(servers: impl IntoIterator<Item = &'a RedisServer>) {
    for server in servers {
        server.run::<()>(&["ACL", "SETUSER", "toucher", "on", ">touch-secret", "~*", "&*", "+@all"]);
    }
}

fn quoted<'a>(servers: impl IntoIterator<Item = &'a RedisServer>) -> String {
    servers.into_iter().map(|server| format!("\"{}\"", server.address())).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn n10_sentinel_makes_the_replica_primary_and_the_run_ends_when_it_takes_writes() {
    let world = SentinelWorld::start();
    with_toucher(&world.servers);
    let found_by = format!("sentinels = [{}]\nmaster = \"{}\"", quoted(&world.sentinels), SentinelWorld::MASTER);
    let chat = house_at("normal", &world.servers[0], &found_by).start().await;
    let mut room = Room::of(&chat);
    let (old, new) = (&world.servers[0], &world.servers[1]);

    // A replica that does not follow is none to fail over to.
    new.run::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    eventually("the primary has lost it", Duration::from_secs(20), || old.info("connected_slaves") == "0");
    let refused = room.types("ana", "failover shop").await.text();
    assert!(refused.contains("no replica of") && refused.contains("is in step"), "{refused}");
    new.run::<()>(&["REPLICAOF", "127.0.0.1", &old.port().to_string()]);
    eventually("it follows again", Duration::from_secs(30), || {
        old.info("slave0").contains("state=online") && new.info("master_link_status") == "up"
    });

    let plan = room.types("ana", "failover shop").await;
    for said in [
        "Risk: high",
        "does not wait for the one it takes",
        "SENTINEL FAILOVER themaster",
        "failing back is another failover",
    ] {
        assert!(plan.text().contains(said), "{said} is missing in {}", plan.text());
    }
    assert_eq!(old.info("role"), "master", "a plan changes nothing");
    let done = room.reacts("bo", "✅", &plan.id()).await;
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    assert!(done.text().contains(&format!("{} is the primary and takes writes", new.address())), "{}", done.text());
    assert_eq!(new.info("role"), "master");
    assert!(done.card().actions.is_empty(), "the way back is another failover, and is not offered as an undo");
    chat.stop().await;
}

#[tokio::test]
async fn in_a_cluster_one_shard_is_failed_over_by_its_replica() {
    let world = ClusterWorld::start(true);
    with_toucher(&world.nodes);
    let found_by = format!("cluster = [{}]", quoted(world.nodes.iter().take(2)));
    let chat = house_at("normal", &world.nodes[0], &found_by).start().await;
    let mut room = Room::of(&chat);
    let which = room.types("ana", "failover shop").await.text();
    assert!(
        which.contains("one is failed over at a time") && which.contains(&world.nodes[1].address().to_string()),
        "{which}"
    );
    let wrong = room.types("ana", "failover --shard 127.0.0.1:1 shop").await.text();
    assert!(wrong.contains("No shard of this instance"), "{wrong}");

    let (old, new) = (&world.nodes[1], &world.nodes[4]);
    eventually("the replica is in step", Duration::from_secs(20), || old.info("slave0").contains("state=online"));
    let (plan, done) = room.agreed(&format!("failover --shard {} shop", old.address())).await;
    assert!(
        plan.contains("nothing is lost") && plan.contains(&format!("make {} the primary of its shard", new.address())),
        "{plan}"
    );
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    assert_eq!(new.info("role"), "master");
    eventually("the old primary follows", Duration::from_secs(20), || old.info("role") == "slave");
    assert_eq!(world.nodes[0].info("role"), "master", "the other shards are as they were");
    chat.stop().await;
}

#[tokio::test]
async fn sentinel_that_refuses_is_cut_off_or_does_not_answer_leaves_the_roles_or_the_change_is_seen() {
    let world = SentinelWorld::start();
    with_toucher(&world.servers);
    // The one Sentinel the profile names is reached through a proxy.
    let proxy = Proxy::before(&world.sentinels[0].address()).await;
    let found_by = format!("sentinels = [\"{}\"]\nmaster = \"{}\"", proxy.address(), SentinelWorld::MASTER);
    let chat = house_at("normal", &world.servers[0], &found_by).start().await;
    let mut room = Room::of(&chat);
    let roles = || world.servers.iter().map(|server| server.info("role")).collect::<Vec<_>>();
    let before = roles();
    let failover = "$8\r\nFAILOVER";
    let plan = room.types("ana", "failover shop").await;
    proxy.refuse_on(failover);
    let refused = room.reacts("bo", "✅", &plan.id()).await.text();
    assert!(refused.contains("Nothing was changed"), "{refused}");
    assert_eq!(roles(), before);
    let plan = room.types("ana", "failover shop").await;
    proxy.cut_on(failover, true);
    let lost = room.reacts("bo", "✅", &plan.id()).await;
    assert!(proxy.has_cut());
    assert_eq!(lost.level(), Some(Level::Ok), "it was looked at again, and had been done: {}", lost.text());
    assert_eq!(world.servers[1].info("role"), "master");
    chat.stop().await;
}

#[tokio::test]
async fn a_shards_replica_that_refuses_or_is_cut_off_leaves_the_roles_or_the_change_is_seen() {
    let world = ClusterWorld::start(true);
    with_toucher(&world.nodes);
    let (old, new) = (&world.nodes[1], &world.nodes[4]);
    // The replica tells a proxy's port for its own: whoever is told its address goes through that.
    let proxy = Proxy::before(&new.address()).await;
    let Address::Tcp { port, .. } = proxy.address() else { panic!("a proxy listens on TCP") };
    for (name, value) in [
        ("cluster-announce-bus-port", new.port() + 10_000),
        ("cluster-announce-port", port),
        ("replica-announce-port", port),
    ] {
        new.run::<()>(&["CONFIG", "SET", name, &value.to_string()]);
    }
    new.run::<()>(&["CLIENT", "KILL", "TYPE", "master"]);
    eventually("the others know the replica by that port, and it is in step", Duration::from_secs(30), || {
        let named = format!(":{port}@");
        let known = |node: &RedisServer| node.run::<String>(&["CLUSTER", "NODES"]).contains(&named);
        let slave = old.info("slave0");
        // Redis 6.2 goes on naming itself as before.
        let mut others = world.nodes.iter().filter(|node| node.port() != new.port());
        others.all(known) && slave.contains(&format!("port={port},state=online"))
    });
    let found_by = format!("cluster = [{}]", quoted(world.nodes.iter().take(2)));
    let chat = house_at("normal", &world.nodes[0], &found_by).start().await;
    let mut room = Room::of(&chat);
    let line = format!("failover --shard {} shop", old.address());
    let roles = || world.nodes.iter().map(|node| node.info("role")).collect::<Vec<_>>();
    let (before, failover) = (roles(), "$8\r\nFAILOVER");

    new.forbid("toucher", "cluster|failover");
    let (plan, denied) = room.agreed(&line).await;
    assert!(plan.contains(&proxy.address().to_string()), "the plan names whom it goes to: {plan}");
    assert!(denied.text().contains("Nothing was changed"), "{}", denied.text());
    assert_eq!(roles(), before);
    new.run::<()>(&["ACL", "SETUSER", "toucher", "+@all"]);

    let plan = room.types("ana", &line).await;
    proxy.refuse_on(failover);
    let refused = room.reacts("bo", "✅", &plan.id()).await.text();
    assert!(refused.contains("Nothing was changed"), "{refused}");
    assert_eq!(roles(), before);

    let plan = room.types("ana", &line).await;
    proxy.cut_on(failover, false);
    let cut = room.reacts("bo", "✅", &plan.id()).await;
    assert!(proxy.has_cut());
    assert_ne!(cut.level(), Some(Level::Ok), "{}", cut.text());
    assert!(["uncertain", "Nothing was changed"].iter().any(|said| cut.text().contains(said)), "{}", cut.text());
    assert_eq!(roles(), before, "the order never came");

    let plan = room.types("ana", &line).await;
    proxy.cut_on(failover, true);
    let lost = room.reacts("bo", "✅", &plan.id()).await;
    assert!(proxy.has_cut());
    assert_eq!(lost.level(), Some(Level::Ok), "it was looked at again, and had been done: {}", lost.text());
    assert_eq!(new.info("role"), "master");
    chat.stop().await;
}

#[tokio::test]
async fn a_server_alone_is_not_failed_over() {
    let (_server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let refused = room.types("ana", "failover shop").await.text();
    assert!(refused.contains("nobody would follow a failover"), "{refused}");
    chat.stop().await;
}
