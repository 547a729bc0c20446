//! How much a selection reaches, before anything is done to it.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{
    Ended, Ground, Listed, NAMED,
    choose::{Chooser, Doubts, fatal},
    lane::{self, CONNECTIONS, Host, Lane, Next, SharedWalk, Told},
    meant::{Keeping, Names},
    primaries,
    spread::Spread,
    watch::{Present, Watch, Watched},
};
use crate::{
    diagnosis::Explained,
    exec::{Looking, fault::Fault},
    keyspace::wire::{Batch, Reply},
    model::Address,
    runbook::{Retime, Select},
};

/// What keys are counted for.
#[derive(Debug, Clone, Copy)]
pub enum CountFor<'a> {
    /// To show people what a change would reach: how much it is, of what kind, and some of it.
    Plan {
        /// What is counted is kept true for the run that may follow.
        watched: bool,
    },
    /// To see, right before it is carried out, that it still is what people consented to: how many there are. Their
    /// names are kept for what follows, and as that belongs to the change, it goes at the pace of one.
    Run {
        /// What was counted for the plan, and kept true since: not walked again.
        watched: &'a [Watched],
    },
}

impl CountFor<'_> {
    /// Whether it is the last count before a run.
    pub fn is_for_a_run(self) -> bool {
        matches!(self, Self::Run { .. })
    }
}

/// What a selection means now.
#[derive(Debug)]
pub struct Measured {
    /// Keys that are meant.
    pub keys: u64,
    /// Bytes of memory they take, as far as the server says.
    pub bytes: u64,
    /// Keys that the selection means and the change leaves as they are: such a deadline they have, or need not get.
    pub left: u64,
    /// Of them, those without a deadline.
    pub without_deadline: u64,
    /// Of them, those too large to be dumped, and their bytes.
    pub huge: (u64, u64),
    /// How they are spread over types and names.
    pub spread: Spread,
    /// Some of them, as people may see them.
    pub sample: Listed,
    /// Keys that were looked at and not meant because it could not be told.
    pub doubts: Doubts,
    /// Keys of the server's database, meant or not.
    pub of: u64,
    /// Everything was counted; else it is an estimate from the share that was.
    pub exact: bool,
    /// The share of the keyspace that was walked, 0 to 1.
    pub share: f64,
    /// Clients connected to the server: those who may notice.
    pub clients: u64,
    /// Why not everything was counted.
    pub stopped: Option<String>,
    /// The names of all of them, where they were to be kept and could be.
    pub names: Option<Arc<Names>>,
    /// What keeps them true from now on, where that was asked for and is possible.
    pub watch: Option<Watch>,
}

impl Measured {
    fn none() -> Self {
        Self {
            keys: 0,
            bytes: 0,
            left: 0,
            without_deadline: 0,
            huge: (0, 0),
            spread: Spread::default(),
            sample: Listed::default(),
            doubts: Doubts::default(),
            of: 0,
            exact: true,
            share: 0.0,
            clients: 0,
            stopped: None,
            names: None,
            watch: None,
        }
    }

    fn merge(&mut self, other: Measured) {
        self.keys += other.keys;
        self.bytes += other.bytes;
        self.left += other.left;
        self.without_deadline += other.without_deadline;
        self.huge = (self.huge.0 + other.huge.0, self.huge.1 + other.huge.1);
        self.spread.merge(other.spread);
        self.sample.merge(other.sample);
        self.doubts.merge(other.doubts);
        self.share += other.share;
        self.stopped = self.stopped.take().or(other.stopped);
    }

    /// What was counted in a share of the keyspace, for all of it.
    fn extrapolate(&mut self) {
        self.exact = self.share >= 1.0;
        if !self.exact && self.share > 0.0 {
            let whole = |count: &mut u64| *count = (*count as f64 / self.share).round() as u64;
            whole(&mut self.keys);
            whole(&mut self.bytes);
            whole(&mut self.left);
            whole(&mut self.without_deadline);
            whole(&mut self.huge.0);
            whole(&mut self.huge.1);
            self.spread.extrapolate(self.share);
        }
    }
}

pub(super) async fn measure(
    ground: &Ground,
    (select, to): (&Select, Option<Retime>),
    now_ms: i64,
    count: CountFor<'_>,
    cx: &Looking,
) -> Result<Vec<(Address, Measured)>, Explained> {
    let chooser = Chooser::new(select, now_ms, !count.is_for_a_run())?.telling_deadlines(to.is_some());
    let addresses = primaries(ground, cx).await?;
    let told = Told::new("counting", None, cx);
    let servers = join_all(addresses.iter().map(async |address| {
        let host = lane::meet(ground, address, CONNECTIONS, cx)
            .await
            .map_err(|fault| ground.explain(&fault, address, "INFO"))?;
        chooser.fits(&host)?;
        let mut found = Measured::none();
        let explain = |fault: &Fault| ground.explain(fault, address, "SCAN");
        let (of, clients) = counts(ground, &host).await.map_err(|fault| explain(&fault))?;
        if let CountFor::Run { watched } = count
            && let Some(present) = Watched::now(watched, select, address).await
        {
            let found = known(ground, &host, &chooser, present, &told).await.map_err(|fault| explain(&fault))?;
            return Ok((address.clone(), Measured { of, clients, ..found }));
        }
        // From before the first name is told, so that none is missed.
        let watch = match count {
            // What a deadline comes to depends on the time it is now.
            CountFor::Plan { watched: true } if to.is_none() => Watch::open(ground, &host, select, of).await,
            _ => None,
        };
        let walk = SharedWalk::over(select, host.facts.layout(), chooser.asks_nothing());
        let hands = walk.hands(ground, &host).await.map_err(|fault| explain(&fault))?;
        let keeping = || match (count, &watch) {
            (CountFor::Run { .. }, _) => Keeping::all(),
            (_, Some(_)) => Watch::keeping(),
            _ => Keeping::none(),
        };
        let mut names = keeping();
        let hands = hands.into_iter().map(|lane| one(ground, lane, (&chooser, to), &walk, keeping(), &told));
        for one in join_all(hands).await {
            let (one, met) = one.map_err(|fault| explain(&fault))?;
            found.merge(one);
            names.merge(met);
        }
        // Each server by its own share: they may hold very different numbers.
        found.share = walk.share();
        found.extrapolate();
        let names = names.whole().filter(|_| found.exact);
        match (watch, names) {
            (Some(watch), Some(names)) => {
                watch.hold(names);
                found.watch = Some(watch);
            }
            (_, names) => found.names = names,
        }
        (found.of, found.clients) = (of, clients);
        Ok::<_, Explained>((address.clone(), found))
    }))
    .await;
    servers.into_iter().collect()
}

