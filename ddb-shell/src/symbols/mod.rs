//! Symbols of a guest: from an ELF file, or from a Linux kernel's own memory.
//!
//! The symbol table is read at once (a kernel's takes tens of milliseconds), DWARF only when a source line, a type or a
//! variable is asked for.

mod build_id;
mod dwarf;
mod elf_file;
mod kallsyms;
mod lines;
mod module_file;
mod modules;
mod places;
mod relocation;
mod sections;
mod table;
#[cfg(test)]
mod tests;
pub mod types;
mod variables;

use crate::kernel::kernel_identity;
use crate::memory::{GuestMemory, GuestRam};
use boundary::BootProtocol;
use dwarf::DebugInfo;
use kallsyms::find_kallsyms;
use lines::Lines;
use object::{Object, ObjectKind, ObjectSection, ObjectSymbol, SectionKind, SymbolKind, SymbolSection};
use relocation::Relocation;
use sections::DebugSections;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use table::{Builder, Rank, SymbolTable};
use types::{DataModel, Source, Types};

pub use build_id::{BuildId, OtherBuild, debug_link};
pub use dwarf::{Located, Location, LocationError, Scope, ScopeKind, Unwound, Variable};
pub use lines::{LineInfo, SourceLine};
pub use module_file::{FindModuleFiles, KeptFile, ModuleFiles, WantedModule, is_module};
pub(crate) use modules::{ModuleDebug, ModuleKey, ModuleSymbols, OrcTables, SymbolKindOfModule};
pub use places::LineCode;
pub use table::Function;
pub use variables::Global;

/// Why a file's symbols cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SymbolError {
    /// The bytes are no ELF file, or a damaged one.
    #[error("no usable ELF file: {0}; give the kernel's uncompressed ELF file (for Linux: vmlinux)")]
    NotElf(#[source] object::Error),
    /// The file is an object file or a core dump, whose addresses mean nothing.
    #[error("the ELF file is of kind {0:?}: only a linked one has addresses; give the kernel itself")]
    NotLinked(ObjectKind),
    /// The file is no module of a 64-bit kernel.
    #[error("no module of an x86-64 kernel")]
    NotModule,
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
    dwarf: Option<Arc<DebugInfo<'data>>>,
    lines: Option<Lines<'data>>,
    line_info: LineInfo,
    types: Types<'data>,
    relocation: Relocation,
    modules: RwLock<Vec<Arc<ModuleSymbols>>>,
    module_files: Option<Arc<ModuleFiles>>,
    build_id: Option<BuildId>,
    path: Option<PathBuf>,
}

