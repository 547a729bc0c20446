//! What a plan says before anything is done: the exact steps, how much, who has to agree, and what would be safer.

use rediscue::{
    chat::console::wire::{FromBot, ToBot},
    model::{Block, Level, Span, Tick},
};

use crate::world::{
    chat::{Answer, ChatBuilder, heard, text_of},
    redis::RedisServer,
    room::{POLICY, Room, house},
};

/// A house in which cy approves as well, so that critical changes can be made.
fn with_two_approvers() -> (RedisServer, ChatBuilder) {
    let (server, builder) = house("normal");
    let policy = POLICY.replace("MODE", "normal").replace("roles = [\"viewer\"]", "roles = [\"approver\"]");
    (server, builder.file("policy.toml", &policy))
}

fn fill(server: &RedisServer, prefix: &str, count: usize, px: Option<&str>) {
    for i in 0..count {
        let name = format!("{prefix}{i}");
        let mut words = vec!["SET", name.as_str(), "x"];
        words.extend(px.into_iter().flat_map(|px| ["PX", px]));
        let _: () = server.run(&words);
    }
}

fn undo_of(done: &Answer) -> String {
    let undo = done.card().actions.iter().find(|action| action.label == "Undo");
    undo.unwrap_or_else(|| panic!("it can be undone: {}", done.text())).command.clone()
}

fn has(text: &str, all: &[&str]) {
    for said in all {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
}

fn lacks(text: &str, none: &[&str]) {
    for said in none {
        assert!(!text.contains(said), "{said} is in {text}");
    }
}

#[tokio::test]
async fn an_undo_plan_shows_the_way_back_of_what_was_done_and_how_much_was_written_down() {
    let (server, builder) = house("normal");
    fill(&server, "s:", 8, Some("3600000"));
    let chat = builder.start().await;
    let mut room = Room::of(&chat);

    // Deadlines are given back; nothing is restored.
    let (_, done) = room.agreed("expire s:* 10m shop").await;
    let undo = undo_of(&done);
    let plan = room.types("ana", &format!("{undo} --dry-run")).await.text();
    has(&plan, &["PEXPIREAT it to the deadline it had", "at most 8 keys", "/redis expire sets such a deadline again"]);
    lacks(&plan, &["RESTORE", "estimated", "Stops at", "logins"]);
    room.agreed(&undo).await;
    let (_, done) = room.agreed("persist s:7 shop").await;
    has(&done.text(), &["1 key has no deadline any more"]);
    let undo = undo_of(&done);
    let plan = room.types("ana", &format!("{undo} --dry-run")).await.text();
    has(&plan, &["at most 1 key ", "/redis persist takes the deadlines away again"]);
    room.agreed(&undo).await;

    // Fewer are there when it is carried out: the number is that of what was kept.
    let plan = room.types("ana", "purge s:* --type string shop").await;
    let _: i64 = server.run(&["DEL", "s:0", "s:1", "s:2"]);
    let done = room.reacts("bo", "✅", &plan.id()).await;
    let undo = undo_of(&done);
    let plan = room.types("ana", &format!("{undo} --dry-run")).await.text();
    has(&plan, &["RESTORE each key", "at most 5 keys", "logins that work again", "by /redis purge"]);
    room.agreed(&undo).await;

    // What an import put there is removed.
    let (_, exported) = room.agreed("export s:* shop").await;
    let export = undo_of(&exported).replace("undo ", "");
    let _: i64 = server.run(&["DEL", "s:3", "s:4"]);
    let (_, done) = room.agreed(&format!("import {export} shop")).await;
    let plan = room.types("ana", &format!("{} --dry-run", undo_of(&done))).await.text();
    has(&plan, &["UNLINK it", "at most 2 keys", &format!("/redis import {export} puts the same there again")]);
    lacks(&plan, &["RESTORE each key", "logins"]);

    // Nobody logs in with a stream.
    let _: String = server.run(&["XADD", "events", "*", "f", "v"]);
    let (_, done) = room.agreed("delete events shop").await;
    let plan = room.types("ana", &format!("{} --dry-run", undo_of(&done))).await.text();
    has(&plan, &["at most 1 key "]);
    lacks(&plan, &["logins"]);
    chat.stop().await;
}

#[tokio::test]
async fn keys_that_keep_their_deadline_are_no_part_of_what_a_change_of_deadlines_reaches() {
    let (server, builder) = house("normal");
    fill(&server, "s:long", 6, Some("7200000"));
    fill(&server, "s:short", 4, Some("60000"));
    fill(&server, "s:never", 3, None);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);

    let plan = room.types("ana", "expire s:* 1h --only-extend --dry-run shop").await.text();
    has(&plan, &["How much: 4 keys", "4 of 13 keys", "9 keys that expire no sooner than that, or never"]);
    has(&plan, &["to expire in no less than 1h"]);
    let plan = room.types("ana", "persist s:* --dry-run shop").await.text();
    has(&plan, &["How much: 10 keys", "3 keys that have no deadline"]);
    let already = room.types("ana", "persist s:never* shop").await.text();
    has(&already, &["shop/main", "of 13 keys", "3 are keys matching s:never*", "all of them have no deadline"]);

    let plan = room.types("ana", "expire s:* 1h --only-shorten shop").await;
    has(
        &plan.text(),
        &["How much: 9 keys", "4 keys that expire no later than that", "Stops at: 19 keys: what is shown and 10 more"],
    );
    // Any number of others that it leaves alone is no other blast radius: the count right before it knows that too.
    fill(&server, "s:more", 40, Some("60000"));
    let done = room.reacts("bo", "✅", &plan.id()).await;
    has(&done.text(), &["9 keys have the new deadline", "44 keys were left as they are"]);
    chat.stop().await;
}

