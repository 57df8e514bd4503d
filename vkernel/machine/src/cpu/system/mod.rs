//! The system instructions.

use super::core::Core;
use super::exception::Exec;
use iced_x86::Instruction;

/// Executes an instruction of this family; `None` if it belongs to another.
pub fn execute(_core: &mut Core<'_>, _instruction: &Instruction) -> Option<Exec> {
    None
}

/// Delivers an exception raised by the instruction at RIP, with double and triple fault escalation.
pub fn deliver_exception(_core: &mut Core<'_>, _exception: super::exception::Exception) {}

pub fn needs_reference(_cpu: &super::state::Vcpu) -> bool {
    false
}
pub fn start_up(_cpu: &mut super::state::Vcpu, _vector: u8) {}
pub fn deliver_interrupt(_core: &mut Core<'_>, _vector: u8) {}
pub fn deliver_nmi(_core: &mut Core<'_>) {}
/// Checks that the current privilege allows access to `size` ports from `port` on.
pub fn check_io(_core: &mut Core<'_>, _port: u16, _size: u8) -> Exec {
    Ok(())
}
