//! What the count of a plan came upon, kept true until people have consented.
//!
//! Between a plan and its consent lie minutes, in which keys come, go and
//! change. To know what is meant once the consent is there, everything would
//! have to be walked again, which is most of what a change costs. So the
//! server is asked, before the count begins, to say which names under the
//! glob's literal prefix are written from then on (`CLIENT TRACKING … BCAST`,
//! Redis 6 and later, <https://redis.io/docs/latest/develop/reference/client-side-caching/>).
//! The names that were counted, and those it has said since, are all that has
//! to be looked at.
//!
//! This is never relied on where anything is missing of it: the right to it, the
//! connection, or the room. Then the run counts by walking, as it always could.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use super::{
    super::{
        fault::{Fault, silence},
        line::{Line, garbled},
    },
    Ground,
    lane::{Host, setup},
    lock,
    meant::{Keeping, Names},
    name::PREFIX,
};
use crate::{
    keyspace::{
        glob,
        wire::{Batch, Finder, Reply, replies},
    },
    model::Address,
    runbook::{Keys, Select},
};

/// Names that were counted take so much at most while they wait for people, and so do those that are written meanwhile.
const MOST_BYTES: usize = 16 << 20;
/// With so many names written since, to look at each is no better than to walk.
const MOST_WRITTEN: usize = 100_000;
/// To tell us of a write costs the server as much as to walk over so many keys (up to 6 µs, where it tells us of one at
/// a time, and 1.3 µs): once it has told so much that a walk would have cost no more, that is enough.
const WALKED_FOR_A_WRITE: u64 = 4;
/// So much may be told whatever the database holds.
const TOLD_AT_LEAST: u64 = 10_000;
/// Whoever consents after more than this waits for the walk.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// A server that does not answer within this is walked instead, where it answers again.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Names are told over this channel where RESP2 is spoken. A connection that listens to any channel is bounded by
/// `client-output-buffer-limit pubsub`: were this program to hang, the server would close the connection and not
/// keep what it cannot send.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// A selection, and its names on each server where they are kept true. Ends when it is dropped.
#[derive(Debug)]
pub struct Watched {
    /// The selection.
    pub select: Select,
    /// Where it was counted, and is watched.
    pub on: Vec<(Address, Watch)>,
}

impl Watched {
    /// What a selection means on a server now; `None`: that is not known without walking. Whoever asks ends the watch:
    /// what follows is a change of ours.
    pub(super) async fn now(watched: &[Self], select: &Select, server: &Address) -> Option<Present> {
        let same = watched.iter().filter(|one| one.select == *select);
        let (_, watch) = same.flat_map(|one| &one.on).find(|(address, _)| address == server)?;
        let mut present = watch.now().await?;
        // It is told of a prefix, and of every database.
        present.written.retain(|name| may_mean(select, name));
        Some(present)
    }
}

/// The names a count came upon on one server, and a connection over which it says which were written since.
#[derive(Debug)]
pub struct Watch {
    /// `None` until the count is over, and once the watch has ended.
    names: Arc<Mutex<Option<Arc<Names>>>>,
    /// Dropped with the watch, which ends the task that listens.
    ask: Mutex<Option<oneshot::Sender<Tell>>>,
}

/// Where the names go that were written since, when somebody asks.
type Tell = oneshot::Sender<HashSet<Vec<u8>>>;

/// What was counted, and what was written since.
pub(super) struct Present {
    /// Every name that was counted.
    pub(super) names: Arc<Names>,
    /// Names that may be meant and were written since: made, changed or removed.
    pub(super) written: HashSet<Vec<u8>>,
}

impl Watch {
    /// Watches what a selection means on a server, from before it is counted. `None`: it cannot be watched, or not here.
    /// `of`: so many keys the database holds.
    pub(super) async fn open(ground: &Ground, host: &Host, select: &Select, of: u64) -> Option<Self> {
        let prefix = prefix(select)?;
        let most_told = (of / WALKED_FOR_A_WRITE).max(TOLD_AT_LEAST);
        let ear = match Ear::open(ground, &host.address, prefix, most_told).await {
            Ok(ear) => ear?,
            Err(fault) => {
                tracing::debug!(?fault, "what is written cannot be listened to; a run will walk");
                return None;
            }
        };
        let names = Arc::new(Mutex::new(None));
        let (ask, asked) = oneshot::channel();
        tokio::spawn({
            let names = names.clone();
            async move {
                listen(ear, asked).await;
                // What is no longer kept true is of no use to anybody.
                *lock(&names) = None;
            }
        });
        Some(Self { names, ask: Mutex::new(Some(ask)) })
    }

