//! What a plan counted is kept true while people think, and nothing is walked once they have consented.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rediscue::{
    exec::{
        Touched,
        aside::{Meant, Watched},
    },
    model::Level,
    runbook::{Change, Kept, Plan, Select},
    store::StoreSettings,
};

use crate::world::{
    eventually,
    keys::{Hand, assert_same, furnish, key, removal, seen},
    redis::{ClusterWorld, RedisServer, credential, is_before_7},
    room::{Room, house},
};

const RUN: u64 = 7;
const SESSIONS: u64 = 2_000;
/// What names a connection that listens.
const OURS: &str = "name=rediscue-watch";

fn listeners(server: &RedisServer) -> usize {
    server.run::<String>(&["CLIENT", "LIST"]).matches(OURS).count()
}

fn is_watched(watched: &[Watched]) -> bool {
    watched.iter().any(|one| !one.on.is_empty())
}

/// A purge of sessions whose plan was counted.
struct Counted {
    hand: Hand,
    plan: Plan,
    keys: u64,
    watched: Vec<Watched>,
    _dir: tempfile::TempDir,
}

impl Counted {
    async fn of(server: &RedisServer, change: Change) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hand = Hand::on(server, dir.path()).await;
        let plan = hand.plan(RUN, change);
        let (keys, watched) = hand.count_for_a_plan(&plan).await;
        Self { hand, plan, keys, watched, _dir: dir }
    }

    /// How many are meant once there is consent, and whether that took a walk.
    async fn consented(&self, server: &RedisServer) -> (u64, Vec<Meant>, bool) {
        let before = server.calls("scan");
        let (keys, meant) = self.hand.count_what_was_watched(&self.plan, &self.watched).await;
        (keys, meant, server.calls("scan") > before)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_went_and_changed_while_people_thought_is_known_and_nothing_is_walked_again() {
    let server = RedisServer::start();
    furnish(&server, SESSIONS as usize);
    let counted = Counted::of(&server, removal("session:*", SESSIONS)).await;
    assert_eq!((counted.keys, is_watched(&counted.watched)), (SESSIONS, true));
    for words in [
        ["SET", "session:since", "x"].as_slice(),
        &["DEL", &key(1), &key(2)],
        &["RENAME", &key(3), "elsewhere"],
        &["RENAME", &key(4), "session:renamed"],
        &["APPEND", &key(6), "more"],
        &["PEXPIRE", &key(5), "1"],
        &["SET", "sessions:that are none", "x"],
    ] {
        let _: redis::Value = server.run(words);
    }
    eventually("one has expired", Duration::from_secs(10), || server.run::<i64>(&["EXISTS", &key(5)]) == 0);
    let (keys, meant, walked) = counted.consented(&server).await;
    assert_eq!((keys, walked), (SESSIONS - 3, false), "one came, four went, one of them to a name that is meant");
    assert_eq!(listeners(&server), 0, "nobody is told of what we do ourselves");
    let before = server.calls("scan");
    let touched = counted.hand.touch_what_was_counted(&counted.plan, &meant).await;
    assert!(matches!(&touched, Touched::Verified(said) if said.starts_with("1,997 keys removed")), "{touched:?}");
    assert_eq!(server.calls("scan"), before);
    let left = seen(&server);
    assert!(left.keys().all(|name| !name.starts_with(b"session:")), "all that is meant is gone");
    assert!(left.contains_key(b"elsewhere".as_slice()) && left.contains_key(b"sessions:that are none".as_slice()));
}

// With one thread: while this waits for the server, the bot does nothing.
#[tokio::test]
async fn a_bot_that_hangs_while_much_is_written_is_cut_off_and_the_server_keeps_nothing_for_it() {
    let server = RedisServer::builder().option("client-output-buffer-limit", "pubsub 1mb 512kb 60").start();
    furnish(&server, SESSIONS as usize);
    let counted = Counted::of(&server, removal("session:*", SESSIONS)).await;
    assert!(is_watched(&counted.watched));
    assert_eq!(listeners(&server), 1);
    let long = "x".repeat(1_000);
    eventually("the server has cut it off", Duration::from_secs(30), || {
        let mut pipe = redis::pipe();
        (0..1_000).for_each(|n| {
            pipe.cmd("SET").arg(format!("session:{n}:{long}")).arg("x").ignore();
        });
        pipe.exec(&mut server.admin()).unwrap();
        listeners(&server) == 0
    });
    let (keys, _, walked) = counted.consented(&server).await;
    assert_eq!((keys, walked), (SESSIONS + 1_000, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_changed_is_asked_anew_and_one_that_did_not_is_not() {
    let server = RedisServer::start();
    furnish(&server, SESSIONS as usize);
    let select = Select { predicate: Some("organisationId = org-2".into()), ..Select::matching("session:*") };
    let change = Change::RemoveKeys { select, now_ms: 0, keys: SESSIONS / 4, keep: Kept::Snapshot };
    let counted = Counted::of(&server, change).await;
    assert_eq!((counted.keys, is_watched(&counted.watched)), (SESSIONS / 4, true));
    let moved = |i: usize, org: &str| {
        let value = format!(r#"{{"organisationId":"{org}"}}"#);
        let _: () = server.run(&["SET", &key(i), &value]);
    };
    moved(2, "org-9");
    moved(4, "org-2");
    moved(1, "org-2");
    let (keys, meant, walked) = counted.consented(&server).await;
    assert_eq!((keys, walked), (SESSIONS / 4 + 1, false));
    counted.hand.touch_what_was_counted(&counted.plan, &meant).await;
    let left = seen(&server);
    let there = |i: usize| left.contains_key(key(i).as_bytes());
    assert!(there(2) && !there(4) && !there(1) && !there(6), "by what they hold now");
}

/// Something that applications do.
fn something(server: &RedisServer, dice: &mut StdRng) {
    let one = format!("session:{}", dice.random_range(0..400));
    let other = format!("session:{}", dice.random_range(0..400));
    let words: Vec<&str> = match dice.random_range(0..14) {
        0..3 => vec!["SET", &one, "x"],
        3 => vec!["SET", &one, "x", "PX", "1"],
        4 => vec!["UNLINK", &one],
        5 => vec!["COPY", &one, &other, "REPLACE"],
        6 => vec!["PEXPIRE", &one, "1"],
        7 => vec!["PERSIST", &one],
        8 => vec!["EVAL", "redis.call('SET', KEYS[1], 'y') redis.call('DEL', KEYS[2])", "2", &one, &other],
        9 => vec!["SUNIONSTORE", &one, "a-set"],
        10 => vec!["MOVE", &one, "1"],
        11 => vec!["BITOP", "NOT", &one, "no-such-key"],
        12 => vec!["GETDEL", &one],
        _ => vec!["RENAMENX", &one, &other],
    };
    // Some of it is refused, as in life.
    let mut command = redis::cmd(words[0]);
    let _ = command.arg(&words[1..]).query::<redis::Value>(&mut server.admin());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_done_in_between_what_is_known_is_what_a_walk_finds() {
    let server = RedisServer::start();
    let _: () = server.run(&["SADD", "a-set", "1", "2"]);
    for seed in 0..12 {
        let mut dice = StdRng::seed_from_u64(seed);
        for i in 0..200 {
            let _: () = server.run(&["SET", &format!("session:{i}"), "x"]);
        }
        let counted = Counted::of(&server, removal("session:*", 400)).await;
        for _ in 0..60 {
            something(&server, &mut dice);
        }
        let keyspace = || server.run::<String>(&["INFO", "keyspace"]);
        let expired = || keyspace().matches("expires=").count() == keyspace().matches("expires=0,").count();
        eventually("what was to live a millisecond is gone", Duration::from_secs(10), expired);
        let (known, meant, walked) = counted.consented(&server).await;
        assert!(!walked, "seed {seed}");
        let (found, _) = counted.hand.count(&counted.plan).await;
        assert_eq!(known, found, "seed {seed}");
        let touched = counted.hand.touch_what_was_counted(&counted.plan, &meant).await;
        assert!(matches!(touched, Touched::Verified(_)), "seed {seed}: {touched:?}");
        let left = seen(&server);
        assert!(left.keys().all(|name| !name.starts_with(b"session:")), "seed {seed}: {:?}", left.keys());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_makes_it_uncertain_what_is_there_has_it_walked() {
    type Meanwhile = fn(&RedisServer);
    let meanwhile: [(&str, Meanwhile, u64); 6] = [
        ("nothing at all", |_| {}, SESSIONS),
        ("all is flushed", |server| server.run(&["FLUSHDB"]), 0),
        ("all is read from the disk anew", |server| server.run(&["DEBUG", "RELOAD"]), SESSIONS),
        ("databases are exchanged", |server| server.run(&["SWAPDB", "0", "1"]), 0),
        (
            "the connection is cut",
            |server| {
                let clients: String = server.run(&["CLIENT", "LIST"]);
                let ours = clients.lines().find(|line| line.contains(OURS)).expect("somebody listens");
                let id = ours.split_whitespace().find_map(|word| word.strip_prefix("id=")).unwrap();
                let _: () = server.run(&["CLIENT", "KILL", "ID", id]);
            },
            SESSIONS,
        ),
        (
            "more is written than it would cost to walk",
            |server| {
                // What is written in one round is told once.
                for _ in 0..12 {
                    let mut pipe = redis::pipe();
                    (0..1_000).for_each(|n| {
                        pipe.cmd("SET").arg(key(n)).arg("x").ignore();
                    });
                    pipe.exec(&mut server.admin()).unwrap();
                }
            },
            SESSIONS,
        ),
    ];
    for (what, meanwhile, left) in meanwhile {
        let server = RedisServer::start();
        furnish(&server, SESSIONS as usize);
        let counted = Counted::of(&server, removal("session:*", SESSIONS)).await;
        assert!(is_watched(&counted.watched), "{what}");
        meanwhile(&server);
        let (keys, _, walked) = counted.consented(&server).await;
        assert_eq!((keys, walked), (left, what != "nothing at all"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_for_looks_that_is_shipped_may_listen() {
    if is_before_7() {
        println!("skipped: the file is for Redis 7.0 and later");
        return;
    }
    let shipped = include_str!("../../../deploy/redis-acl.conf");
    let rule = shipped.lines().find_map(|line| line.strip_prefix("user rediscue-look ")).unwrap();
    let server = RedisServer::builder().user(&format!("rediscue-look {rule} >secret")).start();
    furnish(&server, 100);
    let dir = tempfile::tempdir().unwrap();
    let mut instance = server.instance();
    instance.look = credential(dir.path(), Some("rediscue-look"), "secret");
    let settings = StoreSettings::in_dir(dir.path());
    let hand = Hand::at(instance, server.address(), &server.info("run_id"), settings).await;
    let plan = hand.plan(RUN, removal("session:*", 100));
    let (_, watched) = hand.count_for_a_plan(&plan).await;
    let _: () = server.run(&["SET", "session:new", "x"]);
    let before = server.calls("scan");
    assert_eq!(hand.count_what_was_watched(&plan, &watched).await.0, 101);
    assert_eq!(server.calls("scan"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_cannot_be_listened_to_a_plan_is_counted_as_ever_and_its_run_walks() {
    let server = RedisServer::builder()
        .user("watcher on >secret ~* &* +@all")
        .user("deaf on >secret ~* resetchannels +@all")
        .start();
    furnish(&server, SESSIONS as usize);
    server.forbid("watcher", "client|tracking");
    for user in ["watcher", "deaf"] {
        let dir = tempfile::tempdir().unwrap();
        let mut instance = server.instance();
        instance.look = credential(dir.path(), Some(user), "secret");
        instance.touch = None;
        let settings = StoreSettings::in_dir(dir.path());
        let hand = Hand::at(instance, server.address(), &server.info("run_id"), settings).await;
        let plan = hand.plan(RUN, removal("session:*", SESSIONS));
        let (keys, watched) = hand.count_for_a_plan(&plan).await;
        assert_eq!((keys, is_watched(&watched)), (SESSIONS, false), "{user}");
        assert_eq!(listeners(&server), 0, "{user}");
        let before = server.calls("scan");
        assert_eq!(hand.count_what_was_watched(&plan, &watched).await.0, SESSIONS, "{user}");
        assert!(server.calls("scan") > before, "{user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_though_nobody_writes_it_is_not_listened_for() {
    let server = RedisServer::start();
    furnish(&server, 100);
    for select in [
        Select { idle_s: Some(0), ..Select::matching("session:*") },
        Select::matching("*:1"),
        Select { kind: Some("hash".into()), ..Select::matching("*") },
        Select::key("session:1"),
    ] {
        let change = Change::RemoveKeys { select, now_ms: 0, keys: 100, keep: Kept::Snapshot };
        let counted = Counted::of(&server, change).await;
        assert!(counted.keys > 0 && !is_watched(&counted.watched), "{:?}", counted.plan.steps);
    }
    assert_eq!(listeners(&server), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_to_a_cluster_is_known_on_every_primary() {
    let cluster = ClusterWorld::start(false);
    let mut admins: Vec<_> = cluster.primaries().iter().map(RedisServer::admin).collect();
    let mut anywhere = |words: &[&str]| {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        assert!(admins.iter_mut().any(|admin| command.exec(admin).is_ok()), "{words:?}");
    };
    (0..600).for_each(|i| anywhere(&["SET", &key(i), "x"]));
    let dir = tempfile::tempdir().unwrap();
    let first = &cluster.primaries()[0];
    let settings = StoreSettings::in_dir(dir.path());
    let hand = Hand::at(cluster.instance(), first.address(), &first.info("run_id"), settings).await;
    let plan = hand.plan(RUN, removal("session:*", 600));
    let (keys, watched) = hand.count_for_a_plan(&plan).await;
    assert_eq!((keys, watched[0].on.len()), (600, cluster.primaries().len()));
    (600..660).for_each(|i| anywhere(&["SET", &key(i), "x"]));
    (0..30).for_each(|i| anywhere(&["DEL", &key(i)]));
    let asked = || cluster.primaries().iter().map(|node| node.calls("scan")).sum::<u64>();
    let before = asked();
    assert_eq!(hand.count_what_was_watched(&plan, &watched).await.0, 630);
    assert_eq!(asked(), before);
}

#[tokio::test]
async fn a_purge_begins_at_once_when_its_consent_comes_and_takes_newcomers_with_it() {
    let (server, builder) = house("normal");
    furnish(&server, SESSIONS as usize);
    let before = seen(&server);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "purge session:* --type string --where organisationId=org-2 shop").await;
    assert!(plan.text().contains("500 keys"), "{}", plan.text());
    assert_eq!(listeners(&server), 1);
    let _: () = server.run(&["SET", "session:new", r#"{"organisationId":"org-2"}"#]);
    let walked = server.calls("scan");
    let done = room.reacts("bo", "✅", &plan.id()).await;
    assert!(done.text().contains("501 keys removed"), "{}", done.text());
    assert_eq!((server.calls("scan"), listeners(&server)), (walked, 0));
    let undo = done.card().actions.iter().find(|action| action.label == "Undo").unwrap().command.clone();
    let back = room.types("ana", &undo).await;
    let back = room.reacts("bo", "✅", &back.id()).await;
    assert_eq!(back.level(), Some(Level::Ok), "{}", back.text());
    let _: () = server.run(&["DEL", "session:new"]);
    assert_same(&before, &seen(&server));
    chat.stop().await;
}

#[tokio::test]
async fn nobody_listens_for_a_plan_that_is_over_or_was_never_to_be_carried_out_or_for_too_many() {
    let (server, builder) = house("normal");
    furnish(&server, 100);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    room.types("ana", "purge session:* --type string --dry-run shop").await;
    eventually("a dry run is over at once", Duration::from_secs(10), || listeners(&server) == 0);
    let plan = room.types("ana", "purge session:* --type string shop").await;
    assert_eq!(listeners(&server), 1);
    room.reacts("bo", "❌", &plan.id()).await;
    eventually("a declined plan is over", Duration::from_secs(10), || listeners(&server) == 0);
    for _ in 0..6 {
        room.types("ana", "purge session:* --type string shop").await;
    }
    eventually("the oldest gave way", Duration::from_secs(10), || listeners(&server) == 4);
    chat.stop().await;
    eventually("the bot is gone", Duration::from_secs(10), || listeners(&server) == 0);
}
