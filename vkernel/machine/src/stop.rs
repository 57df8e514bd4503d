//! What a run stops at besides the place it runs to: breakpoints, watchpoints and events of the processor.
//!
//! Stops are for looking: they change no state of the guest, and a machine that stopped a thousand times has
//! the same digest as one that never did. A breakpoint stops before the instruction; everything else stops
//! behind the instruction or delivery that caused it. What is not asked for costs nothing: a watched page is
//! merely never cached for the engines' fast paths, and events are looked at where they are slow anyway.

use crate::cpu::mmu::Intent;
use crate::mem::PAGE_BYTES;

/// What to stop at. Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopSet {
    /// Linear addresses: stop before an instruction there is executed.
    pub execute: Vec<u64>,
    /// Memory to watch.
    pub watch: Vec<Watchpoint>,
    /// Exceptions, by vector: bit n for vector n (0 to 31).
    pub exceptions: u32,
    /// Every interrupt that a vCPU takes.
    pub interrupts: bool,
    /// Every SYSCALL, SYSENTER and INT 0x80.
    pub syscalls: bool,
    /// Ports, first and last.
    pub ports: Vec<(u16, u16)>,
    /// MSRs, first and last.
    pub msrs: Vec<(u32, u32)>,
    /// A vCPU and a number of its own counts: stop when it has come so far.
    pub own_counts: Option<(u8, u64)>,
}

impl StopSet {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == StopSet::default()
    }
}

/// Addresses of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Linear addresses, whatever they are mapped to.
    Linear,
    /// Guest physical addresses, however they are reached.
    Physical,
}

/// A range of memory and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchpoint {
    /// How `address` is meant.
    pub space: Space,
    /// The first byte.
    pub address: u64,
    /// How many bytes, at least 1.
    pub length_bytes: u64,
    /// Stop when any of it was read.
    pub read: bool,
    /// Stop when any of it was written.
    pub write: bool,
}

impl Watchpoint {
    fn overlaps(&self, address: u64, length_bytes: u64) -> bool {
        // Wrapping distances, as either range may end at the top of the address space.
        address.wrapping_sub(self.address) < self.length_bytes
            || self.address.wrapping_sub(address) < length_bytes
    }

    fn heeds(&self, intent: Intent) -> bool {
        match intent {
            Intent::Read => self.read,
            Intent::Write => self.write,
            Intent::Fetch => false,
        }
    }
}

/// Why a run stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The next instruction is one of [`StopSet::execute`].
    Execute,
    /// Watched memory was accessed by the instruction or delivery just done.
    Watch {
        /// Which of [`StopSet::watch`].
        index: usize,
        /// Where, as the watchpoint counts addresses.
        address: u64,
        /// How many bytes.
        length_bytes: u8,
        /// Whether it was written.
        write: bool,
    },
    /// An exception was delivered.
    Exception {
        /// Its vector.
        vector: u8,
        /// Its error code, if it has one.
        error_code: Option<u32>,
        /// The instruction that raised it.
        rip: u64,
    },
    /// An interrupt was taken.
    Interrupt {
        /// Its vector.
        vector: u8,
    },
    /// A system call was made.
    Syscall {
        /// RAX, by convention the number of the call.
        number: u64,
    },
    /// A port was accessed.
    Port {
        /// Which.
        port: u16,
        /// Whether it was written.
        write: bool,
        /// What was read or written.
        value: u32,
    },
    /// An MSR was accessed.
    Msr {
        /// Which.
        index: u32,
        /// Whether it was written.
        write: bool,
        /// What was read or written.
        value: u64,
    },
    /// The vCPU of [`StopSet::own_counts`] has come so far.
    OwnCounts,
}

