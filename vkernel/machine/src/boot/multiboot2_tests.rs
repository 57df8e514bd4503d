//! Multiboot 2 kernels made tag by tag, loaded, and read back as the kernel would.

use super::*;
use crate::boot::samples::{ElfSample, MIB, SampleMemory, Setup, multiboot2_header};
use crate::boot::{Mode, probe};
use boundary::{BootProtocol, Role};

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn elf(is_64: bool, tags: &[(u16, u16, &[u8])]) -> Vec<u8> {
    // The headers of an ELF32 sample end 4 bytes before the boundary on which the header must be.
    let gap = vec![0; if is_64 { 0 } else { 4 }];
    let contents = [gap, multiboot2_header(tags)].concat();
    ElfSample::new(is_64).segment(0x10_0000, 0xc010_0000, &contents, 0x2000).build()
}

fn setup(kernel: Vec<u8>) -> Setup {
    assert_eq!(probe(&kernel), Ok(BootProtocol::Multiboot2));
    Setup::new(BootProtocol::Multiboot2, kernel)
}

fn refusal(tags: &[(u16, u16, &[u8])]) -> String {
    setup(elf(true, tags)).load().err().expect("refused").to_string()
}

/// The contents of the information tags of a type.
fn tags(memory: &SampleMemory, info: u64, wanted: u32) -> Vec<Vec<u8>> {
    let total = u64::from(memory.u32(info));
    let mut found = Vec::new();
    let mut at = info + 8;
    loop {
        let (kind, size) = (memory.u32(at), memory.u32(at + 4));
        assert!(at + u64::from(size) <= info + total);
        if kind == 0 {
            assert_eq!((size, at + 8), (8, info + total), "the end tag ends the information");
            return found;
        }
        if kind == wanted {
            found.push(memory.bytes(at + 8, size as usize - 8));
        }
        at = (at + u64::from(size)).next_multiple_of(8);
    }
}

#[test]
fn both_classes_are_entered_as_the_specification_says() {
    for is_64 in [false, true] {
        let (entry, memory) = setup(elf(is_64, &[])).load().unwrap();
        assert_eq!((entry.mode, entry.rip, entry.rflags), (Mode::Protected32, 0x10_0000, 2));
        assert_eq!((entry.cr0, entry.general[RAX]), (0x11, 0x36d7_6289));
        assert_eq!(entry.general[RBX] % 8, 0);
        assert!(!tags(&memory, entry.general[RBX], 6).is_empty());
    }
}

#[test]
fn the_information_has_what_kernels_ask_for() {
    let kernel =
        setup(elf(true, &[])).image(Role::Module, b"abc", "one two").image(Role::Initrd, b"defg", "");
    let (entry, memory) = kernel.load().unwrap();
    let get = |kind| tags(&memory, entry.general[RBX], kind);
    assert_eq!(get(1), [b"console=ttyS0\0"]);
    assert_eq!(get(2), [b"vkernel\0"]);
    let modules = get(3);
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let content = |module: &[u8]| {
        let (start, end) = (word(module, 0), word(module, 4));
        assert_eq!(start % 4096, 0);
        memory.bytes(u64::from(start), (end - start) as usize)
    };
    assert_eq!(modules.iter().map(|module| content(module)).collect::<Vec<_>>(), [&b"abc"[..], b"defg"]);
    assert_eq!((&modules[0][8..], &modules[1][8..]), (&b"one two\0"[..], &b"\0"[..]));
    assert_eq!(get(4), [words(&[640, 63 * 1024])]);
    let map = &get(6)[0];
    assert_eq!((word(map, 0), word(map, 4), map.len()), (24, 0, 8 + 3 * 24));
    assert_eq!((word(map, 8 + 48), word(map, 8 + 56), word(map, 8 + 64)), (MIB as u32, 63 * MIB as u32, 1));
    let screen = &get(8)[0];
    assert_eq!(
        (word(screen, 0), word(screen, 8), word(screen, 12), word(screen, 16)),
        (0xb_8000, 160, 80, 25)
    );
    assert_eq!(screen[20..22], [16, 2]);
    assert_eq!(&get(14)[0][..8], b"RSD PTR ");
    assert_eq!(get(14)[0].len(), 20);
    for absent in [5, 7, 10, 11, 12, 13, 16, 17, 18, 19, 20, 21] {
        assert!(get(absent).is_empty(), "tag {absent}");
    }
}

#[test]
fn a_new_rsdp_is_given_whole() {
    let mut setup = setup(elf(true, &[]));
    setup.tables[32 + 15] = 2;
    setup.tables.resize(128, 0x5a);
    let (entry, memory) = setup.load().unwrap();
    let new = tags(&memory, entry.general[RBX], 15);
    assert_eq!((new[0].len(), &new[0][32..]), (36, &[0x5a; 4][..]));
}

#[test]
fn addresses_in_the_header_go_before_the_segments() {
    let own = words(&[0x20_0010, 0x20_0000, 0x20_0080, 0x20_4000]);
    let header = |load: &[u8]| multiboot2_header(&[(2, 0, load), (3, 0, &words(&[0x20_0040]))]);
    let flat = [vec![0x90; 16], header(&own), vec![0xcc; 256]].concat();
    let (entry, memory) = setup(flat.clone()).load().unwrap();
    assert_eq!((entry.rip, memory.bytes(0x20_0000, 0x80)), (0x20_0040, flat[..0x80].to_vec()));
    assert_eq!(memory.bytes(0x20_0080, 1), [0], "loading ended");
    // The load address -1 takes the file from its start.
    let whole = [header(&words(&[0x30_0000, u32::MAX, 0, 0])), vec![0xcc; 8]].concat();
    let error = setup(whole).load().err().unwrap().to_string();
    assert!(error.contains("entry point 0x200040"), "{error}");
    let without_entry = multiboot2_header(&[(2, 0, &words(&[0x20_0000, 0x20_0000, 0, 0]))]);
    assert!(setup(without_entry).load().err().unwrap().to_string().contains("tag 3"));
}

