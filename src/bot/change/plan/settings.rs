//! Plans that change settings.

use serde_json::Value;

use super::{Draft, Maker, Unplanned, step, trouble};
use crate::{
    bot::command::plain_card,
    diagnosis::Explained,
    runbook::{Change, Parameter, Reach, Risk, TouchKind, Undo, Wanted, show_bytes},
};

fn whole_server() -> Reach {
    Reach { what: "the whole server, every database and client".to_owned(), exact: true, ..Reach::default() }
}

/// The draft of a `set-config`.
pub(super) async fn set(maker: &Maker<'_>, wanted: &Wanted) -> Result<Draft, Unplanned> {
    let Some(parameter) = Parameter::find(wanted.need("parameter")) else {
        return Err(Unplanned::Misunderstood(Box::new(plain_card(
            &maker.wish.command.name,
            "That setting is not on the list of those that may be changed.",
            Some("see `/redis help set-config`".into()),
        ))));
    };
    let typed = parameter.read(wanted.need("value")).map_err(|why| {
        let what = format!("`{}` cannot be set to that: {why}.", parameter.name);
        Unplanned::Misunderstood(Box::new(plain_card(&maker.wish.command.name, what, None)))
    })?;
    let all: Vec<usize> = (0..maker.primaries.len()).collect();
    to(maker, parameter, &typed, &all).await
}

/// The draft that gives a setting a value on some of the primaries; of a setting
/// with parts, what `typed` does not name stays as it is.
pub(super) async fn to(
    maker: &Maker<'_>,
    parameter: &'static Parameter,
    typed: &str,
    on: &[usize],
) -> Result<Draft, Unplanned> {
    let held = held(maker, parameter, on).await?;
    let machine = match parameter.name {
        "maxmemory" => above_what_is_used(maker, typed, on).await?,
        "min-replicas-to-write" => {
            enough_replicas(maker, typed, on)?;
            None
        }
        _ => None,
    };
    let mut steps = Vec::new();
    let mut risk = Risk::Low;
    let mut moves: Vec<(String, String)> = Vec::new();
    let mut first = String::new();
    for (target, name, old) in &held {
        let new = parameter.over(typed, old).map_err(|why| {
            trouble(
                format!("{} cannot be set to that: {why}", parameter.name),
                "the value does not fit",
                "see `/redis help set-config`",
            )
        })?;
        if *old == new {
            first.clone_from(&new);
            continue;
        }
        risk = risk.max(parameter.risk).max(parameter.risk_of(old, &new));
        let compared = parameter.compared(old, &new);
        if !moves.contains(&compared) {
            moves.push(compared);
        }
        steps.push(step(*target, Change::SetConfig { parameter: name.clone(), old: old.clone(), new }));
    }
    if steps.is_empty() {
        return Err(Unplanned::Nothing(format!("`{}` is {} already.", parameter.name, parameter.show(&first))));
    }
    let undo = if steps.iter().all(|step| step.change.back().is_some()) {
        Undo::By("each server gets the value it had".to_owned())
    } else {
        let olds: Vec<&str> = moves.iter().map(|(old, _)| old.as_str()).collect();
        let olds = olds.join(", ");
        Undo::Never(format!("{olds} is outside what may be set from here; it has to be set by hand"))
    };
    let lasts = match maker.wish.lasts_ms {
        Some(_) => "until it takes itself back, or the server restarts",
        None => {
            "until the server restarts; its configuration file is not rewritten (`/redis rewrite-config` does that)"
        }
    };
    let arrows: Vec<String> = moves.iter().map(|(old, new)| format!("{old} → {new}")).collect();
    let facts = [
        ("Setting", parameter.name.to_owned()),
        ("Old → new", arrows.join("\n")),
        ("What it does", parameter.meaning.to_owned()),
        ("Lasts", lasts.to_owned()),
    ];
    let mut facts: Vec<(String, String)> = facts.map(|(label, value)| (label.to_owned(), value)).into();
    let mut warnings = Vec::new();
    if let Some(machine) = machine {
        facts.push(("The machine".to_owned(), format!("{} of memory", show_bytes(machine))));
        if let Some(warning) = beyond(machine, typed) {
            warnings.push(warning);
            let mut olds = held.iter().filter_map(|(_, _, old)| old.parse().ok());
            // To set what was there before is no new danger.
            let undoes = maker.wish.wanted.iter().any(|wanted| wanted.kind == TouchKind::Undo);
            if !undoes && olds.any(|old: u64| !is_beyond(machine, old)) {
                risk = risk.raised();
            }
        }
    }
    if on.iter().any(|&target| maker.primaries[target].target.replicas > 0) {
        warnings.push("Replicas keep their own value: after a failover, theirs holds.".to_owned());
    }
    warnings.extend(nothing_survives(maker, parameter, typed, on).await);
    Ok(Draft { steps, reach: whole_server(), facts, warnings, undo, risk, undoes: None })
}

/// Switching off the last thing that survives a restart.
async fn nothing_survives(maker: &Maker<'_>, parameter: &Parameter, new: &str, on: &[usize]) -> Option<String> {
    let (other, off) = match (parameter.name, new) {
        ("save", "") => ("appendonly", "no"),
        ("appendonly", "no") => ("save", ""),
        _ => return None,
    };
    let answers = maker.read(&["CONFIG", "GET", other]).await;
    let is_off = |answer: &Result<Value, Explained>| {
        answer.as_ref().ok().and_then(|answer| answer.get(other)).and_then(plain).is_some_and(|value| value == off)
    };
    let bare = answers.iter().enumerate().any(|(target, answer)| on.contains(&target) && is_off(answer));
    bare.then(|| {
        let is = if off.is_empty() { "empty" } else { off };
        format!("{other} is {is} as well: from then on nothing is written to disk by itself, and a restart loses everything.")
    })
}

