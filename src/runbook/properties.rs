//! What holds for any text, any intent and any evidence.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    diagnosis::{Explained, Node, NodeOutcome, Observation},
    model::{
        Address, Block, Card, Credential, Deployment, Direction, Environment, Instance, InstanceName, Level, Queue,
        RunId, Service, ServiceName, Span, Text, Threshold,
    },
};

fn service(name: &str) -> Service {
    let instance = |name: &str| Instance {
        name: name.parse().unwrap(),
        deployment: Deployment::Standalone(Address::Tcp { host: "127.0.0.1".into(), port: 6379 }),
        database: 0,
        tls: None,
        look: Credential::default(),
        touch: None,
        scan_replica: false,
    };
    Service {
        name: name.parse().unwrap(),
        title: name.to_owned(),
        environment: Environment::Staging,
        owner: "team".into(),
        instances: vec![instance("main"), instance("cache")],
        patterns: vec![],
        queues: vec![Queue { name: "pending".into(), key: "q:pending".into(), warn_depth: None, crit_depth: None }],
        thresholds: BTreeMap::from([(
            "memory".to_owned(),
            Threshold { warn: Some(0.8), crit: Some(0.9), direction: Direction::HighIsBad },
        )]),
        declared: BTreeMap::new(),
        endpoints: vec![],
        metrics: vec![],
        logs: vec![],
        links: vec![],
        contacts: vec![],
        impact: vec![],
    }
}

fn services() -> BTreeMap<ServiceName, Arc<Service>> {
    ["payments", "sessions"].map(|name| (name.parse().unwrap(), Arc::new(service(name)))).into()
}

fn everything() -> Command {
    let text = include_str!("../../tests/samples/commands/valid/everything.toml");
    parse_file(Path::new("everything.toml"), text).unwrap()
}

fn catalogue() -> Catalogue {
    Catalogue::new(built_in().into_iter().chain([everything()]).collect()).unwrap()
}

/// Reads a line with everything known and allowed.
fn read(line: &str) -> Result<Intent, Misunderstood> {
    let (catalogue, services) = (catalogue(), services());
    parse(line, &Known { catalogue: &catalogue, services: &services, may: &|_| true })
}

fn same(a: &Intent, b: &Intent) {
    assert_eq!(a.command.name, b.command.name);
    assert_eq!((&a.service, &a.instance, &a.arguments), (&b.service, &b.instance, &b.arguments));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop_oneof![Just("`rm` *x*"), Just("<!channel>"), Just("{{ args.key }}"), Just("{% raw %}"), Just("@here")]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,12}|used_memory|maxmemory|shape|name|ok|value", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn seen(merged: Result<Value, Explained>) -> Observation {
    let node = Node { address: Address::Tcp { host: "127.0.0.1".into(), port: 6379 }, role: None };
    let took = Duration::from_millis(3);
    Observation { nodes: vec![NodeOutcome { node, result: merged.clone(), took }], merged, took }
}

fn refused() -> Explained {
    Explained {
        code: "REFUSED".into(),
        what: "127.0.0.1:6379 refused the connection".into(),
        cause: "nothing listens there".into(),
        next: "run `/redis connectivity`".into(),
    }
}

fn evidence(observations: BTreeMap<String, Observation>) -> Evidence {
    Evidence {
        service: Arc::new(service("payments")),
        instance: "main".parse::<InstanceName>().unwrap(),
        arguments: [
            ("key".to_owned(), ArgumentValue::Text("session:1".into())),
            ("max".to_owned(), ArgumentValue::Integer(3)),
        ]
        .into(),
        observations,
        nested: BTreeMap::new(),
        last: None,
        healthy: None,
        series: BTreeMap::new(),
        now: Timestamp::from_second(1_700_000_000).unwrap(),
        context: vec!["staging".into()],
        run: RunId::from_bits(7),
        took: Duration::from_millis(12),
    }
}

