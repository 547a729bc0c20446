//! The built program, killed with SIGKILL at one moment after the other of a change, and started again.
//!
//! At each: every key is in Redis, set aside, or in a frame on the disk; nothing is done twice; the
//! channel is told what is certain; and what was done can be taken back.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rediscue::{
    model::RunId,
    store::{
        PlanState, StepState, Store,
        snapshot::{Record, StepId},
    },
};

use crate::world::{
    keys::{Seen, assert_same, furnish, seen},
    mortal::{Mortal, run_in},
    room::setting,
};

/// What `CONFIG SET` of a setting looks like on its way; asking whether it may be sent is longer.
const SETS: &str = "*4\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n";

/// What a dead bot had written down about a run.
struct Left {
    state: PlanState,
    steps: Vec<StepState>,
    on_disk: BTreeSet<Vec<u8>>,
}

async fn left(store: &Store, run: &RunId) -> Left {
    let step = StepId { run: run.clone(), seq: 0 };
    let frames = store.snapshots().and_then(|snapshots| snapshots.read(&step)).into_iter().flatten();
    let records = frames.filter_map(Result::ok).flat_map(|frame| frame.records);
    let on_disk = records.filter_map(|record| match record {
        Record::Key { key, .. } => Some(key),
        _ => None,
    });
    Left {
        state: store.plan(run).await.unwrap().expect("it was written before it was shown").state,
        steps: store.steps(run).await.unwrap().iter().map(|step| step.state).collect(),
        on_disk: on_disk.collect(),
    }
}

/// The names of what is aside, as they were.
fn aside(seen: &Seen) -> BTreeSet<Vec<u8>> {
    let name = |name: &[u8]| {
        let rest = name.strip_prefix(b"rediscue:aside:")?;
        let at = rest.windows(2).position(|pair| pair == b"}:")?;
        Some(rest[at + 2..].to_vec())
    };
    seen.keys().filter_map(|key| name(key)).collect()
}

/// Words a plan's message has at its end.
fn is_over(words: &str) -> bool {
    ["Done:", "The bot was restarted", "Nothing was changed:", "It did not get through"]
        .iter()
        .any(|end| words.contains(end))
}

/// What has died, been started again, and has told what became of it.
struct Told {
    left: Left,
    words: String,
}

/// Kills the bot at a moment of a run that bo's consent sets going. `None`: the run has fewer moments.
///
/// The consent is given once more after the restart, and its event delivered again: what had begun is
/// not begun anew by either, and what had not is done then, once.
async fn die(bot: &mut Mortal, moment: u64, line: &str, check: impl Fn(&Mortal, &Left)) -> Option<Told> {
    let channel = bot.channel();
    let plan = bot.asked(&channel, line).await;
    let run = run_in(&plan);
    let (killed, event) = bot.killed_at(moment, &channel, &plan).await;
    if !killed {
        return None;
    }
    let store = bot.store().await;
    let left = left(&store, &run).await;
    store.close().await;
    check(bot, &left);
    bot.lives().await;
    let when = format!("moment {moment}, {}", left.state.word());
    if left.state != PlanState::Pending {
        bot.message(&channel, &plan.ts, &format!("{when}: the channel is told how it ended"), is_over).await;
    }
    bot.fake.redeliver(event);
    bot.fake.react("U2", &channel, &plan.ts, "white_check_mark", true);
    if left.state != PlanState::Pending {
        bot.said(&channel, "That plan waits for nobody").await;
    }
    let words = bot.message(&channel, &plan.ts, &format!("{when}: the plan's message says its end"), is_over).await;
    match left.state {
        PlanState::Claimed => assert!(words.contains("before anything was changed"), "{when}: {words}"),
        PlanState::Running => {
            assert!(words.contains("nothing is done twice"), "{when}: {words}");
            let said = match left.steps.first() {
                None => "1 of 1 steps were not begun",
                Some(StepState::Done) => " was done.",
                Some(_) => " had begun: ",
            };
            assert!(words.contains(said), "{when}: {said} is missing in {words}");
        }
        PlanState::Done => assert!(words.contains("Done:"), "{when}: {words}"),
        _ => {}
    }
    Some(Told { left, words })
}

/// Takes a run back, and waits until that is done.
async fn undo(bot: &mut Mortal, run: &RunId) {
    let channel = bot.channel();
    let plan = bot.asked(&channel, &format!("undo {run}")).await;
    bot.fake.react("U2", &channel, &plan.ts, "white_check_mark", true);
    let words = bot.message(&channel, &plan.ts, "the undo is over", is_over).await;
    assert!(words.contains("Done:"), "{words}");
}

