//! Boot loaders: put a kernel and its images into RAM and say in which state it is entered.
//!
//! [`probe`] says which protocol a file speaks (or what it is instead), [`load`] does the rest: everything
//! that firmware and a boot loader would have left behind, as if they had just jumped. The protocols are
//! Linux's 64-bit one (`linux`), PVH (`pvh`), Multiboot 1 and 2 (`multiboot1`, `multiboot2`), Limine's
//! (`limine`), and for an ELF64 file of none of them an entry state of our own (`elf64`). An image is
//! untrusted: whatever is in it, the result is a kernel in RAM or a [`BootError`].
//!
//! Left out on purpose: Linux's 16- and 32-bit entries and EFI stub, and compressed files. Those who need a
//! real firmware boot from a disk.

mod bytes;
mod elf;
mod elf64;
mod entry;
mod error;
mod firmware;
mod flat;
mod identify;
mod limine;
mod linux;
mod loader;
mod multiboot1;
mod multiboot2;
mod multiboot2_info;
mod page_tables;
mod pie;
mod pvh;
mod space;
mod zero_page;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod samples;

pub use entry::{CODE_SELECTOR, DATA_SELECTOR, Entry, Mode, Start};
pub use error::BootError;
pub use identify::{Family, probe, probe_as};
pub use pie::slide;

use crate::platform::memory_map::MemoryRegion;
use boundary::{BootProtocol, Image, Media, PowerOn, Role};
use loader::Loader;
use std::sync::Arc;

/// The guest's physical RAM, as a loader needs it.
pub trait GuestMemory {
    /// Writes bytes; false if any of them would not be in RAM.
    fn write(&mut self, paddr: u64, bytes: &[u8]) -> bool;
    /// Reads bytes; false if any of them is not in RAM.
    fn read(&self, paddr: u64, into: &mut [u8]) -> bool;
}

/// Loads everything that `power_on.boot` names, and the firmware's tables, into zeroed memory.
///
/// `memory_map` is what the kernel is told; its RAM is all that is written, except that `firmware_tables`
/// (RSDP, ACPI and MP tables, already relocated) go to [`FIRMWARE_TABLES`] and the BIOS data area is filled
/// in. The result is a function of the arguments alone.
///
/// # Panics
/// If `memory` refuses what `memory_map` calls RAM, or the firmware's tables are larger than their place:
/// both come from our own platform, never from a guest.
///
/// [`FIRMWARE_TABLES`]: crate::platform::layout::FIRMWARE_TABLES
pub fn load(
    power_on: &PowerOn,
    media: &dyn Media,
    memory: &mut dyn GuestMemory,
    memory_map: &[MemoryRegion],
    firmware_tables: &[u8],
) -> Result<Start, BootError> {
    let mut kernel = None;
    let mut modules = Vec::new();
    for image in &power_on.boot.images {
        let bytes = fetch(image, media)?;
        match image.role {
            Role::Kernel if kernel.is_none() => kernel = Some(bytes),
            Role::Kernel => {}
            Role::Initrd | Role::Module => modules.push(LoadedImage { image, bytes }),
        }
    }
    let kernel = kernel.ok_or(BootError::NoKernel)?;
    let mut loader = Loader::new(power_on, memory, memory_map);
    loader.put_firmware(firmware_tables);
    match power_on.boot.protocol {
        BootProtocol::LinuxBzImage => linux::load_bzimage(&mut loader, &kernel, &modules),
        BootProtocol::LinuxElf => linux::load_elf(&mut loader, &kernel, &modules),
        BootProtocol::Pvh => pvh::load(&mut loader, &kernel, &modules),
        BootProtocol::Multiboot1 => multiboot1::load(&mut loader, &kernel, &modules),
        BootProtocol::Multiboot2 => multiboot2::load(&mut loader, &kernel, &modules),
        BootProtocol::Limine => return limine::load(&mut loader, &kernel, &modules),
        BootProtocol::Elf64 => elf64::load(&mut loader, &kernel, &modules),
    }
    .map(Start::from)
}

/// An initrd or a module.
struct LoadedImage<'a> {
    image: &'a Image,
    bytes: Arc<Vec<u8>>,
}

fn fetch(image: &Image, media: &dyn Media) -> Result<Arc<Vec<u8>>, BootError> {
    media.image(image.id).ok_or_else(|| BootError::MissingImage {
        name: image.name.clone(),
        id: image.id,
        length_bytes: image.length_bytes,
    })
}