/// The stops of a run and what was met. Belongs to the system, where instructions reach it.
#[derive(Debug, Default)]
pub struct Stops {
    set: StopSet,
    /// The addresses of `set.execute`, sorted: an inlined function may have a thousand, and every block asks.
    breakpoints: Vec<u64>,
    /// Accesses of the instruction being executed: they count only if it completes.
    accessed: Option<StopReason>,
    met: Option<StopReason>,
    /// The count at which the last breakpoint was reported: going on from there does not stop again.
    passed: Option<u64>,
}

impl Stops {
    /// What is asked for.
    #[must_use]
    pub fn set(&self) -> &StopSet {
        &self.set
    }

    /// Asks for something else. Gives the addresses whose breakpoints came or went, and whether other memory
    /// is watched.
    pub fn replace(&mut self, set: &StopSet) -> (Vec<u64>, bool) {
        if self.set == *set {
            return (Vec::new(), false);
        }
        let only = |left: &[u64], right: &[u64]| -> Vec<u64> {
            left.iter().copied().filter(|address| right.binary_search(address).is_err()).collect()
        };
        let mut breakpoints = set.execute.clone();
        breakpoints.sort_unstable();
        let mut changed = only(&self.breakpoints, &breakpoints);
        changed.extend(only(&breakpoints, &self.breakpoints));
        let watches = self.set.watch != set.watch;
        self.set.clone_from(set);
        self.breakpoints = breakpoints;
        (changed, watches)
    }

    /// Takes what was met.
    pub fn take_met(&mut self) -> Option<StopReason> {
        self.met.take()
    }

    /// Forgets what was met: the machine was replaced by another state.
    pub fn forget(&mut self) {
        self.accessed = None;
        self.met = None;
        self.passed = None;
    }

    /// Whether execution must stop before the instruction at linear address `rip`.
    #[inline]
    pub fn reaches(&mut self, rip: u64, icount: u64) -> bool {
        !self.breakpoints.is_empty() && self.breaks_at(rip, icount)
    }

    #[cold]
    fn breaks_at(&mut self, rip: u64, icount: u64) -> bool {
        if self.passed == Some(icount) || !self.breaks_before(rip) {
            return false;
        }
        self.passed = Some(icount);
        self.met = Some(StopReason::Execute);
        true
    }

    /// Whether decoded code must end before `rip`, so that a breakpoint there begins a block.
    #[must_use]
    pub fn breaks_before(&self, rip: u64) -> bool {
        self.breakpoints.binary_search(&rip).is_ok()
    }

    /// Whether some byte of the page of `laddr`, or of its frame at `paddr`, is watched: then no engine may
    /// reach the page without asking.
    #[inline]
    #[must_use]
    pub fn watches_page(&self, laddr: u64, paddr: u64) -> bool {
        !self.set.watch.is_empty() && self.watches(laddr, paddr)
    }

    #[cold]
    fn watches(&self, laddr: u64, paddr: u64) -> bool {
        let page = |address: u64| address & !(PAGE_BYTES as u64 - 1);
        self.set.watch.iter().any(|watch| {
            let address = if watch.space == Space::Linear { laddr } else { paddr };
            watch.overlaps(page(address), PAGE_BYTES as u64)
        })
    }

    /// Notes an access, if it is watched, to be reported when its instruction completes.
    #[inline]
    pub fn access(&mut self, laddr: u64, paddr: u64, length_bytes: usize, intent: Intent) {
        if !self.set.watch.is_empty() {
            self.note_access(laddr, paddr, length_bytes, intent);
        }
    }

    #[cold]
    fn note_access(&mut self, laddr: u64, paddr: u64, length_bytes: usize, intent: Intent) {
        let hit = |watch: &Watchpoint| {
            let address = if watch.space == Space::Linear { laddr } else { paddr };
            (watch.heeds(intent) && watch.overlaps(address, length_bytes as u64)).then_some(address)
        };
        let found = self.set.watch.iter().enumerate().find_map(|(index, watch)| Some((index, hit(watch)?)));
        if let Some((index, address)) = found {
            let write = intent == Intent::Write;
            let access = StopReason::Watch { index, address, length_bytes: length_bytes as u8, write };
            // An instruction that reads and writes is reported as writing.
            if write || self.accessed.is_none() {
                self.accessed = Some(access);
            }
        }
    }

