//! Linux by its 64-bit boot protocol (Documentation/arch/x86/boot.rst), from a bzImage or a vmlinux.
//!
//! The kernel is entered in long mode with the first 4 GiB mapped to themselves, RSI pointing to the zero
//! page. A bzImage (protocol 2.12 or later, 64-bit) unpacks itself, KASLR included; a vmlinux is loaded where
//! it was linked. Left out: the 16-bit and 32-bit entries, and loading above 4 GiB.

use super::bytes::View;
use super::elf::Elf;
use super::entry::Entry;
use super::loader::{FOUR_GIB, Loader, PAGE_BYTES};
use super::zero_page::{SETUP_HEADER, SETUP_HEADER_END, ZeroPage, rng_seed_setup_data};
use super::{BootError, LoadedImage};
use crate::cpu::state::RSI;
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

#[cfg(test)]
mod tests {
    use super::super::samples::{BzImage, ElfSample, MIB, SampleMemory, Setup};
    use super::super::{Mode, probe};
    use super::*;
    use crate::boot::entry::descriptor;
    use boundary::{BootProtocol, Role};

    fn bzimage(sample: &BzImage) -> Setup {
        Setup::new(BootProtocol::LinuxBzImage, sample.build())
    }

    /// Walks the page tables as a processor would.
    fn translate(memory: &SampleMemory, root: u64, vaddr: u64) -> u64 {
        let top = memory.u64(root + (vaddr >> 39 & 0x1ff) * 8);
        let pointer = memory.u64((top & !0xfff) + (vaddr >> 30 & 0x1ff) * 8);
        let entry = memory.u64((pointer & !0xfff) + (vaddr >> 21 & 0x1ff) * 8);
        assert_eq!((top & 3, pointer & 3, entry & 0x83), (3, 3, 0x83));
        (entry & !0x1f_ffff) + (vaddr & 0x1f_ffff)
    }

    #[test]
    fn a_bzimage_is_entered_at_its_64_bit_entry_with_the_zero_page_in_rsi() {
        let sample = BzImage::default();
        let (entry, memory) = bzimage(&sample).load().unwrap();
        assert_eq!(entry.rip, 0x100_0200);
        assert_eq!(memory.bytes(0x100_0000, sample.code.len()), sample.code);
        let page = entry.general[RSI];
        assert_eq!(memory.bytes(page + 0x202, 4), b"HdrS");
        assert_eq!(memory.bytes(page + 0x210, 1), [0xff]);
        assert_eq!(memory.bytes(page + 0x1ef, 1), [0], "the sentinel says that the page was zeroed");
        assert_eq!(memory.u32(page + 0x214), 0x100_0000);
        assert_eq!(memory.u64(page + 0x258), sample.pref_address);
        assert_eq!(memory.string(u64::from(memory.u32(page + 0x228))), "console=ttyS0");
        assert_eq!(memory.u64(page + 0x70), 0xe_0020);
        assert_eq!(memory.bytes(page + 0x1e8, 1), [3]);
        assert_eq!(memory.u64(page + 0x2d0 + 40), MIB);
        let setup_data = memory.u64(page + 0x250);
        assert_eq!((memory.u64(setup_data), memory.u32(setup_data + 8)), (0, 9));
        assert_eq!(memory.u32(page + 0x21c), 0, "no initrd");
    }

    #[test]
    fn the_first_four_gib_are_mapped_to_themselves() {
        let (entry, memory) = bzimage(&BzImage::default()).load().unwrap();
        assert_eq!(entry.mode, Mode::Long64 { page_table_paddr: entry.cr3 });
        for vaddr in [0, 0x12_3456, 0x4000_0000, 0xdead_beef, 0xffff_ffff] {
            assert_eq!(translate(&memory, entry.cr3, vaddr), vaddr);
        }
        assert_eq!(memory.u64(entry.gdt.base + 0x10), descriptor(entry.segments[1]));
        assert_eq!(memory.u64(entry.gdt.base + 0x18), descriptor(entry.segments[3]));
    }

    #[test]
    fn initrds_are_joined_with_padding_and_placed_high() {
        let setup =
            bzimage(&BzImage::default()).image(Role::Initrd, b"first", "").image(Role::Initrd, b"second", "");
        let (entry, memory) = setup.load().unwrap();
        let page = entry.general[RSI];
        let start = u64::from(memory.u32(page + 0x218));
        assert_eq!(start, 64 * MIB - 4096);
        assert_eq!(memory.u32(page + 0x21c), 14);
        assert_eq!(memory.bytes(start, 14), b"first\0\0\0second");
    }

