//! A full copy of a server's data over the replication stream, for servers on
//! whose disk nobody can look.
//!
//! We present ourselves as a replica that wants the snapshot only, read it as
//! it comes, and hang up. The server forks for it as for a BGSAVE: this is
//! asked for by people, never by a timer. Memory is bounded by one block; the
//! bytes go through the reader of snapshots either way, so that what is
//! written to a file is known to be whole before the file gets its name.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::ExposeSecret;
use tokio::{
    fs::{self, File, OpenOptions},
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    dial::{Stream, dial},
    fault::{Fault, of_io, plain, silence},
    secret,
};
use crate::{
    diagnosis::{Explained, errors::NetworkFault},
    keyspace::rdb::{Facts, Key, RdbError, Reader, Reading},
    model::{Address, Credential, Instance, Tls},
    policy::Permit,
};

/// Whose data.
#[derive(Debug, Clone)]
pub struct Source {
    /// The server.
    pub address: Address,
    /// TLS to it, when set.
    pub tls: Option<Tls>,
    /// A user that may PSYNC (`+psync +replconf`; ACL category `@dangerous`).
    pub credential: Credential,
}

impl Source {
    /// One server of an instance, spoken to as the profile's user for changes, where it has one: a
    /// full copy is more than a look, and the user for looks should not be able to take one.
    pub fn of(instance: &Instance, address: Address) -> Self {
        let credential = instance.touch.as_ref().unwrap_or(&instance.look).clone();
        Self { address, tls: instance.tls.clone(), credential }
    }
}

/// For how long, and who may stop it.
#[derive(Debug, Clone)]
pub struct Limits {
    /// All of it must be over by then.
    pub until: Instant,
    /// The server must say something this often; while it forks and saves it sends a line break a second.
    pub silence: Duration,
    /// Asked to stop.
    pub stop: CancellationToken,
    /// Told how far it is, about once a block.
    pub progress: Option<watch::Sender<Arrived>>,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrived {
    /// The server has said that it sends a copy.
    pub answered: bool,
    /// Bytes received.
    pub bytes: u64,
    /// Bytes there will be, when the server knows (it does not when it saves straight to the socket).
    pub total: Option<u64>,
    /// Keys read.
    pub keys: u64,
}

/// A copy that arrived whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Where in the replication history it stands: id and offset; `None` from servers that only know SYNC.
    pub position: Option<(String, i64)>,
    /// What was in it.
    pub facts: Facts,
}

const BLOCK: usize = 128 * 1024;
/// The mark that ends a snapshot of unknown length.
const MARK: usize = 40;
/// A server's answer is a line; none is longer.
const LINE: usize = 4 * 1024;

