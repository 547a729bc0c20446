//! The running bot's end of the Unix socket.
//!
//! Who connects is whoever the kernel says (`SO_PEERCRED`): the user name of
//! the connecting process. Nothing a session sends can change that.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::{
    fcntl::{Flock, FlockArg},
    unistd::{Uid, User},
};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Console, Link, Peer, Who, host_name,
    wire::{FromBot, LONGEST_TO_BOT, ToBot, VERSION},
};
use crate::chat::Inbound;

/// Sessions open at once; more are told to come back.
const SESSIONS: usize = 64;

/// How long a session may take to say hello, and to take one message.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long sessions may take to read what was last said to them.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another bot listens there.
    #[error("another rediscue listens on {}; stop it, or name another socket", .0.display())]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{} is there and is no socket; it was left alone", .0.display())]
    NotASocket(PathBuf),
    /// The directory belongs to somebody else, or is open to others.
    #[error("{} must be a directory of this user that others cannot write to", .0.display())]
    NotPrivate(PathBuf),
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// A socket that is listened on, and the console behind it. Dropping it removes the socket.
pub struct Server {
    console: Arc<Console>,
    path: PathBuf,
    listener: UnixListener,
    /// Held for as long as we listen: whoever has it may replace a stale socket.
    _lock: Flock<fs::File>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Server {
    /// Opens the socket, in a directory that is made when missing. A socket
    /// left behind by a bot that died is replaced; one that is listened on is
    /// not.
    ///
    /// Who may connect is who may enter the directory: a directory made here
    /// is the bot's own (0700, and the socket 0600); one that already grants
    /// its group entry (systemd's `RuntimeDirectoryMode=0750`) lets the group
    /// connect (0660). Policy still asks who each of them is.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| SocketError::Io { path, source }
        };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
        let about = fs::metadata(dir).map_err(at(dir))?;
        if about.uid() != Uid::effective().as_raw() || about.mode() & 0o022 != 0 {
            return Err(SocketError::NotPrivate(dir.to_owned()));
        }

        let lock_path = path.with_extension("lock");
        let lock_file =
            fs::OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(at(&lock_path))?;
        let Ok(lock) = Flock::lock(lock_file, FlockArg::LockExclusiveNonblock) else {
            return Err(SocketError::InUse(path.to_owned()));
        };
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(path)(error)),
            Ok(there) if !there.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
            Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
                return Err(SocketError::InUse(path.to_owned()));
            }
            Ok(_) => fs::remove_file(path).map_err(at(path))?,
        }
        let listener = UnixListener::bind(path).map_err(at(path))?;
        let mode = if about.mode() & 0o017 == 0o010 { 0o660 } else { 0o600 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at(path))?;
        Ok(Self { console: Console::new(host_name()), path: path.to_owned(), listener, _lock: lock })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The console, to say things at.
    pub fn gateway(&self) -> Arc<Console> {
        Arc::clone(&self.console)
    }

    /// Takes sessions until `stop`, then sends what has been said already and hangs up.
    pub async fn run(self, inbound: mpsc::Sender<Inbound>, stop: CancellationToken) {
        let sessions = TaskTracker::new();
        let room = Arc::new(Semaphore::new(SESSIONS));
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Out of file descriptors, mostly: others are being closed meanwhile.
                        tracing::warn!(%error, "console session not accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let (console, inbound) = (self.gateway(), inbound.clone());
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                sessions.spawn(turn_away(stream, format!("{SESSIONS} sessions are open already; close one")));
                continue;
            };
            sessions.spawn(async move {
                session(stream, console, inbound).await;
                drop(place);
            });
        }
        // What has been said is still sent; nobody is waited for who does not read it.
        self.console.close();
        sessions.close();
        let _ = timeout(FAREWELL, sessions.wait()).await;
    }
}

async fn turn_away(stream: UnixStream, why: String) {
    let (_, mut out) = stream.into_split();
    let _ = send(&mut out, &FromBot::Refused { line: None, why }).await;
}

