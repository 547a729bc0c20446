//! Carrying a plan out: everything that can still say no, then its steps, one by one.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    CALL, LATER, asker_of, bound, cards, edit, end, freeze,
    plan::{self, Made, Unplanned, Wish},
    say_last, sentence, word,
};
use crate::{
    bot::{Hall, Rules, command::plain_card, runs, verify},
    diagnosis::Explained,
    exec::{Hands, Looking, STOPPED, Touched, aside::CountFor},
    model::{Action, ActionStyle, Card, Instance, Level, Progress, Text, Tick},
    policy::{Consent, Said, TouchPermit},
    runbook::{Command, Plan, Risk},
    store::{Entry, LeftAside, Outcome, PlanRow, PlanState, StepState},
};

/// Carries a plan out if the consents suffice, and says how it ended: in the
/// plan's own message, and by the card that is given back.
pub(super) async fn carry(hall: &Arc<Hall>, row: &PlanRow) -> (Card, bool) {
    let run = &row.plan.run;
    if row.plan.asks.is_some() {
        return super::agree::settle(hall, row).await;
    }
    hall.touching.take_up(&row.plan);
    match hall.store.plan_move(run, PlanState::Pending, PlanState::Claimed, None).await {
        Ok(true) => {}
        Ok(false) => {
            return (plain_card("already taken up", "Somebody else's word has set this plan going.", None), true);
        }
        Err(error) => {
            hall.touching.put_down(run);
            return (cards::unwritten(&error), false);
        }
    }
    let lane = hall.touching.of(&row.plan);
    // One change at a time on an instance; the others wait here, and say so.
    let _alone = match lane.alone.clone().try_lock_owned() {
        Ok(alone) => alone,
        Err(_) => {
            let ahead = lane.holder().map_or_else(|| "another change".to_owned(), |run| format!("run {run}"));
            let doing = format!("It has consent and waits until {ahead} on the same instance is over.");
            edit(hall, row, cards::queued(&row.plan, &doing)).await;
            lane.alone.clone().lock_owned().await
        }
    };
    lane.hold(Some(run.clone()));
    let Carried { card, state, changed, moved } = checked(hall, row).await;
    // Nobody needs what it counted any more, be it that it was voided before that was looked at.
    drop(hall.watching.take(run));
    lane.hold(None);
    hall.touching.put_down(run);
    // What it left aside is tidied up once it is out of the way, and so is what an undo came upon.
    hall.new_aside.notify_one();
    // A plan that waits again keeps its own message.
    if row.message.is_some() && state != PlanState::Pending {
        say_last(hall, row, card.clone()).await;
    }
    if changed {
        verify::after(hall, row, verify::When::Run).await;
    }
    if let Some(changed) = moved {
        super::propose::anew(hall, row, &changed).await;
    }
    (card, state == PlanState::Done)
}

/// What came of a plan that was taken up.
struct Carried {
    card: Card,
    state: PlanState,
    /// Something was changed, whatever became of it.
    changed: bool,
    /// What is no longer so, where the plan is to be made anew.
    moved: Option<String>,
}

/// Why a plan that was to be carried out is not.
enum Unfit {
    /// It is not what was consented to.
    Otherwise(String),
    /// Nor is it, for this reason, and whoever asked may ask for what it is now.
    Moved(String),
    /// Nobody can tell, because the servers could not be asked.
    Unasked(Explained),
}

