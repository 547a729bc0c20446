//! Critical changes: two people, each of whom types the service's name; and
//! what people try so that fewer would do.

use rediscue::{
    chat::console::{Peer, Who},
    model::Level,
};

use crate::world::{
    chat::{Chat, ask},
    room::{Room, setting},
    team::{TEAM, run_of, seats, team},
};

/// The team's policy with one line replaced, read again by its keeper.
async fn now_goes_by(chat: &Chat, room: &mut Room, from: &str, to: &str) {
    assert!(TEAM.contains(from), "{from} is to be replaced");
    std::fs::write(chat.config_file("policy.toml"), TEAM.replacen(from, to, 1)).unwrap();
    let reloaded = room.types("ana", "reload").await;
    assert!(reloaded.text().contains("was read again"), "{}", reloaded.text());
}

#[tokio::test]
async fn a_critical_change_takes_two_approvers_who_type_the_services_name() {
    let (server, builder) = team();
    let chat = builder.start().await;
    let mut room = seats(&chat);
    let plan = room.types("ana", "set-hard timeout 300 shop").await;
    let (id, run) = (plan.id(), run_of(&plan));
    for said in ["Risk: critical", "2 of: Bo (L2), Di (DBA)", &format!("/redis approve {run} shop")] {
        assert!(plan.text().contains(said), "{said} is missing in {}", plan.text());
    }
    assert!(plan.card().actions.iter().all(|action| !action.command.starts_with("approve")), "a tap is not enough");

    let tapped = room.reacts("bo", "✅", &id).await;
    assert!(tapped.text().contains(&format!("type /redis approve {run} shop")), "{}", tapped.text());
    let untyped = room.types("bo", &format!("approve {run}")).await;
    assert!(untyped.text().contains("a tap is not enough"), "{}", untyped.text());
    let other = room.types("bo", &format!("approve {run} godel")).await;
    assert!(other.text().contains("not the service of that plan"), "{}", other.text());
    assert_eq!(chat.store.consents(&run).await.unwrap(), [], "a tap is remembered as nothing");

    let consent = format!("approve {run} shop");
    for who in ["ana", "lou", "cy", "mallory"] {
        let refused = room.types(who, &consent).await;
        assert!(refused.text().contains("refused"), "{who}: {}", refused.text());
    }
    let first = room.types("bo", &consent).await;
    assert!(first.text().contains("It takes 1 more. These could give it: Di (DBA)."), "{}", first.text());
    let twice = room.types("bo", &consent).await;
    assert!(twice.text().contains("It takes 1 more"), "one person counts once: {}", twice.text());
    // Its message may be far up by now: whoever comes late asks for the plan itself.
    let shown = room.types("di", &format!("pending {run}")).await;
    let waits = ["Consent so far: 1 of 2: Bo", "Nothing has been changed yet", "asked by Ana", "Risk: critical"];
    for said in waits.into_iter().chain([consent.as_str(), &format!("run {run}")]) {
        assert!(shown.text().contains(said), "{said} is missing in {}", shown.text());
    }
    assert_eq!(setting(&server, "timeout"), "0");
    let done = room.types("di", &consent).await;
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    assert!(done.text().contains("with the consent of Bo, Di"), "{}", done.text());
    assert_eq!(setting(&server, "timeout"), "300");
    let over = room.types("di", &format!("pending {run}")).await;
    assert!(over.text().contains("It is done. The plan was"), "{}", over.text());
    assert!(over.text().contains("Consent so far: 2 of 2: Bo, Di"), "{}", over.text());
    assert!(over.card().actions.is_empty(), "nothing is offered any more: {}", over.text());
    let unknown = room.types("di", "pending 00000000").await;
    assert!(unknown.text().contains("No plan has that run id"), "{}", unknown.text());
    chat.stop().await;
}

