//! Settings of `bot.toml` that are felt only when something is wrong, or after a while.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use rediscue::{
    chat::console::{CHANNEL, wire::FromBot},
    model::{Block, Place, PlaceKind, Platform},
    store::Anchor,
};

use crate::world::{
    chat::{ChatBuilder, heard},
    redis::RedisServer,
};

/// A port that takes no connection and refuses none, as behind a firewall that drops what comes.
struct Hole {
    listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Hole {
    fn dig() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        // Nobody accepts them: once the queue is full, the kernel drops what asks.
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            waiting.push(stream);
            assert!(waiting.len() < 10_000, "the queue has no end");
        }
        Self { listener, _waiting: waiting }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_does_not_come_is_given_up_when_deadlines_connect_says() {
    let hole = tokio::task::spawn_blocking(Hole::dig).await.unwrap();
    // Two seconds where nothing is said.
    for (connect, least, most) in [("300ms", 0.3, 1.9), ("1500ms", 1.5, 8.0)] {
        let mut chat = ChatBuilder::new()
            .file("bot.toml", &format!("[deadlines]\nconnect = \"{connect}\"\n"))
            .service("shop", &hole.address().to_string(), "")
            .start()
            .await;
        let begun = Instant::now();
        let text = chat.ask("ana", "inspect k shop").await.text();
        let took = begun.elapsed().as_secs_f64();
        assert!(text.contains("no connection to") && text.contains(" within "), "{connect}:\n{text}");
        assert!(text.contains("a firewall drops the packets") && text.contains("check the route"), "{text}");
        assert!((least..most).contains(&took), "{connect}: told after {took} s");
        chat.stop().await;
    }
}

fn anchor(event: &FromBot) -> Option<Anchor> {
    let FromBot::Say { card, .. } = event else { return None };
    card.blocks.iter().find_map(|block| match block {
        Block::Code(text) => text.trim().parse().ok(),
        _ => None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_the_journal_is_told_as_often_as_audit_anchor_every_says_and_only_when_it_moved() {
    let server = RedisServer::start();
    let mut chat = ChatBuilder::new()
        .service("shop", &server.address().to_string(), "")
        .tuned(|settings| {
            settings.anchor_every = Duration::from_secs(1);
            settings.audit = Some(Place {
                platform: Platform::Console,
                team: "testhost".into(),
                channel: CHANNEL.into(),
                thread: None,
                kind: PlaceKind::Channel,
                via: None,
            });
        })
        .start()
        .await;
    let mut reader = chat.reader("bo");
    let mut told = Vec::new();
    for asked in 1..=3 {
        chat.ask("ana", "ping shop").await;
        let row = loop {
            if let Some(anchor) = anchor(&heard(&mut reader).await) {
                break anchor.seq;
            }
        };
        told.push(row);
        assert_eq!(row, asked, "each head once: {told:?}");
    }
    // Nothing was written since: two more rounds of the clock say nothing.
    let quiet = tokio::time::timeout(Duration::from_millis(2_500), async {
        loop {
            if anchor(&heard(&mut reader).await).is_some() {
                return;
            }
        }
    });
    assert!(quiet.await.is_err(), "a head that has not moved was told again");
    chat.stop().await;
}
