//! Call frame information (DWARF 5 ch. 6.4, and `.eh_frame` of the LSB): from the registers of a frame to those of its
//! caller. Left out: personality routines and everything else that throwing exceptions needs.

use super::location::{Computed, FrameAddress, Location};
use super::{Located, Section};
use crate::memory::GuestMemory;
use crate::registers::Registers;
use crate::symbols::relocation::Relocation;
use crate::symbols::sections::DebugSections;
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, DebugFrame, EhFrame, Encoding, EndianSlice, FrameDescriptionEntry,
    Register, RegisterRule, RunTimeEndian, UnwindContext, UnwindExpression, UnwindSection, UnwindTableRow,
};
use machine::cpu::state::{RBP, RBX, RDI, RSI, RSP};
use std::sync::OnceLock;

/// `.eh_frame` and `.debug_frame` of a file, and a sorted list of the functions that they describe.
pub(crate) struct CallFrames<'data> {
    eh_frame: EhFrame<Section<'data>>,
    debug_frame: DebugFrame<Section<'data>>,
    bases: BaseAddresses,
    endian: RunTimeEndian,
    spans: OnceLock<Vec<Span>>,
}

/// What is known of the caller of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwound {
    /// Its registers.
    Caller(Box<Registers>),
    /// There is none.
    Outermost,
    /// Nothing describes the frame, or memory that must be read cannot be.
    Unknown,
}

/// The addresses that one entry describes.
#[derive(Clone, Copy)]
struct Span {
    begin: u64,
    end: u64,
    is_eh: bool,
    offset: usize,
}

type Fde<'data> = FrameDescriptionEntry<Section<'data>>;

/// The rules that hold at an address.
struct Row<'a> {
    rules: &'a UnwindTableRow<usize>,
    return_address: Register,
    encoding: Encoding,
    is_eh: bool,
}

impl<'data> CallFrames<'data> {
    pub fn new(sections: &DebugSections<'data>) -> CallFrames<'data> {
        let endian = sections.endian;
        let bases = BaseAddresses::default()
            .set_eh_frame(sections.address(".eh_frame"))
            .set_text(sections.address(".text"))
            .set_got(sections.address(".got"));
        let mut eh_frame = EhFrame::from(EndianSlice::new(sections.bytes(".eh_frame"), endian));
        eh_frame.set_address_size(sections.address_bytes);
        let mut debug_frame = DebugFrame::from(EndianSlice::new(sections.bytes(".debug_frame"), endian));
        debug_frame.set_address_size(sections.address_bytes);
        CallFrames { eh_frame, debug_frame, bases, endian, spans: OnceLock::new() }
    }

    fn spans(&self) -> &[Span] {
        self.spans.get_or_init(|| {
            let mut spans = Vec::new();
            self.list(&self.debug_frame, false, &mut spans);
            self.list(&self.eh_frame, true, &mut spans);
            spans.sort_by_key(|span| span.begin);
            spans
        })
    }

    fn list<S: UnwindSection<Section<'data>>>(&self, section: &S, is_eh: bool, spans: &mut Vec<Span>) {
        let mut entries = section.entries(&self.bases);
        while let Ok(Some(entry)) = entries.next() {
            let CieOrFde::Fde(partial) = entry else { continue };
            let Ok(fde) = partial.parse(S::cie_from_offset) else { continue };
            let (begin, end) = (fde.initial_address(), fde.initial_address().saturating_add(fde.len()));
            if begin != 0 && begin < end {
                spans.push(Span { begin, end, is_eh, offset: fde.offset() });
            }
        }
    }

    /// Gives `use_row` the row for a link address.
    fn with_row<T>(&self, address: u64, use_row: impl FnOnce(&Row<'_>) -> Option<T>) -> Option<T> {
        let spans = self.spans();
        let after = spans.partition_point(|span| span.begin <= address);
        let span = spans.get(after.checked_sub(1)?).filter(|span| address < span.end)?;
        match span.is_eh {
            true => self.row_of(&self.eh_frame, *span, address, use_row),
            false => self.row_of(&self.debug_frame, *span, address, use_row),
        }
    }

    fn row_of<S: UnwindSection<Section<'data>>, T>(
        &self,
        section: &S,
        span: Span,
        address: u64,
        use_row: impl FnOnce(&Row<'_>) -> Option<T>,
    ) -> Option<T> {
        let offset = span.offset.into();
        let fde: Fde<'data> = section.fde_from_offset(&self.bases, offset, S::cie_from_offset).ok()?;
        let mut context = UnwindContext::new();
        let rules = fde.unwind_info_for_address(section, &self.bases, &mut context, address).ok()?;
        let (return_address, encoding) = (fde.cie().return_address_register(), fde.cie().encoding());
        use_row(&Row { rules, return_address, encoding, is_eh: span.is_eh })
    }

    /// The rule for the canonical frame address at a link address.
    pub fn frame_address(&self, address: u64, relocation: &Relocation) -> Option<FrameAddress> {
        self.with_row(address, |row| self.rule(row, relocation))
    }

    fn rule(&self, row: &Row<'_>, relocation: &Relocation) -> Option<FrameAddress> {
        Some(match row.rules.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => FrameAddress::Offset(register.0, *offset),
            CfaRule::Expression(expression) => {
                FrameAddress::Computed(self.expression(row, expression, &[], relocation)?)
            }
        })
    }

