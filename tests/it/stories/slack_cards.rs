//! Every diagnostic's card is one that Slack takes.

use rediscue::runbook::{self, Kind};
use serde_json::Value;

use crate::world::{redis::RedisServer, slack::By, slack_bot::SlackBotBuilder};

#[tokio::test(flavor = "multi_thread")]
async fn every_diagnostic_is_answered_with_a_card_that_slack_takes() {
    let server = RedisServer::builder().option("maxmemory", "100mb").start();
    for prefix in ["session:", "<!channel>:", "*bold*:", "`code`:"] {
        server.fill(prefix, 300, 50);
    }
    for at in 0..300 {
        server.run::<i64>(&["RPUSH", "queue:jobs", &"x".repeat(at)]);
    }
    server.run::<String>(&["XADD", "stream:events", "*", "a", "1"]);
    let bot = SlackBotBuilder::new().service("godel", &server.address().to_string()).start(By::Socket).await;
    let commands: Vec<String> = runbook::built_in()
        .into_iter()
        .filter(|command| matches!(command.kind, Kind::Diagnostic(_)))
        .map(|command| command.name)
        .collect();
    assert!(commands.len() > 25, "{commands:?}");
    let mut still = Vec::new();
    for (at, name) in commands.iter().enumerate() {
        let channel = format!("C{}", 200 + at);
        bot.fake.state().channel(&channel, &["U1", "UBOT"]);
        let rest = match name.as_str() {
            "inspect" => " session:1",
            "stream" => " stream:events",
            "monitor" => " 1s",
            _ => "",
        };
        bot.fake.slash("U1", &channel, &format!("{name} godel{rest}"));
        bot.fake.answers(&channel, 1).await;
        let state = bot.fake.state();
        assert!(state.refusals.is_empty(), "{name}: {:?}", state.refusals);
        let said = state.by_bot(&channel)[0];
        let words = said.words();
        assert!(!words.contains("did not understand"), "{name}: {words}");
        // One line of a table fits a phone.
        let widest = said.blocks.iter().flat_map(preformatted).map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(widest <= 120, "{name}: a line of {widest} characters");
        // What the doctor finds depends on how busy the machine is.
        if name != "doctor" {
            still.push(format!("{name}\n{}", said.blocks.iter().filter_map(at_rest).collect::<Vec<_>>().join("\n")));
        }
    }
    // What other versions tell besides, or do not, is theirs.
    if server.info("redis_version").starts_with("7.0") {
        insta::assert_snapshot!(still.join("\n\n"));
    }
    bot.finish().await;
}

/// What of a block is the same at every look: its kind, its labels, its headings and its buttons.
/// Judgements and findings follow the machine's mood, figures the clock's.
fn at_rest(block: &Value) -> Option<String> {
    let mask = regex::Regex::new(r"~?\b[0-9A-HJKMNP-TV-Z]{6,8}\b|\d[\d.,]*").unwrap();
    let mask = |text: &str| mask.replace_all(text, "N").into_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value["text"].as_str().unwrap_or_default().to_owned();
    Some(match block["type"].as_str().unwrap_or_default() {
        // The sign before the title is a judgement.
        "header" => format!("  header {}", text(&block["text"]).trim_start_matches(|c: char| !c.is_ascii())),
        "section" => {
            let fields = list(&block["fields"]);
            let labels = fields.iter().map(|field| {
                let label = text(field);
                let label = label.lines().next().unwrap_or_default();
                mask(label.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()))
            });
            format!("  fields {}", labels.collect::<Vec<_>>().join(" | "))
        }
        "actions" => {
            let buttons = list(&block["elements"]);
            let buttons = buttons.iter().map(|button| {
                let command = button["value"].as_str().unwrap_or_default();
                format!("({}) {}", mask(&text(&button["text"])), mask(command))
            });
            format!("  buttons {}", buttons.collect::<Vec<_>>().join(" "))
        }
        "input" => format!("  input {}", text(&block["label"])),
        "context" => return None,
        _ => {
            let first = &block["elements"][0];
            let leaf = text(&first["elements"][0]);
            match first["type"].as_str().unwrap_or_default() {
                // Bars have no heading of their own: their first line is a figure.
                "rich_text_preformatted" => {
                    let first = leaf.lines().next().unwrap_or_default();
                    if first == "Events inside the server" {
                        // There when something was slow.
                        return None;
                    }
                    let drawn = first.find(['█', '░', '▁', '▂', '▃', '▄', '▅', '▆', '▇']);
                    format!("  monospaced {}", drawn.map_or_else(|| mask(first), |_| "drawn".to_owned()))
                }
                _ if first["elements"][0]["style"]["bold"] == true && !leaf.ends_with("  ") => {
                    format!("  heading {}", mask(&leaf))
                }
                _ => return None,
            }
        }
    })
}

/// The lines of monospaced text in a block.
fn preformatted(block: &Value) -> Vec<String> {
    let elements = block["elements"].as_array().into_iter().flatten();
    elements
        .filter(|element| element["type"] == "rich_text_preformatted")
        .flat_map(|element| element["elements"].as_array().cloned().unwrap_or_default())
        .flat_map(|text| text["text"].as_str().unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}
