//! The looks of a command file.

use std::{collections::BTreeSet, time::Duration};

use super::{
    check::{Checker, ONLY_ARGS, SECOND, each},
    read::At,
    wire::{self, BackupsWord, NodesWord, StepTable, Str, SurveyWord},
};
use crate::{
    diagnosis::{DERIVATIONS, looks},
    runbook::{BackupsLook, Look, Nodes, Step, Survey, words::nearest},
};

/// The keys that say what a step looks at.
const LOOKS: &str = "redis, inspect, latency, monitor, connectivity, rates, tcp, http, metrics, logs, backups, command, keyspace, derive";
/// Numbers that may come from an argument, and the looks that have them.
const FILLS: &[(&str, &str)] = &[
    ("delta", "metrics"),
    ("events", "http"),
    ("last", "logs"),
    ("lines", "monitor"),
    ("over", "rates"),
    ("samples", "latency"),
    ("time", "monitor"),
];

pub(super) fn steps(checker: &mut Checker, wire: Vec<At<StepTable>>) -> Vec<Step> {
    let mut known = Vec::new();
    for At { value: step, span } in wire {
        let table = At { value: (), span };
        let id = checker.need(step.id.clone(), "id", &table, "this step");
        if let Some(id) = &id {
            checker.step_name(id);
        }
        known.push((step, table, id.map_or_else(String::new, |id| id.value)));
    }
    let ids: BTreeSet<String> = known.iter().map(|(_, _, id)| id.clone()).collect();
    let commands: BTreeSet<String> =
        known.iter().filter(|(step, ..)| step.command.is_some()).map(|(.., id)| id.clone()).collect();
    let in_order: Vec<String> = known.iter().map(|(_, _, id)| id.clone()).collect();
    known
        .into_iter()
        .filter_map(|(step, table, id)| one(checker, step, &table, id, &in_order, &ids, &commands))
        .collect()
}

fn one(
    checker: &mut Checker,
    step: StepTable,
    table: &At<()>,
    id: String,
    ids_in_order: &[String],
    ids: &BTreeSet<String>,
    commands: &BTreeSet<String>,
) -> Option<Step> {
    let mut names = vec!["args", "service", "instance", ONLY_ARGS];
    if step.each.is_some() {
        names.push("item");
    }
    checker.expression(step.when.as_ref(), "when", &names);
    if let Some(after) = &step.after {
        // Only an earlier step: so nothing can wait for itself.
        let earlier = checker.steps.contains(&after.value) && before(ids_in_order, &after.value, &id);
        if !earlier || step.each.is_some() {
            checker.say(
                after,
                format!("`after` names `{}`, which is not an earlier step", after.value),
                "name a step that stands above this one; a step with `each` waits for none",
            );
        }
    }
    let mut looks = Vec::new();
    if let Some(argv) = &step.redis {
        looks.push(("redis", redis(checker, argv, step.nodes.as_ref().map(|at| at.value), &names)));
    } else if let Some(nodes) = &step.nodes {
        checker.say(
            nodes,
            "`nodes` stands without `redis`".to_owned(),
            "it says which servers a Redis command is sent to",
        );
    }
    if let Some(At { value, span }) = &step.inspect {
        looks.push(("inspect", inspect(checker, value, &At { value: (), span: span.clone() }, &names)));
    }
    if let Some(At { value, .. }) = &step.latency {
        looks.push((
            "latency",
            Some(Look::Latency { samples: checker.count(value.samples.as_ref(), "samples", 1, 10_000, 100) }),
        ));
    }
    if let Some(At { value, .. }) = &step.monitor {
        let time = checker.duration(value.time.as_ref(), "time", SECOND / 10, 60 * SECOND, 5 * SECOND);
        looks.push((
            "monitor",
            Some(Look::Monitor { time, lines: checker.count(value.lines.as_ref(), "lines", 1, 100_000, 1000) }),
        ));
    }
    if step.connectivity.is_some() {
        looks.push(("connectivity", Some(Look::Connectivity)));
    }
    if let Some(At { value, .. }) = &step.rates {
        looks.push((
            "rates",
            Some(Look::Rates { over: checker.duration(value.over.as_ref(), "over", SECOND / 10, 30 * SECOND, SECOND) }),
        ));
    }
    if let Some(At { value, .. }) = &step.tcp {
        looks.push(("tcp", Some(tcp(checker, value))));
    }
    if let Some(At { value, span }) = &step.http {
        looks.push(("http", http(checker, value, &At { value: (), span: span.clone() }, &names)));
    }
    if let Some(At { value, span }) = &step.metrics {
        looks.push(("metrics", metrics(checker, value, &At { value: (), span: span.clone() }, &names)));
    }
    if let Some(At { value, span }) = &step.logs {
        looks.push(("logs", logs(checker, value, &At { value: (), span: span.clone() }, &names)));
    }
    if let Some(At { value, span }) = &step.backups {
        looks.push(("backups", backups(checker, value, &At { value: (), span: span.clone() }, &names)));
    }
    if let Some(name) = &step.command {
        looks.push(("command", Some(Look::Command { name: name.value.clone() })));
    }
    if let Some(At { value, span }) = &step.keyspace {
        looks.push(("keyspace", keyspace(checker, value, &At { value: (), span: span.clone() }, &names)));
    }
    if let Some(what) = &step.derive {
        looks.push(("derive", Some(derive(checker, what, step.from.as_ref(), &id, ids, commands))));
    } else if let Some(from) = &step.from {
        checker.say(
            from,
            "`from` stands without `derive`".to_owned(),
            "it names the steps something is worked out from",
        );
    }
    let shown = if id.is_empty() { "this step".to_owned() } else { format!("step `{id}`") };
    let (key, look) = match looks.len() {
        1 => looks.remove(0),
        0 => {
            checker.say(table, format!("{shown} does not say what to look at"), &format!("add one of {LOOKS}"));
            return None;
        }
        _ => {
            let keys: Vec<_> = looks.iter().map(|(key, _)| format!("`{key}`")).collect();
            checker.say(table, format!("{shown} looks at several things: {}", keys.join(", ")), "make a step of each");
            return None;
        }
    };
    fills(checker, &step, key, &names);
    Some(Step {
        id,
        look: look?,
        when: step.when.map(|when| when.value),
        each: step.each.map(each),
        fill: step.fill.into_iter().map(|(field, template)| (field, template.value)).collect(),
        after: step.after.map(|after| after.value),
        optional: step.optional,
    })
}