/// Everything that can still say no, then the change.
async fn checked(hall: &Arc<Hall>, row: &PlanRow) -> Carried {
    let plan = &row.plan;
    let rules = hall.rules();
    let void = async |why: String| {
        let card = cards::end(plan, Level::Note, "not run", &format!("Nothing was changed: {why}"), Vec::new());
        if let Err(error) = end(hall, row, PlanState::Claimed, PlanState::Void, &why, &card).await {
            tracing::warn!(%error, run = %plan.run, "a plan that does not run could not be closed; a restart does it");
        }
        Carried { card, state: PlanState::Void, changed: false, moved: None }
    };
    let Some((command, service, instance)) = bound(&rules, plan) else {
        return void("its command, service or instance is no longer configured.".to_owned()).await;
    };
    let permitted = async || -> Result<TouchPermit, String> {
        let votes = hall.store.consents(&plan.run).await.map_err(|error| error.to_string())?;
        let broken = hall.store.broken(&plan.run).await.map_err(|error| error.to_string())?;
        freeze::holds_up(hall, &rules, &plan.service).await?;
        let said = Said { votes: &votes, broken: broken.as_ref() };
        match rules.policy.consent(plan, command, service, &row.place, said, Timestamp::now()) {
            Consent::Granted(permit) => Ok(*permit),
            Consent::Need(ticket) => Err(format!("consent is missing; one of these could give it: {}.", ticket.who)),
            Consent::Void(refusal) => Err(refusal.why),
        }
    };
    let permit = match permitted().await {
        Ok(permit) => permit,
        Err(why) => return void(why).await,
    };
    // The plan is made again: whoever consented did so to what they saw, and to nothing else.
    let made = match again(hall, row, (command, service, instance), &permit).await {
        Ok(made) => made,
        Err(Unfit::Otherwise(why)) => return void(why).await,
        Err(Unfit::Moved(changed)) => {
            let said = format!("{changed}. The consent was for what was shown, so a new plan asks for it.");
            return Carried { moved: Some(changed), ..void(said).await };
        }
        Err(Unfit::Unasked(why)) => {
            if let Some(waits) = waits_again(hall, row, &permit, &why).await {
                return waits;
            }
            return void(format!("{}: {}. Next: {}.", why.what, why.cause, why.next)).await;
        }
    };
    if hall.stopping.is_cancelled() {
        return void("the bot is being stopped.".to_owned()).await;
    }
    // A word taken back while we looked, or a rule changed, counts until here.
    let permit = match permitted().await {
        Ok(permit) => permit,
        Err(why) => return void(why).await,
    };
    match hall.store.plan_move(&plan.run, PlanState::Claimed, PlanState::Running, None).await {
        Ok(true) => {}
        Ok(false) => return void("it was called off before it began.".to_owned()).await,
        Err(error) => return void(format!("the store cannot be written ({error}).")).await,
    }
    let entered = hall.runs.enter(&plan.run, Some(plan.requester.clone()), &plan.what());
    let ran = Running::new(hall, row, instance, &made, &permit, entered.stop.clone()).run().await;
    let told = ran.told(&rules, &permit);
    note(hall, row, &permit, &ran, &told).await;
    Carried { card: told, state: ran.state, changed: ran.touched, moved: None }
}

/// A plan whose servers could not be asked waits again, and the consent to it holds: that they are silent for a
/// moment says nothing of what was consented to. `None`: nobody's word would set it going once more.
async fn waits_again(hall: &Hall, row: &PlanRow, permit: &TouchPermit, why: &Explained) -> Option<Carried> {
    let plan = &row.plan;
    if permit.consented().is_empty() || permit.broken().is_some() || plan.expired(Timestamp::now()) {
        return None;
    }
    let note = format!("{}: {}", why.what, why.cause);
    match hall.store.plan_move(&plan.run, PlanState::Claimed, PlanState::Pending, Some(&note)).await {
        Ok(true) => hall.new_wait.notify_one(),
        Ok(false) => return None,
        Err(error) => {
            tracing::warn!(%error, run = %plan.run, "a plan could not be put back; it is void");
            return None;
        }
    }
    let line = match plan.risk >= Risk::Critical {
        true => format!("approve {} {}", plan.run, plan.service),
        false => format!("approve {}", plan.run),
    };
    let what = format!(
        "Nothing was changed: {note}. The consent to it holds until {}. Next: {}; then whoever consented types /redis {line}",
        cards::until(plan),
        why.next
    );
    let mut card = cards::end(plan, Level::Warn, "not run yet", &what, Vec::new());
    card.actions.push(Action { label: "Try again".to_owned(), command: line, style: ActionStyle::Danger });
    Some(Carried { card, state: PlanState::Pending, changed: false, moved: None })
}

