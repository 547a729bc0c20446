//! Runbooks under way: each has a task that does what the engine says is next.
//!
//! `runbook::BookRun` decides; this does it. Before anything is done the run
//! is a row that says so, so a bot that starts again goes on at the step it was
//! in: a look is made once more, a change is found again by its plan's id.

mod agree;
mod begin;
mod look;
mod rehearse;
mod revert;
mod tell;
mod touch;
mod words;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Hall, Rules};
use crate::{
    model::{MessageRef, RunId},
    runbook::{BookRun, Happened, Next, NotNow, Slot, StepState},
    store::{BookRow, Entry, Outcome, StoreError},
};

pub(super) use agree::asked_in;
pub(super) use begin::begin;
pub(super) use words::{Word, list, question, word};

/// Runs that were begun and wait for a task; further ones wait to be begun.
const BEGINNING: usize = 16;
/// How long a store that cannot be written is left alone before the next try.
const RETRY: Duration = Duration::from_secs(2);

/// One run, and whoever waits for something to happen to it.
pub(super) struct Desk {
    run: RunId,
    message: Option<MessageRef>,
    kept: tokio::sync::Mutex<BookRun>,
    nudge: Notify,
}

/// The runs under way.
pub(super) struct Books {
    desks: Mutex<HashMap<RunId, Arc<Desk>>>,
    /// Runs this process began: what an earlier one left is every other row.
    ours: Mutex<HashSet<RunId>>,
    begun: mpsc::Sender<Arc<Desk>>,
    inbox: Mutex<Option<mpsc::Receiver<Arc<Desk>>>>,
    /// Cancelled once what an earlier process left has been taken up.
    whole: CancellationToken,
}

impl Default for Books {
    fn default() -> Self {
        let (begun, inbox) = mpsc::channel(BEGINNING);
        Self {
            desks: Mutex::default(),
            ours: Mutex::default(),
            begun,
            inbox: Mutex::new(Some(inbox)),
            whole: CancellationToken::new(),
        }
    }
}

impl Books {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Arc<Desk>>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until what an earlier process left has been taken up: a word that
    /// comes with the bot's first breath is not told that nothing is under way.
    pub(super) async fn whole(&self) {
        self.whole.cancelled().await;
    }

    /// The run of that id, while it is under way.
    pub(super) fn desk(&self, run: &RunId) -> Option<Arc<Desk>> {
        self.lock().get(run).cloned()
    }

    fn all(&self) -> Vec<Arc<Desk>> {
        self.lock().values().cloned().collect()
    }

    /// This process begins the run; said before it is a row.
    fn claim(&self, run: &RunId) {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner).insert(run.clone());
    }

    fn is_ours(&self, run: &RunId) -> bool {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner).contains(run)
    }

    /// It is over.
    fn forget(&self, run: &RunId) {
        self.lock().remove(run);
        self.ours.lock().unwrap_or_else(PoisonError::into_inner).remove(run);
    }

    /// Sets a run going.
    async fn start(&self, row: BookRow) {
        let desk = self.open(row);
        // Nobody takes it once the bot stops; the next start finds its row.
        let _ = self.begun.send(desk).await;
    }

    fn open(&self, row: BookRow) -> Arc<Desk> {
        let run = row.run.run.clone();
        let desk = Arc::new(Desk {
            run: run.clone(),
            message: row.message,
            kept: tokio::sync::Mutex::new(row.run),
            nudge: Notify::new(),
        });
        self.lock().insert(run, desk.clone());
        desk
    }
}

/// Whether a plan belongs to a runbook that waits for it.
pub(super) async fn waits_for(hall: &Hall, plan: &RunId) -> bool {
    for desk in hall.books.all() {
        if desk.run().await.plan_in_flight().as_ref() == Some(plan) {
            return true;
        }
    }
    false
}

/// What became of something that was said to a run.
enum Heard {
    Taken,
    NotNow(NotNow),
}

impl Desk {
    async fn run(&self) -> BookRun {
        self.kept.lock().await.clone()
    }

    /// What is to be done now, once the run is written down as about to do it.
    async fn advance(&self, hall: &Hall, rules: &Rules) -> Result<(Next, BookRun), StoreError> {
        let mut kept = self.kept.lock().await;
        let mut run = kept.clone();
        let next = match rules.services.get(&run.service) {
            Some(service) => run.advance(service, now_ms()),
            None => {
                run.lose(&format!("{} is no longer configured", run.service), now_ms());
                Next::Ended
            }
        };
        if *kept != run {
            hall.store.book_put(&run).await?;
            journal(hall, &kept, &run).await;
            *kept = run.clone();
        }
        Ok((next, run))
    }

    /// Tells the run what happened; it is as before when that cannot be written down.
    async fn hear(&self, hall: &Hall, rules: &Rules, happened: Happened) -> Result<Heard, StoreError> {
        let mut kept = self.kept.lock().await;
        let mut run = kept.clone();
        let Some(service) = rules.services.get(&run.service) else { return Ok(Heard::NotNow(NotNow::Ending)) };
        if let Err(not_now) = run.hear(happened, service, now_ms()) {
            return Ok(Heard::NotNow(not_now));
        }
        hall.store.book_put(&run).await?;
        journal(hall, &kept, &run).await;
        *kept = run;
        self.nudge.notify_one();
        Ok(Heard::Taken)
    }
}

