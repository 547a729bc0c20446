//! The journal's witness: its head, in a channel that the store's owner cannot change.

use rediscue::store::{Anchor, StoreSettings, verify};

use crate::world::{redis::RedisServer, slack::By, slack_bot::SlackBotBuilder};

#[tokio::test]
async fn the_head_of_the_journal_stands_in_the_audit_channel_and_proves_a_cut_tail() {
    let server = RedisServer::start();
    let mut bot = SlackBotBuilder::new()
        .file("bot.toml", "[audit]\nplatform = \"slack\"\nteam = \"T1\"\nchannel = \"C2\"\n")
        .service("godel", &server.address().to_string())
        .start(By::Socket)
        .await;
    for asked in 1..=3 {
        bot.fake.slash("U1", "C1", "ping godel");
        bot.fake.answers("C1", asked).await;
    }
    // What is due is a row: the next start says it.
    bot.stop().await;
    bot.start().await;
    let said = bot.fake.answers("C2", 1).await.remove(0).words();
    let anchor = said.lines().find_map(|line| line.trim().parse::<Anchor>().ok());
    let anchor = anchor.unwrap_or_else(|| panic!("the anchor is said whole: {said}"));
    assert_eq!(anchor.seq, 3);

    bot.fake.slash("U1", "C1", "ping godel");
    bot.fake.answers("C1", 4).await;
    let paths = StoreSettings::in_dir(bot.store_dir()).paths();
    let report = verify(&paths.database, &paths.key, std::slice::from_ref(&anchor)).await.unwrap();
    assert!(report.is_whole(), "{report:?}");
    // A journal that ends before what the channel says of it lost its tail.
    let beyond = Anchor { seq: 9, ..anchor };
    let report = verify(&paths.database, &paths.key, &[beyond]).await.unwrap();
    assert!(!report.is_whole(), "{report:?}");
    bot.finish().await;
}
