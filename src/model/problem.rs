//! Something wrong with a file a person wrote.

use std::{fmt, path::PathBuf};

/// One problem of one file. `check` prints all of them at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1; `None` when the file as a whole is meant.
    pub line: Option<usize>,
    /// What is wrong, a lowercase fragment.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// A warning does not stop the bot from starting.
    pub warning: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}{}", if self.warning { "warning: " } else { "" }, self.reason)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n    hint: {hint}")?;
        }
        Ok(())
    }
}

/// The line (from 1) that a byte offset of `text` stands in.
pub fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|&&byte| byte == b'\n').count() + 1
}
