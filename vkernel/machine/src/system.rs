//! What all vCPUs share: memory with its translation caches, the platform, time.
//!
//! The one rule of this file: every store to guest RAM, by a processor, the page walker, a device or a
//! debugger, goes through [`System::store_phys`] (or through a write translation that `store_phys` itself
//! would not notice), so that digests, decoded code and translations always agree with RAM.

use crate::clock::Clock;
use crate::engine::Scratch;
use crate::mem::{Memory, PAGE_BYTES, PageMap, PageTableLevel};
use crate::platform::Access;
use crate::platform::board::Platform;
use crate::stop::Stops;
use crate::tlb::Tlbs;
use boundary::{PowerOn, Rules, VirtualTime};

/// After so many stores to one page table it is cheaper to evict everything once than to go on noticing.
const MANY_TABLE_STORES: u16 = 1024;

/// Why an engine returns to the schedule before its budget is used up. Several can hold at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leave {
    /// Interrupt state, timers or time changed: look again.
    pub recheck: bool,
    /// The vCPU halted or shut down.
    pub stopped: bool,
    /// A PAUSE.
    pub paused: bool,
}

impl Leave {
    /// Whether there is any reason.
    #[inline]
    #[must_use]
    pub fn any(&self) -> bool {
        self.recheck | self.stopped | self.paused
    }
}

/// Everything of the machine that is not a vCPU.
#[derive(Debug)]
pub struct System {
    /// RAM.
    pub mem: Memory,
    /// Devices and interrupt controllers.
    pub platform: Platform,
    /// Guest time.
    pub clock: Clock,
    /// Counts retired so far. Engines keep it exact whenever anything outside them can look.
    pub icount: u64,
    /// Address of the page fault being raised; delivery copies it to CR2.
    pub fault_vaddr: u64,
    /// Set during an instruction that wants the engine to return after it.
    pub leave: Leave,
    /// Translation caches of all vCPUs.
    pub tlbs: Tlbs,
    /// What the engine keeps while it executes.
    pub scratch: Scratch,
    /// What to stop at, and what of it was met.
    pub stops: Stops,
    /// RAM offsets of pages whose decoded code was overwritten; the engine drops it and forgets them.
    pub stale_code: Vec<usize>,
    /// The description the machine was built from.
    pub power_on: PowerOn,
    /// Faults of the triple fault that ended the machine, if one did.
    pub triple_fault: Option<boundary::TripleFault>,
}

impl System {
    /// The system at power-on, RAM empty.
    #[must_use]
    pub fn new(power_on: &PowerOn) -> System {
        System {
            mem: Memory::new(power_on.ram_bytes),
            platform: Platform::new(power_on),
            clock: Clock::default(),
            icount: 0,
            fault_vaddr: 0,
            leave: Leave::default(),
            tlbs: Tlbs::new(usize::from(power_on.topology.vcpus)),
            scratch: Scratch::default(),
            stops: Stops::default(),
            stale_code: Vec::new(),
            power_on: power_on.clone(),
            triple_fault: None,
        }
    }

    /// Guest time now.
    #[inline]
    #[must_use]
    pub fn now(&self) -> VirtualTime {
        self.clock.at(self.icount)
    }

