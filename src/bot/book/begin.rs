//! Beginning a runbook.

use std::sync::Arc;

use super::{rehearse, tell};
use crate::{
    bot::{
        Hall,
        command::{Asked, Ended, journal_line, plain_card, target},
        deliver::Answer,
    },
    policy::Verdict,
    runbook::{ArgumentValue, Book, BookRun, BookStart, Intent},
    store::{BookRow, Outcome},
};

/// Begins a runbook, or shows its steps.
pub(in crate::bot) async fn begin(
    hall: &Arc<Hall>,
    asked: &Asked<'_>,
    intent: &Intent,
    book: &Book,
    answer: &Answer,
) -> Ended {
    let (service, instance) = match target(asked, intent) {
        Ok(target) => target,
        Err(card) => return Ended::of(intent, Outcome::Misunderstood, *card).in_private(),
    };
    let end = |outcome, card| Ended::of(intent, outcome, card).on(service, instance);
    let now = jiff::Timestamp::now();
    let permit = match asked.decide(&intent.command, Some(service), false) {
        Verdict::Allow(permit) => permit,
        Verdict::Deny(refusal) => return Ended::denied(intent, &refusal).on(service, instance),
    };
    let run = BookRun::begin(BookStart {
        run: asked.run.clone(),
        command: &intent.command.name,
        book,
        line: journal_line(intent),
        service,
        instance: instance.name.clone(),
        place: asked.place.clone(),
        requester: permit.person().clone(),
        asker: asked.actor.identity.clone(),
        arguments: &intent.arguments,
        begun_ms: now.as_millisecond(),
    });
    let card = tell::card(asked.rules, &run);
    if matches!(intent.arguments.get("dry_run"), Some(ArgumentValue::Switch(true))) {
        let card = rehearse::card(hall, asked.rules, &run, service, card).await;
        return end(Outcome::Answered, card);
    }
    // The same steps twice at once would undo one another.
    for desk in hall.books.all() {
        let other = desk.run().await;
        let same = (&other.command, &other.service, &other.instance) == (&run.command, &run.service, &run.instance);
        if same && !other.is_over() {
            let what = format!("`{}` is under way there already, as run {}.", run.command, other.run);
            let next = format!("see its card, or end it with `/redis abort {}`", other.run);
            return end(Outcome::Limited, plain_card("not begun", what, Some(next)));
        }
    }
    // Before anybody sees it, it is a row: a run nobody can write down does not begin.
    hall.books.claim(&run.run);
    if let Err(error) = hall.store.book_add(&run).await {
        let what = format!("The bot's store cannot be written ({error}), and what cannot be written down is not done.");
        return end(Outcome::Failed, plain_card("not begun", what, None));
    }
    let message = answer.show(card.clone()).await;
    let shown = match &message {
        Some(message) => hall.store.book_shown(&run.run, message).await.map_err(|error| error.to_string()),
        None => Err("its card could not be shown here".to_owned()),
    };
    if let Err(why) = shown {
        let mut run = run;
        run.lose(&why, now.as_millisecond());
        if let Err(error) = hall.store.book_close(&run, now.as_millisecond()).await {
            tracing::warn!(%error, run = %run.run, "a runbook that was not begun could not be closed");
        }
        return end(Outcome::Failed, plain_card("not begun", format!("Nothing was done: {why}."), None));
    }
    hall.books.start(BookRow { run, message, closed: false }).await;
    Ended { shown: true, ..end(Outcome::Answered, card) }
}
