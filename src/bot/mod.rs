//! The hall: events come in, commands are carried out, answers go out.
//!
//! One dispatcher reads one bounded queue and decides the order; each event is
//! then handled in a task of its own under a deadline, so a slow command never
//! delays another. The walk of one command is in [`command`]; what it asks of
//! servers is gathered in [`gather`]; how an answer reaches its place is in
//! [`deliver`].

mod at_the_machine;
mod book;
mod built_in;
mod change;
mod command;
mod deliver;
mod errand;
mod gather;
mod health;
mod housekeep;
mod limits;
mod meters;
mod results;
mod runs;
mod scheduled;
mod shelf;
mod verify;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use meters::Meters;
pub use scheduled::Schedule;

use crate::{
    chat::{
        Audience, Ears, Event, Gateway, Inbound, Kept,
        turns::{Turn, Turns},
    },
    exec::Exec,
    model::{Place, Platform, Problem, Service, ServiceName},
    policy::{ConsentTimes, Policy},
    runbook::Catalogue,
    store::{Store, StoreHealth},
};
use limits::Limiter;
use runs::Runs;

/// What people wrote down for the bot to go by. A reload replaces all of it or none.
pub struct Rules {
    /// Who may do what.
    pub policy: Policy,
    /// What can be asked for.
    pub catalogue: Catalogue,
    /// What it can be asked about.
    pub services: BTreeMap<ServiceName, Arc<Service>>,
    /// How the bot itself behaves.
    pub settings: Settings,
}

/// How the bot itself behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Events waiting to be handled; further ones make the gateways wait.
    pub queue: usize,
    /// Events handled at once.
    pub at_once: usize,
    /// No command takes longer, whatever its file says.
    pub longest: Duration,
    /// No single call takes longer, whatever the command's file says.
    pub longest_call: Duration,
    /// A run longer than this shows its progress.
    pub progress_after: Duration,
    /// Where the head of the journal is told; `None`: nowhere.
    pub audit: Option<Place>,
    /// How often it is told there.
    pub anchor_every: Duration,
    /// How long changes wait for people.
    pub consent: ConsentTimes,
    /// The file with the alerts that fire now; `None`: no alert declares a severity.
    pub alerts: Option<PathBuf>,
    /// How long commands in flight may go on once the bot was asked to stop.
    pub grace: Duration,
    /// Backups that are made by the clock.
    pub schedules: Vec<Schedule>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue: 1024,
            at_once: 256,
            longest: Duration::from_secs(120),
            longest_call: Duration::from_secs(10),
            progress_after: Duration::from_millis(1500),
            audit: None,
            anchor_every: Duration::from_secs(86_400),
            consent: ConsentTimes::default(),
            alerts: None,
            grace: Duration::from_secs(5),
            schedules: Vec::new(),
        }
    }
}

/// Reads the configuration again, whole.
pub type Reload = Arc<dyn Fn() -> Result<Rules, Vec<Problem>> + Send + Sync>;

/// Everything the bot is made of.
pub struct Parts {
    /// What people wrote down.
    pub rules: Rules,
    /// How to read it again.
    pub reload: Reload,
    /// The hands.
    pub exec: Exec,
    /// The memory.
    pub store: Store,
    /// The mouths, one a platform.
    pub gateways: BTreeMap<Platform, Arc<dyn Gateway>>,
}

/// What every task of the bot shares.
struct Hall {
    rules: RwLock<Arc<Rules>>,
    reload: Reload,
    exec: Exec,
    store: Store,
    gateways: BTreeMap<Platform, Arc<dyn Gateway>>,
    limiter: Limiter,
    runs: Runs,
    meters: Meters,
    /// Channels with answers that wait to be delivered: later ones stand behind them.
    late: Mutex<BTreeSet<String>>,
    /// Kept events this process handles now: one that an earlier process left may be sent again besides.
    handling: Mutex<BTreeSet<String>>,
    /// Held from asking whether an event is new until it is in hand: shared by those that come, alone by one that was
    /// left, which might otherwise find that it was begun, and not yet by whom.
    claiming: tokio::sync::RwLock<()>,
    touching: change::Touching,
    watching: change::Watching,
    /// Told when a change was made that takes itself back.
    new_end: tokio::sync::Notify,
    /// Told when keys were left aside, or what stood in the way of tidying them up may be gone.
    new_aside: tokio::sync::Notify,
    /// Runbooks under way.
    books: book::Books,
    /// Told when a plan begins to wait for consent.
    new_wait: tokio::sync::Notify,
    /// Cancelled when the bot was asked to stop: new commands are refused, aloud.
    stopping: CancellationToken,
    /// When the bot was started.
    since: Timestamp,
    /// The rules' latest reading, and what was wrong with it.
    reloaded: Mutex<Reloaded>,
}

