//! No image makes a loader panic: thousands of damaged kernels end in a loaded kernel or an error.
//!
//! [`super::samples::SampleMemory`] refuses what is not RAM and the loader asserts that nothing is refused, so
//! these tests also show that nothing is ever written outside RAM.

use super::samples::{BzImage, ElfSample, MIB, Setup, multiboot_header, multiboot2_header, note};
use super::{BootError, probe};
use boundary::{BootProtocol, Role};

const PROTOCOLS: [BootProtocol; 7] = [
    BootProtocol::LinuxBzImage,
    BootProtocol::LinuxElf,
    BootProtocol::Pvh,
    BootProtocol::Multiboot1,
    BootProtocol::Multiboot2,
    BootProtocol::Limine,
    BootProtocol::Elf64,
];

/// A xorshift generator: the same images in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

fn kernels() -> Vec<Vec<u8>> {
    let mut addressed = multiboot_header(1 << 16);
    for word in [0x10_0000_u32, 0x10_0000, 0, 0x10_2000, 0x10_0020] {
        addressed.extend_from_slice(&word.to_le_bytes());
    }
    addressed.extend_from_slice(&[0x90; 64]);
    let notes = [note(b"GNU\0", 3, &[5; 20]), note(b"Xen\0", 18, &0x10_0000_u64.to_le_bytes())].concat();
    let elf = |is_64| {
        ElfSample::new(is_64)
            .segment(0x10_0000, 0xc010_0000, &multiboot_header(3), 0x1000)
            .segment(0x20_0000, 0xc020_0000, b"Linux version 6", 0x1000)
            .notes(&notes)
    };
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let tags: [(u16, u16, &[u8]); 5] = [
        (1, 0, &words(&[1, 3, 6, 9, 14])),
        (2, 0, &words(&[0x10_0000, 0x10_0000, 0, 0x10_4000])),
        (3, 0, &words(&[0x10_0000])),
        (4, 0, &words(&[3])),
        (10, 0, &words(&[0x10_0000, 0x100_0000, 0x20_0000, 2])),
    ];
    let flat2 = [multiboot2_header(&tags), vec![0x90; 64]].concat();
    let by_segments = [multiboot2_header(&[tags[0], tags[3], tags[4]]), vec![0x90; 64]].concat();
    let elf2 = ElfSample::new(true).segment(0x10_0000, 0x10_0000, &by_segments, 0x1000);
    let plain = ElfSample::new(true).segment(0x10_0000, 0xffff_ffff_8010_0000, b"text", 0x1000);
    let small = BzImage { init_size: 0x1_0000, ..BzImage::default() };
    vec![
        small.build(),
        elf(false).build(),
        elf(true).build(),
        addressed,
        flat2,
        elf2.build(),
        plain.build(),
        super::limine::sample_kernel(),
    ]
}

/// Values that overflow sums, hit holes, or are merely large.
fn mutate(image: &mut Vec<u8>, numbers: &mut Numbers) {
    const VALUES: [u64; 10] = [
        0,
        1,
        0x9_ffff,
        0xe_0000,
        0x7fff_ffff,
        0xffff_ffff,
        0xffff_fff0,
        1 << 32,
        u64::MAX,
        u64::MAX - 0xfff,
    ];
    // Damage is most interesting in the headers, which are at the start of every format.
    let span = image.len().min(if numbers.below(4) == 0 { usize::MAX } else { 0x280 });
    match numbers.below(8) {
        0 => image.truncate(numbers.below(span)),
        1 => {
            let at = numbers.below(span);
            image[at] = numbers.next() as u8;
        }
        kind => {
            let width = [2, 4, 8][kind % 3];
            let at = numbers.below(span) & !1;
            let value = VALUES[numbers.below(VALUES.len())].to_le_bytes();
            let end = image.len().min(at + width);
            image[at..end].copy_from_slice(&value[..end - at]);
        }
    }
}

#[test]
fn damaged_kernels_load_or_are_refused_but_never_panic() {
    let mut numbers = Numbers(0x5eed_5eed_5eed_5eed);
    let (mut loaded, mut refused) = (0, 0);
    for kernel in kernels() {
        for _ in 0..1500 {
            let mut image = kernel.clone();
            for _ in 0..=numbers.below(3) {
                if !image.is_empty() {
                    mutate(&mut image, &mut numbers);
                }
            }
            // The protocol comes from a trace, so it need not be the one that suits.
            let protocol = probe(&image).unwrap_or_else(|_| PROTOCOLS[numbers.below(PROTOCOLS.len())]);
            let setup = Setup::new(protocol, image).ram(32 * MIB).image(Role::Initrd, b"initrd", "");
            match setup.load() {
                Ok(_) => loaded += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(loaded > 500 && refused > 500, "{loaded} loaded, {refused} refused: the damage is too even");
}

#[test]
fn every_truncation_of_every_kernel_is_refused_or_loads() {
    for kernel in kernels() {
        for length in (0..kernel.len()).step_by(3) {
            for protocol in PROTOCOLS {
                let setup = Setup::new(protocol, kernel[..length].to_vec()).ram(32 * MIB);
                if length < 12 {
                    assert!(setup.load().is_err(), "{length} bytes are no kernel");
                } else {
                    let _ = setup.load();
                }
            }
        }
    }
}

#[test]
fn overlapping_segments_are_refused_by_the_offset_of_their_header() {
    let elf = ElfSample::new(true)
        .segment(0x10_0000, 0x10_0000, &multiboot_header(0), 0x2000)
        .segment(0x10_1000, 0x10_1000, b"data", 0x1000);
    let error = Setup::new(BootProtocol::Multiboot1, elf.build()).load().err();
    assert!(matches!(error, Some(BootError::Malformed { offset: 120, .. })), "{error:?}");
}

#[test]
fn a_segment_as_large_as_all_memory_costs_nothing() {
    for memory_bytes in [u64::MAX, u64::MAX - 0x10_0000, 1 << 40] {
        let elf = ElfSample::new(true).segment(0x10_0000, 0x10_0000, &multiboot_header(0), memory_bytes);
        assert!(Setup::new(BootProtocol::Multiboot1, elf.build()).load().is_err());
    }
    let elf = ElfSample::new(true).segment(0x10_0000, 0x10_0000, &multiboot_header(0), 0x800_0000);
    let error = Setup::new(BootProtocol::Multiboot1, elf.build()).load().err().unwrap();
    assert!(error.to_string().contains("-m 130m"), "{error}");
}
