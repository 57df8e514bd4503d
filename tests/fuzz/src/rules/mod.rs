//! Where the host's processor may leave something else than the machine, because the manuals leave it open
//! and vendors chose differently.
//!
//! Flags that the SDM calls undefined are the business of `exceptions`. Here are whole behaviours: each has
//! a name, the vendors that show it and the reason, and recognises its case to the bit. It rewrites what the
//! host left into what a host with the machine's choice would have left; whatever then still differs is a
//! mismatch. The machine's choices are written down in docs/vendor-differences.md, in the same words.

mod amd;
mod approximate;
mod intel;
mod shared;
#[cfg(test)]
mod testing;

use crate::compare::End;
use crate::state::{DATA, Data, Outcome, State};
use iced_x86::{Instruction, OpKind, Register};

/// Who made a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// GenuineIntel.
    Intel,
    /// AuthenticAMD, and HygonGenuine, whose processors are AMD's.
    Amd,
    /// Anybody else: held to the rules for all.
    Other,
}

impl Vendor {
    /// By the twelve letters of CPUID leaf 0.
    #[must_use]
    pub fn named(letters: &[u8]) -> Vendor {
        match letters {
            b"GenuineIntel" => Vendor::Intel,
            b"AuthenticAMD" | b"HygonGenuine" => Vendor::Amd,
            _ => Vendor::Other,
        }
    }
}

/// One case that differs.
#[derive(Debug)]
pub struct Case<'a> {
    /// The bytes of the instruction.
    pub bytes: &'a [u8],
    /// What they decode to.
    pub instruction: &'a Instruction,
    /// The registers before.
    pub before: &'a State,
    /// The data before.
    pub data: &'a Data,
    /// What the machine left.
    pub found: &'a End,
}

/// What the host left, as far as rules have not explained it.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its end and registers.
    pub end: End,
    /// Its data.
    pub data: Box<Data>,
}

/// A difference that is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What it is called in docs/vendor-differences.md.
    pub name: &'static str,
    /// Whose processors show it; `None` for all, the machine's way being nobody's.
    pub vendor: Option<Vendor>,
    /// Rewrites what the host left, if it is what the rule says; otherwise leaves it alone.
    explain: fn(&Case<'_>, &mut Host),
}

/// All rules.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    approximate::RULES.iter().chain(shared::RULES).chain(amd::RULES).chain(intel::RULES)
}

/// Lets the rules for `vendor` explain what they can of `host`; gives the names of those that did.
pub fn explain(vendor: Vendor, case: &Case<'_>, host: &mut Host) -> Vec<&'static str> {
    let mut used = Vec::new();
    for rule in all().filter(|rule| rule.vendor.is_none_or(|whose| whose == vendor)) {
        let unexplained = host.clone();
        (rule.explain)(case, host);
        if host.end != unexplained.end || host.data != unexplained.data {
            used.push(rule.name);
        }
    }
    used
}

/// Whether the host may take these bytes for another instruction, longer or shorter, of an extension that the
/// machine has not, or for a call of its own hypervisor, so that they must not run there.
#[must_use]
pub fn is_another_instruction(vendor: Vendor, bytes: &[u8], instruction: &Instruction) -> bool {
    vendor == Vendor::Amd && amd::is_narrow_branch(bytes, instruction)
        || calls_hypervisor(bytes)
        || is_vector_extension(bytes)
}

/// How many of the bytes may run on the host: fewer than there are where it finds an instruction, of which this is the
/// length, and the machine none.
#[must_use]
pub fn bytes_on_host(vendor: Vendor, bytes: &[u8]) -> usize {
    let locked = if vendor == Vendor::Amd { amd::locked_verify_bytes(bytes) } else { None };
    locked.unwrap_or(bytes.len())
}

/// VEX and EVEX: a host with AVX may accept what the decoder calls invalid, and access memory.
fn is_vector_extension(bytes: &[u8]) -> bool {
    matches!(bytes[Prefixes::of(bytes).opcode], 0xc4 | 0xc5 | 0x62)
}

/// VMCALL and VMMCALL, which a host that is a guest itself may execute, whatever their prefixes.
fn calls_hypervisor(bytes: &[u8]) -> bool {
    bytes[Prefixes::of(bytes).opcode..].starts_with(&[0x0f, 0x01, 0xc1])
        || bytes[Prefixes::of(bytes).opcode..].starts_with(&[0x0f, 0x01, 0xd9])
}

/// The prefixes of an instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Prefixes {
    /// 66H.
    operand_size: bool,
    /// F0H.
    lock: bool,
    /// The last of F2H and F3H.
    repeat: Option<u8>,
    /// REX, 0 without one.
    rex: u8,
    /// Where the opcode begins.
    opcode: usize,
}

