//! Limine kernels made word by word, loaded, and read back as the kernel would.

use super::HHDM;
use crate::boot::samples::{ElfSample, MIB, SampleMemory, Setup, translate};
use crate::boot::{Entry, Start, probe};
use crate::cpu::state::{CS, RAX, RDI, RSP, SS};
use boundary::{BootProtocol, Role};

const TOP: u64 = 0xffff_ffff_8000_0000;
const COMMON: [u64; 2] = [0xc7b1_dd30_df4c_8b88, 0x0a82_e883_a194_f07b];
const FRAMEBUFFER: [u64; 2] = [0x9d58_27dc_d881_dd75, 0xa314_8604_f6fa_b11b];
const HHDM_REQUEST: [u64; 2] = [0x48dc_f1cb_8ad2_b852, 0x6398_4e95_9a98_244b];
const MP: [u64; 2] = [0x95a6_7b81_9a1b_857e, 0xa0b6_1b72_3b6a_73e0];
const MEMORY_MAP: [u64; 2] = [0x67cf_3d9d_378a_806f, 0xe304_acdf_c50c_3c62];
const MODULES: [u64; 2] = [0x3e7e_2797_02be_32af, 0xca1c_4f3b_d128_0cee];
const RSDP: [u64; 2] = [0xc5e7_7b6b_397e_7b43, 0x2763_7845_accd_cf3c];
const SMBIOS: [u64; 2] = [0x9e90_46f1_1e09_5391, 0xaa4a_520f_efbd_e5ee];
const STACK_SIZE: [u64; 2] = [0x224e_f046_0a8e_8926, 0xe1cb_0fc2_5f46_ea3d];
const PAGING_MODE: [u64; 2] = [0x95c1_a0ed_ab09_44cb, 0xa4e5_cb38_42f7_488a];
const ENTRY_POINT: [u64; 2] = [0x13d8_6c03_5a1c_d3e1, 0x2b0c_aa89_d8f3_026a];
const KERNEL_FILE: [u64; 2] = [0xad97_e90e_83f1_ed67, 0x31eb_5d1c_5ff2_3b69];
const KERNEL_ADDRESS: [u64; 2] = [0x71ba_7686_3cc5_5f63, 0xb264_4a48_c516_a487];

/// An image of words: a base revision tag, then requests; remembers where each request is.
struct Image {
    words: Vec<u64>,
}

impl Image {
    fn new(revision: u64) -> Image {
        Image { words: vec![0xf956_2b2d_5c95_a6c8, 0x6a7b_3849_4453_6bdc, revision] }
    }

    fn request(self, id: [u64; 2], fields: &[u64]) -> Image {
        self.request_of_revision(id, 0, fields)
    }

    fn request_of_revision(mut self, id: [u64; 2], revision: u64, fields: &[u64]) -> Image {
        self.words.extend(COMMON);
        self.words.extend(id);
        self.words.extend([revision, 0]);
        self.words.extend(fields);
        self
    }

    fn words(mut self, words: &[u64]) -> Image {
        self.words.extend(words);
        self
    }

    fn build(&self) -> Vec<u8> {
        let bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        ElfSample::new(true)
            .segment(TOP, TOP, &bytes, 0x3000)
            .segment(TOP + 0x3000, TOP + 0x3000, &[0x90; 16], 0x1000)
            .entry(TOP + 0x3000)
            .build()
    }
}

/// A kernel that asks for everything, for the tests with damaged images.
pub(crate) fn sample_kernel() -> Vec<u8> {
    Image::new(2)
        .request(HHDM_REQUEST, &[])
        .request(MP, &[1])
        .request(MEMORY_MAP, &[])
        .request(FRAMEBUFFER, &[])
        .request_of_revision(MODULES, 1, &[0, 0])
        .request(RSDP, &[])
        .request(KERNEL_FILE, &[])
        .request_of_revision(PAGING_MODE, 1, &[0, 0, 0])
        .request(STACK_SIZE, &[0x8000])
        .request(ENTRY_POINT, &[TOP + 0x3000])
        .build()
}

struct Booted {
    start: Start,
    memory: SampleMemory,
    kernel_paddr: u64,
}

impl Booted {
    fn entry(&self) -> &Entry {
        &self.start.boot
    }

    fn word_of_image(&self, index: u64) -> u64 {
        self.memory.u64(self.kernel_paddr + index * 8)
    }

    /// The physical address of the response of the request with this id, or `None`.
    fn response(&self, id: [u64; 2]) -> Option<u64> {
        let at =
            (0..0x600).find(|&at| self.word_of_image(at) == id[0] && self.word_of_image(at + 1) == id[1]);
        let pointer = self.word_of_image(at.expect("the request is in the image") + 3);
        (pointer != 0).then(|| pointer - HHDM)
    }

