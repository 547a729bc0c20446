//! A whole bot in this process, spoken to through the local chat.
//!
//! Everything between what a person types and what they read is the program's
//! own: configuration files on disk, console gateway, dispatcher, policy,
//! store, connections. Only the terminal is missing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rediscue::{
    app::serve,
    bot::{Bot, Parts, Reload, Settings},
    chat::{
        Gateway,
        console::{
            Console, Link, Peer, Who,
            wire::{FromBot, ToBot},
        },
    },
    config,
    exec::Exec,
    model::{Address, Block, Card, Deployment, Instance, Level, Platform, SecretRef},
    store::{Store, StoreSettings},
};

/// Longer than any deadline of a command under test.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two people who may do everything that only looks, one of whom may see
/// values, and one who may only ask for `status`.
const POLICY: &str = concat!(
    r#"
mode = "normal"
keepers = ["ana"]

[people.ana]
name = "Ana"
roles = ["keeper", "oncall", "values"]
console = ["ana"]

[people.bo]
name = "Bo"
roles = ["oncall"]
console = ["bo"]

[people.cy]
name = "Cy"
roles = ["support"]
console = ["cy"]

[roles.keeper]
about = "keeps the configuration"
may = [{ commands = ["reload"], services = ["*"] }]

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

/// Builds a [`Chat`].
pub(crate) struct ChatBuilder {
    dir: tempfile::TempDir,
    tuned: Vec<fn(&mut Settings)>,
}

impl ChatBuilder {
    /// A configuration with the three people above and no service.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let builder = Self { dir, tuned: Vec::new() };
        builder.file("policy.toml", POLICY)
    }

    /// Writes a file of the configuration.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        write(&self.config_dir().join(name), text);
        self
    }

    /// A service whose only instance is a standalone Redis at `address`.
    pub(crate) fn service(self, name: &str, address: &str, more: &str) -> Self {
        let text = format!(
            "title = \"{name}\"\nenvironment = \"staging\"\nowner = \"the tests\"\n\n[[instances]]\naddress = \"{address}\"\n\n{more}"
        );
        self.file(&format!("services/{name}.toml"), &text)
    }

    /// A service whose only instance is found as `instance` says, written as a profile says it.
    pub(crate) fn service_at(self, name: &str, instance: &Instance, more: &str) -> Self {
        let text = format!(
            "title = \"{name}\"\nenvironment = \"staging\"\nowner = \"the tests\"\n\n[[instances]]\n{}\n{more}",
            written(instance)
        );
        self.file(&format!("services/{name}.toml"), &text)
    }

    /// Replaces one of the policy's limits: `person`, `instance`, `cheap`, `moderate` or `heavy`.
    pub(crate) fn limit(self, whose: &str, per_minute: u32, burst: u32, at_once: u32) -> Self {
        let line = format!("{whose} = {{ per_minute = {per_minute}, burst = {burst}, at_once = {at_once} }}");
        let policy = std::fs::read_to_string(self.config_dir().join("policy.toml")).expect("it was written by `new`");
        let is_it = |line: &str| line.starts_with(&format!("{whose} = {{ per_minute"));
        assert!(policy.lines().any(is_it), "the policy of tests has a limit to replace");
        let limited: Vec<&str> = policy.lines().map(|old| if is_it(old) { line.as_str() } else { old }).collect();
        self.file("policy.toml", &(limited.join("\n") + "\n"))
    }

    fn config_dir(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    /// Where a file of the configuration is.
    pub(crate) fn written(&self, name: &str) -> PathBuf {
        self.config_dir().join(name)
    }

    /// Where the bot's store will be.
    pub(crate) fn store_dir(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// A configuration, and a store, that another bot has left.
    pub(crate) fn left_in(dir: tempfile::TempDir) -> Self {
        Self { dir, tuned: Vec::new() }
    }

    /// Sets what a configuration file may not: times shorter than anybody would wait for in earnest.
    pub(crate) fn tuned(mut self, tune: fn(&mut Settings)) -> Self {
        self.tuned.push(tune);
        self
    }

    /// Starts the bot.
    pub(crate) async fn start(self) -> Chat {
        let config_dir = self.config_dir();
        let (mut rules, exec) = match config::load(&config_dir) {
            Ok(config) => {
                let exec = Exec::new(serve::exec_settings(&config.bot));
                (serve::rules(config), exec)
            }
            Err(problems) => {
                panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            }
        };
        let store = Store::open(StoreSettings::in_dir(self.store_dir())).await.expect("the store opens");
        self.tuned.iter().for_each(|tune| tune(&mut rules.settings));
        let console = Console::new("testhost");
        let gateways = BTreeMap::from([(Platform::Console, console.clone() as Arc<dyn Gateway>)]);
        let reload: Reload = Arc::new({
            let config_dir = config_dir.clone();
            move || config::load(&config_dir).map(serve::rules)
        });
        let bot = Bot::start(Parts { rules, reload, exec: exec.clone(), store: store.clone(), gateways });
        Chat { bot, console, exec, store, dir: self.dir, links: BTreeMap::new(), line: 0 }
    }
}

/// An instance, as a profile says it.
fn written(instance: &Instance) -> String {
    let mut lines = vec![format!("name = \"{}\"", instance.name), format!("database = {}", instance.database)];
    let quoted =
        |addresses: &[Address]| addresses.iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ");
    let secret = |key: &str, secret: &SecretRef| match secret {
        SecretRef::File(path) => format!("{key} = {{ file = \"{}\" }}", path.display()),
        SecretRef::Env(name) => format!("{key} = {{ env = \"{name}\" }}"),
    };
    match &instance.deployment {
        Deployment::Standalone(address) => lines.push(format!("address = \"{address}\"")),
        Deployment::Cluster { seeds } => lines.push(format!("cluster = [{}]", quoted(seeds))),
        Deployment::Sentinel { sentinels, master, .. } => {
            lines.push(format!("sentinels = [{}]\nmaster = \"{master}\"", quoted(sentinels)));
        }
    }
    lines.extend(instance.scan_replica.then(|| "scan_replica = true".to_owned()));
    lines.extend(instance.look.user.iter().map(|user| format!("user = \"{user}\"")));
    lines.extend(instance.look.password.iter().map(|password| secret("password", password)));
    if let Some(tls) = &instance.tls {
        lines.push("tls = true".into());
        let files = [("tls_ca", &tls.ca), ("tls_cert", &tls.cert), ("tls_key", &tls.key)];
        let files = files.into_iter().filter_map(|(key, file)| Some((key, file.as_ref()?)));
        lines.extend(files.map(|(key, file)| format!("{key} = \"{}\"", file.display())));
        lines.extend(tls.server_name.iter().map(|name| format!("tls_server_name = \"{name}\"")));
    }
    lines.join("\n") + "\n"
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("files of a configuration have a directory"))
        .and_then(|()| std::fs::write(path, text))
        .expect("the configuration can be written");
}

