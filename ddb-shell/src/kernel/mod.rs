//! What Linux knows of itself, read from its memory: its log and its tasks. Where things lie in its structures comes
//! from what the kernel carries for such readers, never from numbers in this program.

mod identity;
mod layout;
mod module_types;
mod modules;
pub(crate) mod orc;
mod orc_frames;
pub mod printk;
pub(crate) mod pt_regs;
mod task;
mod tasks;
#[cfg(test)]
mod tests;

pub use identity::{KernelIdentity, kernel_identity};
pub use layout::{find_types, find_vmcoreinfo};
pub use modules::{Module, find_module_symbols, modules};
pub use orc_frames::call_frame_information;
pub use task::{Task, current_address, current_task};
pub use tasks::{TaskInfo, tasks, waiting_registers};

use crate::memory::VcpuMemory;
use crate::symbols::Symbols;
use layout::Layout;
use machine::Machine;

/// Memory as a vCPU sees it whose page tables map the kernel.
#[must_use]
pub fn kernel_memory<'a>(machine: &'a Machine, symbols: &Symbols<'_>) -> Option<VcpuMemory<'a>> {
    let probe = symbols.address_of("linux_banner");
    let maps_kernel = |vcpu: &usize| match probe {
        Some(vaddr) => machine.peek_virtual(*vcpu, vaddr, &mut [0; 8]).is_ok(),
        None => machine.cpus()[*vcpu].is_long_mode(),
    };
    let vcpu = (0..machine.cpus().len()).find(maps_kernel)?;
    Some(VcpuMemory { machine, vcpu })
}

/// A running Linux.
struct Guest<'a, 'data> {
    machine: &'a Machine,
    /// Whose page tables are looked through: one that maps the kernel.
    vcpu: usize,
    layout: Layout<'a, 'data>,
}

impl<'a, 'data> Guest<'a, 'data> {
    /// `None` if no vCPU is where the kernel can be seen from.
    fn find(machine: &'a Machine, symbols: &'a Symbols<'data>) -> Option<Guest<'a, 'data>> {
        let VcpuMemory { vcpu, .. } = kernel_memory(machine, symbols)?;
        Some(Guest { machine, vcpu, layout: Layout::find(machine, vcpu, symbols) })
    }

    fn read<const BYTES: usize>(&self, vaddr: u64) -> Option<[u8; BYTES]> {
        let mut bytes = [0; BYTES];
        self.machine.peek_virtual(self.vcpu, vaddr, &mut bytes).ok()?;
        Some(bytes)
    }

    fn u64(&self, vaddr: u64) -> Option<u64> {
        self.read(vaddr).map(u64::from_le_bytes)
    }

    fn u32(&self, vaddr: u64) -> Option<u32> {
        self.read(vaddr).map(u32::from_le_bytes)
    }

    fn bytes(&self, vaddr: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.machine.peek_virtual(self.vcpu, vaddr, &mut bytes).ok()?;
        Some(bytes)
    }

    /// The address of a member of the structure at `vaddr`.
    fn member(&self, vaddr: u64, name: &str) -> Option<u64> {
        Some(vaddr.wrapping_add(self.layout.get(name)?))
    }
}
