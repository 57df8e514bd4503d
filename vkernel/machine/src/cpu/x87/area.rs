//! Memory areas longer than an operand: environments and save images, found whole before any of it is used.

use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::mmu::{Intent, translate};
use crate::cpu::state::Mode;
use crate::mem::PAGE_BYTES;

/// Longest piece that physical memory takes at once.
const PIECE_BYTES: usize = 16;

/// Where an area of at most a page lies in physical memory, in up to two pieces.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    first: u64,
    second: u64,
    split: usize,
}

impl Area {
    /// Finds `length` bytes at a linear address, both pages of them, so that using them cannot fail.
    ///
    /// # Errors
    /// #PF of the first page that cannot be accessed.
    pub fn locate(core: &mut Core<'_>, laddr: u64, length: usize, intent: Intent) -> Exec<Area> {
        let user = core.is_user();
        let split = length.min(PAGE_BYTES - (laddr as usize & (PAGE_BYTES - 1)));
        let first = translate(core.cpu, core.sys, laddr, intent, user)?.paddr;
        let mut second = 0;
        if split < length {
            let mut next = laddr.wrapping_add(split as u64);
            if core.cpu.mode != Mode::Long64 {
                next &= 0xffff_ffff;
            }
            second = translate(core.cpu, core.sys, next, intent, user)?.paddr;
            core.sys.stops.access(next, second, length - split, intent);
        }
        core.sys.stops.access(laddr, first, split, intent);
        Ok(Area { first, second, split })
    }

    /// Reads the area from its beginning.
    pub fn read(&self, core: &mut Core<'_>, into: &mut [u8]) {
        let (head, tail) = into.split_at_mut(self.split.min(into.len()));
        for (start, part) in [(self.first, head), (self.second, tail)] {
            for (index, piece) in part.chunks_mut(PIECE_BYTES).enumerate() {
                let paddr = start.wrapping_add((index * PIECE_BYTES) as u64);
                core.sys.load_phys(core.cpu.id, paddr, piece);
            }
        }
    }

    /// Writes the area from its beginning; located with [`Intent::Write`].
    pub fn write(&self, core: &mut Core<'_>, bytes: &[u8]) {
        let (head, tail) = bytes.split_at(self.split.min(bytes.len()));
        for (start, part) in [(self.first, head), (self.second, tail)] {
            for (index, piece) in part.chunks(PIECE_BYTES).enumerate() {
                let paddr = start.wrapping_add((index * PIECE_BYTES) as u64);
                core.sys.store_phys(core.cpu.id, paddr, piece);
            }
        }
    }
}
