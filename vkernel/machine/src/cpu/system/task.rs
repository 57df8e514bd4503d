//! Hardware task switches.

use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};

/// A task gate in the IDT.
pub(super) fn interrupt(
    _core: &mut Core<'_>,
    selector: u16,
    _rip: u64,
    _flags: u64,
    ext: u32,
    _error: Option<u32>,
) -> Exec {
    Err(Exception::gp(u32::from(selector & !3) | ext))
}

/// A far jump or call to a TSS or task gate.
pub(super) fn transfer(_core: &mut Core<'_>, selector: u16, _is_call: bool) -> Exec {
    Err(Exception::gp(u32::from(selector & !3)))
}

/// IRET with NT set.
pub(super) fn resume(_core: &mut Core<'_>) -> Exec {
    Err(Exception::gp(0))
}
