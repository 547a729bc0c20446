//! The plan that closes connections.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Draft, Maker, Unplanned, step, trouble};
use crate::{
    bot::command::plain_card,
    diagnosis::redact,
    model::show_duration,
    runbook::{Change, ClientFilter, ClientKind, Reach, Risk, Undo, Wanted, spared},
};

/// How far the number of connections may be off: they come and go all the time.
const TOLERANCE_PERCENT: u32 = 20;
/// Groups of connections that are named.
const NAMED: usize = 8;

/// The draft of a `kill-clients`.
pub(super) async fn kill(maker: &Maker<'_>, wanted: &Wanted) -> Result<Draft, Unplanned> {
    let filter = filter(wanted).filter(|filter| !filter.is_empty()).ok_or_else(|| {
        let what = "It has to be said whose connections are meant: nobody closes all of them at once.";
        let next = "name them: `--name`, `--address`, `--user`, `--idle`, `--output` or `--type`; `/redis clients` shows who is there";
        Unplanned::Misunderstood(Box::new(plain_card(&maker.wish.command.name, what, Some(next.to_owned()))))
    })?;
    let all: Vec<usize> = (0..maker.primaries.len()).collect();
    meant(maker, &filter, &all).await
}

/// What the words of the touch say; `None` when one of them says nothing that is known.
fn filter(wanted: &Wanted) -> Option<ClientFilter> {
    let number = |name: &str| match wanted.get(name) {
        Some(word) => word.parse::<u64>().ok().map(Some),
        None => Some(None),
    };
    Some(ClientFilter {
        name: wanted.get("name").map(str::to_owned),
        address: wanted.get("address").map(str::to_owned),
        user: wanted.get("user").map(str::to_owned),
        // Durations are whole milliseconds once they are filled in.
        idle_s: number("idle")?.map(|ms| ms.div_ceil(1000)),
        output_bytes: number("output")?,
        kind: match wanted.get("type") {
            None => None,
            Some("normal") => Some(ClientKind::Normal),
            Some("pubsub") => Some(ClientKind::Pubsub),
            Some(_) => return None,
        },
        before_s: None,
    })
}

/// The draft that closes the connections a filter means, on some of the servers.
pub(super) async fn meant(maker: &Maker<'_>, filter: &ClientFilter, on: &[usize]) -> Result<Draft, Unplanned> {
    let now_s = jiff::Timestamp::now().as_second();
    let mut steps = Vec::new();
    let (mut found, mut everybody, mut kept) = (0, 0, 0);
    let mut groups: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for (target, answer) in maker.read(&["CLIENT", "LIST"]).await.into_iter().enumerate() {
        if !on.contains(&target) {
            continue;
        }
        let Value::Array(clients) = answer? else { continue };
        if filter.user.is_some() && clients.iter().all(|client| client.get("user").is_none()) {
            return Err(Unplanned::Failed(trouble(
                "this server does not tell which user a connection is logged in as",
                "it is older than Redis 6, or a managed service that hides it",
                "name the connections by --name or --address",
            )));
        }
        let (ours, theirs): (Vec<&Value>, Vec<&Value>) =
            clients.iter().partition(|client| spared(client, maker.wish.instance));
        kept += ours.iter().filter(|client| filter.fits(client, now_s)).count();
        everybody += theirs.len() as u64;
        let meant: Vec<&&Value> = theirs.iter().filter(|client| filter.fits(client, now_s)).collect();
        for client in &meant {
            let text = |name: &str| client.get(name).and_then(Value::as_str).unwrap_or_default();
            let name = if text("name").is_empty() { "(unnamed)" } else { text("name") };
            let group = groups.entry((redact::address(text("addr")), redact::line(name))).or_default();
            let idle = client.get("idle").and_then(Value::as_u64).unwrap_or(0);
            *group = (group.0 + 1, group.1.max(idle));
        }
        let clients = meant.len() as u64;
        if clients > 0 {
            found += clients;
            let most = Reach { clients: Some(clients), tolerance_percent: TOLERANCE_PERCENT, ..Reach::default() };
            let most = most.most_clients().unwrap_or(clients);
            steps.push(step(target, Change::KillClients { filter: filter.clone(), clients, most }));
        }
    }
    if steps.is_empty() {
        let besides = if kept > 0 { " Replicas, primaries, Sentinels and this bot are never cut." } else { "" };
        return Err(Unplanned::Nothing(format!("No connection is {}.{besides}", filter.words())));
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let more = groups.len().saturating_sub(NAMED);
    let mut sample: Vec<String> = groups
        .into_iter()
        .take(NAMED)
        .map(|((address, name), (count, idle))| {
            let idle = show_duration(std::time::Duration::from_secs(idle));
            format!("{count} × {name} from {address}, idle for up to {idle}")
        })
        .collect();
    if more > 0 {
        sample.push(format!("and {more} more kinds"));
    }
    let mut warnings =
        vec!["What they had asked and not yet been answered is lost; those that are wanted connect anew.".to_owned()];
    let most_of_all = found * 2 > everybody;
    if most_of_all {
        warnings.push(format!(
            "These are {found} of the {everybody} connections of applications: nearly all of them come back at once."
        ));
    }
    let reach = Reach {
        what: format!("connections {}", filter.words()),
        clients: Some(found),
        sample,
        exact: true,
        tolerance_percent: TOLERANCE_PERCENT,
        ..Reach::default()
    };
    Ok(Draft {
        steps,
        reach,
        facts: Vec::new(),
        warnings,
        undo: Undo::Never(
            "a closed connection cannot be opened from here; its client connects anew by itself".to_owned(),
        ),
        risk: if most_of_all { Risk::High } else { Risk::Medium },
        undoes: None,
    })
}
