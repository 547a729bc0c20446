//! What is to be done now, and what became of it.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Act, Back, BookRun, How, Note, Or, Phase, StepState};
use crate::{
    model::{PersonId, RunId, Service, show_duration},
    runbook::{Compiled, words},
};

/// What is to be done now. Whoever does it writes the run down first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Look, and tell. Looking changes nothing, so it may be done again after a crash.
    Look {
        /// The step.
        step: usize,
        /// What is typed.
        line: String,
    },
    /// Propose a change unless its plan exists already, and tell how it ended.
    Touch {
        /// Whose change it is.
        slot: Slot,
        /// What is typed.
        line: String,
        /// The plan's id: always the same for the same step, so nothing is proposed twice.
        plan: RunId,
    },
    /// Ask for people's word unless that was asked already, and tell how it ended.
    Ask {
        /// The step.
        step: usize,
        /// The id of what they are asked: always the same for the same step.
        plan: RunId,
    },
    /// Have a change take itself back, as those who consented to it were told, and tell how it ended.
    Revert {
        /// How far down the list of what is taken back.
        at: usize,
        /// The change's own plan.
        plan: RunId,
    },
    /// Nothing, until a person says something.
    People,
    /// Nothing before this moment, in Unix milliseconds.
    At(i64),
    /// Nothing any more.
    Ended,
}

/// Whose change something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// A step's.
    Step(usize),
    /// It takes back what is that far down the list.
    Back(usize),
}

/// How a change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TouchEnd {
    /// It is so now.
    Done {
        /// In a sentence.
        said: String,
        /// The line that takes it back.
        undo: Option<String>,
        /// It was otherwise before.
        changed: bool,
        /// Whoever consented was told that it takes itself back when a watch fails.
        own_way_back: bool,
    },
    /// It was not done, or nobody knows: declined, expired, refused, failed, uncertain.
    Not {
        /// In a sentence.
        said: String,
        /// Nothing was changed, for certain.
        untouched: bool,
    },
}

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// A step looked.
    Looked {
        /// The step.
        step: usize,
        /// What was seen, from [`super::seen`]; or why nothing was.
        saw: Result<Value, String>,
    },
    /// A change ended.
    Touched {
        /// Whose.
        slot: Slot,
        /// How.
        end: TouchEnd,
    },
    /// A person ticked what waits for one: a manual step, or one that failed.
    Ticked {
        /// The step.
        step: usize,
        /// Who.
        by: PersonId,
    },
    /// Enough people whose word counts approved, or it will not come to that.
    Approved {
        /// The step.
        step: usize,
        /// Whose word it was in the end, where it was somebody's.
        by: Option<PersonId>,
        /// What it came to.
        yes: bool,
        /// More to say of it.
        said: Option<String>,
    },
    /// No further step is to begin.
    Paused(PersonId),
    /// It is to go on.
    Resumed(PersonId),
    /// It is to end.
    Aborted(PersonId),
}

/// Why something a person said has no place now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// It is over.
    #[error("it has ended")]
    Over,
    /// It is paused.
    #[error("it is paused")]
    Paused,
    /// It is not paused.
    #[error("it is not paused")]
    NotPaused,
    /// The step does not wait for that.
    #[error("that step does not wait for anybody now")]
    NotThatStep,
    /// It is ending, or taking back what it changed.
    #[error("it is ending already")]
    Ending,
}

type Heard = Result<(), NotNow>;

impl BookRun {
    /// What is to be done now; settles whatever needs nobody on the way there.
    pub fn advance(&mut self, service: &Service, now_ms: i64) -> Next {
        loop {
            match &self.phase {
                Phase::Ended { .. } => return Next::Ended,
                Phase::Returning { .. } => return self.advance_back(now_ms),
                Phase::Aborting { by } => {
                    let by = by.clone();
                    match self.in_flight() {
                        Some(next) => return next,
                        None => self.end(How::Aborted { by }, now_ms),
                    }
                }
                // What was proposed is a plan of its own and goes its way.
                Phase::Paused { .. } => return self.in_flight().unwrap_or(Next::People),
                Phase::Going => match self.at() {
                    None => self.end(How::Done, now_ms),
                    Some(step) => {
                        if let Some(next) = self.advance_step(step, service, now_ms) {
                            return next;
                        }
                    }
                },
            }
        }
    }