    /// The instruction raised an exception: it accessed nothing after all.
    pub fn abandon(&mut self) {
        self.accessed = None;
    }

    /// The instruction or delivery is complete. True if the engine must return.
    #[inline]
    pub fn complete(&mut self) -> bool {
        if self.accessed.is_some() {
            self.met = self.accessed.take();
        }
        self.met.is_some()
    }

    /// An exception is being delivered.
    pub fn exception(&mut self, vector: u8, error_code: Option<u32>, rip: u64) {
        if vector < 32 && self.set.exceptions >> vector & 1 != 0 {
            self.met = Some(StopReason::Exception { vector, error_code, rip });
        }
    }

    /// An interrupt is being delivered.
    pub fn interrupt(&mut self, vector: u8) {
        if self.set.interrupts {
            self.met = Some(StopReason::Interrupt { vector });
        }
    }

    /// A system call was made.
    pub fn syscall(&mut self, number: u64) {
        if self.set.syscalls {
            self.met = Some(StopReason::Syscall { number });
        }
    }

    /// A port was accessed.
    pub fn port(&mut self, port: u16, write: bool, value: u32) {
        if self.set.ports.iter().any(|(first, last)| (*first..=*last).contains(&port)) {
            self.met = Some(StopReason::Port { port, write, value });
        }
    }

    /// An MSR was accessed.
    pub fn msr(&mut self, index: u32, write: bool, value: u64) {
        if self.set.msrs.iter().any(|(first, last)| (*first..=*last).contains(&index)) {
            self.met = Some(StopReason::Msr { index, write, value });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watching(watch: Watchpoint) -> Stops {
        let mut stops = Stops::default();
        stops.replace(&StopSet { watch: vec![watch], ..StopSet::default() });
        stops
    }

    const WRITES: Watchpoint =
        Watchpoint { space: Space::Linear, address: 0x1008, length_bytes: 8, read: false, write: true };

    #[test]
    fn only_the_bytes_and_the_accesses_asked_for_are_met() {
        let mut stops = watching(WRITES);
        for (address, length, intent, met) in [
            (0x1000, 8, Intent::Write, false),
            (0x1001, 8, Intent::Write, true),
            (0x100f, 1, Intent::Write, true),
            (0x1010, 8, Intent::Write, false),
            (0x1008, 8, Intent::Read, false),
        ] {
            stops.access(address, 0, length, intent);
            assert_eq!(stops.complete(), met, "{address:#x} {length} {intent:?}");
            stops.take_met();
        }
    }

    #[test]
    fn an_instruction_that_faults_accessed_nothing() {
        let mut stops = watching(WRITES);
        stops.access(0x1008, 0, 8, Intent::Write);
        stops.abandon();
        assert!(!stops.complete());
    }

    #[test]
    fn pages_with_a_watched_byte_are_not_cached() {
        let stops = watching(Watchpoint { address: 0x1fff, length_bytes: 2, ..WRITES });
        assert!(stops.watches_page(0x1234, 0) && stops.watches_page(0x2000, 0));
        assert!(!stops.watches_page(0x3000, 0x1234));
        let stops = watching(Watchpoint { space: Space::Physical, ..WRITES });
        assert!(stops.watches_page(0x7000, 0x1fff) && !stops.watches_page(0x1008, 0x2000));
    }

    #[test]
    fn a_breakpoint_is_reported_once_at_one_count() {
        let mut stops = Stops::default();
        stops.replace(&StopSet { execute: vec![0x1000], ..StopSet::default() });
        assert!(stops.reaches(0x1000, 5) && !stops.reaches(0x1000, 5) && stops.reaches(0x1000, 6));
        stops.forget();
        assert!(stops.reaches(0x1000, 6));
    }
}