/// How many points were died at, and at how many of them something had begun.
#[derive(Default)]
struct Counted {
    points: AtomicU64,
    begun: AtomicU64,
    aside: AtomicU64,
}

/// Every `of`th moment of a settings change, from `from`.
async fn settings(counted: &Counted, from: u64, of: u64) {
    let mut bot = Mortal::new(&[SETS]).await;
    bot.lives().await;
    let mut value = 1_000 + from;
    for moment in (from..).step_by(of as usize) {
        let before = setting(&bot.server, "timeout");
        value += of;
        let wanted = value.to_string();
        let sent = bot.sent(SETS);
        let Some(told) = die(&mut bot, moment, &format!("set-config timeout {wanted} shop"), |_, _| {}).await else {
            break;
        };
        counted.points.fetch_add(1, Ordering::Relaxed);
        counted.begun.fetch_add(u64::from(!told.left.steps.is_empty()), Ordering::Relaxed);
        let (now, times) = (setting(&bot.server, "timeout"), bot.sent(SETS) - sent);
        let words = &told.words;
        assert!(times <= 1, "moment {moment}: it was set {times} times: {words}");
        let says = |said: &str| words.contains(said);
        if says("Done:") || says("so it was done") || says(" was done.") {
            assert_eq!(now, wanted, "moment {moment}: {words}");
        } else {
            let certain =
                says("so it was not done") || says("before anything was changed") || says("steps were not begun");
            assert!(certain, "moment {moment}: {words}");
            assert_eq!(now, before, "moment {moment}: {words}");
        }
    }
}

/// Every `of`th moment of a purge, from `from`.
async fn purges(counted: &Counted, from: u64, of: u64) {
    const KEYS: usize = 160;
    let mut bot = Mortal::new(&[]).await;
    bot.lives().await;
    furnish(&bot.server, KEYS);
    let before = seen(&bot.server);
    for moment in (from..).step_by(of as usize) {
        let at_death = std::cell::RefCell::new(None);
        let line = "purge session:* --where organisationId=org-1 shop";
        let check = |bot: &Mortal, left: &Left| {
            let now = seen(&bot.server);
            let there = aside(&now);
            counted.aside.fetch_add(u64::from(!there.is_empty()), Ordering::Relaxed);
            for name in before.keys() {
                let kept = now.contains_key(name) || there.contains(name) || left.on_disk.contains(name);
                assert!(kept, "moment {moment}: {} is nowhere", String::from_utf8_lossy(name));
            }
            *at_death.borrow_mut() = Some(now);
        };
        let Some(told) = die(&mut bot, moment, line, check).await else { break };
        counted.points.fetch_add(1, Ordering::Relaxed);
        counted.begun.fetch_add(u64::from(!told.left.steps.is_empty()), Ordering::Relaxed);
        let (words, now) = (&told.words, seen(&bot.server));
        assert!(aside(&now).is_empty(), "moment {moment}: something is aside still: {words}");
        if told.left.state != PlanState::Pending {
            let at_death = at_death.take().expect("it was looked at");
            let gone = before.keys().filter(|name| at_death.contains_key(*name) && !now.contains_key(*name)).count();
            assert_eq!(gone, 0, "moment {moment}: more was removed after the restart: {words}");
        }
        let foot = words.lines().rfind(|line| line.starts_with("run ")).expect("a card has a foot");
        let run = RunId::parse(foot.split_whitespace().nth(1).unwrap()).unwrap();
        if now.len() < before.len() {
            undo(&mut bot, &run).await;
        }
        assert_same(&before, &seen(&bot.server));
    }
}

#[test]
fn killed_at_any_moment_of_a_change_nothing_is_lost_or_done_twice_and_the_channel_is_told() {
    const LANES: u64 = 3;
    let (settled, purged) = (Arc::new(Counted::default()), Arc::new(Counted::default()));
    let lane = |from: u64| {
        let (settled, purged) = (settled.clone(), purged.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                settings(&settled, from, LANES).await;
                purges(&purged, from, LANES).await;
            });
        })
    };
    let lanes: Vec<_> = (1..=LANES).map(lane).collect();
    for lane in lanes {
        lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
    let count = |counted: &Counted| {
        let one = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (one(&counted.points), one(&counted.begun), one(&counted.aside))
    };
    let (settled, purged) = (count(&settled), count(&purged));
    println!("points, with a step begun, with keys aside: settings {settled:?}, purge {purged:?}");
    assert!(settled.0 + purged.0 >= 200, "only {settled:?} and {purged:?} points were reached");
    assert!(settled.1 >= 5 && purged.1 >= 20, "too few of them were in a step: {settled:?}, {purged:?}");
    assert!(purged.2 >= 5, "only {} of them left keys aside", purged.2);
}
