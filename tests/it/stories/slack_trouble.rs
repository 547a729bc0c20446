//! Slack is slow, dead, silent, repeats itself: every question is answered, once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::world::{
    redis::RedisServer,
    slack::{By, socket::Order, state::Prank},
    slack_bot::{SlackBot, SlackBotBuilder},
};

async fn bot(by: By, server: &RedisServer) -> SlackBot {
    SlackBotBuilder::new().service("godel", &server.address().to_string()).start(by).await
}

/// Each of these is lived through over both transports.
macro_rules! over_both {
    ($($story:ident),* $(,)?) => {
        mod by_socket {
            $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::$story(super::By::Socket).await; })*
        }
        mod by_http {
            $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::$story(super::By::Http).await; })*
        }
    };
}

over_both!(
    what_comes_twice_is_run_once_also_after_a_restart,
    a_double_click_is_one_press,
    a_rate_limit_is_waited_out_and_slows_no_other_channel,
    with_every_second_call_refused_everything_is_answered_once,
    answers_decided_while_slack_is_dead_arrive_after_once_and_in_order,
    an_answer_that_arrived_unheard_is_not_said_again,
    an_error_of_slacks_own_costs_no_answer,
    a_stopped_redis_delays_no_acknowledgement,
    a_missing_scope_and_a_revoked_token_are_named_in_health,
);

async fn what_comes_twice_is_run_once_also_after_a_restart(by: By) {
    let server = RedisServer::start();
    let mut bot = bot(by, &server).await;
    let slash = bot.fake.slash("U1", "C1", "status godel");
    let (_, mention) = bot.fake.mention("U1", "C1", None, "memory godel");
    bot.fake.redeliver(slash);
    bot.fake.redeliver(mention);
    bot.fake.answers("C1", 2).await;
    bot.stop().await;
    bot.start().await;
    bot.fake.redeliver(slash);
    bot.fake.redeliver(mention);
    // A question after them is answered, so they had their turn.
    bot.fake.slash("U1", "C2", "status godel");
    bot.fake.answers("C2", 1).await;
    bot.fake.wait("all is acknowledged", |state| state.sent.iter().all(|sent| sent.acknowledged.is_some())).await;
    assert_eq!(bot.fake.state().by_bot("C1").len(), 2);
    bot.finish().await;
}

async fn a_double_click_is_one_press(by: By) {
    let server = RedisServer::start();
    let bot = bot(by, &server).await;
    bot.fake.slash("U1", "C1", "status godel");
    let card = bot.fake.answers("C1", 1).await.remove(0);
    let label = card.buttons()[0].0.clone();
    let first = bot.fake.press("U2", "C1", &card.ts, &label);
    bot.fake.press("U2", "C1", &card.ts, &label);
    bot.fake.redeliver(first);
    // Somebody else's press is their own.
    bot.fake.press("U1", "C1", &card.ts, &label);
    bot.fake.answers("C1", 3).await;
    bot.fake.slash("U1", "C2", "status godel");
    bot.fake.answers("C2", 1).await;
    assert_eq!(bot.fake.state().by_bot("C1").len(), 3);
    bot.finish().await;
}

async fn a_rate_limit_is_waited_out_and_slows_no_other_channel(by: By) {
    let server = RedisServer::start();
    let bot = bot(by, &server).await;
    let limited = Arc::new(AtomicUsize::new(0));
    let seen = limited.clone();
    bot.fake.prank(move |method, channel| {
        let hit = method == "chat.postMessage" && channel == "C1" && seen.fetch_add(1, Ordering::SeqCst) == 0;
        hit.then_some(Prank::Slow(3))
    });
    let begun = std::time::Instant::now();
    bot.fake.slash("U1", "C1", "status godel");
    bot.fake.wait("C1 is held", |state| state.count("chat.postMessage") > 0).await;
    // By the time this is answered the bot has heard that C1 is limited; a call sent at the same moment could not know.
    bot.fake.slash("U1", "C2", "status godel");
    bot.fake.answers("C2", 1).await;
    bot.fake.slash("U1", "C1", "memory godel");
    assert!(begun.elapsed() < Duration::from_secs(3), "C2 had to wait for C1: {:?}", begun.elapsed());
    bot.fake.answers("C1", 2).await;
    let calls = bot.fake.state().calls.clone();
    let calls: Vec<_> = calls.iter().filter(|call| call.method == "chat.postMessage" && call.channel == "C1").collect();
    assert_eq!(calls[0].error.as_deref(), Some("ratelimited"));
    let waited = calls[1].at - calls[0].at;
    assert!(waited >= Duration::from_millis(2_950), "called again after {waited:?}");
    assert_eq!(bot.fake.state().by_bot("C1").len(), 2);
    bot.finish().await;
}

