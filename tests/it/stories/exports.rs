//! What people live through when keys are exported and imported: copied, listed, removed, put back as they were.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use rediscue::{
    model::{Level, RunId},
    store::snapshot::{Contents, Deadline, Header, Record, StepId},
};

use crate::world::{
    chat::{Answer, Chat},
    eventually,
    keys::{Seen, assert_same, furnish, key, seen},
    redis::{ClusterWorld, RedisServer},
    room::{POLICY, Room, house, house_at},
};

/// Types a line as ana, and has it consented to by bo; how it ended.
async fn agreed(room: &mut Room, line: &str) -> Answer {
    let plan = room.types("ana", line).await;
    assert!(plan.text().contains("Nothing has been changed yet"), "{line}: {}", plan.text());
    room.reacts("bo", "✅", &plan.id()).await
}

fn undo_of(done: &Answer) -> String {
    let undo = done.card().actions.iter().find(|action| action.label == "Undo");
    undo.unwrap_or_else(|| panic!("it can be undone: {}", done.text())).command.clone()
}

/// The name of the export that was made.
fn name_of(done: &Answer) -> String {
    undo_of(done).replace("undo ", "")
}

/// The sealed files there are.
fn files(chat: &Chat) -> Vec<PathBuf> {
    let entries = fs::read_dir(chat.dir.path().join("store/snapshots"));
    let mut files: Vec<PathBuf> =
        entries.map_or(Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect());
    files.sort();
    files
}

/// A tenant with keys of every type, some of which expire, beside others.
fn tenants(server: &RedisServer) {
    furnish(server, 60);
    let mut pipe = redis::pipe();
    for tenant in ["acme", "umbrella"] {
        let name = |rest: &str| format!("tenant:{tenant}:{rest}");
        pipe.cmd("SET").arg(name("wm:text")).arg("a-secret-of-acme").arg("PX").arg(3_600_000).ignore();
        pipe.cmd("SET").arg(name("wm:number")).arg(42).ignore();
        pipe.cmd("RPUSH").arg(name("wm:list")).arg("one").arg(vec![0_u8, 255]).arg("3").ignore();
        pipe.cmd("SADD").arg(name("wm:set")).arg("1").arg("2").arg("three").ignore();
        pipe.cmd("ZADD").arg(name("wm:zset")).arg("1.5").arg("a").arg("-inf").arg("b").ignore();
        pipe.cmd("XADD").arg(name("wm:stream")).arg("1-1").arg("f").arg("v").ignore();
        pipe.cmd("XGROUP").arg("CREATE").arg(name("wm:stream")).arg("readers").arg("0").ignore();
        for i in 0..300 {
            pipe.cmd("HSET").arg(name("wm:hash")).arg(format!("f{i}")).arg("v".repeat(40)).ignore();
        }
        pipe.cmd("PEXPIRE").arg(name("wm:hash")).arg(7_200_000).ignore();
        pipe.cmd("PEXPIRE").arg(name("wm:list")).arg(1_800_000).ignore();
    }
    pipe.exec(&mut server.admin()).unwrap();
}

