//! What can be changed: touches as command files name them, and changes with every value filled in.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{ClientFilter, Compiled, Parameter, Retime, Risk, Select, show_count, show_entries};
use crate::model::{RunId, show_duration};

/// What a server does in the background is followed for this long.
const BACKGROUND: Duration = Duration::from_secs(30 * 60);

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
    /// Closes connections of clients.
    KillClients,
    /// Holds writes back for a while.
    PauseWrites,
    /// Has a snapshot written.
    SaveSnapshot,
    /// Has the append-only file written anew.
    RewriteAof,
    /// Removes keys, so that they can be brought back.
    RemoveKeys,
    /// Gives keys another deadline, or none.
    RetimeKeys,
    /// Frees what an earlier run kept aside.
    ClearAside,
    /// Copies keys into a sealed file of the bot's own.
    ExportKeys,
    /// Puts such a copy back.
    ImportKeys,
    /// Makes a replica the primary.
    Failover,
    /// Gives a user another password.
    RotatePassword,
    /// Writes users into the server's own file.
    SaveAcl,
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
    pub const ALL: &[TouchKind] = &[
        TouchKind::SetConfig,
        TouchKind::RewriteConfig,
        TouchKind::ResetSlowlog,
        TouchKind::KillClients,
        TouchKind::PauseWrites,
        TouchKind::SaveSnapshot,
        TouchKind::RewriteAof,
        TouchKind::Failover,
        TouchKind::RotatePassword,
        TouchKind::SaveAcl,
        TouchKind::Backup,
        TouchKind::RemoveKeys,
        TouchKind::RetimeKeys,
        TouchKind::ClearAside,
        TouchKind::ExportKeys,
        TouchKind::ImportKeys,
        TouchKind::Undo,
    ];

    /// Its name in command files.
    pub fn word(self) -> &'static str {
        match self {
            TouchKind::SetConfig => "set-config",
            TouchKind::RewriteConfig => "rewrite-config",
            TouchKind::ResetSlowlog => "reset-slowlog",
            TouchKind::Backup => "backup",
            TouchKind::KillClients => "kill-clients",
            TouchKind::PauseWrites => "pause-writes",
            TouchKind::SaveSnapshot => "save-snapshot",
            TouchKind::RewriteAof => "rewrite-aof",
            TouchKind::RemoveKeys => "remove-keys",
            TouchKind::RetimeKeys => "retime-keys",
            TouchKind::ClearAside => "clear-aside",
            TouchKind::ExportKeys => "export-keys",
            TouchKind::ImportKeys => "import-keys",
            TouchKind::Failover => "failover",
            TouchKind::RotatePassword => "rotate-password",
            TouchKind::SaveAcl => "save-acl",
            TouchKind::Undo => "undo",
        }
    }

    /// The words it takes.
    pub fn words(self) -> &'static [TouchWord] {
        match self {
            TouchKind::SetConfig => const { &[needs("parameter"), needs("value")] },
            TouchKind::RewriteConfig | TouchKind::ResetSlowlog => &[],
            TouchKind::Backup => const { &[may("from"), may("no_encrypt")] },
            TouchKind::KillClients => {
                const { &[may("name"), may("address"), may("user"), may("idle"), may("output"), may("type")] }
            }
            TouchKind::PauseWrites => const { &[needs("duration")] },
            TouchKind::SaveSnapshot | TouchKind::RewriteAof | TouchKind::SaveAcl => &[],
            TouchKind::Failover => const { &[may("shard")] },
            TouchKind::RotatePassword => const { &[needs("user"), may("finish"), may("cut")] },
            TouchKind::RemoveKeys => {
                const {
                    &[
                        may("key"),
                        may("pattern"),
                        may("where"),
                        may("no_ttl"),
                        may("idle"),
                        may("type"),
                        may("all"),
                        may("aside"),
                        may("no_undo"),
                    ]
                }
            }
            TouchKind::RetimeKeys => {
                const {
                    &[
                        needs("pattern"),
                        may("ttl"),
                        may("only_extend"),
                        may("only_shorten"),
                        may("where"),
                        may("no_ttl"),
                        may("idle"),
                        may("type"),
                    ]
                }
            }
            TouchKind::ExportKeys => {
                const { &[needs("pattern"), may("where"), may("no_ttl"), may("idle"), may("type"), may("large")] }
            }
            TouchKind::ImportKeys => const { &[needs("export"), may("only"), may("overwrite")] },
            TouchKind::ClearAside | TouchKind::Undo => const { &[needs("run")] },
        }
    }

    /// Is it done on replicas as well? What is not replicated would be lost with a failover.
    pub fn reaches_replicas(self) -> bool {
        matches!(self, TouchKind::RotatePassword | TouchKind::SaveAcl)
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
    /// Connections are closed.
    KillClients {
        /// Which.
        filter: ClientFilter,
        /// How many there were when the plan was made.
        clients: u64,
        /// With more than this, nothing is done.
        most: u64,
    },
    /// Writes are held back; the server itself ends it.
    PauseWrites {
        /// For how long, in milliseconds.
        ms: u64,
        /// Reads too: servers before 6.2 know nothing else.
        all: bool,
    },
    /// A pause of writes is ended.
    ResumeWrites,
    /// A snapshot is written in the background.
    SaveSnapshot,
    /// The append-only file is written anew, from memory, in the background.
    RewriteAof,
    /// Keys are removed.
    RemoveKeys {
        /// Which.
        select: Select,
        /// What `now` means in it, in Unix milliseconds.
        now_ms: i64,
        /// How many there were when the plan was made.
        keys: u64,
        /// What becomes of them.
        keep: Kept,
    },
    /// Keys get another deadline.
    RetimeKeys {
        /// Which.
        select: Select,
        /// What `now` means in it, in Unix milliseconds.
        now_ms: i64,
        /// How many there were when the plan was made.
        keys: u64,
        /// The deadline.
        to: Retime,
    },
    /// What a step of an earlier run removed, or the deadlines it changed, come back.
    RestoreKeys {
        /// That run.
        run: RunId,
        /// Its step.
        seq: usize,
        /// What it did, in words.
        what: String,
        /// What it did, by kind: the way back differs.
        #[serde(default, skip_serializing_if = "Deed::is_removal")]
        did: Deed,
    },
    /// What a step of an earlier run kept aside is freed.
    ClearAside {
        /// That run.
        run: RunId,
        /// Its step.
        seq: usize,
    },
    /// Keys are copied into a sealed file of the bot's own. Nothing of the server changes.
    ExportKeys {
        /// Which.
        select: Select,
        /// What `now` means in it, in Unix milliseconds.
        now_ms: i64,
        /// How many there were when the plan was made.
        keys: u64,
        /// Also those that hold the server up while they are dumped.
        large: bool,
    },
    /// The copy that a step of an earlier run made is removed.
    DropExport {
        /// That run.
        run: RunId,
        /// Its step.
        seq: usize,
    },
    /// What a step of an earlier run copied is put back.
    ImportKeys {
        /// That run: the export's name.
        export: RunId,
        /// Its step.
        seq: usize,
        /// Only keys that match this glob.
        only: Option<String>,
        /// What is there with another value is overwritten.
        overwrite: bool,
        /// How many it would have put there when the plan was made.
        keys: u64,
    },
    /// Sentinels make a replica of their choice the primary.
    SentinelFailover {
        /// What they call the primary.
        master: String,
    },
    /// A replica of a shard becomes its primary.
    ClusterFailover {
        /// Its address.
        replica: String,
        /// Its run id.
        run_id: String,
    },
    /// A new password takes the place of the only one of a server that knows no users.
    SetRequirePass {
        /// The name under which it is handed over. The secret itself is in no plan.
        file: String,
    },
    /// The password from before takes its place again.
    RestoreRequirePass {
        /// The name under which the new one was handed over.
        file: String,
    },
    /// A new password is made, beside those there are.
    AddPassword {
        /// Whose.
        user: String,
        /// The name under which it is handed over. The secret itself is in no plan.
        file: String,
    },
    /// The new password goes again.
    DropPassword {
        /// Whose.
        user: String,
        /// The name under which it was handed over.
        file: String,
    },
    /// Every password but the new one goes.
    DropOtherPasswords {
        /// Whose.
        user: String,
        /// The name under which the new one was handed over.
        file: String,
    },
    /// Users are written into the server's own file.
    SaveAcl,
}

