//! Intents to looks with every value filled in.

use std::collections::BTreeMap;

use minijinja::{Value, value::Serde};

use super::{
    ArgumentKind, ArgumentValue, Compiled, Intent, Kind, Look, Step, Wanted, language::Scope, view, words::nearest,
};
use crate::{
    diagnosis::{Explained, looks},
    model::{Service, parse_duration},
};

/// The steps of a diagnostic for one service: templates filled in, steps
/// whose `when` is false left out, a step with `each` made one for each thing.
///
/// # Errors
///
/// An argument that names nothing of this service's profile, a template that
/// cannot be filled in, or a look that is none once it is.
pub fn bind(intent: &Intent, service: &Service) -> Result<Vec<Step>, Explained> {
    let Kind::Diagnostic(diagnostic) = &intent.command.kind else { return Ok(Vec::new()) };
    check_names(intent, service)?;
    let scope = scope_of(intent, service);
    let mut bound = Vec::new();
    let mut repeated: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for step in &diagnostic.steps {
        let Some(each) = step.each else {
            if diagnostic.compiled.holds(step.when.as_deref(), &scope) {
                bound.push(one(intent, &diagnostic.compiled, step, step.id.clone(), &scope)?);
            }
            continue;
        };
        let ids = repeated.entry(step.id.as_str()).or_default();
        for item in view::items(service, each) {
            let name = item.get("name").and_then(|name| name.as_str()).unwrap_or_default().to_owned();
            let scope = scope.with("item", Value::from(Serde(item)));
            if diagnostic.compiled.holds(step.when.as_deref(), &scope) {
                let id = format!("{}[{name}]", step.id);
                ids.push(id.clone());
                bound.push(one(intent, &diagnostic.compiled, step, id, &scope)?);
            }
        }
    }
    for step in &mut bound {
        if let Look::Derive { from, .. } = &mut step.look {
            *from = from
                .iter()
                .flat_map(|id| repeated.get(id.as_str()).cloned().unwrap_or_else(|| vec![id.clone()]))
                .collect();
        }
    }
    Ok(bound)
}

/// The touches of a remediation for one service, with every word filled in.
///
/// # Errors
///
/// As for [`bind`].
pub fn bind_touches(intent: &Intent, service: &Service) -> Result<Vec<Wanted>, Explained> {
    let Kind::Remediation(remediation) = &intent.command.kind else { return Ok(Vec::new()) };
    check_names(intent, service)?;
    let scope = scope_of(intent, service);
    let compiled = &remediation.compiled;
    let wanted = remediation.touches.iter().filter(|touch| compiled.holds(touch.when.as_deref(), &scope));
    wanted
        .map(|touch| {
            let mut with = BTreeMap::new();
            for (name, template) in &touch.with {
                let text = filled(intent, compiled, touch.kind.word(), template, &scope)?;
                if !text.is_empty() {
                    with.insert(name.clone(), text);
                }
            }
            Ok(Wanted { kind: touch.kind, with })
        })
        .collect()
}

fn scope_of(intent: &Intent, service: &Service) -> Scope {
    let mut scope = Scope::default();
    scope.set("args", Value::from(Serde(view::arguments(&intent.arguments))));
    scope.set("service", Value::from(Serde(view::service(service))));
    if let Some(instance) = service.instance(intent.instance.as_ref()) {
        scope.set("instance", Value::from(Serde(view::instance(instance))));
    }
    scope
}

fn filled(intent: &Intent, compiled: &Compiled, id: &str, template: &str, scope: &Scope) -> Result<String, Explained> {
    if !template.contains('{') {
        return Ok(template.to_owned());
    }
    compiled.render(template, scope).map(|marked| marked.raw()).map_err(|why| broken(intent, id, &why))
}

/// Arguments that name something of a profile name something this profile has.
fn check_names(intent: &Intent, service: &Service) -> Result<(), Explained> {
    for spec in &intent.command.arguments {
        let (ArgumentKind::Of(of), Some(ArgumentValue::Text(given))) = (&spec.kind, intent.arguments.get(&spec.name))
        else {
            continue;
        };
        let names = view::names(service, of);
        if names.contains(&given.as_str()) {
            continue;
        }
        let next = match nearest(given, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => format!("add {of} to the service's profile"),
            None => format!("use one of {}", names.join(", ")),
        };
        return Err(Explained {
            code: "UNKNOWN".to_owned(),
            what: format!("{} has no `{given}` among its {of}", service.name),
            cause: format!("its profile lists {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") }),
            next,
        });
    }
    Ok(())
}

