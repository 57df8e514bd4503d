//! What a file given as KERNEL is: which boot protocol it speaks, or else what it is instead and what to do.
//!
//! People hand over whatever their build left behind: `vmlinux.gz`, an arm64 Image, a unified kernel image, a
//! disk image. Each gets its own sentence. Nothing is unpacked or loaded here.

use super::elf::{self, Elf, Kind};
use super::{BootError, elf64, limine, linux, multiboot1, multiboot2, pvh};
use boundary::BootProtocol;

/// A protocol as a user names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Linux's own 64-bit protocol, for a bzImage or a vmlinux.
    Linux,
    /// Limine's.
    Limine,
    /// Multiboot 2.
    Multiboot2,
    /// Multiboot 1.
    Multiboot1,
    /// Xen's PVH.
    Pvh,
    /// None: an ELF64 file by the entry state of docs/boot-protocols.md.
    Elf,
}

/// Which protocol enters this kernel, if the user leaves it to us.
///
/// A Linux ELF is entered by Linux's own protocol, even if it has a PVH note. Then what was made for one loader
/// goes before what is there for several: Limine's requests, Multiboot 2, which tells more than Multiboot 1,
/// and both before PVH, because Xen, which has all three, needs a hypervisor below it for PVH. An ELF64 file of
/// none of them is entered where it was linked.
pub fn probe(kernel: &[u8]) -> Result<BootProtocol, BootError> {
    if linux::has_setup_header(kernel) {
        linux::check_bzimage(kernel)?;
        return Ok(BootProtocol::LinuxBzImage);
    }
    if elf::is_elf(kernel) {
        let elf = Elf::parse(kernel)?;
        check_elf_kind(&elf)?;
        let mut spoken = protocols_of_elf(&elf, kernel)?;
        if spoken.is_empty() {
            elf64::check(&elf)?;
            spoken.push(BootProtocol::Elf64);
        }
        return Ok(spoken[0]);
    }
    protocol_of_flat(kernel).ok_or_else(|| what_else(kernel))
}

/// The protocol of a family by which this kernel is entered, if it speaks it.
pub fn probe_as(kernel: &[u8], family: Family) -> Result<BootProtocol, BootError> {
    let best = probe(kernel);
    let spoken = if elf::is_elf(kernel) {
        let elf = Elf::parse(kernel)?;
        check_elf_kind(&elf)?;
        if family == Family::Elf {
            return elf64::check(&elf).map(|()| BootProtocol::Elf64);
        }
        protocols_of_elf(&elf, kernel)?
    } else {
        let flat = [multiboot2_if_flat(kernel), multiboot1_if_flat(kernel)];
        best.iter().copied().chain(flat.into_iter().flatten()).collect()
    };
    let found = spoken.iter().copied().find(|&protocol| family_of(protocol) == family);
    found.map_or_else(|| Err(not_spoken(family, best)), Ok)
}

fn not_spoken(family: Family, best: Result<BootProtocol, BootError>) -> BootError {
    let best = match best {
        Ok(protocol) => protocol,
        Err(error) => return error,
    };
    BootError::Unsupported {
        problem: format!("it does not speak {}, but {}", name(family), name(family_of(best))),
        advice: "leave --protocol out, or name that one",
    }
}

fn name(family: Family) -> &'static str {
    match family {
        Family::Linux => "Linux's boot protocol",
        Family::Limine => "Limine's protocol",
        Family::Multiboot2 => "Multiboot 2",
        Family::Multiboot1 => "Multiboot 1",
        Family::Pvh => "PVH",
        Family::Elf => "no protocol (elf)",
    }
}

fn family_of(protocol: BootProtocol) -> Family {
    match protocol {
        BootProtocol::LinuxBzImage | BootProtocol::LinuxElf => Family::Linux,
        BootProtocol::Limine => Family::Limine,
        BootProtocol::Multiboot2 => Family::Multiboot2,
        BootProtocol::Multiboot1 => Family::Multiboot1,
        BootProtocol::Pvh => Family::Pvh,
        BootProtocol::Elf64 => Family::Elf,
    }
}

