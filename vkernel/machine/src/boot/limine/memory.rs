//! The memory map that a Limine kernel is told, and the page tables it is entered with.
//!
//! Both follow from one book: what the loader claimed is the kernel with its modules, the framebuffer, or else
//! reclaimable; the rest of RAM is usable. By base revision the direct map covers the first 4 GiB and all
//! regions (0), the same without reserved regions above (1, 2), or only what is memory to the kernel (3).

use super::{HHDM, Loaded};
use crate::boot::BootError;
use crate::boot::elf::Elf;
use crate::boot::loader::{FOUR_GIB, Loader, PAGE_BYTES};
use crate::boot::page_tables::{Access, PageTables};
use crate::platform::memory_map::RAM;
use std::ops::Range;

pub(super) const LARGE_PAGE_BYTES: u64 = 2 << 20;
/// Responses have this much, and more for each image.
const RESPONSE_BYTES: u64 = 32 << 10;
const RESPONSE_BYTES_PER_IMAGE: u64 = 256;
/// Page tables for 4 GiB twice, the kernel by 4 KiB pages, and what is above 4 GiB.
const TABLE_PAGES: u64 = 32;

pub(super) const USABLE: u64 = 0;
pub(super) const RESERVED: u64 = 1;
pub(super) const RECLAIMABLE: u64 = 5;
pub(super) const KERNEL_AND_MODULES: u64 = 6;
pub(super) const FRAMEBUFFER: u64 = 7;

/// A region of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) range: Range<u64>,
    pub(super) kind: u64,
}

/// The memory map, and the places that were kept for what is written after it was drawn up.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) regions: Vec<Region>,
    /// Where the responses go.
    pub(super) responses: Range<u64>,
    /// Where the page tables go.
    tables: Range<u64>,
}

impl Layout {
    /// Claims what is still to be claimed, and draws up the map.
    pub(super) fn new(loader: &mut Loader<'_>, loaded: &Loaded) -> Result<Layout, BootError> {
        let boot = &loader.power_on.boot;
        let strings: usize =
            boot.images.iter().map(|image| image.name.len() + image.command_line.len()).sum();
        let response_bytes = RESPONSE_BYTES
            + boot.images.len() as u64 * RESPONSE_BYTES_PER_IMAGE
            + (2 * boot.command_line.len() + strings) as u64;
        let responses = claim(loader, "the responses", response_bytes)?;
        let high_bytes = loader
            .memory_map
            .last()
            .map_or(0, |last| (last.start + last.length_bytes).saturating_sub(FOUR_GIB));
        let kernel_tables = loaded.placed.length_bytes.div_ceil(LARGE_PAGE_BYTES);
        let pages = TABLE_PAGES + kernel_tables + 4 * high_bytes.div_ceil(1 << 30);
        let tables = claim(loader, "the page tables", pages * PAGE_BYTES)?;
        let mut layout = Layout { regions: Vec::new(), responses, tables };
        layout.draw(loader, loaded);
        Ok(layout)
    }

    fn draw(&mut self, loader: &Loader<'_>, loaded: &Loaded) {
        let whole_pages = |ranges: &[Range<u64>]| -> Vec<Range<u64>> {
            // Memory below 4 KiB is never usable.
            let inner = ranges.iter().map(|range| {
                let start = range.start.max(PAGE_BYTES).next_multiple_of(PAGE_BYTES);
                start..range.end & !(PAGE_BYTES - 1)
            });
            inner.filter(|range| !range.is_empty()).collect()
        };
        let up = |range: &Range<u64>| range.start..range.end.next_multiple_of(PAGE_BYTES);
        let placed = loaded.placed;
        let image = placed.paddr..placed.paddr + placed.length_bytes;
        let mut kernel: Vec<_> = std::iter::once(image).collect();
        kernel.extend(loaded.kernel_file.iter().chain(&loaded.modules).map(up));
        kernel.retain(|range| !range.is_empty());
        let framebuffer: Vec<_> = loaded.framebuffer.iter().map(up).collect();
        let usable = whole_pages(loader.space.free());
        let taken = [&usable[..], &kernel, &framebuffer].concat();
        let reclaimable = subtract(whole_pages(loader.space.ram()), &taken);
        let mut add = |ranges: Vec<Range<u64>>, kind| {
            self.regions.extend(ranges.into_iter().map(|range| Region { range, kind }));
        };
        add(usable, USABLE);
        add(reclaimable, RECLAIMABLE);
        add(kernel, KERNEL_AND_MODULES);
        add(framebuffer, FRAMEBUFFER);
        let others = loader.memory_map.iter().filter(|region| region.kind != RAM);
        add(others.map(|region| region.start..region.start + region.length_bytes).collect(), RESERVED);
        self.regions.sort_by_key(|region| region.range.start);
    }