/// The same plan from what is so now; why it is not carried out, when it is not.
async fn again(
    hall: &Arc<Hall>,
    row: &PlanRow,
    (command, service, instance): (&Arc<Command>, &Arc<crate::model::Service>, &Instance),
    permit: &TouchPermit,
) -> Result<Made, Unfit> {
    let plan = &row.plan;
    let watched = hall.watching.take(&plan.run);
    let wish = Wish {
        run: &plan.run,
        command,
        service,
        instance,
        wanted: &plan.wanted,
        made_ms: plan.made_ms,
        expires_ms: plan.expires_ms,
        lasts_ms: plan.lasts_ms,
        asker: &asker_of(plan),
        count: CountFor::Run { watched: &watched },
    };
    let made = plan::make(hall, permit.look(), &wish).await.map_err(|unplanned| match unplanned {
        Unplanned::Failed(error) => Unfit::Unasked(error),
        Unplanned::Nothing(why) => Unfit::Otherwise(why),
        Unplanned::Misunderstood(card) => Unfit::Otherwise(
            card.verdict.map_or_else(|| "it can no longer be planned.".to_owned(), |text| text.to_plain()),
        ),
    })?;
    match plan.drift(&made.plan) {
        Some(changed) if super::propose::may_be_anew(hall, row).await => Err(Unfit::Moved(changed)),
        Some(changed) => Err(Unfit::Otherwise(format!("{changed}. The consent was for what was shown, so ask again."))),
        None => Ok(made),
    }
}

/// The end of a run, in its row, among what is owed, and in the journal.
async fn note(hall: &Hall, row: &PlanRow, permit: &TouchPermit, ran: &Ran<'_>, told: &Card) {
    let (plan, state) = (&row.plan, ran.state);
    let by: Vec<&str> = permit.consented().iter().map(|person| person.as_str()).collect();
    let said = match permit.broken() {
        Some(broken) => format!("{}; glass broken by {} ({})", state.word(), broken.person, broken.declared),
        None if by.is_empty() => state.word().to_owned(),
        None => format!("{}; consented by {}", state.word(), by.join(", ")),
    };
    let entry = Entry {
        outcome: if state == PlanState::Done { Outcome::Answered } else { Outcome::Failed },
        why: Some(said),
        ..word(row, &asker_of(plan), "run", Outcome::Answered, None)
    };
    for written in [
        end(hall, row, PlanState::Running, state, &ran.why, told).await.map(drop),
        hall.store.record_synced(entry).await,
    ] {
        if let Err(error) = written {
            // It is done; after a restart the row will be told as uncertain, which is the safe side.
            tracing::error!(%error, run = %plan.run, "the end of a change could not be written");
        }
    }
}

/// One run, while its steps are done.
struct Running<'a> {
    hall: &'a Arc<Hall>,
    row: &'a PlanRow,
    instance: &'a Instance,
    made: &'a Made,
    permit: &'a TouchPermit,
    stop: tokio_util::sync::CancellationToken,
    ticks: Arc<Mutex<Vec<(Tick, String)>>>,
}

/// How a run ended.
struct Ran<'a> {
    plan: &'a Plan,
    state: PlanState,
    level: Level,
    title: &'static str,
    why: String,
    steps: Vec<(Tick, Text)>,
    /// Something was sent that changes something, also where it was taken back.
    touched: bool,
    /// Something is not as it was.
    left: bool,
}

/// Why a run goes no further.
struct Halt {
    /// In words.
    why: String,
    /// The step it was at left something changed.
    changed: bool,
    /// By whose wish, where somebody wished it.
    wanted: Option<String>,
}

impl Halt {
    fn trouble(why: String, changed: bool) -> Self {
        Self { why, changed, wanted: None }
    }
}

impl<'a> Running<'a> {
    fn new(
        hall: &'a Arc<Hall>,
        row: &'a PlanRow,
        instance: &'a Instance,
        made: &'a Made,
        permit: &'a TouchPermit,
        stop: tokio_util::sync::CancellationToken,
    ) -> Self {
        let plan = &row.plan;
        let line = |step: &crate::runbook::PlanStep| {
            let at = match (plan.targets.len(), plan.target_of(step)) {
                (2.., Some(target)) => format!(" on {}", target.address),
                _ => String::new(),
            };
            (Tick::Open, format!("{}{at}", step.change.what()))
        };
        let ticks = Arc::new(Mutex::new(plan.steps.iter().map(line).collect()));
        Self { hall, row, instance, made, permit, stop, ticks }
    }

