//! Hot keys from a server that counts them itself. No server at hand knows HOTKEYS (Redis 8.6), so
//! something stands before a real one that answers HOTKEYS as it is documented, and passes the rest on.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use crate::world::{chat::ChatBuilder, redis::RedisServer};

/// What HOTKEYS is answered with, in turn of what is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Session {
    /// There is none until it is started.
    None,
    /// Somebody's is under way.
    Somebody,
    /// This user may not ask.
    Denied,
}

/// One message of the protocol, as bytes, and its words where it is a list of them.
fn message(input: &mut impl BufRead) -> Option<(Vec<u8>, Vec<String>)> {
    let mut head = String::new();
    if input.read_line(&mut head).ok()? == 0 {
        return None;
    }
    let mut bytes = head.clone().into_bytes();
    let mut words = Vec::new();
    let number = || head[1..].trim_end().parse::<i64>().unwrap();
    match head.as_bytes()[0] {
        b'$' | b'=' if number() >= 0 => {
            let mut body = vec![0; number() as usize + 2];
            input.read_exact(&mut body).ok()?;
            words.push(String::from_utf8_lossy(&body[..body.len() - 2]).into_owned());
            bytes.extend(body);
        }
        kind @ (b'*' | b'%' | b'~' | b'>') => {
            for _ in 0..number().max(0) * if kind == b'%' { 2 } else { 1 } {
                let (part, inner) = message(input)?;
                bytes.extend(part);
                words.extend(inner);
            }
        }
        _ => {}
    }
    Some((bytes, words))
}

fn report(active: bool) -> Vec<u8> {
    let now = jiff::Timestamp::now().as_millisecond();
    let mut out = String::from("*1\r\n*18\r\n");
    let mut field = |name: &str, value: &str| out.push_str(&format!("${}\r\n{name}\r\n{value}", name.len()));
    field("tracking-active", if active { ":1\r\n" } else { ":0\r\n" });
    field("sample-ratio", ":1\r\n");
    field("selected-slots", "*1\r\n*2\r\n:0\r\n:16383\r\n");
    field("all-commands-all-slots-us", ":1000\r\n");
    field("net-bytes-all-commands-all-slots", ":2000\r\n");
    field("collection-start-time-unix-ms", &format!(":{}\r\n", now - 2_000));
    field("collection-duration-ms", ":2000\r\n");
    field("by-cpu-time-us", "*4\r\n$14\r\nsse:state:busy\r\n:620\r\n$10\r\nsession:77\r\n:40\r\n");
    field("by-net-bytes", "*2\r\n$14\r\nsse:state:busy\r\n:500\r\n");
    out.into_bytes()
}

/// Stands before a server; the HOTKEYS it was asked, in order.
fn before(server: &RedisServer, session: Session) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, behind) = (listener.local_addr().unwrap().port(), server.port());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = asked.clone();
    std::thread::spawn(move || {
        let started = Arc::new(Mutex::new(false));
        for client in listener.incoming().map_while(Result::ok) {
            let (told, started) = (told.clone(), started.clone());
            std::thread::spawn(move || {
                let mut server = TcpStream::connect(("127.0.0.1", behind)).unwrap();
                let mut answers = BufReader::new(server.try_clone().unwrap());
                let mut out = client.try_clone().unwrap();
                let mut input = BufReader::new(client);
                while let Some((bytes, words)) = message(&mut input) {
                    let answer = if words[0].eq_ignore_ascii_case("HOTKEYS") {
                        told.lock().unwrap().push(words[1..].join(" "));
                        let mut started = started.lock().unwrap();
                        match (session, words[1].as_str()) {
                            (Session::Denied, _) => {
                                b"-NOPERM User default has no permissions to run the 'hotkeys|get' command\r\n".to_vec()
                            }
                            (Session::Somebody, "GET") => report(true),
                            (_, "GET") if *started => report(false),
                            (_, "GET") => b"$-1\r\n".to_vec(),
                            (_, word) => {
                                *started = word == "START";
                                b"+OK\r\n".to_vec()
                            }
                        }
                    } else {
                        server.write_all(&bytes).unwrap();
                        match message(&mut answers) {
                            Some((answer, _)) => answer,
                            None => return,
                        }
                    };
                    if out.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, asked)
}

async fn hotkeys(session: Session) -> (String, Vec<String>, RedisServer) {
    let server = RedisServer::start();
    server.fill("session", 100, 10);
    server.run::<()>(&["SET", "sse:state:busy", "1"]);
    let (port, asked) = before(&server, session);
    let mut chat = ChatBuilder::new().service("olumi", &format!("127.0.0.1:{port}"), "").start().await;
    let text = chat.ask("ana", "/redis hotkeys olumi --top 5").await.text();
    chat.stop().await;
    let asked = asked.lock().unwrap().clone();
    (text, asked, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_counts_hot_keys_is_asked_to_for_a_while_and_left_as_it_was() {
    let (text, asked, server) = hotkeys(Session::None).await;
    for words in ["sse:state:", "string", "62 % of the time", "25 % of the bytes", "4.0 % of the time", "HOTKEYS"] {
        assert!(text.contains(words), "`{words}` is not in\n{text}");
    }
    let start = "START METRICS 2 CPU NET COUNT 32 DURATION 5";
    assert_eq!(asked, ["GET", start, "GET", "STOP", "RESET"]);
    // No key was walked over for it.
    assert!(!server.run::<String>(&["INFO", "commandstats"]).contains("cmdstat_scan:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_session_is_read_and_goes_on() {
    let (text, asked, _) = hotkeys(Session::Somebody).await;
    assert!(text.contains("62 % of the time") && text.contains("somebody's HOTKEYS session is under way"), "{text}");
    assert_eq!(asked, ["GET"], "it is neither stopped nor cleared");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_denied_idle_times_tell_and_the_missing_rule_is_named() {
    let (text, asked, _) = hotkeys(Session::Denied).await;
    assert!(text.contains("idle times") && text.contains("it lacks `+hotkeys`"), "{text}");
    assert_eq!(asked, ["GET"]);
}
