//! Surveys of the keyspace: carries the bytes of `keyspace::Survey`, which decides everything.
//!
//! Each server gets two connections of its own in the scan lane, spoken to in
//! raw batches. Servers are surveyed side by side; what the samples say
//! together is told as the first answer, what the walks come to as the last. A
//! walk that is stopped is put on a shelf, and the same question asked again
//! within a while goes on from there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::{
    diagnosis::{Explained, Node, NodeOutcome, Observation, redact},
    keyspace::{
        Aim, Ask, Checkpoint, Doing, LANES, Outcome, Part, Report, Sample, Showing, Step, Survey,
        clients::{self, Listing},
        name::Separators,
        wire::replies,
    },
    model::{Address, Progress},
    runbook::{Look, Survey as Wanted},
};

use super::{
    Job, failed,
    fault::{Fault, silence},
    hotkeys,
    line::{Line, garbled},
    redis,
    server::{Kind, Lane, Server},
    site::Site,
    surveyed::{Surveyed, named, nobody, targets},
    walks,
};

/// A stopped walk can be taken up again for so long, also by the next start of the bot.
const KEPT: Duration = Duration::from_secs(900);
/// How often people are told how a walk goes on.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// How often a walk that goes on is kept, for the case that this process ends without a word.
const KEEP_EVERY: Duration = Duration::from_secs(5);
/// Taken from the end of the time given, to stop in good order.
const TO_STOP: Duration = Duration::from_millis(400);

/// Outcomes of one instance that may be paged through, at most: of more, the oldest goes.
const OUTCOMES: usize = 8;

/// What a walk is doing that goes on where it was when it is asked for again.
pub(crate) const COUNTING: &str = "counting every key";

/// When a survey ended, and what it came to on each server.
type Done = (Instant, Vec<Part<Outcome>>);

/// Walks that were stopped, and outcomes that may be paged through; one per instance.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    stopped: Mutex<HashMap<(Question, Address), (Instant, Checkpoint)>>,
    done: Mutex<HashMap<Question, Done>>,
    /// One survey at a time: what is measured of a server holds for one survey on it.
    turn: tokio::sync::Mutex<()>,
}

impl Shelf {
    /// Keeps what was just counted, for those who turn its pages.
    fn keep(&self, question: Question, parts: Vec<Part<Outcome>>, now: Instant) {
        let mut done = lock(&self.done);
        done.retain(|_, (at, _)| now.saturating_duration_since(*at) < KEPT);
        done.insert(question, (now, parts));
        if done.len() > OUTCOMES
            && let Some(oldest) = done.iter().min_by_key(|(_, (at, _))| *at).map(|(question, _)| question.clone())
        {
            done.remove(&oldest);
        }
    }
}

/// What makes two surveys the same, but for what is shown of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question(Wanted, Vec<(String, String)>);

impl Question {
    /// `reveal`: what was counted for somebody who may see every word is for nobody else.
    fn of(survey: Wanted, options: &[(String, String)], reveal: bool) -> Self {
        let mut options: Vec<_> =
            options.iter().filter(|(name, text)| name != "page" && !text.trim().is_empty()).cloned().collect();
        options.extend(reveal.then(|| ("reveal".to_owned(), "true".to_owned())));
        options.sort();
        Self(survey, options)
    }

