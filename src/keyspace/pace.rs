//! How fast a survey may go.
//!
//! What somebody else waits because of us is the service time of one of our
//! batches times the batches in flight, so batches are sized from what they
//! are measured to cost. A share of the server's time is never asked for,
//! and when PING slows down we step back.

use std::time::Duration;

use serde::Serialize;

/// Bounds that a survey keeps to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// What all batches in flight may cost the server together, in microseconds.
    pub in_flight_us: f64,
    /// The server is kept under this share of one core, 0 to 1.
    pub busy: f64,
    /// A server busier than this before we begin is left alone.
    pub leave_alone: f64,
    /// Most keys of one batch.
    pub most_keys: usize,
    /// Lanes that walk, from 1 to `LANES`. Others wait for the sum of what is in flight, however it
    /// is cut: one lane pays what a batch costs by itself half as often, and leaves the server idle
    /// for a round trip between two; of two lanes one thinks while the server works for the other.
    pub lanes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight_us: 130.0, busy: 0.8, leave_alone: 0.85, most_keys: 200, lanes: 2 }
    }
}

impl Limits {
    /// Bounds of what changes keys. Whoever asked for it waits for it, others were told when they consented, and
    /// what is under way is better over soon: more than for a look.
    pub fn changing() -> Self {
        Self { in_flight_us: 200.0, busy: 0.95, ..Self::default() }
    }
}

/// Keys of a batch before anything is measured.
const FIRST_KEYS: f64 = 8.0;
/// How often the server's CPU time is asked …
const CPU_EVERY: Duration = Duration::from_millis(150);
/// … and at first, for so many readings: a change of a second would be half over before it had found its pace.
const CPU_AT_FIRST: Duration = Duration::from_millis(25);
const AT_FIRST: u32 = 5;
/// A window with fewer batches says little about what one costs …
const BATCHES: u64 = 10;
/// … unless it is this long, in seconds: far from the server, or at rest, batches are few.
const LONG: f64 = 1.0;
/// The least that a batch, and a key of it, cost on any server measured, in microseconds: what is
/// measured below it is the others' doing less than before, and no reason to ask for more.
const LEAST_BATCH_US: f64 = 4.0;
const LEAST_KEY_US: f64 = 1.3;
/// Where batches come seldom because the way is long, one may keep the server from others for this share of the time
/// between two, because then no more than so many of the others meet it …
const SELDOM: f64 = 0.01;
/// … and for no longer than this, in microseconds.
const SELDOM_US: f64 = 500.0;
/// Readings and PINGs cost a round trip: there are at least so many round trips between two.
const ROUND_TRIPS: u32 = 4;
/// How often PING is timed.
const PING_EVERY: Duration = Duration::from_millis(60);
/// So many slow ones in a row are the server's doing.
const SLOW_PINGS: u32 = 3;

/// The state of the pace.
#[derive(Debug, Clone)]
pub struct Pace {
    limits: Limits,
    lanes: usize,
    keys: f64,
    /// Scales the in-flight bound down while PING is slow.
    ease: f64,
    /// Rest after each batch, in microseconds.
    rest_us: f64,
    debt_us: f64,
    idle_pings: Vec<f64>,
    slow_pings: u32,
    /// How often in a row it was stepped back.
    strikes: u32,
    hold_until: Duration,
    last_cpu: Option<(Duration, f64)>,
    next_cpu: Duration,
    /// Readings that still come quickly.
    at_first: u32,
    next_ping: Duration,
    batches: u64,
    busy_keys: u64,
    /// What was found out, for the report.
    pub found: Found,
}

/// What the pace found out about a server.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Found {
    /// Busy share of one core before we began, 0 to 1.
    pub busy_before: Option<f64>,
    /// The highest busy share while we worked.
    pub busy_most: Option<f64>,
    /// Microseconds of server time for each of our keys.
    pub us_per_key: Option<f64>,
    /// Median PING before, microseconds.
    pub ping_before_us: Option<f64>,
    /// The slowest PING while we worked, microseconds.
    pub ping_most_us: Option<f64>,
    /// How often we stepped back because PING was slow.
    pub stepped_back: u32,
}

impl Pace {
    /// A pace for so many lanes.
    pub fn new(limits: Limits, lanes: usize) -> Self {
        Self {
            limits,
            lanes: lanes.max(1),
            keys: FIRST_KEYS,
            ease: 1.0,
            rest_us: 0.0,
            debt_us: 0.0,
            idle_pings: Vec::new(),
            slow_pings: 0,
            strikes: 0,
            hold_until: Duration::ZERO,
            last_cpu: None,
            next_cpu: Duration::ZERO,
            at_first: 0,
            next_ping: Duration::ZERO,
            batches: 0,
            busy_keys: 0,
            found: Found::default(),
        }
    }

