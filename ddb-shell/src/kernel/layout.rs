//! Where members lie in the kernel's structures: from its BTF or DWARF, else from its VMCOREINFO (kernel/vmcore_info.c:
//! text lines such as `OFFSET(prb_desc_ring.descs)=8`), which kernels without BTF have, too, but only once they have come
//! to their subsystems.

use crate::memory::{GuestMemory, VcpuMemory};
use crate::symbols::Symbols;
use crate::symbols::types::Types;
use machine::Machine;
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// How VMCOREINFO begins, at the start of a page.
const VMCOREINFO_START: &[u8] = b"OSRELEASE=";
const PAGE_BYTES: usize = 4096;
/// A kernel's BTF has 3 to 8 MiB.
const BTF_BYTES_MAX: u64 = 64 << 20;

/// Sizes by `structure`, offsets by `structure.member`, addresses by `symbol()`.
pub struct Layout<'a, 'data> {
    machine: &'a Machine,
    symbols: &'a Symbols<'data>,
    vmcoreinfo: OnceCell<BTreeMap<String, u64>>,
}

impl<'a, 'data> Layout<'a, 'data> {
    /// Everything that the kernel says, seen through the page tables of `vcpu`.
    pub fn find(machine: &'a Machine, vcpu: usize, symbols: &'a Symbols<'data>) -> Layout<'a, 'data> {
        find_types(symbols, &VcpuMemory { machine, vcpu });
        Layout { machine, symbols, vmcoreinfo: OnceCell::new() }
    }

    /// A number by its name.
    pub fn get(&self, name: &str) -> Option<u64> {
        let described = match (name.strip_suffix("()"), name.split_once('.')) {
            (Some(symbol), _) => self.symbols.address_of(symbol),
            (None, Some((structure, member))) => offset_bytes(self.symbols.types(), structure, member),
            (None, None) => size_bytes(self.symbols.types(), name),
        };
        described.or_else(|| {
            let read = || find_vmcoreinfo(self.machine).map(|text| parse_vmcoreinfo(&text));
            self.vmcoreinfo.get_or_init(|| read().unwrap_or_default()).get(name).copied()
        })
    }
}

fn size_bytes(types: &Types<'_>, name: &str) -> Option<u64> {
    types.size_bytes(&types.structure(name)?).ok()
}

fn offset_bytes(types: &Types<'_>, name: &str, member: &str) -> Option<u64> {
    let place = types.member(&types.structure(name)?, member).ok()??;
    (place.offset_bits % 8 == 0 && place.width_bits.is_none()).then_some(place.offset_bits / 8)
}

/// Lets expressions and printers know the types that a running Linux carries for BPF. Whether any types are known then.
pub fn find_types(symbols: &Symbols<'_>, memory: &dyn GuestMemory) -> bool {
    if symbols.types().btf().is_none()
        && let Some(bytes) = btf_section(symbols, memory)
    {
        symbols.types().add_btf(bytes);
    }
    !symbols.types().is_empty()
}

fn btf_section(symbols: &Symbols<'_>, memory: &dyn GuestMemory) -> Option<Vec<u8>> {
    let start = symbols.address_of("__start_BTF")?;
    let length = symbols.address_of("__stop_BTF")?.checked_sub(start)?;
    if length > BTF_BYTES_MAX {
        return None;
    }
    let mut bytes = vec![0; length as usize];
    memory.read(start, &mut bytes).ok()?;
    Some(bytes)
}

/// The page of VMCOREINFO that names the log's buffer, as text.
#[must_use]
pub fn find_vmcoreinfo(machine: &Machine) -> Option<String> {
    let mem = &machine.system().mem;
    let pages = mem.ram().chunks_exact(PAGE_BYTES).enumerate();
    let written = pages.filter(|(index, _)| !mem.is_blank(*index)).map(|(_, page)| page);
    let text = |page: &[u8]| {
        let end = page.iter().position(|&byte| byte == 0).unwrap_or(page.len());
        String::from_utf8(page[..end].to_vec()).ok()
    };
    written
        .filter(|page| page.starts_with(VMCOREINFO_START))
        .filter_map(text)
        .find(|text| text.contains("\nSYMBOL(prb)="))
}

/// `SYMBOL(prb)=ffffffff82a5d2c0` (hexadecimal), `SIZE(prb_desc)=24` and `OFFSET(prb_desc.state_var)=0` (decimal).
fn parse_vmcoreinfo(text: &str) -> BTreeMap<String, u64> {
    let number = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let (kind, name) = name.strip_suffix(')')?.split_once('(')?;
        match kind {
            "SYMBOL" => Some((format!("{name}()"), u64::from_str_radix(value, 16).ok()?)),
            "SIZE" | "OFFSET" => Some((name.to_owned(), value.parse().ok()?)),
            _ => None,
        }
    };
    text.lines().filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vmcoreinfo_gives_sizes_offsets_and_addresses() {
        let text = "OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(prb)=ffffffff82a5d2c0\nSIZE(prb_desc)=24\n\
                    OFFSET(prb_desc.text_blk_lpos)=8\nLENGTH(free_area.free_list)=5\nSYMBOL(broken\nSIZE(x)=y\n";
        let numbers = parse_vmcoreinfo(text);
        let expected = [("prb()", 0xffff_ffff_82a5_d2c0), ("prb_desc", 24), ("prb_desc.text_blk_lpos", 8)];
        assert_eq!(numbers, expected.map(|(name, value)| (name.to_owned(), value)).into());
    }
}
