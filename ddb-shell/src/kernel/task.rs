//! The task that a vCPU executes: `current`, as arch/x86/include/asm/current.h finds it.

use super::Guest;
use crate::registers::KERNEL_SPACE;
use crate::symbols::Symbols;
use machine::Machine;
use machine::cpu::state::GS;
use std::fmt;

/// A task of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its process id.
    pub pid: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
}

/// Prints as kernels name a task: `swapper/0 (pid 0)`.
impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

const NAME_BYTES: usize = 16;

/// What Linux executes on `vcpu`. `None` for another system, or before per-CPU data is set up.
#[must_use]
pub fn current_task(machine: &Machine, vcpu: usize, symbols: &Symbols<'_>) -> Option<Task> {
    let guest = Guest { vcpu, ..Guest::find(machine, symbols)? };
    let task = current_address(machine, vcpu, symbols)?;
    let pid = guest.u32(guest.member(task, "task_struct.pid")?)?;
    let name: [u8; NAME_BYTES] = guest.read(guest.member(task, "task_struct.comm")?)?;
    let end = name.iter().position(|&byte| byte == 0)?;
    Some(Task { pid, name: String::from_utf8_lossy(&name[..end]).into_owned() })
}

/// Where the `struct task_struct` lies that Linux executes on `vcpu`. `None` as for [`current_task`].
#[must_use]
pub fn current_address(machine: &Machine, vcpu: usize, symbols: &Symbols<'_>) -> Option<u64> {
    let cpu = machine.cpus().get(vcpu)?;
    let guest = Guest { vcpu, ..Guest::find(machine, symbols)? };
    let per_cpu = if cpu.cpl == 0 { cpu.segments[GS].base } else { cpu.msrs.kernel_gs_base };
    // From 6.2 to 6.14 it is a member of a structure of hot per-CPU variables.
    let variable = match symbols.address_of("current_task") {
        Some(offset) => offset,
        None => guest.member(symbols.address_of("pcpu_hot")?, "pcpu_hot.current_task")?,
    };
    guest.u64(per_cpu.wrapping_add(variable)).filter(|task| *task >= KERNEL_SPACE)
}
