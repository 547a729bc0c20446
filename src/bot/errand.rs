//! A diagnostic that nobody typed now: a step of a runbook, the checklist after
//! a change. It goes the way of any other: policy, limits, deadline.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Hall, Rules,
    command::{self, Asked},
    gather::Scene,
};
use crate::{
    exec::Looking,
    model::{Actor, Badges, Identity, Instance, InstanceName, PersonId, Place, RunId, Service, ServiceName},
    policy::{Ask, Verdict},
    runbook::{self, Intent, Kind, Known, Rendered},
};

/// In whose name, where, and about what.
pub(super) struct Errand<'a> {
    pub(super) person: &'a PersonId,
    pub(super) identity: &'a Identity,
    pub(super) place: &'a Place,
    pub(super) run: &'a RunId,
    pub(super) service: &'a ServiceName,
    pub(super) instance: &'a InstanceName,
    /// The command that lends its permission: whoever may run it may have its looks.
    pub(super) lender: Option<&'a str>,
}

impl Errand<'_> {
    /// Whoever it is done for, as an actor.
    pub(super) fn actor(&self) -> Actor {
        Actor {
            identity: self.identity.clone(),
            person: Some(self.person.clone()),
            display: String::new(),
            badges: Badges::default(),
        }
    }

    /// A line, about this service and instance and no other.
    ///
    /// # Errors
    /// When it is no line, or names another place.
    pub(super) fn intent(&self, rules: &Rules, line: &str) -> Result<Intent, String> {
        let known = Known { catalogue: &rules.catalogue, services: &rules.services, may: &|_| true };
        // The place is a matter of course, so a word is a value first, also where a service is called the same.
        let nowhere = Known { services: &BTreeMap::new(), ..known };
        let mut intent = runbook::parse(line, &nowhere)
            .or_else(|_| runbook::parse(line, &known))
            .map_err(|wrong| format!("its line cannot be read: {}", wrong.what))?;
        let elsewhere = intent.service.as_ref().is_some_and(|service| service != self.service)
            || intent.instance.as_ref().is_some_and(|instance| instance != self.instance);
        if elsewhere {
            return Err(format!("its line names another place than {}/{}", self.service, self.instance));
        }
        intent.service = Some(self.service.clone());
        intent.instance = Some(self.instance.clone());
        Ok(intent)
    }

    fn target<'r>(&self, rules: &'r Rules) -> Result<(&'r Arc<Service>, &'r Instance), String> {
        let service =
            rules.services.get(self.service).ok_or_else(|| format!("{} is no longer configured", self.service))?;
        let instance = service
            .instance(Some(self.instance))
            .ok_or_else(|| format!("{} no longer has an instance {}", self.service, self.instance))?;
        Ok((service, instance))
    }

    /// Carries a diagnostic's line out.
    ///
    /// # Errors
    /// Why nothing could be looked at, in a sentence; a server that does not answer is seen, and no error.
    pub(super) async fn look(&self, hall: &Arc<Hall>, rules: &Rules, line: &str) -> Result<Rendered, String> {
        let intent = self.intent(rules, line)?;
        let (service, instance) = self.target(rules)?;
        let command = intent.command.clone();
        let Kind::Diagnostic(diagnostic) = &command.kind else {
            return Err(format!("`{}` is no diagnostic", command.name));
        };
        let actor = self.actor();
        let lender = self.lender.and_then(|name| rules.catalogue.find(name));
        let ask = Ask {
            actor: &actor,
            place: self.place,
            // What is gone lends nobody anything.
            command: lender.unwrap_or(&command),
            service: Some(service.as_ref()),
            run: self.run,
            reveal: false,
            now: jiff::Timestamp::now(),
        };
        let permit = match rules.policy.decide(&ask) {
            Verdict::Allow(permit) => permit,
            Verdict::Deny(refusal) => return Err(refusal.why),
        };
        let whole: Duration = command::longest(&command, diagnostic, &rules.settings);
        let limiter = &hall.limiter;
        let held = limiter.instance_in_turn(&service.name, &instance.name, command.cost, whole, &hall.stopping).await;
        let _held = held.map_err(|busy| format!("{} was busy", busy.whose))?;
        let since = Instant::now();
        let deadline = since + whole;
        let asked = Asked { rules, actor: &actor, place: self.place, run: self.run, since };
        let looking = Looking {
            deadline: deadline.into_std(),
            call: command.call_deadline.min(rules.settings.longest_call),
            stop: CancellationToken::new(),
            progress: None,
            partial: None,
        };
        let scene =
            Scene { hall, asked: &asked, intent: &intent, service, instance, permit: &permit, looking: &looking };
        let evidence = scene.gather(diagnostic).await.map_err(|explained| explained.what)?;
        let rendered = scene.render(&evidence);
        if !rendered.figures.is_empty() {
            scene.remember(&rendered).await;
        }
        Ok(rendered)
    }
}
