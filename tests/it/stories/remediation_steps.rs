//! Every remediation, with each thing it sends to its server failing in turn: refused, cut before the
//! server has it, cut before its answer is heard. The world before is compared with the world after,
//! and with what the card says of it; and each undo is done twice.

use std::collections::BTreeMap;

use rediscue::model::{Card, Level};
use sha2::{Digest as _, Sha256};

use crate::world::{
    chat::{Answer, Chat, text_of},
    eventually,
    keys::{Seen, furnish, seen},
    proxy::{How, Proxy},
    redis::RedisServer,
    room::{POLICY, Room, TOUCHER, house_at},
};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// Everything a remediation may change.
#[derive(Debug, Clone, PartialEq)]
struct World {
    settings: BTreeMap<String, String>,
    users: Vec<String>,
    keys: Seen,
    reports: usize,
}

impl World {
    fn of(server: &RedisServer) -> Self {
        let pairs: Vec<String> = server.run(&["CONFIG", "GET", "*"]);
        let users: Vec<String> = server.run(&["ACL", "LIST"]);
        // A password is made anew each time: that there is a new one is what can be compared.
        let known = ["old-secret", "touch-secret"].map(hash);
        let word = |word: &str| match word.strip_prefix('#') {
            Some(hash) if !known.iter().any(|known| known == hash) => "#new".to_owned(),
            _ => word.to_owned(),
        };
        let user = |user: &String| user.split(' ').map(word).collect::<Vec<_>>().join(" ");
        let mut users: Vec<String> = users.iter().map(user).collect();
        users.sort();
        let clients: String = server.run(&["CLIENT", "LIST"]);
        Self {
            settings: pairs.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
            users,
            keys: seen(server).into_iter().map(|(name, seen)| (as_was(name), seen)).collect(),
            reports: clients.matches("name=report").count(),
        }
    }

    /// What differs, in words; deadlines may by `slack` milliseconds.
    fn differs(&self, other: &World, slack: i64) -> Vec<String> {
        let mut told = Vec::new();
        for (name, value) in &self.settings {
            let now = other.settings.get(name);
            if now != Some(value) {
                told.push(format!("{name}: {value} → {now:?}"));
            }
        }
        if self.users != other.users {
            told.push(format!("users: {:?} → {:?}", self.users, other.users));
        }
        if self.reports != other.reports {
            told.push(format!("connections of reports: {} → {}", self.reports, other.reports));
        }
        for name in self.keys.keys().chain(other.keys.keys()) {
            let same = match (self.keys.get(name), other.keys.get(name)) {
                (Some((one, at)), Some((two, now))) => {
                    one == two && (*at == -1) == (*now == -1) && (at - now).abs() <= slack
                }
                _ => false,
            };
            if !same {
                told.push(format!("key {}", String::from_utf8_lossy(name)));
            }
        }
        told.truncate(8);
        told
    }
}

/// What is aside is called after the run that set it aside: here it is only said to be aside.
fn as_was(name: Vec<u8>) -> Vec<u8> {
    let rest = name.strip_prefix(b"rediscue:aside:".as_slice());
    match rest.and_then(|rest| rest.iter().position(|&byte| byte == b':').map(|at| &rest[at..])) {
        Some(rest) => [b"aside".as_slice(), rest].concat(),
        None => name,
    }
}

