//! All data of a server into a sealed file: over the replication stream, or from the file it saves itself.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Hands, Lane, Touched, refused, saving::Saved};
use crate::{
    diagnosis::Explained,
    exec::{
        backups::{self, Verified},
        replication::{Arrived, Limits, Source, receive_into},
        wire::Wire,
    },
    model::Address,
    policy::Permit,
    runbook::{Plan, TouchKind, show_bytes, show_number},
    store::{BackupFile, BackupWay, BackupWriter, Backups, Manifest, Sealed},
};

/// A server that forks and saves says so every second; one that says nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);
/// Blocks between the network and the disk: the slower of the two is waited for.
const BLOCKS: usize = 16;

/// A sealed copy, and where in the replication history it stands.
type Copied = (Sealed, Option<(String, i64)>);

impl Lane<'_> {
    /// Copies, reads the copy again, and only then gives it its name.
    pub(super) async fn backup(&self, permit: &Permit, plan: &Plan, save: bool, hands: &Hands<'_>) -> Touched {
        match self.backed_up(permit, plan, save, hands).await {
            Ok(said) => Touched::Verified(said),
            Err(how) => how,
        }
    }

    async fn backed_up(&self, permit: &Permit, plan: &Plan, save: bool, hands: &Hands<'_>) -> Result<String, Touched> {
        let backups = hands.store.backups();
        // Also the proof that this is the very server the plan names.
        let wire = self.open().await.map_err(Touched::Untouched)?;
        let manifest = blocking({
            let (backups, plan) = (backups.clone(), plan.clone());
            move || begun(&backups, &plan)
        })
        .await?;
        let mut from = self.address.clone();
        let (sealed, position) = if save {
            self.of_its_file(&wire, &backups, &manifest, hands).await?
        } else {
            if self.instance.scan_replica {
                from = self.spare(&wire).await.unwrap_or(from);
            }
            drop(wire);
            self.of_its_stream(permit, &from, &backups, &manifest, hands).await?
        };
        let stop = hands.cx.stop.clone();
        let progress = hands.cx.progress.clone();
        let (sealed, found) = blocking({
            let backups = backups.clone();
            move || {
                let found = again(&backups, &sealed, &stop, progress.as_ref())?;
                Ok((sealed, found))
            }
        })
        .await?;
        let file = BackupFile {
            file: String::new(),
            address: self.target.address.clone(),
            run_id: self.target.run_id.clone(),
            redis: found.facts.created_by.clone(),
            way: if save { BackupWay::Save } else { BackupWay::Stream },
            position,
            databases: backups::databases(&found.facts),
            rdb_bytes: found.facts.read,
            bytes: found.bytes,
            sha256: found.sha256.clone(),
            verified_ms: Timestamp::now().as_millisecond(),
        };
        let mut said = said(&file, &manifest, &found);
        if from != *self.address {
            said.push_str(&format!("; taken from its replica {from}, to spare it"));
        }
        blocking(move || keep(&backups, sealed, manifest, file)).await?;
        Ok(said)
    }

    /// A replica of the server that is in step and can be reached from here, where there is one.
    async fn spare(&self, wire: &Wire) -> Option<Address> {
        let told = self.call(wire, &["INFO", "replication"]).await.ok()?;
        let told = match &told {
            Value::String(text) => text.clone(),
            other => other.get("text").and_then(Value::as_str).unwrap_or_default().to_owned(),
        };
        for replica in in_step(&told) {
            // One that does not let us in is none: the copy is then taken from the primary.
            if self.open_at(&replica, None).await.is_ok() {
                return Some(replica);
            }
        }
        None
    }

    /// What the server, or a replica of it, sends to a replica.
    async fn of_its_stream(
        &self,
        permit: &Permit,
        from: &Address,
        backups: &Backups,
        manifest: &Manifest,
        hands: &Hands<'_>,
    ) -> Result<Copied, Touched> {
        let source = Source::of(self.instance, from.clone());
        let (progress, mut arrived) = watch::channel(Arrived::default());
        let limits =
            Limits { until: self.budget.end, silence: SILENCE, stop: hands.cx.stop.clone(), progress: Some(progress) };
        let (blocks, taken) = mpsc::channel(BLOCKS);
        let writing = tokio::task::spawn_blocking({
            let (backups, manifest) = (backups.clone(), manifest.clone());
            move || written(&backups, &manifest, taken)
        });
        let received = {
            let receiving = receive_into(permit, &source, &limits, backups::reading(), blocks, |_| {});
            tokio::pin!(receiving);
            loop {
                tokio::select! {
                    received = &mut receiving => break received,
                    Ok(()) = arrived.changed() => {
                        let now = *arrived.borrow_and_update();
                        if let Some(progress) = &hands.cx.progress {
                            progress.send_replace(backups::mebibytes("copying", now.bytes, now.total));
                        }
                    }
                }
            }
        };
        // What the disk said comes first: the copy only knows that nobody took it.
        let writer = writing.await.map_err(|_| Touched::Untouched(given_up()))?.map_err(Touched::Untouched)?;
        let received = received.map_err(Touched::Untouched)?;
        let sealed = blocking(move || writer.finish().map_err(|error| backups::explain(&error))).await?;
        Ok((sealed, received.position))
    }

    /// The file the server saves, where it can be read from here.
    async fn of_its_file(
        &self,
        wire: &Wire,
        backups: &Backups,
        manifest: &Manifest,
        hands: &Hands<'_>,
    ) -> Result<Copied, Touched> {
        let mut path = PathBuf::new();
        for setting in ["dir", "dbfilename"] {
            let answer = self.call(wire, &["CONFIG", "GET", setting]).await;
            let answer = answer.map_err(|fault| Touched::Untouched(self.explain(&fault, "CONFIG")))?;
            match answer.get(1).or_else(|| answer.get(setting)).and_then(Value::as_str) {
                Some(part) => path.push(part),
                None => return Err(Touched::Untouched(unreadable("the server does not tell where it saves"))),
            }
        }
        let saved = self.save(wire, hands).await?;
        let stop = hands.cx.stop.clone();
        let sealed = blocking({
            let (backups, manifest) = (backups.clone(), manifest.clone());
            move || copied(&backups, &manifest, &path, saved, &stop)
        })
        .await?;
        Ok((sealed, None))
    }
}

