//! `rediscue rdb`: the built program on files and on servers, its words and its exit status.

use std::{
    io::Read,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::Signal,
    unistd::{Uid, User},
};
use rediscue::store::{JournalRow, Store, StoreSettings};

use crate::world::{
    eventually,
    program::{Home, Ran},
    redis::{ClusterWorld, RedisServer, SentinelWorld},
};

fn sample(name: &str) -> Vec<u8> {
    super::rdb_formats::samples().remove(name).unwrap()
}

/// A file in a home.
fn put(home: &Home, name: &str, bytes: &[u8]) -> String {
    let path = home.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

#[track_caller]
fn says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "`{wanted}` is not in\n{text}");
    }
}

#[test]
fn a_whole_file_is_verified_and_reported() {
    let home = Home::new();
    let file = put(&home, "dump.rdb", &sample("redis-7.0"));
    let ran = home.run(&["rdb", "verify", &file], "");
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    says(&ran.stdout, &["rdb verify · dump.rdb", "the file is whole", "19"]);
    let ran = home.run(&["rdb", "verify", &file, "--output", "json"], "");
    assert_eq!(ran.code(), 0);
    let told = &ran.json()[0];
    assert_eq!((&told["whole"], &told["checksum"], &told["keys"]), (&true.into(), &"right".into(), &19.into()));
    let ran = home.run(&["rdb", "report", &file], "");
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    says(
        &ran.stdout,
        &["rdb report · dump.rdb", "By prefix", "By type", "Largest", "MEMORY USAGE of Redis 7 and 8 would"],
    );
    let ran = home.run(&["rdb", "report", &file, "--output", "json", "--top", "3", "--no-checksum"], "");
    let told = &ran.json()[0];
    assert_eq!((&told["checksum"], &told["report"]["keys"]), (&"unchecked".into(), &19.0.into()));
    // Of what was not checked nobody knows whether it is whole.
    assert!(told["whole"].is_null(), "{told}");
    let ran = home.run(&["rdb", "report", &file, "--no-checksum"], "");
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("The checksum was not looked at"), "{}", ran.stdout);
    assert_eq!(told["report"]["largest"].as_array().unwrap().len(), 3);
    assert_eq!(told["memory_rules"], serde_json::json!({ "of": "Redis 7 and 8", "own": true }));
}

#[test]
fn a_damaged_and_a_cut_file_are_told_with_the_offset_and_status_two() {
    let home = Home::new();
    let whole = sample("redis-7.0");
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x10;
    let damaged = put(&home, "damaged.rdb", &flipped);
    let cut = put(&home, "cut.rdb", &whole[..900]);
    for call in ["verify", "report"] {
        let ran = home.run(&["rdb", call, &damaged], "");
        assert_eq!(ran.code(), 2, "{}", ran.stdout);
        says(&ran.stdout, &["do not restore from this file", "at byte", &format!("rdb {call} · damaged.rdb")]);
        let ran = home.run(&["rdb", call, &cut, "--output", "json"], "");
        assert_eq!(ran.code(), 2);
        let told = &ran.json()[0];
        assert_eq!(told["whole"], false);
        // At the last thing that was begun and has no end.
        assert!((850..=900).contains(&told["error"]["offset"].as_u64().unwrap()), "{told}");
        says(&told["error"].to_string(), &["the file has", "The copy is incomplete", "LASTSAVE"]);
        assert!(told["report"].is_null(), "half a report would be read as a whole one");
    }
    let other = put(&home, "notes.txt", b"this is no snapshot at all");
    let ran = home.run(&["rdb", "verify", &other], "");
    assert_eq!(ran.code(), 2);
    says(&ran.stdout, &["this is not an RDB file"]);
}

#[test]
fn what_cannot_be_read_is_said_on_standard_error_with_status_one() {
    let home = Home::new();
    let missing = home.path().join("missing.rdb").display().to_string();
    for call in ["verify", "report"] {
        let ran = home.run(&["rdb", call, &missing], "");
        assert_eq!((ran.code(), ran.stdout.as_str()), (1, ""));
        says(&ran.stderr, &["missing.rdb", "No such file"]);
    }
    let folder = home.path().display().to_string();
    let ran = home.run(&["rdb", "verify", &folder], "");
    assert_eq!(ran.code(), 1);
    says(&ran.stderr, &["directory"]);
    // The command line itself: status 2, and what would have been right.
    let ran = home.run(&["rdb", "report"], "");
    assert_eq!(ran.code(), 2);
    says(&ran.stderr, &["<FILE>"]);
}

