//! What people live through with a command of several steps: a card that goes
//! with it, others' words where they are needed, a pause, an end, a restart.

use rediscue::{
    model::Level,
    runbook::{How, Phase, StepState},
    store::PlanState,
};
use tokio::runtime::Runtime;

use crate::world::{
    book::{Doomed, Stage},
    chat::ChatBuilder,
    eventually_async,
    redis::RedisServer,
    room::{POLICY, Room, house, setting},
};

/// A step of each kind.
const MEND: &str = r#"
name = "mend"
summary = "mends the shop"

[[arguments]]
name = "limit"
about = "the new limit"
type = "bytes"
default = "512mb"

[[steps]]
id = "memory"
say = "How full is it"
look = "memory"

[[steps]]
id = "seen"
say = "It can be seen"
check = "memory.ok && has(memory.figures.used_memory)"
otherwise = "the server cannot be seen"

[[steps]]
id = "never"
say = "Only in a flood"
when = "memory.figures.used_memory < 0"
manual = "Swim."

[[steps]]
id = "limit"
say = "Set the limit"
touch = "maxmemory {{ args.limit }}"

[[steps]]
id = "keys"
say = "Three keys arrive"
wait = { look = "keyspace", until = "keys.figures.keys >= 3", every = "500ms", most = "1m" }

[[steps]]
id = "hand"
say = "Turn the key"
manual = "Turn the key of {{ service.name }} until there are five."
verify = { look = "keyspace", holds = "hand.figures.keys >= 5" }
otherwise = "there are only {{ hand.figures.keys | number }} keys"

[[steps]]
id = "agreed"
say = "Somebody else agrees"
approve = "another"

[[steps]]
id = "verify"
say = "The checklist"
look = "verify"
"#;

fn with(file: &str, text: &str) -> (RedisServer, ChatBuilder) {
    let (server, builder) = house("normal");
    (server, builder.file(&format!("commands/runbooks/{file}.toml"), text))
}

fn keys(server: &RedisServer, count: usize) {
    server.fill("k:", count, 10);
}

#[tokio::test]
async fn a_runbook_looks_checks_changes_with_consent_waits_is_ticked_and_approved_and_says_its_end() {
    let (server, builder) = with("mend", MEND);
    let mut stage = Stage::begin(builder, "mend 64mb shop").await;

    let plan = stage.plan("limit").await;
    let own = stage.says("ana", &format!("approve {plan}")).await;
    assert!(own.text().contains("your own word does not count"), "{}", own.text());
    assert_eq!(setting(&server, "maxmemory"), "0", "nobody else has consented");
    stage.consents("limit").await;
    assert_eq!(setting(&server, "maxmemory"), (64 << 20).to_string());

    stage.until("it waits for keys", |run| run.progress[4].looks > 0).await;
    keys(&server, 3);
    stage.waits("hand").await;
    let card = stage.shows("Turn the key of shop").await;
    for said in [
        "1. How full is it · done",
        "3. Only in a flood · skipped",
        "5. Three keys arrive · done",
        "Turn the key of shop until there are five.",
    ] {
        assert!(card.contains(said), "{said} is missing in {card}");
    }
    assert!(card.contains(&format!("[☑ Done] tick {} 6", stage.run)), "{card}");

    for (who, why) in [("cy", "No rule lets you run"), ("mallory", "belongs to nobody")] {
        let refused = stage.says(who, &format!("tick {}", stage.run)).await;
        assert!(refused.text().contains(why), "{who}: {}", refused.text());
    }
    stage.ticks("hand").await;
    stage.shows("Ana ticked step 6, but there are only 3 keys").await;
    keys(&server, 5);
    stage.ticks("hand").await;

    stage.waits("agreed").await;
    stage.asked().await;
    for (who, why) in [("ana", "your own word does not count"), ("cy", "Your word does not count")] {
        let refused = stage.says(who, &format!("approve {}", stage.run)).await;
        assert!(refused.text().contains(why), "{who}: {}", refused.text());
        assert!(!refused.messages.last().unwrap().private, "a refusal is said aloud");
    }
    stage.approves("agreed").await;
    let end = stage.ends().await;
    assert!(end.contains("Done. 7 done, 1 skipped in"), "{end}");
    assert!(end.contains("7. Somebody else agrees · done") && end.contains(" by Bo"), "{end}");
    assert!(end.contains(&format!("To take back: step 4 by /redis undo {plan}")), "{end}");

    let rows = stage.chat.store.journal(100).await.unwrap();
    let of = |command: &str| rows.iter().filter(|row| row.command == command).count();
    assert_eq!((of("mend"), of("step"), of("runbook-end"), of("run")), (1, 8, 1, 1), "{rows:#?}");
    let tick = rows.iter().find(|row| row.command == "step" && row.line.ends_with("hand")).unwrap();
    assert_eq!((tick.person.as_deref(), tick.why.as_deref()), (Some("ana"), Some("done")));
    let late = stage.says("ana", &format!("abort {}", stage.run)).await;
    assert!(late.text().contains("has ended"), "{}", late.text());
    stage.chat.stop().await;
}