/// What an ELF kernel speaks, the best first.
fn protocols_of_elf(elf: &Elf<'_>, kernel: &[u8]) -> Result<Vec<BootProtocol>, BootError> {
    let signs = [
        (elf.is_64 && is_linux(elf, kernel)?, BootProtocol::LinuxElf),
        (elf.is_64 && limine::has_requests(elf)?, BootProtocol::Limine),
        (multiboot2::find_header(kernel).is_some(), BootProtocol::Multiboot2),
        (multiboot1::find_header(kernel).is_some(), BootProtocol::Multiboot1),
        (pvh::entry_note(elf)?.is_some(), BootProtocol::Pvh),
    ];
    Ok(signs.into_iter().filter(|(is_there, _)| *is_there).map(|(_, protocol)| protocol).collect())
}

/// What a file speaks that is no ELF file: by a header that says itself where to load it.
fn protocol_of_flat(kernel: &[u8]) -> Option<BootProtocol> {
    multiboot2_if_flat(kernel).or_else(|| multiboot1_if_flat(kernel))
}

fn multiboot2_if_flat(kernel: &[u8]) -> Option<BootProtocol> {
    multiboot2::is_flat_kernel(kernel).then_some(BootProtocol::Multiboot2)
}

fn multiboot1_if_flat(kernel: &[u8]) -> Option<BootProtocol> {
    multiboot1::is_flat_kernel(kernel).then_some(BootProtocol::Multiboot1)
}

fn check_elf_kind(elf: &Elf<'_>) -> Result<(), BootError> {
    match elf.machine {
        elf::EM_386 | elf::EM_X86_64 => {}
        machine => {
            let what = format!("an ELF file for {}", machine_name(machine));
            return Err(BootError::NotAKernel { what, advice: "build the kernel for x86-64" });
        }
    }
    match elf.kind {
        Kind::Executable | Kind::Shared => {}
        Kind::Relocatable => {
            return Err(not("an object file or kernel module", "give the linked kernel: vmlinux or bzImage"));
        }
        Kind::Core => return Err(not("a core dump", "give the kernel that it is a dump of")),
        Kind::Other => return Err(not("an ELF file of unknown type", "give vmlinux or bzImage")),
    }
    if elf.loads().next().is_none() {
        return Err(not("an ELF file with nothing to load", "give the linked kernel: vmlinux or bzImage"));
    }
    if elf.loads().all(|segment| segment.file_bytes == 0) {
        return Err(not(
            "a file with debugging information only",
            "give the kernel itself, and this file with --symbols",
        ));
    }
    Ok(())
}

/// A Linux kernel says so in a note (4.19 and later, or with Xen support), else by its banner.
fn is_linux(elf: &Elf<'_>, kernel: &[u8]) -> Result<bool, BootError> {
    const XEN_ELFNOTE_GUEST_OS: u32 = 6;
    let by_note = elf.notes()?.iter().any(|note| {
        note.owner == b"Linux"
            || (note.owner == b"Xen"
                && note.kind == XEN_ELFNOTE_GUEST_OS
                && note.contents.starts_with(b"linux"))
    });
    const BANNER: &[u8] = b"Linux version ";
    Ok(by_note
        || kernel.windows(BANNER.len() + 1).any(|window| {
            window[0] == BANNER[0] && window.starts_with(BANNER) && window[BANNER.len()].is_ascii_digit()
        }))
}

fn machine_name(machine: u16) -> String {
    match machine {
        8 => "MIPS".to_owned(),
        20 | 21 => "PowerPC".to_owned(),
        22 => "S/390".to_owned(),
        40 => "32-bit ARM".to_owned(),
        183 => "arm64".to_owned(),
        243 => "RISC-V".to_owned(),
        258 => "LoongArch".to_owned(),
        other => format!("another processor (e_machine {other})"),
    }
}

fn not(what: &str, advice: &'static str) -> BootError {
    BootError::NotAKernel { what: what.to_owned(), advice }
}

