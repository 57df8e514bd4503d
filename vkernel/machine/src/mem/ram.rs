//! RAM and the attributes of its pages.
//!
//! RAM is one host allocation, lazily backed (zero pages cost nothing until touched). Physical addresses map
//! to offsets in it around two holes: VGA memory and the PCI hole below 4 GiB.
//!
//! Page attributes steer the slow path of stores: a page enters an engine's write cache only while nothing
//! about it has to be noticed. What must be noticed: the first store in an epoch (digests, checkpoints), a
//! store over decoded code, a store to a page table.

use super::pages::PageMap;
use crate::platform::layout;

/// Bytes in a page.
pub const PAGE_BYTES: usize = 4096;
const CHUNK_SHIFT: u32 = 6;

/// At which level the walker reads a page-table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageTableLevel {
    /// Maps 4 KiB pages, 512 entries to a table.
    Leaf,
    /// Anything else.
    Upper,
}

/// What is known of a page of RAM.
#[derive(Clone, Copy, Debug, Default)]
pub struct Page {
    /// Written in this epoch.
    pub dirty: bool,
    /// Written since its hash was taken, in an epoch that is over.
    pub(super) unhashed: bool,
    /// Written since it was captured, in an epoch that is over.
    pub(super) uncaptured: bool,
    /// Read by the walker as a leaf table since the last eviction.
    pub leaf_table: bool,
    /// Read by the walker as an upper-level table.
    pub upper_table: bool,
    /// Stores noticed since the page became a table.
    pub table_stores: u16,
    /// The 64-byte chunks that decoded code was taken from.
    pub code_chunks: u64,
}

/// Guest RAM with its page attributes.
#[derive(Debug)]
pub struct Memory {
    ram: Vec<u8>,
    pub(super) pages: Vec<Page>,
    low_bytes: u64,
    dirty: Vec<u32>,
    /// The pages whose [`Page::unhashed`] is set.
    pub(super) unhashed: Vec<u32>,
    /// The pages whose [`Page::uncaptured`] is set.
    pub(super) uncaptured: Vec<u32>,
    /// RAM as of the last capture or restoration; see `capture.rs`.
    pub(super) captured: PageMap,
    /// Hash of each page as of the last digest; see `digest.rs`.
    pub(super) page_hashes: Vec<u128>,
    /// Sum of `page_hashes`.
    pub(super) hash_sum: u128,
}

impl Memory {
    /// Writes to every page what it holds already, so that the host backs it.
    pub fn prefault(&mut self) {
        for page in self.ram.chunks_mut(PAGE_BYTES) {
            page[0] = std::hint::black_box(page[0]);
        }
    }

    /// Whether the host gives an allocation as large as RAM of `bytes` and what is kept of its pages. Asked first,
    /// because a zeroed allocation that fails ends the process.
    #[must_use]
    pub fn can_be_had(bytes: u64) -> bool {
        let per_page = PAGE_BYTES + size_of::<Page>() + size_of::<u128>();
        let wanted = usize::try_from(bytes / PAGE_BYTES as u64).ok().and_then(|n| n.checked_mul(per_page));
        wanted.is_some_and(|wanted| Vec::<u8>::new().try_reserve_exact(wanted).is_ok())
    }

    /// Zeroed RAM of `bytes`, which must be a multiple of the page size.
    ///
    /// # Panics
    /// When `bytes` is not a multiple of 4096: the command line checks it.
    #[must_use]
    pub fn new(bytes: u64) -> Memory {
        assert_eq!(bytes % PAGE_BYTES as u64, 0, "RAM is a whole number of pages");
        let pages = (bytes as usize) / PAGE_BYTES;
        Memory {
            ram: vec![0; bytes as usize],
            pages: vec![Page::default(); pages],
            low_bytes: bytes.min(layout::PCI_HOLE),
            dirty: Vec::new(),
            unhashed: Vec::new(),
            uncaptured: Vec::new(),
            captured: PageMap::default(),
            page_hashes: vec![0; pages],
            hash_sum: 0,
        }
    }

    /// RAM in bytes.
    #[must_use]
    pub fn length_bytes(&self) -> u64 {
        self.ram.len() as u64
    }

    /// Where in RAM `paddr` lies, or `None` if it is no RAM.
    #[inline]
    #[must_use]
    pub fn offset(&self, paddr: u64) -> Option<usize> {
        if paddr < self.low_bytes {
            (!layout::VGA_MEMORY.contains(&paddr)).then_some(paddr as usize)
        } else {
            let offset = paddr.checked_sub(layout::HIGH_RAM)?.checked_add(self.low_bytes)?;
            (offset < self.ram.len() as u64).then_some(offset as usize)
        }
    }

    /// The physical address of page number `page` of RAM: the inverse of [`Memory::offset`].
    #[must_use]
    pub fn page_paddr(&self, page: usize) -> u64 {
        let offset = (page * PAGE_BYTES) as u64;
        if offset < self.low_bytes { offset } else { offset - self.low_bytes + layout::HIGH_RAM }
    }

    /// All of RAM, by offset.
    #[inline]
    #[must_use]
    pub fn ram(&self) -> &[u8] {
        &self.ram
    }