    /// The rules of time.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.power_on.rules
    }

    fn access(&self, vcpu: u8) -> Access {
        Access { vcpu, now: self.now() }
    }

    /// Charges fixed guest time for something slower than an instruction, and has the schedule look at the
    /// timers again.
    pub fn charge(&mut self, extra_ns: u32) {
        self.clock.charge(self.icount, u64::from(extra_ns));
        self.leave.recheck = true;
    }

    /// IN. `size` is 1, 2 or 4.
    pub fn port_read(&mut self, vcpu: u8, port: u16, size: u8) -> u32 {
        let value = self.platform.port_read(self.access(vcpu), port, size);
        self.stops.port(port, false, value);
        self.charge(self.power_on.rules.port_ns);
        value
    }

    /// OUT. `size` is 1, 2 or 4.
    pub fn port_write(&mut self, vcpu: u8, port: u16, size: u8, value: u32) {
        self.platform.port_write(self.access(vcpu), port, size, value);
        self.stops.port(port, true, value);
        self.charge(self.power_on.rules.port_ns);
    }

    /// Reads `into.len()` bytes (at most 16) at a physical address within one page: RAM, device or nothing.
    pub fn load_phys(&mut self, vcpu: u8, paddr: u64, into: &mut [u8]) {
        debug_assert!((paddr as usize % PAGE_BYTES) + into.len() <= PAGE_BYTES);
        if let Some(offset) = self.mem.offset(paddr) {
            into.copy_from_slice(&self.mem.ram()[offset..offset + into.len()]);
            return;
        }
        for_each_access(paddr, into.len(), |at, range| {
            let size = range.len();
            let access = self.access(vcpu);
            let value = self.platform.mmio_read(access, at, size as u8);
            into[range].copy_from_slice(&value.to_le_bytes()[..size]);
            self.charge(self.power_on.rules.mmio_ns);
        });
    }

    /// Writes `bytes` (at most 16) at a physical address within one page: RAM, device or nothing.
    #[inline]
    pub fn store_phys(&mut self, vcpu: u8, paddr: u64, bytes: &[u8]) {
        debug_assert!((paddr as usize % PAGE_BYTES) + bytes.len() <= PAGE_BYTES);
        match self.mem.offset(paddr) {
            Some(offset) => {
                if !self.mem.is_plain(offset) {
                    self.notice_store(offset, bytes);
                }
                self.mem.ram_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            None => self.store_device(vcpu, paddr, bytes),
        }
    }

    fn store_device(&mut self, vcpu: u8, paddr: u64, bytes: &[u8]) {
        for_each_access(paddr, bytes.len(), |at, range| {
            let mut value = [0; 8];
            value[..range.len()].copy_from_slice(&bytes[range.clone()]);
            let access = self.access(vcpu);
            self.platform.mmio_write(access, at, range.len() as u8, u64::from_le_bytes(value));
            self.charge(self.power_on.rules.mmio_ns);
        });
    }

    /// Everything that must happen before a store to a page that is not plain.
    #[cold]
    fn notice_store(&mut self, offset: usize, bytes: &[u8]) {
        self.mem.mark_dirty(offset);
        let page = *self.mem.page(offset);
        if page.upper_table || page.leaf_table {
            self.notice_table_store(offset, bytes);
        }
        if self.mem.hits_code(offset, bytes.len()) {
            self.drop_code(offset);
        }
    }

    /// The decoded code of a page is stale; the engine must not go on with it.
    fn drop_code(&mut self, offset: usize) {
        self.mem.forget_code(offset);
        self.stale_code.push(offset & !(PAGE_BYTES - 1));
        self.leave.recheck = true;
    }

    /// Evicts the translations that may derive from the entries being overwritten. An entry whose old value
    /// lacks P or A was never installed anywhere, so overwriting it evicts nothing.
    fn notice_table_store(&mut self, offset: usize, bytes: &[u8]) {
        let (first, last) = (offset & !7, (offset + bytes.len() - 1) & !7);
        for entry_offset in (first..=last).step_by(8) {
            let mut entry = [0; 8];
            entry.copy_from_slice(&self.mem.ram()[entry_offset..entry_offset + 8]);
            let old = u64::from_le_bytes(entry);
            // In legacy paging the eight bytes are two entries; either may be live.
            let live = old & 0x21 == 0x21 || old >> 32 & 0x21 == 0x21;
            if live {
                // The instruction being executed may have moved the code that follows it.
                self.leave.recheck = true;
                if self.mem.page(offset).upper_table {
                    return self.retire_table(offset);
                }
                self.tlbs.evict_leaf((entry_offset / 8) & 511);
            }
        }
        let page = self.mem.page_mut(offset);
        page.table_stores += 1;
        if page.table_stores == MANY_TABLE_STORES {
            self.retire_table(offset);
        }
    }

    /// Evicts everything, so that nothing derives from the table at `offset` and stores to it need no
    /// noticing until the walker reads it again. It may long have ceased to be a table.
    fn retire_table(&mut self, offset: usize) {
        self.tlbs.evict_all();
        let page = self.mem.page_mut(offset);
        page.upper_table = false;
        page.leaf_table = false;
        page.table_stores = 0;
    }

    /// Reads a page-table entry for the walker and marks its page. Outside RAM there is no entry (0).
    pub fn read_page_table(&mut self, paddr: u64, entry_bytes: u8, level: PageTableLevel) -> u64 {
        let Some(offset) = self.mem.offset(paddr) else { return 0 };
        let mut entry = [0; 8];
        entry[..usize::from(entry_bytes)]
            .copy_from_slice(&self.mem.ram()[offset..offset + usize::from(entry_bytes)]);
        let page = self.mem.page(offset);
        let marked = match level {
            PageTableLevel::Leaf => page.leaf_table,
            PageTableLevel::Upper => page.upper_table,
        };
        if !marked {
            // Stores to this page must be noticed from now on.
            self.tlbs.evict_writable_frame(offset);
            let page = self.mem.page_mut(offset);
            match level {
                PageTableLevel::Leaf => page.leaf_table = true,
                PageTableLevel::Upper => page.upper_table = true,
            }
        }
        u64::from_le_bytes(entry)
    }

    /// Whether what derives from the upper half of the 4-level root table at `old` would derive in the same way, and
    /// without setting an accessed bit, from the one at `new`. Stores to `new` are noticed from now on.
    pub fn upper_halves_agree(&mut self, old: u64, new: u64) -> bool {
        (256..512).all(|index| {
            let at = |root: u64| (root & !0xfff) + 8 * index;
            let entry = self.read_page_table(at(new), 8, PageTableLevel::Upper);
            let before = self.read_page_table(at(old), 8, PageTableLevel::Upper);
            // Nothing derives from an entry without P or A.
            before & 0x21 != 0x21 || entry == before
        })
    }

    /// Sets accessed and dirty bits for the walker. Adding such a bit invalidates no translation.
    pub fn update_page_table(&mut self, paddr: u64, entry: u64, entry_bytes: u8) {
        let Some(offset) = self.mem.offset(paddr) else { return };
        self.mem.mark_dirty(offset);
        let bytes = &entry.to_le_bytes()[..usize::from(entry_bytes)];
        if self.mem.hits_code(offset, bytes.len()) {
            self.drop_code(offset);
        }
        self.mem.ram_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Whether execution must stop before the instruction at linear address `rip`; then asks the engine to
    /// return.
    #[inline]
    pub fn reaches_stop(&mut self, rip: u64) -> bool {
        let reached = self.stops.reaches(rip, self.icount);
        self.leave.recheck |= reached;
        reached
    }

    /// An instruction or delivery is complete: asks the engine to return if it met a stop.
    #[inline]
    pub fn heed_stops(&mut self) {
        self.leave.recheck |= self.stops.complete();
    }

    /// Notes that `length` bytes at RAM offset `offset` (within one page) were decoded: stores there must be
    /// noticed.
    pub fn mark_code(&mut self, offset: usize, length: usize) {
        if self.mem.page(offset).code_chunks == 0 {
            self.tlbs.evict_writable_frame(offset);
        }
        self.mem.mark_code(offset, length);
    }

    /// The digest of RAM by what changed since the last one. Ends the epoch: every page is clean again, and
    /// write translations must notice the next store.
    pub fn digest_ram(&mut self) -> u128 {
        self.tlbs.evict_writable();
        self.mem.digest_incremental()
    }

    /// The contents of RAM. Ends the epoch.
    pub fn capture_ram(&mut self) -> PageMap {
        self.tlbs.evict_writable();
        self.mem.capture()
    }

    /// Replaces the contents of RAM. Code decoded from pages that stay as they are stays valid.
    pub fn restore_ram(&mut self, contents: &PageMap) {
        self.tlbs.evict_all();
        for page in self.mem.restore(contents) {
            let offset = page * PAGE_BYTES;
            if self.mem.page(offset).code_chunks != 0 {
                self.drop_code(offset);
            }
        }
    }
}

/// Splits an access to a device into naturally aligned pieces of at most 8 bytes.
fn for_each_access(paddr: u64, length: usize, mut piece: impl FnMut(u64, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < length {
        let at = paddr + done as u64;
        let aligned = 1 << at.trailing_zeros().min(3);
        let left = length - done;
        let size = aligned.min(1 << left.ilog2()).min(8);
        piece(at, done..done + size);
        done += size;
    }
}
