//! What all protocols share: placing things in RAM, each at a place of its own.
//!
//! Where things go: fixed places that the image demands are claimed first; small structures then go to the
//! lowest free RAM from 64 KiB up (below that is where kernels like to put their start-up code for the other
//! processors); initrds go as high as their protocol allows, out of the way of a kernel that grows.

use super::elf::Elf;
use super::space::{Refusal, Space};
use super::{BootError, Entry, GuestMemory, LoadedImage};
use crate::platform::layout;
use crate::platform::memory_map::MemoryRegion;
use boundary::{PowerOn, Role};
use std::ops::Range;

/// Page size, and the alignment of most structures.
pub(crate) const PAGE_BYTES: u64 = 4096;
const MIB: u64 = 1 << 20;
/// RAM comes in these steps, so the advice about `-m` is rounded up to them.
const RAM_STEP_BYTES: u64 = 2 * MIB;
/// Where small structures go.
const LOW_STRUCTURES: Range<u64> = 0x1_0000..layout::LOW_RAM_END;
/// Where RAM beyond the low megabyte begins.
pub(crate) const EXTENDED_RAM: u64 = 0x10_0000;
/// What 32-bit code and Linux's early page tables reach.
pub(crate) const FOUR_GIB: u64 = 1 << 32;

/// A loader at work: the memory, and which of it is given away.
pub(crate) struct Loader<'a> {
    pub(crate) power_on: &'a PowerOn,
    pub(crate) memory_map: &'a [MemoryRegion],
    pub(crate) space: Space,
    /// Where the RSDP is; 0 if there is none.
    pub(crate) rsdp_paddr: u64,
    memory: &'a mut dyn GuestMemory,
}

