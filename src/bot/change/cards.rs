//! What people read of a change: its plan, how far it is, how it ended.

use jiff::Timestamp;

use super::{NO, YES, plan};
use crate::{
    bot::{
        Rules,
        command::{field, plain_card},
    },
    model::{
        Action, ActionStyle, Block, Card, Field, Finding, Level, PersonId, Place, Progress, Service, Span, Text, Tick,
        show_duration,
    },
    runbook::{Change, Command, Keys, Plan, Reach, Risk, Select, Undo, show_bytes, show_count},
    store::StoreError,
};

/// Whether somebody can say yes to a plan that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// It waits for consent, or is carried out at once where none is needed.
    ToBeDone,
    /// It is shown and no more.
    DryRun,
}

/// The plan, before anything is changed.
pub(super) fn plan(
    rules: &Rules,
    command: &Command,
    plan: &Plan,
    service: &Service,
    place: &Place,
    context: Vec<String>,
    shown: Shown,
) -> Card {
    let dry = shown == Shown::DryRun;
    let mut fields: Vec<Field> = plan.facts.iter().map(|(label, value)| field(label, value.clone())).collect();
    fields.push(field(if plan.targets.len() == 1 { "Server" } else { "Servers" }, servers(plan)));
    fields.extend(reach(&plan.reach));
    if let Some(ms) = plan.lasts_ms {
        let length = show_duration(std::time::Duration::from_millis(ms.unsigned_abs()));
        fields.push(field("Takes itself back", format!("{length} after it was done, also when the bot restarts")));
    }
    if let Some(watch) = &plan.rolls_back {
        fields
            .push(field("Taken back by itself", format!("when {watch} does not hold; nobody is asked again for that")));
    }
    fields.push(field("Risk", plan.risk.word()));
    let mut actions = Vec::new();
    if plan.risk > Risk::Low {
        let [who, until] = who_and_until(rules, command, plan, service, place);
        fields.push(who);
        if !dry {
            fields.push(until);
            actions = taps(plan);
        }
    }
    actions.extend(instead(rules, plan, service));
    actions.extend(copy_first(rules, plan));
    let mut blocks = vec![Block::Fields(fields)];
    match plan.risk {
        _ if dry => {}
        Risk::Low => blocks.push(Block::Text(Text::plain("Nobody has to consent to it: it is carried out at once."))),
        _ => blocks.extend(asking(rules, command, plan, service, place, "Consent is asked of")),
    }
    if !plan.warnings.is_empty() {
        let warn = |warning: &String| Finding {
            level: Level::Warn,
            what: Text::plain(warning.clone()),
            evidence: None,
            next: None,
        };
        blocks.push(Block::Findings(plan.warnings.iter().map(warn).collect()));
    }
    blocks.push(Block::Checklist(steps(plan)));
    blocks.push(Block::Text(match &plan.undo {
        Undo::By(how) if dry => Text::notation(&format!(
            "*Undo:* `/redis undo` and the run's id, with a plan and consent of its own: {how}"
        )),
        Undo::By(how) => {
            Text::notation(&format!("*Undo:* `/redis undo {}`, with a plan and consent of its own: {how}", plan.run))
        }
        Undo::Never(why) => not_possible(why),
    }));
    Card {
        title: format!("plan · {} · {}", plan.command, plan.service),
        level: Some(Level::Note),
        verdict: Some(Text::plain(format!("Nothing has been changed yet. The plan: {}.", plan.what()))),
        context,
        blocks,
        actions,
        footer: Some(format!("run {} · plan {}", plan.run, &plan.digest()[..12])),
    }
}

fn not_possible(why: &str) -> Text {
    Text::notation(&format!("*Undo:* not possible: {why}"))
}