    /// RAM for stores that need no noticing: only for a page that [`Memory::is_plain`] just called plain.
    #[inline]
    pub fn ram_mut(&mut self) -> &mut [u8] {
        &mut self.ram
    }

    /// The page at a RAM offset.
    #[inline]
    #[must_use]
    pub fn page(&self, offset: usize) -> &Page {
        &self.pages[offset / PAGE_BYTES]
    }

    pub(crate) fn page_mut(&mut self, offset: usize) -> &mut Page {
        &mut self.pages[offset / PAGE_BYTES]
    }

    /// Whether a page is known to hold only zeros, without a look at it: the host need not back a page for that.
    #[must_use]
    pub fn is_blank(&self, page: usize) -> bool {
        let attributes = &self.pages[page];
        !attributes.dirty && !attributes.unhashed && self.page_hashes[page] == 0
    }

    /// Whether a store to this page needs no noticing.
    #[inline]
    #[must_use]
    pub fn is_plain(&self, offset: usize) -> bool {
        let page = self.page(offset);
        page.dirty && !page.leaf_table && !page.upper_table && page.code_chunks == 0
    }

    /// Notes that a page is about to be written in this epoch.
    #[inline]
    pub fn mark_dirty(&mut self, offset: usize) {
        let index = offset / PAGE_BYTES;
        if !self.pages[index].dirty {
            self.pages[index].dirty = true;
            self.dirty.push(index as u32);
        }
    }

    /// Ends the epoch: every page is clean again, and those written in it wait to be hashed and captured.
    pub fn end_epoch(&mut self) {
        for index in std::mem::take(&mut self.dirty) {
            let page = &mut self.pages[index as usize];
            page.dirty = false;
            if !std::mem::replace(&mut page.unhashed, true) {
                self.unhashed.push(index);
            }
            if !std::mem::replace(&mut page.uncaptured, true) {
                self.uncaptured.push(index);
            }
        }
    }

    /// The pages written in this epoch so far.
    #[must_use]
    pub fn dirty_pages(&self) -> &[u32] {
        &self.dirty
    }

    /// Notes that `length` bytes at `offset` (within one page) were decoded as code.
    pub fn mark_code(&mut self, offset: usize, length: usize) {
        let mask = chunk_mask(offset % PAGE_BYTES, length);
        self.page_mut(offset).code_chunks |= mask;
    }

    /// Whether a store of `length` bytes at `offset` (within one page) touches decoded code.
    #[must_use]
    pub fn hits_code(&self, offset: usize, length: usize) -> bool {
        let chunks = self.page(offset).code_chunks;
        chunks != 0 && chunks & chunk_mask(offset % PAGE_BYTES, length) != 0
    }

    /// Notes that no decoded code is left on the page.
    pub fn forget_code(&mut self, offset: usize) {
        self.page_mut(offset).code_chunks = 0;
    }

    /// Drops everything that is known of page tables and code: the caches built on it are empty.
    pub fn forget_attributes(&mut self) {
        for page in &mut self.pages {
            page.leaf_table = false;
            page.upper_table = false;
            page.code_chunks = 0;
        }
    }

    /// Copies out of RAM. False, and nothing read, if any byte is no RAM.
    #[must_use]
    pub fn read(&self, paddr: u64, into: &mut [u8]) -> bool {
        let Some(offset) = self.span(paddr, into.len()) else { return false };
        into.copy_from_slice(&self.ram[offset..offset + into.len()]);
        true
    }

    /// The RAM offset of a range, if all of it is RAM and contiguous there.
    fn span(&self, paddr: u64, length: usize) -> Option<usize> {
        let start = self.offset(paddr)?;
        if length == 0 {
            return Some(start);
        }
        let last = paddr.checked_add(length as u64 - 1)?;
        let crosses_vga = paddr < layout::VGA_MEMORY.start && last >= layout::VGA_MEMORY.start;
        let end = self.offset(last)?;
        (!crosses_vga && end - start == length - 1).then_some(start)
    }

    /// Copies into RAM before the machine starts, or for DMA with no translation caches in between. False,
    /// and nothing written, if any byte is no RAM.
    #[must_use]
    pub fn write(&mut self, paddr: u64, bytes: &[u8]) -> bool {
        let Some(offset) = self.span(paddr, bytes.len()) else { return false };
        let mut at = offset & !(PAGE_BYTES - 1);
        while at < offset + bytes.len() {
            self.mark_dirty(at);
            at += PAGE_BYTES;
        }
        self.ram[offset..offset + bytes.len()].copy_from_slice(bytes);
        true
    }
}

/// The chunks that a range within a page covers.
fn chunk_mask(in_page: usize, length: usize) -> u64 {
    let first = in_page >> CHUNK_SHIFT;
    let last = ((in_page + length.max(1) - 1) >> CHUNK_SHIFT).min(63);
    (u64::MAX >> (63 - (last - first))) << first
}

impl crate::boot::GuestMemory for Memory {
    fn write(&mut self, paddr: u64, bytes: &[u8]) -> bool {
        Memory::write(self, paddr, bytes)
    }

    fn read(&self, paddr: u64, into: &mut [u8]) -> bool {
        Memory::read(self, paddr, into)
    }
}
