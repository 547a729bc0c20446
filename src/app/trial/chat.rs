//! The chat of a trial: the whole bot, in this process.

use std::{collections::BTreeMap, path::Path, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::Trial;
use crate::{
    app::{completions, log, serve, signals::Signals},
    bot::{Bot, Parts, Reload},
    chat::{
        Gateway,
        console::{self, Completions, Console, Ended, Input, Options, Peer, Who},
    },
    config::{self, Config},
    exec::Exec,
    model::Platform,
    store::Store,
};

/// `rediscue try`. The exit status is 0 when every line was answered.
///
/// # Errors
/// When no server can be started, or the store cannot be opened.
pub async fn run(options: Options, program: Option<&Path>) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let trial = tokio::select! {
        trial = Trial::start(program) => trial?,
        // What was begun is swept when this program has gone.
        () = signals.stop() => return Ok(ExitCode::FAILURE),
    };
    let ended = chat(options, &trial, &mut signals).await;
    trial.stop().await;
    Ok(ended?.exit_code())
}

async fn chat(options: Options, trial: &Trial, signals: &mut Signals) -> anyhow::Result<Ended> {
    let dir = trial.config();
    let config = config::load(&dir).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the configuration of the trial does not hold:\n{}", problems.join("\n"))
    })?;
    log::start(&config.bot.log);
    let (bot, console, doing) = start(config, dir).await?;

    let people = Trial::people();
    let names = people.iter().map(ToString::to_string).collect();
    console.set_completions(Completions { people: names, ..completions(&bot.rules()) });
    let peer = Peer { who: Who::People(people), script: options.input == Input::Lines };
    let link = console.attach(peer, bot.inbound());
    let stop = CancellationToken::new();
    let options = Options { greeting: Some(trial.greeting()), ..options };
    let session = console::run(options, link, stop.clone());
    tokio::pin!(session);
    let ended = tokio::select! {
        ended = &mut session => {
            bot.stop().await;
            ended
        }
        () = signals.stop() => {
            // What is in flight is answered, and read, before the end.
            let stopping = async {
                bot.stop().await;
                stop.cancel();
            };
            tokio::select! {
                (ended, ()) = async { tokio::join!(session, stopping) } => ended,
                () = signals.stop() => Ended { stopped: true, ..Ended::default() },
            }
        }
    };
    let Doing { exec, store } = doing;
    exec.close().await;
    store.close().await;
    Ok(ended)
}

struct Doing {
    exec: Exec,
    store: Store,
}

async fn start(config: Config, dir: std::path::PathBuf) -> anyhow::Result<(Bot, Arc<Console>, Doing)> {
    let store = Store::open(serve::store_settings(&config.bot)).await.context("the store cannot be opened")?;
    let exec = Exec::new(serve::exec_settings(&config.bot));
    let console = Console::new(console::host_name());
    let gateways = BTreeMap::from([(Platform::Console, Arc::clone(&console) as Arc<dyn Gateway>)]);
    let reload: Reload = Arc::new(move || config::load(&dir).map(serve::rules));
    let parts = Parts { rules: serve::rules(config), reload, exec: exec.clone(), store: store.clone(), gateways };
    Ok((Bot::start(parts), console, Doing { exec, store }))
}