/// Who is called to give their word, what they type to a critical plan, and that it cannot come to it where they are too few.
fn asking(rules: &Rules, command: &Command, plan: &Plan, service: &Service, place: &Place, before: &str) -> Vec<Block> {
    let able = rules.policy.consenters(plan, command, service, place);
    let called = rules.policy.called(&able, plan, false);
    let mut blocks = vec![Block::Text(calling(rules, place, before, &called))];
    if able.len() < plan.risk.consents() {
        let who = rules.policy.who_consents(plan, command, service, place);
        let lacking = match (plan.risk.consents(), able.len()) {
            (1, _) => "As things are it can never be carried out: it takes somebody else's word.".to_owned(),
            (needs, 0) => format!("As things are it can never be carried out: it takes the word of {needs} others."),
            (needs, _) => {
                format!(
                    "As things are it can never be carried out: it takes the word of {needs} others, and there is only {who}."
                )
            }
        };
        let next = "Whoever keeps policy.toml can let more people approve it (`approves`), and `/redis reload`.";
        blocks.push(Block::Findings(vec![Finding {
            level: Level::Warn,
            what: Text::plain(lacking),
            evidence: None,
            next: Some(Text::notation(next)),
        }]));
    }
    if plan.risk >= Risk::Critical {
        blocks.push(Block::Text(Text::notation(&how_to_consent(plan))));
    }
    blocks
}

/// The signs to tap that mean something under a plan: to a critical one a yes is typed.
pub(super) fn signs(plan: &Plan) -> &'static [&'static str] {
    if plan.risk >= Risk::Critical { &[NO] } else { &[YES, NO] }
}

fn who_and_until(rules: &Rules, command: &Command, plan: &Plan, service: &Service, place: &Place) -> [Field; 2] {
    let who = rules.policy.who_consents(plan, command, service, place);
    let needs = match plan.risk.consents() {
        1 => who,
        several => format!("{several} of: {who}"),
    };
    [field("Who may consent", needs), field("Waits until", until(plan))]
}

fn taps(plan: &Plan) -> Vec<Action> {
    let mut actions = Vec::new();
    if plan.risk < Risk::Critical {
        actions.push(Action {
            label: format!("{YES} Consent"),
            command: format!("approve {}", plan.run),
            style: ActionStyle::Danger,
        });
    }
    actions.push(Action {
        label: format!("{NO} Decline"),
        command: format!("decline {}", plan.run),
        style: ActionStyle::Plain,
    });
    actions
}

/// The question of a runbook's step, and the changes that a yes covers.
pub(super) fn asks(rules: &Rules, command: &Command, plan: &Plan, service: &Service, place: &Place) -> Card {
    let asks = plan.asks.as_deref();
    let mut fields = vec![field("Risk", plan.risk.word())];
    fields.extend(who_and_until(rules, command, plan, service, place));
    let mut blocks = vec![Block::Fields(fields)];
    blocks.extend(asking(rules, command, plan, service, place, "Asked for their word:"));
    let covers = asks.map_or(&[][..], |asks| &asks.covers);
    if !covers.is_empty() {
        blocks.push(Block::Heading("A yes covers".to_owned()));
    }
    for covered in covers {
        let Plan { risk, reach: extent, undo, .. } = &covered.plan;
        let mut lines = vec![(
            Tick::Open,
            Text::plain(format!("step {}: {} · {}", covered.step + 1, covered.plan.what(), risk.word())),
        )];
        let counts = reach(extent).into_iter().skip(1).map(|field| format!("{}: {}", field.label, field.value));
        lines.extend(counts.map(|count| (Tick::Open, Text::plain(count))));
        if let Undo::Never(why) = undo {
            lines.push((Tick::Open, Text::plain(format!("cannot be taken back: {why}"))));
        }
        blocks.push(Block::Checklist(lines));
    }
    let rest = "Changes whose values are not known yet, or that come to something else by then, ask again.";
    blocks.push(Block::Text(Text::plain(rest)));
    let (step, title) = asks.map_or((0, ""), |asks| (asks.step + 1, asks.title.as_str()));
    let asker = rules.policy.name_of(&plan.requester);
    Card {
        title: format!("your word · {} · {}", plan.command, plan.service),
        level: Some(Level::Note),
        verdict: Some(Text::plain(format!(
            "{asker} began {}; step {step} ({title}) waits for somebody else's word.",
            plan.command
        ))),
        blocks,
        actions: taps(plan),
        footer: Some(format!("run {} · of {}", plan.run, asks.map_or_else(String::new, |asks| asks.run.to_string()))),
        ..Card::default()
    }
}

/// Which keys a plan removes, where it removes some.
fn removed(plan: &Plan) -> Option<&Select> {
    plan.steps.iter().find_map(|step| match &step.change {
        Change::RemoveKeys { select, .. } => Some(select),
        _ => None,
    })
}

