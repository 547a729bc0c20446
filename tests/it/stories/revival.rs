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
    let builder = builder.file("services/shop.toml", &format!("{free}{SESSIONS}"));
    server.fill("session:", 20, 10);
    server.fill("cache:", 20, 10);
    (server, builder, free)
}

fn count(server: &RedisServer, pattern: &str) -> usize {
    server.run::<Vec<String>>(&["KEYS", pattern]).len()
}

/// Types the line of the button that undoes a run; what is said to it.
async fn undoes(room: &mut Room, done: &Answer) -> (String, Answer) {
    let undo = done.card().actions.iter().find(|action| action.label == "Undo").expect("it was kept").command.clone();
    let said = room.types("ana", &undo).await;
    (undo, said)
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
    assert!(plan.contains("does not let keys of session:* come back"), "the plan warns beforehand: {plan}");
    let (_, many) = room.agreed("purge session:1* --no-ttl shop").await;
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
