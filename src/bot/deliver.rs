//! How an answer reaches its place.
//!
//! A run has one message. While it goes on, that message shows progress, edited
//! no faster than the platform likes and never queued: an edit that comes too
//! soon is replaced by the next. At the end it holds the answer. An answer that
//! a platform does not take now is a row in the store until it does.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde_json::Value;
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};

use super::{Hall, gather::Scene};
use crate::{
    chart,
    chat::{Audience, Gateway, Kept, Undelivered},
    model::{Block, Card, Identity, MessageRef, Place, Progress, RunId, Text},
    runbook::{self, Command, Kind, Look},
    store::{Attachment, Due, Owed, OwedWhat, StoreError},
};

/// How often an answer is tried at once before it is put down as owed.
const TRIES: u32 = 3;
/// How long a rate limit may be waited for without putting the answer down first.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the owed rows are looked at when nothing nudges.
const OWED_PACE: Duration = Duration::from_secs(2);

/// How many owed rows of one channel are taken up at once.
const OWED_AT_ONCE: u32 = 100;

/// Said on a card whose reactions do not reach the bot.
const UNHEARD: &str = "I am not in this channel, so reactions do not reach me here: use the buttons, \
                       or invite me (/invite @rediscue) and ask again.";
/// A course of fewer points than this is told by its line of blocks well enough.
const CHART: usize = 8;

const WORKING: &str = "⏳";
const DONE: &str = "✅";
const FAILED: &str = "❌";

/// The answer to one event.
pub(super) struct Answer {
    gateway: Arc<dyn Gateway>,
    place: Place,
    key: String,
    /// The message of the person who asked, to react to.
    asked_in: Option<MessageRef>,
    /// The event it answers, where that is kept until it has been handled.
    event: Option<String>,
    /// An earlier process may have said it.
    again: bool,
    /// That one was about to say it to one person alone.
    said_in_private: bool,
    /// Our own message, once it has been said.
    said: Arc<Mutex<Option<(MessageRef, Audience)>>>,
}

impl Answer {
    pub(super) fn new(gateway: Arc<dyn Gateway>, place: &Place, run: &RunId, asked_in: Option<MessageRef>) -> Self {
        Self {
            gateway,
            place: place.clone(),
            key: format!("run-{run}"),
            asked_in,
            event: None,
            again: false,
            said_in_private: false,
            said: Arc::default(),
        }
    }

    /// The answer to an event that is kept until it has been handled.
    pub(super) fn of(self, event: Option<(String, Kept)>) -> Self {
        match event {
            Some((event, Kept::Left { said, .. })) => {
                Self { event: Some(event), again: true, said_in_private: said, ..self }
            }
            Some((event, Kept::Now)) => Self { event: Some(event), ..self },
            None => self,
        }
    }

    /// Shows that the question was seen, on the message it stands in.
    pub(super) async fn begun(&self) {
        if let Some(message) = &self.asked_in {
            self.mark(message, WORKING, true).await;
        }
    }

    async fn mark(&self, message: &MessageRef, emoji: &str, add: bool) {
        // A reaction is a courtesy: its failure must not cost the answer.
        if let Err(error) = self.gateway.react(message, emoji, add).await {
            tracing::debug!(%error, "a reaction was not delivered");
        }
    }

    /// Shows how far a run has come, and its first answer when there is one
    /// before the exact one, for as long as it is polled. It never ends by itself.
    pub(super) async fn show_progress(
        &self,
        hall: &Hall,
        command: &Command,
        scene: &Scene<'_>,
        mut progress: watch::Receiver<Progress>,
        mut partial: watch::Receiver<Option<Value>>,
        audience: &Audience,
    ) -> Infallible {
        let begun = Instant::now();
        let settings = hall.rules().settings.clone();
        let pace = self.gateway.edit_pace();
        let first = begun + settings.progress_after;
        let mut next = first;
        let mut context = None;
        let mut reported = false;
        loop {
            tokio::time::sleep_until(next).await;
            let context = match &context {
                Some(context) => context,
                None => context.insert(scene.context().await),
            };
            let told = progress.has_changed().unwrap_or(false) || reported;
            reported = told;
            let now = Some(progress.borrow_and_update().clone()).filter(|_| told);
            let seen = partial.borrow_and_update().clone();
            let card = match seen.and_then(|value| scene.first_answer(command, value, context)) {
                Some(mut card) => {
                    card.blocks.insert(0, progress_block(begun, now));
                    card
                }
                None => Card {
                    title: format!("{} · {}", command.name, scene.service.name),
                    verdict: Some(Text::plain("Looking …")),
                    context: context.clone(),
                    blocks: vec![progress_block(begun, now)],
                    footer: Some(format!("run {} · stop with /redis cancel {}", scene.asked.run, scene.asked.run)),
                    ..Card::default()
                },
            };
            self.put(card, audience).await;
            next = Instant::now() + pace;
            // Nothing new, nothing to edit: wait for news, but show the clock move now and then.
            tokio::select! {
                _ = progress.changed() => {}
                _ = partial.changed() => {}
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
            }
        }
    }

