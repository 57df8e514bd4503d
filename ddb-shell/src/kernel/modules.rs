//! The modules of a running Linux: where they lie, what their sections and symbols are (kernel/module/*.c, include/linux/module.h).
//!
//! Everything is found by the kernel's own types, so that the layouts of 5.10 to 6.18 (`core_layout`, then from 6.4 `mem[]`)
//! are one. The list is the guest's: every length is checked, and every walk has an end.

use super::module_types::module_btf;
use super::{find_types, kernel_identity};
use crate::memory::GuestMemory;
use crate::symbols::types::{Shape, TypeRef, Types};
use crate::symbols::{
    BuildId, ModuleDebug, ModuleKey, ModuleSymbols, OrcTables, SymbolKindOfModule, Symbols, WantedModule,
};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// More modules than anybody loads.
const MODULES_MAX: usize = 4096;
const SYMBOLS_MAX: u64 = 1 << 18;
const NAMES_BYTES_MAX: u64 = 16 << 20;
const SECTIONS_MAX: u64 = 256;
const SYMBOL_BYTES: usize = 24;
const NAME_BYTES_MAX: usize = 256;
/// Longer than any part of a module.
const MODULE_BYTES_MAX: u64 = 1 << 30;

/// A loaded module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Where its `struct module` lies.
    pub vaddr: u64,
    /// Its parts: address and length in bytes, code first.
    pub parts: Vec<(u64, u64)>,
    /// Its sections by name, as in /sys/module/NAME/sections, and that of the per-CPU variables.
    pub sections: Vec<(String, u64)>,
}

/// The modules that are loaded, in the order in which the kernel lists them. `None` for another system, or a kernel without
/// type information.
#[must_use]
pub fn modules(symbols: &Symbols<'_>, memory: &dyn GuestMemory) -> Option<Vec<Module>> {
    let reader = Reader::new(symbols, memory)?;
    Some(reader.list()?.into_iter().filter_map(|vaddr| reader.module(vaddr)).collect())
}

/// Lets `symbols` name what lies in modules, as they are loaded now. Those that are known already are not read again.
pub fn find_module_symbols(symbols: &Symbols<'_>, memory: &dyn GuestMemory) {
    let read = || {
        let reader = Reader::new(symbols, memory)?;
        let known = symbols.modules();
        let all = reader.list()?.into_iter().filter_map(|vaddr| {
            let key = reader.key(vaddr)?;
            let found = known.iter().find(|module| *module.key() == key).cloned();
            found.or_else(|| reader.symbols_of(vaddr, key).map(Arc::new))
        });
        Some(all.collect())
    };
    if let Some(all) = read() {
        symbols.set_modules(all);
    }
}

/// A note with an identity has some 36 bytes.
const NOTE_BYTES_MAX: u64 = 4096;

struct Reader<'a, 'data> {
    symbols: &'a Symbols<'data>,
    types: &'a Types<'data>,
    memory: &'a dyn GuestMemory,
    head: u64,
    module: TypeRef,
}

impl<'a, 'data> Reader<'a, 'data> {
    fn new(symbols: &'a Symbols<'data>, memory: &'a dyn GuestMemory) -> Option<Reader<'a, 'data>> {
        let head = symbols.address_of("modules").filter(|_| symbols.address_of("linux_banner").is_some())?;
        find_types(symbols, memory);
        let module = symbols.types().structure("module")?;
        Some(Reader { symbols, types: symbols.types(), memory, head, module })
    }

    fn word(&self, vaddr: u64) -> Option<u64> {
        self.memory.read_number(vaddr, 8).ok()
    }

    /// How far a member of a member lies from the start, and its type.
    fn path(&self, of: &TypeRef, members: &[&str]) -> Option<(u64, TypeRef)> {
        let (mut offset, mut at) = (0, of.clone());
        for name in members {
            let place = self.types.member(&at, name).ok()??;
            offset += place.offset_bits / 8;
            at = place.type_ref;
        }
        Some((offset, at))
    }

    /// The value of a member of at most eight bytes.
    fn value(&self, vaddr: u64, of: &TypeRef, members: &[&str]) -> Option<u64> {
        let (offset, type_ref) = self.path(of, members)?;
        let length = self.types.size_bytes(&type_ref).ok()?;
        self.memory.read_number(vaddr.wrapping_add(offset), length).ok()
    }

