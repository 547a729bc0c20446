//! What people live through when they change something: a plan that all can
//! see, one person's word that is not enough, another's that is, a way back.

use std::time::Duration;

use rediscue::{model::Level, store::PlanState};

use crate::world::{
    chat::{Answer, text_of},
    eventually_async,
    room::{POLICY, Room, house, setting},
    team,
};

#[tokio::test]
async fn nothing_is_changed_on_one_persons_word_and_a_second_ones_word_runs_it_and_it_can_be_undone() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let before = setting(&server, "maxmemory-policy");

    let plan = room.types("ana", "set-config maxmemory-policy allkeys-lru shop").await;
    let (id, text) = (plan.id(), plan.text());
    for said in [
        "noeviction → allkeys-lru",
        "Risk: high",
        "Who may consent: Bo",
        "Undo: /redis undo",
        "Nothing has been changed yet",
    ] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }

    for (who, why) in
        [("ana", "your own word does not count"), ("cy", "Your word does not count"), ("mallory", "belongs to nobody")]
    {
        let refused = room.reacts(who, "✅", &id).await;
        assert!(refused.text().contains(why), "{who}: {}", refused.text());
        assert!(!refused.messages[0].private, "a refusal is said aloud");
    }
    assert_eq!(setting(&server, "maxmemory-policy"), before);

    let done = room.reacts("bo", "✅", &id).await;
    assert_eq!(setting(&server, "maxmemory-policy"), "allkeys-lru");
    let plan_now = text_of(&done.edited.iter().rfind(|(edited, _)| *edited == id).expect("the plan says its end").1);
    assert!(plan_now.contains("Asked for by Ana, with the consent of Bo"), "{plan_now}");
    assert_eq!(done.level(), Some(Level::Ok));

    room.unreacts("bo", "✅", &id).await;
    assert_eq!(setting(&server, "maxmemory-policy"), "allkeys-lru", "what has run is not taken back by a word");
    let again = room.reacts("bo", "✅", &id).await;
    assert!(again.text().contains("it is done"), "an old plan is refused: {}", again.text());

    let undo =
        done.card().actions.iter().find(|action| action.label == "Undo").expect("it can be undone").command.clone();
    let plan = room.presses("ana", &done.id(), &undo).await;
    assert_eq!(setting(&server, "maxmemory-policy"), "allkeys-lru", "an undo waits for consent too");
    let consent = plan.card().actions[0].command.clone();
    assert!(room.presses("ana", &plan.id(), &consent).await.text().contains("own word"));
    room.presses("bo", &plan.id(), &consent).await;
    assert_eq!(setting(&server, "maxmemory-policy"), before);

    let rows = chat.store.journal(50).await.unwrap();
    let found = |command: &str, outcome: &str, person: &str| {
        rows.iter().any(|row| row.command == command && row.outcome == outcome && row.person.as_deref() == Some(person))
    };
    assert!(found("consent", "denied", "ana") && found("consent", "answered", "bo"), "{rows:?}");
    let run = rows.iter().find(|row| row.command == "run").unwrap();
    assert_eq!((run.person.as_deref(), run.why.as_deref()), (Some("ana"), Some("done; consented by bo")));
    chat.stop().await;
}

#[tokio::test]
async fn a_dry_run_and_a_bot_that_observes_change_nothing() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let dry = room.types("ana", "set-config slowlog-max-len 99 shop --dry-run").await;
    assert!(dry.text().contains("128 → 99") && dry.card().actions.is_empty(), "{}", dry.text());
    assert_eq!(setting(&server, "slowlog-max-len"), "128");
    let low = room.types("ana", "set-config slowlog-max-len 99 shop").await;
    assert_eq!((low.level(), setting(&server, "slowlog-max-len").as_str()), (Some(Level::Ok), "99"), "{}", low.text());
    let waiting = room.types("ana", "set-config timeout 300 shop").await;
    let left = chat.leave().await;

    let chat = left.file("policy.toml", &POLICY.replace("MODE", "observe")).start().await;
    let mut room = Room::of(&chat);
    let refused = room.types("bo", &format!("approve {}", team::run_of(&waiting))).await.text();
    assert!(refused.contains("this bot only observes") && !refused.contains("Your word does not count"), "{refused}");
    let held = room.types("ana", "set-config slowlog-max-len 128 shop").await;
    assert!(!held.text().contains("→ 128"), "{}", held.text());
    assert_eq!(setting(&server, "slowlog-max-len"), "99");
    chat.stop().await;
}

#[tokio::test]
async fn consent_to_what_is_no_longer_so_is_void_and_says_what_changed() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "set-config timeout 300 shop").await;
    let _: String = server.run(&["CONFIG", "SET", "timeout", "77"]);
    let void = room.reacts("bo", "✅", &plan.id()).await;
    assert!(void.text().contains("timeout was 0 and is now 77"), "{}", void.text());
    assert_eq!(setting(&server, "timeout"), "77");
    let other = room.types("ana", "set-config timeout 300 shop").await;
    room.reacts("bo", "❌", &other.id()).await;
    let late = room.reacts("bo", "✅", &other.id()).await;
    assert!(late.text().contains("it is declined"), "{}", late.text());
    assert_eq!(setting(&server, "timeout"), "77");
    chat.stop().await;
}

