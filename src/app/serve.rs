//! `rediscue serve`: the bot.
//!
//! Everything is bound before anything starts, so that a bot which is up can
//! be asked. The first SIGTERM or SIGINT asks it to stop, the second ends it.
//! SIGHUP reads the configuration again.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    bot::{Bot, Parts, Reload, Rules, Settings},
    chat::{Gateway, console, slack::Transport},
    config::{self, Config},
    exec::{Exec, ExecSettings},
    model::{Platform, Problem},
    store::{BackupSettings, Retention, Store, StoreSettings},
    web,
};

/// Exit status when the configuration does not hold.
pub const BAD_CONFIGURATION: u8 = 2;

/// What the bot goes by, from what people wrote.
pub fn rules(config: Config) -> Rules {
    let settings = Settings {
        queue: config.bot.work.queue,
        at_once: config.bot.work.at_once,
        longest: config.bot.deadlines.command,
        longest_call: config.bot.deadlines.call,
        progress_after: config.bot.deadlines.progress,
        audit: config.bot.audit.channel,
        anchor_every: config.bot.audit.anchor_every,
        consent: config.bot.consent,
        alerts: config.bot.alerts,
        grace: config.bot.deadlines.stop,
        schedules: config.bot.backups.schedules,
    };
    Rules { policy: config.policy, catalogue: config.catalogue, services: config.services, settings }
}

/// Prints problems as `check` does; true when one of them is more than a warning.
pub fn say_problems(problems: &[Problem]) -> bool {
    use std::io::Write as _;
    let mut out = std::io::stderr().lock();
    for problem in problems {
        // Standard error is where this belongs; when even that is closed, nobody can be told.
        let _ = writeln!(out, "{problem}");
    }
    problems.iter().any(|problem| !problem.warning)
}