impl Prefixes {
    fn of(bytes: &[u8]) -> Prefixes {
        let mut prefixes = Prefixes::default();
        for (index, &byte) in bytes.iter().enumerate() {
            prefixes.opcode = index;
            let rex = prefixes.rex;
            prefixes.rex = 0;
            match byte {
                0x66 => prefixes.operand_size = true,
                0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x67 => {}
                0xf0 => prefixes.lock = true,
                0xf2 | 0xf3 => prefixes.repeat = Some(byte),
                0x40..0x50 => prefixes.rex = byte,
                _ => {
                    prefixes.rex = rex;
                    break;
                }
            }
        }
        prefixes
    }
}

/// The linear address of the one explicit memory operand, and its length.
fn memory_operand(case: &Case<'_>) -> Option<(u64, u64)> {
    let instruction = case.instruction;
    let length = instruction.memory_size().size() as u64;
    let general = |register: Register| {
        if !register.is_gpr() {
            return 0;
        }
        let value = case.before.gpr[register.full_register().number()];
        if register.size() == 4 { value & 0xffff_ffff } else { value }
    };
    let operand = (0..instruction.op_count())
        .map(|index| instruction.op_kind(index))
        .find(|kind| matches!(kind, OpKind::Memory | OpKind::MemorySegRDI | OpKind::MemorySegEDI))?;
    let (address, narrow) = match operand {
        OpKind::MemorySegRDI => (case.before.gpr[7], false),
        OpKind::MemorySegEDI => (case.before.gpr[7], true),
        _ => {
            let (base, index) = (instruction.memory_base(), instruction.memory_index());
            let scale = u64::from(instruction.memory_index_scale());
            let sum = instruction
                .memory_displacement64()
                .wrapping_add(general(base))
                .wrapping_add(general(index).wrapping_mul(scale));
            let is_narrow = |register: Register| register.is_gpr() && register.size() == 4;
            (sum, is_narrow(base) || is_narrow(index) || base == Register::EIP)
        }
    };
    Some((if narrow { address & 0xffff_ffff } else { address }, length))
}

fn is_canonical(address: u64) -> bool {
    (address as i64) << 16 >> 16 == address as i64
}

/// Whether the operand has a first byte that is canonical and a last one that is not.
fn leaves_canonical(address: u64, length: u64) -> bool {
    is_canonical(address) && !is_canonical(address.wrapping_add(length - 1))
}

/// The vector of an end that is a fault of the instruction itself.
fn fault(end: &End) -> Option<u8> {
    match end.outcome {
        Outcome::Fault { vector, rip: crate::state::INSTRUCTION, .. } => Some(vector),
        _ => None,
    }
}

/// What a page fault reports.
#[derive(Clone, Copy, Debug)]
struct PageFault {
    error_code: u32,
    vaddr: u64,
}

/// The page fault of the instruction itself, if that is the end.
fn page_fault(end: &End) -> Option<PageFault> {
    match end.outcome {
        Outcome::Fault { vector: 14, error_code, rip: crate::state::INSTRUCTION, vaddr } => {
            Some(PageFault { error_code, vaddr })
        }
        _ => None,
    }
}

/// The address of a page fault of the instruction itself.
fn fault_vaddr(end: &End) -> Option<u64> {
    page_fault(end).map(|fault| fault.vaddr)
}

/// Makes the end of the host the machine's, registers included: for cases in which a fault is ended early.
fn agree(case: &Case<'_>, host: &mut Host) {
    host.end = case.found.clone();
}

/// Only how it ended is the machine's; registers must agree by themselves.
fn agree_on_outcome(case: &Case<'_>, host: &mut Host) {
    host.end.outcome = case.found.outcome;
}

/// Sixteen bytes of the data at a linear address.
fn data_at(data: &Data, address: u64) -> Option<u128> {
    let at = usize::try_from(address.wrapping_sub(DATA)).ok()?;
    let bytes = data.get(at..at.checked_add(16)?)?;
    Some(u128::from_le_bytes(bytes.try_into().expect("sixteen bytes")))
}

/// The value of the vector operand that is not the destination.
fn vector_source(case: &Case<'_>) -> Option<u128> {
    match case.instruction.op1_kind() {
        OpKind::Register => Some(case.before.fx.xmm(case.instruction.op1_register().number())),
        _ => data_at(case.data, memory_operand(case)?.0),
    }
}