impl<'data> Symbols<'data> {
    /// No symbols at all: everything is printed as plain addresses.
    #[must_use]
    pub fn none() -> Symbols<'data> {
        Symbols::from_table(SymbolTable::default())
    }

    fn from_table(table: SymbolTable) -> Symbols<'data> {
        Symbols {
            relocation: Relocation::of_kernel(offsets(&table)),
            table,
            dwarf: None,
            lines: None,
            line_info: LineInfo::Absent,
            types: Types::default(),
            modules: RwLock::default(),
            module_files: None,
            build_id: None,
            path: None,
        }
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
        let has_dwarf = line_info == LineInfo::Present;
        let read = || DebugInfo::new(&DebugSections::of_linked(&file), Source::KERNEL).map(Arc::new);
        let dwarf = has_dwarf.then(read).flatten();
        let model = DataModel { pointer_bytes: if file.is_64() { 8 } else { 4 } };
        let types = Types::new(dwarf.clone(), model);
        if let Some(btf) = file.section_by_name(".BTF").and_then(|section| section.data().ok())
            && dwarf.is_none()
        {
            types.add_btf(btf.to_vec());
        }
        let lines = dwarf.clone().map(Lines::new);
        let relocation = Relocation::of_kernel(offsets(&table));
        let build_id = BuildId::of_file(&file);
        let (modules, module_files, path) = (RwLock::default(), None, None);
        Ok(Symbols {
            table,
            dwarf,
            lines,
            line_info,
            types,
            relocation,
            modules,
            module_files,
            build_id,
            path,
        })
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
    /// Reads all of RAM if need be, but for the pages that are known to hold zeros.
    #[must_use]
    pub fn from_kernel_memory(ram: &dyn GuestRam) -> Option<Symbols<'data>> {
        find_kallsyms(ram).map(Symbols::from_table)
    }

    /// The best symbols for a running guest whose RAM is `ram`, and what its kernel sees as `memory`: those of an ELF file
    /// (its `vmlinux`, or the kernel itself) where KASLR has put them, else the kernel's own, else none. Says so if the file
    /// is of another build, and is therefore not used.
    #[must_use]
    pub fn of_guest(
        elf: Option<Symbols<'data>>,
        ram: &dyn GuestRam,
        memory: &dyn GuestMemory,
    ) -> (Symbols<'data>, Option<OtherBuild>) {
        // Only Linux says where it is; no other system's RAM needs to be searched.
        match elf {
            Some(elf) if elf.address_of("linux_banner").is_none() => (elf, None),
            Some(elf) => match Symbols::from_kernel_memory(ram) {
                Some(running) => match elf.check_build(&running, memory) {
                    Ok(()) => (elf.aligned_with(&running), None),
                    Err(other) => (running, Some(other)),
                },
                None => (elf, None),
            },
            None => (Symbols::from_kernel_memory(ram).unwrap_or_else(Symbols::none), None),
        }
    }

    /// The same symbols for an image that runs `slide` bytes above the addresses it was linked for.
    #[must_use]
    pub fn with_slide(mut self, slide: i64) -> Symbols<'data> {
        self.relocation = self.relocation.with_slide(slide as u64);
        self
    }

    /// The same symbols moved to where `running` (from [`Symbols::from_kernel_memory`]) says that the kernel
    /// is: what undoes KASLR for a `vmlinux`. Unmoved if the two have no start of text in common.
    #[must_use]
    pub fn aligned_with(self, running: &Symbols<'_>) -> Symbols<'data> {
        let slide = ["_text", "_stext", "startup_64"].into_iter().find_map(|name| {
            let linked = self.table.address_of(name)?;
            Some(running.address_of(name)?.wrapping_sub(linked) as i64)
        });
        let slide = slide.unwrap_or(self.slide());
        self.with_slide(slide)
    }

    /// The same symbols, which are from the file at `path`.
    #[must_use]
    pub fn from_file(self, path: &Path) -> Symbols<'data> {
        Symbols { path: Some(path.to_path_buf()), ..self }
    }

    /// The file that they are from, if it is one by itself.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The identity that the linker gave the file.
    #[must_use]
    pub fn build_id(&self) -> Option<&BuildId> {
        self.build_id.as_ref()
    }

    /// Whether these symbols may be used for the kernel that runs, whose own symbols are `running`: they may if either has
    /// no build id.
    ///
    /// # Errors
    /// They are of another build.
    pub fn check_build(&self, running: &Symbols<'_>, memory: &dyn GuestMemory) -> Result<(), OtherBuild> {
        match (&self.build_id, kernel_identity(running, memory).build_id) {
            (Some(file), Some(running)) if *file != running => {
                Err(OtherBuild { file: file.clone(), running })
            }
            _ => Ok(()),
        }
    }

    /// How far above its link addresses the image runs.
    #[must_use]
    pub fn slide(&self) -> i64 {
        self.relocation.slide() as i64
    }

    /// The types that are known of the guest.
    #[must_use]
    pub fn types(&self) -> &Types<'data> {
        &self.types
    }

    /// Whether there is no symbol.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// How many symbols there are, of the kernel and of modules.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len() + self.modules().iter().map(|module| module.len()).sum::<usize>()
    }

    /// Whether source lines can be had.
    #[must_use]
    pub fn line_info(&self) -> LineInfo {
        self.line_info
    }

    fn link_address(&self, vaddr: u64) -> u64 {
        self.relocation.link_address(vaddr)
    }

    /// The function that holds `vaddr`.
    #[must_use]
    pub fn function_at(&self, vaddr: u64) -> Option<Function> {
        match self.module_at(vaddr) {
            Some(module) => module.function_at(vaddr),
            None => self.table.function_at(self.link_address(vaddr)),
        }
    }

    /// The symbol at or before `vaddr`, of code or data, and how far before.
    #[must_use]
    pub fn nearest(&self, vaddr: u64) -> Option<(String, u64)> {
        match self.module_at(vaddr) {
            Some(module) => module.nearest(vaddr),
            None => self.table.nearest(self.link_address(vaddr)),
        }
    }

    /// All names of the kernel and of its modules, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.table.names().map(str::to_owned).collect();
        self.modules().iter().for_each(|module| names.extend(module.names().map(str::to_owned)));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether `vaddr` lies in a function.
    #[must_use]
    pub fn is_code(&self, vaddr: u64) -> bool {
        match self.module_at(vaddr) {
            Some(module) => module.is_code(vaddr),
            None => self.table.is_code(self.link_address(vaddr)),
        }
    }

    /// The source lines of the instruction at `vaddr`, the innermost inlined function first. For a return
    /// address ask one byte before it, which still belongs to the call.
    #[must_use]
    pub fn lines_at(&self, vaddr: u64) -> Vec<SourceLine> {
        match self.module_at(vaddr) {
            Some(module) => module.lines_at(vaddr),
            None => self.lines.as_ref().map(|lines| lines.at(self.link_address(vaddr))).unwrap_or_default(),
        }
    }

    /// Where the symbol `name` lies.
    #[must_use]
    pub fn address_of(&self, name: &str) -> Option<u64> {
        let own = self.address_of_kernel(name);
        own.or_else(|| self.modules().iter().find_map(|module| module.address_of(name)))
    }

    fn address_of_kernel(&self, name: &str) -> Option<u64> {
        self.table.address_of(name).map(|address| self.relocation.relocate(address))
    }

    /// What `vaddr` lies in, as a debugger names it: `schedule+16`, `init_task`. Data is named by the nearest symbol below.
    #[must_use]
    pub fn name_of(&self, vaddr: u64) -> Option<String> {
        let (name, offset) = match self.function_at(vaddr) {
            Some(function) => (function.name, function.offset),
            None => match self.module_at(vaddr) {
                Some(module) => module.data_at(vaddr)?,
                None => {
                    let (name, offset) = self.table.data_at(self.link_address(vaddr))?;
                    (name.to_owned(), offset)
                }
            },
        };
        Some(if offset == 0 { name } else { format!("{name}+{offset}") })
    }
}

/// The link addresses that are offsets: Linux's per-CPU variables, where they are linked at address 0.
fn offsets(table: &SymbolTable) -> Range<u64> {
    /// More than any kernel's per-CPU variables, and less than its text's address.
    const OFFSETS_MAX: u64 = 1 << 24;
    match (table.address_of("__per_cpu_start"), table.address_of("__per_cpu_end")) {
        (Some(start), Some(end)) if start < end && end < OFFSETS_MAX => start..end,
        _ => 0..0,
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
        // Constants of an assembler are no places.
        if symbol.section() == SymbolSection::Absolute {
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
