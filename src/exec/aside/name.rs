//! What a key that was set aside is called.
//!
//! `rediscue:aside:RUN-STEP:{tag}:NAME`: the step of a run, a hash tag that falls into the
//! key's own slot, so that a rename stays on its server, and the name as it was.

use std::sync::LazyLock;

use super::super::topology::slot_of;
use crate::store::snapshot::StepId;

/// What every such name begins with.
pub(super) const PREFIX: &[u8] = b"rediscue:aside:";

const SLOTS: usize = 16_384;

/// For each slot a short text that falls into it.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut tags = vec![String::new(); SLOTS];
    let (mut open, mut number) = (SLOTS, 0_u32);
    while open > 0 {
        let tag = base36(number);
        let held = &mut tags[usize::from(slot_of(tag.as_bytes()))];
        if held.is_empty() {
            *held = tag;
            open -= 1;
        }
        number += 1;
    }
    tags
});

fn base36(mut number: u32) -> String {
    let mut text = String::new();
    loop {
        text.push(char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize]));
        number /= 36;
        if number == 0 {
            return text;
        }
    }
}

/// What a key is called while a step of a run has it aside.
pub(super) fn aside(step: &StepId, key: &[u8]) -> Vec<u8> {
    let tag = &TAGS[usize::from(slot_of(key))];
    [PREFIX, step.to_string().as_bytes(), b":{", tag.as_bytes(), b"}:", key].concat()
}

/// The key's own name; `None` when the name is not one of this step's.
pub(super) fn original<'a>(step: &StepId, aside: &'a [u8]) -> Option<&'a [u8]> {
    let rest = aside.strip_prefix(PREFIX)?.strip_prefix(step.to_string().as_bytes())?.strip_prefix(b":{")?;
    let close = rest.iter().position(|&byte| byte == b'}')?;
    rest[close..].strip_prefix(b"}:")
}

/// A glob that matches all names of a step.
pub(super) fn glob(step: &StepId) -> Vec<u8> {
    [PREFIX, step.to_string().as_bytes(), b":*"].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_key_stays_in_its_slot_and_comes_back(run in any::<u64>(), seq in 0_usize..3, key in prop::collection::vec(prop_oneof![Just(b'{'), Just(b'}'), any::<u8>()], 0..40)) {
            let step = StepId { run: crate::model::RunId::from_bits(run), seq };
            let aside = aside(&step, &key);
            prop_assert_eq!(slot_of(&aside), slot_of(&key));
            prop_assert_eq!(original(&step, &aside), Some(&key[..]));
            let other = StepId { seq: 7, ..step };
            prop_assert_eq!(original(&other, &aside), None);
        }
    }
}