/// A configuration whose service `shop` is one Redis, and whose one person is me.
fn configuration(home: &Home, instance: &str, may: &str) -> String {
    let dir = home.path().join("config");
    std::fs::create_dir_all(dir.join("services")).unwrap();
    let me = User::from_uid(Uid::effective()).unwrap().unwrap().name;
    let state = home.path().display();
    let write = |name: &str, text: String| std::fs::write(dir.join(name), text).unwrap();
    write(
        "bot.toml",
        format!(
            "[store]\npath = \"{state}/store/rediscue.db\"\nkey_file = \"{state}/store/journal.key\"\n\
             [web]\nenabled = false\n[console]\nsocket = \"{state}/run/console.sock\"\n"
        ),
    );
    write(
        "policy.toml",
        format!(
            "keepers = [\"ada\"]\n[people.ada]\nname = \"Ada\"\nroles = [\"backup\"]\nconsole = [\"{me}\"]\n\
             [roles.backup]\nabout = \"takes copies\"\nmay = [{may}]\n"
        ),
    );
    write(
        "services/shop.toml",
        format!("title = \"Shop\"\nenvironment = \"staging\"\nowner = \"the tests\"\n\n[[instances]]\n{instance}\n"),
    );
    dir.display().to_string()
}

const MAY: &str = "{ commands = [\"rdb-fetch\"], services = [\"*\"], reveal = true }";

fn fetch(home: &Home, config: &str, out: &Path, more: &[&str]) -> Ran {
    let out = out.display().to_string();
    home.run(&[&["rdb", "fetch", "shop", "--config", config, "--out", &out], more].concat(), "")
}

/// Nothing lies in a home but what it came with.
fn is_clean(home: &Home) -> bool {
    let names = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
    // The journal is written where no bot runs to write it.
    names.into_iter().all(|name| ["tmp", "config", "password", "store"].contains(&name.to_str().unwrap()))
}

fn filled(server: &RedisServer) {
    server.fill("session", 3_000, 200);
    server.fill("cart", 40, 2_000);
}

#[test]
fn a_full_copy_comes_over_tcp_tls_and_a_unix_socket() {
    let server = RedisServer::builder().tls().start();
    filled(&server);
    let ca = server.certificates().ca.display().to_string();
    for (how, instance) in [
        ("tcp", format!("address = \"{}\"", server.address())),
        ("tls", format!("address = \"{}\"\ntls = true\ntls_ca = \"{ca}\"", server.tls_address())),
        ("unix", format!("address = \"unix:{}\"", server.socket().display())),
    ] {
        let home = Home::new();
        let config = configuration(&home, &instance, MAY);
        let out = home.path().join("copy.rdb");
        let ran = fetch(&home, &config, &out, &["--output", "json"]);
        assert_eq!(ran.code(), 0, "{how}: {}", ran.stderr);
        let told = &ran.json()[0];
        assert_eq!((&told["whole"], &told["checksum"], &told["keys"]), (&true.into(), &"right".into(), &3_040.into()));
        assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600, "{how}");
        says(&ran.stderr, &["asked for a full copy", "3040 keys"]);
        let ran = home.run(&["rdb", "verify", &out.display().to_string()], "");
        assert_eq!(ran.code(), 0, "{}", ran.stdout);
        // What is there is not overwritten.
        let before = std::fs::read(&out).unwrap();
        let ran = fetch(&home, &config, &out, &[]);
        assert_eq!(ran.code(), 1);
        says(&ran.stderr, &["is already there"]);
        assert_eq!(std::fs::read(&out).unwrap(), before);
    }
}

#[test]
fn a_report_can_be_of_a_server_and_leaves_nothing() {
    let server = RedisServer::start();
    filled(&server);
    let home = Home::new();
    let config = configuration(&home, &format!("address = \"{}\"", server.address()), MAY);
    let ran = home.run(&["rdb", "report", "--from", "shop/main", "--config", &config], "");
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    says(&ran.stdout, &["rdb report · shop/main at 127.0.0.1", "session:", "3,040 keys"]);
    assert!(is_clean(&home));
    let ran = home.run(&["rdb", "report", "--from", "shop/other", "--config", &config], "");
    assert_eq!(ran.code(), 1);
    says(&ran.stderr, &["`shop` has no instance `other`", "known: main"]);
}

