//! Variables and functions by name, with their types and places; and those that can be seen from an address.

use super::dwarf::DebugInfo;
use super::modules::ModuleSymbols;
use super::relocation::Relocation;
use super::sections::DebugSections;
use super::types::{Source, TypeRef};
use super::{Location, Scope, Symbols, Unwound};
use crate::memory::GuestMemory;
use crate::registers::Registers;

/// Something that a name stands for everywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Global {
    /// Its type; `None` if there is a symbol, but no description.
    pub type_ref: Option<TypeRef>,
    /// Where it is. For a per-CPU variable of Linux, the address of the original that every CPU's copy is made of, or its
    /// offset.
    pub location: Location,
    /// Whether every CPU has a copy.
    pub is_per_cpu: bool,
}

impl Symbols<'_> {
    /// What is slow to read, for a thread that has time: the names of everything in a kernel's DWARF. Who needs them earlier
    /// waits for it. `bytes` are the file's, which these symbols are of.
    pub fn preparation(&self, bytes: &'static [u8]) -> impl FnOnce() + Send + 'static + use<> {
        let list = self.dwarf.as_ref().map(|dwarf| dwarf.shared_index());
        move || {
            if let Some(list) = list
                && let Ok(file) = object::File::parse(bytes)
                && let Some(dwarf) = DebugInfo::new(&DebugSections::of_linked(&file), Source::KERNEL)
            {
                list.get_or_init(|| dwarf.list_names());
            }
        }
    }

    /// The caller of a frame that executes at `vaddr`, by the file's call frame information. For a frame that waits for a
    /// call to return, `vaddr` is one byte before its return address.
    #[must_use]
    pub fn unwind(&self, vaddr: u64, registers: &Registers, memory: &dyn GuestMemory) -> Unwound {
        if let Some(module) = self.module_at(vaddr) {
            let Some((dwarf, relocation)) = module.dwarf() else { return Unwound::Unknown };
            return dwarf.unwind(relocation.link_address(vaddr), registers, memory, relocation);
        }
        match &self.dwarf {
            Some(dwarf) => dwarf.unwind(self.link_address(vaddr), registers, memory, &self.relocation),
            None => Unwound::Unknown,
        }
    }

    /// The scopes around the instruction at `vaddr`, the innermost first, with their variables. For a return address ask
    /// one byte before it.
    #[must_use]
    pub fn scopes_at(&self, vaddr: u64) -> Vec<Scope> {
        if let Some(module) = self.module_at(vaddr) {
            let scopes = |(dwarf, relocation): (&DebugInfo<'_>, &Relocation)| {
                dwarf.scopes_at(relocation.link_address(vaddr), relocation)
            };
            return module.dwarf().map(scopes).unwrap_or_default();
        }
        let dwarf = self.dwarf.as_ref();
        dwarf.map(|dwarf| dwarf.scopes_at(self.link_address(vaddr), &self.relocation)).unwrap_or_default()
    }

    /// The global variable or function of that name. Of several static ones, the one of the file that the code at `near` is
    /// from, then of the module that it is from; else the first that has a place.
    #[must_use]
    pub fn global(&self, name: &str, near: Option<u64>) -> Option<Global> {
        let described = self.described(name, near);
        if let Some(global) = described.as_ref().filter(|global| global.location != Location::OptimizedOut) {
            return Some(global.clone());
        }
        let vaddr = self.address_near(name, near)?;
        Some(Global {
            type_ref: described.and_then(|global| global.type_ref).or_else(|| self.type_of_btf(name, vaddr)),
            location: Location::Address(vaddr),
            is_per_cpu: self.is_per_cpu(vaddr),
        })
    }

    /// What debug information says of a name: that of the module at `near`, the kernel's, that of modules that have the name.
    fn described(&self, name: &str, near: Option<u64>) -> Option<Global> {
        let own = near.and_then(|vaddr| self.module_at(vaddr));
        let of_module = |module: &ModuleSymbols| {
            let (dwarf, relocation) = module.dwarf()?;
            self.described_by(dwarf, relocation, name, near)
        };
        let of_kernel = || {
            self.described_by(self.dwarf.as_ref()?, &self.relocation, name, near.filter(|_| own.is_none()))
        };
        let of_others = || {
            let modules = self.modules();
            let mut having = modules.iter().filter(|module| module.address_of(name).is_some());
            having.find_map(|module| of_module(module))
        };
        own.as_deref().and_then(of_module).or_else(of_kernel).or_else(of_others)
    }

    fn described_by(
        &self,
        dwarf: &DebugInfo<'_>,
        relocation: &Relocation,
        name: &str,
        near: Option<u64>,
    ) -> Option<Global> {
        let mut offsets = [dwarf.find_variables(name), dwarf.find_functions(name)].concat();
        if let Some(unit) = near.and_then(|vaddr| dwarf.span_of_unit(relocation.link_address(vaddr))) {
            // A stable sort: those of other units stay in their order.
            offsets.sort_by_key(|offset| !unit.contains(offset));
        }
        let found: Vec<_> = offsets.iter().filter_map(|offset| dwarf.global(*offset, relocation)).collect();
        let placed = found.iter().find(|variable| variable.location != Location::OptimizedOut);
        let variable = placed.or(found.first())?;
        let is_per_cpu = match variable.location {
            Location::Address(vaddr) => self.is_per_cpu(vaddr),
            _ => false,
        };
        let (type_ref, location) = (Some(variable.type_ref.clone()), variable.location.clone());
        Some(Global { type_ref, location, is_per_cpu })
    }

    /// Where a name lies: in the module at `near`, else anywhere.
    fn address_near(&self, name: &str, near: Option<u64>) -> Option<u64> {
        let own = near.and_then(|vaddr| self.module_at(vaddr)?.address_of(name));
        own.or_else(|| self.address_of(name))
    }

    /// The type of what is at `vaddr` by the BTF of the module that has it, else of the kernel.
    fn type_of_btf(&self, name: &str, vaddr: u64) -> Option<TypeRef> {
        let module = self.module_at(vaddr);
        let btf = match &module {
            Some(module) => module.btf()?,
            None => self.types.btf()?,
        };
        Some(btf.type_ref(btf.find_object(name)?))
    }

    /// Whether `vaddr` is in the section of which Linux gives every CPU a copy.
    #[must_use]
    pub fn is_per_cpu(&self, vaddr: u64) -> bool {
        let bounds = (self.address_of("__per_cpu_start"), self.address_of("__per_cpu_end"));
        let is_kernels = matches!(bounds, (Some(start), Some(end)) if (start..end).contains(&vaddr));
        is_kernels || self.is_per_cpu_of_module(vaddr)
    }
}