/// Receives a full copy and hands each key to `each`; with `file`, keeps the
/// bytes there, readable by the owner alone, under a name ending in `.part`
/// until the copy is known to be whole. An existing file is not overwritten.
///
/// # Errors
/// Explained: the server cannot be reached, does not allow replication, falls
/// silent, sends something damaged, or somebody stopped it.
pub async fn receive(
    _permit: &Permit,
    source: &Source,
    limits: &Limits,
    reading: Reading,
    file: Option<&Path>,
    each: impl FnMut(&Key<'_>) + Send,
) -> Result<Received, Explained> {
    let told = |trouble| explain(trouble, source);
    let Some(path) = file else {
        return until_stopped(source, limits, reading, Keep::Nowhere, each).await.map_err(told);
    };
    let mut part = Part::create(path).await.map_err(told)?;
    let received = until_stopped(source, limits, reading, Keep::In(&mut part.file), each).await;
    let received = received.map_err(told)?;
    part.keep().await.map_err(told)?;
    Ok(received)
}

/// Receives a full copy and hands its bytes, block by block, to whoever holds
/// the other end of `to`, and each key to `each`. When the other end is closed
/// the copy fails as a file does: why, is theirs to say.
///
/// # Errors
/// As [`receive`].
pub async fn receive_into(
    _permit: &Permit,
    source: &Source,
    limits: &Limits,
    reading: Reading,
    to: mpsc::Sender<Vec<u8>>,
    each: impl FnMut(&Key<'_>) + Send,
) -> Result<Received, Explained> {
    let received = until_stopped(source, limits, reading, Keep::Sent(&to), each).await;
    received.map_err(|trouble| explain(trouble, source))
}

async fn until_stopped(
    source: &Source,
    limits: &Limits,
    reading: Reading,
    keep: Keep<'_>,
    each: impl FnMut(&Key<'_>) + Send,
) -> Result<Received, Trouble> {
    tokio::select! {
        () = limits.stop.cancelled() => Err(Trouble::Stopped),
        received = copy(source, limits, reading, keep, each) => received,
    }
}

/// Where the bytes of a copy go.
enum Keep<'a> {
    Nowhere,
    In(&'a mut File),
    Sent(&'a mpsc::Sender<Vec<u8>>),
}

impl Keep<'_> {
    async fn block(&mut self, block: &[u8]) -> Result<(), Trouble> {
        match self {
            Keep::Nowhere => Ok(()),
            Keep::In(file) => file.write_all(block).await.map_err(|error| of_file(&error)),
            Keep::Sent(to) => {
                let gone = |_| Trouble::File("whoever was to keep it does not take it".into());
                to.send(block.to_vec()).await.map_err(gone)
            }
        }
    }
}

/// A file that is not whole yet. Dropped, it is removed: half a copy is worth nothing and takes as much room.
struct Part {
    file: File,
    path: PathBuf,
    /// The name it gets when it is whole.
    whole: PathBuf,
    kept: bool,
}

impl Part {
    /// Makes it, readable by its owner alone, beside where the whole one will be.
    async fn create(whole: &Path) -> Result<Self, Trouble> {
        if fs::try_exists(whole).await.unwrap_or(true) {
            return Err(Trouble::File(format!("{} is already there", whole.display())));
        }
        let mut name = whole.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let path = whole.with_file_name(name);
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(&path).await;
        let file = opened.map_err(|error| Trouble::File(format!("{}: {}", path.display(), plain(&error))))?;
        Ok(Self { file, path, whole: whole.to_owned(), kept: false })
    }

    /// Puts it on the disk and gives it its name; both survive a power cut.
    async fn keep(mut self) -> Result<(), Trouble> {
        self.file.sync_all().await.map_err(|error| of_file(&error))?;
        fs::rename(&self.path, &self.whole).await.map_err(|error| of_file(&error))?;
        self.kept = true;
        let folder = self.whole.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = File::open(folder).await.map_err(|error| of_file(&error))?;
        folder.sync_all().await.map_err(|error| of_file(&error))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody can be told more than that the copy failed, which they are.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Why no copy arrived.
enum Trouble {
    Fault(Fault),
    /// The server refused the command.
    Refused {
        command: &'static str,
        line: String,
    },
    Damaged(RdbError),
    /// The server hung up after so many bytes.
    CutOff(u64),
    /// The server said something that is no replication.
    Strange,
    File(String),
    Stopped,
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Trouble::Fault(fault)
    }
}

fn of_file(error: &std::io::Error) -> Trouble {
    Trouble::File(plain(error))
}

async fn copy(
    source: &Source,
    limits: &Limits,
    reading: Reading,
    mut keep: Keep<'_>,
    mut each: impl FnMut(&Key<'_>) + Send,
) -> Result<Received, Trouble> {
    let stream = dial(&source.address, source.tls.as_ref(), limits.until).await?;
    let mut link = Link { stream, block: vec![0; BLOCK], from: 0, to: 0, limits };
    let position = link.ask_for_everything(&source.credential).await?;
    if let Some(progress) = &limits.progress {
        progress.send_replace(Arrived { answered: true, ..Arrived::default() });
    }
    let ending = link.ending().await?;
    let total = if let Ending::Length(length) = ending { Some(length) } else { None };
    let mut reader = Reader::new(Reading { size: total, ..reading });
    let mut arrived = Arrived { answered: true, bytes: 0, total, keys: 0 };
    loop {
        let (ready, last) = link.ready(&ending, arrived.bytes);
        if ready > 0 {
            let block = &link.block[link.from..link.from + ready];
            let mut keys = 0;
            reader
                .feed(block, |key| {
                    keys += 1;
                    each(key);
                })
                .map_err(Trouble::Damaged)?;
            keep.block(block).await?;
            arrived.bytes += ready as u64;
            arrived.keys += keys;
            link.from += ready;
            if let Some(progress) = &limits.progress {
                progress.send_replace(arrived);
            }
        }
        if last {
            break;
        }
        link.more().await.map_err(|trouble| match trouble {
            Trouble::Fault(Fault::Network(NetworkFault::Closed | NetworkFault::Reset)) => {
                Trouble::CutOff(arrived.bytes)
            }
            trouble => trouble,
        })?;
    }
    if let Keep::In(file) = keep {
        file.flush().await.map_err(|error| of_file(&error))?;
    }
    // Dropping the stream hangs up: the server frees what it kept for us.
    let facts = reader.finish().map_err(Trouble::Damaged)?;
    Ok(Received { position, facts })
}

/// How the end of the snapshot is known.
enum Ending {
    Length(u64),
    Mark([u8; MARK]),
}

struct Link<'a> {
    stream: Stream,
    block: Vec<u8>,
    /// What of the block is still to be looked at.
    from: usize,
    to: usize,
    limits: &'a Limits,
}

impl Link<'_> {
    /// AUTH, what we are, and the request; answers with the position in the history.
    async fn ask_for_everything(&mut self, credential: &Credential) -> Result<Option<(String, i64)>, Trouble> {
        if let Some(from) = &credential.password {
            let password = secret::read(from).map_err(Fault::Setup)?;
            let mut words = vec!["AUTH"];
            words.extend(credential.user.as_deref());
            words.push(password.expose_secret());
            let line = self.ask(&words).await?;
            if line.starts_with('-') {
                return Err(Trouble::Refused { command: "AUTH", line });
            }
        }
        // Not knowing one of these is no reason to stop: they spare the server
        // work (7.0: no stream kept for us; 4.0: no file on its disk).
        for words in [&["REPLCONF", "capa", "eof", "capa", "psync2"][..], &["REPLCONF", "rdb-only", "1"]] {
            let line = self.ask(words).await?;
            if ["-NOPERM", "-NOAUTH"].iter().any(|word| line.starts_with(word)) {
                return Err(Trouble::Refused { command: "REPLCONF", line });
            }
        }
        let line = self.ask(&["PSYNC", "?", "-1"]).await?;
        if let Some(position) = line.strip_prefix("+FULLRESYNC ") {
            let (id, offset) = position.split_once(' ').ok_or(Trouble::Strange)?;
            return Ok(Some((id.to_owned(), offset.trim().parse().map_err(|_| Trouble::Strange)?)));
        }
        if !line.starts_with("-ERR unknown command") {
            return Err(if line.starts_with('-') {
                Trouble::Refused { command: "PSYNC", line }
            } else {
                Trouble::Strange
            });
        }
        self.send(&["SYNC"]).await?;
        Ok(None)
    }

    /// `$<length>` or `$EOF:<mark>`, after as many line breaks as the save takes seconds.
    async fn ending(&mut self) -> Result<Ending, Trouble> {
        let line = self.line().await?;
        if line.starts_with('-') {
            return Err(Trouble::Refused { command: "SYNC", line });
        }
        let text = line.strip_prefix('$').ok_or(Trouble::Strange)?;
        match text.strip_prefix("EOF:") {
            Some(mark) => Ok(Ending::Mark(mark.as_bytes().try_into().map_err(|_| Trouble::Strange)?)),
            None => Ok(Ending::Length(text.parse().map_err(|_| Trouble::Strange)?)),
        }
    }

    /// How many of the bytes at hand are the snapshot's, and whether they are the last.
    fn ready(&self, ending: &Ending, before: u64) -> (usize, bool) {
        let here = &self.block[self.from..self.to];
        match ending {
            Ending::Length(length) => {
                let left = length.saturating_sub(before);
                (usize::try_from(left).unwrap_or(usize::MAX).min(here.len()), left <= here.len() as u64)
            }
            // The mark may be cut in two by a block's end, so as many bytes are held back.
            Ending::Mark(mark) if here.ends_with(mark) => (here.len() - MARK, true),
            Ending::Mark(_) => (here.len().saturating_sub(MARK), false),
        }
    }

    async fn ask(&mut self, words: &[&str]) -> Result<String, Trouble> {
        self.send(words).await?;
        self.line().await
    }

    async fn send(&mut self, words: &[&str]) -> Result<(), Trouble> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        let start = Instant::now();
        match timeout_at(self.patience(), self.stream.write_all(request.as_bytes())).await {
            Err(_) => Err(silence(start.elapsed()).into()),
            Ok(written) => Ok(written.map_err(|error| of_io(&error))?),
        }
    }

    /// The next line that says something.
    async fn line(&mut self) -> Result<String, Trouble> {
        loop {
            while self.block[self.from..self.to].first().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                self.from += 1;
            }
            let here = &self.block[self.from..self.to];
            if let Some(end) = here.iter().position(|&byte| byte == b'\n') {
                let line = String::from_utf8_lossy(&here[..end]).trim_end().to_owned();
                self.from += end + 1;
                return Ok(line);
            }
            if here.len() > LINE {
                return Err(Trouble::Strange);
            }
            self.more().await?;
        }
    }

    fn patience(&self) -> Instant {
        self.limits.until.min(Instant::now() + self.limits.silence)
    }

    /// Waits for more bytes.
    async fn more(&mut self) -> Result<(), Trouble> {
        self.block.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        let start = Instant::now();
        let until = self.patience();
        match timeout_at(until, self.stream.read(&mut self.block[self.to..])).await {
            Err(_) => Err(silence(start.elapsed()).into()),
            Ok(Err(error)) => Err(of_io(&error).into()),
            Ok(Ok(0)) => Err(Fault::Network(NetworkFault::Closed).into()),
            Ok(Ok(count)) => {
                self.to += count;
                Ok(())
            }
        }
    }
}

fn explain(trouble: Trouble, source: &Source) -> Explained {
    let address = &source.address;
    let instead = "let the server write the file (BGSAVE, then wait until LASTSAVE moves) and copy it, or take the \
                   platform's own backup";
    let of = |code: &str, what: String, cause: &str, next: &str| Explained {
        code: code.into(),
        what,
        cause: cause.into(),
        next: next.into(),
    };
    match trouble {
        Trouble::Fault(fault) => fault.explain(Some(address), &source.credential, Some("PSYNC")),
        Trouble::Refused { command, line } => {
            let mut explained = Fault::Server(line.clone()).explain(Some(address), &source.credential, Some(command));
            let user = source.credential.user.as_deref().unwrap_or("default");
            if line.starts_with("-NOPERM") {
                let rule = command.to_ascii_lowercase();
                explained.what = format!("{address} does not give the user {user} a full copy: {command} is denied");
                explained.cause =
                    format!("the ACL of {user} lacks `+{rule}`; a full copy needs `+psync +replconf`, and no key");
                explained.next = format!(
                    "whoever keeps the server can run `ACL SETUSER {user} +psync +replconf` (it then reads every value), or {instead}"
                );
            } else if command != "AUTH" && line.contains("unknown command") {
                explained.what = format!("{address} does not give the user {user} a full copy: there is no {command}");
                explained.cause =
                    "managed platforms block replication to the outside, or the command was renamed".into();
                explained.next = instead.into();
            }
            explained
        }
        Trouble::Damaged(error) => of(
            "RDB",
            format!("what {address} sent is no whole snapshot: {error}"),
            "the connection carried something else, or the server writes a newer format",
            error.next(),
        ),
        Trouble::CutOff(bytes) => of(
            "CUT",
            format!("{address} hung up after {bytes} bytes of the copy"),
            "its save failed (disk, memory for the fork), it restarted, or `client-output-buffer-limit replica` or \
             `repl-timeout` cut us off",
            "look at its log and at rdb_last_bgsave_status, then try again",
        ),
        Trouble::Strange => of(
            "PROTOCOL",
            format!("{address} answered PSYNC with something that is no replication"),
            "a proxy stands between, or the server keeps to another protocol",
            instead,
        ),
        Trouble::File(why) => of(
            "FILE",
            format!("the copy cannot be kept: {why}"),
            "the disk or the folder's rights",
            "name another path",
        ),
        Trouble::Stopped => of(
            "STOPPED",
            format!("the copy from {address} was stopped"),
            "somebody asked for it",
            "nothing was kept; start it again when it suits",
        ),
    }
}
