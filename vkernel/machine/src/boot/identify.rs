//! What a file given as KERNEL is: which boot protocol it speaks, or else what it is instead and what to do.
//!
//! People hand over whatever their build left behind: `vmlinux.gz`, an arm64 Image, a unified kernel image, a
//! disk image. Each gets its own sentence. Nothing is unpacked or loaded here.

use super::elf::{self, Elf, Kind};
use super::{BootError, linux, multiboot1, pvh};
use boundary::BootProtocol;

/// Which protocol enters this kernel. A Linux ELF is entered by Linux's own 64-bit protocol, even if it has a
/// PVH note; Multiboot goes before PVH, because Xen, which has both, needs a hypervisor below it for PVH.
pub fn probe(kernel: &[u8]) -> Result<BootProtocol, BootError> {
    if linux::has_setup_header(kernel) {
        linux::check_bzimage(kernel)?;
        return Ok(BootProtocol::LinuxBzImage);
    }
    if elf::is_elf(kernel) {
        return probe_elf(&Elf::parse(kernel)?, kernel);
    }
    if multiboot1::is_flat_kernel(kernel) {
        return Ok(BootProtocol::Multiboot1);
    }
    Err(what_else(kernel))
}

fn probe_elf(elf: &Elf<'_>, kernel: &[u8]) -> Result<BootProtocol, BootError> {
    check_elf_kind(elf)?;
    if elf.is_64 && is_linux(elf, kernel)? {
        return Ok(BootProtocol::LinuxElf);
    }
    if multiboot1::find_header(kernel).is_some() {
        return Ok(BootProtocol::Multiboot1);
    }
    if pvh::entry_note(elf)?.is_some() {
        return Ok(BootProtocol::Pvh);
    }
    if has_multiboot2_header(kernel) {
        return Err(not("a kernel with only a Multiboot 2 header", "add a Multiboot 1 header or a PVH note"));
    }
    Err(not(
        "an ELF file without an entry for boot loaders",
        "it needs to be a 64-bit Linux vmlinux, or to have a PVH note or, in its first 8 KiB, a Multiboot 1 header",
    ))
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

fn has_multiboot2_header(kernel: &[u8]) -> bool {
    const MAGIC: [u8; 4] = 0xe852_50d6_u32.to_le_bytes();
    kernel[..kernel.len().min(32768)].chunks_exact(8).any(|chunk| chunk.starts_with(&MAGIC))
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
        return what_efi(kernel);
    }
    if kernel.get(510..512) == Some(&[0x55, 0xaa]) {
        return not("a boot sector or disk image", "give it with -r or -R");
    }
    if has_multiboot2_header(kernel) {
        return not("a kernel with only a Multiboot 2 header", "add a Multiboot 1 header or a PVH note");
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

fn what_efi(kernel: &[u8]) -> BootError {
    // A unified kernel image carries the bzImage in a section of that name.
    let headers = &kernel[..kernel.len().min(4096)];
    if headers.windows(8).any(|window| window == b".linux\0\0") {
        return not(
            "a unified kernel image",
            "take the kernel out with objcopy -O binary --only-section=.linux UKI bzImage",
        );
    }
    not("an EFI program without a Linux boot header", "give a bzImage, or boot it from a disk with -r")
}

#[cfg(test)]
mod tests {
    use super::super::samples::{BzImage, ElfSample, multiboot_header, note};
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
        assert!(refusal(&efi).contains("EFI program"));
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
        assert!(refusal(&sample().build()).contains("Multiboot 1 header"));
        assert!(refusal(&ElfSample::new(true).build()).contains("nothing to load"));
        let debug = ElfSample::new(true).segment(0x10_0000, 0x10_0000, b"", 64);
        assert!(refusal(&debug.build()).contains("--symbols"));
    }
}
