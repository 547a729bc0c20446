//! The walk of one command, from what was typed to what is answered.
//!
//! text → intent → service and instance → policy → limits → looks → card →
//! journal → answer. Whatever happens on the way, exactly one card is the
//! answer, and the journal has one row that says how it ended.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{
    Came, Hall, Rules, book, built_in, change, deliver::Answer, gather, had_its_word, health, limits::Busy, results,
    runs::Why,
};
use crate::{
    chat::{Audience, Event, Inbound},
    diagnosis,
    exec::{COUNTING, Looking},
    model::{
        Action, ActionStyle, Actor, Block, Card, Field, Finding, Instance, Level, Place, Progress, RunId, Service, Text,
    },
    policy::{Ask, Refusal, Verdict},
    runbook::{self, ArgumentKind, ArgumentValue, Command, Diagnostic, Evidence, Intent, Kind, Known, Look},
    store::{Entry, Outcome},
};

/// What is kept back from a command's deadline, so that its answer is made and sent within it.
const TO_ANSWER: Duration = Duration::from_millis(250);
/// Services that have a button each when it has to be asked which is meant; more are a menu.
const BUTTONS: usize = 5;
/// Services named in that question; of more the first.
const NAMED: usize = 20;

/// Who asked, where and when: what every step of the walk needs.
pub(super) struct Asked<'a> {
    pub(super) rules: &'a Rules,
    pub(super) actor: &'a Actor,
    pub(super) place: &'a Place,
    pub(super) run: &'a RunId,
    pub(super) since: Instant,
}

impl Asked<'_> {
    /// May whoever asked run this command, on this service where it is about one, here and now?
    pub(super) fn decide(&self, command: &Command, service: Option<&Service>, reveal: bool) -> Verdict {
        self.rules.policy.decide(&Ask {
            actor: self.actor,
            place: self.place,
            command,
            service,
            run: self.run,
            reveal,
            now: jiff::Timestamp::now(),
        })
    }
}

/// How the walk ended: the card, and what the journal says of it.
pub(super) struct Ended {
    pub(super) card: Card,
    pub(super) outcome: Outcome,
    /// The command's name; empty where no command was understood.
    pub(super) command: String,
    /// The rule or the reason behind an outcome other than an answer.
    pub(super) why: Option<String>,
    pub(super) private: bool,
    pub(super) line: String,
    pub(super) target: Option<(Arc<Service>, Instance)>,
    pub(super) level: Option<Level>,
    pub(super) revealed: bool,
    /// The card is its message already, which may have been edited since.
    pub(super) shown: bool,
    /// Where a button was pressed, the card takes the place of the one it is on.
    pub(super) in_place: bool,
    /// It is the last word on a change, and owed until it is said.
    pub(super) ends: bool,
}

impl Ended {
    /// The end of a line that did not become a command.
    pub(super) fn unheard(outcome: Outcome, card: Card) -> Self {
        Self {
            card,
            outcome,
            command: String::new(),
            why: None,
            private: true,
            line: String::new(),
            target: None,
            level: None,
            revealed: false,
            shown: false,
            in_place: false,
            ends: false,
        }
    }

    /// The end of a command.
    pub(super) fn of(intent: &Intent, outcome: Outcome, card: Card) -> Self {
        Self {
            command: intent.command.name.clone(),
            line: journal_line(intent),
            private: intent.command.private,
            ..Self::unheard(outcome, card)
        }
    }

    /// Policy said no.
    pub(super) fn denied(intent: &Intent, refusal: &Refusal) -> Self {
        let ended = Self::of(intent, Outcome::Denied, refusal.card()).in_private();
        Self { why: Some(refusal.rule.clone()), ..ended }
    }

    /// Only the asker sees it.
    pub(super) fn in_private(mut self) -> Self {
        self.private = true;
        self
    }

    pub(super) fn on(mut self, service: &Arc<Service>, instance: &Instance) -> Self {
        self.target = Some((service.clone(), instance.clone()));
        self
    }
}

