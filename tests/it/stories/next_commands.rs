//! What a card offers next: about the same instance, the same keys, and never what somebody mistyped.

use std::collections::BTreeMap;

use rediscue::model::{Block, Card, Span, Text};

use crate::world::{
    book::Stage,
    chat::{Answer, Chat, ChatBuilder, press},
    redis::RedisServer,
    room::TOUCHER,
    slack::By,
    slack_bot::SlackBotBuilder,
    team::team,
};

/// A service of two instances.
fn two(main: &RedisServer, other: &RedisServer) -> String {
    format!(
        "title = \"big\"\nenvironment = \"staging\"\nowner = \"the tests\"\n\n[[instances]]\nname = \"main\"\naddress = \"{}\"\n\n\
         [[instances]]\nname = \"other\"\naddress = \"{}\"\n",
        main.address(),
        other.address()
    )
}

fn two_servers() -> (RedisServer, RedisServer) {
    let (main, other) = (RedisServer::start(), RedisServer::start());
    main.fill("session", 300, 20);
    other.fill("session", 200, 20);
    (main, other)
}

/// Every line a card offers, to press or to type.
fn offered(card: &Card) -> Vec<String> {
    let mut texts: Vec<&Text> = card.verdict.iter().collect();
    for block in &card.blocks {
        match block {
            Block::Text(text) => texts.push(text),
            Block::Findings(found) => {
                texts.extend(found.iter().flat_map(|found| std::iter::once(&found.what).chain(&found.next)));
            }
            Block::Checklist(lines) => texts.extend(lines.iter().map(|(_, text)| text)),
            _ => {}
        }
    }
    let typed = texts.into_iter().flat_map(|text| &text.0).filter_map(|span| match span {
        Span::Code(code) => code.strip_prefix("/redis ").map(str::to_owned),
        _ => None,
    });
    card.actions.iter().map(|action| action.command.clone()).chain(typed).collect()
}