#[tokio::test]
async fn s9_a_tenant_is_exported_by_type_with_its_deadlines_and_imported_as_it_was() {
    let (server, builder) = house("normal");
    tenants(&server);
    let before = seen(&server);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);

    let plan = room.types("ana", "export tenant:acme:* shop").await;
    let text = plan.text();
    for said in [
        "export keys matching tenant:acme:*",
        "7 keys",
        "exact",
        "hash 1 (",
        "stream 1 (",
        "By prefix",
        "Risk: medium",
        "copy of people's data",
        "nothing is written to the server",
        "read the file again to its end",
    ] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
    assert!(!text.contains("a-secret-of-acme"), "{text}");
    assert!(room.reacts("ana", "✅", &plan.id()).await.text().contains("your own word"));
    assert!(files(&chat).is_empty(), "nothing is copied on one person's word");
    let done = room.reacts("bo", "✅", &plan.id()).await;
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    assert!(done.text().contains("7 keys") && done.text().contains("3 of them with a deadline"), "{}", done.text());
    assert_same(&before, &seen(&server));
    let export = name_of(&done);

    for path in files(&chat) {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
        let bytes = fs::read(&path).unwrap();
        for word in ["a-secret-of-acme", "acme", "REDIS00"] {
            assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{word} is in clear");
        }
    }
    let listed = room.types("cy", "exports shop").await.text();
    for said in [export.as_str(), "keys matching tenant:acme:*", "1 export", "hash 1", "stream 1"] {
        assert!(listed.contains(said), "{said} is missing in {listed}");
    }
    let shown = room.types("cy", &format!("exports {export} shop")).await.text();
    assert!(shown.contains("tenant:"), "{shown}");

    // The whole tenant is lost, and another key of it was written anew.
    let _: i64 = server.run(&["DEL", "tenant:acme:wm:text", "tenant:acme:wm:hash", "tenant:acme:wm:list"]);
    let _: i64 = server.run(&["DEL", "tenant:acme:wm:zset", "tenant:acme:wm:stream", "tenant:acme:wm:set"]);
    let _: String = server.run(&["SET", "tenant:acme:wm:number", "43"]);
    let lost = seen(&server);
    let plan = room.types("ana", &format!("import {export} shop")).await;
    let text = plan.text();
    for said in ["6 that are missing", "1 that hold something else", "logins that work again", "Risk: medium"] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
    let done = room.reacts("bo", "✅", &plan.id()).await;
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    assert!(done.text().contains("6 keys put there that were missing"), "{}", done.text());
    assert_eq!(server.run::<String>(&["GET", "tenant:acme:wm:number"]), "43", "newer data is not overwritten unsaid");
    let mut wanted = before.clone();
    wanted.insert(b"tenant:acme:wm:number".to_vec(), lost[b"tenant:acme:wm:number".as_slice()].clone());
    assert_same(&wanted, &seen(&server));
    // A group of readers is part of a stream.
    let groups: redis::Value = server.run(&["XINFO", "GROUPS", "tenant:acme:wm:stream"]);
    assert!(matches!(groups, redis::Value::Array(groups) if groups.len() == 1));

    let undo = undo_of(&done);
    let back = agreed(&mut room, &undo).await.text();
    assert!(back.contains("6 keys are as they were"), "{back}");
    assert_same(&lost, &seen(&server));
    let again = agreed(&mut room, &undo).await.text();
    assert!(again.contains("6 keys were so already"), "{again}");
    assert_same(&lost, &seen(&server));

    let nothing = room.types("ana", &format!("import {export} shop --only tenant:nobody:*")).await.text();
    assert!(nothing.contains("nothing to import") && nothing.contains("no key of it is meant"), "{nothing}");
    agreed(&mut room, &format!("import {export} shop")).await;
    let nothing = room.types("ana", &format!("import {export} shop")).await.text();
    assert!(nothing.contains("6 there already with the same value"), "{nothing}");

    let gone = agreed(&mut room, &format!("undo {export}")).await.text();
    assert!(gone.contains("the file is gone"), "{gone}");
    assert!(room.types("cy", "exports shop").await.text().contains("none"));
    let unknown = room.types("ana", &format!("import {export} shop")).await.text();
    assert!(unknown.contains("no export of that name"), "{unknown}");
    chat.stop().await;
}

