//! Hands at work on a server, and the pace all of them keep together.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        Looking,
        fault::Fault,
        line::{Line, garbled},
        server::Budget,
        wire::Setup,
    },
    Ground, lock,
    meant::Names,
    name::PREFIX,
    point::point,
    shared::{SharedLine, alone},
};
use crate::{
    keyspace::{
        Server,
        cursor::{Layout, Stretch, slot_of},
        edge::Edge,
        pace::Pace,
        wire::{Batch, Reply, replies},
    },
    model::{Address, Progress},
    runbook::{Keys, Select},
};

/// So many go through the stages of the work side by side, so that a round trip and what a batch costs by itself are
/// paid once for several of them …
pub(super) const HANDS: usize = 6;
/// … over so many connections, so that the server works on what one asked while we think about what the other was
/// answered (`benches/purge.rs`).
pub(super) const CONNECTIONS: usize = 3;
/// With PING slow for so long, we are no help to anybody and stop.
const SLOW: Duration = Duration::from_secs(20);
/// How often people are told how it goes on.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// Taken from the end of the time given, to stop in good order.
const TO_STOP: Duration = Duration::from_millis(500);

/// How far the work has come, over all servers.
pub(super) struct Told {
    pub(super) doing: &'static str,
    pub(super) unit: &'static str,
    pub(super) total: Option<u64>,
    pub(super) done: AtomicU64,
    progress: Option<watch::Sender<Progress>>,
    begun: Instant,
    last: Mutex<Option<Instant>>,
}

impl Told {
    pub(super) fn new(doing: &'static str, total: Option<u64>, cx: &Looking) -> Self {
        let told = Self {
            doing,
            unit: "keys",
            total,
            done: AtomicU64::new(0),
            progress: cx.progress.clone(),
            begun: Instant::now(),
            last: Mutex::default(),
        };
        // What is being done is said before the first of it is.
        told.add(0);
        told
    }

    pub(super) fn add(&self, count: u64) -> u64 {
        let done = self.done.fetch_add(count, Ordering::Relaxed) + count;
        let Some(progress) = &self.progress else { return done };
        let mut last = lock(&self.last);
        if last.is_some_and(|last| last.elapsed() < TELL_EVERY) {
            return done;
        }
        *last = Some(Instant::now());
        let rate = done as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        progress.send_replace(Progress {
            doing: self.doing.to_owned(),
            done,
            total: self.total,
            unit: self.unit.to_owned(),
            rate: (done > 0).then_some(rate),
            left_s: self.total.filter(|_| rate > 0.0).map(|total| total.saturating_sub(done) as f64 / rate),
        });
        done
    }
}

/// What the connections to one server share.
pub(super) struct Host {
    pub(super) address: Address,
    pace: Mutex<Pace>,
    begun: Instant,
    budget: Budget,
    stop: CancellationToken,
    slow_since: Mutex<Option<Instant>>,
    pub(super) facts: Server,
    /// `PEXPIRETIME` is known here.
    pub(super) absolute: bool,
    /// What looking does to a key is not counted as use.
    pub(super) untouched: bool,
    /// The server's clock less ours, in milliseconds.
    pub(super) ahead_ms: i64,
}

impl Host {
    /// The server's clock.
    pub(super) fn now_ms(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond() + self.ahead_ms
    }
}

/// One of the hands at work, at a connection of its own or one it shares.
pub(super) struct Lane {
    /// Which of the hands it is.
    nth: usize,
    line: Arc<SharedLine>,
    /// The bytes that answer what was asked last.
    answer: Vec<u8>,
    pub(super) server: Arc<Host>,
}

pub(super) fn setup<'a>(ground: &'a Ground, address: &'a Address, name: &'static str) -> Setup<'a> {
    let cluster = ground.site.is_cluster();
    Setup {
        address,
        tls: ground.instance.tls.as_ref(),
        credential: ground.credential(),
        database: if cluster { 0 } else { ground.instance.database },
        name,
        // READONLY is for replicas; here it is primaries that are spoken to.
        cluster: false,
        client_denied: false,
        sentinel: false,
    }
}

/// What our connections are called there.
fn called(ground: &Ground) -> &'static str {
    if ground.touches { "rediscue-touch" } else { "rediscue-scan" }
}

