//! Reading a long answer on: from what was kept of it, under the reader's own rights.

use std::sync::Arc;

use super::{
    Hall,
    command::{Asked, Ended, plain_card},
    deliver::Answer,
};
use crate::{
    chat::Audience,
    model::{Card, InstanceName, RunId, ServiceName},
    policy::Verdict,
    runbook::{ArgumentValue, Command, Intent, LONG_ANSWER_VERSION, LongAnswer, Rendered},
    store::{Attachment, Outcome},
};

/// Keeps what does not fit the card, and gives the card buttons to read on.
/// An answer that cannot be kept goes out all the same, without them.
pub(super) async fn keep(
    hall: &Hall,
    asked: &Asked<'_>,
    (command, service, instance): (&Command, &ServiceName, &InstanceName),
    rendered: &mut Rendered,
    private: bool,
) {
    if rendered.long.is_empty() && rendered.tree.is_empty() {
        return;
    }
    let answer = LongAnswer {
        version: LONG_ANSWER_VERSION,
        run: asked.run.clone(),
        command: command.name.clone(),
        service: service.clone(),
        instance: instance.clone(),
        at_ms: jiff::Timestamp::now().as_millisecond(),
        reader: asked.actor.person.clone().filter(|_| private),
        card: rendered.card.clone(),
        parts: std::mem::take(&mut rendered.long),
        tree: std::mem::take(&mut rendered.tree),
    };
    match hall.store.result_keep(&answer).await {
        Ok(true) => rendered.card = answer.first(),
        Ok(false) => tracing::warn!(run = %asked.run, "a long answer is too large to be kept"),
        Err(error) => tracing::warn!(%error, run = %asked.run, "a long answer was not kept"),
    }
}

/// A page, a filtered page, or everything as a file.
pub(super) async fn page(hall: &Arc<Hall>, asked: &Asked<'_>, intent: &Intent) -> Ended {
    let kept = match kept(hall, asked, intent).await {
        Ok(kept) => kept,
        Err(refused) => return *refused,
    };
    let number = match intent.arguments.get("number") {
        Some(ArgumentValue::Integer(number)) => usize::try_from(*number).unwrap_or(1),
        _ => 1,
    };
    if matches!(intent.arguments.get("file"), Some(ArgumentValue::Switch(true))) {
        return as_file(hall, asked, intent, &kept).await;
    }
    let card = match intent.arguments.get("filter") {
        Some(ArgumentValue::Text(wanted)) => kept.answer.filtered(wanted, number),
        _ => kept.answer.page(number),
    };
    kept.ended(intent, card)
}

/// What lies below a prefix of a survey that was made.
pub(super) async fn open(hall: &Arc<Hall>, asked: &Asked<'_>, intent: &Intent) -> Ended {
    let kept = match kept(hall, asked, intent).await {
        Ok(kept) => kept,
        Err(refused) => return *refused,
    };
    let prefix = match intent.arguments.get("prefix") {
        Some(ArgumentValue::Text(prefix)) => prefix.as_str(),
        _ => "*",
    };
    let (run, service) = (&kept.answer.run, &kept.place);
    if let Some(card) = kept.answer.open(prefix) {
        return kept.ended(intent, card);
    }
    let (what, next) = match kept.answer.tree.is_empty() {
        true => (
            format!("the answer of run `{run}` is no survey by prefix, so there is nothing to open in it."),
            format!("type `/redis memkeys {service}` for one"),
        ),
        false => (
            format!(
                "the survey of run `{run}` tells no prefix `{prefix}` apart: it is too small, or written otherwise."
            ),
            format!("type `/redis memkeys {prefix} {service}` to count below it anew"),
        ),
    };
    Ended::of(intent, Outcome::Misunderstood, plain_card("no such prefix", what, Some(next))).in_private()
}

