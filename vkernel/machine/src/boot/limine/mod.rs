//! Limine's boot protocol for ELF64 kernels, base revisions 0 to 3 (PROTOCOL.md of the Limine project).
//!
//! The kernel is linked to the top 2 GiB and loaded in one piece wherever there is room. It asks by *requests*,
//! structures in its image that begin with a magic number; the loader writes into each where its response is
//! (`requests`, `responses`). It is entered in long mode where it was linked, with physical memory mapped from
//! [`HHDM`] on (`memory`).
//!
//! Left unanswered, as the protocol allows: SMBIOS, EFI and device tree, which this machine does not have, and
//! 5-level paging. A position independent kernel is relocated first (`pie`). Left out: the `.limine_reqs` section of base revision 0 (its
//! requests are found in the image all the same), and the terminal, which Limine itself dropped.

mod memory;
mod requests;
mod responses;

use super::elf::{Elf, Kind};
use super::entry::{Entry, Start};
use super::loader::{Loader, PAGE_BYTES, Placed};
use super::{BootError, LoadedImage, pie};
use crate::cpu::state::RDI;
use memory::Layout;
use requests::{Feature, Requests};
use std::ops::Range;

pub(crate) use requests::has_requests;

/// Where physical memory is mapped: the lowest address of the higher half.
const HHDM: u64 = 0xffff_8000_0000_0000;
/// The lowest address a kernel may be linked to.
const LOWEST_VADDR: u64 = 0xffff_ffff_8000_0000;
/// The newest base revision that is spoken here.
const NEWEST_REVISION: u64 = 3;
const LEAST_STACK_BYTES: u64 = 64 << 10;

/// What the other processors run until the kernel gives them an address: `RDI` points to their
/// `limine_mp_info`. They jump by a RET, so that RAX is 0 and the stack as it was.
const PARKED: [u8; 16] = [
    0xf3, 0x90, // again: pause
    0x48, 0x8b, 0x47, 0x10, // mov rax, [rdi + 16]
    0x48, 0x85, 0xc0, // test rax, rax
    0x74, 0xf5, // jz again
    0x50, // push rax
    0x31, 0xc0, // xor eax, eax
    0xc3, // ret
    0xcc,
];

/// What the responses tell: everything that is in memory by then.
struct Loaded {
    placed: Placed,
    revision: u64,
    kernel_file: Option<Range<u64>>,
    modules: Vec<Range<u64>>,
    framebuffer: Option<Range<u64>>,
}

/// Whether this file can be entered so.
pub(crate) fn check(elf: &Elf<'_>) -> Result<(), BootError> {
    let unsupported =
        |problem: &str, advice| Err(BootError::Unsupported { problem: problem.to_owned(), advice });
    if !elf.is_64 {
        return unsupported("it is a 32-bit ELF file", "Limine's protocol needs a 64-bit kernel");
    }
    // A position independent one is moved there.
    if elf.kind != Kind::Shared && elf.loads().any(|segment| segment.vaddr < LOWEST_VADDR) {
        return unsupported(
            "it is not linked to the top 2 GiB",
            "Limine's protocol needs 0xffffffff80000000 or above",
        );
    }
    Ok(())
}

/// Loads a kernel by Limine's protocol.
pub(crate) fn load(
    loader: &mut Loader<'_>,
    kernel: &[u8],
    images: &[LoadedImage<'_>],
) -> Result<Start, BootError> {
    let relocated = pie::relocated(kernel)?;
    let elf = Elf::parse(&relocated)?;
    check(&elf)?;
    let placed = loader.put_elf_anywhere(&elf)?;
    let requests = Requests::find(loader, &elf, placed)?;
    let loaded = put_files(loader, kernel, images, &requests, placed)?;
    let starts = requests.has(Feature::Mp);
    let vcpus = if starts { u64::from(loader.power_on.topology.vcpus) } else { 1 };
    let stacks = claim_stacks(loader, &requests, vcpus)?;
    let gdt = loader.claim_high("the GDT", PAGE_BYTES)?;
    let parked = loader.claim_high("the code of parked processors", PAGE_BYTES)?;
    loader.put(gdt, &Entry::limine_gdt());
    loader.put(parked, &PARKED);
    let layout = Layout::new(loader, &loaded)?;
    let answered = responses::put(loader, &requests, &loaded, &layout, images)?;
    let root = layout.put_page_tables(loader, &elf, &loaded)?;
    let enter = |rip, stack: u64| Entry::limine(rip, HHDM + stack, HHDM + gdt, root);
    let boot = enter(entry_point(&requests, &elf, placed)?, stacks[0]);
    let others = stacks[1..].iter().zip(&answered.processors[1..]).map(|(&stack, &info)| {
        let mut entry = enter(HHDM + parked, stack);
        entry.general[RDI] = info;
        entry
    });
    let others = others.collect();
    Ok(Start { boot, others, x2apic: answered.x2apic })
}

fn entry_point(requests: &Requests, elf: &Elf<'_>, placed: Placed) -> Result<u64, BootError> {
    let entry = requests.field(Feature::EntryPoint, 0).unwrap_or(elf.entry);
    if entry.wrapping_sub(placed.vaddr) < placed.length_bytes { Ok(entry) } else { Err(elf.bad_entry()) }
}

/// Loads the files the kernel asked for, and claims a framebuffer if it asked for one.
fn put_files(
    loader: &mut Loader<'_>,
    kernel: &[u8],
    images: &[LoadedImage<'_>],
    requests: &Requests,
    placed: Placed,
) -> Result<Loaded, BootError> {
    let mut put = |what, bytes: &[u8]| {
        let paddr = loader.claim_high(what, bytes.len() as u64)?;
        loader.put(paddr, bytes);
        Ok::<_, BootError>(paddr..paddr + bytes.len() as u64)
    };
    let is_asked = requests.has(Feature::KernelFile);
    let kernel_file = if is_asked { Some(put("the kernel's file", kernel)?) } else { None };
    let modules = images.iter().map(|loaded| put("a module", &loaded.bytes)).collect::<Result<_, _>>()?;
    let framebuffer = if requests.has(Feature::Framebuffer) {
        let bytes = responses::FRAMEBUFFER_BYTES;
        let paddr = loader.claim_high_aligned("the framebuffer", bytes, memory::LARGE_PAGE_BYTES)?;
        Some(paddr..paddr + bytes)
    } else {
        None
    };
    Ok(Loaded { placed, revision: requests.revision, kernel_file, modules, framebuffer })
}

/// A stack for each processor: where its pointer starts, at a return address of 0.
fn claim_stacks(loader: &mut Loader<'_>, requests: &Requests, vcpus: u64) -> Result<Vec<u64>, BootError> {
    let wanted = requests.field(Feature::StackSize, 0).unwrap_or(0).max(LEAST_STACK_BYTES);
    // Whoever asks for more than there is is told so by the claim.
    let stack_bytes = wanted.checked_next_multiple_of(PAGE_BYTES).unwrap_or(u64::MAX);
    (0..vcpus).map(|_| Ok(loader.claim_high("a stack", stack_bytes)? + stack_bytes - 8)).collect()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::sample_kernel;
