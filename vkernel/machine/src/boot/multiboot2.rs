//! Multiboot 2 (Multiboot2 Specification 2.0): the header and its tags, loading, and the entry state of 3.3.
//!
//! A header in the first 32 KiB of the file says by tags how to load it: by addresses of its own, or by the
//! program headers of an ELF32 or ELF64 file; where it is entered; whether it may be moved. EAX holds a magic
//! number, EBX points to the information (`multiboot2_info`). Modules are always page aligned. Left out, for
//! there is no EFI here: the boot-services tag, which is refused if it is required, and the EFI entries, which
//! the specification has ignored without it; MIPS; graphics modes, for which the text screen is given.

use super::bytes::View;
use super::elf::{self, Elf};
use super::entry::Entry;
use super::flat::FlatLoad;
use super::loader::{EXTENDED_RAM, FOUR_GIB, Loader, PAGE_BYTES};
use super::{BootError, LoadedImage, multiboot2_info};
use crate::cpu::state::{RAX, RBX};
use std::ops::Range;

const FORMAT: &str = "Multiboot 2 kernel";
const HEADER_MAGIC: u32 = 0xe852_50d6;
const LOADER_MAGIC: u64 = 0x36d7_6289;
const SEARCH_BYTES: usize = 32768;
const HEADER_BYTES: u64 = 16;
const ARCHITECTURE_I386: u32 = 0;
const OPTIONAL: u16 = 1;

const TAG_END: u16 = 0;
const TAG_INFORMATION_REQUEST: u16 = 1;
const TAG_ADDRESS: u16 = 2;
const TAG_ENTRY_ADDRESS: u16 = 3;
const TAG_CONSOLE_FLAGS: u16 = 4;
const TAG_FRAMEBUFFER: u16 = 5;
const TAG_MODULE_ALIGN: u16 = 6;
const TAG_EFI_BOOT_SERVICES: u16 = 7;
const TAG_ENTRY_ADDRESS_EFI32: u16 = 8;
const TAG_ENTRY_ADDRESS_EFI64: u16 = 9;
const TAG_RELOCATABLE: u16 = 10;

/// The information tags that the specification knows. One that this machine has nothing to say about is left
/// out of the information, which is what the specification wants even if it is required.
const KNOWN_INFORMATION: std::ops::RangeInclusive<u32> = 1..=21;

/// Where a relocatable kernel may be put, and wants to be.
#[derive(Clone, Copy, Debug)]
struct Relocatable {
    within: (u64, u64),
    align: u64,
    preference: u32,
}

/// What the tags of a header say.
#[derive(Debug)]
struct Header {
    offset: u64,
    flat: Option<FlatLoad>,
    entry: Option<u64>,
    relocatable: Option<Relocatable>,
}

