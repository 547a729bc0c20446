//! People's words on a runbook: taps on its card, typed names, tiers, going on alone; what a word covers and what it
//! does not; and what is taken back without another one.

use std::time::Duration;

use rediscue::{
    runbook::{BookRun, How, Phase, StepState},
    store::{Call, PlanState},
};

use crate::world::{book::Stage, chat::ChatBuilder, eventually_async, redis::RedisServer, room::setting, team::team};

fn with(text: &str) -> (RedisServer, ChatBuilder) {
    let (server, builder) = team();
    (server, builder.file("commands/runbooks/mend.toml", text))
}

/// One step that asks with the given keys, and one after it.
fn asks(keys: &str) -> String {
    format!(
        "name = \"mend\"\nsummary = \"mends the shop\"\n\n[[steps]]\nid = \"agreed\"\nsay = \"Somebody else agrees\"\n\
         approve = \"another\"\n{keys}\n\n[[steps]]\nid = \"after\"\nsay = \"And then\"\nmanual = \"Rest.\"\n"
    )
}

#[tokio::test]
async fn a_tap_on_the_runbooks_own_card_is_a_word_of_those_whose_word_counts() {
    let (_server, builder) = with(&asks(""));
    let mut stage = Stage::begin(builder, "mend shop").await;
    let question = stage.asked().await;
    let card = stage.message();
    for (who, why) in
        [("ana", "your own word does not count"), ("cy", "Your word does not count"), ("mallory", "belongs to nobody")]
    {
        let refused = stage.reacts(who, "✅", &card).await;
        assert!(refused.text().contains(why), "{who}: {}", refused.text());
    }
    assert_eq!(stage.state("agreed").await, StepState::Working);
    let done = stage.reacts("lou", "✅", &card).await;
    assert!(done.text().contains("Step 1 was approved by Lou"), "{}", done.text());
    stage.waits("after").await;
    let rows = stage.chat.store.journal(50).await.unwrap();
    let by = |act: &str| rows.iter().filter(|row| row.command == act && row.run == question.to_string()).count();
    assert_eq!((by("consent"), by("agreed")), (4, 1), "three refused, one taken: {rows:#?}");
    // Nothing is asked now: a tap on the card is a tap.
    stage.reacts("bo", "❌", &card).await;
    stage.waits("after").await;
    stage.chat.stop().await;

    let (_server, builder) = with(&asks(""));
    let mut stage = Stage::begin(builder, "mend shop").await;
    stage.asked().await;
    let card = stage.message();
    stage.reacts("di", "❌", &card).await;
    let end = stage.ends().await;
    assert!(end.contains("Stopped at step 1 of 2 (Somebody else agrees): it was declined"), "{end}");
    stage.chat.stop().await;
}

#[tokio::test]
async fn a_critical_step_takes_two_who_type_the_services_name_and_a_word_is_taken_back_by_a_tap_until_it_goes_on() {
    let (_server, builder) = with(&asks("risk = \"critical\""));
    let mut stage = Stage::begin(builder, "mend shop").await;
    let question = stage.asked().await;
    let card = stage.message();
    let shown = stage.listens().await;
    for said in ["Risk: critical", "2 of: Bo (L2), Di (DBA)", &format!("/redis approve {question} shop")] {
        assert!(shown.contains(said), "{said} is missing in {shown}");
    }
    let tapped = stage.reacts("bo", "✅", &card).await;
    assert!(tapped.text().contains("a tap is not enough"), "{}", tapped.text());
    let low = stage.says("lou", &format!("approve {} shop", stage.run)).await;
    assert!(low.text().contains("Your word does not count"), "{}", low.text());
    // By the runbook's run or the question's, from the same person: one word.
    stage.says("bo", &format!("approve {} shop", stage.run)).await;
    let twice = stage.says("bo", &format!("approve {question} shop")).await;
    assert!(twice.text().contains("It takes 1 more"), "{}", twice.text());
    let back = stage.unreacts("bo", "✅", &card).await;
    assert!(back.text().contains("Bo took their consent back"), "{}", back.text());
    let alone = stage.says("di", &format!("approve {} shop", stage.run)).await;
    assert!(alone.text().contains("It takes 1 more. These could give it: Bo (L2)."), "{}", alone.text());
    let pending = stage.says("cy", "pending").await.text();
    assert!(pending.contains("the word on step 1 (Somebody else agrees) of mend on shop/main"), "{pending}");
    assert_eq!(stage.state("agreed").await, StepState::Working);
    let both = stage.says("bo", &format!("approve {} shop", stage.run)).await;
    assert!(both.text().contains("was approved by Bo, Di"), "{}", both.text());
    stage.waits("after").await;
    let late = stage.says("di", &format!("revoke {question}")).await;
    assert!(late.text().contains("that plan is done"), "{}", late.text());
    stage.chat.stop().await;
}