/// What a run that is taken back did to keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// It removed them.
    #[default]
    Removed,
    /// It gave them other deadlines.
    Retimed,
    /// It put them there.
    Imported,
    /// It put them there, and overwrote what was there before.
    Overwrote,
}

impl Deed {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over like that")]
    fn is_removal(&self) -> bool {
        *self == Deed::Removed
    }

    /// Exactly what is sent to take it back.
    fn back(self) -> Vec<&'static str> {
        match self {
            Deed::Removed => vec![
                "put back what is still aside",
                "RESTORE each key with the deadline it had, unless its name is taken or that moment has passed",
                "DUMP it and read its deadline: both must be what was kept",
            ],
            Deed::Retimed => vec![
                "read each key's deadline: one that was given another since is left alone",
                "PEXPIREAT it to the deadline it had, or PERSIST it where it had none",
                "read its deadline again",
            ],
            Deed::Imported => vec![
                "DUMP each key the import put there and read its deadline: one that was changed since is left alone",
                "UNLINK it, unless somebody writes it at that moment",
            ],
            Deed::Overwrote => vec![
                "DUMP each key the import put there and read its deadline: one that was changed since is left alone",
                "UNLINK it where nothing was there before, else RESTORE REPLACE what it overwrote, unless somebody \
                 writes it at that moment",
                "DUMP what came back: it must be what was kept",
            ],
        }
    }
}