    /// The same, of one server, as the store knows it.
    fn of_server(&self, job: &Job, server: &Address) -> String {
        format!("{}/{} {:?} {:?} {server}", job.service.name, job.site.instance.name, self.0, self.1)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries it out.
pub(crate) async fn look(job: &Job, survey: Wanted, options: &[(String, String)]) -> Observation {
    let start = Instant::now();
    let option = |name: &str| {
        options.iter().find(|(other, _)| other == name).map(|(_, text)| text.trim()).filter(|text| !text.is_empty())
    };
    let number = |name: &str, usual: usize, most: usize| {
        option(name).and_then(|text| text.parse().ok()).unwrap_or(usual).clamp(1, most)
    };
    let top = number("top", 10, 100);
    let aim = match survey {
        Wanted::Bigkeys => Aim::Bigkeys,
        Wanted::Memkeys => Aim::Memkeys,
        Wanted::Hotkeys => Aim::Hotkeys,
        Wanted::Keys => Aim::Keys,
        Wanted::TtlAudit => Aim::TtlAudit,
        Wanted::Clients => return big_clients(job, top, option("node"), start).await,
    };
    let mut ask = Ask::new(aim);
    ask.wanted.top = top;
    if aim == Aim::Memkeys {
        ask.prefixes = number("top", ask.prefixes, 100);
    }
    ask.wanted.names = if aim == Aim::Keys { 300 } else { 0 };
    ask.wanted.separators = option("separators").and_then(Separators::given);
    ask.wanted.globs = job.service.patterns.iter().map(|pattern| pattern.glob.clone()).collect();
    ask.lengths = option("lengths") == Some("true");
    ask.weigh = option("weigh") == Some("true");
    ask.sample_only = option("sample") == Some("true");
    ask.db = if job.site.is_cluster() { 0 } else { job.site.instance.database };
    ask.seed = rand::random();
    ask.limits = job.site.settings.pace;
    if let Some(pattern) = option("pattern") {
        ask = ask.matching(pattern);
    }
    let showing = Showing { reveal: job.reveal == redact::Reveal::Yes, page: number("page", 1, 1_000) };
    let question = Question::of(survey, options, showing.reveal);
    ask.wanted.words = showing.reveal;
    if showing.page > 1
        && let Some((at, parts)) = lock(&job.site.shelf.done).get(&question).cloned()
        && at.elapsed() < KEPT
    {
        let mut report = Report::of_outcomes(&ask, parts, None, showing);
        report.notes.push(format!("as counted {} s ago", at.elapsed().as_secs()));
        remember(&job.site, &report);
        return observation(&report, Vec::new(), start);
    }
    let Ok(_turn) = timeout_at(job.budget.end, job.site.shelf.turn.lock()).await else {
        let fault = silence(start.elapsed());
        return failed(fault.explain(None, &job.site.instance.look, Some("SCAN")), start);
    };
    let targets = match targets(job, option("node")).await {
        Ok(targets) => targets,
        Err(error) => return failed(error, start),
    };
    let mut counts_itself = None;
    if aim == Aim::Hotkeys && !ask.sample_only {
        let servers: Vec<&Server> = targets.iter().map(|target| &*target.server).collect();
        match hotkeys::tracked(job, &servers, top).await {
            Ok(parts) => {
                let report = Report::of_tracked(&ask, &parts, showing);
                remember(&job.site, &report);
                let nodes = targets.iter().map(|target| NodeOutcome {
                    node: Node { role: target.role, ..target.server.node() },
                    result: Ok(Value::Null),
                    took: start.elapsed(),
                });
                return observation(&report, nodes.collect(), start);
            }
            Err(why) => counts_itself = why,
        }
    }
    let told = Arc::new(Telling::new(job, ask.clone(), showing, targets.len()));
    let runs = join_all(targets.into_iter().enumerate().map(|(index, target)| {
        let (told, question, ask) = (told.clone(), question.clone(), ask.clone());
        async move {
            let began = Instant::now();
            let found = survey_server(job, index, &target, ask, &question, &told).await;
            told.ended(index);
            (target, found, began.elapsed())
        }
    }))
    .await;
    let mut parts = Vec::new();
    let mut outcomes = Vec::new();
    for (target, found, took) in runs {
        let node = Node { role: target.role, ..target.server.node() };
        let result = match found {
            Ok(outcome) => {
                let seen = json!({ "keys": outcome.dbsize, "walked": outcome.walked, "complete": outcome.complete });
                parts.push(Part { address: target.server.address.to_string(), found: outcome });
                Ok(seen)
            }
            Err(fault) => Err(fault.explain(Some(&target.server.address), target.server.credential(), Some("SCAN"))),
        };
        outcomes.push(NodeOutcome { node, result, took });
    }
    if parts.is_empty() {
        let error = outcomes.iter().find_map(|outcome| outcome.result.as_ref().err().cloned());
        return Observation { merged: Err(error.unwrap_or_else(nobody)), nodes: outcomes, took: start.elapsed() };
    }
    let silent: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| {
            Some(format!("{} is not counted: {}", outcome.node.address, outcome.result.as_ref().err()?.what))
        })
        .collect();
    if parts.iter().all(|part| part.found.complete) {
        job.site.shelf.keep(question, parts.clone(), Instant::now());
    }
    let first = lock(&told.first).clone();
    let mut report = Report::of_outcomes(&ask, parts, first.as_ref(), showing);
    report.exact &= silent.is_empty();
    report.notes.extend(silent);
    report.notes.extend(told.notes());
    report.notes.extend(counts_itself);
    if report.method == crate::keyspace::Method::Partial {
        report.notes.push(format!(
            "stopped at {:.0} % when the command's time was over; ask again within {} minutes to go on from there",
            report.done * 100.0,
            KEPT.as_secs() / 60
        ));
    }
    remember(&job.site, &report);
    observation(&report, outcomes, start)
}

/// Remembers the keys a report names, so that people can `inspect` them by their handles.
fn remember(site: &Site, report: &Report) {
    let mut book = lock(&site.keys);
    report.named.iter().filter_map(|name| std::str::from_utf8(name).ok()).for_each(|name| book.add(name));
}

fn observation(report: &Report, nodes: Vec<NodeOutcome>, start: Instant) -> Observation {
    let merged = serde_json::to_value(report).map_err(|error| Explained {
        code: "BUG".into(),
        what: format!("the report cannot be written: {error}"),
        cause: "a figure of it is not a number".into(),
        next: "report this".into(),
    });
    Observation { nodes, merged, took: start.elapsed() }
}

/// What people are told while it goes on.
struct Telling {
    ask: Ask,
    site: Arc<Site>,
    showing: Showing,
    progress: tokio::sync::watch::Sender<Option<Progress>>,
    partial: tokio::sync::watch::Sender<Option<Value>>,
    state: Mutex<TellingState>,
    first: Mutex<Option<Report>>,
}

struct TellingState {
    samples: Vec<Option<Part<Sample>>>,
    ended: Vec<bool>,
    progress: Vec<(u64, u64, f64)>,
    doing: Vec<Doing>,
    last: Option<Instant>,
    notes: Vec<String>,
}

impl Telling {
    fn new(job: &Job, ask: Ask, showing: Showing, servers: usize) -> Self {
        Self {
            ask,
            site: job.site.clone(),
            showing,
            progress: job.progress.clone(),
            partial: job.partial.clone(),
            state: Mutex::new(TellingState {
                samples: (0..servers).map(|_| None).collect(),
                ended: vec![false; servers],
                progress: vec![(0, 0, 0.0); servers],
                doing: vec![Doing::Sampling; servers],
                last: None,
                notes: Vec::new(),
            }),
            first: Mutex::default(),
        }
    }

