//! Symbols of a guest: from an ELF file, or from a Linux kernel's own memory.
//!
//! The symbol table is read at once (a kernel's takes tens of milliseconds), DWARF only when a source line is
//! asked for. Leaves out, for the debugger proper: types, variables, modules, separate debug files, call frame
//! information, ORC.

mod kallsyms;
mod lines;
mod table;
#[cfg(test)]
mod tests;

use boundary::BootProtocol;
use kallsyms::find_kallsyms;
use lines::Lines;
use object::{Object, ObjectKind, ObjectSection, ObjectSymbol, SectionKind, SymbolKind, SymbolSection};
use table::{Builder, Rank, SymbolTable};

pub use lines::{LineInfo, SourceLine};
pub use table::Function;

/// Why a file's symbols cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SymbolError {
    /// The bytes are no ELF file, or a damaged one.
    #[error("no usable ELF file: {0}; give the kernel's uncompressed ELF file (for Linux: vmlinux)")]
    NotElf(#[source] object::Error),
    /// The file is an object file or a core dump, whose addresses mean nothing.
    #[error("the ELF file is of kind {0:?}: only a linked one has addresses; give the kernel itself")]
    NotLinked(ObjectKind),
    /// The symbol table and the debug information have been stripped.
    #[error(
        "the ELF file has neither symbols nor debug information: it was stripped; give the one from before"
    )]
    Stripped,
}

/// The symbols of one guest image.
///
/// `'data` is how long the file's bytes stay: they are borrowed, so that a kernel's hundreds of megabytes of DWARF
/// are neither copied nor read before they are needed.
#[derive(Debug)]
pub struct Symbols<'data> {
    table: SymbolTable,
    lines: Option<Lines<'data>>,
    line_info: LineInfo,
    slide: i64,
}