/// Carries out what somebody typed or pressed, and answers it.
pub(super) async fn carry_out(hall: &Arc<Hall>, inbound: Inbound, came: Came) {
    let Inbound { event, from, display, person, badges, barred, place, what, kept } = inbound;
    let (text, message, pressed) = match what {
        Event::Command { text, message } => (text, message, None),
        Event::Pressed { command, message } => (command, None, Some(message)),
        Event::Reacted { .. } | Event::AtTheMachine(_) => return,
    };
    let Some(gateway) = hall.gateway(place.platform).cloned() else {
        tracing::error!(platform = %place.platform, "an event came from a platform without a gateway");
        return;
    };
    let since = Instant::now();
    let rules = hall.rules();
    let actor = rules.policy.speaker(from, person, display, badges);
    // What was kept is the same run when it is taken up again: its answer is found by that.
    let run = match kept {
        Some(_) => RunId::of_event(&event),
        None => RunId::from_bits(rand::random()),
    };
    if came != Came::Nowhere && hall.store.owed_knows(&format!("run-{run}")).await.unwrap_or(false) {
        tracing::info!(event, "its answer was decided before the bot was stopped, and is delivered");
        return;
    }
    let answer = Answer::new(gateway, &place, &run, message).of(kept.map(|kept| (event, kept)));
    answer.begun().await;
    let asked = Asked { rules: &rules, actor: &actor, place: &place, run: &run, since };
    let ended = if hall.stopping.is_cancelled() {
        Ended { why: Some("stopping".to_owned()), ..Ended::unheard(Outcome::Cancelled, stopping_card()) }
    } else if let Some(why) = barred {
        Ended { why: Some(why.clone()), ..Ended::unheard(Outcome::Denied, barred_card(&why)) }
    } else {
        walk(hall, &asked, &text, &answer, came).await
    };
    let took = since.elapsed();
    let journalled = hall.store.record(entry(&asked, &ended, took)).await;
    let Ended { mut card, outcome, private, shown, in_place, ends, .. } = ended;
    if let Err(error) = journalled {
        // A look is answered all the same: being blind at 3 a.m. is worse than a gap that says it is one.
        tracing::warn!(%error, run = %run, "the journal could not be written");
        hall.meters.unjournalled();
        let mark = "not journalled: the bot cannot write its store (`/redis doctor --bot` says why)";
        card.footer = Some(card.footer.map_or_else(|| mark.to_owned(), |footer| format!("{footer} · {mark}")));
    }
    hall.meters.command(outcome, took);
    if shown {
        answer.seen(hall, true).await;
        return;
    }
    let audience = if private { Audience::Only(actor.identity.clone()) } else { Audience::All };
    if let Some(message) = pressed.filter(|_| in_place)
        && answer.turn(&message, &card).await
    {
        return;
    }
    answer.finish(hall, card, audience, outcome == Outcome::Answered).await;
    if ends {
        change::told(hall, &run).await;
    }
}

/// The journal's row of one line.
pub(super) fn entry(asked: &Asked<'_>, ended: &Ended, took: Duration) -> Entry {
    Entry {
        at: jiff::Timestamp::now(),
        run: asked.run.clone(),
        identity: asked.actor.identity.clone(),
        person: asked.actor.person.clone(),
        place: asked.place.clone(),
        line: ended.line.clone(),
        command: ended.command.clone(),
        service: ended.target.as_ref().map(|(service, _)| service.name.clone()),
        instance: ended.target.as_ref().map(|(_, instance)| instance.name.clone()),
        outcome: ended.outcome,
        why: ended.why.clone(),
        level: ended.level,
        took,
        reveal: ended.revealed,
    }
}