    /// A server's sample is complete. The last one makes the first answer.
    fn sampled(&self, index: usize, address: &Address, sample: Sample) {
        let mut state = lock(&self.state);
        state.samples[index] = Some(Part { address: address.to_string(), found: sample });
        self.answer_first(&state);
    }

    fn ended(&self, index: usize) {
        let mut state = lock(&self.state);
        state.ended[index] = true;
        if !state.ended.iter().all(|ended| *ended) {
            self.answer_first(&state);
        }
    }

    fn answer_first(&self, state: &TellingState) {
        let ready = state.samples.iter().zip(&state.ended).all(|(sample, ended)| sample.is_some() || *ended);
        let mut first = lock(&self.first);
        if !ready || first.is_some() {
            return;
        }
        let parts: Vec<Part<Sample>> = state.samples.iter().flatten().cloned().collect();
        // Servers that were walked at once, or not at all, would be missing from it.
        if parts.is_empty() || parts.len() < state.samples.len() {
            return;
        }
        let report = Report::of_samples(&self.ask, &parts, self.showing);
        remember(&self.site, &report);
        if let Ok(value) = serde_json::to_value(&report) {
            self.partial.send_replace(Some(value));
        }
        *first = Some(report);
    }

    fn goes_on(&self, index: usize, survey: &Survey) {
        let (done, all, rate, _) = survey.progress();
        let mut state = lock(&self.state);
        // The walk's rate means nothing once it is over.
        let rate = rate.filter(|_| survey.doing() == Doing::Counting);
        state.progress[index] = (done, all, rate.unwrap_or(0.0));
        state.doing[index] = survey.doing();
        if state.last.is_some_and(|last| last.elapsed() < TELL_EVERY) {
            return;
        }
        state.last = Some(Instant::now());
        if let Some(progress) = after_the_walk(&state.doing) {
            self.progress.send_replace(Some(progress));
            return;
        }
        let done: u64 = state.progress.iter().map(|(done, ..)| done).sum();
        let all: u64 = state.progress.iter().map(|(_, all, _)| all).sum();
        let rate: f64 = state.progress.iter().map(|(.., rate)| rate).sum();
        // Servers go side by side, so the slowest tells when all are done.
        let left = state.progress.iter().filter(|(.., rate)| *rate > 0.0);
        let left = left.map(|(done, all, rate)| all.saturating_sub(*done) as f64 / rate).fold(0.0, f64::max);
        self.progress.send_replace(Some(Progress {
            doing: if done == 0 { "sampling" } else { COUNTING }.to_owned(),
            done,
            total: (all > 0).then_some(all),
            unit: "keys".to_owned(),
            rate: (rate > 0.0).then_some(rate),
            left_s: (rate > 0.0).then_some(left),
        }));
    }

