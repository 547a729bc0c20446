//! What people live through when they change something: a plan that all can
//! see, one person's word that is not enough, another's that is, a way back.

use rediscue::{chat::console::Link, model::Level, store::PlanState};

use crate::world::{
    chat::{Answer, Chat, ChatBuilder, collect, press, react, text_of},
    redis::RedisServer,
};
use rediscue::chat::console::wire::ToBot;

const POLICY: &str = r#"
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
"#;

/// A server with a user of its own for changes, and a bot that knows it.
fn house(mode: &str) -> (RedisServer, ChatBuilder) {
    let server = RedisServer::builder().user("toucher on >touch-secret ~* &* +@all").start();
    let secret = server.dir().join("touch.secret");
    std::fs::write(&secret, "touch-secret\n").unwrap();
    let service = format!(
        "title = \"shop\"\nenvironment = \"prod\"\nowner = \"the tests\"\n\n[[instances]]\naddress = \"{}\"\n\
         touch = {{ user = \"toucher\", password = {{ file = \"{}\" }} }}\n",
        server.address(),
        secret.display()
    );
    let builder =
        ChatBuilder::new().file("policy.toml", &POLICY.replace("MODE", mode)).file("services/shop.toml", &service);
    (server, builder)
}

/// The people at one terminal.
struct Room {
    link: Link,
    line: u64,
}

impl Room {
    fn of(chat: &Chat) -> Self {
        Self { link: chat.seat_all(&["ana", "bo", "cy", "mallory"]), line: 0 }
    }

    async fn types(&mut self, who: &str, text: &str) -> Answer {
        self.line += 1;
        let typed = ToBot::Command { line: self.line, speaker: Some(who.to_owned()), text: text.to_owned() };
        self.link.to_bot.send(typed).await.unwrap();
        collect(&mut self.link, self.line).await
    }

    async fn reacts(&mut self, who: &str, emoji: &str, id: &str) -> Answer {
        self.line += 1;
        react(&mut self.link, self.line, who, id, emoji, true).await
    }

    async fn presses(&mut self, who: &str, id: &str, command: &str) -> Answer {
        self.line += 1;
        press(&mut self.link, self.line, who, id, command).await
    }
}

fn setting(server: &RedisServer, name: &str) -> String {
    let pair: Vec<String> = server.run(&["CONFIG", "GET", name]);
    pair[1].clone()
}

#[tokio::test]
async fn nothing_is_changed_on_one_persons_word_and_a_second_ones_word_runs_it_and_it_can_be_undone() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let before = setting(&server, "maxmemory-policy");

    let plan = room.types("ana", "set-config maxmemory-policy allkeys-lru shop").await;
    let (id, text) = (plan.id(), plan.text());
    for said in [
        "noeviction → allkeys-lru",
        "Risk: high",
        "Who may consent: Bo",
        "Undo: `/redis set-config",
        "Nothing has been changed yet",
    ] {
        let said = said.replace('`', "");
        assert!(text.contains(&said), "{said} is missing in {text}");
    }

    for (who, why) in
        [("ana", "your own word does not count"), ("cy", "Your word does not count"), ("mallory", "belongs to nobody")]
    {
        let refused = room.reacts(who, "✅", &id).await;
        assert!(refused.text().contains(why), "{who}: {}", refused.text());
        assert!(!refused.messages[0].private, "a refusal is said aloud");
    }
    assert_eq!(setting(&server, "maxmemory-policy"), before);

    let done = room.reacts("bo", "✅", &id).await;
    assert_eq!(setting(&server, "maxmemory-policy"), "allkeys-lru");
    let plan_now = text_of(&done.edited.iter().rfind(|(edited, _)| *edited == id).expect("the plan says its end").1);
    assert!(plan_now.contains("asked for by Ana, with the consent of Bo"), "{plan_now}");
    assert_eq!(done.level(), Some(Level::Ok));

    let again = room.reacts("bo", "✅", &id).await;
    assert!(again.text().contains("it is done"), "an old plan is refused: {}", again.text());

    let undo =
        done.card().actions.iter().find(|action| action.label == "Undo").expect("it can be undone").command.clone();
    let plan = room.presses("ana", &done.id(), &undo).await;
    assert_eq!(setting(&server, "maxmemory-policy"), "allkeys-lru", "an undo waits for consent too");
    let consent = plan.card().actions[0].command.clone();
    assert!(room.presses("ana", &plan.id(), &consent).await.text().contains("own word"));
    room.presses("bo", &plan.id(), &consent).await;
    assert_eq!(setting(&server, "maxmemory-policy"), before);

    let rows = chat.store.journal(50).await.unwrap();
    let found = |command: &str, outcome: &str, person: &str| {
        rows.iter().any(|row| row.command == command && row.outcome == outcome && row.person.as_deref() == Some(person))
    };
    assert!(found("consent", "denied", "ana") && found("consent", "answered", "bo"), "{rows:?}");
    let run = rows.iter().find(|row| row.command == "run").unwrap();
    assert_eq!((run.person.as_deref(), run.why.as_deref()), (Some("ana"), Some("done; consented by bo")));
    chat.stop().await;
}

