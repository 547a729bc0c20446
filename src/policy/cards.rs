//! What people are told about their own rights.

use std::collections::BTreeSet;

use super::{
    Grant, Policy, Refusal, Role,
    decide::{FOR_EVERYBODY, Reach, asked},
};
use crate::{
    model::{Actor, Align, Block, Card, Cell, Column, Field, Level, PersonId, Place, Service, Table, Text},
    runbook::Command,
};

impl Refusal {
    /// The refusal as it is said.
    pub fn card(&self) -> Card {
        Card {
            title: "refused".to_owned(),
            level: Some(Level::Note),
            verdict: Some(Text::notation(&self.why)),
            blocks: vec![Block::Text(Text::notation(&format!("Next: {}", self.next)))],
            footer: Some(format!("rule: {}", self.rule)),
            ..Card::default()
        }
    }
}

impl Policy {
    /// Who the speaker is here, and what they may run where.
    pub fn whoami(&self, actor: &Actor, place: &Place) -> Card {
        let person = match self.standing(actor) {
            Ok(person) => person,
            Err(_) if self.member(actor).is_some() => return self.one_of_a_crowd(actor, place),
            Err(refusal) => return Card { title: "whoami · a stranger".to_owned(), ..refusal.card() },
        };
        let known = &self.rules.people[person];
        let accounts: Vec<String> = known.identities.iter().map(ToString::to_string).collect();
        let mut fields = vec![
            field("Person", format!("{} ({person})", self.name_of(person))),
            field("This account", actor.identity.to_string()),
            field("All accounts", if accounts.is_empty() { "none".to_owned() } else { accounts.join(", ") }),
            field("Roles", self.roles_of(person)),
            field("Mode", self.mode().to_string()),
        ];
        if let Some((name, channel)) = self.channel_of(place) {
            let default = channel.service.as_ref().map(|service| format!(", about {service}")).unwrap_or_default();
            fields.push(field("This channel", format!("{name}{default}")));
        }
        Card {
            title: "whoami".to_owned(),
            verdict: Some(Text::plain(format!("You are {}.", self.name_of(person)))),
            blocks: vec![
                Block::Fields(fields),
                Block::Table(grants_table(self.held(person))),
                Block::Text(Text::plain(format!("Everybody here may run {}.", FOR_EVERYBODY.join(", ")))),
            ]
            .into_iter()
            .chain(self.approvals_table(person).map(Block::Table))
            .collect(),
            ..Card::default()
        }
    }

    /// Somebody who is known by what their platform says of them.
    fn one_of_a_crowd(&self, actor: &Actor, place: &Place) -> Card {
        let roles = self.lent(actor);
        let names: BTreeSet<String> = roles.iter().map(|(name, _)| (*name).clone()).collect();
        let mut fields = vec![
            field("Known by", self.known_by(actor)),
            field("This account", actor.identity.to_string()),
            field("Roles, of which the looks count", words(&names)),
        ];
        if let Some((name, _)) = self.channel_of(place) {
            fields.push(field("This channel", name.to_owned()));
        }
        if let Some(why) = &actor.badges.untold {
            fields.push(field("Could not be asked", why.clone()));
        }
        let next = format!("Next: ask {} to name you in policy.toml, if you need more than looks.", self.keepers());
        Card {
            title: "whoami".to_owned(),
            verdict: Some(Text::plain("You are one of a crowd: you may look. No change, consent or value is yours.")),
            blocks: vec![
                Block::Fields(fields),
                Block::Table(grants_table(roles.into_iter())),
                Block::Text(Text::plain(next)),
            ],
            ..Card::default()
        }
    }

    /// May the speaker run the command on the service (`None`: on any) from here: which rule says so, and who may?
    pub fn can_i(
        &self,
        actor: &Actor,
        place: &Place,
        command: &Command,
        service: Option<&Service>,
        reveal: bool,
    ) -> Card {
        let reach = service.map_or(Reach::Somewhere, Reach::Service);
        let answer = self.judged(actor, command, reach, place, reveal).map(|(_, rule)| rule);
        let what = asked(command, reach);
        let who = field("Who may, from here", self.names(&self.who_may(command, reach, place, reveal)));
        let (verdict, fields) = match answer {
            Ok(rule) => (format!("*Yes*, you may run {what}."), vec![field("Allowed by", rule), who]),
            Err(refusal) => (
                format!("*No*: {}", refusal.why),
                vec![field("Rule", refusal.rule), who, field("Next", refusal.next.replace('`', ""))],
            ),
        };
        Card {
            title: format!("can-i · {}", command.name),
            verdict: Some(Text::notation(&verdict)),
            blocks: vec![Block::Fields(fields)],
            ..Card::default()
        }
    }
}

impl Policy {
    /// The roles somebody holds now, for a field.
    fn roles_of(&self, person: &PersonId) -> String {
        let own = self.rules.people.get(person).map(|known| &known.roles);
        let roles: BTreeSet<String> = self
            .held(person)
            .map(|(name, _)| match own.is_some_and(|own| own.contains(name)) {
                true => name.clone(),
                false => format!("{name} (on call)"),
            })
            .collect();
        words(&roles)
    }

    /// What somebody may consent to when others ask for it; `None` when that is nothing.
    fn approvals_table(&self, person: &PersonId) -> Option<Table> {
        let rows: Vec<Vec<Cell>> = self
            .held(person)
            .flat_map(|(name, role)| {
                role.approves.iter().map(move |approval| {
                    let mut cells = row(name, &approval.grant);
                    cells.pop();
                    cells.push(Cell { text: approval.up_to.word().to_owned(), level: None });
                    cells
                })
            })
            .collect();
        let column = |title: &str| Column { title: title.to_owned(), align: Align::Left };
        (!rows.is_empty()).then(|| Table {
            title: Some("What you may consent to".to_owned()),
            columns: ["Role", "Commands", "Services", "Environments", "From", "Up to"].map(column).to_vec(),
            rows,
            empty: None,
            total: None,
        })
    }
}

fn grants_table<'a>(held: impl Iterator<Item = (&'a String, &'a Role)>) -> Table {
    let rows = held.flat_map(|(name, role)| role.grants.iter().map(move |grant| row(name, grant))).collect();
    let column = |title: &str| Column { title: title.to_owned(), align: Align::Left };
    Table {
        title: Some("What you may run".to_owned()),
        columns: ["Role", "Commands", "Services", "Environments", "From", "Reveal"].map(column).to_vec(),
        rows,
        empty: Some("Nothing else: you hold no role that grants anything.".to_owned()),
        total: None,
    }
}

fn row(role: &str, grant: &Grant) -> Vec<Cell> {
    let cell = |text: String| Cell { text, level: None };
    vec![
        cell(role.to_owned()),
        cell(words(&grant.commands)),
        cell(grant.services.to_string()),
        cell(grant.environments.to_string()),
        cell(grant.places.to_string()),
        cell(if grant.reveal { "yes" } else { "no" }.to_owned()),
    ]
}

fn words<T: ToString>(words: &BTreeSet<T>) -> String {
    if words.is_empty() {
        return "none".to_owned();
    }
    words.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn field(label: &str, value: String) -> Field {
    Field { label: label.to_owned(), value, level: None, hint: None }
}