#[tokio::test]
async fn what_is_overwritten_is_kept_and_comes_back_and_what_changed_since_is_left_alone() {
    let (server, builder) = house("normal");
    tenants(&server);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let exported = seen(&server);
    let export = name_of(&agreed(&mut room, "export tenant:acme:* shop").await);
    let _: String = server.run(&["SET", "tenant:acme:wm:number", "43", "PX", "5000000"]);
    let _: i64 = server.run(&["DEL", "tenant:acme:wm:hash"]);
    let _: i64 = server.run(&["RPUSH", "tenant:acme:wm:hash", "another", "type"]);
    let _: i64 = server.run(&["DEL", "tenant:acme:wm:set"]);
    let before = seen(&server);

    let plan = room.types("ana", &format!("import {export} --overwrite shop")).await;
    let text = plan.text();
    for said in ["1 that are missing", "2 that hold something else", "Risk: high", "RESTORE REPLACE"] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
    let done = room.reacts("bo", "✅", &plan.id()).await;
    assert!(done.text().contains("2 keys overwritten"), "{}", done.text());
    assert_same(&exported, &seen(&server));
    let undo = undo_of(&done);
    for words in ["3 keys are as they were", "3 keys were so already"] {
        let back = agreed(&mut room, &undo).await.text();
        assert!(back.contains(words), "{back}");
        assert_same(&before, &seen(&server));
    }

    let undo = undo_of(&agreed(&mut room, &format!("import {export} --overwrite shop")).await);
    let _: String = server.run(&["SET", "tenant:acme:wm:number", "44"]);
    let _: i64 = server.run(&["SADD", "tenant:acme:wm:set", "four"]);
    let back = agreed(&mut room, &undo).await.text();
    assert!(back.contains("1 key is as it was") && back.contains("2 keys hold something newer"), "{back}");
    assert_eq!(server.run::<String>(&["GET", "tenant:acme:wm:number"]), "44");
    assert_eq!(server.run::<i64>(&["SCARD", "tenant:acme:wm:set"]), 4);
    assert_eq!(server.run::<String>(&["TYPE", "tenant:acme:wm:hash"]), "list");
    chat.stop().await;
}

#[tokio::test]
async fn what_would_have_expired_since_is_named_and_not_revived() {
    let (server, builder) = house("normal");
    for (name, px) in [("s:1", "900"), ("s:2", "3600000")] {
        let _: () = server.run(&["SET", name, "x", "PX", px]);
    }
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let mut done = agreed(&mut room, "export s:* shop").await;
    // On a slow machine the first may be gone before it is copied.
    while !done.text().contains("2 keys (") {
        let _: () = server.run(&["SET", "s:1", "x", "PX", "4000"]);
        done = agreed(&mut room, "export s:* shop").await;
    }
    let export = name_of(&done);
    eventually("its time is over", Duration::from_secs(10), || server.run::<i64>(&["EXISTS", "s:1"]) == 0);
    let _: i64 = server.run(&["DEL", "s:2"]);
    let plan = room.types("ana", &format!("import {export} shop")).await;
    assert!(plan.text().contains("1 that would have expired since"), "{}", plan.text());
    let done = room.reacts("bo", "✅", &plan.id()).await.text();
    assert!(done.contains("1 key put there") && done.contains("1 key would have expired since"), "{done}");
    assert_eq!(server.run::<i64>(&["EXISTS", "s:1"]), 0);
    assert!((3_000_000..=3_600_000).contains(&server.run::<i64>(&["PTTL", "s:2"])));
    chat.stop().await;
}

#[tokio::test]
async fn g6_dead_letters_are_offered_to_be_exported_before_they_go() {
    let (server, builder) = house("normal");
    server.fill("godel:queue:dead", 600, 20);
    let before = seen(&server);
    let profile = format!(
        "title = \"shop\"\nenvironment = \"prod\"\nowner = \"the tests\"\n\n[[instances]]\naddress = \"{}\"\n\
         touch = {{ user = \"toucher\", password = {{ file = \"{}\" }} }}\n\n[patterns.dead]\n\
         glob = \"godel:queue:dead:*\"\nabout = \"dead letters, to be reviewed before they go\"\nreview = true\n",
        server.address(),
        server.dir().join("touch.secret").display()
    );
    let policy = POLICY.replace("MODE", "normal").replace("roles = [\"viewer\"]", "roles = [\"approver\"]");
    let chat = builder.file("services/shop.toml", &profile).file("policy.toml", &policy).start().await;
    let mut room = Room::of(&chat);
    let purge = room.types("ana", "purge godel:queue:dead:* --all shop").await;
    assert!(purge.text().contains("dead letters, to be reviewed before they go"), "{}", purge.text());
    let offer = purge.card().actions.iter().find(|action| action.label == "Export first").expect("it is offered");
    assert_eq!(offer.command, "export godel:queue:dead:* shop/main");
    let plan = room.presses("ana", &purge.id(), &offer.command.clone()).await;
    assert!(plan.text().contains("600 keys"), "{}", plan.text());
    let export = name_of(&room.reacts("bo", "✅", &plan.id()).await);

    let run = purge.text().split("/redis approve ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    for who in ["bo", "cy"] {
        room.types(who, &format!("approve {run} shop")).await;
    }
    assert_eq!(server.run::<i64>(&["DBSIZE"]), 0);
    let listed = room.types("cy", "exports shop").await.text();
    assert!(listed.contains("600") && listed.contains(&export), "{listed}");
    agreed(&mut room, &format!("import {export} shop")).await;
    assert_same(&before, &seen(&server));
    // By idle time nothing would be left to remove once it was copied.
    let idle = room.types("ana", "purge godel:queue:dead:* --idle 1s shop --dry-run").await;
    assert!(idle.card().actions.iter().all(|action| action.label != "Export first"));
    chat.stop().await;
}

