//! A TCP proxy that delays, swallows, refuses or cuts what passes through it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rediscue::model::Address;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A proxy before one address. Dropped, it cuts everything.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    way: Arc<Way>,
    cuts: watch::Sender<u64>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Way {
    delay_ms: AtomicU64,
    swallows: AtomicBool,
    made: AtomicU64,
    trap: Mutex<Option<Trap>>,
    fault: Mutex<Option<(u64, How)>>,
    refused: Mutex<Option<&'static str>>,
}

/// A word on its way to the server that makes the proxy cut the connection it came over, once.
#[derive(Debug)]
struct Trap {
    word: &'static str,
    passes: bool,
}

/// What is done to a chunk of commands on its way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The server never hears of them; each is answered with an error.
    Refused,
    /// The connection is cut before the server has them.
    CutBefore,
    /// The connection is cut when the server has them, so that its answers are lost.
    CutAfter,
}

/// Whether a word is sent; to ask whether it may be sent is not to send it.
fn meets(chunk: &[u8], word: &str) -> bool {
    let has = |word: &str| chunk.windows(word.len()).any(|bytes| bytes.eq_ignore_ascii_case(word.as_bytes()));
    has(word) && !has("DRYRUN")
}

impl Way {
    /// What is done to a chunk; of connections that may change something they are counted.
    fn fails(&self, chunk: &[u8], touches: bool) -> Option<How> {
        let has = |word: &str| meets(chunk, word);
        if self.refused.lock().unwrap().take_if(|word| has(word)).is_some() {
            return Some(How::Refused);
        }
        if !touches {
            return None;
        }
        let mut fault = self.fault.lock().unwrap();
        let (left, how) = fault.as_mut()?;
        *left -= 1;
        if *left > 0 {
            return None;
        }
        let how = *how;
        *fault = None;
        Some(how)
    }

    fn springs(&self, chunk: &[u8]) -> Option<Trap> {
        let mut trap = self.trap.lock().unwrap();
        if trap.as_ref().is_some_and(|trap| meets(chunk, trap.word)) { trap.take() } else { None }
    }
}

impl Proxy {
    /// Listens on a free port of this machine.
    pub(crate) async fn before(target: &Address) -> Self {
        let Address::Tcp { host, port } = target.clone() else { panic!("a proxy stands before TCP only") };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let way = Arc::new(Way::default());
        let (cuts, cut) = watch::channel(0);
        let task = tokio::spawn({
            let way = way.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    way.made.fetch_add(1, Ordering::Relaxed);
                    let (way, mut cut, host) = (way.clone(), cut.clone(), host.clone());
                    cut.mark_unchanged();
                    tokio::spawn(async move {
                        let Ok(server) = TcpStream::connect((host.as_str(), port)).await else { return };
                        tokio::select! {
                            () = pass(client, server, &way) => {}
                            _ = cut.changed() => {}
                        }
                    });
                }
            }
        });
        Self { address, way, cuts, task }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Address {
        Address::Tcp { host: self.address.ip().to_string(), port: self.address.port() }
    }

    /// Every answer comes this much later.
    pub(crate) fn delay(&self, by: Duration) {
        self.way.delay_ms.store(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Answers are swallowed, or not any more.
    pub(crate) fn swallow(&self, yes: bool) {
        self.way.swallows.store(yes, Ordering::Relaxed);
    }

    /// Cuts every connection there is.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts the connection over which this word is sent next: with `passes`, after the server
    /// has it, so that only the answer is lost; else before.
    pub(crate) fn cut_on(&self, word: &'static str, passes: bool) {
        *self.way.trap.lock().unwrap() = Some(Trap { word, passes });
    }

    /// Answers the chunk in which this word is sent next with errors; the server never hears of it.
    pub(crate) fn refuse_on(&self, word: &'static str) {
        *self.way.refused.lock().unwrap() = Some(word);
    }

    /// Has [`Proxy::cut_on`] cut anything?
    pub(crate) fn has_cut(&self) -> bool {
        self.way.trap.lock().unwrap().is_none()
    }

    /// Of the chunks that come over connections of `toucher`, the `nth` from now on meets this.
    pub(crate) fn fail_nth(&self, nth: u64, how: How) {
        *self.way.fault.lock().unwrap() = Some((nth, how));
    }

    /// Has [`Proxy::fail_nth`] struck? It is called off if not.
    pub(crate) fn has_failed(&self) -> bool {
        self.way.fault.lock().unwrap().take().is_none()
    }

    /// How many connections were made through it.
    pub(crate) fn connections(&self) -> u64 {
        self.way.made.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

/// How many commands stand in a chunk.
fn commands(chunk: &[u8]) -> usize {
    let (mut count, mut rest) = (0, chunk);
    let line = |rest: &mut &[u8]| -> Option<usize> {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let number = std::str::from_utf8(&rest[1..end]).ok()?.parse().ok()?;
        *rest = &rest[end + 2..];
        Some(number)
    };
    while rest.first() == Some(&b'*') {
        let Some(words) = line(&mut rest) else { break };
        for _ in 0..words {
            let Some(length) = line(&mut rest) else { return count };
            rest = rest.get(length + 2..).unwrap_or_default();
        }
        count += 1;
    }
    count
}

async fn pass(client: TcpStream, server: TcpStream, way: &Way) {
    let (mut from_client, to_client) = client.into_split();
    let to_client = tokio::sync::Mutex::new(to_client);
    let (mut from_server, mut to_server) = server.into_split();
    let asking = async {
        let mut chunk = vec![0; 64 << 10];
        let mut touches = false;
        loop {
            let read = from_client.read(&mut chunk).await?;
            if read == 0 {
                return std::io::Result::Ok(());
            }
            touches |= chunk[..read].windows(12).any(|bytes| bytes == b"touch-secret");
            match way.fails(&chunk[..read], touches) {
                None => {}
                Some(How::CutBefore) => return Ok(()),
                Some(How::CutAfter) => return to_server.write_all(&chunk[..read]).await,
                Some(How::Refused) => {
                    let answers = "-ERR refused by the test\r\n".repeat(commands(&chunk[..read]));
                    to_client.lock().await.write_all(answers.as_bytes()).await?;
                    continue;
                }
            }
            let trap = way.springs(&chunk[..read]);
            if trap.as_ref().is_none_or(|trap| trap.passes) {
                to_server.write_all(&chunk[..read]).await?;
            }
            if trap.is_some() {
                return Ok(());
            }
        }
    };
    let answering = async {
        let mut chunk = vec![0; 64 << 10];
        loop {
            let read = from_server.read(&mut chunk).await?;
            if read == 0 {
                return std::io::Result::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(way.delay_ms.load(Ordering::Relaxed))).await;
            if !way.swallows.load(Ordering::Relaxed) {
                to_client.lock().await.write_all(&chunk[..read]).await?;
            }
        }
    };
    tokio::select! {
        _ = asking => {}
        _ = answering => {}
    }
}
