//! `rediscue rdb`: what a snapshot holds, whether it is whole, and a full copy of a server without a shell on its machine.

mod journal;
mod server;

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{serve::BAD_CONFIGURATION, signals::Signals};
use crate::{
    chat::console::{Options, Output, render},
    exec::{
        rdb::{RdbFileError, read_file},
        replication::Received,
    },
    keyspace::{
        Tally, Wanted,
        file::{report_card, verify_card},
        name::Separators,
        rdb::{Allocator, Checksum, Facts, Key, RdbError, Reading},
        report::{Report, Showing},
    },
    model::{Address, Card},
};
use server::NoCopy;

/// What the exit status of every call says.
pub(super) const EXIT_STATUS: &str = "\
Exit status:
  0  the snapshot was read to its end and is whole
  1  it could not be read, or not be copied: no such file, no permission, the server said no; standard error says what
  2  it is damaged or cut, or the command line or the configuration does not hold";

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum RdbCall {
    /// Say what is in it: bytes by prefix and type, lifetimes, the largest keys.
    ///
    /// Of a file no server is needed. With --from, the server sends its snapshot over the replication
    /// stream, and nothing is kept.
    #[command(after_help = EXIT_STATUS)]
    Report {
        /// The file: dump.rdb, or the *.base.rdb of appendonlydir/.
        #[arg(value_name = "FILE", required_unless_present = "from", conflicts_with = "from")]
        file: Option<PathBuf>,
        /// Read from a server of this service instead, as `fetch` does.
        #[arg(long, value_name = "SERVICE[/INSTANCE]", requires = "config")]
        from: Option<String>,
        /// The server, where the service has several.
        #[arg(long, value_name = "ADDRESS", requires = "from")]
        node: Option<String>,
        /// The directory that holds bot.toml, policy.toml, services/ and commands/.
        #[arg(long, value_name = "DIR", env = "REDISCUE_CONFIG")]
        config: Option<PathBuf>,
        /// A card for people, or one document of JSON.
        #[arg(long, value_enum, default_value_t)]
        output: Form,
        /// How many of the largest and longest keys.
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
        top: u16,
        /// The characters that part names, instead of those found by looking.
        #[arg(long, value_name = "CHARACTERS")]
        separators: Option<String>,
        /// Show names of keys whole, and every word of prefixes.
        #[arg(long)]
        reveal: bool,
        /// Do not compute the checksum; whether the file is whole is then not known.
        #[arg(long)]
        no_checksum: bool,
        /// The allocator of the server, which rounds what every key takes.
        #[arg(long, value_enum, default_value_t)]
        allocator: AllocatorArg,
    },
    /// Read it to its end: version, checksum, keys by database. Exit status 2: it is damaged.
    #[command(after_help = EXIT_STATUS)]
    Verify {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment here would replace the call's own help")]
        file: FileArgs,
    },
    /// Copy all data of a server into a file, over the replication stream, and verify it to the end meanwhile.
    ///
    /// For servers on whose disk nobody can look. The server forks for it as for a BGSAVE. Denied unless a
    /// role of policy.toml lets you run `rdb-fetch` and reveal, and the instance's user (that for changes,
    /// where it has one) may `+psync +replconf`. It stands in the bot's journal when it begins and when it
    /// has ended: written by the bot where one runs, else by this program; else there is no copy. The file is readable by its owner alone; of a copy that
    /// fails nothing is left.
    #[command(after_help = EXIT_STATUS)]
    Fetch {
        /// Whose data.
        #[arg(value_name = "SERVICE[/INSTANCE]")]
        service: String,
        /// The directory that holds bot.toml, policy.toml, services/ and commands/.
        #[arg(long, value_name = "DIR", env = "REDISCUE_CONFIG")]
        config: PathBuf,
        /// Where the snapshot is put; an existing file is not overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The server, where the service has several.
        #[arg(long, value_name = "ADDRESS")]
        node: Option<String>,
        /// A card for people, or one document of JSON.
        #[arg(long, value_enum, default_value_t)]
        output: Form,
    },
}

