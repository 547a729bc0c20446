//! A survey of one server: what to send next, told what came back.
//!
//! Two lanes (connections) share one survey. Each lane keeps at most one batch
//! in flight; a batch asks about the names the previous SCAN of the same lane
//! gave and carries the next SCAN, so a round trip is never wasted. Order of
//! events:
//!
//! 1. hello: NO-TOUCH is tried, DBSIZE and INFO are read;
//! 2. quiet: a few PINGs and two readings of CPU time say how the server is without us;
//!    a busy one is left alone here;
//! 3. sample: SCAN at random cursors, until enough keys were seen;
//! 4. walk: each lane takes stretches of the cursor space until none is left;
//! 5. polls (only where use is not counted by the server): the least idle keys are looked at again and again;
//! 6. last words: the few keys that will be named are asked for what the walk did not ask.
//!
//! What the server's ACL keeps from us is told, not counted as nothing: a command that is refused is
//! not asked again and what it would have told is unknown; a key that is refused is passed over.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::{
    Kind, Seen, Tally, Ttl,
    ask::{Aim, Ask, Question, length_command},
    checkpoint::{Checkpoint, Piece},
    cursor::{Layout, Stretch, slot_of},
    edge::Edge,
    glob,
    pace::Pace,
    sample::{Sample, Sampled},
    server::Server,
    top::{self, Named, Top},
    wire::{Batch, Reply},
};

/// What the driver does next for a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this and come back with its replies.
    Send(Batch),
    /// Come back after this long, with no replies.
    Wait(Duration),
    /// This lane is done; its connection can be closed.
    Done,
    /// The survey cannot go on: the server's error line.
    Failed(String),
}

/// How many lanes a survey has.
pub const LANES: usize = 2;

/// Stretches of the walk. For one table, one per lane; where keys lie by slot, many, because a
/// node's slots are seldom spread evenly.
const SLOT_STRETCHES: u32 = 64;
/// How long the server is watched before it is touched.
const QUIET: Duration = Duration::from_millis(36);
/// How much longer when it looks busy: one short moment says little.
const QUIET_LONGER: Duration = Duration::from_millis(300);
/// Keys polled for how often they are used, and how often they are.
const POLLED: usize = 200;
/// Rounds of polling.
const POLLS: u32 = 8;
/// Between two rounds. Idle time is kept in whole seconds.
const POLL_EVERY: Duration = Duration::from_millis(1_000);

/// An audit of lifetimes weighs every key that never expires; of those that do, so many, and after them …
const WEIGHED: u64 = 40_000;
/// … one in so many, which stands for the others.
const WEIGHED_OF: u64 = 8;

/// What lists the keys.
pub(super) const SCAN: &str = "SCAN";

/// How often a lane that does not walk looks whether the walk is over.
const ASIDE: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Hello,
    Quiet,
    Sample,
    Walk,
    Poll,
    LastWords,
    Done,
}

/// Where the names of a lane come from now.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Source {
    None,
    Random,
    Piece { index: usize, cursor: u64 },
}

/// Names of one SCAN on their way through the questions.
#[derive(Debug, Default)]
struct Group {
    keys: Vec<Key>,
    /// Where the walk stands once these are counted.
    piece: Option<(usize, u64)>,
    /// Which SCAN of the sample it was.
    cluster: u32,
}

#[derive(Debug, Clone)]
struct Key {
    name: Vec<u8>,
    kind: Option<Kind>,
    ttl: Option<Ttl>,
    bytes: Option<u64>,
    elements: Option<u64>,
    heat: Option<u64>,
    /// See [`Seen::stands_for`].
    stands_for: u64,
    gone: bool,
    /// Our user may not ask about this key.
    barred: bool,
}

impl Key {
    fn new(name: &[u8]) -> Self {
        Self {
            name: name.to_vec(),
            kind: None,
            ttl: None,
            bytes: None,
            elements: None,
            heat: None,
            stands_for: 1,
            gone: false,
            barred: false,
        }
    }
}

/// What a batch in flight will bring, in order.
#[derive(Debug, Default)]
struct Sent {
    at: Duration,
    hello: bool,
    questions: Vec<Question>,
    /// Asked with `questions`.
    group: Option<Group>,
    /// Asked once more, because of what was answered first: (index in the group).
    again: Option<(Group, Vec<usize>)>,
    scan: Option<Source>,
    cpu: bool,
    ping: bool,
    poll: Option<Vec<usize>>,
    last: Option<Vec<Key>>,
}

#[derive(Debug)]
struct Lane {
    source: Source,
    sent: Option<Sent>,
    /// Names waiting for their questions.
    names: Option<Group>,
    /// Answered, waiting to be asked once more.
    answered: Option<Group>,
    rested: bool,
}

impl Lane {
    fn is_drained(&self) -> bool {
        self.sent.is_none() && self.names.is_none() && self.answered.is_none()
    }
}

/// A key on the list of those polled.
#[derive(Debug, Clone)]
struct Polled {
    name: Vec<u8>,
    fresh: u32,
    asked: u32,
}

