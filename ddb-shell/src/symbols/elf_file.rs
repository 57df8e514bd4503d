//! A running kernel's symbols as an ELF file (gABI chapter 4), for debuggers that read nothing but files: what gdb gets of a
//! stripped kernel.
//!
//! There are no contents but how to unwind: the sections only say what is code and what is data, for a debugger names nothing
//! outside of them. Offsets of per-CPU variables are absolute symbols. Left out: symbols of modules, which come and go.

use super::Symbols;
use super::table::TableSymbol;
use crate::elf::{HEADER_BYTES, Header};
use crate::registers::KERNEL_SPACE;

const ET_EXEC: u16 = 2;
const SHT_PROGBITS: u32 = 1;
const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
const SHT_NOBITS: u32 = 8;
const SHF_WRITE: u64 = 1;
const SHF_ALLOC: u64 = 2;
const SHF_EXECINSTR: u64 = 4;
const SHN_ABS: u16 = 0xfff1;
const GLOBAL_OBJECT: u8 = 0x11;
const GLOBAL_FUNC: u8 = 0x12;
const SYM_BYTES: u64 = 24;
/// How far data reaches behind its last symbol.
const LAST_BYTES: u64 = 4096;
/// Code and data take turns a few dozen times in a real kernel, and a table of sections has an end.
const SECTIONS_MAX: usize = 4096;

/// A stretch of code or data.
struct Section {
    start: u64,
    end: u64,
    is_code: bool,
}

impl Symbols<'_> {
    /// The kernel's symbols where they are, as an ELF file with this `.debug_frame`.
    #[must_use]
    pub fn elf_file(&self, debug_frame: &[u8]) -> Vec<u8> {
        let mut symbols: Vec<TableSymbol<'_>> = self.table.symbols().collect();
        symbols.iter_mut().for_each(|symbol| symbol.address = self.relocation.relocate(symbol.address));
        // A stable sort: of several names in one place the first stays first.
        symbols.sort_by_key(|symbol| symbol.address);
        file(&symbols, &sections(&symbols), debug_frame)
    }
}

/// The stretches in which all symbols are of one kind. Too many of them are no kernel's: then all is code.
fn sections(symbols: &[TableSymbol<'_>]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for symbol in symbols.iter().filter(|symbol| symbol.address >= KERNEL_SPACE) {
        let end = symbol.address.saturating_add(symbol.length_bytes.max(1));
        match sections.last_mut() {
            Some(last) if last.is_code == symbol.is_code || last.start == symbol.address => {
                last.end = last.end.max(end);
            }
            before => {
                if let Some(before) = before {
                    before.end = symbol.address;
                }
                sections.push(Section { start: symbol.address, end, is_code: symbol.is_code });
            }
        }
    }
    if let Some(last) = sections.last_mut() {
        last.end = last.end.saturating_add(LAST_BYTES);
    }
    if let ([first, .., last], true) = (sections.as_slice(), sections.len() > SECTIONS_MAX) {
        return vec![Section { start: first.start, end: last.end, is_code: true }];
    }
    sections
}

