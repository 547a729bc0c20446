//! A change that is stopped while it goes on, and one that the end of the bot cut short, as people at a
//! terminal live through it.

use std::time::Duration;

use rediscue::{
    chat::console::{Peer, Who, wire::FromBot},
    store::{PlanState, StepState},
};

use crate::world::{
    chat::{heard, text_of},
    keys::{assert_same, furnish, seen},
    proxy::Proxy,
    redis::RedisServer,
    room::{Room, TOUCHER, house, house_at, setting},
    team::run_of,
};

#[tokio::test]
async fn a_purge_under_way_is_stopped_by_its_button_and_what_it_removed_comes_back() {
    let server = RedisServer::builder().user(TOUCHER).start();
    furnish(&server, 12_000);
    let before = seen(&server);
    let proxy = Proxy::before(&server.address()).await;
    let chat = house_at("normal", &server, &format!("address = \"{}\"", proxy.address()))
        .file("bot.toml", "[deadlines]\nprogress = \"100ms\"\n")
        .start()
        .await;
    let mut room = Room::of(&chat);
    let mut others = Room::of(&chat);
    let plan = room.types("ana", "purge session:* --where organisationId=org-1 shop").await;
    let (id, run) = (plan.id(), run_of(&plan));
    let stopping = async {
        // Slow enough that somebody sees it go on and thinks better of it.
        loop {
            let running = room.hears("It is being carried out").await;
            let removed = running.split("removing · ").nth(1).and_then(|rest| rest.lines().next()?.parse::<u64>().ok());
            if removed > Some(0) {
                assert!(running.contains(&format!("[Stop] cancel {run}")), "{running}");
                break;
            }
        }
        let refused = room.presses("cy", &id, &format!("cancel {run}")).await.text();
        assert!(refused.contains("stopped by whoever asked for it"), "{refused}");
        let stopped = room.presses("ana", &id, &format!("cancel {run}")).await.text();
        assert!(stopped.contains("It was asked to stop"), "{stopped}");
        proxy.delay(Duration::ZERO);
    };
    proxy.delay(Duration::from_millis(40));
    let (done, ()) = tokio::join!(others.reacts("bo", "✅", &id), stopping);
    let text = done.text();
    for said in ["stopped · purge", "Stopped by Ana. ", " keys removed", "nothing is half done"] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
    assert!(!text.contains("failed") && !text.contains("did not get through"), "{text}");
    // What a stopped run left is looked at.
    room.hears("verify · shop").await;
    let now = seen(&server);
    assert!(now.len() < before.len() && now.len() > before.len() - 3_000, "{} of {}", now.len(), before.len());
    assert!(now.keys().all(|name| !name.starts_with(b"rediscue:aside:")), "nothing is left aside");
    let undo = done.card().actions.iter().find(|action| action.label == "Undo").expect("it can be undone");
    room.agreed(&undo.command).await;
    assert_same(&before, &seen(&server));
    chat.stop().await;
}

#[tokio::test]
async fn whoever_comes_to_the_terminal_after_a_restart_is_told_what_was_cut_short_and_can_take_it_back() {
    let (server, builder) = house("normal");
    let chat = builder.start().await;
    let mut room = Room::of(&chat);
    let done = run_of(&room.types("ana", "set-config timeout 300 shop").await);
    let not_done = run_of(&room.types("ana", "set-config maxclients 500 shop").await);
    let not_begun = run_of(&room.types("ana", "set-config tcp-keepalive 60 shop").await);
    let maxclients = setting(&server, "maxclients");
    for run in [&done, &not_done, &not_begun] {
        assert!(chat.store.plan_move(run, PlanState::Pending, PlanState::Running, None).await.unwrap());
    }
    // As the bot leaves it that dies right after the server took the first, and right before it took the second.
    for run in [&done, &not_done] {
        chat.store.step(run, 0, StepState::Begun, None).await.unwrap();
    }
    let _: String = server.run(&["CONFIG", "SET", "timeout", "300"]);

    let chat = chat.leave().await.start().await;
    let people = ["ana", "bo"].map(|name| name.parse().unwrap()).to_vec();
    let mut terminal = chat.console.attach(Peer { who: Who::People(people), script: false }, chat.bot.inbound());
    let mut told = Vec::new();
    while told.len() < 3 {
        if let FromBot::Say { card, .. } = heard(&mut terminal).await {
            told.push(text_of(&card));
        }
    }
    // What may have been changed is looked at, and it is said to whoever asked for it.
    let looked = loop {
        if let FromBot::Say { card, .. } = heard(&mut terminal).await
            && card.title.starts_with("verify ·")
        {
            break card;
        }
    };
    assert!(looked.footer.unwrap_or_default().contains(done.as_str()));
    let of = |run: &rediscue::model::RunId| {
        told.iter().find(|text| text.contains(run.as_str())).unwrap_or_else(|| panic!("{told:?}"))
    };
    for (run, said) in [
        (&done, "timeout is 300, so it was done"),
        (&not_done, "so it was not done"),
        (&not_begun, "1 of 1 steps were not begun"),
    ] {
        assert!(of(run).contains("nothing is done twice") && of(run).contains(said), "{said}: {}", of(run));
    }
    assert!(of(&done).contains(&format!("/redis undo {done}")), "{}", of(&done));
    assert_eq!((setting(&server, "maxclients"), setting(&server, "tcp-keepalive")), (maxclients, "300".to_owned()));
    let mut room = Room::of(&chat);
    room.agreed(&format!("undo {done}")).await;
    assert_eq!(setting(&server, "timeout"), "0");
    chat.stop().await;
}