/// The survey of one server.
#[derive(Debug)]
pub struct Survey {
    ask: Ask,
    phase: Phase,
    lanes: [Lane; LANES],
    pace: Pace,
    random: u64,
    server: Server,
    dbsize: u64,
    layout: Layout,
    slots: Vec<(u16, u16)>,
    no_touch: [Option<bool>; LANES],
    denied: HashMap<&'static str, String>,
    quiet_until: Option<Duration>,
    busy_looked_twice: bool,
    sample: Sample,
    sampled_at: Option<Duration>,
    first_ready: bool,
    pieces: Vec<Piece>,
    edges: Vec<Edge>,
    tally: Tally,
    hot: Top,
    walked: u64,
    vanished: u64,
    barred: u64,
    walk_began: Option<(Duration, f64)>,
    walk_ended: Option<Duration>,
    last_now: Duration,
    polled: Vec<Polled>,
    poll_queue: VecDeque<usize>,
    poll_round: u32,
    next_poll: Duration,
    named: HashMap<Vec<u8>, Key>,
    last_queue: VecDeque<Vec<u8>>,
    stopping: bool,
    left_alone: bool,
    skipped_walk: bool,
    resumed: Option<Duration>,
    ended_at: Option<Duration>,
}

/// What a survey came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The server's facts.
    pub server: Server,
    /// Keys of the database when it began.
    pub dbsize: u64,
    /// The walk's tally; complete when `complete`.
    pub tally: Tally,
    /// Hot keys, hottest first: name, heat, type, bytes.
    pub hot: Vec<Hot>,
    /// Keys the walk counted.
    pub walked: u64,
    /// Names that were gone when they were asked about.
    pub vanished: u64,
    /// Keys our user may not ask about; they are in no figure.
    pub barred: u64,
    /// The part of the walk that is done, 0 to 1.
    pub done: f64,
    /// The walk went to its end.
    pub complete: bool,
    /// The server was too busy to be touched.
    pub left_alone: bool,
    /// The server had no room for the walk.
    pub skipped_walk: bool,
    /// It went on from a checkpoint that was made so long ago.
    pub resumed: Option<Duration>,
    /// NO-TOUCH was on.
    pub no_touch: bool,
    /// Questions that were refused, with the server's words.
    pub denied: Vec<(String, String)>,
    /// What the pace found.
    pub pace: super::pace::Found,
    /// The named keys' further facts, by name: type, bytes, lifetime.
    pub named: HashMap<Vec<u8>, NamedFacts>,
    /// From the first byte to the first answer.
    pub first_after: Option<Duration>,
    /// From the first byte to the end of the walk.
    pub counted_after: Option<Duration>,
    /// From the first byte to the end.
    pub took: Duration,
}

/// What was asked of a key that is named, as far as it was told: type, bytes, lifetime.
pub type NamedFacts = (Option<Kind>, Option<u64>, Option<Ttl>);

/// What a survey is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// It has not begun to count.
    Sampling,
    /// It walks over every key.
    Counting,
    /// It looks again at those used last: which time, of how many.
    Watching(u32, u32),
    /// It asks about the keys it will name.
    Naming,
}

impl Outcome {
    /// The server refused that to our user.
    pub fn is_denied(&self, what: &str) -> bool {
        self.denied.iter().any(|(denied, _)| denied == what)
    }
}

/// A key that is used much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hot {
    /// Its name.
    pub name: Vec<u8>,
    /// The server's use counter (0 to 255), where it keeps one.
    pub freq: Option<u64>,
    /// In how many of so many looks it had been used within the last second.
    pub fresh: Option<(u32, u32)>,
}

impl Survey {
    /// A survey; `slots` are those a cluster's node owns, where they are known.
    pub fn new(ask: Ask, slots: Vec<(u16, u16)>) -> Self {
        let lane = || Lane { source: Source::None, sent: None, names: None, answered: None, rested: false };
        Self {
            pace: Pace::new(ask.limits, LANES),
            random: ask.seed,
            sample: Sample::default(),
            tally: ask.tally(),
            hot: Top::new(if ask.aim == Aim::Hotkeys { POLLED } else { 0 }),
            phase: Phase::Hello,
            lanes: [lane(), lane()],
            server: Server::default(),
            dbsize: 0,
            layout: Layout::Plain,
            slots,
            no_touch: [None; LANES],
            denied: HashMap::new(),
            quiet_until: None,
            busy_looked_twice: false,
            sampled_at: None,
            first_ready: false,
            pieces: Vec::new(),
            edges: Vec::new(),
            walked: 0,
            vanished: 0,
            barred: 0,
            walk_began: None,
            walk_ended: None,
            last_now: Duration::ZERO,
            polled: Vec::new(),
            poll_queue: VecDeque::new(),
            poll_round: 0,
            next_poll: Duration::ZERO,
            named: HashMap::new(),
            last_queue: VecDeque::new(),
            stopping: false,
            left_alone: false,
            skipped_walk: false,
            resumed: None,
            ended_at: None,
            ask,
        }
    }

    /// Goes on from a checkpoint, made so long ago, instead of beginning. It is ignored when it is of another server or another question.
    pub fn resume(&mut self, checkpoint: Checkpoint, age: Duration) {
        if let Some(kept) = checkpoint.fits(&self.ask, &self.slots) {
            self.server.run_id = kept.run_id;
            self.pieces = kept.pieces;
            self.edges = kept.edges.into_iter().map(Edge::of).collect();
            self.tally = kept.tally;
            self.hot = kept.hot;
            self.walked = kept.walked;
            self.vanished = kept.vanished;
            self.barred = kept.barred;
            // What was not told then is missing from the sums, whatever would be told now.
            let known = |what: &str| Question::ALL.into_iter().map(Question::called).find(|called| *called == what);
            self.denied = kept.denied.into_iter().filter_map(|(what, why)| Some((known(&what)?, why))).collect();
            self.resumed = Some(age);
        }
    }

