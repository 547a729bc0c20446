//! Going on alone in a SEV1 that somebody else declared, when no approver answers; and every gate before it.

use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use rediscue::store::Call;

use crate::world::{
    chat::Chat,
    eventually_async,
    room::{Room, setting},
    team::{run_of, seats, team},
};

const TIMES: &str =
    "[consent]\nwithin = \"10m\"\nremind_before = \"1s\"\npage_after = \"1s\"\nbreak_glass_after = \"2s\"\n";

/// Until the approvers were called twice and have had their time.
async fn until_open(chat: &Chat, run: &rediscue::model::RunId) {
    eventually_async("the approvers have had their time", Duration::from_secs(60), async || {
        let paged = chat.store.call(run, Call::Paged).await.unwrap();
        paged.is_some_and(|at| jiff::Timestamp::now() > at + Duration::from_secs(2))
    })
    .await;
}

async fn says(room: &mut Room, who: &str, line: &str, words: &str) {
    let said = room.types(who, line).await.text();
    assert!(said.contains(words), "{who} {line}: {words} is missing in {said}");
}

#[tokio::test]
async fn a_lone_responder_goes_on_only_when_every_gate_is_open_and_the_owners_are_told() {
    let (server, builder) = team();
    let chat = builder.file("bot.toml", TIMES).start().await;
    let mut room = seats(&chat);
    let plan = room.types("eli", "set-config maxmemory-policy allkeys-lru shop").await;
    let run = run_of(&plan);
    let line = format!("break-glass {run} shop nobody answers and logins fail");
    says(&mut room, "cy", "severity SEV1 shop nobody can log in", "Cy declares a SEV1 of shop").await;
    says(&mut room, "eli", &line, "have not had their time to answer").await;
    let paged = room.hears("Nobody has answered yet").await;
    assert!(paged.contains(&format!("/redis break-glass {run} shop REASON")), "{paged}");
    until_open(&chat, &run).await;

    says(&mut room, "mallory", &line, "belongs to nobody").await;
    says(&mut room, "cy", &line, "No rule lets you run").await;
    says(&mut room, "bo", &line, "No rule lets you run").await;
    says(&mut room, "eli", &format!("break-glass {run} godel logins fail for all"), "not the service of that plan")
        .await;
    says(&mut room, "eli", &format!("break-glass {run} shop now"), "a reason that others can understand").await;
    says(&mut room, "eli", &format!("break-glass {run}"), "not the service of that plan").await;
    says(&mut room, "cy", "severity SEV2 shop it is bad", "SEV2").await;
    says(&mut room, "eli", "severity SEV1 shop it is bad", "Eli declares a SEV1").await;
    says(&mut room, "eli", &line, "said by an alert or by another person").await;
    says(&mut room, "ana", &line, "said by an alert or by another person").await;
    says(&mut room, "cy", "severity SEV2 shop it is bad", "SEV2").await;
    says(&mut room, "eli", &line, "Nobody has declared a SEV1 of shop").await;
    says(&mut room, "cy", "severity over shop it was me", "it is over").await;
    says(&mut room, "eli", &line, "Nobody has declared a SEV1 of shop").await;
    says(&mut room, "dora", "severity SEV1 shop it is bad", "not yours to declare").await;
    says(&mut room, "cy", "severity SEV1 nowhere it is bad", "The second word is a service's name").await;
    says(&mut room, "cy", "severity SEV1 shop nobody can log in", "Cy declares a SEV1").await;
    // Whoever agrees hides nobody's word.
    says(&mut room, "eli", "severity SEV1 shop nobody can log in", "Eli declares a SEV1").await;
    says(&mut room, "ana", "freeze shop wait for the provider", "All changes of shop").await;
    says(&mut room, "eli", &line, "Not even glass is broken through a stop").await;
    says(&mut room, "bo", "unfreeze shop", "go on").await;
    assert_eq!(setting(&server, "maxmemory-policy"), "noeviction");

    let done = room.types("eli", &line).await;
    assert_eq!(setting(&server, "maxmemory-policy"), "allkeys-lru");
    let told: Vec<String> = done.messages.iter().map(|message| crate::world::chat::text_of(&message.card)).collect();
    assert!(told.iter().any(|told| told.contains("glass is broken · shop") && told.contains("@dora")), "{told:?}");
    let card = done.text();
    assert!(card.contains("Glass was broken by Eli alone (SEV1 by cy): nobody answers and logins fail"), "{card}");
    says(&mut room, "eli", &line, "it is done").await;
    let rows = chat.store.journal(100).await.unwrap();
    let of = |command: &str| {
        let done = |row: &&rediscue::store::JournalRow| row.command == command && row.outcome == "answered";
        rows.iter().filter(done).find(|row| row.run == run.to_string()).unwrap()
    };
    assert_eq!(of("break-glass").why.as_deref(), Some("SEV1 by cy: nobody answers and logins fail"));
    assert_eq!(of("run").why.as_deref(), Some("done; glass broken by eli (SEV1 by cy)"));
    assert!(rows.iter().any(|row| row.command == "break-glass" && row.outcome == "denied"), "{rows:?}");
    chat.stop().await;
}