/// A running bot and the people at its console.
pub(crate) struct Chat {
    pub(crate) bot: Bot,
    pub(crate) console: Arc<Console>,
    pub(crate) exec: Exec,
    pub(crate) store: Store,
    pub(crate) dir: tempfile::TempDir,
    links: BTreeMap<String, Link>,
    line: u64,
}

/// What one line was answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Each message said for it, as it stands now, in order.
    pub(crate) messages: Vec<Message>,
    /// Each edit, of these messages or of earlier ones, in order.
    pub(crate) edited: Vec<(String, Card)>,
}

/// One message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) private: bool,
    pub(crate) card: Card,
}

impl Answer {
    /// The last message, apart from the checklist that follows a change.
    fn last(&self) -> &Message {
        let answers = |message: &&Message| !message.card.title.starts_with("verify ·");
        self.messages.iter().rfind(answers).or(self.messages.last()).expect("every line is answered")
    }

    /// The id of the last message.
    pub(crate) fn id(&self) -> String {
        self.last().id.clone()
    }

    /// The last message's card.
    pub(crate) fn card(&self) -> &Card {
        &self.last().card
    }

    /// The last message's judgement.
    pub(crate) fn level(&self) -> Option<Level> {
        self.card().level
    }

    /// Everything the last card says, as one text, to look for words in.
    pub(crate) fn text(&self) -> String {
        text_of(self.card())
    }
}

/// Everything a card says, as one text.
pub(crate) fn text_of(card: &Card) -> String {
    let mut lines = vec![card.title.clone()];
    lines.extend(card.verdict.iter().map(|verdict| verdict.to_plain()));
    lines.extend(card.context.iter().cloned());
    for block in &card.blocks {
        match block {
            Block::Text(text) => lines.push(text.to_plain()),
            Block::Heading(text) | Block::Code(text) => lines.push(text.clone()),
            Block::Fields(fields) => lines.extend(fields.iter().map(|field| {
                let hint = field.hint.as_deref().unwrap_or_default();
                format!("{}: {} {hint}", field.label, field.value)
            })),
            Block::Table(table) => {
                lines.extend(table.title.clone());
                if table.rows.is_empty() {
                    lines.extend(table.empty.clone());
                }
                lines.extend(
                    table
                        .rows
                        .iter()
                        .map(|row| row.iter().map(|cell| cell.text.as_str()).collect::<Vec<_>>().join(" | ")),
                );
            }
            Block::Findings(findings) => lines.extend(findings.iter().map(|finding| {
                let evidence = finding.evidence.as_deref().unwrap_or_default();
                let next = finding.next.as_ref().map(|next| next.to_plain()).unwrap_or_default();
                format!("{}: {} ({evidence}) → {next}", finding.level.word(), finding.what.to_plain())
            })),
            Block::Bars { title, bars } => {
                lines.push(title.clone());
                lines.extend(bars.iter().map(|bar| format!("{}: {}", bar.label, bar.shown)));
            }
            Block::Series(series) => lines.push(series.title.clone()),
            Block::Progress(progress) => lines.push(format!("{} · {}", progress.doing, progress.done)),
            Block::Checklist(items) => lines.extend(items.iter().map(|(_, text)| text.to_plain())),
        }
    }
    lines.extend(card.actions.iter().map(|action| format!("[{}] {}", action.label, action.command)));
    lines.extend(card.footer.clone());
    lines.join("\n")
}