#[tokio::test]
async fn a_dry_run_and_a_bot_that_observes_change_nothing() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let dry = room.types("ana", "set-config slowlog-max-len 99 shop --dry-run").await;
    assert!(dry.text().contains("128 → 99") && dry.card().actions.is_empty(), "{}", dry.text());
    assert_eq!(setting(&server, "slowlog-max-len"), "128");
    let low = room.types("ana", "set-config slowlog-max-len 99 shop").await;
    assert_eq!((low.level(), setting(&server, "slowlog-max-len").as_str()), (Some(Level::Ok), "99"), "{}", low.text());
    let left = chat.leave().await;

    let chat = left.file("policy.toml", &POLICY.replace("MODE", "observe")).start().await;
    let mut room = Room::of(&chat);
    let held = room.types("ana", "set-config slowlog-max-len 128 shop").await;
    assert!(!held.text().contains("→ 128"), "{}", held.text());
    assert_eq!(setting(&server, "slowlog-max-len"), "99");
    chat.stop().await;
}

#[tokio::test]
async fn consent_to_what_is_no_longer_so_is_void_and_says_what_changed() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "set-config timeout 300 shop").await;
    let _: String = server.run(&["CONFIG", "SET", "timeout", "77"]);
    let void = room.reacts("bo", "✅", &plan.id()).await;
    assert!(void.text().contains("the value was 0 and is now 77"), "{}", void.text());
    assert_eq!(setting(&server, "timeout"), "77");
    let other = room.types("ana", "set-config timeout 300 shop").await;
    room.reacts("bo", "❌", &other.id()).await;
    let late = room.reacts("bo", "✅", &other.id()).await;
    assert!(late.text().contains("it is declined"), "{}", late.text());
    assert_eq!(setting(&server, "timeout"), "77");
    chat.stop().await;
}

#[tokio::test]
async fn a_pending_plan_survives_a_restart_and_a_run_that_was_cut_short_is_not_repeated() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let waiting = room.types("ana", "set-config timeout 300 shop").await;
    let cut = room.types("ana", "set-config maxclients 500 shop").await;
    let run_of = |answer: &Answer| answer.card().actions[0].command.replace("approve ", "");
    let (first, second) = (run_of(&waiting), run_of(&cut));
    let run = rediscue::model::RunId::parse(&second).unwrap();
    assert!(chat.store.plan_move(&run, PlanState::Pending, PlanState::Running, None).await.unwrap());

    let chat = chat.leave().await.start().await;
    let mut room = Room::of(&chat);
    let pending = room.types("bo", "pending").await.text();
    assert!(pending.contains(&first) && !pending.contains(&second), "{pending}");
    let before = setting(&server, "maxclients");
    let uncertain = room.types("bo", &format!("approve {second}")).await;
    assert!(!uncertain.text().contains("done ·"), "{}", uncertain.text());
    assert_eq!(setting(&server, "maxclients"), before);
    room.types("bo", &format!("approve {first}")).await;
    assert_eq!(setting(&server, "timeout"), "300");
    chat.stop().await;
}