    /// Takes in what happened.
    ///
    /// # Errors
    /// When it has no place now; the run is unchanged then.
    pub fn hear(&mut self, happened: Happened, service: &Service, now_ms: i64) -> Heard {
        if self.is_over() {
            return Err(NotNow::Over);
        }
        match happened {
            Happened::Looked { step, saw } => self.looked(step, saw, service, now_ms),
            Happened::Touched { slot: Slot::Step(step), end } => self.touched(step, end, service, now_ms),
            Happened::Touched { slot: Slot::Back(at), end } => self.went_back(at, end),
            Happened::Ticked { step, by } => self.ticked(step, by, now_ms),
            Happened::Approved { step, by, yes, said } => self.approved(step, by, yes, said, service, now_ms),
            Happened::Paused(by) => match self.phase {
                Phase::Going => {
                    self.note(by.clone(), "paused it", now_ms);
                    self.phase = Phase::Paused { by };
                    Ok(())
                }
                Phase::Paused { .. } => Err(NotNow::Paused),
                _ => Err(NotNow::Ending),
            },
            Happened::Resumed(by) => match self.phase {
                Phase::Paused { .. } => {
                    self.note(by, "resumed it", now_ms);
                    self.resume(now_ms);
                    Ok(())
                }
                Phase::Going => Err(NotNow::NotPaused),
                _ => Err(NotNow::Ending),
            },
            Happened::Aborted(by) => match self.phase {
                Phase::Going | Phase::Paused { .. } | Phase::Returning { .. } => {
                    self.note(by.clone(), "aborted it", now_ms);
                    match self.in_flight() {
                        Some(_) => self.phase = Phase::Aborting { by },
                        None => self.end(How::Aborted { by }, now_ms),
                    }
                    Ok(())
                }
                _ => Err(NotNow::Ending),
            },
        }
    }

    /// Ends a run that cannot go on.
    pub fn lose(&mut self, why: &str, now_ms: i64) {
        if !self.is_over() {
            self.end(How::Lost { why: why.to_owned() }, now_ms);
        }
    }

