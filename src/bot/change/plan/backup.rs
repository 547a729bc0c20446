//! The plan that copies all data into sealed files of the bot's own.

use std::path::PathBuf;

use serde_json::Value;

use super::{Draft, Maker, Unplanned, step, trouble};
use crate::{
    bot::command::plain_card,
    diagnosis::Explained,
    exec::backups::room,
    runbook::{Change, Reach, Risk, Undo, Wanted, show_bytes, show_number},
    store::Manifest,
};

/// The disk needs so much more than the copy alone: manifests, and what else is written meanwhile.
const SPARE: u64 = 1 << 20;

/// What a server says that matters to a copy of it.
#[derive(Debug, Default)]
struct Figures {
    keys: u64,
    /// Bytes of its data in memory, which its snapshot hardly ever exceeds.
    data: u64,
    rss: u64,
    machine: u64,
    forked_us: u64,
    failed: bool,
}

/// The draft of a `backup`.
pub(super) async fn draft(maker: &Maker<'_>, wanted: &Wanted) -> Result<Draft, Unplanned> {
    if wanted.get("no_encrypt") == Some("true") {
        return Err(Unplanned::Misunderstood(Box::new(plain_card(
            "backup",
            "Backups are always encrypted: they hold every value, and lie where nobody watches them.",
            Some(
                "leave `--no-encrypt` out. Whoever has the bot's key file opens one with `age -d -i KEYFILE FILE`, also without the bot"
                    .to_owned(),
            ),
        ))));
    }
    let save = wanted.get("from") == Some("save");
    let figures = figures(maker).await?;
    let (service, instance) = (maker.wish.service.name.clone(), maker.wish.instance.name.clone());
    let backups = maker.hall.store.backups();
    let (last, free) = tokio::task::spawn_blocking(move || {
        let last = backups.newest(&service, &instance).ok().flatten();
        (last, room(&backups.settings().dir))
    })
    .await
    .map_err(|_| trouble("the directory of backups was not read", "the bot is being stopped", "ask again"))?;
    let need = need(&figures, last.as_ref());
    if let Some(free) = free
        && free < need.saturating_add(SPARE)
    {
        return Err(Unplanned::Failed(trouble(
            format!("a backup needs about {} and {} are free", show_bytes(need), show_bytes(free)),
            "the disk with the bot's backups is too small for it",
            "free some of it, keep fewer backups (`keep_last` under `[backups]` in bot.toml), or name another directory there",
        )));
    }
    if save {
        readable(maker).await?;
    }
    let keys = figures.iter().map(|one| one.keys).sum();
    let data: u64 = figures.iter().map(|one| one.data).sum();
    let mut facts = vec![
        ("Keys now".to_owned(), show_number(keys)),
        (
            "Copied".to_owned(),
            if save { "from the file the server saves (BGSAVE)" } else { "over the replication stream" }.to_owned(),
        ),
        (
            "Disk".to_owned(),
            format!(
                "about {} here{}",
                show_bytes(need),
                free.map_or_else(String::new, |free| format!(", {} are free", show_bytes(free)))
            ),
        ),
        (
            "Memory".to_owned(),
            format!("the server forks: at worst as much again as it changes meanwhile, up to {}", show_bytes(data)),
        ),
        ("Kept".to_owned(), "encrypted, readable by the bot alone; `/redis backups` lists them".to_owned()),
    ];
    if let Some(last) = &last {
        facts.push((
            "Last one".to_owned(),
            format!("{} · {} keys, {}", last.run, show_number(last.keys()), show_bytes(last.bytes())),
        ));
    }
    let (warnings, risk) = warnings(&figures, save);
    let risk = if wanted.get("scheduled").is_some() { Risk::Low } else { risk };
    let steps = (0..maker.primaries.len()).map(|target| step(target, Change::Backup { save })).collect();
    Ok(Draft {
        steps,
        reach: Reach {
            what: "reads all data; nothing of it changes".to_owned(),
            bytes: Some(data),
            exact: true,
            ..Reach::default()
        },
        facts,
        warnings,
        undo: Undo::Never("nothing of the server changes; the copy goes when its time is over".to_owned()),
        risk,
        undoes: None,
    })
}

