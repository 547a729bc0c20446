//! May this person do this, here, now?
//!
//! Denied unless a rule allows it. What is allowed is written in
//! `policy.toml`: people with their accounts, roles, and what each role may
//! run on which services, from where. [`Policy::decide`] is a pure function of
//! those rules and one [`Ask`]; it is the only maker of a [`Permit`], and
//! `exec` looks at nothing without one. A refusal always says which rule, why,
//! and who can change it.
//!
//! An account that belongs to nobody may be one of a crowd: those of a user
//! group, or of an e-mail address. Crowds look; nothing else is theirs.
//!
//! Rules only ever allow, except channel rules, which only ever narrow. That
//! is why their order cannot matter, and why taking one away can never let
//! anybody do more.

mod cards;
mod consent;
mod crowd;
mod decide;
mod enough;
mod freeze;
mod glass;
mod rules;
#[cfg(test)]
mod tests;

pub use consent::{Consent, Consenter, Said, Ticket, TouchPermit, Vote};
pub use decide::{AT_THE_MACHINE, Ask, Permit, Policy, Refusal, Verdict, at_the_machine};
pub use freeze::Freeze;
pub use glass::{BreakAsk, Broken, Declared};
pub use rules::{
    Approval, Channel, CommandSet, ConsentTimes, Crowd, Grant, Limit, Limits, Mode, Only, Person, PlaceSet, Role, Rules,
};