fn file(symbols: &[TableSymbol<'_>], sections: &[Section], debug_frame: &[u8]) -> Vec<u8> {
    let mut names = vec![0];
    let mut table = vec![0; SYM_BYTES as usize];
    for symbol in symbols {
        let after = sections.partition_point(|section| section.start <= symbol.address);
        let section = if symbol.address >= KERNEL_SPACE { after as u16 } else { SHN_ABS };
        table.extend((names.len() as u32).to_le_bytes());
        table.extend([if symbol.is_code { GLOBAL_FUNC } else { GLOBAL_OBJECT }, 0]);
        table.extend(section.to_le_bytes());
        table.extend(symbol.address.to_le_bytes());
        table.extend(symbol.length_bytes.to_le_bytes());
        names.extend(symbol.name.bytes().chain([0]));
    }
    let section_names = b"\0.text\0.data\0.debug_frame\0.symtab\0.strtab\0.shstrtab\0".to_vec();
    let name = |wanted: &[u8]| {
        let at = section_names.windows(wanted.len()).position(|name| name == wanted);
        at.expect("it is one of them") as u32
    };

    let parts = [debug_frame, &table, &names, &section_names];
    let mut headers = shdr(0, 0, 0, [0; 3], [0; 2], 0);
    for section in sections {
        let (text, flags) = match section.is_code {
            true => (&b".text"[..], SHF_ALLOC | SHF_EXECINSTR),
            false => (&b".data"[..], SHF_ALLOC | SHF_WRITE),
        };
        let place = [section.start, HEADER_BYTES, section.end - section.start];
        headers.extend(shdr(name(text), SHT_NOBITS, flags, place, [0; 2], 0));
    }
    let symtab_number = sections.len() as u16 + 2;
    let mut offset = HEADER_BYTES;
    let kinds = [
        (name(b".debug_frame"), SHT_PROGBITS, [0; 2], 0),
        // Linked to the table of its names; the first that is global is number 1.
        (name(b".symtab"), SHT_SYMTAB, [u32::from(symtab_number) + 1, 1], SYM_BYTES),
        (name(b".strtab"), SHT_STRTAB, [0; 2], 0),
        (name(b".shstrtab"), SHT_STRTAB, [0; 2], 0),
    ];
    for (part, (name, kind, links, entry_bytes)) in parts.iter().zip(kinds) {
        headers.extend(shdr(name, kind, 0, [0, offset, part.len() as u64], links, entry_bytes));
        offset += part.len() as u64;
    }
    let section_headers = (offset, symtab_number + 3);
    let mut bytes = Header { kind: ET_EXEC, program_headers: 0, section_headers }.bytes();
    parts.iter().for_each(|part| bytes.extend(*part));
    bytes.extend(headers);
    bytes
}

/// `place` is address, offset and length, `links` what `sh_link` and `sh_info` are.
fn shdr(name: u32, kind: u32, flags: u64, place: [u64; 3], links: [u32; 2], entry_bytes: u64) -> Vec<u8> {
    let mut bytes = [name.to_le_bytes(), kind.to_le_bytes()].concat();
    bytes.extend(flags.to_le_bytes());
    bytes.extend(place.iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend(links.iter().flat_map(|half| half.to_le_bytes()));
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(entry_bytes.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::table::{Builder, Rank};
    use super::*;

    const BASE: u64 = 0xffff_ffff_8100_0000;

    fn symbols() -> Symbols<'static> {
        let mut builder = Builder::default();
        builder.data("per_cpu_variable", 0x1_9280);
        builder.code("first", BASE, 0x20, Rank::Global);
        builder.code("second", BASE + 0x20, 0, Rank::Local);
        builder.data("variable", BASE + 0x1000);
        builder.code("init", BASE + 0x2000, 0x10, Rank::Global);
        Symbols::from_table(builder.finish())
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let symbols = symbols();
        let bytes = symbols.elf_file(&[]);
        let read = Symbols::parse(&bytes).expect("an ELF file with symbols");
        for name in ["first", "second", "variable", "init"] {
            assert_eq!(read.address_of(name), symbols.address_of(name), "{name}");
        }
        assert_eq!(read.function_at(BASE + 0x25).map(|function| function.name).as_deref(), Some("second"));
        assert!(read.is_code(BASE + 0x2008) && !read.is_code(BASE + 0x1000));
        assert_eq!(sections(&[]).len(), 0);
    }

    #[test]
    fn code_and_data_that_take_turns_without_end_are_one_section() {
        let symbol = |number: u64| TableSymbol {
            name: "x",
            address: BASE + 16 * number,
            length_bytes: 16,
            is_code: number.is_multiple_of(2),
        };
        let symbols: Vec<TableSymbol<'_>> = (0..100_000).map(symbol).collect();
        let sections = sections(&symbols);
        assert_eq!(sections.len(), 1);
        assert!(object::File::parse(&*file(&symbols, &sections, &[])).is_ok());
    }
}