/// What becomes of removed keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// They go into an encrypted snapshot.
    Snapshot,
    /// They stay on the server under another name, for so many milliseconds.
    Aside(u64),
    /// Nothing is kept.
    Nothing,
}

/// How long work over keys may take.
const HOURS: Duration = Duration::from_secs(6 * 3_600);

impl Change {
    /// The kind of touch that makes it.
    pub fn kind(&self) -> TouchKind {
        match self {
            Change::SetConfig { .. } => TouchKind::SetConfig,
            Change::RewriteConfig => TouchKind::RewriteConfig,
            Change::ResetSlowlog { .. } => TouchKind::ResetSlowlog,
            Change::Backup { .. } => TouchKind::Backup,
            Change::KillClients { .. } => TouchKind::KillClients,
            Change::PauseWrites { .. } | Change::ResumeWrites => TouchKind::PauseWrites,
            Change::SaveSnapshot => TouchKind::SaveSnapshot,
            Change::RewriteAof => TouchKind::RewriteAof,
            Change::RemoveKeys { .. } => TouchKind::RemoveKeys,
            Change::RetimeKeys { .. } => TouchKind::RetimeKeys,
            Change::RestoreKeys { .. } => TouchKind::Undo,
            Change::ClearAside { .. } => TouchKind::ClearAside,
            Change::ExportKeys { .. } => TouchKind::ExportKeys,
            Change::ImportKeys { .. } => TouchKind::ImportKeys,
            Change::DropExport { .. } => TouchKind::Undo,
            Change::SentinelFailover { .. } | Change::ClusterFailover { .. } => TouchKind::Failover,
            Change::SetRequirePass { .. }
            | Change::RestoreRequirePass { .. }
            | Change::AddPassword { .. }
            | Change::DropPassword { .. }
            | Change::DropOtherPasswords { .. } => TouchKind::RotatePassword,
            Change::SaveAcl => TouchKind::SaveAcl,
        }
    }

