//! Steps that pass over interrupts, as gdb's users expect: an interrupt that happens to be delivered between two
//! instructions is run through, forwards and backwards. Exceptions are not passed over, for the instruction raised them.

use super::stepping::{linear_rip, linear_rsp, next_instruction};
use super::{DebugError, Debugger, Why, why};
use boundary::{Icount, Mark};
use iced_x86::Mnemonic;
use machine::{Machine, StopReason, StopSet};
use replay::Query;

/// How far back an interrupt may have begun that has just been returned from.
const HANDLER_COUNTS_MAX: u64 = 1 << 26;
/// Interrupts from the outside have vectors from here on (SDM vol. 3 6.2).
const FIRST_INTERRUPT: u64 = 32;

/// Two words of a stack: what an interrupt has pushed of RIP and RSP in 64-bit mode.
fn pushed(machine: &Machine, vcpu: usize, has_error_code: bool) -> Option<(u64, u64)> {
    let rsp = linear_rsp(&machine.cpus()[vcpu]).wrapping_add(if has_error_code { 8 } else { 0 });
    let word = |offset: u64| {
        let mut bytes = [0; 8];
        machine.peek_virtual(vcpu, rsp.wrapping_add(offset), &mut bytes).ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    Some((word(0)?, word(24)?))
}

impl Debugger<'_> {
    /// Executes one instruction of the vCPU, and whatever interrupts it before.
    ///
    /// # Errors
    /// The target's.
    pub fn step_past_interrupts(&mut self) -> Result<Why, DebugError> {
        let stepped = self.pass_interrupts()?;
        self.arrived();
        Ok(stepped)
    }

    /// The same as a part of a longer way.
    pub(super) fn pass_interrupts(&mut self) -> Result<Why, DebugError> {
        loop {
            let rsp = linear_rsp(&self.machine().cpus()[self.vcpu]);
            let stepped = why(self.target.step(self.vcpu as u8, 1)?);
            let rip = linear_rip(&self.machine().cpus()[self.vcpu]);
            let returns_to = pushed(self.machine(), self.vcpu, false).filter(|(_, saved)| *saved == rsp);
            match returns_to {
                // The handlers are looked for where the stack looks right only: that is hundreds of page walks.
                Some((back, _)) if stepped == Why::Done && self.interrupt_handlers().contains(&rip) => {
                    let passed = self.run_to(&[back], &|at| at == rsp)?;
                    if passed != Why::Done {
                        return Ok(passed);
                    }
                }
                _ => return Ok(stepped),
            }
        }
    }

    /// The entry points of this vCPU's handlers of interrupts, in 64-bit mode.
    fn interrupt_handlers(&self) -> Vec<u64> {
        let machine = self.machine();
        let cpu = &machine.cpus()[self.vcpu];
        if !cpu.is_long_mode() {
            return Vec::new();
        }
        let handler = |vector: u64| {
            let mut gate = [0; 16];
            machine.peek_virtual(self.vcpu, cpu.idtr.base.wrapping_add(vector * 16), &mut gate).ok()?;
            let gate = u128::from_le_bytes(gate);
            let offset = gate & 0xffff | gate >> 32 & 0xffff_0000 | gate >> 32 & 0xffff_ffff_0000_0000;
            (gate >> 47 & 1 != 0).then_some(offset as u64)
        };
        let last = (u64::from(cpu.idtr.limit) + 1) / 16;
        (FIRST_INTERRUPT..last.min(256)).filter_map(handler).collect()
    }

    /// Takes one instruction of the vCPU back, and the interrupts behind it.
    ///
    /// # Errors
    /// The target's.
    pub fn step_back_past_interrupts(&mut self) -> Result<Why, DebugError> {
        loop {
            let cpu = &self.machine().cpus()[self.vcpu];
            let returned_to = (linear_rip(cpu), linear_rsp(cpu));
            let vcpu = self.vcpu as u8;
            let stepped = why(self.target.past()?.step_back(vcpu, 1)?);
            let is_return = next_instruction(self.machine(), self.vcpu).is_some_and(|instruction| {
                matches!(instruction.mnemonic(), Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq)
            });
            let begun =
                if stepped == Why::Done && is_return { self.delivery_before(returned_to)? } else { None };
            match begun {
                Some(place) => {
                    self.target.past()?.seek(place)?;
                }
                None => {
                    self.arrived();
                    return Ok(stepped);
                }
            }
        }
    }

    /// The place before the delivery of the interrupt that was returned from to here, if it was one.
    fn delivery_before(&mut self, returned_to: (u64, u64)) -> Result<Option<Mark>, DebugError> {
        let set = StopSet { interrupts: true, exceptions: u32::MAX, ..StopSet::default() };
        let own = self.vcpu;
        let condition = |machine: &Machine, vcpu: u8, reason: StopReason| {
            let has_code = matches!(reason, StopReason::Exception { error_code: Some(_), .. });
            usize::from(vcpu) == own && pushed(machine, own, has_code) == Some(returned_to)
        };
        let here = self.now();
        let from = Mark::before(Icount(here.icount.0.saturating_sub(HANDLER_COUNTS_MAX)));
        let query = Query { stops: &set, condition: &condition, workers: self.workers };
        let hits = self.target.past()?.all_hits(from, here, query, usize::MAX)?;
        let last = hits.list.last();
        Ok(last.filter(|hit| matches!(hit.reason, StopReason::Interrupt { .. })).map(|hit| hit.place))
    }
}
