//! A password rotated: the new one beside the old, then the old one gone, and the secret nowhere but in its file.

use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use rediscue::{
    model::{Address, Level},
    store::PlanState,
};

use crate::world::{
    chat::{Answer, Chat, ChatBuilder},
    eventually,
    proxy::Proxy,
    redis::RedisServer,
    room::{Room, TOUCHER, house_at, setting},
};

fn server() -> RedisServer {
    RedisServer::builder().user(TOUCHER).user("shop on >old-secret ~* &* +@all").start()
}

/// A connection as `shop`, if the password is good.
fn login(server: &RedisServer, password: &str) -> Option<redis::Connection> {
    let at = redis::Client::open(format!("redis://shop:{password}@127.0.0.1:{}", server.port())).unwrap();
    at.get_connection().ok()
}

/// The file a run handed a password over in.
fn file_of(text: &str) -> PathBuf {
    let from = text.find("; in /").expect("the plan names the file") + 5;
    text[from..].split_whitespace().next().unwrap().into()
}

fn undo_of(answer: &Answer) -> String {
    answer.card().actions.iter().find(|action| action.label == "Undo").expect("it can be undone").command.clone()
}

/// Nothing that is kept or said holds the secret.
async fn nowhere_but_in_its_file(chat: &Chat, secret: &str, said: &[&str]) {
    assert!(said.iter().all(|text| !text.contains(secret)), "it was said");
    let rows = chat.store.journal(200).await.unwrap();
    assert!(rows.iter().all(|row| !format!("{row:?}").contains(secret)), "it is in the journal");
    for row in chat.store.plans(PlanState::Done).await.unwrap() {
        assert!(!format!("{row:?}").contains(secret), "it is in a plan");
        assert!(!format!("{:?}", chat.store.steps(&row.plan.run).await.unwrap()).contains(secret), "it is in a step");
    }
}

