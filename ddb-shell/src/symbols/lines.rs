//! From an address to source lines, by DWARF, lazily.
//!
//! Nothing is read before the first question. Then addr2line lists the units (from `.debug_aranges` and the
//! unit headers) and parses the lines and functions of a unit when an address in it is asked for.

use super::dwarf::{DebugInfo, Section};
use object::{Object, ObjectSection};
use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;

/// One source line, with the function that it was written in (perhaps inlined into another).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The function's name in the source, if it is known.
    pub function: Option<String>,
    /// The path as the compiler saw it.
    pub file: String,
    /// 1 for the first line, 0 if the compiler did not say.
    pub line: u32,
}

/// Prints as compilers do: `kernel/sched/idle.c:123`.
impl fmt::Display for SourceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Whether a file can say source lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineInfo {
    /// It has DWARF.
    Present,
    /// It was built without debug information, or stripped of it.
    Absent,
    /// Its DWARF is compressed: `objcopy --decompress-debug-sections` makes it readable.
    Compressed,
}

/// The source lines of a file's DWARF.
pub(super) struct Lines<'data> {
    dwarf: Arc<DebugInfo<'data>>,
    context: OnceCell<Option<addr2line::Context<Section<'data>>>>,
}

impl fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("is_opened", &self.context.get().is_some()).finish()
    }
}

/// What `file` has.
pub(super) fn line_info<'data>(file: &impl Object<'data>) -> LineInfo {
    let Some(section) = file.section_by_name(".debug_line") else { return LineInfo::Absent };
    let is_compressed =
        section.compressed_file_range().is_ok_and(|range| range.format != object::CompressionFormat::None);
    if is_compressed { LineInfo::Compressed } else { LineInfo::Present }
}

impl<'data> Lines<'data> {
    pub fn new(dwarf: Arc<DebugInfo<'data>>) -> Lines<'data> {
        Lines { dwarf, context: OnceCell::new() }
    }

    fn open(&self) -> Option<addr2line::Context<Section<'data>>> {
        addr2line::Context::from_arc_dwarf(self.dwarf.sections()).ok()
    }

    /// The source lines of the instruction at `address` (a link address), the innermost inlined function
    /// first. Empty if nothing is known; damaged DWARF counts as nothing.
    pub fn at(&self, address: u64) -> Vec<SourceLine> {
        let Some(context) = self.context.get_or_init(|| self.open()) else { return Vec::new() };
        let Ok(mut frames) = context.find_frames(address).skip_all_loads() else { return Vec::new() };
        let mut lines = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            let function = frame.function.and_then(|name| name.raw_name().ok().map(|name| name.into_owned()));
            let Some(location) = frame.location else { continue };
            let Some(file) = location.file else { continue };
            lines.push(SourceLine { function, file: file.to_owned(), line: location.line.unwrap_or(0) });
        }
        lines
    }
}