#[test]
fn nobody_gets_a_copy_without_a_rule_of_the_policy() {
    let server = RedisServer::start();
    server.fill("session", 10, 10);
    let home = Home::new();
    let instance = format!("address = \"{}\"", server.address());
    let out = home.path().join("copy.rdb");
    for may in [
        "{ commands = [\"diagnostics\"], services = [\"*\"], reveal = true }",
        // Without `reveal`: a copy holds every value.
        "{ commands = [\"rdb-fetch\"], services = [\"*\"] }",
    ] {
        let config = configuration(&home, &instance, may);
        let ran = fetch(&home, &config, &out, &["--output", "json"]);
        assert_eq!(ran.code(), 1, "{}", ran.stdout);
        let told = &ran.json()[0];
        assert_eq!(told["error"]["code"], "POLICY");
        says(&ran.stderr, &["rdb-fetch", "reveal = true"]);
        assert!(is_clean(&home));
    }
    assert!(!server.run::<String>(&["INFO", "commandstats"]).contains("cmdstat_psync"), "nothing was asked of it");
    // A configuration that does not hold is status 2, its problems told.
    let config = configuration(&home, "adress = \"x\"", MAY);
    let ran = fetch(&home, &config, &out, &[]);
    assert_eq!(ran.code(), 2);
    says(&ran.stderr, &["adress"]);
}

#[test]
fn a_server_that_denies_it_is_told_with_the_rule_its_user_lacks() {
    let server = RedisServer::builder().user("looker on >s3cret-word ~* +@read +@connection +info").start();
    server.fill("session", 10, 10);
    let home = Home::new();
    let password = put(&home, "password", b"s3cret-word\n");
    let as_user = |user: &str| {
        format!("address = \"{}\"\nuser = \"{user}\"\npassword = {{ file = \"{password}\" }}", server.address())
    };
    let out = home.path().join("copy.rdb");
    let ran = fetch(&home, &configuration(&home, &as_user("looker"), MAY), &out, &[]);
    assert_eq!(ran.code(), 1);
    says(
        &ran.stderr,
        &["does not give the user looker a full copy", "+replconf", "ACL SETUSER looker +psync +replconf"],
    );
    assert!(!ran.stderr.contains("s3cret-word"));
    assert!(is_clean(&home));
    // The user for changes is asked where there is one: the one for looks need not be let.
    server.run::<()>(&["ACL", "SETUSER", "copier", "on", ">s3cret-word", "+psync", "+replconf"]);
    let instance =
        format!("{}\ntouch = {{ user = \"copier\", password = {{ file = \"{password}\" }} }}", as_user("looker"));
    let ran = fetch(&home, &configuration(&home, &instance, MAY), &out, &[]);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    says(&ran.stdout, &["rdb fetch · copy.rdb", "a full copy of 127.0.0.1"]);
}

#[test]
fn a_copy_that_is_stopped_leaves_nothing() {
    // It accepts, reads, and never says anything: the copy waits for its first answer.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in silent.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut block = [0; 4096];
                while stream.read(&mut block).is_ok_and(|count| count > 0) {}
            });
        }
    });
    let home = Home::new();
    let config = configuration(&home, &format!("address = \"127.0.0.1:{port}\""), MAY);
    let out: PathBuf = home.path().join("copy.rdb");
    let out_text = out.display().to_string();
    let program = home.start(&["rdb", "fetch", "shop", "--config", &config, "--out", &out_text]);
    eventually("the copy has begun", Duration::from_secs(30), || home.path().join("copy.rdb.part").exists());
    program.signal(Signal::SIGTERM);
    let ran = program.end();
    assert_eq!(ran.code(), 1);
    says(&ran.stderr, &["was stopped", "nothing was kept"]);
    assert!(is_clean(&home), "{:?}", std::fs::read_dir(home.path()).unwrap().collect::<Vec<_>>());
}

/// The journal of a home, oldest first, once nobody has it open: outcome, command line, run, person, why.
fn journal(home: &Home) -> Vec<JournalRow> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Store::open(StoreSettings::in_dir(home.path().join("store"))).await.unwrap();
        let mut rows = store.journal(100).await.unwrap();
        store.close().await;
        rows.reverse();
        rows
    })
}