#[tokio::test]
async fn a_runbook_is_paused_resumed_and_aborted_by_those_who_may_run_it_and_a_waiting_plan_goes_with_it() {
    let (server, builder) = with("mend", MEND);
    let mut stage = Stage::begin(builder, "mend shop").await;
    let plan = stage.plan("limit").await;

    let refused = stage.says("cy", &format!("pause {}", stage.run)).await;
    assert!(refused.text().contains("No rule lets you run"), "{}", refused.text());
    let paused = stage.says("ana", &format!("pause {}", stage.run)).await;
    assert!(paused.text().contains(&format!("Plan {plan} is under way and goes on")), "{}", paused.text());
    stage.says("bo", &format!("approve {plan}")).await;
    assert_eq!(setting(&server, "maxmemory"), (512 << 20).to_string(), "the plan has a life of its own");
    stage.until("the change is known", |run| run.progress[3].state == StepState::Done).await;
    assert_eq!(stage.state("keys").await, StepState::Open, "no step begins in a pause");
    let listed = stage.says("cy", "runbooks").await.text();
    assert!(listed.contains("mend | shop/main | Ana") && listed.contains("paused"), "{listed}");
    let twice = stage.says("ana", &format!("pause {}", stage.run)).await;
    assert!(twice.text().contains("it is paused"), "{}", twice.text());
    let second = stage.says("ana", "mend shop").await;
    assert!(second.text().contains("is under way there already"), "{}", second.text());
    stage.says("ana", &format!("resume {}", stage.run)).await;
    stage.until("it goes on", |run| run.progress[4].looks > 0).await;
    stage.says("ana", &format!("abort {}", stage.run)).await;
    let end = stage.ends().await;
    assert!(end.contains("Aborted by Ana. 3 done, 1 skipped, 4 left undone"), "{end}");
    assert!(end.contains(&format!("/redis undo {plan}")), "{end}");

    // A plan that waits when its runbook is aborted is withdrawn.
    let mut again = Stage::begin_in(stage.chat, "mend 32mb shop").await;
    let plan = again.plan("limit").await;
    again.says("ana", &format!("abort {}", again.run)).await;
    again.ends().await;
    assert_eq!(again.chat.store.plan(&plan).await.unwrap().unwrap().state, PlanState::Void);
    let late = again.says("bo", &format!("approve {plan}")).await;
    assert!(!late.text().contains("done ·"), "{}", late.text());
    assert_eq!(setting(&server, "maxmemory"), (512 << 20).to_string());
    again.chat.stop().await;
}

#[tokio::test]
async fn where_a_role_is_asked_for_only_those_who_hold_it_count_and_a_decline_ends_the_run() {
    let file = r#"
name = "mend"
summary = "mends the shop"

[[steps]]
id = "one"
say = "Somebody who looks after it"
approve = "viewer"

[[steps]]
id = "two"
say = "And once more"
approve = "viewer"
"#;
    let (_server, builder) = with("mend", file);
    let mut stage = Stage::begin(builder, "mend shop").await;
    stage.waits("one").await;
    stage.asked().await;
    let refused = stage.says("bo", &format!("approve {}", stage.run)).await;
    assert!(refused.text().contains("which asks for viewer") && refused.text().contains("Cy"), "{}", refused.text());
    stage.says("cy", &format!("approve {}", stage.run)).await;
    stage.waits("two").await;
    stage.asked().await;
    stage.says("cy", &format!("decline {}", stage.run)).await;
    let end = stage.ends().await;
    assert!(end.contains("Stopped at step 2 of 2 (And once more): it was declined"), "{end}");
    assert!(end.contains("1. Somebody who looks after it · done") && end.contains("by Cy"), "{end}");
    stage.chat.stop().await;
}

