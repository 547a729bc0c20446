//! What an application shows of itself: endpoints, metrics, logs, ports.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use rediscue::{
    diagnosis::Explained,
    model::{Deployment, Endpoint, HeaderValue, HttpMethod, LogFrom, LogSource, MetricsSource, SecretRef, Service},
    runbook::Look,
};
use serde_json::Value;

use crate::world::{
    looking::{Looker, service},
    redis::{RedisServer, free_port, instance, local},
    web::{Page, Web},
};

fn endpoint(name: &str, url: String) -> Endpoint {
    Endpoint {
        name: name.into(),
        url,
        method: HttpMethod::Get,
        safe: false,
        expect: vec![200],
        headers: Vec::new(),
        body: None,
        degraded: None,
        timeout: Duration::from_secs(1),
        slow: None,
        health: true,
        statuspage: false,
        allow_private: true,
    }
}

/// A service whose Redis nobody needs.
fn application() -> Service {
    service(vec![instance(Deployment::Standalone(local(1)))])
}

async fn ask(endpoint: Endpoint, arguments: &[(&str, &str)], pointer: Option<&str>) -> Result<Value, Explained> {
    let look = Look::Http {
        endpoint: endpoint.name.clone(),
        arguments: arguments.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        pointer: pointer.map(str::to_owned),
        events: None,
    };
    Looker::of(Service { endpoints: vec![endpoint], ..application() }).look(look).await.merged
}