fn action<'a>(answer: &'a Answer, label: &str) -> &'a str {
    let actions = &answer.card().actions;
    let action = actions.iter().find(|action| action.label == label);
    &action.unwrap_or_else(|| panic!("no `{label}` in {}", answer.text())).command
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_a_card_offers_is_about_the_instance_the_card_is_about() {
    let (main, mut other) = two_servers();
    let mut chat = ChatBuilder::new().file("services/big.toml", &two(&main, &other)).start().await;
    let lines = [
        "acl-log",
        "big-clients",
        "bigkeys",
        "bigkeys session:*",
        "capacity",
        "clients",
        "commandstats",
        "config",
        "drift",
        "inspect session:1",
        "keys session:*",
        "keyspace",
        "latency",
        "memkeys",
        "memory",
        "persistence",
        "ping",
        "profile",
        "replication",
        "slowlog",
        "stats",
        "status",
        "ttl-audit",
        "verify",
        "backups",
        "connectivity",
        "doctor",
    ];
    let mut seen = 0;
    for line in lines {
        let answer = chat.ask("ana", &format!("{line} big/other")).await;
        assert!(answer.card().title.contains("big/other"), "{line}: {}", answer.text());
        for offer in offered(answer.card()) {
            assert!(
                offer.split(' ').all(|word| word != "big" && word != "big/main"),
                "`{offer}` after `{line} big/other`"
            );
            seen += usize::from(offer.ends_with("big/other") || offer.contains("big/other "));
        }
    }
    assert!(seen > 30, "{seen} lines name the place");
    // What a server that is down is answered with is worked out elsewhere, and holds lines too.
    other.kill();
    for line in ["status", "memory", "doctor"] {
        let answer = chat.ask("ana", &format!("{line} big --instance other")).await;
        let lines = offered(answer.card());
        assert!(lines.iter().any(|line| line.contains(" big/other")), "{}", answer.text());
        assert!(lines.iter().all(|line| line.split(' ').all(|word| word != "big")), "{}", answer.text());
    }
    // The first instance is named as well: whoever copies a line need not know that it is the first.
    let first = chat.ask("ana", "memory big").await;
    assert_eq!(action(&first, "Clients"), "clients big/main");
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_page_pressed_in_the_console_is_of_the_same_instance() {
    let (main, other) = two_servers();
    let chat = ChatBuilder::new().file("services/big.toml", &two(&main, &other)).start().await;
    let mut link = chat.seat("ana");
    let page = crate::world::chat::ask(&mut link, 1, "keys session:* big --instance other").await;
    assert!(page.text().contains("200 keys match session:*"), "{}", page.text());
    let next = press(&mut link, 2, "ana", &page.id(), action(&page, "Next page")).await;
    assert_eq!(next.card().title, "keys · big/other", "{}", next.text());
    assert!(next.text().contains("200 keys match session:*") && next.text().contains("page 2 of"), "{}", next.text());
    drop(link);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_page_pressed_in_slack_is_of_the_same_instance() {
    let (main, other) = two_servers();
    let bot = SlackBotBuilder::new().file("services/big.toml", &two(&main, &other)).start(By::Socket).await;
    bot.fake.slash("U1", "C1", "keys session:* big/other");
    let counted = |text: &str| text.contains("every key counted");
    bot.fake.wait("the keys are counted", |state| state.by_bot("C1").iter().any(|said| counted(&said.words()))).await;
    let first = bot.fake.answers("C1", 1).await.remove(0);
    bot.fake.press("U1", "C1", &first.ts, "Next page");
    bot.fake
        .wait("the next page is there", |state| {
            state.by_bot("C1").iter().any(|said| said.words().contains("page 2 of") && counted(&said.words()))
        })
        .await;
    let said = bot.fake.answers("C1", 2).await;
    let second = said.iter().find(|said| said.words().contains("page 2 of")).unwrap().words();
    assert!(second.contains("keys · big/other") && second.contains("200 keys match"), "{second}");
    bot.finish().await;
}

#[tokio::test]
async fn a_change_and_a_runbook_offer_lines_about_their_own_instance() {
    let other = RedisServer::builder().user(TOUCHER).start();
    let (_server, builder) = team();
    let profile = std::fs::read_to_string(builder.written("services/shop.toml")).unwrap();
    let touch = profile.lines().find(|line| line.starts_with("touch = ")).unwrap();
    let profile = format!("{profile}\n[[instances]]\nname = \"other\"\naddress = \"{}\"\n{touch}\n", other.address());
    let book = "name = \"mend\"\nsummary = \"mends the shop\"\n\n[[steps]]\nid = \"turn\"\nsay = \"Passwords\"\n\
                manual = \"Type `/redis rotate-password USER {{ service.name }}`, then `systemctl restart shop`.\"\n";
    let builder = builder.file("services/shop.toml", &profile).file("commands/runbooks/mend.toml", book);
    let mut stage = Stage::begin(builder, "mend shop/other").await;
    stage.waits("turn").await;
    let run = stage.now().await;
    let said = run.progress[0].said.clone().unwrap();
    assert_eq!(said, "Type `/redis rotate-password USER shop/other`, then `systemctl restart shop`.");
    let plan = stage.says("ana", "set-config timeout 300 shop/other").await;
    assert!(plan.text().contains(&other.address().to_string()), "{}", plan.text());
    for offer in offered(plan.card()) {
        assert!(offer.split(' ').all(|word| word != "shop"), "{offer}");
    }
    stage.chat.stop().await;
}

/// What somebody asks of `shop`, with a card that is complete.
async fn shop(server: &RedisServer, profile: &str) -> Chat {
    ChatBuilder::new().service("shop", &server.address().to_string(), profile).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn buttons_carry_on_what_the_card_was_asked_with() {
    let server = RedisServer::start();
    server.fill("tenant:acme:wm", 200, 20);
    server.fill("session", 50, 20);
    let mut chat = shop(&server, "").await;
    let node = server.address().to_string();
    let wanted = BTreeMap::from([
        (
            format!("keys tenant:* shop --separators : --node {node}"),
            vec![
                ("Next page", format!("keys tenant:* shop --page 2 --separators : --node {node}")),
                ("Their memory", format!("memkeys tenant:* shop --separators : --node {node}")),
            ],
        ),
        ("keys shop --sample".to_owned(), vec![("Their memory", "memkeys shop --sample".to_owned())]),
        (
            format!("memkeys shop tenant:* --sample --node {node}"),
            vec![("Largest keys", format!("bigkeys tenant:* shop --sample --node {node}"))],
        ),
        (
            "bigkeys tenant:* shop".to_owned(),
            vec![
                ("Memory by prefix", "memkeys tenant:* shop".to_owned()),
                ("Keys without TTL", "ttl-audit tenant:* shop".to_owned()),
            ],
        ),
        (
            "ttl-audit \"tenant:* x\" shop --separators :/".to_owned(),
            vec![("Memory by prefix", "memkeys \"tenant:* x\" shop --separators :/".to_owned())],
        ),
    ]);
    for (line, buttons) in wanted {
        let answer = chat.ask("ana", &line).await;
        for (label, command) in buttons {
            assert_eq!(action(&answer, label), command, "after `{line}`");
            let pressed = chat.ask("ana", &command).await;
            let card = pressed.card();
            assert!(card.title.ends_with(" · shop"), "`{command}`: {}", pressed.text());
        }
    }
    let page = chat.ask("ana", "keys tenant:* shop").await;
    let next = chat.ask("ana", action(&page, "Next page")).await;
    assert!(next.text().contains("200 keys match tenant:*") && next.text().contains("page 2 of"), "{}", next.text());
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_that_matches_nothing_is_said_with_its_globs_whole() {
    let server = RedisServer::start();
    server.fill("session", 50, 20);
    let mut chat = shop(&server, "").await;
    for command in ["keys", "memkeys", "bigkeys", "ttl-audit"] {
        let answer = chat.ask("ana", &format!("{command} nosuch* shop")).await;
        let found = answer.card().blocks.iter().find_map(|block| match block {
            Block::Findings(found) => found.iter().find(|found| found.what.to_plain() == "No key matches"),
            _ => None,
        });
        let found = found.unwrap_or_else(|| panic!("{command}: {}", answer.text()));
        let next = found.next.as_ref().unwrap();
        let code: Vec<&str> = next
            .0
            .iter()
            .filter_map(|span| match span {
                Span::Code(code) => Some(code.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(code, ["*", "?", "[ ]", "session*", "session"], "{next:?}");
        assert!(next.0.iter().all(|span| !matches!(span, Span::Strong(_))), "{next:?}");
        let whole = chat.ask("ana", &format!("{command} shop")).await;
        assert!(!whole.text().contains("No key matches"), "{}", whole.text());
    }
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_service_is_no_pattern() {
    let server = RedisServer::start();
    server.fill("session", 50, 20);
    // With one service, and in a channel with a default, the line would count the keys called `shopp`.
    let mut chat = shop(&server, "").await;
    for (command, flag) in [
        ("keys", "--sample"),
        ("memkeys", "--sample"),
        ("bigkeys", "--sample"),
        ("ttl-audit", "--sample"),
        ("hotkeys", "--top 3"),
    ] {
        let answer = chat.ask("ana", &format!("{command} shopp {flag}")).await;
        let text = answer.text();
        assert!(text.contains("there is no service `shopp`; did you mean `shop`?"), "{text}");
        assert!(text.contains(&format!("in quotes: `{command} \"shopp\" {flag}`")), "{text}");
        assert_eq!(action(&answer, &format!("{command} shop {flag}")), format!("{command} shop {flag}"));
    }
    for pattern in ["session", "shopp*", "\"shopp\"", "shopp shop"] {
        let answer = chat.ask("ana", &format!("keys {pattern}")).await;
        assert!(answer.text().contains(" keys match "), "{pattern}: {}", answer.text());
    }
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_name_is_hidden_in_a_prefix_as_it_is_in_the_keys_row() {
    let server = RedisServer::start();
    for i in 0..20 {
        server.run::<()>(&["SET", &format!("maria.gonzalez:cart:{i}"), "x"]);
        server.run::<()>(&["SET", &format!("session.{i}"), "x"]);
    }
    let mut chat = shop(&server, "").await;
    for line in
        ["keys *:cart:* shop", "keys *:cart:* shop --separators :.", "memkeys shop", "ttl-audit shop", "bigkeys shop"]
    {
        let text = chat.ask("ana", line).await.text().replace("*:cart:*", "");
        assert!(!text.contains("maria") && !text.contains("gonzalez"), "{line}: {text}");
    }
    let text = chat.ask("ana", "memkeys shop").await.text();
    assert!(text.contains("*:cart:*"), "{text}");
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_are_one_star_for_privacy_are_said_to_be_and_a_declared_pattern_parts_them() {
    let server = RedisServer::start();
    for tenant in 0..60 {
        for what in ["tags", "rank", "wm"] {
            server.run::<()>(&["SET", &format!("tenant:t{tenant}:{what}:1"), "x"]);
        }
    }
    let note = "2 words below tenant:*: are one *, for they may be somebody's names";
    let mut chat = shop(&server, "").await;
    for command in ["memkeys", "keys", "ttl-audit"] {
        let text = chat.ask("ana", &format!("{command} shop")).await.text();
        assert!(text.contains(note) && text.contains("tenant:*:*:*"), "{text}");
    }
    chat.stop().await;
    let declared = "[patterns.tags]\nglob = \"tenant:*:tags:*\"\nabout = \"tags\"\n";
    let mut chat = shop(&server, declared).await;
    let text = chat.ask("ana", "memkeys shop").await.text();
    assert!(text.contains("tenant:*:tags:*") && !text.contains("are one *"), "{text}");
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_seen_is_named_by_what_it_looks_at() {
    let mut server = RedisServer::start();
    let mut chat = shop(&server, "").await;
    server.kill();
    // One look alone is the card's own trouble; of several, each is named.
    let text = chat.ask("ana", "hotkeys shop --monitor 1s").await.text();
    assert!(text.contains("not seen: a survey of the keyspace (hotkeys)"), "{text}");
    let text = chat.ask("ana", "commandstats shop").await.text();
    assert!(text.contains("not seen: INFO everything"), "{text}");
    chat.stop().await;
}