    /// Does somebody want it to end, or has it ended?
    pub fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Aborting { .. } | Phase::Ended { .. })
    }

    /// The change that was proposed and whose end is not known.
    pub fn plan_in_flight(&self) -> Option<RunId> {
        match self.in_flight()? {
            Next::Touch { plan, .. } => Some(plan),
            _ => None,
        }
    }

    /// What people are asked now, if they are: the step, and the id of the question.
    pub fn asked(&self) -> Option<(usize, RunId)> {
        match self.in_flight()? {
            Next::Ask { step, plan } => Some((step, plan)),
            _ => None,
        }
    }

    /// The changes after a step, up to the next that asks for people's word: their lines, as far as they can be
    /// filled in now. Those that are known not to be wanted are left out.
    pub fn ahead(&self, step: usize, service: &Service, now_ms: i64) -> Vec<(usize, String)> {
        let compiled = Compiled::default();
        let scope = self.scope(service, now_ms);
        let open: Vec<&str> = self.steps[step..].iter().map(|spec| spec.id.as_str()).collect();
        let rest = self.steps.iter().enumerate().skip(step + 1);
        rest.take_while(|(_, spec)| !matches!(spec.act, Act::Approve { .. }))
            .filter_map(|(at, spec)| {
                let Act::Touch { line } = &spec.act else { return None };
                let unknown = |condition: &String| open.iter().any(|id| condition.contains(id));
                let wanted = spec.when.as_ref().is_none_or(|when| unknown(when) || compiled.holds(Some(when), &scope));
                wanted.then(|| compiled.render(line, &scope).ok()).flatten().map(|marked| (at, marked.command()))
            })
            .collect()
    }

    /// The word of people that came before a step: the step that asked, and the id of the question.
    pub fn agreed_before(&self, step: usize) -> Option<(usize, RunId)> {
        let asked = |at: &usize| matches!(self.steps[*at].act, Act::Approve { .. });
        let at = (0..step).rev().find(asked)?;
        (self.progress[at].state == StepState::Done).then_some(())?;
        Some((at, self.progress[at].plan.clone()?))
    }

    /// The watches after a step that take it back by themselves, in words.
    pub fn watched_after(&self, step: usize) -> Option<String> {
        let watches: Vec<String> = (step + 1..self.steps.len())
            .filter(|&at| matches!(self.steps[at].act, Act::Watch { roll_back: true, .. }))
            .map(|at| format!("step {} ({})", at + 1, self.progress[at].title))
            .collect();
        (!watches.is_empty()).then(|| watches.join(" or "))
    }

    fn in_flight(&self) -> Option<Next> {
        let (slot, line, plan) = match self.back.iter().position(|back| back.state == StepState::Working) {
            Some(at) if self.back[at].own => return Some(Next::Revert { at, plan: self.back[at].plan.clone()? }),
            Some(at) => (Slot::Back(at), &self.back[at].line, &self.back[at].plan),
            None => {
                let step = self.at().filter(|&step| self.progress[step].state == StepState::Working)?;
                if matches!(self.steps[step].act, Act::Approve { .. }) {
                    return Some(Next::Ask { step, plan: self.progress[step].plan.clone()? });
                }
                (Slot::Step(step), &self.progress[step].line, &self.progress[step].plan)
            }
        };
        Some(Next::Touch { slot, line: line.clone()?, plan: plan.clone()? })
    }

    /// `None`: that step is settled, go on.
    fn advance_step(&mut self, step: usize, service: &Service, now_ms: i64) -> Option<Next> {
        if self.progress[step].state == StepState::Open && !self.begin_step(step, service, now_ms) {
            return None;
        }
        let run = &self.progress[step];
        if run.state == StepState::Held {
            return Some(Next::People);
        }
        let line = || run.line.clone().unwrap_or_default();
        match &self.steps[step].act {
            Act::Look { .. } => Some(Next::Look { step, line: line() }),
            Act::Touch { .. } => {
                let plan = run.plan.clone()?;
                Some(Next::Touch { slot: Slot::Step(step), line: line(), plan })
            }
            Act::Wait { .. } | Act::Watch { .. } => match run.look_ms {
                Some(at) if at > now_ms => Some(Next::At(at)),
                _ => Some(Next::Look { step, line: line() }),
            },
            Act::Manual { verify: Some(_), .. } if run.by.is_some() => Some(Next::Look { step, line: line() }),
            Act::Manual { .. } => Some(Next::People),
            Act::Approve { .. } => {
                let plan = self.plan_id("approve", step);
                Some(Next::Ask { step, plan: self.progress[step].plan.get_or_insert(plan).clone() })
            }
            Act::Check { holds } => {
                let holds = holds.clone();
                match self.holds(&holds, service, now_ms) {
                    true => self.settle(step, StepState::Done, None, now_ms),
                    false => self.fail(step, None, service, now_ms),
                }
                None
            }
        }
    }

    /// Begins a step; `false` when it is settled already.
    fn begin_step(&mut self, step: usize, service: &Service, now_ms: i64) -> bool {
        let spec = self.steps[step].clone();
        if let Some(when) = &spec.when
            && !self.holds(when, service, now_ms)
        {
            self.settle(step, StepState::Skipped, None, now_ms);
            return false;
        }
        self.progress[step].state = StepState::Working;
        self.progress[step].begun_ms = Some(now_ms);
        let scope = self.scope(service, now_ms);
        let compiled = Compiled::default();
        if let Some(line) = spec.act.line() {
            match compiled.render(line, &scope) {
                Ok(marked) => self.progress[step].line = Some(marked.command()),
                Err(why) => {
                    self.fail(step, Some(format!("its line cannot be filled in: {why}")), service, now_ms);
                    return false;
                }
            }
        }
        match &spec.act {
            Act::Touch { .. } => self.progress[step].plan = Some(self.plan_id("step", step)),
            Act::Approve { .. } => self.progress[step].plan = Some(self.plan_id("approve", step)),
            Act::Manual { words, .. } => {
                let words = compiled.render(words, &scope).map(|marked| marked.block());
                let words = words.map(|words| self.about_here(&words, service));
                self.progress[step].said = Some(words.unwrap_or_else(|_| spec.id.clone()));
            }
            _ => {}
        }
        true
    }

    /// The id of the plan a step becomes, also before it begins.
    pub fn touch_plan(&self, step: usize) -> RunId {
        self.plan_id("step", step)
    }

    /// The same step of the same run has one id for its plan, whenever it is asked for.
    fn plan_id(&self, kind: &str, at: usize) -> RunId {
        let mut hash = Sha256::new();
        for part in ["rediscue-book", self.run.as_str(), kind, &at.to_string()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let bytes = hash.finalize();
        RunId::from_bits(u64::from_be_bytes(bytes[..8].try_into().expect("SHA-256 has more than eight bytes")))
    }

    fn holds(&self, condition: &str, service: &Service, now_ms: i64) -> bool {
        Compiled::default().holds(Some(condition), &self.scope(service, now_ms))
    }

    fn looked(&mut self, step: usize, saw: Result<Value, String>, service: &Service, now_ms: i64) -> Heard {
        if self.at() != Some(step) || self.progress[step].state != StepState::Working {
            return Err(NotNow::NotThatStep);
        }
        let run = &mut self.progress[step];
        run.looks += 1;
        let verdict = match &saw {
            Ok(value) => value.get("verdict").and_then(Value::as_str).map(str::to_owned),
            Err(why) => Some(why.clone()),
        };
        run.result = match &saw {
            Ok(value) => value.clone(),
            Err(why) => json!({"ok": false, "verdict": why, "figures": {}, "findings": []}),
        };
        let begun = run.begun_ms.unwrap_or(now_ms);
        match self.steps[step].act.clone() {
            Act::Look { .. } => match saw {
                Ok(_) => self.settle(step, StepState::Done, verdict, now_ms),
                Err(why) => self.fail(step, Some(why), service, now_ms),
            },
            Act::Wait { until, every_ms, most_ms, .. } => {
                if self.holds(&until, service, now_ms) {
                    self.settle(step, StepState::Done, verdict, now_ms);
                } else if now_ms >= begun.saturating_add(most_ms) {
                    let most = shown(most_ms);
                    self.fail(step, Some(format!("it did not come about within {most}")), service, now_ms);
                } else {
                    self.progress[step].said = verdict;
                    let end = begun.saturating_add(most_ms);
                    self.progress[step].look_ms = Some(now_ms.saturating_add(every_ms).min(end));
                }
            }
            Act::Watch { holds, every_ms, lasts_ms, .. } => {
                if !self.holds(&holds, service, now_ms) {
                    let after = shown(now_ms.saturating_sub(begun));
                    let why = self.sentence(step, service, now_ms).or(verdict);
                    let why = why.unwrap_or_else(|| "it no longer holds".to_owned());
                    self.settle(step, StepState::Failed, Some(format!("after {after}: {why}")), now_ms);
                    self.go_back(step, now_ms);
                } else if now_ms >= begun.saturating_add(lasts_ms) {
                    self.settle(step, StepState::Done, Some(format!("it held for {}", shown(lasts_ms))), now_ms);
                } else {
                    self.progress[step].said = verdict;
                    let end = begun.saturating_add(lasts_ms);
                    self.progress[step].look_ms = Some(now_ms.saturating_add(every_ms).min(end));
                }
            }
            Act::Manual { verify: Some(verify), .. } => {
                if self.holds(&verify.holds, service, now_ms) {
                    self.settle(step, StepState::Done, None, now_ms);
                } else {
                    // Whoever ticked it is told, and it waits again.
                    let why = self.sentence(step, service, now_ms).or(verdict);
                    let why = why.unwrap_or_else(|| "it does not look done".to_owned());
                    if let Some(by) = self.progress[step].by.take() {
                        self.note(by, &format!("ticked step {}, but {why}", step + 1), now_ms);
                    }
                }
            }
            Act::Touch { .. } | Act::Check { .. } | Act::Approve { .. } | Act::Manual { .. } => {
                return Err(NotNow::NotThatStep);
            }
        }
        Ok(())
    }

    fn touched(&mut self, step: usize, end: TouchEnd, service: &Service, now_ms: i64) -> Heard {
        let working = self.progress.get(step).is_some_and(|run| run.state == StepState::Working && run.plan.is_some());
        if self.at() != Some(step) || !working {
            return Err(NotNow::NotThatStep);
        }
        match end {
            TouchEnd::Done { said, undo, changed, own_way_back } => {
                self.progress[step].undo = undo;
                self.progress[step].result =
                    json!({"ok": true, "verdict": said, "changed": changed, "own_way_back": own_way_back});
                self.settle(step, StepState::Done, Some(said), now_ms);
            }
            TouchEnd::Not { said, untouched } => {
                self.progress[step].result = json!({"ok": false, "verdict": said, "untouched": untouched});
                self.fail(step, Some(said), service, now_ms);
            }
        }
        Ok(())
    }

    fn ticked(&mut self, step: usize, by: PersonId, now_ms: i64) -> Heard {
        if matches!(self.phase, Phase::Paused { .. }) {
            return Err(NotNow::Paused);
        }
        if self.waits_for_a_person() != Some(step) {
            return Err(NotNow::NotThatStep);
        }
        match (&self.steps[step].act, self.progress[step].state) {
            (_, StepState::Held) => {
                let said = self.progress[step].said.take().unwrap_or_default();
                self.progress[step].by = Some(by);
                self.settle(step, StepState::Done, Some(format!("dealt with by hand; {said}")), now_ms);
            }
            (Act::Manual { verify: Some(_), .. }, _) => self.progress[step].by = Some(by),
            (Act::Manual { .. }, _) => {
                self.progress[step].by = Some(by);
                self.settle(step, StepState::Done, None, now_ms);
            }
            _ => return Err(NotNow::NotThatStep),
        }
        Ok(())
    }

    /// What was asked is answered also in a pause, and where the run is to end.
    fn approved(
        &mut self,
        step: usize,
        by: Option<PersonId>,
        yes: bool,
        said: Option<String>,
        service: &Service,
        now_ms: i64,
    ) -> Heard {
        if self.asked().is_none_or(|(asked, _)| asked != step) {
            return Err(NotNow::NotThatStep);
        }
        self.progress[step].by = by;
        match yes {
            true => self.settle(step, StepState::Done, said, now_ms),
            false => self.fail(step, said.or_else(|| Some("it was declined".to_owned())), service, now_ms),
        }
        Ok(())
    }

    /// A pause is no part of what a step was given to take.
    fn resume(&mut self, now_ms: i64) {
        self.phase = Phase::Going;
        if let Some(step) = self.at() {
            let run = &mut self.progress[step];
            if matches!(self.steps[step].act, Act::Wait { .. } | Act::Watch { .. }) && run.begun_ms.is_some() {
                run.begun_ms = Some(now_ms);
                run.look_ms = None;
            }
        }
    }

    fn settle(&mut self, step: usize, state: StepState, said: Option<String>, now_ms: i64) {
        let run = &mut self.progress[step];
        run.state = state;
        run.said = said.or(run.said.take());
        run.ended_ms = Some(now_ms);
        run.look_ms = None;
    }

    /// The file's own sentence for a step that failed.
    fn sentence(&self, step: usize, service: &Service, now_ms: i64) -> Option<String> {
        let otherwise = self.steps[step].otherwise.as_ref()?;
        let said = Compiled::default().render(otherwise, &self.scope(service, now_ms)).ok()?.line();
        Some(self.about_here(&said, service))
    }

    /// No wrong target: the lines to type in a text, each between its ticks, name the run's own instance.
    fn about_here(&self, text: &str, service: &Service) -> String {
        let (name, place) = (service.name.as_str(), service.named(&self.instance));
        if place == name {
            return text.to_owned();
        }
        let parts: Vec<String> = text.split('`').map(|part| words::shown_about(part, name, &place)).collect();
        parts.join("`")
    }

    fn fail(&mut self, step: usize, why: Option<String>, service: &Service, now_ms: i64) {
        let said = match (self.sentence(step, service, now_ms), why) {
            (Some(own), Some(why)) => Some(format!("{own} ({why})")),
            (own, why) => own.or(why),
        };
        // Nothing waits for a person any more once somebody wants the run to end.
        let aborting = matches!(self.phase, Phase::Aborting { .. });
        match self.steps[step].or {
            // A word that was not given is not made up for by a tick.
            Or::Manual if !aborting && !matches!(self.steps[step].act, Act::Approve { .. }) => {
                self.progress[step].said = said;
                self.progress[step].state = StepState::Held;
            }
            or => {
                self.settle(step, StepState::Failed, said, now_ms);
                if or != Or::Continue && !aborting {
                    self.end(How::Stopped { step }, now_ms);
                }
            }
        }
    }

    fn go_back(&mut self, step: usize, now_ms: i64) {
        let changed = (0..step).rev().filter(|&earlier| {
            matches!(self.steps[earlier].act, Act::Touch { .. })
                && self.progress[earlier].state == StepState::Done
                && self.progress[earlier].result.get("changed").and_then(Value::as_bool) == Some(true)
        });
        let by_itself = matches!(self.steps[step].act, Act::Watch { roll_back: true, .. });
        let told = |earlier: usize| self.progress[earlier].result.get("own_way_back").and_then(Value::as_bool);
        self.back = changed
            .map(|earlier| Back {
                step: earlier,
                line: self.progress[earlier].undo.clone(),
                state: StepState::Open,
                plan: None,
                said: None,
                own: by_itself && told(earlier) == Some(true),
            })
            .collect();
        match self.back.is_empty() {
            true => self.end(How::Stopped { step }, now_ms),
            false => self.phase = Phase::Returning { step },
        }
    }

    fn advance_back(&mut self, now_ms: i64) -> Next {
        let Phase::Returning { step } = self.phase else { return Next::Ended };
        let Some(at) = self.back.iter().position(|back| !back.state.is_over()) else {
            let whole = self.back.iter().all(|back| back.state == StepState::Done);
            self.end(How::Returned { step, whole }, now_ms);
            return Next::Ended;
        };
        let plan = self.plan_id("back", at);
        let back = &mut self.back[at];
        if back.own
            && let Some(own) = self.progress[back.step].plan.clone()
        {
            back.state = StepState::Working;
            back.plan = Some(own.clone());
            return Next::Revert { at, plan: own };
        }
        let Some(line) = back.line.clone() else {
            // What came before it may rest on it: it is left to people as well.
            back.state = StepState::Failed;
            back.said = Some("there is no way back from here".to_owned());
            self.leave_the_rest(at);
            return self.advance_back(now_ms);
        };
        back.state = StepState::Working;
        back.plan = Some(plan.clone());
        Next::Touch { slot: Slot::Back(at), line, plan }
    }

    fn went_back(&mut self, at: usize, end: TouchEnd) -> Heard {
        let Some(back) = self.back.get_mut(at).filter(|back| back.state == StepState::Working) else {
            return Err(NotNow::NotThatStep);
        };
        match end {
            TouchEnd::Done { said, .. } => {
                back.state = StepState::Done;
                back.said = Some(said);
            }
            TouchEnd::Not { said, .. } => {
                back.state = StepState::Failed;
                back.said = Some(said);
                self.leave_the_rest(at);
            }
        }
        Ok(())
    }

    /// What was changed before something that could not be taken back stays as it is.
    fn leave_the_rest(&mut self, at: usize) {
        for back in &mut self.back[at + 1..] {
            back.state = StepState::Skipped;
            back.said = Some("left as it is: what came after it is still there".to_owned());
        }
    }

    fn end(&mut self, how: How, now_ms: i64) {
        self.phase = Phase::Ended { how };
        self.ended_ms = Some(now_ms);
    }

    fn note(&mut self, by: PersonId, what: &str, now_ms: i64) {
        self.notes.push(Note { at_ms: now_ms, by, what: what.to_owned() });
    }
}

fn shown(ms: i64) -> String {
    show_duration(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}
