//! A TCP proxy that delays, swallows or cuts what passes through it.

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
}

/// A word on its way to the server that makes the proxy cut the connection it came over, once.
#[derive(Debug)]
struct Trap {
    word: &'static str,
    passes: bool,
}

impl Way {
    fn springs(&self, chunk: &[u8]) -> Option<Trap> {
        let mut trap = self.trap.lock().unwrap();
        let found = |word: &str| chunk.windows(word.len()).any(|bytes| bytes.eq_ignore_ascii_case(word.as_bytes()));
        if trap.as_ref().is_some_and(|trap| found(trap.word)) { trap.take() } else { None }
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

    /// Has [`Proxy::cut_on`] cut anything?
    pub(crate) fn has_cut(&self) -> bool {
        self.way.trap.lock().unwrap().is_none()
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

async fn pass(client: TcpStream, server: TcpStream, way: &Way) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asking = async {
        let mut chunk = vec![0; 64 << 10];
        loop {
            let read = from_client.read(&mut chunk).await?;
            if read == 0 {
                return std::io::Result::Ok(());
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
                to_client.write_all(&chunk[..read]).await?;
            }
        }
    };
    tokio::select! {
        _ = asking => {}
        _ = answering => {}
    }
}
