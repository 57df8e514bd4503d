//! Symbols of the modules of a running kernel, beside those of the kernel itself.

use super::dwarf::DebugInfo;
use super::lines::Lines;
use super::module_file::ModuleFile;
use super::relocation::Relocation;
use super::table::{Builder, Rank, SymbolTable};
use super::types::Btf;
use super::{Function, ModuleFiles, SourceLine, Symbols};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// What tells a module from others, and from one that was at the same place before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModuleKey {
    /// Where its `struct module` lies.
    pub vaddr: u64,
    pub name: String,
    /// How many symbols it has.
    pub symbols: u64,
    /// Address and length of its parts: fewer, when it has been loaded.
    pub parts: Vec<(u64, u64)>,
}

/// Whether a module's symbol is a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SymbolKindOfModule {
    Code,
    Data,
}

/// Where tables for unwinding lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OrcTables {
    /// A sorted table of addresses, each relative to itself.
    pub addresses: u64,
    /// What holds from each address on.
    pub entries: u64,
    pub count: u64,
}

/// What a module's file says, for where the module is.
#[derive(Debug)]
pub(crate) struct ModuleDebug {
    pub file: Arc<ModuleFile>,
    pub relocation: Relocation,
    lines: OnceLock<Option<Lines<'static>>>,
}

impl ModuleDebug {
    /// For a module whose sections lie as `sections` say.
    pub fn new(file: Arc<ModuleFile>, sections: &[(String, u64)]) -> ModuleDebug {
        let relocation = file.relocation(sections);
        ModuleDebug { file, relocation, lines: OnceLock::new() }
    }
}

/// A module's symbols, at running addresses.
#[derive(Debug)]
pub(crate) struct ModuleSymbols {
    key: ModuleKey,
    table: SymbolTable,
    orc: Option<OrcTables>,
    per_cpu: Range<u64>,
    debug: Option<ModuleDebug>,
    btf: Option<Arc<Btf>>,
    /// Files that were found for it, but are of another build.
    others: Vec<PathBuf>,
}

impl ModuleSymbols {
    /// Of symbols by name, address and length.
    pub fn new(
        key: ModuleKey,
        symbols: Vec<(String, u64, u64, SymbolKindOfModule)>,
        orc: Option<OrcTables>,
    ) -> ModuleSymbols {
        let mut builder = Builder::default();
        key.parts.iter().for_each(|(start, length)| builder.limit(start.saturating_add(*length)));
        for (name, vaddr, length_bytes, kind) in symbols {
            match kind {
                SymbolKindOfModule::Code => builder.code(&name, vaddr, length_bytes, Rank::Global),
                SymbolKindOfModule::Data => builder.data(&name, vaddr),
            }
        }
        let (table, per_cpu, others) = (builder.finish(), 0..0, Vec::new());
        ModuleSymbols { key, table, orc, per_cpu, debug: None, btf: None, others }
    }

    /// The same with the offsets of its per-CPU variables.
    pub fn with_per_cpu(self, per_cpu: Range<u64>) -> ModuleSymbols {
        ModuleSymbols { per_cpu, ..self }
    }

    /// The same with the types that it adds to its kernel's.
    pub fn with_btf(self, btf: Option<Arc<Btf>>) -> ModuleSymbols {
        ModuleSymbols { btf, ..self }
    }

    /// The same with its debug information, or with the files that are not.
    pub fn with_debug(self, debug: Result<ModuleDebug, Vec<PathBuf>>) -> ModuleSymbols {
        match debug {
            Ok(debug) => ModuleSymbols { debug: Some(debug), ..self },
            Err(others) => ModuleSymbols { others, ..self },
        }
    }

    /// What its file says.
    pub fn debug(&self) -> Option<&ModuleDebug> {
        self.debug.as_ref()
    }

    /// The files that were found for it, but are of another build.
    pub fn others(&self) -> &[PathBuf] {
        &self.others
    }