/// One session, from hello to hanging up.
async fn session(stream: UnixStream, console: Arc<Console>, inbound: mpsc::Sender<Inbound>) {
    let user = match stream.peer_cred() {
        Ok(cred) => user_of(cred.uid()).await,
        Err(error) => Err(format!("the operating system does not say who you are: {error}")),
    };
    let user = match user {
        Ok(user) => user,
        Err(why) => return turn_away(stream, why).await,
    };
    let (input, mut out) = stream.into_split();
    let mut input = BufReader::new(input);
    let mut buffer = Vec::new();
    let hello = timeout(PATIENCE, read_message(&mut input, &mut buffer)).await;
    let script = match hello {
        Ok(Ok(Some(ToBot::Hello { version: VERSION, script }))) => script,
        Ok(Ok(Some(ToBot::Hello { version, .. }))) => {
            let why = format!(
                "this bot ({}) speaks version {VERSION} of the console and you speak {version}; \
                 use the `rediscue` program the bot runs",
                env!("CARGO_PKG_VERSION")
            );
            let _ = send(&mut out, &FromBot::Refused { line: None, why }).await;
            return;
        }
        _ => return,
    };
    tracing::info!(%user, script, "console session opened");
    let Link { to_bot, mut from_bot } = console.attach(Peer { who: Who::User(user.clone()), script }, inbound);
    let hear = async {
        while let Some(event) = from_bot.recv().await {
            if send(&mut out, &event).await.is_err() {
                return;
            }
        }
    };
    let listen = async {
        loop {
            let Ok(Some(said)) = read_message(&mut input, &mut buffer).await else { return };
            if to_bot.send(said).await.is_err() {
                return;
            }
        }
    };
    tokio::select! { () = hear => {}, () = listen => {} }
    tracing::info!(%user, "console session closed");
}

async fn user_of(uid: u32) -> Result<String, String> {
    // The user database may be on a network: not on an async thread.
    match tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(uid))).await {
        Ok(Ok(Some(user))) => Ok(user.name),
        Ok(Ok(None)) => {
            Err(format!("your user id {uid} has no name on this machine, so nobody can be granted anything"))
        }
        Ok(Err(error)) => Err(format!("your user id {uid} could not be looked up: {error}")),
        Err(_) => Err(format!("your user id {uid} could not be looked up")),
    }
}

