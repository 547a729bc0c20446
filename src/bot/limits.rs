//! How much may be asked: per person, per instance, per cost class, and in total.
//!
//! Rates are governor's; how many run at once on one instance is a semaphore,
//! waited for no longer than the command's own deadline.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    model::{InstanceName, ServiceName},
    policy::{Limit, Limits},
    runbook::Cost,
};

/// The longest that what nobody typed just now waits for its turn.
const IN_TURN: Duration = Duration::from_secs(60);
/// The shortest pause before its turn is asked for again.
const SOON: Duration = Duration::from_millis(20);

/// Why a command has to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Busy {
    /// Whose limit it is: `you`, or the instance.
    pub(super) whose: String,
    /// The limit is that of commands of this cost; `None`: of all.
    pub(super) cost: Option<Cost>,
    /// When to ask again, if that can be told.
    pub(super) retry: Option<Duration>,
}

type Target = (ServiceName, InstanceName);

fn quota(limit: Limit) -> Quota {
    let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
    Quota::per_minute(at_least_one(limit.per_minute)).allow_burst(at_least_one(limit.burst))
}

/// Everything that is counted for one set of limits.
struct Counts {
    limits: Limits,
    person: DefaultKeyedRateLimiter<String>,
    instance: DefaultKeyedRateLimiter<Target>,
    by_cost: [DefaultKeyedRateLimiter<Target>; 3],
    people: Mutex<HashMap<String, Arc<Semaphore>>>,
    instances: Mutex<HashMap<Target, Arc<Seats>>>,
}

struct Seats {
    all: Arc<Semaphore>,
    by_cost: [Arc<Semaphore>; 3],
}

impl Counts {
    fn new(limits: Limits) -> Self {
        Self {
            person: RateLimiter::keyed(quota(limits.person)),
            instance: RateLimiter::keyed(quota(limits.instance)),
            by_cost: [limits.cheap, limits.moderate, limits.heavy].map(|limit| RateLimiter::keyed(quota(limit))),
            people: Mutex::default(),
            instances: Mutex::default(),
            limits,
        }
    }
}

/// What a command holds while it runs.
pub(super) struct Held(#[expect(dead_code, reason = "held for their drop")] Vec<OwnedSemaphorePermit>);

/// Keeps to the limits.
pub(super) struct Limiter(RwLock<Arc<Counts>>);

fn seats(limit: Limit) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(limit.at_once.max(1) as usize))
}

impl Limiter {
    pub(super) fn new(limits: Limits) -> Self {
        Self(RwLock::new(Arc::new(Counts::new(limits))))
    }

    fn counts(&self) -> Arc<Counts> {
        self.0.read().expect("nobody panics while swapping an Arc").clone()
    }

    /// New limits, after a reload. Counts start anew when they differ.
    pub(super) fn set(&self, limits: Limits) {
        if self.counts().limits != limits {
            *self.0.write().expect("nobody panics while swapping an Arc") = Arc::new(Counts::new(limits));
        }
    }

    /// Counts one command of a person, who may only have so many running.
    pub(super) fn person(&self, who: &str) -> Result<Held, Busy> {
        let counts = self.counts();
        let busy = |retry| Busy { whose: "you".to_owned(), cost: None, retry };
        counts
            .person
            .check_key(&who.to_owned())
            .map_err(|not_until| busy(Some(not_until.wait_time_from(counts.person.clock().now()))))?;
        let mut people = counts.people.lock().expect("nobody panics while holding the seats");
        let own = people.entry(who.to_owned()).or_insert_with(|| seats(counts.limits.person)).clone();
        own.try_acquire_owned().map(|seat| Held(vec![seat])).map_err(|_| busy(None))
    }

