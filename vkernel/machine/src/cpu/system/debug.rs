//! Debug registers, breakpoints and single-stepping (SDM vol. 3 ch. 17.2, 17.3; vol. 2 MOV to and from
//! debug registers).
//!
//! Data breakpoints are found from the instruction's operands before it executes, and only while DR7 enables
//! one: the memory path itself knows nothing of them.

use super::io::port_operand;
use super::privileged;
use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::operand::{segment_index, truncate};
use crate::cpu::state::{DS, FS, Mode, RCX, cr4};
use iced_x86::{
    Instruction, InstructionInfoFactory, InstructionInfoOptions, Mnemonic, OpAccess, OpKind, Register,
};

/// DR6: a debug register was accessed while DR7.GD.
const BD: u64 = 1 << 13;
/// DR6: single step.
pub(crate) const BS: u64 = 1 << 14;
/// DR6 bits that always read as 1.
const DR6_ONES: u64 = 0xffff_0ff0;
const DR6_WRITABLE: u64 = 0xe00f;
/// DR7: general detect.
pub(super) const GD: u64 = 1 << 13;
/// DR7: the local and global enable bits of all four breakpoints.
pub(crate) const ENABLES: u64 = 0xff;
const DR7_ONES: u64 = 0x400;
const DR7_WRITABLE: u64 = 0xffff_23ff;

/// Executes MOV to and from debug registers; `None` for others.
pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    if instruction.mnemonic() != Mnemonic::Mov {
        return None;
    }
    let (to, from) = (instruction.op0_register(), instruction.op1_register());
    if from.is_dr() {
        Some(find(core, from).map(|index| core.set_gpr(to, core.cpu.dr[index])))
    } else if to.is_dr() {
        let value = core.gpr(from);
        Some(find(core, to).and_then(|index| write(core, index, value)))
    } else {
        None
    }
}

/// The register's index in `cpu.dr`, if it may be accessed.
fn find(core: &mut Core<'_>, register: Register) -> Exec<usize> {
    let index = match register.number() {
        4 | 5 if core.cpu.cr4 & cr4::DE != 0 => return Err(Exception::UD),
        // Without CR4.DE, DR4 and DR5 are other names of DR6 and DR7.
        number @ (4 | 5) => number + 2,
        number @ 0..=7 => number,
        _ => return Err(Exception::UD),
    };
    privileged(core)?;
    if core.cpu.dr[7] & GD != 0 {
        core.cpu.dr[6] |= BD;
        return Err(Exception::DB);
    }
    Ok(index)
}

fn write(core: &mut Core<'_>, index: usize, value: u64) -> Exec {
    if index >= 6 && value >> 32 != 0 {
        return Err(Exception::gp(0));
    }
    core.cpu.dr[index] = match index {
        6 => value & DR6_WRITABLE | DR6_ONES,
        7 => value & DR7_WRITABLE | DR7_ONES,
        _ => value,
    };
    Ok(())
}

/// What a breakpoint waits for: the R/W field of DR7.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Execute = 0,
    Write = 1,
    Io = 2,
    ReadWrite = 3,
}

/// Breakpoints met by `length` bytes at `address`, as DR6 bits: those enabled whose condition `met` accepts.
fn hits(core: &Core<'_>, address: u64, length: u64, met: impl Fn(Condition) -> bool) -> u64 {
    let dr7 = core.cpu.dr[7];
    (0..4).filter(|&number| dr7 >> (2 * number) & 3 != 0).fold(0, |bits, number| {
        let condition = match dr7 >> (16 + 4 * number) & 3 {
            0 => Condition::Execute,
            1 => Condition::Write,
            2 => Condition::Io,
            _ => Condition::ReadWrite,
        };
        let span = [1, 2, 8, 4][(dr7 >> (18 + 4 * number) & 3) as usize];
        let start = core.cpu.dr[number] & !(span - 1);
        // Wrapping distances, as either range may end at the top of the address space.
        let overlaps = address.wrapping_sub(start) < span || start.wrapping_sub(address) < length;
        if met(condition) && overlaps { bits | 1 << number } else { bits }
    })
}

/// Instruction breakpoints at RIP, as DR6 bits.
pub(crate) fn instruction_hits(core: &Core<'_>) -> u64 {
    let Ok(address) = core.fetch_linear(core.cpu.rip) else { return 0 };
    hits(core, address, 1, |condition| condition == Condition::Execute)
}

/// Data and I/O breakpoints that `instruction` will meet if it completes, as DR6 bits.
pub(crate) fn data_hits(core: &Core<'_>, instruction: &Instruction) -> u64 {
    if has_no_iteration(core, instruction) {
        return 0;
    }
    let mut found = io_hits(core, instruction);
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info_options(instruction, InstructionInfoOptions::NO_REGISTER_USAGE);
    for memory in info.used_memory() {
        let writes = matches!(
            memory.access(),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        );
        let reads = matches!(
            memory.access(),
            OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        );
        let address = memory.virtual_address(0, |register, _, _| Some(register_value(core, register)));
        // Of a repeated instruction all iterations are meant; one of them is executed.
        let iteration = instruction.is_string_instruction() && memory.memory_size().size() == 0;
        let size = if iteration { instruction.memory_size() } else { memory.memory_size() };
        let length = size.size() as u64;
        if let (Some(address), true) = (address, (reads || writes) && length > 0) {
            found |= hits(core, address, length, |condition| match condition {
                Condition::Write => writes,
                Condition::ReadWrite => true,
                Condition::Execute | Condition::Io => false,
            });
        }
    }
    found
}

/// A repeated string instruction with a count of 0.
fn has_no_iteration(core: &Core<'_>, instruction: &Instruction) -> bool {
    use OpKind::{MemoryESDI, MemoryESEDI, MemorySegESI, MemorySegSI};
    let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    if !repeats || !instruction.is_string_instruction() {
        return false;
    }
    let count_bytes = (0..instruction.op_count())
        .find_map(|operand| match instruction.op_kind(operand) {
            MemorySegSI | MemoryESDI => Some(2),
            MemorySegESI | MemoryESEDI => Some(4),
            _ => None,
        })
        .unwrap_or(8);
    truncate(core.cpu.gpr[RCX], count_bytes) == 0
}

fn io_hits(core: &Core<'_>, instruction: &Instruction) -> u64 {
    let (operand, size) = match instruction.mnemonic() {
        Mnemonic::In => (1, instruction.op0_register().size()),
        Mnemonic::Out => (0, instruction.op1_register().size()),
        Mnemonic::Insb | Mnemonic::Outsb => (0, 1),
        Mnemonic::Insw | Mnemonic::Outsw => (0, 2),
        Mnemonic::Insd | Mnemonic::Outsd => (0, 4),
        _ => return 0,
    };
    if core.cpu.cr4 & cr4::DE == 0 {
        return 0;
    }
    let port = match instruction.mnemonic() {
        Mnemonic::In | Mnemonic::Out => port_operand(core, instruction, operand),
        _ => core.cpu.gpr[crate::cpu::state::RDX] as u16,
    };
    hits(core, u64::from(port), size as u64, |condition| condition == Condition::Io)
}

/// A register as part of an address: a segment register counts as its base.
fn register_value(core: &Core<'_>, register: Register) -> u64 {
    if register.is_segment_register() {
        let index = segment_index(register);
        let flat = core.cpu.mode == Mode::Long64 && index < FS && index <= DS;
        return if flat { 0 } else { core.cpu.segments[index].base };
    }
    if register.is_gpr() { core.gpr(register) } else { 0 }
}