#[tokio::test]
async fn glass_is_never_broken_for_a_critical_change_nor_once_an_approver_has_said_no() {
    let (server, builder) = team();
    let chat = builder.file("bot.toml", TIMES).start().await;
    let mut room = seats(&chat);
    let hard = run_of(&room.types("eli", "set-hard timeout 300 shop").await);
    let declined = run_of(&room.types("eli", "set-config maxmemory-policy allkeys-lru shop").await);
    room.types("cy", "severity SEV1 shop nobody can log in").await;
    until_open(&chat, &hard).await;
    let line = |run: &rediscue::model::RunId| format!("break-glass {run} shop nobody answers and logins fail");
    says(&mut room, "eli", &line(&hard), "never carried out on one person's word").await;
    says(&mut room, "bo", &format!("decline {declined}"), "Bo declined the plan").await;
    says(&mut room, "eli", &line(&declined), "it is declined").await;
    assert_eq!((setting(&server, "timeout"), setting(&server, "maxmemory-policy")), ("0".into(), "noeviction".into()));
    chat.stop().await;
}

fn alert(path: &Path, status: &str, service: &str, severity: &str) {
    let alert = format!(
        r#"{{"receiver":"bot","status":"{status}","alerts":[{{"status":"{status}","labels":{{"alertname":"RedisDown","service":"{service}","severity":"{severity}"}},"annotations":{{}},"startsAt":"2026-11-20T16:00:36.085Z","endsAt":"0001-01-01T00:00:00Z","fingerprint":"f351dc5ed65110fb"}}],"version":"4"}}"#
    );
    std::fs::write(path, alert).unwrap();
}

#[tokio::test]
async fn an_alert_declares_a_sev1_by_a_file_that_nobody_but_its_owner_can_write() {
    let (server, builder) = team();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alerts.json");
    let config = format!("{TIMES}alerts = \"{}\"\n", path.display());
    let chat = builder.file("bot.toml", &config).start().await;
    let mut room = seats(&chat);
    let run = run_of(&room.types("eli", "set-config maxmemory-policy allkeys-lru shop").await);
    let line = format!("break-glass {run} shop nobody answers and logins fail");
    until_open(&chat, &run).await;
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    says(&mut room, "eli", &line, "Nobody has declared").await;
    for (status, service, severity) in
        [("resolved", "shop", "SEV1"), ("firing", "godel", "SEV1"), ("firing", "shop", "warning")]
    {
        alert(&path, status, service, severity);
        mode(&path, 0o600);
        says(&mut room, "eli", &line, "Nobody has declared").await;
    }
    alert(&path, "firing", "shop", "critical");
    mode(&path, 0o666);
    says(&mut room, "eli", &line, "the file of alerts is not believed: others than root").await;
    mode(&path, 0o600);
    mode(dir.path(), 0o777);
    says(&mut room, "eli", &line, "can write its directory").await;
    mode(dir.path(), 0o700);
    std::fs::write(&path, "{").unwrap();
    says(&mut room, "eli", &line, "it is not JSON").await;
    alert(&path, "firing", "shop", "critical");
    assert_eq!(setting(&server, "maxmemory-policy"), "noeviction");
    says(&mut room, "eli", &line, "Glass was broken by Eli alone (SEV1 by an alert)").await;
    assert_eq!(setting(&server, "maxmemory-policy"), "allkeys-lru");
    chat.stop().await;
}
