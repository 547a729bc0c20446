//! What holds for every policy, and what people are told.

use std::{collections::BTreeSet, path::Path, sync::LazyLock};

use jiff::Timestamp;
use proptest::{collection, prelude::*, sample};

use super::*;
use crate::{
    model::{
        Actor, Address, Badge, Badges, Card, Credential, Deployment, Environment, Identity, Instance, PersonId, Place,
        PlaceKind, Platform, RunId, Service, ServiceName,
    },
    runbook::{self, Command, Kind},
};

const COMMANDS: [(&str, &str); 4] = [("status", "look"), ("keys", "keys"), ("inspect", "keys"), ("reload", "bot")];
const SERVICES: [(&str, Environment); 3] =
    [("shop", Environment::Prod), ("lab", Environment::Staging), ("blog", Environment::Prod)];
const PEOPLE: [&str; 3] = ["ada", "bo", "cleo"];
const ROLES: [&str; 3] = ["r0", "r1", "r2"];

fn command(name: &str) -> Command {
    let own = ["reload", "help", "whoami", "can-i"].contains(&name);
    let group = COMMANDS.iter().find(|(known, _)| *known == name).map_or("bot", |(_, group)| group);
    let mut command = LOOK.clone();
    command.name = name.to_owned();
    command.group = group.to_owned();
    if own {
        command.kind = Kind::BuiltIn;
    }
    command
}

/// Some diagnostic.
static LOOK: LazyLock<Command> = LazyLock::new(|| {
    let text = "name = \"look\"\nsummary = \"looks\"\n[[steps]]\nid = \"pong\"\nredis = [\"PING\"]\n[card]\nhealthy = \"ok\"\n";
    runbook::parse_file(Path::new("look.toml"), text).expect("a valid command file")
});

fn service(name: &str) -> Service {
    let environment = SERVICES.iter().find(|(known, _)| *known == name).expect("a known service").1;
    Service {
        name: name.parse().expect("a valid name"),
        title: name.to_owned(),
        environment,
        owner: "a team".to_owned(),
        instances: vec![Instance {
            name: "main".parse().expect("a valid name"),
            deployment: Deployment::Standalone(Address::Tcp { host: "localhost".to_owned(), port: 6379 }),
            database: 0,
            tls: None,
            look: Credential::default(),
            touch: None,
            scan_replica: false,
        }],
        patterns: Vec::new(),
        queues: Vec::new(),
        thresholds: Default::default(),
        declared: Default::default(),
        endpoints: Vec::new(),
        metrics: Vec::new(),
        logs: Vec::new(),
        links: Vec::new(),
        contacts: Vec::new(),
        impact: Vec::new(),
    }
}

fn person(id: &str) -> PersonId {
    id.parse().expect("a valid name")
}

fn slack(user: &str) -> Identity {
    Identity { platform: Platform::Slack, team: "T1".to_owned(), user: user.to_owned() }
}

fn place(channel: &str) -> Place {
    Place {
        platform: Platform::Slack,
        team: "T1".to_owned(),
        channel: channel.to_owned(),
        thread: None,
        kind: if channel.starts_with('D') { PlaceKind::Direct } else { PlaceKind::Channel },
        via: None,
    }
}

/// Whoever a gateway would say speaks.
fn actor(policy: &Policy, user: &str) -> Actor {
    let identity = slack(user);
    Actor {
        person: policy.person_of(&identity).cloned(),
        identity,
        display: user.to_owned(),
        badges: Badges::default(),
    }
}

fn allowed(policy: &Policy, user: &str, channel: &str, name: &str, on: Option<&str>, reveal: bool) -> bool {
    let (actor, place, command, service) = (actor(policy, user), place(channel), command(name), on.map(service));
    let ask = Ask {
        actor: &actor,
        place: &place,
        command: &command,
        service: service.as_ref(),
        reveal,
        run: &RunId::from_bits(7),
        now: Timestamp::UNIX_EPOCH,
    };
    matches!(policy.decide(&ask), Verdict::Allow(_))
}