/// Which file, and how to print.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// The file: dump.rdb, or the *.base.rdb of appendonlydir/.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A card for people, or one document of JSON.
    #[arg(long, value_enum, default_value_t)]
    output: Form,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Form {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Which allocator's size classes a server's memory is counted in.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum AllocatorArg {
    /// Official packages and images.
    #[default]
    Jemalloc,
    /// Debian's and Ubuntu's packages.
    SystemJemalloc,
    /// Builds with MALLOC=libc.
    Libc,
}

impl From<AllocatorArg> for Allocator {
    fn from(arg: AllocatorArg) -> Self {
        match arg {
            AllocatorArg::Jemalloc => Allocator::Jemalloc,
            AllocatorArg::SystemJemalloc => Allocator::SystemJemalloc,
            AllocatorArg::Libc => Allocator::Libc,
        }
    }
}

/// Does what was asked. Ctrl-C stops it between two blocks.
///
/// # Errors
/// When the file cannot be opened or read; damage is an answer, with exit status 2.
pub async fn run(call: RdbCall) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    match call {
        RdbCall::Fetch { service, config, out, node, output } => {
            server::check_out(&out)?;
            let from = server::From { name: &service, node: node.as_deref(), config: &config };
            let copied = server::copy(&from, reading(), Some(&out), &mut signals, |_| ()).await;
            told(copied, output, |address, received| Ok(fetched(&out, &address, &received)))
        }
        RdbCall::Report {
            from: Some(name),
            config: Some(config),
            node,
            output,
            top,
            separators,
            reveal,
            no_checksum,
            allocator,
            ..
        } => {
            let from = server::From { name: &name, node: node.as_deref(), config: &config };
            let reading = Reading { allocator: allocator.into(), checksum: !no_checksum, ..reading() };
            let mut tally = Tally::new(wanted(top, separators.as_deref(), reveal)?);
            let each = |key: &Key<'_>| tally.add(&key.seen(reading.now));
            let copied = server::copy(&from, reading, None, &mut signals, each).await;
            told(copied, output, |address, received| {
                report(&format!("{name} at {address}"), &received.facts, &mut tally, reveal)
            })
        }
        call => {
            let stop = CancellationToken::new();
            let mut work = tokio::task::spawn_blocking({
                let stop = stop.clone();
                move || of_file(&call, &stop)
            });
            tokio::select! {
                done = &mut work => done.context("the reader broke down")?,
                () = signals.stop() => {
                    stop.cancel();
                    work.await.context("the reader broke down")?
                }
            }
        }
    }
}

fn reading() -> Reading {
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
    Reading { now, allocator: Allocator::default(), checksum: true, size: None }
}

fn wanted(top: u16, separators: Option<&str>, reveal: bool) -> anyhow::Result<Wanted> {
    let separators = match separators {
        Some(given) => Some(Separators::given(given).context("separators are punctuation, such as `:` or `/.`")?),
        None => None,
    };
    Ok(Wanted { top: usize::from(top), separators, words: reveal, ..Wanted::default() })
}

fn seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A report and its document.
fn report(name: &str, facts: &Facts, tally: &mut Tally, reveal: bool) -> anyhow::Result<(Card, serde_json::Value)> {
    tally.settle();
    let report = Report::of_tally("rdb", tally, Showing { reveal, page: 1 });
    let card = report_card(name, facts, &report, seconds());
    let mut document = facts_json(facts, None);
    document["report"] = serde_json::to_value(&report)?;
    Ok((card, document))
}

/// What is said of a copy that is there.
fn fetched(out: &Path, address: &Address, received: &Received) -> (Card, serde_json::Value) {
    let facts = &received.facts;
    let mut card = verify_card(&name_of(out), facts, None, seconds());
    card.title = format!("rdb fetch · {}", name_of(out));
    card.context = vec![format!("a full copy of {address}, in {}", out.display())];
    let mut document = facts_json(facts, None);
    document["file"] = json!(out.display().to_string());
    document["address"] = json!(address.to_string());
    if let Some((id, offset)) = &received.position {
        card.context.push(format!("it stands at {offset} of the history {id}"));
        (document["replication_id"], document["replication_offset"]) = (json!(id), json!(offset));
    }
    (card, document)
}