/// Signatures at a fixed offset, what they mean, and what to do.
const SIGNATURES: &[(usize, &[u8], &str, &str)] = &[
    (0, b"\x1f\x8b", "a gzip file", "unpack it with gunzip first"),
    (0, b"\xfd7zXZ\0", "an xz file", "unpack it with unxz first"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it with unzstd first"),
    (0, b"\x04\x22\x4d\x18", "an lz4 file", "unpack it with unlz4 first"),
    (0, b"\x02\x21\x4c\x18", "an lz4 file", "unpack it with unlz4 first"),
    (0, b"BZh", "a bzip2 file", "unpack it with bunzip2 first"),
    (0, b"\x27\x05\x19\x56", "a U-Boot uImage", "give the kernel inside it: bzImage or vmlinux"),
    (0, b"\xd0\x0d\xfe\xed", "a device tree or FIT image", "give the kernel inside it: bzImage or vmlinux"),
    (0, b"070701", "a cpio archive", "give it with --initrd, and a kernel as KERNEL"),
    (0, b"070702", "a cpio archive", "give it with --initrd, and a kernel as KERNEL"),
    (0, b"!<arch>\n", "an ar archive or Debian package", "unpack it with dpkg-deb -x and give the vmlinuz"),
    (0, b"\xed\xab\xee\xdb", "an RPM package", "unpack it with rpm2cpio and give the vmlinuz"),
    (0, b"PK\x03\x04", "a zip file", "unpack it first"),
    (
        0,
        b"QFI\xfb",
        "a qcow2 disk image",
        "convert it with qemu-img convert -O raw and give it with -r or -R",
    ),
    (0, b"KDMV", "a VMDK disk image", "convert it with qemu-img convert -O raw and give it with -r or -R"),
    (56, b"ARM\x64", "a Linux Image for arm64", "build the kernel for x86-64"),
    (56, b"RSC\x05", "a Linux Image for RISC-V", "build the kernel for x86-64"),
    (36, b"\x18\x28\x6f\x01", "a zImage for 32-bit ARM", "build the kernel for x86-64"),
    (257, b"ustar", "a tar archive", "unpack it first"),
    (0x8001, b"CD001", "a CD image", "give it with -c"),
    (512, b"EFI PART", "a disk image", "give it with -r or -R"),
];

fn what_else(kernel: &[u8]) -> BootError {
    if kernel.is_empty() {
        return not("an empty file", "fetch or build the kernel again");
    }
    for &(offset, signature, what, advice) in SIGNATURES {
        if kernel.get(offset..).is_some_and(|rest| rest.starts_with(signature)) {
            return not(what, advice);
        }
    }
    if kernel.starts_with(b"MZ") {
        return what_mz(kernel);
    }
    if kernel.get(0x1fe..0x200) == Some(&[0x55, 0xaa])
        && kernel.get(0x1f1..0x1f2) != Some(&[0])
        && is_old_linux(kernel)
    {
        return not(
            "a Linux zImage from before boot protocol 2.00",
            "Linux 3.8 is the oldest that has a 64-bit entry",
        );
    }
    if kernel.get(510..512) == Some(&[0x55, 0xaa]) {
        return not("a boot sector or disk image", "give it with -r or -R");
    }
    if multiboot2::find_header(kernel).or_else(|| multiboot1::find_header(kernel)).is_some() {
        return not(
            "a file with a Multiboot header that does not say where to load it",
            "give the ELF file it was made from, or add load addresses to the header",
        );
    }
    let head = &kernel[..kernel.len().min(512)];
    if head.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..)) {
        return not("a text file", "give a bzImage, a vmlinux, or a Multiboot or PVH kernel");
    }
    if kernel.len() < 1024 {
        return not(&format!("a file of {} bytes", kernel.len()), "fetch or build the kernel again");
    }
    if head.iter().all(|&byte| byte == 0) {
        return not("a file that begins with zeros", "fetch or build the kernel again");
    }
    not("a file of unknown kind", "give a bzImage, a vmlinux, or a Multiboot or PVH kernel")
}

/// A kernel image of Linux 1 has the words of its boot sector in it, and no header.
fn is_old_linux(kernel: &[u8]) -> bool {
    kernel[..512].windows(7).any(|window| window == b"Loading")
}