    pub(super) fn lines_at(&self, vaddr: u64) -> Vec<SourceLine> {
        let Some(debug) = &self.debug else { return Vec::new() };
        let open = || debug.file.dwarf().cloned().map(Lines::new);
        let lines = debug.lines.get_or_init(open);
        lines.as_ref().map(|lines| lines.at(debug.relocation.link_address(vaddr))).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn code_addresses(&self, name: &str) -> impl Iterator<Item = u64> {
        self.table.code_addresses(name)
    }

    /// Its debug information, and where what that describes lies.
    pub(super) fn dwarf(&self) -> Option<(&DebugInfo<'static>, &Relocation)> {
        let debug = self.debug.as_ref()?;
        Some((debug.file.dwarf()?, &debug.relocation))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.table.names()
    }

    pub(super) fn nearest(&self, vaddr: u64) -> Option<(String, u64)> {
        self.table.nearest(vaddr)
    }

    pub fn key(&self) -> &ModuleKey {
        &self.key
    }

    pub fn orc(&self) -> Option<OrcTables> {
        self.orc
    }

    /// Whether the module has that address.
    pub fn holds(&self, vaddr: u64) -> bool {
        self.key.parts.iter().any(|(start, length)| vaddr.wrapping_sub(*start) < *length)
    }

    pub(super) fn function_at(&self, vaddr: u64) -> Option<Function> {
        let found = self.table.function_at(vaddr)?;
        Some(Function { module: Some(self.key.name.clone()), ..found })
    }

    pub(super) fn is_code(&self, vaddr: u64) -> bool {
        self.table.is_code(vaddr)
    }

    /// The types that it adds to its kernel's.
    pub(super) fn btf(&self) -> Option<&Arc<Btf>> {
        self.btf.as_ref()
    }

    pub(super) fn data_at(&self, vaddr: u64) -> Option<(String, u64)> {
        self.table.data_at(vaddr).map(|(name, offset)| (name.to_owned(), offset))
    }

    pub(super) fn address_of(&self, name: &str) -> Option<u64> {
        self.table.address_of(name)
    }
}

impl Symbols<'_> {
    /// Has modules' debug information come from there.
    pub fn set_module_files(&mut self, files: Arc<ModuleFiles>) {
        self.module_files = Some(files);
    }

    pub(crate) fn module_files(&self) -> Option<&Arc<ModuleFiles>> {
        self.module_files.as_ref()
    }

    /// The modules whose symbols are known.
    pub(crate) fn modules(&self) -> Vec<Arc<ModuleSymbols>> {
        self.modules.read().map(|modules| modules.clone()).unwrap_or_default()
    }

    /// Replaces them.
    pub(crate) fn set_modules(&self, modules: Vec<Arc<ModuleSymbols>>) {
        for module in &modules {
            let file = module.debug.as_ref().map(|debug| Arc::clone(&debug.file));
            self.types.add_module(&module.key.name, file, module.btf.clone());
        }
        if let Ok(mut known) = self.modules.write() {
            *known = modules;
        }
    }

    /// Where the symbol `name` lies that `module` has; of the kernel, if there is no such module.
    #[must_use]
    pub fn address_in(&self, module: &str, name: &str) -> Option<u64> {
        match self.modules().iter().find(|known| known.key.name == module) {
            Some(module) => module.address_of(name),
            None => self.address_of_kernel(name),
        }
    }

    /// Whether an offset is that of a per-CPU variable of a module.
    pub(super) fn is_per_cpu_of_module(&self, offset: u64) -> bool {
        self.modules().iter().any(|module| module.per_cpu.contains(&offset))
    }

    /// The name of the module that has an address.
    pub(crate) fn module_name_at(&self, vaddr: u64) -> Option<String> {
        Some(self.module_at(vaddr)?.key.name.clone())
    }

    /// The module that has an address.
    pub(crate) fn module_at(&self, vaddr: u64) -> Option<Arc<ModuleSymbols>> {
        self.modules.read().ok()?.iter().find(|module| module.holds(vaddr)).cloned()
    }
}