    fn expression(
        &self,
        row: &Row<'_>,
        expression: &UnwindExpression<usize>,
        prefix: &[u8],
        relocation: &Relocation,
    ) -> Option<Location> {
        let bytes = match row.is_eh {
            true => expression.get(&self.eh_frame).ok()?,
            false => expression.get(&self.debug_frame).ok()?,
        };
        Some(Location::Computed(Box::new(Computed {
            bytecode: [prefix, bytes.0.slice()].concat(),
            encoding: row.encoding,
            endian: self.endian,
            frame_base: None,
            frame_address: None,
            base_types: Vec::new(),
            addresses: Vec::new(),
            relocation: relocation.clone(),
        })))
    }

    /// The registers of the caller of a frame whose code lies at the link address `address`.
    pub fn unwind(
        &self,
        address: u64,
        registers: &Registers,
        memory: &dyn GuestMemory,
        relocation: &Relocation,
    ) -> Unwound {
        let unwound = self.with_row(address, |row| {
            let return_address = row.rules.register(row.return_address)?;
            // The way to say that a function has no caller.
            if return_address == RegisterRule::Undefined {
                return Some(Unwound::Outermost);
            }
            let frame_address = self.rule(row, relocation)?.evaluate(memory, registers).ok()?;
            let step = Step { frames: self, row, frame_address, registers, memory, relocation };
            let mut caller = registers.clone();
            for (number, index) in numbered(registers.word_bytes) {
                caller.gpr[index] = step.value(Register(number), index);
            }
            // The stack pointer of the caller is the canonical frame address, by its definition.
            caller.gpr[RSP] = Some(frame_address);
            caller.rip = step.saved(return_address)?;
            caller.rflags = None;
            Some(if caller.rip == 0 { Unwound::Outermost } else { Unwound::Caller(Box::new(caller)) })
        });
        unwound.unwrap_or(Unwound::Unknown)
    }
}

/// The numbers in DWARF of all general registers, and their indices.
fn numbered(word_bytes: u64) -> impl Iterator<Item = (u16, usize)> {
    (0..16).filter_map(move |number| Some((number, Registers::index_of_dwarf(number, word_bytes)?)))
}

struct Step<'a, 'data> {
    frames: &'a CallFrames<'data>,
    row: &'a Row<'a>,
    frame_address: u64,
    registers: &'a Registers,
    memory: &'a dyn GuestMemory,
    relocation: &'a Relocation,
}

impl Step<'_, '_> {
    /// The caller's value of a register.
    fn value(&self, register: Register, index: usize) -> Option<u64> {
        match self.row.rules.register(register) {
            Some(RegisterRule::SameValue) => self.registers.gpr[index],
            Some(rule) => self.saved(rule),
            // Nothing is said of registers that a function leaves alone. Whether it may change them is the ABI's.
            None if is_preserved(index, self.registers.word_bytes) => self.registers.gpr[index],
            None => None,
        }
    }

    fn saved(&self, rule: RegisterRule<usize>) -> Option<u64> {
        let word = |vaddr| self.memory.read_number(vaddr, self.registers.word_bytes).ok();
        match rule {
            RegisterRule::Offset(offset) => word(self.frame_address.wrapping_add_signed(offset)),
            RegisterRule::ValOffset(offset) => Some(self.frame_address.wrapping_add_signed(offset)),
            RegisterRule::Register(other) => {
                let index = Registers::index_of_dwarf(other.0, self.registers.word_bytes)?;
                self.registers.gpr[index]
            }
            RegisterRule::Expression(expression) => word(self.computed(&expression)?),
            RegisterRule::ValExpression(expression) => self.computed(&expression),
            RegisterRule::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// An expression for a register starts with the frame address on its stack.
    fn computed(&self, expression: &UnwindExpression<usize>) -> Option<u64> {
        const PUSH_8_BYTES: u8 = 0x0e;
        let mut prefix = vec![PUSH_8_BYTES];
        prefix.extend_from_slice(&self.frame_address.to_le_bytes());
        let location = self.frames.expression(self.row, expression, &prefix, self.relocation)?;
        match location.locate(self.registers.word_bytes, self.memory, self.registers) {
            Ok(Located::Memory(address)) => Some(address),
            _ => None,
        }
    }
}

/// Whether a called function must give a register back as it was.
fn is_preserved(index: usize, word_bytes: u64) -> bool {
    match word_bytes {
        8 => matches!(index, RBX | RBP | 12..16),
        _ => matches!(index, RBX | RBP | RSI | RDI),
    }
}
