//! Where members lie in the kernel's structures, from its VMCOREINFO (kernel/vmcore_info.c: text lines such as
//! `OFFSET(prb_desc_ring.descs)=8`) and from its BTF (Documentation/bpf/btf.rst). The first says where the log is, but
//! only once the kernel has come to its subsystems; the second is there from the start, in kernels built with it.

use super::btf;
use crate::symbols::Symbols;
use machine::Machine;
use std::collections::BTreeMap;

/// The structures that are asked for; all others of BTF are skipped.
const STRUCTURES: [&str; 8] = [
    "printk_ringbuffer",
    "prb_desc_ring",
    "prb_desc",
    "prb_data_blk_lpos",
    "prb_data_ring",
    "printk_info",
    "task_struct",
    "pcpu_hot",
];
/// How VMCOREINFO begins, at the start of a page.
const VMCOREINFO_START: &[u8] = b"OSRELEASE=";
const PAGE_BYTES: usize = 4096;
/// A kernel's BTF has 3 to 8 MiB.
const BTF_BYTES_MAX: u64 = 64 << 20;

/// Sizes by `structure`, offsets by `structure.member`, addresses by `symbol()`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    numbers: BTreeMap<String, u64>,
}

impl Layout {
    /// Everything that the kernel says, seen through the page tables of `vcpu`.
    pub fn find(machine: &Machine, vcpu: usize, symbols: &Symbols<'_>) -> Option<Layout> {
        let mut layout = Layout::default();
        if let Some(bytes) = btf_section(machine, vcpu, symbols) {
            layout.numbers = btf::layouts(&bytes, &STRUCTURES).unwrap_or_default();
        }
        if let Some(text) = find_vmcoreinfo(machine) {
            layout.numbers.extend(parse_vmcoreinfo(&text));
        }
        (!layout.numbers.is_empty()).then_some(layout)
    }

    /// A number by its name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.numbers.get(name).copied()
    }
}

fn btf_section(machine: &Machine, vcpu: usize, symbols: &Symbols<'_>) -> Option<Vec<u8>> {
    let start = symbols.address_of("__start_BTF")?;
    let length = symbols.address_of("__stop_BTF")?.checked_sub(start)?;
    if length > BTF_BYTES_MAX {
        return None;
    }
    let mut bytes = vec![0; length as usize];
    machine.peek_virtual(vcpu, start, &mut bytes).ok()?;
    Some(bytes)
}

/// The page of VMCOREINFO that names the log's buffer.
fn find_vmcoreinfo(machine: &Machine) -> Option<String> {
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
