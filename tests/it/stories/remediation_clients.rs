//! Closing connections, and holding writes back: what is meant is cut, nobody
//! else is, and what breaks on the way is told as it is.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use rediscue::model::Level;

use crate::world::{
    chat::text_of,
    eventually,
    proxy::Proxy,
    redis::{RedisServer, is_before_7},
    room::{Room, TOUCHER, house, house_at},
};

/// A client with a name of its own.
fn client(server: &RedisServer, name: &str) -> redis::Connection {
    let at = redis::Client::open(format!("redis://127.0.0.1:{}", server.port())).unwrap();
    let mut connection = at.get_connection().unwrap();
    redis::cmd("CLIENT").arg("SETNAME").arg(name).exec(&mut connection).unwrap();
    connection
}

fn alive(connection: &mut redis::Connection) -> bool {
    redis::cmd("PING").query::<String>(connection).is_ok()
}

/// How many connections of that kind of name a server has.
fn named(server: &RedisServer, name: &str) -> usize {
    let list: String = server.run(&["CLIENT", "LIST"]);
    list.matches(&format!("name={name}")).count()
}

#[tokio::test]
async fn those_who_are_meant_are_cut_and_nobody_else() {
    let (server, builder) = house("normal");
    let replica = RedisServer::builder().option("replicaof", &format!("127.0.0.1 {}", server.port())).start();
    eventually("the replica is in step", Duration::from_secs(20), || replica.info("master_link_status") == "up");
    let mut reports: Vec<_> = (0..3).map(|i| client(&server, &format!("report-{i}"))).collect();
    let mut api: Vec<_> = (0..4).map(|_| client(&server, "api")).collect();
    let chat = builder.start().await;
    let mut room = Room::of(&chat);

    let asked = room.types("ana", "kill-clients shop").await.text();
    assert!(asked.contains("whose connections are meant"), "{asked}");
    let none = room.types("ana", "kill-clients --name nobody-* shop").await.text();
    assert!(none.contains("No connection is named nobody-*"), "{none}");

    let (plan, done) = room.agreed("kill-clients --name report-* shop").await;
    for said in [
        "3 clients",
        "1 × report-0 from 127.0.0.x",
        "Risk: medium",
        "Undo: not possible: a closed connection",
        "CLIENT KILL ID",
    ] {
        assert!(plan.contains(said), "{said} is missing in {plan}");
    }
    assert!(!plan.contains("127.0.0.1:5"), "no client's own address is shown: {plan}");
    assert!(done.text().contains("3 closed"), "{}", done.text());
    assert!(reports.iter_mut().all(|report| !alive(report)), "they were cut");
    assert!(api.iter_mut().all(alive), "nobody else was");

    let (plan, done) = room.agreed("kill-clients --type normal --address 127.0.0.* shop").await;
    assert!(plan.contains("Risk: high") && plan.contains("nearly all of them come back at once"), "{plan}");
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    assert!(api.iter_mut().all(|api| !alive(api)));
    assert_eq!((replica.info("master_link_status").as_str(), named(&server, "rediscue-look")), ("up", 1));
    assert_eq!(server.info("sync_full"), "1", "the replica never had to begin anew");
    chat.stop().await;
}

#[tokio::test]
async fn idle_ones_and_subscribers_are_told_apart() {
    let (server, builder) = house("normal");
    let mut quiet = client(&server, "quiet");
    let mut listener = client(&server, "listener");
    let mut pubsub = listener.as_pubsub();
    pubsub.subscribe("news").unwrap();
    eventually("it has been idle for a while", Duration::from_secs(20), || {
        let list: String = server.run(&["CLIENT", "LIST"]);
        list.lines().any(|line| line.contains("name=quiet") && !line.contains("idle=0 ") && !line.contains("idle=1 "))
    });
    let mut busy = client(&server, "busy");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let (plan, _) = room.agreed("kill-clients --idle 2s --type normal shop").await;
    assert!(plan.contains("idle for 2s or more, that do not subscribe"), "{plan}");
    assert!(!alive(&mut quiet) && alive(&mut busy));
    assert_eq!(named(&server, "listener"), 1);
    room.agreed("kill-clients --type pubsub shop").await;
    assert_eq!(named(&server, "listener"), 0);
    chat.stop().await;
}