    fn words<const N: usize>(&self, paddr: u64) -> [u64; N] {
        std::array::from_fn(|index| self.memory.u64(paddr + index as u64 * 8))
    }

    fn pointers(&self, vaddr: u64, count: u64) -> Vec<u64> {
        (0..count).map(|index| self.memory.u64(vaddr - HHDM + index * 8) - HHDM).collect()
    }

    fn map(&self, vaddr: u64) -> Option<(u64, u64)> {
        translate(&self.memory, self.entry().cr3, vaddr)
    }
}

fn boot(setup: Setup) -> Booted {
    let (start, memory) = setup.start().unwrap();
    let (kernel_paddr, _) = translate(&memory, start.boot.cr3, TOP).expect("the kernel is mapped");
    Booted { start, memory, kernel_paddr }
}

fn setup(image: &Image) -> Setup {
    Setup::new(BootProtocol::Limine, image.build())
}

fn refusal(image: &Image) -> String {
    setup(image).load().err().expect("refused").to_string()
}

#[test]
fn the_processor_is_entered_as_the_protocol_says() {
    let image = Image::new(3).request(STACK_SIZE, &[0x2_0000]);
    assert_eq!(probe(&image.build()), Ok(BootProtocol::Limine));
    let booted = boot(setup(&image));
    let entry = booted.entry();
    assert_eq!((entry.rip, entry.rflags), (TOP + 0x3000, 2));
    assert_eq!((entry.cr0, entry.cr4, entry.efer), (0x8001_0011, 0x20, 0xd00));
    assert_eq!(entry.pat & 0xffff_ffff_ffff, 0x0105_0007_0406);
    assert_eq!((entry.segments[CS].selector, entry.segments[SS].selector), (0x28, 0x30));
    let mut general = entry.general;
    general[RSP] = 0;
    assert_eq!(general, [0; 16]);
    let stack = entry.general[RSP];
    assert_eq!(booted.memory.u64(stack - HHDM), 0, "the return address");
    assert_eq!((stack + 8) % 0x1000, 0);
    let gdt: [u64; 7] = booted.words(entry.gdt.base - HHDM);
    assert_eq!(entry.gdt.limit, 55);
    assert_eq!(gdt[1..5], [0x9b00_0000_ffff, 0x9300_0000_ffff, 0xcf_9b00_0000_ffff, 0xcf_9300_0000_ffff]);
    assert_eq!(gdt[5], 0xaf_9b00_0000_ffff);
    assert!(booted.response(STACK_SIZE).is_some());
}

#[test]
fn the_base_revision_is_answered_in_the_tag() {
    for (wanted, loaded, third) in [(0, 0, 0), (2, 2, 0), (3, 3, 0), (9, 3, 9)] {
        let booted = boot(setup(&Image::new(wanted)));
        assert_eq!((booted.word_of_image(1), booted.word_of_image(2)), (loaded, third), "revision {wanted}");
    }
}

#[test]
fn each_base_revision_maps_what_it_promises() {
    for revision in 0..=3 {
        let image = Image::new(revision).request(RSDP, &[]).request(FRAMEBUFFER, &[]);
        let booted = boot(setup(&image));
        let at = |vaddr| booted.map(vaddr).map(|found| found.0);
        assert_eq!(at(0x20_0000), (revision == 0).then_some(0x20_0000), "the identity map");
        assert_eq!(at(0), None, "a null pointer faults");
        assert_eq!(at(HHDM + 0x20_0000), Some(0x20_0000));
        assert_eq!(at(HHDM + 0xfee0_0000), (revision < 3).then_some(0xfee0_0000), "the local APIC");
        assert_eq!(at(HHDM + 0xe_0000), (revision < 3).then_some(0xe_0000), "the firmware's tables");
        let rsdp = booted.memory.u64(booted.response(RSDP).unwrap() + 8);
        assert_eq!(rsdp, if revision < 3 { HHDM + 0xe_0020 } else { 0xe_0020 });
    }
}

#[test]
fn segments_allow_what_their_headers_allow() {
    let kernel = ElfSample::new(true)
        .segment(
            TOP,
            TOP,
            &Image::new(3).words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>(),
            0x1000,
        )
        .flags(5)
        .segment(TOP + 0x1000, TOP + 0x1000, b"data", 0x1000)
        .flags(6)
        .entry(TOP)
        .build();
    let booted = boot(Setup::new(BootProtocol::Limine, kernel));
    let allows = |vaddr| booted.map(vaddr).map(|(_, entry)| (entry & 2 != 0, entry >> 63 == 0));
    assert_eq!([allows(TOP), allows(TOP + 0x1000)], [Some((false, true)), Some((true, false))]);
}

