//! The shelf of the gateways, over the store: what was acknowledged and is not handled yet.

use futures_util::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;

use crate::{
    chat::{Arrival, LeftOver, Shelf},
    model::Platform,
    store::{ArrivalRow, Store},
};

/// What is older when the bot starts is told of and not done: whoever asked has moved on.
const LATE: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);
/// So many starts may try the same event: one that ends the bot must not do so for ever.
const STARTS: u32 = 2;

impl Shelf for Store {
    fn keep<'a>(&'a self, arrival: &'a Arrival) -> BoxFuture<'a, bool> {
        async move {
            let row = ArrivalRow {
                event: arrival.event.clone(),
                platform: arrival.platform,
                kind: arrival.kind.clone(),
                document: arrival.document.clone(),
                at: Timestamp::now(),
                taken_up: 0,
                saying: false,
            };
            match self.arrival_keep(row).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(%error, event = arrival.event, "an event is taken without being kept");
                    false
                }
            }
        }
        .boxed()
    }

    fn left(&self, platform: Platform) -> BoxFuture<'_, Vec<LeftOver>> {
        async move {
            let rows = match self.arrivals(platform).await {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::error!(%error, "what an earlier process left unhandled cannot be read");
                    return Vec::new();
                }
            };
            let mut left = Vec::with_capacity(rows.len());
            for row in rows {
                if let Err(error) = self.arrival_taken_up(&row.event).await {
                    // Without the count it could end the bot again and again.
                    tracing::error!(%error, event = row.event, "an event that was left is not taken up");
                    continue;
                }
                let late = row.taken_up >= STARTS || Timestamp::now().duration_since(row.at) > LATE;
                let arrival =
                    Arrival { event: row.event, platform: row.platform, kind: row.kind, document: row.document };
                left.push(LeftOver { arrival, late, said: row.saying });
            }
            left
        }
        .boxed()
    }

    fn done<'a>(&'a self, event: &'a str) -> BoxFuture<'a, ()> {
        async move {
            if let Err(error) = self.arrival_done(event).await {
                tracing::warn!(%error, event, "an event that was handled could not be taken off the shelf");
            }
        }
        .boxed()
    }
}
