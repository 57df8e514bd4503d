//! Variables and functions by name, with their types and places; and those that can be seen from an address.

use super::dwarf::DebugInfo;
use super::types::TypeRef;
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
                && let Some(dwarf) = DebugInfo::new(&file)
            {
                list.get_or_init(|| dwarf.list_names());
            }
        }
    }

    /// The caller of a frame that executes at `vaddr`, by the file's call frame information. For a frame that waits for a
    /// call to return, `vaddr` is one byte before its return address.
    #[must_use]
    pub fn unwind(&self, vaddr: u64, registers: &Registers, memory: &dyn GuestMemory) -> Unwound {
        match &self.dwarf {
            Some(dwarf) => dwarf.unwind(self.link_address(vaddr), registers, memory, &self.relocation),
            None => Unwound::Unknown,
        }
    }

    /// The scopes around the instruction at `vaddr`, the innermost first, with their variables. For a return address ask
    /// one byte before it.
    #[must_use]
    pub fn scopes_at(&self, vaddr: u64) -> Vec<Scope> {
        let dwarf = self.dwarf.as_ref();
        dwarf.map(|dwarf| dwarf.scopes_at(self.link_address(vaddr), &self.relocation)).unwrap_or_default()
    }

    /// The global variable or function of that name. Of several static ones, the one of the file that the code at `near` is
    /// from; else the first that has a place.
    #[must_use]
    pub fn global(&self, name: &str, near: Option<u64>) -> Option<Global> {
        let described = self.global_of_dwarf(name, near);
        if let Some(global) = described.as_ref().filter(|global| global.location != Location::OptimizedOut) {
            return Some(global.clone());
        }
        let vaddr = self.address_of(name)?;
        let of_btf = || Some(TypeRef::Btf(self.types.btf()?.find_object(name)?));
        Some(Global {
            type_ref: described.and_then(|global| global.type_ref).or_else(of_btf),
            location: Location::Address(vaddr),
            is_per_cpu: self.is_per_cpu(vaddr),
        })
    }

    fn global_of_dwarf(&self, name: &str, near: Option<u64>) -> Option<Global> {
        let dwarf = self.dwarf.as_ref()?;
        let mut offsets = [dwarf.find_variables(name), dwarf.find_functions(name)].concat();
        if let Some(unit) = near.and_then(|vaddr| dwarf.span_of_unit(self.link_address(vaddr))) {
            // A stable sort: those of other units stay in their order.
            offsets.sort_by_key(|offset| !unit.contains(offset));
        }
        let found = offsets.iter().filter_map(|offset| dwarf.global(*offset, &self.relocation));
        let found: Vec<_> = found.collect();
        let placed = found.iter().find(|variable| variable.location != Location::OptimizedOut);
        let variable = placed.or(found.first())?;
        let is_per_cpu = match variable.location {
            Location::Address(vaddr) => self.is_per_cpu(vaddr),
            _ => false,
        };
        let (type_ref, location) = (Some(variable.type_ref.clone()), variable.location.clone());
        Some(Global { type_ref, location, is_per_cpu })
    }

    /// Whether `vaddr` is in the section of which Linux gives every CPU a copy.
    #[must_use]
    pub fn is_per_cpu(&self, vaddr: u64) -> bool {
        let bounds = (self.address_of("__per_cpu_start"), self.address_of("__per_cpu_end"));
        matches!(bounds, (Some(start), Some(end)) if (start..end).contains(&vaddr))
    }
}
