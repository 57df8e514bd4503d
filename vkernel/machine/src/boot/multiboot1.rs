//! Multiboot 1 (Multiboot Specification 0.6.96): the protocol of most teaching kernels, of Xen and GNU Mach.
//!
//! A header in the first 8 KiB of the file says how to load it: by its own addresses (flag 16, also inside
//! ELF files) or, for ELF32 and, beyond the specification, ELF64, by the program headers. EAX holds a magic
//! number, EBX points to the information block: memory, command line, modules, memory map, text screen.
//!
//! As with other loaders that are not GRUB 2, the command line begins with a word for the kernel's own name,
//! `kernel`. Left out: symbol tables (flags 4 and 5), drives, APM, VBE, graphics modes.

use super::bytes::{View, put_u8, put_u16, put_u32, put_u64};
use super::elf::{self, Elf};
use super::entry::Entry;
use super::flat::FlatLoad;
use super::loader::{EXTENDED_RAM, FOUR_GIB, Loader};
use super::{BootError, LoadedImage};
use crate::cpu::state::{RAX, RBX};
use crate::platform::layout;
use crate::platform::memory_map::MemoryRegion;

const FORMAT: &str = "Multiboot kernel";
const HEADER_MAGIC: u32 = 0x1bad_b002;
const LOADER_MAGIC: u64 = 0x2bad_b002;
const SEARCH_BYTES: usize = 8192;
/// The low 16 flags are requirements; these are all there are.
const KNOWN_REQUIREMENTS: u32 = 0b111;
const HAS_ADDRESSES: u32 = 1 << 16;

const INFO_BYTES: usize = 116;
const MODULE_BYTES: usize = 16;
const MAP_ENTRY_BYTES: usize = 24;
/// Flags of the information block: memory, command line, modules, memory map, loader name, framebuffer.
const INFO_FLAGS: u32 = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9 | 1 << 12;
const KERNEL_WORD: &str = "kernel";

/// A module in memory.
struct Module {
    paddr: u64,
    length_bytes: u64,
    command_line_paddr: u64,
}

/// The offset of the Multiboot header: 4-byte aligned, wholly in the first 8 KiB, with a valid checksum.
pub(crate) fn find_header(kernel: &[u8]) -> Option<u64> {
    let word = |chunk: &[u8]| u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
    let head = &kernel[..kernel.len().min(SEARCH_BYTES)];
    (0..head.len().saturating_sub(11)).step_by(4).find_map(|offset| {
        let header = &head[offset..offset + 12];
        let (magic, flags, checksum) = (word(header), word(&header[4..]), word(&header[8..]));
        (magic == HEADER_MAGIC && magic.wrapping_add(flags).wrapping_add(checksum) == 0)
            .then_some(offset as u64)
    })
}

/// Whether this has a Multiboot header that says by itself where to load the file.
pub(crate) fn is_flat_kernel(kernel: &[u8]) -> bool {
    find_header(kernel).is_some_and(|header| {
        let flags = View::new(FORMAT, kernel).u32(header + 4);
        flags.is_ok_and(|flags| flags & HAS_ADDRESSES != 0)
    })
}

