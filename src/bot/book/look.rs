//! A runbook's look: a diagnostic, as if whoever began the run had typed its line.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    bot::{Hall, Rules, errand::Errand},
    runbook::{BookRun, seen},
};

/// In the name of whoever began the run. Whoever may run the runbook may have its looks.
pub(super) fn errand(run: &BookRun) -> Errand<'_> {
    Errand {
        person: &run.requester,
        identity: &run.asker,
        place: &run.place,
        run: &run.run,
        service: &run.service,
        instance: &run.instance,
        lender: Some(&run.command),
    }
}

/// Looks, and gives what later steps see of it.
///
/// # Errors
/// Why nothing could be looked at, in a sentence; a server that does not answer is no error but seen.
pub(super) async fn look(hall: &Arc<Hall>, rules: &Rules, run: &BookRun, line: &str) -> Result<Value, String> {
    errand(run).look(hall, rules, line).await.map(|rendered| seen(&rendered))
}