    fn note(&self, note: String) {
        lock(&self.state).notes.push(note);
    }

    fn notes(&self) -> Vec<String> {
        lock(&self.state).notes.clone()
    }
}

/// What is done once every server has been walked over; `None`: one has not.
fn after_the_walk(doing: &[Doing]) -> Option<Progress> {
    let mut watching = None;
    for doing in doing {
        match doing {
            Doing::Sampling | Doing::Counting => return None,
            Doing::Watching(round, of) => {
                let (least, _) = *watching.get_or_insert((*round, *of));
                watching = Some((least.min(*round), *of));
            }
            Doing::Naming => {}
        }
    }
    let (round, of) = watching?;
    Some(Progress {
        doing: "watching who is used".to_owned(),
        done: u64::from(round),
        total: Some(u64::from(of)),
        unit: "looks".to_owned(),
        rate: None,
        // A second between two of them.
        left_s: Some(f64::from(of - round)),
    })
}

/// A survey under way. Dropped before its end (the asker has gone, the run was cancelled), it puts
/// what was counted on the shelf and into the store.
struct Kept<'a> {
    job: &'a Job,
    question: (Question, Address),
    survey: Mutex<Survey>,
    stored: Option<Arc<walks::Kept>>,
    next: Mutex<Instant>,
    /// The house does not close before this is dropped.
    _under_way: Option<TaskTrackerToken>,
}

impl Kept<'_> {
    /// Puts away what was counted, if something was and something is left.
    fn put_away(&self) {
        let checkpoint = lock(&self.survey).checkpoint();
        if !checkpoint.is_worth_keeping() {
            return;
        }
        if let Some(stored) = &self.stored {
            stored.keep(checkpoint.clone());
        }
        let mut shelf = lock(&self.job.site.shelf.stopped);
        shelf.retain(|_, (at, _)| at.elapsed() < KEPT);
        if shelf.len() < 64 {
            shelf.insert(self.question.clone(), (Instant::now(), checkpoint));
        }
    }

    /// Now and then, keeps how far it is.
    fn goes_on(&self) {
        let Some(stored) = &self.stored else { return };
        let mut next = lock(&self.next);
        if *next <= Instant::now() {
            *next = Instant::now() + KEEP_EVERY;
            stored.keep_now_and_then(|| lock(&self.survey).checkpoint());
        }
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.put_away();
    }
}

