//! A thousand commands, some of them sent twice: a thousand answers.

use crate::world::{redis::RedisServer, slack::By, slack_bot::SlackBotBuilder};

const MANY: usize = 1_000;
const CHANNELS: usize = 20;

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
