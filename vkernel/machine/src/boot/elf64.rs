//! An ELF64 kernel that speaks no protocol: an entry state of our own, docs/boot-protocols.md.
//!
//! Long mode, interrupts off, a stack, all RAM and the first 4 GiB mapped to themselves, and every segment at
//! its `p_vaddr`. RDI points to PVH's start-info block, so that there is one format less. A position
//! independent file is relocated first (`pie`).

use super::elf::Elf;
use super::entry::Entry;
use super::loader::{FOUR_GIB, Loader, PAGE_BYTES};
use super::page_tables::{Access, PageTables};
use super::{BootError, LoadedImage, pie, pvh};
use crate::cpu::state::{RDI, RSP};

const STACK_BYTES: u64 = 64 << 10;
/// Where a load address is no physical address any more: linkers without a script repeat `p_vaddr`.
const NOT_PHYSICAL: u64 = 1 << 47;

/// Whether this file can be entered so.
pub(crate) fn check(elf: &Elf<'_>) -> Result<(), BootError> {
    let unsupported =
        |problem: &str, advice| Err(BootError::Unsupported { problem: problem.to_owned(), advice });
    if !elf.is_64 {
        return unsupported(
            "it is a 32-bit ELF file without a header for boot loaders",
            "give it a Multiboot header in its first 8 KiB, or a PVH note",
        );
    }
    for segment in elf.loads() {
        let last = segment.vaddr.checked_add(segment.memory_bytes - 1);
        if !last.is_some_and(|last| is_canonical(segment.vaddr) && is_canonical(last)) {
            return Err(elf.malformed(segment, "its virtual address is not canonical"));
        }
        if segment.paddr < NOT_PHYSICAL && (segment.vaddr ^ segment.paddr) % PAGE_BYTES != 0 {
            return Err(elf.malformed(segment, "its addresses differ in their offset in a page"));
        }
    }
    Ok(())
}

fn is_canonical(vaddr: u64) -> bool {
    (vaddr as i64) << 16 >> 16 == vaddr as i64
}

