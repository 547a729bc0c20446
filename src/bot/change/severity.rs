//! How bad it is with a service, as people and alerts say it, until incidents do.

use std::{io::Read as _, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use super::{cards, freeze::service_first, tidy};
use crate::{
    bot::{
        Hall,
        command::{Asked, plain_card},
    },
    model::{Card, Service, ServiceName, Severity},
    policy::Declared,
    store::{Outcome, SeverityRow},
};

/// No file of alerts is larger.
const LARGEST: u64 = 4 << 20;

/// Takes somebody's word on how bad it is.
pub(in crate::bot) async fn severity(hall: &Hall, asked: &Asked<'_>, line: &str) -> (Card, Outcome) {
    let rules = asked.rules;
    let (word, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
    let (service, reason) = service_first(rules, rest);
    let severity = Severity::parse(word);
    let unheard = |what: &str| {
        let next = Some("type `/redis severity SEV1 SERVICE WHAT-YOU-SEE`, or `over` in place of SEV1".to_owned());
        (plain_card("how bad, where, why?", what, next), Outcome::Misunderstood)
    };
    if severity.is_none() && !word.eq_ignore_ascii_case("over") {
        return unheard("The first word is SEV1, SEV2, SEV3 or over.");
    }
    let Some(service) = service else { return unheard("The second word is a service's name.") };
    let person = match rules.policy.may_declare(asked.actor, service) {
        Ok(person) => person.clone(),
        Err(refusal) => return (refusal.card(), Outcome::Denied),
    };
    if reason.is_empty() {
        return unheard("It needs a few words on what you see.");
    }
    let said = SeverityRow { severity, person, reason: tidy(reason), at: Timestamp::now() };
    if let Err(error) = hall.store.severity_set(&service.name, &said).await {
        return (cards::unwritten(&error), Outcome::Failed);
    }
    let by = rules.policy.name_of(&said.person);
    let what = match severity {
        Some(severity) => {
            let until = crate::model::show_duration(rules.settings.consent.severity_for);
            format!(
                "{by} declares a {severity} of {}: {}. It holds for {until}, or until somebody says otherwise.",
                service.name, said.reason
            )
        }
        None => format!("{by} says it is over with {}: {}.", service.name, said.reason),
    };
    (plain_card("severity", what, None), Outcome::Answered)
}

/// What is known now of how bad it is with a service, and why less is known than might be.
pub(super) async fn declared(hall: &Hall, service: &Service) -> (Vec<Declared>, Option<String>) {
    let rules = hall.rules();
    let holds = rules.settings.consent.severity_for;
    let mut known = Vec::new();
    let mut trouble = None;
    match hall.store.severities(&service.name).await {
        Ok(said) => known.extend(said.into_iter().filter(|said| fresh(said.at, holds)).filter_map(|said| {
            let SeverityRow { severity, person, .. } = said;
            Some(Declared { severity: severity?, by: Some(person) })
        })),
        Err(error) => trouble = Some(format!("what people declared cannot be read ({error})")),
    }
    if let Some(path) = rules.settings.alerts.clone() {
        let name = service.name.clone();
        let read = tokio::task::spawn_blocking(move || alerts(&path, &name, holds)).await;
        match read {
            Ok(Ok(true)) => known.push(Declared { severity: Severity::Sev1, by: None }),
            Ok(Ok(false)) => {}
            Ok(Err(why)) => trouble = Some(format!("the file of alerts is not believed: {why}")),
            Err(error) => tracing::error!(%error, "reading the file of alerts broke"),
        }
    }
    (known, trouble)
}

/// How long ago the file of alerts was written, where there is one; `Err`: why it is not believed.
pub(in crate::bot) fn alerts_written(path: &Path, holds: Duration) -> Result<Option<Duration>, String> {
    // The same gates as where a severity is read from it; which service is asked about does not matter here.
    let nobody = "rediscue".parse().expect("that is a name");
    alerts(path, &nobody, holds)?;
    let written = std::fs::metadata(path).ok().and_then(|meta| meta.modified().ok());
    Ok(written.map(|at| at.elapsed().unwrap_or_default()))
}

fn fresh(at: Timestamp, holds: Duration) -> bool {
    at.checked_add(holds).is_ok_and(|until| Timestamp::now() < until)
}

/// Does a file of alerts declare a SEV1 of the service? Only a file that nobody
/// but its owner can write is believed, and only while it is kept up to date.
fn alerts(path: &Path, service: &ServiceName, holds: Duration) -> Result<bool, String> {
    let gone = |error: std::io::Error| format!("it cannot be read ({error})");
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(gone(error)),
    };
    let meta = file.metadata().map_err(gone)?;
    let own = nix::unistd::geteuid().as_raw();
    let only_the_owners = |meta: &std::fs::Metadata| meta.mode() & 0o022 == 0 && (meta.uid() == 0 || meta.uid() == own);
    if !meta.is_file() || !only_the_owners(&meta) {
        return Err("others than root and the bot's own user can write it".to_owned());
    }
    // Whoever can write the directory can put another file in its place.
    let around = path
        .parent()
        .map_or_else(|| Err(gone(std::io::ErrorKind::NotFound.into())), |dir| std::fs::metadata(dir).map_err(gone))?;
    if !only_the_owners(&around) {
        return Err("others than root and the bot's own user can write its directory".to_owned());
    }
    let written = meta.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
    if !written.is_some_and(|at| fresh(at, holds)) {
        return Ok(false);
    }
    if meta.len() > LARGEST {
        return Err("it is larger than any such file".to_owned());
    }
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).map_err(gone)?;
    let payload: Value = serde_json::from_str(&text).map_err(|_| "it is not JSON".to_owned())?;
    let alerts = payload.get("alerts").and_then(Value::as_array).ok_or("it holds no `alerts`")?;
    Ok(alerts.iter().any(|alert| is_worst(alert, service)))
}

/// A firing alert that names the service and the worst severity, in the words of either world.
fn is_worst(alert: &Value, service: &ServiceName) -> bool {
    let label = |name: &str| alert.get("labels").and_then(|labels| labels.get(name)).and_then(Value::as_str);
    let worst = |word: &str| ["sev1", "critical"].iter().any(|known| word.eq_ignore_ascii_case(known));
    alert.get("status").and_then(Value::as_str) == Some("firing")
        && label("service") == Some(service.as_str())
        && label("severity").is_some_and(worst)
}
