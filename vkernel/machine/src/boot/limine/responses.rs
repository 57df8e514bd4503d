//! The responses to a kernel's requests, written into one block of reclaimable memory.
//!
//! Pointers go through the direct map. The framebuffer is RAM of its own that is drawn into and shown nowhere.

use super::memory::Layout;
use super::requests::{Feature, Requests, bad_request};
use super::{HHDM, Loaded};
use crate::boot::loader::Loader;
use crate::boot::{BootError, LoadedImage};
use boundary::{Image, Role};
use std::ops::Range;

const WIDTH: u64 = 1024;
const HEIGHT: u64 = 768;
const BITS_PER_PIXEL: u64 = 32;
const PITCH: u64 = WIDTH * BITS_PER_PIXEL / 8;
pub(super) const FRAMEBUFFER_BYTES: u64 = PITCH * HEIGHT;
/// Memory model RGB, then size and shift of red, green and blue.
const PIXEL_FORMAT: [u8; 7] = [1, 8, 16, 8, 8, 8, 0];
const FOUR_LEVEL_PAGING: u64 = 0;
const FIRMWARE_BIOS: u64 = 0;
const X2APIC: u64 = 1;
const MODULE_REQUIRED: u64 = 1;
/// Internal modules are named by the kernel's own image; more than this is not meant.
const MOST_INTERNAL_MODULES: u64 = 64;
const LONGEST_PATH: u64 = 256;

/// What else follows from the requests.
pub(super) struct Answered {
    /// Where each processor's `limine_mp_info` is, as the kernel sees it; one entry if none was asked for.
    pub(super) processors: Vec<u64>,
    pub(super) x2apic: bool,
}

/// A block of memory being filled from its start.
struct Block {
    vaddr: u64,
    bytes: Vec<u8>,
}

impl Block {
    /// Adds bytes on an 8-byte boundary; returns where they are.
    fn add(&mut self, bytes: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let vaddr = self.vaddr + self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        vaddr
    }

    fn words(&mut self, words: &[u64]) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.add(&bytes)
    }

    fn string(&mut self, string: &str) -> u64 {
        self.add(&[string.as_bytes(), b"\0"].concat())
    }
}

/// Writes the responses and points the requests to them.
pub(super) fn put(
    loader: &mut Loader<'_>,
    requests: &Requests,
    loaded: &Loaded,
    layout: &Layout,
    images: &[LoadedImage<'_>],
) -> Result<Answered, BootError> {
    let block = Block { vaddr: HHDM + layout.responses.start, bytes: Vec::new() };
    let answered = Answered { processors: vec![0], x2apic: false };
    let mut answers = Answers { loader, loaded, layout, images, block, answered };
    let mut pointers = Vec::new();
    for request in &requests.all {
        if let Some(vaddr) = answers.answer(requests, request.feature)? {
            pointers.push((request.paddr + 40, vaddr));
        }
    }
    let Answers { block, answered, .. } = answers;
    assert!(
        block.bytes.len() as u64 <= layout.responses.end - layout.responses.start,
        "the responses fit the place that was kept for them"
    );
    loader.put(layout.responses.start, &block.bytes);
    for (paddr, vaddr) in pointers {
        loader.put(paddr, &vaddr.to_le_bytes());
    }
    Ok(answered)
}

struct Answers<'a, 'b> {
    loader: &'a Loader<'b>,
    loaded: &'a Loaded,
    layout: &'a Layout,
    images: &'a [LoadedImage<'a>],
    block: Block,
    answered: Answered,
}

