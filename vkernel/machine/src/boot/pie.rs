//! Position independent ELF64 kernels (`-pie`): moved to where they are to run before anything else looks at them.
//!
//! The result is the file that the linker would have made for that address: segments, entry point and relocated words
//! moved, and the type that of an executable. So no loader has to know. Only `R_X86_64_RELATIVE` is applied (System V
//! psABI for x86-64, 4.4): what refers to a symbol needs a dynamic linker, which a kernel has not.

use super::BootError;
use super::bytes::{View, put_u16, put_u64};
use super::elf::{EM_X86_64, Elf, Kind};
use std::borrow::Cow;

/// Where a kernel runs that leaves the choice to its loader: the start of the top 2 GiB.
pub const BASE: u64 = 0xffff_ffff_8000_0000;

const FORMAT: &str = "ELF kernel";
const PAGE_BYTES: u64 = 4096;
const ENTRY_BYTES: u64 = 24;
const R_X86_64_NONE: u32 = 0;
const R_X86_64_RELATIVE: u32 = 8;

/// How far above its link addresses an ELF file is run: 0 unless it is position independent and linked below [`BASE`].
#[must_use]
pub fn slide(kernel: &[u8]) -> u64 {
    Elf::parse(kernel).map_or(0, |elf| slide_of(&elf))
}

fn slide_of(elf: &Elf<'_>) -> u64 {
    let lowest = elf.loads().map(|segment| segment.vaddr).min().unwrap_or(BASE);
    let moves = elf.is_64 && elf.machine == EM_X86_64 && elf.kind == Kind::Shared && lowest < BASE;
    if moves { BASE - lowest / PAGE_BYTES * PAGE_BYTES } else { 0 }
}

/// The kernel as linked to where it is to run: itself, if it is not position independent.
///
/// # Errors
/// It has relocations of other kinds, or damaged ones.
pub(crate) fn relocated(kernel: &[u8]) -> Result<Cow<'_, [u8]>, BootError> {
    const E_TYPE: usize = 16;
    const E_ENTRY: usize = 24;
    const ET_EXEC: u16 = 2;
    let elf = Elf::parse(kernel)?;
    if elf.kind != Kind::Shared || !elf.is_64 {
        return Ok(Cow::Borrowed(kernel));
    }
    let slide = slide_of(&elf);
    let mut moved = kernel.to_vec();
    apply(&elf, kernel, slide, &mut moved)?;
    put_u16(&mut moved, E_TYPE, ET_EXEC);
    put_u64(&mut moved, E_ENTRY, elf.entry.wrapping_add(slide));
    for segment in elf.loads() {
        let vaddr = segment.vaddr.wrapping_add(slide);
        let header = segment.header_offset as usize;
        put_u64(&mut moved, header + 16, vaddr);
        // A load address that repeats the link address says nothing of physical memory.
        if segment.paddr == segment.vaddr {
            put_u64(&mut moved, header + 24, vaddr);
        }
    }
    Ok(Cow::Owned(moved))
}

/// What the dynamic section says of relocations.
#[derive(Default)]
struct Tables {
    rela: Option<u64>,
    rela_bytes: u64,
    others: Option<&'static str>,
}

fn tables(elf: &Elf<'_>, view: View<'_>) -> Result<Tables, BootError> {
    const DT_NULL: u64 = 0;
    let mut tables = Tables::default();
    let Some(dynamic) = elf.dynamic() else { return Ok(tables) };
    for entry in 0..dynamic.file_bytes / 16 {
        let at = dynamic.file_offset.saturating_add(16 * entry);
        let value = view.u64(at + 8)?;
        match view.u64(at)? {
            DT_NULL => break,
            1 => tables.others = Some("it needs a shared library"),
            7 => tables.rela = Some(value),
            8 => tables.rela_bytes = value,
            17 => tables.others = Some("it has relocations without addends (DT_REL)"),
            23 => tables.others = Some("it has a procedure linkage table (DT_JMPREL)"),
            36 => tables.others = Some("it has packed relocations (DT_RELR)"),
            _ => {}
        }
    }
    Ok(tables)
}

