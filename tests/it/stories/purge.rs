//! What people live through when keys are removed: counted, consented to, gone, and back as they were.

use std::collections::BTreeSet;

use rediscue::model::Level;

use crate::world::{
    chat::{Answer, ChatBuilder},
    keys::{Seen, assert_same, furnish, key, seen},
    redis::ClusterWorld,
    room::{POLICY, Room, house},
};

/// Types a line as ana, and has it consented to by bo; how it ended.
async fn agreed(room: &mut Room, line: &str) -> Answer {
    let plan = room.types("ana", line).await;
    assert!(plan.text().contains("Nothing has been changed yet"), "{line}: {}", plan.text());
    room.reacts("bo", "✅", &plan.id()).await
}

/// To what is critical, a word counts with the service's name typed; how it ended.
async fn consents(room: &mut Room, who: &str, plan: &Answer) -> Answer {
    let text = plan.text();
    let run = text.split("/redis approve ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let run = run.unwrap_or_else(|| panic!("the plan says how to consent: {text}")).to_owned();
    room.types(who, &format!("approve {run} shop")).await
}

fn undo_of(done: &Answer) -> String {
    let undo = done.card().actions.iter().find(|action| action.label == "Undo");
    undo.unwrap_or_else(|| panic!("it can be undone: {}", done.text())).command.clone()
}

fn names(seen: &Seen) -> BTreeSet<String> {
    seen.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

fn aside(seen: &Seen) -> usize {
    seen.keys().filter(|name| name.starts_with(b"rediscue:aside:")).count()
}

#[tokio::test]
async fn p7_sessions_of_one_organisation_are_counted_purged_and_brought_back_as_they_were() {
    let (server, builder) = house("normal");
    furnish(&server, 3_000);
    let before = seen(&server);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);

    let plan = room.types("ana", "purge session:* --where organisationId=org-1 shop").await;
    let text = plan.text();
    for said in [
        "organisationId = org-1",
        "750 keys",
        "exact",
        "750 of 3,009 keys",
        "Risk: high",
        "session:",
        "Undo: /redis undo",
    ] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
    for secret in ["session:1\n", "session:9\n", "u4"] {
        assert!(!text.contains(secret), "{secret} is shown in {text}");
    }
    assert!(room.reacts("ana", "✅", &plan.id()).await.text().contains("your own word"));
    assert!(room.reacts("cy", "✅", &plan.id()).await.text().contains("does not count"));
    assert_same(&before, &seen(&server));

    let done = room.reacts("bo", "✅", &plan.id()).await;
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    assert!(done.text().contains("750 keys removed"), "{}", done.text());
    let gone: Seen = before
        .iter()
        .filter(|(name, _)| !(0..3_000).any(|i| i % 4 == 1 && key(i).as_bytes() == name.as_slice()))
        .map(|(name, seen)| (name.clone(), seen.clone()))
        .collect();
    assert_same(&gone, &seen(&server));

    let undo = undo_of(&done);
    let plan = room.types("ana", &undo).await;
    assert!(plan.text().contains("logins that work again"), "{}", plan.text());
    let back = room.reacts("bo", "✅", &plan.id()).await;
    assert!(back.text().contains("750 keys are as they were"), "{}", back.text());
    assert_same(&before, &seen(&server));

    let again = agreed(&mut room, &undo).await;
    assert!(again.text().contains("750 keys were so already"), "{}", again.text());
    assert_same(&before, &seen(&server));
    chat.stop().await;
}

#[tokio::test]
async fn what_is_freed_is_what_the_keys_took_under_their_own_names() {
    let (server, builder) = house("normal");
    for i in 0..100 {
        let _: () = server.run(&["SET", &format!("k:{i}"), "x"]);
    }
    let took: u64 = (0..100).map(|i| server.run::<u64>(&["MEMORY", "USAGE", &format!("k:{i}")])).sum();
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let done = agreed(&mut room, "purge k:* --type string shop").await.text();
    let said = format!("100 keys removed ({})", rediscue::runbook::show_bytes(took));
    assert!(done.contains(&said), "{said} is missing in {done}");
    chat.stop().await;
}

#[tokio::test]
async fn a_cluster_is_purged_on_every_primary_and_brought_back_as_it_was() {
    let cluster = ClusterWorld::start(false);
    let mut addresses = Vec::new();
    for node in cluster.primaries() {
        let _: () = node.run(&["ACL", "SETUSER", "toucher", "on", ">touch-secret", "~*", "&*", "+@all"]);
        addresses.push(format!("\"{}\"", node.address()));
    }
    let mut admins: Vec<_> = cluster.primaries().iter().map(|node| node.admin()).collect();
    for i in 0..900 {
        let value = format!(r#"{{"org":{{"id":{}}},"n":{i}}}"#, i % 3);
        let name = key(i);
        let mut set = redis::cmd("SET");
        set.arg(name).arg(value).arg("PX").arg(3_600_000 + i);
        let taken = admins.iter_mut().any(|admin| set.exec(admin).is_ok());
        assert!(taken, "one of the primaries holds its slot");
    }
    let all = || cluster.primaries().iter().flat_map(seen).collect::<Seen>();
    let before = all();
    assert_eq!(before.len(), 900);
    let secret = cluster.nodes[0].dir().join("touch.secret");
    std::fs::write(&secret, "touch-secret\n").unwrap();
    let service = format!(
        "title = \"shop\"\nenvironment = \"prod\"\nowner = \"the tests\"\n\n[[instances]]\ncluster = [{}]\n\
         touch = {{ user = \"toucher\", password = {{ file = \"{}\" }} }}\n",
        addresses.join(", "),
        secret.display()
    );
    let chat = ChatBuilder::new()
        .file("policy.toml", &POLICY.replace("MODE", "normal"))
        .file("services/shop.toml", &service)
        .start()
        .await;
    let mut room = Room::of(&chat);
    let done = agreed(&mut room, "purge session:* --where org.id=2 --where 'n >= 0' shop").await;
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    let after = all();
    assert_eq!((after.len(), aside(&after)), (600, 0));
    let back = agreed(&mut room, &undo_of(&done)).await;
    assert_eq!(back.level(), Some(Level::Ok), "{}", back.text());
    assert_same(&before, &all());
    chat.stop().await;
}

#[tokio::test]
async fn what_is_newer_is_not_overwritten_and_what_has_expired_since_is_not_revived() {
    let (server, builder) = house("normal");
    furnish(&server, 0);
    for (name, px) in [("s:1", "700"), ("s:2", "3600000"), ("s:3", "3600000"), ("s:4", "3600000")] {
        let _: () = server.run(&["SET", name, r#"{"a":1}"#, "PX", px]);
    }
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let done = agreed(&mut room, "purge s:* --where a=1 shop").await;
    let _: () = server.run(&["SET", "s:2", "newer"]);
    let _: () = server.run(&["SET", "s:3", r#"{"a":1}"#]);
    let gone = std::time::Instant::now();
    crate::world::eventually("the first key's time is over", std::time::Duration::from_secs(5), || {
        gone.elapsed().as_millis() > 700
    });
    let back = agreed(&mut room, &undo_of(&done)).await.text();
    let removed_all = done.text().contains("4 keys removed");
    // The first may have expired before it was removed, on a slow machine.
    assert_eq!(back.contains("1 key would have expired since"), removed_all, "{back}");
    assert!(back.contains("1 key holds something newer") && back.contains("1 key was so already"), "{back}");
    assert_eq!(server.run::<String>(&["GET", "s:2"]), "newer");
    assert_eq!(server.run::<i64>(&["PTTL", "s:3"]), -1);
    assert_eq!(server.run::<i64>(&["EXISTS", "s:1", "s:4"]), 1);
    chat.stop().await;
}

#[tokio::test]
async fn p11_sessions_older_than_twelve_hours_go_and_doubtful_ones_are_counted_and_stay() {
    let (server, builder) = house("normal");
    let now = jiff::Timestamp::now().as_millisecond();
    let hours = |hours: i64| now - hours * 3_600_000;
    let iso = jiff::Timestamp::from_millisecond(hours(20)).unwrap();
    for (name, value) in [
        ("session:old-ms", format!(r#"{{"createdAt":{}}}"#, hours(13))),
        ("session:old-s", format!(r#"{{"createdAt":{}}}"#, hours(13) / 1_000)),
        ("session:old-iso", format!(r#"{{"createdAt":"{iso}"}}"#)),
        ("session:young", format!(r#"{{"createdAt":{}}}"#, hours(2))),
        ("session:zero", r#"{"createdAt":0}"#.to_owned()),
        ("session:none", r#"{"user":1}"#.to_owned()),
        ("session:text", "plain".to_owned()),
        ("session:large", format!(r#"{{"createdAt":1,"x":"{}"}}"#, "x".repeat(300_000))),
    ] {
        let _: () = server.run(&["SET", name, &value]);
    }
    let _: () = server.run(&["HSET", "session:hash", "createdAt", &hours(14).to_string()]);
    let _: () = server.run(&["RPUSH", "session:list", "1"]);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "purge session:* --where 'createdAt < now-12h' shop --dry-run").await.text();
    for said in [
        "4 keys",
        "1 without the field",
        "1 whose field cannot be compared",
        "1 too large to be read",
        "2 neither JSON nor a hash",
    ] {
        assert!(plan.contains(said), "{said} is missing in {plan}");
    }
    agreed(&mut room, "purge session:* --where 'createdAt < now-12h' shop").await;
    let left: Vec<String> = names(&seen(&server)).into_iter().collect();
    assert_eq!(
        left,
        ["session:large", "session:list", "session:none", "session:text", "session:young", "session:zero"]
    );
    chat.stop().await;
}

#[tokio::test]
async fn n5_conversations_are_not_cleared_without_a_condition_unless_two_people_agree_to_all() {
    let (server, builder) = house("normal");
    for i in 0..20 {
        let _: () = server.run(&["RPUSH", &format!("conv:{i}"), "hello"]);
    }
    let chat = builder
        .file(
            "policy.toml",
            &POLICY.replace("MODE", "normal").replace("roles = [\"viewer\"]", "roles = [\"approver\"]"),
        )
        .start()
        .await;
    let mut room = Room::of(&chat);
    let refused = room.types("ana", "purge conv:* shop").await.text();
    assert!(refused.contains("live ones among them") && refused.contains("--idle"), "{refused}");
    let idle = room.types("ana", "purge conv:* --idle 1h shop").await.text();
    assert!(idle.contains("none is meant"), "nothing was idle for an hour: {idle}");
    let plan = room.types("ana", "purge conv:* --all shop").await;
    assert!(plan.text().contains("Risk: critical") && plan.text().contains("20 keys"), "{}", plan.text());
    consents(&mut room, "bo", &plan).await;
    assert_eq!(server.run::<i64>(&["DBSIZE"]), 20, "one person is not enough");
    let done = consents(&mut room, "cy", &plan).await;
    assert_eq!(server.run::<i64>(&["DBSIZE"]), 0, "{}", done.text());
    chat.stop().await;
}

#[tokio::test]
async fn o11_keys_without_a_deadline_get_one_or_are_deleted() {
    let (server, builder) = house("normal");
    for i in 0..30 {
        let _: () = server.run(&["SET", &format!("sse:state:{i}"), "x"]);
    }
    let _: () = server.run(&["SET", "sse:state:live", "x", "PX", "100000"]);
    let before = seen(&server);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let done = agreed(&mut room, "expire sse:state:* 15m --no-ttl shop").await;
    assert!(done.text().contains("30 keys have the new deadline"), "{}", done.text());
    assert!((899_000..=900_000).contains(&server.run::<i64>(&["PTTL", "sse:state:7"])));
    assert!(server.run::<i64>(&["PTTL", "sse:state:live"]) <= 100_000);
    let undo = undo_of(&done);
    let _: () = server.run(&["PEXPIRE", "sse:state:3", "50000"]);
    let back = agreed(&mut room, &undo).await.text();
    assert!(back.contains("29 keys are as they were") && back.contains("1 key holds something newer"), "{back}");
    let _: () = server.run(&["PERSIST", "sse:state:3"]);
    assert_same(&before, &seen(&server));
    let again = agreed(&mut room, &undo).await.text();
    assert!(again.contains("30 keys were so already"), "{again}");

    let done = agreed(&mut room, "purge sse:state:* --no-ttl shop").await;
    assert_eq!(names(&seen(&server)).into_iter().collect::<Vec<_>>(), ["sse:state:live"], "{}", done.text());
    chat.stop().await;
}

#[tokio::test]
async fn g6_dead_letters_are_removed_however_many_they_are_and_none_is_no_error() {
    let (server, builder) = house("normal");
    server.fill("godel:queue:dead", 9_000, 20);
    let _: () = server.run(&["RPUSH", "godel:queue:pending", "1"]);
    let chat = builder
        .file(
            "policy.toml",
            &POLICY.replace("MODE", "normal").replace("roles = [\"viewer\"]", "roles = [\"approver\"]"),
        )
        .start()
        .await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "purge godel:queue:dead:* --all shop").await;
    assert!(plan.text().contains("9,000 keys"), "{}", plan.text());
    consents(&mut room, "bo", &plan).await;
    let done = consents(&mut room, "cy", &plan).await;
    assert!(done.text().contains("9,000 keys removed"), "{}", done.text());
    assert_eq!(names(&seen(&server)).into_iter().collect::<Vec<_>>(), ["godel:queue:pending"]);
    let none = room.types("ana", "purge godel:queue:dead:* --all shop").await.text();
    assert!(none.contains("nothing to remove"), "{none}");
    chat.stop().await;
}

#[tokio::test]
async fn s5_working_memory_of_a_tenant_is_deleted_and_a_session_is_extended_and_never_shortened() {
    let (server, builder) = house("normal");
    for i in 0..5 {
        let _: () = server.run(&["HSET", &format!("tenant:7:wm:{i}"), "a", "1"]);
        let _: () = server.run(&["HSET", &format!("tenant:8:wm:{i}"), "a", "1"]);
    }
    let _: () = server.run(&["SET", "session:short", "x", "PX", "60000"]);
    let _: () = server.run(&["SET", "session:long", "x", "PX", "9000000"]);
    let _: () = server.run(&["SET", "session:forever", "x"]);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    agreed(&mut room, "expire session:* 1h --only-extend shop").await;
    let pttl = |name: &str| server.run::<i64>(&["PTTL", name]);
    assert!(pttl("session:short") > 3_500_000 && pttl("session:long") > 8_000_000 && pttl("session:forever") == -1);
    let done = agreed(&mut room, "expire session:* 30m --only-shorten shop").await;
    assert!(pttl("session:long") <= 1_800_000 && (0..=1_800_000).contains(&pttl("session:forever")), "{}", done.text());
    let done = agreed(&mut room, "persist session:short shop").await.text();
    assert!(done.contains("1 key has no deadline any more") && !done.contains("new deadline"), "{done}");
    assert_eq!(pttl("session:short"), -1);
    agreed(&mut room, "purge tenant:7:wm:* --type hash shop").await;
    assert!(names(&seen(&server)).iter().all(|name| !name.starts_with("tenant:7")));
    assert_eq!(server.run::<i64>(&["EXISTS", "tenant:8:wm:0", "tenant:8:wm:4"]), 2);
    let done = agreed(&mut room, "delete tenant:8:wm:0 shop").await;
    assert_eq!(server.run::<i64>(&["EXISTS", "tenant:8:wm:0"]), 0);
    agreed(&mut room, &undo_of(&done)).await;
    assert_eq!(server.run::<String>(&["HGET", "tenant:8:wm:0", "a"]), "1");
    chat.stop().await;
}

#[tokio::test]
async fn p6_one_session_by_the_handle_that_was_shown_for_it_and_s18_the_whole_database() {
    let (server, builder) = house("normal");
    furnish(&server, 200);
    let before = seen(&server);
    let chat = builder
        .file(
            "policy.toml",
            &POLICY.replace("MODE", "normal").replace("roles = [\"viewer\"]", "roles = [\"approver\"]"),
        )
        .start()
        .await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "purge session:* --where 'n = 7' shop --dry-run").await.text();
    let handle = plan
        .split_whitespace()
        .find(|word| word.starts_with("session:~"))
        .unwrap_or_else(|| panic!("{plan}"))
        .to_owned();
    agreed(&mut room, &format!("delete {handle} shop")).await;
    assert_eq!(server.run::<i64>(&["EXISTS", &key(7)]), 0);

    let plan = room.types("ana", "flushdb shop").await;
    assert!(
        plan.text().contains("Risk: critical") && plan.text().contains("every key of the database"),
        "{}",
        plan.text()
    );
    consents(&mut room, "bo", &plan).await;
    let done = consents(&mut room, "cy", &plan).await;
    assert_eq!(server.run::<i64>(&["DBSIZE"]), 0, "{}", done.text());
    agreed(&mut room, &undo_of(&done)).await;
    let rest: Seen = before.into_iter().filter(|(name, _)| name != key(7).as_bytes()).collect();
    assert_same(&rest, &seen(&server));
    chat.stop().await;
}

#[tokio::test]
async fn keys_kept_aside_come_back_by_their_names_and_expire_there_otherwise() {
    let (server, builder) = house("normal");
    furnish(&server, 120);
    let before = seen(&server);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let done = agreed(&mut room, "purge session:* --where organisationId=org-2 --aside 10m shop").await;
    let there = seen(&server);
    assert_eq!((aside(&there), there.len()), (30, before.len()), "{}", done.text());
    for (name, (_, deadline)) in there.iter().filter(|(name, _)| name.starts_with(b"rediscue:aside:")) {
        assert!(*deadline > 0, "{} lives for ever", String::from_utf8_lossy(name));
    }
    agreed(&mut room, &undo_of(&done)).await;
    assert_same(&before, &seen(&server));
    let again = agreed(&mut room, &undo_of(&done)).await.text();
    assert!(again.contains("30 keys were so already"), "{again}");

    let done = agreed(&mut room, "purge session:* --where organisationId=org-2 --aside 10m shop").await;
    let run = undo_of(&done).replace("undo ", "");
    let cleared = agreed(&mut room, &format!("clear-aside {run} shop")).await.text();
    assert!(cleared.contains("30 keys were freed"), "{cleared}");
    assert_eq!((aside(&seen(&server)), seen(&server).len()), (0, before.len() - 30));
    chat.stop().await;
}

#[tokio::test]
async fn a_key_too_large_to_be_written_out_is_kept_aside_and_comes_back() {
    let (server, builder) = house("normal");
    let mut pipe = redis::pipe();
    for i in 0..20_000 {
        pipe.cmd("HSET").arg("session:huge").arg(format!("field-{i}")).arg("v".repeat(20)).ignore();
    }
    pipe.cmd("SET").arg("session:small").arg("x").ignore();
    pipe.exec(&mut server.admin()).unwrap();
    let before = seen(&server);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "delete session:huge shop").await;
    assert!(plan.text().contains("kept aside on the server"), "{}", plan.text());
    let done = room.reacts("bo", "✅", &plan.id()).await;
    assert_eq!(aside(&seen(&server)), 1, "{}", done.text());
    agreed(&mut room, &undo_of(&done)).await;
    assert_same(&before, &seen(&server));
    chat.stop().await;
}

#[tokio::test]
async fn without_undo_is_said_is_riskier_and_leaves_nothing() {
    let (server, builder) = house("normal");
    furnish(&server, 40);
    let chat = builder
        .file(
            "policy.toml",
            &POLICY.replace("MODE", "normal").replace("roles = [\"viewer\"]", "roles = [\"approver\"]"),
        )
        .start()
        .await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "purge session:* --where organisationId=org-3 --no-undo shop").await;
    assert!(plan.text().contains("Undo: not possible") && plan.text().contains("Risk: critical"), "{}", plan.text());
    consents(&mut room, "bo", &plan).await;
    let done = consents(&mut room, "cy", &plan).await;
    assert!(done.text().contains("10 keys removed") && done.card().actions.is_empty(), "{}", done.text());
    let left = seen(&server);
    assert_eq!((left.len(), aside(&left)), (39, 0));
    chat.stop().await;
}

#[tokio::test]
async fn what_cannot_be_understood_is_said_before_anything_is_looked_at() {
    let (server, builder) = house("normal");
    let _: () = server.run(&["SET", "session:1", "x"]);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    for (line, why) in [
        ("purge session:* --where 'createdAt < yesterday' shop", "neither a number nor a time"),
        ("purge session:* --where organisationId shop", "compares nothing"),
        ("purge session:* --where a=1 --no-undo --aside 1h shop", "does not"),
        ("expire session:* 1h --only-extend --only-shorten shop", "leave everything as it is"),
        ("delete session:~ZZZZZZ shop", "No key is known"),
        ("delete nosuchkey shop", "none is meant"),
    ] {
        let said = room.types("ana", line).await.text();
        assert!(said.contains(why), "{line}: {said}");
    }
    assert_eq!(server.run::<i64>(&["DBSIZE"]), 1);
    chat.stop().await;
}
