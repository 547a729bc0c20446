//! Carrying a plan out: everything that can still say no, then its steps, one by one.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    CALL, asker_of, bound, cards, edit, end, freeze,
    plan::{self, Made, Unplanned, Wish},
    say_last, word,
};
use crate::{
    bot::{Hall, Rules, command::plain_card, verify},
    exec::{Hands, Looking, Touched, aside::CountFor},
    model::{Card, Instance, Level, Progress, Text, Tick},
    policy::{Consent, Said, TouchPermit},
    runbook::{Command, Plan},
    store::{Entry, Outcome, PlanRow, PlanState, StepState},
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
            edit(hall, row, cards::running(&row.plan, Vec::new(), None, &doing)).await;
            lane.alone.clone().lock_owned().await
        }
    };
    lane.hold(Some(run.clone()));
    let mut moved = None;
    let (card, state) = checked(hall, row, &mut moved).await;
    lane.hold(None);
    hall.touching.put_down(run);
    if row.message.is_some() {
        say_last(hall, row, card.clone()).await;
    }
    if state == PlanState::Done {
        verify::after(hall, row).await;
    }
    if let Some(changed) = moved {
        super::propose::anew(hall, row, &changed).await;
    }
    (card, state == PlanState::Done)
}

/// Everything that can still say no, then the change. `moved`: what is no longer so, where the plan is to be made anew.
async fn checked(hall: &Arc<Hall>, row: &PlanRow, moved: &mut Option<String>) -> (Card, PlanState) {
    let plan = &row.plan;
    let rules = hall.rules();
    let void = async |why: String| {
        let card = cards::end(plan, Level::Note, "not run", &format!("Nothing was changed: {why}"), Vec::new());
        if let Err(error) = end(hall, row, PlanState::Claimed, PlanState::Void, &why, &card).await {
            tracing::warn!(%error, run = %plan.run, "a plan that does not run could not be closed; a restart does it");
        }
        (card, PlanState::Void)
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
    let made = match again(hall, row, (command, service, instance), &permit, moved).await {
        Ok(made) => made,
        Err(why) => return void(why).await,
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
    (told, ran.state)
}

/// The same plan from what is so now; why it no longer holds, when it does not.
async fn again(
    hall: &Arc<Hall>,
    row: &PlanRow,
    (command, service, instance): (&Arc<Command>, &Arc<crate::model::Service>, &Instance),
    permit: &TouchPermit,
    moved: &mut Option<String>,
) -> Result<Made, String> {
    let plan = &row.plan;
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
        count: CountFor::Run,
    };
    let made = plan::make(hall, permit.look(), &wish).await.map_err(|unplanned| match unplanned {
        Unplanned::Failed(error) => format!("{}: {}.", error.what, error.cause),
        Unplanned::Nothing(why) => why,
        Unplanned::Misunderstood(card) => {
            card.verdict.map_or_else(|| "it can no longer be planned.".to_owned(), |text| text.to_plain())
        }
    })?;
    match plan.drift(&made.plan) {
        Some(changed) if super::propose::may_be_anew(hall, row).await => {
            let said = format!("{changed}. The consent was for what was shown, so a new plan asks for it.");
            *moved = Some(changed);
            Err(said)
        }
        Some(changed) => Err(format!("{changed}. The consent was for what was shown, so ask again.")),
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
            return self.ended(
                PlanState::Failed,
                Level::Warn,
                "failed",
                format!("Nothing was changed: its end could not be written down ({error})."),
            );
        }
        self.hall.new_end.notify_one();
        for seq in 0..plan.steps.len() {
            if let Some(why) = self.halted().await {
                return self.broken(seq, why, false).await;
            }
            if let Err(error) = self.hall.store.step(&plan.run, seq, StepState::Begun, None).await {
                return self.broken(seq, format!("the store cannot be written ({error})"), false).await;
            }
            let touched = self.touch(seq, progress).await;
            let (state, tick, said) = match &touched {
                Touched::Verified(said) => (StepState::Done, Tick::Done, said.clone()),
                Touched::Untouched(why) => (
                    StepState::Failed,
                    Tick::Failed,
                    format!("nothing was changed: {}. {}. Next: {}", why.what, why.cause, why.next),
                ),
                Touched::Otherwise { found } => {
                    (StepState::Failed, Tick::Failed, format!("the server took it and tells {found} now"))
                }
                Touched::Partly { why, left } => {
                    (StepState::Failed, Tick::Failed, format!("{}: {}. {left}", why.what, why.cause))
                }
                Touched::Uncertain(why) => (
                    StepState::Uncertain,
                    Tick::Skipped,
                    format!("it is uncertain whether it was done ({}), and it is not sent again", why.what),
                ),
            };
            self.tick(seq, tick, &said);
            if let Err(error) = self.hall.store.step(&plan.run, seq, state, Some(&said)).await {
                tracing::error!(%error, run = %plan.run, seq, "a step that was done could not be written");
                if seq + 1 < plan.steps.len() {
                    return self.broken(seq + 1, format!("the store cannot be written ({error})"), true).await;
                }
            }
            match touched {
                Touched::Verified(_) => {}
                Touched::Uncertain(_) => {
                    return self.ended(PlanState::Uncertain, Level::Unknown, "uncertain", said_of(&said));
                }
                Touched::Partly { .. } | Touched::Otherwise { .. } => return self.broken(seq + 1, said, true).await,
                Touched::Untouched(_) => return self.broken(seq + 1, said, false).await,
            }
        }
        self.ended(PlanState::Done, Level::Ok, "done", String::new())
    }

    /// Why the next step is not begun, when it must not be.
    async fn halted(&self) -> Option<String> {
        if self.stop.is_cancelled() {
            let why = self.hall.runs.why(&self.plan().run);
            return Some(why.map_or_else(|| "it was stopped before this step".to_owned(), |why| why.to_string()));
        }
        freeze::holds_up(self.hall, &self.hall.rules(), &self.plan().service).await.err()
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
    async fn broken(&self, seq: usize, why: String, changed: bool) -> Ran<'a> {
        let plan = self.plan();
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
        let told = match (left, done.is_empty()) {
            (true, _) => format!("It did not get through: {why}."),
            (false, true) => format!("Nothing was changed: {why}."),
            (false, false) => format!("It did not get through, and what was done has been taken back: {why}."),
        };
        self.ended(
            PlanState::Failed,
            Level::Warn,
            "failed",
            told.replace("nothing was changed: ", "").replace("..", "."),
        )
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
            Touched::Untouched(why) | Touched::Uncertain(why) | Touched::Partly { why, .. } => Err(why.what),
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

    fn ended(&self, state: PlanState, level: Level, title: &'static str, why: String) -> Ran<'a> {
        Ran { plan: self.plan(), state, level, title, why, steps: self.lines() }
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

fn said_of(said: &str) -> String {
    let mut letters = said.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect::<String>() + ".")
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
        let anything = self.steps.iter().any(|(tick, _)| *tick != Tick::Open);
        if anything && (self.state != PlanState::Failed || self.why.starts_with("It did not get through:")) {
            card.actions.extend(cards::undo(plan));
        }
        if self.state == PlanState::Done {
            card.actions.extend(cards::make_it_last(rules, plan));
        }
        card
    }
}