/// A kernel that was loaded in one piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    /// Physical address of its first page.
    pub(crate) paddr: u64,
    /// Virtual address of its first page.
    pub(crate) vaddr: u64,
    /// Whole pages.
    pub(crate) length_bytes: u64,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(
        power_on: &'a PowerOn,
        memory: &'a mut dyn GuestMemory,
        memory_map: &'a [MemoryRegion],
    ) -> Loader<'a> {
        Loader { power_on, memory_map, space: Space::new(memory_map), rsdp_paddr: 0, memory }
    }

    /// Writes to a place that was claimed, or that belongs to the firmware.
    pub(crate) fn put(&mut self, paddr: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        assert!(
            self.memory.write(paddr, bytes),
            "the memory map calls {paddr:#x} RAM and the memory does not"
        );
    }

    /// The lowest RAM for a small structure, above 64 KiB.
    pub(crate) fn claim_low(&mut self, what: &str, length_bytes: u64, align: u64) -> Result<u64, BootError> {
        self.space.claim_lowest(length_bytes, align, LOW_STRUCTURES).ok_or_else(|| BootError::NoRoom {
            what: what.to_owned(),
            length_bytes,
            start: LOW_STRUCTURES.start,
            end: LOW_STRUCTURES.end,
            advice: "make it smaller",
        })
    }

    /// Writes a small structure and says where.
    pub(crate) fn put_low(&mut self, what: &str, bytes: &[u8], align: u64) -> Result<u64, BootError> {
        let paddr = self.claim_low(what, bytes.len() as u64, align)?;
        self.put(paddr, bytes);
        Ok(paddr)
    }

    /// Writes a string with its terminating zero and says where.
    pub(crate) fn put_string(&mut self, what: &str, string: &str) -> Result<u64, BootError> {
        let mut bytes = string.as_bytes().to_vec();
        bytes.push(0);
        self.put_low(what, &bytes, 16)
    }

    /// Claims the range a kernel must be loaded at.
    pub(crate) fn claim_kernel(&mut self, range: Range<u64>) -> Result<(), BootError> {
        self.space.claim(range.clone()).map_err(|refusal| match refusal {
            Refusal::NotRam if range.end > self.power_on.ram_bytes && range.end <= layout::PCI_HOLE => {
                self.too_little("the kernel", range.end)
            }
            Refusal::NotRam => no_room("the kernel", &range, "there is no RAM: link it to another address"),
            Refusal::Taken => no_room(
                "a part of the kernel",
                &range,
                "another part, or the BIOS data area, is there: link it to another address",
            ),
        })
    }

    /// Loads the segments of an ELF kernel at their physical addresses; returns where the highest ends.
    pub(crate) fn put_elf(&mut self, elf: &Elf<'_>) -> Result<u64, BootError> {
        self.put_elf_moved(elf, 0)
    }

    /// The same with `distance` added to every address, modulo 2^64.
    pub(crate) fn put_elf_moved(&mut self, elf: &Elf<'_>, distance: u64) -> Result<u64, BootError> {
        let mut highest = 0;
        for segment in elf.loads() {
            let contents = elf.contents(segment)?;
            let start = segment.paddr.wrapping_add(distance);
            let end = start
                .checked_add(segment.memory_bytes)
                .ok_or_else(|| elf.malformed(segment, "the segment ends beyond all memory"))?;
            self.claim_kernel(start..end).map_err(|error| match error {
                BootError::NoRoom { advice, .. } => elf
                    .malformed(segment, format!("the segment cannot be at {start:#x} to {end:#x}: {advice}")),
                other => other,
            })?;
            self.put(start, contents);
            highest = highest.max(end);
        }
        Ok(highest)
    }

    /// Loads all initrds, one after the other, each padded with zeros to 4 bytes, as high as possible below
    /// `limit`. `kernel_end` is for the advice about memory.
    pub(crate) fn put_initrds(
        &mut self,
        images: &[LoadedImage<'_>],
        limit: u64,
        kernel_end: u64,
    ) -> Result<Option<Range<u64>>, BootError> {
        let initrds = || images.iter().filter(|loaded| loaded.image.role == Role::Initrd);
        let mut length_bytes = 0_u64;
        for initrd in initrds() {
            length_bytes = length_bytes.next_multiple_of(4) + initrd.bytes.len() as u64;
        }
        if length_bytes == 0 {
            return Ok(None);
        }
        let within = EXTENDED_RAM..limit.min(FOUR_GIB);
        let Some(start) = self.space.claim_highest(length_bytes, PAGE_BYTES, within.clone()) else {
            let needed = kernel_end.next_multiple_of(PAGE_BYTES) + length_bytes.next_multiple_of(PAGE_BYTES);
            return Err(if needed > self.power_on.ram_bytes && needed <= within.end.min(layout::PCI_HOLE) {
                self.too_little("the kernel with its initrd", needed)
            } else {
                BootError::NoRoom {
                    what: "the initrd".to_owned(),
                    length_bytes,
                    start: within.start,
                    end: within.end,
                    advice: "make it smaller",
                }
            });
        };
        let mut at = start;
        for initrd in initrds() {
            at = at.next_multiple_of(4);
            self.put(at, &initrd.bytes);
            at += initrd.bytes.len() as u64;
        }
        Ok(Some(start..at))
    }

    /// Loads all images, in their order, page aligned, from the kernel's end upwards, where small kernels map
    /// them.
    pub(crate) fn put_modules(
        &mut self,
        images: &[LoadedImage<'_>],
        kernel_end: u64,
    ) -> Result<Vec<Range<u64>>, BootError> {
        let mut places = Vec::new();
        let mut end = kernel_end.max(EXTENDED_RAM);
        for loaded in images {
            let length_bytes = loaded.bytes.len() as u64;
            let paddr =
                self.space.claim_lowest(length_bytes, PAGE_BYTES, end..FOUR_GIB).ok_or_else(|| {
                    let needed = end.next_multiple_of(PAGE_BYTES) + length_bytes;
                    self.too_little("the kernel with its modules", needed)
                })?;
            self.put(paddr, &loaded.bytes);
            end = paddr + length_bytes;
            places.push(paddr..end);
        }
        Ok(places)
    }

    /// The highest whole pages of RAM below 4 GiB, for what only 64-bit code uses.
    pub(crate) fn claim_high(&mut self, what: &str, length_bytes: u64) -> Result<u64, BootError> {
        self.claim_high_aligned(what, length_bytes, PAGE_BYTES)
    }

    /// The same at a multiple of `align`, a power of two of at least a page.
    pub(crate) fn claim_high_aligned(
        &mut self,
        what: &str,
        length_bytes: u64,
        align: u64,
    ) -> Result<u64, BootError> {
        let whole = length_bytes.checked_next_multiple_of(PAGE_BYTES);
        whole
            .and_then(|length_bytes| self.space.claim_highest(length_bytes, align, EXTENDED_RAM..FOUR_GIB))
            .ok_or_else(|| BootError::NoRoom {
                what: what.to_owned(),
                length_bytes,
                start: EXTENDED_RAM,
                end: FOUR_GIB,
                advice: "give the guest more memory with -m, or make it smaller",
            })
    }

    /// Loads the segments of an ELF kernel in one piece, at an address of our choice and at the distances
    /// that their virtual addresses have.
    pub(crate) fn put_elf_anywhere(&mut self, elf: &Elf<'_>) -> Result<Placed, BootError> {
        const PLACE_ALIGN: u64 = 2 * MIB;
        let (mut lowest, mut highest) = (u64::MAX, 0);
        for segment in elf.loads() {
            let end = segment
                .vaddr
                .checked_add(segment.memory_bytes)
                .and_then(|end| end.checked_next_multiple_of(PAGE_BYTES))
                .ok_or_else(|| elf.malformed(segment, "the segment ends beyond all memory"))?;
            lowest = lowest.min(segment.vaddr & !(PAGE_BYTES - 1));
            highest = highest.max(end);
        }
        let length_bytes = highest.saturating_sub(lowest);
        let within = EXTENDED_RAM..FOUR_GIB;
        let paddr = self.space.claim_lowest(length_bytes, PLACE_ALIGN, within).ok_or_else(|| {
            self.too_little("the kernel", (PLACE_ALIGN + EXTENDED_RAM).saturating_add(length_bytes))
        })?;
        for segment in elf.loads() {
            self.put(paddr + (segment.vaddr - lowest), elf.contents(segment)?);
        }
        Ok(Placed { paddr, vaddr: lowest, length_bytes })
    }

    /// Reads what was loaded.
    pub(crate) fn get(&self, paddr: u64, into: &mut [u8]) {
        assert!(self.memory.read(paddr, into), "what is loaded at {paddr:#x} is in RAM");
    }

    /// A page for the GDT, and the top of a small stack in the rest of it.
    ///
    /// No protocol here promises a stack. With one, a kernel that pushes before it sets up its own does not
    /// write over something else.
    pub(crate) fn claim_gdt_and_stack(&mut self) -> Result<(u64, u64), BootError> {
        let page = self.claim_low("the GDT", PAGE_BYTES, PAGE_BYTES)?;
        Ok((page, page + PAGE_BYTES))
    }

    /// Writes the GDT that the entry state refers to.
    pub(crate) fn put_gdt(&mut self, entry: &Entry) {
        self.put(entry.gdt.base, &entry.gdt_bytes());
    }

    /// The error that the guest would need memory up to `end`.
    pub(crate) fn too_little(&self, what: &str, end: u64) -> BootError {
        BootError::TooLittleMemory {
            what: what.to_owned(),
            needed_mib: end.checked_next_multiple_of(RAM_STEP_BYTES).unwrap_or(end) / MIB,
            ram_mib: self.power_on.ram_bytes / MIB,
        }
    }
}

fn no_room(what: &str, range: &Range<u64>, advice: &'static str) -> BootError {
    BootError::NoRoom {
        what: what.to_owned(),
        length_bytes: range.end.saturating_sub(range.start),
        start: range.start,
        end: range.end,
        advice,
    }
}