#[tokio::test]
async fn s20_a_password_is_rotated_in_two_steps_and_its_old_connections_are_cut() {
    let server = server();
    server.run::<()>(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    let replica = RedisServer::builder()
        .user(TOUCHER)
        .user("shop on >old-secret ~* &* +@all")
        .option("replicaof", &format!("127.0.0.1 {}", server.port()))
        .start();
    eventually("the replica is in step", std::time::Duration::from_secs(20), || {
        replica.info("master_link_status") == "up"
    });
    let chat = house_at("normal", &server, &format!("address = \"{}\"", server.address())).start().await;
    let mut room = Room::of(&chat);
    let mut before = login(&server, "old-secret").expect("the old password is good");

    let early = room.types("ana", "rotate-password shop --finish shop").await.text();
    assert!(early.contains("no rotation of the password of shop was begun"), "{early}");
    let (plan, begun) = room.agreed("rotate-password shop shop").await;
    for said in [
        "made by this bot and never shown",
        "the old password stays good",
        "a restart forgets the new password",
        "1 replicas are not named by the profile",
        "Risk: high",
        "ACL SETUSER shop #(its hash)",
    ] {
        assert!(plan.contains(said), "{said} is missing in {plan}");
    }
    assert_eq!(begun.level(), Some(Level::Ok), "{}", begun.text());
    let file = file_of(&plan);
    let secret = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    assert!(secret.len() >= 32);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(login(&server, "old-secret").is_some() && login(&server, &secret).is_some(), "both are good");
    assert!(begun.card().actions.iter().any(|action| action.command.starts_with("rewrite-config")), "{}", begun.text());

    let (plan, done) = room.agreed("rotate-password shop --finish --cut shop").await;
    assert!(plan.contains("since before the new password was made, so with an old one"), "{plan}");
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    assert!(login(&server, "old-secret").is_none() && login(&server, &secret).is_some(), "only the new one is good");
    assert!(redis::cmd("PING").query::<String>(&mut before).is_err(), "who came with the old one was cut");
    let undone = room.types("ana", &undo_of(&begun)).await.text();
    assert!(undone.contains("has one password only"), "without it nobody could log in: {undone}");
    let slow = format!("{:?}", server.run::<redis::Value>(&["SLOWLOG", "GET", "-1"]));
    assert!(!slow.contains(&secret), "the server's own slow log does not hold it either");
    nowhere_but_in_its_file(&chat, &secret, &[&plan, &begun.text(), &done.text()]).await;
    chat.stop().await;
}

#[tokio::test]
async fn before_its_end_a_rotation_is_taken_back_and_the_old_password_was_good_all_the_time() {
    let server = server();
    let chat = house_at("normal", &server, &format!("address = \"{}\"", server.address())).start().await;
    let mut room = Room::of(&chat);
    let before: redis::Value = server.run(&["ACL", "GETUSER", "shop"]);
    let (plan, begun) = room.agreed("rotate-password shop shop").await;
    let secret = std::fs::read_to_string(file_of(&plan)).unwrap().trim().to_owned();
    let undo = undo_of(&begun);
    let (_, undone) = room.agreed(&undo).await;
    assert_eq!(undone.level(), Some(Level::Ok), "{}", undone.text());
    assert!(login(&server, &secret).is_none() && login(&server, "old-secret").is_some());
    assert_eq!(server.run::<redis::Value>(&["ACL", "GETUSER", "shop"]), before, "the user is as it was");
    let again = room.types("ana", &undo).await.text();
    assert!(again.contains("was dropped already"), "{again}");
    let finish = room.types("ana", "rotate-password shop --finish shop").await.text();
    assert!(finish.contains("no rotation of the password of shop was begun"), "{finish}");
    for (line, why) in [
        ("rotate-password nobody shop", "knows no user nobody"),
        ("rotate-password default shop", "needs no password"),
        ("rotate-password shop --cut shop", "when the old password goes"),
        ("rotate-password 'a b' shop", "letters, digits"),
    ] {
        let refused = room.types("ana", line).await.text();
        assert!(refused.contains(why), "{line}: {refused}");
    }
    chat.stop().await;
}

#[tokio::test]
async fn the_bot_does_not_lock_itself_out() {
    let server = server();
    let chat = house_at("normal", &server, &format!("address = \"{}\"", server.address())).start().await;
    let mut room = Room::of(&chat);
    let (plan, _) = room.agreed("rotate-password toucher shop").await;
    assert!(plan.contains("This bot itself logs in as toucher"), "{plan}");
    let (_, refused) = room.agreed("rotate-password toucher --finish shop").await;
    assert!(refused.text().contains("still logs in with the old password"), "{}", refused.text());
    assert_eq!(setting(&server, "timeout"), "0");
    // The secret is put where the profile points, and the end is let through.
    std::fs::copy(file_of(&plan), server.dir().join("touch.secret")).unwrap();
    let (_, done) = room.agreed("rotate-password toucher --finish shop").await;
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    let (_, still) = room.agreed("set-config timeout 7 shop").await;
    assert_eq!(setting(&server, "timeout"), "7", "{}", still.text());
    chat.stop().await;
}

#[tokio::test]
async fn a_rotation_that_breaks_at_any_step_leaves_the_old_password_good_and_says_what_is_so() {
    let server = server();
    let proxy = Proxy::before(&server.address()).await;
    let chat = house_at("normal", &server, &format!("address = \"{}\"", proxy.address())).start().await;
    let mut room = Room::of(&chat);
    let before: redis::Value = server.run(&["ACL", "GETUSER", "shop"]);
    let plan = room.types("ana", "rotate-password shop shop").await;
    server.forbid("toucher", "acl|setuser");
    let denied = room.reacts("bo", "✅", &plan.id()).await;
    let plan = plan.text();
    assert!(denied.text().contains("Nothing was changed"), "{}", denied.text());
    assert!(!file_of(&plan).exists(), "a secret that opens nothing is not left behind");
    server.run::<()>(&["ACL", "SETUSER", "toucher", "+@all"]);
    for word in ["touch-secret", "SETUSER"] {
        let plan = room.types("ana", "rotate-password shop shop").await;
        proxy.cut_on(word, false);
        let cut = room.reacts("bo", "✅", &plan.id()).await.text();
        assert!(proxy.has_cut() && (cut.contains("Nothing was changed") || cut.contains("uncertain")), "{word}: {cut}");
        assert_eq!(server.run::<redis::Value>(&["ACL", "GETUSER", "shop"]), before, "{word}");
    }
    let plan = room.types("ana", "rotate-password shop shop").await;
    proxy.cut_on("SETUSER", true);
    let lost = room.reacts("bo", "✅", &plan.id()).await;
    assert_eq!(lost.level(), Some(Level::Ok), "it was looked at again, and had been done: {}", lost.text());
    let secret = std::fs::read_to_string(file_of(&plan.text())).unwrap().trim().to_owned();
    assert!(login(&server, &secret).is_some() && login(&server, "old-secret").is_some());
    chat.stop().await;
}

/// Somebody of a server that knows no users.
fn everybody(server: &RedisServer, password: &str) -> Option<redis::Connection> {
    let at = redis::Client::open(format!("redis://:{password}@127.0.0.1:{}", server.port())).unwrap();
    at.get_connection().ok()
}

/// A server that knows no users.
fn without_users() -> RedisServer {
    RedisServer::builder()
        .option("rename-command", "ACL \"\"")
        .option("requirepass", "old-secret")
        .option("slowlog-log-slower-than", "0")
        .start()
}

/// A house that comes to it, at this address, with the password in `own.secret` beside it.
fn house_without_users(server: &RedisServer, at: &Address) -> ChatBuilder {
    let own = server.dir().join("own.secret");
    std::fs::write(&own, "old-secret\n").unwrap();
    let from = format!("password = {{ file = \"{}\" }}", own.display());
    let builder = house_at("normal", server, &format!("address = \"{at}\""));
    let profile = std::fs::read_to_string(builder.written("services/shop.toml")).unwrap();
    let touch = profile.find("touch = ").expect("the profile names a user for changes");
    builder.file("services/shop.toml", &format!("{}{from}\ntouch = {{ {from} }}\n", &profile[..touch]))
}

#[tokio::test]
async fn where_there_are_no_users_the_one_password_is_replaced_and_the_old_one_kept_for_the_way_back() {
    let server = without_users();
    let own = server.dir().join("own.secret");
    let chat = house_without_users(&server, &server.address()).start().await;
    let mut room = Room::of(&chat);
    let mut open = everybody(&server, "old-secret").expect("the old password is good");

    for (line, why) in [
        ("rotate-password shop shop", "know no user shop"),
        ("rotate-password default --finish shop", "nothing is to be finished"),
    ] {
        let refused = room.types("ana", line).await.text();
        assert!(refused.contains(why), "{line}: {refused}");
    }
    let (plan, done) = room.agreed("rotate-password default shop").await;
    for said in [
        "made by this bot and never shown",
        "whoever logs in anew needs the new one",
        "This bot itself logs in with it",
        "Risk: high",
        "CONFIG SET requirepass (the new one)",
        "the old password, which lies beside the new one, is set again",
    ] {
        assert!(plan.contains(said), "{said} is missing in {plan}");
    }
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    let file = file_of(&plan);
    let secret = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    assert!(secret.len() >= 32 && everybody(&server, &secret).is_some() && everybody(&server, "old-secret").is_none());
    assert_eq!(redis::cmd("PING").query::<String>(&mut open).as_deref(), Ok("PONG"), "who is connected stays");
    let slow = format!("{:?}", redis::cmd("SLOWLOG").arg("GET").arg(-1).query::<redis::Value>(&mut open).unwrap());
    assert!(!slow.contains(&secret) && !slow.contains("old-secret"), "the slow log does not hold it: {slow}");
    nowhere_but_in_its_file(&chat, &secret, &[&plan, &done.text()]).await;

    // The people put it where the profile points, and the bot goes on; the way back needs no memory.
    std::fs::copy(&file, &own).unwrap();
    let undo = undo_of(&done);
    let (_, undone) = room.agreed(&undo).await;
    assert_eq!(undone.level(), Some(Level::Ok), "{}", undone.text());
    assert!(everybody(&server, &secret).is_none() && everybody(&server, "old-secret").is_some());
    std::fs::write(&own, "old-secret\n").unwrap();
    let again = room.types("ana", &undo).await.text();
    assert!(again.contains("was set again already"), "{again}");
    chat.stop().await;
}

#[tokio::test]
async fn with_a_replica_masterauth_is_warned_about() {
    let option = |builder: crate::world::redis::RedisBuilder| {
        builder
            .option("rename-command", "ACL \"\"")
            .option("requirepass", "old-secret")
            .option("masterauth", "old-secret")
    };
    let server = option(RedisServer::builder()).start();
    let replica = option(RedisServer::builder()).option("replicaof", &format!("127.0.0.1 {}", server.port())).start();
    let mut follower = everybody(&replica, "old-secret").unwrap();
    eventually("the replica is in step", std::time::Duration::from_secs(20), || {
        let info: String = redis::cmd("INFO").arg("replication").query(&mut follower).unwrap();
        info.contains("master_link_status:up")
    });
    let chat = house_without_users(&server, &server.address()).start().await;
    let mut room = Room::of(&chat);
    let (plan, done) = room.agreed("rotate-password default shop").await;
    assert!(plan.contains("masterauth"), "{plan}");
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    let secret = std::fs::read_to_string(file_of(&plan)).unwrap().trim().to_owned();
    assert!(everybody(&server, &secret).is_some() && everybody(&server, "old-secret").is_none());
    chat.stop().await;
}

#[tokio::test]
async fn the_one_password_that_cannot_be_set_or_whose_answer_is_lost_leaves_one_that_is_good_and_known() {
    let server = without_users();
    let proxy = Proxy::before(&server.address()).await;
    let chat = house_without_users(&server, &proxy.address()).start().await;
    let mut room = Room::of(&chat);
    let line = "rotate-password default shop";

    let plan = room.types("ana", line).await;
    proxy.refuse_on("requirepass");
    let refused = room.reacts("bo", "✅", &plan.id()).await.text();
    assert!(refused.contains("Nothing was changed"), "{refused}");
    let file = file_of(&plan.text());
    assert!(everybody(&server, "old-secret").is_some());
    assert!(!file.exists(), "a secret that opens nothing is not left behind");

    // Before the bot has logged in for the change, and at the change itself.
    for word in ["old-secret", "requirepass"] {
        let plan = room.types("ana", line).await;
        proxy.cut_on(word, false);
        let cut = room.reacts("bo", "✅", &plan.id()).await.text();
        assert!(proxy.has_cut() && (cut.contains("Nothing was changed") || cut.contains("uncertain")), "{word}: {cut}");
        assert!(everybody(&server, "old-secret").is_some(), "{word}: {cut}");
    }

    let plan = room.types("ana", line).await;
    proxy.cut_on("requirepass", true);
    let lost = room.reacts("bo", "✅", &plan.id()).await;
    assert!(proxy.has_cut());
    assert_eq!(lost.level(), Some(Level::Ok), "it was looked at again, and had been done: {}", lost.text());
    let secret = std::fs::read_to_string(file_of(&plan.text())).unwrap().trim().to_owned();
    assert!(everybody(&server, &secret).is_some() && everybody(&server, "old-secret").is_none());
    chat.stop().await;
}
