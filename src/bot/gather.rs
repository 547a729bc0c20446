//! Asking everything a diagnostic wants to know, side by side.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture, future::join_all};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{Hall, command::Asked};
use crate::{
    diagnosis::{self, Explained, Observation},
    exec::Looking,
    model::{Deployment, Instance, Level, Service},
    policy::Permit,
    runbook::{self, Diagnostic, Evidence, Figures, Intent, Kind, Known, Look, Rendered, Step},
    store::FiguresRow,
};

/// How far back a series of remembered figures goes.
const HISTORY: Duration = Duration::from_secs(7 * 24 * 3600);

/// One diagnostic being carried out for one instance.
pub(super) struct Scene<'a> {
    pub(super) hall: &'a Arc<Hall>,
    pub(super) asked: &'a Asked<'a>,
    pub(super) intent: &'a Intent,
    pub(super) service: &'a Arc<Service>,
    pub(super) instance: &'a Instance,
    pub(super) permit: &'a Permit,
    pub(super) looking: &'a Looking,
}

impl Scene<'_> {
    /// Takes every look, then works out what follows from them.
    ///
    /// # Errors
    /// When the steps cannot be bound to the arguments; looks that fail are evidence, not errors.
    pub(super) async fn gather(&self, diagnostic: &Diagnostic) -> Result<Evidence, Explained> {
        let started = Instant::now();
        let steps = runbook::bind(self.intent, self.service)?;
        let (derived, looks): (Vec<Step>, Vec<Step>) =
            steps.into_iter().partition(|step| matches!(step.look, Look::Derive { .. }));
        let (seen, context, (last, healthy, series)) =
            futures_util::future::join3(self.look_at_all(&looks), self.context(), self.history(diagnostic)).await;
        let mut observations = BTreeMap::new();
        let mut nested = BTreeMap::new();
        for (step, seen) in looks.iter().zip(seen) {
            match seen {
                Seen::Observation(observation) => {
                    observations.insert(step.id.clone(), *observation);
                }
                Seen::Card(rendered) => {
                    nested.insert(step.id.clone(), *rendered);
                }
            }
        }
        let mut evidence = Evidence {
            service: self.service.clone(),
            instance: self.instance.name.clone(),
            arguments: self.intent.arguments.clone(),
            observations,
            nested,
            last,
            healthy,
            series,
            now: jiff::Timestamp::now(),
            context,
            run: self.asked.run.clone(),
            took: Duration::ZERO,
        };
        if is_in_part(&evidence) {
            // What was counted of a part is neither compared with the whole nor remembered as if it were that.
            (evidence.last, evidence.healthy) = (None, None);
        }
        for step in &derived {
            let observation = self.derive(step, &evidence);
            evidence.observations.insert(step.id.clone(), observation);
        }
        evidence.took = started.elapsed();
        Ok(evidence)
    }

    /// Side by side, but for steps that wait for another to end.
    async fn look_at_all(&self, looks: &[Step]) -> Vec<Seen> {
        let mut seen: Vec<Option<Seen>> = looks.iter().map(|_| None).collect();
        while seen.iter().any(Option::is_none) {
            let waits = |step: &Step| {
                let first = step.after.as_ref().and_then(|after| looks.iter().position(|other| &other.id == after));
                first.is_some_and(|first| seen[first].is_none())
            };
            let open = |at: &usize| seen[*at].is_none();
            let mut ready: Vec<usize> = (0..looks.len()).filter(open).filter(|&at| !waits(&looks[at])).collect();
            if ready.is_empty() {
                // A circle, which no checked file holds: nobody waits any longer.
                ready = (0..looks.len()).filter(open).collect();
            }
            let answers = join_all(ready.iter().map(|&at| self.look(&looks[at]))).await;
            for (at, answer) in ready.into_iter().zip(answers) {
                seen[at] = Some(answer);
            }
        }
        seen.into_iter().flatten().collect()
    }

    /// What is known while a long look still goes on: that look's value so far.
    pub(super) fn partial_evidence(&self, step: &str, value: Value, context: &[String]) -> Evidence {
        let observation = Observation { nodes: Vec::new(), merged: Ok(value), took: self.asked.since.elapsed() };
        Evidence {
            service: self.service.clone(),
            instance: self.instance.name.clone(),
            arguments: self.intent.arguments.clone(),
            observations: BTreeMap::from([(step.to_owned(), observation)]),
            nested: BTreeMap::new(),
            last: None,
            healthy: None,
            series: BTreeMap::new(),
            now: jiff::Timestamp::now(),
            context: context.to_vec(),
            run: self.asked.run.clone(),
            took: self.asked.since.elapsed(),
        }
    }

    fn look<'s>(&'s self, step: &'s Step) -> BoxFuture<'s, Seen> {
        async move {
            match &step.look {
                Look::Command { name } => self.look_at_command(name).await,
                look => Seen::Observation(Box::new(
                    self.hall.exec.look(self.permit, self.service, self.instance, look, self.looking).await,
                )),
            }
        }
        .boxed()
    }

    /// Another diagnostic as a part of this one: same permit, same deadline, no buttons.
    async fn look_at_command(&self, name: &str) -> Seen {
        let command = match self.asked.rules.catalogue.find(name) {
            Some(command) => command.clone(),
            None => return Seen::missing(name, "it is not in the catalogue"),
        };
        let Kind::Diagnostic(diagnostic) = &command.kind else {
            return Seen::missing(name, "it is not a diagnostic");
        };
        if diagnostic.steps.iter().any(|step| matches!(step.look, Look::Command { .. })) {
            return Seen::missing(name, "it is made of other commands itself");
        }
        let known =
            Known { catalogue: &self.asked.rules.catalogue, services: &self.asked.rules.services, may: &|_| true };
        // With its name alone it has its defaults; one that needs more is not for nesting.
        let Ok(intent) = runbook::parse(name, &known) else {
            return Seen::missing(name, "it cannot be run without arguments");
        };
        let scene = Scene { intent: &intent, ..*self };
        match Box::pin(scene.gather(diagnostic)).await {
            Ok(evidence) => Seen::Card(Box::new(runbook::render(&command, &evidence))),
            Err(explained) => Seen::Observation(Box::new(failed(explained))),
        }
    }

    /// Environment, role, address and run id of what is looked at: no wrong target.
    pub(super) async fn context(&self) -> Vec<String> {
        let mut context = vec![format!("{} · {}", self.service.environment, self.service.title)];
        match self.hall.exec.target(self.permit, self.service, self.instance, self.looking).await {
            Ok(target) => context.extend(target.context),
            Err(explained) => {
                let kind = match &self.instance.deployment {
                    Deployment::Standalone(_) => "standalone".to_owned(),
                    Deployment::Sentinel { master, .. } => format!("Sentinel master {master}"),
                    Deployment::Cluster { .. } => "cluster".to_owned(),
                };
                let (service, instance) = (&self.service.name, &self.instance.name);
                context.push(format!("{service}/{instance} · {kind} · not found: {}", explained.code));
            }
        }
        context
    }

    async fn history(
        &self,
        diagnostic: &Diagnostic,
    ) -> (Option<Figures>, Option<Figures>, BTreeMap<String, Vec<(i64, f64)>>) {
        let card = &diagnostic.card;
        let mut series = BTreeMap::new();
        if !card.figures.iter().any(|figure| figure.remember) && card.series.is_empty() {
            return (None, None, series);
        }
        let store = &self.hall.store;
        let (service, instance, question) = (&self.service.name, &self.instance.name, question(self.intent));
        let figures =
            |row: Option<(jiff::Timestamp, BTreeMap<String, f64>)>| row.map(|(at, values)| Figures { at, values });
        // A store that cannot be read costs the comparison, not the answer.
        let last = store.last_figures(service, instance, &question, false).await.unwrap_or_default();
        let healthy = store.last_figures(service, instance, &question, true).await.unwrap_or_default();
        let since = jiff::Timestamp::now().checked_sub(HISTORY).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        for spec in &card.series {
            let mut points = store.series(service, instance, None, &spec.figure, since).await.unwrap_or_default();
            if question != self.intent.command.name {
                let own = store.series(service, instance, Some(&question), &spec.figure, since).await;
                points.extend(own.unwrap_or_default());
                points.sort_by_key(|&(at, _)| at);
            }
            series.insert(spec.figure.clone(), points);
        }
        (figures(last), figures(healthy), series)
    }

    fn derive(&self, step: &Step, evidence: &Evidence) -> Observation {
        let Look::Derive { what, from } = &step.look else {
            unreachable!("only derivations are partitioned into `derived`")
        };
        let started = Instant::now();
        let mut inputs = Map::new();
        for id in from {
            if let Some(value) = value_of(evidence, id) {
                inputs.insert(id.clone(), value);
            }
        }
        inputs.insert("_now".to_owned(), json!(evidence.now.as_second()));
        inputs.insert("_series".to_owned(), json!(evidence.series));
        inputs.insert("_last".to_owned(), figures_value(&evidence.last));
        inputs.insert("_healthy".to_owned(), figures_value(&evidence.healthy));
        let arguments = match serde_json::to_value(&evidence.arguments) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        };
        Observation {
            nodes: Vec::new(),
            merged: diagnosis::derive::derive(what, &inputs, self.service, &arguments),
            took: started.elapsed(),
        }
    }

    /// The card of what was seen.
    pub(super) fn render(&self, evidence: &Evidence) -> Rendered {
        let mut rendered = runbook::render(&self.intent.command, evidence);
        if is_in_part(evidence) {
            rendered.figures.clear();
        }
        rendered
    }

    /// Keeps the figures, so that the next look can say what changed.
    pub(super) async fn remember(&self, rendered: &Rendered) {
        let row = FiguresRow {
            at: jiff::Timestamp::now(),
            service: self.service.name.clone(),
            instance: self.instance.name.clone(),
            question: question(self.intent),
            healthy: rendered.level <= Level::Note,
            values: rendered.figures.clone(),
        };
        if let Err(error) = self.hall.store.remember(row).await {
            tracing::warn!(%error, "figures were not remembered");
        }
    }
}