#[tokio::test]
async fn a_stop_of_all_changes_holds_a_runbooks_question_and_a_lone_responder_goes_on_by_breaking_glass() {
    let times =
        "[consent]\nwithin = \"10m\"\nremind_before = \"1s\"\npage_after = \"1s\"\nbreak_glass_after = \"1s\"\n";
    let (_server, builder) = with(&asks("risk = \"high\""));
    let mut stage = Stage::begin(builder.file("bot.toml", times), "mend shop").await;
    let question = stage.asked().await;
    stage.says("ana", "freeze shop wait for the provider").await;
    let held = stage.says("bo", &format!("approve {}", stage.run)).await;
    assert!(held.text().contains("go on"), "{}", held.text());
    assert_eq!(stage.state("agreed").await, StepState::Working);
    stage.says("bo", "unfreeze shop").await;

    let line = format!("break-glass {} shop nobody answers and logins fail", stage.run);
    let shut = stage.says("eli", &line).await;
    assert!(
        shut.text().contains("have not had their time") || shut.text().contains("Nobody has declared"),
        "{}",
        shut.text()
    );
    stage.says("cy", "severity SEV1 shop nobody can log in").await;
    eventually_async("the approvers have had their time", Duration::from_secs(60), async || {
        let paged = stage.chat.store.call(&question, Call::Paged).await.unwrap();
        paged.is_some_and(|at| jiff::Timestamp::now() > at + Duration::from_secs(1))
    })
    .await;
    let gone_on = stage.says("eli", &line).await;
    assert!(gone_on.text().contains("glass was broken by Eli alone (SEV1 by cy)"), "{}", gone_on.text());
    stage.waits("after").await;
    let card = stage.shows("glass was broken (SEV1 by cy)").await;
    assert!(card.contains("by Eli"), "{card}");
    stage.chat.stop().await;
}

#[tokio::test]
async fn a_question_nobody_answers_in_time_ends_the_run_and_an_abort_withdraws_it() {
    let times = "[consent]\nwithin = \"4s\"\nremind_before = \"1s\"\npage_after = \"1s\"\nbreak_glass_after = \"1s\"\n";
    let (_server, builder) = with(&asks(""));
    let mut stage = Stage::begin(builder.file("bot.toml", times), "mend shop").await;
    let question = stage.asked().await;
    stage.until("nobody answered in time", BookRun::is_over).await;
    let end = stage.ends().await;
    assert!(
        end.contains("Stopped at step 1") && end.contains("in time") || end.contains("the word was not given"),
        "{end}"
    );
    assert_eq!(stage.chat.store.plan(&question).await.unwrap().unwrap().state, PlanState::Void);
    stage.chat.stop().await;

    let (_server, builder) = with(&asks(""));
    let mut stage = Stage::begin(builder, "mend shop").await;
    let question = stage.asked().await;
    stage.says("ana", &format!("abort {}", stage.run)).await;
    let end = stage.ends().await;
    assert!(end.contains("Aborted by Ana"), "{end}");
    assert_eq!(stage.chat.store.plan(&question).await.unwrap().unwrap().state, PlanState::Void);
    let late = stage.says("bo", &format!("approve {question}")).await;
    assert!(late.text().contains("void"), "{}", late.text());
    stage.chat.stop().await;
}

const COVERS: &str = r#"
name = "mend"
summary = "mends the shop"

[[steps]]
id = "agreed"
say = "Somebody else agrees"
approve = "another"

[[steps]]
id = "limit"
say = "Another limit"
touch = "maxmemory 64mb"

[[steps]]
id = "hand"
say = "Meanwhile"
manual = "Wait a moment."

[[steps]]
id = "policy"
say = "Another policy"
touch = "policy allkeys-lru"

[[steps]]
id = "found"
say = "What is there"
look = "keyspace"

[[steps]]
id = "unknown"
say = "As many entries as there are keys"
touch = "set-config slowlog-max-len {{ found.figures.keys + 700 }}"
"#;