#[tokio::test]
async fn what_fails_stops_the_run_or_waits_for_a_person_as_the_file_says() {
    let file = r#"
name = "mend"
summary = "mends the shop"

[[steps]]
id = "hold"
say = "Hold it"
check = "1 > 2"
otherwise = "one is not more than two"
else = "manual"

[[steps]]
id = "pass"
say = "Pass by"
check = "1 > 2"
otherwise = "still not"
else = "continue"

[[steps]]
id = "touch"
say = "Set a limit"
touch = "maxmemory 64mb"

[[steps]]
id = "end"
say = "Not reached"
manual = "Nothing."
"#;
    let (server, builder) = with("mend", file);
    let mut stage = Stage::begin(builder, "mend shop").await;
    stage.waits("hold").await;
    let card = stage.shows("[Dealt with] tick").await;
    assert!(card.contains("one is not more than two"), "{card}");
    stage.says("ana", &format!("tick {} 4", stage.run)).await;
    assert_eq!(stage.state("end").await, StepState::Open, "only the step that waits can be ticked");
    stage.ticks("hold").await;
    let plan = stage.plan("touch").await;
    stage.says("bo", &format!("decline {plan}")).await;
    let end = stage.ends().await;
    assert!(end.contains("Stopped at step 3 of 4 (Set a limit): its plan was declined"), "{end}");
    assert!(end.contains("1 done, 2 failed, 1 left undone"), "{end}");
    assert_eq!(setting(&server, "maxmemory"), "0");

    // Nobody may begin it without the right, and a dry run begins nothing.
    let refused = stage.says("bo", "mend shop").await;
    assert!(refused.text().contains("No rule lets you run"), "{}", refused.text());
    let dry = stage.says("ana", "mend shop --dry-run").await;
    assert!(dry.text().contains("None was taken") && dry.card().actions.is_empty(), "{}", dry.text());
    let listed = stage.says("ana", "runbooks").await.text();
    assert!(listed.contains("No runbook is under way"), "{listed}");
    let observing = stage.chat.leave().await.file("policy.toml", &POLICY.replace("MODE", "observe")).start().await;
    let held = Room::of(&observing).types("ana", "mend shop").await;
    assert!(held.text().contains("only observes"), "{}", held.text());
    observing.stop().await;
}

#[tokio::test]
async fn a_watch_that_fails_has_what_was_changed_taken_back_with_consent() {
    let file = r#"
name = "mend"
summary = "mends the shop"

[[steps]]
id = "first"
say = "Another limit"
touch = "maxmemory 64mb"

[[steps]]
id = "second"
say = "Another policy"
touch = "policy allkeys-lru"

[[steps]]
id = "calm"
say = "It stays calm"
watch = { look = "keyspace", holds = "default(calm.figures.keys, 0) < 3", every = "500ms", lasts = "10m" }
otherwise = "there are {{ calm.figures.keys | number }} keys"

[[steps]]
id = "end"
say = "Not reached"
manual = "Nothing."
"#;
    let (server, builder) = with("mend", file);
    let mut stage = Stage::begin(builder, "mend shop").await;
    stage.consents("first").await;
    stage.consents("second").await;
    stage.until("it is watched", |run| run.progress[2].looks > 1).await;
    keys(&server, 3);
    for (at, name, before) in [(0, "maxmemory-policy", "noeviction"), (1, "maxmemory", "0")] {
        let run = stage.until("its way back is planned", |run| {
            run.is_over() || run.back.get(at).is_some_and(|back| back.state == StepState::Working)
        });
        let plan = run.await.back[at].plan.clone().expect("a way back is a plan");
        stage.pending(&plan).await;
        assert_ne!(setting(&server, name), before, "taking back needs consent too");
        stage.says("bo", &format!("approve {plan}")).await;
        assert_eq!(setting(&server, name), before);
    }
    let end = stage.ends().await;
    assert!(end.contains("Everything that was changed was taken back") && end.contains("there are 3 keys"), "{end}");
    assert_eq!(stage.now().await.phase, Phase::Ended { how: How::Returned { step: 2, whole: true } });
    assert!(!end.contains("To take back"), "{end}");
    stage.chat.stop().await;
}

