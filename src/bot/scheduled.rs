//! Backups by the clock. The configuration that names them is their approval:
//! whoever may write it may have them made, in the name of the person it says.
//!
//! A row says when each was last taken up; a timer only wakes us to look. One
//! that fell into a time when the bot was not there is said, and made up for once.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Hall, change, command::plain_card, deliver};
use crate::{
    model::{
        Actor, Badges, Card, Identity, InstanceName, Level, PersonId, Place, PlaceKind, Platform, RunId, ServiceName,
    },
    store::{Entry, Outcome, OwedWhat},
};

/// The rows are looked at this often: the clock may be set, and the configuration read again.
const PACE: Duration = Duration::from_secs(20);
/// Begun later than this, it is said to be late.
const LATE_MS: i64 = 15 * 60_000;
const DAY_MS: i64 = 86_400_000;

/// A backup that is made every day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Of this service.
    pub service: ServiceName,
    /// Of this instance; `None`: the service's first.
    pub instance: Option<InstanceName>,
    /// At this minute of the day, UTC.
    pub minute: u16,
    /// In this person's name, who must be allowed to run `backup` on it.
    pub by: PersonId,
}

impl Schedule {
    /// What its row is called.
    fn name(&self) -> String {
        let instance = self.instance.as_ref().map_or_else(String::new, |instance| format!("/{instance}"));
        format!("backup {}{instance} {:02}:{:02}", self.service, self.minute / 60, self.minute % 60)
    }

    /// The last moment it was due at.
    fn last_due_ms(&self, now: Timestamp) -> i64 {
        let now = now.as_millisecond();
        let today = now - now.rem_euclid(DAY_MS) + i64::from(self.minute) * 60_000;
        if today > now { today - DAY_MS } else { today }
    }

    /// Whether it is due, and how many times before this one were missed.
    fn due(&self, taken: Timestamp, now: Timestamp) -> Option<Due> {
        let (due, taken) = (self.last_due_ms(now), taken.as_millisecond());
        if taken >= due {
            return None;
        }
        let missed = u64::try_from((due - taken - 1) / DAY_MS).unwrap_or(0);
        Some(Due { missed, late: now.as_millisecond() - due > LATE_MS })
    }
}

/// A schedule whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    /// Times before this one at which nothing was done.
    missed: u64,
    /// It should have begun a while ago.
    late: bool,
}

/// Does what is due, until the bot stops.
pub(super) async fn keep(hall: Arc<Hall>) {
    loop {
        for schedule in &hall.rules().settings.schedules {
            if hall.stopping.is_cancelled() {
                return;
            }
            look(&hall, schedule, Timestamp::now()).await;
        }
        tokio::select! {
            () = hall.stopping.cancelled() => return,
            () = tokio::time::sleep(PACE) => {}
        }
    }
}

async fn look(hall: &Arc<Hall>, schedule: &Schedule, now: Timestamp) {
    let name = schedule.name();
    let due = match hall.store.schedule(&name).await {
        Ok(Some(taken)) => schedule.due(taken, now),
        Ok(None) => {
            // New here: it begins with the next time it is due.
            if let Err(error) = hall.store.schedule_taken(&name, now).await {
                tracing::warn!(%error, schedule = name, "a new schedule could not be written down");
            }
            return;
        }
        Err(error) => {
            tracing::warn!(%error, schedule = name, "when a schedule was last taken up cannot be read");
            return;
        }
    };
    let Some(due) = due else { return };
    // Taken up before it is done: after a crash its run is told as what became of it, and is not repeated.
    if let Err(error) = hall.store.schedule_taken(&name, now).await {
        tracing::warn!(%error, schedule = name, "a schedule could not be written down, so it is not carried out yet");
        return;
    }
    let missed = missed(due);
    if let Some(missed) = &missed {
        tracing::warn!(schedule = name, "{missed}");
    }
    let run = RunId::from_bits(rand::random());
    let asker = asker(hall, &schedule.by);
    let place = place();
    let (card, good) = change::backup_by_the_clock(hall, schedule, &run, &asker, &place).await;
    let said = match (&missed, good) {
        (Some(missed), true) => format!("{missed} It has been made now."),
        (Some(missed), false) => missed.clone(),
        (None, true) => "made".to_owned(),
        (None, false) => card.verdict.as_ref().map_or_else(|| card.title.clone(), |verdict| verdict.to_plain()),
    };
    let entry = Entry {
        at: Timestamp::now(),
        run: run.clone(),
        identity: asker.identity.clone(),
        person: asker.person.clone(),
        place,
        line: name.clone(),
        command: "schedule".to_owned(),
        service: Some(schedule.service.clone()),
        instance: schedule.instance.clone(),
        outcome: if good { Outcome::Answered } else { Outcome::Failed },
        why: Some(said.clone()),
        level: None,
        took: Duration::ZERO,
        reveal: false,
    };
    if let Err(error) = hall.store.record(entry).await {
        tracing::warn!(%error, schedule = name, "a schedule's end could not be journalled");
    }
    if !good {
        tracing::warn!(schedule = name, "{said}");
    }
    tell(hall, &name, &run, missed, card, good).await;
}

