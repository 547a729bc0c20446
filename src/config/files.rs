//! Reading the directory: whatever lies there, it ends in texts and problems.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::model::Problem;

/// Larger than any file a person writes.
const LARGEST: u64 = 1 << 20;

/// A file that was read.
pub(super) struct Text {
    pub(super) path: PathBuf,
    /// Its name without `.toml`.
    pub(super) stem: String,
    pub(super) text: String,
}

/// Reads one file; `Ok(None)` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Text>, Problem> {
    let problem = |reason: String, hint: &str| Problem {
        file: path.to_owned(),
        line: None,
        reason,
        hint: (!hint.is_empty()).then(|| hint.to_owned()),
        warning: false,
    };
    // A link that leads nowhere is there, and is a mistake; what is not there at all may be left out.
    if fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let metadata = fs::metadata(path).map_err(|error| problem(format!("cannot be read: {error}"), ""))?;
    if !metadata.is_file() {
        return Err(problem("is no file".to_owned(), "move it away"));
    }
    if metadata.len() > LARGEST {
        return Err(problem(format!("has {} bytes, more than any file of this kind", metadata.len()), ""));
    }
    let bytes = fs::read(path)
        .map_err(|error| problem(format!("cannot be read: {error}"), "the bot's user must be allowed to read it"))?;
    let text = String::from_utf8(bytes).map_err(|error| Problem {
        line: Some(crate::model::line_of(
            &String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]),
            usize::MAX,
        )),
        ..problem("is not UTF-8 here".to_owned(), "save it as UTF-8")
    })?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Some(Text { path: path.to_owned(), stem, text }))
}

/// Reads every `*.toml` of a directory, by name; hidden files are left alone.
/// Gives the stems of those that could not be read, too.
pub(super) fn read_all(dir: &Path, problems: &mut Vec<Problem>) -> (Vec<Text>, Vec<String>) {
    let (mut texts, mut unread) = (Vec::new(), Vec::new());
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (texts, unread),
        Err(error) => {
            problems.push(Problem {
                file: dir.to_owned(),
                line: None,
                reason: format!("cannot be read: {error}"),
                hint: None,
                warning: false,
            });
            return (texts, unread);
        }
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    for path in paths {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden || path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        match read(&path) {
            Ok(text) => texts.extend(text),
            Err(problem) => {
                unread.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
                problems.push(problem);
            }
        }
    }
    (texts, unread)
}