/// More replicas asked for than there are: every write would be refused at once.
fn enough_replicas(maker: &Maker<'_>, new: &str, on: &[usize]) -> Result<(), Explained> {
    let needed: u64 = new.parse().unwrap_or(0);
    match on.iter().map(|&target| &maker.primaries[target].target).find(|target| target.replicas < needed) {
        Some(target) => Err(trouble(
            format!(
                "{} has {} replicas, and {needed} would be needed for every write",
                target.address, target.replicas
            ),
            "the server would refuse all writes at once (NOREPLICAS)",
            "choose no more than there are, better one less; `/redis replication` shows them",
        )),
        None => Ok(()),
    }
}

/// What each of those primaries holds: its place, the name it knows the setting by, the value.
async fn held(
    maker: &Maker<'_>,
    parameter: &'static Parameter,
    on: &[usize],
) -> Result<Vec<(usize, String, String)>, Explained> {
    let mut held: Vec<(usize, String, String)> = Vec::new();
    let mut refusal = None;
    for name in std::iter::once(parameter.name).chain(parameter.older) {
        let answers = maker.read(&["CONFIG", "GET", name]).await;
        for (target, answer) in answers.into_iter().enumerate().filter(|(target, _)| on.contains(target)) {
            match answer {
                Ok(answer) => {
                    if let Some(value) = answer.get(name).and_then(plain)
                        && held.iter().all(|(known, ..)| *known != target)
                    {
                        held.push((target, name.to_owned(), value));
                    }
                }
                Err(error) => refusal = Some(error),
            }
        }
        if held.len() == on.len() {
            held.sort_by_key(|(target, ..)| *target);
            return Ok(held);
        }
    }
    Err(refusal.unwrap_or_else(|| {
        trouble(
            format!("this server does not know {}", parameter.name),
            "its version is too old for it, or the bot's user may not read it",
            "see `/redis config`",
        )
    }))
}

/// Of a machine's memory, a server may be given so many per cent: it needs more than its data, and is not alone.
const OF_THE_MACHINE: u64 = 75;

/// Whether a limit lets the server take more of its machine than is good for both; 0 is no limit.
fn is_beyond(machine: u64, limit: u64) -> bool {
    limit == 0 || u128::from(limit) * 100 > u128::from(machine) * u128::from(OF_THE_MACHINE)
}

/// What is to be feared of such a limit on such a machine.
fn beyond(machine: u64, limit: &str) -> Option<String> {
    let limit: u64 = limit.parse().ok()?;
    if !is_beyond(machine, limit) {
        return None;
    }
    let what = match limit {
        0 => "No limit is".to_owned(),
        limit => format!("{} is", show_bytes(limit)),
    };
    Some(format!(
        "{what} more than {OF_THE_MACHINE} % of the machine's {}: buffers, copies for a save and fragmentation come on \
         top, and the system kills a server that takes all there is. (In a container the bound may be lower still.)",
        show_bytes(machine)
    ))
}

/// A limit below what is in use would evict or refuse at once. The memory of the smallest machine, where it is told.
async fn above_what_is_used(maker: &Maker<'_>, new: &str, on: &[usize]) -> Result<Option<u64>, Explained> {
    let limit = new.parse::<u64>().ok().filter(|&limit| limit > 0);
    let mut machine: Option<u64> = None;
    for (target, memory) in maker.read(&["INFO", "memory"]).await.into_iter().enumerate() {
        if !on.contains(&target) {
            continue;
        }
        let memory = match (memory, limit) {
            (Ok(memory), _) => memory,
            (Err(error), Some(_)) => return Err(error),
            (Err(_), None) => continue,
        };
        let total = memory.get("total_system_memory").and_then(Value::as_u64).filter(|&total| total > 0);
        machine = machine.into_iter().chain(total).min();
        let Some(limit) = limit else { continue };
        let used = memory.get("used_memory").and_then(Value::as_u64).ok_or_else(|| {
            trouble("the memory in use cannot be read", "INFO memory did not tell it", "see `/redis memory`")
        })?;
        if limit < used {
            return Err(trouble(
                format!("maxmemory {} is below the {} in use", show_bytes(limit), show_bytes(used)),
                "the server would evict keys or refuse writes at once, and evicted keys cannot be brought back",
                "free memory first (`/redis memory` says what holds it), or choose a higher limit",
            ));
        }
    }
    Ok(machine)
}

/// The draft of a `rewrite-config`.
pub(super) fn rewrite(maker: &Maker<'_>) -> Result<Draft, Unplanned> {
    Ok(Draft {
        steps: (0..maker.primaries.len()).map(|target| step(target, Change::RewriteConfig)).collect(),
        reach: Reach { what: "the configuration file of each primary".to_owned(), exact: true, ..Reach::default() },
        facts: Vec::new(),
        warnings: vec![
            "Everything that was changed live goes into the file, whoever changed it: `/redis drift` shows it."
                .to_owned(),
        ],
        undo: Undo::Never(
            "the file as it was is not kept; a setting can be set back and the file written again".to_owned(),
        ),
        risk: Risk::Medium,
        undoes: None,
    })
}

/// A figure as the server wrote it.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_beyond_three_quarters_of_the_machine_is_warned_of_and_no_limit_is_beyond_any() {
        assert_eq!(beyond(1_000, "750"), None);
        for limit in ["751", "100000", "0"] {
            assert!(beyond(1_000, limit).is_some_and(|said| said.contains("75 %")), "{limit}");
        }
    }
}