impl<'data> Symbols<'data> {
    /// No symbols at all: everything is printed as plain addresses.
    #[must_use]
    pub fn none() -> Symbols<'data> {
        Symbols::from_table(SymbolTable::default())
    }

    fn from_table(table: SymbolTable) -> Symbols<'data> {
        Symbols { table, lines: None, line_info: LineInfo::Absent, slide: 0 }
    }

    /// Functions by name, address and length, for tests of what uses symbols.
    #[cfg(test)]
    pub(crate) fn of_functions(functions: &[(&str, u64, u64)]) -> Symbols<'data> {
        let mut builder = Builder::default();
        functions.iter().for_each(|&(name, vaddr, length)| builder.code(name, vaddr, length, Rank::Global));
        Symbols::from_table(builder.finish())
    }

    /// The symbols of a linked ELF file, 32-bit or 64-bit.
    ///
    /// # Errors
    /// The bytes are no such file, or it holds nothing of use.
    pub fn parse(bytes: &'data [u8]) -> Result<Symbols<'data>, SymbolError> {
        let file = object::File::parse(bytes).map_err(SymbolError::NotElf)?;
        if !matches!(file.kind(), ObjectKind::Executable | ObjectKind::Dynamic) {
            return Err(SymbolError::NotLinked(file.kind()));
        }
        let table = elf_table(&file);
        let line_info = lines::line_info(&file);
        if table.is_empty() && line_info == LineInfo::Absent {
            return Err(SymbolError::Stripped);
        }
        let lines = (line_info == LineInfo::Present).then(|| Lines::new(file));
        Ok(Symbols { table, lines, line_info, slide: 0 })
    }

    /// The symbols of the file that `protocol` loaded, at the addresses it runs at: a position independent one that
    /// the loader relocated is moved as it was.
    ///
    /// # Errors
    /// As [`Symbols::parse`].
    pub fn of_kernel(bytes: &'data [u8], protocol: BootProtocol) -> Result<Symbols<'data>, SymbolError> {
        let is_relocated = matches!(protocol, BootProtocol::Limine | BootProtocol::Elf64);
        let slide = if is_relocated { machine::boot::slide(bytes) } else { 0 };
        Ok(Symbols::parse(bytes)?.with_slide(slide as i64))
    }

    /// The symbols that a running 64-bit Linux keeps for itself, found in its RAM, at their running addresses.
    /// `None` if there are none (yet): another system, no `CONFIG_KALLSYMS`, or the kernel is not unpacked.
    ///
    /// Reads all of RAM if need be, but for the pages that `is_blank` knows to hold zeros, by their number.
    #[must_use]
    pub fn from_kernel_memory(ram: &[u8], is_blank: &dyn Fn(usize) -> bool) -> Option<Symbols<'data>> {
        find_kallsyms(ram, is_blank).map(Symbols::from_table)
    }

    /// The best symbols for a running guest whose RAM is `ram`: those of an ELF file (its `vmlinux`, or the kernel
    /// itself) where KASLR has put them, else the kernel's own, else none.
    #[must_use]
    pub fn of_guest(
        elf: Option<Symbols<'data>>,
        ram: &[u8],
        is_blank: &dyn Fn(usize) -> bool,
    ) -> Symbols<'data> {
        match elf {
            // Only Linux says where it is; no other system's RAM needs to be searched.
            Some(elf) if elf.address_of("linux_banner").is_none() => elf,
            Some(elf) => match Symbols::from_kernel_memory(ram, is_blank) {
                Some(running) => elf.aligned_with(&running),
                None => elf,
            },
            None => Symbols::from_kernel_memory(ram, is_blank).unwrap_or_else(Symbols::none),
        }
    }

    /// The same symbols for an image that runs `slide` bytes above the addresses it was linked for.
    #[must_use]
    pub fn with_slide(self, slide: i64) -> Symbols<'data> {
        Symbols { slide, ..self }
    }

    /// The same symbols moved to where `running` (from [`Symbols::from_kernel_memory`]) says that the kernel
    /// is: what undoes KASLR for a `vmlinux`. Unmoved if the two have no start of text in common.
    #[must_use]
    pub fn aligned_with(self, running: &Symbols<'_>) -> Symbols<'data> {
        let slide = ["_text", "_stext", "startup_64"].into_iter().find_map(|name| {
            let linked = self.table.address_of(name)?;
            Some(running.address_of(name)?.wrapping_sub(linked) as i64)
        });
        let slide = slide.unwrap_or(self.slide);
        self.with_slide(slide)
    }

    /// How far above its link addresses the image runs.
    #[must_use]
    pub fn slide(&self) -> i64 {
        self.slide
    }

    /// Whether there is no symbol.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether source lines can be had.
    #[must_use]
    pub fn line_info(&self) -> LineInfo {
        self.line_info
    }

    fn link_address(&self, vaddr: u64) -> u64 {
        vaddr.wrapping_sub(self.slide as u64)
    }

    /// The function that holds `vaddr`.
    #[must_use]
    pub fn function_at(&self, vaddr: u64) -> Option<Function> {
        self.table.function_at(self.link_address(vaddr))
    }

    /// Whether `vaddr` lies in a function.
    #[must_use]
    pub fn is_code(&self, vaddr: u64) -> bool {
        self.table.is_code(self.link_address(vaddr))
    }

    /// The source lines of the instruction at `vaddr`, the innermost inlined function first. For a return
    /// address ask one byte before it, which still belongs to the call.
    #[must_use]
    pub fn lines_at(&self, vaddr: u64) -> Vec<SourceLine> {
        self.lines.as_ref().map(|lines| lines.at(self.link_address(vaddr))).unwrap_or_default()
    }

    /// Where the symbol `name` lies.
    #[must_use]
    pub fn address_of(&self, name: &str) -> Option<u64> {
        self.table.address_of(name).map(|address| address.wrapping_add(self.slide as u64))
    }
}

/// All symbols of a file that have a name and an address.
fn elf_table(file: &object::File<'_>) -> SymbolTable {
    let mut builder = Builder::default();
    let mut is_code_section = Vec::new();
    for section in file.sections() {
        let index = section.index().0;
        if index >= is_code_section.len() {
            is_code_section.resize(index + 1, false);
        }
        is_code_section[index] = section.kind() == SectionKind::Text;
        if section.address() != 0 {
            builder.limit(section.address().saturating_add(section.size()));
        }
    }
    for symbol in file.symbols() {
        let Ok(name) = symbol.name() else { continue };
        let is_named = !name.is_empty() && !matches!(symbol.kind(), SymbolKind::Section | SymbolKind::File);
        if !is_named || symbol.is_undefined() {
            continue;
        }
        let in_code = match symbol.section() {
            SymbolSection::Section(index) => is_code_section.get(index.0).copied().unwrap_or(false),
            _ => false,
        };
        let rank = match (symbol.kind(), symbol.is_local()) {
            (SymbolKind::Text, false) => Rank::Global,
            (SymbolKind::Text, true) => Rank::Local,
            _ => Rank::Label,
        };
        if rank != Rank::Label || in_code && symbol.kind() != SymbolKind::Data {
            builder.code(name, symbol.address(), symbol.size(), rank);
        } else {
            builder.data(name, symbol.address());
        }
    }
    builder.finish()
}
