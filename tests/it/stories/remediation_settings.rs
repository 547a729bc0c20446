//! Settings, by the rows of the procedures they come from.

use std::time::Duration;

use crate::world::{
    eventually,
    redis::RedisServer,
    room::{Room, TOUCHER, house, house_at, setting},
};

#[tokio::test]
async fn s7_and_p15_memory_and_policy_are_changed_live_and_made_to_last_by_a_button() {
    let (mut server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let help = room.types("ana", "help maxmemory").await.text();
    assert!(help.contains("without a restart"), "{help}");
    let (plan, done) = room.agreed("maxmemory 512mb shop").await;
    assert!(plan.contains("until the server restarts; its configuration file is not rewritten"), "{plan}");
    let last = done.card().actions.iter().find(|action| action.label == "Make it last").expect("it is offered");
    assert_eq!(last.command, "rewrite-config shop/main");
    let (plan, _) = room.agreed("policy allkeys-lru shop").await;
    assert!(
        plan.contains("allkeys-* may evict any key") && plan.contains("volatile-* evicts only keys with a TTL"),
        "{plan}"
    );

    let command = last.command.clone();
    let plan = room.presses("ana", &done.id(), &command).await;
    let written = room.reacts("bo", "✅", &plan.id()).await;
    assert!(written.text().contains("the configuration file holds what is set now"), "{}", written.text());
    server.restart();
    assert_eq!(
        (setting(&server, "maxmemory").as_str(), setting(&server, "maxmemory-policy").as_str()),
        ("536870912", "allkeys-lru")
    );
    chat.stop().await;
}

#[tokio::test]
async fn s8_each_setting_of_the_runbook_is_set_read_back_and_taken_back() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    for (name, value, told) in [
        ("hash-max-ziplist-entries", "256", "256"),
        ("hash-max-ziplist-value", "32", "32"),
        ("list-compress-depth", "1", "1"),
        ("timeout", "300", "300"),
        ("tcp-keepalive", "60", "60"),
        ("client-output-buffer-limit", "\"pubsub 64mb 16mb 60\"", "pubsub 67108864 16777216 60"),
        ("save", "\"60 1000\"", "60 1000"),
        ("maxmemory-samples", "10", "10"),
        ("lfu-log-factor", "20", "20"),
        ("lfu-decay-time", "2", "2"),
        ("repl-backlog-size", "4mb", "4194304"),
        ("min-slaves-max-lag", "20", "20"),
        ("lazyfree-lazy-user-del", "yes", "yes"),
        ("lazyfree-lazy-expire", "yes", "yes"),
        ("hz", "20", "20"),
        ("auto-aof-rewrite-percentage", "50", "50"),
        ("auto-aof-rewrite-min-size", "32mb", "33554432"),
    ] {
        if name.starts_with("lazyfree") {
            // Valkey has it on from the start; here something is to change.
            let _: String = server.run(&["CONFIG", "SET", name, "no"]);
        }
        let before = setting(&server, name);
        let (plan, done) = room.agreed(&format!("set-config {name} {value} shop")).await;
        assert!(plan.contains("What it does:") && plan.contains(told), "{name}: {plan}");
        assert!(setting(&server, name).contains(told), "{name}: {}", done.text());
        if name == "timeout" {
            assert!(plan.contains("It does not help long operations"), "{plan}");
        }
        let undo = done.card().actions.iter().find(|action| action.label == "Undo");
        let undo = undo.unwrap_or_else(|| panic!("{name}: {}", done.text())).command.clone();
        room.agreed(&undo).await;
        assert_eq!(setting(&server, name), before, "{name} is as it was, its other parts too");
        let again = room.types("ana", &undo).await.text();
        assert!(again.contains("nothing to take back"), "{name}: {again}");
    }
    for (line, why) in [
        ("set-config save \"60\" shop", "pairs of seconds and changes"),
        ("set-config client-output-buffer-limit \"pubsub 1 2 3\" shop", "a class (normal, replica, pubsub)"),
        ("set-config min-replicas-to-write 1 shop", "would refuse all writes at once"),
        ("set-config hz 501 shop", "from 1 to 500"),
    ] {
        let refused = room.types("ana", line).await.text();
        assert!(refused.contains(why), "{line}: {refused}");
    }
    chat.stop().await;
}

#[tokio::test]
async fn s8_switching_persistence_off_is_high_risk_and_says_what_a_restart_would_lose() {
    let (server, builder) = house("normal");
    server.run::<()>(&["CONFIG", "SET", "save", "60 1000"]);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let off = room.types("ana", "set-config save none shop --dry-run").await.text();
    assert!(off.contains("60 1000 → none") && off.contains("Risk: high"), "{off}");
    assert!(off.contains("appendonly is no as well") && off.contains("a restart loses everything"), "{off}");
    let other = room.types("ana", "set-config save \"300 10\" shop --dry-run").await.text();
    assert!(other.contains("Risk: medium"), "{other}");
    let (_, done) = room.agreed("set-config save none shop").await;
    assert_eq!(setting(&server, "save"), "", "{}", done.text());
    let aof = room.types("ana", "set-config appendonly no shop").await.text();
    assert!(aof.contains("is no already"), "{aof}");
    chat.stop().await;
}

#[tokio::test]
async fn g13_appendonly_yes_is_done_when_the_file_is_written() {
    let server = RedisServer::builder().user(TOUCHER).start();
    server.fill("key", 40, 100);
    server.run::<()>(&["CONFIG", "SET", "rdb-key-save-delay", "20000"]);
    server.run::<()>(&["CONFIG", "SET", "aof-use-rdb-preamble", "yes"]);
    let chat = house_at("normal", &server, &format!("address = \"{}\"", server.address())).start().await;
    let mut room = Room::of(&chat);
    let (plan, done) = room.agreed("set-config appendonly yes shop").await;
    assert!(plan.contains("no → yes") && plan.contains("wait until the append-only file is written whole"), "{plan}");
    assert!(done.text().contains("appendonly is yes, and the append-only file is written whole"), "{}", done.text());
    assert_eq!(server.info("aof_rewrite_in_progress"), "0");
    assert!(server.info("aof_base_size").parse::<u64>().unwrap() > 0);
    let (plan, _) = room.agreed("set-config save \"60 1000\" shop").await;
    assert!(plan.contains("none → 60 1000"), "{plan}");
    assert!(done.card().actions.iter().any(|action| action.label == "Make it last"));

    let undo = done.card().actions.iter().find(|action| action.label == "Undo").unwrap().command.clone();
    room.agreed(&undo).await;
    eventually("it is off", Duration::from_secs(5), || setting(&server, "appendonly") == "no");
    chat.stop().await;
}
