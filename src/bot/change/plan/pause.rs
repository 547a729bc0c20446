//! Plans that hold writes back for a while, and let them through again.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{Draft, Maker, Unplanned, step, trouble, undo};
use crate::{
    model::show_duration,
    runbook::{Change, Plan, Reach, Risk, Undo, Wanted},
};

/// The first version whose CLIENT PAUSE can spare reads, and that can end a pause.
const SPARES_READS: (u32, u32) = (6, 2);

/// The draft of a `pause-writes`.
pub(super) async fn writes(maker: &Maker<'_>, wanted: &Wanted) -> Result<Draft, Unplanned> {
    let Some(ms) = wanted.need("duration").parse::<u64>().ok().filter(|ms| *ms > 0) else {
        return Err(Unplanned::Failed(trouble(
            "a pause needs a length",
            "the command file fills in none",
            "show this to whoever maintains the command",
        )));
    };
    let mut clients = 0;
    for answer in maker.read(&["INFO", "clients"]).await {
        clients += answer?.get("connected_clients").and_then(Value::as_u64).unwrap_or(0);
    }
    // A server that does not tell its version is taken for the older one: that form all of them know.
    let old = |target: usize| maker.primaries[target].version.is_none_or(|version| version < SPARES_READS);
    let steps: Vec<_> =
        (0..maker.primaries.len()).map(|target| step(target, Change::PauseWrites { ms, all: old(target) })).collect();
    let all = (0..maker.primaries.len()).any(old);
    let length = show_duration(Duration::from_millis(ms));
    let mut warnings = vec![
        "It holds back expiry and eviction too: keys past their deadline stay, and memory cannot be freed, until it ends.".to_owned(),
        "Applications wait, and those that wait for less time than this fail. PUBLISH, scripts that may write and a RESTORE by keys wait as well.".to_owned(),
    ];
    if all {
        warnings.insert(
            0,
            "This server is older than 6.2: it can only hold back everything, READS TOO, and nobody can end it early, this bot included. To every application the server looks dead until it ends.".to_owned(),
        );
    }
    Ok(Draft {
        steps,
        reach: Reach {
            what: if all { "every command of every client" } else { "every write of every client; reads go on" }
                .to_owned(),
            clients: Some(clients),
            exact: true,
            ..Reach::default()
        },
        facts: vec![(
            "Ends".to_owned(),
            format!("by itself after {length}: the server does that, also if this bot dies"),
        )],
        warnings,
        undo: if all {
            Undo::Never("a server before 6.2 cannot end a pause early; it ends by itself".to_owned())
        } else {
            Undo::By("CLIENT UNPAUSE lets writes through before the time is up".to_owned())
        },
        risk: if all { Risk::Critical } else { Risk::High },
        undoes: None,
    })
}

/// The draft that ends the pause an earlier run made.
pub(super) async fn end(maker: &Maker<'_>, plan: &Plan, ms: u64, on: usize) -> Result<Draft, Unplanned> {
    if undo::taken_back(maker.hall, &plan.run).await? {
        return Err(Unplanned::Nothing("The pause was ended already.".to_owned()));
    }
    // No pause begins later than its plan could be consented to.
    let over =
        Timestamp::now().as_millisecond() > plan.expires_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX));
    if over {
        return Err(Unplanned::Nothing("The pause has ended by itself.".to_owned()));
    }
    Ok(Draft {
        steps: vec![step(on, Change::ResumeWrites)],
        reach: Reach { what: "every write of every client".to_owned(), exact: true, ..Reach::default() },
        facts: Vec::new(),
        warnings: vec!["It ends every pause of this server, whoever made it.".to_owned()],
        undo: Undo::Never("`/redis pause-writes` holds writes back again".to_owned()),
        risk: Risk::Medium,
        undoes: None,
    })
}
