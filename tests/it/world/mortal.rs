//! The built program under `serve`, spoken to through the fake Slack, that is killed at a chosen moment.
//!
//! The program knows nothing of it. What it says to its Redis and to Slack passes through proxies,
//! and its journal's index is watched: each chunk of bytes either way is a moment, and so is each
//! transaction of its store. At the moment that was asked for it gets SIGKILL, and nothing of it
//! passes any more.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rediscue::{
    model::RunId,
    store::{Store, StoreSettings},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    pause,
    program::{Home, Program},
    redis::{RedisServer, local},
    slack::{
        APP_TOKEN, BOT_TOKEN, By, FakeSlack,
        state::{BOT, Said, State},
    },
};

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

/// The moments of a run, counted from when they are asked for.
#[derive(Debug, Default)]
pub(crate) struct Moments {
    passed: AtomicU64,
    /// The one to kill at; 0: none.
    at: AtomicU64,
    pid: AtomicI32,
    killed: AtomicBool,
    /// How often these bytes were let through to Redis.
    words: Mutex<Vec<(&'static str, u64)>>,
}

impl Moments {
    /// One moment. `true`: the bot is dead, and nothing of it goes on.
    fn pass(&self) -> bool {
        let at = self.at.load(Ordering::SeqCst);
        if at != 0 && self.passed.fetch_add(1, Ordering::SeqCst) + 1 == at {
            self.killed.store(true, Ordering::SeqCst);
            let _ = kill(Pid::from_raw(self.pid.load(Ordering::SeqCst)), Signal::SIGKILL);
        }
        self.killed.load(Ordering::SeqCst)
    }

    fn read(&self, chunk: &[u8]) {
        for (word, count) in self.words.lock().unwrap().iter_mut() {
            *count += chunk.windows(word.len()).filter(|bytes| *bytes == word.as_bytes()).count() as u64;
        }
    }
}

/// A proxy whose bytes are moments.
async fn gate(port: u16, moments: Arc<Moments>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let moments = moments.clone();
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let asking = async {
                    let mut chunk = vec![0; 64 << 10];
                    while let Ok(read @ 1..) = from_client.read(&mut chunk).await {
                        if moments.pass() {
                            return;
                        }
                        moments.read(&chunk[..read]);
                        if to_server.write_all(&chunk[..read]).await.is_err() {
                            return;
                        }
                    }
                };
                let answering = async {
                    let mut chunk = vec![0; 64 << 10];
                    while let Ok(read @ 1..) = from_server.read(&mut chunk).await {
                        if moments.pass() || to_client.write_all(&chunk[..read]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    () = asking => {}
                    () = answering => {}
                }
            });
        }
    });
    address.port()
}

/// Counts the transactions of a store for as long as anybody wants its moments.
fn watch_journal(database: &Path, moments: &Arc<Moments>) {
    let (index, watched) = (PathBuf::from(format!("{}-shm", database.display())), Arc::downgrade(moments));
    std::thread::spawn(move || {
        let mut last = 0;
        while let Some(moments) = watched.upgrade() {
            // The counter of changes in the header of the index of SQLite's write-ahead log.
            let mut counter = [0; 4];
            // It is another file after each orderly end, so it is opened each time.
            if File::open(&index).and_then(|file| file.read_exact_at(&mut counter, 8)).is_ok() {
                let now = u32::from_ne_bytes(counter);
                if std::mem::replace(&mut last, now) != now {
                    moments.pass();
                }
            }
            drop(moments);
            pause(Duration::from_micros(100));
        }
    });
}

/// A bot that dies when it is told to, its Redis, and the people it serves.
pub(crate) struct Mortal {
    pub(crate) server: RedisServer,
    pub(crate) fake: FakeSlack,
    moments: Arc<Moments>,
    home: Home,
    program: Option<Program>,
    /// Where the proxies live.
    runtime: Option<tokio::runtime::Runtime>,
    channels: usize,
}

/// ana (U1) asks, bo (U2) consents.
const POLICY: &str = concat!(
    r#"
mode = "normal"
keepers = ["ana"]

[people.ana]
name = "Ana"
roles = ["operator"]
slack = [{ team = "T1", user = "U1" }]

[people.bo]
name = "Bo"
roles = ["approver"]
slack = [{ team = "T1", user = "U2" }]

[roles.operator]
may = [{ commands = ["diagnostics", "group:change"], services = ["*"] }]

[roles.approver]
may = [{ commands = ["diagnostics"], services = ["*"] }]
approves = [{ commands = ["group:change"], services = ["*"] }]

"#,
    unhurried!()
);

