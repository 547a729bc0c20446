//! The two small languages of command files: conditions and values in CEL,
//! texts in minijinja templates.
//!
//! Both see the same [`Scope`]. Neither can reach a disk, a clock or a
//! network; both have a budget. What they are given from outside is data and
//! stays data: see [`template`].

pub(super) mod compiled;
pub(super) mod expression;
pub(super) mod functions;
pub(super) mod show;
pub(super) mod template;

pub use compiled::Compiled;

use std::collections::BTreeMap;

use minijinja::Value;

/// The names an expression or a template can see.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    names: BTreeMap<String, Value>,
}

impl Scope {
    /// Gives a value a name, hiding what had it before.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        self.names.insert(name.to_owned(), value);
    }

    /// The value of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.names.get(name)
    }

    /// This scope and one more name: a row, an item, a value.
    pub(super) fn with(&self, name: &str, value: Value) -> Self {
        let mut wider = self.clone();
        wider.set(name, value);
        wider
    }

    /// What a template is rendered with.
    pub(super) fn context(&self) -> Value {
        Value::from_pairs(self.names.iter().map(|(name, value)| (name.clone(), value.clone())))
    }
}
