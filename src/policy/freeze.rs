//! Stopping all changes at once: whoever may run or approve some may stop them; only an approver lets them go on.

use jiff::Timestamp;

use super::{Policy, Refusal, decide::Reach, decide::covers};
use crate::{
    model::{Actor, PersonId, Service, ServiceName},
    runbook::{Command, Kind},
};

/// Somebody has stopped all changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// Of this service; `None`: of all.
    pub service: Option<ServiceName>,
    /// Who stopped them.
    pub person: PersonId,
    /// Why, in their words, redacted.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Freeze {
    /// What is stopped, for a sentence.
    pub fn what(&self) -> String {
        self.service.as_ref().map_or_else(|| "everything".to_owned(), ToString::to_string)
    }

    /// The line that lifts it.
    pub fn lifted_by(&self) -> String {
        self.service.as_ref().map_or_else(|| "unfreeze".to_owned(), |service| format!("unfreeze {service}"))
    }
}

impl Policy {
    /// May the speaker stop the changes of a service (`None`: of all)? From any
    /// place: an emergency brake is no use where it cannot be reached.
    ///
    /// # Errors
    /// Those who may neither run nor approve a change there may not.
    pub fn may_freeze<'a, 'c>(
        &'a self,
        actor: &'a Actor,
        mut commands: impl Iterator<Item = &'c Command>,
        service: Option<&Service>,
    ) -> Result<&'a PersonId, Refusal> {
        let person = self.standing(actor)?;
        let reach = service.map_or(Reach::Somewhere, Reach::Service);
        let approves = self.held(person).any(|(_, role)| {
            role.approves.iter().any(|approval| service.is_none_or(|service| approval.grant.reaches(service)))
        });
        let runs = commands.any(|command| {
            matches!(command.kind, Kind::Remediation(_))
                && self.held(person).any(|(_, role)| role.grants.iter().any(|grant| covers(grant, command, reach)))
        });
        if approves || runs {
            return Ok(person);
        }
        let what = service.map_or_else(|| "everything".to_owned(), |service| service.name.to_string());
        Err(Refusal {
            rule: "freeze".to_owned(),
            why: format!("Changes of {what} are stopped by people who may run or approve some, and you may not."),
            next: format!("Tell somebody on call, or ask {} for a role.", self.keepers()),
        })
    }

    /// May the speaker let the changes of these services go on?
    ///
    /// # Errors
    /// It takes an approver of every one of them.
    pub fn may_unfreeze<'a>(&'a self, actor: &'a Actor, services: &[&Service]) -> Result<&'a PersonId, Refusal> {
        let person = self.standing(actor)?;
        let approves = |person: &PersonId, service: &Service| {
            self.held(person).any(|(_, role)| role.approves.iter().any(|approval| approval.grant.reaches(service)))
        };
        if services.iter().all(|service| approves(person, service)) && !services.is_empty() {
            return Ok(person);
        }
        let able: Vec<&PersonId> = self
            .rules
            .people
            .keys()
            .filter(|person| services.iter().all(|service| approves(person, service)))
            .collect();
        Err(Refusal {
            rule: "freeze".to_owned(),
            why: "Changes go on again on the word of an approver of what was stopped, and you are none.".to_owned(),
            next: format!("Ask one of these: {}.", self.names(&able)),
        })
    }
}
