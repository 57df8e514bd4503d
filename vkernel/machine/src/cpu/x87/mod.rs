//! The x87 instructions.

use super::core::Core;
use super::exception::Exec;
use iced_x86::Instruction;

/// Executes an instruction of this family; `None` if it belongs to another.
pub fn execute(_core: &mut Core<'_>, _instruction: &Instruction) -> Option<Exec> {
    None
}
