//! Plans that wait: approvers are called, called again and reminded, and what nobody answers expires by itself.

use std::time::Duration;

use rediscue::store::{Call, PlanState};

use crate::world::{
    eventually_async,
    room::setting,
    team::{run_of, seats, team},
};

const SHORT: &str =
    "[consent]\nwithin = \"6s\"\nremind_before = \"3s\"\npage_after = \"1s\"\nbreak_glass_after = \"1s\"\n";

#[tokio::test]
async fn approvers_are_called_again_when_nobody_answers_reminded_before_the_end_and_told_when_it_has_come() {
    let (server, builder) = team();
    let chat = builder.file("bot.toml", SHORT).start().await;
    let mut room = seats(&chat);
    let plan = room.types("ana", "set-config maxmemory-policy allkeys-lru shop").await;
    assert!(plan.text().contains("Consent is asked of @bo."), "{}", plan.text());
    let paged = room.hears("Nobody has answered yet").await;
    assert!(paged.contains("@bo, @di") && paged.contains("was asked for by Ana"), "{paged}");
    let reminded = room.hears("It expires soon").await;
    assert!(reminded.contains("@bo, @di"), "{reminded}");
    let over = room.hears("It expired without enough consent").await;
    assert!(over.contains("Nothing was changed"), "{over}");
    let late = room.reacts("bo", "✅", &plan.id()).await;
    assert!(late.text().contains("it is void"), "{}", late.text());
    assert_eq!(setting(&server, "maxmemory-policy"), "noeviction");
    chat.stop().await;
}

#[tokio::test]
async fn a_plan_expires_by_itself_after_a_restart_and_approvers_were_called_once() {
    let (_server, builder) = team();
    let chat = builder.file("bot.toml", SHORT).start().await;
    let mut room = seats(&chat);
    let run = run_of(&room.types("ana", "set-config maxmemory-policy allkeys-lru shop").await);
    room.hears("Nobody has answered yet").await;
    let paged = chat.store.call(&run, Call::Paged).await.unwrap();
    assert!(paged.is_some());
    let chat = chat.leave().await.start().await;
    eventually_async("it expired", Duration::from_secs(30), async || {
        chat.store.plan(&run).await.unwrap().unwrap().state == PlanState::Void
    })
    .await;
    assert_eq!(chat.store.call(&run, Call::Paged).await.unwrap(), paged, "called once");
    assert!(chat.store.call(&run, Call::Reminded).await.unwrap().is_some(), "and reminded once");
    chat.stop().await;
}
