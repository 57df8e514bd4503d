//! Calling a function of the guest's kernel on a vCPU, by the System V ABI, and putting everything back.
//!
//! What the function does to memory stays: it is a write to the guest, and in a recording it happens in a diversion. Other
//! vCPUs and interrupts go on meanwhile, as they would.

use super::c::ARGUMENTS;
use super::{DebugError, Debugger, Why};
use boundary::Operator;
use machine::cpu::state::{Activity, Mode, RAX, RSP};

/// Below the stack pointer, what a function that calls no other may use (System V ABI, 3.2.2).
const RED_ZONE_BYTES: u64 = 128;
/// How an operator calls RIP and RFLAGS.
const RIP: u8 = 16;
const RFLAGS: u8 = 17;

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Called {
    /// It has returned, and this is RAX. The registers are as before.
    Returned(u64),
    /// It has not: the cursor is in it, or where it led to.
    Stopped(Why),
}

impl Debugger<'_> {
    /// Calls a function on the vCPU that the session is about.
    ///
    /// # Errors
    /// Nothing can be called here, or the guest may not be written to.
    pub fn call(&mut self, function: u64, arguments: &[u64]) -> Result<Called, DebugError> {
        let cpu = &self.machine().cpus()[self.vcpu];
        let nothing = |why: &str| Err(DebugError::Nothing(why.to_owned()));
        if cpu.mode != Mode::Long64 || cpu.cpl != 0 {
            return nothing("a function is called in the kernel's 64-bit code, and this vCPU is elsewhere");
        }
        if cpu.activity != Activity::Running {
            return nothing("this vCPU is halted, and executes nothing; `thread` chooses another");
        }
        if arguments.len() > ARGUMENTS.len() {
            return nothing("a call has six arguments at most");
        }
        let back = cpu.rip;
        let registers = (0u8..).zip(cpu.gpr).chain([(RIP, cpu.rip), (RFLAGS, cpu.rflags)]);
        let before: Vec<(u8, u64)> = registers.collect();
        // At the entry of a function the stack is aligned but for the return address.
        let top = (cpu.gpr[RSP] - RED_ZONE_BYTES) & !15;
        let paddr = self.machine().physical_address(self.vcpu, top - 8);
        let Ok(paddr) = paddr else { return nothing("there is no room on the stack for a call") };
        self.target.write(Operator::WriteMemory { paddr, bytes: back.to_le_bytes().to_vec() })?;
        for (&register, &value) in ARGUMENTS.iter().zip(arguments) {
            self.write_register(register as u8, value)?;
        }
        // A function with `...` reads in AL how many vector registers hold arguments.
        for (register, value) in [(RAX as u8, 0), (RSP as u8, top - 8), (RIP, function)] {
            self.write_register(register, value)?;
        }
        match self.run_to(&[back], &|at| at == top)? {
            Why::Done => {
                let value = self.machine().cpus()[self.vcpu].gpr[RAX];
                before.into_iter().try_for_each(|(register, value)| self.write_register(register, value))?;
                self.arrived();
                Ok(Called::Returned(value))
            }
            why => {
                self.arrived();
                Ok(Called::Stopped(why))
            }
        }
    }

    /// Writes a register of the vCPU that the session is about: 0 to 15 in encoding order, 16 is RIP and 17 RFLAGS.
    ///
    /// # Errors
    /// The guest may not be written to.
    pub fn write_register(&mut self, register: u8, value: u64) -> Result<(), DebugError> {
        let vcpu = self.vcpu as u8;
        Ok(self.target.write(Operator::WriteRegister { vcpu, register, value })?)
    }
}