async fn survey_server(
    job: &Job,
    index: usize,
    target: &Surveyed,
    ask: Ask,
    question: &Question,
    told: &Telling,
) -> Result<Outcome, Fault> {
    let server = &target.server;
    let open = || Line::open(server.setup(Lane::Scan), job.budget.until());
    let (first, second) = futures_util::future::join(open(), open()).await;
    let mut lines = vec![first?];
    // One connection will do where only one is to be had.
    lines.extend(second.ok());
    if let Some(note) = &target.note {
        told.note(note.clone());
    }
    let question = (question.clone(), server.address.clone());
    let mut survey = Survey::new(ask, target.slots.clone());
    let stored = job.walks.as_ref().map(|walks| walks.of(question.0.of_server(job, &server.address)));
    let shelved = lock(&job.site.shelf.stopped).remove(&question).map(|(at, checkpoint)| (at.elapsed(), checkpoint));
    let stopped = match (shelved, &stored) {
        (Some(shelved), _) => Some(shelved),
        (None, Some(stored)) => stored.find(KEPT).await,
        (None, None) => None,
    };
    if let Some((age, checkpoint)) = stopped.filter(|(age, _)| *age < KEPT) {
        survey.resume(checkpoint, age);
    }
    let _under_way = stored.as_ref().map(|stored| stored.under_way());
    let next = Mutex::new(Instant::now() + KEEP_EVERY);
    let kept = Kept { job, question, survey: Mutex::new(survey), stored, next, _under_way };
    debug_assert!(lines.len() <= LANES, "a survey has so many lanes");
    let begun = Instant::now();
    let results = join_all(lines.into_iter().enumerate().map(|(lane, line)| {
        let kept = &kept;
        async move {
            drive(
                job,
                kept,
                lane,
                line,
                begun,
                |survey| told.goes_on(index, survey),
                |sample| told.sampled(index, &server.address, sample),
            )
            .await
        }
    }))
    .await;
    for result in results {
        result?;
    }
    kept.put_away();
    // Taken out, so that what is dropped has nothing worth keeping.
    let empty = Survey::new(Ask::new(Aim::Bigkeys), Vec::new());
    let survey = std::mem::replace(&mut *lock(&kept.survey), empty);
    let outcome = survey.outcome();
    if let Some(stored) = kept.stored.as_ref().filter(|_| outcome.complete) {
        stored.forget().await;
    }
    Ok(outcome)
}

/// Runs one lane to its end.
async fn drive(
    job: &Job,
    kept: &Kept<'_>,
    lane: usize,
    mut line: Line,
    begun: Instant,
    goes_on: impl Fn(&Survey),
    sampled: impl Fn(Sample),
) -> Result<(), Fault> {
    let stop_at = job.budget.end.checked_sub(TO_STOP).unwrap_or(job.budget.end);
    let mut owed = 0;
    loop {
        let now = Instant::now();
        let (step, sample) = {
            let replies = replies(&line.buffer, owed).map_err(|_| garbled())?;
            let mut survey = lock(&kept.survey);
            if now >= stop_at {
                survey.stop();
            }
            let step = survey.step(lane, &replies, now - begun);
            goes_on(&survey);
            (step, survey.first())
        };
        kept.goes_on();
        match step {
            Step::Send(batch) => {
                owed = batch.replies;
                let until = job.budget.until();
                line.send(&batch, until).await?;
                // The other batches are on their way; this is the moment to think.
                if let Some(sample) = sample {
                    sampled(sample);
                }
                line.receive(owed, until).await?;
            }
            Step::Wait(wait) => {
                owed = 0;
                if let Some(sample) = sample {
                    sampled(sample);
                }
                tokio::time::sleep(wait).await;
            }
            Step::Done => {
                if let Some(sample) = sample {
                    sampled(sample);
                }
                return Ok(());
            }
            Step::Failed(line) => {
                lock(&kept.survey).stop();
                return Err(Fault::Server(line));
            }
        }
    }
}

