//! ORC, the tables by which 64-bit Linux unwinds its own stack (arch/x86/kernel/unwind_orc.c, asm/orc_types.h), read from its
//! memory: a distribution's kernel has them and no frame pointers.
//!
//! For every range of code an entry says where the caller's stack pointer and RBP are, or that saved registers lie there. The
//! formats of 5.10 to 6.18 differ in the bits behind the registers, which the kernel's own type information tells. Left out:
//! what ftrace's graph tracer does to return addresses.

use super::{find_types, pt_regs};
use crate::memory::GuestMemory;
use crate::registers::Registers;
use crate::symbols::{OrcTables, Symbols, Unwound};
use machine::cpu::state::{RBP, RDI, RDX, RSP};

const ENTRY_BYTES: u64 = 6;
/// Entries that are believed: a kernel has some 400 000.
const COUNT_MAX: u64 = 1 << 24;

/// The tables of a running kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orc {
    /// The kernel's own tables.
    kernel: OrcTables,
    format: Format,
}

/// Which bits of an entry's last word say what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Format {
    type_mask: u16,
    /// The bit that says that there is no caller, until 6.3.
    end_bit: Option<u16>,
    /// Whether registers have the numbers of Linux 7.
    is_renumbered: bool,
}

/// What was called before 7 what has this number from then on: SP was 5, the stack pointer of the caller 1, BP with a
/// load from there 8. Numbers that no table uses are none.
const OLD_NUMBERS: [u16; 16] = [0, 15, 2, 5, 4, 15, 6, 7, 1, 9, 8, 15, 15, 15, 15, 15];

/// Until 6.2: two bits of type, one that ends. 6.3 has put another bit between them.
const OLD: Format = Format { type_mask: 3, end_bit: Some(1 << 10), is_renumbered: false };
/// From 6.4 on, the end is a type.
const NEW: Format = Format { type_mask: 7, end_bit: None, is_renumbered: false };

/// What lies at the address that an entry leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Registers,
    InterruptFrame,
    End,
    Undefined,
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub sp_offset: i64,
    pub bp_offset: i64,
    /// By its number before Linux 7, as all are here.
    pub sp_register: u16,
    pub bp_register: u16,
    pub kind: Kind,
}

impl Format {
    /// The format that the kernel's type information describes; without any, that of its version; where the kernel lists no
    /// data, and so no banner, that in which most entries are calls.
    fn of(symbols: &Symbols<'_>, tables: OrcTables, memory: &dyn GuestMemory) -> Format {
        let format = Format::of_types(symbols, tables, memory);
        Format { is_renumbered: Format::is_renumbered(tables, memory), ..format }
    }

    fn of_types(symbols: &Symbols<'_>, tables: OrcTables, memory: &dyn GuestMemory) -> Format {
        let types = symbols.types();
        let entry = types.structure("orc_entry");
        let member = |name: &str| types.member(entry.as_ref()?, name).ok()?;
        match (member("type").and_then(|place| place.width_bits), member("end")) {
            // Bits count from the last word, which is at 32 of 48.
            (Some(2), Some(end)) => Format { end_bit: Some(1 << (end.offset_bits - 32).min(15)), ..OLD },
            (Some(3), _) => NEW,
            _ => match version(symbols, memory) {
                Some(version) if version >= (6, 4) => NEW,
                Some(_) => OLD,
                None => Format::by_most(tables, memory),
            },
        }
    }

    /// Nearly all entries are calls: type 0 until 6.3, type 2 from 6.4 on.
    fn by_most(tables: OrcTables, memory: &dyn GuestMemory) -> Format {
        let count = |wanted: u64| {
            Format::sample(tables, memory).into_iter().filter(|word| word >> 8 & 7 == wanted).count()
        };
        if count(2) > count(0) { NEW } else { OLD }
    }

    /// Nearly all entries are relative to SP: number 5, from 7 on number 3, which nothing was before.
    fn is_renumbered(tables: OrcTables, memory: &dyn GuestMemory) -> bool {
        let count = |wanted: u64| {
            Format::sample(tables, memory).into_iter().filter(|word| word & 0xf == wanted).count()
        };
        count(3) > count(5)
    }