/// Everything that can be asked in the little world of these tests.
fn questions() -> impl Iterator<Item = (&'static str, &'static str, &'static str, Option<&'static str>, bool)> {
    let on = || [None].into_iter().chain(SERVICES.iter().map(|(name, _)| Some(*name)));
    PEOPLE.into_iter().flat_map(move |who| {
        ["C1", "C2", "D1"].into_iter().flat_map(move |from| {
            COMMANDS.into_iter().flat_map(move |(command, _)| {
                on().flat_map(move |on| [false, true].map(move |reveal| (who, from, command, on, reveal)))
            })
        })
    })
}

fn answers(policy: &Policy) -> Vec<bool> {
    questions().map(|(who, from, command, on, reveal)| allowed(policy, who, from, command, on, reveal)).collect()
}

fn any_commands() -> impl Strategy<Value = BTreeSet<CommandSet>> {
    let one = prop_oneof![
        Just(CommandSet::Every),
        Just(CommandSet::Diagnostics),
        sample::select(vec!["look", "keys", "bot"]).prop_map(|group| CommandSet::Group(group.to_owned())),
        sample::select(COMMANDS.map(|(name, _)| name).to_vec()).prop_map(|name| CommandSet::Named(name.to_owned())),
    ];
    collection::btree_set(one, 0..3)
}