/// What each primary says of itself.
async fn figures(maker: &Maker<'_>) -> Result<Vec<Figures>, Explained> {
    let mut figures = Vec::new();
    for section in ["memory", "keyspace", "persistence", "stats"] {
        for (at, answer) in maker.read(&["INFO", section]).await.into_iter().enumerate() {
            let answer = answer?;
            let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
            if figures.len() <= at {
                figures.push(Figures::default());
            }
            let one: &mut Figures = &mut figures[at];
            match section {
                "memory" => {
                    one.data = match number("used_memory_dataset") {
                        0 => number("used_memory"),
                        data => data,
                    };
                    one.rss = number("used_memory_rss");
                    one.machine = number("total_system_memory");
                }
                "keyspace" => {
                    let databases = answer.get("keyspace").and_then(Value::as_object);
                    let keys = databases.into_iter().flat_map(|databases| databases.values());
                    one.keys = keys.filter_map(|database| database.get("keys").and_then(Value::as_u64)).sum();
                }
                "persistence" => {
                    one.failed = answer.get("rdb_last_bgsave_status").and_then(Value::as_str) == Some("err");
                }
                _ => one.forked_us = number("latest_fork_usec"),
            }
        }
    }
    Ok(figures)
}

/// Bytes of disk: by the last backup where there is one of as many keys, else what the data takes in memory.
fn need(figures: &[Figures], last: Option<&Manifest>) -> u64 {
    let data: u64 = figures.iter().map(|one| one.data).sum();
    let keys: u64 = figures.iter().map(|one| one.keys).sum();
    match last {
        Some(last) if last.keys() > 0 && keys <= last.keys().saturating_mul(2) => {
            let by_last = u128::from(last.bytes()) * u128::from(keys.max(1)) * 5 / (u128::from(last.keys()) * 4);
            u64::try_from(by_last).unwrap_or(u64::MAX).min(data)
        }
        _ => data,
    }
}

fn warnings(figures: &[Figures], save: bool) -> (Vec<String>, Risk) {
    let mut warnings = Vec::new();
    let mut risk = Risk::Low;
    if figures.iter().any(|one| one.machine > 0 && one.rss.saturating_mul(2) > one.machine) {
        warnings.push(
            "A server uses more than half of its machine's memory: if most of it changes while it saves, the machine runs out."
                .to_owned(),
        );
        risk = Risk::Medium;
    }
    if figures.iter().any(|one| one.forked_us >= 1_000_000) {
        let longest = figures.iter().map(|one| one.forked_us).max().unwrap_or_default();
        warnings
            .push(format!("The last fork held the server up for {:.1} s; this one will too.", longest as f64 / 1e6));
        risk = Risk::Medium;
    }
    if save && figures.iter().any(|one| one.failed) {
        warnings
            .push("The server's last save failed, so this one may as well: `/redis persistence` says why.".to_owned());
    }
    if figures.len() > 1 {
        warnings.push("Each primary is copied as it is at its own moment, one after the other.".to_owned());
    }
    (warnings, risk)
}

/// The place each server saves to can be looked into from here.
async fn readable(maker: &Maker<'_>) -> Result<(), Explained> {
    let dirs = maker.read(&["CONFIG", "GET", "dir"]).await;
    for (primary, answer) in maker.primaries.iter().zip(dirs) {
        let answer = answer?;
        let dir = answer.get("dir").and_then(Value::as_str).map(PathBuf::from);
        let there = match dir {
            Some(dir) => tokio::fs::read_dir(dir).await.is_ok(),
            None => false,
        };
        if !there {
            return Err(trouble(
                format!("the file that {} saves cannot be read from here", primary.address),
                "it is on another machine or in a container, or the bot's user may not read it",
                "leave `--from save` out: the copy then comes over the replication stream",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures_of(keys: u64, data: u64) -> Vec<Figures> {
        vec![Figures { keys, data, ..Figures::default() }]
    }

    #[test]
    fn a_server_that_fills_its_machine_raises_the_risk() {
        let busy = Figures { rss: 6, machine: 10, ..Figures::default() };
        let (warnings, risk) = warnings(&[busy], false);
        assert_eq!((warnings.len(), risk), (1, Risk::Medium));
        assert_eq!(super::warnings(&figures_of(1, 1), true), (Vec::new(), Risk::Low));
    }

    #[test]
    fn without_an_earlier_backup_the_disk_must_hold_what_the_memory_holds() {
        assert_eq!(need(&figures_of(10, 1_000), None), 1_000);
    }
}