    /// What it does, as a fragment: `set timeout from 0 to 60`.
    pub fn what(&self) -> String {
        match self {
            Change::SetConfig { parameter, old, new } => {
                let (old, new) = match Parameter::find(parameter) {
                    Some(known) => known.compared(old, new),
                    None => (old.clone(), new.clone()),
                };
                format!("set {parameter} from {old} to {new}")
            }
            Change::RewriteConfig => "write the settings into the configuration file".to_owned(),
            Change::ResetSlowlog { entries } => format!("empty the slow log of {}", show_entries(*entries)),
            Change::Backup { save: false } => "back up all data over the replication stream".to_owned(),
            Change::Backup { save: true } => "save all data on the server and back its file up".to_owned(),
            Change::KillClients { filter, clients, .. } => {
                format!("close {} {}", show_count(*clients, "connection"), filter.words())
            }
            Change::PauseWrites { ms, all: false } => format!("hold writes back for {}", length(*ms)),
            Change::PauseWrites { ms, all: true } => format!("hold everything back, reads too, for {}", length(*ms)),
            Change::ResumeWrites => "let writes through again".to_owned(),
            Change::SaveSnapshot => "write a snapshot".to_owned(),
            Change::RewriteAof => "write the append-only file anew".to_owned(),
            Change::RemoveKeys { select, .. } => format!("remove {}", select.what()),
            Change::RetimeKeys { select, to, .. } => format!("set {} {}", select.what(), to.what()),
            Change::RestoreKeys { what, .. } => format!("take back: {what}"),
            Change::ClearAside { run, .. } => format!("free what run {run} keeps aside"),
            Change::ExportKeys { select, .. } => format!("export {}", select.what()),
            Change::DropExport { run, .. } => format!("remove export {run}"),
            Change::ImportKeys { export, only, overwrite, .. } => {
                let only = only.as_ref().map_or_else(String::new, |only| format!(", keys matching {only} alone"));
                let over = if *overwrite { ", overwriting what is there" } else { "" };
                format!("import export {export}{only}{over}")
            }
            Change::SentinelFailover { master } => format!("make a replica of {master} the primary"),
            Change::ClusterFailover { replica, .. } => format!("make {replica} the primary of its shard"),
            Change::SetRequirePass { .. } => "replace the password that everybody uses".to_owned(),
            Change::RestoreRequirePass { .. } => "set the password from before again".to_owned(),
            Change::AddPassword { user, .. } => format!("give {user} a new password beside the old one"),
            Change::DropPassword { user, .. } => format!("drop the new password of {user}"),
            Change::DropOtherPasswords { user, .. } => format!("drop every password of {user} but the new one"),
            Change::SaveAcl => "write the users into the aclfile".to_owned(),
        }
    }

