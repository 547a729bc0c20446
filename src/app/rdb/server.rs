//! A full copy of a server's data for somebody at this machine: who they are,
//! whether the policy lets them, which server is asked, and how far it is.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::unistd::{Uid, User};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    app::{serve, signals::Signals},
    chat::console::{host_name, wire::DidEnd},
    config,
    diagnosis::{Explained, Role},
    exec::{
        Exec, ExecSettings, Looking,
        replication::{Arrived, Limits, Received, Source, receive},
    },
    keyspace::rdb::{Key, Reading},
    model::{Actor, Address, Badges, Identity, Instance, Place, PlaceKind, Platform, RunId, Service, ServiceName},
    policy::{self, Ask, Permit, Policy, Verdict},
};

use super::journal::Copying;

/// Finding out who the servers are takes no longer.
const FINDING: Duration = Duration::from_secs(15);
/// A copy takes no longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// A server that forks and saves says so every second; one that says nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);

/// Whose data is copied.
#[derive(Debug, Clone)]
pub(super) struct From<'a> {
    /// `SERVICE` or `SERVICE/INSTANCE`.
    pub(super) name: &'a str,
    /// One of its servers, where it is not clear which.
    pub(super) node: Option<&'a str>,
    /// The configuration.
    pub(super) config: &'a Path,
}

/// Why there is no copy.
#[derive(Debug)]
pub(super) enum NoCopy {
    /// The configuration does not hold; its problems are printed.
    Configuration,
    /// This.
    Told(Explained),
}

impl std::convert::From<Explained> for NoCopy {
    fn from(explained: Explained) -> Self {
        NoCopy::Told(explained)
    }
}

