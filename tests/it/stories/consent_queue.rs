//! One change at a time on an instance: others queue, are told so, and can still be called off.

use rediscue::store::PlanState;

use crate::world::{
    room::setting,
    team::{run_of, seats, team},
};

#[tokio::test]
async fn a_second_change_queues_behind_the_first_is_told_so_and_its_consent_can_still_be_taken_back() {
    let (server, builder) = team();
    let chat = builder.start().await;
    let mut room = seats(&chat);
    let ahead = room.types("ana", "set-config timeout 300 shop").await;
    let behind = room.types("ana", "set-config maxmemory-policy allkeys-lru shop").await;
    let called_off = room.types("eli", "set-config tcp-keepalive 200 shop").await;
    let (first, second, third) = (run_of(&ahead), run_of(&behind), run_of(&called_off));
    let (ahead, behind, called_off) = (ahead.id(), behind.id(), called_off.id());
    let (mut one, mut two, mut three) = (seats(&chat), seats(&chat), seats(&chat));
    // The server answers nobody for a while, so the first change is under way for as long.
    let _: String = server.run(&["CLIENT", "PAUSE", "4000", "ALL"]);
    let watching = async {
        let told = room.hears("It has consent and waits until").await;
        assert!(told.contains(&format!("run {first}")) && told.starts_with("queued ·"), "{told}");
        room.hears("It has consent and waits until").await;
        let pending = room.types("cy", "pending").await.text();
        let state = |run: &str| pending.lines().find(|line| line.starts_with(run)).unwrap_or_default().to_owned();
        assert!(state(first.as_str()).ends_with("about to run"), "{pending}");
        assert!(state(second.as_str()).ends_with("queued, has consent"), "{pending}");
        assert!(state(third.as_str()).ends_with("queued, has consent"), "{pending}");
        room.unreacts("bo", "✅", &behind).await;
        let refused = room.types("cy", &format!("cancel {third}")).await.text();
        assert!(refused.contains("stopped by whoever asked for it"), "{refused}");
        let cancelled = room.types("eli", &format!("cancel {third}")).await.text();
        assert!(cancelled.contains("Eli called it off while it was queued"), "{cancelled}");
    };
    let asked = async {
        let done = one.reacts("bo", "✅", &ahead);
        let after_it = async {
            crate::world::eventually_async("the first is under way", std::time::Duration::from_secs(20), async || {
                chat.store.plan(&first).await.unwrap().unwrap().state != PlanState::Pending
            })
            .await;
            tokio::join!(two.reacts("bo", "✅", &behind), three.reacts("bo", "✅", &called_off))
        };
        tokio::join!(done, after_it)
    };
    let (_, (done, (void, off))) = tokio::join!(watching, asked);
    assert!(done.text().contains("Done: set timeout"), "{}", done.text());
    assert!(void.text().contains("consent is missing"), "{}", void.text());
    assert!(off.text().contains("called off before it began"), "{}", off.text());
    assert_eq!(setting(&server, "timeout"), "300");
    assert_eq!(setting(&server, "maxmemory-policy"), "noeviction");
    assert_eq!(setting(&server, "tcp-keepalive"), "300");
    let over = room.types("eli", &format!("cancel {first}")).await.text();
    assert!(over.contains("is over: it is done"), "{over}");
    let waiting = room.types("ana", "set-config timeout 10 shop").await;
    let not_yet = room.types("ana", &format!("cancel {}", run_of(&waiting))).await.text();
    assert!(not_yet.contains("it waits for consent"), "{not_yet}");
    chat.stop().await;
}