fn outcomes(rows: &[JournalRow]) -> Vec<(&str, &str)> {
    rows.iter().map(|row| (row.outcome.as_str(), row.line.as_str())).collect()
}

#[test]
fn without_a_bot_a_copy_is_two_rows_of_a_journal_that_proves_itself() {
    let mut server = RedisServer::start();
    filled(&server);
    let home = Home::new();
    let config = configuration(&home, &format!("address = \"{}\"", server.address()), MAY);
    assert_eq!(fetch(&home, &config, &home.path().join("copy.rdb"), &[]).code(), 0);
    let ran = home.run(&["rdb", "report", "--from", "shop", "--config", &config], "");
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    server.kill();
    assert_eq!(fetch(&home, &config, &home.path().join("other.rdb"), &[]).code(), 1);
    let rows = journal(&home);
    let line = "rdb-fetch shop/main";
    let both = [("begun", line), ("answered", line)];
    assert_eq!(outcomes(&rows), [both[0], both[1], both[0], both[1], ("begun", line), ("failed", line)]);
    assert_eq!((&rows[0].run, rows[0].person.as_deref(), rows[0].reveal), (&rows[1].run, Some("ada"), true));
    assert_ne!(rows[1].run, rows[2].run);
    assert!(rows[5].why.as_deref().unwrap().contains("refused the connection"), "{:?}", rows[5]);
    let ran = home.run(&["audit", "verify", "--config", &config], "");
    assert_eq!(ran.code(), 0, "{}", ran.stdout);
    says(&ran.stdout, &["whole, 6 rows"]);
    // Who is refused stands there, too.
    let config = configuration(
        &home,
        &format!("address = \"{}\"", server.address()),
        "{ commands = [\"status\"], services = [\"*\"] }",
    );
    assert_eq!(fetch(&home, &config, &home.path().join("other.rdb"), &[]).code(), 1);
    assert_eq!(journal(&home)[6].outcome, "denied");
}

