//! Who may consent to what: tiers, risks, services, and whoever is on call.

use crate::world::{
    room::setting,
    team::{TEAM, run_of, seats, team},
};

#[tokio::test]
async fn n16_a_tier_consents_up_to_its_risk_and_the_first_that_can_is_asked_first() {
    let (server, builder) = team();
    let chat = builder.start().await;
    let mut room = seats(&chat);
    let high = room.types("ana", "set-config maxmemory-policy allkeys-lru shop").await;
    assert!(high.text().contains("Who may consent: Bo (L2), Di (DBA)"), "{}", high.text());
    assert!(high.text().contains("Consent is asked of @bo."), "{}", high.text());
    let refused = room.reacts("lou", "✅", &high.id()).await;
    assert!(refused.text().contains("whose risk is high") && refused.text().contains("Bo (L2)"), "{}", refused.text());
    room.reacts("di", "✅", &high.id()).await;
    assert_eq!(setting(&server, "maxmemory-policy"), "allkeys-lru");

    let medium = room.types("ana", "set-config timeout 300 shop").await;
    assert!(medium.text().contains("Risk: medium"), "{}", medium.text());
    assert!(medium.text().contains("Who may consent: Lou (L1), Bo (L2), Di (DBA), Eli"), "{}", medium.text());
    assert!(medium.text().contains("Consent is asked of @lou."), "{}", medium.text());
    room.reacts("lou", "✅", &medium.id()).await;
    assert_eq!(setting(&server, "timeout"), "300");
    let mine = room.types("lou", "whoami").await.text();
    assert!(
        mine.contains("What you may consent to") && mine.contains("group:change | any | any | any | medium"),
        "{mine}"
    );
    chat.stop().await;
}

#[tokio::test]
async fn whoever_is_on_call_holds_the_role_of_the_duty_and_loses_it_with_the_duty() {
    let (server, builder) = team();
    let on_call = |who: &str| {
        let role = "[roles.oncall]\ntier = \"L2\"\non_call = \"redis\"\nmay = []\n\
                    approves = [{ commands = [\"group:change\"], services = [\"shop\"] }]\n";
        format!(
            "{}\n{role}\n[on_call]\nredis = [\"{who}\"]\n",
            TEAM.replace("roles = [\"l2\"]", "roles = [\"viewer\"]")
        )
    };
    let chat = builder.file("policy.toml", &on_call("eli")).start().await;
    let mut room = seats(&chat);
    let plan = room.types("ana", "set-config maxmemory-policy allkeys-lru shop").await;
    assert!(plan.text().contains("Who may consent: Eli (L2, on call), Di (DBA)"), "{}", plan.text());
    assert!(room.types("eli", "whoami").await.text().contains("oncall (on call)"));

    std::fs::write(chat.config_file("policy.toml"), on_call("bo")).unwrap();
    room.types("ana", "reload").await;
    let refused = room.reacts("eli", "✅", &plan.id()).await;
    assert!(refused.text().contains("does not count"), "{}", refused.text());
    room.types("bo", &format!("approve {}", run_of(&plan))).await;
    assert_eq!(setting(&server, "maxmemory-policy"), "allkeys-lru");
    chat.stop().await;
}