async fn walk(hall: &Arc<Hall>, asked: &Asked<'_>, text: &str, answer: &Answer, came: Came) -> Ended {
    let Asked { rules, actor, place, .. } = asked;
    let policy = &rules.policy;
    let may = |command: &Command| policy.may(actor, command, None, place);
    let known = Known { catalogue: &rules.catalogue, services: &rules.services, may: &may };
    // A stranger learns nothing, not even which commands there are.
    if let Some(refusal) = policy.stranger(actor) {
        return Ended { why: Some(refusal.rule.clone()), ..Ended::unheard(Outcome::Denied, refusal.card()) };
    }
    let _held = match hall.limiter.person(&who(actor)) {
        Ok(held) => held,
        Err(busy) => return Ended::unheard(Outcome::Limited, busy_card(&busy)),
    };
    let intent = match runbook::parse(text, &known) {
        Ok(intent) => intent,
        Err(misunderstood) => {
            return Ended::unheard(Outcome::Misunderstood, misunderstood.card());
        }
    };
    if !matches!(intent.command.kind, Kind::BuiltIn) {
        had_its_word();
    }
    match came {
        Came::TooLate => return left_behind(&intent, too_late_card(&intent)),
        Came::Somewhere if !may_be_repeated(&intent.command) => return left_behind(&intent, cut_off_card(&intent)),
        Came::Nowhere | Came::Somewhere => {}
    }
    match &intent.command.kind {
        Kind::BuiltIn => built_in::answer(hall, asked, &known, &intent).await,
        Kind::Remediation(remediation) => change::propose(hall, asked, &intent, remediation, answer).await,
        Kind::Diagnostic(_) if health::is_asked(&intent) => health::answer(hall, asked, &intent).await,
        Kind::Runbook(steps) => book::begin(hall, asked, &intent, steps, answer).await,
        Kind::Diagnostic(diagnostic) => diagnose(hall, asked, &intent, diagnostic, answer).await,
    }
}

/// What an earlier process left and this one does not do.
fn left_behind(intent: &Intent, card: Card) -> Ended {
    Ended { why: Some("stopped".to_owned()), ..Ended::of(intent, Outcome::Cancelled, card).in_private() }
}

/// What changes nothing, and says the same when it is asked twice.
fn may_be_repeated(command: &Command) -> bool {
    const TELLING: [&str; 7] = ["help", "whoami", "can-i", "services", "version", "pending", "runbooks"];
    match &command.kind {
        Kind::Diagnostic(_) => true,
        Kind::BuiltIn => TELLING.contains(&command.name.as_str()),
        Kind::Remediation(_) | Kind::Runbook(_) => false,
    }
}

/// Which service and instance an intent is about, or the card that asks.
pub(super) fn target<'a>(asked: &Asked<'a>, intent: &Intent) -> Result<(&'a Arc<Service>, &'a Instance), Box<Card>> {
    let services = &asked.rules.services;
    let name = intent
        .service
        .as_ref()
        .or_else(|| asked.rules.policy.default_service(asked.place))
        .or_else(|| (services.len() == 1).then(|| services.keys().next()).flatten());
    let Some(service) = name.and_then(|name| services.get(name)) else {
        // Those this person may ask, where there are any: a button that only refuses would disappoint.
        let may =
            |service: &&Arc<Service>| asked.rules.policy.may(asked.actor, &intent.command, Some(service), asked.place);
        let mut names: Vec<String> = services.values().filter(may).map(|service| service.name.to_string()).collect();
        if names.is_empty() {
            names = services.keys().map(ToString::to_string).collect();
        }
        return Err(Box::new(which_service_card(intent, names)));
    };
    let instance = service.instance(intent.instance.as_ref()).ok_or_else(|| {
        let names: Vec<&str> = service.instances.iter().map(|instance| instance.name.as_str()).collect();
        let wanted = intent.instance.as_ref().map_or("", |name| name.as_str());
        Box::new(plain_card(
            "which instance?",
            format!("{} has no instance `{wanted}`; it has {}.", service.name, names.join(", ")),
            Some(format!(
                "type `/redis {} {}/{}`",
                intent.command.name,
                service.name,
                names.first().unwrap_or(&"main")
            )),
        ))
    })?;
    Ok((service, instance))
}

/// Reading the bot's own files is bounded by their size alone: it is shown how far it is, and can be stopped.
const OWN_FILES: Duration = Duration::from_secs(12 * 3_600);

/// How long a diagnostic may take.
pub(super) fn longest(command: &Command, diagnostic: &Diagnostic, settings: &super::Settings) -> Duration {
    if diagnostic.reads_own_files() { OWN_FILES } else { command.deadline.min(settings.longest) }
}