    /// Exactly what is sent, and what is checked around it, in order.
    pub fn steps(&self) -> Vec<String> {
        match self {
            Change::SetConfig { parameter, old, new } => vec![
                format!("read {parameter} and stop unless it is still {}", quoted(old)),
                format!("CONFIG SET {parameter} {}", quoted(new)),
                format!("read {parameter} again: it must be {}", quoted(new)),
            ]
            .into_iter()
            .chain(self.waits_for_aof().then(|| "wait until the append-only file is written whole".to_owned()))
            .collect(),
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
            Change::KillClients { filter, most, .. } => vec![
                format!("CLIENT LIST: those {}; never replicas, primaries, Sentinels or this bot", filter.words()),
                format!("stop if they are more than {most}"),
                "for each: look whether it still is one of them, then CLIENT KILL ID".to_owned(),
                "CLIENT LIST again: none of them may be there".to_owned(),
            ],
            Change::PauseWrites { ms, all } => vec![
                format!("CLIENT PAUSE {ms} {}", if *all { "(of everything)" } else { "WRITE" }),
                match all {
                    false => "try the removal of a key nobody has: it must be held back".to_owned(),
                    true => "PING: it must be held back".to_owned(),
                },
                format!("the server ends it by itself after {}", length(*ms)),
            ],
            Change::ResumeWrites => {
                vec!["CLIENT UNPAUSE".to_owned(), "try the removal of a key nobody has: it must be answered".to_owned()]
            }
            Change::SaveSnapshot => vec![
                "INFO persistence: stop if another save is under way".to_owned(),
                "BGSAVE".to_owned(),
                "wait until it is over: its status must be ok, and LASTSAVE must have moved".to_owned(),
            ],
            Change::RewriteAof => vec![
                "INFO persistence: stop if another save is under way".to_owned(),
                "BGREWRITEAOF".to_owned(),
                "wait until it is over: its status must be ok".to_owned(),
            ],
            Change::RemoveKeys { select, keep, .. } => {
                let mut steps = vec!["SCAN in small batches, slower when the server slows down".to_owned()];
                match keep {
                    Kept::Nothing if select.predicate.is_none() && !select.no_ttl => {}
                    _ => {
                        steps.push("RENAMENX each key aside within its slot, and see that it is still meant".to_owned())
                    }
                }
                match keep {
                    Kept::Snapshot => {
                        steps.push(
                            "DUMP it with its deadline into an encrypted snapshot, flushed to the disk".to_owned(),
                        );
                        steps.push("UNLINK it only then".to_owned());
                    }
                    Kept::Aside(_) => steps.push("keep it there, and write down where".to_owned()),
                    Kept::Nothing => steps.push("UNLINK it".to_owned()),
                }
                steps
            }
            Change::RetimeKeys { to, .. } => vec![
                "SCAN in small batches, slower when the server slows down".to_owned(),
                "write each key's deadline into an encrypted snapshot, flushed to the disk".to_owned(),
                if *to == Retime::Persist { "PERSIST it" } else { "PEXPIREAT it" }.to_owned(),
                "read its deadline again".to_owned(),
            ],
            Change::RestoreKeys { did, .. } => did.back().into_iter().map(str::to_owned).collect(),
            Change::ClearAside { .. } => vec!["UNLINK what is aside, in small batches".to_owned()],
            Change::ExportKeys { large, .. } => vec![
                "SCAN in small batches, slower when the server slows down".to_owned(),
                match large {
                    false => "DUMP each key with its type and deadline into an encrypted file; nothing is written to the server",
                    true => "DUMP each key, also large ones, with its type and deadline into an encrypted file; nothing is written to the server",
                }
                .to_owned(),
                "read the file again to its end: every value must fit its checksum".to_owned(),
            ],
            Change::DropExport { .. } => vec!["remove the file; no server is asked".to_owned()],
            Change::ImportKeys { overwrite, .. } => {
                let mut steps = vec![
                    "read the export; leave out what would have expired since".to_owned(),
                    "write down what is about to be put there, flushed to the disk".to_owned(),
                    "RESTORE each missing key with the deadline it had".to_owned(),
                ];
                if *overwrite {
                    steps.push(
                        "DUMP what is there with another value into an encrypted snapshot, then RESTORE REPLACE, \
                         unless somebody writes it at that moment"
                            .to_owned(),
                    );
                }
                steps.push("DUMP each and read its deadline: both must be what the export holds".to_owned());
                steps
            }
            Change::SentinelFailover { master } => vec![
                format!("SENTINEL FAILOVER {master}, at the first Sentinel that answers"),
                "wait until the Sentinels name another primary".to_owned(),
                "try the removal of a key nobody has there: it must be answered".to_owned(),
            ],
            Change::ClusterFailover { replica, .. } => vec![
                format!("CLUSTER FAILOVER at {replica}, which must still be a replica"),
                "wait until it is the primary".to_owned(),
                "try the removal of a key nobody has there: it must be answered".to_owned(),
            ],
            Change::SetRequirePass { .. } => vec![
                "make the password, and write it and the old one into files that their owner alone can read".to_owned(),
                "CONFIG SET requirepass (the new one)".to_owned(),
                "log in with it: it must be good, and the old one must not".to_owned(),
            ],
            Change::RestoreRequirePass { .. } => vec![
                "CONFIG SET requirepass (the old one)".to_owned(),
                "log in with it: it must be good, and the new one must not".to_owned(),
            ],
            Change::AddPassword { user, .. } => vec![
                "make the password and write it into a file that its owner alone can read".to_owned(),
                format!("ACL SETUSER {user} #(its hash)"),
                format!("ACL GETUSER {user}: it must be there, and the others too"),
            ],
            Change::DropPassword { user, .. } => vec![
                format!("ACL SETUSER {user} !(its hash), unless it is the only one"),
                format!("ACL GETUSER {user}: it must be gone, and the others there"),
            ],
            Change::DropOtherPasswords { user, .. } => vec![
                format!("ACL GETUSER {user}: stop unless the new password is there"),
                format!("ACL SETUSER {user} !(the hash of each other one)"),
                format!("ACL GETUSER {user}: the new one must be the only one"),
            ],
            Change::SaveAcl => vec!["ACL SAVE".to_owned()],
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
            // A pause of everything holds back what would end it as well.
            Change::PauseWrites { all, .. } => (!all).then_some(Change::ResumeWrites),
            Change::SetRequirePass { file } => Some(Change::RestoreRequirePass { file: file.clone() }),
            Change::AddPassword { user, file } => Some(Change::DropPassword { user: user.clone(), file: file.clone() }),
            Change::SentinelFailover { .. }
            | Change::ClusterFailover { .. }
            | Change::DropPassword { .. }
            | Change::RestoreRequirePass { .. }
            | Change::DropOtherPasswords { .. }
            | Change::SaveAcl => None,
            Change::RewriteConfig
            | Change::ResetSlowlog { .. }
            | Change::KillClients { .. }
            | Change::ResumeWrites
            | Change::SaveSnapshot
            | Change::RewriteAof => None,
            // Data comes back by a plan of its own, which looks at what is there now.
            Change::RemoveKeys { .. }
            | Change::RetimeKeys { .. }
            | Change::RestoreKeys { .. }
            | Change::ExportKeys { .. }
            | Change::DropExport { .. }
            | Change::ImportKeys { .. }
            | Change::ClearAside { .. } => None,
            // Nothing of the server changed; the file goes when its time is over.
            Change::Backup { .. } => None,
        }
    }

