//! Linux's ORC as DWARF's call frame information (DWARF 5 ch. 6.4), for debuggers that unwind by nothing else.
//!
//! Each kind of entry has a common part of its own: what lies where, relative to the address that the entry leads to. What it is
//! made of is read by [`super::orc`]. Left out: modules, and code of which ORC says nothing.

use super::orc::{Entry, Kind, Orc};
use super::pt_regs::{INTERRUPT_FRAME, ORDER};
use crate::memory::GuestMemory;
use crate::symbols::Symbols;
use gimli::write::{
    Address, CallFrameInstruction, CommonInformationEntry, DebugFrame, EndianVec, Expression,
    FrameDescriptionEntry, FrameTable,
};
use gimli::{Encoding, Format, LittleEndian, Register, X86_64};

/// Rows of a description: a debugger executes all that are before the one it looks for.
const ROWS_MAX: usize = 32;
/// Of DWARF's version 3: addresses have the length that the file's class says.
const ENCODING: Encoding = Encoding { address_size: 8, format: Format::Dwarf32, version: 3 };
/// DWARF's numbers of the general registers, in the processor's order.
const GENERAL: [Register; 16] = [
    X86_64::RAX,
    X86_64::RCX,
    X86_64::RDX,
    X86_64::RBX,
    X86_64::RSP,
    X86_64::RBP,
    X86_64::RSI,
    X86_64::RDI,
    X86_64::R8,
    X86_64::R9,
    X86_64::R10,
    X86_64::R11,
    X86_64::R12,
    X86_64::R13,
    X86_64::R14,
    X86_64::R15,
];

/// A `.debug_frame` for the kernel's own code. `None` for another system, or a kernel without ORC.
pub fn call_frame_information(symbols: &Symbols<'_>, memory: &dyn GuestMemory) -> Option<Vec<u8>> {
    debug_frame(&Orc::find(symbols, memory)?.entries(memory)?)
}

fn debug_frame(entries: &[(u64, Entry)]) -> Option<Vec<u8>> {
    let mut table = FrameTable::default();
    let mut rest = entries;
    while let [(start, entry), after @ ..] = rest {
        let kind = described(entry);
        let alike = rest.iter().take(ROWS_MAX).take_while(|(_, other)| described(other) == kind).count();
        // The last entry of all only says where code ends.
        let rows_count = alike.min(after.len());
        let Some((end, _)) = rest.get(rows_count).filter(|_| rows_count > 0) else { break };
        if let (Some(cie), Ok(length)) = (common(kind), u32::try_from(end - start)) {
            let cie = table.add_cie(cie);
            let mut rows = FrameDescriptionEntry::new(Address::Constant(*start), length);
            for (vaddr, entry) in &rest[..rows_count] {
                row(entry, (vaddr - start) as u32, &mut rows);
            }
            table.add_fde(cie, rows);
        }
        rest = &rest[rows_count..];
    }
    let mut section = DebugFrame::from(EndianVec::new(LittleEndian));
    table.write_debug_frame(&mut section).ok()?;
    Some(section.0.into_vec())
}

/// What an entry describes. Until 6.3 one that says nothing is a call by no register.
fn described(entry: &Entry) -> Kind {
    match entry.kind {
        Kind::End => Kind::End,
        kind if (2..=9).contains(&entry.sp_register) => kind,
        _ => Kind::Undefined,
    }
}

/// What all entries of a kind have in common; `None` for those that say nothing.
fn common(kind: Kind) -> Option<CommonInformationEntry> {
    let mut common = CommonInformationEntry::new(ENCODING, 1, -8, X86_64::RA);
    let saved = |register: Register, offset: u64| CallFrameInstruction::Offset(register, offset as i32);
    let lost = GENERAL.into_iter().filter(|register| ![X86_64::RSP, X86_64::RBP].contains(register));
    match kind {
        Kind::Call => {
            common.add_instruction(CallFrameInstruction::Offset(X86_64::RA, -8));
            lost.for_each(|register| common.add_instruction(CallFrameInstruction::Undefined(register)));
        }
        Kind::Registers => {
            common.signal_trampoline = true;
            for (ordinal, index) in ORDER.into_iter().enumerate() {
                common.add_instruction(saved(GENERAL[index], 8 * ordinal as u64));
            }
            common.add_instruction(saved(X86_64::RA, INTERRUPT_FRAME));
            common.add_instruction(saved(X86_64::RSP, INTERRUPT_FRAME + 24));
        }
        Kind::InterruptFrame => {
            common.signal_trampoline = true;
            common.add_instruction(saved(X86_64::RA, 0));
            common.add_instruction(saved(X86_64::RSP, 24));
            lost.for_each(|register| common.add_instruction(CallFrameInstruction::Undefined(register)));
        }
        Kind::End => common.add_instruction(CallFrameInstruction::Undefined(X86_64::RA)),
        Kind::Undefined => return None,
    }
    Some(common)
}