impl Answers<'_, '_> {
    /// The response to a request, which always begins with its revision.
    fn answer(&mut self, requests: &Requests, feature: Feature) -> Result<Option<u64>, BootError> {
        let placed = self.loaded.placed;
        let power_on = self.loader.power_on;
        let words = match feature {
            Feature::LoaderInfo => {
                vec![0, self.block.string("vkernel"), self.block.string(env!("CARGO_PKG_VERSION"))]
            }
            Feature::CommandLine => vec![0, self.block.string(&power_on.boot.command_line)],
            Feature::FirmwareType => vec![0, FIRMWARE_BIOS],
            Feature::StackSize | Feature::EntryPoint => vec![0],
            Feature::Hhdm => vec![0, HHDM],
            Feature::Framebuffer => match self.loaded.framebuffer.clone() {
                Some(range) => self.framebuffer(&range),
                None => return Ok(None),
            },
            Feature::PagingMode => {
                check_paging_mode(requests)?;
                vec![0, FOUR_LEVEL_PAGING]
            }
            Feature::Mp => self.processors(requests.field(Feature::Mp, 0).unwrap_or(0)),
            Feature::MemoryMap => self.memory_map(),
            Feature::KernelFile => match self.loaded.kernel_file.clone() {
                Some(range) => vec![0, self.kernel_file(&range)],
                None => return Ok(None),
            },
            Feature::Modules => self.modules(requests)?,
            Feature::Rsdp if self.loader.rsdp_paddr == 0 => return Ok(None),
            // Base revision 3 does not map the firmware's tables and gives a physical address.
            Feature::Rsdp if self.loaded.revision >= 3 => vec![0, self.loader.rsdp_paddr],
            Feature::Rsdp => vec![0, HHDM + self.loader.rsdp_paddr],
            Feature::BootTime => vec![0, power_on.rtc_start_s],
            Feature::KernelAddress => vec![0, placed.paddr, placed.vaddr],
        };
        Ok(Some(self.block.words(&words)))
    }

    fn framebuffer(&mut self, range: &Range<u64>) -> Vec<u64> {
        let mut format = [0; 16];
        format[..2].copy_from_slice(&(BITS_PER_PIXEL as u16).to_le_bytes());
        format[2..9].copy_from_slice(&PIXEL_FORMAT);
        let [low, high] = [0, 8].map(|at| {
            let mut word = [0; 8];
            word.copy_from_slice(&format[at..at + 8]);
            u64::from_le_bytes(word)
        });
        let mode = self.block.words(&[PITCH, WIDTH, HEIGHT, low, high]);
        let modes = self.block.words(&[mode]);
        // No EDID; one mode.
        let framebuffer =
            self.block.words(&[HHDM + range.start, WIDTH, HEIGHT, PITCH, low, high, 0, 0, 1, modes]);
        let list = self.block.words(&[framebuffer]);
        vec![1, 1, list]
    }

    fn processors(&mut self, flags: u64) -> Vec<u64> {
        let vcpus = u64::from(self.loader.power_on.topology.vcpus);
        // A processor's number, ACPI UID and APIC id are the same here.
        self.answered.processors =
            (0..vcpus).map(|vcpu| self.block.words(&[vcpu | vcpu << 32, 0, 0, 0])).collect();
        self.answered.x2apic = flags & X2APIC != 0;
        let list = self.block.words(&self.answered.processors);
        vec![0, flags & X2APIC, vcpus, list]
    }

    fn memory_map(&mut self) -> Vec<u64> {
        let entries: Vec<u64> = self
            .layout
            .regions
            .iter()
            .map(|region| {
                let range = &region.range;
                self.block.words(&[range.start, range.end - range.start, region.kind])
            })
            .collect();
        let list = self.block.words(&entries);
        vec![0, entries.len() as u64, list]
    }

    fn kernel_file(&mut self, range: &Range<u64>) -> u64 {
        let boot = &self.loader.power_on.boot;
        let name =
            boot.images.iter().find(|image| image.role == Role::Kernel).map_or("", |image| &image.name);
        self.file(range, name, &boot.command_line)
    }

    /// A `limine_file` on no disk.
    fn file(&mut self, range: &Range<u64>, name: &str, command_line: &str) -> u64 {
        let path = self.block.string(&format!("/{}", base_name(name)));
        let command_line = self.block.string(command_line);
        let mut words = [0; 14];
        words[1..5].copy_from_slice(&[HHDM + range.start, range.end - range.start, path, command_line]);
        self.block.words(&words)
    }