    fn plan(&self) -> &'a Plan {
        &self.row.plan
    }

    /// All steps, shown as they go.
    async fn run(self) -> Ran<'a> {
        let (progress, watched) = watch::channel(Progress {
            doing: "changing".to_owned(),
            done: 0,
            total: None,
            unit: "steps".to_owned(),
            rate: None,
            left_s: None,
        });
        let showing = self.show(watched);
        let stepping = self.steps(&progress);
        tokio::pin!(showing, stepping);
        tokio::select! {
            biased;
            ran = &mut stepping => ran,
            never = &mut showing => match never {},
        }
    }

    /// Step by step; what a failure leaves is named, and what was done before it is taken back where one call can.
    async fn steps(&self, progress: &watch::Sender<Progress>) -> Ran<'a> {
        let plan = self.plan();
        if let Some(ms) = plan.lasts_ms
            && let Err(error) =
                self.hall.store.end_at(&plan.run, Timestamp::now() + Duration::from_millis(ms.unsigned_abs())).await
        {
            // A change that could not be relied on to end is not begun.
            return Ran {
                state: PlanState::Failed,
                level: Level::Warn,
                title: "failed",
                why: format!("Nothing was changed: its end could not be written down ({error})."),
                touched: false,
                left: false,
                ..self.ended()
            };
        }
        self.hall.new_end.notify_one();
        for seq in 0..plan.steps.len() {
            if let Some(halt) = self.halted().await {
                return self.broken(seq, halt).await;
            }
            if let Err(error) = self.hall.store.step(&plan.run, seq, StepState::Begun, None).await {
                let halt = Halt::trouble(format!("the store cannot be written ({error})"), false);
                return self.broken(seq, halt).await;
            }
            let touched = self.touch(seq, progress).await;
            let (state, tick, said) = match &touched {
                Touched::Verified(said) => (StepState::Done, Tick::Done, said.clone()),
                Touched::Untouched(why) => (
                    StepState::Failed,
                    Tick::Failed,
                    format!("nothing was changed: {}: {}. Next: {}", why.what, why.cause, why.next),
                ),
                Touched::Otherwise { found } => {
                    (StepState::Failed, Tick::Failed, format!("the server took it and tells {found} now"))
                }
                Touched::Partly { why, left } if self.was_wanted(why) => {
                    (StepState::Failed, Tick::Failed, format!("stopped: {left}"))
                }
                Touched::Partly { why, left } => (
                    StepState::Failed,
                    Tick::Failed,
                    format!("{}: {}. {}. Next: {}", why.what, why.cause, sentence(left), why.next),
                ),
                Touched::Aside { why, left, .. } => (
                    StepState::Failed,
                    Tick::Failed,
                    format!("{}: {}. {}. {LATER}", why.what, why.cause, sentence(left)),
                ),
                Touched::Uncertain(why) => (
                    StepState::Uncertain,
                    Tick::Skipped,
                    format!("it is uncertain whether it was done ({}), and it is not sent again", why.what),
                ),
            };
            self.tick(seq, tick, &said);
            let aside = match &touched {
                Touched::Aside { keys, untidied, .. } => Some(LeftAside { keys: *keys, why: untidied.what.clone() }),
                _ => None,
            };
            if let Err(error) = self.hall.store.step_left(&plan.run, seq, state, Some(&said), aside).await {
                tracing::error!(%error, run = %plan.run, seq, "a step that was done could not be written");
                if seq + 1 < plan.steps.len() {
                    let halt = Halt::trouble(format!("the store cannot be written ({error})"), true);
                    return self.broken(seq + 1, halt).await;
                }
            }
            match touched {
                Touched::Verified(_) => {}
                Touched::Uncertain(_) => {
                    let why = format!("{}.", sentence(&said));
                    return Ran {
                        state: PlanState::Uncertain,
                        level: Level::Unknown,
                        title: "uncertain",
                        why,
                        ..self.ended()
                    };
                }
                Touched::Partly { why, left } if self.was_wanted(&why) => {
                    let why = format!("{}; nothing is half done. Next: {}", sentence(&left), why.next);
                    return self.broken(seq + 1, Halt { why, changed: true, wanted: self.wanted() }).await;
                }
                Touched::Untouched(why) if self.was_wanted(&why) => {
                    let halt = Halt { why: "It had not begun".to_owned(), changed: false, wanted: self.wanted() };
                    return self.broken(seq + 1, halt).await;
                }
                Touched::Partly { .. } | Touched::Aside { .. } | Touched::Otherwise { .. } => {
                    return self.broken(seq + 1, Halt::trouble(said, true)).await;
                }
                Touched::Untouched(_) => return self.broken(seq + 1, Halt::trouble(said, false)).await,
            }
        }
        self.ended()
    }

    /// Why the next step is not begun, when it must not be.
    async fn halted(&self) -> Option<Halt> {
        if self.stop.is_cancelled() {
            let why = "It was stopped before this step".to_owned();
            return Some(Halt { why, changed: false, wanted: self.wanted() });
        }
        let held = freeze::holds_up(self.hall, &self.hall.rules(), &self.plan().service).await.err();
        held.map(|why| Halt::trouble(why, false))
    }

    /// Whether it ended early because somebody wished it.
    fn was_wanted(&self, why: &Explained) -> bool {
        why.code == STOPPED && self.stop.is_cancelled()
    }

    /// Whose wish it was that it stops.
    fn wanted(&self) -> Option<String> {
        Some(match self.hall.runs.why(&self.plan().run) {
            Some(runs::Why::By(who)) => format!("Stopped by {who}"),
            Some(runs::Why::Stopping) => "Stopped, because the bot was".to_owned(),
            Some(runs::Why::Frozen(why)) => format!("Stopped: {}", why.trim_end_matches('.')),
            None => "Stopped".to_owned(),
        })
    }

    async fn touch(&self, seq: usize, progress: &watch::Sender<Progress>) -> Touched {
        let plan = self.plan();
        let step = &plan.steps[seq];
        let cx = Looking {
            deadline: Instant::now() + step.change.longest(),
            call: CALL,
            stop: self.stop.clone(),
            progress: Some(progress.clone()),
            partial: None,
        };
        let Some(address) = self.made.addresses.get(step.target) else {
            unreachable!("a plan that did not drift has the same targets")
        };
        let (store, meant) = (&self.hall.store, &self.made.meant);
        let hands = Hands { instance: self.instance, address, store, meant, cx: &cx };
        self.hall.exec.touch(self.permit, plan, seq, &hands).await
    }

    /// A run that does not go on after `seq` steps: those before it are taken back where one call can.
    async fn broken(&self, seq: usize, halt: Halt) -> Ran<'a> {
        let plan = self.plan();
        let Halt { why, changed, wanted } = halt;
        let mut left = changed;
        let done: Vec<usize> = {
            let ticks = self.ticks.lock().expect("nobody panics while ticking");
            (0..seq).filter(|&step| ticks[step].0 == Tick::Done).collect()
        };
        // Where all changes are stopped, the way back waits for its own plan.
        let frozen = freeze::holds_up(self.hall, &self.hall.rules(), &plan.service).await.is_err();
        for &step in done.iter().rev() {
            let back = if frozen { Err("all changes are stopped".to_owned()) } else { self.back(step).await };
            match back {
                Ok(()) => {}
                Err(why) => {
                    left = true;
                    self.tick(step, Tick::Done, &format!("and not taken back: {why}"));
                }
            }
        }
        if plan.lasts_ms.is_some()
            && !left
            && let Err(error) = self.hall.store.end_over(&plan.run, true, "nothing to take back").await
        {
            tracing::warn!(%error, run = %plan.run, "the end of a change could not be called off");
        }
        let told = match (&wanted, left, done.is_empty()) {
            (Some(stopped), true, _) => format!("{stopped}. {why}."),
            (Some(stopped), false, true) => format!("{stopped}. Nothing was changed."),
            (Some(stopped), false, false) => format!("{stopped}, and what was done has been taken back."),
            (None, true, _) => format!("It did not get through: {why}."),
            (None, false, true) => format!("Nothing was changed: {why}."),
            (None, false, false) => format!("It did not get through, and what was done has been taken back: {why}."),
        };
        Ran {
            state: PlanState::Failed,
            level: Level::Warn,
            title: if wanted.is_some() { "stopped" } else { "failed" },
            why: told.replace("nothing was changed: ", "").replace("..", "."),
            touched: left || !done.is_empty(),
            left,
            ..self.ended()
        }
    }

    async fn back(&self, seq: usize) -> Result<(), String> {
        let plan = self.plan();
        let step = &plan.steps[seq];
        if step.change.back().is_none() {
            return Err("it has no way back".to_owned());
        }
        let cx = crate::exec::touching(Instant::now() + step.change.longest(), CALL);
        let address = &self.made.addresses[step.target];
        let hands = Hands { instance: self.instance, address, store: &self.hall.store, meant: &[], cx: &cx };
        match self.hall.exec.touch_back(self.permit, plan, seq, &hands).await {
            Touched::Verified(said) => {
                self.tick(seq, Tick::Skipped, &format!("taken back; {said}"));
                self.hall
                    .store
                    .step(&plan.run, seq, StepState::Undone, Some(&said))
                    .await
                    .map_err(|error| error.to_string())
            }
            Touched::Untouched(why)
            | Touched::Uncertain(why)
            | Touched::Partly { why, .. }
            | Touched::Aside { why, .. } => Err(why.what),
            Touched::Otherwise { found } => Err(format!("the server tells {found} now")),
        }
    }

    fn tick(&self, seq: usize, tick: Tick, said: &str) {
        let mut ticks = self.ticks.lock().expect("nobody panics while ticking");
        if let Some(line) = ticks.get_mut(seq) {
            line.0 = tick;
            line.1 = format!("{}: {said}", line.1);
        }
    }

    fn lines(&self) -> Vec<(Tick, Text)> {
        let ticks = self.ticks.lock().expect("nobody panics while ticking");
        ticks.iter().map(|(tick, line)| (*tick, Text::plain(line.clone()))).collect()
    }

    /// Every step was done.
    fn ended(&self) -> Ran<'a> {
        Ran {
            plan: self.plan(),
            state: PlanState::Done,
            level: Level::Ok,
            title: "done",
            why: String::new(),
            steps: self.lines(),
            touched: true,
            left: true,
        }
    }

    /// Edits the plan's message while the run goes on, for as long as it is polled.
    async fn show(&self, mut watched: watch::Receiver<Progress>) -> Infallible {
        let (Some(message), settings) = (&self.row.message, self.hall.rules().settings.clone()) else {
            return std::future::pending().await;
        };
        let Some(gateway) = self.hall.gateway(message.place.platform) else { return std::future::pending().await };
        tokio::time::sleep(settings.progress_after).await;
        // Until something was told there is only a stand-in.
        let mut told = watched.has_changed().unwrap_or(false);
        loop {
            let progress = watched.borrow_and_update().clone();
            let card = cards::running(self.plan(), self.lines(), told.then_some(progress), "It is being carried out.");
            // Dropped when the platform is busy: the next one replaces it, and the end is owed.
            if let Err(error) = gateway.progress(message, &card).await {
                tracing::debug!(%error, "progress was not delivered");
            }
            tokio::time::sleep(gateway.edit_pace()).await;
            if watched.changed().await.is_err() {
                return std::future::pending().await;
            }
            told = true;
        }
    }
}