#[tokio::test]
async fn an_endpoint_is_asked_with_its_secret_and_judged_by_status_and_body() {
    let web = Web::start(&[
        ("/healthz", Page::ok(r#"{"status": "degraded", "redis": {"connected": false}, "token": "s3cret99"}"#)),
        ("/down", Page::Answer(503, Vec::new(), "<html>sorry</html>".into())),
    ])
    .await;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key"), "k3y\n").unwrap();
    let mut health = endpoint("healthz", web.url("/healthz"));
    health.headers = vec![
        ("x-plain".into(), HeaderValue::Plain("here".into())),
        ("authorization".into(), HeaderValue::Secret(SecretRef::File(dir.path().join("key")))),
    ];
    health.degraded = Some(("/status".into(), "degraded".into()));
    let told = ask(health.clone(), &[], Some("/redis/connected")).await.unwrap();
    assert_eq!((&told["status"], &told["ok"], &told["degraded"]), (&200.into(), &false.into(), &true.into()), "{told}");
    assert_eq!(told["value"], false);
    assert!(told["ms"].as_f64().is_some());
    assert!(!told.to_string().contains("s3cret99") && !told.to_string().contains("k3y"), "{told}");
    let seen = &web.seen()[0];
    assert_eq!((seen.headers["authorization"].as_str(), seen.headers["x-plain"].as_str()), ("k3y", "here"));

    health.headers[1].1 = HeaderValue::Secret(SecretRef::File(dir.path().join("gone")));
    assert_eq!(ask(health, &[], None).await.unwrap_err().code, "SECRET");

    let told = ask(endpoint("down", web.url("/down")), &[], None).await.unwrap();
    assert_eq!(
        (&told["status"], &told["ok"], &told["excerpt"]),
        (&503.into(), &false.into(), &"(HTML)".into()),
        "{told}"
    );
}

#[tokio::test]
async fn redirects_are_not_followed_so_a_secret_stays_with_its_host() {
    let other = Web::start(&[("/", Page::ok("stolen"))]).await;
    let to = ("location".to_owned(), other.url("/"));
    let web = Web::start(&[("/go", Page::Answer(302, vec![to], String::new()))]).await;
    let mut going = endpoint("go", web.url("/go"));
    going.headers = vec![("x-key".into(), HeaderValue::Plain("s3cret".into()))];
    let told = ask(going, &[], None).await.unwrap();
    assert_eq!((&told["status"], &told["ok"]), (&302.into(), &false.into()));
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn arguments_stay_inside_their_part_of_the_url() {
    let web = Web::start(&[]).await;
    let point = endpoint("state", web.url("/v1/{id}/state?x={id}"));
    ask(point.clone(), &[("id", "../admin?y=1#z")], None).await.unwrap();
    assert_eq!(web.seen()[0].line, "GET /v1/..%2Fadmin%3Fy%3D1%23z/state?x=..%2Fadmin%3Fy%3D1%23z HTTP/1.1");
    assert_eq!(ask(point.clone(), &[("id", "..")], None).await.unwrap_err().code, "ARGUMENT");
    assert_eq!(ask(point, &[], None).await.unwrap_err().code, "ARGUMENT");
}

#[tokio::test]
async fn forbidden_hosts_are_refused_before_anything_is_sent() {
    let web = Web::start(&[("/", Page::ok("hi"))]).await;
    for (url, allow_private) in [
        ("http://169.254.169.254/latest/meta-data".to_owned(), true),
        ("http://[fe80::1]/".to_owned(), true),
        ("http://[::ffff:169.254.169.254]/".to_owned(), true),
        ("http://metadata.google.internal/".to_owned(), true),
        // Spellings a URL library turns into an address.
        ("http://2852039166/".to_owned(), true),
        (web.url("/"), false),
        (format!("http://localhost:{}/", web.port()), false),
    ] {
        let point = Endpoint { allow_private, ..endpoint("x", url.clone()) };
        assert_eq!(ask(point, &[], None).await.unwrap_err().code, "FORBIDDEN-HOST", "{url}");
    }
    assert!(web.seen().is_empty());
    let by_name = endpoint("x", format!("http://localhost:{}/", web.port()));
    assert_eq!(ask(by_name, &[], None).await.unwrap()["ok"], true);
}

#[tokio::test]
async fn a_post_needs_the_profiles_word() {
    let web = Web::start(&[("/stream", Page::ok("{}"))]).await;
    let mut post = endpoint("stream", web.url("/stream"));
    (post.method, post.body) = (HttpMethod::Post, Some("{\"prompt\": \"ping\"}".into()));
    assert_eq!(ask(post.clone(), &[], None).await.unwrap_err().code, "REFUSED-LOOK");
    assert!(web.seen().is_empty());
    post.safe = true;
    assert_eq!(ask(post, &[], None).await.unwrap()["ok"], true);
    let seen = &web.seen()[0];
    assert_eq!(
        (seen.body.as_str(), seen.headers["content-type"].as_str()),
        ("{\"prompt\": \"ping\"}", "application/json")
    );
}

#[tokio::test]
async fn a_stream_is_read_until_there_are_enough_events_or_time_is_up() {
    let web = Web::start(&[
        ("/fast", Page::Events(Duration::from_millis(5))),
        ("/slow", Page::Events(Duration::from_secs(60))),
    ])
    .await;
    let points = vec![endpoint("fast", web.url("/fast")), endpoint("slow", web.url("/slow"))];
    let looker = Looker::of(Service { endpoints: points, ..application() });
    let stream = |name: &str| Look::Http { endpoint: name.into(), arguments: vec![], pointer: None, events: Some(20) };
    let begun = Instant::now();
    let told = looker.look(stream("fast")).await.merged.unwrap();
    assert_eq!((&told["events"], &told["stopped_by"]), (&20.into(), &"events".into()), "{told}");
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert!(!told.to_string().contains("secret text"), "{told}");
    let told = looker.look(stream("slow")).await.merged.unwrap();
    assert_eq!((&told["events"], &told["stopped_by"]), (&1.into(), &"time".into()), "{told}");
}

#[tokio::test]
async fn an_application_in_trouble_is_explained() {
    let web = Web::start(&[("/silent", Page::Silence)]).await;
    for (url, code) in [
        (web.url("/silent"), "TIMEOUT"),
        (format!("http://127.0.0.1:{}/", free_port()), "REFUSED"),
        ("http://nowhere.invalid/".to_owned(), "DNS"),
        (format!("https://127.0.0.1:{}/", web.port()), "TLS"),
    ] {
        let error = ask(endpoint("x", url.clone()), &[], None).await.unwrap_err();
        assert_eq!(error.code, code, "{url}: {error:?}");
    }
}

#[tokio::test]
async fn a_status_page_gives_its_indicator() {
    let page = r#"{"page":{},"status":{"indicator":"minor","description":"Partially degraded"}}"#;
    let web = Web::start(&[("/api/v2/status.json", Page::ok(page))]).await;
    let point = Endpoint { statuspage: true, ..endpoint("provider", web.url("/api/v2/status.json")) };
    let told = ask(point, &[], None).await.unwrap();
    assert_eq!((&told["indicator"], &told["description"]), (&"minor".into(), &"Partially degraded".into()));
}

#[tokio::test]
async fn metrics_are_selected_and_compared() {
    let first = "# TYPE redis_fallback counter\nredis_fallback_total{pod=\"a\"} 10\nqueued_events 5\nother 1\n";
    let second = "redis_fallback_total{pod=\"a\"} 16\nqueued_events 5\nother 9\n";
    let web = Web::start(&[("/metrics", Page::Series(vec![first.into(), first.into(), second.into()]))]).await;
    let source =
        MetricsSource { name: "api".into(), url: web.url("/metrics"), select: vec!["redis_".into(), "queued_".into()] };
    let looker = Looker::of(Service { metrics: vec![source], ..application() });
    let look = |select: &[&str], delta| Look::Metrics {
        source: "api".into(),
        select: select.iter().map(|prefix| (*prefix).to_owned()).collect(),
        delta,
    };
    let told = looker.look(look(&[], None)).await.merged.unwrap();
    assert_eq!(told["count"], 2, "{told}");
    assert_eq!(told["samples"][0]["labels"]["pod"], "a");
    let told = looker.look(look(&["redis_"], Some(Duration::from_millis(200)))).await.merged.unwrap();
    assert_eq!((&told["count"], &told["samples"][0]["delta"]), (&1.into(), &6.0.into()), "{told}");
    assert!(told["samples"][0]["rate"].as_f64().unwrap() > 5.0, "{told}");
    let missing = Look::Metrics { source: "nope".into(), select: vec![], delta: None };
    assert_eq!(looker.look(missing).await.merged.unwrap_err().code, "PROFILE");
}

#[tokio::test]
async fn logs_are_filtered_counted_and_masked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.log");
    let lines: String = (0..500)
        .map(|i| match i % 50 {
            0 => format!("{i} Redis pool exhausted password=s3cret99\n"),
            _ => format!("{i} ok\n"),
        })
        .collect();
    fs::write(&path, &lines).unwrap();
    let web = Web::start(&[("/log", Page::ok(&lines))]).await;
    let filters = BTreeMap::from([("pool".to_owned(), "Redis pool".to_owned())]);
    let source = |name: &str, from| LogSource { name: name.into(), from, filters: filters.clone() };
    let sources = vec![
        source("app", LogFrom::File(path)),
        source("far", LogFrom::Http(web.url("/log"))),
        source("gone", LogFrom::File("/nowhere/app.log".into())),
    ];
    let looker = Looker::of(Service { logs: sources, ..application() });
    let look = |source: &str, filter: &str| Look::Logs { source: source.into(), filter: Some(filter.into()), last: 3 };
    for name in ["app", "far"] {
        let told = looker.look(look(name, "pool")).await.merged.unwrap();
        assert_eq!((&told["matched"], &told["scanned_lines"]), (&10.into(), &500.into()), "{told}");
        assert_eq!(told["lines"].as_array().unwrap().len(), 3);
        assert!(!told.to_string().contains("s3cret99"), "{told}");
    }
    assert_eq!(looker.look(look("app", "^4[0-9]9 ")).await.merged.unwrap()["matched"], 10);
    assert_eq!(looker.look(look("app", "(")).await.merged.unwrap_err().code, "ARGUMENT");
    assert_eq!(looker.look(look("gone", "pool")).await.merged.unwrap_err().code, "LOG");
}

#[tokio::test]
async fn a_port_accepts_or_it_is_said_why_not() {
    let server = RedisServer::start();
    let looker = Looker::at(server.instance());
    let look = |address: &str| Look::Tcp { address: address.into() };
    let own = looker.look(look("")).await.merged.unwrap();
    assert_eq!((&own["ok"], &own["address"]), (&true.into(), &server.address().to_string().into()), "{own}");
    let closed = looker.look(look(&format!("127.0.0.1:{}", free_port()))).await.merged.unwrap();
    assert_eq!((&closed["ok"], &closed["error"]["code"]), (&false.into(), &"REFUSED".into()), "{closed}");
    let forbidden = looker.look(look("169.254.169.254:80")).await.merged.unwrap();
    assert_eq!(forbidden["error"]["code"], "FORBIDDEN-HOST", "{forbidden}");
    assert_eq!(looker.look(look("nonsense")).await.merged.unwrap_err().code, "ADDRESS");
}