    #[test]
    fn an_initrd_stays_below_the_kernels_limit() {
        let sample = BzImage { initrd_addr_max: 0x2ff_ffff, ..BzImage::default() };
        let (entry, memory) = bzimage(&sample).image(Role::Initrd, &[7; 5000], "").load().unwrap();
        assert_eq!(memory.u32(entry.general[RSI] + 0x218), 0x2ff_e000);
    }

    #[test]
    fn too_little_memory_says_how_much_is_needed() {
        let sample = BzImage { init_size: 0x400_0000, ..BzImage::default() };
        let error = bzimage(&sample).load().err().unwrap();
        assert!(error.to_string().contains("-m 80m"), "{error}");
        assert!(bzimage(&sample).ram(80 * MIB).load().is_ok());
    }

    #[test]
    fn memory_for_the_initrd_is_counted_too() {
        let sample = BzImage { pref_address: 0x20_0000, init_size: 0x40_0000, ..BzImage::default() };
        let with_initrd =
            |ram_bytes| bzimage(&sample).ram(ram_bytes).image(Role::Initrd, &[1; 0x20_0000], "").load();
        let error = with_initrd(6 * MIB).err().unwrap();
        assert!(error.to_string().contains("-m 8m"), "{error}");
        assert!(with_initrd(8 * MIB).is_ok());
    }

    #[test]
    fn a_command_line_beyond_the_kernels_limit_is_refused() {
        let sample = BzImage { cmdline_size: 20, ..BzImage::default() };
        assert!(bzimage(&sample).command_line(&"x".repeat(20)).load().is_ok());
        let error = bzimage(&sample).command_line(&"x".repeat(21)).load().err();
        assert_eq!(error, Some(BootError::CommandLineTooLong { length_bytes: 21, limit_bytes: 20 }));
    }

    #[test]
    fn kernels_that_cannot_be_entered_are_refused_with_the_reason() {
        let refusal = |sample: BzImage| probe(&sample.build()).unwrap_err().to_string();
        assert!(refusal(BzImage { version: 0x0205, ..BzImage::default() }).contains("2.05"));
        assert!(refusal(BzImage { xloadflags: 0, ..BzImage::default() }).contains("32-bit"));
        let short = BzImage { code: vec![0; 0x400], ..BzImage::default() };
        assert!(refusal(short).contains("cut short"));
    }

    #[test]
    fn a_kernel_that_cannot_move_is_loaded_at_its_address_or_not_at_all() {
        let sample = |pref_address| BzImage { relocatable: 0, pref_address, ..BzImage::default() };
        assert_eq!(bzimage(&sample(0x12_3000)).load().unwrap().0.rip, 0x12_3200);
        assert!(matches!(bzimage(&sample(0x9_0000)).load(), Err(BootError::NoRoom { .. })));
        assert!(matches!(bzimage(&sample(u64::MAX)).load(), Err(BootError::Malformed { offset: 0x258, .. })));
    }

    #[test]
    fn a_vmlinux_is_entered_at_its_physical_entry_with_a_zero_page_made_for_it() {
        let elf = ElfSample::new(true)
            .segment(0x100_0000, 0xffff_ffff_8100_0000, b"Linux version 6.1", 0x1000)
            .segment(0x180_0000, 0, b"percpu", 0x1000)
            .entry(0x100_0000);
        let kernel = elf.build();
        assert_eq!(probe(&kernel), Ok(BootProtocol::LinuxElf));
        let (entry, memory) =
            Setup::new(BootProtocol::LinuxElf, kernel).image(Role::Initrd, b"initrd", "").load().unwrap();
        assert_eq!(entry.rip, 0x100_0000);
        assert_eq!(memory.bytes(0x180_0000, 6), b"percpu");
        let page = entry.general[RSI];
        assert_eq!(memory.bytes(page + 0x1fe, 2), [0x55, 0xaa]);
        assert_eq!(memory.bytes(page + 0x202, 4), b"HdrS");
        assert_eq!(memory.bytes(page + 0x07, 1), [80]);
        assert_eq!(memory.u32(page + 0x21c), 6);
    }

    #[test]
    fn a_lost_image_is_named() {
        let error = bzimage(&BzImage::default()).without_media().load().err().unwrap().to_string();
        assert!(error.contains("image0") && error.contains("--image"), "{error}");
    }
}