#[test]
fn the_memory_map_is_sorted_disjoint_and_says_what_is_where() {
    let image = Image::new(3).request(MEMORY_MAP, &[]).request(FRAMEBUFFER, &[]);
    let booted = boot(setup(&image).image(Role::Module, b"abc", ""));
    let [_, count, list] = booted.words(booted.response(MEMORY_MAP).unwrap());
    let regions: Vec<[u64; 3]> =
        booted.pointers(list, count).into_iter().map(|at| booted.words(at)).collect();
    for pair in regions.windows(2) {
        assert!(pair[0][0] + pair[0][1] <= pair[1][0], "{regions:x?}");
    }
    let kind_at = |paddr| {
        regions
            .iter()
            .find(|[start, length, _]| (*start..start + length).contains(&paddr))
            .map(|region| region[2])
    };
    for region in regions.iter().filter(|region| region[2] != 1) {
        assert_eq!((region[0] % 4096, region[1] % 4096), (0, 0), "{region:x?}");
    }
    assert_eq!(kind_at(0x800), None, "the first page is nobody's");
    assert_eq!(kind_at(booted.kernel_paddr), Some(6));
    assert_eq!(kind_at(booted.kernel_paddr + 0x3fff), Some(6));
    assert_eq!(kind_at(booted.entry().cr3), Some(5));
    assert_eq!(kind_at(booted.entry().general[RSP] - HHDM), Some(5));
    assert_eq!(kind_at(booted.response(MEMORY_MAP).unwrap()), Some(5));
    assert_eq!(kind_at(0xe_0000), Some(1));
    let sum = |kind| regions.iter().filter(|region| region[2] == kind).map(|region| region[1]).sum::<u64>();
    assert_eq!(sum(7), 3 * MIB, "the framebuffer");
    assert!(sum(0) > 58 * MIB, "{:#x} bytes are usable", sum(0));
    assert_eq!(
        regions.iter().map(|region| region[1]).sum::<u64>(),
        64 * MIB - 0x1000 - 0x4_0000,
        "nothing is lost"
    );
}

#[test]
fn the_framebuffer_is_write_combining_memory_of_its_own() {
    let booted = boot(setup(&Image::new(3).request(FRAMEBUFFER, &[])));
    let [revision, count, list] = booted.words(booted.response(FRAMEBUFFER).unwrap());
    assert_eq!((revision, count), (1, 1));
    let at = booted.pointers(list, 1)[0];
    let [address, width, height, pitch] = booted.words(at);
    assert_eq!((width, height, pitch), (1024, 768, 4096));
    assert_eq!(booted.memory.bytes(at + 32, 9), [32, 0, 1, 8, 16, 8, 8, 8, 0]);
    assert_eq!(booted.memory.u64(at + 64), 1, "a mode");
    for offset in [0, 3 * MIB - 1] {
        let (paddr, entry) = booted.map(address + offset).unwrap();
        assert_eq!(paddr, address - HHDM + offset);
        let pat = if entry & 0x80 != 0 && offset == 0 { 1 << 12 } else { 1 << 7 };
        assert_eq!(entry & (pat | 0x18), pat | 8, "PAT entry 5");
    }
}

#[test]
fn processors_are_parked_only_if_they_are_asked_for() {
    let booted = boot(setup(&Image::new(3)).vcpus(4));
    assert!(booted.start.others.is_empty() && !booted.start.x2apic);
    let booted = boot(setup(&Image::new(3).request(MP, &[1])).vcpus(4));
    assert!(booted.start.x2apic);
    let [_, flags, count, list] = booted.words(booted.response(MP).unwrap());
    assert_eq!((flags, count, booted.start.others.len()), (1, 4, 3));
    let mut stacks = vec![booted.entry().general[RSP]];
    for (index, (info, entry)) in booted.pointers(list, 4)[1..].iter().zip(&booted.start.others).enumerate() {
        let id = index as u64 + 1;
        assert_eq!(booted.words(*info), [id | id << 32, 0, 0, 0]);
        assert_eq!((entry.general[RDI], entry.general[RAX]), (HHDM + info, 0));
        let (code, bits) = booted.map(entry.rip).unwrap();
        assert_eq!((booted.memory.bytes(code, 16), bits >> 63), (super::PARKED.to_vec(), 0));
        stacks.push(entry.general[RSP]);
    }
    stacks.sort_unstable();
    assert!(stacks.windows(2).all(|pair| pair[1] - pair[0] >= 0x1_0000), "{stacks:x?}");
}