    /// Everything needed to go on later.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint::new(
            &self.ask,
            self.slots.clone(),
            self.server.run_id.clone(),
            self.pieces.clone(),
            self.edges.iter().map(Edge::names).collect(),
            self.tally.clone(),
            self.hot.clone(),
            self.walked,
            self.vanished,
            self.barred,
            self.denied.iter().map(|(what, why)| ((*what).to_owned(), why.clone())).collect(),
        )
    }

    /// Asks it to end soon: what is in flight is still counted.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// The sample, once, when it is complete.
    pub fn first(&mut self) -> Option<Sample> {
        std::mem::take(&mut self.first_ready).then(|| std::mem::take(&mut self.sample))
    }

    /// How far it is: done and all of the keys, rate per second, seconds left.
    pub fn progress(&self) -> (u64, u64, Option<f64>, Option<f64>) {
        let done = self.walk_done();
        let rate = self.walk_began.and_then(|(began, from)| {
            let took = self.last_now.saturating_sub(began).as_secs_f64();
            (took > 0.2).then(|| ((done - from) / took, took))
        });
        let seen = (done * self.dbsize as f64) as u64;
        (
            seen.min(self.dbsize),
            self.dbsize,
            rate.map(|(share, _)| share * self.dbsize as f64),
            rate.filter(|(share, _)| *share > 0.0).map(|(share, _)| (1.0 - done) / share),
        )
    }

    /// What it is at.
    pub fn doing(&self) -> Doing {
        match self.phase {
            Phase::Hello | Phase::Quiet | Phase::Sample => Doing::Sampling,
            Phase::Walk => Doing::Counting,
            Phase::Poll => Doing::Watching(self.poll_round, POLLS),
            Phase::LastWords | Phase::Done => Doing::Naming,
        }
    }

    fn walk_done(&self) -> f64 {
        if self.pieces.is_empty() {
            return 0.0;
        }
        let owned = |piece: &Piece| piece.weight;
        let all: f64 = self.pieces.iter().map(owned).sum();
        let done: f64 = self.pieces.iter().map(|piece| owned(piece) * piece.done(self.layout)).sum();
        if all > 0.0 { done / all } else { 1.0 }
    }

    /// What it came to.
    pub fn outcome(mut self) -> Outcome {
        self.tally.settle();
        let no_touch = self.touches_nothing();
        let complete = !self.pieces.is_empty() && self.pieces.iter().all(|piece| piece.finished);
        let hot = self.hottest();
        Outcome {
            done: if complete { 1.0 } else { self.walk_done() },
            complete,
            hot,
            no_touch,
            denied: self.denied.into_iter().map(|(what, why)| (what.to_owned(), why)).collect(),
            pace: self.pace.found,
            named: self.named.into_iter().map(|(name, key)| (name, (key.kind, key.bytes, key.ttl))).collect(),
            server: self.server,
            dbsize: self.dbsize,
            tally: self.tally,
            walked: self.walked,
            vanished: self.vanished,
            barred: self.barred,
            left_alone: self.left_alone,
            skipped_walk: self.skipped_walk,
            resumed: self.resumed,
            first_after: self.sampled_at,
            counted_after: self.walk_ended,
            took: self.ended_at.unwrap_or(self.last_now),
        }
    }

    /// The keys used most, in the order they are told: those that are asked for their last words are the first of them.
    fn hottest(&self) -> Vec<Hot> {
        let mut hot: Vec<Hot> = if self.server.counts_use() {
            let told = |named: Named| Hot { freq: Some(named.weight), name: named.name, fresh: None };
            self.hot.sorted().into_iter().map(told).collect()
        } else {
            // How long a key was idle when the walk met it says nothing of now.
            let polled = self.polled.iter().filter(|one| one.fresh > 0);
            polled.map(|one| Hot { name: one.name.clone(), freq: None, fresh: Some((one.fresh, one.asked)) }).collect()
        };
        hot.sort_by(Hot::hotter);
        hot
    }

    /// Takes a lane's replies (none at first, and after a wait) and says what it does next.
    pub fn step(&mut self, lane: usize, replies: &[Reply<'_>], now: Duration) -> Step {
        self.last_now = self.last_now.max(now);
        if let Some(sent) = self.lanes[lane].sent.take()
            && let Err(error) = self.take(lane, sent, replies, now)
        {
            return Step::Failed(error);
        }
        loop {
            self.turn(now);
            let step = match self.phase {
                Phase::Done => Some(Step::Done),
                // A lane may be late; whatever the others are at, it introduces itself first.
                _ if self.no_touch[lane].is_none() => self.hello(lane, now),
                Phase::Hello => Some(Step::Wait(Duration::from_millis(1))),
                Phase::Quiet => self.quiet(lane, now),
                Phase::Sample | Phase::Walk => self.work(lane, now),
                Phase::Poll => self.poll(lane, now),
                Phase::LastWords => self.last_words(lane, now),
            };
            // `None`: the phase has just changed.
            if let Some(step) = step {
                return step;
            }
        }
    }

    // ---- what is sent ----

    fn send(&mut self, lane: usize, batch: Batch, mut sent: Sent, now: Duration) -> Option<Step> {
        sent.at = now;
        self.lanes[lane].sent = Some(sent);
        Some(Step::Send(batch))
    }

    fn hello(&mut self, lane: usize, now: Duration) -> Option<Step> {
        let mut batch = Batch::default();
        match self.slots.is_empty() {
            true => batch.push(&[b"CLIENT", b"NO-TOUCH", b"ON"]),
            // In a cluster Redis 8.0.6 crashed on it, as soon as a key of a slot on the move was asked for.
            false => batch.push(&[b"PING"]),
        }
        if lane == 0 {
            batch.push(&[b"DBSIZE"]);
            batch.push(&[b"INFO"]);
        }
        self.send(lane, batch, Sent { hello: true, ..Sent::default() }, now)
    }

    fn quiet(&mut self, lane: usize, now: Duration) -> Option<Step> {
        if lane != 0 {
            return Some(Step::Wait(Duration::from_millis(2)));
        }
        let until = *self.quiet_until.get_or_insert(now + QUIET);
        if now < until && !std::mem::replace(&mut self.lanes[0].rested, true) {
            return Some(Step::Wait(Duration::from_millis(5)));
        }
        self.lanes[0].rested = false;
        let mut batch = Batch::default();
        if now >= until && self.server.cpu.is_some() {
            batch.push(&[b"INFO", b"cpu"]);
            return self.send(lane, batch, Sent { cpu: true, ..Sent::default() }, now);
        }
        if now >= until {
            self.after_quiet(now, None);
            return None;
        }
        batch.push(&[b"PING"]);
        self.send(lane, batch, Sent { ping: true, ..Sent::default() }, now)
    }

    /// The server's state without us is known.
    fn after_quiet(&mut self, now: Duration, busy: Option<f64>) {
        if busy.is_some_and(|busy| busy >= self.ask.limits.busy * 0.9) && !self.busy_looked_twice {
            self.busy_looked_twice = true;
            self.quiet_until = Some(now + QUIET_LONGER);
            return;
        }
        if self.pace.leave_alone() || self.stopping {
            self.left_alone = self.pace.leave_alone();
            self.end(now);
            return;
        }
        self.pace.begin(now, LANES);
        // A small keyspace is walked sooner than it is sampled.
        let small = self.dbsize <= 2 * self.ask.sample as u64;
        if self.resumed.is_some() || self.ask.sample == 0 || (small && !self.pace.is_crowded()) {
            self.begin_walk(now);
        } else {
            self.phase = Phase::Sample;
            for lane in &mut self.lanes {
                lane.source = Source::Random;
            }
        }
    }

    fn begin_walk(&mut self, now: Duration) {
        if self.pieces.is_empty() {
            let stretches = match self.layout {
                Layout::Plain => Stretch::split(LANES as u32),
                Layout::Slots => Stretch::split(SLOT_STRETCHES),
            };
            self.pieces = stretches.into_iter().map(|stretch| Piece::new(stretch, self.layout, &self.slots)).collect();
            self.edges = vec![Edge::default(); self.pieces.len().saturating_sub(1)];
        }
        for piece in &mut self.pieces {
            piece.taken = false;
        }
        for lane in &mut self.lanes {
            lane.source = Source::None;
        }
        self.phase = Phase::Walk;
        self.walk_began = Some((now, self.walk_done()));
        self.pace.begin(now, self.walking());
    }

    /// Lanes that have a stretch of the walk now.
    #[cfg(test)]
    pub(super) fn lanes_at_work(&self) -> usize {
        self.lanes.iter().filter(|lane| matches!(lane.source, Source::Piece { .. })).count()
    }

    /// How many lanes walk.
    fn walking(&self) -> usize {
        self.ask.limits.lanes.clamp(1, LANES)
    }

    fn end(&mut self, now: Duration) {
        self.phase = Phase::Done;
        self.ended_at.get_or_insert(now);
    }

    /// Moves on to the next phase when the present one is through.
    fn turn(&mut self, now: Duration) {
        let drained = self.lanes.iter().all(Lane::is_drained);
        match self.phase {
            Phase::Sample if drained && self.sample_is_enough() => {
                self.sample.dbsize = self.dbsize;
                self.sample.server = self.server.clone();
                self.sample.db = self.ask.db;
                self.sample.no_touch = self.touches_nothing();
                self.sample.pace = self.pace.found;
                self.sample.took = now;
                if self.denied.contains_key(SCAN) {
                    // No name was told: there is nothing to answer from.
                    self.end(now);
                    return;
                }
                self.sample.denied = self.denied.iter().map(|(what, why)| ((*what).to_owned(), why.clone())).collect();
                self.sampled_at = Some(now);
                self.first_ready = true;
                if self.ask.sample_only || self.stopping || self.pace.is_crowded() {
                    self.skipped_walk = self.pace.is_crowded() && !self.ask.sample_only;
                    self.end(now);
                } else {
                    // Separators found in the sample spare the walk from keeping its first names.
                    self.begin_walk(now);
                }
            }
            Phase::Walk if drained && (self.stopping || self.pieces.iter().all(|piece| piece.finished)) => {
                self.walk_ended = Some(now);
                let polls = self.ask.aim == Aim::Hotkeys && !self.server.counts_use();
                if polls && !self.stopping && !self.denied.contains_key(Question::Idle.called()) {
                    let hot = self.hot.sorted();
                    self.polled = hot.into_iter().map(|one| Polled { name: one.name, fresh: 0, asked: 0 }).collect();
                    self.phase = Phase::Poll;
                    self.next_poll = now;
                } else {
                    self.begin_last_words();
                }
            }
            Phase::Poll if drained && self.poll_queue.is_empty() && (self.poll_round >= POLLS || self.stopping) => {
                self.begin_last_words();
            }
            Phase::LastWords if drained && (self.last_queue.is_empty() || self.stopping) => self.end(now),
            _ => {}
        }
    }

    fn sample_is_enough(&self) -> bool {
        // With a rare pattern names run out before matches do.
        self.stopping || self.sample.keys.len() >= self.ask.sample || self.sample.seen >= self.ask.sample as u64
    }

    /// What the walk asks of every key.
    fn questions(&self) -> Vec<Question> {
        let wanted: &[Question] = match self.ask.aim {
            Aim::Bigkeys => &[Question::Type, Question::Pttl, Question::Memory],
            Aim::TtlAudit if self.weighs_after() => &[Question::Pttl],
            Aim::Memkeys | Aim::TtlAudit => &[Question::Pttl, Question::Memory],
            Aim::Keys => match self.phase {
                Phase::Sample => &[Question::Type, Question::Pttl, Question::Memory],
                _ => &[],
            },
            Aim::Hotkeys if self.server.counts_use() => &[Question::Freq],
            Aim::Hotkeys => &[Question::Idle],
        };
        wanted.iter().copied().filter(|question| !self.denied.contains_key(question.called())).collect()
    }

    /// Whether every lane that has introduced itself has NO-TOUCH on.
    fn touches_nothing(&self) -> bool {
        self.no_touch[0] == Some(true) && self.no_touch.iter().all(|lane| *lane != Some(false))
    }

    fn asks_lengths(&self) -> bool {
        self.ask.aim == Aim::Bigkeys
            && (self.ask.lengths || self.touches_nothing())
            && !self.denied.contains_key(Question::Type.called())
    }

    /// Whether a key's lifetime decides if it is weighed.
    fn weighs_after(&self) -> bool {
        let asks = |question: Question| !self.denied.contains_key(question.called());
        self.ask.aim == Aim::TtlAudit
            && self.phase == Phase::Walk
            && !self.ask.weigh
            && asks(Question::Pttl)
            && asks(Question::Memory)
    }

    /// For how many keys the bytes of this one will be told; 0: it need not be weighed.
    fn stands_for(&self, key: &Key) -> u64 {
        match key.ttl {
            Some(Ttl::Left(_)) if self.walked >= WEIGHED => {
                // By its name, so that a key met twice is weighed twice or not at all.
                if (top::hash(&key.name) >> 32).is_multiple_of(WEIGHED_OF) { WEIGHED_OF } else { 0 }
            }
            _ => 1,
        }
    }

    fn work(&mut self, lane: usize, now: Duration) -> Option<Step> {
        if self.phase == Phase::Walk && lane >= self.walking() {
            return (!self.is_through(now)).then_some(Step::Wait(ASIDE));
        }
        if let Some(wait) = self.pace.wait(now) {
            return Some(Step::Wait(wait));
        }
        if self.pace.wants_ping(now) {
            let mut batch = Batch::default();
            batch.push(&[b"PING"]);
            return self.send(lane, batch, Sent { ping: true, ..Sent::default() }, now);
        }
        let mut batch = Batch::default();
        let mut sent = Sent { questions: self.questions(), ..Sent::default() };
        if let Some(mut group) = self.lanes[lane].answered.take() {
            let mut asked = Vec::new();
            for (index, key) in group.keys.iter_mut().enumerate().filter(|(_, key)| !key.gone && !key.barred) {
                if self.ask.aim == Aim::TtlAudit {
                    key.stands_for = self.stands_for(key);
                    if key.stands_for > 0 {
                        let (words, count) = Question::Memory.words(&key.name);
                        batch.push(&words[..count]);
                        asked.push(index);
                    }
                } else if let Some(command) =
                    key.kind.and_then(length_command).filter(|command| !self.denied.contains_key(*command))
                {
                    batch.push(&[command.as_bytes(), &key.name]);
                    asked.push(index);
                }
            }
            sent.again = Some((group, asked));
        }
        if let Some(group) = self.lanes[lane].names.take() {
            for key in &group.keys {
                for question in &sent.questions {
                    let (words, count) = question.words(&key.name);
                    batch.push(&words[..count]);
                }
            }
            sent.group = Some(group);
        }
        sent.scan = self.scan(lane, &mut batch);
        if batch.is_empty() && sent.group.is_none() && sent.again.is_none() {
            // Nothing left for this lane; the other may still be at work.
            return (!self.is_through(now)).then_some(Step::Wait(Duration::from_millis(1)));
        }
        if self.server.cpu.is_some() && self.pace.wants_cpu(now) {
            batch.push(&[b"INFO", b"cpu"]);
            sent.cpu = true;
        }
        if batch.is_empty() {
            // Groups without a question (names are all that is wanted): count them at once.
            let counted = self.take(lane, sent, &[], now);
            debug_assert!(counted.is_ok(), "nothing was asked, so nothing can be refused");
            return None;
        }
        self.send(lane, batch, sent, now)
    }

    /// Whether `turn` would now leave the phase.
    fn is_through(&mut self, now: Duration) -> bool {
        let before = self.phase;
        self.turn(now);
        self.phase != before
    }

    /// Adds the lane's next SCAN to a batch, if there is one.
    fn scan(&mut self, lane: usize, batch: &mut Batch) -> Option<Source> {
        if self.stopping {
            return None;
        }
        let count = self.scan_count();
        match self.phase {
            Phase::Sample => {
                let in_flight = self.lanes.iter().filter(|lane| lane.sent.is_some()).count() as u64;
                let coming = in_flight * count as u64;
                if self.sample_is_enough() || self.sample.seen + coming >= self.ask.sample as u64 + count as u64 {
                    return None;
                }
                let cursor = self.random_cursor();
                // No MATCH here: names that do not match are counted too, for the share of those that do.
                batch.push(&[b"SCAN", cursor.to_string().as_bytes(), b"COUNT", count.to_string().as_bytes()]);
                Some(Source::Random)
            }
            Phase::Walk => {
                if self.lanes[lane].source == Source::None {
                    let free = self.pieces.iter().position(|piece| !piece.finished && !piece.taken)?;
                    self.pieces[free].taken = true;
                    self.lanes[lane].source = Source::Piece { index: free, cursor: self.pieces[free].cursor };
                }
                let Source::Piece { cursor, .. } = self.lanes[lane].source else { return None };
                let (cursor, count) = (cursor.to_string(), count.to_string());
                match &self.ask.glob {
                    Some(glob) => {
                        batch.push(&[b"SCAN", cursor.as_bytes(), b"MATCH", glob, b"COUNT", count.as_bytes()]);
                    }
                    None => batch.push(&[b"SCAN", cursor.as_bytes(), b"COUNT", count.as_bytes()]),
                }
                Some(self.lanes[lane].source)
            }
            _ => None,
        }
    }

    /// How many names one SCAN asks for.
    fn scan_count(&self) -> usize {
        let keys = self.pace.keys();
        match (self.phase, self.ask.aim) {
            // A few keys from many places say more than many from few.
            (Phase::Sample, _) => keys.min(12),
            _ => keys,
        }
    }

    fn random_cursor(&mut self) -> u64 {
        let mut draw = || {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.random;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        match self.layout {
            Layout::Plain => draw() >> 16,
            Layout::Slots => {
                let owned: u64 = self.slots.iter().map(|(from, to)| u64::from(to - from) + 1).sum();
                let mut nth = draw() % owned.max(1);
                let slot = self.slots.iter().find_map(|&(from, to)| {
                    let length = u64::from(to - from) + 1;
                    if nth < length {
                        return Some(u64::from(from) + nth);
                    }
                    nth -= length;
                    None
                });
                ((draw() >> 28) << 14) | slot.unwrap_or(nth % 16_384)
            }
        }
    }

    fn poll(&mut self, lane: usize, now: Duration) -> Option<Step> {
        if self.poll_queue.is_empty() && now >= self.next_poll && self.poll_round < POLLS && !self.stopping {
            self.poll_queue = (0..self.polled.len()).collect();
            self.poll_round += 1;
            self.next_poll = now + POLL_EVERY;
        }
        let room = self.poll_queue.len().min(40);
        let some: Vec<usize> = self.poll_queue.drain(..room).collect();
        if some.is_empty() {
            return (!self.is_through(now)).then_some(Step::Wait(Duration::from_millis(20)));
        }
        let mut batch = Batch::default();
        for &index in &some {
            batch.push(&[b"OBJECT", b"IDLETIME", &self.polled[index].name]);
        }
        self.send(lane, batch, Sent { poll: Some(some), ..Sent::default() }, now)
    }

    /// Which keys will be named, and are asked for what the walk did not ask.
    fn begin_last_words(&mut self) {
        self.phase = Phase::LastWords;
        let few = self.ask.wanted.top.max(10);
        let mut names: Vec<Vec<u8>> = match self.ask.aim {
            Aim::Keys => self.tally.handful().into_iter().map(|named| named.name).collect(),
            Aim::Hotkeys => self.hottest().into_iter().take(few).map(|one| one.name).collect(),
            Aim::Memkeys | Aim::TtlAudit => {
                Kind::ALL.iter().flat_map(|kind| self.tally.largest(*kind)).map(|named| named.name).collect()
            }
            Aim::Bigkeys => Vec::new(),
        };
        names.dedup();
        self.last_queue = names.into();
    }

    fn last_words(&mut self, lane: usize, now: Duration) -> Option<Step> {
        let room = self.last_queue.len().min(10);
        let some: Vec<Key> = self.last_queue.drain(..room).map(|name| Key::new(&name)).collect();
        if some.is_empty() {
            return (!self.is_through(now)).then_some(Step::Wait(Duration::from_millis(1)));
        }
        let questions: Vec<Question> = [Question::Type, Question::Pttl, Question::Memory]
            .into_iter()
            .filter(|question| !self.denied.contains_key(question.called()))
            .collect();
        let mut batch = Batch::default();
        for key in &some {
            for question in &questions {
                let (words, count) = question.words(&key.name);
                batch.push(&words[..count]);
            }
        }
        if batch.is_empty() {
            return None;
        }
        self.send(lane, batch, Sent { last: Some(some), questions, ..Sent::default() }, now)
    }

    // ---- what came back ----

    fn take(&mut self, lane: usize, sent: Sent, replies: &[Reply<'_>], now: Duration) -> Result<(), String> {
        let mut replies = replies.iter();
        let mut next = || replies.next().unwrap_or(&Reply::Nil);
        let took = now.saturating_sub(sent.at);
        if sent.hello {
            self.no_touch[lane] = Some(next().text() == Some(b"OK"));
            if lane == 0 {
                self.dbsize = match next() {
                    Reply::Error(line) => return Err(String::from_utf8_lossy(line).into_owned()),
                    reply => reply.integer().unwrap_or(0).max(0) as u64,
                };
                let info = next().text().map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
                let before = std::mem::replace(&mut self.server, Server::read(&info));
                // A server that does not say which start of it this is may be another one.
                let same = before.run_id == self.server.run_id && !before.run_id.is_empty();
                if self.resumed.is_some() && !same {
                    self.forget_progress();
                }
                self.layout = self.server.layout();
                if let Some(seconds) = self.server.cpu {
                    self.pace.idle_cpu(now, seconds);
                }
                self.phase = Phase::Quiet;
            }
            return Ok(());
        }
        if sent.ping {
            next();
            match self.phase {
                Phase::Quiet => self.pace.idle_ping(took),
                _ => self.pace.ping(now, took),
            }
            return Ok(());
        }
        if let Some(polled) = sent.poll {
            for index in polled {
                let idle = next().integer();
                let one = &mut self.polled[index];
                one.asked += 1;
                one.fresh += u32::from(idle.is_some_and(|seconds| seconds <= 1));
            }
            return Ok(());
        }
        if let Some(mut keys) = sent.last {
            self.answers(&mut keys, &sent.questions, &mut next)?;
            self.named.extend(keys.into_iter().map(|key| (key.name.clone(), key)));
            return Ok(());
        }
        let mut keys = 0;
        if let Some((mut group, asked)) = sent.again {
            for index in asked {
                let key = &mut group.keys[index];
                match self.ask.aim {
                    Aim::TtlAudit => self.answers(std::slice::from_mut(key), &[Question::Memory], &mut next)?,
                    _ => match (next(), key.kind.and_then(length_command)) {
                        (Reply::Error(line), Some(command)) if line.starts_with(b"NOPERM") => {
                            self.denied.entry(command).or_insert_with(|| String::from_utf8_lossy(line).into_owned());
                        }
                        (reply, _) => key.elements = reply.integer().map(|length| length.max(0) as u64),
                    },
                }
            }
            self.count(group);
        }
        if let Some(mut group) = sent.group {
            keys = group.keys.len();
            self.answers(&mut group.keys, &sent.questions, &mut next)?;
            if self.asks_lengths() || self.weighs_after() {
                self.lanes[lane].answered = Some(group);
            } else {
                self.count(group);
            }
        }
        if let Some(source) = sent.scan {
            self.scanned(lane, source, next())?;
            if sent.questions.is_empty() {
                keys = self.lanes[lane].names.as_ref().map_or(0, |group| group.keys.len());
            }
        }
        if self.phase == Phase::Quiet || sent.cpu {
            let text = next().text().map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
            let seconds = Server::read(&text).cpu;
            match (self.phase, seconds) {
                (Phase::Quiet, seconds) => {
                    let busy = seconds.and_then(|seconds| self.pace.idle_cpu(now, seconds));
                    self.after_quiet(now, busy);
                }
                (_, Some(seconds)) => self.pace.cpu(now, seconds),
                _ => {}
            }
        }
        self.pace.batch(keys);
        Ok(())
    }

    /// The checkpoint was of another start of the server, whose keys may lie elsewhere.
    fn forget_progress(&mut self) {
        self.resumed = None;
        self.pieces.clear();
        self.edges.clear();
        self.tally = self.ask.tally();
        self.hot = Top::new(if self.ask.aim == Aim::Hotkeys { POLLED } else { 0 });
        (self.walked, self.vanished, self.barred) = (0, 0, 0);
        self.denied.clear();
    }

    fn answers<'r, 'b: 'r>(
        &mut self,
        keys: &mut [Key],
        questions: &[Question],
        next: &mut impl FnMut() -> &'r Reply<'b>,
    ) -> Result<(), String> {
        for key in keys {
            for question in questions {
                let reply = next();
                if let Reply::Error(line) = reply {
                    let line = String::from_utf8_lossy(line).into_owned();
                    let word = line.split(' ').next().unwrap_or_default();
                    match word {
                        "LOADING" | "BUSY" | "NOAUTH" | "MASTERDOWN" | "CLUSTERDOWN" => return Err(line),
                        "MOVED" | "ASK" | "TRYAGAIN" => key.gone = true,
                        // Gone between SCAN and OBJECT.
                        _ if line.contains("no such key") => key.gone = true,
                        "NOPERM" if is_about_a_key(&line) => key.barred = true,
                        _ => {
                            self.denied.entry(question.called()).or_insert(line);
                        }
                    }
                    continue;
                }
                match question {
                    Question::Type => {
                        let word = reply.text().unwrap_or_default();
                        key.gone |= word == b"none";
                        key.kind = Some(Kind::read(&String::from_utf8_lossy(word)));
                    }
                    Question::Pttl => match reply.integer() {
                        Some(-1) => key.ttl = Some(Ttl::Never),
                        Some(left) if left >= 0 => key.ttl = Some(Ttl::Left(left as u64)),
                        _ => key.gone = true,
                    },
                    Question::Memory => match reply.integer() {
                        Some(bytes) => key.bytes = Some(bytes.max(0) as u64),
                        None => key.gone = true,
                    },
                    Question::Freq => match reply.integer() {
                        Some(uses) => key.heat = Some(uses.max(0) as u64),
                        None => key.gone = true,
                    },
                    Question::Idle => match reply.integer() {
                        // The less idle, the hotter.
                        Some(seconds) => key.heat = Some(u64::from(u32::MAX).saturating_sub(seconds.max(0) as u64)),
                        None => key.gone = true,
                    },
                }
            }
        }
        Ok(())
    }

    fn scanned(&mut self, lane: usize, source: Source, reply: &Reply<'_>) -> Result<(), String> {
        if let Some(line) = reply.error() {
            if !line.starts_with("NOPERM") {
                return Err(line);
            }
            // What INFO tells is still something.
            self.denied.entry(SCAN).or_insert(line);
            self.stopping = true;
            return Ok(());
        }
        let parts = reply.array().filter(|parts| parts.len() == 2);
        let cursor =
            parts.and_then(|parts| parts[0].text()).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let (Some(parts), Some(cursor)) = (parts, cursor) else {
            return Err("ERR the server answered SCAN with something else".to_owned());
        };
        let names = parts[1].array().unwrap_or_default().iter().filter_map(Reply::text);
        let mut group = Group::default();
        match source {
            Source::None => {}
            Source::Random => {
                group.cluster = self.sample.clusters.len() as u32;
                self.sample.clusters.push(names.clone().count() as u32);
                for name in names {
                    self.sample.seen += 1;
                    if self.ask.glob.as_deref().is_none_or(|glob| glob::matches(glob, name)) {
                        group.keys.push(Key::new(name));
                    }
                }
            }
            Source::Piece { index, .. } => {
                let past = self.pieces[index].stretch.is_past(self.layout, cursor);
                group.keys = names.filter(|name| self.is_ours(index, name, past)).map(Key::new).collect();
                group.piece = Some((index, if past { 0 } else { cursor }));
                self.lanes[lane].source = if past { Source::None } else { Source::Piece { index, cursor } };
            }
        }
        self.lanes[lane].names = Some(group);
        Ok(())
    }

    /// Whether a name counts for this stretch. A SCAN that runs over the stretch's end brings names
    /// of the next one; each such name is counted by whichever lane sees it first.
    fn is_ours(&mut self, index: usize, name: &[u8], past: bool) -> bool {
        if let Some(to) = self.pieces[index].stretch.to
            && past
        {
            if let Some(end) = self.layout.slot(to) {
                return slot_of(name) < end;
            }
            if !self.edges[index].counts_before(name) {
                return false;
            }
        }
        if self.layout == Layout::Plain
            && index > 0
            && let Some(edge) = self.edges.get_mut(index - 1)
        {
            return edge.counts_after(name);
        }
        true
    }

    /// Counts a group that has all its answers.
    fn count(&mut self, group: Group) {
        if self.phase == Phase::Sample {
            for key in group.keys.into_iter().filter(|key| !key.gone) {
                if key.barred {
                    self.sample.barred += 1;
                    continue;
                }
                self.sample.keys.push(Sampled {
                    name: key.name,
                    cluster: group.cluster,
                    kind: key.kind.unwrap_or(Kind::Other),
                    ttl: key.ttl,
                    bytes: key.bytes.unwrap_or(0),
                    elements: key.elements,
                    heat: key.heat,
                });
            }
            return;
        }
        for key in &group.keys {
            if key.gone {
                self.vanished += 1;
                continue;
            }
            if key.barred {
                self.barred += 1;
                continue;
            }
            self.walked += 1;
            let seen = Seen {
                db: self.ask.db,
                name: &key.name,
                kind: key.kind.unwrap_or(Kind::Other),
                bytes: key.bytes.unwrap_or(0),
                elements: key.elements,
                ttl: key.ttl,
                stands_for: key.stands_for,
            };
            self.tally.add(&seen);
            if let Some(heat) = key.heat
                && self.hot.wants(heat)
            {
                self.hot.offer(Named {
                    weight: heat,
                    name: key.name.clone(),
                    db: self.ask.db,
                    kind: seen.kind,
                    bytes: seen.bytes,
                    elements: key.elements,
                    ttl: key.ttl,
                });
            }
        }
        if let Some((index, cursor)) = group.piece {
            let piece = &mut self.pieces[index];
            piece.cursor = cursor;
            piece.finished = cursor == 0;
        }
    }
}

impl Hot {
    /// The order in which they are told.
    pub(super) fn hotter(a: &Hot, b: &Hot) -> std::cmp::Ordering {
        (b.freq, b.fresh).cmp(&(a.freq, a.fresh)).then_with(|| a.name.cmp(&b.name))
    }
}

/// Whether a NOPERM is about the key and not about the command: `No permissions to access a key` since Redis 7.2,
/// before `this user has no permissions to access one of the keys used as arguments`.
fn is_about_a_key(line: &str) -> bool {
    line.contains("access") && line.contains("key")
}
