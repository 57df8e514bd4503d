//! Where things of an image lie in a running guest: a kernel runs a slide above the addresses that it was linked for, the
//! sections of a module each lie where the kernel has put them.

use std::ops::Range;
use std::sync::Arc;

/// How addresses of the running image follow from those that its file has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Relocation {
    slide: u64,
    /// What lies otherwise.
    pieces: Arc<[Piece]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    /// Its addresses in the file.
    linked: Range<u64>,
    slide: u64,
}

impl Relocation {
    /// A kernel where it was linked to be. `offsets` are link addresses that are none, but offsets: of Linux's per-CPU
    /// variables, until 6.14.
    pub fn of_kernel(offsets: Range<u64>) -> Relocation {
        let pieces = if offsets.is_empty() { Vec::new() } else { vec![Piece { linked: offsets, slide: 0 }] };
        Relocation { slide: 0, pieces: pieces.into() }
    }

    /// A module of sections: the addresses that each has in the file, and where it begins in the guest.
    pub fn of_sections(sections: impl Iterator<Item = (Range<u64>, u64)>) -> Relocation {
        let piece = |(linked, vaddr): (Range<u64>, u64)| {
            let slide = vaddr.wrapping_sub(linked.start);
            Piece { linked, slide }
        };
        Relocation { slide: 0, pieces: sections.map(piece).collect() }
    }

    /// How far above its link addresses the image runs.
    pub fn slide(&self) -> u64 {
        self.slide
    }

    /// The same for an image that runs elsewhere.
    pub fn with_slide(self, slide: u64) -> Relocation {
        Relocation { slide, ..self }
    }

    /// Where something is that has `address` in the file.
    pub fn relocate(&self, address: u64) -> u64 {
        let piece = self.pieces.iter().find(|piece| piece.linked.contains(&address));
        address.wrapping_add(piece.map_or(self.slide, |piece| piece.slide))
    }

    /// The address that the file has for what is at `vaddr`.
    pub fn link_address(&self, vaddr: u64) -> u64 {
        let holds = |piece: &&Piece| piece.linked.contains(&vaddr.wrapping_sub(piece.slide));
        let piece = self.pieces.iter().find(holds);
        vaddr.wrapping_sub(piece.map_or(self.slide, |piece| piece.slide))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_slides_and_its_offsets_stay() {
        let relocation = Relocation::of_kernel(0..0x3000).with_slide(0x100_0000);
        assert_eq!(relocation.relocate(0xffff_ffff_8100_0000), 0xffff_ffff_8200_0000);
        assert_eq!(relocation.link_address(0xffff_ffff_8200_0000), 0xffff_ffff_8100_0000);
        assert_eq!((relocation.relocate(0x20), relocation.link_address(0x20)), (0x20, 0x20));
    }

    #[test]
    fn every_section_of_a_module_lies_where_it_was_put() {
        let sections = [(0x1000..0x1800, 0xffff_ffff_c000_0000_u64), (0x2000..0x2010, 0xffff_ffff_a000_0000)];
        let relocation = Relocation::of_sections(sections.into_iter());
        for (linked, vaddr) in [(0x17ff, 0xffff_ffff_c000_07ff_u64), (0x2000, 0xffff_ffff_a000_0000)] {
            assert_eq!(relocation.relocate(linked), vaddr);
            assert_eq!(relocation.link_address(vaddr), linked);
        }
        assert_eq!(
            relocation.link_address(0xffff_ffff_c000_0800),
            0xffff_ffff_c000_0800,
            "behind the section"
        );
    }
}