/// Every step that came to its end has a row of the journal.
async fn journal(hall: &Hall, before: &BookRun, after: &BookRun) {
    for (at, (old, new)) in before.progress.iter().zip(&after.progress).enumerate() {
        if old.state == new.state || !new.state.is_over() {
            continue;
        }
        let entry = Entry {
            at: jiff::Timestamp::now(),
            run: after.run.clone(),
            identity: after.asker.clone(),
            person: Some(new.by.clone().unwrap_or_else(|| after.requester.clone())),
            place: after.place.clone(),
            line: format!("{} · step {}, {}", after.line, at + 1, after.steps[at].id),
            command: "step".to_owned(),
            service: Some(after.service.clone()),
            instance: Some(after.instance.clone()),
            outcome: if new.state == StepState::Failed { Outcome::Failed } else { Outcome::Answered },
            why: Some(new.state.word().to_owned()),
            level: None,
            took: Duration::from_millis(
                new.ended_ms.zip(new.begun_ms).and_then(|(end, begin)| u64::try_from(end - begin).ok()).unwrap_or(0),
            ),
            reveal: false,
        };
        if let Err(error) = hall.store.record_synced(entry).await {
            tracing::warn!(%error, run = %after.run, "a step's end could not be journalled");
        }
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Takes up what was under way at the last end of the bot, and whatever is begun, until the bot stops.
pub(super) async fn keep(hall: Arc<Hall>) {
    let inbox = hall.books.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut inbox) = inbox else { return };
    let mut drives = JoinSet::new();
    match hall.store.books().await {
        Ok(rows) => {
            for row in rows.into_iter().filter(|row| !hall.books.is_ours(&row.run.run)) {
                drives.spawn(drive(hall.clone(), hall.books.open(row)));
            }
        }
        Err(error) => tracing::error!(%error, "runbooks under way at the last end could not be read"),
    }
    hall.books.whole.cancel();
    loop {
        tokio::select! {
            () = hall.stopping.cancelled() => break,
            Some(desk) = inbox.recv() => {
                drives.spawn(drive(hall.clone(), desk));
            }
            Some(ended) = drives.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a runbook's task broke; it is taken up again at the next start");
                }
            }
        }
    }
    while drives.join_next().await.is_some() {}
}

/// One run, from where it stands to its end or the bot's.
async fn drive(hall: Arc<Hall>, desk: Arc<Desk>) {
    let teller = tell::Teller::start(&hall, &desk);
    let mut asked = String::new();
    loop {
        let rules = hall.rules();
        let (next, run) = match desk.advance(&hall, &rules).await {
            Ok(next) => next,
            Err(error) => {
                // What cannot be written down is not done.
                tracing::warn!(%error, run = %desk.run, "a runbook waits for the store");
                if !wait(&hall, &desk, Some(RETRY)).await {
                    break;
                }
                continue;
            }
        };
        teller.show(&rules, &run, &next);
        if hall.stopping.is_cancelled() {
            break;
        }
        match next {
            Next::Ended => {
                teller.finish(&hall, &rules, &run).await;
                hall.books.forget(&desk.run);
                return;
            }
            Next::People => {
                tell::ask(&hall, &run, &mut asked).await;
                if !wait(&hall, &desk, None).await {
                    break;
                }
            }
            Next::At(at) => {
                let left = Duration::from_millis(u64::try_from(at - now_ms()).unwrap_or(0));
                if !wait(&hall, &desk, Some(left)).await {
                    break;
                }
            }
            Next::Look { step, line } => {
                let saw = tokio::select! {
                    // A look that ended because the bot does has seen nothing.
                    biased;
                    // Looking changes nothing: it may be dropped and made again.
                    () = hall.stopping.cancelled() => break,
                    () = over(&desk) => continue,
                    saw = look::look(&hall, &rules, &run, &line) => saw,
                };
                tell_run(&hall, &rules, &desk, Happened::Looked { step, saw }).await;
            }
            Next::Touch { slot, line, plan } => {
                let wanted = touch::Wanted { slot, line: &line, plan: &plan };
                let Some(end) = touch::touch(&hall, &rules, &desk, &run, &wanted).await else { break };
                tell_run(&hall, &rules, &desk, Happened::Touched { slot, end }).await;
            }
            Next::Ask { step, plan } => {
                let Some(answer) = agree::agree(&hall, &rules, &desk, &run, step, &plan).await else { break };
                tell_run(&hall, &rules, &desk, answer).await;
            }
            Next::Revert { at, plan } => {
                let Some(end) = revert::revert(&hall, &desk, &plan).await else { break };
                tell_run(&hall, &rules, &desk, Happened::Touched { slot: Slot::Back(at), end }).await;
            }
        }
    }
    teller.end().await;
}

async fn tell_run(hall: &Hall, rules: &Rules, desk: &Desk, happened: Happened) {
    match desk.hear(hall, rules, happened).await {
        Ok(Heard::Taken) => {}
        // Somebody ended it meanwhile.
        Ok(Heard::NotNow(why)) => tracing::debug!(run = %desk.run, %why, "a step's end came too late"),
        // The engine will ask for the same again.
        Err(error) => {
            tracing::warn!(%error, run = %desk.run, "a step's end could not be written");
            tokio::select! {
                () = hall.stopping.cancelled() => {}
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }
}

/// Resolves when somebody ended the run.
async fn over(desk: &Desk) {
    loop {
        desk.nudge.notified().await;
        if desk.kept.lock().await.is_over() {
            return;
        }
    }
}

/// Waits until something happens to the run, or so long; `false`: the bot stops.
async fn wait(hall: &Hall, desk: &Desk, most: Option<Duration>) -> bool {
    let most = async {
        match most {
            Some(most) => tokio::time::sleep(most).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = hall.stopping.cancelled() => false,
        () = desk.nudge.notified() => true,
        () = most => true,
    }
}