fn texts(card: &Card) -> Vec<&Text> {
    let mut texts: Vec<&Text> = card.verdict.iter().collect();
    for block in &card.blocks {
        match block {
            Block::Text(text) => texts.push(text),
            Block::Findings(findings) => {
                for finding in findings {
                    texts.push(&finding.what);
                    texts.extend(&finding.next);
                }
            }
            _ => {}
        }
    }
    texts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_line_is_read_or_explained(line in any::<String>()) {
        if let Err(misunderstood) = read(&line) {
            prop_assert!(!misunderstood.what.is_empty());
            prop_assert!(!misunderstood.card().blocks.is_empty());
        }
    }

    #[test]
    fn any_line_of_known_words_is_read_or_explained(
        words in prop::collection::vec(
            "everything|help|can-i|payments|sessions/cache|session:1|--max|--max=3|--blocked|--|\"a b\"|'|5|--time 2s|--sort count|x",
            0..7,
        )
    ) {
        let line = words.join(" ");
        if let Ok(intent) = read(&line) {
            same(&intent, &read(&intent.to_line()).unwrap());
        }
    }

    #[test]
    fn what_is_printed_is_read_again(
        key in "[^\\x00-\\x1f\\x7f-\\u{9f}]{1,40}",
        max in 1_i64..=10,
        time in 1_000_i64..=30_000,
        blocked in any::<bool>(),
        sort in "count|time",
        place in 0..4,
    ) {
        let intent = Intent {
            command: catalogue().find("everything").unwrap().clone(),
            service: (place > 0).then(|| "payments".parse().unwrap()),
            instance: (place > 1).then(|| "cache".parse().unwrap()),
            arguments: [
                ("key".to_owned(), ArgumentValue::Text(key)),
                ("max".to_owned(), ArgumentValue::Integer(max)),
                ("time".to_owned(), ArgumentValue::Integer(time)),
                ("blocked".to_owned(), ArgumentValue::Switch(blocked)),
                ("sort".to_owned(), ArgumentValue::Text(sort)),
            ].into(),
        };
        let line = intent.to_line();
        same(&intent, &read(&line).unwrap_or_else(|error| panic!("{line}: {error}")));
    }

    #[test]
    fn any_key_is_bound_as_one_word(key in "[^\\x00-\\x1f]{1,40}") {
        let command = Arc::new(everything());
        let arguments = [("key".to_owned(), ArgumentValue::Text(key.clone())), ("max".to_owned(), ArgumentValue::Integer(3))];
        let intent = Intent { command, service: None, instance: None, arguments: arguments.into() };
        let steps = bind(&intent, &service("payments")).unwrap();
        let argv = steps.iter().find_map(|step| match &step.look {
            Look::Redis { argv, .. } if step.id == "kind" => Some(argv.clone()),
            _ => None,
        });
        prop_assert_eq!(argv, Some(vec!["TYPE".to_owned(), key]));
        prop_assert!(steps.iter().any(|step| step.id == "depth[pending]"));
    }

    #[test]
    fn any_evidence_becomes_a_card_without_markup_of_its_own(
        values in prop::collection::vec(any_json(), 8),
        fails in prop::collection::vec(any::<bool>(), 8),
    ) {
        let ids = ["info", "kind", "depth[pending]", "latency", "lines", "groups", "page", "rates"];
        let observations = ids.iter().zip(values).zip(fails).map(|((id, value), fails)| {
            ((*id).to_owned(), seen(if fails { Err(refused()) } else { Ok(value) }))
        });
        let rendered = render(&everything(), &evidence(observations.collect()));
        for text in texts(&rendered.card) {
            for span in &text.0 {
                // The file's own emphasis is around one figure and one command; nothing else may be emphasised.
                if let Span::Strong(strong) = span {
                    prop_assert!(false, "emphasis from outside: {}", strong);
                }
                prop_assert!(!matches!(span, Span::Mention(_)));
            }
        }
        let shown = serde_json::to_string(&rendered.card).unwrap();
        let marks = shown.chars().any(|c| (0xFDD0..=0xFDEF).contains(&u32::from(c)));
        prop_assert!(!marks);
        prop_assert!(!rendered.card.title.is_empty());
    }

    #[test]
    fn any_expression_is_parsed_or_refused(source in any::<String>()) {
        let _ = language::expression::Program::parse(&source);
    }

    #[test]
    fn any_expression_of_known_parts_has_a_value_or_a_reason(
        parts in prop::collection::vec(
            "info|rows|\\.a|\\[0\\]|\\(|\\)| \\+ | / | && | \\|\\| | == | > |!|1|2\\.5|'x'|null|size\\(|ratio\\(|, | \\? | : |\\.map\\(r, |has\\(",
            1..14,
        ),
        value in any_json(),
    ) {
        if let Ok(program) = language::expression::Program::parse(&parts.concat()) {
            let mut scope = language::Scope::default();
            scope.set("info", minijinja::Value::from(minijinja::value::Serde(&value)));
            scope.set("rows", minijinja::Value::from(minijinja::value::Serde(json!([{"a": 1}, value]))));
            let _ = program.value(&scope);
            let _ = program.holds(&scope);
        }
    }

    #[test]
    fn any_file_is_read_or_explained(text in "(name = \"x\"\n|\\[\\[steps\\]\\]\n|id = \"a\"\n|redis = \\[\"INFO\"\\]\n|\\[card\\]\n|when = 3\n|x = \\{\\}\n|.{0,10}\n){0,12}") {
        if let Err(problems) = parse_file(Path::new("x.toml"), &text) {
            prop_assert!(!problems.is_empty());
        }
    }
}

