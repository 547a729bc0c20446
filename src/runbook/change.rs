//! What can be changed: touches as command files name them, and changes with every value filled in.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Compiled, Parameter, Risk};

/// What a touch does. A closed set: `exec::touch` and `bot::change::plan` have a file per kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TouchKind {
    /// Sets a parameter of the server.
    SetConfig,
    /// Writes the settings that hold now into the server's configuration file.
    RewriteConfig,
    /// Empties the slow log.
    ResetSlowlog,
    /// Copies all data into a sealed file of the bot's own.
    Backup,
    /// Takes back what an earlier run did.
    Undo,
}

/// A word a touch takes, as command files fill it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TouchWord {
    /// Its name under `with`.
    pub name: &'static str,
    /// Without it there is no plan.
    pub required: bool,
}

const fn needs(name: &'static str) -> TouchWord {
    TouchWord { name, required: true }
}

const fn may(name: &'static str) -> TouchWord {
    TouchWord { name, required: false }
}

impl TouchKind {
    /// Every kind there is.
    pub const ALL: &[TouchKind] =
        &[TouchKind::SetConfig, TouchKind::RewriteConfig, TouchKind::ResetSlowlog, TouchKind::Backup, TouchKind::Undo];

    /// Its name in command files.
    pub fn word(self) -> &'static str {
        match self {
            TouchKind::SetConfig => "set-config",
            TouchKind::RewriteConfig => "rewrite-config",
            TouchKind::ResetSlowlog => "reset-slowlog",
            TouchKind::Backup => "backup",
            TouchKind::Undo => "undo",
        }
    }

    /// The words it takes.
    pub fn words(self) -> &'static [TouchWord] {
        match self {
            TouchKind::SetConfig => const { &[needs("parameter"), needs("value")] },
            TouchKind::RewriteConfig | TouchKind::ResetSlowlog => &[],
            TouchKind::Backup => const { &[may("from"), may("no_encrypt")] },
            TouchKind::Undo => const { &[needs("run")] },
        }
    }

    /// Can it be asked for a while only, and then take itself back (`--for 30m`)?
    pub fn can_be_for_a_while(self) -> bool {
        matches!(self, TouchKind::SetConfig)
    }
}

/// One touch of a command file: what kind, and templates for its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// What it does.
    pub kind: TouchKind,
    /// Templates over `args`, `service` and `instance`, by word.
    pub with: BTreeMap<String, String>,
    /// CEL; the touch is left out when it is false.
    pub when: Option<String>,
}

/// Touches, planned together, consented to once, and carried out in order.
#[derive(Debug, Clone)]
pub struct Remediation {
    /// What is changed.
    pub touches: Vec<Touch>,
    /// It counts as at least so risky, whatever the touches themselves say.
    pub at_least: Risk,
    /// The expressions and templates of it, compiled.
    pub compiled: Compiled,
}

/// A touch whose words are filled in: what somebody wants, before anybody looked at the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// What it does.
    pub kind: TouchKind,
    /// Its words; those that came out empty are absent.
    pub with: BTreeMap<String, String>,
}

impl Wanted {
    /// A word, if it was given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.with.get(name).map(String::as_str)
    }

    /// A word the touch cannot do without; empty when a file left it empty.
    pub fn need(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }
}

/// One change of one server, with every value filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// A parameter, from one value to another.
    SetConfig {
        /// The name this server knows it by.
        parameter: String,
        /// What it is now: also the way back.
        old: String,
        /// What it is to be.
        new: String,
    },
    /// The settings that hold are written into the configuration file.
    RewriteConfig,
    /// The slow log is emptied.
    ResetSlowlog {
        /// Entries in it when the plan was made.
        entries: u64,
    },
    /// All data is copied into a sealed file of the bot's own. Nothing of the server changes.
    Backup {
        /// The server saves, and its file is read from here; else the copy comes over the replication stream.
        save: bool,
    },
}

impl Change {
    /// The kind of touch that makes it.
    pub fn kind(&self) -> TouchKind {
        match self {
            Change::SetConfig { .. } => TouchKind::SetConfig,
            Change::RewriteConfig => TouchKind::RewriteConfig,
            Change::ResetSlowlog { .. } => TouchKind::ResetSlowlog,
            Change::Backup { .. } => TouchKind::Backup,
        }
    }

