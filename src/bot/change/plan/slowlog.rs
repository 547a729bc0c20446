//! The plan that empties the slow log.

use super::{Draft, Maker, Unplanned, step};
use crate::runbook::{Change, Reach, Risk, Undo, show_entries};

/// The draft of a `slowlog-reset`.
pub(super) async fn reset(maker: &Maker<'_>) -> Result<Draft, Unplanned> {
    let mut steps = Vec::new();
    let mut all = 0;
    for (target, answer) in maker.read(&["SLOWLOG", "LEN"]).await.into_iter().enumerate() {
        let entries = answer?.as_u64().unwrap_or(0);
        if entries > 0 {
            all += entries;
            steps.push(step(target, Change::ResetSlowlog { entries }));
        }
    }
    if steps.is_empty() {
        return Err(Unplanned::Nothing("The slow log is empty already.".to_owned()));
    }
    Ok(Draft {
        steps,
        reach: Reach {
            what: format!("{} of the slow log; no data", show_entries(all)),
            exact: true,
            ..Reach::default()
        },
        facts: Vec::new(),
        warnings: Vec::new(),
        undo: Undo::Never("entries of a slow log cannot be put back".to_owned()),
        risk: Risk::Low,
        undoes: None,
    })
}
