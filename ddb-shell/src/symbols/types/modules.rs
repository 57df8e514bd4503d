//! Types of modules: from a module's file, and from the BTF that it adds to its kernel's.

use super::super::dwarf::DebugInfo;
use super::super::module_file::ModuleFile;
use super::{Btf, Source, Type, TypeRef, Types, dwarf};
use std::sync::Arc;

/// What describes the types of one module.
#[derive(Clone, Debug)]
pub(super) struct ModuleTypes {
    /// The module's name.
    pub name: String,
    file: Option<Arc<ModuleFile>>,
    btf: Option<Arc<Btf>>,
}

/// How a name is looked for in either description: to an offset of `.debug_info`, to a number of BTF.
type InDwarf<'a> = dyn Fn(&DebugInfo<'_>) -> Option<usize> + 'a;
type InBtf<'a> = dyn Fn(&Btf) -> Option<u32> + 'a;

impl ModuleTypes {
    fn has(&self, source: Source) -> bool {
        let of_file = self.file.as_ref().is_some_and(|file| file.source() == source);
        of_file || self.btf.as_ref().is_some_and(|btf| btf.source() == source)
    }

    /// The type that is named.
    pub fn decode(&self, type_ref: &TypeRef, pointer_bytes: u64) -> Option<Type> {
        match type_ref {
            TypeRef::Dwarf(_, offset) => dwarf::decode(self.file.as_ref()?.dwarf()?, *offset),
            TypeRef::Btf(_, number) => self.btf.as_ref()?.decode(*number, pointer_bytes),
            TypeRef::Void | TypeRef::Made(_) => None,
        }
    }

    fn search(&self, in_dwarf: &InDwarf<'_>, in_btf: &InBtf<'_>) -> Option<TypeRef> {
        let dwarf = self.file.as_ref().and_then(|file| file.dwarf());
        let of_dwarf = dwarf.and_then(|dwarf| Some(dwarf.type_ref(Some(in_dwarf(dwarf)?))));
        of_dwarf.or_else(|| self.btf.as_ref().and_then(|btf| Some(btf.type_ref(in_btf(btf)?))))
    }
}

impl Types<'_> {
    /// Adds what describes the types of a module, unless it is known.
    pub(crate) fn add_module(&self, name: &str, file: Option<Arc<ModuleFile>>, btf: Option<Arc<Btf>>) {
        let Ok(mut modules) = self.modules.write() else { return };
        let source = |of: &ModuleTypes| {
            (of.file.as_ref().map(|file| file.source()), of.btf.as_ref().map(|btf| btf.source()))
        };
        let added = ModuleTypes { name: name.to_owned(), file, btf };
        let is_known = modules.iter().any(|known| known.name == name && source(known) == source(&added));
        if !is_known && source(&added) != (None, None) {
            // What was loaded last is what a name is looked for in first.
            modules.insert(0, added);
        }
    }

    /// The BTF of a module made from these bytes, which is the one that is known if they are the same.
    pub(crate) fn module_btf(&self, name: &str, bytes: Vec<u8>) -> Option<Arc<Btf>> {
        let modules = self.modules.read().ok()?;
        let known =
            modules.iter().filter(|module| module.name == name).filter_map(|module| module.btf.clone());
        if let Some(same) = known.into_iter().find(|btf| btf.bytes() == bytes) {
            return Some(same);
        }
        Btf::parse_split(bytes, Arc::clone(self.btf()?)).map(Arc::new)
    }

    /// The module whose types come from there.
    pub(super) fn module_of(&self, source: Source) -> Option<ModuleTypes> {
        self.modules.read().ok()?.iter().find(|module| module.has(source)).cloned()
    }

    /// Looks for a name in `module`, in the kernel, and in all other modules.
    pub(super) fn search(
        &self,
        module: Option<&str>,
        in_dwarf: &InDwarf<'_>,
        in_btf: &InBtf<'_>,
    ) -> Option<TypeRef> {
        let modules = self.modules.read().ok();
        let modules = modules.as_deref().map(Vec::as_slice).unwrap_or_default();
        let is_own = |of: &&ModuleTypes| Some(of.name.as_str()) == module;
        let own = || modules.iter().filter(is_own).find_map(|of| of.search(in_dwarf, in_btf));
        let of_dwarf = || self.dwarf.as_ref().and_then(|dwarf| Some(dwarf.type_ref(Some(in_dwarf(dwarf)?))));
        let of_btf = || self.btf.get().and_then(|btf| Some(btf.type_ref(in_btf(btf)?)));
        let others = || modules.iter().filter(|of| !is_own(of)).find_map(|of| of.search(in_dwarf, in_btf));
        own().or_else(of_dwarf).or_else(of_btf).or_else(others)
    }
}
