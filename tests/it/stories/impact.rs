//! What users lose and keep while a Redis is away, on the cards people look at then.

use rediscue::model::Level;

use crate::world::{
    chat::ChatBuilder,
    redis::{RedisServer, credential},
};

const IMPACT: &str = r#"
[[impact]]
works = true
what = "Streaming goes on, without resuming"

[[impact]]
works = false
what = "Rate limits"
"#;

const WORKS: &str = "✅ Streaming goes on, without resuming";
const LOST: &str = "❌ Rate limits";

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_down_or_stopped_status_and_doctor_say_what_still_works_and_what_does_not() {
    let mut server = RedisServer::start();
    let frozen = RedisServer::start();
    let mut chat = ChatBuilder::new()
        .service("olumi", &server.address().to_string(), IMPACT)
        .service("slow", &frozen.address().to_string(), IMPACT)
        .start()
        .await;
    for command in ["status olumi", "doctor olumi"] {
        let text = chat.ask("ana", command).await.text();
        assert!(!text.contains("While this Redis is down"), "it is not down:\n{text}");
    }
    server.kill();
    frozen.freeze();
    for (service, level) in [("olumi", Level::Crit), ("slow", Level::Unknown)] {
        let answer = chat.ask("ana", &format!("status {service}")).await;
        let text = answer.text();
        assert_eq!(answer.level(), Some(level), "{text}");
        assert!(text.contains("While this Redis is down: ") && text.contains(WORKS) && text.contains(LOST), "{text}");
        let text = chat.ask("ana", &format!("doctor {service}")).await.text();
        assert!(text.contains("While this Redis is down: ") && text.contains(WORKS) && text.contains(LOST), "{text}");
    }
    // Before it is down, it can be looked up.
    for command in ["profile olumi", "health olumi"] {
        let text = chat.ask("ana", command).await.text();
        assert!(text.contains("✅ | Streaming goes on") && text.contains("❌ | Rate limits"), "{command}:\n{text}");
    }
    frozen.thaw();
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_missing_permission_are_cards_with_cause_and_next_step() {
    let server = RedisServer::builder().password("right").user("looker on >narrow ~* +ping +client|setname").start();
    let profile = |user: Option<&str>, password: &str| {
        let mut instance = server.instance();
        instance.look = credential(server.dir(), user, password);
        instance
    };
    let mut chat = ChatBuilder::new()
        .service_at("wrong", &profile(None, "l3ft-0ver"), "")
        .service_at("narrow", &profile(Some("looker"), "narrow"), "")
        .start()
        .await;
    for command in ["status wrong", "memory wrong", "connectivity wrong"] {
        let text = chat.ask("ana", command).await.text();
        assert!(text.contains("refused the password of") && !text.contains("l3ft-0ver"), "{command}:\n{text}");
    }
    let text = chat.ask("ana", "memory wrong").await.text();
    assert!(text.contains("the password was rotated") && text.contains("put the new secret where"), "{text}");
    let text = chat.ask("ana", "slowlog narrow").await.text();
    assert!(text.contains("may not run") && text.contains("ACL of the bot's Redis user"), "{text}");
    assert!(text.contains("deploy/"), "{text}");
    chat.stop().await;
}