fn one(intent: &Intent, compiled: &Compiled, step: &Step, id: String, scope: &Scope) -> Result<Step, Explained> {
    let fill = |template: &str| filled(intent, compiled, &id, template, scope);
    let all = |templates: &[String]| templates.iter().map(|template| fill(template)).collect::<Result<Vec<_>, _>>();
    let pairs = |pairs: &[(String, String)]| {
        pairs.iter().map(|(name, template)| Ok((name.clone(), fill(template)?))).collect::<Result<Vec<_>, Explained>>()
    };
    let mut look = match &step.look {
        Look::Redis { argv, nodes } => {
            let argv = all(argv)?;
            check_look(intent, &id, &argv)?;
            Look::Redis { argv, nodes: *nodes }
        }
        Look::Inspect { key, sample, over } => Look::Inspect { key: fill(key)?, sample: *sample, over: *over },
        Look::Http { endpoint, arguments, pointer, events } => Look::Http {
            endpoint: fill(endpoint)?,
            arguments: pairs(arguments)?,
            pointer: pointer.clone(),
            events: *events,
        },
        Look::Metrics { source, select, delta } => Look::Metrics {
            source: fill(source)?,
            select: all(select)?.into_iter().filter(|prefix| !prefix.is_empty()).collect(),
            delta: *delta,
        },
        Look::Logs { source, filter, last } => Look::Logs {
            source: fill(source)?,
            filter: filter.as_deref().map(fill).transpose()?.filter(|filter| !filter.is_empty()),
            last: *last,
        },
        Look::Backups { what, name } => Look::Backups { what: *what, name: fill(name)? },
        Look::Keyspace { survey, options } => {
            let options = pairs(options)?;
            check_separators(&options)?;
            Look::Keyspace { survey: *survey, options }
        }
        other => other.clone(),
    };
    for (field, template) in &step.fill {
        let text = fill(template)?;
        let text = text.trim();
        if !text.is_empty() {
            set(&mut look, field, text).ok_or_else(|| broken(intent, &id, &format!("`{text}` is no `{field}`")))?;
        }
    }
    Ok(Step {
        id,
        look,
        when: None,
        each: None,
        fill: BTreeMap::new(),
        after: step.after.clone(),
        optional: step.optional,
    })
}

/// What the arguments made of a look is judged again: a bound may have come from them.
fn check_look(intent: &Intent, id: &str, argv: &[String]) -> Result<(), Explained> {
    let shown = argv.iter().take(2).map(String::as_str).collect::<Vec<_>>().join(" ");
    match looks::classify(argv) {
        looks::LookVerdict::Look { .. } => Ok(()),
        looks::LookVerdict::Refused { why, instead } => Err(Explained {
            code: "REFUSED".to_owned(),
            what: format!("`{shown}` is not sent like this"),
            cause: why,
            next: format!("use {instead}"),
        }),
        looks::LookVerdict::Write | looks::LookVerdict::NotListed => Err(broken(intent, id, "it is not a look")),
    }
}

/// What parts names is punctuation: letters and digits are what names are made of.
fn check_separators(options: &[(String, String)]) -> Result<(), Explained> {
    let given = options.iter().find(|(name, _)| name == "separators").map_or("", |(_, text)| text.trim());
    match given.chars().find(|character| !character.is_ascii_punctuation()) {
        None => Ok(()),
        Some(other) => Err(Explained {
            code: "SEPARATORS".to_owned(),
            what: format!("“{other}” parts no names"),
            cause: "separators are punctuation, such as `:` or `/.`".to_owned(),
            next: "leave `--separators` out, and they are found in the names themselves".to_owned(),
        }),
    }
}

fn broken(intent: &Intent, id: &str, why: &str) -> Explained {
    Explained {
        code: "COMMAND".to_owned(),
        what: format!("step `{id}` of `{}` cannot be filled in: {why}", intent.command.name),
        cause: format!("the command file {} does not fit what was asked", intent.command.source),
        next: "show this to whoever maintains the command".to_owned(),
    }
}

/// Puts a number that came from an argument into a look, within the bounds files have too.
fn set(look: &mut Look, field: &str, text: &str) -> Option<()> {
    let count = |max: u32| Some(text.parse::<u32>().ok()?.clamp(1, max));
    // Arguments that are durations are whole milliseconds; a file may also write `5s`.
    let time = |max: u64| {
        let ms = match text.parse::<u64>() {
            Ok(ms) => ms,
            Err(_) => u64::try_from(parse_duration(text)?.as_millis()).ok()?,
        };
        Some(std::time::Duration::from_millis(ms.clamp(100, max)))
    };
    match (look, field) {
        (Look::Latency { samples }, "samples") => *samples = count(10_000)?,
        (Look::Monitor { time: length, .. }, "time") => *length = time(60_000)?,
        (Look::Monitor { lines, .. }, "lines") => *lines = count(100_000)?,
        (Look::Rates { over }, "over") => *over = time(30_000)?,
        (Look::Metrics { delta, .. }, "delta") => *delta = Some(time(60_000)?),
        (Look::Http { events, .. }, "events") => *events = Some(count(1_000)?),
        (Look::Logs { last, .. }, "last") => *last = count(500)?,
        _ => return None,
    }
    Some(())
}