#[tokio::test]
async fn a_plan_that_no_longer_holds_is_made_anew_and_asks_again() {
    let (server, builder) = house("normal");
    fill(&server, "s:", 20, None);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "purge s:* --no-ttl shop").await;
    fill(&server, "s:new", 30, None);
    let void = room.reacts("bo", "✅", &plan.id()).await;
    let told: Vec<String> = void.messages.iter().map(|message| text_of(&message.card)).collect();
    let anew = void.messages.iter().find(|message| message.card.title.starts_with("plan ·"));
    let anew = anew.unwrap_or_else(|| panic!("a new plan is shown: {told:?}"));
    has(
        &text_of(&anew.card),
        &["was not carried out: it was about 20 keys and is now about 50", "How much: 50 keys", "Who may consent: Bo"],
    );
    has(&told.join("\n"), &["Nothing was changed", "so a new plan asks for it"]);
    assert_eq!(server.run::<i64>(&["DBSIZE"]), 50, "nobody has consented to that one");
    let id = anew.id.clone();
    assert!(room.reacts("ana", "✅", &id).await.text().contains("your own word"));
    let done = room.reacts("bo", "✅", &id).await;
    assert_eq!((done.level(), server.run::<i64>(&["DBSIZE"])), (Some(Level::Ok), 0), "{}", done.text());
    chat.stop().await;
}