impl Chat {
    /// The directory the configuration is read from.
    pub(crate) fn config_file(&self, name: &str) -> PathBuf {
        self.dir.path().join("config").join(name)
    }

    /// Somebody sits down at a terminal of their own.
    pub(crate) fn seat(&self, person: &str) -> Link {
        let people = vec![person.parse().expect("people of tests have valid names")];
        self.console.attach(Peer { who: Who::People(people), script: true }, self.bot.inbound())
    }

    /// Somebody reads the console's own channel, as people at terminals do.
    pub(crate) fn reader(&self, person: &str) -> Link {
        let people = vec![person.parse().expect("people of tests have valid names")];
        self.console.attach(Peer { who: Who::People(people), script: false }, self.bot.inbound())
    }

    /// Several people sit down at one terminal.
    pub(crate) fn seat_all(&self, people: &[&str]) -> Link {
        let people = people.iter().map(|person| person.parse().expect("people of tests have valid names")).collect();
        self.console.attach(Peer { who: Who::People(people), script: true }, self.bot.inbound())
    }

    /// Types a line as somebody and waits until the bot is through with it.
    pub(crate) async fn ask(&mut self, person: &str, text: &str) -> Answer {
        self.line += 1;
        let line = self.line;
        if !self.links.contains_key(person) {
            let link = self.seat(person);
            self.links.insert(person.to_owned(), link);
        }
        let link = self.links.get_mut(person).expect("just seated");
        ask(link, line, text).await
    }

    /// Stops the bot as SIGTERM does, and closes everything.
    pub(crate) async fn stop(self) {
        self.leave().await;
    }

    /// The same, and leaves configuration and store to the next bot.
    pub(crate) async fn leave(self) -> ChatBuilder {
        self.bot.stop().await;
        self.exec.close().await;
        self.store.close().await;
        ChatBuilder::left_in(self.dir)
    }
}

/// Reacts to a message as somebody of a link that speaks for several, and collects what is said to it.
pub(crate) async fn react(link: &mut Link, line: u64, speaker: &str, id: &str, emoji: &str, added: bool) -> Answer {
    let speaker = Some(speaker.to_owned());
    let said = ToBot::React { line, speaker, id: id.to_owned(), emoji: emoji.to_owned(), added };
    link.to_bot.send(said).await.expect("the bot is there");
    collect(link, line).await
}

/// Presses a button as somebody of a link that speaks for several, and collects what is said to it.
pub(crate) async fn press(link: &mut Link, line: u64, speaker: &str, id: &str, command: &str) -> Answer {
    let speaker = Some(speaker.to_owned());
    let said = ToBot::Press { line, speaker, id: id.to_owned(), command: command.to_owned() };
    link.to_bot.send(said).await.expect("the bot is there");
    collect(link, line).await
}

/// Types a line into a link and collects what is said until the bot is through with it.
pub(crate) async fn ask(link: &mut Link, line: u64, text: &str) -> Answer {
    send(link, line, text).await;
    collect(link, line).await
}

/// Types a line into a link.
pub(crate) async fn send(link: &mut Link, line: u64, text: &str) {
    let typed = ToBot::Command { line, speaker: None, text: text.to_owned() };
    link.to_bot.send(typed).await.expect("the bot is there");
}

/// The next thing the bot does.
pub(crate) async fn heard(link: &mut Link) -> FromBot {
    tokio::time::timeout(PATIENCE, link.from_bot.recv())
        .await
        .unwrap_or_else(|_| panic!("the bot said nothing within {PATIENCE:?}"))
        .expect("the bot hung up")
}

/// What is said until the bot is through with a line.
pub(crate) async fn collect(link: &mut Link, line: u64) -> Answer {
    let mut answer = Answer { messages: Vec::new(), edited: Vec::new() };
    loop {
        match heard(link).await {
            FromBot::Say { id, private, card } => answer.messages.push(Message { id, private, card }),
            FromBot::Edit { id, card } => {
                if let Some(message) = answer.messages.iter_mut().find(|message| message.id == id) {
                    message.card = card.clone();
                }
                answer.edited.push((id, card));
            }
            FromBot::Settled { line: settled } if settled == line => return answer,
            FromBot::Refused { why, .. } => panic!("line {line} was refused by the console: {why}"),
            _ => {}
        }
    }
}