/// Loads a Multiboot kernel.
pub(crate) fn load(
    loader: &mut Loader<'_>,
    kernel: &[u8],
    images: &[LoadedImage<'_>],
) -> Result<Entry, BootError> {
    let view = View::new(FORMAT, kernel);
    let header = find_header(kernel)
        .ok_or_else(|| view.malformed(0, "there is no Multiboot header in the first 8 KiB"))?;
    let flags = view.u32(header + 4)?;
    if flags & 0xffff & !KNOWN_REQUIREMENTS != 0 {
        return Err(BootError::Unsupported {
            problem: format!("its Multiboot header requires unknown features (flags {flags:#x})"),
            advice: "clear those flags",
        });
    }
    let (rip, kernel_end) = if flags & HAS_ADDRESSES != 0 {
        put_by_header(loader, view, header)?
    } else if elf::is_elf(kernel) {
        let elf = Elf::parse(kernel)?;
        (elf.entry_paddr()?, loader.put_elf(&elf)?)
    } else {
        let problem = "the header gives no addresses (flag 16) and the file is no ELF file";
        return Err(view.malformed(header + 4, problem));
    };
    if rip >= FOUR_GIB {
        return Err(view.malformed(header, format!("the entry point {rip:#x} is above 4 GiB")));
    }
    let modules = put_modules(loader, images, kernel_end)?;
    let (gdt_paddr, stack_top) = loader.claim_gdt_and_stack()?;
    let info = put_info(loader, &modules)?;
    let mut entry = Entry::protected32(rip, stack_top, gdt_paddr);
    entry.general[RAX] = LOADER_MAGIC;
    entry.general[RBX] = info;
    loader.put_gdt(&entry);
    Ok(entry)
}

/// Loads by the addresses in the header; returns the entry point and the end of the kernel.
fn put_by_header(loader: &mut Loader<'_>, view: View<'_>, header: u64) -> Result<(u64, u64), BootError> {
    let flat = FlatLoad::parse(view, header, header + 12)?;
    let entry = u64::from(view.u32(header + 28)?);
    let (contents, range) = flat.range(view)?;
    flat.check_entry(view, &range, entry)?;
    loader.claim_kernel(range.clone())?;
    loader.put(range.start, contents);
    Ok((entry, range.end))
}

/// Loads initrds and modules, and their command lines.
fn put_modules(
    loader: &mut Loader<'_>,
    images: &[LoadedImage<'_>],
    kernel_end: u64,
) -> Result<Vec<Module>, BootError> {
    let places = loader.put_modules(images, kernel_end)?;
    let mut modules = Vec::new();
    for (loaded, place) in images.iter().zip(places) {
        let command_line_paddr = loader.put_string("a module's command line", &loaded.image.command_line)?;
        let length_bytes = place.end - place.start;
        modules.push(Module { paddr: place.start, length_bytes, command_line_paddr });
    }
    Ok(modules)
}

/// Writes the information block and what it points to; returns its address.
fn put_info(loader: &mut Loader<'_>, modules: &[Module]) -> Result<u64, BootError> {
    let mut list = vec![0; modules.len() * MODULE_BYTES];
    for (module, slot) in modules.iter().zip(list.chunks_exact_mut(MODULE_BYTES)) {
        put_u32(slot, 0, module.paddr as u32);
        put_u32(slot, 4, (module.paddr + module.length_bytes) as u32);
        put_u32(slot, 8, module.command_line_paddr as u32);
    }
    let map = memory_map_bytes(loader.memory_map);
    let command_line = format!("{KERNEL_WORD} {}", loader.power_on.boot.command_line);
    let mut info = [0; INFO_BYTES];
    put_u32(&mut info, 0, INFO_FLAGS);
    put_u32(&mut info, 4, (loader.space.ram_from(0).min(layout::LOW_RAM_END) / 1024) as u32);
    let upper_kib = loader.space.ram_from(EXTENDED_RAM) / 1024;
    put_u32(&mut info, 8, u32::try_from(upper_kib).unwrap_or(u32::MAX));
    put_u32(&mut info, 16, loader.put_string("the command line", command_line.trim_end())? as u32);
    put_u32(&mut info, 20, modules.len() as u32);
    if !modules.is_empty() {
        put_u32(&mut info, 24, loader.put_low("the module list", &list, 16)? as u32);
    }
    put_u32(&mut info, 44, map.len() as u32);
    put_u32(&mut info, 48, loader.put_low("the memory map", &map, 16)? as u32);
    put_u32(&mut info, 64, loader.put_string("the loader's name", "vkernel")? as u32);
    put_u64(&mut info, 88, layout::VGA_TEXT);
    put_u32(&mut info, 96, 80 * 2); // bytes of a row
    put_u32(&mut info, 100, 80); // columns
    put_u32(&mut info, 104, 25); // rows
    put_u8(&mut info, 108, 16); // bits of a character cell
    put_u8(&mut info, 109, 2); // EGA text
    put_u16(&mut info, 110, 0);
    loader.put_low("the Multiboot information", &info, 16)
}

/// Entries preceded by the size of what follows them.
fn memory_map_bytes(memory_map: &[MemoryRegion]) -> Vec<u8> {
    let mut map = vec![0; memory_map.len() * MAP_ENTRY_BYTES];
    for (entry, slot) in memory_map.iter().zip(map.chunks_exact_mut(MAP_ENTRY_BYTES)) {
        put_u32(slot, 0, MAP_ENTRY_BYTES as u32 - 4);
        put_u64(slot, 4, entry.start);
        put_u64(slot, 12, entry.length_bytes);
        put_u32(slot, 20, entry.kind);
    }
    map
}

#[cfg(test)]
mod tests {
    use super::super::samples::{ElfSample, MIB, Setup, multiboot_header};
    use super::super::{Mode, probe};
    use super::*;
    use boundary::{BootProtocol, Role};

    /// A header with addresses, then some text; the header is to be at `paddr`.
    fn header_with_addresses(paddr: u32, load_end: u32, bss_end: u32, entry: u32) -> Vec<u8> {
        let mut bytes = multiboot_header(HAS_ADDRESSES);
        for word in [paddr, paddr, load_end, bss_end, entry] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(b"text of the kernel");
        bytes
    }

    fn setup(kernel: Vec<u8>) -> Setup {
        assert_eq!(probe(&kernel), Ok(BootProtocol::Multiboot1));
        Setup::new(BootProtocol::Multiboot1, kernel)
    }

    #[test]
    fn elf_kernels_of_both_classes_are_loaded_by_their_program_headers() {
        for is_64 in [false, true] {
            let elf = ElfSample::new(is_64)
                .segment(0x10_0000, 0xc010_0000, &multiboot_header(3), 0x4000)
                .entry(0xc010_0010);
            let (entry, memory) = setup(elf.build()).load().unwrap();
            assert_eq!((entry.rip, entry.mode), (0x10_0010, Mode::Protected32));
            assert_eq!(entry.general[RAX], 0x2bad_b002);
            assert_eq!(memory.u32(0x10_0000), HEADER_MAGIC);
        }
    }

    #[test]
    fn addresses_in_the_header_override_the_elf_file() {
        let text = header_with_addresses(0x20_0000, 0x20_0020, 0x20_8000, 0x20_0010);
        let elf = ElfSample::new(true).segment(0x10_0000, 0x10_0000, &text, 0x4000);
        let (entry, memory) = setup(elf.build()).image(Role::Module, b"m", "").load().unwrap();
        assert_eq!(entry.rip, 0x20_0010);
        assert_eq!(memory.u32(0x20_0000), HEADER_MAGIC);
        assert_eq!(memory.u32(0x10_0000), 0, "the program headers were not followed");
        assert_eq!(memory.bytes(0x20_0020, 4), [0; 4], "loading stops at the load end address");
        let list = u64::from(memory.u32(entry.general[RBX] + 24));
        assert_eq!(memory.u32(list), 0x20_8000, "modules start after the bss");
    }

    #[test]
    fn a_flat_kernel_is_loaded_to_the_end_of_the_file() {
        let (entry, memory) = setup(header_with_addresses(0x10_0000, 0, 0, 0x10_0020)).load().unwrap();
        assert_eq!(entry.rip, 0x10_0020);
        assert_eq!(memory.bytes(0x10_0020, 18), b"text of the kernel");
    }

    #[test]
    fn the_information_block_has_everything() {
        let setup = setup(header_with_addresses(0x10_0000, 0, 0, 0x10_0020))
            .image(Role::Module, &[1; 5000], "smp=2")
            .image(Role::Initrd, b"second", "");
        let (entry, memory) = setup.load().unwrap();
        let info = entry.general[RBX];
        let field = |offset| u64::from(memory.u32(info + offset));
        assert_eq!(field(0) as u32, INFO_FLAGS);
        assert_eq!((field(4), field(8)), (640, 63 * 1024));
        assert_eq!(memory.string(field(16)), "kernel console=ttyS0");
        assert_eq!(memory.string(field(64)), "vkernel");
        assert_eq!(field(20), 2);
        let list = field(24);
        let module = |index: u64, offset| u64::from(memory.u32(list + index * 16 + offset));
        assert_eq!((module(0, 0), module(0, 4)), (0x10_1000, 0x10_1000 + 5000));
        assert_eq!(memory.string(module(0, 8)), "smp=2");
        assert_eq!(memory.bytes(module(1, 0), 6), b"second");
        assert_eq!(module(1, 0) % 4096, 0);
        assert_eq!(field(44), 3 * 24);
        assert_eq!(memory.u32(field(48)), 20);
        assert_eq!(memory.u64(field(48) + 2 * 24 + 4), MIB);
        assert_eq!((memory.u64(info + 88), memory.u32(info + 100)), (0xb_8000, 80));
    }

    #[test]
    fn the_header_must_be_aligned_checked_and_in_the_first_8_kib() {
        let at = |offset: usize| {
            let mut bytes = vec![0x90; offset];
            bytes.extend(multiboot_header(0));
            bytes
        };
        assert_eq!(find_header(&at(8180)), Some(8180));
        assert_eq!(find_header(&at(8184)), None);
        assert_eq!(find_header(&at(6)), None);
        let mut damaged = at(8);
        damaged[16] ^= 1;
        assert_eq!(find_header(&damaged), None);
    }

    #[test]
    fn what_the_header_requires_and_we_lack_is_refused() {
        let elf = ElfSample::new(false).segment(0x10_0000, 0x10_0000, &multiboot_header(0x8), 64);
        assert!(setup(elf.build()).load().err().unwrap().to_string().contains("0x8"));
        let no_addresses = Setup::new(BootProtocol::Multiboot1, multiboot_header(0));
        assert!(no_addresses.load().err().unwrap().to_string().contains("flag 16"));
        let entry_outside = header_with_addresses(0x10_0000, 0, 0, 0x90_0000);
        assert!(setup(entry_outside).load().err().unwrap().to_string().contains("0x900000"));
    }
}
