//! A thousand commands, some of them sent twice: a thousand answers.

use std::time::{Duration, Instant};

use crate::world::{redis::RedisServer, slack::By, slack_bot::SlackBotBuilder};

const MANY: usize = 1_000;
const CHANNELS: usize = 20;
/// A hundred commands a second is more than any workspace types.
const EVERY: Duration = Duration::from_millis(10);

async fn a_thousand(by: By) {
    let (well, stopped) = (RedisServer::start(), RedisServer::start());
    let bot = SlackBotBuilder::new()
        .service("godel", &well.address().to_string())
        .service("stopped", &stopped.address().to_string())
        .start(by)
        .await;
    stopped.freeze();
    let channels: Vec<String> = (0..CHANNELS).map(|at| format!("C{}", 100 + at)).collect();
    for channel in &channels {
        bot.fake.state().channel(channel, &["U1", "U2", "UBOT"]);
    }
    for at in 0..MANY {
        let channel = &channels[at % CHANNELS];
        let service = if at % 100 == 7 { "stopped" } else { "godel" };
        let user = if at % 2 == 0 { "U1" } else { "U2" };
        let id = match at % 3 {
            0 => bot.fake.mention(user, channel, None, &format!("ping {service}")).1,
            _ => bot.fake.slash(user, channel, &format!("ping {service}")),
        };
        if at % 7 == 0 {
            bot.fake.redeliver(id);
        }
    }
    for channel in &channels {
        bot.fake.answers(channel, MANY / CHANNELS).await;
    }
    stopped.thaw();
    bot.fake.wait("all is acknowledged", |state| state.sent.iter().all(|sent| sent.acknowledged.is_some())).await;
    for channel in &channels {
        assert_eq!(bot.fake.state().by_bot(channel).len(), MANY / CHANNELS, "{channel}");
    }
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_commands_by_socket_have_a_thousand_answers() {
    a_thousand(By::Socket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_commands_by_http_have_a_thousand_answers() {
    a_thousand(By::Http).await;
}

/// A start takes up what an earlier process left while new events come in: what has only just come is not taken for
/// something that was left.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_a_start_takes_up_what_was_left_is_answered_once() {
    const SO_MANY: usize = 150;
    let server = RedisServer::start();
    let bot = SlackBotBuilder::new().service("godel", &server.address().to_string()).start(By::Http).await;
    for at in 0..SO_MANY {
        bot.fake.slash(if at % 2 == 0 { "U1" } else { "U2" }, "C1", "ping godel");
        bot.take_up().await;
    }
    bot.fake.answers("C1", SO_MANY).await;
    bot.fake.wait("all is acknowledged", |state| state.sent.iter().all(|sent| sent.acknowledged.is_some())).await;
    bot.take_up().await;
    bot.stopped_and_answered("C1", SO_MANY).await;
}

/// What the bench prints, and what it must come to.
async fn measured(by: By) {
    let (well, stopped) = (RedisServer::start(), RedisServer::start());
    let bot = SlackBotBuilder::new()
        .service("godel", &well.address().to_string())
        .service("stopped", &stopped.address().to_string())
        .start(by)
        .await;
    stopped.freeze();
    let channels: Vec<String> = (0..CHANNELS).map(|at| format!("C{}", 100 + at)).collect();
    for channel in &channels {
        bot.fake.state().channel(channel, &["U1", "U2", "UBOT"]);
    }
    let begun = Instant::now();
    let mut pace = tokio::time::interval(EVERY);
    let mut again = 0;
    for at in 0..MANY {
        pace.tick().await;
        let service = if at % 20 == 7 { "stopped" } else { "godel" };
        let (user, channel) = (if at % 2 == 0 { "U1" } else { "U2" }, &channels[at % CHANNELS]);
        let id = match at % 3 {
            0 => bot.fake.mention(user, channel, None, &format!("ping {service}")).1,
            _ => bot.fake.slash(user, channel, &format!("ping {service}")),
        };
        if at % 7 == 0 {
            bot.fake.redeliver(id);
            again += 1;
        }
    }
    for channel in &channels {
        bot.fake.answers(channel, MANY / CHANNELS).await;
    }
    let took = begun.elapsed();
    stopped.thaw();
    bot.fake.wait("all is acknowledged", |state| state.sent.iter().all(|sent| sent.acknowledged.is_some())).await;
    let (mut waits, said) = {
        let state = bot.fake.state();
        let waits: Vec<Duration> = state.sent.iter().filter_map(|sent| sent.acknowledged).collect();
        (waits, channels.iter().map(|channel| state.by_bot(channel).len()).sum::<usize>())
    };
    waits.sort();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    println!(
        "{by:?}: {MANY} commands and {again} redeliveries, one in twenty to a stopped Redis, in {took:.1?}\n  \
         acknowledged after {:.1?} (p50), {:.1?} (p99, goal < 100 ms), {:.1?} at most\n  {said} answers, {} of them duplicates",
        at(0.5),
        at(0.99),
        at(1.0),
        said.saturating_sub(MANY),
    );
    assert_eq!(said, MANY);
    assert!(at(0.99) < Duration::from_millis(100), "{:?}", at(0.99));
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a bench: scripts/bench-slack runs it, in the bench profile"]
async fn bench_of_acknowledgements() {
    for by in [By::Socket, By::Http] {
        measured(by).await;
    }
}