    /// What a member that is a pointer points to: address and type.
    fn target(&self, vaddr: u64, of: &TypeRef, members: &[&str]) -> Option<(u64, TypeRef)> {
        let (offset, type_ref) = self.path(of, members)?;
        let Shape::Pointer(target) = &self.types.resolve(&type_ref).ok()?.1.shape else { return None };
        Some((self.word(vaddr.wrapping_add(offset))?, target.clone()))
    }

    /// Where every `struct module` lies.
    fn list(&self) -> Option<Vec<u64>> {
        let (link, _) = self.path(&self.module, &["list"])?;
        let mut found = Vec::new();
        let mut at = self.word(self.head)?;
        while at != self.head && found.len() < MODULES_MAX {
            found.push(at.wrapping_sub(link));
            at = self.word(at)?;
        }
        Some(found)
    }

    fn name(&self, vaddr: u64) -> Option<String> {
        let (offset, _) = self.path(&self.module, &["name"])?;
        let (text, _) = self.memory.read_text(vaddr.wrapping_add(offset), 56).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// The parts of a module.
    fn parts(&self, vaddr: u64) -> Option<Vec<(u64, u64)>> {
        if let Some((offset, array)) = self.path(&self.module, &["mem"]) {
            let (_, found) = self.types.resolve(&array).ok()?;
            let Shape::Array { element, count: Some(count) } = &found.shape else { return None };
            let size = self.types.size_bytes(element).ok()?;
            let part = |index: u64| {
                let at = vaddr.wrapping_add(offset + index * size);
                Some((self.value(at, element, &["base"])?, self.value(at, element, &["size"])?))
            };
            let parts: Vec<_> =
                (0..(*count).min(16)).filter_map(part).filter(|(_, size)| *size > 0).collect();
            return (!parts.is_empty()).then_some(parts);
        }
        let layout = |name: &str| {
            let value = |member: &str| self.value(vaddr, &self.module, &[name, member]);
            Some((value("base")?, value("size")?))
        };
        // The second is there only while the module is being loaded.
        let parts = [layout("core_layout")?, layout("init_layout")?];
        Some(parts.into_iter().filter(|(_, size)| *size > 0).collect())
    }

    fn module(&self, vaddr: u64) -> Option<Module> {
        let (name, parts) = (self.name(vaddr)?, self.parts(vaddr)?);
        Some(Module { name, vaddr, parts, sections: self.sections(vaddr).unwrap_or_default() })
    }

    /// Name and address of each section; of the per-CPU variables', the first offset.
    fn sections(&self, vaddr: u64) -> Option<Vec<(String, u64)>> {
        let mut sections = self.listed_sections(vaddr)?;
        let per_cpu = self.per_cpu(vaddr).filter(|offsets| !offsets.is_empty());
        sections.extend(per_cpu.map(|offsets| (".data..percpu".to_owned(), offsets.start)));
        Some(sections)
    }

    fn listed_sections(&self, vaddr: u64) -> Option<Vec<(String, u64)>> {
        let (list, list_type) = self.target(vaddr, &self.module, &["sect_attrs"])?;
        // From 6.14 on the list ends with an entry without a name.
        let count = self.value(list, &list_type, &["nsections"]).unwrap_or(SECTIONS_MAX).min(SECTIONS_MAX);
        let (offset, array) = self.path(&list_type, &["attrs"])?;
        let (_, found) = self.types.resolve(&array).ok()?;
        let Shape::Array { element, .. } = &found.shape else { return None };
        let size = self.types.size_bytes(element).ok()?;
        let section = |index: u64| {
            let at = list.wrapping_add(offset + index * size);
            let is_old = self.path(element, &["battr"]).is_some();
            let path: &[&str] = if is_old { &["battr", "attr", "name"] } else { &["attr", "name"] };
            let (text, _) = self.target(at, element, path)?;
            let (text, _) = self.memory.read_text(text, NAME_BYTES_MAX).ok()?;
            Some((String::from_utf8_lossy(&text).into_owned(), self.value(at, element, &["address"])?))
        };
        Some((0..count).map_while(section).collect())
    }

    /// What tells a module from one that was loaded to the same place before.
    fn key(&self, vaddr: u64) -> Option<ModuleKey> {
        let (table, table_type) = self.target(vaddr, &self.module, &["kallsyms"])?;
        Some(ModuleKey {
            vaddr,
            name: self.name(vaddr)?,
            symbols: self.value(table, &table_type, &["num_symtab"])?.min(SYMBOLS_MAX),
            parts: self.parts(vaddr)?,
        })
    }

    fn symbols_of(&self, vaddr: u64, key: ModuleKey) -> Option<ModuleSymbols> {
        let (table, table_type) = self.target(vaddr, &self.module, &["kallsyms"])?;
        let start = self.value(table, &table_type, &["symtab"])?;
        let names = self.value(table, &table_type, &["strtab"])?;
        let kinds = self.value(table, &table_type, &["typetab"]);
        let mut bytes = vec![0; key.symbols as usize * SYMBOL_BYTES];
        self.memory.read(start, &mut bytes).ok()?;
        let mut found = Vec::new();
        let (records, _) = bytes.as_chunks::<SYMBOL_BYTES>();
        for (index, record) in records.iter().enumerate() {
            let field = |at: usize| record[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            let (name_offset, section) = (field(0) as u32, (field(0) >> 48) as u16);
            let length_bytes = record[16..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            if section == 0 || name_offset == 0 || u64::from(name_offset) > NAMES_BYTES_MAX {
                continue;
            }
            let at = names.wrapping_add(u64::from(name_offset));
            let Ok((text, true)) = self.memory.read_text(at, NAME_BYTES_MAX) else { continue };
            let kind = kinds.and_then(|kinds| self.memory.read_number(kinds + index as u64, 1).ok());
            let is_code = match kind {
                Some(letter) => matches!(letter as u8, b't' | b'T' | b'w' | b'W'),
                None => record[4] & 0xf == 2,
            };
            let kind = if is_code { SymbolKindOfModule::Code } else { SymbolKindOfModule::Data };
            let name = String::from_utf8_lossy(&text).into_owned();
            found.push((name, field(8), length_bytes, kind));
        }
        let is_sound = key.parts.iter().all(|(_, size)| *size < MODULE_BYTES_MAX);
        is_sound.then(|| {
            let btf = module_btf(self.symbols, self.memory, vaddr, &key.name);
            let debug = self.debug(vaddr, &key.name);
            let symbols = ModuleSymbols::new(key, found, self.orc(vaddr)).with_btf(btf).with_debug(debug);
            symbols.with_per_cpu(self.per_cpu(vaddr).unwrap_or_default())
        })
    }

    /// What the file of a module says of it, or the files that are of another build.
    fn debug(&self, vaddr: u64, name: &str) -> Result<ModuleDebug, Vec<PathBuf>> {
        let files = self.symbols.module_files().ok_or_else(Vec::new)?;
        let sections = self.sections(vaddr).unwrap_or_default();
        let build_id = self.build_id(&sections);
        let release = kernel_identity(self.symbols, self.memory).release;
        let wanted = WantedModule { name, build_id: build_id.as_ref(), release: release.as_deref() };
        Ok(ModuleDebug::new(files.file_of(&wanted)?, &sections))
    }

    fn build_id(&self, sections: &[(String, u64)]) -> Option<BuildId> {
        let (_, vaddr) = sections.iter().find(|(name, _)| name == ".note.gnu.build-id")?;
        let length = |at: u64| self.memory.read_number(vaddr.wrapping_add(at), 4).ok();
        let mut note =
            vec![0; (12 + length(0)?.next_multiple_of(4) + length(4)?).min(NOTE_BYTES_MAX) as usize];
        self.memory.read(*vaddr, &mut note).ok()?;
        BuildId::in_notes(&note)
    }

    /// The offsets of the variables of which every CPU has a copy.
    fn per_cpu(&self, vaddr: u64) -> Option<Range<u64>> {
        let start = self.value(vaddr, &self.module, &["percpu"])?;
        let length = self.value(vaddr, &self.module, &["percpu_size"])?;
        Some(start..start.checked_add(length)?)
    }

    fn orc(&self, vaddr: u64) -> Option<OrcTables> {
        let value = |name: &str| self.value(vaddr, &self.module, &["arch", name]);
        let (addresses, entries) = (value("orc_unwind_ip")?, value("orc_unwind")?);
        Some(OrcTables { addresses, entries, count: value("num_orcs")? & 0xffff_ffff })
    }
}
