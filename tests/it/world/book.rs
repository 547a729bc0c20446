//! A runbook being gone through: the room, the server, and the run as its row tells it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rediscue::{
    chat::console::wire::FromBot,
    model::{Card, RunId},
    runbook::{BookRun, StepState},
    store::PlanState,
};

use tokio::runtime::Runtime;

use super::{
    chat::{Answer, Chat, ChatBuilder, heard, text_of},
    eventually_async,
    room::Room,
};

/// Longer than any wait of a runbook under test.
const PATIENCE: Duration = Duration::from_secs(90);

/// How often a run's row is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Everybody a room's or a team's policy knows, and a stranger.
fn room(chat: &Chat) -> Room {
    Room::seating(chat, &["ana", "bo", "cy", "di", "eli", "lou", "mallory"])
}

/// One run, and everybody around it.
pub(crate) struct Stage {
    pub(crate) chat: Chat,
    pub(crate) room: Room,
    pub(crate) run: RunId,
    /// Every message as it stands now.
    cards: BTreeMap<String, Card>,
    /// The run's own.
    message: String,
}

impl Stage {
    /// ana begins a runbook.
    pub(crate) async fn begin(builder: ChatBuilder, line: &str) -> Self {
        let chat = builder.start().await;
        Self::begin_in(chat, line).await
    }

    /// The same, in a bot that is there already.
    pub(crate) async fn begin_in(chat: Chat, line: &str) -> Self {
        let mut room = room(&chat);
        let begun = room.types("ana", line).await;
        let footer = begun.messages[0].card.footer.clone().unwrap_or_default();
        let run = footer.split_whitespace().nth(1).and_then(RunId::parse);
        let run = run.unwrap_or_else(|| panic!("`{line}` did not begin: {}", begun.text()));
        let message = begun.messages[0].id.clone();
        let mut stage = Self { chat, room, run, cards: BTreeMap::new(), message };
        stage.keep(&begun);
        stage
    }

    /// Goes on with what another bot has left.
    pub(crate) async fn taken_up(builder: ChatBuilder, run: RunId) -> Self {
        let chat = builder.start().await;
        let room = room(&chat);
        Self { chat, room, run, cards: BTreeMap::new(), message: String::new() }
    }

    fn keep(&mut self, answer: &Answer) {
        self.cards.extend(answer.messages.iter().map(|message| (message.id.clone(), message.card.clone())));
        self.cards.extend(answer.edited.iter().cloned());
    }

    pub(crate) async fn says(&mut self, who: &str, text: &str) -> Answer {
        let answer = self.room.types(who, text).await;
        self.keep(&answer);
        answer
    }

    /// The run as it is written down.
    pub(crate) async fn now(&self) -> BookRun {
        self.chat.store.book(&self.run).await.unwrap().expect("a run has a row").run
    }

