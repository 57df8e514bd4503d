//! Addresses as people read them.

use crate::symbols::Symbols;

/// The address as `symbol+0xoffset`, or as a plain number if no symbol is near.
#[must_use]
pub fn label(symbols: &Symbols<'_>, vaddr: u64, max_offset: u64) -> String {
    named(symbols, vaddr, max_offset).unwrap_or_else(|| format!("{vaddr:#x}"))
}

/// The address as `symbol+0xoffset` if a symbol is near.
#[must_use]
pub fn named(symbols: &Symbols<'_>, vaddr: u64, max_offset: u64) -> Option<String> {
    let (name, offset) = symbols.nearest(vaddr)?;
    if offset > max_offset {
        return None;
    }
    Some(if offset == 0 { name } else { format!("{name}+{offset:#x}") })
}

/// ` [file:line]` of the innermost function at an instruction, if lines are known.
#[must_use]
pub fn source_line(symbols: &Symbols<'_>, vaddr: u64) -> String {
    let line = symbols.lines_at(vaddr).into_iter().next();
    line.map_or_else(String::new, |line| format!(" [{line}]"))
}
