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
        let mut highest = 0;
        for segment in elf.loads() {
            let contents = elf.contents(segment)?;
            let end = segment
                .paddr
                .checked_add(segment.memory_bytes)
                .ok_or_else(|| elf.malformed(segment, "the segment ends beyond all memory"))?;
            self.claim_kernel(segment.paddr..end).map_err(|error| match error {
                BootError::NoRoom { advice, .. } => elf.malformed(
                    segment,
                    format!("the segment cannot be at {:#x} to {end:#x}: {advice}", segment.paddr),
                ),
                other => other,
            })?;
            self.put(segment.paddr, contents);
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
