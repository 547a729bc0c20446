//! What nobody asks for and must be done all the same: sweeping the store, and
//! putting the head of the journal where the store's owner cannot change it.

use std::{sync::Arc, time::Duration};

use super::Hall;
use crate::{
    model::{Block, Card, Text},
    store::{Anchor, Owed, OwedWhat},
};

/// How often it is looked whether something is due. What is due is a row, so a missed look loses nothing.
const PACE: Duration = Duration::from_secs(600);

/// Keeps house until the bot stops.
pub(super) async fn keep(hall: Arc<Hall>) {
    loop {
        once(&hall, jiff::Timestamp::now()).await;
        tokio::select! {
            () = hall.stopping.cancelled() => return,
            () = tokio::time::sleep(PACE.min(hall.rules().settings.anchor_every)) => {}
        }
    }
}

/// One round. Safe to repeat: it does only what is due.
async fn once(hall: &Hall, now: jiff::Timestamp) {
    if let Err(error) = hall.store.sweep(now).await {
        tracing::warn!(%error, "the store could not be swept");
    }
    let backups = hall.store.backups();
    match tokio::task::spawn_blocking(move || backups.sweep_all(now)).await {
        Ok(Ok(0)) | Err(_) => {}
        Ok(Ok(count)) => tracing::info!(count, "backups whose time is over were removed"),
        Ok(Err(error)) => tracing::warn!(%error, "backups could not be swept"),
    }
    let rules = hall.rules();
    let Some(channel) = rules.settings.audit.clone() else { return };
    let anchor = match hall.store.anchor_due(now, rules.settings.anchor_every).await {
        Ok(Some(anchor)) => anchor,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%error, "the head of the journal could not be read");
            return;
        }
    };
    // Owed first, then marked: a crash in between says the same line twice, which harms nothing.
    let owed = Owed {
        key: format!("anchor-{}", anchor.seq),
        what: OwedWhat::Say { place: channel, card: anchor_card(&anchor), only: None },
        due: now,
    };
    let put_down = async {
        hall.store.owed_add(owed).await?;
        hall.store.anchored(&anchor, now).await
    };
    if let Err(error) = put_down.await {
        tracing::warn!(%error, "the head of the journal could not be anchored");
    }
}

fn anchor_card(anchor: &Anchor) -> Card {
    Card {
        title: "journal".to_owned(),
        verdict: Some(Text::plain("The head of the journal, kept here so that a cut tail shows.")),
        blocks: vec![Block::Code(anchor.to_string())],
        footer: Some("rediscue audit verify --anchor LINE proves the journal against it".to_owned()),
        ..Card::default()
    }
}