#[tokio::test]
async fn a_cluster_is_exported_from_every_primary_and_imported_where_the_keys_belong() {
    let cluster = ClusterWorld::start(false);
    let mut addresses = Vec::new();
    for node in cluster.primaries() {
        let _: () = node.run(&["ACL", "SETUSER", "toucher", "on", ">touch-secret", "~*", "&*", "+@all"]);
        addresses.push(format!("\"{}\"", node.address()));
    }
    let mut admins: Vec<_> = cluster.primaries().iter().map(|node| node.admin()).collect();
    for i in 0..600 {
        let mut set = redis::cmd(if i % 2 == 0 { "SET" } else { "SADD" });
        set.arg(key(i)).arg(format!("v{i}"));
        if i % 2 == 0 {
            set.arg("PX").arg(3_600_000 + i);
        }
        assert!(admins.iter_mut().any(|admin| set.exec(admin).is_ok()), "one of the primaries holds its slot");
    }
    let all = || cluster.primaries().iter().flat_map(seen).collect::<Seen>();
    let before = all();
    let chat = house_at("normal", &cluster.nodes[0], &format!("cluster = [{}]", addresses.join(", "))).start().await;
    let mut room = Room::of(&chat);
    let done = agreed(&mut room, "export session:* shop").await;
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    assert_same(&before, &all());
    let export = name_of(&done);
    assert!(room.types("cy", "exports shop").await.text().contains("600"));
    for node in cluster.primaries() {
        let _: () = node.run(&["FLUSHALL"]);
    }
    let done = agreed(&mut room, &format!("import {export} shop")).await;
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    assert_same(&before, &all());
    agreed(&mut room, &undo_of(&done)).await;
    assert_eq!(all().len(), 0);
    chat.stop().await;
}

/// An export of one key, written as if a server of another version had dumped it.
fn foreign(chat: &Chat, run: u64, service: &str, format: u16) -> RunId {
    let run = RunId::from_bits(run);
    let header = Header {
        step: StepId { run: run.clone(), seq: 0 },
        service: service.parse().unwrap(),
        instance: "main".parse().unwrap(),
        created_ms: jiff::Timestamp::now().as_millisecond(),
    };
    let mut dump = b"\0\x03abc".to_vec();
    dump.extend(format.to_le_bytes());
    dump.extend([0; 8]);
    let fingerprint = rediscue::keyspace::rdb::dump::fingerprint(&dump);
    let key = Record::Key {
        db: 0,
        key: b"from:afar".to_vec(),
        deadline: Deadline::Never,
        kind: "string".into(),
        fingerprint,
        dump,
    };
    let contents = Contents { what: "one key".into(), files: 1, keys: 1, format, ..Contents::default() };
    let mut writer = chat.store.snapshots().unwrap().begin(&header).unwrap();
    writer.append(&[key]).unwrap();
    writer.append(&[Record::Contents(contents)]).unwrap();
    writer.close().unwrap();
    run
}

