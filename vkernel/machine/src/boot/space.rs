//! The book of which RAM the loader has already given away.
//!
//! Every structure a loader writes is claimed here first. That is what makes a hostile image harmless: two
//! things never overlap, nothing is put outside RAM, and no allocation of ours depends on a guest's number.

use crate::platform::memory_map::{MemoryRegion, RAM};
use std::ops::Range;

/// Why a fixed range could not be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Some of it is not RAM.
    NotRam,
    /// Some of it is claimed already.
    Taken,
}

/// Which RAM there is and which of it is still free: sorted, disjoint, non-empty ranges.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    ram: Vec<Range<u64>>,
    free: Vec<Range<u64>>,
}

impl Space {
    /// All RAM of a memory map, free.
    pub(crate) fn new(memory_map: &[MemoryRegion]) -> Space {
        let mut ranges: Vec<Range<u64>> = memory_map
            .iter()
            .filter(|entry| entry.kind == RAM && entry.length_bytes > 0)
            .map(|entry| entry.start..entry.start.saturating_add(entry.length_bytes))
            .collect();
        ranges.sort_by_key(|range| range.start);
        let mut ram: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match ram.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => ram.push(range),
            }
        }
        Space { free: ram.clone(), ram }
    }

    /// Claims exactly this range.
    pub(crate) fn claim(&mut self, wanted: Range<u64>) -> Result<(), Refusal> {
        if wanted.is_empty() {
            return Ok(());
        }
        let holds = |range: &Range<u64>| range.start <= wanted.start && wanted.end <= range.end;
        if !self.ram.iter().any(holds) {
            return Err(Refusal::NotRam);
        }
        let index = self.free.iter().position(holds).ok_or(Refusal::Taken)?;
        let found = self.free[index].clone();
        let rest = [found.start..wanted.start, wanted.end..found.end];
        self.free.splice(index..=index, rest.into_iter().filter(|range| !range.is_empty()));
        Ok(())
    }

    /// Claims the lowest `length_bytes` bytes aligned to `align` (a power of two) within a range.
    pub(crate) fn claim_lowest(&mut self, length_bytes: u64, align: u64, within: Range<u64>) -> Option<u64> {
        let start = self.free.iter().find_map(|range| {
            let start = range.start.max(within.start).checked_next_multiple_of(align)?;
            let end = start.checked_add(length_bytes)?;
            (end <= range.end.min(within.end)).then_some(start)
        })?;
        self.claim(start..start + length_bytes).ok().map(|()| start)
    }

    /// Claims the highest `length_bytes` bytes aligned to `align` (a power of two) within a range.
    pub(crate) fn claim_highest(&mut self, length_bytes: u64, align: u64, within: Range<u64>) -> Option<u64> {
        let start = self.free.iter().rev().find_map(|range| {
            let highest = range.end.min(within.end).checked_sub(length_bytes)?;
            let start = highest & !(align - 1);
            (start >= range.start.max(within.start)).then_some(start)
        })?;
        self.claim(start..start + length_bytes).ok().map(|()| start)
    }

    /// RAM that nobody claimed.
    pub(crate) fn free(&self) -> &[Range<u64>] {
        &self.free
    }

    /// All RAM.
    pub(crate) fn ram(&self) -> &[Range<u64>] {
        &self.ram
    }

    /// RAM that follows `start` without a gap, in bytes.
    pub(crate) fn ram_from(&self, start: u64) -> u64 {
        self.ram.iter().find(|range| range.contains(&start)).map_or(0, |range| range.end - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::memory_map::RESERVED;

    fn space() -> Space {
        Space::new(&[
            MemoryRegion { start: 0x10_0000, length_bytes: 0x10_0000, kind: RAM },
            MemoryRegion { start: 0, length_bytes: 0xa_0000, kind: RAM },
            MemoryRegion { start: 0xe_0000, length_bytes: 0x2_0000, kind: RESERVED },
            MemoryRegion { start: 0x20_0000, length_bytes: 0x10_0000, kind: RAM },
        ])
    }

    #[test]
    fn adjacent_ram_is_one_range() {
        assert_eq!(space().ram, [0..0xa_0000, 0x10_0000..0x30_0000]);
        assert_eq!(space().ram_from(0x18_0000), 0x18_0000);
        assert_eq!(space().ram_from(0xe_0000), 0);
    }

    #[test]
    fn nothing_is_given_away_twice() {
        let mut space = space();
        space.claim(0x12_0000..0x13_0000).unwrap();
        assert_eq!(space.claim(0x12_ffff..0x13_0001), Err(Refusal::Taken));
        assert_eq!(space.claim(0x11_0000..0x14_0000), Err(Refusal::Taken));
        assert_eq!(space.claim_lowest(0x3_0000, 0x1000, 0x10_0000..u64::MAX), Some(0x13_0000));
        space.claim(0x10_0000..0x12_0000).unwrap();
        assert_eq!(space.claim(0x10_0000..0x10_0001), Err(Refusal::Taken));
    }

    #[test]
    fn what_is_not_ram_is_not_claimed() {
        let mut space = space();
        assert_eq!(space.claim(0x9_ffff..0xa_0001), Err(Refusal::NotRam));
        assert_eq!(space.claim(0xe_0000..0xf_0000), Err(Refusal::NotRam));
        assert_eq!(space.claim_lowest(1, 1, 0xa_0000..0x10_0000), None);
        assert_eq!(space.claim_lowest(u64::MAX, 1, 0..u64::MAX), None);
        assert_eq!(space.claim_highest(u64::MAX, 1, 0..u64::MAX), None);
    }

    #[test]
    fn lowest_and_highest_respect_alignment_and_bounds() {
        let mut space = space();
        assert_eq!(space.claim_lowest(0x100, 0x1000, 0x1..0x3000), Some(0x1000));
        assert_eq!(space.claim_lowest(0x1000, 0x1000, 0x1..0x2fff), None);
        assert_eq!(space.claim_highest(0x1001, 0x1000, 0..u64::MAX), Some(0x2f_e000));
        assert_eq!(space.claim_highest(0x1000, 0x1000, 0..0x15_0fff), Some(0x14_f000));
    }
}
