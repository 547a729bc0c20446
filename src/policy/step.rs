//! Whose word a step of a runbook takes.

use super::{
    Policy, Refusal,
    decide::{Reach, asked},
    rules::Mode,
};
use crate::{
    model::{Actor, PersonId, Place, Service},
    runbook::Command,
};

impl Policy {
    /// Does the speaker's word count where a runbook asks for somebody else's?
    /// With a role, everybody who holds it counts; without one, whoever may run
    /// the runbook or approve it. The person it counts as.
    ///
    /// # Errors
    /// A stranger's, the asker's own, and that of people without the right do not.
    pub fn may_approve_step<'a>(
        &'a self,
        actor: &'a Actor,
        requester: &PersonId,
        role: Option<&str>,
        command: &Command,
        service: &Service,
        place: &Place,
    ) -> Result<&'a PersonId, Refusal> {
        let person = self.standing(actor)?;
        let counts =
            |person: &PersonId| *person != *requester && self.step_counts(person, role, command, service, place);
        if counts(person) {
            return Ok(person);
        }
        let able: Vec<&PersonId> = self.rules.people.keys().filter(|person| counts(person)).collect();
        let why = if person == requester {
            "You began this runbook, so your own word does not count, from whichever account.".to_owned()
        } else {
            let what = asked(command, Reach::Service(service));
            let role =
                role.map(|role| format!(", which asks for {}", role.replace(['`', '*'], ""))).unwrap_or_default();
            format!("Your word does not count for {what}{role}.")
        };
        let next = format!("Ask one of these: {}.", self.names(&able));
        Err(Refusal { rule: "approve".to_owned(), why, next })
    }

    fn step_counts(
        &self,
        person: &PersonId,
        role: Option<&str>,
        command: &Command,
        service: &Service,
        place: &Place,
    ) -> bool {
        if self.mode() == Mode::Observe {
            return false;
        }
        if let Some(role) = role {
            return self.held(person).any(|(name, _)| name == role);
        }
        let channel = self.channel_of(place).map(|(name, _)| name);
        let approves = self.held(person).any(|(_, role)| {
            role.approves.iter().map(|approval| &approval.grant).any(|grant| {
                super::decide::covers(grant, command, Reach::Service(service)) && grant.places.covers(place, channel)
            })
        });
        approves || self.judge(person, command, Reach::Service(service), place, false).is_ok()
    }
}