#[tokio::test]
async fn an_export_of_a_newer_server_or_of_another_service_is_refused_with_the_reason() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let newer = foreign(&chat, 77, "shop", 9_999);
    let done = agreed(&mut room, &format!("import {newer} shop")).await.text();
    assert!(done.contains("does not read what the export holds") && done.contains("9999"), "{done}");
    assert!(done.contains("made on a newer Redis"), "{done}");
    assert_eq!(server.run::<i64>(&["DBSIZE"]), 0);

    let other = foreign(&chat, 78, "blog", 9);
    let refused = room.types("ana", &format!("import {other} shop")).await.text();
    assert!(refused.contains("people's data stays with its service"), "{refused}");
    assert!(!room.types("cy", "exports shop").await.text().contains(other.as_str()), "others' exports are not listed");
    let refused = room.types("ana", "import 7K2Q9M4X shop").await.text();
    assert!(refused.contains("no export of that name"), "{refused}");

    furnish(&server, 10);
    let removed = agreed(&mut room, "purge session:* --type hash shop").await;
    let refused = room.types("ana", &format!("import {} shop", name_of(&removed))).await.text();
    assert!(refused.contains("it is no export") && refused.contains("/redis undo"), "{refused}");
    let viewer = room.types("cy", "export session:* shop").await.text();
    assert!(viewer.contains("No rule lets you run export"), "{viewer}");
    chat.stop().await;
}

#[tokio::test]
async fn keys_too_large_to_be_dumped_unheard_are_left_out_and_named_unless_they_are_asked_for() {
    let (server, builder) = house("normal");
    let mut pipe = redis::pipe();
    for i in 0..20_000 {
        pipe.cmd("HSET").arg("big:one").arg(format!("field-{i}")).arg("v".repeat(20)).ignore();
    }
    pipe.cmd("SET").arg("big:small").arg("x").ignore();
    pipe.exec(&mut server.admin()).unwrap();
    let before = seen(&server);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "export big:* shop").await;
    assert!(plan.text().contains("they are not in it"), "{}", plan.text());
    let done = room.reacts("bo", "✅", &plan.id()).await.text();
    assert!(done.contains("1 key (") && done.contains("too large to be dumped"), "{done}");
    assert!(room.types("cy", "exports shop").await.text().contains("lacks 1"));
    let export = name_of(&agreed(&mut room, "export big:* --large shop").await);
    let _: () = server.run(&["FLUSHALL"]);
    agreed(&mut room, &format!("import {export} shop")).await;
    assert_same(&before, &seen(&server));
    chat.stop().await;
}

#[tokio::test]
async fn filters_choose_as_a_purge_does_and_the_export_holds_nothing_else() {
    let (server, builder) = house("normal");
    furnish(&server, 400);
    let before = seen(&server);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let done = agreed(&mut room, "export session:* --where organisationId=org-1 --type hash --no-ttl shop").await;
    let export = name_of(&done);
    let meant: Vec<String> = (0..400).filter(|i| i % 4 == 1 && i % 3 == 0).map(key).collect();
    assert!(done.text().contains(&format!("{} keys (", meant.len())), "{} of {}", done.text(), meant.len());
    let _: () = server.run(&["FLUSHALL"]);
    agreed(&mut room, &format!("import {export} shop")).await;
    let after = seen(&server);
    let wanted: Seen = before.into_iter().filter(|(name, _)| meant.iter().any(|m| m.as_bytes() == &name[..])).collect();
    assert_same(&wanted, &after);
    chat.stop().await;
}

#[tokio::test]
async fn what_a_profile_does_not_let_come_back_is_not_imported_either() {
    let (server, builder) = house("normal");
    furnish(&server, 20);
    let profile = format!(
        "title = \"shop\"\nenvironment = \"prod\"\nowner = \"the tests\"\n\n[[instances]]\naddress = \"{}\"\n\
         touch = {{ user = \"toucher\", password = {{ file = \"{}\" }} }}\n\n[patterns.sessions]\n\
         glob = \"session:*\"\nrevive = false\n",
        server.address(),
        server.dir().join("touch.secret").display()
    );
    let chat = builder.file("services/shop.toml", &profile).start().await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "export * shop").await;
    assert!(plan.text().contains("`import` is refused"), "{}", plan.text());
    let export = name_of(&room.reacts("bo", "✅", &plan.id()).await);
    let _: () = server.run(&["FLUSHALL"]);
    for line in [format!("import {export} shop"), format!("import {export} --only session:1* shop")] {
        let refused = room.types("ana", &line).await.text();
        assert!(refused.contains("does not let keys of session:* come back"), "{line}: {refused}");
    }
    let done = agreed(&mut room, &format!("import {export} --only other:* shop")).await;
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    assert!(seen(&server).keys().all(|name| name.starts_with(b"other:")) && server.run::<i64>(&["DBSIZE"]) > 5);
    chat.stop().await;
}
