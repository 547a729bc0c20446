//! A full copy without a shell on the server's machine.

use std::{
    io::{Read, Write},
    net::TcpListener,
    time::Duration,
};

use rediscue::{
    diagnosis::Explained,
    exec::replication::{Limits, Received, Source, receive},
    keyspace::rdb::Checksum,
    model::{Address, Credential, SecretRef},
};
use tokio_util::sync::CancellationToken;

use super::{
    rdb_formats::READING,
    rdb_real::{Reply, Server, fill},
};
use crate::world::{eventually, looking};

fn source(port: u16) -> Source {
    Source { address: Address::Tcp { host: "127.0.0.1".into(), port }, tls: None, credential: Credential::default() }
}

fn limits(stop: &CancellationToken) -> Limits {
    Limits {
        until: tokio::time::Instant::now() + Duration::from_secs(20),
        silence: Duration::from_secs(3),
        stop: stop.clone(),
        progress: None,
    }
}

async fn copy(source: &Source, file: Option<&std::path::Path>) -> (Result<Received, Explained>, u64) {
    let permit = looking::permit(&looking::service(Vec::new()), false);
    let mut keys = 0;
    let received = receive(&permit, source, &limits(&CancellationToken::new()), READING, file, |_| keys += 1).await;
    (received, keys)
}

#[tokio::test]
async fn a_copy_is_whole_whether_the_server_saves_to_disk_or_to_the_socket() {
    for diskless in ["no", "yes"] {
        let mut server = Server::start(&["--repl-diskless-sync", diskless, "--repl-diskless-sync-delay", "0"]);
        fill(&mut server, 20);
        let home = tempfile::TempDir::new().unwrap();
        let path = home.path().join("copy.rdb");
        let (received, keys) = copy(&source(server.port), Some(&path)).await;
        let received = received.unwrap();
        let Reply::Int(there) = server.ask("DBSIZE") else { panic!() };
        assert_eq!((received.facts.keys(), keys), (there as u64, there as u64));
        assert!(matches!(received.facts.checksum, Checksum::Right(_)));
        assert_eq!(received.position.unwrap().0.len(), 40);
        let (facts, _) = super::rdb_real::read(&path, READING.allocator).unwrap();
        assert_eq!(facts.keys(), keys);
        // The server keeps nothing for us afterwards.
        eventually("the server let us go", Duration::from_secs(5), || {
            let Reply::Text(info) = server.ask("INFO replication") else { panic!() };
            info.contains("connected_slaves:0")
        });
        // A second copy does not overwrite the first.
        let (again, _) = copy(&source(server.port), Some(&path)).await;
        assert_eq!(again.unwrap_err().code, "FILE");
    }
}

#[tokio::test]
async fn passwords_and_denials_are_told_apart() {
    let mut server = Server::start(&[]);
    server.ask("SET a 1");
    server.ask("ACL SETUSER backup on >secret-word +psync +sync +replconf");
    server.ask("ACL SETUSER looker on >secret-word ~* +@read");
    let home = tempfile::TempDir::new().unwrap();
    let password = home.path().join("password");
    std::fs::write(&password, "secret-word\n").unwrap();
    let with = |user: &str| Source {
        credential: Credential { user: Some(user.into()), password: Some(SecretRef::File(password.clone())) },
        ..source(server.port)
    };
    let (received, keys) = copy(&with("backup"), None).await;
    assert!(received.is_ok(), "{received:?}");
    assert_eq!(keys, 1);
    let denied = copy(&with("looker"), None).await.0.unwrap_err();
    assert!(denied.what.contains("does not give the user looker a full copy"), "{denied:?}");
    assert!(denied.cause.contains("lacks `+replconf`"), "{denied:?}");
    assert!(
        denied.next.contains("ACL SETUSER looker +psync +replconf") && denied.next.contains("BGSAVE"),
        "{denied:?}"
    );
    let wrong = copy(&with("nobody"), None).await.0.unwrap_err();
    assert_eq!(wrong.code, "WRONGPASS");
    assert!(!format!("{denied:?}{wrong:?}").contains("secret-word"));

    let managed = Server::start(&["--rename-command", "PSYNC", "", "--rename-command", "SYNC", ""]);
    let blocked = copy(&source(managed.port), None).await.0.unwrap_err();
    assert!(blocked.what.contains("does not give the user default a full copy"), "{blocked:?}");
}

/// Answers three questions and PSYNC, then sends `bytes` and hangs up or keeps silent.
fn pretend(bytes: Vec<u8>, silent: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = Vec::new();
        let mut answered = 0;
        let mut block = [0; 4096];
        while answered < 3 {
            let count = stream.read(&mut block).unwrap();
            heard.extend_from_slice(&block[..count]);
            let asked = String::from_utf8_lossy(&heard).matches('*').count();
            while answered < asked {
                answered += 1;
                let answer = if answered < 3 {
                    "+OK\r\n"
                } else {
                    "\n\n+FULLRESYNC 0123456789012345678901234567890123456789 7\r\n\n\n"
                };
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
        for piece in bytes.chunks(7) {
            let _ = stream.write_all(piece);
        }
        if silent {
            // Until the other side gives up.
            let _ = stream.read(&mut block);
        }
    });
    port
}

#[tokio::test]
async fn a_cut_a_silence_and_a_false_mark_are_said() {
    let whole = super::rdb_formats::samples().remove("redis-7.0").unwrap();
    let mark = "m".repeat(40);
    let framed = |bytes: &[u8], end: &str| [format!("$EOF:{mark}\r\n").as_bytes(), bytes, end.as_bytes()].concat();
    let (received, keys) = copy(&source(pretend(framed(&whole, &mark), false)), None).await;
    assert_eq!((received.unwrap().position.unwrap().1, keys), (7, 19));

    let home = tempfile::TempDir::new().unwrap();
    let path = home.path().join("copy.rdb");
    for (bytes, silent, code) in [
        (framed(&whole[..900], ""), false, "CUT"),
        (framed(&whole, ""), true, "TIMEOUT"),
        (framed(&whole[..900], &mark), false, "RDB"),
        (framed(b"this is no snapshot at all", &mark), false, "RDB"),
        ([format!("${}\r\n", 1u64 << 62).as_bytes(), &whole].concat(), false, "CUT"),
        (b"$nonsense\r\n".to_vec(), false, "PROTOCOL"),
        (vec![b'x'; 100_000], false, "PROTOCOL"),
    ] {
        let told = copy(&source(pretend(bytes, silent)), Some(&path)).await.0.unwrap_err();
        println!("{told:?}");
        assert_eq!(told.code, code, "{told:?}");
        // Half a copy is not kept.
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn it_can_be_stopped() {
    let port = pretend(b"$1000000\r\n".to_vec(), true);
    let stop = CancellationToken::new();
    let permit = looking::permit(&looking::service(Vec::new()), false);
    let limits = limits(&stop);
    let source = source(port);
    let work = receive(&permit, &source, &limits, READING, None, |_| ());
    tokio::pin!(work);
    tokio::select! {
        _ = &mut work => panic!("it ended by itself"),
        () = tokio::time::sleep(Duration::from_millis(50)) => stop.cancel(),
    }
    assert_eq!(work.await.unwrap_err().code, "STOPPED");
}