/// Serves until told to stop.
///
/// # Errors
/// When something cannot be bound or opened; a configuration that does not hold
/// is exit status 2, every problem printed.
pub async fn serve(directory: &Path) -> anyhow::Result<ExitCode> {
    let config = match config::load(directory) {
        Ok(config) => config,
        Err(problems) => {
            say_problems(&problems);
            return Ok(ExitCode::from(BAD_CONFIGURATION));
        }
    };
    say_problems(&config.warnings);
    super::log::start(&config.bot.log);
    let bot_settings = config.bot.clone();
    let mut stops = Stops::listen()?;

    let accounts = Arc::new(super::slack::Directory::default());
    accounts.learn(&config.policy);
    let slack = bot_settings.slack.as_ref().map(|slack| super::slack::open(slack, accounts.clone())).transpose()?;
    let store = Store::open(store_settings(&bot_settings)).await.context("the store cannot be opened")?;
    let exec = Exec::new(exec_settings(&bot_settings));
    let listener = match bot_settings.web {
        Some(address) => Some(TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?),
        None => None,
    };
    let mut gateways: BTreeMap<Platform, Arc<dyn Gateway>> = BTreeMap::new();
    let socket = match &bot_settings.console {
        Some(path) => {
            let server = console::server::Server::bind(path)?;
            gateways.insert(Platform::Console, server.gateway());
            Some(server)
        }
        None => None,
    };

    if let Some(opened) = &slack {
        gateways.insert(Platform::Slack, opened.slack.clone());
    }

    let reload: Reload = Arc::new({
        let directory: PathBuf = directory.to_owned();
        move || {
            let config = config::load(&directory)?;
            accounts.learn(&config.policy);
            Ok(rules(config))
        }
    });
    let bot = Bot::start(Parts { rules: rules(config), reload, exec: exec.clone(), store: store.clone(), gateways });

    // What the local chat completes follows the configuration.
    let local = socket.as_ref().map(console::Server::gateway);
    let tell_names = |bot: &Bot| {
        if let Some(console) = &local {
            console.set_completions(super::completions(&bot.rules()));
        }
    };
    tell_names(&bot);

    let closing = CancellationToken::new();
    let mut rooms = tokio::task::JoinSet::new();
    if let Some(server) = socket {
        rooms.spawn(server.run(bot.inbound(), closing.clone()));
    }
    // Slack's ears close first: what comes after is for Slack to send to the next one.
    let deaf = CancellationToken::new();
    let mut pages = axum::Router::new();
    if let Some(opened) = slack {
        let slack = opened.slack.clone();
        rooms.spawn({
            let (slack, deaf) = (opened.slack.clone(), deaf.clone());
            async move {
                tokio::select! {
                    () = deaf.cancelled() => {}
                    () = slack.introduce() => {}
                }
            }
        });
        rooms.spawn({
            let (slack, ears, deaf) = (opened.slack.clone(), bot.ears(), deaf.clone());
            async move {
                tokio::select! {
                    () = deaf.cancelled() => {}
                    () = slack.take_up(ears) => {}
                }
            }
        });
        match opened.transport {
            Transport::Socket { app_token } => {
                let (ears, deaf) = (bot.ears(), deaf.clone());
                rooms.spawn(async move {
                    if let Err(error) = slack.listen(app_token, ears, deaf).await {
                        tracing::error!(%error, "Slack is not listened to");
                    }
                });
            }
            Transport::Http { signing_secret } => {
                pages = pages.nest("/slack", slack.http_routes(&signing_secret, bot.ears())?);
            }
        }
    }
    if let Some(listener) = listener {
        let window = bot.window();
        let view = web::View {
            ailments: Arc::new({
                let window = window.clone();
                move || window.ailments()
            }),
            metrics: Arc::new(move || window.metrics()),
        };
        let closing = closing.clone();
        rooms.spawn(async move {
            let pages = web::routes(view).merge(pages);
            let ended = axum::serve(listener, pages).with_graceful_shutdown(closing.cancelled_owned()).await;
            if let Err(error) = ended {
                tracing::error!(%error, "the listener for pages ended");
            }
        });
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "rediscue is up");

    while let Asked::Reload = stops.next().await {
        match bot.reload() {
            Ok(services) => {
                tell_names(&bot);
                tracing::info!(services, "the configuration was read again");
            }
            Err(problems) => {
                tracing::error!(problems = problems.len(), "the new configuration does not hold; the old one goes on");
                say_problems(&problems);
            }
        }
    }
    tracing::info!("stopping: commands in flight are answered first");
    let emptied = async {
        deaf.cancel();
        bot.stop().await;
        closing.cancel();
        while rooms.join_next().await.is_some() {}
        exec.close().await;
        store.close().await;
    };
    tokio::select! {
        () = emptied => tracing::info!("stopped"),
        () = stops.again() => tracing::warn!("told twice to stop: ending at once"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the store is and how long it keeps what, as the settings say.
pub fn store_settings(settings: &config::BotSettings) -> StoreSettings {
    let keep = Retention {
        journal: settings.store.keep,
        figures: settings.store.keep_figures,
        snapshots: settings.store.keep_snapshots,
        ..Retention::default()
    };
    let beside = BackupSettings::beside(&settings.store.path);
    let backups = BackupSettings {
        dir: settings.backups.dir.clone().unwrap_or(beside.dir),
        key: beside.key,
        keep: settings.backups.keep,
        keep_last: settings.backups.keep_last,
    };
    StoreSettings {
        backups: Some(backups),
        database: settings.store.path.clone(),
        key: Some(settings.store.key_file.clone()),
        retention: keep,
        snapshot_bytes: settings.store.snapshot_bytes,
        ..StoreSettings::in_dir("")
    }
}

/// How servers are spoken to, as the settings say.
pub fn exec_settings(settings: &config::BotSettings) -> ExecSettings {
    ExecSettings { connect: settings.deadlines.connect, ..ExecSettings::default() }
}

enum Asked {
    Stop,
    Reload,
}

/// The signals the bot listens to.
struct Stops {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Stops {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }

    async fn again(&mut self) {
        while let Asked::Reload = self.next().await {}
    }
}