async fn as_file(hall: &Arc<Hall>, asked: &Asked<'_>, intent: &Intent, kept: &Kept) -> Ended {
    let Some(gateway) = hall.gateway(asked.place.platform).cloned() else {
        return Ended::of(intent, Outcome::Failed, plain_card("no file", "this platform takes none.", None))
            .in_private();
    };
    let name = kept.answer.file_name();
    let file = Attachment::Text { name: name.clone(), text: kept.answer.to_text() };
    let audience = if kept.private { Audience::Only(asked.actor.identity.clone()) } else { Audience::All };
    let answer = Answer::new(gateway, asked.place, asked.run, None);
    let (card, outcome) = match answer.attach(hall, file, &audience).await {
        Ok(()) => {
            (plain_card("as a file", format!("Everything that was kept is in `{name}`."), None), Outcome::Answered)
        }
        Err(why) => {
            let what = format!("the file cannot be attached here: {why}");
            let next =
                format!("invite the bot to this channel, or type `/redis page {} --file` to it alone", kept.answer.run);
            (plain_card("no file", what, Some(next)), Outcome::Failed)
        }
    };
    Ended::of(intent, outcome, card).in_private()
}

/// A long answer this person may read on.
struct Kept {
    answer: LongAnswer,
    /// What it is about, as a line names it.
    place: String,
    /// They alone see what is said of it.
    private: bool,
}

impl Kept {
    fn ended(&self, intent: &Intent, card: Card) -> Ended {
        Ended { private: self.private, in_place: true, ..Ended::of(intent, Outcome::Answered, card) }
    }
}

/// The answer of the run an intent names, or the refusal that says why not.
async fn kept(hall: &Arc<Hall>, asked: &Asked<'_>, intent: &Intent) -> Result<Kept, Box<Ended>> {
    let refused = |outcome, card: Card| Box::new(Ended::of(intent, outcome, card).in_private());
    let typed = match intent.arguments.get("run") {
        Some(ArgumentValue::Text(text)) => text.as_str(),
        _ => "",
    };
    let Some(run) = RunId::parse(typed) else {
        let what =
            format!("`{typed}` is not a run's id; an id has eight letters and digits and stands under every card.");
        return Err(refused(Outcome::Misunderstood, plain_card("which run?", what, None)));
    };
    let answer = match hall.store.result(&run, jiff::Timestamp::now()).await {
        Ok(Some(answer)) => answer,
        Ok(None) => {
            let kept = crate::model::show_duration(hall.store.keeps_results());
            let what = format!(
                "of run `{run}` nothing is kept to be read on. Long answers are kept for {kept}, as long as there is room; \
                 short ones, and values shown to one person, are not kept."
            );
            let next = Some("ask again: the answer is then read on from there".to_owned());
            return Err(refused(Outcome::Misunderstood, plain_card("not kept", what, next)));
        }
        Err(error) => {
            tracing::warn!(%error, %run, "a long answer could not be read");
            let what = "the bot cannot read its store just now, so there is nothing to read on from.";
            let next = Some("ask again; `/redis doctor --bot` says what is wrong with the bot".to_owned());
            return Err(refused(Outcome::Failed, plain_card("not now", what, next)));
        }
    };
    let command = asked.rules.catalogue.find(&answer.command);
    let service = asked.rules.services.get(&answer.service);
    let (Some(command), Some(service)) = (command, service) else {
        let what = format!(
            "`{}` of {} is no longer configured, and what it answered is nobody's to read.",
            answer.command, answer.service
        );
        return Err(refused(Outcome::Denied, plain_card("not kept", what, None)));
    };
    if let Verdict::Deny(refusal) = asked.decide(command, Some(service), false) {
        return Err(Box::new(Ended::denied(intent, &refusal)));
    }
    let place = service.named(&answer.instance);
    if answer.reader.is_some() && answer.reader != asked.actor.person {
        let what = format!("the answer of run `{run}` was for one person alone, who is not you.");
        let next = Some(format!("ask yourself: `/redis {} {place}`", answer.command));
        let ended = Ended::of(intent, Outcome::Denied, plain_card("not yours", what, next)).in_private();
        return Err(Box::new(Ended { why: Some("reader".to_owned()), ..ended }));
    }
    Ok(Kept { private: answer.reader.is_some(), answer, place })
}