#[test]
fn a_relocatable_kernel_goes_where_it_may_and_wants_to() {
    let place = |range: [u32; 2], align, preference| {
        let tag = words(&[range[0], range[1], align, preference]);
        let (entry, memory) = setup(elf(true, &[(10, 0, &tag)])).load().unwrap();
        let base = tags(&memory, entry.general[RBX], 21);
        assert_eq!(base, [words(&[entry.rip as u32])], "the entry is the first byte");
        assert_eq!(memory.u32(entry.rip), HEADER_MAGIC);
        entry.rip
    };
    assert_eq!(place([0, u32::MAX], 0x1000, 0), 0x10_0000, "no preference: where it was linked");
    assert_eq!(place([0x20_0000, u32::MAX], 0x1000, 0), 0x20_0000, "not allowed there");
    assert_eq!(place([0x123_4000, u32::MAX], 0x20_0000, 1), 0x140_0000);
    assert_eq!(place([0, u32::MAX], 0x1000, 2), 64 * MIB - 0x2000);
    assert_eq!(place([0, 0x1ff_ffff], 0x40_0000, 2), 0x1c0_0000);
    let nowhere = words(&[0x7000_0000, 0x7fff_ffff, 0x1000, 0]);
    assert!(refusal(&[(10, 0, &nowhere)]).contains("relocatable tag"));
    assert!(refusal(&[(10, 0, &words(&[0, u32::MAX, 3, 0]))]).contains("power of two"));
}

#[test]
fn the_entry_address_tag_goes_before_the_files_entry_point() {
    let (entry, _) = setup(elf(true, &[(3, 0, &words(&[0x10_0123]))])).load().unwrap();
    assert_eq!(entry.rip, 0x10_0123);
    assert!(refusal(&[(3, 0, &words(&[0x50_0000]))]).contains("entry point"));
}

#[test]
fn required_tags_that_cannot_be_honoured_are_refused_and_optional_ones_ignored() {
    let known = words(&[1, 5, 9, 21]);
    let unknown = words(&[1, 77]);
    let graphics = words(&[1]);
    let cases: [(u16, &[u8], &str); 4] = [
        (1, &unknown, "information tag 77"),
        (4, &graphics, "text screen"),
        (7, &[], "EFI boot services"),
        (99, &[], "header tag 99"),
    ];
    for (kind, contents, problem) in cases {
        assert!(refusal(&[(kind, 0, contents)]).contains(problem), "{}", refusal(&[(kind, 0, contents)]));
        assert!(setup(elf(true, &[(kind, 1, contents)])).load().is_ok(), "optional tag {kind}");
    }
    let harmless: [(u16, u16, &[u8]); 6] = [
        (1, 0, &known),
        (4, 0, &words(&[3])),
        (5, 0, &words(&[1024, 768, 32])),
        (6, 0, &[]),
        (8, 0, &words(&[0x10_0000])),
        (9, 0, &words(&[0x10_0000])),
    ];
    assert!(setup(elf(false, &harmless)).load().is_ok());
}

#[test]
fn only_a_valid_header_in_the_first_32_kib_counts() {
    let header = multiboot2_header(&[]);
    let at = |offset: usize| [vec![0; offset], header.clone(), vec![0; 8]].concat();
    assert_eq!(find_header(&at(16)), Some(16));
    assert_eq!(find_header(&at(4)), None, "not aligned");
    assert_eq!(find_header(&at(32760)), None, "too late");
    let mut wrong = header.clone();
    wrong[12] ^= 1;
    assert_eq!(find_header(&wrong), None, "checksum");
    let mut mips = header;
    mips[4..8].copy_from_slice(&4_u32.to_le_bytes());
    let checksum = u32::from_le_bytes(mips[12..16].try_into().unwrap()).wrapping_sub(4);
    mips[12..16].copy_from_slice(&checksum.to_le_bytes());
    let kernel = ElfSample::new(true).segment(0x10_0000, 0x10_0000, &mips, 0x1000).build();
    assert!(setup(kernel).load().err().unwrap().to_string().contains("architecture 4"));
}

#[test]
fn symbol_tables_are_loaded_and_told_of() {
    let mut kernel = elf(true, &[]);
    let table = kernel.len();
    let section = |kind: u32, offset: usize, length: usize| {
        let mut bytes = [words(&[0, kind]), vec![0; 16]].concat();
        bytes.extend((offset as u64).to_le_bytes());
        bytes.extend((length as u64).to_le_bytes());
        bytes.resize(64, 0);
        bytes
    };
    kernel.extend([section(0, 0, 0), section(3, 0, 4), section(1, 0, 4)].concat());
    kernel[40..48].copy_from_slice(&(table as u64).to_le_bytes());
    kernel[58..60].copy_from_slice(&64_u16.to_le_bytes());
    kernel[60..62].copy_from_slice(&3_u16.to_le_bytes());
    kernel[62..64].copy_from_slice(&1_u16.to_le_bytes());
    let (entry, memory) = setup(kernel).load().unwrap();
    let sections = tags(&memory, entry.general[RBX], 9).remove(0);
    assert_eq!(sections[..12], words(&[3, 64, 1]));
    let address =
        |index: usize| u64::from_le_bytes(sections[12 + index * 64 + 16..][..8].try_into().unwrap());
    assert_eq!(memory.bytes(address(1), 4), b"\x7fELF");
    assert_eq!((address(0), address(2)), (0, 0), "nothing else is loaded");
}