    /// Says or edits, once, without insisting: the next one replaces it.
    ///
    /// In a task of its own: when the answer is there, nobody waits for progress
    /// any more, but a message on its way must be known before the answer is
    /// said, or it would stand there for ever. `finish` waits for the lock.
    async fn put(&self, card: Card, audience: &Audience) {
        let mut said = self.said.clone().lock_owned().await;
        let (gateway, place) = (self.gateway.clone(), self.place.clone());
        let (key, audience, again) = (self.key.clone(), audience.clone(), self.again);
        let putting = tokio::spawn(async move {
            let outcome = match &*said {
                Some((message, _)) => gateway.progress(message, &card).await,
                None => {
                    let saying = match again {
                        true => gateway.say_again(&place, &card, &audience, &key),
                        false => gateway.say(&place, &card, &audience, &key),
                    };
                    saying.await.map(|message| *said = Some((message, audience)))
                }
            };
            if let Err(error) = outcome {
                tracing::debug!(%error, "progress was not delivered");
            }
        });
        if putting.await.is_err() {
            tracing::error!("showing progress panicked");
        }
    }

    /// Says a card that people are to react to, once; its message, or `None` when it was not taken.
    /// Where their reactions cannot be heard, the card says so.
    pub(super) async fn show(&self, mut card: Card) -> Option<MessageRef> {
        self.put(card.clone(), &Audience::All).await;
        let message = self.said.lock().await.clone().map(|(message, _)| message)?;
        if !self.gateway.hears_reactions(&message) {
            card.blocks.insert(0, Block::Text(Text::plain(UNHEARD)));
            if let Err(error) = self.gateway.edit(&message, &card).await {
                tracing::debug!(%error, "nobody was told that reactions are not heard there");
            }
        }
        Some(message)
    }

    /// Is there a message of this answer already?
    pub(super) async fn has_said(&self) -> bool {
        self.said.lock().await.is_some()
    }

    /// Marks the question as answered, on the message it stands in.
    pub(super) async fn seen(&self, hall: &Hall, good: bool) {
        if let Some(message) = &self.asked_in {
            let marks = [(if good { DONE } else { FAILED }, true), (WORKING, false)];
            for (emoji, add) in marks {
                if let Err(error @ (Undelivered::RetryAfter(_) | Undelivered::Unreachable(_))) =
                    self.gateway.react(message, emoji, add).await
                {
                    let key = format!("{}-{}", self.key, if add { "marked" } else { "unmarked" });
                    let what = OwedWhat::React { message: message.clone(), emoji: emoji.to_owned(), add };
                    let owed = Owed { key, what, due: after(wait_of(&error, 0)) };
                    if let Err(error) = hall.store.owed_add(owed).await {
                        tracing::debug!(%error, "a reaction could not be put down");
                    }
                }
            }
        }
    }

    /// Puts the answer in the place of a card with buttons. `false`: that card is gone, or not ours to edit.
    pub(super) async fn turn(&self, message: &MessageRef, card: &Card) -> bool {
        for _ in 0..TRIES {
            match self.gateway.edit(message, card).await {
                Ok(()) => return true,
                Err(Undelivered::RetryAfter(wait)) if wait <= PATIENCE => tokio::time::sleep(wait).await,
                Err(error) => {
                    tracing::debug!(%error, "a card could not be turned; the answer is said instead");
                    return false;
                }
            }
        }
        false
    }

    /// Sends a file beside the answer, now or as soon as the platform takes it.
    ///
    /// # Errors
    /// Why it never will.
    pub(super) async fn attach(&self, hall: &Hall, file: Attachment, audience: &Audience) -> Result<(), String> {
        let key = match &file {
            Attachment::Text { name, .. } => format!("{}-{name}", self.key),
            Attachment::Chart(series) => format!("{}-chart-{}", self.key, series.title),
        };
        let what = OwedWhat::Attach { place: self.place.clone(), only: only(audience), file };
        deliver_or_why(hall, &*self.gateway, &key, what, false).await.map(drop)
    }

