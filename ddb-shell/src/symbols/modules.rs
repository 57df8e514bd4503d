//! Symbols of the modules of a running kernel, beside those of the kernel itself.

use super::table::{Builder, Rank, SymbolTable};
use super::{Function, Symbols};
use std::sync::Arc;

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

/// A module's symbols, at running addresses.
#[derive(Debug)]
pub(crate) struct ModuleSymbols {
    key: ModuleKey,
    table: SymbolTable,
    orc: Option<OrcTables>,
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
        ModuleSymbols { key, table: builder.finish(), orc }
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

    pub(super) fn data_at(&self, vaddr: u64) -> Option<(String, u64)> {
        self.table.data_at(vaddr).map(|(name, offset)| (name.to_owned(), offset))
    }

    pub(super) fn address_of(&self, name: &str) -> Option<u64> {
        self.table.address_of(name)
    }
}

impl Symbols<'_> {
    /// The modules whose symbols are known.
    pub(crate) fn modules(&self) -> Vec<Arc<ModuleSymbols>> {
        self.modules.read().map(|modules| modules.clone()).unwrap_or_default()
    }

    /// Replaces them.
    pub(crate) fn set_modules(&self, modules: Vec<Arc<ModuleSymbols>>) {
        if let Ok(mut known) = self.modules.write() {
            *known = modules;
        }
    }

    /// The module that has an address.
    pub(crate) fn module_at(&self, vaddr: u64) -> Option<Arc<ModuleSymbols>> {
        self.modules.read().ok()?.iter().find(|module| module.holds(vaddr)).cloned()
    }
}
