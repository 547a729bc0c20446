//! Values of modules, passed over by the framing every module's data has.

use super::{
    error::Damage,
    window::{Pass, Step, Window},
};

/// A run of module data, up to its end mark.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Module {
    /// Bytes of strings and numbers, as a floor of what it costs in memory.
    pub(super) bytes: u64,
}

impl Module {
    /// Passes over the data; `Ok` once its end mark was read.
    pub(super) fn step(&mut self, window: &mut Window<'_>, pass: &mut Pass) -> Step<()> {
        loop {
            match window.length("a module's data")? {
                0 => {
                    window.commit();
                    return Ok(());
                }
                1 | 2 => {
                    window.length("a module's number")?;
                    window.commit();
                    self.add(8);
                }
                3 => {
                    window.array::<4>()?;
                    window.commit();
                    self.add(4);
                }
                4 => {
                    window.array::<8>()?;
                    window.commit();
                    self.add(8);
                }
                5 => {
                    let head = window.string()?;
                    self.add(head.length);
                    window.over(head.stored, pass)?;
                }
                _ => return Err(Damage::Broken("a module's data has an unknown opcode").into()),
            }
        }
    }

    fn add(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }
}