    /// Delivers the answer: now, or as soon as the platform takes it.
    pub(super) async fn finish(&self, hall: &Hall, card: Card, audience: Audience, good: bool) {
        self.seen(hall, good).await;
        // What was shown to all cannot become private by an edit: it is said anew.
        let edited = self.said.lock().await.clone().filter(|(_, shown)| *shown == audience).map(|(message, _)| message);
        // After a crash nobody knows whether the pictures were sent: the card has its line of blocks.
        let charts = if self.again { Vec::new() } else { self.charts(&card) };
        let what = match edited {
            Some(message) => OwedWhat::Edit { message, card },
            None => OwedWhat::Say { place: self.place.clone(), card, only: only(&audience) },
        };
        if !self.gateway.finds(&self.place, &audience)
            && let Some(event) = &self.event
        {
            if self.said_in_private {
                tracing::warn!(
                    event,
                    "an answer to one person may have been said before the bot was stopped; it is not repeated"
                );
                return;
            }
            if let Err(error) = hall.store.arrival_saying(event).await {
                tracing::debug!(%error, "it is not written down that an answer is being said");
            }
        }
        let _ = deliver_or_why(hall, &*self.gateway, &self.key, what, self.again).await;
        for chart in charts {
            // A picture is a courtesy: where none is taken, the card's own line of blocks has to do.
            let _ = self.attach(hall, chart, &audience).await;
        }
    }

    /// The courses of figures on a card, as pictures where the platform shows some.
    fn charts(&self, card: &Card) -> Vec<Attachment> {
        let series = card.blocks.iter().filter_map(|block| match block {
            Block::Series(series) if self.gateway.shows_pictures() && series.points.len() >= CHART => Some(series),
            _ => None,
        });
        series.cloned().map(Attachment::Chart).collect()
    }
}

fn only(audience: &Audience) -> Option<Identity> {
    match audience {
        Audience::All => None,
        Audience::Only(identity) => Some(identity.clone()),
    }
}

fn progress_block(begun: Instant, progress: Option<Progress>) -> Block {
    match progress {
        Some(progress) => Block::Progress(progress),
        None => Block::Text(Text::plain(format!("working for {} s", begun.elapsed().as_secs()))),
    }
}

async fn attempt(
    gateway: &dyn Gateway,
    key: &str,
    what: &OwedWhat,
    again: bool,
) -> Result<Option<MessageRef>, Undelivered> {
    match what {
        OwedWhat::Say { place, card, only } => {
            let audience = only.clone().map_or(Audience::All, Audience::Only);
            match again {
                true => gateway.say_again(place, card, &audience, key).await.map(Some),
                false => gateway.say(place, card, &audience, key).await.map(Some),
            }
        }
        OwedWhat::Edit { message, card } => gateway.edit(message, card).await.map(|()| None),
        OwedWhat::Last { message, card } => match gateway.edit(message, card).await {
            Err(Undelivered::Gone(why)) => {
                tracing::info!(key, why, "a message that was to be edited is gone; it is said anew");
                let place = Place { via: None, ..message.place.clone() };
                match again {
                    true => gateway.say_again(&place, card, &Audience::All, key).await.map(Some),
                    false => gateway.say(&place, card, &Audience::All, key).await.map(Some),
                }
            }
            edited => edited.map(|()| None),
        },
        OwedWhat::React { message, emoji, add } => gateway.react(message, emoji, *add).await.map(|()| None),
        OwedWhat::Attach { place, only, file } => {
            let audience = only.clone().map_or(Audience::All, Audience::Only);
            let (name, bytes) = written(file).await?;
            gateway.upload(place, &name, bytes, &audience).await.map(|()| None)
        }
    }
}

/// The file's name and what is in it.
async fn written(file: &Attachment) -> Result<(String, Vec<u8>), Undelivered> {
    match file {
        Attachment::Text { name, text } => Ok((name.clone(), text.clone().into_bytes())),
        Attachment::Chart(series) => {
            let (name, series) = (series.file_name(), series.clone());
            // Some tens of milliseconds of drawing, which hold up no other answer there.
            let drawn = tokio::task::spawn_blocking(move || chart::picture(&series)).await;
            match drawn {
                Ok(Ok(png)) => Ok((name, png)),
                Ok(Err(error)) => Err(Undelivered::Gone(error.to_string())),
                Err(_) => Err(Undelivered::Gone("drawing the chart failed".to_owned())),
            }
        }
    }
}