#[tokio::test]
async fn a_pending_plan_survives_a_restart_and_a_run_that_was_cut_short_is_not_repeated() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let waiting = room.types("ana", "set-config timeout 300 shop").await;
    let cut = room.types("ana", "set-config maxclients 500 shop").await;
    let run_of = |answer: &Answer| answer.card().actions[0].command.replace("approve ", "");
    let (first, second) = (run_of(&waiting), run_of(&cut));
    let run = rediscue::model::RunId::parse(&second).unwrap();
    assert!(chat.store.plan_move(&run, PlanState::Pending, PlanState::Running, None).await.unwrap());

    let chat = chat.leave().await.start().await;
    let mut room = Room::of(&chat);
    let pending = room.types("bo", "pending").await.text();
    assert!(pending.contains(&first) && !pending.contains(&second), "{pending}");
    let before = setting(&server, "maxclients");
    let uncertain = room.types("bo", &format!("approve {second}")).await;
    assert!(!uncertain.text().contains("done ·"), "{}", uncertain.text());
    assert_eq!(setting(&server, "maxclients"), before);
    room.types("bo", &format!("approve {first}")).await;
    assert_eq!(setting(&server, "timeout"), "300");
    chat.stop().await;
}

#[tokio::test]
async fn a_change_for_a_while_takes_itself_back_and_leaves_alone_what_others_changed_since() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let done = room.types("ana", "set-config slowlog-max-len 99 shop --for 1s").await;
    assert!(done.text().contains("It takes itself back at"), "{}", done.text());
    assert_eq!(setting(&server, "slowlog-max-len"), "99");
    let told = room.hears("Its time is up").await;
    assert!(told.contains("has been taken back"), "{told}");
    assert_eq!(setting(&server, "slowlog-max-len"), "128");
    room.hears("verify · shop").await;

    room.types("ana", "set-config slowlog-max-len 99 shop --for 1s").await;
    let _: String = server.run(&["CONFIG", "SET", "slowlog-max-len", "55"]);
    let told = room.hears("could not be taken back").await;
    assert!(told.contains("slowlog-max-len is 55 now, not 99"), "{told}");
    assert!(told.starts_with("not taken back ·"), "{told}");
    assert_eq!(setting(&server, "slowlog-max-len"), "55");
    chat.stop().await;
}

#[tokio::test]
async fn a_change_for_a_while_takes_itself_back_after_a_restart_of_the_bot() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    room.types("ana", "set-config slowlog-max-len 99 shop --for 2s").await;
    let chat = chat.leave().await.start().await;
    assert_eq!(setting(&server, "slowlog-max-len"), "99", "the bot was back before its end");
    eventually_async("it was taken back", Duration::from_secs(20), async || {
        setting(&server, "slowlog-max-len") == "128"
    })
    .await;
    chat.stop().await;
}

#[tokio::test]
async fn an_undo_is_planned_from_what_is_so_now_and_says_what_others_changed() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let done = room.types("ana", "set-config slowlog-max-len 99 shop").await;
    let undo = done.card().actions.iter().find(|action| action.label == "Undo").unwrap().command.clone();
    let _: String = server.run(&["CONFIG", "SET", "slowlog-max-len", "55"]);
    let taken = room.types("ana", &format!("{undo} --dry-run")).await.text();
    assert!(taken.contains("that run set 99, and it is 55 now") && taken.contains("55 → 128"), "{taken}");
    let taken = room.types("ana", &undo).await;
    assert_eq!(setting(&server, "slowlog-max-len"), "128", "{}", taken.text());
    let again = room.types("ana", &undo).await.text();
    assert!(again.contains("nothing to take back"), "a second undo does nothing: {again}");
    for (who, line, why) in [
        ("cy", undo.as_str(), "may not"),
        ("ana", "undo 7K2Q9M4X", "No change has that run id"),
        ("ana", "undo nonsense", "No change has that run id"),
    ] {
        let refused = room.types(who, line).await.text();
        assert!(refused.contains(why), "{who} {line}: {refused}");
    }
    chat.stop().await;
}

#[tokio::test]
async fn what_cannot_be_taken_back_says_so_before_and_is_not_offered() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let _: String = server.run(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    let _: String = server.run(&["PING"]);
    let plan = room.types("ana", "slowlog-reset shop --dry-run").await.text();
    assert!(plan.contains("Undo: not possible: entries of a slow log cannot be put back"), "{plan}");
    let _: String = server.run(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"]);
    let done = room.types("ana", "slowlog-reset shop").await;
    assert!(done.card().actions.is_empty() && done.text().contains("0 entries in the slow log now"), "{}", done.text());
    let rewrite = room.types("ana", "rewrite-config shop").await;
    let done = room.reacts("bo", "✅", &rewrite.id()).await;
    assert!(done.text().contains("the configuration file holds what is set now"), "{}", done.text());
    assert!(done.card().actions.is_empty(), "there is no way back, so none is offered");
    chat.stop().await;
}