/// One entry: the address that it leads to, and where the caller's RBP is.
fn row(entry: &Entry, offset: u32, rows: &mut FrameDescriptionEntry) {
    let at = |register: Register| CallFrameInstruction::Cfa(register, entry.sp_offset as i32);
    let stack = match entry.sp_register {
        2 => CallFrameInstruction::Cfa(X86_64::RDX, 0),
        3 => CallFrameInstruction::Cfa(X86_64::RDI, 0),
        4 => at(X86_64::RBP),
        6 => CallFrameInstruction::Cfa(X86_64::R10, 0),
        7 => CallFrameInstruction::Cfa(X86_64::R13, 0),
        8 => CallFrameInstruction::CfaExpression(stored(X86_64::RBP, entry.sp_offset, 0)),
        9 => CallFrameInstruction::CfaExpression(stored(X86_64::RSP, 0, entry.sp_offset)),
        _ => at(X86_64::RSP),
    };
    rows.add_instruction(offset, stack);
    let is_aligned = entry.bp_offset % 8 == 0;
    match (entry.bp_register, entry.kind) {
        (1, _) if is_aligned => {
            rows.add_instruction(offset, CallFrameInstruction::Offset(X86_64::RBP, entry.bp_offset as i32))
        }
        (4, _) => {
            let mut place = Expression::new();
            place.op_breg(X86_64::RBP, entry.bp_offset);
            rows.add_instruction(offset, CallFrameInstruction::Expression(X86_64::RBP, place));
        }
        // It is among the saved registers.
        (_, Kind::Registers) => {}
        _ => rows.add_instruction(offset, CallFrameInstruction::SameValue(X86_64::RBP)),
    }
}

/// The word at a register and an offset, and another offset from that.
fn stored(register: Register, offset: i64, further: i64) -> Expression {
    let mut expression = Expression::new();
    expression.op_breg(register, offset);
    expression.op_deref();
    if further != 0 {
        expression.op_consts(further);
        expression.op(gimli::DW_OP_plus);
    }
    expression
}

#[cfg(test)]
mod tests {
    use super::*;
    use gimli::{BaseAddresses, CfaRule, RegisterRule, UnwindContext, UnwindSection};

    const CODE: u64 = 0xffff_ffff_8100_0000;

    /// Of a register; `None` if the row does not name it.
    type Rule = Option<RegisterRule<usize>>;

    fn entry(kind: Kind, sp_register: u16, sp_offset: i64, bp_register: u16, bp_offset: i64) -> Entry {
        Entry { sp_offset, bp_offset, sp_register, bp_register, kind }
    }

    /// The rules at an offset in code for the address and for these registers; `None` where nothing is said.
    fn rules(section: &[u8], offset: u64, registers: [Register; 3]) -> Option<(CfaRule<usize>, [Rule; 3])> {
        let mut frames = gimli::DebugFrame::new(section, LittleEndian);
        frames.set_address_size(8);
        let mut context = UnwindContext::new();
        let bases = BaseAddresses::default();
        let row = frames
            .unwind_info_for_address(&bases, &mut context, CODE + offset, gimli::DebugFrame::cie_from_offset)
            .ok()?;
        Some((row.cfa().clone(), registers.map(|register| row.register(register))))
    }

    #[test]
    fn every_kind_of_entry_is_described_from_its_address_on() {
        let entries = [
            (CODE, entry(Kind::Call, 5, 8, 0, 0)),
            (CODE + 4, entry(Kind::Call, 5, 24, 1, -16)),
            (CODE + 0x10, entry(Kind::Registers, 5, 0, 0, 0)),
            (CODE + 0x20, entry(Kind::InterruptFrame, 5, 16, 0, 0)),
            (CODE + 0x30, entry(Kind::End, 0, 0, 0, 0)),
            (CODE + 0x40, entry(Kind::Undefined, 0, 0, 0, 0)),
            (CODE + 0x50, entry(Kind::Call, 8, -8, 0, 0)),
            (CODE + 0x60, entry(Kind::Call, 0, 8, 0, 0)),
            (CODE + 0x70, entry(Kind::Undefined, 0, 0, 0, 0)),
        ];
        let section = debug_frame(&entries).expect("a section");
        let registers = [X86_64::RA, X86_64::RSP, X86_64::RBP];
        let cfa = |offset| CfaRule::RegisterAndOffset { register: X86_64::RSP, offset };
        let at = |offset| rules(&section, offset, registers);
        let same = Some(RegisterRule::SameValue);
        let saved = |offset| Some(RegisterRule::Offset(offset));
        // The caller's stack pointer is that address itself, unless something else is said.
        let call = [saved(-8), None, same.clone()];
        assert_eq!(at(3), Some((cfa(8), call.clone())));
        assert_eq!(at(9), Some((cfa(24), [saved(-8), None, saved(-16)])));
        assert_eq!(at(0x1f), Some((cfa(0), [saved(128), saved(152), saved(32)])));
        assert_eq!(at(0x20), Some((cfa(16), [saved(0), saved(24), same])));
        assert_eq!(at(0x30).map(|(_, [caller, ..])| caller), Some(Some(RegisterRule::Undefined)));
        assert_eq!(at(0x48), None, "nothing is said of it");
        assert!(matches!(at(0x50), Some((CfaRule::Expression(_), rules)) if rules == call));
        assert_eq!(at(0x60), None, "a call by no register");
        assert_eq!(at(0x70), None, "the last one ends the code");
    }

    #[test]
    fn many_entries_are_several_descriptions() {
        let entries: Vec<(u64, Entry)> = (0..1000)
            .map(|number| (CODE + 16 * number, entry(Kind::Call, 5, 8 * number as i64, 0, 0)))
            .collect();
        let section = debug_frame(&entries).expect("a section");
        for number in [0, 1, 31, 32, 33, 500, 998] {
            let cfa = CfaRule::RegisterAndOffset { register: X86_64::RSP, offset: 8 * number };
            let found = rules(&section, 16 * number as u64 + 5, [X86_64::RA; 3]);
            assert_eq!(found.map(|(found, _)| found), Some(cfa), "{number}");
        }
        assert_eq!(debug_frame(&[]), Some(Vec::new()));
    }
}