    /// What it does, as a fragment: `set timeout from 0 to 60`.
    pub fn what(&self) -> String {
        match self {
            Change::SetConfig { parameter, old, new } => {
                let known = Parameter::find(parameter);
                let show = |value: &str| known.map_or_else(|| value.to_owned(), |known| known.show(value));
                format!("set {parameter} from {} to {}", show(old), show(new))
            }
            Change::RewriteConfig => "write the settings into the configuration file".to_owned(),
            Change::ResetSlowlog { entries } => format!("empty the slow log of {entries} entries"),
            Change::Backup { save: false } => "back up all data over the replication stream".to_owned(),
            Change::Backup { save: true } => "save all data on the server and back its file up".to_owned(),
        }
    }

    /// Exactly what is sent, and what is checked around it, in order.
    pub fn steps(&self) -> Vec<String> {
        match self {
            Change::SetConfig { parameter, old, new } => vec![
                format!("read {parameter} and stop unless it is still {old}"),
                format!("CONFIG SET {parameter} {new}"),
                format!("read {parameter} again: it must be {new}"),
            ],
            Change::RewriteConfig => vec!["CONFIG REWRITE".to_owned()],
            Change::ResetSlowlog { .. } => {
                vec!["SLOWLOG RESET".to_owned(), "SLOWLOG LEN again: only what came since may be there".to_owned()]
            }
            Change::Backup { save } => {
                let had = if *save {
                    vec![
                        "BGSAVE, and wait until it is over, its status is ok and LASTSAVE has moved".to_owned(),
                        "read the server's file to its end, and seal it into the bot's own".to_owned(),
                    ]
                } else {
                    vec![
                        "PSYNC ? -1 as a replica that wants the snapshot alone; seal what comes, as it comes"
                            .to_owned(),
                    ]
                };
                let then = [
                    "put the file on the disk, open it again and read it to its end: keys and checksum must be right",
                    "give it its name, and write its manifest",
                    "remove backups that are older or more than is kept; never the last good one",
                ];
                had.into_iter().chain(then.map(str::to_owned)).collect()
            }
        }
    }

    /// The change that puts things back as they were, where one call can.
    pub fn back(&self) -> Option<Change> {
        match self {
            Change::SetConfig { parameter, old, new } => {
                // What may not be set from here was not set from here, and is not set back either.
                Parameter::find(parameter)?.read(old).ok()?;
                Some(Change::SetConfig { parameter: parameter.clone(), old: new.clone(), new: old.clone() })
            }
            Change::RewriteConfig | Change::ResetSlowlog { .. } => None,
            // Nothing of the server changed; the file goes when its time is over.
            Change::Backup { .. } => None,
        }
    }

    /// What no longer holds, in words, when the same change is planned again
    /// from what is so now. Counts may grow within the tolerance they were shown with.
    pub fn drift(&self, now: &Change) -> Option<String> {
        match (self, now) {
            (
                Change::SetConfig { parameter, old, new },
                Change::SetConfig { parameter: parameter_now, old: old_now, new: new_now },
            ) if (parameter, new) == (parameter_now, new_now) => {
                (old != old_now).then(|| format!("{parameter} was {old} and is now {old_now}"))
            }
            // A slow log grows by itself; what it holds is of no account to anybody but its reader.
            (Change::ResetSlowlog { .. }, Change::ResetSlowlog { .. })
            | (Change::RewriteConfig, Change::RewriteConfig) => None,
            (Change::Backup { save }, Change::Backup { save: now }) if save == now => None,
            _ => Some("the change itself would be another".to_owned()),
        }
    }

    /// It is given up after this long: settings in seconds, what walks over many keys in hours.
    pub fn longest(&self) -> Duration {
        match self {
            Change::SetConfig { .. } | Change::RewriteConfig | Change::ResetSlowlog { .. } => Duration::from_secs(15),
            Change::Backup { .. } => Duration::from_secs(12 * 3_600),
        }
    }
}