#[tokio::test]
async fn also_what_nobody_has_to_consent_to_shows_its_plan_first_and_its_checklist_last() {
    let (server, builder) = house("normal");
    let _: String = server.run(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    let _: String = server.run(&["PING"]);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let typed = ToBot::Command { line: 900, speaker: Some("ana".to_owned()), text: "slowlog-reset shop".to_owned() };
    room.link.to_bot.send(typed).await.unwrap();
    let mut seen = Vec::new();
    loop {
        match heard(&mut room.link).await {
            FromBot::Say { card, id, .. } | FromBot::Edit { card, id } => seen.push((id, text_of(&card))),
            FromBot::Settled { line: 900 } => break,
            _ => {}
        }
    }
    let (id, plan) = seen.first().expect("something was said");
    has(
        plan,
        &["plan · slowlog-reset", "Nothing has been changed yet", "SLOWLOG RESET", "Undo: not possible: entries"],
    );
    has(plan, &["Nobody has to consent to it"]);
    let at = |words: &str| seen.iter().position(|(_, text)| text.contains(words));
    let (done, verify) = (at("Done: empty the slow log"), at("verify · shop"));
    assert!(done.is_some() && done < verify, "the end is said before the checklist: {seen:#?}");
    let (same, end) = &seen[done.unwrap()];
    assert_eq!(same, id, "the plan's message becomes the run's");
    has(end, &["Undo: not possible"]);
    chat.stop().await;
}

#[tokio::test]
async fn a_dry_run_calls_nobody_and_waits_for_nothing() {
    let (_server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "set-config maxmemory-policy allkeys-lru shop --dry-run").await;
    let text = plan.text();
    has(&text, &["Risk: high", "Who may consent: Bo", "Undo: /redis undo and the run's id"]);
    lacks(&text, &["Waits until", "Consent is asked of"]);
    let calls = |block: &Block| match block {
        Block::Text(text) => text.0.iter().any(|span| matches!(span, Span::Mention(_))),
        _ => false,
    };
    assert!(!plan.card().blocks.iter().any(calls), "{text}");
    chat.stop().await;
}

#[tokio::test]
async fn a_critical_plan_says_at_once_that_too_few_may_agree_and_offers_no_tap_that_would_be_refused() {
    let (server, builder) = house("normal");
    fill(&server, "s:", 3, None);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let typed = ToBot::Command { line: 900, speaker: Some("ana".to_owned()), text: "flushdb shop".to_owned() };
    room.link.to_bot.send(typed).await.unwrap();
    let (mut text, mut signs) = (String::new(), Vec::new());
    loop {
        match heard(&mut room.link).await {
            FromBot::Say { card, .. } | FromBot::Edit { card, .. } => text = text_of(&card),
            FromBot::React { emoji, added: true, .. } => signs.push(emoji),
            FromBot::Settled { line: 900 } => break,
            _ => {}
        }
    }
    has(
        &text,
        &["it takes the word of 2 others, and there is only Bo", "policy.toml", "[Backup first] backup shop/main"],
    );
    has(&text, &["[Export first]"]);
    assert_eq!(signs, ["❌"], "a ✅ would be refused");
    chat.stop().await;

    let (server, builder) = with_two_approvers();
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let _: () = server.run(&["SET", "k", "v"]);
    lacks(&room.types("ana", "flushdb shop").await.text(), &["can never be carried out"]);
    chat.stop().await;
}

#[tokio::test]
async fn a_limit_beyond_what_the_machine_has_is_warned_of_and_riskier() {
    let (server, builder) = house("normal");
    let _: String = server.run(&["CONFIG", "SET", "maxmemory", "100mb"]);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let machine: u64 = server.info("total_system_memory").parse().unwrap();
    let plan = async |room: &mut Room, limit: u64| {
        room.types("ana", &format!("set-config maxmemory {limit} shop --dry-run")).await.text()
    };
    let well = plan(&mut room, 200 << 20).await;
    has(&well, &["The machine:"]);
    lacks(&well, &["75 %"]);
    let risk = |text: &str| text.lines().find(|line| line.starts_with("Risk:")).map(str::to_owned);
    for beyond in [machine * 9 / 10, machine * 4, 0] {
        let warned = plan(&mut room, beyond).await;
        has(&warned, &["more than 75 % of the machine's"]);
        assert_ne!(risk(&warned), risk(&well), "{warned}");
    }
    chat.stop().await;
}

#[tokio::test]
async fn a_server_that_never_saved_is_not_said_to_have_a_last_save() {
    let (_server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    has(&room.types("ana", "bgsave shop --dry-run").await.text(), &["The last one: none since the server started"]);
    let checks = room.types("ana", "verify shop").await;
    let last = checks.card().blocks.iter().find_map(|block| match block {
        Block::Checklist(items) => items.iter().find(|(_, text)| text.to_plain().contains("The last save is good")),
        _ => None,
    });
    let (tick, text) = last.expect("it is on the checklist");
    assert_eq!(*tick, Tick::Skipped, "{}", text.to_plain());
    has(&text.to_plain(), &["none was made since the server started"]);
    lacks(&checks.text(), &["Last save:", "×"]);
    has(&room.types("ana", "persistence shop").await.text(), &["none since the server started"]);

    room.agreed("bgsave shop").await;
    has(&room.types("ana", "bgsave shop --dry-run").await.text(), &["The last one: status ok, "]);
    has(&room.types("ana", "verify shop").await.text(), &["Last save:"]);
    chat.stop().await;
}

#[tokio::test]
async fn keys_that_lack_the_ttl_of_the_profile_are_offered_it_rather_than_their_removal() {
    let (server, builder) = house("normal");
    fill(&server, "sse:state:", 7, None);
    let profile = builder.written("services/shop.toml");
    let profile = std::fs::read_to_string(profile).unwrap();
    let pattern = "\n[patterns.state]\nglob = \"sse:state:*\"\nttl = \"15m\"\n\n[patterns.other]\nglob = \"other:*\"\n";
    let chat = builder.file("services/shop.toml", &format!("{profile}{pattern}")).start().await;
    let mut room = Room::of(&chat);
    let plan = room.types("ana", "purge sse:state:* --no-ttl shop").await;
    has(
        &plan.text(),
        &["Safer: the profile gives its state a TTL of 15m", "/redis expire sse:state:* --no-ttl shop/main"],
    );
    let instead = plan.card().actions.iter().find(|action| action.label == "Set the TTL instead").unwrap();
    let line = instead.command.clone();
    lacks(&room.types("ana", "purge sse:state:* --type string shop").await.text(), &["Safer:"]);

    let (shown, done) = room.agreed(&line).await;
    has(&shown, &["to expire in 15m", "How much: 7 keys"]);
    assert_eq!(done.level(), Some(Level::Ok), "{}", done.text());
    assert!((890_000..=900_000).contains(&server.run::<i64>(&["PTTL", "sse:state:3"])));
    let undeclared = room.types("ana", "expire other:* shop").await.text();
    has(&undeclared, &["declares no TTL for keys matching other:*", "say how long"]);
    chat.stop().await;
}

#[tokio::test]
async fn what_comes_to_nothing_names_what_was_looked_at_and_what_was_meant_perhaps() {
    let (server, builder) = house("normal");
    fill(&server, "session:", 4, None);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    for (line, said) in [
        ("purge nobody:* --no-ttl shop", &["shop/main", "of 4 keys, none is meant by keys matching nobody:*"][..]),
        ("delete session:* shop", &["delete takes a key's exact name; /redis purge takes a pattern"]),
        ("purge * --idle 1s shop", &["name a narrower pattern than *"]),
        ("set-config requirepass hunter2 shop", &["a secret no more", "rotate-password"]),
    ] {
        has(&room.types("ana", line).await.text(), said);
    }
    lacks(&room.types("ana", "purge * --idle 1s shop").await.text(), &["--idle, "]);
    let one = room.types("ana", "delete session:1 shop --dry-run").await.text();
    has(&one, &["How much: 1 key,"]);
    lacks(&one, &["Stops at", "1 keys"]);
    let plan = room.types("ana", "delete session:2 shop").await;
    let run = plan.card().actions[0].command.replace("approve ", "");
    has(&room.types("ana", &format!("undo {run}")).await.text(), &[&format!("/redis decline {run}")]);
    let backup = room.types("ana", "backup shop --dry-run").await.text();
    has(&backup, &["Keys now: 4"]);
    lacks(&backup, &["For example"]);
    chat.stop().await;
}

#[tokio::test]
async fn a_runbooks_dry_run_shows_its_lines_what_is_left_out_and_what_its_changes_would_come_to() {
    let (server, builder) = house("normal");
    let _: String = server.run(&["CONFIG", "SET", "maxmemory", "100mb"]);
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let dry = room.types("ana", "memory-emergency --limit 200mb --for 1h shop --dry-run").await;
    has(
        &dry.text(),
        &[
            "None was taken",
            "maxmemory \"209715200\" --for 1h",
            "remove what can be spared · left out: it is taken only if has(args.purge)",
            "every key of the database, with two approvers · left out: it is taken only if args.flush",
            "as it would be planned now",
            "CONFIG SET maxmemory 209715200",
            "kill-clients --output 33554432 · only if ",
            "goes on only if memory.figures.memory_percent >= args.below",
            "each server gets the value it had",
        ],
    );
    lacks(&dry.text(), &["flushdb", "purge "]);
    assert_eq!(crate::world::room::setting(&server, "maxmemory"), (100 << 20).to_string());
    chat.stop().await;
}
