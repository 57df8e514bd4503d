//! Call frame information (DWARF 5 ch. 6.4, and `.eh_frame` of the LSB): from the registers of a frame to those of its
//! caller. Left out: personality routines and everything else that throwing exceptions needs.

use super::Section;
use super::location::{Computed, FrameAddress, Location};
use crate::symbols::Relocation;
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, DebugFrame, EhFrame, Encoding, EndianSlice, FrameDescriptionEntry,
    RunTimeEndian, UnwindContext, UnwindExpression, UnwindSection, UnwindTableRow,
};
use object::{Object, ObjectSection};
use std::sync::OnceLock;

/// `.eh_frame` and `.debug_frame` of a file, and a sorted list of the functions that they describe.
pub(crate) struct CallFrames<'data> {
    eh_frame: EhFrame<Section<'data>>,
    debug_frame: DebugFrame<Section<'data>>,
    bases: BaseAddresses,
    endian: RunTimeEndian,
    spans: OnceLock<Vec<Span>>,
}

/// The addresses that one entry describes.
#[derive(Clone, Copy)]
struct Span {
    begin: u64,
    end: u64,
    is_eh: bool,
    offset: usize,
}

type Fde<'data> = FrameDescriptionEntry<Section<'data>>;

/// The rules that hold at an address.
struct Row<'a> {
    rules: &'a UnwindTableRow<usize>,
    encoding: Encoding,
    is_eh: bool,
}

impl<'data> CallFrames<'data> {
    pub fn new(file: &object::File<'data>, endian: RunTimeEndian) -> CallFrames<'data> {
        let section = |name: &str| {
            let section = file.section_by_name(name);
            let bytes = section.and_then(|section| section.data().ok()).unwrap_or_default();
            EndianSlice::new(bytes, endian)
        };
        let address = |name: &str| file.section_by_name(name).map_or(0, |section| section.address());
        let address_size = if file.is_64() { 8 } else { 4 };
        let bases = BaseAddresses::default()
            .set_eh_frame(address(".eh_frame"))
            .set_text(address(".text"))
            .set_got(address(".got"));
        let mut eh_frame = EhFrame::from(section(".eh_frame"));
        eh_frame.set_address_size(address_size);
        let mut debug_frame = DebugFrame::from(section(".debug_frame"));
        debug_frame.set_address_size(address_size);
        CallFrames { eh_frame, debug_frame, bases, endian, spans: OnceLock::new() }
    }

    fn spans(&self) -> &[Span] {
        self.spans.get_or_init(|| {
            let mut spans = Vec::new();
            self.list(&self.debug_frame, false, &mut spans);
            self.list(&self.eh_frame, true, &mut spans);
            spans.sort_by_key(|span| span.begin);
            spans
        })
    }

    fn list<S: UnwindSection<Section<'data>>>(&self, section: &S, is_eh: bool, spans: &mut Vec<Span>) {
        let mut entries = section.entries(&self.bases);
        while let Ok(Some(entry)) = entries.next() {
            let CieOrFde::Fde(partial) = entry else { continue };
            let Ok(fde) = partial.parse(S::cie_from_offset) else { continue };
            let (begin, end) = (fde.initial_address(), fde.initial_address().saturating_add(fde.len()));
            if begin != 0 && begin < end {
                spans.push(Span { begin, end, is_eh, offset: fde.offset() });
            }
        }
    }

    /// Gives `use_row` the row for a link address.
    fn with_row<T>(&self, address: u64, use_row: impl FnOnce(&Row<'_>) -> Option<T>) -> Option<T> {
        let spans = self.spans();
        let after = spans.partition_point(|span| span.begin <= address);
        let span = spans.get(after.checked_sub(1)?).filter(|span| address < span.end)?;
        match span.is_eh {
            true => self.row_of(&self.eh_frame, *span, address, use_row),
            false => self.row_of(&self.debug_frame, *span, address, use_row),
        }
    }

    fn row_of<S: UnwindSection<Section<'data>>, T>(
        &self,
        section: &S,
        span: Span,
        address: u64,
        use_row: impl FnOnce(&Row<'_>) -> Option<T>,
    ) -> Option<T> {
        let offset = span.offset.into();
        let fde: Fde<'data> = section.fde_from_offset(&self.bases, offset, S::cie_from_offset).ok()?;
        let mut context = UnwindContext::new();
        let rules = fde.unwind_info_for_address(section, &self.bases, &mut context, address).ok()?;
        use_row(&Row { rules, encoding: fde.cie().encoding(), is_eh: span.is_eh })
    }

    /// The rule for the canonical frame address at a link address.
    pub fn frame_address(&self, address: u64, relocation: &Relocation) -> Option<FrameAddress> {
        self.with_row(address, |row| self.rule(row, relocation))
    }

    fn rule(&self, row: &Row<'_>, relocation: &Relocation) -> Option<FrameAddress> {
        Some(match row.rules.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => FrameAddress::Offset(register.0, *offset),
            CfaRule::Expression(expression) => {
                FrameAddress::Computed(self.expression(row, expression, relocation)?)
            }
        })
    }

    fn expression(
        &self,
        row: &Row<'_>,
        expression: &UnwindExpression<usize>,
        relocation: &Relocation,
    ) -> Option<Location> {
        let bytes = match row.is_eh {
            true => expression.get(&self.eh_frame).ok()?,
            false => expression.get(&self.debug_frame).ok()?,
        };
        Some(Location::Computed(Box::new(Computed {
            bytecode: bytes.0.slice().to_vec(),
            encoding: row.encoding,
            endian: self.endian,
            frame_base: None,
            frame_address: None,
            base_types: Vec::new(),
            addresses: Vec::new(),
            slide: relocation.slide,
        })))
    }
}