/// A password as servers keep it.
fn hash(password: &str) -> String {
    Sha256::digest(password.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A bot before a server, and everything between them.
struct Stage {
    server: RedisServer,
    proxy: Proxy,
    chat: Chat,
    room: Room,
    reports: Vec<redis::Connection>,
    _users: tempfile::TempDir,
}

impl Stage {
    async fn set() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let users = dir.path().join("users.acl");
        let rules =
            format!("user default on nopass ~* &* +@all\nuser {TOUCHER}\nuser shop on >old-secret ~* &* +@all\n");
        std::fs::write(&users, rules).unwrap();
        let server = RedisServer::builder()
            .option("aclfile", &users.display().to_string())
            .option("appendonly", "yes")
            .option("slowlog-log-slower-than", "0")
            .start();
        let proxy = Proxy::before(&server.address()).await;
        let policy = POLICY.replace("MODE", "normal").replace("roles = [\"viewer\"]", "roles = [\"approver\"]");
        let chat = house_at("normal", &server, &format!("address = \"{}\"", proxy.address()))
            .file("policy.toml", &policy)
            .start()
            .await;
        let room = Room::of(&chat);
        Self { server, proxy, chat, room, reports: Vec::new(), _users: dir }
    }

    /// As it was in the beginning.
    fn reset(&mut self, first: &World) {
        let server = &self.server;
        server.run::<()>(&["CLIENT", "UNPAUSE"]);
        let pairs: Vec<String> = server.run(&["CONFIG", "GET", "*"]);
        for pair in pairs.chunks(2) {
            if first.settings[&pair[0]] != pair[1] {
                server.run::<()>(&["CONFIG", "SET", &pair[0], &first.settings[&pair[0]]]);
            }
        }
        for user in &first.users {
            let words: Vec<&str> = user.split(' ').collect();
            let mut rule = vec!["ACL", "SETUSER", words[1], "reset"];
            rule.extend(&words[2..]);
            server.run::<()>(&rule);
        }
        eventually("no file is being written", PATIENCE, || {
            server.info("rdb_bgsave_in_progress") == "0" && server.info("aof_rewrite_in_progress") == "0"
        });
        server.run::<()>(&["FLUSHALL"]);
        furnish(server, 48);
        self.reports.clear();
        let named = || {
            let clients: String = server.run(&["CLIENT", "LIST"]);
            clients.matches("name=report").count()
        };
        eventually("nobody is left of those who were connected", PATIENCE, || named() == 0);
        for _ in 0..2 {
            let mut connection = server.admin();
            redis::cmd("CLIENT").arg("SETNAME").arg("report").exec(&mut connection).unwrap();
            self.reports.push(connection);
        }
    }

    /// Types a line, has it consented to as its risk demands; the last card about it.
    async fn lives(&mut self, line: &str) -> Answer {
        let plan = self.room.types("ana", line).await;
        let text = plan.text();
        if !text.contains("Nothing has been changed yet") {
            return plan;
        }
        let typed = text.split("/redis approve ").nth(1).and_then(|rest| rest.split_whitespace().next());
        match typed.map(str::to_owned).filter(|_| text.contains("Risk: critical")) {
            Some(run) => {
                self.room.types("bo", &format!("approve {run} shop")).await;
                self.room.types("cy", &format!("approve {run} shop")).await
            }
            None => self.room.reacts("bo", "✅", &plan.id()).await,
        }
    }

    async fn good(&mut self, line: &str) -> Answer {
        let done = self.lives(line).await;
        assert_eq!(own(&done).level, Some(Level::Ok), "{line}: {}", done.text());
        done
    }

    /// What has to be there before the line can be typed; the line.
    async fn line(&mut self, line: &str) -> String {
        let mut lines: Vec<&str> = line.split(" => ").collect();
        let last = lines.pop().expect("a line has an end");
        let mut first = None;
        for before in lines {
            let done = self.good(before).await;
            let foot = own(&done).footer.clone().unwrap_or_default();
            first.get_or_insert(foot.split_whitespace().nth(1).unwrap_or_default().to_owned());
        }
        last.replace("RUN", first.as_deref().unwrap_or_default())
    }
}

/// The card about the change itself: a checklist may have come after it.
fn own(answer: &Answer) -> &Card {
    let cards = answer.messages.iter().rev().map(|message| &message.card);
    cards.into_iter().find(|card| !card.title.starts_with("verify ·")).unwrap_or_else(|| answer.card())
}

fn undo_of(answer: &Answer) -> Option<String> {
    let of =
        |card: &Card| card.actions.iter().find(|action| action.label == "Undo").map(|action| action.command.clone());
    of(own(answer)).or_else(|| answer.edited.iter().rev().find_map(|(_, card)| of(card)))
}

/// How much deadlines may differ: where a run sets them anew, it is when that one ran.
const ANY: i64 = i64::MAX / 4;

/// Each step of these lines fails in turn; `A => B` has A done before B is what is tried, and RUN in it is A's.
async fn each_step_fails_in_turn(lines: &[&str]) {
    let mut stage = Stage::set().await;
    let first = World::of(&stage.server);
    for line in lines {
        let again = line.contains(" => ");
        stage.reset(&first);
        let typed = stage.line(line).await;
        let start = World::of(&stage.server);
        let done = stage.good(&typed).await;
        let after = World::of(&stage.server);
        // The way back, twice.
        if let Some(undo) = undo_of(&done) {
            for time in ["once", "twice"] {
                let undone = stage.lives(&undo).await;
                let text = text_of(own(&undone));
                assert!(
                    own(&undone).level == Some(Level::Ok) || text.contains("nothing to take back"),
                    "{line}: {text}"
                );
                let differs = start.differs(&World::of(&stage.server), 1_000);
                assert!(differs.is_empty(), "{line}, undone {time}: {differs:?}: {text}");
            }
        }
        for how in [How::Refused, How::CutBefore, How::CutAfter] {
            let mut nth = 1;
            loop {
                stage.reset(&first);
                let typed = stage.line(line).await;
                let before = World::of(&stage.server);
                stage.proxy.fail_nth(nth, how);
                let ended = stage.lives(&typed).await;
                if !stage.proxy.has_failed() {
                    break;
                }
                let (now, text) = (World::of(&stage.server), text_of(own(&ended)));
                let when = format!("{line}, {how:?} {nth}: {text}");
                let same = |world: &World, slack| world.differs(&now, slack).is_empty();
                if text.contains("Done:") {
                    assert!(same(&after, ANY), "{when}\n{:?}", after.differs(&now, ANY));
                } else if text.contains("Nothing was changed") || text.contains("has been taken back") {
                    assert!(same(&before, 1_000), "{when}\n{:?}", before.differs(&now, 1_000));
                } else {
                    let told = ["did not get through", "ncertain"].iter().any(|word| text.contains(word));
                    assert!(told, "{when}");
                    match undo_of(&ended) {
                        // What is taken back is taken back whole.
                        Some(undo) => {
                            let undone = stage.lives(&undo).await.text();
                            let differs = before.differs(&World::of(&stage.server), 1_000);
                            assert!(differs.is_empty(), "{when}\n{undone}\n{differs:?}");
                        }
                        None if again => {
                            let once_more = stage.lives(&typed).await.text();
                            let now = World::of(&stage.server);
                            assert!(same_as(&after, &now), "{when}\n{once_more}\n{:?}", after.differs(&now, ANY));
                        }
                        // It is done or it is not, and nothing besides.
                        None => assert!(
                            same(&before, 1_000)
                                || same(&after, ANY)
                                || text.contains(" closed, ")
                                || text.contains("are still connected"),
                            "{when}\n{:?}\n{:?}",
                            before.differs(&now, 1_000),
                            after.differs(&now, ANY)
                        ),
                    }
                }
                // What walks over keys sends much of the same.
                nth += if nth < 9 { 1 } else { 7 };
                assert!(nth < 400, "{line} never ends");
            }
            assert!(nth > 2, "{line} sends hardly anything");
        }
    }
    stage.chat.stop().await;
}

fn same_as(one: &World, other: &World) -> bool {
    one.differs(other, ANY).is_empty()
}

#[tokio::test]
async fn of_settings_each_step_fails_in_turn_and_each_undo_is_done_twice() {
    each_step_fails_in_turn(&[
        "set-config timeout 300 shop",
        "maxmemory 512mb shop",
        "policy allkeys-lru shop",
        "rewrite-config shop",
        "slowlog-reset shop",
    ])
    .await;
}

#[tokio::test]
async fn of_clients_and_pauses_each_step_fails_in_turn_and_each_undo_is_done_twice() {
    each_step_fails_in_turn(&["kill-clients --name report shop", "pause-writes 2s shop"]).await;
}

#[tokio::test]
async fn of_saves_each_step_fails_in_turn() {
    each_step_fails_in_turn(&["bgsave shop", "rewrite-aof shop", "backup shop"]).await;
}

#[tokio::test]
async fn of_passwords_each_step_fails_in_turn_and_each_undo_is_done_twice() {
    each_step_fails_in_turn(&[
        "rotate-password shop shop",
        "rotate-password shop shop => rotate-password shop --finish shop",
        "rotate-password shop shop => undo RUN",
        "acl-save shop",
    ])
    .await;
}

#[tokio::test]
async fn of_removals_each_step_fails_in_turn_and_each_undo_is_done_twice() {
    each_step_fails_in_turn(&["delete other:hash shop", "purge session:* --where organisationId=org-1 shop"]).await;
}

#[tokio::test]
async fn of_what_is_kept_aside_and_of_all_keys_each_step_fails_in_turn_and_each_undo_is_done_twice() {
    each_step_fails_in_turn(&["purge session:* --where organisationId=org-1 --aside 10m shop", "flushdb shop"]).await;
}

#[tokio::test]
async fn of_exports_and_imports_each_step_fails_in_turn_and_each_undo_is_done_twice() {
    each_step_fails_in_turn(&[
        "export session:* --where organisationId=org-1 shop",
        "export session:1* shop => purge session:1* --all shop => import RUN shop",
    ])
    .await;
}

#[tokio::test]
async fn of_deadlines_each_step_fails_in_turn_and_each_undo_is_done_twice() {
    each_step_fails_in_turn(&["expire session:* 2h --only-extend shop", "persist session:* shop"]).await;
}

#[tokio::test]
async fn of_ways_back_and_of_what_is_freed_each_step_fails_in_turn() {
    each_step_fails_in_turn(&[
        "purge session:* --where organisationId=org-1 --aside 10m shop => clear-aside RUN shop",
        "purge session:* --where organisationId=org-1 shop => undo RUN",
    ])
    .await;
}
