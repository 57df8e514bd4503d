//! Four-level page tables for the kernels that are entered in long mode where they were linked (SDM volume 3,
//! 4.5): 4 KiB and 2 MiB pages, whichever fit.
//!
//! Tables are built here and written into the guest at the end. What they need is bounded by the RAM that is
//! mapped, never by a number of the image, because nothing is mapped that was not claimed before.

use super::BootError;
use super::loader::{Loader, PAGE_BYTES};
use std::collections::BTreeMap;
use std::ops::Range;

const LARGE_PAGE_BYTES: u64 = 2 << 20;
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const WRITE_THROUGH: u64 = 1 << 3;
const LARGE: u64 = 1 << 7;
const PAT_OF_PAGE: u64 = 1 << 7;
const PAT_OF_LARGE_PAGE: u64 = 1 << 12;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const ENTRIES: usize = 512;

/// What a mapping allows and how it is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) is_writable: bool,
    pub(crate) is_executable: bool,
    /// By entry 5 of the PAT (write-combining for Limine) rather than entry 0 (write-back).
    pub(crate) is_combining: bool,
}

impl Access {
    /// Everything, write-back.
    pub(crate) const ALL: Access = Access { is_writable: true, is_executable: true, is_combining: false };

    fn bits(self, pat: u64) -> u64 {
        let set = |condition, bits| if condition { bits } else { 0 };
        PRESENT
            | set(self.is_writable, WRITABLE)
            | set(!self.is_executable, NO_EXECUTE)
            | set(self.is_combining, pat | WRITE_THROUGH)
    }
}

/// Page tables being built.
#[derive(Debug)]
pub(crate) struct PageTables {
    root: u64,
    /// Claimed pages that no table uses yet. Without any, pages are claimed one by one.
    kept: Range<u64>,
    /// Whether the kept pages must do, because the memory map is drawn up already.
    is_bounded: bool,
    tables: BTreeMap<u64, Box<[u64; ENTRIES]>>,
}

impl PageTables {
    /// Tables that map nothing. With no-execute entries EFER.NXE must be on.
    pub(crate) fn new(loader: &mut Loader<'_>) -> Result<PageTables, BootError> {
        PageTables::within(loader, 0..0)
    }

    /// The same in pages that were claimed before.
    pub(crate) fn within(loader: &mut Loader<'_>, kept: Range<u64>) -> Result<PageTables, BootError> {
        let mut tables = PageTables { root: 0, is_bounded: !kept.is_empty(), kept, tables: BTreeMap::new() };
        tables.root = tables.new_table(loader)?;
        Ok(tables)
    }

    /// Maps whole pages. Where a page is mapped already: to the same address, it allows what either allows,
    /// and to another one it stays as it is, so that what is mapped first goes first.
    pub(crate) fn map(
        &mut self,
        loader: &mut Loader<'_>,
        vaddr: u64,
        paddr: u64,
        length_bytes: u64,
        access: Access,
    ) -> Result<(), BootError> {
        let mut done = 0;
        while done < length_bytes {
            let (at, target) = (vaddr + done, paddr + done);
            let directory = self.directory(loader, at)?;
            let index = (at >> 21) as usize % ENTRIES;
            let entry = self.tables[&directory][index];
            let fits =
                (at | target).is_multiple_of(LARGE_PAGE_BYTES) && length_bytes - done >= LARGE_PAGE_BYTES;
            if fits && (entry == 0 || entry & LARGE != 0) {
                if entry == 0 {
                    self.set(directory, index, target | LARGE | access.bits(PAT_OF_LARGE_PAGE));
                }
                done += LARGE_PAGE_BYTES;
                continue;
            }
            if entry & LARGE == 0 {
                self.map_page(loader, directory, at, target, access)?;
            }
            done += PAGE_BYTES;
        }
        Ok(())
    }

    fn map_page(
        &mut self,
        loader: &mut Loader<'_>,
        directory: u64,
        at: u64,
        target: u64,
        access: Access,
    ) -> Result<(), BootError> {
        let table = self.next(loader, directory, (at >> 21) as usize % ENTRIES)?;
        let index = (at >> 12) as usize % ENTRIES;
        let old = self.tables[&table][index];
        let new = target | access.bits(PAT_OF_PAGE);
        if old == 0 {
            self.set(table, index, new);
        } else if old & ADDRESS == target {
            let both = (old & new & NO_EXECUTE) | ((old | new) & !NO_EXECUTE);
            self.set(table, index, both);
        }
        Ok(())
    }

    /// Writes all tables; returns the root's address, for CR3.
    pub(crate) fn put(self, loader: &mut Loader<'_>) -> u64 {
        for (paddr, table) in &self.tables {
            let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
            loader.put(*paddr, &bytes);
        }
        self.root
    }

    /// The page directory that covers an address.
    fn directory(&mut self, loader: &mut Loader<'_>, vaddr: u64) -> Result<u64, BootError> {
        let pointers = self.next(loader, self.root, (vaddr >> 39) as usize % ENTRIES)?;
        self.next(loader, pointers, (vaddr >> 30) as usize % ENTRIES)
    }

    /// The table that an entry points to, made if there is none.
    fn next(&mut self, loader: &mut Loader<'_>, table: u64, index: usize) -> Result<u64, BootError> {
        let entry = self.tables[&table][index];
        if entry != 0 {
            return Ok(entry & ADDRESS);
        }
        let next = self.new_table(loader)?;
        self.set(table, index, next | PRESENT | WRITABLE);
        Ok(next)
    }

    fn new_table(&mut self, loader: &mut Loader<'_>) -> Result<u64, BootError> {
        assert!(!self.is_bounded || !self.kept.is_empty(), "enough pages were kept for the page tables");
        let paddr = if self.kept.is_empty() {
            loader.claim_high("the page tables", PAGE_BYTES)?
        } else {
            let paddr = self.kept.start;
            self.kept.start += PAGE_BYTES;
            paddr
        };
        self.tables.insert(paddr, Box::new([0; ENTRIES]));
        Ok(paddr)
    }

    fn set(&mut self, table: u64, index: usize, entry: u64) {
        self.tables.get_mut(&table).expect("a table of ours")[index] = entry;
    }
}