/// The button that does what is safer: keys that lack the TTL the profile declares get it, and stay.
fn instead(rules: &Rules, plan: &Plan, service: &Service) -> Option<Action> {
    let command = rules.catalogue.find("expire")?;
    let select = removed(plan).filter(|select| select.no_ttl && plan::declared(service, select).is_some())?;
    Some(Action {
        label: "Set the TTL instead".to_owned(),
        command: format!("{} {} {}/{}", command.name, select.to_words(), plan.service, plan.instance),
        style: ActionStyle::Primary,
    })
}

/// The buttons that keep a copy of what is about to go, for longer than its undo does.
fn copy_first(rules: &Rules, plan: &Plan) -> Vec<Action> {
    let Some(select) = removed(plan) else { return Vec::new() };
    let plain = |label: &str, command: String| Action { label: label.to_owned(), command, style: ActionStyle::Plain };
    let mut actions = Vec::new();
    if select.is_everything()
        && let Some(command) = rules.catalogue.find("backup")
    {
        actions.push(plain("Backup first", format!("{} {}/{}", command.name, plan.service, plan.instance)));
    }
    // To be copied is to be used: by idle time, nothing would be left to remove.
    let apart = matches!(select.keys, Keys::One(_)) || select.idle_s.is_some();
    if !apart && let Some(command) = rules.catalogue.find("export") {
        let line = format!("{} {} {}/{}", command.name, select.to_words(), plan.service, plan.instance);
        actions.push(plain("Export first", line));
    }
    actions
}

/// A line that calls people, each by their account where they have one, by their name where not.
pub(super) fn calling(rules: &Rules, place: &Place, before: &str, people: &[PersonId]) -> Text {
    // A longer line calls nobody any more.
    const MOST: usize = 10;
    let mut spans = vec![Span::Plain(format!("{before} "))];
    for (number, person) in people.iter().take(MOST).enumerate() {
        if number > 0 {
            spans.push(Span::Plain(", ".to_owned()));
        }
        spans.push(match rules.policy.is_told_in(person, place) {
            true => Span::Mention(person.clone()),
            false => Span::Plain(format!("{} (no account here: tell them)", rules.policy.name_of(person))),
        });
    }
    let rest = match people.len() {
        0 => "nobody: no rule lets anybody else consent.".to_owned(),
        all if all > MOST => format!(" and {} more.", all - MOST),
        _ => ".".to_owned(),
    };
    spans.push(Span::Plain(rest));
    Text(spans)
}

/// What to type to a critical plan.
pub(super) fn how_to_consent(plan: &Plan) -> String {
    let line = format!("/redis approve {} {}", plan.run, plan.service);
    format!("*Critical:* a {YES} alone does not count. Whoever consents types the service's name: `{line}`")
}