/// The offset of the Multiboot 2 header: 8-byte aligned, in the first 32 KiB, with a valid checksum.
pub(crate) fn find_header(kernel: &[u8]) -> Option<u64> {
    let head = &kernel[..kernel.len().min(SEARCH_BYTES)];
    let word =
        |offset: usize| head.get(offset..offset + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    (0..head.len()).step_by(8).find_map(|offset| {
        let (magic, architecture) = (word(offset)?, word(offset + 4)?);
        let (length_bytes, checksum) = (word(offset + 8)?, word(offset + 12)?);
        let sum = magic.wrapping_add(architecture).wrapping_add(length_bytes).wrapping_add(checksum);
        (magic == HEADER_MAGIC && sum == 0).then_some(offset as u64)
    })
}

/// Whether this has a header that says by itself where to load the file.
pub(crate) fn is_flat_kernel(kernel: &[u8]) -> bool {
    find_header(kernel).is_some_and(|offset| {
        Header::parse(View::new(FORMAT, kernel), offset).is_ok_and(|header| header.flat.is_some())
    })
}

fn unsupported(problem: String, advice: &'static str) -> BootError {
    BootError::Unsupported { problem, advice }
}

impl Header {
    fn parse(view: View<'_>, offset: u64) -> Result<Header, BootError> {
        let architecture = view.u32(offset + 4)?;
        if architecture != ARCHITECTURE_I386 {
            let problem = format!("its Multiboot 2 header is for architecture {architecture}");
            return Err(unsupported(problem, "this machine is architecture 0, i386"));
        }
        let length_bytes = u64::from(view.u32(offset + 8)?);
        if offset + length_bytes > SEARCH_BYTES as u64 {
            return Err(view.malformed(offset + 8, "the header ends beyond the first 32 KiB of the file"));
        }
        let mut header = Header { offset, flat: None, entry: None, relocatable: None };
        let (mut at, end) = (offset + HEADER_BYTES, offset + length_bytes);
        while at < end {
            let kind = view.u16(at)?;
            let size = u64::from(view.u32(at + 4)?);
            if size < 8 || at + size > end {
                return Err(view.malformed(at + 4, format!("the header tag {kind} has a size of {size}")));
            }
            if kind == TAG_END {
                return Ok(header);
            }
            header.add(view, at, size)?;
            at += size.next_multiple_of(8);
        }
        Err(view.malformed(offset, "the header has no end tag"))
    }

    fn add(&mut self, view: View<'_>, at: u64, size: u64) -> Result<(), BootError> {
        let (kind, is_required) = (view.u16(at)?, view.u16(at + 2)? & OPTIONAL == 0);
        let sized = |least: u64| {
            if size < least {
                return Err(view.malformed(at + 4, format!("the header tag {kind} is too short")));
            }
            Ok(())
        };
        match kind {
            TAG_INFORMATION_REQUEST if is_required => check_requests(view, at, size)?,
            TAG_INFORMATION_REQUEST => {}
            TAG_ADDRESS => {
                sized(24)?;
                self.flat = Some(FlatLoad::parse_multiboot2(view, self.offset, at + 8)?);
            }
            TAG_ENTRY_ADDRESS => {
                sized(12)?;
                self.entry = Some(u64::from(view.u32(at + 8)?));
            }
            TAG_CONSOLE_FLAGS => {
                const CONSOLE_REQUIRED: u32 = 1;
                const EGA_TEXT: u32 = 2;
                sized(12)?;
                if is_required && view.u32(at + 8)? & (CONSOLE_REQUIRED | EGA_TEXT) == CONSOLE_REQUIRED {
                    let problem = "it requires a console and cannot use a text screen".to_owned();
                    return Err(unsupported(
                        problem,
                        "this machine has only a text screen: set bit 1 of the console flags",
                    ));
                }
            }
            TAG_RELOCATABLE => {
                sized(24)?;
                self.relocatable = Some(Relocatable::parse(view, at)?);
            }
            // The mode is a recommendation, modules are always aligned, and the EFI entries do not count
            // without EFI.
            TAG_FRAMEBUFFER | TAG_MODULE_ALIGN | TAG_ENTRY_ADDRESS_EFI32 | TAG_ENTRY_ADDRESS_EFI64 => {}
            TAG_EFI_BOOT_SERVICES if is_required => {
                let problem = "it requires EFI boot services".to_owned();
                return Err(unsupported(problem, "mark that header tag as optional"));
            }
            _ if is_required && kind != TAG_EFI_BOOT_SERVICES => {
                let problem = format!("its Multiboot 2 header requires the unknown header tag {kind}");
                return Err(unsupported(problem, "mark that header tag as optional"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Refuses a request for information that nobody knows.
fn check_requests(view: View<'_>, at: u64, size: u64) -> Result<(), BootError> {
    for offset in (at + 8..at + size - 3).step_by(4) {
        let kind = view.u32(offset)?;
        if !KNOWN_INFORMATION.contains(&kind) {
            let problem = format!("its Multiboot 2 header requires the unknown information tag {kind}");
            return Err(unsupported(problem, "mark that request as optional"));
        }
    }
    Ok(())
}

impl Relocatable {
    fn parse(view: View<'_>, at: u64) -> Result<Relocatable, BootError> {
        let align = u64::from(view.u32(at + 16)?).max(1);
        if !align.is_power_of_two() {
            return Err(view.malformed(at + 16, format!("the alignment {align:#x} is no power of two")));
        }
        Ok(Relocatable {
            within: (u64::from(view.u32(at + 8)?), u64::from(view.u32(at + 12)?) + 1),
            align: align.max(PAGE_BYTES),
            preference: view.u32(at + 20)?,
        })
    }

    /// Where a kernel linked to `linked` is put. Without a preference it stays where it was linked, if that
    /// is free and allowed.
    fn choose(self, loader: &Loader<'_>, linked: &Range<u64>) -> Result<u64, BootError> {
        const LOWEST: u32 = 1;
        const HIGHEST: u32 = 2;
        let (start, end) = self.within;
        let length_bytes = linked.end - linked.start;
        let mut space = loader.space.clone();
        let is_allowed =
            linked.start >= start && linked.end <= end && linked.start.is_multiple_of(self.align);
        if !matches!(self.preference, LOWEST | HIGHEST) && is_allowed && space.claim(linked.clone()).is_ok() {
            return Ok(linked.start);
        }
        // Low memory holds the firmware's data and our own structures; it is taken only if it must be.
        let above = start.max(EXTENDED_RAM)..end;
        let place = if self.preference == HIGHEST {
            space.claim_highest(length_bytes, self.align, start..end)
        } else {
            space
                .claim_lowest(length_bytes, self.align, above)
                .or_else(|| space.claim_lowest(length_bytes, self.align, start.max(PAGE_BYTES)..end))
        };
        place.ok_or_else(|| BootError::NoRoom {
            what: "the kernel".to_owned(),
            length_bytes,
            start,
            end,
            advice: "give the guest more memory with -m, or widen the range of its relocatable tag",
        })
    }
}

/// Loads a Multiboot 2 kernel.
pub(crate) fn load(
    loader: &mut Loader<'_>,
    kernel: &[u8],
    images: &[LoadedImage<'_>],
) -> Result<Entry, BootError> {
    let view = View::new(FORMAT, kernel);
    let offset = find_header(kernel)
        .ok_or_else(|| view.malformed(0, "there is no Multiboot 2 header in the first 32 KiB"))?;
    let header = Header::parse(view, offset)?;
    let elf = if elf::is_elf(kernel) { Some(Elf::parse(kernel)?) } else { None };
    let place = match (&header.flat, &elf) {
        (Some(flat), _) => put_by_header(loader, view, &header, flat)?,
        (None, Some(elf)) => put_by_segments(loader, &header, elf)?,
        (None, None) => {
            let problem = "the header gives no addresses (tag 2) and the file is no ELF file";
            return Err(view.malformed(offset, problem));
        }
    };
    if place.rip >= FOUR_GIB {
        let problem = format!("the entry point {:#x} is above 4 GiB", place.rip);
        return Err(view.malformed(offset, problem));
    }
    let modules = loader.put_modules(images, place.end)?;
    let modules_end = modules.iter().fold(place.end, |end, module| end.max(module.end));
    let (gdt_paddr, stack_top) = loader.claim_gdt_and_stack()?;
    let moved = header.relocatable.is_some().then_some(place.start);
    let info = multiboot2_info::put(loader, elf.as_ref(), images, &modules, modules_end, moved)?;
    let mut entry = Entry::protected32(place.rip, stack_top, gdt_paddr);
    entry.general[RAX] = LOADER_MAGIC;
    entry.general[RBX] = info;
    loader.put_gdt(&entry);
    Ok(entry)
}

/// Where a kernel is.
struct Place {
    start: u64,
    end: u64,
    rip: u64,
}

fn put_by_header(
    loader: &mut Loader<'_>,
    view: View<'_>,
    header: &Header,
    flat: &FlatLoad,
) -> Result<Place, BootError> {
    let (contents, range) = flat.range(view)?;
    let entry = header.entry.ok_or_else(|| {
        view.malformed(header.offset, "the header gives addresses (tag 2) and no entry address (tag 3)")
    })?;
    flat.check_entry(view, &range, entry)?;
    let start = match header.relocatable {
        Some(relocatable) => relocatable.choose(loader, &range)?,
        None => range.start,
    };
    let end = start + (range.end - range.start);
    loader.claim_kernel(start..end)?;
    loader.put(start, contents);
    Ok(Place { start, end, rip: start + (entry - range.start) })
}

fn put_by_segments(loader: &mut Loader<'_>, header: &Header, elf: &Elf<'_>) -> Result<Place, BootError> {
    let linked = elf.paddrs()?;
    let start = match header.relocatable {
        Some(relocatable) => relocatable.choose(loader, &linked)?,
        None => linked.start,
    };
    let distance = start.wrapping_sub(linked.start);
    let entry = match header.entry {
        Some(entry) if elf.is_loaded(entry) => entry,
        Some(_) => return Err(elf.bad_entry()),
        None => elf.entry_paddr()?,
    };
    let end = loader.put_elf_moved(elf, distance)?;
    Ok(Place { start, end, rip: entry.wrapping_add(distance) })
}

#[cfg(test)]
#[path = "multiboot2_tests.rs"]
mod tests;
