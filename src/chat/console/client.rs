//! `rediscue console`'s end of the Unix socket.

use std::{
    io,
    path::{Path, PathBuf},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::mpsc,
};

use super::{
    Link,
    wire::{FromBot, LONGEST_FROM_BOT, ToBot, VERSION},
};

/// Why there is no conversation.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens.
    #[error("no bot listens on {}: start one with `rediscue serve`, or name its socket with --socket", .0.display())]
    Nobody(PathBuf),
    /// The file system does not let us in.
    #[error("{} does not let you in: you must be the bot's user, or in the socket's group", .0.display())]
    Denied(PathBuf),
    /// The bot does not want this session.
    #[error("the bot refused: {0}")]
    Refused(String),
    /// What listens there is no bot of a version this program understands.
    #[error("what listens on {} does not speak this version of the console", .0.display())]
    NotABot(PathBuf),
    /// Anything else.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Where a bot on this machine may listen, likeliest first; the first that is
/// there is meant by a `console` that names none.
pub fn usual_paths() -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/run/rediscue/console.sock")];
    if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute()) {
        paths.push(dir.join("rediscue/console.sock"));
    }
    paths
}

/// Connects to a running bot. Its hello is the first message of the link.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(path: &Path, script: bool) -> Result<Link, ConnectError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ConnectError::Nobody(path.to_owned()),
        io::ErrorKind::PermissionDenied => ConnectError::Denied(path.to_owned()),
        _ => ConnectError::Io { path: path.to_owned(), source },
    };
    let stream = UnixStream::connect(path).await.map_err(failed)?;
    let (input, mut out) = stream.into_split();
    // A bot that turned us away may have closed already; what it said is still there to read.
    let _ = write(&mut out, &ToBot::Hello { version: VERSION, script }).await;
    let mut input = BufReader::new(input);
    let mut buffer = Vec::new();
    let hello = match read(&mut input, &mut buffer).await {
        Some(hello @ FromBot::Hello { version: VERSION, .. }) => hello,
        Some(FromBot::Refused { why, .. }) => return Err(ConnectError::Refused(why)),
        _ => return Err(ConnectError::NotABot(path.to_owned())),
    };
    let (to_bot, mut typed) = mpsc::channel::<ToBot>(16);
    let (said, from_bot) = mpsc::channel(1024);
    tokio::spawn(async move {
        while let Some(message) = typed.recv().await {
            if write(&mut out, &message).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        let mut next = Some(hello);
        while let Some(event) = next {
            if said.send(event).await.is_err() {
                return;
            }
            next = read(&mut input, &mut buffer).await;
        }
    });
    Ok(Link { to_bot, from_bot })
}

async fn write<W: AsyncWriteExt + Unpin>(out: &mut W, message: &ToBot) -> io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
    line.push(b'\n');
    out.write_all(&line).await
}

/// `None` at the end, and for what is no message.
async fn read<R: tokio::io::AsyncBufRead + Unpin>(input: &mut R, buffer: &mut Vec<u8>) -> Option<FromBot> {
    buffer.clear();
    let mut limited = input.take(LONGEST_FROM_BOT as u64);
    let bytes = limited.read_until(b'\n', buffer).await.ok()?;
    if bytes == 0 {
        return None;
    }
    serde_json::from_slice(buffer).ok()
}
