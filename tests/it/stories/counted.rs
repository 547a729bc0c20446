//! What was counted right before a run is what the run works through.

use rediscue::{
    exec::Touched,
    runbook::{Change, Kept, Retime, Select},
};

use crate::world::{
    keys::{Hand, Seen, assert_same, furnish, key, removal, seen},
    redis::RedisServer,
};

const RUN: u64 = 7;
const SESSIONS: usize = 3_000;

fn removed(touched: &Touched) -> &str {
    match touched {
        Touched::Verified(said) => said,
        other => panic!("{other:?}"),
    }
}

fn sessions_of(seen: &Seen) -> usize {
    seen.keys().filter(|name| name.starts_with(b"session:")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_works_through_what_was_counted_and_walks_no_second_time() {
    let server = RedisServer::start();
    furnish(&server, SESSIONS);
    let (before, dir) = (seen(&server), tempfile::tempdir().unwrap());
    let hand = Hand::on(&server, dir.path()).await;
    let plan = hand.plan(RUN, removal("session:*", SESSIONS as u64));
    let (counted, meant) = hand.count(&plan).await;
    assert_eq!(counted, SESSIONS as u64, "each once, also where the halves of the walk meet");
    let _: () = redis::cmd("SET").arg("session:since").arg("x").query(&mut server.admin()).unwrap();
    let asked = server.calls("scan");
    let touched = hand.touch_what_was_counted(&plan, &meant).await;
    assert!(removed(&touched).starts_with("3,000 keys removed"), "{touched:?}");
    assert_eq!(server.calls("scan"), asked, "nothing was walked again");
    assert_eq!(sessions_of(&seen(&server)), 1, "what came since was counted by nobody, and stays");
    let _: () = redis::cmd("DEL").arg("session:since").query(&mut server.admin()).unwrap();
    hand.restore(RUN).await;
    assert_same(&before, &seen(&server));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_meant_when_its_turn_comes_is_left_though_it_was_counted() {
    let server = RedisServer::start();
    furnish(&server, SESSIONS);
    let (before, dir) = (seen(&server), tempfile::tempdir().unwrap());
    let hand = Hand::on(&server, dir.path()).await;
    let select = Select { predicate: Some("organisationId = org-2".into()), ..Select::matching("session:*") };
    let keys = SESSIONS as u64 / 4;
    let plan = hand.plan(RUN, Change::RemoveKeys { select, now_ms: 0, keys, keep: Kept::Snapshot });
    let (counted, meant) = hand.count(&plan).await;
    assert_eq!(counted, keys);
    // One moves to another organisation, one goes.
    let moved = r#"{"organisationId":"org-9"}"#;
    let _: () = redis::cmd("SET").arg(key(2)).arg(moved).query(&mut server.admin()).unwrap();
    let _: () = redis::cmd("DEL").arg(key(6)).query(&mut server.admin()).unwrap();
    let touched = hand.touch_what_was_counted(&plan, &meant).await;
    assert!(removed(&touched).starts_with("748 keys removed"), "{touched:?}");
    let left = seen(&server);
    assert_eq!(sessions_of(&left), SESSIONS - 749);
    assert!(left.contains_key(key(2).as_bytes()) && before.contains_key(key(6).as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_are_given_to_what_was_counted() {
    let server = RedisServer::start();
    furnish(&server, SESSIONS);
    let dir = tempfile::tempdir().unwrap();
    let hand = Hand::on(&server, dir.path()).await;
    let (select, to) = (Select::matching("session:*"), Retime::Set(3_600_000));
    let plan = hand.plan(RUN, Change::RetimeKeys { select, now_ms: 0, keys: SESSIONS as u64, to });
    let (_, meant) = hand.count(&plan).await;
    let asked = server.calls("scan");
    let touched = hand.touch_what_was_counted(&plan, &meant).await;
    assert!(removed(&touched).starts_with("3,000 keys have the new deadline"), "{touched:?}");
    assert_eq!(server.calls("scan"), asked);
    assert!(seen(&server).iter().filter(|(name, _)| name.starts_with(b"session:")).all(|(_, (_, at))| *at > 0));
}

/// Strings of JSON, and so many hashes after them, all of one organisation.
fn texts_and_hashes(server: &RedisServer, texts: usize, hashes: usize) {
    let mut pipe = redis::pipe();
    (0..texts).for_each(|n| {
        pipe.cmd("SET").arg(format!("session:{n}")).arg(r#"{"organisationId":"org-1"}"#).ignore();
    });
    (0..hashes).for_each(|n| {
        pipe.cmd("HSET").arg(format!("session:h{n}")).arg("organisationId").arg("org-1").ignore();
    });
    pipe.cmd("SET").arg("session:empty").arg("").ignore();
    pipe.exec(&mut server.admin()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_among_many_texts_are_found_and_the_servers_own_figures_show_few_errors() {
    for (texts, hashes, most_errors) in [(5_000, 40, 40), (5_000, 0, 0), (300, 300, 0), (20_000, 20_000, 300)] {
        let server = RedisServer::start();
        texts_and_hashes(&server, texts, hashes);
        let dir = tempfile::tempdir().unwrap();
        let hand = Hand::on(&server, dir.path()).await;
        let select = Select { predicate: Some("organisationId = org-1".into()), ..Select::matching("session:*") };
        let keys = (texts + hashes) as u64;
        let plan = hand.plan(RUN, Change::RemoveKeys { select, now_ms: 0, keys, keep: Kept::Snapshot });
        let (counted, meant) = hand.count(&plan).await;
        assert_eq!(counted, keys, "{texts} texts and {hashes} hashes");
        let errors = server.figure("errorstats", "errorstat_WRONGTYPE", "count");
        assert!(errors <= most_errors, "{errors} errors, {texts} texts and {hashes} hashes");
        hand.touch_what_was_counted(&plan, &meant).await;
        let left = seen(&server);
        assert_eq!(left.keys().map(Vec::as_slice).collect::<Vec<_>>(), [b"session:empty"], "nobody meant that one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_is_counted_where_the_halves_of_a_walk_meet_whatever_the_names() {
    for _ in 0..6 {
        // Each server scatters its keys by a seed of its own.
        let server = RedisServer::start();
        server.fill("old:", 20_000, 10);
        let dir = tempfile::tempdir().unwrap();
        let hand = Hand::on(&server, dir.path()).await;
        let plan = hand.plan(RUN, removal("*", 20_000));
        for _ in 0..4 {
            assert_eq!(hand.count(&plan).await.0, 20_000);
        }
    }
}
