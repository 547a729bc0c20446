//! A bot that dies in each kind of step of a runbook, and the next one that goes on there: nothing is proposed,
//! asked or done twice, and whoever waits is told.

use std::time::Duration;

use rediscue::{runbook::StepState, store::PlanState};
use tokio::runtime::Runtime;

use crate::world::{
    book::{Doomed, Stage},
    chat::ChatBuilder,
    eventually, eventually_async,
    redis::RedisServer,
    room::{house, setting},
};

const EVERY: &str = r#"
name = "mend"
summary = "mends the shop"

[[steps]]
id = "look"
say = "Look"
look = "keyspace"

[[steps]]
id = "check"
say = "Check"
check = "look.figures.keys >= 0"
otherwise = "it cannot be seen"

[[steps]]
id = "hand"
say = "By hand"
manual = "Wind the clock of {{ service.name }}."

[[steps]]
id = "agreed"
say = "Somebody else agrees"
approve = "another"

[[steps]]
id = "wait"
say = "Three keys arrive"
wait = { look = "keyspace", until = "wait.figures.keys >= 3", every = "500ms", most = "2m" }

[[steps]]
id = "watch"
say = "They stay"
watch = { look = "keyspace", holds = "watch.figures.keys >= 3", every = "500ms", lasts = "3s" }

[[steps]]
id = "held"
say = "What cannot be"
check = "1 > 2"
otherwise = "one is not more than two"
else = "manual"

[[steps]]
id = "saved"
say = "A snapshot"
touch = "bgsave"
else = "continue"

[[steps]]
id = "end"
say = "The end"
look = "keyspace"
"#;

fn with() -> (RedisServer, ChatBuilder) {
    let (server, builder) = house("normal");
    (server, builder.file("commands/runbooks/mend.toml", EVERY))
}

/// Takes the run up in a new process's runtime, does `what`, and dies again at that step.
fn goes_on(
    builder: ChatBuilder,
    run: rediscue::model::RunId,
    what: impl AsyncFnOnce(&mut Stage),
) -> (ChatBuilder, rediscue::model::RunId) {
    let runtime = Runtime::new().unwrap();
    let (chat, run) = runtime.block_on(async {
        let mut stage = Stage::taken_up(builder, run).await;
        what(&mut stage).await;
        (stage.chat, stage.run)
    });
    Doomed { runtime, chat, run }.die()
}

fn reached(id: &'static str) -> impl Fn(&rediscue::runbook::BookRun) -> bool {
    move |run| run.is_over() || run.at().is_some_and(|at| run.steps[at].id == id)
}

#[test]
fn a_bot_that_dies_in_every_kind_of_step_goes_on_there_and_repeats_nothing() {
    let (server, builder) = with();
    // A look that gets no answer is a look that is under way.
    server.freeze();
    let (builder, run) = Doomed::begin(builder, "mend shop", "look").die();
    server.thaw();
    let (builder, run) = goes_on(builder, run, async |stage| {
        stage.waits("hand").await;
        assert_eq!((stage.state("look").await, stage.state("check").await), (StepState::Done, StepState::Done));
    });
    let (builder, run) = goes_on(builder, run, async |stage| {
        stage.waits("hand").await;
        stage.ticks("hand").await;
        stage.asked().await;
    });
    let mut question = None;
    let (builder, run) = goes_on(builder, run, async |stage| {
        let id = stage.asked().await;
        let row = stage.chat.store.plan(&id).await.unwrap().unwrap();
        assert_eq!(row.state, PlanState::Pending, "the same question waits");
        question = Some((id.clone(), row.message.clone()));
    });
    let (builder, run) = goes_on(builder, run, async |stage| {
        let (id, message) = question.clone().unwrap();
        assert_eq!(stage.asked().await, id);
        assert_eq!(stage.chat.store.plan(&id).await.unwrap().unwrap().message, message, "in the same message");
        stage.approves("agreed").await;
        stage.until("it waits for keys", |run| reached("wait")(run) && run.progress[4].looks > 0).await;
    });
    let (builder, run) = goes_on(builder, run, async |stage| {
        stage.until("it waits for keys", reached("wait")).await;
        server.fill("k:", 3, 10);
        stage.until("it is watched", |run| reached("watch")(run) && run.progress[5].looks > 0).await;
    });
    let (builder, run) = goes_on(builder, run, async |stage| {
        stage.waits("held").await;
        assert_eq!(stage.state("watch").await, StepState::Done);
    });
    // A pause lasts over a restart as well.
    let (builder, run) = goes_on(builder, run, async |stage| {
        stage.waits("held").await;
        let paused = stage.says("ana", &format!("pause {}", stage.run)).await;
        assert!(paused.text().contains("Paused by Ana"), "{}", paused.text());
    });
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let mut stage = Stage::taken_up(builder, run).await;
        let listed = stage.says("cy", "runbooks").await.text();
        assert!(listed.contains("step 7 of 9") && listed.contains("paused"), "{listed}");
        stage.says("ana", &format!("resume {}", stage.run)).await;
        stage.ticks("held").await;
        // The word from before the restarts covers the snapshot.
        stage.until("it ends", rediscue::runbook::BookRun::is_over).await;
        let rows = stage.chat.store.journal(200).await.unwrap();
        let ends = |id: &str| rows.iter().filter(|row| row.command == "step" && row.line.ends_with(id)).count();
        for id in ["look", "check", "hand", "agreed", "wait", "watch", "held", "saved"] {
            assert_eq!(ends(&format!(", {id}")), 1, "{id} ended once: {rows:#?}");
        }
        assert_eq!(rows.iter().filter(|row| row.command == "agreed").count(), 1);
        stage.chat.leave().await
    });
    runtime.shutdown_timeout(Duration::from_secs(10));
}