    /// Is it about a copy of keys in a file of the bot's own?
    pub fn is_copy(&self) -> bool {
        matches!(self, Change::ExportKeys { .. } | Change::DropExport { .. } | Change::ImportKeys { .. })
    }

    /// Is it about keys, and so about more of them than one call can look at again?
    pub fn is_about_keys(&self) -> bool {
        self.is_copy()
            || matches!(
                self,
                Change::RemoveKeys { .. }
                    | Change::RetimeKeys { .. }
                    | Change::RestoreKeys { .. }
                    | Change::ClearAside { .. }
            )
    }

    /// What the user for changes must be allowed to run, as it could be typed; not all of it is known beforehand.
    pub fn needs(&self) -> Vec<Vec<&str>> {
        match self {
            Change::SetConfig { parameter, .. } => vec![vec!["CONFIG", "SET", parameter, "0"]],
            Change::RewriteConfig => vec![vec!["CONFIG", "REWRITE"]],
            Change::ResetSlowlog { .. } => vec![vec!["SLOWLOG", "RESET"]],
            Change::KillClients { .. } => vec![vec!["CLIENT", "KILL", "ID", "0"]],
            Change::PauseWrites { .. } => vec![vec!["CLIENT", "PAUSE", "0"]],
            Change::ResumeWrites => vec![vec!["CLIENT", "UNPAUSE"]],
            Change::SaveSnapshot => vec![vec!["BGSAVE"]],
            Change::RewriteAof => vec![vec!["BGREWRITEAOF"]],
            Change::RemoveKeys { keep: Kept::Nothing, .. } | Change::ClearAside { .. } => vec![vec!["UNLINK", "key"]],
            Change::RemoveKeys { keep, .. } => {
                let last = if *keep == Kept::Snapshot { vec!["UNLINK", "key"] } else { vec!["PEXPIREAT", "key", "0"] };
                vec![vec!["RENAMENX", "key", "key"], vec!["DUMP", "key"], last]
            }
            Change::RetimeKeys { to: Retime::Persist, .. } => vec![vec!["PERSIST", "key"]],
            Change::RetimeKeys { .. } => vec![vec!["PEXPIREAT", "key", "0"]],
            Change::ExportKeys { .. } => vec![vec!["DUMP", "key"]],
            Change::ImportKeys { .. } => vec![vec!["RESTORE", "key", "0", "value"]],
            Change::SetRequirePass { .. } | Change::RestoreRequirePass { .. } => {
                vec![vec!["CONFIG", "SET", "requirepass", "0"]]
            }
            Change::AddPassword { .. } | Change::DropPassword { .. } | Change::DropOtherPasswords { .. } => {
                vec![vec!["ACL", "SETUSER", "user"]]
            }
            Change::SaveAcl => vec![vec!["ACL", "SAVE"]],
            Change::RestoreKeys { .. }
            | Change::DropExport { .. }
            | Change::Backup { .. }
            | Change::SentinelFailover { .. }
            | Change::ClusterFailover { .. } => Vec::new(),
        }
    }

