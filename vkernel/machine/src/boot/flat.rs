//! Loading a kernel by addresses that its own header gives, as both Multiboot versions can.
//!
//! The file is one piece: the header says at which address it is to be itself, where loading starts and ends,
//! and where the zeros after it end.

use super::BootError;
use super::bytes::View;
use std::ops::Range;

/// The addresses of a header, and where in the file they and the header are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlatLoad {
    /// Offset of the header.
    header: u64,
    /// Offset of the first of the four addresses.
    fields: u64,
    load_paddr: u64,
    load_end: u64,
    bss_end: u64,
    file_offset: u64,
}

impl FlatLoad {
    /// Reads the four addresses at `fields`, which belong to the header at `header`.
    pub(crate) fn parse(view: View<'_>, header: u64, fields: u64) -> Result<FlatLoad, BootError> {
        let field = |index: u64| view.u32(fields + index * 4).map(u64::from);
        let (header_paddr, load_paddr, load_end, bss_end) = (field(0)?, field(1)?, field(2)?, field(3)?);
        let before_header =
            header_paddr.checked_sub(load_paddr).filter(|&length| length <= header).ok_or_else(|| {
                let problem =
                    format!("the header is to be at {header_paddr:#x} but loading starts at {load_paddr:#x}");
                view.malformed(fields, problem)
            })?;
        Ok(FlatLoad { header, fields, load_paddr, load_end, bss_end, file_offset: header - before_header })
    }

    /// The same with the whole file before the header: Multiboot 2's load address of -1.
    pub(crate) fn parse_multiboot2(view: View<'_>, header: u64, fields: u64) -> Result<FlatLoad, BootError> {
        const FROM_THE_START: u64 = 0xffff_ffff;
        let field = |index: u64| view.u32(fields + index * 4).map(u64::from);
        if field(1)? != FROM_THE_START {
            return FlatLoad::parse(view, header, fields);
        }
        let load_paddr = field(0)?
            .checked_sub(header)
            .ok_or_else(|| view.malformed(fields, "the file would begin below address 0"))?;
        Ok(FlatLoad { header, fields, load_paddr, load_end: field(2)?, bss_end: field(3)?, file_offset: 0 })
    }

    /// What is loaded, and the addresses it is to occupy with the zeros after it.
    pub(crate) fn range<'a>(&self, view: View<'a>) -> Result<(&'a [u8], Range<u64>), BootError> {
        let length_bytes = match self.load_end {
            0 => view.length_bytes() - self.file_offset,
            end => end.checked_sub(self.load_paddr).ok_or_else(|| {
                view.malformed(self.fields + 8, "the load address is after the load end address")
            })?,
        };
        let contents = view.slice(self.file_offset, length_bytes)?;
        let contents_end = self.load_paddr + length_bytes;
        if self.bss_end != 0 && self.bss_end < contents_end {
            return Err(view.malformed(self.fields + 12, "the bss ends before the data does"));
        }
        Ok((contents, self.load_paddr..contents_end.max(self.bss_end)))
    }

    /// Checks that the entry point is in the kernel.
    pub(crate) fn check_entry(
        &self,
        view: View<'_>,
        range: &Range<u64>,
        entry: u64,
    ) -> Result<(), BootError> {
        if range.contains(&entry) {
            return Ok(());
        }
        Err(view.malformed(self.header, format!("the entry point {entry:#x} is not in the kernel")))
    }
}