#[tokio::test]
async fn consent_taken_back_does_not_count_whether_by_word_or_by_reaction() {
    let (server, builder) = team();
    let chat = builder.start().await;
    let mut room = seats(&chat);
    let plan = room.types("ana", "set-hard timeout 300 shop").await;
    let run = run_of(&plan);
    let consent = format!("approve {run} shop");
    room.types("bo", &consent).await;
    let back = room.types("bo", &format!("revoke {run}")).await;
    assert!(back.text().contains("Bo took their consent back"), "{}", back.text());
    let none = room.types("cy", &format!("revoke {run}")).await;
    assert!(none.text().contains("no consent of yours"), "{}", none.text());

    let di = room.types("di", &consent).await;
    assert!(di.text().contains("It takes 1 more. These could give it: Bo (L2)."), "{}", di.text());
    let back = room.unreacts("di", "✅", &plan.id()).await;
    assert!(back.text().contains("Di took their consent back"), "{}", back.text());
    let bo = room.types("bo", &consent).await;
    assert!(bo.text().contains("It takes 1 more"), "{}", bo.text());
    assert_eq!(setting(&server, "timeout"), "0");
    room.types("di", &consent).await;
    assert_eq!(setting(&server, "timeout"), "300");
    let late = room.types("di", &format!("revoke {run}")).await;
    assert!(late.text().contains("that plan is done"), "{}", late.text());
    let rows = chat.store.journal(50).await.unwrap();
    assert_eq!(
        rows.iter().filter(|row| row.command == "revoke" && row.line.contains("timeout")).count(),
        2,
        "{rows:?}"
    );
    chat.stop().await;
}

#[tokio::test]
async fn an_approver_who_is_none_any_more_does_not_count_and_an_asker_who_lost_the_right_asks_for_nothing() {
    let (server, builder) = team();
    let chat = builder.start().await;
    let mut room = seats(&chat);
    let run = run_of(&room.types("ana", "set-hard timeout 300 shop").await);
    room.types("bo", &format!("approve {run} shop")).await;
    now_goes_by(&chat, &mut room, "roles = [\"l2\"]", "roles = [\"viewer\"]").await;
    let alone = room.types("di", &format!("approve {run} shop")).await;
    assert!(alone.text().contains("It takes 1 more. These could give it: nobody."), "{}", alone.text());
    assert_eq!(setting(&server, "timeout"), "0");

    now_goes_by(&chat, &mut room, "roles = [\"viewer\"]", "roles = [\"viewer\"]").await;
    let plan = room.types("ana", "set-config timeout 300 shop").await;
    now_goes_by(&chat, &mut room, "roles = [\"operator\", \"keeper\"]", "roles = [\"viewer\", \"keeper\"]").await;
    let void = room.reacts("bo", "✅", &plan.id()).await;
    assert!(void.text().contains("not run") && void.text().contains("No rule lets"), "{}", void.text());
    assert_eq!(setting(&server, "timeout"), "0");
    chat.stop().await;
}

#[tokio::test]
async fn two_consents_at_the_same_moment_run_a_change_once() {
    let (server, builder) = team();
    let chat = builder.start().await;
    let mut room = seats(&chat);
    let plan = room.types("ana", "set-config maxmemory-policy allkeys-lru shop").await;
    let (id, run) = (plan.id(), run_of(&plan));
    let (mut bos, mut dis) = (seats(&chat), seats(&chat));
    tokio::join!(bos.reacts("bo", "✅", &id), dis.reacts("di", "✅", &id));
    assert_eq!(setting(&server, "maxmemory-policy"), "allkeys-lru");
    let rows = chat.store.journal(50).await.unwrap();
    let ran = rows.iter().filter(|row| row.command == "run" && row.run == run.to_string()).count();
    assert_eq!(ran, 1, "{rows:?}");
    assert_eq!(chat.store.steps(&run).await.unwrap().len(), 1);
    chat.stop().await;
}

#[tokio::test]
async fn at_terminals_too_one_person_with_two_accounts_counts_once() {
    let (server, builder) = team();
    let two = TEAM.replacen("console = [\"bo\"]", "console = [\"bo\", \"bo.admin\"]", 1);
    let chat = builder.file("policy.toml", &two).start().await;
    let mut room = seats(&chat);
    let plan = room.types("ana", "set-hard timeout 300 shop").await;
    let run = run_of(&plan);
    let mut accounts = ["bo", "bo.admin"]
        .map(|user| chat.console.attach(Peer { who: Who::User(user.to_owned()), script: true }, chat.bot.inbound()));
    for account in &mut accounts {
        let said = ask(account, 1, &format!("approve {run} shop")).await;
        assert!(said.text().contains("It takes 1 more. These could give it: Di (DBA)."), "{}", said.text());
    }
    assert_eq!(chat.store.consents(&run).await.unwrap().len(), 1);
    assert_eq!(setting(&server, "timeout"), "0");
    chat.stop().await;
}