fn missed(due: Due) -> Option<String> {
    match (due.missed, due.late) {
        (0, false) => None,
        (0, true) => Some("Its time was missed: the bot was not running, or could not write its store.".to_owned()),
        (times, late) => {
            let times = times + u64::from(late);
            Some(format!("{times} of its times were missed: the bot was not running, or could not write its store."))
        }
    }
}

/// Says in the audit channel what somebody should know: that it failed, or was missed.
async fn tell(hall: &Arc<Hall>, name: &str, run: &RunId, missed: Option<String>, card: Card, good: bool) {
    let Some(place) = hall.rules().settings.audit.clone() else { return };
    let Some(gateway) = hall.gateway(place.platform).cloned() else { return };
    let missed = missed.map(|missed| {
        let mut told = plain_card("missed", format!("{name}: {missed}"), None);
        told.level = Some(Level::Warn);
        told
    });
    for (at, card) in missed.into_iter().chain((!good).then_some(card)).enumerate() {
        let what = OwedWhat::Say { place: place.clone(), card, only: None };
        deliver::deliver(hall, &*gateway, &format!("schedule-{run}-{at}"), what).await;
    }
}

/// The account the journal names: one of the person's own.
fn asker(hall: &Hall, by: &PersonId) -> Actor {
    let rules = hall.rules();
    let own = rules.policy.rules().people.get(by).and_then(|person| person.identities.first().cloned());
    let identity =
        own.unwrap_or_else(|| Identity { platform: Platform::Console, team: String::new(), user: by.to_string() });
    Actor { identity, person: Some(by.clone()), display: "by the clock".to_owned(), badges: Badges::default() }
}

/// Where it is asked for, as far as rules about places go: with the bot alone.
fn place() -> Place {
    Place {
        platform: Platform::Console,
        team: String::new(),
        channel: "schedule".to_owned(),
        thread: None,
        kind: PlaceKind::Direct,
        via: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: f64) -> Timestamp {
        Timestamp::from_millisecond(20_000 * DAY_MS + (hours * 3_600_000.0) as i64).unwrap()
    }

    #[test]
    fn it_is_due_once_a_day_and_what_was_missed_is_counted() {
        let daily =
            Schedule { service: "shop".parse().unwrap(), instance: None, minute: 180, by: "ana".parse().unwrap() };
        let due = |taken: f64, now: f64| daily.due(at(taken), at(now)).map(|due| (due.missed, due.late));
        assert_eq!(due(2.9, 2.95), None, "not yet");
        assert_eq!(due(2.9, 3.0), Some((0, false)));
        assert_eq!(due(3.0, 3.01), None, "done");
        assert_eq!(due(3.01, 26.99), None);
        assert_eq!(due(3.01, 27.0), Some((0, false)));
        assert_eq!(due(3.01, 30.0), Some((0, true)), "late");
        assert_eq!(due(3.01, 75.0), Some((2, false)), "two days nobody was there");
        assert_eq!(missed(Due { missed: 2, late: true }).unwrap().split(' ').next(), Some("3"));
    }
}
