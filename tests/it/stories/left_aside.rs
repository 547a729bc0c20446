//! Keys that a run left under another name: told, shown, tidied up by itself, and told again.

use std::time::Duration;

use rediscue::{
    chat::console::{Link, wire::FromBot},
    exec::Touched,
    model::RunId,
    store::{PlanState, StepState, StoreSettings},
};

use crate::world::{
    chat::{Answer, Chat, heard, text_of},
    eventually_async,
    keys::{Hand, Seen, assert_same, furnish, removal, seen},
    proxy::Proxy,
    redis::RedisServer,
    room::{Room, TOUCHER, house, house_at},
    team::run_of,
};

const PATIENCE: Duration = Duration::from_secs(60);
const LINE: &str = "purge session:* --where organisationId=org-1 shop";

/// How many keys are aside.
fn aside(seen: &Seen) -> usize {
    seen.keys().filter(|name| name.starts_with(b"rediscue:aside:")).count()
}

/// What the server may not be asked beforehand is found out by the run.
fn not_told_beforehand(server: &RedisServer) {
    server.run::<()>(&["ACL", "SETUSER", "default", "-acl"]);
}

/// The rights of the user for changes, by somebody who may give them.
fn rights(server: &RedisServer, words: &[&str]) {
    let mut admin = server.admin();
    redis::cmd("AUTH").arg("toucher2").arg("s").exec(&mut admin).unwrap();
    redis::cmd("ACL").arg("SETUSER").arg("toucher").arg(words).exec(&mut admin).unwrap();
}

/// A server of two hundred sessions and a keeper of its rights.
fn stage(sessions: usize) -> RedisServer {
    let server = RedisServer::builder().user(TOUCHER).user("toucher2 on >s ~* &* +@all").start();
    furnish(&server, sessions);
    server
}

/// Whether any key is aside now, asked so that the run goes on meanwhile.
fn any_aside(server: &RedisServer) -> bool {
    !server.run::<Vec<Vec<u8>>>(&["KEYS", "rediscue:aside:*"]).is_empty()
}

/// What is said of itself until a card holds these words; its text.
async fn hears(link: &mut Link, words: &str) -> String {
    loop {
        if let FromBot::Say { card, .. } | FromBot::Edit { card, .. } = heard(link).await {
            let text = text_of(&card);
            if text.contains(words) {
                return text;
            }
        }
    }
}

#[tokio::test]
async fn keys_that_may_not_be_removed_have_their_names_back_and_nothing_was_changed() {
    let server = stage(200);
    let before = seen(&server);
    let chat = house_at("normal", &server, &format!("address = \"{}\"", server.address())).start().await;
    let mut room = Room::of(&chat);
    not_told_beforehand(&server);
    rights(&server, &["-unlink"]);
    let (_, done) = room.agreed(LINE).await;
    let text = done.text();
    for said in ["Nothing was changed: ", "may not run `UNLINK`", "50 keys were aside and have their names back"] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
    assert!(text.contains("grant it to the user for changes") && !text.contains("rest of the card"), "{text}");
    let looked = done.messages.iter().any(|message| message.card.title.starts_with("verify ·"));
    assert!(!text.contains("[Undo]") && !looked, "{text}");
    assert_same(&before, &seen(&server));
    let pending = room.types("ana", "pending").await.text();
    assert!(pending.contains("Nothing waits for consent"), "{pending}");
    chat.stop().await;
}

#[tokio::test]
async fn a_right_that_is_missing_is_told_before_anybody_is_asked_for_their_word() {
    let (server, builder) = house("normal");
    if crate::world::redis::is_before_7() {
        return;
    }
    furnish(&server, 40);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    for (command, line, told) in [
        ("unlink", LINE, "may not run `UNLINK`"),
        ("renamenx", LINE, "may not run `RENAMENX`"),
        ("config|set", "set-config timeout 300 shop", "may not run `CONFIG SET`"),
        ("pexpireat", "expire session:* 2h shop", "may not run `PEXPIREAT`"),
    ] {
        server.forbid("toucher", command);
        let plan = room.types("ana", line).await.text();
        assert!(plan.contains(told) && !plan.contains("Waits until"), "{line}: {plan}");
        server.run::<()>(&["ACL", "SETUSER", "toucher", "+@all", &format!("+{command}")]);
        let plan = room.types("ana", line).await.text();
        assert!(plan.contains("Waits until"), "{line}: {plan}");
    }
    chat.stop().await;
}