/// How the configuration was last read.
#[derive(Debug, Clone)]
struct Reloaded {
    /// When.
    at: Timestamp,
    /// Why it was not taken; empty when it was.
    problems: Vec<Problem>,
    /// Since when the rules in force are in force.
    taken: Timestamp,
}

impl Hall {
    fn rules(&self) -> Arc<Rules> {
        self.rules.read().expect("nobody panics while swapping an Arc").clone()
    }

    fn gateway(&self, platform: Platform) -> Option<&Arc<dyn Gateway>> {
        self.gateways.get(&platform)
    }

    /// How the configuration was last read.
    fn reloaded(&self) -> Reloaded {
        self.reloaded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is wrong with the bot itself now, one sentence each.
    fn ailments(&self) -> Vec<String> {
        let store = match self.store.health() {
            StoreHealth::Ok => None,
            StoreHealth::Failing { since, why, lost } => Some(format!(
                "the journal cannot be written since {since}: {why} ({lost} rows are missing; looks are answered, marked)"
            )),
        };
        store.into_iter().chain(self.gateways.values().filter_map(|gateway| gateway.ailment())).collect()
    }

    fn handling(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.handling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event has been handled.
    async fn unshelve(&self, event: &str) {
        crate::chat::Shelf::done(&self.store, event).await;
        self.handling().remove(event);
    }

    /// Was an event that an earlier process left also sent again, and is in hand or done?
    async fn came_again(&self, event: &str) -> bool {
        let in_hand = self.handling().contains(event);
        in_hand || matches!(self.store.arrival_waits(event).await, Ok(false))
    }

    /// All of a valid configuration, or none of it.
    fn reload(&self) -> Result<usize, Vec<Problem>> {
        let read = (self.reload)();
        {
            let at = Timestamp::now();
            let mut reloaded = self.reloaded.lock().unwrap_or_else(PoisonError::into_inner);
            let problems = read.as_ref().err().cloned().unwrap_or_default();
            let taken = if read.is_ok() { at } else { reloaded.taken };
            *reloaded = Reloaded { at, problems, taken };
        }
        let rules = read?;
        let services = rules.services.len();
        for (name, old) in &self.rules().services {
            if rules.services.get(name) != Some(old) {
                self.exec.forget(name);
            }
        }
        self.limiter.set(*rules.policy.limits());
        *self.rules.write().expect("nobody panics while swapping an Arc") = Arc::new(rules);
        Ok(services)
    }
}

/// The running bot.
pub struct Bot {
    hall: Arc<Hall>,
    inbound: mpsc::Sender<Inbound>,
    tasks: TaskTracker,
    dispatcher: tokio::task::JoinHandle<()>,
}

impl Bot {
    /// Starts the dispatcher.
    pub fn start(parts: Parts) -> Self {
        let Parts { rules, reload, exec, store, gateways } = parts;
        exec.keep_walks_in(store.clone());
        let settings = rules.settings.clone();
        let now = Timestamp::now();
        let (inbound, inbox) = mpsc::channel(settings.queue);
        let hall = Arc::new(Hall {
            limiter: Limiter::new(*rules.policy.limits()),
            rules: RwLock::new(Arc::new(rules)),
            reload,
            exec,
            store,
            gateways,
            runs: Runs::default(),
            meters: Meters::default(),
            late: Mutex::default(),
            handling: Mutex::default(),
            claiming: tokio::sync::RwLock::default(),
            touching: change::Touching::default(),
            watching: change::Watching::default(),
            new_end: tokio::sync::Notify::new(),
            new_aside: tokio::sync::Notify::new(),
            books: book::Books::default(),
            new_wait: tokio::sync::Notify::new(),
            stopping: CancellationToken::new(),
            since: now,
            reloaded: Mutex::new(Reloaded { at: now, problems: Vec::new(), taken: now }),
        });
        let tasks = TaskTracker::new();
        tasks.spawn(deliver::send_owed(hall.clone()));
        tasks.spawn(housekeep::keep(hall.clone()));
        tasks.spawn(change::recover(hall.clone()));
        tasks.spawn(change::keep_ends(hall.clone()));
        tasks.spawn(change::keep_aside(hall.clone()));
        tasks.spawn(book::keep(hall.clone()));
        tasks.spawn(change::keep_waits(hall.clone()));
        tasks.spawn(scheduled::keep(hall.clone()));
        let dispatcher = tokio::spawn(dispatch(hall.clone(), inbox, tasks.clone(), settings.at_once));
        Self { hall, inbound, tasks, dispatcher }
    }

    /// What a gateway needs to hear for the bot, where what it acknowledged must survive a crash.
    pub fn ears(&self) -> Ears {
        Ears { inbound: self.inbound.clone(), shelf: Arc::new(self.hall.store.clone()) }
    }

    /// Where gateways put what they hear.
    pub fn inbound(&self) -> mpsc::Sender<Inbound> {
        self.inbound.clone()
    }

    /// Reads the configuration again: all of it, or none and every problem.
    pub fn reload(&self) -> Result<usize, Vec<Problem>> {
        self.hall.reload()
    }

    /// What the bot counts of itself.
    pub fn meters(&self) -> &Meters {
        &self.hall.meters
    }

    /// What is written down now, for completion and pages.
    pub fn rules(&self) -> Arc<Rules> {
        self.hall.rules()
    }

    /// A handle that pages can look through while the bot runs.
    pub fn window(&self) -> Window {
        Window { hall: self.hall.clone() }
    }

    /// Stops: what is in flight has the grace to end by itself, is then
    /// cancelled and says so; what is still queued is told to ask again.
    /// Returns when the last answer was handed to its gateway.
    pub async fn stop(self) {
        let grace = self.hall.rules().settings.grace;
        self.hall.stopping.cancel();
        drop(self.inbound);
        let hall = self.hall;
        let cut = tokio::spawn({
            let hall = hall.clone();
            async move {
                tokio::time::sleep(grace).await;
                hall.runs.cancel_all(runs::Why::Stopping);
            }
        });
        self.tasks.close();
        if self.dispatcher.await.is_err() {
            tracing::error!("the dispatcher panicked");
        }
        self.tasks.wait().await;
        cut.abort();
    }
}

/// A read-only view of the running bot.
#[derive(Clone)]
pub struct Window {
    hall: Arc<Hall>,
}

impl Window {
    /// What the bot counts of itself, in the Prometheus text format.
    pub fn metrics(&self) -> String {
        let mut text = self.hall.meters.to_text(self.hall.runs.in_flight(), !self.hall.store.health().is_ok());
        let name = "rediscue_platform_ailing";
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "# HELP {name} 1 when a chat platform cannot be heard or spoken to.\n# TYPE {name} gauge");
        for (platform, gateway) in &self.hall.gateways {
            let ailing = u8::from(gateway.ailment().is_some());
            let _ = writeln!(text, "{name}{{platform=\"{platform}\"}} {ailing}");
        }
        text
    }

    /// What is wrong with the bot itself; empty when nothing is.
    pub fn ailments(&self) -> Vec<String> {
        self.hall.ailments()
    }
}

/// Takes events in order and hands each to a task of its own.
///
/// The queue stays open until every sender is gone or the bot was asked to
/// stop; in the latter case what is queued is still taken, and refused aloud.
async fn dispatch(hall: Arc<Hall>, mut inbox: mpsc::Receiver<Inbound>, tasks: TaskTracker, at_once: usize) {
    let room = Arc::new(tokio::sync::Semaphore::new(at_once));
    let turns = Turns::default();
    loop {
        let inbound = tokio::select! {
            biased;
            inbound = inbox.recv() => inbound,
            () = hall.stopping.cancelled() => {
                inbox.close();
                inbox.recv().await
            }
        };
        let Some(inbound) = inbound else { break };
        let turn = card_of(&inbound).map(|card| turns.enter(card));
        let Ok(seat) = room.clone().acquire_owned().await else { break };
        let hall = hall.clone();
        tasks.spawn(async move {
            let (place, event, from) = (inbound.place.clone(), inbound.event.clone(), inbound.from.clone());
            let kept = inbound.kept;
            let handled = AssertUnwindSafe(TURN.scope(turn, handle(&hall, inbound))).catch_unwind().await;
            if kept.is_some() && !matches!(handled, Ok(Handled::Before)) {
                hall.unshelve(&event).await;
            }
            if let Some(gateway) = hall.gateway(place.platform) {
                if handled.is_err() {
                    // A defect of ours must not leave somebody waiting at 3 a.m.
                    tracing::error!(event, "handling this event panicked");
                    let said = gateway.say(&place, &command::broken_card(), &Audience::Only(from), &event).await;
                    if let Err(error) = said {
                        tracing::error!(%error, event, "and nobody could be told");
                    }
                }
                gateway.settled(&event);
            }
            drop(seat);
        });
    }
}

tokio::task_local! {
    /// The turn of the event this task handles.
    static TURN: Option<Turn>;
}

/// Whoever comes next to the same card may: this one has had its word, and what follows takes its time.
fn had_its_word() {
    let _ = TURN.try_with(|turn| turn.as_ref().map(Turn::end));
}

/// The card an event is about. What is said to one card is heard in the order it came.
fn card_of(inbound: &Inbound) -> Option<String> {
    match &inbound.what {
        Event::Pressed { message, .. } | Event::Reacted { message, .. } => {
            let place = &message.place;
            Some(format!("{}:{}/{}/{}", place.platform, place.team, place.channel, message.id))
        }
        Event::Command { .. } | Event::AtTheMachine(_) => None,
    }
}

/// What became of an event.
enum Handled {
    /// It was handled.
    Now,
    /// It was handled before, or is being handled by another task.
    Before,
}

/// How far an earlier process came with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// It never began: it is new.
    Nowhere,
    /// It began, and nobody knows how far it came.
    Somewhere,
    /// It is told of and not done: too long ago, or it ended the bot before.
    TooLate,
}