    /// The modules: first those that the kernel itself names, then the others in their order.
    fn modules(&mut self, requests: &Requests) -> Result<Vec<u64>, BootError> {
        let internal = InternalModule::read_all(self.loader, self.loaded, requests)?;
        let mut rest: Vec<(usize, &Image)> =
            self.images.iter().map(|loaded| loaded.image).enumerate().collect();
        let mut files = Vec::new();
        for module in internal {
            let named = rest.iter().position(|(_, image)| base_name(&image.name) == base_name(&module.path));
            match named {
                Some(position) => {
                    let (index, image) = rest.remove(position);
                    files.push(self.file(&self.loaded.modules[index], &image.name, &module.command_line));
                }
                None if module.is_required => {
                    return Err(BootError::Unsupported {
                        problem: format!("it requires the module {}", module.path),
                        advice: "give a file of that name with --module",
                    });
                }
                None => {}
            }
        }
        for (index, image) in rest {
            files.push(self.file(&self.loaded.modules[index], &image.name, &image.command_line));
        }
        let list = self.block.words(&files);
        Ok(vec![1, files.len() as u64, list])
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Refuses a kernel that takes nothing but 5-level paging.
fn check_paging_mode(requests: &Requests) -> Result<(), BootError> {
    let least = match requests.get(Feature::PagingMode) {
        Some(request) if request.revision >= 1 => requests.field(Feature::PagingMode, 2),
        _ => None,
    };
    if least.is_some_and(|least| least > FOUR_LEVEL_PAGING) {
        return Err(BootError::Unsupported {
            problem: "it requires 5-level paging".to_owned(),
            advice: "lower min_mode of its paging mode request to 4-level paging",
        });
    }
    Ok(())
}

/// A module that the kernel names itself.
struct InternalModule {
    path: String,
    command_line: String,
    is_required: bool,
}

impl InternalModule {
    fn read_all(
        loader: &Loader<'_>,
        loaded: &Loaded,
        requests: &Requests,
    ) -> Result<Vec<InternalModule>, BootError> {
        let has_them = requests.get(Feature::Modules).is_some_and(|request| request.revision >= 1);
        let count = requests.field(Feature::Modules, 0).filter(|_| has_them).unwrap_or(0);
        if count > MOST_INTERNAL_MODULES {
            return Err(bad_request(format!(
                "it names {count} modules, and {MOST_INTERNAL_MODULES} are the most"
            )));
        }
        let list = requests.field(Feature::Modules, 1).unwrap_or(0);
        let read = |index| {
            let module = read_word(loader, loaded, list.wrapping_add(index * 8))?;
            let field = |index: u64| read_word(loader, loaded, module.wrapping_add(index * 8));
            Ok(InternalModule {
                path: read_string(loader, loaded, field(0)?)?,
                command_line: match field(1)? {
                    0 => String::new(),
                    vaddr => read_string(loader, loaded, vaddr)?,
                },
                is_required: field(2)? & MODULE_REQUIRED != 0,
            })
        };
        (0..count).map(read).collect()
    }
}

/// Reads from the kernel's own image, the only place where it can have put something.
fn read(loader: &Loader<'_>, loaded: &Loaded, vaddr: u64, into: &mut [u8]) -> Result<(), BootError> {
    let placed = loaded.placed;
    let offset = vaddr.wrapping_sub(placed.vaddr);
    if offset.saturating_add(into.len() as u64) > placed.length_bytes {
        return Err(bad_request(format!(
            "a pointer of its module request, {vaddr:#x}, is not in the kernel"
        )));
    }
    loader.get(placed.paddr + offset, into);
    Ok(())
}

fn read_word(loader: &Loader<'_>, loaded: &Loaded, vaddr: u64) -> Result<u64, BootError> {
    let mut bytes = [0; 8];
    read(loader, loaded, vaddr, &mut bytes).map(|()| u64::from_le_bytes(bytes))
}

fn read_string(loader: &Loader<'_>, loaded: &Loaded, vaddr: u64) -> Result<String, BootError> {
    let mut bytes = Vec::new();
    for at in 0..LONGEST_PATH {
        let mut byte = [0];
        read(loader, loaded, vaddr.wrapping_add(at), &mut byte)?;
        if byte[0] == 0 {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        bytes.push(byte[0]);
    }
    Err(bad_request(format!("a string of its module request, at {vaddr:#x}, has no end")))
}