/// Is what was seen of the keyspace only a part of it?
fn is_in_part(evidence: &Evidence) -> bool {
    let methods = evidence.observations.values().filter_map(|seen| seen.merged.as_ref().ok()?.get("method")?.as_str());
    methods.into_iter().any(|method| ["partial", "left-alone"].contains(&method))
}

/// What a step saw; a list where the step was repeated for each thing of a profile.
fn value_of(evidence: &Evidence, id: &str) -> Option<Value> {
    if let Some(observation) = evidence.observations.get(id) {
        return observation.merged.as_ref().ok().cloned();
    }
    let repeated: Vec<Value> = evidence
        .observations
        .range(format!("{id}[")..)
        .take_while(|(name, _)| name.starts_with(id) && name[id.len()..].starts_with('['))
        .filter_map(|(_, observation)| observation.merged.as_ref().ok().cloned())
        .collect();
    (!repeated.is_empty()).then_some(Value::Array(repeated))
}

fn figures_value(figures: &Option<Figures>) -> Value {
    figures.as_ref().map_or(Value::Null, |figures| json!({ "at": figures.at.as_second(), "values": figures.values }))
}

/// What figures are remembered by. The keys of one prefix are not compared with all keys: what is not asked with its
/// command's name alone has the digest of its arguments behind it, for those may hold what is nobody's to read.
fn question(intent: &Intent) -> String {
    let name = &intent.command.name;
    let asked = Intent { service: None, instance: None, ..intent.clone() }.to_line();
    if &asked == name {
        return asked;
    }
    let digest = Sha256::digest(asked.as_bytes());
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{name} {digest}")
}

/// What one step saw.
enum Seen {
    Observation(Box<Observation>),
    Card(Box<Rendered>),
}

impl Seen {
    fn missing(name: &str, why: &str) -> Self {
        Self::Observation(Box::new(failed(Explained {
            code: "NESTED".to_owned(),
            what: format!("`{name}` could not be looked at: {why}"),
            cause: "a command file names a command it cannot use".to_owned(),
            next: "`rediscue check` names the file".to_owned(),
        })))
    }
}

fn failed(explained: Explained) -> Observation {
    Observation { nodes: Vec::new(), merged: Err(explained), took: Duration::ZERO }
}