#[tokio::test]
async fn more_of_them_than_were_shown_void_the_consent() {
    let (server, builder) = house("normal");
    let first: Vec<_> = (0..2).map(|_| client(&server, "report")).collect();
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "kill-clients --name report shop").await;
    assert!(plan.text().contains("Stops at: 12 clients"), "{}", plan.text());
    let more: Vec<_> = (0..20).map(|_| client(&server, "report")).collect();
    let void = room.reacts("bo", "✅", &plan.id()).await;
    assert!(void.text().contains("it was about 2 clients and is now about 22"), "{}", void.text());
    assert_eq!(named(&server, "report"), first.len() + more.len());
    chat.stop().await;
}

#[tokio::test]
async fn a_kill_that_breaks_at_any_step_says_who_is_left() {
    let server = RedisServer::builder().user(TOUCHER).start();
    let proxy = Proxy::before(&server.address()).await;
    let chat = house_at("normal", &server, &format!("address = \"{}\"", proxy.address())).start().await;
    let mut room = Room::of(&chat);
    let reports: Vec<_> = (0..3).map(|_| client(&server, "report")).collect();

    // A right that is taken once the plan is there.
    let plan = room.types("ana", "kill-clients --name report shop").await;
    server.forbid("toucher", "client|kill");
    // 6.2 does not say which of the subcommands.
    let lacks = if is_before_7() { "may not run `CLIENT`" } else { "may not run `CLIENT KILL`" };
    let denied = room.reacts("bo", "✅", &plan.id()).await;
    assert!(denied.text().contains("Nothing was changed") && denied.text().contains(lacks), "{}", denied.text());
    assert_eq!(named(&server, "report"), 3);
    server.run::<()>(&["ACL", "SETUSER", "toucher", "+@all"]);

    // The touch connection is cut when it is made, at its list, and before its first KILL: nobody was reached.
    for word in ["touch-secret", "KILL"] {
        let plan = room.types("ana", "kill-clients --name report shop").await;
        proxy.cut_on(word, false);
        let cut = room.reacts("bo", "✅", &plan.id()).await.text();
        assert!(proxy.has_cut() && cut.contains("Nothing was changed"), "{word}: {cut}");
        assert_eq!(named(&server, "report"), reports.len(), "{word}");
    }
    // The server did it and only the answer was lost: those who are left are counted, not guessed.
    let plan = room.types("ana", "kill-clients --name report shop").await;
    proxy.cut_on("KILL", true);
    let cut = room.reacts("bo", "✅", &plan.id()).await.text();
    eventually("one is cut", Duration::from_secs(5), || named(&server, "report") == 2);
    assert!(cut.contains("still connected") || cut.contains("Nothing was changed"), "{cut}");

    let plan = room.types("ana", "kill-clients --name report shop").await;
    server.freeze();
    let frozen = room.reacts("bo", "✅", &plan.id()).await.text();
    server.thaw();
    assert!(frozen.contains("Nothing was changed"), "{frozen}");
    assert_eq!(named(&server, "report"), 2);
    chat.stop().await;
}

/// A write over a connection of its own: whether it is answered within `within`.
fn write_is_answered(server: &RedisServer, within: Duration) -> bool {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.set_read_timeout(Some(within)).unwrap();
    stream.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).is_ok_and(|()| &answer == b"+OK\r\n")
}