/// Tries a few times, then puts the answer down in the store. Why one can never be delivered is in the log.
pub(super) async fn deliver(hall: &Hall, gateway: &dyn Gateway, key: &str, what: OwedWhat) {
    let _ = deliver_or_why(hall, gateway, key, what, false).await;
}

/// When what is put down before it is said is said by the loop for what is owed: the one who put it down is
/// about to say it, and is not to be overtaken.
pub(super) fn soon() -> jiff::Timestamp {
    after(OWED_PACE)
}

/// Delivers what was put down under that key beforehand, and takes it off the list.
pub(super) async fn deliver_promised(hall: &Hall, gateway: &dyn Gateway, key: &str, what: OwedWhat) {
    match deliver_or_why(hall, gateway, key, what, false).await {
        Ok(true) => kept(hall, key).await,
        // It was put down anew, with what was in its way.
        Ok(false) => {}
        Err(why) => {
            if let Err(error) = hall.store.owed_gone(key, &why).await {
                tracing::debug!(%error, key, "what can never be delivered could not be taken off the list");
            }
        }
    }
}

/// What was put down under that key beforehand has been said.
pub(super) async fn kept(hall: &Hall, key: &str) {
    if let Err(error) = hall.store.owed_kept(key).await {
        tracing::debug!(%error, key, "what was said could not be taken off the list; it is said again");
    }
}

/// The same as [`deliver`], for whoever can still tell somebody. `false`: it was put down.
///
/// # Errors
/// Why it can never be delivered.
async fn deliver_or_why(
    hall: &Hall,
    gateway: &dyn Gateway,
    key: &str,
    what: OwedWhat,
    again: bool,
) -> Result<bool, String> {
    let mut due = jiff::Timestamp::now();
    let lane = what.lane();
    // Where answers wait, this one stands behind them.
    let tries = if matches!(what, OwedWhat::Say { .. }) && late(hall).contains(&lane) { 0 } else { TRIES };
    for tried in 1..=tries {
        match attempt(gateway, key, &what, again).await {
            Ok(_) => return Ok(true),
            Err(Undelivered::Gone(why)) => {
                tracing::warn!(key, why, "an answer can never be delivered");
                return Err(why);
            }
            Err(Undelivered::RetryAfter(wait)) if wait <= PATIENCE && tried < TRIES => {
                hall.meters.retried();
                tokio::time::sleep(wait).await;
            }
            Err(error) => {
                tracing::warn!(%error, key, "an answer is put down to be delivered later");
                due = after(wait_of(&error, 0));
                break;
            }
        }
    }
    hall.meters.owed();
    late(hall).insert(lane);
    if let Err(error) = hall.store.owed_add(Owed { key: key.to_owned(), what, due }).await {
        tracing::error!(%error, key, "an answer could neither be delivered nor put down");
    }
    Ok(false)
}

fn late(hall: &Hall) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
    hall.late.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait_of(error: &Undelivered, attempts: u32) -> Duration {
    match error {
        Undelivered::RetryAfter(wait) => *wait,
        _ => Duration::from_secs(1 << attempts.min(4)),
    }
}

fn after(wait: Duration) -> jiff::Timestamp {
    jiff::Timestamp::now().checked_add(wait).unwrap_or(jiff::Timestamp::MAX)
}

/// Delivers what is owed, oldest first in each channel, until the bot stops.
/// What is still owed then is delivered after the next start.
///
/// Channels go side by side: one that is slow, or owes thousands, keeps no other waiting.
pub(super) async fn send_owed(hall: Arc<Hall>) {
    let mut sending = FuturesUnordered::new();
    let mut busy: BTreeSet<String> = BTreeSet::new();
    loop {
        let due = match hall.store.owed_due(jiff::Timestamp::now(), OWED_AT_ONCE).await {
            Ok(due) => due,
            Err(error) => {
                tracing::debug!(%error, "owed rows cannot be read");
                Vec::new()
            }
        };
        let mut lanes: BTreeMap<String, Vec<Due>> = BTreeMap::new();
        for row in due {
            lanes.entry(row.what.lane()).or_default().push(row);
        }
        for (lane, rows) in lanes {
            if busy.insert(lane.clone()) {
                sending.push(async {
                    send_lane(&hall, &lane, rows).await;
                    lane
                });
            }
        }
        // What is due before the next look is not kept waiting for it.
        let next = hall.store.owed_next().await.ok().flatten();
        let until_next = next.and_then(|next| Duration::try_from(next.duration_since(jiff::Timestamp::now())).ok());
        let pause = until_next.unwrap_or(OWED_PACE).clamp(Duration::from_millis(100), OWED_PACE);
        let again = tokio::time::sleep(pause);
        tokio::pin!(again);
        loop {
            tokio::select! {
                () = hall.stopping.cancelled() => {
                    // What is on its way arrives, or is owed as before; no channel begins another.
                    while sending.next().await.is_some() {}
                    return;
                }
                Some(lane) = sending.next() => { busy.remove(&lane); }
                () = &mut again => break,
            }
        }
    }
}