fn any_services() -> impl Strategy<Value = Only<ServiceName>> {
    let names: Vec<ServiceName> = SERVICES.iter().map(|(name, _)| name.parse().expect("a valid name")).collect();
    prop_oneof![Just(Only::Any), collection::btree_set(sample::select(names), 0..3).prop_map(Only::These)]
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let environments = prop_oneof![
        Just(Only::Any),
        Just(Only::These(BTreeSet::from([Environment::Staging]))),
        Just(Only::These(BTreeSet::from([Environment::Prod])))
    ];
    let places = prop_oneof![
        Just(Only::Any),
        Just(Only::These(BTreeSet::from([PlaceSet::Channel("ops".to_owned())]))),
        Just(Only::These(BTreeSet::from([PlaceSet::Direct])))
    ];
    (any_commands(), any_services(), environments, places, any::<bool>()).prop_map(
        |(commands, services, environments, places, reveal)| Grant { commands, services, environments, places, reveal },
    )
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let roles = collection::vec(collection::vec(any_grant(), 0..4), ROLES.len());
    let held = collection::vec(collection::btree_set(sample::select(ROLES.map(str::to_owned).to_vec()), 0..3), 3);
    let narrowed = (any_services(), prop_oneof![Just(Only::Any), any_commands().prop_map(Only::These)]);
    (roles, held, narrowed).prop_map(|(roles, held, (services, commands))| Rules {
        roles: ROLES
            .iter()
            .zip(roles)
            .map(|(name, grants)| ((*name).to_owned(), Role { grants, ..Role::default() }))
            .collect(),
        people: PEOPLE
            .iter()
            .zip(held)
            .map(|(id, roles)| {
                let identities = BTreeSet::from([slack(id)]);
                (person(id), Person { name: (*id).to_owned(), identities, roles })
            })
            .collect(),
        channels: [(
            "ops".to_owned(),
            Channel {
                platform: Platform::Slack,
                team: "T1".to_owned(),
                channel: "C1".to_owned(),
                service: None,
                services,
                commands,
            },
        )]
        .into(),
        ..Rules::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn without_a_grant_nothing_is_allowed(mut rules in any_rules()) {
        for role in rules.roles.values_mut() {
            role.grants.clear();
        }
        prop_assert!(answers(&Policy::new(rules)).iter().all(|allowed| !allowed));
    }

    #[test]
    fn an_account_nobody_owns_is_never_allowed_even_for_what_everybody_may(rules in any_rules()) {
        let policy = Policy::new(rules);
        for name in ["status", "help", "whoami", "reload"] {
            for on in [None, Some("shop")] {
                prop_assert!(!allowed(&policy, "stranger", "C2", name, on, false), "{name}");
            }
        }
    }

    #[test]
    fn taking_a_grant_away_never_allows_more(rules in any_rules(), role in sample::select(ROLES.to_vec()), nth in 0usize..4) {
        let before = answers(&Policy::new(rules.clone()));
        let mut fewer = rules;
        let grants = &mut fewer.roles.get_mut(role).expect("every role is there").grants;
        if nth < grants.len() {
            grants.remove(nth);
        }
        let after = answers(&Policy::new(fewer));
        prop_assert!(before.iter().zip(&after).all(|(before, after)| *before || !after));
    }

    #[test]
    fn taking_a_role_from_a_person_never_allows_more(rules in any_rules(), who in sample::select(PEOPLE.to_vec())) {
        let before = answers(&Policy::new(rules.clone()));
        let mut fewer = rules;
        fewer.people.get_mut(&person(who)).expect("everybody is there").roles.pop_first();
        let after = answers(&Policy::new(fewer));
        prop_assert!(before.iter().zip(&after).all(|(before, after)| *before || !after));
    }

    #[test]
    fn a_rule_of_a_channel_only_narrows(rules in any_rules()) {
        let narrowed = answers(&Policy::new(rules.clone()));
        let mut open = rules;
        let channel = open.channels.get_mut("ops").expect("it is there");
        (channel.services, channel.commands) = (Only::Any, Only::Any);
        let open = answers(&Policy::new(open));
        prop_assert!(narrowed.iter().zip(&open).all(|(narrowed, open)| *open || !narrowed));
    }

    #[test]
    fn the_order_of_grants_means_nothing(rules in any_rules()) {
        let before = answers(&Policy::new(rules.clone()));
        let mut turned = rules;
        for role in turned.roles.values_mut() {
            role.grants.reverse();
        }
        prop_assert_eq!(before, answers(&Policy::new(turned)));
    }

    #[test]
    fn an_account_claimed_by_two_is_nobodys(mut rules in any_rules()) {
        rules.people.get_mut(&person("bo")).expect("bo is there").identities.insert(slack("ada"));
        let policy = Policy::new(rules);
        prop_assert_eq!(policy.person_of(&slack("ada")), None);
        prop_assert!(!allowed(&policy, "ada", "C2", "help", None, false));
    }

    #[test]
    fn values_are_never_easier_to_see_than_shapes(rules in any_rules()) {
        let policy = Policy::new(rules);
        for (who, from, command, on, _) in questions().filter(|(.., reveal)| *reveal) {
            let hidden = allowed(&policy, who, from, command, on, false);
            prop_assert!(hidden || !allowed(&policy, who, from, command, on, true));
        }
    }

    #[test]
    fn a_crowd_has_the_looks_of_its_roles_and_nothing_else(rules in any_rules()) {
        let mut rules = rules;
        rules.crowds = crowd_of(&ROLES);
        let named = Policy::new(Rules {
            people: std::collections::BTreeMap::from([(
                person("eve"),
                Person {
                    name: "Eve".to_owned(),
                    identities: BTreeSet::from([slack("eve")]),
                    roles: ROLES.map(str::to_owned).into(),
                },
            )]),
            ..rules.clone()
        });
        let crowd = Policy::new(rules);
        for (_, from, name, on, reveal) in questions().filter(|(who, ..)| *who == PEOPLE[0]) {
            let (on, place, command) = (on.map(service), place(from), command(name));
            let ask = |policy: &Policy, badges: Badges| {
                let actor = policy.speaker(slack("eve"), None, "Eve".to_owned(), badges);
                let run = RunId::from_bits(7);
                let now = Timestamp::UNIX_EPOCH;
                let service = on.as_ref();
                let ask = Ask { actor: &actor, place: &place, command: &command, service, reveal, run: &run, now };
                matches!(policy.decide(&ask), Verdict::Allow(_))
            };
            let allowed = ask(&crowd, worn());
            let by_name = ask(&named, Badges::default());
            prop_assert!(!allowed || by_name, "a crowd has no more than a person of its roles");
            let look = matches!(command.kind, Kind::Diagnostic(_)) && !reveal;
            prop_assert!(!allowed || look, "and of that the looks: {}", command.name);
            prop_assert!(allowed || !look || !by_name, "but those it has");
            prop_assert!(!ask(&crowd, Badges::default()), "without a badge it is nobody");
        }
    }

    #[test]
    fn help_shows_what_would_be_allowed_and_can_i_says_the_same(rules in any_rules()) {
        let policy = Policy::new(rules);
        for (who, from, name, on, _) in questions().filter(|(.., reveal)| !reveal) {
            let on = on.map(service);
            let may = policy.may(&actor(&policy, who), &command(name), on.as_ref(), &place(from));
            if let Some(on) = &on {
                prop_assert_eq!(may, allowed(&policy, who, from, name, Some(on.name.as_str()), false));
            }
            let card = policy.can_i(&actor(&policy, who), &place(from), &command(name), on.as_ref(), false);
            let yes = card.verdict.expect("can-i has a verdict").to_plain().starts_with("Yes");
            prop_assert_eq!(yes, may);
        }
    }
}

/// Those who wear one badge, with these roles.
fn crowd_of(roles: &[&str]) -> std::collections::BTreeMap<String, Crowd> {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    let crowd = Crowd { about: String::new(), badges: worn().worn, roles };
    std::collections::BTreeMap::from([("developers".to_owned(), crowd)])
}

fn worn() -> Badges {
    let group = Badge::Group { platform: Platform::Slack, team: "T1".to_owned(), group: "S1".to_owned() };
    Badges { worn: BTreeSet::from([group]), untold: None }
}

fn small_team() -> Policy {
    let grant = |commands: Vec<CommandSet>, services: Only<ServiceName>| Grant {
        commands: commands.into_iter().collect(),
        services,
        environments: Only::Any,
        places: Only::Any,
        reveal: false,
    };
    let shop: ServiceName = "shop".parse().expect("a valid name");
    let known = |name: &str, roles: &[&str]| Person {
        name: format!("{name} Example"),
        identities: BTreeSet::from([slack(&name.to_lowercase())]),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
    };
    let look = grant(vec![CommandSet::Diagnostics], Only::Any);
    let values = Grant {
        reveal: true,
        places: Only::These(BTreeSet::from([PlaceSet::Direct])),
        ..grant(vec![CommandSet::Named("inspect".to_owned())], Only::Any)
    };
    let support = grant(vec![CommandSet::Named("status".to_owned())], Only::These(BTreeSet::from([shop.clone()])));
    let role = |grants: Vec<Grant>| Role { grants, ..Role::default() };
    Policy::new(Rules {
        keepers: vec![person("ada")],
        people: [
            (person("ada"), known("Ada", &["oncall", "values"])),
            (person("bo"), known("Bo", &["support"])),
            (person("cleo"), known("Cleo", &[])),
        ]
        .into(),
        roles: [
            ("oncall".to_owned(), role(vec![look])),
            ("support".to_owned(), role(vec![support])),
            ("values".to_owned(), role(vec![values])),
        ]
        .into(),
        channels: [(
            "shop".to_owned(),
            Channel {
                platform: Platform::Slack,
                team: "T1".to_owned(),
                channel: "C1".to_owned(),
                service: Some(shop.clone()),
                services: Only::These(BTreeSet::from([shop])),
                commands: Only::Any,
            },
        )]
        .into(),
        ..Rules::default()
    })
}

fn refusal(user: &str, channel: &str, name: &str, on: Option<&str>, reveal: bool) -> String {
    let policy = small_team();
    let (actor, place, command, service) = (actor(&policy, user), place(channel), command(name), on.map(service));
    let run = RunId::from_bits(7);
    let ask = Ask {
        actor: &actor,
        place: &place,
        command: &command,
        service: service.as_ref(),
        reveal,
        run: &run,
        now: Timestamp::UNIX_EPOCH,
    };
    match policy.decide(&ask) {
        Verdict::Allow(permit) => format!("allowed by {}", permit.rule()),
        Verdict::Deny(refusal) => format!("[{}] {}\nNext: {}", refusal.rule, refusal.why, refusal.next),
    }
}

#[test]
fn a_refusal_says_which_rule_why_and_who_can_change_it() {
    let said = [
        refusal("mallory", "C2", "status", Some("shop"), false),
        refusal("bo", "C2", "status", Some("lab"), false),
        refusal("cleo", "C2", "status", Some("shop"), false),
        refusal("bo", "C2", "reload", None, false),
        refusal("ada", "C1", "status", Some("lab"), false),
        refusal("ada", "C2", "inspect", Some("shop"), true),
        refusal("ada", "D1", "inspect", Some("shop"), true),
        refusal("bo", "C1", "help", None, false),
    ];
    insta::assert_snapshot!("refusals", said.join("\n\n"));
}

#[test]
fn a_permit_says_who_what_where_and_by_which_rule() {
    let policy = small_team();
    let (actor, place, command, service) = (actor(&policy, "ada"), place("D1"), command("inspect"), service("shop"));
    let run = RunId::from_bits(7);
    let now = Timestamp::UNIX_EPOCH;
    let ask =
        Ask { actor: &actor, place: &place, command: &command, service: Some(&service), reveal: true, run: &run, now };
    let Verdict::Allow(permit) = policy.decide(&ask) else { panic!("ada may") };
    assert_eq!((permit.person(), permit.run(), permit.command()), (&person("ada"), &run, "inspect"));
    assert_eq!(permit.service().map(ServiceName::as_str), Some("shop"));
    assert!(permit.reveal());
    assert_eq!((permit.rule(), permit.decided_at()), ("roles.values (reveal)", now));
}

#[test]
fn only_the_console_may_vouch_for_somebody_and_nobody_may_speak_as_another() {
    let policy = small_team();
    let speak = |platform: Platform, user: &str, said: Option<&str>| {
        let identity = Identity { platform, team: "T1".to_owned(), user: user.to_owned() };
        let actor = Actor { identity, person: said.map(person), display: String::new(), badges: Badges::default() };
        policy.standing(&actor).ok().cloned()
    };
    assert_eq!(speak(Platform::Slack, "nobody", Some("ada")), None);
    assert_eq!(speak(Platform::Slack, "bo", Some("ada")), None);
    assert_eq!(speak(Platform::Slack, "bo", None), Some(person("bo")));
    assert_eq!(speak(Platform::Console, "root", Some("ada")), Some(person("ada")));
    assert_eq!(speak(Platform::Console, "root", Some("zed")), None);
}

#[test]
fn a_console_account_is_known_by_its_user_whatever_the_host_is_called() {
    let mut rules = small_team().rules().clone();
    let console = |team: &str| Identity { platform: Platform::Console, team: team.to_owned(), user: "bo".to_owned() };
    rules.people.get_mut(&person("bo")).expect("bo is there").identities.insert(console(""));
    assert_eq!(Policy::new(rules).person_of(&console("db-host-7")), Some(&person("bo")));
}

#[test]
fn a_channel_has_its_default_service_in_threads_too() {
    let thread = Place { thread: Some("171.2".to_owned()), ..place("C1") };
    assert_eq!(small_team().default_service(&thread).map(ServiceName::as_str), Some("shop"));
    assert_eq!(small_team().default_service(&place("C2")), None);
}

fn said(card: &Card) -> String {
    serde_json::to_string_pretty(card).expect("a card is JSON")
}

#[test]
fn whoami_and_can_i_answer_from_the_rules() {
    let policy = small_team();
    insta::assert_snapshot!("whoami", said(&policy.whoami(&actor(&policy, "ada"), &place("C1"))));
    insta::assert_snapshot!("whoami_of_a_stranger", said(&policy.whoami(&actor(&policy, "mallory"), &place("C1"))));
    let can_i = |user: &str, on: Option<&str>| {
        policy.can_i(&actor(&policy, user), &place("C2"), &command("keys"), on.map(service).as_ref(), false)
    };
    insta::assert_snapshot!("can_i_yes", said(&can_i("ada", Some("lab"))));
    insta::assert_snapshot!("can_i_no", said(&can_i("bo", None)));
}
