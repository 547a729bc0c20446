//! One going through a runbook, as a document.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Book, BookStep};
use crate::{
    model::{Identity, InstanceName, PersonId, Place, RunId, Service, ServiceName},
    runbook::{Arguments, view},
};

/// The version of [`BookRun`] as a document; raised when an old one would be misread.
pub const BOOK_VERSION: u32 = 1;

/// One going through a runbook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BookRun {
    /// [`BOOK_VERSION`].
    pub version: u32,
    /// Its id.
    pub run: RunId,
    /// The runbook's name.
    pub command: String,
    /// The line that began it, redacted.
    pub line: String,
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// Where it was asked for, and is told.
    pub place: Place,
    /// Who began it: plans are proposed in their name.
    pub requester: PersonId,
    /// The account they began it from.
    pub asker: Identity,
    /// The arguments, as expressions see them.
    pub arguments: Value,
    /// When it began, in Unix milliseconds.
    pub begun_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// The steps as they were when it began.
    pub steps: Vec<BookStep>,
    /// How far each has come; as many as there are steps.
    pub progress: Vec<StepRun>,
    /// Whether it goes on.
    pub phase: Phase,
    /// What is taken back after a watch failed, in that order.
    pub back: Vec<Back>,
    /// What people said to it.
    pub notes: Vec<Note>,
}

/// Whether a run goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "lowercase")]
pub enum Phase {
    /// It goes on.
    Going,
    /// No step begins until it is resumed.
    Paused {
        /// Who paused it.
        by: PersonId,
    },
    /// It ends as soon as it is known what became of the change in flight.
    Aborting {
        /// Who aborted it.
        by: PersonId,
    },
    /// A watch failed: what was changed is being taken back.
    Returning {
        /// The watch.
        step: usize,
    },
    /// It is over.
    Ended {
        /// How.
        how: How,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "lowercase")]
pub enum How {
    /// Every step is done, skipped, or failed where the file lets it.
    Done,
    /// A step failed.
    Stopped {
        /// The step.
        step: usize,
    },
    /// Somebody ended it.
    Aborted {
        /// Who.
        by: PersonId,
    },
    /// A watch failed.
    Returned {
        /// The watch.
        step: usize,
        /// Everything that was changed is as before.
        whole: bool,
    },
    /// It could not go on.
    Lost {
        /// Why.
        why: String,
    },
}

/// How far one step has come.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StepRun {
    /// What stands on the card.
    pub title: String,
    /// Where it stands.
    pub state: StepState,
    /// The line it types, filled in when it began: it stays the same however often the bot restarts.
    pub line: Option<String>,
    /// When it began, in Unix milliseconds.
    pub begun_ms: Option<i64>,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// Whose word ended it, or is being checked.
    pub by: Option<PersonId>,
    /// What there is to say of it: a verdict, the exact words of a manual step, why it failed.
    pub said: Option<String>,
    /// What later steps see of it.
    pub result: Value,
    /// How often it was looked.
    pub looks: u32,
    /// When it is looked again.
    pub look_ms: Option<i64>,
    /// The plan it became.
    pub plan: Option<RunId>,
    /// The line that takes it back.
    pub undo: Option<String>,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Not yet.
    #[default]
    Open,
    /// Under way: looking, planned, or waiting for a person.
    Working,
    /// It failed, and waits for a person to deal with it.
    Held,
    /// Done.
    Done,
    /// It failed.
    Failed,
    /// Its condition did not hold.
    Skipped,
}

impl StepState {
    /// Its word, in conditions and on cards.
    pub fn word(self) -> &'static str {
        match self {
            StepState::Open => "open",
            StepState::Working => "working",
            StepState::Held => "held",
            StepState::Done => "done",
            StepState::Failed => "failed",
            StepState::Skipped => "skipped",
        }
    }

    /// Nothing more will happen to it.
    pub fn is_over(self) -> bool {
        matches!(self, StepState::Done | StepState::Failed | StepState::Skipped)
    }
}

/// One change being taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// The step that made it.
    pub step: usize,
    /// What is typed; `None`: there is no way back.
    pub line: Option<String>,
    /// Where it stands.
    pub state: StepState,
    /// The plan it became.
    pub plan: Option<RunId>,
    /// How it went.
    pub said: Option<String>,
    /// The consent covers it: nobody is asked again, and `plan` is the change's own.
    #[serde(default)]
    pub own: bool,
}

/// What somebody said to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When, in Unix milliseconds.
    pub at_ms: i64,
    /// Who.
    pub by: PersonId,
    /// `paused it`, `resumed it`.
    pub what: String,
}

/// What a run is begun with.
#[derive(Debug, Clone)]
pub struct BookStart<'a> {
    /// Its id.
    pub run: RunId,
    /// The runbook's name.
    pub command: &'a str,
    /// The runbook.
    pub book: &'a Book,
    /// The line that began it, redacted.
    pub line: String,
    /// The service.
    pub service: &'a Service,
    /// The instance.
    pub instance: InstanceName,
    /// Where it was asked for.
    pub place: Place,
    /// Who began it.
    pub requester: PersonId,
    /// Their account.
    pub asker: Identity,
    /// The arguments.
    pub arguments: &'a Arguments,
    /// When, in Unix milliseconds.
    pub begun_ms: i64,
}

impl BookRun {
    /// A run of which nothing has been done.
    pub fn begin(start: BookStart<'_>) -> Self {
        let BookStart { run, command, book, line, service, instance, place, requester, asker, arguments, begun_ms } =
            start;
        let mut begun = Self {
            version: BOOK_VERSION,
            run,
            command: command.to_owned(),
            line,
            service: service.name.clone(),
            instance,
            place,
            requester,
            asker,
            arguments: view::arguments(arguments),
            begun_ms,
            ended_ms: None,
            steps: book.steps.clone(),
            progress: Vec::new(),
            phase: Phase::Going,
            back: Vec::new(),
            notes: Vec::new(),
        };
        let scope = begun.scope(service, begun_ms);
        begun.progress = book
            .steps
            .iter()
            .map(|step| {
                let title = book.compiled.render(&step.say, &scope).map(|marked| marked.line());
                StepRun { title: title.unwrap_or_else(|_| step.id.clone()), ..StepRun::default() }
            })
            .collect();
        begun
    }

    /// Is it over?
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    /// The step it is at: the first that is not over.
    pub fn at(&self) -> Option<usize> {
        self.progress.iter().position(|step| !step.state.is_over())
    }

    /// The step that waits for a person now, if one does.
    pub fn waits_for_a_person(&self) -> Option<usize> {
        if self.phase != Phase::Going {
            return None;
        }
        let at = self.at()?;
        let step = &self.progress[at];
        let asks = match (&self.steps[at].act, step.state) {
            (_, StepState::Held) => true,
            (super::Act::Approve { .. }, StepState::Working) => true,
            (super::Act::Manual { .. }, StepState::Working) => step.by.is_none(),
            _ => false,
        };
        asks.then_some(at)
    }

    /// What later steps see of the steps so far.
    pub(super) fn results(&self) -> Map<String, Value> {
        self.steps
            .iter()
            .zip(&self.progress)
            .filter(|(_, step)| step.state != StepState::Open)
            .map(|(spec, step)| {
                let mut result = match &step.result {
                    Value::Object(map) => map.clone(),
                    _ => Map::new(),
                };
                result.insert("state".to_owned(), json!(step.state.word()));
                result.insert("done".to_owned(), json!(step.state == StepState::Done));
                result.insert("looks".to_owned(), json!(step.looks));
                (spec.id.clone(), Value::Object(result))
            })
            .collect()
    }
}
