//! A purge by organisation among many sessions, from the plan to the last key that came back, in the
//! console and in Slack.
//!
//! `REDISCUE_TEST_SESSIONS` says among how many; 20,000 without it. Among a million, at the pace of a release:
//! `REDISCUE_TEST_SESSIONS=1000000 cargo test --release --test it purge_large -- --test-threads=1`.

use std::time::{Duration, Instant};

use rediscue::model::Level;

use crate::world::{
    chat::text_of,
    keys::{Seen, assert_same, furnish, key, seen},
    room::{Room, house},
    slack::By,
    slack_bot::SlackBotBuilder,
    team::TEAM,
};

/// Progress is shown soon, so that there is some to see.
const SOON: &str = "[deadlines]\nprogress = \"100ms\"\n";
const LINE: &str = "purge session:* --where organisationId=org-1 shop";

fn sessions() -> usize {
    std::env::var("REDISCUE_TEST_SESSIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000)
}

/// A count as cards show it: `5,000`.
fn shown(count: usize) -> String {
    let digits = count.to_string();
    let group = |(at, digit): (usize, char)| {
        let comma = at > 0 && (digits.len() - at).is_multiple_of(3);
        if comma { format!(",{digit}") } else { digit.to_string() }
    };
    digits.chars().enumerate().map(group).collect()
}

/// What is left when the sessions of `org-1` have gone.
fn without_them(before: &Seen, sessions: usize) -> Seen {
    let mut left = before.clone();
    for i in (0..sessions).filter(|i| i % 4 == 1) {
        left.remove(key(i).as_bytes());
    }
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn among_many_sessions_those_of_one_organisation_are_purged_and_come_back_in_the_console() {
    let sessions = sessions();
    let (server, builder) = house("normal");
    furnish(&server, sessions);
    let before = seen(&server);
    let chat = builder.file("bot.toml", SOON).start().await;
    let mut room = Room::of(&chat);
    let many = shown(sessions / 4);
    let plan = room.types("ana", LINE).await;
    let text = plan.text();
    for said in [format!("{many} keys"), "exact".into(), "Risk: high".into(), "Undo: /redis undo".into()] {
        assert!(text.contains(&said), "{said} is missing in {text}");
    }
    for (who, why) in [("ana", "your own word"), ("cy", "does not count"), ("mallory", "belongs to nobody")] {
        let refused = room.reacts(who, "✅", &plan.id()).await.text();
        assert!(refused.contains(why), "{who}: {refused}");
    }
    let begun = Instant::now();
    let done = room.reacts("bo", "✅", &plan.id()).await;
    println!("{many} keys removed in {:?}", begun.elapsed());
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    assert!(done.text().contains(&format!("{many} keys removed")), "{}", done.text());
    let on_the_way = |(_, card): &(String, rediscue::model::Card)| {
        card.title.starts_with("running ·") && text_of(card).contains("[Stop] cancel")
    };
    assert!(done.edited.iter().any(on_the_way), "progress was shown, with a way to stop it");
    let checked = done.messages.iter().any(|message| message.card.title.starts_with("verify"));
    assert!(checked, "a checklist follows: {:?}", done.messages.iter().map(|m| &m.card.title).collect::<Vec<_>>());
    assert_same(&without_them(&before, sessions), &seen(&server));

    let undo = done.card().actions.iter().find(|action| action.label == "Undo").expect("it can be undone");
    let begun = Instant::now();
    let (_, back) = room.agreed(&undo.command).await;
    println!("brought back in {:?}", begun.elapsed());
    assert!(back.text().contains(&format!("{many} keys are as they were")), "{}", back.text());
    // Each value by the server's own digest, each deadline within a second.
    assert_same(&before, &seen(&server));
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn among_many_sessions_those_of_one_organisation_are_purged_and_come_back_in_slack() {
    let sessions = sessions();
    let (server, builder) = house("normal");
    let profile = std::fs::read_to_string(builder.written("services/shop.toml")).unwrap();
    furnish(&server, sessions);
    let before = seen(&server);
    let bot = SlackBotBuilder::new()
        .file("policy.toml", TEAM)
        .file("bot.toml", SOON)
        .file("services/shop.toml", &profile)
        .start(By::Socket)
        .await;
    let many = shown(sessions / 4);
    let react = |user: &str, ts: &str| bot.fake.react(user, "C1", ts, "white_check_mark", true);
    let wait = async |words: &str| {
        let begun = Instant::now();
        loop {
            let found = {
                let state = bot.fake.state();
                state.by_bot("C1").into_iter().rfind(|said| said.words().contains(words)).cloned()
            };
            if let Some(found) = found {
                return found;
            }
            assert!(begun.elapsed() < Duration::from_secs(600), "`{words}` was never said");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    bot.fake.slash("U1", "C1", LINE);
    let plan = wait("plan · purge").await;
    assert!(plan.words().contains(&format!("{many} keys")), "{}", plan.words());
    for (user, why) in [("U1", "your own word does not count"), ("U3", "Your word does not count")] {
        react(user, &plan.ts);
        wait(why).await;
    }
    react("U2", &plan.ts);
    let done = wait(&format!("{many} keys removed")).await;
    assert!(done.ts == plan.ts || done.words().contains("with the consent of Bo"), "{}", done.words());
    let was = bot.fake.state().message("C1", &plan.ts).unwrap().before.clone();
    assert!(was.iter().any(|text| text.contains("running")), "progress was shown: {was:?}");
    wait("verify").await;
    assert_same(&without_them(&before, sessions), &seen(&server));

    let run = plan
        .words()
        .lines()
        .rfind(|line| line.starts_with("run "))
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .to_owned();
    bot.fake.slash("U1", "C1", &format!("undo {run}"));
    let plan = wait("plan · undo").await;
    react("U2", &plan.ts);
    wait(&format!("{many} keys are as they were")).await;
    assert_same(&before, &seen(&server));
    bot.finish().await;
}
