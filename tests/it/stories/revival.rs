//! What a service does not let come back stays away, and whoever could lift that is named.

use rediscue::model::Level;

use crate::world::{
    chat::{Answer, Chat, ChatBuilder},
    redis::RedisServer,
    room::{POLICY, Room, house},
};

const SESSIONS: &str = "\n[patterns.sessions]\nglob = \"session:*\"\nabout = \"logins\"\nrevive = false\n\n\
                        [patterns.cache]\nglob = \"cache:*\"\n";

/// A server with sessions and a cache, whose service forbids the return of sessions.
fn strict() -> (RedisServer, ChatBuilder, String) {
    let (server, builder) = house("normal");
    let profile = builder.written("services/shop.toml");
    let free = std::fs::read_to_string(profile).unwrap();
    let policy = POLICY.replace("MODE", "normal").replace("roles = [\"viewer\"]", "roles = [\"approver\"]");
    let builder = builder.file("services/shop.toml", &format!("{free}{SESSIONS}")).file("policy.toml", &policy);
    server.fill("session:", 20, 10);
    server.fill("cache:", 20, 10);
    (server, builder, free)
}

fn count(server: &RedisServer, pattern: &str) -> usize {
    server.run::<Vec<String>>(&["KEYS", pattern]).len()
}

/// Types the line that undoes a run; what is said to it.
async fn undoes(room: &mut Room, done: &Answer) -> (String, Answer) {
    let footer = done.card().footer.as_deref().unwrap_or_default();
    let run = footer.strip_prefix("run ").and_then(|rest| rest.split_whitespace().next());
    let undo = format!("undo {}", run.unwrap_or_else(|| panic!("its run is named: {footer}")));
    let said = room.types("ana", &undo).await;
    (undo, said)
}

/// What ana asks for, with the typed consent of bo and cy; the plan's text and how it ended.
async fn critical(room: &mut Room, line: &str) -> (String, Answer) {
    let plan = room.types("ana", line).await.text();
    let run = plan.split("/redis approve ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let consent = format!("approve {} shop", run.unwrap_or_else(|| panic!("it is critical: {plan}")));
    room.types("bo", &consent).await;
    let done = room.types("cy", &consent).await;
    (plan, done)
}

async fn reloads(chat: &Chat, room: &mut Room, profile: &str) {
    std::fs::write(chat.config_file("services/shop.toml"), profile).unwrap();
    let reloaded = room.types("ana", "reload").await;
    assert!(reloaded.text().contains("was read again"), "{}", reloaded.text());
}

#[tokio::test]
async fn sessions_a_service_forbids_to_revive_stay_away_until_its_owner_lifts_that() {
    assert!(POLICY.contains("keeper"));
    let (server, builder, free) = strict();
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let (plan, one) = room.agreed("delete session:7 shop").await;
    for said in ["Undo: not possible: the profile does not let keys of session:* come back", "Risk: high"] {
        assert!(plan.contains(said), "the plan says so beforehand: {said} is missing in {plan}");
    }
    assert!(!plan.contains("/redis undo"), "{plan}");
    assert!(one.card().actions.iter().all(|action| action.label != "Undo"), "nor is it offered: {}", one.text());
    let (plan, many) = critical(&mut room, "purge session:1* --no-ttl shop").await;
    assert!(plan.contains("Risk: critical"), "where nothing can come back the risk is a level higher: {plan}");
    assert_eq!((one.level(), many.level()), (Some(Level::Ok), Some(Level::Ok)), "{}", many.text());
    let left = count(&server, "session:*");
    assert_eq!(left, 20 - 1 - 11);

    for done in [&one, &many] {
        let (_, refused) = undoes(&mut room, done).await;
        let text = refused.text();
        for said in [
            "shop does not let keys of session:* come back",
            "revive = false",
            "the tests, its owner, can lift that in services/shop.toml",
        ] {
            assert!(text.contains(said), "{said} is missing in {text}");
        }
        assert!(refused.card().actions.iter().all(|action| !action.command.starts_with("approve")), "{text}");
    }
    assert_eq!(count(&server, "session:*"), left);

    // What the profile says nothing of comes back as ever, and its plan warns of nothing.
    let (plan, cache) = room.agreed("purge cache:1* --no-ttl shop").await;
    assert!(!plan.contains("come back ("), "{plan}");
    let (undo, _) = undoes(&mut room, &cache).await;
    let (_, back) = room.agreed(&undo).await;
    assert_eq!((back.level(), count(&server, "cache:*")), (Some(Level::Ok), 20), "{}", back.text());

    // The owner lifts it: what was kept is there still.
    reloads(&chat, &mut room, &format!("{free}{}", SESSIONS.replace("revive = false", "revive = true"))).await;
    for done in [&many, &one] {
        let (undo, _) = undoes(&mut room, done).await;
        let (_, back) = room.agreed(&undo).await;
        assert_eq!(back.level(), Some(Level::Ok), "{}", back.text());
    }
    assert_eq!(count(&server, "session:*"), 20);
    chat.stop().await;
}

#[tokio::test]
async fn a_wider_removal_that_may_hold_such_keys_is_not_taken_back_either_nor_once_it_is_forbidden_later() {
    let (server, builder, free) = strict();
    let chat = builder.file("services/shop.toml", &free).start().await;
    let mut room = Room::of(&chat);
    let (_, done) = room.agreed("purge s* --no-ttl shop").await;
    assert_eq!((done.level(), count(&server, "session:*")), (Some(Level::Ok), 0), "{}", done.text());
    reloads(&chat, &mut room, &format!("{free}{SESSIONS}")).await;
    let (_, refused) = undoes(&mut room, &done).await;
    assert!(refused.text().contains("does not let keys of session:* come back"), "{}", refused.text());
    assert_eq!(count(&server, "session:*"), 0);
    chat.stop().await;
}