impl Ran<'_> {
    fn told(&self, rules: &Rules, permit: &TouchPermit) -> Card {
        let plan = self.plan;
        let what = if self.state == PlanState::Done {
            let names: Vec<&str> = permit.consented().iter().map(|person| rules.policy.name_of(person)).collect();
            let by = match (permit.broken(), &names[..]) {
                (Some(broken), _) => format!(
                    ". Glass was broken by {} alone ({}): {}",
                    rules.policy.name_of(&broken.person),
                    broken.declared,
                    broken.reason
                ),
                (None, []) => String::new(),
                (None, _) => format!(", with the consent of {}", names.join(", ")),
            };
            let ends = plan.lasts_ms.map_or_else(String::new, |ms| {
                format!(" It takes itself back at {}.", cards::clock(Timestamp::now().as_millisecond() + ms))
            });
            format!("Done: {}. Asked for by {}{by}.{ends}", plan.what(), rules.policy.name_of(&plan.requester))
        } else {
            self.why.clone()
        };
        let mut card = cards::end(plan, self.level, self.title, &what, self.steps.clone());
        if self.left {
            card.actions.extend(cards::undo(plan));
        }
        if self.state == PlanState::Done {
            card.actions.extend(cards::make_it_last(rules, plan));
        }
        card
    }
}