    /// A PING while we did nothing else.
    pub fn idle_ping(&mut self, took: Duration) {
        self.idle_pings.push(took.as_secs_f64() * 1e6);
        self.idle_pings.sort_by(f64::total_cmp);
        self.found.ping_before_us = self.idle_pings.get(self.idle_pings.len() / 2).copied();
    }

    /// The server's CPU seconds, read while we did nothing else. The second reading gives the busy share.
    pub fn idle_cpu(&mut self, now: Duration, seconds: f64) -> Option<f64> {
        if let Some((before, then)) = self.last_cpu {
            let share = (seconds - then) / (now - before).as_secs_f64().max(1e-6);
            self.found.busy_before = Some(share.clamp(0.0, 1.0));
        }
        self.last_cpu = Some((now, seconds));
        self.found.busy_before
    }

    /// Work begins, with so many lanes: nothing counts that was before.
    pub fn begin(&mut self, now: Duration, lanes: usize) {
        self.lanes = lanes.max(1);
        self.next_cpu = now + CPU_AT_FIRST;
        self.at_first = AT_FIRST;
        self.next_ping = now + PING_EVERY;
        self.batches = 0;
        self.busy_keys = 0;
    }

    /// Whether the server is too busy to be touched at all.
    pub fn leave_alone(&self) -> bool {
        self.found.busy_before.is_some_and(|busy| busy >= self.limits.leave_alone)
    }

    /// Whether there is no room for a walk over everything.
    pub fn is_crowded(&self) -> bool {
        self.found.busy_before.is_some_and(|busy| busy >= self.limits.busy)
    }

    /// How many keys the next batch may hold.
    pub fn keys(&self) -> usize {
        (self.keys as usize).clamp(1, self.limits.most_keys)
    }

    /// A batch came back with so many keys.
    pub fn batch(&mut self, keys: usize) {
        self.batches += 1;
        self.busy_keys += keys as u64;
        self.debt_us += self.rest_us;
    }

    /// Is it time to ask for the server's CPU seconds?
    pub fn wants_cpu(&mut self, now: Duration) -> bool {
        let due = now >= self.next_cpu;
        if due {
            let every = if self.at_first > 0 { CPU_AT_FIRST } else { CPU_EVERY };
            self.next_cpu = now + every.max(self.round_trip() * ROUND_TRIPS);
        }
        due
    }

    /// Is it time to time a PING?
    pub fn wants_ping(&mut self, now: Duration) -> bool {
        let due = now >= self.next_ping;
        if due {
            self.next_ping = now + PING_EVERY.max(self.round_trip() * ROUND_TRIPS);
        }
        due
    }

    /// The way there and back, as PING tells it.
    fn round_trip(&self) -> Duration {
        Duration::from_micros(self.found.ping_before_us.unwrap_or(0.0) as u64)
    }

    /// The server's CPU seconds while we work.
    pub fn cpu(&mut self, now: Duration, seconds: f64) {
        let known = self.last_cpu.filter(|(_, then)| seconds >= *then && self.batches > 0);
        let Some((before, then)) = known else {
            self.last_cpu = Some((now, seconds));
            (self.batches, self.busy_keys) = (0, 0);
            return;
        };
        let window = (now - before).as_secs_f64();
        if window < 0.01 || (self.batches < BATCHES && window < LONG) {
            // What there is so far counts together with what comes next.
            return;
        }
        self.last_cpu = Some((now, seconds));
        let (batches, keys) = (std::mem::take(&mut self.batches), std::mem::take(&mut self.busy_keys));
        let busy = ((seconds - then) / window).clamp(0.0, 1.5);
        self.found.busy_most = Some(self.found.busy_most.unwrap_or(0.0).max(busy.min(1.0)));
        let others = self.found.busy_before.unwrap_or(0.0);
        let least = LEAST_BATCH_US + LEAST_KEY_US * keys as f64 / batches as f64;
        let per_batch = ((busy - others) * window * 1e6 / batches as f64).max(least);
        let ours = per_batch * batches as f64 / (window * 1e6);
        if keys > 0 {
            let per_key = ours * window * 1e6 / keys as f64;
            self.found.us_per_key = Some(self.found.us_per_key.map_or(per_key, |old| old * 0.7 + per_key * 0.3));
        }
        // Size the batch; halfway each time, because one window is noisy. At first all the way: what a batch costs
        // by itself keeps a small one from being followed by one that is too large.
        let way = if self.at_first > 0 { 1.0 } else { 0.5 };
        self.at_first = self.at_first.saturating_sub(1);
        let period = window * 1e6 * self.lanes as f64 / batches as f64;
        let seldom = (period * SELDOM).min(SELDOM_US);
        let target = (self.limits.in_flight_us / self.lanes as f64).max(seldom) * self.ease;
        let factor = (target / per_batch.max(1.0)).clamp(0.5, 2.0);
        self.keys = (self.keys * factor.powf(way)).clamp(2.0, self.limits.most_keys as f64);
        self.ease = (self.ease * 1.1).min(1.0);
        // Keep the bound on busy time by resting after each batch.
        let room = (self.limits.busy - others).max(0.02);
        if ours > room {
            self.rest_us += period * (ours / room - 1.0);
        } else if ours < room * 0.95 {
            self.rest_us = (self.rest_us - period * (room / ours.max(0.01) - 1.0) * 0.5).max(0.0);
        }
        self.rest_us = self.rest_us.min(20_000.0);
    }