    /// As [`Self::instance`], for what nobody typed just now, a step of a runbook say: it is not refused because
    /// others asked before it but waits for its turn, a minute at most and not past `stop`, and then `within` that
    /// for a seat.
    pub(super) async fn instance_in_turn(
        &self,
        service: &ServiceName,
        instance: &InstanceName,
        cost: Cost,
        within: Duration,
        stop: &CancellationToken,
    ) -> Result<Held, Busy> {
        let last = Instant::now() + IN_TURN;
        loop {
            let wait = match self.instance(service, instance, cost, Instant::now() + within).await {
                Err(Busy { retry: Some(wait), .. }) if Instant::now() + wait < last && !stop.is_cancelled() => wait,
                ended => return ended,
            };
            tokio::select! {
                () = tokio::time::sleep(wait.max(SOON)) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Counts one command on an instance, and waits for a seat there, at most until `until`.
    pub(super) async fn instance(
        &self,
        service: &ServiceName,
        instance: &InstanceName,
        cost: Cost,
        until: Instant,
    ) -> Result<Held, Busy> {
        let counts = self.counts();
        let target = (service.clone(), instance.clone());
        let whose = format!("{service}/{instance}");
        let class = match cost {
            Cost::Cheap => 0,
            Cost::Moderate => 1,
            Cost::Heavy => 2,
        };
        for (limiter, cost) in [(&counts.instance, None), (&counts.by_cost[class], Some(cost))] {
            limiter.check_key(&target).map_err(|not_until| Busy {
                whose: whose.clone(),
                cost,
                retry: Some(not_until.wait_time_from(limiter.clock().now())),
            })?;
        }
        let own = {
            let limits = &counts.limits;
            let mut instances = counts.instances.lock().expect("nobody panics while holding the seats");
            instances
                .entry(target)
                .or_insert_with(|| {
                    Arc::new(Seats {
                        all: seats(limits.instance),
                        by_cost: [limits.cheap, limits.moderate, limits.heavy].map(seats),
                    })
                })
                .clone()
        };
        let busy = |cost| move |_| Busy { whose, cost, retry: None };
        // The narrower one first: who waits for it must not keep others from the wider one.
        let narrow = tokio::time::timeout_at(until, own.by_cost[class].clone().acquire_owned());
        let narrow = narrow.await.map_err(busy.clone()(Some(cost)))?;
        let wide = tokio::time::timeout_at(until, own.all.clone().acquire_owned()).await.map_err(busy(None))?;
        Ok(Held(narrow.into_iter().chain(wide).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> (ServiceName, InstanceName) {
        ("godel".parse().unwrap(), "main".parse().unwrap())
    }

    fn limit(per_minute: u32, burst: u32, at_once: u32) -> Limit {
        Limit { per_minute, burst, at_once }
    }

    #[test]
    fn a_person_over_the_limit_is_told_when_to_ask_again_and_others_are_not_slowed() {
        let limiter = Limiter::new(Limits { person: limit(1, 2, 8), ..Limits::default() });
        assert!(limiter.person("ana").is_ok());
        assert!(limiter.person("ana").is_ok());
        let busy = limiter.person("ana").err().unwrap();
        assert!(busy.retry.unwrap() > Duration::from_secs(1));
        assert!(limiter.person("bo").is_ok());
    }

    #[test]
    fn a_person_has_only_so_many_commands_running() {
        let limiter = Limiter::new(Limits { person: limit(60, 60, 1), ..Limits::default() });
        let first = limiter.person("ana").unwrap();
        assert_eq!(limiter.person("ana").err().unwrap().retry, None);
        drop(first);
        assert!(limiter.person("ana").is_ok());
    }

    #[tokio::test]
    async fn a_seat_is_waited_for_until_the_deadline_and_heavy_work_does_not_take_light_seats() {
        let limiter = Limiter::new(Limits { heavy: limit(60, 60, 1), ..Limits::default() });
        let (service, instance) = target();
        let soon = || Instant::now() + Duration::from_millis(20);
        let held = limiter.instance(&service, &instance, Cost::Heavy, soon()).await.unwrap();
        assert_eq!(limiter.instance(&service, &instance, Cost::Heavy, soon()).await.err().unwrap().retry, None);
        assert!(limiter.instance(&service, &instance, Cost::Cheap, soon()).await.is_ok());
        drop(held);
        assert!(limiter.instance(&service, &instance, Cost::Heavy, soon()).await.is_ok());
    }

    #[test]
    fn new_limits_hold_after_a_reload() {
        let limiter = Limiter::new(Limits { person: limit(1, 1, 8), ..Limits::default() });
        assert!(limiter.person("ana").is_ok());
        assert!(limiter.person("ana").is_err());
        limiter.set(Limits { person: limit(10, 10, 8), ..Limits::default() });
        assert!(limiter.person("ana").is_ok());
    }
}