/// Whether one step stands above another.
fn before(ids: &[String], first: &str, second: &str) -> bool {
    let place = |id: &str| ids.iter().position(|known| known == id);
    place(first) < place(second)
}

fn fills(checker: &mut Checker, step: &StepTable, key: &str, names: &[&str]) {
    for (field, template) in &step.fill {
        match FILLS.iter().find(|(known, _)| known == field) {
            Some((_, look)) if *look == key => checker.template(Some(template), &format!("fill.{field}"), names),
            Some((_, look)) => checker.say(
                template,
                format!("`fill.{field}` has no meaning for `{key}`"),
                &format!("it belongs to `{look}`"),
            ),
            None => {
                let known = FILLS.iter().map(|(known, _)| *known);
                let hint = nearest(field, known.clone()).map_or_else(
                    || format!("known: {}", known.collect::<Vec<_>>().join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                checker.say(template, format!("`fill.{field}` is not a number of any look"), &hint);
            }
        }
    }
}

fn redis(checker: &mut Checker, argv: &At<Vec<Str>>, nodes: Option<NodesWord>, names: &[&str]) -> Option<Look> {
    for word in &argv.value {
        checker.template(Some(word), "redis", names);
    }
    let words: Vec<String> = argv.value.iter().map(|word| word.value.clone()).collect();
    if words.first().is_none_or(|name| name.contains("{{") || name.contains("{%")) {
        checker.say(
            argv,
            "the Redis command's name must be written out".to_owned(),
            "only what follows it may be a template",
        );
        return None;
    }
    let shown: String = words.iter().take(2).map(String::as_str).collect::<Vec<_>>().join(" ");
    match looks::classify(&words) {
        looks::LookVerdict::Look { .. } => {}
        looks::LookVerdict::Refused { why, instead } => {
            checker.say(argv, format!("`{shown}` is not sent: {why}"), &format!("use {instead}"));
            return None;
        }
        looks::LookVerdict::Write => {
            checker.say(
                argv,
                format!("`{shown}` changes something, and a diagnostic only looks"),
                "what changes something is a remediation",
            );
            return None;
        }
        looks::LookVerdict::NotListed => {
            let known: Vec<String> = looks::listed().map(str::to_uppercase).collect();
            let lowered: Vec<String> = known.iter().map(|name| name.to_lowercase()).collect();
            let hint = nearest(&shown.to_lowercase(), lowered.iter().map(String::as_str))
                .or_else(|| nearest(&words[0].to_lowercase(), lowered.iter().map(String::as_str)))
                .map_or_else(
                    || "only reviewed commands are sent; the table is in src/diagnosis/looks".to_owned(),
                    |near| format!("did you mean `{}`?", near.to_uppercase()),
                );
            checker.say(argv, format!("`{shown}` is not in the table of commands that only look"), &hint);
            return None;
        }
    }
    let nodes = match nodes {
        // In a cluster, a key's question has one server that can answer it.
        None if looks::names_key(&words) => Nodes::Key,
        None | Some(NodesWord::Primaries) => Nodes::Primaries,
        Some(NodesWord::All) => Nodes::All,
        Some(NodesWord::Any) => Nodes::Any,
        Some(NodesWord::Key) => Nodes::Key,
    };
    Some(Look::Redis { argv: words, nodes })
}

fn inspect(checker: &mut Checker, inspect: &wire::Inspect, table: &At<()>, names: &[&str]) -> Option<Look> {
    let key = checker.need(inspect.key.as_ref(), "key", table, "`inspect`");
    checker.template(key, "key", names);
    let sample = checker.count(inspect.sample.as_ref(), "sample", 0, 100, 10);
    let over =
        inspect.over.as_ref().map(|at| checker.duration(Some(at), "over", SECOND / 10, 10 * SECOND, Duration::ZERO));
    Some(Look::Inspect { key: key?.value.clone(), sample, over })
}

fn tcp(checker: &mut Checker, tcp: &wire::Tcp) -> Look {
    let address = tcp.address.as_ref().map(|at| at.value.clone()).unwrap_or_default();
    if let Some(at) = &tcp.address {
        let port = at.value.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then_some(port));
        if port.and_then(|port| port.parse::<u16>().ok()).is_none_or(|port| port == 0) {
            checker.say(
                at,
                format!("`{}` is not `host:port`", at.value),
                "an address is fixed in the file, without templates",
            );
        }
    }
    Look::Tcp { address }
}

fn http(checker: &mut Checker, http: &wire::Http, table: &At<()>, names: &[&str]) -> Option<Look> {
    let endpoint = checker.need(http.endpoint.as_ref(), "endpoint", table, "`http`");
    checker.template(endpoint, "endpoint", names);
    for (name, template) in &http.arguments {
        checker.template(Some(template), &format!("arguments.{name}"), names);
    }
    if let Some(pointer) = &http.pointer
        && !pointer.value.is_empty()
        && !pointer.value.starts_with('/')
    {
        checker.say(pointer, format!("`{}` is not a JSON pointer", pointer.value), "write `/status/indicator`");
    }
    let events = http.events.as_ref().map(|at| checker.count(Some(at), "events", 1, 1000, 1));
    Some(Look::Http {
        endpoint: endpoint?.value.clone(),
        arguments: http.arguments.iter().map(|(name, template)| (name.clone(), template.value.clone())).collect(),
        pointer: http.pointer.as_ref().map(|at| at.value.clone()),
        events,
    })
}

fn metrics(checker: &mut Checker, metrics: &wire::Metrics, table: &At<()>, names: &[&str]) -> Option<Look> {
    let source = checker.need(metrics.source.as_ref(), "source", table, "`metrics`");
    checker.template(source, "source", names);
    for prefix in &metrics.select {
        checker.template(Some(prefix), "select", names);
    }
    let delta =
        metrics.delta.as_ref().map(|at| checker.duration(Some(at), "delta", SECOND / 10, 60 * SECOND, Duration::ZERO));
    Some(Look::Metrics {
        source: source?.value.clone(),
        select: metrics.select.iter().map(|at| at.value.clone()).collect(),
        delta,
    })
}

fn logs(checker: &mut Checker, logs: &wire::Logs, table: &At<()>, names: &[&str]) -> Option<Look> {
    let source = checker.need(logs.source.as_ref(), "source", table, "`logs`");
    checker.template(source, "source", names);
    checker.template(logs.filter.as_ref(), "filter", names);
    if let Some(filter) = &logs.filter
        && !filter.value.contains("{{")
        && let Err(error) = regex::RegexBuilder::new(&filter.value).size_limit(1 << 20).build()
    {
        let why = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        checker.say(
            filter,
            format!("`filter` is not a regular expression: {why}"),
            "write a pattern, or the name of a filter of the profile",
        );
    }
    Some(Look::Logs {
        source: source?.value.clone(),
        filter: logs.filter.as_ref().map(|at| at.value.clone()),
        last: checker.count(logs.last.as_ref(), "last", 1, 500, 20),
    })
}

fn backups(checker: &mut Checker, backups: &wire::Backups, table: &At<()>, names: &[&str]) -> Option<Look> {
    let what = checker.need(backups.what.as_ref().map(|at| at.value), "what", table, "`backups`");
    checker.template(backups.name.as_ref(), "name", names);
    let what = match what? {
        BackupsWord::List => BackupsLook::List,
        BackupsWord::Show => BackupsLook::Show,
        BackupsWord::Verify => BackupsLook::Verify,
        BackupsWord::Exports => BackupsLook::Exports,
    };
    Some(Look::Backups { what, name: backups.name.as_ref().map(|at| at.value.clone()).unwrap_or_default() })
}

fn keyspace(checker: &mut Checker, keyspace: &wire::Keyspace, table: &At<()>, names: &[&str]) -> Option<Look> {
    let survey = checker.need(keyspace.survey.as_ref().map(|at| at.value), "survey", table, "`keyspace`");
    let options = [
        ("pattern", &keyspace.pattern),
        ("top", &keyspace.top),
        ("page", &keyspace.page),
        ("separators", &keyspace.separators),
        ("lengths", &keyspace.lengths),
        ("weigh", &keyspace.weigh),
        ("sample", &keyspace.sample),
        ("node", &keyspace.node),
    ];
    for (name, option) in &options {
        checker.template(option.as_ref(), name, names);
    }
    let survey = match survey? {
        SurveyWord::Bigkeys => Survey::Bigkeys,
        SurveyWord::Memkeys => Survey::Memkeys,
        SurveyWord::Hotkeys => Survey::Hotkeys,
        SurveyWord::Keys => Survey::Keys,
        SurveyWord::TtlAudit => Survey::TtlAudit,
        SurveyWord::Clients => Survey::Clients,
    };
    let options = options
        .into_iter()
        .filter_map(|(name, option)| Some((name.to_owned(), option.as_ref()?.value.clone())))
        .collect();
    Some(Look::Keyspace { survey, options })
}

fn derive(
    checker: &mut Checker,
    what: &Str,
    from: Option<&At<Vec<Str>>>,
    id: &str,
    ids: &BTreeSet<String>,
    commands: &BTreeSet<String>,
) -> Look {
    if !DERIVATIONS.contains(&what.value.as_str()) {
        let hint = nearest(&what.value, DERIVATIONS.iter().copied())
            .map_or_else(|| format!("known: {}", DERIVATIONS.join(", ")), |near| format!("did you mean `{near}`?"));
        checker.say(what, format!("nothing called `{}` can be worked out", what.value), &hint);
    }
    let from = from.map(|at| at.value.as_slice()).unwrap_or_default();
    for step in from {
        if step.value == id {
            checker.say(step, format!("step `{id}` is worked out from itself"), "name the steps it needs");
        } else if !ids.contains(&step.value) {
            let hint = nearest(&step.value, ids.iter().map(String::as_str))
                .map_or_else(|| "name a step of this file".to_owned(), |near| format!("did you mean `{near}`?"));
            checker.say(step, format!("`from` names `{}`, which is not a step", step.value), &hint);
        } else if commands.contains(&step.value) {
            checker.say(
                step,
                format!("`{}` runs a command, and has no answer to work with", step.value),
                "name a step that looks at something",
            );
        }
    }
    Look::Derive { what: what.value.clone(), from: from.iter().map(|step| step.value.clone()).collect() }
}
