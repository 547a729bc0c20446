//! Going on alone: what has to be so before one person's word is enough.

use std::time::Duration;

use jiff::Timestamp;

use super::{Policy, Refusal, decide::Reach};
use crate::{
    model::{Actor, PersonId, Place, PlaceKind, Platform, Service, Severity},
    runbook::{Command, Plan, Risk},
};

/// Somebody went on with a plan alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Who.
    pub person: PersonId,
    /// The digest of the plan.
    pub digest: String,
    /// Why, in their words, redacted.
    pub reason: String,
    /// Who said how bad it is: `SEV1 by cy`, `SEV1 by an alert`.
    pub declared: String,
}

/// How bad it is with a service, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// How bad.
    pub severity: Severity,
    /// Who; `None`: an alert.
    pub by: Option<PersonId>,
}

impl Declared {
    /// For a sentence and the journal.
    pub fn words(&self) -> String {
        let by = self.by.as_ref().map_or("an alert", |person| person.as_str());
        format!("{} by {by}", self.severity)
    }
}

/// A question: may this person go on alone?
#[derive(Debug, Clone, Copy)]
pub struct BreakAsk<'a> {
    /// Who.
    pub actor: &'a Actor,
    /// With which plan.
    pub plan: &'a Plan,
    /// Its command.
    pub command: &'a Command,
    /// Its service.
    pub service: &'a Service,
    /// Where it was asked for.
    pub place: &'a Place,
    /// The service's name as they typed it.
    pub typed: &'a str,
    /// Why, in their words.
    pub reason: &'a str,
    /// When the approvers were called a second time; `None`: not yet.
    pub paged: Option<Timestamp>,
    /// So long they have to answer that.
    pub wait: Duration,
    /// What is known of how bad it is.
    pub declared: &'a [Declared],
    /// When it is asked.
    pub now: Timestamp,
}

impl Policy {
    /// May the speaker go on alone with a plan nobody answered? Who they are, and whose word on the severity counts.
    ///
    /// # Errors
    /// The first gate that is shut, and what would open it.
    pub fn break_glass<'a>(&'a self, ask: &BreakAsk<'a>) -> Result<(&'a PersonId, &'a Declared), Refusal> {
        let person = self.standing(ask.actor)?;
        let (plan, service) = (ask.plan, &ask.service.name);
        let no = |why: &str, next: String| Refusal { rule: "break-glass".to_owned(), why: why.to_owned(), next };
        let who = || self.who_consents(plan, ask.command, ask.service, ask.place);
        if plan.risk >= Risk::Critical {
            let next = format!("It takes two of: {}.", who());
            return Err(no("A critical change is never carried out on one person's word, whatever happens.", next));
        }
        if ask.typed != service.as_str() {
            let next =
                format!("Type `/redis break-glass {} {service} REASON`, the service as the plan names it.", plan.run);
            return Err(no("The name you typed is not the service of that plan.", next));
        }
        if ask.reason.trim().chars().count() < 8 {
            let next = format!("Type `/redis break-glass {} {service} REASON`: others will read it.", plan.run);
            return Err(no("It takes a reason that others can understand.", next));
        }
        self.judge(person, ask.command, Reach::Service(ask.service), ask.place, false)?;
        self.judge(&plan.requester, ask.command, Reach::Service(ask.service), ask.place, false)?;
        if plan.expired(ask.now) {
            return Err(no("The plan has expired.", "Ask for the change again.".to_owned()));
        }
        let open_at = ask.paged.and_then(|paged| paged.checked_add(ask.wait).ok());
        match open_at {
            None => {
                let next = format!("Wait for one of these, who are called again before that: {}.", who());
                return Err(no("The approvers have not had their time to answer yet.", next));
            }
            Some(open_at) if ask.now < open_at => {
                let next = format!(
                    "From {} it may be done, if they still have not answered.",
                    open_at.strftime("%H:%M:%S UTC")
                );
                return Err(no("The approvers were called again, and have some time left to answer.", next));
            }
            Some(_) => {}
        }
        let worst = |declared: &&Declared| declared.severity == Severity::Sev1;
        let others = |declared: &&Declared| declared.by.as_ref().is_none_or(|by| by != person && *by != plan.requester);
        match ask.declared.iter().filter(worst).find(others) {
            Some(declared) => Ok((person, declared)),
            None if ask.declared.iter().any(|declared| worst(&declared)) => {
                let next = format!("Somebody else types `/redis severity SEV1 {service} REASON`.");
                Err(no(
                    "How bad it is must be said by an alert or by another person, not by you or whoever asked.",
                    next,
                ))
            }
            None => {
                let next = format!("An alert says so, or somebody else types `/redis severity SEV1 {service} REASON`.");
                Err(no(&format!("Nobody has declared a SEV1 of {service}."), next))
            }
        }
    }

    /// May the speaker's word on the severity of a service count? Whoever may look at it or do something about it.
    ///
    /// # Errors
    /// People with no rights on the service have no say.
    pub fn may_declare<'a>(&'a self, actor: &'a Actor, service: &Service) -> Result<&'a PersonId, Refusal> {
        let person = self.standing(actor)?;
        let reaches = self.held(person).any(|(_, role)| {
            let approvals = role.approves.iter().map(|approval| &approval.grant);
            role.grants.iter().chain(approvals).any(|grant| grant.reaches(service))
        });
        if reaches {
            return Ok(person);
        }
        Err(Refusal {
            rule: "severity".to_owned(),
            why: format!("You hold no role on {}, so its severity is not yours to declare.", service.name),
            next: "Tell somebody on call what you see.".to_owned(),
        })
    }

    /// Who is told when the glass of a service is broken: its owners, or the keepers of the policy.
    pub fn owners_of(&self, service: &Service) -> Vec<PersonId> {
        match self.rules.owners.get(&service.name) {
            Some(owners) if !owners.is_empty() => owners.iter().cloned().collect(),
            _ => self.rules.keepers.clone(),
        }
    }

    /// The channels on chat platforms whose own service this is.
    pub fn channels_of(&self, service: &Service) -> Vec<Place> {
        let channels = self.rules.channels.values();
        // The console is where its people already are.
        let own = channels
            .filter(|channel| channel.service.as_ref() == Some(&service.name) && channel.platform != Platform::Console);
        own.map(|channel| Place {
            platform: channel.platform,
            team: channel.team.clone(),
            channel: channel.channel.clone(),
            thread: None,
            kind: PlaceKind::Channel,
            via: None,
        })
        .collect()
    }
}
