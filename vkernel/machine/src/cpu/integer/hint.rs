//! Instructions that change nothing here: NOP and the hints that are NOP on processors without them, fences,
//! prefetches, CLFLUSH, PAUSE; and UD0, UD1, UD2, which are undefined by definition.
//!
//! Memory is always coherent and ordered, so fences have nothing to do.

use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::mmu::Intent;
use iced_x86::{Instruction, Mnemonic};

pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Nop
        | M::Reservednop
        | M::Endbr32
        | M::Endbr64
        | M::Rdsspd
        | M::Rdsspq
        | M::Cldemote
        | M::Prefetch
        | M::Prefetchw
        | M::Prefetchwt1
        | M::Prefetchnta
        | M::Prefetcht0
        | M::Prefetcht1
        | M::Prefetcht2
        | M::Prefetchit0
        | M::Prefetchit1
        | M::Lfence
        | M::Mfence
        | M::Sfence => Ok(()),
        M::Pause => pause(core),
        M::Clflush => flush_line(core, instruction),
        M::Ud0 | M::Ud1 | M::Ud2 => Err(Exception::UD),
        _ => return None,
    })
}

/// PAUSE: the guest spins. The schedule decides what that means and charges time for it.
fn pause(core: &mut Core<'_>) -> Exec {
    core.sys.leave.paused = true;
    Ok(())
}

/// CLFLUSH is checked like a byte load; there is no cache to flush.
fn flush_line(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let (segment, offset) = core.effective_address(instruction);
    core.locate(segment, offset, 1, Intent::Read)?;
    Ok(())
}
