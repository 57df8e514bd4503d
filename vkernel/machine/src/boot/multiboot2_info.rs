//! The information that a Multiboot 2 kernel is given (Multiboot2 Specification 2.0, 3.6): a list of tags.
//!
//! Given: command line, loader name, modules, basic memory information, memory map, framebuffer information
//! (the text screen), ELF sections, copies of the RSDP, and where a relocatable kernel was put. Left out is what
//! this machine does not have: BIOS boot device, APM, VBE, EFI, SMBIOS, network. Of the sections that no segment
//! loads, the symbol and string tables are put into memory; other loaders add debugging information.

use super::bytes::{put_u8, put_u32, put_u64};
use super::elf::Elf;
use super::loader::{EXTENDED_RAM, FOUR_GIB, Loader};
use super::{BootError, LoadedImage};
use crate::platform::layout;
use std::ops::Range;

const END: u32 = 0;
const COMMAND_LINE: u32 = 1;
const LOADER_NAME: u32 = 2;
const MODULE: u32 = 3;
const BASIC_MEMORY: u32 = 4;
const MEMORY_MAP: u32 = 6;
const FRAMEBUFFER: u32 = 8;
const ELF_SECTIONS: u32 = 9;
const ACPI_OLD: u32 = 14;
const ACPI_NEW: u32 = 15;
const LOAD_BASE: u32 = 21;
const EGA_TEXT: u8 = 2;
const MAP_ENTRY_BYTES: usize = 24;
const RSDP_V1_BYTES: usize = 20;
const RSDP_V2_BYTES: usize = 36;

/// The information being built: its size, a reserved word, and tags on 8-byte boundaries.
struct Information(Vec<u8>);

impl Information {
    fn add(&mut self, kind: u32, contents: &[&[u8]]) {
        let size = 8 + contents.iter().map(|part| part.len()).sum::<usize>();
        self.0.extend(kind.to_le_bytes());
        self.0.extend((size as u32).to_le_bytes());
        contents.iter().for_each(|part| self.0.extend_from_slice(part));
        self.0.resize(self.0.len().next_multiple_of(8), 0);
    }

    fn add_words(&mut self, kind: u32, words: &[u32], rest: &[u8]) {
        let words: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.add(kind, &[&words, rest]);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add(END, &[]);
        let total = self.0.len() as u32;
        put_u32(&mut self.0, 0, total);
        self.0
    }
}

/// Writes the information; returns its address. `modules_end` is where more may be loaded, `moved_to` where a
/// relocatable kernel is.
pub(crate) fn put(
    loader: &mut Loader<'_>,
    elf: Option<&Elf<'_>>,
    images: &[LoadedImage<'_>],
    modules: &[Range<u64>],
    modules_end: u64,
    moved_to: Option<u64>,
) -> Result<u64, BootError> {
    let mut information = Information(vec![0; 8]);
    information.add(COMMAND_LINE, &[loader.power_on.boot.command_line.as_bytes(), b"\0"]);
    information.add(LOADER_NAME, &[b"vkernel\0"]);
    for (loaded, place) in images.iter().zip(modules) {
        let string = format!("{}\0", loaded.image.command_line);
        information.add_words(MODULE, &[place.start as u32, place.end as u32], string.as_bytes());
    }
    let lower_kib = loader.space.ram_from(0).min(layout::LOW_RAM_END) / 1024;
    let upper_kib = u32::try_from(loader.space.ram_from(EXTENDED_RAM) / 1024).unwrap_or(u32::MAX);
    information.add_words(BASIC_MEMORY, &[lower_kib as u32, upper_kib], &[]);
    information.add_words(MEMORY_MAP, &[MAP_ENTRY_BYTES as u32, 0], &memory_map_bytes(loader));
    information.add(FRAMEBUFFER, &[&framebuffer_bytes()]);
    if let Some(elf) = elf {
        add_sections(&mut information, loader, elf, modules_end)?;
    }
    if loader.rsdp_paddr != 0 {
        let mut rsdp = [0; RSDP_V2_BYTES];
        loader.get(loader.rsdp_paddr, &mut rsdp);
        information.add(ACPI_OLD, &[&rsdp[..RSDP_V1_BYTES]]);
        let revision = rsdp[15];
        if revision >= 2 {
            information.add(ACPI_NEW, &[&rsdp]);
        }
    }
    if let Some(paddr) = moved_to {
        information.add_words(LOAD_BASE, &[paddr as u32], &[]);
    }
    loader.put_low("the Multiboot 2 information", &information.finish(), 8)
}

fn memory_map_bytes(loader: &Loader<'_>) -> Vec<u8> {
    let mut map = vec![0; loader.memory_map.len() * MAP_ENTRY_BYTES];
    for (entry, slot) in loader.memory_map.iter().zip(map.chunks_exact_mut(MAP_ENTRY_BYTES)) {
        put_u64(slot, 0, entry.start);
        put_u64(slot, 8, entry.length_bytes);
        put_u32(slot, 16, entry.kind);
    }
    map
}

/// The text screen.
fn framebuffer_bytes() -> [u8; 24] {
    let mut bytes = [0; 24];
    put_u64(&mut bytes, 0, layout::VGA_TEXT);
    put_u32(&mut bytes, 8, 80 * 2); // bytes of a row
    put_u32(&mut bytes, 12, 80); // columns
    put_u32(&mut bytes, 16, 25); // rows
    put_u8(&mut bytes, 20, 16); // bits of a character cell
    put_u8(&mut bytes, 21, EGA_TEXT);
    bytes
}

/// The section headers, with the addresses of the symbol and string tables, which are loaded from `start` up.
fn add_sections(
    information: &mut Information,
    loader: &mut Loader<'_>,
    elf: &Elf<'_>,
    start: u64,
) -> Result<(), BootError> {
    const ALIGN: u64 = 16;
    let Some(sections) = elf.section_headers() else { return Ok(()) };
    let mut headers = sections.bytes.to_vec();
    let mut end = start.max(EXTENDED_RAM);
    for offset in sections.offsets() {
        let Some(contents) = sections.unloaded_table(offset) else { continue };
        let length_bytes = contents.len() as u64;
        let paddr = loader.space.claim_lowest(length_bytes, ALIGN, end..FOUR_GIB).ok_or_else(|| {
            loader.too_little("the kernel with its symbols", end.next_multiple_of(ALIGN) + length_bytes)
        })?;
        loader.put(paddr, contents);
        sections.set_address(&mut headers, offset, paddr);
        end = paddr + length_bytes;
    }
    // The specification's text has 16-bit fields here; its header file and GRUB have these.
    let words = [u32::from(sections.count), u32::from(sections.entry_bytes), u32::from(sections.names_index)];
    information.add_words(ELF_SECTIONS, &words, &headers);
    Ok(())
}
