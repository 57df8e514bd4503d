//! Translation caches, kept coherent with the page tables.
//!
//! A real processor may keep stale translations; whether it does is visible in accessed and dirty bits. Ours
//! never does, so that engines, cache sizes and restores from a checkpoint cannot differ: an entry exists
//! only while the page table still says the same with A set (and D set, for writing). See
//! docs/determinism.md. Permission is by absence: a page whose stores must be noticed has no write entry, a
//! device page has no entry at all.
//!
//! Direct-mapped; the index holds the low 9 bits of the page number, so that a store to entry i of a leaf
//! table can evict all that may derive from it without knowing where the table is mapped.

use crate::mem::PAGE_BYTES;

/// Slots for the lower and upper half of the address space each.
const HALF_SLOTS: usize = 512;
const SLOTS: usize = 2 * HALF_SLOTS;
const PAGE_MASK: u64 = !(PAGE_BYTES as u64 - 1);
/// No page starts at an odd address.
const EMPTY: u64 = 1;

/// One translation: guest page to RAM page.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Linear address of the page, or [`EMPTY`].
    page: u64,
    /// RAM offset of the page.
    offset: usize,
}

const NO_ENTRY: Entry = Entry { page: EMPTY, offset: 0 };

/// What a translation allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Data reads.
    Read = 0,
    /// Stores that need no noticing.
    Write = 1,
    /// Instruction fetches.
    Fetch = 2,
}

/// The translations of one vCPU: for supervisor and user accesses, by kind.
#[derive(Clone, Debug)]
pub struct Tlb {
    entries: Box<[[[Entry; SLOTS]; 3]; 2]>,
    /// Some upper-half entry is not global and must go when CR3 is loaded.
    upper_not_global: bool,
    /// Insertions since everything was emptied: no fewer than there are entries.
    inserted: usize,
    /// Entries kept at most.
    limit: usize,
}

impl Default for Tlb {
    fn default() -> Tlb {
        Tlb {
            entries: Box::new([[[NO_ENTRY; SLOTS]; 3]; 2]),
            upper_not_global: false,
            inserted: 0,
            limit: usize::MAX,
        }
    }
}

#[inline]
fn slot(laddr: u64) -> usize {
    let upper = (laddr >> 63) as usize * HALF_SLOTS;
    upper | (laddr >> 12) as usize & (HALF_SLOTS - 1)
}

impl Tlb {
    /// The RAM offset of `length` bytes (1 to 4096) at `laddr`, if cached and within one page.
    #[inline]
    #[must_use]
    pub fn lookup(&self, kind: Kind, user: bool, laddr: u64, length: usize) -> Option<usize> {
        let entry = &self.entries[usize::from(user)][kind as usize][slot(laddr)];
        // Compared with the page of the last byte: if that is another page than the first byte's, its number
        // differs in the bits that chose the slot, so it cannot be the page that is there.
        let last = laddr.wrapping_add(length as u64 - 1);
        (entry.page == last & PAGE_MASK).then_some(entry.offset + (laddr as usize & (PAGE_BYTES - 1)))
    }

    /// Caches that the page of `laddr` lies at RAM offset `offset`.
    pub fn insert(&mut self, kind: Kind, user: bool, laddr: u64, offset: usize, global: bool) {
        if self.inserted >= self.limit {
            self.evict_all();
        }
        self.inserted += 1;
        let entry = &mut self.entries[usize::from(user)][kind as usize][slot(laddr)];
        *entry = Entry { page: laddr & PAGE_MASK, offset: offset & !(PAGE_BYTES - 1) };
        self.upper_not_global |= !global && laddr >> 63 != 0;
    }

    /// Empties everything.
    pub fn evict_all(&mut self) {
        self.entries.iter_mut().flatten().for_each(|entries| entries.fill(NO_ENTRY));
        self.upper_not_global = false;
        self.inserted = 0;
    }

    /// CR3 was loaded: empties all but global translations of the upper half.
    pub fn evict_not_global(&mut self) {
        if self.upper_not_global {
            return self.evict_all();
        }
        self.entries.iter_mut().flatten().for_each(|entries| entries[..HALF_SLOTS].fill(NO_ENTRY));
    }

    /// INVLPG.
    pub fn evict_page(&mut self, laddr: u64) {
        self.entries.iter_mut().flatten().for_each(|entries| entries[slot(laddr)] = NO_ENTRY);
    }

    fn evict_leaf(&mut self, index: usize) {
        for entries in self.entries.iter_mut().flatten() {
            entries[index] = NO_ENTRY;
            entries[index + HALF_SLOTS] = NO_ENTRY;
        }
    }

    fn evict_writable(&mut self) {
        self.entries.iter_mut().for_each(|mode| mode[Kind::Write as usize].fill(NO_ENTRY));
    }

    fn evict_writable_frame(&mut self, offset: usize) {
        for mode in self.entries.iter_mut() {
            for entry in &mut mode[Kind::Write as usize] {
                if entry.page != EMPTY && entry.offset == offset & !(PAGE_BYTES - 1) {
                    *entry = NO_ENTRY;
                }
            }
        }
    }
}

/// The translations of all vCPUs, the running one's at hand.
#[derive(Debug)]
pub struct Tlbs {
    /// Those of the vCPU that runs.
    pub current: Tlb,
    /// Those of the others; the place of the running one holds a spare.
    parked: Vec<Tlb>,
    running: usize,
}

impl Tlbs {
    /// Empty caches for `vcpus` vCPUs; the first runs.
    #[must_use]
    pub fn new(vcpus: usize) -> Tlbs {
        Tlbs { current: Tlb::default(), parked: vec![Tlb::default(); vcpus], running: 0 }
    }

    /// `vcpu` runs from now on.
    pub fn switch(&mut self, vcpu: usize) {
        if vcpu != self.running {
            std::mem::swap(&mut self.current, &mut self.parked[self.running]);
            std::mem::swap(&mut self.current, &mut self.parked[vcpu]);
            self.running = vcpu;
        }
    }

    fn each(&mut self, mut evict: impl FnMut(&mut Tlb)) {
        evict(&mut self.current);
        let running = self.running;
        self.parked
            .iter_mut()
            .enumerate()
            .filter(|(vcpu, _)| *vcpu != running)
            .for_each(|(_, tlb)| evict(tlb));
    }

    /// Keeps at most so many translations of each vCPU from now on.
    pub fn keep_at_most(&mut self, translations: usize) {
        let keep = |tlb: &mut Tlb| {
            tlb.evict_all();
            tlb.limit = translations;
        };
        // The spare too: `switch` moves it.
        self.parked.iter_mut().chain([&mut self.current]).for_each(keep);
    }

    /// How many are kept at most.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.current.limit
    }

    /// Empties all caches of all vCPUs.
    pub fn evict_all(&mut self) {
        self.each(Tlb::evict_all);
    }

    /// Entry `index` of some leaf table changed.
    pub fn evict_leaf(&mut self, index: usize) {
        self.each(|tlb| tlb.evict_leaf(index));
    }

    /// Every store must be noticed again.
    pub fn evict_writable(&mut self) {
        self.each(Tlb::evict_writable);
    }

    /// Stores to the RAM page at `offset` must be noticed again.
    pub fn evict_writable_frame(&mut self, offset: usize) {
        self.each(|tlb| tlb.evict_writable_frame(offset));
    }
}
