//! Linux by its 64-bit boot protocol (Documentation/arch/x86/boot.rst), from a bzImage or a vmlinux.
//!
//! The kernel is entered in long mode with the first 4 GiB mapped to themselves, RSI pointing to the zero
//! page. A bzImage (protocol 2.12 or later, 64-bit) unpacks itself, KASLR included; a vmlinux is loaded where
//! it was linked. Left out: the 16-bit and 32-bit entries, and loading above 4 GiB.

use super::bytes::View;
use super::elf::Elf;
use super::entry::{Entry, RSI};
use super::loader::{FOUR_GIB, Loader, PAGE_BYTES};
use super::zero_page::{SETUP_HEADER, SETUP_HEADER_END, ZeroPage, rng_seed_setup_data};
use super::{BootError, LoadedImage};
use std::ops::Range;

const FORMAT: &str = "Linux bzImage";
const LOADED_HIGH: u8 = 1;
const XLF_KERNEL_64: u16 = 1;
/// The first version whose header says whether there is a 64-bit entry.
const OLDEST_VERSION: u16 = 0x020c;
/// The 64-bit entry of a bzImage, from where its code was loaded.
const ENTRY64_OFFSET: u64 = 0x200;
/// A vmlinux does not say how high its initrd may be; this is what every bzImage since 2.6 allows at least.
const VMLINUX_INITRD_LIMIT: u64 = 0x3800_0000;
/// The command line of a vmlinux: COMMAND_LINE_SIZE on x86 is 2048 with the terminating zero.
const VMLINUX_COMMAND_LINE_BYTES: u64 = 2047;

/// What the setup header of a bzImage says.
#[derive(Debug)]
struct SetupHeader<'a> {
    /// The bytes to copy to the zero page.
    raw: &'a [u8],
    /// Protected-mode code: everything after the real-mode part.
    code: &'a [u8],
    initrd_limit: u64,
    alignment: u64,
    is_relocatable: bool,
    command_line_limit_bytes: u64,
    preferred_paddr: u64,
    init_bytes: u64,
}

/// Whether this is a bzImage, of whatever version.
pub(crate) fn has_setup_header(kernel: &[u8]) -> bool {
    kernel.get(0x202..0x206) == Some(b"HdrS") && kernel.get(0x1fe..0x200) == Some(&[0x55, 0xaa])
}

/// Checks that a bzImage can be entered here.
pub(crate) fn check_bzimage(kernel: &[u8]) -> Result<(), BootError> {
    SetupHeader::parse(kernel).map(drop)
}

