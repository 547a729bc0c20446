//! The same work on every primary of an instance, by several hands on each.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{
    Ended, Ground,
    choose::Chooser,
    lane::{self, CONNECTIONS, Lane, SharedWalk},
    meant::Names,
    measure::worse,
    primaries,
};
use crate::{
    exec::{Looking, fault::Fault},
    runbook::Select,
};

/// What work on keys came to. What several hands and servers came to adds up.
pub(super) trait Outcome: Sized + Send {
    /// Nothing was done, and that is how it ended.
    fn nothing(ended: Ended) -> Self;
    /// Adds what another came to, but for how that ended.
    fn add(&mut self, other: &mut Self);
    /// How it ended.
    fn ended(&mut self) -> &mut Ended;

    /// Adds another; the worse of both ends is how both ended.
    fn merge(&mut self, mut other: Self) {
        self.add(&mut other);
        let both = [self.ended(), other.ended()].map(|ended| std::mem::replace(ended, Ended::Done));
        let [one, other] = both;
        *self.ended() = worse(one, other);
    }
}

/// Which keys, and whose.
pub(super) struct Field<'a> {
    pub(super) ground: &'a Ground,
    pub(super) select: &'a Select,
    pub(super) chooser: &'a Chooser,
    /// Their names, where a count has just met them: of the one server that is worked on.
    pub(super) names: Option<Arc<Names>>,
    /// The command that is named where a server refuses.
    pub(super) command: &'static str,
}

/// What one of the hands does.
pub(super) trait Hand: Sync {
    /// What it comes to.
    type Found: Outcome;

    /// Works until the walk is over, or says what went wrong with its connection.
    fn work(&self, lane: Lane, walk: &SharedWalk) -> impl Future<Output = (Self::Found, Result<(), Fault>)> + Send;
}

/// Lets hands work on every primary, and adds up what they came to.
pub(super) async fn everywhere<H: Hand>(field: &Field<'_>, hand: &H, cx: &Looking) -> H::Found {
    let &Field { ground, select, chooser, ref names, command } = field;
    let addresses = match primaries(ground, cx).await {
        Ok(addresses) => addresses,
        Err(error) => return H::Found::nothing(Ended::Failed(error)),
    };
    let servers = join_all(addresses.iter().map(async |address| {
        let explain = |fault: &Fault| Ended::Failed(ground.explain(fault, address, command));
        let host = match lane::meet(ground, address, CONNECTIONS, cx).await {
            Ok(host) => host,
            Err(fault) => return H::Found::nothing(explain(&fault)),
        };
        if let Err(error) = chooser.fits(&host) {
            return H::Found::nothing(Ended::Failed(error));
        }
        let walk = match names {
            Some(names) => SharedWalk::among(names.clone()),
            None => SharedWalk::over(select, host.facts.layout(), false),
        };
        let hands = match walk.hands(ground, &host).await {
            Ok(hands) => hands,
            Err(fault) => return H::Found::nothing(explain(&fault)),
        };
        let mut whole = H::Found::nothing(Ended::Done);
        for (mut found, result) in join_all(hands.into_iter().map(|lane| hand.work(lane, &walk))).await {
            if let Err(fault) = result {
                *found.ended() = explain(&fault);
            }
            whole.merge(found);
        }
        whole
    }))
    .await;
    let mut whole = H::Found::nothing(Ended::Done);
    servers.into_iter().for_each(|found| whole.merge(found));
    whole
}