async fn handle(hall: &Arc<Hall>, inbound: Inbound) -> Handled {
    hall.meters.event();
    let turn = TURN.try_with(|turn| turn.as_ref().map(Turn::wait)).ok().flatten();
    if let Some(turn) = turn {
        turn.await;
    }
    let left = matches!(inbound.kept, Some(Kept::Left { .. }));
    // It may be sent again, or have only just come, while it is taken up.
    let claim = if left { (None, Some(hall.claiming.write().await)) } else { (Some(hall.claiming.read().await), None) };
    let first = match hall.store.first_time(&inbound.event).await {
        Ok(first) => first,
        // A store that cannot remember must not make the bot deaf: looks are
        // harmless when repeated, and touches are refused further on.
        Err(error) => {
            tracing::warn!(%error, "cannot remember event ids");
            true
        }
    };
    if left && !first && hall.came_again(&inbound.event).await {
        return Handled::Before;
    }
    let came = match inbound.kept {
        Some(Kept::Left { late: true, .. }) => Came::TooLate,
        _ if first => Came::Nowhere,
        Some(Kept::Left { .. }) => Came::Somewhere,
        Some(Kept::Now) | None => {
            hall.meters.redelivery();
            tracing::info!(event = inbound.event, "seen before, not handled again");
            return Handled::Before;
        }
    };
    if inbound.kept.is_some() {
        hall.handling().insert(inbound.event.clone());
    }
    drop(claim);
    match inbound.what {
        Event::Command { .. } | Event::Pressed { .. } => command::carry_out(hall, inbound, came).await,
        Event::AtTheMachine(_) => at_the_machine::hear(hall, inbound).await,
        Event::Reacted { .. } => change::reacted(hall, inbound, came).await,
    }
    Handled::Now
}