    /// The last words of entries all over the tables.
    fn sample(tables: OrcTables, memory: &dyn GuestMemory) -> Vec<u64> {
        const SAMPLE: u64 = 256;
        let word = |ordinal| {
            let entry = tables.entries.wrapping_add(ENTRY_BYTES * (tables.count * ordinal / SAMPLE));
            memory.read_number(entry.wrapping_add(4), 2).ok()
        };
        (0..SAMPLE).filter_map(word).collect()
    }

    /// A register of an entry, by its number before 7.
    fn register(self, number: u16) -> u16 {
        if self.is_renumbered { OLD_NUMBERS[usize::from(number & 0xf)] } else { number & 0xf }
    }

    fn entry(self, bytes: [u8; ENTRY_BYTES as usize]) -> Entry {
        let word = u16::from_le_bytes([bytes[4], bytes[5]]);
        Entry {
            sp_offset: i64::from(i16::from_le_bytes([bytes[0], bytes[1]])),
            bp_offset: i64::from(i16::from_le_bytes([bytes[2], bytes[3]])),
            sp_register: self.register(word),
            bp_register: self.register(word >> 4),
            kind: self.kind(word),
        }
    }

    fn kind(self, word: u16) -> Kind {
        let type_number = word >> 8 & self.type_mask;
        if self.end_bit.is_some_and(|bit| word & bit != 0) {
            return Kind::End;
        }
        let number = if self.end_bit.is_some() { type_number + 2 } else { type_number };
        match number {
            1 => Kind::End,
            2 => Kind::Call,
            3 => Kind::Registers,
            4 => Kind::InterruptFrame,
            _ => Kind::Undefined,
        }
    }
}