async fn send(out: &mut OwnedWriteHalf, event: &FromBot) -> io::Result<()> {
    let mut line = serde_json::to_vec(event).map_err(io::Error::other)?;
    line.push(b'\n');
    // A session that does not read is let go; the bot never waits for it.
    timeout(PATIENCE, out.write_all(&line)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// `None` at the end; an error for what is too long or no message.
async fn read_message<R: AsyncBufRead + Unpin>(input: &mut R, buffer: &mut Vec<u8>) -> io::Result<Option<ToBot>> {
    buffer.clear();
    let mut limited = input.take(LONGEST_TO_BOT as u64);
    if limited.read_until(b'\n', buffer).await? == 0 {
        return Ok(None);
    }
    if buffer.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
    }
    serde_json::from_slice(buffer).map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::{
            Audience, Gateway,
            console::client::{self, ConnectError},
        },
        model::Card,
    };

    fn me() -> String {
        User::from_uid(Uid::effective()).unwrap().unwrap().name
    }

    struct Open {
        path: PathBuf,
        console: Arc<Console>,
        inbox: mpsc::Receiver<Inbound>,
        stop: CancellationToken,
        running: tokio::task::JoinHandle<()>,
        _dir: tempfile::TempDir,
    }

    fn open() -> Open {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/console.sock");
        let server = Server::bind(&path).unwrap();
        let (inbound, inbox) = mpsc::channel(8);
        let (console, stop) = (server.gateway(), CancellationToken::new());
        let running = tokio::spawn(server.run(inbound, stop.clone()));
        Open { path, console, inbox, stop, running, _dir: dir }
    }

    #[tokio::test]
    async fn a_session_is_who_the_operating_system_says() {
        let mut open = open();
        let mut link = client::connect(&open.path, true).await.unwrap();
        let Some(FromBot::Hello { user, .. }) = link.from_bot.recv().await else { panic!("a hello comes first") };
        assert_eq!(user, me());
        let speaker = Some("root-of-all".to_owned());
        link.to_bot.send(ToBot::Command { line: 1, speaker, text: "x".to_owned() }).await.unwrap();
        assert!(matches!(link.from_bot.recv().await, Some(FromBot::Refused { line: Some(1), .. })));
        link.to_bot.send(ToBot::Command { line: 2, speaker: None, text: "status".to_owned() }).await.unwrap();
        let inbound = open.inbox.recv().await.unwrap();
        assert_eq!(inbound.from, open.console.identity(&me()));
        assert_eq!(inbound.person, None);
        open.console.say(&inbound.place, &Card::default(), &Audience::All, "k").await.unwrap();
        open.console.settled(&inbound.event);
        assert!(matches!(link.from_bot.recv().await, Some(FromBot::Say { .. })));
        assert!(matches!(link.from_bot.recv().await, Some(FromBot::Settled { line: 2 })));

        // What was said before the end still arrives, then the end; nothing is left.
        open.console.say(&inbound.place, &Card::default(), &Audience::All, "k").await.unwrap();
        open.stop.cancel();
        assert!(matches!(link.from_bot.recv().await, Some(FromBot::Say { .. })));
        assert!(link.from_bot.recv().await.is_none());
        open.running.await.unwrap();
        assert!(!open.path.exists());
    }

    #[tokio::test]
    async fn another_version_is_told_so() {
        let open = open();
        let mut stream = UnixStream::connect(&open.path).await.unwrap();
        stream.write_all(b"{\"message\":\"hello\",\"version\":99,\"script\":false}\n").await.unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.unwrap();
        assert!(line.contains("refused") && line.contains("99"), "{line}");
    }

    #[tokio::test]
    async fn nonsense_and_endless_lines_end_the_session_and_nothing_else() {
        let open = open();
        for sent in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![b'x'; LONGEST_TO_BOT + 1]] {
            let mut stream = UnixStream::connect(&open.path).await.unwrap();
            let _ = stream.write_all(&sent).await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            assert!(rest.is_empty());
        }
        assert!(client::connect(&open.path, false).await.is_ok());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(matches!(client::connect(&path, false).await, Err(ConnectError::Nobody(_))));
        let server = Server::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(Server::bind(&path), Err(SocketError::InUse(_))));
        drop(server);
        assert!(!path.exists());

        // Listened on by a program without our lock.
        let other = dir.path().join("other.sock");
        let _listening = std::os::unix::net::UnixListener::bind(&other).unwrap();
        assert!(matches!(Server::bind(&other), Err(SocketError::InUse(_))));

        let file = dir.path().join("file.sock");
        fs::write(&file, "precious").unwrap();
        assert!(matches!(Server::bind(&file), Err(SocketError::NotASocket(_))));
    }

    #[tokio::test]
    async fn a_group_that_may_enter_the_directory_may_connect() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, expected) in [(0o700, Some(0o600)), (0o750, Some(0o660)), (0o755, Some(0o600)), (0o770, None)] {
            let room = dir.path().join(format!("{mode:o}"));
            fs::create_dir(&room).unwrap();
            fs::set_permissions(&room, fs::Permissions::from_mode(mode)).unwrap();
            let path = room.join("console.sock");
            match (Server::bind(&path), expected) {
                (Ok(_server), Some(expected)) => assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, expected),
                (Err(SocketError::NotPrivate(_)), None) => {}
                (bound, _) => panic!("{mode:o}: {:?}", bound.err()),
            }
        }
    }
}