#[tokio::test]
async fn a_right_that_the_way_back_needs_is_missed_when_the_change_is_planned_and_when_its_undo_is() {
    let (server, builder) = house("normal");
    if crate::world::redis::is_before_7() {
        return;
    }
    furnish(&server, 40);
    let before = seen(&server);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    for (command, line, told) in
        [("restore", LINE, "may not run `RESTORE`"), ("persist", "expire session:* 2h shop", "may not run `PERSIST`")]
    {
        server.forbid("toucher", command);
        let (plan, done) = room.agreed(line).await;
        assert!(plan.contains(told) && plan.contains("this cannot be taken back"), "{line}: {plan}");
        let undo = done.card().actions.iter().find(|action| action.label == "Undo").unwrap().command.clone();
        let refused = room.types("ana", &undo).await.text();
        assert!(refused.contains(told) && !refused.contains("Waits until"), "{line}: {refused}");
        server.run::<()>(&["ACL", "SETUSER", "toucher", "+@all", &format!("+{command}")]);
        let (plan, _) = room.agreed(&undo).await;
        assert!(!plan.contains("may not run"), "{plan}");
        assert_same(&before, &seen(&server));
    }
    chat.stop().await;
}

#[tokio::test]
async fn keys_that_may_neither_be_removed_nor_renamed_are_told_shown_and_tidied_up_once_they_may() {
    let server = stage(6_000);
    let before = seen(&server);
    let proxy = Proxy::before(&server.address()).await;
    let chat = house_at("normal", &server, &format!("address = \"{}\"", proxy.address()))
        .file("bot.toml", "[deadlines]\nprogress = \"100ms\"\n")
        .start()
        .await;
    let mut room = Room::of(&chat);
    let mut others = Room::of(&chat);
    let plan = room.types("ana", LINE).await;
    let (run, id) = (run_of(&plan), plan.id());
    proxy.delay(Duration::from_millis(25));
    let forbidding = async {
        eventually_async("some of them are aside", PATIENCE, async || any_aside(&server)).await;
        rights(&server, &["-unlink", "-renamenx"]);
        proxy.delay(Duration::ZERO);
    };
    let (done, ()) = tokio::join!(others.reacts("bo", "✅", &id), forbidding);
    let (text, left) = (done.text(), aside(&seen(&server)));
    assert!(left > 0, "{text}");
    let names = if left == 1 { "1 key is".to_owned() } else { format!("{left} keys are") };
    for said in ["It did not get through: ", &format!("up to {names} under another name"), "tried again by itself"] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
    // What a failed run left is looked at.
    room.hears("verify ·").await;
    let pending = room.types("ana", "pending").await.text();
    let line = pending.lines().find(|line| line.starts_with(run.as_str())).unwrap_or_default();
    assert!(line.contains(&format!("up to {names} under another name")) && line.contains("may not run"), "{pending}");

    // Another start finds the row, and is refused as well.
    let chat = chat.leave().await.start().await;
    let (mut room, mut reader) = (Room::of(&chat), chat.reader("ana"));
    let still = chat.store.asides().await.unwrap();
    assert_eq!((still.len(), still[0].left.keys), (1, left as u64));
    rights(&server, &["+@all"]);
    let told = hears(&mut reader, "tidied up ·").await;
    assert!(
        told.contains(&run.to_string()) && told.contains("have their names back") || told.contains("are removed now"),
        "{told}"
    );
    assert_eq!(aside(&seen(&server)), 0);
    hears(&mut reader, "verify ·").await;
    assert!(room.types("ana", "pending").await.text().contains("Nothing waits for consent"));
    room.agreed(&format!("undo {run}")).await;
    assert_same(&before, &seen(&server));
    chat.stop().await;
}

/// A run that its server falls silent under.
async fn silenced(chat: &Chat, room: &mut Room, server: &RedisServer, proxy: &Proxy) -> (RunId, Answer) {
    let mut others = Room::of(chat);
    let plan = room.types("ana", LINE).await;
    let id = plan.id();
    proxy.delay(Duration::from_millis(25));
    let freezing = async {
        eventually_async("some of them are aside", PATIENCE, async || any_aside(server)).await;
        server.freeze();
        proxy.delay(Duration::ZERO);
    };
    let (done, ()) = tokio::join!(others.reacts("bo", "✅", &id), freezing);
    (run_of(&plan), done)
}

#[tokio::test]
async fn what_a_server_that_fell_silent_keeps_aside_is_tidied_up_when_it_answers_again() {
    let server = stage(4_000);
    let before = seen(&server);
    let proxy = Proxy::before(&server.address()).await;
    let chat = house_at("normal", &server, &format!("address = \"{}\"", proxy.address())).start().await;
    let mut room = Room::of(&chat);
    let (run, done) = silenced(&chat, &mut room, &server, &proxy).await;
    let text = done.text();
    assert!(text.contains(" under another name on the server") && text.contains("tried again by itself"), "{text}");
    let told = text.split("up to ").nth(1).and_then(|rest| rest.split(" key").next()).unwrap_or_default();
    let told: usize = told.replace(',', "").parse().unwrap_or_else(|_| panic!("{text}"));
    assert!(room.types("ana", "pending").await.text().contains("under another name"), "it is shown");
    server.thaw();
    let tidied = room.hears("tidied up ·").await;
    assert!(tidied.contains(run.as_str()), "{tidied}");
    let now = seen(&server);
    assert_eq!(aside(&now), 0);
    let lost = before.len() - now.len();
    assert!(told >= 1 && lost < 1_000, "{told} were told, {lost} are gone");
    let (_, back) = room.agreed(&format!("undo {run}")).await;
    assert!(back.text().contains(&format!("{lost} keys are as they were")), "{lost} of them: {}", back.text());
    assert_same(&before, &seen(&server));
    chat.stop().await;
}