#[test]
fn a_running_bot_is_asked_first_writes_the_rows_and_may_say_no() {
    let server = RedisServer::start();
    filled(&server);
    let home = Home::new();
    let config = configuration(&home, &format!("address = \"{}\"", server.address()), MAY);
    let socket = home.path().join("run/console.sock");
    let bot = home.start(&["serve", "--config", &config]);
    eventually("the bot listens", Duration::from_secs(20), || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let copy = home.path().join("copy.rdb");
    let ran = fetch(&home, &config, &copy, &[]);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    // The bot goes by a stricter policy than the one somebody brings along.
    configuration(
        &home,
        &format!("address = \"{}\"", server.address()),
        "{ commands = [\"status\"], services = [\"*\"] }",
    );
    bot.signal(Signal::SIGHUP);
    eventually("the bot goes by the new policy", Duration::from_secs(20), || {
        let told = home.run(&["console", "--socket", &socket.display().to_string()], "can-i status shop\n");
        told.stdout.contains("Yes")
    });
    let elsewhere = Home::new();
    let text = std::fs::read_to_string(home.path().join("config/bot.toml")).unwrap();
    let other = configuration(&elsewhere, &format!("address = \"{}\"", server.address()), MAY);
    std::fs::write(elsewhere.path().join("config/bot.toml"), text).unwrap();
    let ran = fetch(&elsewhere, &other, &elsewhere.path().join("copy.rdb"), &[]);
    assert_eq!(ran.code(), 1, "{}", ran.stdout);
    says(&ran.stderr, &["so none is made", "the running bot says no", "rdb-fetch"]);
    assert!(!elsewhere.path().join("copy.rdb").exists());
    bot.signal(Signal::SIGTERM);
    assert_eq!(bot.end().code(), 0);
    let rows = journal(&home);
    let rows: Vec<JournalRow> = rows.into_iter().filter(|row| row.command == "rdb-fetch").collect();
    let line = "rdb-fetch shop/main";
    assert_eq!(outcomes(&rows), [("begun", line), ("answered", line), ("denied", line)]);
    assert_eq!(rows[0].person.as_deref(), Some("ada"));
}

#[test]
fn where_nothing_can_be_written_there_is_no_copy() {
    let server = RedisServer::start();
    filled(&server);
    let home = Home::new();
    let config = configuration(&home, &format!("address = \"{}\"", server.address()), MAY);
    // A bot whose console is switched off, and which has the store.
    let text = std::fs::read_to_string(home.path().join("config/bot.toml")).unwrap();
    std::fs::write(home.path().join("config/bot.toml"), text.replace("socket = ", "enabled = false\n# ")).unwrap();
    let bot = home.start(&["serve", "--config", &config]);
    eventually("the bot has its store", Duration::from_secs(20), || home.path().join("store/rediscue.db").exists());
    let ran = fetch(&home, &config, &home.path().join("copy.rdb"), &["--output", "json"]);
    assert_eq!(ran.code(), 1);
    assert_eq!(ran.json()[0]["error"]["code"], "JOURNAL");
    says(&ran.stderr, &["so none is made", "in use by another process", "console.socket"]);
    assert!(!home.path().join("copy.rdb").exists());
    assert!(!server.run::<String>(&["INFO", "commandstats"]).contains("cmdstat_psync"), "nothing was asked of it");
    bot.signal(Signal::SIGTERM);
    bot.end();
}

#[test]
fn in_a_cluster_a_copy_is_of_the_server_that_is_named_and_a_replica_may_be() {
    let world = ClusterWorld::start(true);
    for (index, node) in world.primaries().iter().enumerate() {
        let mut admin = node.admin();
        let mut taken = 0;
        for i in 0.. {
            taken += usize::from(redis::cmd("SET").arg(format!("k:{i}")).arg("v").exec(&mut admin).is_ok());
            if taken == 10 * (index + 1) {
                break;
            }
        }
        eventually("its replica has everything", Duration::from_secs(20), || {
            world.nodes[3 + index].run::<usize>(&["DBSIZE"]) == taken
        });
    }
    let home = Home::new();
    let seeds = world.nodes.iter().take(2).map(|node| format!("\"{}\"", node.address())).collect::<Vec<_>>();
    let config = configuration(&home, &format!("cluster = [{}]", seeds.join(", ")), MAY);
    let ran = fetch(&home, &config, &home.path().join("copy.rdb"), &[]);
    assert_eq!(ran.code(), 1);
    says(&ran.stderr, &["has 3 primaries, and a copy is of one", "--node", &world.nodes[2].address().to_string()]);
    for (at, keys) in [(1, 20), (5, 30)] {
        let address = world.nodes[at].address().to_string();
        let out = home.path().join(format!("copy-{at}.rdb"));
        let ran = fetch(&home, &config, &out, &["--node", &address, "--output", "json"]);
        assert_eq!(ran.code(), 0, "{}", ran.stderr);
        assert_eq!((&ran.json()[0]["keys"], &ran.json()[0]["address"]), (&keys.into(), &address.clone().into()));
    }
    let ran = fetch(&home, &config, &home.path().join("no.rdb"), &["--node", "127.0.0.1:1"]);
    assert_eq!(ran.code(), 1);
    says(&ran.stderr, &["127.0.0.1:1 is no server of `shop`"]);
    let said: Vec<String> = journal(&home).into_iter().map(|row| row.line).collect();
    assert!(said[2].ends_with(&format!("--node {}", world.nodes[1].address())), "{said:?}");
}

#[test]
fn behind_a_primary_whose_replica_may_be_walked_the_replica_is_copied() {
    let world = SentinelWorld::start();
    world.servers[0].fill("session", 40, 10);
    eventually("the replica has everything", Duration::from_secs(20), || {
        world.servers[1].run::<usize>(&["DBSIZE"]) == 40
    });
    for (more, copied) in [("", 0), ("scan_replica = true", 1)] {
        let home = Home::new();
        let sentinels = world.sentinels.iter().map(|one| format!("\"{}\"", one.address())).collect::<Vec<_>>();
        let master = SentinelWorld::MASTER;
        let instance = format!("sentinels = [{}]\nmaster = \"{master}\"\n{more}", sentinels.join(", "));
        let config = configuration(&home, &instance, MAY);
        let ran = fetch(&home, &config, &home.path().join("copy.rdb"), &["--output", "json"]);
        assert_eq!(ran.code(), 0, "{}", ran.stderr);
        assert_eq!(ran.json()[0]["address"], world.servers[copied].address().to_string());
    }
}
