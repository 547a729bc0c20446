//! Command files.

use std::path::Path;

use super::Command;
use crate::model::Problem;

/// Reads a command file.
///
/// # Errors
///
/// Every problem of the file.
pub fn parse_file(file: &Path, _text: &str) -> Result<Command, Vec<Problem>> {
    Err(vec![Problem {
        file: file.to_owned(),
        line: None,
        reason: "command files cannot be read yet".to_owned(),
        hint: None,
        warning: false,
    }])
}

/// The JSON Schema of command files.
pub fn json_schema() -> serde_json::Value {
    serde_json::json!({})
}
