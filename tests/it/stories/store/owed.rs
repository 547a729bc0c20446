//! What was decided while a platform was away is delivered after, once, in order.

use rediscue::{
    model::{Card, MessageRef, Place},
    store::{Owed, OwedWhat, Store},
};

use super::{at, open, place};

fn card(title: &str) -> Card {
    Card { title: title.into(), ..Card::default() }
}

fn say(key: &str, title: &str) -> Owed {
    Owed { key: key.into(), what: OwedWhat::Say { place: place(), card: card(title), only: None }, due: at(0) }
}

fn message(id: &str) -> MessageRef {
    MessageRef { place: place(), id: id.into() }
}

async fn due(store: &Store, now: i64) -> Vec<String> {
    store.owed_due(at(now), 10).await.unwrap().into_iter().map(|due| due.key).collect()
}

#[tokio::test]
async fn an_answer_outlives_the_bot_and_arrives_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    assert_eq!(store.owed_next().await.unwrap(), None);
    assert!(store.owed_add(say("run/end", "done")).await.unwrap());
    store.close().await;

    let store = open(dir.path()).await;
    assert_eq!(store.owed_next().await.unwrap(), Some(at(0)));
    let owed = store.owed_due(at(1), 10).await.unwrap();
    assert_eq!(owed[0].what, say("", "done").what);
    assert!(store.owed_done(&owed[0], Some(&message("17.1"))).await.unwrap());
    assert!(!store.owed_done(&owed[0], Some(&message("17.1"))).await.unwrap());
    assert!(!store.owed_add(say("run/end", "done")).await.unwrap(), "a key that was delivered is not owed again");
    assert_eq!(due(&store, 1).await, [""; 0]);
    assert_eq!(store.owed_message("run/end").await.unwrap(), Some(message("17.1")));
}

#[tokio::test]
async fn one_that_waits_holds_those_behind_it_in_its_channel_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let elsewhere = Place { channel: "C2".into(), ..place() };
    for key in ["a", "b", "c"] {
        store.owed_add(say(key, key)).await.unwrap();
    }
    let other = OwedWhat::Say { place: elsewhere, card: card("d"), only: None };
    store.owed_add(Owed { key: "d".into(), what: other, due: at(0) }).await.unwrap();
    assert_eq!(due(&store, 0).await, ["a", "b", "c", "d"]);

    store.owed_failed("b", at(30), "asked to wait").await.unwrap();
    assert_eq!(due(&store, 0).await, ["a", "d"]);
    assert_eq!(due(&store, 30).await, ["a", "b", "c", "d"]);
    assert_eq!(store.owed_due(at(30), 10).await.unwrap()[1].attempts, 1);
    store.owed_gone("b", "the channel was archived").await.unwrap();
    assert_eq!(due(&store, 0).await, ["a", "c", "d"]);
}

#[tokio::test]
async fn what_is_said_again_before_it_is_delivered_replaces_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.owed_add(say("run", "10 %")).await.unwrap();
    store.owed_failed("run", at(60), "unreachable").await.unwrap();
    store.owed_add(say("run", "50 %")).await.unwrap();
    assert_eq!(due(&store, 0).await, [""; 0], "a replacement does not jump the wait");
    let half = store.owed_due(at(60), 10).await.unwrap().remove(0);
    assert_eq!(half.what, say("", "50 %").what);

    // Replaced while it was on its way: the newest becomes an edit of what arrived.
    store.owed_add(say("run", "100 %")).await.unwrap();
    assert!(store.owed_done(&half, Some(&message("17.2"))).await.unwrap());
    let rest = store.owed_due(at(60), 10).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].what, OwedWhat::Edit { message: message("17.2"), card: card("100 %") });
    assert!(store.owed_done(&rest[0], None).await.unwrap());
    assert_eq!(store.owed_next().await.unwrap(), None);
}

#[tokio::test]
async fn an_edit_can_be_owed_anew_after_it_was_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let edit = |title: &str, due| Owed {
        key: "progress".into(),
        what: OwedWhat::Edit { message: message("17.3"), card: card(title) },
        due: at(due),
    };
    store.owed_add(edit("1", 0)).await.unwrap();
    let first = store.owed_due(at(0), 10).await.unwrap().remove(0);
    store.owed_done(&first, None).await.unwrap();
    assert!(store.owed_add(edit("2", 5)).await.unwrap());
    assert_eq!(due(&store, 4).await, [""; 0]);
    assert_eq!(due(&store, 5).await, ["progress"]);
}