/// Learns what has to be known of a server that so many connections will work on, and how quick it is while we do
/// nothing.
pub(super) async fn meet(
    ground: &Ground,
    address: &Address,
    connections: usize,
    cx: &Looking,
) -> Result<Arc<Host>, Fault> {
    let budget = super::super::budget(cx);
    let mut line = Line::open(setup(ground, address, called(ground)), budget.until()).await?;
    let begun = Instant::now();
    // To count what a change would reach is a look yet.
    let settings = &ground.site.settings;
    let limits = if ground.agreed { settings.changing } else { settings.pace };
    let mut pace = Pace::new(limits, connections);
    let mut first = Batch::default();
    first.push(&[b"INFO"]);
    first.push(&[b"TIME"]);
    first.push(&[b"PEXPIRETIME", b"rediscue:aside:"]);
    line.ask(&first, budget.until()).await?;
    let (facts, ahead_ms, absolute) = {
        let replies = line.replies()?;
        let info = match &replies[0] {
            Reply::Bulk(text) | Reply::Status(text) => String::from_utf8_lossy(text).into_owned(),
            Reply::Error(text) if text.starts_with(b"NOAUTH") => {
                return Err(Fault::Server(String::from_utf8_lossy(text).into_owned()));
            }
            _ => String::new(),
        };
        let time = replies[1].array().and_then(|parts| Some((parts.first()?.integer()?, parts.get(1)?.integer()?)));
        let ours = jiff::Timestamp::now().as_millisecond();
        let ahead = time.map_or(0, |(seconds, micros)| seconds * 1_000 + micros / 1_000 - ours);
        (Server::read(&info), ahead, replies[2].integer().is_some())
    };
    if let Some(cpu) = facts.cpu {
        pace.idle_cpu(begun.elapsed(), cpu);
    }
    let mut ping = Batch::default();
    ping.push(&[b"PING"]);
    for _ in 0..8 {
        let start = Instant::now();
        line.ask(&ping, budget.until()).await?;
        pace.idle_ping(start.elapsed());
        sleep(Duration::from_millis(4)).await;
    }
    if facts.cpu.is_some() {
        let mut info = Batch::default();
        info.push(&[b"INFO", b"cpu"]);
        line.ask(&info, budget.until()).await?;
        if let Some(cpu) = cpu(&line.replies()?[0]) {
            pace.idle_cpu(begun.elapsed(), cpu);
        }
    }
    // Never in a cluster, where 8.0.6 crashed on it.
    let mut untouched = false;
    if !ground.site.is_cluster() {
        untouched = no_touch(&mut line, budget).await?;
    }
    pace.begin(begun.elapsed(), connections);
    Ok(Arc::new(Host {
        address: address.clone(),
        pace: Mutex::new(pace),
        begun,
        budget,
        stop: cx.stop.clone(),
        slow_since: Mutex::default(),
        facts,
        absolute,
        untouched,
        ahead_ms,
    }))
}

async fn no_touch(line: &mut Line, budget: Budget) -> Result<bool, Fault> {
    let mut batch = Batch::default();
    batch.push(&[b"CLIENT", b"NO-TOUCH", b"ON"]);
    line.ask(&batch, budget.until()).await?;
    Ok(line.replies()?[0].error().is_none())
}

fn cpu(reply: &Reply<'_>) -> Option<f64> {
    Server::read(&String::from_utf8_lossy(reply.text()?)).cpu
}

impl Lane {
    /// A connection of its own.
    pub(super) async fn open(ground: &Ground, server: &Arc<Host>) -> Result<Self, Fault> {
        let mut line = Line::open(setup(ground, &server.address, called(ground)), server.budget.until()).await?;
        if server.untouched {
            no_touch(&mut line, server.budget).await?;
        }
        Ok(Self { nth: 0, line: Arc::new(SharedLine::new(line)), answer: Vec::new(), server: server.clone() })
    }

    /// Another one at the same connection.
    pub(super) fn beside(&self) -> Self {
        Self { nth: 0, line: self.line.clone(), answer: Vec::new(), server: self.server.clone() }
    }