    /// Takes what was counted.
    pub(super) fn hold(&self, names: Arc<Names>) {
        *lock(&self.names) = Some(names);
    }

    /// Names of so many bytes are kept while people think.
    pub(super) fn keeping() -> Keeping {
        Keeping::up_to(MOST_BYTES)
    }

    async fn now(&self) -> Option<Present> {
        // Before anything is asked: the task lets go of them when it ends.
        let names = lock(&self.names).clone()?;
        let ask = lock(&self.ask).take()?;
        let (tell, told) = oneshot::channel();
        ask.send(tell).ok()?;
        let written = told.await.ok()?;
        Some(Present { names, written })
    }
}

/// What all names of a selection begin with, where that and what is written say which keys are meant.
fn prefix(select: &Select) -> Option<&[u8]> {
    let Keys::Matching(glob) = &select.keys else { return None };
    // A key becomes idle without anybody writing it.
    let prefix = glob::literal_prefix(glob.as_bytes());
    (select.idle_s.is_none() && !prefix.is_empty()).then_some(prefix)
}

/// Whether a name is one of those that a selection asks about. What another run has aside never is.
fn may_mean(select: &Select, name: &[u8]) -> bool {
    !name.starts_with(PREFIX) && matches!(&select.keys, Keys::Matching(glob) if glob::matches(glob.as_bytes(), name))
}

/// Listens until somebody asks what was heard.
async fn listen(mut ear: Ear, mut asked: oneshot::Receiver<Tell>) {
    let tell = tokio::select! {
        fault = ear.hear() => {
            tracing::debug!(?fault, "what was written is no longer known; a run will walk");
            return;
        }
        () = sleep(LONGEST) => return,
        tell = &mut asked => tell,
    };
    let Ok(tell) = tell else { return };
    match ear.up_to_now().await {
        Ok(written) => drop(tell.send(written)),
        Err(fault) => tracing::debug!(?fault, "what was written is not known; the run walks"),
    }
}

/// A connection that hears which names are written.
struct Ear {
    line: Line,
    /// So much of what came was read.
    read: usize,
    /// Databases were exchanged so often before: that is told to nobody.
    swaps: u64,
    written: HashSet<Vec<u8>>,
    /// So long these are together.
    bytes: usize,
    /// How often a name was told.
    told: u64,
    /// More is too much.
    most_told: u64,
}