async fn with_every_second_call_refused_everything_is_answered_once(by: By) {
    let server = RedisServer::start();
    let bot = bot(by, &server).await;
    // The hourglass is a courtesy: one that was refused is not there to be taken away.
    bot.fake.expect("no_reaction");
    // Every second call of each method: counted over all of them, two retries
    // that take turns could meet the same refusal for ever.
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    bot.fake.prank(move |method, _| {
        let calls = calls.entry(method.to_owned()).or_default();
        *calls += 1;
        (*calls % 2 == 1).then_some(Prank::Slow(1))
    });
    for channel in ["C1", "C2"] {
        bot.fake.slash("U1", channel, "status godel");
        bot.fake.mention("U2", channel, None, "memory godel");
    }
    for channel in ["C1", "C2"] {
        bot.fake.answers(channel, 2).await;
    }
    bot.fake.behave();
    settled(&bot).await;
    for channel in ["C1", "C2"] {
        assert_eq!(bot.fake.state().by_bot(channel).len(), 2, "{channel}");
    }
    bot.finish().await;
}

/// A private question that is answered through everything that was queued before it.
async fn settled(bot: &SlackBot) {
    bot.fake.direct("U1", "status godel");
    bot.fake.answers("D1", 1).await;
}

async fn answers_decided_while_slack_is_dead_arrive_after_once_and_in_order(by: By) {
    let server = RedisServer::start();
    let mut bot = bot(by, &server).await;
    bot.fake.slash("U1", "C1", "status godel");
    bot.fake.answers("C1", 1).await;
    bot.fake.slash("U1", "C1", "monitor godel 3s");
    bot.fake.slash("U1", "C2", "monitor godel 5s");
    bot.fake.slash("U2", "C2", "monitor godel 3s");
    bot.fake
        .wait("they have begun", |state| {
            ["C1", "C2"]
                .iter()
                .all(|channel| state.by_bot(channel).iter().any(|said| said.words().contains("Looking …")))
                && state.sent.iter().all(|sent| sent.acknowledged.is_some())
        })
        .await;
    bot.fake.die();
    crate::world::eventually_async("the bot knows that Slack is away", Duration::from_secs(30), || async {
        bot.ailment().is_some()
    })
    .await;
    assert!(bot.metrics().contains("rediscue_platform_ailing{platform=\"slack\"} 1"), "{}", bot.metrics());
    tokio::time::sleep(Duration::from_secs(6)).await;
    bot.fake.revive().await;
    bot.fake.answers("C1", 2).await;
    bot.fake.answers("C2", 2).await;
    settled(&bot).await;
    for channel in ["C1", "C2"] {
        let said: Vec<String> = bot.fake.state().by_bot(channel).iter().map(|said| said.words()).collect();
        assert_eq!(said.len(), 2, "{channel}: {said:#?}");
    }
    crate::world::eventually_async("the bot is well again", Duration::from_secs(60), || async {
        bot.ailments().is_empty()
    })
    .await;
    bot.finish().await;
}

async fn an_answer_that_arrived_unheard_is_not_said_again(by: By) {
    let server = RedisServer::start();
    let bot = bot(by, &server).await;
    let mut swallowed = BTreeMap::new();
    bot.fake.prank(move |method, channel| {
        let first = method == "chat.postMessage" && swallowed.insert(channel.to_owned(), ()).is_none();
        first.then_some(Prank::Swallow)
    });
    let (thread, _) = bot.fake.mention("U1", "C1", None, "status godel");
    bot.fake.mention("U2", "C2", Some(&thread), "memory godel");
    bot.fake
        .wait("it was looked for", |state| {
            state.count("conversations.history") > 0 && state.count("conversations.replies") > 0
        })
        .await;
    bot.fake.behave();
    for channel in ["C1", "C2"] {
        bot.fake
            .wait("it was found and made to say the answer", |state| {
                state.calls.iter().any(|call| call.method == "chat.update" && call.channel == channel)
            })
            .await;
        assert_eq!(bot.fake.answers(channel, 1).await.len(), 1);
    }
    bot.finish().await;
}