    /// Waits until the run is so.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&BookRun) -> bool) -> BookRun {
        let begun = Instant::now();
        loop {
            let run = self.now().await;
            if so(&run) {
                return run;
            }
            if begun.elapsed() > PATIENCE {
                let at = run.at().map(|at| &run.progress[at]);
                let plan = match run.plan_in_flight() {
                    Some(plan) => self.chat.store.plan(&plan).await.unwrap(),
                    None => None,
                };
                panic!("it never was so that {what}: {:?} at {at:#?} with {plan:#?}", run.phase);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// How a step stands.
    pub(crate) async fn state(&self, id: &str) -> StepState {
        let run = self.now().await;
        let at = run.steps.iter().position(|step| step.id == id).unwrap_or_else(|| panic!("there is no step {id}"));
        run.progress[at].state
    }

    /// Waits until that step waits for a person.
    pub(crate) async fn waits(&self, id: &str) {
        let step = |run: &BookRun| run.waits_for_a_person().map(|at| run.steps[at].id.clone());
        let what = format!("a person is waited for, or it ends ({id})");
        let run = self.until(&what, |run| run.is_over() || step(run).as_deref() == Some(id)).await;
        assert_eq!(step(&run).as_deref(), Some(id), "{:?} {:#?}", run.phase, run.progress);
    }

    /// Waits for that step, and ana ticks it.
    pub(crate) async fn ticks(&mut self, id: &str) {
        self.waits(id).await;
        let said = self.says("ana", &format!("tick {}", self.run)).await;
        assert!(said.text().contains("was ticked by Ana"), "{}", said.text());
    }

    /// Waits for that step to ask, and bo approves it.
    pub(crate) async fn approves(&mut self, id: &str) {
        self.waits(id).await;
        self.asked().await;
        let said = self.says("bo", &format!("approve {}", self.run)).await;
        assert!(said.text().contains("was approved by Bo"), "{}", said.text());
        self.has(id).await;
    }

    /// Waits until the run itself has heard the word on that step: its plan knows it a moment sooner.
    async fn has(&self, id: &str) {
        let what = format!("the run has the word on {id}");
        self.until(&what, |run| run.is_over() || run.waits_for_a_person().is_none_or(|at| run.steps[at].id != id))
            .await;
    }

    /// Waits until that step's plan waits for consent; its id.
    pub(crate) async fn plan(&self, id: &str) -> RunId {
        let plan = |run: &BookRun| {
            let at = run.at()?;
            (run.steps[at].id == id).then(|| run.plan_in_flight()).flatten()
        };
        let what = format!("step {id} is planned, or it ends");
        let run = self.until(&what, |run| run.is_over() || plan(run).is_some()).await;
        let plan = plan(&run).unwrap_or_else(|| panic!("{id} was not planned: {:?} {:#?}", run.phase, run.progress));
        self.pending(&plan).await;
        plan
    }

    /// Waits until a plan can be consented to.
    pub(crate) async fn pending(&self, plan: &RunId) {
        eventually_async("the plan is shown", PATIENCE, || async {
            let row = self.chat.store.plan(plan).await.unwrap();
            let run = self.now().await;
            assert!(row.is_some() || !run.is_over(), "it did not become a plan: {:?} {:#?}", run.phase, run.progress);
            row.is_some_and(|row| row.state != PlanState::Pending || row.message.is_some())
        })
        .await;
    }

    /// Waits for that step to ask what is critical, and bo and di approve it by the service's name.
    pub(crate) async fn both_approve(&mut self, id: &str) {
        self.waits(id).await;
        self.asked().await;
        let line = format!("approve {} shop", self.run);
        let first = self.says("bo", &line).await;
        assert!(first.text().contains("It takes 1 more"), "{}", first.text());
        let second = self.says("di", &line).await;
        assert!(second.text().contains("was approved by Bo, Di"), "{}", second.text());
        self.has(id).await;
    }

    /// Waits until what the run asks can be answered; the question's id.
    pub(crate) async fn asked(&self) -> RunId {
        let run = self.until("it asks, or it ends", |run| run.is_over() || run.asked().is_some()).await;
        let (_, question) =
            run.asked().unwrap_or_else(|| panic!("it asks nothing: {:?} {:#?}", run.phase, run.progress));
        self.pending(&question).await;
        question
    }

    /// Waits for that step's plan, which is critical, and bo and di consent to it.
    pub(crate) async fn both_consent(&mut self, id: &str) {
        let plan = self.plan(id).await;
        let line = format!("approve {plan} shop");
        self.says("bo", &line).await;
        let said = self.says("di", &line).await;
        let row = self.chat.store.plan(&plan).await.unwrap().unwrap();
        assert_eq!(row.state, PlanState::Done, "{}", said.text());
    }

    /// Everything that was said and edited until now.
    pub(crate) async fn listens(&mut self) -> String {
        self.says("cy", "runbooks").await;
        self.heard()
    }

    /// The runbook's own message.
    pub(crate) fn message(&self) -> String {
        self.message.clone()
    }

    /// A reaction on a message of this room.
    pub(crate) async fn reacts(&mut self, who: &str, emoji: &str, id: &str) -> Answer {
        let answer = self.room.reacts(who, emoji, id).await;
        self.keep(&answer);
        answer
    }

    /// The same taken back.
    pub(crate) async fn unreacts(&mut self, who: &str, emoji: &str, id: &str) -> Answer {
        let answer = self.room.unreacts(who, emoji, id).await;
        self.keep(&answer);
        answer
    }

    /// Waits for that step's plan, and bo consents to it.
    pub(crate) async fn consents(&mut self, id: &str) {
        let plan = self.plan(id).await;
        let said = self.says("bo", &format!("approve {plan}")).await;
        let row = self.chat.store.plan(&plan).await.unwrap().unwrap();
        assert_eq!(row.state, PlanState::Done, "{}", said.text());
    }

    /// Waits until the run's card says so; all of what it says then.
    pub(crate) async fn shows(&mut self, words: &str) -> String {
        let begun = Instant::now();
        loop {
            let text = text_of(&self.cards[&self.message]);
            if text.contains(words) {
                return text;
            }
            assert!(begun.elapsed() < PATIENCE, "the card never said `{words}`: {text}");
            // A little less than the terminal's own patience, so that what the card says is told.
            let left = PATIENCE.saturating_sub(begun.elapsed()).min(Duration::from_secs(50));
            let Ok(said) = tokio::time::timeout(left, heard(&mut self.room.link)).await else {
                panic!("the card never said `{words}`: {text}")
            };
            match said {
                FromBot::Say { id, card, .. } | FromBot::Edit { id, card } => {
                    self.cards.insert(id, card);
                }
                _ => {}
            }
        }
    }

    /// Waits until it is over and told; what its card says in the end.
    pub(crate) async fn ends(&mut self) -> String {
        eventually_async("it ends", PATIENCE, || async {
            let row = self.chat.store.book(&self.run).await.unwrap().unwrap();
            // A word that was given reaches the run a moment later.
            let given = match row.run.asked() {
                Some((_, question)) => {
                    self.chat.store.plan(&question).await.unwrap().is_some_and(|row| row.state != PlanState::Pending)
                }
                None => false,
            };
            let stuck = row.run.waits_for_a_person().filter(|_| !given).map(|at| &row.run.progress[at]);
            assert!(stuck.is_none(), "it waits for somebody: {stuck:#?}");
            row.closed
        })
        .await;
        // Off the list only once it was told.
        self.says("cy", "runbooks").await;
        text_of(&self.cards[&self.message])
    }

    /// Everything that was said and edited so far, as it stands now.
    pub(crate) fn heard(&self) -> String {
        self.cards.values().map(text_of).collect::<Vec<_>>().join("\n\n")
    }
}

/// A bot in a runtime of its own, which can end like a killed process: every task is dropped where it is.
pub(crate) struct Doomed {
    pub(crate) runtime: Runtime,
    pub(crate) chat: Chat,
    pub(crate) run: RunId,
}

impl Doomed {
    /// Begins a runbook, and goes with it to that step.
    pub(crate) fn begin(builder: ChatBuilder, line: &str, until: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let (chat, run) = runtime.block_on(async {
            let stage = Stage::begin(builder, line).await;
            stage.until("it is at that step", |run| run.at().is_some_and(|at| run.steps[at].id == until)).await;
            (stage.chat, stage.run)
        });
        Self { runtime, chat, run }
    }

    /// Dies: what it leaves.
    pub(crate) fn die(self) -> (ChatBuilder, RunId) {
        let Self { runtime, chat, run } = self;
        let Chat { dir, .. } = chat;
        runtime.shutdown_timeout(std::time::Duration::from_secs(10));
        (ChatBuilder::left_in(dir), run)
    }
}