async fn diagnose(
    hall: &Arc<Hall>,
    asked: &Asked<'_>,
    intent: &Intent,
    diagnostic: &Diagnostic,
    answer: &Answer,
) -> Ended {
    let command = &intent.command;
    let line = journal_line(intent);
    let (service, instance) = match target(asked, intent) {
        Ok(target) => target,
        Err(card) => return Ended::of(intent, Outcome::Misunderstood, *card).in_private(),
    };
    let reveal = matches!(intent.arguments.get("reveal"), Some(ArgumentValue::Switch(true)));
    let permit = match asked.decide(command, Some(service), reveal) {
        Verdict::Allow(permit) => permit,
        Verdict::Deny(refusal) => {
            return Ended::denied(intent, &refusal).on(service, instance);
        }
    };
    let settings = &asked.rules.settings;
    let whole = longest(command, diagnostic, settings);
    let looks_until = asked.since + (whole - TO_ANSWER.min(whole / 4));
    let held = match hall.limiter.instance(&service.name, &instance.name, command.cost, looks_until).await {
        Ok(held) => held,
        Err(busy) => return Ended::of(intent, Outcome::Limited, busy_card(&busy)).on(service, instance).in_private(),
    };
    let entered = hall.runs.enter(asked.run, asked.actor.person.clone(), &line);
    let (progress, watched) = tokio::sync::watch::channel(Progress {
        doing: "looking".to_owned(),
        done: 0,
        total: None,
        unit: "looks".to_owned(),
        rate: None,
        left_s: None,
    });
    let (partial, first_answer) = tokio::sync::watch::channel(None);
    let (known, far) = (first_answer.clone(), watched.clone());
    let looking = Looking {
        deadline: looks_until.into_std(),
        call: command.call_deadline.min(settings.longest_call),
        stop: entered.stop.clone(),
        progress: Some(progress),
        partial: Some(partial),
    };
    let scene = gather::Scene { hall, asked, intent, service, instance, permit: &permit, looking: &looking };
    let audience =
        if command.private || permit.reveal() { Audience::Only(asked.actor.identity.clone()) } else { Audience::All };
    let rendered = {
        let showing = answer.show_progress(hall, command, &scene, watched, first_answer, &audience);
        let gathering = scene.gather(diagnostic);
        tokio::pin!(showing, gathering);
        tokio::select! {
            biased;
            evidence = &mut gathering => evidence.map(|evidence| {
                let mut rendered = scene.render(&evidence);
                if is_cut_off(diagnostic, &evidence) {
                    keep_first(&mut rendered.card, &scene, command, &known, &far);
                }
                rendered
            }),
            never = &mut showing => match never {},
        }
    };
    drop(held);
    let (mut rendered, outcome) = match (rendered, entered.why()) {
        (_, Some(why)) => {
            let mut card = cancelled_card(intent, asked.run, &why);
            keep_first(&mut card, &scene, command, &known, &far);
            return Ended {
                why: Some(why.to_string()),
                ..Ended::of(intent, Outcome::Cancelled, card).on(service, instance)
            };
        }
        (Ok(rendered), None) => (rendered, Outcome::Answered),
        (Err(explained), None) => {
            let card = explained_card(&command.name, service, &explained);
            return Ended::of(intent, Outcome::Misunderstood, card).on(service, instance).in_private();
        }
    };
    if !rendered.figures.is_empty() {
        scene.remember(&rendered).await;
    }
    rendered.card.actions.retain(|action| {
        // A button for something this person may not run would only disappoint.
        let name = action.command.split_whitespace().next().unwrap_or_default();
        asked
            .rules
            .catalogue
            .find(name)
            .is_some_and(|command| asked.rules.policy.may(asked.actor, command, Some(service), asked.place))
    });
    let private = audience != Audience::All;
    // What was revealed to one person now is not put down for later.
    if !permit.reveal() {
        results::keep(hall, asked, (command, &service.name, &instance.name), &mut rendered, private).await;
    }
    Ended {
        private,
        level: Some(rendered.level),
        revealed: permit.reveal(),
        ..Ended::of(intent, outcome, rendered.card).on(service, instance)
    }
}