#[tokio::test]
async fn what_a_dead_bot_left_on_a_server_that_is_silent_at_the_start_is_tidied_up_later() {
    let (server, builder) = house("normal");
    furnish(&server, 200);
    let before = seen(&server);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let run = run_of(&room.types("ana", LINE).await);
    // As a bot leaves it that dies when it has set some keys aside and written down none.
    assert!(chat.store.plan_move(&run, PlanState::Pending, PlanState::Running, None).await.unwrap());
    chat.store.step(&run, 0, StepState::Begun, None).await.unwrap();
    for i in [1, 13, 17] {
        let name = format!("session:{i}");
        let _: () = server.run(&["RENAME", &name, &format!("rediscue:aside:{run}-0:{{x}}:{name}")]);
    }
    let left = chat.leave().await;
    server.freeze();
    let chat = left.start().await;
    eventually_async("the start has told what it knows", PATIENCE, async || {
        chat.store.plan(&run).await.unwrap().unwrap().state == PlanState::Uncertain
    })
    .await;
    let (mut room, mut reader) = (Room::of(&chat), chat.reader("ana"));
    let pending = room.types("ana", "pending").await.text();
    assert!(pending.contains("keys may be under another name") && pending.contains(run.as_str()), "{pending}");
    server.thaw();
    let told = hears(&mut reader, "tidied up ·").await;
    assert!(told.contains("3 keys were aside and have their names back"), "{told}");
    assert_same(&before, &seen(&server));
    assert!(chat.store.asides().await.unwrap().is_empty());
    chat.stop().await;
}

#[tokio::test]
async fn an_undo_counts_what_had_only_been_set_aside() {
    let server = RedisServer::start();
    furnish(&server, 3_000);
    let before = seen(&server);
    let proxy = Proxy::before(&server.address()).await;
    let dir = tempfile::tempdir().unwrap();
    let through = crate::world::redis::instance(rediscue::model::Deployment::Standalone(proxy.address()));
    let run_id = server.info("run_id");
    let hand = Hand::at(through, proxy.address(), &run_id, StoreSettings::in_dir(dir.path())).await;
    let plan = hand.plan(42, removal("session:*", 3_000));
    proxy.delay(Duration::from_millis(25));
    let freezing = async {
        // So many at once are aside only while a frame is filled.
        eventually_async("some are removed and some aside", PATIENCE, async || {
            server.run::<usize>(&["DBSIZE"]) < before.len() && any_aside(&server)
        })
        .await;
        server.freeze();
        proxy.delay(Duration::ZERO);
    };
    let (touched, ()) = tokio::join!(hand.touch(&plan), freezing);
    server.thaw();
    let Touched::Aside { keys, .. } = touched else { panic!("{touched:?}") };
    let now = seen(&server);
    let gone = before.keys().filter(|name| !now.contains_key(*name)).count();
    assert!(aside(&now) > 0 && keys as usize >= aside(&now), "{keys} of {}", aside(&now));
    let Touched::Verified(said) = hand.restore(42).await else { panic!("it comes back") };
    let gone = rediscue::runbook::show_number(gone as u64);
    assert!(said.starts_with(&format!("{gone} keys are as they were")), "{gone} were gone: {said}");
    assert_same(&before, &seen(&server));
}

#[tokio::test]
async fn consent_holds_while_a_server_is_silent_and_is_not_asked_for_again() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "set-config timeout 300 shop").await;
    let run = run_of(&plan);
    server.freeze();
    let told = room.reacts("bo", "✅", &plan.id()).await.text();
    for said in ["not run yet", "it is blocked", "The consent to it holds until", &format!("[Try again] approve {run}")]
    {
        assert!(told.contains(said), "{said} is missing in {told}");
    }
    assert!(!told.contains("run id"), "{told}");
    server.thaw();
    loop {
        let done = room.types("bo", &format!("approve {run}")).await.text();
        if done.contains("Done: set timeout") {
            break;
        }
        // What was known of the server is believed for a moment.
        assert!(done.contains("not run yet"), "{done}");
    }
    chat.stop().await;
}