    /// A PING while we work.
    pub fn ping(&mut self, now: Duration, took: Duration) {
        let us = took.as_secs_f64() * 1e6;
        self.found.ping_most_us = Some(self.found.ping_most_us.unwrap_or(0.0).max(us));
        let base = self.found.ping_before_us.unwrap_or(100.0);
        if us <= (base * 4.0).max(base + 1_000.0) {
            (self.slow_pings, self.strikes) = (0, 0);
            return;
        }
        self.slow_pings += 1;
        if self.slow_pings < SLOW_PINGS {
            // After a rest the first may be slow because our own machine had gone to sleep. Asked
            // again at once, only a server that is slow is slow.
            self.next_ping = now;
            return;
        }
        self.slow_pings = 0;
        self.strikes += 1;
        self.found.stepped_back += 1;
        self.ease = (self.ease * 0.5).max(0.1);
        self.keys = (self.keys * 0.6).max(2.0);
        self.hold_until = now + Duration::from_millis(20 << self.strikes.min(5));
    }

    /// How long to wait before the next batch; `None`: go on.
    ///
    /// Rests are saved up to whole milliseconds, which is as finely as timers run.
    pub fn wait(&mut self, now: Duration) -> Option<Duration> {
        if now < self.hold_until {
            return Some(self.hold_until - now);
        }
        if self.slow_pings > 0 {
            return None;
        }
        if self.debt_us >= 1_000.0 {
            let rest = self.debt_us.min(50_000.0);
            self.debt_us -= rest;
            return Some(Duration::from_micros(rest as u64));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A pace that begins after 100 ms on a server nobody else asks anything.
    fn idle() -> Pace {
        let mut pace = Pace::new(Limits::default(), 2);
        pace.idle_cpu(ms(0), 0.0);
        pace.idle_cpu(ms(100), 0.0003);
        pace.begin(ms(100), 2);
        pace
    }

    /// A server on which a batch costs `fixed + keys × per_key` µs and others take `others` of it.
    fn drive(others: f64, fixed: f64, per_key: f64) -> (Pace, f64) {
        let mut pace = Pace::new(Limits::default(), 2);
        pace.idle_cpu(ms(0), 0.0);
        pace.idle_cpu(ms(100), 0.1 * others);
        pace.begin(ms(100), 2);
        let (mut now, mut cpu, mut busy) = (0.1, 0.1 * others, 0.0);
        for _ in 0..40 {
            let (start, start_cpu) = (now, cpu);
            while now - start < 0.15 {
                let cost = (fixed + pace.keys() as f64 * per_key) / 1e6;
                // Two lanes: half the round trip of each overlaps with the other's.
                let step = cost.max((cost + 40e-6) / 2.0);
                now += step;
                cpu += cost + step * others;
                pace.batch(pace.keys());
                if let Some(rest) = pace.wait(Duration::from_secs_f64(now)) {
                    // One lane rests, the other works on; on the average each rest costs half.
                    now += rest.as_secs_f64() / 2.0;
                    cpu += rest.as_secs_f64() / 2.0 * others;
                }
            }
            busy = (cpu - start_cpu) / (now - start);
            pace.cpu(Duration::from_secs_f64(now), cpu);
        }
        (pace, busy)
    }

    #[test]
    fn batches_settle_where_those_in_flight_cost_what_they_may() {
        let (pace, _) = drive(0.05, 12.0, 4.0);
        let in_flight = 2.0 * (12.0 + pace.keys() as f64 * 4.0);
        let may = Limits::default().in_flight_us;
        assert!((may * 0.75..may * 1.25).contains(&in_flight), "{in_flight} of {may}");
    }

    #[test]
    fn the_pace_is_found_in_a_sixth_of_a_second() {
        let mut pace = idle();
        let (mut now, mut cpu) = (0.1, 0.0003);
        while now < 0.27 {
            let cost = (12.0 + pace.keys() as f64 * 2.0) / 1e6;
            now += cost.max((cost + 40e-6) / 2.0);
            cpu += cost;
            pace.batch(pace.keys());
            if pace.wants_cpu(Duration::from_secs_f64(now)) {
                pace.cpu(Duration::from_secs_f64(now), cpu);
            }
        }
        let in_flight = 2.0 * (12.0 + pace.keys() as f64 * 2.0);
        let may = Limits::default().in_flight_us;
        assert!((may * 0.75..may * 1.1).contains(&in_flight), "{in_flight} of {may}");
    }

    #[test]
    fn the_server_stays_under_its_busy_bound() {
        for others in [0.05, 0.3, 0.6] {
            let (_, busy) = drive(others, 12.0, 4.0);
            // Where others take nearly all of the bound, the least we ever take comes on top.
            let bound = Limits::default().busy.max(others + 0.05) + 0.05;
            assert!(busy < bound, "{others}: {busy} of {bound}");
        }
    }

    #[test]
    fn a_busy_server_is_left_alone_and_a_slow_ping_makes_us_step_back() {
        let mut pace = Pace::new(Limits::default(), 2);
        pace.idle_cpu(ms(0), 0.0);
        assert!(pace.idle_cpu(ms(100), 0.09).is_some_and(|busy| (busy - 0.9).abs() < 1e-9));
        assert!(pace.leave_alone() && pace.is_crowded());
        let mut pace = Pace::new(Limits::default(), 2);
        (0..5).for_each(|_| pace.idle_ping(Duration::from_micros(80)));
        for at in [200, 203] {
            pace.ping(ms(at), ms(3));
            assert!(pace.wait(ms(at)).is_none() && pace.wants_ping(ms(at)), "asked again at once");
        }
        pace.ping(ms(206), ms(3));
        assert!(pace.wait(ms(206)).is_some());
        assert_eq!(pace.found.stepped_back, 1);
    }

    #[test]
    fn a_machine_that_wakes_up_slowly_is_no_slow_server() {
        let mut pace = Pace::new(Limits::default(), 2);
        (0..5).for_each(|_| pace.idle_ping(Duration::from_micros(80)));
        for at in (200..20_000).step_by(60) {
            // The first after a rest is slow, the next is not.
            pace.ping(ms(at), ms(3));
            pace.ping(ms(at + 3), Duration::from_micros(90));
        }
        assert_eq!((pace.found.stepped_back, pace.wait(ms(20_000))), (0, None));
    }

    #[test]
    fn far_from_the_server_batches_are_larger_because_they_are_few() {
        let mut pace = idle();
        let (mut now, mut cpu) = (0.1, 0.0003);
        for _ in 0..200 {
            // A round trip of 50 ms; the server takes 0.3 % for itself.
            now += 0.05;
            for _ in 0..2 {
                cpu += (12.0 + pace.keys() as f64 * 4.0) / 1e6;
                pace.batch(pace.keys());
            }
            cpu += 0.05 * 0.003;
            pace.cpu(Duration::from_secs_f64(now), cpu);
        }
        let batch = 12.0 + pace.keys() as f64 * 4.0;
        assert!((300.0..=600.0).contains(&batch), "a hundredth of a round trip, and not {batch} µs");
    }

    #[test]
    fn after_a_storm_a_walk_takes_up_its_speed_again() {
        let mut pace = idle();
        let (mut now, mut cpu, mut done) = (0.1, 0.0003, 0);
        while now < 60.0 {
            // For ten seconds the machine is starved: everything costs fifty times as much.
            let dear = if now < 10.0 { 50.0 } else { 1.0 };
            let cost = (12.0 + pace.keys() as f64 * 4.0) * dear / 1e6;
            now += cost + 40e-6;
            cpu += cost;
            pace.batch(pace.keys());
            if now > 50.0 {
                done += pace.keys();
            }
            if let Some(rest) = pace.wait(Duration::from_secs_f64(now)) {
                now += rest.as_secs_f64() / 2.0;
                cpu += rest.as_secs_f64() / 2.0 * 0.003;
            }
            if pace.wants_cpu(Duration::from_secs_f64(now)) {
                pace.cpu(Duration::from_secs_f64(now), cpu);
            }
        }
        assert!(done > 300_000, "{done} keys in ten seconds");
    }
}