    /// What the direct map covers, without the framebuffer, in whole pages.
    fn direct(&self, revision: u64) -> Vec<Range<u64>> {
        let is_mapped = |region: &&Region| match revision {
            0 => true,
            1 | 2 => region.kind != RESERVED,
            _ => matches!(region.kind, USABLE | RECLAIMABLE | KERNEL_AND_MODULES),
        };
        let first: Vec<_> = (revision < 3).then_some(0..FOUR_GIB).into_iter().collect();
        let mut ranges = first.clone();
        for region in self.regions.iter().filter(is_mapped) {
            let range = region.range.start & !(PAGE_BYTES - 1)..region.range.end.next_multiple_of(PAGE_BYTES);
            ranges.extend(subtract(std::iter::once(range).collect(), &first));
        }
        let framebuffer: Vec<_> = self
            .regions
            .iter()
            .filter(|region| region.kind == FRAMEBUFFER)
            .map(|region| region.range.clone())
            .collect();
        join(subtract(ranges, &framebuffer))
    }

    /// Builds the page tables; returns the root.
    pub(super) fn put_page_tables(
        &self,
        loader: &mut Loader<'_>,
        elf: &Elf<'_>,
        loaded: &Loaded,
    ) -> Result<u64, BootError> {
        let mut tables = PageTables::within(loader, self.tables.clone())?;
        for range in self.direct(loaded.revision) {
            let length_bytes = range.end - range.start;
            tables.map(loader, HHDM + range.start, range.start, length_bytes, Access::ALL)?;
            if loaded.revision == 0 {
                // The first page is left out: a null pointer faults.
                let start = range.start.max(PAGE_BYTES);
                tables.map(loader, start, start, range.end - start, Access::ALL)?;
            }
        }
        if let Some(range) = &loaded.framebuffer {
            let access = Access { is_combining: true, ..Access::ALL };
            let length_bytes = range.end - range.start;
            tables.map(loader, HHDM + range.start, range.start, length_bytes, access)?;
            if loaded.revision == 0 {
                tables.map(loader, range.start, range.start, length_bytes, access)?;
            }
        }
        for segment in elf.loads() {
            let start = segment.vaddr & !(PAGE_BYTES - 1);
            let length_bytes = (segment.vaddr - start + segment.memory_bytes).next_multiple_of(PAGE_BYTES);
            let paddr = loaded.placed.paddr + (start - loaded.placed.vaddr);
            let access = Access {
                is_writable: segment.is_writable(),
                is_executable: segment.is_executable(),
                is_combining: false,
            };
            tables.map(loader, start, paddr, length_bytes, access)?;
        }
        Ok(tables.put(loader))
    }
}

fn claim(loader: &mut Loader<'_>, what: &str, length_bytes: u64) -> Result<Range<u64>, BootError> {
    let length_bytes = length_bytes.next_multiple_of(PAGE_BYTES);
    let start = loader.claim_high(what, length_bytes)?;
    Ok(start..start + length_bytes)
}

/// What is in `ranges` and not in `taken`.
fn subtract(ranges: Vec<Range<u64>>, taken: &[Range<u64>]) -> Vec<Range<u64>> {
    taken.iter().fold(ranges, |ranges, taken| {
        let parts = ranges.into_iter().flat_map(|range| {
            [range.start..range.end.min(taken.start), range.start.max(taken.end)..range.end]
        });
        parts.filter(|range| !range.is_empty()).collect()
    })
}

/// The same ranges with those that touch made one, so that large pages fit.
fn join(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}