/// One channel's deliveries, in order: the first that is not taken holds back those behind it.
async fn send_lane(hall: &Hall, lane: &str, rows: Vec<Due>) {
    late(hall).insert(lane.to_owned());
    let all = rows.len() < OWED_AT_ONCE as usize;
    for row in rows {
        if hall.stopping.is_cancelled() {
            return;
        }
        match send_one(hall, &row).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%error, key = row.key, "an owed row could not be updated");
                return;
            }
        }
    }
    // While more of them wait, a new answer stands behind those.
    if all {
        late(hall).remove(lane);
    }
}

/// Could it be seen whether it was delivered, or is it the same when it is delivered twice?
fn found_again(gateway: &dyn Gateway, what: &OwedWhat) -> bool {
    match what {
        OwedWhat::Say { place, only, .. } => gateway.finds(place, &only.clone().map_or(Audience::All, Audience::Only)),
        OwedWhat::Attach { .. } => false,
        // What one person alone sees is not edited but said anew.
        OwedWhat::Edit { message, .. } | OwedWhat::Last { message, .. } => gateway.hears_reactions(message),
        OwedWhat::React { .. } => true,
    }
}

/// `true`: it is off the list.
async fn send_one(hall: &Hall, row: &Due) -> Result<bool, StoreError> {
    let platform = match &row.what {
        OwedWhat::Say { place, .. } | OwedWhat::Attach { place, .. } => place.platform,
        OwedWhat::Edit { message, .. } | OwedWhat::Last { message, .. } | OwedWhat::React { message, .. } => {
            message.place.platform
        }
    };
    let Some(gateway) = hall.gateway(platform) else {
        // Switched off for now; the row's retention decides how long it is kept for its return.
        hall.store.owed_failed(&row.key, after(OWED_PACE * 30), "the platform is not configured").await?;
        return Ok(false);
    };
    if !found_again(&**gateway, &row.what) {
        if row.sending {
            let why = "it was being delivered when the bot was stopped, and cannot be looked up";
            tracing::warn!(key = row.key, why, "an owed answer is not repeated");
            hall.store.owed_gone(&row.key, why).await?;
            return Ok(true);
        }
        hall.store.owed_sending(&row.key).await?;
    }
    match attempt(&**gateway, &row.key, &row.what, true).await {
        Ok(message) => {
            hall.store.owed_done(row, message.as_ref()).await?;
            Ok(true)
        }
        Err(Undelivered::Gone(why)) => {
            tracing::warn!(key = row.key, why, "an owed answer can never be delivered");
            hall.store.owed_gone(&row.key, &why).await?;
            Ok(true)
        }
        Err(error) => {
            hall.meters.retried();
            hall.store.owed_failed(&row.key, after(wait_of(&error, row.attempts)), &error.to_string()).await?;
            Ok(false)
        }
    }
}

impl Scene<'_> {
    /// The card of a first answer: the step's value so far, everything else still missing.
    pub(super) fn first_answer(&self, command: &Command, value: Value, context: &[String]) -> Option<Card> {
        let Kind::Diagnostic(diagnostic) = &command.kind else { return None };
        // Only surveys of the keyspace answer in two goes, and a command holds one of them.
        let step = diagnostic.steps.iter().find(|step| matches!(step.look, Look::Keyspace { .. }))?;
        let evidence = self.partial_evidence(&step.id, value, context);
        let mut card = runbook::render(command, &evidence).card;
        card.actions.clear();
        card.footer = Some(format!("first answer; the exact one follows here · run {}", self.asked.run));
        Some(card)
    }
}
