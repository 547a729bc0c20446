//! The bot is killed in the middle: what was acknowledged is answered after the next start, once.

use std::time::Duration;

use nix::sys::signal::Signal;
use rediscue::{
    model::{Card, Identity, Place, PlaceKind, Platform, Text},
    store::{Owed, OwedWhat, Store, StoreSettings},
};

use crate::world::{
    eventually_async,
    program::{Home, Program},
    redis::{RedisServer, free_port},
    slack::{
        By, FakeSlack,
        state::{Prank, Said},
    },
    slack_bot::SlackBotBuilder,
};

const POLICY: &str = r#"
mode = "normal"
keepers = ["ana"]

[people.ana]
name = "Ana"
roles = ["operator"]
slack = [{ team = "T1", user = "U1" }]

[people.bo]
name = "Bo"
roles = ["operator"]
slack = [{ team = "T1", user = "U2" }]

[roles.operator]
may = [{ commands = ["diagnostics", "group:change"], services = ["*"] }]
approves = [{ commands = ["group:change"], services = ["*"] }]
"#;

/// The built program, its fake Slack, and a Redis that may be changed.
struct House {
    home: Home,
    dir: String,
    web: u16,
    fake: FakeSlack,
    _server: RedisServer,
}

impl House {
    async fn new(by: By) -> Self {
        let server = RedisServer::builder().user("toucher on >touch-secret ~* &* +@all").start();
        let secret = server.dir().join("touch.secret");
        std::fs::write(&secret, "touch-secret\n").unwrap();
        let fake = FakeSlack::start(by).await;
        let (home, web) = (Home::new(), free_port());
        let mode = if by == By::Http { "http" } else { "socket" };
        let dir = super::slack_doors::write_config(&home, &fake.api(), mode, web, &server.address().to_string());
        std::fs::write(home.path().join("config/policy.toml"), POLICY).unwrap();
        // Nobody reads what it logs until it ends.
        let path = home.path().join("config/bot.toml");
        let quiet = std::fs::read_to_string(&path).unwrap().replace("\"trace\"", "\"error\"");
        std::fs::write(path, quiet).unwrap();
        let service = format!(
            "title = \"godel\"\nenvironment = \"prod\"\nowner = \"the tests\"\n\n[[instances]]\naddress = \"{}\"\n\
             touch = {{ user = \"toucher\", password = {{ file = \"{}\" }} }}\n",
            server.address(),
            secret.display()
        );
        std::fs::write(home.path().join("config/services/godel.toml"), service).unwrap();
        Self { home, dir, web, fake, _server: server }
    }

    /// Starts the program, and waits until Slack and it hear each other.
    async fn start(&self) -> Program {
        let program = self.home.start(&["serve", "--config", &self.dir]);
        self.fake.point_to(&format!("http://127.0.0.1:{}", self.web));
        let client = reqwest::Client::new();
        eventually_async("the bot is well", Duration::from_secs(60), || async {
            let answer = client.get(format!("http://127.0.0.1:{}/healthz", self.web)).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        program
    }

    async fn acknowledged(&self, id: usize) {
        self.fake.wait("it is acknowledged", |state| state.sent[id].acknowledged.is_some()).await;
    }

    /// Kills it, as the machine would.
    fn kill(mut program: Program) {
        program.signal(Signal::SIGKILL);
        program.wait();
    }

    async fn end(self, program: Program) {
        program.signal(Signal::SIGTERM);
        let ran = program.end();
        assert_eq!(ran.code(), 0, "{}", ran.stderr);
        self.fake.finish();
    }
}

fn answers<'s>(said: &'s [Said], words: &str) -> Vec<&'s Said> {
    said.iter().filter(|said| said.words().contains(words)).collect()
}