/// `Linux version 6.1.0-...` in the kernel's banner.
fn version(symbols: &Symbols<'_>, memory: &dyn GuestMemory) -> Option<(u32, u32)> {
    let (text, _) = memory.read_text(symbols.address_of("linux_banner")?, 64).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut numbers = text.strip_prefix("Linux version ")?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

impl Orc {
    /// The tables that the kernel's symbols name. `None` for another system, or a kernel that unwinds by frame pointers.
    pub fn find(symbols: &Symbols<'_>, memory: &dyn GuestMemory) -> Option<Orc> {
        let addresses = symbols.address_of("__start_orc_unwind_ip")?;
        let end = symbols.address_of("__stop_orc_unwind_ip")?;
        let entries = symbols.address_of("__start_orc_unwind")?;
        let count = end.checked_sub(addresses)? / 4;
        let is_sound = (1..=COUNT_MAX).contains(&count);
        find_types(symbols, memory);
        let kernel = OrcTables { addresses, entries, count };
        is_sound.then(|| Orc { kernel, format: Format::of(symbols, kernel, memory) })
    }

    /// The entry for an address: the last that begins at or before it.
    fn entry(&self, tables: OrcTables, vaddr: u64, memory: &dyn GuestMemory) -> Option<Entry> {
        let (mut low, mut high) = (0, tables.count.min(COUNT_MAX));
        while low < high {
            let middle = low + (high - low) / 2;
            let at = tables.addresses.wrapping_add(4 * middle);
            let distance = memory.read_number(at, 4).ok()? as u32 as i32;
            if at.wrapping_add_signed(i64::from(distance)) <= vaddr {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut bytes = [0; ENTRY_BYTES as usize];
        let at = tables.entries.wrapping_add(ENTRY_BYTES * low.checked_sub(1)?);
        memory.read(at, &mut bytes).ok()?;
        Some(self.format.entry(bytes))
    }

    /// The kernel's own entries, each with the address from which on it holds, in ascending order. `None` if not all can be
    /// read.
    pub(super) fn entries(&self, memory: &dyn GuestMemory) -> Option<Vec<(u64, Entry)>> {
        let count = self.kernel.count.min(COUNT_MAX) as usize;
        let (mut addresses, mut words) = (vec![0; 4 * count], vec![0; ENTRY_BYTES as usize * count]);
        memory.read(self.kernel.addresses, &mut addresses).ok()?;
        memory.read(self.kernel.entries, &mut words).ok()?;
        let places = (self.kernel.addresses..).step_by(4).zip(addresses.as_chunks().0);
        let vaddrs = places.map(|(at, bytes)| at.wrapping_add_signed(i32::from_le_bytes(*bytes).into()));
        let entries = words.as_chunks().0.iter().map(|bytes| self.format.entry(*bytes));
        let entries: Vec<(u64, Entry)> = vaddrs.zip(entries).collect();
        entries.is_sorted_by_key(|(vaddr, _)| *vaddr).then_some(entries)
    }

    /// The caller of a frame that executes at `vaddr`, and whether it was broken into and not calling. `module` has the tables
    /// of the module that has the address.
    pub fn unwind(
        &self,
        vaddr: u64,
        module: Option<OrcTables>,
        registers: &Registers,
        memory: &dyn GuestMemory,
    ) -> (Unwound, bool) {
        let Some(entry) = self.entry(module.unwrap_or(self.kernel), vaddr, memory) else {
            return (Unwound::Unknown, false);
        };
        if entry.kind == Kind::End {
            return (Unwound::Outermost, false);
        }
        match caller(entry, registers, memory) {
            Some(caller) => (Unwound::Caller(Box::new(caller)), entry.kind != Kind::Call),
            None => (Unwound::Unknown, false),
        }
    }
}

fn caller(entry: Entry, registers: &Registers, memory: &dyn GuestMemory) -> Option<Registers> {
    let word = |vaddr: u64| memory.read_number(vaddr, 8).ok();
    let (rsp, rbp) = (registers.gpr[RSP]?, registers.gpr[RBP]);
    let stack = match entry.sp_register {
        2 => registers.gpr[RDX]?,
        3 => registers.gpr[RDI]?,
        4 => rbp?.wrapping_add_signed(entry.sp_offset),
        5 => rsp.wrapping_add_signed(entry.sp_offset),
        6 => registers.gpr[10]?,
        7 => registers.gpr[13]?,
        8 => word(rbp?.wrapping_add_signed(entry.sp_offset))?,
        9 => word(rsp)?.wrapping_add_signed(entry.sp_offset),
        _ => return None,
    };
    let mut caller = match entry.kind {
        Kind::Call => {
            let mut caller = Registers { gpr: [None; 16], rflags: None, ..registers.clone() };
            caller.rip = word(stack.wrapping_sub(8))?;
            caller.gpr[RSP] = Some(stack);
            caller.gpr[RBP] = rbp;
            caller
        }
        Kind::Registers => pt_regs::read(stack, memory, registers)?,
        Kind::InterruptFrame => pt_regs::read_interrupt_frame(stack, memory, registers)?,
        Kind::End | Kind::Undefined => return None,
    };
    match entry.bp_register {
        1 => caller.gpr[RBP] = word(stack.wrapping_add_signed(entry.bp_offset)),
        4 => caller.gpr[RBP] = word(rbp?.wrapping_add_signed(entry.bp_offset)),
        _ => {}
    }
    Some(caller)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Pieces;

    const TABLE: u64 = 0xffff_ffff_8200_0000;
    const CODE: u64 = 0xffff_ffff_8100_0000;
    const STACK: u64 = 0xffff_c900_0000_0000;

    /// Tables with one entry for each offset in code, and a stack of numbered words.
    fn bench(format: Format, entries: &[(u64, i16, i16, u16)]) -> (Orc, Pieces) {
        let (mut addresses, mut words) = (Vec::new(), Vec::new());
        for (ordinal, (offset, sp_offset, bp_offset, word)) in entries.iter().enumerate() {
            let at = TABLE + 4 * ordinal as u64;
            addresses.extend_from_slice(&((CODE + offset).wrapping_sub(at) as u32).to_le_bytes());
            words
                .extend([*sp_offset as u16, *bp_offset as u16, *word].iter().flat_map(|it| it.to_le_bytes()));
        }
        let mut memory = Pieces::default();
        memory.put(TABLE, &addresses);
        memory.put(TABLE + 0x10000, &words);
        memory.put(STACK, &(0..64_u64).flat_map(|word| (0x100 + word).to_le_bytes()).collect::<Vec<_>>());
        let count = entries.len() as u64;
        (Orc { kernel: OrcTables { addresses: TABLE, entries: TABLE + 0x10000, count }, format }, memory)
    }

    fn registers() -> Registers {
        let mut registers = Registers::of(&machine::cpu::state::Vcpu::new(0));
        registers.gpr[RSP] = Some(STACK);
        registers.gpr[RBP] = Some(STACK + 0x80);
        registers
    }

    /// From 7 on.
    const RENUMBERED: Format = Format { is_renumbered: true, ..NEW };
    const ALL: [(Format, usize); 3] = [(OLD, 0), (NEW, 1), (RENUMBERED, 2)];
    const CALL_BY_SP: [u16; 3] = [0x05, 0x205, 0x203];
    const SAVED: [u16; 3] = [0x105, 0x305, 0x303];
    /// RBP lies below the caller's stack pointer.
    const BP_SAVED: [u16; 3] = [0x10, 0x10, 0x80];

    #[test]
    fn a_call_is_unwound_by_the_entry_that_covers_it_in_every_format() {
        for (format, ordinal) in ALL {
            let by_sp = CALL_BY_SP[ordinal];
            let entries = [(0, 8, 0, by_sp), (4, 24, -16, by_sp | BP_SAVED[ordinal])];
            let (orc, memory) = bench(format, &entries);
            let (Unwound::Caller(first), false) = orc.unwind(CODE + 3, None, &registers(), &memory) else {
                panic!()
            };
            assert_eq!(
                (first.rip, first.gpr[RSP], first.gpr[RBP]),
                (0x100, Some(STACK + 8), Some(STACK + 0x80))
            );
            let (Unwound::Caller(second), false) = orc.unwind(CODE + 9, None, &registers(), &memory) else {
                panic!()
            };
            assert_eq!(
                (second.rip, second.gpr[RSP], second.gpr[RBP]),
                (0x102, Some(STACK + 24), Some(0x101))
            );
            assert_eq!(orc.unwind(CODE - 1, None, &registers(), &memory).0, Unwound::Unknown);
        }
    }

    #[test]
    fn the_format_shows_in_what_most_entries_are() {
        for (format, ordinal) in ALL {
            let entries =
                [(0, 8, 0, CALL_BY_SP[ordinal]), (4, 24, 0, CALL_BY_SP[ordinal]), (8, 16, 0, SAVED[ordinal])];
            let (orc, memory) = bench(format, &entries);
            let is_renumbered = Format::is_renumbered(orc.kernel, &memory);
            assert_eq!(Format { is_renumbered, ..Format::by_most(orc.kernel, &memory) }, format);
        }
    }

    #[test]
    fn saved_registers_are_read_whole() {
        for (format, ordinal) in ALL {
            let (orc, memory) = bench(format, &[(0, 16, 0, SAVED[ordinal])]);
            let (Unwound::Caller(caller), true) = orc.unwind(CODE, None, &registers(), &memory) else {
                panic!()
            };
            assert_eq!((caller.gpr[15], caller.gpr[RDI], caller.rip), (Some(0x102), Some(0x110), 0x112));
            assert_eq!((caller.gpr[RSP], caller.rflags, caller.is_user), (Some(0x115), Some(0x114), true));
        }
    }

    #[test]
    fn the_end_and_what_is_not_described_are_told_apart() {
        let end = [(OLD, 1 << 10 | 0x05), (NEW, 0x100)];
        for (format, word) in end {
            let (orc, memory) = bench(format, &[(0, 0, 0, word)]);
            assert_eq!(orc.unwind(CODE, None, &registers(), &memory).0, Unwound::Outermost);
        }
        let (orc, memory) = bench(NEW, &[(0, 0, 0, 0)]);
        assert_eq!(orc.unwind(CODE, None, &registers(), &memory).0, Unwound::Unknown);
    }
}
