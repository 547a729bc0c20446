//! How a run is told: one card, edited as it goes and no faster than the
//! platform likes; a word to whoever it waits for; and its end, which is owed.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle};

use super::{Desk, now_ms};
use crate::{
    bot::{Hall, Rules, deliver},
    model::{Block, Card, PersonId, Place, Span, Text},
    runbook::{BookRun, Next, StepState, book_card},
    store::{Entry, Outcome, OwedWhat},
};

/// A run that took longer is not only edited but said to have ended: by then nobody looks at its card.
const QUIET_MS: i64 = 30_000;

/// The card of a run now.
pub(super) fn card(rules: &Rules, run: &BookRun) -> Card {
    let name = |person: &PersonId| rules.policy.name_of(person).to_owned();
    let mut card = book_card(run, &name);
    if let Some(service) = rules.services.get(&run.service) {
        card.context = vec![service.environment.to_string(), format!("{}/{}", run.service, run.instance)];
    }
    card
}

/// Keeps one message up to date.
pub(super) struct Teller {
    latest: watch::Sender<Option<(Card, bool)>>,
    painter: JoinHandle<()>,
}

impl Teller {
    pub(super) fn start(hall: &Arc<Hall>, desk: &Arc<Desk>) -> Self {
        let (latest, cards) = watch::channel(None);
        let painter = tokio::spawn(paint(hall.clone(), desk.clone(), cards));
        Self { latest, painter }
    }

    /// Shows where the run stands. What people have to act on is delivered for certain.
    pub(super) fn show(&self, rules: &Rules, run: &BookRun, next: &Next) {
        let sure = matches!(next, Next::People | Next::Touch { .. } | Next::Ask { .. } | Next::Revert { .. });
        if !matches!(next, Next::Ended) {
            self.latest.send_replace(Some((card(rules, run), sure)));
        }
    }

    /// The end: on the card, said where it took long, journalled, and only then off the list.
    pub(super) async fn finish(self, hall: &Hall, rules: &Rules, run: &BookRun) {
        let whole = card(rules, run);
        self.latest.send_replace(Some((whole.clone(), true)));
        self.end().await;
        if run.ended_ms.unwrap_or(run.begun_ms) - run.begun_ms > QUIET_MS {
            let footer = Some(format!("run {}", run.run));
            let mut said = Card { title: format!("{} · ended", whole.title), footer, ..whole.clone() };
            said.blocks.retain(|block| matches!(block, Block::Text(_)));
            say(hall, run, &format!("book-{}-end", run.run), said).await;
        }
        let entry = Entry {
            at: jiff::Timestamp::now(),
            run: run.run.clone(),
            identity: run.asker.clone(),
            person: Some(run.requester.clone()),
            place: run.place.clone(),
            line: run.line.clone(),
            command: "runbook-end".to_owned(),
            service: Some(run.service.clone()),
            instance: Some(run.instance.clone()),
            outcome: Outcome::Answered,
            why: whole.verdict.as_ref().map(Text::to_plain),
            level: whole.level,
            took: Duration::from_millis(u64::try_from(now_ms() - run.begun_ms).unwrap_or(0)),
            reveal: false,
        };
        for written in [hall.store.record_synced(entry).await, hall.store.book_close(run, now_ms()).await] {
            if let Err(error) = written {
                tracing::warn!(%error, run = %run.run, "the end of a runbook could not be written; it is told again");
            }
        }
    }

    /// Waits until the last card was handed over.
    pub(super) async fn end(self) {
        drop(self.latest);
        if self.painter.await.is_err() {
            tracing::error!("showing a runbook panicked");
        }
    }
}

async fn paint(hall: Arc<Hall>, desk: Arc<Desk>, mut cards: watch::Receiver<Option<(Card, bool)>>) {
    let Some(message) = &desk.message else { return };
    let Some(gateway) = hall.gateway(message.place.platform).cloned() else { return };
    let pace = gateway.edit_pace();
    while cards.changed().await.is_ok() {
        let Some((card, sure)) = cards.borrow_and_update().clone() else { continue };
        if sure {
            let what = OwedWhat::Edit { message: message.clone(), card };
            deliver::deliver(&hall, &*gateway, &format!("book-{}", desk.run), what).await;
        } else if let Err(error) = gateway.progress(message, &card).await {
            // The next one replaces it.
            tracing::debug!(%error, run = %desk.run, "a runbook's card was not taken");
        }
        tokio::time::sleep(pace).await;
    }
}

/// Says once that a step waits for a person: an edit rings nobody's bell.
pub(super) async fn ask(hall: &Hall, run: &BookRun, asked: &mut String) {
    let Some(step) = run.waits_for_a_person() else { return };
    let at = &run.progress[step];
    let key = format!("book-{}-{step}-{}", run.run, at.looks);
    if *asked == key {
        return;
    }
    let what = match at.state {
        StepState::Held => "failed and waits for somebody to deal with it",
        _ => "waits for somebody to do it, and tick it",
    };
    let mut card = Card {
        title: format!("{} · {}", run.command, run.service),
        verdict: Some(Text(vec![
            Span::Mention(run.requester.clone()),
            Span::Plain(format!(": step {} ({}) {what}.", step + 1, at.title)),
        ])),
        footer: Some(format!("run {}", run.run)),
        ..Card::default()
    };
    let whole = book_card(run, &ToString::to_string);
    card.blocks.extend(whole.blocks.into_iter().filter(|block| matches!(block, Block::Code(_))));
    card.actions = whole.actions;
    say(hall, run, &key, card).await;
    *asked = key;
}

async fn say(hall: &Hall, run: &BookRun, key: &str, card: Card) {
    let place = Place { via: None, ..run.place.clone() };
    let Some(gateway) = hall.gateway(place.platform) else { return };
    deliver::deliver(hall, &**gateway, key, OwedWhat::Say { place, card, only: None }).await;
}