#[test]
fn a_key_called_like_a_service_can_be_typed() {
    let key = |line: &str| read(line).unwrap().arguments.get("key").cloned();
    let payments = Some(ArgumentValue::Text("payments".into()));
    for line in [
        "everything -- payments",
        "everything \"payments\"",
        "everything payments sessions",
        "everything payments payments",
    ] {
        assert_eq!(key(line), payments, "{line}");
    }
    let told = read("everything payments").unwrap_err();
    insta::assert_snapshot!(told.why.unwrap(), @"`key`: the key to look at, a key's exact name, or a handle the bot gave for one. I took `payments` for the service; if it is meant as the key, type `everything -- payments`.");
}

#[test]
fn mistakes_are_answered_with_the_nearest_word_and_an_example() {
    let told = |line: &str| {
        let told = read(line).unwrap_err();
        format!("{line}\n  {} | {} | {}", told.what, told.suggestion.unwrap_or_default(), told.example)
    };
    let lines = [
        "everythin session:1 payments",
        "frobnicate",
        "payments everything",
        "ping paymens",
        "ping payments/nope",
        "everything k --mx 3",
        "everything k --max 99",
        "everything k --max",
        "everything k --sort cuont",
        "everything \"k",
        "everything k --service paymnts",
        "everything k max",
        "ping payments extra",
        "can-i",
    ];
    insta::assert_snapshot!(lines.map(told).join("\n"));
}

#[test]
fn text_is_taken_as_it_is_typed_and_an_empty_line_is_help() {
    assert_eq!(read("").unwrap().command.name, "help");
    assert_eq!(
        read("everything --help").unwrap().arguments.get("command"),
        Some(&ArgumentValue::Text("everything".into()))
    );
    let line = "can-i inspect \"a b\" --reveal it's";
    assert_eq!(read(line).unwrap().arguments.get("command"), Some(&ArgumentValue::Text(line[6..].into())));
    assert_eq!(read("/redis ping").unwrap().command.name, "ping");
    assert_eq!(read("PING").unwrap().command.name, "ping");
}

#[test]
fn help_shows_only_what_may_be_run() {
    let (catalogue, services) = (catalogue(), services());
    let may = |command: &Command| command.name != "everything" && command.name != "reload";
    let known = Known { catalogue: &catalogue, services: &services, may: &may };
    for topic in [None, Some("everything"), Some("everythin"), Some("relod")] {
        let shown = serde_json::to_string(&help_card(&known, topic)).unwrap();
        assert!(!shown.contains("every step and every part"), "{topic:?}");
        assert!(!shown.contains("read the configuration again"), "{topic:?}");
    }
    let one = help_card(&Known { may: &|_| true, ..known }, Some("everything"));
    insta::assert_debug_snapshot!(one.blocks);
}

#[test]
fn a_stopped_server_is_said_once_with_its_cause_and_what_to_do() {
    let failed = ["info", "kind", "latency", "watched"].map(|id| (id.to_owned(), seen(Err(refused()))));
    let rendered = render(&everything(), &evidence(failed.into()));
    assert_eq!(rendered.level, Level::Crit);
    assert_eq!(
        rendered.card.verdict.as_ref().map(Text::to_plain).as_deref(),
        Some("One thing needs attention: 127.0.0.1:6379 refused the connection")
    );
    insta::assert_debug_snapshot!((&rendered.card.blocks, &rendered.card.footer));
}

#[test]
fn figures_are_judged_and_compared_with_what_they_were() {
    let info = json!({"used_memory": 950_000_000, "maxmemory": 1_000_000_000, "note": "`x`"});
    let mut evidence = evidence([("info".to_owned(), seen(Ok(info)))].into());
    let at = |ago: i64| Timestamp::from_second(1_700_000_000 - ago).unwrap();
    let values = |used: f64, fill: f64| BTreeMap::from([("used".to_owned(), used), ("fill".to_owned(), fill)]);
    evidence.last = Some(Figures { at: at(300), values: values(848_000_000.0, 0.848) });
    evidence.healthy = Some(Figures { at: at(86_400), values: values(500_000_000.0, 0.5) });
    let rendered = render(&everything(), &evidence);
    assert_eq!(rendered.level, Level::Crit);
    assert_eq!(rendered.figures.get("fill"), Some(&0.95));
    insta::assert_debug_snapshot!((&rendered.card.verdict, &rendered.card.blocks));
}