#[test]
fn a_bot_that_dies_in_the_middle_of_a_runbooks_change_finds_it_again_and_does_it_once() {
    let (server, builder) = with();
    server.fill("k:", 40, 10);
    let _: String = server.run(&["CONFIG", "SET", "rdb-key-save-delay", "100000"]);
    let before: i64 = server.run(&["LASTSAVE"]);
    let runtime = Runtime::new().unwrap();
    let (chat, run, plan) = runtime.block_on(async {
        let mut stage = Stage::begin(builder, "mend shop").await;
        stage.ticks("hand").await;
        stage.approves("agreed").await;
        // What the word covers is carried out without another one.
        stage.ticks("held").await;
        let plan = stage.plan("saved").await;
        eventually_async("the change is being made", Duration::from_secs(60), async || {
            stage.chat.store.plan(&plan).await.unwrap().is_some_and(|row| row.state == PlanState::Running)
        })
        .await;
        eventually("the server saves", Duration::from_secs(30), || server.info("rdb_bgsave_in_progress") == "1");
        (stage.chat, stage.run, plan)
    });
    let (builder, run) = Doomed { runtime, chat, run }.die();
    assert_eq!(server.info("rdb_bgsave_in_progress"), "1", "the server goes on without the bot");

    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let stage = Stage::taken_up(builder, run).await;
        let ended = stage.until("it ends", rediscue::runbook::BookRun::is_over).await;
        let at = ended.steps.iter().position(|step| step.id == "saved").unwrap();
        assert_eq!(ended.progress[at].plan.as_ref(), Some(&plan), "no second plan");
        let row = stage.chat.store.plan(&plan).await.unwrap().unwrap();
        // It was being saved when it was looked: nobody calls that done, and nobody asks for another.
        let expected = if row.state == PlanState::Done { StepState::Done } else { StepState::Failed };
        assert_eq!(ended.progress[at].state, expected, "{row:?} {:?}", ended.progress[at]);
        let _: String = server.run(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
        eventually("the server has saved", Duration::from_secs(60), || server.info("rdb_bgsave_in_progress") == "0");
        assert!(server.run::<i64>(&["LASTSAVE"]) > before);
        assert_eq!(stage.chat.store.steps(&plan).await.unwrap().len(), 1, "sent once");
        let rows = stage.chat.store.journal(200).await.unwrap();
        // The word it was carried out with is written down before it is; the bot died before it could say more.
        let covered = |why: &str| why.contains("which covers it");
        let begun = rows.iter().filter(|row| row.run == plan.as_str() && row.why.as_deref().is_some_and(covered));
        assert_eq!(begun.count(), 1, "begun once: {rows:#?}");
        stage.chat.leave().await
    });
    runtime.shutdown_timeout(Duration::from_secs(10));
    assert_eq!(setting(&server, "maxmemory"), "0");
}