/// The replicas of `INFO replication` that are online and not a moment behind.
fn in_step(told: &str) -> Vec<Address> {
    let replica = |line: &str| {
        let (name, fields) = line.trim().split_once(':')?;
        name.strip_prefix("slave")?.parse::<u32>().ok()?;
        let field = |wanted: &str| fields.split(',').find_map(|field| field.strip_prefix(wanted)?.strip_prefix('='));
        let lag: u64 = field("lag")?.parse().ok()?;
        (field("state") == Some("online") && lag <= 1)
            .then(|| Some(Address::Tcp { host: field("ip")?.to_owned(), port: field("port")?.parse().ok()? }))
            .flatten()
    };
    told.lines().filter_map(replica).collect()
}

/// The manifest of the run so far: in a cluster, other primaries may have been copied already.
fn begun(backups: &Backups, plan: &Plan) -> Result<Manifest, Explained> {
    let kept = backups.list(&plan.service, &plan.instance).map_err(|error| backups::explain(&error))?;
    let found = kept.manifests.into_iter().find(|manifest| manifest.run == plan.run);
    Ok(found.unwrap_or_else(|| {
        let nodes = plan.steps.iter().filter(|step| step.change.kind() == TouchKind::Backup).count();
        Manifest::new(plan.run.clone(), plan.service.clone(), plan.instance.clone(), plan.made_ms, nodes)
    }))
}

/// Seals what comes, until nothing comes any more.
fn written(
    backups: &Backups,
    manifest: &Manifest,
    mut blocks: mpsc::Receiver<Vec<u8>>,
) -> Result<BackupWriter, Explained> {
    let node = manifest.files.len();
    let mut writer = backups.begin(manifest, node).map_err(|error| backups::explain(&error))?;
    while let Some(block) = blocks.blocking_recv() {
        writer.write_all(&block).map_err(|error| backups::unwritten(&error))?;
    }
    Ok(writer)
}