impl Ear {
    /// `None`: this server does not offer it, or not to us.
    async fn open(ground: &Ground, address: &Address, prefix: &[u8], most_told: u64) -> Result<Option<Self>, Fault> {
        let until = Instant::now() + ANSWERS_WITHIN;
        let mut line = Line::open(setup(ground, address, "rediscue-watch"), until).await?;
        line.buffer.clear();
        let mut ear = Self { line, read: 0, swaps: 0, written: HashSet::new(), bytes: 0, told: 0, most_told };
        let mut batch = Batch::default();
        batch.push(&[b"HELLO", b"3"]);
        batch.push(&[b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX", prefix]);
        // Some that take the command do nothing about it.
        batch.push(&[b"CLIENT", b"TRACKINGINFO"]);
        batch.push(&[b"INFO", b"commandstats"]);
        // Answered by a push, or by an error.
        batch.push(&[b"SUBSCRIBE", CHANNEL]);
        batch.push(&[b"PING"]);
        ear.line.send(&batch, until).await?;
        let answers = ear.answers(batch.replies - 1, until).await?;
        let [_, _, info, stats, pong] = answers.as_slice() else { return Ok(None) };
        let refused = answers.iter().any(|answer| answer.first() == Some(&b'-'));
        let tracks = says(info, b"on") && says(info, b"bcast") && says(info, prefix);
        let swaps = read(stats).and_then(|reply| swaps(&reply));
        match swaps {
            Some(swaps) if !refused && tracks && says(pong, b"PONG") => Ok(Some(Self { swaps, ..ear })),
            _ => Ok(None),
        }
    }

    /// Hears until that is no longer possible; why not.
    async fn hear(&mut self) -> Fault {
        loop {
            match self.some().await {
                Ok(answers) if answers.is_empty() => {}
                Ok(_) => return garbled(),
                Err(fault) => return fault,
            }
        }
    }

    /// Everything that was written before this was asked.
    ///
    /// What a command writes is told at the end of the server's round in which it ran. So all that was written before
    /// the first question was answered has been told before the answer to a second one.
    async fn up_to_now(mut self) -> Result<HashSet<Vec<u8>>, Fault> {
        let until = Instant::now() + ANSWERS_WITHIN;
        self.ask(&[b"PING"], until).await?;
        let stats = self.ask(&[b"INFO", b"commandstats"], until).await?;
        if read(&stats).and_then(|stats| swaps(&stats)) != Some(self.swaps) {
            return Err(Fault::Server("ERR its databases were exchanged, or may have been".to_owned()));
        }
        Ok(self.written)
    }

    async fn ask(&mut self, words: &[&[u8]], until: Instant) -> Result<Vec<u8>, Fault> {
        let mut batch = Batch::default();
        batch.push(words);
        self.line.send(&batch, until).await?;
        self.answers(1, until).await?.pop().ok_or_else(garbled)
    }

    /// So many answers, whatever is told between them.
    async fn answers(&mut self, count: usize, until: Instant) -> Result<Vec<Vec<u8>>, Fault> {
        let mut all = Vec::new();
        while all.len() < count {
            let some = tokio::time::timeout_at(until, self.some()).await;
            all.extend(some.map_err(|_| silence(ANSWERS_WITHIN))??);
        }
        Ok(all)
    }

    /// Waits for more, takes in what is told, and gives what answers us.
    async fn some(&mut self) -> Result<Vec<Vec<u8>>, Fault> {
        self.line.read_more().await?;
        let mut answers = Vec::new();
        let mut finder = Finder { found: 0, end: self.read };
        while finder.look(&self.line.buffer, finder.found + 1).map_err(|_| garbled())? {
            let reply = self.read..finder.end;
            self.read = finder.end;
            match self.line.buffer.get(reply.start) {
                Some(b'>') => self.take_in(reply)?,
                _ => answers.push(self.line.buffer[reply].to_vec()),
            }
        }
        self.line.buffer.drain(..self.read);
        self.read = 0;
        Ok(answers)
    }

    fn take_in(&mut self, push: std::ops::Range<usize>) -> Result<(), Fault> {
        let pushed = read(&self.line.buffer[push]).ok_or_else(garbled)?;
        let [what, names] = pushed.array().unwrap_or_default() else { return Ok(()) };
        if what.text() != Some(b"invalidate") {
            return Ok(());
        }
        let too_much = |what: &str| Fault::Server(format!("ERR {what}"));
        // No names are named where all went at one stroke.
        let names = names.array().ok_or_else(|| too_much("it was emptied"))?;
        self.told += names.len() as u64;
        for name in names.iter().filter_map(Reply::text) {
            if self.written.insert(name.to_vec()) {
                self.bytes += name.len();
            }
        }
        if self.written.len() > MOST_WRITTEN || self.bytes > MOST_BYTES || self.told > self.most_told {
            return Err(too_much("too much is written"));
        }
        Ok(())
    }
}

fn read(bytes: &[u8]) -> Option<Reply<'_>> {
    replies(bytes, 1).ok()?.into_iter().next()
}

/// Whether a word is somewhere in an answer.
fn says(answer: &[u8], word: &[u8]) -> bool {
    fn within(reply: &Reply<'_>, word: &[u8]) -> bool {
        reply.text() == Some(word) || reply.array().is_some_and(|parts| parts.iter().any(|part| within(part, word)))
    }
    read(answer).is_some_and(|reply| within(&reply, word))
}

/// How often databases were exchanged, from `INFO commandstats`; `None`: it does not tell what was called how often.
fn swaps(stats: &Reply<'_>) -> Option<u64> {
    let text = String::from_utf8_lossy(stats.text()?);
    let calls = |line: &str| line.split_once(":calls=")?.1.split(',').next()?.parse().ok();
    let mut commands = text.lines().filter(|line| line.starts_with("cmdstat_")).peekable();
    commands.peek()?;
    commands.find(|line| line.starts_with("cmdstat_swapdb:")).map_or(Some(0), calls)
}
