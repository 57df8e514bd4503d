//! The notes of a crash dump: what each vCPU has in its registers, and VMCOREINFO.
//!
//! Each vCPU has an NT_PRSTATUS note, `struct elf_prstatus` of include/linux/elfcore.h, and one as QEMU's dump-guest-memory
//! writes it (QEMU, target/i386/arch_dump.c). The second says what the first cannot, and crash wants to see it: without, it takes
//! the dump for one of kdump, whose notes are of those processors only that Linux calls online, and which a panic has not left
//! there.

use machine::cpu::state::{
    CS, DS, DescriptorTable, ES, FS, GS, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP, SS, Segment, Vcpu,
};

const NT_PRSTATUS: u32 = 1;
/// Length of `struct elf_prstatus`, and where the process id and the registers lie in it.
const PRSTATUS_BYTES: usize = 336;
const PRSTATUS_PID: usize = 32;
const PRSTATUS_REGISTERS: usize = 112;
/// Version and length of `QEMUCPUState`.
const QEMU_STATE_VERSION: u32 = 1;
const QEMU_STATE_BYTES: u32 = 440;

/// All notes, in the order in which QEMU has them.
pub(super) fn all(cpus: &[Vcpu], vmcoreinfo: &str) -> Vec<u8> {
    let mut notes = Vec::new();
    for cpu in cpus {
        note(&mut notes, b"CORE", NT_PRSTATUS, &prstatus(cpu));
    }
    for cpu in cpus {
        note(&mut notes, b"QEMU", 0, &qemu_state(cpu));
    }
    note(&mut notes, b"VMCOREINFO", 0, vmcoreinfo.as_bytes());
    notes
}

fn note(notes: &mut Vec<u8>, name: &[u8], kind: u32, description: &[u8]) {
    let padded = |bytes: &[u8], notes: &mut Vec<u8>| {
        notes.extend_from_slice(bytes);
        notes.resize(notes.len().next_multiple_of(4), 0);
    };
    notes.extend((name.len() as u32 + 1).to_le_bytes());
    notes.extend((description.len() as u32).to_le_bytes());
    notes.extend(kind.to_le_bytes());
    padded(&[name, b"\0"].concat(), notes);
    padded(description, notes);
}

/// The registers of a vCPU as `struct elf_prstatus`, in the order of `struct user_regs_struct`.
fn prstatus(cpu: &Vcpu) -> Vec<u8> {
    let selector = |segment: usize| u64::from(cpu.segments[segment].selector);
    let general = [15, 14, 13, 12, RBP, RBX, 11, 10, 9, 8, RAX, RCX, RDX, RSI, RDI];
    let mut registers = general.map(|number| cpu.gpr[number]).to_vec();
    // ORIG_RAX: not in a system call.
    registers.push(u64::MAX);
    registers.extend([cpu.rip, selector(CS), cpu.rflags, cpu.gpr[RSP], selector(SS)]);
    registers.extend([cpu.segments[FS].base, cpu.segments[GS].base]);
    registers.extend([DS, ES, FS, GS].map(selector));
    let mut bytes = vec![0; PRSTATUS_BYTES];
    // QEMU counts from 1; without, drgn finds no registers of some vCPUs.
    bytes[PRSTATUS_PID..][..4].copy_from_slice(&(u32::from(cpu.id) + 1).to_le_bytes());
    for (index, register) in registers.iter().enumerate() {
        bytes[PRSTATUS_REGISTERS + 8 * index..][..8].copy_from_slice(&register.to_le_bytes());
    }
    bytes
}

/// The registers of a vCPU as `QEMUCPUState`.
fn qemu_state(cpu: &Vcpu) -> Vec<u8> {
    let mut bytes = [QEMU_STATE_VERSION, QEMU_STATE_BYTES].map(u32::to_le_bytes).concat();
    let general = [RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, 8, 9, 10, 11, 12, 13, 14, 15];
    let registers = general.into_iter().map(|number| cpu.gpr[number]).chain([cpu.rip, cpu.rflags]);
    bytes.extend(registers.flat_map(u64::to_le_bytes));
    for number in [CS, DS, ES, FS, GS, SS] {
        bytes.extend(qemu_segment(&cpu.segments[number]));
    }
    bytes.extend(qemu_segment(&cpu.ldtr));
    bytes.extend(qemu_segment(&cpu.tr));
    for DescriptorTable { base, limit } in [cpu.gdtr, cpu.idtr] {
        bytes.extend(qemu_segment(&Segment { selector: 0, access: 0, limit: limit.into(), base }));
    }
    let control = [cpu.cr0, 0, cpu.cr2, cpu.cr3, cpu.cr4];
    bytes.extend(control.into_iter().chain([cpu.msrs.kernel_gs_base]).flat_map(u64::to_le_bytes));
    bytes
}

/// `QEMUCPUSegment`, whose flags are the descriptor's second word without base and limit.
fn qemu_segment(segment: &Segment) -> Vec<u8> {
    let words = [u32::from(segment.selector), segment.limit, u32::from(segment.access) << 8, 0];
    words.into_iter().flat_map(u32::to_le_bytes).chain(segment.base.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_have_their_lengths_and_registers_their_places() {
        let mut notes = Vec::new();
        note(&mut notes, b"CORE", NT_PRSTATUS, &prstatus(&Vcpu::new(1)));
        assert_eq!(notes.len(), 12 + 8 + PRSTATUS_BYTES);
        let mut cpu = Vcpu { rip: 0x1234, cr3: 0x5678, ..Vcpu::new(0) };
        cpu.segments[CS] = Segment { selector: 0x10, access: 0xa09b, limit: u32::MAX, base: 0 };
        assert_eq!(prstatus(&cpu)[PRSTATUS_REGISTERS + 8 * 16..][..2], [0x34, 0x12]);
        let state = qemu_state(&cpu);
        assert_eq!(state.len(), QEMU_STATE_BYTES as usize);
        assert_eq!(state[8 + 8 * 16..][..2], [0x34, 0x12]);
        // A 64-bit code segment: present, S, type 11; G and L.
        assert_eq!(state[8 + 8 * 18 + 8..][..4], 0x00a0_9b00u32.to_le_bytes());
        assert_eq!(state[8 + 8 * 18 + 24 * 10 + 8 * 3..][..2], [0x78, 0x56]);
    }
}