async fn an_error_of_slacks_own_costs_no_answer(by: By) {
    let server = RedisServer::start();
    let bot = bot(by, &server).await;
    let mut broken = false;
    bot.fake.prank(move |method, _| {
        let first = method == "chat.postMessage" && !std::mem::replace(&mut broken, true);
        first.then_some(Prank::Break)
    });
    bot.fake.slash("U1", "C1", "status godel");
    let card = bot.fake.answers("C1", 1).await.remove(0);
    // Reactions on it are heard, and nothing asks for them yet.
    bot.fake.react("U2", "C1", &card.ts, "+1::skin-tone-3", true);
    bot.fake.react("UBOT", "C1", &card.ts, "x", true);
    bot.fake.react("U2", "C1", &card.ts, "+1::skin-tone-3", false);
    settled(&bot).await;
    bot.fake.wait("all is acknowledged", |state| state.sent.iter().all(|sent| sent.acknowledged.is_some())).await;
    assert_eq!(bot.fake.state().by_bot("C1").len(), 1);
    bot.finish().await;
}

async fn a_stopped_redis_delays_no_acknowledgement(by: By) {
    let (stopped, well) = (RedisServer::start(), RedisServer::start());
    stopped.freeze();
    let bot = SlackBotBuilder::new()
        .service("stopped", &stopped.address().to_string())
        .service("godel", &well.address().to_string())
        .start(by)
        .await;
    for _ in 0..20 {
        bot.fake.slash("U1", "C2", "status stopped");
        bot.fake.slash("U1", "C1", "status godel");
    }
    bot.fake.answers("C1", 20).await;
    bot.fake.answers("C2", 20).await;
    stopped.thaw();
    // That every acknowledgement came within its time is proved at the end.
    bot.finish().await;
}

async fn a_missing_scope_and_a_revoked_token_are_named_in_health(by: By) {
    let server = RedisServer::start();
    let bot = bot(by, &server).await;
    bot.fake.expect("missing_scope");
    bot.fake.expect("no_reaction");
    bot.fake.expect("token_revoked");
    bot.fake.state().scopes.remove("reactions:write");
    bot.fake.mention("U1", "C1", None, "status godel");
    bot.fake.answers("C1", 1).await;
    let ailments = bot.ailments().join("\n");
    assert!(ailments.contains("reactions:write"), "{ailments}");
    bot.fake.state().scopes.insert("reactions:write".to_owned());
    bot.fake.state().revoked = true;
    bot.fake.slash("U1", "C2", "status godel");
    crate::world::eventually_async("the revoked token is named", Duration::from_secs(30), || async {
        bot.ailments().join("\n").contains("token_revoked")
    })
    .await;
    // Mended, the answer still arrives.
    bot.fake.state().revoked = false;
    bot.fake.answers("C2", 1).await;
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_goes_silent_is_noticed_and_opened_anew() {
    let server = RedisServer::start();
    let bot = bot(By::Socket, &server).await;
    let opened = bot.fake.state().sockets_opened;
    bot.fake.state().silent = true;
    bot.fake.slash("U1", "C1", "status godel");
    crate::world::eventually_async("it is noticed", Duration::from_secs(40), || async {
        bot.ailment().is_some_and(|ailment| ailment.contains("no socket since"))
    })
    .await;
    bot.fake.state().silent = false;
    bot.fake.answers("C1", 1).await;
    assert!(bot.fake.state().sockets_opened > opened);
    assert_eq!(bot.ailment(), None);
    bot.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_exchanged_or_breaks_loses_no_command() {
    let server = RedisServer::start();
    let bot = bot(By::Socket, &server).await;
    for (at, order) in [Order::Refresh, Order::Cut].into_iter().enumerate() {
        let opened = bot.fake.state().sockets_opened;
        bot.fake.slash("U1", "C1", "monitor godel 2s");
        bot.fake.order(order);
        bot.fake.slash("U2", "C1", "status godel");
        bot.fake.answers("C1", 2 * (at + 1)).await;
        bot.fake.wait("there is a new socket", |state| state.sockets_opened > opened).await;
    }
    assert_eq!(bot.fake.state().by_bot("C1").len(), 4);
    bot.finish().await;
}
