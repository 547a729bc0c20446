//! A room where changes are asked for and consented to: people with different
//! rights at one terminal, and a server the bot may change.

use rediscue::chat::console::{
    Link,
    wire::{FromBot, ToBot},
};

use super::{
    chat::{Answer, Chat, ChatBuilder, collect, heard, press, react, text_of},
    redis::RedisServer,
};

/// ana asks (and approves, which must not help her), bo approves, cy looks; MODE is to be filled in.
pub(crate) const POLICY: &str = concat!(
    r#"
mode = "MODE"
keepers = ["ana"]

[people.ana]
name = "Ana"
roles = ["operator", "approver", "keeper"]
console = ["ana"]

[people.bo]
name = "Bo"
roles = ["approver"]
console = ["bo"]

[people.cy]
name = "Cy"
roles = ["viewer"]
console = ["cy"]

[roles.operator]
may = [{ commands = ["diagnostics", "group:change"], services = ["*"] }]

[roles.approver]
may = [{ commands = ["diagnostics"], services = ["*"] }]
approves = [{ commands = ["group:change"], services = ["*"] }]

[roles.viewer]
may = [{ commands = ["diagnostics"], services = ["*"] }]

[roles.keeper]
may = [{ commands = ["reload"], services = ["*"] }]

"#,
    unhurried!()
);

/// A server with a user of its own for changes, and a bot that knows it.
pub(crate) fn house(mode: &str) -> (RedisServer, ChatBuilder) {
    let server = RedisServer::builder().user(TOUCHER).start();
    let builder = house_at(mode, &server, &format!("address = \"{}\"", server.address()));
    (server, builder)
}

/// The user for changes, as every server of a room has it.
pub(crate) const TOUCHER: &str = "toucher on >touch-secret ~* &* +@all";

/// A bot that knows servers with a [`TOUCHER`] by these words of a profile; its secret lies in the folder of `server`.
pub(crate) fn house_at(mode: &str, server: &RedisServer, found_by: &str) -> ChatBuilder {
    let secret = server.dir().join("touch.secret");
    std::fs::write(&secret, "touch-secret\n").unwrap();
    let service = format!(
        "title = \"shop\"\nenvironment = \"prod\"\nowner = \"the tests\"\n\n[[instances]]\n{found_by}\n\
         touch = {{ user = \"toucher\", password = {{ file = \"{}\" }} }}\n",
        secret.display()
    );
    ChatBuilder::new().file("policy.toml", &POLICY.replace("MODE", mode)).file("services/shop.toml", &service)
}

/// The people at one terminal.
pub(crate) struct Room {
    pub(crate) link: Link,
    line: u64,
}

impl Room {
    pub(crate) fn of(chat: &Chat) -> Self {
        Self { link: chat.seat_all(&["ana", "bo", "cy", "mallory"]), line: 0 }
    }

    /// The same terminal for whoever is named.
    pub(crate) fn seating(chat: &Chat, people: &[&str]) -> Self {
        Self { link: chat.seat_all(people), line: 0 }
    }

    pub(crate) async fn types(&mut self, who: &str, text: &str) -> Answer {
        self.line += 1;
        let typed = ToBot::Command { line: self.line, speaker: Some(who.to_owned()), text: text.to_owned() };
        self.link.to_bot.send(typed).await.unwrap();
        collect(&mut self.link, self.line).await
    }

    pub(crate) async fn reacts(&mut self, who: &str, emoji: &str, id: &str) -> Answer {
        self.line += 1;
        react(&mut self.link, self.line, who, id, emoji, true).await
    }

    pub(crate) async fn unreacts(&mut self, who: &str, emoji: &str, id: &str) -> Answer {
        self.line += 1;
        react(&mut self.link, self.line, who, id, emoji, false).await
    }

    /// What is said or edited of itself until a card holds `words`; its text.
    pub(crate) async fn hears(&mut self, words: &str) -> String {
        loop {
            if let FromBot::Say { card, .. } | FromBot::Edit { card, .. } = heard(&mut self.link).await {
                let text = text_of(&card);
                if text.contains(words) {
                    return text;
                }
            }
        }
    }

    /// What ana asks for, with the consent of bo; the plan's text and how it ended.
    pub(crate) async fn agreed(&mut self, line: &str) -> (String, Answer) {
        let plan = self.types("ana", line).await;
        let done = self.reacts("bo", "✅", &plan.id()).await;
        (plan.text(), done)
    }

    pub(crate) async fn presses(&mut self, who: &str, id: &str, command: &str) -> Answer {
        self.line += 1;
        press(&mut self.link, self.line, who, id, command).await
    }
}

/// What a server holds for one of its settings.
pub(crate) fn setting(server: &RedisServer, name: &str) -> String {
    let pair: Vec<String> = server.run(&["CONFIG", "GET", name]);
    pair[1].clone()
}