#[test]
fn modules_that_the_kernel_names_go_first_and_are_found_by_their_names() {
    let strings = |text: &[u8; 8]| u64::from_le_bytes(*text);
    let fields = 3 + 6 + 2;
    let at = |word: u64| TOP + word * 8;
    let image = |flags| {
        Image::new(3).request_of_revision(MODULES, 1, &[1, at(fields)]).words(&[
            at(fields + 1),
            at(fields + 4),
            at(fields + 5),
            flags,
            strings(b"/image2\0"),
            strings(b"inside\0\0"),
        ])
    };
    let load =
        |flags| setup(&image(flags)).image(Role::Module, b"abc", "one").image(Role::Module, b"defg", "two");
    let booted = boot(load(1));
    let [_, count, list] = booted.words(booted.response(MODULES).unwrap());
    let files = booted.pointers(list, count);
    let read = |file: u64| {
        let [_, address, size, path, line]: [u64; 5] = booted.words(file);
        let text = |vaddr| booted.memory.string(vaddr - HHDM);
        (booted.memory.bytes(address - HHDM, size as usize), text(path), text(line))
    };
    assert_eq!(read(files[0]), (b"defg".to_vec(), "/image2".to_owned(), "inside".to_owned()));
    assert_eq!(read(files[1]), (b"abc".to_vec(), "/image1".to_owned(), "one".to_owned()));
    let alone = setup(&image(1)).image(Role::Module, b"abc", "");
    assert!(alone.load().err().unwrap().to_string().contains("the module /image2"));
    assert!(setup(&image(0)).load().is_ok(), "an optional module may be missing");
}

#[test]
fn what_this_machine_does_not_have_stays_unanswered() {
    let mut image = Image::new(3).request(SMBIOS, &[]).request(RSDP, &[]);
    let booted = boot(setup(&image));
    assert_eq!(booted.response(SMBIOS), None);
    image = Image::new(3).request(KERNEL_FILE, &[]).request(KERNEL_ADDRESS, &[]);
    let booted = boot(setup(&image));
    let file = booted.memory.u64(booted.response(KERNEL_FILE).unwrap() + 8) - HHDM;
    let [_, address, size, ..]: [u64; 5] = booted.words(file);
    assert_eq!(booted.memory.bytes(address - HHDM, size as usize), image.build());
    assert_eq!(booted.words(booted.response(KERNEL_ADDRESS).unwrap()), [0, booted.kernel_paddr, TOP]);
}

#[test]
fn markers_bound_the_search() {
    const START: [u64; 4] =
        [0xf6b8_f4b3_9de7_d1ae, 0xfab9_1a69_40fc_b9cf, 0x785c_6ed0_15d3_e316, 0x181e_920a_7852_b9d9];
    const END: [u64; 2] = [0xadc0_e053_1bb1_0d03, 0x9572_709f_3176_4c62];
    let mut image = Image { words: Vec::new() }.request(RSDP, &[]).words(&START);
    image = image.request(HHDM_REQUEST, &[]).words(&END).request(MP, &[0]);
    let booted = boot(setup(&image).vcpus(2));
    assert!(booted.response(HHDM_REQUEST).is_some());
    assert_eq!((booted.response(RSDP), booted.response(MP)), (None, None));
}

#[test]
fn what_the_protocol_forbids_is_refused() {
    let twice = Image::new(3).request(RSDP, &[]).request(RSDP, &[]);
    assert!(refusal(&twice).contains("Rsdp twice"));
    assert!(refusal(&Image::new(3).words(&Image::new(3).words)).contains("two base revision tags"));
    let five = Image::new(3).request_of_revision(PAGING_MODE, 1, &[1, 1, 1]);
    assert!(refusal(&five).contains("5-level"));
    assert!(refusal(&Image::new(3).request(STACK_SIZE, &[u64::MAX])).contains("a stack"));
    assert!(refusal(&Image::new(3).request(ENTRY_POINT, &[0x1000])).contains("entry point"));
    let outside = Image::new(3).request_of_revision(MODULES, 1, &[1, 0x1000]);
    assert!(refusal(&outside).contains("not in the kernel"));
    let low = ElfSample::new(true).segment(0x20_0000, 0x20_0000, b"text", 64);
    let low = Setup::new(BootProtocol::Limine, low.build()).load().err().unwrap().to_string();
    assert!(low.contains("top 2 GiB"), "{low}");
}