/// A file that begins as DOS programs do. PE, with which EFI programs and kernels for EFI loaders begin too,
/// says for which processor it is.
fn what_mz(kernel: &[u8]) -> BootError {
    // A compressed kernel for an EFI loader names its format next (arch/*/boot/zboot): arm64, RISC-V, LoongArch.
    if kernel.get(4..8) == Some(b"zimg") {
        return not("a compressed EFI kernel (zboot) for another processor", "build the kernel for x86-64");
    }
    let pe = kernel.get(0x3c..0x40).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
    let header = pe.and_then(|at| kernel.get(at..)?.get(..6)).filter(|header| header.starts_with(b"PE\0\0"));
    match header.map(|header| u16::from_le_bytes([header[4], header[5]])) {
        Some(0x8664) | None => {}
        Some(0x014c) => return not("a 32-bit EFI or Windows program", "give an ELF kernel or a bzImage"),
        Some(machine) => {
            let processor = match machine {
                0xaa64 => "arm64",
                0x01c0..=0x01c4 => "32-bit ARM",
                0x5064 => "RISC-V",
                0x6264 => "LoongArch",
                _ => "another processor",
            };
            return not(&format!("an EFI program for {processor}"), "build the kernel for x86-64");
        }
    }
    // A unified kernel image carries the bzImage in a section of that name.
    let headers = &kernel[..kernel.len().min(4096)];
    if headers.windows(8).any(|window| window == b".linux\0\0") {
        return not(
            "a unified kernel image",
            "take the kernel out with objcopy -O binary --only-section=.linux UKI bzImage",
        );
    }
    not(
        "an EFI or Windows program (PE) without a Linux boot header",
        "give a bzImage or an ELF kernel, or boot it from a disk with -r",
    )
}