    /// How many keys a batch may hold now.
    pub(super) fn keys(&self) -> usize {
        lock(&self.server.pace).keys()
    }

    /// Sends a batch about so many keys, and reads its replies.
    pub(super) async fn ask(&mut self, batch: &Batch, keys: usize) -> Result<Vec<Reply<'_>>, Fault> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        point();
        let server = &self.server;
        let went = |keys| lock(&server.pace).batch(keys);
        self.answer = self.line.ask(batch, keys, || server.budget.until(), went).await?;
        point();
        replies(&self.answer, batch.replies).map_err(|_| garbled())
    }

    /// Rests as long as the pace demands. `Some`: it is time to stop, and why.
    pub(super) async fn breathe(&mut self) -> Result<Option<String>, Fault> {
        let server = self.server.clone();
        loop {
            if server.stop.is_cancelled() {
                return Ok(Some("it was stopped".to_owned()));
            }
            if server.budget.end < Instant::now() + TO_STOP {
                return Ok(Some("its time was over".to_owned()));
            }
            if lock(&server.slow_since).is_some_and(|since| since.elapsed() > SLOW) {
                return Ok(Some("the server had become slow, and stayed so".to_owned()));
            }
            let (asked, now) = (Instant::now(), server.begun.elapsed());
            let (wants_cpu, wants_ping, wait) = {
                let mut pace = lock(&server.pace);
                (server.facts.cpu.is_some() && pace.wants_cpu(now), pace.wants_ping(now), pace.wait(now))
            };
            if !wants_cpu && !wants_ping && wait.is_none() {
                return Ok(None);
            }
            // The others wait meanwhile: a rest is one of the connection, and nothing goes out before a PING.
            let mut line = self.line.taken().await;
            if wants_cpu {
                let mut info = Batch::default();
                info.push(&[b"INFO", b"cpu"]);
                let line = alone(&mut line, &info, server.budget.until()).await?;
                if let Some(cpu) = cpu(&line.replies()?[0]) {
                    lock(&server.pace).cpu(server.begun.elapsed(), cpu);
                }
            }
            if wants_ping {
                let mut ping = Batch::default();
                ping.push(&[b"PING"]);
                let start = Instant::now();
                alone(&mut line, &ping, server.budget.until()).await?;
                let mut pace = lock(&server.pace);
                let before = pace.found.stepped_back;
                pace.ping(server.begun.elapsed(), start.elapsed());
                let usual = Duration::from_micros(pace.found.ping_before_us.unwrap_or(100.0) as u64);
                let mut slow = lock(&server.slow_since);
                if pace.found.stepped_back > before {
                    slow.get_or_insert_with(Instant::now);
                } else if start.elapsed() < usual * 4 + Duration::from_millis(1) {
                    *slow = None;
                }
            }
            match wait {
                None => return Ok(None),
                // From when it was asked for: another may have rested already for the same reason.
                Some(wait) => tokio::select! {
                    () = sleep_until(asked + wait) => {}
                    () = server.stop.cancelled() => {}
                },
            }
        }
    }
}

/// Which side of the edge between two walks one is on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// Walks the names of a stretch of the keyspace, or goes through names that were met before.
pub(super) struct Walk {
    /// Names met before, and how many of them were handed out.
    among: Option<(Arc<Names>, usize)>,
    glob: Option<Vec<u8>>,
    kind: Option<String>,
    stretch: Stretch,
    /// Where another walk begins or ends.
    edge: Option<(Side, Arc<Mutex<Edge>>)>,
    layout: Layout,
    cursor: u64,
    ended: bool,
    /// The last step gave few names for what it passed over.
    sparse: bool,
    /// Our own names are what is looked for.
    own: bool,
    names: VecDeque<Vec<u8>>,
}

impl Walk {
    /// The walks of a selection over a server, so that one can be thought about while the server works on the other;
    /// one key needs no walk.
    fn over(select: &Select, layout: Layout) -> Vec<Self> {
        let glob = match &select.keys {
            Keys::One(name) => return vec![Self::at(name.as_bytes())],
            Keys::Matching(glob) => Some(glob.as_bytes().to_vec()),
            Keys::Every => None,
        };
        let edge = Arc::new(Mutex::new(Edge::default()));
        let halves = Stretch::split(2).into_iter().zip([Side::Before, Side::After]);
        let half = |(stretch, side): (Stretch, Side)| {
            let whole = Self::new(glob.clone(), select.kind.clone(), layout, false);
            Self { cursor: layout.at(stretch.from), stretch, edge: Some((side, edge.clone())), ..whole }
        };
        halves.map(half).collect()
    }