/// Prints what came of a copy.
fn told(
    copied: Result<(Address, Received), NoCopy>,
    output: Form,
    card: impl FnOnce(Address, Received) -> anyhow::Result<(Card, serde_json::Value)>,
) -> anyhow::Result<ExitCode> {
    match copied {
        Ok((address, received)) => {
            let (card, document) = card(address, received)?;
            print(output, &card, &document)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(NoCopy::Configuration) => Ok(ExitCode::from(BAD_CONFIGURATION)),
        Err(NoCopy::Told(why)) => {
            if output == Form::Json {
                let error = json!({ "code": why.code, "what": why.what, "cause": why.cause, "next": why.next });
                writeln!(io::stdout().lock(), "{}", json!({ "whole": false, "error": error }))?;
            }
            let line = format!("rediscue: {}\n  because: {}\n  next: {}", why.what, why.cause, why.next);
            // Standard error may be closed; the exit status still says it.
            let _ = writeln!(io::stderr().lock(), "{line}");
            Ok(if why.code == "RDB" { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::FAILURE })
        }
    }
}

fn of_file(call: &RdbCall, stop: &CancellationToken) -> anyhow::Result<ExitCode> {
    match call {
        RdbCall::Verify { file: FileArgs { file, output } } => {
            let (facts, error) = split(read_file(file, reading(), stop, |_| ()), file)?;
            if let Some(error) = error {
                return damaged("verify", file, *output, &facts, &error);
            }
            let card = verify_card(&name_of(file), &facts, None, seconds());
            print(*output, &card, &facts_json(&facts, None))?;
            Ok(ExitCode::SUCCESS)
        }
        RdbCall::Report { file: Some(file), output, top, separators, reveal, no_checksum, allocator, .. } => {
            let mut tally = Tally::new(wanted(*top, separators.as_deref(), *reveal)?);
            let reading = Reading { allocator: (*allocator).into(), checksum: !no_checksum, ..reading() };
            let read = read_file(file, reading, stop, |key| tally.add(&key.seen(reading.now)));
            let (facts, error) = split(read, file)?;
            if let Some(error) = error {
                // Half a report would be read as a whole one.
                return damaged("report", file, *output, &facts, &error);
            }
            let (card, document) = report(&name_of(file), &facts, &mut tally, *reveal)?;
            print(*output, &card, &document)?;
            Ok(ExitCode::SUCCESS)
        }
        RdbCall::Report { .. } | RdbCall::Fetch { .. } => {
            anyhow::bail!("name a FILE, or a service with --from and --config")
        }
    }
}

fn damaged(call: &str, file: &Path, output: Form, facts: &Facts, error: &RdbError) -> anyhow::Result<ExitCode> {
    let mut card = verify_card(&name_of(file), facts, Some(error), seconds());
    card.title = format!("rdb {call} · {}", name_of(file));
    print(output, &card, &facts_json(facts, Some(error)))?;
    Ok(ExitCode::from(BAD_CONFIGURATION))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Damage is something to tell; not being able to read is an error.
fn split(read: Result<Facts, RdbFileError>, path: &Path) -> anyhow::Result<(Facts, Option<RdbError>)> {
    match read {
        Ok(facts) => Ok((facts, None)),
        Err(RdbFileError::Damaged { error, facts }) => Ok((*facts, Some(error))),
        Err(error) => Err(anyhow::Error::new(error).context(path.display().to_string())),
    }
}

fn print(output: Form, card: &Card, document: &serde_json::Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match output {
        Form::Json => writeln!(out, "{document}"),
        Form::Text => {
            let mut style = Options::of_this_process(Output::Text).style;
            style.colour &= out.is_terminal();
            write!(out, "{}", render(card, "", &style))
        }
    }
}

fn facts_json(facts: &Facts, error: Option<&RdbError>) -> serde_json::Value {
    let checksum = match facts.checksum {
        Checksum::Right(_) => "right",
        Checksum::Disabled => "disabled",
        Checksum::Unchecked => "unchecked",
    };
    // Of what was not checked nobody knows.
    let whole = match (error, facts.checksum) {
        (None, Checksum::Unchecked) if facts.complete => None,
        _ => Some(error.is_none() && facts.complete),
    };
    let databases: Vec<_> = facts
        .databases
        .iter()
        .map(|database| {
            json!({
                "db": database.db, "keys": database.keys, "announced": database.announced,
                "expiring": database.expiring, "expired": database.expired, "bytes": database.bytes,
            })
        })
        .collect();
    json!({
        "whole": whole,
        "error": error.map(|error| json!({
            "offset": error.offset, "what": error.damage.to_string(), "next": error.next(),
        })),
        "valkey": facts.valkey, "rdb_version": facts.version, "created_by": facts.created_by,
        "created_at": facts.created_at, "used_memory": facts.used_memory, "checksum": checksum,
        "memory_rules": { "of": facts.rules.of, "own": facts.rules.own },
        "bytes_read": facts.read, "keys": facts.keys(), "functions": facts.functions,
        "replication_id": facts.replication_id, "replication_offset": facts.replication_offset,
        "aof_preamble": facts.aof_preamble, "databases": databases,
    })
}
