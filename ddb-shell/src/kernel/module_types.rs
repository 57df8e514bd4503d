//! The types that modules add to their kernel's (kernel/bpf/btf.c: `btf_modules`, a list of `struct btf_module`).
//!
//! The description that a module was loaded with is copied by the kernel, which keeps the copy as long as the module is
//! there. Left out: modules that were built apart from their kernel, whose numbers it changes when they are loaded.

use super::find_types;
use crate::memory::GuestMemory;
use crate::symbols::Symbols;
use crate::symbols::types::{Btf, TypeRef, Types};
use std::sync::Arc;

/// More modules than anybody loads.
const MODULES_MAX: usize = 4096;
/// A module's types have at most some hundred kilobytes.
const BYTES_MAX: u64 = 16 << 20;

/// The types of the module whose `struct module` lies at `module`.
pub(super) fn module_btf(
    symbols: &Symbols<'_>,
    memory: &dyn GuestMemory,
    module: u64,
    name: &str,
) -> Option<Arc<Btf>> {
    find_types(symbols, memory);
    let types = symbols.types();
    let base = types.btf()?;
    let entry = types.structure("btf_module")?;
    let description = types.structure("btf")?;
    let word = |vaddr: u64, of: &TypeRef, member: &str| {
        let (offset, length) = place(types, of, member)?;
        memory.read_number(vaddr.wrapping_add(offset), length).ok()
    };
    let head = symbols.address_of("btf_modules")?;
    let link = place(types, &entry, "list")?.0;
    let mut at = memory.read_number(head, 8).ok()?;
    for _ in 0..MODULES_MAX {
        if at == head {
            return None;
        }
        let this = at.wrapping_sub(link);
        if word(this, &entry, "module")? == module {
            let btf = word(this, &entry, "btf")?;
            let length = word(btf, &description, "data_size").filter(|length| *length <= BYTES_MAX)?;
            // Numbers that do not go on where the kernel's end are of another kernel's types.
            if word(btf, &description, "start_id")? != u64::from(base.count()) {
                return None;
            }
            let mut bytes = vec![0; length as usize];
            memory.read(word(btf, &description, "data")?, &mut bytes).ok()?;
            return types.module_btf(name, bytes);
        }
        at = memory.read_number(at, 8).ok()?;
    }
    None
}

/// Offset and length in bytes of a member.
fn place(types: &Types<'_>, of: &TypeRef, member: &str) -> Option<(u64, u64)> {
    let place = types.member(of, member).ok()??;
    Some((place.offset_bits / 8, types.size_bytes(&place.type_ref).ok()?))
}