const A_MOMENT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn writes_are_held_back_reads_go_on_and_undo_ends_it_early_and_once() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let (plan, done) = room.agreed("pause-writes 5m shop").await;
    if plan.contains("READS TOO") {
        println!("skipped: this server cannot hold back writes alone");
        return;
    }
    for said in [
        "hold writes back for 5m",
        "by itself after 5m",
        "It holds back expiry and eviction too",
        "Risk: high",
        "CLIENT PAUSE 300000 WRITE",
    ] {
        assert!(plan.contains(said), "{said} is missing in {plan}");
    }
    assert!(done.text().contains("a write that was tried is held back"), "{}", done.text());
    assert!(!write_is_answered(&server, A_MOMENT));
    assert_eq!(server.run::<String>(&["PING"]), "PONG", "reads go on");

    let undo = done.card().actions.iter().find(|action| action.label == "Undo").unwrap().command.clone();
    let plan = room.types("ana", &undo).await;
    assert!(plan.text().contains("CLIENT UNPAUSE"), "{}", plan.text());
    assert!(!write_is_answered(&server, A_MOMENT), "an undo waits for consent");
    let ended = room.reacts("bo", "✅", &plan.id()).await;
    assert!(ended.text().contains("a write that was tried went through"), "{}", ended.text());
    assert!(write_is_answered(&server, Duration::from_secs(5)));
    assert_eq!(server.run::<i64>(&["DBSIZE"]), 1, "what was tried left nothing behind");
    let again = room.types("ana", &undo).await.text();
    assert!(again.contains("The pause was ended already"), "{again}");
    chat.stop().await;
}

#[tokio::test]
async fn a_pause_ends_by_itself() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let (_, done) = room.agreed("pause-writes 2s shop").await;
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    let since = Instant::now();
    assert!(write_is_answered(&server, Duration::from_secs(10)));
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    for (line, why) in [("pause-writes 1h shop", "from 1s to 30m"), ("pause-writes shop", "duration")] {
        let refused = room.types("ana", line).await.text();
        assert!(refused.contains(why), "{line}: {refused}");
    }
    chat.stop().await;
}

#[tokio::test]
async fn a_pause_that_breaks_at_any_step_holds_nothing_back_unsaid() {
    let server = RedisServer::builder().user(TOUCHER).start();
    let proxy = Proxy::before(&server.address()).await;
    let chat = house_at("normal", &server, &format!("address = \"{}\"", proxy.address())).start().await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "pause-writes 5m shop").await;
    server.forbid("toucher", "client|pause");
    let denied = room.reacts("bo", "✅", &plan.id()).await;
    assert!(denied.text().contains("Nothing was changed"), "{}", denied.text());
    server.run::<()>(&["ACL", "SETUSER", "toucher", "+@all"]);
    for word in ["touch-secret", "PAUSE"] {
        let plan = room.types("ana", "pause-writes 5m shop").await;
        proxy.cut_on(word, false);
        let cut = room.reacts("bo", "✅", &plan.id()).await.text();
        assert!(
            cut.contains("Nothing was changed") || cut.contains("it is uncertain whether it was done"),
            "{word}: {cut}"
        );
        assert!(write_is_answered(&server, Duration::from_secs(5)), "{word}");
    }
    let plan = room.types("ana", "pause-writes 5m shop").await;
    proxy.cut_on("PAUSE", true);
    let lost = room.reacts("bo", "✅", &plan.id()).await;
    assert!(lost.text().contains("it is uncertain whether it was done"), "{}", lost.text());
    assert!(!write_is_answered(&server, A_MOMENT), "it was done, and nobody claims that it was not");
    let undo = lost.card().actions.iter().find(|action| action.label == "Undo").expect("what may be so can be ended");
    let (_, ended) = room.agreed(&undo.command.clone()).await;
    assert!(ended.text().contains("went through"), "{}", ended.text());
    assert!(write_is_answered(&server, Duration::from_secs(5)));
    let told = ended.edited.last().map(|(_, card)| text_of(card)).unwrap_or_default();
    assert!(told.contains("let writes through again"), "{told}");
    chat.stop().await;
}