    /// What the user for changes must be allowed to run to bring back what this did to keys, as it could be typed.
    pub fn needs_for_the_way_back(&self) -> Vec<Vec<&str>> {
        match self {
            Change::RemoveKeys { keep: Kept::Snapshot, .. } => vec![vec!["RESTORE", "key", "0", "value"]],
            Change::RemoveKeys { keep: Kept::Aside(_), .. } => vec![vec!["RENAMENX", "key", "key"]],
            // Keys that had no deadline were left without one.
            Change::RetimeKeys { to: Retime::Persist | Retime::Extend(_), .. } => vec![vec!["PEXPIREAT", "key", "0"]],
            Change::RetimeKeys { .. } => vec![vec!["PEXPIREAT", "key", "0"], vec!["PERSIST", "key"]],
            Change::ImportKeys { overwrite: false, .. } => vec![vec!["UNLINK", "key"]],
            Change::ImportKeys { overwrite: true, .. } => {
                vec![vec!["UNLINK", "key"], vec!["RESTORE", "key", "0", "value"]]
            }
            _ => Vec::new(),
        }
    }

    /// Switching the append-only file on writes the whole data set once, and is done when that is.
    fn waits_for_aof(&self) -> bool {
        matches!(self, Change::SetConfig { parameter, new, .. } if parameter == "appendonly" && new == "yes")
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
            | (Change::RewriteConfig, Change::RewriteConfig)
            | (Change::ResumeWrites, Change::ResumeWrites)
            | (Change::SaveSnapshot, Change::SaveSnapshot)
            | (Change::RewriteAof, Change::RewriteAof) => None,
            // How many there are is held to the tolerance of the whole plan.
            (Change::KillClients { filter, .. }, Change::KillClients { filter: now, .. }) if filter == now => None,
            (Change::PauseWrites { .. }, Change::PauseWrites { .. }) if self == now => None,
            (Change::SentinelFailover { .. }, Change::SentinelFailover { .. }) if self == now => None,
            (Change::ClusterFailover { .. }, Change::ClusterFailover { .. }) if self == now => None,
            (Change::SetRequirePass { .. }, Change::SetRequirePass { .. }) if self == now => None,
            (Change::RestoreRequirePass { .. }, Change::RestoreRequirePass { .. }) if self == now => None,
            (Change::AddPassword { .. }, Change::AddPassword { .. }) if self == now => None,
            (Change::DropPassword { .. }, Change::DropPassword { .. }) if self == now => None,
            (Change::DropOtherPasswords { .. }, Change::DropOtherPasswords { .. }) if self == now => None,
            (Change::SaveAcl, Change::SaveAcl) => None,
            (Change::Backup { save }, Change::Backup { save: now }) if save == now => None,
            (
                Change::RemoveKeys { select, now_ms, keep, .. },
                Change::RemoveKeys { select: select_now, now_ms: same_ms, keep: keep_now, .. },
            ) if (select, keep) == (select_now, keep_now) && select.means_the_same(*now_ms, *same_ms) => None,
            (
                Change::RetimeKeys { select, now_ms, to, .. },
                Change::RetimeKeys { select: select_now, now_ms: same_ms, to: to_now, .. },
            ) if (select, to) == (select_now, to_now) && select.means_the_same(*now_ms, *same_ms) => None,
            (
                Change::ExportKeys { select, now_ms, large, .. },
                Change::ExportKeys { select: select_now, now_ms: same_ms, large: large_now, .. },
            ) if (select, large) == (select_now, large_now) && select.means_the_same(*now_ms, *same_ms) => None,
            (
                Change::ImportKeys { export, seq, only, overwrite, .. },
                Change::ImportKeys { export: export_now, seq: seq_now, only: only_now, overwrite: over_now, .. },
            ) if (export, seq, only, overwrite) == (export_now, seq_now, only_now, over_now) => None,
            (Change::DropExport { .. }, Change::DropExport { .. }) if self == now => None,
            (Change::RestoreKeys { run, seq, .. }, Change::RestoreKeys { run: run_now, seq: seq_now, .. })
            | (Change::ClearAside { run, seq }, Change::ClearAside { run: run_now, seq: seq_now })
                if (run, seq) == (run_now, seq_now) =>
            {
                None
            }
            _ => Some("the change itself would be another".to_owned()),
        }
    }

    /// It is given up after this long: settings in seconds, what walks over many keys in hours.
    pub fn longest(&self) -> Duration {
        match self {
            Change::SetConfig { .. } if self.waits_for_aof() => BACKGROUND,
            Change::SetConfig { .. }
            | Change::RewriteConfig
            | Change::ResetSlowlog { .. }
            | Change::PauseWrites { .. }
            | Change::ResumeWrites => Duration::from_secs(15),
            Change::KillClients { .. } => Duration::from_secs(5 * 60),
            Change::SentinelFailover { .. } | Change::ClusterFailover { .. } => Duration::from_secs(3 * 60),
            Change::SetRequirePass { .. }
            | Change::RestoreRequirePass { .. }
            | Change::AddPassword { .. }
            | Change::DropPassword { .. }
            | Change::DropOtherPasswords { .. }
            | Change::SaveAcl => Duration::from_secs(15),
            Change::SaveSnapshot | Change::RewriteAof => BACKGROUND,
            Change::Backup { .. } => Duration::from_secs(12 * 3_600),
            Change::RemoveKeys { .. }
            | Change::RetimeKeys { .. }
            | Change::RestoreKeys { .. }
            | Change::ExportKeys { .. }
            | Change::ImportKeys { .. }
            | Change::ClearAside { .. } => HOURS,
            Change::DropExport { .. } => Duration::from_secs(15),
        }
    }
}

fn length(ms: u64) -> String {
    show_duration(Duration::from_millis(ms))
}

/// A value as it would be typed: what is empty or has spaces stands in quotes.
fn quoted(value: &str) -> String {
    if value.is_empty() || value.contains(' ') { format!("\"{value}\"") } else { value.to_owned() }
}