    /// A walk over names of ours.
    pub(super) fn own(glob: Vec<u8>, layout: Layout) -> Self {
        Self::new(Some(glob), None, layout, true)
    }

    fn new(glob: Option<Vec<u8>>, kind: Option<String>, layout: Layout, own: bool) -> Self {
        let stretch = Stretch { from: 0, to: None };
        let cursor = layout.at(stretch.from);
        let (among, edge, names) = (None, None, VecDeque::new());
        Self { among, glob, kind, stretch, edge, layout, cursor, ended: false, sparse: false, own, names }
    }

    fn at(name: &[u8]) -> Self {
        let mut walk = Self::new(None, None, Layout::Plain, true);
        walk.names.push_back(name.to_vec());
        walk.ended = true;
        walk
    }

    fn among(names: Arc<Names>) -> Self {
        let mut walk = Self::new(None, None, Layout::Plain, false);
        walk.ended = names.len() == 0;
        walk.among = Some((names, 0));
        walk
    }

    /// How much of it is behind us, 0 to 1.
    pub(super) fn share(&self) -> f64 {
        match &self.among {
            _ if self.ended => 1.0,
            Some((names, at)) => *at as f64 / names.len() as f64,
            None => self.stretch.done(self.layout, self.cursor),
        }
    }

    /// Whether everything was handed out.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.names.is_empty()
    }

    /// Whether a name that came counts here; `past`: the step that brought it ran over the end.
    fn counts(&self, name: &[u8], past: bool) -> bool {
        let Some((side, edge)) = &self.edge else { return true };
        match (side, self.stretch.to.and_then(|to| self.layout.slot(to))) {
            (Side::Before, Some(end)) => !past || slot_of(name) < end,
            (Side::Before, None) => !past || lock(edge).counts_before(name),
            (Side::After, _) => self.layout != Layout::Plain || lock(edge).counts_after(name),
        }
    }

    /// The next names, not more than `most`; empty when this step of the walk found none, or it is over.
    pub(super) async fn next(&mut self, lane: &mut Lane, most: usize) -> Result<Vec<Vec<u8>>, Fault> {
        if self.names.len() < most && !self.ended {
            match &mut self.among {
                Some((among, at)) => {
                    let some = (*at..among.len().min(*at + most)).filter_map(|nth| among.get(nth));
                    self.names.extend(some.map(<[u8]>::to_vec));
                    *at = among.len().min(*at + most);
                    self.ended = *at == among.len();
                }
                None => self.scan(lane).await?,
            }
        }
        let count = most.min(self.names.len());
        Ok(self.names.drain(..count).collect())
    }

    async fn scan(&mut self, lane: &mut Lane) -> Result<(), Fault> {
        // A name that is told costs a fraction of one that is worked on, one that is passed over a fraction of that.
        let count = (lane.keys() * if self.sparse { 10 } else { 4 }).clamp(16, 512);
        let asked = count;
        let (cursor, count) = (self.cursor.to_string(), count.to_string());
        let mut words: Vec<&[u8]> = vec![b"SCAN", cursor.as_bytes()];
        if let Some(glob) = &self.glob {
            words.extend([b"MATCH".as_slice(), glob]);
        }
        words.extend([b"COUNT".as_slice(), count.as_bytes()]);
        if let Some(kind) = &self.kind {
            words.extend([b"TYPE".as_slice(), kind.as_bytes()]);
        }
        let mut batch = Batch::default();
        batch.push(&words);
        let replies = lane.ask(&batch, 0).await?;
        if let Some(error) = replies[0].error() {
            return Err(Fault::Server(error));
        }
        // A cursor may use all 64 bits.
        let found = replies[0].array().and_then(|parts| {
            let cursor: u64 = std::str::from_utf8(parts.first()?.text()?).ok()?.parse().ok()?;
            Some((cursor, parts.get(1)?.array()?))
        });
        let Some((cursor, names)) = found else { return Err(super::super::line::garbled()) };
        self.sparse = names.len() * 4 < asked;
        let past = self.stretch.is_past(self.layout, cursor);
        // What another run has aside is not touched by this one.
        let meant = |name: &&[u8]| self.own == name.starts_with(PREFIX) && self.counts(name, past);
        let names: Vec<Vec<u8>> = names.iter().filter_map(Reply::text).filter(meant).map(<[u8]>::to_vec).collect();
        self.names.extend(names);
        (self.cursor, self.ended) = (cursor, past);
        Ok(())
    }
}