/// Seals the server's own file, if it is the one of this save.
fn copied(
    backups: &Backups,
    manifest: &Manifest,
    path: &Path,
    saved: Saved,
    stop: &CancellationToken,
) -> Result<Sealed, Explained> {
    let no = |error: &io::Error| unreadable(&crate::exec::fault::plain(error));
    // From here on it is this very file that is read, whatever the server puts in its place.
    let mut file = File::open(path).map_err(|error| no(&error))?;
    let mut writer = backups.begin(manifest, manifest.files.len()).map_err(|error| backups::explain(&error))?;
    let mut reader = crate::keyspace::rdb::Reader::new(backups::reading());
    let mut block = vec![0; 256 * 1024];
    loop {
        if stop.is_cancelled() {
            return Err(refused("the copy was stopped", "somebody asked for it", "nothing was kept; start it again"));
        }
        let count = match file.read(&mut block) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(no(&error)),
        };
        let fed = reader.feed(&block[..count], |_| {});
        fed.map_err(|error| {
            refused(
                &format!("the server's file is no whole snapshot: {error}"),
                "it was damaged on its disk, or is another file",
                error.next(),
            )
        })?;
        writer.write_all(&block[..count]).map_err(|error| backups::unwritten(&error))?;
    }
    let created = reader.facts().created_at.unwrap_or_default();
    if created < saved.from || created > saved.at {
        return Err(unreadable("the file at that path is not the one this server has just saved"));
    }
    writer.finish().map_err(|error| backups::explain(&error))
}

/// Reads what was written once more, from the disk's side.
fn again(
    backups: &Backups,
    sealed: &Sealed,
    stop: &CancellationToken,
    progress: Option<&watch::Sender<crate::model::Progress>>,
) -> Result<Verified, Explained> {
    let tell = |now| drop(progress.map(|progress| progress.send_replace(now)));
    let found = backups::read_whole(backups, sealed.path(), 0, stop, &tell)?;
    if (found.bytes, &found.sha256) != (sealed.bytes, &sealed.sha256) {
        return Err(refused(
            "what was read again is not what was written",
            "the disk with the bot's backups returns something else",
            "look at that disk; nothing was kept",
        ));
    }
    Ok(found)
}

/// From here on it counts.
fn keep(backups: &Backups, sealed: Sealed, mut manifest: Manifest, mut file: BackupFile) -> Result<(), Explained> {
    let told = |error| backups::explain(&error);
    file.file = sealed.keep().map_err(told)?;
    manifest.files.push(file);
    backups.write(&manifest).map_err(told)?;
    if manifest.whole()
        && let Err(error) = backups.sweep(&manifest.service, &manifest.instance, Timestamp::now())
    {
        // The backup is good; the sweep is tried again by the housekeeping.
        tracing::warn!(%error, "old backups could not be swept");
    }
    Ok(())
}

fn said(file: &BackupFile, manifest: &Manifest, found: &Verified) -> String {
    let number = match manifest.nodes {
        1 => String::new(),
        nodes => format!(" (file {} of {nodes})", manifest.files.len() + 1),
    };
    let unchecked = if backups::unchecked(&found.facts) {
        "; the server writes no checksum (rdbchecksum no), so the seal alone guards it"
    } else {
        ", its checksum is right"
    };
    format!(
        "{} keys, {} of RDB, sealed in {}; read again to its end{unchecked}; backup {}{number}",
        show_number(file.keys()),
        show_bytes(file.rdb_bytes),
        show_bytes(file.bytes),
        manifest.run,
    )
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Explained> + Send + 'static,
) -> Result<T, Touched> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Touched::Untouched),
        Err(_) => Err(Touched::Untouched(given_up())),
    }
}

fn given_up() -> Explained {
    refused("the copy was given up", "the bot is being stopped", "ask for it again; nothing was kept")
}

fn unreadable(why: &str) -> Explained {
    refused(
        &format!("the server's own file cannot be read from here: {why}"),
        "it is on another machine or in a container, or the bot's user may not read it",
        "leave `--from save` out: the copy then comes over the replication stream",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_replicas_in_step_are_asked_in_place_of_their_primary() {
        let told = "role:master\r\nconnected_slaves:3\r\n\
                    slave0:ip=10.0.0.2,port=6379,state=online,offset=9,lag=0\r\n\
                    slave1:ip=10.0.0.3,port=6379,state=wait_bgsave,offset=0,lag=0\r\n\
                    slave2:ip=10.0.0.4,port=6379,state=online,offset=9,lag=30\r\nslave_read_only:1\r\n";
        let found: Vec<String> = in_step(told).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.2:6379"]);
        assert!(in_step("role:slave").is_empty());
    }
}