/// Between two listings of the connections.
const BETWEEN_LISTS: Duration = Duration::from_secs(1);
/// CLIENT LIST takes time in the number of clients; with more than this it is not asked twice.
const MANY_CLIENTS: usize = 5_000;

async fn big_clients(job: &Job, top: usize, node: Option<&str>, start: Instant) -> Observation {
    let topology = match job.site.topology(job.budget).await {
        Ok(topology) => topology,
        Err(error) => return failed(error, start),
    };
    let addresses: Vec<Address> = match node.map(|wanted| named(job, &topology, wanted)) {
        Some(Ok((_, member))) => vec![member.address.clone()],
        Some(Err(error)) => return failed(error, start),
        None => topology.primaries().map(|member| member.address.clone()).collect(),
    };
    let list = || async {
        join_all(addresses.iter().map(async |address| {
            let server = job.site.server(address, Kind::Data);
            let command = redis::command(&["CLIENT".to_owned(), "LIST".to_owned()]);
            let answer = server.ask_one(Lane::Look, &command, job.budget).await;
            (server, answer)
        }))
        .await
    };
    let listings = |answers: &[(Arc<Server>, Result<Value, Fault>)]| -> Vec<Listing> {
        let texts = answers.iter().filter_map(|(server, answer)| {
            let text = answer.as_ref().ok()?.as_str()?.to_owned();
            Some(Listing { server: server.address.to_string(), text })
        });
        texts.collect()
    };
    let first = list().await;
    let before = listings(&first);
    let many = before.iter().any(|listing| listing.text.lines().count() > MANY_CLIENTS);
    let tells = before.iter().any(|listing| listing.text.contains("tot-net-in="));
    let began = Instant::now();
    let after = if tells && !many {
        tokio::time::sleep(BETWEEN_LISTS).await;
        listings(&list().await)
    } else {
        before.clone()
    };
    let nodes: Vec<NodeOutcome> = first
        .iter()
        .map(|(server, answer)| NodeOutcome {
            node: server.node(),
            result: match answer {
                Ok(_) => Ok(Value::Null),
                Err(fault) => Err(fault.explain(Some(&server.address), server.credential(), Some("CLIENT"))),
            },
            took: start.elapsed(),
        })
        .collect();
    if after.is_empty() {
        let error = nodes.iter().find_map(|node| node.result.as_ref().err().cloned());
        return Observation { merged: Err(error.unwrap_or_else(nobody)), nodes, took: start.elapsed() };
    }
    let report = clients::rank(&before, &after, began.elapsed().as_secs_f64(), top, redact::address);
    Observation { merged: Ok(json!(report)), nodes, took: start.elapsed() }
}

/// The look as it is asked for, for those who make one without a command file.
pub fn survey(survey: Wanted, options: &[(&str, &str)]) -> Look {
    Look::Keyspace {
        survey,
        options: options.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(pattern: usize) -> Question {
        Question::of(Wanted::Keys, &[("pattern".to_owned(), format!("a{pattern}:*"))], false)
    }

    #[test]
    fn pages_are_turned_of_the_questions_asked_last() {
        let (shelf, begun) = (Shelf::default(), Instant::now());
        for pattern in 0..2 * OUTCOMES {
            shelf.keep(question(pattern), Vec::new(), begun + Duration::from_secs(pattern as u64));
        }
        let kept = |pattern: usize| lock(&shelf.done).contains_key(&question(pattern));
        assert!((OUTCOMES..2 * OUTCOMES).all(kept) && !(0..OUTCOMES).any(kept));
    }

    #[test]
    fn what_is_told_after_the_walk_is_no_count_of_keys() {
        assert_eq!(after_the_walk(&[Doing::Counting, Doing::Watching(3, 8)]), None);
        let told = after_the_walk(&[Doing::Watching(3, 8), Doing::Naming, Doing::Watching(2, 8)]).unwrap();
        assert_eq!((told.doing.as_str(), told.done, told.total, told.rate), ("watching who is used", 2, Some(8), None));
        assert_eq!(after_the_walk(&[Doing::Naming]), None);
    }
}
