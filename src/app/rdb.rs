//! `rediscue rdb`: what a snapshot file holds, and whether it is whole.

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
    exec::rdb::{RdbFileError, read_file},
    keyspace::{
        Tally, Wanted,
        file::{report_card, verify_card},
        name::Separators,
        rdb::{Allocator, Checksum, Facts, RdbError, Reading},
        report::{Report, Showing},
    },
    model::Card,
};

/// What can be asked of a file.
#[derive(Debug, Subcommand)]
pub enum RdbCall {
    /// Say what is in it: bytes by prefix and type, lifetimes, the largest keys. No server is needed.
    Report {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment here would replace the call's own help")]
        file: FileArgs,
        /// How many of the largest and longest keys.
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
        top: u16,
        /// The characters that part names, instead of those found by looking.
        #[arg(long, value_name = "CHARACTERS")]
        separators: Option<String>,
        /// Show names of keys whole.
        #[arg(long)]
        reveal: bool,
        /// Do not compute the checksum.
        #[arg(long)]
        no_checksum: bool,
        /// The allocator of the server, which rounds what every key takes.
        #[arg(long, value_enum, default_value_t)]
        allocator: AllocatorArg,
    },
    /// Read it to its end: version, checksum, keys by database. Exit status 2: it is damaged.
    Verify {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment here would replace the call's own help")]
        file: FileArgs,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Form {
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
    let stop = CancellationToken::new();
    let mut signals = Signals::listen()?;
    let mut work = tokio::task::spawn_blocking({
        let stop = stop.clone();
        move || carry_out(&call, &stop)
    });
    tokio::select! {
        done = &mut work => done.context("the reader broke down")?,
        () = signals.stop() => {
            stop.cancel();
            work.await.context("the reader broke down")?
        }
    }
}

fn carry_out(call: &RdbCall, stop: &CancellationToken) -> anyhow::Result<ExitCode> {
    let now = jiff::Timestamp::now();
    let reading = Reading {
        now: u64::try_from(now.as_millisecond()).unwrap_or(0),
        allocator: Allocator::default(),
        checksum: true,
        size: None,
    };
    match call {
        RdbCall::Verify { file } => {
            let (facts, error) = split(read_file(&file.file, reading, stop, |_| ()), &file.file)?;
            let card = verify_card(&name_of(&file.file), &facts, error.as_ref(), now.as_second());
            print(file, &card, facts_json(&facts, error.as_ref()))?;
            Ok(if error.is_some() { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::SUCCESS })
        }
        RdbCall::Report { file, top, separators, reveal, no_checksum, allocator } => {
            let separators = match separators {
                Some(given) => {
                    Some(Separators::given(given).context("separators are punctuation, such as `:` or `/.`")?)
                }
                None => None,
            };
            let mut tally = Tally::new(Wanted { top: usize::from(*top), separators, ..Wanted::default() });
            let reading = Reading { allocator: (*allocator).into(), checksum: !no_checksum, ..reading };
            let read = read_file(&file.file, reading, stop, |key| tally.add(&key.seen(reading.now)));
            let (facts, error) = split(read, &file.file)?;
            tally.settle();
            if let Some(error) = error {
                // Half a report would be read as a whole one.
                let card = verify_card(&name_of(&file.file), &facts, Some(&error), now.as_second());
                print(file, &card, facts_json(&facts, Some(&error)))?;
                return Ok(ExitCode::from(BAD_CONFIGURATION));
            }
            let report = Report::of_tally("rdb", &tally, Showing { reveal: *reveal, page: 1 });
            let card = report_card(&name_of(&file.file), &facts, &report, now.as_second());
            let mut document = facts_json(&facts, None);
            document["report"] = serde_json::to_value(&report)?;
            print(file, &card, document)?;
            Ok(ExitCode::SUCCESS)
        }
    }
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

fn print(file: &FileArgs, card: &Card, document: serde_json::Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match file.output {
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
        "whole": error.is_none() && facts.complete,
        "error": error.map(|error| json!({
            "offset": error.offset, "what": error.damage.to_string(), "next": error.next(),
        })),
        "valkey": facts.valkey, "rdb_version": facts.version, "created_by": facts.created_by,
        "created_at": facts.created_at, "used_memory": facts.used_memory, "checksum": checksum,
        "bytes_read": facts.read, "keys": facts.keys(), "functions": facts.functions,
        "replication_id": facts.replication_id, "replication_offset": facts.replication_offset,
        "aof_preamble": facts.aof_preamble, "databases": databases,
    })
}
