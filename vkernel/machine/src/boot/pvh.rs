//! PVH: Xen's direct boot entry (xen/include/public/arch-x86/hvm/start_info.h and docs/misc/pvh.pandoc).
//!
//! An ELF kernel names its 32-bit entry in a note; EBX points to a start-info block, version 1, with the
//! memory map, the modules, the command line and the RSDP. Initrds are joined to one module, the first,
//! because Linux takes only that one; other modules follow.

use super::bytes::{put_u32, put_u64};
use super::elf::Elf;
use super::entry::Entry;
use super::loader::{EXTENDED_RAM, FOUR_GIB, Loader, PAGE_BYTES};
use super::{BootError, LoadedImage};
use crate::cpu::state::RBX;
use boundary::Role;

const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;
const START_INFO_MAGIC: u32 = 0x336e_c578;
const START_INFO_BYTES: usize = 56;
const MODULE_BYTES: usize = 32;
const MAP_ENTRY_BYTES: usize = 24;
/// Linux finds its initrd below this without moving it.
const INITRD_LIMIT: u64 = 0x8000_0000;

/// A module in memory.
struct Module {
    paddr: u64,
    length_bytes: u64,
    command_line_paddr: u64,
}

/// The physical address of the PVH entry, if the kernel has one.
pub(crate) fn entry_note(elf: &Elf<'_>) -> Result<Option<u64>, BootError> {
    let notes = elf.notes()?;
    let Some(note) = notes.iter().find(|note| note.owner == b"Xen" && note.kind == XEN_ELFNOTE_PHYS32_ENTRY)
    else {
        return Ok(None);
    };
    let entry = match *note.contents {
        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => return Err(bad_note("its PVH note does not hold an address")),
    };
    Ok(Some(entry))
}

fn bad_note(problem: impl Into<String>) -> BootError {
    BootError::Unsupported { problem: problem.into(), advice: "build the kernel again" }
}