impl Drop for Mortal {
    fn drop(&mut self) {
        // It is dropped by async code, where waiting for a runtime's end is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Mortal {
    /// A bot that has not been started.
    pub(crate) async fn new(words: &[&'static str]) -> Self {
        let server = RedisServer::builder().user(super::room::TOUCHER).start();
        let fake = FakeSlack::start(By::Socket).await;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let moments = Arc::new(Moments::default());
        *moments.words.lock().unwrap() = words.iter().map(|word| (*word, 0)).collect();
        let (redis, api) = {
            let moments = moments.clone();
            let (redis, api) = (server.port(), fake.api_port());
            runtime.spawn(async move { (gate(redis, moments.clone()).await, gate(api, moments).await) }).await.unwrap()
        };
        let home = Home::new();
        let write = |name: &str, text: &str| {
            let path = home.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).and_then(|()| std::fs::write(path, text)).unwrap();
        };
        let dir = home.path().display();
        write("bot.token", BOT_TOKEN);
        write("app.token", APP_TOKEN);
        write("touch.secret", "touch-secret\n");
        write(
            "config/bot.toml",
            &format!(
                "[store]\npath = \"{dir}/store/rediscue.db\"\nkey_file = \"{dir}/store/journal.key\"\n\
                 [web]\nenabled = false\n[console]\nenabled = false\n[log]\nfilter = \"error\"\n\
                 [slack]\nenabled = true\nbot_token = {{ file = \"{dir}/bot.token\" }}\n\
                 app_token = {{ file = \"{dir}/app.token\" }}\napi = \"http://127.0.0.1:{api}/api\"\n"
            ),
        );
        write("config/policy.toml", POLICY);
        write(
            "config/services/shop.toml",
            &format!(
                "title = \"shop\"\nenvironment = \"prod\"\nowner = \"the tests\"\n\n[[instances]]\naddress = \"{}\"\n\
                 touch = {{ user = \"toucher\", password = {{ file = \"{dir}/touch.secret\" }} }}\n",
                local(redis)
            ),
        );
        watch_journal(&home.path().join("store/rediscue.db"), &moments);
        Self { server, fake, moments, home, program: None, runtime: Some(runtime), channels: 0 }
    }

    /// Starts it, and waits until it hears Slack.
    pub(crate) async fn lives(&mut self) {
        self.moments.at.store(0, Ordering::SeqCst);
        self.moments.killed.store(false, Ordering::SeqCst);
        let before = self.fake.state().sockets_opened;
        let config = self.home.path().join("config").display().to_string();
        let program = self.home.start(&["serve", "--config", &config]);
        self.moments.pid.store(i32::try_from(program.pid()).unwrap(), Ordering::SeqCst);
        self.program = Some(program);
        self.until("the bot hears Slack", |state| (state.sockets_opened > before).then_some(())).await;
    }

    /// A channel nobody has said anything in.
    pub(crate) fn channel(&mut self) -> String {
        self.channels += 1;
        let channel = format!("C1{}", self.channels);
        self.fake.state().channel(&channel, &["U1", "U2", BOT]);
        channel
    }

    /// Waits until a state gives something.
    pub(crate) async fn until<T>(&mut self, what: &str, mut found: impl FnMut(&State) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = found(&self.fake.state()) {
                return found;
            }
            if begun.elapsed() > PATIENCE {
                let said: Vec<String> = {
                    let state = self.fake.state();
                    let channel = format!("C1{}", self.channels);
                    state.by_bot(&channel).iter().map(|said| said.words()).collect()
                };
                panic!("it never happened that {what}; said last: {said:#?}");
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// ana asks for a change; the plan's message, when it can be reacted to.
    pub(crate) async fn asked(&mut self, channel: &str, line: &str) -> Said {
        self.fake.slash("U1", channel, line);
        let place = channel.to_owned();
        self.until(&format!("`{line}` is planned and can be consented to"), move |state| {
            let plan = state.by_bot(&place).into_iter().find(|said| said.words().contains("plan ·"))?;
            plan.reactions.get("x").is_some_and(|who| who.contains(BOT)).then(|| plan.clone())
        })
        .await
    }

    /// bo consents, and the bot is killed at that moment of what follows. `false`: it came to its end first.
    pub(crate) async fn killed_at(&mut self, moment: u64, channel: &str, plan: &Said) -> (bool, usize) {
        self.moments.passed.store(0, Ordering::SeqCst);
        self.moments.at.store(moment, Ordering::SeqCst);
        let event = self.fake.react("U2", channel, &plan.ts, "white_check_mark", true);
        let moments = self.moments.clone();
        let place = channel.to_owned();
        self.until("the bot is killed or through with it", move |state| {
            // The plan, the checklist after it, and what is said to the consent.
            let over = state.by_bot(&place).len() >= 3;
            (moments.killed.load(Ordering::SeqCst) || over).then_some(())
        })
        .await;
        let killed = self.moments.killed.load(Ordering::SeqCst);
        if killed {
            let status = self.program.as_mut().expect("it was started").wait();
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status:?}");
            self.program = None;
        }
        (killed, event)
    }

    /// What the dead bot left in its store.
    pub(crate) async fn store(&self) -> Store {
        Store::open(StoreSettings::in_dir(self.home.path().join("store"))).await.unwrap()
    }

    /// How often these bytes went to Redis so far.
    pub(crate) fn sent(&self, word: &str) -> u64 {
        self.moments.words.lock().unwrap().iter().find(|(known, _)| *known == word).expect("it is counted").1
    }

    /// The same channel's message as it stands now.
    pub(crate) async fn message(
        &mut self,
        channel: &str,
        ts: &str,
        what: &str,
        holds: impl Fn(&str) -> bool,
    ) -> String {
        let (channel, ts) = (channel.to_owned(), ts.to_owned());
        self.until(what, move |state| {
            let words = state.message(&channel, &ts)?.words();
            holds(&words).then_some(words)
        })
        .await
    }

    /// The next message of the bot there that holds these words.
    pub(crate) async fn said(&mut self, channel: &str, words: &'static str) -> Said {
        let place = channel.to_owned();
        self.until(&format!("`{words}` is said"), move |state| {
            state.by_bot(&place).into_iter().find(|said| said.words().contains(words)).cloned()
        })
        .await
    }
}

/// The run a plan's message is about.
pub(crate) fn run_in(said: &Said) -> RunId {
    let words = said.words();
    let foot = words.lines().rfind(|line| line.starts_with("run ")).unwrap_or_else(|| panic!("no foot: {words}"));
    RunId::parse(foot.split_whitespace().nth(1).unwrap()).unwrap_or_else(|| panic!("{foot}"))
}
