//! The tables as a kernel walks them.

use super::*;
use std::collections::BTreeMap;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// All tables by address.
fn placed(vcpus: u8) -> BTreeMap<u64, Vec<u8>> {
    tables(vcpus).into_iter().map(|table| (table.paddr, table.bytes)).collect()
}

/// Follows a root table to the tables it names.
fn follow(tables: &BTreeMap<u64, Vec<u8>>, root: u64, entry_bytes: usize) -> Vec<&[u8]> {
    let entries = tables[&root][36..].chunks(entry_bytes);
    let address = |entry: &[u8]| entry.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    entries.map(|entry| &tables[&address(entry)][..]).collect()
}

fn table(vcpus: u8, signature: &[u8; 4]) -> Vec<u8> {
    placed(vcpus).into_values().find(|bytes| bytes.starts_with(signature)).expect("the table exists")
}

#[test]
fn tables_do_not_overlap_and_stay_in_their_area() {
    for vcpus in [1, 16] {
        let tables = placed(vcpus);
        let mut end = layout::FIRMWARE_TABLES.start;
        for (paddr, bytes) in &tables {
            assert!(*paddr >= end, "{paddr:#x}");
            end = paddr + bytes.len() as u64;
        }
        assert!(end <= layout::FIRMWARE_TABLES.end);
    }
}

#[test]
fn lengths_and_checksums_are_right() {
    for bytes in placed(16).values().filter(|bytes| !bytes.starts_with(b"RSD PTR ")) {
        assert_eq!(u32_at(bytes, 4) as usize, bytes.len(), "{:?}", &bytes[..4]);
        if !bytes.starts_with(b"FACS") {
            assert_eq!(checksum(bytes), 0, "{:?}", &bytes[..4]);
        }
    }
}

#[test]
fn the_rsdp_leads_to_the_same_tables_by_both_roots() {
    let tables = placed(2);
    let rsdp = &tables[&RSDP];
    assert_eq!((checksum(&rsdp[..20]), checksum(rsdp), rsdp.len()), (0, 0, 36));
    let by_rsdt = follow(&tables, u64::from(u32_at(rsdp, 16)), 4);
    let by_xsdt = follow(&tables, u64_at(rsdp, 24), 8);
    assert_eq!(by_rsdt, by_xsdt);
    let signatures: Vec<&[u8]> = by_xsdt.iter().map(|table| &table[..4]).collect();
    assert_eq!(signatures, [b"FACP", b"APIC", b"HPET", b"MCFG"]);
}

#[test]
fn the_fadt_names_the_boards_registers() {
    let (tables, fadt) = (placed(1), table(1, b"FACP"));
    assert_eq!(fadt.len(), 276, "revision 6");
    assert!(tables[&u64::from(u32_at(&fadt, 36))].starts_with(b"FACS"));
    assert!(tables[&u64_at(&fadt, 140)].starts_with(b"DSDT"));
    assert_eq!(u32_at(&fadt, 36) % 64, 0, "the FACS is aligned");
    assert_eq!([56, 64, 76, 80].map(|at| u32_at(&fadt, at)), [0x600, 0x604, 0x608, 0x620]);
    assert_eq!([fadt[46], fadt[108]], [9, 0x32], "SCI and century");
    // The extended addresses, behind four bytes of space, width, offset and access size.
    assert_eq!([148, 172, 208, 220].map(|at| u64_at(&fadt, at + 4)), [0x600, 0x604, 0x608, 0x620]);
    assert_eq!((u64_at(&fadt, 120), fadt[128]), (0xcf9, 6), "reset");
}

#[test]
fn the_madt_lists_every_processor_and_the_overrides() {
    for vcpus in [1, 3, 16] {
        let madt = table(vcpus, b"APIC");
        let (mut at, mut kinds) = (44, Vec::new());
        while at < madt.len() {
            kinds.push((madt[at], madt[at + 2..at + usize::from(madt[at + 1])].to_vec()));
            at += usize::from(madt[at + 1]);
        }
        assert_eq!(at, madt.len());
        let of_kind =
            |kind: u8| kinds.iter().filter(|(k, _)| *k == kind).map(|(_, b)| b.clone()).collect::<Vec<_>>();
        let processors: Vec<Vec<u8>> = (0..vcpus).map(|vcpu| vec![vcpu, vcpu, 1, 0, 0, 0]).collect();
        assert_eq!(of_kind(0), processors);
        assert_eq!(of_kind(1), [[0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]]);
        assert_eq!(of_kind(2), [[0, 0, 2, 0, 0, 0, 0, 0], [0, 9, 9, 0, 0, 0, 0x0d, 0]]);
    }
}

#[test]
fn the_definition_block_is_well_nested_and_names_every_device() {
    for vcpus in [1, 16] {
        let block = dsdt::definition_block(vcpus);
        let name = block.windows(5).position(|bytes| bytes == b"\\_SB_").expect("there is a scope");
        // Between the opcode 0x10 and the name stands a PkgLength of as many bytes as its first one says.
        let package = |width: &usize| usize::from(block[name - width] >> 6) + 1 == *width;
        let width = (2..=4).find(package).expect("a PkgLength of several bytes");
        let further = block[name - width + 1..name].iter().rev();
        let length = further.fold(0, |value, byte| value << 8 | usize::from(*byte)) << 4
            | usize::from(block[name - width] & 0x0f);
        assert_eq!((block[name - width - 1], name - width + length), (0x10, block.len()));
        let names = |name: &[u8; 4]| block.windows(4).filter(|bytes| bytes == name).count();
        for device in [b"PCI0", b"ISA0", b"COM1", b"RTC0", b"KBD0", b"PEVT", b"FWCF", b"MBRD", b"C000"] {
            assert_eq!(names(device), 1, "{device:?}");
        }
        assert_eq!(names(b"C00F"), usize::from(vcpus == 16));
    }
}