impl<'a> SetupHeader<'a> {
    fn parse(kernel: &'a [u8]) -> Result<SetupHeader<'a>, BootError> {
        let view = View::new(FORMAT, kernel);
        if !has_setup_header(kernel) {
            return Err(view.malformed(0x202, "there is no Linux boot header"));
        }
        let version = view.u16(0x206)?;
        if version < OLDEST_VERSION {
            return Err(BootError::Unsupported {
                problem: format!("its boot protocol is {}.{:02}", version >> 8, version & 0xff),
                advice: "2.12 (Linux 3.8) is the oldest that tells of a 64-bit entry",
            });
        }
        if view.u16(0x236)? & XLF_KERNEL_64 == 0 {
            return Err(BootError::Unsupported {
                problem: "it is a 32-bit Linux kernel".to_owned(),
                advice: "build it with CONFIG_64BIT",
            });
        }
        if view.u8(0x211)? & LOADED_HIGH == 0 {
            return Err(BootError::Unsupported {
                problem: "it is a zImage, loaded below 1 MiB".to_owned(),
                advice: "build a bzImage",
            });
        }
        let sectors = match view.u8(0x1f1)? {
            0 => 4,
            sectors => u64::from(sectors),
        };
        let code_offset = (sectors + 1) * 512;
        let code = view.slice(code_offset, view.length_bytes().saturating_sub(code_offset))?;
        check_complete(view, code_offset)?;
        let alignment = u64::from(view.u32(0x230)?);
        if !alignment.is_power_of_two() {
            return Err(view.malformed(0x230, format!("the alignment {alignment:#x} is no power of two")));
        }
        let header_end = (0x202 + u64::from(view.u8(0x201)?)).min(SETUP_HEADER_END as u64);
        let start = SETUP_HEADER as u64;
        Ok(SetupHeader {
            raw: view.slice(start, header_end.saturating_sub(start))?,
            code,
            initrd_limit: u64::from(view.u32(0x22c)?) + 1,
            alignment: alignment.max(PAGE_BYTES),
            is_relocatable: view.u8(0x234)? != 0,
            command_line_limit_bytes: u64::from(view.u32(0x238)?),
            preferred_paddr: view.u64(0x258)?,
            init_bytes: u64::from(view.u32(0x260)?).max(code.len() as u64).max(ENTRY64_OFFSET + 1),
        })
    }
}

/// A bzImage cut short would fail late, as damaged compressed data; the header says enough to notice here.
fn check_complete(view: View<'_>, code_offset: u64) -> Result<(), BootError> {
    let payload_offset = u64::from(view.u32(0x248)?);
    let payload_bytes = u64::from(view.u32(0x24c)?);
    if payload_bytes == 0 {
        return Ok(());
    }
    view.slice(code_offset + payload_offset, payload_bytes).map(drop)
}

/// Loads a bzImage.
pub(crate) fn load_bzimage(
    loader: &mut Loader<'_>,
    kernel: &[u8],
    images: &[LoadedImage<'_>],
) -> Result<Entry, BootError> {
    let header = SetupHeader::parse(kernel)?;
    check_command_line(loader, header.command_line_limit_bytes)?;
    let start = place_bzimage(loader, &header)?;
    loader.put(start, header.code);
    let mut page = ZeroPage::with_setup_header(header.raw);
    page.set_code_paddr(start);
    let kernel_end = start + header.init_bytes;
    let ramdisk = loader.put_initrds(images, header.initrd_limit, kernel_end)?;
    enter(loader, page, ramdisk, start + ENTRY64_OFFSET)
}

/// Claims the memory a bzImage unpacks itself into: at its preferred address, or the next that fits.
fn place_bzimage(loader: &mut Loader<'_>, header: &SetupHeader<'_>) -> Result<u64, BootError> {
    let preferred = header.preferred_paddr;
    let end = preferred.checked_add(header.init_bytes).ok_or_else(|| {
        View::new(FORMAT, &[])
            .malformed(0x258, format!("the load address {preferred:#x} is beyond all memory"))
    })?;
    if !header.is_relocatable {
        return loader.claim_kernel(preferred..end).map(|()| preferred);
    }
    match loader.space.claim_lowest(header.init_bytes, header.alignment, preferred..FOUR_GIB) {
        Some(start) => Ok(start),
        None if end <= loader.power_on.ram_bytes || end > FOUR_GIB => Err(BootError::NoRoom {
            what: "the kernel".to_owned(),
            length_bytes: header.init_bytes,
            start: preferred,
            end: FOUR_GIB,
            advice: "there is no such RAM: build it with another CONFIG_PHYSICAL_START",
        }),
        None => Err(loader.too_little("the kernel", end)),
    }
}

/// Loads a vmlinux.
pub(crate) fn load_elf(
    loader: &mut Loader<'_>,
    kernel: &[u8],
    images: &[LoadedImage<'_>],
) -> Result<Entry, BootError> {
    let elf = Elf::parse(kernel)?;
    if !elf.is_64 {
        return Err(BootError::Unsupported {
            problem: "it is a 32-bit ELF file".to_owned(),
            advice: "Linux's 64-bit boot protocol needs a 64-bit vmlinux",
        });
    }
    check_command_line(loader, VMLINUX_COMMAND_LINE_BYTES)?;
    let rip = elf.entry_paddr()?;
    let kernel_end = loader.put_elf(&elf)?;
    let ramdisk = loader.put_initrds(images, VMLINUX_INITRD_LIMIT, kernel_end)?;
    enter(loader, ZeroPage::without_setup_header(), ramdisk, rip)
}

fn check_command_line(loader: &Loader<'_>, limit_bytes: u64) -> Result<(), BootError> {
    let length_bytes = loader.power_on.boot.command_line.len() as u64;
    if length_bytes > limit_bytes {
        return Err(BootError::CommandLineTooLong { length_bytes, limit_bytes });
    }
    Ok(())
}

/// Puts the zero page and what it points to in low memory, and describes the entry state.
fn enter(
    loader: &mut Loader<'_>,
    mut page: ZeroPage,
    ramdisk: Option<Range<u64>>,
    rip: u64,
) -> Result<Entry, BootError> {
    let (gdt_paddr, stack_top) = loader.claim_gdt_and_stack()?;
    let page_table_paddr = put_identity_map(loader)?;
    if let Some(range) = ramdisk {
        page.set_ramdisk(&range);
    }
    page.set_command_line(loader.put_string("the command line", &loader.power_on.boot.command_line)?);
    let seed = rng_seed_setup_data(loader.power_on.seed);
    page.set_setup_data(loader.put_low("the random seed", &seed, 16)?);
    page.set_rsdp(loader.rsdp_paddr);
    page.set_memory_map(loader.memory_map)?;
    let zero_page_paddr = loader.put_low("the zero page", page.bytes(), PAGE_BYTES)?;
    let mut entry = Entry::long64(rip, stack_top, gdt_paddr, page_table_paddr);
    entry.general[RSI] = zero_page_paddr;
    loader.put_gdt(&entry);
    Ok(entry)
}

/// Page tables that map the first 4 GiB to themselves by 2 MiB pages: SDM volume 3, 4.5.
fn put_identity_map(loader: &mut Loader<'_>) -> Result<u64, BootError> {
    const PRESENT_WRITABLE: u64 = 3;
    const LARGE: u64 = 1 << 7;
    const DIRECTORIES: u64 = 4;
    let root = loader.claim_low("the page tables", (2 + DIRECTORIES) * PAGE_BYTES, PAGE_BYTES)?;
    let pointers = root + PAGE_BYTES;
    loader.put(root, &(pointers | PRESENT_WRITABLE).to_le_bytes());
    for directory in 0..DIRECTORIES {
        let table = pointers + (1 + directory) * PAGE_BYTES;
        loader.put(pointers + directory * 8, &(table | PRESENT_WRITABLE).to_le_bytes());
        let entries: Vec<u8> = (0..512_u64)
            .flat_map(|index| (((directory << 30) | (index << 21)) | PRESENT_WRITABLE | LARGE).to_le_bytes())
            .collect();
        loader.put(table, &entries);
    }
    Ok(root)
}
