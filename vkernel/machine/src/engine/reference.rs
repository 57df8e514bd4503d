//! The reference engine: fetches, decodes and executes each instruction anew. The specification; slow.
//!
//! It also holds the rules of the boundary between two instructions (SDM vol. 3 6.8, 6.9, 17.3): interrupt
//! shadows, RF, single-stepping, breakpoints. Not modelled: RF in the image of an interrupt between two
//! iterations of a REP instruction is 0.

use super::Engine;
use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::state::{Activity, Shadow, Vcpu, rflags};
use crate::cpu::system::{self, debug};
use crate::system::System;
use iced_x86::{Instruction, Mnemonic};

/// IA32_DEBUGCTL: TF traps after taken branches only.
const BTF: u64 = 2;

/// Executes without any cache.
#[derive(Debug, Default)]
pub struct Reference;

impl Engine for Reference {
    fn run(&mut self, cpu: &mut Vcpu, sys: &mut System, budget: u64) {
        let end = sys.icount + budget;
        let mut core = Core { cpu, sys };
        while core.sys.icount < end && !core.sys.leave.any() {
            let rip = core.cpu.rip;
            if core.sys.reaches_stop(rip) {
                break;
            }
            step(&mut core);
        }
        // Nothing is cached here that a store could have made stale.
        core.sys.stale_code.clear();
    }

    fn forget_code_at(&mut self, _addresses: &[u64]) {}

    fn forget(&mut self) {}

    fn keep_at_most(&mut self, _operations: usize) {}
}

/// Executes one instruction, or delivers the exception it raises, or the debug trap of the one before: one
/// count in each case.
pub fn step(core: &mut Core<'_>) {
    if !system::needs_reference(core.cpu) {
        let result = core.fetch_instruction().and_then(|instruction| complete(core, &instruction));
        return retire(core, result);
    }
    if core.cpu.pending_debug != 0 && core.cpu.shadow != Shadow::MovSs {
        raise_debug_trap(core);
        core.sys.icount += 1;
        return;
    }
    if !core.cpu.flag(rflags::RF) && core.cpu.shadow != Shadow::MovSs {
        let hits = debug::instruction_hits(core);
        if hits != 0 {
            core.cpu.pending_debug = hits;
            raise_debug_trap(core);
            core.sys.icount += 1;
            return;
        }
    }
    let result = observed(core);
    retire(core, result);
}

/// The same for an instruction that an engine has already fetched and decoded at RIP, while
/// [`system::needs_reference`] does not hold.
pub fn step_decoded(core: &mut Core<'_>, instruction: &Instruction) {
    debug_assert!(!system::needs_reference(core.cpu));
    let result = complete(core, instruction);
    retire(core, result);
}

/// Executes an instruction and goes on to the next.
#[inline]
fn complete(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    core.execute(instruction)?;
    core.cpu.rip = core.cpu.next_rip;
    Ok(())
}

/// Counts what was done, after delivering the exception if there was one.
#[inline]
fn retire(core: &mut Core<'_>, result: Exec) {
    if let Err(exception) = result {
        core.sys.stops.abandon();
        system::deliver_exception(core, exception);
    }
    core.sys.icount += 1;
    core.sys.heed_stops();
}

/// Delivers the pending debug exception.
fn raise_debug_trap(core: &mut Core<'_>) {
    core.cpu.dr[6] |= core.cpu.pending_debug;
    core.cpu.pending_debug = 0;
    core.cpu.msrs.debugctl &= !BTF;
    system::deliver_debug_trap(core);
    // Interrupts waited for this trap.
    core.recheck();
}

/// One instruction with every rule of the boundary after it.
fn observed(core: &mut Core<'_>) -> Exec {
    let instruction = core.fetch_instruction()?;
    let shadow = core.cpu.shadow;
    let single_step = core.cpu.flag(rflags::TF);
    let watched = core.cpu.dr[7] & debug::ENABLES != 0;
    let mut traps = if watched { debug::data_hits(core, &instruction) } else { 0 };
    let start = core.cpu.rip;
    complete(core, &instruction)?;
    let sequential = start.wrapping_add(instruction.len() as u64);
    let repeats = core.cpu.rip == start && has_repeat(&instruction);
    if !repeats && !restores_flags(&instruction) {
        core.cpu.rflags &= !rflags::RF;
    }
    if shadow != Shadow::None {
        // A shadow lasts one instruction, even if that would cast another.
        core.cpu.shadow = Shadow::None;
        core.recheck();
    }
    let branch_only = core.cpu.msrs.debugctl & BTF != 0;
    let stepped = single_step
        && core.cpu.shadow != Shadow::MovSs
        && (core.cpu.flag(rflags::TF) || !enters_kernel(&instruction))
        && (!branch_only || core.cpu.rip != sequential);
    if stepped {
        traps |= debug::BS;
    }
    core.cpu.pending_debug |= traps;
    if core.cpu.pending_debug != 0 && core.cpu.activity == Activity::Halted {
        // The trap after HLT wakes the processor at once.
        core.cpu.activity = Activity::Running;
    }
    Ok(())
}

fn has_repeat(instruction: &Instruction) -> bool {
    instruction.has_rep_prefix() || instruction.has_repne_prefix()
}

/// IRET loads RF for the instruction that follows.
fn restores_flags(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq)
}

/// Instructions whose own clearing of TF cancels the trap after them.
fn enters_kernel(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Int | Mnemonic::Int1 | Mnemonic::Int3 | Mnemonic::Into | Mnemonic::Syscall
    )
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
