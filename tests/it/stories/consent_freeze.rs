//! A stop of all changes: who may pull the brake, what it holds up, and who lets go of it.

use std::time::Duration;

use rediscue::store::StepState;

use crate::world::{
    eventually_async,
    proxy::Proxy,
    room::setting,
    team::{run_of, seats, team},
};

#[tokio::test]
async fn a_freeze_holds_up_every_change_over_a_restart_until_an_approver_lifts_it() {
    let (server, builder) = team();
    let chat = builder.start().await;
    let mut room = seats(&chat);
    let plan = room.types("ana", "set-config maxmemory-policy allkeys-lru shop").await;
    let run = run_of(&plan);
    for (who, line, why) in [
        ("cy", "freeze the disk is full", "people who may run or approve some"),
        ("mallory", "freeze the disk is full", "belongs to nobody"),
        ("ana", "freeze shop", "needs a reason"),
    ] {
        let refused = room.types(who, line).await.text();
        assert!(refused.contains(why), "{who} {line}: {refused}");
    }
    let frozen = room.types("ana", "freeze the *disk* is full").await;
    assert!(frozen.text().contains("All changes of everything were stopped by Ana"), "{}", frozen.text());
    assert!(!frozen.messages[0].private, "everybody should know");
    for (who, line) in [("ana", "set-config slowlog-max-len 99 shop"), ("ana", "set-config timeout 9 shop --dry-run")] {
        let refused = room.types(who, line).await.text();
        assert!(refused.contains("changes are stopped") && refused.contains("the disk is full"), "{line}: {refused}");
    }
    let consent = room.reacts("bo", "✅", &plan.id()).await;
    assert!(consent.text().contains("Consent once they go on"), "{}", consent.text());
    assert_eq!(chat.store.consents(&run).await.unwrap(), []);

    let chat = chat.leave().await.start().await;
    let mut room = seats(&chat);
    for line in ["pending", "version", "doctor --bot"] {
        let said = room.types("bo", line).await.text();
        assert!(said.contains("All changes of everything were stopped by Ana"), "{line}: {said}");
    }
    for (who, line, why) in [
        ("ana", "unfreeze", "on the word of an approver"),
        ("cy", "unfreeze", "on the word of an approver"),
        ("bo", "unfreeze nothing", "no service I know"),
        ("bo", "unfreeze shop", "no such stop"),
    ] {
        let refused = room.types(who, line).await.text();
        assert!(refused.contains(why), "{who} {line}: {refused}");
    }
    assert_eq!(setting(&server, "slowlog-max-len"), "128");
    let lifted = room.types("bo", "unfreeze").await.text();
    assert!(lifted.contains("Bo lets changes of everything go on"), "{lifted}");
    room.types("bo", &format!("approve {run}")).await;
    assert_eq!(setting(&server, "maxmemory-policy"), "allkeys-lru");
    let rows = chat.store.journal(80).await.unwrap();
    let found = |command: &str, outcome: &str| rows.iter().any(|row| row.command == command && row.outcome == outcome);
    assert!(found("freeze", "answered") && found("freeze", "denied") && found("unfreeze", "answered"), "{rows:?}");
    chat.stop().await;
}

#[tokio::test]
async fn a_run_stops_between_its_steps_and_says_what_was_done() {
    let (server, builder) = team();
    let proxy = Proxy::before(&server.address()).await;
    let profile = std::fs::read_to_string(builder.written("services/shop.toml")).unwrap();
    let profile = profile.replace(&server.address().to_string(), &proxy.address().to_string());
    let chat = builder.file("services/shop.toml", &profile).start().await;
    let mut room = seats(&chat);
    let (mut asking, mut freezing) = (seats(&chat), seats(&chat));
    room.types("ana", "ping shop").await;
    proxy.delay(Duration::from_millis(150));
    let running = asking.types("ana", "set-two shop");
    let stopped = async {
        eventually_async("the first step has begun", Duration::from_secs(60), async || {
            let rows = chat.store.plans(rediscue::store::PlanState::Running).await.unwrap();
            match rows.first() {
                Some(row) => !chat.store.steps(&row.plan.run).await.unwrap().is_empty(),
                None => false,
            }
        })
        .await;
        freezing.types("bo", "freeze shop a backup is restored").await
    };
    let (ran, frozen) = tokio::join!(running, stopped);
    proxy.delay(Duration::ZERO);
    assert!(frozen.text().contains("1 of them had begun"), "{}", frozen.text());
    let said = ran.text();
    for words in [
        "stopped · set-two",
        "Stopped: all changes were stopped by Bo",
        "not taken back: all changes are stopped",
        "[Undo]",
    ] {
        assert!(said.contains(words), "{words} is missing in {said}");
    }
    assert_eq!(setting(&server, "slowlog-max-len"), "99");
    assert_eq!(setting(&server, "slowlog-log-slower-than"), "10000");
    let steps = chat.store.steps(&run_of(&ran)).await.unwrap();
    assert_eq!(steps.iter().map(|step| (step.seq, step.state)).collect::<Vec<_>>(), [(0, StepState::Done)]);
    let undo = ran.card().actions.iter().find(|action| action.label == "Undo").unwrap().command.clone();
    let refused = room.types("ana", &undo).await.text();
    assert!(refused.contains("changes are stopped"), "{refused}");
    room.types("di", "unfreeze shop").await;
    let undone = room.types("ana", &undo).await.text();
    assert_eq!(setting(&server, "slowlog-max-len"), "128", "{undone}");
    chat.stop().await;
}

#[tokio::test]
async fn the_end_of_a_temporary_change_waits_says_so_once_and_comes_when_changes_go_on() {
    let (server, builder) = team();
    let chat = builder.start().await;
    let mut room = seats(&chat);
    room.types("ana", "set-config slowlog-max-len 99 shop --for 2s").await;
    room.types("ana", "freeze shop a backup is restored").await;
    let waits = room.hears("it is not taken back yet").await;
    assert!(waits.contains("a backup is restored"), "{waits}");
    assert_eq!(setting(&server, "slowlog-max-len"), "99");
    let chat = chat.leave().await.start().await;
    let mut room = seats(&chat);
    assert_eq!(setting(&server, "slowlog-max-len"), "99", "also after a restart");
    room.types("bo", "unfreeze shop").await;
    eventually_async("it was taken back", Duration::from_secs(20), async || {
        setting(&server, "slowlog-max-len") == "128"
    })
    .await;
    assert!(room.types("ana", "pending").await.text().contains("Nothing waits for consent"));
    chat.stop().await;
}