/// Whether a survey was begun and did not come to its end.
fn is_cut_off(diagnostic: &Diagnostic, evidence: &Evidence) -> bool {
    let surveys = diagnostic.steps.iter().filter(|step| matches!(step.look, Look::Keyspace { .. }));
    let mut seen = surveys.filter_map(|step| evidence.observations.get(&step.id));
    seen.any(|observation| observation.merged.is_err())
}

/// What had been shown of an answer stays where its rest does not come; and how to come by the rest.
fn keep_first(
    card: &mut Card,
    scene: &gather::Scene<'_>,
    command: &Command,
    known: &watch::Receiver<Option<serde_json::Value>>,
    far: &watch::Receiver<Progress>,
) {
    let (known, far) = (known.borrow().clone(), far.borrow().clone());
    if far.doing == COUNTING && far.done > 0 {
        card.blocks.push(Block::Text(Text::notation(
            "*Next:* type it again within 15 minutes: it goes on from there, unless the server was started anew meanwhile",
        )));
    }
    if let Some(first) = known.and_then(|value| scene.first_answer(command, value, &[])) {
        let said = first.verdict.as_ref().map(Text::to_plain).unwrap_or_default();
        card.blocks.push(Block::Text(Text::plain(format!("Known by then, from a sample: {said}"))));
        card.blocks.extend(first.blocks);
    }
}

/// The name limits go by: a person is one however many accounts they have.
pub(super) fn who(actor: &Actor) -> String {
    actor.person.as_ref().map_or_else(|| actor.identity.to_string(), ToString::to_string)
}

/// The line the journal keeps: keys by their handle, free text left out.
pub(super) fn journal_line(intent: &Intent) -> String {
    let mut hidden = intent.clone();
    for spec in &intent.command.arguments {
        if let Some(ArgumentValue::Text(text)) = hidden.arguments.get_mut(&spec.name) {
            match spec.kind {
                ArgumentKind::Key => *text = diagnosis::redact::key(text),
                ArgumentKind::Text(_) | ArgumentKind::Where => *text = diagnosis::redact::line(text),
                _ => {}
            }
        }
    }
    hidden.to_line()
}

/// A card of one sentence and what to do next.
pub(super) fn plain_card(title: &str, what: impl AsRef<str>, next: Option<String>) -> Card {
    Card {
        title: title.to_owned(),
        verdict: Some(Text::notation(what.as_ref())),
        blocks: next.map(|next| Block::Text(Text::notation(&format!("*Next:* {next}")))).into_iter().collect(),
        ..Card::default()
    }
}

/// The same line, about that service.
fn intent_on(intent: &Intent, service: &str) -> String {
    Intent { service: service.parse().ok(), ..intent.clone() }.to_line()
}

fn which_service_card(intent: &Intent, names: Vec<String>) -> Card {
    let command = &intent.command.name;
    if names.is_empty() {
        return plain_card(
            "no services",
            "no service is configured, so there is nothing to look at.",
            Some("add `services/NAME.toml` to the configuration and run `/redis reload`".to_owned()),
        );
    }
    let said = match names.len().checked_sub(NAMED).filter(|rest| *rest > 0) {
        Some(rest) => format!("{} and {rest} more", names[..NAMED].join(", ")),
        None => names.join(", "),
    };
    let mut card = plain_card(
        "which service?",
        format!("`{command}` needs a service, and this place has no default one. There are: {said}."),
        Some(format!("type `/redis {command} {}`, or choose one of these", names[0])),
    );
    // A few are buttons; many are a menu.
    let style = if names.len() > BUTTONS { ActionStyle::Choice } else { ActionStyle::Plain };
    card.actions =
        names.into_iter().map(|name| Action { command: intent_on(intent, &name), label: name, style }).collect();
    card
}

