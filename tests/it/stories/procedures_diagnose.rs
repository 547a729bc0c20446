//! The diagnostic rows of the runbooks, each by its id, from the line somebody
//! types to the card they read, against a real Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use axum::{Router, body::Bytes, http::HeaderMap, routing::get, routing::post};
use rediscue::model::Level;

use crate::world::{
    chat::{Chat, ChatBuilder},
    eventually,
    redis::{RedisServer, free_port},
};

/// A bot with one service at this server.
async fn bot(service: &str, server: &RedisServer, profile: &str) -> Chat {
    ChatBuilder::new().service(service, &server.address().to_string(), profile).start().await
}

/// A small HTTP server that ends with the test; its address.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Asserts that each of these stands in the text.
#[track_caller]
fn says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "`{wanted}` is not in\n{text}");
    }
}

/// Something that goes on beside the test until it is dropped.
struct Beside(Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

impl Beside {
    fn run(mut each: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let handle = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                each();
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self(stop, Some(handle))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if let Some(handle) = self.1.take() {
            let _ = handle.join();
        }
    }
}

fn send(connection: &mut redis::Connection, words: &[&str]) {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    let _ = command.query::<redis::Value>(connection);
}

#[tokio::test(flavor = "multi_thread")]
async fn o2_the_quick_check_is_one_card_and_asks_no_client_list() {
    let server = RedisServer::builder().option("maxmemory", "100mb").start();
    server.fill("sse:state:", 200, 100);
    let mut chat = bot("olumi", &server, "").await;
    let answer = chat.ask("bo", "status olumi").await;
    says(&answer.text(), &["Memory", "of 100 MiB", "Clients", "Keys: 200"]);
    assert_eq!(server.info("cmdstat_client|list"), "", "CLIENT LIST is O(clients) and is not asked");
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn o4_the_service_still_accepts_requests_or_says_how_not() {
    let server = RedisServer::start();
    let state = Arc::new(AtomicU64::new(0));
    let seen = state.clone();
    let url = serve(Router::new().route(
        "/healthz",
        get(move || async move {
            match seen.load(Ordering::Relaxed) {
                0 => (axum::http::StatusCode::OK, r#"{"status":"ok"}"#),
                1 => (axum::http::StatusCode::OK, r#"{"status":"degraded"}"#),
                _ => (axum::http::StatusCode::SERVICE_UNAVAILABLE, "Redis unavailable"),
            }
        }),
    ))
    .await;
    let profile = format!(
        "[endpoints.healthz]\nurl = \"{url}/healthz\"\nhealth = true\nallow_private = true\ndegraded = {{ pointer = \"/status\", is = \"degraded\" }}\n"
    );
    let mut chat = bot("olumi", &server, &profile).await;
    let answer = chat.ask("bo", "health olumi").await;
    says(&answer.text(), &["healthz | 200 | good"]);
    assert!(answer.level() <= Some(Level::Note), "{}", answer.text());
    state.store(1, Ordering::Relaxed);
    let answer = chat.ask("bo", "health olumi").await;
    says(&answer.text(), &["degraded", "works without Redis"]);
    assert_eq!(answer.level(), Some(Level::Warn));
    state.store(2, Ordering::Relaxed);
    let answer = chat.ask("bo", "health olumi").await;
    says(&answer.text(), &["healthz answers 503"]);
    assert_eq!(answer.level(), Some(Level::Crit));
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn o5_the_providers_status_page_is_read_and_its_link_is_at_hand() {
    let server = RedisServer::start();
    let url = serve(Router::new().route(
        "/api/v2/status.json",
        get(|| async {
            r#"{"page":{"name":"Render"},"status":{"indicator":"major","description":"Partial System Outage"}}"#
        }),
    ))
    .await;
    let profile = format!(
        "[endpoints.provider]\nurl = \"{url}/api/v2/status.json\"\nstatuspage = true\nallow_private = true\n\n[[links]]\ntitle = \"Render dashboard\"\nurl = \"https://dashboard.render.com/\"\n"
    );
    let mut chat = bot("olumi", &server, &profile).await;
    let answer = chat.ask("bo", "health olumi").await;
    says(&answer.text(), &["The provider reports trouble", "Partial System Outage"]);
    assert_eq!(answer.level(), Some(Level::Warn));
    says(&chat.ask("bo", "profile olumi").await.text(), &["Render dashboard", "https://dashboard.render.com/"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn o14_streaming_goes_on_without_redis_and_the_key_is_never_shown() {
    let key = Arc::new(std::sync::Mutex::new(String::new()));
    let seen = key.clone();
    let url = serve(Router::new().route(
        "/assist/stream",
        post(move |headers: HeaderMap, body: Bytes| async move {
            let given = headers.get("x-olumi-assist-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
            *seen.lock().unwrap() = format!("{given} {}", String::from_utf8_lossy(&body));
            let events: String = (0..50).map(|i| format!("event: delta\ndata: {{\"secret draft\":{i}}}\n\n")).collect();
            ([("content-type", "text/event-stream")], events)
        }),
    ))
    .await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "s3cret-assist-key\n").unwrap();
    let profile = format!(
        "[endpoints.stream]\nurl = \"{url}/assist/stream\"\nmethod = \"POST\"\nsafe = true\nallow_private = true\nbody = '{{\"brief\":\"test\"}}'\nheaders = {{ X-Olumi-Assist-Key = {{ file = \"{}\" }} }}\n",
        secret.path().display()
    );
    // Nobody listens where its Redis should be.
    let chat = ChatBuilder::new().service("olumi", &format!("127.0.0.1:{}", free_port()), &profile);
    let mut chat = chat.start().await;
    let answer = chat.ask("bo", "stream stream olumi").await;
    says(&answer.text(), &["20 events arrived from stream", "status 200"]);
    assert!(!answer.text().contains("s3cret") && !answer.text().contains("secret draft"), "{}", answer.text());
    assert_eq!(*key.lock().unwrap(), r#"s3cret-assist-key {"brief":"test"}"#);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_tcp_from_the_bot_is_tried_and_the_failing_step_is_named() {
    let server = RedisServer::start();
    let mut chat = ChatBuilder::new()
        .service("godel", &server.address().to_string(), "")
        .service("gone", &format!("127.0.0.1:{}", free_port()), "")
        .start()
        .await;
    let answer = chat.ask("bo", "connectivity godel").await;
    says(&answer.text(), &["TCP: open", "every step works", "| PING | works", "protected-mode"]);
    let answer = chat.ask("bo", "connectivity gone").await;
    says(&answer.text(), &["It fails at TCP", "refused the connection", "| TCP | fails: REFUSED"]);
    assert_eq!(answer.level(), Some(Level::Crit));
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g3_the_queue_says_depth_rate_and_time_to_drain() {
    let server = RedisServer::start();
    let items: Vec<String> = (0..3000).map(|i| format!("event {i}")).collect();
    let words: Vec<&str> =
        ["RPUSH", "godel:queue:pending"].into_iter().chain(items.iter().map(String::as_str)).collect();
    server.run::<i64>(&words);
    let profile = "[queues.pending]\nkey = \"godel:queue:pending\"\nwarn = 1000\ncrit = 10000\n";
    let mut chat = bot("godel", &server, profile).await;
    let mut worker = server.admin();
    let draining = Beside::run(move || send(&mut worker, &["LPOP", "godel:queue:pending", "2"]));
    let answer = chat.ask("bo", "queue godel").await;
    drop(draining);
    says(&answer.text(), &["A queue is deeper than usual", "pending", "draining", "1,000 / 10,000"]);
    assert_eq!(answer.level(), Some(Level::Warn));
    assert!(!answer.text().contains("event 1"), "no entry is shown");
    let row = answer.text().lines().find(|line| line.starts_with("pending |")).unwrap().to_owned();
    assert!(!row.contains("| – |"), "rate and time to drain are worked out: {row}");
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g9_fallback_metrics_are_a_table_with_what_changed() {
    let server = RedisServer::start();
    let queued = Arc::new(AtomicU64::new(100));
    let seen = queued.clone();
    let url = serve(Router::new().route(
        "/metrics",
        get(move || async move {
            let n = seen.fetch_add(50, Ordering::Relaxed);
            format!("# TYPE redis_fallback_active gauge\nredis_fallback_active 1\nmemory_cache_bytes 1048576\nqueued_events_total{{kind=\"agent\"}} {n}\nprocess_cpu_seconds_total 3\n")
        }),
    ))
    .await;
    let profile = format!(
        "[metrics.api]\nurl = \"{url}/metrics\"\nselect = [\"redis_fallback\", \"memory_cache_\", \"queued_events\"]\n"
    );
    let mut chat = bot("godel", &server, &profile).await;
    let answer = chat.ask("bo", "metrics godel").await;
    says(
        &answer.text(),
        &[
            "redis_fallback_active",
            "memory_cache_bytes",
            "queued_events_total",
            "| 50 |",
            "fallback mode",
            "queued faster",
        ],
    );
    assert!(!answer.text().contains("process_cpu"), "only what the profile selects");
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g16_related_runbooks_are_linked_and_drift_compares_what_is_declared() {
    let server = RedisServer::builder().option("maxmemory", "512mb").start();
    let profile = "[declared]\nmaxmemory = \"1gb\"\nappendonly = \"yes\"\nsave = \"60 1000\"\n\n[[links]]\ntitle = \"Database failover\"\nurl = \"./DATABASE_FAILOVER.md\"\n";
    let mut chat = bot("godel", &server, profile).await;
    says(
        &chat.ask("bo", "profile godel").await.text(),
        &["Database failover | ./DATABASE_FAILOVER.md", "maxmemory | 1gb"],
    );
    let answer = chat.ask("bo", "drift godel").await;
    says(
        &answer.text(),
        &["not as declared", "maxmemory | 1gb | 512 MiB | differs", "appendonly | yes | no | differs"],
    );
    assert_eq!(answer.level(), Some(Level::Warn));
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_status_judges_memory_and_clients_by_the_services_own_bounds() {
    let server = RedisServer::builder().option("maxmemory", "20mb").start();
    server.fill("tenant:1:wm:", 1500, 10_000);
    let mut chat = bot(
        "somabrain",
        &server,
        "[thresholds]\nmemory = { warn = 50, crit = 60 }\nclients = { warn = 1000, crit = 1500 }\n",
    )
    .await;
    let answer = chat.ask("bo", "status somabrain").await;
    says(&answer.text(), &["Memory", "critical past 60 %", "Connected"]);
    assert_eq!(answer.level(), Some(Level::Crit), "{}", answer.text());
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_one_working_memory_is_shown_by_shape_and_revealed_only_by_role_and_in_private() {
    let server = RedisServer::start();
    server.run::<i64>(&[
        "HSET",
        "tenant:production_agent:wm:active",
        "goal",
        "call bo@example.com",
        "plan",
        r#"{"steps":[1,2],"owner":"bo"}"#,
    ]);
    let profile = "[patterns.wm]\nglob = \"tenant:*:wm:*\"\nttl = \"1h\"\nabout = \"working memory of one tenant\"\n";
    let mut chat = bot("somabrain", &server, profile).await;
    let answer = chat.ask("bo", "inspect tenant:production_agent:wm:active somabrain").await;
    says(&answer.text(), &["hash", "-1: it never expires", "should live 1 h", "goal |", "owner", "2 fields"]);
    for hidden in ["bo@example.com", "production_agent:wm:active |"] {
        assert!(!answer.text().contains(hidden), "{}", answer.text());
    }
    let refused = chat.ask("bo", "inspect tenant:production_agent:wm:active somabrain --reveal").await;
    assert!(!refused.text().contains("bo@example.com"), "{}", refused.text());
    let revealed = chat.ask("ana", "inspect tenant:production_agent:wm:active somabrain --reveal").await;
    says(&revealed.text(), &["call bo@example.com"]);
    assert!(revealed.messages.last().unwrap().private, "what is revealed is for the asker alone");
    // The handle on the card names the key, as well as its name does.
    let handle = answer.text().split_whitespace().find(|word| word.contains('~')).unwrap().trim_matches(':').to_owned();
    let again = chat.ask("bo", &format!("inspect {handle} somabrain")).await;
    says(&again.text(), &["hash", "2 fields"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_stats_keyspace_and_a_bounded_monitor() {
    let server = RedisServer::start();
    server.fill("tenant:1:wm:", 300, 10);
    let mut chat = bot("somabrain", &server, "").await;
    let mut client = server.admin();
    let traffic = Beside::run(move || {
        send(&mut client, &["GET", "session:bo@example.com"]);
        send(&mut client, &["SET", "session:bo@example.com", "s3cret-value"]);
    });
    says(&chat.ask("bo", "stats somabrain").await.text(), &["Hit ratio", "Commands", "/s"]);
    says(&chat.ask("bo", "keyspace somabrain").await.text(), &["db0 | 301", "100 %"]);
    let answer = chat.ask("bo", "monitor 1s somabrain").await;
    drop(traffic);
    says(&answer.text(), &["GET", "SET", "in 1"]);
    assert!(!answer.text().contains("s3cret") && !answer.text().contains("bo@example.com"), "{}", answer.text());
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_connection_issues_are_taken_step_by_step() {
    let server = RedisServer::builder().password("right").start();
    let wrong = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(wrong.path(), "wrong").unwrap();
    let address = server.address();
    let profile = format!(
        "title = \"SomaBrain\"\nenvironment = \"prod\"\nowner = \"memory\"\n[[instances]]\naddress = \"{address}\"\npassword = {{ file = \"{}\" }}\n",
        wrong.path().display()
    );
    let mut chat = ChatBuilder::new()
        .file("services/somabrain.toml", &profile)
        .service("nowhere", "no-such-host.invalid:6379", "")
        .start()
        .await;
    let answer = chat.ask("bo", "connectivity somabrain").await;
    says(&answer.text(), &["It fails at AUTH", "refused the password", "| TCP | works"]);
    assert!(!answer.text().contains("wrong\""), "{}", answer.text());
    let answer = chat.ask("bo", "connectivity nowhere").await;
    says(&answer.text(), &["It fails at DNS"]);
    assert_eq!(answer.level(), Some(Level::Crit));
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s15_degradation_shows_in_latency_slow_log_and_blocked_clients() {
    let server = RedisServer::builder().option("slowlog-log-slower-than", "0").start();
    server.fill("session:", 200, 10);
    server.run::<Vec<String>>(&["KEYS", "session:*"]);
    let port = server.port();
    let waiting = thread::spawn(move || {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let mut connection = client.get_connection().unwrap();
        send(&mut connection, &["CLIENT", "SETNAME", "worker-7"]);
        send(&mut connection, &["BLPOP", "godel:queue:pending", "20"]);
    });
    eventually("a client is blocked", Duration::from_secs(5), || server.info("blocked_clients") == "1");
    let mut chat = bot("somabrain", &server, "").await;
    let answer = chat.ask("bo", "clients somabrain --blocked").await;
    says(&answer.text(), &["worker-7", "blpop", "Blocked: 1"]);
    let answer = chat.ask("bo", "slowlog somabrain").await;
    says(&answer.text(), &["KEYS session:*", "walks every key"]);
    let answer = chat.ask("bo", "latency somabrain --samples 50").await;
    says(&answer.text(), &["p99", "Slow log", "KEYS"]);
    server.run::<i64>(&["LPUSH", "godel:queue:pending", "done"]);
    waiting.join().unwrap();
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s22_errors_of_redis_are_told_with_cause_and_next_step() {
    let locked = RedisServer::builder().password("right").start();
    let limited = RedisServer::builder().user("default on nopass ~* &* +@all -info").start();
    let busy = RedisServer::builder().option("lua-time-limit", "50").start();
    let mut chat = ChatBuilder::new()
        .service("locked", &locked.address().to_string(), "")
        .service("limited", &limited.address().to_string(), "")
        .service("busy", &busy.address().to_string(), "")
        .service("gone", &format!("127.0.0.1:{}", free_port()), "")
        .start()
        .await;
    says(
        &chat.ask("bo", "status locked").await.text(),
        &["wants a password", "requirepass", "name the password in the service's profile"],
    );
    says(&chat.ask("bo", "status limited").await.text(), &["may not run", "INFO", "ACL"]);
    let answer = chat.ask("bo", "status gone").await;
    says(&answer.text(), &["refused the connection: nobody listens there", "connectivity"]);
    assert_eq!(answer.level(), Some(Level::Crit), "{}", answer.text());
    let port = busy.port();
    let looping = thread::spawn(move || {
        let mut connection =
            redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap().get_connection().unwrap();
        send(&mut connection, &["EVAL", "while true do end", "0"]);
    });
    let mut admin = busy.admin();
    eventually("the script holds the server", Duration::from_secs(5), || {
        redis::cmd("PING").query::<String>(&mut admin).is_err_and(|error| error.code() == Some("BUSY"))
    });
    says(&chat.ask("bo", "status busy").await.text(), &["is running a script", "SCRIPT KILL"]);
    send(&mut admin, &["SCRIPT", "KILL"]);
    looping.join().unwrap();
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n3_the_investigation_is_all_reads_at_once_ranked() {
    let server = RedisServer::builder().option("maxmemory", "20mb").start();
    server.fill("conv:", 1500, 10_000);
    let log = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        log.path(),
        "12:00 ok\n12:01 redis_error code=ETIMEDOUT password=s3cret99\n12:02 redis_error again\n",
    )
    .unwrap();
    let profile = format!(
        "[thresholds]\nmemory = {{ warn = 50, crit = 60 }}\n\n[logs.app]\nfile = \"{}\"\n\n[logs.app.filters]\nredis = \"redis_error\"\n",
        log.path().display()
    );
    let mut chat = bot("onesource", &server, &profile).await;
    let answer = chat.ask("bo", "doctor onesource").await;
    assert_eq!(answer.level(), Some(Level::Crit), "{}", answer.text());
    says(&answer.text(), &["CRITICAL", "memory onesource", "never expires"]);
    let answer = chat.ask("bo", "logs onesource --filter redis").await;
    says(&answer.text(), &["2 of 1 log", "redis_error again", "(hidden)"]);
    assert!(!answer.text().contains("s3cret99"), "{}", answer.text());
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n9_a_conversation_is_a_list_and_is_read_as_one() {
    let server = RedisServer::start();
    server.run::<i64>(&[
        "RPUSH",
        "conv:test_session_123",
        r#"{"role":"user","content":"my secret question"}"#,
        "plain words",
    ]);
    let profile = "[patterns.conversations]\nglob = \"conv:*\"\nttl = \"30d\"\nabout = \"one conversation\"\n";
    let mut chat = bot("onesource", &server, profile).await;
    let answer = chat.ask("bo", "inspect conv:test_session_123 onesource").await;
    says(&answer.text(), &["list", "2 elements", "\"role\"", "-1: it never expires", "should live 30 d"]);
    assert!(!answer.text().contains("secret question"), "{}", answer.text());
    assert_eq!(server.info("cmdstat_keys"), "", "KEYS is never sent");
    assert_eq!(server.info("errorstat_WRONGTYPE"), "", "the type is asked before the value");
    let missing = chat.ask("bo", "inspect conv:gone onesource").await;
    says(&missing.text(), &["-2: there is no such key"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n14_replication_clients_memory_as_named_without_content() {
    let server = RedisServer::start();
    server.fill("conv:", 50, 500);
    let mut chat = bot("onesource", &server, "").await;
    says(&chat.ask("bo", "replication onesource").await.text(), &["primary without replicas"]);
    says(&chat.ask("bo", "clients onesource").await.text(), &["Connected", "By name"]);
    says(&chat.ask("bo", "memory onesource").await.text(), &["Memory", "no limit", "Bytes a key"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n15_the_second_question_must_know_the_first() {
    let server = RedisServer::start();
    let remembers = Arc::new(AtomicBool::new(true));
    let (first, memory) = (Arc::new(std::sync::Mutex::new(String::new())), remembers.clone());
    let url = serve(Router::new().route(
        "/api/chat/ask",
        post(move |body: Bytes| async move {
            let asked = String::from_utf8_lossy(&body).into_owned();
            let mut first = first.lock().unwrap();
            if asked.contains("What did I just ask") {
                let known = if memory.load(Ordering::Relaxed) { first.clone() } else { String::new() };
                format!("{{\"answer\":\"You asked: {}\"}}", known.replace('"', "'"))
            } else {
                *first = asked;
                "{\"answer\":\"noted\"}".to_owned()
            }
        }),
    ))
    .await;
    let ask = |name: &str, question: &str| {
        format!(
            "[endpoints.{name}]\nurl = \"{url}/api/chat/ask\"\nmethod = \"POST\"\nsafe = true\nallow_private = true\nbody = '{{\"question\":\"{question}\"}}'\n"
        )
    };
    let profile =
        format!("{}\n{}", ask("ask-first", "Test conversation memory"), ask("ask-again", "What did I just ask about?"));
    let command = include_str!("../../../config/commands/conversation-test.toml");
    let mut chat = ChatBuilder::new()
        .service("onesource", &server.address().to_string(), &profile)
        .file("commands/conversation-test.toml", command)
        .start()
        .await;
    let answer = chat.ask("bo", "conversation-test onesource").await;
    says(&answer.text(), &["It remembers"]);
    remembers.store(false, Ordering::Relaxed);
    let answer = chat.ask("bo", "conversation-test onesource").await;
    says(&answer.text(), &["It has forgotten"]);
    assert_eq!(answer.level(), Some(Level::Crit));
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_the_infrastructure_table_is_compared_with_what_is() {
    let server = RedisServer::builder().option("maxmemory", "256mb").option("maxmemory-policy", "allkeys-lru").start();
    let profile = format!(
        "[declared]\nmaxmemory = \"256mb\"\nmaxmemory-policy = \"allkeys-lru\"\nappendonly = \"yes\"\nport = \"{}\"\nimage = \"redis:7-alpine\"\n",
        server.port()
    );
    let mut chat = bot("prospectflow", &server, &profile).await;
    let answer = chat.ask("bo", "drift prospectflow").await;
    says(
        &answer.text(),
        &[
            "appendonly | yes | no | differs",
            "maxmemory | 256mb | 256 MiB | same",
            "image | redis:7-alpine | cannot be seen from Redis | unseen",
            "1 setting is not as declared",
        ],
    );
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_health_checks_say_status_memory_replication_and_persistence() {
    let server = RedisServer::builder().option("maxmemory", "256mb").option("appendonly", "yes").start();
    server.fill("session:", 100, 200);
    let mut chat = bot("prospectflow", &server, "").await;
    let program = format!("Server: {}", server.program());
    says(&chat.ask("bo", "status prospectflow").await.text(), &[program.as_str(), "primary", "append-only file ok"]);
    says(&chat.ask("bo", "memory prospectflow").await.text(), &["Peak", "of 256 MiB", "Policy: noeviction"]);
    says(&chat.ask("bo", "replication prospectflow").await.text(), &["Role: primary"]);
    let answer = chat.ask("bo", "persistence prospectflow").await;
    says(&answer.text(), &["Append-only file: on"]);
    let folder = !server.info("redis_version").starts_with('6');
    assert_eq!(answer.text().contains("folder with a manifest"), folder, "{}", answer.text());
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p13_the_slow_log_and_the_clients_against_their_bounds() {
    let server = RedisServer::builder().option("slowlog-log-slower-than", "10000").start();
    let _held: Vec<redis::Connection> = (0..12).map(|_| server.admin()).collect();
    let mut chat = bot("prospectflow", &server, "[thresholds]\nclients = { warn = 10, crit = 500 }\n").await;
    says(&chat.ask("bo", "slowlog prospectflow").await.text(), &["10.0 ms", "the last 128 are kept"]);
    let answer = chat.ask("bo", "clients prospectflow").await;
    says(&answer.text(), &["Connected", "warning past 10"]);
    assert_eq!(answer.level(), Some(Level::Warn), "{}", answer.text());
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_capacity_says_when_to_scale() {
    let server = RedisServer::builder().option("maxmemory", "20mb").start();
    server.fill("session:", 1700, 10_000);
    let mut chat = bot("prospectflow", &server, "").await;
    let answer = chat.ask("bo", "capacity prospectflow").await;
    says(
        &answer.text(),
        &[
            "memory is past the bound at which to scale",
            "needs no restart",
            "trend needs looks over at least ten minutes",
        ],
    );
    assert!(answer.level() >= Some(Level::Warn), "{}", answer.text());
    chat.stop().await;
}

/// What ElastiCache, Memorystore and Aiven together keep to themselves.
const MANAGED: &str = "default on nopass ~* &* +@all -config -monitor -debug -sync -psync -object -client -command -eval -evalsha -slowlog -latency -acl";

#[tokio::test(flavor = "multi_thread")]
async fn p16_a_managed_server_that_blocks_commands_still_gets_a_full_status() {
    let server = RedisServer::builder().option("maxmemory", "100mb").user(MANAGED).start();
    server.fill("session:", 100, 100);
    let mut chat = bot("prospectflow", &server, "[declared]\nmaxmemory = \"100mb\"\n").await;
    let answer = chat.ask("bo", "status prospectflow").await;
    says(
        &answer.text(),
        &[
            "Healthy",
            &format!("Server: {}", server.program()),
            "Memory",
            "Clients",
            "Commands",
            "CPU",
            "Hit ratio",
            "Evicted",
            "Latency p50",
            "p99",
            "Persistence",
            "Replication",
            "Keys: 100",
        ],
    );
    assert!(answer.level() <= Some(Level::Note), "nothing is hidden from a full status:\n{}", answer.text());
    assert!(!answer.text().contains("not seen"), "{}", answer.text());
    // The others say what they could not look at, and show the rest.
    for (command, rest) in [
        ("clients", "Connected"),
        ("memory", "Memory"),
        ("persistence", "Last snapshot"),
        ("latency", "p99"),
        ("drift", "same"),
    ] {
        let answer = chat.ask("bo", &format!("{command} prospectflow")).await;
        says(&answer.text(), &[rest]);
        if command != "memory" {
            says(&answer.text(), &["may not run"]);
        }
    }
    for command in ["slowlog", "config", "monitor 1s", "acl-log"] {
        let answer = chat.ask("bo", &format!("{command} prospectflow")).await;
        assert_eq!(answer.level(), Some(Level::Unknown), "{command}: {}", answer.text());
        says(&answer.text(), &["may not run"]);
    }
    chat.stop().await;
}
