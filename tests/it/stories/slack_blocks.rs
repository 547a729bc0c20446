//! Every diagnostic's card in Block Kit, to the letter.
//!
//! The cards are real ones, as a bot once said them of the servers `rediscue try` starts:
//! `tests/samples/cards/asked.txt` was typed into it, and `answered.jsonl` is what it wrote. After a
//! change of the cards they are recorded anew:
//!
//! ```sh
//! cargo run -- try --output json < tests/samples/cards/asked.txt > tests/samples/cards/answered.jsonl
//! ```

use std::{collections::BTreeMap, path::Path};

use rediscue::{
    chat::{Audience, console::wire::FromBot},
    model::{Block, Card, Place, PlaceKind, Platform},
    runbook::{self, Kind},
};

use crate::world::{slack::By, slack_bot::SlackBotBuilder};

/// The last a message said, by its message, in the order they were begun.
fn recorded() -> Vec<Card> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/cards/answered.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let mut order = Vec::new();
    let mut cards = BTreeMap::new();
    for line in text.lines() {
        let said = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let (FromBot::Say { id, card, .. } | FromBot::Edit { id, card }) = said else { continue };
        if cards.insert(id.clone(), card).is_none() {
            order.push(id);
        }
    }
    order.iter().map(|id| cards[id].clone()).collect()
}

/// What a card is of: `status · prospectflow` is of `status`.
fn command(card: &Card) -> &str {
    card.title.split(" · ").next().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_diagnostics_card_is_this_in_block_kit() {
    let bot = SlackBotBuilder::new().start(By::Socket).await;
    let gateway = bot.gateway();
    let cards = recorded();
    for (at, card) in cards.iter().enumerate() {
        let name = command(card).to_owned();
        let channel = format!("C{}", 300 + at);
        bot.fake.state().channel(&channel, &["U1", "UBOT"]);
        let place = Place {
            platform: Platform::Slack,
            team: "T1".to_owned(),
            channel: channel.clone(),
            thread: None,
            kind: PlaceKind::Channel,
            via: None,
        };
        gateway.say(&place, card, &Audience::All, &format!("card-{at}")).await.unwrap();
        let state = bot.fake.state();
        assert!(state.refusals.is_empty(), "{name}: {:?}", state.refusals);
        let said = state.by_bot(&channel)[0];
        insta::assert_snapshot!(format!("block_kit_{name}"), serde_json::to_string_pretty(&said.blocks).unwrap());
    }
    bot.finish().await;
}

#[test]
fn every_diagnostic_was_recorded_and_none_only_while_it_looked() {
    let cards = recorded();
    let diagnostics = runbook::built_in().into_iter().filter(|command| matches!(command.kind, Kind::Diagnostic(_)));
    for diagnostic in diagnostics {
        assert!(cards.iter().any(|card| command(card) == diagnostic.name), "{} is not among them", diagnostic.name);
    }
    for card in &cards {
        let whole = card.verdict.is_some() && !card.blocks.iter().any(|block| matches!(block, Block::Progress(_)));
        assert!(whole, "{}: {:?}", card.title, card.verdict);
    }
}