/// What a selection means where all of it is known but for what was written since.
async fn known(
    ground: &Ground,
    host: &Arc<Host>,
    chooser: &Chooser,
    present: Present,
    told: &Told,
) -> Result<Measured, Fault> {
    let Present { names, written } = present;
    let mut found = Measured::none();
    let mut all = Keeping::without(&names, &written);
    found.keys = all.len() as u64;
    told.add(found.keys);
    let mut lane = Lane::open(ground, host).await?;
    let mut rest = written.into_iter().peekable();
    while rest.peek().is_some() {
        if let Some(why) = lane.breathe().await? {
            // More than it is, if anything.
            found.keys += rest.len() as u64;
            found.stopped = Some(why);
            break;
        }
        let some: Vec<Vec<u8>> = rest.by_ref().take(lane.keys().max(8)).collect();
        let count = some.len() as u64;
        let some = there(&mut lane, some).await?;
        for chosen in chooser.choose(&mut lane, some, &mut found.doubts).await? {
            found.keys += 1;
            all.add(&chosen.name);
        }
        told.add(count);
    }
    found.exact = found.stopped.is_none();
    found.share = 1.0;
    found.names = all.whole().filter(|_| found.exact);
    Ok(found)
}

/// Those of the names whose keys are there.
async fn there(lane: &mut Lane, names: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Fault> {
    let mut batch = Batch::default();
    names.iter().for_each(|name| batch.push(&[b"EXISTS", name]));
    let replies = lane.ask(&batch, names.len()).await?;
    fatal(replies.iter())?;
    Ok(names.into_iter().zip(&replies).filter(|(_, reply)| is_one(reply)).map(|(name, _)| name).collect())
}

/// Keys of the database, and clients of the server.
async fn counts(ground: &Ground, host: &Arc<Host>) -> Result<(u64, u64), Fault> {
    let mut lane = Lane::open(ground, host).await?;
    let mut batch = Batch::default();
    batch.push(&[b"DBSIZE"]);
    batch.push(&[b"INFO", b"clients"]);
    let replies = lane.ask(&batch, 0).await?;
    let keys = replies[0].integer().unwrap_or(0).max(0) as u64;
    let info = String::from_utf8_lossy(replies[1].text().unwrap_or_default()).into_owned();
    let clients = info.lines().find_map(|line| line.strip_prefix("connected_clients:")?.trim().parse().ok());
    Ok((keys, clients.unwrap_or(0)))
}

async fn one(
    ground: &Ground,
    mut lane: Lane,
    (chooser, to): (&Chooser, Option<Retime>),
    walk: &SharedWalk,
    mut names: Keeping,
    told: &Told,
) -> Result<(Measured, Keeping), Fault> {
    let mut found = Measured::none();
    loop {
        let came = match walk.next(&mut lane).await? {
            Next::Names(came) => came,
            Next::Stop(why) => {
                found.stopped = Some(why);
                break;
            }
            Next::Over => break,
        };
        let count = came.len() as u64;
        for chosen in chooser.choose(&mut lane, came, &mut found.doubts).await? {
            names.add(&chosen.name);
            if to.is_some_and(|to| chosen.ttl_ms.is_some_and(|ttl_ms| !to.changes(ttl_ms))) {
                found.left += 1;
                continue;
            }
            found.keys += 1;
            if !chooser.measures() {
                continue;
            }
            let bytes = chosen.bytes.unwrap_or(0);
            found.bytes += bytes;
            found.spread.add(&String::from_utf8_lossy(&chosen.kind), &chosen.name, bytes);
            found.without_deadline += u64::from(chosen.ttl_ms == Some(-1));
            if bytes > super::LARGEST_DUMP {
                found.huge = (found.huge.0 + 1, found.huge.1 + bytes);
            }
            if found.sample.handles.len() < NAMED {
                // What is shown by its handle can be named by it.
                let name = String::from_utf8_lossy(&chosen.name);
                super::lock(&ground.site.keys).add(&name);
            }
            found.sample.add(&chosen.name);
        }
        told.add(count);
    }
    Ok((found, names))
}

/// Why a lane ended early, if it did.
pub(super) fn worse(one: Ended, other: Ended) -> Ended {
    match (one, other) {
        (failed @ Ended::Failed(_), _) | (_, failed @ Ended::Failed(_)) => failed,
        (stopped @ Ended::Stopped(_), _) | (_, stopped @ Ended::Stopped(_)) => stopped,
        (Ended::Done, Ended::Done) => Ended::Done,
    }
}

/// A reply that counts.
pub(super) fn is_one(reply: &Reply<'_>) -> bool {
    reply.integer() == Some(1)
}