fn apply(elf: &Elf<'_>, kernel: &[u8], slide: u64, moved: &mut [u8]) -> Result<(), BootError> {
    const ADVICE: &str =
        "link it with -static -pie -z nopack-relative-relocs and no undefined symbols, or with -no-pie";
    let view = View::new(FORMAT, kernel);
    let tables = tables(elf, view)?;
    let unsupported = |problem: String| Err(BootError::Unsupported { problem, advice: ADVICE });
    if let Some(problem) = tables.others {
        return unsupported(format!("it is position independent, and {problem}"));
    }
    let Some(rela) = tables.rela else { return Ok(()) };
    let start = elf.file_offset(rela, tables.rela_bytes).ok_or_else(|| {
        view.malformed(0, format!("the relocations at {rela:#x} are in no segment of the file"))
    })?;
    for entry in 0..tables.rela_bytes / ENTRY_BYTES {
        let at = start + ENTRY_BYTES * entry;
        let (vaddr, info, addend) = (view.u64(at)?, view.u64(at + 8)?, view.u64(at + 16)?);
        match info as u32 {
            R_X86_64_NONE => {}
            R_X86_64_RELATIVE => {
                let place = elf.file_offset(vaddr, 8).ok_or_else(|| {
                    view.malformed(
                        at,
                        format!("the relocated word at {vaddr:#x} is in no segment of the file"),
                    )
                })?;
                put_u64(moved, place as usize, addend.wrapping_add(slide));
            }
            kind => {
                return unsupported(format!(
                    "it is position independent, and its relocation at {vaddr:#x} is of type {kind}, not R_X86_64_RELATIVE"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::samples::ElfSample;
    use super::*;

    /// A file linked to 0x1000 with a word at 0x1008 to be relocated, by one relocation of `kind`.
    fn sample(kind: u64, vaddr: u64) -> Vec<u8> {
        let words = |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
        // Two words of text, the dynamic section at 0x1010, the relocation at 0x1040.
        let text = words(&[0x11, 0x22, 7, 0x1040, 8, 24, 0, 0, vaddr, kind, 0x1234]);
        let mut file = ElfSample::new(true)
            .segment(0x1000, 0x1000, &text, 0x1000)
            .segment(0x1010, 0x1010, &text[16..64], 48)
            .entry(0x1000)
            .kind(3)
            .build();
        const PT_DYNAMIC: u32 = 2;
        file[64 + 56..64 + 60].copy_from_slice(&PT_DYNAMIC.to_le_bytes());
        file
    }

    #[test]
    fn a_relocated_file_is_the_one_linked_to_its_base() {
        let kernel = sample(8, 0x1008);
        let slide = slide(&kernel);
        assert_eq!(slide, BASE - 0x1000);
        let moved = relocated(&kernel).unwrap();
        let elf = Elf::parse(&moved).unwrap();
        assert_eq!((elf.kind, elf.entry), (Kind::Executable, BASE));
        let segment = *elf.loads().next().unwrap();
        assert_eq!((segment.vaddr, segment.paddr), (BASE, BASE));
        let contents = elf.contents(&segment).unwrap();
        assert_eq!(contents[..8], 0x11_u64.to_le_bytes());
        assert_eq!(contents[8..16], (0x1234 + slide).to_le_bytes());
    }

    #[test]
    fn other_relocations_are_refused_by_type_and_place() {
        for kind in [1, 6, 37] {
            let error = relocated(&sample(kind, 0x1008)).unwrap_err().to_string();
            assert!(error.contains(&format!("at 0x1008 is of type {kind}")), "{error}");
            assert!(error.contains("-no-pie"), "{error}");
        }
        let error = relocated(&sample(8, 0x1ffc)).unwrap_err().to_string();
        assert!(error.contains("0x1ffc"), "{error}");
    }

    #[test]
    fn a_file_linked_to_its_place_is_left_alone() {
        let kernel = ElfSample::new(true).segment(0x20_0000, BASE, b"text", 0x1000).entry(BASE).build();
        assert_eq!(slide(&kernel), 0);
        assert!(matches!(relocated(&kernel), Ok(Cow::Borrowed(_))));
    }
}