pub(super) fn busy_card(busy: &Busy) -> Card {
    let whose = if busy.whose == "you" && busy.retry.is_some() {
        "You have asked as much as one person may in a minute.".to_owned()
    } else if busy.whose == "you" {
        "You have as many commands running as one person may.".to_owned()
    } else {
        let (all, others) = match busy.cost {
            Some(cost) => (
                format!(
                    "for as many {0} commands as it may be in a minute; others than {0} ones still run",
                    cost.word()
                ),
                format!("other {} commands", cost.word()),
            ),
            None => ("as much as it may be in a minute".to_owned(), "other commands".to_owned()),
        };
        match busy.retry {
            Some(_) => format!("{} has been asked {all}.", busy.whose),
            None => format!("{} was busy with {others} until this one's time was up.", busy.whose),
        }
    };
    let next = match busy.retry {
        Some(wait) => format!("ask again in {} s", wait.as_secs_f64().ceil().max(1.0)),
        None => "ask again in a moment; `/redis cancel` lists what is running".to_owned(),
    };
    plain_card("not now", format!("{whose} Nothing was run."), Some(next))
}

/// The answer where handling an event failed in a way nobody foresaw.
pub(super) fn broken_card() -> Card {
    Card {
        level: Some(Level::Unknown),
        ..plain_card(
            "this bot has a defect",
            "Something inside the bot broke while it worked on your command. Looks change nothing.",
            Some("ask for something narrower; the bot's log says what broke".to_owned()),
        )
    }
}

fn barred_card(why: &str) -> Card {
    Card {
        title: "refused".to_owned(),
        level: Some(Level::Note),
        verdict: Some(Text::plain(format!("I take no commands from this account: {why}."))),
        blocks: vec![Block::Text(Text::plain("Next: ask somebody on call, or use your own full account."))],
        ..Card::default()
    }
}

fn too_late_card(intent: &Intent) -> Card {
    plain_card(
        &format!("{} · not run", intent.command.name),
        "I was away before I came to this, and that is a while ago: it was not run.",
        Some("ask again if it is still wanted".to_owned()),
    )
}

fn cut_off_card(intent: &Intent) -> Card {
    plain_card(
        &format!("{} · cut off", intent.command.name),
        "I was stopped in the middle of this and do not repeat it: how far it came stands below.",
        Some(
            "`/redis pending` lists the plans that wait, `/redis runbooks` what is under way; \
             what is in neither was not begun, or has told its end in its own message"
                .to_owned(),
        ),
    )
}

fn stopping_card() -> Card {
    plain_card(
        "the bot is stopping",
        "I am being stopped and take no new commands; this one was not run.",
        Some("ask again in a minute".to_owned()),
    )
}

fn cancelled_card(intent: &Intent, run: &RunId, why: &Why) -> Card {
    let command = &intent.command.name;
    match why {
        Why::By(who) => Card {
            title: format!("{command} · cancelled"),
            verdict: Some(Text::plain(format!("{who} cancelled it. Looks change nothing, so nothing is left behind."))),
            footer: Some(format!("run {run}")),
            ..Card::default()
        },
        Why::Stopping | Why::Frozen(_) => Card {
            title: format!("{command} · cut short"),
            verdict: Some(Text::plain("The bot was stopped before this was answered. Nothing was changed.")),
            blocks: vec![Block::Text(Text::notation("*Next:* ask again in a minute"))],
            footer: Some(format!("run {run}")),
            ..Card::default()
        },
    }
}

/// A card that says one explained error.
pub(super) fn explained_card(title: &str, service: &Service, explained: &diagnosis::Explained) -> Card {
    Card {
        title: format!("{title} · {}", service.name),
        level: Some(Level::Unknown),
        verdict: Some(Text::plain(explained.what.clone())),
        context: vec![service.environment.to_string()],
        blocks: vec![Block::Findings(vec![Finding {
            level: Level::Unknown,
            what: Text::plain(explained.cause.clone()),
            evidence: None,
            next: Some(Text::plain(explained.next.clone())),
        }])],
        ..Card::default()
    }
}

/// A label and a value that nothing judges.
pub(super) fn field(label: &str, value: impl Into<String>) -> Field {
    Field { label: label.to_owned(), value: value.into(), level: None, hint: None }
}