/// Loads a PVH kernel.
pub(crate) fn load(
    loader: &mut Loader<'_>,
    kernel: &[u8],
    images: &[LoadedImage<'_>],
) -> Result<Entry, BootError> {
    let elf = Elf::parse(kernel)?;
    let rip = entry_note(&elf)?.ok_or_else(|| bad_note("it has no PVH note"))?;
    if rip >= FOUR_GIB || !elf.is_loaded(rip) {
        return Err(bad_note(format!("its PVH entry {rip:#x} is in none of its segments below 4 GiB")));
    }
    let kernel_end = loader.put_elf(&elf)?;
    let start_info = put_boot_information(loader, images, kernel_end)?;
    let (gdt_paddr, stack_top) = loader.claim_gdt_and_stack()?;
    let mut entry = Entry::protected32(rip, stack_top, gdt_paddr);
    entry.general[RBX] = start_info;
    loader.put_gdt(&entry);
    Ok(entry)
}

/// Loads initrds and modules, and writes the start-info block; returns its address.
pub(crate) fn put_boot_information(
    loader: &mut Loader<'_>,
    images: &[LoadedImage<'_>],
    kernel_end: u64,
) -> Result<u64, BootError> {
    let modules = put_modules(loader, images, kernel_end)?;
    put_start_info(loader, &modules)
}

fn put_modules(
    loader: &mut Loader<'_>,
    images: &[LoadedImage<'_>],
    kernel_end: u64,
) -> Result<Vec<Module>, BootError> {
    let needed = images.iter().fold(kernel_end.next_multiple_of(PAGE_BYTES), |end, loaded| {
        end + (loaded.bytes.len() as u64).next_multiple_of(PAGE_BYTES)
    });
    let mut modules = Vec::new();
    if let Some(range) = loader.put_initrds(images, INITRD_LIMIT, kernel_end)? {
        modules.push(Module {
            paddr: range.start,
            length_bytes: range.end - range.start,
            command_line_paddr: 0,
        });
    }
    for loaded in images.iter().filter(|loaded| loaded.image.role == Role::Module) {
        let length_bytes = loaded.bytes.len() as u64;
        let within = EXTENDED_RAM..INITRD_LIMIT;
        let paddr = loader
            .space
            .claim_highest(length_bytes, PAGE_BYTES, within)
            .ok_or_else(|| loader.too_little("the kernel with its modules", needed))?;
        loader.put(paddr, &loaded.bytes);
        let command_line_paddr = loader.put_string("a module's command line", &loaded.image.command_line)?;
        modules.push(Module { paddr, length_bytes, command_line_paddr });
    }
    Ok(modules)
}

/// Writes `struct hvm_start_info` and the tables it points to; returns its address.
fn put_start_info(loader: &mut Loader<'_>, modules: &[Module]) -> Result<u64, BootError> {
    let mut list = vec![0; modules.len() * MODULE_BYTES];
    for (module, slot) in modules.iter().zip(list.chunks_exact_mut(MODULE_BYTES)) {
        put_u64(slot, 0, module.paddr);
        put_u64(slot, 8, module.length_bytes);
        put_u64(slot, 16, module.command_line_paddr);
    }
    let mut map = vec![0; loader.memory_map.len() * MAP_ENTRY_BYTES];
    for (entry, slot) in loader.memory_map.iter().zip(map.chunks_exact_mut(MAP_ENTRY_BYTES)) {
        put_u64(slot, 0, entry.start);
        put_u64(slot, 8, entry.length_bytes);
        put_u32(slot, 16, entry.kind);
    }
    let mut info = [0; START_INFO_BYTES];
    put_u32(&mut info, 0, START_INFO_MAGIC);
    put_u32(&mut info, 4, 1); // version
    put_u32(&mut info, 12, modules.len() as u32);
    put_u64(
        &mut info,
        16,
        if modules.is_empty() { 0 } else { loader.put_low("the module list", &list, 16)? },
    );
    let command_line = &loader.power_on.boot.command_line;
    put_u64(&mut info, 24, loader.put_string("the command line", command_line)?);
    put_u64(&mut info, 32, loader.rsdp_paddr);
    put_u64(&mut info, 40, loader.put_low("the memory map", &map, 16)?);
    put_u32(&mut info, 48, loader.memory_map.len() as u32);
    loader.put_low("the start-info block", &info, 16)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{ElfSample, MIB, Setup, note};
    use super::super::{Mode, probe};
    use super::*;
    use boundary::BootProtocol;

    fn kernel(is_64: bool, entry: &[u8]) -> Vec<u8> {
        ElfSample::new(is_64)
            .segment(0x10_0000, 0xc010_0000, b"text", 0x1000)
            .notes(&note(b"Xen\0", XEN_ELFNOTE_PHYS32_ENTRY, entry))
            .build()
    }

    #[test]
    fn the_note_is_the_entry_in_both_classes() {
        for (is_64, bytes) in
            [(false, &0x10_0040_u32.to_le_bytes()[..]), (true, &0x10_0040_u64.to_le_bytes())]
        {
            let kernel = kernel(is_64, bytes);
            assert_eq!(probe(&kernel), Ok(BootProtocol::Pvh));
            let (entry, _) = Setup::new(BootProtocol::Pvh, kernel).load().unwrap();
            assert_eq!((entry.rip, entry.mode), (0x10_0040, Mode::Protected32));
        }
    }

    #[test]
    fn start_info_has_the_map_the_modules_and_the_command_line() {
        let setup = Setup::new(BootProtocol::Pvh, kernel(true, &0x10_0000_u64.to_le_bytes()))
            .image(Role::Initrd, b"abc", "")
            .image(Role::Module, b"config", "k=v")
            .image(Role::Initrd, b"def", "");
        let (entry, memory) = setup.load().unwrap();
        let info = entry.general[RBX];
        assert_eq!((memory.u32(info), memory.u32(info + 4)), (0x336e_c578, 1));
        assert_eq!(memory.u32(info + 12), 2);
        let list = memory.u64(info + 16);
        assert_eq!(memory.u64(list + 8), 7);
        assert_eq!(memory.bytes(memory.u64(list), 7), b"abc\0def");
        assert_eq!(memory.bytes(memory.u64(list + 32), 6), b"config");
        assert_eq!(memory.string(memory.u64(list + 48)), "k=v");
        assert_eq!(memory.string(memory.u64(info + 24)), "console=ttyS0");
        assert_eq!(memory.u64(info + 32), 0xe_0020);
        let map = memory.u64(info + 40);
        assert_eq!(memory.u32(info + 48), 3);
        assert_eq!(memory.u32(map + 24 + 16), 2, "the firmware's tables are reserved");
        assert_eq!((memory.u64(map + 48), memory.u64(map + 56)), (MIB, 63 * MIB));
    }

    #[test]
    fn an_entry_outside_the_kernel_is_refused() {
        let setup = Setup::new(BootProtocol::Pvh, kernel(true, &0x50_0000_u64.to_le_bytes()));
        assert!(setup.load().err().unwrap().to_string().contains("0x500000"));
        assert!(probe(&kernel(true, b"abc")).is_err());
    }
}
