//! Whether there are enough people for what may be asked for.

use super::{
    Policy,
    decide::{Reach, covers},
    rules::Mode,
};
use crate::{
    model::{PersonId, Service},
    runbook::{Command, Risk},
};

impl Policy {
    /// Somebody who may ask for a change of this risk and would not find enough others to consent, and those
    /// there are. Wherever they speak from, and without those who are on call by turns.
    pub fn too_few(&self, command: &Command, service: &Service, risk: Risk) -> Option<(PersonId, Vec<PersonId>)> {
        if self.mode() == Mode::Observe {
            return None;
        }
        let people = || self.rules.people.keys();
        let asks = |person: &PersonId| {
            self.held(person)
                .any(|(_, role)| role.grants.iter().any(|grant| covers(grant, command, Reach::Service(service))))
        };
        let consents = |person: &PersonId| {
            self.held(person).any(|(_, role)| {
                let here = |approval: &super::Approval| covers(&approval.grant, command, Reach::Service(service));
                role.approves.iter().any(|approval| approval.up_to >= risk && here(approval))
                    || (risk < Risk::High
                        && role.grants.iter().any(|grant| covers(grant, command, Reach::Service(service))))
            })
        };
        people().filter(|person| asks(person)).find_map(|asker| {
            let able: Vec<PersonId> = people().filter(|person| *person != asker && consents(person)).cloned().collect();
            (able.len() < risk.consents()).then(|| (asker.clone(), able))
        })
    }
}
