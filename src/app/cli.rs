//! The command line.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio_util::sync::CancellationToken;

use super::{rdb, serve, signals::Signals, trial};
use crate::{
    chat::console::{self, Input, Options, Output, client},
    config,
    model::Problem,
    runbook::{self, Catalogue},
    store::{self, Anchor},
};

const EXIT_STATUS: &str = "\
Exit status:
  0  all is well: every line answered, no problem found, the journal whole
  1  something failed, or a line was not answered; standard error says what
  2  the command line or the configuration does not hold; every problem is printed";

/// Runs a team's Redis runbooks from chat.
#[derive(Debug, Parser)]
#[command(name = "rediscue", version, after_help = EXIT_STATUS, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    call: Call,
}

#[derive(Debug, Subcommand)]
enum Call {
    /// Try everything: a throw-away Redis with sample data, and a chat with it.
    ///
    /// Needs redis-server or valkey-server on this machine, and nothing else.
    /// Piped lines run in order: printf '/redis status\n' | rediscue try. `exit`, `quit` or Ctrl-D leaves.
    Try {
        #[command(flatten)]
        chat: ChatArgs,
        /// The server program, instead of the redis-server or valkey-server of this machine.
        #[arg(long, value_name = "PATH")]
        redis_server: Option<PathBuf>,
    },
    /// Run the bot.
    ///
    /// SIGHUP reads the configuration again; SIGTERM answers what is in flight and stops.
    Serve {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Talk to the running bot on this machine, when chat itself is down.
    ///
    /// You are whoever the operating system says you are; policy and journal are those of any other chat.
    /// `exit`, `quit` or Ctrl-D leaves.
    Console {
        #[command(flatten)]
        chat: ChatArgs,
        /// The bot's socket, instead of the usual places.
        #[arg(long, value_name = "PATH", env = "REDISCUE_SOCKET")]
        socket: Option<PathBuf>,
    },
    /// Print every problem of a configuration, with file, line, reason and hint.
    Check {
        #[command(flatten)]
        config: ConfigArgs,
        /// How problems are printed; `json` is one line each.
        #[arg(long, value_enum, default_value_t)]
        output: OutputArg,
        /// Ask Slack as well: tokens, scopes, socket, channels. Nothing is said in any of them.
        #[arg(long)]
        online: bool,
    },
    /// The journal of who ran what.
    Audit {
        #[command(subcommand)]
        call: AuditCall,
    },
    /// What a snapshot holds, and whether it is whole; a full copy of a server into one.
    Rdb {
        #[command(subcommand)]
        call: rdb::RdbCall,
    },
    /// Print the reference: every command and its arguments, as Markdown.
    Reference {
        /// Print the JSON Schema of command files instead, for editors.
        #[arg(long)]
        json_schema: bool,
    },
}

#[derive(Debug, Subcommand)]
enum AuditCall {
    /// Say whether the journal is whole: no row edited, removed, reordered, and no tail cut.
    Verify {
        #[command(flatten)]
        config: ConfigArgs,
        /// A line of the audit channel, or a file of such lines: with them a cut tail shows.
        #[arg(long, value_name = "LINE|FILE")]
        anchor: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct ChatArgs {
    /// What is printed: cards for people, or one line of JSON for every message, edit and reaction.
    #[arg(long, value_enum, default_value_t)]
    output: OutputArg,
    /// A piped line that is not answered within this many seconds is given up.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    wait: u64,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The directory that holds bot.toml, policy.toml, services/ and commands/.
    #[arg(long, value_name = "DIR", env = "REDISCUE_CONFIG")]
    config: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum OutputArg {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

impl ChatArgs {
    fn options(&self) -> Options {
        let output = match self.output {
            OutputArg::Text => Output::Text,
            OutputArg::Json => Output::Json,
        };
        Options { answer_within: Duration::from_secs(self.wait), ..Options::of_this_process(output) }
    }
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("threads cannot be started")),
    };
    let ended = runtime.block_on(carry_out(cli.call));
    // A thread may sit at a prompt or in a look-up; nobody waits for it.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended.unwrap_or_else(|error| failed(&error))
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(io::stderr().lock(), "rediscue: {error:#}");
    ExitCode::FAILURE
}

async fn carry_out(call: Call) -> anyhow::Result<ExitCode> {
    match call {
        Call::Try { chat, redis_server } => trial::run(chat.options(), redis_server.as_deref()).await,
        Call::Serve { config } => serve::serve(&config.config).await,
        Call::Console { chat, socket } => talk(chat.options(), socket).await,
        Call::Check { config, output, online } => check(&config.config, output, online).await,
        Call::Audit { call: AuditCall::Verify { config, anchor } } => verify(&config.config, &anchor).await,
        Call::Rdb { call } => rdb::run(call).await,
        Call::Reference { json_schema } => reference(json_schema),
    }
}

/// `rediscue console`.
async fn talk(options: Options, socket: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let path = socket.unwrap_or_else(|| {
        let usual = client::usual_paths();
        usual.iter().find(|path| path.exists()).or(usual.first()).cloned().unwrap_or_default()
    });
    let mut signals = Signals::listen()?;
    let link = client::connect(&path, options.input == Input::Lines).await?;
    let stop = CancellationToken::new();
    let session = console::run(options, link, stop.clone());
    tokio::pin!(session);
    let ended = tokio::select! {
        ended = &mut session => ended,
        () = signals.stop() => {
            stop.cancel();
            session.await
        }
    };
    Ok(ended.exit_code())
}

/// `rediscue check`.
async fn check(dir: &Path, output: OutputArg, online: bool) -> anyhow::Result<ExitCode> {
    let (problems, summary) = match config::load(dir) {
        Ok(config) => {
            let mut problems = config.warnings.clone();
            problems.extend(config::check_world(&config));
            if online {
                problems.extend(super::slack::prove(&config, &dir.join("bot.toml")).await);
            }
            let summary = format!("{} services, {} commands", config.services.len(), config.catalogue.all().count());
            (problems, Some(summary))
        }
        Err(problems) => (problems, None),
    };
    let mut out = io::stdout().lock();
    for problem in &problems {
        match output {
            OutputArg::Text => writeln!(out, "{problem}")?,
            OutputArg::Json => writeln!(out, "{}", as_json(problem))?,
        }
    }
    let wrong = problems.iter().filter(|problem| !problem.warning).count();
    if output == OutputArg::Text {
        let found = match (wrong, problems.len() - wrong) {
            (0, 0) => "no problems".to_owned(),
            (0, warnings) => format!("no problems, warnings: {warnings}"),
            (wrong, 0) => format!("problems: {wrong}"),
            (wrong, warnings) => format!("problems: {wrong}, warnings: {warnings}"),
        };
        let summary = summary.map(|summary| format!("{summary}, ")).unwrap_or_default();
        writeln!(out, "{}: {summary}{found}", dir.display())?;
    }
    Ok(if wrong > 0 { ExitCode::from(serve::BAD_CONFIGURATION) } else { ExitCode::SUCCESS })
}

fn as_json(problem: &Problem) -> serde_json::Value {
    serde_json::json!({
        "file": problem.file.display().to_string(),
        "line": problem.line,
        "level": if problem.warning { "warning" } else { "error" },
        "reason": problem.reason,
        "hint": problem.hint,
    })
}

/// `rediscue audit verify`.
async fn verify(dir: &Path, anchors: &[String]) -> anyhow::Result<ExitCode> {
    let config = match config::load(dir) {
        Ok(config) => config,
        Err(problems) => {
            serve::say_problems(&problems);
            return Ok(ExitCode::from(serve::BAD_CONFIGURATION));
        }
    };
    let mut kept = Vec::new();
    for anchor in anchors {
        // A file of lines, or one line.
        let text = if Path::new(anchor).is_file() {
            std::fs::read_to_string(anchor).with_context(|| format!("{anchor} cannot be read"))?
        } else {
            anchor.clone()
        };
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            kept.push(line.parse::<Anchor>()?);
        }
    }
    let paths = serve::store_settings(&config.bot).paths();
    let report = store::verify(&paths.database, &paths.key, &kept).await?;
    let mut out = io::stdout().lock();
    if let Some(fault) = &report.fault {
        writeln!(out, "{}: NOT whole: {fault}", paths.database.display())?;
        writeln!(out, "{} rows before it are as they were written", report.rows)?;
        return Ok(ExitCode::FAILURE);
    }
    writeln!(out, "{}: whole, {} rows", paths.database.display(), report.rows)?;
    if report.cut > 0 {
        writeln!(out, "rows up to {} were removed by retention, under the journal's key", report.cut)?;
    }
    if kept.is_empty() {
        writeln!(out, "no anchor was given: a tail that was cut off would not show (--anchor)")?;
    } else {
        writeln!(out, "{} anchors agree, {} are older than what is kept", report.anchors, report.anchors_too_old)?;
    }
    writeln!(out, "end: {}", report.end)?;
    Ok(ExitCode::SUCCESS)
}

/// `rediscue reference`.
fn reference(json_schema: bool) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    if json_schema {
        writeln!(out, "{:#}", runbook::json_schema())?;
        return Ok(ExitCode::SUCCESS);
    }
    let catalogue = Catalogue::new(runbook::built_in()).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the compiled-in commands do not hold:\n{}", problems.join("\n"))
    })?;
    writeln!(out, "{}", runbook::reference_markdown(&catalogue).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["rediscue", "try", "--output", "json"]).unwrap();
        assert!(matches!(cli.call, Call::Try { chat: ChatArgs { output: OutputArg::Json, wait: 300 }, .. }));
        assert!(Cli::try_parse_from(["rediscue", "serve", "--confg", "x"]).is_err());
    }
}