/// What comes next for one of the hands.
pub(super) enum Next {
    /// These keys.
    Names(Vec<Vec<u8>>),
    /// It is time to stop, and why.
    Stop(String),
    /// Nothing: the walk is over, or another of the hands has ended it.
    Over,
}

/// A walk that several hands take their names from: halves of the keyspace, each walked by whoever is free.
pub(super) struct SharedWalk {
    halves: Vec<tokio::sync::Mutex<Walk>>,
    hands: usize,
    /// Nothing is asked about the names: a hand takes all that came.
    names_alone: bool,
    ended: AtomicBool,
}

impl SharedWalk {
    /// The walk of a selection over a server. `names_alone`: nothing will be asked about the names.
    pub(super) fn over(select: &Select, layout: Layout, names_alone: bool) -> Self {
        Self::of(Walk::over(select, layout), names_alone)
    }

    /// Names that were met before, each of which is asked again whether it is meant.
    pub(super) fn among(names: Arc<Names>) -> Self {
        Self::of(vec![Walk::among(names)], false)
    }

    fn of(walks: Vec<Walk>, names_alone: bool) -> Self {
        let hands = match names_alone {
            _ if walks.iter().all(|walk| walk.ended) => 1,
            true => CONNECTIONS,
            false => HANDS,
        };
        let halves = walks.into_iter().map(tokio::sync::Mutex::new).collect();
        Self { halves, hands, names_alone, ended: AtomicBool::new(false) }
    }

    /// As many hands as it is worth.
    pub(super) async fn hands(&self, ground: &Ground, host: &Arc<Host>) -> Result<Vec<Lane>, Fault> {
        let mut hands = vec![Lane::open(ground, host).await?];
        for _ in 1..CONNECTIONS.min(self.hands) {
            // One will do where only one is to be had.
            hands.extend(Lane::open(ground, host).await.ok());
        }
        let lines = hands.len();
        for nth in lines..self.hands {
            hands.push(hands[nth % lines].beside());
        }
        hands.iter_mut().enumerate().for_each(|(nth, hand)| hand.nth = nth);
        Ok(hands)
    }

    /// What one of the hands does next, once it has rested.
    pub(super) async fn next(&self, lane: &mut Lane) -> Result<Next, Fault> {
        loop {
            if let Some(why) = lane.breathe().await? {
                return Ok(Next::Stop(why));
            }
            let Some(mut walk) = self.half(lane.nth).await else { return Ok(Next::Over) };
            let keys = if self.names_alone { usize::MAX } else { lane.keys() };
            let names = walk.next(lane, keys).await?;
            // A step of the walk may find none.
            if !names.is_empty() {
                return Ok(Next::Names(names));
            }
        }
    }

    /// A half that is not over, for oneself: first the one that the hands of a connection have in common.
    async fn half(&self, nth: usize) -> Option<tokio::sync::MutexGuard<'_, Walk>> {
        for at in 0..self.halves.len() {
            let walk = self.halves[(nth + at) % self.halves.len()].lock().await;
            if self.ended.load(Ordering::Relaxed) {
                return None;
            }
            if !walk.is_over() {
                return Some(walk);
            }
        }
        None
    }

    /// One met trouble or the bound: the others finish what they have in hand, and end too.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// How much of it is behind us, 0 to 1, once all hands have ended.
    pub(super) fn share(self) -> f64 {
        let parts = self.halves.len() as f64;
        self.halves.into_iter().map(|walk| walk.into_inner().share()).sum::<f64>() / parts
    }
}