#[cfg(test)]
mod tests {
    use super::super::samples::{BzImage, ElfSample, multiboot_header, multiboot2_header, note};
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        probe(bytes).unwrap_err().to_string()
    }

    #[test]
    fn each_protocol_is_recognised() {
        assert_eq!(probe(&BzImage::default().build()), Ok(BootProtocol::LinuxBzImage));
        let linux = ElfSample::new(true).segment(0x100_0000, 0x100_0000, b"Linux version 6.1.0 (", 64);
        assert_eq!(probe(&linux.build()), Ok(BootProtocol::LinuxElf));
        let pvh = note(b"Xen\0", 18, &0x10_0000_u64.to_le_bytes());
        let elf = ElfSample::new(false).segment(0x10_0000, 0x10_0000, b"text", 64);
        assert_eq!(probe(&elf.clone().notes(&pvh).build()), Ok(BootProtocol::Pvh));
        let limine = [0xf956_2b2d_5c95_a6c8_u64, 0x6a7b_3849_4453_6bdc, 3].map(u64::to_le_bytes).concat();
        let elf = ElfSample::new(true).segment(0x10_0000, 0xffff_ffff_8000_0000, &limine, 64);
        assert_eq!(probe(&elf.build()), Ok(BootProtocol::Limine));
        let elf = ElfSample::new(true).segment(0x10_0000, 0x10_0000, &multiboot2_header(&[]), 64);
        assert_eq!(probe(&elf.build()), Ok(BootProtocol::Multiboot2));
        let elf = ElfSample::new(true).segment(0x10_0000, 0x10_0000, b"text", 64);
        assert_eq!(probe(&elf.build()), Ok(BootProtocol::Elf64));
        let text = multiboot_header(0);
        let elf = ElfSample::new(false).segment(0x10_0000, 0x10_0000, &text, 64);
        assert_eq!(probe(&elf.build()), Ok(BootProtocol::Multiboot1));
        assert_eq!(probe(&multiboot_header(1 << 16)), Ok(BootProtocol::Multiboot1));
        assert!(probe(&text).is_err(), "neither addresses nor an ELF file");
    }

    #[test]
    fn linux_with_a_pvh_note_is_entered_as_linux() {
        let notes = [note(b"Xen\0", 18, &[0; 8]), note(b"Linux\0", 257, &[0; 4])].concat();
        let elf = ElfSample::new(true).segment(0x100_0000, 0x100_0000, b"text", 64).notes(&notes);
        assert_eq!(probe(&elf.build()), Ok(BootProtocol::LinuxElf));
    }

    #[test]
    fn multiboot_goes_before_pvh() {
        let elf = ElfSample::new(false).segment(0x10_0000, 0x10_0000, &multiboot_header(0), 64).notes(&note(
            b"Xen\0",
            18,
            &0x10_0000_u32.to_le_bytes(),
        ));
        assert_eq!(probe(&elf.build()), Ok(BootProtocol::Multiboot1));
    }

    #[test]
    fn a_kernel_of_several_protocols_is_entered_by_the_one_asked_for() {
        let headers = [multiboot2_header(&[]), multiboot_header(0)].concat();
        let notes = note(b"Xen\0", 18, &0x10_0000_u64.to_le_bytes());
        let elf = ElfSample::new(true).segment(0x10_0000, 0x10_0000, &headers, 64).notes(&notes).build();
        assert_eq!(probe(&elf), Ok(BootProtocol::Multiboot2));
        let each = [
            (Family::Multiboot2, BootProtocol::Multiboot2),
            (Family::Multiboot1, BootProtocol::Multiboot1),
            (Family::Pvh, BootProtocol::Pvh),
            (Family::Elf, BootProtocol::Elf64),
        ];
        for (family, protocol) in each {
            assert_eq!(probe_as(&elf, family), Ok(protocol));
        }
        let refusal = probe_as(&elf, Family::Limine).unwrap_err().to_string();
        assert!(refusal.contains("Limine's protocol, but Multiboot 2"), "{refusal}");
        assert!(
            probe_as(&BzImage::default().build(), Family::Pvh)
                .unwrap_err()
                .to_string()
                .contains("--protocol")
        );
        assert_eq!(probe_as(&BzImage::default().build(), Family::Linux), Ok(BootProtocol::LinuxBzImage));
    }

    #[test]
    fn an_efi_program_says_for_which_processor_it_is() {
        for (machine, name) in
            [(0xaa64_u16, "arm64"), (0x5064, "RISC-V"), (0x014c, "32-bit"), (0x1234, "another")]
        {
            let mut efi = vec![0x90; 4096];
            efi[..2].copy_from_slice(b"MZ");
            efi[0x3c..0x40].copy_from_slice(&0x80_u32.to_le_bytes());
            efi[0x80..0x84].copy_from_slice(b"PE\0\0");
            efi[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
            assert!(refusal(&efi).contains(name), "{}", refusal(&efi));
            efi[4..8].copy_from_slice(b"zimg");
            assert!(refusal(&efi).contains("zboot"));
        }
    }

    #[test]
    fn every_wrong_file_is_named_with_what_to_do() {
        for &(offset, signature, what, advice) in SIGNATURES {
            let mut bytes = vec![0x01; 0x9000];
            bytes[offset..offset + signature.len()].copy_from_slice(signature);
            let refusal = refusal(&bytes);
            assert!(refusal.contains(what) && refusal.contains(advice), "{refusal}");
        }
        assert!(refusal(b"").contains("an empty file"));
        assert!(refusal(b"#!/bin/sh\necho hello\n").contains("a text file"));
        assert!(refusal(&[1, 2, 3]).contains("a file of 3 bytes"));
        assert!(refusal(&[0; 4096]).contains("begins with zeros"));
        let mut sector = vec![0x90; 1024];
        sector[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert!(refusal(&sector).contains("-r"));
        let mut efi = vec![0x90; 4096];
        efi[..2].copy_from_slice(b"MZ");
        assert!(refusal(&efi).contains("(PE)"));
        efi[0x200..0x208].copy_from_slice(b".linux\0\0");
        assert!(refusal(&efi).contains("objcopy"));
    }

    #[test]
    fn every_wrong_elf_is_named_with_what_to_do() {
        let sample = || ElfSample::new(true).segment(0x10_0000, 0x10_0000, b"text", 64);
        assert!(refusal(&sample().machine(183).build()).contains("arm64"));
        assert!(refusal(&sample().machine(243).build()).contains("RISC-V"));
        assert!(refusal(&sample().kind(1).build()).contains("module"));
        assert!(refusal(&sample().kind(4).build()).contains("core dump"));
        let elf32 = ElfSample::new(false).segment(0x10_0000, 0x10_0000, b"text", 64);
        assert!(refusal(&elf32.build()).contains("Multiboot header in its first 8 KiB"));
        assert!(refusal(&ElfSample::new(true).build()).contains("nothing to load"));
        let debug = ElfSample::new(true).segment(0x10_0000, 0x10_0000, b"", 64);
        assert!(refusal(&debug.build()).contains("--symbols"));
    }
}