/// Every step as it will be sent; the same on several servers is said once.
fn steps(plan: &Plan) -> Vec<(Tick, Text)> {
    let mut lines: Vec<String> = Vec::new();
    for step in &plan.steps {
        for line in step.change.steps() {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines.into_iter().map(|line| (Tick::Open, Text::plain(line))).collect()
}

fn servers(plan: &Plan) -> String {
    let one = |target: &crate::runbook::PlanTarget| {
        let id: String = target.run_id.chars().take(8).collect();
        let followers = match (target.replicas, target.lag_bytes) {
            (0, _) => String::new(),
            (count, None) => format!(" · {}", show_count(count, "replica")),
            (count, Some(lag)) => format!(" · {}, {} behind", show_count(count, "replica"), show_bytes(lag)),
        };
        format!("{} · run {id}{followers}", target.address)
    };
    let shown: Vec<String> = plan.targets.iter().take(6).map(one).collect();
    let more = plan.targets.len().saturating_sub(6);
    if more > 0 { format!("{} and {more} more", shown.join("; ")) } else { shown.join("; ") }
}

fn reach(reach: &Reach) -> Vec<Field> {
    let how = match (reach.at_most, reach.exact) {
        (true, _) => "at most",
        (false, true) => "exact",
        (false, false) => "estimated from a sample",
    };
    let mut fields = vec![field("Reaches", format!("{} ({how})", reach.what))];
    let mut counts = Vec::new();
    counts.extend(reach.keys.map(|keys| show_count(keys, "key")));
    counts.extend(reach.bytes.map(show_bytes));
    counts.extend(reach.clients.map(|clients| show_count(clients, "client")));
    if !counts.is_empty() {
        let most = if reach.at_most { "at most " } else { "" };
        fields.push(field("How much", format!("{most}{}", counts.join(", "))));
    }
    // What goes by what was written down ends with it; of a single key there is never a second.
    if reach.tolerance_percent > 0 && !reach.at_most {
        let bounds = [(reach.most_keys(), reach.keys, "key"), (reach.most_clients(), reach.clients, "client")];
        for (most, shown, what) in bounds {
            fields.extend(most.zip(shown).map(|(most, shown)| {
                let how = format!("{}: what is shown and {}", show_count(most, what), reach.allowance(shown));
                field("Stops at", how)
            }));
        }
    }
    if !reach.sample.is_empty() {
        fields.push(field("For example", reach.sample.join(", ")));
    }
    fields
}

/// A moment of today, for people.
pub(super) fn until(plan: &Plan) -> String {
    clock(plan.expires_ms)
}

pub(super) fn clock(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| "unknown".to_owned(), |at| at.strftime("%H:%M:%S UTC").to_string())
}

/// While another change goes on before it.
pub(super) fn queued(plan: &Plan, doing: &str) -> Card {
    Card { title: format!("queued · {} · {}", plan.command, plan.service), ..running(plan, Vec::new(), None, doing) }
}

/// While it goes on.
pub(super) fn running(plan: &Plan, steps: Vec<(Tick, Text)>, progress: Option<Progress>, doing: &str) -> Card {
    let mut blocks = vec![Block::Checklist(steps)];
    blocks.extend(progress.map(Block::Progress));
    Card {
        title: format!("running · {} · {}", plan.command, plan.service),
        level: Some(Level::Note),
        verdict: Some(Text::plain(doing.to_owned())),
        blocks,
        actions: vec![Action {
            label: "Stop".to_owned(),
            command: format!("cancel {}", plan.run),
            style: ActionStyle::Danger,
        }],
        footer: Some(format!("run {}", plan.run)),
        ..Card::default()
    }
}

/// How it ended.
pub(super) fn end(plan: &Plan, level: Level, title: &str, what: &str, steps: Vec<(Tick, Text)>) -> Card {
    let mut fields = vec![field("Plan", plan.what()), field("Risk", plan.risk.word())];
    if !plan.targets.is_empty() {
        fields.insert(1, field(if plan.targets.len() == 1 { "Server" } else { "Servers" }, servers(plan)));
    }
    let mut blocks = vec![Block::Fields(fields)];
    let begun = steps.iter().any(|(tick, _)| *tick != Tick::Open);
    if !steps.is_empty() {
        blocks.push(Block::Checklist(steps));
    }
    if begun && let Undo::Never(why) = &plan.undo {
        blocks.push(Block::Text(not_possible(why)));
    }
    Card {
        title: format!("{title} · {} · {}", plan.command, plan.service),
        level: Some(level),
        verdict: Some(Text::plain(what.to_owned())),
        blocks,
        footer: Some(format!("run {}", plan.run)),
        ..Card::default()
    }
}

/// The button that takes a run back.
pub(super) fn undo(plan: &Plan) -> Option<Action> {
    let command = plan.undo_line()?;
    Some(Action { label: "Undo".to_owned(), command, style: ActionStyle::Danger })
}

/// The button that makes settings survive a restart of the server.
pub(super) fn make_it_last(rules: &Rules, plan: &Plan) -> Option<Action> {
    let made = |is: fn(&Change) -> bool| plan.steps.iter().any(|step| is(&step.change));
    let users = made(|change| matches!(change, Change::AddPassword { .. } | Change::DropOtherPasswords { .. }));
    let live = users || made(|change| matches!(change, Change::SetConfig { .. } | Change::SetRequirePass { .. }));
    // The plan found out where this server's users stand.
    let aclfile = users && plan.warnings.iter().any(|warning| warning.contains("acl-save"));
    let name = if aclfile { "acl-save" } else { "rewrite-config" };
    let command = rules.catalogue.find(name).filter(|_| live && plan.lasts_ms.is_none())?;
    Some(Action {
        label: "Make it last".to_owned(),
        command: format!("{} {}/{}", command.name, plan.service, plan.instance),
        style: ActionStyle::Plain,
    })
}

pub(super) fn unwritten(error: &StoreError) -> Card {
    plain_card(
        "nothing was changed",
        format!("The bot's store cannot be written ({error}), and what cannot be written down is not done."),
        Some("`/redis doctor --bot` says what is wrong with the store".to_owned()),
    )
}