#[tokio::test]
async fn a_word_covers_the_changes_whose_values_it_was_shown_and_the_others_ask_again() {
    let (server, builder) = with(COVERS);
    let mut stage = Stage::begin(builder, "mend shop").await;
    let question = stage.asked().await;
    let shown = stage.listens().await;
    for said in
        ["A yes covers", "step 2: set maxmemory from 0", "step 4: set maxmemory-policy from noeviction to allkeys-lru"]
    {
        assert!(shown.contains(said), "{said} is missing in {shown}");
    }
    assert!(!shown.contains("step 6:"), "its value is not known yet: {shown}");
    assert_eq!(setting(&server, "maxmemory"), "0");
    stage.says("bo", &format!("approve {question}")).await;
    stage.waits("hand").await;
    assert_eq!(setting(&server, "maxmemory"), (64 << 20).to_string(), "nobody was asked a second time");

    // Somebody changes the policy by hand: it is no longer what was agreed to.
    let _: String = server.run(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]);
    stage.ticks("hand").await;
    stage.plan("policy").await;
    assert_eq!(setting(&server, "maxmemory-policy"), "volatile-ttl");
    let told = stage.listens().await;
    stage.consents("policy").await;
    assert_eq!(setting(&server, "maxmemory-policy"), "allkeys-lru");
    assert!(told.contains(&format!("The word given to the runbook (run {question}) does not cover it")), "{told}");
    stage.until("the last change is known", |run| run.is_over() || run.progress[5].state == StepState::Working).await;
    let end = stage.now().await;
    if !end.is_over() {
        stage.says("ana", &format!("abort {}", stage.run)).await;
    }
    let rows = stage.chat.store.journal(100).await.unwrap();
    let covered = rows.iter().filter(|row| {
        row.command == "consent" && row.why.as_deref().is_some_and(|why| why.contains("which covers it"))
    });
    let covered: Vec<_> = covered.map(|row| row.person.clone()).collect();
    assert_eq!(covered.first(), Some(&Some("bo".to_owned())), "{rows:#?}");
    stage.chat.stop().await;
}

const WATCHED: &str = r#"
name = "mend"
summary = "mends the shop"

[[steps]]
id = "limit"
say = "Another limit"
touch = "maxmemory 64mb --for 1h"

[[steps]]
id = "policy"
say = "Another policy"
touch = "policy allkeys-lru"

[[steps]]
id = "calm"
say = "It stays calm"
watch = { look = "keyspace", holds = "default(calm.figures.keys, 0) < 3", every = "500ms", lasts = "10m", roll_back = true }
otherwise = "there are {{ calm.figures.keys | number }} keys"
"#;

#[tokio::test]
async fn a_watch_that_does_not_hold_takes_settings_back_by_itself_because_consent_covered_it() {
    let (server, builder) = with(WATCHED);
    let mut stage = Stage::begin(builder, "mend shop").await;
    let plan = stage.plan("limit").await;
    let shown = stage.listens().await;
    assert!(shown.contains("Taken back by itself: when step 3 (It stays calm) does not hold"), "{shown}");
    stage.consents("limit").await;
    stage.consents("policy").await;
    stage.until("it is watched", |run| run.progress[2].looks > 1).await;
    assert_eq!(setting(&server, "maxmemory"), (64 << 20).to_string());
    server.fill("k:", 3, 10);
    let end = stage.ends().await;
    assert_eq!(
        (setting(&server, "maxmemory").as_str(), setting(&server, "maxmemory-policy").as_str()),
        ("0", "noeviction")
    );
    assert_eq!(stage.now().await.phase, Phase::Ended { how: How::Returned { step: 2, whole: true } });
    assert!(end.contains("Everything that was changed was taken back") && end.contains("there are 3 keys"), "{end}");
    let told = stage.listens().await;
    assert!(told.contains("Step 3 (It stays calm) did not hold, and it has been taken back"), "{told}");
    assert!(stage.chat.store.ends().await.unwrap().is_empty(), "its hour is not waited for any more");
    let rows = stage.chat.store.journal(100).await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.command == "end").count(), 2, "{rows:#?}");
    assert!(!rows.iter().any(|row| row.command == "undo"), "nobody was asked: {rows:#?}");
    assert_eq!(stage.chat.store.plan(&plan).await.unwrap().unwrap().state, PlanState::Done);
    stage.chat.stop().await;
}

#[tokio::test]
async fn what_somebody_changed_meanwhile_is_not_overwritten_by_a_watch_and_what_came_before_it_is_left() {
    let (server, builder) = with(WATCHED);
    let mut stage = Stage::begin(builder, "mend shop").await;
    stage.consents("limit").await;
    stage.consents("policy").await;
    stage.until("it is watched", |run| run.progress[2].looks > 1).await;
    let _: String = server.run(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]);
    server.fill("k:", 3, 10);
    let end = stage.ends().await;
    assert_eq!(setting(&server, "maxmemory-policy"), "volatile-ttl");
    assert_eq!(stage.now().await.phase, Phase::Ended { how: How::Returned { step: 2, whole: false } });
    assert!(end.contains("Not everything could be taken back"), "{end}");
    assert_eq!(stage.chat.store.ends().await.unwrap().len(), 1, "the limit still has its own end");
    stage.chat.stop().await;
}
