//! A whole bot in this process whose people are in the fake Slack.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use rediscue::{
    app::{serve, slack::Directory},
    bot::{Bot, Parts, Reload},
    chat::{
        Gateway,
        slack::{Settings, Slack},
    },
    config,
    exec::{Exec, ExecSettings},
    model::Platform,
    store::{Store, StoreSettings},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::slack::{APP_TOKEN, BOT_TOKEN, By, FakeSlack, SIGNING_SECRET};

/// Ana and Bo may look at everything, Cy may only ask for `status`; Dee is nobody.
pub(crate) const POLICY: &str = concat!(
    r#"
mode = "normal"
keepers = ["ana"]

[people.ana]
name = "Ana"
roles = ["oncall", "values"]
slack = [{ team = "T1", user = "U1" }]

[people.bo]
name = "Bo"
roles = ["oncall"]
slack = [{ team = "T1", user = "U2" }]

[people.cy]
name = "Cy"
roles = ["support"]
slack = [{ team = "T1", user = "U3" }]

[roles.oncall]
about = "looks at everything"
may = [{ commands = ["diagnostics"], services = ["*"] }]

[roles.support]
about = "asks how it is"
may = [{ commands = ["status"], services = ["*"] }]

[roles.values]
about = "may see values"
may = [{ commands = ["diagnostics"], services = ["*"], reveal = true }]

"#,
    unhurried!()
);

/// Builds a [`SlackBot`].
pub(crate) struct SlackBotBuilder {
    dir: tempfile::TempDir,
}

impl SlackBotBuilder {
    /// The people above and no service.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }.file("policy.toml", POLICY)
    }

    /// Writes a file of the configuration.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let path = self.dir.path().join("config").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).and_then(|()| std::fs::write(path, text)).unwrap();
        self
    }

    /// A service whose only instance is a standalone Redis at `address`.
    pub(crate) fn service(self, name: &str, address: &str) -> Self {
        let text = format!(
            "title = \"{name}\"\nenvironment = \"staging\"\nowner = \"the tests\"\n\n[[instances]]\naddress = \"{address}\"\n"
        );
        self.file(&format!("services/{name}.toml"), &text)
    }

    /// Starts the fake Slack and the bot, and waits until they hear each other.
    pub(crate) async fn start(self, by: By) -> SlackBot {
        let fake = FakeSlack::start(by).await;
        let running = run(self.dir.path().to_owned(), &fake).await;
        let bot = SlackBot { fake, dir: self.dir, running: Some(running) };
        bot.hears().await;
        bot
    }
}

/// What ends when the bot does.
pub(crate) struct Running {
    bot: Bot,
    slack: Arc<Slack>,
    exec: Exec,
    store: Store,
    deaf: CancellationToken,
    rooms: JoinSet<()>,
}

/// The bot and its Slack.
pub(crate) struct SlackBot {
    pub(crate) fake: FakeSlack,
    dir: tempfile::TempDir,
    running: Option<Running>,
}

async fn run(dir: PathBuf, fake: &FakeSlack) -> Running {
    let config_dir = dir.join("config");
    let config = config::load(&config_dir).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    });
    let directory = Arc::new(Directory::default());
    directory.learn(&config.policy);
    let settings = Settings {
        api: fake.api(),
        bot_token: BOT_TOKEN.to_owned().into(),
        wanted: Arc::new({
            let directory = directory.clone();
            move |identity| directory.wanted(identity)
        }),
        accounts: Arc::new(move |person, team| directory.account(person, team)),
    };
    let exec = Exec::new(ExecSettings::default());
    let slack = Slack::new(&settings).unwrap();
    let store = Store::open(StoreSettings::in_dir(dir.join("store"))).await.unwrap();
    let gateways = BTreeMap::from([(Platform::Slack, slack.clone() as Arc<dyn Gateway>)]);
    let reload: Reload = Arc::new(move || config::load(&config_dir).map(serve::rules));
    let rules = serve::rules(config);
    let bot = Bot::start(Parts { rules, reload, exec: exec.clone(), store: store.clone(), gateways });
    let deaf = CancellationToken::new();
    let mut rooms = JoinSet::new();
    match fake.by() {
        By::Socket => {
            let (slack, ears, deaf) = (slack.clone(), bot.ears(), deaf.clone());
            rooms.spawn(async move { slack.listen(APP_TOKEN.to_owned().into(), ears, deaf).await.unwrap() });
        }
        By::Http => {
            let routes = slack.http_routes(&SIGNING_SECRET.to_owned().into(), bot.ears()).unwrap();
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            fake.point_to(&format!("http://{}", listener.local_addr().unwrap()));
            let (pages, deaf) = (axum::Router::new().nest("/slack", routes), deaf.clone());
            rooms.spawn(async move {
                axum::serve(listener, pages).with_graceful_shutdown(deaf.cancelled_owned()).await.unwrap();
            });
        }
    }
    rooms.spawn({
        let slack = slack.clone();
        async move { slack.introduce().await }
    });
    rooms.spawn(slack.clone().take_up(bot.ears()));
    Running { bot, slack, exec, store, deaf, rooms }
}

impl SlackBot {
    /// Where its store is.
    pub(crate) fn store_dir(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Writes a file of the configuration anew; it holds when the bot is told to read it.
    pub(crate) fn rewrite(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join("config").join(name), text).unwrap();
    }

    async fn hears(&self) {
        let by = self.fake.by();
        let opened = self.fake.state().sockets_opened;
        if by == By::Socket && self.ailments().iter().any(|ailment| ailment.contains("socket")) {
            super::eventually_async("the bot hears Slack", std::time::Duration::from_secs(30), || async {
                self.fake.state().sockets_opened >= opened.max(1) && self.ailments().is_empty()
            })
            .await;
        }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    /// What is wrong with the bot, as `/healthz` says it.
    pub(crate) fn ailments(&self) -> Vec<String> {
        self.running().bot.window().ailments()
    }

    /// What the bot counts, as `/metrics` says it.
    pub(crate) fn metrics(&self) -> String {
        self.running().bot.window().metrics()
    }

    /// What is wrong with the gateway.
    pub(crate) fn ailment(&self) -> Option<String> {
        self.running().slack.ailment()
    }

    /// The gateway, to say a card by hand.
    pub(crate) fn gateway(&self) -> Arc<dyn Gateway> {
        self.running().slack.clone()
    }

    /// Takes up what stands on the shelf, as a start does.
    pub(crate) async fn take_up(&self) {
        let Running { bot, slack, .. } = self.running();
        slack.clone().take_up(bot.ears()).await;
    }

    /// Stops the bot as SIGTERM does.
    pub(crate) async fn stop(&mut self) {
        let Running { bot, exec, store, deaf, mut rooms, .. } = self.running.take().expect("it runs");
        deaf.cancel();
        bot.stop().await;
        while rooms.join_next().await.is_some() {}
        exec.close().await;
        store.close().await;
    }

    /// Starts it again, with the same store.
    pub(crate) async fn start(&mut self) {
        self.running = Some(run(self.dir.path().to_owned(), &self.fake).await);
        self.hears().await;
    }

    /// Stops everything, and proves that so many answers stand in a channel now that nothing more can come.
    pub(crate) async fn stopped_and_answered(mut self, channel: &str, many: usize) {
        self.stop().await;
        assert_eq!(self.fake.state().by_bot(channel).len(), many, "{channel}");
        self.fake.finish();
    }

    /// Stops everything and proves that nothing was left unread.
    pub(crate) async fn finish(mut self) {
        self.stop().await;
        self.fake.finish();
    }
}