/// Loads a plain ELF64 kernel.
pub(crate) fn load(
    loader: &mut Loader<'_>,
    kernel: &[u8],
    images: &[LoadedImage<'_>],
) -> Result<Entry, BootError> {
    let kernel = pie::relocated(kernel)?;
    let elf = Elf::parse(&kernel)?;
    check(&elf)?;
    if !elf.loads().any(|segment| elf.entry.wrapping_sub(segment.vaddr) < segment.memory_bytes) {
        return Err(elf.bad_entry());
    }
    let pieces = put_kernel(loader, &elf)?;
    let kernel_end = pieces.iter().map(|piece| piece.paddr + piece.length_bytes).max().unwrap_or(0);
    let start_info = pvh::put_boot_information(loader, images, kernel_end)?;
    let page_table_paddr = put_page_tables(loader, &pieces)?;
    let stack = loader.claim_high("the stack", STACK_BYTES)?;
    let (gdt_paddr, _) = loader.claim_gdt_and_stack()?;
    let mut entry = Entry::long64(elf.entry, 0, gdt_paddr, page_table_paddr);
    // As after a call: a return would go to address 0, and the ABI's alignment holds.
    entry.general[RSP] = stack + STACK_BYTES - 8;
    entry.general[RDI] = start_info;
    loader.put_gdt(&entry);
    Ok(entry)
}

/// A piece of the kernel, in whole pages.
struct Piece {
    vaddr: u64,
    paddr: u64,
    length_bytes: u64,
}

/// Loads the kernel at its load addresses if they are physical, else where there is room.
fn put_kernel(loader: &mut Loader<'_>, elf: &Elf<'_>) -> Result<Vec<Piece>, BootError> {
    if elf.loads().any(|segment| segment.paddr >= NOT_PHYSICAL) {
        let placed = loader.put_elf_anywhere(elf)?;
        return Ok(vec![Piece {
            vaddr: placed.vaddr,
            paddr: placed.paddr,
            length_bytes: placed.length_bytes,
        }]);
    }
    loader.put_elf(elf)?;
    let pieces = elf.loads().map(|segment| {
        let offset = segment.vaddr % PAGE_BYTES;
        Piece {
            vaddr: segment.vaddr - offset,
            paddr: segment.paddr - offset,
            length_bytes: (segment.memory_bytes + offset).next_multiple_of(PAGE_BYTES),
        }
    });
    Ok(pieces.collect())
}

/// The kernel first, so that it goes before the identity map where both want an address.
fn put_page_tables(loader: &mut Loader<'_>, pieces: &[Piece]) -> Result<u64, BootError> {
    let mut tables = PageTables::new(loader)?;
    for piece in pieces {
        tables.map(loader, piece.vaddr, piece.paddr, piece.length_bytes, Access::ALL)?;
    }
    tables.map(loader, 0, 0, FOUR_GIB, Access::ALL)?;
    let high: Vec<_> = loader.space.ram().iter().filter(|range| range.end > FOUR_GIB).cloned().collect();
    for range in high {
        tables.map(loader, range.start, range.start, range.end - range.start, Access::ALL)?;
    }
    Ok(tables.put(loader))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{ElfSample, Setup, translate};
    use super::super::{Mode, probe};
    use super::*;
    use boundary::{BootProtocol, Role};

    const TOP: u64 = 0xffff_ffff_8000_0000;

    fn load(elf: &ElfSample) -> (Entry, super::super::samples::SampleMemory) {
        let kernel = elf.build();
        assert_eq!(probe(&kernel), Ok(BootProtocol::Elf64));
        Setup::new(BootProtocol::Elf64, kernel).image(Role::Initrd, b"abc", "").load().unwrap()
    }

    #[test]
    fn a_kernel_runs_where_it_was_linked_and_finds_the_start_info() {
        let elf = ElfSample::new(true).segment(0x20_0000, TOP + 0x20_0000, b"text", 0x3000);
        let (entry, memory) = load(&elf.entry(TOP + 0x20_0000));
        assert_eq!((entry.rip, entry.rflags), (TOP + 0x20_0000, 2));
        let Mode::Long64 { page_table_paddr: root } = entry.mode else { panic!("{:?}", entry.mode) };
        assert_eq!(translate(&memory, root, TOP + 0x20_2fff).map(|found| found.0), Some(0x20_2fff));
        assert_eq!(translate(&memory, root, 0x20_0000).map(|found| found.0), Some(0x20_0000));
        assert_eq!(translate(&memory, root, TOP + 0x20_3000), None);
        assert_eq!(memory.u32(entry.general[RDI]), 0x336e_c578);
        assert_eq!(memory.u32(entry.general[RDI] + 12), 1, "the initrd is a module");
        assert_eq!(entry.general[RSP] % 16, 8);
        assert_eq!(memory.u64(entry.general[RSP]), 0);
    }

    #[test]
    fn virtual_load_addresses_leave_the_place_to_the_loader() {
        let elf = ElfSample::new(true)
            .segment(TOP, TOP, b"text", 0x1000)
            .segment(TOP + 0x5000, TOP + 0x5000, b"data", 0x1000)
            .entry(TOP);
        let (entry, memory) = load(&elf);
        let (text, _) = translate(&memory, entry.cr3, TOP).unwrap();
        let (data, _) = translate(&memory, entry.cr3, TOP + 0x5000).unwrap();
        assert_eq!((memory.bytes(text, 4), memory.bytes(data, 4)), (b"text".to_vec(), b"data".to_vec()));
        assert_eq!(data - text, 0x5000);
    }

    #[test]
    fn the_link_address_goes_before_the_identity_map() {
        let elf = ElfSample::new(true).segment(0x20_0000, 0x40_0000, b"text", 0x1000).entry(0x40_0000);
        let (entry, memory) = load(&elf);
        let at = |vaddr| translate(&memory, entry.cr3, vaddr).map(|found| found.0);
        assert_eq!(
            [at(0x40_0000), at(0x40_1000), at(0x3f_f000)],
            [0x20_0000, 0x40_1000, 0x3f_f000].map(Some)
        );
    }

    #[test]
    fn a_position_independent_kernel_runs_at_the_start_of_the_top_2_gib() {
        let elf = ElfSample::new(true).segment(0x1000, 0x1000, b"text", 0x2000).entry(0x1004).kind(3);
        let (entry, memory) = load(&elf);
        assert_eq!(entry.rip, TOP + 4);
        let (text, _) = translate(&memory, entry.cr3, TOP).unwrap();
        assert_eq!(memory.bytes(text, 4), b"text");
    }

    #[test]
    fn what_cannot_be_mapped_is_refused() {
        let load =
            |elf: ElfSample| Setup::new(BootProtocol::Elf64, elf.build()).load().err().unwrap().to_string();
        let sample = |paddr, vaddr| ElfSample::new(true).segment(paddr, vaddr, b"text", 0x1000);
        assert!(load(sample(0x20_0000, 0x8000_0000_0000)).contains("canonical"));
        assert!(load(sample(0x20_0800, TOP)).contains("offset in a page"));
        assert!(load(sample(0x20_0000, TOP).entry(TOP + 0x1000)).contains("entry point"));
        assert!(load(ElfSample::new(false).segment(0x20_0000, 0x20_0000, b"text", 4)).contains("PVH note"));
    }
}