#[test]
fn a_bot_that_dies_goes_on_at_the_step_it_was_in_and_proposes_nothing_twice() {
    let (server, builder) = with("mend", MEND);
    let doomed = Doomed::begin(builder, "mend 64mb shop", "limit");
    let (plan, message) = doomed.runtime.block_on(async {
        let run = doomed.chat.store.book(&doomed.run).await.unwrap().unwrap().run;
        let plan = run.plan_in_flight().expect("the touch is planned");
        eventually_async("the plan is shown", std::time::Duration::from_secs(30), || async {
            doomed.chat.store.plan(&plan).await.unwrap().is_some_and(|row| row.message.is_some())
        })
        .await;
        let row = doomed.chat.store.plan(&plan).await.unwrap().unwrap();
        (plan, row.message)
    });
    let (builder, run) = doomed.die();

    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let mut stage = Stage::taken_up(builder, run).await;
        let listed = stage.says("cy", "runbooks").await.text();
        assert!(listed.contains(stage.run.as_str()) && listed.contains("step 4 of 8"), "{listed}");
        let row = stage.chat.store.plan(&plan).await.unwrap().unwrap();
        assert_eq!((row.state, row.message), (PlanState::Pending, message), "the same plan waits in the same message");
        stage.consents("limit").await;
        assert_eq!(setting(&server, "maxmemory"), (64 << 20).to_string());
        stage.until("it looks again", |run| run.progress[4].looks > 0).await;
        stage.chat.leave().await
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(10));
}

#[tokio::test]
async fn a_stopped_bot_leaves_its_runbooks_to_the_next_which_looks_again_and_changes_nothing_twice() {
    let (server, builder) = with("mend", MEND);
    let mut stage = Stage::begin(builder, "mend shop").await;
    stage.consents("limit").await;
    stage.until("it waits for keys", |run| run.progress[4].looks > 0).await;
    let (run, left) = (stage.run.clone(), stage.chat.leave().await);
    let mut stage = Stage::taken_up(left, run).await;
    keys(&server, 3);
    stage.waits("hand").await;
    assert_eq!(setting(&server, "maxmemory"), (512 << 20).to_string());
    stage.says("ana", &format!("abort {}", stage.run)).await;
    let rows = stage.chat.store.journal(100).await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.command == "run").count(), 1, "one change was made");
    stage.chat.stop().await;
}

#[tokio::test]
async fn a_runbook_waits_for_its_services_rights_and_says_why_it_cannot_go_on() {
    let (_server, builder) = with("mend", MEND);
    let mut stage = Stage::begin(builder, "mend shop").await;
    stage.plan("limit").await;
    // ana loses the right to change things while her plan waits.
    let policy = POLICY.replace("MODE", "normal").replace(
        "\"group:change\"], services = [\"*\"] }]\n\n[roles.approver]",
        "\"help\"], services = [\"*\"] }]\n\n[roles.approver]",
    );
    std::fs::write(stage.chat.config_file("policy.toml"), policy).unwrap();
    stage.chat.bot.reload().unwrap();
    let refused = stage.says("ana", &format!("tick {}", stage.run)).await;
    assert!(refused.text().contains("No rule lets you run"), "{}", refused.text());
    let plan = stage.now().await.plan_in_flight().unwrap();
    let void = stage.says("bo", &format!("approve {plan}")).await;
    assert_ne!(void.level(), Some(Level::Ok), "{}", void.text());
    let end = stage.ends().await;
    assert!(end.contains("Stopped at step 4 of 8"), "{end}");
    stage.chat.stop().await;
}