async fn what_was_acknowledged_and_not_begun_is_answered_by_the_next_start(by: By) {
    let house = House::new(by).await;
    let program = house.start().await;
    // The account is looked up before anything else; nobody answers that.
    house.fake.prank(|method, _| (method == "users.info").then_some(Prank::Swallow));
    let slash = house.fake.slash("U1", "C1", "status godel");
    let (_, mention) = house.fake.mention("U2", "C1", None, "ping godel");
    house.acknowledged(slash).await;
    house.acknowledged(mention).await;
    House::kill(program);
    assert!(house.fake.state().by_bot("C1").is_empty());
    house.fake.behave();
    let program = house.start().await;
    let said = house.fake.answers("C1", 2).await;
    assert_eq!((answers(&said, "status · godel").len(), answers(&said, "ping · godel").len()), (1, 1));
    // Slack may send it again all the same, and it is answered once.
    house.fake.redeliver(slash);
    house.fake.slash("U1", "C2", "ping godel");
    house.fake.answers("C2", 1).await;
    assert_eq!(house.fake.state().by_bot("C1").len(), 2);
    house.end(program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_and_not_begun_is_answered_by_the_next_start_by_socket() {
    what_was_acknowledged_and_not_begun_is_answered_by_the_next_start(By::Socket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_and_not_begun_is_answered_by_the_next_start_by_http() {
    what_was_acknowledged_and_not_begun_is_answered_by_the_next_start(By::Http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_was_cut_off_is_made_again_in_its_own_message() {
    let house = House::new(By::Socket).await;
    let program = house.start().await;
    house.fake.slash("U1", "C1", "monitor godel 5s");
    house
        .fake
        .wait("its progress is shown", |state| {
            state.by_bot("C1").first().is_some_and(|said| said.words().contains("Looking …"))
        })
        .await;
    House::kill(program);
    let program = house.start().await;
    let said = house.fake.answers("C1", 1).await;
    assert_eq!(said.len(), 1, "the message of before holds the answer");
    assert!(said[0].words().contains("monitor · godel"), "{}", said[0].words());
    house.end(program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_cut_off_is_not_repeated_and_that_is_said() {
    let house = House::new(By::Socket).await;
    let program = house.start().await;
    // The plan is shown, and the bot never hears that it was.
    house.fake.prank(|method, channel| (method == "chat.postMessage" && channel == "C1").then_some(Prank::Swallow));
    house.fake.slash("U1", "C1", "set-config timeout 300 godel");
    house.fake.wait("the plan is shown", |state| !state.by_bot("C1").is_empty()).await;
    House::kill(program);
    house.fake.behave();
    let program = house.start().await;
    house
        .fake
        .wait("it is said that it was cut off", |state| {
            state.by_bot("C1").iter().any(|said| said.words().contains("set-config · cut off") && said.only.is_some())
        })
        .await;
    let plans = answers(&house.fake.answers("C1", 2).await, "plan ·").len();
    assert_eq!(plans, 1, "nothing is proposed twice");
    house.end(program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_answer_that_was_being_said_is_not_said_twice_and_one_that_was_not_is_said() {
    let server = RedisServer::start();
    let mut bot = SlackBotBuilder::new().service("godel", &server.address().to_string()).start(By::Socket).await;
    bot.stop().await;
    let store = Store::open(StoreSettings::in_dir(bot.store_dir())).await.unwrap();
    let place = Place {
        platform: Platform::Slack,
        team: "T1".into(),
        channel: "C1".into(),
        thread: None,
        kind: PlaceKind::Channel,
        via: None,
    };
    let only = Some(Identity { platform: Platform::Slack, team: "T1".into(), user: "U1".into() });
    for key in ["being-said", "waiting"] {
        let card = Card { title: key.to_owned(), verdict: Some(Text::plain(key)), ..Card::default() };
        let what = OwedWhat::Say { place: place.clone(), card, only: only.clone() };
        store.owed_add(Owed { key: key.to_owned(), what, due: jiff::Timestamp::now() }).await.unwrap();
    }
    // Here the process died.
    assert!(store.owed_sending("being-said").await.unwrap());
    store.close().await;
    bot.start().await;
    let said = bot.fake.answers("C1", 1).await;
    assert!(said[0].words().contains("waiting"), "{}", said[0].words());
    bot.fake.slash("U1", "C1", "ping godel");
    assert_eq!(bot.fake.answers("C1", 2).await.len(), 2);
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_presses_within_a_moment_are_heard_in_the_order_they_came() {
    let house = House::new(By::Socket).await;
    let program = house.start().await;
    for round in 0..6 {
        house.fake.slash("U1", "C1", &format!("set-config timeout {} godel", 300 + round));
        let plan = |state: &crate::world::slack::state::State| {
            let plans: Vec<String> = state
                .by_bot("C1")
                .iter()
                .filter(|said| said.words().contains(&format!("→ {}", 300 + round)))
                .map(|said| said.ts.clone())
                .collect();
            plans.first().cloned()
        };
        house.fake.wait("the plan is shown", |state| plan(state).is_some()).await;
        let ts = plan(&house.fake.state()).unwrap();
        let (first, then, end) = if round % 2 == 0 {
            ("x", "white_check_mark", "Bo declined it")
        } else {
            ("white_check_mark", "x", "with the consent of Bo")
        };
        house.fake.react("U2", "C1", &ts, first, true);
        house.fake.react("U2", "C1", &ts, then, true);
        house
            .fake
            .wait(&format!("the first word of round {round} counts"), |state| {
                state.message("C1", &ts).unwrap().words().contains(end)
            })
            .await;
    }
    house.end(program).await;
}
