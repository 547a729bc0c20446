//! Those whom no file names by their account: they look, and nothing else is theirs.

use super::{
    Policy, Refusal, Role,
    decide::{No, Reach, is_for_everybody},
    rules::Crowd,
};
use crate::{
    model::{Actor, Badges, Identity, PersonId, Place},
    runbook::{Command, Kind},
};

/// Of what everybody may use, that which tells or stops nothing but looks.
const FOR_CROWDS: [&str; 10] =
    ["help", "whoami", "can-i", "cancel", "services", "version", "pending", "page", "open", "runbooks"];

impl Policy {
    /// Whoever speaks from this account. A gateway that vouches for a person itself is believed where
    /// [`Policy::stranger`] says so; else the account is looked up, and then its badges.
    pub fn speaker(&self, identity: Identity, vouched: Option<PersonId>, display: String, badges: Badges) -> Actor {
        let person = vouched.or_else(|| self.person_of(&identity).cloned());
        let mut actor = Actor { identity, person, display, badges };
        if actor.person.is_none() {
            actor.person = self.member(&actor);
        }
        actor
    }

    /// The crowds the speaker is one of. A person of the file is one of none: theirs is what stands there.
    pub(super) fn crowds_of<'a>(&'a self, actor: &'a Actor) -> impl Iterator<Item = (&'a String, &'a Crowd)> {
        let unnamed = self.person_of(&actor.identity).is_none();
        let crowds = self.rules.crowds.iter().filter(move |_| unnamed);
        crowds.filter(|(_, crowd)| !crowd.badges.is_disjoint(&actor.badges.worn))
    }

    /// The name of a speaker who is one of a crowd and nobody else.
    pub(super) fn member(&self, actor: &Actor) -> Option<PersonId> {
        self.crowds_of(actor).next()?;
        let own = PersonId::of_account(&actor.identity)?;
        // Nobody becomes a person of the file by what their account is called.
        (!self.rules.people.contains_key(&own) && actor.person.as_ref().is_none_or(|said| *said == own)).then_some(own)
    }

    /// The roles lent to the crowds the speaker is one of.
    pub(super) fn lent<'a>(&'a self, actor: &'a Actor) -> Vec<(&'a String, &'a Role)> {
        let lent = |name: &String| self.crowds_of(actor).any(|(_, crowd)| crowd.roles.contains(name));
        self.rules.roles.iter().filter(|(name, _)| lent(name)).collect()
    }

    /// May these roles run it, as far as looks go?
    pub(super) fn weigh_looks(
        &self,
        roles: &[(&String, &Role)],
        command: &Command,
        reach: Reach<'_>,
        place: &Place,
        reveal: bool,
    ) -> Result<String, No> {
        match &command.kind {
            Kind::BuiltIn if is_for_everybody(command) && FOR_CROWDS.contains(&command.name.as_str()) => {
                Ok("everybody in policy.toml".to_owned())
            }
            Kind::Diagnostic(_) if reveal => Err(No::LooksOnly),
            Kind::Diagnostic(_) => self.granted(roles, command, reach, place, false),
            Kind::BuiltIn | Kind::Remediation(_) | Kind::Runbook(_) => Err(No::LooksOnly),
        }
    }

    /// The refusal for an account that is no person's: it says what it lacks, and what could not be asked.
    pub(super) fn nobody(&self, actor: &Actor) -> Refusal {
        // Ids come from outside: they may not bring emphasis of their own.
        let account = actor.identity.to_string().replace(['`', '*'], "");
        let names: Vec<&str> = self.crowds_of(actor).map(|(name, _)| name.as_str()).collect();
        let next = format!("Ask {} to add it to a person there.", self.keepers());
        if !names.is_empty() {
            let why = format!(
                "The account {account} is known here as one of {} only, and a crowd may look: changes, consent and \
                 stops take a person named in policy.toml.",
                names.join(", ")
            );
            return Refusal { rule: "crowds".to_owned(), why, next };
        }
        let untold = match &actor.badges.untold {
            Some(why) => format!(
                " Whether it is one of a crowd there could not be asked, and so it is none: {}.",
                why.replace(['`', '*'], "")
            ),
            None => String::new(),
        };
        let why = format!("I do not know the account {account}: it belongs to nobody in policy.toml.{untold}");
        Refusal { rule: "people".to_owned(), why, next }
    }

    /// By what the speaker is known, for a field.
    pub(super) fn known_by(&self, actor: &Actor) -> String {
        let crowds = self.crowds_of(actor).map(|(name, crowd)| {
            let badges = crowd.badges.intersection(&actor.badges.worn).map(ToString::to_string);
            format!("{name} ({})", badges.collect::<Vec<_>>().join(", "))
        });
        crowds.collect::<Vec<_>>().join("; ")
    }
}