/// Copies, keeping the bytes in `file` and handing each key to `each`. Says on standard error how far it is.
pub(super) async fn copy(
    from: &From<'_>,
    reading: Reading,
    file: Option<&Path>,
    signals: &mut Signals,
    each: impl FnMut(&Key<'_>) + Send,
) -> Result<(Address, Received), NoCopy> {
    let config = config::load(from.config).map_err(|problems| {
        serve::say_problems(&problems);
        NoCopy::Configuration
    })?;
    let (service, instance) = named(&config.services, from.name)?;
    let (actor, place) = (actor(&config.policy).await?, place());
    let run = RunId::from_bits(rand::random());
    let copying = Copying {
        bot: &config.bot,
        actor: &actor,
        place: &place,
        run: &run,
        command: policy::AT_THE_MACHINE[0],
        service: &service.name,
        instance: &instance.name,
        node: from.node,
        since: Instant::now(),
    };
    let permit = match permit(&config.policy, service, &copying) {
        Ok(permit) => permit,
        Err((rule, why)) => {
            copying.denied(&rule).await;
            return Err(why.into());
        }
    };
    copying.begins().await?;
    let copied = async {
        let address = address(&permit, service, instance, from.node).await?;
        carry(&permit, Source::of(instance, address), reading, file, signals, each).await
    };
    let copied = copied.await;
    let end = match &copied {
        Ok(_) => DidEnd::Well,
        Err(why) if why.code == "STOPPED" => DidEnd::Stopped,
        Err(why) => DidEnd::Failed { why: why.what.clone() },
    };
    if let Err(why) = copying.ended(end).await {
        // The copy is what it is; that it began is in the journal.
        let line = format!("rediscue: how it ended is not in the journal: {}\n  next: {}", why.cause, why.next);
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
    Ok(copied?)
}

/// The copy itself.
async fn carry(
    permit: &Permit,
    source: Source,
    reading: Reading,
    file: Option<&Path>,
    signals: &mut Signals,
    each: impl FnMut(&Key<'_>) + Send,
) -> Result<(Address, Received), Explained> {
    let stop = CancellationToken::new();
    let (progress, arrived) = watch::channel(Arrived::default());
    let limits = Limits {
        until: tokio::time::Instant::now() + LONGEST,
        silence: SILENCE,
        stop: stop.clone(),
        progress: Some(progress),
    };
    let telling = tokio::spawn(tell(source.address.to_string(), arrived));
    let received = {
        let work = receive(permit, &source, &limits, reading, file, each);
        tokio::pin!(work);
        tokio::select! {
            received = &mut work => received,
            () = signals.stop() => {
                stop.cancel();
                work.await
            }
        }
    };
    drop(limits);
    // It ends when nobody is left to tell it anything.
    let _ = telling.await;
    Ok((source.address.clone(), received?))
}

fn told(code: &str, what: String, cause: impl Into<String>, next: impl Into<String>) -> Explained {
    Explained { code: code.into(), what, cause: cause.into(), next: next.into() }
}

type Services = std::collections::BTreeMap<ServiceName, std::sync::Arc<Service>>;

fn named<'a>(services: &'a Services, name: &str) -> Result<(&'a std::sync::Arc<Service>, &'a Instance), Explained> {
    let (service, instance) =
        name.split_once('/').map_or((name, None), |(service, instance)| (service, Some(instance)));
    let found = services.iter().find(|(known, _)| known.as_str() == service).map(|(_, found)| found);
    let Some(found) = found else {
        let known: Vec<&str> = services.keys().map(ServiceName::as_str).collect();
        let what = format!("there is no service `{service}`");
        return Err(told(
            "SERVICE",
            what,
            "no file of services/ has this name",
            format!("known: {}", known.join(", ")),
        ));
    };
    let of_that_name = |name: &str| found.instances.iter().find(|instance| instance.name.as_str() == name);
    match instance.map_or(found.instances.first(), of_that_name) {
        Some(instance) => Ok((found, instance)),
        None => {
            let known: Vec<&str> = found.instances.iter().map(|instance| instance.name.as_str()).collect();
            let what = format!("`{service}` has no instance `{}`", instance.unwrap_or("main"));
            Err(told("SERVICE", what, "its profile names others", format!("known: {}", known.join(", "))))
        }
    }
}

/// Who sits at this machine, as the operating system says.
async fn actor(policy: &Policy) -> Result<Actor, Explained> {
    let uid = Uid::effective();
    // The user database may be on a network: not on an async thread.
    let user = tokio::task::spawn_blocking(move || User::from_uid(uid)).await.ok().and_then(Result::ok).flatten();
    let Some(user) = user.map(|user| user.name) else {
        let what = format!("your user id {uid} has no name on this machine");
        return Err(told("PEOPLE", what, "only people whom policy.toml knows are let", "run it as one of them"));
    };
    let identity = Identity { platform: Platform::Console, team: host_name(), user: user.clone() };
    let person = policy.person_of(&identity).cloned();
    Ok(Actor { person, identity, display: user, badges: Badges::default() })
}

fn place() -> Place {
    Place {
        platform: Platform::Console,
        team: host_name(),
        channel: "local".into(),
        thread: None,
        kind: PlaceKind::Direct,
        via: None,
    }
}

/// A full copy shows every value, so nobody takes one whom no rule lets run `rdb-fetch` and reveal.
///
/// # Errors
/// The rule that says no, and what to say of it.
fn permit(policy: &Policy, service: &Service, copying: &Copying<'_>) -> Result<Permit, (String, Explained)> {
    let command = policy::at_the_machine(copying.command).expect("it is one of them");
    let ask = Ask {
        actor: copying.actor,
        place: copying.place,
        command: &command,
        service: Some(service),
        reveal: true,
        run: copying.run,
        now: jiff::Timestamp::now(),
    };
    match policy.decide(&ask) {
        Verdict::Allow(permit) => Ok(permit),
        Verdict::Deny(refusal) => {
            let cause = format!(
                "a full copy holds every value: it wants a role with `commands = [\"{}\"]` and `reveal = true` (rule: {})",
                command.name, refusal.rule
            );
            Err((refusal.rule.clone(), told("POLICY", refusal.why, cause, refusal.next)))
        }
    }
}

/// The server to ask: the one that is named, or the only primary, or a replica of it where looks may use one.
async fn address(
    permit: &Permit,
    service: &std::sync::Arc<Service>,
    instance: &Instance,
    node: Option<&str>,
) -> Result<Address, Explained> {
    let exec = Exec::new(ExecSettings::default());
    let looking = Looking {
        deadline: Instant::now() + FINDING,
        call: FINDING / 3,
        stop: CancellationToken::new(),
        progress: None,
        partial: None,
    };
    let found = exec.target(permit, service, instance, &looking).await;
    exec.close().await;
    let nodes = found?.nodes;
    let all = |nodes: &[&crate::exec::TargetNode]| {
        nodes.iter().map(|found| found.node.address.to_string()).collect::<Vec<_>>().join(", ")
    };
    let (replicas, primaries): (Vec<_>, Vec<_>) =
        nodes.iter().partition(|found| found.node.role == Some(Role::Replica));
    if let Some(wanted) = node {
        let named = nodes.iter().find(|found| found.node.address.to_string() == wanted);
        return named.map(|found| found.node.address.clone()).ok_or_else(|| {
            let what = format!("{wanted} is no server of `{}`", service.name);
            told(
                "NODE",
                what,
                "`--node` takes one of the instance's own servers",
                all(&nodes.iter().collect::<Vec<_>>()),
            )
        });
    }
    let spare = replicas.iter().find(|found| found.silent.is_none()).filter(|_| instance.scan_replica);
    match (primaries.as_slice(), spare) {
        ([_], Some(spare)) => Ok(spare.node.address.clone()),
        ([only], None) => Ok(only.node.address.clone()),
        // A single server that is a replica itself.
        ([], _) if replicas.len() == 1 => Ok(replicas[0].node.address.clone()),
        _ => {
            let what = format!("`{}` has {} primaries, and a copy is of one", service.name, primaries.len());
            let next = format!("say which with `--node`: {}", all(&nodes.iter().collect::<Vec<_>>()));
            Err(told("NODE", what, "keys of a Cluster lie on several servers", next))
        }
    }
}

/// Says on standard error how far it is: on a terminal four times a second on one line, else a line every ten seconds.
async fn tell(address: String, mut arrived: watch::Receiver<Arrived>) {
    let terminal = io::stderr().is_terminal();
    let every = if terminal { Duration::from_millis(250) } else { Duration::from_secs(10) };
    let begun = Instant::now();
    say(terminal, &format!("{address}: asked for a full copy"));
    loop {
        let gone = tokio::time::timeout(every, async { while arrived.changed().await.is_ok() {} }).await.is_ok();
        let now = *arrived.borrow_and_update();
        say(terminal, &format!("{address}: {}", said(now, begun.elapsed())));
        if gone {
            if terminal {
                let _ = writeln!(io::stderr());
            }
            return;
        }
    }
}

fn say(terminal: bool, line: &str) {
    let mut out = io::stderr().lock();
    // Standard error may be closed; the copy goes on.
    let _ = if terminal { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
    let _ = out.flush();
}

fn said(now: Arrived, took: Duration) -> String {
    if now.bytes == 0 {
        let doing = if now.answered { "it forks and saves first" } else { "no answer has come yet" };
        return format!("{doing}, {:.0} s", took.as_secs_f64());
    }
    let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let of = now.total.map_or(String::new(), |total| format!(" of {}", mb(total)));
    let rate = now.bytes as f64 / 1e6 / took.as_secs_f64().max(0.001);
    format!("{}{of}, {} keys, {rate:.0} MB/s, {:.0} s", mb(now.bytes), now.keys, took.as_secs_f64())
}

/// Checks a path before anything is asked of a server.
pub(super) fn check_out(path: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(!path.exists(), "{} is already there: name another path, or move it aside", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let about = std::fs::metadata(folder).with_context(|| format!("the folder {} of --out", folder.display()))?;
    anyhow::ensure!(about.is_dir(), "{} is no folder", folder.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_copy_is_is_said_with_or_without_an_end() {
        let arrived = Arrived { answered: true, bytes: 12_300_000, total: Some(40_000_000), keys: 31_221 };
        assert_eq!(said(arrived, Duration::from_secs(2)), "12.3 MB of 40.0 MB, 31221 keys, 6 MB/s, 2 s");
        let endless = Arrived { total: None, ..arrived };
        assert_eq!(said(endless, Duration::from_secs(2)), "12.3 MB, 31221 keys, 6 MB/s, 2 s");
    }

    #[test]
    fn a_server_that_has_not_answered_is_not_said_to_save() {
        let silent = Arrived::default();
        assert_eq!(said(silent, Duration::from_secs(20)), "no answer has come yet, 20 s");
        let answered = Arrived { answered: true, ..silent };
        assert_eq!(said(answered, Duration::from_secs(20)), "it forks and saves first, 20 s");
    }
}
