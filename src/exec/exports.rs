//! The exports that are kept of an instance's service. No server is asked.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Job,
    aside::{self, ExportFile, Spread},
    failed,
};
use crate::{
    diagnosis::{Explained, Observation},
    model::RunId,
    store::snapshot::Share,
};

/// Carries out a look at the exports; one alone where it is named.
pub(crate) async fn look(job: &Job, name: &str) -> Observation {
    let start = Instant::now();
    let Some(store) = job.store.clone() else {
        return failed(super::nobody(), start);
    };
    let service = job.service.name.clone();
    let name = name.to_owned();
    let work = tokio::task::spawn_blocking(move || {
        let run = match name.as_str() {
            "" => None,
            name => Some(RunId::parse(name).ok_or_else(unknown)?),
        };
        let nothing = json!({"exports": [], "disk": 0, "keep_s": null});
        let Some(snapshots) = store.snapshots_made().map_err(|error| aside::unkept(&error))? else {
            return if run.is_some() { Err(unknown()) } else { Ok(nothing) };
        };
        let mut all = BTreeMap::<RunId, Vec<ExportFile>>::new();
        for file in aside::exports(&snapshots, run.as_ref())? {
            if file.found.header.service == service {
                all.entry(file.found.header.step.run.clone()).or_default().push(file);
            }
        }
        if run.is_some() && all.is_empty() {
            return Err(unknown());
        }
        let now = Timestamp::now().as_millisecond();
        let keep_ms = i64::try_from(snapshots.keep().as_millis()).unwrap_or(i64::MAX);
        let mut all: Vec<Vec<ExportFile>> = all.into_values().collect();
        all.sort_by_key(|files| std::cmp::Reverse(files[0].found.header.created_ms));
        let disk: u64 = all.iter().flatten().map(|file| file.found.bytes).sum();
        let exports: Vec<Value> = all.into_iter().map(|files| told(&files, now, keep_ms)).collect();
        Ok(json!({"exports": exports, "disk": disk, "keep_s": keep_ms / 1_000}))
    });
    match tokio::time::timeout_at(job.budget.end, work).await {
        Ok(Ok(Ok(value))) => Observation { nodes: Vec::new(), merged: Ok(value), took: start.elapsed() },
        Ok(Ok(Err(error))) => failed(error, start),
        Ok(Err(_)) => failed(super::stopped("reading the exports was given up"), start),
        Err(_) => failed(super::late(start), start),
    }
}

fn unknown() -> Explained {
    Explained {
        code: "EXPORT".into(),
        what: "there is no export of that name of this service".into(),
        cause: "it was never made here, was removed, or its time is over".into(),
        next: "`/redis exports` lists them".into(),
    }
}

/// An export as a card tells it.
fn told(files: &[ExportFile], now: i64, keep_ms: i64) -> Value {
    let sum = |figure: &dyn Fn(&ExportFile) -> u64| files.iter().map(figure).sum::<u64>();
    let header = &files[0].found.header;
    let of = files[0].contents.files;
    let mut spread = Spread::default();
    for ExportFile { contents, .. } in files {
        spread.merge(Spread { types: contents.types.clone(), prefixes: contents.prefixes.clone() });
    }
    let age_ms = now.saturating_sub(header.created_ms).max(0);
    json!({
        "name": header.step.run.as_str(),
        "instance": header.instance.as_str(),
        "whole": files.len() >= of,
        "files": files.len(),
        "of": of,
        "age_s": age_ms / 1_000,
        "left_s": keep_ms.saturating_sub(age_ms).max(0) / 1_000,
        "keys": sum(&|file| file.contents.keys),
        "bytes": sum(&|file| file.contents.bytes),
        "disk": sum(&|file| file.found.bytes),
        "expiring": sum(&|file| file.contents.expiring),
        "left_out": sum(&|file| file.contents.left_out),
        "what": files[0].contents.what,
        "types": rows(&spread.types),
        "prefixes": rows(&spread.prefixes),
    })
}

/// The most keys first.
fn rows(shares: &BTreeMap<String, Share>) -> Vec<Value> {
    let mut rows: Vec<(&String, &Share)> = shares.iter().collect();
    rows.sort_by_key(|(_, (keys, _))| std::cmp::Reverse(*keys));
    rows.into_iter().map(|(name, (keys, bytes))| json!({"name": name, "keys": keys, "bytes": bytes})).collect()
}
