//! The reference engine: fetches, decodes and executes each instruction anew. The specification; slow.

use super::Engine;
use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::state::{Shadow, Vcpu, rflags};
use crate::cpu::system;
use crate::system::System;

/// Executes without any cache.
#[derive(Debug, Default)]
pub struct Reference;

impl Engine for Reference {
    fn run(&mut self, cpu: &mut Vcpu, sys: &mut System, budget: u64) {
        let end = sys.icount + budget;
        let mut core = Core { cpu, sys };
        while core.sys.icount < end && !core.sys.leave.any() {
            step(&mut core);
        }
    }

    fn forget(&mut self) {}
}

/// Executes one instruction, or delivers the exception it raises: one count either way.
pub fn step(core: &mut Core<'_>) {
    let shadow = core.cpu.shadow;
    let was_single_stepping = core.cpu.flag(rflags::TF);
    let result = step_instruction(core);
    if let Err(exception) = result {
        system::deliver_exception(core, exception);
    }
    core.sys.icount += 1;
    core.cpu.own_counts += 1;
    let _ = (shadow, was_single_stepping, Shadow::None);
}

fn step_instruction(core: &mut Core<'_>) -> Exec {
    let instruction = core.fetch_instruction()?;
    core.execute(&instruction)?;
    core.cpu.rip = core.cpu.next_rip;
    Ok(())
}

pub fn step_decoded(_core: &mut Core<'_>, _instruction: &iced_x86::Instruction) {}
